//! Pictures → access units of constrained baseline, one slice each. Parameter sets come with each keyframe.

use crate::mix::codec::{EncodedPicture, VideoEncoder, VideoSettings};
use crate::mix::picture::PictureView;
use openh264_sys2::source::APILoader;
use openh264_sys2::{
    CAMERA_VIDEO_REAL_TIME, CONSTANT_ID, ELevelIdc, ENCODER_OPTION_BITRATE, ENCODER_OPTION_FRAME_RATE,
    ENCODER_OPTION_TRACE_LEVEL, EVideoFrameType, ISVCEncoder, ISVCEncoderVtbl, LEVEL_3_1, LEVEL_3_2, LEVEL_4_0,
    LEVEL_4_2, LEVEL_5_1, LEVEL_5_2, LOW_COMPLEXITY, PRO_BASELINE, RC_BITRATE_MODE, SBitrateInfo, SEncParamExt,
    SFrameBSInfo, SM_SINGLE_SLICE, SPATIAL_LAYER_ALL, SSourcePicture, videoFormatI420, videoFrameTypeIDR,
    videoFrameTypeSkip,
};
use std::ffi::c_int;
use std::ptr::{NonNull, null_mut};

/// The best and the worst quantizer the rate control may use. Below 12 nobody sees a difference (the library has no less);
/// 51 is the end of the scale, since above a smaller one the bitrate would not hold.
const QP_MIN: c_int = 12;
const QP_MAX: c_int = 51;

/// Pixels: a macroblock.
const SIDE_MIN: usize = 16;

/// MaxMBPS, MaxFS, MaxBR of baseline (H.264 table A-1: macroblocks a second, macroblocks, 1000 bit/s), from the level on
/// that WebRTC's 42e01f names and every browser decodes.
const LEVELS: [(ELevelIdc, u32, u32, u32); 6] = [
    (LEVEL_3_1, 108_000, 3_600, 14_000),
    (LEVEL_3_2, 216_000, 5_120, 20_000),
    (LEVEL_4_0, 245_760, 8_192, 20_000),
    (LEVEL_4_2, 522_240, 8_704, 50_000),
    (LEVEL_5_1, 983_040, 36_864, 240_000),
    (LEVEL_5_2, 2_073_600, 36_864, 240_000),
];

pub struct H264Encoder {
    /// The frame rate is the most there has been.
    settings: VideoSettings,
    level: ELevelIdc,
    /// Pictures a second now.
    fps: u32,
    /// `None` after a failure, which has cost the library its memory: the next picture begins anew, with a keyframe.
    library: Option<Library>,
    /// The time of the next picture.
    time_us: u64,
    /// From the last keyframe on.
    since_keyframe: u32,
    bytes: Vec<u8>,
}

impl H264Encoder {
    /// `None`: the library can't (a side below 16, more than level 5.2, no memory).
    pub fn new(settings: VideoSettings) -> Option<Self> {
        Some(H264Encoder {
            library: Some(Library::new(settings)?),
            fps: settings.fps,
            settings,
            level: level(settings)?.0,
            time_us: 0,
            since_keyframe: 0,
            bytes: Vec::new(),
        })
    }

    fn begin_anew(&self) -> Option<Library> {
        let mut library = Library::new(self.settings)?;
        library.set_fps(self.fps);
        Some(library)
    }
}

impl VideoEncoder for H264Encoder {
    /// # Panics
    /// If the picture has another size than the settings, or planes too short for it.
    fn encode(&mut self, picture: PictureView, keyframe: bool) -> Option<EncodedPicture<'_>> {
        assert_eq!(picture.size, self.settings.size, "a change of size needs a new encoder");
        let keyframe = keyframe || self.since_keyframe >= self.settings.gop;
        let time_ms = self.time_us / 1000;
        self.time_us += 1_000_000 / u64::from(self.fps.max(1));
        let mut library = self.library.take().or_else(|| self.begin_anew())?;
        let kind = library.encode(picture, keyframe, time_ms, &mut self.bytes)?;
        self.library = Some(library);
        if kind == videoFrameTypeSkip || self.bytes.is_empty() {
            return None;
        }
        let keyframe = kind == videoFrameTypeIDR;
        self.since_keyframe = if keyframe {
            1
        } else {
            self.since_keyframe.saturating_add(1)
        };
        Some(EncodedPicture {
            bytes: &self.bytes,
            keyframe,
        })
    }

    fn set_bitrate(&mut self, bitrate_bps: u32) {
        self.settings.bitrate_bps = bitrate_bps;
        if let Some(library) = &mut self.library {
            library.set_bitrate(bitrate_bps);
        }
    }

    fn set_fps(&mut self, fps: u32) -> bool {
        if fps > self.settings.fps {
            let raised = VideoSettings { fps, ..self.settings };
            // decoders were told a level
            if level(raised).is_none_or(|(level, _)| level > self.level) {
                return false;
            }
            self.settings = raised;
        }
        if fps != self.fps {
            self.fps = fps;
            if let Some(library) = &mut self.library {
                library.set_fps(fps);
            }
        }
        true
    }
}

/// openh264's encoder, from its making to its end.
struct Library {
    encoder: NonNull<ISVCEncoder>,
    /// What the library takes: at least a bit a picture, at most what the level allows.
    bitrates_bps: (u32, u32),
    /// Where it says what it wrote; too large for the stack.
    info: Box<SFrameBSInfo>,
}

// SAFETY: the encoder keeps no thread-local state, has no threads of its own (it was asked for one), and has one owner.
unsafe impl Send for Library {}

impl Library {
    fn new(settings: VideoSettings) -> Option<Self> {
        super::need_assembly();
        let (level, most_kbps) = level(settings)?;
        let mut encoder: *mut ISVCEncoder = null_mut();
        // SAFETY: writes the pointer, or leaves it null.
        unsafe { APILoader::WelsCreateSVCEncoder(&mut encoder) };
        let library = Library {
            encoder: NonNull::new(encoder)?,
            bitrates_bps: (settings.fps.max(1), most_kbps * 1000),
            info: Box::default(),
        };
        let vtable = library.vtable();
        let (set_option, initialize) = (vtable.SetOption?, vtable.InitializeExt?);
        let mut quiet: c_int = 0;
        let mut params = SEncParamExt::default();
        // SAFETY: the encoder is alive; the pointers are to what the library reads or writes there, and outlive the calls.
        let result = unsafe {
            set_option(encoder, ENCODER_OPTION_TRACE_LEVEL, (&raw mut quiet).cast());
            vtable.GetDefaultParams?(encoder, &mut params);
            fill(&mut params, settings, level, library.within_level(settings.bitrate_bps))?;
            initialize(encoder, &params)
        };
        (result == 0).then_some(library)
    }

    /// One picture's bytes, and what kind of picture it is. `None`: the library has failed, and is of no more use.
    fn encode(
        &mut self,
        picture: PictureView,
        keyframe: bool,
        time_ms: u64,
        bytes: &mut Vec<u8>,
    ) -> Option<EVideoFrameType> {
        let source = source(picture, time_ms)?;
        let vtable = self.vtable();
        let encoder = self.encoder.as_ptr();
        // SAFETY: the encoder is alive and initialized; `source` made sure that the planes, which it only reads, hold a
        // picture of the size it was initialized with; `info` is all it writes to.
        let result = unsafe {
            if keyframe {
                vtable.ForceIntraFrame?(encoder, true);
            }
            vtable.EncodeFrame?(encoder, &source, &mut *self.info)
        };
        bytes.clear();
        if result != 0 {
            return None;
        }
        let layers = usize::try_from(self.info.iLayerNum).ok()?;
        for layer in self.info.sLayerInfo.get(..layers)? {
            let units = usize::try_from(layer.iNalCount).ok()?;
            // SAFETY: after a success each layer has `iNalCount` lengths, and their sum in bytes one behind the other, which
            // stay until the next call.
            let units = unsafe { slice_or_empty(layer.pNalLengthInByte, units) };
            let len = usize::try_from(units.iter().sum::<c_int>()).ok()?;
            // SAFETY: see above.
            bytes.extend_from_slice(unsafe { slice_or_empty(layer.pBsBuf, len) });
        }
        Some(self.info.eFrameType)
    }

    fn set_bitrate(&mut self, bitrate_bps: u32) {
        let mut bitrate = SBitrateInfo {
            iLayer: SPATIAL_LAYER_ALL,
            iBitrate: self.within_level(bitrate_bps),
        };
        if let Some(set_option) = self.vtable().SetOption {
            // SAFETY: the encoder is alive, the option is of this type, and read before the call ends.
            unsafe { set_option(self.encoder.as_ptr(), ENCODER_OPTION_BITRATE, (&raw mut bitrate).cast()) };
        }
    }

    fn set_fps(&mut self, fps: u32) {
        // 60 at most
        let mut fps = fps as f32;
        if let Some(set_option) = self.vtable().SetOption {
            // SAFETY: the encoder is alive, the option is of this type, and read before the call ends.
            unsafe { set_option(self.encoder.as_ptr(), ENCODER_OPTION_FRAME_RATE, (&raw mut fps).cast()) };
        }
    }

    fn within_level(&self, bitrate_bps: u32) -> c_int {
        let (least, most) = self.bitrates_bps;
        c_int::try_from(bitrate_bps.clamp(least, most)).unwrap_or(c_int::MAX)
    }

    fn vtable(&self) -> ISVCEncoderVtbl {
        // SAFETY: an encoder begins with the pointer to its table, which is as static as the library.
        unsafe { **self.encoder.as_ptr() }
    }
}

impl Drop for Library {
    fn drop(&mut self) {
        let encoder = self.encoder.as_ptr();
        // SAFETY: the encoder is alive, and nothing uses it afterwards; it takes back even what it never initialized.
        unsafe {
            if let Some(uninitialize) = self.vtable().Uninitialize {
                uninitialize(encoder);
            }
            APILoader::WelsDestroySVCEncoder(encoder);
        }
    }
}

/// # Safety
/// `start` is null, or the start of `len` values that nobody writes to during `'s`.
unsafe fn slice_or_empty<'s, T>(start: *const T, len: usize) -> &'s [T] {
    if start.is_null() {
        return &[];
    }
    // SAFETY: the caller's.
    unsafe { std::slice::from_raw_parts(start, len) }
}

/// The lowest level for a stream, and its bitrate in kbit/s.
fn level(settings: VideoSettings) -> Option<(ELevelIdc, u32)> {
    // the library would say so only when it is too late, with the first picture
    if settings.size.width().min(settings.size.height()) < SIDE_MIN {
        return None;
    }
    let macroblocks = settings.size.width().div_ceil(16) * settings.size.height().div_ceil(16);
    let macroblocks = u32::try_from(macroblocks).ok()?;
    let per_second = macroblocks.checked_mul(settings.fps)?;
    let (level, .., most_kbps) = LEVELS.into_iter().find(|(_, most_per_second, most, most_kbps)| {
        macroblocks <= *most && per_second <= *most_per_second && settings.bitrate_bps / 1000 <= *most_kbps
    })?;
    Some((level, most_kbps))
}

fn fill(params: &mut SEncParamExt, settings: VideoSettings, level: ELevelIdc, bitrate_bps: c_int) -> Option<()> {
    let width = c_int::try_from(settings.size.width()).ok()?;
    let height = c_int::try_from(settings.size.height()).ok()?;
    let fps = settings.fps as f32;
    // a composed picture is camera pictures above all, whose search is the faster one
    params.iUsageType = CAMERA_VIDEO_REAL_TIME;
    params.iComplexityMode = LOW_COMPLEXITY;
    params.iPicWidth = width;
    params.iPicHeight = height;
    params.fMaxFrameRate = fps;
    params.iTargetBitrate = bitrate_bps;
    // the modes that look at buffers or timestamps overshoot or leave pictures out
    params.iRCMode = RC_BITRATE_MODE;
    params.bEnableFrameSkip = false;
    params.iMinQp = QP_MIN;
    params.iMaxQp = QP_MAX;
    // keyframes are counted here, so that one on demand puts off the next
    params.uiIntraPeriod = 0;
    // a new layout would otherwise be a keyframe that nobody needs
    params.bEnableSceneChangeDetect = false;
    params.eSpsPpsIdStrategy = CONSTANT_ID;
    params.iTemporalLayerNum = 1;
    params.iSpatialLayerNum = 1;
    // several would cost slices, and programs run side by side
    params.iMultipleThreadIdc = 1;
    let layer = params.sSpatialLayers.first_mut()?;
    layer.iVideoWidth = width;
    layer.iVideoHeight = height;
    layer.fFrameRate = fps;
    layer.iSpatialBitrate = bitrate_bps;
    layer.uiProfileIdc = PRO_BASELINE;
    layer.uiLevelIdc = level;
    layer.sSliceArgument.uiSliceMode = SM_SINGLE_SLICE;
    layer.sSliceArgument.uiSliceNum = 1;
    Some(())
}

/// # Panics
/// If a plane is too short for its picture.
fn source(picture: PictureView, time_ms: u64) -> Option<SSourcePicture> {
    let (width, height) = (picture.size.width(), picture.size.height());
    let holds = |plane: &[u8], stride: usize, width: usize, height: usize| {
        width <= stride && stride * (height - 1) + width <= plane.len()
    };
    assert!(holds(picture.y, picture.y_stride, width, height));
    assert!(holds(picture.u, picture.uv_stride, width / 2, height / 2));
    assert!(holds(picture.v, picture.uv_stride, width / 2, height / 2));
    let uv_stride = c_int::try_from(picture.uv_stride).ok()?;
    let plane = |plane: &[u8]| plane.as_ptr().cast_mut();
    Some(SSourcePicture {
        iColorFormat: videoFormatI420,
        iStride: [c_int::try_from(picture.y_stride).ok()?, uv_stride, uv_stride, 0],
        pData: [plane(picture.y), plane(picture.u), plane(picture.v), null_mut()],
        iPicWidth: c_int::try_from(width).ok()?,
        iPicHeight: c_int::try_from(height).ok()?,
        uiTimeStamp: i64::try_from(time_ms).ok()?,
        ..SSourcePicture::default()
    })
}
