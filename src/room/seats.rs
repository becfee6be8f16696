//! The commands that change who sits where, and what of them may be seen and heard.

use super::event::Event;
use super::machine::HOST_SEAT;
use super::rules::{Action, Standing};
use super::settings::SEATS;
use super::*;
use crate::forward::SeatIndex;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// Running cooldowns. Each takes a host's command against somebody, so more than this within one cooldown's length is no
/// live show; above it the one that ends first is forgotten.
const COOLDOWNS_MAX: usize = 1_024;

impl Room {
    /// SEATS row 5a.
    pub(super) fn seat(
        &mut self,
        by: &Principal,
        standing: Standing,
        index: SeatIndex,
        person: Person,
        if_version: Option<u64>,
        now: Instant,
    ) -> Result<Outcome, Refusal> {
        self.permit_seat_changes(standing)?;
        let oneself = by.person.user == person.user;
        let free_mode = self.settings.seat_mode == SeatMode::Free;
        self.permit(standing, Action::Seat { oneself, free_mode })?;
        self.guest_seat(index)?;
        self.expect_version(if_version)?;
        match self.seat_of(&person.user) {
            Some(at) if at == index => {
                if self.rename(index, &person) {
                    self.commit(now);
                }
                let granted = self.granted(&person.user).map(Outcome::Seated);
                return Ok(granted.unwrap_or(Outcome::Done));
            }
            Some(_) => self.unseated(&person.user)?,
            None => {}
        }
        match standing {
            Standing::Member => {
                self.not_banned(&person.user, now)?;
                self.cooled_down(&person.user, now)?;
            }
            Standing::Admin | Standing::Host => self.in_the_room(&person.user, now)?,
            Standing::Service => {}
        }
        self.vacant(index)?;
        if self.taken_guest_seats() >= usize::from(self.settings.max_guests) {
            return Err(all_taken());
        }
        self.capacity(1)?;
        let granted = self.reserve(index, self.known(person), None, now);
        self.commit(now);
        Ok(Outcome::Seated(granted))
    }

    /// SEATS rows 12 and 13, by seat.
    #[expect(clippy::too_many_arguments, reason = "the fields of one command, taken apart once")]
    pub(super) fn unseat(
        &mut self,
        by: &Principal,
        standing: Standing,
        index: SeatIndex,
        user: Option<UserId>,
        note: Option<String>,
        if_version: Option<u64>,
        now: Instant,
    ) -> Result<Outcome, Refusal> {
        self.permit_seat_changes(standing)?;
        let occupant = self.at(index).and_then(|seat| seat.occupancy.person());
        let occupant = occupant.map(|person| person.user.clone());
        let own = occupant.as_ref() == Some(&by.person.user);
        if standing == Standing::Member && !own {
            self.permit(standing, Action::Kick { admin: false })?;
        }
        self.managed_seat(index)?;
        self.expect_version(if_version)?;
        if user.is_some() && user != occupant {
            let detail = format!("somebody else, or nobody, is on seat {} now", index.0);
            return Err(Refusal::new(Code::Conflict, detail));
        }
        match occupant {
            Some(occupant) => self.remove(by, standing, index, &occupant, note, now),
            None => Ok(Outcome::Done),
        }
    }

    /// SEATS rows 12 and 13, by user.
    pub(super) fn unseat_user(
        &mut self,
        by: &Principal,
        standing: Standing,
        user: UserId,
        note: Option<String>,
        now: Instant,
    ) -> Result<Outcome, Refusal> {
        self.permit_seat_changes(standing)?;
        if by.person.user != user {
            self.permit(
                standing,
                Action::Kick {
                    admin: self.is_admin(&user),
                },
            )?;
        }
        let Some(index) = self.seat_of(&user) else {
            return Ok(Outcome::Done);
        };
        self.managed_seat(index)?;
        self.remove(by, standing, index, &user, note, now)
    }

    fn remove(
        &mut self,
        by: &Principal,
        standing: Standing,
        index: SeatIndex,
        occupant: &UserId,
        note: Option<String>,
        now: Instant,
    ) -> Result<Outcome, Refusal> {
        if *occupant == by.person.user {
            self.permit(standing, Action::Leave)?;
            self.vacate(index, LeaveReason::Left, note);
        } else {
            self.permit(
                standing,
                Action::Kick {
                    admin: self.is_admin(occupant),
                },
            )?;
            self.vacate(index, LeaveReason::Kicked, note);
            self.cool_down(occupant, self.settings.policies.kick_cooldown_ms, now);
        }
        self.commit(now);
        Ok(Outcome::Done)
    }

    /// SEATS rows 14 and 14a. Only what would change needs a permission; touching another's seat at all takes a host.
    pub(super) fn set_flags(
        &mut self,
        by: &Principal,
        standing: Standing,
        index: SeatIndex,
        patch: SeatFlagsPatch,
        now: Instant,
    ) -> Result<Outcome, Refusal> {
        let occupant = self.at(index).and_then(|seat| seat.occupancy.person()).cloned();
        let oneself = occupant.as_ref().is_some_and(|person| person.user == by.person.user);
        if standing == Standing::Member && !oneself {
            self.permit(standing, Action::Lock)?;
        }
        let Some(flags) = self.at(index).map(|seat| seat.flags) else {
            return Err(self.no_such_seat(index));
        };
        if index != HOST_SEAT {
            self.managed_seat(index)?;
        }
        let wanted = SeatFlags {
            locked: patch.locked.unwrap_or(flags.locked),
            audio_locked: patch.audio_locked.unwrap_or(flags.audio_locked),
            video_locked: patch.video_locked.unwrap_or(flags.video_locked),
            audio_muted: patch.audio_muted.unwrap_or(flags.audio_muted),
            video_muted: patch.video_muted.unwrap_or(flags.video_muted),
        };
        self.permit_flags(standing, index, oneself, occupant.as_ref(), flags, wanted)?;
        if wanted == flags {
            return Ok(Outcome::Done);
        }
        if wanted.locked
            && let Some(person) = self.vacate(index, LeaveReason::Locked, None)
            && person.user != by.person.user
        {
            self.cool_down(&person.user, self.settings.policies.kick_cooldown_ms, now);
        }
        if let Some(seat) = self.at_mut(index) {
            // Whoever was removed takes the mutes along.
            seat.flags = SeatFlags {
                audio_muted: patch.audio_muted.unwrap_or(seat.flags.audio_muted),
                video_muted: patch.video_muted.unwrap_or(seat.flags.video_muted),
                ..wanted
            };
            let flags = seat.flags;
            self.tell_seats();
            self.tell_all(Event::SeatUpdated { seat: index, flags });
        }
        self.commit(now);
        Ok(Outcome::Done)
    }

    fn permit_flags(
        &self,
        standing: Standing,
        index: SeatIndex,
        oneself: bool,
        occupant: Option<&Person>,
        old: SeatFlags,
        new: SeatFlags,
    ) -> Result<(), Refusal> {
        if old.locked != new.locked {
            if index == HOST_SEAT {
                return Err(Refusal::new(Code::SeatIndexInvalid, "the host's seat is never locked"));
            }
            self.permit_seat_changes(standing)?;
            self.permit(standing, Action::Lock)?;
            if let Some(person) = occupant.filter(|_| new.locked && !oneself) {
                self.permit(
                    standing,
                    Action::Kick {
                        admin: self.is_admin(&person.user),
                    },
                )?;
            }
        }
        let devices = [
            (old.audio_locked, new.audio_locked, old.audio_muted, new.audio_muted),
            (old.video_locked, new.video_locked, old.video_muted, new.video_muted),
        ];
        for (was_locked, locked, was_muted, muted) in devices {
            if was_locked != locked {
                self.permit(standing, Action::LockDevice)?;
            }
            if !was_muted && muted {
                self.permit(standing, Action::Mute { oneself })?;
            }
            if was_muted && !muted {
                let empty = occupant.is_none();
                self.permit(standing, Action::Unmute { oneself, empty })?;
            }
        }
        Ok(())
    }

    /// `PUT seats`: guests not named leave, those named elsewhere move with their transports, others get a reservation.
    pub(super) fn assign(
        &mut self,
        standing: Standing,
        seats: &BTreeMap<SeatIndex, Option<Person>>,
        if_version: Option<u64>,
        now: Instant,
    ) -> Result<Outcome, Refusal> {
        self.permit(standing, Action::Assign)?;
        self.expect_version(if_version)?;
        self.assignable(seats)?;
        let newcomers = seats
            .values()
            .flatten()
            .filter(|person| self.seat_of(&person.user).is_none())
            .count();
        let leavers = self.indexed().skip(1).filter(|(_, seat)| {
            let person = seat.occupancy.person();
            person.is_some_and(|person| !seats.values().flatten().any(|named| named.user == person.user))
        });
        self.capacity(newcomers.saturating_sub(leavers.count()))?;
        let target = |index: SeatIndex| seats.get(&index).and_then(Option::as_ref);

        let mut changed = false;
        let mut movers: BTreeMap<UserId, (SeatIndex, Seat)> = BTreeMap::new();
        for index in (1..SEATS).map(SeatIndex) {
            let Some(seat) = self.at(index) else { continue };
            let Some(user) = seat.occupancy.person().map(|person| person.user.clone()) else {
                continue;
            };
            let destination = seats
                .iter()
                .find(|(_, person)| person.as_ref().is_some_and(|p| p.user == user));
            match destination {
                Some((to, _)) if *to == index => {}
                Some(_) => {
                    movers.insert(user, (index, seat.clone()));
                    changed = true;
                }
                None => {
                    self.vacate(index, LeaveReason::Assigned, None);
                    changed = true;
                }
            }
        }
        for (from, _) in movers.values() {
            self.lift(*from);
        }
        for index in (1..SEATS).map(SeatIndex) {
            let Some(person) = target(index) else { continue };
            if let Some((from, seat)) = movers.remove(&person.user) {
                self.place(index, seat);
                self.rename(index, person);
                if let Some(person) = self.at(index).and_then(|seat| seat.occupancy.person()).cloned() {
                    self.draft.moved(from, index, person);
                }
            } else if self.seat_of(&person.user).is_some() {
                changed |= self.rename(index, person);
            } else {
                self.reserve(index, self.known(person.clone()), None, now);
                changed = true;
            }
        }
        if changed {
            self.commit(now);
        }
        Ok(Outcome::Done)
    }

    fn assignable(&self, seats: &BTreeMap<SeatIndex, Option<Person>>) -> Result<(), Refusal> {
        let mut users = BTreeSet::from([&self.settings.host.user]);
        for (index, person) in seats {
            let field = format!("seats.{}", index.0);
            self.guest_seat(*index).map_err(|refusal| Refusal {
                field: Some(field.clone()),
                ..refusal
            })?;
            let Some(person) = person else { continue };
            if self.at(*index).is_some_and(|seat| seat.flags.locked) {
                return Err(Refusal::invalid(&field, format!("seat {} is locked", index.0)));
            }
            if !users.insert(&person.user) {
                let detail = format!("{} would have two seats", person.user.as_str());
                return Err(Refusal::invalid(&field, detail));
            }
        }
        Ok(())
    }
}

impl Room {
    pub(super) fn at(&self, index: SeatIndex) -> Option<&Seat> {
        self.seats.get(usize::from(index.0))
    }

    pub(super) fn at_mut(&mut self, index: SeatIndex) -> Option<&mut Seat> {
        self.seats.get_mut(usize::from(index.0))
    }

    fn no_such_seat(&self, index: SeatIndex) -> Refusal {
        let detail = format!(
            "{} is no guest's seat; they are 1 to {}",
            index.0, self.settings.max_guests
        );
        Refusal {
            field: Some("seat".to_owned()),
            ..Refusal::new(Code::SeatIndexInvalid, detail)
        }
    }

    /// A seat a guest can be put on.
    pub(super) fn guest_seat(&self, index: SeatIndex) -> Result<(), Refusal> {
        if index == HOST_SEAT || index.0 > self.settings.max_guests {
            return Err(self.no_such_seat(index));
        }
        Ok(())
    }

    /// A seat there is something to change about: one of those above a lowered `max_guests` while it is still taken.
    pub(super) fn managed_seat(&self, index: SeatIndex) -> Result<(), Refusal> {
        let seat = self.at(index).filter(|_| index != HOST_SEAT);
        if seat.is_some_and(|seat| seat.occupancy.person().is_some()) {
            return Ok(());
        }
        self.guest_seat(index)
    }

    pub(super) fn vacant(&self, index: SeatIndex) -> Result<(), Refusal> {
        match self.at(index) {
            Some(seat) if seat.flags.locked => {
                let detail = format!("seat {} is locked", index.0);
                Err(Refusal::new(Code::SeatLocked, detail))
            }
            Some(seat) if seat.occupancy.person().is_some() => {
                let detail = format!("seat {} is taken", index.0);
                Err(Refusal::new(Code::SeatOccupied, detail))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn cooled_down(&self, user: &UserId, now: Instant) -> Result<(), Refusal> {
        match self.cooldowns.get(user) {
            Some(until) if *until > now => Err(Refusal {
                retry_after: Some(until.saturating_duration_since(now)),
                ..Refusal::new(Code::Cooldown, "rejected, or removed from a seat, a moment ago")
            }),
            _ => Ok(()),
        }
    }

    pub(super) fn person_on(&self, index: SeatIndex) -> Option<&Person> {
        self.at(index)?.occupancy.person()
    }

    pub(super) fn unseated(&self, user: &UserId) -> Result<(), Refusal> {
        let Some(at) = self.seat_of(user) else { return Ok(()) };
        let detail = format!("{} is on seat {} already", user.as_str(), at.0);
        Err(Refusal {
            seat: Some(at),
            ..Refusal::new(Code::AlreadySeated, detail)
        })
    }

    /// What somebody needs to know to publish from the seat they have.
    pub(super) fn granted(&self, user: &UserId) -> Option<Granted> {
        let seat = self.seat_of(user)?;
        let connect_by = match self.at(seat)?.occupancy {
            Occupancy::Reserved { until, .. } => until,
            Occupancy::Empty | Occupancy::Occupied { .. } | Occupancy::Held { .. } => None,
        };
        Some(Granted {
            user: user.clone(),
            seat,
            connect_by,
        })
    }

    /// The seat that a request leads to: the one named, or the lowest free one if none is named, or if the named one is
    /// not to be had and the room falls back to any.
    pub(super) fn seat_for(&self, named: Option<SeatIndex>) -> Result<SeatIndex, Refusal> {
        if self.taken_guest_seats() >= usize::from(self.settings.max_guests) {
            return Err(all_taken());
        }
        let mut guests = (1..=self.settings.max_guests).map(SeatIndex);
        let lowest = guests.find(|index| self.vacant(*index).is_ok()).ok_or_else(all_taken)?;
        let Some(named) = named else { return Ok(lowest) };
        match self.guest_seat(named).and_then(|()| self.vacant(named)) {
            Ok(()) => Ok(named),
            Err(_) if self.settings.policies.fallback_any => Ok(lowest),
            Err(refusal) => Err(refusal),
        }
    }

    /// SEATS row 5, by the request that was accepted, if one was. The caller has made sure that the seat is vacant, and
    /// commits.
    pub(super) fn reserve(
        &mut self,
        index: SeatIndex,
        person: Person,
        request: Option<&Request>,
        now: Instant,
    ) -> Granted {
        let until = self.limit(self.settings.policies.reservation_ms, now);
        self.touch(&person.user);
        self.supersede_requests(&person.user, now);
        if let Some(seat) = self.at_mut(index) {
            assert!(seat.occupancy == Occupancy::Empty && !seat.flags.locked);
            seat.occupancy = Occupancy::Reserved {
                person: person.clone(),
                request: request.map(|request| request.id),
                until,
            };
            let granted = Event::SeatGranted {
                seat: index,
                connect_by: until,
                media: request.map(|request| request.media).unwrap_or_default(),
            };
            self.tell(&person.user, granted);
            self.draft.joined(index, person.clone());
        }
        Granted {
            user: person.user,
            seat: index,
            connect_by: until,
        }
    }

    /// Empties a guest's seat. The caller commits.
    pub(super) fn vacate(&mut self, index: SeatIndex, reason: LeaveReason, note: Option<String>) -> Option<Person> {
        let user = self.person_on(index)?.user.clone();
        self.touch(&user);
        let person = self.lift(index)?.occupancy.person()?.clone();
        self.transports.remove(&user);
        self.media.forget(&user);
        self.voices.forget(&user);
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

    /// Picks up who sits there, with the mutes.
    pub(super) fn lift(&mut self, index: SeatIndex) -> Option<Seat> {
        let user = self.person_on(index)?.user.clone();
        self.touch(&user);
        let seat = self.at_mut(index)?;
        let lifted = seat.clone();
        seat.occupancy = Occupancy::Empty;
        seat.flags.audio_muted = false;
        seat.flags.video_muted = false;
        Some(lifted)
    }

    /// Puts down who was picked up elsewhere: the mutes are theirs, the locks are the seat's.
    pub(super) fn place(&mut self, index: SeatIndex, from: Seat) {
        if let Some(seat) = self.at_mut(index) {
            assert!(seat.occupancy == Occupancy::Empty && !seat.flags.locked);
            seat.occupancy = from.occupancy;
            seat.flags.audio_muted = from.flags.audio_muted;
            seat.flags.video_muted = from.flags.video_muted;
        }
    }

    /// The longer one counts.
    pub(super) fn cool_down(&mut self, user: &UserId, cooldown_ms: u64, now: Instant) {
        let until = now + Duration::from_millis(cooldown_ms);
        self.cooldowns.retain(|_, until| *until > now);
        let running = self.cooldowns.get(user).copied();
        if until > now && running.is_none_or(|running| running < until) {
            self.cooldowns.insert(user.clone(), until);
        }
        if self.cooldowns.len() > COOLDOWNS_MAX {
            let soonest = self.cooldowns.iter().min_by_key(|(_, until)| **until);
            if let Some(user) = soonest.map(|(user, _)| user.clone()) {
                self.cooldowns.remove(&user);
            }
        }
    }

    /// `true`: the person on this seat is called otherwise now.
    fn rename(&mut self, index: SeatIndex, person: &Person) -> bool {
        let Some(known) = self.at_mut(index).and_then(|seat| seat.occupancy.person_mut()) else {
            return false;
        };
        let named = Person {
            user: known.user.clone(),
            name: person.name.clone().or_else(|| known.name.clone()),
            avatar_url: person.avatar_url.clone().or_else(|| known.avatar_url.clone()),
        };
        let changed = named != *known;
        *known = named;
        if changed {
            self.draft.renamed();
        }
        changed
    }
}

fn all_taken() -> Refusal {
    Refusal::new(Code::AllSeatsOccupied, "all seats are taken or locked")
}
