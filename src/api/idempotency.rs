//! What `Idempotency-Key` remembers: a mutating call that is sent again is answered as the first time and done only once.
//! A repeat that arrives while the first is still at work waits for its answer. Time is an argument; see
//! [`once`](super::once) for the shell around it, which also keeps the answers over a restart as [`Kept`].

use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
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

impl Key {
    /// As it is called in the store.
    pub fn name(&self) -> String {
        serde_json::json!([self.room, self.user, self.key]).to_string()
    }
    fn of_name(name: &str) -> Option<Key> {
        let (room, user, key) = serde_json::from_str(name).ok()?;
        Some(Key { room, user, key })
    }
}

/// A remembered call as it is stored.
#[derive(Serialize, Deserialize)]
pub(super) struct Kept {
    /// On the wall clock.
    until_ms: u64,
    call: Vec<u8>,
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

impl Kept {
    /// `None`: it is no text, as none of our JSON answers is.
    pub fn new(ticket: &Ticket, call: &[u8], answer: &Answer, now: Instant, now_ms: u64) -> Option<Kept> {
        let left = ticket.until.saturating_duration_since(now).as_millis();
        let header = |(name, value): (&HeaderName, &HeaderValue)| {
            let value = value.to_str().ok()?;
            Some((name.as_str().to_owned(), value.to_owned()))
        };
        Some(Kept {
            until_ms: now_ms.saturating_add(u64::try_from(left).ok()?),
            call: call.to_vec(),
            status: answer.status.as_u16(),
            headers: answer.headers.iter().map(header).collect::<Option<_>>()?,
            body: String::from_utf8(answer.body.to_vec()).ok()?,
        })
    }

    fn answer(self) -> Option<Answer> {
        let header = |(name, value): (String, String)| {
            let name = HeaderName::try_from(name).ok()?;
            Some((name, HeaderValue::try_from(value).ok()?))
        };
        Some(Answer {
            status: StatusCode::from_u16(self.status).ok()?,
            headers: self.headers.into_iter().map(header).collect::<Option<_>>()?,
            body: Bytes::from(self.body),
        })
    }
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
    /// Until when its answer is remembered.
    until: Instant,
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
pub(super) struct Memory {
    calls: HashMap<Key, Entry>,
    /// Until when each is remembered, in that order. May name calls that are gone.
    order: VecDeque<(Instant, u64, Key)>,
    bytes: usize,
    next_serial: u64,
    /// Calls that are forgotten here, and not yet in the store; each was one of [`MAX_CALLS`].
    forgotten: Vec<String>,
}

impl Memory {
    /// What the store had at the start: those that still count come back, the others are among the forgotten.
    pub fn load(&mut self, stored: Vec<(String, Vec<u8>)>, now: Instant, now_ms: u64) {
        let mut kept = Vec::new();
        for (name, bytes) in stored {
            let parsed = serde_json::from_slice::<Kept>(&bytes).ok();
            match (Key::of_name(&name), parsed.filter(|kept| kept.until_ms > now_ms)) {
                (Some(key), Some(found)) => kept.push((key, found)),
                _ => self.forgotten.push(name),
            }
        }
        kept.sort_by_key(|(_, kept)| kept.until_ms);
        for (key, kept) in kept {
            // A clock that was set back must not make them stay longer.
            let left = Duration::from_millis(kept.until_ms.saturating_sub(now_ms)).min(KEPT_FOR);
            let call = kept.call.clone();
            let Some(answer) = kept.answer() else {
                self.forgotten.push(key.name());
                continue;
            };
            self.make_room();
            let ticket = self.insert(key, &call, now + left);
            self.finish(ticket, Some(answer));
        }
    }

    /// What the store need not keep any longer, once.
    pub fn take_forgotten(&mut self) -> Vec<String> {
        std::mem::take(&mut self.forgotten)
    }

    pub fn begin(&mut self, key: Key, call: &[u8], now: Instant) -> Begin {
        self.expire(now);
        if let Some(entry) = self.calls.get(&key) {
            let dropped = entry.answer.has_changed().is_err();
            let answer = entry.answer.borrow().clone();
            match answer {
                // Nobody will ever answer it: its work was cut short.
                None if dropped => self.remove(&key),
                _ if entry.call != call => return Begin::Reused,
                Some(answer) => return Begin::Remembered(answer),
                None => return Begin::Wait(entry.answer.clone()),
            }
        }
        self.make_room();
        Begin::Fresh(self.insert(key, call, now + KEPT_FOR))
    }

    fn insert(&mut self, key: Key, call: &[u8], until: Instant) -> Ticket {
        let (done, answer) = watch::channel(None);
        let serial = self.next_serial;
        self.next_serial += 1;
        self.order.push_back((until, serial, key.clone()));
        self.bytes += call.len();
        let entry = Entry {
            serial,
            call: call.to_vec(),
            answer,
        };
        self.calls.insert(key.clone(), entry);
        Ticket {
            serial,
            key,
            until,
            done,
        }
    }

    /// `None`: not to be remembered, the call may be tried again under the same key.
    pub fn finish(&mut self, ticket: Ticket, answer: Option<Answer>) {
        let current = self
            .calls
            .get(&ticket.key)
            .is_some_and(|entry| entry.serial == ticket.serial);
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
        while self.order.front().is_some_and(|(until, ..)| *until <= now) {
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
        let Some((_, serial, key)) = self.order.pop_front() else {
            return false;
        };
        if self.calls.get(&key).is_some_and(|entry| entry.serial == serial) {
            self.remove(&key);
        }
        true
    }

    fn remove(&mut self, key: &Key) {
        if let Some(entry) = self.calls.remove(key) {
            self.bytes = self.bytes.saturating_sub(entry.bytes());
            if self.forgotten.len() < MAX_CALLS {
                self.forgotten.push(key.name());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        Key {
            room: "demo".into(),
            user: "bob".into(),
            key: name.into(),
        }
    }

    fn answer(body: &str) -> Option<Answer> {
        Some(Answer {
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            body: Bytes::from(body.to_owned()),
        })
    }

    fn fresh(memory: &mut Memory, name: &str, call: &[u8], now: Instant) -> Ticket {
        match memory.begin(key(name), call, now) {
            Begin::Fresh(ticket) => ticket,
            _ => panic!("{name} was met before"),
        }
    }

    #[test]
    fn a_repeat_gets_the_first_answer_for_ten_minutes() {
        let (mut memory, start) = (Memory::default(), Instant::now());
        let ticket = fresh(&mut memory, "k", b"put", start);
        memory.finish(ticket, answer("done"));
        let later = start + KEPT_FOR - Duration::from_millis(1);
        assert!(matches!(memory.begin(key("k"), b"put", later), Begin::Remembered(a) if a.body == "done"));
        assert!(matches!(memory.begin(key("k"), b"delete", later), Begin::Reused));
        let other = Key {
            user: "eve".into(),
            ..key("k")
        };
        assert!(matches!(memory.begin(other, b"delete", later), Begin::Fresh(_)));
        assert!(matches!(
            memory.begin(key("k"), b"delete", start + KEPT_FOR),
            Begin::Fresh(_)
        ));
    }

    #[test]
    fn a_repeat_meanwhile_waits() {
        let (mut memory, now) = (Memory::default(), Instant::now());
        let ticket = fresh(&mut memory, "k", b"put", now);
        let Begin::Wait(waiting) = memory.begin(key("k"), b"put", now) else {
            panic!("the first is at work")
        };
        assert!(matches!(memory.begin(key("k"), b"other", now), Begin::Reused));
        memory.finish(ticket, answer("done"));
        assert_eq!(
            waiting.borrow().as_ref().map(|a| a.body.clone()),
            Some(Bytes::from("done"))
        );
    }

    #[test]
    fn an_unanswered_call_may_be_tried_again() {
        let (mut memory, now) = (Memory::default(), Instant::now());
        let ticket = fresh(&mut memory, "k", b"put", now);
        memory.finish(ticket, None);
        // Dropped altogether, as by a panic.
        drop(fresh(&mut memory, "k", b"put", now));
        let ticket = fresh(&mut memory, "k", b"other", now);
        memory.finish(ticket, answer("done"));
        assert!(matches!(memory.begin(key("k"), b"other", now), Begin::Remembered(_)));
        assert_eq!(memory.calls.len(), 1);
    }

    #[test]
    fn answers_come_back_for_what_is_left_of_their_time() {
        let (mut memory, start) = (Memory::default(), Instant::now());
        let ticket = fresh(&mut memory, "k", b"put", start);
        let later = start + Duration::from_secs(60);
        let mut done = answer("done").expect("an answer");
        done.headers
            .insert("location", HeaderValue::from_static("/v1/rooms/demo"));
        let kept = Kept::new(&ticket, b"put", &done, later, 60_000).expect("text");
        let kept = serde_json::to_vec(&kept).expect("JSON");
        let stored = || {
            vec![
                (key("k").name(), kept.clone()),
                (key("torn").name(), b"{".to_vec()),
                ("nonsense".to_owned(), kept.clone()),
            ]
        };
        let (mut restarted, now) = (Memory::default(), Instant::now());
        restarted.load(stored(), now, 300_000);
        assert_eq!(restarted.take_forgotten(), [key("torn").name(), "nonsense".to_owned()]);
        let end = now + Duration::from_secs(300);
        let before = end - Duration::from_millis(1);
        assert!(matches!(restarted.begin(key("k"), b"put", before), Begin::Remembered(a)
            if a.body == "done" && a.headers["location"] == "/v1/rooms/demo"));
        assert!(matches!(restarted.begin(key("k"), b"other", before), Begin::Reused));
        assert!(matches!(restarted.begin(key("k"), b"other", end), Begin::Fresh(_)));
        assert_eq!(restarted.take_forgotten(), [key("k").name()]);
        // Too late altogether.
        let mut restarted = Memory::default();
        restarted.load(stored(), now, 600_000);
        assert_eq!(restarted.take_forgotten().len(), 3);
        assert!(matches!(restarted.begin(key("k"), b"other", now), Begin::Fresh(_)));
    }

    #[test]
    fn memory_is_bounded_by_number_and_by_size() {
        let (mut memory, now) = (Memory::default(), Instant::now());
        for n in 0..MAX_CALLS + 10 {
            let ticket = fresh(&mut memory, &n.to_string(), b"put", now);
            memory.finish(ticket, answer("done"));
        }
        assert!(memory.calls.len() <= MAX_CALLS && memory.order.len() <= MAX_CALLS);
        assert!(matches!(memory.begin(key("0"), b"put", now), Begin::Fresh(_)));
        let mut memory = Memory::default();
        let large = "x".repeat(MAX_BYTES / 4);
        for n in 0..10 {
            let ticket = fresh(&mut memory, &n.to_string(), b"put", now);
            memory.finish(ticket, answer(&large));
            assert!(memory.bytes <= MAX_BYTES);
        }
        assert!(memory.calls.len() < 5);
        memory.expire(now + KEPT_FOR);
        assert_eq!((memory.calls.len(), memory.order.len(), memory.bytes), (0, 0, 0));
    }
}
