//! The JSON of the contract: what rooms, seats, requests, members and events look like outside. Pure but for
//! [`Moment::of`]; wall-clock times are reckoned from one pair of clock readings.

pub mod event;
mod request;

pub use request::*;

use crate::forward::{SeatIndex, SourceKind};
use crate::room::{
    Code, Occupancy, Person, Phase, Policies, Refusal, RoomId, Seat, SeatMode, Snapshot, SourceStatus, UserId,
};
use crate::rtp::Codec;
use crate::webhook;
use jiff::Timestamp;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};
use utoipa::ToSchema;

/// One moment on both clocks: what turns the room's deadlines into times of day.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    pub wall: Timestamp,
    pub now: Instant,
}

impl Moment {
    /// `now` is the snapshot's; the wall clock is read here.
    pub fn of(snapshot: &Snapshot) -> Self {
        Moment {
            wall: Timestamp::now(),
            now: snapshot.now,
        }
    }

    pub fn at(self, instant: Instant) -> Timestamp {
        let (wall, ahead) = (self.wall, instant.saturating_duration_since(self.now));
        let behind = self.now.saturating_duration_since(instant);
        // Out of jiff's range only for durations of millennia.
        let later = wall.checked_add(ahead).unwrap_or(Timestamp::MAX);
        later.checked_sub(behind).unwrap_or(Timestamp::MIN)
    }

    pub fn in_ms(self, instant: Instant) -> u64 {
        millis(instant.saturating_duration_since(self.now))
    }
}

pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// RFC 3339, UTC, with milliseconds.
pub fn rfc3339(time: Timestamp) -> String {
    let whole_ms = Timestamp::from_millisecond(time.as_millisecond()).unwrap_or(time);
    format!("{whole_ms:.3}")
}

/// How a person is named wherever one appears.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Person)]
pub struct PersonOut {
    user: String,
    name: Option<String>,
    avatar_url: Option<String>,
}

impl From<&Person> for PersonOut {
    fn from(person: &Person) -> Self {
        let user = person.user.as_str().to_owned();
        PersonOut {
            user,
            name: person.name.clone(),
            avatar_url: person.avatar_url.clone(),
        }
    }
}

/// A user id, or a person with a name and a picture.
#[derive(Clone, Debug, ToSchema)]
#[schema(as = PersonOrUserId)]
#[serde(untagged)]
pub enum PersonIn {
    User(String),
    Person(PersonFields),
}

#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PersonInput)]
pub struct PersonFields {
    #[schema(min_length = 1, max_length = 128)]
    pub user: String,
    /// At most 256 bytes.
    #[schema(max_length = 256)]
    pub name: Option<String>,
    /// `http` or `https`, at most 2048 bytes.
    #[schema(max_length = 2048)]
    pub avatar_url: Option<String>,
}

/// A user id, a person, or nobody. Describes what is read as an optional `PersonIn`.
#[derive(ToSchema)]
#[serde(untagged)]
#[schema(as = PersonOrNobody)]
#[allow(dead_code, reason = "describes another type")]
pub enum PersonOrNobody {
    User(String),
    Person(PersonFields),
    Nobody,
}

/// By hand, since an untagged enum would lose which field was wrong.
impl<'de> Deserialize<'de> for PersonIn {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = PersonIn;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a user id or an object {user, name, avatar_url}")
            }
            fn visit_str<E: de::Error>(self, user: &str) -> Result<PersonIn, E> {
                Ok(PersonIn::User(user.to_owned()))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<PersonIn, A::Error> {
                PersonFields::deserialize(de::value::MapAccessDeserializer::new(map)).map(PersonIn::Person)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl PersonIn {
    /// `field` is where it stands in the body.
    pub fn person(self, field: &str) -> Result<Person, Refusal> {
        match self {
            PersonIn::User(user) => {
                let user = UserId::parse(&user).map_err(|refusal| Refusal {
                    field: Some(field.into()),
                    ..refusal
                })?;
                Ok(Person {
                    user,
                    name: None,
                    avatar_url: None,
                })
            }
            PersonIn::Person(fields) => fields.person(&format!("{field}.")),
        }
    }
}

/// The longest name, in bytes: a label in a tile shows far less.
const NAME_BYTES: usize = 256;
/// The longest picture URL, in bytes: what every browser takes.
const URL_BYTES: usize = 2048;

impl PersonFields {
    /// `prefix` is put before the name of the field at fault.
    pub fn person(self, prefix: &str) -> Result<Person, Refusal> {
        let at = |field: &str| format!("{prefix}{field}");
        let user = UserId::parse(&self.user).map_err(|refusal| Refusal {
            field: Some(at("user")),
            ..refusal
        })?;
        check_name(self.name.as_deref(), &at("name"))?;
        check_picture(self.avatar_url.as_deref(), &at("avatar_url"))?;
        Ok(Person {
            user,
            name: self.name,
            avatar_url: self.avatar_url,
        })
    }
}

fn check_name(name: Option<&str>, field: &str) -> Result<(), Refusal> {
    match name {
        Some(name) if name.len() > NAME_BYTES || name.chars().any(char::is_control) => Err(Refusal::invalid(
            field,
            format!("a name has at most {NAME_BYTES} bytes and no control characters"),
        )),
        _ => Ok(()),
    }
}

fn check_picture(url: Option<&str>, field: &str) -> Result<(), Refusal> {
    let fine = |url: &str| {
        let web = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
        let plain = !url.chars().any(|c| c.is_control() || c.is_whitespace());
        web.is_some_and(|rest| !rest.is_empty()) && plain && url.len() <= URL_BYTES
    };
    match url {
        Some(url) if !fine(url) => Err(Refusal::invalid(
            field,
            format!("a picture is an http or https URL of at most {URL_BYTES} bytes"),
        )),
        _ => Ok(()),
    }
}

/// A seat's number as the contract writes it: decimal, without sign or leading zeros.
pub fn seat_index(text: &str, field: &str) -> Result<SeatIndex, Refusal> {
    match text.parse::<u8>() {
        Ok(number) if number.to_string() == text => Ok(SeatIndex(number)),
        _ => Err(Refusal {
            field: Some(field.to_owned()),
            ..Refusal::new(Code::SeatIndexInvalid, format!("{text:?} is not the number of a seat"))
        }),
    }
}

/// `{version, seats}`.
#[derive(Debug, Serialize, ToSchema)]
pub struct Seats {
    pub version: u64,
    pub seats: Vec<SeatOut>,
}

impl From<&Snapshot> for Seats {
    fn from(snapshot: &Snapshot) -> Self {
        Seats {
            version: snapshot.version,
            seats: seats(snapshot, Moment::of(snapshot)),
        }
    }
}

/// What flows, by seat and source.
pub type SeatSources = BTreeMap<(SeatIndex, SourceKind), SourceStatus>;

/// One row of the seat list.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Seat)]
pub struct SeatOut {
    /// 0 is the host's.
    seat: u8,
    state: SeatState,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<PersonOut>,
    /// Since when the seat is occupied.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    since: Option<String>,
    /// When a reserved or held seat is freed; absent when it waits without limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    until: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    until_in_ms: Option<u64>,
    locked: bool,
    audio_locked: bool,
    video_locked: bool,
    audio_muted: bool,
    video_muted: bool,
    sources: Sources,
    /// `null` while the server does not measure it.
    speaking: Option<bool>,
    /// In dBov, `-127..=0`; `null` while the server does not measure it.
    audio_level: Option<i8>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum SeatState {
    Empty,
    /// Granted; the publisher's transport is not up yet.
    Reserved,
    Occupied,
    /// The transport was lost; the seat is kept for its user.
    Held,
}

/// What is published on a seat; `null`: no such source.
#[derive(Debug, Serialize, ToSchema)]
struct Sources {
    camera: Option<SourceOut>,
    screen: Option<SourceOut>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Source)]
struct SourceOut {
    /// Packets flow.
    audio: bool,
    video: bool,
    width: Option<u16>,
    height: Option<u16>,
    /// Of the video.
    codec: Option<&'static str>,
}

impl From<&SourceStatus> for SourceOut {
    fn from(status: &SourceStatus) -> Self {
        let SourceStatus {
            audio,
            video,
            width,
            height,
            codec,
        } = *status;
        SourceOut {
            audio,
            video,
            width,
            height,
            codec: codec.map(codec_name),
        }
    }
}

pub fn codec_name(codec: Codec) -> &'static str {
    match codec {
        Codec::Opus => "opus",
        Codec::H264 => "h264",
        Codec::Vp8 => "vp8",
        Codec::Vp9 => "vp9",
        Codec::Av1 => "av1",
    }
}

fn seats(snapshot: &Snapshot, moment: Moment) -> Vec<SeatOut> {
    seat_list(&snapshot.seats, &snapshot.sources, moment)
}

/// Index = seat number.
pub fn seat_list(seats: &[Seat], sources: &SeatSources, moment: Moment) -> Vec<SeatOut> {
    let numbered = (0..=u8::MAX).zip(seats);
    numbered
        .map(|(number, seat)| seat_out(number, seat, sources, moment))
        .collect()
}

fn seat_out(number: u8, seat: &Seat, sources: &SeatSources, moment: Moment) -> SeatOut {
    let (state, person, since, until) = match &seat.occupancy {
        Occupancy::Empty => (SeatState::Empty, None, None, None),
        Occupancy::Reserved { person, until } => (SeatState::Reserved, Some(person), None, *until),
        Occupancy::Occupied { person, since } => (SeatState::Occupied, Some(person), Some(*since), None),
        Occupancy::Held { person, until } => (SeatState::Held, Some(person), None, *until),
    };
    let source = |kind: SourceKind| sources.get(&(SeatIndex(number), kind)).map(SourceOut::from);
    SeatOut {
        seat: number,
        state,
        user: person.map(PersonOut::from),
        since: since.map(|since| rfc3339(moment.at(since))),
        until: until.map(|until| rfc3339(moment.at(until))),
        until_in_ms: until.map(|until| moment.in_ms(until)),
        locked: seat.flags.locked,
        audio_locked: seat.flags.audio_locked,
        video_locked: seat.flags.video_locked,
        audio_muted: seat.flags.audio_muted,
        video_muted: seat.flags.video_muted,
        sources: Sources {
            camera: source(SourceKind::Camera),
            screen: source(SourceKind::Screen),
        },
        speaking: None,
        audio_level: None,
    }
}

/// The answer to who was given a seat: what they need to publish.
#[derive(Debug, Serialize, ToSchema)]
pub struct Seated {
    pub version: u64,
    pub seat: u8,
    /// Until when the publisher's transport must be up; absent when there is no limit or it is up already.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub connect_by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect_by_in_ms: Option<u64>,
    pub whip_url: String,
    pub seats: Vec<SeatOut>,
}

impl Seated {
    pub fn new(snapshot: &Snapshot, seat: SeatIndex, base: &str) -> Self {
        let moment = Moment::of(snapshot);
        let until = match snapshot.seats.get(usize::from(seat.0)).map(|seat| &seat.occupancy) {
            Some(Occupancy::Reserved { until, .. }) => *until,
            _ => None,
        };
        Seated {
            version: snapshot.version,
            seat: seat.0,
            connect_by: until.map(|until| rfc3339(moment.at(until))),
            connect_by_in_ms: until.map(|until| moment.in_ms(until)),
            whip_url: Urls::new(&snapshot.id, base).whip,
            seats: seats(snapshot, moment),
        }
    }
}

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
    /// The program may be watched without a token.
    public_program: bool,
    seats: Vec<SeatOut>,
    #[schema(value_type = Object)]
    program: Value,
    #[schema(value_type = Object)]
    layout: Value,
    #[schema(value_type = PoliciesOut)]
    policies: Policies,
    /// Shown to the host and to service tokens only.
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
    /// `confidential`: the reader may see where webhooks go.
    pub fn new(snapshot: &Snapshot, base: &str, confidential: bool) -> Self {
        let settings = &snapshot.settings;
        RoomOut {
            id: snapshot.id.as_str().to_owned(),
            epoch: snapshot.epoch,
            version: snapshot.version,
            seq: snapshot.seq,
            phase: snapshot.phase,
            host: (&settings.host).into(),
            seat_mode: settings.seat_mode,
            max_guests: settings.max_guests,
            public_program: settings.public_program,
            seats: seats(snapshot, Moment::of(snapshot)),
            program: settings.program.clone(),
            layout: settings.layout.clone(),
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
mod tests {
    use super::*;
    use crate::room::{HostAwayPolicy, SeatFlags};
    use utoipa::PartialSchema;

    #[test]
    fn times_have_milliseconds_and_their_distance() {
        let now = Instant::now();
        let moment = Moment {
            wall: "2026-11-22T10:00:00.1239Z".parse().expect("a time"),
            now,
        };
        assert_eq!(rfc3339(moment.wall), "2026-11-22T10:00:00.123Z");
        assert_eq!(
            rfc3339(moment.at(now + Duration::from_millis(1500))),
            "2026-11-22T10:00:01.623Z"
        );
        assert_eq!(
            rfc3339(moment.at(now - Duration::from_millis(100))),
            "2026-11-22T10:00:00.023Z"
        );
        assert_eq!(moment.in_ms(now + Duration::from_millis(1500)), 1500);
        assert_eq!(moment.in_ms(now - Duration::from_millis(1)), 0);
        assert_eq!(rfc3339(Timestamp::UNIX_EPOCH), "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn people_come_in_two_forms() {
        let person = |json: Value| -> Result<Person, Option<String>> {
            let parsed: PersonIn = serde_json::from_value(json).map_err(|error| Some(error.to_string()))?;
            parsed.person("host").map_err(|refusal| refusal.field)
        };
        assert_eq!(
            person("bob".into()).map(|p| p.user.as_str().to_owned()),
            Ok("bob".into())
        );
        let eve = person(serde_json::json!({"user": "eve", "name": "Eve", "avatar_url": "https://x.example/e.png"}));
        assert_eq!(eve.map(|p| p.name), Ok(Some("Eve".into())));
        assert_eq!(person("a/b".into()).expect_err("no id").as_deref(), Some("host"));
        assert_eq!(
            person(serde_json::json!({"user": "me"})).expect_err("no id").as_deref(),
            Some("host.user")
        );
        let long = serde_json::json!({"user": "eve", "name": "x".repeat(257)});
        assert_eq!(person(long).expect_err("too long").as_deref(), Some("host.name"));
        for url in ["javascript:alert(1)", "https://", "https://a b", "//x"] {
            let body = serde_json::json!({"user": "eve", "avatar_url": url});
            assert_eq!(person(body).expect_err(url).as_deref(), Some("host.avatar_url"));
        }
        assert!(person(serde_json::json!({"user": "eve", "nmae": "x"})).is_err());
        assert!(person(7.into()).is_err());
    }

    #[test]
    fn seat_numbers_are_plain_decimals() {
        assert_eq!(seat_index("0", "seat"), Ok(SeatIndex(0)));
        assert_eq!(seat_index("15", "seat"), Ok(SeatIndex(15)));
        for wrong in ["", "-1", "+1", "01", "256", "one", "1 "] {
            let refusal = seat_index(wrong, "seat").expect_err(wrong);
            assert_eq!(
                (refusal.code, refusal.field.as_deref()),
                (Code::SeatIndexInvalid, Some("seat"))
            );
        }
    }

    #[test]
    fn a_reserved_seat_says_until_when() {
        let now = Instant::now();
        let bob = Person {
            user: UserId::parse("bob").expect("an id"),
            name: None,
            avatar_url: None,
        };
        let seat = Seat {
            occupancy: Occupancy::Reserved {
                person: bob,
                until: Some(now + Duration::from_secs(15)),
            },
            flags: SeatFlags {
                audio_muted: true,
                ..SeatFlags::default()
            },
        };
        let snapshot = test_snapshot(now, vec![seat.clone(), seat]);
        let moment = Moment {
            wall: Timestamp::UNIX_EPOCH,
            now,
        };
        let json = serde_json::to_value(seats(&snapshot, moment)).expect("serialises");
        let expected = serde_json::json!({
            "seat": 1, "state": "reserved", "user": {"user": "bob", "name": null, "avatar_url": null},
            "until": "1970-01-01T00:00:15.000Z", "until_in_ms": 15000,
            "locked": false, "audio_locked": false, "video_locked": false, "audio_muted": true, "video_muted": false,
            "sources": {
                "camera": {"audio": true, "video": true, "width": 640, "height": null, "codec": "vp8"},
                "screen": null,
            },
            "speaking": null, "audio_level": null,
        });
        assert_eq!(json[1], expected);
        assert_eq!(json[0]["sources"]["camera"], Value::Null);
    }

    fn test_snapshot(now: Instant, seats: Vec<Seat>) -> Snapshot {
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
                program: Value::Null,
                layout: Value::Null,
                webhook: serde_json::json!({"url": "https://x.example"}),
                metadata: Value::Null,
            },
            seats,
            sources: [((SeatIndex(1), SourceKind::Camera), status)].into(),
            requests: Vec::new(),
            hosts: Default::default(),
            now,
        }
    }

    #[test]
    fn webhooks_are_nobodys_business() {
        let snapshot = test_snapshot(Instant::now(), Vec::new());
        let json =
            |confidential| serde_json::to_value(RoomOut::new(&snapshot, "http://x", confidential)).expect("serialises");
        assert_eq!(json(false).get("webhook"), None);
        assert_eq!(json(true)["webhook"]["url"], "https://x.example");
        assert_eq!(
            json(true)["urls"]["whep_seat"],
            "http://x/v1/rooms/demo/whep/seats/{seat}"
        );
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
