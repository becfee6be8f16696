//! What is stored, when, and what becomes of it when the disk is slow or full, or the process ends without notice.

use super::*;
use crate::events::Next;
use crate::room::event;
use crate::store::{Error, FakeStore, RecordChange, Store};
use std::time::Duration;

/// A node of one worker that obeys only when told, on a store that answers only when told.
struct Slow {
    node: Node,
    room: RoomId,
    commands: worker::FakeWorker,
    store: FakeStore,
    _events: mpsc::Sender<Event>,
}

async fn slow() -> Slow {
    let (handle, commands) = worker::Handle::fake();
    let (events, received) = mpsc::channel(16);
    let (store, mut fake) = Store::fake();
    let lasting = Lasting { store, ..lasting() };
    let node = Node::start(vec![handle], received, dtls::Fingerprint([7; 32]), limits(), lasting);
    let caller = node.clone();
    let creating = tokio::spawn(async move { demo(&caller).await });
    let (change, done) = fake.change().await;
    assert!(matches!(change.record, RecordChange::Put(_)) && !creating.is_finished());
    done.send(Ok(())).unwrap();
    Slow {
        node,
        room: creating.await.unwrap(),
        commands,
        store: fake,
        _events: events,
    }
}

fn full() -> Result<(), Error> {
    Err(Error("/var/lib/rooms: no space left on device".into()))
}

fn mute() -> Command {
    let patch = SeatFlagsPatch {
        audio_muted: Some(true),
        ..Default::default()
    };
    Command::SetFlags {
        seat: SeatIndex(0),
        patch,
    }
}

impl Slow {
    /// Gives a command in a task of its own.
    fn command(&self, command: Command) -> tokio::task::JoinHandle<Result<Commanded, Refusal>> {
        let (node, room) = (self.node.clone(), self.room.clone());
        tokio::spawn(async move { node.command(&room, &service(), command).await })
    }

    async fn told_to_mute(&self) -> oneshot::Sender<()> {
        eventually("permit", || async {
            self.commands.try_commands().find_map(|command| match command {
                worker::Command::Permit { done, .. } => done,
                _ => None,
            })
        })
        .await
    }
}

fn version(record: &RecordChange) -> Option<u64> {
    match record {
        RecordChange::Put(record) => Some(record.version),
        _ => None,
    }
}

async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

/// The newest stream of a service key, which is due every event.
async fn listen(node: &Node, room: &RoomId) -> events::Stream {
    node.subscribe(room, &service(), None).await.unwrap().stream
}

/// The next event of a stream that is there without waiting.
async fn ready(stream: &mut events::Stream) -> Option<Vec<event::Event>> {
    let next = tokio::time::timeout(Duration::ZERO, stream.next()).await.ok()?;
    let Next::Notices(notices) = next else { return None };
    Some(notices.iter().map(|(_, notice)| notice.event.clone()).collect())
}

#[tokio::test]
async fn first_in_force_then_stored_then_told_then_answered() {
    let mut slow = slow().await;
    publish(&slow.node, &slow.room, "host", SourceKind::Camera).await;
    let mut stream = listen(&slow.node, &slow.room).await;
    let muting = slow.command(mute());
    // The worker hears of it while the disk is still busy.
    let in_force = slow.told_to_mute().await;
    let (change, stored) = slow.store.change().await;
    assert_eq!(version(&change.record), Some(2));
    settle().await;
    assert!(!muting.is_finished() && ready(&mut stream).await.is_none());
    stored.send(Ok(())).unwrap();
    settle().await;
    assert!(!muting.is_finished(), "the worker has not confirmed");
    assert!(ready(&mut stream).await.is_none());
    in_force.send(()).unwrap();
    let commanded = muting.await.unwrap().unwrap();
    assert_eq!(commanded.snapshot.version, 2);
    let told = ready(&mut stream).await.expect("told before it was answered");
    assert!(matches!(told[..], [event::Event::SeatUpdated { .. }]), "{told:?}");

    // The other way round: confirmed, and the disk is late.
    let mut unmuting = slow.command(Command::SetFlags {
        seat: SeatIndex(1),
        patch: SeatFlagsPatch {
            locked: Some(true),
            ..Default::default()
        },
    });
    let (_, stored) = slow.store.change().await;
    settle().await;
    assert!(!unmuting.is_finished() && ready(&mut stream).await.is_none());
    stored.send(Ok(())).unwrap();
    (&mut unmuting).await.unwrap().unwrap();
    assert!(ready(&mut stream).await.is_some());
}

#[tokio::test]
async fn a_slow_disk_holds_up_no_worker_and_answers_keep_their_order() {
    let mut slow = slow().await;
    publish(&slow.node, &slow.room, "host", SourceKind::Camera).await;
    let lock = Command::SetFlags {
        seat: SeatIndex(1),
        patch: SeatFlagsPatch {
            locked: Some(true),
            ..Default::default()
        },
    };
    let locking = slow.command(lock);
    let (_, first) = slow.store.change().await;
    let muting = slow.command(mute());
    slow.told_to_mute().await.send(()).unwrap();
    let (change, second) = slow.store.change().await;
    assert_eq!(version(&change.record), Some(3));
    second.send(Ok(())).unwrap();
    settle().await;
    assert!(
        !locking.is_finished() && !muting.is_finished(),
        "the second waits for the first"
    );
    first.send(Ok(())).unwrap();
    assert_eq!(locking.await.unwrap().unwrap().snapshot.version, 2);
    assert_eq!(muting.await.unwrap().unwrap().snapshot.version, 3);
    let read = slow.node.snapshot(&slow.room).await.unwrap();
    assert_eq!(read.version, 3);
}

#[tokio::test]
async fn a_full_disk_is_told_of_and_the_next_write_heals_it() {
    let mut slow = slow().await;
    let mut stream = listen(&slow.node, &slow.room).await;
    let muting = slow.command(mute());
    let (_, done) = slow.store.change().await;
    done.send(full()).unwrap();
    let refusal = muting.await.unwrap().unwrap_err();
    assert_eq!((refusal.code, refusal.version), (Code::CapacityExhausted, Some(2)));
    assert!(refusal.detail.contains("no space left") && refusal.retry_after.is_some());
    assert!(ready(&mut stream).await.is_some(), "it is so, and told");

    // Asking again changes nothing, and is a promise all the same: it is written again.
    let again = slow.command(mute());
    let (change, done) = slow.store.change().await;
    assert_eq!(version(&change.record), Some(2));
    done.send(Ok(())).unwrap();
    assert_eq!(again.await.unwrap().unwrap().snapshot.version, 2);
    settle().await;
    assert!(slow.store.try_change().is_none());

    // Nobody asks: after a second it is tried again.
    let unmuting = slow.command(Command::Update(Box::new(room::SettingsPatch {
        public_program: Some(true),
        ..Default::default()
    })));
    let (_, done) = slow.store.change().await;
    done.send(full()).unwrap();
    assert_eq!(code(unmuting.await.unwrap()), Code::CapacityExhausted);
    let (change, done) = slow.store.change().await;
    assert_eq!(version(&change.record), Some(3));
    done.send(Ok(())).unwrap();
}

/// It is given nothing more until it answers, nobody waits longer than two seconds, and workers are told at once.
#[tokio::test]
async fn a_disk_that_hangs_is_told_of() {
    let mut slow = slow().await;
    publish(&slow.node, &slow.room, "host", SourceKind::Camera).await;
    let refusal = slow.command(Command::Update(Box::new(room::SettingsPatch {
        public_program: Some(true),
        ..Default::default()
    })));
    let refusal = refusal.await.unwrap().unwrap_err();
    assert_eq!(refusal.code, Code::CapacityExhausted);
    assert!(refusal.detail.contains("does not answer"), "{refusal:?}");
    let muting = slow.command(mute());
    slow.told_to_mute().await.send(()).unwrap();
    assert_eq!(code(muting.await.unwrap()), Code::CapacityExhausted);
    let (change, hanging) = slow.store.change().await;
    assert_eq!(version(&change.record), Some(2));
    assert!(
        slow.store.try_change().is_none(),
        "one write is enough for a disk that hangs"
    );
    hanging.send(Ok(())).unwrap();
    let asking = slow.command(mute());
    let (change, done) = slow.store.change().await;
    assert_eq!(version(&change.record), Some(3));
    done.send(Ok(())).unwrap();
    asking.await.unwrap().unwrap();
}

#[tokio::test]
async fn who_comes_and_goes_waits_for_no_disk() {
    let mut slow = slow().await;
    let bob = member("bob");
    let subscription = slow.node.subscribe(&slow.room, &bob, None).await.unwrap();
    drop(subscription);
    slow.node.snapshot(&slow.room).await.unwrap();
    assert!(slow.store.try_change().is_none());
}

#[tokio::test]
async fn the_end_of_a_room_is_stored_and_its_successor_is_not_removed_with_it() {
    let mut slow = slow().await;
    let ending = slow.command(Command::End);
    let (change, done) = slow.store.change().await;
    assert!(matches!(change.record, RecordChange::Remove));
    done.send(full()).unwrap();
    assert_eq!(code(ending.await.unwrap()), Code::CapacityExhausted);
    // Before the end is tried again there is a new room, whose record takes the place of the old one.
    let (caller, id) = (slow.node.clone(), slow.room.clone());
    let creating = tokio::spawn(async move { caller.create(&service(), id, settings()).await });
    let (change, done) = slow.store.change().await;
    assert_eq!(version(&change.record), Some(1));
    done.send(Ok(())).unwrap();
    assert!(creating.await.unwrap().unwrap().1);
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert!(
        slow.store.try_change().is_none(),
        "the old room does not remove the new one"
    );
}

#[tokio::test]
async fn webhook_messages_are_written_with_their_change_and_sent_once_stored() {
    let receiver = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (handle, _commands) = worker::Handle::fake();
    let (_events, received) = mpsc::channel(16);
    let (store, mut fake) = Store::fake();
    let options = webhook::Options {
        url: Some(format!("http://{}/hook", receiver.local_addr().unwrap())),
        secret: Some("whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=".into()),
        allow: webhook::loopback(),
        ..Default::default()
    };
    let webhooks = webhook::Sender::start(options, store.clone(), Vec::new(), Default::default()).unwrap();
    let lasting = Lasting {
        store,
        webhooks,
        ..lasting()
    };
    let node = Node::start(vec![handle], received, dtls::Fingerprint([7; 32]), limits(), lasting);
    let caller = node.clone();
    let creating = tokio::spawn(async move { demo(&caller).await });
    let (_, done) = fake.change().await;
    done.send(Ok(())).unwrap();
    let room = creating.await.unwrap();

    let (caller, id) = (node.clone(), room.clone());
    let seating = tokio::spawn(async move { seat(&caller, &id, 1, "bob").await });
    let (change, done) = fake.change().await;
    assert_eq!(version(&change.record), Some(2));
    let kinds: Vec<_> = change.messages.iter().map(|message| kind(&message.body)).collect();
    assert!(kinds.contains(&"seats.changed".to_owned()), "{kinds:?}");
    let granted = change
        .messages
        .iter()
        .find(|message| kind(&message.body) == "seat.granted")
        .unwrap();
    assert!(
        granted.body.contains("https://live.example/v1/rooms/demo/whip"),
        "{}",
        granted.body
    );
    let early = tokio::time::timeout(Duration::from_millis(50), receiver.accept()).await;
    assert!(early.is_err(), "nothing is sent before it is stored");
    done.send(Ok(())).unwrap();
    let patience = Duration::from_secs(20);
    tokio::time::timeout(patience, receiver.accept())
        .await
        .expect("sent")
        .unwrap();
    seating.await.unwrap();

    // No version moved: written, and nobody waits for it.
    let stage = View::Stage { leave_out: None };
    let session = node.view(&room, Some(&user("eve")), stage, view_offer()).await.unwrap();
    let peer = node.shared.registry.find(&session.id).unwrap().peer;
    let slots = Vec::new();
    _events.send(Event::Slots { peer, slots }).await.unwrap();
    let (change, _hanging) = fake.change().await;
    assert!(matches!(change.record, RecordChange::Keep));
    assert_eq!(kind(&change.messages[0].body), "stage.slots");
    node.snapshot(&room).await.unwrap();
}

fn kind(body: &str) -> String {
    let message: serde_json::Value = serde_json::from_str(body).unwrap();
    message["type"].as_str().unwrap().to_owned()
}

/// A directory that goes with the test.
struct Place(std::path::PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let place = std::env::temp_dir().join(format!("costage-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&place).unwrap();
        Place(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A node that its process takes with it: everything is dropped, nothing is stopped.
fn killed_after<T>(place: &Place, work: impl AsyncFnOnce(&Node, &Workers) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let result = runtime.block_on(async {
        let (store, loaded) = opened(place);
        let lasting = Lasting {
            store,
            loaded,
            ..lasting()
        };
        let (node, workers) = node_with(1, lasting);
        work(&node, &workers).await
    });
    drop(runtime);
    result
}

/// The thread of the store before may not be done with its file.
fn opened(place: &Place) -> (Store, store::Loaded) {
    let file = place.0.join("rooms.redb");
    let patience = std::time::Instant::now() + Duration::from_secs(20);
    loop {
        match Store::open(&file) {
            Ok(opened) => return opened,
            Err(error) if std::time::Instant::now() > patience => panic!("{error}"),
            Err(_) => std::thread::yield_now(),
        }
    }
}

#[test]
fn a_program_that_had_begun_is_there_after_a_kill() {
    let place = Place::new("program");
    let (live, early, idle) = (id("live"), id("early"), id("idle"));
    killed_after(&place, async |node, workers| {
        for room in [&live, &early, &idle] {
            node.create(&service(), room.clone(), settings()).await.unwrap();
        }
        on_air(node, workers, &live, "host", 0).await;
        // A guest who is there before the host.
        seat(node, &early, 1, "bob").await;
        on_air(node, workers, &early, "bob", 1).await;
        seat(node, &idle, 1, "eve").await;
        for room in [&live, &early, &idle] {
            // Whose answer means that what came before it is on the disk.
            node.command(room, &service(), mute()).await.unwrap();
        }
    });
    killed_after(&place, async |node, _| {
        assert_eq!(node.snapshot(&live).await.unwrap().phase, Phase::HostAway);
        let watch = async |room: &RoomId| {
            let view = View::Program { leave_out: None };
            node.view(room, None, view, view_offer()).await.map(drop)
        };
        for room in [&live, &early] {
            watch(room)
                .await
                .expect("a slate, while those who were on the air are waited for");
        }
        assert_eq!(code(watch(&idle).await), Code::NothingToPlay);
    });
}

#[test]
fn rooms_survive_a_kill() {
    let place = Place::new("kill");
    let before = killed_after(&place, async |node, workers| {
        let room = demo(node).await;
        seat(node, &room, 1, "bob").await;
        on_air(node, workers, &room, "bob", 1).await;
        let lock = Command::SetFlags {
            seat: SeatIndex(2),
            patch: SeatFlagsPatch {
                locked: Some(true),
                ..Default::default()
            },
        };
        node.command(&room, &service(), lock).await.unwrap();
        let _stream = node.subscribe(&room, &member("eve"), None).await.unwrap();
        let wish = room::Wish::default();
        let apply = Command::Apply { user: None, wish };
        node.command(&room, &member("eve"), apply).await.unwrap();
        let ended = node.create(&service(), id("over"), settings()).await.unwrap().0.id;
        node.command(&ended, &service(), Command::End)
            .await
            .unwrap()
            .snapshot
            .epoch
    });
    let last = killed_after(&place, async |node, _| {
        assert_eq!(node.stats().rooms, 1);
        assert_eq!(code(node.snapshot(&id("over")).await), Code::RoomNotFound);
        let room = node.snapshot(&id("demo")).await.unwrap();
        assert!(room.epoch > before, "above every epoch there was");
        assert!(matches!(room.seats[1].occupancy, Occupancy::Held { .. }));
        assert!(room.seats[2].flags.locked && room.requests.len() == 1);
        let subscription = node.subscribe(&room.id, &member("eve"), None).await.unwrap();
        assert_eq!(subscription.snapshot.unwrap().epoch, room.epoch);
        // Who held a seat before publishes again.
        publish(node, &room.id, "bob", SourceKind::Camera).await;
        room.epoch
    });
    killed_after(&place, async |node, _| {
        assert!(node.snapshot(&id("demo")).await.unwrap().epoch > last);
    });
}
