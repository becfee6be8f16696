use super::*;
use crate::room::RoomId;
use crate::store::Destinations;
use serde_json::json;

const START_MS: u64 = 1_000_000_000;

fn room(id: &str) -> RoomId {
    RoomId::parse(id).expect("a room id")
}

fn receiver(url: &str) -> Option<Receiver> {
    Receiver::of_room(&json!({ "url": url }))
}

fn own(id: &str) -> Queue {
    Queue {
        receiver: store::Receiver::Room,
        room: room(id),
    }
}

/// Virtual time, and a store.
struct World {
    schedule: Schedule,
    start: Instant,
    now: Instant,
    store: BTreeMap<Queue, BTreeMap<(u64, u64), Queued>>,
    buried: Vec<(Queue, u64, String)>,
}

impl World {
    fn new(node: Option<Receiver>) -> World {
        let now = Instant::now();
        World {
            schedule: Schedule::new(node, START_MS),
            start: now,
            now,
            store: BTreeMap::new(),
            buried: Vec::new(),
        }
    }

    fn moment(&self) -> Moment {
        let passed = u64::try_from((self.now - self.start).as_millis()).expect("fits");
        Moment {
            now: self.now,
            wall_ms: START_MS + passed,
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
    }

    fn say(&mut self, id: &str, url: Option<&str>, seqs: std::ops::Range<u64>) {
        let to = Destinations {
            node: self.schedule.node().is_some(),
            room: url.is_some(),
        };
        let messages: Vec<Message> = seqs
            .map(|seq| Message {
                epoch: 1,
                seq,
                at_ms: self.moment().wall_ms,
                to,
                body: seq.to_string().into(),
            })
            .collect();
        for message in &messages {
            for (kind, due) in [(store::Receiver::Node, to.node), (store::Receiver::Room, to.room)] {
                if due {
                    let queue = Queue {
                        receiver: kind,
                        room: room(id),
                    };
                    let queued = Queued {
                        epoch: 1,
                        seq: message.seq,
                        at_ms: message.at_ms,
                        body: message.body.clone(),
                    };
                    self.store.entry(queue).or_default().insert(queued.position(), queued);
                }
            }
        }
        self.schedule
            .handle_messages(&room(id), url.and_then(receiver), &messages);
    }

    /// Does what the store is asked for; returns what is to be sent.
    fn turn(&mut self) -> Vec<Delivery> {
        let mut deliveries = Vec::new();
        while let Some(step) = self.schedule.poll_step(self.now) {
            match step {
                Step::Send(delivery) => deliveries.push(delivery),
                Step::Sent { queue, position } => {
                    self.store.entry(queue).or_default().remove(&position);
                }
                Step::Refill { queue, after, limit } => {
                    let stored = self.store.entry(queue.clone()).or_default();
                    let behind = stored
                        .values()
                        .filter(|one| after.is_none_or(|after| one.position() > after));
                    let page = behind.take(limit).cloned().collect();
                    self.schedule.handle_refill(&queue, Some(page), limit, self.now);
                }
                Step::Bury { queue, until_ms, why } => {
                    let stored = self.store.entry(queue.clone()).or_default();
                    for message in stored.values().filter(|one| one.at_ms <= until_ms) {
                        self.buried.push((queue.clone(), message.seq, why.clone()));
                    }
                    stored.retain(|_, one| one.at_ms > until_ms);
                }
            }
            assert!(self.schedule.in_flight.len() <= IN_FLIGHT);
            let held: usize = self.schedule.lines.values().map(|line| line.window.len()).sum();
            assert_eq!(held, self.schedule.held);
            assert!(self.schedule.lines.values().all(|line| line.window.len() <= WINDOW + 1));
        }
        deliveries
    }

    fn answer(&mut self, delivery: &Delivery, outcome: Outcome) {
        let moment = self.moment();
        self.schedule.handle_outcome(delivery, outcome, moment, 1.0);
    }

    fn fail(&mut self, delivery: &Delivery) {
        let outcome = Outcome::Failed {
            why: "500".to_owned(),
            retry_after: None,
        };
        self.answer(delivery, outcome);
    }

    fn left(&self) -> usize {
        self.store.values().map(BTreeMap::len).sum()
    }
}

#[test]
fn a_queue_is_sent_in_order_one_at_a_time_however_long() {
    let mut world = World::new(None);
    world.say("demo", Some("https://a.example"), 2..200);
    let mut seen = Vec::new();
    let mut next = 200;
    loop {
        let deliveries = world.turn();
        let [delivery] = &deliveries[..] else {
            assert!(deliveries.is_empty());
            break;
        };
        seen.push(delivery.position.1);
        if next < 300 {
            // It goes on meanwhile.
            world.say("demo", Some("https://a.example"), next..next + 1);
            next += 1;
        }
        world.answer(delivery, Outcome::Taken);
    }
    assert_eq!(seen, (2..300).collect::<Vec<_>>());
    assert_eq!(
        (world.left(), world.schedule.lines.len(), world.schedule.held),
        (0, 0, 0)
    );
}

#[test]
fn failures_wait_longer_and_longer_and_end_after_an_hour() {
    let mut world = World::new(None);
    world.say("demo", Some("https://a.example"), 2..4);
    let mut tries = Vec::new();
    let mut waits = Vec::new();
    while world.buried.is_empty() {
        let deliveries = world.turn();
        for delivery in &deliveries {
            assert_eq!(delivery.position, (1, 2), "the one behind waits");
            tries.push(world.now - world.start);
            world.fail(delivery);
        }
        world.turn();
        if let Some(until) = world.schedule.poll_timeout() {
            waits.push((until - world.now).as_secs());
            world.now = until;
        }
    }
    assert_eq!(waits[..10], [1, 2, 4, 8, 16, 32, 64, 128, 256, 300]);
    let longest = tries.last().copied().unwrap_or_default();
    assert!(
        longest >= LIFETIME && longest < LIFETIME + BACKOFF_LONGEST,
        "{longest:?}"
    );
    // Both were an hour old; nothing is left, and what comes next is tried at once.
    assert_eq!(world.buried.iter().map(|(_, seq, _)| *seq).collect::<Vec<_>>(), [2, 3]);
    assert!(world.turn().is_empty());
    world.say("demo", Some("https://a.example"), 4..5);
    assert_eq!(world.turn().len(), 1);
}

#[test]
fn chance_and_the_receivers_wish_shape_the_wait() {
    assert_eq!(backoff(1, 0.0), BACKOFF_FIRST / 2);
    assert_eq!(backoff(3, 0.5), BACKOFF_FIRST * 3);
    assert_eq!(backoff(u32::MAX, 1.0), BACKOFF_LONGEST);
    let mut world = World::new(None);
    world.say("demo", Some("https://a.example"), 2..3);
    let delivery = world.turn().remove(0);
    let outcome = Outcome::Failed {
        why: "429".to_owned(),
        retry_after: Some(Duration::from_secs(30)),
    };
    world.answer(&delivery, outcome);
    assert_eq!(world.schedule.poll_timeout(), Some(world.now + Duration::from_secs(30)));
}

#[test]
fn what_was_left_gets_its_hour_after_a_restart() {
    let mut world = World::new(None);
    let old = Queued {
        epoch: 1,
        seq: 2,
        at_ms: START_MS - 10 * 3_600_000,
        body: "2".into(),
    };
    world.store.entry(own("demo")).or_default().insert((1, 2), old);
    world.schedule.handle_found(own("demo"), receiver("https://a.example"));
    let delivery = world.turn().remove(0);
    world.fail(&delivery);
    world.turn();
    assert_eq!(world.buried, []);
    world.pass(LIFETIME);
    let delivery = world.turn().remove(0);
    world.fail(&delivery);
    world.turn();
    assert_eq!(world.buried.len(), 1);
    // Without anybody to send it to it is given up at once.
    world.schedule.handle_found(own("other"), None);
    assert!(matches!(world.schedule.poll_step(world.now), Some(Step::Bury { .. })));
}

#[test]
fn gone_is_not_asked_again_for_an_hour() {
    let mut world = World::new(None);
    world.say("demo", Some("https://a.example"), 2..5);
    let delivery = world.turn().remove(0);
    world.answer(&delivery, Outcome::Gone);
    world.say("demo", Some("https://a.example"), 5..6);
    assert!(world.turn().is_empty());
    assert_eq!(world.buried.len(), 4);
    // Another receiver is another matter.
    world.say("demo", Some("https://b.example"), 6..7);
    let delivery = world.turn().remove(0);
    assert_eq!(
        (delivery.position, delivery.receiver.url.host_str()),
        ((1, 6), Some("b.example"))
    );
    world.answer(&delivery, Outcome::Gone);
    world.pass(LIFETIME);
    assert!(world.turn().is_empty());
    world.say("demo", Some("https://b.example"), 7..8);
    assert_eq!(world.turn().len(), 1);
}

#[test]
fn the_setting_of_now_counts() {
    let mut world = World::new(None);
    world.say("demo", Some("https://a.example"), 2..4);
    let first = world.turn().remove(0);
    world.fail(&first);
    // It is waiting; the new receiver gets it at once.
    world.say("demo", Some("https://b.example"), 4..4);
    let second = world.turn().remove(0);
    assert_eq!(
        (second.position, second.receiver.url.host_str()),
        ((1, 2), Some("b.example"))
    );
    // Changed while on its way: what the old one said is of no interest, unless it has it.
    world.say("demo", Some("https://c.example"), 4..4);
    assert!(world.turn().is_empty(), "one at a time");
    world.fail(&second);
    let third = world.turn().remove(0);
    assert_eq!(
        (third.position, third.receiver.url.host_str()),
        ((1, 2), Some("c.example"))
    );
    // Taken away while on its way.
    world.say("demo", None, 4..4);
    world.answer(&third, Outcome::Taken);
    assert!(world.turn().is_empty());
    assert!(world.schedule.lines.is_empty() && world.schedule.in_flight.is_empty());
}

#[test]
fn dead_receivers_leave_the_others_their_share() {
    let mut world = World::new(None);
    for n in 0..400 {
        world.say(&format!("dead{n}"), Some(&format!("https://dead{n}.example")), 2..3);
    }
    for delivery in world.turn() {
        world.fail(&delivery);
    }
    for delivery in world.turn() {
        world.fail(&delivery);
    }
    world.pass(Duration::from_secs(2));
    // All of them hang at their second try.
    assert_eq!(world.turn().len(), RETRIES);
    for n in 0..50 {
        world.say(&format!("live{n}"), Some("https://live.example"), 2..3);
    }
    let live = world.turn();
    assert_eq!(live.len(), PER_HOST, "and one host has no more than its part");
    let mut sent = 0;
    let mut flying = live;
    while let Some(delivery) = flying.pop() {
        world.answer(&delivery, Outcome::Taken);
        sent += 1;
        flying.extend(world.turn());
    }
    assert_eq!(sent, 50);
    assert_eq!(world.schedule.in_flight.len(), RETRIES);
}

#[test]
fn the_dead_come_back_in_front() {
    let mut world = World::new(None);
    world.say("demo", Some("https://a.example"), 10..13);
    let flying = world.turn().remove(0);
    // An older one is put back into the store.
    let revived = Queued {
        epoch: 1,
        seq: 3,
        at_ms: START_MS,
        body: "3".into(),
    };
    world.store.entry(own("demo")).or_default().insert((1, 3), revived);
    world.schedule.handle_found(own("demo"), receiver("https://a.example"));
    assert!(world.turn().is_empty());
    world.answer(&flying, Outcome::Taken);
    let mut seen = Vec::new();
    while let Some(delivery) = world.turn().pop() {
        seen.push(delivery.position.1);
        world.answer(&delivery, Outcome::Taken);
    }
    assert_eq!(seen, [3, 11, 12]);
}

#[test]
fn both_receivers_get_everything_whatever_becomes_of_it() {
    let mut world = World::new(receiver("https://node.example"));
    let mut dice: u64 = 7;
    let mut taken: BTreeMap<Queue, Vec<u64>> = BTreeMap::new();
    let mut flying: Vec<Delivery> = Vec::new();
    for seq in 2..60 {
        for id in ["a", "b", "c"] {
            world.say(id, Some("https://own.example"), seq..seq + 1);
        }
        flying.extend(world.turn());
        for delivery in std::mem::take(&mut flying) {
            dice = dice
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            match dice >> 62 {
                0 => world.fail(&delivery),
                1 => flying.push(delivery),
                _ => {
                    taken
                        .entry(delivery.queue.clone())
                        .or_default()
                        .push(delivery.position.1);
                    world.answer(&delivery, Outcome::Taken);
                }
            }
        }
        world.pass(Duration::from_millis(200));
    }
    for _ in 0..10_000 {
        flying.extend(world.turn());
        for delivery in std::mem::take(&mut flying) {
            taken
                .entry(delivery.queue.clone())
                .or_default()
                .push(delivery.position.1);
            world.answer(&delivery, Outcome::Taken);
        }
        world.pass(Duration::from_millis(100));
    }
    assert_eq!((world.left(), taken.len()), (0, 6));
    for (queue, seqs) in taken {
        assert_eq!(seqs, (2..60).collect::<Vec<_>>(), "{queue:?}");
    }
}
