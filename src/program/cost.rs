//! What mixing a program takes of the node: an estimate from what it is to be made of. Pure, no time base.
//!
//! The sum of what grows with the picture that is encoded, with the pictures that are decoded, and with the voices. The
//! parts are such that a program of ten seats comes out as it was measured (720p30, openh264 both ways, everything a
//! program does; a core of the machine the project's figures are from): 0.69 core for ten 360p30 cameras, 0.49 for ten
//! of 180p30. Other sizes and rates scale by pixels a second.

use crate::forward::{SourceInfo, SourceKind};
use crate::mix::codec::is_decoded;
use crate::mix::layout::{Layout, Present};
use crate::mix::picture::Size;
use std::fmt;
use std::iter::Sum;

/// Composing and encoding: 8.4 ms for a picture of 720p.
const ENCODE_PS_PER_PIXEL: u64 = 9_100;
/// Taking packets in, decoding and scaling: from the difference between ten cameras of 360p and of 180p.
const DECODE_PS_PER_PIXEL: u64 = 3_860;
/// A source's sound: packets, decoding, its part of the mix.
const VOICE: Cores = Cores { thousandths: 15 };
/// The thread and the encoder of the sound.
const BASE: Cores = Cores { thousandths: 20 };
/// How often cameras take pictures: what browsers ask of them.
const CAMERA_FPS: u64 = 30;
/// The picture of somebody who has not sent one yet.
const CAMERA_SIZE: (u16, u16) = (640, 360);

/// Processor time a second, in thousandths of a core.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cores {
    pub thousandths: u64,
}

impl Cores {
    /// Nothing for what is no number, or less than nothing.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "`as` saturates, and makes 0 of what is no number"
    )]
    pub fn new(cores: f64) -> Self {
        let thousandths = (cores * 1_000.0).round() as u64;
        Cores { thousandths }
    }

    fn of_pixels(pixels_per_second: u64, picoseconds: u64) -> Self {
        let thousandths = pixels_per_second.saturating_mul(picoseconds) / 1_000_000_000;
        Cores { thousandths }
    }
}

impl Sum for Cores {
    fn sum<I: Iterator<Item = Cores>>(all: I) -> Self {
        let thousandths = all.map(|cores| cores.thousandths).sum();
        Cores { thousandths }
    }
}

impl fmt::Display for Cores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // hundredths: the estimate is no finer
        let hundredths = self.thousandths.div_ceil(10);
        write!(f, "{}.{:02}", hundredths / 100, hundredths % 100)
    }
}

/// A source, and the size of its largest picture in pixels, where it is known.
pub type Sized = (SourceInfo, Option<(u16, u16)>);

/// Mixing these sources into such a picture. Whether a source may be seen and heard does not count: that changes any time.
pub fn cost(canvas: Size, fps: u8, layout: &Layout, sources: &[Sized]) -> Cores {
    let present: Vec<Present> = sources
        .iter()
        .map(|(source, _)| Present {
            seat: source.seat,
            source: source.kind,
        })
        .collect();
    let tiles = layout.arrange(canvas, &present);
    let encoding = Cores::of_pixels(pixels(canvas) * u64::from(fps), ENCODE_PS_PER_PIXEL);
    let inputs = sources.iter().map(|(source, size)| {
        let tile = tiles
            .iter()
            .find(|tile| tile.seat == source.seat && tile.source == source.kind);
        let tile = tile.and_then(|tile| tile.rect.size());
        let voice = if source.audio.is_some() {
            VOICE
        } else {
            Cores::default()
        };
        [voice, decoding(source, *size, tile)].into_iter().sum()
    });
    [BASE, encoding].into_iter().chain(inputs).sum()
}

/// The simulcast encoding that the program takes is decoded: the smallest that is not smaller than the tile, of encodings
/// that halve the sides each time. A source without a tile is decoded all the same.
fn decoding(source: &SourceInfo, size: Option<(u16, u16)>, tile: Option<Size>) -> Cores {
    if !source.video.is_some_and(is_decoded) || source.kind == SourceKind::Program {
        return Cores::default();
    }
    let (mut width, mut height) = size.unwrap_or(CAMERA_SIZE);
    for _ in 1..source.layers {
        let fits =
            tile.is_none_or(|tile| usize::from(width / 2) >= tile.width() && usize::from(height / 2) >= tile.height());
        if fits {
            (width, height) = (width / 2, height / 2);
        }
    }
    let pixels = u64::from(width) * u64::from(height);
    Cores::of_pixels(pixels * CAMERA_FPS, DECODE_PS_PER_PIXEL)
}

fn pixels(size: Size) -> u64 {
    // sides are 16 bits
    u64::try_from(size.width() * size.height()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forward::{SeatIndex, SourceId};
    use crate::rtp::Codec;

    fn camera(seat: u8, size: Option<(u16, u16)>) -> Sized {
        let info = SourceInfo::camera(SourceId(u64::from(seat)), SeatIndex(seat));
        (info, size)
    }

    fn cores(width: u16, height: u16, fps: u8, sources: &[Sized]) -> f64 {
        let canvas = Size::even(width, height).expect("a size");
        cost(canvas, fps, &Layout::default(), sources).thousandths as f64 / 1_000.0
    }

    fn ten(size: Option<(u16, u16)>) -> Vec<Sized> {
        (0..10).map(|seat| camera(seat, size)).collect()
    }

    #[test]
    fn what_was_measured_comes_out() {
        let near = |estimate: f64, measured: f64| (estimate - measured).abs() < 0.02;
        assert!(near(cores(1280, 720, 30, &ten(Some((640, 360)))), 0.69));
        assert!(near(cores(1280, 720, 30, &ten(Some((320, 180)))), 0.49));
        let (full, half) = (cores(1920, 1080, 30, &[]), cores(1280, 720, 30, &[]));
        assert!(near((full - 0.02) / (half - 0.02), 2.25), "by pixels");
        assert!(near((cores(1280, 720, 60, &[]) - 0.02) / (half - 0.02), 2.0));
    }

    #[test]
    fn the_layer_that_a_tile_needs_counts() {
        let simulcast = |(width, height), size| {
            let mut sources = ten(Some(size));
            sources.iter_mut().for_each(|(source, _)| source.layers = 3);
            cores(width, height, 30, &sources)
        };
        // ten tiles of 720p are 314 × 234: 320 × 180 is too low
        let layered = simulcast((1280, 720), (1280, 720));
        assert_eq!(layered, cores(1280, 720, 30, &ten(Some((640, 360)))));
        let layered = simulcast((640, 360), (1280, 720));
        assert_eq!(layered, cores(640, 360, 30, &ten(Some((320, 180)))));
        let layered = simulcast((1920, 1080), (320, 180));
        assert_eq!(layered, cores(1920, 1080, 30, &ten(Some((320, 180)))), "there is none");
    }

    #[test]
    fn what_is_not_there_costs_nothing() {
        let (mut silent, mut strange) = (camera(1, None), camera(1, None));
        silent.0.audio = None;
        strange.0.video = Some(Codec::Av1);
        let [all, silent, strange, none] = [&[camera(1, None)][..], &[silent], &[strange], &[]]
            .map(|sources| (cores(1280, 720, 30, sources) * 1_000.0).round());
        assert_eq!(all - silent, 15.0);
        assert_eq!(all - strange, 26.0, "a placeholder");
        assert_eq!(all - none, 41.0);
        assert_eq!(
            cores(1280, 720, 30, &ten(None)),
            cores(1280, 720, 30, &ten(Some(CAMERA_SIZE)))
        );
    }

    #[test]
    fn cores_are_told_as_people_say_them() {
        let told = |cores: f64| Cores::new(cores).to_string();
        assert_eq!(
            [told(0.0), told(0.5), told(0.691), told(12.0)],
            ["0.00", "0.50", "0.70", "12.00"]
        );
        assert_eq!([told(-1.0), told(f64::NAN)], ["0.00", "0.00"]);
    }
}
