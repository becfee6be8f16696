//! What a program should be: the desired state that the control plane hands over, whole, whenever it changes.

use crate::forward::{SeatIndex, SourceInfo};
use crate::mix::layout::{Layout, Present};
use crate::mix::picture::Size;
use crate::room::{ProgramSettings, ProgramVideo};
use std::sync::Arc;

/// The canvas without a host's picture to go by (API.md).
const DEFAULT_SIZE: (u16, u16) = (1280, 720);

/// Everything the program's picture and sound are made from. A newer one replaces the one before.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    pub settings: ProgramSettings,
    pub layout: Layout,
    /// The room's sources, without the program itself; those that are not connected are awaited.
    pub sources: Arc<[SourceInfo]>,
    /// Width and height of the host's camera in pixels, where it is known.
    pub host_size: Option<(u16, u16)>,
    /// Whose tiles there are, in order of seats.
    pub present: Vec<Present>,
    /// Who sits where, in order of seats.
    pub people: Vec<Seated>,
}

/// The canvas' size: as the settings say, or what the host sends, or the default.
pub fn canvas(video: &ProgramVideo, host_size: Option<(u16, u16)>) -> Size {
    let host = host_size.and_then(|(width, height)| Size::even(width, height));
    let (width, height) = DEFAULT_SIZE;
    let default = || Size::even(width, height).expect("neither is 0");
    video.size.or(host).unwrap_or_else(default)
}

/// Somebody on a seat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seated {
    pub seat: SeatIndex,
    /// What the label says.
    pub name: Arc<str>,
    pub audio_muted: bool,
}
