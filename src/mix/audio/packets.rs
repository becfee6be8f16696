//! The jitter buffer: Opus packets by sequence number until they are due.

use std::time::Instant;

/// Packets held: a second of 2.5 ms packets, which is more than what a queue on the path lets go at once. Of two that want
/// one place, the newer stays.
const PACKETS_MAX: u64 = 512;
/// Bytes of a packet: no datagram that reaches the server is longer. Longer ones are left out.
const BYTES_MAX: usize = 1500;
/// Longest packet (RFC 6716 §3.2.5): 120 ms.
pub(super) const DURATION_MAX: u32 = 5760;

/// What is known of a held packet without decoding it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    pub(super) sequence: u64,
    pub(super) timestamp: u32,
    /// When its first sample is due.
    pub(super) due: Instant,
    /// In sample pairs.
    pub(super) duration: u32,
}

/// Why a packet was not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    Duplicate,
    /// Not Opus.
    Broken,
    /// Its place is taken by a newer one.
    Old,
}

/// Slots keep their buffers, so a warm buffer does not allocate.
#[derive(Debug)]
pub(super) struct Packets {
    /// Slot `sequence % PACKETS_MAX`.
    slots: Vec<Slot>,
    count: usize,
    /// No number below this is held.
    lowest: u64,
}

#[derive(Debug, Default)]
struct Slot {
    held: Option<Held>,
    bytes: Vec<u8>,
}

impl Packets {
    pub(super) fn new() -> Self {
        Packets {
            slots: (0..PACKETS_MAX).map(|_| Slot::default()).collect(),
            count: 0,
            lowest: 0,
        }
    }

    /// Keeps a packet; how many older ones had to go for it.
    pub(super) fn store(
        &mut self,
        sequence: u64,
        timestamp: u32,
        payload: &[u8],
        due: Instant,
    ) -> Result<u64, Refused> {
        let duration = packet_pairs(payload).filter(|_| payload.len() <= BYTES_MAX);
        let duration = duration.ok_or(Refused::Broken)?;
        let slot = self.slots.get_mut(place(sequence)).ok_or(Refused::Old)?;
        let mut replaced = 0;
        match slot.held {
            Some(held) if held.sequence == sequence => return Err(Refused::Duplicate),
            Some(held) if held.sequence > sequence => return Err(Refused::Old),
            Some(_) => replaced = 1,
            None => self.count += 1,
        }
        slot.bytes.clear();
        slot.bytes.extend_from_slice(payload);
        slot.held = Some(Held {
            sequence,
            timestamp,
            due,
            duration,
        });
        self.lowest = if self.count == 1 {
            sequence
        } else {
            self.lowest.min(sequence)
        };
        Ok(replaced)
    }

    /// The packet with the lowest number.
    pub(super) fn first(&self) -> Option<Held> {
        if self.count == 0 {
            return None;
        }
        let held = |sequence: u64| self.slots.get(place(sequence))?.held;
        let mut near = self.lowest..self.lowest.saturating_add(PACKETS_MAX);
        near.find_map(|sequence| held(sequence).filter(|held| held.sequence == sequence))
            // after a loss of more numbers than there are places
            .or_else(|| {
                let held = self.slots.iter().filter_map(|slot| slot.held);
                held.min_by_key(|held| held.sequence)
            })
    }

    pub(super) fn payload(&self, sequence: u64) -> &[u8] {
        let slot = self.slots.get(place(sequence));
        let slot = slot.filter(|slot| slot.held.is_some_and(|held| held.sequence == sequence));
        slot.map_or(&[], |slot| &slot.bytes)
    }

    pub(super) fn remove(&mut self, sequence: u64) {
        if let Some(slot) = self.slots.get_mut(place(sequence))
            && slot.held.take_if(|held| held.sequence == sequence).is_some()
        {
            self.count -= 1;
            if self.lowest == sequence {
                self.lowest = sequence.saturating_add(1);
            }
        }
    }

    pub(super) fn clear(&mut self) {
        self.slots.iter_mut().for_each(|slot| slot.held = None);
        self.count = 0;
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }
}

fn place(sequence: u64) -> usize {
    // below PACKETS_MAX
    (sequence % PACKETS_MAX) as usize
}

/// Sample pairs at 48 kHz in an Opus packet, from its table-of-contents byte (RFC 6716 §3.1, §3.2). `None`: not Opus.
pub fn packet_pairs(payload: &[u8]) -> Option<u32> {
    let &toc = payload.first()?;
    let frame = match toc >> 3 {
        silk @ 0..12 => [480, 960, 1920, 2880][usize::from(silk % 4)],
        hybrid @ 12..16 => [480, 960][usize::from(hybrid % 2)],
        celt => [120, 240, 480, 960][usize::from(celt % 4)],
    };
    let frames = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => u32::from(payload.get(1)? & 0x3f),
    };
    let pairs = frame * frames;
    (1..=DURATION_MAX).contains(&pairs).then_some(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_those_of_the_table() {
        let of = |config: u8, code: u8| packet_pairs(&[config << 3 | code, 6]);
        assert_eq!(
            [0, 1, 2, 3].map(|config| of(config, 0)),
            [480, 960, 1920, 2880].map(Some)
        );
        assert_eq!([12, 15].map(|config| of(config, 0)), [480, 960].map(Some));
        assert_eq!(
            [16, 29, 30, 31].map(|config| of(config, 0)),
            [120, 240, 480, 960].map(Some)
        );
        assert_eq!([1, 2, 3].map(|code| of(31, code)), [1920, 1920, 5760].map(Some));
        assert_eq!(of(3, 3), None, "6 × 60 ms is too long");
        assert_eq!(
            (packet_pairs(&[]), packet_pairs(&[31 << 3 | 3]), packet_pairs(&[3, 0])),
            (None, None, None)
        );
    }

    #[test]
    fn packets_come_out_in_order_and_are_bounded() {
        let now = Instant::now();
        let mut packets = Packets::new();
        let store = |packets: &mut Packets, sequence| packets.store(sequence, 0, &[0xf8, sequence as u8], now);
        for sequence in [12, 10, 13] {
            assert_eq!(store(&mut packets, sequence), Ok(0));
        }
        assert_eq!(store(&mut packets, 10), Err(Refused::Duplicate));
        assert_eq!(packets.store(14, 0, &[0xf8; 1501], now), Err(Refused::Broken));
        let mut order = vec![];
        while let Some(held) = packets.first() {
            assert_eq!(packets.payload(held.sequence), [0xf8, held.sequence as u8]);
            packets.remove(held.sequence);
            order.push(held.sequence);
        }
        assert_eq!((order, packets.len()), (vec![10, 12, 13], 0));
        for sequence in 0..PACKETS_MAX + 10 {
            assert_eq!(store(&mut packets, sequence), Ok(u64::from(sequence >= PACKETS_MAX)));
        }
        assert_eq!(store(&mut packets, 5), Err(Refused::Old));
        assert_eq!(packets.first().map(|held| held.sequence), Some(10));
        packets.clear();
        assert!(packets.first().is_none() && packets.payload(20).is_empty());
    }

    #[test]
    fn a_packet_from_before_a_long_loss_is_found() {
        let now = Instant::now();
        let mut packets = Packets::new();
        for sequence in [3, 2000] {
            assert_eq!(packets.store(sequence, 0, &[0xf8, 0], now), Ok(0));
        }
        let mut order = vec![];
        while let Some(held) = packets.first() {
            packets.remove(held.sequence);
            order.push(held.sequence);
        }
        assert_eq!(order, [3, 2000]);
    }
}
