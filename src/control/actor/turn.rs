//! The end of a turn: what it changed is handed to the store, and once the workers have confirmed and the disk has it, its
//! events are published, its webhook messages handed on and its asker answered, in the order of the turns.
//!
//! Decided here:
//! - A write that fails, and a worker or a disk that does not answer in time, is told to whoever asked as a 503 in words;
//!   the events are published all the same, since what the room is in memory is the truth of its members.
//! - Nobody is told that something was done before the room's version of that moment is on the disk, whichever turn it
//!   came with. Asking again for what is not stored yet writes it again.
//! - A turn that changes no version waits for no disk, only for the turns before it.
//! - Webhook messages that can't be stored wait for the next write.

use super::{ANSWERED_WITHIN, Actor, Reply};
use crate::control::{Commanded, Position, Session, Subscription, moment};
use crate::events::{CloseReason, Reader};
use crate::room::event::{Event, MemberLeftReason};
use crate::room::{Code, Moment, Notice, Presence, Refusal, Snapshot, UserId};
use crate::store::{self, Change, Message, RecordChange};
use crate::wire;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Turns that wait for workers or the disk at once; above it, requests and news wait. A turn waits for milliseconds, so
/// this many are a crowd that applies at once, and their writes one commit of the store.
pub(super) const TURNS_OPEN: usize = 256;

/// When to ask again for what a worker has not confirmed, or what is not stored.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// A turn that has been taken and is not answered yet.
pub(super) struct Turn {
    /// Of the room after it.
    version: u64,
    /// Nobody waits for longer.
    deadline: Instant,
    in_force: Vec<oneshot::Receiver<()>>,
    /// The number of what was written in this turn.
    write: Option<u64>,
    /// Whether it is waited for.
    durable: bool,
    notices: Vec<Notice>,
    /// Stored already.
    messages: Vec<Message>,
    webhook_changed: bool,
    answer: Option<Answer>,
}

/// Who is answered at the end of a turn, and what.
pub(super) enum Answer {
    Commanded {
        reply: Reply<Result<Commanded, Refusal>>,
        commanded: Box<Commanded>,
    },
    Compared {
        reply: Reply<Result<Snapshot, Refusal>>,
        snapshot: Box<Snapshot>,
    },
    Subscribed {
        reply: Reply<Result<Subscription, Refusal>>,
        reader: Reader,
        after: Option<Position>,
        snapshot: Box<Snapshot>,
    },
    Published {
        reply: Reply<Result<Session, Refusal>>,
        outcome: Result<Session, Refusal>,
    },
    Closed {
        reply: Reply<bool>,
        found: bool,
    },
    Stopped(Reply<()>),
}

impl Answer {
    /// Says that something was done, which is to be durable then.
    fn is_promise(&self) -> bool {
        match self {
            Answer::Commanded { .. } | Answer::Compared { .. } | Answer::Stopped(_) => true,
            Answer::Subscribed { .. } | Answer::Published { .. } | Answer::Closed { .. } => false,
        }
    }
}

impl Turn {
    /// Returns when the workers have confirmed, or at the deadline; for ever where only the disk is waited for. Cancel-safe.
    pub async fn confirmed(&mut self) {
        if self.in_force.is_empty() {
            return tokio::time::sleep_until(self.deadline.into()).await;
        }
        let in_force = &mut self.in_force;
        let all = async {
            // A worker that is gone forwards nothing.
            while let Some(done) = in_force.last_mut() {
                let _ = done.await;
                in_force.pop();
            }
        };
        let _over = tokio::time::timeout_at(self.deadline.into(), all).await;
    }

    /// Whether a stream of this user is about to open.
    pub fn admits(&self, user: &UserId) -> bool {
        matches!(&self.answer, Some(Answer::Subscribed { reader: Reader::User(reader), .. }) if reader == user)
    }
}

impl Actor {
    /// Ends a turn: [`settle`](Self::settle) has told the workers.
    pub(super) fn close_turn(&mut self, answer: Option<Answer>, now: Instant) {
        let notices = std::mem::take(&mut self.notices);
        notices.iter().for_each(super::log::notice);
        let asked = answer.as_ref().is_some_and(Answer::is_promise);
        let (write, durable) = self.save(&notices, asked, now);
        // Only now, so that a new room of this id is written behind the end of this one.
        if self.room.desired().ended && self.ended.is_none() {
            self.ended = Some(now);
            self.shared.registry.ended(&self.id, self.key.0, now);
        }
        let webhook = &self.room.settings().webhook;
        let webhook_changed = *webhook != self.told.webhook;
        if webhook_changed {
            self.told.webhook = webhook.clone();
        }
        let in_force = std::mem::take(&mut self.unconfirmed);
        if notices.is_empty() && in_force.is_empty() && write.is_none() && answer.is_none() && !webhook_changed {
            return;
        }
        self.turns.push_back(Turn {
            version: self.room.version(),
            deadline: now + ANSWERED_WITHIN,
            in_force,
            write,
            durable,
            notices,
            messages: Vec::new(),
            webhook_changed,
            answer,
        });
        self.land_ready(now);
    }

    /// Hands the store what has to last; returns the number of the write, and whether to wait for it: messages alone are
    /// not waited for.
    fn save(&mut self, notices: &[Notice], asked: bool, now: Instant) -> (Option<u64>, bool) {
        let moment = moment(now);
        let messages = self.messages(notices, moment);
        let version = self.room.version();
        let due = self.saving.is_due(version, asked, now);
        if self.saving.is_stuck(now) || !due && messages.is_empty() {
            let lost = self.saving.put_off(messages, now);
            self.log_lost(lost);
            return (None, false);
        }
        let record = if !due {
            RecordChange::Keep
        } else if self.room.desired().ended {
            RecordChange::Remove
        } else {
            RecordChange::Put(Box::new(self.room.record(moment)))
        };
        let messages = self.saving.take_messages(messages);
        let change = Change {
            room: self.id.clone(),
            record,
            messages: messages.clone(),
            webhook: self.room.settings().webhook.clone(),
        };
        let (registry, store) = (&self.shared.registry, &self.shared.store);
        let Some(written) = registry.unless_superseded(&self.id, self.key.0, || store.write(change)) else {
            self.saving.handle_superseded(version);
            return (None, false);
        };
        self.writes.push_back(written);
        let number = self.saving.handle_write(due.then_some(version), messages, now);
        (Some(number), due)
    }

    fn messages(&self, notices: &[Notice], moment: Moment) -> Vec<Message> {
        let webhook = &self.room.settings().webhook;
        let wanted = notices.iter().filter_map(|notice| {
            let to = self.shared.webhooks.destinations(webhook, wire::event::name(notice))?;
            Some((notice, to))
        });
        let messages = wanted.map(|(notice, to)| Message {
            epoch: notice.epoch,
            seq: notice.seq,
            at_ms: moment.wall_ms,
            to,
            body: wire::event::message(notice, None, &self.shared.base_url, moment).into(),
        });
        messages.collect()
    }

    fn log_lost(&self, lost: usize) {
        if lost > 0 {
            tracing::error!(
                room = self.id.as_str(),
                lost,
                "webhook messages are lost: too many are not stored"
            );
        }
    }

    /// The store's word on the oldest write.
    pub(super) fn handle_written(&mut self, answer: Result<(), store::Error>, now: Instant) {
        self.writes.pop_front();
        match self.saving.handle_answer(answer, now) {
            Some(Ok(stored)) => {
                let turn = self.turns.iter_mut().find(|turn| turn.write == Some(stored.number));
                match turn {
                    Some(turn) => turn.messages = stored.messages,
                    // Its turn is over.
                    None if stored.messages.is_empty() => {}
                    None => self.deliver(&stored.messages),
                }
            }
            Some(Err((error, lost))) => {
                let (room, version) = (self.id.as_str(), self.room.version());
                tracing::error!(room, version, %error, "not stored; trying again");
                self.log_lost(lost);
                self.store_error = Some(error);
            }
            None => {}
        }
        self.land_ready(now);
    }

    fn deliver(&self, messages: &[Message]) {
        let webhook = &self.room.settings().webhook;
        self.shared.webhooks.deliver(&self.id, webhook, messages);
    }

    /// Ends the turns that are over, in their order.
    pub(super) fn land_ready(&mut self, now: Instant) {
        while let Some(turn) = self.turns.front() {
            let open = turn.durable && turn.write.is_some_and(|number| !self.saving.is_answered(number));
            if now < turn.deadline && (open || !turn.in_force.is_empty()) {
                return;
            }
            if let Some(turn) = self.turns.pop_front() {
                self.land(turn);
            }
        }
    }

    fn land(&mut self, turn: Turn) {
        let failure = self.failure(&turn);
        // Whoever asks next waits for what is not in force yet.
        match self.turns.front_mut() {
            Some(next) => next.in_force.extend(turn.in_force),
            None => self.unconfirmed.extend(turn.in_force),
        }
        let gone = departures(&turn.notices);
        let ended = turn
            .notices
            .iter()
            .any(|notice| matches!(notice.event, Event::RoomEnded { .. }));
        if !turn.notices.is_empty() {
            self.hub.publish(turn.notices);
        }
        if turn.webhook_changed || !turn.messages.is_empty() {
            self.deliver(&turn.messages);
        }
        for user in gone {
            self.hub.close(&user, CloseReason::Removed);
        }
        if ended {
            self.hub.close_all(CloseReason::RoomEnded);
        }
        if let Some(answer) = turn.answer {
            self.answer(answer, failure);
        }
    }

    /// Why this turn's answer can't say that all is well.
    fn failure(&self, turn: &Turn) -> Option<Refusal> {
        let room = self.id.as_str();
        let detail = if !turn.in_force.is_empty() {
            let open = turn.in_force.len();
            tracing::error!(room, open, "a media worker does not answer");
            "the change is made, but a media worker has not confirmed that it is in force: ask again".to_owned()
        } else if turn.answer.as_ref().is_some_and(Answer::is_promise) && !self.saving.is_durable(turn.version) {
            let why = match &self.store_error {
                Some(error) => error.0.as_str(),
                None => "the disk does not answer",
            };
            tracing::error!(room, version = turn.version, why, "answered before it is stored");
            format!("the change is made, but it is not stored and would not survive a restart: {why}. Ask again")
        } else {
            return None;
        };
        Some(Refusal {
            retry_after: Some(ASK_AGAIN),
            version: Some(turn.version),
            ..Refusal::new(Code::CapacityExhausted, detail)
        })
    }

    /// A reply that nobody waits for is no error: the caller hung up.
    fn answer(&mut self, answer: Answer, failure: Option<Refusal>) {
        match answer {
            Answer::Commanded { reply, commanded } => drop(reply.send(failure.map_or(Ok(*commanded), Err))),
            Answer::Compared { reply, snapshot } => drop(reply.send(failure.map_or(Ok(*snapshot), Err))),
            Answer::Subscribed {
                reply,
                reader,
                after,
                snapshot,
            } => drop(reply.send(self.open_stream(reader, after, snapshot))),
            // The newest transport wins, and the peer is gone, whatever a hanging worker or the disk says.
            Answer::Published { reply, outcome } => drop(reply.send(outcome)),
            Answer::Closed { reply, found } => drop(reply.send(found)),
            Answer::Stopped(reply) => drop(reply.send(())),
        }
    }
}

/// Who is not in the room any more by somebody's will: their streams end, also of those who stay listed for their seats.
/// Who only lost theirs has none.
fn departures(notices: &[Notice]) -> Vec<UserId> {
    let gone = notices.iter().filter_map(|notice| match &notice.event {
        Event::MemberUpdated { member } if member.presence == Presence::Gone => Some(&member.person.user),
        Event::MemberLeft { member, reason } => match reason {
            MemberLeftReason::Left | MemberLeftReason::Removed | MemberLeftReason::Banned => Some(&member.person.user),
            MemberLeftReason::Disconnected => None,
        },
        _ => None,
    });
    gone.cloned().collect()
}
