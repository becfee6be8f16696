//! VP8 by the system's libvpx: pictures of guests whose device has no H.264 encoder.
//!
//! Enters: frames (RFC 6386 §9.1). Leaves: pictures. After anything it can't read the library is thrown away, and a new one
//! begins at the next keyframe.

#![expect(unsafe_code, reason = "the library's interface is C")]

use super::planes::Planes;
use super::{DecodeError, PICTURE_MAX, VideoDecoder};
use crate::mix::picture::{PictureView, Size};
use std::ffi::{c_int, c_uint};
use std::ptr::{null, null_mut};
use vpx_sys::{
    VPX_CODEC_OK, VPX_DECODER_ABI_VERSION, vp8_dec_control_id, vpx_codec_control_, vpx_codec_ctx, vpx_codec_dec_cfg,
    vpx_codec_dec_init_ver, vpx_codec_decode, vpx_codec_destroy, vpx_codec_get_frame, vpx_codec_vp8_dx,
};

/// Bytes of a frame: 2 bits for each pixel of the largest picture. A live stream has a tenth of that.
const FRAME_MAX: usize = PICTURE_MAX / 4;

/// Holds no memory before its first keyframe.
#[derive(Default)]
pub struct Vp8Decoder {
    /// From a keyframe on, until something can't be read.
    library: Option<Library>,
}

impl Vp8Decoder {
    pub fn new() -> Self {
        Self::default()
    }

    fn pass_on(&mut self, frame: &[u8]) -> Result<Option<Planes>, DecodeError> {
        if frame.len() > FRAME_MAX {
            return Err(DecodeError::TooLarge);
        }
        if let Some((width, height)) = keyframe_size(frame)? {
            if usize::from(width) * usize::from(height) > PICTURE_MAX {
                return Err(DecodeError::TooLarge);
            }
            if self.library.is_none() {
                self.library = Some(Library::new().ok_or(DecodeError::Broken)?);
            }
        }
        self.library.as_mut().ok_or(DecodeError::Broken)?.decode(frame)
    }
}

impl VideoDecoder for Vp8Decoder {
    fn decode(&mut self, frame: &[u8]) -> Result<Option<PictureView<'_>>, DecodeError> {
        match self.pass_on(frame) {
            // SAFETY: the planes belong to `self.library`, which is borrowed for as long as the view lives.
            Ok(planes) => Ok(planes.map(|planes| unsafe { planes.view() })),
            Err(error) => {
                self.library = None;
                Err(error)
            }
        }
    }

    fn last(&self) -> Option<PictureView<'_>> {
        let planes = self.library.as_ref()?.last?;
        // SAFETY: as above; since they were made, the library has not been called.
        Some(unsafe { planes.view() })
    }
}

/// Width and height without scaling (RFC 6386 §9.1). `None`: no keyframe.
fn keyframe_size(frame: &[u8]) -> Result<Option<(u16, u16)>, DecodeError> {
    let first = frame.first().ok_or(DecodeError::Broken)?;
    if first & 1 == 1 {
        return Ok(None);
    }
    let Some([_, _, _, 0x9d, 0x01, 0x2a, w0, w1, h0, h1]) = frame.first_chunk() else {
        return Err(DecodeError::Broken);
    };
    let side = |low: &u8, high: &u8| u16::from_le_bytes([*low, *high]) & 0x3fff;
    let (width, height) = (side(w0, w1), side(h0, h1));
    if Size::even(width, height).is_none() {
        return Err(DecodeError::Broken);
    }
    Ok(Some((width, height)))
}

/// libvpx's VP8 decoder, from its making to its end.
struct Library {
    /// Not moved, since the library was given its address.
    context: Box<vpx_codec_ctx>,
    /// Of the last call.
    last: Option<Planes>,
}

// SAFETY: the decoder keeps no thread-local state, has no threads of its own (it was asked for one), and has one owner.
unsafe impl Send for Library {}

impl Library {
    fn new() -> Option<Self> {
        let mut context = Box::<vpx_codec_ctx>::default();
        let config = vpx_codec_dec_cfg { threads: 1, w: 0, h: 0 };
        let version = c_int::try_from(VPX_DECODER_ABI_VERSION).ok()?;
        // SAFETY: the context is zeroed, as the library wants it; of the configuration it keeps a copy. If the library is not
        // of the version that its types were made for, it says so.
        let result = unsafe { vpx_codec_dec_init_ver(&mut *context, vpx_codec_vp8_dx(), &config, 0, version) };
        (result == VPX_CODEC_OK).then_some(Library { context, last: None })
    }

    fn decode(&mut self, frame: &[u8]) -> Result<Option<Planes>, DecodeError> {
        self.last = None;
        let len = c_uint::try_from(frame.len()).map_err(|_| DecodeError::TooLarge)?;
        let context = &mut *self.context;
        let mut corrupted: c_int = 0;
        // SAFETY: the context is initialized; the library reads `len` bytes during the call.
        let result = unsafe { vpx_codec_decode(context, frame.as_ptr(), len, null_mut(), 0) };
        if result != VPX_CODEC_OK {
            return Err(DecodeError::Broken);
        }
        let question = vp8_dec_control_id::VP8D_GET_FRAME_CORRUPTED as c_int;
        // SAFETY: the context is initialized; this control writes one int.
        let result = unsafe { vpx_codec_control_(context, question, &raw mut corrupted) };
        if result != VPX_CODEC_OK || corrupted != 0 {
            return Err(DecodeError::Broken);
        }
        let mut at = null();
        // SAFETY: the context is initialized; `at` is null before the first picture, of which a frame has at most one.
        let image = unsafe { vpx_codec_get_frame(context, &mut at) };
        if image.is_null() {
            return Ok(None);
        }
        // SAFETY: the library has just filled it in.
        let (size, [y, u, v, _], [y_stride, u_stride, ..]) =
            unsafe { (((*image).d_w, (*image).d_h), (*image).planes, (*image).stride) };
        self.last = Some(Planes::new(size, [y, u, v], [y_stride, u_stride])?);
        Ok(self.last)
    }
}

impl Drop for Library {
    fn drop(&mut self) {
        // SAFETY: the context is initialized, and nothing uses it afterwards.
        unsafe { vpx_codec_destroy(&mut *self.context) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{Rng, SeedableRng, rngs::StdRng};

    /// The frames of an IVF file: a header of 32 bytes, and before each frame 12, of which the first four are its length.
    fn pattern() -> Vec<Vec<u8>> {
        let mut rest = &include_bytes!("../../../tests/fixtures/media/pattern-vp8.ivf")[32..];
        let mut frames = Vec::new();
        while let Some((len, behind)) = rest.split_first_chunk::<4>() {
            let len = u32::from_le_bytes(*len) as usize;
            frames.push(behind[8..8 + len].to_vec());
            rest = &behind[8 + len..];
        }
        frames
    }

    fn mean(plane: &[u8], stride: usize, width: usize) -> u64 {
        let samples: Vec<_> = plane.chunks(stride).flat_map(|row| &row[..width]).collect();
        samples.iter().map(|sample| u64::from(**sample)).sum::<u64>() / samples.len() as u64
    }

    #[test]
    fn a_clip_decodes_to_its_pictures() {
        let mut decoder = Vp8Decoder::new();
        let frames = pattern();
        for (number, frame) in frames.iter().enumerate() {
            let picture = decoder
                .decode(frame)
                .unwrap()
                .unwrap_or_else(|| panic!("frame {number}"));
            assert_eq!(picture.size, Size::even(160, 120).unwrap());
            let means = [
                mean(picture.y, picture.y_stride, 160),
                mean(picture.u, picture.uv_stride, 80),
                mean(picture.v, picture.uv_stride, 80),
            ];
            assert!(means.iter().all(|mean| (40..220).contains(mean)), "{means:?}");
            let (darkest, brightest) = (picture.y.iter().min(), picture.y.iter().max());
            assert!(darkest < Some(&60) && brightest > Some(&180), "a pattern has contrast");
        }
        assert!(frames.len() >= 30);
    }

    #[test]
    fn nothing_comes_before_a_keyframe_and_after_an_error() {
        let frames = pattern();
        let mut decoder = Vp8Decoder::new();
        assert_eq!(decoder.decode(&frames[1]).unwrap_err(), DecodeError::Broken);
        assert!(decoder.decode(&frames[0]).unwrap().is_some());
        assert!(decoder.decode(&frames[1]).unwrap().is_some());
        assert_eq!(decoder.decode(&[]).unwrap_err(), DecodeError::Broken);
        assert_eq!(decoder.decode(&frames[2]).unwrap_err(), DecodeError::Broken);
        assert!(decoder.decode(&frames[0]).unwrap().is_some());
    }

    #[test]
    fn a_hostile_size_is_refused_before_the_library_sees_it() {
        let mut frame = pattern().swap_remove(0);
        frame[6..10].copy_from_slice(&[0xff, 0x3f, 0xff, 0x3f]);
        assert_eq!(Vp8Decoder::new().decode(&frame).unwrap_err(), DecodeError::TooLarge);
        frame[6..10].copy_from_slice(&[1, 0, 100, 0]);
        assert_eq!(Vp8Decoder::new().decode(&frame).unwrap_err(), DecodeError::Broken);
        assert_eq!(
            Vp8Decoder::new().decode(&vec![0; FRAME_MAX + 1]).unwrap_err(),
            DecodeError::TooLarge
        );
    }

    #[test]
    fn an_odd_size_is_cut_to_an_even_one() {
        // the same macroblocks, the last of them cropped
        let mut frame = pattern().swap_remove(0);
        frame[6..10].copy_from_slice(&[159, 0, 119, 0]);
        let mut decoder = Vp8Decoder::new();
        let picture = decoder.decode(&frame).unwrap().unwrap();
        assert_eq!(picture.size, Size::even(158, 118).unwrap());
        assert!(picture.y.len() >= picture.y_stride * 117 + 158 && picture.v.len() >= picture.uv_stride * 58 + 79);
    }

    #[test]
    fn damaged_frames_never_panic_and_the_next_keyframe_is_whole_again() {
        let frames = pattern();
        let (mut broken, mut shown) = (0, 0);
        for seed in 0..200 {
            let mut random = StdRng::seed_from_u64(seed);
            let mut decoder = Vp8Decoder::new();
            for (number, frame) in frames.iter().take(12).enumerate() {
                let mut frame = if number % 4 == 0 {
                    frames[0].clone()
                } else {
                    frame.clone()
                };
                match random.random_range(0..6) {
                    0 => frame.truncate(random.random_range(0..frame.len())),
                    1 => {
                        let at = random.random_range(0..frame.len().min(40));
                        frame[at] ^= 1 << random.random_range(0..8);
                    }
                    2 => frame = (0..random.random_range(0..400)).map(|_| random.random()).collect(),
                    _ => {}
                }
                match decoder.decode(&frame) {
                    Ok(Some(picture)) => {
                        assert!(picture.y.iter().map(|sample| u64::from(*sample)).sum::<u64>() > 0);
                        shown += 1;
                    }
                    Ok(None) => {}
                    Err(_) => broken += 1,
                }
            }
            let picture = decoder.decode(&frames[0]).unwrap().unwrap();
            assert_eq!(picture.size, Size::even(160, 120).unwrap(), "seed {seed}");
        }
        assert!(broken > 300 && shown > 300, "{broken} broken, {shown} shown");
    }
}
