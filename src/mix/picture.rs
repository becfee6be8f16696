//! I420 pictures: a plane of luma, and two of chroma with half its width and height. 8 bits, limited range (16..=235 luma,
//! 16..=240 chroma), BT.709, which is what browsers and openh264 take H.264 without colour information for at these sizes.

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
}

/// Part of a canvas. All four numbers are even, so that chroma lies on whole samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Rect {
    pub x: u16,
    pub y: u16,
    pub width: u16,
    pub height: u16,
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
        let luma = size.width() * size.height();
        Picture {
            size,
            y: vec![16; luma],
            u: vec![128; luma / 4],
            v: vec![128; luma / 4],
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
}
