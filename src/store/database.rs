//! The tables of the database and what is done to them, one transaction at a time. Used by the writer's thread alone.

use super::job::{Outcome, Work};
use super::{Change, DeadLetter, Error, Loaded, Queue, Queued, Receiver, RecordChange};
use crate::room::record::FORM;
use crate::room::{Record, RoomId};
use redb::backends::{FileBackend, InMemoryBackend};
use redb::{DatabaseError, Durability, ReadableTable, ReadableTableMetadata, StorageError, Table, TableDefinition};
use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::fs::OpenOptions;
use std::ops::Bound;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use tracing::{error, warn};

/// What redb keeps of the file in memory: a thousand rooms' records and their messages take a few MiB, the rest is read
/// once at the start.
const CACHE_BYTES: usize = 16 * 1024 * 1024;
/// Messages of one queue at most: an hour, after which they are given up, at three a second. What comes when it is full is
/// given up at once.
const QUEUE_MESSAGES: usize = 10_000;
/// Dead letters at most, about 20 MiB; the oldest make way.
const DEAD_LETTERS: u64 = 10_000;
/// The form of the tables. A file of a later one is not opened.
const TABLES_FORM: u64 = 1;

type Text = &'static str;
type Bytes = &'static [u8];
/// Receiver, room, epoch, seq.
type MessageKey = (u8, Text, u64, u64);
type KeyOf<'k> = (u8, &'k str, u64, u64);

/// Also tells that a database is ours.
const FACTS: TableDefinition<Text, u64> = TableDefinition::new("costage");
/// Room id → [`Record`] as JSON.
const ROOMS: TableDefinition<Text, Bytes> = TableDefinition::new("rooms");
/// Room id and when it was set aside → a record nobody can read.
const SET_ASIDE: TableDefinition<(Text, u64), Bytes> = TableDefinition::new("rooms_set_aside");
/// → when it happened, and the body.
const MESSAGES: TableDefinition<MessageKey, (u64, Text)> = TableDefinition::new("messages");
/// Room id → its own webhook setting as JSON, while there are messages for it.
const WEBHOOKS: TableDefinition<Text, Bytes> = TableDefinition::new("webhooks");
/// Number → [`DeadLetter`] as JSON.
const DEAD: TableDefinition<u64, Bytes> = TableDefinition::new("dead_letters");
const ANSWERS: TableDefinition<Text, Bytes> = TableDefinition::new("answers");

const FORM_FACT: &str = "form";
const LAST_EPOCH: &str = "last_epoch";
const NEXT_DEAD: &str = "next_dead_letter";

/// Where a database is.
#[derive(Clone, Debug)]
pub(super) enum Medium {
    File(PathBuf),
    Memory,
    #[cfg(test)]
    Failing(super::tests::Failing),
}

impl fmt::Display for Medium {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Medium::File(path) => path.display().fmt(f),
            Medium::Memory => f.write_str("the store in memory"),
            #[cfg(test)]
            Medium::Failing(_) => f.write_str("the failing store"),
        }
    }
}

impl Medium {
    /// The sentence for a person: where, what, and what it means.
    pub fn failed(&self, doing: &str, error: &redb::Error) -> Error {
        let why = match error {
            redb::Error::DatabaseAlreadyOpen | redb::Error::LockProtocolMismatch => {
                "another process uses it; a store belongs to one node".to_owned()
            }
            // How redb calls a file that does not begin as its files do.
            redb::Error::Io(error) if error.kind() == std::io::ErrorKind::InvalidData => {
                "it is not a database of costage; store.path names a file that nothing else uses".to_owned()
            }
            redb::Error::Corrupted(what) => format!("the database is damaged: {what}"),
            redb::Error::Io(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                "the database is damaged: it is cut short".to_owned()
            }
            redb::Error::Io(error) => error.to_string(),
            redb::Error::UpgradeRequired(_) => "it is of a form too old to be read".to_owned(),
            redb::Error::TableTypeMismatch { .. } | redb::Error::TypeDefinitionChanged { .. } => {
                "it is not a database of costage, or one of another version".to_owned()
            }
            other => other.to_string(),
        };
        Error(format!("{self}: {doing}: {why}"))
    }

    fn open(&self) -> Result<redb::Database, DatabaseError> {
        let mut builder = redb::Database::builder();
        // A damaged file is told at the start, not met later.
        builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true);
        match self {
            Medium::Memory => builder.create_with_backend(InMemoryBackend::new()),
            Medium::File(path) => {
                let mut options = OpenOptions::new();
                options.read(true).write(true).create(true).truncate(false).mode(0o600);
                let file = options.open(path).map_err(StorageError::Io)?;
                if !file.metadata().map_err(StorageError::Io)?.is_file() {
                    let error = std::io::Error::other("it is not an ordinary file");
                    return Err(StorageError::Io(error).into());
                }
                builder.create_with_backend(FileBackend::new(file)?)
            }
            #[cfg(test)]
            Medium::Failing(failing) => builder.create_with_backend(failing.clone()),
        }
    }
}

/// An open database.
pub(super) struct Database {
    database: redb::Database,
    /// Messages by queue.
    queued: HashMap<Queue, usize>,
}

impl Database {
    pub fn open(medium: &Medium) -> Result<(Database, Loaded), Error> {
        let failed = |error: redb::Error| medium.failed("opening", &error);
        let database = medium.open().map_err(|error| failed(error.into()))?;
        check_owner(&database)
            .map_err(failed)?
            .map_err(|why| Error(format!("{medium}: {why}")))?;
        let mut opened = Database {
            database,
            queued: HashMap::new(),
        };
        let loaded = opened.transact(load).map_err(failed)?;
        opened.queued = opened.transact(count).map_err(failed)?;
        for (room, why) in &loaded.set_aside {
            error!(store = %medium, room, why, "a room's record is set aside: the room does not come back");
        }
        Ok((opened, loaded))
    }

    /// All of it, durably, or nothing.
    pub fn perform<'w>(&mut self, works: impl Iterator<Item = &'w Work>) -> Result<Vec<Outcome>, redb::Error> {
        let mut queued = std::mem::take(&mut self.queued);
        let outcomes = self.transact(|tables| works.map(|work| tables.perform(work, &mut queued)).collect());
        self.queued = queued;
        outcomes
    }

    fn transact<T>(&self, work: impl FnOnce(&mut Tables) -> Result<T, redb::Error>) -> Result<T, redb::Error> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        let done = {
            let mut tables = Tables {
                facts: transaction.open_table(FACTS)?,
                rooms: transaction.open_table(ROOMS)?,
                set_aside: transaction.open_table(SET_ASIDE)?,
                messages: transaction.open_table(MESSAGES)?,
                webhooks: transaction.open_table(WEBHOOKS)?,
                dead: transaction.open_table(DEAD)?,
                answers: transaction.open_table(ANSWERS)?,
            };
            work(&mut tables)?
        };
        transaction.commit()?;
        Ok(done)
    }
}

/// Whether an opened database is ours to use; `Err` inside: why not.
fn check_owner(database: &redb::Database) -> Result<Result<(), String>, redb::Error> {
    let transaction = database.begin_write()?;
    let names: Vec<String> = transaction
        .list_tables()?
        .map(|table| redb::TableHandle::name(&table).to_owned())
        .collect();
    if !names.is_empty() && !names.iter().any(|name| name == redb::TableHandle::name(&FACTS)) {
        return Ok(Err("it is a database of another program".to_owned()));
    }
    {
        let mut facts = transaction.open_table(FACTS)?;
        let form = facts.get(FORM_FACT)?.map(|form| form.value());
        match form {
            Some(form) if form > TABLES_FORM => {
                return Ok(Err(format!(
                    "it was written by a later version of costage (form {form}, this one knows {TABLES_FORM})"
                )));
            }
            Some(_) => {}
            None => {
                facts.insert(FORM_FACT, TABLES_FORM)?;
            }
        }
    }
    transaction.commit()?;
    Ok(Ok(()))
}

struct Tables<'t> {
    facts: Table<'t, Text, u64>,
    rooms: Table<'t, Text, Bytes>,
    set_aside: Table<'t, (Text, u64), Bytes>,
    messages: Table<'t, MessageKey, (u64, Text)>,
    webhooks: Table<'t, Text, Bytes>,
    dead: Table<'t, u64, Bytes>,
    answers: Table<'t, Text, Bytes>,
}

fn load(tables: &mut Tables) -> Result<Loaded, redb::Error> {
    let mut loaded = Loaded {
        last_epoch: tables.facts.get(LAST_EPOCH)?.map_or(0, |epoch| epoch.value()),
        ..Loaded::default()
    };
    for row in tables.rooms.iter()? {
        let (id, bytes) = row?;
        match parse_record(id.value(), bytes.value()) {
            Ok(record) => loaded.rooms.push(record),
            Err(why) => loaded.set_aside.push((id.value().to_owned(), why)),
        }
    }
    for (room, _) in &loaded.set_aside {
        tables.put_aside(room)?;
    }
    for row in tables.answers.iter()? {
        let (key, value) = row?;
        loaded.answers.push((key.value().to_owned(), value.value().to_vec()));
    }
    let mut queues: BTreeMap<Queue, Value> = BTreeMap::new();
    for queue in tables.queues()? {
        let setting = match queue.receiver {
            Receiver::Node => Value::Null,
            Receiver::Room => tables.setting(&queue)?,
        };
        queues.insert(queue, setting);
    }
    loaded.queues = queues.into_iter().collect();
    Ok(loaded)
}

/// Messages by queue.
fn count(tables: &mut Tables) -> Result<HashMap<Queue, usize>, redb::Error> {
    let mut queued = HashMap::new();
    for row in tables.messages.iter()? {
        let (key, _) = row?;
        if let Some(queue) = queue_of(key.value()) {
            *queued.entry(queue).or_default() += 1;
        }
    }
    Ok(queued)
}

fn parse_record(id: &str, bytes: &[u8]) -> Result<Record, String> {
    #[derive(Deserialize)]
    struct Form {
        form: u32,
    }
    let Form { form } = serde_json::from_slice(bytes).map_err(|error| format!("it is not a record: {error}"))?;
    if form > FORM {
        return Err(format!(
            "it was written by a later version (form {form}, this one knows {FORM})"
        ));
    }
    let record: Record = serde_json::from_slice(bytes).map_err(|error| format!("it is not a record: {error}"))?;
    if record.id != id || RoomId::parse(id).is_err() {
        return Err(format!("it is the record of {:?}", record.id));
    }
    Ok(record)
}

fn receiver_number(receiver: Receiver) -> u8 {
    match receiver {
        Receiver::Node => 0,
        Receiver::Room => 1,
    }
}

fn queue_of((receiver, room, ..): KeyOf) -> Option<Queue> {
    let receiver = if receiver == 0 { Receiver::Node } else { Receiver::Room };
    let room = RoomId::parse(room).ok()?;
    Some(Queue { receiver, room })
}

/// The keys of a queue behind a position.
fn range(queue: &Queue, after: Option<(u64, u64)>) -> (Bound<KeyOf<'_>>, Bound<KeyOf<'_>>) {
    let (receiver, room) = (receiver_number(queue.receiver), queue.room.as_str());
    let from = match after {
        Some((epoch, seq)) => Bound::Excluded((receiver, room, epoch, seq)),
        None => Bound::Included((receiver, room, 0, 0)),
    };
    (from, Bound::Included((receiver, room, u64::MAX, u64::MAX)))
}

fn json(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("records, letters and settings have string keys only")
}

impl Tables<'_> {
    fn perform(&mut self, work: &Work, queued: &mut HashMap<Queue, usize>) -> Result<Outcome, redb::Error> {
        match work {
            Work::Change(change) => self.change(change, queued).map(|()| Outcome::Done),
            Work::Answers { put, forget } => {
                for key in forget {
                    self.answers.remove(key.as_str())?;
                }
                if let Some((key, value)) = put {
                    self.answers.insert(key.as_str(), value.as_slice())?;
                }
                Ok(Outcome::Done)
            }
            Work::Sent { queue, position } => {
                self.remove(queue, &[*position], queued)?;
                Ok(Outcome::Done)
            }
            Work::Bury {
                queue,
                until_ms,
                now_ms,
                why,
            } => self.bury(queue, *until_ms, *now_ms, why, queued).map(Outcome::Count),
            Work::Waiting { queue, after, limit } => self.waiting(queue, *after, *limit).map(Outcome::Queued),
            Work::Dead { room, after, limit } => self.dead(room.as_ref(), *after, *limit).map(Outcome::Dead),
            Work::Revive { number, room, now_ms } => self
                .revive(*number, room.as_ref(), *now_ms, queued)
                .map(Outcome::Revived),
            Work::Discard { number, room } => {
                let found = self.letter(*number, room.as_ref())?.is_some();
                if found {
                    self.dead.remove(number)?;
                }
                Ok(Outcome::Count(usize::from(found)))
            }
        }
    }

    fn change(&mut self, change: &Change, queued: &mut HashMap<Queue, usize>) -> Result<(), redb::Error> {
        let room = change.room.as_str();
        match &change.record {
            RecordChange::Keep => {}
            RecordChange::Put(record) => {
                self.rooms.insert(room, json(record).as_slice())?;
                let last = self.facts.get(LAST_EPOCH)?.map_or(0, |epoch| epoch.value());
                if record.epoch > last {
                    self.facts.insert(LAST_EPOCH, record.epoch)?;
                }
            }
            RecordChange::Remove => {
                self.rooms.remove(room)?;
            }
            RecordChange::SetAside { why } => {
                error!(room, why, "a room's record is set aside: the room does not come back");
                self.put_aside(room)?;
            }
        }
        self.follow_setting(change, queued)?;
        for message in &change.messages {
            for (receiver, wanted) in [(Receiver::Node, message.to.node), (Receiver::Room, message.to.room)] {
                if !wanted {
                    continue;
                }
                let queue = Queue {
                    receiver,
                    room: change.room.clone(),
                };
                let waiting = queued.entry(queue.clone()).or_default();
                if *waiting >= QUEUE_MESSAGES {
                    let queued = Queued {
                        epoch: message.epoch,
                        seq: message.seq,
                        at_ms: message.at_ms,
                        body: message.body.clone(),
                    };
                    let why = format!("{QUEUE_MESSAGES} messages wait for this receiver already");
                    self.give_up(&queue, &queued, &change.webhook, message.at_ms, &why)?;
                    continue;
                }
                let key = (receiver_number(receiver), room, message.epoch, message.seq);
                if self.messages.insert(key, (message.at_ms, &*message.body))?.is_none() {
                    *waiting += 1;
                }
            }
        }
        Ok(())
    }

    /// Keeps the room's setting beside its messages: they may outlive its record.
    fn follow_setting(&mut self, change: &Change, queued: &mut HashMap<Queue, usize>) -> Result<(), redb::Error> {
        let queue = Queue {
            receiver: Receiver::Room,
            room: change.room.clone(),
        };
        let waits = queued.get(&queue).is_some_and(|count| *count > 0);
        let comes = change.messages.iter().any(|message| message.to.room);
        if change.webhook.is_null() {
            if waits {
                let keys = self.positions(&queue)?;
                self.remove(&queue, &keys, queued)?;
            }
        } else if waits || comes {
            let setting = json(&change.webhook);
            let same = self
                .webhooks
                .get(change.room.as_str())?
                .is_some_and(|kept| kept.value() == setting.as_slice());
            if !same {
                self.webhooks.insert(change.room.as_str(), setting.as_slice())?;
            }
        }
        Ok(())
    }

    fn put_aside(&mut self, room: &str) -> Result<(), redb::Error> {
        let Some(record) = self.rooms.remove(room)?.map(|record| record.value().to_vec()) else {
            return Ok(());
        };
        // Beside those that were set aside before.
        let before = self.set_aside.range((room, 0)..=(room, u64::MAX))?.next_back();
        let number = before.transpose()?.map_or(0, |(key, _)| key.value().1 + 1);
        self.set_aside.insert((room, number), record.as_slice())?;
        Ok(())
    }

    /// Which queues have messages.
    fn queues(&self) -> Result<Vec<Queue>, redb::Error> {
        let mut queues: Vec<Queue> = Vec::new();
        for row in self.messages.iter()? {
            let (key, _) = row?;
            let (receiver, room, ..) = key.value();
            let same = |last: &Queue| receiver_number(last.receiver) == receiver && last.room.as_str() == room;
            if !queues.last().is_some_and(same) {
                queues.extend(queue_of(key.value()));
            }
        }
        Ok(queues)
    }

    fn setting(&self, queue: &Queue) -> Result<Value, redb::Error> {
        let setting = self.webhooks.get(queue.room.as_str())?;
        Ok(setting
            .and_then(|setting| serde_json::from_slice(setting.value()).ok())
            .unwrap_or(Value::Null))
    }

    fn positions(&self, queue: &Queue) -> Result<Vec<(u64, u64)>, redb::Error> {
        let rows = self.messages.range(range(queue, None))?;
        rows.map(|row| {
            let (_, _, epoch, seq) = row?.0.value();
            Ok((epoch, seq))
        })
        .collect()
    }

    fn waiting(&self, queue: &Queue, after: Option<(u64, u64)>, limit: usize) -> Result<Vec<Queued>, redb::Error> {
        let rows = self.messages.range(range(queue, after))?;
        rows.take(limit)
            .map(|row| {
                let (key, value) = row?;
                let ((_, _, epoch, seq), (at_ms, body)) = (key.value(), value.value());
                Ok(Queued {
                    epoch,
                    seq,
                    at_ms,
                    body: body.into(),
                })
            })
            .collect()
    }

    fn remove(
        &mut self,
        queue: &Queue,
        positions: &[(u64, u64)],
        queued: &mut HashMap<Queue, usize>,
    ) -> Result<(), redb::Error> {
        let (receiver, room) = (receiver_number(queue.receiver), queue.room.as_str());
        for (epoch, seq) in positions {
            if self.messages.remove((receiver, room, *epoch, *seq))?.is_none() {
                continue;
            }
            if let Some(count) = queued.get_mut(queue) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    queued.remove(queue);
                }
            }
        }
        if queue.receiver == Receiver::Room && !queued.contains_key(queue) {
            self.webhooks.remove(room)?;
        }
        Ok(())
    }

    fn bury(
        &mut self,
        queue: &Queue,
        until_ms: u64,
        now_ms: u64,
        why: &str,
        queued: &mut HashMap<Queue, usize>,
    ) -> Result<usize, redb::Error> {
        let webhook = match queue.receiver {
            Receiver::Node => Value::Null,
            Receiver::Room => self.setting(queue)?,
        };
        let waiting = self.waiting(queue, None, QUEUE_MESSAGES)?;
        let given_up: Vec<Queued> = waiting.into_iter().take_while(|one| one.at_ms <= until_ms).collect();
        for message in &given_up {
            self.give_up(queue, message, &webhook, now_ms, why)?;
        }
        let positions: Vec<(u64, u64)> = given_up.iter().map(Queued::position).collect();
        self.remove(queue, &positions, queued)?;
        Ok(given_up.len())
    }

    fn give_up(
        &mut self,
        queue: &Queue,
        message: &Queued,
        webhook: &Value,
        now_ms: u64,
        why: &str,
    ) -> Result<(), redb::Error> {
        while self.dead.len()? >= DEAD_LETTERS {
            if let Some((number, _)) = self.dead.pop_first()? {
                warn!(number = number.value(), "the oldest dead letter is forgotten");
            }
        }
        let letter = DeadLetter {
            receiver: queue.receiver,
            room: queue.room.as_str().to_owned(),
            epoch: message.epoch,
            seq: message.seq,
            at_ms: message.at_ms,
            dead_at_ms: now_ms,
            why: why.to_owned(),
            webhook: match queue.receiver {
                Receiver::Node => Value::Null,
                Receiver::Room => webhook.clone(),
            },
            body: message.body.to_string(),
        };
        let number = self.facts.get(NEXT_DEAD)?.map_or(1, |next| next.value());
        self.facts.insert(NEXT_DEAD, number + 1)?;
        self.dead.insert(number, json(&letter).as_slice())?;
        Ok(())
    }

    fn dead(
        &self,
        room: Option<&RoomId>,
        after: Option<u64>,
        limit: usize,
    ) -> Result<Vec<(u64, DeadLetter)>, redb::Error> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut letters = Vec::new();
        for row in self.dead.range((from, Bound::Unbounded))? {
            if letters.len() >= limit {
                break;
            }
            let (number, bytes) = row?;
            if let Ok(letter) = serde_json::from_slice::<DeadLetter>(bytes.value())
                && room.is_none_or(|room| room.as_str() == letter.room)
            {
                letters.push((number.value(), letter));
            }
        }
        Ok(letters)
    }

    fn letter(&self, number: u64, room: Option<&RoomId>) -> Result<Option<DeadLetter>, redb::Error> {
        let letter = self.dead.get(number)?;
        let letter = letter.and_then(|bytes| serde_json::from_slice::<DeadLetter>(bytes.value()).ok());
        Ok(letter.filter(|letter| room.is_none_or(|room| room.as_str() == letter.room)))
    }

    fn revive(
        &mut self,
        number: u64,
        room: Option<&RoomId>,
        now_ms: u64,
        queued: &mut HashMap<Queue, usize>,
    ) -> Result<Option<(Queue, Value)>, redb::Error> {
        let Some(letter) = self.letter(number, room)? else {
            return Ok(None);
        };
        let Ok(room) = RoomId::parse(&letter.room) else {
            return Ok(None);
        };
        self.dead.remove(number)?;
        let queue = Queue {
            receiver: letter.receiver,
            room,
        };
        // What the room says today, if anything still waits for it, wins over what it said then.
        let mut setting = Value::Null;
        if queue.receiver == Receiver::Room {
            setting = self.setting(&queue)?;
            if setting.is_null() {
                setting = letter.webhook;
                self.webhooks.insert(queue.room.as_str(), json(&setting).as_slice())?;
            }
        }
        let key = (
            receiver_number(queue.receiver),
            queue.room.as_str(),
            letter.epoch,
            letter.seq,
        );
        if self.messages.insert(key, (now_ms, letter.body.as_str()))?.is_none() {
            *queued.entry(queue.clone()).or_default() += 1;
        }
        Ok(Some((queue, setting)))
    }
}
