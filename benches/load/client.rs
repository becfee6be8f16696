//! A lean WebRTC client: a controlling ICE agent with one pair, a DTLS client, SRTP. Shell.
//!
//! In: datagrams of its one socket. Out: connectivity checks, handshake, sealed packets. One connected UDP socket per
//! client, so that the server sees as many remote addresses as there are clients. It skips what a server cannot tell:
//! it gathers nothing, and it takes a check's answer by its transaction id without verifying the integrity attribute.

use crate::sdp::Answer;
use crate::srtp::{self, Keys};
use openssl::asn1::Asn1Time;
use openssl::bn::{BigNum, MsbOption};
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::PKey;
use openssl::ssl::{ErrorCode, Ssl, SslContext, SslMethod, SslOptions, SslStream, SslVerifyMode};
use openssl::x509::{X509, X509NameBuilder};
use ring::hmac;
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A check without an answer is repeated after this; browsers start with 50 ms.
const CHECK_RETRY: Duration = Duration::from_millis(50);
/// Consent is refreshed this often (RFC 7675 section 5.1).
const CONSENT: Duration = Duration::from_secs(5);
/// How often OpenSSL gets to look at its own retransmission timer.
const HANDSHAKE_POLL: Duration = Duration::from_millis(100);
/// Enough for a keyframe and a loader that was away for half a second.
const RECEIVE_BUFFER: libc::c_int = 1 << 20;

/// The certificate all clients share, and the offer's transport parameters.
pub struct Identity {
    context: SslContext,
    pub fingerprint: String,
    pub ufrag: String,
    pub pwd: String,
}

impl Identity {
    /// With a fresh self-signed ECDSA certificate.
    pub fn new() -> io::Result<Identity> {
        let key = PKey::from_ec_key(EcKey::generate(&*EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?)?)?;
        let mut name = X509NameBuilder::new()?;
        name.append_entry_by_text("CN", "load")?;
        let name = name.build();
        let mut serial = BigNum::new()?;
        serial.rand(64, MsbOption::MAYBE_ZERO, false)?;
        let mut certificate = X509::builder()?;
        certificate.set_version(2)?;
        certificate.set_serial_number(&*serial.to_asn1_integer()?)?;
        certificate.set_subject_name(&name)?;
        certificate.set_issuer_name(&name)?;
        certificate.set_pubkey(&key)?;
        certificate.set_not_before(&*Asn1Time::days_from_now(0)?)?;
        certificate.set_not_after(&*Asn1Time::days_from_now(30)?)?;
        certificate.sign(&key, MessageDigest::sha256())?;
        let certificate = certificate.build();

        let mut context = SslContext::builder(SslMethod::dtls())?;
        context.set_certificate(&certificate)?;
        context.set_private_key(&key)?;
        // Any certificate will do here: its fingerprint is compared when the handshake is done.
        context.set_verify_callback(SslVerifyMode::PEER, |_, _| true);
        context.set_tlsext_use_srtp("SRTP_AEAD_AES_128_GCM")?;
        context.set_options(SslOptions::NO_QUERY_MTU);
        Ok(Identity {
            context: context.build(),
            fingerprint: fingerprint(&certificate)?,
            ufrag: "load".into(),
            pwd: "loadloadloadloadloadload".into(),
        })
    }
}

/// SHA-256 in the notation of RFC 8122.
fn fingerprint(certificate: &X509) -> io::Result<String> {
    let digest = certificate.digest(MessageDigest::sha256())?;
    Ok(digest
        .iter()
        .map(|byte| format!("{byte:02X}"))
        .collect::<Vec<_>>()
        .join(":"))
}

/// What OpenSSL takes for a socket: one datagram per read and per write.
#[derive(Debug)]
struct Wire {
    socket: Arc<UdpSocket>,
    inbox: VecDeque<Vec<u8>>,
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let datagram = self.inbox.pop_front().ok_or(io::ErrorKind::WouldBlock)?;
        datagram.as_slice().read(buffer)
    }
}

impl Write for Wire {
    fn write(&mut self, datagram: &[u8]) -> io::Result<usize> {
        // A datagram that could not be sent is one that was lost: the handshake repeats it.
        let _ = self.socket.send(datagram);
        Ok(datagram.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

enum Stage {
    /// No check has been answered yet.
    Checking(Ssl),
    Handshaking(Box<SslStream<Wire>>),
    Connected {
        seal: Box<Keys>,
        open: Box<Keys>,
    },
    Closed,
}

/// What a datagram turned out to be.
#[derive(Debug)]
pub enum Input<'d> {
    Nothing,
    /// The keys are there.
    Connected,
    /// Still sealed: whoever counts need not decrypt.
    Rtp(&'d mut [u8]),
    /// Plain.
    Rtcp(&'d [u8]),
    /// The handshake failed or the server closed; the text says which.
    Closed(&'static str),
}

/// One client's transport.
pub struct Client {
    socket: Arc<UdpSocket>,
    stage: Stage,
    username: String,
    key: hmac::Key,
    transaction: [u8; 12],
    server_fingerprint: String,
    next_check: Instant,
    next_handshake_poll: Instant,
    rtcp_index: u32,
}

impl Client {
    /// Opens the socket and sends the first check.
    pub fn new(identity: &Identity, answer: &Answer, now: Instant) -> io::Result<Client> {
        let any: SocketAddr = (
            if answer.remote.ip().is_loopback() {
                [127, 0, 0, 1]
            } else {
                [0; 4]
            },
            0,
        )
            .into();
        let socket = UdpSocket::bind(any)?;
        socket.connect(answer.remote)?;
        socket.set_nonblocking(true)?;
        crate::sys::widen_receive_buffer(socket.as_raw_fd(), RECEIVE_BUFFER);
        crate::sys::stamp_arrivals(socket.as_raw_fd())?;
        let mut ssl = Ssl::new(&identity.context)?;
        ssl.set_connect_state();
        ssl.set_mtu(1200)?;
        let mut client = Client {
            socket: Arc::new(socket),
            stage: Stage::Checking(ssl),
            username: format!("{}:{}", answer.ufrag, identity.ufrag),
            key: hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, answer.pwd.as_bytes()),
            transaction: rand::random(),
            server_fingerprint: answer.fingerprint.clone(),
            next_check: now,
            next_handshake_poll: now,
            rtcp_index: 0,
        };
        client.poll(now);
        Ok(client)
    }

    pub fn fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    pub fn is_connected(&self) -> bool {
        matches!(self.stage, Stage::Connected { .. })
    }

    /// Send what time has made due: checks, consent, the handshake's repetitions.
    pub fn poll(&mut self, now: Instant) {
        if now >= self.next_check {
            let retry = if matches!(self.stage, Stage::Checking(_)) {
                CHECK_RETRY
            } else {
                CONSENT
            };
            self.next_check = now + retry;
            let _ = self
                .socket
                .send(&binding_request(&self.username, &self.key, self.transaction));
        }
        if let Stage::Handshaking(stream) = &mut self.stage
            && now >= self.next_handshake_poll
        {
            self.next_handshake_poll = now + HANDSHAKE_POLL;
            let _ = stream.do_handshake();
        }
    }

    pub fn handle<'d>(&mut self, datagram: &'d mut [u8], now: Instant) -> Input<'d> {
        match datagram {
            [0..=3, ..] => self.handle_stun(datagram, now),
            [20..=63, ..] => self.handle_dtls(datagram, now),
            [128..=191, kind, ..] => {
                let is_rtcp = (192..=223).contains(kind);
                match &self.stage {
                    Stage::Connected { open, .. } if is_rtcp => {
                        open.open_rtcp(datagram).map_or(Input::Nothing, Input::Rtcp)
                    }
                    Stage::Connected { .. } => Input::Rtp(datagram),
                    _ => Input::Nothing,
                }
            }
            _ => Input::Nothing,
        }
    }

    /// The first answered check starts the handshake, as in browsers.
    fn handle_stun(&mut self, datagram: &[u8], now: Instant) -> Input<'static> {
        if datagram.get(..2) != Some(&BINDING_SUCCESS) || datagram.get(8..20) != Some(&self.transaction) {
            return Input::Nothing;
        }
        self.transaction = rand::random();
        let Stage::Checking(_) = self.stage else {
            return Input::Nothing;
        };
        self.next_check = now + CONSENT;
        self.next_handshake_poll = now + HANDSHAKE_POLL;
        let Stage::Checking(ssl) = std::mem::replace(&mut self.stage, Stage::Closed) else {
            return Input::Nothing;
        };
        let wire = Wire {
            socket: self.socket.clone(),
            inbox: VecDeque::new(),
        };
        let Ok(mut stream) = SslStream::new(ssl, wire) else {
            return Input::Closed("no DTLS stream");
        };
        let _ = stream.do_handshake();
        self.stage = Stage::Handshaking(Box::new(stream));
        Input::Nothing
    }

    fn handle_dtls(&mut self, datagram: &[u8], now: Instant) -> Input<'static> {
        const ALERT: u8 = 21;
        match &mut self.stage {
            Stage::Handshaking(stream) => {
                stream.get_mut().inbox.push_back(datagram.to_vec());
                self.next_handshake_poll = now + HANDSHAKE_POLL;
                match stream.do_handshake() {
                    Err(error) if error.code() == ErrorCode::WANT_READ => return Input::Nothing,
                    Err(_) => return self.close("the handshake failed"),
                    Ok(()) => {}
                }
                match keys(stream, &self.server_fingerprint) {
                    Ok((seal, open)) => {
                        self.stage = Stage::Connected {
                            seal: Box::new(seal),
                            open: Box::new(open),
                        };
                        Input::Connected
                    }
                    Err(why) => self.close(why),
                }
            }
            Stage::Connected { .. } if datagram.first() == Some(&ALERT) => self.close("the server closed"),
            _ => Input::Nothing,
        }
    }

    fn close(&mut self, why: &'static str) -> Input<'static> {
        self.stage = Stage::Closed;
        Input::Closed(why)
    }

    /// The plain payload of a received packet; `None`: not authentic. `index` is ROC ‖ SEQ.
    pub fn open_rtp<'p>(&self, packet: &'p mut [u8], header_len: usize, ssrc: u32, index: u64) -> Option<&'p mut [u8]> {
        let Stage::Connected { open, .. } = &self.stage else {
            return None;
        };
        open.open_rtp(packet, header_len, ssrc, index)
    }

    /// Seal and send; nothing before the client is connected.
    pub fn send_rtp(&self, mut packet: Vec<u8>, header_len: usize, ssrc: u32, index: u64) {
        let Stage::Connected { seal, .. } = &self.stage else {
            return;
        };
        seal.seal_rtp(&mut packet, header_len, ssrc, index);
        let _ = self.socket.send(&packet);
    }

    /// Seal and send a compound packet that begins with `ssrc`'s.
    pub fn send_rtcp(&mut self, mut compound: Vec<u8>, ssrc: u32) {
        let Stage::Connected { seal, .. } = &self.stage else {
            return;
        };
        seal.seal_rtcp(&mut compound, ssrc, self.rtcp_index);
        self.rtcp_index += 1;
        let _ = self.socket.send(&compound);
    }
}

/// The keys of a finished handshake with the right server.
fn keys(stream: &SslStream<Wire>, fingerprint_wanted: &str) -> Result<(Keys, Keys), &'static str> {
    let ssl = stream.ssl();
    let certificate = ssl.peer_certificate().ok_or("no server certificate")?;
    if fingerprint(&certificate).ok().as_deref() != Some(fingerprint_wanted) {
        return Err("the server's certificate is not the answer's");
    }
    if ssl.selected_srtp_profile().is_none() {
        return Err("no SRTP profile");
    }
    let mut material = [0; srtp::KEYING];
    ssl.export_keying_material(&mut material, "EXTRACTOR-dtls_srtp", None)
        .map_err(|_| "no keying material")?;
    srtp::client_keys(&material).ok_or("no keys")
}

const BINDING_SUCCESS: [u8; 2] = [0x01, 0x01];

/// A nominating connectivity check (RFC 8445 section 7.2).
fn binding_request(username: &str, key: &hmac::Key, transaction: [u8; 12]) -> Vec<u8> {
    /// Bytes of the attributes behind, each with its four bytes of header.
    const INTEGRITY: usize = 24;
    const FINGERPRINT: usize = 8;
    let mut out = vec![0x00, 0x01, 0, 0, 0x21, 0x12, 0xa4, 0x42];
    out.extend_from_slice(&transaction);
    put(&mut out, 0x0006, username.as_bytes());
    put(&mut out, 0x0024, &0x7e00_00ff_u32.to_be_bytes()); // PRIORITY: a host candidate
    put(&mut out, 0x802a, &[0x5a; 8]); // ICE-CONTROLLING; a lite server never disputes the role
    put(&mut out, 0x0025, &[]); // USE-CANDIDATE
    set_length(&mut out, INTEGRITY);
    let tag = hmac::sign(key, &out);
    put(&mut out, 0x0008, tag.as_ref());
    set_length(&mut out, FINGERPRINT);
    let crc = crc32fast::hash(&out) ^ 0x5354_554e;
    put(&mut out, 0x8028, &crc.to_be_bytes());
    out
}

fn put(out: &mut Vec<u8>, kind: u16, value: &[u8]) {
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&(value.len() as u16).to_be_bytes());
    out.extend_from_slice(value);
    out.resize(out.len().next_multiple_of(4), 0);
}

fn set_length(out: &mut [u8], more: usize) {
    let len = (out.len() - 20 + more) as u16;
    out[2..4].copy_from_slice(&len.to_be_bytes());
}
