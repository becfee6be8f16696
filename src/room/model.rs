//! A second room, written from the specification alone, to hold the machine against: plain lists, nothing kept that can
//! be looked for, no thought of speed. What changed is found by comparing the room before a step with the room after
//! it: `seats.changed`, `member.*`, `seat.media` and the version follow from that, not from the code of each command.
//!
//! Where several refusals fit a command, the specification does not say which comes first: the model names them all.
//! Only permission goes before everything else, so that nobody learns from a refusal what they may not know.

mod asking;
mod seating;
pub(super) mod twin;

use super::event::{ClosedReason, Departure, EndReason, Event, MemberLeftReason, Movement, Recipients, TrackState};
use super::*;
use crate::forward::{Permission, SeatIndex, SourceKind};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

const SEATS: u8 = 16;
const SECOND: Duration = Duration::from_secs(1);

/// What a command led to, or every code that would be a right refusal.
pub(super) type Answer = Result<Outcome, Vec<Code>>;

/// One event, whom it is due, and who caused it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Told {
    pub event: Event,
    pub to: Recipients,
    pub actor: Option<UserId>,
}

/// Somebody with an event stream, or without one for less than ten seconds, or gone while seated.
#[derive(Clone, Debug, PartialEq)]
struct Here {
    person: Person,
    role: Role,
    since: Instant,
    lost_at: Option<Instant>,
    gone: bool,
}

/// A request and, once it is final, since when.
#[derive(Clone, Debug, PartialEq)]
struct Asked {
    request: Request,
    ended_at: Option<Instant>,
}

/// Everything a command or a timer may change and a restart keeps.
#[derive(Clone, Debug, PartialEq)]
struct Kept {
    phase: Phase,
    settings: Settings,
    seats: Vec<Seat>,
    pending: Vec<Request>,
    finished: usize,
    admins: BTreeSet<UserId>,
    bans: BTreeMap<UserId, Instant>,
}

#[derive(Clone, Debug)]
pub(super) struct Model {
    pub id: RoomId,
    pub epoch: u64,
    pub version: u64,
    phase: Phase,
    settings: Settings,
    allowed: u8,
    seats: Vec<Seat>,
    /// Each transport that is up.
    transports: Vec<(UserId, SourceKind)>,
    sources: BTreeMap<(UserId, SourceKind), SourceStatus>,
    members: BTreeMap<UserId, Here>,
    /// Granted in the room.
    admins: BTreeSet<UserId>,
    bans: BTreeMap<UserId, Instant>,
    requests: Vec<Asked>,
    asked: u64,
    /// Each application, for the rate.
    applied: Vec<(UserId, Instant)>,
    cooldowns: BTreeMap<UserId, Instant>,
    /// Who was in the room with a pending request when the room was last stored.
    awaited: BTreeSet<UserId>,
    viewers: usize,
    /// Those of them who are no members.
    strangers: usize,
    capacity: bool,
    unused_since: Option<Instant>,
    told: Vec<Told>,
    /// Of the step under way: why people left seats, and who asked for it.
    reasons: BTreeMap<UserId, LeaveReason>,
    member_reasons: BTreeMap<UserId, MemberLeftReason>,
    actor: Option<UserId>,
}

/// What time brings.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Seat(SeatIndex),
    Request(RequestId),
    Gone(UserId),
    Empty,
}

impl Model {
    pub fn new(id: RoomId, epoch: u64, settings: Settings, allowed: u8, now: Instant) -> Self {
        let empty = Seat {
            occupancy: Occupancy::Empty,
            flags: SeatFlags::default(),
        };
        let mut seats = vec![empty; usize::from(SEATS)];
        seats[0].occupancy = Occupancy::Reserved {
            person: settings.host.clone(),
            until: None,
        };
        Model {
            id,
            epoch,
            version: 1,
            phase: Phase::Idle,
            settings,
            allowed,
            seats,
            transports: Vec::new(),
            sources: BTreeMap::new(),
            members: BTreeMap::new(),
            admins: BTreeSet::new(),
            bans: BTreeMap::new(),
            requests: Vec::new(),
            asked: 0,
            applied: Vec::new(),
            cooldowns: BTreeMap::new(),
            awaited: BTreeSet::new(),
            viewers: 0,
            strangers: 0,
            capacity: true,
            unused_since: Some(now),
            told: Vec::new(),
            reasons: BTreeMap::new(),
            member_reasons: BTreeMap::new(),
            actor: None,
        }
    }

    pub fn command(&mut self, by: &Principal, command: &Command, now: Instant) -> Answer {
        self.pass(now);
        if self.phase == Phase::Ended {
            return Err(vec![Code::RoomEnded]);
        }
        let by = &Principal {
            person: self.known(&by.person),
            role: by.role,
        };
        let answer = self.step(Some(&by.person.user), now, |room| room.obey(by, command, now));
        self.pass(now);
        answer
    }

    pub fn transport(&mut self, news: &TransportNews, now: Instant) {
        self.pass(now);
        if self.phase == Phase::Ended {
            return;
        }
        self.step(None, now, |room| match news {
            TransportNews::Up { user, kind } => room.connect(user, *kind, now),
            TransportNews::Lost { user, kind } => room.disconnect(user, *kind, now),
        });
        self.pass(now);
    }

    pub fn presence(&mut self, news: &PresenceNews, now: Instant) {
        self.pass(now);
        if self.phase == Phase::Ended {
            return;
        }
        self.step(None, now, |room| match news {
            PresenceNews::Joined { person, role } => room.come(person, *role, now),
            PresenceNews::Lost { user } => {
                if let Some(here) = room.members.get_mut(user) {
                    here.lost_at = here.lost_at.or(Some(now));
                }
            }
        });
        self.pass(now);
    }

    pub fn media(&mut self, news: &MediaNews, now: Instant) {
        self.pass(now);
        self.step(None, now, |room| {
            if room.seat_of(&news.user).is_none() || room.phase == Phase::Ended {
                return;
            }
            let source = (news.user.clone(), news.kind);
            match &news.status {
                Some(status) => room.sources.insert(source, status.clone()),
                None => room.sources.remove(&source),
            };
        });
    }

    pub fn audience(&mut self, viewers: usize, strangers: usize, now: Instant) {
        self.pass(now);
        self.viewers = viewers;
        self.strangers = strangers;
        self.note_use(now);
    }

    pub fn capacity(&mut self, available: bool) {
        self.capacity = available;
    }

    /// The store has the room as it is now.
    pub fn stored(&mut self) {
        let asking = self.requests.iter().filter(|asked| asked.ended_at.is_none());
        let asking = asking.map(|asked| asked.request.guest.user.clone());
        self.awaited = asking.filter(|user| self.inside(user)).collect();
    }

    /// The process ended and another one took the room up: whoever was on the air is held, streams are gone, finished
    /// requests are forgotten.
    pub fn restart(&mut self, epoch: u64, now: Instant) {
        self.epoch = epoch;
        self.asked = 0;
        self.transports.clear();
        self.sources.clear();
        self.members.clear();
        self.capacity = true;
        self.viewers = 0;
        self.strangers = 0;
        self.told.clear();
        self.requests.retain(|asked| asked.ended_at.is_none());
        let grace = self.limit(self.settings.policies.grace_ms, now);
        let host_away = self.limit(self.settings.policies.host_away_ms, now);
        let on_air = |seat: &Seat| matches!(seat.occupancy, Occupancy::Occupied { .. });
        if self.seats.iter().any(on_air) {
            self.version += 1;
        }
        for (index, seat) in self.seats.iter_mut().enumerate() {
            if let Occupancy::Occupied { person, .. } = &seat.occupancy {
                seat.occupancy = Occupancy::Held {
                    person: person.clone(),
                    until: if index == 0 { host_away } else { grace },
                };
            }
        }
        if self.phase == Phase::Live {
            self.phase = Phase::HostAway;
        }
        for user in std::mem::take(&mut self.awaited) {
            let mut waiting = self.requests.iter().map(|asked| &asked.request.guest);
            let person = waiting.find(|guest| guest.user == user).cloned();
            let here = Here {
                person: person.expect("they asked for something"),
                role: Role::Member,
                since: now,
                lost_at: Some(now),
                gone: false,
            };
            self.members.insert(user, here);
        }
        self.unused_since = None;
        self.note_use(now);
        self.pass(now);
    }

    /// Everything due at `now` happens, earliest first.
    pub fn pass(&mut self, now: Instant) {
        while let Some((_, due)) = self.dues().into_iter().filter(|(at, _)| *at <= now).min() {
            self.step(None, now, |room| room.happen(due, now));
        }
    }

    /// When something is due next.
    pub fn due(&self) -> Option<Instant> {
        self.dues().into_iter().map(|(at, _)| at).min()
    }

    pub fn told(&mut self) -> Vec<Told> {
        std::mem::take(&mut self.told)
    }
}

/// Reading.
impl Model {
    pub fn requests(&self, kind: RequestKind) -> Vec<Request> {
        let pending = self.requests.iter().map(|asked| &asked.request);
        let pending = pending.filter(|request| request.state == RequestState::Pending && request.kind == kind);
        pending.cloned().collect()
    }

    pub fn members(&self) -> Vec<Member> {
        let members = self.members.iter().map(|(user, here)| Member {
            person: here.person.clone(),
            role: self.role(user),
            presence: match (here.gone, here.lost_at) {
                (true, _) => Presence::Gone,
                (false, Some(_)) => Presence::Suspended,
                (false, None) => Presence::Online,
            },
            joined_at: here.since,
            seat: self.seat_of(user),
        });
        members.collect()
    }

    pub fn desired(&self) -> Desired {
        let mut seats = BTreeMap::new();
        for (index, seat) in self.guests_and_host() {
            let Some(person) = seat.occupancy.person().filter(|_| self.phase != Phase::Ended) else {
                continue;
            };
            let permission = Permission {
                audio: !(seat.flags.audio_locked || seat.flags.audio_muted),
                video: !(seat.flags.video_locked || seat.flags.video_muted),
            };
            seats.insert(person.user.clone(), (index, permission));
        }
        Desired {
            seats,
            ended: self.phase == Phase::Ended,
        }
    }

    pub fn snapshot(&self, now: Instant) -> Snapshot {
        let mut requests = self.requests(RequestKind::Application);
        requests.extend(self.requests(RequestKind::Invitation));
        requests.sort_by_key(|request| request.id);
        Snapshot {
            id: self.id.clone(),
            epoch: self.epoch,
            version: self.version,
            seq: 0,
            phase: self.phase,
            settings: self.settings.clone(),
            seats: self.shown(),
            sources: self.shown_sources(),
            requests,
            hosts: self.hosts(),
            now,
        }
    }

    /// How many are here, in all.
    pub fn count(&self) -> u64 {
        let online = self.members.values().filter(|here| here.lost_at.is_none());
        u64::try_from(online.count() + self.strangers).unwrap()
    }

    /// Whether this caller's stream may open.
    pub fn may_enter(&self, by: &Principal, now: Instant) -> Result<(), Code> {
        if self.phase == Phase::Ended {
            return Err(Code::RoomEnded);
        }
        if by.role != Role::Service && self.bans.get(&by.person.user).is_some_and(|until| *until > now) {
            return Err(Code::Banned);
        }
        Ok(())
    }

    /// The seats a reader sees: 0 to `max_guests`, and beyond while somebody is left there.
    fn shown(&self) -> Vec<Seat> {
        let mut seats = self.seats.clone();
        while seats.len() > usize::from(self.settings.max_guests) + 1
            && seats.last().is_some_and(|seat| seat.occupancy == Occupancy::Empty)
        {
            seats.pop();
        }
        seats
    }

    fn shown_sources(&self) -> BTreeMap<(SeatIndex, SourceKind), SourceStatus> {
        let flowing = self.flowing().into_iter().map(|((user, kind), status)| {
            let seat = self.seat_of(&user).expect("they sit somewhere");
            let flags = self.seats[usize::from(seat.0)].flags;
            let status = SourceStatus {
                audio: status.audio && !(flags.audio_locked || flags.audio_muted),
                video: status.video && !(flags.video_locked || flags.video_muted),
                ..status
            };
            ((seat, kind), status)
        });
        flowing.collect()
    }

    fn guests_and_host(&self) -> impl Iterator<Item = (SeatIndex, &Seat)> {
        (0..SEATS).map(SeatIndex).zip(&self.seats)
    }

    fn seat_of(&self, user: &UserId) -> Option<SeatIndex> {
        let mut seats = self.guests_and_host();
        seats
            .find(|(_, seat)| seat.occupancy.person().is_some_and(|person| person.user == *user))
            .map(|(index, _)| index)
    }

    fn occupant(&self, index: SeatIndex) -> Option<UserId> {
        let seat = self.seats.get(usize::from(index.0))?;
        seat.occupancy.person().map(|person| person.user.clone())
    }

    fn guests(&self) -> usize {
        let guests = self.seats.iter().skip(1);
        guests.filter(|seat| seat.occupancy != Occupancy::Empty).count()
    }

    fn external(&self) -> bool {
        self.settings.seat_mode == SeatMode::External
    }

    fn limit(&self, ms: u64, now: Instant) -> Option<Instant> {
        if self.external() {
            return None;
        }
        Some(now + Duration::from_millis(ms))
    }

    /// In the room: with a stream, or lost so short a while ago that it may come back.
    fn inside(&self, user: &UserId) -> bool {
        self.members.get(user).is_some_and(|here| !here.gone)
    }

    fn role(&self, user: &UserId) -> MemberRole {
        let token = self.members.get(user).map(|here| here.role);
        if *user == self.settings.host.user {
            MemberRole::Host
        } else if self.admins.contains(user) || matches!(token, Some(Role::Admin | Role::Host)) {
            MemberRole::Admin
        } else {
            MemberRole::Member
        }
    }

    fn is_admin(&self, user: &UserId) -> bool {
        self.role(user) == MemberRole::Admin
    }

    fn hosts(&self) -> BTreeSet<UserId> {
        let here = self.members.keys().filter(|user| self.is_admin(user));
        let mut hosts: BTreeSet<UserId> = here.chain(&self.admins).cloned().collect();
        hosts.insert(self.settings.host.user.clone());
        hosts
    }
}

/// Telling.
impl Model {
    fn step<R>(&mut self, actor: Option<&UserId>, now: Instant, change: impl FnOnce(&mut Self) -> R) -> R {
        self.actor = actor.cloned();
        self.reasons.clear();
        self.member_reasons.clear();
        let before = self.clone();
        let result = change(self);
        // Whoever is gone is listed as long as they are seated.
        let seats = self.seats.iter().filter_map(|seat| seat.occupancy.person());
        let seated: BTreeSet<UserId> = seats.map(|person| person.user.clone()).collect();
        for (user, here) in &self.members {
            if here.gone && !seated.contains(user) {
                let reason = MemberLeftReason::Disconnected;
                self.member_reasons.entry(user.clone()).or_insert(reason);
            }
        }
        self.members.retain(|user, here| !here.gone || seated.contains(user));
        self.tell_seats(&before);
        self.tell_members(&before);
        self.tell_media(&before);
        if self.kept() != before.kept() {
            self.version += 1;
        }
        self.note_use(now);
        result
    }

    fn kept(&self) -> Kept {
        let pending = self.requests.iter().map(|asked| asked.request.clone());
        Kept {
            phase: self.phase,
            settings: self.settings.clone(),
            seats: self.seats.clone(),
            pending: pending
                .filter(|request| request.state == RequestState::Pending)
                .collect(),
            finished: self.requests.iter().filter(|asked| asked.ended_at.is_some()).count(),
            admins: self.admins.clone(),
            bans: self.bans.clone(),
        }
    }

    fn tell(&mut self, to: Recipients, event: Event) {
        let actor = self.actor.clone();
        self.told.push(Told { event, to, actor });
    }

    fn tell_all(&mut self, event: Event) {
        self.tell(Recipients::Everybody, event);
    }

    fn tell_one(&mut self, user: &UserId, event: Event) {
        self.tell(Recipients::Users(Arc::new(BTreeSet::from([user.clone()]))), event);
    }

    fn tell_hosts(&mut self, event: Event) {
        self.tell(Recipients::Users(Arc::new(self.hosts())), event);
    }

    /// The hosts who did not do it themselves.
    fn tell_other_hosts(&mut self, by: &UserId, event: Event) {
        let mut others = self.hosts();
        others.remove(by);
        if !others.is_empty() {
            self.tell(Recipients::Users(Arc::new(others)), event);
        }
    }

    fn tell_seats(&mut self, before: &Model) {
        let mut joined = Vec::new();
        let mut left = Vec::new();
        let mut moved = Vec::new();
        for (seat, now) in self.guests_and_host() {
            let Some(person) = now.occupancy.person().cloned() else {
                continue;
            };
            match before.seat_of(&person.user) {
                None => joined.push((seat, person)),
                Some(from) if from != seat => moved.push(Movement { from, to: seat, person }),
                Some(_) => {}
            }
        }
        for (seat, was) in before.guests_and_host() {
            let Some(person) = was.occupancy.person().cloned() else {
                continue;
            };
            if self.seat_of(&person.user).is_none() {
                let reason = self.reasons.get(&person.user).copied();
                let reason = reason.expect("whoever is off a seat is so for a reason");
                left.push(Departure { seat, person, reason });
            }
        }
        let people = |room: &Model| -> BTreeSet<(UserId, Option<String>, Option<String>)> {
            let seats = room.seats.iter().filter_map(|seat| seat.occupancy.person().cloned());
            seats
                .map(|person| (person.user, person.name, person.avatar_url))
                .collect()
        };
        // Somebody is called otherwise now, or sits elsewhere.
        let renamed = people(self) != people(before);
        if renamed || !moved.is_empty() {
            self.tell_all(Event::SeatsChanged {
                seats: self.shown().into(),
                sources: Arc::new(self.shown_sources()),
                joined,
                left,
                moved,
            });
        }
    }

    fn tell_members(&mut self, before: &Model) {
        let were: BTreeMap<UserId, Member> = before
            .members()
            .into_iter()
            .map(|m| (m.person.user.clone(), m))
            .collect();
        let are: BTreeMap<UserId, Member> = self.members().into_iter().map(|m| (m.person.user.clone(), m)).collect();
        for (user, member) in &are {
            let member = member.clone();
            match were.get(user) {
                None => self.tell_hosts(Event::MemberJoined { member }),
                Some(was) if *was != member => self.tell_hosts(Event::MemberUpdated { member }),
                Some(_) => {}
            }
        }
        for (user, member) in were {
            if !are.contains_key(&user) {
                let reason = self.member_reasons.get(&user).copied();
                let reason = reason.expect("whoever leaves does so for a reason");
                self.tell_hosts(Event::MemberLeft { member, reason });
            }
        }
    }

    /// Sources of the seated that have a transport.
    fn flowing(&self) -> BTreeMap<(UserId, SourceKind), SourceStatus> {
        let mut flowing = self.sources.clone();
        flowing.retain(|source, _| self.transports.contains(source) && self.seat_of(&source.0).is_some());
        flowing
    }

    fn tracks(&self) -> BTreeMap<(UserId, SourceKind), (TrackState, TrackState)> {
        let tracks = self.flowing().into_iter().map(|(source, status)| {
            let seat = self.seat_of(&source.0).expect("they sit somewhere");
            let flags = self.seats[usize::from(seat.0)].flags;
            let state = |locked: bool, muted: bool, flows: bool| match (locked, muted, flows) {
                (true, _, _) => TrackState::Locked,
                (_, true, _) => TrackState::Muted,
                (_, _, true) => TrackState::On,
                _ => TrackState::Off,
            };
            let audio = state(flags.audio_locked, flags.audio_muted, status.audio);
            let video = state(flags.video_locked, flags.video_muted, status.video);
            (source, (audio, video))
        });
        tracks.collect()
    }

    /// A source that is gone is off, unless its person is off the air, which is told otherwise.
    fn tell_media(&mut self, before: &Model) {
        let off = (TrackState::Off, TrackState::Off);
        let (were, are) = (before.tracks(), self.tracks());
        let sources: BTreeSet<_> = were.keys().chain(are.keys()).cloned().collect();
        for source in sources {
            let (was, is) = (were.get(&source), are.get(&source));
            let (user, kind) = source;
            let up = self.transports.iter().any(|(up, _)| *up == user);
            let Some(seat) = self.seat_of(&user).filter(|_| up) else {
                continue;
            };
            let (audio, video) = is.copied().unwrap_or(off);
            if was.copied().unwrap_or(off) != (audio, video) {
                self.tell_all(Event::SeatMedia {
                    seat,
                    kind,
                    audio,
                    video,
                });
            }
        }
    }
}

/// Time, transports and people.
impl Model {
    fn dues(&self) -> Vec<(Instant, Due)> {
        let mut dues = Vec::new();
        if self.phase == Phase::Ended {
            return dues;
        }
        for (index, seat) in self.guests_and_host() {
            dues.extend(seat.occupancy.until().map(|at| (at, Due::Seat(index))));
        }
        for asked in self.requests.iter().filter(|asked| asked.ended_at.is_none()) {
            dues.push((asked.request.expires_at, Due::Request(asked.request.id)));
        }
        for (user, here) in self.members.iter().filter(|(_, here)| !here.gone) {
            dues.extend(here.lost_at.map(|at| (at + 10 * SECOND, Due::Gone(user.clone()))));
        }
        let empty_ms = self.settings.policies.empty_room_ms;
        let unused = self.unused_since.filter(|_| empty_ms > 0);
        dues.extend(unused.map(|since| (since + Duration::from_millis(empty_ms), Due::Empty)));
        dues
    }

    fn happen(&mut self, due: Due, now: Instant) {
        match due {
            Due::Seat(SeatIndex(0)) => self.miss_host(now),
            Due::Seat(index) => {
                let held = matches!(self.seats[usize::from(index.0)].occupancy, Occupancy::Held { .. });
                let reason = if held {
                    LeaveReason::Disconnected
                } else {
                    LeaveReason::MediaTimeout
                };
                self.kick(index, reason, None);
            }
            Due::Request(id) => self.expire(id, now),
            Due::Gone(user) => {
                self.finish_of(&user, ClosedReason::Left, now);
                if let Some(here) = self.members.get_mut(&user) {
                    here.gone = true;
                }
            }
            Due::Empty => self.end(EndReason::Empty, now),
        }
    }

    fn note_use(&mut self, now: Instant) {
        let online = self.members.values().any(|here| here.lost_at.is_none());
        let used = online || self.viewers > 0 || !self.transports.is_empty();
        if used {
            self.unused_since = None;
        } else {
            self.unused_since = self.unused_since.or(Some(now));
        }
    }

    fn come(&mut self, person: &Person, role: Role, now: Instant) {
        let since = self
            .members
            .get(&person.user)
            .filter(|here| !here.gone)
            .map(|here| here.since);
        let here = Here {
            person: person.clone(),
            role,
            since: since.unwrap_or(now),
            lost_at: None,
            gone: false,
        };
        self.members.insert(person.user.clone(), here);
    }

    fn connect(&mut self, user: &UserId, kind: SourceKind, now: Instant) {
        let Some(index) = self.seat_of(user) else { return };
        self.transports.push((user.clone(), kind));
        let seat = &mut self.seats[usize::from(index.0)];
        let resumed = matches!(seat.occupancy, Occupancy::Held { .. });
        if matches!(seat.occupancy, Occupancy::Occupied { .. }) {
            return;
        }
        let person = seat.occupancy.person().cloned().expect("they sit here");
        seat.occupancy = Occupancy::Occupied {
            person: person.clone(),
            since: now,
        };
        self.tell_all(Event::SeatConnected {
            seat: index,
            person: person.clone(),
            resumed,
        });
        if index == HOST_SEAT {
            let back = self.phase == Phase::HostAway;
            self.phase = Phase::Live;
            if back {
                self.tell_all(Event::HostBack { host: person });
            } else {
                self.tell_room();
            }
        }
    }

    fn disconnect(&mut self, user: &UserId, kind: SourceKind, now: Instant) {
        let Some(at) = self.transports.iter().position(|up| *up == (user.clone(), kind)) else {
            // None of this source was up: what was heard of it is as old, if theirs is heard of at all.
            if self.transports.iter().any(|(up, _)| up == user) {
                self.sources.remove(&(user.clone(), kind));
            }
            return;
        };
        self.transports.remove(at);
        if !self.transports.contains(&(user.clone(), kind)) {
            self.sources.remove(&(user.clone(), kind));
        }
        if self.transports.iter().any(|(up, _)| up == user) {
            return;
        }
        self.sources.retain(|(of, _), _| of != user);
        let Some(index) = self.seat_of(user) else { return };
        let policies = &self.settings.policies;
        let wait_ms = if index == HOST_SEAT {
            policies.host_away_ms
        } else {
            policies.grace_ms
        };
        let until = self.limit(wait_ms, now);
        let seat = &mut self.seats[usize::from(index.0)];
        let person = seat.occupancy.person().cloned().expect("they sit here");
        seat.occupancy = Occupancy::Held {
            person: person.clone(),
            until,
        };
        self.tell_all(Event::SeatSuspended {
            seat: index,
            person: person.clone(),
            until,
        });
        if index == HOST_SEAT {
            self.phase = Phase::HostAway;
            self.tell_all(Event::HostAway { host: person, until });
        }
    }

    /// The host was away too long.
    fn miss_host(&mut self, now: Instant) {
        let online = self.members.iter().filter(|(_, here)| here.lost_at.is_none());
        let mut admins: Vec<_> = online
            .filter(|(user, _)| self.is_admin(user))
            .map(|(user, here)| (here.since, user.clone()))
            .collect();
        admins.sort();
        let promote = self.settings.policies.host_away == HostAwayPolicy::PromoteAdmin;
        let Some((_, user)) = admins.into_iter().next().filter(|_| promote) else {
            return self.end(EndReason::HostAway, now);
        };
        let previous = self.settings.host.clone();
        let running = self.transports.iter().any(|(up, _)| *up == user);
        self.vacate(HOST_SEAT, LeaveReason::Disconnected);
        let picked = self.seat_of(&user).map(|from| self.lift(from));
        // As the seat knows them, if they have one.
        let seated = picked.as_ref().and_then(|seat| seat.occupancy.person().cloned());
        let host = seated.unwrap_or_else(|| self.members[&user].person.clone());
        self.settings.host = host.clone();
        if let Some(picked) = picked {
            self.put(HOST_SEAT, picked);
        }
        if !running {
            self.seats[0].occupancy = Occupancy::Reserved {
                person: host.clone(),
                until: None,
            };
            self.tell_one(
                &user,
                Event::SeatGranted {
                    seat: HOST_SEAT,
                    connect_by: None,
                    media: RequestMedia::Av,
                },
            );
        }
        self.finish_of_seated(&user, now);
        self.phase = if running { Phase::Live } else { Phase::Idle };
        self.tell_all(Event::HostChanged { host, previous });
        self.tell_room();
    }

    fn tell_room(&mut self) {
        let (phase, max_guests) = (self.phase, self.settings.max_guests);
        self.tell_all(Event::RoomUpdated { phase, max_guests });
    }

    fn end(&mut self, reason: EndReason, now: Instant) {
        for index in (1..SEATS).map(SeatIndex) {
            self.vacate(index, LeaveReason::RoomEnded);
        }
        self.finish_all(ClosedReason::RoomEnded, now);
        self.seats[0].occupancy = Occupancy::Reserved {
            person: self.settings.host.clone(),
            until: None,
        };
        self.phase = Phase::Ended;
        self.transports.clear();
        self.sources.clear();
        self.tell_all(Event::RoomEnded { reason });
    }

    /// Empties a seat for good.
    fn vacate(&mut self, index: SeatIndex, reason: LeaveReason) -> Option<UserId> {
        let user = self.occupant(index)?;
        self.lift(index);
        self.transports.retain(|(up, _)| *up != user);
        self.sources.retain(|(of, _), _| *of != user);
        self.reasons.insert(user.clone(), reason);
        Some(user)
    }

    /// Takes whoever sits there up, with the mutes, which are theirs.
    fn lift(&mut self, index: SeatIndex) -> Seat {
        let seat = &mut self.seats[usize::from(index.0)];
        let lifted = seat.clone();
        seat.occupancy = Occupancy::Empty;
        seat.flags.audio_muted = false;
        seat.flags.video_muted = false;
        lifted
    }

    fn put(&mut self, index: SeatIndex, lifted: Seat) {
        let seat = &mut self.seats[usize::from(index.0)];
        seat.occupancy = lifted.occupancy;
        seat.flags.audio_muted = lifted.flags.audio_muted;
        seat.flags.video_muted = lifted.flags.video_muted;
    }
}
