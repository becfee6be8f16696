//! STUN (RFC 8489) as far as a lite ICE agent needs it: reading binding requests, writing the answers to them.

use super::hmac::{self, HmacSha1};
use std::net::{IpAddr, SocketAddr};

const MAGIC_COOKIE: u32 = 0x2112_A442;
/// Type, length, cookie, transaction id (RFC 8489 section 5), in bytes.
const HEADER: usize = 20;
/// What the CRC of a FINGERPRINT is combined with (RFC 8489 14.7).
const FINGERPRINT_XOR: u32 = 0x5354_554e;
/// Type, length and value of the two attributes that end a message, in bytes.
const INTEGRITY_ATTRIBUTE: usize = 4 + hmac::TAG;
const FINGERPRINT_ATTRIBUTE: usize = 8;
/// Unknown attributes named in a 420 answer; a check has no reason to carry more.
const MAX_UNKNOWN: usize = 4;

mod attribute {
    pub const USERNAME: u16 = 0x0006;
    pub const MESSAGE_INTEGRITY: u16 = 0x0008;
    pub const ERROR_CODE: u16 = 0x0009;
    pub const UNKNOWN_ATTRIBUTES: u16 = 0x000A;
    pub const XOR_MAPPED_ADDRESS: u16 = 0x0020;
    pub const USE_CANDIDATE: u16 = 0x0025;
    pub const FINGERPRINT: u16 = 0x8028;
    pub const ICE_CONTROLLED: u16 = 0x8029;
    /// draft-thatcher-ice-renomination-01
    pub const NOMINATION: u16 = 0xC001;
    /// Comprehension-required attributes that need nothing done: MESSAGE-INTEGRITY-SHA256, PASSWORD-ALGORITHM, USERHASH
    /// (redundant beside the ones above), REALM, NONCE (unused with short-term credentials) and PRIORITY.
    pub const KNOWN: [u16; 6] = [0x001C, 0x001D, 0x001E, 0x0014, 0x0015, 0x0024];
    /// From here on comprehension is optional (RFC 8489 section 14).
    pub const OPTIONAL: u16 = 0x8000;
}

/// What kind of message it is, of method Binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Request,
    Indication,
    /// We ask nothing, so nobody has anything to answer.
    Response,
}

/// A message whose syntax and FINGERPRINT are right. Its integrity has *not* been checked.
#[derive(Debug)]
pub(super) struct Message<'a> {
    raw: &'a [u8],
    pub class: Class,
    /// The two halves of USERNAME: the receiver's username fragment, the sender's (RFC 8445 7.2.2).
    pub username: Option<(&'a str, &'a str)>,
    /// Where MESSAGE-INTEGRITY begins, and its value.
    integrity: Option<(usize, &'a [u8])>,
    pub use_candidate: bool,
    pub nomination: Option<u32>,
    pub controlled: bool,
    /// Comprehension-required attributes we do not know; 0 fills up.
    unknown: [u16; MAX_UNKNOWN],
}

/// Whether the first byte is that of a STUN message (RFC 7983).
pub(super) fn is_stun(first: u8) -> bool {
    first < 4
}

impl<'a> Message<'a> {
    pub fn parse(raw: &'a [u8]) -> Option<Self> {
        let class = match u16_at(raw, 0)? {
            0x0001 => Class::Request,
            0x0011 => Class::Indication,
            0x0101 | 0x0111 => Class::Response,
            _ => return None,
        };
        let body_len = usize::from(u16_at(raw, 2)?);
        if raw.get(4..8)? != MAGIC_COOKIE.to_be_bytes() || raw.len() != HEADER.checked_add(body_len)? {
            return None;
        }
        let mut message = Message {
            raw,
            class,
            username: None,
            integrity: None,
            use_candidate: false,
            nomination: None,
            controlled: false,
            unknown: [0; MAX_UNKNOWN],
        };
        let mut at = HEADER;
        while at < raw.len() {
            let (kind, len) = (u16_at(raw, at)?, usize::from(u16_at(raw, at + 2)?));
            let value = raw.get(at + 4..at + 4 + len)?;
            message.attribute(kind, value, at)?;
            at += 4 + len.next_multiple_of(4);
        }
        // a last attribute without its padding is no multiple of four long
        (at == raw.len()).then_some(message)
    }

    fn attribute(&mut self, kind: u16, value: &'a [u8], at: usize) -> Option<()> {
        match kind {
            attribute::FINGERPRINT => {
                let crc = u32::from_be_bytes(value.try_into().ok()?);
                let last = at + FINGERPRINT_ATTRIBUTE == self.raw.len();
                (last && crc32fast::hash(self.raw.get(..at)?) ^ FINGERPRINT_XOR == crc).then_some(())?;
            }
            // what follows the integrity attribute is not covered by it (RFC 8489 14.5)
            _ if self.integrity.is_some() => {}
            attribute::MESSAGE_INTEGRITY if value.len() == hmac::TAG => self.integrity = Some((at, value)),
            attribute::MESSAGE_INTEGRITY => return None,
            attribute::USERNAME => self.username = Some(std::str::from_utf8(value).ok()?.split_once(':')?),
            attribute::USE_CANDIDATE => self.use_candidate = true,
            attribute::NOMINATION => self.nomination = Some(u32::from_be_bytes(value.try_into().ok()?)),
            attribute::ICE_CONTROLLED => self.controlled = true,
            _ if kind >= attribute::OPTIONAL || attribute::KNOWN.contains(&kind) => {}
            _ => {
                if let Some(free) = self.unknown.iter_mut().find(|kind| **kind == 0) {
                    *free = kind;
                }
            }
        }
        Some(())
    }

    /// Whether MESSAGE-INTEGRITY is there and was made with `key` (RFC 8489 14.5).
    pub fn is_authentic(&self, key: &HmacSha1) -> bool {
        let Some((at, tag)) = self.integrity else { return false };
        // the length field counts as if the message ended with this attribute
        let Ok(len) = u16::try_from(at + INTEGRITY_ATTRIBUTE - HEADER) else {
            return false;
        };
        match (self.raw.get(..2), self.raw.get(4..at)) {
            (Some(kind), Some(rest)) => key.verify(&[kind, &len.to_be_bytes(), rest], tag),
            _ => false,
        }
    }

    /// The attributes we had to know and do not.
    pub fn unknown(&self) -> impl Iterator<Item = u16> + '_ {
        self.unknown.iter().copied().filter(|kind| *kind != 0)
    }

    /// The success response: where the request came from.
    pub fn success(&self, key: &HmacSha1, from: SocketAddr) -> Vec<u8> {
        let mut writer = Writer::new(0x0101, self.transaction());
        writer.xor_mapped_address(from);
        writer.finish(key)
    }

    /// 487: the other side has to be the controlling one (RFC 8445 7.3.1.1).
    pub fn role_conflict(&self, key: &HmacSha1) -> Vec<u8> {
        let mut writer = Writer::new(0x0111, self.transaction());
        writer.attribute(attribute::ERROR_CODE, b"\0\0\x04\x57Role Conflict");
        writer.finish(key)
    }

    /// 420 (RFC 8489 6.3.1).
    pub fn unknown_attributes(&self, key: &HmacSha1) -> Vec<u8> {
        let mut writer = Writer::new(0x0111, self.transaction());
        writer.attribute(attribute::ERROR_CODE, b"\0\0\x04\x14Unknown Attribute");
        let list: Vec<u8> = self.unknown().flat_map(u16::to_be_bytes).collect();
        writer.attribute(attribute::UNKNOWN_ATTRIBUTES, &list);
        writer.finish(key)
    }

    /// Cookie and transaction id; the parser saw to it that they are there.
    fn transaction(&self) -> [u8; 16] {
        self.raw
            .get(4..HEADER)
            .and_then(|bytes| bytes.try_into().ok())
            .unwrap_or_default()
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?))
}

/// Writes one message. All lengths are ours, a few dozen bytes.
struct Writer {
    out: Vec<u8>,
    transaction: [u8; 16],
}

impl Writer {
    fn new(kind: u16, transaction: [u8; 16]) -> Self {
        let mut out = Vec::with_capacity(96);
        out.extend_from_slice(&kind.to_be_bytes());
        out.extend_from_slice(&[0, 0]);
        out.extend_from_slice(&transaction);
        Writer { out, transaction }
    }

    fn attribute(&mut self, kind: u16, value: &[u8]) {
        let len = u16::try_from(value.len()).expect("attributes of ours are short");
        self.out.extend_from_slice(&kind.to_be_bytes());
        self.out.extend_from_slice(&len.to_be_bytes());
        self.out.extend_from_slice(value);
        self.out.resize(self.out.len().next_multiple_of(4), 0);
    }

    /// RFC 8489 14.2.
    fn xor_mapped_address(&mut self, address: SocketAddr) {
        let xor = |bytes: &[u8]| {
            bytes
                .iter()
                .zip(&self.transaction)
                .map(|(a, b)| a ^ b)
                .collect::<Vec<u8>>()
        };
        let (family, ip) = match address.ip() {
            IpAddr::V4(ip) => (1, xor(&ip.octets())),
            IpAddr::V6(ip) => (2, xor(&ip.octets())),
        };
        let value = [&[0, family], &xor(&address.port().to_be_bytes())[..], &ip].concat();
        self.attribute(attribute::XOR_MAPPED_ADDRESS, &value);
    }

    /// The header's length field, as if `more` bytes of attributes followed.
    fn set_len(&mut self, more: usize) {
        let len = u16::try_from(self.out.len() - HEADER + more).expect("messages of ours are short");
        self.out[2..4].copy_from_slice(&len.to_be_bytes());
    }

    /// Append MESSAGE-INTEGRITY and FINGERPRINT.
    fn finish(mut self, key: &HmacSha1) -> Vec<u8> {
        self.set_len(INTEGRITY_ATTRIBUTE);
        let tag = key.tag(&[&self.out]);
        self.attribute(attribute::MESSAGE_INTEGRITY, &tag);
        self.set_len(FINGERPRINT_ATTRIBUTE);
        let crc = crc32fast::hash(&self.out) ^ FINGERPRINT_XOR;
        self.attribute(attribute::FINGERPRINT, &crc.to_be_bytes());
        self.out
    }
}

/// What the tests of this module's users build checks with.
#[cfg(test)]
pub(super) mod testing {
    use super::*;

    pub const USE_CANDIDATE: (u16, &[u8]) = (attribute::USE_CANDIDATE, &[]);
    pub const CONTROLLED: (u16, &[u8]) = (attribute::ICE_CONTROLLED, &[7; 8]);

    pub fn nomination(counter: &[u8; 4]) -> (u16, &[u8]) {
        (attribute::NOMINATION, counter)
    }

    /// A binding request for `username` (`local:remote`) signed with `pwd`.
    pub fn request(username: &str, pwd: &str, attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut transaction = [7; 16];
        transaction[..4].copy_from_slice(&MAGIC_COOKIE.to_be_bytes());
        let mut writer = Writer::new(0x0001, transaction);
        writer.attribute(attribute::USERNAME, username.as_bytes());
        attributes
            .iter()
            .for_each(|(kind, value)| writer.attribute(*kind, value));
        writer.finish(&HmacSha1::new(pwd.as_bytes()))
    }

    /// The error code of a response, 0 for success; `None` if `pwd` did not sign it.
    pub fn response_code(response: &[u8], pwd: &str) -> Option<u16> {
        let message = Message::parse(response)?;
        if !message.is_authentic(&HmacSha1::new(pwd.as_bytes())) {
            return None;
        }
        match u16_at(response, 0)? {
            0x0101 => Some(0),
            _ => Some(u16::from(response[26]) * 100 + u16::from(response[27])),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{CONTROLLED, USE_CANDIDATE, request, response_code};
    use super::*;
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    /// RFC 5769 2.1: a request made by somebody else.
    const RFC_5769_REQUEST: &[u8] =
        b"\x00\x01\x00\x58\x21\x12\xa4\x42\xb7\xe7\xa7\x01\xbc\x34\xd6\x86\xfa\x87\xdf\xae\x80\x22\x00\x10STUN test \
client\x00\x24\x00\x04\x6e\x00\x01\xff\x80\x29\x00\x08\x93\x2f\xf9\xb1\x51\x26\x3b\x36\x00\x06\x00\x09\x65\x76\x74\x6a\x3a\
\x68\x36\x76\x59\x20\x20\x20\x00\x08\x00\x14\x9a\xea\xa7\x0c\xbf\xd8\xcb\x56\x78\x1e\xf2\xb5\xb2\xd3\xf2\x49\xc1\xb5\x71\xa2\
\x80\x28\x00\x04\xe5\x7a\x3b\xcf";
    const RFC_5769_PASSWORD: &[u8] = b"VOkJxbRl1RmTxUk/WvJxBt";

    #[test]
    fn the_request_of_rfc_5769() {
        let message = Message::parse(RFC_5769_REQUEST).expect("a request");
        assert_eq!(
            (message.class, message.username),
            (Class::Request, Some(("evtj", "h6vY")))
        );
        assert!(message.controlled && !message.use_candidate);
        assert!(message.is_authentic(&HmacSha1::new(RFC_5769_PASSWORD)));
        assert!(!message.is_authentic(&HmacSha1::new(b"VOkJxbRl1RmTxUk/WvJxBT")));
    }

    /// RFC 5769 2.2 and 2.3: the mapped addresses of the sample responses.
    #[test]
    fn mapped_addresses_of_rfc_5769() {
        let message = Message::parse(RFC_5769_REQUEST).expect("a request");
        let key = HmacSha1::new(RFC_5769_PASSWORD);
        let v4 = message.success(&key, "192.0.2.1:32853".parse().unwrap());
        assert_eq!(v4[20..32], [0, 0x20, 0, 8, 0, 1, 0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x43]);
        let v6 = message.success(&key, "[2001:db8:1234:5678:11:2233:4455:6677]:32853".parse().unwrap());
        let expected = b"\0\x20\0\x14\0\x02\xa1\x47\x01\x13\xa9\xfa\xa5\xd3\xf1\x79\xbc\x25\xf4\xb5\xbe\xd2\xb9\xd9";
        assert_eq!(v6[20..44], expected[..]);
        for response in [v4, v6] {
            let parsed = Message::parse(&response).expect("our own response");
            assert_eq!(parsed.class, Class::Response);
            assert!(parsed.is_authentic(&key));
        }
    }

    #[test]
    fn errors_carry_their_code_and_integrity() {
        let raw = request("us:them", "secret", &[(0x7777, &[1, 2, 3]), CONTROLLED]);
        let message = Message::parse(&raw).unwrap();
        let key = HmacSha1::new(b"secret");
        assert_eq!(response_code(&message.role_conflict(&key), "secret"), Some(487));
        let unknown = message.unknown_attributes(&key);
        assert_eq!(response_code(&unknown, "secret"), Some(420));
        assert!(unknown.windows(6).any(|w| w == [0, 0x0a, 0, 2, 0x77, 0x77]));
    }

    #[test]
    fn what_follows_the_integrity_is_ignored() {
        let mut raw = request("us:them", "secret", &[]);
        raw.truncate(raw.len() - FINGERPRINT_ATTRIBUTE);
        raw.extend_from_slice(&[0, 0x25, 0, 0]);
        let len = u16::try_from(raw.len() - HEADER).unwrap();
        raw[2..4].copy_from_slice(&len.to_be_bytes());
        let message = Message::parse(&raw).expect("without a fingerprint");
        assert!(!message.use_candidate && message.is_authentic(&HmacSha1::new(b"secret")));
    }

    #[test]
    fn mutated_messages_neither_panic_nor_authenticate() {
        let mut rng = StdRng::seed_from_u64(1);
        let key = HmacSha1::new(b"secret");
        let corpus = [
            request(
                "us:them",
                "secret",
                &[USE_CANDIDATE, CONTROLLED, (0x24, &[0; 4]), (0x7777, &[1, 2, 3])],
            ),
            RFC_5769_REQUEST.to_vec(),
        ];
        for round in 0..20_000 {
            let original = &corpus[round % corpus.len()];
            let mut raw = original.clone();
            for _ in 0..rng.random_range(1..6) {
                let at = rng.random_range(0..raw.len());
                match rng.random_range(0..4) {
                    0 => raw[at] = rng.random(),
                    1 => raw[at] ^= 1 << rng.random_range(0..8),
                    2 if raw.len() > 1 => raw.truncate(at.max(1)),
                    _ => raw.insert(at, rng.random()),
                }
            }
            if let Some(message) = Message::parse(&raw) {
                // all but a FINGERPRINT that turned into something else is covered
                let covered = HEADER..original.len() - FINGERPRINT_ATTRIBUTE;
                assert!(raw.get(covered.clone()) == original.get(covered) || !message.is_authentic(&key));
                message.success(&key, "1.2.3.4:5".parse().unwrap());
                message.unknown_attributes(&key);
            }
        }
    }

    #[test]
    fn a_flipped_bit_breaks_the_fingerprint() {
        let raw = request("us:them", "secret", &[]);
        for at in 8 * HEADER..8 * raw.len() {
            let mut flipped = raw.clone();
            flipped[at / 8] ^= 1 << (at % 8);
            // only a flip in the very type of FINGERPRINT leaves a message, one without
            let parsed = Message::parse(&flipped).is_some();
            assert!(!parsed || at / 8 >= raw.len() - FINGERPRINT_ATTRIBUTE, "bit {at}");
        }
    }
}
