//! Applications and invitations: the words; the rules are in `requests`.

use super::{Person, Refusal, UserId};
use crate::forward::SeatIndex;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Instant;

/// Names one request for good: the room's epoch when it was made, and a number within it. On the wire `EPOCH-NUMBER`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RequestId {
    pub epoch: u64,
    pub number: u64,
}

impl RequestId {
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let parsed = text.split_once('-').and_then(|(epoch, number)| {
            Some(RequestId {
                epoch: epoch.parse().ok()?,
                number: number.parse().ok()?,
            })
        });
        parsed.ok_or_else(|| Refusal::invalid("request", "no request has such an id"))
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.epoch, self.number)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RequestKind {
    Application,
    Invitation,
}

/// What the guest means to publish.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RequestMedia {
    Audio,
    #[default]
    Av,
}

/// Only `Pending` moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RequestState {
    Pending,
    Accepted,
    Rejected,
    Cancelled,
    Expired,
    Superseded,
    Failed,
}

/// An application or an invitation.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    pub id: RequestId,
    pub kind: RequestKind,
    pub guest: Person,
    /// The applicant, whoever applied on their behalf, or the inviter.
    pub by: Person,
    /// `None`: any.
    pub seat: Option<SeatIndex>,
    pub media: RequestMedia,
    /// The asker's own, at most 1 KiB as JSON.
    pub extra: serde_json::Value,
    pub created_at: Instant,
    pub expires_at: Instant,
    pub state: RequestState,
    /// Who answered it.
    pub processed_by: Option<Person>,
    /// The seat it led to.
    pub granted: Option<SeatIndex>,
}

/// How an application or invitation is asked for; what is absent takes the room's default.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wish {
    /// `None`: any.
    pub seat: Option<SeatIndex>,
    pub media: RequestMedia,
    /// 0: the longest the room allows.
    pub timeout_ms: Option<u64>,
    pub extra: serde_json::Value,
}

/// Whether somebody's event stream is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Presence {
    Online,
    /// The stream was lost a moment ago.
    Suspended,
    /// The stream is lost for good; listed only while the person is seated.
    Gone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemberRole {
    Member,
    Admin,
    Host,
}

/// Somebody who is in the room.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    pub person: Person,
    /// The higher of the token's role and what the room granted.
    pub role: MemberRole,
    pub presence: Presence,
    /// Since when without leaving.
    pub joined_at: Instant,
    pub seat: Option<SeatIndex>,
}

/// A seat just given to somebody: what `seat.granted` and the answers carry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Granted {
    pub user: UserId,
    pub seat: SeatIndex,
    /// Until when the transport must be up; `None`: it is, or there is no limit.
    pub connect_by: Option<Instant>,
}

/// What becomes of whoever sits where somebody is moved to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MovePolicy {
    /// Nothing: the move fails with `seat_occupied`.
    Abort,
    /// They lose their seat.
    Replace,
    /// They change seats.
    Swap,
}
