//! Changing seats, and asking for a device to be switched on.

use super::event::Event;
use super::machine::HOST_SEAT;
use super::rules::{Action, Standing};
use super::*;
use crate::forward::SeatIndex;
use std::time::Instant;

/// The fields of [`Command::Move`].
pub(super) struct Move {
    pub from: SeatIndex,
    pub to: SeatIndex,
    pub policy: MovePolicy,
    pub user: Option<UserId>,
    pub if_version: Option<u64>,
}

impl Room {
    /// SEATS row 19. Who moves keeps transports and mutes; the locks are the seats'.
    pub(super) fn move_seat(
        &mut self,
        by: &Principal,
        standing: Standing,
        step: &Move,
        now: Instant,
    ) -> Result<Outcome, Refusal> {
        self.permit_seat_changes(standing)?;
        let (from, to) = (step.from, step.to);
        let mover = self.person_on(from).map(|person| person.user.clone());
        let oneself = mover.as_ref() == Some(&by.person.user);
        let admin = mover.as_ref().is_some_and(|user| self.is_admin(user));
        self.permit(standing, Action::Move { oneself, admin })?;
        self.managed_seat(from)?;
        self.expect_version(step.if_version)?;
        let Some(mover) = mover else {
            let detail = format!("nobody is on seat {}", from.0);
            return Err(Refusal::new(Code::Conflict, detail));
        };
        if step.user.as_ref().is_some_and(|user| *user != mover) {
            let detail = format!("somebody else is on seat {} now", from.0);
            return Err(Refusal::new(Code::Conflict, detail));
        }
        if from == to {
            return Ok(Outcome::Done);
        }
        self.guest_seat(to)?;
        let other = self.person_on(to).cloned();
        match (&other, step.policy) {
            (None, _) => self.vacant(to)?,
            (Some(_), MovePolicy::Abort) => self.vacant(to)?,
            (Some(other), policy) => {
                let admin = self.is_admin(&other.user);
                let action = match policy {
                    MovePolicy::Swap => Action::Move { oneself: false, admin },
                    MovePolicy::Abort | MovePolicy::Replace => Action::Kick { admin },
                };
                self.permit_displacing(standing, other.user == by.person.user, action)?;
            }
        }
        if other.is_some() && step.policy == MovePolicy::Swap {
            // Nobody is put on a seat above a lowered `max_guests`.
            self.guest_seat(from)?;
        }
        match other {
            Some(other) if step.policy == MovePolicy::Replace => {
                self.vacate(to, LeaveReason::Replaced, None);
                self.cool_down(&other.user, self.settings.policies.kick_cooldown_ms, now);
                self.shift(from, to);
            }
            Some(_) => {
                let (one, two) = (self.lift(from), self.lift(to));
                self.land(one, from, to);
                self.land(two, to, from);
            }
            None => self.shift(from, to),
        }
        self.commit(now);
        Ok(Outcome::Done)
    }

    /// Who moves oneself does so to an empty seat; only those who could do it to the other may take the other's place.
    fn permit_displacing(&self, standing: Standing, oneself: bool, action: Action) -> Result<(), Refusal> {
        if standing == Standing::Member {
            return Err(Refusal::new(
                Code::SeatOccupied,
                "oneself one moves to an empty seat only",
            ));
        }
        if oneself {
            return Ok(());
        }
        self.permit(standing, action)
    }

    fn shift(&mut self, from: SeatIndex, to: SeatIndex) {
        let seat = self.lift(from);
        self.land(seat, from, to);
    }

    fn land(&mut self, seat: Option<Seat>, from: SeatIndex, to: SeatIndex) {
        let Some(seat) = seat else { return };
        let person = seat.occupancy.person().cloned();
        self.place(to, seat);
        if let Some(person) = person {
            self.draft.moved(from, to, person);
        }
    }

    /// SEATS row 14b.
    pub(super) fn ask_device(
        &mut self,
        standing: Standing,
        seat: SeatIndex,
        audio: bool,
        video: bool,
        now: Instant,
    ) -> Result<Outcome, Refusal> {
        self.permit(standing, Action::Ask)?;
        if seat != HOST_SEAT {
            self.managed_seat(seat)?;
        }
        if !audio && !video {
            return Err(Refusal::invalid("audio", "ask for audio, video or both"));
        }
        let Some(user) = self.person_on(seat).map(|person| person.user.clone()) else {
            let detail = format!("nobody is on seat {}", seat.0);
            return Err(Refusal::new(Code::Conflict, detail));
        };
        self.tell(&user, Event::SeatAsked { seat, audio, video });
        self.publish(now);
        Ok(Outcome::Done)
    }
}
