//! Pictures that integrators upload: backgrounds, placeholders, watermarks. Enters a PNG or JPEG file, leaves premultiplied
//! pixels of a size that a canvas can use.

use super::super::blend::Raster;
use super::super::layout::{Fit, ImageKind};
use super::super::picture::Size;
use image::imageops::{self, FilterType};
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, RgbaImage};
use std::fmt;
use std::io::Cursor;
use std::sync::Arc;

/// Width and height of a file's picture: a program's longer side. A few bytes of PNG unpack to any size.
const MAX_SIDE: u32 = 1920;

/// What decoding may allocate: a picture of that size with 16 bits per channel, and some room to work.
const MAX_ALLOCATION: u64 = 40 << 20;

/// A decoded picture. Two are equal when their pixels are, which is seen at once where they come of one decoding.
#[derive(Clone)]
pub struct Image {
    premultiplied: Arc<RgbaImage>,
}

/// Why a file is no [`Image`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageError {
    /// A side of more than 1920 pixels, or it takes as much memory.
    TooLarge,
    /// Of another kind than it is said to be, or damaged; what the decoder says.
    Unreadable(String),
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ImageError::TooLarge => write!(f, "an image has at most {MAX_SIDE} pixels each way"),
            ImageError::Unreadable(why) => write!(f, "it can't be read: {why}"),
        }
    }
}

impl std::error::Error for ImageError {}

impl From<image::ImageError> for ImageError {
    fn from(error: image::ImageError) -> Self {
        match error {
            image::ImageError::Limits(_) => ImageError::TooLarge,
            error => ImageError::Unreadable(error.to_string()),
        }
    }
}

impl PartialEq for Image {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.premultiplied, &other.premultiplied) || self.premultiplied == other.premultiplied
    }
}

impl fmt::Debug for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Image({}×{})",
            self.premultiplied.width(),
            self.premultiplied.height()
        )
    }
}

impl Image {
    /// Of a file, turned upright by its EXIF orientation. Takes up to some 100 ms: not for a thread that is in a hurry.
    pub fn decode(kind: ImageKind, file: &[u8]) -> Result<Self, ImageError> {
        let format = match kind {
            ImageKind::Png => ImageFormat::Png,
            ImageKind::Jpeg => ImageFormat::Jpeg,
        };
        let mut limits = Limits::default();
        limits.max_image_width = Some(MAX_SIDE);
        limits.max_image_height = Some(MAX_SIDE);
        limits.max_alloc = Some(MAX_ALLOCATION);
        let mut reader = ImageReader::with_format(Cursor::new(file), format);
        reader.limits(limits);
        let mut decoder = reader.into_decoder()?;
        let orientation = decoder.orientation()?;
        let mut decoded = DynamicImage::from_decoder(decoder)?;
        decoded.apply_orientation(orientation);
        let mut pixels = decoded.into_rgba8();
        for pixel in pixels.pixels_mut() {
            let [red, green, blue, alpha] = pixel.0.map(u16::from);
            // at most 255 × 255 / 255
            let times_alpha = |channel: u16| u8::try_from((channel * alpha + 127) / 255).unwrap_or(u8::MAX);
            pixel.0 = [times_alpha(red), times_alpha(green), times_alpha(blue), pixel.0[3]];
        }
        Ok(Image {
            premultiplied: Arc::new(pixels),
        })
    }

    /// Bytes of its pixels.
    pub fn bytes(&self) -> usize {
        self.premultiplied.as_raw().len()
    }

    /// Scaled so that it fills `size`, or ([`Fit::Contain`]) lies in it: then the raster is smaller than asked for.
    pub(super) fn scaled(&self, size: Size, fit: Fit) -> Raster {
        let (width, height) = (as_u32(size.width()), as_u32(size.height()));
        let source = &*self.premultiplied;
        let (own_width, own_height) = source.dimensions();
        let wider = own_width * height > own_height * width;
        // the other side of a picture of `of`'s shape, rounded down, at least one chroma sample
        let shaped = |of: (u32, u32), least: u32, most: u32, by: u32| (of.0 * by / of.1).clamp(least, most);
        let resize = |(width, height): (u32, u32), part: (u32, u32)| {
            let corner = ((own_width - part.0) / 2, (own_height - part.1) / 2);
            let part = imageops::crop_imm(source, corner.0, corner.1, part.0, part.1);
            imageops::resize(&*part, width, height, FilterType::Triangle)
        };
        let own = (own_width, own_height);
        let scaled = match fit {
            Fit::Stretch => resize((width, height), own),
            Fit::Crop if wider => resize(
                (width, height),
                (shaped((width, height), 1, own_width, own_height), own_height),
            ),
            Fit::Crop => resize(
                (width, height),
                (own_width, shaped((height, width), 1, own_height, own_width)),
            ),
            Fit::Contain if wider => resize((width, shaped((own_height, own_width), 2, height, width) & !1), own),
            Fit::Contain => resize((shaped((own_width, own_height), 2, width, height) & !1, height), own),
        };
        let side = |side: u32| u16::try_from(side).unwrap_or(u16::MAX);
        let size = Size::even(side(scaled.width()), side(scaled.height())).expect("both sides are at least 2");
        Raster::of_pixels(size, scaled.pixels().map(|pixel| pixel.0).collect())
    }
}

fn as_u32(side: usize) -> u32 {
    u32::try_from(side).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn png(width: u32, height: u32, pixel: impl Fn(u32, u32) -> [u8; 4]) -> Vec<u8> {
        let mut file = Cursor::new(vec![]);
        let image = RgbaImage::from_fn(width, height, |x, y| image::Rgba(pixel(x, y)));
        image.write_to(&mut file, image::ImageFormat::Png).unwrap();
        file.into_inner()
    }

    fn size(width: u16, height: u16) -> Size {
        Size::even(width, height).unwrap()
    }

    #[test]
    fn a_file_becomes_premultiplied_pixels() {
        let image = Image::decode(
            ImageKind::Png,
            &png(10, 4, |x, _| if x < 5 { [200, 100, 50, 128] } else { [255; 4] }),
        )
        .unwrap();
        let raster = image.scaled(size(10, 4), Fit::Stretch);
        assert_eq!(raster.pixels()[0], [100, 50, 25, 128]);
        assert_eq!(raster.pixels()[9], [255; 4]);
    }

    #[test]
    fn an_image_fills_what_it_should_and_no_more() {
        // left third red, right third blue
        let image = Image::decode(
            ImageKind::Png,
            &png(90, 30, |x, _| match x / 30 {
                0 => [255, 0, 0, 255],
                1 => [0, 255, 0, 255],
                _ => [0, 0, 255, 255],
            }),
        )
        .unwrap();
        let cropped = image.scaled(size(20, 20), Fit::Crop);
        assert_eq!(cropped.size(), size(20, 20));
        assert!(cropped.pixels().iter().all(|pixel| pixel[1] > 100), "the middle");
        assert_eq!(image.scaled(size(60, 60), Fit::Contain).size(), size(60, 20));
        assert_eq!(image.scaled(size(200, 20), Fit::Contain).size(), size(60, 20));
        assert_eq!(image.scaled(size(2, 2), Fit::Contain).size(), size(2, 2));
        assert_eq!(image.scaled(size(30, 40), Fit::Stretch).size(), size(30, 40));
    }

    #[test]
    fn what_is_no_image_is_refused() {
        let decode = |file: &[u8]| Image::decode(ImageKind::Png, file);
        let is_unreadable = |file: &[u8]| matches!(decode(file), Err(ImageError::Unreadable(_)));
        assert!(is_unreadable(b"GIF89a") && is_unreadable(&[]));
        for (width, height) in [(MAX_SIDE + 1, 1), (1, MAX_SIDE + 1)] {
            let far = png(width, height, |_, _| [0; 4]);
            assert_eq!(decode(&far).unwrap_err(), ImageError::TooLarge);
        }
        assert!(decode(&png(MAX_SIDE, MAX_SIDE, |_, _| [9; 4])).is_ok());
        let whole = png(40, 40, |x, y| [(x * y) as u8, 3, (x ^ y) as u8, 255]);
        assert!(is_unreadable(&whole[..whole.len() / 2]));
        assert!(Image::decode(ImageKind::Jpeg, &whole).is_err(), "of another kind");
    }

    #[test]
    fn the_same_pixels_are_the_same_image() {
        let of = |red| Image::decode(ImageKind::Png, &png(40, 40, |x, y| [red, x as u8, y as u8, 255])).unwrap();
        assert_eq!(of(7), of(7));
        assert_ne!(of(7), of(8));
    }
}
