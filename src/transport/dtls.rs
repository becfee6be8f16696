//! The DTLS server side of one transport.

/// SHA-256 of a DER certificate (RFC 8122).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint(pub [u8; 32]);

/// Certificate and settings shared by all transports of a node.
pub struct Context {}

impl Context {
    /// With a fresh self-signed certificate.
    pub fn new() -> Result<Self, openssl::error::ErrorStack> {
        todo!()
    }
    pub fn fingerprint(&self) -> Fingerprint {
        todo!()
    }
}
