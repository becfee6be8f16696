//! AV1 payloads (RTP Payload Format For AV1, <https://aomediacodec.github.io/av1-rtp-spec/>): keyframe starts by the
//! aggregation header or the dependency descriptor, sizes by the sequence header.

use crate::rtp::bits::Bits;

const OBU_SEQUENCE_HEADER: u8 = 1;
/// OBU elements looked at for a sequence header: it comes first, at most behind a temporal delimiter.
const ELEMENTS_MAX: usize = 4;

/// Whether a decoder can start here: the packet begins a new coded video sequence (N of the aggregation header, §4.4),
/// or its dependency descriptor begins a frame and brings the template structure, which senders attach to keyframes.
pub fn starts_keyframe(payload: &[u8], dependency_descriptor: Option<&[u8]>) -> bool {
    match dependency_descriptor {
        Some(descriptor) => begins_structure(descriptor),
        None => payload.first().is_some_and(|header| {
            // Z: continues an OBU of the packet before, so cannot begin anything
            header & 0x08 != 0 && header & 0x80 == 0
        }),
    }
}

/// Annex A.8.1, A.8.3: start_of_frame of the mandatory fields, and template_dependency_structure_present_flag.
fn begins_structure(descriptor: &[u8]) -> bool {
    let (Some(mandatory), Some(extended)) = (descriptor.first(), descriptor.get(3)) else {
        return false;
    };
    mandatory & 0x80 != 0 && extended & 0x80 != 0
}

/// Width and height from the sequence header in this packet.
pub fn keyframe_size(payload: &[u8]) -> Option<(u16, u16)> {
    let (header, mut rest) = payload.split_first()?;
    if header & 0x80 != 0 {
        return None;
    }
    let declared = usize::from((header >> 4) & 0x03);
    for index in 0..ELEMENTS_MAX {
        // the last of W elements has no length; with W = 0 all have one
        let element = if declared != 0 && index + 1 == declared {
            std::mem::take(&mut rest)
        } else {
            let (len, behind) = leb128(rest)?;
            rest = behind.get(len..)?;
            behind.get(..len)?
        };
        if let Some(body) = obu_body(element, OBU_SEQUENCE_HEADER) {
            return sequence_size(body);
        }
    }
    None
}

/// The body of an OBU if it is of this type (AV1 specification §5.3).
fn obu_body(obu: &[u8], wanted: u8) -> Option<&[u8]> {
    let (header, mut body) = obu.split_first()?;
    if (header >> 3) & 0x0f != wanted {
        return None;
    }
    if header & 0x04 != 0 {
        body = body.get(1..)?;
    }
    if header & 0x02 != 0 {
        (_, body) = leb128(body)?;
    }
    Some(body)
}

/// AV1 specification §4.10.5; more than four bytes are no length in a datagram.
fn leb128(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut value = 0usize;
    for (index, byte) in bytes.iter().take(4).enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((value, bytes.get(index + 1..)?));
        }
    }
    None
}

/// AV1 specification §5.5.1, up to max_frame_height_minus_1.
fn sequence_size(body: &[u8]) -> Option<(u16, u16)> {
    let mut bits = Bits::new(body);
    bits.skip(3 + 1); // profile, still picture
    if bits.bit()? {
        bits.skip(5); // reduced header: only a level
    } else {
        skip_operating_points(&mut bits)?;
    }
    let (width_bits, height_bits) = (bits.bits(4)? + 1, bits.bits(4)? + 1);
    let (width, height) = (bits.bits(width_bits)? + 1, bits.bits(height_bits)? + 1);
    Some((u16::try_from(width).ok()?, u16::try_from(height).ok()?))
}

fn skip_operating_points(bits: &mut Bits) -> Option<()> {
    let mut decoder_model_len = None;
    if bits.bit()? {
        bits.skip(64); // units in tick, time scale
        if bits.bit()? {
            bits.exp_golomb()?; // ticks per picture
        }
        if bits.bit()? {
            decoder_model_len = Some(bits.bits(5)? + 1);
            bits.skip(32 + 5 + 5);
        }
    }
    let initial_display_delay = bits.bit()?;
    for _ in 0..=bits.bits(5)? {
        bits.skip(12);
        if bits.bits(5)? > 7 {
            bits.skip(1); // tier
        }
        if let Some(len) = decoder_model_len
            && bits.bit()?
        {
            bits.skip(2 * len as usize + 1);
        }
        if initial_display_delay && bits.bit()? {
            bits.skip(4);
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{Rng, SeedableRng, rngs::StdRng};

    fn bytes(bits: &str) -> Vec<u8> {
        let padded = format!("{bits}{}", "0".repeat((8 - bits.len() % 8) % 8));
        let chunks = padded.as_bytes().chunks_exact(8);
        chunks
            .map(|byte| u8::from_str_radix(std::str::from_utf8(byte).unwrap(), 2).unwrap())
            .collect()
    }

    /// A sequence header OBU without size field; with or without timing information.
    fn sequence_header(timing: bool) -> Vec<u8> {
        let mut bits = String::from("00001000"); // OBU header: type 1
        bits += "0000"; // profile 0, no still picture
        bits += "0"; // full header
        if timing {
            // timing with equal picture interval, decoder model of 10-bit delays
            bits += &format!("1{:064b}1{}1{:05b}{:042b}", 0, "1", 9, 0);
        } else {
            bits += "0";
        }
        bits += "1"; // initial display delay
        bits += "00000"; // one operating point
        bits += &format!("{:012b}{:05b}0", 0, 8);
        if timing {
            bits += &format!("1{:021b}", 0);
        }
        bits += "10101"; // its delay
        bits += &format!("{:04b}{:04b}{:011b}{:010b}", 10, 9, 1279, 719);
        bytes(&bits)
    }

    fn packet(timing: bool) -> Vec<u8> {
        let header = sequence_header(timing);
        let mut payload = vec![0x08, 2, 0x10, 0]; // N, W = 0; a temporal delimiter first
        payload.push(header.len() as u8);
        payload.extend_from_slice(&header);
        payload.extend_from_slice(&[3, 0x30, 1, 2]);
        payload
    }

    #[test]
    fn sizes_come_from_the_sequence_header() {
        assert_eq!(keyframe_size(&packet(false)), Some((1280, 720)));
        assert_eq!(keyframe_size(&packet(true)), Some((1280, 720)));
        // one element without a length
        let alone = [&[0x18][..], &sequence_header(false)].concat();
        assert_eq!(keyframe_size(&alone), Some((1280, 720)));
        assert_eq!(keyframe_size(&[0x10, 0x30, 1]), None);
        assert_eq!(keyframe_size(&[0x88, 0x08]), None);
    }

    #[test]
    fn starts_by_aggregation_header_or_descriptor() {
        assert!(starts_keyframe(&packet(false), None));
        assert!(!starts_keyframe(&[0x10, 0x30], None));
        assert!(!starts_keyframe(&[0x88, 0x30], None), "a continuation");
        assert!(starts_keyframe(&[0x10], Some(&[0xc0, 0, 1, 0x80, 0])));
        assert!(!starts_keyframe(&packet(false), Some(&[0xc0, 0, 1])), "no structure");
        assert!(
            !starts_keyframe(&packet(false), Some(&[0x40, 0, 1, 0x80])),
            "not the start of a frame"
        );
        assert!(!starts_keyframe(&[], None));
    }

    #[test]
    fn mutated_payloads_never_panic() {
        let mut rng = StdRng::seed_from_u64(8);
        let seeds = [
            packet(false),
            packet(true),
            [&[0x18][..], &sequence_header(false)].concat(),
        ];
        let mut sized = 0;
        for round in 0..20_000 {
            let mut payload = seeds[round % seeds.len()].clone();
            for _ in 0..rng.random_range(1..5) {
                let at = rng.random_range(0..payload.len());
                payload[at] = rng.random();
            }
            payload.truncate(rng.random_range(0..=payload.len()));
            sized += usize::from(keyframe_size(&payload).is_some());
            starts_keyframe(&payload, Some(&payload));
        }
        assert!(sized > 0);
    }
}
