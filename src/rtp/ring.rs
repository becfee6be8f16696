//! The retransmission ring: the last packets of one layer, for retransmissions and for viewers who start late.

use crate::rtp::{Meta, PacketView};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Packets a ring keeps at least this long, as far as its bound allows: a viewer who joins within 1 s of a keyframe
/// starts from the ring.
pub const HOLD: Duration = Duration::from_secs(1);
/// Slots of an audio ring: 1.28 s of 20 ms packets to begin with; at most 1.28 s of 2.5 ms packets.
const AUDIO_SLOTS: usize = 64;
const AUDIO_SLOTS_MAX: usize = 512;
/// Slots of a video ring: 1 s of about 1 Mbit/s to begin with; at most 1 s of 40 Mbit/s (5 MB).
const VIDEO_SLOTS: usize = 128;
const VIDEO_SLOTS_MAX: usize = 4096;
/// The bound while whole groups of pictures are kept: 12 s of 6 Mbit/s, at most 10 MB.
const GOP_SLOTS_MAX: usize = 8192;
/// Holes that are told apart. A ring with more is taken to be complete only from behind the forgotten ones on.
const HOLES_MAX: usize = 512;

/// The last packets of one layer by extended sequence number.
///
/// Slots keep their buffers, so a warm ring does not allocate. The ring doubles when a packet younger than [`HOLD`]
/// would be overwritten, up to its bound; then the oldest packets go, however young. See
/// [`keep_gop`](Self::keep_gop) for publishers who make keyframes in their own time only.
#[derive(Debug)]
pub struct Ring {
    /// Length is a power of two; slot `sequence % length`. Empty until the first packet.
    slots: Vec<Slot>,
    initial: usize,
    max: usize,
    /// The highest sequence number so far.
    newest: Option<u64>,
    /// Sequence numbers not held, ascending; none is above `newest`.
    holes: VecDeque<u64>,
    /// Below this, holes are not known.
    floor: u64,
    /// First packet (and its timestamp) of the newest keyframe.
    keyframe: Option<(u64, u32)>,
    keep_gop: bool,
}

#[derive(Debug, Default)]
struct Slot {
    meta: Option<Meta>,
    bytes: Vec<u8>,
}

impl Ring {
    pub fn audio() -> Self {
        Self::with_slots(AUDIO_SLOTS, AUDIO_SLOTS_MAX)
    }

    pub fn video() -> Self {
        Self::with_slots(VIDEO_SLOTS, VIDEO_SLOTS_MAX)
    }

    fn with_slots(initial: usize, max: usize) -> Self {
        debug_assert!(initial.is_power_of_two() && max.is_power_of_two());
        Ring {
            slots: vec![],
            initial,
            max,
            newest: None,
            holes: VecDeque::new(),
            floor: 0,
            keyframe: None,
            keep_gop: false,
        }
    }

    /// From now on the ring also grows when it would lose the start of the newest keyframe: for publishers who ignore
    /// keyframe requests.
    pub fn keep_gop(&mut self) {
        self.keep_gop = true;
        self.max = self.max.max(GOP_SLOTS_MAX);
    }

    /// Keeps a packet. `false`: it is held already, or older than what the ring holds.
    pub fn store(&mut self, packet: PacketView) -> bool {
        let sequence = packet.meta.sequence;
        if self.slots.is_empty() {
            self.slots.resize_with(self.initial, Slot::default);
        }
        match self.newest {
            None => {
                self.newest = Some(sequence);
                self.floor = sequence;
            }
            Some(newest) if sequence > newest => self.advance(newest, packet.meta),
            Some(newest) => {
                if sequence + self.slots.len() as u64 <= newest || self.get(sequence).is_some() {
                    return false;
                }
                self.fill(sequence);
            }
        }
        let slot = self.slot_mut(sequence);
        slot.meta = Some(packet.meta);
        slot.bytes.clear();
        slot.bytes.extend_from_slice(packet.bytes);
        if packet.meta.starts_keyframe {
            self.note_keyframe(sequence, packet.meta.timestamp);
        }
        true
    }

    /// The packet with this sequence number, if it is still held.
    pub fn get(&self, sequence: u64) -> Option<PacketView<'_>> {
        let slot = self.slots.get(self.index(sequence))?;
        let meta = slot.meta.filter(|meta| meta.sequence == sequence)?;
        Some(PacketView {
            meta,
            bytes: &slot.bytes,
        })
    }

    /// The highest sequence number stored.
    pub fn newest(&self) -> Option<u64> {
        self.newest
    }

    /// The lowest sequence number from which on every packet up to the newest is held.
    pub fn contiguous_from(&self) -> Option<u64> {
        let newest = self.newest?;
        let oldest = (newest + 1).saturating_sub(self.slots.len() as u64).max(self.floor);
        Some(self.holes.back().map_or(oldest, |hole| oldest.max(hole + 1)))
    }

    /// Where the newest keyframe starts, if every packet from there to the newest is held: a decoder may start there.
    /// For audio it is any packet, so the newest.
    pub fn keyframe_start(&self) -> Option<u64> {
        let (start, _) = self.keyframe?;
        (self.contiguous_from()? <= start).then_some(start)
    }

    /// The packets that are held from `from` on, up to the newest. What is missing between them may still come.
    pub fn range(&self, from: u64) -> impl Iterator<Item = PacketView<'_>> {
        let end = self.newest.map_or(from, |newest| newest + 1);
        let oldest = end.saturating_sub(self.slots.len() as u64);
        (from.max(oldest)..end).filter_map(|sequence| self.get(sequence))
    }

    /// Forgets every packet and keeps the buffers: what comes next continues nothing.
    pub fn clear(&mut self) {
        for slot in &mut self.slots {
            slot.meta = None;
        }
        self.holes.clear();
        self.newest = None;
        self.keyframe = None;
    }

    fn index(&self, sequence: u64) -> usize {
        // the length is a power of two, and the result is below it
        (sequence & (self.slots.len() as u64).wrapping_sub(1)) as usize
    }

    fn slot_mut(&mut self, sequence: u64) -> &mut Slot {
        let index = self.index(sequence);
        &mut self.slots[index]
    }

    /// Makes `meta.sequence` the newest.
    fn advance(&mut self, newest: u64, meta: Meta) {
        let sequence = meta.sequence;
        while self.slots.len() < self.max && self.would_lose(newest, sequence, meta.arrival) {
            self.grow();
        }
        if sequence - newest > self.slots.len() as u64 {
            // nothing that is held is near any more
            self.holes.clear();
            self.floor = sequence;
        } else {
            for hole in newest + 1..sequence {
                self.holes.push_back(hole);
            }
            while self.holes.len() > HOLES_MAX {
                if let Some(hole) = self.holes.pop_front() {
                    self.floor = self.floor.max(hole + 1);
                }
            }
        }
        self.newest = Some(sequence);
        let oldest = (sequence + 1).saturating_sub(self.slots.len() as u64);
        while self.holes.front().is_some_and(|hole| *hole < oldest) {
            self.holes.pop_front();
        }
        if self.keyframe.is_some_and(|(start, _)| start < oldest) {
            self.keyframe = None;
        }
    }

    /// Whether going on from `newest` to `sequence` overwrites something worth keeping.
    fn would_lose(&self, newest: u64, sequence: u64, now: Instant) -> bool {
        let len = self.slots.len() as u64;
        if sequence - newest >= len {
            return false;
        }
        let Some(last_lost) = sequence.checked_sub(len) else {
            return false;
        };
        let oldest = (newest + 1).saturating_sub(len);
        // the youngest of the packets that would go decides
        let young = (oldest..=last_lost)
            .rev()
            .find_map(|lost| self.get(lost))
            .is_some_and(|packet| now.saturating_duration_since(packet.meta.arrival) < HOLD);
        young
            || (self.keep_gop
                && self
                    .keyframe
                    .is_some_and(|(start, _)| (oldest..=last_lost).contains(&start)))
    }

    fn grow(&mut self) {
        let doubled = self.slots.len() * 2;
        let mut old = std::mem::take(&mut self.slots);
        self.slots.resize_with(doubled, Slot::default);
        for slot in &mut old {
            if let Some(meta) = slot.meta {
                *self.slot_mut(meta.sequence) = std::mem::take(slot);
            }
        }
    }

    fn fill(&mut self, sequence: u64) {
        if let Ok(at) = self.holes.binary_search(&sequence) {
            self.holes.remove(at);
        } else if sequence + 1 == self.floor {
            // a late packet from before the first one
            self.floor = sequence;
        }
    }

    fn note_keyframe(&mut self, sequence: u64, timestamp: u32) {
        self.keyframe = match self.keyframe {
            // several packets of one frame may qualify: the first is the start
            Some((start, same)) if same == timestamp => Some((start.min(sequence), same)),
            Some(newer) if newer.0 > sequence => Some(newer),
            _ => Some((sequence, timestamp)),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtp::Codec;
    use rand::{Rng, SeedableRng, rngs::StdRng};
    use std::collections::BTreeMap;

    fn store(ring: &mut Ring, sequence: u64, keyframe: bool, at: Instant) -> bool {
        let meta = Meta {
            sequence,
            timestamp: sequence as u32 * 10,
            marker: false,
            starts_keyframe: keyframe,
            codec: Codec::H264,
            arrival: at,
            extensions_len: 0,
        };
        ring.store(PacketView {
            meta,
            bytes: &sequence.to_be_bytes(),
        })
    }

    #[test]
    fn keeps_a_second_and_grows_for_it_up_to_the_bound() {
        let start = Instant::now();
        let mut ring = Ring::video();
        // 100 packets a second fit into the initial slots
        for i in 0..1000u64 {
            store(&mut ring, i, false, start + Duration::from_millis(10 * i));
        }
        assert_eq!(ring.slots.len(), VIDEO_SLOTS);
        // 1000 do not
        let later = start + Duration::from_secs(10);
        for i in 0..3000u64 {
            store(&mut ring, 1000 + i, false, later + Duration::from_millis(i));
        }
        assert_eq!(ring.slots.len(), 1024);
        assert!(ring.get(4000 - 1000).is_some());
        for i in 0..20_000u64 {
            store(&mut ring, 4000 + i, false, later + Duration::from_secs(3));
        }
        assert_eq!(ring.slots.len(), VIDEO_SLOTS_MAX);
        assert_eq!(ring.range(23_990).count(), 10);
    }

    #[test]
    fn groups_of_pictures_are_kept_on_demand() {
        let start = Instant::now();
        let at = |i: u64| start + Duration::from_millis(10 * i);
        let mut ring = Ring::video();
        for i in 0..400 {
            store(&mut ring, i, i == 0, at(i));
        }
        assert_eq!(ring.keyframe_start(), None);
        ring.keep_gop();
        for i in 400..900 {
            store(&mut ring, i, i == 400, at(i));
        }
        assert_eq!(ring.keyframe_start(), Some(400));
        assert_eq!(ring.slots.len(), 512);
    }

    #[test]
    fn a_start_needs_every_packet_behind_it() {
        let at = Instant::now();
        let mut ring = Ring::video();
        for i in [100, 101, 103, 105] {
            assert!(store(&mut ring, i, i == 101, at));
        }
        assert_eq!((ring.keyframe_start(), ring.contiguous_from()), (None, Some(105)));
        let held: Vec<u64> = ring.range(0).map(|packet| packet.meta.sequence).collect();
        assert_eq!(held, [100, 101, 103, 105], "over the holes");
        assert!(store(&mut ring, 104, false, at));
        assert_eq!((ring.keyframe_start(), ring.contiguous_from()), (None, Some(103)));
        assert!(store(&mut ring, 102, false, at));
        assert!(!store(&mut ring, 102, false, at));
        assert_eq!((ring.keyframe_start(), ring.contiguous_from()), (Some(101), Some(100)));
        let kept: Vec<u64> = ring.range(101).map(|packet| packet.meta.sequence).collect();
        assert_eq!(kept, [101, 102, 103, 104, 105]);
        assert!(store(&mut ring, 99, false, at));
        assert_eq!(ring.contiguous_from(), Some(99));
        ring.clear();
        assert_eq!(
            (ring.newest(), ring.keyframe_start(), ring.contiguous_from()),
            (None, None, None)
        );
        assert!(ring.get(101).is_none());
    }

    #[test]
    fn the_first_packet_of_a_keyframe_is_its_start() {
        let at = Instant::now();
        let mut ring = Ring::video();
        let mut put = |sequence, timestamp| {
            let meta = Meta {
                sequence,
                timestamp,
                marker: false,
                starts_keyframe: true,
                codec: Codec::H264,
                arrival: at,
                extensions_len: 0,
            };
            ring.store(PacketView { meta, bytes: &[1] });
            ring.keyframe_start()
        };
        assert_eq!(put(5, 1), Some(5));
        assert_eq!(put(6, 1), Some(5));
        assert_eq!(put(7, 2), Some(7));
        assert_eq!(put(4, 1), Some(7));
    }

    #[test]
    fn agrees_with_a_map_under_loss_reordering_and_jumps() {
        for seed in 0..30 {
            let mut rng = StdRng::seed_from_u64(seed);
            let mut ring = Ring::video();
            let mut model: BTreeMap<u64, ()> = BTreeMap::new();
            let (mut now, mut next) = (Instant::now(), 70_000u64);
            for _ in 0..3000 {
                now += Duration::from_millis(rng.random_range(0..12));
                next += match rng.random_range(0..200) {
                    0 => rng.random_range(0..9000),
                    1..20 => rng.random_range(2..5),
                    _ => 1,
                };
                let back = if rng.random_range(0..10) == 0 {
                    rng.random_range(0..300)
                } else {
                    0
                };
                let sequence = next - back;
                store(&mut ring, sequence, false, now);
                model.insert(sequence, ());
                let newest = ring.newest().unwrap();
                assert_eq!(newest, *model.keys().next_back().unwrap());
                let contiguous = ring.contiguous_from().unwrap();
                assert!(ring.get(newest).is_some());
                assert_eq!(ring.range(contiguous).count() as u64, newest - contiguous + 1);
                let known = model
                    .range(..contiguous)
                    .next_back()
                    .is_some_and(|(last, ())| last + 1 == contiguous);
                // if the one before is known, it must have left the ring or come after the jump that emptied it
                assert!(!known || ring.get(contiguous - 1).is_none() || contiguous <= ring.floor);
            }
            assert!(ring.holes.len() <= HOLES_MAX);
        }
    }
}
