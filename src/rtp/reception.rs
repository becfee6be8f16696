//! Reception of one inbound SSRC: duplicates, loss and what to ask for again, jitter, and the report block about it all.

use crate::rtp::rtcp::ReportBlock;
use crate::rtp::sequence::{ntp_duration, ntp_middle};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How long a hole may be reordering before it is called loss: Wi-Fi reorders within one aggregate, a few milliseconds.
const REORDER_TOLERANCE: Duration = Duration::from_millis(20);
/// Between two requests for one packet while the round trip time is unknown.
const RETRY_UNKNOWN: Duration = Duration::from_millis(60);
/// Bounds of the interval once it is known (1.5 round trips).
const RETRY_MIN: Duration = Duration::from_millis(30);
const RETRY_MAX: Duration = Duration::from_millis(300);
/// After so many requests a packet is given up: at any round trip time it would be too late to play.
const TRIES_MAX: u8 = 10;
/// Whose answer came after so many requests was hardly lost each time before.
const TRIES_DOUBTFUL: u8 = 3;
/// Holes asked for at once, and so the longest burst of loss that is repaired (0.5 s at 1000 packets/s). Beyond it a
/// keyframe is cheaper.
const MISSING_MAX: usize = 512;
/// Packets behind the newest that are told apart as new or duplicate; a power of two.
const WINDOW: u64 = 4096;
const WORDS: usize = (WINDOW / 64) as usize;

/// What a packet is to its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// The highest sequence number so far.
    Newest,
    /// Fills a hole: reordered or sent again.
    Late,
    Duplicate,
    /// So far behind the newest that nobody can tell whether it is new.
    TooOld,
}

#[derive(Clone, Copy, Debug)]
struct Missing {
    sequence: u64,
    tries: u8,
    /// When to ask (again).
    due: Instant,
    first_asked: Option<Instant>,
}

/// Loss, jitter and reports of one SSRC.
#[derive(Debug)]
pub struct Reception {
    clock_rate: u32,
    /// Retransmissions come on a stream of their own.
    repairs_apart: bool,
    epoch: Instant,
    base: Option<u64>,
    top: u64,
    /// Bit `sequence % WINDOW`: received, for the last [`WINDOW`] numbers.
    seen: Box<[u64; WORDS]>,
    received: u64,
    /// Expected and received at the last report.
    reported: (u64, u64),
    /// In ticks × 16 (RFC 3550 appendix A.8).
    jitter_scaled: i64,
    transit: Option<i64>,
    /// Ascending by sequence.
    missing: VecDeque<Missing>,
    /// Not after the earliest `due` of `missing`.
    next_due: Option<Instant>,
    gave_up: bool,
    round_trip: Option<Duration>,
    /// Middle NTP bits of the last sender report, and when it came.
    sender_report: Option<(u32, Instant)>,
}

impl Reception {
    /// `clock_rate` in Hz. `repairs_apart`: retransmissions come on a stream of their own (RFC 4588), so that nothing else
    /// is an answer to a request.
    pub fn new(clock_rate: u32, repairs_apart: bool, now: Instant) -> Self {
        Reception {
            clock_rate,
            repairs_apart,
            epoch: now,
            base: None,
            top: 0,
            seen: Box::new([0; WORDS]),
            received: 0,
            reported: (0, 0),
            jitter_scaled: 0,
            transit: None,
            missing: VecDeque::new(),
            next_due: None,
            gave_up: false,
            round_trip: None,
            sender_report: None,
        }
    }

    /// The highest extended sequence number so far: what a retransmission's 16 bits are extended against.
    pub fn top(&self) -> Option<u64> {
        self.base.map(|_| self.top)
    }

    /// Takes a packet. `sequence` is extended; `repaired`: it came as a retransmission on another stream, so its time
    /// says nothing of jitter.
    pub fn handle(&mut self, sequence: u64, timestamp: u32, repaired: bool, now: Instant) -> Arrival {
        if self.base.is_none() {
            self.base = Some(sequence);
            self.top = sequence;
            self.mark(sequence);
            self.received = 1;
            self.note_transit(timestamp, repaired, now);
            return Arrival::Newest;
        }
        if sequence > self.top {
            self.advance(sequence, now);
            self.note_transit(timestamp, repaired, now);
            self.received += 1;
            return Arrival::Newest;
        }
        if self.top - sequence >= WINDOW {
            return Arrival::TooOld;
        }
        if self.is_marked(sequence) {
            return Arrival::Duplicate;
        }
        self.mark(sequence);
        self.received += 1;
        // a packet from before the first one is not one more that was expected and lost
        self.base = self.base.map(|base| base.min(sequence));
        self.fill(sequence, repaired, now);
        Arrival::Late
    }

    /// A sender report of this SSRC came; `ntp` is its time as it stands.
    pub fn handle_sender_report(&mut self, ntp: u64, now: Instant) {
        self.sender_report = Some((ntp_middle(ntp), now));
    }

    /// Appends the sequence numbers to ask for now, ascending.
    pub fn poll_nack(&mut self, now: Instant, lost: &mut Vec<u64>) {
        if self.next_due.is_none_or(|due| due > now) {
            return;
        }
        let interval = self.retry_interval();
        let mut gave_up = false;
        self.missing.retain_mut(|missing| {
            if missing.due > now {
                return true;
            }
            if missing.tries >= TRIES_MAX {
                gave_up = true;
                return false;
            }
            missing.tries += 1;
            missing.first_asked.get_or_insert(now);
            missing.due = now + interval;
            lost.push(missing.sequence);
            true
        });
        self.gave_up |= gave_up;
        self.next_due = self.missing.iter().map(|missing| missing.due).min();
    }

    /// When [`poll_nack`](Self::poll_nack) has something to do.
    pub fn nack_timeout(&self) -> Option<Instant> {
        self.next_due
    }

    /// Whether packets were given up since the last call: only a keyframe helps.
    pub fn take_gave_up(&mut self) -> bool {
        std::mem::take(&mut self.gave_up)
    }

    /// Asks for nothing of what is missing now: nobody wants it any more.
    pub fn forget_missing(&mut self) {
        self.missing.clear();
        self.next_due = None;
    }

    /// How long a request takes to be answered, as measured.
    pub fn round_trip(&self) -> Option<Duration> {
        self.round_trip
    }

    /// The report block (RFC 3550 §6.4.1, appendix A.3) since the last one. `None`: nothing received yet.
    pub fn report(&mut self, ssrc: u32, now: Instant) -> Option<ReportBlock> {
        let expected = self.top - self.base? + 1;
        let expected_now = expected.saturating_sub(self.reported.0);
        let received_now = self.received.saturating_sub(self.reported.1);
        self.reported = (expected, self.received);
        let lost_now = expected_now.saturating_sub(received_now);
        let fraction = (lost_now * 256).checked_div(expected_now).unwrap_or(0);
        let total = i64::try_from(expected).unwrap_or(i64::MAX) - i64::try_from(self.received).unwrap_or(i64::MAX);
        let (last_sender_report, delay) = match self.sender_report {
            // 1/65536 s; wraps after 18 hours without a sender report
            Some((middle, at)) => (middle, (ntp_duration(now.saturating_duration_since(at)) >> 16) as u32),
            None => (0, 0),
        };
        Some(ReportBlock {
            ssrc,
            fraction_lost: u8::try_from(fraction).unwrap_or(u8::MAX),
            total_lost: total.clamp(-0x80_0000, 0x7f_ffff) as i32,
            // the low 16 bits of the roll-over counter above the sequence number
            highest_sequence: self.top as u32,
            jitter: u32::try_from(self.jitter_scaled / 16).unwrap_or(u32::MAX),
            last_sender_report,
            delay,
        })
    }

    fn retry_interval(&self) -> Duration {
        self.round_trip
            .map_or(RETRY_UNKNOWN, |rtt| (rtt * 3 / 2).clamp(RETRY_MIN, RETRY_MAX))
    }

    fn slot(sequence: u64) -> (usize, u64) {
        let bit = sequence % WINDOW;
        ((bit / 64) as usize, 1 << (bit % 64))
    }

    fn is_marked(&self, sequence: u64) -> bool {
        let (word, bit) = Self::slot(sequence);
        self.seen[word] & bit != 0
    }

    fn mark(&mut self, sequence: u64) {
        let (word, bit) = Self::slot(sequence);
        self.seen[word] |= bit;
    }

    fn advance(&mut self, sequence: u64, now: Instant) {
        let gap = sequence - self.top - 1;
        if gap >= WINDOW {
            self.seen.fill(0);
        } else {
            for skipped in self.top + 1..=sequence {
                let (word, bit) = Self::slot(skipped);
                self.seen[word] &= !bit;
            }
        }
        self.mark(sequence);
        if gap > 0 {
            self.note_gap(sequence, gap, now);
        }
        self.top = sequence;
    }

    fn note_gap(&mut self, sequence: u64, gap: u64, now: Instant) {
        if self.missing.len() as u64 + gap > MISSING_MAX as u64 {
            self.missing.clear();
            self.gave_up = true;
            self.next_due = None;
            if gap > MISSING_MAX as u64 {
                return;
            }
        }
        let due = now + REORDER_TOLERANCE;
        for lost in self.top + 1..sequence {
            self.missing.push_back(Missing {
                sequence: lost,
                tries: 0,
                due,
                first_asked: None,
            });
        }
        self.next_due = Some(self.next_due.map_or(due, |next| next.min(due)));
    }

    fn fill(&mut self, sequence: u64, repaired: bool, now: Instant) {
        let Ok(at) = self.missing.binary_search_by_key(&sequence, |missing| missing.sequence) else {
            return;
        };
        let Some(missing) = self.missing.remove(at) else { return };
        // else it was only late
        let is_answer = repaired || !self.repairs_apart;
        if let Some(asked) = missing.first_asked.filter(|_| is_answer) {
            self.note_answer(missing.tries, now.saturating_duration_since(asked));
        }
        if self.missing.is_empty() {
            self.next_due = None;
        }
    }

    /// A packet came `since` it was first asked for. Only the answer to a first request is known to answer that one. Of
    /// others the time is no less than a round trip: better than nothing, and to be believed where a packet was asked for
    /// so often that answers take longer than is thought.
    fn note_answer(&mut self, tries: u8, since: Duration) {
        self.round_trip = match self.round_trip {
            None => Some(since),
            Some(known) if tries == 1 || tries >= TRIES_DOUBTFUL => Some((known * 7 + since) / 8),
            known => known,
        };
    }

    /// RFC 3550 appendix A.8, on packets that came in order only.
    fn note_transit(&mut self, timestamp: u32, repaired: bool, now: Instant) {
        if repaired {
            return;
        }
        let elapsed_us = i64::try_from(now.saturating_duration_since(self.epoch).as_micros()).unwrap_or(i64::MAX);
        let ticks = elapsed_us.saturating_mul(i64::from(self.clock_rate)) / 1_000_000;
        let transit = ticks.wrapping_sub(i64::from(timestamp));
        if let Some(last) = self.transit.replace(transit) {
            // both wrap at 32 bits, and so does their difference
            let distance = i64::from(((transit.wrapping_sub(last)) as i32).unsigned_abs());
            self.jitter_scaled += distance - (self.jitter_scaled + 8) / 16;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{Rng, SeedableRng, rngs::StdRng};
    use std::collections::BTreeSet;

    const MS: Duration = Duration::from_millis(1);

    fn nacks(reception: &mut Reception, now: Instant) -> Vec<u64> {
        let mut lost = vec![];
        reception.poll_nack(now, &mut lost);
        lost
    }

    #[test]
    fn reordering_is_not_loss() {
        let now = Instant::now();
        let mut reception = Reception::new(90_000, true, now);
        assert_eq!(reception.handle(10, 0, false, now), Arrival::Newest);
        assert_eq!(reception.handle(12, 0, false, now), Arrival::Newest);
        assert_eq!(reception.nack_timeout(), Some(now + REORDER_TOLERANCE));
        assert!(nacks(&mut reception, now + 5 * MS).is_empty());
        assert_eq!(reception.handle(11, 0, false, now + 6 * MS), Arrival::Late);
        assert_eq!(reception.nack_timeout(), None);
        assert!(nacks(&mut reception, now + 100 * MS).is_empty());
    }

    #[test]
    fn loss_is_asked_for_again_and_given_up() {
        let now = Instant::now();
        let mut reception = Reception::new(90_000, true, now);
        for sequence in [10, 11, 14, 16] {
            reception.handle(sequence, 0, false, now);
        }
        let first = now + REORDER_TOLERANCE;
        assert_eq!(nacks(&mut reception, first), [12, 13, 15]);
        assert!(nacks(&mut reception, first + 59 * MS).is_empty());
        assert_eq!(reception.handle(13, 0, true, first + 40 * MS), Arrival::Late);
        assert_eq!(reception.round_trip(), Some(40 * MS));
        assert_eq!(reception.handle(13, 0, false, first + 41 * MS), Arrival::Duplicate);
        let mut asked = 0;
        let mut at = first + RETRY_UNKNOWN;
        while let Some(due) = reception.nack_timeout() {
            at = at.max(due);
            asked += nacks(&mut reception, at).len();
        }
        assert_eq!(asked, 2 * usize::from(TRIES_MAX - 1));
        assert!(reception.take_gave_up());
        assert!(!reception.take_gave_up());
        // given up is not forbidden
        assert_eq!(reception.handle(12, 0, false, at), Arrival::Late);
    }

    /// Loses every tenth packet of a stream of 100 a second; each request is answered after `round_trip`.
    fn requests_per_loss(reception: &mut Reception, start: Instant, round_trip: Duration) -> f64 {
        let (mut answers, mut asked, mut losses) = (vec![], 0, 0);
        let first = reception.top().map_or(0, |top| top + 1);
        for tick in 0..3000u32 {
            let now = start + tick * MS;
            let sequence = first + u64::from(tick / 10);
            if tick % 10 == 0 && sequence % 10 == 5 {
                losses += 1;
            } else if tick % 10 == 0 {
                reception.handle(sequence, 0, false, now);
            }
            answers.retain(|(due, sequence)| {
                if *due == now {
                    reception.handle(*sequence, 0, true, now);
                }
                *due > now
            });
            let lost = nacks(reception, now);
            asked += lost.len();
            answers.extend(lost.into_iter().map(|sequence| (now + round_trip, sequence)));
        }
        asked as f64 / f64::from(losses)
    }

    #[test]
    fn a_long_round_trip_is_learned_and_packets_are_asked_for_once() {
        let start = Instant::now();
        let mut reception = Reception::new(90_000, true, start);
        let far = requests_per_loss(&mut reception, start, 200 * MS);
        assert!(far < 1.2, "{far}");
        assert_eq!(reception.round_trip(), Some(200 * MS));
        // and learned anew when it changes, as far as answers tell which request they answer
        let mut reception = Reception::new(90_000, true, start);
        assert!(requests_per_loss(&mut reception, start, 20 * MS) < 1.1);
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(requests_per_loss(&mut reception, at(3), 200 * MS) < 3.0);
        assert!(requests_per_loss(&mut reception, at(6), 200 * MS) <= 2.0);
    }

    #[test]
    fn what_was_only_late_answers_no_request() {
        let now = Instant::now();
        for repairs_apart in [true, false] {
            let mut reception = Reception::new(90_000, repairs_apart, now);
            reception.handle(10, 0, false, now);
            reception.handle(12, 0, false, now);
            assert_eq!(nacks(&mut reception, now + REORDER_TOLERANCE), [11]);
            reception.handle(11, 0, false, now + REORDER_TOLERANCE + 5 * MS);
            let expected = if repairs_apart { None } else { Some(5 * MS) };
            assert_eq!(
                reception.round_trip(),
                expected,
                "without a stream of their own nobody can tell"
            );
        }
    }

    #[test]
    fn a_burst_beyond_repair_is_given_up_at_once() {
        let now = Instant::now();
        let mut reception = Reception::new(90_000, true, now);
        reception.handle(10, 0, false, now);
        reception.handle(11 + MISSING_MAX as u64 + 1, 0, false, now);
        assert!(reception.take_gave_up());
        assert_eq!(reception.nack_timeout(), None);
        assert_eq!(reception.handle(1_000_000, 0, false, now), Arrival::Newest);
        assert_eq!(reception.handle(10, 0, false, now), Arrival::TooOld);
        assert_eq!(reception.handle(999_999, 0, false, now), Arrival::Late);
    }

    #[test]
    fn reports_count_loss_jitter_and_the_delay_since_the_sender_report() {
        let now = Instant::now();
        let mut reception = Reception::new(90_000, true, now);
        assert_eq!(reception.report(5, now), None);
        reception.handle_sender_report(0x0000_1234_5678_0000, now);
        // every 10 ms a packet of 900 ticks, one in four lost, arrival alternating by 2 ms
        for i in 0..400u64 {
            let at = now + MS * (10 * i as u32) + if i % 2 == 0 { 2 * MS } else { Duration::ZERO };
            if i % 4 != 3 {
                reception.handle(0xfff0 + i, (i as u32).wrapping_mul(900), false, at);
            }
        }
        let report = reception.report(5, now + 500 * MS).unwrap();
        // the last one of the 400 is lost as well, which nobody knows yet
        assert_eq!(report.total_lost, 99);
        assert_eq!(report.fraction_lost, (99 * 256 / 399) as u8);
        assert_eq!(report.highest_sequence, 0xfff0 + 398);
        assert_eq!((report.last_sender_report, report.delay), (0x1234_5678, 0x8000));
        assert!((90..=180).contains(&report.jitter), "{}", report.jitter);
        let next = reception.report(5, now + 500 * MS).unwrap();
        assert_eq!((next.fraction_lost, next.total_lost), (0, 99));
    }

    #[test]
    fn every_packet_counts_once_under_any_network() {
        for seed in 0..20 {
            let mut rng = StdRng::seed_from_u64(seed);
            let mut now = Instant::now();
            let mut reception = Reception::new(90_000, true, now);
            let (mut taken, mut lost) = (BTreeSet::new(), vec![]);
            let mut in_flight: Vec<(Instant, u64)> = vec![];
            for sequence in 60_000..64_000u64 {
                now += MS;
                let copies = [0, 1, 1, 1, 1, 1, 1, 1, 1, 2][rng.random_range(0..10)];
                // the stream's ends are certain, for what follows them tells of a hole
                let copies = if sequence == 60_000 || sequence == 63_999 {
                    1
                } else {
                    copies
                };
                for _ in 0..copies {
                    in_flight.push((now + MS * rng.random_range(0..30), sequence));
                }
                let mut due: Vec<u64> = vec![];
                in_flight.retain(|(at, sequence)| {
                    let arrives = *at <= now;
                    if arrives {
                        due.push(*sequence);
                    }
                    !arrives
                });
                for sequence in due {
                    let arrival = reception.handle(sequence, sequence as u32 * 90, false, now);
                    let fresh = matches!(arrival, Arrival::Newest | Arrival::Late);
                    assert_eq!(fresh, taken.insert(sequence), "{sequence} {arrival:?}");
                }
                lost.clear();
                reception.poll_nack(now, &mut lost);
                assert!(lost.is_sorted());
                for asked in &lost {
                    assert!(!taken.contains(asked));
                    // the network loses one answer in eight
                    if rng.random_range(0..8) > 0 {
                        in_flight.push((now + 40 * MS, *asked));
                    }
                }
            }
            let top = reception.top().unwrap();
            // what was lost before the first that came is unknown
            let missing = (60_031..top - 700).filter(|sequence| !taken.contains(sequence)).count();
            assert_eq!(missing, 0);
        }
    }
}
