//! One outgoing stream made of many incoming ones: sequence numbers, timestamps and picture ids go on over layer
//! switches, source changes and codec changes.

use super::clock::{Clock, ticks_between};
use super::header::frame_number;
use super::{LayerIndex, SourceId};
use crate::rtp::parameters::SendCodec;
use crate::rtp::{MediaKind, Meta, PacketView, PictureIds, PictureOffsets};
use std::time::Instant;

/// A stretch of packets from one encoding under constant offsets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    /// Outgoing index (ROC ‖ SEQ) of its first packet.
    pub(super) first: u64,
    pub(super) source: SourceId,
    pub(super) layer: LayerIndex,
    /// [`FeedTrack::interruptions`](super::feed::FeedTrack) when it began.
    pub(super) interruptions: u32,
    pub(super) codec: SendCodec,
    /// Outgoing index − publisher's sequence.
    sequence_offset: i64,
    timestamp_offset: u32,
    pictures: PictureOffsets,
    /// Added to the frame numbers of dependency descriptors.
    pub(super) frame_number_offset: u16,
}

impl Run {
    /// The outgoing index of the publisher's `sequence`; `None`: from before the run.
    pub(super) fn index_of(&self, sequence: u64) -> Option<u64> {
        sequence
            .checked_add_signed(self.sequence_offset)
            .filter(|index| *index >= self.first)
    }

    /// The publisher's sequence behind an outgoing index.
    pub(super) fn sequence_of(&self, index: u64) -> Option<u64> {
        index.checked_add_signed(self.sequence_offset.checked_neg()?)
    }

    pub(super) fn timestamp_of(&self, timestamp: u32) -> u32 {
        timestamp.wrapping_add(self.timestamp_offset)
    }

    /// Rewrites the picture ids of a payload of this run.
    pub(super) fn rewrite(&self, payload: &mut [u8]) {
        self.codec.codec.rewrite_pictures(&self.pictures, payload);
    }
}

/// The newest packet sent, as its receiver and as its publisher know it.
#[derive(Clone, Copy, Debug)]
pub(super) struct LastSent {
    pub(super) index: u64,
    pub(super) timestamp: u32,
    pub(super) source_timestamp: u32,
    pub(super) arrival: Instant,
    /// Of the encoding it came from, as known when it was sent.
    pub(super) clock: Option<Clock>,
    pictures: Option<PictureIds>,
    /// Of the dependency descriptor.
    frame_number: Option<u16>,
}

/// What NACKs can refer to: receivers ask for at most the last second or so, and sources change more slowly than this.
const MAX_RUNS: usize = 4;
/// Clocks of two sources that disagree with the packets' arrival by more than this are not believed: a device woke up, or
/// a publisher's clock leapt.
const MAX_CLOCK_ERROR_S: i64 = 3;
/// A step of the numbers that is no loss: what is behind it continues nothing. A receiver finds the roll-over counter of
/// what is less than 2^15 from the newest it has (RFC 3711 §3.3.1), and one that is wrong once stays wrong: so three times
/// this may be lost on the way to it. Packets of one ring are never so far apart.
pub(super) const LEAP_MAX: u64 = 8192;
/// Of sound, as everybody sends it: 20 ms each (RFC 7587 §4.2).
const PACKETS_PER_SECOND: i64 = 50;
/// First sequence numbers stay below, so that the receiver's roll-over counter is 0 even if the first packets are lost
/// (RFC 3711, 3.3.1).
const FIRST_INDEX_MASK: u64 = 0x7fff;

/// The numbering of one outgoing stream.
#[derive(Debug, Default)]
pub(super) struct Switcher {
    /// Oldest first; the last one is current, or was when the stream stopped.
    runs: Vec<Run>,
    last: Option<LastSent>,
}

impl Switcher {
    pub(super) fn current(&self) -> Option<&Run> {
        self.runs.last()
    }

    pub(super) fn last(&self) -> Option<&LastSent> {
        self.last.as_ref()
    }

    /// Whether a packet under this index would be too far from what was sent for its receiver to find its place.
    pub(super) fn leaps_to(&self, index: u64) -> bool {
        self.last
            .is_some_and(|last| index.saturating_sub(last.index) > LEAP_MAX)
    }

    /// From `first` on packets come from this encoding: the next outgoing number is its.
    pub(super) fn begin(
        &mut self,
        source: SourceId,
        layer: LayerIndex,
        interruptions: u32,
        codec: SendCodec,
        first: &PacketView,
        clock: Option<Clock>,
    ) {
        let sequence = first.meta.sequence;
        let index = self.last.map_or(sequence & FIRST_INDEX_MASK, |last| last.index + 1);
        let timestamp_offset = self.timestamp_offset(source, layer, &first.meta, clock);
        let pictures = match (
            self.last.and_then(|last| last.pictures),
            codec.codec.picture_ids(first.payload()),
        ) {
            (Some(last), Some(first)) => PictureOffsets::continue_after(last, first),
            _ => PictureOffsets::default(),
        };
        let frame_numbers = self
            .last
            .and_then(|last| last.frame_number)
            .zip(frame_number(first.extensions()));
        debug_assert!(
            self.last.is_none_or(|last| last.index < index),
            "an index is never used twice"
        );
        if self.runs.len() == MAX_RUNS {
            self.runs.remove(0);
        }
        self.runs.push(Run {
            first: index,
            source,
            layer,
            interruptions,
            codec,
            sequence_offset: index.wrapping_sub(sequence).cast_signed(),
            timestamp_offset,
            pictures,
            frame_number_offset: frame_numbers.map_or(0, |(last, first)| last.wrapping_add(1).wrapping_sub(first)),
        });
    }

    /// A packet of the current run left as `index`; `payload` is what was sent.
    pub(super) fn sent(&mut self, index: u64, packet: &PacketView, clock: Option<Clock>, payload: &[u8]) {
        let Some(run) = self.runs.last() else { return };
        if self.last.is_some_and(|last| last.index >= index) {
            return;
        }
        let meta = &packet.meta;
        let pictures = run.codec.codec.picture_ids(payload);
        let frame_number = frame_number(packet.extensions()).map(|number| number.wrapping_add(run.frame_number_offset));
        self.last = Some(LastSent {
            index,
            timestamp: run.timestamp_of(meta.timestamp),
            source_timestamp: meta.timestamp,
            arrival: meta.arrival,
            clock,
            pictures: pictures.or(self.last.and_then(|last| last.pictures)),
            frame_number: frame_number.or(self.last.and_then(|last| last.frame_number)),
        });
    }

    /// The index and the run of a sequence number a receiver misses.
    pub(super) fn find(&self, lost: u16) -> Option<(u64, &Run)> {
        let newest = self.last?.index;
        let behind = (newest as u16).wrapping_sub(lost);
        let index = newest.checked_sub(u64::from(behind))?;
        let run = self.runs.iter().rev().find(|run| run.first <= index)?;
        Some((index, run))
    }

    /// Timestamps advance by the time that went by: on the server's clock where both sides have one, else by arrival. An
    /// encoding that goes on after a pause keeps its own time line.
    fn timestamp_offset(&self, source: SourceId, layer: LayerIndex, first: &Meta, clock: Option<Clock>) -> u32 {
        let (Some(last), Some(run)) = (&self.last, self.runs.last()) else {
            return 0;
        };
        if run.source == source && run.layer == layer {
            let ahead = run
                .timestamp_of(first.timestamp)
                .wrapping_sub(last.timestamp)
                .cast_signed();
            if ahead > 0 {
                return run.timestamp_offset;
            }
        }
        let rate = first.codec.clock_rate();
        let elapsed = match first.arrival.checked_duration_since(last.arrival) {
            Some(later) => ticks(later, rate),
            None => -ticks(last.arrival.saturating_duration_since(first.arrival), rate),
        };
        let by_clock = last.clock.zip(clock).map(|(before, after)| {
            ticks_between(
                before.ntp_of(last.source_timestamp, rate),
                after.ntp_of(first.timestamp, rate),
                rate,
            )
        });
        let believable =
            |by_clock: &i64| by_clock.abs_diff(elapsed) <= (MAX_CLOCK_ERROR_S * i64::from(rate)).unsigned_abs();
        // at least one tick: receivers take equal timestamps for one picture; sound of somebody else does not begin before
        // what was sent is over
        let changed = run.source != source && first.codec.kind() == MediaKind::Audio;
        let least = if changed {
            i64::from(rate) / PACKETS_PER_SECOND
        } else {
            1
        };
        let step = by_clock
            .filter(believable)
            .unwrap_or(elapsed)
            .clamp(least, i64::from(i32::MAX));
        last.timestamp.wrapping_add(step as u32).wrapping_sub(first.timestamp)
    }
}

fn ticks(duration: std::time::Duration, clock_rate: u32) -> i64 {
    let ticks = duration.as_micros() * u128::from(clock_rate) / 1_000_000;
    i64::try_from(ticks).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtp::Codec;
    use std::time::Duration;

    const CODEC: SendCodec = SendCodec {
        codec: Codec::Opus,
        payload_type: 111,
        rtx_payload_type: None,
    };

    fn packet(sequence: u64, timestamp: u32, arrival: Instant) -> PacketView<'static> {
        let meta = Meta {
            sequence,
            timestamp,
            marker: true,
            starts_keyframe: true,
            codec: Codec::Opus,
            arrival,
            extensions_len: 0,
        };
        PacketView {
            meta,
            bytes: &[1, 2, 3],
        }
    }

    struct Stream {
        switcher: Switcher,
        start: Instant,
    }

    impl Stream {
        fn new() -> Self {
            Stream {
                switcher: Switcher::default(),
                start: Instant::now(),
            }
        }

        fn begin(
            &mut self,
            source: u64,
            sequence: u64,
            timestamp: u32,
            at_ms: u64,
            clock: Option<Clock>,
        ) -> (u64, u32) {
            let first = packet(sequence, timestamp, self.start + Duration::from_millis(at_ms));
            self.switcher
                .begin(SourceId(source), LayerIndex(0), 0, CODEC, &first, clock);
            self.send(sequence, timestamp, at_ms, clock)
        }

        fn send(&mut self, sequence: u64, timestamp: u32, at_ms: u64, clock: Option<Clock>) -> (u64, u32) {
            let run = *self.switcher.current().expect("begun");
            let index = run.index_of(sequence).expect("not from before");
            let packet = packet(sequence, timestamp, self.start + Duration::from_millis(at_ms));
            self.switcher.sent(index, &packet, clock, packet.payload());
            (index, run.timestamp_of(timestamp))
        }
    }

    #[test]
    fn the_first_number_has_no_roll_over_and_leaves_room_for_loss() {
        let mut stream = Stream::new();
        assert_eq!(stream.begin(1, 0x5_ffff, 9, 0, None), (0x7fff, 9));
        assert_eq!(stream.send(0x6_0001, 9, 0, None), (0x8001, 9));
        assert_eq!(
            stream.switcher.current().and_then(|run| run.index_of(0x5_fffe)),
            None,
            "from before"
        );
    }

    #[test]
    fn timestamps_advance_by_arrival_or_by_the_clock_if_both_have_one() {
        let clock = |ntp_s: u64, rtp| Some(Clock { ntp: ntp_s << 32, rtp });
        let mut stream = Stream::new();
        stream.begin(1, 100, 1000, 0, clock(50, 1000));
        // no clock on the new side
        assert_eq!(stream.begin(2, 7, u32::MAX, 20, None), (101, 1000 + 960));
        stream.begin(3, 500, 70, 40, clock(60, 70));
        // captured 3 s after the last one, though it arrived 2.9 s later
        assert_eq!(
            stream.begin(4, 5, 9, 2940, clock(63, 9)),
            (103, 1000 + 960 + 960 + 3 * 48_000)
        );
        // a clock that is far off is not believed
        let (_, before) = stream.send(6, 9 + 960, 2960, clock(63, 9));
        assert_eq!(stream.begin(5, 5, 0, 2980, clock(90, 0)), (105, before + 960));
        // and nothing goes back in time, nor begins before the last packet's 20 ms are over
        assert_eq!(stream.begin(6, 5, 0, 1980, clock(61, 0)), (106, before + 2 * 960));
    }

    #[test]
    fn an_encoding_that_goes_on_keeps_its_time_line() {
        let mut stream = Stream::new();
        stream.begin(1, 100, 1000, 0, None);
        assert_eq!(stream.begin(1, 200, 49_000, 1500, None), (101, 49_000));
        // unless that would go back
        assert_eq!(stream.begin(1, 300, 48_000, 1520, None), (102, 49_960));
    }

    #[test]
    fn what_is_missing_is_found_in_the_run_it_left_in() {
        let mut stream = Stream::new();
        let (first, _) = stream.begin(1, 0xfffe, 0, 0, None);
        stream.send(0xffff, 1, 0, None);
        stream.begin(2, 40, 0, 10, None);
        stream.send(45, 1, 10, None);
        let found = |stream: &Stream, index: u64| {
            let (index, run) = stream.switcher.find(index as u16)?;
            Some((run.source.0, run.sequence_of(index)?))
        };
        assert_eq!(found(&stream, first + 1), Some((1, 0xffff)));
        assert_eq!(found(&stream, first + 4), Some((2, 42)));
        assert_eq!(found(&stream, first + 8), None, "not sent yet");
        assert_eq!(found(&stream, first - 1), None, "never sent");
        for source in 3..9 {
            stream.begin(source, 1, 0, 10, None);
        }
        assert_eq!(found(&stream, first + 1), None, "forgotten");
        assert_eq!(stream.switcher.runs.len(), MAX_RUNS);
    }
}
