//! From what happens in the room to its notices: gathered while a step runs, numbered and addressed when it is committed.
//!
//! One step makes one `seats.changed`, however many seats it concerns. Whom a notice is for is settled when it happens;
//! which version it belongs to, when the step is done.

use super::event::{Departure, Event, MemberLeftReason, Movement};
use super::*;
use crate::forward::SeatIndex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

/// What the current step has to tell.
#[derive(Debug, Default)]
pub(super) struct Draft {
    events: Vec<(Recipients, Event)>,
    joined: Vec<(SeatIndex, Person)>,
    left: Vec<Departure>,
    moved: Vec<Movement>,
    /// Somebody on a seat is called otherwise now.
    renamed: bool,
    /// How those the step concerns were listed before it.
    pub touched: BTreeMap<UserId, Option<Member>>,
    /// Why those it takes off the list leave.
    pub reasons: BTreeMap<UserId, MemberLeftReason>,
}

impl Draft {
    pub fn joined(&mut self, seat: SeatIndex, person: Person) {
        self.joined.push((seat, person));
    }

    pub fn left(&mut self, seat: SeatIndex, person: Person, reason: LeaveReason) {
        self.left.push(Departure { seat, person, reason });
    }

    pub fn moved(&mut self, from: SeatIndex, to: SeatIndex, person: Person) {
        self.moved.push(Movement { from, to, person });
    }

    pub fn renamed(&mut self) {
        self.renamed = true;
    }

    pub fn leaves(&mut self, user: &UserId, reason: MemberLeftReason) {
        self.reasons.insert(user.clone(), reason);
    }

    fn touches_seats(&self) -> bool {
        self.renamed || !(self.joined.is_empty() && self.left.is_empty() && self.moved.is_empty())
    }

    pub fn is_empty(&self) -> bool {
        self.events.is_empty() && !self.touches_seats() && self.touched.is_empty() && self.reasons.is_empty()
    }
}

/// Telling.
impl Room {
    /// To everybody.
    pub(super) fn tell_all(&mut self, event: Event) {
        self.draft.events.push((Recipients::Everybody, event));
    }

    pub(super) fn tell(&mut self, user: &UserId, event: Event) {
        let only = Recipients::Users(Arc::new(BTreeSet::from([user.clone()])));
        self.draft.events.push((only, event));
    }

    pub(super) fn tell_hosts(&mut self, event: Event) {
        let hosts = Recipients::Users(Arc::new(self.hosts()));
        self.draft.events.push((hosts, event));
    }

    pub(super) fn tell_hosts_and(&mut self, user: &UserId, event: Event) {
        let mut users = self.hosts();
        users.insert(user.clone());
        self.draft.events.push((Recipients::Users(Arc::new(users)), event));
    }

    /// To the other hosts: none, none of it.
    pub(super) fn tell_hosts_but(&mut self, user: &UserId, event: Event) {
        let mut users = self.hosts();
        users.remove(user);
        if !users.is_empty() {
            self.draft.events.push((Recipients::Users(Arc::new(users)), event));
        }
    }

    /// Puts `seats.changed` before what is told from here on; by itself it comes last.
    pub(super) fn tell_seats(&mut self) {
        if !self.draft.touches_seats() {
            return;
        }
        let event = Event::SeatsChanged {
            seats: self.shown_seats().into(),
            sources: Arc::new(self.sources()),
            voices: Arc::new(self.voices()),
            joined: std::mem::take(&mut self.draft.joined),
            left: std::mem::take(&mut self.draft.left),
            moved: std::mem::take(&mut self.draft.moved),
        };
        self.draft.renamed = false;
        self.tell_all(event);
    }

    /// The step is done: the room is at its next version, and what it has to tell belongs to it.
    pub(super) fn commit(&mut self, now: Instant) {
        self.version += 1;
        self.publish(now);
    }

    /// Numbers what there is to tell. By itself for what raises no version.
    pub(super) fn publish(&mut self, now: Instant) {
        self.tell_seats();
        self.tell_members();
        self.draft.reasons.clear();
        for (to, event) in std::mem::take(&mut self.draft.events) {
            self.seq += 1;
            self.notices.push_back(Notice {
                room: self.id.clone(),
                epoch: self.epoch,
                version: self.version,
                seq: self.seq,
                at: now,
                actor: self.actor.clone(),
                to,
                event,
            });
        }
    }
}
