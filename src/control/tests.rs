//! The control plane against fake workers: real actors and offers, no sockets, no media.

mod lasting;
mod places;
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
    }
}

fn lasting() -> Lasting {
    Lasting::in_memory("https://live.example".into()).unwrap()
}

fn node(workers: usize) -> (Node, Workers) {
    node_with(workers, lasting())
}

fn node_with(workers: usize, lasting: Lasting) -> (Node, Workers) {
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
    let node = Node::start(
        handles.collect(),
        received,
        dtls::Fingerprint([7; 32]),
        limits(),
        lasting,
    );
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

#[tokio::test]
async fn rooms_are_created_once_compared_listed_and_limited() {
    let (node, _workers) = node(1);
    let room = demo(&node).await;
    let (again, created) = node.create(&service(), room.clone(), settings()).await.unwrap();
    assert!(!created && again.version == 1);
    let other = Settings {
        max_guests: 3,
        ..settings()
    };
    assert_eq!(code(node.create(&service(), room.clone(), other).await), Code::Conflict);
    let member = Principal {
        person: person("host"),
        role: Role::Member,
    };
    assert_eq!(
        code(node.create(&member, id("x"), settings()).await),
        Code::PermissionDenied
    );
    let too_large = Settings {
        max_guests: 10,
        ..settings()
    };
    assert_eq!(
        code(node.create(&service(), id("x"), too_large).await),
        Code::InvalidArgument
    );

    for name in ["b", "a"] {
        node.create(&service(), id(name), settings()).await.unwrap();
    }
    assert_eq!(
        code(node.create(&service(), id("x"), settings()).await),
        Code::CapacityExhausted
    );
    let names = |snapshots: Vec<Snapshot>| snapshots.iter().map(|s| s.id.as_str().to_owned()).collect::<Vec<_>>();
    assert_eq!(names(node.list(None, 10).await), ["a", "b", "demo"]);
    assert_eq!(names(node.list(Some(id("a")), 1).await), ["b"]);
    assert_eq!(code(node.snapshot(&id("x")).await), Code::RoomNotFound);
    assert_eq!(node.stats().rooms, 3);
}

#[tokio::test]
async fn an_ended_room_stays_readable_and_its_id_begins_anew() {
    let (node, workers) = node(2);
    let room = demo(&node).await;
    let (_, host) = on_air(&node, &workers, &room, "host", 0).await;
    let stage = View::Stage { leave_out: None };
    let session = node.view(&room, None, stage, view_offer()).await.unwrap();
    let viewer = node.shared.registry.find(&session.id).unwrap().peer;
    workers.told();
    let ended = node.command(&room, &service(), Command::End).await.unwrap();
    assert_eq!(ended.snapshot.phase, Phase::Ended);
    let told = eventually_told(&workers, "forgotten", |told| {
        told.iter().any(|(_, told)| matches!(told, Told::Forget(_)))
    })
    .await;
    for peer in [host, viewer] {
        assert!(told.iter().any(|(_, told)| *told == Told::Close(peer)), "{told:?}");
    }
    assert!(node.resource(&session.id).await.is_none());
    assert_eq!(node.stats(), Stats::default());
    assert_eq!(node.snapshot(&room).await.unwrap().phase, Phase::Ended);
    let publish = node
        .publish(&room, &user("host"), SourceKind::Camera, publish_offer())
        .await;
    assert_eq!(code(publish), Code::RoomEnded);
    assert_eq!(
        code(node.view(&room, None, View::Program, view_offer()).await),
        Code::RoomEnded
    );
    assert_eq!(
        code(node.command(&room, &service(), Command::End).await),
        Code::RoomEnded
    );

    let (fresh, created) = node.create(&service(), room, settings()).await.unwrap();
    assert!(created && fresh.epoch > ended.snapshot.epoch && fresh.phase == Phase::Idle);
}

#[tokio::test]
async fn the_seat_is_the_permission_to_publish() {
    let (node, workers) = node(2);
    let room = demo(&node).await;
    let refused = node
        .publish(&room, &user("bob"), SourceKind::Camera, publish_offer())
        .await;
    assert_eq!(code(refused), Code::NotSeated);
    assert_eq!(node.stats().publishers, 0, "a refused peer takes no place");
    seat(&node, &room, 1, "bob").await;
    let (session, bob) = on_air(&node, &workers, &room, "bob", 1).await;
    assert!(session.answer.contains("a=ice-lite") && session.answer.contains(&session.etag));
    let resource = node.resource(&session.id).await.unwrap();
    assert_eq!(
        (resource.publisher, resource.user, resource.etag),
        (true, Some(user("bob")), session.etag)
    );
    workers.told();

    let unseat = Command::UnseatUser {
        user: user("bob"),
        reason: None,
    };
    node.command(&room, &service(), unseat).await.unwrap();
    let told = workers.told();
    assert!(
        told.iter().any(|(_, told)| *told == Told::Close(bob)),
        "closed before the reply: {told:?}"
    );
    assert!(node.resource(&session.id).await.is_none());
    assert_eq!(node.stats().publishers, 0);
    let refused = node
        .publish(&room, &user("bob"), SourceKind::Camera, publish_offer())
        .await;
    assert_eq!(code(refused), Code::NotSeated);
}

#[tokio::test]
async fn a_mute_is_in_force_before_the_reply() {
    let (handle, commands) = worker::Handle::fake();
    let (_events, received) = mpsc::channel(16);
    let node = Node::start(vec![handle], received, dtls::Fingerprint([7; 32]), limits(), lasting());
    let room = demo(&node).await;
    let (_, host) = publish(&node, &room, "host", SourceKind::Camera).await;
    let patch = SeatFlagsPatch {
        audio_muted: Some(true),
        ..Default::default()
    };
    let caller = node.clone();
    let muting = tokio::spawn(async move {
        let seat = SeatIndex(0);
        caller
            .command(&room, &service(), Command::SetFlags { seat, patch })
            .await
    });
    let done = eventually("permit", || async {
        commands.try_commands().find_map(|command| match command {
            worker::Command::Permit { peer, permission, done } => {
                assert_eq!((peer, permission.audio, permission.video), (host, false, true));
                done
            }
            _ => None,
        })
    })
    .await;
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(
        !muting.is_finished(),
        "the worker has not said that the mute is in force"
    );
    done.send(()).unwrap();
    assert!(muting.await.unwrap().unwrap().snapshot.seats[0].flags.audio_muted);
}

/// A worker that hangs holds nobody up for ever, and nothing counts as in force before it says so.
#[tokio::test]
async fn a_worker_that_does_not_answer_is_told_of() {
    let (handle, commands) = worker::Handle::fake();
    let (_events, received) = mpsc::channel(16);
    let node = Node::start(vec![handle], received, dtls::Fingerprint([7; 32]), limits(), lasting());
    let room = demo(&node).await;
    publish(&node, &room, "host", SourceKind::Camera).await;
    let patch = SeatFlagsPatch {
        audio_muted: Some(true),
        ..Default::default()
    };
    let seat = SeatIndex(0);
    let by = service();
    let mute = || node.command(&room, &by, Command::SetFlags { seat, patch });
    let refusal = mute().await.expect_err("nobody confirmed it");
    assert_eq!(refusal.code, Code::CapacityExhausted);
    assert!(
        refusal.retry_after.is_some() && refusal.version.is_some(),
        "{refusal:?}"
    );
    assert!(node.snapshot(&room).await.is_ok(), "the room goes on");

    let permit = commands.try_commands().find_map(|command| match command {
        worker::Command::Permit { done, .. } => done,
        _ => None,
    });
    let asking_again = mute();
    permit.expect("told to mute").send(()).expect("still waited for");
    assert!(
        asking_again.await.expect("in force by now").snapshot.seats[0]
            .flags
            .audio_muted
    );
}

#[tokio::test]
async fn every_worker_knows_every_source() {
    let (node, workers) = node(3);
    let room = demo(&node).await;
    let (_, host) = on_air(&node, &workers, &room, "host", 0).await;
    let connected = |told: &Told| match told {
        Told::Sources(sources) => sources.iter().any(|source| source.connected),
        _ => false,
    };
    let told = eventually_told(&workers, "every worker told", |told| {
        (0..3).all(|worker| told.iter().any(|(at, told)| *at == worker && connected(told)))
    })
    .await;
    assert!(told.iter().any(|(_, told)| *told == Told::Publish(host, ON)));
    for (_, told) in told.iter().filter(|(_, told)| connected(told)) {
        let Told::Sources(sources) = told else { continue };
        let source = &sources[0];
        assert_eq!(
            (sources.len(), source.seat, source.kind),
            (1, SeatIndex(0), SourceKind::Camera)
        );
        assert_eq!((&*source.user, source.permission, source.layers), ("host", ON, 1));
    }
    workers
        .report(Event::Media {
            peer: host,
            kind: MediaKind::Video,
            flowing: true,
        })
        .await;
    workers
        .report(Event::VideoSize {
            peer: host,
            width: 1280,
            height: 720,
        })
        .await;
    let status = eventually("status", || async {
        let snapshot = node.snapshot(&room).await.unwrap();
        let status = snapshot.sources.get(&(SeatIndex(0), SourceKind::Camera)).cloned();
        status.filter(|status| status.height == Some(720))
    })
    .await;
    assert_eq!(
        (status.audio, status.video, status.codec),
        (false, true, Some(crate::rtp::Codec::Vp8))
    );
}

#[tokio::test]
async fn a_repeated_publish_replaces_and_keeps_the_seat_occupied() {
    let (node, workers) = node(1);
    let room = demo(&node).await;
    let (first, old) = on_air(&node, &workers, &room, "host", 0).await;
    let (_, screen) = publish(&node, &room, "host", SourceKind::Screen).await;
    workers.told();
    let (second, new) = publish(&node, &room, "host", SourceKind::Camera).await;
    assert!(new != old && first.id != second.id);
    let told = workers.told();
    assert!(told.iter().any(|(_, told)| *told == Told::Close(old)));
    assert!(!told.iter().any(|(_, told)| *told == Told::Close(screen)));
    assert!(node.resource(&first.id).await.is_none());
    assert_eq!(node.snapshot(&room).await.unwrap().phase, Phase::Live);
    // The late word of the old one is nobody's.
    workers
        .report(Event::Closed {
            peer: old,
            reason: CloseReason::PeerClosed,
        })
        .await;
    workers
        .report(Event::Closed {
            peer: new,
            reason: CloseReason::ConsentExpired,
        })
        .await;
    eventually("host away", || async {
        (node.snapshot(&room).await.unwrap().phase == Phase::HostAway).then_some(())
    })
    .await;
    assert!(node.resource(&second.id).await.is_none());
}

#[tokio::test]
async fn deleting_the_resource_holds_the_seat() {
    let (node, workers) = node(1);
    let room = demo(&node).await;
    seat(&node, &room, 1, "bob").await;
    let (session, bob) = on_air(&node, &workers, &room, "bob", 1).await;
    assert!(node.close(&session.id).await);
    assert!(workers.told().iter().any(|(_, told)| *told == Told::Close(bob)));
    let snapshot = node.snapshot(&room).await.unwrap();
    assert!(matches!(snapshot.seats[1].occupancy, Occupancy::Held { .. }));
    assert!(snapshot.sources.is_empty());
    assert!(!node.close(&session.id).await);
}

#[tokio::test]
async fn nothing_to_play_until_somebody_plays() {
    let (node, workers) = node(2);
    let room = demo(&node).await;
    for view in [
        View::Program,
        View::Seat {
            seat: SeatIndex(1),
            kind: SourceKind::Camera,
        },
    ] {
        let refusal = node.view(&room, None, view, view_offer()).await.unwrap_err();
        assert_eq!(
            (refusal.code, refusal.retry_after.is_some()),
            (Code::NothingToPlay, true)
        );
    }
    let nowhere = View::Seat {
        seat: SeatIndex(10),
        kind: SourceKind::Camera,
    };
    assert_eq!(
        code(node.view(&room, None, nowhere, view_offer()).await),
        Code::SeatIndexInvalid
    );
    assert_eq!(node.stats().viewers, 0);
    node.view(&room, None, View::Stage { leave_out: None }, view_offer())
        .await
        .unwrap();
    on_air(&node, &workers, &room, "host", 0).await;
    let session = node
        .view(&room, Some(&user("eve")), View::Program, view_offer())
        .await
        .unwrap();
    let screen = View::Seat {
        seat: SeatIndex(0),
        kind: SourceKind::Screen,
    };
    assert_eq!(
        code(node.view(&room, None, screen, view_offer()).await),
        Code::NothingToPlay
    );
    assert_eq!((node.stats().publishers, node.stats().viewers), (1, 2));
    let views = |told: &[(usize, Told)]| {
        let views = told.iter().filter(|(_, told)| matches!(told, Told::View(..)));
        views.map(|(worker, _)| *worker).collect::<Vec<_>>()
    };
    let told = eventually_told(&workers, "two viewers", |told| views(told).len() == 2).await;
    let mut placed = views(&told);
    placed.sort_unstable();
    assert_eq!(placed, [0, 1], "viewers spread over the workers");

    let peer = node.shared.registry.find(&session.id).unwrap().peer;
    let slots = vec![SlotReport {
        slot: 0,
        seat: SeatIndex(0),
        source: SourceKind::Camera,
        codec: None,
        state: SlotState::Live,
    }];
    workers
        .report(Event::Slots {
            peer,
            slots: slots.clone(),
        })
        .await;
    let resource = eventually("slots", || async {
        node.resource(&session.id)
            .await
            .filter(|resource| !resource.slots.is_empty())
    })
    .await;
    assert_eq!((resource.slots, resource.user), (slots, Some(user("eve"))));
    assert_eq!(node.prefer(&session.id, 0, LayerPreference::default()).await, Ok(true));
    assert_eq!(node.prefer(&session.id, 1, LayerPreference::default()).await, Ok(false));
}

#[tokio::test]
async fn peers_are_limited_and_a_drained_node_takes_none() {
    let (node, _workers) = node(2);
    let room = demo(&node).await;
    let view = || node.view(&room, None, View::Stage { leave_out: None }, view_offer());
    let mut sessions = Vec::new();
    for _ in 0..6 {
        sessions.push(view().await.unwrap());
    }
    let refusal = view().await.unwrap_err();
    assert_eq!(
        (refusal.code, refusal.retry_after.is_some()),
        (Code::CapacityExhausted, true)
    );
    assert!(node.close(&sessions[0].id).await);
    view().await.unwrap();
    node.drain();
    assert!(node.close(&sessions[1].id).await);
    assert_eq!(code(view().await), Code::ServerDraining);
    let publish = node
        .publish(&room, &user("host"), SourceKind::Camera, publish_offer())
        .await;
    assert_eq!(code(publish), Code::ServerDraining);
    assert_eq!(
        code(node.create(&service(), id("x"), settings()).await),
        Code::ServerDraining
    );
    assert!(!node.create(&service(), room.clone(), settings()).await.unwrap().1);
}

#[tokio::test]
async fn patch_tells_trickling_from_a_restart() {
    let (node, workers) = node(1);
    let room = demo(&node).await;
    let (session, host) = publish(&node, &room, "host", SourceKind::Camera).await;
    workers.told();
    let fragment = |ice| sdp::Fragment {
        ice,
        candidates: 1,
        mid: None,
    };
    let own = publish_offer().remote().ice.clone();
    for ice in [None, Some(own)] {
        assert!(matches!(
            node.patch(&session.id, fragment(ice)).await,
            Some(Patched::Trickled)
        ));
    }
    assert_eq!(node.resource(&session.id).await.unwrap().etag, session.etag);
    let fresh = ice::Credentials {
        ufrag: "fresh".into(),
        pwd: "freshfreshfreshfreshfresh".into(),
    };
    let restarted = node.patch(&session.id, fragment(Some(fresh.clone()))).await;
    let Some(Patched::Restarted { fragment: body, etag }) = restarted else {
        panic!("{restarted:?}");
    };
    assert!(etag != session.etag && body.contains(&etag));
    assert_eq!(node.resource(&session.id).await.unwrap().etag, etag);
    let restart = Told::Restart(host, fresh.clone());
    eventually_told(&workers, "restart", |told| {
        told.iter().any(|(_, told)| *told == restart)
    })
    .await;
    assert!(matches!(
        node.patch(&session.id, fragment(Some(fresh))).await,
        Some(Patched::Trickled)
    ));
    let unknown = ResourceId("unknown".into());
    assert!(node.patch(&unknown, fragment(None)).await.is_none());
}

#[tokio::test]
async fn a_room_whose_host_is_away_too_long_closes_its_peers() {
    let (node, workers) = node(1);
    let mut settings = settings();
    settings.policies.host_away_ms = 0;
    let room = node.create(&service(), id("demo"), settings).await.unwrap().0.id;
    seat(&node, &room, 1, "bob").await;
    let (_, bob) = on_air(&node, &workers, &room, "bob", 1).await;
    let (session, _) = on_air(&node, &workers, &room, "host", 0).await;
    workers.told();
    assert!(node.close(&session.id).await);
    assert_eq!(node.snapshot(&room).await.unwrap().phase, Phase::Ended);
    assert!(workers.told().iter().any(|(_, told)| *told == Told::Close(bob)));
}

#[tokio::test]
async fn stopping_closes_every_peer_and_stops_the_workers() {
    let (node, workers) = node(2);
    let room = demo(&node).await;
    let (_, host) = publish(&node, &room, "host", SourceKind::Camera).await;
    workers.told();
    node.stop().await;
    let mut stops = 0;
    let told = eventually("stopped", || {
        let told = workers.told();
        stops += told.iter().filter(|(_, told)| *told == Told::Stop).count();
        let closed = told.iter().any(|(_, told)| *told == Told::Close(host));
        async move { closed.then_some(()) }
    });
    told.await;
    eventually("both stopped", || {
        stops += workers.told().iter().filter(|(_, told)| *told == Told::Stop).count();
        let all = stops == 2;
        async move { all.then_some(()) }
    })
    .await;
    assert_eq!(node.stats(), Stats::default());
    assert_eq!(code(node.snapshot(&room).await), Code::RoomNotFound);
}

#[tokio::test]
async fn an_explanation_asks_the_worker_and_is_for_those_concerned() {
    let (node, workers) = node(2);
    let room = demo(&node).await;
    seat(&node, &room, 1, "bob").await;
    let explain = async |by: &Principal, index: u8| node.explain(&room, by, SeatIndex(index), SourceKind::Camera).await;
    let said = explain(&service(), 1).await.unwrap();
    assert_eq!(said.links.last().map(|link| link.link), Some(Link::Whip), "{said:?}");

    let (_, peer) = publish(&node, &room, "bob", SourceKind::Camera).await;
    let said = explain(&service(), 1).await.unwrap();
    assert_eq!(said.links.last().map(|link| link.link), Some(Link::Ice), "{said:?}");
    assert!(workers.told().iter().any(|(_, told)| *told == Told::Diagnose(peer)));

    let member = |name: &str| Principal {
        person: person(name),
        role: Role::Member,
    };
    assert!(explain(&member("bob"), 1).await.is_ok());
    assert_eq!(code(explain(&member("eve"), 1).await), Code::PermissionDenied);
    assert_eq!(code(explain(&member("bob"), 2).await), Code::PermissionDenied);
    assert_eq!(code(explain(&service(), 12).await), Code::SeatIndexInvalid);
}
