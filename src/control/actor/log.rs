//! What a room's events leave in the log.

use crate::room::event::Event;
use crate::room::{Notice, Person};
use crate::wire;

pub(super) fn notice(notice: &Notice) {
    let (room, seq) = (notice.room.as_str(), notice.seq);
    let event = wire::event::name(notice);
    let actor = notice.actor.as_ref().map(|person| person.user.as_str());
    let seated = |seat: crate::forward::SeatIndex, person: &Person, what: &str| {
        tracing::info!(room, seq, seat = seat.0, user = person.user.as_str(), actor, "{what}");
    };
    match &notice.event {
        Event::SeatsChanged {
            joined, left, moved, ..
        } => {
            for (seat, person) in joined {
                seated(*seat, person, "seated");
            }
            for gone in left {
                let user = gone.person.user.as_str();
                tracing::info!(room, seq, seat = gone.seat.0, user, actor, reason = ?gone.reason, "off the seat");
            }
            for step in moved {
                let user = step.person.user.as_str();
                tracing::info!(room, seq, seat = step.to.0, from = step.from.0, user, actor, "moved");
            }
        }
        Event::SeatConnected { seat, person, .. } => seated(*seat, person, "transport up"),
        Event::SeatSuspended { seat, person, .. } => seated(*seat, person, "last transport lost"),
        Event::SeatUpdated { seat, flags } => tracing::info!(room, seq, seat = seat.0, actor, ?flags, "seat changed"),
        Event::RoomEnded { reason } => tracing::info!(room, seq, actor, ?reason, "room ended"),
        // Several a second, or one per viewer
        Event::Speaking { .. }
        | Event::Audience { .. }
        | Event::StageSlots { .. }
        | Event::SeatMedia { .. }
        | Event::SeatFirstFrame { .. } => {
            tracing::trace!(room, seq, event, "event");
        }
        _ => tracing::debug!(room, seq, actor, event, "event"),
    }
}
