//! One room: its state, what moves it besides seat commands (settings, transports, time), and what is read from it.

mod invariants;

use super::event::EndReason;
use super::notices::Draft;
use super::rules::{self, Action, Standing};
use super::settings::{self, SEATS};
use super::*;
use crate::forward::{Permission, SeatIndex, SourceKind};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

/// What somebody wants of a room.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    Update(SettingsPatch),
    End,
    /// `PUT seats/{n}`.
    Seat {
        seat: SeatIndex,
        person: Person,
        if_version: Option<u64>,
    },
    /// `DELETE seats/{n}`: kick, or leave when it is one's own.
    Unseat {
        seat: SeatIndex,
        user: Option<UserId>,
        reason: Option<String>,
        if_version: Option<u64>,
    },
    /// `DELETE seats/me` and `DELETE members/{user}/seat`.
    UnseatUser {
        user: UserId,
        reason: Option<String>,
    },
    /// `PATCH seats/{n}`.
    SetFlags {
        seat: SeatIndex,
        patch: SeatFlagsPatch,
    },
    /// `PUT seats`: the complete assignment of guests in one step.
    Assign {
        seats: BTreeMap<SeatIndex, Option<Person>>,
        if_version: Option<u64>,
    },
    /// `POST applications`; `user`: a service key on somebody's behalf, else absent.
    Apply {
        user: Option<Person>,
        wish: Wish,
    },
    /// `DELETE applications/{user}`
    CancelApplication {
        user: UserId,
    },
    /// `POST applications/{user}/accept`; `seat`: another than applied for.
    AcceptApplication {
        user: UserId,
        seat: Option<SeatIndex>,
        request: Option<RequestId>,
    },
    /// `POST applications/{user}/reject`
    RejectApplication {
        user: UserId,
        reason: Option<String>,
        request: Option<RequestId>,
    },
    /// `POST invitations`
    Invite {
        user: Person,
        wish: Wish,
    },
    /// `DELETE invitations/{user}`
    CancelInvitation {
        user: UserId,
    },
    /// `POST invitations/me/accept`
    AcceptInvitation {
        request: Option<RequestId>,
    },
    /// `POST invitations/me/reject`
    RejectInvitation {
        reason: Option<String>,
        request: Option<RequestId>,
    },
    /// `POST seats/{n}/move`; `user`: only if it is they who sit there.
    Move {
        from: SeatIndex,
        to: SeatIndex,
        policy: MovePolicy,
        user: Option<UserId>,
        if_version: Option<u64>,
    },
    /// `POST seats/{n}/ask`
    Ask {
        seat: SeatIndex,
        audio: bool,
        video: bool,
    },
    /// `PATCH members/{user}`: [`MemberRole::Host`] is refused.
    GrantRole {
        user: UserId,
        role: MemberRole,
    },
    /// `DELETE members/{user}`: remove, or leave when it is oneself.
    RemoveMember {
        user: UserId,
        ban: Option<Duration>,
        reason: Option<String>,
    },
}

/// What a command led to.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Nothing but what the room shows.
    Done,
    /// An application or invitation stands, or led to a seat at once.
    Asked {
        request: Request,
        /// It stood already.
        deduplicated: bool,
        /// Both sides wanted it: the other's request was accepted.
        matched: bool,
        granted: Option<Granted>,
    },
    /// A request was answered or withdrawn.
    Answered {
        request: Request,
        granted: Option<Granted>,
        /// Somebody was quicker, to the same effect.
        already_processed_by: Option<Person>,
    },
    Seated(Granted),
}

/// Event streams coming and going.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PresenceNews {
    /// The first stream of this user is open, or a newer one with another name or role.
    Joined { person: Person, role: Role },
    /// Their last stream is gone; it was not they who left.
    Lost { user: UserId },
}

/// What flows of a seated user's source now.
#[derive(Clone, Debug, PartialEq)]
pub struct MediaNews {
    pub user: UserId,
    pub kind: SourceKind,
    /// `None`: the source has no transport any more.
    pub status: Option<SourceStatus>,
}

/// What the transports of a seated user did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransportNews {
    Up { user: UserId, kind: SourceKind },
    Lost { user: UserId, kind: SourceKind },
}

#[derive(Clone, Debug, PartialEq)]
pub struct Committed {
    pub version: u64,
    /// `false`: the room was already so; the version did not move.
    pub changed: bool,
    pub outcome: Outcome,
}

/// Who may publish, from which seat, and what of it may flow: all the media side has to know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Desired {
    pub seats: BTreeMap<UserId, (SeatIndex, Permission)>,
    pub ended: bool,
}

/// The host's.
pub const HOST_SEAT: SeatIndex = SeatIndex(0);

/// Admins remembered by their commands; above it those without a seat are forgotten, who only lose their protection
/// from being kicked by other admins until they next give a command.
const ADMINS_MAX: usize = 256;

/// Running cooldowns. Each takes a host's command against a seated person, so more than this within one cooldown's
/// length is no live show; above it the one that ends first is forgotten.
const COOLDOWNS_MAX: usize = 1_024;

/// How many transports of one user are up, by source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Transports {
    camera: u32,
    screen: u32,
}

impl Transports {
    fn of(&mut self, kind: SourceKind) -> &mut u32 {
        match kind {
            SourceKind::Camera => &mut self.camera,
            SourceKind::Screen => &mut self.screen,
        }
    }

    fn none(self) -> bool {
        self == Transports::default()
    }
}

/// Why the room wants to be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deadline {
    /// A guest's reservation or grace is over.
    Seat(SeatIndex),
    HostAway,
    EmptyRoom,
}

/// One room. The order in which it commits is the truth.
pub struct Room {
    pub(super) id: RoomId,
    pub(super) epoch: u64,
    pub(super) version: u64,
    pub(super) seq: u64,
    pub(super) phase: Phase,
    created: Settings,
    pub(super) settings: Settings,
    max_guests_allowed: u8,
    /// All there can be: those above `max_guests` are empty, or left over from before it was lowered.
    pub(super) seats: Vec<Seat>,
    /// Seated users with a transport up, and no one else.
    pub(super) transports: BTreeMap<UserId, Transports>,
    pub(super) cooldowns: BTreeMap<UserId, Instant>,
    known_admins: BTreeSet<UserId>,
    pub(super) viewers: usize,
    pub(super) strangers: usize,
    /// `None`: in use.
    empty_since: Option<Instant>,
    /// Who is giving a command.
    pub(super) actor: Option<Person>,
    pub(super) draft: Draft,
    /// To be drained after each `handle_*`: no more than one call has to tell.
    pub(super) notices: VecDeque<Notice>,
}

impl Room {
    /// `max_guests_allowed`: the node's configured limit. Fails with `invalid_argument` naming the field.
    pub fn new(
        id: RoomId,
        epoch: u64,
        settings: Settings,
        max_guests_allowed: u8,
        now: Instant,
    ) -> Result<Self, Refusal> {
        settings::validate(&settings, max_guests_allowed)?;
        let empty = Seat {
            occupancy: Occupancy::Empty,
            flags: SeatFlags::default(),
        };
        let mut seats = vec![empty; usize::from(SEATS)];
        if let Some(seat) = seats.first_mut() {
            seat.occupancy = Occupancy::Reserved {
                person: settings.host.clone(),
                until: None,
            };
        }
        let room = Room {
            id,
            epoch,
            version: 1,
            seq: 1,
            phase: Phase::Idle,
            created: settings.clone(),
            settings,
            max_guests_allowed,
            seats,
            transports: BTreeMap::new(),
            cooldowns: BTreeMap::new(),
            known_admins: BTreeSet::new(),
            viewers: 0,
            strangers: 0,
            empty_since: Some(now),
            actor: None,
            draft: Draft::default(),
            notices: VecDeque::new(),
        };
        room.debug_assert_invariants();
        Ok(room)
    }

    /// Whether a creation with this content is the one that made this room.
    pub fn is_as(&self, settings: &Settings) -> bool {
        *settings == self.created || *settings == self.settings
    }

    pub fn handle_command(&mut self, by: &Principal, command: Command, now: Instant) -> Result<Committed, Refusal> {
        self.expire(now);
        let before = self.version;
        let outcome = if self.phase == Phase::Ended {
            Err(Refusal::new(Code::RoomEnded, "the room has ended"))
        } else {
            let standing = self.meet(by);
            self.actor = Some(by.person.clone());
            match command {
                Command::Update(patch) => self.update(standing, patch, now),
                Command::End => self
                    .permit(standing, Action::End)
                    .map(|()| self.end(EndReason::Ended, now)),
                Command::Seat {
                    seat,
                    person,
                    if_version,
                } => self.seat(by, standing, seat, person, if_version, now),
                Command::Unseat {
                    seat,
                    user,
                    reason,
                    if_version,
                } => self.unseat(by, standing, seat, user, reason, if_version, now),
                Command::UnseatUser { user, reason } => self.unseat_user(by, standing, user, reason, now),
                Command::SetFlags { seat, patch } => self.set_flags(by, standing, seat, patch, now),
                Command::Assign { seats, if_version } => self.assign(standing, &seats, if_version, now),
                _ => Err(Refusal::new(Code::SeatsDisabled, "not in this version")),
            }
        };
        self.actor = None;
        self.note_use(now);
        self.expire(now);
        self.debug_assert_invariants();
        match outcome {
            Ok(()) => Ok(Committed {
                version: self.version,
                changed: self.version != before,
                outcome: Outcome::Done,
            }),
            Err(refusal) => Err(Refusal {
                version: Some(self.version),
                ..refusal
            }),
        }
    }

    /// News of users without a seat change nothing: the control plane is closing their transports.
    pub fn handle_transport(&mut self, news: TransportNews, now: Instant) {
        self.expire(now);
        if self.phase != Phase::Ended {
            match news {
                TransportNews::Up { user, kind } => self.transport_up(&user, kind, now),
                TransportNews::Lost { user, kind } => self.transport_lost(&user, kind, now),
            }
        }
        self.note_use(now);
        self.expire(now);
        self.debug_assert_invariants();
    }

    /// `viewers`: everything that takes of the room's media, which holds off the empty-room timer; `strangers`: those of
    /// them who are no members.
    pub fn handle_audience(&mut self, viewers: usize, strangers: usize, now: Instant) {
        self.expire(now);
        self.viewers = viewers;
        self.strangers = strangers;
        self.note_use(now);
    }

    /// Event streams of members. Whether they may enter has been asked ([`may_enter`](Self::may_enter)).
    pub fn handle_presence(&mut self, _news: PresenceNews, _now: Instant) {}

    /// What flows of a seat's sources.
    pub fn handle_media(&mut self, _news: MediaNews, _now: Instant) {}

    /// Voices on the seats, in dBov (-127..=0); whoever is not in it is not heard.
    pub fn handle_levels(&mut self, _levels: BTreeMap<UserId, i8>, _now: Instant) {}

    /// Whether the node has a place for one more publisher: without one, nobody is accepted or seated.
    pub fn handle_capacity(&mut self, _available: bool) {}

    /// A viewer's slots changed: tell its user.
    pub fn handle_slots(
        &mut self,
        _user: &UserId,
        _viewer: String,
        _slots: Vec<crate::forward::SlotReport>,
        _now: Instant,
    ) {
    }

    /// Whether this caller's event stream may open: not when banned or when the room has ended.
    pub fn may_enter(&self, _by: &Principal, _now: Instant) -> Result<(), Refusal> {
        Ok(())
    }

    /// Pending ones, oldest first.
    pub fn requests(&self, _kind: RequestKind) -> Vec<Request> {
        Vec::new()
    }

    /// In order of user id.
    pub fn members(&self) -> Vec<Member> {
        Vec::new()
    }

    /// What happened since the last poll; to be drained after each `handle_*`.
    pub fn poll_notice(&mut self) -> Option<Notice> {
        self.notices.pop_front()
    }

    /// What of this room is to survive a restart. The room is at its newest version when no `handle_*` ran since.
    pub fn record(&self, _moment: Moment) -> Record {
        unimplemented!()
    }

    /// The room of a record, after the process ended without notice: whoever was on a seat with a transport is held there
    /// for the grace from `moment` on, waits go on with what the wall clock leaves of them, and the waiting applicants have
    /// a moment to open their streams again.
    pub fn restore(_record: Record, _epoch: u64, _max_guests_allowed: u8, _moment: Moment) -> Result<Self, Refusal> {
        unimplemented!()
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        self.expire(now);
        self.debug_assert_invariants();
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        self.next_deadline().map(|(at, _)| at)
    }

    /// Whether there is such a seat to look at: the host's, a guest's, or one still taken above a lowered `max_guests`.
    pub fn has_seat(&self, index: SeatIndex) -> bool {
        let taken = |seat: &Seat| seat.occupancy.person().is_some();
        index.0 <= self.settings.max_guests || self.seats.get(usize::from(index.0)).is_some_and(taken)
    }

    pub fn version(&self) -> u64 {
        self.version
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    pub fn desired(&self) -> Desired {
        let ended = self.phase == Phase::Ended;
        let mut seats = BTreeMap::new();
        for (index, seat) in self.indexed().filter(|_| !ended) {
            if let Some(person) = seat.occupancy.person() {
                let permission = Permission {
                    audio: !seat.flags.audio_locked && !seat.flags.audio_muted,
                    video: !seat.flags.video_locked && !seat.flags.video_muted,
                };
                seats.insert(person.user.clone(), (index, permission));
            }
        }
        Desired { seats, ended }
    }

    pub fn snapshot(&self, now: Instant) -> Snapshot {
        Snapshot {
            id: self.id.clone(),
            epoch: self.epoch,
            version: self.version,
            seq: self.seq,
            phase: self.phase,
            settings: self.settings.clone(),
            seats: self.shown_seats(),
            sources: self.sources(),
            requests: Vec::new(),
            hosts: BTreeSet::new(),
            now,
        }
    }
}

/// Reading.
impl Room {
    pub(super) fn indexed(&self) -> impl Iterator<Item = (SeatIndex, &Seat)> {
        (0..SEATS).map(SeatIndex).zip(&self.seats)
    }

    /// Index = seat number: up to `max_guests`, or to the highest seat still taken above it.
    pub(super) fn shown_seats(&self) -> Vec<Seat> {
        let taken = self.indexed().filter(|(_, seat)| seat.occupancy.person().is_some());
        let last = taken.map(|(index, _)| index.0).max().unwrap_or(0);
        let shown = usize::from(last.max(self.settings.max_guests)) + 1;
        self.seats.iter().take(shown).cloned().collect()
    }

    pub(super) fn sources(&self) -> BTreeMap<(SeatIndex, SourceKind), SourceStatus> {
        BTreeMap::new()
    }

    pub(super) fn seat_of(&self, user: &UserId) -> Option<SeatIndex> {
        self.indexed()
            .find(|(_, seat)| seat.occupancy.person().is_some_and(|person| person.user == *user))
            .map(|(index, _)| index)
    }

    pub(super) fn taken_guest_seats(&self) -> usize {
        let guests = self.seats.iter().skip(1);
        guests.filter(|seat| seat.occupancy.person().is_some()).count()
    }

    pub(super) fn is_admin(&self, user: &UserId) -> bool {
        self.known_admins.contains(user)
    }

    fn external(&self) -> bool {
        self.settings.seat_mode == SeatMode::External
    }

    /// `None` in external mode, where seats wait without limit.
    pub(super) fn limit(&self, ms: u64, now: Instant) -> Option<Instant> {
        (!self.external()).then(|| now + Duration::from_millis(ms))
    }

    pub(super) fn permit(&self, standing: Standing, action: Action) -> Result<(), Refusal> {
        if rules::permitted(standing, action, &self.settings.policies) {
            Ok(())
        } else {
            Err(Refusal::new(
                Code::PermissionDenied,
                "your role does not permit this in this room",
            ))
        }
    }

    /// In external mode the signalling server alone changes who sits where.
    pub(super) fn permit_seat_changes(&self, standing: Standing) -> Result<(), Refusal> {
        if self.external() && standing != Standing::Service {
            return Err(Refusal::new(
                Code::SeatsDisabled,
                "seats of this room are changed by its signalling server only",
            ));
        }
        Ok(())
    }

    pub(super) fn expect_version(&self, if_version: Option<u64>) -> Result<(), Refusal> {
        match if_version {
            Some(version) if version != self.version => Err(Refusal::new(
                Code::VersionConflict,
                format!("the room is at version {}, not {version}", self.version),
            )),
            _ => Ok(()),
        }
    }
}

/// Changing.
impl Room {
    /// What the caller is here; admins are remembered, so that other admins cannot kick them.
    fn meet(&mut self, by: &Principal) -> Standing {
        let user = &by.person.user;
        let standing = rules::standing(by, &self.settings.host.user);
        if standing == Standing::Member {
            self.known_admins.remove(user);
        }
        if standing == Standing::Admin && self.known_admins.insert(user.clone()) && self.known_admins.len() > ADMINS_MAX
        {
            let seats = &self.seats;
            let seated = |user: &UserId| {
                let mut people = seats.iter().filter_map(|seat| seat.occupancy.person());
                people.any(|person| person.user == *user)
            };
            self.known_admins.retain(|known| known == user || seated(known));
        }
        standing
    }

    pub(super) fn cool_down(&mut self, user: UserId, now: Instant) {
        let until = now + Duration::from_millis(self.settings.policies.kick_cooldown_ms);
        self.cooldowns.retain(|_, until| *until > now);
        if until > now {
            self.cooldowns.insert(user, until);
        }
        if self.cooldowns.len() > COOLDOWNS_MAX {
            let soonest = self.cooldowns.iter().min_by_key(|(_, until)| **until);
            if let Some(user) = soonest.map(|(user, _)| user.clone()) {
                self.cooldowns.remove(&user);
            }
        }
    }

    fn update(&mut self, standing: Standing, patch: SettingsPatch, now: Instant) -> Result<(), Refusal> {
        self.permit(standing, Action::ChangeSettings)?;
        let mut settings = self.settings.clone();
        if let Some(max_guests) = patch.max_guests {
            settings::max_guests(max_guests, self.max_guests_allowed)?;
            settings.max_guests = max_guests;
        }
        if let Some(policies) = patch.policies {
            settings::policies(&policies)?;
            if policies.admin_may != settings.policies.admin_may {
                self.permit(standing, Action::ChangeAdminPolicy)?;
            }
            settings.policies = policies;
        }
        settings.seat_mode = patch.seat_mode.unwrap_or(settings.seat_mode);
        settings.public_program = patch.public_program.unwrap_or(settings.public_program);
        settings.webhook = patch.webhook.unwrap_or(settings.webhook);
        settings.metadata = patch.metadata.unwrap_or(settings.metadata);
        if settings != self.settings {
            let was_external = self.external();
            self.settings = settings;
            if was_external != self.external() {
                self.restart_waits(now);
            }
            self.tell_room();
            self.commit(now);
        }
        Ok(())
    }

    /// The seat mode began or ceased to be external: waits lose their limit, or get one from now.
    fn restart_waits(&mut self, now: Instant) {
        let policies = &self.settings.policies;
        let reservation = self.limit(policies.reservation_ms, now);
        let grace = self.limit(policies.grace_ms, now);
        let host_away = self.limit(policies.host_away_ms, now);
        for (index, seat) in (0..SEATS).map(SeatIndex).zip(&mut self.seats) {
            match &mut seat.occupancy {
                Occupancy::Reserved { until, .. } if index != HOST_SEAT => *until = reservation,
                Occupancy::Held { until, .. } => *until = if index == HOST_SEAT { host_away } else { grace },
                Occupancy::Reserved { .. } | Occupancy::Occupied { .. } | Occupancy::Empty => {}
            }
        }
    }

    fn transport_up(&mut self, user: &UserId, kind: SourceKind, now: Instant) {
        let Some(index) = self.seat_of(user) else { return };
        *self.transports.entry(user.clone()).or_default().of(kind) += 1;
        let Some(seat) = self.seats.get_mut(usize::from(index.0)) else {
            return;
        };
        let (person, resumed) = match &seat.occupancy {
            Occupancy::Reserved { person, .. } => (person.clone(), false),
            Occupancy::Held { person, .. } => (person.clone(), true),
            Occupancy::Occupied { .. } | Occupancy::Empty => return,
        };
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
            self.phase = Phase::Live;
            if resumed {
                self.tell_all(Event::HostBack { host: person });
            } else {
                self.tell_room();
            }
        }
        self.commit(now);
    }

    fn transport_lost(&mut self, user: &UserId, kind: SourceKind, now: Instant) {
        let Some(transports) = self.transports.get_mut(user) else {
            return;
        };
        let count = transports.of(kind);
        *count = count.saturating_sub(1);
        if !transports.none() {
            return;
        }
        self.transports.remove(user);
        let Some(index) = self.seat_of(user) else { return };
        let policies = &self.settings.policies;
        let wait_ms = if index == HOST_SEAT {
            policies.host_away_ms
        } else {
            policies.grace_ms
        };
        let until = self.limit(wait_ms, now);
        let Some(seat) = self.seats.get_mut(usize::from(index.0)) else {
            return;
        };
        let Occupancy::Occupied { person, .. } = &seat.occupancy else {
            return;
        };
        let person = person.clone();
        seat.occupancy = Occupancy::Held {
            person: person.clone(),
            until,
        };
        if index == HOST_SEAT {
            self.phase = Phase::HostAway;
            self.tell_all(Event::HostAway { host: person, until });
        } else {
            self.tell_all(Event::SeatSuspended {
                seat: index,
                person,
                until,
            });
        }
        self.commit(now);
    }

    fn tell_room(&mut self) {
        self.tell_all(Event::RoomUpdated {
            phase: self.phase,
            max_guests: self.settings.max_guests,
        });
    }

    /// Empties a guest's seat. The caller commits.
    pub(super) fn vacate(&mut self, index: SeatIndex, reason: LeaveReason, note: Option<String>) -> Option<Person> {
        let seat = self.seats.get_mut(usize::from(index.0))?;
        let person = seat.occupancy.person()?.clone();
        seat.occupancy = Occupancy::Empty;
        seat.flags.audio_muted = false;
        seat.flags.video_muted = false;
        self.transports.remove(&person.user);
        // Who hung up knows it, and the end is told to everybody.
        if !matches!(reason, LeaveReason::Left | LeaveReason::RoomEnded) {
            let event = Event::SeatKicked {
                seat: index,
                reason,
                note,
            };
            self.tell(&person.user, event);
        }
        self.draft.left(index, person.clone(), reason);
        Some(person)
    }

    fn end(&mut self, reason: EndReason, now: Instant) {
        for index in (1..SEATS).map(SeatIndex) {
            self.vacate(index, LeaveReason::RoomEnded, None);
        }
        if let Some(seat) = self.seats.first_mut() {
            seat.occupancy = Occupancy::Reserved {
                person: self.settings.host.clone(),
                until: None,
            };
        }
        self.transports.clear();
        self.cooldowns.clear();
        self.phase = Phase::Ended;
        self.tell_seats();
        self.tell_all(Event::RoomEnded { reason });
        self.commit(now);
        self.note_use(now);
    }

    /// Starts or stops the empty-room timer.
    fn note_use(&mut self, now: Instant) {
        let used = self.viewers > 0 || !self.transports.is_empty() || self.phase == Phase::Ended;
        self.empty_since = if used { None } else { self.empty_since.or(Some(now)) };
    }

    fn next_deadline(&self) -> Option<(Instant, Deadline)> {
        if self.phase == Phase::Ended {
            return None;
        }
        let seats = self.indexed().filter_map(|(index, seat)| {
            let reason = if index == HOST_SEAT {
                Deadline::HostAway
            } else {
                Deadline::Seat(index)
            };
            seat.occupancy.until().map(|at| (at, reason))
        });
        let empty_room_ms = self.settings.policies.empty_room_ms;
        let empty = self.empty_since.filter(|_| empty_room_ms > 0);
        let empty = empty.map(|since| (since + Duration::from_millis(empty_room_ms), Deadline::EmptyRoom));
        seats.chain(empty).min_by_key(|(at, _)| *at)
    }

    /// Lets happen what is due, in the order of its deadlines.
    fn expire(&mut self, now: Instant) {
        while let Some((_, reason)) = self.next_deadline().filter(|(at, _)| *at <= now) {
            match reason {
                Deadline::Seat(index) => {
                    let held = self.seats.get(usize::from(index.0));
                    let held = held.is_some_and(|seat| matches!(seat.occupancy, Occupancy::Held { .. }));
                    let reason = if held {
                        LeaveReason::Disconnected
                    } else {
                        LeaveReason::MediaTimeout
                    };
                    self.vacate(index, reason, None);
                    self.commit(now);
                }
                // Both policies end the room while it is unknown which admin is online.
                Deadline::HostAway => self.end(EndReason::HostAway, now),
                Deadline::EmptyRoom => self.end(EndReason::Empty, now),
            }
        }
    }
}
