//! What a program should be: the desired state that the control plane hands over, whole, whenever it changes.

use crate::forward::{SeatIndex, SourceInfo};
use crate::mix::layout::{Layout, Present};
use crate::mix::picture::Size;
use crate::room::ProgramSettings;
use std::sync::Arc;

/// Everything the program's picture and sound are made from. A newer one replaces the one before.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    pub settings: ProgramSettings,
    pub layout: Layout,
    /// The room's sources, without the program itself; those that are not connected are awaited.
    pub sources: Arc<[SourceInfo]>,
    /// The canvas: another one is another encoder.
    pub size: Size,
    /// Whose tiles there are, in order of seats.
    pub present: Vec<Present>,
    /// Who sits where, in order of seats.
    pub people: Vec<Seated>,
    /// The seats whose voices are left out for somebody, in their order.
    pub listeners: Vec<SeatIndex>,
    /// Somebody can begin at keyframes only: HLS, FLV, RTMP, a recording.
    pub needs_keyframes: bool,
}

/// Somebody on a seat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seated {
    pub seat: SeatIndex,
    /// What the label says.
    pub name: Arc<str>,
    pub user: Arc<str>,
    /// Or locked.
    pub audio_muted: bool,
    /// Or locked.
    pub video_muted: bool,
}
