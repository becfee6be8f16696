//! What the cameras film, and how it is found again on the canvas: a colour and a barcode in its middle that tell the seat
//! and the number of the frame.

use costage::forward::{SeatIndex, SourceKind};
use costage::mix::layout::{Fit, Layout, Present, Tile};
use costage::mix::picture::{Picture, PictureView, Rect, Size};

/// Of the seats: luma and chroma. Far from each other, and from background and placeholder, which are darker.
pub const COLORS: [[u8; 3]; 10] = [
    [130, 90, 200],
    [150, 60, 90],
    [90, 200, 110],
    [190, 60, 150],
    [160, 170, 60],
    [110, 180, 190],
    [180, 110, 170],
    [100, 110, 60],
    [140, 150, 150],
    [200, 140, 110],
];
/// What codecs and scaling make of one colour.
const TOLERANCE: u8 = 14;
/// What scaling and rounding to even numbers may move an edge by.
const EDGE_PIXELS: i32 = 2;

/// Where the barcode is, as a fraction of the picture: within what the narrowest tile shows of 16:9.
const CODE_LEFT: f64 = 0.30;
const CODE_TOP: f64 = 0.35;
const CODE_WIDTH: f64 = 0.40;
const CODE_HEIGHT: f64 = 0.30;
const COLUMNS: u32 = 8;
const ROWS: u32 = 3;
/// Frame numbers start again behind it.
pub const FRAMES: u32 = 1 << 12;

const BLACK: u8 = 16;
pub const WHITE: u8 = 235;
const GREY: u8 = 128;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    pub seat: u8,
    pub frame: u32,
}

impl Reading {
    /// Four bits of seat, twelve of frame, eight that tell a barcode from anything else.
    fn bits(self) -> u32 {
        let value = (u32::from(self.seat) << 12) | (self.frame % FRAMES);
        // Plain black is none.
        value << 8 | ((value + 1).wrapping_mul(0x9e37_79b1) >> 24)
    }

    fn of_bits(bits: u32) -> Option<Self> {
        let reading = Reading {
            seat: u8::try_from(bits >> 20).ok()?,
            frame: bits >> 8 & (FRAMES - 1),
        };
        (reading.bits() == bits).then_some(reading)
    }
}

pub fn flat(size: Size, [y, u, v]: [u8; 3]) -> Picture {
    let mut picture = Picture::black(size);
    picture.y.fill(y);
    picture.u.fill(u);
    picture.v.fill(v);
    picture
}

/// The frame `frame` of a seat.
pub fn draw(size: Size, seat: u8, frame: u32) -> Picture {
    let mut picture = flat(size, COLORS[usize::from(seat)]);
    let bits = Reading { seat, frame }.bits();
    let (width, height) = (size.width(), size.height());
    let column_of = |x: usize| block(x, width, CODE_LEFT, CODE_WIDTH, COLUMNS);
    let columns: Vec<Option<u32>> = (0..width).map(column_of).collect();
    for y in 0..height {
        let Some(row) = block(y, height, CODE_TOP, CODE_HEIGHT, ROWS) else {
            continue;
        };
        for (x, column) in columns.iter().enumerate() {
            let Some(column) = column else { continue };
            let bit = bits >> (row * COLUMNS + column) & 1;
            picture.y[y * width + x] = if bit == 1 { WHITE } else { BLACK };
            let chroma = y / 2 * (width / 2) + x / 2;
            picture.u[chroma] = GREY;
            picture.v[chroma] = GREY;
        }
    }
    picture
}

fn block(at: usize, side: usize, from: f64, extent: f64, count: u32) -> Option<u32> {
    let place = ((at as f64 + 0.5) / side as f64 - from) / extent;
    (0.0..1.0).contains(&place).then(|| (place * f64::from(count)) as u32)
}

pub fn copy(view: PictureView) -> Picture {
    let (width, height) = (view.size.width(), view.size.height());
    let mut picture = Picture::black(view.size);
    let rows = |to: &mut [u8], from: &[u8], width: usize, stride: usize| {
        for (to, from) in to.chunks_exact_mut(width).zip(from.chunks(stride)) {
            to.copy_from_slice(&from[..width]);
        }
    };
    rows(&mut picture.y, view.y, width, view.y_stride);
    rows(&mut picture.u, view.u, width / 2, view.uv_stride);
    rows(&mut picture.v, view.v, width / 2, view.uv_stride);
    debug_assert_eq!(picture.y.len(), width * height);
    picture
}

/// `None`: beyond the picture.
fn pixel(picture: &Picture, x: i32, y: i32) -> Option<[u8; 3]> {
    let (width, height) = (picture.size().width(), picture.size().height());
    let (x, y) = (usize::try_from(x).ok()?, usize::try_from(y).ok()?);
    if x >= width || y >= height {
        return None;
    }
    let chroma = y / 2 * (width / 2) + x / 2;
    Some([picture.y[y * width + x], picture.u[chroma], picture.v[chroma]])
}

/// The mean of 3 × 3 pixels.
pub fn color(picture: &Picture, x: i32, y: i32) -> [u8; 3] {
    let around = (-1..=1).flat_map(|dy| (-1..=1).map(move |dx| (dx, dy)));
    let pixels: Vec<[u8; 3]> = around.filter_map(|(dx, dy)| pixel(picture, x + dx, y + dy)).collect();
    [0, 1, 2].map(|plane| {
        let sum: usize = pixels.iter().map(|pixel| usize::from(pixel[plane])).sum();
        u8::try_from(sum / pixels.len().max(1)).unwrap()
    })
}

/// The colour at these fractions of a rectangle.
pub fn color_in(picture: &Picture, rect: Rect, across: f64, down: f64) -> [u8; 3] {
    let x = f64::from(rect.x) + f64::from(rect.width) * across;
    let y = f64::from(rect.y) + f64::from(rect.height) * down;
    color(picture, x as i32, y as i32)
}

pub fn is_near(one: [u8; 3], other: [u8; 3]) -> bool {
    one.iter()
        .zip(other)
        .all(|(one, other)| one.abs_diff(other) <= TOLERANCE)
}

/// Where a point of a picture of `size`, given in fractions, is on the canvas when the picture fills `rect` and what does
/// not fit is cut off evenly.
fn place(rect: Rect, size: Size, across: f64, down: f64) -> (i32, i32) {
    let (width, height) = (size.width() as f64, size.height() as f64);
    let scale = (f64::from(rect.width) / width).max(f64::from(rect.height) / height);
    let at = |from: u16, length: u16, side: f64, part: f64| {
        (f64::from(from) + f64::from(length) / 2.0 + (part - 0.5) * side * scale) as i32
    };
    (
        at(rect.x, rect.width, width, across),
        at(rect.y, rect.height, height, down),
    )
}

/// The barcode of a card of `size` that fills `rect`.
pub fn read(picture: &Picture, rect: Rect, size: Size) -> Option<Reading> {
    let mut bits = 0;
    for row in 0..ROWS {
        for column in 0..COLUMNS {
            let across = CODE_LEFT + CODE_WIDTH * (f64::from(column) + 0.5) / f64::from(COLUMNS);
            let down = CODE_TOP + CODE_HEIGHT * (f64::from(row) + 0.5) / f64::from(ROWS);
            let (x, y) = place(rect, size, across, down);
            let bit = u32::from(color(picture, x, y)[0] > WHITE / 2);
            bits |= bit << (row * COLUMNS + column);
        }
    }
    Reading::of_bits(bits)
}

/// The whole of a canvas.
pub fn whole(size: Size) -> Rect {
    Rect {
        x: 0,
        y: 0,
        width: size.width().try_into().unwrap(),
        height: size.height().try_into().unwrap(),
    }
}

/// What a source sends.
#[derive(Clone, Copy)]
pub struct Filmed {
    pub present: Present,
    /// Whose colour and barcode; `None`: whatever.
    pub card: Option<u8>,
    pub size: Size,
}

impl Filmed {
    pub fn camera(seat: u8, size: Size) -> Self {
        Filmed {
            present: camera(seat),
            card: Some(seat),
            size,
        }
    }

    /// A camera of whose picture nothing is known.
    pub fn whatever(seat: u8, size: Size) -> Self {
        Filmed {
            card: None,
            ..Filmed::camera(seat, size)
        }
    }
}

fn camera(seat: u8) -> Present {
    Present {
        seat: SeatIndex(seat),
        source: SourceKind::Camera,
    }
}

/// The rectangles of these seats' cameras, in drawing order.
pub fn tiles(layout: &Layout, canvas: Size, seats: &[u8]) -> Vec<Tile> {
    let present: Vec<Present> = seats.iter().copied().map(camera).collect();
    layout.arrange(canvas, &present)
}

/// The cards of these seats are in their places, all others are not there: their readings; or what is wrong.
pub fn arranged(picture: &Picture, layout: &Layout, seats: &[u8], size: Size) -> Result<Vec<Reading>, String> {
    let cameras: Vec<Filmed> = seats.iter().map(|seat| Filmed::camera(*seat, size)).collect();
    arranged_of(picture, layout, &cameras)
}

/// The same of any sources.
pub fn arranged_of(picture: &Picture, layout: &Layout, sources: &[Filmed]) -> Result<Vec<Reading>, String> {
    let present: Vec<Present> = sources.iter().map(|source| source.present).collect();
    let tiles = layout.arrange(picture.size(), &present);
    let check = |(at, tile): (usize, &Tile)| {
        let is_its = |source: &&Filmed| (source.present.seat, source.present.source) == (tile.seat, tile.source);
        let Filmed { card, size, .. } = *sources.iter().find(is_its).expect("a tile of one of them");
        let card = card?;
        let wrong = |what: String| format!("card {card} in {:?}: {what}", tile.rect);
        Some(stands(picture, layout, &tiles, at, card, size).map_err(wrong))
    };
    tiles.iter().enumerate().filter_map(check).collect()
}

/// A card is on the tile of this number, or what is wrong.
fn stands(
    picture: &Picture,
    layout: &Layout,
    tiles: &[Tile],
    at: usize,
    card: u8,
    size: Size,
) -> Result<Reading, String> {
    let tile = &tiles[at];
    let rect = seen(tile, size);
    let reading = read(picture, rect, size).ok_or("no barcode")?;
    if reading.seat != card {
        return Err(format!("the barcode of card {}", reading.seat));
    }
    let covered = tiles[at + 1..].iter().any(|over| {
        let (one, other) = (tile.rect, over.rect);
        one.x < other.x + other.width
            && other.x < one.x + one.width
            && one.y < other.y + other.height
            && other.y < one.y + one.height
    });
    // What lies above it hides these.
    if !covered {
        in_color(picture, rect, card)?;
    }
    // Rounded corners have no edge there.
    if tile.radius == 0 && tiles.len() > 1 && !covered {
        edges(picture, rect, card, color_of(layout.background.color))?;
    }
    if tile.fit == Fit::Contain {
        bars(picture, tile.rect, rect, color_of(layout.placeholder.color))?;
    }
    Ok(reading)
}

/// What the picture covers of its tile.
fn seen(tile: &Tile, size: Size) -> Rect {
    if tile.fit != Fit::Contain {
        return tile.rect;
    }
    let (width, height) = (size.width() as f64, size.height() as f64);
    let (most_wide, most_high) = (f64::from(tile.rect.width), f64::from(tile.rect.height));
    let scale = (most_wide / width).min(most_high / height);
    let (width, height) = ((width * scale) as u16, (height * scale) as u16);
    Rect {
        x: tile.rect.x + (tile.rect.width - width) / 2,
        y: tile.rect.y + (tile.rect.height - height) / 2,
        width,
        height,
    }
}

/// What is left of a tile beside its picture is of this colour, at the middle of each side.
fn bars(picture: &Picture, tile: Rect, inner: Rect, expected: [u8; 3]) -> Result<(), String> {
    let right = tile.width - inner.width - (inner.x - tile.x);
    let below = tile.height - inner.height - (inner.y - tile.y);
    let (middle_x, middle_y) = (inner.x + inner.width / 2, inner.y + inner.height / 2);
    let sides = [
        (inner.x - tile.x, tile.x + (inner.x - tile.x) / 2, middle_y),
        (right, inner.x + inner.width + right / 2, middle_y),
        (inner.y - tile.y, middle_x, tile.y + (inner.y - tile.y) / 2),
        (below, middle_x, inner.y + inner.height + below / 2),
    ];
    for (wide, x, y) in sides {
        let found = color(picture, x.into(), y.into());
        if i32::from(wide) > 4 * EDGE_PIXELS && !is_near(found, expected) {
            return Err(format!("{found:?} and not {expected:?} in the bar at {x}, {y}"));
        }
    }
    Ok(())
}

/// Above and below the barcode, away from labels at the lower left.
fn in_color(picture: &Picture, rect: Rect, seat: u8) -> Result<(), String> {
    let expected = COLORS[usize::from(seat)];
    for (across, down) in [(0.2, 0.2), (0.5, 0.22), (0.8, 0.2), (0.66, 0.78), (0.85, 0.8)] {
        let found = color_in(picture, rect, across, down);
        if !is_near(found, expected) {
            return Err(format!("{found:?} and not {expected:?} at {across} × {down}"));
        }
    }
    Ok(())
}

/// Outside the tile is not its colour, inside is not the background's. What is drawn around it counts as the tile.
fn edges(picture: &Picture, rect: Rect, seat: u8, background: [u8; 3]) -> Result<(), String> {
    let (left, top) = (i32::from(rect.x), i32::from(rect.y));
    let (right, bottom) = (left + i32::from(rect.width), top + i32::from(rect.height));
    let (x, y) = (left + (right - left) * 4 / 5, top + (bottom - top) / 4);
    let sides = [
        ("left", (left - 1 - EDGE_PIXELS, y), (left + EDGE_PIXELS, y)),
        ("right", (right + EDGE_PIXELS, y), (right - 1 - EDGE_PIXELS, y)),
        ("upper", (x, top - 1 - EDGE_PIXELS), (x, top + EDGE_PIXELS)),
        ("lower", (x, bottom + EDGE_PIXELS), (x, bottom - 1 - EDGE_PIXELS)),
    ];
    for (side, outside, inside) in sides {
        let found = pixel(picture, outside.0, outside.1);
        if found.is_some_and(|found| is_near(found, COLORS[usize::from(seat)])) {
            return Err(format!("{found:?} beyond the {side} edge, at {outside:?}"));
        }
        let found = pixel(picture, inside.0, inside.1).expect("a tile is on the canvas");
        if is_near(found, background) {
            return Err(format!("{found:?} within the {side} edge, at {inside:?}"));
        }
    }
    Ok(())
}

/// BT.709, limited range.
pub fn color_of(color: costage::mix::layout::Color) -> [u8; 3] {
    let [red, green, blue] = [color.red, color.green, color.blue].map(|part| f64::from(part) / 255.0);
    let luma = 0.2126 * red + 0.7152 * green + 0.0722 * blue;
    let chroma = |part: f64, range: f64| (128.0 + 224.0 * (part - luma) / range).round() as u8;
    [
        (16.0 + 219.0 * luma).round() as u8,
        chroma(blue, 1.8556),
        chroma(red, 1.5748),
    ]
}

#[test]
fn a_card_is_found_where_it_was_drawn_and_nowhere_else() {
    let size = Size::even(320, 180).unwrap();
    let card = draw(size, 7, 1234);
    let reading = Reading { seat: 7, frame: 1234 };
    assert_eq!(read(&card, whole(size), size), Some(reading));
    assert_eq!(read(&flat(size, COLORS[7]), whole(size), size), None);
    let found = arranged(&card, &Layout::default(), &[7], size);
    assert_eq!(found, Ok(vec![reading]));
    assert!(arranged(&card, &Layout::default(), &[6], size).is_err());
    assert!(arranged(&card, &Layout::default(), &[6, 7], size).is_err());
    let screen = Filmed {
        present: Present {
            seat: SeatIndex(0),
            source: SourceKind::Screen,
        },
        card: Some(7),
        size,
    };
    // A screen is whole: what has its shape is found all over, what has another one between bars.
    assert_eq!(arranged_of(&card, &Layout::default(), &[screen]), Ok(vec![reading]));
    let upright = Filmed {
        size: Size::even(180, 320).unwrap(),
        ..screen
    };
    assert!(arranged_of(&card, &Layout::default(), &[upright]).is_err());
    let reads = (0..FRAMES).filter(|frame| {
        let reading = Reading { seat: 3, frame: *frame };
        Reading::of_bits(reading.bits() ^ 1 << 13).is_some()
    });
    assert_eq!(reads.count(), 0, "one wrong block is noticed");
}
