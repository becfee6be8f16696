//! The codecs the server forwards, and what forwarding has to know of their payloads.

use super::picture::Positions;
use super::{PictureIds, PictureOffsets, av1, h264, vp8, vp9};

/// Audio or video: what an m-line, a track and a permission is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MediaKind {
    Audio,
    Video,
}

/// A codec the server forwards, in the server's order of preference within its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Codec {
    Opus,
    H264,
    Vp8,
    Vp9,
    Av1,
}

impl Codec {
    pub fn kind(self) -> MediaKind {
        if self == Codec::Opus {
            MediaKind::Audio
        } else {
            MediaKind::Video
        }
    }

    /// RTP clock rate in Hz.
    pub fn clock_rate(self) -> u32 {
        if self == Codec::Opus { 48_000 } else { 90_000 }
    }

    /// Whether a decoder that starts with this packet sees a complete random access point begin. Always for audio.
    /// `dependency_descriptor`: the value of that extension, if the packet has it.
    pub fn starts_keyframe(self, payload: &[u8], dependency_descriptor: Option<&[u8]>) -> bool {
        match self {
            Codec::Opus => true,
            Codec::H264 => h264::starts_keyframe(payload),
            Codec::Vp8 => vp8::starts_keyframe(payload),
            Codec::Vp9 => vp9::starts_keyframe(payload),
            Codec::Av1 => av1::starts_keyframe(payload, dependency_descriptor),
        }
    }

    /// Width and height in pixels of the keyframe that starts in this packet.
    pub fn keyframe_size(self, payload: &[u8]) -> Option<(u16, u16)> {
        match self {
            Codec::Opus => None,
            Codec::H264 => h264::keyframe_size(payload),
            Codec::Vp8 => vp8::keyframe_size(payload),
            Codec::Vp9 => vp9::keyframe_size(payload),
            Codec::Av1 => av1::keyframe_size(payload),
        }
    }

    /// The picture numbers of a VP8 or VP9 packet; `None` for codecs without, and for malformed packets.
    pub fn picture_ids(self, payload: &[u8]) -> Option<PictureIds> {
        self.picture_positions(payload)?.read(payload)
    }

    /// Adds the offsets to the packet's picture numbers in place; other codecs stay as they are.
    pub fn rewrite_pictures(self, offsets: &PictureOffsets, payload: &mut [u8]) {
        if offsets.is_zero() {
            return;
        }
        if let Some(positions) = self.picture_positions(payload) {
            offsets.rewrite(&positions, payload);
        }
    }

    fn picture_positions(self, payload: &[u8]) -> Option<Positions> {
        match self {
            Codec::Vp8 => Some(vp8::Descriptor::parse(payload)?.positions),
            Codec::Vp9 => Some(vp9::Descriptor::parse(payload)?.positions),
            Codec::Opus | Codec::H264 | Codec::Av1 => None,
        }
    }
}
