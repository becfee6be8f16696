//! What a program that can't keep up gives up, and when it takes it back. Pure: enters how long the program's thread was
//! busy and how many pictures it was too late for; leaves the step in force. Time base: the monotonic clock, an argument.
//!
//! The steps, each keeping those before it: the fast scaling filter; two thirds of the frame rate, half of it (never below
//! 15); three quarters of the size, half of it (never below 160 pixels). What costs viewers least comes first: a coarser
//! filter is hard to see, and faces that move less often are better than faces that are blurred.

use crate::mix::compose::Quality;
use crate::mix::picture::Size;
use std::time::{Duration, Instant};

/// What one judgement is made from: long enough that a keyframe, or a layout that changes, is no overload of its own.
const WINDOW: Duration = Duration::from_secs(1);
/// Windows in a row that are overloaded before something is given up: one hiccup is over with one.
const OVERLOADED_WINDOWS: u32 = 2;
/// The share of the time that the thread is busy from which on it is late for what comes at an inconvenient moment.
const BUSY_MOST: f64 = 0.9;
/// The share of pictures left out that is overload, however busy the thread is: it does not get a core when it wants one.
const SKIPPED_MOST: f64 = 0.1;
/// What is left out by chance; above it nothing is taken back.
const SKIPPED_FEW: f64 = 0.02;
/// How busy the step above may be expected to make the thread: as far below [`BUSY_MOST`] as the expectation is rough.
const BUSY_EXPECTED_MOST: f64 = 0.7;
/// What the better scaling filter adds, of all work, at most: all scaling is 0.02 of 0.52 core.
const FILTER: f64 = 1.05;
/// How long there has to be room before a step is taken back, at first. Each attempt that fails doubles it, up to the
/// longest: a program that is at its limit for hours changes a few times an hour.
const ROOM_FIRST: Duration = Duration::from_secs(10);
const ROOM_LONGEST: Duration = Duration::from_secs(300);
/// A step that was taken back for so long was no failure.
const PROVEN: Duration = Duration::from_secs(60);

/// Below this pictures are slides.
const FPS_LEAST: u32 = 15;
/// In pixels, of the shorter side: what the API takes (`video.width`, `video.height`).
const SIDE_LEAST: usize = 160;
/// A lower frame rate that saves less than this part is no step.
const FPS_SAVES: f64 = 0.1;

/// How a program is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    pub quality: Quality,
    /// Pictures a second.
    pub fps: u32,
    pub size: Size,
}

impl Step {
    fn pixels_per_second(self) -> f64 {
        // sides of at most 1920
        (self.size.width() * self.size.height()) as f64 * f64::from(self.fps)
    }

    /// By how much more work `above` is, at most. `pictures`: the part of the work that grows with pixels and frame rate.
    fn growth_to(self, above: Step, pictures: f64) -> f64 {
        let pictures = 1.0 + pictures * (above.pixels_per_second() / self.pixels_per_second() - 1.0);
        let filter = if above.quality == self.quality { 1.0 } else { FILTER };
        pictures * filter
    }
}

/// What a turn of the program's thread took.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turn {
    /// How long it was busy.
    pub busy: Duration,
    /// A picture was made, which is what most of the time went into.
    pub made: bool,
    /// How many pictures it was too late for.
    pub skipped: u64,
}

/// Since when, and what was in it.
#[derive(Clone, Copy, Debug)]
struct Window {
    since: Instant,
    busy: Duration,
    /// The part of it in turns that made a picture. The rest is decoding and sound, and the same at any step.
    making: Duration,
    skipped: u64,
}

impl Window {
    fn new(since: Instant) -> Self {
        Window {
            since,
            busy: Duration::ZERO,
            making: Duration::ZERO,
            skipped: 0,
        }
    }
}

/// How busy the thread is.
#[derive(Clone, Copy, Debug)]
struct Load {
    /// A part of a core.
    all: f64,
    /// The part of it that grows with pixels and frame rate.
    pictures: f64,
}

/// Another step is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Down,
    Up,
}

#[derive(Debug)]
pub(super) struct Ladder {
    /// What is set.
    whole: Step,
    /// Downwards.
    lower: Vec<Step>,
    /// How many of them are in force.
    down: usize,
    window: Window,
    /// In a row, up to the last one.
    overloaded: u32,
    /// Since when the step above would have found room.
    room: Option<Instant>,
    /// How long there has to be room before the next attempt.
    wait: Duration,
    /// The last attempt, until it is proven.
    climbed: Option<Instant>,
}

impl Ladder {
    /// `size`, `fps`: what is set.
    pub fn new(size: Size, fps: u32, now: Instant) -> Self {
        let quality = Quality::Good;
        let whole = Step { quality, fps, size };
        Ladder {
            whole,
            lower: lower(whole),
            down: 0,
            window: Window::new(now),
            overloaded: 0,
            room: None,
            wait: ROOM_FIRST,
            climbed: None,
        }
    }

    /// How the program is to be made.
    pub fn step(&self) -> Step {
        self.at(self.down)
    }

    /// Less than is set.
    pub fn is_down(&self) -> bool {
        self.down > 0
    }

    /// A turn of the program's thread is over. Returns whether the program is to be made otherwise from now on.
    pub fn handle_turn(&mut self, turn: Turn, now: Instant) -> Option<Change> {
        self.window.busy += turn.busy;
        self.window.making += if turn.made { turn.busy } else { Duration::ZERO };
        self.window.skipped += turn.skipped;
        let elapsed = now.saturating_duration_since(self.window.since);
        if elapsed < WINDOW {
            return None;
        }
        let window = std::mem::replace(&mut self.window, Window::new(now));
        let load = Load {
            all: window.busy.as_secs_f64() / elapsed.as_secs_f64(),
            pictures: window.making.as_secs_f64() / window.busy.as_secs_f64().max(f64::MIN_POSITIVE),
        };
        // counts of pictures, far below 2^52
        let missed = window.skipped as f64 / (elapsed.as_secs_f64() * f64::from(self.step().fps));
        self.judge(load, missed, window.since, now)
    }

    fn judge(&mut self, load: Load, missed: f64, since: Instant, now: Instant) -> Option<Change> {
        if self.climbed.is_some_and(|climbed| now >= climbed + PROVEN) {
            self.climbed = None;
            self.wait = ROOM_FIRST;
        }
        let overloaded = load.all > BUSY_MOST || missed > SKIPPED_MOST;
        self.overloaded = if overloaded { self.overloaded + 1 } else { 0 };
        if self.overloaded >= OVERLOADED_WINDOWS && self.down < self.lower.len() {
            self.descend();
            return Some(Change::Down);
        }
        let above = self.down.checked_sub(1).map(|above| self.at(above));
        let expected = above.map(|above| load.all * self.step().growth_to(above, load.pictures));
        let fits = expected.is_some_and(|expected| expected <= BUSY_EXPECTED_MOST);
        self.room = (fits && missed <= SKIPPED_FEW).then(|| self.room.unwrap_or(since));
        if self.room.is_some_and(|room| now >= room + self.wait) {
            self.climb(now);
            return Some(Change::Up);
        }
        None
    }

    fn descend(&mut self) {
        self.down += 1;
        self.overloaded = 0;
        self.room = None;
        if self.climbed.take().is_some() {
            self.wait = (self.wait * 2).min(ROOM_LONGEST);
        }
    }

    fn climb(&mut self, now: Instant) {
        self.down = self.down.saturating_sub(1);
        self.overloaded = 0;
        self.room = None;
        self.climbed = Some(now);
    }

    fn at(&self, down: usize) -> Step {
        let lower = down.checked_sub(1).and_then(|index| self.lower.get(index));
        lower.copied().unwrap_or(self.whole)
    }
}

/// What is below it, downwards.
fn lower(whole: Step) -> Vec<Step> {
    let mut step = Step {
        quality: Quality::Fast,
        ..whole
    };
    let mut steps = vec![step];
    for part in [2.0 / 3.0, 0.5] {
        // 60 at most: no digit is lost
        let fps = ((f64::from(whole.fps) * part).round() as u32).max(FPS_LEAST);
        if f64::from(fps) <= f64::from(step.fps) * (1.0 - FPS_SAVES) {
            step.fps = fps;
            steps.push(step);
        }
    }
    for quarters in [3, 2] {
        let side = |pixels: usize| u16::try_from(pixels * quarters / 4).ok();
        let size = side(whole.size.width()).zip(side(whole.size.height()));
        let size = size.and_then(|(width, height)| Size::even(width, height));
        if let Some(size) = size.filter(|size| size.width().min(size.height()) >= SIDE_LEAST) {
            step.size = size;
            steps.push(step);
        }
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(width: u16, height: u16) -> Size {
        Size::even(width, height).expect("a size")
    }

    /// As width, height, rate, and whether the better filter is used.
    fn told(step: Step) -> (usize, usize, u32, bool) {
        let Step { quality, fps, size } = step;
        (size.width(), size.height(), fps, quality == Quality::Good)
    }

    fn steps(width: u16, height: u16, fps: u32) -> Vec<(usize, usize, u32, bool)> {
        let ladder = Ladder::new(size(width, height), fps, Instant::now());
        (0..=ladder.lower.len()).map(|down| told(ladder.at(down))).collect()
    }

    /// A program whose work is `cost` of a core as set, of which a part grows with the step.
    struct Program {
        ladder: Ladder,
        start: Instant,
        now: Instant,
        cost: f64,
        pictures: f64,
        /// Seconds from the start, steps down then.
        changes: Vec<(u64, usize)>,
    }

    impl Program {
        fn new(cost: f64) -> Self {
            let now = Instant::now();
            Program {
                ladder: Ladder::new(size(1280, 720), 30, now),
                start: now,
                now,
                cost,
                pictures: 2.0 / 3.0,
                changes: vec![],
            }
        }

        fn run(&mut self, time: Duration) {
            let end = self.now + time;
            while self.now < end {
                let step = self.ladder.step();
                let interval = Duration::from_secs(1) / step.fps;
                let part = step.pixels_per_second() / self.ladder.whole.pixels_per_second();
                let filter = if step.quality == Quality::Good {
                    1.0
                } else {
                    1.0 / FILTER
                };
                let whole = interval.mul_f64(self.cost * filter);
                let (making, rest) = (whole.mul_f64(self.pictures * part), whole.mul_f64(1.0 - self.pictures));
                self.turn(rest, false, Duration::ZERO);
                self.turn(making, true, interval.max(making + rest));
            }
        }

        /// So much work, and the next turn comes after `elapsed`.
        fn turn(&mut self, busy: Duration, made: bool, elapsed: Duration) {
            let interval = Duration::from_secs(1) / self.ladder.step().fps;
            self.now += elapsed;
            let late = elapsed.saturating_sub(interval).as_secs_f64() / interval.as_secs_f64();
            let skipped = late.round() as u64;
            let change = self.ladder.handle_turn(Turn { busy, made, skipped }, self.now);
            if change.is_some() {
                self.changes.push(((self.now - self.start).as_secs(), self.ladder.down));
            }
        }
    }

    #[test]
    fn the_steps() {
        assert_eq!(
            steps(1280, 720, 30),
            [
                (1280, 720, 30, true),
                (1280, 720, 30, false),
                (1280, 720, 20, false),
                (1280, 720, 15, false),
                (960, 540, 15, false),
                (640, 360, 15, false),
            ]
        );
        let rates = |fps| {
            let rates: Vec<u32> = steps(320, 180, fps).iter().map(|step| step.2).collect();
            rates
        };
        assert_eq!(rates(60), [60, 60, 40, 30]);
        assert_eq!(rates(25), [25, 25, 17, 15]);
        assert_eq!(rates(24), [24, 24, 16], "one less saves nothing");
        assert_eq!(rates(20), [20, 20, 15]);
        assert_eq!(rates(15), [15, 15]);
        let sizes: Vec<(usize, usize)> = steps(270, 480, 15).iter().map(|step| (step.0, step.1)).collect();
        assert_eq!(sizes, [(270, 480), (270, 480), (202, 360)], "135 is too narrow");
    }

    #[test]
    fn overload_goes_down_a_step_every_two_seconds_and_no_further_than_it_has_to() {
        let mut program = Program::new(1.2);
        program.run(Duration::from_secs(20));
        assert_eq!(program.changes.len(), 2, "{:?}", program.changes);
        assert_eq!(told(program.ladder.step()), (1280, 720, 20, false));
        let (first, second) = (program.changes[0].0, program.changes[1].0);
        assert!(
            (2..=3).contains(&first) && (4..=6).contains(&second),
            "{first} {second}"
        );
        let mut hopeless = Program::new(9.0);
        hopeless.run(Duration::from_secs(60));
        assert_eq!(told(hopeless.ladder.step()), (640, 360, 15, false));
        assert_eq!(hopeless.changes.len(), 5);
    }

    #[test]
    fn pictures_left_out_are_overload_though_the_thread_is_idle() {
        let mut program = Program::new(0.2);
        let interval = Duration::from_secs(1) / 30;
        for _ in 0..60 {
            program.turn(interval / 5, true, interval * 2);
        }
        assert!(program.ladder.is_down());
    }

    #[test]
    fn it_comes_back_step_by_step_when_there_has_been_room_for_long_enough() {
        let mut program = Program::new(9.0);
        program.run(Duration::from_secs(20));
        program.changes.clear();
        program.cost = 0.5;
        program.run(Duration::from_secs(90));
        let downs: Vec<usize> = program.changes.iter().map(|change| change.1).collect();
        assert_eq!(downs, [4, 3, 2, 1, 0]);
        let times: Vec<u64> = program.changes.iter().map(|change| change.0).collect();
        assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= 10), "{times:?}");
        assert!(!program.ladder.is_down());
    }

    #[test]
    fn what_does_not_grow_is_no_reason_to_stay_down() {
        // ten tiles: at the lowest step their decoding is nearly all there is to do
        let mut program = Program::new(9.0);
        program.run(Duration::from_secs(20));
        program.cost = 0.65;
        program.pictures = 0.4;
        program.run(Duration::from_secs(90));
        assert!(!program.ladder.is_down(), "{:?}", program.changes);
    }

    #[test]
    fn at_its_limit_it_tries_again_later_and_later() {
        let mut program = Program::new(1.0);
        program.run(Duration::from_secs(10));
        assert!(program.ladder.is_down());
        // it looks as if there were room, and each time there is none
        program.changes.clear();
        for _ in 0..3600 {
            program.cost = if program.ladder.is_down() { 0.3 } else { 1.2 };
            program.run(Duration::from_secs(1));
        }
        let up: Vec<u64> = program
            .changes
            .iter()
            .filter(|change| change.1 == 0)
            .map(|change| change.0)
            .collect();
        let waits: Vec<u64> = up.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(waits.windows(2).all(|pair| pair[1] + 2 >= pair[0]), "{waits:?}");
        assert!(
            waits.first().is_some_and(|first| (20..=30).contains(first)),
            "{waits:?}"
        );
        assert!(waits.last().is_some_and(|last| (300..=310).contains(last)), "{waits:?}");
    }

    #[test]
    fn after_a_climb_that_held_the_next_one_is_soon() {
        let mut program = Program::new(1.0);
        program.run(Duration::from_secs(10));
        for _ in 0..100 {
            program.cost = if program.ladder.is_down() { 0.3 } else { 1.2 };
            program.run(Duration::from_secs(1));
        }
        assert!(program.ladder.wait > ROOM_FIRST);
        program.cost = 0.3;
        program.run(PROVEN + ROOM_LONGEST);
        assert!(!program.ladder.is_down());
        assert_eq!(program.ladder.wait, ROOM_FIRST);
    }

    #[test]
    fn one_hiccup_is_no_overload() {
        let mut program = Program::new(0.5);
        let interval = Duration::from_secs(1) / 30;
        for _ in 0..5 {
            program.run(Duration::from_secs(4));
            program.turn(interval, true, Duration::from_millis(800));
            program.run(Duration::from_secs(4));
            program.turn(Duration::from_millis(800), true, Duration::from_millis(800));
        }
        program.run(Duration::from_secs(4));
        program.turn(Duration::from_secs(30), true, Duration::from_secs(30));
        program.run(Duration::from_secs(4));
        assert_eq!(program.changes, []);
    }

    #[test]
    fn what_comes_and_goes_every_few_seconds_is_not_followed() {
        let mut program = Program::new(0.5);
        for second in 0..600 {
            program.cost = if second % 6 < 3 { 1.1 } else { 0.4 };
            program.run(Duration::from_secs(1));
        }
        // it settles where the worst of it fits
        assert!((1..=3).contains(&program.changes.len()), "{:?}", program.changes);
        assert!(program.ladder.is_down());
    }
}
