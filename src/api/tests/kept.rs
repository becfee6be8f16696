//! What the interface keeps: answers over a restart, webhooks' settings and what nobody took.

use super::*;
use crate::store::{Change, Destinations, Message, Queue, Receiver, RecordChange, Store};
use crate::webhook::Sender;

const WEBHOOK_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// The same rooms behind an interface with a store.
fn keep(server: Server, store: &Store, answers: Vec<(String, Vec<u8>)>) -> Server {
    let options = Options {
        keys: [("devkey".to_owned(), SECRET.to_owned())].into(),
        ..Options::default()
    };
    let state = State::persistent(server.node.clone(), options, store.clone(), answers, Sender::none());
    Server {
        router: router(state),
        ..server
    }
}

async fn put_gus(server: &Server, key: &str, seat: u8) -> Answer {
    call("PUT", &format!("/v1/rooms/demo/seats/{seat}"))
        .by("service")
        .header("idempotency-key", key)
        .json(json!({"user": "gus"}))
        .to(server)
        .await
}

#[tokio::test]
async fn a_repeat_after_a_restart_gets_the_first_answer() {
    let path = std::env::temp_dir().join(format!("costage-kept-{}.redb", std::process::id()));
    let (store, _) = Store::open(&path).expect("opens");
    let server = keep(server().with_demo().await, &store, Vec::new());
    let first = put_gus(&server, "k1", 1).await;
    assert_eq!(first.outcome(), "200", "{}", first.text);
    // The file as a killed process leaves it, read by the next one.
    let left = path.with_extension("left");
    std::fs::copy(&path, &left).expect("copies");
    let (next_store, loaded) = Store::open(&left).expect("opens");
    assert_eq!(loaded.answers.len(), 1);
    let next = keep(self::server().with_demo().await, &next_store, loaded.answers);
    let again = put_gus(&next, "k1", 1).await;
    assert_eq!((again.status, &again.text), (first.status, &first.text));
    assert_eq!(again.header("content-type"), first.header("content-type"));
    let seats = next.get("/v1/rooms/demo/seats", "service").await;
    assert_eq!(seats.json["seats"][1]["state"], "empty", "nothing was done");
    assert_eq!(put_gus(&next, "k1", 2).await.outcome(), "422 idempotency_key_reused");
    assert_eq!(put_gus(&next, "k2", 2).await.outcome(), "200");
    let _ = (std::fs::remove_file(&path), std::fs::remove_file(&left));
}

#[tokio::test]
async fn webhooks_are_checked_and_their_secrets_kept() {
    let server = server();
    let create = async |webhook: Value| {
        let body = json!({"room": "demo", "host": {"user": "ann"}, "webhook": webhook});
        call("POST", "/v1/rooms").by("service").json(body).to(&server).await
    };
    for (wrong, field) in [
        (json!({}), "webhook.url"),
        (json!({"url": "http://127.0.0.1/"}), "webhook.url"),
        (
            json!({"url": "https://a.example", "secret": "hunter2"}),
            "webhook.secret",
        ),
        (json!({"url": "https://a.example", "events": "all"}), "webhook.events"),
        (json!({"url": "https://a.example", "headers": {}}), "webhook.headers"),
    ] {
        let refused = create(wrong).await;
        assert_eq!(
            (refused.outcome().as_str(), refused.json["field"].as_str()),
            ("422 invalid_argument", Some(field))
        );
    }
    let webhook = json!({"url": "https://a.example", "secret": WEBHOOK_SECRET, "events": ["room.ended"]});
    let created = create(webhook.clone()).await;
    let shown = json!({"url": "https://a.example", "events": ["room.ended"]});
    assert_eq!((created.outcome().as_str(), &created.json["webhook"]), ("201", &shown));
    assert_eq!(
        create(webhook).await.outcome(),
        "200",
        "the secret is compared nevertheless"
    );
    assert_eq!(server.get("/v1/rooms/demo", "host").await.json["webhook"], shown);
    assert_eq!(server.get("/v1/rooms/demo", "member").await.json.get("webhook"), None);
    let patch = async |webhook: Value| {
        let body = json!({ "webhook": webhook });
        call("PATCH", "/v1/rooms/demo").by("host").json(body).to(&server).await
    };
    assert_eq!(
        patch(json!({"url": "ftp://a.example"})).await.json["field"],
        "webhook.url"
    );
    assert_eq!(patch(Value::Null).await.json.get("webhook"), None);
}

#[tokio::test]
async fn dead_letters_are_listed_retried_and_forgotten() {
    let store = Store::in_memory().expect("opens");
    let server = keep(server(), &store, Vec::new());
    for room in ["demo", "other"] {
        let room = crate::room::RoomId::parse(room).expect("a room id");
        let change = Change {
            room: room.clone(),
            record: RecordChange::Keep,
            messages: vec![Message {
                epoch: 5,
                seq: 9,
                at_ms: 1_000,
                to: Destinations {
                    node: false,
                    room: true,
                },
                body: r#"{"type":"room.ended"}"#.into(),
            }],
            webhook: json!({"url": "https://a.example", "secret": WEBHOOK_SECRET}),
        };
        store.write(change).await.expect("an answer").expect("stored");
        let queue = Queue {
            receiver: Receiver::Room,
            room,
        };
        store
            .bury(&queue, u64::MAX, 2_000, "nobody answers")
            .await
            .expect("an answer")
            .expect("stored");
    }
    let list = server.get("/v1/webhooks/dead?limit=1", "service").await;
    assert_eq!(
        list.json,
        json!({
            "dead": [{"id": "1", "receiver": "room", "url": "https://a.example", "room": "demo", "epoch": 5, "seq": 9,
                "at": "1970-01-01T00:00:01.000Z", "dead_at": "1970-01-01T00:00:02.000Z", "why": "nobody answers",
                "event": {"type": "room.ended"}}],
            "next_cursor": "1",
        })
    );
    let rest = server.get("/v1/webhooks/dead?cursor=1", "service").await;
    assert_eq!(
        (&rest.json["dead"][0]["room"], rest.json.get("next_cursor")),
        (&json!("other"), None)
    );
    assert_eq!(
        server.get("/v1/webhooks/dead", "host").await.outcome(),
        "403 permission_denied"
    );
    assert_eq!(
        server.get("/v1/webhooks/dead?cursor=x", "service").await.outcome(),
        "422 invalid_argument"
    );
    let own = server.get("/v1/webhooks/dead", "demo-service").await;
    assert_eq!(own.json["dead"].as_array().map(Vec::len), Some(1));
    let to = async |method: &str, path: &str, who: &str| call(method, path).by(who).to(&server).await.outcome();
    assert_eq!(
        to("DELETE", "/v1/webhooks/dead/2", "demo-service").await,
        "404 not_found"
    );
    assert_eq!(to("DELETE", "/v1/webhooks/dead/2", "service").await, "204");
    assert_eq!(
        to("POST", "/v1/webhooks/dead/2/retry", "service").await,
        "404 not_found"
    );
    assert_eq!(
        to("POST", "/v1/webhooks/dead/x/retry", "service").await,
        "404 not_found"
    );
    assert_eq!(to("POST", "/v1/webhooks/dead/1/retry", "service").await, "202");
    assert_eq!(server.get("/v1/webhooks/dead", "service").await.json["dead"], json!([]));
}
