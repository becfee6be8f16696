//! Sequence numbers and timestamps without their wrap-around, and the server's NTP clock.

use std::time::{Duration, Instant};

/// The extended number whose low 16 bits are `low` and that is nearest to `reference` (RFC 3550 appendix A.1; RFC 3711
/// §3.3.1). Never below 0: a number from before the first wrap is taken from the lap above.
pub fn nearest(reference: u64, low: u16) -> u64 {
    // the distance as a signed 16-bit number, forward or back
    let distance = low.wrapping_sub(reference as u16).cast_signed();
    match reference.checked_add_signed(i64::from(distance)) {
        Some(extended) => extended,
        None => reference.wrapping_add_signed(i64::from(distance)).wrapping_add(1 << 16),
    }
}

/// Extends 16-bit sequence numbers in order of arrival.
#[derive(Clone, Copy, Debug, Default)]
pub struct SequenceExtender {
    top: Option<u64>,
}

impl SequenceExtender {
    /// The first number starts in the second lap, so that reordered numbers from before it have a place.
    pub fn extend(&mut self, low: u16) -> u64 {
        let extended = match self.top {
            Some(top) => nearest(top, low),
            None => 0x1_0000 + u64::from(low),
        };
        self.top = self.top.max(Some(extended));
        extended
    }

    /// The highest number so far.
    pub fn top(&self) -> Option<u64> {
        self.top
    }
}

/// Extends 32-bit RTP timestamps; they may go back as video frames are reordered or lag over a mute.
#[derive(Clone, Copy, Debug, Default)]
pub struct TimestampExtender {
    last: Option<i64>,
}

impl TimestampExtender {
    /// Ticks on one line; the first timestamp is itself.
    pub fn extend(&mut self, timestamp: u32) -> i64 {
        let extended = match self.last {
            Some(last) => last + i64::from(timestamp.wrapping_sub(last as u32).cast_signed()),
            None => i64::from(timestamp),
        };
        self.last = Some(extended);
        extended
    }
}

/// The server's NTP clock: what `Instant`s are in 32.32 fixed-point seconds since 1900 (RFC 3550 §4). All sources of a
/// node share one, made when the node starts, so that every sender report of the node is on one time line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NtpClock {
    origin: Instant,
    ntp: u64,
}

impl NtpClock {
    /// `ntp` is what the clock shows at `origin`. It need not be true: only differences matter to receivers.
    pub fn new(origin: Instant, ntp: u64) -> Self {
        NtpClock { origin, ntp }
    }

    /// What the clock shows at `now`; moments before the origin are the origin.
    pub fn at(&self, now: Instant) -> u64 {
        self.ntp
            .wrapping_add(ntp_duration(now.saturating_duration_since(self.origin)))
    }

    /// Seconds since 1970 at `now`, as far as the clock is true.
    pub fn unix_s(&self, now: Instant) -> i64 {
        (self.at(now) >> 32).cast_signed() - NTP_UNIX_S
    }

    /// Milliseconds since 1970 at `now`, as far as the clock is true.
    pub fn unix_ms(&self, now: Instant) -> i64 {
        let fraction = self.at(now) & u64::from(u32::MAX);
        self.unix_s(now) * 1000 + ((fraction * 1000) >> 32).cast_signed()
    }
}

/// Seconds from 1900 to 1970.
const NTP_UNIX_S: i64 = 2_208_988_800;

/// A duration as 32.32 fixed-point seconds.
pub fn ntp_duration(duration: Duration) -> u64 {
    let fraction = (u64::from(duration.subsec_nanos()) << 32) / 1_000_000_000;
    (duration.as_secs() << 32) | fraction
}

/// The middle 32 bits of an NTP time: what report blocks carry (RFC 3550 §6.4.1).
pub fn ntp_middle(ntp: u64) -> u32 {
    (ntp >> 16) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_extend_over_wraps_and_reordering() {
        let mut extender = SequenceExtender::default();
        assert_eq!(extender.top(), None);
        let extended: Vec<u64> = [65_534, 65_535, 1, 0, 65_533, 2]
            .map(|low| extender.extend(low))
            .to_vec();
        assert_eq!(extended, [0x1_fffe, 0x1_ffff, 0x2_0001, 0x2_0000, 0x1_fffd, 0x2_0002]);
        assert_eq!(extender.top(), Some(0x2_0002));
    }

    #[test]
    fn nearest_is_never_negative() {
        assert_eq!(nearest(3, 65_535), 65_535);
        assert_eq!(nearest(0x1_0003, 65_535), 65_535);
        assert_eq!(nearest(u64::MAX, 5) & 0xffff, 5);
    }

    #[test]
    fn timestamps_extend_both_ways() {
        let mut extender = TimestampExtender::default();
        assert_eq!(extender.extend(u32::MAX), i64::from(u32::MAX));
        assert_eq!(extender.extend(2), i64::from(u32::MAX) + 3);
        assert_eq!(extender.extend(u32::MAX - 1), i64::from(u32::MAX) - 1);
    }

    #[test]
    fn the_ntp_clock_runs_with_instants() {
        let origin = Instant::now();
        let clock = NtpClock::new(origin, 5 << 32);
        assert_eq!(clock.at(origin), 5 << 32);
        assert_eq!(clock.at(origin + Duration::from_millis(1500)), (6 << 32) + (1 << 31));
        assert_eq!(ntp_middle(0x1234_5678_9abc_def0), 0x5678_9abc);
    }
}
