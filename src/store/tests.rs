use super::*;
use crate::room::record::FORM;
use crate::room::{Moment, Person, Policies, Room, SeatMode, Settings, UserId};
use redb::StorageBackend;
use redb::backends::InMemoryBackend;
use serde_json::json;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

/// A disk that can be full.
#[derive(Clone, Debug)]
pub(super) struct Failing {
    disk: Arc<InMemoryBackend>,
    full: Arc<AtomicBool>,
}

impl Failing {
    fn check(&self) -> io::Result<()> {
        match self.full.load(Ordering::Relaxed) {
            true => Err(io::Error::from(io::ErrorKind::StorageFull)),
            false => Ok(()),
        }
    }
}

impl StorageBackend for Failing {
    fn len(&self) -> io::Result<u64> {
        self.disk.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.disk.read(offset, out)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check()?;
        self.disk.set_len(len)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.check()?;
        self.disk.sync_data()
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.check()?;
        self.disk.write(offset, data)
    }
}

/// A directory that ends with the test.
struct Place(PathBuf);

impl Place {
    fn new() -> Place {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let place = std::env::temp_dir().join(format!("costage-store-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&place).expect("a temporary directory");
        Place(place)
    }
    fn file(&self) -> PathBuf {
        self.0.join("costage.redb")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn room(id: &str) -> RoomId {
    RoomId::parse(id).expect("a room id")
}

/// Of a real room.
fn record(id: &str, epoch: u64, version: u64) -> Record {
    let person = Person {
        user: UserId::parse("ann").expect("a user id"),
        name: None,
        avatar_url: None,
    };
    let settings = Settings {
        host: person,
        max_guests: 3,
        seat_mode: SeatMode::Apply,
        public_program: false,
        policies: Policies::default(),
        program: Default::default(),
        layout: Default::default(),
        webhook: Value::Null,
        metadata: Value::Null,
    };
    let moment = Moment {
        now: Instant::now(),
        wall_ms: 1_000_000,
    };
    let machine = Room::new(room(id), epoch, settings, 9, moment.now).expect("a room");
    let mut record = machine.record(moment);
    (record.form, record.id, record.epoch, record.version) = (FORM, id.to_owned(), epoch, version);
    record
}

fn change(id: &str, change: RecordChange) -> Change {
    Change {
        room: room(id),
        record: change,
        messages: Vec::new(),
        webhook: Value::Null,
    }
}

fn put(id: &str, epoch: u64, version: u64) -> Change {
    change(id, RecordChange::Put(Box::new(record(id, epoch, version))))
}

fn message(seq: u64, node: bool, room: bool) -> Message {
    Message {
        epoch: 7,
        seq,
        at_ms: 1_000 * seq,
        to: Destinations { node, room },
        body: format!("{{\"seq\":{seq}}}").into(),
    }
}

fn queue(receiver: Receiver, id: &str) -> Queue {
    Queue {
        receiver,
        room: room(id),
    }
}

fn written<T>(answer: oneshot::Receiver<Result<T, Error>>) -> T {
    answer.blocking_recv().expect("an answer").expect("written")
}

/// The last handle went; the thread ends a moment later.
fn reopen(path: &Path) -> (Store, Loaded) {
    for _ in 0..500 {
        match Store::open(path) {
            Err(Error(why)) if why.contains("another process") => {
                std::thread::sleep(std::time::Duration::from_millis(10))
            }
            opened => return opened.expect("opens"),
        }
    }
    panic!("the file is still in use")
}

#[test]
fn rooms_come_back_and_ended_ones_leave_their_epoch() {
    let place = Place::new();
    let (store, loaded) = Store::open(&place.file()).expect("opens");
    assert_eq!((loaded.rooms.len(), loaded.last_epoch), (0, 0));
    written(store.write(put("demo", 5, 1)));
    written(store.write(put("demo", 5, 2)));
    written(store.write(put("show", 9, 1)));
    written(store.write(change("demo", RecordChange::Keep)));
    written(store.write(change("show", RecordChange::Remove)));
    drop(store);
    let (_store, loaded) = reopen(&place.file());
    assert_eq!(loaded.rooms, [record("demo", 5, 2)]);
    assert_eq!(loaded.last_epoch, 9);
}

#[test]
fn what_was_answered_is_there_after_a_crash() {
    let place = Place::new();
    let (store, _) = Store::open(&place.file()).expect("opens");
    for version in 1..=50 {
        written(store.write(put("demo", 5, version)));
    }
    // The file as a killed process leaves it: never closed.
    let left = place.0.join("left.redb");
    std::fs::copy(place.file(), &left).expect("copies");
    let (_second, loaded) = Store::open(&left).expect("is repaired");
    assert_eq!(loaded.rooms, [record("demo", 5, 50)]);
    drop(store);
}

#[test]
fn many_writers_share_transactions() {
    let place = Place::new();
    let (store, _) = Store::open(&place.file()).expect("opens");
    let answers: Vec<_> = (0..2_000)
        .map(|n| store.write(put(&format!("room{}", n % 100), 1, n)))
        .collect();
    answers.into_iter().for_each(written);
    drop(store);
    let (_store, loaded) = reopen(&place.file());
    assert_eq!(loaded.rooms.len(), 100);
    assert!(
        loaded.rooms.iter().all(|record| record.version >= 1_900),
        "the last write wins"
    );
}

#[test]
fn a_place_that_cannot_be_used_is_named() {
    let place = Place::new();
    let refused = |path: &Path, why: &str| {
        let Error(told) = Store::open(path).expect_err("refused");
        assert!(told.starts_with(&path.display().to_string()), "{told}");
        assert!(told.contains(why), "{told}: not {why}");
    };
    refused(&place.0, "directory");
    refused(&place.0.join("missing/costage.redb"), "No such file");
    refused(Path::new("/proc/costage.redb"), "");
    refused(Path::new("/dev/null"), "not an ordinary file");
    std::fs::write(place.0.join("notes.txt"), "x".repeat(10_000)).expect("writes");
    refused(&place.0.join("notes.txt"), "not a database of costage");
    std::fs::write(place.0.join("short"), "costage").expect("writes");
    refused(&place.0.join("short"), "not a database of costage");
    let (_store, _) = Store::open(&place.file()).expect("opens");
    refused(&place.file(), "another process uses it");
}

#[test]
fn a_database_of_others_or_of_later_versions_is_left_alone() {
    let place = Place::new();
    let foreign = place.0.join("foreign.redb");
    let later = place.0.join("later.redb");
    let table: redb::TableDefinition<&str, u64> = redb::TableDefinition::new("other");
    let facts: redb::TableDefinition<&str, u64> = redb::TableDefinition::new("costage");
    for (path, table, key) in [(&foreign, table, "n"), (&later, facts, "form")] {
        let database = redb::Database::create(path).expect("creates");
        let transaction = database.begin_write().expect("begins");
        transaction
            .open_table(table)
            .and_then(|mut table| Ok(table.insert(key, 1_000).map(|_| ())?))
            .expect("writes");
        transaction.commit().expect("commits");
    }
    let told = |path: &Path| Store::open(path).expect_err("refused").0;
    assert!(told(&foreign).contains("another program"), "{}", told(&foreign));
    assert!(told(&later).contains("later version"), "{}", told(&later));
}

#[test]
fn damage_anywhere_is_an_error_or_harmless() {
    let place = Place::new();
    let (store, _) = Store::open(&place.file()).expect("opens");
    for n in 0..40 {
        written(store.write(put(&format!("room{n}"), 1, n)));
    }
    drop(store);
    drop(reopen(&place.file()));
    let whole = loop {
        // Closed cleanly once it opens again.
        if Store::open(&place.file()).is_ok() {
            break std::fs::read(place.file()).expect("reads");
        }
    };
    let hurt = place.0.join("hurt.redb");
    for n in 0..24_usize {
        let mut bytes = whole.clone();
        let from = bytes.len() * n / 24;
        let to = (from + 512).min(bytes.len());
        bytes[from..to].fill(0xa5);
        std::fs::write(&hurt, &bytes).expect("writes");
        if let Err(Error(told)) = Store::open(&hurt) {
            assert!(told.starts_with(&hurt.display().to_string()), "{told}");
        }
        bytes.truncate(from);
        std::fs::write(&hurt, &bytes).expect("writes");
        if let Err(Error(told)) = Store::open(&hurt) {
            assert!(told.starts_with(&hurt.display().to_string()), "{told}");
        }
    }
}

#[test]
fn records_nobody_can_read_are_set_aside() {
    let place = Place::new();
    let (store, _) = Store::open(&place.file()).expect("opens");
    written(store.write(put("demo", 5, 1)));
    written(store.write(put("unloved", 6, 1)));
    let why = "its host is nobody".to_owned();
    written(store.write(change("unloved", RecordChange::SetAside { why })));
    drop(store);
    drop(reopen(&place.file()));
    let rooms: redb::TableDefinition<&str, &[u8]> = redb::TableDefinition::new("rooms");
    let aside: redb::TableDefinition<(&str, u64), &[u8]> = redb::TableDefinition::new("rooms_set_aside");
    let direct = || {
        (0..500)
            .find_map(|_| {
                std::thread::sleep(std::time::Duration::from_millis(10));
                redb::Database::create(place.file()).ok()
            })
            .expect("opens")
    };
    let database = direct();
    let transaction = database.begin_write().expect("begins");
    {
        let mut table = transaction.open_table(rooms).expect("opens");
        table.insert("broken", b"{\"form\":1".as_slice()).expect("writes");
        let later = json!({"form": 1_000_000, "id": "later", "new": true}).to_string();
        table.insert("later", later.as_bytes()).expect("writes");
    }
    transaction.commit().expect("commits");
    drop(database);
    let (store, loaded) = reopen(&place.file());
    assert_eq!(loaded.rooms, [record("demo", 5, 1)]);
    let set_aside: Vec<&str> = loaded.set_aside.iter().map(|(room, _)| room.as_str()).collect();
    assert_eq!(set_aside, ["broken", "later"]);
    assert!(loaded.set_aside[1].1.contains("later version"));
    drop(store);
    let (store, loaded) = reopen(&place.file());
    assert_eq!(loaded.set_aside, []);
    drop(store);
    let database = direct();
    let transaction = database.begin_write().expect("begins");
    let kept = transaction.open_table(aside).expect("opens");
    let kept: Vec<String> = redb::ReadableTable::iter(&kept)
        .expect("reads")
        .map(|row| row.expect("reads").0.value().0.to_owned())
        .collect();
    assert_eq!(kept, ["broken", "later", "unloved"]);
}

#[test]
fn a_full_disk_is_told_and_got_over() {
    let failing = Failing {
        disk: Arc::new(InMemoryBackend::new()),
        full: Arc::new(AtomicBool::new(false)),
    };
    let (store, _) = writer::start(database::Medium::Failing(failing.clone())).expect("opens");
    written(store.write(put("demo", 5, 1)));
    failing.full.store(true, Ordering::Relaxed);
    for version in 2..5 {
        let refused = store.write(put("demo", 5, version)).blocking_recv().expect("an answer");
        let Error(told) = refused.expect_err("the disk is full");
        assert!(
            told.contains("no storage space") && told.contains("failing store"),
            "{told}"
        );
    }
    failing.full.store(false, Ordering::Relaxed);
    written(store.write(put("show", 6, 1)));
    drop(store);
    let (_store, loaded) = writer::start(database::Medium::Failing(failing)).expect("opens");
    assert_eq!(loaded.rooms, [record("demo", 5, 1), record("show", 6, 1)]);
}

#[test]
fn messages_wait_in_order_until_they_are_sent() {
    let place = Place::new();
    let (store, _) = Store::open(&place.file()).expect("opens");
    let own = json!({"url": "https://a.example"});
    let messages = vec![message(2, true, true), message(3, true, false), message(10, true, true)];
    written(store.write(Change {
        messages,
        webhook: own.clone(),
        ..put("demo", 7, 1)
    }));
    let (node, own_queue) = (queue(Receiver::Node, "demo"), queue(Receiver::Room, "demo"));
    let seqs = |store: &Store, queue: &Queue, after| -> Vec<u64> {
        let waiting = written(store.waiting(queue, after, 10));
        waiting.iter().map(|one| one.seq).collect()
    };
    assert_eq!(seqs(&store, &node, None), [2, 3, 10]);
    assert_eq!(seqs(&store, &node, Some((7, 2))), [3, 10]);
    assert_eq!(seqs(&store, &own_queue, None), [2, 10]);
    written(store.sent(&node, (7, 2)));
    // The room ends, and what it has to say is said nevertheless.
    let changed = json!({"url": "https://b.example"});
    written(store.write(Change {
        webhook: changed.clone(),
        ..change("demo", RecordChange::Remove)
    }));
    drop(store);
    let (store, loaded) = reopen(&place.file());
    assert_eq!(
        loaded.queues,
        [(node.clone(), Value::Null), (own_queue.clone(), changed)]
    );
    assert_eq!(seqs(&store, &node, None), [3, 10]);
    // Taken away: nobody is there to send it to.
    written(store.write(change("demo", RecordChange::Keep)));
    assert_eq!(seqs(&store, &own_queue, None), [] as [u64; 0]);
    written(store.sent(&node, (7, 3)));
    written(store.sent(&node, (7, 10)));
    drop(store);
    assert_eq!(reopen(&place.file()).1.queues, []);
}

#[test]
fn what_nobody_took_can_be_looked_at_and_sent_again() {
    let store = Store::in_memory().expect("opens");
    let own = json!({"url": "https://a.example", "secret": "whsec_x"});
    written(store.write(Change {
        messages: (2..6).map(|seq| message(seq, false, true)).collect(),
        webhook: own.clone(),
        ..put("demo", 7, 1)
    }));
    let queue = queue(Receiver::Room, "demo");
    assert_eq!(written(store.bury(&queue, 3_000, 9_000, "nobody answers")), 2);
    assert_eq!(written(store.waiting(&queue, None, 10)).len(), 2);
    let dead = written(store.dead(None, None, 10));
    assert_eq!(
        dead.iter().map(|(n, letter)| (*n, letter.seq)).collect::<Vec<_>>(),
        [(1, 2), (2, 3)]
    );
    assert_eq!(
        (dead[0].1.why.as_str(), dead[0].1.dead_at_ms),
        ("nobody answers", 9_000)
    );
    assert_eq!(written(store.dead(Some(room("other")), None, 10)), []);
    assert_eq!(written(store.dead(None, Some(1), 10)).len(), 1);
    assert_eq!(written(store.bury(&queue, u64::MAX, 9_000, "gone")), 2);
    // The setting it went to comes back with it.
    assert_eq!(written(store.revive(1, Some(room("other")), 9_500)), None);
    assert_eq!(written(store.revive(1, None, 9_500)), Some((queue.clone(), own)));
    let waiting = written(store.waiting(&queue, None, 10));
    assert_eq!((waiting.len(), waiting[0].seq, waiting[0].at_ms), (1, 2, 9_500));
    assert_eq!(written(store.revive(1, None, 9_500)), None);
    assert_eq!(written(store.discard(2, None)), 1);
    assert_eq!(written(store.discard(2, None)), 0);
    assert_eq!(written(store.dead(None, None, 10)).len(), 2);
}

#[test]
fn answers_are_remembered_until_forgotten() {
    let place = Place::new();
    let (store, _) = Store::open(&place.file()).expect("opens");
    written(store.remember("a".into(), b"1".to_vec(), Vec::new()));
    written(store.remember("b".into(), b"2".to_vec(), vec!["a".into()]));
    written(store.remember("c".into(), b"3".to_vec(), Vec::new()));
    written(store.forget(vec!["c".into(), "never".into()]));
    drop(store);
    assert_eq!(reopen(&place.file()).1.answers, [("b".to_owned(), b"2".to_vec())]);
}
