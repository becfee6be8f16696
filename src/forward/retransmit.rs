//! How often a viewer may ask for the same packet again.

use std::time::{Duration, Instant};

/// What one outgoing stream retransmitted lately.
#[derive(Debug, Default)]
pub(super) struct Retransmitted {
    /// Index (ROC ‖ SEQ) of the next RTX packet.
    next_index: u64,
    /// By sequence number modulo [`REMEMBERED`]; made with the first retransmission, as most viewers need none.
    recent: Vec<Option<(u16, Instant)>>,
    window: Option<(Instant, u32)>,
}

/// Packets remembered, so that a receiver who asks again before the answer could arrive gets one answer only. A power of
/// two; 64 are a quarter of a second of video.
const REMEMBERED: usize = 64;
/// The shortest time between two retransmissions of one packet.
const MIN_INTERVAL: Duration = Duration::from_millis(20);
/// A viewer can't make the server send more than this: 100 packets per 100 ms are 10 Mbit/s.
const WINDOW: Duration = Duration::from_millis(100);
const WINDOW_PACKETS: u32 = 100;

impl Retransmitted {
    /// The index under which the packet `lost` may be sent again, `None` if it was within `round_trip` or if the stream
    /// had enough.
    pub(super) fn admit(&mut self, lost: u16, round_trip: Duration, now: Instant) -> Option<u64> {
        if self.recent.is_empty() {
            self.recent.resize(REMEMBERED, None);
        }
        let recent = self.recent.get_mut(usize::from(lost) % REMEMBERED)?;
        let interval = round_trip.max(MIN_INTERVAL);
        if recent.is_some_and(|(sequence, at)| sequence == lost && now < at + interval) {
            return None;
        }
        let (since, count) = self
            .window
            .filter(|(since, _)| now < *since + WINDOW)
            .unwrap_or((now, 0));
        if count == WINDOW_PACKETS {
            return None;
        }
        self.window = Some((since, count + 1));
        *recent = Some((lost, now));
        let index = self.next_index;
        self.next_index += 1;
        Some(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_answer_per_round_trip() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut sent = Retransmitted::default();
        assert_eq!(sent.admit(7, Duration::ZERO, start), Some(0));
        assert_eq!(sent.admit(7, Duration::ZERO, at(19)), None);
        assert_eq!(sent.admit(8, Duration::ZERO, at(19)), Some(1));
        assert_eq!(sent.admit(7, Duration::ZERO, at(20)), Some(2));
        assert_eq!(sent.admit(7, Duration::from_millis(80), at(99)), None);
        assert_eq!(sent.admit(7, Duration::from_millis(80), at(100)), Some(3));
    }

    #[test]
    fn a_window_bounds_the_work() {
        let start = Instant::now();
        let mut sent = Retransmitted::default();
        let admitted = (0..1000)
            .filter(|lost| sent.admit(*lost, Duration::ZERO, start).is_some())
            .count();
        assert_eq!(admitted, 100);
        assert!(sent.admit(1, Duration::ZERO, start + WINDOW).is_some());
    }
}
