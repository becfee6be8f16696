//! One tile of the canvas: its picture, and the marks that lie on it.
//!
//! Where nothing else can lie above or below a tile, its pictures are scaled straight into the canvas. What the tile's marks
//! cover there is kept and put back before the next picture comes: so that it is compared with the last one as it was, and
//! that nothing is blended twice.

use super::super::blend::Corners;
use super::super::layout::{Color, Fit};
use super::super::overlay::{Marks, Overlays, Placed};
use super::super::picture::{Picture, Plane, Rect, Size, Yuv};
use super::super::scale::{Quality, Scaler, Shape};
use super::{Content, Placeholder, TileScene};
use crate::forward::{SeatIndex, SourceKind};
use std::sync::Arc;

/// Around who speaks: green, which skin and walls rarely are.
const SPEAKING: Color = Color {
    red: 46,
    green: 204,
    blue: 113,
};

/// Of what a placeholder was drawn.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct StandIn {
    pub placeholder: Placeholder,
    pub name: Arc<str>,
}

#[derive(Debug)]
pub(super) struct Tile {
    pub seat: SeatIndex,
    pub source: SourceKind,
    pub user: Arc<str>,
    /// Within the canvas.
    pub rect: Rect,
    pub size: Size,
    fit: Fit,
    pub radius: u16,
    border: u16,
    border_color: Color,
    /// Beside a contained picture.
    bars: Color,
    name: Arc<str>,
    label: bool,
    speaking: bool,
    muted: bool,
    /// The scene wants pictures here.
    pub live: bool,
    bare: Bare,
    /// The picture is this placeholder; `None`: it is of the source.
    stand_in: Option<StandIn>,
    /// The picture was made for another tile.
    pub stale: bool,
    scaler: Option<Scaler>,
    /// How the picture came to be, which says whether its bars are where the next one has them.
    scaled_with: Option<Shape>,
    corners: Corners,
    /// Relative to the tile, in drawing order.
    placed: Vec<Placed>,
    /// By one other tile, wholly.
    pub covered: bool,
    /// Nothing but its own marks lies above it, and nothing that is seen below.
    pub alone: bool,
    /// Another picture than on the canvas, or than it was there.
    pub dirty: bool,
}

/// What a tile shows, as large as the tile and without anything on it.
#[derive(Debug)]
enum Bare {
    Kept(Picture),
    /// It is where it is seen, and nowhere else.
    InCanvas(Covers),
}

/// A tile's marks in the canvas.
#[derive(Debug)]
struct Covers {
    /// In drawing order.
    covers: Vec<Cover>,
    /// They lie there; else the bare picture does.
    laid: bool,
}

/// A mark in the canvas and what it covers.
#[derive(Debug)]
struct Cover {
    mark: Placed,
    /// Where it is seen.
    part: Rect,
    /// What was there before; of no meaning while the mark is not laid.
    under: Picture,
}

impl Tile {
    pub fn new(wanted: &TileScene, rect: Rect, bars: Color, picture: Picture, stand_in: Option<StandIn>) -> Self {
        Tile {
            seat: wanted.tile.seat,
            source: wanted.tile.source,
            user: wanted.user.clone(),
            rect,
            size: picture.size(),
            fit: wanted.tile.fit,
            radius: wanted.tile.radius,
            border: wanted.tile.border,
            border_color: wanted.tile.border_color,
            bars,
            name: wanted.name.clone(),
            label: wanted.label,
            speaking: wanted.speaking,
            muted: wanted.muted,
            live: wanted.content == Content::Live,
            corners: Corners::new(wanted.tile.radius, picture.size()),
            bare: Bare::Kept(picture),
            stand_in,
            stale: false,
            scaler: None,
            scaled_with: None,
            placed: vec![],
            covered: false,
            alone: false,
            dirty: false,
        }
    }

    /// With the last picture of this tile, as the new scene wants it.
    pub fn refitted(
        mut self,
        wanted: &TileScene,
        rect: Rect,
        size: Size,
        bars: Color,
        quality: Quality,
        canvas: &mut Picture,
    ) -> Self {
        let same = self.size == size && self.fit == wanted.tile.fit && self.bars == bars;
        let (scaler, scaled_with, stale) = (self.scaler.take(), self.scaled_with, self.stale);
        let last = self.into_picture(canvas);
        if same {
            let tile = Tile::new(wanted, rect, bars, last, None);
            return Tile {
                scaler,
                scaled_with,
                stale,
                ..tile
            };
        }
        let mut picture = Picture::black(size);
        let shape = Shape {
            from: last.size(),
            to: size,
            fit: wanted.tile.fit,
            quality,
        };
        let planes = [0, 1, 2].map(|plane| last.plane(plane));
        Scaler::new(shape).run(&planes, &mut picture, size.rect(), Some(Yuv::of(bars)));
        let tile = Tile::new(wanted, rect, bars, picture, None);
        Tile { stale: true, ..tile }
    }

    /// The bare picture. A canvas it was in is not fit to be seen any more.
    pub fn into_picture(self, canvas: &mut Picture) -> Picture {
        match self.bare {
            Bare::Kept(picture) => picture,
            Bare::InCanvas(mut covers) => {
                covers.lift(canvas);
                let mut picture = Picture::black(self.size);
                picture.copy(self.size.rect(), canvas, self.rect);
                picture
            }
        }
    }

    pub fn is_of(&self, seat: SeatIndex, source: SourceKind) -> bool {
        self.seat == seat && self.source == source
    }

    pub fn stands_in(&self) -> Option<&StandIn> {
        self.stand_in.as_ref()
    }

    /// The newest picture of its source.
    pub fn draw(
        &mut self,
        source: (Size, &[Plane<'_>; 3]),
        quality: Quality,
        overlays: &mut Overlays,
        canvas: &mut Picture,
    ) {
        let (from, planes) = source;
        let shape = Shape {
            from,
            to: self.size,
            fit: self.fit,
            quality,
        };
        let scaler = match self.scaler.take() {
            Some(scaler) if scaler.shape() == shape => scaler,
            _ => Scaler::new(shape),
        };
        let scaler = self.scaler.insert(scaler);
        let has_bars = self.scaled_with.replace(shape) == Some(shape);
        let bars = (!has_bars).then(|| Yuv::of(self.bars));
        self.dirty |= match &mut self.bare {
            Bare::Kept(picture) => scaler.run(planes, picture, self.size.rect(), bars),
            Bare::InCanvas(covers) => {
                covers.lift(canvas);
                scaler.run(planes, canvas, self.rect, bars)
            }
        };
        self.stale = false;
        if self.stand_in.take().is_some() {
            self.place_marks(overlays);
            if let Bare::InCanvas(covers) = &mut self.bare {
                *covers = Covers::new(&self.placed, self.rect);
            }
            self.dirty = true;
        }
    }

    /// Whatever lies on it, as the scene wants it.
    pub fn place_marks(&mut self, overlays: &mut Overlays) {
        self.placed = overlays.marks(&self.marks());
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
            tile: self.size,
            radius: self.radius,
            border: self.border.max(highlight),
            border_color: if self.speaking { SPEAKING } else { self.border_color },
            name: (self.label && !named_in_the_middle).then(|| self.name.clone()),
            muted: self.muted,
        }
    }

    /// The four squares in which what lies below shows; none without round corners.
    pub fn squares(&self) -> impl Iterator<Item = Rect> + use<> {
        self.corners.squares(self.rect)
    }

    /// Within `clip`, and before [`Tile::settle`], which lays the marks of a tile that is alone.
    pub fn paint(&self, canvas: &mut Picture, clip: Rect) {
        let (Bare::Kept(picture), Some(clip)) = (&self.bare, self.rect.intersection(clip)) else {
            return;
        };
        self.corners.paint(picture, canvas, self.rect, clip);
        if self.alone {
            return;
        }
        for placed in &self.placed {
            let placed = placed.moved(self.rect.x, self.rect.y);
            placed.bitmap.blend(canvas, placed.at, clip);
        }
    }

    /// The canvas has its picture now, and is about to be seen.
    pub fn settle(&mut self, canvas: &mut Picture) {
        self.dirty = false;
        if self.alone && matches!(self.bare, Bare::Kept(_)) {
            self.bare = Bare::InCanvas(Covers::new(&self.placed, self.rect));
        }
        if let Bare::InCanvas(covers) = &mut self.bare {
            covers.lay(canvas);
        }
    }
}

impl Covers {
    /// `placed` is relative to the tile, `tile` its place in the canvas.
    fn new(placed: &[Placed], tile: Rect) -> Self {
        let cover = |placed: &Placed| {
            let mark = placed.moved(tile.x, tile.y);
            let part = mark.rect().intersection(tile)?;
            let under = Picture::black(part.size()?);
            Some(Cover { mark, part, under })
        };
        Covers {
            covers: placed.iter().filter_map(cover).collect(),
            laid: false,
        }
    }

    fn lay(&mut self, canvas: &mut Picture) {
        if std::mem::replace(&mut self.laid, true) {
            return;
        }
        for Cover { mark, part, under } in &mut self.covers {
            under.copy(under.size().rect(), canvas, *part);
            mark.bitmap.blend(canvas, mark.at, *part);
        }
    }

    fn lift(&mut self, canvas: &mut Picture) {
        if !std::mem::replace(&mut self.laid, false) {
            return;
        }
        // marks may cover one another
        for Cover { part, under, .. } in self.covers.iter().rev() {
            canvas.copy(*part, under, under.size().rect());
        }
    }
}
