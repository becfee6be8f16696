//! Deliveries to a real receiver on this machine.

use super::*;
use crate::room::RoomId;
use crate::store::{Change, Destinations, Message, Queue, RecordChange, Store};
use crate::telemetry::{Exporter, WebhookMetrics};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::IntoResponse;
use serde_json::{Value, json};
use standardwebhooks::Webhook;
use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const NODE_SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oDAAAA";

/// What came to which path, and what it was answered.
#[derive(Clone, Debug)]
struct Call {
    path: String,
    headers: HeaderMap,
    body: String,
    status: StatusCode,
}

#[derive(Clone, Default)]
struct Backend {
    calls: Arc<Mutex<Vec<Call>>>,
    /// Answers to come; then 204.
    answers: Arc<Mutex<VecDeque<StatusCode>>>,
}

impl Backend {
    async fn start(answers: &[u16]) -> (Backend, String) {
        let backend = Backend::default();
        let answers = answers
            .iter()
            .map(|code| StatusCode::from_u16(*code).expect("a status"));
        backend.answers.lock().expect("no panic").extend(answers);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let routes = Router::new().fallback(take).with_state(backend.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        (backend, format!("http://{address}"))
    }

    fn calls(&self) -> Vec<Call> {
        self.calls.lock().expect("no panic").clone()
    }

    /// The bodies that were taken, once there are so many.
    async fn taken(&self, count: usize) -> Vec<Call> {
        let enough = async {
            loop {
                let mut calls = self.calls();
                calls.retain(|call| call.status.is_success());
                if calls.len() >= count {
                    return calls;
                }
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_secs(20), enough)
            .await
            .expect("so many are taken")
    }
}

async fn take(State(backend): State<Backend>, uri: Uri, headers: HeaderMap, body: Bytes) -> impl IntoResponse {
    let next = backend.answers.lock().expect("no panic").pop_front();
    let status = next.unwrap_or(StatusCode::NO_CONTENT);
    let call = Call {
        path: uri.path().to_owned(),
        headers,
        body: String::from_utf8(body.to_vec()).expect("text"),
        status,
    };
    backend.calls.lock().expect("no panic").push(call);
    (status, [("location", "/elsewhere")])
}

fn room(id: &str) -> RoomId {
    RoomId::parse(id).expect("a room id")
}

fn options(url: Option<&str>) -> Options {
    Options {
        url: url.map(str::to_owned),
        secret: Some(NODE_SECRET.to_owned()),
        events: Vec::new(),
        allow: loopback(),
    }
}

struct Node {
    store: Store,
    sender: Sender,
    metrics: WebhookMetrics,
}

impl Node {
    fn new(options: Options) -> Node {
        Node::with(options, Store::in_memory().expect("opens"), Vec::new())
    }

    fn with(options: Options, store: Store, queues: Vec<(Queue, Value)>) -> Node {
        let metrics = WebhookMetrics::default();
        let sender = Sender::start(options, store.clone(), queues, metrics.clone()).expect("starts");
        Node { store, sender, metrics }
    }

    /// As a room's actor does it.
    async fn say(&self, id: &str, webhook: &Value, seqs: std::ops::Range<u64>) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
        let to = self
            .sender
            .destinations(webhook, "seats.changed")
            .expect("somebody wants it");
        let messages: Vec<Message> = seqs
            .map(|seq| Message {
                epoch: 5,
                seq,
                at_ms: u64::try_from(now.as_millis()).expect("fits"),
                to,
                body: json!({"room": id, "seq": seq}).to_string().into(),
            })
            .collect();
        let change = Change {
            room: room(id),
            record: RecordChange::Keep,
            messages: messages.clone(),
            webhook: webhook.clone(),
        };
        self.store.write(change).await.expect("an answer").expect("stored");
        self.sender.deliver(&room(id), webhook, &messages);
    }

    fn counted(&self, outcome: &str) -> u64 {
        let text = Exporter::new(Vec::new()).with_webhooks(&self.metrics).render(0);
        let line = format!("costage_webhook_deliveries_total{{outcome=\"{outcome}\"}} ");
        let value = text.lines().find_map(|text| text.strip_prefix(&line)).expect("a line");
        value.parse().expect("a number")
    }

    async fn failed(&self, count: u64) {
        let enough = async {
            while self.counted("failed") < count {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_secs(20), enough).await.expect("so many fail");
    }
}

fn seqs(calls: &[Call]) -> Vec<u64> {
    let seq = |call: &Call| serde_json::from_str::<Value>(&call.body).expect("JSON")["seq"].as_u64();
    calls.iter().filter_map(seq).collect()
}

fn id(call: &Call) -> &str {
    call.headers["webhook-id"].to_str().expect("text")
}

#[tokio::test]
async fn both_receivers_get_signed_events_in_order_through_failures() {
    let (own, own_url) = Backend::start(&[500, 429]).await;
    let (all, all_url) = Backend::start(&[]).await;
    let node = Node::new(options(Some(&format!("{all_url}/all"))));
    let webhook = json!({"url": format!("{own_url}/own?key=1"), "secret": SECRET});
    node.say("demo", &webhook, 2..40).await;
    assert_eq!(seqs(&own.taken(38).await), (2..40).collect::<Vec<_>>());
    assert_eq!(seqs(&all.taken(38).await), (2..40).collect::<Vec<_>>());
    let calls = own.calls();
    assert_eq!(seqs(&calls[..4]), [2, 2, 2, 3]);
    assert!(id(&calls[0]) == id(&calls[2]) && id(&calls[2]) != id(&calls[3]));
    for (calls, secret, path) in [(own.calls(), SECRET, "/own"), (all.calls(), NODE_SECRET, "/all")] {
        let webhook = Webhook::new(secret).expect("a secret");
        for call in calls {
            webhook.verify(call.body.as_bytes(), &call.headers).expect("signed");
            assert_eq!(
                (call.path.as_str(), &call.headers["content-type"]),
                (path, &"application/json".parse().expect("a value"))
            );
        }
    }
    assert_eq!((node.counted("taken"), node.counted("failed")), (76, 2));
    let nothing_left = async {
        for receiver in [crate::store::Receiver::Node, crate::store::Receiver::Room] {
            let queue = Queue {
                receiver,
                room: room("demo"),
            };
            while !node
                .store
                .waiting(&queue, None, 1)
                .await
                .expect("an answer")
                .expect("read")
                .is_empty()
            {
                sleep(Duration::from_millis(10)).await;
            }
        }
    };
    timeout(Duration::from_secs(5), nothing_left)
        .await
        .expect("the store forgets what was taken");
}

#[tokio::test]
async fn dead_receivers_keep_nobody_waiting() {
    // One that takes connections and says nothing, and one where nobody listens.
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let silent_url = format!("http://{}", silent.local_addr().expect("bound"));
    let closed = TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port")
        .local_addr()
        .expect("bound");
    let (live, live_url) = Backend::start(&[]).await;
    let node = Node::new(options(None));
    for n in 0..60 {
        node.say(&format!("silent{n}"), &json!({ "url": silent_url }), 2..4)
            .await;
        node.say(&format!("closed{n}"), &json!({"url": format!("http://{closed}")}), 2..4)
            .await;
    }
    let live_url = json!({ "url": live_url });
    let quick = async {
        node.say("live", &live_url, 2..10).await;
        live.taken(8).await
    };
    let taken = timeout(Duration::from_secs(5), quick)
        .await
        .expect("before the silent ones give up");
    assert_eq!(seqs(&taken), (2..10).collect::<Vec<_>>());
    node.failed(60).await;
}

#[tokio::test]
async fn what_was_left_is_sent_after_a_restart() {
    let place = Place::new();
    let (store, _) = Store::open(&place.0).expect("opens");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    drop(listener);
    let webhook = json!({"url": format!("http://{address}"), "secret": SECRET});
    let node = Node::with(options(None), store, Vec::new());
    node.say("demo", &webhook, 2..60).await;
    node.failed(1).await;
    drop(node);
    let reopened = async {
        loop {
            if let Ok(opened) = Store::open(&place.0) {
                return opened;
            }
            sleep(Duration::from_millis(10)).await;
        }
    };
    let (store, loaded) = timeout(Duration::from_secs(5), reopened).await.expect("opens again");
    assert_eq!(loaded.queues.len(), 1);
    let backend = Backend::default();
    let listener = TcpListener::bind(address).await.expect("the same port");
    let routes = Router::new().fallback(take).with_state(backend.clone());
    tokio::spawn(async move { axum::serve(listener, routes).await });
    let _node = Node::with(options(None), store, loaded.queues);
    assert_eq!(seqs(&backend.taken(58).await), (2..60).collect::<Vec<_>>());
}

#[tokio::test]
async fn private_addresses_are_never_connected_to() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let node = Node::new(Options {
        allow: Vec::new(),
        ..options(None)
    });
    let hosts = [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "localhost",
        "[::ffff:127.0.0.1]",
        "0.0.0.0",
        "[::1]",
    ];
    for (n, host) in hosts.iter().enumerate() {
        let webhook = json!({"url": format!("http://{host}:{port}/")});
        if *host != "localhost" {
            let refused = node.sender.check(&webhook).expect_err(host);
            assert_eq!(refused.field.as_deref(), Some("webhook.url"));
        }
        node.say(&format!("room{n}"), &webhook, 2..3).await;
    }
    // Each was tried, and none came here.
    node.failed(hosts.len() as u64).await;
    let came = timeout(Duration::from_millis(50), listener.accept()).await;
    assert!(came.is_err(), "somebody connected");
}

#[tokio::test]
async fn redirects_are_not_followed_and_gone_is_final() {
    let (backend, url) = Backend::start(&[307, 204, 410]).await;
    let node = Node::new(options(None));
    let webhook = json!({"url": format!("{url}/here")});
    node.say("demo", &webhook, 2..6).await;
    let given_up = async {
        loop {
            let dead = node.store.dead(None, None, 10).await.expect("an answer").expect("read");
            if !dead.is_empty() {
                return dead;
            }
            sleep(Duration::from_millis(10)).await;
        }
    };
    let dead = timeout(Duration::from_secs(10), given_up).await.expect("given up");
    assert_eq!(dead.iter().map(|(_, letter)| letter.seq).collect::<Vec<_>>(), [3, 4, 5]);
    let calls = backend.calls();
    assert!(calls.iter().all(|call| call.path == "/here"), "{calls:?}");
    assert_eq!(seqs(&calls), [2, 2, 3]);
    assert_eq!(node.counted("gone"), 1);
    // Somebody looked after it, and asks for it.
    let number = dead[0].0;
    let (queue, setting) = node
        .store
        .revive(number, None, 1)
        .await
        .expect("an answer")
        .expect("stored")
        .expect("there");
    node.sender.resume(queue, &setting);
    assert_eq!(seqs(&backend.taken(2).await), [2, 3]);
}

#[test]
fn nobody_is_sent_anything_by_nobody() {
    let none = Sender::none();
    assert_eq!(
        none.destinations(&json!({"url": "https://a.example"}), "seats.changed"),
        None
    );
    none.deliver(&room("demo"), &Value::Null, &[]);
}

#[tokio::test]
async fn only_those_who_want_an_event_are_due_it() {
    let node = Node::new(options(None));
    let some = json!({"url": "https://a.example", "events": ["room.ended"]});
    let to = |webhook: &Value, event| node.sender.destinations(webhook, event);
    assert_eq!(to(&Value::Null, "seats.changed"), None);
    assert_eq!(to(&some, "seats.changed"), None);
    let own = Destinations {
        node: false,
        room: true,
    };
    assert_eq!(to(&some, "room.ended"), Some(own));
    assert_eq!(to(&json!({"url": "https://a.example"}), "speaking"), None);
}

/// A file that ends with the test.
struct Place(PathBuf);

impl Place {
    fn new() -> Place {
        Place(std::env::temp_dir().join(format!("costage-webhook-{}.redb", std::process::id())))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
