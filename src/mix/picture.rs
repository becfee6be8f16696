//! I420 pictures: a plane of luma, and two of chroma with half its width and height. 8 bits, limited range (16..=235 luma,
//! 16..=240 chroma), BT.709, which is what browsers and openh264 take H.264 without colour information for at these sizes.

use super::layout::Color;

/// Width and height in pixels; both even and at least 2, since chroma has half of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Size {
    width: u16,
    height: u16,
}

impl Size {
    /// Cut down to even numbers; `None`: nothing is left.
    pub fn even(width: u16, height: u16) -> Option<Self> {
        let (width, height) = (width & !1, height & !1);
        (width > 0 && height > 0).then_some(Size { width, height })
    }

    pub fn width(self) -> usize {
        usize::from(self.width)
    }

    pub fn height(self) -> usize {
        usize::from(self.height)
    }

    /// All of it.
    pub fn rect(self) -> Rect {
        Rect {
            x: 0,
            y: 0,
            width: self.width,
            height: self.height,
        }
    }
}

/// Part of a canvas. All four numbers are even, so that chroma lies on whole samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Rect {
    pub x: u16,
    pub y: u16,
    pub width: u16,
    pub height: u16,
}

impl Rect {
    /// The first column to the right of it.
    pub fn right(self) -> u16 {
        self.x.saturating_add(self.width)
    }

    /// The first row below it.
    pub fn bottom(self) -> u16 {
        self.y.saturating_add(self.height)
    }

    /// `None`: a side is shorter than a chroma sample.
    pub fn size(self) -> Option<Size> {
        Size::even(self.width, self.height)
    }

    pub fn contains(self, other: Rect) -> bool {
        self.x <= other.x && self.y <= other.y && other.right() <= self.right() && other.bottom() <= self.bottom()
    }

    /// What both have, on even numbers; `None`: nothing.
    pub fn intersection(self, other: Rect) -> Option<Rect> {
        let even_up = |edge: u16| edge.saturating_add(edge & 1) & !1;
        let (x, y) = (even_up(self.x.max(other.x)), even_up(self.y.max(other.y)));
        let right = self.right().min(other.right()) & !1;
        let bottom = self.bottom().min(other.bottom()) & !1;
        (x < right && y < bottom).then(|| Rect {
            x,
            y,
            width: right - x,
            height: bottom - y,
        })
    }

    /// The same size, further right and down.
    pub fn moved(self, x: u16, y: u16) -> Rect {
        Rect {
            x: self.x.saturating_add(x),
            y: self.y.saturating_add(y),
            ..self
        }
    }

    /// In samples of a plane: 1 for luma, 2 for chroma.
    pub(super) fn samples(self, subsampling: usize) -> Samples {
        Samples {
            x: usize::from(self.x) / subsampling,
            y: usize::from(self.y) / subsampling,
            width: usize::from(self.width) / subsampling,
            height: usize::from(self.height) / subsampling,
        }
    }
}

/// A [`Rect`] on one plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Samples {
    pub x: usize,
    pub y: usize,
    pub width: usize,
    pub height: usize,
}

/// How many pixels a sample of each plane (y, u, v) is wide and high.
pub(super) const SUBSAMPLING: [usize; 3] = [1, 2, 2];

/// One colour as the planes hold it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Yuv {
    pub y: u8,
    pub u: u8,
    pub v: u8,
}

impl Yuv {
    pub const BLACK: Yuv = Yuv { y: 16, u: 128, v: 128 };

    /// BT.709, limited range (ITU-T H.273 matrix 1), of sRGB.
    pub fn from_rgb(red: u8, green: u8, blue: u8) -> Yuv {
        let [y, u, v] = limited_range(f32::from(red), f32::from(green), f32::from(blue), 255.0);
        Yuv {
            y: level(y),
            u: level(u),
            v: level(v),
        }
    }

    pub fn of(color: Color) -> Yuv {
        Yuv::from_rgb(color.red, color.green, color.blue)
    }

    #[cfg(test)]
    pub fn planes(self) -> [u8; 3] {
        [self.y, self.u, self.v]
    }
}

/// Premultiplied red, green, blue and their alpha, all 0..=255 → premultiplied y, u, v.
pub(super) fn limited_range(red: f32, green: f32, blue: f32, alpha: f32) -> [f32; 3] {
    let opacity = alpha / 255.0;
    [
        16.0 * opacity + 0.18259 * red + 0.61423 * green + 0.06201 * blue,
        128.0 * opacity - 0.10064 * red - 0.33857 * green + 0.43922 * blue,
        128.0 * opacity + 0.43922 * red - 0.39894 * green - 0.04027 * blue,
    ]
}

/// The nearest level of a plane.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to what a byte holds"
)]
pub(super) fn level(value: f32) -> u8 {
    value.round().clamp(0.0, 255.0) as u8
}

/// One plane of somebody's picture. Holds: every row of `width` bytes lies within `data`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plane<'p> {
    data: &'p [u8],
    stride: usize,
    pub width: usize,
    pub height: usize,
}

impl<'p> Plane<'p> {
    /// `None`: the bytes are not enough for the numbers, or there is nothing to see.
    pub fn new(data: &'p [u8], stride: usize, width: usize, height: usize) -> Option<Self> {
        let needed = stride.checked_mul(height.checked_sub(1)?)?.checked_add(width)?;
        (width > 0 && stride >= width && data.len() >= needed).then_some(Plane {
            data,
            stride,
            width,
            height,
        })
    }

    /// # Panics
    /// On a row the plane does not have.
    pub fn row(&self, y: usize) -> &'p [u8] {
        debug_assert!(y < self.height, "row {y} of {}", self.height);
        let start = y * self.stride;
        &self.data[start..start + self.width]
    }

    /// `None`: it is not within the plane.
    pub fn part(&self, at: Samples) -> Option<Self> {
        let whole = at.x + at.width <= self.width && at.y + at.height <= self.height;
        let start = at.y * self.stride + at.x;
        if !whole {
            return None;
        }
        Plane::new(self.data.get(start..)?, self.stride, at.width, at.height)
    }

    /// Every `n`-th row, the first included.
    pub fn every_row(&self, n: usize) -> Self {
        Plane {
            stride: self.stride * n,
            height: self.height.div_ceil(n),
            ..*self
        }
    }
}

/// Part of one plane of a [`Picture`]. Holds: every row of `width` bytes lies within `data`.
#[derive(Debug)]
pub(super) struct PlaneMut<'p> {
    data: &'p mut [u8],
    stride: usize,
    pub width: usize,
    pub height: usize,
}

impl PlaneMut<'_> {
    /// # Panics
    /// On a row the plane does not have.
    pub fn row(&mut self, y: usize) -> &mut [u8] {
        debug_assert!(y < self.height, "row {y} of {}", self.height);
        let start = y * self.stride;
        &mut self.data[start..start + self.width]
    }
}

/// Somebody else's picture: a decoder's, or a [`Picture`].
#[derive(Clone, Copy, Debug)]
pub struct PictureView<'p> {
    pub size: Size,
    pub y: &'p [u8],
    pub u: &'p [u8],
    pub v: &'p [u8],
    /// Bytes from a row of luma to the next.
    pub y_stride: usize,
    /// Bytes from a row of chroma to the next.
    pub uv_stride: usize,
}

impl<'p> PictureView<'p> {
    /// y, u, v; `None`: the bytes are not enough for the numbers.
    pub(super) fn planes(&self) -> Option<[Plane<'p>; 3]> {
        let (width, height) = (self.size.width(), self.size.height());
        Some([
            Plane::new(self.y, self.y_stride, width, height)?,
            Plane::new(self.u, self.uv_stride, width / 2, height / 2)?,
            Plane::new(self.v, self.uv_stride, width / 2, height / 2)?,
        ])
    }
}

/// A picture with planes of its own, rows without gaps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    size: Size,
    pub y: Vec<u8>,
    pub u: Vec<u8>,
    pub v: Vec<u8>,
}

impl Picture {
    pub fn black(size: Size) -> Self {
        Picture::filled(size, Yuv::BLACK)
    }

    pub fn filled(size: Size, color: Yuv) -> Self {
        let luma = size.width() * size.height();
        Picture {
            size,
            y: vec![color.y; luma],
            u: vec![color.u; luma / 4],
            v: vec![color.v; luma / 4],
        }
    }

    pub fn size(&self) -> Size {
        self.size
    }

    pub fn view(&self) -> PictureView<'_> {
        PictureView {
            size: self.size,
            y: &self.y,
            u: &self.u,
            v: &self.v,
            y_stride: self.size.width(),
            uv_stride: self.size.width() / 2,
        }
    }

    /// One colour in all of a part.
    ///
    /// # Panics
    /// On a part beyond the picture.
    pub(super) fn fill(&mut self, part: Rect, color: Yuv) {
        for (plane, level) in [color.y, color.u, color.v].into_iter().enumerate() {
            let mut plane = self.plane_mut(plane, part);
            for y in 0..plane.height {
                plane.row(y).fill(level);
            }
        }
    }

    /// What a part of another picture shows, at a place of the same size in this one.
    ///
    /// # Panics
    /// On a part or a place beyond its picture, and on two sizes.
    pub(super) fn copy(&mut self, place: Rect, from: &Picture, part: Rect) {
        for (plane, subsampling) in SUBSAMPLING.into_iter().enumerate() {
            let part = part.samples(subsampling);
            let source = from.plane(plane).part(part).expect("a part of the picture");
            let mut target = self.plane_mut(plane, place);
            assert_eq!(
                (source.width, source.height),
                (target.width, target.height),
                "two sizes"
            );
            for y in 0..source.height {
                target.row(y).copy_from_slice(source.row(y));
            }
        }
    }

    /// One plane: 0 is y, 1 u, 2 v.
    pub(super) fn plane(&self, plane: usize) -> Plane<'_> {
        let subsampling = SUBSAMPLING[plane];
        let width = self.size.width() / subsampling;
        Plane {
            data: [&self.y, &self.u, &self.v][plane],
            stride: width,
            width,
            height: self.size.height() / subsampling,
        }
    }

    /// Part of one plane.
    ///
    /// # Panics
    /// On a part beyond the picture.
    pub(super) fn plane_mut(&mut self, plane: usize, part: Rect) -> PlaneMut<'_> {
        assert!(self.size.rect().contains(part), "{part:?} of {:?}", self.size);
        let subsampling = SUBSAMPLING[plane];
        let at = part.samples(subsampling);
        let stride = self.size.width() / subsampling;
        let data = match plane {
            0 => &mut self.y,
            1 => &mut self.u,
            _ => &mut self.v,
        };
        PlaneMut {
            data: &mut data[at.y * stride + at.x..],
            stride,
            width: at.width,
            height: at.height,
        }
    }
}
