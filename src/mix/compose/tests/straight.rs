//! Pictures that are scaled straight into the canvas, against pictures that are kept.

use super::super::super::layout::{Area, CustomTile, Layout, Present, Template};
use super::super::super::scale::{Scaler, Shape};
use super::*;

/// Nothing is seen of it, but it lies over all: no tile is alone.
fn veil(canvas: Size) -> Watermark {
    Watermark {
        rect: canvas.rect(),
        mark: Mark::Image(checkered()),
        opacity: 0,
    }
}

fn straight(composer: &Composer) -> Vec<bool> {
    composer.tiles.iter().map(|tile| tile.alone).collect()
}

fn arranged(template: Template, people: u8, shared: bool) -> Scene {
    let mut present: Vec<_> = (0..people).map(|seat| (seat, SourceKind::Camera)).collect();
    if shared {
        present.insert(1, (0, SourceKind::Screen));
    }
    let present: Vec<_> = present
        .into_iter()
        .map(|(seat, source)| Present {
            seat: SeatIndex(seat),
            source,
        })
        .collect();
    let layout = Layout {
        template,
        ..Layout::default()
    };
    let mut scene = scene(vec![]);
    let tiles = layout.arrange(scene.size, &present).into_iter();
    scene.tiles = tiles
        .map(|placed| TileScene {
            tile: placed.clone(),
            ..tile(placed.seat.0, placed.rect)
        })
        .collect();
    scene
}

#[test]
fn tiles_that_meet_nothing_are_drawn_straight_into_the_canvas() {
    for people in 1..=10 {
        let mut composer = with_scene(arranged(Template::Grid, people, false));
        assert_eq!(straight(&composer), vec![true; people.into()]);
        let mut marked = arranged(Template::Grid, people, false);
        marked.watermarks = vec![veil(marked.size)];
        composer.set_scene(marked);
        assert_eq!(straight(&composer), vec![false; people.into()]);
    }
    assert_eq!(
        straight(&with_scene(arranged(Template::Screen, 4, true))),
        [true; 5],
        "beside one another"
    );
    assert_eq!(
        straight(&with_scene(arranged(Template::Float, 3, false))),
        [false; 3],
        "above and below"
    );

    let mut scene = scene(vec![
        tile(0, rect(0, 0, 80, 90)),
        tile(1, rect(80, 0, 80, 40)),
        tile(2, rect(80, 40, 80, 50)),
    ]);
    scene.tiles[1].tile.radius = 6;
    scene.watermarks = vec![Watermark {
        rect: rect(4, 4, 60, 12),
        ..veil(scene.size)
    }];
    assert_eq!(
        straight(&with_scene(scene)),
        [false, false, true],
        "a watermark, round corners, neither"
    );
}

#[test]
fn marks_in_the_canvas_are_blended_once_and_leave_nothing_behind() {
    // in the lower one the name lies on the highlight
    for place in [rect(20, 10, 120, 70), rect(20, 10, 120, 24)] {
        let mut marked = tile(0, place);
        (marked.label, marked.speaking, marked.muted) = (true, true, true);
        let mut silent = marked.clone();
        (silent.speaking, silent.muted) = (false, false);
        let mut composer = with_scene(scene(vec![marked.clone()]));
        let (dark, bright) = (pattern(size(120, 70), 3), pattern(size(240, 140), 8));
        draw(&mut composer, 0, &dark);
        let first = composed(&mut composer);
        for between in 0..3 {
            draw(&mut composer, 0, &bright);
            if between == 1 {
                composer.compose();
            }
            if between == 2 {
                composer.set_scene(scene(vec![silent.clone()]));
                assert!(composed(&mut composer) != first);
                composer.set_scene(scene(vec![marked.clone()]));
            }
            draw(&mut composer, 0, &dark);
            assert!(composed(&mut composer) == first, "{place:?} {between}");
            draw(&mut composer, 0, &dark);
            assert!(!composer.compose().changed);
            assert!(composed(&mut composer) == first, "drawn anew, {place:?} {between}");
        }
    }
}

#[derive(Clone, Debug)]
enum Change {
    Scene(Scene),
    Speaks(usize),
    Muted(usize),
    Content(usize, Content),
    Labels,
    Watermark(Option<Watermark>),
    Quality(Quality),
    Draw(u8, SourceKind, (u16, u16), u8),
    /// One sample of the last picture, from its lower left corner: where labels are.
    Touch(u8, SourceKind, (usize, usize)),
    Repeat(u8, SourceKind),
    Compose,
}

fn any_watermark() -> impl Strategy<Value = Option<Watermark>> {
    let mark = |(x, y, opacity)| Watermark {
        rect: rect(x * 2, y * 2, 50, 20),
        mark: Mark::Text {
            text: "mark".into(),
            color: Color::WHITE,
        },
        opacity,
    };
    prop::option::of((0_u16..70, 0_u16..40, any::<u8>()).prop_map(mark))
}

fn any_custom() -> impl Strategy<Value = Template> {
    let side = || (0_u8..8, 1_u8..5).prop_map(|(from, length)| (from, length.min(8 - from)));
    let fit = prop::sample::select(vec![Fit::Crop, Fit::Contain, Fit::Stretch]);
    let tile = (side(), side(), fit, 0_u8..4, 0_i16..3);
    prop::collection::vec(tile, 1..5).prop_map(|tiles| {
        let tiles = (0..).zip(tiles).map(|(seat, ((x, w), (y, h), fit, round, z))| {
            let [x, y, w, h] = [x, y, w, h].map(|n| f64::from(n) / 8.0);
            CustomTile {
                seat: SeatIndex(seat),
                source: SourceKind::Camera,
                area: Area::new(x, y, w, h).unwrap(),
                z,
                fit,
                radius: if round == 0 { 0.2 } else { 0.0 },
                border: f64::from(round) / 40.0,
                border_color: WHITE,
            }
        });
        Template::Custom(tiles.collect())
    })
}

fn any_arranged() -> impl Strategy<Value = Scene> {
    let template = prop_oneof![
        3 => Just(Template::Grid),
        1 => Just(Template::Float),
        2 => Just(Template::Screen),
        3 => any_custom(),
    ];
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), 0_usize..8);
    (template, 1_u8..7, flags, any_watermark()).prop_map(|(template, people, flags, watermark)| {
        let mut scene = arranged(template, people, flags.0);
        for (n, tile) in scene.tiles.iter_mut().enumerate() {
            (tile.label, tile.speaking, tile.muted) = (flags.1, n == flags.3, n + 1 == flags.3);
        }
        scene.placeholder.name = flags.2;
        // bars of another colour
        scene.placeholder.color = if flags.2 { GREY } else { WHITE };
        scene.watermarks = watermark.into_iter().filter(|_| flags.3 < 3).collect();
        scene
    })
}

fn any_source() -> impl Strategy<Value = (u8, SourceKind)> {
    prop_oneof![
        5 => (0_u8..6).prop_map(|seat| (seat, SourceKind::Camera)),
        1 => Just((0, SourceKind::Screen)),
    ]
}

fn any_change() -> impl Strategy<Value = Change> {
    let content = prop::sample::select(vec![
        Content::Live,
        Content::Live,
        Content::Frozen,
        Content::Placeholder,
    ]);
    prop_oneof![
        3 => any_arranged().prop_map(Change::Scene),
        2 => (0_usize..7).prop_map(Change::Speaks),
        1 => (0_usize..7).prop_map(Change::Muted),
        3 => (0_usize..7, content).prop_map(|(tile, content)| Change::Content(tile, content)),
        1 => Just(Change::Labels),
        1 => any_watermark().prop_map(Change::Watermark),
        1 => any::<bool>().prop_map(|fast| Change::Quality(if fast { Quality::Fast } else { Quality::Good })),
        12 => (any_source(), prop::sample::select(vec![(64, 36), (160, 90), (30, 70), (320, 180)]), any::<u8>())
            .prop_map(|((seat, source), of, seed)| Change::Draw(seat, source, of, seed)),
        4 => (any_source(), (0_usize..60, 0_usize..30)).prop_map(|((seat, source), at)| Change::Touch(seat, source, at)),
        4 => any_source().prop_map(|(seat, source)| Change::Repeat(seat, source)),
        10 => Just(Change::Compose),
    ]
}

fn touched(mut picture: Picture, (x, y): (usize, usize)) -> Picture {
    let (width, height) = (picture.size().width(), picture.size().height());
    picture.y[(height - 1 - y % height) * width + x % width] ^= 0x40;
    picture
}

/// Two composers to which the same happens: one that scales straight into the canvas where it can, one that never does.
struct Both {
    scene: Scene,
    straight: Composer,
    kept: Composer,
    /// Each source's last picture.
    last: BTreeMap<(u8, SourceKind), Picture>,
    shown: Option<Picture>,
}

impl Both {
    fn new(scene: Scene) -> Self {
        let mut both = Both {
            straight: Composer::new(scene.size),
            kept: Composer::new(scene.size),
            scene: scene.clone(),
            last: BTreeMap::new(),
            shown: None,
        };
        both.set_scene(scene);
        both
    }

    fn set_scene(&mut self, scene: Scene) {
        let mut veiled = scene.clone();
        veiled.watermarks.push(veil(scene.size));
        self.straight.set_scene(scene.clone());
        self.kept.set_scene(veiled);
        assert!(!straight(&self.kept).contains(&true));
        self.scene = scene;
        let stale: Vec<_> = self.straight.stale().collect();
        assert_eq!(stale, self.kept.stale().collect::<Vec<_>>());
        for (seat, source) in stale {
            if let Some(last) = self.last.get(&(seat.0, source)).cloned() {
                self.draw(seat.0, source, last);
            }
        }
    }

    fn change_scene(&mut self, change: impl FnOnce(&mut Scene)) {
        let mut scene = self.scene.clone();
        change(&mut scene);
        self.set_scene(scene);
    }

    fn draw(&mut self, seat: u8, source: SourceKind, picture: Picture) {
        let drawn = self.straight.draw(SeatIndex(seat), source, picture.view());
        assert_eq!(drawn, self.kept.draw(SeatIndex(seat), source, picture.view()));
        self.last.insert((seat, source), picture);
    }

    fn compose(&mut self) {
        let changed = self.straight.compose().changed;
        assert_eq!(changed, self.kept.compose().changed);
        let canvas = composed(&mut self.straight);
        assert!(canvas == composed(&mut self.kept), "{:?}", self.scene);
        if let Some(before) = self.shown.replace(canvas) {
            assert!(
                changed || Some(before) == self.shown,
                "another canvas, and nothing said"
            );
        }
    }

    fn apply(&mut self, change: Change) {
        match change {
            Change::Scene(scene) => self.set_scene(scene),
            Change::Speaks(n) => self.change_scene(|scene| {
                for (at, tile) in scene.tiles.iter_mut().enumerate() {
                    tile.speaking = at == n;
                }
            }),
            Change::Muted(n) => self.change_scene(|scene| {
                let tile = scene.tiles.get_mut(n);
                tile.into_iter().for_each(|tile| tile.muted ^= true);
            }),
            Change::Content(n, content) => self.change_scene(|scene| {
                let tile = scene.tiles.get_mut(n);
                tile.into_iter().for_each(|tile| tile.content = content);
            }),
            Change::Labels => self.change_scene(|scene| scene.tiles.iter_mut().for_each(|tile| tile.label ^= true)),
            Change::Watermark(mark) => self.change_scene(|scene| scene.watermarks = mark.into_iter().collect()),
            Change::Quality(quality) => {
                self.straight.set_quality(quality);
                self.kept.set_quality(quality);
            }
            Change::Draw(seat, source, (w, h), seed) => self.draw(seat, source, pattern(size(w, h), seed)),
            Change::Touch(seat, source, at) => {
                if let Some(last) = self.last.get(&(seat, source)).cloned() {
                    self.draw(seat, source, touched(last, at));
                }
            }
            Change::Repeat(seat, source) => {
                if let Some(last) = self.last.get(&(seat, source)).cloned() {
                    self.draw(seat, source, last);
                }
            }
            Change::Compose => self.compose(),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn bit_by_bit_is_the_same_as_with_kept_pictures(
        first in any_arranged(), changes in prop::collection::vec(any_change(), 1..50),
    ) {
        let mut both = Both::new(first);
        for change in changes {
            both.apply(change);
        }
        both.compose();
    }

    /// Also beneath a label, and also where scaling leaves the touched sample out.
    #[test]
    fn the_canvas_changes_exactly_when_a_bare_picture_does(
        people in 2_u8..6, fast: bool, fit in prop::sample::select(vec![Fit::Crop, Fit::Contain, Fit::Stretch]),
        draws in prop::collection::vec((0_u8..6, prop::option::of((0_usize..320, 0_usize..180))), 1..40),
    ) {
        let from = size(320, 180);
        let quality = if fast { Quality::Fast } else { Quality::Good };
        let mut scene = arranged(Template::Grid, people, false);
        for tile in &mut scene.tiles {
            (tile.label, tile.muted, tile.speaking, tile.tile.fit) = (true, true, true, fit);
        }
        let bare = |picture: &Picture, to: Size| {
            let mut bare = Picture::black(to);
            let shape = Shape { from, to, fit, quality };
            let planes = picture.view().planes().unwrap();
            Scaler::new(shape).run(&planes, &mut bare, to.rect(), Some(Yuv::BLACK));
            bare
        };
        let mut composer = with_scene(scene);
        composer.set_quality(quality);
        let mut last: Vec<_> = (0..people).map(|seat| pattern(from, seat)).collect();
        for (seat, picture) in (0..).zip(&last) {
            draw(&mut composer, seat, picture);
        }
        composer.compose();
        for (seat, touch) in draws {
            let (seat, n) = (seat % people, usize::from(seat % people));
            let next = match touch {
                Some(at) => touched(last[n].clone(), at),
                None => last[n].clone(),
            };
            let to = composer.wants(SeatIndex(seat), SourceKind::Camera).unwrap();
            let other = bare(&next, to) != bare(&last[n], to);
            draw(&mut composer, seat, &next);
            prop_assert_eq!(composer.compose().changed, other);
            last[n] = next;
        }
    }
}
