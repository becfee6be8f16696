//! Event streams over real sockets. The room is the node's, what happens in it is told by a hub of the test's own.

use super::super::events::testing::listen_to;
use super::*;
use crate::control::{Position, Subscription};
use crate::events::{CloseReason, Hub, Reader};
use crate::room::event::Event as RoomEvent;
use crate::room::{Notice, Recipients, Role, RoomId, UserId};
use axum::extract::State as Extract;
use futures_util::{SinkExt, StreamExt};
use std::net::SocketAddr;
use std::time::Instant;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};

/// Longer than anything here takes but silence.
const PATIENCE: Duration = Duration::from_secs(20);

/// A listener, and what the room says.
struct Stage {
    address: SocketAddr,
    hub: Arc<Hub>,
    epoch: u64,
    seq: std::sync::atomic::AtomicU64,
}

#[derive(Clone)]
struct Spoken {
    state: State,
    hub: Arc<Hub>,
}

/// What the node does for a subscriber, with the test's hub.
async fn subscribe(
    Extract(spoken): Extract<Spoken>,
    request: Request<Body>,
) -> Result<axum::response::Response, Problem> {
    let snapshot = spoken.state.node.snapshot(&RoomId::parse("demo")?).await?;
    let hub = spoken.hub;
    listen_to(spoken.state, "http://base".into(), request, |caller, after| {
        let reader = match caller.principal.role {
            Role::Service => Reader::Service,
            _ => Reader::User(caller.user().clone()),
        };
        let resumed = after.filter(|place: &Position| place.epoch == snapshot.epoch);
        if let Some(stream) = resumed.and_then(|place| hub.open(reader.clone(), place.seq)) {
            return Ok(Subscription { snapshot: None, stream });
        }
        let stream = hub.open(reader, hub.last()).expect("the newest event is remembered");
        let snapshot = Some(Box::new(crate::room::Snapshot {
            seq: hub.last(),
            ..snapshot
        }));
        Ok(Subscription { snapshot, stream })
    })
    .await
}

async fn stage() -> Stage {
    let server = server().with_demo().await;
    let snapshot = server
        .node
        .snapshot(&RoomId::parse("demo").expect("an id"))
        .await
        .expect("is there");
    let hub = Arc::new(Hub::new(snapshot.seq));
    let options = Options {
        keys: [("devkey".to_owned(), SECRET.to_owned())].into(),
        ..Options::default()
    };
    let spoken = Spoken {
        state: State::new(server.node.clone(), options),
        hub: hub.clone(),
    };
    let routes = Router::new()
        .route("/v1/rooms/{room}/events", get(subscribe))
        .with_state(spoken);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        // The node lives as long as its listener.
        let _server = server;
        axum::serve(listener, routes).await
    });
    Stage {
        address,
        hub,
        epoch: snapshot.epoch,
        seq: snapshot.seq.into(),
    }
}

type Socket = WebSocketStream<TcpStream>;

impl Stage {
    /// `audience{count}` with `count` as its `seq`, to be told apart.
    fn tell(&self, to: &[&str]) -> u64 {
        self.tell_heavily(to, 0)
    }

    fn tell_heavily(&self, to: &[&str], note_bytes: usize) -> u64 {
        let seq = self.seq.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
        let users = to.iter().map(|user| UserId::parse(user).expect("an id")).collect();
        let event = if note_bytes == 0 {
            RoomEvent::Audience { count: seq }
        } else {
            RoomEvent::SeatKicked {
                seat: crate::forward::SeatIndex(1),
                reason: crate::room::LeaveReason::Kicked,
                note: Some("x".repeat(note_bytes)),
            }
        };
        self.hub.publish(vec![Notice {
            room: RoomId::parse("demo").expect("an id"),
            epoch: self.epoch,
            version: 1,
            seq,
            at: Instant::now(),
            actor: None,
            to: if to.is_empty() {
                Recipients::Everybody
            } else {
                Recipients::Users(Arc::new(users))
            },
            event,
        }]);
        seq
    }

    fn place(&self, seq: u64) -> String {
        format!("{}.{seq}", self.epoch)
    }

    async fn listen(&self, who: &str, query: &str) -> Socket {
        self.listen_as(&token(who), query).await
    }

    async fn listen_as(&self, token: &str, query: &str) -> Socket {
        let tcp = TcpStream::connect(self.address).await.expect("connects");
        let url = format!("ws://{}/v1/rooms/demo/events?token={token}{query}", self.address);
        client_async(url, tcp).await.expect("upgrades").0
    }

    async fn sse(&self, who: &str, headers: &str) -> Sse {
        let mut tcp = TcpStream::connect(self.address).await.expect("connects");
        let head = format!(
            "GET /v1/rooms/demo/events HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\nAuthorization: Bearer {}\r\n{headers}\r\n",
            token(who)
        );
        tcp.write_all(head.as_bytes()).await.expect("writes");
        let mut sse = Sse {
            lines: BufReader::new(tcp),
        };
        let head = sse.until_empty_line().await;
        assert!(head[0].starts_with("HTTP/1.1 200"), "{head:?}");
        for header in ["content-type: text/event-stream", "cache-control: no-store"] {
            assert!(head.iter().any(|line| line == header), "{header} in {head:?}");
        }
        sse
    }
}

/// The next message that is no ping.
async fn next(socket: &mut Socket) -> Message {
    let next = async {
        loop {
            match socket.next().await.expect("goes on").expect("a message") {
                Message::Ping(_) => {}
                message => return message,
            }
        }
    };
    timeout(PATIENCE, next).await.expect("in time")
}

async fn message(socket: &mut Socket) -> Value {
    match next(socket).await {
        Message::Text(text) => serde_json::from_str(&text).expect("JSON"),
        other => panic!("{other:?} is no text"),
    }
}

/// `(prev, seq)` of a message.
async fn step(socket: &mut Socket) -> (u64, u64) {
    let message = message(socket).await;
    (
        message["prev"].as_u64().expect("a prev"),
        message["seq"].as_u64().expect("a seq"),
    )
}

/// How it ended.
async fn farewell(socket: &mut Socket) -> (u16, String) {
    match next(socket).await {
        Message::Close(Some(frame)) => (frame.code.into(), frame.reason.as_str().to_owned()),
        other => panic!("{other:?} is no farewell"),
    }
}

/// Reads the body of a chunked answer, line by line.
struct Sse {
    lines: BufReader<TcpStream>,
}

impl Sse {
    async fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = timeout(PATIENCE, self.lines.read_line(&mut line))
            .await
            .expect("in time")
            .expect("reads");
        (read > 0).then(|| line.trim_end_matches(['\r', '\n']).to_owned())
    }

    async fn until_empty_line(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            match self.line().await {
                Some(line) if line.is_empty() => return lines,
                Some(line) => lines.push(line),
                None => panic!("ends after {lines:?}"),
            }
        }
    }

    /// The next block with a field in it; the sizes of chunks and comments are left out.
    async fn block(&mut self) -> Vec<String> {
        loop {
            let mut lines = self.until_empty_line().await;
            lines.retain(|line| line.split_once(':').is_some_and(|(field, _)| !field.is_empty()));
            if !lines.is_empty() {
                return lines;
            }
        }
    }
}

fn data(block: &[String]) -> Value {
    let data = block.iter().find_map(|line| line.strip_prefix("data: ")).expect("data");
    serde_json::from_str(data).expect("JSON")
}

#[tokio::test]
async fn a_websocket_begins_with_the_room_and_goes_on_without_a_gap() {
    let stage = stage().await;
    let mut bob = stage.listen("member", "").await;
    let snapshot = message(&mut bob).await;
    assert_eq!(
        (snapshot["type"].as_str(), snapshot["prev"].is_null()),
        (Some("snapshot"), true)
    );
    assert_eq!(snapshot["data"]["room"]["urls"]["room"], "http://base/v1/rooms/demo");
    assert_eq!(
        snapshot["data"]["you"],
        json!({"user": "bob", "name": "BOB", "avatar_url": null, "role": "member", "seat": null})
    );
    let first = snapshot["seq"].as_u64().expect("a seq");
    let own = stage.tell(&["bob"]);
    stage.tell(&["gus"]);
    let all = stage.tell(&[]);
    let event = message(&mut bob).await;
    assert_eq!((&event["prev"], &event["to"]), (&json!(first), &json!("bob")));
    let event = message(&mut bob).await;
    assert_eq!((&event["prev"], &event["seq"]), (&json!(own), &json!(all)));
    assert_eq!(
        (&event["type"], &event["data"]["count"]),
        (&json!("audience"), &json!(all))
    );
    bob.close(None).await.expect("closes");
    assert!(matches!(next(&mut bob).await, Message::Close(_)), "is answered");
    stage.hub.changed().await;
    let lost: Vec<String> = stage
        .hub
        .take_lost()
        .iter()
        .map(|lost| lost.0.as_str().to_owned())
        .collect();
    assert_eq!(lost, ["bob"]);

    let missed = stage.tell(&[]);
    let mut bob = stage.listen("member", &format!("&after={}", stage.place(own))).await;
    assert_eq!(step(&mut bob).await, (own, all));
    assert_eq!(step(&mut bob).await, (all, missed));
    for unknown in ["999.1".to_owned(), stage.place(missed + 1), stage.place(0)] {
        let mut bob = stage.listen("member", &format!("&after={unknown}")).await;
        assert_eq!(message(&mut bob).await["type"], "snapshot", "{unknown}");
    }
    let mut service = stage.listen("service", &format!("&after={}", stage.place(own))).await;
    assert_eq!(step(&mut service).await, (own, own + 1), "sees what gus is told");
}

#[tokio::test]
async fn sse_says_the_same() {
    let stage = stage().await;
    let mut bob = stage.sse("member", "").await;
    let block = bob.block().await;
    let snapshot = data(&block);
    let first = snapshot["seq"].as_u64().expect("a seq");
    assert_eq!(
        block[..2],
        ["retry: 1000".to_owned(), format!("id: {}", stage.place(first))]
    );
    assert_eq!(snapshot["type"], "snapshot");
    let (one, two) = (stage.tell(&[]), stage.tell(&["bob"]));
    let block = bob.block().await;
    assert_eq!(block[0], format!("id: {}", stage.place(one)));
    assert_eq!(data(&block)["prev"], first);
    assert_eq!(data(&bob.block().await)["prev"], one);
    let resume = format!("Last-Event-ID: {}\r\n", stage.place(one));
    let mut newer = stage.sse("member", &resume).await;
    assert_eq!(data(&newer.block().await)["seq"], two);
    let bye = [
        "retry: 3600000",
        "event: bye",
        r#"data: {"type":"bye","data":{"reason":"replaced"}}"#,
    ];
    assert_eq!(bob.block().await, bye);
    stage.tell(&["bob"]);
    stage.hub.close_all(CloseReason::RoomEnded);
    assert_eq!(
        data(&newer.block().await)["prev"],
        two,
        "what was told comes before the end"
    );
    assert_eq!(
        newer.block().await[1..],
        ["event: bye", r#"data: {"type":"bye","data":{"reason":"room_ended"}}"#]
    );
}

#[tokio::test]
async fn an_sse_reader_that_goes_is_lost() {
    let stage = stage().await;
    let mut bob = stage.sse("member", "").await;
    bob.block().await;
    drop(bob);
    timeout(PATIENCE, stage.hub.changed()).await.expect("in time");
    assert_eq!(stage.hub.take_lost().len(), 1);
}

#[tokio::test]
async fn a_websocket_closes_with_its_reason() {
    let stage = stage().await;
    let mut older = stage.listen("member", "").await;
    message(&mut older).await;
    let mut newer = stage.listen("member", "").await;
    assert_eq!(farewell(&mut older).await, (4001, "replaced".into()));
    message(&mut newer).await;

    let said = stage.tell(&["bob"]);
    stage
        .hub
        .close(&UserId::parse("bob").expect("an id"), CloseReason::Removed);
    assert_eq!(step(&mut newer).await.1, said);
    assert_eq!(farewell(&mut newer).await, (4005, "removed".into()));

    // Nothing is awaited in between: the stream has no turn until more has happened than is remembered.
    let mut slow = stage.listen("member", "").await;
    message(&mut slow).await;
    for _ in 0..3000 {
        stage.tell(&[]);
    }
    assert_eq!(farewell(&mut slow).await, (4002, "slow".into()));

    let grant = Grant {
        room: "demo".into(),
        user: "bob".into(),
        role: RoleName::Member,
        name: None,
        avatar_url: None,
    };
    let short = mint("devkey", SECRET, &grant, Duration::from_millis(1));
    let mut expiring = stage.listen_as(&short, "").await;
    message(&mut expiring).await;
    assert_eq!(farewell(&mut expiring).await, (4003, "token_expired".into()));

    let mut bob = stage.listen("member", "").await;
    message(&mut bob).await;
    stage.hub.close_all(CloseReason::GoingAway);
    assert_eq!(farewell(&mut bob).await, (1001, "going_away".into()));
    let mut late = stage.listen("member", "").await;
    message(&mut late).await;
    assert_eq!(farewell(&mut late).await.0, 1001);
}

#[tokio::test]
async fn commands_go_over_http() {
    let stage = stage().await;
    let said = [
        Message::text("{\"type\":\"apply\"}"),
        Message::binary(vec![1, 2, 3]),
        Message::text("x".repeat(100_000)),
    ];
    for message in said {
        let mut bob = stage.listen("member", "").await;
        self::message(&mut bob).await;
        bob.send(message).await.expect("sends");
        assert_eq!(farewell(&mut bob).await, (1008, "commands go over HTTP".into()));
    }
    let mut bob = stage.listen("member", "").await;
    message(&mut bob).await;
    bob.send(Message::Ping("x".into())).await.expect("sends");
    assert_eq!(next(&mut bob).await, Message::Pong("x".into()));
}

/// One that answers is pinged every 4 s and stays; one that is silent, or whose socket is stuck, is gone after 10.
#[tokio::test]
async fn who_is_silent_is_lost() {
    let stage = stage().await;
    let started = Instant::now();
    let mut alive = stage.listen("member", "").await;
    let _silent = stage.listen("guest", "").await;
    let stuck = stage.listen("host", "").await;
    let pings = async {
        let mut pings = Vec::new();
        while pings.len() < 3 {
            // Reading is what answers.
            if let Message::Ping(_) = alive.next().await.expect("goes on").expect("a message") {
                pings.push(started.elapsed().as_secs());
            }
        }
        pings
    };
    let lost = async {
        let mut lost = Vec::new();
        while lost.len() < 2 {
            // More than the buffers of a socket take, for the one that is stuck.
            for _ in 0..200 {
                stage.tell_heavily(&["ann"], 4000);
            }
            let _ = timeout(Duration::from_millis(50), stage.hub.changed()).await;
            let gone = stage.hub.take_lost().into_iter();
            lost.extend(gone.map(|gone| (gone.0.as_str().to_owned(), started.elapsed().as_secs())));
        }
        lost.sort();
        lost
    };
    let (pings, lost) = timeout(PATIENCE * 2, async { tokio::join!(pings, lost) })
        .await
        .expect("in time");
    assert!(pings[0] >= 4 && pings[1] >= 8 && pings[2] >= 12, "{pings:?}");
    assert_eq!(lost[0].0, "ann");
    assert_eq!(lost[1].0, "gus");
    assert!((10..15).contains(&lost[1].1), "{lost:?}");
    drop(stuck);
    assert!(stage.hub.take_lost().is_empty(), "bob is still here");
}

/// What is wrong is said before the upgrade, as a problem.
#[tokio::test]
async fn what_is_refused_is_refused_with_a_problem() {
    let server = server().with_demo().await;
    let uri = "/v1/rooms/demo/events";
    let sse = |uri: &str, who: &str| call("GET", uri).by(who).header("accept", "text/event-stream");
    let table = [
        (sse(uri, "nobody"), "401 unauthenticated"),
        (sse(&format!("{uri}?token=x"), "nobody"), "401 unauthenticated"),
        (sse(uri, "stranger"), "403 permission_denied"),
        (sse("/v1/rooms/nowhere/events", "service"), "404 room_not_found"),
        (sse("/v1/rooms/.x/events", "service"), "422 invalid_argument"),
        (sse(&format!("{uri}?after=x"), "member"), "422 invalid_argument"),
        (sse(&format!("{uri}?afetr=1.2"), "member"), "422 invalid_argument"),
        (sse(uri, "member").header("last-event-id", "x"), "422 invalid_argument"),
        (call("GET", uri).by("member"), "406 not_acceptable"),
        (
            call("GET", uri).by("member").header("accept", "*/*"),
            "406 not_acceptable",
        ),
        (
            call("GET", uri).by("member").header("upgrade", "websocket"),
            "400 handshake_invalid",
        ),
        (call("HEAD", uri).by("member"), "405"),
        (call("POST", uri).by("member"), "405 method_not_allowed"),
    ];
    for (call, expected) in table {
        let answer = call.to(&server).await;
        assert_eq!(answer.outcome(), expected, "{}", answer.text);
        assert_eq!(answer.header("content-type"), "application/problem+json");
    }
}

/// A member of a room of the node's own.
struct Attendee {
    socket: Socket,
    /// Of the last message.
    seq: u64,
}

impl Attendee {
    /// Reads on to an event of this name; nothing may be missing on the way.
    async fn until(&mut self, name: &str) -> Value {
        loop {
            let message = message(&mut self.socket).await;
            assert_eq!(message["prev"], self.seq, "{message}");
            self.seq = message["seq"].as_u64().expect("a seq");
            if message["type"] == name {
                return message;
            }
        }
    }

    /// A member is also updated when the seat is another one.
    async fn until_bob_is(&mut self, presence: &str) {
        loop {
            let member = self.until("member.updated").await["data"]["member"].take();
            if member["user"] == "bob" && member["presence"] == presence {
                return;
            }
        }
    }
}

/// With the node's own streams: being connected is being in the room, and what a call does is told to whom it concerns.
#[tokio::test]
async fn a_guest_comes_applies_sits_and_goes() {
    let server = server();
    let body = json!({"room": "demo", "host": {"user": "ann"}, "seat_mode": "apply"});
    let made = call("POST", "/v1/rooms").by("service").json(body).to(&server).await;
    assert_eq!(made.outcome(), "201", "{}", made.text);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let routes = server.router.clone();
    tokio::spawn(async move { axum::serve(listener, routes).await });
    let listen = async |who: &str, query: &str| {
        let tcp = TcpStream::connect(address).await.expect("connects");
        let url = format!("ws://{address}/v1/rooms/demo/events?token={}{query}", token(who));
        client_async(url, tcp).await.expect("upgrades").0
    };
    let attend = async |who: &str| {
        let mut socket = listen(who, "").await;
        let snapshot = message(&mut socket).await;
        assert_eq!(snapshot["type"], "snapshot");
        let here = snapshot["data"]["room"]["audience"].as_u64();
        assert!(
            here.is_some_and(|here| (1..=2).contains(&here)),
            "ann at once, bob within a second: {here:?}"
        );
        let seq = snapshot["seq"].as_u64().expect("a seq");
        Attendee { socket, seq }
    };
    let mut ann = attend("host").await;
    let mut bob = attend("member").await;
    let joined = ann.until("member.joined").await;
    assert_eq!(joined["data"]["member"]["user"], "bob");

    let post = async |uri: &str, who: &str| {
        let answer = call("POST", uri).by(who).json(json!({})).to(&server).await;
        assert!(answer.status.is_success(), "{}", answer.text);
    };
    post("/v1/rooms/demo/applications", "member").await;
    let received = ann.until("application.received").await;
    assert_eq!(received["data"]["request"]["guest"]["user"], "bob");
    let mut again = listen("host", "").await;
    let snapshot = message(&mut again).await;
    assert_eq!(snapshot["data"]["room"]["applications"][0]["guest"]["user"], "bob");
    assert_eq!(snapshot["data"]["you"]["role"], "host");
    let seq = snapshot["seq"].as_u64().expect("a seq");
    let mut ann = Attendee { socket: again, seq };
    post("/v1/rooms/demo/applications/bob/accept", "host").await;
    let granted = bob.until("seat.granted").await;
    assert_eq!((&granted["data"]["seat"], &granted["to"]), (&json!(1), &json!("bob")));
    assert!(
        granted["data"]["connect_by_in_ms"]
            .as_u64()
            .is_some_and(|ms| (10_000..=15_000).contains(&ms))
    );
    let changed = ann.until("seats.changed").await;
    assert_eq!(changed["data"]["joined"][0]["user"]["user"], "bob");

    let place = format!("&after={}.{}", changed["epoch"], bob.seq);
    drop(bob.socket);
    ann.until_bob_is("suspended").await;
    let mut bob = Attendee {
        socket: listen("member", &place).await,
        seq: bob.seq,
    };
    bob.until("seats.changed").await;
    ann.until_bob_is("online").await;

    let ended = call("DELETE", "/v1/rooms/demo").by("host").to(&server).await;
    assert_eq!(ended.outcome(), "200", "{}", ended.text);
    for attendee in [&mut ann, &mut bob] {
        attendee.until("room.ended").await;
        assert_eq!(farewell(&mut attendee.socket).await, (4004, "room_ended".into()));
    }
    let late = call("GET", "/v1/rooms/demo/events")
        .by("member")
        .header("accept", "text/event-stream");
    assert_eq!(late.to(&server).await.outcome(), "410 room_ended");
}

/// Resident memory of this process, in KiB.
fn resident_kib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("is there");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .expect("is in it");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// Connects and reads the first message, with nothing on this side but the socket.
fn join_quietly(address: SocketAddr, user: &str, kind: &str) -> std::net::TcpStream {
    use std::io::{Read, Write};
    let grant = Grant {
        room: "demo".into(),
        user: user.into(),
        role: RoleName::Member,
        name: None,
        avatar_url: None,
    };
    let token = mint("devkey", SECRET, &grant, Duration::from_secs(600));
    let mut tcp = std::net::TcpStream::connect(address).expect("connects");
    let head =
        format!("GET /v1/rooms/demo/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n{kind}\r\n\r\n");
    tcp.write_all(head.as_bytes()).expect("writes");
    let mut read = [0; 4096];
    let mut text = String::new();
    while !text.contains("\"snapshot\"") {
        let length = tcp.read(&mut read).expect("reads");
        assert!(length > 0, "refused: {text}");
        text.push_str(&String::from_utf8_lossy(&read[..length]));
    }
    tcp
}

/// The figure to reach is 20 KiB per member of the audience, sockets' buffers in the kernel aside.
/// `cargo nextest run --lib --run-ignored all memory_of_a_crowd --no-capture` prints what it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures the whole process, so it has to run alone"]
async fn memory_of_a_crowd() {
    const CROWD: usize = 400;
    let websocket = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: \
                     dGhlIHNhbXBsZSBub25jZQ==";
    for (name, kind) in [("websocket", websocket), ("sse", "Accept: text/event-stream")] {
        let stage = stage().await;
        let address = stage.address;
        let join = |from: usize| {
            let join = move || {
                (from..from + CROWD)
                    .map(|at| join_quietly(address, &format!("u{at}"), kind))
                    .collect()
            };
            tokio::task::spawn_blocking(join)
        };
        // The first crowd pays for what is allocated once.
        let first: Vec<std::net::TcpStream> = join(0).await.expect("connects");
        let before = resident_kib();
        let second: Vec<std::net::TcpStream> = join(CROWD).await.expect("connects");
        stage.tell(&[]);
        tokio::time::sleep(Duration::from_millis(200)).await;
        let each = resident_kib().saturating_sub(before) as f64 / CROWD as f64;
        println!("{name}: {each:.1} KiB per member");
        assert!(each <= 20.0 || name == "sse", "{each} KiB per member");
        drop((first, second));
    }
}
