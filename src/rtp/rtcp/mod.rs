//! RTCP (RFC 3550 §6, RFC 4585, RFC 5104, transport-wide-cc-01, REMB): compounds are read block by block without
//! allocating, and blocks are written to the end of a buffer.
//!
//! Reading is tolerant: a block that is unknown or malformed inside its own length is skipped, the others are read.

use std::fmt;

mod blocks;
pub(super) mod write;

pub use blocks::{FirEntries, NackList, ReportBlocks, Ssrcs, TransportCc};
pub use write::{
    SenderInfo, write_bye, write_cname, write_fir, write_nack, write_pli, write_receiver_report, write_remb,
    write_sender_report,
};

/// Packet types (RFC 3550 §12.1, RFC 4585 §6.1).
pub(crate) const SENDER_REPORT: u8 = 200;
pub(crate) const RECEIVER_REPORT: u8 = 201;
pub(crate) const SOURCE_DESCRIPTION: u8 = 202;
pub(crate) const BYE: u8 = 203;
pub(crate) const TRANSPORT_FEEDBACK: u8 = 205;
pub(crate) const PAYLOAD_FEEDBACK: u8 = 206;
/// Feedback message types.
pub(crate) const FMT_NACK: u8 = 1;
pub(crate) const FMT_TRANSPORT_CC: u8 = 15;
pub(crate) const FMT_PLI: u8 = 1;
pub(crate) const FMT_FIR: u8 = 4;
pub(crate) const FMT_APPLICATION: u8 = 15;

/// One report block (RFC 3550 §6.4.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReportBlock {
    pub ssrc: u32,
    /// Of the packets expected since the last report, in 1/256.
    pub fraction_lost: u8,
    /// Since the beginning; 24 bits, signed: duplicates can make it negative.
    pub total_lost: i32,
    /// Extended highest sequence number received.
    pub highest_sequence: u32,
    /// In ticks of the clock rate.
    pub jitter: u32,
    /// Middle 32 bits of the last sender report's NTP time; 0: none yet.
    pub last_sender_report: u32,
    /// Since that sender report, in 1/65536 s.
    pub delay: u32,
}

/// One block of a compound packet.
#[derive(Clone, Debug)]
pub enum Block<'a> {
    SenderReport {
        ssrc: u32,
        /// 32.32 fixed-point seconds since 1900, on the sender's clock.
        ntp: u64,
        /// The same moment on the stream's RTP clock.
        rtp: u32,
        packets: u32,
        octets: u32,
        reports: ReportBlocks<'a>,
    },
    ReceiverReport {
        ssrc: u32,
        reports: ReportBlocks<'a>,
    },
    Nack {
        media_ssrc: u32,
        lost: NackList<'a>,
    },
    Pli {
        media_ssrc: u32,
    },
    Fir(FirEntries<'a>),
    TransportCc(TransportCc<'a>),
    Remb {
        /// Bits per second.
        bitrate: u64,
        ssrcs: Ssrcs<'a>,
    },
    Bye(Ssrcs<'a>),
    /// Known to exist, of no use here (source descriptions, extended reports, application blocks).
    Other {
        packet_type: u8,
    },
}

/// Why reading ended before the end of the compound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// Where the block starts that cannot be delimited, in bytes.
    pub at: usize,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RTCP block at byte {} has no sound header", self.at)
    }
}

impl std::error::Error for Malformed {}

/// The blocks of a compound packet, see [`blocks`].
#[derive(Clone, Debug)]
pub struct Blocks<'a> {
    compound: &'a [u8],
    at: usize,
}

/// Reads a decrypted compound packet.
pub fn blocks(compound: &[u8]) -> Blocks<'_> {
    Blocks { compound, at: 0 }
}

impl Blocks<'_> {
    /// Once iteration ended: whether it ended early.
    pub fn malformed(&self) -> Option<Malformed> {
        (self.at < self.compound.len()).then_some(Malformed { at: self.at })
    }
}

impl<'a> Iterator for Blocks<'a> {
    type Item = Block<'a>;

    fn next(&mut self) -> Option<Block<'a>> {
        let rest = self.compound.get(self.at..)?;
        let [first, packet_type, len @ ..] = *rest.first_chunk::<4>()?;
        let end = 4 * (usize::from(u16::from_be_bytes(len)) + 1);
        let block = rest.get(..end).filter(|_| first >> 6 == 2)?;
        self.at += end;
        let body = block.get(4..)?;
        let body = if first & 0x20 == 0 {
            body
        } else {
            blocks::unpadded(body)
        };
        Some(blocks::parse(first & 0x1f, packet_type, body).unwrap_or(Block::Other { packet_type }))
    }
}

#[cfg(test)]
mod tests;
