//! The control plane against fake workers: real actors and offers, no sockets, no media.

mod capacity;
mod lasting;
mod peers;
mod places;
mod rooms;
mod streams;

use super::*;
use crate::forward::{Permission, SeatIndex, SlotReport, SlotState, SourceInfo};
use crate::room::{Occupancy, Person, Phase, Policies, Role, SeatFlagsPatch, SeatMode};
use crate::rtp::MediaKind;
use crate::transport::CloseReason;
use crate::worker::{Event, PeerId, RoomKey};
use std::sync::Mutex;

/// A publisher with Opus and VP8.
const PUBLISH_OFFER: &str = "v=0\r\no=- 4611731400430051336 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n\
a=group:BUNDLE 0 1\r\na=msid-semantic: WMS\r\n\
m=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\na=ice-ufrag:puba\r\na=ice-pwd:pubpwdpubpwdpubpwdpubpwd\r\n\
a=fingerprint:sha-256 00:01:02:03:04:05:06:07:08:09:0A:0B:0C:0D:0E:0F:10:11:12:13:14:15:16:17:18:19:1A:1B:1C:1D:1E:1F\r\n\
a=setup:actpass\r\na=mid:0\r\na=sendonly\r\na=rtcp-mux\r\na=rtpmap:111 opus/48000/2\r\n\
a=ssrc:1001 cname:x\r\n\
m=video 9 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 0.0.0.0\r\na=ice-ufrag:puba\r\na=ice-pwd:pubpwdpubpwdpubpwdpubpwd\r\n\
a=fingerprint:sha-256 00:01:02:03:04:05:06:07:08:09:0A:0B:0C:0D:0E:0F:10:11:12:13:14:15:16:17:18:19:1A:1B:1C:1D:1E:1F\r\n\
a=setup:actpass\r\na=mid:1\r\na=sendonly\r\na=rtcp-mux\r\na=rtpmap:96 VP8/90000\r\na=rtcp-fb:96 nack pli\r\n\
a=ssrc:1002 cname:x\r\n";

fn publish_offer() -> sdp::Offer {
    sdp::Offer::parse(PUBLISH_OFFER).unwrap()
}

fn view_offer() -> sdp::Offer {
    let text = PUBLISH_OFFER.replace("sendonly", "recvonly").replace("puba", "view");
    let h264 = "H264/90000\r\na=fmtp:96 packetization-mode=1;profile-level-id=42e01f";
    let text = text.replace("VP8/90000", h264);
    let lines = text.split_inclusive("\r\n").filter(|line| !line.starts_with("a=ssrc:"));
    sdp::Offer::parse(&lines.collect::<String>()).unwrap()
}

/// What a worker was told, as far as the tests look.
#[derive(Clone, Debug, PartialEq)]
enum Told {
    Publish(PeerId, Permission),
    View(PeerId, View),
    Close(PeerId),
    Restart(PeerId, ice::Credentials),
    Permit(PeerId, Permission),
    Sources(Vec<SourceInfo>),
    Forget(RoomKey),
    Prefer(PeerId, usize),
    Diagnose(PeerId),
    Stop,
}

/// Workers that obey at once, and remember.
struct Workers {
    told: Arc<Mutex<Vec<(usize, Told)>>>,
    events: mpsc::Sender<Event>,
}

impl Workers {
    fn told(&self) -> Vec<(usize, Told)> {
        std::mem::take(&mut *self.told.lock().unwrap())
    }

    async fn report(&self, event: Event) {
        self.events.send(event).await.unwrap();
    }
}

fn limits() -> Limits {
    Limits {
        rooms: 3,
        guests: 9,
        peers: 6,
        mixing: Cores::new(1.0),
        return_after: Duration::from_secs(10),
    }
}

fn lasting() -> Lasting {
    Lasting::in_memory("https://live.example".into()).unwrap()
}

fn node(workers: usize) -> (Node, Workers) {
    node_with(workers, lasting())
}

fn node_with(workers: usize, lasting: Lasting) -> (Node, Workers) {
    node_limited(workers, lasting, limits())
}

fn node_limited(workers: usize, lasting: Lasting, limits: Limits) -> (Node, Workers) {
    let told = Arc::new(Mutex::new(Vec::new()));
    let handles = (0..workers).map(|index| {
        let (handle, commands) = worker::Handle::fake();
        let told = told.clone();
        std::thread::spawn(move || {
            for command in commands.commands() {
                let (seen, done) = obey(command);
                told.lock().unwrap().push((index, seen));
                if let Some(done) = done {
                    let _ = done.send(());
                }
            }
        });
        handle
    });
    let (events, received) = mpsc::channel(16);
    let node = Node::start(handles.collect(), received, dtls::Fingerprint([7; 32]), limits, lasting);
    (node, Workers { told, events })
}

fn obey(command: worker::Command) -> (Told, Option<oneshot::Sender<()>>) {
    match command {
        worker::Command::Publish { peer, permission, .. } => (Told::Publish(peer, permission), None),
        worker::Command::View { peer, view, .. } => (Told::View(peer, view), None),
        worker::Command::Close { peer, done } => (Told::Close(peer), done),
        worker::Command::Restart { peer, remote, .. } => (Told::Restart(peer, remote), None),
        worker::Command::Permit { peer, permission, done } => (Told::Permit(peer, permission), done),
        worker::Command::Sources { sources, .. } => (Told::Sources(sources.to_vec()), None),
        worker::Command::Forget { room } => (Told::Forget(room), None),
        worker::Command::Prefer { peer, slot, reply, .. } => {
            let _ = reply.send(slot == 0);
            (Told::Prefer(peer, slot), None)
        }
        worker::Command::Diagnose { peer, reply } => {
            let now = std::time::Instant::now();
            let _ = reply.send(Some(worker::Diagnosis {
                at: now,
                admitted: now,
                path: None,
                connected: false,
                audio: None,
                video: None,
            }));
            (Told::Diagnose(peer), None)
        }
        worker::Command::Stop => (Told::Stop, None),
    }
}

/// Waits for what another task is about to do; gives up loudly.
async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut look: impl FnMut() -> F) -> T {
    let patience = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::task::yield_now().await;
        }
    };
    let limit = std::time::Duration::from_secs(20);
    tokio::time::timeout(limit, patience)
        .await
        .unwrap_or_else(|_| panic!("never: {what}"))
}

/// What is sent without waiting for the worker may still be on its way: collects until it is there.
async fn eventually_told(
    workers: &Workers,
    what: &str,
    enough: impl Fn(&[(usize, Told)]) -> bool,
) -> Vec<(usize, Told)> {
    let mut all = Vec::new();
    eventually(what, || {
        all.extend(workers.told());
        let found = enough(&all).then(|| all.clone());
        async move { found }
    })
    .await
}

fn id(name: &str) -> RoomId {
    RoomId::parse(name).unwrap()
}

fn user(name: &str) -> UserId {
    UserId::parse(name).unwrap()
}

fn person(name: &str) -> Person {
    Person {
        user: user(name),
        name: None,
        avatar_url: None,
    }
}

fn service() -> Principal {
    Principal {
        person: person("backend"),
        role: Role::Service,
    }
}

fn host() -> Principal {
    Principal {
        person: person("host"),
        role: Role::Host,
    }
}

fn member(name: &str) -> Principal {
    Principal {
        person: person(name),
        role: Role::Member,
    }
}

fn settings() -> Settings {
    Settings {
        host: person("host"),
        max_guests: 9,
        seat_mode: SeatMode::Apply,
        public_program: false,
        policies: Policies::default(),
        program: Default::default(),
        layout: Default::default(),
        webhook: serde_json::Value::Null,
        metadata: serde_json::Value::Null,
    }
}

async fn demo(node: &Node) -> RoomId {
    let (snapshot, created) = node.create(&service(), id("demo"), settings()).await.unwrap();
    assert!(created);
    snapshot.id
}

async fn seat(node: &Node, room: &RoomId, index: u8, name: &str) {
    let command = Command::Seat {
        seat: SeatIndex(index),
        person: person(name),
        if_version: None,
    };
    node.command(room, &service(), command).await.unwrap();
}

async fn publish(node: &Node, room: &RoomId, name: &str, kind: SourceKind) -> (Session, PeerId) {
    let session = node.publish(room, &user(name), kind, publish_offer()).await.unwrap();
    let peer = node.shared.registry.find(&session.id).unwrap().peer;
    (session, peer)
}

/// Publishes, connects, and waits until the room knows.
async fn on_air(node: &Node, workers: &Workers, room: &RoomId, name: &str, index: u8) -> (Session, PeerId) {
    let (session, peer) = publish(node, room, name, SourceKind::Camera).await;
    workers.report(Event::Connected { peer }).await;
    eventually("occupied", || async {
        let snapshot = node.snapshot(room).await.unwrap();
        let seat = &snapshot.seats[usize::from(index)];
        matches!(seat.occupancy, Occupancy::Occupied { .. }).then_some(())
    })
    .await;
    (session, peer)
}

fn code<T: std::fmt::Debug>(outcome: Result<T, Refusal>) -> Code {
    outcome.unwrap_err().code
}

const ON: Permission = Permission {
    audio: true,
    video: true,
};
