//! RTP timestamps on the server's clock.

/// An RTP timestamp and the NTP time it stands for, of one stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Clock {
    /// 32.32 fixed-point seconds since 1900, the server's clock.
    pub(super) ntp: u64,
    pub(super) rtp: u32,
}

impl Clock {
    /// NTP time of `timestamp`, which is at most 2^31 ticks away.
    pub(super) fn ntp_of(&self, timestamp: u32, clock_rate: u32) -> u64 {
        let ticks = i128::from(timestamp.wrapping_sub(self.rtp).cast_signed());
        let delta = (ticks << 32) / i128::from(clock_rate);
        self.ntp.wrapping_add(delta as u64)
    }
}

/// `later − earlier` in ticks; negative when the order is the other one.
pub(super) fn ticks_between(earlier_ntp: u64, later_ntp: u64, clock_rate: u32) -> i64 {
    let delta = i128::from(later_ntp.wrapping_sub(earlier_ntp).cast_signed());
    ((delta * i128::from(clock_rate)) >> 32) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_stands_for_a_time() {
        let clock = Clock {
            ntp: 100 << 32,
            rtp: u32::MAX - 44_999,
        };
        assert_eq!(clock.ntp_of(45_000, 90_000), 101 << 32, "over the wrap");
        assert_eq!(clock.ntp_of(clock.rtp.wrapping_sub(180_000), 90_000), 98 << 32);
        assert_eq!(ticks_between(98 << 32, 101 << 32, 90_000), 270_000);
        assert_eq!(ticks_between(101 << 32, 98 << 32, 48_000), -144_000);
    }
}
