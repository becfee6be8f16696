//! SRTP and SRTCP with AES-128-GCM (RFC 3711, RFC 7714), the only profile the loader offers. Pure. A client's view: it
//! seals with the DTLS client's keys and opens with the server's.

use aes::cipher::{BlockCipherEncrypt, KeyInit};
use ring::aead;

const KEY: usize = 16;
const SALT: usize = 12;
/// Bytes to take from the DTLS exporter: two keys, two salts (RFC 5764 section 4.2).
pub const KEYING: usize = 2 * (KEY + SALT);

/// One direction's keys.
pub struct Keys {
    rtp: aead::LessSafeKey,
    rtp_salt: [u8; SALT],
    rtcp: aead::LessSafeKey,
    rtcp_salt: [u8; SALT],
}

/// The sealing and the opening keys of the DTLS client.
pub fn client_keys(material: &[u8; KEYING]) -> Option<(Keys, Keys)> {
    let (keys, salts) = material.split_at(2 * KEY);
    let ((own, server), (own_salt, server_salt)) = (keys.split_at(KEY), salts.split_at(SALT));
    Some((Keys::derive(own, own_salt)?, Keys::derive(server, server_salt)?))
}

impl Keys {
    fn derive(key: &[u8], salt: &[u8]) -> Option<Keys> {
        let aes = aes::Aes128::new_from_slice(key).ok()?;
        // RFC 3711 section 4.3: the key stream at (label << 48) ^ salt; one block is enough for a key or a salt.
        let block = |label: u8| {
            let mut iv = [0u8; 16];
            iv.iter_mut().zip(salt).for_each(|(to, from)| *to = *from);
            iv[7] ^= label;
            let mut block = aes::Block::from(iv);
            aes.encrypt_block(&mut block);
            <[u8; 16]>::from(block)
        };
        let cipher = |label: u8| {
            aead::UnboundKey::new(&aead::AES_128_GCM, &block(label))
                .ok()
                .map(aead::LessSafeKey::new)
        };
        let salt_of = |label: u8| block(label).first_chunk::<SALT>().copied();
        Some(Keys {
            rtp: cipher(0)?,
            rtp_salt: salt_of(2)?,
            rtcp: cipher(3)?,
            rtcp_salt: salt_of(5)?,
        })
    }

    /// Encrypt `packet` behind its header and append the tag. `index` is ROC ‖ SEQ.
    pub fn seal_rtp(&self, packet: &mut Vec<u8>, header_len: usize, ssrc: u32, index: u64) {
        let nonce = nonce(&self.rtp_salt, ssrc, index);
        let Some((header, payload)) = packet.split_at_mut_checked(header_len) else {
            return;
        };
        if let Ok(tag) = self
            .rtp
            .seal_in_place_separate_tag(nonce, aead::Aad::from(&*header), payload)
        {
            packet.extend_from_slice(tag.as_ref());
        }
    }

    /// The plain payload, decrypted in place; `None`: not authentic.
    pub fn open_rtp<'p>(&self, packet: &'p mut [u8], header_len: usize, ssrc: u32, index: u64) -> Option<&'p mut [u8]> {
        let (header, payload) = packet.split_at_mut_checked(header_len)?;
        self.rtp
            .open_in_place(nonce(&self.rtp_salt, ssrc, index), aead::Aad::from(&*header), payload)
            .ok()
    }

    /// Encrypt a compound packet behind its first eight bytes; `index` counts the sender's SRTCP packets.
    pub fn seal_rtcp(&self, packet: &mut Vec<u8>, ssrc: u32, index: u32) {
        let word = (0x8000_0000 | index).to_be_bytes();
        let Some((header, payload)) = packet.split_at_mut_checked(8) else {
            return;
        };
        let aad = [&*header, &word].concat();
        let nonce = nonce(&self.rtcp_salt, ssrc, u64::from(index));
        if let Ok(tag) = self
            .rtcp
            .seal_in_place_separate_tag(nonce, aead::Aad::from(aad), payload)
        {
            packet.extend_from_slice(tag.as_ref());
            packet.extend_from_slice(&word);
        }
    }

    /// The plain compound packet, decrypted in place; `None`: not authentic.
    pub fn open_rtcp<'p>(&self, packet: &'p mut [u8]) -> Option<&'p [u8]> {
        let (sealed, word) = packet.split_last_chunk_mut::<4>()?;
        let word = *word;
        let index = u32::from_be_bytes(word) & 0x7fff_ffff;
        let ssrc = u32::from_be_bytes(*sealed.get(4..)?.first_chunk()?);
        let (header, payload) = sealed.split_at_mut_checked(8)?;
        let aad = [&*header, &word].concat();
        let nonce = nonce(&self.rtcp_salt, ssrc, u64::from(index));
        let plain = self
            .rtcp
            .open_in_place(nonce, aead::Aad::from(aad), payload)
            .ok()?
            .len();
        sealed.get(..8 + plain)
    }
}

/// 00 00 ‖ SSRC ‖ 48-bit index, xor the salt (RFC 7714 sections 8.1 and 9.1).
fn nonce(salt: &[u8; SALT], ssrc: u32, index: u64) -> aead::Nonce {
    let wide = (u128::from(ssrc) << 48) | u128::from(index & 0xffff_ffff_ffff);
    let mut iv = [0u8; SALT];
    for (to, (from, salt)) in iv.iter_mut().zip(wide.to_be_bytes().iter().skip(4).zip(salt)) {
        *to = from ^ salt;
    }
    aead::Nonce::assume_unique_for_key(iv)
}
