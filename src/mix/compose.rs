//! The canvas. Enters a scene (what should be seen where) and decoded pictures, each of one source; leaves the program's
//! picture. No time base: whoever calls says when a picture is due, and when the canvas is.
//!
//! Pictures of a tile that meets no other and no watermark go straight into the canvas: see `tile`. Any other tile keeps its
//! last picture in the tile's size, so that whatever lies on it can be painted anew at any time: its marks, the tiles above
//! it, the watermarks. What changed is painted from the lowest thing that shows up to the highest, within the rectangle that
//! changed.

mod tile;

use super::layout;
pub use super::overlay::{Background, Image, Mark, Placeholder, Watermark};
use super::overlay::{Overlays, Placed, covered};
use super::picture::{Picture, PictureView, Rect, Size};
pub use super::scale::Quality;
use crate::forward::{SeatIndex, SourceKind};
use std::sync::Arc;
use tile::{StandIn, Tile};

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
    /// Whose tile it is: their pictures stay with them, wherever they sit.
    pub user: Arc<str>,
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

    /// Seen, whole, from the next [`Composer::compose`] on. Whose source was live before keeps its picture, at another seat
    /// and in another size if need be: see [`Composer::stale`].
    pub fn set_scene(&mut self, scene: Scene) {
        if self.scene.as_ref() == Some(&scene) {
            return;
        }
        self.overlays.begin();
        self.set_tiles(&scene);
        self.set_watermarks(&scene);
        self.overlays.end();
        self.set_overlaps();
        // after the tiles, which take their pictures out of the canvas
        self.set_backdrop(&scene);
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
            .map(|tile| tile.size)
            .max()
    }

    /// Sources whose tile shows a picture that was made for another size or fit, or none yet. Drawing the last picture again,
    /// where somebody has it, makes it sharp; otherwise the next one does.
    pub fn stale(&self) -> impl Iterator<Item = (SeatIndex, SourceKind)> {
        self.tiles
            .iter()
            .filter(|tile| tile.stale || (tile.live && tile.stands_in().is_some()))
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
        let Some(planes) = picture.planes() else { return false };
        let mut drawn = false;
        let shown = |tile: &&mut Tile| tile.live && tile.is_of(seat, source);
        for tile in self.tiles.iter_mut().filter(shown) {
            let source = (picture.size, &planes);
            tile.draw(source, self.quality, &mut self.overlays, &mut self.canvas);
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
            tile.settle(&mut self.canvas);
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
        let (bars, canvas) = (scene.placeholder.color, &mut self.canvas);
        for wanted in &scene.tiles {
            let Some(rect) = wanted.tile.rect.intersection(scene.size.rect()) else {
                continue;
            };
            let Some(size) = rect.size() else { continue };
            let last = before
                .iter()
                .position(|tile| tile.user == wanted.user && tile.source == wanted.tile.source);
            let last = last.map(|last| before.swap_remove(last));
            let stand_in = StandIn {
                placeholder: scene.placeholder.clone(),
                name: wanted.name.clone(),
            };
            let mut tile = match (wanted.content, last) {
                (Content::Live | Content::Frozen, Some(last)) if last.stands_in().is_none() => {
                    last.refitted(wanted, rect, size, bars, self.quality, canvas)
                }
                (_, Some(last)) if last.size == size && last.stands_in() == Some(&stand_in) => {
                    Tile::new(wanted, rect, bars, last.into_picture(canvas), Some(stand_in))
                }
                _ => {
                    let picture = self.overlays.placeholder(size, &scene.placeholder, &wanted.name);
                    Tile::new(wanted, rect, bars, picture, Some(stand_in))
                }
            };
            tile.place_marks(&mut self.overlays);
            self.tiles.push(tile);
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

    /// Which tiles are covered, and which meet nothing.
    fn set_overlaps(&mut self) {
        for n in 0..self.tiles.len() {
            let (below, above) = (&self.tiles[..n], &self.tiles[n + 1..]);
            let tile = &self.tiles[n];
            let meets = |other: Rect| other.intersection(tile.rect).is_some();
            let alone = tile.radius == 0
                && !below.iter().chain(above).any(|other| meets(other.rect))
                && !self.watermarks.iter().flatten().any(|mark| meets(mark.rect()));
            let covered = above
                .iter()
                .any(|above| above.radius == 0 && above.rect.contains(tile.rect));
            let tile = &mut self.tiles[n];
            (tile.alone, tile.covered) = (alone, covered);
        }
    }
}

/// Everything but the watermarks, within `clip`, from the lowest that shows.
fn paint(canvas: &mut Picture, backdrop: &Picture, tiles: &[Tile], clip: Rect) {
    // of what fills the clip, only the corners show what lies below
    let base = tiles.iter().rposition(|tile| tile.rect.contains(clip));
    match base {
        None => canvas.copy(clip, backdrop, clip),
        Some(base) => {
            for square in tiles[base].squares().filter_map(|square| square.intersection(clip)) {
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
