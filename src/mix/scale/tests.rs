use super::*;
use proptest::prelude::*;

fn size(width: u16, height: u16) -> Size {
    Size::even(width, height).unwrap()
}

/// Smooth in both directions, so that a scaled picture can be computed from the formula.
fn slope(size: Size) -> Picture {
    let mut picture = Picture::black(size);
    let (width, height) = (size.width(), size.height());
    for y in 0..height {
        for x in 0..width {
            picture.y[y * width + x] = slope_at((x as f64 + 0.5) / width as f64, (y as f64 + 0.5) / height as f64);
        }
    }
    for y in 0..height / 2 {
        for x in 0..width / 2 {
            let (fx, fy) = (
                (x as f64 + 0.5) * 2.0 / width as f64,
                (y as f64 + 0.5) * 2.0 / height as f64,
            );
            picture.u[y * (width / 2) + x] = slope_at(fx, fy);
            picture.v[y * (width / 2) + x] = slope_at(fy, fx);
        }
    }
    picture
}

fn slope_at(x: f64, y: f64) -> u8 {
    (20.0 + 130.0 * x + 80.0 * y).round() as u8
}

fn scaled(source: &Picture, to: Size, fit: Fit, quality: Quality) -> Picture {
    let mut target = Picture::filled(to, Yuv { y: 1, u: 2, v: 3 });
    let shape = Shape {
        from: source.size(),
        to,
        fit,
        quality,
    };
    let bars = Yuv { y: 77, u: 78, v: 79 };
    Scaler::new(shape).run(&source.view().planes().unwrap(), &mut target, to.rect(), Some(bars));
    target
}

/// Bilinear in floating point, sample by sample.
fn reference(source: Plane<'_>, width: usize, height: usize) -> Vec<f64> {
    let position = |n: usize, from: usize, to: usize| {
        let position = ((n as f64 + 0.5) * from as f64 / to as f64 - 0.5).clamp(0.0, (from - 1) as f64);
        let first = position.floor() as usize;
        (first, (first + 1).min(from - 1), position.fract())
    };
    let mut out = vec![];
    for y in 0..height {
        let (top, bottom, down) = position(y, source.height, height);
        for x in 0..width {
            let (left, right, along) = position(x, source.width, width);
            let row =
                |y: usize| f64::from(source.row(y)[left]) * (1.0 - along) + f64::from(source.row(y)[right]) * along;
            out.push(row(top) * (1.0 - down) + row(bottom) * down);
        }
    }
    out
}

fn noise(size: Size, seed: u64) -> Picture {
    let mut picture = Picture::black(size);
    let mut state = seed | 1;
    for sample in picture.y.iter_mut().chain(&mut picture.u).chain(&mut picture.v) {
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        *sample = (state >> 56) as u8;
    }
    picture
}

proptest! {
    #[test]
    fn up_to_two_to_one_it_is_bilinear(
        from in (1_u16..150, 1_u16..90), factor in (0.5_f64..3.0, 0.5_f64..3.0), seed: u64,
    ) {
        let from = size(from.0 * 2, from.1 * 2);
        let side = |side: usize, factor: f64| ((side as f64 * factor).ceil() as u16).max(2).next_multiple_of(2);
        let to = size(side(from.width(), factor.0), side(from.height(), factor.1));
        let source = noise(from, seed);
        let target = scaled(&source, to, Fit::Stretch, Quality::Good);
        for plane in 0..3 {
            let (source, target) = (source.plane(plane), target.plane(plane));
            let expected = reference(source, target.width, target.height);
            for (n, expected) in expected.iter().enumerate() {
                let got = target.row(n / target.width)[n % target.width];
                // positions in 64ths of a sample, twice: 255 / 128 each, and the rounding of both steps
                prop_assert!((f64::from(got) - expected).abs() < 5.1, "{got} instead of {expected} at {n}");
            }
        }
    }

    #[test]
    fn any_size_becomes_any_other(
        from in (1_u16..200, 1_u16..200), to in (1_u16..100, 1_u16..100), stride in 0_usize..40, fast: bool,
        fit in prop::sample::select(vec![Fit::Crop, Fit::Contain, Fit::Stretch]),
    ) {
        let (from, to) = (size(from.0 * 2, from.1 * 2), size(to.0 * 2, to.1 * 2));
        let quality = if fast { Quality::Fast } else { Quality::Good };
        let (luma, chroma) = (from.width() + stride, from.width() / 2 + stride);
        // rows end where the numbers say: what lies between is never seen
        let padded = |width: usize, stride: usize, height: usize, level: u8| -> Vec<u8> {
            let row: Vec<_> = (0..stride).map(|x| if x < width { level } else { 255 }).collect();
            row.repeat(height)
        };
        let y = padded(from.width(), luma, from.height(), 100);
        let u = padded(from.width() / 2, chroma, from.height() / 2, 60);
        let v = padded(from.width() / 2, chroma, from.height() / 2, 40);
        let view = super::super::picture::PictureView {
            size: from, y: &y, u: &u, v: &v, y_stride: luma, uv_stride: chroma,
        };
        let mut target = Picture::filled(to, Yuv { y: 1, u: 2, v: 3 });
        let bars = Yuv { y: 100, u: 60, v: 40 };
        let mut scaler = Scaler::new(Shape { from, to, fit, quality });
        scaler.run(&view.planes().unwrap(), &mut target, to.rect(), Some(bars));
        prop_assert_eq!(target, Picture::filled(to, bars));
    }

    #[test]
    fn in_a_rectangle_of_a_larger_picture_it_is_the_same_and_nothing_else_is_touched(
        from in (1_u16..60, 1_u16..60), to in (1_u16..40, 1_u16..40), at in (0_u16..20, 0_u16..20), more in (0_u16..20, 0_u16..20),
        seed: u64, fit in prop::sample::select(vec![Fit::Crop, Fit::Contain, Fit::Stretch]),
    ) {
        let (from, to) = (size(from.0 * 2, from.1 * 2), size(to.0 * 2, to.1 * 2));
        let at = to.rect().moved(at.0 * 2, at.1 * 2);
        let whole = size(at.right() + more.0 * 2, at.bottom() + more.1 * 2);
        let source = noise(from, seed);
        let bars = Yuv { y: 77, u: 78, v: 79 };
        let before = noise(whole, !seed);
        let mut target = before.clone();
        let mut scaler = Scaler::new(Shape { from, to, fit, quality: Quality::Good });
        scaler.run(&source.view().planes().unwrap(), &mut target, at, Some(bars));
        prop_assert!(!scaler.run(&source.view().planes().unwrap(), &mut target, at, None), "the same again");

        let mut expected = before;
        expected.copy(at, &scaled(&source, to, fit, Quality::Good), to.rect());
        prop_assert!(target == expected);
    }
}

#[test]
fn a_slope_stays_the_same_slope() {
    for (from, to) in [
        (size(640, 360), size(426, 240)),
        (size(640, 360), size(320, 180)),
        (size(1280, 720), size(212, 118)),
        (size(1920, 1080), size(160, 90)),
        (size(160, 90), size(426, 240)),
        (size(64, 480), size(320, 60)),
        (size(12, 14), size(40, 30)),
    ] {
        for (quality, tolerance) in [(Quality::Good, 5), (Quality::Fast, 8)] {
            let (got, expected) = (scaled(&slope(from), to, Fit::Stretch, quality), slope(to));
            for plane in 0..3 {
                let (got, expected) = (got.plane(plane), expected.plane(plane));
                for y in 0..got.height {
                    for (x, (a, b)) in got.row(y).iter().zip(expected.row(y)).enumerate() {
                        // a small source has few levels to make a fine slope of, and none beyond its outermost centres
                        let tolerance = if from.width() < 100 { 16 } else { tolerance };
                        assert!(
                            a.abs_diff(*b) <= tolerance,
                            "{a} instead of {b} at {x} {y} of {plane}, {from:?} {to:?}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn fine_lines_become_grey_instead_of_a_pattern() {
    let from = size(1280, 720);
    let mut stripes = Picture::black(from);
    for (n, sample) in stripes.y.iter_mut().enumerate() {
        *sample = if (n % 1280 + n / 1280) % 2 == 0 { 40 } else { 200 };
    }
    for to in [size(426, 240), size(300, 170), size(256, 144), size(640, 360)] {
        let small = scaled(&stripes, to, Fit::Stretch, Quality::Good);
        assert!(small.y.iter().all(|&level| (118..=122).contains(&level)), "{to:?}");
    }
}

#[test]
fn the_same_size_is_a_copy() {
    let source = noise(size(98, 54), 7);
    for quality in [Quality::Good, Quality::Fast] {
        for fit in [Fit::Crop, Fit::Contain, Fit::Stretch] {
            assert_eq!(scaled(&source, source.size(), fit, quality), source);
        }
    }
}

#[test]
fn crop_takes_the_middle_and_contain_leaves_bars() {
    let from = size(80, 40);
    let mut source = Picture::filled(from, Yuv { y: 200, u: 90, v: 90 });
    for y in 0..40 {
        // the outer quarters on both sides, which a square leaves out
        for x in (0..20).chain(60..80) {
            source.y[y * 80 + x] = 30;
            source.u[y / 2 * 40 + x / 2] = 30;
        }
    }
    let square = size(40, 40);
    assert_eq!(
        scaled(&source, square, Fit::Crop, Quality::Good),
        Picture::filled(square, Yuv { y: 200, u: 90, v: 90 })
    );

    let contained = scaled(&source, square, Fit::Contain, Quality::Good);
    for y in 0..40 {
        let bar = !(10..30).contains(&y);
        assert_eq!(contained.y[y * 40 + 20] == 77, bar, "row {y}");
        assert_eq!(contained.v[y / 2 * 20 + 10] == 79, bar, "row {y}");
    }
    assert_eq!(contained.y[20 * 40 + 5], 30, "what crop leaves out is there");
}

#[test]
fn odd_shapes_keep_a_sample_of_chroma() {
    for (of, like) in [
        (size(2, 1000), size(1000, 2)),
        (size(1000, 2), size(2, 1000)),
        (size(2, 2), size(4000, 2)),
    ] {
        let part = centred(of.rect(), like);
        assert!(
            of.rect().contains(part) && part.width >= 2 && part.height >= 2,
            "{part:?}"
        );
        assert_eq!((part.x | part.y | part.width | part.height) & 1, 0, "{part:?}");
    }
    let nearly = centred(size(640, 360).rect(), size(426, 240));
    assert_eq!(
        nearly,
        size(640, 360).rect(),
        "640×360 and 426×240 differ by a fraction of a line only"
    );
}
