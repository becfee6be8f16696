//! What lies on tiles and stands in for pictures: badges (name, closed microphone), rings (border, speaking highlight),
//! placeholders, backgrounds, watermarks. Drawn when something changes and kept while it is shown; no time base.

mod image;
mod text;

use super::blend::{Bitmap, Raster, limited_radius, quarter_disc};
use super::layout::{Color, Fit};
use super::picture::{Picture, Rect, Size, Yuv};
pub use image::{Image, ImageError};
use std::collections::HashMap;
use std::sync::Arc;
use text::Typesetter;

/// Behind the words of a badge; dark enough for white letters on a white wall.
const BADGE: ([u8; 3], f32) = ([20, 20, 24], 0.62);
const WHITE: [u8; 3] = [255; 3];
const BLACK: [u8; 3] = [0; 3];
/// The disc under the struck-out microphone.
const MUTED: [u8; 3] = [214, 48, 49];

/// A colour over all, an image over it.
#[derive(Clone, Debug, PartialEq)]
pub struct Background {
    pub color: Color,
    /// Fills the canvas; cut off where it has another shape.
    pub image: Option<Image>,
}

/// What a tile shows that has no picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Placeholder {
    /// Also of the bars beside a contained picture.
    pub color: Color,
    /// Fills the tile.
    pub image: Option<Image>,
    /// The name in the tile's middle; its badge then has none.
    pub name: bool,
}

/// Over everything.
#[derive(Clone, Debug, PartialEq)]
pub struct Watermark {
    pub rect: Rect,
    pub mark: Mark,
    /// 255: opaque.
    pub opacity: u8,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Mark {
    /// One line, as high as the rectangle, cut to its width. A clock is text that the caller changes.
    Text { text: Arc<str>, color: Color },
    /// Whole, in the middle of the rectangle.
    Image(Image),
}

/// A bitmap and where its upper left corner is.
#[derive(Clone, Debug)]
pub(super) struct Placed {
    pub at: (u16, u16),
    pub bitmap: Arc<Bitmap>,
}

impl Placed {
    pub fn rect(&self) -> Rect {
        self.bitmap.size().rect().moved(self.at.0, self.at.1)
    }

    /// The same, further right and down.
    pub fn moved(&self, x: u16, y: u16) -> Placed {
        Placed {
            at: (self.at.0.saturating_add(x), self.at.1.saturating_add(y)),
            bitmap: self.bitmap.clone(),
        }
    }
}

/// What says how a tile's badge and ring look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Marks {
    pub tile: Size,
    pub radius: u16,
    /// In pixels; 0: no ring.
    pub border: u16,
    pub border_color: Color,
    pub name: Option<Arc<str>>,
    pub muted: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Badge {
        name: Option<Arc<str>>,
        muted: bool,
        letters: u16,
        max_width: u16,
    },
    Ring {
        tile: Size,
        radius: u16,
        border: u16,
        color: Color,
        part: Rect,
    },
}

/// Draws, and keeps what the last scene used.
#[derive(Debug, Default)]
pub(super) struct Overlays {
    /// Made for the first text: it takes the fonts of the machine.
    typesetter: Option<Typesetter>,
    kept: HashMap<Key, Option<Arc<Bitmap>>>,
    /// Of the scene before: what the new one does not use is dropped at its end.
    before: HashMap<Key, Option<Arc<Bitmap>>>,
}

impl Overlays {
    /// What follows is a scene; what it does not use is forgotten at its end.
    pub fn begin(&mut self) {
        self.before = std::mem::take(&mut self.kept);
    }

    pub fn end(&mut self) {
        self.before.clear();
    }

    /// Relative to the tile's upper left corner.
    pub fn marks(&mut self, marks: &Marks) -> Vec<Placed> {
        let mut placed = self.ring(marks);
        placed.extend(self.badge(marks));
        placed
    }

    /// A ring's four strips: the middle of a tile is most of it, and has nothing to blend.
    fn ring(&mut self, marks: &Marks) -> Vec<Placed> {
        let tile = marks.tile.rect();
        let shorter = tile.width.min(tile.height);
        let border = marks.border.min(shorter / 2);
        if border == 0 {
            return vec![];
        }
        let radius = limited_radius(marks.radius, marks.tile);
        let even_up = |length: u16| length + (length & 1);
        let across = even_up(border.max(radius)).min((tile.height / 2) & !1).max(2);
        let along = even_up(border).min((tile.width / 2) & !1).max(2);
        let middle = tile.height.saturating_sub(2 * across);
        let part = |x, y, width, height| Rect { x, y, width, height };
        let parts = [
            part(0, 0, tile.width, across),
            part(0, tile.height - across, tile.width, across),
            part(0, across, along, middle),
            part(tile.width - along, across, along, middle),
        ];
        let color = marks.border_color;
        let mut placed = vec![];
        for part in parts {
            let key = Key::Ring {
                tile: marks.tile,
                radius,
                border,
                color,
                part,
            };
            let bitmap = self.keep(key, |_| ring_part(marks.tile, radius, border, color, part));
            placed.extend(bitmap.map(|bitmap| Placed {
                at: (part.x, part.y),
                bitmap,
            }));
        }
        placed
    }

    fn badge(&mut self, marks: &Marks) -> Option<Placed> {
        let name = marks.name.clone().filter(|name| !name.trim().is_empty());
        if name.is_none() && !marks.muted {
            return None;
        }
        let tile = marks.tile.rect();
        // a fourteenth of the tile: 17 pixels in a third of 720 lines; below 12 no letter is legible, above 28 none need be
        let letters = (tile.height / 14).clamp(12, 28);
        let margin = (letters / 2)
            .max(marks.border + 2)
            .max(limited_radius(marks.radius, marks.tile) / 3)
            & !1;
        let max_width = tile.width.saturating_sub(2 * margin) & !1;
        let key = Key::Badge {
            name,
            muted: marks.muted,
            letters,
            max_width,
        };
        let bitmap = self.keep(key.clone(), |typesetter| badge(&key, typesetter))?;
        let height = u16::try_from(bitmap.size().height()).ok()?;
        let y = tile.height.checked_sub(margin + height)?;
        Some(Placed {
            at: (margin, y & !1),
            bitmap,
        })
    }

    fn keep(&mut self, key: Key, draw: impl FnOnce(&mut Option<Typesetter>) -> Option<Raster>) -> Option<Arc<Bitmap>> {
        if let Some(bitmap) = self.kept.get(&key) {
            return bitmap.clone();
        }
        let bitmap = match self.before.remove(&key) {
            Some(bitmap) => bitmap,
            None => draw(&mut self.typesetter).map(|raster| Arc::new(Bitmap::new(&raster))),
        };
        self.kept.insert(key, bitmap.clone());
        bitmap
    }

    pub fn placeholder(&mut self, size: Size, placeholder: &Placeholder, name: &str) -> Picture {
        let mut picture = covered(size, placeholder.color, placeholder.image.as_ref());
        if !placeholder.name {
            return picture;
        }
        let whole = size.rect();
        let letters = f32::from((whole.height / 8).clamp(12, 64));
        // black on what is bright
        let color = if is_bright(placeholder.color) { BLACK } else { WHITE };
        let typesetter = self.typesetter.get_or_insert_with(Typesetter::new);
        if let Some(line) = typesetter.line(name, letters, whole.width - whole.width / 8, color) {
            Bitmap::new(&line).blend(&mut picture, centre(line.size(), whole), whole);
        }
        picture
    }

    /// Absolute on the canvas. `None`: nothing to see.
    pub fn watermark(&mut self, watermark: &Watermark) -> Option<Placed> {
        let size = watermark.rect.size()?;
        let raster = match &watermark.mark {
            Mark::Image(image) => image.scaled(size, Fit::Contain),
            Mark::Text { text, color } => {
                let typesetter = self.typesetter.get_or_insert_with(Typesetter::new);
                // the line is 1.3 times as high as its letters, and its shadow needs a little
                let letters = (f32::from(watermark.rect.height) / 1.4).clamp(6.0, 400.0);
                shadowed(typesetter, text, letters, (watermark.rect.width, *color))?
            }
        };
        let at = centre(raster.size(), watermark.rect);
        let bitmap = Arc::new(Bitmap::new(&raster.faded(watermark.opacity)));
        Some(Placed { at, bitmap })
    }
}

fn is_bright(color: Color) -> bool {
    Yuv::of(color).y > 150
}

/// A picture of one colour, an image over it.
pub(super) fn covered(size: Size, color: Color, image: Option<&Image>) -> Picture {
    let mut picture = Picture::filled(size, Yuv::of(color));
    if let Some(image) = image {
        Bitmap::new(&image.scaled(size, Fit::Crop)).blend(&mut picture, (0, 0), size.rect());
    }
    picture
}

/// Where something has its upper left corner (even) that lies in the middle of a rectangle.
fn centre(size: Size, of: Rect) -> (u16, u16) {
    let own = size.rect();
    let start = |from: u16, room: u16, length: u16| (from + room.saturating_sub(length) / 2) & !1;
    (start(of.x, of.width, own.width), start(of.y, of.height, own.height))
}

/// Letters that are legible on their own colour: with a shadow that is black, or white under dark ones.
fn shadowed(typesetter: &mut Typesetter, text: &str, letters: f32, (max_width, color): (u16, Color)) -> Option<Raster> {
    let shadow = if is_bright(color) { BLACK } else { WHITE };
    let shadow = typesetter.line(text, letters, max_width.saturating_sub(2), shadow)?;
    let rgb = [color.red, color.green, color.blue];
    let line = typesetter.line(text, letters, max_width.saturating_sub(2), rgb)?;
    let size = line.size().rect();
    let mut raster = Raster::clear(Size::even(size.width + 2, size.height + 2)?);
    raster.lay_raster((1, 1), &shadow);
    raster.lay_raster((0, 0), &line);
    Some(raster)
}

/// The microphone, the name, both on a dark pill. `None`: no room.
fn badge(key: &Key, typesetter: &mut Option<Typesetter>) -> Option<Raster> {
    let Key::Badge {
        name,
        muted,
        letters,
        max_width,
    } = key
    else {
        return None;
    };
    let height = (letters * 3 / 2 + 1) & !1;
    let pad = if name.is_some() { letters / 2 } else { 0 };
    let icon = if *muted { height } else { 0 };
    let room = max_width.checked_sub(icon + pad + if *muted { 0 } else { pad })?;
    let line = name.as_ref().and_then(|name| {
        let typesetter = typesetter.get_or_insert_with(Typesetter::new);
        typesetter.line(name, f32::from(*letters), room, WHITE)
    });
    let text = line.as_ref().map_or(0, |line| line.size().rect().width);
    let start = if *muted { icon } else { pad };
    let width = if text > 0 { start + text + pad } else { icon };
    let size = Size::even(width.saturating_add(1).min(*max_width), height)?;
    let mut raster = Raster::clear(size);
    let (wide, high) = (size.width(), size.height());
    for y in 0..high {
        for x in 0..wide {
            let inside = quarter_disc(x.min(wide - 1 - x), y.min(high - 1 - y), f32::from(height) / 2.0);
            raster.lay(x, y, BADGE.0, BADGE.1 * inside);
        }
    }
    if *muted {
        microphone(&mut raster, f32::from(height));
    }
    if let Some(line) = line {
        let y = high.saturating_sub(line.size().height()) / 2;
        raster.lay_raster((usize::from(start), y), &line);
    }
    Some(raster)
}

/// A struck-out microphone on a disc, in the square of this side at the upper left.
fn microphone(raster: &mut Raster, side: f32) {
    // lengths in parts of the side, the middle being 0, 0
    const CAPSULE: ((f32, f32), (f32, f32), f32) = ((0.0, -0.16), (0.0, 0.0), 0.09);
    const STEM: ((f32, f32), (f32, f32), f32) = ((0.0, 0.19), (0.0, 0.25), 0.025);
    const STROKE: ((f32, f32), (f32, f32), f32) = ((-0.24, -0.24), (0.24, 0.24), 0.035);
    let count = raster.size().height();
    for y in 0..count {
        for x in 0..count {
            let at = ((x as f32 + 0.5) / side - 0.5, (y as f32 + 0.5) / side - 0.5);
            let covers = |distance: f32| (0.5 - distance * side).clamp(0.0, 1.0);
            raster.lay(x, y, MUTED, covers(at.0.hypot(at.1) - 0.44));
            // the holder: the lower half of a ring
            let holder = ((at.0.hypot(at.1) - 0.17).abs() - 0.025).max(-at.1);
            let white = to_segment(at, CAPSULE).min(to_segment(at, STEM)).min(holder);
            raster.lay(x, y, WHITE, covers(white));
            raster.lay(x, y, MUTED, covers(to_segment(at, STROKE) - 0.03));
            raster.lay(x, y, WHITE, covers(to_segment(at, STROKE)));
        }
    }
}

/// Distance to a line with round ends, from `a` to `b`, that reaches `radius` to each side; negative within.
fn to_segment(at: (f32, f32), (a, b, radius): ((f32, f32), (f32, f32), f32)) -> f32 {
    let (along, from) = ((b.0 - a.0, b.1 - a.1), (at.0 - a.0, at.1 - a.1));
    let part = (from.0 * along.0 + from.1 * along.1) / (along.0 * along.0 + along.1 * along.1);
    let part = part.clamp(0.0, 1.0);
    (from.0 - part * along.0).hypot(from.1 - part * along.1) - radius
}

/// What of a ring along a tile's edge lies in one part of the tile.
fn ring_part(tile: Size, radius: u16, border: u16, color: Color, part: Rect) -> Option<Raster> {
    let mut raster = Raster::clear(part.size()?);
    let (width, height) = (tile.width(), tile.height());
    let line = usize::from(border);
    let inner_radius = f32::from(radius.saturating_sub(border));
    for y in 0..usize::from(part.height) {
        for x in 0..usize::from(part.width) {
            let (tile_x, tile_y) = (usize::from(part.x) + x, usize::from(part.y) + y);
            // counted from the nearer edges
            let (x_in, y_in) = (tile_x.min(width - 1 - tile_x), tile_y.min(height - 1 - tile_y));
            let outer = quarter_disc(x_in, y_in, f32::from(radius));
            let inner = match (x_in.checked_sub(line), y_in.checked_sub(line)) {
                (Some(x), Some(y)) => quarter_disc(x, y, inner_radius),
                _ => 0.0,
            };
            raster.lay(x, y, [color.red, color.green, color.blue], (outer - inner).max(0.0));
        }
    }
    Some(raster)
}

#[cfg(test)]
mod tests;
