//! A room, and its settings.

use super::seat::{SeatOut, seats};
use super::{LayoutForm, Moment, PersonOut, ProgramForm, RequestOut};
use crate::room::{Phase, Policies, Principal, Request, RequestKind, RoomId, SeatMode, Snapshot};
use crate::webhook;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

/// A room: everything a late joiner needs.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Room)]
pub struct RoomOut {
    id: String,
    /// Changes when the room starts anew.
    epoch: u64,
    /// Raised by every committed command.
    version: u64,
    /// Of the last event.
    seq: u64,
    #[schema(value_type = PhaseName)]
    phase: Phase,
    host: PersonOut,
    #[schema(value_type = SeatModeName)]
    seat_mode: SeatMode,
    max_guests: u8,
    /// How many are here: members online, and viewers who are no members. At most a second old, and never different from
    /// the last `audience` event up to `seq`.
    audience: u64,
    /// The program may be watched without a token.
    public_program: bool,
    seats: Vec<SeatOut>,
    /// Those that wait, oldest first: for hosts, admins and service tokens all of them, for others their own.
    applications: Vec<RequestOut>,
    invitations: Vec<RequestOut>,
    program: ProgramForm,
    layout: LayoutForm,
    #[schema(value_type = PoliciesOut)]
    policies: Policies,
    /// Shown to hosts, admins and service tokens only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    webhook: Option<Value>,
    #[schema(value_type = Object)]
    metadata: Value,
    #[schema(value_type = Vec<Object>)]
    outputs: Vec<Value>,
    urls: Urls,
}

impl RoomOut {
    /// As `reader` may see it.
    pub fn new(snapshot: &Snapshot, base: &str, reader: &Principal) -> Self {
        let settings = &snapshot.settings;
        let moment = Moment::of(snapshot);
        let confidential = snapshot.confides_in(reader);
        let requests = |kind: RequestKind| {
            let theirs = |request: &&Request| confidential || request.guest.user == reader.person.user;
            let of_kind = snapshot.requests.iter().filter(|request| request.kind == kind);
            let shown = of_kind.filter(theirs);
            shown.map(|request| RequestOut::new(request, moment)).collect()
        };
        RoomOut {
            id: snapshot.id.as_str().to_owned(),
            epoch: snapshot.epoch,
            version: snapshot.version,
            seq: snapshot.seq,
            phase: snapshot.phase,
            host: (&settings.host).into(),
            seat_mode: settings.seat_mode,
            max_guests: settings.max_guests,
            audience: snapshot.audience,
            public_program: settings.public_program,
            seats: seats(snapshot, moment),
            applications: requests(RequestKind::Application),
            invitations: requests(RequestKind::Invitation),
            program: ProgramForm::from(&settings.program),
            layout: LayoutForm::from(&settings.layout),
            policies: settings.policies.clone(),
            webhook: confidential
                .then(|| webhook::shown(&settings.webhook))
                .filter(|webhook| !webhook.is_null()),
            metadata: settings.metadata.clone(),
            outputs: Vec::new(),
            urls: Urls::new(&snapshot.id, base),
        }
    }
}

/// Absolute.
#[derive(Debug, Serialize, ToSchema)]
pub struct Urls {
    pub room: String,
    pub whip: String,
    pub whep_program: String,
    pub whep_stage: String,
    /// With `{seat}` to be replaced by the number of a seat.
    pub whep_seat: String,
}

impl Urls {
    pub fn new(room: &RoomId, base: &str) -> Self {
        let room = format!("{base}/v1/rooms/{}", room.as_str());
        Urls {
            whip: format!("{room}/whip"),
            whep_program: format!("{room}/whep/program"),
            whep_stage: format!("{room}/whep/stage"),
            whep_seat: format!("{room}/whep/seats/{{seat}}"),
            room,
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct RoomList {
    pub rooms: Vec<RoomOut>,
    /// Pass as `cursor` for the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// The phase of a room.
#[derive(ToSchema)]
#[schema(as = Phase, rename_all = "snake_case")]
#[allow(dead_code, reason = "describes another type")]
pub enum PhaseName {
    Idle,
    Live,
    HostAway,
    Ended,
}

/// How guests get to a seat.
#[derive(ToSchema)]
#[schema(as = SeatMode, rename_all = "snake_case")]
#[allow(dead_code, reason = "describes another type")]
pub enum SeatModeName {
    Apply,
    Free,
    /// Only a service token changes seats.
    External,
}

/// What becomes of a room whose host stays away.
#[derive(ToSchema)]
#[schema(as = HostAwayPolicy, rename_all = "snake_case")]
#[allow(dead_code, reason = "describes another type")]
pub enum HostAwayName {
    End,
    PromoteAdmin,
}

/// The room's switches and timers.
#[derive(ToSchema)]
#[schema(as = Policies)]
#[allow(dead_code, reason = "describes another type")]
pub struct PoliciesOut {
    /// Whoever is accepted for a seat that was taken meanwhile gets another.
    fallback_any: Option<bool>,
    /// Guests may move to an empty seat themselves.
    self_move: Option<bool>,
    /// Of `layout`, `outputs`, `settings`.
    admin_may: Option<Vec<String>>,
    host_away: Option<HostAwayName>,
    /// Publishers of VP9 or AV1 are refused.
    program_codecs_only: Option<bool>,
    #[schema(minimum = 0, maximum = 1_800_000)]
    application_ms: Option<u64>,
    #[schema(minimum = 0, maximum = 1_800_000)]
    invitation_ms: Option<u64>,
    #[schema(minimum = 3_000, maximum = 60_000)]
    reservation_ms: Option<u64>,
    #[schema(minimum = 0, maximum = 90_000)]
    grace_ms: Option<u64>,
    #[schema(minimum = 0, maximum = 600_000)]
    host_away_ms: Option<u64>,
    #[schema(minimum = 0, maximum = 600_000)]
    reject_cooldown_ms: Option<u64>,
    #[schema(minimum = 0, maximum = 600_000)]
    kick_cooldown_ms: Option<u64>,
    /// 30 s to 24 h, or 0: never.
    #[schema(minimum = 0, maximum = 86_400_000)]
    empty_room_ms: Option<u64>,
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::forward::{SeatIndex, SourceKind};
    use crate::room::{HostAwayPolicy, Person, RequestId, RequestState, Role, Seat, SourceStatus, UserId};
    use crate::rtp::Codec;
    use std::time::Instant;
    use utoipa::PartialSchema;

    pub fn test_snapshot(now: Instant, seats: Vec<Seat>) -> Snapshot {
        let status = SourceStatus {
            audio: true,
            video: true,
            width: Some(640),
            height: None,
            codec: Some(Codec::Vp8),
        };
        let host = Person {
            user: UserId::parse("ann").expect("an id"),
            name: None,
            avatar_url: None,
        };
        Snapshot {
            id: RoomId::parse("demo").expect("an id"),
            epoch: 1,
            version: 2,
            seq: 3,
            phase: Phase::Idle,
            settings: crate::room::Settings {
                host,
                max_guests: 9,
                seat_mode: SeatMode::Apply,
                public_program: false,
                policies: Policies::default(),
                program: Default::default(),
                layout: Default::default(),
                webhook: serde_json::json!({"url": "https://x.example"}),
                metadata: Value::Null,
            },
            seats,
            sources: [((SeatIndex(1), SourceKind::Camera), status)].into(),
            voices: Default::default(),
            requests: Vec::new(),
            hosts: Default::default(),
            audience: 12,
            canvas: None,
            now,
        }
    }

    fn reader(user: &str, role: Role) -> Principal {
        let person = Person {
            user: UserId::parse(user).expect("an id"),
            name: None,
            avatar_url: None,
        };
        Principal { person, role }
    }

    #[test]
    fn webhooks_are_nobodys_business() {
        let snapshot = test_snapshot(Instant::now(), Vec::new());
        let json = |role| {
            let room = RoomOut::new(&snapshot, "http://x", &reader("eve", role));
            serde_json::to_value(room).expect("serialises")
        };
        assert_eq!(json(Role::Member).get("webhook"), None);
        assert_eq!(json(Role::Service)["webhook"]["url"], "https://x.example");
        assert_eq!(json(Role::Admin)["webhook"]["url"], "https://x.example");
        assert_eq!(
            json(Role::Member)["urls"]["whep_seat"],
            "http://x/v1/rooms/demo/whep/seats/{seat}"
        );
    }

    #[test]
    fn requests_are_for_hosts_and_for_those_they_concern() {
        let now = Instant::now();
        let mut snapshot = test_snapshot(now, Vec::new());
        let request = |number, kind, guest: &str, by: &str| Request {
            id: RequestId { epoch: 1, number },
            kind,
            guest: reader(guest, Role::Member).person,
            by: reader(by, Role::Member).person,
            seat: None,
            media: Default::default(),
            extra: Value::Null,
            created_at: now,
            expires_at: now,
            state: RequestState::Pending,
            processed_by: None,
            granted: None,
        };
        snapshot.requests = vec![
            request(1, RequestKind::Application, "bob", "bob"),
            request(2, RequestKind::Invitation, "eve", "ann"),
            request(3, RequestKind::Application, "gus", "gus"),
        ];
        // an admin by the room's grant
        snapshot.hosts = [reader("carl", Role::Member).person.user].into();
        let seen = |user: &str, role| {
            let room = RoomOut::new(&snapshot, "", &reader(user, role));
            let json = serde_json::to_value(room).expect("serialises");
            let ids = |list: &Value| -> Vec<String> {
                let list = list.as_array().expect("a list");
                list.iter()
                    .filter_map(|request| Some(request["id"].as_str()?.to_owned()))
                    .collect()
            };
            (ids(&json["applications"]), ids(&json["invitations"]))
        };
        let all = (vec!["1-1".to_owned(), "1-3".to_owned()], vec!["1-2".to_owned()]);
        for (user, role) in [
            ("x", Role::Service),
            ("x", Role::Host),
            ("x", Role::Admin),
            ("carl", Role::Member),
        ] {
            assert_eq!(seen(user, role), all, "{user} {role:?}");
        }
        assert_eq!(seen("bob", Role::Member), (vec!["1-1".to_owned()], vec![]));
        assert_eq!(seen("eve", Role::Member), (vec![], vec!["1-2".to_owned()]));
        assert_eq!(seen("zoe", Role::Member), (vec![], vec![]));
    }

    #[test]
    fn the_described_policies_are_the_real_ones() {
        let described = serde_json::to_value(PoliciesOut::schema()).expect("a schema");
        let real = serde_json::to_value(Policies::default()).expect("serialises");
        let names = |value: &Value| {
            value
                .as_object()
                .expect("an object")
                .keys()
                .cloned()
                .collect::<Vec<_>>()
        };
        let (mut described, mut real) = (names(&described["properties"]), names(&real));
        described.sort();
        real.sort();
        assert_eq!(described, real);
        let words = |schema: Value| schema["enum"].clone();
        let name = |value| serde_json::to_value(value).expect("serialises");
        let phases = [Phase::Idle, Phase::Live, Phase::HostAway, Phase::Ended].map(name);
        assert_eq!(
            words(serde_json::to_value(PhaseName::schema()).expect("a schema")),
            Value::from(phases.to_vec())
        );
        let modes = [SeatMode::Apply, SeatMode::Free, SeatMode::External]
            .map(|mode| serde_json::to_value(mode).expect("serialises"));
        assert_eq!(
            words(serde_json::to_value(SeatModeName::schema()).expect("a schema")),
            Value::from(modes.to_vec())
        );
        let away =
            [HostAwayPolicy::End, HostAwayPolicy::PromoteAdmin].map(|p| serde_json::to_value(p).expect("serialises"));
        assert_eq!(
            words(serde_json::to_value(HostAwayName::schema()).expect("a schema")),
            Value::from(away.to_vec())
        );
    }
}
