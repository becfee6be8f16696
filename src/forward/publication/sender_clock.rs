//! What the publisher's sender reports say of its clock, and of each layer's place on the server's.

use super::Publication;
use super::layer::Track;
use std::time::{Duration, Instant};

/// What contradicts a source's clock offset by more than this is a step: the publisher's clock was set, or its reports take
/// another time to come. 32.32 fixed-point seconds, as all of these.
const STEP: u64 = 1 << 31;
/// Reports that tell of one step agree within 100 ms.
const AGREEMENT: u64 = (1 << 32) / 10;
/// So many make it one. A queue that fills for a moment delays a report or two.
const REPORTS: u8 = 3;
/// What came closer together came out of one queue, and counts once.
const SPACING: Duration = Duration::from_millis(200);
/// NTP time and RTP time of one stream that went apart by more than this between two reports: the NTP clock was set.
const SET: u64 = 1 << 30;

/// What turns the publisher's NTP time into the node's: one for all its streams, so that lip sync holds.
#[derive(Debug, Default)]
pub(super) struct SenderClock {
    offset: Option<i64>,
    /// While reports contradict the offset.
    doubt: Option<Doubt>,
}

/// Reports that contradict the offset in the same way.
#[derive(Clone, Copy, Debug)]
struct Doubt {
    /// The smallest they make of it: that of the quickest.
    measured: i64,
    reports: u8,
    /// When the last of them came.
    last: Instant,
}

/// What a report is to the clock offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Agrees(i64),
    /// It says nothing that can be relied on yet.
    Doubtful,
    /// The offset is another from now on.
    Stepped(i64),
}

impl SenderClock {
    /// Node's time − publisher's, unless the last report contradicts it.
    pub(super) fn offset(&self) -> Option<i64> {
        self.offset.filter(|_| self.doubt.is_none())
    }

    /// Takes what a report makes of the offset: the node's time at which it came − the publisher's time in it.
    fn handle(&mut self, measured: i64, now: Instant) -> Verdict {
        let Some(offset) = self.offset else {
            self.offset = Some(measured);
            return Verdict::Agrees(measured);
        };
        if distance(measured, offset) <= STEP {
            self.doubt = None;
            return Verdict::Agrees(offset);
        }
        let first = Doubt {
            measured,
            reports: 1,
            last: now,
        };
        let doubt = match self.doubt {
            Some(doubt) if distance(measured, doubt.measured) > AGREEMENT => first,
            Some(doubt) if now < doubt.last + SPACING => doubt,
            Some(doubt) => Doubt {
                measured: measured.min(doubt.measured),
                reports: doubt.reports + 1,
                last: now,
            },
            None => first,
        };
        if doubt.reports < REPORTS {
            self.doubt = Some(doubt);
            return Verdict::Doubtful;
        }
        *self = SenderClock {
            offset: Some(doubt.measured),
            doubt: None,
        };
        Verdict::Stepped(doubt.measured)
    }
}

fn distance(one: i64, other: i64) -> u64 {
    one.wrapping_sub(other).unsigned_abs()
}

/// NTP and RTP time of a sender report, as the publisher sent them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SenderTime {
    ntp: u64,
    rtp: u32,
}

impl SenderTime {
    /// Between `self` and `later` of the same stream, the NTP clock was set.
    fn was_set(&self, later: &SenderTime, clock_rate: u32) -> bool {
        let ticks = i128::from(later.rtp.wrapping_sub(self.rtp).cast_signed());
        let by_rtp = ((ticks << 32) / i128::from(clock_rate)) as i64;
        distance(later.ntp.wrapping_sub(self.ntp).cast_signed(), by_rtp) > SET
    }
}

impl Publication {
    /// A report that is doubtful is kept to itself: what was said of its layer before still holds. Once the offset is
    /// another, it is for all layers at once.
    pub(super) fn handle_sender_report(&mut self, ssrc: u32, ntp: u64, rtp: u32, now: Instant) {
        let Some(role) = self.streams.role(ssrc).filter(|role| !role.repair && !role.retired) else {
            return;
        };
        let Some(track) = self.tracks.get_mut(role.track) else {
            return;
        };
        let clock_rate = track.parameters.codec.clock_rate();
        let Some(layer) = track.layers.get_mut(role.layer) else {
            return;
        };
        layer.reception.handle_sender_report(ntp, now);
        if ntp == 0 {
            // a sender without a clock (RFC 3550 §6.4.1)
            return;
        }
        let time = SenderTime { ntp, rtp };
        let before = layer.sender_time.replace(time);
        if before.is_some_and(|before| before.was_set(&time, clock_rate)) {
            // what the others said is on the clock of before
            for (at, track) in self.tracks.iter_mut().enumerate() {
                let others = track.layers.iter_mut().enumerate();
                let others = others.filter(|(layer, _)| (at, *layer) != (role.track, role.layer));
                others.for_each(|(_, layer)| layer.sender_time = None);
            }
        }
        let measured = self.ntp_clock.at(now).wrapping_sub(ntp).cast_signed();
        match self.sender_clock.handle(measured, now) {
            Verdict::Doubtful => {}
            Verdict::Agrees(offset) => self.note_clock((role.track, role.layer), offset),
            Verdict::Stepped(offset) => {
                let layers = |track: &Track| track.layers.len();
                for at in 0..self.tracks.len() {
                    for layer in 0..self.tracks.get(at).map_or(0, layers) {
                        self.note_clock((at, layer), offset);
                    }
                }
            }
        }
        self.tell_news(now);
    }

    fn note_clock(&mut self, (track, layer): (usize, usize), offset: i64) {
        let track = self.tracks.get_mut(track);
        let Some(layer) = track.and_then(|track| track.layers.get_mut(layer)) else {
            return;
        };
        if let Some(SenderTime { ntp, rtp }) = layer.sender_time {
            layer.news.clock.set((ntp.wrapping_add_signed(offset), rtp));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = 1 << 32;

    #[test]
    fn a_step_takes_three_reports_that_agree() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut clock = SenderClock::default();
        assert_eq!(clock.handle(5 * S, at(0)), Verdict::Agrees(5 * S));
        assert_eq!(clock.handle(5 * S + S / 3, at(1000)), Verdict::Agrees(5 * S));
        for ms in [2000, 3000] {
            assert_eq!(clock.handle(6 * S, at(ms)), Verdict::Doubtful);
            assert_eq!(clock.offset(), None);
        }
        assert_eq!(clock.handle(5 * S, at(4000)), Verdict::Agrees(5 * S));
        assert_eq!(clock.offset(), Some(5 * S), "a spike leaves nothing behind");
        // out of one queue, and of a queue that empties
        for measured in [8 * S, 8 * S, 8 * S, 8 * S, 7 * S, 6 * S] {
            assert_eq!(clock.handle(measured, at(5000)), Verdict::Doubtful);
        }
        assert_eq!(clock.handle(6 * S - S / 20, at(6000)), Verdict::Doubtful);
        let stepped = 6 * S - S / 20;
        assert_eq!(clock.handle(6 * S, at(7000)), Verdict::Stepped(stepped), "the quickest");
        assert_eq!(clock.offset(), Some(stepped));
    }

    #[test]
    fn a_clock_that_was_set_goes_apart_from_the_stream() {
        let before = SenderTime {
            ntp: 50 << 32,
            rtp: u32::MAX,
        };
        let second = |ntp| SenderTime { ntp, rtp: 47_999 };
        assert!(!before.was_set(&second(51 << 32), 48_000));
        assert!(before.was_set(&second(53 << 32), 48_000) && before.was_set(&second(49 << 32), 48_000));
    }
}
