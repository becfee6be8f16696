//! The seat machine of one room (SEATS semantics): commands and transport news in; commit, timers, events and the media
//! permissions out. No HTTP and no media in it. Pure: `now` is an argument, the caller's monotonic clock.
//!
//! Every call first lets everything expire that is due at its `now`: the server's clock at arrival decides races between
//! a command and a timer. A change raises `version` by one; a command that finds the room as it wants it changes nothing.
//!
//! Where the specification leaves room, this is decided:
//! - `seq` is one counter per room and epoch. Joining, leaving, media status, speaking and audience counts raise it, not
//!   `version`: they would void every `if_version`. A notice's recipients are settled when it is told.
//! - A member is in the room while online or suspended; service keys are exempt from "the user is in the room". A lost
//!   stream is waited for 10 s; a member who is gone is listed while seated, and in the room again as a newcomer is.
//! - `member.updated` tells presence, role, name and seat.
//! - Hosts (H) are the room's host, granted admins, and members with a host's or admin's token. `promote_admin` takes the
//!   admin who has been in the room longest and is online; one without a running transport has the seat reserved, and
//!   the room is idle until the new host goes live.
//! - The same parameters of an application are seat, media, extra and timeout. Replacing one takes a new place at the end
//!   of the queue. What is asked last decides the seat when both sides ask.
//! - A named seat that is locked or no more is like one that is taken: `fallback_any` decides.
//! - Applying in `free` mode is an application its guest accepts. In `external` mode there are no requests at all.
//! - An invitation that is accepted and finds no seat fails: the one refused command that changes something. The inviter
//!   hears `invitation.responded` with the reason. A closed request's other side hears `*.closed`, also when its guest got
//!   a seat another way; an applicant who leaves is `application.closed{left}`.
//! - Leaving the room, in external mode, leaves the seat to the signalling server. The host's seat stays the host's.
//! - Removing from a seat by removing from the room starts the kick cooldown. Whoever is removed watches no longer either,
//!   and while banned not again; who watches without a name is nobody's to remove. A ban withdraws a grant; the next ban counts
//!   instead, and one of no length lifts it. The host is neither removed nor banned.
//! - Moving oneself is to an empty seat only. Moving from an empty seat, or asking somebody who is not there, is a
//!   `conflict`.
//! - Mutes belong to the person, locks to the seat: a mute moves along with its person and ends with the seat. A mute set
//!   on an empty seat is what its next occupant starts with.
//! - Unmuting is for the muted person alone.
//! - An admin who may change settings may not change what admins may. How the program is made is settings, and what it
//!   shows and how loud is layout, wherever they are changed.
//! - A layout names seats there are when it is set. When `max_guests` is lowered afterwards, what it says of the others
//!   waits for them.
//! - Sitting down by oneself in `free` mode keeps to the kick cooldown; being seated by a host or a service key does not.
//! - Unseating who is not seated, or an empty seat, succeeds and changes nothing.
//! - In `external` mode leaving and locking a seat are a service key's too; devices are still locked and muted by hosts.
//!   The host's absence has no limit there either.
//! - A name or avatar left out keeps the one known; another one is a change.
//! - A changed timer holds for waits that begin after it; changing to or from `external` starts running waits anew.
//! - A creation is repeated with the content it had, or the content the room has now.

pub mod event;
mod machine;
mod media;
mod members;
mod moves;
mod notices;
mod program;
pub mod record;
mod request;
mod requests;
mod rules;
mod seats;
mod settings;
mod timers;
mod transports;
mod types;

#[cfg(test)]
mod model;
#[cfg(test)]
mod races;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

pub use event::{Event, Notice, Recipients};
pub use machine::{Command, Committed, Desired, HOST_SEAT, MediaNews, Outcome, PresenceNews, Room, TransportNews};
pub use program::*;
pub use record::{Moment, Record};
pub use request::*;
pub use rules::may_create;
pub use types::*;
