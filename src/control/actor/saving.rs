//! Which of a room's versions is on the disk, and what is on its way there. Pure.
//!
//! In: versions of the room and its webhook messages, and the store's answers, which come in the order of the writes.
//! Out: whether to write now, and what. A record is complete, so a write that failed is healed by the next that succeeds.
//! Time base: the actor's clock, an argument.

use super::ANSWERED_WITHIN;
use crate::store::{Error, Message};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How soon a failed write is tried again, if nothing else is written before: a disk is full for seconds or hours, and a
/// record is a few kB.
pub(super) const STORE_RETRY: Duration = Duration::from_secs(1);

/// Webhook messages that could not be stored and wait for the next write. A busy room has some ten a second, so these are
/// minutes of a full disk; above it the oldest are lost, which is told in the log.
const MESSAGES_UNSAVED: usize = 4_096;

/// One write the store has not answered.
#[derive(Debug)]
struct Write {
    number: u64,
    /// Of the record in it, if there is one.
    version: Option<u64>,
    messages: Vec<Message>,
    since: Instant,
}

/// A write that is on the disk.
#[derive(Debug)]
pub(super) struct Stored {
    pub number: u64,
    pub messages: Vec<Message>,
}

#[derive(Debug, Default)]
pub(super) struct Saving {
    /// In the order they were given to the store. No longer than the turns within [`ANSWERED_WITHIN`].
    open: VecDeque<Write>,
    last_number: u64,
    /// The newest version given to the store, whatever became of it.
    given: u64,
    /// The newest version on the disk.
    durable: u64,
    /// Something failed, and no record has been given to the store since.
    retry_at: Option<Instant>,
    unsaved: VecDeque<Message>,
}

impl Saving {
    /// Whether to write the record of this version now. `asked`: somebody waits for it to be on the disk.
    pub fn is_due(&self, version: u64, asked: bool, now: Instant) -> bool {
        let again = self
            .retry_at
            .is_some_and(|at| asked || at <= now && self.open.is_empty());
        !self.is_stuck(now) && (version > self.given || again)
    }

    /// The store has not answered for so long that nothing more is given to it until it does.
    pub fn is_stuck(&self, now: Instant) -> bool {
        let oldest = self.open.front();
        oldest.is_some_and(|write| now >= write.since + ANSWERED_WITHIN)
    }

    pub fn is_durable(&self, version: u64) -> bool {
        version <= self.durable
    }

    /// Whatever was given to the store is on the disk, and nothing else has to go there.
    pub fn is_saved(&self) -> bool {
        self.retry_at.is_none() && self.open.is_empty() && self.durable == self.given
    }

    /// When to try again. An open write is waited for first.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.retry_at.filter(|_| self.open.is_empty())
    }

    /// The messages of a write to come: the new ones behind those that are not stored yet.
    pub fn take_messages(&mut self, new: Vec<Message>) -> Vec<Message> {
        let mut messages: Vec<Message> = std::mem::take(&mut self.unsaved).into();
        messages.extend(new);
        messages
    }

    /// Messages that can't be written now; returns how many older ones had to be given up for them.
    pub fn put_off(&mut self, messages: Vec<Message>, now: Instant) -> usize {
        if messages.is_empty() {
            return 0;
        }
        self.retry_at.get_or_insert(now + STORE_RETRY);
        self.unsaved.extend(messages);
        self.unsaved.make_contiguous().sort_by_key(|message| message.seq);
        let over = self.unsaved.len().saturating_sub(MESSAGES_UNSAVED);
        self.unsaved.drain(..over);
        over
    }

    /// The store was given a write, with the record of this version in it or without one; returns its number.
    pub fn handle_write(&mut self, version: Option<u64>, messages: Vec<Message>, now: Instant) -> u64 {
        self.last_number += 1;
        if let Some(version) = version {
            self.given = version;
            self.retry_at = None;
        }
        self.open.push_back(Write {
            number: self.last_number,
            version,
            messages,
            since: now,
        });
        self.last_number
    }

    /// Another room has this one's place on the disk: there is nothing to write any more.
    pub fn handle_superseded(&mut self, version: u64) {
        self.given = version;
        self.durable = version;
        self.retry_at = None;
        self.unsaved.clear();
    }

    /// The store's word on the oldest open write. `Err`: it is not on the disk, and so many messages had to be given up.
    pub fn handle_answer(&mut self, answer: Result<(), Error>, now: Instant) -> Option<Result<Stored, (Error, usize)>> {
        let write = self.open.pop_front()?;
        Some(match answer {
            Ok(()) => {
                self.durable = self.durable.max(write.version.unwrap_or(0));
                Ok(Stored {
                    number: write.number,
                    messages: write.messages,
                })
            }
            Err(error) => {
                if write.version.is_some() {
                    self.retry_at.get_or_insert(now + STORE_RETRY);
                }
                Err((error, self.put_off(write.messages, now)))
            }
        })
    }

    /// Whether the store has said what became of this write.
    pub fn is_answered(&self, number: u64) -> bool {
        self.open.front().is_none_or(|write| number < write.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Destinations;

    fn full() -> Result<(), Error> {
        Err(Error("the disk is full".into()))
    }

    fn message(seq: u64) -> Message {
        Message {
            epoch: 1,
            seq,
            at_ms: 0,
            to: Destinations::default(),
            body: "{}".into(),
        }
    }

    fn seqs(messages: &[Message]) -> Vec<u64> {
        messages.iter().map(|message| message.seq).collect()
    }

    #[test]
    fn each_version_is_written_once() {
        let now = Instant::now();
        let mut saving = Saving::default();
        assert!(saving.is_due(1, false, now));
        let number = saving.handle_write(Some(1), Vec::new(), now);
        assert!(!saving.is_due(1, true, now) && !saving.is_answered(number) && !saving.is_durable(1));
        assert!(saving.is_due(2, false, now), "the next does not wait for the first");
        saving.handle_write(Some(2), Vec::new(), now);
        assert!(saving.handle_answer(Ok(()), now).unwrap().is_ok());
        assert!(saving.is_answered(number) && saving.is_durable(1) && !saving.is_durable(2) && !saving.is_saved());
        assert!(saving.handle_answer(Ok(()), now).unwrap().is_ok());
        assert!(saving.is_saved() && saving.poll_timeout().is_none());
        assert!(saving.handle_answer(Ok(()), now).is_none());
    }

    #[test]
    fn what_failed_is_written_with_the_next_change_or_after_a_second() {
        let now = Instant::now();
        let mut saving = Saving::default();
        let messages = saving.take_messages(vec![message(2)]);
        saving.handle_write(Some(1), messages, now);
        assert!(saving.handle_answer(full(), now).unwrap().is_err());
        assert!(!saving.is_saved() && !saving.is_due(1, false, now));
        assert!(saving.is_due(1, true, now), "somebody asks for it");
        assert!(saving.is_due(2, false, now), "the next change takes it along");
        let later = saving.poll_timeout().unwrap();
        assert_eq!(later, now + STORE_RETRY);
        assert!(saving.is_due(1, false, later));

        let messages = saving.take_messages(vec![message(3)]);
        assert_eq!(seqs(&messages), [2, 3]);
        saving.handle_write(Some(1), messages, later);
        let stored = saving.handle_answer(Ok(()), later).unwrap().unwrap();
        assert_eq!(seqs(&stored.messages), [2, 3]);
        assert!(saving.is_saved());
    }

    #[test]
    fn a_store_that_hangs_is_given_no_more_until_it_answers() {
        let now = Instant::now();
        let mut saving = Saving::default();
        saving.handle_write(Some(1), Vec::new(), now);
        let later = now + ANSWERED_WITHIN;
        assert!(saving.is_stuck(later) && !saving.is_due(2, true, later));
        assert_eq!(saving.put_off(vec![message(2)], later), 0);
        assert_eq!(saving.poll_timeout(), None, "the open write comes first");
        saving.handle_answer(Ok(()), later).unwrap().unwrap();
        assert!(saving.is_due(2, false, later) && !saving.is_saved());
        assert_eq!(seqs(&saving.take_messages(Vec::new())), [2]);
    }

    #[test]
    fn messages_of_a_full_disk_are_bounded() {
        let now = Instant::now();
        let mut saving = Saving::default();
        let many = (0..).map(message).take(MESSAGES_UNSAVED + 3).collect();
        assert_eq!(saving.put_off(many, now), 3);
        assert_eq!(saving.take_messages(Vec::new()).first().unwrap().seq, 3);
    }
}
