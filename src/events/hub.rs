//! One room's log behind one lock, shared by the room's actor, which writes, and the tasks of the streams, which read. Held
//! for well under a microsecond per event and reader, never across an await, never met by a packet. Shell.
//!
//! Decided here:
//! - A stream that a newer one replaces closes at once: the newer one says where it goes on. One that the room closes
//!   delivers what was published before.
//! - A stream that the room has closed is not lost: the room knows.

use super::log::{CloseReason, Key, Log, Next, Reader};
use crate::room::{Moment, Notice, UserId};
use crate::wire::event::Rendered;
use bytes::Bytes;
use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use tokio::sync::Notify;

/// The room's end and the streams' end of one room's events.
#[derive(Debug)]
pub struct Hub {
    /// Shared, since a channel per stream would be a queue per stream.
    shared: Mutex<Shared>,
    /// Shared, so that a crowd's message is rendered once; a lock of its own, so that nobody who publishes waits for it.
    rendered: Mutex<Rendered>,
    lost: Notify,
}

#[derive(Debug)]
struct Shared {
    log: Log,
    /// Of the streams that wait.
    wakers: HashMap<Key, Waker>,
}

/// A user whose last stream is gone without a newer one. `left`: never; that is a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost(pub UserId);

/// One open stream. Dropping it is losing it.
#[derive(Debug)]
pub struct Stream {
    hub: Arc<Hub>,
    key: Key,
}

impl Default for Hub {
    /// Of a new room, which is at 1.
    fn default() -> Self {
        Hub::new(1)
    }
}

impl Hub {
    /// Of a room whose last event, if any, was `seq`: what it publishes comes after.
    pub fn new(seq: u64) -> Self {
        let shared = Shared {
            log: Log::new(seq),
            wakers: HashMap::new(),
        };
        Hub {
            shared: Mutex::new(shared),
            rendered: Mutex::default(),
            lost: Notify::new(),
        }
    }

    /// By the actor, in order of `seq`, once what they say is in force and stored.
    pub fn publish(&self, notices: Vec<Notice>) {
        self.waking(|log, woken| {
            for notice in notices {
                log.publish(notice, woken);
            }
        });
    }

    /// The `seq` of the last event published: where a stream that begins with a snapshot taken now goes on.
    pub fn last(&self) -> u64 {
        self.lock().log.last()
    }

    /// Opens a stream that goes on after `seq`. A user's older stream is closed as `replaced`. `None`: events after `seq`
    /// are forgotten already, or `seq` was never reached; open again from a snapshot's.
    pub fn open(self: &Arc<Self>, reader: Reader, seq: u64) -> Option<Stream> {
        let key = self.waking(|log, woken| log.open(reader, seq, woken))?;
        Some(Stream { hub: self.clone(), key })
    }

    /// Closes a user's stream; what is published already is delivered first.
    pub fn close(&self, user: &UserId, reason: CloseReason) {
        self.waking(|log, woken| log.close(user, reason, woken));
    }

    /// Closes every stream; what is published already is delivered first. Streams opened later close at once.
    pub fn close_all(&self, reason: CloseReason) {
        self.waking(|log, woken| log.close_all(reason, woken));
    }

    /// Users whose streams are gone since the last call.
    pub fn take_lost(&self) -> Vec<Lost> {
        self.lock().log.take_lost().into_iter().map(Lost).collect()
    }

    /// Returns once there may be somebody lost. Cancel-safe.
    pub async fn changed(&self) {
        while !self.lock().log.has_lost() {
            self.lost.notified().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Streams are woken after the lock is released, or they would all meet it.
    fn waking<T>(&self, change: impl FnOnce(&mut Log, &mut Vec<Key>) -> T) -> T {
        let mut woken = Vec::new();
        let mut shared = self.lock();
        let outcome = change(&mut shared.log, &mut woken);
        let waiting = woken.iter().filter_map(|key| shared.wakers.remove(key));
        let waiting: Vec<Waker> = waiting.collect();
        drop(shared);
        waiting.into_iter().for_each(Waker::wake);
        outcome
    }
}

impl Stream {
    /// Waits until there is something to do. Cancel-safe. After a `Close` it says the same again.
    pub async fn next(&mut self) -> Next {
        poll_fn(|context| self.poll_next(context)).await
    }

    /// A notice this stream was given, as the contract's message. `base`: of absolute URLs.
    pub fn message(&self, notice: &Notice, prev: u64, base: &str, moment: Moment) -> Bytes {
        let mut rendered = self.hub.rendered.lock().unwrap_or_else(PoisonError::into_inner);
        rendered.message(notice, prev, base, moment)
    }

    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Next> {
        let mut shared = self.hub.lock();
        if let Some(next) = shared.log.take(self.key) {
            return Poll::Ready(next);
        }
        let older = shared.wakers.insert(self.key, context.waker().clone());
        drop(shared);
        // Outside the lock: a waker may be the last that holds a task.
        drop(older);
        Poll::Pending
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let mut shared = self.hub.lock();
        let waker = shared.wakers.remove(&self.key);
        let lost = shared.log.remove(self.key);
        drop(shared);
        drop(waker);
        if lost {
            self.hub.lost.notify_one();
        }
    }
}
