//! Which of the offered formats the server knows, and which of them it would rather have.

use crate::rtp::parameters::Feedback;
use crate::rtp::{Codec, Extension, ExtensionMap};

/// A payload type of an m-line whose codec the server forwards.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Format {
    pub codec: Codec,
    pub payload_type: u8,
    /// Payload type of its retransmissions (RFC 4588).
    pub rtx: Option<u8>,
    /// Value of `a=rtpmap`, as offered.
    pub rtpmap: String,
    /// Value of `a=fmtp`, as offered.
    pub fmtp: Option<String>,
    pub feedback: OfferedFeedback,
}

/// The codec of an `a=rtpmap` value; names are case-insensitive (RFC 8866 6.6).
pub(super) fn codec(rtpmap: &str) -> Option<Codec> {
    match rtpmap.to_ascii_lowercase().as_str() {
        "opus/48000/2" => Some(Codec::Opus),
        "h264/90000" => Some(Codec::H264),
        "vp8/90000" => Some(Codec::Vp8),
        "vp9/90000" => Some(Codec::Vp9),
        "av1/90000" => Some(Codec::Av1),
        _ => None,
    }
}

/// A parameter of an `a=fmtp` value.
pub(super) fn parameter<'a>(fmtp: &'a str, name: &str) -> Option<&'a str> {
    fmtp.split(';').find_map(|pair| {
        let (key, value) = pair.trim().split_once('=')?;
        key.trim().eq_ignore_ascii_case(name).then_some(value.trim())
    })
}

/// How an H.264 payload type packs NAL units (RFC 6184 6.1).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Packetization {
    /// Fragments and aggregates, what everybody sends.
    NonInterleaved,
    /// The format says nothing at all, as GStreamer's players do, and takes everything.
    Unsaid,
    SingleNal,
    Interleaved,
}

impl Format {
    fn parameter(&self, name: &str) -> Option<&str> {
        parameter(self.fmtp.as_deref()?, name)
    }

    fn packetization(&self) -> Packetization {
        match (self.parameter("packetization-mode"), self.parameter("profile-level-id")) {
            (Some("1"), _) => Packetization::NonInterleaved,
            (None, None) => Packetization::Unsaid,
            (None | Some("0"), _) => Packetization::SingleNal,
            _ => Packetization::Interleaved,
        }
    }

    /// Among formats of one codec, the lower the better: what most decoders take.
    pub fn rank(&self) -> u8 {
        let plain_profile = |name| u8::from(self.parameter(name).is_some_and(|profile| profile != "0"));
        match self.codec {
            Codec::H264 => self.rank_h264(),
            Codec::Vp9 => plain_profile("profile-id"),
            Codec::Av1 => plain_profile("profile"),
            Codec::Opus | Codec::Vp8 => 0,
        }
    }

    fn rank_h264(&self) -> u8 {
        let profile = self
            .parameter("profile-level-id")
            .unwrap_or_default()
            .to_ascii_lowercase();
        match self.packetization() {
            Packetization::NonInterleaved if profile == "42e01f" => 0,
            Packetization::NonInterleaved if profile.starts_with("42e0") => 1,
            Packetization::NonInterleaved if profile.starts_with("42") => 2,
            Packetization::NonInterleaved => 3,
            Packetization::Unsaid => 4,
            Packetization::SingleNal => 5,
            Packetization::Interleaved => 6,
        }
    }

    /// Whether a viewer can be sent a publisher's packets as they are under this payload type: H.264 comes fragmented.
    pub fn takes_our_packets(&self) -> bool {
        self.codec != Codec::H264
            || matches!(
                self.packetization(),
                Packetization::NonInterleaved | Packetization::Unsaid
            )
    }

    /// The `a=fmtp` value of the answer to a publisher: as offered, for all of it (FEC, DTX, frame length) describes what
    /// the sender would like to send. Only stereo has one name for sending and another for receiving (RFC 7587 7.1).
    pub fn answered_fmtp(&self) -> Option<String> {
        let fmtp = self.fmtp.as_deref()?;
        let asks_stereo = self.codec == Codec::Opus && parameter(fmtp, "sprop-stereo") == Some("1");
        Some(match parameter(fmtp, "stereo") {
            None if asks_stereo => format!("{fmtp};stereo=1"),
            _ => fmtp.to_owned(),
        })
    }
}

/// The `a=rtcp-fb` lines of a format that mean something to us.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct OfferedFeedback(Feedback);

impl OfferedFeedback {
    /// Takes the value of one `a=rtcp-fb` without its payload type.
    pub fn add(&mut self, value: &str) {
        match value.trim() {
            "nack" => self.0.nack = true,
            "nack pli" => self.0.pli = true,
            "ccm fir" => self.0.fir = true,
            "transport-cc" => self.0.transport_cc = true,
            "goog-remb" => self.0.remb = true,
            _ => {}
        }
    }

    /// The values, as `a=rtcp-fb` writes them, that were offered and are among the settled ones of the m-line.
    pub fn answered(&self, settled: Feedback) -> impl Iterator<Item = &'static str> {
        let offered = self.0;
        let all = [
            (offered.nack && settled.nack, "nack"),
            (offered.pli && settled.pli, "nack pli"),
            (offered.fir && settled.fir, "ccm fir"),
            (offered.transport_cc && settled.transport_cc, "transport-cc"),
            (offered.remb && settled.remb, "goog-remb"),
        ];
        all.into_iter().filter(|(agreed, _)| *agreed).map(|(_, value)| value)
    }

    /// What is agreed on. Transport-wide feedback takes its lines and its extension; with it, REMB and the send times it
    /// is computed from would be a second opinion nobody asked for.
    pub fn settled(&self, extensions: &mut ExtensionMap) -> Feedback {
        let mut feedback = self.0;
        feedback.transport_cc &= extensions.id(Extension::TransportCc).is_some();
        if feedback.transport_cc {
            feedback.remb = false;
            extensions.set(Extension::AbsSendTime, 0);
        } else {
            extensions.set(Extension::TransportCc, 0);
        }
        feedback
    }
}
