//! The size of a room's program: as the settings say, or else the host's. Owns what has been seen of the host's picture; in
//! come its size and whether the program is being mixed, out goes the size in force. Pure, on the caller's `now`.

use crate::mix::picture::Size;
use std::time::{Duration, Instant};

/// A camera's first pictures are smaller while its sender finds out what the line carries; what stays for so long is what it
/// means to send.
const KEPT: Duration = Duration::from_secs(2);
/// A size that never stays is decided all the same: outputs wait for it.
const AT_THE_LATEST: Duration = Duration::from_secs(5);
/// Without a picture of the host.
const DEFAULT: (u16, u16) = (1280, 720);
/// Larger pictures are scaled down: their longer and their shorter side.
const MOST: (u32, u32) = (1920, 1080);
/// What is smaller is no picture to go by: encoders take a macroblock at least.
const LEAST: usize = 16;

#[derive(Debug, Default)]
pub(super) struct ProgramSize {
    host: Host,
    /// What the settings said last.
    fixed: Option<Size>,
    in_force: Option<Size>,
}

/// What the host sends.
#[derive(Debug, Default)]
struct Host {
    /// When its first picture was seen.
    first: Option<Instant>,
    /// The newest size, and since when it is that one.
    seen: Option<(Size, Instant)>,
    decided: Option<Size>,
}

impl Host {
    fn handle(&mut self, size: Option<Size>, now: Instant) {
        if self.decided.is_some() {
            return;
        }
        let Some(size) = size else {
            *self = Host::default();
            return;
        };
        self.first.get_or_insert(now);
        if self.seen.is_none_or(|(seen, _)| seen != size) {
            self.seen = Some((size, now));
        }
        if self.poll_timeout().is_some_and(|at| at <= now) {
            self.decided = Some(size);
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let undecided = self.decided.is_none();
        let (first, (_, since)) = self.first.zip(self.seen).filter(|_| undecided)?;
        Some((since + KEPT).min(first + AT_THE_LATEST))
    }

    fn size(&self) -> Size {
        let seen = self.seen.map(|(size, _)| size);
        let (width, height) = DEFAULT;
        let default = || Size::even(width, height).expect("neither is 0");
        self.decided.or(seen).unwrap_or_else(default)
    }
}

impl ProgramSize {
    /// `fixed`: by the settings. `host`: width and height of its top layer, while its video comes in. `runs`: the program is
    /// being mixed, and keeps its size until the host's is decided, and then until the settings say another one.
    pub fn settle(&mut self, fixed: Option<Size>, host: Option<(u16, u16)>, runs: bool, now: Instant) {
        let asked = std::mem::replace(&mut self.fixed, fixed) != fixed;
        if asked && fixed.is_none() {
            // asked for anew: what the host sends by now
            self.host = Host::default();
        }
        let undecided = self.host.decided.is_none();
        self.host.handle(host.and_then(fitted), now);
        // what it began with may have been a guess; what is decided is not
        let decides = undecided && self.host.decided.is_some();
        let keeps = runs && !asked && !decides;
        self.in_force = self.in_force.filter(|_| keeps).or(fixed).or(Some(self.host.size()));
    }

    pub fn size(&self) -> Size {
        self.in_force.unwrap_or_else(|| self.host.size())
    }

    /// When the host's size may be decided.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.host.poll_timeout()
    }
}

/// A picture's size as the program's: not larger than what is encoded, in the same shape, even.
fn fitted((width, height): (u16, u16)) -> Option<Size> {
    let (longer, shorter) = (u32::from(width.max(height)), u32::from(width.min(height)));
    let (most_longer, most_shorter) = MOST;
    // the ratio as a fraction: the smaller of the two, and never more than 1
    let (mut part, mut of) = (1, 1);
    for (side, most) in [(longer, most_longer), (shorter, most_shorter)] {
        if u64::from(most) * u64::from(of) < u64::from(side) * u64::from(part) {
            (part, of) = (most, side);
        }
    }
    let scaled = |side: u16| u16::try_from(u32::from(side) * part / of).ok();
    let size = Size::even(scaled(width)?, scaled(height)?)?;
    (size.width().min(size.height()) >= LEAST).then_some(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(width: u16, height: u16) -> Size {
        Size::even(width, height).expect("a size")
    }

    /// When, in ms; what the host sends; whether it is mixed.
    type Step = (u64, Option<(u16, u16)>, bool);

    /// The size and the time of the next decision in ms, after each step.
    fn after(steps: &[Step]) -> Vec<((usize, usize), Option<u128>)> {
        let (start, mut program) = (Instant::now(), ProgramSize::default());
        let step = |&(ms, host, runs): &Step| {
            program.settle(None, host, runs, start + Duration::from_millis(ms));
            let size = program.size();
            let due = program.poll_timeout().map(|at| (at - start).as_millis());
            ((size.width(), size.height()), due)
        };
        steps.iter().map(step).collect()
    }

    #[test]
    fn what_the_host_kept_for_two_seconds_stays() {
        let (small, large) = (Some((320, 180)), Some((640, 360)));
        let decided = after(&[
            (0, None, false),
            (100, small, false),
            (1_000, large, false),
            (2_999, large, false),
            (3_000, large, false),
            (9_000, small, false),
            (9_500, None, false),
        ]);
        let (none, of_small, of_large) = ((1280, 720), (320, 180), (640, 360));
        assert_eq!(
            decided,
            [
                (none, None),
                (of_small, Some(2_100)),
                (of_large, Some(3_000)),
                (of_large, Some(3_000)),
                (of_large, None),
                (of_large, None),
                (of_large, None),
            ]
        );
    }

    #[test]
    fn a_size_that_never_stays_is_decided_after_five_seconds() {
        let mut steps: Vec<_> = (0..5u16)
            .map(|n| (u64::from(n) * 1_100, Some((640 + 2 * n, 360)), false))
            .collect();
        steps.push((5_000, Some((648, 360)), false));
        steps.push((5_500, Some((100, 100)), false));
        let decided = after(&steps);
        assert_eq!(decided[4], ((648, 360), Some(5_000)));
        assert_eq!(decided[5..], [((648, 360), None), ((648, 360), None)]);
    }

    #[test]
    fn a_host_who_stops_before_is_waited_for_again() {
        let camera = Some((640, 360));
        let decided = after(&[
            (0, camera, false),
            (1_500, None, false),
            (4_000, camera, false),
            (6_000, camera, false),
        ]);
        assert_eq!(
            decided,
            [
                ((640, 360), Some(2_000)),
                ((1280, 720), None),
                ((640, 360), Some(6_000)),
                ((640, 360), None)
            ]
        );
    }

    #[test]
    fn a_program_that_runs_keeps_its_size_but_for_the_one_decision() {
        let (small, camera, other) = (Some((320, 180)), Some((720, 1280)), Some((640, 360)));
        let (none, of_small, of_camera) = ((1280, 720), (320, 180), (720, 1280));
        let sizes = |steps: &[Step]| after(steps).into_iter().map(|(size, _)| size).collect::<Vec<_>>();
        let begun_without = sizes(&[
            (0, None, false),
            (10, camera, true),
            (2_009, camera, true),
            (2_010, camera, true),
            (9_000, other, true),
            (9_500, None, false),
        ]);
        assert_eq!(begun_without, [none, none, none, of_camera, of_camera, of_camera]);
        let begun_small = sizes(&[
            (0, small, false),
            (10, small, true),
            (1_000, camera, true),
            (3_000, camera, true),
        ]);
        assert_eq!(begun_small, [of_small, of_small, of_small, of_camera]);
    }

    #[test]
    fn the_settings_say_it_also_while_it_runs_and_auto_begins_anew() {
        let (start, mut program) = (Instant::now(), ProgramSize::default());
        let mut settle = |fixed, host, ms| {
            program.settle(fixed, Some(host), true, start + Duration::from_millis(ms));
            program.size()
        };
        assert_eq!(settle(None, (640, 360), 0), size(640, 360));
        assert_eq!(settle(None, (640, 360), 2_000), size(640, 360), "decided");
        assert_eq!(settle(Some(size(720, 1280)), (640, 360), 3_000), size(720, 1280));
        assert_eq!(settle(Some(size(720, 1280)), (320, 180), 4_000), size(720, 1280));
        assert_eq!(settle(Some(size(320, 320)), (320, 180), 5_000), size(320, 320));
        assert_eq!(
            settle(None, (320, 180), 6_000),
            size(320, 180),
            "what the host sends by now"
        );
        assert_eq!(settle(None, (640, 360), 6_500), size(320, 180), "it runs");
    }

    #[test]
    fn large_pictures_are_scaled_in_their_shape_and_odd_ones_cut() {
        for (host, expected) in [
            ((1920, 1080), (1920, 1080)),
            ((1080, 1920), (1080, 1920)),
            ((3840, 2160), (1920, 1080)),
            ((2160, 3840), (1080, 1920)),
            ((1920, 1200), (1728, 1080)),
            ((2560, 1080), (1920, 810)),
            ((1440, 1440), (1080, 1080)),
            ((1279, 719), (1278, 718)),
            ((640, 480), (640, 480)),
            ((65_535, 65_535), (1080, 1080)),
        ] {
            assert_eq!(fitted(host), Some(size(expected.0, expected.1)), "{host:?}");
        }
        assert_eq!(fitted((0, 720)), None);
        assert_eq!(fitted((640, 15)), None);
        assert_eq!(fitted((65_535, 2)), None);
    }
}
