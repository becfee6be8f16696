//! The viewer's side: slots, and the sealed packets for them.

use super::{Feed, LayerIndex, SeatIndex, SourceId, SourceInfo, SourceKind};
use crate::rtp::parameters::SendParameters;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

/// Encrypts what a viewer is sent. Implemented by `transport::srtp::Sender`, and by nothing-doers in tests.
pub trait Seal {
    /// Encrypt `buffer[start..]` whose header is `header_len` long and append the tag. `index` is ROC ‖ SEQ.
    fn seal_rtp(&mut self, buffer: &mut Vec<u8>, start: usize, header_len: usize, ssrc: u32, index: u64);
    /// Encrypt the compound packet `buffer[start..]`.
    fn seal_rtcp(&mut self, buffer: &mut Vec<u8>, start: usize);
}

/// Sealed datagrams of one or more viewers, back to back.
#[derive(Debug, Default)]
pub struct Batch {
    pub bytes: Vec<u8>,
    /// End of each datagram in `bytes`, and the arrival time of the packet it forwards (`None`: RTCP, retransmission).
    pub datagrams: Vec<(usize, Option<Instant>)>,
}

/// What a viewer asked to see.
#[derive(Clone, Debug, PartialEq)]
pub enum View {
    /// The room's program; for now the host's camera, untouched. One slot.
    Program,
    Seat {
        seat: SeatIndex,
        kind: SourceKind,
    },
    /// Every source in a slot of its own; `leave_out`: the viewer's own user.
    Stage {
        leave_out: Option<Arc<str>>,
    },
}

/// What a viewer wants of a slot (`PATCH …/layers`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LayerPreference {
    /// In pixels; `None`: no limit.
    pub max_height: Option<u16>,
    pub paused: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotState {
    Live,
    Muted,
    NoMedia,
    CodecUnsupported,
}

/// One row of `stage.slots`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotReport {
    pub slot: usize,
    pub seat: SeatIndex,
    pub source: SourceKind,
    pub codec: Option<crate::rtp::Codec>,
    pub state: SlotState,
}

#[derive(Clone, Debug, PartialEq)]
pub enum ViewerEvent {
    /// Ask the source's publication for a keyframe.
    KeyframeWanted {
        source: SourceId,
        layer: LayerIndex,
    },
    Slots(Vec<SlotReport>),
    /// The first packet of any kind, and the first complete keyframe, went out: for the join metrics.
    FirstMedia,
    FirstKeyframe,
}

/// One viewer's media.
pub struct Viewer {}

impl Viewer {
    pub fn new(_parameters: SendParameters, _view: View, _feedback_ssrc: u32, _now: Instant) -> Self {
        todo!()
    }
    /// The room's sources are now these: decide who is in which slot. Twice equals once.
    pub fn reconcile(&mut self, _sources: &[SourceInfo], _feeds: &HashMap<SourceId, Feed>, _now: Instant) {
        todo!()
    }
    /// The sources this viewer's slots show.
    pub fn wanted(&self) -> impl Iterator<Item = SourceId> + '_ {
        std::iter::empty()
    }
    /// Media may flow (the transport is connected), or the viewer's queue overflowed (`false`, then `true` once it
    /// drained): video then goes on at a keyframe only.
    pub fn set_open(&mut self, _open: bool, _now: Instant) {
        todo!()
    }
    /// Append what is fresh in `feeds`, sealed.
    pub fn forward<S: Seal>(
        &mut self,
        _feeds: &HashMap<SourceId, Feed>,
        _seal: &mut S,
        _batch: &mut Batch,
        _now: Instant,
    ) {
        todo!()
    }
    /// Takes one decrypted compound RTCP packet: NACKs are answered by RTX into `batch`, PLI and FIR become events.
    pub fn handle_rtcp<S: Seal>(
        &mut self,
        _compound: &[u8],
        _feeds: &HashMap<SourceId, Feed>,
        _seal: &mut S,
        _batch: &mut Batch,
        _now: Instant,
    ) {
        todo!()
    }
    pub fn prefer(&mut self, _slot: usize, _preference: LayerPreference, _now: Instant) -> bool {
        todo!()
    }
    /// Sender reports, slot changes, layer choice, repeated keyframe wishes.
    pub fn handle_timeout<S: Seal>(
        &mut self,
        _feeds: &HashMap<SourceId, Feed>,
        _seal: &mut S,
        _batch: &mut Batch,
        _now: Instant,
    ) {
        todo!()
    }
    pub fn poll_timeout(&self) -> Option<Instant> {
        todo!()
    }
    pub fn poll_event(&mut self) -> Option<ViewerEvent> {
        todo!()
    }
}
