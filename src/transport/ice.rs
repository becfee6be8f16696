//! ICE-lite (RFC 8445 section 2.5): the server only answers connectivity checks.

use std::net::SocketAddr;

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
pub fn local_ufrag(_datagram: &[u8]) -> Option<&str> {
    todo!()
}
