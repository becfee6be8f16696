//! When a connection is to be pinged, given up or closed for its token's sake. Pure.

use std::time::{Duration, Instant};

/// The contract's: often enough for every proxy to keep the connection, and for three answers to be missing before it is
/// given up.
pub(super) const PING_EVERY: Duration = Duration::from_secs(4);

/// After this long without a sign of life, or without the socket taking anything, a peer is lost: the network of a phone
/// that changes cells is back sooner.
pub(super) const SILENCE_MAX: Duration = Duration::from_secs(10);

/// Watches over one connection.
#[derive(Debug)]
pub(super) struct Vigil {
    ping_at: Instant,
    /// `None`: of a peer that has no way to answer.
    heard_at: Option<Instant>,
    expires_at: Option<Instant>,
}

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    Ping,
    /// The peer is lost.
    Silent,
    /// The token has expired.
    Expired,
}

impl Vigil {
    /// `answers`: the peer answers pings. `expires_at`: when its token does.
    pub fn new(answers: bool, expires_at: Option<Instant>, now: Instant) -> Self {
        Vigil {
            ping_at: now + PING_EVERY,
            heard_at: answers.then_some(now),
            expires_at,
        }
    }

    /// The peer gave a sign of life.
    pub fn handle_heard(&mut self, now: Instant) {
        self.heard_at = self.heard_at.map(|_| now);
    }

    pub fn poll_timeout(&self) -> Instant {
        let silent_at = self.heard_at.map(|heard| heard + SILENCE_MAX);
        let ends = silent_at.into_iter().chain(self.expires_at);
        ends.fold(self.ping_at, Instant::min)
    }

    pub fn handle_timeout(&mut self, now: Instant) -> Option<Due> {
        if self.expires_at.is_some_and(|at| at <= now) {
            return Some(Due::Expired);
        }
        if self.heard_at.is_some_and(|heard| heard + SILENCE_MAX <= now) {
            return Some(Due::Silent);
        }
        if self.ping_at <= now {
            // From now, not from when it was due: a task that was late does not ping twice in a row.
            self.ping_at = now + PING_EVERY;
            return Some(Due::Ping);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    /// What is due when, driven by nothing but `poll_timeout`.
    fn run(vigil: &mut Vigil, start: Instant, turns: usize) -> Vec<(u64, Option<Due>)> {
        let turn = |_| {
            let now = vigil.poll_timeout();
            ((now - start).as_secs(), vigil.handle_timeout(now))
        };
        (0..turns).map(turn).collect()
    }

    #[test]
    fn who_answers_nothing_is_lost_after_two_pings() {
        let start = Instant::now();
        let mut vigil = Vigil::new(true, None, start);
        let expected = [(4, Some(Due::Ping)), (8, Some(Due::Ping)), (10, Some(Due::Silent))];
        assert_eq!(run(&mut vigil, start, 3), expected);
    }

    #[test]
    fn who_answers_is_pinged_on() {
        let start = Instant::now();
        let mut vigil = Vigil::new(true, None, start);
        for round in 1..100 {
            let now = vigil.poll_timeout();
            assert_eq!(now, at(start, 4 * round));
            assert_eq!(vigil.handle_timeout(now), Some(Due::Ping));
            vigil.handle_heard(now);
        }
        assert_eq!(vigil.handle_timeout(at(start, 397)), None);
    }

    #[test]
    fn who_cannot_answer_is_pinged_until_the_token_expires() {
        let start = Instant::now();
        let mut vigil = Vigil::new(false, Some(at(start, 14)), start);
        vigil.handle_heard(start);
        let pings = [4, 8, 12].map(|second| (second, Some(Due::Ping)));
        assert_eq!(run(&mut vigil, start, 3), pings);
        assert_eq!(run(&mut vigil, start, 1), [(14, Some(Due::Expired))]);
    }

    #[test]
    fn a_late_task_pings_once() {
        let start = Instant::now();
        let mut vigil = Vigil::new(false, None, start);
        assert_eq!(vigil.handle_timeout(at(start, 3)), None);
        assert_eq!(vigil.handle_timeout(at(start, 30)), Some(Due::Ping));
        assert_eq!(vigil.handle_timeout(at(start, 30)), None);
        assert_eq!(vigil.poll_timeout(), at(start, 34));
    }
}
