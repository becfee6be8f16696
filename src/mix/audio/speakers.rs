//! Who speaks.

use crate::forward::SeatIndex;
use std::time::{Duration, Instant};

/// Decibels below overload (RFC 6464 §3): speech at a usual distance is 15 to 40 below, a quiet room more than 60. Louder than
/// this is speech,
const LOUD: u8 = 45;
/// and as long as it is louder than this, it goes on.
const AUDIBLE: u8 = 50;
/// So much of it within little more, and somebody speaks: longer than a cough or a key, shorter than a syllable is missed.
const ATTACK: Duration = Duration::from_millis(80);
/// The pause between two sentences.
const RELEASE: Duration = Duration::from_millis(500);
/// A level says nothing of more than this, should the next be long in coming.
const SPAN_MAX: Duration = Duration::from_millis(60);
/// What the first level stands for: a block.
const SPAN_FIRST: Duration = Duration::from_millis(20);

#[derive(Debug)]
struct Speaker {
    seat: SeatIndex,
    level: u8,
    at: Instant,
    /// Time of loud levels, less that of quiet ones.
    heard: Duration,
    /// The last audible level while speaking.
    speaking: Option<Instant>,
}

/// Levels in, who speaks out; one entry per seat that has a voice.
#[derive(Debug, Default)]
pub struct Speakers {
    /// By seat.
    speakers: Vec<Speaker>,
}

impl Speakers {
    /// A seat's level in decibels below overload, 0 (loudest) ..= 127 (silent): [`Pulled::level`](super::Pulled) of
    /// every block, or RFC 6464's. Returns whether the seat speaks, if that changed.
    pub fn handle_level(&mut self, seat: SeatIndex, level: u8, now: Instant) -> Option<bool> {
        let index = match self.speakers.binary_search_by_key(&seat, |speaker| speaker.seat) {
            Ok(index) => index,
            Err(index) => {
                let speaker = Speaker {
                    seat,
                    level,
                    at: now.checked_sub(SPAN_FIRST).unwrap_or(now),
                    heard: Duration::ZERO,
                    speaking: None,
                };
                self.speakers.insert(index, speaker);
                index
            }
        };
        self.speakers.get_mut(index)?.handle_level(level, now)
    }

    /// The seat has no voice any more. Returns whether it spoke.
    pub fn remove(&mut self, seat: SeatIndex) -> bool {
        let spoke = self.speaking().any(|speaking| speaking == seat);
        self.speakers.retain(|speaker| speaker.seat != seat);
        spoke
    }

    /// Who speaks, by seat.
    pub fn speaking(&self) -> impl Iterator<Item = SeatIndex> {
        let speaking = self.speakers.iter().filter(|speaker| speaker.speaking.is_some());
        speaking.map(|speaker| speaker.seat)
    }

    /// The seat's last level.
    pub fn level(&self, seat: SeatIndex) -> Option<u8> {
        let speaker = self.speakers.iter().find(|speaker| speaker.seat == seat)?;
        Some(speaker.level)
    }
}

impl Speaker {
    fn handle_level(&mut self, level: u8, now: Instant) -> Option<bool> {
        let span = now.saturating_duration_since(self.at).min(SPAN_MAX);
        (self.level, self.at) = (level, now);
        self.heard = if level <= LOUD {
            (self.heard + span).min(ATTACK)
        } else {
            self.heard.saturating_sub(span)
        };
        match self.speaking {
            Some(_) if level <= AUDIBLE => {
                self.speaking = Some(now);
                None
            }
            Some(last) if now.saturating_duration_since(last) >= RELEASE => {
                self.speaking = None;
                self.heard = Duration::ZERO;
                Some(false)
            }
            None if self.heard >= ATTACK => {
                self.speaking = Some(now);
                Some(true)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speaking_starts_soon_and_ends_after_a_pause() {
        let start = Instant::now();
        let mut speakers = Speakers::default();
        let mut changes = vec![];
        for block in 0..150u32 {
            let now = start + Duration::from_millis(20) * block;
            let ms = block * 20;
            let level = match ms {
                // a key
                200 | 220 => 20,
                // a sentence with a pause of 300 ms
                1000..1300 | 1600..2000 => 30,
                // its end
                2000..2100 => 48,
                _ => 127,
            };
            speakers.handle_level(SeatIndex(2), 127, now);
            if let Some(speaking) = speakers.handle_level(SeatIndex(1), level, now) {
                changes.push((ms, speaking));
                assert_eq!(speakers.speaking().eq([SeatIndex(1)]), speaking);
            }
        }
        assert_eq!(changes, [(1060, true), (2580, false)]);
        assert_eq!(
            (speakers.level(SeatIndex(1)), speakers.level(SeatIndex(3))),
            (Some(127), None)
        );
    }

    #[test]
    fn a_voice_that_leaves_no_longer_speaks() {
        let start = Instant::now();
        let mut speakers = Speakers::default();
        for block in 0..10 {
            speakers.handle_level(SeatIndex(1), 20, start + Duration::from_millis(20) * block);
        }
        assert!(speakers.remove(SeatIndex(1)) && !speakers.remove(SeatIndex(1)));
        assert_eq!(speakers.speaking().count(), 0);
    }
}
