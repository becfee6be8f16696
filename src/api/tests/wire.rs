//! What HTTP alone decides: bodies, methods, paths, CORS, URLs, repeats.

use super::*;
use axum::body::{Bytes, HttpBody};
use axum::extract::ConnectInfo;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Every described operation leads somewhere.
#[tokio::test]
async fn all_that_is_described_is_routed() {
    let server = server();
    let contract = server.get("/openapi.json", "nobody").await;
    assert_eq!(contract.header("content-type"), "application/json");
    let paths = contract.json["paths"].as_object().expect("paths");
    let mut operations = 0;
    for (path, methods) in paths {
        let uri = path
            .replace("{room}", "demo")
            .replace("{seat}", "1")
            .replace("{user}", "bob")
            .replace("{id}", "x");
        for method in methods.as_object().expect("methods").keys() {
            let answer = call(&method.to_uppercase(), &uri).to(&server).await;
            assert_ne!(answer.status, 405, "{method} {path}");
            assert!(!answer.text.contains("nothing at this path"), "{method} {path}");
            operations += 1;
        }
    }
    assert_eq!(operations, 48);
}

#[tokio::test]
async fn bodies_are_checked_before_anything_is_done() {
    let server = server_with(|options| options.limits.json_bytes = 1000);
    let post = |kind: &str, body: &str| call("POST", "/v1/rooms").by("service").body(kind, body);
    let table = [
        ("text/plain", r#"{"host": "ann"}"#, "415 unsupported_media_type", None),
        ("application/json", r#"{"host": "#, "400 invalid_argument", None),
        ("application/json", "", "400 invalid_argument", None),
        (
            "application/json",
            r#"{"host": "ann", "hots": 1}"#,
            "422 invalid_argument",
            Some("hots"),
        ),
        (
            "application/json",
            r#"{"room": "x"}"#,
            "422 invalid_argument",
            Some("host"),
        ),
        (
            "application/json",
            r#"{"host": {"name": "x"}}"#,
            "422 invalid_argument",
            Some("host.user"),
        ),
        (
            "application/json",
            r#"{"host": "ann", "policies": {"x": 1}}"#,
            "422 invalid_argument",
            Some("policies.x"),
        ),
        (
            "application/json",
            r#"{"host": "ann", "max_guests": 300}"#,
            "422 invalid_argument",
            Some("max_guests"),
        ),
        (
            "application/json",
            r#"{"host": "ann", "max_guests": 12}"#,
            "422 invalid_argument",
            Some("max_guests"),
        ),
        (
            "application/json",
            r#"{"host": "ann", "seat_mode": "x"}"#,
            "422 invalid_argument",
            Some("seat_mode"),
        ),
        (
            "application/json",
            r#"{"host": "ann", "metadata": []}"#,
            "422 invalid_argument",
            Some("metadata"),
        ),
        (
            "application/merge-patch+json; charset=utf-8",
            r#"{"host": "ann"}"#,
            "201",
            None,
        ),
    ];
    for (kind, body, outcome, field) in table {
        let answer = post(kind, body).to(&server).await;
        assert_eq!(
            (answer.outcome().as_str(), answer.json["field"].as_str()),
            (outcome, field),
            "{body}: {}",
            answer.text
        );
    }
    let long = format!(r#"{{"host": "ann", "metadata": {{"x": "{}"}}}}"#, "x".repeat(1000));
    assert_eq!(
        post("application/json", &long).to(&server).await.outcome(),
        "413 payload_too_large"
    );
    let lying = post("application/json", r#"{"host": "ann"}"#)
        .header("content-length", "2000")
        .to(&server)
        .await;
    assert_eq!(lying.outcome(), "413 payload_too_large");
    // Who may not call at all is told so whatever the body.
    assert_eq!(
        call("POST", "/v1/rooms")
            .body("text/plain", "x")
            .to(&server)
            .await
            .outcome(),
        "401 unauthenticated"
    );
}

/// A body that never ends.
struct Endless;

impl HttpBody for Endless {
    type Data = Bytes;
    type Error = std::io::Error;
    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, std::io::Error>>> {
        Poll::Pending
    }
}

#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let server = server_with(|options| options.limits.body_timeout = Duration::from_millis(1));
    let mut slow = call("POST", "/v1/rooms")
        .by("service")
        .header("content-type", "application/json");
    slow.body = Body::new(Endless);
    assert_eq!(slow.to(&server).await.outcome(), "408 request_timeout");
}

#[tokio::test]
async fn unknown_paths_and_methods_are_problems() {
    let server = server();
    let lost = server.get("/v1/nothing", "nobody").await;
    assert_eq!(
        (lost.outcome().as_str(), lost.header("content-type")),
        ("404 not_found", "application/problem+json")
    );
    for (method, uri, allowed) in [
        ("PUT", "/v1/rooms", ["GET", "POST"]),
        ("POST", "/v1/rooms/demo", ["GET", "PATCH"]),
        ("GET", "/v1/rooms/demo/whip", ["POST", "OPTIONS"]),
        ("HEAD", "/v1/rooms/demo/whep/stage", ["POST", "OPTIONS"]),
        ("PUT", "/v1/rooms/demo/whip", ["POST", "OPTIONS"]),
        ("GET", "/v1/whip/x", ["PATCH", "DELETE"]),
        ("POST", "/v1/whep/x", ["PATCH", "DELETE"]),
        ("GET", "/v1/tokens", ["POST", "POST"]),
        ("DELETE", "/healthz", ["GET", "HEAD"]),
    ] {
        let refused = call(method, uri).to(&server).await;
        assert_eq!(refused.status, 405, "{method} {uri}");
        assert!(
            allowed.iter().all(|method| refused.header("allow").contains(method)),
            "{uri}: {}",
            refused.header("allow")
        );
        if method != "HEAD" {
            assert_eq!(refused.code(), "method_not_allowed");
        }
    }
}

#[tokio::test]
async fn everybody_may_ask_from_anywhere() {
    let server = server();
    for path in [
        "/v1/rooms",
        "/v1/rooms/demo/whip",
        "/v1/whip/x",
        "/v1/whep/x/layers",
        "/healthz",
        "/nothing",
    ] {
        let preflight = call("OPTIONS", path)
            .header("origin", "https://app.example")
            .header("access-control-request-method", "PATCH")
            .header("access-control-request-headers", "authorization, if-match")
            .to(&server)
            .await;
        assert_eq!(
            (preflight.status.as_u16(), preflight.text.as_str()),
            (204, ""),
            "{path}"
        );
        assert_eq!(preflight.header("access-control-allow-origin"), "*");
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
            assert!(preflight.header("access-control-allow-methods").contains(method));
        }
        for name in [
            "Authorization",
            "Idempotency-Key",
            "If-Match",
            "Last-Event-ID",
            "Content-Type",
        ] {
            assert!(preflight.header("access-control-allow-headers").contains(name));
        }
        assert_eq!(preflight.header("access-control-max-age"), "7200");
        assert_eq!(preflight.header("access-control-allow-credentials"), "");
    }
    for (method, path) in [
        ("GET", "/v1/rooms"),
        ("GET", "/nothing"),
        ("PUT", "/v1/rooms"),
        ("GET", "/healthz"),
    ] {
        let answer = call(method, path)
            .header("origin", "https://app.example")
            .to(&server)
            .await;
        assert_eq!(answer.header("access-control-allow-origin"), "*", "{path}");
        for name in ["Location", "ETag", "Link", "Accept-Patch", "Retry-After"] {
            assert!(answer.header("access-control-expose-headers").contains(name));
        }
    }
}

#[tokio::test]
async fn origins_can_be_limited() {
    let server = server_with(|options| options.cors_origins = vec!["https://app.example".into()]);
    let from = |origin: &str| call("GET", "/healthz").header("origin", origin);
    let listed = from("https://app.example").to(&server).await;
    assert_eq!(listed.header("access-control-allow-origin"), "https://app.example");
    assert_eq!(listed.header("vary"), "Origin");
    let other = from("https://evil.example").to(&server).await;
    assert_eq!(
        (other.status.as_u16(), other.header("access-control-allow-origin")),
        (200, "")
    );
}

#[tokio::test]
async fn endpoints_say_what_they_take() {
    let server = server();
    let options = |path: &'static str| call("OPTIONS", path);
    let whip = options("/v1/rooms/demo/whip").to(&server).await;
    assert_eq!(
        (whip.status.as_u16(), whip.header("accept-post")),
        (204, "application/sdp")
    );
    for path in ["/v1/whip/x", "/v1/whep/x"] {
        let resource = options(path).to(&server).await;
        assert_eq!(
            (resource.status.as_u16(), resource.header("accept-patch")),
            (204, "application/trickle-ice-sdpfrag")
        );
    }
}

#[tokio::test]
async fn absolute_urls_follow_trusted_proxies_only() {
    let at = async |server: &Server, peer: &str| {
        let body = json!({"host": "ann"});
        let mut request = call("POST", "/v1/rooms")
            .by("service")
            .json(body)
            .header("x-forwarded-proto", "https");
        let peer: SocketAddr = peer.parse().expect("an address");
        request.request = request
            .request
            .header("x-forwarded-host", "live.example")
            .extension(ConnectInfo(peer));
        request.to(server).await.json["urls"]["whip"]
            .as_str()
            .expect("a URL")
            .to_owned()
    };
    let behind = server_with(|options| options.trusted_proxies = vec!["10.0.0.0/8".parse().expect("a subnet")]);
    assert!(
        at(&behind, "10.1.1.1:5000")
            .await
            .starts_with("https://live.example/v1/rooms/")
    );
    assert!(
        at(&behind, "192.0.2.1:5000")
            .await
            .starts_with("http://sfu.example:8080/v1/rooms/")
    );
    let public = server_with(|options| options.public_url = Some("https://public.example/".into()));
    assert!(
        at(&public, "10.1.1.1:5000")
            .await
            .starts_with("https://public.example/v1/rooms/")
    );
}

#[tokio::test]
async fn a_keyed_call_happens_once() {
    let server = server().with_demo().await;
    let put = |seat: u8, user: &str| {
        let uri = format!("/v1/rooms/demo/seats/{seat}");
        call("PUT", &uri)
            .json(json!({"user": user}))
            .header("idempotency-key", "k1")
    };
    let first = put(1, "eve").by("service").to(&server).await;
    assert_eq!(first.outcome(), "200", "{}", first.text);
    call("DELETE", "/v1/rooms/demo/seats/1").by("service").to(&server).await;
    let repeat = put(1, "eve").by("service").to(&server).await;
    assert_eq!((repeat.status, &repeat.text), (first.status, &first.text));
    assert_eq!(repeat.header("content-type"), "application/json");
    let seats = server.get("/v1/rooms/demo/seats", "member").await;
    assert_eq!(seats.json["seats"][1]["state"], "empty");
    assert_eq!(
        put(2, "eve").by("service").to(&server).await.outcome(),
        "422 idempotency_key_reused"
    );
    assert_eq!(
        put(1, "max").by("service").to(&server).await.outcome(),
        "422 idempotency_key_reused"
    );
    // Another user's key is another key; nobody's is none.
    assert_eq!(put(2, "eve").by("host").to(&server).await.outcome(), "403 not_in_room");
    assert_eq!(put(1, "eve").to(&server).await.outcome(), "401 unauthenticated");
    let empty = call("DELETE", "/v1/rooms/demo/seats/2")
        .by("service")
        .header("idempotency-key", "")
        .to(&server)
        .await;
    assert_eq!(
        (empty.outcome().as_str(), empty.json["field"].as_str()),
        ("422 invalid_argument", Some("Idempotency-Key"))
    );
}

#[tokio::test]
async fn repeats_at_the_same_time_get_one_answer() {
    let server = server();
    let create = || {
        call("POST", "/v1/rooms")
            .by("service")
            .json(json!({"host": "ann"}))
            .header("idempotency-key", "k")
    };
    let (a, b, c) = tokio::join!(create().to(&server), create().to(&server), create().to(&server));
    assert_eq!(a.outcome(), "201");
    assert_eq!((&a.text, &a.text), (&b.text, &c.text));
    assert_eq!(
        server.get("/v1/rooms", "service").await.json["rooms"]
            .as_array()
            .map(Vec::len),
        Some(1)
    );
}

#[tokio::test]
async fn health_and_draining() {
    let server = server();
    assert_eq!(server.get("/healthz", "nobody").await.json, json!({"status": "ok"}));
    assert_eq!(server.get("/readyz", "nobody").await.outcome(), "200");
    server.readiness.drain();
    server.node.drain();
    assert_eq!(server.get("/healthz", "nobody").await.outcome(), "200");
    assert_eq!(server.get("/readyz", "nobody").await.status, 503);
    let refused = call("POST", "/v1/rooms")
        .by("service")
        .json(json!({"host": "ann"}))
        .to(&server)
        .await;
    assert_eq!(refused.outcome(), "503 server_draining");
    assert_eq!(
        (
            refused.json["retryable"].as_bool(),
            refused.header("retry-after").is_empty()
        ),
        (Some(true), false)
    );
}

#[tokio::test]
async fn pages_live_under_the_same_rules() {
    let inner = server();
    let pages = Router::new().route("/", get(async || "a page"));
    let router = router_with(State::new(inner.node.clone(), Options::default()), pages);
    let server = Server { router, ..inner };
    let page = server.get("/", "nobody").await;
    assert_eq!(
        (page.text.as_str(), page.header("access-control-allow-origin")),
        ("a page", "*")
    );
    assert_eq!(call("POST", "/").to(&server).await.outcome(), "405 method_not_allowed");
}
