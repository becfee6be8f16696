//! Smoothed loudness of a publisher's audio.

use crate::rtp::extension::AudioLevel;
use std::time::{Duration, Instant};

/// At most four a second: slots are ordered by who was loud lately, not by syllables.
const INTERVAL: Duration = Duration::from_millis(250);
/// Loudness rises with this time constant, so that a word counts,
const ATTACK_S: f32 = 0.1;
/// and falls with this one, so that a pause between words does not.
const RELEASE_S: f32 = 0.8;
/// Longest gap between two packets that counts as such (discontinuous transmission sends every 400 ms).
const GAP_MAX_S: f32 = 0.5;

/// Levels in, reports out.
#[derive(Debug, Default)]
pub(super) struct Loudness {
    /// 0 (silent) ..= 127.
    smoothed: f32,
    last: Option<Instant>,
    reported: Option<u8>,
    reported_at: Option<Instant>,
}

impl Loudness {
    /// Takes a packet's level; what to report, if it is time and it changed.
    pub(super) fn handle(&mut self, level: AudioLevel, now: Instant) -> Option<u8> {
        let gap = self
            .last
            .replace(now)
            .map_or(0.02, |last| now.saturating_duration_since(last).as_secs_f32());
        let target = f32::from(level.loudness());
        let constant = if target > self.smoothed { ATTACK_S } else { RELEASE_S };
        let gap = gap.min(GAP_MAX_S);
        self.smoothed += (target - self.smoothed) * gap / (gap + constant);
        if self.reported_at.is_some_and(|at| now < at + INTERVAL) {
            return None;
        }
        // within 0..=127 by construction
        self.report(self.smoothed.round() as u8, now)
    }

    /// Nothing is heard any more; told at once, where something was told before.
    pub(super) fn silence(&mut self, now: Instant) -> Option<u8> {
        self.smoothed = 0.0;
        self.last = None;
        self.reported?;
        self.report(0, now)
    }

    fn report(&mut self, level: u8, now: Instant) -> Option<u8> {
        if self.reported == Some(level) {
            return None;
        }
        self.reported = Some(level);
        self.reported_at = Some(now);
        Some(level)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_told_only_of_what_is_measured() {
        let now = Instant::now();
        let quiet = AudioLevel {
            voice: false,
            below_overload_db: 127,
        };
        let mut loudness = Loudness::default();
        assert_eq!(loudness.silence(now), None, "nothing ever said how loud it is");
        assert_eq!(loudness.handle(quiet, now), Some(0));
        assert_eq!(loudness.silence(now), None);
    }

    #[test]
    fn rises_fast_falls_slowly_and_reports_rarely() {
        let start = Instant::now();
        let mut loudness = Loudness::default();
        let mut reports: Vec<(u32, u8)> = vec![];
        for packet in 0..200u32 {
            let now = start + Duration::from_millis(20) * packet;
            let below_overload_db = if packet < 50 { 27 } else { 127 };
            let level = AudioLevel {
                voice: true,
                below_overload_db,
            };
            reports.extend(loudness.handle(level, now).map(|level| (packet * 20, level)));
        }
        assert!(reports.len() <= 17, "{reports:?}");
        assert!(reports.windows(2).all(|pair| pair[1].0 - pair[0].0 >= 250));
        let at = |ms: u32| reports.iter().rev().find(|(at, _)| *at <= ms).unwrap().1;
        assert!(at(600) > 95 && at(1500) > 40 && at(3990) < 10, "{reports:?}");
        assert_eq!(loudness.silence(start + Duration::from_secs(5)), Some(0));
        assert_eq!(loudness.silence(start + Duration::from_secs(5)), None);
    }
}
