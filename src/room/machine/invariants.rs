//! What must hold and what must not, after every step; checked in tests and debug builds.

use super::{HOST_SEAT, Room, SEATS};
use crate::room::{Occupancy, Person, Phase, Presence, RequestKind, RequestState, Role, UserId};
use std::collections::BTreeSet;

impl Room {
    pub(in crate::room) fn debug_assert_invariants(&self) {
        if cfg!(debug_assertions) {
            self.assert_invariants();
        }
    }

    /// Panics where the room contradicts itself.
    pub(in crate::room) fn assert_invariants(&self) {
        assert_eq!(self.seats.len(), usize::from(SEATS));
        assert!(self.draft.is_empty(), "what happened is told when it is committed");
        let people: Vec<&Person> = self.seats.iter().filter_map(|seat| seat.occupancy.person()).collect();
        let users: BTreeSet<&UserId> = people.iter().map(|person| &person.user).collect();
        assert_eq!(people.len(), users.len(), "a user has at most one seat");
        assert!(
            self.seats
                .iter()
                .all(|seat| !seat.flags.locked || seat.occupancy == Occupancy::Empty)
        );

        for (index, seat) in self.indexed() {
            let transports = seat
                .occupancy
                .person()
                .and_then(|person| self.transports.get(&person.user));
            let occupied = matches!(seat.occupancy, Occupancy::Occupied { .. });
            assert_eq!(
                occupied,
                transports.is_some(),
                "occupied: a transport is up ({index:?})"
            );
            let waits_unlimited = self.external() || index == HOST_SEAT && self.phase != Phase::HostAway;
            if matches!(seat.occupancy, Occupancy::Reserved { .. } | Occupancy::Held { .. }) {
                assert_eq!(seat.occupancy.until().is_none(), waits_unlimited, "{index:?}");
            }
        }
        self.assert_requests(&users);
        self.assert_members();
        assert!(self.media.sources.keys().all(|(user, _)| users.contains(user)));
        assert!(self.transports.keys().all(|user| users.contains(user)));
        assert!(self.transports.values().all(|transports| !transports.none()));

        let host = self.seats.first().map(|seat| &seat.occupancy);
        let host_user = host.and_then(Occupancy::person).map(|person| &person.user);
        assert_eq!(host_user, Some(&self.settings.host.user), "seat 0 is the host's");
        let right_phase = match host {
            Some(Occupancy::Reserved { .. }) => matches!(self.phase, Phase::Idle | Phase::Ended),
            Some(Occupancy::Occupied { .. }) => self.phase == Phase::Live,
            Some(Occupancy::Held { .. }) => self.phase == Phase::HostAway,
            Some(Occupancy::Empty) | None => false,
        };
        assert!(right_phase, "{:?} with {host:?}", self.phase);

        let ended = self.phase == Phase::Ended;
        let may_publish = self.desired();
        assert_eq!(may_publish.ended, ended);
        if ended {
            assert_eq!(users.len(), 1, "an ended room has only its host's seat taken");
            assert!(may_publish.seats.is_empty() && self.poll_timeout().is_none());
        } else {
            assert!(may_publish.seats.keys().eq(users), "exactly the seated may publish");
        }
        let used = self.audience.viewers > 0 || self.members.online > 0 || !self.transports.is_empty() || ended;
        assert_eq!(self.empty_since.is_none(), used);
    }

    fn assert_requests(&self, seated: &BTreeSet<&UserId>) {
        let pending = self.requests.pending.values();
        let asking: BTreeSet<_> = pending
            .clone()
            .map(|request| (request.kind, &request.guest.user))
            .collect();
        assert_eq!(
            asking.len(),
            self.requests.pending.len(),
            "at most one pending application and one pending invitation per user"
        );
        for request in pending {
            assert_eq!(request.state, RequestState::Pending);
            assert!(request.granted.is_none() && request.processed_by.is_none());
            assert!(
                !seated.contains(&request.guest.user),
                "a seated user has no pending request"
            );
        }
        for kind in [RequestKind::Application, RequestKind::Invitation] {
            assert!(self.requests(kind).len() <= 100, "the queue is bounded");
        }
        if self.phase == Phase::Ended {
            assert!(self.requests.pending.is_empty());
        }
    }

    fn assert_members(&self) {
        let mut online = 0;
        for (user, here) in &self.members.all {
            assert_eq!(*user, here.person.user);
            let suspended = here.presence == Presence::Suspended;
            assert_eq!(here.lost_until.is_some(), suspended);
            online += usize::from(here.presence == Presence::Online);
            if here.presence == Presence::Gone {
                assert!(self.seat_of(user).is_some(), "whoever is gone is listed for their seat");
            }
            let admin = matches!(here.role, Role::Admin | Role::Host);
            assert_eq!(self.members.admins.contains(user), admin);
        }
        assert_eq!(self.members.online, online);
        let suspended = self.members.all.values().filter_map(|here| here.lost_until);
        assert_eq!(self.members.lost.len(), suspended.count());
        assert!(
            self.members
                .admins
                .iter()
                .all(|user| self.members.all.contains_key(user))
        );
    }
}
