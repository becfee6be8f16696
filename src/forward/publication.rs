//! The publisher's side of a source.

use super::{FeedDescription, FeedUpdate, LayerIndex, Permission, SourceId};
use crate::rtp::parameters::ReceiveParameters;
use crate::rtp::{MediaKind, PacketView};
use std::time::Instant;

/// A packet that passed the publisher's side: to be stored in the local feed and in every other worker's.
#[derive(Clone, Copy, Debug)]
pub struct Ingested<'p> {
    pub kind: MediaKind,
    pub layer: LayerIndex,
    pub packet: PacketView<'p>,
}

/// What the owner of a publication has to pass on.
#[derive(Clone, Debug, PartialEq)]
pub enum PublicationEvent {
    /// Goes to every feed of the source.
    Feed(FeedUpdate),
    /// A track's packets began, or none came for 1 s (SEATS.md row 15).
    Media { kind: MediaKind, flowing: bool },
    /// The size of the largest layer, from its last keyframe.
    VideoSize { width: u16, height: u16 },
}

/// One publisher's media: which stream is which, what is missing, and the feedback the publisher gets.
pub struct Publication {}

impl Publication {
    /// `feedback_ssrc`: the SSRC the server's RTCP comes from.
    pub fn new(
        _id: SourceId,
        _parameters: ReceiveParameters,
        _permission: Permission,
        _feedback_ssrc: u32,
        _now: Instant,
    ) -> Self {
        todo!()
    }
    pub fn description(&self) -> FeedDescription {
        todo!()
    }
    /// Takes one decrypted RTP packet (`index` = ROC ‖ SEQ of its SSRC). RTX is unwrapped; duplicates, padding-only,
    /// unknown and forbidden packets yield nothing and are counted.
    /// The result borrows from `packet` or from an internal scratch buffer.
    pub fn handle_rtp<'p>(&'p mut self, _packet: &'p mut [u8], _index: u64, _now: Instant) -> Option<Ingested<'p>> {
        todo!()
    }
    /// Takes one decrypted compound RTCP packet.
    pub fn handle_rtcp(&mut self, _compound: &[u8], _now: Instant) {
        todo!()
    }
    /// Some viewer needs a keyframe of this layer. Merged: at most one request per 500 ms, the first at once.
    pub fn request_keyframe(&mut self, _layer: LayerIndex, _now: Instant) {
        todo!()
    }
    /// Locks and mutes: what is not permitted is dropped here. Yields `FeedUpdate::Interrupted` for what stops.
    pub fn permit(&mut self, _permission: Permission, _now: Instant) {
        todo!()
    }
    pub fn handle_timeout(&mut self, _now: Instant) {
        todo!()
    }
    pub fn poll_timeout(&self) -> Option<Instant> {
        todo!()
    }
    pub fn poll_event(&mut self) -> Option<PublicationEvent> {
        todo!()
    }
    /// The next compound RTCP packet for the publisher (NACK, PLI/FIR, TWCC, receiver reports, REMB), plain, written to
    /// `out` (cleared first). `false`: nothing due.
    pub fn poll_rtcp(&mut self, _now: Instant, _out: &mut Vec<u8>) -> bool {
        todo!()
    }
}
