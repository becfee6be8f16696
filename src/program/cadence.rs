//! Which frames of a source a picture shows: those that are nearest to its time, but one after the other. A camera has as many
//! frames a second as the program has pictures, yet at other moments, which waver by some milliseconds. Were each shown by the
//! picture nearest to it, a camera whose frames lie in the middle between two pictures would be seen twice and then not at
//! all, again and again. So what one picture did the next one does, until that is off by three quarters of a picture. Pure;
//! times are those at which things are due.

use std::time::{Duration, Instant};

/// A picture of the program.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    pub at: Instant,
    /// To the next one. Zero: there are none yet, and everything is taken when it is due.
    pub interval: Duration,
    /// What is due from here on is left to others.
    pub end: Option<Instant>,
}

/// How a source's frames lie between the pictures.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cadence {
    /// How long behind its own time a picture takes what is due. `None`: half of the way to the next one.
    reach: Option<Duration>,
}

impl Cadence {
    /// The last moment that this picture shows.
    pub fn last(&self, slot: Slot) -> Instant {
        let Slot { at, interval, end } = slot;
        let reach = self.reach.unwrap_or(interval / 2).clamp(interval / 4, interval * 3 / 4);
        end.map_or(at + reach, |end| (at + reach).min(end - Duration::from_nanos(1)))
    }

    /// This picture shows a frame that was due then: half a picture from it on, none comes for sure.
    pub fn handle_shown(&mut self, due: Instant, slot: Slot) {
        if !slot.interval.is_zero() {
            let late = slot.at.saturating_duration_since(due);
            let early = due.saturating_duration_since(slot.at);
            self.reach = Some((slot.interval / 2 + early).saturating_sub(late));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PICTURE: Duration = Duration::from_millis(32);

    /// A source's frames, in milliseconds of the program's time, and the pictures from one second on that show them.
    struct Seen {
        /// New frames, by picture.
        fresh: Vec<usize>,
        /// By how much each shown frame is due behind its picture, in milliseconds.
        early_ms: Vec<f64>,
    }

    fn watch(dues_ms: &[f64], end: Option<f64>) -> Seen {
        let origin = Instant::now();
        let time = |ms: f64| origin + Duration::from_secs_f64(ms / 1000.0);
        let mut cadence = Cadence::default();
        let mut seen = Seen {
            fresh: Vec::new(),
            early_ms: Vec::new(),
        };
        let mut frames = dues_ms.iter().peekable();
        let last_ms = dues_ms.iter().copied().fold(0.0, f64::max);
        for number in 0.. {
            let at_ms = 1000.0 + f64::from(number) * 32.0;
            if at_ms + 100.0 > last_ms {
                return seen;
            }
            let slot = Slot {
                at: time(at_ms),
                interval: PICTURE,
                end: end.map(time),
            };
            let last = cadence.last(slot);
            let mut newest = None;
            let mut fresh = 0;
            while let Some(due) = frames.next_if(|due| time(**due) <= last) {
                newest = Some(*due);
                fresh += 1;
            }
            seen.fresh.push(fresh);
            if let Some(due) = newest {
                cadence.handle_shown(time(due), slot);
                seen.early_ms.push(due - at_ms);
            }
        }
        unreachable!()
    }

    /// A frame every so many milliseconds, each off by up to `wavering` of them.
    fn frames(first_ms: f64, every_ms: f64, wavering_ms: f64) -> Vec<f64> {
        let mut random = 1_u32;
        let frames = (0..600).map(|number| {
            // Numerical Recipes' generator; the high bits are the random ones
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let off = f64::from(random >> 16) / f64::from(1 << 15) - 1.0;
            first_ms + f64::from(number) * every_ms + off * wavering_ms
        });
        frames.collect()
    }

    #[test]
    fn a_camera_that_wavers_is_seen_once_in_each_picture_wherever_its_frames_lie() {
        for phase_ms in 0..32 {
            let Seen { fresh, early_ms } = watch(&frames(1000.0 + f64::from(phase_ms), 32.0, 5.0), None);
            // the first one or two may be between the old pictures and the new ones
            assert!(fresh[2..].iter().all(|fresh| *fresh == 1), "{phase_ms} ms: {fresh:?}");
            let farthest = early_ms[2..].iter().fold(0.0, |far: f64, early| far.max(early.abs()));
            assert!(farthest <= 24.0, "{phase_ms} ms: {farthest} ms");
        }
    }

    #[test]
    fn a_camera_that_is_slower_or_faster_is_seen_twice_or_skipped_once_for_each_picture_it_is_off() {
        // from one picture to the next one over in 600
        for (every_ms, seen_so_often) in [(32.0 + 32.0 / 600.0, 0), (32.0 - 32.0 / 600.0, 2)] {
            let Seen { fresh, .. } = watch(&frames(1000.0, every_ms, 5.0), None);
            let others: Vec<usize> = fresh[2..].iter().copied().filter(|fresh| *fresh != 1).collect();
            assert!(
                others.len() <= 1 && others.iter().all(|fresh| *fresh == seen_so_often),
                "{others:?}"
            );
        }
    }

    #[test]
    fn other_rates_are_seen_as_evenly_as_they_can_be() {
        // milliseconds from frame to frame, and pictures from one that shows something new to the next
        for (every_ms, apart) in [
            (8.0, 1..=1),
            (16.0, 1..=1),
            (40.0, 1..=2),
            (64.0, 2..=2),
            (128.0, 4..=4),
        ] {
            for phase_ms in 0..32 {
                let Seen { fresh, early_ms } = watch(&frames(1000.0 + f64::from(phase_ms), every_ms, 3.0), None);
                let new = fresh
                    .iter()
                    .zip(0..)
                    .filter_map(|(fresh, number)| (*fresh > 0).then_some(number));
                let new: Vec<usize> = new.skip(2).collect();
                let what = format!("{every_ms} ms from {phase_ms} ms on: {fresh:?}, {early_ms:?}");
                assert!(
                    new.windows(2).all(|pair| apart.contains(&(pair[1] - pair[0]))),
                    "{what}"
                );
                assert!(
                    new.len() > 50 && early_ms[1..].iter().all(|early| early.abs() <= 24.0),
                    "{what}"
                );
            }
        }
    }

    #[test]
    fn what_is_due_from_the_end_on_is_not_seen() {
        let Seen { fresh, .. } = watch(&frames(1000.0, 32.0, 0.0), Some(1320.0));
        assert_eq!(fresh.iter().sum::<usize>(), 10);
    }

    #[test]
    fn until_there_are_pictures_everything_is_seen_when_it_is_due() {
        let at = Instant::now() + Duration::from_secs(1);
        let slot = Slot {
            at,
            interval: Duration::ZERO,
            end: None,
        };
        let mut cadence = Cadence::default();
        assert_eq!(cadence.last(slot), at);
        cadence.handle_shown(at - Duration::from_millis(40), slot);
        let slot = Slot {
            interval: PICTURE,
            ..slot
        };
        assert_eq!(
            cadence.last(slot),
            at + PICTURE / 2,
            "it says nothing of how the frames lie"
        );
    }
}
