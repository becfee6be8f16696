//! Access units → pictures. After anything it can't read the library is thrown away, and a new one begins at the next
//! keyframe that brings its parameter sets: nothing survives of what a hostile sender made of it.
//!
//! Of streams in other profiles than baseline the library keeps a picture back, whether they reorder pictures or not.

use super::{IDR_SLICE, PPS, SLICE, SPS, START_CODE, nal_type, nal_units};
use crate::mix::codec::planes::Planes;
use crate::mix::codec::{BEHIND_MAX, DecodeError, PICTURE_MAX, VideoDecoder};
use crate::mix::picture::PictureView;
use crate::rtp::h264::parameters;
use openh264_sys2::source::APILoader;
use openh264_sys2::{
    DECODER_OPTION_TRACE_LEVEL, DECODING_STATE, ERROR_CON_DISABLE, ISVCDecoder, ISVCDecoderVtbl, SBufferInfo,
    SDecodingParam, VIDEO_BITSTREAM_AVC, dsErrorFree,
};
use std::ffi::c_int;
use std::ptr::{NonNull, null_mut};

/// Bytes of an access unit: 2 bits for each pixel of the largest picture. A live stream has a tenth of that.
const ACCESS_UNIT_MAX: usize = PICTURE_MAX / 4;

/// Of 16×16 pixels, before cropping, which must not hide any.
const MACROBLOCKS_MAX: u64 = PICTURE_MAX as u64 / 256;

/// Macroblocks of all the pictures kept for reference: MaxDpbMbs of level 5.2 (H.264 table A-1), 70 MB.
const REFERENCES_MAX: u64 = 184_320;

/// Holds next to no memory before its first keyframe.
#[derive(Default)]
pub struct H264Decoder {
    /// From the first parameter set on, until something can't be read.
    library: Option<Library>,
    /// What the library gets of an access unit.
    units: Vec<u8>,
    /// Access units so far.
    calls: u64,
}

impl H264Decoder {
    pub fn new() -> Self {
        Self::default()
    }

    fn pass_on(&mut self, access_unit: &[u8]) -> Result<Option<Planes>, DecodeError> {
        let Contents { slices, idr } = gather(access_unit, &mut self.units)?;
        if self.units.is_empty() {
            return Ok(None);
        }
        let used = self.library.is_some();
        match self.decode_units(slices, idr) {
            // a keyframe depends on nothing before it, but the library on damaged parameter sets that it took for good
            Err(_) if idr && used => {
                self.library = None;
                self.decode_units(slices, idr)
            }
            result => result,
        }
    }

    fn decode_units(&mut self, slices: bool, idr: bool) -> Result<Option<Planes>, DecodeError> {
        if self.library.is_none() {
            self.library = Some(Library::new().ok_or(DecodeError::Broken)?);
        }
        let library = self.library.as_mut().ok_or(DecodeError::Broken)?;
        library.started |= idr;
        if slices && !library.started {
            return Err(DecodeError::Broken);
        }
        library.decode(&self.units, self.calls)
    }
}

impl VideoDecoder for H264Decoder {
    fn decode(&mut self, access_unit: &[u8]) -> Result<Option<PictureView<'_>>, DecodeError> {
        self.calls += 1;
        match self.pass_on(access_unit) {
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

    fn behind(&self) -> usize {
        let of = self.library.as_ref().map_or(self.calls, |library| library.of);
        let behind = usize::try_from(self.calls.saturating_sub(of));
        behind.unwrap_or(BEHIND_MAX).min(BEHIND_MAX)
    }
}

struct Contents {
    slices: bool,
    idr: bool,
}

/// Takes out what makes up a picture of the profiles that are offered: nothing else (scalable extensions, data partitions,
/// SEI) need reach the library. What takes too much memory it does not see at all.
fn gather(access_unit: &[u8], units: &mut Vec<u8>) -> Result<Contents, DecodeError> {
    units.clear();
    if access_unit.len() > ACCESS_UNIT_MAX {
        return Err(DecodeError::TooLarge);
    }
    let mut contents = Contents {
        slices: false,
        idr: false,
    };
    for unit in nal_units(access_unit) {
        match nal_type(unit) {
            Some(SPS) => {
                let parameters = parameters(unit).ok_or(DecodeError::Broken)?;
                let references = parameters
                    .macroblocks
                    .saturating_mul(u64::from(parameters.reference_frames));
                if parameters.macroblocks > MACROBLOCKS_MAX || references > REFERENCES_MAX {
                    return Err(DecodeError::TooLarge);
                }
            }
            Some(PPS) => {}
            Some(SLICE) => contents.slices = true,
            Some(IDR_SLICE) => (contents.slices, contents.idr) = (true, true),
            _ => continue,
        }
        units.extend_from_slice(&START_CODE);
        units.extend_from_slice(unit);
    }
    Ok(contents)
}

/// openh264's decoder, from its making to its end.
struct Library {
    decoder: NonNull<ISVCDecoder>,
    /// Whether there was an IDR picture.
    started: bool,
    /// Of the last call.
    last: Option<Planes>,
    /// The access unit that is the picture of.
    of: u64,
}

// SAFETY: the decoder keeps no thread-local state, has no threads of its own (it was asked for none), and has one owner.
unsafe impl Send for Library {}

impl Library {
    fn new() -> Option<Self> {
        super::need_assembly();
        let mut decoder: *mut ISVCDecoder = null_mut();
        // SAFETY: writes the pointer, or leaves it null.
        unsafe { APILoader::WelsCreateDecoder(&mut decoder) };
        let library = Library {
            decoder: NonNull::new(decoder)?,
            started: false,
            last: None,
            of: 0,
        };
        let mut params = SDecodingParam::default();
        params.sVideoProperty.eVideoBsType = VIDEO_BITSTREAM_AVC;
        // a picture guessed from what is missing would look like one, and the next keyframe be asked for too late
        params.eEcActiveIdc = ERROR_CON_DISABLE;
        let mut quiet: c_int = 0;
        let vtable = library.vtable();
        let (set_option, initialize) = (vtable.SetOption?, vtable.Initialize?);
        // SAFETY: the decoder is alive; both pointers are to what the library reads there, and outlive the calls.
        let result = unsafe {
            set_option(decoder, DECODER_OPTION_TRACE_LEVEL, (&raw mut quiet).cast());
            initialize(decoder, &params)
        };
        (result == 0).then_some(library)
    }

    fn decode(&mut self, units: &[u8], call: u64) -> Result<Option<Planes>, DecodeError> {
        self.last = None;
        let len = c_int::try_from(units.len()).map_err(|_| DecodeError::TooLarge)?;
        let mut planes = [null_mut::<u8>(); 3];
        let mut info = SBufferInfo {
            uiInBsTimeStamp: call,
            ..SBufferInfo::default()
        };
        let decode = self.vtable().DecodeFrameNoDelay.ok_or(DecodeError::Broken)?;
        // SAFETY: the decoder is alive and initialized; it reads `len` bytes and writes three pointers and `info`.
        let state: DECODING_STATE = unsafe {
            decode(
                self.decoder.as_ptr(),
                units.as_ptr(),
                len,
                planes.as_mut_ptr(),
                &mut info,
            )
        };
        if state != dsErrorFree {
            return Err(DecodeError::Broken);
        }
        if info.iBufferStatus != 1 {
            return Ok(None);
        }
        self.of = info.uiOutYuvTimeStamp;
        // SAFETY: the union has this one variant.
        let buffer = unsafe { info.UsrData.sSystemBuffer };
        self.last = Some(Planes::new((buffer.iWidth, buffer.iHeight), planes, buffer.iStride)?);
        Ok(self.last)
    }

    fn vtable(&self) -> ISVCDecoderVtbl {
        // SAFETY: a decoder begins with the pointer to its table, which is as static as the library.
        unsafe { **self.decoder.as_ptr() }
    }
}

impl Drop for Library {
    fn drop(&mut self) {
        let decoder = self.decoder.as_ptr();
        // SAFETY: the decoder is alive, and nothing uses it afterwards; it takes back even what it never initialized.
        unsafe {
            if let Some(uninitialize) = self.vtable().Uninitialize {
                uninitialize(decoder);
            }
            APILoader::WelsDestroyDecoder(decoder);
        }
    }
}
