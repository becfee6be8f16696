//! The words of the seat machine.

use super::program::{ProgramPatch, ProgramSettings};
use super::request::{Request, RequestId, RequestState};
use crate::forward::{SeatIndex, SourceKind};
use crate::mix::layout::{Layout, Present};
use crate::mix::picture::Size;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// `[A-Za-z0-9_-][A-Za-z0-9_.-]{0,63}`; `me`, `.`, `..` are refused.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RoomId(Arc<str>);

/// 1–128 bytes of UTF-8 without control characters or `/`; `me`, `.`, `..` are refused.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UserId(Arc<str>);

impl RoomId {
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let mut bytes = text.bytes();
        let first = bytes
            .next()
            .is_some_and(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
        let rest = bytes.all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b));
        if first && rest && text.len() <= 64 && text != "me" {
            Ok(RoomId(text.into()))
        } else {
            Err(Refusal::invalid(
                "room",
                "a room id is 1 to 64 of A-Z a-z 0-9 _ - . and does not begin with a dot",
            ))
        }
    }
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl UserId {
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let plain = !text.chars().any(|c| c.is_control() || c == '/');
        if (1..=128).contains(&text.len()) && plain && !matches!(text, "me" | "." | "..") {
            Ok(UserId(text.into()))
        } else {
            Err(Refusal::invalid(
                "user",
                "a user id is 1 to 128 bytes without control characters or '/'",
            ))
        }
    }
    pub fn as_str(&self) -> &str {
        &self.0
    }
    pub fn shared(&self) -> Arc<str> {
        self.0.clone()
    }
}

impl TryFrom<String> for RoomId {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        RoomId::parse(&text).map_err(|refusal| refusal.detail)
    }
}

impl From<RoomId> for String {
    fn from(id: RoomId) -> String {
        id.as_str().to_owned()
    }
}

impl TryFrom<String> for UserId {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        UserId::parse(&text).map_err(|refusal| refusal.detail)
    }
}

impl From<UserId> for String {
    fn from(id: UserId) -> String {
        id.as_str().to_owned()
    }
}

/// How a person is named wherever one appears.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Person {
    pub user: UserId,
    pub name: Option<String>,
    pub avatar_url: Option<String>,
}

impl Person {
    /// What is missing is as `known`.
    pub(super) fn or(self, known: &Person) -> Person {
        Person {
            user: self.user,
            name: self.name.or_else(|| known.name.clone()),
            avatar_url: self.avatar_url.or_else(|| known.avatar_url.clone()),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Service,
    Host,
    Admin,
    Member,
}

/// Who gives a command: a token, already checked and already for this room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    pub person: Person,
    /// The token's role; what counts is the higher of it and what the room grants.
    pub role: Role,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SeatMode {
    #[default]
    Apply,
    Free,
    External,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    Idle,
    Live,
    HostAway,
    Ended,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Occupancy {
    Empty,
    /// `until`: `None` is without limit (the host's seat, external mode).
    Reserved {
        person: Person,
        /// The application or invitation that led here; `None`: none did.
        request: Option<RequestId>,
        until: Option<Instant>,
    },
    Occupied {
        person: Person,
        since: Instant,
    },
    Held {
        person: Person,
        until: Option<Instant>,
    },
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeatFlags {
    pub locked: bool,
    pub audio_locked: bool,
    pub video_locked: bool,
    pub audio_muted: bool,
    pub video_muted: bool,
}

/// Absent: unchanged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeatFlagsPatch {
    pub locked: Option<bool>,
    pub audio_locked: Option<bool>,
    pub video_locked: Option<bool>,
    pub audio_muted: Option<bool>,
    pub video_muted: Option<bool>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seat {
    pub occupancy: Occupancy,
    pub flags: SeatFlags,
}

impl Seat {
    pub(super) fn empty() -> Self {
        Seat {
            occupancy: Occupancy::Empty,
            flags: SeatFlags::default(),
        }
    }
}

impl Occupancy {
    /// Who reserved, occupies or is held on the seat.
    pub fn person(&self) -> Option<&Person> {
        match self {
            Occupancy::Empty => None,
            Occupancy::Reserved { person, .. }
            | Occupancy::Occupied { person, .. }
            | Occupancy::Held { person, .. } => Some(person),
        }
    }

    pub(super) fn person_mut(&mut self) -> Option<&mut Person> {
        match self {
            Occupancy::Empty => None,
            Occupancy::Reserved { person, .. }
            | Occupancy::Occupied { person, .. }
            | Occupancy::Held { person, .. } => Some(person),
        }
    }

    pub(super) fn until(&self) -> Option<Instant> {
        match self {
            Occupancy::Reserved { until, .. } | Occupancy::Held { until, .. } => *until,
            Occupancy::Empty | Occupancy::Occupied { .. } => None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HostAwayPolicy {
    End,
    PromoteAdmin,
}

/// Every timer of SEATS and the room's switches. Durations are milliseconds, as on the wire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policies {
    pub fallback_any: bool,
    pub self_move: bool,
    pub admin_may: Vec<String>,
    pub host_away: HostAwayPolicy,
    /// A publisher may not send VP9 or AV1, which the program cannot decode.
    pub program_codecs_only: bool,
    pub application_ms: u64,
    pub invitation_ms: u64,
    pub reservation_ms: u64,
    pub grace_ms: u64,
    pub host_away_ms: u64,
    pub reject_cooldown_ms: u64,
    pub kick_cooldown_ms: u64,
    pub empty_room_ms: u64,
}

impl Default for Policies {
    fn default() -> Self {
        Policies {
            fallback_any: true,
            self_move: false,
            admin_may: ["layout", "outputs", "settings"].map(String::from).to_vec(),
            host_away: HostAwayPolicy::End,
            program_codecs_only: false,
            application_ms: 30_000,
            invitation_ms: 30_000,
            reservation_ms: 15_000,
            grace_ms: 15_000,
            host_away_ms: 60_000,
            reject_cooldown_ms: 3_000,
            kick_cooldown_ms: 30_000,
            empty_room_ms: 600_000,
        }
    }
}

impl Policies {
    /// With what the patch names.
    pub fn patched(self, patch: &PoliciesPatch) -> Self {
        Policies {
            fallback_any: patch.fallback_any.unwrap_or(self.fallback_any),
            self_move: patch.self_move.unwrap_or(self.self_move),
            admin_may: patch.admin_may.clone().unwrap_or(self.admin_may),
            host_away: patch.host_away.unwrap_or(self.host_away),
            program_codecs_only: patch.program_codecs_only.unwrap_or(self.program_codecs_only),
            application_ms: patch.application_ms.unwrap_or(self.application_ms),
            invitation_ms: patch.invitation_ms.unwrap_or(self.invitation_ms),
            reservation_ms: patch.reservation_ms.unwrap_or(self.reservation_ms),
            grace_ms: patch.grace_ms.unwrap_or(self.grace_ms),
            host_away_ms: patch.host_away_ms.unwrap_or(self.host_away_ms),
            reject_cooldown_ms: patch.reject_cooldown_ms.unwrap_or(self.reject_cooldown_ms),
            kick_cooldown_ms: patch.kick_cooldown_ms.unwrap_or(self.kick_cooldown_ms),
            empty_room_ms: patch.empty_room_ms.unwrap_or(self.empty_room_ms),
        }
    }
}

/// Absent: unchanged. What is named has a value: `null` is none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PoliciesPatch {
    #[serde(deserialize_with = "present")]
    pub fallback_any: Option<bool>,
    #[serde(deserialize_with = "present")]
    pub self_move: Option<bool>,
    #[serde(deserialize_with = "present")]
    pub admin_may: Option<Vec<String>>,
    #[serde(deserialize_with = "present")]
    pub host_away: Option<HostAwayPolicy>,
    #[serde(deserialize_with = "present")]
    pub program_codecs_only: Option<bool>,
    #[serde(deserialize_with = "present")]
    pub application_ms: Option<u64>,
    #[serde(deserialize_with = "present")]
    pub invitation_ms: Option<u64>,
    #[serde(deserialize_with = "present")]
    pub reservation_ms: Option<u64>,
    #[serde(deserialize_with = "present")]
    pub grace_ms: Option<u64>,
    #[serde(deserialize_with = "present")]
    pub host_away_ms: Option<u64>,
    #[serde(deserialize_with = "present")]
    pub reject_cooldown_ms: Option<u64>,
    #[serde(deserialize_with = "present")]
    pub kick_cooldown_ms: Option<u64>,
    #[serde(deserialize_with = "present")]
    pub empty_room_ms: Option<u64>,
}

fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// What a room is created with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    pub host: Person,
    pub max_guests: u8,
    pub seat_mode: SeatMode,
    pub public_program: bool,
    pub policies: Policies,
    #[serde(deserialize_with = "if_readable")]
    pub program: ProgramSettings,
    #[serde(deserialize_with = "if_readable")]
    pub layout: Layout,
    pub webhook: serde_json::Value,
    pub metadata: serde_json::Value,
}

/// Records may hold any object here, or none: what is no layout and no program's settings is as if it had not been set. A
/// room is worth more than its picture's order.
fn if_readable<'de, T: DeserializeOwned + Default, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    let kept = serde_json::Value::deserialize(deserializer)?;
    Ok(serde_json::from_value(kept).unwrap_or_default())
}

/// Absent: unchanged.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SettingsPatch {
    /// Only if the room is at this version.
    pub if_version: Option<u64>,
    pub max_guests: Option<u8>,
    pub seat_mode: Option<SeatMode>,
    pub public_program: Option<bool>,
    pub policies: Option<PoliciesPatch>,
    pub program: Option<ProgramPatch>,
    pub layout: Option<Layout>,
    pub webhook: Option<serde_json::Value>,
    pub metadata: Option<serde_json::Value>,
}

/// What flows of a seat's source, as the seat list shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceStatus {
    pub audio: bool,
    pub video: bool,
    pub width: Option<u16>,
    pub height: Option<u16>,
    pub codec: Option<crate::rtp::Codec>,
}

/// How loud it is on a seat, as the seat list shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Voice {
    /// In dBov, -127..=0.
    pub level: i8,
    /// Loud enough for a voice, now or a moment ago.
    pub speaking: bool,
}

/// Why somebody is no longer on a seat; the words of `seats.changed`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LeaveReason {
    Left,
    Kicked,
    Locked,
    Replaced,
    Assigned,
    MediaTimeout,
    Disconnected,
    Removed,
    RoomEnded,
}

/// Everything a reader of a room needs, at one version.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    pub id: RoomId,
    pub epoch: u64,
    pub version: u64,
    pub seq: u64,
    pub phase: Phase,
    pub settings: Settings,
    /// Index = seat number, 0..=max_guests; after max_guests was lowered, up to the highest seat still taken.
    pub seats: Vec<Seat>,
    /// What flows.
    pub sources: BTreeMap<(SeatIndex, SourceKind), SourceStatus>,
    /// Who is heard, where it is measured.
    pub voices: BTreeMap<SeatIndex, Voice>,
    /// Pending ones, oldest first; for those the room confides in.
    pub requests: Vec<Request>,
    /// The host, and whoever is an admin here by the room's grant or has come with an admin's token.
    pub hosts: BTreeSet<UserId>,
    /// How many are here, as `audience` told it last: never different from what the events up to `seq` say, and at most a
    /// second old.
    pub audience: u64,
    /// The program's size, where it is known.
    pub canvas: Option<Size>,
    /// When this was taken, for `…_in_ms`.
    pub now: Instant,
}

impl Snapshot {
    /// Whether this caller may see what hosts and service keys see: members, requests, where webhooks go.
    pub fn confides_in(&self, by: &Principal) -> bool {
        by.role != Role::Member || self.hosts.contains(&by.person.user)
    }

    /// The sources of the program, in order of seats, a seat's screen behind its camera: whoever is on a seat has been
    /// there with media. Somebody who sends nothing but a screen needs no second tile.
    pub fn present(&self) -> Vec<Present> {
        let numbered = (0..=u8::MAX).map(SeatIndex).zip(&self.seats);
        let seen = numbered.flat_map(|(seat, occupant)| {
            let on = matches!(occupant.occupancy, Occupancy::Occupied { .. } | Occupancy::Held { .. });
            let sends = |source| self.sources.contains_key(&(seat, source));
            let screen = on && sends(SourceKind::Screen);
            let camera = on && (!screen || sends(SourceKind::Camera));
            let camera = camera.then_some(SourceKind::Camera);
            let screen = screen.then_some(SourceKind::Screen);
            let sources = camera.into_iter().chain(screen);
            sources.map(move |source| Present { seat, source })
        });
        seen.collect()
    }
}

/// How many more guests the node has room for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capacity {
    pub guests: usize,
    /// For a person: what is missing for one more.
    pub why: String,
}

impl Default for Capacity {
    /// Without limit.
    fn default() -> Self {
        Capacity {
            guests: usize::MAX,
            why: String::new(),
        }
    }
}

/// Why a command was refused; `api::error` maps it to HTTP once. The code's names are the contract's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub code: Code,
    /// For a person: which field, which seat, what would help.
    pub detail: String,
    /// The field a 422 names.
    pub field: Option<String>,
    pub retry_after: Option<Duration>,
    /// The room's version, where a room was found.
    pub version: Option<u64>,
    /// Of `conflict` and `request_cancelled`: who answered the request, and how. Boxed, since every result has room for it.
    pub processed_by: Option<Box<Person>>,
    pub decision: Option<RequestState>,
    /// Of `already_accepted` and `already_seated`: where.
    pub seat: Option<SeatIndex>,
}

impl Refusal {
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Refusal {
            code,
            detail: detail.into(),
            field: None,
            retry_after: None,
            version: None,
            processed_by: None,
            decision: None,
            seat: None,
        }
    }
    pub fn invalid(field: &str, detail: impl Into<String>) -> Self {
        Refusal {
            field: Some(field.to_owned()),
            ..Refusal::new(Code::InvalidArgument, detail)
        }
    }

    /// The field it names is of an object that stands at `field` itself.
    pub fn within(self, field: &str) -> Self {
        Refusal {
            field: self.field.map(|inner| format!("{field}.{inner}")),
            ..self
        }
    }
}

/// Stable codes of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    Unauthenticated,
    TokenExpired,
    PermissionDenied,
    NotSeated,
    NotInRoom,
    Banned,
    SeatsDisabled,
    RoomNotFound,
    RequestNotFound,
    OutputNotFound,
    RoomEnded,
    SdpInvalid,
    PreconditionFailed,
    InvalidArgument,
    SeatIndexInvalid,
    CodecUnsupported,
    IdempotencyKeyReused,
    RateLimited,
    Cooldown,
    QueueFull,
    CapacityExhausted,
    ServerDraining,
    AlreadySeated,
    SeatLocked,
    SeatOccupied,
    AllSeatsOccupied,
    Conflict,
    RequestCancelled,
    RequestExpired,
    AlreadyProcessed,
    AlreadyInvited,
    AlreadyAccepted,
    VersionConflict,
    NothingToPlay,
}
