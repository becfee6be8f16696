use super::super::picture::Yuv;
use super::*;
use proptest::prelude::*;

fn size(width: u16, height: u16) -> Size {
    Size::even(width, height).unwrap()
}

fn rect(x: u16, y: u16, width: u16, height: u16) -> Rect {
    Rect { x, y, width, height }
}

proptest! {
    #[test]
    fn blending_is_the_formula(rows in prop::collection::vec((0..=255_u8, 0..=255_u8, 0..=255_u8), 0..200)) {
        let under: Vec<u8> = rows.iter().map(|row| row.0).collect();
        let alpha: Vec<u8> = rows.iter().map(|row| row.1).collect();
        let color: Vec<u8> = rows.iter().map(|row| row.2.min(row.1)).collect();
        let keep: Vec<u8> = alpha.iter().map(|alpha| 255 - alpha).collect();

        let (mut fast, mut plain) = (under.clone(), under.clone());
        over(&mut fast, &color, &keep);
        over_plain(&mut plain, &color, &keep);
        prop_assert_eq!(&fast, &plain);
        for n in 0..rows.len() {
            let expected = f64::from(color[n]) + (f64::from(under[n]) * f64::from(keep[n]) / 255.0).round();
            prop_assert_eq!(f64::from(fast[n]), expected);
        }

        let (mut fast, mut plain) = (under.clone(), under.clone());
        mix(&mut fast, &color, &alpha);
        mix_plain(&mut plain, &color, &alpha);
        prop_assert_eq!(&fast, &plain);
        for n in 0..rows.len() {
            let sum = f64::from(under[n]) * f64::from(keep[n]) + f64::from(color[n]) * f64::from(alpha[n]);
            prop_assert_eq!(f64::from(fast[n]), (sum / 255.0).round());
        }
    }

    /// Painting a part of the canvas twice must be seen only where nothing opaque was put below; painting it in pieces, never.
    #[test]
    fn in_pieces_it_is_the_same(
        x in 0_u16..20, y in 0_u16..20, cut_x in 0_u16..24, cut_y in 0_u16..24, radius in 0_u16..20,
    ) {
        let canvas = size(48, 48);
        let clips = |right: u16, bottom: u16| [
            rect(0, 0, right, bottom), rect(right, 0, 48 - right, bottom),
            rect(0, bottom, right, 48 - bottom), rect(right, bottom, 48 - right, 48 - bottom),
        ];
        let pieces = clips(cut_x * 2, cut_y * 2);
        let (x, y) = (x * 2, y * 2);

        let mut raster = Raster::clear(size(14, 10));
        for n in 0..140 {
            raster.lay(n % 14, n / 14, [255, (n * 3) as u8, 0], n as f32 / 140.0);
        }
        let bitmap = Bitmap::new(&raster);
        let below = Picture::filled(canvas, Yuv { y: 200, u: 90, v: 140 });
        let (mut whole, mut pieced) = (below.clone(), below.clone());
        bitmap.blend(&mut whole, (x, y), canvas.rect());
        for piece in pieces {
            bitmap.blend(&mut pieced, (x, y), piece);
        }
        prop_assert_eq!(&whole, &pieced);

        let picture = Picture::filled(size(18, 12), Yuv { y: 30, u: 30, v: 30 });
        let (place, corners) = (rect(x.min(30), y.min(36), 18, 12), Corners::new(radius, picture.size()));
        let (mut whole, mut pieced) = (below.clone(), below);
        corners.paint(&picture, &mut whole, place, canvas.rect());
        for piece in pieces {
            corners.paint(&picture, &mut pieced, place, piece);
        }
        prop_assert_eq!(whole, pieced);
    }
}

#[test]
fn an_opaque_bitmap_is_its_colour_and_a_clear_one_is_nothing() {
    let canvas = size(16, 16);
    let below = Picture::filled(canvas, Yuv { y: 235, u: 16, v: 240 });
    let mut raster = Raster::clear(size(4, 6));
    let mut painted = below.clone();
    Bitmap::new(&raster).blend(&mut painted, (2, 4), canvas.rect());
    assert_eq!(painted, below);

    for n in 0..24 {
        raster.lay(n % 4, n / 4, [255, 0, 0], 1.0);
    }
    Bitmap::new(&raster).blend(&mut painted, (2, 4), canvas.rect());
    let red = Yuv::from_rgb(255, 0, 0);
    for n in 0..256 {
        let (x, y) = (n % 16, n / 16);
        let inside = (2..6).contains(&x) && (4..10).contains(&y);
        assert_eq!(painted.y[n], if inside { red.y } else { 235 }, "{x} {y}");
        let chroma = y / 2 * 8 + x / 2;
        assert_eq!(
            (painted.u[chroma], painted.v[chroma]),
            if inside { (red.u, red.v) } else { (16, 240) },
            "{x} {y}"
        );
    }
}

#[test]
fn colours_are_those_of_bt_709() {
    let yuv = |red, green, blue| Yuv::from_rgb(red, green, blue).planes();
    assert_eq!(yuv(0, 0, 0), [16, 128, 128]);
    assert_eq!(yuv(255, 255, 255), [235, 128, 128]);
    assert_eq!(yuv(255, 0, 0), [63, 102, 240]);
    assert_eq!(yuv(0, 255, 0), [173, 42, 26]);
    assert_eq!(yuv(0, 0, 255), [32, 240, 118]);
}

#[test]
fn corners_are_round_and_show_what_lies_below() {
    let canvas = size(40, 40);
    let place = rect(4, 6, 30, 20);
    let picture = Picture::filled(size(30, 20), Yuv { y: 200, u: 200, v: 200 });
    let corners = Corners::new(8, picture.size());
    let mut painted = Picture::filled(canvas, Yuv { y: 40, u: 40, v: 40 });
    corners.paint(&picture, &mut painted, place, canvas.rect());
    for y in 0..40_i32 {
        for x in 0..40_i32 {
            // distance in pixels to the shape: inside is negative
            let beyond = |at: i32, low: i32, high: i32| (low + 8 - at).max(at + 1 - (high - 8)).max(0) as f64;
            let (dx, dy) = (beyond(x, 4, 34) - 0.5, beyond(y, 6, 26) - 0.5);
            let distance = if dx > 0.0 && dy > 0.0 {
                dx.hypot(dy) - 8.0
            } else {
                dx.max(dy) - 8.0
            };
            let got = painted.y[(y * 40 + x) as usize];
            if distance < -0.6 {
                assert_eq!(got, 200, "{x} {y}");
            } else if distance > 0.6 {
                assert_eq!(got, 40, "{x} {y}");
            }
        }
    }
    let squares: Vec<_> = corners.squares(place).collect();
    assert_eq!(
        squares,
        [
            rect(4, 6, 8, 8),
            rect(26, 6, 8, 8),
            rect(4, 18, 8, 8),
            rect(26, 18, 8, 8)
        ]
    );
    assert_eq!(Corners::new(0, picture.size()).squares(place).count(), 0);
    assert_eq!(limited_radius(100, size(30, 22)), 10, "half of the shorter side, even");
}
