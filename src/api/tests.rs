//! The HTTP interface over the real rooms and control plane, with media workers that obey and do nothing.

mod events;
mod kept;
mod media;
mod permissions;
mod program;
mod requests;
mod rules;
mod schema;
mod wire;

use super::auth::mint;
use super::*;
use crate::control::{self, Node};
use crate::transport::dtls;
use crate::worker::{self, Event, PeerId};
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc;
use tower::ServiceExt;

const SECRET: &str = "devsecret-devsecret-devsecret-00";

/// A server without sockets.
struct Server {
    router: Router,
    readiness: Readiness,
    node: Node,
    events: mpsc::Sender<Event>,
    publishers: Arc<Mutex<Vec<PeerId>>>,
}

fn server() -> Server {
    server_with(|_| {})
}

fn server_with(change: impl FnOnce(&mut Options)) -> Server {
    let (handle, commands) = worker::Handle::fake();
    let publishers = Arc::new(Mutex::new(Vec::new()));
    let seen = publishers.clone();
    std::thread::spawn(move || commands.commands().for_each(|command| obey(command, &seen)));
    let (events, received) = mpsc::channel(16);
    let context = Arc::new(dtls::Context::new().expect("a certificate"));
    let limits = control::Limits {
        rooms: 20,
        guests: 9,
        peers: 20,
        mixing: crate::program::Cores::new(1.0),
        return_after: Duration::from_secs(10),
    };
    let lasting = control::Lasting::in_memory("https://live.example".into()).expect("a store in memory");
    let node = Node::new(vec![handle], received, context, limits, lasting);
    let mut options = Options {
        keys: [("devkey".to_owned(), SECRET.to_owned())].into(),
        ..Options::default()
    };
    change(&mut options);
    let readiness = options.readiness.clone();
    let router = router(State::new(node.clone(), options));
    Server {
        router,
        readiness,
        node,
        events,
        publishers,
    }
}

fn obey(command: worker::Command, publishers: &Mutex<Vec<PeerId>>) {
    match command {
        worker::Command::Publish { peer, .. } => publishers.lock().expect("no panic").push(peer),
        worker::Command::Close { done: Some(done), .. } | worker::Command::Permit { done: Some(done), .. } => {
            let _ = done.send(());
        }
        worker::Command::Prefer { slot, reply, .. } => {
            let _ = reply.send(slot == 0);
        }
        _ => {}
    }
}

/// Who calls: a token of the room `demo`, unless it says otherwise.
fn token(who: &str) -> String {
    let (user, role, room) = match who {
        "service" => ("backend", RoleName::Service, "*"),
        "demo-service" => ("backend", RoleName::Service, "demo"),
        "host" => ("ann", RoleName::Host, "demo"),
        "cohost" => ("carl", RoleName::Host, "demo"),
        "admin" => ("adam", RoleName::Admin, "demo"),
        "member" => ("bob", RoleName::Member, "demo"),
        "guest" => ("gus", RoleName::Member, "demo"),
        "granted" => ("gina", RoleName::Member, "demo"),
        "applicant" => ("pia", RoleName::Member, "demo"),
        "invitee" => ("ivy", RoleName::Member, "demo"),
        "outsider" => ("oli", RoleName::Member, "demo"),
        "stranger" => ("bob", RoleName::Member, "elsewhere"),
        other => panic!("nobody is called {other}"),
    };
    let grant = Grant {
        room: room.into(),
        user: user.into(),
        role,
        name: Some(user.to_uppercase()),
        avatar_url: None,
    };
    mint("devkey", SECRET, &grant, Duration::from_secs(600))
}

/// An answer, read to its end.
#[derive(Debug)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
    json: Value,
}

impl Answer {
    fn code(&self) -> &str {
        self.json["code"].as_str().unwrap_or_default()
    }
    /// `409 seat_occupied`, or `200`.
    fn outcome(&self) -> String {
        format!("{} {}", self.status.as_u16(), self.code())
            .trim_end()
            .to_owned()
    }
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("text"))
    }
}

/// A request being put together.
struct Call {
    request: axum::http::request::Builder,
    body: Body,
}

fn call(method: &str, uri: &str) -> Call {
    let request = Request::builder()
        .method(method)
        .uri(uri)
        .header("host", "sfu.example:8080");
    Call {
        request,
        body: Body::empty(),
    }
}

impl Call {
    fn by(self, who: &str) -> Self {
        if who == "nobody" {
            self
        } else {
            self.header("authorization", &format!("Bearer {}", token(who)))
        }
    }
    fn header(mut self, name: &str, value: &str) -> Self {
        self.request = self.request.header(name, value);
        self
    }
    fn json(self, body: Value) -> Self {
        self.body("application/json", &body.to_string())
    }
    fn body(mut self, kind: &str, body: &str) -> Self {
        self.body = Body::from(body.to_owned());
        self.header("content-type", kind)
    }
    async fn to(self, server: &Server) -> Answer {
        let request = self.request.body(self.body).expect("a request");
        let response = server.router.clone().oneshot(request).await.expect("never fails");
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, usize::MAX).await.expect("a body");
        let text = String::from_utf8(bytes.into()).expect("text");
        let json = serde_json::from_str(&text).unwrap_or_default();
        Answer {
            status: parts.status,
            headers: parts.headers,
            text,
            json,
        }
    }
}

impl Server {
    /// The room `demo` of the host `ann`.
    async fn with_demo(self) -> Self {
        let body = json!({"room": "demo", "host": {"user": "ann", "name": "Ann"}, "seat_mode": "free", "policies": {"kick_cooldown_ms": 0}});
        let answer = call("POST", "/v1/rooms").by("service").json(body).to(&self).await;
        assert_eq!(answer.outcome(), "201", "{}", answer.text);
        self
    }
    /// And the guest `gus` on seat 1.
    async fn with_gus(self) -> Self {
        let server = self.with_demo().await;
        let body = json!({"user": "gus"});
        let answer = call("PUT", "/v1/rooms/demo/seats/1")
            .by("service")
            .json(body)
            .to(&server)
            .await;
        assert_eq!(answer.outcome(), "200", "{}", answer.text);
        server
    }
    async fn get(&self, uri: &str, who: &str) -> Answer {
        call("GET", uri).by(who).to(self).await
    }
}
