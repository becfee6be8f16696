//! Reading offers and writing answers (RFC 8829). The server is always the answerer, ICE-lite and DTLS-passive.

use super::{Remote, dtls, ice};
use crate::rtp::parameters::{ReceiveParameters, SendParameters};

/// A parsed offer.
#[derive(Debug, Clone)]
pub struct Offer {}

#[derive(Debug, PartialEq, Eq)]
pub enum Error {
    /// Not a usable session description; the text says why. (400 `sdp_invalid`)
    Invalid(String),
    /// Well-formed, but nothing acceptable in it. (422 `codec_unsupported`)
    Unsupported(String),
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
    pub fn parse(_text: &str) -> Result<Offer, Error> {
        todo!()
    }
    pub fn remote(&self) -> &Remote {
        todo!()
    }
    /// The answer to a publisher: one audio and one video m-line received, one codec each, all else rejected.
    pub fn answer_publisher(
        &self,
        _local: &Local,
        _policy: PublishPolicy,
    ) -> Result<(String, ReceiveParameters), Error> {
        todo!()
    }
    /// The answer to a viewer: the first `max_slots` audio and video m-lines become slots, all else is rejected.
    /// `next_ssrc` yields distinct random SSRCs.
    pub fn answer_viewer(
        &self,
        _local: &Local,
        _max_slots: usize,
        _next_ssrc: &mut dyn FnMut() -> u32,
    ) -> Result<(String, SendParameters), Error> {
        todo!()
    }
}

/// A `trickle-ice-sdpfrag` body (RFC 8840) of a PATCH.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fragment {
    pub ice: Option<ice::Credentials>,
    /// Candidates are counted only: a lite agent learns addresses from checks.
    pub candidates: usize,
}

impl Fragment {
    pub fn parse(_text: &str) -> Result<Fragment, Error> {
        todo!()
    }
    /// The answer to an ICE restart: the server's new credentials and its candidates.
    pub fn write(_ice: &ice::Credentials, _candidates: &[ice::Candidate]) -> String {
        todo!()
    }
}
