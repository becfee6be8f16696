//! Who may do what of the seat workflow: SEATS' permission table, call by call, and what the state of a room changes.

use super::schema::difference;
use super::*;
use crate::control::Subscription;
use crate::room::{Person, Principal, Role, RoomId, UserId};

/// A server with people in its room.
pub(super) struct Stage {
    pub server: Server,
    /// Whoever has one of these is in the room.
    streams: Vec<Subscription>,
}

impl Stage {
    /// The room `demo` of `ann`, as a service created it with `settings`.
    pub async fn new(settings: Value) -> Self {
        let server = server();
        let mut body = json!({"room": "demo", "host": {"user": "ann", "name": "Ann"}});
        for (key, value) in settings.as_object().expect("settings") {
            body[key] = value.clone();
        }
        let answer = call("POST", "/v1/rooms").by("service").json(body).to(&server).await;
        assert_eq!(answer.outcome(), "201", "{}", answer.text);
        Stage {
            server,
            streams: Vec::new(),
        }
    }

    /// An event stream of theirs is open from now on.
    pub async fn enter(&mut self, who: &str) {
        let (user, role) = match who {
            "host" => ("ann", Role::Host),
            "cohost" => ("carl", Role::Host),
            "admin" => ("adam", Role::Admin),
            "granted" => ("gina", Role::Member),
            "guest" => ("gus", Role::Member),
            "member" => ("bob", Role::Member),
            "applicant" => ("pia", Role::Member),
            "invitee" => ("ivy", Role::Member),
            other => panic!("{other} does not come in"),
        };
        let person = Person {
            user: UserId::parse(user).expect("an id"),
            name: Some(user.to_uppercase()),
            avatar_url: None,
        };
        let room = RoomId::parse("demo").expect("an id");
        let stream = self
            .server
            .node
            .subscribe(&room, &Principal { person, role }, None)
            .await;
        self.streams.push(stream.expect("they may come in"));
    }

    pub async fn say(&self, who: &str, method: &str, path: &str, body: Value) -> Answer {
        let mut request = call(method, &format!("/v1/rooms/demo{path}")).by(who);
        if !body.is_null() {
            request = request.json(body);
        }
        request.to(&self.server).await
    }

    /// What must succeed for a test to begin.
    pub async fn set(&self, who: &str, method: &str, path: &str, body: Value) -> Answer {
        let answer = self.say(who, method, path, body).await;
        assert!(answer.status.is_success(), "{method} {path} by {who}: {}", answer.text);
        answer
    }

    /// Everybody is in; `gina` was made an admin, `gus` sits on seat 1, `pia` applies, `ivy` was invited by the host.
    pub async fn busy(settings: Value) -> Self {
        let mut stage = Stage::new(settings).await;
        for who in [
            "host",
            "cohost",
            "admin",
            "granted",
            "guest",
            "member",
            "applicant",
            "invitee",
        ] {
            stage.enter(who).await;
        }
        stage
            .set("host", "PATCH", "/members/gina", json!({"role": "admin"}))
            .await;
        stage.set("service", "PUT", "/seats/1", json!({"user": "gus"})).await;
        stage.set("applicant", "POST", "/applications", json!({})).await;
        stage.set("host", "POST", "/invitations", json!({"user": "ivy"})).await;
        stage
    }
}

/// The same cooldowns would stand between the cells.
pub(super) fn calm() -> Value {
    json!({"policies": {"kick_cooldown_ms": 0, "reject_cooldown_ms": 0}})
}

const OK: &str = "200";
const MADE: &str = "201";
const DENIED: &str = "403 permission_denied";
const ABSENT: &str = "403 not_in_room";
const UNKNOWN: &str = "401 unauthenticated";
const SEATED: &str = "409 already_seated";
const NO_REQUEST: &str = "404 request_not_found";
const INVALID: &str = "422 invalid_argument";

pub(super) type Row = (&'static str, &'static str, Value, [&'static str; 10]);

/// What hosts and service keys may, and nobody else.
pub(super) const fn hosts(outcome: &'static str) -> [&'static str; 10] {
    let o = outcome;
    [o, o, o, o, o, DENIED, DENIED, DENIED, DENIED, UNKNOWN]
}

const COLUMNS: [&str; 10] = [
    "service", "host", "cohost", "admin", "granted", "guest", "member", "outsider", "stranger", "nobody",
];

/// The description's path of a call.
fn described(path: &str) -> String {
    let path = path.split('?').next().unwrap_or_default();
    let people = ["/bob", "/pia", "/ivy", "/adam", "/ann", "/oli", "/gus"];
    let path = people
        .iter()
        .fold(path.to_owned(), |path, person| path.replace(person, "/{user}"));
    let path = ["/applications/me", "/members/me"]
        .iter()
        .fold(path, |path, own| path.replace(own, &own.replace("/me", "/{user}")));
    let path = path
        .replace("/seats/1", "/seats/{seat}")
        .replace("/seats/2", "/seats/{seat}");
    format!("/v1/rooms/{{room}}{path}")
}

pub(super) async fn check(table: &[Row], settings: &Value) {
    let contract = server().get("/openapi.json", "nobody").await.json;
    for (method, path, body, outcomes) in table {
        // What is refused changes nothing, so the next one finds the room as it was.
        let mut untouched = None;
        for (who, expected) in COLUMNS.iter().zip(outcomes) {
            let stage = match untouched.take() {
                Some(stage) => stage,
                None => Stage::busy(settings.clone()).await,
            };
            let answer = stage.say(who, method, path, body.clone()).await;
            let cell = format!("{method} {path} {body} by {who}");
            assert_eq!(answer.outcome(), *expected, "{cell}: {}", answer.text);
            assert_eq!(difference(&contract, method, &described(path), &answer), None, "{cell}");
            if answer.status.is_success() {
                assert!(answer.json["version"].is_u64(), "{cell}: {}", answer.text);
            } else {
                untouched = Some(stage);
            }
        }
    }
}

#[tokio::test]
async fn applications_by_roles() {
    let service_and = |own: [&'static str; 7]| {
        let [host, cohost, admin, granted, guest, member, outsider] = own;
        [
            MADE, host, cohost, admin, granted, guest, member, outsider, DENIED, UNKNOWN,
        ]
    };
    let mut applying = service_and([SEATED, MADE, MADE, MADE, SEATED, MADE, ABSENT]);
    // on whose behalf?
    applying[0] = INVALID;
    let table: Vec<Row> = vec![
        ("POST", "/applications", json!({}), applying),
        (
            "POST",
            "/applications",
            json!({"user": "bob", "seat": 2}),
            service_and([DENIED, DENIED, DENIED, DENIED, DENIED, MADE, DENIED]),
        ),
        ("GET", "/applications", Value::Null, hosts(OK)),
        (
            "DELETE",
            "/applications/pia",
            Value::Null,
            [
                OK, DENIED, DENIED, DENIED, DENIED, DENIED, DENIED, DENIED, DENIED, UNKNOWN,
            ],
        ),
        ("POST", "/applications/pia/accept", Value::Null, hosts(OK)),
        ("POST", "/applications/pia/accept", json!({"seat": 2}), hosts(OK)),
        ("POST", "/applications/pia/reject", json!({"reason": "full"}), hosts(OK)),
        ("POST", "/applications/bob/accept", json!({}), hosts(NO_REQUEST)),
    ];
    check(&table, &calm()).await;
}

#[tokio::test]
async fn invitations_by_roles() {
    let mut others = hosts(ABSENT);
    others[0] = MADE;
    let mut again = hosts("409 already_invited");
    again[1] = OK;
    let mut withdraw = hosts(DENIED);
    (withdraw[0], withdraw[1]) = (OK, OK);
    // Consent is personal; nobody in the columns has been invited.
    let mut answer = [NO_REQUEST; 10];
    (answer[0], answer[8], answer[9]) = (DENIED, DENIED, UNKNOWN);
    let table: Vec<Row> = vec![
        ("POST", "/invitations", json!({"user": "bob", "seat": 2}), hosts(MADE)),
        ("POST", "/invitations", json!({"user": "pia"}), hosts(MADE)),
        ("POST", "/invitations", json!({"user": "gus"}), hosts(SEATED)),
        ("POST", "/invitations", json!({"user": "oli"}), others),
        ("POST", "/invitations", json!({"user": "ivy"}), again),
        ("GET", "/invitations", Value::Null, hosts(OK)),
        ("DELETE", "/invitations/ivy", Value::Null, withdraw),
        ("POST", "/invitations/me/accept", Value::Null, answer),
        ("POST", "/invitations/me/reject", Value::Null, answer),
    ];
    check(&table, &calm()).await;
}

#[tokio::test]
async fn seats_by_roles() {
    let mut absent = hosts(ABSENT);
    absent[0] = OK;
    let mut own = hosts(OK);
    own[5] = OK;
    let table: Vec<Row> = vec![
        ("PUT", "/seats/2", json!({"user": "bob"}), hosts(OK)),
        ("PUT", "/seats/2", json!({"user": "oli"}), absent),
        ("PUT", "/seats/1", json!({"user": "bob"}), hosts("409 seat_occupied")),
        ("DELETE", "/seats/1", Value::Null, own),
        ("POST", "/seats/1/move", json!({"to": 2}), hosts(OK)),
        ("POST", "/seats/1/ask", json!({"audio": true}), hosts(OK)),
        ("PATCH", "/seats/2", json!({"locked": true}), hosts(OK)),
    ];
    check(&table, &calm()).await;
    let mut moving = calm();
    moving["policies"]["self_move"] = true.into();
    check(&[("POST", "/seats/1/move", json!({"to": 2}), own)], &moving).await;
}

#[tokio::test]
async fn members_by_roles() {
    let mut grant = hosts(DENIED);
    (grant[0], grant[1]) = (OK, OK);
    let mut host = hosts(DENIED);
    (host[0], host[1]) = (INVALID, INVALID);
    let mut bob = hosts(OK);
    bob[6] = OK;
    let mut adam = hosts(DENIED);
    (adam[0], adam[1], adam[3]) = (OK, OK, OK);
    let ban = json!({"ban_ms": 60_000, "reason": "spam"});
    let mut banned = hosts(OK);
    banned[6] = INVALID;
    let table: Vec<Row> = vec![
        ("GET", "/members", Value::Null, hosts(OK)),
        ("PATCH", "/members/bob", json!({"role": "admin"}), grant),
        ("PATCH", "/members/bob", json!({"role": "host"}), host),
        ("DELETE", "/members/bob", Value::Null, bob),
        ("DELETE", "/members/bob", ban, banned),
        ("DELETE", "/members/adam", Value::Null, adam),
    ];
    check(&table, &calm()).await;
}

/// A room says what waits: to hosts everything, to everybody else their own; never who is here.
#[tokio::test]
async fn the_room_shows_what_waits() {
    let stage = Stage::busy(calm()).await;
    let contract = stage.server.get("/openapi.json", "nobody").await.json;
    let guests = |list: &Value| -> Vec<String> {
        let list = list.as_array().expect("a list");
        let guest = |request: &Value| request["guest"]["user"].as_str().map(str::to_owned);
        list.iter().filter_map(guest).collect()
    };
    for who in [
        "service",
        "host",
        "cohost",
        "admin",
        "granted",
        "guest",
        "member",
        "applicant",
        "invitee",
        "outsider",
    ] {
        let room = stage.say(who, "GET", "", Value::Null).await;
        assert_eq!(difference(&contract, "GET", "/v1/rooms/{room}", &room), None, "{who}");
        let (applications, invitations) = (guests(&room.json["applications"]), guests(&room.json["invitations"]));
        let all = ["service", "host", "cohost", "admin", "granted"].contains(&who);
        assert_eq!(
            applications == ["pia"],
            all || who == "applicant",
            "{who}: {applications:?}"
        );
        assert_eq!(
            invitations == ["ivy"],
            all || who == "invitee",
            "{who}: {invitations:?}"
        );
        assert!(applications.len() < 2 && invitations.len() < 2, "{who}");
        assert_eq!(room.json.get("members"), None, "{who}");
    }
}

/// State × call → outcome, by those who may otherwise.
#[tokio::test]
async fn what_the_state_of_a_room_forbids() {
    let full = {
        let mut settings = calm();
        settings["max_guests"] = 1.into();
        settings
    };
    let stage = Stage::busy(full).await;
    for (who, method, path, body, expected) in [
        (
            "host",
            "POST",
            "/applications/pia/accept",
            Value::Null,
            "409 all_seats_occupied",
        ),
        // It has stayed.
        (
            "host",
            "POST",
            "/applications/pia/accept",
            Value::Null,
            "409 all_seats_occupied",
        ),
        (
            "invitee",
            "POST",
            "/invitations/me/accept",
            Value::Null,
            "409 all_seats_occupied",
        ),
        // It has failed.
        (
            "invitee",
            "POST",
            "/invitations/me/accept",
            Value::Null,
            "409 already_processed",
        ),
        ("host", "POST", "/invitations", json!({"user": "bob"}), MADE),
        ("member", "POST", "/applications", json!({}), "409 all_seats_occupied"),
        (
            "host",
            "POST",
            "/seats/1/move",
            json!({"to": 2}),
            "422 seat_index_invalid",
        ),
    ] {
        let answer = stage.say(who, method, path, body.clone()).await;
        assert_eq!(
            answer.outcome(),
            expected,
            "full: {method} {path} {body} by {who}: {}",
            answer.text
        );
    }

    let stage = Stage::busy(calm()).await;
    stage.set("host", "PATCH", "/seats/2", json!({"locked": true})).await;
    for (method, path, body, expected) in [
        ("PUT", "/seats/2", json!({"user": "bob"}), "409 seat_locked"),
        ("POST", "/seats/1/move", json!({"to": 2}), "409 seat_locked"),
        ("POST", "/seats/2/ask", json!({"video": true}), "409 conflict"),
        ("POST", "/seats/1/ask", json!({}), INVALID),
    ] {
        let answer = stage.say("host", method, path, body.clone()).await;
        assert_eq!(
            answer.outcome(),
            expected,
            "locked: {method} {path} {body}: {}",
            answer.text
        );
    }
}

/// Everything that asks for, gives or takes a seat.
fn seat_calls() -> Vec<(&'static str, &'static str, &'static str, Value)> {
    vec![
        ("member", "POST", "/applications", json!({})),
        ("host", "POST", "/applications/pia/accept", Value::Null),
        ("host", "POST", "/applications/pia/reject", Value::Null),
        ("host", "POST", "/invitations", json!({"user": "bob"})),
        ("invitee", "POST", "/invitations/me/accept", Value::Null),
        ("invitee", "POST", "/invitations/me/reject", Value::Null),
        ("host", "PUT", "/seats/2", json!({"user": "bob"})),
        ("member", "PUT", "/seats/2", json!({"user": "bob"})),
        ("host", "DELETE", "/seats/1", Value::Null),
        ("guest", "DELETE", "/seats/me", Value::Null),
        ("host", "POST", "/seats/1/move", json!({"to": 2})),
        ("admin", "DELETE", "/members/gus/seat", Value::Null),
    ]
}

#[tokio::test]
async fn in_external_mode_the_signalling_server_alone_changes_seats() {
    let stage = Stage::busy(calm()).await;
    stage
        .set("service", "PATCH", "", json!({"seat_mode": "external"}))
        .await;
    for (who, method, path, body) in seat_calls() {
        let answer = stage.say(who, method, path, body).await;
        let cell = format!("{method} {path} by {who}: {}", answer.text);
        assert_eq!(answer.outcome(), "403 seats_disabled", "{cell}");
    }
    stage.set("service", "PUT", "/seats/2", json!({"user": "bob"})).await;
    stage.set("service", "POST", "/seats/2/move", json!({"to": 3})).await;
    let done = stage
        .set("service", "PUT", "/seats", json!({"seats": {"4": "gus"}}))
        .await;
    assert_eq!(done.json["seats"][4]["user"]["user"], "gus");
    assert_eq!(done.json["seats"][4].get("until"), None, "no limit");
}

#[tokio::test]
async fn an_ended_room_is_read_and_nothing_else() {
    let stage = Stage::busy(calm()).await;
    stage.set("host", "DELETE", "", Value::Null).await;
    let mut calls = seat_calls();
    calls.extend([
        ("applicant", "DELETE", "/applications/me", Value::Null),
        ("host", "DELETE", "/invitations/ivy", Value::Null),
        ("host", "PATCH", "/members/bob", json!({"role": "admin"})),
        ("host", "DELETE", "/members/bob", Value::Null),
        ("member", "DELETE", "/members/me", Value::Null),
        ("host", "POST", "/seats/1/ask", json!({"audio": true})),
        ("host", "PUT", "/layout", json!({"template": "float"})),
        ("host", "PATCH", "/program", json!({"mode": "mixed"})),
    ]);
    for (who, method, path, body) in calls {
        let answer = stage.say(who, method, path, body).await;
        assert_eq!(
            answer.outcome(),
            "410 room_ended",
            "{method} {path} by {who}: {}",
            answer.text
        );
    }
    for (path, list) in [("/applications", "applications"), ("/invitations", "invitations")] {
        let answer = stage.say("host", "GET", path, Value::Null).await;
        assert_eq!(
            (answer.outcome().as_str(), &answer.json[list]),
            (OK, &json!([])),
            "{path}"
        );
    }
    let room = stage.say("member", "GET", "", Value::Null).await;
    assert_eq!((room.outcome().as_str(), &room.json["phase"]), (OK, &json!("ended")));
}

#[tokio::test]
async fn an_empty_room_has_nothing_to_answer() {
    let stage = Stage::new(calm()).await;
    for (who, method, path, body, expected) in [
        ("host", "POST", "/applications/pia/accept", Value::Null, NO_REQUEST),
        ("host", "POST", "/applications/pia/reject", Value::Null, NO_REQUEST),
        ("applicant", "DELETE", "/applications/me", Value::Null, NO_REQUEST),
        ("host", "DELETE", "/invitations/ivy", Value::Null, NO_REQUEST),
        ("invitee", "POST", "/invitations/me/accept", Value::Null, NO_REQUEST),
        ("invitee", "POST", "/invitations/me/reject", Value::Null, NO_REQUEST),
        ("applicant", "POST", "/applications", json!({}), ABSENT),
        ("host", "POST", "/invitations", json!({"user": "ivy"}), ABSENT),
        ("host", "PUT", "/seats/1", json!({"user": "bob"}), ABSENT),
        ("service", "POST", "/applications", json!({"user": "oli"}), MADE),
        ("service", "POST", "/invitations", json!({"user": "ivy"}), MADE),
        ("host", "POST", "/seats/1/move", json!({"to": 2}), "409 conflict"),
    ] {
        let answer = stage.say(who, method, path, body.clone()).await;
        assert_eq!(
            answer.outcome(),
            expected,
            "{method} {path} {body} by {who}: {}",
            answer.text
        );
    }
    let members = stage.say("host", "GET", "/members", Value::Null).await;
    assert_eq!((members.outcome().as_str(), &members.json["members"]), (OK, &json!([])));
}
