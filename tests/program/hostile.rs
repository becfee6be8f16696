//! What no encoder sends: payloads that are wrong in every way a sender may think of, in RTP packets that are in order. The
//! same for the same frame, always.

use bytes::Bytes;

/// Of a packet of random bytes.
const RANDOM_BYTES: u32 = 1_100;

/// What takes the place of an H.264 frame whose payloads (RFC 6184) would be `honest`.
pub fn h264(frame: u32, honest: Vec<Bytes>) -> Vec<Bytes> {
    let mut dice = Dice(frame);
    match frame % 10 {
        0 => (0..4).map(|_| dice.bytes(RANDOM_BYTES)).collect(),
        // More macroblocks, or pictures to keep, than there is memory for; then a slice that wants them.
        1 => with_slice(&mut dice, sps(66, 16_383, 16_383, 1)),
        2 => with_slice(&mut dice, sps(77, 255, 255, 16)),
        3 => with_slice(&mut dice, sps(66, u32::MAX - 1, 0, 1)),
        // Small and readable, but not what the slices are of.
        4 => [vec![sps(66, 0, 0, 0)], cut(&mut dice, honest)].concat(),
        5 => cut(&mut dice, honest),
        6 => honest.iter().map(|payload| dice.spoiled(payload)).collect(),
        // Fragments without a beginning, without an end, of a type that is none (RFC 6184 section 5.8).
        7 => [[0x7c, 0x05], [0x7c, 0x45], [0x7c, 0x85], [0x7c, 0x80], [0x7c, 0xdf]]
            .iter()
            .map(|header| [header, &dice.bytes(200)[..]].concat().into())
            .collect(),
        // An aggregate whose units are longer than it (section 5.7.1), and one of empty units.
        8 => vec![
            [&[0x78, 0xff, 0xff, 0x67][..], &dice.bytes(50)].concat().into(),
            Bytes::from_static(&[0x78, 0, 0, 0, 0, 0, 1, 0x65]),
        ],
        _ => [&[0x67][..], &[0x68], &[0x65], &[0x65, 0x88], &[0x00], &[0xff]]
            .map(Bytes::from_static)
            .to_vec(),
    }
}

/// What takes the place of a VP8 frame whose payloads (RFC 7741) would be `honest`.
pub fn vp8(frame: u32, honest: Vec<Bytes>) -> Vec<Bytes> {
    let mut dice = Dice(frame);
    // RFC 6386 section 9.1, behind a descriptor without extensions
    let keyframe = |first_partition: u32, width: u16, height: u16, dice: &mut Dice| -> Bytes {
        let tag = (first_partition << 5 | 1 << 4).to_le_bytes();
        let ([w0, w1], [h0, h1]) = (width.to_le_bytes(), height.to_le_bytes());
        let header = [0x10, tag[0], tag[1], tag[2], 0x9d, 0x01, 0x2a, w0, w1, h0, h1];
        [&header[..], &dice.bytes(RANDOM_BYTES)].concat().into()
    };
    match frame % 8 {
        0 => (0..4).map(|_| dice.bytes(RANDOM_BYTES)).collect(),
        1 => vec![keyframe(500, 16_383, 16_383, &mut dice)],
        2 => vec![keyframe(500, 0, 0, &mut dice)],
        3 => vec![keyframe(0x7ffff, 640, 360, &mut dice)],
        4 => vec![keyframe(500, 640, 360, &mut dice)],
        5 => cut(&mut dice, honest),
        6 => honest.iter().map(|payload| dice.spoiled(payload)).collect(),
        _ => [
            &[0x10][..],
            &[0x90, 0xff],
            &[0x90, 0x80, 0xff],
            &[0x10, 0x10],
            &[0x1f, 0xff],
        ]
        .map(Bytes::from_static)
        .to_vec(),
    }
}

fn with_slice(dice: &mut Dice, sps: Bytes) -> Vec<Bytes> {
    const PPS: &[u8] = &[0x68, 0xce, 0x38, 0x80];
    let slice = [&[0x65, 0x88, 0x84][..], &dice.bytes(RANDOM_BYTES)].concat();
    vec![sps, Bytes::from_static(PPS), slice.into()]
}

/// Each ends somewhere before its end, which is never empty: the RTP library sends no such packet.
fn cut(dice: &mut Dice, payloads: Vec<Bytes>) -> Vec<Bytes> {
    let some = |payload: Bytes| {
        let length = u32::try_from(payload.len()).unwrap();
        payload.slice(..1 + dice.below(length) as usize)
    };
    payloads.into_iter().map(some).collect()
}

/// H.264 section 7.3.2.1.1, of baseline and main profile.
fn sps(profile: u8, width_mbs_minus1: u32, height_mbs_minus1: u32, references: u32) -> Bytes {
    let mut bits = Bits::default();
    bits.golomb(0); // seq_parameter_set_id
    bits.golomb(0); // log2_max_frame_num_minus4
    bits.golomb(2); // pic_order_cnt_type
    bits.golomb(references);
    bits.fixed(0, 1); // gaps_in_frame_num_value_allowed_flag
    bits.golomb(width_mbs_minus1);
    bits.golomb(height_mbs_minus1);
    bits.fixed(1, 1); // frame_mbs_only_flag
    bits.fixed(1, 1); // direct_8x8_inference_flag
    bits.fixed(0, 2); // neither cropped nor with usability information
    bits.fixed(1, 1); // rbsp_stop_one_bit
    let header = [0x67, profile, 0, 52];
    [&header[..], &bits.bytes].concat().into()
}

#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    used: u32,
}

impl Bits {
    fn fixed(&mut self, value: u64, count: u32) {
        for bit in (0..count).rev() {
            if self.used.is_multiple_of(8) {
                self.bytes.push(0);
            }
            let last = self.bytes.last_mut().unwrap();
            *last |= u8::from(value >> bit & 1 == 1) << (7 - self.used % 8);
            self.used += 1;
        }
    }

    /// Exp-Golomb (H.264 section 9.1).
    fn golomb(&mut self, value: u32) {
        let code = u64::from(value) + 1;
        let length = code.ilog2();
        self.fixed(0, length);
        self.fixed(code, length + 1);
    }
}

/// Numerical Recipes' generator; the high bits are the random ones.
struct Dice(u32);

impl Dice {
    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        self.0 >> 8
    }

    fn below(&mut self, end: u32) -> u32 {
        self.next() % end
    }

    /// At least one.
    fn bytes(&mut self, most: u32) -> Bytes {
        let count = 1 + self.below(most);
        (0..count).map(|_| self.next().to_le_bytes()[1]).collect()
    }

    /// With one byte in fifty another one.
    fn spoiled(&mut self, payload: &Bytes) -> Bytes {
        let spoil = |byte: &u8| match self.below(50) {
            0 => self.next().to_le_bytes()[1],
            _ => *byte,
        };
        payload.iter().map(spoil).collect()
    }
}
