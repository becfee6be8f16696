//! Who makes the program: the host, whose packets are passed through, or the mixer; and the change between them, which
//! nobody who consumes the program may notice.
//!
//! Owns the numbers of the program's two streams and, while a change is on its way, the host's packets. Enters: what is
//! wanted and what the host is ([`Facts`]), the host's packets, how far the mixer is. Leaves: packets with their numbers, and
//! orders to the mixer ([`Output`]). Pure. Time base: the server's monotonic clock, on which moments of the program are
//! those at which pictures and sound are due; the caller maps the host's RTP times to it.
//!
//! **To the mixer** it goes as soon as that is prepared, which the host's packets bridge, or at once when there are none.
//! No frame of the host is taken then that had not begun; the mixer starts behind the last one. The rest of that one may
//! still come in and is sent until the mixer's first frame leaves, which takes the mixer's delay: no frame is held back
//! while passing through, and none is cut off that would not have been without a change. Late retransmissions of the host
//! fill their gaps even then.
//!
//! **Back** it goes at a keyframe of the host. Its packets from there on are held until the mixer has handed over all that is
//! earlier, then they leave in order. Sound changes at the host's packet nearest to that keyframe.

mod held;
mod numbering;
mod terms;

use crate::rtp::{Codec, MediaKind};
use held::Held;
pub use numbering::Numbers;
use numbering::Refusal;
use numbering::{Incoming, Numbering};
use std::collections::VecDeque;
use std::time::{Duration, Instant};
pub use terms::{Counters, Facts, Host, HostPacket, Obstacle, Output, Settings};

/// The host's picture is lost when nothing of it came for so long: with the mixer's delay the program goes on within 1 s.
/// Cameras do not fall below 2 pictures a second in the dark.
pub const VIDEO_SILENCE: Duration = Duration::from_millis(500);
/// The same of sound: twice the time after which Opus sends something even while nobody speaks (400 ms, RFC 6716 §2.1.9), so
/// that one of these may be lost, and the jitter of a bad path.
pub const AUDIO_SILENCE: Duration = Duration::from_millis(950);
/// With consumers who start at keyframes, a host whose keyframes are further apart than this is mixed.
const KEYFRAMES_APART_MAX: Duration = Duration::from_secs(4);
/// A program that could begin with the host's keyframe waits so long for one.
const START_WAIT: Duration = Duration::from_secs(1);
/// The mixer reaches a keyframe within its own delay, of 200 ms at most; one that does not is late, and goes on.
const RETURN_MAX: Duration = Duration::from_millis(500);
/// Between two requests for the keyframe that a change waits for.
const REQUEST_INTERVAL: Duration = Duration::from_secs(1);
/// A host's moment this far before its arrival is a mistake of its clock, and the packet is left out;
const MOMENT_AGE_MAX: Duration = Duration::from_secs(3);
/// and so is one this far ahead: frames are due within 200 ms.
const MOMENT_AHEAD_MAX: Duration = Duration::from_secs(1);
/// The longest Opus packet (RFC 6716 §3.2.5).
const AUDIO_PACKET_MAX: Duration = Duration::from_millis(120);
/// Of the mixer: 20 ms packets.
const AUDIO_FRAME: Duration = Duration::from_millis(20);
/// Sound that the mixer makes up for at once, when the host was lost.
const AUDIO_CATCH_UP: Duration = Duration::from_millis(200);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The host's next keyframe is where the program begins.
    Starting {
        since: Instant,
    },
    Passthrough {
        audio_from: Instant,
        /// The mixer gets ready.
        preparing: Option<Preparation>,
    },
    /// `clear_since`: nothing has been in the way of the host since then, but for a keyframe.
    Mixed {
        clear_since: Option<Instant>,
    },
    Returning(Return),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Preparation {
    since: Instant,
    /// Then the mixer begins, ready or not.
    until: Instant,
}

/// The way back to the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Return {
    /// First packet of the host's keyframe.
    sequence: u64,
    video_to: Instant,
    audio_to: Instant,
    /// The host's sound from here on.
    audio_from: Instant,
    deadline: Instant,
}

/// What is known of the host's flow.
#[derive(Clone, Copy, Debug, Default)]
struct Watch {
    video: Option<Instant>,
    audio: Option<Instant>,
    keyframe: Option<Instant>,
    /// The host's timestamp of that keyframe.
    keyframe_timestamp: Option<u32>,
    /// Between the last two.
    keyframes_apart: Option<Duration>,
}

/// See the module. `P` is what a packet is to the caller.
#[derive(Debug)]
pub struct Elastic<P> {
    settings: Settings,
    facts: Facts,
    state: State,
    video: Numbering,
    audio: Numbering,
    held_video: Held<P>,
    held_audio: Held<P>,
    watch: Watch,
    /// When a keyframe was asked for last.
    requested: Option<Instant>,
    /// The mixer has handed over what is earlier.
    mixed_video: Option<Instant>,
    mixed_audio: Option<Instant>,
    /// How long nothing has to be in the way of the host before the mixer gives over: there may have been something.
    patience: Duration,
    /// A picture of the mixer was left out, or none has come yet: what refers to it can't be decoded.
    mixer_needs_keyframe: bool,
    /// At most what is held, and one order for each input.
    outputs: VecDeque<Output<P>>,
    counters: Counters,
}

impl<P> Elastic<P> {
    /// `now` is the program's beginning.
    pub fn new(settings: Settings, now: Instant) -> Self {
        Elastic {
            settings,
            facts: Facts::default(),
            state: State::Starting { since: now },
            video: Numbering::new(Codec::H264, now),
            audio: Numbering::new(Codec::Opus, now),
            held_video: Held::video(),
            held_audio: Held::audio(),
            watch: Watch::default(),
            requested: None,
            mixed_video: None,
            mixed_audio: None,
            patience: Duration::ZERO,
            mixer_needs_keyframe: true,
            outputs: VecDeque::new(),
            counters: Counters::default(),
        }
    }

    pub fn set_settings(&mut self, settings: Settings) {
        self.settings = settings;
    }

    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Whether the mixer is to get ready, while the host is passed through.
    pub fn is_preparing(&self) -> bool {
        matches!(self.state, State::Passthrough { preparing: Some(_), .. })
    }

    /// Whether the host is the program, or is about to be: its moments are kept as they are.
    pub fn keeps_host(&self) -> bool {
        matches!(self.state, State::Passthrough { .. } | State::Returning(_))
    }

    /// Whether the mixer is at work.
    pub fn is_mixing(&self) -> bool {
        matches!(self.state, State::Mixed { .. } | State::Returning(_))
    }

    /// What is in the way of passing the host through, of what has to be so at any time.
    pub fn obstacle(&self, now: Instant) -> Option<Obstacle> {
        let watch = &self.watch;
        let is_late = |last: Option<Instant>, after| last.is_none_or(|last| now >= last + after);
        self.unfit().or_else(|| {
            if is_late(watch.video, VIDEO_SILENCE) || is_late(watch.audio, AUDIO_SILENCE) {
                Some(Obstacle::Silent)
            } else if self.facts.needs_keyframes && is_late(watch.keyframe, KEYFRAMES_APART_MAX) {
                Some(Obstacle::KeyframesApart)
            } else {
                None
            }
        })
    }

    /// What is wanted and what is so, from now on.
    pub fn set_facts(&mut self, facts: Facts, now: Instant) {
        let source = |facts: &Facts| facts.host.map(|host| host.source);
        let is_another = source(&self.facts) != source(&facts);
        if is_another {
            // before its numbers are forgotten: the mixer goes on behind them
            self.facts.host = None;
            self.decide(now);
            if matches!(self.state, State::Passthrough { .. }) {
                // the mixer was getting ready for something else
                self.start_mixing(now);
            }
            self.video.forget_host();
            self.audio.forget_host();
            self.drop_held();
            self.watch = Watch::default();
        }
        self.facts = facts;
        self.decide(now);
    }

    /// Takes in a packet of the host's, in order of arrival.
    pub fn handle_host(&mut self, packet: HostPacket<P>, now: Instant) {
        self.decide(now);
        if self.facts.host.is_none_or(|host| host.source != packet.source)
            || now.saturating_duration_since(packet.moment) > MOMENT_AGE_MAX
            || packet.moment.saturating_duration_since(now) > MOMENT_AHEAD_MAX
        {
            self.counters.refused += 1;
            return;
        }
        self.watch.note(&packet, now);
        let keyframe =
            (packet.kind == MediaKind::Video && packet.starts_keyframe).then_some((packet.sequence, packet.moment));
        match self.state {
            State::Passthrough { audio_from, .. } => self.pass(packet, audio_from, now),
            State::Starting { .. } => self.hold(packet),
            // what is left of what was forwarded; everything else is of the future
            State::Mixed { .. } | State::Returning(_) => match self.forward(packet) {
                Err((packet, Refusal::Overtaken | Refusal::Jump)) => self.hold(packet),
                Err((_, Refusal::Before | Refusal::Duplicate)) => self.counters.refused += 1,
                Ok(()) => {}
            },
        }
        if let Some((sequence, moment)) = keyframe {
            self.consider_return(sequence, moment, now);
        }
        self.decide(now);
    }

    /// Numbers of a frame of the mixer: a picture in this many packets (the first one's numbers), or a packet of sound.
    /// `None`: leave it out, for the program is the host's there; the next picture has to be a keyframe. `keyframe`: a
    /// decoder can start there, as with any sound.
    pub fn number_mixed(&mut self, kind: MediaKind, moment: Instant, packets: u64, keyframe: bool) -> Option<Numbers> {
        let back = match self.state {
            State::Mixed { .. } => None,
            State::Returning(back) => Some(back),
            State::Starting { .. } | State::Passthrough { .. } => return None,
        };
        if kind == MediaKind::Audio {
            let is_host = back.is_some_and(|back| moment >= back.audio_to);
            return (!is_host).then(|| self.audio.mix(moment, AUDIO_FRAME, packets))?;
        }
        let is_host = back.is_some_and(|back| moment >= back.video_to);
        let is_orphan = self.mixer_needs_keyframe && !keyframe;
        let numbers = match is_host || is_orphan {
            true => None,
            false => self.video.mix(moment, self.settings.frame, packets),
        };
        self.mixer_needs_keyframe = numbers.is_none();
        numbers
    }

    /// The mixer has handed over everything of this kind that is earlier than `moment`.
    pub fn mixed_until(&mut self, kind: MediaKind, moment: Instant, now: Instant) {
        let progress = match kind {
            MediaKind::Video => &mut self.mixed_video,
            MediaKind::Audio => &mut self.mixed_audio,
        };
        *progress = (*progress).max(Some(moment));
        self.decide(now);
    }

    /// The mixer is ready, or as ready as it gets.
    pub fn handle_prepared(&mut self, now: Instant) {
        if self.is_preparing() {
            self.start_mixing(now);
        }
    }

    /// What to do, in order.
    pub fn poll_output(&mut self) -> Option<Output<P>> {
        self.outputs.pop_front()
    }

    /// When to call [`set_facts`](Self::set_facts) again, though nothing came in.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let watch = &self.watch;
        let request = self.request_due();
        match self.state {
            State::Starting { since } => request.into_iter().chain([since + START_WAIT]).min(),
            State::Passthrough {
                preparing: Some(preparation),
                ..
            } => Some(preparation.until),
            State::Passthrough { preparing: None, .. } => {
                let changes = [
                    watch.video.map(|last| last + VIDEO_SILENCE),
                    watch.audio.map(|last| last + AUDIO_SILENCE),
                    watch
                        .keyframe
                        .filter(|_| self.facts.needs_keyframes)
                        .map(|last| last + KEYFRAMES_APART_MAX),
                ];
                changes.into_iter().flatten().chain(request).min()
            }
            State::Mixed { .. } => request,
            State::Returning(back) => Some(back.deadline),
        }
    }

    /// What forbids to pass the host through, whether it flows or not.
    fn unfit(&self) -> Option<Obstacle> {
        match self.facts {
            Facts { forced: true, .. } => Some(Obstacle::Forced),
            Facts { composing: true, .. } => Some(Obstacle::Composing),
            Facts { host: None, .. } => Some(Obstacle::NotConnected),
            Facts { host: Some(host), .. } if host.hidden => Some(Obstacle::Hidden),
            Facts { host: Some(host), .. } if host.muted => Some(Obstacle::Muted),
            Facts { host: Some(host), .. } if !host.suits => Some(Obstacle::Format),
            Facts { host: Some(host), .. } if !host.fits => Some(Obstacle::Size),
            _ => None,
        }
    }

    /// Brings the state in line with what is so. Twice equals once.
    fn decide(&mut self, now: Instant) {
        match self.state {
            State::Starting { since } => {
                // who has just come is not connected yet
                let is_hopeless = self.unfit().is_some_and(|why| why != Obstacle::NotConnected);
                if is_hopeless || now >= since + START_WAIT {
                    self.start_mixing(now);
                }
            }
            State::Passthrough { audio_from, preparing } => {
                let preparing = self.obstacle(now).map(|obstacle| {
                    let since = preparing.map_or(now, |preparation| preparation.since);
                    let until = since + obstacle.preparation();
                    Preparation { since, until }
                });
                self.state = State::Passthrough { audio_from, preparing };
                if preparing.is_some_and(|preparation| now >= preparation.until) {
                    self.start_mixing(now);
                }
            }
            State::Mixed { clear_since } => {
                // a host who has not come yet is no more than awaited
                let is_awaited = |why| {
                    matches!(
                        why,
                        Obstacle::NotConnected | Obstacle::Silent | Obstacle::KeyframesApart
                    )
                };
                if self.obstacle(now).is_some_and(|why| !is_awaited(why)) {
                    self.patience = self.settings.return_after;
                }
                let clear_since = match self.clearing(now) {
                    true => clear_since.or(Some(now)),
                    false => None,
                };
                self.state = State::Mixed { clear_since };
            }
            State::Returning(back) => {
                let is_reached = |progress: Option<Instant>, to| progress.is_some_and(|moment| moment >= to);
                if self.obstacle(now).is_some() || now >= back.deadline {
                    self.call_off();
                } else if is_reached(self.mixed_video, back.video_to) && is_reached(self.mixed_audio, back.audio_to) {
                    self.enter_passthrough(back.sequence, back.audio_from, now);
                }
            }
        }
        if self.request_due().is_some_and(|due| now >= due) {
            self.requested = Some(now);
            self.outputs.push_back(Output::RequestKeyframe);
        }
    }

    /// Whether the time until the return runs. Keyframes come when they are asked for, which is done at its end.
    fn clearing(&self, now: Instant) -> bool {
        matches!(self.obstacle(now), None | Some(Obstacle::KeyframesApart))
    }

    fn request_due(&self) -> Option<Instant> {
        let after_last = |wait| self.requested.map(|last| last + wait);
        match self.state {
            State::Starting { since } if self.unfit().is_none() => {
                Some(after_last(REQUEST_INTERVAL).map_or(since, |due| due.max(since)))
            }
            State::Mixed { .. } => {
                let due = self.return_due()?;
                Some(after_last(REQUEST_INTERVAL).map_or(due, |next| next.max(due)))
            }
            State::Passthrough { .. } if self.facts.needs_keyframes => {
                let last = self.watch.keyframe.max(self.requested)?;
                Some(last + self.settings.gop)
            }
            _ => None,
        }
    }

    /// When the next keyframe of the host is one to return at.
    fn return_due(&self) -> Option<Instant> {
        let State::Mixed { clear_since } = self.state else {
            return None;
        };
        Some(clear_since? + self.patience)
    }

    fn start_mixing(&mut self, now: Instant) {
        self.video.close();
        self.audio.close();
        self.drop_held();
        let video_from = self.video.end().map_or(now, |end| end.max(now));
        let earliest = now.checked_sub(AUDIO_CATCH_UP).unwrap_or(now);
        let audio_from = self.audio.end().map_or(now, |end| end.max(earliest));
        self.patience = match self.state {
            // there is nothing but a host whose first keyframe is to come
            State::Starting { .. } => Duration::ZERO,
            _ => self.settings.return_after,
        };
        (self.mixed_video, self.mixed_audio) = (None, None);
        self.mixer_needs_keyframe = true;
        self.state = State::Mixed { clear_since: None };
        self.counters.to_mixer += 1;
        self.outputs.push_back(Output::StartMixing { video_from, audio_from });
    }

    /// A keyframe of the host begins; the program may go over to it.
    fn consider_return(&mut self, sequence: u64, moment: Instant, now: Instant) {
        let is_starting = matches!(self.state, State::Starting { .. });
        let is_due = self.return_due().is_some_and(|due| now >= due);
        if is_starting && self.unfit().is_none() {
            self.held_audio.drop_before_moment(moment - AUDIO_FRAME / 2);
            self.enter_passthrough(sequence, moment - AUDIO_FRAME / 2, now);
            return;
        }
        let is_rare = self.facts.needs_keyframes
            && self
                .watch
                .keyframes_apart
                .is_none_or(|apart| apart > KEYFRAMES_APART_MAX);
        // the mixer's next frame would be due: what it has shown can't be shown again
        let half_frame = self.settings.frame / 2;
        let is_late = self.video.end().is_some_and(|end| moment < end - half_frame);
        if !is_due || is_rare || is_late || self.obstacle(now).is_some() {
            return;
        }
        let half_packet = AUDIO_FRAME / 2;
        let earliest = self.audio.end().map_or(moment, |end| end.max(moment)) - half_packet;
        let first = self.held_audio.first_from(earliest);
        let audio_from = first.unwrap_or(earliest);
        self.state = State::Returning(Return {
            sequence,
            video_to: moment - half_frame,
            // packets are counted by where they begin: the one that would reach over the middle is the host's
            audio_to: first.map_or(earliest, |first| first - half_packet),
            audio_from,
            deadline: now + RETURN_MAX,
        });
        let State::Returning(back) = self.state else { return };
        self.held_video.drop_before(sequence);
        self.held_audio.drop_before_moment(audio_from);
        self.outputs.push_back(Output::StopMixing {
            video_to: back.video_to,
            audio_to: back.audio_to,
        });
    }

    fn call_off(&mut self) {
        self.counters.called_off += 1;
        self.drop_held();
        self.state = State::Mixed { clear_since: None };
        self.outputs.push_back(Output::KeepMixing);
    }

    /// The host's packets are the program from this keyframe on.
    fn enter_passthrough(&mut self, sequence: u64, audio_from: Instant, now: Instant) {
        self.video.forget_host();
        self.audio.forget_host();
        self.state = State::Passthrough {
            audio_from,
            preparing: None,
        };
        self.counters.to_host += 1;
        // a program that begins with a picture: sound has its time to come, too
        self.watch.audio.get_or_insert(now);
        self.held_video.drop_before(sequence);
        while let Some(packet) = self.held_video.pop() {
            self.pass(packet, audio_from, now);
        }
        while let Some(packet) = self.held_audio.pop() {
            self.pass(packet, audio_from, now);
        }
    }

    /// A packet while passing through.
    fn pass(&mut self, packet: HostPacket<P>, audio_from: Instant, now: Instant) {
        let incoming = self.incoming(&packet);
        let numbering = match packet.kind {
            MediaKind::Video => &mut self.video,
            MediaKind::Audio => &mut self.audio,
        };
        if !numbering.is_forwarding() {
            if packet.kind == MediaKind::Audio && packet.moment < audio_from {
                self.counters.refused += 1;
                return;
            }
            let numbers = numbering.begin(&incoming);
            self.send(packet, numbers);
            return;
        }
        match self.forward(packet) {
            Ok(()) => {}
            Err((_, Refusal::Jump)) => self.start_mixing(now),
            Err(_) => self.counters.refused += 1,
        }
    }

    fn forward(&mut self, packet: HostPacket<P>) -> Result<(), (HostPacket<P>, Refusal)> {
        let incoming = self.incoming(&packet);
        let numbering = match packet.kind {
            MediaKind::Video => &mut self.video,
            MediaKind::Audio => &mut self.audio,
        };
        match numbering.forward(&incoming) {
            Ok(numbers) => {
                self.send(packet, numbers);
                Ok(())
            }
            Err(refusal) => Err((packet, refusal)),
        }
    }

    fn incoming(&self, packet: &HostPacket<P>) -> Incoming {
        let duration = match packet.kind {
            MediaKind::Video => self.settings.frame,
            MediaKind::Audio => packet.duration.min(AUDIO_PACKET_MAX),
        };
        Incoming {
            sequence: packet.sequence,
            timestamp: packet.timestamp,
            moment: packet.moment,
            duration,
        }
    }

    fn send(&mut self, packet: HostPacket<P>, numbers: Numbers) {
        self.outputs.push_back(Output::Forward {
            kind: packet.kind,
            numbers,
            packet: packet.packet,
        });
    }

    /// Keeps a packet for the time when the host's packets are the program.
    fn hold(&mut self, packet: HostPacket<P>) {
        let held = match packet.kind {
            MediaKind::Video => &mut self.held_video,
            MediaKind::Audio => &mut self.held_audio,
        };
        let State::Returning(back) = self.state else {
            held.keep_for_now(packet);
            return;
        };
        let is_mixers = match packet.kind {
            MediaKind::Video => packet.sequence < back.sequence,
            MediaKind::Audio => packet.moment < back.audio_from,
        };
        if !is_mixers && !held.keep(packet) {
            self.call_off();
        }
    }

    fn drop_held(&mut self) {
        self.held_video.clear();
        self.held_audio.clear();
    }
}

impl Watch {
    fn note<P>(&mut self, packet: &HostPacket<P>, now: Instant) {
        if packet.kind == MediaKind::Audio {
            self.audio = Some(now);
            return;
        }
        self.video = Some(now);
        // parameter sets may be in more than one packet of a keyframe
        if packet.starts_keyframe && self.keyframe_timestamp != Some(packet.timestamp) {
            self.keyframes_apart = self.keyframe.map(|last| now.saturating_duration_since(last));
            self.keyframe = Some(now);
            self.keyframe_timestamp = Some(packet.timestamp);
        }
    }
}

#[cfg(test)]
mod tests;
