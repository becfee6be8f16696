//! Writing RTCP blocks. Every function appends one complete block.

use super::{
    BYE, FMT_APPLICATION, FMT_FIR, FMT_NACK, FMT_PLI, PAYLOAD_FEEDBACK, RECEIVER_REPORT, ReportBlock, SENDER_REPORT,
    SOURCE_DESCRIPTION, TRANSPORT_FEEDBACK,
};

/// What the 5-bit count of a header can tell.
const COUNT_MAX: usize = 31;
/// A NACK block's pairs: 256 × 4 bytes fill a datagram; what is left out is asked for the next time.
const NACK_PAIRS_MAX: usize = 256;

/// The sender's part of a sender report (RFC 3550 §6.4.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SenderInfo {
    /// 32.32 fixed-point seconds since 1900.
    pub ntp: u64,
    /// The same moment on the stream's RTP clock.
    pub rtp: u32,
    pub packets: u32,
    pub octets: u32,
}

/// Writes a header whose length is corrected by [`finish`]; the block's start.
pub(crate) fn begin(out: &mut Vec<u8>, count: u8, packet_type: u8) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0x80 | (count & 0x1f), packet_type, 0, 0]);
    start
}

/// Pads the block to whole words and tells its length.
pub(crate) fn finish(out: &mut Vec<u8>, start: usize) {
    let len = (out.len() - start).next_multiple_of(4);
    out.resize(start + len, 0);
    // every block written here is bounded far below 2^16 words
    let words = (len / 4 - 1) as u16;
    out[start + 2..start + 4].copy_from_slice(&words.to_be_bytes());
}

fn push_u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_be_bytes());
}

fn push_reports(out: &mut Vec<u8>, reports: &[ReportBlock]) {
    for report in reports {
        push_u32(out, report.ssrc);
        let lost = report.total_lost.clamp(-0x80_0000, 0x7f_ffff).cast_unsigned() & 0xff_ffff;
        push_u32(out, (u32::from(report.fraction_lost) << 24) | lost);
        push_u32(out, report.highest_sequence);
        push_u32(out, report.jitter);
        push_u32(out, report.last_sender_report);
        push_u32(out, report.delay);
    }
}

fn first_of<T>(items: &[T]) -> (&[T], u8) {
    let items = &items[..items.len().min(COUNT_MAX)];
    (items, items.len() as u8)
}

/// RFC 3550 §6.4.1. At most 31 report blocks are written.
pub fn write_sender_report(out: &mut Vec<u8>, ssrc: u32, info: SenderInfo, reports: &[ReportBlock]) {
    let (reports, count) = first_of(reports);
    let start = begin(out, count, SENDER_REPORT);
    push_u32(out, ssrc);
    out.extend_from_slice(&info.ntp.to_be_bytes());
    push_u32(out, info.rtp);
    push_u32(out, info.packets);
    push_u32(out, info.octets);
    push_reports(out, reports);
    finish(out, start);
}

/// RFC 3550 §6.4.2. At most 31 report blocks are written.
pub fn write_receiver_report(out: &mut Vec<u8>, ssrc: u32, reports: &[ReportBlock]) {
    let (reports, count) = first_of(reports);
    let start = begin(out, count, RECEIVER_REPORT);
    push_u32(out, ssrc);
    push_reports(out, reports);
    finish(out, start);
}

/// A source description with nothing but the canonical name (RFC 3550 §6.5.1), cut after 255 bytes.
pub fn write_cname(out: &mut Vec<u8>, ssrc: u32, cname: &str) {
    let name = &cname.as_bytes()[..cname.len().min(255)];
    let start = begin(out, 1, SOURCE_DESCRIPTION);
    push_u32(out, ssrc);
    out.extend_from_slice(&[1, name.len() as u8]);
    out.extend_from_slice(name);
    // the item list ends with at least one zero byte
    out.push(0);
    finish(out, start);
}

/// RFC 3550 §6.6. At most 31 SSRCs are written.
pub fn write_bye(out: &mut Vec<u8>, ssrcs: &[u32]) {
    let (ssrcs, count) = first_of(ssrcs);
    let start = begin(out, count, BYE);
    for ssrc in ssrcs {
        push_u32(out, *ssrc);
    }
    finish(out, start);
}

/// RFC 4585 §6.2.1. `lost`: extended sequence numbers, ascending.
pub fn write_nack(out: &mut Vec<u8>, sender_ssrc: u32, media_ssrc: u32, lost: &[u64]) {
    let start = begin(out, FMT_NACK, TRANSPORT_FEEDBACK);
    push_u32(out, sender_ssrc);
    push_u32(out, media_ssrc);
    let mut lost = lost.iter().copied().peekable();
    for _ in 0..NACK_PAIRS_MAX {
        let Some(first) = lost.next() else { break };
        let mut bits = 0u16;
        while let Some(next) = lost.next_if(|next| (1..=16).contains(&next.wrapping_sub(first))) {
            bits |= 1 << (next - first - 1);
        }
        out.extend_from_slice(&(first as u16).to_be_bytes());
        out.extend_from_slice(&bits.to_be_bytes());
    }
    finish(out, start);
}

/// RFC 4585 §6.3.1.
pub fn write_pli(out: &mut Vec<u8>, sender_ssrc: u32, media_ssrc: u32) {
    let start = begin(out, FMT_PLI, PAYLOAD_FEEDBACK);
    push_u32(out, sender_ssrc);
    push_u32(out, media_ssrc);
    finish(out, start);
}

/// RFC 5104 §4.3.1: one entry; `command` grows with every new request.
pub fn write_fir(out: &mut Vec<u8>, sender_ssrc: u32, media_ssrc: u32, command: u8) {
    let start = begin(out, FMT_FIR, PAYLOAD_FEEDBACK);
    push_u32(out, sender_ssrc);
    push_u32(out, 0);
    push_u32(out, media_ssrc);
    out.extend_from_slice(&[command, 0, 0, 0]);
    finish(out, start);
}

/// Receiver estimated maximum bitrate (draft-alvestrand-rmcat-remb-03 §2.2) in bits per second.
pub fn write_remb(out: &mut Vec<u8>, sender_ssrc: u32, bitrate: u64, ssrcs: &[u32]) {
    let (ssrcs, count) = first_of(ssrcs);
    let start = begin(out, FMT_APPLICATION, PAYLOAD_FEEDBACK);
    push_u32(out, sender_ssrc);
    push_u32(out, 0);
    out.extend_from_slice(b"REMB");
    // 18 bits of mantissa
    let exponent = (64 - bitrate.leading_zeros()).saturating_sub(18);
    let mantissa = (bitrate >> exponent) as u32;
    push_u32(out, (u32::from(count) << 24) | (exponent << 18) | mantissa);
    for ssrc in ssrcs {
        push_u32(out, *ssrc);
    }
    finish(out, start);
}
