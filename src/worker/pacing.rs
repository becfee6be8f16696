//! When a room's fresh packets leave: at once, or a little later together with those that are about to come. Pure; the
//! time base is the packets' arrival.
//!
//! A train of two costs a third less per packet than two single datagrams, one of eight less than a quarter, so waiting
//! pays, but only if something comes in time. So the gap that usually follows a packet is learnt per place in the stream;
//! a packet waits only if the next one is expected within the tick, counted from the oldest that waits. Bursts leave
//! as whole frames the moment the frame is complete; evenly paced packets leave in pairs or triples, or, if their gap
//! exceeds the tick, without any delay.

use std::time::{Duration, Instant};

/// Where a packet stands in its stream: what follows differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Audio,
    /// More of the video frame follows.
    WithinFrame,
    EndOfFrame,
}

/// Longer gaps all mean "not worth waiting for"; the bound makes the average recover within a few packets of a burst.
const GAP_MAX: Duration = Duration::from_millis(20);
/// Weight of a new gap in the average: about one 720p frame of packets decides.
const GAP_WEIGHT: u32 = 8;

#[derive(Clone, Debug)]
pub(super) struct Pacing {
    /// How long a packet may wait.
    tick: Duration,
    oldest: Option<Instant>,
    due: Option<Instant>,
    last: Option<(Instant, Place)>,
    /// Average gap behind a packet, by [`Place`].
    gaps: [Duration; 3],
}

impl Pacing {
    pub fn new(tick: Duration) -> Self {
        Pacing {
            tick,
            oldest: None,
            due: None,
            last: None,
            gaps: [GAP_MAX, Duration::ZERO, GAP_MAX],
        }
    }

    /// A packet of the room became fresh.
    pub fn arrived(&mut self, place: Place, arrival: Instant) {
        if let Some((before, place)) = self.last {
            let gap = arrival.saturating_duration_since(before).min(GAP_MAX);
            let average = &mut self.gaps[place as usize];
            *average = (*average * (GAP_WEIGHT - 1) + gap) / GAP_WEIGHT;
        }
        self.last = Some((arrival, place));
        let latest = *self.oldest.get_or_insert(arrival) + self.tick;
        let next = arrival + self.gaps[place as usize];
        self.due = Some(if next <= latest { latest } else { arrival });
    }

    /// Something else has to leave now, such as a newcomer's start from the ring.
    pub fn hurry(&mut self, now: Instant) {
        self.oldest.get_or_insert(now);
        self.due = Some(self.due.map_or(now, |due| due.min(now)));
    }

    /// When the fresh packets leave; `None`: there are none.
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    pub fn flushed(&mut self) {
        self.oldest = None;
        self.due = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_micros(3000);

    /// Feeds packets `(place, µs)` and flushes when due; returns the trains and the longest wait.
    fn run(packets: &[(Place, u64)]) -> (Vec<usize>, Vec<Duration>) {
        let start = Instant::now();
        let mut pacing = Pacing::new(TICK);
        let (mut trains, mut waits, mut waiting) = (vec![], vec![], vec![]);
        for (index, &(place, us)) in packets.iter().enumerate() {
            let arrival = start + Duration::from_micros(us);
            pacing.arrived(place, arrival);
            waiting.push(arrival);
            let next = packets.get(index + 1).map_or(u64::MAX / 4, |packet| packet.1);
            let due = pacing.due().expect("a fresh packet");
            assert!(due <= waiting[0] + TICK, "nothing waits longer than the tick");
            // the worker reads all that is there before it forwards
            if due < start + Duration::from_micros(next) {
                trains.push(waiting.len());
                waits.extend(waiting.drain(..).map(|arrival| due.max(arrival) - arrival));
                pacing.flushed();
                assert_eq!(pacing.due(), None);
            }
        }
        (trains, waits)
    }

    fn frames(count: u64, per_frame: u64, gap_us: u64) -> Vec<(Place, u64)> {
        (0..count)
            .flat_map(|frame| (0..per_frame).map(move |index| (frame, index)))
            .map(|(frame, index)| {
                let end = index + 1 == per_frame;
                let place = if end { Place::EndOfFrame } else { Place::WithinFrame };
                (place, frame * 33_333 + index * gap_us)
            })
            .collect()
    }

    #[test]
    fn bursts_leave_as_whole_frames_without_delay() {
        let (trains, waits) = run(&frames(100, 7, 20));
        assert!(trains.iter().all(|train| *train == 7), "{trains:?}");
        assert!(waits.iter().all(|wait| *wait <= Duration::from_micros(120)));
    }

    #[test]
    fn even_pacing_below_the_tick_makes_pairs_and_keeps_the_median_low() {
        let (trains, mut waits) = run(&frames(200, 6, 2350));
        let pairs = trains.iter().filter(|train| **train == 2).count();
        assert!(pairs * 10 >= trains.len() * 9, "{trains:?}");
        // what follows is learnt within a few frames
        waits.drain(..60);
        waits.sort();
        assert_eq!(waits[waits.len() / 2 - 1], Duration::ZERO);
        assert!(waits[waits.len() - 1] <= TICK);
    }

    #[test]
    fn gaps_beyond_the_tick_are_not_waited_for() {
        let (trains, waits) = run(&frames(200, 6, 4000));
        let learnt = &waits[60..];
        assert!(learnt.iter().all(Duration::is_zero), "{learnt:?}");
        assert!(trains.iter().all(|train| *train == 1));
    }

    #[test]
    fn audio_alone_does_not_wait() {
        let packets: Vec<_> = (0..100).map(|index| (Place::Audio, index * 20_000)).collect();
        let (_, waits) = run(&packets);
        assert!(waits.iter().all(Duration::is_zero));
    }

    #[test]
    fn many_sources_share_trains_across_frame_ends() {
        // ten sources, interleaved: something always follows within 0.4 ms
        let packets: Vec<_> = (0..4000u64)
            .map(|index| {
                (
                    if index % 7 == 6 {
                        Place::EndOfFrame
                    } else {
                        Place::WithinFrame
                    },
                    index * 400,
                )
            })
            .collect();
        let (trains, _) = run(&packets);
        let late = &trains[trains.len() / 2..];
        assert!(late.iter().sum::<usize>() >= late.len() * 7, "{late:?}");
    }

    #[test]
    fn a_newcomer_is_served_at_once() {
        let start = Instant::now();
        let mut pacing = Pacing::new(TICK);
        pacing.hurry(start);
        assert_eq!(pacing.due(), Some(start));
        pacing.flushed();
        pacing.arrived(Place::WithinFrame, start);
        let now = start + Duration::from_micros(100);
        pacing.hurry(now);
        assert_eq!(pacing.due(), Some(now));
    }
}
