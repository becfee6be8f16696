//! Offers as Chromium writes them, and what the loader needs of an answer (RFC 8829). Pure.

use crate::rtp::ExtensionIds;
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

const OPUS: u8 = 111;
const H264: u8 = 109;
const H264_RTX: u8 = 114;
const AUDIO_MID: &str = "0";
const VIDEO_MID: &str = "1";

const EXTENSIONS: [(u8, &str); 6] = [
    (1, "urn:ietf:params:rtp-hdrext:ssrc-audio-level"),
    (2, "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time"),
    (
        3,
        "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01",
    ),
    (4, "urn:ietf:params:rtp-hdrext:sdes:mid"),
    (5, "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id"),
    (6, "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id"),
];

/// Which way an offer's media goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// A publisher's, with the SSRCs it sends by.
    Send {
        audio_ssrc: u32,
        video_ssrc: u32,
        rtx_ssrc: u32,
    },
    /// A viewer's.
    Receive,
}

/// The offerer's half of the transport.
#[derive(Clone, Debug)]
pub struct Local<'a> {
    pub ufrag: &'a str,
    pub pwd: &'a str,
    /// Upper-case hex pairs with colons.
    pub fingerprint: &'a str,
}

/// An offer of Opus and of H.264 42e01f in packetization mode 1 with RTX.
pub fn write_offer(direction: Direction, local: &Local) -> String {
    let mut sdp = String::with_capacity(4096);
    sdp.push_str("v=0\r\no=- 4611731400430051336 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n");
    sdp.push_str("a=group:BUNDLE 0 1\r\na=extmap-allow-mixed\r\na=msid-semantic: WMS\r\n");
    let audio = "a=rtpmap:111 opus/48000/2\r\na=rtcp-fb:111 transport-cc\r\na=fmtp:111 minptime=10;useinbandfec=1\r\n";
    let video = "a=rtpmap:109 H264/90000\r\na=rtcp-fb:109 goog-remb\r\na=rtcp-fb:109 transport-cc\r\n\
                 a=rtcp-fb:109 ccm fir\r\na=rtcp-fb:109 nack\r\na=rtcp-fb:109 nack pli\r\n\
                 a=fmtp:109 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f\r\n\
                 a=rtpmap:114 rtx/90000\r\na=fmtp:114 apt=109\r\n";
    write_media(&mut sdp, "audio", AUDIO_MID, &OPUS.to_string(), audio, direction, local);
    write_media(
        &mut sdp,
        "video",
        VIDEO_MID,
        &format!("{H264} {H264_RTX}"),
        video,
        direction,
        local,
    );
    sdp
}

fn write_media(
    sdp: &mut String,
    kind: &str,
    mid: &str,
    formats: &str,
    codecs: &str,
    direction: Direction,
    local: &Local,
) {
    let Local {
        ufrag,
        pwd,
        fingerprint,
    } = local;
    let _ = write!(
        sdp,
        "m={kind} 9 UDP/TLS/RTP/SAVPF {formats}\r\nc=IN IP4 0.0.0.0\r\na=rtcp:9 IN IP4 0.0.0.0\r\n\
         a=ice-ufrag:{ufrag}\r\na=ice-pwd:{pwd}\r\na=ice-options:trickle\r\n\
         a=fingerprint:sha-256 {fingerprint}\r\na=setup:actpass\r\na=mid:{mid}\r\n"
    );
    for (id, uri) in EXTENSIONS {
        let audio_only = id == 1;
        let video_only = id > 4;
        if !(audio_only && kind == "video" || video_only && kind == "audio") {
            let _ = write!(sdp, "a=extmap:{id} {uri}\r\n");
        }
    }
    let way = if direction == Direction::Receive {
        "recvonly"
    } else {
        "sendonly"
    };
    let _ = write!(sdp, "a={way}\r\n");
    if direction != Direction::Receive {
        let _ = write!(sdp, "a=msid:load load-{kind}\r\n");
    }
    sdp.push_str("a=rtcp-mux\r\na=rtcp-rsize\r\n");
    sdp.push_str(codecs);
    match direction {
        Direction::Send { audio_ssrc, .. } if kind == "audio" => {
            let _ = write!(
                sdp,
                "a=ssrc:{audio_ssrc} cname:load\r\na=ssrc:{audio_ssrc} msid:load load-audio\r\n"
            );
        }
        Direction::Send {
            video_ssrc, rtx_ssrc, ..
        } => {
            let _ = write!(sdp, "a=ssrc-group:FID {video_ssrc} {rtx_ssrc}\r\n");
            for ssrc in [video_ssrc, rtx_ssrc] {
                let _ = write!(
                    sdp,
                    "a=ssrc:{ssrc} cname:load\r\na=ssrc:{ssrc} msid:load load-video\r\n"
                );
            }
        }
        Direction::Receive => {}
    }
}

/// What an answer says about one medium.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Media {
    pub mid: String,
    pub payload_type: u8,
    pub extensions: ExtensionIds,
    /// The first SSRC the server announces.
    pub ssrc: Option<u32>,
}

/// What the loader needs of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub ufrag: String,
    pub pwd: String,
    pub fingerprint: String,
    pub remote: SocketAddr,
    pub audio: Media,
    pub video: Media,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Error {
    /// The attribute or line that is not there.
    Missing(&'static str),
    /// The medium was rejected.
    Rejected(&'static str),
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Error::Missing(what) => write!(f, "the answer has no {what}"),
            Error::Rejected(kind) => write!(f, "the answer rejects {kind}"),
        }
    }
}

impl Answer {
    pub fn parse(text: &str) -> Result<Answer, Error> {
        let attribute = |name: &'static str| {
            let found = text
                .lines()
                .find_map(|line| line.strip_prefix("a=")?.strip_prefix(name)?.strip_prefix(':'));
            found.map(str::trim).ok_or(Error::Missing(name))
        };
        let fingerprint = attribute("fingerprint")?;
        let fingerprint = fingerprint
            .strip_prefix("sha-256 ")
            .ok_or(Error::Missing("sha-256 fingerprint"))?;
        Ok(Answer {
            ufrag: attribute("ice-ufrag")?.to_owned(),
            pwd: attribute("ice-pwd")?.to_owned(),
            fingerprint: fingerprint.to_uppercase(),
            remote: candidate(text).ok_or(Error::Missing("IPv4 UDP candidate"))?,
            audio: media(text, "audio")?,
            video: media(text, "video")?,
        })
    }
}

/// The best IPv4 UDP candidate for a client on the same machine: loopback before any other.
fn candidate(text: &str) -> Option<SocketAddr> {
    let addresses = text.lines().filter_map(|line| {
        let mut words = line.strip_prefix("a=candidate:")?.split(' ').skip(2);
        if !words.next()?.eq_ignore_ascii_case("udp") {
            return None;
        }
        let ip: IpAddr = words.nth(1)?.parse().ok()?;
        ip.is_ipv4()
            .then_some(SocketAddr::new(ip, words.next()?.trim().parse().ok()?))
    });
    addresses.min_by_key(|address| !address.ip().is_loopback())
}

fn media(text: &str, kind: &'static str) -> Result<Media, Error> {
    let mut sections = text.split("\r\nm=").skip(1);
    let section = sections.find(|s| s.starts_with(kind)).ok_or(Error::Missing(kind))?;
    let mut words = section.lines().next().unwrap_or_default().split(' ').skip(1);
    if words.next() == Some("0") {
        return Err(Error::Rejected(kind));
    }
    let payload_type = words
        .nth(1)
        .and_then(|pt| pt.trim().parse().ok())
        .ok_or(Error::Missing("payload type"))?;
    let mut media = Media {
        payload_type,
        ..Media::default()
    };
    for line in section.lines().filter_map(|line| line.strip_prefix("a=")) {
        if let Some(mid) = line.strip_prefix("mid:") {
            media.mid = mid.trim().to_owned();
        } else if let Some((id, uri)) = line.strip_prefix("extmap:").and_then(|map| map.split_once(' ')) {
            let id = id.split('/').next().and_then(|id| id.parse().ok()).unwrap_or(0);
            let slot = match uri.trim() {
                "urn:ietf:params:rtp-hdrext:ssrc-audio-level" => &mut media.extensions.audio_level,
                "urn:ietf:params:rtp-hdrext:sdes:mid" => &mut media.extensions.mid,
                uri if uri.ends_with("rtp-hdrext/abs-send-time") => &mut media.extensions.abs_send_time,
                uri if uri.contains("transport-wide-cc") => &mut media.extensions.transport_cc,
                _ => continue,
            };
            *slot = id;
        } else if let (Some(ssrc), None) = (line.strip_prefix("ssrc:"), media.ssrc) {
            media.ssrc = ssrc.split(' ').next().and_then(|ssrc| ssrc.parse().ok());
        }
    }
    Ok(media)
}
