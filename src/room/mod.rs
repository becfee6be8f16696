//! The seat machine of one room (SEATS semantics): commands and transport news in; commit, timers, events and the media
//! permissions out. No HTTP and no media in it. Pure: `now` is an argument, the caller's monotonic clock.
//!
//! Every call first lets everything expire that is due at its `now`: the server's clock at arrival decides races between
//! a command and a timer. A change raises `version` by one; a command that finds the room as it wants it changes nothing.
//!
//! Where the specification leaves room, this is decided:
//! - Who is *in the room* is not known before members exist: hosts may seat anybody. Admins are known by their commands.
//! - `promote_admin` needs to know which admin is online; until members exist it acts like `end`.
//! - Mutes belong to the person, locks to the seat: a mute moves along with its person and ends with the seat. A mute set
//!   on an empty seat is what its next occupant starts with.
//! - Unmuting is for the muted person alone.
//! - An admin who may change settings may not change what admins may.
//! - Sitting down by oneself in `free` mode keeps to the kick cooldown; being seated by a host or a service key does not.
//! - Unseating who is not seated, or an empty seat, succeeds and changes nothing.
//! - In `external` mode leaving and locking a seat are a service key's too; devices are still locked and muted by hosts.
//!   The host's absence has no limit there either.
//! - A name or avatar left out keeps the one known; another one is a change.
//! - Media status (which source flows, its size) is not versioned: it would void every `if_version`.
//! - A changed timer holds for waits that begin after it; changing to or from `external` starts running waits anew.
//! - A creation is repeated with the content it had, or the content the room has now.

pub mod event;
mod machine;
mod media;
mod members;
mod moves;
mod notices;
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
pub use record::{Moment, Record};
pub use request::*;
pub use rules::may_create;
pub use types::*;
