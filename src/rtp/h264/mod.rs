//! H.264 payloads (RFC 6184, packetization-mode 1): where a decoder can start, what the sequence parameter set says, access
//! units → packets ([`Packetizer`]) and packets → access units ([`crate::rtp::frames`]). In between they are byte streams
//! with start codes (Annex B).

mod depacketizer;
mod packetizer;
mod parameters;
mod sei;

pub(crate) use depacketizer::Depacketizer;
pub use packetizer::{PAYLOAD_MAX, Packetizer};

pub use parameters::SequenceParameters;
#[cfg(test)]
pub(crate) use sei::tests::user_data;
pub use sei::with_user_data;

/// NAL unit types (H.264 table 7-1, RFC 6184 §5.2).
const SPS: u8 = 7;
/// The last type that is a NAL unit of its own in a packet (RFC 6184 table 1).
const SINGLE_MAX: u8 = 23;
const STAP_A: u8 = 24;
const FU_A: u8 = 28;
/// Forbidden bit and reference index of a NAL header.
const IMPORTANCE: u8 = 0xe0;
const TYPE: u8 = 0x1f;
/// Bits of an FU header (RFC 6184 §5.8).
const FU_START: u8 = 0x80;
const FU_END: u8 = 0x40;

/// Whether a random access point starts here: the packet carries a sequence parameter set (alone, in an aggregate, or as
/// the first fragment). An IDR picture without one is no start, for a decoder that joins there knows no parameters.
pub fn starts_keyframe(payload: &[u8]) -> bool {
    sps(payload).is_some()
}

/// Width and height after cropping, from the sequence parameter set in this packet.
pub fn keyframe_size(payload: &[u8]) -> Option<(u16, u16)> {
    Some(parameters(payload)?.size)
}

/// Whether pictures may leave a decoder in another order than they are sent in (B-frames), as the sequence parameter set in
/// this packet promises. `None`: there is none, or it can't be read.
pub fn may_reorder(payload: &[u8]) -> Option<bool> {
    Some(parameters(payload)?.may_reorder)
}

/// What the sequence parameter set in this packet says.
pub fn parameters(payload: &[u8]) -> Option<SequenceParameters> {
    SequenceParameters::parse(sps(payload)?)
}

/// Whether no other picture is predicted from what is in this packet (`nal_ref_idc` 0, RFC 6184 §5.3).
pub(crate) fn is_disposable(payload: &[u8]) -> bool {
    payload.first().is_some_and(|header| header & 0x60 == 0)
}

/// The sequence parameter set in this packet without its NAL header, maybe incomplete if fragmented.
fn sps(payload: &[u8]) -> Option<&[u8]> {
    let (first, rest) = payload.split_first()?;
    match first & TYPE {
        SPS => Some(rest),
        STAP_A => AggregatedUnits { rest }.find_map(|unit| match unit.split_first() {
            Some((header, body)) if header & TYPE == SPS => Some(body),
            _ => None,
        }),
        FU_A => {
            let (header, body) = rest.split_first()?;
            (header & FU_START != 0 && header & TYPE == SPS).then_some(body)
        }
        _ => None,
    }
}

/// The NAL units of a STAP-A (RFC 6184 §5.7.1).
struct AggregatedUnits<'a> {
    /// What is not read yet; not empty at the end: cut off.
    rest: &'a [u8],
}

impl<'a> Iterator for AggregatedUnits<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (len, rest) = self.rest.split_first_chunk::<2>()?;
        let len = usize::from(u16::from_be_bytes(*len));
        let unit = rest.get(..len)?;
        self.rest = rest.get(len..)?;
        Some(unit)
    }
}

/// The NAL units of a byte stream (H.264 Annex B), without start codes and the zeros around them.
pub fn nal_units(stream: &[u8]) -> NalUnits<'_> {
    let rest = start_code(stream).and_then(|at| stream.get(at + 3..));
    NalUnits { rest }
}

/// See [`nal_units`].
#[derive(Clone, Debug)]
pub struct NalUnits<'a> {
    /// From behind a start code on.
    rest: Option<&'a [u8]>,
}

impl<'a> Iterator for NalUnits<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        loop {
            let rest = self.rest?;
            let next = start_code(rest);
            let unit = rest.get(..next.unwrap_or(rest.len())).unwrap_or_default();
            self.rest = next.and_then(|at| rest.get(at + 3..));
            // a unit ends with a bit that is set: zeros behind it are of the byte stream
            let len = unit.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            if let Some(unit) = unit.get(..len).filter(|unit| !unit.is_empty()) {
                return Some(unit);
            }
        }
    }
}

/// Where `00 00 01` begins.
fn start_code(stream: &[u8]) -> Option<usize> {
    let mut at = 0;
    while let Some(window) = stream.get(at..at + 3) {
        match *window {
            [0, 0, 1] => return Some(at),
            // neither this byte nor the one before it can be in a start code's zeros
            [_, _, 2..=255] => at += 3,
            [_, 1..=255, _] => at += 2,
            _ => at += 1,
        }
    }
    None
}

#[cfg(test)]
pub(crate) mod tests;
