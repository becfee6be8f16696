use super::*;
use std::fmt::Write;

const LANDSCAPE: (u16, u16) = (1280, 720);
const PORTRAIT: (u16, u16) = (720, 1280);

fn size((width, height): (u16, u16)) -> Size {
    Size::even(width, height).expect("a canvas")
}

fn camera(seat: u8) -> Present {
    Present {
        seat: SeatIndex(seat),
        source: SourceKind::Camera,
    }
}

fn shown(seat: u8) -> Present {
    Present {
        seat: SeatIndex(seat),
        source: SourceKind::Screen,
    }
}

fn cameras(people: u8) -> Vec<Present> {
    (0..people).map(camera).collect()
}

fn of(template: Template) -> Layout {
    Layout {
        template,
        ..Layout::default()
    }
}

fn placed(seat: u8, area: [f64; 4], z: i16) -> CustomTile {
    let [x, y, w, h] = area;
    CustomTile {
        seat: SeatIndex(seat),
        source: SourceKind::Camera,
        area: Area::new(x, y, w, h).expect("within the canvas"),
        z,
        fit: Fit::Crop,
        radius: 0.0,
        border: 0.0,
        border_color: Color::WHITE,
    }
}

/// A tile's letter: its seat, screens in upper case.
fn letter(tile: &Tile) -> char {
    let letter = char::from(b'a' + tile.seat.0);
    match tile.source {
        SourceKind::Camera => letter,
        SourceKind::Screen | SourceKind::Program => letter.to_ascii_uppercase(),
    }
}

/// One character for 40 × 80 pixels: what covers its middle.
fn drawing(canvas: Size, tiles: &[Tile]) -> String {
    let mut text = String::new();
    for y in (40..canvas.height()).step_by(80) {
        for x in (20..canvas.width()).step_by(40) {
            let covers = |tile: &&Tile| {
                let Rect {
                    x: left,
                    y: top,
                    width,
                    height,
                } = tile.rect;
                let within = |at: usize, from: u16, length: u16| {
                    (usize::from(from)..usize::from(from) + usize::from(length)).contains(&at)
                };
                within(x, left, width) && within(y, top, height)
            };
            text.push(tiles.iter().rev().find(covers).map_or('.', letter));
        }
        text.push('\n');
    }
    text
}

fn snapshot(name: &str, layout: &Layout, canvas: (u16, u16), present: &[Present]) -> String {
    let tiles = layout.arrange(size(canvas), present);
    let mut text = format!("# {name}, {} on {} x {}\n", present.len(), canvas.0, canvas.1);
    for tile in &tiles {
        let Rect { x, y, width, height } = tile.rect;
        let radius = if tile.radius > 0 {
            format!(" radius {}", tile.radius)
        } else {
            String::new()
        };
        let border = if tile.border > 0 {
            format!(" border {}", tile.border)
        } else {
            String::new()
        };
        let _ = writeln!(
            text,
            "{} {width}x{height}+{x}+{y} {:?}{radius}{border}",
            letter(tile),
            tile.fit
        );
    }
    text + &drawing(size(canvas), &tiles) + "\n"
}

fn studio() -> Template {
    let mut corner = placed(1, [0.7, 0.05, 0.25, 0.25], 5);
    corner.radius = 0.5;
    corner.border = 0.02;
    let mut slides = placed(0, [0.0, 0.0, 0.65, 1.0], 0);
    slides.source = SourceKind::Screen;
    slides.fit = Fit::Contain;
    Template::Custom(vec![
        corner,
        placed(0, [0.6, 0.0, 0.4, 0.6], 1),
        slides,
        placed(2, [2.0 / 3.0, 0.6, 1.0 / 3.0, 0.4], 1),
    ])
}

fn all() -> String {
    let mut text = String::new();
    for canvas in [LANDSCAPE, PORTRAIT] {
        for people in 1..=10 {
            text += &snapshot("grid", &of(Template::Grid), canvas, &cameras(people));
        }
        for people in 1..=10 {
            text += &snapshot("float", &of(Template::Float), canvas, &cameras(people));
        }
        for people in 1..=10 {
            let mut present = cameras(people);
            present.insert(1, shown(0));
            text += &snapshot("screen", &of(Template::Screen), canvas, &present);
        }
        let mut present = cameras(4);
        present.insert(1, shown(0));
        text += &snapshot("custom", &of(studio()), canvas, &present);
    }
    text
}

/// Look at what changed before you commit it: `COSTAGE_WRITE_LAYOUTS=1` writes the file anew.
#[test]
fn rectangles_are_as_committed() {
    let text = all();
    if std::env::var_os("COSTAGE_WRITE_LAYOUTS").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/mix/layout/snapshots.txt");
        std::fs::write(path, &text).expect("the file can be written");
        return;
    }
    let committed = include_str!("snapshots.txt");
    for (is, was) in text.split("\n\n").zip(committed.split("\n\n")) {
        assert_eq!(is, was, "\n{is}\n\nwas\n\n{was}");
    }
    assert_eq!(text, committed);
}

fn overlap(a: Rect, b: Rect) -> bool {
    let apart = |a_from: u16, a_length: u16, b_from: u16, b_length: u16| {
        a_from + a_length <= b_from || b_from + b_length <= a_from
    };
    !apart(a.x, a.width, b.x, b.width) && !apart(a.y, a.height, b.y, b.height)
}

#[test]
fn every_rectangle_is_even_and_on_the_canvas() {
    let sides = [2, 4, 16, 90, 180, 360, 480, 720, 1080, 1280, 1920];
    for canvas in sides.iter().flat_map(|w| sides.iter().map(|h| (*w, *h))) {
        for people in 0..=16 {
            let mut present = cameras(people);
            present.extend((0..people).step_by(3).map(shown));
            present.sort();
            for template in [Template::Grid, Template::Float, Template::Screen, studio()] {
                let exact = matches!(template, Template::Custom(_));
                let layout = of(template);
                let tiles = layout.arrange(size(canvas), &present);
                assert!(exact || tiles.len() == present.len(), "{layout:?} {canvas:?} {people}");
                for Tile {
                    rect, radius, border, ..
                } in &tiles
                {
                    let at = format!("{rect:?} of {layout:?} on {canvas:?} with {people}");
                    let numbers = [rect.x, rect.y, rect.width, rect.height];
                    assert!(numbers.iter().all(|n| n % 2 == 0), "{at}");
                    assert!(rect.width >= 2 && rect.height >= 2, "{at}");
                    assert!(
                        rect.x + rect.width <= canvas.0 && rect.y + rect.height <= canvas.1,
                        "{at}"
                    );
                    let half = rect.width.min(rect.height) / 2;
                    assert!(*radius <= half && *border <= half, "{at}");
                }
            }
        }
    }
}

#[test]
fn grids_and_screens_have_no_tile_on_another() {
    for canvas in [LANDSCAPE, PORTRAIT, (640, 360), (1920, 1080), (1080, 1920), (480, 480)] {
        for people in 1..=16 {
            let mut with_screens = cameras(people);
            with_screens.extend([shown(0), shown(people - 1)].iter().take(usize::from(people)));
            with_screens.sort();
            for (template, present) in [(Template::Grid, cameras(people)), (Template::Screen, with_screens)] {
                let tiles = of(template).arrange(size(canvas), &present);
                for (n, a) in tiles.iter().enumerate() {
                    for b in tiles.iter().skip(n + 1) {
                        assert!(!overlap(a.rect, b.rect), "{a:?} {b:?} on {canvas:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn tiles_of_a_grid_have_one_size_within_two_pixels_and_a_face_fits_in() {
    for canvas in [LANDSCAPE, PORTRAIT, (640, 360), (1920, 1080), (1080, 1920)] {
        for people in 2..=10 {
            let tiles = of(Template::Grid).arrange(size(canvas), &cameras(people));
            let first = tiles.first().expect("a tile").rect;
            for Tile { rect, .. } in &tiles {
                assert!(rect.width.abs_diff(first.width) <= 2 && rect.height.abs_diff(first.height) <= 2);
                let shape = f64::from(rect.width) / f64::from(rect.height);
                assert!((0.78..=1.81).contains(&shape), "{rect:?} on {canvas:?} with {people}");
            }
        }
    }
}

#[test]
fn whoever_floats_is_above_the_host() {
    let mut present = cameras(4);
    present.insert(1, shown(0));
    let tiles = of(Template::Float).arrange(size(LANDSCAPE), &present);
    let order: String = tiles.iter().map(letter).collect();
    assert_eq!(order, "aAbcd");
    // A host without a camera leaves the place to the first who is there.
    let tiles = of(Template::Float).arrange(size(LANDSCAPE), &[camera(3), camera(5)]);
    let order: String = tiles.iter().map(letter).collect();
    assert_eq!(order, "df");
}

#[test]
fn the_hosts_screen_comes_before_others() {
    let large = |present: &[Present]| {
        let tiles = of(Template::Screen).arrange(size(LANDSCAPE), present);
        tiles.iter().map(letter).collect::<String>()
    };
    assert_eq!(large(&[camera(0), shown(0), camera(1), shown(1)]), "AabB");
    assert_eq!(large(&[camera(0), camera(1), shown(1)]), "Bab");
    assert_eq!(large(&[camera(0), camera(1)]), "ab");
    let alone = of(Template::Screen).arrange(size(PORTRAIT), &[shown(2)]);
    let rect = alone.first().map(|tile| (tile.rect, tile.fit));
    let whole = Rect {
        x: 0,
        y: 0,
        width: 720,
        height: 1280,
    };
    assert_eq!(rect, Some((whole, Fit::Contain)));
}

#[test]
fn a_custom_tile_without_a_source_is_not_there() {
    let order = |present: &[Present]| {
        let tiles = of(studio()).arrange(size(LANDSCAPE), present);
        tiles.iter().map(letter).collect::<String>()
    };
    assert_eq!(order(&[]), "");
    assert_eq!(order(&[camera(1)]), "b");
    // by z, then as listed
    assert_eq!(order(&[camera(0), shown(0), camera(1), camera(2), camera(7)]), "Aacb");
}

#[test]
fn what_touches_in_fractions_touches_in_pixels() {
    let thirds = (0..3)
        .map(|n| placed(n, [f64::from(n) / 3.0, 0.0, 1.0 / 3.0, 1.0], 0))
        .collect();
    let layout = of(Template::Custom(thirds));
    for width in (2..400).step_by(2) {
        let tiles = layout.arrange(size((width, 90)), &cameras(3));
        let edges: Vec<_> = tiles
            .iter()
            .map(|tile| (tile.rect.x, tile.rect.x + tile.rect.width))
            .collect();
        let [(start, a), (b, c), (d, end)] = *edges else {
            panic!("three tiles")
        };
        // Less than 6 pixels are too few for three tiles side by side.
        assert!(
            width < 6 || (start, a, c, end) == (0, b, d, width),
            "{edges:?} of {width}"
        );
    }
}

#[test]
fn an_area_is_on_the_canvas_or_says_what_is_wrong() {
    let wrong = |x, y, w, h| Area::new(x, y, w, h).err().map(|Misplaced(field)| field);
    for whole in [[0.0, 0.0, 1.0, 1.0], [0.7, 0.1, 0.3, 0.9], [0.9, 0.9, 0.1, 0.1]] {
        let [x, y, w, h] = whole;
        assert_eq!(wrong(x, y, w, h), None);
    }
    assert_eq!(wrong(-0.1, 0.0, 1.0, 1.0), Some("x"));
    assert_eq!(wrong(0.0, f64::NAN, 1.0, 1.0), Some("y"));
    assert_eq!(wrong(0.0, 0.0, 1.1, 1.0), Some("w"));
    assert_eq!(wrong(0.0, 0.0, 1.0, f64::INFINITY), Some("h"));
    assert_eq!(wrong(0.5, 0.0, 0.6, 1.0), Some("w"));
    assert_eq!(wrong(0.0, 0.5, 1.0, 0.51), Some("h"));
    assert_eq!(wrong(0.0, 0.0, 0.0, 1.0), Some("w"));
    assert_eq!(wrong(1.0, 0.0, 0.1, 1.0), Some("w"));
}

#[test]
fn a_host_alone_is_untouched_by_what_concerns_guests() {
    let plain = Layout::default();
    let is_untouched = |layout: &Layout| layout.alterations().next().is_none();
    assert!(is_untouched(&plain));
    for template in [Template::Float, Template::Screen] {
        let layout = of(template);
        assert!(is_untouched(&layout));
        // and it is so
        assert_eq!(
            layout.arrange(size(PORTRAIT), &[camera(0)]),
            plain.arrange(size(PORTRAIT), &[camera(0)])
        );
    }
    let changed = |change: fn(&mut Layout)| {
        let mut layout = Layout::default();
        change(&mut layout);
        is_untouched(&layout)
    };
    assert!(changed(|layout| layout.background.color = Color::WHITE));
    assert!(changed(|layout| layout.labels = Labels::Never));
    assert!(changed(|layout| layout.volumes = [(SeatIndex(1), 0.5)].into()));
    assert!(changed(|layout| layout.volumes = [(SeatIndex(0), 1.0)].into()));
    assert!(!changed(|layout| layout.volumes = [(SeatIndex(0), 0.5)].into()));
    assert!(!changed(|layout| layout.labels = Labels::Always));
    assert!(!changed(|layout| layout.template = studio()));
    assert!(!changed(|layout| layout.watermarks.push(Watermark {
        mark: Mark::Clock {
            seconds: false,
            utc_offset_minutes: 60,
            color: Color::WHITE
        },
        area: Area::new(0.0, 0.0, 0.2, 0.1).expect("an area"),
        opacity: 0.8,
    })));
}

#[test]
fn names_come_with_the_second_tile() {
    let labelled = |labels| {
        let layout = Layout {
            labels,
            ..Layout::default()
        };
        [1, 2, 10].map(|tiles| layout.labelled(tiles))
    };
    assert_eq!(labelled(Labels::FromTwoTiles), [false, true, true]);
    assert_eq!(labelled(Labels::Always), [true; 3]);
    assert_eq!(labelled(Labels::Never), [false; 3]);
}

#[test]
fn volumes_are_not_seen() {
    let plain = Layout::default();
    let mut quiet = plain.clone();
    quiet.volumes.insert(SeatIndex(1), 0.5);
    assert!(quiet.looks_like(&plain) && quiet != plain);
    let mut labelled = quiet.clone();
    labelled.labels = Labels::Never;
    let mut coloured = quiet.clone();
    coloured.background.color = Color::WHITE;
    let mut nameless = quiet.clone();
    nameless.placeholder.name = false;
    let mut marked = quiet.clone();
    marked.watermarks.push(Watermark {
        mark: Mark::Text {
            text: "on air".into(),
            color: Color::WHITE,
        },
        area: Area::new(0.0, 0.0, 1.0, 1.0).expect("an area"),
        opacity: 1.0,
    });
    for other in [of(Template::Float), labelled, coloured, nameless, marked] {
        assert!(!other.looks_like(&plain), "{other:?}");
    }
}
