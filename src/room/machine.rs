//! The transitions.

use super::*;
use crate::forward::{Permission, SeatIndex, SourceKind};
use std::collections::BTreeMap;
use std::time::Instant;

/// What somebody wants of a room.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    Update(SettingsPatch),
    End,
    /// `PUT seats/{n}`.
    Seat {
        seat: SeatIndex,
        person: Person,
        if_version: Option<u64>,
    },
    /// `DELETE seats/{n}`: kick, or leave when it is one's own.
    Unseat {
        seat: SeatIndex,
        user: Option<UserId>,
        reason: Option<String>,
        if_version: Option<u64>,
    },
    /// `DELETE seats/me` and `DELETE members/{user}/seat`.
    UnseatUser {
        user: UserId,
        reason: Option<String>,
    },
    /// `PATCH seats/{n}`.
    SetFlags {
        seat: SeatIndex,
        patch: SeatFlagsPatch,
    },
    /// `PUT seats`: the complete assignment of guests in one step.
    Assign {
        seats: BTreeMap<SeatIndex, Option<Person>>,
        if_version: Option<u64>,
    },
}

/// What the transports of a seated user did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransportNews {
    Up { user: UserId, kind: SourceKind },
    Lost { user: UserId, kind: SourceKind },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    pub version: u64,
    /// `false`: the room was already so; the version did not move.
    pub changed: bool,
}

/// Who may publish, from which seat, and what of it may flow: all the media side has to know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Desired {
    pub seats: BTreeMap<UserId, (SeatIndex, Permission)>,
    pub ended: bool,
}

/// One room. The order in which it commits is the truth.
pub struct Room {}

impl Room {
    pub fn new(_id: RoomId, _epoch: u64, _settings: Settings, _now: Instant) -> Result<Self, Refusal> {
        todo!()
    }
    pub fn handle_command(&mut self, _by: &Principal, _command: Command, _now: Instant) -> Result<Committed, Refusal> {
        todo!()
    }
    pub fn handle_transport(&mut self, _news: TransportNews, _now: Instant) {
        todo!()
    }
    /// Something keeps the room in use besides its members (viewers, outputs): holds off the empty-room timer.
    pub fn handle_audience(&mut self, _present: bool, _now: Instant) {
        todo!()
    }
    pub fn handle_timeout(&mut self, _now: Instant) {
        todo!()
    }
    pub fn poll_timeout(&self) -> Option<Instant> {
        todo!()
    }
    pub fn desired(&self) -> Desired {
        todo!()
    }
    pub fn snapshot(&self, _now: Instant) -> Snapshot {
        todo!()
    }
}
