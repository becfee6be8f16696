//! The program itself: inputs, canvas, mixer, encoders and the clock that ties them together. Written against time as an
//! argument: `handle_*` takes what came, [`Core::handle_timeout`] makes the pictures and blocks of sound whose time it is,
//! [`Core::poll_timeout`] says when that is next.
//!
//! Pictures are due on a grid of the frame rate, sound every 20 ms, both counted from the program's start. What comes late
//! is left out (a picture) or made up for (sound); when the thread itself is late, pictures are skipped, sound is caught up.

use super::input::{Input, Shown};
use super::output::Output;
use super::picture::Picture;
use super::scene::{self, Scenery};
use super::sound::Sound;
use super::{Plan, Sink, Status};
use crate::forward::{FeedUpdate, LayerIndex, SourceId};
use crate::mix::audio::Mixer;
use crate::rtp::{MediaKind, NtpClock, PacketView};
use crate::telemetry::ProgramMetrics;
use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};
use std::time::{Duration, Instant};

/// How long the first pictures are waited for: what is cached comes at once, a keyframe that is asked for within a way there
/// and back.
const START_WAIT: Duration = Duration::from_millis(500);
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

impl Core {
    /// `None`: there is no encoder for such a picture, or no memory.
    pub fn new(clock: NtpClock, plan: Plan, metrics: ProgramMetrics, now: Instant) -> Option<Self> {
        let mut core = Core {
            clock,
            // the first block of sound is that much older than the program
            output: Output::new(clock, now - Mixer::DELAY),
            inputs: BTreeMap::new(),
            picture: Picture::new(&plan, now)?,
            scenery: Scenery::new(&plan.layout),
            sound: Sound::new(&plan.settings.audio, now)?,
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
            self.sound.change(&plan.settings.audio);
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
        sound.listen(&plan.listeners);
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
        self.picture.grid.next().min(self.sound.poll_timeout())
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
        let output = &mut self.output;
        let each = |layer, packet: &[u8], at| output.sound(layer, packet, at, now, sink);
        let made = self.sound.make(&mut self.inputs, now, each);
        self.metrics.minus.inc_by(made.minus);
        self.picture.stale |= made.others_speak;
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
