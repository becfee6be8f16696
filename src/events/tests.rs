//! The log and the hub against a model that remembers everything.

use super::log::{BATCH, BYTES_MAX, EVENTS_MAX, Key, Log};
use super::*;
use crate::room::event::Event;
use crate::room::{Notice, Person, Recipients, RoomId, Seat, SeatFlags, UserId};
use crate::room::{Occupancy, Phase};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

fn user(id: &str) -> UserId {
    UserId::parse(id).expect("a user id")
}

fn reader(id: &str) -> Reader {
    match id {
        "service" => Reader::Service,
        id => Reader::User(user(id)),
    }
}

fn notice(seq: u64, to: Recipients) -> Notice {
    Notice {
        room: RoomId::parse("demo").expect("a room id"),
        epoch: 1,
        version: 1,
        seq,
        at: Instant::now(),
        actor: None,
        to,
        event: Event::RoomUpdated {
            phase: Phase::Idle,
            max_guests: 9,
        },
    }
}

fn common(seq: u64) -> Notice {
    notice(seq, Recipients::Everybody)
}

fn personal(seq: u64, users: &[&str]) -> Notice {
    let users = users.iter().map(|id| user(id)).collect();
    notice(seq, Recipients::Users(Arc::new(users)))
}

/// A seat list of people with long pictures.
fn heavy(seq: u64) -> Notice {
    let seat = |number: usize| Seat {
        occupancy: Occupancy::Reserved {
            person: Person {
                user: user(&format!("guest-{number}")),
                name: None,
                avatar_url: Some("x".repeat(2000)),
            },
            request: None,
            until: None,
        },
        flags: SeatFlags::default(),
    };
    Notice {
        event: Event::SeatsChanged {
            seats: (0..10).map(seat).collect(),
            sources: Arc::default(),
            voices: Arc::default(),
            joined: Vec::new(),
            left: Vec::new(),
            moved: Vec::new(),
        },
        ..common(seq)
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Took {
    Events(Vec<(u64, u64)>),
    Close(CloseReason),
    Nothing,
}

fn seen(next: Option<Next>) -> Took {
    match next {
        Some(Next::Notices(notices)) => {
            Took::Events(notices.iter().map(|(prev, notice)| (*prev, notice.seq)).collect())
        }
        Some(Next::Close(reason)) => Took::Close(reason),
        None => Took::Nothing,
    }
}

fn publish(log: &mut Log, notice: Notice) -> Vec<Key> {
    let mut woken = Vec::new();
    log.publish(notice, &mut woken);
    woken
}

fn open(log: &mut Log, id: &str, seq: u64) -> Option<Key> {
    log.open(reader(id), seq, &mut Vec::new())
}

#[test]
fn each_is_due_their_own_and_everybodys() {
    let mut log = Log::new(1);
    let ann = open(&mut log, "ann", 1).expect("opens");
    let bob = open(&mut log, "bob", 1).expect("opens");
    let key = open(&mut log, "service", 1).expect("opens");
    assert_eq!(publish(&mut log, personal(2, &["bob", "eve"])), [bob, key]);
    assert_eq!(publish(&mut log, common(3)), [ann], "the others are awake already");
    assert_eq!(publish(&mut log, personal(4, &["ann"])), []);
    assert_eq!(seen(log.take(ann)), Took::Events(vec![(1, 3), (3, 4)]));
    assert_eq!(seen(log.take(bob)), Took::Events(vec![(1, 2), (2, 3)]));
    assert_eq!(seen(log.take(key)), Took::Events(vec![(1, 2), (2, 3), (3, 4)]));
    assert_eq!(seen(log.take(ann)), Took::Nothing);
    assert_eq!(publish(&mut log, common(5)), [ann, bob, key]);
    assert_eq!(seen(log.take(bob)), Took::Events(vec![(3, 5)]));
}

#[test]
fn a_stream_goes_on_where_its_user_was() {
    let mut log = Log::new(1);
    for seq in 2..=6 {
        let to = if seq % 2 == 0 {
            common(seq)
        } else {
            personal(seq, &["bob"])
        };
        publish(&mut log, to);
    }
    let ann = open(&mut log, "ann", 2).expect("is remembered");
    assert_eq!(seen(log.take(ann)), Took::Events(vec![(2, 4), (4, 6)]));
    let bob = open(&mut log, "bob", 4).expect("is remembered");
    assert_eq!(seen(log.take(bob)), Took::Events(vec![(4, 5), (5, 6)]));
    assert!(open(&mut log, "eve", 6).is_some());
    assert!(open(&mut log, "eve", 1).is_some());
    assert!(open(&mut log, "eve", 7).is_none(), "never reached");
    assert!(open(&mut log, "eve", 0).is_none(), "before the room");
}

#[test]
fn the_log_is_bounded_by_count() {
    let mut log = Log::new(1);
    let last = 1 + EVENTS_MAX as u64;
    (2..=last).for_each(|seq| drop(publish(&mut log, common(seq))));
    assert!(open(&mut log, "ann", 1).is_some());
    publish(&mut log, common(last + 1));
    assert!(open(&mut log, "ann", 1).is_none());
    assert!(open(&mut log, "ann", 2).is_some());
}

#[test]
fn the_log_is_bounded_by_bytes() {
    let mut log = Log::new(1);
    let fit = (BYTES_MAX / 20_000) as u64;
    (2..2 + fit).for_each(|seq| drop(publish(&mut log, heavy(seq))));
    assert!(open(&mut log, "ann", fit).is_some());
    assert!(
        open(&mut log, "ann", 1).is_none(),
        "{fit} seat lists weigh more than the bound"
    );
    let crowd: Vec<String> = (0..20_000).map(|number| format!("user-{number}")).collect();
    let crowd: Vec<&str> = crowd.iter().map(String::as_str).collect();
    publish(&mut log, personal(2 + fit, &crowd));
    let only = open(&mut log, "user-7", 1 + fit).expect("the newest is always kept");
    assert_eq!(seen(log.take(only)), Took::Events(vec![(1 + fit, 2 + fit)]));
}

#[test]
fn only_who_missed_something_is_slow() {
    let mut log = Log::new(1);
    let ann = open(&mut log, "ann", 1).expect("opens");
    let bob = open(&mut log, "bob", 1).expect("opens");
    let last = 2 + EVENTS_MAX as u64;
    publish(&mut log, personal(2, &["ann"]));
    (3..=last).for_each(|seq| drop(publish(&mut log, personal(seq, &["eve"]))));
    assert_eq!(seen(log.take(ann)), Took::Close(CloseReason::Slow));
    assert_eq!(seen(log.take(ann)), Took::Close(CloseReason::Slow));
    assert_eq!(seen(log.take(bob)), Took::Nothing);
    publish(&mut log, common(last + 1));
    assert_eq!(seen(log.take(bob)), Took::Events(vec![(1, last + 1)]));
}

#[test]
fn a_turn_is_bounded() {
    let mut log = Log::new(1);
    let ann = open(&mut log, "ann", 1).expect("opens");
    (2..2 + BATCH as u64 + 3).for_each(|seq| drop(publish(&mut log, common(seq))));
    let counts = std::iter::from_fn(|| match seen(log.take(ann)) {
        Took::Events(events) => Some(events.len()),
        _ => None,
    });
    assert_eq!(counts.collect::<Vec<_>>(), [BATCH, 3]);
}

#[test]
fn a_newer_stream_replaces_the_older_and_nobody_is_lost() {
    let mut log = Log::new(1);
    let older = open(&mut log, "bob", 1).expect("opens");
    publish(&mut log, common(2));
    let mut woken = Vec::new();
    let newer = log.open(reader("bob"), 1, &mut woken).expect("opens");
    assert_eq!(woken, [older]);
    assert_eq!(seen(log.take(older)), Took::Close(CloseReason::Replaced));
    assert!(!log.remove(older));
    assert_eq!(seen(log.take(newer)), Took::Events(vec![(1, 2)]));
    assert!(log.remove(newer));
    assert_eq!(log.take_lost(), BTreeSet::from([user("bob")]));
    assert!(log.take_lost().is_empty());
    let again = open(&mut log, "bob", 2).expect("opens");
    assert!(log.remove(again));
    open(&mut log, "bob", 2).expect("opens");
    assert!(log.take_lost().is_empty(), "who is back is not lost");
}

#[test]
fn what_was_published_is_delivered_before_the_end() {
    let mut log = Log::new(1);
    let bob = open(&mut log, "bob", 1).expect("opens");
    publish(&mut log, personal(2, &["bob"]));
    let mut woken = Vec::new();
    log.close(&user("bob"), CloseReason::Removed, &mut woken);
    assert_eq!(woken, [bob]);
    publish(&mut log, common(3));
    assert_eq!(seen(log.take(bob)), Took::Events(vec![(1, 2)]));
    assert_eq!(seen(log.take(bob)), Took::Close(CloseReason::Removed));
    let back = open(&mut log, "bob", 3).expect("may come back");
    assert!(!log.remove(bob), "the room knows");
    publish(&mut log, common(4));
    log.close_all(CloseReason::RoomEnded, &mut Vec::new());
    assert_eq!(seen(log.take(back)), Took::Events(vec![(3, 4)]));
    assert_eq!(seen(log.take(back)), Took::Close(CloseReason::RoomEnded));
    let late = open(&mut log, "eve", 1).expect("opens");
    assert_eq!(seen(log.take(late)), Took::Close(CloseReason::RoomEnded));
    assert!(!log.remove(late));
}

#[test]
fn service_streams_are_many() {
    let mut log = Log::new(1);
    let keys = [0; 3].map(|_| open(&mut log, "service", 1).expect("opens"));
    assert_eq!(publish(&mut log, personal(2, &["bob"])), keys);
    assert!(keys.iter().all(|key| !log.remove(*key)));
    assert!(log.take_lost().is_empty());
}

/// A step of a random run. Users are `u0` to `u3`; streams are numbered in the order they were opened.
#[derive(Clone, Debug)]
enum Step {
    Publish {
        weight: bool,
        to: Option<BTreeSet<u8>>,
    },
    Burst {
        count: u16,
        to: Option<u8>,
    },
    /// `after`: how far back from the newest event.
    Open {
        who: u8,
        after: u16,
    },
    Take(usize),
    Drop(usize),
    Close(u8),
}

const USERS: u8 = 4;

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let to = proptest::option::of(proptest::collection::btree_set(0..USERS, 0..3));
    let step = prop_oneof![
        6 => (proptest::bool::weighted(0.1), to).prop_map(|(weight, to)| Step::Publish { weight, to }),
        1 => (1..2500_u16, proptest::option::of(0..USERS)).prop_map(|(count, to)| Step::Burst { count, to }),
        // One more than there are users: a service key.
        2 => (0..=USERS, prop_oneof![Just(0), 0..10_u16, 0..5000_u16]).prop_map(|(who, after)| Step::Open { who, after }),
        6 => any::<usize>().prop_map(Step::Take),
        1 => any::<usize>().prop_map(Step::Drop),
        1 => (0..USERS).prop_map(Step::Close),
    ];
    proptest::collection::vec(step, 1..120)
}

fn id(who: u8) -> String {
    if who == USERS {
        "service".into()
    } else {
        format!("u{who}")
    }
}

/// What a stream should know.
struct Expected {
    who: u8,
    prev: u64,
    /// It is due something.
    owed: bool,
    /// Why, and the last event before it.
    end: Option<(CloseReason, u64)>,
}

/// Remembers every event of the room.
#[derive(Default)]
struct Model {
    events: Vec<(u64, Recipients)>,
    streams: BTreeMap<Key, Expected>,
    lost: BTreeSet<UserId>,
}

impl Model {
    fn last(&self) -> u64 {
        self.events.last().map_or(1, |(seq, _)| *seq)
    }

    /// What `who` is due after `seq` and up to `to`.
    fn due(&self, who: u8, seq: u64, to: u64) -> Vec<u64> {
        let reader = user(&id(who));
        let theirs = |recipients: &Recipients| who == USERS || recipients.include(&reader);
        let from = self.events.partition_point(|(at, _)| *at <= seq);
        let events = self.events[from..].iter().take_while(|(at, _)| *at <= to);
        events.filter(|(_, to)| theirs(to)).map(|(at, _)| *at).collect()
    }

    fn newest(&self, who: u8) -> Option<Key> {
        let mut open = self
            .streams
            .iter()
            .filter(|(_, stream)| stream.who == who && stream.end.is_none());
        open.next_back().map(|(key, _)| *key)
    }

    /// One turn of a stream: what it takes has to be what it is due next, or it has to be told why not.
    fn check_turn(&mut self, key: Key, log: &mut Log) {
        let Some(stream) = self.streams.get(&key) else {
            return;
        };
        let to = stream.end.map_or(u64::MAX, |(_, last)| last);
        let due = self.due(stream.who, stream.prev, to);
        match seen(log.take(key)) {
            Took::Events(events) => {
                assert!(!events.is_empty() && events.len() <= BATCH);
                let prevs = std::iter::once(&stream.prev).chain(&due).copied();
                let chain: Vec<(u64, u64)> = prevs.zip(due.iter().copied()).take(events.len()).collect();
                assert_eq!(events, chain);
                let stream = self.streams.get_mut(&key).expect("is there");
                stream.prev = events[events.len() - 1].1;
                stream.owed = events.len() < due.len();
            }
            Took::Nothing => assert!(due.is_empty() && stream.end.is_none(), "{due:?} is kept back"),
            Took::Close(CloseReason::Slow) => {
                let first = due.first().expect("who is due nothing is not slow");
                assert!(stream.end.is_none());
                assert!(!log.remembers(*first), "event {first} is still there");
            }
            Took::Close(reason) => {
                assert_eq!(Some(reason), stream.end.map(|(reason, _)| reason));
                let missed = due.first().is_some_and(|first| log.remembers(*first));
                assert!(!missed, "closed before all was delivered: {due:?}");
            }
        }
    }

    fn step(&mut self, step: &Step, log: &mut Log) {
        match step {
            Step::Publish { weight, to } => {
                let to = to.as_ref().map_or(Recipients::Everybody, |users| {
                    Recipients::Users(Arc::new(users.iter().map(|who| user(&id(*who))).collect()))
                });
                self.publish(*weight, to, log);
            }
            Step::Burst { count, to } => {
                let users = |who: &u8| Recipients::Users(Arc::new([user(&id(*who))].into()));
                let to = to.as_ref().map_or(Recipients::Everybody, users);
                (0..*count).for_each(|_| self.publish(false, to.clone(), log));
            }
            Step::Open { who, after } => self.open(*who, self.last().saturating_sub(u64::from(*after)), log),
            Step::Take(which) => {
                if let Some(key) = self.pick(*which) {
                    self.check_turn(key, log);
                }
            }
            Step::Drop(which) => {
                let Some(key) = self.pick(*which) else { return };
                let stream = self.streams.remove(&key).expect("is there");
                let lost = stream.who != USERS && stream.end.is_none();
                if lost {
                    self.lost.insert(user(&id(stream.who)));
                }
                assert_eq!(log.remove(key), lost);
            }
            Step::Close(who) => {
                let last = self.last();
                if let Some(stream) = self.newest(*who).and_then(|key| self.streams.get_mut(&key)) {
                    stream.end = Some((CloseReason::Removed, last));
                }
                log.close(&user(&id(*who)), CloseReason::Removed, &mut Vec::new());
            }
        }
    }

    fn pick(&self, which: usize) -> Option<Key> {
        let keys: Vec<Key> = self.streams.keys().copied().collect();
        keys.get(which % keys.len().max(1)).copied()
    }

    fn publish(&mut self, weight: bool, to: Recipients, log: &mut Log) {
        let seq = self.last() + 1;
        self.events.push((seq, to.clone()));
        let users: Vec<UserId> = (0..USERS).map(|who| user(&id(who))).collect();
        let mut due = BTreeSet::new();
        for (key, stream) in &mut self.streams {
            let theirs = stream.who == USERS || to.include(&users[usize::from(stream.who)]);
            if theirs && stream.end.is_none() && !stream.owed {
                stream.owed = true;
                due.insert(*key);
            }
        }
        let notice = if weight {
            Notice { to, ..heavy(seq) }
        } else {
            notice(seq, to)
        };
        let woken = publish(log, notice);
        assert_eq!(woken.len(), due.len());
        assert_eq!(
            BTreeSet::from_iter(woken),
            due,
            "woken are those who are due something now and were not"
        );
    }

    fn open(&mut self, who: u8, seq: u64, log: &mut Log) {
        let kept = log.remembers(seq + 1) || seq == self.last();
        let Some(key) = open(log, &id(who), seq) else {
            assert!(!kept, "all after {seq} is still there");
            return;
        };
        assert!(kept, "opened after {seq}, which is forgotten");
        if who < USERS {
            self.lost.remove(&user(&id(who)));
            let last = self.newest(who).and_then(|key| self.streams.get_mut(&key));
            if let Some(older) = last {
                older.end = Some((CloseReason::Replaced, older.prev));
            }
        }
        let owed = !self.due(who, seq, u64::MAX).is_empty();
        let stream = Expected {
            who,
            prev: seq,
            owed,
            end: None,
        };
        self.streams.insert(key, stream);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Each stream has what a filter of all events says, with exact `prev`s, or is told that it was slow.
    #[test]
    fn streams_have_what_the_model_says(steps in steps()) {
        let mut log = Log::new(1);
        let mut model = Model::default();
        for step in &steps {
            model.step(step, &mut log);
            prop_assert_eq!(log.has_lost(), !model.lost.is_empty());
        }
        let keys: Vec<Key> = model.streams.keys().copied().collect();
        for key in keys {
            (0..=EVENTS_MAX / BATCH).for_each(|_| model.check_turn(key, &mut log));
        }
        prop_assert_eq!(log.take_lost(), model.lost);
        prop_assert!(log.indices_are_exact());
    }
}

/// Counts how often it was woken.
#[derive(Default)]
struct Bell(AtomicUsize);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Bell {
    fn rung(&self) -> usize {
        self.0.swap(0, Ordering::Relaxed)
    }
    fn poll(self: &Arc<Self>, stream: &mut Stream) -> Took {
        let waker = Waker::from(self.clone());
        match stream.poll_next(&mut Context::from_waker(&waker)) {
            Poll::Ready(next) => seen(Some(next)),
            Poll::Pending => Took::Nothing,
        }
    }
}

#[test]
fn the_hub_wakes_only_who_is_due() {
    let hub = Arc::new(Hub::default());
    let bells = [(); 3].map(|_| Arc::new(Bell::default()));
    let mut streams = ["ann", "bob", "service"].map(|id| hub.open(reader(id), hub.last()).expect("opens"));
    for (bell, stream) in bells.iter().zip(&mut streams) {
        assert_eq!(bell.poll(stream), Took::Nothing);
    }
    hub.publish(vec![personal(2, &["bob"]), personal(3, &["bob"])]);
    assert_eq!(bells.each_ref().map(|bell| bell.rung()), [0, 1, 1]);
    assert_eq!(bells[1].poll(&mut streams[1]), Took::Events(vec![(1, 2), (2, 3)]));
    hub.publish(vec![common(4)]);
    assert_eq!(
        bells.each_ref().map(|bell| bell.rung()),
        [1, 0, 0],
        "the others do not wait"
    );
    let newer = hub.open(reader("ann"), 4).expect("opens");
    assert_eq!(bells[0].poll(&mut streams[0]), Took::Close(CloseReason::Replaced));
    drop(streams);
    assert_eq!(hub.take_lost(), [Lost(user("bob"))]);
    drop(newer);
    assert_eq!(hub.take_lost(), [Lost(user("ann"))]);
}

#[tokio::test]
async fn the_hub_tells_of_the_lost() {
    let hub = Arc::new(Hub::default());
    let stream = hub.open(reader("ann"), 1).expect("opens");
    let waiting = hub.clone();
    let told = tokio::spawn(async move { waiting.changed().await });
    drop(stream);
    told.await.expect("ends");
    hub.changed().await;
    assert_eq!(hub.take_lost(), [Lost(user("ann"))]);
    assert!(tokio::time::timeout(Duration::ZERO, hub.changed()).await.is_err());
}

/// Each stream is woken once for each event and gets that one, and a stream takes little memory.
#[test]
fn a_thousand_streams_are_woken_once_an_event() {
    const STREAMS: usize = 1000;
    const EVENTS: u64 = 20;
    let hub = Arc::new(Hub::default());
    let bell = Arc::new(Bell::default());
    let mut streams: Vec<Stream> = (0..STREAMS)
        .map(|number| hub.open(reader(&format!("user-{number}")), 1).expect("opens"))
        .collect();
    for seq in 2..2 + EVENTS {
        streams
            .iter_mut()
            .for_each(|stream| assert_eq!(bell.poll(stream), Took::Nothing));
        hub.publish(vec![common(seq)]);
        assert_eq!(bell.rung(), STREAMS);
        for stream in &mut streams {
            assert_eq!(bell.poll(stream), Took::Events(vec![(seq - 1, seq)]));
        }
    }
    const { assert!(Log::STREAM_BYTES <= 512) };
}
