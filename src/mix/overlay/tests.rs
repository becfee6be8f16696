use super::*;

fn size(width: u16, height: u16) -> Size {
    Size::even(width, height).unwrap()
}

fn marks(tile: Size) -> Marks {
    Marks {
        tile,
        radius: 0,
        border: 0,
        border_color: Color {
            red: 255,
            green: 255,
            blue: 255,
        },
        name: None,
        muted: false,
    }
}

#[test]
fn what_the_next_scene_uses_too_is_not_drawn_again() {
    let mut overlays = Overlays::default();
    let named = Marks {
        name: Some("Ada".into()),
        border: 3,
        ..marks(size(320, 180))
    };
    let first = overlays.marks(&named);
    assert_eq!(first.len(), 5, "four strips and a badge");
    overlays.begin();
    let second = overlays.marks(&named);
    overlays.end();
    for (first, second) in first.iter().zip(&second) {
        assert!(Arc::ptr_eq(&first.bitmap, &second.bitmap) && first.at == second.at);
    }
    overlays.begin();
    overlays.marks(&marks(size(320, 180)));
    overlays.end();
    assert!(
        overlays.kept.is_empty() && overlays.before.is_empty(),
        "what nobody shows is dropped"
    );
}

#[test]
fn marks_fit_any_tile() {
    let mut overlays = Overlays::default();
    for width in [2, 4, 10, 16, 30, 50, 200, 1920] {
        for height in [2, 4, 10, 16, 30, 50, 200, 1080] {
            for (border, radius) in [(0, 0), (1, 0), (1, 1), (3, 40), (500, 500)] {
                let tile = size(width, height);
                let marks = Marks {
                    border,
                    radius,
                    name: Some("A rather long name".into()),
                    muted: true,
                    ..marks(tile)
                };
                for Placed { at, bitmap } in overlays.marks(&marks) {
                    let place = bitmap.size().rect().moved(at.0, at.1);
                    assert!(
                        tile.rect().contains(place),
                        "{place:?} of {tile:?}, border {border}, radius {radius}"
                    );
                    assert_eq!((at.0 | at.1) & 1, 0, "{at:?} of {tile:?}");
                }
            }
        }
    }
}

#[test]
fn a_ring_follows_the_round_corner() {
    let tile = size(60, 40);
    let mut picture = Picture::black(tile);
    let ring = Marks {
        border: 4,
        radius: 12,
        ..marks(tile)
    };
    for Placed { at, bitmap } in Overlays::default().marks(&ring) {
        bitmap.blend(&mut picture, at, tile.rect());
    }
    let luma = |x: usize, y: usize| picture.y[y * 60 + x];
    for (x, y) in [(30, 0), (30, 3), (0, 20), (3, 20), (59, 20), (30, 39), (4, 5)] {
        assert!(luma(x, y) > 200, "{x} {y}: {}", luma(x, y));
    }
    for (x, y) in [(0, 0), (59, 39), (1, 1), (30, 4), (30, 20), (4, 20), (9, 9)] {
        assert_eq!(luma(x, y), 16, "{x} {y}");
    }
}

#[test]
fn a_name_is_legible_on_its_placeholder() {
    for (level, letters) in [(20, 235), (250, 16)] {
        let color = Color {
            red: level,
            green: level,
            blue: level,
        };
        let placeholder = Placeholder {
            color,
            image: None,
            name: true,
        };
        let mut overlays = Overlays::default();
        let named = overlays.placeholder(size(320, 180), &placeholder, "Ada");
        let own = Yuv::of(color).y;
        let ink = named
            .y
            .iter()
            .filter(|&&y| y.abs_diff(letters) < 20 && y != own)
            .count();
        assert!(ink > 50, "{ink} pixels of ink on {level}");
        let nameless = Placeholder {
            name: false,
            ..placeholder
        };
        assert_eq!(
            overlays.placeholder(size(320, 180), &nameless, "Ada"),
            covered(size(320, 180), color, None)
        );
    }
}
