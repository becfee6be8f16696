//! `trickle-ice-sdpfrag` bodies (RFC 8840) as WHIP uses them (RFC 9725 4.3).

use super::media::is_id;
use super::{Error, answer, check_text, credentials, invalid};
use crate::transport::ice;
use std::fmt::Write;

/// A `trickle-ice-sdpfrag` body (RFC 8840) of a PATCH.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fragment {
    pub ice: Option<ice::Credentials>,
    /// Candidates are counted only: a lite agent learns addresses from checks.
    pub candidates: usize,
    /// The first m-line's, which the answer repeats.
    pub mid: Option<String>,
}

impl Fragment {
    pub fn parse(text: &str) -> Result<Fragment, Error> {
        check_text(text)?;
        let (mut ufrag, mut pwd) = (None, None);
        let (mut mid, mut candidates) = (None, 0);
        for line in text.lines().map(str::trim_end).filter(|line| !line.is_empty()) {
            let attribute = match line.split_once('=') {
                Some(("a", attribute)) => attribute,
                Some((kind, _)) if kind.len() == 1 => continue,
                _ => return invalid(format!("not an SDP fragment: `{}`", line.escape_debug())),
            };
            let (key, value) = attribute.split_once(':').unwrap_or((attribute, ""));
            match key {
                "ice-ufrag" => set_once(&mut ufrag, value, key)?,
                "ice-pwd" => set_once(&mut pwd, value, key)?,
                "candidate" => candidates += 1,
                "mid" if !is_id(value) => return invalid("a=mid is not a token"),
                "mid" => mid = mid.or(Some(value.to_owned())),
                _ => {}
            }
        }
        let ice = match (ufrag, pwd) {
            (Some(ufrag), Some(pwd)) => Some(credentials(ufrag, pwd)?),
            (None, None) => None,
            (Some(_), None) => return invalid("a=ice-ufrag without a=ice-pwd"),
            (None, Some(_)) => return invalid("a=ice-pwd without a=ice-ufrag"),
        };
        Ok(Fragment { ice, candidates, mid })
    }

    /// The answer to an ICE restart: the server's new credentials and its candidates.
    pub fn write(ice: &ice::Credentials, candidates: &[ice::Candidate]) -> String {
        write("0", ice, candidates)
    }

    /// The answer to this ICE restart, under the mid it used: that of an m-line the client knows.
    pub fn answer(&self, ice: &ice::Credentials, candidates: &[ice::Candidate]) -> String {
        write(self.mid.as_deref().unwrap_or("0"), ice, candidates)
    }
}

/// All m-lines of a bundle repeat the same credentials; others would be other transports.
fn set_once<'a>(place: &mut Option<&'a str>, value: &'a str, key: &str) -> Result<(), Error> {
    match place.replace(value) {
        Some(before) if before != value => invalid(format!("two different a={key}")),
        _ => Ok(()),
    }
}

/// As in the example of RFC 9725 4.3.3: the m-line is a pseudo one (RFC 8840 section 9) that only carries the mid.
fn write(mid: &str, ice: &ice::Credentials, candidates: &[ice::Candidate]) -> String {
    let mut text = String::with_capacity(512);
    let _ = write!(
        text,
        "a=ice-options:trickle\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:{mid}\r\na=ice-ufrag:{}\r\na=ice-pwd:{}\r\n",
        ice.ufrag, ice.pwd
    );
    answer::candidates(&mut text, candidates);
    text
}
