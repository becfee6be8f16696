//! What a session description settled about the RTP of one peer (after W3C's `RTCRtpParameters`).

use crate::rtp::{Codec, ExtensionMap, MediaKind};

/// Feedback both sides agreed on for one m-line (RFC 4585, RFC 5104, transport-wide-cc-01).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Feedback {
    pub nack: bool,
    pub pli: bool,
    pub fir: bool,
    pub transport_cc: bool,
    pub remb: bool,
}

/// One m-line on which a publisher sends.
#[derive(Clone, Debug, PartialEq)]
pub struct ReceiveTrack {
    pub mid: String,
    pub codec: Codec,
    pub payload_type: u8,
    pub rtx_payload_type: Option<u8>,
    pub extensions: ExtensionMap,
    pub feedback: Feedback,
    /// Simulcast encodings by RID, in the offer's order; empty without simulcast.
    pub rids: Vec<String>,
    /// (media SSRC, RTX SSRC) as far as the offer names them.
    pub ssrcs: Vec<(u32, Option<u32>)>,
}

/// What a publisher sends: at most one audio and one video track.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReceiveParameters {
    pub audio: Option<ReceiveTrack>,
    pub video: Option<ReceiveTrack>,
}

/// A codec a viewer takes on an m-line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendCodec {
    pub codec: Codec,
    pub payload_type: u8,
    pub rtx_payload_type: Option<u8>,
}

/// One m-line on which a viewer receives.
#[derive(Clone, Debug, PartialEq)]
pub struct SendTrack {
    pub kind: MediaKind,
    pub mid: String,
    /// Every codec both sides know, with its RTX; a new occupant's codec only changes the payload type.
    pub codecs: Vec<SendCodec>,
    pub extensions: ExtensionMap,
    pub feedback: Feedback,
    pub ssrc: u32,
    /// Used only for codecs with an RTX payload type.
    pub rtx_ssrc: u32,
}

/// The i-th offered audio and the i-th offered video m-line.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SendSlot {
    pub audio: Option<SendTrack>,
    pub video: Option<SendTrack>,
}

/// What a viewer receives.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SendParameters {
    pub slots: Vec<SendSlot>,
    /// CNAME of everything sent to this viewer.
    pub cname: String,
}
