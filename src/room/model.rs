//! A second room, written from the specification alone, to hold the machine against: plain lists, nothing kept that can
//! be looked for, no thought of speed. What changed is found by comparing the room before a step with the room after
//! it: `seats.changed`, `member.*`, `seat.media` and the version follow from that, not from the code of each command.
//!
//! Where several refusals fit a command, the specification does not say which comes first: the model names them all.
//! Only permission goes before everything else, so that nobody learns from a refusal what they may not know.

mod asking;
mod seating;
mod telling;
mod time;
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
            request: None,
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
            program_off: false,
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
            voices: BTreeMap::new(),
            requests,
            hosts: self.hosts(),
            audience: 0,
            canvas: self.settings.program.video.size,
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
