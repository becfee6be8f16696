//! What survives a restart: rooms, unsent webhooks, remembered answers. One embedded database (redb), one thread that
//! writes whatever came in together in one durable transaction; nobody else touches the file, and nobody but those who
//! asked waits for it. Shell.
//!
//! In: [`Change`]s of rooms, remembered answers, what became of webhook messages. Out: [`Loaded`] at the start, then a
//! word to each writer once it is on the disk. Times are the wall clock's, in milliseconds since 1970.
//!
//! Decided here:
//! - A file that is damaged, of another program, of a later version or in use is not started with; one room's record that
//!   can't be read is set aside within the file, told in the log, and the rest goes on.
//! - When a write fails (a full disk), those who asked are told, the file is opened anew, and what comes next is tried
//!   again: a disk with space again needs no restart.
//! - The file is readable by its owner only: it holds webhook secrets.

mod database;
mod job;
mod writer;

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;

#[cfg(test)]
pub use fake::FakeStore;

use crate::room::{Record, RoomId};
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

use job::{Job, Reply, Work};

/// What waits for the writer at most. Each room waits for its own write and each keyed call for its own, so it takes this
/// many of them at once; beyond it a write is refused, since a disk that is so far behind helps nobody by queueing more.
const JOBS_WAITING: usize = 16_384;

/// Cheap to clone; the last one to go closes the database.
#[derive(Clone, Debug)]
pub struct Store {
    jobs: mpsc::Sender<Job>,
}

/// What was found at the start.
#[derive(Debug, Default)]
pub struct Loaded {
    /// In order of id.
    pub rooms: Vec<Record>,
    /// The newest epoch any room ever had, ended ones included.
    pub last_epoch: u64,
    /// `key → value` of remembered answers, as they were put.
    pub answers: Vec<(String, Vec<u8>)>,
    /// Which queues have messages, and the room's own webhook setting where they go to that.
    pub queues: Vec<(Queue, Value)>,
    /// Rooms whose records could not be read, and why. They stay in the file, out of use.
    pub set_aside: Vec<(String, String)>,
}

/// Why there is no store, or why a write is not durable: a sentence that names the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error(pub String);

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

/// One room's change: applied whole or not at all.
#[derive(Clone, Debug)]
pub struct Change {
    pub room: RoomId,
    pub record: RecordChange,
    /// Webhook messages to be sent, in order.
    pub messages: Vec<Message>,
    /// The room's own webhook setting as it is now (`null`: none), whether there are messages or not: what waits for it is
    /// sent as it says, and forgotten when it is taken away.
    pub webhook: Value,
}

#[derive(Clone, Debug)]
pub enum RecordChange {
    Keep,
    Put(Box<Record>),
    /// The room has ended.
    Remove,
    /// Nothing can be made of what was loaded; kept in the file, out of use.
    SetAside {
        why: String,
    },
}

/// An event on its way to receivers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub epoch: u64,
    pub seq: u64,
    pub at_ms: u64,
    pub to: Destinations,
    pub body: Arc<str>,
}

/// Who is due a message; see [`webhook::Sender::destinations`](crate::webhook::Sender::destinations).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Destinations {
    pub node: bool,
    pub room: bool,
}

/// One of a room's two receivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Receiver {
    /// The configuration's, which hears of every room.
    Node,
    /// The room's own.
    Room,
}

/// One room's messages to one receiver, in order.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Queue {
    pub receiver: Receiver,
    pub room: RoomId,
}

/// A message of a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queued {
    pub epoch: u64,
    pub seq: u64,
    pub at_ms: u64,
    pub body: Arc<str>,
}

impl Queued {
    /// Where it stands in its queue.
    pub fn position(&self) -> (u64, u64) {
        (self.epoch, self.seq)
    }
}

/// A message nobody took.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct DeadLetter {
    pub receiver: Receiver,
    pub room: String,
    pub epoch: u64,
    pub seq: u64,
    /// When the event happened, and when it was given up.
    pub at_ms: u64,
    pub dead_at_ms: u64,
    pub why: String,
    /// The room's setting, if it went to that.
    pub webhook: Value,
    pub body: String,
}

impl Store {
    /// Opens or creates the database file. Blocks until it is read.
    pub fn open(path: &Path) -> Result<(Store, Loaded), Error> {
        writer::start(database::Medium::File(path.to_owned()))
    }

    /// A database that ends with the process.
    pub fn in_memory() -> Result<Store, Error> {
        writer::start(database::Medium::Memory).map(|(store, _)| store)
    }

    /// As the configuration says (`store.path`; empty: in memory).
    pub fn open_configured(path: &str) -> Result<(Store, Loaded), Error> {
        if path.is_empty() {
            return Ok((Store::in_memory()?, Loaded::default()));
        }
        Store::open(Path::new(path))
    }

    /// Answered once it is durable; a caller that does not wait drops the receiver. Changes of one room are made in the
    /// order they were given.
    pub fn write(&self, change: Change) -> oneshot::Receiver<Result<(), Error>> {
        self.ask(Work::Change(Box::new(change)), Reply::Done)
    }

    /// Remembers an answer under its key, and forgets others.
    pub fn remember(&self, key: String, value: Vec<u8>, forget: Vec<String>) -> oneshot::Receiver<Result<(), Error>> {
        let put = Some((key, value));
        self.ask(Work::Answers { put, forget }, Reply::Done)
    }

    /// Forgets answers.
    pub fn forget(&self, forget: Vec<String>) -> oneshot::Receiver<Result<(), Error>> {
        self.ask(Work::Answers { put: None, forget }, Reply::Done)
    }

    /// A message was taken by its receiver.
    pub fn sent(&self, queue: &Queue, position: (u64, u64)) -> oneshot::Receiver<Result<(), Error>> {
        let queue = queue.clone();
        self.ask(Work::Sent { queue, position }, Reply::Done)
    }

    /// Gives up the messages of a queue that happened up to `until_ms`; returns how many.
    pub fn bury(
        &self,
        queue: &Queue,
        until_ms: u64,
        now_ms: u64,
        why: &str,
    ) -> oneshot::Receiver<Result<usize, Error>> {
        let work = Work::Bury {
            queue: queue.clone(),
            until_ms,
            now_ms,
            why: why.to_owned(),
        };
        self.ask(work, Reply::Count)
    }

    /// The messages of a queue behind a position, in order.
    pub fn waiting(
        &self,
        queue: &Queue,
        after: Option<(u64, u64)>,
        limit: usize,
    ) -> oneshot::Receiver<Result<Vec<Queued>, Error>> {
        let queue = queue.clone();
        self.ask(Work::Waiting { queue, after, limit }, Reply::Queued)
    }

    /// Dead letters with their numbers, oldest first; of one room or of all.
    pub fn dead(
        &self,
        room: Option<RoomId>,
        after: Option<u64>,
        limit: usize,
    ) -> oneshot::Receiver<Result<Vec<(u64, DeadLetter)>, Error>> {
        self.ask(Work::Dead { room, after, limit }, Reply::Dead)
    }

    /// Puts a dead letter back into its queue, as happened now. `None`: there is none of this number (and room). Returns the
    /// queue and the setting that it goes to.
    pub fn revive(
        &self,
        number: u64,
        room: Option<RoomId>,
        now_ms: u64,
    ) -> oneshot::Receiver<Result<Option<(Queue, Value)>, Error>> {
        self.ask(Work::Revive { number, room, now_ms }, Reply::Revived)
    }

    /// Forgets a dead letter; how many there were of this number (and room).
    pub fn discard(&self, number: u64, room: Option<RoomId>) -> oneshot::Receiver<Result<usize, Error>> {
        self.ask(Work::Discard { number, room }, Reply::Count)
    }

    fn ask<T>(
        &self,
        work: Work,
        reply: impl FnOnce(oneshot::Sender<Result<T, Error>>) -> Reply,
    ) -> oneshot::Receiver<Result<T, Error>> {
        let (done, answer) = oneshot::channel();
        let job = Job {
            work,
            reply: reply(done),
        };
        if let Err(refused) = self.jobs.try_send(job) {
            let (why, job) = match refused {
                mpsc::error::TrySendError::Full(job) => ("the store is behind: its disk is too slow", job),
                mpsc::error::TrySendError::Closed(job) => ("the store has ended", job),
            };
            job.reply.refuse(Error(why.to_owned()));
        }
        answer
    }
}
