//! VP9 payloads (RFC 9628): the payload descriptor, keyframe starts and sizes.

use crate::rtp::bits::Bits;
use crate::rtp::picture::{PictureIdPosition, Positions};

/// The payload descriptor (RFC 9628 §4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Descriptor {
    /// Length in bytes: where the VP9 frame starts.
    pub(crate) len: usize,
    inter_predicted: bool,
    starts_frame: bool,
    spatial_layer: u8,
    pub(crate) positions: Positions,
    /// Of the highest spatial layer, from the scalability structure.
    size: Option<(u16, u16)>,
}

impl Descriptor {
    pub(crate) fn parse(payload: &[u8]) -> Option<Self> {
        let first = *payload.first()?;
        let has = |bit: u8| first & bit != 0;
        let (inter_predicted, layered, flexible) = (has(0x40), has(0x20), has(0x10));
        let mut len = 1;
        let mut positions = Positions::default();
        if has(0x80) {
            let wide = payload.get(len)? & 0x80 != 0;
            positions.picture_id = Some(PictureIdPosition { at: len, wide });
            len += if wide { 2 } else { 1 };
        }
        let mut spatial_layer = 0;
        if layered {
            spatial_layer = (payload.get(len)? >> 1) & 0x07;
            len += 1;
            if !flexible {
                positions.tl0_index = Some(len);
                len += 1;
            }
        }
        if flexible && inter_predicted {
            // at most three reference differences, the last has a clear low bit
            for _ in 0..3 {
                let more = payload.get(len)? & 1 != 0;
                len += 1;
                if !more {
                    break;
                }
            }
        }
        let mut size = None;
        if has(0x02) {
            (size, len) = scalability_structure(payload, len)?;
        }
        (payload.len() >= len).then_some(Descriptor {
            len,
            inter_predicted,
            starts_frame: has(0x08),
            spatial_layer,
            positions,
            size,
        })
    }

    fn starts_keyframe(&self) -> bool {
        self.starts_frame && !self.inter_predicted && self.spatial_layer == 0
    }
}

/// RFC 9628 §4.2.1: the highest layer's size, and where the structure ends.
fn scalability_structure(payload: &[u8], mut at: usize) -> Option<(Option<(u16, u16)>, usize)> {
    let head = *payload.get(at)?;
    at += 1;
    let mut size = None;
    if head & 0x10 != 0 {
        for _ in 0..=(head >> 5) {
            let [w0, w1, h0, h1] = *payload.get(at..)?.first_chunk::<4>()?;
            size = Some((u16::from_be_bytes([w0, w1]), u16::from_be_bytes([h0, h1])));
            at += 4;
        }
    }
    if head & 0x08 != 0 {
        let pictures = *payload.get(at)?;
        at += 1;
        for _ in 0..pictures {
            let references = usize::from((payload.get(at)? >> 2) & 0x03);
            at += 1 + references;
        }
    }
    Some((size, at))
}

/// Whether this is the first packet of a key picture: a frame of the lowest spatial layer that refers to no earlier one.
pub fn starts_keyframe(payload: &[u8]) -> bool {
    Descriptor::parse(payload).is_some_and(|descriptor| descriptor.starts_keyframe())
}

/// Width and height of the key picture that starts here: the scalability structure's highest layer, else what the frame
/// header says.
pub fn keyframe_size(payload: &[u8]) -> Option<(u16, u16)> {
    let descriptor = Descriptor::parse(payload).filter(Descriptor::starts_keyframe)?;
    descriptor
        .size
        .or_else(|| frame_size(payload.get(descriptor.len..)?))
        .filter(|(width, height)| *width > 0 && *height > 0)
}

/// The uncompressed header of a key frame (VP9 bitstream specification §6.2).
fn frame_size(frame: &[u8]) -> Option<(u16, u16)> {
    const SRGB: u32 = 7;
    let mut bits = Bits::new(frame);
    if bits.bits(2)? != 2 {
        return None;
    }
    let profile = u32::from(bits.bit()?) | (u32::from(bits.bit()?) << 1);
    if profile == 3 {
        bits.skip(1);
    }
    let (shows_existing, inter) = (bits.bit()?, bits.bit()?);
    if shows_existing || inter {
        return None;
    }
    bits.skip(2); // show_frame, error_resilient_mode
    if bits.bits(24)? != 0x49_8342 {
        return None;
    }
    if profile >= 2 {
        bits.skip(1); // 10 or 12 bits
    }
    if bits.bits(3)? != SRGB {
        bits.skip(1); // range
        if profile & 1 == 1 {
            bits.skip(3); // subsampling
        }
    } else if profile & 1 == 1 {
        bits.skip(1);
    }
    let (width, height) = (bits.bits(16)? + 1, bits.bits(16)? + 1);
    Some((u16::try_from(width).ok()?, u16::try_from(height).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtp::{Codec, PictureIds, PictureOffsets};
    use rand::{Rng, SeedableRng, rngs::StdRng};

    /// Picture 0x1234, layered, not flexible, with the structure of two spatial layers and one picture.
    const SVC: [u8; 18] = [
        0xaa, 0x92, 0x34, 0x00, 0x09, 0x38, 0x01, 0x40, 0x00, 0xb4, 0x02, 0x80, 0x01, 0x68, 0x01, 0x14, 0x01, 0x55,
    ];

    /// One layer: an uncompressed header of 640×360 in profile 0 behind a descriptor without extras.
    fn single() -> Vec<u8> {
        let mut bits = String::from("10000010"); // marker, profile 0, key frame, shown
        bits += &format!("{:024b}{:03b}{:01b}{:016b}{:016b}", 0x49_8342, 1, 0, 639, 359);
        bits += "0000";
        let mut payload = vec![0x88, 0x05];
        let bytes = bits.as_bytes().chunks_exact(8);
        payload.extend(bytes.map(|byte| u8::from_str_radix(std::str::from_utf8(byte).unwrap(), 2).unwrap()));
        payload
    }

    #[test]
    fn keyframes_and_their_sizes() {
        assert!(starts_keyframe(&SVC));
        assert_eq!(keyframe_size(&SVC), Some((640, 360)));
        assert_eq!(Descriptor::parse(&SVC).unwrap().len, 17);
        assert_eq!(keyframe_size(&single()), Some((640, 360)));
        let mut upper = SVC;
        upper[3] = 0x02;
        assert!(!starts_keyframe(&upper), "a higher spatial layer");
        let mut predicted = SVC;
        predicted[0] |= 0x40;
        assert!(!starts_keyframe(&predicted));
        let mut middle = SVC;
        middle[0] &= !0x08;
        assert!(!starts_keyframe(&middle));
        assert!(!starts_keyframe(&SVC[..10]));
    }

    #[test]
    fn flexible_mode_has_reference_differences() {
        // picture id 7 bits, layered, flexible, predicted, two references
        let payload = [0xf8, 0x05, 0x00, 0x03, 0x02, 0xff];
        let descriptor = Descriptor::parse(&payload).unwrap();
        assert_eq!((descriptor.len, descriptor.positions.tl0_index), (5, None));
    }

    #[test]
    fn picture_numbers_continue_over_a_switch() {
        let ids = Codec::Vp9.picture_ids(&SVC).unwrap();
        assert_eq!(
            ids,
            PictureIds {
                picture_id: Some(0x1234),
                tl0_index: Some(9)
            }
        );
        let last = PictureIds {
            picture_id: Some(0x0fff),
            tl0_index: Some(3),
        };
        let mut payload = SVC;
        Codec::Vp9.rewrite_pictures(&PictureOffsets::continue_after(last, ids), &mut payload);
        let sent = PictureIds {
            picture_id: Some(0x1000),
            tl0_index: Some(4),
        };
        assert_eq!(Codec::Vp9.picture_ids(&payload), Some(sent));
        assert_eq!(keyframe_size(&payload), Some((640, 360)));
    }

    #[test]
    fn mutated_payloads_never_panic() {
        let mut rng = StdRng::seed_from_u64(6);
        let seeds = [SVC.to_vec(), single(), vec![0xf8, 0x05, 0x00, 0x03, 0x02, 0xff]];
        for round in 0..20_000 {
            let mut payload = seeds[round % seeds.len()].clone();
            for _ in 0..rng.random_range(1..5) {
                let at = rng.random_range(0..payload.len());
                payload[at] = rng.random();
            }
            payload.truncate(rng.random_range(0..=payload.len()));
            assert!(keyframe_size(&payload).is_none() || starts_keyframe(&payload));
            Codec::Vp9.rewrite_pictures(&PictureOffsets::default(), &mut payload);
        }
    }
}
