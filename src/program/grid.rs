//! The program's two clocks: when the next picture, the next block of sound is due.

use std::time::{Duration, Instant};

/// Moments that are evenly apart, without a drift from rounding.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grid {
    origin: Instant,
    per_second: u32,
    pub next: u64,
}

impl Grid {
    pub fn new(origin: Instant, per_second: u32) -> Self {
        Grid {
            origin,
            per_second,
            next: 0,
        }
    }

    pub fn next(&self) -> Instant {
        self.moment(self.next)
    }

    /// The one behind the next.
    pub fn behind_next(&self) -> Instant {
        self.moment(self.next + 1)
    }

    fn moment(&self, number: u64) -> Instant {
        let nanoseconds = u128::from(number) * 1_000_000_000 / u128::from(self.per_second);
        // rounded up: a moment is due when it is over, and nobody waits in vain
        self.origin + Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX) + 1)
    }

    /// Moments that are over at `now`, the next one included.
    pub fn due(&self, now: Instant) -> u64 {
        let Some(since) = now.checked_duration_since(self.origin) else {
            return 0;
        };
        let number = since.as_nanos() * u128::from(self.per_second) / 1_000_000_000;
        (u64::try_from(number).unwrap_or(u64::MAX) + 1).saturating_sub(self.next)
    }
}
