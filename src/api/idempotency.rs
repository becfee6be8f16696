//! `Idempotency-Key`: a mutating call that is sent again is answered as the first time and done only once. A repeat that
//! arrives while the first is still at work waits for its answer.

use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How long an answer is remembered.
const KEPT_FOR: Duration = Duration::from_secs(600);
/// Bound of the remembered calls. At 10 min each it allows 16 keyed calls a second, far above what seats change; beyond
/// it the oldest is forgotten, which costs its caller the repeat's protection and nothing else.
const MAX_CALLS: usize = 10_000;
/// Bound of the remembered bodies together: a room's answer is a few KiB, so [`MAX_CALLS`] usually ends first.
const MAX_BYTES: usize = 32 * 1024 * 1024;

/// Whose call: keys of different rooms and users never meet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// The room of the path; empty for calls on no room.
    pub room: String,
    pub user: String,
    pub key: String,
}

/// The finished answer of a call.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// What to do with a call.
pub(super) enum Begin {
    /// The first of its key: do it and hand the answer to the ticket.
    Fresh(Ticket),
    /// The same call is at work: wait for its answer. When that is dropped unanswered, begin again.
    Wait(watch::Receiver<Option<Arc<Answer>>>),
    Remembered(Arc<Answer>),
    /// The key belongs to another call.
    Reused,
}

/// The right to answer a call. Dropped without an answer, the call is forgotten.
pub(super) struct Ticket {
    serial: u64,
    key: Key,
    done: watch::Sender<Option<Arc<Answer>>>,
}

struct Entry {
    /// Tells this entry from an earlier one of the same key.
    serial: u64,
    /// Method, target and body of the call.
    call: Vec<u8>,
    answer: watch::Receiver<Option<Arc<Answer>>>,
}

impl Entry {
    fn bytes(&self) -> usize {
        self.call.len() + self.answer.borrow().as_ref().map_or(0, |answer| answer.body.len())
    }
}

/// The remembered calls. Time is an argument.
#[derive(Default)]
struct Memory {
    calls: HashMap<Key, Entry>,
    /// In order of arrival, which is the order of expiry. May name calls that are gone.
    order: VecDeque<(Instant, u64, Key)>,
    bytes: usize,
    next_serial: u64,
}

impl Memory {
    fn begin(&mut self, key: Key, call: &[u8], now: Instant) -> Begin {
        self.expire(now);
        if let Some(entry) = self.calls.get(&key) {
            let closed = entry.answer.has_changed().is_err();
            let answer = entry.answer.borrow().clone();
            match answer {
                _ if entry.call != call => return Begin::Reused,
                Some(answer) => return Begin::Remembered(answer),
                None if !closed => return Begin::Wait(entry.answer.clone()),
                // Its caller is gone without an answer and about to say so.
                None => self.remove(&key),
            }
        }
        self.make_room();
        let (done, answer) = watch::channel(None);
        let serial = self.next_serial;
        self.next_serial += 1;
        self.order.push_back((now, serial, key.clone()));
        self.bytes += call.len();
        self.calls.insert(key.clone(), Entry { serial, call: call.to_vec(), answer });
        Begin::Fresh(Ticket { serial, key, done })
    }

    /// `None`: not to be remembered.
    fn finish(&mut self, ticket: &Ticket, answer: Option<Answer>) {
        let current = self.calls.get(&ticket.key).is_some_and(|entry| entry.serial == ticket.serial);
        match answer {
            Some(answer) => {
                let bytes = answer.body.len();
                ticket.done.send_replace(Some(Arc::new(answer)));
                if current {
                    self.bytes += bytes;
                    self.make_room();
                }
            }
            None if current => self.remove(&ticket.key),
            None => {}
        }
    }

    fn expire(&mut self, now: Instant) {
        while self.order.front().is_some_and(|(at, ..)| now.saturating_duration_since(*at) >= KEPT_FOR) {
            self.forget_oldest();
        }
    }

    fn make_room(&mut self) {
        while self.order.len() >= MAX_CALLS || self.bytes > MAX_BYTES {
            if !self.forget_oldest() {
                break;
            }
        }
    }

    fn forget_oldest(&mut self) -> bool {
        let Some((_, serial, key)) = self.order.pop_front() else { return false };
        if self.calls.get(&key).is_some_and(|entry| entry.serial == serial) {
            self.remove(&key);
        }
        true
    }

    fn remove(&mut self, key: &Key) {
        if let Some(entry) = self.calls.remove(key) {
            self.bytes = self.bytes.saturating_sub(entry.bytes());
        }
    }
}

/// [`Memory`] for all handlers. A mutex, since it is held for a look-up per keyed HTTP call, never across an await, and
/// no media thread knows of it.
#[derive(Default)]
pub(super) struct Store(Arc<Mutex<Memory>>);

impl Store {
    pub fn begin(&self, key: Key, call: &[u8], now: Instant) -> Begin {
        self.lock().begin(key, call, now)
    }

    /// `None`: the call may be tried again under the same key.
    pub fn finish(&self, ticket: Ticket, answer: Option<Answer>) {
        self.lock().finish(&ticket, answer);
    }

    fn lock(&self) -> MutexGuard<'_, Memory> {
        // A panic elsewhere leaves the memory whole: every change of it is a few infallible steps.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
