//! What an offer says: its session part and its m-lines, in the server's terms.

use super::codec::{self, Format, OfferedFeedback};
use super::{Error, Remote, credentials, dtls, invalid};
use crate::rtp::{Extension, ExtensionMap, MediaKind};
use rtc_sdp::description::media::MediaDescription;
use rtc_sdp::description::session::SessionDescription;

/// Simulcast encodings of one m-line; browsers send three.
const MAX_RIDS: usize = 4;
/// SSRCs read from one m-line: three encodings, each with RTX and FEC, would be nine.
const MAX_SSRCS: usize = 16;
/// Longest `a=mid` and `a=rid` that still fits its header extension's one-byte form (RFC 8285 4.2), in bytes.
const MAX_ID: usize = 16;
/// Ids of the one-byte form; 15 is reserved.
const EXTENSION_IDS: std::ops::RangeInclusive<u8> = 1..=14;
/// RTP has seven bits for them.
const PAYLOAD_TYPES: u8 = 128;
/// With rtcp-mux these payload types cannot be told from RTCP (RFC 5761 section 4).
const RTCP_TYPES: std::ops::RangeInclusive<u8> = 64..=95;

/// One m-line.
#[derive(Debug, Clone)]
pub(super) struct Media {
    /// `None`: nothing we could carry (data channels, text).
    pub kind: Option<MediaKind>,
    /// First and third field of the m-line, and its first format: an answer repeats them.
    pub name: String,
    pub protocol: String,
    pub first_format: String,
    pub mid: String,
    /// The offer names the mid itself. If not, the answer must not either (RFC 5888 section 9.1).
    pub has_mid: bool,
    /// Not rejected by the offerer, over DTLS-SRTP and on the transport of all others.
    pub usable: bool,
    pub sends: bool,
    pub receives: bool,
    /// In the offer's order.
    pub formats: Vec<Format>,
    pub extensions: Vec<OfferedExtension>,
    /// Encodings the offerer would send, in its order.
    pub rids: Vec<Rid>,
    pub simulcast: bool,
    pub ssrcs: Vec<(u32, Option<u32>)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Direction {
    pub sends: bool,
    pub receives: bool,
}

impl Direction {
    fn parse(text: &str) -> Option<Self> {
        let (sends, receives) = match text {
            "sendrecv" => (true, true),
            "sendonly" => (true, false),
            "recvonly" => (false, true),
            "inactive" => (false, false),
            _ => return None,
        };
        Some(Direction { sends, receives })
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) struct OfferedExtension {
    extension: Extension,
    id: u8,
    /// From the offerer's point of view.
    direction: Direction,
}

/// An `a=rid` line (RFC 8851).
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Rid {
    pub id: String,
    /// Empty: any.
    payload_types: Vec<u8>,
}

impl Rid {
    pub fn allows(&self, payload_type: u8) -> bool {
        self.payload_types.is_empty() || self.payload_types.contains(&payload_type)
    }
}

/// The session part, and the m-line whose transport everything bundled uses.
pub(super) struct Session<'a> {
    description: &'a SessionDescription,
    /// The mids of the first BUNDLE group.
    bundle: Option<Vec<&'a str>>,
    tagged: Option<&'a MediaDescription>,
}

impl<'a> Session<'a> {
    pub fn new(description: &'a SessionDescription) -> Self {
        let groups = description
            .attributes
            .iter()
            .filter(|attribute| attribute.key == "group");
        let bundle = groups
            .filter_map(|group| group.value.as_deref()?.strip_prefix("BUNDLE"))
            .next();
        let bundle: Option<Vec<&str>> = bundle.map(|mids| mids.split_whitespace().collect());
        let lines = &description.media_descriptions;
        // the offerer's bundle address is that of the group's first m-line (RFC 9143 7.2.1)
        let tag = bundle.as_ref().and_then(|mids| mids.first().copied());
        let tagged = tag
            .and_then(|tag| lines.iter().find(|line| value(line, "mid") == Some(tag)))
            .or(lines.first());
        Session {
            description,
            bundle,
            tagged,
        }
    }

    /// A session-level attribute; without value it is empty.
    pub fn value(&self, key: &str) -> Option<&'a str> {
        let attribute = self
            .description
            .attributes
            .iter()
            .find(|attribute| attribute.key == key)?;
        Some(attribute.value.as_deref().unwrap_or_default())
    }

    /// An attribute of the transport: the tagged m-line's, or the session's.
    pub fn shared(&self, key: &str) -> Option<&'a str> {
        self.tagged
            .and_then(|line| value(line, key))
            .or_else(|| self.value(key))
    }

    fn all_shared(&self, key: &'a str) -> impl Iterator<Item = &'a str> + '_ {
        let own = self.tagged.into_iter().flat_map(move |line| values(line, key));
        let session = self
            .description
            .attributes
            .iter()
            .filter(move |attribute| attribute.key == key);
        own.chain(session.filter_map(|attribute| attribute.value.as_deref()))
    }

    pub fn remote(&self) -> Result<Remote, Error> {
        let Some(ufrag) = self.shared("ice-ufrag") else {
            return invalid("no a=ice-ufrag");
        };
        let Some(pwd) = self.shared("ice-pwd") else {
            return invalid("no a=ice-pwd");
        };
        match self.shared("setup") {
            Some("passive") => return invalid("a=setup:passive: the server is the passive side"),
            Some("actpass" | "active") | None => {}
            Some(other) => return invalid(format!("a=setup:{other} in an offer")),
        }
        Ok(Remote {
            ice: credentials(ufrag, pwd)?,
            fingerprint: self.fingerprint()?,
        })
    }

    /// Of several hashes (RFC 8122 section 5) the one we know.
    fn fingerprint(&self) -> Result<dtls::Fingerprint, Error> {
        let mut others = Vec::new();
        for line in self.all_shared("fingerprint") {
            let (hash, digest) = line.split_once(' ').unwrap_or((line, ""));
            if hash.eq_ignore_ascii_case("sha-256") {
                let digest = dtls::Fingerprint::parse(digest.trim());
                return digest.ok_or(Error::Invalid("a=fingerprint: not 32 hexadecimal bytes".into()));
            }
            others.push(hash);
        }
        if others.is_empty() {
            return invalid("no a=fingerprint");
        }
        invalid(format!(
            "a=fingerprint: hash {} is not supported, sha-256 is",
            others.join(", ")
        ))
    }

    /// Whether a m-line shares the transport of the tagged one. Without a group it does if it has the same credentials:
    /// the server answers with one transport, and a lone peer that would open several can use only the first.
    fn bundles(&self, line: &MediaDescription) -> bool {
        match &self.bundle {
            Some(mids) => value(line, "mid").is_some_and(|mid| mids.contains(&mid)),
            None => value(line, "ice-ufrag").or_else(|| self.value("ice-ufrag")) == self.shared("ice-ufrag"),
        }
    }
}

fn value<'a>(line: &'a MediaDescription, key: &str) -> Option<&'a str> {
    line.attribute(key).flatten()
}

fn values<'a>(line: &'a MediaDescription, key: &'a str) -> impl Iterator<Item = &'a str> {
    line.attributes
        .iter()
        .filter(move |attribute| attribute.key == key)
        .filter_map(|attribute| attribute.value.as_deref())
}

/// A token (RFC 8866 section 9) short enough for a header extension.
pub(super) fn is_id(text: &str) -> bool {
    let token = |c: u8| c.is_ascii_graphic() && !b"\"(),/:;<=>?@[\\]".contains(&c);
    (1..=MAX_ID).contains(&text.len()) && text.bytes().all(token)
}

impl Media {
    pub fn parse(line: &MediaDescription, session: &Session, index: usize) -> Result<Self, Error> {
        let offered_mid = value(line, "mid");
        if let Some(mid) = offered_mid.filter(|mid| !is_id(mid)) {
            return invalid(format!("a=mid:{mid} is not a token of at most {MAX_ID} characters"));
        }
        let protocol = line.media_name.protos.join("/");
        let is_srtp = matches!(
            protocol.as_str(),
            "UDP/TLS/RTP/SAVPF" | "UDP/TLS/RTP/SAVP" | "TCP/DTLS/RTP/SAVPF" | "TCP/TLS/RTP/SAVPF" | "RTP/SAVPF"
        );
        // an m-line without port of its own is not a rejected one (RFC 9143 section 6)
        let enabled = line.media_name.port.value != 0 || line.has_attribute("bundle-only");
        let direction = direction(line, session);
        let (rids, simulcast) = rids(line);
        Ok(Media {
            kind: kind(line),
            name: line.media_name.media.clone(),
            protocol,
            first_format: line.media_name.formats.first().cloned().unwrap_or_else(|| "0".into()),
            mid: offered_mid.map_or_else(|| index.to_string(), str::to_owned),
            has_mid: offered_mid.is_some(),
            usable: enabled && is_srtp && session.bundles(line),
            sends: direction.sends,
            receives: direction.receives,
            formats: formats(line),
            extensions: extensions(line, session),
            rids,
            simulcast,
            ssrcs: ssrcs(line),
        })
    }

    /// The extensions offered for a direction.
    pub fn extensions_for(&self, wanted: impl Fn(Direction) -> bool) -> ExtensionMap {
        let mut map = ExtensionMap::default();
        for offered in self.extensions.iter().filter(|offered| wanted(offered.direction)) {
            map.set(offered.extension, offered.id);
        }
        map
    }
}

fn direction(line: &MediaDescription, session: &Session) -> Direction {
    let own = line
        .attributes
        .iter()
        .find_map(|attribute| Direction::parse(&attribute.key));
    let shared = || {
        session
            .description
            .attributes
            .iter()
            .find_map(|attribute| Direction::parse(&attribute.key))
    };
    own.or_else(shared).unwrap_or(Direction {
        sends: true,
        receives: true,
    })
}

/// What the attributes of an m-line say about one payload type.
#[derive(Default, Clone)]
struct FormatLines<'a> {
    rtpmap: Option<&'a str>,
    fmtp: Option<&'a str>,
    feedback: OfferedFeedback,
}

/// A payload type that can be used beside RTCP.
fn payload_type(text: &str) -> Option<u8> {
    text.parse()
        .ok()
        .filter(|number| *number < PAYLOAD_TYPES && !RTCP_TYPES.contains(number))
}

/// By payload type. One pass over the lines, so that a hostile offer costs no more than a long one.
fn format_lines(line: &MediaDescription) -> Vec<FormatLines<'_>> {
    let mut formats = vec![FormatLines::default(); usize::from(PAYLOAD_TYPES)];
    for attribute in &line.attributes {
        let Some((of, rest)) = attribute.value.as_deref().and_then(|value| value.split_once(' ')) else {
            continue;
        };
        if attribute.key == "rtcp-fb" && of == "*" {
            formats.iter_mut().for_each(|format| format.feedback.add(rest));
        }
        let Some(format) = payload_type(of).and_then(|number| formats.get_mut(usize::from(number))) else {
            continue;
        };
        match attribute.key.as_str() {
            "rtpmap" => format.rtpmap = format.rtpmap.or(Some(rest.trim())),
            "fmtp" => format.fmtp = format.fmtp.or(Some(rest.trim())),
            "rtcp-fb" => format.feedback.add(rest),
            _ => {}
        }
    }
    formats
}

/// The formats of codecs we know, in the order of the m-line.
fn formats(line: &MediaDescription) -> Vec<Format> {
    let lines = format_lines(line);
    let mut offered: Vec<u8> = Vec::new();
    for number in line.media_name.formats.iter().filter_map(|format| payload_type(format)) {
        if !offered.contains(&number) {
            offered.push(number);
        }
    }
    let about = |number: u8| lines.get(usize::from(number));
    let repeats = |rtx: u8, number: u8| {
        about(rtx).is_some_and(|lines| {
            let is_rtx = lines
                .rtpmap
                .is_some_and(|rtpmap| rtpmap.eq_ignore_ascii_case("rtx/90000"));
            let apt = lines
                .fmtp
                .and_then(|fmtp| codec::parameter(fmtp, "apt"))
                .and_then(payload_type);
            is_rtx && apt == Some(number)
        })
    };
    let format = |number: u8| {
        let lines = about(number)?;
        let rtpmap = lines.rtpmap?;
        let codec = codec::codec(rtpmap).filter(|codec| kind(line) == Some(codec.kind()))?;
        Some(Format {
            codec,
            payload_type: number,
            rtx: offered.iter().copied().find(|rtx| repeats(*rtx, number)),
            rtpmap: rtpmap.to_owned(),
            fmtp: lines.fmtp.map(str::to_owned),
            feedback: lines.feedback,
        })
    };
    offered.iter().copied().filter_map(format).collect()
}

fn kind(line: &MediaDescription) -> Option<MediaKind> {
    match line.media_name.media.as_str() {
        "audio" => Some(MediaKind::Audio),
        "video" => Some(MediaKind::Video),
        _ => None,
    }
}

fn extensions(line: &MediaDescription, session: &Session) -> Vec<OfferedExtension> {
    let shared = session
        .description
        .attributes
        .iter()
        .filter(|attribute| attribute.key == "extmap");
    let shared = shared.filter_map(|attribute| attribute.value.as_deref());
    let mut extensions: Vec<OfferedExtension> = Vec::new();
    for line in values(line, "extmap").chain(shared) {
        let mut fields = line.split_whitespace();
        let (Some(id), Some(uri)) = (fields.next(), fields.next()) else {
            continue;
        };
        let (id, direction) = id.split_once('/').unwrap_or((id, "sendrecv"));
        let Some(id) = id.parse().ok().filter(|id| EXTENSION_IDS.contains(id)) else {
            continue;
        };
        let (Some(extension), Some(direction)) = (Extension::from_uri(uri), Direction::parse(direction)) else {
            continue;
        };
        if !extensions
            .iter()
            .any(|known| known.extension == extension || known.id == id)
        {
            extensions.push(OfferedExtension {
                extension,
                id,
                direction,
            });
        }
    }
    extensions
}

/// The encodings of `a=simulcast:send` (RFC 8853 5.1), of each the first alternative, or else the bare `a=rid:… send`
/// lines; and whether there was a simulcast line. Paused encodings (`~`) are encodings.
fn rids(line: &MediaDescription) -> (Vec<Rid>, bool) {
    let mut offered: Vec<Rid> = Vec::new();
    for rid in values(line, "rid") {
        let mut fields = rid.split_whitespace();
        let (Some(id), Some("send")) = (fields.next(), fields.next()) else {
            continue;
        };
        let restrictions = fields.next().unwrap_or_default();
        let payload_types = codec::parameter(restrictions, "pt").unwrap_or_default();
        let payload_types = payload_types
            .split(',')
            .filter_map(|number| number.parse().ok())
            .collect();
        if is_id(id) && offered.len() < 2 * MAX_RIDS && !offered.iter().any(|known| known.id == id) {
            offered.push(Rid {
                id: id.to_owned(),
                payload_types,
            });
        }
    }
    let streams = value(line, "simulcast").and_then(|value| {
        let mut fields = value.split_whitespace();
        fields.by_ref().find(|field| *field == "send")?;
        fields.next()
    });
    let Some(streams) = streams else {
        offered.truncate(MAX_RIDS);
        return (offered, false);
    };
    let first = |stream: &str| {
        let mut alternatives = stream.split(',').map(|id| id.strip_prefix('~').unwrap_or(id));
        alternatives.find_map(|id| offered.iter().find(|rid| rid.id == id).cloned())
    };
    (streams.split(';').filter_map(first).take(MAX_RIDS).collect(), true)
}

/// Media SSRCs with those of their RTX from FID groups (RFC 5576).
fn ssrcs(line: &MediaDescription) -> Vec<(u32, Option<u32>)> {
    let pair = |group: &str| {
        let mut members = group.strip_prefix("FID ")?.split_whitespace().map(str::parse::<u32>);
        Some((members.next()?.ok()?, members.next()?.ok()?))
    };
    let pairs: Vec<(u32, u32)> = values(line, "ssrc-group").filter_map(pair).take(MAX_SSRCS).collect();
    let mut ssrcs: Vec<(u32, Option<u32>)> = Vec::new();
    for ssrc in values(line, "ssrc").filter_map(|value| value.split_whitespace().next()?.parse::<u32>().ok()) {
        let is_rtx = pairs.iter().any(|(_, rtx)| *rtx == ssrc);
        if !is_rtx && ssrcs.len() < MAX_SSRCS && !ssrcs.iter().any(|(known, _)| *known == ssrc) {
            let rtx = pairs.iter().find(|(media, _)| *media == ssrc).map(|(_, rtx)| *rtx);
            ssrcs.push((ssrc, rtx));
        }
    }
    ssrcs
}
