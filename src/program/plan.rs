//! What a program should be: the desired state that the control plane hands over, whole, whenever it changes.

use crate::forward::{SeatIndex, SourceInfo};
use crate::mix::layout::{Layout, Present};
use crate::room::ProgramSettings;
use std::sync::Arc;

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
    /// The seats whose voices are left out for somebody, in their order.
    pub listeners: Vec<SeatIndex>,
}

/// Somebody on a seat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seated {
    pub seat: SeatIndex,
    /// What the label says.
    pub name: Arc<str>,
    pub audio_muted: bool,
}
