//! What is refused, and that what was in the way may go.

use crate::server::{Server, directory};
use crate::stream::Stream;
use reqwest::Method;
use serde_json::{Value, json};

const APPLICATIONS: &str = "/v1/rooms/r/applications";

/// A server with room `r` of `ann`, and the tokens of a service and of `ann`.
async fn stage(test: &str, more: &[&str]) -> (Server, String, String) {
    let server = Server::start_with(&directory(test).join("costage.redb"), more);
    let service = server.token("*", "backend", "service").await;
    let host = server.token("r", "ann", "host").await;
    let room = json!({"room": "r", "host": "ann", "policies": {"kick_cooldown_ms": 0}});
    server.call(&service, Method::POST, "/v1/rooms", room).await;
    (server, service, host)
}

fn code(problem: &Value) -> (u64, &str) {
    let status = problem["status"].as_u64().expect("a status");
    (status, problem["code"].as_str().expect("a code"))
}

#[tokio::test(flavor = "multi_thread")]
async fn six_applications_a_minute() {
    let (server, _, _) = stage("rate", &[]).await;
    let bob = server.token("r", "bob", "member").await;
    let mut stream = Stream::open(&server, &bob, "r", None).await;
    stream.until("snapshot").await;
    for _ in 0..6 {
        server.call(&bob, Method::POST, APPLICATIONS, json!({})).await;
        server
            .call(&bob, Method::DELETE, &format!("{APPLICATIONS}/me"), Value::Null)
            .await;
    }
    let refused = server.refused(&bob, Method::POST, APPLICATIONS, json!({})).await;
    assert_eq!(code(&refused), (429, "rate_limited"), "{refused}");
    let wait = refused["retry_after_ms"].as_u64().expect("when");
    assert!((1..=60_000).contains(&wait), "{wait} ms");

    let eve = server.token("r", "eve", "member").await;
    let mut stream = Stream::open(&server, &eve, "r", None).await;
    stream.until("snapshot").await;
    server.call(&eve, Method::POST, APPLICATIONS, json!({})).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_wait_and_no_more() {
    let (server, service, host) = stage("queue", &[]).await;
    let ask = |number: u32| json!({"user": format!("u{number}"), "timeout_ms": 0});
    for number in 0..100 {
        server.call(&service, Method::POST, APPLICATIONS, ask(number)).await;
    }
    let refused = server.refused(&service, Method::POST, APPLICATIONS, ask(100)).await;
    assert_eq!(code(&refused), (429, "queue_full"), "{refused}");
    let again = server.call(&service, Method::POST, APPLICATIONS, ask(7)).await;
    assert_eq!(again["deduplicated"], true, "who waits already takes no other place");
    server
        .call(&host, Method::POST, &format!("{APPLICATIONS}/u7/reject"), json!({}))
        .await;
    server.call(&service, Method::POST, APPLICATIONS, ask(100)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seat_needs_a_place_on_the_node() {
    let (server, service, host) = stage("capacity", &["limits.peers=1"]).await;
    for user in ["bob", "eve"] {
        let ask = json!({"user": user, "timeout_ms": 0});
        server.call(&service, Method::POST, APPLICATIONS, ask).await;
    }
    let accept = |user: &str| format!("{APPLICATIONS}/{user}/accept");
    let bob = server.call(&host, Method::POST, &accept("bob"), json!({})).await;
    assert_eq!(bob["seat"], 1, "{bob}");
    let refused = server.refused(&host, Method::POST, &accept("eve"), json!({})).await;
    assert_eq!(code(&refused), (503, "capacity_exhausted"), "{refused}");
    let invite = json!({"user": "dan"});
    let refused = server
        .refused(&service, Method::POST, "/v1/rooms/r/invitations", invite)
        .await;
    assert_eq!(code(&refused), (503, "capacity_exhausted"), "{refused}");

    server
        .call(&host, Method::DELETE, "/v1/rooms/r/seats/1", Value::Null)
        .await;
    let eve = server.call(&host, Method::POST, &accept("eve"), json!({})).await;
    assert_eq!(eve["request"]["state"], "accepted", "her application stayed: {eve}");
}

/// The shortest wait there is: five seconds.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_may_come_too_late() {
    let (server, service, host) = stage("late", &[]).await;
    let mut stream = Stream::open(&server, &host, "r", None).await;
    stream.until("snapshot").await;
    let ask = json!({"user": "bob", "timeout_ms": 5_000});
    let asked = server.call(&service, Method::POST, APPLICATIONS, ask).await;
    let closed = stream.until("application.closed").await;
    assert_eq!(closed["data"]["request"]["id"], asked["id"]);
    assert_eq!(closed["data"]["reason"], "timeout");
    for answer in ["accept", "reject"] {
        let path = format!("{APPLICATIONS}/bob/{answer}");
        let body = json!({"request": asked["id"]});
        let refused = server.refused(&host, Method::POST, &path, body).await;
        assert_eq!(code(&refused), (409, "request_expired"), "{answer}: {refused}");
    }
    let seats = server.get(&host, "/v1/rooms/r/seats").await;
    assert_eq!(seats["seats"][1]["state"], "empty");
}
