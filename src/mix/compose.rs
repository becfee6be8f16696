//! The canvas. Enters a scene (what should be seen where) and decoded pictures, each of one source; leaves the program's
//! picture. No time base: whoever calls says when a picture is due, and when the canvas is.
//!
//! Each tile keeps its last picture in the tile's size, so that whatever lies on it can be painted anew at any time: its
//! marks, the tiles above it, the watermarks. What changed is painted from the lowest thing that shows up to the highest,
//! within the rectangle that changed.

use super::blend::Corners;
use super::layout::{self, Color, Fit};
pub use super::overlay::{Background, Image, ImageError, Mark, Placeholder, Watermark};
use super::overlay::{Marks, Overlays, Placed, covered};
use super::picture::{Picture, PictureView, Rect, Size, Yuv};
pub use super::scale::Quality;
use super::scale::{Scaler, Shape};
use crate::forward::{SeatIndex, SourceKind};
use std::sync::Arc;

/// Around who speaks: green, which skin and walls rarely are.
const SPEAKING: Color = Color {
    red: 46,
    green: 204,
    blue: 113,
};

/// All that decides what the canvas looks like, but for the pictures.
#[derive(Clone, Debug, PartialEq)]
pub struct Scene {
    pub size: Size,
    pub background: Background,
    pub placeholder: Placeholder,
    /// In drawing order. What lies beyond the canvas is cut off.
    pub tiles: Vec<TileScene>,
    /// In drawing order, over all tiles.
    pub watermarks: Vec<Watermark>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct TileScene {
    pub tile: layout::Tile,
    pub content: Content,
    pub name: Arc<str>,
    /// The name in the lower left corner.
    pub label: bool,
    pub speaking: bool,
    /// A struck-out microphone in the lower left corner.
    pub muted: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// The source's pictures; the placeholder until the first of them.
    Live,
    /// Pictures have stopped: the last of them, where there is one; the placeholder otherwise. None is drawn any more.
    Frozen,
    /// Camera off, or nothing has come for long. The last picture is forgotten.
    Placeholder,
}

/// The canvas as it is now.
#[derive(Clone, Copy, Debug)]
pub struct Composed<'c> {
    pub picture: PictureView<'c>,
    /// Since the last call; never, when nothing was drawn and no scene was set.
    pub changed: bool,
}

#[derive(Debug)]
pub struct Composer {
    canvas: Picture,
    backdrop: Picture,
    scene: Option<Scene>,
    /// In drawing order.
    tiles: Vec<Tile>,
    /// Of the scene; `None`: it cannot be seen.
    watermarks: Vec<Option<Placed>>,
    overlays: Overlays,
    quality: Quality,
    repaint_all: bool,
}

impl Composer {
    /// Black until the first scene.
    pub fn new(size: Size) -> Self {
        Composer {
            canvas: Picture::black(size),
            backdrop: Picture::black(size),
            scene: None,
            tiles: vec![],
            watermarks: vec![],
            overlays: Overlays::default(),
            quality: Quality::Good,
            repaint_all: true,
        }
    }

    /// Seen, whole, from the next [`Composer::compose`] on. A tile whose source was live before keeps its picture, in another
    /// size if need be: see [`Composer::stale`].
    pub fn set_scene(&mut self, scene: Scene) {
        if self.scene.as_ref() == Some(&scene) {
            return;
        }
        self.set_backdrop(&scene);
        self.overlays.begin();
        self.set_tiles(&scene);
        self.set_watermarks(&scene);
        self.overlays.end();
        self.scene = Some(scene);
        self.repaint_all = true;
    }

    /// For the pictures that are drawn from now on.
    pub fn set_quality(&mut self, quality: Quality) {
        self.quality = quality;
    }

    /// The size in which pictures of this source are shown. `None`: none are, because there is no tile for it, it shows a
    /// placeholder, or another tile covers it.
    pub fn wants(&self, seat: SeatIndex, source: SourceKind) -> Option<Size> {
        let tiles = self.tiles.iter().filter(|tile| tile.is_of(seat, source));
        tiles
            .filter(|tile| tile.live && !tile.covered)
            .map(|tile| tile.picture.size())
            .max()
    }

    /// Sources whose tile shows a picture that was made for another size or fit. Drawing the last picture again, where
    /// somebody has it, makes it sharp; otherwise the next one does.
    pub fn stale(&self) -> impl Iterator<Item = (SeatIndex, SourceKind)> {
        self.tiles
            .iter()
            .filter(|tile| tile.stale)
            .map(|tile| (tile.seat, tile.source))
    }

    /// The tiles of the scene, in drawing order.
    pub fn tiles(&self) -> impl Iterator<Item = &layout::Tile> {
        let tiles = self.scene.iter().flat_map(|scene| &scene.tiles);
        tiles.map(|scene| &scene.tile)
    }

    /// The newest picture of a source; of any size, which may be another each time. `false`: it is not shown, because there
    /// is no live tile for it or its planes are shorter than its size says.
    pub fn draw(&mut self, seat: SeatIndex, source: SourceKind, picture: PictureView<'_>) -> bool {
        let (Some(planes), Some(scene)) = (picture.planes(), &self.scene) else {
            return false;
        };
        let mut drawn = false;
        for tile in self
            .tiles
            .iter_mut()
            .filter(|tile| tile.live && tile.is_of(seat, source))
        {
            let shape = Shape {
                from: picture.size,
                to: tile.picture.size(),
                fit: tile.fit,
                quality: self.quality,
            };
            let scaler = match tile.scaler.take() {
                Some(scaler) if scaler.shape() == shape => scaler,
                _ => Scaler::new(shape),
            };
            let kept = tile.scaled_with.replace(shape) == Some(shape);
            let bars = (!kept).then(|| Yuv::of(scene.placeholder.color));
            let changed = tile.scaler.insert(scaler).run(&planes, &mut tile.picture, bars);
            tile.stale = false;
            tile.dirty |= changed;
            if tile.stand_in.take().is_some() {
                tile.placed = self.overlays.marks(&tile.marks());
                tile.dirty = true;
            }
            drawn = true;
        }
        drawn
    }

    /// Paints what changed since the last time.
    pub fn compose(&mut self) -> Composed<'_> {
        let clips = self.changed_parts();
        for &clip in &clips {
            paint(&mut self.canvas, &self.backdrop, &self.tiles, clip);
            for placed in self.watermarks.iter().flatten() {
                placed.bitmap.blend(&mut self.canvas, placed.at, clip);
            }
        }
        self.repaint_all = false;
        for tile in &mut self.tiles {
            tile.dirty = false;
        }
        Composed {
            picture: self.canvas.view(),
            changed: !clips.is_empty(),
        }
    }

    /// Rectangles of which none lies within another.
    fn changed_parts(&self) -> Vec<Rect> {
        if self.repaint_all {
            return vec![self.canvas.size().rect()];
        }
        let dirty = || {
            self.tiles
                .iter()
                .filter(|tile| tile.dirty && !tile.covered)
                .map(|tile| tile.rect)
        };
        let mut parts: Vec<Rect> = vec![];
        for rect in dirty() {
            let within_another = dirty().any(|other| other != rect && other.contains(rect));
            if !within_another && !parts.contains(&rect) {
                parts.push(rect);
            }
        }
        parts
    }

    fn set_backdrop(&mut self, scene: &Scene) {
        let unchanged = |before: &Scene| before.size == scene.size && before.background == scene.background;
        if self.scene.as_ref().is_some_and(unchanged) {
            return;
        }
        let Background { color, image } = &scene.background;
        self.backdrop = covered(scene.size, *color, image.as_ref());
        if self.canvas.size() != scene.size {
            self.canvas = Picture::black(scene.size);
        }
    }

    fn set_tiles(&mut self, scene: &Scene) {
        let mut before = std::mem::take(&mut self.tiles);
        let same_bars = self
            .scene
            .as_ref()
            .is_some_and(|before| before.placeholder.color == scene.placeholder.color);
        for wanted in &scene.tiles {
            let Some(rect) = wanted.tile.rect.intersection(scene.size.rect()) else {
                continue;
            };
            let Some(size) = rect.size() else { continue };
            let last = before
                .iter()
                .position(|tile| tile.is_of(wanted.tile.seat, wanted.tile.source));
            let last = last.map(|last| before.swap_remove(last));
            let stand_in = StandIn {
                placeholder: scene.placeholder.clone(),
                name: wanted.name.clone(),
            };
            let mut tile = match (wanted.content, last) {
                (Content::Live | Content::Frozen, Some(last)) if last.stand_in.is_none() => {
                    last.refitted(wanted, rect, size, same_bars, self.quality, scene.placeholder.color)
                }
                (_, Some(last)) if last.picture.size() == size && last.stand_in.as_ref() == Some(&stand_in) => {
                    Tile::new(wanted, rect, last.picture, Some(stand_in))
                }
                _ => {
                    let picture = self.overlays.placeholder(size, &scene.placeholder, &wanted.name);
                    Tile::new(wanted, rect, picture, Some(stand_in))
                }
            };
            tile.placed = self.overlays.marks(&tile.marks());
            self.tiles.push(tile);
        }
        for n in 0..self.tiles.len() {
            let (tile, above) = (self.tiles[n].rect, &self.tiles[n + 1..]);
            self.tiles[n].covered = above.iter().any(|above| above.radius == 0 && above.rect.contains(tile));
        }
    }

    fn set_watermarks(&mut self, scene: &Scene) {
        let before = self.scene.as_ref().map_or(&[][..], |scene| &scene.watermarks);
        let kept = |wanted: &Watermark| before.iter().position(|watermark| watermark == wanted);
        let placed = scene.watermarks.iter().map(|watermark| match kept(watermark) {
            Some(n) => self.watermarks[n].clone(),
            None => self.overlays.watermark(watermark),
        });
        self.watermarks = placed.collect();
    }
}

/// Of what a placeholder was drawn.
#[derive(Clone, Debug, PartialEq)]
struct StandIn {
    placeholder: Placeholder,
    name: Arc<str>,
}

#[derive(Debug)]
struct Tile {
    seat: SeatIndex,
    source: SourceKind,
    /// Within the canvas.
    rect: Rect,
    fit: Fit,
    radius: u16,
    border: u16,
    border_color: Color,
    name: Arc<str>,
    label: bool,
    speaking: bool,
    muted: bool,
    /// The scene wants pictures here.
    live: bool,
    /// What the tile shows: as large as the tile, without anything on it.
    picture: Picture,
    /// `picture` is this placeholder; `None`: it is of the source.
    stand_in: Option<StandIn>,
    /// `picture` was made for another tile.
    stale: bool,
    scaler: Option<Scaler>,
    /// How the picture came to be, which says whether its bars are where the next one has them.
    scaled_with: Option<Shape>,
    corners: Corners,
    /// Relative to the tile, in drawing order.
    placed: Vec<Placed>,
    /// By one other tile, wholly.
    covered: bool,
    /// Another picture than on the canvas.
    dirty: bool,
}

impl Tile {
    fn new(wanted: &TileScene, rect: Rect, picture: Picture, stand_in: Option<StandIn>) -> Self {
        Tile {
            seat: wanted.tile.seat,
            source: wanted.tile.source,
            rect,
            fit: wanted.tile.fit,
            radius: wanted.tile.radius,
            border: wanted.tile.border,
            border_color: wanted.tile.border_color,
            name: wanted.name.clone(),
            label: wanted.label,
            speaking: wanted.speaking,
            muted: wanted.muted,
            live: wanted.content == Content::Live,
            corners: Corners::new(wanted.tile.radius, picture.size()),
            picture,
            stand_in,
            stale: false,
            scaler: None,
            scaled_with: None,
            placed: vec![],
            covered: false,
            dirty: false,
        }
    }

    /// With the last picture of this tile, as the new scene wants it.
    fn refitted(
        self,
        wanted: &TileScene,
        rect: Rect,
        size: Size,
        same_bars: bool,
        quality: Quality,
        bars: Color,
    ) -> Self {
        let same = self.picture.size() == size && self.fit == wanted.tile.fit && same_bars;
        if same {
            let (scaler, scaled_with, stale) = (self.scaler, self.scaled_with, self.stale);
            let tile = Tile::new(wanted, rect, self.picture, None);
            return Tile {
                scaler,
                scaled_with,
                stale,
                ..tile
            };
        }
        let mut picture = Picture::black(size);
        let shape = Shape {
            from: self.picture.size(),
            to: size,
            fit: wanted.tile.fit,
            quality,
        };
        let planes = [0, 1, 2].map(|plane| self.picture.plane(plane));
        Scaler::new(shape).run(&planes, &mut picture, Some(Yuv::of(bars)));
        let tile = Tile::new(wanted, rect, picture, None);
        Tile { stale: true, ..tile }
    }

    fn is_of(&self, seat: SeatIndex, source: SourceKind) -> bool {
        self.seat == seat && self.source == source
    }

    fn marks(&self) -> Marks {
        // two pixels of 360 lines and fewer, six of 1080
        let highlight = if self.speaking {
            (self.rect.height / 90).clamp(2, 6)
        } else {
            0
        };
        let named_in_the_middle = self.stand_in.as_ref().is_some_and(|stand_in| stand_in.placeholder.name);
        Marks {
            tile: self.picture.size(),
            radius: self.radius,
            border: self.border.max(highlight),
            border_color: if self.speaking { SPEAKING } else { self.border_color },
            name: (self.label && !named_in_the_middle).then(|| self.name.clone()),
            muted: self.muted,
        }
    }

    fn paint(&self, canvas: &mut Picture, clip: Rect) {
        let Some(clip) = self.rect.intersection(clip) else {
            return;
        };
        self.corners.paint(&self.picture, canvas, self.rect, clip);
        for placed in &self.placed {
            let (x, y) = placed.at;
            placed.bitmap.blend(canvas, (self.rect.x + x, self.rect.y + y), clip);
        }
    }
}

/// Everything but the watermarks, within `clip`, from the lowest that shows.
fn paint(canvas: &mut Picture, backdrop: &Picture, tiles: &[Tile], clip: Rect) {
    // of what fills the clip, only the corners show what lies below
    let base = tiles.iter().rposition(|tile| tile.rect.contains(clip));
    match base {
        None => Corners::default().paint(backdrop, canvas, backdrop.size().rect(), clip),
        Some(base) => {
            let squares = tiles[base].corners.squares(tiles[base].rect);
            for square in squares.filter_map(|square| square.intersection(clip)) {
                paint(canvas, backdrop, &tiles[..base], square);
            }
        }
    }
    for tile in &tiles[base.unwrap_or(0)..] {
        tile.paint(canvas, clip);
    }
}

#[cfg(test)]
mod tests;
