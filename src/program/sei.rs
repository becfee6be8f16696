//! What a mixed picture says of itself, for those who want to draw over it or to measure its way: when it is of, and who is
//! where on it. It travels in the picture's own access unit, as `user_data_unregistered` SEI, so it is there in every output.
//! Pure; the time of day is an argument.

use crate::forward::SourceKind;
use crate::mix::codec::EncodedPicture;
use crate::mix::layout::Tile;
use crate::mix::picture::Size;
use crate::room::ProgramSei;
use crate::rtp::h264::with_user_data;
use serde::Serialize;

/// Says that the data behind it is this JSON: 6f1d7c2a-9b54-4e0f-8a37-c05746e9d1b3.
pub const UUID: [u8; 16] = [
    0x6f, 0x1d, 0x7c, 0x2a, 0x9b, 0x54, 0x4e, 0x0f, 0x8a, 0x37, 0xc0, 0x57, 0x46, 0xe9, 0xd1, 0xb3,
];

/// The JSON.
#[derive(Debug, Serialize)]
struct Message {
    /// Milliseconds since 1970 on the node's clock: the program's time that the picture is of.
    utc_ms: i64,
    #[serde(flatten)]
    layout: Option<LayoutOut>,
}

#[derive(Debug, Serialize)]
struct LayoutOut {
    /// Width and height in pixels.
    canvas: [usize; 2],
    /// In drawing order.
    tiles: Vec<TileOut>,
}

/// In pixels of the canvas.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct TileOut {
    seat: u8,
    source: &'static str,
    x: u16,
    y: u16,
    w: u16,
    h: u16,
}

/// Writes it into pictures.
#[derive(Debug, Default)]
pub(super) struct Sei {
    /// The tiles that were told last, if they were.
    told: Option<Vec<TileOut>>,
    /// The last picture with its message; kept for its capacity.
    unit: Vec<u8>,
}

impl Sei {
    /// The layout goes with each keyframe, where a viewer may begin, and with each picture that has another one.
    pub fn write<'p>(
        &'p mut self,
        wanted: ProgramSei,
        picture: EncodedPicture<'p>,
        utc_ms: i64,
        canvas: Size,
        tiles: impl Iterator<Item = &'p Tile>,
    ) -> EncodedPicture<'p> {
        let layout = match wanted {
            ProgramSei::None | ProgramSei::Timestamp => {
                self.told = None;
                None
            }
            ProgramSei::Layout => {
                let tiles: Vec<TileOut> = tiles.map(TileOut::from).collect();
                let is_news = picture.keyframe || self.told.as_ref() != Some(&tiles);
                is_news.then(|| {
                    self.told = Some(tiles.clone());
                    let canvas = [canvas.width(), canvas.height()];
                    LayoutOut { canvas, tiles }
                })
            }
        };
        if wanted == ProgramSei::None {
            return picture;
        }
        // numbers and strings alone do not fail
        let Ok(message) = serde_json::to_vec(&Message { utc_ms, layout }) else {
            return picture;
        };
        self.unit.clear();
        with_user_data(picture.bytes, &UUID, &message, &mut self.unit);
        EncodedPicture {
            bytes: &self.unit,
            ..picture
        }
    }
}

impl From<&Tile> for TileOut {
    fn from(tile: &Tile) -> Self {
        let rect = tile.rect;
        TileOut {
            seat: tile.seat.0,
            source: match tile.source {
                SourceKind::Camera => "camera",
                SourceKind::Screen => "screen",
                SourceKind::Program => "program",
            },
            x: rect.x,
            y: rect.y,
            w: rect.width,
            h: rect.height,
        }
    }
}
