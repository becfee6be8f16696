//! The host's packets while the program is still the mixer's.

use super::HostPacket;
use std::collections::VecDeque;
use std::time::Instant;

/// Half a second, which no return takes longer than, of 2.5 ms packets. When full, the return is called off.
const AUDIO_MAX: usize = 256;
/// A keyframe and what comes while the mixer gets there, half a second of 40 Mbit/s. When full, the return is called off.
const VIDEO_MAX: usize = 2048;
/// While no return is on its way: video that reordering put in front of the keyframe it is behind, and sound that came
/// before the keyframe whose time it is of (1.28 s of 20 ms packets).
const FOR_NOW_MAX: usize = 64;

/// Packets of one kind, by their numbers.
#[derive(Debug)]
pub(super) struct Held<P> {
    /// Ascending.
    packets: VecDeque<HostPacket<P>>,
    max: usize,
}

impl<P> Held<P> {
    pub(super) fn video() -> Self {
        Self::new(VIDEO_MAX)
    }

    pub(super) fn audio() -> Self {
        Self::new(AUDIO_MAX)
    }

    fn new(max: usize) -> Self {
        Held {
            packets: VecDeque::new(),
            max,
        }
    }

    /// Keeps a packet; one that is held already is left out. `false`: there is no room.
    pub(super) fn keep(&mut self, packet: HostPacket<P>) -> bool {
        let at = self.packets.partition_point(|held| held.sequence < packet.sequence);
        if self
            .packets
            .get(at)
            .is_some_and(|held| held.sequence == packet.sequence)
        {
            return true;
        }
        if self.packets.len() == self.max {
            return false;
        }
        self.packets.insert(at, packet);
        true
    }

    /// Keeps a packet that may be of use later, in the place of the oldest.
    pub(super) fn keep_for_now(&mut self, packet: HostPacket<P>) {
        let max = self.max.min(FOR_NOW_MAX);
        while self.packets.len() >= max {
            self.packets.pop_front();
        }
        self.keep(packet);
    }

    /// The packet with the lowest number.
    pub(super) fn pop(&mut self) -> Option<HostPacket<P>> {
        self.packets.pop_front()
    }

    pub(super) fn clear(&mut self) {
        self.packets.clear();
    }

    pub(super) fn drop_before(&mut self, sequence: u64) {
        let older = self.packets.partition_point(|held| held.sequence < sequence);
        self.packets.drain(..older);
    }

    pub(super) fn drop_before_moment(&mut self, moment: Instant) {
        self.packets.retain(|held| held.moment >= moment);
    }

    /// The moment of the earliest packet that is due at `earliest` or later.
    pub(super) fn first_from(&self, earliest: Instant) -> Option<Instant> {
        let moments = self.packets.iter().map(|held| held.moment);
        moments.filter(|moment| *moment >= earliest).min()
    }
}
