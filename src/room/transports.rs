//! Transports of the seated coming and going, and what becomes of a live whose host is away (SEATS rows 11, 16 and 20).

use super::event::{EndReason, Event};
use super::machine::HOST_SEAT;
use super::*;
use crate::forward::SourceKind;
use std::time::Instant;

impl Room {
    pub(super) fn transport_up(&mut self, user: &UserId, kind: SourceKind, now: Instant) {
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
            self.passed_over.clear();
            if resumed {
                self.tell_all(Event::HostBack { host: person });
            } else {
                self.tell_room();
            }
        }
        self.commit(now);
    }

    pub(super) fn transport_lost(&mut self, user: &UserId, kind: SourceKind, now: Instant) {
        let Some(transports) = self.transports.get_mut(user) else {
            return;
        };
        let count = transports.of(kind);
        *count = count.saturating_sub(1);
        let (source_gone, all_gone) = (*count == 0, transports.none());
        if source_gone {
            self.media.sources.remove(&(user.clone(), kind));
        }
        if !all_gone {
            return;
        }
        self.transports.remove(user);
        self.media.forget(user);
        self.voices.forget(user);
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

    /// The host did not come back in time.
    pub(super) fn host_away_too_long(&mut self, now: Instant) {
        let promoted = match self.settings.policies.host_away {
            HostAwayPolicy::PromoteAdmin => self.longest_online_admin(),
            HostAwayPolicy::End => None,
        };
        match promoted {
            Some(person) => self.promote(person, now),
            None => self.end(EndReason::HostAway, now),
        }
    }

    fn longest_online_admin(&self) -> Option<Person> {
        let admins = self.grants.union(&self.members.admins);
        let online = admins.filter_map(|user| {
            let here = self.members.all.get(user)?;
            let eligible = *user != self.settings.host.user && !self.passed_over.contains(user);
            (eligible && here.presence == Presence::Online).then_some(here)
        });
        let longest = online.min_by_key(|here| (here.joined_at, &here.person.user));
        longest.map(|here| here.person.clone())
    }

    /// The admin becomes the host and takes seat 0, with the running transport, or with a host-away time to go live in.
    fn promote(&mut self, person: Person, now: Instant) {
        let previous = self.settings.host.clone();
        self.touch(&previous.user);
        self.touch(&person.user);
        let from = self.seat_of(&person.user);
        let running = self.transports.contains_key(&person.user);
        let lifted = from.and_then(|from| self.lift(from));
        let person = lifted
            .as_ref()
            .and_then(|seat| seat.occupancy.person())
            .cloned()
            .unwrap_or(person);
        self.settings.host = person.clone();
        self.passed_over.insert(previous.user.clone());
        let until = self.limit(self.settings.policies.host_away_ms, now);
        if self.lift(HOST_SEAT).is_some() {
            self.draft.left(HOST_SEAT, previous.clone(), LeaveReason::Disconnected);
        }
        let waiting = Occupancy::Held {
            person: person.clone(),
            until,
        };
        let seat = match lifted {
            Some(seat) if running => seat,
            Some(seat) => Seat {
                occupancy: waiting,
                ..seat
            },
            None => Seat {
                occupancy: waiting,
                flags: SeatFlags::default(),
            },
        };
        self.place(HOST_SEAT, seat);
        match from {
            Some(from) => self.draft.moved(from, HOST_SEAT, person.clone()),
            None => {
                self.supersede_requests(&person.user, now);
                self.draft.joined(HOST_SEAT, person.clone());
            }
        }
        if !running {
            let granted = Event::SeatGranted {
                seat: HOST_SEAT,
                connect_by: until,
                media: RequestMedia::default(),
            };
            self.tell(&person.user, granted);
        }
        self.tell_seats();
        self.tell_all(Event::HostChanged { host: person, previous });
        if running {
            self.phase = Phase::Live;
            self.passed_over.clear();
            self.tell_room();
        }
        self.commit(now);
    }
}
