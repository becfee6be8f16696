//! The codecs the server forwards.

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
}
