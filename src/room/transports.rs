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
        self.tell_all(Event::SeatSuspended {
            seat: index,
            person: person.clone(),
            until,
        });
        if index == HOST_SEAT {
            self.phase = Phase::HostAway;
            self.tell_all(Event::HostAway { host: person, until });
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
            let eligible = *user != self.settings.host.user;
            (eligible && here.presence == Presence::Online).then_some(here)
        });
        let longest = online.min_by_key(|here| (here.joined_at, &here.person.user));
        longest.map(|here| here.person.clone())
    }

    /// The admin becomes the host and takes seat 0: live with the running transport, or to go live as every host does.
    fn promote(&mut self, admin: Person, now: Instant) {
        let previous = self.settings.host.clone();
        self.touch(&previous.user);
        self.touch(&admin.user);
        let from = self.seat_of(&admin.user);
        let lifted = from.and_then(|from| self.lift(from));
        let running = self.transports.contains_key(&admin.user);
        // As the seat knows them, which may be by a service key's word.
        let seated = lifted.as_ref().and_then(|seat| seat.occupancy.person());
        let host = seated.cloned().unwrap_or(admin);
        if self.lift(HOST_SEAT).is_some() {
            self.media.forget(&previous.user);
            self.voices.forget(&previous.user);
            self.draft.left(HOST_SEAT, previous.clone(), LeaveReason::Disconnected);
        }
        self.settings.host = host.clone();
        let mut seat = lifted.unwrap_or_else(Seat::empty);
        if !running {
            seat.occupancy = Occupancy::Reserved {
                person: host.clone(),
                request: None,
                until: None,
            };
            let granted = Event::SeatGranted {
                seat: HOST_SEAT,
                connect_by: None,
                media: RequestMedia::default(),
            };
            self.tell(&host.user, granted);
        }
        self.place(HOST_SEAT, seat);
        match from {
            Some(from) => self.draft.moved(from, HOST_SEAT, host.clone()),
            None => {
                self.supersede_requests(&host.user, now);
                self.draft.joined(HOST_SEAT, host.clone());
            }
        }
        self.phase = if running { Phase::Live } else { Phase::Idle };
        self.tell_seats();
        self.tell_all(Event::HostChanged { host, previous });
        self.tell_room();
        self.commit(now);
    }
}
