//! The program's picture: the canvas, its encoder, and when it is encoded.

use super::Plan;
use super::grid::Grid;
use super::sei::Sei;
use crate::mix::codec::{EncodedPicture, VideoEncoder, VideoSettings, h264::H264Encoder};
use crate::mix::compose::Composer;
use crate::mix::picture::Size;
use crate::room::ProgramSei;
use std::time::{Duration, Instant};

/// An unchanged canvas is encoded this seldom: players that count frames see that the stream lives.
const UNCHANGED_INTERVAL: Duration = Duration::from_millis(500);
/// Keyframes that viewers ask for come no more often than this.
const KEYFRAME_INTERVAL: Duration = Duration::from_millis(500);

pub(super) struct Picture {
    pub size: Size,
    pub composer: Composer,
    encoder: H264Encoder,
    settings: VideoSettings,
    /// The longest time between keyframes.
    gop: Duration,
    wanted_sei: ProgramSei,
    sei: Sei,
    pub grid: Grid,
    pub keyframe_wanted: bool,
    last_keyframe: Option<Instant>,
    last_encoded: Option<Instant>,
    /// The scene may be another one.
    pub stale: bool,
    /// The time of day that is shown, in seconds since 1970.
    pub shown_s: i64,
}

impl Picture {
    pub fn new(plan: &Plan, now: Instant) -> Option<Self> {
        Self::sized(plan, plan.size, now)
    }

    fn sized(plan: &Plan, size: Size, now: Instant) -> Option<Self> {
        let settings = settings(plan, size);
        Some(Picture {
            size,
            composer: Composer::new(size),
            encoder: H264Encoder::new(settings)?,
            settings,
            gop: Duration::from_millis(plan.settings.video.gop_ms.into()),
            wanted_sei: plan.settings.video.sei,
            sei: Sei::default(),
            grid: Grid::new(now, settings.fps),
            keyframe_wanted: true,
            last_keyframe: None,
            last_encoded: None,
            stale: true,
            shown_s: 0,
        })
    }

    /// Other settings: a new encoder only for another size or frame rate. One that can't be made leaves the old one.
    pub fn change(&mut self, plan: &Plan, now: Instant) {
        let size = plan.size;
        let settings = settings(plan, size);
        self.gop = Duration::from_millis(plan.settings.video.gop_ms.into());
        self.wanted_sei = plan.settings.video.sei;
        if (settings.size, settings.fps) == (self.settings.size, self.settings.fps) {
            self.encoder.set_bitrate(settings.bitrate_bps);
            self.settings = settings;
            return;
        }
        let Some(changed) = Picture::sized(plan, size, now) else {
            tracing::error!(?settings, "no encoder for this program; it goes on as before");
            return;
        };
        // pictures go on where the last one was
        let next = self.grid.next();
        *self = changed;
        self.grid = Grid::new(next, self.settings.fps);
    }

    /// The next picture shows what is due from `from` on, and is a keyframe.
    pub fn begin(&mut self, from: Instant) {
        // a quarter of a frame late: a source whose frames are due just then is not missed by a hair now and then
        let quarter = Duration::from_secs(1) / self.settings.fps.max(1) / 4;
        self.grid = Grid::new(from + quarter, self.settings.fps);
        self.last_encoded = None;
        self.demand_keyframe();
    }

    /// The next picture is a keyframe, however young the last one is.
    pub fn demand_keyframe(&mut self) {
        self.keyframe_wanted = true;
        self.last_keyframe = None;
    }

    /// The canvas as it is at `at`, unless it is as it was. `utc_ms`: the same time in milliseconds since 1970.
    pub fn encode(&mut self, at: Instant, utc_ms: i64) -> Option<EncodedPicture<'_>> {
        let since = |earlier: Option<Instant>| earlier.map(|earlier| at.saturating_duration_since(earlier));
        let wanted = self.keyframe_wanted && since(self.last_keyframe).is_none_or(|since| since >= KEYFRAME_INTERVAL);
        let keyframe = wanted || since(self.last_keyframe).is_none_or(|since| since >= self.gop);
        let composed = self.composer.compose();
        let rests = since(self.last_encoded).is_some_and(|since| since < UNCHANGED_INTERVAL);
        if !composed.changed && !keyframe && rests {
            return None;
        }
        let encoded = self.encoder.encode(composed.picture, keyframe)?;
        self.last_encoded = Some(at);
        if encoded.keyframe {
            self.last_keyframe = Some(at);
            self.keyframe_wanted = false;
        }
        let tiles = self.composer.tiles();
        Some(self.sei.write(self.wanted_sei, encoded, utc_ms, self.size, tiles))
    }
}

fn settings(plan: &Plan, size: Size) -> VideoSettings {
    let video = &plan.settings.video;
    let fps = u32::from(video.fps);
    VideoSettings {
        size,
        fps,
        bitrate_bps: video.bitrate(size).saturating_mul(1000),
        // the time of keyframes is kept here, where pictures may be left out: the encoder's own is never reached
        gop: u32::MAX,
    }
}
