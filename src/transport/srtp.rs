//! SRTP and SRTCP (RFC 3711, RFC 7714), in place on the caller's buffer.
//!
//! In come sealed packets and plain ones to seal, out come plain and sealed ones; nothing is allocated per packet. GCM goes
//! through ring; AES-CM with HMAC-SHA1-80 is the fallback for peers without GCM.

use super::Dropped;
use super::hmac::HmacSha1;
use crate::forward::Seal;
use aes::Aes128;
use aes::cipher::{BlockCipherEncrypt, KeyInit};
use ring::aead;

/// The protection profiles we accept, best first: GCM costs a third of the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    AeadAes128Gcm,
    Aes128CmSha1_80,
}

/// Length of a master and of a session key, in bytes; the same in both profiles.
const KEY: usize = 16;
/// Length of the longer salt, in bytes. Shorter ones are filled up with zeros.
const MAX_SALT: usize = 14;
/// Length of the session authentication key of HMAC-SHA1, in bytes (RFC 3711 8.2).
const AUTH_KEY: usize = 20;
/// Fixed part of an RTP header (RFC 3550 5.1) and of an RTCP packet with its SSRC (6.4), in bytes.
const RTP_HEADER: usize = 12;
const RTCP_HEADER: usize = 8;
/// The E flag and the SRTCP index (RFC 3711 3.4), in bytes.
const RTCP_WORD: usize = 4;
const RTCP_ENCRYPTED: u32 = 0x8000_0000;
/// ROC ‖ SEQ is 48 bits (RFC 3711 3.3.1).
const MAX_INDEX: u64 = (1 << 48) - 1;

impl Profile {
    fn salt_len(self) -> usize {
        match self {
            Profile::AeadAes128Gcm => 12,
            Profile::Aes128CmSha1_80 => MAX_SALT,
        }
    }

    fn tag_len(self) -> usize {
        match self {
            Profile::AeadAes128Gcm => 16,
            Profile::Aes128CmSha1_80 => 10,
        }
    }

    /// How much the DTLS exporter has to yield (RFC 5764 4.2), in bytes.
    pub fn keying_len(self) -> usize {
        2 * (KEY + self.salt_len())
    }
}

/// Split the exporter's output: client key, server key, client salt, server salt (RFC 5764 4.2). The server receives with
/// the client's and sends with its own. `None`: not [`Profile::keying_len`] bytes.
pub(super) fn contexts(profile: Profile, material: &[u8]) -> Option<(Receiver, Sender)> {
    if material.len() != profile.keying_len() {
        return None;
    }
    let (keys, salts) = material.split_at(2 * KEY);
    let (client_key, server_key) = keys.split_at(KEY);
    let (client_salt, server_salt) = salts.split_at(profile.salt_len());
    let receiver = Receiver {
        keys: SessionKeys::derive(profile, client_key, client_salt)?,
        rtp: Windows::default(),
        rtcp: Windows::default(),
    };
    let sender = Sender {
        keys: SessionKeys::derive(profile, server_key, server_salt)?,
        rtcp_index: 0,
    };
    Some((receiver, sender))
}

/// XOR the counter-mode key stream that starts at `iv` onto `data` (RFC 3711 4.1.1).
fn aes_ctr(aes: &Aes128, iv: [u8; 16], data: &mut [u8]) {
    /// As many as AES-NI keeps in flight.
    const BLOCKS: usize = 8;
    let mut counter = u128::from_be_bytes(iv);
    for chunk in data.chunks_mut(BLOCKS * 16) {
        let mut stream = [aes::Block::default(); BLOCKS];
        for block in &mut stream {
            *block = counter.to_be_bytes().into();
            counter = counter.wrapping_add(1);
        }
        aes.encrypt_blocks(&mut stream);
        for (byte, key) in chunk.iter_mut().zip(stream.iter().flatten()) {
            *byte ^= key;
        }
    }
}

enum Cipher {
    Gcm(aead::LessSafeKey),
    CmSha1 { aes: Aes128, mac: HmacSha1 },
}

/// Session keys and salts of one direction (RFC 3711 4.3).
struct SessionKeys {
    profile: Profile,
    rtp: Cipher,
    rtp_salt: [u8; MAX_SALT],
    rtcp: Cipher,
    rtcp_salt: [u8; MAX_SALT],
}

/// Key derivation labels (RFC 3711 4.3.2): the first of encryption key, authentication key, salt.
const LABEL_RTP: u8 = 0;
const LABEL_RTCP: u8 = 3;

impl SessionKeys {
    /// `None`: wrong lengths.
    fn derive(profile: Profile, key: &[u8], salt: &[u8]) -> Option<Self> {
        let prf = Aes128::new_from_slice(key).ok()?;
        let mut master_salt = [0; MAX_SALT];
        master_salt.get_mut(..salt.len())?.copy_from_slice(salt);
        let (rtp, rtp_salt) = Self::half(profile, &prf, &master_salt, LABEL_RTP)?;
        let (rtcp, rtcp_salt) = Self::half(profile, &prf, &master_salt, LABEL_RTCP)?;
        Some(SessionKeys {
            profile,
            rtp,
            rtp_salt,
            rtcp,
            rtcp_salt,
        })
    }

    fn half(
        profile: Profile,
        prf: &Aes128,
        master_salt: &[u8; MAX_SALT],
        label: u8,
    ) -> Option<(Cipher, [u8; MAX_SALT])> {
        let key: [u8; KEY] = derived(prf, master_salt, label);
        let cipher = match profile {
            Profile::AeadAes128Gcm => Cipher::gcm(&key)?,
            Profile::Aes128CmSha1_80 => Cipher::CmSha1 {
                aes: Aes128::new_from_slice(&key).ok()?,
                mac: HmacSha1::new(&derived::<AUTH_KEY>(prf, master_salt, label + 1)),
            },
        };
        let mut salt = [0; MAX_SALT];
        let full: [u8; MAX_SALT] = derived(prf, master_salt, label + 2);
        salt.iter_mut()
            .zip(full)
            .take(profile.salt_len())
            .for_each(|(to, from)| *to = from);
        Some((cipher, salt))
    }
}

/// RFC 3711 4.3.1 with a key derivation rate of 0: the key stream at `label << 48 ^ salt`, counter 0.
fn derived<const LEN: usize>(prf: &Aes128, master_salt: &[u8; MAX_SALT], label: u8) -> [u8; LEN] {
    let mut iv = [0; 16];
    iv[..MAX_SALT].copy_from_slice(master_salt);
    iv[7] ^= label;
    let mut out = [0; LEN];
    aes_ctr(prf, iv, &mut out);
    out
}

impl Cipher {
    fn gcm(key: &[u8; KEY]) -> Option<Cipher> {
        Some(Cipher::Gcm(aead::LessSafeKey::new(
            aead::UnboundKey::new(&aead::AES_128_GCM, key).ok()?,
        )))
    }
}

/// 00 00 | SSRC | 48-bit index, xor salt (RFC 7714 8.1). For RTCP the index is 00 00 | 31-bit index (9.1).
fn gcm_nonce(salt: &[u8; MAX_SALT], ssrc: u32, index: u64) -> aead::Nonce {
    let mut iv = [0; 12];
    iv[2..6].copy_from_slice(&ssrc.to_be_bytes());
    iv[6..].copy_from_slice(&index.to_be_bytes()[2..]);
    iv.iter_mut().zip(salt).for_each(|(a, b)| *a ^= b);
    aead::Nonce::assume_unique_for_key(iv)
}

/// 00 00 00 00 | SSRC | 48-bit index | 00 00, xor salt (RFC 3711 4.1.1).
fn cm_iv(salt: &[u8; MAX_SALT], ssrc: u32, index: u64) -> [u8; 16] {
    let mut iv = [0; 16];
    iv[4..8].copy_from_slice(&ssrc.to_be_bytes());
    iv[8..14].copy_from_slice(&index.to_be_bytes()[2..]);
    iv.iter_mut().zip(salt).for_each(|(a, b)| *a ^= b);
    iv
}

/// The high 32 bits of an index, which HMAC-SHA1 covers behind the packet (RFC 3711 4.2).
fn roll_over_counter(index: u64) -> [u8; 4] {
    let bytes = index.to_be_bytes();
    [bytes[2], bytes[3], bytes[4], bytes[5]]
}

/// The header of an SRTCP packet followed by its index word: what GCM authenticates in the clear (RFC 7714 9.2).
fn rtcp_aad(header: &[u8], word: [u8; RTCP_WORD]) -> [u8; RTCP_HEADER + RTCP_WORD] {
    let mut aad = [0; RTCP_HEADER + RTCP_WORD];
    aad.iter_mut()
        .zip(header.iter().chain(&word))
        .for_each(|(to, from)| *to = *from);
    aad
}

/// The sealing half of a transport.
pub struct Sender {
    keys: SessionKeys,
    rtcp_index: u32,
}

impl Sender {
    /// The server's sealing half from the DTLS exporter's output (RFC 5764 4.2). `None`: not [`Profile::keying_len`] bytes.
    pub fn from_exporter(profile: Profile, material: &[u8]) -> Option<Self> {
        contexts(profile, material).map(|(_receiver, sender)| sender)
    }

    pub fn profile(&self) -> Profile {
        self.keys.profile
    }

    /// Encrypt the packet `buffer[start..]` whose header is `header_len` long and append its tag. `index` is ROC ‖ SEQ.
    ///
    /// # Panics
    /// If `start + header_len` lies beyond the buffer, which is the caller's own packet.
    pub fn protect_rtp(&self, buffer: &mut Vec<u8>, start: usize, header_len: usize, ssrc: u32, index: u64) {
        assert!(index <= MAX_INDEX, "the key stream would repeat");
        let (header, payload) = buffer[start..].split_at_mut(header_len);
        match &self.keys.rtp {
            Cipher::Gcm(key) => {
                let nonce = gcm_nonce(&self.keys.rtp_salt, ssrc, index);
                let tag = key.seal_in_place_separate_tag(nonce, aead::Aad::from(&*header), payload);
                buffer.extend_from_slice(tag.expect("a datagram is below GCM's limit").as_ref());
            }
            Cipher::CmSha1 { aes, mac } => {
                aes_ctr(aes, cm_iv(&self.keys.rtp_salt, ssrc, index), payload);
                let tag = mac.tag(&[&buffer[start..], &roll_over_counter(index)]);
                buffer.extend_from_slice(&tag[..self.keys.profile.tag_len()]);
            }
        }
    }

    /// Encrypt the compound packet `compound`, append index and tag.
    ///
    /// # Panics
    /// If it is shorter than one RTCP header with its SSRC.
    pub fn protect_rtcp(&mut self, compound: &mut Vec<u8>) {
        self.protect_rtcp_at(compound, 0);
    }

    fn protect_rtcp_at(&mut self, buffer: &mut Vec<u8>, start: usize) {
        // 2^31 packets at 100 a second last eight months, longer than any session: no re-keying (RFC 3711 9.2)
        self.rtcp_index = (self.rtcp_index + 1) & !RTCP_ENCRYPTED;
        let word = (RTCP_ENCRYPTED | self.rtcp_index).to_be_bytes();
        let index = u64::from(self.rtcp_index);
        let (header, payload) = buffer[start..].split_at_mut(RTCP_HEADER);
        let ssrc = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
        match &self.keys.rtcp {
            Cipher::Gcm(key) => {
                let nonce = gcm_nonce(&self.keys.rtcp_salt, ssrc, index);
                let aad = aead::Aad::from(rtcp_aad(header, word));
                let tag = key.seal_in_place_separate_tag(nonce, aad, payload);
                buffer.extend_from_slice(tag.expect("a datagram is below GCM's limit").as_ref());
                buffer.extend_from_slice(&word);
            }
            Cipher::CmSha1 { aes, mac } => {
                aes_ctr(aes, cm_iv(&self.keys.rtcp_salt, ssrc, index), payload);
                buffer.extend_from_slice(&word);
                let tag = mac.tag(&[&buffer[start..]]);
                buffer.extend_from_slice(&tag[..self.keys.profile.tag_len()]);
            }
        }
    }
}

impl Seal for Sender {
    fn seal_rtp(&mut self, buffer: &mut Vec<u8>, start: usize, header_len: usize, ssrc: u32, index: u64) {
        self.protect_rtp(buffer, start, header_len, ssrc, index);
    }

    fn seal_rtcp(&mut self, buffer: &mut Vec<u8>, start: usize) {
        self.protect_rtcp_at(buffer, start);
    }
}

/// Indices a replay window remembers: at 1,000 packets a second one second, so an original that is asked for again and
/// comes late is taken once.
const WINDOW: u64 = 1024;
const WINDOW_WORDS: usize = 16;

/// The newest index of one SSRC and which of the [`WINDOW`] up to it were seen (RFC 3711 3.3.2).
struct Window {
    top: u64,
    /// Bit `index % WINDOW`; those above `top` are zero.
    seen: [u64; WINDOW_WORDS],
}

/// The word of an index in [`Window::seen`], and its bit in there.
fn slot(index: u64) -> (usize, u64) {
    let slot = index % WINDOW;
    let word = usize::try_from(slot / 64).expect("below the number of words");
    (word, 1 << (slot % 64))
}

impl Window {
    fn new(first: u64) -> Self {
        let mut window = Window {
            top: first,
            seen: [0; WINDOW_WORDS],
        };
        window.accept(first);
        window
    }

    /// The index a sequence number most likely means (RFC 3711 3.3.1); `None` if it lies before the first of all.
    fn guess(&self, sequence: u16) -> Option<u64> {
        let [.., high, low] = self.top.to_be_bytes();
        let ahead = sequence.wrapping_sub(u16::from_be_bytes([high, low])).cast_signed();
        self.top
            .checked_add_signed(i64::from(ahead))
            .filter(|index| *index <= MAX_INDEX)
    }

    fn is_fresh(&self, index: u64) -> bool {
        let (word, bit) = slot(index);
        index > self.top || (self.top - index < WINDOW && self.seen[word] & bit == 0)
    }

    fn accept(&mut self, index: u64) {
        if index > self.top && index - self.top >= WINDOW {
            self.seen = [0; WINDOW_WORDS];
        } else {
            // what the window moves over has not been seen
            for skipped in self.top + 1..=index {
                let (word, bit) = slot(skipped);
                self.seen[word] &= !bit;
            }
        }
        self.top = self.top.max(index);
        let (word, bit) = slot(index);
        self.seen[word] |= bit;
    }
}

/// SSRCs one peer may use. A simulcast publisher has eight, a viewer of ten slots reports from up to twenty. Only
/// authenticated packets open a window; when full, packets of further SSRCs are refused, for to forget a window would
/// open the door to replays.
const MAX_SSRCS: usize = 64;

/// The replay windows of all SSRCs of one peer: so few that a search beats hashing.
#[derive(Default)]
struct Windows {
    ssrcs: Vec<u32>,
    windows: Vec<Window>,
}

impl Windows {
    fn find(&mut self, ssrc: u32) -> Result<Option<&mut Window>, Dropped> {
        match self.ssrcs.iter().position(|known| *known == ssrc) {
            Some(at) => Ok(self.windows.get_mut(at)),
            None if self.ssrcs.len() >= MAX_SSRCS => Err(Dropped::Replayed),
            None => Ok(None),
        }
    }

    /// An authenticated packet had this index.
    fn accept(&mut self, ssrc: u32, index: u64) {
        match self
            .ssrcs
            .iter()
            .position(|known| *known == ssrc)
            .and_then(|at| self.windows.get_mut(at))
        {
            Some(window) => window.accept(index),
            None => {
                self.ssrcs.push(ssrc);
                self.windows.push(Window::new(index));
            }
        }
    }
}

/// Length of the header with CSRCs and extension (RFC 3550 5.1, 5.3.1), in bytes.
fn rtp_header_len(packet: &[u8]) -> Option<usize> {
    let first = *packet.first()?;
    let mut len = RTP_HEADER + 4 * usize::from(first & 0x0f);
    if first & 0x10 != 0 {
        let words: [u8; 2] = packet.get(len + 2..len + 4)?.try_into().ok()?;
        len += 4 + 4 * usize::from(u16::from_be_bytes(words));
    }
    (first >> 6 == 2 && len <= packet.len()).then_some(len)
}

fn u32_at(packet: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(packet.get(at..at + 4)?.try_into().ok()?))
}

/// The opening half of a transport.
pub(super) struct Receiver {
    keys: SessionKeys,
    rtp: Windows,
    rtcp: Windows,
}

impl Receiver {
    /// Decrypt in place: the plain packet without its tag, and its index ROC ‖ SEQ (RFC 3711 3.3).
    pub fn unprotect_rtp<'p>(&mut self, packet: &'p mut [u8]) -> Result<(&'p mut [u8], u64), Dropped> {
        let len = packet
            .len()
            .checked_sub(self.keys.profile.tag_len())
            .ok_or(Dropped::Malformed)?;
        let header_len = packet.get(..len).and_then(rtp_header_len).ok_or(Dropped::Malformed)?;
        let ssrc = u32_at(packet, 8).ok_or(Dropped::Malformed)?;
        let sequence = u16::from_be_bytes([packet[2], packet[3]]);
        let index = match self.rtp.find(ssrc)? {
            Some(window) => {
                let index = window.guess(sequence).ok_or(Dropped::Replayed)?;
                Some(index)
                    .filter(|index| window.is_fresh(*index))
                    .ok_or(Dropped::Replayed)?
            }
            None => u64::from(sequence),
        };
        match &self.keys.rtp {
            Cipher::Gcm(key) => {
                let (header, sealed) = packet.split_at_mut(header_len);
                let nonce = gcm_nonce(&self.keys.rtp_salt, ssrc, index);
                key.open_in_place(nonce, aead::Aad::from(&*header), sealed)
                    .map_err(|_| Dropped::Forged)?;
            }
            Cipher::CmSha1 { aes, mac } => {
                let (sealed, tag) = packet.split_at_mut(len);
                if !mac.verify(&[sealed, &roll_over_counter(index)], tag) {
                    return Err(Dropped::Forged);
                }
                aes_ctr(aes, cm_iv(&self.keys.rtp_salt, ssrc, index), &mut sealed[header_len..]);
            }
        }
        self.rtp.accept(ssrc, index);
        Ok((&mut packet[..len], index))
    }

    /// Decrypt in place: the plain compound packet (RFC 3711 3.4). Packets sent unencrypted are refused.
    pub fn unprotect_rtcp<'p>(&mut self, packet: &'p mut [u8]) -> Result<&'p [u8], Dropped> {
        let profile = self.keys.profile;
        let len = packet
            .len()
            .checked_sub(RTCP_WORD + profile.tag_len())
            .ok_or(Dropped::Malformed)?;
        if len < RTCP_HEADER || packet[0] >> 6 != 2 {
            return Err(Dropped::Malformed);
        }
        // the index word stands before HMAC-SHA1's tag, but behind GCM's
        let word_at = match profile {
            Profile::AeadAes128Gcm => packet.len() - RTCP_WORD,
            Profile::Aes128CmSha1_80 => len,
        };
        let ssrc = u32_at(packet, 4).ok_or(Dropped::Malformed)?;
        let word = u32_at(packet, word_at).ok_or(Dropped::Malformed)?;
        if word & RTCP_ENCRYPTED == 0 {
            return Err(Dropped::Malformed);
        }
        let index = u64::from(word & !RTCP_ENCRYPTED);
        if self.rtcp.find(ssrc)?.is_some_and(|window| !window.is_fresh(index)) {
            return Err(Dropped::Replayed);
        }
        match &self.keys.rtcp {
            Cipher::Gcm(key) => {
                let (header, sealed) = packet[..word_at].split_at_mut(RTCP_HEADER);
                let nonce = gcm_nonce(&self.keys.rtcp_salt, ssrc, index);
                let aad = aead::Aad::from(rtcp_aad(header, word.to_be_bytes()));
                key.open_in_place(nonce, aad, sealed).map_err(|_| Dropped::Forged)?;
            }
            Cipher::CmSha1 { aes, mac } => {
                let (sealed, tag) = packet.split_at_mut(len + RTCP_WORD);
                if !mac.verify(&[sealed], tag) {
                    return Err(Dropped::Forged);
                }
                aes_ctr(
                    aes,
                    cm_iv(&self.keys.rtcp_salt, ssrc, index),
                    &mut sealed[RTCP_HEADER..len],
                );
            }
        }
        self.rtcp.accept(ssrc, index);
        Ok(&packet[..len])
    }
}

/// The client's two halves, for tests that play the peer.
#[cfg(test)]
pub(super) fn client_contexts(profile: Profile, material: &[u8]) -> (Receiver, Sender) {
    let (keys, salts) = material.split_at(2 * KEY);
    let (client_key, server_key) = keys.split_at(KEY);
    let (client_salt, server_salt) = salts.split_at(profile.salt_len());
    contexts(profile, &[server_key, client_key, server_salt, client_salt].concat()).expect("mirrored keys")
}

#[cfg(test)]
mod tests;
