//! The program itself: inputs, canvas, mixer, encoders and the clock that ties them together. Written against time as an
//! argument: `handle_*` takes what came, [`Core::handle_timeout`] makes the pictures and blocks of sound whose time it is,
//! [`Core::poll_timeout`] says when that is next.
//!
//! Pictures are due on a grid of the frame rate, sound every 20 ms, both counted from the program's start. What comes late
//! is left out (a picture) or made up for (sound); when the thread itself is late, pictures are skipped, sound is caught up.

use super::input::{Input, Shown};
use super::output::Output;
use super::scene::{self, Scenery};
use super::{Plan, Sink, Status};
use crate::forward::{FeedUpdate, LayerIndex, SeatIndex, SourceId};
use crate::mix::audio::{Block, Mixer, PAIRS, RATE, Speakers};
use crate::mix::codec::{
    AudioEncoder, EncodedPicture, VideoEncoder, VideoSettings, h264::H264Encoder, opus::OpusEncoder,
};
use crate::mix::compose::Composer;
use crate::mix::picture::Size;
use crate::rtp::{MediaKind, NtpClock, PacketView};
use crate::telemetry::ProgramMetrics;
use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};
use std::time::{Duration, Instant};

/// An unchanged canvas is encoded this seldom: players that count frames see that the stream lives.
const UNCHANGED_INTERVAL: Duration = Duration::from_millis(500);
/// Keyframes that viewers ask for come no more often than this.
const KEYFRAME_INTERVAL: Duration = Duration::from_millis(500);
/// Blocks of sound that are caught up with at once; more were a stopped machine, and time goes on from now.
const CATCH_UP: u64 = 10;
/// How long the first pictures are waited for: what is cached comes at once, a keyframe that is asked for within a way there
/// and back.
const START_WAIT: Duration = Duration::from_millis(500);
/// A block is 20 ms.
const BLOCKS_PER_SECOND: u32 = RATE / PAIRS as u32;
/// The canvas without a host's picture to go by (API.md).
const DEFAULT_SIZE: (u16, u16) = (1280, 720);

pub(super) struct Core {
    clock: NtpClock,
    plan: Plan,
    inputs: BTreeMap<SourceId, Input>,
    picture: Picture,
    scenery: Scenery,
    sound: Sound,
    output: Output,
    begun: Instant,
    live: bool,
    /// The sources of which something has been drawn.
    drawn: BTreeSet<SourceId>,
    metrics: ProgramMetrics,
}

/// The program's picture.
struct Picture {
    size: Size,
    composer: Composer,
    encoder: H264Encoder,
    settings: VideoSettings,
    /// The longest time between keyframes.
    gop: Duration,
    grid: Grid,
    keyframe_wanted: bool,
    last_keyframe: Option<Instant>,
    last_encoded: Option<Instant>,
    /// The scene may be another one.
    stale: bool,
    /// The time of day that is shown, in seconds since 1970.
    shown_s: i64,
}

/// The program's sound.
struct Sound {
    mixer: Mixer,
    speakers: Speakers,
    encoder: OpusEncoder,
    /// Beginnings of blocks.
    grid: Grid,
    mixed: Box<Block>,
}

/// Moments that are evenly apart, without a drift from rounding.
#[derive(Clone, Copy, Debug)]
struct Grid {
    origin: Instant,
    per_second: u32,
    next: u64,
}

impl Grid {
    fn new(origin: Instant, per_second: u32) -> Self {
        Grid {
            origin,
            per_second,
            next: 0,
        }
    }

    fn next(&self) -> Instant {
        self.moment(self.next)
    }

    /// The one behind the next.
    fn behind_next(&self) -> Instant {
        self.moment(self.next + 1)
    }

    fn moment(&self, number: u64) -> Instant {
        let nanoseconds = u128::from(number) * 1_000_000_000 / u128::from(self.per_second);
        // rounded up: a moment is due when it is over, and nobody waits in vain
        self.origin + Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX) + 1)
    }

    /// Moments that are over at `now`, the next one included.
    fn due(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.origin).as_nanos();
        let number = since * u128::from(self.per_second) / 1_000_000_000;
        (u64::try_from(number).unwrap_or(u64::MAX) + 1).saturating_sub(self.next)
    }
}

impl Core {
    /// `None`: there is no encoder for such a picture, or no memory.
    pub fn new(clock: NtpClock, plan: Plan, metrics: ProgramMetrics, now: Instant) -> Option<Self> {
        let sound = Sound {
            mixer: Mixer::new(),
            speakers: Speakers::default(),
            encoder: OpusEncoder::new(plan.settings.audio.bitrate_kbps.saturating_mul(1000))?,
            grid: Grid::new(now, BLOCKS_PER_SECOND),
            mixed: Box::new([0.0; 2 * PAIRS]),
        };
        let mut core = Core {
            clock,
            // the first block of sound is that much older than the program
            output: Output::new(clock, now - Mixer::DELAY),
            inputs: BTreeMap::new(),
            picture: Picture::new(&plan, size(&plan), now)?,
            scenery: Scenery::new(&plan.layout),
            sound,
            plan,
            begun: now,
            live: false,
            drawn: BTreeSet::new(),
            metrics,
        };
        core.reconcile_inputs(now);
        Some(core)
    }

    /// The sources the program is made from, and the workers that have them.
    pub fn wanted(&self) -> Vec<(SourceId, usize)> {
        self.inputs
            .values()
            .map(|input| (input.info.id, input.info.worker))
            .collect()
    }

    pub fn status(&self) -> Status {
        Status {
            live: self.live,
            drawn: self.drawn.clone(),
        }
    }

    /// The status says what is so.
    pub fn is_as(&self, status: &Status) -> bool {
        status.live == self.live && status.drawn == self.drawn
    }

    pub fn handle_plan(&mut self, plan: Plan, now: Instant) {
        if plan.settings != self.plan.settings {
            self.picture.change(&plan, now);
            let bitrate_bps = plan.settings.audio.bitrate_kbps.saturating_mul(1000);
            self.sound.encoder.set_bitrate(bitrate_bps);
        }
        if plan.layout != self.plan.layout {
            self.scenery = Scenery::new(&plan.layout);
        }
        self.plan = plan;
        self.reconcile_inputs(now);
        self.picture.stale = true;
    }

    /// Inputs are the sources of the plan. Twice equals once.
    fn reconcile_inputs(&mut self, now: Instant) {
        let Core {
            inputs,
            plan,
            clock,
            drawn,
            sound,
            ..
        } = self;
        for input in inputs.values() {
            let seat = input.info.seat;
            if !plan.sources.iter().any(|source| source.seat == seat) {
                sound.speakers.remove(seat);
            }
        }
        inputs.retain(|id, _| plan.sources.iter().any(|source| source.id == *id));
        drawn.retain(|id| inputs.contains_key(id));
        for source in plan.sources.iter() {
            let input = match inputs.entry(source.id) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(place) => {
                    let Some(input) = Input::new(source.clone(), *clock, now) else {
                        continue;
                    };
                    place.insert(input)
                }
            };
            input.info = source.clone();
            // at most 2: nothing is lost
            input.voice.set_volume(plan.layout.volume(source.seat) as f32);
        }
    }

    pub fn handle_packet(
        &mut self,
        source: SourceId,
        kind: MediaKind,
        layer: LayerIndex,
        packet: PacketView,
        now: Instant,
    ) {
        if let Some(input) = self.inputs.get_mut(&source) {
            let shown = input.shows_video();
            input.handle_packet(kind, layer, packet, now);
            self.picture.stale |= input.shows_video() != shown;
        }
    }

    pub fn handle_update(&mut self, source: SourceId, update: FeedUpdate, now: Instant) {
        if let Some(input) = self.inputs.get_mut(&source) {
            input.handle_update(update, now);
            self.picture.stale = true;
        }
    }

    /// A source's publisher is gone; the plan will follow.
    pub fn handle_gone(&mut self, source: SourceId) {
        if let Some(input) = self.inputs.get_mut(&source) {
            input.end();
            self.picture.stale = true;
        }
    }

    pub fn handle_keyframe_wanted(&mut self) {
        self.picture.keyframe_wanted = true;
    }

    /// The next picture's time, or the end of the block of sound that is going on.
    pub fn poll_timeout(&self) -> Instant {
        self.picture.grid.next().min(self.sound.grid.behind_next())
    }

    /// Makes what it is time for. Returns the newest frame that a picture of it shows, if a picture is out.
    pub fn handle_timeout(&mut self, now: Instant, sink: &mut impl Sink) -> Option<Shown> {
        for input in self.inputs.values_mut() {
            input.handle_timeout(now, sink);
        }
        self.make_sound(now, sink);
        self.make_picture(now, sink)
    }

    fn make_sound(&mut self, now: Instant, sink: &mut impl Sink) {
        let Sound {
            mixer,
            speakers,
            encoder,
            grid,
            mixed,
        } = &mut self.sound;
        // a block is over, and so all that is due in it is here, when the next one begins
        let over = grid.due(now).saturating_sub(1);
        grid.next += over.saturating_sub(CATCH_UP);
        for _ in 0..over.min(CATCH_UP) {
            let at = grid.next();
            grid.next += 1;
            let mut levels: BTreeMap<SeatIndex, u8> = BTreeMap::new();
            for input in self.inputs.values_mut() {
                let pulled = input.pull(at);
                // decibels below overload: the least is the loudest
                let level = levels.entry(input.info.seat).or_insert(pulled.level);
                *level = pulled.level.min(*level);
            }
            for (seat, level) in levels {
                self.picture.stale |= speakers.handle_level(seat, level, at).is_some();
            }
            let blocks: Vec<(SeatIndex, &Block)> = self.inputs.values().filter_map(Input::block).collect();
            mixer.mix(&blocks, mixed);
            let packet = encoder.encode(&mixed[..]);
            // what comes out of the mixer is that much older
            self.output.sound(packet, at - Mixer::DELAY, now, sink);
        }
    }

    fn make_picture(&mut self, now: Instant, sink: &mut impl Sink) -> Option<Shown> {
        let picture = &mut self.picture;
        let due = picture.grid.due(now);
        if due == 0 {
            return None;
        }
        // pictures that the thread was too late for are left out
        self.metrics.skipped.inc_by(due - 1);
        picture.grid.next += due - 1;
        let at = picture.grid.next();
        picture.grid.next += 1;
        self.set_scene(at);
        let newest = self.draw(at, sink);
        if !self.live && self.is_awaited(at) {
            return None;
        }
        let encoded = self.picture.encode(at)?;
        self.output.picture(encoded, at, now, sink);
        self.metrics.pictures.inc();
        self.live = true;
        newest
    }

    /// What is shown has changed, or the clock on it: tiles that are drawn anew begin with the last picture there was.
    fn set_scene(&mut self, at: Instant) {
        let picture = &mut self.picture;
        let utc_s = self.clock.unix_s(at);
        let clock_moved = self.scenery.has_clock() && picture.shown_s != utc_s;
        if !std::mem::take(&mut picture.stale) && !clock_moved {
            return;
        }
        picture.shown_s = utc_s;
        let speakers = &self.sound.speakers;
        let scene = self
            .scenery
            .scene(&self.plan, &self.inputs, speakers, picture.size, utc_s);
        picture.composer.set_scene(scene);
        let stale: Vec<_> = picture.composer.stale().collect();
        for (seat, source) in stale {
            let input = scene::input(&self.inputs, seat, source);
            if let Some(last) = input.and_then(Input::last_picture) {
                picture.composer.draw(seat, source, last);
            }
        }
    }

    /// Decodes what is due and draws it. Returns the newest frame of it.
    fn draw(&mut self, at: Instant, sink: &mut impl Sink) -> Option<Shown> {
        let composer = &mut self.picture.composer;
        let mut newest: Option<Shown> = None;
        for input in self.inputs.values_mut() {
            let (seat, source) = (input.info.seat, input.info.kind);
            let shows = input.info.permission.video;
            let (Some(codec), Some(video)) = (input.info.video, &mut input.video) else {
                continue;
            };
            let tile = composer.wants(seat, source);
            if let Some(layers) = tile.and_then(|tile| video.choose_layer(codec, tile)) {
                sink.want_layers(input.info.id, &layers);
            }
            let drawn = video.decode(at, |decoded| {
                if shows {
                    composer.draw(seat, source, decoded);
                }
            });
            if drawn.is_some() && shows {
                self.drawn.insert(input.info.id);
            }
            newest = newest.into_iter().chain(drawn).max_by_key(|shown| shown.arrival);
        }
        newest
    }

    /// Somebody's first picture is to be expected any moment: the program does not begin without it.
    fn is_awaited(&self, at: Instant) -> bool {
        let is_due = |input: &Input| {
            let info = &input.info;
            let expected = info.connected && info.permission.video;
            expected && input.video.as_ref().is_some_and(|video| !video.shown)
        };
        at.saturating_duration_since(self.begun) < START_WAIT && self.inputs.values().any(is_due)
    }
}

impl Picture {
    fn new(plan: &Plan, size: Size, now: Instant) -> Option<Self> {
        let settings = settings(plan, size);
        Some(Picture {
            size,
            composer: Composer::new(size),
            encoder: H264Encoder::new(settings)?,
            settings,
            gop: Duration::from_millis(plan.settings.video.gop_ms.into()),
            grid: Grid::new(now, settings.fps),
            keyframe_wanted: true,
            last_keyframe: None,
            last_encoded: None,
            stale: true,
            shown_s: 0,
        })
    }

    /// Other settings: a new encoder only for another size or frame rate. One that can't be made leaves the old one.
    fn change(&mut self, plan: &Plan, now: Instant) {
        let size = plan.settings.video.size.unwrap_or(self.size);
        let settings = settings(plan, size);
        self.gop = Duration::from_millis(plan.settings.video.gop_ms.into());
        if (settings.size, settings.fps) == (self.settings.size, self.settings.fps) {
            self.encoder.set_bitrate(settings.bitrate_bps);
            self.settings = settings;
            return;
        }
        let Some(changed) = Picture::new(plan, size, now) else {
            tracing::error!(?settings, "no encoder for this program; it goes on as before");
            return;
        };
        // pictures go on where the last one was
        let next = self.grid.next();
        *self = changed;
        self.grid = Grid::new(next, self.settings.fps);
    }

    /// The canvas as it is at `at`, unless it is as it was.
    fn encode(&mut self, at: Instant) -> Option<EncodedPicture<'_>> {
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
        Some(encoded)
    }
}

/// The canvas' size: as the settings say, or what the host sends, or the default.
fn size(plan: &Plan) -> Size {
    let host = plan.host_size.and_then(|(width, height)| Size::even(width, height));
    let (width, height) = DEFAULT_SIZE;
    let default = || Size::even(width, height).expect("neither is 0");
    plan.settings.video.size.or(host).unwrap_or_else(default)
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
