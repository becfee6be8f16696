//! What one worker keeps of a source.

use super::{LayerIndex, SourceId};
use crate::rtp::{Codec, MediaKind, PacketView};

/// What a feed has to be prepared for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeedDescription {
    pub audio: Option<Codec>,
    pub video: Option<Codec>,
    /// Simulcast encodings of the video, 1 without simulcast.
    pub layers: u8,
}

/// News of a source besides its packets; travels in the control lane between workers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FeedUpdate {
    /// The publisher's sender report, its NTP time already on the server's clock: one offset per source, so lip sync
    /// holds. 32.32 fixed-point seconds since 1900.
    Clock {
        kind: MediaKind,
        layer: LayerIndex,
        ntp: u64,
        rtp: u32,
    },
    /// The size of a layer, from its last keyframe.
    Size { layer: LayerIndex, width: u16, height: u16 },
    /// A layer began to arrive, or stopped (no packet for 1 s).
    Flowing {
        kind: MediaKind,
        layer: LayerIndex,
        flowing: bool,
    },
    /// Muted or locked: what comes next continues nothing.
    Interrupted { kind: MediaKind },
    /// The publisher does not answer keyframe requests: starts come from the ring, however old its keyframe is.
    IgnoresKeyframeRequests,
    /// Smoothed loudness of the audio, 0 (silent) ..= 127, at most 4 a second: orders stage slots.
    Loudness { level: u8 },
}

/// Rings and state of one source on one worker.
pub struct Feed {}

impl Feed {
    pub fn new(_id: SourceId, _description: FeedDescription) -> Self {
        todo!()
    }
    /// Keeps a packet and marks it fresh, to be forwarded by the next [`Viewer::forward`](super::Viewer::forward).
    pub fn store(&mut self, _kind: MediaKind, _layer: LayerIndex, _packet: PacketView) {
        todo!()
    }
    pub fn update(&mut self, _update: FeedUpdate) {
        todo!()
    }
    /// Anything stored since [`clear_fresh`](Self::clear_fresh)?
    pub fn has_fresh(&self) -> bool {
        todo!()
    }
    /// Called once all viewers were served.
    pub fn clear_fresh(&mut self) {
        todo!()
    }
}
