//! When the next frame or packet is due. Pure: time is what has passed since the start.

use std::time::Duration;

/// A sender that was kept from running this long leaves beats out instead of sending everything late.
const LATEST: Duration = Duration::from_millis(500);

/// Beats at absolute distances: no error adds up, however late a single wake-up is.
#[derive(Debug)]
pub(super) struct Metronome {
    /// A beat lasts `numerator / denominator` seconds, as exact as the clip's own rate.
    numerator: u64,
    denominator: u64,
    next: u64,
}

/// One beat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Beat {
    pub number: u64,
    /// When it is due, since the start.
    pub at: Duration,
    numerator: u64,
    denominator: u64,
}

impl Metronome {
    /// Beats of `numerator / denominator` seconds.
    pub(super) fn new(numerator: u32, denominator: u32) -> Self {
        Self {
            numerator: u64::from(numerator.max(1)),
            denominator: u64::from(denominator.max(1)),
            next: 0,
        }
    }

    /// The next beat, `elapsed` after the start.
    pub(super) fn beat(&mut self, elapsed: Duration) -> Beat {
        if elapsed > self.at(self.next) + LATEST {
            let elapsed_us = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
            self.next = elapsed_us.saturating_mul(self.denominator) / self.numerator / 1_000_000;
        }
        let number = self.next;
        self.next += 1;
        Beat {
            number,
            at: self.at(number),
            numerator: self.numerator,
            denominator: self.denominator,
        }
    }

    fn at(&self, number: u64) -> Duration {
        let beats_s = number.saturating_mul(self.numerator);
        let rest = beats_s % self.denominator * 1_000_000_000 / self.denominator;
        Duration::from_secs(beats_s / self.denominator) + Duration::from_nanos(rest)
    }
}

impl Beat {
    /// RTP time since the start in `clock_hz`; wraps like the 32-bit field it goes into (RFC 3550 section 5.1).
    pub(super) fn ticks(self, clock_hz: u32) -> u32 {
        let beats_s = self.number.wrapping_mul(self.numerator);
        let ticks = beats_s.wrapping_mul(u64::from(clock_hz)) / self.denominator;
        u32::try_from(ticks & u64::from(u32::MAX)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn video_beats_are_exact_over_hours() {
        let mut metronome = Metronome::new(1, 30);
        for expected in 0..30 * 3_600 * 3 {
            let due = metronome.at(expected);
            let beat = metronome.beat(due);
            assert_eq!((beat.number, beat.at), (expected, due));
            assert_eq!(beat.ticks(90_000), u32::try_from(expected * 3_000).unwrap());
        }
        assert_eq!(metronome.beat(Duration::ZERO).at, Duration::from_secs(3 * 3_600));
    }

    #[test]
    fn rtp_time_wraps() {
        let mut metronome = Metronome::new(20, 1_000);
        metronome.next = u64::from(u32::MAX) / 960 + 1;
        let beat = metronome.beat(Duration::ZERO);
        assert_eq!(u64::from(beat.ticks(48_000)), beat.number * 960 - (1 << 32));
    }

    #[test]
    fn being_late_costs_nothing_and_being_halted_skips() {
        let mut metronome = Metronome::new(1, 30);
        let late = Duration::from_millis(400);
        for expected in 0..90 {
            let due = metronome.at(expected);
            assert_eq!(metronome.beat(due + late).number, expected);
        }
        let beat = metronome.beat(Duration::from_secs(60));
        assert_eq!((beat.number, beat.at), (1_800, Duration::from_secs(60)));
    }
}
