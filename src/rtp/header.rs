//! RTP headers on the wire: parsing (RFC 3550 §5.1) and header extension elements in both forms (RFC 8285 §4.2, §4.3),
//! and writing outgoing headers into an arena without allocating.

use std::fmt;

/// Length of the fixed header in bytes.
pub const FIXED_LEN: usize = 12;
/// Ids of the one-byte form end here; 15 is reserved (RFC 8285 §4.2).
const ONE_BYTE_MAX_ID: u8 = 14;
const ONE_BYTE_MAX_LEN: usize = 16;
/// The most that an outgoing header gets of extension elements, in bytes: what is left of an Ethernet frame belongs to
/// the payload. Further elements are left out.
const ELEMENTS_MAX: usize = 240;

/// Why a datagram is no RTP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderError {
    /// Shorter than its own header says, in bytes.
    Short { len: usize, wanted: usize },
    /// Not version 2.
    Version(u8),
    /// The padding count is 0 or more than what follows the header.
    Padding { count: u8, available: usize },
}

impl fmt::Display for HeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HeaderError::Short { len, wanted } => write!(f, "RTP packet of {len} bytes, its header wants {wanted}"),
            HeaderError::Version(version) => write!(f, "RTP version {version}"),
            HeaderError::Padding { count, available } => write!(f, "RTP padding of {count} in {available} bytes"),
        }
    }
}

impl std::error::Error for HeaderError {}

/// A parsed RTP header. All lengths were checked against the packet it was parsed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub marker: bool,
    pub payload_type: u8,
    pub sequence: u16,
    /// In ticks of the payload's clock rate.
    pub timestamp: u32,
    pub ssrc: u32,
    /// Length including CSRCs and the extension block: where the payload starts.
    pub len: usize,
    /// Where the payload ends and padding starts.
    payload_end: usize,
    /// Where the extension elements start; they end with the header.
    elements: usize,
    two_byte: bool,
}

impl Header {
    /// Parses the header of a decrypted packet.
    pub fn parse(packet: &[u8]) -> Result<Header, HeaderError> {
        let short = |wanted| HeaderError::Short {
            len: packet.len(),
            wanted,
        };
        let fixed: &[u8; FIXED_LEN] = packet.first_chunk().ok_or(short(FIXED_LEN))?;
        let [first, second, s0, s1, t0, t1, t2, t3, c0, c1, c2, c3] = *fixed;
        if first >> 6 != 2 {
            return Err(HeaderError::Version(first >> 6));
        }
        let mut len = FIXED_LEN + 4 * usize::from(first & 0x0f);
        let (mut elements, mut two_byte, mut known) = (len, false, false);
        if first & 0x10 != 0 {
            let head: &[u8; 4] = packet
                .get(len..)
                .and_then(|rest| rest.first_chunk())
                .ok_or(short(len + 4))?;
            let profile = u16::from_be_bytes([head[0], head[1]]);
            two_byte = profile & 0xfff0 == 0x1000;
            known = two_byte || profile == 0xbede;
            elements = len + 4;
            len = elements + 4 * usize::from(u16::from_be_bytes([head[2], head[3]]));
        }
        if packet.len() < len {
            return Err(short(len));
        }
        let mut payload_end = packet.len();
        if first & 0x20 != 0 {
            let count = packet.last().copied().unwrap_or(0);
            let available = packet.len() - len;
            if count == 0 || usize::from(count) > available {
                return Err(HeaderError::Padding { count, available });
            }
            payload_end -= usize::from(count);
        }
        Ok(Header {
            marker: second & 0x80 != 0,
            payload_type: second & 0x7f,
            sequence: u16::from_be_bytes([s0, s1]),
            timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
            ssrc: u32::from_be_bytes([c0, c1, c2, c3]),
            len,
            payload_end,
            elements: if known { elements } else { len },
            two_byte,
        })
    }

    /// Where the payload is in the packet, without padding. Empty: the packet was padding only.
    pub fn payload_range(&self) -> std::ops::Range<usize> {
        self.len..self.payload_end
    }

    /// The payload of the packet this header was parsed from, without padding.
    pub fn payload<'a>(&self, packet: &'a [u8]) -> &'a [u8] {
        packet.get(self.payload_range()).unwrap_or_default()
    }

    /// The extension elements of the packet this header was parsed from, as (id, value).
    pub fn elements<'a>(&self, packet: &'a [u8]) -> Elements<'a> {
        Elements {
            rest: packet.get(self.elements..self.len).unwrap_or_default(),
            two_byte: self.two_byte,
        }
    }
}

/// Iterates over (id, value) of an extension block; a malformed element ends it, for nothing behind it can be trusted.
#[derive(Clone, Debug)]
pub struct Elements<'a> {
    rest: &'a [u8],
    two_byte: bool,
}

impl<'a> Iterator for Elements<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        // a zero byte is padding between elements in both forms
        while let Some((0, rest)) = self.rest.split_first() {
            self.rest = rest;
        }
        let first = *self.rest.first()?;
        let (id, len, head) = if self.two_byte {
            (first, usize::from(*self.rest.get(1)?), 2)
        } else {
            (first >> 4, usize::from(first & 0x0f) + 1, 1)
        };
        if !self.two_byte && id > ONE_BYTE_MAX_ID {
            self.rest = &[];
            return None;
        }
        let Some(value) = self.rest.get(head..head + len) else {
            self.rest = &[];
            return None;
        };
        self.rest = self.rest.get(head + len..).unwrap_or_default();
        Some((id, value))
    }
}

/// The fixed fields of an outgoing header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fields {
    pub marker: bool,
    pub payload_type: u8,
    pub sequence: u16,
    pub timestamp: u32,
    pub ssrc: u32,
}

/// Writes one outgoing header at the end of a buffer: fixed fields, then elements, then [`finish`](Self::finish). The
/// one-byte form is used until an element asks for the two-byte form.
pub struct HeaderWriter<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
    /// Where elements start; equal to `out.len()` at the time of the first one.
    elements: usize,
    two_byte: bool,
}

impl<'a> HeaderWriter<'a> {
    pub fn new(out: &'a mut Vec<u8>, fields: &Fields) -> Self {
        let start = out.len();
        let [s0, s1] = fields.sequence.to_be_bytes();
        let [t0, t1, t2, t3] = fields.timestamp.to_be_bytes();
        let [c0, c1, c2, c3] = fields.ssrc.to_be_bytes();
        let second = (u8::from(fields.marker) << 7) | (fields.payload_type & 0x7f);
        // with room for the extension block's own header, so that one append does for most packets
        out.extend_from_slice(&[0x80, second, s0, s1, t0, t1, t2, t3, c0, c1, c2, c3, 0xbe, 0xde, 0, 0]);
        HeaderWriter {
            elements: start + FIXED_LEN + 4,
            out,
            start,
            two_byte: false,
        }
    }

    /// Append an element. Ids 0 and values longer than 255 bytes have no wire form and are left out.
    #[inline]
    pub fn element(&mut self, id: u8, value: &[u8]) {
        let Ok(len) = u8::try_from(value.len()) else { return };
        if id == 0 || self.out.len() - self.elements + 2 + value.len() > ELEMENTS_MAX {
            return;
        }
        if !self.two_byte && (id > ONE_BYTE_MAX_ID || value.is_empty() || value.len() > ONE_BYTE_MAX_LEN) {
            self.widen();
        }
        if self.two_byte {
            self.out.extend_from_slice(&[id, len]);
        } else {
            self.out.push((id << 4) | (len - 1));
        }
        self.out.extend_from_slice(value);
    }

    /// Turns the elements written so far into the two-byte form.
    #[cold]
    fn widen(&mut self) {
        let mut copy = [0u8; ELEMENTS_MAX];
        let len = (self.out.len() - self.elements).min(ELEMENTS_MAX);
        copy[..len].copy_from_slice(&self.out[self.elements..self.elements + len]);
        self.out.truncate(self.elements);
        let old = Elements {
            rest: &copy[..len],
            two_byte: false,
        };
        for (id, value) in old {
            self.out.extend_from_slice(&[id, value.len() as u8]);
            self.out.extend_from_slice(value);
        }
        self.two_byte = true;
    }

    /// Completes the header; its length in bytes, for the cipher.
    pub fn finish(self) -> usize {
        let len = self.out.len() - self.elements;
        if len == 0 {
            self.out.truncate(self.start + FIXED_LEN);
            return FIXED_LEN;
        }
        let padded = len.next_multiple_of(4);
        self.out.resize(self.elements + padded, 0);
        self.out[self.start] |= 0x10;
        let block = &mut self.out[self.elements - 4..self.elements];
        if self.two_byte {
            block[..2].copy_from_slice(&[0x10, 0x00]);
        }
        // at most ELEMENTS_MAX / 4 words
        block[3] = (padded / 4) as u8;
        FIXED_LEN + 4 + padded
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{Rng, SeedableRng, rngs::StdRng};

    const FIELDS: Fields = Fields {
        marker: true,
        payload_type: 96,
        sequence: 0xfedc,
        timestamp: 0x0102_0304,
        ssrc: 0xa0b0_c0d0,
    };

    fn written(elements: &[(u8, &[u8])]) -> Vec<u8> {
        let mut out = vec![1, 2, 3];
        let mut writer = HeaderWriter::new(&mut out, &FIELDS);
        for (id, value) in elements {
            writer.element(*id, value);
        }
        let len = writer.finish();
        assert_eq!(out.len(), 3 + len);
        out.split_off(3)
    }

    #[test]
    fn headers_round_trip_in_both_forms() {
        let cases: [&[(u8, &[u8])]; 5] = [
            &[],
            &[(1, b"0"), (3, &[1, 2, 3])],
            &[(1, b"0"), (3, &[1, 2, 3]), (4, &[9; 20])],
            &[(2, &[7; 16]), (15, b"x"), (1, b"a")],
            &[(2, &[7]), (5, &[]), (255, b"a")],
        ];
        for elements in cases {
            let mut packet = written(elements);
            packet.extend_from_slice(b"payload");
            let header = Header::parse(&packet).unwrap();
            assert_eq!(header.elements(&packet).collect::<Vec<_>>(), elements);
            assert_eq!(header.payload(&packet), b"payload");
            assert_eq!((header.marker, header.payload_type), (true, 96));
            assert_eq!((header.sequence, header.timestamp), (FIELDS.sequence, FIELDS.timestamp));
            assert_eq!(header.ssrc, FIELDS.ssrc);
            assert_eq!(header.len % 4, 0);
        }
    }

    #[test]
    fn elements_without_a_wire_form_are_left_out() {
        let long = [0u8; 256];
        let packet = written(&[(0, b"a"), (1, &long), (2, b"b"), (3, &[1; 200]), (4, &[2; 100])]);
        let header = Header::parse(&packet).unwrap();
        let ids: Vec<u8> = header.elements(&packet).map(|(id, _)| id).collect();
        assert_eq!(ids, [2, 3]);
    }

    #[test]
    fn padding_csrcs_and_unknown_profiles_are_skipped() {
        let mut packet = vec![0xb2, 96, 0, 1, 0, 0, 0, 0, 0, 0, 0, 5];
        packet.extend_from_slice(&[0; 8]); // two CSRCs
        packet.extend_from_slice(&[0x12, 0x34, 0, 1, 0x10, 0xff, 0, 0]); // a profile of somebody else
        packet.extend_from_slice(&[7, 7, 0, 0, 3]);
        let header = Header::parse(&packet).unwrap();
        assert_eq!(header.payload(&packet), [7, 7]);
        assert_eq!(header.elements(&packet).next(), None);
        packet.truncate(packet.len() - 5);
        packet.extend_from_slice(&[0, 2]);
        assert!(Header::parse(&packet).unwrap().payload(&packet).is_empty());
        *packet.last_mut().unwrap() = 3;
        assert_eq!(
            Header::parse(&packet),
            Err(HeaderError::Padding { count: 3, available: 2 })
        );
        *packet.last_mut().unwrap() = 0;
        assert!(Header::parse(&packet).is_err());
    }

    #[test]
    fn one_byte_id_15_ends_the_block() {
        let packet = [
            0x90, 96, 0, 1, 0, 0, 0, 0, 0, 0, 0, 5, 0xbe, 0xde, 0, 1, 0x10, 1, 0xf0, 0x20,
        ];
        let header = Header::parse(&packet).unwrap();
        assert_eq!(header.elements(&packet).collect::<Vec<_>>(), [(1, &[1][..])]);
    }

    #[test]
    fn mutated_packets_never_panic_and_stay_inside() {
        let mut rng = StdRng::seed_from_u64(7);
        let mut seeds = vec![
            written(&[(1, b"0"), (3, &[1, 2, 3])]),
            written(&[(1, b"0"), (4, &[9; 20])]),
            written(&[]),
        ];
        for seed in &mut seeds {
            seed.extend_from_slice(&[5; 30]);
        }
        for round in 0..20_000 {
            let mut packet = seeds[round % seeds.len()].clone();
            for _ in 0..rng.random_range(1..6) {
                let at = rng.random_range(0..packet.len());
                packet[at] = rng.random();
            }
            packet.truncate(rng.random_range(0..=packet.len()));
            if let Ok(header) = Header::parse(&packet) {
                assert!(header.len <= packet.len());
                let total: usize = header.elements(&packet).map(|(_, value)| value.len()).sum();
                assert!(total + header.payload(&packet).len() <= packet.len());
            }
        }
    }
}
