//! Pictures that integrators upload: backgrounds, placeholders, watermarks. Enters a PNG or JPEG file, leaves premultiplied
//! pixels of a size that a canvas can use.

use super::super::blend::Raster;
use super::super::layout::Fit;
use super::super::picture::Size;
use image::imageops::{self, FilterType};
use image::{DynamicImage, ImageDecoder, ImageReader, Limits, RgbaImage};
use std::fmt;
use std::io::Cursor;
use std::sync::Arc;

/// Bytes of a file: a 4096 × 4096 photograph as JPEG.
pub const MAX_BYTES: usize = 8 << 20;

/// Width and height of a file's picture.
pub const MAX_SIDE: u32 = 4096;

/// What decoding may allocate: 4096 × 4096 pixels of 16 bits each, and as much again for the decoder.
const MAX_ALLOCATION: u64 = 256 << 20;

/// Larger pictures are scaled down to it when they are decoded: no canvas is larger, and 4096 × 4096 would be 64 MiB.
const MAX_KEPT_SIDE: u32 = 1920;

/// A decoded picture. Two are equal when they come of one decoding.
#[derive(Clone)]
pub struct Image {
    premultiplied: Arc<RgbaImage>,
}

/// Why a file is no [`Image`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageError {
    /// More than [`MAX_BYTES`].
    TooManyBytes,
    /// A side of more than [`MAX_SIDE`] pixels.
    TooLarge,
    /// Neither PNG nor JPEG, or damaged.
    Unreadable,
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ImageError::TooManyBytes => write!(f, "the file has more than {MAX_BYTES} bytes"),
            ImageError::TooLarge => write!(f, "the image is wider or higher than {MAX_SIDE} pixels"),
            ImageError::Unreadable => write!(f, "the file is no readable PNG or JPEG image"),
        }
    }
}

impl std::error::Error for ImageError {}

impl PartialEq for Image {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.premultiplied, &other.premultiplied)
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
    /// Of a PNG or JPEG file, turned upright by its EXIF orientation. Takes up to some 100 ms: not for a thread that is in a
    /// hurry.
    pub fn decode(file: &[u8]) -> Result<Self, ImageError> {
        if file.len() > MAX_BYTES {
            return Err(ImageError::TooManyBytes);
        }
        let mut reader = ImageReader::new(Cursor::new(file))
            .with_guessed_format()
            .map_err(|_| ImageError::Unreadable)?;
        let mut limits = Limits::default();
        limits.max_alloc = Some(MAX_ALLOCATION);
        reader.limits(limits);
        let mut decoder = reader.into_decoder().map_err(|_| ImageError::Unreadable)?;
        let (width, height) = decoder.dimensions();
        if width > MAX_SIDE || height > MAX_SIDE {
            return Err(ImageError::TooLarge);
        }
        let orientation = decoder.orientation().map_err(|_| ImageError::Unreadable)?;
        let mut decoded = DynamicImage::from_decoder(decoder).map_err(|_| ImageError::Unreadable)?;
        decoded.apply_orientation(orientation);
        let mut pixels = decoded.into_rgba8();
        for pixel in pixels.pixels_mut() {
            let [red, green, blue, alpha] = pixel.0.map(u16::from);
            // at most 255 × 255 / 255
            let times_alpha = |channel: u16| u8::try_from((channel * alpha + 127) / 255).unwrap_or(u8::MAX);
            pixel.0 = [times_alpha(red), times_alpha(green), times_alpha(blue), pixel.0[3]];
        }
        if width.max(height) > MAX_KEPT_SIDE {
            let (width, height) = pixels.dimensions();
            let side = |side: u32| (side * MAX_KEPT_SIDE / width.max(height)).max(1);
            pixels = imageops::resize(&pixels, side(width), side(height), FilterType::Triangle);
        }
        Ok(Image {
            premultiplied: Arc::new(pixels),
        })
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
        let image = Image::decode(&png(10, 4, |x, _| if x < 5 { [200, 100, 50, 128] } else { [255; 4] })).unwrap();
        let raster = image.scaled(size(10, 4), Fit::Stretch);
        assert_eq!(raster.pixels()[0], [100, 50, 25, 128]);
        assert_eq!(raster.pixels()[9], [255; 4]);
    }

    #[test]
    fn an_image_fills_what_it_should_and_no_more() {
        // left third red, right third blue
        let image = Image::decode(&png(90, 30, |x, _| match x / 30 {
            0 => [255, 0, 0, 255],
            1 => [0, 255, 0, 255],
            _ => [0, 0, 255, 255],
        }))
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
        assert_eq!(Image::decode(b"GIF89a").unwrap_err(), ImageError::Unreadable);
        assert_eq!(Image::decode(&[]).unwrap_err(), ImageError::Unreadable);
        assert_eq!(
            Image::decode(&vec![0; MAX_BYTES + 1]).unwrap_err(),
            ImageError::TooManyBytes
        );
        assert_eq!(
            Image::decode(&png(MAX_SIDE + 1, 1, |_, _| [0; 4])).unwrap_err(),
            ImageError::TooLarge
        );
        let whole = png(40, 40, |x, y| [(x * y) as u8, 3, (x ^ y) as u8, 255]);
        assert_eq!(
            Image::decode(&whole[..whole.len() / 2]).unwrap_err(),
            ImageError::Unreadable
        );
    }

    #[test]
    fn a_large_image_is_kept_small() {
        let image = Image::decode(&png(4096, 8, |_, _| [9, 9, 9, 255])).unwrap();
        assert_eq!(image.premultiplied.dimensions(), (1920, 3));
        assert_eq!(image.scaled(size(640, 360), Fit::Crop).pixels()[0], [9, 9, 9, 255]);
    }
}
