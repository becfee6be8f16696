//! The text of every event.

use super::*;
use crate::forward::{SeatIndex, SlotReport, SlotState, SourceKind};
use crate::room::event::{ClosedReason, EndReason, MemberLeftReason, TrackState};
use crate::room::{
    LeaveReason, Member, MemberRole, Occupancy, Phase, Presence, RequestId, RequestKind, RequestMedia, RequestState,
    RoomId, Seat, SourceStatus,
};
use crate::rtp::Codec;
use std::sync::Arc;

/// The clock of these tests: 2026-11-22, ten o'clock, is `now`.
const WALL_MS: u64 = 1_795_341_600_000;

fn moment(now: Instant) -> Moment {
    Moment { now, wall_ms: WALL_MS }
}

fn person(id: &str) -> Person {
    Person {
        user: UserId::parse(id).expect("a user id"),
        name: (id == "bob").then(|| "Bob \"B\"\n".into()),
        avatar_url: None,
    }
}

fn users(ids: &[&str]) -> Recipients {
    let users = ids.iter().map(|id| person(id).user).collect();
    Recipients::Users(Arc::new(users))
}

fn request(kind: RequestKind, now: Instant) -> Request {
    let (guest, by) = match kind {
        RequestKind::Application => ("bob", "bob"),
        RequestKind::Invitation => ("bob", "ann"),
    };
    Request {
        id: RequestId { epoch: 7, number: 4 },
        kind,
        guest: person(guest),
        by: person(by),
        seat: None,
        media: RequestMedia::Av,
        extra: json!({"note": 1}),
        created_at: now,
        expires_at: now + Duration::from_secs(30),
        state: RequestState::Pending,
        processed_by: None,
        granted: None,
    }
}

/// `name data` as text, of an event that `actor` caused.
fn told(event: Event, actor: Option<&str>, now: Instant) -> String {
    let notice = notice(event, actor, Recipients::Everybody, now);
    format!(
        "{} {}",
        name(&notice),
        data(&notice, "https://sfu.example", moment(now))
    )
}

fn notice(event: Event, actor: Option<&str>, to: Recipients, now: Instant) -> Notice {
    Notice {
        room: RoomId::parse("demo").expect("a room id"),
        epoch: 7,
        version: 12,
        seq: 40,
        at: now,
        actor: actor.map(person),
        to,
        event,
    }
}

const ANN: &str = r#"{"avatar_url":null,"name":null,"user":"ann"}"#;
const BOB: &str = r#"{"avatar_url":null,"name":"Bob \"B\"\n","user":"bob"}"#;

fn request_text(kind: &str, by: &str) -> String {
    format!(
        r#"{{"by":{by},"created_at":"2026-11-22T10:00:00.000Z","expires_at":"2026-11-22T10:00:30.000Z","expires_in_ms":30000,"extra":{{"note":1}},"guest":{BOB},"id":"7-4","kind":"{kind}","media":"av","seat":-1,"state":"pending"}}"#
    )
}

#[test]
fn seats_changed() {
    let now = Instant::now();
    let seat = |occupancy| Seat {
        occupancy,
        flags: SeatFlags::default(),
    };
    let reserved = Occupancy::Reserved {
        person: person("bob"),
        request: Some(RequestId { epoch: 1, number: 2 }),
        until: Some(now + Duration::from_secs(15)),
    };
    let status = SourceStatus {
        audio: true,
        ..SourceStatus::default()
    };
    let event = Event::SeatsChanged {
        seats: [seat(Occupancy::Empty), seat(reserved)].into(),
        sources: Arc::new([((SeatIndex(1), SourceKind::Screen), status)].into()),
        voices: Arc::default(),
        joined: vec![(SeatIndex(1), person("bob"))],
        left: vec![Departure {
            seat: SeatIndex(2),
            person: person("ann"),
            reason: LeaveReason::MediaTimeout,
        }],
        moved: vec![Movement {
            from: SeatIndex(3),
            to: SeatIndex(4),
            person: person("ann"),
        }],
    };
    let flags = r#""audio_level":null,"audio_locked":false,"audio_muted":false,"locked":false"#;
    let video = r#""video_locked":false,"video_muted":false"#;
    let empty = format!(
        r#"{{{flags},"seat":0,"sources":{{"camera":null,"screen":null}},"speaking":null,"state":"empty",{video}}}"#
    );
    let screen = r#"{"audio":true,"codec":null,"height":null,"video":false,"width":null}"#;
    let bobs = format!(
        r#"{{{flags},"request":"1-2","seat":1,"sources":{{"camera":null,"screen":{screen}}},"speaking":false,"state":"reserved","until":"2026-11-22T10:00:15.000Z","until_in_ms":15000,"user":{BOB},{video}}}"#
    );
    let expected = format!(
        r#"seats.changed {{"joined":[{{"seat":1,"user":{BOB}}}],"left":[{{"reason":"media_timeout","seat":2,"user":{ANN}}}],"moved":[{{"from":3,"to":4,"user":{ANN}}}],"seats":[{empty},{bobs}]}}"#
    );
    assert_eq!(told(event, Some("ann"), now), expected);
}

#[test]
fn what_happens_to_one_seat() {
    let now = Instant::now();
    let (seat, person) = (SeatIndex(1), person("bob"));
    let granted = |connect_by| Event::SeatGranted {
        seat,
        connect_by,
        media: RequestMedia::Audio,
    };
    let soon = Some(now + Duration::from_millis(15_500));
    let suspended = |until| Event::SeatSuspended {
        seat,
        person: person.clone(),
        until,
    };
    let connected = |resumed| Event::SeatConnected {
        seat,
        person: person.clone(),
        resumed,
    };
    let kicked = Event::SeatKicked {
        seat,
        reason: LeaveReason::Kicked,
        note: Some("spam".into()),
    };
    let timed_out = Event::SeatKicked {
        seat,
        reason: LeaveReason::MediaTimeout,
        note: None,
    };
    let flags = SeatFlags {
        video_locked: true,
        audio_muted: true,
        ..SeatFlags::default()
    };
    let media = Event::SeatMedia {
        seat,
        kind: SourceKind::Screen,
        audio: TrackState::On,
        video: TrackState::Locked,
    };
    let whip = r#""whip_url":"https://sfu.example/v1/rooms/demo/whip""#;
    let until = r#""until":"2026-11-22T10:00:15.500Z","until_in_ms":15500"#;
    let table = [
        (
            granted(soon),
            format!(r#"seat.granted {{"connect_by":"2026-11-22T10:00:15.500Z","connect_by_in_ms":15500,"media":"audio","seat":1,{whip}}}"#),
        ),
        (granted(None), format!(r#"seat.granted {{"media":"audio","seat":1,{whip}}}"#)),
        (kicked, format!(r#"seat.kicked {{"by":{ANN},"note":"spam","reason":"kicked","seat":1}}"#)),
        (timed_out, format!(r#"seat.kicked {{"by":{ANN},"note":null,"reason":"media_timeout","seat":1}}"#)),
        (
            Event::SeatUpdated { seat, flags },
            r#"seat.updated {"audio_locked":false,"audio_muted":true,"locked":false,"seat":1,"video_locked":true,"video_muted":false}"#.into(),
        ),
        (
            Event::SeatAsked { seat, audio: true, video: false },
            format!(r#"seat.asked {{"audio":true,"by":{ANN},"seat":1,"video":false}}"#),
        ),
        (connected(false), format!(r#"seat.connected {{"seat":1,"user":{BOB}}}"#)),
        (connected(true), format!(r#"seat.resumed {{"seat":1,"user":{BOB}}}"#)),
        (suspended(soon), format!(r#"seat.suspended {{"seat":1,{until},"user":{BOB}}}"#)),
        (suspended(None), format!(r#"seat.suspended {{"seat":1,"user":{BOB}}}"#)),
        (Event::SeatFirstFrame { seat }, r#"seat.first_frame {"seat":1}"#.into()),
        (media, r#"seat.media {"audio":"on","seat":1,"source":"screen","video":"locked"}"#.into()),
    ];
    for (event, expected) in table {
        assert_eq!(told(event, Some("ann"), now), expected);
    }
}

#[test]
fn applications_and_invitations() {
    let now = Instant::now();
    let application = || request(RequestKind::Application, now);
    let invitation = || request(RequestKind::Invitation, now);
    let (a, i) = (request_text("application", BOB), request_text("invitation", ANN));
    let seat = Some(SeatIndex(3));
    let by_other = || Request {
        processed_by: Some(person("bob")),
        ..application()
    };
    let others = a.replace(r#""seat":-1"#, &format!(r#""processed_by":{BOB},"seat":-1"#));
    let table = [
        (
            Event::ApplicationReceived { request: application() },
            format!(r#"application.received {{"request":{a}}}"#),
        ),
        (
            Event::ApplicationCancelled { request: application() },
            format!(r#"application.cancelled {{"request":{a}}}"#),
        ),
        (
            Event::ApplicationResponded {
                request: application(),
                accepted: true,
                seat,
                reason: None,
            },
            format!(r#"application.responded {{"accepted":true,"by":{ANN},"reason":null,"request":{a},"seat":3}}"#),
        ),
        (
            Event::ApplicationResponded {
                request: by_other(),
                accepted: false,
                seat: None,
                reason: Some("full".into()),
            },
            format!(
                r#"application.responded {{"accepted":false,"by":{BOB},"reason":"full","request":{others},"seat":null}}"#
            ),
        ),
        (
            Event::ApplicationProcessed {
                request: application(),
                accepted: true,
                seat,
            },
            format!(r#"application.processed {{"accepted":true,"by":{ANN},"request":{a},"seat":3}}"#),
        ),
        (
            Event::ApplicationNoResponse {
                request: application(),
                reason: ClosedReason::Timeout,
            },
            format!(r#"application.no_response {{"reason":"timeout","request":{a}}}"#),
        ),
        (
            Event::ApplicationClosed {
                request: application(),
                reason: ClosedReason::AlreadySeated,
            },
            format!(r#"application.closed {{"reason":"already_seated","request":{a}}}"#),
        ),
        (
            Event::InvitationReceived { request: invitation() },
            format!(r#"invitation.received {{"request":{i}}}"#),
        ),
        (
            Event::InvitationCancelled { request: invitation() },
            format!(r#"invitation.cancelled {{"request":{i}}}"#),
        ),
        (
            Event::InvitationResponded {
                request: invitation(),
                accepted: false,
                seat: None,
                reason: Some("busy".into()),
            },
            format!(
                r#"invitation.responded {{"accepted":false,"by":{ANN},"reason":"busy","request":{i},"seat":null}}"#
            ),
        ),
        (
            Event::InvitationNoResponse {
                request: invitation(),
                reason: ClosedReason::Left,
            },
            format!(r#"invitation.no_response {{"reason":"left","request":{i}}}"#),
        ),
        (
            Event::InvitationClosed {
                request: invitation(),
                reason: ClosedReason::SeatsDisabled,
            },
            format!(r#"invitation.closed {{"reason":"seats_disabled","request":{i}}}"#),
        ),
    ];
    for (event, expected) in table {
        assert_eq!(told(event, Some("ann"), now), expected);
    }
}

#[test]
fn room_host_and_members() {
    let now = Instant::now();
    let member = Member {
        person: person("bob"),
        role: MemberRole::Admin,
        presence: Presence::Suspended,
        joined_at: now - Duration::from_secs(60),
        seat: Some(SeatIndex(2)),
    };
    let bob = r#"{"avatar_url":null,"joined_at":"2026-11-22T09:59:00.000Z","name":"Bob \"B\"\n","presence":"suspended","role":"admin","seat":2,"user":"bob"}"#;
    let slot = SlotReport {
        slot: 1,
        seat: SeatIndex(2),
        source: SourceKind::Camera,
        codec: Some(Codec::Vp8),
        state: SlotState::NoMedia,
    };
    let away = |until| Event::HostAway {
        host: person("ann"),
        until,
    };
    let until = Some(now + Duration::from_secs(60));
    let table = [
        (
            away(until),
            format!(r#"host.away {{"host":{ANN},"until":"2026-11-22T10:01:00.000Z","until_in_ms":60000}}"#),
        ),
        (away(None), format!(r#"host.away {{"host":{ANN}}}"#)),
        (Event::HostBack { host: person("ann") }, format!(r#"host.back {{"host":{ANN}}}"#)),
        (
            Event::HostChanged { host: person("bob"), previous: person("ann") },
            format!(r#"host.changed {{"host":{BOB},"previous":{ANN}}}"#),
        ),
        (
            Event::RoomUpdated { phase: Phase::HostAway, max_guests: 3 },
            r#"room.updated {"max_guests":3,"phase":"host_away"}"#.into(),
        ),
        (Event::RoomEnded { reason: EndReason::Empty }, r#"room.ended {"reason":"empty"}"#.into()),
        (Event::MemberJoined { member: member.clone() }, format!(r#"member.joined {{"member":{bob}}}"#)),
        (Event::MemberUpdated { member: member.clone() }, format!(r#"member.updated {{"member":{bob}}}"#)),
        (
            Event::MemberLeft { member, reason: MemberLeftReason::Disconnected },
            format!(r#"member.left {{"member":{bob},"reason":"disconnected"}}"#),
        ),
        (Event::Audience { count: 1234 }, r#"audience {"count":1234}"#.into()),
        (
            Event::Speaking { seats: vec![(SeatIndex(2), -20), (SeatIndex(0), -31)] },
            r#"speaking {"seats":[{"audio_level":-20,"seat":2},{"audio_level":-31,"seat":0}]}"#.into(),
        ),
        (
            Event::StageSlots { viewer: "v1".into(), slots: vec![slot] },
            r#"stage.slots {"slots":[{"codec":"vp8","seat":2,"slot":1,"source":"camera","state":"no_media"}],"viewer":"v1"}"#.into(),
        ),
    ];
    for (event, expected) in table {
        assert_eq!(told(event, None, now), expected);
    }
}

#[test]
fn the_envelope() {
    let now = Instant::now();
    let count = || Event::Audience { count: 3 };
    let text = |to, actor, prev| message(&notice(count(), actor, to, now), prev, "", moment(now));
    let head = r#"{"room":"demo","epoch":7,"version":12,"seq":40"#;
    let at = r#""at":"2026-11-22T10:00:00.000Z","type":"audience""#;
    let data = r#""data":{"count":3}}"#;
    assert_eq!(
        text(Recipients::Everybody, None, Some(38)),
        format!(r#"{head},"prev":38,{at},"actor":null,{data}"#)
    );
    assert_eq!(
        text(users(&["bob"]), Some("bob"), None),
        format!(r#"{head},{at},"to":"bob","actor":{{"user":"bob","name":"Bob \"B\"\n","avatar_url":null}},{data}"#)
    );
    assert_eq!(
        text(users(&["bob", "ann"]), None, None),
        format!(r#"{head},{at},"actor":null,{data}"#)
    );
}

#[test]
fn a_stream_begins_with_the_room_and_oneself() {
    let now = Instant::now();
    let seat = Seat {
        occupancy: Occupancy::Occupied {
            person: person("ann"),
            since: now,
        },
        flags: SeatFlags::default(),
    };
    let mut room = super::super::room::tests::test_snapshot(now, vec![seat]);
    room.requests = vec![request(RequestKind::Application, now)];
    room.hosts.insert(person("adam").user);
    let begin = |id: &str, role| {
        let reader = Principal {
            person: person(id),
            role,
        };
        let mut text = serde_json::from_str::<Value>(&snapshot(&room, "http://x", &reader)).expect("JSON");
        assert!(text["at"].take().is_string());
        text
    };
    let mut bob = begin("bob", Role::Member);
    let shown = bob["data"]["room"].take();
    assert_eq!(
        (&shown["id"], &shown["seats"][0]["state"]),
        (&json!("demo"), &json!("occupied"))
    );
    assert_eq!(shown["applications"][0]["guest"]["user"], "bob");
    let expected = json!({"room": "demo", "epoch": 1, "version": 2, "seq": 3, "prev": null, "at": null,
        "type": "snapshot", "actor": null, "data": {"room": null,
            "you": {"user": "bob", "name": "Bob \"B\"\n", "avatar_url": null, "role": "member", "seat": null}}});
    assert_eq!(bob, expected);
    let you = |id, role| {
        let you = &begin(id, role)["data"]["you"];
        (you["role"].clone(), you["seat"].clone())
    };
    assert_eq!(you("ann", Role::Member), (json!("host"), json!(0)));
    assert_eq!(you("adam", Role::Member), (json!("admin"), Value::Null));
    assert_eq!(you("eve", Role::Host), (json!("admin"), Value::Null));
    assert_eq!(you("ann", Role::Service), (json!("service"), Value::Null));
    assert_eq!(begin("eve", Role::Member)["data"]["room"]["applications"], json!([]));
}

#[test]
fn a_crowd_shares_one_text_while_it_is_true() {
    let now = Instant::now();
    let host = Event::HostAway {
        host: person("ann"),
        until: Some(now + Duration::from_secs(60)),
    };
    let away = notice(host, None, Recipients::Everybody, now);
    let mut rendered = Rendered::default();
    let mut at = |prev, base: &str, after_ms| {
        let now = now + Duration::from_millis(after_ms);
        let moment = Moment {
            now,
            wall_ms: WALL_MS + after_ms,
        };
        rendered.message(&away, prev, base, moment)
    };
    let first = at(38, "http://a", 0);
    assert_eq!(at(38, "http://a", 49).as_ptr(), first.as_ptr(), "the same text");
    let hosts = at(39, "http://a", 49);
    assert_ne!(hosts, first);
    assert_ne!(at(38, "http://b", 49).as_ptr(), first.as_ptr());
    let late = at(38, "http://a", 50);
    assert!(
        String::from_utf8_lossy(&late).contains(r#""until_in_ms":59950"#),
        "anew once it is old: {late:?}"
    );
    let personal = Notice {
        to: users(&["bob"]),
        ..away
    };
    let moment = moment(now);
    let (one, two) = (
        rendered.message(&personal, 1, "", moment),
        rendered.message(&personal, 1, "", moment),
    );
    assert_ne!(one.as_ptr(), two.as_ptr(), "nobody else is due it");
    let mut crowded = Rendered::default();
    let common = Notice {
        to: Recipients::Everybody,
        ..personal
    };
    (0..1000).for_each(|prev| drop(crowded.message(&common, prev, "", moment)));
    assert_eq!(crowded.kept.len(), KEPT_MAX);
}
