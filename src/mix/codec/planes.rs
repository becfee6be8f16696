//! Where a picture lies in a decoder library's memory.

#![expect(unsafe_code, reason = "the libraries' memory is behind pointers")]

use super::DecodeError;
use crate::mix::picture::{PictureView, Size};
use std::ffi::c_int;
use std::ptr::NonNull;

/// Checked as far as pointers can be.
#[derive(Clone, Copy)]
pub(super) struct Planes {
    size: Size,
    planes: [NonNull<u8>; 3],
    y_stride: usize,
    uv_stride: usize,
}

impl Planes {
    /// Width and height in pixels, luma and two chroma planes, and the bytes from row to row of luma and of chroma.
    pub(super) fn new(
        (width, height): (impl TryInto<u16>, impl TryInto<u16>),
        planes: [*mut u8; 3],
        strides: [c_int; 2],
    ) -> Result<Self, DecodeError> {
        let (Ok(width), Ok(height)) = (width.try_into(), height.try_into()) else {
            return Err(DecodeError::TooLarge);
        };
        let size = Size::even(width, height).ok_or(DecodeError::Broken)?;
        let [Some(y), Some(u), Some(v)] = planes.map(NonNull::new) else {
            return Err(DecodeError::Broken);
        };
        let [Ok(y_stride), Ok(uv_stride)] = strides.map(usize::try_from) else {
            return Err(DecodeError::Broken);
        };
        if y_stride < size.width() || uv_stride < size.width() / 2 {
            return Err(DecodeError::Broken);
        }
        Ok(Planes {
            size,
            planes: [y, u, v],
            y_stride,
            uv_stride,
        })
    }

    /// # Safety
    /// They are a picture of a library that neither decodes nor goes while the view lives.
    pub(super) unsafe fn view<'p>(self) -> PictureView<'p> {
        let (width, height) = (self.size.width(), self.size.height());
        let plane = |start: NonNull<u8>, stride: usize, width: usize, height: usize| {
            // SAFETY: the picture has `height` rows `stride` bytes apart, and `width` bytes of each: cutting to even numbers
            // has made it no larger.
            unsafe { std::slice::from_raw_parts(start.as_ptr(), stride * (height - 1) + width) }
        };
        let [y, u, v] = self.planes;
        PictureView {
            size: self.size,
            y: plane(y, self.y_stride, width, height),
            u: plane(u, self.uv_stride, width / 2, height / 2),
            v: plane(v, self.uv_stride, width / 2, height / 2),
            y_stride: self.y_stride,
            uv_stride: self.uv_stride,
        }
    }
}
