//! When a participant's media is due in the program.
//!
//! Owns what one participant's clocks are known to say: a line per track from its sender reports (RTP timestamp → time of
//! capture on the server's clock), and one offset for all its tracks from capture to the moment the media is due. Enter:
//! arrivals and sender reports; leaves: [`due`](Timeline::due). Time base: the caller's `Instant`s.
//!
//! Sound and picture of one participant keep the relation in which they were captured, since both get the same offset. The
//! offset waits for nearly all packets of the slower track, 20 to 200 ms beyond its fastest. It moves by slewing, so
//! that the sound can follow by resampling; it jumps only where something was missed anyway. A track without sender
//! reports is aligned by its fastest arrivals.

mod track;

use crate::forward::LayerIndex;
use crate::rtp::NtpClock;
use crate::rtp::sequence::ntp_duration;
use std::time::{Duration, Instant};
use track::{Heard, MS, Reported, TrackClock};

/// Simulcast encodings a timeline tells apart, as many as a publication has; more have no time.
const LAYERS_MAX: usize = 8;
const AUDIO: usize = 0;

/// Media waits at least this long after the fastest arrivals: less than the spacing of packets buys nothing.
const DELAY_MIN: i64 = 20 * MS;
/// The longest wait; whoever jitters more is heard with gaps, rather than after everybody else has answered.
const DELAY_MAX: i64 = 200 * MS;
/// Where it starts, while too few packets came to know the jitter.
const DELAY_START: i64 = 40 * MS;
/// So few: one second of sound.
const STARTING: usize = 50;
/// On top of what was measured: arrivals are judged in steps, and threads wake late.
const MARGIN: i64 = 5 * MS;
/// How often the delay is weighed; late arrivals have it weighed at once.
const WEIGH_EVERY: i64 = 100 * MS;
/// Nanoseconds per second that the offset shrinks by: half a percent of pitch is not heard;
const SHRINK: i64 = 5 * MS;
/// and grows by, since what is late meanwhile is lost.
const GROW: i64 = 10 * MS;
/// Further off than this, slewing would take most of a minute: jump.
const JUMP: i64 = 200 * MS;
/// Pictures that are this much too late against their sound are seen to be: the offset jumps for them as well.
const LIP_SYNC: i64 = 40 * MS;
/// A track's own line may move this much between reports without being felt at once; a picture further off jumps (it is
/// one frame more or less), and for sound the whole participant moves along.
const BIAS_MAX: i64 = 20 * MS;
/// Tracks whose fastest packets took more different times than this have no common clock, whatever their reports say: no
/// encoder is that much slower than another. They are aligned by arrival,
const SKEW_MAX: i64 = 400 * MS;
/// until the difference is this small again.
const SKEW_BACK: i64 = 300 * MS;
/// Reports further from the time they come at are wrong: the worker keeps the publisher's clock within half a second.
const REPORT_AGE: i64 = 5_000 * MS;
/// Reports in a row that move one track alone, when the other tracks' reports contradict;
const STEP_ALONE: u32 = 2;
/// or when the other tracks have not reported.
const STEP_UNANSWERED: u32 = 8;

/// A timeline that begins in the middle is fed what a ring kept: arrivals before its own beginning, none older than this.
const REPLAYED: Duration = Duration::from_secs(60);

/// What a participant sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Track {
    /// 48 kHz.
    Audio,
    /// 90 kHz. Every simulcast encoding has timestamps of its own.
    Video(LayerIndex),
}

impl Track {
    fn index(self) -> usize {
        match self {
            Track::Audio => AUDIO,
            Track::Video(LayerIndex(layer)) => 1 + usize::from(layer),
        }
    }
}

/// From capture to the moment media is due, for all tracks of a participant alike; whatever becomes of what is known of
/// their clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offset(i64);

impl Offset {
    /// So much earlier.
    pub fn less(self, lead: Lead) -> Offset {
        Offset(self.0 - lead.0)
    }

    /// How much earlier media is due by `other`.
    pub fn lead(self, other: Offset) -> Lead {
        Lead(self.0 - other.0)
    }
}

/// How much earlier, in nanoseconds of either sign.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lead(i64);

impl Lead {
    /// The moment that is this much earlier than `at`.
    pub fn before(self, at: Instant) -> Instant {
        shifted(at, self.0.saturating_neg())
    }

    /// What [`before`](Self::before) turns into `moment`.
    pub fn behind(self, moment: Instant) -> Instant {
        shifted(moment, self.0)
    }

    pub fn abs(self) -> Duration {
        Duration::from_nanos(self.0.unsigned_abs())
    }
}

fn shifted(at: Instant, by: i64) -> Instant {
    let span = Duration::from_nanos(by.unsigned_abs());
    if by < 0 {
        // before the machine's start there is nothing
        at.checked_sub(span).unwrap_or(at)
    } else {
        at + span
    }
}

/// A track's clock and what it is corrected by.
#[derive(Debug)]
struct Placed {
    clock: TrackClock,
    /// Moves a track without reports to where its fastest arrivals are those of the others.
    align: i64,
    /// What the track is still off after its line moved; goes back to 0.
    bias: i64,
    /// The offset was never said to hold for it.
    fresh: bool,
}

/// One participant's (source's) clocks. No allocation once its windows are full.
#[derive(Debug)]
pub struct Timeline {
    origin: Instant,
    /// The server's NTP time at the origin.
    origin_ntp: u64,
    tracks: Vec<Placed>,
    /// From capture (on the line, aligned) to due. `None`: nothing arrived.
    offset: Option<i64>,
    /// How far the tracks' lines were moved against the offset, all together.
    moved: i64,
    /// What the offset slews to.
    target: i64,
    /// The target means another line than the offset does.
    stale: bool,
    /// Fastest arrival of the slowest track: what the delay counts from.
    floor: i64,
    /// The reports of all tracks are on one clock.
    credible: bool,
    /// Up to where the offset is slewed.
    slewed: i64,
    weighed: i64,
    scratch: Vec<i64>,
}

impl Timeline {
    /// `clock`: the node's, which sender reports were moved to. `now`: the first arrival may be up to a minute older, as
    /// when a ring is replayed.
    pub fn new(clock: NtpClock, now: Instant) -> Self {
        let rates = std::iter::once(48_000).chain(std::iter::repeat_n(90_000, LAYERS_MAX));
        let placed = |rate| Placed {
            clock: TrackClock::new(rate),
            align: 0,
            bias: 0,
            fresh: true,
        };
        let origin = now.checked_sub(REPLAYED).unwrap_or(now);
        Timeline {
            origin,
            // the clock itself may be younger
            origin_ntp: clock.at(now).wrapping_sub(ntp_duration(now - origin)),
            tracks: rates.map(placed).collect(),
            offset: None,
            moved: 0,
            target: 0,
            stale: false,
            floor: 0,
            credible: true,
            slewed: 0,
            weighed: 0,
            scratch: vec![],
        }
    }

    /// A sender report, its NTP time already on the server's clock ([`FeedUpdate::Clock`](crate::forward::FeedUpdate)):
    /// 32.32 fixed-point seconds since 1900.
    pub fn handle_clock(&mut self, track: Track, ntp: u64, rtp: u32, now: Instant) {
        let (index, now) = (track.index(), self.nanos(now));
        let elapsed = i128::from(ntp.wrapping_sub(self.origin_ntp).cast_signed());
        // 32 bits of seconds at most: fits
        let captured = ((elapsed * 1_000_000_000) >> 32) as i64;
        if (captured - now).abs() > REPORT_AGE {
            return;
        }
        self.slew(now);
        let before = self.positions();
        let Some(placed) = self.tracks.get_mut(index) else {
            return;
        };
        match placed.clock.handle_report(rtp, captured, now) {
            Reported::Wrong => return,
            Reported::Taken => {}
            Reported::Deviates(step) => self.handle_step(index, step),
        }
        self.weigh(now, before);
    }

    /// A packet of sound, or the first of a picture.
    pub fn handle_arrival(&mut self, track: Track, rtp: u32, arrival: Instant) {
        let (index, at) = (track.index(), self.nanos(arrival));
        self.slew(at);
        let Some(placed) = self.tracks.get_mut(index) else {
            return;
        };
        let heard = placed.clock.handle_arrival(rtp, at);
        if heard == Heard::Begins {
            placed.bias = 0;
            placed.fresh = true;
        }
        let before = self.positions();
        if heard != Heard::Continues {
            // the offset's meaning hangs on the track that just lost its past
            self.stale |= index == AUDIO || self.tracks.iter().filter(|placed| placed.clock.active()).count() <= 1;
        }
        let late = self.place(index, rtp).map_or(0, |due| at - due);
        if self.offset.is_none() || late > 0 || heard != Heard::Continues || at - self.weighed >= WEIGH_EVERY {
            self.weigh(at, before);
        }
        let sound = self.tracks.first().is_some_and(|audio| audio.clock.active());
        if late > 0 && (index == AUDIO || !sound || late > LIP_SYNC) {
            self.offset = self.offset.map(|offset| offset.max(self.target));
        }
    }

    /// The moment at which the media of this RTP timestamp is to be seen or heard. As of the last arrival or report; it
    /// moves with what comes. `None`: nothing is known of the track.
    pub fn due(&self, track: Track, rtp: u32) -> Option<Instant> {
        let due = self.place(track.index(), rtp)?;
        // before the origin is as good as at once
        Some(self.origin + Duration::from_nanos(u64::try_from(due).unwrap_or(0)))
    }

    /// What [`due`](Self::due) adds at present to when media was captured. `None`: nothing arrived.
    pub fn offset(&self) -> Option<Offset> {
        self.offset.map(|offset| Offset(offset + self.moved))
    }

    /// As [`due`](Self::due) with another offset, such as one of earlier.
    pub fn due_with(&self, track: Track, rtp: u32, offset: Offset) -> Option<Instant> {
        let due = self.captured(track.index(), rtp)? + offset.0 - self.moved;
        Some(self.origin + Duration::from_nanos(u64::try_from(due).unwrap_or(0)))
    }

    /// What media waits at present beyond the fastest arrivals of the slowest track.
    pub fn delay(&self) -> Duration {
        let delay = self.offset.map_or(0, |offset| offset - self.floor);
        Duration::from_nanos(u64::try_from(delay).unwrap_or(0))
    }

    fn nanos(&self, at: Instant) -> i64 {
        i64::try_from(at.saturating_duration_since(self.origin).as_nanos()).unwrap_or(i64::MAX / 2)
    }

    fn place(&self, index: usize, rtp: u32) -> Option<i64> {
        Some(self.captured(index, rtp)? + self.offset?)
    }

    fn captured(&self, index: usize, rtp: u32) -> Option<i64> {
        let placed = self.tracks.get(index)?;
        Some(placed.clock.captured(rtp)? + placed.align + placed.bias)
    }

    /// Where each track's newest packet lies before the offset.
    fn positions(&self) -> [Option<i64>; 1 + LAYERS_MAX] {
        let mut positions = [None; 1 + LAYERS_MAX];
        for (position, placed) in positions.iter_mut().zip(&self.tracks) {
            *position = placed
                .clock
                .newest()
                .filter(|_| !placed.fresh)
                .map(|newest| newest + placed.align);
        }
        positions
    }

    /// A report contradicts the line it belongs to. Was the publisher's clock set, the reports of all tracks step alike:
    /// all lines move, and so nothing else does. A step that the other tracks' reports contradict is the track's own.
    fn handle_step(&mut self, index: usize, step: i64) {
        let others = || {
            let others = self.tracks.iter().enumerate();
            let others = others.filter(|(other, placed)| *other != index && placed.clock.active());
            others.map(|(_, placed)| &placed.clock).filter(|clock| clock.reported())
        };
        let Some(deviant) = self.tracks.get(index).and_then(|placed| placed.clock.deviant()) else {
            return;
        };
        if others().any(|other| other.deviant().is_some_and(|other| other.agrees(step))) {
            self.tracks.iter_mut().for_each(|placed| placed.clock.shift(step));
        } else if deviant.count >= STEP_UNANSWERED
            || (deviant.count >= STEP_ALONE && others().all(|other| other.taken() > deviant.since))
        {
            self.tracks
                .iter_mut()
                .skip(index)
                .take(1)
                .for_each(|placed| placed.clock.shift(step));
        }
    }

    /// Moves the offset towards its target and the tracks' biases towards 0, as far as the time since allows.
    fn slew(&mut self, now: i64) {
        let elapsed = (now - self.slewed).max(0);
        self.slewed = self.slewed.max(now);
        let allowed =
            |rate: i64| i64::try_from(i128::from(rate) * i128::from(elapsed) / 1_000_000_000).unwrap_or(i64::MAX);
        let (shrink, grow) = (allowed(SHRINK), allowed(GROW));
        for placed in &mut self.tracks {
            placed.bias -= placed.bias.clamp(-shrink, shrink);
        }
        if let Some(offset) = &mut self.offset {
            *offset += (self.target - *offset).clamp(-shrink, grow);
        }
    }

    /// Takes the measure of all tracks and sets the target. `before`: where the tracks were before the event.
    fn weigh(&mut self, now: i64, before: [Option<i64>; 1 + LAYERS_MAX]) {
        self.weighed = now;
        for placed in &mut self.tracks {
            placed.clock.measure(now, &mut self.scratch);
        }
        self.align();
        self.settle(before);
        let active = || self.tracks.iter().filter(|placed| placed.clock.active());
        let floors = active().map(|placed| placed.clock.floor() - placed.align);
        let Some(floor) = floors.max() else { return };
        let high = active().map(|placed| placed.clock.high() - placed.align).max();
        let heard = active().map(|placed| placed.clock.heard()).max().unwrap_or(0);
        let least = if heard < STARTING { DELAY_START } else { DELAY_MIN };
        let wanted = high.unwrap_or(floor) - floor + MARGIN;
        self.floor = floor;
        self.target = floor + wanted.clamp(least, DELAY_MAX);
        let offset = *self.offset.get_or_insert(self.target);
        if self.stale || (self.target - offset).abs() > JUMP {
            self.offset = Some(self.target);
            self.stale = false;
        }
    }

    /// Tracks on one clock stay as their reports say; the others go to where the fastest arrivals coincide.
    fn align(&mut self) {
        let reported = || {
            let active = self
                .tracks
                .iter()
                .map(|placed| &placed.clock)
                .filter(|clock| clock.active());
            active.filter(|clock| clock.reported()).map(TrackClock::floor)
        };
        let skew = reported().max().unwrap_or(0) - reported().min().unwrap_or(0);
        self.credible = skew <= if self.credible { SKEW_MAX } else { SKEW_BACK };
        let common = reported().min().filter(|_| self.credible);
        let Some(reference) = common.or_else(|| {
            let mut active = self
                .tracks
                .iter()
                .map(|placed| &placed.clock)
                .filter(|clock| clock.active());
            active.next().map(TrackClock::floor)
        }) else {
            return;
        };
        for placed in &mut self.tracks {
            if placed.clock.reported() && self.credible {
                placed.align = 0;
            } else if placed.clock.active() {
                placed.align = placed.clock.floor() - reference;
            }
        }
    }

    /// Lines moved: spreads what that would do to the dues. The first track, which is the sound if there is any, is never
    /// moved at once: a small change is slewed away, a large one moves the offset, and so the pictures, instead.
    fn settle(&mut self, before: [Option<i64>; 1 + LAYERS_MAX]) {
        let after = self.positions();
        for placed in self.tracks.iter_mut().filter(|placed| placed.clock.active()) {
            placed.fresh = false;
        }
        let moved = |index: usize| Some(after.get(index).copied()?? - before.get(index).copied()??);
        let first = (AUDIO..=LAYERS_MAX).find(|&index| moved(index).is_some());
        let mut common = 0;
        for (index, placed) in self.tracks.iter_mut().enumerate() {
            let Some(by) = moved(index) else { continue };
            let bias = placed.bias - (by - common);
            if Some(index) == first && bias.abs() > BIAS_MAX {
                common = by;
                self.offset = self.offset.map(|offset| offset - by);
                self.moved += by;
            } else {
                placed.bias = bias.clamp(-BIAS_MAX, BIAS_MAX);
            }
        }
    }
}

#[cfg(test)]
mod tests;
