//! Where the seats are on the canvas: the layout somebody asked for, and the rectangles that come of it. Pure, and the same
//! rectangles for the same seats, always.

use super::picture::{Rect, Size};
use crate::forward::{SeatIndex, SourceKind};

/// How a picture fills a rectangle of another shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fit {
    /// The rectangle is full; what does not fit is cut off, evenly on both sides.
    Crop,
    /// The picture is whole; bars in the placeholder's colour.
    Contain,
    /// Both, distorted.
    Stretch,
}

/// sRGB, not premultiplied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Color {
    pub red: u8,
    pub green: u8,
    pub blue: u8,
}

/// One source's place. In drawing order: what comes later covers what came before.
#[derive(Clone, Debug, PartialEq)]
pub struct Tile {
    pub seat: SeatIndex,
    pub source: SourceKind,
    pub rect: Rect,
    pub fit: Fit,
    /// Of the corners, in pixels; at most half the shorter side.
    pub radius: u16,
    /// Line around the tile, within its rectangle, in pixels; 0: none.
    pub border: u16,
    pub border_color: Color,
}

/// A source that wants a tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Present {
    pub seat: SeatIndex,
    pub source: SourceKind,
}

/// What `PUT …/layout` asked for; the default is a grid, labels from two tiles.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Layout {}

impl Layout {
    /// The tiles of a canvas of this size, in drawing order. `present` in order of seats, a seat's screen behind its camera.
    pub fn arrange(&self, _canvas: Size, _present: &[Present]) -> Vec<Tile> {
        vec![]
    }
}
