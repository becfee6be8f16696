//! The commands about seats, settings and members. Each names every refusal that holds before it changes anything.

use super::*;

/// What a caller is, by the table of the specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    Guest,
    Admin,
    Host,
    Service,
}

/// The refusals that hold; permission goes before the rest.
#[derive(Default)]
pub(super) struct Refusals {
    forbidden: Vec<Code>,
    others: Vec<Code>,
}

impl Refusals {
    pub fn when(&mut self, holds: bool, code: Code) {
        let first = matches!(code, Code::PermissionDenied | Code::SeatsDisabled);
        let codes = if first { &mut self.forbidden } else { &mut self.others };
        if holds {
            codes.push(code);
        }
    }

    /// A permission that hangs on whom it concerns: no secret, and no sooner due than that.
    pub fn unless_permitted(&mut self, permitted: bool) {
        if !permitted {
            self.others.push(Code::PermissionDenied);
        }
    }

    pub fn settle(self) -> Result<(), Vec<Code>> {
        let codes = if self.forbidden.is_empty() {
            self.others
        } else {
            self.forbidden
        };
        if codes.is_empty() { Ok(()) } else { Err(codes) }
    }
}

impl Model {
    pub(super) fn rank(&self, by: &Principal) -> Rank {
        match by.role {
            Role::Service => Rank::Service,
            _ if by.person.user == self.settings.host.user => Rank::Host,
            Role::Host | Role::Admin => Rank::Admin,
            Role::Member if self.admins.contains(&by.person.user) => Rank::Admin,
            Role::Member => Rank::Guest,
        }
    }

    pub(super) fn obey(&mut self, by: &Principal, command: &Command, now: Instant) -> Answer {
        let rank = self.rank(by);
        let me = &by.person.user;
        match command {
            Command::Update(patch) => self.update(rank, patch, now),
            Command::End => {
                let mut refusals = Refusals::default();
                refusals.when(rank < Rank::Host, Code::PermissionDenied);
                refusals.settle()?;
                self.end(EndReason::Ended, now);
                Ok(Outcome::Done)
            }
            Command::Seat {
                seat,
                person,
                if_version,
            } => self.seat_directly(by, *seat, person, *if_version, now),
            Command::Unseat {
                seat,
                user,
                reason,
                if_version,
            } => self.unseat(by, *seat, user.as_ref(), reason.as_ref(), *if_version, now),
            Command::UnseatUser { user, reason } => match self.seat_of(user) {
                Some(seat) => self.unseat(by, seat, Some(user), reason.as_ref(), None, now),
                None => {
                    let mut refusals = Refusals::default();
                    refusals.when(self.external() && rank != Rank::Service, Code::SeatsDisabled);
                    refusals.when(user != me && !self.may_kick(by, user), Code::PermissionDenied);
                    refusals.settle()?;
                    Ok(Outcome::Done)
                }
            },
            Command::SetFlags { seat, patch } => self.set_flags(by, *seat, patch, now),
            Command::Assign { seats, if_version } => self.assign(rank, seats, *if_version, now),
            Command::Move {
                from,
                to,
                policy,
                user,
                if_version,
            } => self.shift(by, *from, *to, *policy, user.as_ref(), *if_version, now),
            Command::Ask { seat, audio, video } => self.ask(rank, *seat, *audio, *video),
            Command::GrantRole { user, role } => self.grant(rank, user, *role),
            Command::RemoveMember { user, ban, reason } => self.remove_member(by, user, *ban, reason.as_ref(), now),
            Command::Apply { user, wish } => self.apply(by, user.as_ref(), wish, now),
            Command::CancelApplication { user } => self.cancel_application(by, user, now),
            Command::AcceptApplication { user, seat, request } => {
                self.accept_application(by, user, *seat, *request, now)
            }
            Command::RejectApplication { user, reason, request } => {
                self.reject_application(by, user, reason.as_ref(), *request, now)
            }
            Command::Invite { user, wish } => self.invite(by, user, wish, now),
            Command::CancelInvitation { user } => self.cancel_invitation(by, user, now),
            Command::AcceptInvitation { request } => self.accept_invitation(by, *request, now),
            Command::RejectInvitation { reason, request } => self.reject_invitation(by, reason.as_ref(), *request, now),
        }
    }

    pub(super) fn stale(&self, if_version: Option<u64>) -> bool {
        if_version.is_some_and(|version| version != self.version)
    }

    /// No seat a guest can be put on.
    pub(super) fn no_guest_seat(&self, index: SeatIndex) -> bool {
        index == HOST_SEAT || index.0 > self.settings.max_guests
    }

    /// No seat there is something to change about.
    fn no_managed_seat(&self, index: SeatIndex) -> bool {
        self.no_guest_seat(index) && (index == HOST_SEAT || self.occupant(index).is_none())
    }

    pub(super) fn locked(&self, index: SeatIndex) -> bool {
        self.seats
            .get(usize::from(index.0))
            .is_some_and(|seat| seat.flags.locked)
    }

    fn may_kick(&self, by: &Principal, user: &UserId) -> bool {
        match self.rank(by) {
            Rank::Service | Rank::Host => true,
            Rank::Admin => !self.is_admin(user),
            Rank::Guest => false,
        }
    }

    fn update(&mut self, rank: Rank, patch: &SettingsPatch, now: Instant) -> Answer {
        let admin_may = |what: &str| self.settings.policies.admin_may.iter().any(|may| may == what);
        let settings_too = patch.max_guests.is_some() || patch.seat_mode.is_some() || patch.policies.is_some();
        let lacks_layout = patch.layout.is_some() && !admin_may("layout");
        let lacks_settings = (settings_too || patch.layout.is_none()) && !admin_may("settings");
        let admin_lacks = lacks_layout || lacks_settings;
        let mut refusals = Refusals::default();
        refusals.when(
            rank == Rank::Guest || rank == Rank::Admin && admin_lacks,
            Code::PermissionDenied,
        );
        let policies = patch.policies.as_ref();
        let policies = policies.map(|patch| self.settings.policies.clone().patched(patch));
        let power = policies.as_ref().map(|policies| &policies.admin_may);
        let others = power.is_some_and(|power| *power != self.settings.policies.admin_may);
        refusals.when(rank == Rank::Admin && others, Code::PermissionDenied);
        let stale = self.stale(patch.if_version);
        refusals.when(stale, Code::VersionConflict);
        let allowed = self.allowed.min(SEATS - 1);
        let too_many = patch.max_guests.is_some_and(|max| max > allowed);
        let bad_policies = policies.as_ref().is_some_and(|p| settings::policies(p).is_err());
        let last = patch.max_guests.unwrap_or(self.settings.max_guests);
        let quiet = patch.layout.as_ref().and_then(|layout| layout.volumes.keys().max());
        let wrong = too_many || bad_policies || quiet.is_some_and(|seat| seat.0 > last);
        refusals.when(wrong, Code::InvalidArgument);
        if rank == Rank::Admin && !admin_lacks && others && (stale || wrong) {
            // What is wrong in itself may be told first.
            let mut codes = vec![Code::PermissionDenied];
            codes.extend(stale.then_some(Code::VersionConflict));
            codes.extend(wrong.then_some(Code::InvalidArgument));
            return Err(codes);
        }
        refusals.settle()?;

        let before = self.settings.clone();
        let patch = patch.clone();
        let settings = &mut self.settings;
        settings.max_guests = patch.max_guests.unwrap_or(settings.max_guests);
        settings.seat_mode = patch.seat_mode.unwrap_or(settings.seat_mode);
        settings.public_program = patch.public_program.unwrap_or(settings.public_program);
        settings.policies = policies.unwrap_or_else(|| settings.policies.clone());
        settings.layout = patch.layout.unwrap_or_else(|| settings.layout.clone());
        settings.webhook = patch.webhook.unwrap_or_else(|| settings.webhook.clone());
        settings.metadata = patch.metadata.unwrap_or_else(|| settings.metadata.clone());
        if before == self.settings {
            return Ok(Outcome::Done);
        }
        if (before.seat_mode == SeatMode::External) != self.external() {
            self.wait_anew(now);
        }
        if self.external() {
            self.finish_all(ClosedReason::SeatsDisabled, now);
        }
        self.tell_room();
        Ok(Outcome::Done)
    }

    fn wait_anew(&mut self, now: Instant) {
        let policies = self.settings.policies.clone();
        let reservation = self.limit(policies.reservation_ms, now);
        let grace = self.limit(policies.grace_ms, now);
        let host_away = self.limit(policies.host_away_ms, now);
        for (index, seat) in self.seats.iter_mut().enumerate() {
            match &mut seat.occupancy {
                Occupancy::Reserved { until, .. } if index > 0 => *until = reservation,
                Occupancy::Held { until, .. } => *until = if index > 0 { grace } else { host_away },
                _ => {}
            }
        }
    }

    fn seat_directly(
        &mut self,
        by: &Principal,
        index: SeatIndex,
        person: &Person,
        if_version: Option<u64>,
        now: Instant,
    ) -> Answer {
        let rank = self.rank(by);
        let user = &person.user;
        let oneself = *user == by.person.user;
        let free = self.settings.seat_mode == SeatMode::Free;
        let at = self.seat_of(user);
        let mut refusals = Refusals::default();
        refusals.when(self.external() && rank != Rank::Service, Code::SeatsDisabled);
        refusals.when(rank == Rank::Guest && !(oneself && free), Code::PermissionDenied);
        refusals.when(self.no_guest_seat(index), Code::SeatIndexInvalid);
        refusals.when(self.stale(if_version), Code::VersionConflict);
        refusals.when(at.is_some_and(|at| at != index), Code::AlreadySeated);
        if at != Some(index) {
            let host = matches!(rank, Rank::Host | Rank::Admin);
            refusals.when(host && !self.inside(user), Code::NotInRoom);
            refusals.when(rank != Rank::Service && self.banned(user, now), Code::Banned);
            refusals.when(rank == Rank::Guest && self.cooling(user, now), Code::Cooldown);
            refusals.when(self.locked(index), Code::SeatLocked);
            refusals.when(self.occupant(index).is_some(), Code::SeatOccupied);
            refusals.when(self.full(), Code::AllSeatsOccupied);
            refusals.when(!self.capacity, Code::CapacityExhausted);
        }
        refusals.settle()?;
        if at == Some(index) {
            self.name(index, person);
            return Ok(Outcome::Seated(self.granted(user, index)));
        }
        self.finish_of_seated(user, now);
        self.reserve(index, &self.known(person), None, now);
        Ok(Outcome::Seated(self.granted(user, index)))
    }

    pub(super) fn banned(&self, user: &UserId, now: Instant) -> bool {
        self.bans.get(user).is_some_and(|until| *until > now)
    }

    /// As many guests as there may be.
    pub(super) fn full(&self) -> bool {
        self.guests() >= usize::from(self.settings.max_guests)
    }

    pub(super) fn cooling(&self, user: &UserId, now: Instant) -> bool {
        self.cooldowns.get(user).is_some_and(|until| *until > now)
    }

    pub(super) fn granted(&self, user: &UserId, seat: SeatIndex) -> Granted {
        let occupancy = &self.seats[usize::from(seat.0)].occupancy;
        let connect_by = match occupancy {
            Occupancy::Reserved { until, .. } => *until,
            _ => None,
        };
        Granted {
            user: user.clone(),
            seat,
            connect_by,
        }
    }

    /// With the name and picture they came with, where none is given.
    pub(super) fn known(&self, person: &Person) -> Person {
        let here = self.members.get(&person.user).map(|here| here.person.clone());
        let here = here.unwrap_or_else(|| person.clone());
        Person {
            user: person.user.clone(),
            name: person.name.clone().or(here.name),
            avatar_url: person.avatar_url.clone().or(here.avatar_url),
        }
    }

    /// A name or picture left out keeps the one known.
    fn name(&mut self, index: SeatIndex, person: &Person) {
        let seat = &mut self.seats[usize::from(index.0)];
        if let Some(known) = seat.occupancy.person_mut() {
            known.name = person.name.clone().or_else(|| known.name.clone());
            known.avatar_url = person.avatar_url.clone().or_else(|| known.avatar_url.clone());
        }
    }

    pub(super) fn reserve(&mut self, index: SeatIndex, person: &Person, request: Option<&Request>, now: Instant) {
        let until = self.limit(self.settings.policies.reservation_ms, now);
        self.seats[usize::from(index.0)].occupancy = Occupancy::Reserved {
            person: person.clone(),
            request: request.map(|request| request.id),
            until,
        };
        self.tell_one(
            &person.user,
            Event::SeatGranted {
                seat: index,
                connect_by: until,
                media: request.map_or(RequestMedia::Av, |request| request.media),
            },
        );
    }

    /// Off the seat by somebody else's doing; they are told.
    pub(super) fn kick(&mut self, index: SeatIndex, reason: LeaveReason, note: Option<&String>) -> Option<UserId> {
        let user = self.vacate(index, reason)?;
        self.tell_one(
            &user,
            Event::SeatKicked {
                seat: index,
                reason,
                note: note.cloned(),
            },
        );
        Some(user)
    }

    pub(super) fn cool(&mut self, user: UserId, ms: u64, now: Instant) {
        let until = now + Duration::from_millis(ms);
        if self.cooldowns.get(&user).is_none_or(|known| *known < until) {
            self.cooldowns.insert(user, until);
        }
    }

    fn unseat(
        &mut self,
        by: &Principal,
        index: SeatIndex,
        user: Option<&UserId>,
        note: Option<&String>,
        if_version: Option<u64>,
        now: Instant,
    ) -> Answer {
        let rank = self.rank(by);
        let occupant = self.occupant(index);
        let own = occupant.as_ref() == Some(&by.person.user);
        let mut refusals = Refusals::default();
        refusals.when(self.external() && rank != Rank::Service, Code::SeatsDisabled);
        refusals.when(!own && rank == Rank::Guest, Code::PermissionDenied);
        refusals.when(self.no_managed_seat(index), Code::SeatIndexInvalid);
        refusals.when(self.stale(if_version), Code::VersionConflict);
        let other = user.is_some() && user != occupant.as_ref();
        refusals.when(other, Code::Conflict);
        refusals.unless_permitted(own || occupant.as_ref().is_none_or(|user| self.may_kick(by, user)));
        refusals.settle()?;
        if own {
            self.vacate(index, LeaveReason::Left);
        } else if let Some(user) = self.kick(index, LeaveReason::Kicked, note) {
            self.cool(user, self.settings.policies.kick_cooldown_ms, now);
        }
        Ok(Outcome::Done)
    }

    fn set_flags(&mut self, by: &Principal, index: SeatIndex, patch: &SeatFlagsPatch, now: Instant) -> Answer {
        let rank = self.rank(by);
        let occupant = self.occupant(index);
        let own = occupant.as_ref() == Some(&by.person.user);
        let Some(seat) = self.seats.get(usize::from(index.0)) else {
            let forbidden = rank == Rank::Guest;
            let code = if forbidden {
                Code::PermissionDenied
            } else {
                Code::SeatIndexInvalid
            };
            return Err(vec![code]);
        };
        let old = seat.flags;
        let new = SeatFlags {
            locked: patch.locked.unwrap_or(old.locked),
            audio_locked: patch.audio_locked.unwrap_or(old.audio_locked),
            video_locked: patch.video_locked.unwrap_or(old.video_locked),
            audio_muted: patch.audio_muted.unwrap_or(old.audio_muted),
            video_muted: patch.video_muted.unwrap_or(old.video_muted),
        };
        let mut refusals = Refusals::default();
        let denied = Code::PermissionDenied;
        refusals.when(rank == Rank::Guest && !own, denied);
        let mut wrong = Refusals::default();
        wrong.when(
            index != HOST_SEAT && self.no_managed_seat(index),
            Code::SeatIndexInvalid,
        );
        if old.locked != new.locked {
            wrong.when(index == HOST_SEAT, Code::SeatIndexInvalid);
            refusals.when(
                self.external() && rank != Rank::Service && index != HOST_SEAT,
                Code::SeatsDisabled,
            );
            refusals.when(rank == Rank::Guest, denied);
            let protected = occupant.as_ref().is_some_and(|user| !own && !self.may_kick(by, user));
            refusals.when(new.locked && protected && index != HOST_SEAT, denied);
        }
        refusals.when(rank == Rank::Guest && old.audio_locked != new.audio_locked, denied);
        refusals.when(rank == Rank::Guest && old.video_locked != new.video_locked, denied);
        let opens = old.audio_muted && !new.audio_muted || old.video_muted && !new.video_muted;
        refusals.when(opens && !own && occupant.is_some(), denied);
        // Which of a seat that is none and a thing one may not comes first is nobody's secret: seats are public.
        let mut codes = refusals.settle().err().unwrap_or_default();
        codes.extend(wrong.settle().err().unwrap_or_default());
        if !codes.is_empty() {
            return Err(codes);
        }
        if new == old {
            return Ok(Outcome::Done);
        }
        if new.locked && occupant.is_some() {
            let removed = self.kick(index, LeaveReason::Locked, None);
            if let Some(user) = removed.filter(|_| !own) {
                self.cool(user, self.settings.policies.kick_cooldown_ms, now);
            }
        }
        let left = self.seats[usize::from(index.0)].flags;
        let flags = SeatFlags {
            audio_muted: patch.audio_muted.unwrap_or(left.audio_muted),
            video_muted: patch.video_muted.unwrap_or(left.video_muted),
            ..new
        };
        self.seats[usize::from(index.0)].flags = flags;
        self.tell_all(Event::SeatUpdated { seat: index, flags });
        Ok(Outcome::Done)
    }

    fn assign(
        &mut self,
        rank: Rank,
        wanted: &BTreeMap<SeatIndex, Option<Person>>,
        if_version: Option<u64>,
        now: Instant,
    ) -> Answer {
        let people: Vec<(SeatIndex, Person)> = wanted
            .iter()
            .filter_map(|(index, person)| Some((*index, person.clone()?)))
            .collect();
        let mut users: Vec<&UserId> = people.iter().map(|(_, person)| &person.user).collect();
        users.push(&self.settings.host.user);
        let distinct: BTreeSet<&UserId> = users.iter().copied().collect();
        let mut refusals = Refusals::default();
        refusals.when(rank != Rank::Service, Code::PermissionDenied);
        refusals.when(self.stale(if_version), Code::VersionConflict);
        refusals.when(
            wanted.keys().any(|index| self.no_guest_seat(*index)),
            Code::SeatIndexInvalid,
        );
        let locked = people.iter().any(|(index, _)| self.locked(*index));
        refusals.when(distinct.len() < users.len() || locked, Code::InvalidArgument);
        let newcomers = people.iter().filter(|(_, person)| self.seat_of(&person.user).is_none());
        let guests = (1..SEATS).filter_map(|index| self.occupant(SeatIndex(index)));
        let leavers = guests.filter(|user| !people.iter().any(|(_, person)| person.user == *user));
        let more = newcomers.count() > leavers.count();
        refusals.when(more && !self.capacity, Code::CapacityExhausted);
        refusals.settle()?;

        let mut lifted: BTreeMap<UserId, Seat> = BTreeMap::new();
        for index in (1..SEATS).map(SeatIndex) {
            let Some(user) = self.occupant(index) else { continue };
            match people.iter().find(|(_, person)| person.user == user) {
                Some((to, _)) if *to == index => {}
                Some(_) => {
                    lifted.insert(user, self.lift(index));
                }
                None => {
                    self.kick(index, LeaveReason::Assigned, None);
                }
            }
        }
        for (index, person) in people {
            if let Some(seat) = lifted.remove(&person.user) {
                self.put(index, seat);
            } else if self.occupant(index).is_none() {
                self.finish_of_seated(&person.user, now);
                self.reserve(index, &self.known(&person), None, now);
            }
            self.name(index, &person);
        }
        Ok(Outcome::Done)
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of one command, taken apart once")]
    fn shift(
        &mut self,
        by: &Principal,
        from: SeatIndex,
        to: SeatIndex,
        policy: MovePolicy,
        user: Option<&UserId>,
        if_version: Option<u64>,
        now: Instant,
    ) -> Answer {
        let rank = self.rank(by);
        let mover = self.occupant(from);
        let other = self.occupant(to);
        let own = mover.as_ref() == Some(&by.person.user);
        let mut refusals = Refusals::default();
        refusals.when(self.external() && rank != Rank::Service, Code::SeatsDisabled);
        refusals.when(
            rank == Rank::Guest && !(own && self.settings.policies.self_move),
            Code::PermissionDenied,
        );
        refusals.when(self.no_managed_seat(from), Code::SeatIndexInvalid);
        refusals.when(self.stale(if_version), Code::VersionConflict);
        refusals.when(
            mover.is_none() || user.is_some() && user != mover.as_ref(),
            Code::Conflict,
        );
        let mine = rank == Rank::Admin && from != HOST_SEAT;
        let protected = |user: &UserId| mine && *user != by.person.user && self.is_admin(user);
        refusals.unless_permitted(!mover.as_ref().is_some_and(protected));
        if from != to {
            refusals.when(self.no_guest_seat(to), Code::SeatIndexInvalid);
            refusals.when(self.locked(to), Code::SeatLocked);
            let aborted = rank == Rank::Guest || policy == MovePolicy::Abort;
            refusals.when(other.is_some() && aborted, Code::SeatOccupied);
            let touched = other.as_ref().is_some_and(protected) && policy != MovePolicy::Abort && to != HOST_SEAT;
            refusals.unless_permitted(!touched);
            let swapped = other.is_some() && policy == MovePolicy::Swap;
            refusals.when(swapped && from.0 > self.settings.max_guests, Code::SeatIndexInvalid);
        }
        refusals.settle()?;
        if from == to {
            return Ok(Outcome::Done);
        }
        let displaced = match policy {
            MovePolicy::Swap if other.is_some() => Some(self.lift(to)),
            _ => None,
        };
        if displaced.is_none()
            && let Some(user) = self.kick(to, LeaveReason::Replaced, None)
        {
            self.cool(user, self.settings.policies.kick_cooldown_ms, now);
        }
        let lifted = self.lift(from);
        self.put(to, lifted);
        if let Some(seat) = displaced {
            self.put(from, seat);
        }
        Ok(Outcome::Done)
    }

    fn ask(&mut self, rank: Rank, index: SeatIndex, audio: bool, video: bool) -> Answer {
        let mut refusals = Refusals::default();
        refusals.when(rank == Rank::Guest, Code::PermissionDenied);
        let occupant = self.occupant(index);
        let nobody = occupant.is_none();
        refusals.when(
            index != HOST_SEAT && self.no_managed_seat(index),
            Code::SeatIndexInvalid,
        );
        refusals.when(nobody, Code::Conflict);
        refusals.when(!audio && !video, Code::InvalidArgument);
        refusals.settle()?;
        if let Some(user) = occupant {
            self.tell_one(
                &user,
                Event::SeatAsked {
                    seat: index,
                    audio,
                    video,
                },
            );
        }
        Ok(Outcome::Done)
    }

    fn grant(&mut self, rank: Rank, user: &UserId, role: MemberRole) -> Answer {
        let mut refusals = Refusals::default();
        refusals.when(rank < Rank::Host, Code::PermissionDenied);
        refusals.when(role == MemberRole::Host, Code::InvalidArgument);
        refusals.when(*user == self.settings.host.user, Code::InvalidArgument);
        refusals.settle()?;
        if role == MemberRole::Admin {
            self.admins.insert(user.clone());
        } else {
            self.admins.remove(user);
        }
        Ok(Outcome::Done)
    }

    fn remove_member(
        &mut self,
        by: &Principal,
        user: &UserId,
        ban: Option<Duration>,
        note: Option<&String>,
        now: Instant,
    ) -> Answer {
        let rank = self.rank(by);
        let own = *user == by.person.user && rank != Rank::Service;
        let of_host = *user == self.settings.host.user;
        let seat = self.seat_of(user).filter(|seat| *seat != HOST_SEAT);
        let mut refusals = Refusals::default();
        if !own {
            refusals.when(
                !self.may_kick(by, user) || rank == Rank::Admin && of_host,
                Code::PermissionDenied,
            );
            refusals.when(of_host, Code::InvalidArgument);
            let kept = self.external() && rank != Rank::Service && seat.is_some();
            refusals.when(kept && self.may_kick(by, user), Code::SeatsDisabled);
        }
        refusals.settle()?;
        self.finish_of(user, ClosedReason::Left, now);
        if let Some(seat) = seat {
            if own && !self.external() {
                self.vacate(seat, LeaveReason::Left);
            } else if !own {
                self.kick(seat, LeaveReason::Removed, note);
                self.cool(user.clone(), self.settings.policies.kick_cooldown_ms, now);
            }
        }
        let banned = ban.filter(|_| !own);
        if let Some(ban) = banned {
            self.bans.retain(|_, until| *until > now);
            self.bans.insert(user.clone(), now + ban);
            self.admins.remove(user);
        }
        // Listed as gone while a seat is theirs.
        if let Some(here) = self.members.get_mut(user) {
            here.gone = true;
            here.lost_at = Some(now);
        }
        let reason = match (own, banned) {
            (true, _) => MemberLeftReason::Left,
            (false, None) => MemberLeftReason::Removed,
            (false, Some(_)) => MemberLeftReason::Banned,
        };
        self.member_reasons.insert(user.clone(), reason);
        Ok(if own {
            Outcome::Done
        } else {
            Outcome::Removed(user.clone())
        })
    }
}
