//! The door to the codec libraries: the only place that calls them. Every codec is behind a trait that the rest of the
//! program is written and tested against.

pub mod h264;
pub mod opus;
mod planes;
#[cfg(feature = "vp8")]
pub mod vp8;

use super::picture::{PictureView, Size};
use crate::rtp::Codec;

/// Pictures of this codec can be decoded, in this build.
pub fn is_decoded(codec: Codec) -> bool {
    codec == Codec::H264 || (codec == Codec::Vp8 && cfg!(feature = "vp8"))
}

/// A decoder for a source's video. `None`: the program decodes no such codec, in this build or at all.
pub fn video_decoder(codec: Codec) -> Option<Box<dyn VideoDecoder>> {
    match codec {
        Codec::H264 => Some(Box::new(h264::H264Decoder::new())),
        #[cfg(feature = "vp8")]
        Codec::Vp8 => Some(Box::new(vp8::Vp8Decoder::new())),
        _ => None,
    }
}

/// Why an access unit gave no picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// Not a bitstream this decoder reads, or references are missing: a keyframe is needed.
    Broken,
    /// Larger than [`PICTURE_MAX`].
    TooLarge,
}

/// Pixels a decoded picture may have: 4K. A hostile sequence header must not make the server allocate gigabytes.
pub const PICTURE_MAX: usize = 3840 * 2160;

/// Pictures that H.264 lets a decoder keep back (max_dec_frame_buffering, H.264 annex A.3.1).
pub const BEHIND_MAX: usize = 16;

/// A stream of one source's pictures.
pub trait VideoDecoder: Send {
    /// One access unit (H.264: Annex B; VP8: one frame), in decoding order. `None`: it holds no picture to show.
    /// The planes live until the next call.
    fn decode(&mut self, access_unit: &[u8]) -> Result<Option<PictureView<'_>>, DecodeError>;

    /// The picture of the last call, if it had one.
    fn last(&self) -> Option<PictureView<'_>>;

    /// How many calls before the last one the access unit of that picture came in, at most [`BEHIND_MAX`].
    fn behind(&self) -> usize {
        0
    }
}

/// What an encoder is started with. A change of size needs a new one; the rest changes at run time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VideoSettings {
    pub size: Size,
    /// 15 to 60.
    pub fps: u32,
    pub bitrate_bps: u32,
    /// Pictures from one keyframe to the next.
    pub gop: u32,
}

/// One encoded picture.
#[derive(Clone, Copy, Debug)]
pub struct EncodedPicture<'e> {
    /// Annex B; a keyframe carries its parameter sets.
    pub bytes: &'e [u8],
    pub keyframe: bool,
}

pub trait VideoEncoder: Send {
    /// The next picture, of the settings' size. `None`: the rate control left it out.
    fn encode(&mut self, picture: PictureView, keyframe: bool) -> Option<EncodedPicture<'_>>;
    fn set_bitrate(&mut self, bitrate_bps: u32);
    /// Pictures a second from now on. `false`: more than the level that was chosen by the settings, which needs a
    /// new encoder.
    fn set_fps(&mut self, fps: u32) -> bool;
}

/// 48 kHz, interleaved stereo, -1.0..=1.0.
pub trait AudioDecoder: Send {
    /// Decodes one packet into `samples` and returns the number of sample pairs. `None`: not an Opus packet.
    fn decode(&mut self, packet: &[u8], samples: &mut [f32]) -> Option<usize>;
    /// What the packet before this one held, from the redundancy in it (RFC 6716 §2.1.7); `pairs` of it.
    fn recover(&mut self, next_packet: &[u8], samples: &mut [f32], pairs: usize) -> Option<usize>;
    /// Makes up for `pairs` that did not come.
    fn conceal(&mut self, samples: &mut [f32], pairs: usize) -> usize;
}

pub trait AudioEncoder: Send {
    /// 20 ms of interleaved stereo (960 pairs) → one packet.
    fn encode(&mut self, samples: &[f32]) -> &[u8];
    fn set_bitrate(&mut self, bitrate_bps: u32);
    /// Whether packets hold one channel, the mean of both, instead of two: from the next one on.
    fn set_mono(&mut self, mono: bool);
}
