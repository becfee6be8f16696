//! A publisher's tracks and their layers.

use super::loudness::Loudness;
use super::news::{LayerNews, Paced};
use super::numbering::Numbering;
use super::sender_clock::SenderTime;
use crate::forward::LayerIndex;
use crate::forward::keyframe::KeyframeBroker;
use crate::rtp::parameters::ReceiveTrack;
use crate::rtp::{MediaKind, Reception};
use std::time::{Duration, Instant};

/// A layer without a packet for so long does not flow.
pub(super) const FLOW_TIMEOUT: Duration = Duration::from_secs(1);
/// Simulcast encodings of one track; browsers send three. Further RIDs are not taken.
const LAYERS_MAX: usize = 8;

/// One m-line of the publisher.
pub(super) struct Track {
    pub(super) kind: MediaKind,
    pub(super) parameters: ReceiveTrack,
    pub(super) layers: Vec<Layer>,
    /// Locked or muted if not.
    pub(super) permitted: bool,
    pub(super) flowing: bool,
    /// Of `flowing`.
    pub(super) news: Paced<bool>,
    /// Audio only.
    pub(super) loudness: Loudness,
}

/// One encoding of a track.
pub(super) struct Layer {
    pub(super) index: LayerIndex,
    /// Known from the description or from the first packet.
    pub(super) ssrc: Option<u32>,
    pub(super) reception: Reception,
    pub(super) numbering: Numbering,
    pub(super) broker: KeyframeBroker,
    /// Counts requests, for FIR.
    pub(super) command: u8,
    pub(super) last_packet: Option<Instant>,
    pub(super) flowing: bool,
    pub(super) size: Option<(u16, u16)>,
    /// Of the last sender report, unless the publisher's clock was set since.
    pub(super) sender_time: Option<SenderTime>,
    pub(super) news: LayerNews,
    /// When its numbers leapt last.
    pub(super) leapt: Option<Instant>,
    /// Sequences below came while the track was not permitted, or before.
    pub(super) floor: u64,
}

impl Track {
    pub(super) fn new(kind: MediaKind, parameters: ReceiveTrack, permitted: bool, now: Instant) -> Self {
        let count = parameters.rids.len().clamp(1, LAYERS_MAX);
        let layers = (0u8..)
            .take(count)
            .map(|index| Layer::new(LayerIndex(index), Self::reception(&parameters, now)));
        Track {
            kind,
            layers: layers.collect(),
            parameters,
            permitted,
            flowing: false,
            news: Paced::default(),
            loudness: Loudness::default(),
        }
    }

    /// Of a stream that nothing is known of yet.
    pub(super) fn reception(parameters: &ReceiveTrack, now: Instant) -> Reception {
        let repairs_apart = parameters.rtx_payload_type.is_some();
        Reception::new(parameters.codec.clock_rate(), repairs_apart, now)
    }

    /// At most [`LAYERS_MAX`].
    pub(super) fn layer_count(&self) -> u8 {
        self.layers.len() as u8
    }

    /// Can the publisher be asked for keyframes at all?
    pub(super) fn takes_keyframe_requests(&self) -> bool {
        self.parameters.feedback.pli || self.parameters.feedback.fir
    }

    /// Whether lost packets are asked for.
    pub(super) fn nacks(&self) -> bool {
        self.permitted && self.parameters.feedback.nack
    }
}

impl Layer {
    fn new(index: LayerIndex, reception: Reception) -> Self {
        Layer {
            index,
            ssrc: None,
            reception,
            numbering: Numbering::default(),
            broker: KeyframeBroker::default(),
            command: 0,
            last_packet: None,
            flowing: false,
            size: None,
            sender_time: None,
            news: LayerNews::default(),
            leapt: None,
            floor: 0,
        }
    }

    /// Another SSRC sends this layer from now on.
    pub(super) fn restart(&mut self, ssrc: u32, reception: Reception) {
        self.ssrc = Some(ssrc);
        self.reception = reception;
        self.numbering.restart();
        self.sender_time = None;
        self.news.clock.withdraw();
        self.floor = 0;
    }

    pub(super) fn flow_timeout(&self) -> Option<Instant> {
        self.last_packet
            .filter(|_| self.flowing)
            .map(|last| last + FLOW_TIMEOUT)
    }
}
