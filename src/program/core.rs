//! The program itself: the host passed through, or the mixer, and who of them it is ([`Elastic`]). Written against time as an
//! argument: `handle_*` takes what came, [`Core::handle_timeout`] does what it is time for, [`Core::poll_timeout`] says when
//! that is next.
//!
//! While the host is passed through nothing else comes in, and nothing is decoded. Pictures of the mixer are due on a grid
//! of the frame rate, sound every 20 ms. What comes late is left out (a picture) or made up for (sound); when the thread
//! itself is late, pictures are skipped, sound is caught up.

use super::elastic::{self, Elastic, Facts, Obstacle};
use super::host::{Host, Passing};
use super::input::{Input, Shown};
use super::mixing::{Inputs, Mixing};
use super::output::{Output, Sent};
use super::reasons::{Conditions, is_host};
use super::{Making, Plan, Sink, Status};
use crate::forward::{FeedUpdate, LayerIndex, SourceId, SourceInfo, Voice};
use crate::room::ProgramMode;
use crate::rtp::{MediaKind, NtpClock, PacketView};
use crate::telemetry::ProgramMetrics;
use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};
use std::time::{Duration, Instant};

pub(super) struct Core {
    clock: NtpClock,
    return_after: Duration,
    plan: Plan,
    inputs: Inputs,
    host: Host,
    interrupted: Interrupted,
    elastic: Elastic<Passing>,
    mixing: Option<Mixing>,
    output: Output,
    live: bool,
    /// The sources of which something has been drawn, or passed through.
    drawn: BTreeSet<SourceId>,
    /// Whether inputs are those of the mixer or the host alone, as of this plan; `None`: they may be neither.
    settled: Option<bool>,
    /// Others are wanted than were told.
    wants_others: bool,
    counted: elastic::Counters,
    metrics: ProgramMetrics,
}

/// Of the host's sound and picture, what was muted and has not come again; the plan may not say so yet.
#[derive(Clone, Copy, Debug, Default)]
struct Interrupted {
    audio: bool,
    video: bool,
}

impl Interrupted {
    fn of(&mut self, kind: MediaKind) -> &mut bool {
        match kind {
            MediaKind::Audio => &mut self.audio,
            MediaKind::Video => &mut self.video,
        }
    }
}

impl Core {
    /// `None`: there is no encoder for such a picture, or no memory.
    pub fn new(
        (clock, return_after): (NtpClock, Duration),
        plan: Plan,
        metrics: ProgramMetrics,
        now: Instant,
    ) -> Option<Self> {
        let mut core = Core {
            clock,
            return_after,
            inputs: BTreeMap::new(),
            host: Host::default(),
            interrupted: Interrupted::default(),
            elastic: Elastic::new(settings(&plan, return_after), now),
            mixing: None,
            output: Output::new(clock),
            plan,
            live: false,
            drawn: BTreeSet::new(),
            settled: None,
            wants_others: false,
            counted: elastic::Counters::default(),
            metrics,
        };
        core.settle(now).then_some(core)
    }

    /// The sources the program is made from, and the workers that have them, if they are others than last time.
    pub fn poll_wanted(&mut self) -> Option<Vec<(SourceId, usize)>> {
        let wanted = self.inputs.values().map(|input| (input.info.id, input.info.worker));
        std::mem::take(&mut self.wants_others).then(|| wanted.collect())
    }

    pub fn status(&self, now: Instant) -> Status {
        Status {
            making: if !self.live {
                Making::Awaited
            } else if self.elastic.is_mixing() {
                Making::Mixed(self.elastic.obstacle(now))
            } else {
                Making::Passthrough
            },
            drawn: self.drawn.clone(),
            step: self.mixing.as_ref().and_then(|mixing| mixing.picture.step()),
        }
    }

    /// `false`: it can't go on.
    pub fn handle_plan(&mut self, plan: Plan, now: Instant) -> bool {
        let before = std::mem::replace(&mut self.plan, plan);
        self.interrupted = Interrupted::default();
        self.elastic.set_settings(settings(&self.plan, self.return_after));
        self.settled = None;
        // who was told of before may not have been known where they are
        self.wants_others = true;
        if let Some(mixing) = &mut self.mixing {
            mixing.handle_plan(&self.plan, &before, now);
        }
        self.settle(now)
    }

    pub fn handle_packet(
        &mut self,
        source: SourceId,
        (kind, layer): (MediaKind, LayerIndex),
        packet: PacketView,
        now: Instant,
    ) {
        let Some(input) = self.inputs.get_mut(&source) else {
            return;
        };
        let (shown, reorders) = (input.shows_video(), input.reorders);
        input.handle_packet(kind, layer, packet, now);
        if let Some(mixing) = &mut self.mixing {
            mixing.picture.stale |= input.shows_video() != shown;
        }
        if !is_host(&input.info) {
            return;
        }
        if input.reorders != reorders {
            self.elastic.set_facts(self.facts(), now);
        }
        let Some(input) = self.inputs.get_mut(&source) else {
            return;
        };
        *self.interrupted.of(kind) = false;
        let keeps = self.elastic.keeps_host();
        if let Some(packet) = self.host.handle_packet(input, (kind, layer), packet, keeps) {
            self.elastic.handle_host(packet, now);
        }
    }

    pub fn handle_update(&mut self, source: SourceId, update: FeedUpdate, now: Instant) {
        let Some(input) = self.inputs.get_mut(&source) else {
            return;
        };
        input.handle_update(update, now);
        if let Some(mixing) = &mut self.mixing {
            mixing.picture.stale = true;
        }
        if let FeedUpdate::Interrupted { kind } = update
            && is_host(&input.info)
        {
            *self.interrupted.of(kind) = true;
        }
    }

    /// A source's publisher is gone; the plan will follow.
    pub fn handle_gone(&mut self, source: SourceId) {
        let Some(input) = self.inputs.get_mut(&source) else {
            return;
        };
        input.end();
        if let Some(mixing) = &mut self.mixing {
            mixing.picture.stale = true;
        }
        if is_host(&input.info) {
            self.interrupted = Interrupted {
                audio: true,
                video: true,
            };
        }
    }

    pub fn handle_keyframe_wanted(&mut self, sink: &mut impl Sink) {
        match &mut self.mixing {
            Some(mixing) if self.elastic.is_mixing() => mixing.picture.keyframe_wanted = true,
            _ => self.request_keyframe(sink),
        }
    }

    /// When there is something to do next.
    pub fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        let mixing = self.mixing.as_ref().and_then(|mixing| mixing.poll_timeout(now));
        mixing.into_iter().chain(self.elastic.poll_timeout()).min()
    }

    /// Does what it is time for. Returns the newest frame that a picture of the mixer shows, if one is out, or that it can't
    /// go on.
    pub fn handle_timeout(&mut self, now: Instant, sink: &mut impl Sink) -> Result<Option<Shown>, NoMixer> {
        if !self.settle(now) {
            return Err(NoMixer);
        }
        self.act(now, sink);
        for input in self.inputs.values_mut() {
            input.handle_timeout(now, sink);
        }
        self.choose_layer(sink);
        if self.elastic.is_preparing()
            && let Some(mixing) = &mut self.mixing
            && mixing.prepare((&self.plan, &self.clock), &mut self.inputs, &mut self.drawn, now, sink)
        {
            self.elastic.handle_prepared(now);
            self.act(now, sink);
        }
        self.make_sound(now, sink);
        let newest = self.make_picture(now, sink);
        self.act(now, sink);
        if let Some(mixing) = &mut self.mixing {
            mixing.decode_ahead(&mut self.inputs);
        }
        self.count();
        Ok(newest)
    }

    /// As [`Mixing::take_begun`].
    pub fn take_begun(&mut self) -> impl Iterator<Item = Instant> + '_ {
        self.mixing.iter_mut().flat_map(Mixing::take_begun)
    }

    /// The turn is over, the thread was busy for so long: a mixer that can't keep up makes less.
    pub fn handle_work(&mut self, busy: Duration, now: Instant) {
        if let Some(mixing) = self.mixing.as_mut().filter(|_| self.elastic.is_mixing()) {
            mixing.handle_work(busy, now);
        }
    }

    fn count(&mut self) {
        let counters = self.elastic.counters();
        let before = std::mem::replace(&mut self.counted, counters);
        if counters != before {
            self.metrics.to_mixer.inc_by(counters.to_mixer - before.to_mixer);
            self.metrics.to_host.inc_by(counters.to_host - before.to_host);
            self.metrics.refused.inc_by(counters.refused - before.refused);
        }
    }

    /// The host's packets that came, if they are the program.
    pub fn forward(&mut self, now: Instant, sink: &mut impl Sink) {
        self.act(now, sink);
    }

    fn make_sound(&mut self, now: Instant, sink: &mut impl Sink) {
        let Some(mixing) = &mut self.mixing else { return };
        let (elastic, output, lead) = (&mut self.elastic, &mut self.output, self.host.lead());
        let mut block = None;
        mixing.make_sound(&mut self.inputs, now, |layer, packet, at| {
            let moment = lead.before(at);
            // all layers of a block have its numbers
            let numbers = match block {
                Some((known, numbers)) if known == at => numbers,
                _ => elastic.number_mixed(MediaKind::Audio, moment, 1, true),
            };
            block = Some((at, numbers));
            if let Some(numbers) = numbers {
                output.sound(layer, packet, Sent { numbers, moment, now }, sink);
            }
        });
        if elastic.is_mixing() {
            elastic.mixed_until(MediaKind::Audio, lead.before(mixing.sound.next()), now);
        }
    }

    fn make_picture(&mut self, now: Instant, sink: &mut impl Sink) -> Option<Shown> {
        let mixing = self.mixing.as_mut()?;
        let (elastic, output, lead) = (&mut self.elastic, &mut self.output, self.host.lead());
        let how = (&self.plan, &self.clock, !self.live);
        let (encoded, newest) = mixing.make_picture(how, &mut self.inputs, &mut self.drawn, now, sink);
        let mut orphaned = false;
        let mut out = None;
        if let Some((encoded, at)) = encoded {
            let moment = lead.before(at);
            let packets = output.packets(encoded);
            match elastic.number_mixed(MediaKind::Video, moment, packets, encoded.keyframe) {
                Some(numbers) => {
                    output.picture(encoded, Sent { numbers, moment, now }, sink);
                    self.live = true;
                    out = newest;
                }
                None => orphaned = true,
            }
        }
        if orphaned {
            mixing.picture.demand_keyframe();
        }
        if elastic.is_mixing() {
            elastic.mixed_until(MediaKind::Video, lead.before(mixing.picture.grid.next()), now);
        }
        out
    }

    /// Carries out what the elastic machine says.
    fn act(&mut self, now: Instant, sink: &mut impl Sink) {
        while let Some(output) = self.elastic.poll_output() {
            match output {
                elastic::Output::Forward { kind, numbers, packet } => {
                    let moment = packet.moment;
                    self.output.forward(kind, &packet, Sent { numbers, moment, now }, sink);
                    self.host.recycle(packet.bytes);
                    if kind == MediaKind::Video {
                        self.live = true;
                        self.drawn.extend(self.host.source());
                    }
                }
                elastic::Output::StartMixing { video_from, audio_from } => {
                    // who can't be mixed ends the program with the next turn
                    let _goes_on = self.settle(now);
                    let input = self.inputs.values().find(|input| is_host(&input.info));
                    self.host.handle_mixing(input);
                    let lead = self.host.lead();
                    if let Some(mixing) = &mut self.mixing {
                        mixing.begin(lead.behind(video_from), lead.behind(audio_from));
                    }
                }
                elastic::Output::StopMixing { video_to, audio_to } => {
                    let lead = self.host.lead();
                    if let Some(mixing) = &mut self.mixing {
                        mixing.end(lead.behind(video_to), lead.behind(audio_to));
                    }
                }
                elastic::Output::KeepMixing => {
                    if let Some(mixing) = &mut self.mixing {
                        mixing.go_on();
                    }
                }
                elastic::Output::RequestKeyframe => self.request_keyframe(sink),
            }
        }
    }

    /// Brings inputs and mixer in line with the plan and with who makes the program. Twice equals once. `false`: there is no
    /// mixer to be had.
    fn settle(&mut self, now: Instant) -> bool {
        self.elastic.set_facts(self.facts(), now);
        let mixes = self.elastic.is_mixing() || self.elastic.is_preparing();
        let is_new = mixes && self.mixing.is_none();
        if is_new {
            self.mixing = Mixing::new(&self.plan, &self.metrics, now);
        } else if !mixes {
            self.mixing = None;
        }
        if self.settled != Some(mixes) {
            self.settled = Some(mixes);
            self.reconcile_inputs(mixes, now);
        }
        self.mixing.is_some() || !mixes
    }

    /// Inputs are the sources of the plan, or the host alone.
    fn reconcile_inputs(&mut self, mixes: bool, now: Instant) {
        let Core {
            inputs,
            plan,
            clock,
            drawn,
            mixing,
            wants_others,
            output,
            ..
        } = self;
        let wanted = |source: &&SourceInfo| mixes || is_host(source);
        for input in inputs.values() {
            let seat = input.info.seat;
            if let Some(mixing) = mixing
                && !plan.sources.iter().any(|source| source.seat == seat)
            {
                mixing.sound.speakers.remove(seat);
            }
        }
        if let Some(mixing) = mixing {
            mixing.sound.listen(&plan.listeners);
        }
        let is_planned = |id: &SourceId| plan.sources.iter().filter(wanted).any(|source| source.id == *id);
        let gone: Vec<SourceId> = inputs.keys().copied().filter(|id| !is_planned(id)).collect();
        *wants_others |= !gone.is_empty();
        for input in gone.iter().filter_map(|id| inputs.remove(id)) {
            if let Some(mixing) = mixing {
                mixing.take_leave(input);
            }
        }
        drawn.retain(|id| plan.sources.iter().any(|source| source.id == *id));
        for source in plan.sources.iter().filter(wanted) {
            let input = match inputs.entry(source.id) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(place) => {
                    let Some(input) = Input::new(source.clone(), *clock, now) else {
                        continue;
                    };
                    *wants_others = true;
                    place.insert(input)
                }
            };
            if input.info != *source {
                *wants_others |= input.info.worker != source.worker;
                input.info = source.clone();
            }
            if mixes == input.is_held() {
                if mixes { input.release() } else { input.hold() }
            }
            // at most 2: nothing is lost
            input.voice.set_volume(plan.layout.volume(source.seat) as f32);
        }
        let heard = inputs.values().filter(|input| input.info.audio.is_some());
        output.voices.set_mixed(heard.map(|input| {
            let seat = input.info.seat;
            let voice = match plan.listeners.contains(&seat) {
                true => Voice::Apart(LayerIndex::without(seat)),
                false => Voice::Everywhere,
            };
            (input.info.id, voice)
        }));
    }

    fn facts(&self) -> Facts {
        let mut conditions = Conditions {
            layout: &self.plan.layout,
            sources: &self.plan.sources,
            present: &self.plan.present,
            listens: !self.plan.listeners.is_empty(),
            size: self.plan.settings.video.size,
            host_size: None,
        };
        let host = conditions.host();
        let input = host.and_then(|host| self.inputs.get(&host.id));
        conditions.host_size = input.and_then(|input| input.size_for(conditions.size));
        let stands = |obstacle| conditions.reasons().any(|reason| reason.obstacle() == obstacle);
        Facts {
            forced: self.plan.settings.mode == ProgramMode::Mixed,
            composing: stands(Obstacle::Composing),
            needs_keyframes: self.plan.needs_keyframes,
            host: host.map(|host| elastic::Host {
                source: host.id,
                hidden: self.interrupted.video || stands(Obstacle::Hidden),
                muted: self.interrupted.audio || stands(Obstacle::Muted),
                suits: !input.is_some_and(|input| input.reorders) && !stands(Obstacle::Format),
                fits: !stands(Obstacle::Size),
            }),
        }
    }

    fn host_input(&mut self) -> Option<&mut Input> {
        self.inputs.values_mut().find(|input| is_host(&input.info))
    }

    /// While the host is passed through: the encoding of the size that is set, or its largest.
    fn choose_layer(&mut self, sink: &mut impl Sink) {
        if self.mixing.is_some() {
            return;
        }
        let wanted = self.plan.settings.video.size;
        let Some(input) = self.host_input() else { return };
        let id = input.info.id;
        if let (Some(codec), Some(video)) = (input.info.video, &mut input.video)
            && let Some(layers) = video.choose_layer(codec, wanted)
        {
            sink.want_layers(id, &layers);
        }
    }

    fn request_keyframe(&mut self, sink: &mut impl Sink) {
        if let Some(input) = self.host_input()
            && let Some(video) = &input.video
        {
            sink.request_keyframe(input.info.id, video.chosen());
        }
    }
}

/// The mixer can't be made: no encoder for such a picture, or no memory.
#[derive(Debug)]
pub(super) struct NoMixer;

fn settings(plan: &Plan, return_after: Duration) -> elastic::Settings {
    let video = &plan.settings.video;
    elastic::Settings {
        return_after,
        gop: Duration::from_millis(video.gop_ms.into()),
        frame: Duration::from_secs(1) / u32::from(video.fps).max(1),
    }
}
