//! The sequence parameter set (H.264 §7.3.2.1.1, §E.1): picture size and output order.

use crate::rtp::bits::Bits;

/// A parameter set is some dozens of bytes; what is longer is not one.
pub(super) const SPS_MAX: usize = 256;
/// `aspect_ratio_idc` that is followed by a width and a height (H.264 table E-1).
const EXTENDED_SAR: u32 = 255;
/// `cpb_cnt_minus1` is at most this (H.264 §E.2.2).
const CPB_COUNT_MAX: u32 = 31;

/// What the server wants to know of a sequence parameter set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SequenceParameters {
    /// Width and height after cropping, in pixels.
    pub size: (u16, u16),
    /// Of 16×16 pixels, before cropping.
    pub macroblocks: u64,
    /// Pictures to keep for others to refer to.
    pub reference_frames: u32,
    /// Pictures may be shown in another order than they are decoded in.
    pub may_reorder: bool,
}

impl SequenceParameters {
    /// `sps` starts behind the NAL header. It may be cut off behind the cropping rectangle; then nothing is promised of the
    /// order.
    pub(super) fn parse(sps: &[u8]) -> Option<Self> {
        let mut buffer = [0u8; SPS_MAX];
        let raw = without_emulation_prevention(sps, &mut buffer);
        let mut bits = Bits::new(raw);
        let profile = bits.bits(8)?;
        let constraints = bits.bits(8)?;
        bits.skip(8); // level
        bits.exp_golomb()?; // id
        let chroma_format = chroma_format(&mut bits, profile)?;
        bits.exp_golomb()?; // log2_max_frame_num
        let order_count_type = bits.exp_golomb()?;
        skip_order_count(&mut bits, order_count_type)?;
        let references = bits.exp_golomb()?;
        bits.skip(1); // gaps allowed
        let (size, macroblocks) = size(&mut bits, chroma_format)?;
        // baseline has no B slices; constraint_set3 of these profiles says that all pictures are intra
        let intra_only = matches!(profile, 44 | 86 | 100 | 110 | 122 | 244) && constraints & 0x10 != 0;
        let in_order = order_count_type == 2
            || profile == 66
            || intra_only
            || references == 0
            || reorder_frames(&mut bits) == Some(0);
        Some(SequenceParameters {
            size,
            macroblocks,
            reference_frames: references,
            may_reorder: !in_order,
        })
    }
}

/// `chroma_format_idc`, with what the high profiles say behind it.
fn chroma_format(bits: &mut Bits, profile: u32) -> Option<u32> {
    if !matches!(
        profile,
        100 | 110 | 122 | 244 | 44 | 83 | 86 | 118 | 128 | 138 | 139 | 134 | 135
    ) {
        return Some(1);
    }
    let chroma_format = bits.exp_golomb()?;
    if chroma_format == 3 {
        bits.skip(1); // separate colour planes
    }
    bits.exp_golomb()?; // luma depth
    bits.exp_golomb()?; // chroma depth
    bits.skip(1); // lossless transform bypass
    if bits.bit()? {
        skip_scaling_matrices(bits, if chroma_format == 3 { 12 } else { 8 })?;
    }
    Some(chroma_format)
}

fn skip_order_count(bits: &mut Bits, order_count_type: u32) -> Option<()> {
    match order_count_type {
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
    Some(())
}

/// From the width in macroblocks to the cropping rectangle: the size, and the macroblocks before cropping.
fn size(bits: &mut Bits, chroma_format: u32) -> Option<((u16, u16), u64)> {
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
    let (width, height) = (u16::try_from(width).ok()?, u16::try_from(height).ok()?);
    (width > 0 && height > 0).then_some(((width, height), macroblocks))
}

/// `max_num_reorder_frames` of the usability information (H.264 §E.1.1). `None`: it does not say.
fn reorder_frames(bits: &mut Bits) -> Option<u32> {
    if !bits.bit()? {
        return None;
    }
    if bits.bit()? && bits.bits(8)? == EXTENDED_SAR {
        bits.skip(32);
    }
    if bits.bit()? {
        bits.skip(1); // overscan appropriate
    }
    if bits.bit()? {
        bits.skip(4); // video format, full range
        if bits.bit()? {
            bits.skip(24); // colour description
        }
    }
    if bits.bit()? {
        bits.exp_golomb()?; // chroma sample location, top field
        bits.exp_golomb()?; // and bottom field
    }
    if bits.bit()? {
        bits.skip(32 + 32 + 1); // tick, time scale, fixed rate
    }
    let of_units = bits.bit()?;
    if of_units {
        skip_reference_decoder(bits)?;
    }
    let of_stream = bits.bit()?;
    if of_stream {
        skip_reference_decoder(bits)?;
    }
    if of_units || of_stream {
        bits.skip(1); // low delay
    }
    bits.skip(1); // picture structure present
    if !bits.bit()? {
        return None;
    }
    bits.skip(1); // motion vectors over picture boundaries
    for _ in 0..4 {
        bits.exp_golomb()?; // bytes per picture, bits per macroblock, motion vector lengths
    }
    bits.exp_golomb()
}

/// H.264 §E.1.2.
fn skip_reference_decoder(bits: &mut Bits) -> Option<()> {
    let buffers = bits.exp_golomb()?;
    if buffers > CPB_COUNT_MAX {
        return None;
    }
    bits.skip(8); // scales
    for _ in 0..=buffers {
        bits.exp_golomb()?;
        bits.exp_golomb()?;
        bits.skip(1);
    }
    bits.skip(20); // lengths of delays and of the time offset
    Some(())
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
pub(super) fn without_emulation_prevention<'b>(nal: &[u8], buffer: &'b mut [u8; SPS_MAX]) -> &'b [u8] {
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
