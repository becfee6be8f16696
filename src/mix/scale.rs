//! Pictures in another size, straight into a part of another picture. Enters a view of any size, leaves the target's rows;
//! no time base. Bilinear, after halving as often as it takes to be at most 2:1 away, so that nothing aliases.

mod rows;

use super::layout::Fit;
use super::picture::{Picture, Plane, PlaneMut, Rect, SUBSAMPLING, Size, Yuv};
use rows::{Tap, Taps, UNIT};

/// How carefully pictures are scaled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Quality {
    #[default]
    Good,
    /// Rows are picked instead of mixed: jagged where lines are nearly level.
    Fast,
}

/// From what to what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub from: Size,
    pub to: Size,
    pub fit: Fit,
    pub quality: Quality,
}

/// Made for one [`Shape`]; keeps its tables and its scratch rows from picture to picture.
#[derive(Debug)]
pub(super) struct Scaler {
    shape: Shape,
    /// What is taken of the source.
    taken: Rect,
    /// Where it goes in the rectangle of the target.
    place: Rect,
    luma: PlaneScaler,
    chroma: PlaneScaler,
}

impl Scaler {
    pub fn new(shape: Shape) -> Self {
        let Shape { from, to, fit, quality } = shape;
        let (taken, place) = match fit {
            Fit::Stretch => (from.rect(), to.rect()),
            Fit::Crop => (centred(from.rect(), to), to.rect()),
            Fit::Contain => (from.rect(), centred(to.rect(), from)),
        };
        let scaler = |plane: usize| {
            let (taken, place) = (taken.samples(SUBSAMPLING[plane]), place.samples(SUBSAMPLING[plane]));
            PlaneScaler::new((taken.width, taken.height), (place.width, place.height), quality)
        };
        let (luma, chroma) = (scaler(0), scaler(1));
        Scaler {
            shape,
            taken,
            place,
            luma,
            chroma,
        }
    }

    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Into the rectangle `at` of the target, of which nothing else is touched. What the picture leaves of it gets `bars`;
    /// without any, when it has them from the last time. Returns whether the rectangle is another than before.
    ///
    /// # Panics
    /// On a source or a rectangle of another size than the shape's, and on a rectangle beyond the target.
    pub fn run(&mut self, source: &[Plane<'_>; 3], target: &mut Picture, at: Rect, bars: Option<Yuv>) -> bool {
        assert_eq!(at.size(), Some(self.shape.to), "made for another target");
        let bars = bars.filter(|_| self.place != self.shape.to.rect());
        if let Some(bars) = bars {
            target.fill(at, bars);
        }
        let place = self.place.moved(at.x, at.y);
        let mut changed = bars.is_some();
        for (plane, source) in source.iter().enumerate() {
            let taken = source
                .part(self.taken.samples(SUBSAMPLING[plane]))
                .expect("made for another source");
            let scaler = if plane == 0 { &mut self.luma } else { &mut self.chroma };
            let plane = target.plane_mut(plane, place);
            changed = scaler.run(taken, Rows { plane, changed });
        }
        changed
    }
}

/// The largest part of `of` in the shape of `like`, in its middle.
fn centred(of: Rect, like: Size) -> Rect {
    let (width, height) = (usize::from(of.width), usize::from(of.height));
    // the nearest even number: rounding down would cut a line off pictures that fit but for a fraction
    let side = |numerator: usize, denominator: usize, most: u16| {
        let even = (numerator + denominator) / (2 * denominator) * 2;
        u16::try_from(even).unwrap_or(most).clamp(2, most)
    };
    let (width, height) = if width * like.height() > height * like.width() {
        (side(height * like.width(), like.height(), of.width), of.height)
    } else {
        (of.width, side(width * like.height(), like.width(), of.height))
    };
    Rect {
        x: of.x + (((of.width - width) / 2) & !1),
        y: of.y + (((of.height - height) / 2) & !1),
        width,
        height,
    }
}

/// Halves one or both sides.
#[derive(Debug)]
struct Halving {
    columns: bool,
    rows: bool,
    /// What the last picture gave, rows without gaps.
    half: Vec<u8>,
}

#[derive(Debug)]
struct PlaneScaler {
    /// Of the source only every so manieth row counts.
    every_row: usize,
    halvings: Vec<Halving>,
    last: LastStep,
    /// Mixed of two rows.
    line: Vec<u8>,
    /// As wide as the target.
    spare: Vec<u8>,
}

/// The rows of a target, and whether one of them is another than before.
///
/// Pictures of what stands still are the same again and again, and a comparison is the price of not encoding them; where
/// something moves, the first rows tell.
struct Rows<'t> {
    plane: PlaneMut<'t>,
    changed: bool,
}

impl Rows<'_> {
    fn write(&mut self, y: usize, spare: &mut [u8], write: impl FnOnce(&mut [u8])) {
        let row = self.plane.row(y);
        if self.changed {
            return write(row);
        }
        write(spare);
        if *row != *spare {
            row.copy_from_slice(spare);
            self.changed = true;
        }
    }
}

#[derive(Debug)]
enum LastStep {
    /// 2:1 both ways.
    Quarter,
    Bilinear {
        rows: Vec<Tap>,
        /// `None`: the width is right.
        columns: Option<Taps>,
    },
}

impl PlaneScaler {
    fn new(from: (usize, usize), to: (usize, usize), quality: Quality) -> Self {
        let (mut width, mut height) = from;
        let mut every_row = 1;
        let mut halvings = vec![];
        while quality == Quality::Fast && height > 2 * to.1 {
            (every_row, height) = (2 * every_row, height.div_ceil(2));
        }
        while width > 2 * to.0 || height > 2 * to.1 {
            let halving = Halving {
                columns: width > 2 * to.0,
                rows: height > 2 * to.1,
                half: vec![],
            };
            width = if halving.columns { width / 2 } else { width };
            height = if halving.rows { height / 2 } else { height };
            halvings.push(halving);
        }
        let last = if (width, height) == (2 * to.0, 2 * to.1) {
            LastStep::Quarter
        } else {
            let pick = |tap: Tap| match quality {
                Quality::Good => tap,
                Quality::Fast => Tap {
                    weight: if tap.weight < UNIT / 2 { 0 } else { UNIT },
                    ..tap
                },
            };
            LastStep::Bilinear {
                rows: (0..to.1).map(|n| pick(Tap::new(n, height, to.1))).collect(),
                columns: (width != to.0).then(|| Taps::new(width, to.0)),
            }
        };
        PlaneScaler {
            every_row,
            halvings,
            last,
            line: vec![0; width],
            spare: vec![0; to.0],
        }
    }

    /// Returns whether the target is another than before.
    fn run(&mut self, source: Plane<'_>, mut target: Rows<'_>) -> bool {
        let mut source = source.every_row(self.every_row);
        for halving in &mut self.halvings {
            source = halving.run(source);
        }
        let spare = &mut self.spare;
        match &self.last {
            LastStep::Quarter => {
                for y in 0..target.plane.height {
                    let (upper, lower) = (source.row(2 * y), source.row(2 * y + 1));
                    target.write(y, spare, |row| rows::quarter(upper, lower, row));
                }
            }
            LastStep::Bilinear { rows, columns } => {
                let scratch = (&mut *self.line, &mut **spare);
                bilinear(source, rows, columns.as_ref(), scratch, &mut target);
            }
        }
        target.changed
    }
}

impl Halving {
    /// An odd row or column at the end is left out.
    fn run(&mut self, source: Plane<'_>) -> Plane<'_> {
        let width = if self.columns { source.width / 2 } else { source.width };
        let height = if self.rows { source.height / 2 } else { source.height };
        self.half.resize(width * height, 0);
        for (y, out) in self.half.chunks_exact_mut(width).enumerate() {
            match (self.columns, self.rows) {
                (true, true) => rows::quarter(source.row(2 * y), source.row(2 * y + 1), out),
                (true, false) => rows::halve(source.row(y), out),
                (false, _) => rows::mean(source.row(2 * y), source.row(2 * y + 1), out),
            }
        }
        Plane::new(&self.half, width, width, height).expect("as large as it was just made")
    }
}

fn bilinear(
    source: Plane<'_>,
    rows: &[Tap],
    columns: Option<&Taps>,
    (line, spare): (&mut [u8], &mut [u8]),
    target: &mut Rows<'_>,
) {
    // when enlarging, several rows lie between the same two, and with the same weights at whole ratios
    let mut in_line = None;
    for (y, &tap) in rows.iter().enumerate() {
        let row = match tap.weight {
            0 => source.row(tap.index),
            UNIT => source.row(tap.index + 1),
            weight => {
                if in_line != Some(tap) {
                    rows::between(source.row(tap.index), source.row(tap.index + 1), weight, line);
                    in_line = Some(tap);
                }
                &*line
            }
        };
        target.write(y, spare, |out| match columns {
            None => out.copy_from_slice(row),
            Some(taps) => rows::resample(row, taps, out),
        });
    }
}

#[cfg(test)]
mod tests;
