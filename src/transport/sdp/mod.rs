//! Reading offers and writing answers (RFC 8829, RFC 9429). The server is always the answerer, ICE-lite and DTLS-passive.
//!
//! In comes the text of an offer; out go what it says about the transport, an answer, and what the two settled about RTP.
//! `rtc-sdp` knows the syntax, this module what it means. No time.

mod answer;
mod codec;
mod fragment;
mod media;

pub use fragment::Fragment;

use super::{Remote, dtls, ice};
use crate::rtp::parameters::{ReceiveParameters, ReceiveTrack, SendCodec, SendParameters, SendSlot, SendTrack};
use crate::rtp::{Codec, Extension, MediaKind};
use answer::{Answer, Line};
use codec::Format;
use media::{Media, Session};
use rtc_sdp::description::session::SessionDescription;
use std::io::Cursor;

/// Longest description read, in bytes: the most that `limits.sdp_bytes` may be set to. What a client meets is that limit,
/// which stands before this one.
pub const MAX_TEXT: usize = 1024 * 1024;
/// Ten slots of audio and video twice over; more is not meant seriously.
const MAX_MEDIA: usize = 64;
/// RFC 8445 5.3 (RFC 8839 5.4): lengths of username fragment and password, in characters.
const UFRAG: std::ops::RangeInclusive<usize> = 4..=256;
const PWD: std::ops::RangeInclusive<usize> = 22..=256;

/// A parsed offer.
#[derive(Debug, Clone)]
pub struct Offer {
    remote: Remote,
    media: Vec<Media>,
    extmap_allow_mixed: bool,
    trickle: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Error {
    /// Not a usable session description; the text says why. (400 `sdp_invalid`)
    Invalid(String),
    /// Well-formed, but nothing acceptable in it. (422 `codec_unsupported`)
    Unsupported(String),
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Error::Invalid(why) | Error::Unsupported(why)) = self;
        f.write_str(why)
    }
}

impl std::error::Error for Error {}

fn invalid<T>(why: impl Into<String>) -> Result<T, Error> {
    Err(Error::Invalid(why.into()))
}

/// The server's half of the transport description.
pub struct Local<'a> {
    pub ice: &'a ice::Credentials,
    pub fingerprint: dtls::Fingerprint,
    pub candidates: &'a [ice::Candidate],
    /// `o=` session id; the version is 1.
    pub session_id: u64,
}

/// How a publisher is answered.
#[derive(Debug, Clone, Copy, Default)]
pub struct PublishPolicy {
    /// Refuse VP9 and AV1, which the program cannot decode.
    pub program_codecs_only: bool,
}

impl Offer {
    pub fn parse(text: &str) -> Result<Offer, Error> {
        check_text(text)?;
        // `rtc-sdp` reads line by line and takes empty lines and bare line feeds
        let parsed = SessionDescription::unmarshal(&mut Cursor::new(text));
        let description = parsed.or_else(|error| invalid(format!("not a session description: {error}")))?;
        if description.media_descriptions.is_empty() {
            return invalid("the offer has no media (m=) line");
        }
        if description.media_descriptions.len() > MAX_MEDIA {
            return invalid(format!("more than {MAX_MEDIA} media (m=) lines"));
        }
        let session = Session::new(&description);
        if session.value("ice-lite").is_some() {
            return invalid("the offer is ICE-lite as the server is: nobody would check connectivity");
        }
        let mut media = Vec::with_capacity(description.media_descriptions.len());
        for (index, line) in description.media_descriptions.iter().enumerate() {
            media.push(Media::parse(line, &session, index)?);
        }
        let mut mids: Vec<&str> = media.iter().map(|media| media.mid.as_str()).collect();
        mids.sort_unstable();
        if let Some(twice) = mids.windows(2).find(|pair| pair[0] == pair[1]) {
            return invalid(format!("two media lines with a=mid:{}", twice[0]));
        }
        let remote = session.remote()?;
        let allows_mixed = |line: &rtc_sdp::MediaDescription| line.has_attribute("extmap-allow-mixed");
        Ok(Offer {
            remote,
            media,
            extmap_allow_mixed: session.value("extmap-allow-mixed").is_some()
                || description.media_descriptions.iter().all(allows_mixed),
            trickle: session
                .shared("ice-options")
                .is_some_and(|options| options.contains("trickle")),
        })
    }

    pub fn remote(&self) -> &Remote {
        &self.remote
    }

    /// The answer to a publisher: one audio and one video m-line received, one codec each, all else rejected.
    pub fn answer_publisher(&self, local: &Local, policy: PublishPolicy) -> Result<(String, ReceiveParameters), Error> {
        let mut answer = Answer::new(self, local);
        let mut parameters = ReceiveParameters::default();
        for media in &self.media {
            let taken = match media.kind {
                Some(MediaKind::Audio) => &mut parameters.audio,
                Some(MediaKind::Video) => &mut parameters.video,
                None => {
                    answer.reject(media);
                    continue;
                }
            };
            match media.receivable(policy) {
                Some((track, format)) if taken.is_none() => {
                    answer.accept(media, Line::receive(&track, format));
                    *taken = Some(track);
                }
                _ => answer.reject(media),
            }
        }
        if parameters == ReceiveParameters::default() {
            return Err(Error::Unsupported(
                self.nothing_shared("send", |media| media.usable && media.sends),
            ));
        }
        Ok((answer.finish(), parameters))
    }

    /// The answer to a viewer: the first `max_slots` audio and video m-lines become slots, all else is rejected.
    /// `next_ssrc` yields distinct random SSRCs.
    pub fn answer_viewer(
        &self,
        local: &Local,
        max_slots: usize,
        next_ssrc: &mut dyn FnMut() -> u32,
    ) -> Result<(String, SendParameters), Error> {
        let mut answer = Answer::new(self, local);
        let mut parameters = SendParameters {
            slots: Vec::new(),
            cname: format!("{:016x}", local.session_id),
        };
        let (mut audio, mut video) = (0, 0);
        for media in &self.media {
            let counter = match media.kind {
                Some(MediaKind::Audio) => &mut audio,
                Some(MediaKind::Video) => &mut video,
                None => {
                    answer.reject(media);
                    continue;
                }
            };
            let slot = *counter;
            *counter += 1;
            let Some(track) = media.sendable(next_ssrc).filter(|_| slot < max_slots) else {
                answer.reject(media);
                continue;
            };
            answer.accept(media, Line::send(&track, slot, &parameters.cname, media));
            if parameters.slots.len() <= slot {
                parameters.slots.resize(slot + 1, SendSlot::default());
            }
            let place = &mut parameters.slots[slot];
            match track.kind {
                MediaKind::Audio => place.audio = Some(track),
                MediaKind::Video => place.video = Some(track),
            }
        }
        if parameters.slots.is_empty() {
            return Err(Error::Unsupported(
                self.nothing_shared("receive", |media| media.usable && media.receives),
            ));
        }
        Ok((answer.finish(), parameters))
    }

    fn nothing_shared(&self, verb: &str, fits: impl Fn(&Media) -> bool) -> String {
        if self.media.iter().any(fits) {
            "none of the offered codecs is supported (audio: Opus; video: H.264, VP8, VP9, AV1)".to_owned()
        } else {
            format!("no audio or video media line that wants to {verb}")
        }
    }
}

impl Media {
    /// What the server receives on this m-line of a publisher, and the format it chose.
    fn receivable(&self, policy: PublishPolicy) -> Option<(ReceiveTrack, &Format)> {
        if !self.usable || !self.sends {
            return None;
        }
        let refused = |codec| policy.program_codecs_only && matches!(codec, Codec::Vp9 | Codec::Av1);
        let candidates = self.formats.iter().filter(|format| !refused(format.codec));
        // of equals the first: `min_by_key` keeps the offer's order
        let format = candidates.min_by_key(|format| (format.codec, format.rank()))?;
        let mut extensions = self.extensions_for(|direction| direction.sends);
        let feedback = format.feedback.settled(&mut extensions);
        let has_rid = extensions.id(Extension::Rid).is_some();
        let rids = self
            .rids
            .iter()
            .filter(|rid| has_rid && rid.allows(format.payload_type));
        let rids: Vec<String> = rids.map(|rid| rid.id.clone()).collect();
        // Its frame numbers are per encoding and would jump when viewers change layers; other codecs describe themselves.
        if !rids.is_empty() || !matches!(format.codec, Codec::Vp9 | Codec::Av1) {
            extensions.set(Extension::DependencyDescriptor, 0);
        }
        let track = ReceiveTrack {
            mid: self.mid.clone(),
            codec: format.codec,
            payload_type: format.payload_type,
            rtx_payload_type: format.rtx,
            extensions,
            feedback,
            rids,
            ssrcs: self.ssrcs.clone(),
        };
        Some((track, format))
    }

    /// What the server sends on this m-line of a viewer.
    fn sendable(&self, next_ssrc: &mut dyn FnMut() -> u32) -> Option<SendTrack> {
        let kind = self.kind.filter(|_| self.usable && self.receives)?;
        let mut codecs: Vec<SendCodec> = Vec::new();
        let mut shared: Vec<&Format> = self
            .formats
            .iter()
            .filter(|format| format.takes_our_packets())
            .collect();
        shared.sort_by_key(|format| (format.codec, format.rank()));
        for format in &shared {
            if codecs.last().is_none_or(|last| last.codec != format.codec) {
                codecs.push(SendCodec {
                    codec: format.codec,
                    payload_type: format.payload_type,
                    rtx_payload_type: format.rtx,
                });
            }
        }
        let mut extensions = self.extensions_for(|direction| direction.receives);
        // encodings are the publisher's business: a viewer gets one
        extensions.set(Extension::Rid, 0);
        extensions.set(Extension::RepairedRid, 0);
        let feedback = shared.first()?.feedback.settled(&mut extensions);
        Some(SendTrack {
            kind,
            mid: self.mid.clone(),
            codecs,
            extensions,
            feedback,
            ssrc: next_ssrc(),
            rtx_ssrc: next_ssrc(),
        })
    }
}

/// What every description has to be before it is looked into.
fn check_text(text: &str) -> Result<(), Error> {
    if text.len() > MAX_TEXT {
        return invalid(format!("longer than {MAX_TEXT} bytes"));
    }
    // parts of it are written back, so nothing in it may pass for a line end
    let stray = |(at, c): (usize, char)| c.is_control() && c != '\n' && c != '\t' && !text[at..].starts_with("\r\n");
    if text.char_indices().any(stray) {
        return invalid("control characters in the text");
    }
    Ok(())
}

/// ICE credentials as far as their form goes (RFC 8839 5.4). The colon would break the USERNAME of checks apart.
fn credentials(ufrag: &str, pwd: &str) -> Result<ice::Credentials, Error> {
    let fits = |text: &str| text.bytes().all(|c| c.is_ascii_graphic() && c != b':');
    if !UFRAG.contains(&ufrag.len()) || !fits(ufrag) {
        return invalid("a=ice-ufrag must be 4 to 256 characters long");
    }
    if !PWD.contains(&pwd.len()) || !fits(pwd) {
        return invalid("a=ice-pwd must be 22 to 256 characters long");
    }
    Ok(ice::Credentials {
        ufrag: ufrag.to_owned(),
        pwd: pwd.to_owned(),
    })
}

#[cfg(test)]
mod tests;
