//! What lies over a picture: premultiplied bitmaps with their own transparency, and pictures with round corners. Both are
//! painted within a clip only, so that a part of the canvas can be painted anew. No time base.
#![cfg_attr(
    target_arch = "x86_64",
    expect(unsafe_code, reason = "the plain loops are compiled a second time for AVX2")
)]

use super::picture::{Picture, Rect, SUBSAMPLING, Samples, Size, level, limited_range};

/// What is drawn before it becomes a [`Bitmap`]: red, green, blue, alpha of sRGB, premultiplied, rows without gaps.
#[derive(Clone, Debug)]
pub(super) struct Raster {
    size: Size,
    pixels: Vec<[u8; 4]>,
}

impl Raster {
    pub fn clear(size: Size) -> Self {
        Raster {
            size,
            pixels: vec![[0; 4]; size.width() * size.height()],
        }
    }

    pub fn size(&self) -> Size {
        self.size
    }

    /// A colour laid over one pixel; beyond the raster, nothing.
    ///
    /// `coverage` is 0.0..=1.0.
    pub fn lay(&mut self, x: usize, y: usize, color: [u8; 3], coverage: f32) {
        let width = self.size.width();
        if coverage <= 0.0 || x >= width || y >= self.size.height() {
            return;
        }
        let pixel = &mut self.pixels[y * width + x];
        let over = [color[0], color[1], color[2], 255];
        for (under, over) in pixel.iter_mut().zip(over) {
            *under = level(f32::from(*under) * (1.0 - coverage) + f32::from(over) * coverage);
        }
    }

    /// A premultiplied picture laid over a part of this one.
    pub fn lay_raster(&mut self, at: (usize, usize), over: &Raster) {
        let width = self.size.width();
        for (n, &pixel) in over.pixels.iter().enumerate() {
            let (x, y) = (at.0 + n % over.size.width(), at.1 + n / over.size.width());
            if x >= width || y >= self.size.height() {
                continue;
            }
            let keep = 1.0 - f32::from(pixel[3]) / 255.0;
            for (under, over) in self.pixels[y * width + x].iter_mut().zip(pixel) {
                *under = level(f32::from(*under) * keep + f32::from(over));
            }
        }
    }

    /// As many pixels as `size` says, premultiplied, row by row.
    ///
    /// # Panics
    /// On another number of pixels.
    pub fn of_pixels(size: Size, pixels: Vec<[u8; 4]>) -> Self {
        assert_eq!(pixels.len(), size.width() * size.height(), "pixels of {size:?}");
        Raster { size, pixels }
    }

    #[cfg(test)]
    pub fn pixels(&self) -> &[[u8; 4]] {
        &self.pixels
    }

    /// `opacity` 255: as it is.
    pub fn faded(mut self, opacity: u8) -> Self {
        for channel in self.pixels.iter_mut().flatten() {
            *channel = by_255(u16::from(*channel) * u16::from(opacity));
        }
        self
    }
}

/// Premultiplied y, u, v, and how much of what lies below is kept.
#[derive(Debug)]
pub(super) struct Bitmap {
    size: Size,
    planes: [Vec<u8>; 3],
    /// 255 less the alpha, of luma and of chroma.
    keep: [Vec<u8>; 2],
}

impl Bitmap {
    pub fn new(raster: &Raster) -> Self {
        let size = raster.size;
        let (width, height) = (size.width(), size.height());
        let mut luma = (vec![], vec![]);
        for &pixel in &raster.pixels {
            let [red, green, blue, alpha] = pixel.map(f32::from);
            let [y, ..] = limited_range(red, green, blue, alpha);
            luma.0.push(level(y).min(pixel[3]));
            luma.1.push(255 - pixel[3]);
        }
        let mut chroma = (vec![], vec![], vec![]);
        for y in (0..height).step_by(2) {
            for x in (0..width).step_by(2) {
                let four = [0, 1, width, width + 1].map(|next| raster.pixels[y * width + x + next]);
                let mean = |channel: usize| four.iter().map(|pixel| f32::from(pixel[channel])).sum::<f32>() / 4.0;
                let [_, u, v] = limited_range(mean(0), mean(1), mean(2), mean(3));
                let alpha = level(mean(3));
                // a premultiplied value above its alpha would overflow where it lies on white
                chroma.0.push(level(u).min(alpha));
                chroma.1.push(level(v).min(alpha));
                chroma.2.push(255 - alpha);
            }
        }
        Bitmap {
            size,
            planes: [luma.0, chroma.0, chroma.1],
            keep: [luma.1, chroma.2],
        }
    }

    pub fn size(&self) -> Size {
        self.size
    }

    /// Lays it over the canvas with its upper left corner at `x`, `y` (both even), within `clip` only.
    pub fn blend(&self, canvas: &mut Picture, (x, y): (u16, u16), clip: Rect) {
        let place = self.size.rect().moved(x, y);
        let visible = place
            .intersection(clip)
            .and_then(|part| part.intersection(canvas.size().rect()));
        let Some(visible) = visible else { return };
        for (plane, subsampling) in SUBSAMPLING.into_iter().enumerate() {
            let (own, part) = (place.samples(subsampling), visible.samples(subsampling));
            let mut under = canvas.plane_mut(plane, visible);
            for row in 0..part.height {
                let start = (part.y - own.y + row) * own.width + part.x - own.x;
                let range = start..start + part.width;
                over(
                    under.row(row),
                    &self.planes[plane][range.clone()],
                    &self.keep[plane.min(1)][range],
                );
            }
        }
    }
}

/// The shape of a picture with round corners: how much of the picture each pixel near a corner has.
#[derive(Debug)]
pub(super) struct Corners {
    /// Of the squares that the corners are in, in pixels; even, at most half the shorter side of the picture.
    side: u16,
    /// Of the upper left square: luma, chroma. The other three are its mirrors.
    weights: [Vec<u8>; 2],
    /// The same, left and right exchanged.
    mirrored: [Vec<u8>; 2],
}

impl Corners {
    /// `radius` in pixels; what is more than half the shorter side of the picture is cut down.
    pub fn new(radius: u16, picture: Size) -> Self {
        let radius = limited_radius(radius, picture);
        let side = radius + (radius & 1);
        let length = usize::from(side);
        let luma: Vec<f32> = (0..length * length)
            .map(|n| 255.0 * quarter_disc(n % length, n / length, f32::from(radius)))
            .collect();
        let mut chroma = vec![];
        for y in (0..length).step_by(2) {
            for x in (0..length).step_by(2) {
                let four = [0, 1, length, length + 1].map(|next| luma[y * length + x + next]);
                chroma.push(four.iter().sum::<f32>() / 4.0);
            }
        }
        let levels = |plane: &[f32]| plane.iter().map(|&weight| level(weight)).collect::<Vec<_>>();
        let weights = [levels(&luma), levels(&chroma)];
        let mirror = |plane: &[u8], width: usize| -> Vec<u8> {
            plane
                .chunks_exact(width.max(1))
                .flat_map(|row| row.iter().rev().copied())
                .collect()
        };
        let mirrored = [mirror(&weights[0], length), mirror(&weights[1], length / 2)];
        Corners {
            side,
            weights,
            mirrored,
        }
    }

    /// The four squares in which what lies below shows, of a picture in this place; none for a radius of 0.
    pub fn squares(&self, place: Rect) -> impl Iterator<Item = Rect> + use<> {
        let side = self.side;
        let (right, bottom) = (place.right() - side, place.bottom() - side);
        let corners = [(place.x, place.y), (right, place.y), (place.x, bottom), (right, bottom)];
        corners.into_iter().filter(move |_| side > 0).map(move |(x, y)| Rect {
            x,
            y,
            width: side,
            height: side,
        })
    }

    /// Paints a picture with these corners, its upper left one at `place`, within `clip` only.
    ///
    /// # Panics
    /// On a picture of another size than the place.
    pub fn paint(&self, picture: &Picture, canvas: &mut Picture, place: Rect, clip: Rect) {
        assert_eq!(place.size(), Some(picture.size()), "a picture as large as its place");
        let Some(visible) = place.intersection(clip) else {
            return;
        };
        for (plane, subsampling) in SUBSAMPLING.into_iter().enumerate() {
            let (own, part) = (place.samples(subsampling), visible.samples(subsampling));
            let source = picture.plane(plane);
            let mut under = canvas.plane_mut(plane, visible);
            for row in 0..part.height {
                let y = part.y - own.y + row;
                self.paint_row(plane.min(1), y, source.row(y), under.row(row), own, part.x - own.x);
            }
        }
    }

    /// Row `y` of the picture from sample `first` on, over as many samples as `under` has.
    fn paint_row(&self, plane: usize, y: usize, source: &[u8], under: &mut [u8], own: Samples, first: usize) {
        let side = usize::from(self.side) / SUBSAMPLING[plane];
        let end = first + under.len();
        // counted from the nearer edge
        let y = y.min(own.height - 1 - y);
        if y >= side {
            under.copy_from_slice(&source[first..end]);
            return;
        }
        let right = own.width - side;
        let mut part = |from: usize, to: usize, weights: Option<&[u8]>| {
            let (low, high) = (from.max(first), to.min(end));
            if low >= high {
                return;
            }
            let under = &mut under[low - first..high - first];
            match weights {
                None => under.copy_from_slice(&source[low..high]),
                Some(weights) => mix(under, &source[low..high], &weights[low - from..high - from]),
            }
        };
        let row = y * side..(y + 1) * side;
        part(0, side, Some(&self.weights[plane][row.clone()]));
        part(side, right, None);
        part(right, own.width, Some(&self.mirrored[plane][row]));
    }
}

/// A radius that leaves room for four corners.
pub(super) fn limited_radius(radius: u16, picture: Size) -> u16 {
    let half = (picture.width().min(picture.height()) / 2) & !1;
    radius.min(u16::try_from(half).unwrap_or(u16::MAX))
}

/// How much of the pixel in column `x` and row `y` lies within a disc that touches the left and the upper edge: 0.0..=1.0.
pub(super) fn quarter_disc(x: usize, y: usize, radius: f32) -> f32 {
    let from_centre = |n: usize| (radius - (n as f32 + 0.5)).max(0.0);
    let (x, y) = (from_centre(x), from_centre(y));
    // beside the corner's square the edge is straight, and lies between two pixels
    if x == 0.0 || y == 0.0 {
        return 1.0;
    }
    (radius - x.hypot(y) + 0.5).clamp(0.0, 1.0)
}

/// The nearest whole number to `product` / 255, for products of two bytes.
#[inline(always)]
fn by_255(product: u16) -> u8 {
    let rounded = product + 128;
    ((rounded + (rounded >> 8)) >> 8) as u8
}

#[inline(always)]
fn over_plain(under: &mut [u8], color: &[u8], keep: &[u8]) {
    for ((under, &color), &keep) in under.iter_mut().zip(color).zip(keep) {
        // a colour is at most its alpha, which is 255 - keep
        *under = color.wrapping_add(by_255(u16::from(*under) * u16::from(keep)));
    }
}

#[inline(always)]
fn mix_plain(under: &mut [u8], source: &[u8], weights: &[u8]) {
    for ((under, &source), &weight) in under.iter_mut().zip(source).zip(weights) {
        let kept = u16::from(*under) * u16::from(255 - weight);
        *under = by_255(kept + u16::from(source) * u16::from(weight));
    }
}

/// A premultiplied row over another.
fn over(under: &mut [u8], color: &[u8], keep: &[u8]) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2
        return unsafe { avx2::over(under, color, keep) };
    }
    over_plain(under, color, keep);
}

/// Of two rows, `weights` 255ths of `source`.
fn mix(under: &mut [u8], source: &[u8], weights: &[u8]) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2
        return unsafe { avx2::mix(under, source, weights) };
    }
    mix_plain(under, source, weights);
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    #[target_feature(enable = "avx2")]
    pub fn over(under: &mut [u8], color: &[u8], keep: &[u8]) {
        super::over_plain(under, color, keep);
    }

    #[target_feature(enable = "avx2")]
    pub fn mix(under: &mut [u8], source: &[u8], weights: &[u8]) {
        super::mix_plain(under, source, weights);
    }
}

#[cfg(test)]
mod tests;
