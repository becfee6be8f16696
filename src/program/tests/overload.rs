//! A program whose pictures take longer than there is time for them.

use super::*;
use crate::mix::compose::Quality;

/// Until something has been given up.
const FIRST_STEP: Duration = Duration::from_secs(3);

/// The machine: so long per picture of 640 × 360, and as much less as a smaller one has less pixels.
struct Machine {
    picture: Duration,
    /// The steps there were, `None` for what is set, each once in a row.
    steps: Vec<Option<Step>>,
}

impl Machine {
    fn run(&mut self, stage: &mut Stage, time: Duration) {
        let end = stage.now + time;
        while stage.now < end {
            stage.now += Duration::from_millis(1);
            for (publisher, since) in &mut stage.publishers {
                publisher.send(&mut stage.core, *since, stage.now);
            }
            let before = stage.metrics.pictures.get();
            let made = stage.core.handle_timeout(stage.now, &mut stage.taken);
            made.expect("an encoder");
            let step = stage.core.status(stage.now).step;
            let share = step.map_or(1.0, |step| {
                (step.size.width() * step.size.height()) as f64 / (640.0 * 360.0)
            });
            let made = stage.metrics.pictures.get() - before;
            let busy = self.picture.mul_f64(share * made as f64);
            stage.now += busy;
            stage.core.handle_work(busy, stage.now);
            let step = stage.core.status(stage.now).step;
            if self.steps.last() != Some(&step) {
                self.steps.push(step);
            }
        }
    }
}

/// Size and mean luma of each picture so far, and whether it is a keyframe.
fn pictures(stage: &Stage) -> Vec<(usize, usize, f64, bool)> {
    let mut frames = FrameAssembler::new(Codec::H264);
    let mut decoder = H264Decoder::new();
    let mut pictures = vec![];
    for (meta, bytes) in &stage.taken.video {
        frames.handle(&PacketView { meta: *meta, bytes });
        while let Some(frame) = frames.poll_frame(stage.now, Duration::from_secs(1)) {
            let keyframe = frame.keyframe;
            let picture = decoder.decode(frame.bytes).expect("sound").expect("a picture");
            let rows = picture.y.chunks(picture.y_stride).take(picture.size.height());
            let sum: u64 = rows
                .flat_map(|row| &row[..picture.size.width()])
                .map(|luma| u64::from(*luma))
                .sum();
            let (width, height) = (picture.size.width(), picture.size.height());
            pictures.push((width, height, sum as f64 / (width * height) as f64, keyframe));
        }
    }
    pictures
}

fn large() -> Plan {
    let mut plan = plan(&[source(HOST, 0)]);
    plan.settings.video.size = Size::even(640, 360);
    plan.size = Size::even(640, 360).expect("a size");
    // none but those that are needed
    plan.settings.video.gop_ms = 10_000;
    plan
}

fn overloaded(time: Duration) -> (Stage, Machine) {
    let mut stage = Stage::new(large());
    stage.publish(HOST);
    // at 15 a second there would have to be 1.2 of this machine, at three quarters of the size 0.68
    let mut machine = Machine {
        picture: Duration::from_millis(80),
        steps: vec![],
    };
    machine.run(&mut stage, time);
    (stage, machine)
}

#[test]
fn a_program_that_can_not_keep_up_is_made_with_less_and_with_all_again_when_it_can() {
    let (mut stage, mut machine) = overloaded(Duration::from_secs(11));
    let step = |fps, width, height| {
        let size = Size::even(width, height).expect("a size");
        let quality = Quality::Fast;
        Some(Step { quality, fps, size })
    };
    let steps = [
        None,
        step(30, 640, 360),
        step(20, 640, 360),
        step(15, 640, 360),
        step(15, 480, 270),
    ];
    assert_eq!(machine.steps, steps);
    let metrics = stage.metrics.clone();
    assert_eq!((metrics.degraded.get(), metrics.steps_down.get()), (1, 4));

    // every picture is whole: it decodes, and shows what the one before did
    let seen = pictures(&stage);
    let whole = |pair: &[(usize, usize, f64, bool)]| (pair[0].2 - pair[1].2).abs() < 6.0;
    assert!(seen[2..].windows(2).all(whole), "{seen:?}");
    let keyframes: Vec<(usize, usize)> = seen
        .iter()
        .filter(|picture| picture.3)
        .map(|picture| (picture.0, picture.1))
        .collect();
    assert_eq!(keyframes[..2], [(640, 360), (480, 270)], "another rate needs none");
    let numbers: Vec<u64> = stage.taken.video.iter().map(|(meta, _)| meta.sequence).collect();
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1));

    // nothing moves any more, which costs next to nothing
    stage.publishers.clear();
    machine.picture = Duration::from_millis(5);
    machine.run(&mut stage, Duration::from_secs(60));
    let back: Vec<_> = steps.iter().rev().copied().collect();
    assert_eq!(machine.steps[4..], back);
    assert_eq!((metrics.degraded.get(), metrics.steps_up.get()), (0, 4));
    let seen = pictures(&stage);
    assert_eq!(seen.last().map(|last| (last.0, last.1)), Some((640, 360)));
}

#[test]
fn other_settings_are_another_load() {
    let (mut stage, _) = overloaded(FIRST_STEP);
    let mut smaller = large();
    smaller.settings.video.bitrate_kbps = Some(300);
    stage.core.handle_plan(smaller.clone(), stage.now);
    assert!(stage.core.status(stage.now).step.is_some(), "the bitrate alone is not");
    smaller.settings.video.size = Size::even(320, 180);
    smaller.size = Size::even(320, 180).expect("a size");
    stage.core.handle_plan(smaller, stage.now);
    assert_eq!(stage.core.status(stage.now).step, None);
    assert_eq!(stage.metrics.degraded.get(), 0);
    stage.run(Duration::from_millis(200));
    let seen = pictures(&stage);
    assert_eq!(seen.last().map(|last| (last.0, last.1)), Some((320, 180)));
}

#[test]
fn a_program_that_ends_is_not_counted_any_more() {
    let (stage, _) = overloaded(FIRST_STEP);
    let metrics = stage.metrics.clone();
    assert_eq!(metrics.degraded.get(), 1);
    drop(stage);
    assert_eq!(metrics.degraded.get(), 0);
}
