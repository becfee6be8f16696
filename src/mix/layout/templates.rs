//! The rectangles of the templates.
//!
//! Sizes are reckoned in real numbers and every edge goes to the nearest even pixel at the end: tiles of one row may differ
//! by two pixels, and there is no sliver left at the canvas's edge.

use super::{Color, Fit, HOST, Present, Tile, extent};
use crate::forward::SourceKind;
use crate::mix::picture::{Rect, Size};

/// Cameras send 16:9: a wider tile would cut off heads.
const WIDEST: f64 = 16.0 / 9.0;
/// Of 16:9 this shows the middle 45 %, in which people sit; a narrower tile is no gain.
const NARROWEST: f64 = 4.0 / 5.0;
/// Between tiles, of the canvas's shorter side: 6 pixels at 720.
const GAP: f64 = 1.0 / 120.0;
/// Around floating tiles, of the canvas's shorter side: 16 pixels at 720.
const FLOAT_MARGIN: f64 = 1.0 / 45.0;
/// A floating tile's height, of the canvas's shorter side: four fit above each other at 16:9.
const FLOAT_HEIGHT: f64 = 0.22;
/// Floating tiles wrap into a second column; before a third they become smaller, or little of the host would be left.
const FLOAT_COLUMNS: usize = 2;
/// Rounding of floating tiles, of their shorter side.
const FLOAT_RADIUS: f64 = 0.08;

/// Part of the canvas, in pixels.
#[derive(Clone, Copy, Debug)]
struct Region {
    x: f64,
    y: f64,
    w: f64,
    h: f64,
}

impl Region {
    fn whole(canvas: Size) -> Self {
        Region {
            x: 0.0,
            y: 0.0,
            w: extent(canvas.width()),
            h: extent(canvas.height()),
        }
    }

    fn shorter(self) -> f64 {
        self.w.min(self.h)
    }

    fn rect(self, canvas: Size) -> Rect {
        snapped(canvas, self.x, self.y, self.x + self.w, self.y + self.h)
    }
}

/// The rectangle between these edges: even, at least 2 × 2, within the canvas.
pub(super) fn snapped(canvas: Size, left: f64, top: f64, right: f64, bottom: f64) -> Rect {
    let (x, width) = span(left, right, extent(canvas.width()));
    let (y, height) = span(top, bottom, extent(canvas.height()));
    Rect { x, y, width, height }
}

/// Start and length; `side` is even and at least 2.
fn span(from: f64, to: f64, side: f64) -> (u16, u16) {
    let nearest = |at: f64, low: f64, high: f64| ((at / 2.0).round() * 2.0).clamp(low, high);
    let start = nearest(from, 0.0, side - 2.0);
    let end = nearest(to, start + 2.0, side);
    (whole(start), whole(end - start))
}

/// The even number below, but not nothing.
fn even(pixels: f64) -> f64 {
    ((pixels / 2.0).floor() * 2.0).max(2.0)
}

/// So much of so many pixels.
pub(super) fn share(pixels: u16, of: f64) -> u16 {
    whole((f64::from(pixels) * of).round())
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a position on a canvas, whose sides are u16; `as` saturates"
)]
fn whole(pixels: f64) -> u16 {
    pixels as u16
}

fn count(n: usize) -> f64 {
    // Tiles: two sources of a room's seats.
    u32::try_from(n).map_or(f64::MAX, f64::from)
}

fn tile(present: &Present, rect: Rect) -> Tile {
    Tile {
        seat: present.seat,
        source: present.source,
        rect,
        fit: Fit::usual(present.source),
        radius: 0,
        border: 0,
        border_color: Color::WHITE,
    }
}

pub(super) fn grid(canvas: Size, present: &[Present]) -> Vec<Tile> {
    let whole = Region::whole(canvas);
    match present {
        // Whatever its shape, nothing is gained by leaving some of the canvas empty.
        [only] => vec![tile(only, whole.rect(canvas))],
        several => rows(canvas, whole, several),
    }
}

/// So many columns and rows of tiles of this size.
#[derive(Clone, Copy, Debug)]
struct Choice {
    columns: usize,
    lines: usize,
    w: f64,
    h: f64,
}

impl Choice {
    /// The tile counts, and half as much the largest 16:9 picture in it: by the tile alone, seven cameras would be cut down
    /// to upright tiles in two rows; by the picture alone, six on a portrait canvas would be one thin column.
    fn worth(&self) -> f64 {
        let tile = self.w * self.h;
        let picture = self.w.min(self.h * WIDEST);
        tile * tile * picture * picture
    }
}

/// Rows of tiles of one size, as large as they can be without becoming too wide or too narrow; the last row is centred.
fn rows(canvas: Size, region: Region, present: &[Present]) -> Vec<Tile> {
    let gap = Region::whole(canvas).shorter() * GAP;
    let choices = (1..=present.len()).map(|columns| {
        let lines = present.len().div_ceil(columns);
        let each = |length: f64, parts: usize| ((length + gap) / count(parts) - gap).max(2.0);
        let (w, h) = (each(region.w, columns), each(region.h, lines));
        Choice {
            columns,
            lines,
            w: w.min(h * WIDEST),
            h: h.min(w / NARROWEST),
        }
    });
    // Of equals the first: fewer columns mean fuller rows.
    let better = |best: Choice, next: Choice| if next.worth() > best.worth() { next } else { best };
    let Some(Choice { columns, lines, w, h }) = choices.reduce(better) else {
        return Vec::new();
    };
    let centred = |start: f64, length: f64, parts: usize, each: f64| {
        let used = count(parts) * (each + gap) - gap;
        start + (length - used) / 2.0
    };
    let top = centred(region.y, region.h, lines, h);
    let placed = present.chunks(columns).enumerate().flat_map(|(line, people)| {
        let left = centred(region.x, region.w, people.len(), w);
        let y = top + count(line) * (h + gap);
        people.iter().enumerate().map(move |(column, present)| {
            let x = left + count(column) * (w + gap);
            tile(present, Region { x, y, w, h }.rect(canvas))
        })
    });
    placed.collect()
}

/// The host's camera is the large one; without it, whoever comes first.
pub(super) fn float(canvas: Size, present: &[Present]) -> Vec<Tile> {
    let host = |present: &Present| present.seat == HOST && present.source == SourceKind::Camera;
    let Some((lead, others)) = apart(present, host).or_else(|| apart(present, |_| true)) else {
        return Vec::new();
    };
    let whole = Region::whole(canvas);
    let mut tiles = vec![tile(&lead, whole.rect(canvas))];
    let margin = whole.shorter() * FLOAT_MARGIN;
    let usual = whole.shorter() * FLOAT_HEIGHT;
    // The margin above the highest tile is nobody's row.
    let lines = (1..=others.len()).take_while(|lines| count(*lines) * (usual + margin) <= whole.h - margin);
    let fitting = lines.last().unwrap_or(1);
    let lines = fitting.max(others.len().div_ceil(FLOAT_COLUMNS));
    let h = usual.min((whole.h - margin) / count(lines) - margin).max(2.0);
    let w = if whole.w >= whole.h { h * WIDEST } else { h };
    // Even from the start: tiles that float in a column show any difference.
    let (w, h, margin) = (even(w), even(h), even(margin));
    // From the lower right corner upwards: names and titles are usually above or at the left.
    for (place, present) in others.iter().enumerate() {
        let (column, line) = (place / lines, place % lines);
        let region = Region {
            x: whole.w - count(column + 1) * (w + margin),
            y: whole.h - count(line + 1) * (h + margin),
            w,
            h,
        };
        let rect = region.rect(canvas);
        let radius = share(rect.width.min(rect.height), FLOAT_RADIUS);
        tiles.push(Tile {
            radius,
            ..tile(present, rect)
        });
    }
    tiles
}

/// The host's screen is the large one, or the screen of the lowest seat.
pub(super) fn screen(canvas: Size, present: &[Present]) -> Vec<Tile> {
    let is_screen = |present: &Present| present.source == SourceKind::Screen;
    let Some((lead, others)) = apart(present, is_screen) else {
        return grid(canvas, present);
    };
    let whole = Region::whole(canvas);
    if others.is_empty() {
        return grid(canvas, &[lead]);
    }
    let gap = whole.shorter() * GAP;
    let (large, strip) = if whole.w >= whole.h {
        // One column of people at 16:9 takes a fifth; more of them need more.
        let share = match others.len() {
            0..=5 => 0.20,
            6..=10 => 0.28,
            _ => 0.36,
        };
        let w = whole.w * (1.0 - share) - gap;
        let x = w + gap;
        (
            Region { w, ..whole },
            Region {
                x,
                w: whole.w - x,
                ..whole
            },
        )
    } else {
        // A screen of 4:3 in the full width, but never more than half of the canvas.
        let h = (whole.w * 0.75).min(whole.h / 2.0);
        let y = h + gap;
        (
            Region { h, ..whole },
            Region {
                y,
                h: whole.h - y,
                ..whole
            },
        )
    };
    let mut tiles = vec![tile(&lead, large.rect(canvas))];
    tiles.extend(rows(canvas, strip, &others));
    tiles
}

/// The first such one, and all others.
fn apart(present: &[Present], such: impl Fn(&Present) -> bool) -> Option<(Present, Vec<Present>)> {
    let at = present.iter().position(such)?;
    let mut others = present.to_vec();
    let lead = others.remove(at);
    Some((lead, others))
}
