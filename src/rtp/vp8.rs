//! VP8 payloads (RFC 7741): the payload descriptor, keyframe starts and sizes.

use crate::rtp::picture::{PictureIdPosition, Positions};

/// The payload descriptor (RFC 7741 §4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Descriptor {
    /// Length in bytes: where the VP8 payload header starts.
    pub(crate) len: usize,
    /// First packet of the first partition of a frame.
    pub(crate) starts_frame: bool,
    /// No other picture is predicted from this one (the N bit).
    pub(crate) disposable: bool,
    pub(crate) positions: Positions,
}

impl Descriptor {
    pub(crate) fn parse(payload: &[u8]) -> Option<Self> {
        let first = *payload.first()?;
        let mut len = 1;
        let mut positions = Positions::default();
        if first & 0x80 != 0 {
            let extensions = *payload.get(1)?;
            len = 2;
            if extensions & 0x80 != 0 {
                let wide = payload.get(len)? & 0x80 != 0;
                positions.picture_id = Some(PictureIdPosition { at: len, wide });
                len += if wide { 2 } else { 1 };
            }
            if extensions & 0x40 != 0 {
                positions.tl0_index = Some(len);
                len += 1;
            }
            if extensions & 0x30 != 0 {
                len += 1;
            }
        }
        (payload.len() >= len).then_some(Descriptor {
            len,
            starts_frame: first & 0x10 != 0 && first & 0x07 == 0,
            disposable: first & 0x20 != 0,
            positions,
        })
    }
}

/// Whether this is the first packet of a key frame (RFC 7741 §4.3: the inverse key frame flag).
pub fn starts_keyframe(payload: &[u8]) -> bool {
    keyframe(payload).is_some()
}

/// Width and height of the key frame that starts here (RFC 6386 §9.1), without scaling.
pub fn keyframe_size(payload: &[u8]) -> Option<(u16, u16)> {
    let header: &[u8; 10] = keyframe(payload)?.first_chunk()?;
    let [_, _, _, 0x9d, 0x01, 0x2a, w0, w1, h0, h1] = *header else {
        return None;
    };
    let size = |low, high| u16::from_le_bytes([low, high]) & 0x3fff;
    let (width, height) = (size(w0, w1), size(h0, h1));
    (width > 0 && height > 0).then_some((width, height))
}

fn keyframe(payload: &[u8]) -> Option<&[u8]> {
    let descriptor = Descriptor::parse(payload)?;
    let frame = payload.get(descriptor.len..)?;
    (descriptor.starts_frame && frame.first()? & 1 == 0).then_some(frame)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtp::{Codec, PictureIds, PictureOffsets};
    use rand::{Rng, SeedableRng, rngs::StdRng};

    /// A key frame of 640×360, picture 5, TL0 index 7.
    const KEYFRAME: [u8; 16] = [
        0x90, 0xe0, 0x80, 0x05, 0x07, 0x20, 0x10, 0, 0, 0x9d, 0x01, 0x2a, 0x80, 0x02, 0x68, 0x01,
    ];

    #[test]
    fn keyframes_are_seen_at_their_first_packet() {
        assert!(starts_keyframe(&KEYFRAME));
        assert_eq!(keyframe_size(&KEYFRAME), Some((640, 360)));
        let change = |at: usize, value| {
            let mut payload = KEYFRAME;
            payload[at] = value;
            payload
        };
        assert!(!starts_keyframe(&change(0, 0x80)), "not the start");
        assert!(!starts_keyframe(&change(0, 0x91)), "another partition");
        assert!(!starts_keyframe(&change(6, 0x11)), "a delta frame");
        assert_eq!(keyframe_size(&change(9, 0)), None);
        assert!(!starts_keyframe(&KEYFRAME[..6]));
        // without extensions
        assert!(starts_keyframe(&[0x10, 0x10]));
    }

    #[test]
    fn picture_numbers_continue_over_a_switch() {
        let ids = Codec::Vp8.picture_ids(&KEYFRAME).unwrap();
        assert_eq!((ids.picture_id, ids.tl0_index), (Some(5), Some(7)));
        let last = PictureIds {
            picture_id: Some(0x7fff),
            tl0_index: Some(255),
        };
        let offsets = PictureOffsets::continue_after(last, ids);
        let mut payload = KEYFRAME;
        Codec::Vp8.rewrite_pictures(&offsets, &mut payload);
        let sent = Codec::Vp8.picture_ids(&payload).unwrap();
        assert_eq!((sent.picture_id, sent.tl0_index), (Some(0), Some(0)));
        assert_eq!(sent, offsets.applied(ids));
        assert_eq!(payload[5..], KEYFRAME[5..]);
        assert!(!offsets.is_zero() && PictureOffsets::default().is_zero());
    }

    #[test]
    fn short_picture_ids_stay_short() {
        let mut payload = [0x90, 0x80, 0x7f, 0x10];
        let ids = Codec::Vp8.picture_ids(&payload).unwrap();
        assert_eq!(
            ids,
            PictureIds {
                picture_id: Some(0x7f),
                tl0_index: None
            }
        );
        let last = PictureIds {
            picture_id: Some(0x7f),
            tl0_index: Some(1),
        };
        Codec::Vp8.rewrite_pictures(&PictureOffsets::continue_after(last, ids), &mut payload);
        assert_eq!(payload, [0x90, 0x80, 0x00, 0x10]);
    }

    #[test]
    fn mutated_payloads_never_panic() {
        let mut rng = StdRng::seed_from_u64(5);
        let offsets = PictureOffsets::continue_after(
            PictureIds {
                picture_id: Some(77),
                tl0_index: Some(1),
            },
            PictureIds {
                picture_id: Some(3),
                tl0_index: Some(9),
            },
        );
        for _ in 0..20_000 {
            let mut payload = KEYFRAME.to_vec();
            for _ in 0..rng.random_range(1..5) {
                let at = rng.random_range(0..payload.len());
                payload[at] = rng.random();
            }
            payload.truncate(rng.random_range(0..=payload.len()));
            let before = Codec::Vp8.picture_ids(&payload);
            assert!(keyframe_size(&payload).is_none() || starts_keyframe(&payload));
            Codec::Vp8.rewrite_pictures(&offsets, &mut payload);
            let after = Codec::Vp8.picture_ids(&payload);
            assert_eq!(before.is_some(), after.is_some());
        }
    }
}
