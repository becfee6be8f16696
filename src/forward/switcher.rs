//! One outgoing stream made of many incoming ones: sequence numbers, timestamps and picture ids go on over layer
//! switches, source changes and codec changes.

use super::clock::{Clock, ticks_between};
use super::header::frame_number;
use super::{LayerIndex, SourceId};
use crate::rtp::parameters::SendCodec;
use crate::rtp::{Meta, PacketView, PictureIds, PictureOffsets};
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
        // at least one tick: receivers take equal timestamps for one picture
        let step = by_clock
            .filter(believable)
            .unwrap_or(elapsed)
            .clamp(1, i64::from(i32::MAX));
        last.timestamp.wrapping_add(step as u32).wrapping_sub(first.timestamp)
    }
}

fn ticks(duration: std::time::Duration, clock_rate: u32) -> i64 {
    let ticks = duration.as_micros() * u128::from(clock_rate) / 1_000_000;
    i64::try_from(ticks).unwrap_or(i64::MAX)
}
