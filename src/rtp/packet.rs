//! One media packet between its publisher and its viewers.

use crate::rtp::Codec;
use crate::rtp::extension::{Extension, PackedElements};
use std::time::Instant;

/// What forwarding needs to know of a packet, parsed once where it entered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Meta {
    /// Extended sequence number within the layer. It is the publisher's (roll-over counter above the low 16 bits), less
    /// the padding-only packets that were taken out: neighbours of the stream are neighbours here.
    pub sequence: u64,
    /// The publisher's RTP timestamp, in ticks of the codec's clock rate.
    pub timestamp: u32,
    pub marker: bool,
    /// A decoder that starts with this packet sees a complete random access point begin. Always true for audio.
    pub starts_keyframe: bool,
    pub codec: Codec,
    /// When the packet came out of the publisher's socket.
    pub arrival: Instant,
    /// Length of the packed extensions in front of the payload, see [`PacketView::extensions`].
    pub extensions_len: u16,
}

/// A plain (decrypted) packet that lives in somebody else's buffer.
#[derive(Clone, Copy, Debug)]
pub struct PacketView<'a> {
    pub meta: Meta,
    /// `meta.extensions_len` bytes of packed extensions, then the payload. Extensions are elements
    /// `[Extension as u8, length, value…]` of those that travel on to viewers (audio level, capture time, playout delay,
    /// dependency descriptor), whatever ids the publisher used.
    pub bytes: &'a [u8],
}

impl<'a> PacketView<'a> {
    pub fn extensions(&self) -> &'a [u8] {
        self.bytes.split_at(self.split()).0
    }

    /// The packed extensions one by one.
    pub fn elements(&self) -> PackedElements<'a> {
        PackedElements::new(self.extensions())
    }

    /// The value of one extension.
    pub fn element(&self, extension: Extension) -> Option<&'a [u8]> {
        self.elements()
            .find_map(|(found, value)| (found == extension).then_some(value))
    }

    /// Empty for a packet that only keeps the sequence whole: padding that had to be sent again.
    pub fn payload(&self) -> &'a [u8] {
        self.bytes.split_at(self.split()).1
    }

    fn split(&self) -> usize {
        usize::from(self.meta.extensions_len).min(self.bytes.len())
    }
}
