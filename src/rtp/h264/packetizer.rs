//! Access units → RTP payloads (RFC 6184, packetization-mode 1).

use super::{FU_A, FU_END, FU_START, IMPORTANCE, STAP_A, TYPE, nal_units};

/// Bytes of payload that fit any path: 1280 bytes, the least an IPv6 link carries, less IP (40), UDP (8), RTP with
/// extensions (at most 12 + 16 as the server writes them) and an AEAD tag (16) would be 1188; links in use carry 1400 and
/// more even through tunnels, and WebRTC's own senders use 1200.
pub const PAYLOAD_MAX: usize = 1200;
/// Less would leave no room behind the headers of a fragment or an aggregate.
const PAYLOAD_MIN: usize = 16;

/// Cuts access units into payloads: neighbouring small NAL units (parameter sets, SEI, small slices) go into one STAP-A,
/// a NAL unit that fits goes alone, a larger one in FU-As. Fragments are full but for the last one, so that a train of
/// them leaves by one system call (UDP segmentation offload wants equal sizes).
#[derive(Debug)]
pub struct Packetizer {
    payload_max: usize,
    /// The payload under construction; its buffer is kept.
    payload: Vec<u8>,
}

impl Default for Packetizer {
    fn default() -> Self {
        Self::new(PAYLOAD_MAX)
    }
}

impl Packetizer {
    /// `payload_max`: bytes behind the RTP header.
    pub fn new(payload_max: usize) -> Self {
        let payload_max = payload_max.clamp(PAYLOAD_MIN, usize::from(u16::MAX));
        Packetizer {
            payload_max,
            payload: Vec::with_capacity(payload_max),
        }
    }

    /// Calls `each` with the payloads of one access unit (Annex B) in order and with the RTP marker: set on the last.
    pub fn packetize(&mut self, access_unit: &[u8], mut each: impl FnMut(&[u8], bool)) {
        let mut units = nal_units(access_unit).peekable();
        while let Some(unit) = units.next() {
            if unit.len() > self.payload_max {
                self.fragment(unit, units.peek().is_none(), &mut each);
                continue;
            }
            self.payload.clear();
            self.payload.push(STAP_A);
            self.aggregate(unit);
            let mut aggregated = 1;
            while let Some(next) = units.next_if(|next| self.payload.len() + 2 + next.len() <= self.payload_max) {
                self.aggregate(next);
                aggregated += 1;
            }
            let is_last = units.peek().is_none();
            if aggregated == 1 {
                each(unit, is_last);
            } else {
                each(&self.payload, is_last);
            }
        }
    }

    /// Appends a unit to the STAP-A, whose header is as important as its most important unit (RFC 6184 §5.7). A first unit
    /// that fills a packet makes an aggregate too large to send; nothing is added to it then.
    fn aggregate(&mut self, unit: &[u8]) {
        let (Some(header), Some(unit_header)) = (self.payload.first_mut(), unit.first()) else {
            return;
        };
        let forbidden = (*header | unit_header) & 0x80;
        let importance = (*header & 0x60).max(unit_header & 0x60);
        *header = forbidden | importance | STAP_A;
        // units are at most `payload_max` long, which fits
        self.payload.extend_from_slice(&(unit.len() as u16).to_be_bytes());
        self.payload.extend_from_slice(unit);
    }

    fn fragment(&mut self, unit: &[u8], is_last_unit: bool, each: &mut impl FnMut(&[u8], bool)) {
        let Some((header, body)) = unit.split_first() else {
            return;
        };
        let mut start = FU_START;
        let mut fragments = body.chunks(self.payload_max - 2).peekable();
        while let Some(fragment) = fragments.next() {
            let is_last = fragments.peek().is_none();
            let end = if is_last { FU_END } else { 0 };
            self.payload.clear();
            self.payload.push((header & IMPORTANCE) | FU_A);
            self.payload.push(start | end | (header & TYPE));
            self.payload.extend_from_slice(fragment);
            each(&self.payload, is_last && is_last_unit);
            start = 0;
        }
    }
}
