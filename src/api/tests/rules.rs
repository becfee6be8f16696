//! Who may do what, and what rooms and seats answer.

use super::*;

/// Call × role → outcome, each on a fresh room where `gus` sits on seat 1.
#[tokio::test]
async fn calls_by_roles() {
    let columns = [
        "service", "host", "cohost", "admin", "guest", "member", "stranger", "nobody",
    ];
    let ok = "200";
    let (denied, unknown) = ("403 permission_denied", "401 unauthenticated");
    #[rustfmt::skip]
    let table: &[(&str, &str, Value, [&str; 8])] = &[
        ("GET", "/v1/rooms", Value::Null, [ok, denied, denied, denied, denied, denied, denied, unknown]),
        ("GET", "/v1/rooms/demo", Value::Null, [ok, ok, ok, ok, ok, ok, denied, unknown]),
        ("GET", "/v1/rooms/demo/seats", Value::Null, [ok, ok, ok, ok, ok, ok, denied, unknown]),
        ("POST", "/v1/rooms", json!({"room": "demo", "host": {"user": "ann", "name": "Ann"}, "seat_mode": "free",
                "policies": {"kick_cooldown_ms": 0}}),
            [ok, ok, denied, denied, denied, denied, denied, unknown]),
        ("PATCH", "/v1/rooms/demo", json!({"max_guests": 5}), [ok, ok, ok, ok, denied, denied, denied, unknown]),
        ("DELETE", "/v1/rooms/demo", Value::Null, [ok, ok, denied, denied, denied, denied, denied, unknown]),
        ("PUT", "/v1/rooms/demo/seats", json!({"seats": {"2": "eve"}}),
            [ok, denied, denied, denied, denied, denied, denied, unknown]),
        ("DELETE", "/v1/rooms/demo/seats/1", Value::Null, [ok, ok, ok, ok, ok, denied, denied, unknown]),
        ("DELETE", "/v1/rooms/demo/seats/1?user=eve", Value::Null,
            ["409 conflict", "409 conflict", "409 conflict", "409 conflict", "409 conflict", denied, denied, unknown]),
        ("DELETE", "/v1/rooms/demo/members/gus/seat", Value::Null, [ok, ok, ok, ok, ok, denied, denied, unknown]),
        ("PATCH", "/v1/rooms/demo/seats/1", json!({"audio_muted": true}), [ok, ok, ok, ok, ok, denied, denied, unknown]),
        ("PATCH", "/v1/rooms/demo/seats/1", json!({"audio_locked": true}),
            [ok, ok, ok, ok, denied, denied, denied, unknown]),
        ("PATCH", "/v1/rooms/demo/seats/2", json!({"locked": true}), [ok, ok, ok, ok, denied, denied, denied, unknown]),
        ("POST", "/v1/tokens", json!({"room": "demo", "user": "eve", "role": "member"}),
            ["201", denied, denied, denied, denied, denied, denied, unknown]),
    ];
    for (method, uri, body, outcomes) in table {
        for (who, expected) in columns.iter().zip(outcomes) {
            let server = server().with_gus().await;
            let mut request = call(method, uri).by(who);
            if !body.is_null() {
                request = request.json(body.clone());
            }
            let answer = request.to(&server).await;
            assert_eq!(
                answer.outcome(),
                *expected,
                "{method} {uri} {body} by {who}: {}",
                answer.text
            );
        }
    }
}

#[tokio::test]
async fn a_room_is_created_found_changed_and_ended() {
    let server = server();
    let body = json!({"room": "demo", "host": {"user": "ann", "name": "Ann"}, "metadata": {"topic": "tea"},
        "policies": {"grace_ms": 5000}, "webhook": {"url": "https://hooks.example"}});
    let create = |body: &Value| call("POST", "/v1/rooms").by("service").json(body.clone());
    let created = create(&body).to(&server).await;
    assert_eq!(created.outcome(), "201", "{}", created.text);
    assert_eq!(created.header("location"), "http://sfu.example:8080/v1/rooms/demo");
    assert_eq!(created.header("cache-control"), "no-store");
    let room = created.json;
    assert_eq!(
        (room["id"].clone(), room["phase"].clone(), room["version"].clone()),
        (json!("demo"), json!("idle"), json!(1))
    );
    assert_eq!(room["host"], json!({"user": "ann", "name": "Ann", "avatar_url": null}));
    assert_eq!(
        (
            room["policies"]["grace_ms"].clone(),
            room["policies"]["host_away_ms"].clone()
        ),
        (json!(5000), json!(60000))
    );
    assert_eq!(
        (room["seat_mode"].clone(), room["max_guests"].clone()),
        (json!("apply"), json!(9))
    );
    assert_eq!(
        (room["public_program"].clone(), room["outputs"].clone()),
        (json!(false), json!([]))
    );
    assert_eq!(room["urls"]["whip"], "http://sfu.example:8080/v1/rooms/demo/whip");
    assert_eq!(room["seats"].as_array().map(Vec::len), Some(10));
    assert_eq!(
        (
            room["seats"][0]["state"].clone(),
            room["seats"][0]["user"]["user"].clone()
        ),
        (json!("reserved"), json!("ann"))
    );
    assert_eq!(room["seats"][0].get("until"), None);

    assert_eq!(create(&body).to(&server).await.outcome(), "200");
    let mut other = body.clone();
    other["max_guests"] = json!(3);
    let refused = create(&other).to(&server).await;
    assert_eq!(refused.outcome(), "409 conflict");
    assert_eq!(refused.header("content-type"), "application/problem+json");

    assert_eq!(server.get("/v1/rooms/demo", "member").await.json.get("webhook"), None);
    assert_eq!(
        server.get("/v1/rooms/demo", "host").await.json["webhook"]["url"],
        "https://hooks.example"
    );

    let patch = |body: Value| call("PATCH", "/v1/rooms/demo").by("host").json(body);
    let patched = patch(json!({"max_guests": 3, "policies": {"host_away": "promote_admin"}, "metadata": {}}))
        .to(&server)
        .await;
    assert_eq!(patched.outcome(), "200", "{}", patched.text);
    assert_eq!(
        (patched.json["version"].clone(), patched.json["max_guests"].clone()),
        (json!(2), json!(3))
    );
    assert_eq!(patched.json["policies"]["host_away"], "promote_admin");
    assert_eq!(patched.json["policies"]["grace_ms"], 5000);
    let wrong = patch(json!({"policies": {"grace_ms": 90_001}})).to(&server).await;
    assert_eq!(
        (wrong.outcome().as_str(), wrong.json["field"].as_str()),
        ("422 invalid_argument", Some("policies.grace_ms"))
    );

    let ended = call("DELETE", "/v1/rooms/demo").by("host").to(&server).await;
    assert_eq!(
        (ended.outcome().as_str(), ended.json["phase"].as_str()),
        ("200", Some("ended"))
    );
    assert_eq!(server.get("/v1/rooms/demo", "member").await.json["phase"], "ended");
    assert_eq!(
        patch(json!({"max_guests": 4})).to(&server).await.outcome(),
        "410 room_ended"
    );
    let again = create(&body).to(&server).await;
    assert_eq!(again.outcome(), "201", "{}", again.text);
    assert_ne!(again.json["epoch"], room["epoch"]);
}

#[tokio::test]
async fn rooms_have_an_id_of_the_callers_or_a_random_one() {
    let server = server();
    let create = |who: &str, body: Value| call("POST", "/v1/rooms").by(who).json(body);
    let random = create("service", json!({"host": "ann"})).to(&server).await;
    assert_eq!(random.json["id"].as_str().map(str::len), Some(16), "{}", random.text);
    let own = create("demo-service", json!({"host": "ann"})).to(&server).await;
    assert_eq!((own.outcome().as_str(), own.json["id"].as_str()), ("201", Some("demo")));
    assert_eq!(
        create("demo-service", json!({"room": "b", "host": "ann"}))
            .to(&server)
            .await
            .outcome(),
        "403 permission_denied"
    );
    assert_eq!(
        create("cohost", json!({"room": "demo", "host": "ann"}))
            .to(&server)
            .await
            .outcome(),
        "403 permission_denied"
    );
    let refused = create("service", json!({"room": ".x", "host": "ann"}))
        .to(&server)
        .await;
    assert_eq!(
        (refused.outcome().as_str(), refused.json["field"].as_str()),
        ("422 invalid_argument", Some("room"))
    );
    for room in ["nowhere", "%20"] {
        let answer = server.get(&format!("/v1/rooms/{room}"), "service").await;
        assert!(
            ["404 room_not_found", "422 invalid_argument"].contains(&answer.outcome().as_str()),
            "{}",
            answer.text
        );
    }
}

#[tokio::test]
async fn a_host_goes_by_the_name_of_the_token() {
    let server = server();
    let room = call("POST", "/v1/rooms")
        .by("host")
        .json(json!({"host": "ann"}))
        .to(&server)
        .await;
    assert_eq!(
        (room.outcome().as_str(), room.json["host"]["name"].as_str()),
        ("201", Some("ANN"))
    );
    let dev = server_with(|options| options.dev = true);
    let room = call("POST", "/v1/rooms")
        .by("host")
        .json(json!({"host": "ann"}))
        .to(&dev)
        .await;
    assert_eq!(room.json["public_program"], true);
}

#[tokio::test]
async fn rooms_are_listed_page_by_page() {
    let server = server();
    for room in ["c", "a", "demo", "b"] {
        call("POST", "/v1/rooms")
            .by("service")
            .json(json!({"room": room, "host": "ann"}))
            .to(&server)
            .await;
    }
    let ids = |answer: &Answer| -> Vec<String> {
        let rooms = answer.json["rooms"].as_array().expect("rooms");
        rooms
            .iter()
            .map(|room| room["id"].as_str().expect("an id").to_owned())
            .collect()
    };
    let first = server.get("/v1/rooms?limit=3", "service").await;
    assert_eq!(ids(&first), ["a", "b", "c"]);
    let cursor = first.json["next_cursor"].as_str().expect("more");
    let second = server
        .get(&format!("/v1/rooms?limit=3&cursor={cursor}"), "service")
        .await;
    assert_eq!(
        (ids(&second), second.json.get("next_cursor")),
        (vec!["demo".to_owned()], None)
    );
    assert_eq!(ids(&server.get("/v1/rooms?limit=4", "service").await).len(), 4);
    assert_eq!(
        server.get("/v1/rooms?limit=4", "service").await.json.get("next_cursor"),
        None
    );
    assert_eq!(ids(&server.get("/v1/rooms", "demo-service").await), ["demo"]);
    assert!(ids(&server.get("/v1/rooms?cursor=demo", "demo-service").await).is_empty());
    for (query, field) in [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=x", "limit"),
        ("cursor=.", "cursor"),
        ("lim=1", "lim"),
    ] {
        let refused = server.get(&format!("/v1/rooms?{query}"), "service").await;
        assert_eq!(
            (refused.outcome().as_str(), refused.json["field"].as_str()),
            ("422 invalid_argument", Some(field)),
            "{query}"
        );
    }
}

#[tokio::test]
async fn seats_are_given_and_taken() {
    let server = server().with_demo().await;
    let put =
        |who: &str, seat: &str, body: Value| call("PUT", &format!("/v1/rooms/demo/seats/{seat}")).by(who).json(body);
    let seated = put("guest", "1", json!({"user": "gus"})).to(&server).await;
    assert_eq!(
        (seated.outcome().as_str(), seated.json["seat"].as_u64()),
        ("200", Some(1)),
        "{}",
        seated.text
    );
    assert_eq!(seated.json["whip_url"], "http://sfu.example:8080/v1/rooms/demo/whip");
    assert!(
        seated.json["connect_by"]
            .as_str()
            .is_some_and(|time| time.ends_with('Z'))
    );
    assert!(
        seated.json["connect_by_in_ms"]
            .as_u64()
            .is_some_and(|left| (14_000..=15_000).contains(&left))
    );
    let seat = &seated.json["seats"][1];
    assert_eq!(
        (seat["state"].as_str(), seat["user"]["name"].as_str()),
        (Some("reserved"), Some("GUS"))
    );
    assert_eq!(seat["sources"], json!({"camera": null, "screen": null}));

    assert_eq!(
        put("member", "1", json!({"user": "bob"})).to(&server).await.outcome(),
        "409 seat_occupied"
    );
    assert_eq!(
        put("member", "2", json!({"user": "eve"})).to(&server).await.outcome(),
        "403 permission_denied"
    );
    assert_eq!(
        put("member", "0", json!({"user": "bob"})).to(&server).await.outcome(),
        "422 seat_index_invalid"
    );
    assert_eq!(
        put("member", "10", json!({"user": "bob"})).to(&server).await.outcome(),
        "422 seat_index_invalid"
    );
    assert_eq!(
        put("member", "one", json!({"user": "bob"})).to(&server).await.outcome(),
        "422 seat_index_invalid"
    );
    let refused = put("service", "2", json!({"user": "me"})).to(&server).await;
    assert_eq!(
        (refused.outcome().as_str(), refused.json["field"].as_str()),
        ("422 invalid_argument", Some("user"))
    );
    let version = server.get("/v1/rooms/demo/seats", "member").await.json["version"]
        .as_u64()
        .expect("a version");
    let late = put("service", "2", json!({"user": "eve", "if_version": version + 1}))
        .to(&server)
        .await;
    assert_eq!(
        (late.outcome().as_str(), late.json["current"].as_u64()),
        ("409 version_conflict", Some(version))
    );
    let seated = put(
        "service",
        "2",
        json!({"user": "eve", "name": "Eve", "if_version": version}),
    )
    .to(&server)
    .await;
    assert_eq!(
        seated.json["seats"][2]["user"],
        json!({"user": "eve", "name": "Eve", "avatar_url": null})
    );

    let late = call("DELETE", &format!("/v1/rooms/demo/seats/2?if_version={version}"))
        .by("service")
        .to(&server)
        .await;
    assert_eq!(late.outcome(), "409 version_conflict");
    let left = call("DELETE", "/v1/rooms/demo/seats/me").by("guest").to(&server).await;
    assert_eq!(
        (left.outcome().as_str(), left.json["seats"][1]["state"].as_str()),
        ("200", Some("empty"))
    );
    let kicked = call("DELETE", "/v1/rooms/demo/members/eve/seat?reason=late")
        .by("host")
        .to(&server)
        .await;
    assert_eq!(
        (kicked.outcome().as_str(), kicked.json["seats"][2]["state"].as_str()),
        ("200", Some("empty"))
    );
    let long = call("DELETE", &format!("/v1/rooms/demo/seats/2?reason={}", "x".repeat(257)))
        .by("host")
        .to(&server)
        .await;
    assert_eq!(
        (long.outcome().as_str(), long.json["field"].as_str()),
        ("422 invalid_argument", Some("reason"))
    );
}

#[tokio::test]
async fn people_with_odd_names_are_found_in_paths() {
    let server = server().with_demo().await;
    let body = json!({"user": "zoë & co"});
    let seated = call("PUT", "/v1/rooms/demo/seats/1")
        .by("service")
        .json(body)
        .to(&server)
        .await;
    assert_eq!(seated.outcome(), "200", "{}", seated.text);
    let left = call("DELETE", "/v1/rooms/demo/members/zo%C3%AB%20%26%20co/seat")
        .by("service")
        .to(&server)
        .await;
    assert_eq!(
        (left.outcome().as_str(), left.json["seats"][1]["state"].as_str()),
        ("200", Some("empty"))
    );
    let slash = call("DELETE", "/v1/rooms/demo/members/a%2Fb/seat")
        .by("service")
        .to(&server)
        .await;
    assert_eq!(slash.outcome(), "422 invalid_argument");
    let broken = call("DELETE", "/v1/rooms/demo/members/%FF/seat")
        .by("service")
        .to(&server)
        .await;
    assert_eq!(broken.outcome(), "404 not_found");
}

#[tokio::test]
async fn the_assignment_is_one_step() {
    let server = server().with_gus().await;
    let assign = |body: Value| call("PUT", "/v1/rooms/demo/seats").by("service").json(body);
    let body = json!({"seats": {"1": null, "2": "bob", "3": {"user": "eve", "name": "Eve"}}});
    let done = assign(body.clone()).to(&server).await;
    assert_eq!(done.outcome(), "200", "{}", done.text);
    let states: Vec<&str> = (0..4).filter_map(|n| done.json["seats"][n]["state"].as_str()).collect();
    assert_eq!(states, ["reserved", "empty", "reserved", "reserved"]);
    assert_eq!(assign(body).to(&server).await.json["version"], done.json["version"]);
    for (seats, outcome, field) in [
        (json!({"0": "bob"}), "422 seat_index_invalid", Some("seats.0")),
        (json!({"12": "bob"}), "422 seat_index_invalid", Some("seats.12")),
        (json!({"x": "bob"}), "422 seat_index_invalid", Some("seats.x")),
        (json!({"1": "bob", "2": "bob"}), "422 invalid_argument", Some("seats.2")),
        (json!({"1": "a/b"}), "422 invalid_argument", Some("seats.1")),
        (
            json!({"1": {"user": "a", "nmae": "b"}}),
            "422 invalid_argument",
            Some("seats.1.nmae"),
        ),
        (json!({"1": 7}), "422 invalid_argument", Some("seats.1")),
    ] {
        let refused = assign(json!({"seats": seats})).to(&server).await;
        assert_eq!(refused.outcome(), outcome, "{seats}");
        if let Some(field) = field {
            assert_eq!(refused.json["field"], field, "{seats}");
        }
    }
    let now = server.get("/v1/rooms/demo/seats", "member").await.json;
    assert_eq!(now["version"], done.json["version"]);
}

#[tokio::test]
async fn flags_are_set_one_by_one() {
    let server = server().with_gus().await;
    let patch = |body: Value| call("PATCH", "/v1/rooms/demo/seats/1").by("host").json(body);
    let muted = patch(json!({"audio_muted": true})).to(&server).await;
    assert_eq!(
        (
            muted.json["seats"][1]["audio_muted"].as_bool(),
            muted.json["seats"][1]["video_muted"].as_bool()
        ),
        (Some(true), Some(false))
    );
    let locked = patch(json!({"locked": true})).to(&server).await;
    assert_eq!(
        (
            locked.json["seats"][1]["locked"].as_bool(),
            locked.json["seats"][1]["state"].as_str()
        ),
        (Some(true), Some("empty"))
    );
    assert_eq!(patch(json!({"lokced": true})).to(&server).await.json["field"], "lokced");
}

#[tokio::test]
async fn tokens_are_minted_for_services_and_local_developers() {
    let server = server();
    let body = json!({"room": "demo", "user": "eve", "role": "admin", "name": "Eve", "ttl_ms": 60_000});
    let mint = |body: &Value| call("POST", "/v1/tokens").json(body.clone());
    let minted = mint(&body).by("service").to(&server).await;
    assert_eq!(minted.outcome(), "201", "{}", minted.text);
    assert!(
        minted.json["expires_at"]
            .as_str()
            .is_some_and(|time| time.ends_with(".000Z"))
    );
    assert!(
        minted.json["expires_at_in_ms"]
            .as_u64()
            .is_some_and(|left| (60_000..=61_000).contains(&left))
    );
    let server = server.with_demo().await;
    let bearer = format!("Bearer {}", minted.json["token"].as_str().expect("a token"));
    let read = call("GET", "/v1/rooms/demo")
        .header("authorization", &bearer)
        .to(&server)
        .await;
    assert_eq!(read.outcome(), "200");
    let escalated = mint(&json!({"room": "*", "user": "x", "role": "service"}))
        .by("demo-service")
        .to(&server)
        .await;
    assert_eq!(escalated.outcome(), "403 permission_denied");
    let wrong = mint(&json!({"room": "demo", "user": "x", "role": "root"}))
        .by("service")
        .to(&server)
        .await;
    assert_eq!(
        (wrong.outcome().as_str(), wrong.json["field"].as_str()),
        ("422 invalid_argument", Some("role"))
    );

    let local = server_with(|options| (options.dev, options.loopback) = (true, true));
    let page = |host: &str| {
        let request = Request::builder().method("POST").uri("/v1/tokens").header("host", host);
        Call {
            request,
            body: Body::empty(),
        }
        .json(body.clone())
    };
    assert_eq!(page("127.0.0.1:8080").to(&local).await.outcome(), "201");
    assert_eq!(page("evil.example").to(&local).await.outcome(), "401 unauthenticated");
    assert_eq!(
        page("127.0.0.1:8080").by("member").to(&local).await.outcome(),
        "403 permission_denied"
    );
}
