//! What flows from the seats and who is heard. Not versioned and not stored: it is news, not state of the room.

use super::event::{Event, TrackState};
use super::*;
use crate::forward::{SeatIndex, SourceKind};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Louder than this is a voice: quiet speech close to a microphone is some 20 dB above it, a fan or keyboard below.
const VOICE_DBOV: i8 = -50;

/// What a source is told to be at that has stopped: it has no next word to wait for. One that goes quiet comes there only
/// when it has been quiet for seconds.
const SILENT_DBOV: i8 = -127;

/// How long after the last loud moment somebody still speaks: longer than the pauses between words.
const HANGOVER: Duration = Duration::from_millis(500);

/// `speaking` is told at most five times a second (SEATS).
const SPEAKING_INTERVAL: Duration = Duration::from_millis(200);

/// Sources of the seated: at most two a seat.
#[derive(Debug, Default)]
pub(super) struct Media {
    pub sources: BTreeMap<(UserId, SourceKind), SourceStatus>,
    /// As `seat.media` told it last; what is not in it is off.
    told: BTreeMap<(UserId, SourceKind), (TrackState, TrackState)>,
}

impl Media {
    pub fn forget(&mut self, user: &UserId) {
        self.sources.retain(|(of, _), _| of != user);
        self.told.retain(|(of, _), _| of != user);
    }
}

#[derive(Debug, Default)]
pub(super) struct Voices {
    /// Of the seated, until another one is reported.
    levels: BTreeMap<UserId, i8>,
    /// Who is loud, or was a moment ago: none that `levels` has not.
    heard: BTreeMap<UserId, Heard>,
    told: Vec<(SeatIndex, i8)>,
    told_at: Option<Instant>,
    /// When there may be something else to tell.
    pub due: Option<Instant>,
}

#[derive(Debug)]
struct Heard {
    /// While they were loud, in dBov.
    level: i8,
    /// `None`: they are.
    until: Option<Instant>,
}

impl Voices {
    pub fn forget(&mut self, user: &UserId) {
        self.levels.remove(user);
        self.heard.remove(user);
    }
}

impl Room {
    /// What flows, by seat and source; what is muted or locked does not.
    pub(super) fn sources(&self) -> BTreeMap<(SeatIndex, SourceKind), SourceStatus> {
        let mut sources = BTreeMap::new();
        for ((user, kind), status) in &self.media.sources {
            let Some((seat, flags)) = self.publishing(user, *kind) else {
                continue;
            };
            let status = SourceStatus {
                audio: status.audio && !flags.audio_locked && !flags.audio_muted,
                video: status.video && !flags.video_locked && !flags.video_muted,
                ..status.clone()
            };
            sources.insert((seat, *kind), status);
        }
        sources
    }

    /// Their seat while a transport of this source is up.
    fn publishing(&self, user: &UserId, kind: SourceKind) -> Option<(SeatIndex, SeatFlags)> {
        let transports = self.transports.get(user)?;
        let seat = self.seat_of(user).filter(|_| transports.has(kind))?;
        Some((seat, self.at(seat)?.flags))
    }

    pub(super) fn media_changed(&mut self, news: MediaNews) {
        if self.seat_of(&news.user).is_none() {
            return;
        }
        let source = (news.user, news.kind);
        match news.status {
            Some(status) => {
                self.media.sources.insert(source, status);
            }
            None => {
                self.media.sources.remove(&source);
            }
        }
    }

    /// SEATS row 15: `seat.media` where a track is otherwise than told last. A source that is gone is off, unless its
    /// person is off the seat or held, which is told otherwise.
    pub(super) fn tell_media(&mut self, now: Instant) {
        let mut current = BTreeMap::new();
        for source in self.media.sources.keys() {
            if let (Some((seat, flags)), Some(status)) =
                (self.publishing(&source.0, source.1), self.media.sources.get(source))
            {
                let audio = track(flags.audio_locked, flags.audio_muted, status.audio);
                let video = track(flags.video_locked, flags.video_muted, status.video);
                current.insert(source.clone(), (seat, audio, video));
            }
        }
        let told = std::mem::take(&mut self.media.told);
        for (source, (seat, audio, video)) in &current {
            if told.get(source).copied().unwrap_or_default() != (*audio, *video) {
                self.tell_track(*seat, source.1, *audio, *video);
            }
        }
        for (source, states) in &told {
            let up = self.transports.contains_key(&source.0);
            if let Some(seat) = self.seat_of(&source.0).filter(|_| up)
                && !current.contains_key(source)
                && *states != Default::default()
            {
                self.tell_track(seat, source.1, TrackState::Off, TrackState::Off);
            }
        }
        let told = current
            .into_iter()
            .map(|(source, (_, audio, video))| (source, (audio, video)));
        self.media.told = told.collect();
        self.publish(now);
    }

    fn tell_track(&mut self, seat: SeatIndex, kind: SourceKind, audio: TrackState, video: TrackState) {
        self.tell_all(Event::SeatMedia {
            seat,
            kind,
            audio,
            video,
        });
    }

    /// How loud it is on the seats, where that is measured: not where nothing may be heard.
    pub(super) fn voices(&self) -> BTreeMap<SeatIndex, Voice> {
        let measured = self.voices.levels.iter().filter_map(|(user, level)| {
            let voice = Voice {
                level: *level,
                speaking: self.voices.heard.contains_key(user),
            };
            Some((self.audible(user)?, voice))
        });
        measured.collect()
    }

    /// Their seat while a transport of theirs is up and may be heard.
    fn audible(&self, user: &UserId) -> Option<SeatIndex> {
        let index = self.seat_of(user).filter(|_| self.transports.contains_key(user))?;
        let flags = self.at(index)?.flags;
        (!flags.audio_locked && !flags.audio_muted).then_some(index)
    }

    pub(super) fn hear(&mut self, levels: BTreeMap<UserId, i8>, now: Instant) {
        let seated = levels.into_iter().filter(|(user, _)| self.seat_of(user).is_some());
        let levels: BTreeMap<UserId, i8> = seated.collect();
        for (user, level) in levels.iter().filter(|(_, level)| **level > VOICE_DBOV) {
            let heard = Heard {
                level: *level,
                until: None,
            };
            self.voices.heard.insert(user.clone(), heard);
        }
        for (user, heard) in &mut self.voices.heard {
            match levels.get(user) {
                Some(level) if *level > VOICE_DBOV => {}
                Some(level) if *level > SILENT_DBOV => heard.until = heard.until.or(Some(now + HANGOVER)),
                _ => heard.until = Some(now),
            }
        }
        self.voices.levels = levels;
    }

    /// `speaking`, when somebody else is heard, or otherwise loud, than was told last.
    pub(super) fn tell_speaking(&mut self, now: Instant) {
        let lasts = |heard: &Heard| heard.until.is_none_or(|until| until > now);
        self.voices.heard.retain(|_, heard| lasts(heard));
        let heard = self.voices.heard.iter();
        let heard = heard.filter_map(|(user, heard)| Some((self.audible(user)?, heard.level)));
        let mut seats: Vec<(SeatIndex, i8)> = heard.collect();
        seats.sort_by_key(|(seat, level)| (Reverse(*level), *seat));
        let may_tell = self.voices.told_at.map_or(now, |at| at + SPEAKING_INTERVAL);
        if self.phase != Phase::Ended && seats != self.voices.told && may_tell <= now {
            self.voices.told = seats.clone();
            self.voices.told_at = Some(now);
            self.tell_all(Event::Speaking { seats: seats.clone() });
            self.publish(now);
        }
        let silent = self.voices.heard.values().filter_map(|heard| heard.until).min();
        let next = if seats == self.voices.told {
            silent
        } else {
            Some(may_tell)
        };
        let not_before = self.voices.told_at.map(|at| at + SPEAKING_INTERVAL);
        self.voices.due = next.max(next.and(not_before)).filter(|_| self.phase != Phase::Ended);
    }
}

fn track(locked: bool, muted: bool, flows: bool) -> TrackState {
    match (locked, muted, flows) {
        (true, ..) => TrackState::Locked,
        (_, true, _) => TrackState::Muted,
        (.., true) => TrackState::On,
        _ => TrackState::Off,
    }
}
