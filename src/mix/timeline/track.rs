//! One track's clock: what its sender reports and its arrivals say about when its media was captured.

use crate::rtp::sequence::TimestampExtender;
use std::collections::VecDeque;

pub(super) const MS: i64 = 1_000_000;
const SECOND: i64 = 1_000 * MS;

/// Sender reports a regression is drawn through: 20 to 100 s of them, long enough to average out their jitter to well
/// below a millisecond, short enough to follow a crystal that warms up. The oldest goes.
const REPORTS_MAX: usize = 20;
/// Reports must span this much before a slope is taken from them; over less, their jitter would tilt the line.
const SLOPE_SPAN: i64 = 10 * SECOND;
/// No sound card's or camera's clock is further off than this; a steeper slope is jitter.
const SLOPE_MAX: f64 = 500e-6;
/// A report this far from the line is not jitter.
const DEVIATION: i64 = 50 * MS;
/// Two deviating reports that agree this closely speak of the same step.
const AGREEMENT: i64 = 30 * MS;
/// A report whose clock says that the newest packet took longer than this, or arrived that long before it was captured, is
/// wrong: the worker's clock offset is good to half a second, and no path is that slow.
const IMPLAUSIBLE: i64 = 1500 * MS;
/// Arrivals are judged over this long: a burst every few seconds (a Wi-Fi scan) is still remembered when it recurs.
const WINDOW: i64 = 5 * SECOND;
/// Arrivals kept: the window of one packet every 10 ms. The oldest goes.
const ARRIVALS_MAX: usize = 512;
/// Packets closer than this (2.5 and 5 ms of Opus) tell nothing new: every other is left out.
const ARRIVAL_SPACING: i64 = 8 * MS;
/// The share of arrivals that the delay need not wait for: concealing one packet in fifty is cheaper than delaying all.
const LEFT_OUT: usize = 50;
/// What arrives this much earlier than ever before was not captured on the old line: the source restarted its timestamps.
const AHEAD: i64 = 500 * MS;
/// What stays this much later than the fastest arrivals
const BEHIND: i64 = 200 * MS;
/// for this long is no burst: the path got longer, or the source stood still.
const BEHIND_FOR: i64 = 500 * MS;
/// Up to here it is a queue on the path, beyond it the source's timestamps stood still or restarted.
const QUEUE_MAX: i64 = 2 * SECOND;

/// Nanoseconds on the timeline at RTP ticks.
#[derive(Clone, Copy, Debug)]
struct Line {
    ticks: i64,
    at: i64,
    ns_per_tick: f64,
}

impl Line {
    fn at(&self, ticks: i64) -> i64 {
        // spans of hours stay far below the 53 bits of an f64
        self.at + ((ticks - self.ticks) as f64 * self.ns_per_tick).round() as i64
    }
}

/// What an arrival means for the track.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    Continues,
    /// The first, or the source restarted its timestamps: all that was known of the track is void.
    Begins,
    /// The path got longer for good: earlier arrivals no longer count.
    Later,
}

/// What a sender report means for the track.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reported {
    /// Cannot be true.
    Wrong,
    /// The line goes through it.
    Taken,
    /// It contradicts the line: the track's clock would have to be moved by so many nanoseconds.
    Deviates(i64),
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Deviant {
    /// The line would have to be moved by this.
    step: i64,
    /// Reports in a row that agree on it,
    pub(super) count: u32,
    /// the first at this time.
    pub(super) since: i64,
}

impl Deviant {
    pub(super) fn agrees(&self, step: i64) -> bool {
        (self.step - step).abs() <= AGREEMENT
    }
}

/// All times are nanoseconds on the timeline's axis.
#[derive(Debug)]
pub(super) struct TrackClock {
    ns_per_tick: f64,
    extender: TimestampExtender,
    line: Option<Line>,
    /// (ticks, captured at), in order of arrival.
    reports: VecDeque<(i64, i64)>,
    deviant: Option<Deviant>,
    taken: i64,
    /// (ticks, arrived at), in order of arrival.
    arrivals: VecDeque<(i64, i64)>,
    behind_since: Option<i64>,
    /// `None`: no arrival was ever measured.
    floor: Option<i64>,
    high: i64,
}

impl TrackClock {
    pub(super) fn new(clock_rate: u32) -> Self {
        TrackClock {
            ns_per_tick: SECOND as f64 / f64::from(clock_rate),
            extender: TimestampExtender::default(),
            line: None,
            reports: VecDeque::new(),
            deviant: None,
            taken: 0,
            arrivals: VecDeque::new(),
            behind_since: None,
            floor: None,
            high: 0,
        }
    }

    /// When the media of this RTP timestamp was captured. On the server's clock if [`reported`](Self::reported); else
    /// it is off by what the first packet took. `None`: nothing is known of the track.
    pub(super) fn captured(&self, rtp: u32) -> Option<i64> {
        let mut extender = self.extender;
        Some(self.line?.at(extender.extend(rtp)))
    }

    /// When the newest arrival was captured: where a change of the line is felt.
    pub(super) fn newest(&self) -> Option<i64> {
        let &(ticks, _) = self.arrivals.back()?;
        Some(self.line?.at(ticks))
    }

    /// Sender reports support the line.
    pub(super) fn reported(&self) -> bool {
        !self.reports.is_empty()
    }

    /// What the last reports contradicted the line by.
    pub(super) fn deviant(&self) -> Option<Deviant> {
        self.deviant
    }

    /// When the last report came that did not contradict.
    pub(super) fn taken(&self) -> i64 {
        self.taken
    }

    /// Media arrived lately.
    pub(super) fn active(&self) -> bool {
        !self.arrivals.is_empty()
    }

    /// Arrivals in the window.
    pub(super) fn heard(&self) -> usize {
        self.arrivals.len()
    }

    /// What the fastest of the recent arrivals took from capture to here; as of the last [`measure`](Self::measure).
    pub(super) fn floor(&self) -> i64 {
        self.floor.unwrap_or(0)
    }

    /// What nearly all of the recent arrivals took at most.
    pub(super) fn high(&self) -> i64 {
        self.high
    }

    pub(super) fn handle_arrival(&mut self, rtp: u32, at: i64) -> Heard {
        let ticks = self.extender.extend(rtp);
        let Some(line) = self.line else {
            return self.begin(ticks, at);
        };
        let took = at - line.at(ticks);
        let excess = took - *self.floor.get_or_insert(took);
        if excess < -AHEAD {
            return self.begin(ticks, at);
        }
        let mut heard = Heard::Continues;
        if excess <= BEHIND {
            self.behind_since = None;
        } else if at - *self.behind_since.get_or_insert(at) >= BEHIND_FOR {
            if excess > QUEUE_MAX {
                return self.begin(ticks, at);
            }
            let since = self.behind_since.take().unwrap_or(at);
            self.arrivals.retain(|&(_, arrived)| arrived >= since);
            heard = Heard::Later;
        }
        let spacing = self.arrivals.back().map_or(i64::MAX, |&(last, _)| {
            ((ticks - last).abs() as f64 * self.ns_per_tick) as i64
        });
        if spacing >= ARRIVAL_SPACING {
            if self.arrivals.len() == ARRIVALS_MAX {
                self.arrivals.pop_front();
            }
            self.arrivals.push_back((ticks, at));
        }
        heard
    }

    fn begin(&mut self, ticks: i64, at: i64) -> Heard {
        self.line = Some(Line {
            ticks,
            at,
            ns_per_tick: self.ns_per_tick,
        });
        self.reports.clear();
        self.arrivals.clear();
        self.arrivals.push_back((ticks, at));
        (self.deviant, self.behind_since) = (None, None);
        (self.floor, self.high) = (Some(0), 0);
        Heard::Begins
    }

    /// A sender report: `rtp` was captured `at`.
    pub(super) fn handle_report(&mut self, rtp: u32, at: i64, now: i64) -> Reported {
        let ticks = {
            let mut extender = self.extender;
            extender.extend(rtp)
        };
        let alone = Line {
            ticks,
            at,
            ns_per_tick: self.ns_per_tick,
        };
        if self
            .arrivals
            .back()
            .is_some_and(|&(newest, arrived)| (arrived - alone.at(newest)).abs() > IMPLAUSIBLE)
        {
            return Reported::Wrong;
        }
        if let Some(line) = self.line
            && self.reported()
            && (at - line.at(ticks)).abs() > DEVIATION
        {
            let step = at - line.at(ticks);
            let (count, since) = match self.deviant {
                Some(before) if before.agrees(step) => (before.count + 1, before.since),
                _ => (1, now),
            };
            self.deviant = Some(Deviant { step, count, since });
            return Reported::Deviates(step);
        }
        if self.line.is_none() {
            // timestamps before the first packet count from here
            self.extender.extend(rtp);
        }
        self.taken = now;
        self.take(ticks, at);
        Reported::Taken
    }

    /// The source's clock was set: everything it ever said moves.
    pub(super) fn shift(&mut self, step: i64) {
        if let Some(line) = &mut self.line {
            line.at += step;
        }
        self.reports.iter_mut().for_each(|(_, at)| *at += step);
        self.deviant = None;
    }

    fn take(&mut self, ticks: i64, at: i64) {
        self.deviant = None;
        if self.reports.len() == REPORTS_MAX {
            self.reports.pop_front();
        }
        self.reports.push_back((ticks, at));
        self.fit(ticks, at);
    }

    /// Least squares through the reports, about the newest, so that the numbers stay small.
    fn fit(&mut self, ticks: i64, at: i64) {
        let nominal = Line {
            ticks,
            at,
            ns_per_tick: self.ns_per_tick,
        };
        let count = self.reports.len() as f64;
        // (nanoseconds by the nominal rate, how much the report's time exceeds that)
        let points = self.reports.iter().map(|&(ticks, at)| {
            let expected = nominal.at(ticks);
            ((expected - nominal.at) as f64, (at - expected) as f64)
        });
        let (sum_x, sum_y) = points
            .clone()
            .fold((0.0, 0.0), |(x, y), point| (x + point.0, y + point.1));
        let (mean_x, mean_y) = (sum_x / count, sum_y / count);
        let (mut covariance, mut variance, mut span) = (0.0, 0.0, 0.0f64);
        for (x, y) in points {
            covariance += (x - mean_x) * (y - mean_y);
            variance += (x - mean_x) * (x - mean_x);
            span = span.max(x.abs());
        }
        let slope = if span >= SLOPE_SPAN as f64 && variance > 0.0 {
            (covariance / variance).clamp(-SLOPE_MAX, SLOPE_MAX)
        } else {
            0.0
        };
        self.line = Some(Line {
            ticks,
            at: at + (mean_y - slope * mean_x).round() as i64,
            ns_per_tick: self.ns_per_tick * (1.0 + slope),
        });
    }

    /// Forgets arrivals that are too old and takes [`floor`](Self::floor) and [`high`](Self::high) anew. Without any,
    /// both stay as they were.
    pub(super) fn measure(&mut self, now: i64, scratch: &mut Vec<i64>) {
        while self.arrivals.front().is_some_and(|&(_, at)| now - at > WINDOW) {
            self.arrivals.pop_front();
        }
        let Some(line) = self.line else { return };
        scratch.clear();
        scratch.extend(self.arrivals.iter().map(|&(ticks, at)| at - line.at(ticks)));
        let Some(last) = scratch.len().checked_sub(1) else {
            return;
        };
        let within = last - scratch.len() / LEFT_OUT;
        let (below, high, _) = scratch.select_nth_unstable(within);
        self.high = *high;
        self.floor = Some(below.iter().copied().min().unwrap_or(*high));
    }
}
