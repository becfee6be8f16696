//! Where the seats are on the canvas: the layout somebody asked for, and the rectangles that come of it. Pure, and the same
//! rectangles for the same seats, always.
//!
//! A layout speaks of seats, never of people, and of fractions, never of pixels: it stands whoever comes and goes and
//! whatever size the program has. What it names and nobody sends has no tile.

mod templates;
#[cfg(test)]
mod tests;

use super::overlay::{self, ImageError};
use super::picture::{Rect, Size};
use crate::forward::{SeatIndex, SourceKind};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The host's.
const HOST: SeatIndex = SeatIndex(0);

/// What a layout makes of a host who is alone that they are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alteration {
    /// In places of its own.
    Tiles,
    /// On every tile.
    Labels,
    Watermark,
    HostVolume,
}

/// How a picture fills a rectangle of another shape.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Fit {
    /// The rectangle is full; what does not fit is cut off, evenly on both sides.
    #[default]
    Crop,
    /// The picture is whole; bars in the placeholder's colour.
    Contain,
    /// Both, distorted.
    Stretch,
}

impl Fit {
    /// Of a tile that says nothing: faces fill their tile, and of a screen every edge may matter.
    pub fn usual(source: SourceKind) -> Self {
        match source {
            SourceKind::Camera => Fit::Crop,
            SourceKind::Screen | SourceKind::Program => Fit::Contain,
        }
    }
}

/// sRGB, not premultiplied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Color {
    pub red: u8,
    pub green: u8,
    pub blue: u8,
}

impl Color {
    pub const WHITE: Color = Color::new(0xff, 0xff, 0xff);

    pub const fn new(red: u8, green: u8, blue: u8) -> Self {
        Color { red, green, blue }
    }
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

/// Part of the canvas, in fractions of its width and height: never empty, never beyond its edges.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Area {
    x: f64,
    y: f64,
    w: f64,
    h: f64,
}

/// What four fractions that make no [`Area`] have wrong: `x`, `y`, `w` or `h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Misplaced(pub &'static str);

/// What the sum of two fractions, as people write them, may have too much: 0.7 + 0.3 is more than 1 in binary.
const ROUNDING: f64 = 1e-6;

impl Area {
    pub fn new(x: f64, y: f64, w: f64, h: f64) -> Result<Self, Misplaced> {
        for (value, field) in [(x, "x"), (y, "y"), (w, "w"), (h, "h")] {
            if !(0.0..=1.0).contains(&value) {
                return Err(Misplaced(field));
            }
        }
        for (from, length, field) in [(x, w, "w"), (y, h, "h")] {
            if length == 0.0 || from + length > 1.0 + ROUNDING {
                return Err(Misplaced(field));
            }
        }
        Ok(Area { x, y, w, h })
    }

    pub fn x(&self) -> f64 {
        self.x
    }

    pub fn y(&self) -> f64 {
        self.y
    }

    pub fn w(&self) -> f64 {
        self.w
    }

    pub fn h(&self) -> f64 {
        self.h
    }

    /// In pixels: edges go to the nearest even number, so that what touches goes on touching.
    pub fn on(&self, canvas: Size) -> Rect {
        let (width, height) = (extent(canvas.width()), extent(canvas.height()));
        let (left, top) = (self.x * width, self.y * height);
        templates::snapped(canvas, left, top, left + self.w * width, top + self.h * height)
    }
}

/// A canvas's side as a number to divide.
fn extent(side: usize) -> f64 {
    // A side is a `u16` by construction.
    u32::try_from(side).map_or(0.0, f64::from)
}

/// One tile of a custom layout.
#[derive(Clone, Debug, PartialEq)]
pub struct CustomTile {
    pub seat: SeatIndex,
    pub source: SourceKind,
    pub area: Area,
    /// What has more covers what has less; among equals the later of the list.
    pub z: i16,
    pub fit: Fit,
    /// Of the corners, as a fraction of the tile's shorter side: 0..=0.5.
    pub radius: f64,
    /// Line around the tile, as a fraction of its shorter side: 0..=0.25.
    pub border: f64,
    pub border_color: Color,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub enum Template {
    /// Everybody the same size.
    #[default]
    Grid,
    /// The host fills the canvas, the others are small along its right edge.
    Float,
    /// A shared screen is large, people are beside it, or below on a portrait canvas; a grid while nobody shares one.
    Screen,
    /// At most one tile for each source.
    Custom(Vec<CustomTile>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ImageKind {
    Png,
    Jpeg,
}

/// A picture as it was uploaded, and what it unpacks to: whoever draws it need not wait for that. Equal by the upload.
#[derive(Clone, Debug)]
pub struct Image {
    kind: ImageKind,
    bytes: Arc<[u8]>,
    unpacked: overlay::Image,
}

impl Image {
    /// Unpacks a file: see [`overlay::Image::decode`] for how long that takes.
    pub fn read(kind: ImageKind, bytes: Arc<[u8]>) -> Result<Self, ImageError> {
        let unpacked = overlay::Image::decode(kind, &bytes)?;
        Ok(Image { kind, bytes, unpacked })
    }

    pub fn kind(&self) -> ImageKind {
        self.kind
    }

    /// The file.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub fn unpacked(&self) -> &overlay::Image {
        &self.unpacked
    }
}

impl PartialEq for Image {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind && (Arc::ptr_eq(&self.bytes, &other.bytes) || self.bytes == other.bytes)
    }
}

/// What is where no tile is. An image fills the canvas like [`Fit::Crop`].
#[derive(Clone, Debug, PartialEq)]
pub struct Background {
    pub color: Color,
    pub image: Option<Image>,
}

/// What a tile shows without a picture. An image fills the tile like [`Fit::Crop`].
#[derive(Clone, Debug, PartialEq)]
pub struct Placeholder {
    pub color: Color,
    pub image: Option<Image>,
    /// Whether it says who sits there.
    pub name: bool,
}

/// Whether tiles carry the name of who is on them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Labels {
    /// A single tile needs none.
    #[default]
    FromTwoTiles,
    Always,
    Never,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Mark {
    /// One line, as large as its area lets it be.
    Text { text: String, color: Color },
    /// Whole within its area, like [`Fit::Contain`].
    Image(Image),
    /// The time of day.
    Clock {
        seconds: bool,
        /// East of Greenwich.
        utc_offset_minutes: i16,
        color: Color,
    },
}

/// Above all tiles, in the order of the list.
#[derive(Clone, Debug, PartialEq)]
pub struct Watermark {
    pub mark: Mark,
    pub area: Area,
    /// 0 (nothing to be seen) to 1.
    pub opacity: f64,
}

/// What `PUT …/layout` asked for; the default is a grid, labels from two tiles.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Layout {
    pub template: Template,
    pub background: Background,
    pub placeholder: Placeholder,
    pub labels: Labels,
    pub watermarks: Vec<Watermark>,
    /// Factors, 0..=2; who is not in it is as loud as they are. See [`volume`](Self::volume).
    pub volumes: BTreeMap<SeatIndex, f64>,
}

impl Default for Background {
    fn default() -> Self {
        // Near black: bars and gaps should not compete with faces.
        Background {
            color: Color::new(0x10, 0x12, 0x16),
            image: None,
        }
    }
}

impl Default for Placeholder {
    fn default() -> Self {
        // Set off from the background, so that a tile without a picture is still seen to be one.
        Placeholder {
            color: Color::new(0x2a, 0x2e, 0x38),
            image: None,
            name: true,
        }
    }
}

impl Layout {
    /// The tiles of a canvas of this size, in drawing order. `present` in order of seats, a seat's screen behind its camera.
    pub fn arrange(&self, canvas: Size, present: &[Present]) -> Vec<Tile> {
        match &self.template {
            Template::Grid => templates::grid(canvas, present),
            Template::Float => templates::float(canvas, present),
            Template::Screen => templates::screen(canvas, present),
            Template::Custom(tiles) => custom(canvas, present, tiles),
        }
    }

    /// What there is to compose by the layout, though a host is alone. Every template shows them on the whole canvas,
    /// background and guests' volumes do nothing yet, and labels come with the second tile.
    pub fn alterations(&self) -> impl Iterator<Item = Alteration> + use<> {
        let all = [
            (matches!(self.template, Template::Custom(_)), Alteration::Tiles),
            (self.labelled(1), Alteration::Labels),
            (!self.watermarks.is_empty(), Alteration::Watermark),
            (self.volume(HOST) != 1.0, Alteration::HostVolume),
        ];
        all.into_iter().filter_map(|(is_so, what)| is_so.then_some(what))
    }

    /// Whether both look the same: they may differ in how loud who is.
    pub fn looks_like(&self, other: &Layout) -> bool {
        let Layout {
            template,
            background,
            placeholder,
            labels,
            watermarks,
            volumes: _,
        } = self;
        let drawn = (background, placeholder, watermarks);
        (template, labels) == (&other.template, &other.labels)
            && drawn == (&other.background, &other.placeholder, &other.watermarks)
    }

    /// Whether so many tiles carry names.
    pub fn labelled(&self, tiles: usize) -> bool {
        match self.labels {
            Labels::FromTwoTiles => tiles >= 2,
            Labels::Always => true,
            Labels::Never => false,
        }
    }

    /// What this seat's sound is multiplied by.
    pub fn volume(&self, seat: SeatIndex) -> f64 {
        self.volumes.get(&seat).copied().unwrap_or(1.0)
    }
}

fn custom(canvas: Size, present: &[Present], wanted: &[CustomTile]) -> Vec<Tile> {
    let is_present = |tile: &&CustomTile| {
        let (seat, source) = (tile.seat, tile.source);
        present.contains(&Present { seat, source })
    };
    let mut wanted: Vec<&CustomTile> = wanted.iter().filter(is_present).collect();
    wanted.sort_by_key(|tile| tile.z);
    let placed = |tile: &CustomTile| {
        let rect = tile.area.on(canvas);
        let shorter = rect.width.min(rect.height);
        Tile {
            seat: tile.seat,
            source: tile.source,
            rect,
            fit: tile.fit,
            radius: templates::share(shorter, tile.radius).min(shorter / 2),
            border: templates::share(shorter, tile.border).min(shorter / 2),
            border_color: tile.border_color,
        }
    };
    wanted.into_iter().map(placed).collect()
}
