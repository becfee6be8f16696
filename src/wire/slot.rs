//! The slots of a stage viewer.

use super::codec_name;
use crate::forward::{SlotReport, SlotState, SourceKind};
use serde::Serialize;
use utoipa::ToSchema;

/// What is in a slot.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Slot)]
pub struct SlotOut {
    slot: usize,
    seat: u8,
    /// `camera` or `screen`; `program` where the room's mixed program is watched.
    source: &'static str,
    /// Of the video: `h264`, `vp8`, `vp9` or `av1`; `opus` where there is audio only.
    codec: Option<&'static str>,
    state: SlotStateName,
}

#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = SlotState)]
enum SlotStateName {
    Live,
    Muted,
    NoMedia,
    CodecUnsupported,
}

impl From<&SlotReport> for SlotOut {
    fn from(report: &SlotReport) -> Self {
        SlotOut {
            slot: report.slot,
            seat: report.seat.0,
            source: source_name(report.source),
            codec: report.codec.map(codec_name),
            state: match report.state {
                SlotState::Live => SlotStateName::Live,
                SlotState::Muted => SlotStateName::Muted,
                SlotState::NoMedia => SlotStateName::NoMedia,
                SlotState::CodecUnsupported => SlotStateName::CodecUnsupported,
            },
        }
    }
}

pub fn source_name(source: SourceKind) -> &'static str {
    match source {
        SourceKind::Camera => "camera",
        SourceKind::Screen => "screen",
        SourceKind::Program => "program",
    }
}
