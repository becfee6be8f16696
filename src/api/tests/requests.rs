//! What the calls of the seat workflow answer: shapes, repeats, races, fields at fault, pages.

use super::permissions::Stage;
use super::schema::difference;
use super::*;

async fn described(stage: &Stage, method: &str, path: &str, answer: &Answer) {
    let contract = stage.server.get("/openapi.json", "nobody").await.json;
    let path = format!("/v1/rooms/{{room}}{path}");
    assert_eq!(difference(&contract, method, &path, answer), None, "{}", answer.text);
}

async fn stage() -> Stage {
    let mut stage = Stage::new(json!({"policies": {"kick_cooldown_ms": 0}})).await;
    for who in ["host", "admin", "member", "guest"] {
        stage.enter(who).await;
    }
    stage
}

#[tokio::test]
async fn an_application_is_made_repeated_and_accepted() {
    let stage = stage().await;
    let wish = json!({"seat": 3, "media": "audio", "timeout_ms": 60_000, "extra": {"song": 7}});
    let asked = stage.set("member", "POST", "/applications", wish.clone()).await;
    assert_eq!(asked.outcome(), "201");
    described(&stage, "POST", "/applications", &asked).await;
    let request = &asked.json;
    for (field, expected) in [
        ("kind", json!("application")),
        ("state", json!("pending")),
        ("seat", json!(3)),
        ("media", json!("audio")),
        ("extra", json!({"song": 7})),
        ("guest", json!({"user": "bob", "name": "BOB", "avatar_url": null})),
        ("deduplicated", json!(false)),
        ("matched", json!(false)),
    ] {
        assert_eq!(request[field], expected, "{field}");
    }
    assert_eq!(request.get("granted"), None);
    assert!(
        request["expires_in_ms"]
            .as_u64()
            .is_some_and(|left| (59_000..=60_000).contains(&left))
    );

    let again = stage.set("member", "POST", "/applications", wish).await;
    assert_eq!(
        (again.outcome().as_str(), &again.json["deduplicated"]),
        ("200", &json!(true))
    );
    assert_eq!(
        (&again.json["id"], &again.json["version"]),
        (&request["id"], &request["version"])
    );

    let list = stage.say("admin", "GET", "/applications", Value::Null).await;
    assert_eq!(list.json["applications"][0]["id"], request["id"]);
    assert_eq!(list.json["version"], request["version"]);

    let accepted = stage.set("host", "POST", "/applications/bob/accept", Value::Null).await;
    described(&stage, "POST", "/applications/{user}/accept", &accepted).await;
    let answer = &accepted.json;
    assert_eq!(
        (&answer["seat"], &answer["request"]["state"]),
        (&json!(3), &json!("accepted"))
    );
    assert_eq!(answer["request"]["processed_by"]["user"], "ann");
    assert_eq!(answer["whip_url"], "http://sfu.example:8080/v1/rooms/demo/whip");
    assert!(answer["connect_by"].is_string());
    assert!(
        answer["connect_by_in_ms"]
            .as_u64()
            .is_some_and(|left| (14_000..=15_000).contains(&left))
    );
    assert_eq!(answer.get("already_processed_by"), None);
    assert!(answer["version"].as_u64() > request["version"].as_u64());
}

/// The key makes it the same call, not only the same wish.
#[tokio::test]
async fn a_keyed_application_is_made_once() {
    let stage = stage().await;
    let apply = || {
        let request = call("POST", "/v1/rooms/demo/applications").by("member");
        let request = request.header("idempotency-key", "k1").json(json!({"seat": 2}));
        request.to(&stage.server)
    };
    let (first, second) = (apply().await, apply().await);
    assert_eq!((first.outcome().as_str(), &first.text), ("201", &second.text));
    assert_eq!(second.outcome(), "201");
    stage.set("member", "DELETE", "/applications/me", Value::Null).await;
    assert_eq!(apply().await.text, first.text, "it is not made anew");
    let waiting = stage.say("host", "GET", "/applications", Value::Null).await;
    assert_eq!(waiting.json["applications"], json!([]));
}

/// SEATS "Races".
#[tokio::test]
async fn who_comes_late_is_told_who_was_first() {
    let stage = stage().await;
    let first = stage.set("member", "POST", "/applications", json!({})).await.json;
    stage.set("host", "POST", "/applications/bob/accept", Value::Null).await;
    let second = stage
        .set("admin", "POST", "/applications/bob/accept", Value::Null)
        .await;
    described(&stage, "POST", "/applications/{user}/accept", &second).await;
    assert_eq!(second.json["already_processed_by"]["user"], "ann");
    assert_eq!(
        (&second.json["seat"], &second.json["request"]["id"]),
        (&json!(1), &first["id"])
    );

    let refused = stage
        .say("admin", "POST", "/applications/bob/reject", Value::Null)
        .await;
    assert_eq!(refused.outcome(), "409 conflict", "{}", refused.text);
    described(&stage, "POST", "/applications/{user}/reject", &refused).await;
    assert_eq!(
        (&refused.json["processed_by"]["user"], &refused.json["decision"]),
        (&json!("ann"), &json!("accepted"))
    );
    let late = stage.say("member", "DELETE", "/applications/me", Value::Null).await;
    assert_eq!(
        (late.outcome().as_str(), &late.json["seat"]),
        ("409 already_accepted", &json!(1)),
        "{}",
        late.text
    );
    let seated = stage.say("member", "POST", "/applications", json!({})).await;
    assert_eq!(
        (seated.outcome().as_str(), &seated.json["seat"]),
        ("409 already_seated", &json!(1))
    );

    stage.set("member", "DELETE", "/seats/me", Value::Null).await;
    let second = stage.set("member", "POST", "/applications", json!({})).await.json;
    let cancelled = stage.set("member", "DELETE", "/applications/me", Value::Null).await;
    described(&stage, "DELETE", "/applications/{user}", &cancelled).await;
    assert_eq!(
        (&cancelled.json["request"]["id"], &cancelled.json["request"]["state"]),
        (&second["id"], &json!("cancelled"))
    );
    let late = stage.say("host", "POST", "/applications/bob/accept", Value::Null).await;
    assert_eq!(late.outcome(), "409 request_cancelled", "{}", late.text);
    // The answer meant for the first is the first's.
    let meant = json!({"request": first["id"]});
    let remembered = stage.set("admin", "POST", "/applications/bob/accept", meant).await;
    assert_eq!(remembered.json["request"]["id"], first["id"]);
}

#[tokio::test]
async fn an_invitation_is_made_and_answered() {
    let stage = stage().await;
    let body = json!({"user": "bob", "seat": 2, "extra": "come up"});
    let asked = stage.set("admin", "POST", "/invitations", body).await;
    assert_eq!(asked.outcome(), "201");
    described(&stage, "POST", "/invitations", &asked).await;
    assert_eq!(
        (
            &asked.json["kind"],
            &asked.json["by"]["user"],
            &asked.json["guest"]["name"]
        ),
        (&json!("invitation"), &json!("adam"), &json!("BOB"))
    );
    let list = stage.say("host", "GET", "/invitations", Value::Null).await;
    described(&stage, "GET", "/invitations", &list).await;
    assert_eq!(list.json["invitations"][0]["extra"], "come up");
    let meant = json!({"request": asked.json["id"]});
    let accepted = stage.set("member", "POST", "/invitations/me/accept", meant).await;
    described(&stage, "POST", "/invitations/me/accept", &accepted).await;
    assert_eq!(
        (&accepted.json["seat"], &accepted.json["request"]["state"]),
        (&json!(2), &json!("accepted"))
    );
    assert!(accepted.json["connect_by"].is_string() && accepted.json["whip_url"].is_string());

    stage.set("host", "POST", "/invitations", json!({"user": "gus"})).await;
    let body = json!({"reason": "not today"});
    let rejected = stage.set("guest", "POST", "/invitations/me/reject", body).await;
    described(&stage, "POST", "/invitations/me/reject", &rejected).await;
    assert_eq!(
        (&rejected.json["request"]["state"], rejected.json.get("seat")),
        (&json!("rejected"), None)
    );

    stage.set("host", "POST", "/invitations", json!({"user": "gus"})).await;
    let withdrawn = stage.set("host", "DELETE", "/invitations/gus", Value::Null).await;
    described(&stage, "DELETE", "/invitations/{user}", &withdrawn).await;
    assert_eq!(withdrawn.json["request"]["state"], "cancelled");
}

/// Both want it: one reservation, whoever comes second.
#[tokio::test]
async fn asking_for_the_same_is_consent() {
    let stage = stage().await;
    let applied = stage.set("member", "POST", "/applications", json!({})).await.json;
    let invited = stage.set("host", "POST", "/invitations", json!({"user": "bob"})).await;
    described(&stage, "POST", "/invitations", &invited).await;
    let answer = &invited.json;
    assert_eq!((&answer["matched"], &answer["id"]), (&json!(true), &applied["id"]));
    assert_eq!(
        (&answer["state"], &answer["granted"]["seat"]),
        (&json!("accepted"), &json!(1))
    );

    stage.set("host", "POST", "/invitations", json!({"user": "gus"})).await;
    let applied = stage.set("guest", "POST", "/applications", json!({})).await;
    assert_eq!(applied.outcome(), "201");
    assert_eq!(
        (&applied.json["matched"], &applied.json["granted"]["seat"]),
        (&json!(true), &json!(2))
    );
    assert!(applied.json["granted"]["whip_url"].is_string());
}

#[tokio::test]
async fn in_free_mode_an_application_is_a_seat() {
    let mut stage = Stage::new(json!({"seat_mode": "free"})).await;
    stage.enter("member").await;
    let seated = stage.set("member", "POST", "/applications", json!({"seat": 4})).await;
    assert_eq!(seated.outcome(), "201");
    described(&stage, "POST", "/applications", &seated).await;
    assert_eq!(
        (&seated.json["state"], &seated.json["granted"]["seat"]),
        (&json!("accepted"), &json!(4))
    );
}

#[tokio::test]
async fn the_field_at_fault_is_named() {
    let stage = stage().await;
    stage.set("guest", "POST", "/applications", json!({})).await;
    let long = "x".repeat(1023);
    let reason = "x".repeat(257);
    let apply = "/applications";
    for (who, path, body, outcome, field) in [
        ("member", apply, json!({"seat": -2}), "422 seat_index_invalid", "seat"),
        ("member", apply, json!({"seat": 256}), "422 seat_index_invalid", "seat"),
        ("member", apply, json!({"seat": "3"}), "422 invalid_argument", "seat"),
        ("member", apply, json!({"seat": 1.5}), "422 invalid_argument", "seat"),
        (
            "member",
            apply,
            json!({"media": "smell"}),
            "422 invalid_argument",
            "media",
        ),
        (
            "member",
            apply,
            json!({"timeout_ms": 4_999}),
            "422 invalid_argument",
            "timeout_ms",
        ),
        (
            "member",
            apply,
            json!({"timeout_ms": 1_800_001}),
            "422 invalid_argument",
            "timeout_ms",
        ),
        (
            "member",
            apply,
            json!({"timeout_ms": -1}),
            "422 invalid_argument",
            "timeout_ms",
        ),
        ("member", apply, json!({"extra": long}), "422 invalid_argument", "extra"),
        ("member", apply, json!({"sead": 1}), "422 invalid_argument", "sead"),
        ("service", apply, json!({}), "422 invalid_argument", "user"),
        ("service", apply, json!({"user": "a/b"}), "422 invalid_argument", "user"),
        (
            "service",
            apply,
            json!({"user": {"user": "eve", "name": "\n"}}),
            "422 invalid_argument",
            "user.name",
        ),
        ("host", "/invitations", json!({}), "422 invalid_argument", "user"),
        (
            "host",
            "/invitations",
            json!({"user": "bob", "timeout_ms": 1}),
            "422 invalid_argument",
            "timeout_ms",
        ),
        (
            "host",
            "/applications/gus/accept",
            json!({"request": "x"}),
            "422 invalid_argument",
            "request",
        ),
        (
            "host",
            "/applications/gus/accept",
            json!({"seat": -7}),
            "422 seat_index_invalid",
            "seat",
        ),
        (
            "host",
            "/applications/gus/accept",
            json!({"reason": "x"}),
            "422 invalid_argument",
            "reason",
        ),
        (
            "host",
            "/applications/gus/reject",
            json!({"reason": reason}),
            "422 invalid_argument",
            "reason",
        ),
        (
            "host",
            "/applications/a%2Fb/accept",
            json!({}),
            "422 invalid_argument",
            "user",
        ),
        ("host", "/seats/1/move", json!({}), "422 invalid_argument", "to"),
        (
            "host",
            "/seats/1/move",
            json!({"to": -1}),
            "422 seat_index_invalid",
            "to",
        ),
        (
            "host",
            "/seats/1/move",
            json!({"to": 2, "policy": "push"}),
            "422 invalid_argument",
            "policy",
        ),
        (
            "host",
            "/seats/1/ask",
            json!({"audio": 1}),
            "422 invalid_argument",
            "audio",
        ),
        (
            "host",
            "/seats/x/ask",
            json!({"audio": true}),
            "422 seat_index_invalid",
            "seat",
        ),
    ] {
        let answer = stage.say(who, "POST", path, body.clone()).await;
        let found = (
            answer.outcome(),
            answer.json["field"].as_str().unwrap_or_default().to_owned(),
        );
        assert_eq!(
            found,
            (outcome.to_owned(), field.to_owned()),
            "{path} {body}: {}",
            answer.text
        );
    }
    for seat in [0, 10] {
        let answer = stage.say("member", "POST", apply, json!({"seat": seat})).await;
        assert_eq!(answer.outcome(), "422 seat_index_invalid", "{seat}");
    }
    let at_most = json!({"extra": "x".repeat(1022), "timeout_ms": 0});
    let asked = stage.set("member", "POST", apply, at_most).await;
    assert!(
        asked.json["expires_in_ms"]
            .as_u64()
            .is_some_and(|left| left > 1_790_000),
        "{}",
        asked.text
    );
}

#[tokio::test]
async fn bodies_that_say_nothing_may_be_absent() {
    let stage = stage().await;
    stage.set("member", "POST", "/applications", json!({})).await;
    let typed = call("POST", "/v1/rooms/demo/applications/bob/accept").by("host");
    let plain = typed.body("text/plain", "yes").to(&stage.server).await;
    assert_eq!(plain.outcome(), "415 unsupported_media_type");
    let typed = call("POST", "/v1/rooms/demo/applications/bob/accept").by("host");
    let empty = typed.body("application/json", "").to(&stage.server).await;
    assert_eq!(empty.outcome(), "200", "{}", empty.text);
    let call = call("POST", "/v1/rooms/demo/applications").by("guest");
    assert_eq!(call.to(&stage.server).await.outcome(), "415 unsupported_media_type");
}

#[tokio::test]
async fn a_seat_that_stands_twice_is_refused() {
    let stage = stage().await;
    let body = r#"{"seats": {"1": "bob", "2": "eve", "1": null}}"#;
    let request = call("PUT", "/v1/rooms/demo/seats").by("service");
    let refused = request.body("application/json", body).to(&stage.server).await;
    assert_eq!(
        (refused.outcome().as_str(), &refused.json["field"]),
        ("422 invalid_argument", &json!("seats.1"))
    );
    let seats = stage.say("member", "GET", "/seats", Value::Null).await;
    assert_eq!(seats.json["seats"][2]["state"], "empty");
}

#[tokio::test]
async fn members_are_listed_filtered_and_paged() {
    let stage = stage().await;
    stage.set("service", "PUT", "/seats/1", json!({"user": "gus"})).await;
    let list = |query: &'static str| stage.say("host", "GET", query, Value::Null);
    let users = |answer: &Answer| -> Vec<String> {
        let members = answer.json["members"].as_array().expect("members");
        members
            .iter()
            .filter_map(|member| Some(member["user"].as_str()?.to_owned()))
            .collect()
    };
    let all = list("/members").await;
    described(&stage, "GET", "/members", &all).await;
    assert_eq!(users(&all), ["adam", "ann", "bob", "gus"]);
    let gus = &all.json["members"][3];
    assert_eq!(
        (&gus["role"], &gus["presence"], &gus["seat"], &gus["name"]),
        (&json!("member"), &json!("online"), &json!(1), &json!("GUS"))
    );
    assert_eq!(all.json["members"][1]["seat"], 0);
    for (query, expected) in [
        ("/members?role=host", vec!["ann"]),
        ("/members?role=admin", vec!["adam"]),
        ("/members?role=member", vec!["bob", "gus"]),
        ("/members?presence=online", vec!["adam", "ann", "bob", "gus"]),
        ("/members?presence=suspended", vec![]),
        ("/members?seated=true", vec!["ann", "gus"]),
        ("/members?seated=false&role=member", vec!["bob"]),
        ("/members?limit=2&cursor=ann", vec!["bob", "gus"]),
    ] {
        let answer = list(query).await;
        assert_eq!(users(&answer), expected, "{query}");
        assert_eq!(answer.json.get("next_cursor"), None, "{query}");
    }
    let first = list("/members?limit=1&role=member").await;
    assert_eq!(
        (users(&first), &first.json["next_cursor"]),
        (vec!["bob".to_owned()], &json!("bob"))
    );
    for (query, field) in [
        ("/members?role=guest", "role"),
        ("/members?presence=here", "presence"),
        ("/members?seated=1", "seated"),
        ("/members?limit=0", "limit"),
        ("/members?cursor=a/b", "cursor"),
        ("/members?rôle=host", "r\u{f4}le"),
        ("/applications?limit=1001", "limit"),
        ("/applications?cursor=x", "cursor"),
        ("/applications?user=bob", "user"),
    ] {
        let query = query.replace('ô', "%C3%B4");
        let answer = stage.say("host", "GET", &query, Value::Null).await;
        assert_eq!(
            (answer.outcome().as_str(), answer.json["field"].as_str()),
            ("422 invalid_argument", Some(field)),
            "{query}: {}",
            answer.text
        );
    }
}

#[tokio::test]
async fn applications_are_listed_page_by_page() {
    let stage = stage().await;
    for user in ["c", "a", "b"] {
        stage
            .set("service", "POST", "/applications", json!({"user": user}))
            .await;
    }
    let page = |answer: &Answer| -> Vec<String> {
        let all = answer.json["applications"].as_array().expect("applications");
        all.iter()
            .filter_map(|one| Some(one["guest"]["user"].as_str()?.to_owned()))
            .collect()
    };
    let first = stage.say("host", "GET", "/applications?limit=2", Value::Null).await;
    described(&stage, "GET", "/applications", &first).await;
    assert_eq!(page(&first), ["c", "a"]);
    let cursor = first.json["next_cursor"].as_str().expect("more");
    let second = stage
        .say("host", "GET", &format!("/applications?cursor={cursor}"), Value::Null)
        .await;
    assert_eq!(
        (page(&second), second.json.get("next_cursor")),
        (vec!["b".to_owned()], None)
    );
}

#[tokio::test]
async fn roles_are_granted_and_members_removed() {
    let stage = stage().await;
    let granted = stage
        .set("host", "PATCH", "/members/bob", json!({"role": "admin"}))
        .await;
    described(&stage, "PATCH", "/members/{user}", &granted).await;
    assert_eq!(
        (&granted.json["member"]["user"], &granted.json["member"]["role"]),
        (&json!("bob"), &json!("admin"))
    );
    assert_eq!(
        stage.say("member", "GET", "/members", Value::Null).await.outcome(),
        "200"
    );
    let absent = stage
        .set("host", "PATCH", "/members/zoe", json!({"role": "admin"}))
        .await;
    assert_eq!(absent.json.get("member"), None);
    stage
        .set("service", "PATCH", "/members/bob", json!({"role": "member"}))
        .await;
    let refused = stage.say("member", "GET", "/members", Value::Null).await;
    assert_eq!(refused.outcome(), "403 permission_denied");

    stage.set("service", "PUT", "/seats/1", json!({"user": "gus"})).await;
    let removed = stage
        .set(
            "admin",
            "DELETE",
            "/members/gus?ban_ms=60000",
            json!({"reason": "spam"}),
        )
        .await;
    described(&stage, "DELETE", "/members/{user}", &removed).await;
    assert_eq!(removed.json["seats"][1]["state"], "empty");
    let banned = stage.say("guest", "POST", "/applications", json!({})).await;
    assert_eq!(banned.outcome(), "403 banned", "{}", banned.text);
    stage.set("admin", "DELETE", "/members/gus?ban_ms=0", Value::Null).await;
    let out = stage.say("guest", "POST", "/applications", json!({})).await;
    assert_eq!(out.outcome(), "403 not_in_room", "{}", out.text);

    stage.set("service", "PUT", "/seats/2", json!({"user": "bob"})).await;
    let left = stage.set("member", "DELETE", "/members/me", Value::Null).await;
    assert_eq!(left.json["seats"][2]["state"], "empty");
    let members = stage.say("host", "GET", "/members", Value::Null).await;
    assert_eq!(members.json["members"].as_array().map(Vec::len), Some(2));
    for (path, body, field) in [
        ("/members/me?ban_ms=5000", Value::Null, "ban_ms"),
        ("/members/adam?ban_ms=1", json!({"ban_ms": 1}), "ban_ms"),
        ("/members/adam?reason=x", json!({"reason": "y"}), "reason"),
        ("/members/adam", json!({"ban": 1}), "ban"),
    ] {
        let refused = stage.say("host", "DELETE", path, body).await;
        assert_eq!(
            (refused.outcome().as_str(), refused.json["field"].as_str()),
            ("422 invalid_argument", Some(field)),
            "{path}: {}",
            refused.text
        );
    }
}

#[tokio::test]
async fn people_are_moved_swapped_and_replaced() {
    let stage = stage().await;
    for (seat, user) in [("/seats/1", "gus"), ("/seats/2", "bob")] {
        stage.set("service", "PUT", seat, json!({"user": user})).await;
    }
    let on = |answer: &Answer| -> Vec<Value> {
        let seats = answer.json["seats"].as_array().expect("seats");
        seats
            .iter()
            .take(4)
            .skip(1)
            .map(|seat| seat["user"]["user"].clone())
            .collect()
    };
    let shift = |body: Value| stage.say("host", "POST", "/seats/1/move", body);
    assert_eq!(shift(json!({"to": 2})).await.outcome(), "409 seat_occupied");
    let swapped = shift(json!({"to": 2, "policy": "swap", "user": "gus"})).await;
    described(&stage, "POST", "/seats/{seat}/move", &swapped).await;
    assert_eq!(
        on(&swapped),
        [json!("bob"), json!("gus"), Value::Null],
        "{}",
        swapped.text
    );
    assert_eq!(shift(json!({"to": 3, "user": "gus"})).await.outcome(), "409 conflict");
    let version = swapped.json["version"].as_u64().expect("a version");
    let late = shift(json!({"to": 3, "if_version": version - 1})).await;
    assert_eq!(
        (late.outcome().as_str(), &late.json["current"]),
        ("409 version_conflict", &json!(version))
    );
    let moved = shift(json!({"to": 3, "if_version": version})).await;
    assert_eq!(on(&moved), [Value::Null, json!("gus"), json!("bob")]);
    assert_eq!(moved.json["version"], version + 1);
    let replaced = stage
        .set("host", "POST", "/seats/3/move", json!({"to": 2, "policy": "replace"}))
        .await;
    assert_eq!(on(&replaced), [Value::Null, json!("bob"), Value::Null]);
}

#[tokio::test]
async fn whoever_is_seated_is_told_where_to_publish() {
    let stage = stage().await;
    let seated = stage.set("host", "PUT", "/seats/2", json!({"user": "bob"})).await;
    described(&stage, "PUT", "/seats/{seat}", &seated).await;
    assert_eq!(seated.json["whip_url"], "http://sfu.example:8080/v1/rooms/demo/whip");
    assert_eq!(
        (&seated.json["seat"], &seated.json["seats"][2]["user"]["name"]),
        (&json!(2), &json!("BOB"))
    );
    let asked = stage.set("admin", "POST", "/seats/2/ask", json!({"video": true})).await;
    described(&stage, "POST", "/seats/{seat}/ask", &asked).await;
    assert_eq!(asked.json["version"], seated.json["version"], "nothing has changed");
}
