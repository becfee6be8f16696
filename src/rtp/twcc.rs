//! Transport-wide congestion control, the receiver's half (draft-holmer-rmcat-transport-wide-cc-extensions-01): records
//! when packets arrived, and writes the feedback the publisher's bandwidth estimate lives on.

use crate::rtp::rtcp::{FMT_TRANSPORT_CC, TRANSPORT_FEEDBACK, write};
use crate::rtp::sequence::nearest;
use std::collections::VecDeque;
use std::time::Instant;

/// Packets told of in one feedback packet; with large deltas for all of them it still fits into 1200 bytes.
const STATUSES_MAX: usize = 400;
/// The span of sequence numbers remembered: 2 s of 1000 packets/s. A jump beyond starts anew.
const SPAN_MAX: usize = 2048;
/// Packets told of already that are remembered, so that one that comes late can be told again among its neighbours.
const HISTORY: usize = 128;
const TICK_US: i64 = 250;
const REFERENCE_US: i64 = 64_000;
/// Statuses of a run-length chunk; a run shorter than a status vector is not worth one.
const RUN_MAX: usize = 0x1fff;
const VECTOR_LEN: usize = 7;

/// Arrivals by transport-wide sequence number, since the last feedback and a little before.
#[derive(Debug)]
pub struct Recorder {
    epoch: Instant,
    /// Extended sequence number of `arrivals[0]`.
    first: u64,
    /// Microseconds since `epoch`; `None`: not (yet) arrived.
    arrivals: VecDeque<Option<i64>>,
    /// The next packet to tell of.
    next: u64,
    /// Packets recorded and not told of.
    fresh: usize,
    feedback_count: u8,
    /// Reused between feedbacks.
    symbols: Vec<u16>,
    deltas: Vec<u8>,
}

impl Recorder {
    pub fn new(now: Instant) -> Self {
        Recorder {
            epoch: now,
            first: 0,
            arrivals: VecDeque::new(),
            next: 0,
            fresh: 0,
            feedback_count: 0,
            symbols: vec![],
            deltas: vec![],
        }
    }

    /// A packet with this transport-wide sequence number arrived.
    pub fn record(&mut self, sequence: u16, now: Instant) {
        let at = i64::try_from(now.saturating_duration_since(self.epoch).as_micros()).unwrap_or(i64::MAX);
        let Some(top) = self.top() else {
            return self.restart(0x1_0000 + u64::from(sequence), at);
        };
        let sequence = nearest(top, sequence);
        if sequence > top + SPAN_MAX as u64 {
            return self.restart(sequence, at);
        }
        let Some(index) = sequence.checked_sub(self.first) else {
            // older than anything remembered
            return;
        };
        // bounded by SPAN_MAX above the top, which is itself inside
        let index = index as usize;
        while self.arrivals.len() <= index {
            self.arrivals.push_back(None);
        }
        while self.arrivals.len() > SPAN_MAX {
            if self.arrivals.pop_front().flatten().is_some() && self.first >= self.next {
                self.fresh = self.fresh.saturating_sub(1);
            }
            self.first += 1;
        }
        self.next = self.next.max(self.first);
        let Some(slot) = sequence
            .checked_sub(self.first)
            .and_then(|index| self.arrivals.get_mut(index as usize))
        else {
            return;
        };
        if slot.is_none() {
            *slot = Some(at);
            self.fresh += 1;
            self.next = self.next.min(sequence);
        }
    }

    /// Packets that the next feedback will tell of for the first time.
    pub fn pending(&self) -> usize {
        self.fresh
    }

    /// Appends one feedback block. `false`: nothing to tell. When [`pending`](Self::pending) stays above 0, there is
    /// more than fits into one.
    pub fn write_feedback(&mut self, out: &mut Vec<u8>, sender_ssrc: u32, media_ssrc: u32) -> bool {
        let mut skip = self.next.saturating_sub(self.first) as usize;
        let mut untold = self.arrivals.iter().enumerate().skip(skip);
        let Some((index, first_arrival)) = untold.find_map(|(index, arrival)| Some((index, (*arrival)?))) else {
            self.fresh = 0;
            return false;
        };
        if index - skip >= STATUSES_MAX {
            // a loss longer than a feedback: senders take numbers between two feedbacks for lost
            self.next = self.first + index as u64;
            skip = index;
        }
        let reference = first_arrival.div_euclid(REFERENCE_US);
        self.collect(skip, reference * REFERENCE_US);

        let start = write::begin(out, FMT_TRANSPORT_CC, TRANSPORT_FEEDBACK);
        out.extend_from_slice(&sender_ssrc.to_be_bytes());
        out.extend_from_slice(&media_ssrc.to_be_bytes());
        // the wire has the low bits of all of these
        out.extend_from_slice(&(self.next as u16).to_be_bytes());
        out.extend_from_slice(&(self.symbols.len() as u16).to_be_bytes());
        let reference = (reference as u32) << 8;
        out.extend_from_slice(&(reference | u32::from(self.feedback_count)).to_be_bytes());
        write_chunks(out, &self.symbols);
        out.extend_from_slice(&self.deltas);
        write::finish(out, start);

        self.feedback_count = self.feedback_count.wrapping_add(1);
        self.next += self.symbols.len() as u64;
        self.forget();
        true
    }

    fn top(&self) -> Option<u64> {
        (self.first + self.arrivals.len() as u64)
            .checked_sub(1)
            .filter(|_| !self.arrivals.is_empty())
    }

    fn restart(&mut self, sequence: u64, at: i64) {
        self.arrivals.clear();
        self.arrivals.push_back(Some(at));
        (self.first, self.next, self.fresh) = (sequence, sequence, 1);
    }

    /// Turns what is to be told into symbols and deltas, ending with the last arrival, at [`STATUSES_MAX`], or before a
    /// delta that has no wire form (the next feedback has a new reference).
    fn collect(&mut self, skip: usize, mut clock: i64) {
        self.symbols.clear();
        self.deltas.clear();
        let mut told = 0;
        for (index, arrival) in self.arrivals.iter().skip(skip).take(STATUSES_MAX).enumerate() {
            let Some(at) = arrival else {
                self.symbols.push(0);
                continue;
            };
            let delta = (at - clock + TICK_US / 2).div_euclid(TICK_US);
            if let Ok(small) = u8::try_from(delta) {
                self.symbols.push(1);
                self.deltas.push(small);
            } else if let Ok(large) = i16::try_from(delta) {
                self.symbols.push(2);
                self.deltas.extend_from_slice(&large.to_be_bytes());
            } else {
                break;
            }
            // what the receiver adds up, so that rounding does not accumulate
            clock += delta * TICK_US;
            told = index + 1;
        }
        self.symbols.truncate(told);
    }

    /// Drops what is told of, but for the history, and counts what is left to tell.
    fn forget(&mut self) {
        while self.first + (HISTORY as u64) < self.next {
            self.arrivals.pop_front();
            self.first += 1;
        }
        let told = self.next.saturating_sub(self.first) as usize;
        self.fresh = self.arrivals.iter().skip(told).flatten().count();
    }
}

/// Packet status chunks (§3.1.3, §3.1.4): runs where they pay, else vectors of seven two-bit symbols.
fn write_chunks(out: &mut Vec<u8>, symbols: &[u16]) {
    let mut rest = symbols;
    while let Some(symbol) = rest.first() {
        let run = rest.iter().take_while(|other| *other == symbol).count().min(RUN_MAX);
        let (chunk, taken) = if run >= VECTOR_LEN || run == rest.len() {
            ((symbol << 13) | run as u16, run)
        } else {
            let taken = rest.len().min(VECTOR_LEN);
            let bits = rest
                .iter()
                .take(taken)
                .enumerate()
                .fold(0u16, |bits, (i, symbol)| bits | (symbol << (12 - 2 * i)));
            (0xc000 | bits, taken)
        };
        out.extend_from_slice(&chunk.to_be_bytes());
        rest = &rest[taken..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtp::rtcp::{Block, blocks};
    use bytes::Bytes;
    use rand::{Rng, SeedableRng, rngs::StdRng};
    use rtc_rtcp::transport_feedbacks::transport_layer_cc::TransportLayerCc;
    use std::collections::BTreeMap;
    use std::time::Duration;

    fn feedback(recorder: &mut Recorder) -> Option<Vec<(u16, Option<i64>)>> {
        let mut out = vec![];
        if !recorder.write_feedback(&mut out, 1, 2) {
            assert!(out.is_empty());
            return None;
        }
        assert!(out.len() <= 1200);
        let packets = rtc_rtcp::packet::unmarshal(&mut Bytes::from(out.clone())).unwrap();
        let other = packets[0].as_any().downcast_ref::<TransportLayerCc>().unwrap();
        let Some(Block::TransportCc(cc)) = blocks(&out).next() else {
            panic!()
        };
        assert_eq!((cc.sender_ssrc, cc.media_ssrc), (1, 2));
        let arrivals: Vec<_> = cc.arrivals().collect();
        assert_eq!(arrivals.len(), usize::from(cc.count));
        assert_eq!(usize::from(other.packet_status_count), arrivals.len());
        assert_eq!(
            other.recv_deltas.len(),
            arrivals.iter().filter(|(_, at)| at.is_some()).count()
        );
        Some(arrivals)
    }

    fn sequences(arrivals: &[(u16, Option<i64>)]) -> Vec<(u16, bool)> {
        arrivals
            .iter()
            .map(|(sequence, at)| (*sequence, at.is_some()))
            .collect()
    }

    #[test]
    fn tells_of_each_packet_once_over_the_wrap() {
        let start = Instant::now();
        let mut recorder = Recorder::new(start);
        assert_eq!(feedback(&mut recorder), None);
        for (i, sequence) in [65_533u16, 65_534, 0, 1].into_iter().enumerate() {
            recorder.record(sequence, start + Duration::from_millis(3 * i as u64));
        }
        assert_eq!(recorder.pending(), 4);
        let told = feedback(&mut recorder).unwrap();
        assert_eq!(
            sequences(&told),
            [(65_533, true), (65_534, true), (65_535, false), (0, true), (1, true)]
        );
        assert_eq!(told[4].1, Some(9000));
        assert_eq!(recorder.pending(), 0);
        assert_eq!(feedback(&mut recorder), None);
        recorder.record(4, start + Duration::from_secs(100));
        let told = feedback(&mut recorder).unwrap();
        assert_eq!(sequences(&told), [(2, false), (3, false), (4, true)]);
        assert_eq!(told[2].1, Some(100_000_000));
    }

    #[test]
    fn a_late_packet_is_told_with_its_neighbours() {
        let start = Instant::now();
        let mut recorder = Recorder::new(start);
        for sequence in [1u16, 2, 4, 5] {
            recorder.record(sequence, start);
        }
        feedback(&mut recorder).unwrap();
        recorder.record(3, start + Duration::from_millis(20));
        assert_eq!(
            sequences(&feedback(&mut recorder).unwrap()),
            [(3, true), (4, true), (5, true)]
        );
        recorder.record(3, start + Duration::from_millis(30));
        assert_eq!(feedback(&mut recorder), None);
    }

    #[test]
    fn gaps_in_time_and_in_numbers_are_bounded() {
        let start = Instant::now();
        let mut recorder = Recorder::new(start);
        recorder.record(10, start);
        recorder.record(11, start + Duration::from_secs(9)); // 36,000 ticks: no wire form
        assert_eq!(sequences(&feedback(&mut recorder).unwrap()), [(10, true)]);
        assert_eq!(recorder.pending(), 1);
        assert_eq!(feedback(&mut recorder).unwrap(), [(11, Some(9_000_000))]);
        recorder.record(30_000, start + Duration::from_secs(9));
        assert_eq!(sequences(&feedback(&mut recorder).unwrap()), [(30_000, true)]);
        for i in 0..10_000u32 {
            recorder.record((30_001 + i) as u16, start + Duration::from_secs(10));
        }
        assert!(recorder.arrivals.len() <= SPAN_MAX && recorder.pending() <= SPAN_MAX);
        let mut told = 0;
        while let Some(arrivals) = feedback(&mut recorder) {
            told += arrivals.len();
        }
        assert_eq!(told, SPAN_MAX);
    }

    #[test]
    fn a_loss_longer_than_a_feedback_is_stepped_over() {
        let start = Instant::now();
        let mut recorder = Recorder::new(start);
        recorder.record(1, start);
        feedback(&mut recorder).unwrap();
        recorder.record(1002, start);
        assert_eq!(sequences(&feedback(&mut recorder).unwrap()), [(1002, true)]);
        assert_eq!(feedback(&mut recorder), None);
    }

    #[test]
    fn the_reference_time_wraps_at_24_bits() {
        let start = Instant::now();
        let mut recorder = Recorder::new(start);
        // 2^24 × 64 ms and a bit
        let late = Duration::from_millis((1 << 24) * 64 + 65);
        recorder.record(7, start + late);
        assert_eq!(feedback(&mut recorder).unwrap(), [(7, Some(65_000))]);
    }

    #[test]
    fn random_arrivals_are_told_to_the_tick() {
        for seed in 0..20 {
            let mut rng = StdRng::seed_from_u64(seed);
            let start = Instant::now();
            let mut recorder = Recorder::new(start);
            let (mut sent, mut told) = (BTreeMap::new(), BTreeMap::new());
            let (mut now_us, mut next) = (0u64, 64_000u64);
            for _ in 0..4000 {
                now_us += rng.random_range(0..9000);
                next += 1 + u64::from(rng.random_range(0..20) == 0) * rng.random_range(1..30);
                recorder.record(next as u16, start + Duration::from_micros(now_us));
                sent.insert(next as u16, now_us as i64);
                if rng.random_range(0..30) == 0 {
                    while let Some(arrivals) = feedback(&mut recorder) {
                        told.extend(arrivals.into_iter().filter_map(|(sequence, at)| Some((sequence, at?))));
                    }
                    for (sequence, at) in &told {
                        assert!(
                            (sent[sequence] - at).abs() <= TICK_US / 2 + 1,
                            "{sequence}: {} {at}",
                            sent[sequence]
                        );
                    }
                    assert_eq!(told.len(), sent.len());
                }
            }
        }
    }
}
