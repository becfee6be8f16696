//! H.264 payloads (RFC 6184): where a decoder can start, and the picture size in the sequence parameter set.

use crate::rtp::bits::Bits;

/// NAL unit types (H.264 table 7-1, RFC 6184 §5.2).
const SPS: u8 = 7;
const STAP_A: u8 = 24;
const FU_A: u8 = 28;
/// A parameter set is some dozens of bytes; what is longer is not one.
const SPS_MAX: usize = 256;

/// Whether a random access point starts here: the packet carries a sequence parameter set (alone, in an aggregate, or as
/// the first fragment). An IDR picture without one is no start, for a decoder that joins there knows no parameters.
pub fn starts_keyframe(payload: &[u8]) -> bool {
    sps(payload).is_some()
}

/// Width and height after cropping, from the sequence parameter set in this packet.
pub fn keyframe_size(payload: &[u8]) -> Option<(u16, u16)> {
    Some(parameters(payload)?.size)
}

/// What the sequence parameter set in this packet says of the memory that a decoder needs.
pub fn parameters(payload: &[u8]) -> Option<Parameters> {
    parse_sps(sps(payload)?)
}

/// From a sequence parameter set (H.264 §7.4.2.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// Width and height in pixels, after cropping.
    pub size: (u16, u16),
    /// Of 16×16 pixels, before cropping.
    pub macroblocks: u64,
    /// Pictures to keep for others to refer to.
    pub reference_frames: u32,
}

/// The sequence parameter set in this packet without its NAL header, maybe incomplete if fragmented.
fn sps(payload: &[u8]) -> Option<&[u8]> {
    let (first, rest) = payload.split_first()?;
    match first & 0x1f {
        SPS => Some(rest),
        STAP_A => AggregatedUnits { rest }.find_map(|unit| match unit.split_first() {
            Some((header, body)) if header & 0x1f == SPS => Some(body),
            _ => None,
        }),
        FU_A => {
            let (header, body) = rest.split_first()?;
            (header & 0x80 != 0 && header & 0x1f == SPS).then_some(body)
        }
        _ => None,
    }
}

/// The NAL units of a STAP-A (RFC 6184 §5.7.1).
struct AggregatedUnits<'a> {
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

/// H.264 §7.3.2.1.1, up to the cropping rectangle. `sps` starts behind the NAL header.
fn parse_sps(sps: &[u8]) -> Option<Parameters> {
    let mut buffer = [0u8; SPS_MAX];
    let raw = without_emulation_prevention(sps, &mut buffer);
    let mut bits = Bits::new(raw);
    let profile = bits.bits(8)?;
    bits.skip(16); // constraints, level
    bits.exp_golomb()?; // id
    let mut chroma_format = 1;
    if matches!(
        profile,
        100 | 110 | 122 | 244 | 44 | 83 | 86 | 118 | 128 | 138 | 139 | 134 | 135
    ) {
        chroma_format = bits.exp_golomb()?;
        if chroma_format == 3 {
            bits.skip(1); // separate colour planes
        }
        bits.exp_golomb()?; // luma depth
        bits.exp_golomb()?; // chroma depth
        bits.skip(1); // lossless transform bypass
        if bits.bit()? {
            skip_scaling_matrices(&mut bits, if chroma_format == 3 { 12 } else { 8 })?;
        }
    }
    bits.exp_golomb()?; // log2_max_frame_num
    match bits.exp_golomb()? {
        0 => {
            bits.exp_golomb()?;
        }
        1 => {
            bits.skip(1);
            bits.signed_exp_golomb()?;
            bits.signed_exp_golomb()?;
            let cycle = bits.exp_golomb()?;
            for _ in 0..cycle.min(255) {
                bits.signed_exp_golomb()?;
            }
        }
        _ => {}
    }
    let reference_frames = bits.exp_golomb()?;
    bits.skip(1); // gaps allowed
    let width_mbs = u64::from(bits.exp_golomb()?) + 1;
    let height_units = u64::from(bits.exp_golomb()?) + 1;
    let frames_only = bits.bit()?;
    if !frames_only {
        bits.skip(1); // macroblock-adaptive
    }
    bits.skip(1); // direct 8x8 inference
    // in units of macroblock pairs when fields are possible
    let fields = if frames_only { 1 } else { 2 };
    let macroblocks = width_mbs.saturating_mul(height_units).saturating_mul(fields);
    let (mut width, mut height) = (width_mbs * 16, height_units * 16 * fields);
    if bits.bit()? {
        let crop = [(); 4].map(|()| bits.exp_golomb());
        let [Some(left), Some(right), Some(top), Some(bottom)] = crop.map(|edge| edge.map(u64::from)) else {
            return None;
        };
        let (unit_x, unit_y) = match chroma_format {
            1 => (2, 2),
            2 => (2, 1),
            _ => (1, 1),
        };
        width = width.checked_sub((left + right) * unit_x)?;
        height = height.checked_sub((top + bottom) * unit_y * fields)?;
    }
    let size @ (width, height) = (u16::try_from(width).ok()?, u16::try_from(height).ok()?);
    (width > 0 && height > 0).then_some(Parameters {
        size,
        macroblocks,
        reference_frames,
    })
}

/// H.264 §7.3.2.1.1.1.
fn skip_scaling_matrices(bits: &mut Bits, count: usize) -> Option<()> {
    for list in 0..count {
        if !bits.bit()? {
            continue;
        }
        let size = if list < 6 { 16 } else { 64 };
        let (mut last, mut next) = (8i32, 8i32);
        for _ in 0..size {
            if next != 0 {
                next = last.wrapping_add(bits.signed_exp_golomb()?) & 0xff;
            }
            if next != 0 {
                last = next;
            }
        }
    }
    Some(())
}

/// Takes the emulation prevention bytes out (H.264 §7.4.1.1).
fn without_emulation_prevention<'b>(nal: &[u8], buffer: &'b mut [u8; SPS_MAX]) -> &'b [u8] {
    let (mut len, mut zeros) = (0, 0);
    for byte in nal {
        if zeros >= 2 && *byte == 3 {
            zeros = 0;
            continue;
        }
        zeros = if *byte == 0 { zeros + 1 } else { 0 };
        let Some(slot) = buffer.get_mut(len) else { break };
        *slot = *byte;
        len += 1;
    }
    &buffer[..len]
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use rand::{Rng, SeedableRng, rngs::StdRng};

    /// 1280×720, baseline 3.1 (Chromium's OpenH264).
    pub(crate) const SPS_720: [u8; 14] = [
        0x67, 0x42, 0xc0, 0x1f, 0x8c, 0x8d, 0x40, 0x28, 0x02, 0xdd, 0x00, 0xf0, 0x88, 0x46,
    ];

    /// Builds parameter sets for tests.
    #[derive(Default)]
    struct Writer {
        bytes: Vec<u8>,
        used: usize,
    }

    impl Writer {
        fn bits(mut self, value: u32, count: u32) -> Self {
            for i in (0..count).rev() {
                if self.used.is_multiple_of(8) {
                    self.bytes.push(0);
                }
                *self.bytes.last_mut().unwrap() |= ((value >> i & 1) as u8) << (7 - self.used % 8);
                self.used += 1;
            }
            self
        }
        fn ue(self, value: u32) -> Self {
            let len = 32 - (value + 1).leading_zeros();
            self.bits(0, len - 1).bits(value + 1, len)
        }
    }

    /// The NAL unit of a parameter set with this size.
    pub(crate) fn sps_of(profile: u32, mbs: (u32, u32), frames_only: bool, crop: Option<[u32; 4]>) -> Vec<u8> {
        let mut writer = Writer::default()
            .bits(0x67, 8)
            .bits(profile, 8)
            .bits(0, 8)
            .bits(31, 8)
            .ue(0);
        if profile == 100 {
            writer = writer.ue(1).ue(0).ue(0).bits(0, 2);
        }
        writer = writer.ue(0).ue(0).ue(4).ue(1).bits(0, 1).ue(mbs.0 - 1).ue(mbs.1 - 1);
        writer = writer.bits(u32::from(frames_only), 1);
        if !frames_only {
            writer = writer.bits(0, 1);
        }
        writer = writer.bits(1, 1).bits(u32::from(crop.is_some()), 1);
        for edge in crop.into_iter().flatten() {
            writer = writer.ue(edge);
        }
        writer.bits(0, 1).bits(1, 1).bytes
    }

    #[test]
    fn sizes_with_profiles_fields_and_cropping() {
        assert_eq!(keyframe_size(&SPS_720), Some((1280, 720)));
        assert_eq!(keyframe_size(&sps_of(66, (40, 30), true, None)), Some((640, 480)));
        assert_eq!(
            keyframe_size(&sps_of(100, (120, 68), true, Some([0, 0, 0, 4]))),
            Some((1920, 1080))
        );
        assert_eq!(
            keyframe_size(&sps_of(100, (120, 34), false, Some([0, 0, 0, 2]))),
            Some((1920, 1080))
        );
        assert_eq!(keyframe_size(&sps_of(66, (1, 1), true, Some([9, 9, 0, 0]))), None);
        assert_eq!(keyframe_size(&SPS_720[..6]), None);
        let cropped = parameters(&sps_of(100, (120, 68), true, Some([0, 0, 0, 4]))).unwrap();
        assert_eq!((cropped.macroblocks, cropped.reference_frames), (120 * 68, 1));
        let most = u32::MAX - 1;
        assert_eq!(parameters(&sps_of(66, (most, most), false, None)), None);
    }

    #[test]
    fn emulation_prevention_is_undone() {
        let mut buffer = [0; SPS_MAX];
        assert_eq!(
            without_emulation_prevention(&[1, 0, 0, 3, 1, 0, 0, 3], &mut buffer),
            [1, 0, 0, 1, 0, 0]
        );
        assert_eq!(without_emulation_prevention(&[5; 1000], &mut buffer).len(), SPS_MAX);
    }

    #[test]
    fn starts_are_where_parameters_are() {
        assert!(starts_keyframe(&SPS_720));
        let mut stap = vec![0x78];
        for unit in [&[0x09, 0x10][..], &SPS_720, &[0x68, 0xce], &[0x65, 1, 2]] {
            stap.extend_from_slice(&(unit.len() as u16).to_be_bytes());
            stap.extend_from_slice(unit);
        }
        assert!(starts_keyframe(&stap));
        assert_eq!(keyframe_size(&stap), Some((1280, 720)));
        assert!(starts_keyframe(&[0x7c, 0x87, 1, 2]));
        // a later fragment, an IDR slice alone, a delta slice, parameters of the picture, nothing
        for payload in [
            &[0x7c, 0x07, 1][..],
            &[0x65, 1],
            &[0x41, 1],
            &[0x68, 1],
            &[0x7c],
            &[0x78, 0, 9, 0x67],
            &[],
        ] {
            assert!(!starts_keyframe(payload), "{payload:x?}");
        }
    }

    #[test]
    fn mutated_payloads_never_panic() {
        let mut rng = StdRng::seed_from_u64(3);
        let seeds = [
            SPS_720.to_vec(),
            sps_of(100, (120, 34), false, Some([0, 0, 0, 2])),
            [&[0x78, 0, 14][..], &SPS_720].concat(),
        ];
        for round in 0..20_000 {
            let mut payload = seeds[round % seeds.len()].clone();
            for _ in 0..rng.random_range(1..5) {
                let at = rng.random_range(0..payload.len());
                payload[at] = rng.random();
            }
            payload.truncate(rng.random_range(0..=payload.len()));
            let size = keyframe_size(&payload);
            assert!(size.is_none() || starts_keyframe(&payload));
        }
    }
}
