//! What the writer is asked, and how it answers.

use super::{Change, DeadLetter, Error, Queue, Queued};
use crate::room::RoomId;
use serde_json::Value;
use tokio::sync::oneshot;

/// One thing to do, and who waits for it.
pub(super) struct Job {
    pub work: Work,
    pub reply: Reply,
}

/// What to do, within one transaction with others.
pub(super) enum Work {
    Change(Box<Change>),
    Answers {
        put: Option<(String, Vec<u8>)>,
        forget: Vec<String>,
    },
    Sent {
        queue: Queue,
        position: (u64, u64),
    },
    Bury {
        queue: Queue,
        until_ms: u64,
        now_ms: u64,
        why: String,
    },
    Waiting {
        queue: Queue,
        after: Option<(u64, u64)>,
        limit: usize,
    },
    Dead {
        room: Option<RoomId>,
        after: Option<u64>,
        limit: usize,
    },
    Revive {
        number: u64,
        room: Option<RoomId>,
        now_ms: u64,
    },
    Discard {
        number: u64,
        room: Option<RoomId>,
    },
}

/// What came of it.
pub(super) enum Outcome {
    Done,
    Count(usize),
    Queued(Vec<Queued>),
    Dead(Vec<(u64, DeadLetter)>),
    Revived(Option<(Queue, Value)>),
}

type Answer<T> = oneshot::Sender<Result<T, Error>>;

/// Who waits for which kind of outcome. Whoever went away is not answered.
pub(super) enum Reply {
    Done(Answer<()>),
    Count(Answer<usize>),
    Queued(Answer<Vec<Queued>>),
    Dead(Answer<Vec<(u64, DeadLetter)>>),
    Revived(Answer<Option<(Queue, Value)>>),
}

impl Reply {
    pub fn answer(self, outcome: Outcome) {
        let answered = match (self, outcome) {
            (Reply::Done(reply), Outcome::Done) => reply.send(Ok(())).is_ok(),
            (Reply::Count(reply), Outcome::Count(count)) => reply.send(Ok(count)).is_ok(),
            (Reply::Queued(reply), Outcome::Queued(messages)) => reply.send(Ok(messages)).is_ok(),
            (Reply::Dead(reply), Outcome::Dead(letters)) => reply.send(Ok(letters)).is_ok(),
            (Reply::Revived(reply), Outcome::Revived(queue)) => reply.send(Ok(queue)).is_ok(),
            _ => unreachable!("each work has its outcome"),
        };
        if !answered {
            tracing::trace!("nobody waited for a write");
        }
    }

    pub fn refuse(self, error: Error) {
        let _ = match self {
            Reply::Done(reply) => reply.send(Err(error)).is_ok(),
            Reply::Count(reply) => reply.send(Err(error)).is_ok(),
            Reply::Queued(reply) => reply.send(Err(error)).is_ok(),
            Reply::Dead(reply) => reply.send(Err(error)).is_ok(),
            Reply::Revived(reply) => reply.send(Err(error)).is_ok(),
        };
    }
}
