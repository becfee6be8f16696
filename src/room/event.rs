//! What a room tells, and whom: SEATS' events with their recipients.
//!
//! A [`Notice`] is one event with one `seq`. Recipients are settled when it is emitted, so that a resumed stream gets
//! what its user was due then. What each looks like outside is `wire`'s.

use super::{
    LeaveReason, Member, Person, Phase, Request, RequestMedia, RoomId, Seat, SeatFlags, SourceStatus, UserId, Voice,
};
use crate::forward::{SeatIndex, SlotReport, SourceKind};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

/// One event of a room.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    pub room: RoomId,
    pub epoch: u64,
    /// Of the room once this had happened.
    pub version: u64,
    /// One counter per room and epoch, from 2 on: a new room is at 1.
    pub seq: u64,
    pub at: Instant,
    /// Who caused it; `None`: time, media or the server itself.
    pub actor: Option<Person>,
    pub to: Recipients,
    pub event: Event,
}

/// Who is due an event. Service keys' streams are due every one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recipients {
    Everybody,
    /// These and nobody else, whether a stream of theirs is open or not.
    Users(Arc<BTreeSet<UserId>>),
}

impl Recipients {
    pub fn include(&self, user: &UserId) -> bool {
        match self {
            Recipients::Everybody => true,
            Recipients::Users(users) => users.contains(user),
        }
    }
}

/// Someone who is off a seat, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Departure {
    pub seat: SeatIndex,
    pub person: Person,
    pub reason: LeaveReason,
}

/// Someone who changed seats.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Movement {
    pub from: SeatIndex,
    pub to: SeatIndex,
    pub person: Person,
}

/// Why a request ended without anybody's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ClosedReason {
    Timeout,
    /// The guest got a seat another way.
    AlreadySeated,
    /// The guest left the room, or is gone from it.
    Left,
    RoomEnded,
    /// The seats are the signalling server's from now on.
    SeatsDisabled,
}

/// Of one track of a seat's source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TrackState {
    #[default]
    Off,
    On,
    Muted,
    Locked,
}

/// The names are the contract's, in its order (SEATS "Transitions"); H, G, I and A there are the recipients.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// `seats.changed`: one per change of occupancy, however many seats it concerns. `seats` is the list afterwards.
    SeatsChanged {
        seats: Arc<[Seat]>,
        sources: Arc<BTreeMap<(SeatIndex, SourceKind), SourceStatus>>,
        voices: Arc<BTreeMap<SeatIndex, Voice>>,
        joined: Vec<(SeatIndex, Person)>,
        left: Vec<Departure>,
        moved: Vec<Movement>,
    },
    /// `seat.granted`
    SeatGranted {
        seat: SeatIndex,
        /// Until when the transport must be up; `None`: without limit.
        connect_by: Option<Instant>,
        /// What the guest asked to publish.
        media: RequestMedia,
    },
    /// `seat.kicked`
    SeatKicked {
        seat: SeatIndex,
        reason: LeaveReason,
        /// In the words of whoever did it.
        note: Option<String>,
    },
    /// `seat.updated`
    SeatUpdated { seat: SeatIndex, flags: SeatFlags },
    /// `seat.asked`: to switch on microphone or camera, which is the guest's alone to do.
    SeatAsked { seat: SeatIndex, audio: bool, video: bool },
    /// `seat.connected`, or `seat.resumed` after the seat was held.
    SeatConnected {
        seat: SeatIndex,
        person: Person,
        resumed: bool,
    },
    /// `seat.suspended`: held until then; `None`: without limit.
    SeatSuspended {
        seat: SeatIndex,
        person: Person,
        until: Option<Instant>,
    },
    /// `seat.first_frame`: the program shows the seat's camera.
    SeatFirstFrame { seat: SeatIndex },
    /// `seat.media`
    SeatMedia {
        seat: SeatIndex,
        kind: SourceKind,
        audio: TrackState,
        video: TrackState,
    },
    /// `application.received`
    ApplicationReceived { request: Request },
    /// `application.cancelled`
    ApplicationCancelled { request: Request },
    /// `application.responded`; accepted: `seat` is where.
    ApplicationResponded {
        request: Request,
        accepted: bool,
        seat: Option<SeatIndex>,
        reason: Option<String>,
    },
    /// `application.processed`: to the hosts who did not answer it.
    ApplicationProcessed {
        request: Request,
        accepted: bool,
        seat: Option<SeatIndex>,
    },
    /// `application.no_response`: to the guest.
    ApplicationNoResponse { request: Request, reason: ClosedReason },
    /// `application.closed`: to the hosts.
    ApplicationClosed { request: Request, reason: ClosedReason },
    /// `invitation.received`
    InvitationReceived { request: Request },
    /// `invitation.cancelled`
    InvitationCancelled { request: Request },
    /// `invitation.responded`
    InvitationResponded {
        request: Request,
        accepted: bool,
        seat: Option<SeatIndex>,
        reason: Option<String>,
    },
    /// `invitation.no_response`: to the inviter.
    InvitationNoResponse { request: Request, reason: ClosedReason },
    /// `invitation.closed`: to the guest.
    InvitationClosed { request: Request, reason: ClosedReason },
    /// `host.away`: until then; `None`: without limit.
    HostAway { host: Person, until: Option<Instant> },
    /// `host.back`
    HostBack { host: Person },
    /// `host.changed`
    HostChanged { host: Person, previous: Person },
    /// `room.updated`: settings or phase are others than before; whoever needs them reads the room.
    RoomUpdated { phase: Phase, max_guests: u8 },
    /// `room.ended`
    RoomEnded { reason: EndReason },
    /// `member.joined`
    MemberJoined { member: Member },
    /// `member.updated`: presence, role, name or seat.
    MemberUpdated { member: Member },
    /// `member.left`
    MemberLeft { member: Member, reason: MemberLeftReason },
    /// `audience`: how many are here, at most once a second.
    Audience { count: u64 },
    /// `speaking`: who is heard, loudest first, with the level in dBov (-127..=0); at most five a second.
    Speaking { seats: Vec<(SeatIndex, i8)> },
    /// `stage.slots`: what each slot of one's own stage viewer shows. `viewer` is the resource's id.
    StageSlots { viewer: String, slots: Vec<SlotReport> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// By the host or a service key.
    Ended,
    HostAway,
    Empty,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MemberLeftReason {
    Left,
    /// The stream was lost and did not come back.
    Disconnected,
    Removed,
    Banned,
}
