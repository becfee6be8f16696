//! One WebRTC transport, sans-I/O: ICE-lite agent, DTLS server, SRTP, offer → answer. The only module that knows of ICE
//! and DTLS. Time base: the caller's monotonic `Instant`.

pub mod dtls;
pub mod ice;
pub mod sdp;
pub mod srtp;

use std::net::SocketAddr;
use std::time::Instant;

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
    /// SRTP seen before, or older than the replay window.
    Replayed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// DTLS close_notify.
    PeerClosed,
    /// No consent for 30 s (RFC 7675), or no first check in time.
    ConsentExpired,
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
pub struct Transport {}

impl Transport {
    pub fn new(_dtls: &dtls::Context, _local: ice::Credentials, _remote: Remote, _now: Instant) -> Self {
        todo!()
    }
    /// Takes any datagram (STUN, DTLS, SRTP, SRTCP; RFC 7983) that arrived on `path`. SRTP is decrypted in place.
    pub fn handle_datagram<'d>(
        &mut self,
        _datagram: &'d mut [u8],
        _path: Path,
        _now: Instant,
    ) -> Result<Received<'d>, Dropped> {
        todo!()
    }
    pub fn handle_timeout(&mut self, _now: Instant) {
        todo!()
    }
    /// When [`handle_timeout`](Self::handle_timeout) is wanted next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        todo!()
    }
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        todo!()
    }
    pub fn poll_event(&mut self) -> Option<Event> {
        todo!()
    }
    /// Where media goes.
    pub fn path(&self) -> Option<Path> {
        todo!()
    }
    /// The sealing half, once connected. RTP indices are the caller's: never one twice for an SSRC with other content.
    pub fn sender(&mut self) -> Option<&mut srtp::Sender> {
        todo!()
    }
    /// ICE restart: new credentials on both sides; media keeps its path until the new ones nominate another.
    pub fn restart(&mut self, _local: ice::Credentials, _remote: ice::Credentials, _now: Instant) {
        todo!()
    }
    /// Queue a close_notify for the peer.
    pub fn close(&mut self) {
        todo!()
    }
}
