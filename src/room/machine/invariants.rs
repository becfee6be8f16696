//! What must hold and what must not, after every step; checked in tests and debug builds.

use super::{HOST_SEAT, Room, SEATS};
use crate::room::{Occupancy, Person, Phase, UserId};
use std::collections::BTreeSet;

impl Room {
    pub(super) fn debug_assert_invariants(&self) {
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
        let used = self.viewers > 0 || !self.transports.is_empty() || ended;
        assert_eq!(self.empty_since.is_none(), used);
    }
}
