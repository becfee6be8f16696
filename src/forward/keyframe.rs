//! The keyframe broker: merges the wishes of many viewers into few requests to one publisher.

use std::time::{Duration, Instant};

/// Between two requests for one layer: any number of joining viewers costs the publisher two keyframes a second at most.
const INTERVAL: Duration = Duration::from_millis(500);
/// Requests for one wish. A viewer who still lacks a keyframe wishes again; without a bound a wish of somebody who left
/// would be asked for forever.
const TRIES_MAX: u8 = 8;
/// An answer this quick is an answer; a later keyframe may as well be the publisher's own.
const PROMPT: Duration = INTERVAL;
/// A request without a keyframe for so long counts as unanswered.
const PATIENCE: Duration = Duration::from_secs(1);
/// So many of those, with no prompt answer between them, and the publisher is taken to ignore requests.
const UNANSWERED_MAX: u8 = 2;

/// When to ask for a keyframe of one layer. Wishes come in by [`request`](Self::request), keyframes by
/// [`handle_keyframe`](Self::handle_keyframe); [`poll`](Self::poll) says when to ask the publisher.
#[derive(Debug, Default)]
pub(super) struct KeyframeBroker {
    wanted: bool,
    tries: u8,
    /// When the publisher was asked last.
    asked: Option<Instant>,
    /// When the publisher was asked first since the last keyframe.
    asked_first: Option<Instant>,
    /// From when on the wait for an answer counts.
    waiting_since: Option<Instant>,
    unanswered: u8,
    last_keyframe: Option<Instant>,
}

impl KeyframeBroker {
    /// Somebody needs a keyframe.
    pub(super) fn request(&mut self) {
        if !self.wanted {
            self.wanted = true;
            self.tries = 0;
        }
    }

    /// A keyframe began.
    pub(super) fn handle_keyframe(&mut self, now: Instant) {
        self.wanted = false;
        self.waiting_since = None;
        self.last_keyframe = Some(now);
        if let Some(first) = self.asked_first.take()
            && now.saturating_duration_since(first) <= PROMPT
        {
            self.unanswered = 0;
        }
    }

    /// The layer stopped: nobody is there to answer. The wish stays for when it comes back.
    pub(super) fn suspend(&mut self) {
        self.waiting_since = None;
        self.asked_first = None;
        self.tries = 0;
    }

    /// Whether to send a request now; it then counts as sent.
    pub(super) fn poll(&mut self, now: Instant) -> bool {
        if self.waiting_since.is_some_and(|since| now >= since + PATIENCE) {
            self.unanswered = self.unanswered.saturating_add(1);
            self.waiting_since = Some(now);
        }
        if !self.wanted || self.asked.is_some_and(|asked| now < asked + INTERVAL) {
            return false;
        }
        if self.tries >= TRIES_MAX {
            self.wanted = false;
            self.waiting_since = None;
            return false;
        }
        self.tries += 1;
        self.asked = Some(now);
        self.asked_first.get_or_insert(now);
        self.waiting_since.get_or_insert(now);
        true
    }

    /// When [`poll`](Self::poll) has something to do; `now` or earlier: at once.
    pub(super) fn timeout(&self, now: Instant) -> Option<Instant> {
        let ask = self.wanted.then(|| self.asked.map_or(now, |asked| asked + INTERVAL));
        let patience = self.waiting_since.map(|since| since + PATIENCE);
        ask.into_iter().chain(patience).min()
    }

    /// When the last keyframe began.
    pub(super) fn last_keyframe(&self) -> Option<Instant> {
        self.last_keyframe
    }

    /// Requests went unanswered for long, twice.
    pub(super) fn is_ignored(&self) -> bool {
        self.unanswered >= UNANSWERED_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Polls every 10 ms; the times in ms at which requests went out.
    fn run(broker: &mut KeyframeBroker, start: Instant, from_ms: u32, to_ms: u32) -> Vec<u32> {
        (from_ms..to_ms)
            .step_by(10)
            .filter(|ms| broker.poll(start + MS * *ms))
            .collect()
    }

    #[test]
    fn wishes_are_merged_and_the_first_goes_at_once() {
        let start = Instant::now();
        let mut broker = KeyframeBroker::default();
        assert_eq!(broker.timeout(start), None);
        assert!(run(&mut broker, start, 0, 100).is_empty());
        broker.request();
        assert_eq!(broker.timeout(start), Some(start));
        assert!(broker.poll(start));
        for _ in 0..100 {
            broker.request();
        }
        assert!(run(&mut broker, start, 0, 200).is_empty());
        broker.handle_keyframe(start + 200 * MS);
        assert_eq!(broker.timeout(start), None);
        // a wish right behind a keyframe waits for the interval
        broker.request();
        assert_eq!(broker.timeout(start + 210 * MS), Some(start + INTERVAL));
        assert_eq!(run(&mut broker, start, 210, 600), [500]);
    }

    #[test]
    fn asks_again_until_a_keyframe_comes_but_not_forever() {
        let start = Instant::now();
        let mut broker = KeyframeBroker::default();
        broker.request();
        let asked = run(&mut broker, start, 0, 20_000);
        assert_eq!(asked, [0, 500, 1000, 1500, 2000, 2500, 3000, 3500]);
        assert!(broker.is_ignored());
        assert_eq!(broker.timeout(start), None);
    }

    #[test]
    fn keyframes_of_the_publishers_own_are_no_answers() {
        let start = Instant::now();
        let mut broker = KeyframeBroker::default();
        for round in 0..2u32 {
            let from = round * 10_000;
            broker.request();
            run(&mut broker, start, from, from + 1500);
            broker.handle_keyframe(start + MS * (from + 1500));
        }
        assert!(broker.is_ignored());
    }

    #[test]
    fn a_prompt_answer_clears_the_record() {
        let start = Instant::now();
        let mut broker = KeyframeBroker::default();
        for (round, answer_ms) in [(0u32, 1500u32), (1, 80), (2, 1500), (3, 100)] {
            let from = round * 10_000;
            broker.request();
            run(&mut broker, start, from, from + answer_ms);
            broker.handle_keyframe(start + MS * (from + answer_ms));
            assert!(!broker.is_ignored());
        }
    }

    #[test]
    fn a_stopped_layer_owes_no_answer() {
        let start = Instant::now();
        let mut broker = KeyframeBroker::default();
        broker.request();
        assert!(broker.poll(start));
        broker.suspend();
        assert!(broker.poll(start + 60_000 * MS));
        assert!(!broker.is_ignored());
    }
}
