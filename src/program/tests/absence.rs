//! Seats whose pictures stop.

use super::*;
use crate::forward::LayerIndex;

/// Longer than a last picture stays.
const LONG: Duration = Duration::from_secs(2);

/// A host and a guest who have been seen, and the luma of the guest's half: without a picture, and with one.
fn seen() -> (Stage, Plan, [f64; 2]) {
    let both = plan(&[source(HOST, 0), source(GUEST, 1)]);
    let mut stage = Stage::new(both.clone());
    stage.publish(HOST);
    stage.run(Duration::from_secs(1));
    let placeholder = right(&stage);
    stage.publish(GUEST);
    stage.run(Duration::from_millis(500));
    let picture = right(&stage);
    assert!((picture - placeholder).abs() > 10.0, "{picture} {placeholder}");
    (stage, both, [placeholder, picture])
}

/// The mean luma of the right half, now.
fn right(stage: &Stage) -> f64 {
    stage.pictures().last().expect("a picture").1
}

#[track_caller]
fn assert_shows(stage: &Stage, expected: f64) {
    let shown = right(stage);
    // the clip moves a little
    assert!((shown - expected).abs() < 4.0, "{shown}, not {expected}");
}

fn stop_sending(stage: &mut Stage) {
    stage.publishers.pop();
}

/// The plan while the guest's seat is kept without a transport.
fn without_source(both: &Plan) -> Plan {
    Plan {
        sources: vec![source(HOST, 0)].into(),
        ..both.clone()
    }
}

#[test]
fn a_lost_guest_stands_still_for_a_moment_and_is_a_placeholder_then() {
    let (mut stage, both, [placeholder, picture]) = seen();
    stop_sending(&mut stage);
    stage.core.handle_gone(GUEST);
    stage.run(Duration::from_millis(100));
    assert_shows(&stage, picture);
    stage.core.handle_plan(without_source(&both), stage.now);
    stage.run(Duration::from_millis(1_300));
    assert_shows(&stage, picture);
    stage.run(Duration::from_millis(200));
    assert_shows(&stage, placeholder);

    // back on another transport, and lost again before anything of it was seen
    let back = plan(&[source(HOST, 0), source(SourceId(3), 1)]);
    stage.core.handle_plan(back, stage.now);
    stage.core.handle_gone(SourceId(3));
    stage.run(Duration::from_millis(100));
    assert_shows(&stage, placeholder);
}

#[test]
fn who_comes_back_in_time_was_never_a_placeholder() {
    let (mut stage, both, [_, picture]) = seen();
    stop_sending(&mut stage);
    stage.core.handle_gone(GUEST);
    stage.core.handle_plan(without_source(&both), stage.now);
    stage.run(Duration::from_secs(1));
    let before = stage.pictures().len();
    let again = SourceId(3);
    stage
        .core
        .handle_plan(plan(&[source(HOST, 0), source(again, 1)]), stage.now);
    stage.run(Duration::from_millis(300));
    stage.publish(again);
    stage.run(LONG);
    for (_, luma) in &stage.pictures()[before..] {
        assert!((luma - picture).abs() < 10.0, "{luma}, not {picture}");
    }
    // and what comes is seen, not the frozen picture
    stop_sending(&mut stage);
    stage.core.handle_gone(again);
    stage.run(Duration::from_secs(1));
    assert_shows(&stage, picture);
}

#[test]
fn pictures_that_stop_are_kept_for_a_moment_and_sound_goes_on() {
    let (mut stage, _, [placeholder, picture]) = seen();
    stop_sending(&mut stage);
    stage.run(Duration::from_secs(1));
    let flowing = FeedUpdate::Flowing {
        kind: MediaKind::Video,
        layer: LayerIndex(0),
        flowing: false,
    };
    stage.core.handle_update(GUEST, flowing, stage.now);
    stage.run(Duration::from_millis(1_400));
    assert_shows(&stage, picture);
    stage.run(Duration::from_millis(200));
    assert_shows(&stage, placeholder);
}

#[test]
fn a_mute_a_lock_and_a_kick_take_the_picture_away_at_once_also_of_somebody_who_is_lost() {
    let two_pictures = FRAME * 2 + Duration::from_millis(2);
    // a mute while it flows
    let (mut stage, mut both, [placeholder, _]) = seen();
    let mut muted = source(GUEST, 1);
    muted.permission.video = false;
    both.sources = vec![source(HOST, 0), muted].into();
    stage.core.handle_plan(both, stage.now);
    stage.run(two_pictures);
    assert_shows(&stage, placeholder);

    // a lock while the seat is kept
    let (mut stage, both, [placeholder, picture]) = seen();
    stop_sending(&mut stage);
    stage.core.handle_gone(GUEST);
    let mut kept = without_source(&both);
    stage.core.handle_plan(kept.clone(), stage.now);
    stage.run(Duration::from_millis(500));
    assert_shows(&stage, picture);
    kept.people[1].video_muted = true;
    stage.core.handle_plan(kept, stage.now);
    stage.run(two_pictures);
    assert_shows(&stage, placeholder);

    // somebody else on the seat
    let (mut stage, both, [placeholder, _]) = seen();
    stop_sending(&mut stage);
    let mut other = without_source(&both);
    other.people[1].user = "somebody-else".into();
    stage.core.handle_plan(other, stage.now);
    stage.run(two_pictures);
    assert_shows(&stage, placeholder);

    // nobody on it: the host has the canvas
    let (mut stage, _, _) = seen();
    stop_sending(&mut stage);
    stage.core.handle_plan(plan(&[source(HOST, 0)]), stage.now);
    stage.run(two_pictures);
    let (left, right) = *stage.pictures().last().expect("a picture");
    assert!((left - right).abs() > 1.0, "two halves of one picture: {left} {right}");
}

#[test]
fn a_host_alone_who_is_lost_leaves_the_last_picture_and_then_a_slate() {
    let alone = plan(&[source(HOST, 0)]);
    let mut stage = Stage::new(alone.clone());
    stage.publish(HOST);
    stage.run(Duration::from_secs(1));
    let picture = right(&stage);
    stop_sending(&mut stage);
    stage.core.handle_gone(HOST);
    let away = Plan {
        sources: vec![].into(),
        ..alone
    };
    stage.core.handle_plan(away, stage.now);
    stage.run(Duration::from_millis(1_400));
    assert_shows(&stage, picture);
    stage.run(LONG);
    assert!((right(&stage) - picture).abs() > 10.0);
    let keyframes = stage.taken.video.iter().filter(|(meta, _)| meta.starts_keyframe);
    assert!(keyframes.count() <= 3, "the first, and one every 2 s");
}
