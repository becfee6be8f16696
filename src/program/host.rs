//! The host's camera on its way through the program: which of its encodings is passed on, at what moment of the program each
//! packet is, and copies of the packets, which may have to wait. Pure.
//!
//! Moments of the program are the times at which the host's media is due, as long as that does not change: its timeline
//! follows the network, and what is passed through must not. So the offset from capture is kept while the host is passed
//! through, and what it is off by then is what the mixer goes on with ([`Host::lead`]).

use super::elastic::HostPacket;
use super::input::Input;
use crate::forward::{LayerIndex, SourceId};
use crate::mix::audio::packet_pairs;
use crate::mix::timeline::{Lead, Offset};
use crate::rtp::{Codec, MediaKind, Meta, PacketView};
use std::time::{Duration, Instant};

/// Moments further than this from when things are due are set right with the next change: the path has changed that much
/// while the host was passed through.
const LEAD_MAX: Duration = Duration::from_millis(500);
/// Buffers that are kept: more packets than come in a turn.
const SPARE_MAX: usize = 64;

/// A packet of the host's, on its way.
#[derive(Debug)]
pub(super) struct Passing {
    pub source: SourceId,
    pub meta: Meta,
    pub bytes: Vec<u8>,
    pub moment: Instant,
}

#[derive(Default)]
pub(super) struct Host {
    /// Whose packets these are.
    source: Option<SourceId>,
    /// From capture to the moment in the program, as of the last change to the host.
    offset: Option<Offset>,
    /// Mixed pictures are at moments so much earlier than they are due.
    lead: Lead,
    encoding: Encoding,
    spare: Vec<Vec<u8>>,
}

/// Which encoding is passed on, as one row of sequence numbers.
#[derive(Clone, Copy, Debug, Default)]
struct Encoding {
    layer: LayerIndex,
    /// Its first packet that is passed on, and the number that one gets.
    first: Option<(u64, u64)>,
    /// One above the highest number given.
    next: u64,
}

impl Encoding {
    /// The number of a packet that is passed on. `chosen`: the encoding to be passed on from its next keyframe.
    fn number(&mut self, layer: LayerIndex, chosen: LayerIndex, meta: &Meta) -> Option<u64> {
        let begins = layer == chosen && (self.first.is_none() || (layer != self.layer && meta.starts_keyframe));
        if begins {
            let given = if self.first.is_some() { self.next } else { meta.sequence };
            (self.layer, self.first) = (layer, Some((meta.sequence, given)));
        }
        let (first, given) = self.first.filter(|_| layer == self.layer)?;
        let number = given + meta.sequence.checked_sub(first)?;
        self.next = self.next.max(number + 1);
        Some(number)
    }
}

impl Host {
    pub fn source(&self) -> Option<SourceId> {
        self.source
    }

    pub fn lead(&self) -> Lead {
        self.lead
    }

    /// The mixer begins: it goes on at the moment where the host is.
    pub fn handle_mixing(&mut self, input: Option<&Input>) {
        if let (Some(due), Some(offset)) = (input.and_then(Input::offset), self.offset) {
            self.lead = due.lead(offset);
        }
        if self.lead.abs() > LEAD_MAX {
            self.lead = Lead::default();
        }
    }

    /// A packet of the host's as it goes through. `keeps`: the host is what the program shows, or about to be. `None`: nothing
    /// is known of its time, or it is of another encoding.
    pub fn handle_packet(
        &mut self,
        input: &mut Input,
        (kind, layer): (MediaKind, LayerIndex),
        packet: PacketView,
        keeps: bool,
    ) -> Option<HostPacket<Passing>> {
        let source = input.info.id;
        if self.source != Some(source) {
            (self.source, self.offset) = (Some(source), None);
            self.encoding = Encoding::default();
        }
        let sequence = match kind {
            MediaKind::Audio => packet.meta.sequence,
            MediaKind::Video => {
                let chosen = input.video.as_ref()?.chosen();
                self.encoding.number(layer, chosen, &packet.meta)?
            }
        };
        let (kept, lead) = (self.offset.filter(|_| keeps), self.lead);
        let mut used = None;
        let moment = input.due_with((kind, layer), &packet.meta, |due| {
            *used.insert(kept.unwrap_or(due.less(lead)))
        })?;
        self.offset = used;
        let mut bytes = self.spare.pop().unwrap_or_default();
        bytes.clear();
        bytes.extend_from_slice(packet.bytes);
        Some(HostPacket {
            source,
            kind,
            sequence,
            timestamp: packet.meta.timestamp,
            starts_keyframe: packet.meta.starts_keyframe,
            moment,
            duration: duration(kind, &packet),
            packet: Passing {
                source,
                meta: packet.meta,
                bytes,
                moment,
            },
        })
    }

    /// The buffer of a packet that has left.
    pub fn recycle(&mut self, bytes: Vec<u8>) {
        if self.spare.len() < SPARE_MAX {
            self.spare.push(bytes);
        }
    }
}

/// How long a packet of sound plays.
fn duration(kind: MediaKind, packet: &PacketView) -> Duration {
    let pairs = match kind {
        MediaKind::Audio => packet_pairs(packet.payload()).unwrap_or(0),
        MediaKind::Video => 0,
    };
    Duration::from_secs(pairs.into()) / Codec::Opus.clock_rate()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta(sequence: u64, starts_keyframe: bool) -> Meta {
        Meta {
            sequence,
            timestamp: 0,
            marker: false,
            starts_keyframe,
            codec: Codec::H264,
            arrival: Instant::now(),
            extensions_len: 0,
        }
    }

    #[test]
    fn another_encoding_follows_at_its_keyframe() {
        let (small, large) = (LayerIndex(0), LayerIndex(1));
        let mut encoding = Encoding::default();
        assert_eq!(encoding.number(small, small, &meta(100, true)), Some(100));
        assert_eq!(encoding.number(small, small, &meta(102, false)), Some(102));
        assert_eq!(encoding.number(large, large, &meta(7, false)), None, "no keyframe");
        assert_eq!(encoding.number(small, large, &meta(101, false)), Some(101), "late");
        assert_eq!(encoding.number(large, large, &meta(9, true)), Some(103));
        assert_eq!(encoding.number(large, large, &meta(10, false)), Some(104));
        assert_eq!(
            encoding.number(large, large, &meta(8, false)),
            None,
            "before the keyframe"
        );
        assert_eq!(encoding.number(small, large, &meta(103, false)), None);
        assert_eq!(
            encoding.number(small, small, &meta(30_104, true)),
            Some(105),
            "and back"
        );
    }
}
