//! A host, a network and a mixer in virtual time; what leaves is checked packet by packet.

use super::terms::{PREPARE_MAX, PREPARE_SILENT};
use super::*;
use crate::forward::SourceId;
use proptest::prelude::*;
use rand::{Rng, SeedableRng, rngs::StdRng};
use std::collections::{BTreeMap, BTreeSet};

const MS: Duration = Duration::from_millis(1);
const FRAME: Duration = Duration::from_nanos(33_333_333);
const AUDIO: Duration = Duration::from_millis(20);
const SETTINGS: Settings = Settings {
    return_after: Duration::from_secs(10),
    gop: Duration::from_secs(2),
    frame: FRAME,
};
/// From a moment to the mixer's packets of it.
const MIXER_DELAY: Duration = Duration::from_millis(15);
/// From capture until the frame is due: the path and the jitter buffer.
const DUE: Duration = Duration::from_millis(65);
/// Until the mixer's decoder has the host's pictures so far.
const MIXER_START: Duration = Duration::from_millis(45);
const NETWORK_DELAY: Duration = Duration::from_millis(20);

/// What a packet shows: to tell frames apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shown {
    /// Of this source, the frame with this number.
    Host {
        source: u64,
        frame: u64,
    },
    Mixed {
        moment: Instant,
    },
}

#[derive(Clone, Copy, Debug)]
struct Sent {
    ticks: i64,
    shown: Shown,
}

/// What left, of one kind.
#[derive(Debug, Default)]
struct Stream {
    packets: BTreeMap<u64, Sent>,
    timestamps: crate::rtp::sequence::TimestampExtender,
    latest: Option<Instant>,
    /// Between two packets, at most.
    pause: Duration,
}

impl Stream {
    fn send(&mut self, numbers: Numbers, shown: Shown, now: Instant) {
        let ticks = self.timestamps.extend(numbers.timestamp);
        let (before, after) = (
            self.packets.range(..numbers.sequence).next_back(),
            self.packets.range(numbers.sequence + 1..).next(),
        );
        for (earlier, later) in [
            before.map(|(_, other)| (*other, Sent { ticks, shown })),
            after.map(|(_, other)| (Sent { ticks, shown }, *other)),
        ]
        .into_iter()
        .flatten()
        {
            if earlier.shown == later.shown {
                assert_eq!(
                    earlier.ticks, later.ticks,
                    "one frame, one timestamp: {earlier:?} {later:?}"
                );
            } else {
                assert!(earlier.ticks < later.ticks, "in order: {earlier:?} {later:?}");
            }
        }
        let taken = self.packets.insert(numbers.sequence, Sent { ticks, shown });
        assert!(taken.is_none(), "a number twice: {numbers:?} {taken:?} {shown:?}");
        if let Some(latest) = self.latest.replace(now) {
            self.pause = self.pause.max(now - latest);
        }
    }

    /// The frames in order: timestamp, what it shows, packets.
    fn frames(&self) -> Vec<(Sent, u64)> {
        let mut frames: Vec<(Sent, u64)> = vec![];
        for sent in self.packets.values() {
            match frames.last_mut() {
                Some((last, packets)) if last.shown == sent.shown => *packets += 1,
                _ => frames.push((*sent, 1)),
            }
        }
        frames
    }

    fn longest_step(&self) -> i64 {
        let frames = self.frames();
        frames
            .windows(2)
            .map(|pair| pair[1].0.ticks - pair[0].0.ticks)
            .max()
            .unwrap_or(0)
    }
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    source: u64,
    frame: u64,
}

#[derive(Clone, Debug)]
enum Event {
    Arrival(HostPacket<Sample>),
    Order(Order),
    Captured(MediaKind),
    /// The mixer's decoders have caught up.
    Prepared,
}

#[derive(Clone, Copy, Debug)]
enum Order {
    Start { video: Instant, audio: Instant },
    Stop { video: Instant, audio: Instant },
    Keep,
}

/// One kind's side of the mixer.
#[derive(Clone, Copy, Debug, Default)]
struct Track {
    next: Option<Instant>,
    to: Option<Instant>,
}

#[derive(Debug)]
struct Conditions {
    /// In thousandths of all packets, and how many of these in a hundred are sent again.
    loss: u32,
    repaired: u32,
    jitter_ms: u64,
    drift_ppm: i64,
    /// Opus packets are left out while the host is silent.
    dtx: bool,
}

struct World {
    now: Instant,
    start: Instant,
    rng: StdRng,
    conditions: Conditions,
    events: BTreeMap<(Instant, u64), Event>,
    scheduled: u64,
    elastic: Elastic<Sample>,
    // the host
    source: u64,
    sequences: [u64; 2],
    frames: [u64; 2],
    offsets: [u32; 2],
    answers_requests: bool,
    keyframe_every: u64,
    last_keyframe: u64,
    keyframe_due: Option<Instant>,
    /// Packets of each of the host's frames.
    sizes: BTreeMap<(u64, u64), u64>,
    // the mixer
    tracks: [Track; 2],
    preparing: bool,
    mixer_keyframe: bool,
    video: Stream,
    audio: Stream,
    requests: u32,
}

fn slot(kind: MediaKind) -> usize {
    usize::from(kind == MediaKind::Video)
}

impl World {
    fn new(seed: u64, conditions: Conditions) -> Self {
        let start = Instant::now() + Duration::from_secs(100);
        let mut world = World {
            now: start,
            start,
            rng: StdRng::seed_from_u64(seed),
            conditions,
            events: BTreeMap::new(),
            scheduled: 0,
            elastic: Elastic::new(SETTINGS, start),
            source: 0,
            sequences: [0; 2],
            frames: [0; 2],
            offsets: [0; 2],
            answers_requests: true,
            keyframe_every: 300,
            last_keyframe: 0,
            keyframe_due: None,
            sizes: BTreeMap::new(),
            tracks: [Track::default(); 2],
            preparing: false,
            mixer_keyframe: true,
            video: Stream::default(),
            audio: Stream::default(),
            requests: 0,
        };
        world.connect();
        world.at(start, Event::Captured(MediaKind::Video));
        world.at(start, Event::Captured(MediaKind::Audio));
        world
    }

    fn at(&mut self, at: Instant, event: Event) {
        self.scheduled += 1;
        self.events.insert((at.max(self.now), self.scheduled), event);
    }

    /// A new transport of the host's: other numbers.
    fn connect(&mut self) {
        self.source += 1;
        self.sequences = [self.rng.random_range(0..1 << 17), self.rng.random_range(0..1 << 17)];
        self.offsets = self.rng.random();
        self.keyframe_due = Some(self.now);
    }

    fn facts(&self) -> Facts {
        Facts {
            forced: false,
            composing: false,
            needs_keyframes: false,
            host: Some(Host {
                source: SourceId(self.source),
                hidden: false,
                muted: false,
                suits: true,
                fits: true,
            }),
        }
    }

    fn capture(&mut self, kind: MediaKind) {
        let index = slot(kind);
        let frame = self.frames[index];
        self.frames[index] += 1;
        let (spacing, rate) = match kind {
            MediaKind::Video => (FRAME, 90_000),
            MediaKind::Audio => (AUDIO, 48_000),
        };
        // the device's clock drifts; the mapping follows it, a little off and slowly
        let drift = spacing.as_nanos() as i64 * self.conditions.drift_ppm / 1_000_000;
        let spacing = Duration::from_nanos((spacing.as_nanos() as i64 + drift) as u64);
        self.at(self.now + spacing, Event::Captured(kind));
        let wobble = 3.0 * ((self.now - self.start).as_secs_f64() * 0.7).sin() + 3.0;
        let moment = self.now + DUE - Duration::from_secs_f64(wobble / 1000.0);
        if kind == MediaKind::Audio && self.conditions.dtx && (frame / 100) % 2 == 1 && !frame.is_multiple_of(20) {
            return;
        }
        let is_keyframe = kind == MediaKind::Video
            && (self.keyframe_due.is_some_and(|due| self.now >= due)
                || frame >= self.last_keyframe + self.keyframe_every);
        if is_keyframe {
            (self.keyframe_due, self.last_keyframe) = (None, frame);
        }
        let packets = match kind {
            MediaKind::Audio => 1,
            MediaKind::Video if is_keyframe => self.rng.random_range(8..30),
            MediaKind::Video => self.rng.random_range(1..6),
        };
        if kind == MediaKind::Video {
            self.sizes.insert((self.source, frame), packets);
        }
        for packet in 0..packets {
            let mut delay = NETWORK_DELAY + MS * self.rng.random_range(0..=self.conditions.jitter_ms) as u32;
            let sequence = self.sequences[index];
            self.sequences[index] += 1;
            if self.rng.random_ratio(self.conditions.loss, 1000) {
                if !self.rng.random_ratio(self.conditions.repaired, 100) {
                    continue;
                }
                delay += MS * self.rng.random_range(30..120);
            }
            let host_packet = HostPacket {
                source: SourceId(self.source),
                kind,
                sequence,
                timestamp: self.offsets[index].wrapping_add((frame * rate / if index == 1 { 30 } else { 50 }) as u32),
                starts_keyframe: kind == MediaKind::Audio || (is_keyframe && packet == 0),
                moment,
                duration: AUDIO,
                packet: Sample {
                    source: self.source,
                    frame,
                },
            };
            if self.rng.random_ratio(self.conditions.loss, 1000) {
                self.at(self.now + delay + MS * 40, Event::Arrival(host_packet));
            }
            self.at(self.now + delay, Event::Arrival(host_packet));
        }
    }

    fn order(&mut self, order: Order) {
        match order {
            Order::Start { video, audio } => {
                // pictures are on a grid of the program's, sound begins where it is told
                let grid = (video - self.start).as_nanos().div_ceil(FRAME.as_nanos()) as u32;
                self.tracks = [audio, self.start + FRAME * grid].map(|next| Track {
                    next: Some(next),
                    to: None,
                });
                self.mixer_keyframe = true;
            }
            Order::Stop { video, audio } => (self.tracks[0].to, self.tracks[1].to) = (Some(audio), Some(video)),
            Order::Keep => {
                for track in &mut self.tracks {
                    track.to = None;
                }
                self.mixer_keyframe = true;
            }
        }
        for kind in [MediaKind::Audio, MediaKind::Video] {
            self.tell_progress(kind);
        }
    }

    /// When the mixer has something ready.
    fn mixer_due(&self, kind: MediaKind) -> Option<Instant> {
        let track = self.tracks[slot(kind)];
        let next = track.next.filter(|next| track.to.is_none_or(|to| *next < to))?;
        Some(next + MIXER_DELAY)
    }

    fn mix(&mut self, kind: MediaKind) {
        let index = slot(kind);
        let Some(moment) = self.tracks[index].next else { return };
        let spacing = if index == 1 { FRAME } else { AUDIO };
        self.tracks[index].next = Some(moment + spacing);
        let packets = if index == 1 { self.rng.random_range(1..9) } else { 1 };
        let keyframe = index == 0 || self.mixer_keyframe;
        match self.elastic.number_mixed(kind, moment, packets, keyframe) {
            Some(first) => {
                let stream = if index == 1 { &mut self.video } else { &mut self.audio };
                for packet in 0..packets {
                    let sequence = first.sequence + packet;
                    stream.send(Numbers { sequence, ..first }, Shown::Mixed { moment }, self.now);
                }
                if index == 1 {
                    self.mixer_keyframe = false;
                }
            }
            None if index == 1 => self.mixer_keyframe = true,
            None => {}
        }
        self.tell_progress(kind);
    }

    fn tell_progress(&mut self, kind: MediaKind) {
        if let Some(next) = self.tracks[slot(kind)].next {
            self.elastic.mixed_until(kind, next, self.now);
        }
    }

    fn drain(&mut self) {
        if self.elastic.is_preparing() && !self.preparing {
            self.preparing = true;
            self.at(self.now + MIXER_START, Event::Prepared);
        }
        while let Some(output) = self.elastic.poll_output() {
            let order = match output {
                Output::Forward { kind, numbers, packet } => {
                    let shown = Shown::Host {
                        source: packet.source,
                        frame: packet.frame,
                    };
                    let stream = if slot(kind) == 1 {
                        &mut self.video
                    } else {
                        &mut self.audio
                    };
                    stream.send(numbers, shown, self.now);
                    continue;
                }
                Output::RequestKeyframe => {
                    self.requests += 1;
                    if self.answers_requests {
                        self.keyframe_due.get_or_insert(self.now + NETWORK_DELAY * 2);
                    }
                    continue;
                }
                Output::StartMixing { video_from, audio_from } => Order::Start {
                    video: video_from,
                    audio: audio_from,
                },
                Output::StopMixing { video_to, audio_to } => Order::Stop {
                    video: video_to,
                    audio: audio_to,
                },
                Output::KeepMixing => Order::Keep,
            };
            // one after the other, by a queue between threads
            self.at(self.now + MS * 3, Event::Order(order));
        }
    }

    fn run_until(&mut self, end: Instant) {
        loop {
            let event = self.events.keys().next().map(|(at, _)| *at);
            let mixer = [MediaKind::Audio, MediaKind::Video].map(|kind| self.mixer_due(kind));
            let timeout = self.elastic.poll_timeout();
            let next = [event, mixer[0], mixer[1], timeout].into_iter().flatten().min();
            let Some(next) = next.filter(|next| *next <= end) else {
                break;
            };
            self.now = self.now.max(next);
            if event == Some(next) {
                match self.events.pop_first().expect("seen").1 {
                    Event::Arrival(packet) => self.elastic.handle_host(packet, self.now),
                    Event::Order(order) => self.order(order),
                    Event::Captured(kind) => self.capture(kind),
                    Event::Prepared => {
                        self.preparing = false;
                        self.elastic.handle_prepared(self.now);
                    }
                }
            } else if mixer[1] == Some(next) {
                self.mix(MediaKind::Video);
            } else if mixer[0] == Some(next) {
                self.mix(MediaKind::Audio);
            } else {
                self.elastic.set_facts(self.elastic.facts, self.now);
                let again = self.elastic.poll_timeout();
                assert!(again.is_none_or(|at| at > self.now), "the loop must not spin");
            }
            self.drain();
        }
        self.now = end;
    }

    fn run_for(&mut self, duration: Duration) {
        self.run_until(self.now + duration);
    }

    /// The host captures nothing for as long as what it sent is on its way.
    fn fall_silent(&mut self) {
        let is_capture = |event: &Event| matches!(event, Event::Captured(_));
        let captures = self.events.iter().filter(|(_, event)| is_capture(event));
        let captures: Vec<_> = captures.map(|(at, event)| (*at, event.clone())).collect();
        self.events.retain(|_, event| !is_capture(event));
        self.run_for(NETWORK_DELAY + MS * self.conditions.jitter_ms as u32);
        for ((at, _), event) in captures {
            self.at(at, event);
        }
    }

    fn is_passthrough(&self) -> bool {
        matches!(self.elastic.state, State::Passthrough { .. })
    }

    fn set(&mut self, change: impl FnOnce(&mut Facts)) {
        let mut facts = self.elastic.facts;
        change(&mut facts);
        self.elastic.set_facts(facts, self.now);
        let before = self.elastic.outputs.len();
        self.elastic.set_facts(facts, self.now);
        assert_eq!(self.elastic.outputs.len(), before, "twice equals once");
        self.drain();
    }

    fn begun(conditions: Conditions) -> Self {
        let mut world = World::new(1, conditions);
        let facts = world.facts();
        world.set(|now| *now = facts);
        world.run_for(Duration::from_secs(3));
        world
    }

    /// Nothing was lost on the way, so nothing may be missing.
    fn assert_seamless(&self) {
        for (stream, rate, frame) in [(&self.video, 90_000, FRAME), (&self.audio, 48_000, AUDIO)] {
            let (first, last) = (stream.packets.keys().next(), stream.packets.keys().next_back());
            let (Some(first), Some(last)) = (first, last) else {
                panic!("nothing left")
            };
            // reordering may still be at work on the newest
            let missing: Vec<_> = (*first..*last - 64)
                .filter(|at| !stream.packets.contains_key(at))
                .collect();
            assert!(missing.is_empty(), "missing {missing:?} of {first}..={last}");
            // with a tick of rounding, and the mapping's slew
            if rate == 48_000 && self.conditions.dtx {
                continue;
            }
            let longest = (frame * 2 + MS).as_nanos() as i64 * rate / 1_000_000_000;
            assert!(
                stream.longest_step() <= longest,
                "a step of {} ticks",
                stream.longest_step()
            );
        }
    }

    /// Frames of the host that left without all of their packets, but for the newest ones.
    fn cut(&self) -> usize {
        let frames = self.video.frames();
        let frames = &frames[..frames.len().saturating_sub(3)];
        let cut = frames.iter().filter(|(sent, packets)| match sent.shown {
            Shown::Host { source, frame } => self.sizes[&(source, frame)] != *packets,
            Shown::Mixed { .. } => false,
        });
        cut.count()
    }
}

fn calm() -> Conditions {
    Conditions {
        loss: 0,
        repaired: 0,
        jitter_ms: 5,
        drift_ppm: 0,
        dtx: false,
    }
}

#[test]
fn the_host_alone_is_passed_through_from_its_first_keyframe() {
    let world = World::begun(calm());
    assert!(world.is_passthrough());
    assert!(
        world
            .video
            .packets
            .values()
            .all(|sent| matches!(sent.shown, Shown::Host { .. }))
    );
    assert!(world.video.frames().len() > 85 && world.audio.frames().len() > 140);
    world.assert_seamless();
    assert_eq!(world.elastic.obstacle(world.now), None);
}

#[test]
fn a_host_whose_first_keyframe_is_late_is_passed_through_from_then_on() {
    let mut world = World::new(1, calm());
    (world.answers_requests, world.keyframe_due, world.keyframe_every) = (false, None, 75);
    let facts = world.facts();
    world.set(|now| *now = facts);
    world.run_for(Duration::from_secs(2));
    assert!(world.elastic.is_mixing(), "a slate, and sound");
    world.run_for(Duration::from_secs(1));
    assert!(world.is_passthrough(), "nothing was ever composed");
    world.set(|facts| facts.composing = true);
    world.run_for(Duration::from_secs(1));
    world.set(|facts| facts.composing = false);
    world.run_for(Duration::from_secs(8));
    assert!(world.elastic.is_mixing(), "who was there may come back");
    world.assert_seamless();
}

#[test]
fn something_to_compose_takes_it_to_the_mixer_and_back_after_a_while() {
    let mut world = World::begun(calm());
    world.set(|facts| facts.composing = true);
    assert!(
        world.elastic.is_preparing(),
        "the host is seen until the mixer is ready"
    );
    assert_eq!(world.elastic.obstacle(world.now), Some(Obstacle::Composing));
    world.run_for(MIXER_START);
    assert!(world.elastic.is_mixing());
    world.run_for(Duration::from_secs(5));
    world.set(|facts| facts.composing = false);
    world.run_for(SETTINGS.return_after - MS);
    assert!(world.elastic.is_mixing());
    world.run_for(Duration::from_secs(1));
    assert!(world.is_passthrough());
    world.run_for(Duration::from_secs(1));
    world.assert_seamless();
    assert_eq!(world.cut(), 0);
    assert!(world.requests > 0, "its keyframe was asked for");
    let pause = Duration::from_millis(150) + FRAME;
    assert!(
        world.video.pause <= pause && world.audio.pause <= pause,
        "{:?}",
        world.video.pause
    );
}

#[test]
fn a_mixer_that_does_not_get_ready_is_waited_for_a_second_and_not_at_all_without_a_host() {
    let mut world = World::begun(calm());
    world.preparing = true;
    world.set(|facts| facts.composing = true);
    world.run_for(PREPARE_MAX - MS);
    assert!(world.is_passthrough());
    world.run_for(MS);
    assert!(world.elastic.is_mixing());
    let mut world = World::begun(calm());
    world.set(|facts| facts.composing = true);
    world.set(|facts| facts.composing = false);
    world.run_for(Duration::from_secs(3));
    assert!(world.is_passthrough(), "it was over before the mixer was ready");
    world.set(|facts| facts.host = facts.host.map(|host| Host { hidden: true, ..host }));
    assert!(world.elastic.is_mixing());
    world.run_for(Duration::from_secs(1));
    world.assert_seamless();
}

#[test]
fn a_lost_host_is_mixed_within_a_second() {
    let mut world = World::begun(calm());
    world.events.retain(|_, event| !matches!(event, Event::Captured(_)));
    let lost = world.now;
    world.run_for(VIDEO_SILENCE + NETWORK_DELAY + MIXER_START + MS * 10);
    assert!(world.elastic.is_mixing());
    assert_eq!(world.elastic.obstacle(world.now), Some(Obstacle::Silent));
    world.run_for(MS * 400);
    let newest = world.video.frames().last().map(|(sent, _)| sent.shown);
    let Some(Shown::Mixed { moment }) = newest else {
        panic!("{newest:?}")
    };
    assert!(moment > lost + MS * 850, "in step with time");
    assert!(world.video.pause < Duration::from_secs(1));
    let frames = world.audio.frames();
    let steps = frames.windows(2).map(|pair| pair[1].0.ticks - pair[0].0.ticks);
    assert!(steps.clone().all(|step| step >= 960));
    let missing = steps.filter(|step| *step > 960);
    assert_eq!(missing.count(), 1, "sound has one gap");
    let mut world = World::begun(calm());
    world.events.retain(|_, event| !matches!(event, Event::Captured(_)));
    world.preparing = true;
    world.run_for(VIDEO_SILENCE + NETWORK_DELAY + PREPARE_SILENT + MS * 10);
    assert!(world.elastic.is_mixing(), "ready or not");
}

#[test]
fn a_host_who_goes_while_the_mixer_gets_ready_is_not_waited_for() {
    let mut world = World::begun(calm());
    world.preparing = true;
    world.set(|facts| facts.composing = true);
    assert!(world.is_passthrough());
    world.fall_silent();
    world.connect();
    let host = world.facts().host;
    world.set(|facts| facts.host = host);
    assert!(world.elastic.is_mixing());
    world.run_for(Duration::from_secs(1));
    world.assert_seamless();
    assert_eq!(world.cut(), 0);
}

#[test]
fn a_host_who_comes_back_is_another_one() {
    let mut world = World::begun(calm());
    world.set(|facts| facts.host = None);
    assert!(world.elastic.is_mixing());
    world.run_for(Duration::from_secs(3));
    world.connect();
    let facts = world.facts();
    world.set(|now| *now = facts);
    world.run_for(Duration::from_secs(12));
    assert!(world.is_passthrough());
    world.assert_seamless();
}

#[test]
fn with_files_a_host_needs_keyframes() {
    let mut world = World::begun(calm());
    world.set(|facts| facts.needs_keyframes = true);
    world.run_for(Duration::from_secs(20));
    assert!(world.is_passthrough(), "they come when they are asked for");
    assert!(world.requests >= 8);
    // OBS does not listen
    world.answers_requests = false;
    world.run_for(Duration::from_secs(5));
    assert!(world.elastic.is_mixing());
    assert_eq!(world.elastic.obstacle(world.now), Some(Obstacle::KeyframesApart));
    world.run_for(Duration::from_secs(40));
    assert!(world.elastic.is_mixing(), "its own are 10 s apart");
    world.keyframe_every = 90;
    world.run_for(Duration::from_secs(20));
    assert!(world.is_passthrough());
    world.assert_seamless();
}

#[test]
fn a_host_may_be_forced_through_the_mixer() {
    let mut world = World::begun(calm());
    world.set(|facts| facts.forced = true);
    world.run_for(Duration::from_secs(30));
    assert!(world.elastic.is_mixing());
    world.set(|facts| facts.forced = false);
    world.run_for(Duration::from_secs(12));
    assert!(world.is_passthrough());
    // its picture changes in a way that can't be passed on
    world.set(|facts| facts.host = facts.host.map(|host| Host { suits: false, ..host }));
    world.run_for(Duration::from_secs(3));
    assert!(world.elastic.is_mixing());
    world.assert_seamless();
}

#[test]
fn sound_goes_on_without_a_missing_or_a_doubled_tick() {
    let mut world = World::begun(calm());
    for composing in [true, false] {
        world.set(|facts| facts.composing = composing);
        world.run_for(Duration::from_secs(13));
        assert_eq!(world.elastic.is_mixing(), composing);
    }
    let frames = world.audio.frames();
    let steps: BTreeSet<i64> = frames
        .windows(2)
        .map(|pair| pair[1].0.ticks - pair[0].0.ticks)
        .collect();
    assert_eq!(steps, BTreeSet::from([960]));
}

#[test]
fn a_mixer_that_does_not_get_there_goes_on() {
    let mut world = World::begun(calm());
    world.set(|facts| facts.composing = true);
    world.run_for(Duration::from_secs(1));
    world.set(|facts| facts.composing = false);
    // until it is on its way back
    while !matches!(world.elastic.state, State::Returning(_)) {
        world.run_for(MS);
    }
    world.set(|facts| facts.composing = true);
    assert!(world.elastic.is_mixing());
    assert_eq!(world.elastic.counters().called_off, 1);
    world.run_for(Duration::from_secs(1));
    world.set(|facts| facts.composing = false);
    while !matches!(world.elastic.state, State::Returning(_)) {
        world.run_for(MS);
    }
    world.tracks = [Track::default(); 2];
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.elastic.counters().called_off, 2);
    assert!(
        world
            .elastic
            .held_video
            .pop()
            .is_none_or(|held| world.now < held.moment + Duration::from_secs(3))
    );
}

#[test]
fn impossible_packets_are_refused() {
    let mut world = World::begun(calm());
    let packet = |sequence, moment| HostPacket {
        source: SourceId(world.source),
        kind: MediaKind::Video,
        sequence,
        timestamp: 7,
        starts_keyframe: true,
        moment,
        duration: Duration::ZERO,
        packet: Sample { source: 9, frame: 9 },
    };
    let (now, next) = (world.now, world.sequences[1]);
    let impossible = [
        packet(next, now - Duration::from_secs(10)),
        packet(next, now + Duration::from_secs(1000)),
        HostPacket {
            source: SourceId(77),
            ..packet(next, now)
        },
        packet(0, now),
    ];
    for packet in impossible {
        let refused = world.elastic.counters().refused;
        world.elastic.handle_host(packet, now);
        assert_eq!(world.elastic.counters().refused, refused + 1, "{packet:?}");
        assert!(world.elastic.poll_output().is_none());
    }
    // numbers from another stream
    world.elastic.handle_host(packet(next + 100_000, now), now);
    assert!(world.elastic.is_mixing());
}

#[derive(Clone, Debug)]
enum Change {
    Compose(bool),
    Hide(bool),
    Mute(bool),
    Leave,
    Return,
    Files(bool),
    Resize(bool),
}

fn changes() -> impl Strategy<Value = Vec<(u64, Change)>> {
    let change = prop_oneof![
        4 => any::<bool>().prop_map(Change::Compose),
        1 => any::<bool>().prop_map(Change::Hide),
        1 => any::<bool>().prop_map(Change::Mute),
        1 => Just(Change::Leave),
        2 => Just(Change::Return),
        1 => any::<bool>().prop_map(Change::Files),
        1 => any::<bool>().prop_map(Change::Resize),
    ];
    let wait_ms = prop_oneof![1u64..400, 400u64..4000, 10_000u64..13_000];
    prop::collection::vec((wait_ms, change), 1..14)
}

fn apply(world: &mut World, change: &Change) {
    if world.conditions.loss == 0 && matches!(change, Change::Leave | Change::Return) {
        world.fall_silent();
    }
    let host = |facts: &mut Facts, change: &dyn Fn(&mut Host)| {
        if let Some(host) = &mut facts.host {
            change(host);
        }
    };
    match *change {
        Change::Compose(composing) => world.set(|facts| facts.composing = composing),
        Change::Hide(hidden) => world.set(|facts| host(facts, &|host| host.hidden = hidden)),
        Change::Mute(muted) => world.set(|facts| host(facts, &|host| host.muted = muted)),
        Change::Files(needs) => world.set(|facts| facts.needs_keyframes = needs),
        Change::Resize(fits) => world.set(|facts| host(facts, &|host| host.fits = fits)),
        Change::Leave => world.set(|facts| facts.host = None),
        Change::Return => {
            world.connect();
            let facts = world.facts();
            world.set(|now| now.host = facts.host);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// What [`Stream::send`] asserts holds after every packet; this drives it.
    #[test]
    fn no_switch_is_noticed(
        seed: u64,
        loss in prop_oneof![Just(0u32), 1u32..40],
        repaired in 0u32..=100,
        jitter_ms in 0u64..25,
        drift_ppm in -100i64..=100,
        dtx: bool,
        changes in changes(),
    ) {
        let conditions = Conditions { loss, repaired, jitter_ms, drift_ppm, dtx };
        let mut world = World::begun(conditions);
        world.rng = StdRng::seed_from_u64(seed);
        for (wait_ms, change) in &changes {
            world.run_for(MS * *wait_ms as u32);
            apply(&mut world, change);
        }
        apply(&mut world, &Change::Return);
        let facts = world.facts();
        world.set(|now| *now = facts);
        world.run_for(Duration::from_secs(25));
        if loss == 0 {
            prop_assert!(world.is_passthrough(), "back to the host in the end");
            prop_assert_eq!(world.cut(), 0);
            world.assert_seamless();
            let pause = Duration::from_millis(150 + jitter_ms) + FRAME;
            prop_assert!(world.video.pause <= pause, "{:?}", world.video.pause);
        }
        // mixed pictures follow each other as the mixer made them
        let mixed: BTreeSet<Instant> = world.video.frames().iter().filter_map(|(sent, _)| match sent.shown {
            Shown::Mixed { moment } => Some(moment),
            Shown::Host { .. } => None,
        }).collect();
        prop_assert_eq!(
            mixed.len(),
            world.video.frames().iter().filter(|(sent, _)| matches!(sent.shown, Shown::Mixed { .. })).count()
        );
    }
}
