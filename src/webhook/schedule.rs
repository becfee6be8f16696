//! What is sent when: the queues of all rooms, their windows into the store, backoff and fairness. Pure: time and chance
//! are arguments.
//!
//! In: messages that are stored (`handle_messages`), what the store had (`handle_refill`), what receivers said
//! (`handle_outcome`). Out: [`Step`]s. Time bases: the monotonic clock for waiting, the wall clock for a message's age.
//!
//! - A queue (one room, one receiver) has one message on its way at a time, so receivers see a room's events in order.
//! - A failed message is tried again after 1 s, 2 s … 5 min, each shortened by chance to as little as half, so that queues
//!   that failed together do not come back together. Whatever is an hour old when a try fails is given up, but never
//!   within an hour of the server's start: the time it was off is not the receiver's fault.
//! - `410 Gone` gives up everything that waits, and for an hour nothing is sent; the same for other rooms of that receiver
//!   is asked anew. Every other refusal is tried again: what is wrong today may be repaired within the hour.
//! - A few messages of each queue are in memory; the others stay in the store until it is their turn.
//! - One receiver's host takes up a part of the deliveries at a time, and so do those that failed before: dead receivers
//!   cost the others nothing.

use super::setting::Receiver;
use crate::room::Moment;
use crate::store::{self, Message, Queue, Queued};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Messages of one queue in memory: enough to be refilled before the receiver has taken them, at 2 KiB each.
pub(super) const WINDOW: usize = 16;
/// Messages of all queues in memory: 32 MiB at 2 KiB each. Above it a queue has one.
const HELD: usize = 16_384;
/// Deliveries at a time, each a connection and a name's look-up.
const IN_FLIGHT: usize = 256;
/// To one host of these: a backend for all rooms is not flooded, and one that hangs leaves the others their share.
const PER_HOST: usize = 32;
/// And to receivers that failed before.
const RETRIES: usize = 64;
const BACKOFF_FIRST: Duration = Duration::from_secs(1);
const BACKOFF_LONGEST: Duration = Duration::from_secs(300);
/// How old a message becomes.
const LIFETIME: Duration = Duration::from_secs(3_600);
/// When to ask a store again that could not be read.
const STORE_RETRY: Duration = Duration::from_secs(5);

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    Send(Delivery),
    /// The receiver has it: forget it.
    Sent {
        queue: Queue,
        position: (u64, u64),
    },
    /// Read on in the store.
    Refill {
        queue: Queue,
        after: Option<(u64, u64)>,
        limit: usize,
    },
    /// Give up what happened up to then.
    Bury {
        queue: Queue,
        until_ms: u64,
        why: String,
    },
}

/// One message to one receiver.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Delivery {
    pub queue: Queue,
    pub position: (u64, u64),
    pub receiver: Arc<Receiver>,
    pub body: Arc<str>,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Outcome {
    Taken,
    Gone,
    Failed { why: String, retry_after: Option<Duration> },
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    /// To be settled.
    Idle,
    /// In line for a delivery.
    Ready,
    Sending,
    Refilling,
    Waiting {
        until: Instant,
    },
    Gone {
        until: Instant,
    },
}

struct Line {
    receiver: Arc<Receiver>,
    window: VecDeque<Queued>,
    /// The newest that is or was in the window.
    last: Option<(u64, u64)>,
    /// The store has more behind it.
    more: bool,
    /// Something came, or came back, while the store was being read.
    missed: bool,
    rewind: bool,
    failures: u32,
    state: State,
}

/// All queues.
pub(super) struct Schedule {
    node: Option<Arc<Receiver>>,
    started_ms: u64,
    lines: BTreeMap<Queue, Line>,
    held: usize,
    /// Host by queue, and whether it failed before.
    in_flight: BTreeMap<Queue, (String, bool)>,
    per_host: BTreeMap<String, usize>,
    retries: usize,
    ready: VecDeque<Queue>,
    /// Ready, but their host or the retries are at their bound.
    host_full: BTreeMap<String, VecDeque<Queue>>,
    retries_full: VecDeque<Queue>,
    timers: BTreeSet<(Instant, Queue)>,
    steps: VecDeque<Step>,
}

impl Schedule {
    pub fn new(node: Option<Receiver>, started_ms: u64) -> Self {
        Schedule {
            node: node.map(Arc::new),
            started_ms,
            lines: BTreeMap::new(),
            held: 0,
            in_flight: BTreeMap::new(),
            per_host: BTreeMap::new(),
            retries: 0,
            ready: VecDeque::new(),
            host_full: BTreeMap::new(),
            retries_full: VecDeque::new(),
            timers: BTreeSet::new(),
            steps: VecDeque::new(),
        }
    }

    #[cfg(test)]
    pub fn node(&self) -> Option<&Receiver> {
        self.node.as_deref()
    }

    /// A queue that has messages in the store: found at the start, or brought back to life.
    pub fn handle_found(&mut self, queue: Queue, own: Option<Receiver>) {
        let Some(receiver) = self.receiver(&queue, own) else {
            let why = "no receiver is set any more".to_owned();
            self.steps.push_back(Step::Bury {
                queue,
                until_ms: u64::MAX,
                why,
            });
            return;
        };
        let flying = self.in_flight.contains_key(&queue);
        let line = line(&mut self.lines, &queue, receiver);
        // What is on its way stays in front; the rest is read again from the start.
        let keep = usize::from(flying && !line.window.is_empty());
        self.held -= line.window.len() - keep;
        line.window.truncate(keep);
        (line.last, line.more) = (None, true);
        match line.state {
            State::Refilling => line.rewind = true,
            State::Sending | State::Ready => {}
            State::Idle | State::Waiting { .. } | State::Gone { .. } => {
                self.unset_timer(&queue);
                self.settle(&queue);
            }
        }
    }

    /// Messages of a room that are stored, in order. `own`: the room's own receiver as it is now; without messages: only
    /// that.
    pub fn handle_messages(&mut self, room: &crate::room::RoomId, own: Option<Receiver>, messages: &[Message]) {
        for kind in [store::Receiver::Node, store::Receiver::Room] {
            let queue = Queue {
                receiver: kind,
                room: room.clone(),
            };
            let due = messages.iter().filter(|message| match kind {
                store::Receiver::Node => message.to.node,
                store::Receiver::Room => message.to.room,
            });
            let due: Vec<Queued> = due
                .map(|message| Queued {
                    epoch: message.epoch,
                    seq: message.seq,
                    at_ms: message.at_ms,
                    body: message.body.clone(),
                })
                .collect();
            match self.receiver(&queue, own.clone()) {
                Some(receiver) => self.handle_queue(queue, receiver, due),
                None => self.remove(&queue),
            }
        }
    }

    fn handle_queue(&mut self, queue: Queue, receiver: Arc<Receiver>, due: Vec<Queued>) {
        if due.is_empty() && !self.lines.contains_key(&queue) {
            return;
        }
        let line = line(&mut self.lines, &queue, receiver.clone());
        let changed = line.receiver != receiver;
        if changed {
            (line.receiver, line.failures) = (receiver, 0);
        }
        if let State::Gone { .. } = line.state
            && !changed
        {
            if !due.is_empty() {
                self.bury(queue, u64::MAX, "the receiver said 410 Gone".to_owned());
            }
            return;
        }
        for message in due {
            if line.last.is_some_and(|last| message.position() <= last) {
                continue;
            }
            if line.more || line.window.len() >= WINDOW || self.held >= HELD {
                line.more = true;
                line.missed |= line.state == State::Refilling;
                continue;
            }
            line.last = Some(message.position());
            line.window.push_back(message);
            self.held += 1;
        }
        let settle = match line.state {
            State::Idle => true,
            // In line again: it may stand in that of the host before.
            State::Waiting { .. } | State::Gone { .. } | State::Ready => changed,
            State::Sending | State::Refilling => false,
        };
        if settle {
            self.unset_timer(&queue);
            self.settle(&queue);
        }
    }

    /// What the store had, of at most `limit`; `None`: it could not be read.
    pub fn handle_refill(&mut self, queue: &Queue, messages: Option<Vec<Queued>>, limit: usize, now: Instant) {
        let Some(line) = self.lines.get_mut(queue).filter(|line| line.state == State::Refilling) else {
            return;
        };
        let Some(messages) = messages else {
            self.wait(queue, now + STORE_RETRY);
            return;
        };
        line.state = State::Idle;
        if std::mem::take(&mut line.rewind) {
            (line.last, line.more) = (None, true);
        } else {
            line.more = std::mem::take(&mut line.missed) || messages.len() >= limit;
            for message in messages {
                line.last = Some(message.position());
                line.window.push_back(message);
                self.held += 1;
            }
        }
        self.settle(queue);
    }

    /// `chance`: 0..=1, anew each time.
    pub fn handle_outcome(&mut self, delivery: &Delivery, outcome: Outcome, moment: Moment, chance: f64) {
        let queue = &delivery.queue;
        self.land(queue);
        if outcome == Outcome::Taken {
            self.steps.push_back(Step::Sent {
                queue: queue.clone(),
                position: delivery.position,
            });
        }
        let Some(line) = self.lines.get_mut(queue) else {
            return;
        };
        line.state = State::Idle;
        let current = line.window.front().map(Queued::position) == Some(delivery.position);
        if !current || line.receiver != delivery.receiver && outcome != Outcome::Taken {
            // Of a receiver that is not the room's any more.
            self.settle(queue);
            return;
        }
        match outcome {
            Outcome::Taken => {
                line.failures = 0;
                line.window.pop_front();
                self.held -= 1;
                self.settle(queue);
            }
            Outcome::Gone => {
                self.bury(queue.clone(), u64::MAX, "the receiver said 410 Gone".to_owned());
                let until = moment.now + LIFETIME;
                if let Some(line) = self.lines.get_mut(queue) {
                    line.state = State::Gone { until };
                    self.timers.insert((until, queue.clone()));
                }
            }
            Outcome::Failed { why, retry_after } => {
                line.failures = line.failures.saturating_add(1);
                let wait = backoff(line.failures, chance).max(retry_after.unwrap_or_default().min(BACKOFF_LONGEST));
                let lifetime_ms = u64::try_from(LIFETIME.as_millis()).unwrap_or(u64::MAX);
                let until_ms = moment.wall_ms.saturating_sub(lifetime_ms);
                let old = |message: &Queued| message.at_ms <= until_ms;
                if self.started_ms <= until_ms && line.window.front().is_some_and(old) {
                    self.bury(queue.clone(), until_ms, why);
                }
                self.wait(queue, moment.now + wait);
            }
        }
    }

    /// The next thing to do; `None`: nothing until [`poll_timeout`](Self::poll_timeout).
    pub fn poll_step(&mut self, now: Instant) -> Option<Step> {
        while let Some((at, queue)) = self.timers.first().cloned()
            && at <= now
        {
            self.timers.remove(&(at, queue.clone()));
            match self.lines.get_mut(&queue).map(|line| (line.state, line)) {
                Some((State::Waiting { .. }, line)) => {
                    line.state = State::Idle;
                    self.settle(&queue);
                }
                Some((State::Gone { .. }, _)) => self.remove(&queue),
                _ => {}
            }
        }
        if let Some(step) = self.steps.pop_front() {
            return Some(step);
        }
        while self.in_flight.len() < IN_FLIGHT {
            let queue = self.ready.pop_front()?;
            if let Some(delivery) = self.depart(queue) {
                return Some(Step::Send(delivery));
            }
        }
        None
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// `None`: not now.
    fn depart(&mut self, queue: Queue) -> Option<Delivery> {
        let line = self.lines.get_mut(&queue).filter(|line| line.state == State::Ready)?;
        let Some(message) = line.window.front() else {
            line.state = State::Idle;
            self.settle(&queue);
            return None;
        };
        let host = host(&line.receiver);
        let failed = line.failures > 0;
        let flying = self.per_host.get(&host).copied().unwrap_or_default();
        if flying >= PER_HOST {
            self.host_full.entry(host).or_default().push_back(queue);
            return None;
        }
        if failed && self.retries >= RETRIES {
            self.retries_full.push_back(queue);
            return None;
        }
        line.state = State::Sending;
        let delivery = Delivery {
            queue: queue.clone(),
            position: message.position(),
            receiver: line.receiver.clone(),
            body: message.body.clone(),
        };
        *self.per_host.entry(host.clone()).or_default() += 1;
        self.retries += usize::from(failed);
        self.in_flight.insert(queue, (host, failed));
        Some(delivery)
    }

    /// A delivery is over: whoever waited for its place is ready again.
    fn land(&mut self, queue: &Queue) {
        let Some((host, failed)) = self.in_flight.remove(queue) else {
            return;
        };
        if let Some(count) = self.per_host.get_mut(&host) {
            *count -= 1;
            if *count == 0 {
                self.per_host.remove(&host);
            }
        }
        if let Some(waiting) = self.host_full.get_mut(&host) {
            self.ready.extend(waiting.pop_front());
            if waiting.is_empty() {
                self.host_full.remove(&host);
            }
        }
        if failed {
            self.retries -= 1;
            self.ready.extend(self.retries_full.pop_front());
        }
    }

    /// What an idle queue does next.
    fn settle(&mut self, queue: &Queue) {
        let flying = self.in_flight.contains_key(queue);
        let Some(line) = self.lines.get_mut(queue) else {
            return;
        };
        if flying {
            line.state = State::Sending;
        } else if !line.window.is_empty() {
            line.state = State::Ready;
            self.ready.push_back(queue.clone());
        } else if line.more {
            line.state = State::Refilling;
            self.steps.push_back(Step::Refill {
                queue: queue.clone(),
                after: line.last,
                limit: if self.held < HELD { WINDOW } else { 1 },
            });
        } else {
            self.lines.remove(queue);
        }
    }

    fn wait(&mut self, queue: &Queue, until: Instant) {
        if let Some(line) = self.lines.get_mut(queue) {
            line.state = State::Waiting { until };
            self.timers.insert((until, queue.clone()));
        }
    }

    fn unset_timer(&mut self, queue: &Queue) {
        if let Some(line) = self.lines.get(queue)
            && let State::Waiting { until } | State::Gone { until } = line.state
        {
            self.timers.remove(&(until, queue.clone()));
        }
    }

    fn bury(&mut self, queue: Queue, until_ms: u64, why: String) {
        if let Some(line) = self.lines.get_mut(&queue) {
            let before = line.window.len();
            let old = line
                .window
                .iter()
                .take_while(|message| message.at_ms <= until_ms)
                .count();
            line.window.drain(..old);
            self.held -= before - line.window.len();
            if until_ms == u64::MAX {
                line.more = false;
            }
        }
        self.steps.push_back(Step::Bury { queue, until_ms, why });
    }

    /// The store forgets such a queue's messages by itself.
    fn remove(&mut self, queue: &Queue) {
        self.unset_timer(queue);
        if let Some(line) = self.lines.remove(queue) {
            self.held -= line.window.len();
        }
    }

    fn receiver(&self, queue: &Queue, own: Option<Receiver>) -> Option<Arc<Receiver>> {
        match queue.receiver {
            store::Receiver::Node => self.node.clone(),
            store::Receiver::Room => own.map(Arc::new),
        }
    }
}

fn line<'l>(lines: &'l mut BTreeMap<Queue, Line>, queue: &Queue, receiver: Arc<Receiver>) -> &'l mut Line {
    lines.entry(queue.clone()).or_insert_with(|| Line {
        receiver,
        window: VecDeque::new(),
        last: None,
        more: false,
        missed: false,
        rewind: false,
        failures: 0,
        state: State::Idle,
    })
}

fn host(receiver: &Receiver) -> String {
    let port = receiver.url.port_or_known_default().unwrap_or_default();
    format!("{}:{port}", receiver.url.host_str().unwrap_or_default())
}

/// Doubled with each failure, and between half and whole of that.
fn backoff(failures: u32, chance: f64) -> Duration {
    let doubled = BACKOFF_FIRST.saturating_mul(1 << failures.saturating_sub(1).min(16));
    doubled.min(BACKOFF_LONGEST).mul_f64(0.5 + chance.clamp(0.0, 1.0) / 2.0)
}

#[cfg(test)]
mod tests;
