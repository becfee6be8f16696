//! The seat list.

use super::{PersonIn, PersonOut, Urls, rfc3339};
use crate::forward::{SeatIndex, SourceKind};
use crate::room::{Code, Moment, Occupancy, Refusal, Seat, Snapshot, SourceStatus, Voice};
use crate::rtp::Codec;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use utoipa::ToSchema;

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

/// How loud it is, by seat, where that is measured.
pub type SeatVoices = BTreeMap<SeatIndex, Voice>;

/// One row of the seat list.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Seat)]
pub struct SeatOut {
    /// 0 is the host's.
    seat: u8,
    state: SeatState,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<PersonOut>,
    /// The id of the application or invitation that a reserved seat was granted by; absent when it was by none.
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<String>,
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
    /// Somebody is heard, now or a moment ago; `null` on an empty seat.
    speaking: Option<bool>,
    /// In dBov, `-127..=0`; `null` where nothing is measured: no microphone that may be heard, or none that says how loud
    /// it is.
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

pub(super) fn seats(snapshot: &Snapshot, moment: Moment) -> Vec<SeatOut> {
    seat_list(&snapshot.seats, &snapshot.sources, &snapshot.voices, moment)
}

/// Index = seat number.
pub fn seat_list(seats: &[Seat], sources: &SeatSources, voices: &SeatVoices, moment: Moment) -> Vec<SeatOut> {
    let numbered = (0..=u8::MAX).zip(seats);
    numbered
        .map(|(number, seat)| {
            let voice = voices.get(&SeatIndex(number)).copied();
            seat_out(number, seat, sources, voice, moment)
        })
        .collect()
}

fn seat_out(number: u8, seat: &Seat, sources: &SeatSources, voice: Option<Voice>, moment: Moment) -> SeatOut {
    let (state, person, since, until) = match &seat.occupancy {
        Occupancy::Empty => (SeatState::Empty, None, None, None),
        Occupancy::Reserved { person, until, .. } => (SeatState::Reserved, Some(person), None, *until),
        Occupancy::Occupied { person, since } => (SeatState::Occupied, Some(person), Some(*since), None),
        Occupancy::Held { person, until } => (SeatState::Held, Some(person), None, *until),
    };
    let request = match &seat.occupancy {
        Occupancy::Reserved { request, .. } => *request,
        Occupancy::Empty | Occupancy::Occupied { .. } | Occupancy::Held { .. } => None,
    };
    let source = |kind: SourceKind| sources.get(&(SeatIndex(number), kind)).map(SourceOut::from);
    SeatOut {
        seat: number,
        state,
        user: person.map(PersonOut::from),
        request: request.map(|request| request.to_string()),
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
        speaking: person.map(|_| voice.is_some_and(|voice| voice.speaking)),
        audio_level: voice.map(|voice| voice.level),
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
    /// Where they publish, with a token of their own.
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

/// What becomes of whoever sits where somebody is moved to.
#[derive(ToSchema)]
#[schema(as = MovePolicy, rename_all = "snake_case")]
#[allow(dead_code, reason = "describes another type")]
pub enum MovePolicyName {
    /// Nothing: the move fails with `seat_occupied`.
    Abort,
    /// They lose their seat.
    Replace,
    /// They change seats.
    Swap,
}

/// Seat number → who is to sit there, each as often as it stands in the JSON: a map would silently keep the last.
#[derive(Debug)]
pub struct Assignment(pub Vec<(String, Option<PersonIn>)>);

impl<'de> Deserialize<'de> for Assignment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Assignment;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of seat numbers and people")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Assignment, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Assignment(entries))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

#[cfg(test)]
mod tests {
    use super::super::room::tests::test_snapshot;
    use super::*;
    use crate::room::{Person, RequestId, SeatFlags, UserId};
    use serde_json::Value;
    use std::time::{Duration, Instant};

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
                request: Some(RequestId { epoch: 7, number: 3 }),
                until: Some(now + Duration::from_secs(15)),
            },
            flags: SeatFlags {
                audio_muted: true,
                ..SeatFlags::default()
            },
        };
        let snapshot = test_snapshot(now, vec![seat.clone(), seat]);
        let moment = Moment { now, wall_ms: 0 };
        let json = serde_json::to_value(seats(&snapshot, moment)).expect("serialises");
        let expected = serde_json::json!({
            "seat": 1, "state": "reserved", "user": {"user": "bob", "name": null, "avatar_url": null},
            "request": "7-3", "until": "1970-01-01T00:00:15.000Z", "until_in_ms": 15000,
            "locked": false, "audio_locked": false, "video_locked": false, "audio_muted": true, "video_muted": false,
            "sources": {
                "camera": {"audio": true, "video": true, "width": 640, "height": null, "codec": "vp8"},
                "screen": null,
            },
            "speaking": false, "audio_level": null,
        });
        assert_eq!(json[1], expected);
        assert_eq!(json[0]["sources"]["camera"], Value::Null);
    }

    #[test]
    fn a_seat_says_who_is_heard_and_how_loud() {
        let now = Instant::now();
        let person = Person {
            user: UserId::parse("bob").expect("an id"),
            name: None,
            avatar_url: None,
        };
        let taken = Seat {
            occupancy: Occupancy::Occupied { person, since: now },
            flags: SeatFlags::default(),
        };
        let empty = Seat {
            occupancy: Occupancy::Empty,
            flags: SeatFlags::default(),
        };
        let mut snapshot = test_snapshot(now, vec![taken.clone(), taken.clone(), taken, empty]);
        let voice = |level, speaking| Voice { level, speaking };
        snapshot.voices = [(SeatIndex(0), voice(-30, true)), (SeatIndex(1), voice(-127, false))].into();
        let json = serde_json::to_value(Seats::from(&snapshot)).expect("serialises");
        let rows = json["seats"].as_array().expect("a list").iter();
        let told: Vec<_> = rows
            .map(|row| (row["speaking"].as_bool(), row["audio_level"].as_i64()))
            .collect();
        let expected = [
            (Some(true), Some(-30)),
            (Some(false), Some(-127)),
            (Some(false), None),
            (None, None),
        ];
        assert_eq!(told, expected);
    }
}
