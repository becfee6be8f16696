//! Forwarding: from one publisher's packets to every viewer's. Pure; time base is the worker's `now`.
//!
//! ```text
//! publisher's worker                                every worker with viewers of the source (that one included)
//! decrypted RTP ─▶ Publication ─▶ Ingested ─┬─────▶ Feed (rings, clock, layers) ─▶ Viewer (slots, switchers) ─▶ Batch
//!                    ▲    └─▶ RTCP feedback └ lane ▶ Feed …
//!                    └──────── keyframe requests ◀──────────┘
//! ```
//! [`Publication`] owns what is per publisher: demultiplexing, loss, feedback, keyframe broker. [`Feed`] is what one worker
//! keeps of a source: rings that serve starts and retransmissions. [`Viewer`] owns what is per viewer: a seat plan (`slots`),
//! and per m-line an outgoing stream (`outgoing`) whose numbering (`switcher`) goes on over layers and sources. What a program
//! says of whose voice is where in its sound (`voices`) keeps a listener's own from them.

mod batch;
mod clock;
mod feed;
mod feeds;
mod header;
mod keyframe;
mod outgoing;
mod publication;
mod retransmit;
#[cfg(test)]
mod simulation;
mod slots;
mod switcher;
mod viewer;
mod voices;

pub use batch::{Batch, Seal};
pub use feed::{Feed, FeedDescription, FeedUpdate};
pub use feeds::Feeds;
pub use publication::{Ingested, Publication, PublicationCounters, PublicationEvent, TrackDiagnosis};
pub use slots::{SlotReport, SlotState, View};
pub use viewer::{LayerPreference, Viewer, ViewerEvent};
pub use voices::Voice;

use crate::rtp::Codec;
use std::sync::Arc;

/// A source (camera or screen of a seat) while one transport publishes it, or a room's program while it runs; unique in a
/// node's lifetime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceId(pub u64);

/// 0 is the host's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SeatIndex(pub u8);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SourceKind {
    Camera,
    Screen,
    /// What the room makes of all others: its own, of no seat, and seen by who asked for the program only.
    Program,
}

/// One simulcast encoding of a track: index into the publisher's RIDs, 0 without simulcast.
///
/// Of a program's sound, 0 is the whole mix, and each further one is the mix [without](Self::without) one seat's voice. It
/// holds packets only where that is another sound than the whole: packets of one sequence number, whatever their layer,
/// stand for the same 20 ms, have the same timestamp, and a listener gets one of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LayerIndex(pub u8);

impl LayerIndex {
    /// Of a program's sound, the layer without this seat's voice.
    pub const fn without(seat: SeatIndex) -> Self {
        LayerIndex(seat.0.saturating_add(1))
    }
}

/// What may flow from a source: the seat's locks and mutes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permission {
    pub audio: bool,
    pub video: bool,
}

/// A source of a room as every worker of the room knows it. Desired state: a list of these replaces the one before.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceInfo {
    pub id: SourceId,
    /// Of a program, which has no seat: 0, and it means nothing.
    pub seat: SeatIndex,
    pub kind: SourceKind,
    /// The publishing user; a stage viewer's own sources are left out.
    pub user: Arc<str>,
    /// The worker that owns the publisher, or the [port](crate::worker::Port) of a program.
    pub worker: usize,
    pub audio: Option<Codec>,
    pub video: Option<Codec>,
    /// Simulcast encodings of the video, 1 without simulcast.
    pub layers: u8,
    pub permission: Permission,
    /// The publisher's transport is up.
    pub connected: bool,
}

impl SourceInfo {
    /// What is expected of a seat until more is known: Opus and H.264, permitted and connected, of nobody in particular.
    pub fn camera(id: SourceId, seat: SeatIndex) -> Self {
        SourceInfo {
            id,
            seat,
            kind: SourceKind::Camera,
            user: Arc::from(""),
            worker: 0,
            audio: Some(Codec::Opus),
            video: Some(Codec::H264),
            layers: 1,
            permission: Permission {
                audio: true,
                video: true,
            },
            connected: true,
        }
    }
}
