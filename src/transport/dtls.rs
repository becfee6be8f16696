//! The DTLS server side of one transport, on OpenSSL.
//!
//! DTLS datagrams come in, datagrams to send and, once, SRTP keys come out. The server is always the passive side. The
//! peer is whoever holds the certificate its session description promised: that is checked inside the handshake and again
//! before keys are exported. There is no cookie round trip, since ICE has validated the address already.
//!
//! Time base: the caller's monotonic `Instant` for [`Server::poll_timeout`], but OpenSSL measures its retransmission waits
//! on the real clock. In virtual time a lost flight is therefore sent again when real time says so, not before.
//!
//! OpenSSL rather than a Rust crate: it ranks the SRTP profiles itself, takes RSA client certificates (GStreamer) and the
//! ClientHello of today's browsers, which post-quantum key shares split over two datagrams.

mod raw;

use super::CloseReason;
use super::srtp::Profile;
use openssl::asn1::Asn1Time;
use openssl::bn::{BigNum, MsbOption};
use openssl::ec::{EcGroup, EcKey};
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::srtp::SrtpProfileId;
use openssl::ssl::{
    ErrorCode, Ssl, SslContext, SslMethod, SslOptions, SslSessionCacheMode, SslStream, SslVerifyMode, SslVersion,
};
use openssl::x509::{X509, X509NameBuilder, X509Ref, X509VerifyResult};
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

/// Largest datagram of a flight, in bytes: fits every path that carries media.
const MTU: u32 = 1200;
/// Our order of preference (RFC 5764, RFC 7714).
const SRTP_PROFILES: &str = "SRTP_AEAD_AES_128_GCM:SRTP_AES128_CM_SHA1_80";
/// RFC 5764 4.2.
const EXPORTER_LABEL: &str = "EXTRACTOR-dtls_srtp";
/// Keys and salts of the longer profile, in bytes.
const MAX_KEYING: usize = 60;
/// Validity of the certificate, in days. Peers compare its fingerprint and nothing else; it dies with the process.
const VALIDITY_DAYS: u32 = 3650;
/// Datagrams OpenSSL may leave to be sent. A flight is three; when full, further ones are dropped, which the peer sees as
/// loss.
const MAX_OUTBOX: usize = 16;

/// SHA-256 of a DER certificate (RFC 8122).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    /// As SDP writes it: `AB:CD:…`.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        let mut pairs = text.split(':');
        for byte in &mut bytes {
            let pair = pairs
                .next()
                .filter(|pair| pair.len() == 2 && pair.bytes().all(|c| c.is_ascii_hexdigit()))?;
            *byte = u8::from_str_radix(pair, 16).ok()?;
        }
        pairs.next().is_none().then_some(Fingerprint(bytes))
    }

    fn of(certificate: &X509Ref) -> Option<Self> {
        let digest = certificate.digest(MessageDigest::sha256()).ok()?;
        digest.as_ref().try_into().ok().map(Fingerprint)
    }
}

impl std::fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            write!(f, "{}{byte:02X}", if at == 0 { "" } else { ":" })?;
        }
        Ok(())
    }
}

/// Certificate and settings shared by all transports of a node.
pub struct Context {
    ssl: SslContext,
    fingerprint: Fingerprint,
}

impl Context {
    /// With a fresh self-signed certificate.
    pub fn new() -> Result<Self, ErrorStack> {
        let key = PKey::from_ec_key(EcKey::generate(&*EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?)?)?;
        let certificate = self_signed(&key)?;
        let mut builder = SslContext::builder(SslMethod::dtls_server())?;
        builder.set_certificate(&certificate)?;
        builder.set_private_key(&key)?;
        builder.set_min_proto_version(Some(SslVersion::DTLS1_2))?;
        builder.set_tlsext_use_srtp(SRTP_PROFILES)?;
        // sessions are never resumed, so nothing is kept for that
        builder.set_session_cache_mode(SslSessionCacheMode::OFF);
        builder.set_options(SslOptions::NO_QUERY_MTU | SslOptions::NO_TICKET | SslOptions::NO_RENEGOTIATION);
        let fingerprint = Fingerprint::of(&certificate).ok_or_else(ErrorStack::get)?;
        Ok(Context {
            ssl: builder.build(),
            fingerprint,
        })
    }

    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }
}

/// A certificate that says nothing but its key.
fn self_signed(key: &PKey<Private>) -> Result<X509, ErrorStack> {
    let mut serial = BigNum::new()?;
    serial.rand(127, MsbOption::MAYBE_ZERO, false)?;
    let mut name = X509NameBuilder::new()?;
    name.append_entry_by_nid(Nid::COMMONNAME, "costage")?;
    let name = name.build();
    let mut builder = X509::builder()?;
    builder.set_version(2)?;
    builder.set_serial_number(&*serial.to_asn1_integer()?)?;
    builder.set_subject_name(&name)?;
    builder.set_issuer_name(&name)?;
    builder.set_not_before(&*Asn1Time::days_from_now(0)?)?;
    builder.set_not_after(&*Asn1Time::days_from_now(VALIDITY_DAYS)?)?;
    builder.set_pubkey(key)?;
    builder.sign(key, MessageDigest::sha256())?;
    Ok(builder.build())
}

/// What OpenSSL takes for a socket: one datagram per read and per write.
#[derive(Debug, Default)]
struct Wire {
    incoming: Option<Vec<u8>>,
    outbox: VecDeque<Vec<u8>>,
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let datagram = self.incoming.take().ok_or(io::ErrorKind::WouldBlock)?;
        (&datagram[..]).read(buffer)
    }
}

impl Write for Wire {
    fn write(&mut self, datagram: &[u8]) -> io::Result<usize> {
        if self.outbox.len() < MAX_OUTBOX {
            self.outbox.push_back(datagram.to_vec());
        }
        Ok(datagram.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The exporter's output for the negotiated profile.
pub(super) struct Keys {
    pub profile: Profile,
    material: [u8; MAX_KEYING],
}

impl Keys {
    pub fn material(&self) -> &[u8] {
        &self.material[..self.profile.keying_len()]
    }
}

/// What became of a datagram or a timeout.
pub(super) enum Outcome {
    Pending,
    /// The handshake is done with the right peer.
    Connected(Box<Keys>),
    Closed(CloseReason),
}

enum State {
    /// OpenSSL's objects are large and made only when the first datagram comes.
    Idle,
    Handshaking(Box<SslStream<Wire>>),
    Connected(Box<SslStream<Wire>>),
    Closed,
}

/// One server association.
pub(super) struct Server {
    context: SslContext,
    peer: Fingerprint,
    state: State,
    timeout: Option<Instant>,
}

impl Server {
    pub fn new(context: &Context, peer: Fingerprint) -> Self {
        Server {
            context: context.ssl.clone(),
            peer,
            state: State::Idle,
            timeout: None,
        }
    }

    pub fn handle_datagram(&mut self, datagram: &[u8], now: Instant) -> Outcome {
        if let State::Idle = self.state {
            match open(&self.context, self.peer) {
                Ok(stream) => self.state = State::Handshaking(Box::new(stream)),
                Err(_) => return self.fail(CloseReason::HandshakeFailed),
            }
        }
        match &mut self.state {
            State::Handshaking(stream) => {
                stream.get_mut().incoming = Some(datagram.to_vec());
                self.shake_hands(now)
            }
            State::Connected(stream) => {
                stream.get_mut().incoming = Some(datagram.to_vec());
                match read_to_end(stream) {
                    Ok(()) => Outcome::Pending,
                    Err(reason) => self.fail(reason),
                }
            }
            State::Idle | State::Closed => Outcome::Pending,
        }
    }

    /// Send a flight again that got no answer.
    pub fn handle_timeout(&mut self, now: Instant) -> Outcome {
        if self.timeout.is_none_or(|timeout| now < timeout) {
            return Outcome::Pending;
        }
        let State::Handshaking(stream) = &mut self.state else {
            self.timeout = None;
            return Outcome::Pending;
        };
        if !raw::handle_timeout(stream) {
            // the reason lies in OpenSSL's thread-wide queue, where the next caller would find it
            let _ = ErrorStack::get();
            return self.fail(CloseReason::HandshakeFailed);
        }
        self.arm(now);
        Outcome::Pending
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timeout
    }

    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        match &mut self.state {
            State::Handshaking(stream) | State::Connected(stream) => stream.get_mut().outbox.pop_front(),
            State::Idle | State::Closed => None,
        }
    }

    /// Leave a close_notify in the outbox. Without keys there is nobody to tell.
    pub fn close(&mut self) {
        self.timeout = None;
        if let State::Connected(stream) = &mut self.state
            && raw::alloc_buffers(stream)
        {
            // the peer's own close_notify is not waited for: the address is given up at once
            let _ = stream.shutdown();
        }
    }

    /// Free everything; what is left in the outbox is gone.
    pub fn release(&mut self) {
        self.timeout = None;
        self.state = State::Closed;
    }

    fn shake_hands(&mut self, now: Instant) -> Outcome {
        let State::Handshaking(stream) = &mut self.state else {
            return Outcome::Pending;
        };
        match stream.do_handshake() {
            Ok(()) => {}
            Err(error) if error.code() == ErrorCode::WANT_READ => {
                self.arm(now);
                return Outcome::Pending;
            }
            Err(_) if stream.ssl().verify_result() == X509VerifyResult::APPLICATION_VERIFICATION => {
                return self.fail(CloseReason::FingerprintMismatch);
            }
            Err(_) => return self.fail(CloseReason::HandshakeFailed),
        }
        self.timeout = None;
        match export(stream, self.peer) {
            Ok(keys) => {
                raw::free_buffers(stream);
                let State::Handshaking(stream) = std::mem::replace(&mut self.state, State::Closed) else {
                    unreachable!("matched above");
                };
                self.state = State::Connected(stream);
                Outcome::Connected(Box::new(keys))
            }
            Err(reason) => self.fail(reason),
        }
    }

    fn arm(&mut self, now: Instant) {
        /// OpenSSL counts what is below its clock's resolution as expired; we come a little later than it asks.
        const SLACK: Duration = Duration::from_millis(1);
        if let State::Handshaking(stream) = &mut self.state {
            self.timeout = raw::timeout(stream).map(|left| now + left + SLACK);
        }
    }

    /// The objects stay until [`release`](Self::release): an alert may be in the outbox.
    fn fail(&mut self, reason: CloseReason) -> Outcome {
        self.timeout = None;
        Outcome::Closed(reason)
    }
}

fn open(context: &SslContext, peer: Fingerprint) -> Result<SslStream<Wire>, ErrorStack> {
    let mut ssl = Ssl::new(context)?;
    ssl.set_accept_state();
    ssl.set_mtu(MTU)?;
    raw::set_timer(&mut ssl);
    // Nobody vouches for these certificates: the right one is the one promised. Issuers that come along don't matter.
    ssl.set_verify_callback(
        SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT,
        move |_, store| {
            let is_leaf = store.error_depth() == 0;
            let promised = !is_leaf || store.current_cert().and_then(Fingerprint::of) == Some(peer);
            if !promised {
                store.set_error(X509VerifyResult::APPLICATION_VERIFICATION);
            }
            promised
        },
    );
    SslStream::new(ssl, Wire::default())
}

/// The keys, if the peer is the right one and a profile was agreed on.
fn export(stream: &SslStream<Wire>, peer: Fingerprint) -> Result<Keys, CloseReason> {
    let ssl = stream.ssl();
    if ssl
        .peer_certificate()
        .and_then(|certificate| Fingerprint::of(&certificate))
        != Some(peer)
    {
        return Err(CloseReason::FingerprintMismatch);
    }
    let profile = match ssl.selected_srtp_profile().map(|profile| profile.id()) {
        Some(SrtpProfileId::SRTP_AEAD_AES_128_GCM) => Profile::AeadAes128Gcm,
        Some(SrtpProfileId::SRTP_AES128_CM_SHA1_80) => Profile::Aes128CmSha1_80,
        _ => return Err(CloseReason::HandshakeFailed),
    };
    let mut keys = Keys {
        profile,
        material: [0; MAX_KEYING],
    };
    let material = &mut keys.material[..profile.keying_len()];
    ssl.export_keying_material(material, EXPORTER_LABEL, None)
        .map_err(|_| CloseReason::HandshakeFailed)?;
    Ok(keys)
}

/// After the handshake: a repeated Finished of the client makes OpenSSL repeat its last flight, close_notify or a fatal
/// alert ends the association, and application data is not for us.
fn read_to_end(stream: &mut SslStream<Wire>) -> Result<(), CloseReason> {
    if !raw::alloc_buffers(stream) {
        return Err(CloseReason::PeerClosed);
    }
    let mut ignored = [0; 2048];
    loop {
        match stream.ssl_read(&mut ignored) {
            Ok(_) => {}
            Err(error) if error.code() == ErrorCode::WANT_READ => {
                raw::free_buffers(stream);
                return Ok(());
            }
            Err(_) => return Err(CloseReason::PeerClosed),
        }
    }
}

#[cfg(test)]
pub(super) mod testing;
#[cfg(test)]
mod tests;
