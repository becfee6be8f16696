//! Tiles that change while nobody sends: pictures go with their owners, are there in every size, and are never those that
//! were not to be seen.

use super::*;
use crate::mix::layout::{Area, Color, CustomTile, Fit, Template};
use crate::mix::picture::{Picture, Yuv};

const DARK: SourceId = SourceId(2);
const BRIGHT: SourceId = SourceId(3);
const TWO_PICTURES: Duration = Duration::from_millis(68);

/// Seats 1 and 2 side by side; nobody else has a tile.
fn side_by_side() -> Layout {
    let tile = |seat, x| CustomTile {
        seat: SeatIndex(seat),
        source: crate::forward::SourceKind::Camera,
        area: Area::new(x, 0.0, 0.5, 1.0).expect("an area"),
        z: 0,
        fit: Fit::Crop,
        radius: 0.0,
        border: 0.0,
        border_color: Color::WHITE,
    };
    let mut layout = Layout {
        template: Template::Custom(vec![tile(1, 0.0), tile(2, 0.5)]),
        ..Layout::default()
    };
    layout.placeholder.color = Color::new(128, 128, 128);
    layout.placeholder.name = false;
    layout
}

/// Who sits where: source, seat and user.
fn seated(people: &[(SourceId, u8, &str)]) -> Plan {
    let sources: Vec<SourceInfo> = people
        .iter()
        .map(|&(id, seat, user)| SourceInfo {
            user: user.into(),
            ..SourceInfo::camera(id, SeatIndex(seat))
        })
        .collect();
    Plan {
        layout: side_by_side(),
        ..plan(&sources)
    }
}

impl Stage {
    fn publish_luma(&mut self, id: SourceId, y: u8) {
        self.publish(id);
        let size = Size::even(320, 180).expect("a size");
        let picture = Picture::filled(size, Yuv { y, u: 128, v: 128 });
        let (publisher, _) = self.publishers.last_mut().expect("a publisher");
        publisher.clip = repeated(picture.view());
    }

    #[track_caller]
    fn assert_halves(&self, expected: [f64; 2]) {
        let (left, right) = *self.pictures().last().expect("a picture");
        let near = |shown: f64, expected: f64| (shown - expected).abs() < 4.0;
        assert!(
            near(left, expected[0]) && near(right, expected[1]),
            "{left} and {right}, not {expected:?}"
        );
    }
}

const HOSTED: (SourceId, u8, &str) = (HOST, 0, "host");
const DARK_LUMA: f64 = 50.0;
const BRIGHT_LUMA: f64 = 200.0;
/// Of the placeholder: middle grey in limited range.
const GREY_LUMA: f64 = 126.0;

/// Dark left, bright right, and neither sends any more.
fn seen() -> Stage {
    let mut stage = Stage::new(seated(&[HOSTED, (DARK, 1, "ada"), (BRIGHT, 2, "bob")]));
    stage.publish(HOST);
    stage.publish_luma(DARK, 50);
    stage.publish_luma(BRIGHT, 200);
    stage.run(Duration::from_secs(1));
    stage.assert_halves([DARK_LUMA, BRIGHT_LUMA]);
    stage.publishers.truncate(1);
    stage.run(Duration::from_millis(200));
    stage.assert_halves([DARK_LUMA, BRIGHT_LUMA]);
    stage
}

#[test]
fn who_swap_seats_take_their_pictures_along() {
    let mut stage = seen();
    let swapped = seated(&[HOSTED, (BRIGHT, 1, "bob"), (DARK, 2, "ada")]);
    stage.core.handle_plan(swapped, stage.now);
    stage.run(TWO_PICTURES);
    stage.assert_halves([BRIGHT_LUMA, DARK_LUMA]);
}

#[test]
fn a_lost_guest_who_is_moved_stands_still_where_they_are_now() {
    let mut stage = seen();
    stage.core.handle_gone(DARK);
    let mut kept = seated(&[HOSTED, (DARK, 1, "ada"), (BRIGHT, 2, "bob")]);
    kept.sources = seated(&[HOSTED, (BRIGHT, 2, "bob")]).sources;
    stage.core.handle_plan(kept, stage.now);
    stage.run(TWO_PICTURES);
    let mut swapped = seated(&[HOSTED, (BRIGHT, 1, "bob"), (DARK, 2, "ada")]);
    swapped.sources = seated(&[HOSTED, (BRIGHT, 1, "bob")]).sources;
    stage.core.handle_plan(swapped, stage.now);
    stage.run(TWO_PICTURES);
    stage.assert_halves([BRIGHT_LUMA, DARK_LUMA]);
    stage.run(Duration::from_secs(2));
    stage.assert_halves([BRIGHT_LUMA, GREY_LUMA]);
}

#[test]
fn nobody_is_seen_under_the_name_of_who_took_their_seat() {
    let mut stage = seen();
    const NEXT: SourceId = SourceId(4);
    let next = seated(&[HOSTED, (NEXT, 1, "eve"), (BRIGHT, 2, "bob")]);
    stage.core.handle_plan(next, stage.now);
    // whose first packets are of no use yet: the keyframe is lost
    stage.publish(NEXT);
    let (publisher, _) = stage.publishers.last_mut().expect("a publisher");
    publisher.pictures = 1;
    stage.run(TWO_PICTURES);
    stage.assert_halves([GREY_LUMA, BRIGHT_LUMA]);
}

#[test]
fn a_picture_of_another_size_shows_who_sends_nothing_now() {
    let mut stage = seen();
    let small = seated(&[HOSTED, (DARK, 1, "ada"), (BRIGHT, 2, "bob")]);
    let large = Plan {
        size: Size::even(640, 360).expect("a size"),
        ..small.clone()
    };
    stage.core.handle_plan(large, stage.now);
    stage.run(TWO_PICTURES);
    stage.taken.video.clear();
    stage.core.handle_plan(small, stage.now);
    stage.run(TWO_PICTURES);
    // from the first picture on
    for (left, right) in stage.pictures() {
        assert!(
            (left - DARK_LUMA).abs() < 4.0 && (right - BRIGHT_LUMA).abs() < 4.0,
            "{left} {right}"
        );
    }
}

#[test]
fn a_tile_that_appears_begins_with_the_last_picture() {
    let people = [HOSTED, (DARK, 1, "ada"), (BRIGHT, 2, "bob")];
    let mut without = seated(&people);
    if let Template::Custom(tiles) = &mut without.layout.template {
        tiles.pop();
    }
    let mut stage = Stage::new(without);
    stage.publish(HOST);
    stage.publish_luma(DARK, 50);
    stage.publish_luma(BRIGHT, 200);
    stage.run(Duration::from_secs(1));
    stage.publishers.truncate(1);
    stage.run(Duration::from_millis(200));
    stage.core.handle_plan(seated(&people), stage.now);
    stage.run(TWO_PICTURES);
    stage.assert_halves([DARK_LUMA, BRIGHT_LUMA]);
}

#[test]
fn what_came_while_somebody_was_muted_is_never_seen() {
    let people = [HOSTED, (DARK, 1, "ada"), (BRIGHT, 2, "bob")];
    let mut stage = Stage::new(seated(&people));
    stage.publish(HOST);
    stage.publish_luma(DARK, 50);
    stage.publish_luma(BRIGHT, 200);
    stage.run(Duration::from_secs(1));
    let mut muted = seated(&people);
    muted.sources = muted
        .sources
        .iter()
        .map(|source| {
            let mut source = source.clone();
            source.permission.video = source.id != BRIGHT;
            source
        })
        .collect();
    stage.core.handle_plan(muted, stage.now);
    // what was on its way
    stage.run(Duration::from_millis(200));
    stage.publishers.truncate(1);
    stage.run(Duration::from_millis(300));
    stage.assert_halves([DARK_LUMA, GREY_LUMA]);
    stage.core.handle_plan(seated(&people), stage.now);
    stage.run(TWO_PICTURES);
    stage.assert_halves([DARK_LUMA, GREY_LUMA]);
}

#[test]
fn who_was_away_for_long_does_not_come_back_with_an_old_picture() {
    let mut stage = seen();
    let flowing = |flowing| FeedUpdate::Flowing {
        kind: MediaKind::Video,
        layer: LayerIndex(0),
        flowing,
    };
    stage.core.handle_update(BRIGHT, flowing(false), stage.now);
    stage.run(Duration::from_secs(2));
    stage.assert_halves([DARK_LUMA, GREY_LUMA]);
    stage.core.handle_update(BRIGHT, flowing(true), stage.now);
    stage.run(TWO_PICTURES);
    stage.assert_halves([DARK_LUMA, GREY_LUMA]);
}
