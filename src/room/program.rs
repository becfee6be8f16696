//! How a room's program is made: whether it is mixed, in which size and rate. What it is made of is the
//! [layout](crate::mix::layout)'s.

use super::Refusal;
use crate::mix::picture::Size;
use std::ops::RangeInclusive;

/// Whether the program is mixed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProgramMode {
    /// The host's own packets while nothing has to be composed, else mixed.
    #[default]
    Auto,
    Mixed,
    /// The host's own packets, whatever else is there.
    Passthrough,
    /// No program.
    Off,
}

/// What mixed pictures say of themselves, as supplemental enhancement information (H.264 annex D).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProgramSei {
    #[default]
    None,
    /// The time they are of.
    Timestamp,
    /// And whose tiles are where.
    Layout,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProgramVideo {
    /// `None`: what the host sends.
    pub size: Option<Size>,
    /// 15..=60
    pub fps: u8,
    /// `None`: what [`bitrate`](Self::bitrate) finds right.
    pub bitrate_kbps: Option<u32>,
    /// The longest time between two keyframes.
    pub gop_ms: u32,
    pub sei: ProgramSei,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProgramAudio {
    pub bitrate_kbps: u32,
    /// 1 or 2
    pub channels: u8,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProgramSettings {
    pub mode: ProgramMode,
    pub video: ProgramVideo,
    pub audio: ProgramAudio,
    /// Made also while nobody takes of it: `idle: "always"`.
    pub always: bool,
}

impl Default for ProgramVideo {
    fn default() -> Self {
        ProgramVideo {
            size: None,
            fps: 30,
            bitrate_kbps: None,
            // What segments of HLS are cut to, and how long a CDN's viewer waits for a picture.
            gop_ms: 2_000,
            // A few hundred bytes that most players throw away.
            sei: ProgramSei::None,
        }
    }
}

impl Default for ProgramAudio {
    fn default() -> Self {
        // Opus: voices and music in stereo without anything missing.
        ProgramAudio {
            bitrate_kbps: 96,
            channels: 2,
        }
    }
}

/// What one side of the size is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Auto,
    /// In pixels.
    Fixed(u64),
}

/// Absent: unchanged. The numbers as they came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProgramPatch {
    pub mode: Option<ProgramMode>,
    pub width: Option<Side>,
    pub height: Option<Side>,
    pub fps: Option<u64>,
    /// `Some(None)`: as the size has it.
    pub video_bitrate_kbps: Option<Option<u64>>,
    pub gop_ms: Option<u64>,
    pub sei: Option<ProgramSei>,
    pub audio_bitrate_kbps: Option<u64>,
    pub channels: Option<u64>,
    pub always: Option<bool>,
}

/// The sides of a program: what is smaller nobody watches, and more than 1080p is more than one program's threads encode.
const LEAST_SIDE: u16 = 160;
const MOST_SHORTER_SIDE: u16 = 1080;
const MOST_LONGER_SIDE: u16 = 1920;
const FPS: RangeInclusive<u8> = 15..=60;
/// Below, 360p is mud; above, no CDN takes a push.
const VIDEO_KBPS: RangeInclusive<u32> = 100..=20_000;
/// A keyframe costs about ten frames: more than two a second leave little for the rest. Later than 10 s, viewers wait.
const GOP_MS: RangeInclusive<u32> = 500..=10_000;
/// What Opus is made for (RFC 6716, section 2.1.1), as far as speech is understood.
const AUDIO_KBPS: RangeInclusive<u32> = 16..=510;
const CHANNELS: RangeInclusive<u8> = 1..=2;

/// Bits per pixel of faces that talk: 2.5 Mbit/s of 720p30.
const BITS_PER_PIXEL: f64 = 0.09;
/// What `auto` stays within: below, text breaks; above, faces gain nothing.
const USUAL_KBPS: RangeInclusive<u32> = 400..=8_000;

impl ProgramVideo {
    /// kbit/s for a picture of this size.
    pub fn bitrate(&self, size: Size) -> u32 {
        self.bitrate_kbps.unwrap_or_else(|| {
            let side = |pixels: usize| u16::try_from(pixels).map_or(0.0, f64::from);
            let kbps = side(size.width()) * side(size.height()) * f64::from(self.fps) * BITS_PER_PIXEL / 1_000.0;
            let (least, most) = (*USUAL_KBPS.start(), *USUAL_KBPS.end());
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "two sides of u16 times 255 frames; `as` saturates"
            )]
            let kbps = kbps as u32;
            kbps.clamp(least, most)
        })
    }
}

impl ProgramSettings {
    /// Refusals name the field below `program`.
    pub fn patched(mut self, patch: &ProgramPatch) -> Result<Self, Refusal> {
        self.mode = patch.mode.unwrap_or(self.mode);
        self.always = patch.always.unwrap_or(self.always);
        self.video.size = patched_size(self.video.size, patch)?;
        let video = &mut self.video;
        if let Some(fps) = patch.fps {
            video.fps = within("video.fps", fps, FPS)?;
        }
        if let Some(bitrate) = patch.video_bitrate_kbps {
            let bitrate = bitrate.map(|kbps| within("video.bitrate_kbps", kbps, VIDEO_KBPS));
            video.bitrate_kbps = bitrate.transpose()?;
        }
        if let Some(gop_ms) = patch.gop_ms {
            video.gop_ms = within("video.gop_ms", gop_ms, GOP_MS)?;
        }
        video.sei = patch.sei.unwrap_or(video.sei);
        if let Some(kbps) = patch.audio_bitrate_kbps {
            self.audio.bitrate_kbps = within("audio.bitrate_kbps", kbps, AUDIO_KBPS)?;
        }
        if let Some(channels) = patch.channels {
            self.audio.channels = within("audio.channels", channels, CHANNELS)?;
        }
        Ok(self)
    }
}

fn within<T>(field: &str, value: u64, range: RangeInclusive<T>) -> Result<T, Refusal>
where
    T: TryFrom<u64> + PartialOrd + std::fmt::Display,
{
    let fitting = T::try_from(value).ok().filter(|value| range.contains(value));
    fitting.ok_or_else(|| {
        let detail = format!("{field} is {} to {}, not {value}", range.start(), range.end());
        Refusal::invalid(field, detail)
    })
}

/// A side that is not named stays; both are numbers, or both are left to the host.
fn patched_size(size: Option<Size>, patch: &ProgramPatch) -> Result<Option<Size>, Refusal> {
    let now = |pixels: Option<usize>| match pixels.and_then(|pixels| u64::try_from(pixels).ok()) {
        Some(pixels) => Side::Fixed(pixels),
        None => Side::Auto,
    };
    let width = patch.width.unwrap_or(now(size.map(Size::width)));
    let height = patch.height.unwrap_or(now(size.map(Size::height)));
    let lacking = |field: &str, other: &str| {
        let detail = format!("width and height are both numbers or both \"auto\": {field} is missing beside {other}");
        Refusal::invalid(&format!("video.{field}"), detail)
    };
    match (width, height) {
        (Side::Auto, Side::Auto) => Ok(None),
        (Side::Fixed(_), Side::Auto) => Err(lacking("height", "width")),
        (Side::Auto, Side::Fixed(_)) => Err(lacking("width", "height")),
        (Side::Fixed(width), Side::Fixed(height)) => fixed_size(width, height).map(Some),
    }
}

fn fixed_size(width: u64, height: u64) -> Result<Size, Refusal> {
    let side = |field: &str, pixels: u64, other: u64| {
        let most = if pixels > other {
            MOST_LONGER_SIDE
        } else {
            MOST_SHORTER_SIDE
        };
        let pixels: u16 = within(field, pixels, LEAST_SIDE..=most)?;
        if pixels.is_multiple_of(2) {
            Ok(pixels)
        } else {
            let detail = format!("{field} is an even number, not {pixels}");
            Err(Refusal::invalid(field, detail))
        }
    };
    let width = side("video.width", width, height)?;
    let height = side("video.height", height, width.into())?;
    Size::even(width, height).ok_or_else(|| Refusal::invalid("video", "a size without pixels"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patched(patch: ProgramPatch) -> Result<ProgramSettings, Option<String>> {
        ProgramSettings::default()
            .patched(&patch)
            .map_err(|refusal| refusal.field)
    }

    fn sized(width: u64, height: u64) -> ProgramPatch {
        ProgramPatch {
            width: Some(Side::Fixed(width)),
            height: Some(Side::Fixed(height)),
            ..ProgramPatch::default()
        }
    }

    #[test]
    fn what_is_not_named_stays() {
        let first = patched(ProgramPatch {
            fps: Some(25),
            channels: Some(1),
            ..sized(1080, 1920)
        });
        let first = first.expect("fits");
        let second = first.patched(&ProgramPatch {
            mode: Some(ProgramMode::Mixed),
            ..ProgramPatch::default()
        });
        assert_eq!(
            second,
            Ok(ProgramSettings {
                mode: ProgramMode::Mixed,
                ..first
            })
        );
        assert_eq!((first.video.fps, first.audio.channels), (25, 1));
        assert_eq!(first.video.size, Size::even(1080, 1920));
        let narrower = ProgramPatch {
            width: Some(Side::Fixed(720)),
            ..ProgramPatch::default()
        };
        let narrower = first.patched(&narrower).map(|settings| settings.video.size);
        assert_eq!(narrower, Ok(Size::even(720, 1920)));
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let some = |change: fn(&mut ProgramPatch)| {
            let mut patch = ProgramPatch::default();
            change(&mut patch);
            patched(patch).err().flatten()
        };
        let named = |field: &str| Some(field.to_owned());
        assert_eq!(some(|_| ()), None);
        assert_eq!(some(|patch| patch.fps = Some(14)), named("video.fps"));
        assert_eq!(some(|patch| patch.fps = Some(316)), named("video.fps"));
        assert_eq!(
            some(|patch| patch.video_bitrate_kbps = Some(Some(99))),
            named("video.bitrate_kbps")
        );
        assert_eq!(some(|patch| patch.video_bitrate_kbps = Some(None)), None);
        assert_eq!(some(|patch| patch.gop_ms = Some(u64::MAX)), named("video.gop_ms"));
        assert_eq!(
            some(|patch| patch.audio_bitrate_kbps = Some(600)),
            named("audio.bitrate_kbps")
        );
        assert_eq!(some(|patch| patch.channels = Some(3)), named("audio.channels"));
        assert_eq!(
            some(|patch| patch.width = Some(Side::Fixed(1280))),
            named("video.height")
        );
        assert_eq!(
            some(|patch| patch.height = Some(Side::Fixed(720))),
            named("video.width")
        );
    }

    #[test]
    fn sizes_are_even_and_no_larger_than_1080p_either_way() {
        let outcome = |width, height| patched(sized(width, height)).map(|settings| settings.video.size);
        for (width, height) in [(1920, 1080), (1080, 1920), (640, 360), (160, 160), (1080, 1080)] {
            let size = Size::even(
                u16::try_from(width).expect("small"),
                u16::try_from(height).expect("small"),
            );
            assert_eq!(outcome(width, height), Ok(size));
        }
        for (width, height, field) in [
            (1921, 1080, "video.width"),
            (1920, 1082, "video.height"),
            (1200, 1200, "video.width"),
            (1279, 720, "video.width"),
            (1280, 719, "video.height"),
            (158, 160, "video.width"),
            (0, 0, "video.width"),
            (65_536 + 640, 360, "video.width"),
            (640, u64::MAX, "video.height"),
        ] {
            assert_eq!(
                outcome(width, height),
                Err(Some(field.to_owned())),
                "{width} x {height}"
            );
        }
    }

    #[test]
    fn the_bitrate_follows_the_size() {
        let video = ProgramVideo::default();
        let of = |width, height| video.bitrate(Size::even(width, height).expect("a size"));
        assert_eq!(
            [of(1280, 720), of(1920, 1080), of(640, 360), of(160, 160)],
            [2_488, 5_598, 622, 400]
        );
        let fixed = ProgramVideo {
            bitrate_kbps: Some(900),
            ..video
        };
        assert_eq!(fixed.bitrate(Size::even(1920, 1080).expect("a size")), 900);
    }
}
