//! One WebRTC transport, sans-I/O: ICE-lite agent, DTLS server, SRTP, offer → answer. The only module that knows of ICE
//! and DTLS. Time base: the caller's monotonic `Instant`.

pub mod dtls;
mod hmac;
pub mod ice;
pub mod sdp;
pub mod srtp;
mod stun;
#[cfg(test)]
pub(crate) mod testing;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Datagrams waiting for `poll_transmit`: three flights of DTLS. The owner takes them after every call; when full, further
/// ones are dropped, which STUN and DTLS see as loss.
const MAX_TRANSMITS: usize = 32;
/// From the first validated path to the end of the handshake. As long as consent: ICE alone holds no session.
const HANDSHAKE: Duration = Duration::from_secs(30);

/// A way datagrams travel between the server and a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Path {
    /// The worker's socket (UDP) or accepted connection (ICE-TCP); opaque here.
    pub socket: u32,
    pub remote: SocketAddr,
}

/// What the peer's session description says about its transport.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    pub ice: ice::Credentials,
    /// SHA-256 of the peer's certificate.
    pub fingerprint: dtls::Fingerprint,
}

/// What a datagram turned out to carry for the layers above.
#[derive(Debug)]
pub enum Received<'d> {
    /// Handled inside (STUN, DTLS), or not to be answered.
    Nothing,
    /// A plain RTP packet, authentication tag cut off; `index` is ROC ‖ SEQ of its SSRC (RFC 3711 3.3.1).
    Rtp { packet: &'d mut [u8], index: u64 },
    /// A plain compound RTCP packet.
    Rtcp(&'d [u8]),
}

/// Why a datagram was dropped; counted by the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    Malformed,
    /// STUN with wrong credentials or integrity.
    Unauthorised,
    /// DTLS or SRTP from an address no connectivity check has validated.
    UnknownPath,
    /// SRTP before the handshake is done.
    NoKeys,
    /// SRTP authentication failed.
    Forged,
    /// SRTP seen before, older than the replay window, or of one SSRC too many to tell.
    Replayed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// DTLS close_notify.
    PeerClosed,
    /// No consent for 30 s (RFC 7675), or no first check in time.
    ConsentExpired,
    /// DTLS failed, or was not done within 30 s of the first check.
    HandshakeFailed,
    FingerprintMismatch,
}

/// What happened inside, for the owner of the sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Datagrams on this path belong to this transport from now on.
    PathValidated(Path),
    /// The path is no longer this transport's.
    PathForgotten(Path),
    /// Media goes to this path from now on (first validated, later the newest nomination).
    PathSelected(Path),
    /// DTLS is done and the fingerprint verified: media may flow.
    Connected(srtp::Profile),
    Closed(CloseReason),
}

/// A datagram to send.
#[derive(Debug, PartialEq, Eq)]
pub struct Transmit {
    pub path: Path,
    pub bytes: Vec<u8>,
}

/// One peer's transport.
///
/// Bytes enter by [`handle_datagram`](Self::handle_datagram), time by [`handle_timeout`](Self::handle_timeout); after
/// either, [`poll_transmit`](Self::poll_transmit) and [`poll_event`](Self::poll_event) are to be drained.
/// After [`Event::Closed`] nothing is taken, sent or wanted any more, but what is queued may still be polled.
pub struct Transport {
    ice: ice::Agent,
    dtls: dtls::Server,
    /// Where the peer's last DTLS datagram came from: it may use another path than the one we would pick.
    dtls_path: Option<Path>,
    keys: Option<Box<Keys>>,
    /// By when DTLS has to be done; set by the first validated path, cleared by the keys.
    handshake_by: Option<Instant>,
    closed: bool,
    transmits: VecDeque<Transmit>,
    events: VecDeque<Event>,
}

/// Both directions of SRTP.
struct Keys {
    receiver: srtp::Receiver,
    sender: srtp::Sender,
}

impl Transport {
    pub fn new(dtls: &dtls::Context, local: ice::Credentials, remote: Remote, now: Instant) -> Self {
        Transport {
            ice: ice::Agent::new(&local, &remote.ice, now),
            dtls: dtls::Server::new(dtls, remote.fingerprint),
            dtls_path: None,
            keys: None,
            handshake_by: None,
            closed: false,
            transmits: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// Takes any datagram (STUN, DTLS, SRTP, SRTCP; RFC 7983) that arrived on `path`. SRTP is decrypted in place.
    pub fn handle_datagram<'d>(
        &mut self,
        datagram: &'d mut [u8],
        path: Path,
        now: Instant,
    ) -> Result<Received<'d>, Dropped> {
        if self.closed {
            return Ok(Received::Nothing);
        }
        match *datagram {
            [first, ..] if stun::is_stun(first) => self.handle_stun(datagram, path, now).map(|()| Received::Nothing),
            [20..=63, ..] => self.handle_dtls(datagram, path, now).map(|()| Received::Nothing),
            // RTCP's packet types are where RTP has marker and payload type (RFC 5761 section 4)
            [128..=191, 192..=223, ..] => Ok(Received::Rtcp(self.opener(path)?.unprotect_rtcp(datagram)?)),
            [128..=191, _, ..] => {
                let (packet, index) = self.opener(path)?.unprotect_rtp(datagram)?;
                Ok(Received::Rtp { packet, index })
            }
            _ => Err(Dropped::Malformed),
        }
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        if self.closed {
            return;
        }
        if !self.ice.handle_timeout(now, &mut self.events) {
            return self.end(CloseReason::ConsentExpired);
        }
        if self.handshake_by.is_some_and(|by| by <= now) {
            return self.end(CloseReason::HandshakeFailed);
        }
        let outcome = self.dtls.handle_timeout(now);
        self.after_dtls(outcome);
    }

    /// When [`handle_timeout`](Self::handle_timeout) is wanted next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let timers = [
            Some(self.ice.poll_timeout()),
            self.handshake_by,
            self.dtls.poll_timeout(),
        ];
        timers.into_iter().flatten().min().filter(|_| !self.closed)
    }

    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Where media goes.
    pub fn path(&self) -> Option<Path> {
        self.ice.path()
    }

    /// The sealing half, once connected. RTP indices are the caller's: never one twice for an SSRC with other content.
    pub fn sender(&mut self) -> Option<&mut srtp::Sender> {
        self.keys.as_mut().map(|keys| &mut keys.sender)
    }

    /// ICE restart: new credentials on both sides; media keeps its path until the new ones nominate another.
    pub fn restart(&mut self, local: ice::Credentials, remote: ice::Credentials, now: Instant) {
        self.ice.restart(&local, &remote, now);
    }

    /// The path is no more (its TCP connection closed): media moves to the validated one checked last, if there is one.
    pub fn path_lost(&mut self, path: Path) {
        self.ice.forget(path, &mut self.events);
    }

    /// Queue a close_notify for the peer. No event follows.
    pub fn close(&mut self) {
        if !self.closed {
            self.dtls.close();
            self.finish();
        }
    }

    fn handle_stun(&mut self, datagram: &[u8], path: Path, now: Instant) -> Result<(), Dropped> {
        let is_first = self.keys.is_none() && self.ice.path().is_none();
        if let Some(bytes) = self.ice.handle(datagram, path, now, &mut self.events)? {
            self.transmit(path, bytes);
        }
        if is_first && self.handshake_by.is_none() && self.ice.path().is_some() {
            self.handshake_by = Some(now + HANDSHAKE);
        }
        Ok(())
    }

    fn handle_dtls(&mut self, datagram: &[u8], path: Path, now: Instant) -> Result<(), Dropped> {
        if !self.ice.is_validated(path) {
            return Err(Dropped::UnknownPath);
        }
        self.dtls_path = Some(path);
        let outcome = self.dtls.handle_datagram(datagram, now);
        self.after_dtls(outcome);
        Ok(())
    }

    fn after_dtls(&mut self, outcome: dtls::Outcome) {
        match outcome {
            dtls::Outcome::Pending => self.drain_dtls(),
            dtls::Outcome::Connected(secret) => {
                self.drain_dtls();
                match srtp::contexts(secret.profile, secret.material()) {
                    Some((receiver, sender)) => {
                        assert!(self.keys.is_none(), "keys are made once");
                        self.keys = Some(Box::new(Keys { receiver, sender }));
                        self.handshake_by = None;
                        self.events.push_back(Event::Connected(secret.profile));
                    }
                    None => self.end(CloseReason::HandshakeFailed),
                }
            }
            dtls::Outcome::Closed(reason) => self.end(reason),
        }
    }

    fn drain_dtls(&mut self) {
        // replies go where the peer speaks DTLS from, even if that is not yet, or no longer, where media goes
        let Some(path) = self
            .dtls_path
            .filter(|path| self.ice.is_validated(*path))
            .or(self.ice.path())
        else {
            return;
        };
        while let Some(bytes) = self.dtls.poll_transmit() {
            self.transmit(path, bytes);
        }
    }

    fn transmit(&mut self, path: Path, bytes: Vec<u8>) {
        if self.transmits.len() < MAX_TRANSMITS {
            self.transmits.push_back(Transmit { path, bytes });
        }
    }

    /// The opening half for a packet from `path`.
    fn opener(&mut self, path: Path) -> Result<&mut srtp::Receiver, Dropped> {
        if !self.ice.is_validated(path) {
            return Err(Dropped::UnknownPath);
        }
        self.keys.as_mut().map(|keys| &mut keys.receiver).ok_or(Dropped::NoKeys)
    }

    fn end(&mut self, reason: CloseReason) {
        self.finish();
        self.events.push_back(Event::Closed(reason));
    }

    fn finish(&mut self) {
        assert!(!self.closed, "a transport ends once");
        self.closed = true;
        self.drain_dtls();
        self.dtls.release();
        self.keys = None;
    }
}

#[cfg(test)]
mod tests;
