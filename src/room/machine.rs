//! One room: its state, what enters it, and what is read from it. What each command does is its subject's module.

mod invariants;

use super::event::{EndReason, Event};
use super::media::{Media, Voices};
use super::members::{Audience, Members};
use super::moves::Move;
use super::notices::Draft;
use super::requests::Requests;
use super::rules::{self, Action, Standing};
use super::settings::{self, SEATS};
use super::*;
use crate::forward::{Permission, SeatIndex, SourceKind};
use crate::mix::picture::Size;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

/// What somebody wants of a room.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    Update(Box<SettingsPatch>),
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
    /// Somebody was made to leave the room: what they watch of it ends, too.
    Removed(UserId),
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
    /// Nobody watches a program.
    pub program_off: bool,
    pub ended: bool,
}

/// The host's.
pub const HOST_SEAT: SeatIndex = SeatIndex(0);

/// How many transports of one user are up, by source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Transports {
    camera: u32,
    screen: u32,
    /// None: no person publishes the program.
    program: u32,
}

impl Transports {
    pub fn of(&mut self, kind: SourceKind) -> &mut u32 {
        match kind {
            SourceKind::Camera => &mut self.camera,
            SourceKind::Screen => &mut self.screen,
            SourceKind::Program => &mut self.program,
        }
    }

    pub fn has(mut self, kind: SourceKind) -> bool {
        *self.of(kind) > 0
    }

    pub fn none(self) -> bool {
        self == Transports::default()
    }
}

/// One room. The order in which it commits is the truth.
pub struct Room {
    pub(super) id: RoomId,
    pub(super) epoch: u64,
    pub(super) version: u64,
    pub(super) seq: u64,
    pub(super) phase: Phase,
    pub(super) created: Settings,
    pub(super) settings: Settings,
    pub(super) max_guests_allowed: u8,
    /// All there can be: those above `max_guests` are empty, or left over from before it was lowered.
    pub(super) seats: Vec<Seat>,
    /// Seated users with a transport up, and no one else.
    pub(super) transports: BTreeMap<UserId, Transports>,
    pub(super) cooldowns: BTreeMap<UserId, Instant>,
    pub(super) members: Members,
    /// Admins by the room's word, here or not.
    pub(super) grants: BTreeSet<UserId>,
    /// Until when.
    pub(super) bans: BTreeMap<UserId, Instant>,
    pub(super) requests: Requests,
    pub(super) media: Media,
    pub(super) voices: Voices,
    /// The program's size where the settings leave it to the host. Like media: news, not state of the room.
    pub(super) canvas: Option<Size>,
    pub(super) audience: Audience,
    /// What the node has room for.
    pub(super) capacity: Capacity,
    /// `None`: in use.
    pub(super) empty_since: Option<Instant>,
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
        let mut seats = vec![Seat::empty(); usize::from(SEATS)];
        if let Some(seat) = seats.first_mut() {
            seat.occupancy = Occupancy::Reserved {
                person: settings.host.clone(),
                request: None,
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
            members: Members::default(),
            grants: BTreeSet::new(),
            bans: BTreeMap::new(),
            requests: Requests::default(),
            media: Media::default(),
            voices: Voices::default(),
            canvas: None,
            audience: Audience::default(),
            capacity: Capacity::default(),
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

    /// A refused command changes nothing, but for an invitation that is accepted and finds no seat: it fails, and the
    /// inviter is told.
    pub fn handle_command(&mut self, by: &Principal, command: Command, now: Instant) -> Result<Committed, Refusal> {
        self.expire(now);
        let before = self.version;
        let outcome = if self.phase == Phase::Ended {
            Err(Refusal::new(Code::RoomEnded, "the room has ended"))
        } else {
            self.actor = Some(self.known(by.person.clone()));
            let outcome = self.obey(by, command, now);
            self.tell_media(now);
            self.actor = None;
            outcome
        };
        let version = self.version;
        self.settle(now);
        match outcome {
            Ok(outcome) => Ok(Committed {
                version,
                changed: version != before,
                outcome,
            }),
            Err(refusal) => Err(Refusal {
                version: Some(version),
                ..refusal
            }),
        }
    }

    fn obey(&mut self, by: &Principal, command: Command, now: Instant) -> Result<Outcome, Refusal> {
        let standing = self.standing(by);
        match command {
            Command::Update(patch) => self.update(standing, *patch, now),
            Command::End => {
                self.permit(standing, Action::End)?;
                self.end(EndReason::Ended, now);
                Ok(Outcome::Done)
            }
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
            Command::Apply { user, wish } => self.apply(by, standing, user, wish, now),
            Command::CancelApplication { user } => self.cancel_application(by, standing, &user, now),
            Command::AcceptApplication { user, seat, request } => {
                self.accept_application(by, standing, &user, seat, request, now)
            }
            Command::RejectApplication { user, reason, request } => {
                self.reject_application(by, standing, &user, reason, request, now)
            }
            Command::Invite { user, wish } => self.invite(by, standing, user, wish, now),
            Command::CancelInvitation { user } => self.cancel_invitation(by, standing, &user, now),
            Command::AcceptInvitation { request } => self.accept_invitation(by, standing, request, now),
            Command::RejectInvitation { reason, request } => self.reject_invitation(by, standing, reason, request, now),
            Command::Move {
                from,
                to,
                policy,
                user,
                if_version,
            } => {
                let step = Move {
                    from,
                    to,
                    policy,
                    user,
                    if_version,
                };
                self.move_seat(by, standing, &step, now)
            }
            Command::Ask { seat, audio, video } => self.ask_device(standing, seat, audio, video, now),
            Command::GrantRole { user, role } => self.grant_role(standing, &user, role, now),
            Command::RemoveMember { user, ban, reason } => self.remove_member(by, standing, &user, ban, reason, now),
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
        self.settle(now);
    }

    /// `viewers`: everything that takes of the room's media, which holds off the empty-room timer; `strangers`: those of
    /// them who are no members.
    pub fn handle_audience(&mut self, viewers: usize, strangers: usize, now: Instant) {
        self.expire(now);
        self.audience.viewers = viewers;
        self.audience.strangers = strangers;
        self.settle(now);
    }

    /// Event streams of members. Whether they may enter has been asked ([`may_enter`](Self::may_enter)).
    pub fn handle_presence(&mut self, news: PresenceNews, now: Instant) {
        self.expire(now);
        if self.phase != Phase::Ended {
            match news {
                PresenceNews::Joined { person, role } => self.joined(person, role, now),
                PresenceNews::Lost { user } => self.suspended(&user, now),
            }
        }
        self.settle(now);
    }

    /// What flows of a seat's sources.
    pub fn handle_media(&mut self, news: MediaNews, now: Instant) {
        self.expire(now);
        if self.phase != Phase::Ended {
            self.media_changed(news);
        }
        self.settle(now);
    }

    /// How loud it is on the seats, in dBov (-127..=0), until the next call; whoever is not in it is not heard, or not
    /// measured.
    pub fn handle_levels(&mut self, levels: BTreeMap<UserId, i8>, now: Instant) {
        self.expire(now);
        self.hear(levels, now);
        self.settle(now);
    }

    /// For how many more guests the node has room: without it, nobody is accepted, seated or invited.
    pub fn handle_capacity(&mut self, capacity: Capacity) {
        self.capacity = capacity;
    }

    /// A viewer's slots changed: tell its user.
    pub fn handle_slots(
        &mut self,
        user: &UserId,
        viewer: String,
        slots: Vec<crate::forward::SlotReport>,
        now: Instant,
    ) {
        self.expire(now);
        if self.phase != Phase::Ended {
            self.tell(user, Event::StageSlots { viewer, slots });
            self.publish(now);
        }
        self.settle(now);
    }

    /// The program drew a user's camera for the first time since its transport came up.
    pub fn handle_first_frame(&mut self, user: &UserId, now: Instant) {
        self.expire(now);
        let seat = self.seat_of(user).filter(|_| self.transports.contains_key(user));
        if let Some(seat) = seat.filter(|_| self.phase != Phase::Ended) {
            self.tell_hosts(Event::SeatFirstFrame { seat });
            self.publish(now);
        }
        self.settle(now);
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        self.expire(now);
        self.settle(now);
    }

    /// Whether this caller's event stream may open: not when banned or when the room has ended.
    pub fn may_enter(&self, by: &Principal, now: Instant) -> Result<(), Refusal> {
        if self.phase == Phase::Ended {
            return Err(Refusal::new(Code::RoomEnded, "the room has ended"));
        }
        if by.role == Role::Service {
            return Ok(());
        }
        self.not_banned(&by.person.user, now)?;
        self.room_for_one_more(&by.person.user)
    }

    /// Whether somebody's viewers may open: not while they are banned.
    pub fn may_view(&self, user: &UserId, now: Instant) -> Result<(), Refusal> {
        self.not_banned(user, now)
    }

    /// Pending ones, oldest first.
    pub fn requests(&self, kind: RequestKind) -> Vec<Request> {
        let pending = self.requests.pending.values();
        pending.filter(|request| request.kind == kind).cloned().collect()
    }

    /// In order of user id.
    pub fn members(&self) -> Vec<Member> {
        self.members.all.keys().filter_map(|user| self.member(user)).collect()
    }

    /// What happened since the last poll; to be drained after each `handle_*`.
    pub fn poll_notice(&mut self) -> Option<Notice> {
        self.notices.pop_front()
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

    /// The program has this size now.
    pub fn handle_canvas(&mut self, size: Size) {
        self.canvas = Some(size);
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
        Desired {
            seats,
            program_off: self.settings.program.mode == ProgramMode::Off,
            ended,
        }
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
            voices: self.voices(),
            requests: self.requests.pending.values().cloned().collect(),
            hosts: self.hosts(),
            audience: self.audience.told,
            canvas: self.settings.program.video.size.or(self.canvas),
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

    pub(super) fn seat_of(&self, user: &UserId) -> Option<SeatIndex> {
        self.indexed()
            .find(|(_, seat)| seat.occupancy.person().is_some_and(|person| person.user == *user))
            .map(|(index, _)| index)
    }

    pub(super) fn taken_guest_seats(&self) -> usize {
        let guests = self.seats.iter().skip(1);
        guests.filter(|seat| seat.occupancy.person().is_some()).count()
    }

    pub(super) fn external(&self) -> bool {
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

    /// There is room for so many guests more.
    pub(super) fn capacity(&self, guests: usize) -> Result<(), Refusal> {
        if guests <= self.capacity.guests {
            return Ok(());
        }
        Err(Refusal::new(Code::CapacityExhausted, self.capacity.why.as_str()))
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
