//! Whether a room's program has a thread of its own: while somebody watches, unless the mode says otherwise. Pure. What that
//! thread passes through and what it mixes is its own decision ([`crate::program`]).

use crate::room::{ProgramMode, ProgramSettings};
use std::time::{Duration, Instant};

/// How long nobody has watched before the thread ends: a page that reloads finds it running.
const NOBODY_WATCHES: Duration = Duration::from_secs(2);
/// How long a program rests after it ended by itself: what ended it may end the next one, too.
const REST: Duration = Duration::from_secs(1);

/// What the decision is made from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts<'a> {
    pub settings: &'a ProgramSettings,
    /// There has been seated media: the program exists until the room ends.
    pub begun: bool,
    pub viewers: usize,
}

/// How the program is made now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Making {
    Off,
    /// Nothing is made while nobody watches.
    Unwatched,
    /// Of the host's own packets.
    Passthrough,
    Mixed,
}

/// When the program's thread runs.
#[derive(Debug, Default)]
pub(super) struct Running {
    running: bool,
    /// Until when it goes on though nobody watches.
    unwatched: Option<Instant>,
    /// No other one is begun before.
    rests_until: Option<Instant>,
}

impl Running {
    /// Whether it runs from now on.
    pub fn decide(&mut self, facts: Facts, now: Instant) -> bool {
        let mode = facts.settings.mode;
        // in mode `passthrough` viewers get the host's camera itself, in the encoding each of them has the bandwidth for
        let exists = facts.begun && matches!(mode, ProgramMode::Auto | ProgramMode::Mixed);
        let watched = facts.viewers > 0 || facts.settings.always;
        let lingers = exists && !watched && self.running;
        self.unwatched = lingers.then(|| self.unwatched.unwrap_or(now + NOBODY_WATCHES));
        self.running = exists && (watched || self.unwatched.is_some_and(|until| now < until));
        self.rests_until = self.rests_until.filter(|until| now < *until);
        self.running && self.rests_until.is_none()
    }

    /// The thread ended though it was needed.
    pub fn handle_end(&mut self, now: Instant) {
        self.rests_until = Some(now + REST);
    }

    /// When the decision may be another one.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let unwatched = self.unwatched.filter(|_| self.running);
        self.rests_until.into_iter().chain(unwatched).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_runs_while_somebody_watches_and_a_moment_longer() {
        let (start, mut running) = (Instant::now(), Running::default());
        let mut settings = ProgramSettings::default();
        let mut decide = |settings: &ProgramSettings, begun: bool, viewers: usize, after_ms: u64| {
            let facts = Facts {
                settings,
                begun,
                viewers,
            };
            let runs = running.decide(facts, start + Duration::from_millis(after_ms));
            (runs, running.poll_timeout().map(|at| (at - start).as_millis()))
        };
        assert_eq!(decide(&settings, false, 1, 0), (false, None), "no seated media yet");
        assert_eq!(decide(&settings, true, 0, 0), (false, None), "nobody watches");
        assert_eq!(decide(&settings, true, 1, 0), (true, None));
        assert_eq!(decide(&settings, true, 0, 1_000), (true, Some(3_000)));
        assert_eq!(
            decide(&settings, true, 1, 2_000),
            (true, None),
            "a page was loaded anew"
        );
        assert_eq!(decide(&settings, true, 0, 5_000), (true, Some(7_000)));
        assert_eq!(decide(&settings, true, 0, 6_999), (true, Some(7_000)));
        assert_eq!(decide(&settings, true, 0, 7_000), (false, None));
        settings.always = true;
        assert_eq!(decide(&settings, true, 0, 8_000), (true, None));
        for mode in [ProgramMode::Off, ProgramMode::Passthrough] {
            settings.mode = mode;
            assert_eq!(decide(&settings, true, 1, 9_000), (false, None));
        }
        settings.mode = ProgramMode::Mixed;
        assert_eq!(decide(&settings, true, 1, 10_000), (true, None));
        assert_eq!(decide(&settings, false, 1, 10_000), (false, None), "the room has ended");
    }

    #[test]
    fn one_that_ended_by_itself_is_followed_by_another_one_in_a_while() {
        let (start, mut running) = (Instant::now(), Running::default());
        let facts = Facts {
            settings: &ProgramSettings::default(),
            begun: true,
            viewers: 1,
        };
        let at = |ms| start + Duration::from_millis(ms);
        assert!(running.decide(facts, at(0)));
        running.handle_end(at(100));
        assert!(!running.decide(facts, at(100)));
        assert_eq!(running.poll_timeout(), Some(at(1_100)));
        assert!(!running.decide(facts, at(1_099)));
        assert!(running.decide(facts, at(1_100)));
        assert_eq!(running.poll_timeout(), None);
    }
}
