//! What time brings, in the order of its deadlines; each carries its reason. Also the room's end, which most of them can be.

use super::event::{ClosedReason, EndReason, Event};
use super::machine::HOST_SEAT;
use super::media::Media;
use super::settings::SEATS;
use super::*;
use crate::forward::SeatIndex;
use std::time::{Duration, Instant};

/// Why the room wants to be woken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Deadline {
    /// A guest's reservation or grace is over.
    Seat(SeatIndex),
    HostAway,
    Request(RequestId),
    /// A lost stream did not come back.
    Gone(UserId),
    EmptyRoom,
    /// There may be something to tell that was held back.
    Audience,
    Speaking,
}

impl Room {
    pub(super) fn next_deadline(&self) -> Option<(Instant, Deadline)> {
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
        let requests = self.requests.pending.iter();
        let requests = requests.map(|(id, request)| (request.expires_at, Deadline::Request(*id)));
        let lost = self.members.lost.first();
        let lost = lost.map(|(at, user)| (*at, Deadline::Gone(user.clone())));
        let empty_room_ms = self.settings.policies.empty_room_ms;
        let empty = self.empty_since.filter(|_| empty_room_ms > 0);
        let empty = empty.map(|since| (since + Duration::from_millis(empty_room_ms), Deadline::EmptyRoom));
        let audience = self.audience.due.map(|at| (at, Deadline::Audience));
        let speaking = self.voices.due.map(|at| (at, Deadline::Speaking));
        let all = seats
            .chain(requests)
            .chain(lost)
            .chain(empty)
            .chain(audience)
            .chain(speaking);
        all.min_by_key(|(at, _)| *at)
    }

    /// Lets happen what is due.
    pub(super) fn expire(&mut self, now: Instant) {
        self.requests.forget(now);
        while let Some((_, reason)) = self.next_deadline().filter(|(at, _)| *at <= now) {
            match reason {
                Deadline::Seat(index) => {
                    let held = self.at(index);
                    let held = held.is_some_and(|seat| matches!(seat.occupancy, Occupancy::Held { .. }));
                    let reason = if held {
                        LeaveReason::Disconnected
                    } else {
                        LeaveReason::MediaTimeout
                    };
                    self.vacate(index, reason, None);
                    self.commit(now);
                }
                Deadline::HostAway => self.host_away_too_long(now),
                Deadline::Request(id) => self.expire_request(id, now),
                Deadline::Gone(user) => self.gone(&user, now),
                Deadline::EmptyRoom => self.end(EndReason::Empty, now),
                Deadline::Audience => self.tell_audience(now),
                Deadline::Speaking => self.tell_speaking(now),
            }
        }
    }

    /// After whatever entered: timers that it started at zero, and the news that follow from the state.
    pub(super) fn settle(&mut self, now: Instant) {
        self.note_use(now);
        self.expire(now);
        self.tell_media(now);
        self.tell_speaking(now);
        self.tell_audience(now);
        self.debug_assert_invariants();
    }

    pub(super) fn end(&mut self, reason: EndReason, now: Instant) {
        self.close_requests(ClosedReason::RoomEnded, now);
        for index in (1..SEATS).map(SeatIndex) {
            self.vacate(index, LeaveReason::RoomEnded, None);
        }
        if let Some(seat) = self.seats.first_mut() {
            seat.occupancy = Occupancy::Reserved {
                person: self.settings.host.clone(),
                request: None,
                until: None,
            };
        }
        self.transports.clear();
        self.media = Media::default();
        self.cooldowns.clear();
        self.phase = Phase::Ended;
        self.tell_seats();
        self.tell_members();
        self.tell_all(Event::RoomEnded { reason });
        self.commit(now);
        self.note_use(now);
    }

    /// Starts or stops the empty-room timer.
    pub(super) fn note_use(&mut self, now: Instant) {
        let used = self.audience.viewers > 0
            || self.members.online > 0
            || !self.transports.is_empty()
            || self.phase == Phase::Ended;
        self.empty_since = if used { None } else { self.empty_since.or(Some(now)) };
    }
}
