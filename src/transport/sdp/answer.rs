//! Writing answers.

use super::codec::Format;
use super::media::Media;
use super::{Local, Offer};
use crate::rtp::parameters::{Feedback, ReceiveTrack, SendTrack};
use crate::rtp::{Extension, ExtensionMap, MediaKind};
use crate::transport::ice::{Candidate, Protocol};
use std::fmt::{Display, Write};

/// Type preferences of host candidates (RFC 8445 5.1.2.2): UDP before TCP (RFC 6544 4.2).
const PREFERENCE_UDP: u32 = 126;
const PREFERENCE_TCP: u32 = 90;

/// What the server says about an m-line it accepts.
pub(super) struct Line<'a> {
    formats: Vec<AnsweredFormat<'a>>,
    extensions: ExtensionMap,
    feedback: Feedback,
    role: Role<'a>,
}

struct AnsweredFormat<'a> {
    format: &'a Format,
    fmtp: Option<String>,
}

enum Role<'a> {
    Receive {
        rids: &'a [String],
    },
    Send {
        track: &'a SendTrack,
        slot: usize,
        cname: &'a str,
    },
}

impl<'a> Line<'a> {
    /// A publisher's: the one format chosen.
    pub fn receive(track: &'a ReceiveTrack, format: &'a Format) -> Self {
        Line {
            formats: vec![AnsweredFormat {
                format,
                fmtp: format.answered_fmtp(),
            }],
            extensions: track.extensions,
            feedback: track.feedback,
            role: Role::Receive { rids: &track.rids },
        }
    }

    /// A viewer's: every format it can be sent, in the order of `track.codecs`, those to be used first.
    pub fn send(track: &'a SendTrack, slot: usize, cname: &'a str, media: &'a Media) -> Self {
        let mut formats: Vec<&Format> = media
            .formats
            .iter()
            .filter(|format| format.takes_our_packets())
            .collect();
        formats.sort_by_key(|format| (format.codec, format.rank()));
        Line {
            formats: formats
                .into_iter()
                .map(|format| AnsweredFormat {
                    format,
                    fmtp: format.fmtp.clone(),
                })
                .collect(),
            extensions: track.extensions,
            feedback: track.feedback,
            role: Role::Send { track, slot, cname },
        }
    }
}

/// An answer in the making. The m-lines come in the offer's order.
pub(super) struct Answer<'a> {
    offer: &'a Offer,
    local: &'a Local<'a>,
    /// The m-lines.
    body: String,
    bundle: Vec<&'a str>,
}

/// Appends lines; writing to a `String` cannot fail.
macro_rules! line {
    ($to:expr, $($format:tt)*) => {{
        let _ = write!($to, $($format)*);
        $to.push_str("\r\n");
    }};
}

impl<'a> Answer<'a> {
    pub fn new(offer: &'a Offer, local: &'a Local<'a>) -> Self {
        Answer {
            offer,
            local,
            body: String::with_capacity(4096),
            bundle: Vec::new(),
        }
    }

    pub fn reject(&mut self, media: &Media) {
        line!(
            self.body,
            "m={} 0 {} {}",
            media.name,
            media.protocol,
            media.first_format
        );
        line!(self.body, "c=IN IP4 0.0.0.0");
        self.mid(media);
        line!(self.body, "a=inactive");
        // GStreamer 1.22 refuses an answer without these on any m-line
        self.transport();
    }

    pub fn accept(&mut self, media: &'a Media, line: Line) {
        let mut payload_types = String::new();
        for AnsweredFormat { format, .. } in &line.formats {
            for number in [Some(format.payload_type), format.rtx].into_iter().flatten() {
                let _ = write!(payload_types, " {number}");
            }
        }
        line!(self.body, "m={} 9 {}{payload_types}", media.name, media.protocol);
        line!(self.body, "c=IN IP4 0.0.0.0");
        line!(self.body, "a=rtcp:9 IN IP4 0.0.0.0");
        self.mid(media);
        let direction = if matches!(line.role, Role::Send { .. }) {
            "sendonly"
        } else {
            "recvonly"
        };
        line!(self.body, "a={direction}");
        line!(self.body, "a=rtcp-mux");
        line!(self.body, "a=rtcp-rsize");
        self.transport();
        // The transport is that of the first m-line, where its candidates would be enough (RFC 9143 7.1.3). aiortc 1.16
        // keeps only those of the last m-line that shares a transport, and never connects if there are none.
        candidates(&mut self.body, self.local.candidates);
        self.formats(&line);
        for (extension, id) in Extension::ALL
            .iter()
            .filter_map(|known| Some((known, line.extensions.id(*known)?)))
        {
            line!(self.body, "a=extmap:{id} {}", extension.uri());
        }
        match line.role {
            Role::Receive { rids } => self.rids(media, rids),
            Role::Send { track, slot, cname } => self.source(track, slot, cname),
        }
        self.bundle.push(&media.mid);
    }

    pub fn finish(self) -> String {
        let mut text = String::with_capacity(self.body.len() + 256);
        // the id has to fit a signed 64-bit number (RFC 9429 5.2.1)
        let session_id = self.local.session_id >> 1;
        line!(text, "v=0");
        line!(text, "o=- {session_id} 1 IN IP4 0.0.0.0");
        line!(text, "s=-");
        line!(text, "t=0 0");
        line!(text, "a=ice-lite");
        if self.offer.trickle {
            line!(text, "a=ice-options:trickle");
        }
        if self.offer.extmap_allow_mixed {
            line!(text, "a=extmap-allow-mixed");
        }
        if self.offer.media.iter().all(|media| media.has_mid) {
            line!(text, "a=group:BUNDLE {}", self.bundle.join(" "));
        }
        line!(text, "a=msid-semantic:WMS *");
        text.push_str(&self.body);
        text
    }

    fn mid(&mut self, media: &Media) {
        if media.has_mid {
            line!(self.body, "a=mid:{}", media.mid);
        }
    }

    fn transport(&mut self) {
        line!(self.body, "a=ice-ufrag:{}", self.local.ice.ufrag);
        line!(self.body, "a=ice-pwd:{}", self.local.ice.pwd);
        line!(self.body, "a=fingerprint:sha-256 {}", self.local.fingerprint);
        line!(self.body, "a=setup:passive");
    }

    fn formats(&mut self, line: &Line) {
        for AnsweredFormat { format, fmtp } in &line.formats {
            let number = format.payload_type;
            line!(self.body, "a=rtpmap:{number} {}", format.rtpmap);
            if let Some(fmtp) = fmtp {
                line!(self.body, "a=fmtp:{number} {fmtp}");
            }
            for value in format.feedback.answered(line.feedback) {
                line!(self.body, "a=rtcp-fb:{number} {value}");
            }
            if let Some(rtx) = format.rtx {
                line!(self.body, "a=rtpmap:{rtx} rtx/90000");
                line!(self.body, "a=fmtp:{rtx} apt={number}");
            }
        }
    }

    fn rids(&mut self, media: &Media, rids: &[String]) {
        for rid in rids {
            line!(self.body, "a=rid:{rid} recv");
        }
        if media.simulcast && !rids.is_empty() {
            line!(self.body, "a=simulcast:recv {}", rids.join(";"));
        }
    }

    /// Audio and video of a slot are one stream, so that players keep them in sync.
    fn source(&mut self, track: &SendTrack, slot: usize, cname: &str) {
        let kind = match track.kind {
            MediaKind::Audio => "audio",
            MediaKind::Video => "video",
        };
        line!(self.body, "a=msid:slot-{slot} slot-{slot}-{kind}");
        let has_rtx = track.codecs.iter().any(|codec| codec.rtx_payload_type.is_some());
        if has_rtx {
            line!(self.body, "a=ssrc-group:FID {} {}", track.ssrc, track.rtx_ssrc);
        }
        for ssrc in [Some(track.ssrc), has_rtx.then_some(track.rtx_ssrc)]
            .into_iter()
            .flatten()
        {
            line!(self.body, "a=ssrc:{ssrc} cname:{cname}");
        }
    }
}

/// The server's candidates, all of them (RFC 8839 5.1, RFC 6544 4.5).
pub(super) fn candidates(text: &mut String, candidates: &[Candidate]) {
    for (at, candidate) in candidates.iter().enumerate() {
        let (transport, preference, tcp_type): (_, _, &dyn Display) = match candidate.protocol {
            Protocol::Udp => ("udp", PREFERENCE_UDP, &""),
            Protocol::TcpPassive => ("tcp", PREFERENCE_TCP, &" tcptype passive"),
        };
        // the earlier in the list the better (RFC 8445 5.1.2.1), component 1
        let local_preference = u32::from(u16::MAX).saturating_sub(u32::try_from(at).unwrap_or(u32::MAX));
        let priority = (preference << 24) + (local_preference << 8) + 255;
        let (ip, port) = (candidate.address.ip(), candidate.address.port());
        line!(
            text,
            "a=candidate:{} 1 {transport} {priority} {ip} {port} typ host{tcp_type}",
            at + 1
        );
    }
    line!(text, "a=end-of-candidates");
}
