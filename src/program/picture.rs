//! The program's picture: the canvas, its encoder, when it is encoded, and how much of what is set the thread keeps up with.

use super::Plan;
use super::grid::Grid;
use super::ladder::{Change, Ladder, Step, Turn};
use super::sei::Sei;
use crate::mix::codec::{EncodedPicture, VideoEncoder, VideoSettings, h264::H264Encoder};
use crate::mix::compose::Composer;
use crate::mix::picture::Size;
use crate::room::ProgramVideo;
use std::time::{Duration, Instant};

/// An unchanged canvas is encoded this seldom: players that count frames see that the stream lives.
const UNCHANGED_INTERVAL: Duration = Duration::from_millis(500);
/// Pictures of a canvas at rest that are encoded nevertheless: the first of them mend what the bitrate did not suffice for while
/// something moved; after five the encoder finds nothing more to do.
const SETTLING: u32 = 5;
/// Keyframes that viewers ask for come no more often than this.
const KEYFRAME_INTERVAL: Duration = Duration::from_millis(500);

pub(super) struct Picture {
    /// The canvas', now.
    pub size: Size,
    pub composer: Composer,
    encoder: H264Encoder,
    /// What is set: the size and rate that there are when the thread keeps up, and the bitrate.
    full: Size,
    video: ProgramVideo,
    ladder: Ladder,
    /// Pictures that the thread was too late for in this turn,
    pub skipped: u64,
    /// and whether it made one.
    made: bool,
    /// The longest time between keyframes.
    gop: Duration,
    sei: Sei,
    pub grid: Grid,
    pub keyframe_wanted: bool,
    last_keyframe: Option<Instant>,
    last_encoded: Option<Instant>,
    /// Pictures since the canvas was another one.
    at_rest: u32,
    /// The scene may be another one.
    pub stale: bool,
    /// The time of day that is shown, in seconds since 1970.
    pub shown_s: i64,
}

impl Picture {
    pub fn new(plan: &Plan, now: Instant) -> Option<Self> {
        let video = plan.settings.video;
        let full = plan.size;
        let ladder = Ladder::new(full, video.fps.into(), now);
        Some(Picture {
            size: full,
            composer: Composer::new(full),
            encoder: H264Encoder::new(settings(&video, ladder.step()))?,
            full,
            video,
            skipped: 0,
            made: false,
            gop: gop(&video),
            sei: Sei::default(),
            grid: Grid::new(now, ladder.step().fps),
            ladder,
            keyframe_wanted: true,
            last_keyframe: None,
            last_encoded: None,
            at_rest: 0,
            stale: true,
            shown_s: 0,
        })
    }

    /// Other settings. Ones that no encoder can be made for leave the old ones.
    pub fn change(&mut self, plan: &Plan, now: Instant) {
        let video = plan.settings.video;
        let full = plan.size;
        if (full, video.fps) == (self.full, self.video.fps) {
            self.encoder
                .set_bitrate(settings(&video, self.ladder.step()).bitrate_bps);
        } else {
            // another load: what can be kept up with is seen anew
            let ladder = Ladder::new(full, video.fps.into(), now);
            if !self.make(&video, ladder.step()) {
                tracing::error!(?video, "no encoder for this program; it goes on as before");
                return;
            }
            self.ladder = ladder;
        }
        self.full = full;
        self.gop = gop(&video);
        self.video = video;
    }

    /// The thread was busy for so long in the turn that ends now.
    pub fn handle_work(&mut self, busy: Duration, now: Instant) -> Option<Change> {
        let turn = Turn {
            busy,
            made: std::mem::take(&mut self.made),
            skipped: std::mem::take(&mut self.skipped),
        };
        let change = self.ladder.handle_turn(turn, now)?;
        let (video, step) = (self.video, self.ladder.step());
        if !self.make(&video, step) {
            tracing::error!(?step, "no encoder for this step of the program; it goes on as before");
        }
        Some(change)
    }

    /// How it is made, where that is less than what is set.
    pub fn step(&self) -> Option<Step> {
        self.ladder.is_down().then(|| self.ladder.step())
    }

    /// From the next picture on it is made so. A new encoder only for another size, or a rate that the old one can't have.
    fn make(&mut self, video: &ProgramVideo, step: Step) -> bool {
        let settings = settings(video, step);
        if step.size != self.size || !self.encoder.set_fps(step.fps) {
            let Some(mut encoder) = H264Encoder::new(settings) else {
                return false;
            };
            encoder.set_fps(step.fps);
            self.encoder = encoder;
            self.last_keyframe = None;
        }
        self.encoder.set_bitrate(settings.bitrate_bps);
        // of another size with the next scene, which keeps what is seen
        self.size = step.size;
        self.composer.set_quality(step.quality);
        // pictures go on where the last one was
        self.grid = Grid::new(self.grid.next(), step.fps);
        self.stale = true;
        true
    }

    /// The next picture is that of `from`, and a keyframe.
    pub fn begin(&mut self, from: Instant) {
        self.grid = Grid::new(from, self.ladder.step().fps);
        self.last_encoded = None;
        self.demand_keyframe();
    }

    /// From one picture to the next.
    pub fn interval(&self) -> Duration {
        Duration::from_secs(1) / self.ladder.step().fps.max(1)
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
        self.made = true;
        let composed = self.composer.compose();
        self.at_rest = if composed.changed {
            0
        } else {
            self.at_rest.saturating_add(1)
        };
        let rests = since(self.last_encoded).is_some_and(|since| since < UNCHANGED_INTERVAL);
        if self.at_rest > SETTLING && !keyframe && rests {
            return None;
        }
        let encoded = self.encoder.encode(composed.picture, keyframe)?;
        self.last_encoded = Some(at);
        if encoded.keyframe {
            self.last_keyframe = Some(at);
            self.keyframe_wanted = false;
        }
        let tiles = self.composer.tiles();
        Some(self.sei.write(self.video.sei, encoded, utc_ms, self.size, tiles))
    }
}

/// The encoder's settings. The frame rate is the most that the ladder comes back to.
fn settings(video: &ProgramVideo, step: Step) -> VideoSettings {
    let fps = u8::try_from(step.fps).unwrap_or(video.fps);
    let kbps = ProgramVideo { fps, ..*video }.bitrate(step.size);
    VideoSettings {
        size: step.size,
        fps: video.fps.into(),
        bitrate_bps: kbps.saturating_mul(1000),
        // the time of keyframes is kept here, where pictures may be left out: the encoder's own is never reached
        gop: u32::MAX,
    }
}

fn gop(video: &ProgramVideo) -> Duration {
    Duration::from_millis(video.gop_ms.into())
}
