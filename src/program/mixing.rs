//! The mixer at work: the inputs' pictures on one canvas and their voices in one sound, or getting ready for it. Times are
//! those at which things are due.

use super::Plan;
use super::absence::Absences;
use super::cadence::Slot;
use super::input::{Input, Shown, Video};
use super::ladder::Change;
use super::picture::Picture;
use super::scene::{self, Scenery};
use super::sound::Sound;
use super::{Counted, Sink};
use crate::forward::{LayerIndex, SourceId};
use crate::mix::codec::EncodedPicture;
use crate::mix::compose::Content;
use crate::rtp::NtpClock;
use crate::telemetry::ProgramMetrics;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// How long the first pictures are waited for: what is cached comes at once, a keyframe that is asked for within a way there
/// and back.
const START_WAIT: Duration = Duration::from_millis(500);
/// While it gets ready: how often what has become due is decoded.
const PREPARE_INTERVAL: Duration = Duration::from_millis(5);

pub(super) type Inputs = BTreeMap<SourceId, Input>;

pub(super) struct Mixing {
    scenery: Scenery,
    absences: Absences,
    pub picture: Picture,
    pub sound: Sound,
    since: Instant,
    /// Pictures and sound are made, before these times if there are any. Else it is getting ready.
    until: Option<Until>,
    /// There is more to decode right away.
    is_behind: bool,
    /// Of the sources that the next picture shows for the first time: when the last packets of their first keyframes came.
    begun: Vec<Instant>,
    metrics: ProgramMetrics,
    _counted: Counted,
    /// While less is made than is set.
    degraded: Option<Counted>,
}

/// Exclusive; `None`: for ever.
#[derive(Clone, Copy, Debug, Default)]
struct Until {
    picture: Option<Instant>,
    sound: Option<Instant>,
}

impl Mixing {
    /// `None`: there is no encoder for such a picture, or no memory.
    pub fn new(plan: &Plan, metrics: &ProgramMetrics, now: Instant) -> Option<Self> {
        Some(Mixing {
            scenery: Scenery::new(&plan.layout),
            absences: Absences::default(),
            picture: Picture::new(plan, now)?,
            sound: Sound::new(&plan.settings.audio, now)?,
            since: now,
            until: None,
            is_behind: false,
            begun: Vec::new(),
            metrics: metrics.clone(),
            _counted: Counted::new(&metrics.mixed),
            degraded: None,
        })
    }

    pub fn handle_plan(&mut self, plan: &Plan, before: &Plan, now: Instant) {
        if (plan.settings, plan.size) != (before.settings, before.size) {
            self.picture.change(plan, now);
            self.count_degraded();
            self.sound.change(&plan.settings.audio);
        }
        if !plan.layout.looks_like(&before.layout) {
            self.scenery = Scenery::new(&plan.layout);
        }
        self.picture.stale = true;
    }

    /// Pictures and sound are made from now on: what is due from these times.
    pub fn begin(&mut self, picture_from: Instant, sound_from: Instant) {
        self.until = Some(Until::default());
        self.is_behind = false;
        // they have waited for the mixer
        self.begun.clear();
        self.picture.begin(picture_from);
        self.sound.begin(sound_from);
    }

    /// No more than what is due before these times.
    pub fn end(&mut self, picture_to: Instant, sound_to: Instant) {
        self.until = Some(Until {
            picture: Some(picture_to),
            sound: Some(sound_to),
        });
    }

    /// On, after all.
    pub fn go_on(&mut self) {
        self.until = Some(Until::default());
        self.picture.demand_keyframe();
    }

    /// When it has something to do next.
    pub fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        if self.is_behind {
            return Some(now);
        }
        let Some(until) = self.until else {
            return Some(now + PREPARE_INTERVAL);
        };
        let (picture, sound) = (self.picture.grid.next(), self.sound.poll_timeout());
        let picture = Some(picture).filter(|at| until.picture.is_none_or(|until| *at < until));
        let sound = Some(sound).filter(|_| until.sound.is_none_or(|until| self.sound.next() < until));
        picture.into_iter().chain(sound).min()
    }

    /// An input that is gone.
    pub fn take_leave(&mut self, input: Input) {
        // nobody has heard it while the mixer gets ready
        if self.until.is_some() {
            self.sound.take_leave(input);
        }
    }

    /// Of the sources that a picture which is out shows for the first time: when the last packets of their first keyframes
    /// came.
    pub fn take_begun(&mut self) -> impl Iterator<Item = Instant> + '_ {
        self.begun.drain(..)
    }

    /// The thread was busy for so long in the turn that ends now.
    pub fn handle_work(&mut self, busy: Duration, now: Instant) {
        if let Some(change) = self.picture.handle_work(busy, now) {
            match change {
                Change::Down => self.metrics.steps_down.inc(),
                Change::Up => self.metrics.steps_up.inc(),
            }
            self.count_degraded();
        }
    }

    fn count_degraded(&mut self) {
        let degraded = self.picture.step().is_some();
        if degraded != self.degraded.is_some() {
            self.degraded = degraded.then(|| Counted::new(&self.metrics.degraded));
        }
    }

    /// Decodes on, while it gets ready. Returns whether it is.
    pub fn prepare(
        &mut self,
        (plan, clock): (&Plan, &NtpClock),
        inputs: &mut Inputs,
        drawn: &mut BTreeSet<SourceId>,
        now: Instant,
        sink: &mut impl Sink,
    ) -> bool {
        self.set_scene(plan, clock, inputs, now);
        let slot = Slot {
            at: now,
            interval: Duration::ZERO,
            end: None,
        };
        self.draw(inputs, drawn, slot, sink);
        let mut videos = inputs.values().filter_map(|input| input.video.as_ref());
        self.is_behind = videos.any(|video| video.is_behind(now));
        !self.is_behind && !self.is_awaited(inputs, now)
    }

    /// Hands `each` the blocks of sound that are over, encoded, with the times at which they are due.
    pub fn make_sound(&mut self, inputs: &mut Inputs, now: Instant, each: impl FnMut(LayerIndex, &[u8], Instant)) {
        let Some(until) = self.until else { return };
        let made = self.sound.make(inputs, now, until.sound, each);
        self.metrics.minus.inc_by(made.minus);
        self.picture.stale |= made.others_speak;
    }

    /// The picture that is due, if there is one: encoded, and its time. `begins`: there has been none, and the first one waits
    /// for everybody. The newest frame it shows is that of the second value.
    pub fn make_picture(
        &mut self,
        (plan, clock, begins): (&Plan, &NtpClock, bool),
        inputs: &mut Inputs,
        drawn: &mut BTreeSet<SourceId>,
        now: Instant,
        sink: &mut impl Sink,
    ) -> (Option<(EncodedPicture<'_>, Instant)>, Option<Shown>) {
        let Some(until) = self.until else { return (None, None) };
        let due = self.picture.grid.due(now);
        let is_over = |at| until.picture.is_some_and(|until| at >= until);
        if due == 0 || is_over(self.picture.grid.next()) {
            return (None, None);
        }
        // pictures that the thread was too late for are left out
        self.metrics.skipped.inc_by(due - 1);
        self.picture.skipped += due - 1;
        self.picture.grid.next += due - 1;
        let at = self.picture.grid.next();
        self.picture.grid.next += 1;
        if is_over(at) {
            return (None, None);
        }
        self.set_scene(plan, clock, inputs, at);
        let newest = self.draw(inputs, drawn, self.slot(at), sink);
        if begins && self.is_awaited(inputs, now) {
            return (None, None);
        }
        let encoded = self.picture.encode(at, clock.unix_ms(at));
        if encoded.is_some() {
            self.metrics.pictures.inc();
        }
        (encoded.map(|encoded| (encoded, at)), newest)
    }

    /// The picture of `at`. What is due from the end on is not shown twice.
    fn slot(&self, at: Instant) -> Slot {
        Slot {
            at,
            interval: self.picture.interval(),
            end: self.until.and_then(|until| until.picture),
        }
    }

    /// What is shown has changed, or the clock on it: tiles that are drawn anew begin with the last picture there was.
    fn set_scene(&mut self, plan: &Plan, clock: &NtpClock, inputs: &Inputs, at: Instant) {
        let picture = &mut self.picture;
        let utc_s = clock.unix_s(at);
        let clock_moved = self.scenery.has_clock() && picture.shown_s != utc_s;
        if !std::mem::take(&mut picture.stale) && !clock_moved && !self.absences.is_due(at) {
            return;
        }
        picture.shown_s = utc_s;
        self.absences.settle(plan, inputs, at);
        let speakers = &self.sound.speakers;
        let scene = self.scenery.scene(plan, &self.absences, speakers, picture.size, utc_s);
        picture.composer.set_scene(scene);
        let stale: Vec<_> = picture.composer.stale().collect();
        for (seat, source) in stale {
            let input = scene::input(inputs, seat, source);
            if let Some(last) = input.and_then(Input::last_picture) {
                picture.composer.draw(seat, source, last);
            }
        }
    }

    /// Decodes a frame that has come before it is due; the thread looks for packets between two of them.
    pub fn decode_ahead(&mut self, inputs: &mut Inputs) {
        if self.until.is_none() {
            return;
        }
        // what lies behind the end may be needed once more, by a mixer that comes later
        let next = self.slot(self.picture.grid.next());
        let can = |video: &Video| video.can_decode_ahead(next);
        let mut videos = inputs.values_mut().filter_map(|input| input.video.as_mut());
        if let Some(video) = videos.find(|video| can(video)) {
            video.decode_next();
        }
        let mut videos = inputs.values().filter_map(|input| input.video.as_ref());
        self.is_behind = videos.any(can);
    }

    /// Decodes what a picture shows and draws it. Returns the newest frame of it.
    fn draw(
        &mut self,
        inputs: &mut Inputs,
        drawn: &mut BTreeSet<SourceId>,
        slot: Slot,
        sink: &mut impl Sink,
    ) -> Option<Shown> {
        let (absences, composer) = (&self.absences, &mut self.picture.composer);
        let mut newest: Option<Shown> = None;
        for input in inputs.values_mut() {
            let (seat, source) = (input.info.seat, input.info.kind);
            let placeholder = absences.content(&input.info.user, source) == Content::Placeholder;
            let shows = input.info.permission.video && !placeholder;
            let (Some(codec), Some(video)) = (input.info.video, &mut input.video) else {
                continue;
            };
            let tile = composer.wants(seat, source);
            if let Some(layers) = tile.and_then(|tile| video.choose_layer(codec, Some(tile))) {
                sink.want_layers(input.info.id, &layers);
            }
            let shown = video.show(slot, |decoded| {
                if shows {
                    composer.draw(seat, source, decoded);
                }
            });
            // what was not to be seen, or not for long, is not what a tile begins with
            video.shown &= shows;
            if shown.is_some() && shows {
                drawn.insert(input.info.id);
            }
            self.begun.extend(shown.and_then(|shown| shown.begun).filter(|_| shows));
            newest = newest.into_iter().chain(shown).max_by_key(|shown| shown.arrival);
        }
        newest
    }

    /// Somebody's first picture is to be expected any moment: the program does not begin without it.
    fn is_awaited(&self, inputs: &Inputs, now: Instant) -> bool {
        let is_missing = |input: &Input| {
            let info = &input.info;
            let expected = info.connected && info.permission.video;
            expected && input.video.as_ref().is_some_and(|video| !video.is_caught_up(now))
        };
        now.saturating_duration_since(self.since) < START_WAIT && inputs.values().any(is_missing)
    }
}
