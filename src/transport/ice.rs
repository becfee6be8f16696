//! ICE-lite (RFC 8445 section 2.5): the server only answers connectivity checks.
//!
//! The agent never sends a check and pairs nothing: the peer, always the controlling side, decides. In come binding
//! requests with the path they arrived on; out go the answers to them and, as events, which paths belong to the peer and
//! which one media takes. Time base: the caller's monotonic `Instant`.

use super::hmac::HmacSha1;
use super::stun::{Class, Message};
use super::{Dropped, Event, Path};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Without an authenticated check for this long the peer is gone, or no longer consents (RFC 7675 5.1). A lite agent sends
/// no checks of its own, so it counts those it receives. Also how long a first check, and a path, may keep quiet.
pub(super) const CONSENT: Duration = Duration::from_secs(30);
/// When the selected path has been quiet for this long, a check on another path takes media with it. Browsers check a pair
/// in use every 2.5 to 6 s (RFC 7675 5.1), so a loss or two does not count as silence. A peer behind a rebound NAT that
/// nominated only once (Firefox) is followed this way.
const SILENCE: Duration = Duration::from_secs(8);
/// Paths that passed a check. A peer with three interfaces meets a server with UDP and TCP on two address families on
/// twelve. When full, the one not checked for longest is forgotten, never the selected one.
const MAX_PATHS: usize = 16;

/// A username fragment and password (RFC 8445 5.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    pub ufrag: String,
    pub pwd: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Udp,
    /// `tcptype passive` (RFC 6544).
    TcpPassive,
}

/// A host candidate of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    pub protocol: Protocol,
    pub address: SocketAddr,
}

/// The server's username fragment a binding request names, before anything is verified: what an unknown path is
/// demultiplexed by.
pub fn local_ufrag(datagram: &[u8]) -> Option<&str> {
    let message = Message::parse(datagram).filter(|message| message.class == Class::Request)?;
    message.username.map(|(local, _)| local)
}

/// The credentials of one ICE generation: a restart begins the next.
struct Generation {
    local_ufrag: String,
    remote_ufrag: String,
    key: HmacSha1,
    /// The highest renomination counter seen (draft-thatcher-ice-renomination-01).
    nomination: u32,
}

impl Generation {
    fn new(local: &Credentials, remote: &Credentials) -> Self {
        Generation {
            local_ufrag: local.ufrag.clone(),
            remote_ufrag: remote.ufrag.clone(),
            key: HmacSha1::new(local.pwd.as_bytes()),
            nomination: 0,
        }
    }

    fn authenticates(&self, check: &Message) -> bool {
        check.username == Some((&self.local_ufrag, &self.remote_ufrag)) && check.is_authentic(&self.key)
    }

    /// Whether the check nominates its path. The newest nomination wins, so a rebound NAT or another network is followed at
    /// once; with the renomination extension the counter decides and a stale one is ignored.
    fn nominates(&mut self, check: &Message) -> bool {
        match check.nomination {
            Some(counter) if counter < self.nomination => false,
            Some(counter) => {
                self.nomination = counter;
                true
            }
            None => check.use_candidate,
        }
    }
}

struct Validated {
    path: Path,
    last_check: Instant,
}

/// The lite agent of one transport.
pub(super) struct Agent {
    generation: Generation,
    /// Still accepted after a restart, until the first check with the new credentials.
    previous: Option<Generation>,
    paths: Vec<Validated>,
    selected: Option<Path>,
    /// The last authenticated check, or the creation.
    last_check: Instant,
}

impl Agent {
    pub fn new(local: &Credentials, remote: &Credentials, now: Instant) -> Self {
        Agent {
            generation: Generation::new(local, remote),
            previous: None,
            paths: Vec::new(),
            selected: None,
            last_check: now,
        }
    }

    /// Where media goes: the first validated path until the peer nominates one. Browsers start DTLS on the first pair that
    /// works and nominate some 50 ms later; waiting for that would lose the keyframe the join asked for.
    pub fn path(&self) -> Option<Path> {
        self.selected
    }

    pub fn is_validated(&self, path: Path) -> bool {
        self.paths.iter().any(|validated| validated.path == path)
    }

    /// The new generation gets as long for its first check as the first one did.
    pub fn restart(&mut self, local: &Credentials, remote: &Credentials, now: Instant) {
        self.last_check = self.last_check.max(now);
        let unused = std::mem::replace(&mut self.generation, Generation::new(local, remote));
        // of two restarts in a row the first was never used: the peer still checks with what came before
        self.previous.get_or_insert(unused);
    }

    /// Takes a STUN message; yields the answer to it.
    pub fn handle(
        &mut self,
        datagram: &[u8],
        path: Path,
        now: Instant,
        events: &mut VecDeque<Event>,
    ) -> Result<Option<Vec<u8>>, Dropped> {
        let check = Message::parse(datagram).ok_or(Dropped::Malformed)?;
        match check.class {
            Class::Request => {}
            // a keepalive (RFC 8445 section 11): wants no answer and proves nothing
            Class::Indication => return Ok(None),
            Class::Response => return Err(Dropped::Malformed),
        }
        if self.generation.authenticates(&check) {
            self.previous = None;
        } else if !self
            .previous
            .as_ref()
            .is_some_and(|previous| previous.authenticates(&check))
        {
            return Err(Dropped::Unauthorised);
        }
        let generation = self.previous.as_mut().unwrap_or(&mut self.generation);
        if check.unknown().next().is_some() {
            return Ok(Some(check.unknown_attributes(&generation.key)));
        }
        if check.controlled {
            return Ok(Some(check.role_conflict(&generation.key)));
        }
        let nominated = generation.nominates(&check);
        let reply = check.success(&generation.key, path.remote);
        self.last_check = now;
        self.validate(path, now, events);
        if nominated || self.selected.is_none() || self.selected_is_silent(now) {
            self.select(path, events);
        }
        Ok(Some(reply))
    }

    fn validate(&mut self, path: Path, now: Instant, events: &mut VecDeque<Event>) {
        if let Some(known) = self.paths.iter_mut().find(|known| known.path == path) {
            known.last_check = now;
            return;
        }
        if self.paths.len() >= MAX_PATHS {
            let spare = self
                .paths
                .iter()
                .enumerate()
                .filter(|(_, known)| Some(known.path) != self.selected);
            if let Some((at, _)) = spare.min_by_key(|(_, known)| known.last_check) {
                let forgotten = self.paths.remove(at);
                events.push_back(Event::PathForgotten(forgotten.path));
            }
        }
        self.paths.push(Validated { path, last_check: now });
        events.push_back(Event::PathValidated(path));
        assert!(self.paths.len() <= MAX_PATHS);
    }

    fn select(&mut self, path: Path, events: &mut VecDeque<Event>) {
        assert!(self.is_validated(path), "media only ever goes where a check came from");
        if self.selected != Some(path) {
            self.selected = Some(path);
            events.push_back(Event::PathSelected(path));
        }
    }

    fn selected_is_silent(&self, now: Instant) -> bool {
        let selected = self.paths.iter().find(|known| Some(known.path) == self.selected);
        selected.is_some_and(|known| now.saturating_duration_since(known.last_check) >= SILENCE)
    }

    /// The path is gone (a closed TCP connection). Media moves to the one checked last, if there is another.
    pub fn forget(&mut self, path: Path, events: &mut VecDeque<Event>) {
        if !self.is_validated(path) {
            return;
        }
        self.paths.retain(|known| known.path != path);
        events.push_back(Event::PathForgotten(path));
        if self.selected == Some(path) {
            self.selected = None;
            if let Some(newest) = self
                .paths
                .iter()
                .max_by_key(|known| known.last_check)
                .map(|known| known.path)
            {
                self.select(newest, events);
            }
        }
    }

    /// Forget paths that went quiet; `false` once consent has run out.
    pub fn handle_timeout(&mut self, now: Instant, events: &mut VecDeque<Event>) -> bool {
        let selected = self.selected;
        self.paths.retain(|known| {
            let keep = Some(known.path) == selected || now < known.last_check + CONSENT;
            if !keep {
                events.push_back(Event::PathForgotten(known.path));
            }
            keep
        });
        now < self.last_check + CONSENT
    }

    /// When [`handle_timeout`](Self::handle_timeout) finds something to do.
    pub fn poll_timeout(&self) -> Instant {
        let spare = self.paths.iter().filter(|known| Some(known.path) != self.selected);
        let oldest = spare.map(|known| known.last_check).min();
        oldest.map_or(self.last_check, |oldest| oldest.min(self.last_check)) + CONSENT
    }
}

#[cfg(test)]
mod tests;
