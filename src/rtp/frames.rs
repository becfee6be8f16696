//! Packets of one layer → complete access units in decoding order, for decoders.
//!
//! Owns the packets of frames that are not complete, or complete behind one that is not. Packets come in in any order, also
//! twice and late ([`FrameAssembler::handle`]); frames leave in the order of their sequence numbers, without a gap between
//! two of them unless no decoder misses what is left out ([`FrameAssembler::poll_frame`]). A frame that lacks packets is
//! waited for as long as the caller says; then everything up to the next keyframe is left out. Time base: that of
//! [`Meta::arrival`].

use super::h264::{self, Depacketizer};
use super::vp8;
use super::{Codec, Meta, PacketView};
use std::time::{Duration, Instant};

/// Packets kept to begin with: a keyframe of 360p and some frames behind it.
const PACKETS: usize = 128;
/// At most: 1 s of 20 Mbit/s, which is longer than anybody waits for a retransmission, and twice a keyframe of 4K. When
/// full, the oldest frame is given up. With datagrams of at most 2 KiB no layer takes more than 4 MiB.
const PACKETS_MAX: usize = 2048;
/// Packets from before the first one that may still be of use: what reordering swaps.
const REORDERED_MAX: u64 = 64;

/// One access unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The publisher's RTP timestamp.
    pub timestamp: u32,
    /// [`Meta::sequence`] of the first and the last packet.
    pub first_sequence: u64,
    pub last_sequence: u64,
    /// A decoder can start here.
    pub keyframe: bool,
    /// When the first and the last of its packets came, whichever they were.
    pub arrival_first: Instant,
    pub arrival_last: Instant,
    /// H.264: Annex B, start codes included. VP8: the frame without payload descriptors (RFC 6386).
    pub bytes: &'a [u8],
}

/// What happened so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrameCounters {
    pub frames: u64,
    /// Packets that came when their frame had been given out or given up.
    pub late: u64,
    pub duplicates: u64,
    /// Frames that no decoder would understand: a payload was cut off or out of place; and packets of another codec.
    pub malformed: u64,
    /// Frames left out that no other frame needed.
    pub disposed: u64,
    /// Times that everything up to the next keyframe was left out.
    pub skips: u64,
}

/// See the module.
#[derive(Debug)]
pub struct FrameAssembler {
    codec: Codec,
    /// Slot `sequence % length`; the length is a power of two. Empty until the first packet. Buffers are kept.
    slots: Vec<Slot>,
    /// The lowest sequence number of use: while `started`, the first packet of the next frame.
    base: u64,
    /// One above the highest sequence number held; `base` if none is.
    end: u64,
    /// `base` is where a decoder can go on. Otherwise a keyframe has to come first.
    started: bool,
    /// The next frame as far as it is known.
    head: Head,
    /// Bytes of the frame last given out.
    frame: Vec<u8>,
    counters: FrameCounters,
}

#[derive(Debug, Default)]
struct Slot {
    meta: Option<Meta>,
    payload: Vec<u8>,
}

/// What a look at the packets from `base` on found. Each packet is looked at once.
#[derive(Clone, Copy, Debug, Default)]
struct Head {
    /// Packets from `base` on without a hole, all of the same frame.
    len: u64,
    timestamp: Option<u32>,
    /// When a packet behind the hole after these came.
    hole_since: Option<Instant>,
}

/// How the next frame stands.
enum Standing {
    /// Its packets are there, up to this sequence number (exclusive).
    Complete(u64),
    /// One is missing; known since then.
    Hole(Instant),
    /// The rest is on its way.
    Open,
}

impl FrameAssembler {
    /// `codec`: H.264 or VP8; packets of others are counted and left out.
    pub fn new(codec: Codec) -> Self {
        FrameAssembler {
            codec,
            slots: vec![],
            base: 0,
            end: 0,
            started: false,
            head: Head::default(),
            frame: vec![],
            counters: FrameCounters::default(),
        }
    }

    pub fn counters(&self) -> FrameCounters {
        self.counters
    }

    /// Nothing more comes out until a keyframe came in: ask for one. So it is in the beginning, too.
    pub fn needs_keyframe(&self) -> bool {
        !self.started
    }

    /// The decoder failed: everything up to the next keyframe is left out.
    pub fn skip_to_keyframe(&mut self) {
        if self.started {
            self.skip(self.base, None);
        }
    }

    /// Takes a packet in.
    pub fn handle(&mut self, packet: &PacketView) {
        let meta = packet.meta;
        if meta.codec != self.codec || !matches!(self.codec, Codec::H264 | Codec::Vp8) {
            self.counters.malformed += 1;
            return;
        }
        if self.slots.is_empty() {
            self.slots.resize_with(PACKETS, Slot::default);
            self.base = meta.sequence.saturating_sub(REORDERED_MAX);
            self.end = self.base;
        }
        if meta.sequence < self.base {
            self.counters.late += 1;
            return;
        }
        self.make_room(meta.sequence);
        let slot = self.slot_mut(meta.sequence);
        if slot.meta.is_some() {
            self.counters.duplicates += 1;
            return;
        }
        slot.meta = Some(meta);
        slot.payload.clear();
        slot.payload.extend_from_slice(packet.payload());
        self.end = self.end.max(meta.sequence + 1);
        if !self.started && meta.starts_keyframe {
            self.start(meta.sequence);
        }
    }

    /// The next frame, if it is complete. One that lacks a packet for longer than `wait` is given up.
    pub fn poll_frame(&mut self, now: Instant, wait: Duration) -> Option<Frame<'_>> {
        loop {
            if !self.started {
                return None;
            }
            match self.standing() {
                Standing::Complete(end) => {
                    if let Some(frame) = self.take(end) {
                        self.counters.frames += 1;
                        return Some(Frame {
                            bytes: &self.frame,
                            ..frame
                        });
                    }
                }
                Standing::Hole(since) if now >= since + wait => self.give_up(),
                Standing::Hole(_) | Standing::Open => return None,
            }
        }
    }

    /// When [`poll_frame`](Self::poll_frame) gives a frame up if nothing comes in.
    pub fn poll_timeout(&self, wait: Duration) -> Option<Instant> {
        Some(self.head.hole_since.filter(|_| self.started)? + wait)
    }

    /// Makes the window reach to this sequence number, at the cost of the oldest frames.
    fn make_room(&mut self, sequence: u64) {
        while sequence >= self.base + self.slots.len() as u64 {
            if self.slots.len() < PACKETS_MAX {
                self.grow();
            } else if self.started {
                let timestamp = self.slot(self.base).map(|(meta, _)| meta.timestamp);
                self.skip(self.base, timestamp);
            } else {
                self.forget_before(sequence + 1 - PACKETS_MAX as u64);
            }
        }
    }

    fn grow(&mut self) {
        let len = self.slots.len() * 2;
        let mut old = std::mem::take(&mut self.slots);
        self.slots.resize_with(len, Slot::default);
        for slot in &mut old {
            if let Some(meta) = slot.meta {
                *self.slot_mut(meta.sequence) = std::mem::take(slot);
            }
        }
    }

    /// Looks at what came in behind what was looked at.
    fn standing(&mut self) -> Standing {
        loop {
            let at = self.base + self.head.len;
            if at >= self.end {
                return Standing::Open;
            }
            let Some((meta, payload)) = self.slot(at) else {
                let since = match self.head.hole_since {
                    Some(since) => since,
                    None => self.next_arrival(at),
                };
                self.head.hole_since = Some(since);
                return Standing::Hole(since);
            };
            let is_empty = payload.is_empty();
            if !is_empty && self.head.timestamp.is_some_and(|timestamp| timestamp != meta.timestamp) {
                return Standing::Complete(at);
            }
            self.head.len += 1;
            self.head.hole_since = None;
            if !is_empty {
                self.head.timestamp = Some(meta.timestamp);
                if meta.marker {
                    return Standing::Complete(at + 1);
                }
            }
        }
    }

    /// When the next packet behind a hole came. There is one, or there would be no hole.
    fn next_arrival(&self, hole: u64) -> Instant {
        let next = (hole..self.end).find_map(|sequence| self.slot(sequence));
        next.expect("the highest packet is held").0.arrival
    }

    /// Puts the next frame together from the packets up to `end` (exclusive), without its bytes, and goes on behind it.
    /// `None`: it is malformed.
    fn take(&mut self, end: u64) -> Option<Frame<'static>> {
        let mut frame: Option<Frame> = None;
        let (mut is_whole, mut is_disposable) = (true, true);
        let mut depacketizer = Depacketizer::default();
        self.frame.clear();
        for sequence in self.base..end {
            let slot = &self.slots[index(sequence, self.slots.len())];
            let Some(meta) = slot.meta.filter(|_| !slot.payload.is_empty()) else {
                continue;
            };
            let appended = match self.codec {
                Codec::H264 => depacketizer.push(&slot.payload, &mut self.frame),
                _ => append_vp8(frame.is_none(), &slot.payload, &mut self.frame),
            };
            is_whole &= appended.is_some();
            is_disposable &= disposable(self.codec, &slot.payload);
            let frame = frame.get_or_insert(Frame {
                timestamp: meta.timestamp,
                first_sequence: sequence,
                last_sequence: sequence,
                keyframe: false,
                arrival_first: meta.arrival,
                arrival_last: meta.arrival,
                bytes: &[],
            });
            frame.last_sequence = sequence;
            frame.keyframe |= meta.starts_keyframe;
            frame.arrival_first = frame.arrival_first.min(meta.arrival);
            frame.arrival_last = frame.arrival_last.max(meta.arrival);
        }
        self.forget_before(end);
        if is_whole && depacketizer.is_whole() && !self.frame.is_empty() {
            return frame;
        }
        self.counters.malformed += 1;
        if is_disposable {
            self.counters.disposed += 1;
        } else {
            self.skip(end, frame.map(|frame| frame.timestamp));
        }
        None
    }

    /// The next frame stays incomplete.
    fn give_up(&mut self) {
        if let Some(end) = self.disposable_end() {
            self.counters.disposed += 1;
            self.forget_before(end);
        } else {
            // what is behind the hole may yet be joined by a keyframe's first packet
            self.skip(self.base + self.head.len, self.head.timestamp);
        }
    }

    /// Where the next frame ends (exclusive), if its first and its last packet are there and no other frame needs it.
    fn disposable_end(&self) -> Option<u64> {
        let timestamp = self.head.timestamp?;
        for sequence in self.base..self.end {
            let Some((meta, payload)) = self.slot(sequence) else {
                continue;
            };
            if payload.is_empty() {
                continue;
            }
            // all slices of a picture are as important as the one at its marker
            if meta.timestamp != timestamp || !disposable(self.codec, payload) {
                return None;
            }
            if meta.marker {
                return Some(sequence + 1);
            }
        }
        None
    }

    /// Leaves everything out up to the next keyframe at or behind `from` that is not of the frame given up.
    fn skip(&mut self, from: u64, given_up: Option<u32>) {
        self.counters.skips += 1;
        self.forget_before(from);
        self.started = false;
        let next = (self.base..self.end).find(|sequence| {
            self.slot(*sequence)
                .is_some_and(|(meta, _)| meta.starts_keyframe && Some(meta.timestamp) != given_up)
        });
        if let Some(next) = next {
            self.start(next);
        }
    }

    /// A keyframe begins with this packet.
    fn start(&mut self, sequence: u64) {
        self.forget_before(sequence);
        self.started = true;
    }

    fn forget_before(&mut self, base: u64) {
        let held_to = self.end.min(base);
        for sequence in self.base..held_to {
            self.slot_mut(sequence).meta = None;
        }
        self.base = self.base.max(base);
        self.end = self.end.max(self.base);
        self.head = Head::default();
    }

    fn slot(&self, sequence: u64) -> Option<(Meta, &[u8])> {
        let slot = self.slots.get(index(sequence, self.slots.len()))?;
        let meta = slot.meta.filter(|meta| meta.sequence == sequence)?;
        Some((meta, &slot.payload))
    }

    fn slot_mut(&mut self, sequence: u64) -> &mut Slot {
        let index = index(sequence, self.slots.len());
        &mut self.slots[index]
    }
}

/// Of a sequence number in slots whose count is a power of two.
fn index(sequence: u64, slots: usize) -> usize {
    sequence as usize & slots.wrapping_sub(1)
}

/// Whether no other frame needs the one that this packet is of.
fn disposable(codec: Codec, payload: &[u8]) -> bool {
    match codec {
        Codec::H264 => h264::is_disposable(payload),
        _ => vp8::Descriptor::parse(payload).is_some_and(|descriptor| descriptor.disposable),
    }
}

/// Appends what is behind the payload descriptor. `None`: it is cut off, or not where a frame begins.
fn append_vp8(is_first: bool, payload: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let descriptor = vp8::Descriptor::parse(payload)?;
    out.extend_from_slice(payload.get(descriptor.len..)?);
    (descriptor.starts_frame || !is_first).then_some(())
}

#[cfg(test)]
mod tests;
