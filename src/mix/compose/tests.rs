mod straight;

use super::super::layout::{Color, Fit};
use super::super::picture::Yuv;
use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::io::Cursor;
use std::sync::LazyLock;

const HOST: SeatIndex = SeatIndex(0);
const GREY: Color = color(60, 60, 60);
const WHITE: Color = color(255, 255, 255);

const fn color(red: u8, green: u8, blue: u8) -> Color {
    Color { red, green, blue }
}

fn size(width: u16, height: u16) -> Size {
    Size::even(width, height).unwrap()
}

fn rect(x: u16, y: u16, width: u16, height: u16) -> Rect {
    Rect { x, y, width, height }
}

fn tile(seat: u8, rect: Rect) -> TileScene {
    TileScene {
        tile: layout::Tile {
            seat: SeatIndex(seat),
            source: SourceKind::Camera,
            rect,
            fit: Fit::Crop,
            radius: 0,
            border: 0,
            border_color: WHITE,
        },
        content: Content::Live,
        user: format!("user-{seat}").into(),
        name: format!("Seat {seat}").into(),
        label: false,
        speaking: false,
        muted: false,
    }
}

fn scene(tiles: Vec<TileScene>) -> Scene {
    Scene {
        size: size(160, 90),
        background: Background {
            color: color(0, 0, 120),
            image: None,
        },
        placeholder: Placeholder {
            color: GREY,
            image: None,
            name: true,
        },
        tiles,
        watermarks: vec![],
    }
}

fn with_scene(scene: Scene) -> Composer {
    let mut composer = Composer::new(scene.size);
    composer.set_scene(scene);
    composer
}

fn draw(composer: &mut Composer, seat: u8, picture: &Picture) -> bool {
    composer.draw(SeatIndex(seat), SourceKind::Camera, picture.view())
}

fn composed(composer: &mut Composer) -> Picture {
    let view = composer.compose().picture;
    let mut picture = Picture::black(view.size);
    (picture.y, picture.u, picture.v) = (view.y.to_vec(), view.u.to_vec(), view.v.to_vec());
    picture
}

fn plain(size: Size, level: u8) -> Picture {
    Picture::filled(size, level_of(level))
}

fn level_of(level: u8) -> Yuv {
    Yuv {
        y: level,
        u: level / 2 + 30,
        v: 200 - level / 2,
    }
}

/// What one pixel of a canvas shows.
fn at(picture: &Picture, x: usize, y: usize) -> Yuv {
    let width = picture.size().width();
    let chroma = y / 2 * (width / 2) + x / 2;
    Yuv {
        y: picture.y[y * width + x],
        u: picture.u[chroma],
        v: picture.v[chroma],
    }
}

/// The pixels that are not what `expected` says.
fn differing(picture: &Picture, expected: impl Fn(usize, usize) -> Yuv) -> Vec<(usize, usize)> {
    let (width, height) = (picture.size().width(), picture.size().height());
    let pixels = (0..width * height).map(|n| (n % width, n / width));
    pixels.filter(|&(x, y)| at(picture, x, y) != expected(x, y)).collect()
}

fn within(rect: Rect, x: usize, y: usize) -> bool {
    let columns = usize::from(rect.x)..usize::from(rect.right());
    columns.contains(&x) && (usize::from(rect.y)..usize::from(rect.bottom())).contains(&y)
}

#[test]
fn a_tile_is_in_its_rectangle_and_nothing_else_is_touched() {
    let places = [rect(10, 20, 60, 40), rect(70, 20, 30, 40), rect(100, 0, 60, 90)];
    let tiles = places.iter().zip(1..).map(|(&place, seat)| tile(seat, place)).collect();
    let mut composer = with_scene(scene(tiles));
    for (seat, of) in [(1, size(640, 360)), (2, size(2, 2)), (3, size(98, 1000))] {
        assert!(draw(&mut composer, seat, &plain(of, 50 * seat)));
    }
    let canvas = composed(&mut composer);
    let expected = |x, y| match places.iter().position(|&place| within(place, x, y)) {
        Some(n) => level_of(50 * (n as u8 + 1)),
        None => Yuv::from_rgb(0, 0, 120),
    };
    assert_eq!(differing(&canvas, expected), []);
}

#[test]
fn what_lies_above_stays_above() {
    let (host, left, right) = (rect(0, 0, 160, 90), rect(10, 50, 60, 30), rect(50, 60, 60, 30));
    let mut composer = with_scene(scene(vec![tile(0, host), tile(1, left), tile(2, right)]));
    for seat in 0..3 {
        draw(&mut composer, seat, &plain(size(64, 36), 60 + 40 * seat));
    }
    let mut levels = [60, 100, 140];
    // whoever is drawn anew, with or without the others
    for round in [
        vec![],
        vec![0],
        vec![1],
        vec![2],
        vec![0, 1],
        vec![2, 0],
        vec![1, 2],
        vec![2, 1, 0],
    ] {
        for &seat in &round {
            levels[seat] += 7;
            draw(&mut composer, seat as u8, &plain(size(64, 36), levels[seat]));
        }
        let canvas = composed(&mut composer);
        let expected = |x, y| {
            level_of(match () {
                () if within(right, x, y) => levels[2],
                () if within(left, x, y) => levels[1],
                () => levels[0],
            })
        };
        assert_eq!(differing(&canvas, expected), [], "after {round:?}");
    }
}

#[test]
fn round_corners_show_the_tile_below() {
    let (below, above) = (rect(0, 0, 160, 90), rect(40, 20, 60, 40));
    let mut round = tile(1, above);
    round.tile.radius = 12;
    let mut composer = with_scene(scene(vec![tile(0, below), round]));
    draw(&mut composer, 0, &plain(size(160, 90), 80));
    draw(&mut composer, 1, &plain(size(60, 40), 200));
    composer.compose();
    draw(&mut composer, 1, &plain(size(60, 40), 180));
    let canvas = composed(&mut composer);
    for (x, y) in [(40, 20), (99, 20), (40, 59), (99, 59), (39, 40), (100, 40)] {
        assert_eq!(at(&canvas, x, y), level_of(80), "{x} {y}");
    }
    for (x, y) in [(70, 20), (40, 40), (99, 40), (70, 59), (46, 26)] {
        assert_eq!(at(&canvas, x, y), level_of(180), "{x} {y}");
    }
}

#[test]
fn nothing_drawn_is_nothing_changed() {
    let scene = scene(vec![tile(0, rect(0, 0, 80, 90)), tile(1, rect(80, 0, 80, 90))]);
    let mut composer = Composer::new(scene.size);
    assert!(composer.compose().changed, "the first canvas is a new one");
    assert!(!composer.compose().changed);
    composer.set_scene(scene.clone());
    assert!(composer.compose().changed);
    composer.set_scene(scene);
    assert!(!composer.compose().changed, "the same scene again");
    let picture = plain(size(20, 20), 90);
    assert!(!draw(&mut composer, 7, &picture), "nobody's");
    assert!(!composer.compose().changed);
    let broken = PictureView {
        size: size(22, 20),
        ..picture.view()
    };
    assert!(!composer.draw(HOST, SourceKind::Camera, broken), "too short");
    assert!(
        !composer.draw(HOST, SourceKind::Screen, picture.view()),
        "another source of the seat"
    );
    assert!(!composer.compose().changed);
    assert!(draw(&mut composer, 0, &picture));
    assert!(composer.compose().changed);
    assert!(draw(&mut composer, 0, &picture));
    assert!(!composer.compose().changed, "the same picture again");
}

#[test]
fn one_other_sample_is_a_change_in_whichever_plane_it_is() {
    for (fit, from) in [
        (Fit::Crop, size(80, 90)),
        (Fit::Crop, size(160, 180)),
        (Fit::Contain, size(50, 90)),
    ] {
        let mut tile = tile(0, rect(0, 0, 80, 90));
        tile.tile.fit = fit;
        let mut composer = with_scene(scene(vec![tile]));
        let mut picture = plain(from, 90);
        draw(&mut composer, 0, &picture);
        composer.compose();
        for plane in 0..3 {
            let last = [&mut picture.y, &mut picture.u, &mut picture.v][plane].last_mut();
            *last.unwrap() ^= 64;
            draw(&mut composer, 0, &picture);
            assert!(composer.compose().changed, "{fit:?} {from:?} {plane}");
            draw(&mut composer, 0, &picture);
            assert!(!composer.compose().changed, "{fit:?} {from:?} {plane}");
        }
    }
}

#[test]
fn marks_change_pixels_within_their_box_only() {
    let place = rect(20, 10, 120, 70);
    let picture = plain(size(120, 70), 120);
    let marked = |change: fn(&mut TileScene)| {
        let mut marked = tile(0, place);
        change(&mut marked);
        let mut composer = with_scene(scene(vec![marked]));
        draw(&mut composer, 0, &picture);
        composed(&mut composer)
    };
    let bare = marked(|_| ());
    let changed = |picture: &Picture| differing(picture, |x, y| at(&bare, x, y));

    let label = changed(&marked(|tile| tile.label = true));
    let lower_left = rect(20, 50, 80, 30);
    assert!(
        label.len() > 200 && label.iter().all(|&(x, y)| within(lower_left, x, y)),
        "{label:?}"
    );

    let muted = changed(&marked(|tile| tile.muted = true));
    let square = rect(20, 50, 30, 30);
    assert!(
        muted.len() > 100 && muted.iter().all(|&(x, y)| within(square, x, y)),
        "{muted:?}"
    );

    let ring = changed(&marked(|tile| tile.speaking = true));
    let inside = rect(22, 12, 116, 66);
    assert!(ring.iter().all(|&(x, y)| within(place, x, y) && !within(inside, x, y)));
    assert_eq!(ring.len(), 120 * 70 - 116 * 66);

    let border = marked(|tile| tile.tile.border = 4);
    assert_eq!(at(&border, 20, 10), Yuv::of(WHITE));
    assert_eq!(at(&border, 139, 79), Yuv::of(WHITE));
    assert_eq!(changed(&border).len(), 120 * 70 - 112 * 62);
}

#[test]
fn a_source_without_pictures_has_a_placeholder_with_its_name() {
    let place = rect(0, 0, 160, 90);
    let mut live = tile(0, place);
    let mut composer = with_scene(scene(vec![live.clone()]));
    let waiting = composed(&mut composer);
    let letters = differing(&waiting, |_, _| Yuv::of(GREY));
    assert!(letters.len() > 50, "{}", letters.len());
    assert!(
        letters.iter().all(|&(x, y)| within(rect(20, 30, 120, 30), x, y)),
        "in the middle"
    );
    assert_eq!(
        composer.wants(HOST, SourceKind::Camera),
        Some(size(160, 90)),
        "pictures are awaited"
    );

    draw(&mut composer, 0, &plain(size(32, 18), 200));
    assert_eq!(differing(&composed(&mut composer), |_, _| level_of(200)), []);

    live.content = Content::Placeholder;
    composer.set_scene(scene(vec![live.clone()]));
    assert_eq!(composed(&mut composer), waiting);
    assert_eq!(composer.wants(HOST, SourceKind::Camera), None);
    assert!(!draw(&mut composer, 0, &plain(size(32, 18), 200)), "the camera is off");

    live.content = Content::Live;
    composer.set_scene(scene(vec![live]));
    assert_eq!(composed(&mut composer), waiting, "no old picture comes back");
}

#[test]
fn what_stands_still_keeps_its_picture_in_any_size_and_takes_no_other() {
    let of = |content, rect| {
        let tile = TileScene {
            content,
            ..tile(1, rect)
        };
        scene(vec![tile])
    };
    let (small, large) = (rect(0, 0, 80, 90), rect(0, 0, 160, 90));
    let mut composer = with_scene(of(Content::Frozen, large));
    let placeholder = composed(&mut composer);
    assert!(
        !draw(&mut composer, 1, &plain(size(64, 36), 90)),
        "nothing was seen of it"
    );

    composer.set_scene(of(Content::Live, small));
    assert!(draw(&mut composer, 1, &plain(size(64, 36), 90)));
    for place in [small, large] {
        composer.set_scene(of(Content::Frozen, place));
        assert!(!draw(&mut composer, 1, &plain(size(64, 36), 200)));
        assert_eq!(composer.wants(SeatIndex(1), SourceKind::Camera), None);
        let canvas = composed(&mut composer);
        let still = |x, y| at(&canvas, x, y) == level_of(90);
        assert!(still(4, 4) && still(usize::from(place.width) - 4, 80));
    }
    composer.set_scene(of(Content::Live, large));
    assert_eq!(at(&composed(&mut composer), 80, 45), level_of(90), "until the next one");
    composer.set_scene(of(Content::Placeholder, large));
    composer.set_scene(of(Content::Frozen, large));
    assert_eq!(composed(&mut composer), placeholder, "what is forgotten is forgotten");
}

#[test]
fn pictures_stay_with_whose_they_are() {
    let places = [rect(0, 0, 80, 90), rect(80, 0, 80, 90)];
    let of = |users: [&str; 2], places: [Rect; 2]| {
        let tiles = places.iter().zip(0..).zip(users);
        let tiles = tiles.map(|((&place, seat), user)| TileScene {
            user: user.into(),
            ..tile(seat, place)
        });
        Scene {
            placeholder: Placeholder {
                color: GREY,
                image: None,
                name: false,
            },
            ..scene(tiles.collect())
        }
    };
    let shows = |composer: &mut Composer, expected: [Yuv; 2]| {
        let canvas = composed(composer);
        let [left, right] = expected;
        assert_eq!(differing(&canvas, |x, _| if x < 80 { left } else { right }), []);
    };
    let (ada, bob, placeholder) = (level_of(90), level_of(200), Yuv::of(GREY));
    let mut composer = with_scene(of(["ada", "bob"], places));
    draw(&mut composer, 0, &plain(size(80, 90), 90));
    draw(&mut composer, 1, &plain(size(64, 36), 200));
    shows(&mut composer, [ada, bob]);
    // they swap seats, and with a layout of other places, too
    composer.set_scene(of(["bob", "ada"], places));
    shows(&mut composer, [bob, ada]);
    assert!(
        draw(&mut composer, 1, &plain(size(80, 90), 95)),
        "of the seat, whoever sits there"
    );
    shows(&mut composer, [bob, level_of(95)]);
    let other_places = [rect(0, 0, 80, 90), rect(80, 0, 78, 90)];
    composer.set_scene(of(["ada", "bob"], other_places));
    let canvas = composed(&mut composer);
    assert_eq!(
        (at(&canvas, 40, 45), at(&canvas, 120, 45)),
        (level_of(95), bob),
        "also in another size"
    );
    // somebody else on the seat, and back: nothing of them is left
    composer.set_scene(of(["ada", "eve"], places));
    shows(&mut composer, [level_of(95), placeholder]);
    composer.set_scene(of(["ada", "bob"], places));
    shows(&mut composer, [level_of(95), placeholder]);
}

#[test]
fn what_another_tile_covers_is_not_wanted() {
    let whole = rect(0, 0, 160, 90);
    let mut composer = with_scene(scene(vec![tile(0, rect(10, 10, 20, 20)), tile(1, whole)]));
    assert_eq!(composer.wants(HOST, SourceKind::Camera), None);
    assert_eq!(composer.wants(SeatIndex(1), SourceKind::Camera), Some(size(160, 90)));
    composer.compose();
    draw(&mut composer, 0, &plain(size(20, 20), 99));
    assert!(!composer.compose().changed);
    // uncovered, it has what was drawn meanwhile
    composer.set_scene(scene(vec![tile(0, rect(10, 10, 20, 20))]));
    assert_eq!(at(&composed(&mut composer), 12, 12), level_of(99));
}

#[test]
fn a_scene_of_another_size_is_another_canvas() {
    let mut composer = with_scene(scene(vec![tile(0, rect(0, 0, 160, 90))]));
    draw(&mut composer, 0, &plain(size(160, 90), 70));
    composer.compose();
    let mut portrait = scene(vec![tile(0, rect(0, 0, 90, 80))]);
    portrait.size = size(90, 160);
    composer.set_scene(portrait);
    assert_eq!(composer.stale().collect::<Vec<_>>(), [(HOST, SourceKind::Camera)]);
    let canvas = composed(&mut composer);
    assert_eq!(canvas.size(), size(90, 160));
    assert_eq!(at(&canvas, 40, 40), level_of(70), "the last picture stands in");
    assert_eq!(at(&canvas, 40, 100), Yuv::from_rgb(0, 0, 120));
    draw(&mut composer, 0, &plain(size(160, 90), 75));
    assert_eq!(composer.stale().count(), 0);
}

#[test]
fn a_live_tile_without_a_picture_asks_for_the_last_one() {
    let place = rect(0, 0, 160, 90);
    let of = |content| {
        scene(vec![TileScene {
            content,
            ..tile(0, place)
        }])
    };
    for content in [Content::Placeholder, Content::Frozen] {
        let composer = with_scene(of(content));
        assert_eq!(composer.stale().count(), 0, "nobody waits for pictures: {content:?}");
    }
    let mut composer = with_scene(of(Content::Live));
    assert_eq!(composer.stale().collect::<Vec<_>>(), [(HOST, SourceKind::Camera)]);
    draw(&mut composer, 0, &plain(size(160, 90), 75));
    assert_eq!(composer.stale().count(), 0);
}

#[test]
fn watermarks_lie_over_all_and_are_blended_once() {
    let mut marked = scene(vec![tile(0, rect(0, 0, 80, 90)), tile(1, rect(80, 0, 80, 90))]);
    let place = rect(40, 40, 80, 20);
    marked.watermarks = vec![Watermark {
        rect: place,
        mark: Mark::Text {
            text: "12:34:56".into(),
            color: Color::WHITE,
        },
        opacity: 128,
    }];
    let mut composer = with_scene(marked);
    draw(&mut composer, 0, &plain(size(80, 90), 60));
    draw(&mut composer, 1, &plain(size(80, 90), 60));
    let once = composed(&mut composer);
    let letters = differing(&once, |_, _| level_of(60));
    assert!(letters.len() > 100 && letters.iter().all(|&(x, y)| within(place, x, y)));
    for seat in [0, 1, 0] {
        for gray in [90, 60] {
            draw(&mut composer, seat, &plain(size(80, 90), gray));
            assert_eq!(composed(&mut composer) == once, gray == 60);
        }
    }
}

#[test]
fn a_composer_may_move_to_another_thread() {
    fn is_send<T: Send>() {}
    is_send::<Composer>();
    is_send::<Scene>();
}

#[derive(Clone, Debug)]
enum Step {
    Scene(Scene),
    Draw(u8, u16, u16, u8),
    /// What was drawn last, again.
    Repeat(u8),
    Compose,
}

fn any_tile(seat: u8) -> impl Strategy<Value = TileScene> {
    let place = (0_u16..70, 0_u16..40, 1_u16..70, 1_u16..40).prop_map(|(x, y, w, h)| rect(x * 2, y * 2, w * 2, h * 2));
    let fit = prop::sample::select(vec![Fit::Crop, Fit::Contain, Fit::Stretch]);
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), 0..5_u8);
    let radius = prop_oneof![Just(0), 0_u16..20];
    (place, fit, radius, 0_u16..5, flags).prop_map(move |(place, fit, radius, border, flags)| {
        let mut tile = tile(seat, place);
        (tile.tile.fit, tile.tile.radius, tile.tile.border) = (fit, radius, border);
        (tile.label, tile.speaking, tile.muted) = (flags.0, flags.1, flags.2);
        tile.content = if flags.3 == 0 {
            Content::Placeholder
        } else {
            Content::Live
        };
        tile
    })
}

fn any_scene() -> impl Strategy<Value = Scene> {
    let tiles = (
        any_tile(0),
        any_tile(1),
        any_tile(2),
        any_tile(3),
        0..5_usize,
        any::<bool>(),
    );
    (tiles, any::<bool>(), prop::option::of((0_u16..50, 0_u16..30))).prop_map(|(tiles, blue, mark)| {
        let mut all = vec![tiles.0, tiles.1, tiles.2, tiles.3];
        all.truncate(tiles.4);
        if tiles.5 {
            all.reverse();
        }
        let mut scene = scene(all);
        scene.background.color = if blue { color(0, 0, 200) } else { GREY };
        scene.background.image = blue.then(checkered);
        scene.watermarks.extend(mark.map(|(x, y)| Watermark {
            rect: rect(x * 2, y * 2, 50, 20),
            mark: Mark::Text {
                text: "mark".into(),
                color: Color::WHITE,
            },
            opacity: 200,
        }));
        scene
    })
}

/// One image for all scenes.
fn checkered() -> Image {
    static IMAGE: LazyLock<Image> = LazyLock::new(|| {
        let pixels = image::RgbImage::from_fn(64, 36, |x, y| image::Rgb([(x * 3) as u8, 40, (y * 7) as u8]));
        let mut file = Cursor::new(vec![]);
        pixels.write_to(&mut file, image::ImageFormat::Png).unwrap();
        Image::decode(layout::ImageKind::Png, file.get_ref()).unwrap()
    });
    IMAGE.clone()
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => any_scene().prop_map(Step::Scene),
        6 => (0..4_u8, 1..90_u16, 1..90_u16, any::<u8>()).prop_map(|(seat, w, h, seed)| Step::Draw(seat, w * 2, h * 2, seed)),
        2 => (0..4_u8).prop_map(Step::Repeat),
        3 => Just(Step::Compose),
    ]
}

fn pattern(of: Size, seed: u8) -> Picture {
    let mut picture = Picture::black(of);
    for (n, sample) in picture
        .y
        .iter_mut()
        .chain(&mut picture.u)
        .chain(&mut picture.v)
        .enumerate()
    {
        *sample = (n as u8).wrapping_mul(seed | 1).wrapping_add(seed);
    }
    picture
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// However the canvas came to be, it is what a new composer makes of the same scene and the same last pictures.
    #[test]
    fn bit_by_bit_is_the_same_as_from_scratch(first in any_scene(), steps in prop::collection::vec(any_step(), 1..20)) {
        let mut composer = with_scene(first.clone());
        let mut current = first;
        let mut last: BTreeMap<u8, Picture> = BTreeMap::new();
        let mut shown = None;
        for step in steps.into_iter().chain([Step::Compose]) {
            match step {
                Step::Scene(scene) => {
                    composer.set_scene(scene.clone());
                    let live = |seat: &u8| scene.tiles.iter().any(|tile| {
                        tile.tile.seat.0 == *seat && tile.content == Content::Live
                    });
                    last.retain(|seat, _| live(seat));
                    let stale: Vec<_> = composer.stale().collect();
                    for (seat, _) in stale {
                        if let Some(picture) = last.get(&seat.0) {
                            draw(&mut composer, seat.0, picture);
                        }
                    }
                    current = scene;
                }
                Step::Draw(seat, width, height, seed) => {
                    let picture = pattern(size(width, height), seed);
                    if draw(&mut composer, seat, &picture) {
                        last.insert(seat, picture);
                    }
                }
                Step::Repeat(seat) => {
                    if let Some(picture) = last.get(&seat) {
                        prop_assert!(draw(&mut composer, seat, picture));
                    }
                }
                Step::Compose => {
                    let changed = composer.compose().changed;
                    let canvas = composed(&mut composer);
                    if let Some(before) = shown.replace(canvas) {
                        prop_assert!(changed || Some(before) == shown, "what changed was said to be as before");
                    }
                    let mut fresh = with_scene(current.clone());
                    for (&seat, picture) in &last {
                        prop_assert!(draw(&mut fresh, seat, picture));
                    }
                    prop_assert!(composed(&mut composer) == composed(&mut fresh), "{current:?}");
                }
            }
        }
    }
}
