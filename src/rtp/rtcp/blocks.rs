//! The bodies of RTCP blocks.

use super::{
    BYE, Block, FMT_APPLICATION, FMT_FIR, FMT_NACK, FMT_PLI, FMT_TRANSPORT_CC, PAYLOAD_FEEDBACK, RECEIVER_REPORT,
    ReportBlock, SENDER_REPORT, TRANSPORT_FEEDBACK,
};

/// Ticks of transport-wide feedback in microseconds (transport-wide-cc-01 §3.1).
const DELTA_US: i64 = 250;
const REFERENCE_US: i64 = 64_000;

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// The body without its padding; nothing if the padding is longer than the body.
pub(super) fn unpadded(body: &[u8]) -> &[u8] {
    let count = usize::from(body.last().copied().unwrap_or(0));
    let end = body.len().saturating_sub(count);
    body.get(..end).unwrap_or_default()
}

/// `None`: unknown or malformed. `count` is the 5-bit field of the header, `body` what follows the header's four bytes.
pub(super) fn parse(count: u8, packet_type: u8, body: &[u8]) -> Option<Block<'_>> {
    match (packet_type, count) {
        (SENDER_REPORT, _) => Some(Block::SenderReport {
            ssrc: u32_at(body, 0)?,
            ntp: (u64::from(u32_at(body, 4)?) << 32) | u64::from(u32_at(body, 8)?),
            rtp: u32_at(body, 12)?,
            packets: u32_at(body, 16)?,
            octets: u32_at(body, 20)?,
            reports: ReportBlocks::new(body.get(24..)?, count),
        }),
        (RECEIVER_REPORT, _) => Some(Block::ReceiverReport {
            ssrc: u32_at(body, 0)?,
            reports: ReportBlocks::new(body.get(4..)?, count),
        }),
        (BYE, _) => Some(Block::Bye(Ssrcs::new(body, count))),
        (TRANSPORT_FEEDBACK, FMT_NACK) => Some(Block::Nack {
            media_ssrc: u32_at(body, 4)?,
            lost: NackList::new(body.get(8..)?),
        }),
        (TRANSPORT_FEEDBACK, FMT_TRANSPORT_CC) => TransportCc::parse(body).map(Block::TransportCc),
        (PAYLOAD_FEEDBACK, FMT_PLI) => Some(Block::Pli {
            media_ssrc: u32_at(body, 4)?,
        }),
        (PAYLOAD_FEEDBACK, FMT_FIR) => Some(Block::Fir(FirEntries { rest: body.get(8..)? })),
        (PAYLOAD_FEEDBACK, FMT_APPLICATION) if body.get(8..12)? == b"REMB" => {
            let head = u32_at(body, 12)?;
            let [ssrcs, ..] = head.to_be_bytes();
            let (exponent, mantissa) = ((head >> 18) & 0x3f, u64::from(head & 0x3_ffff));
            Some(Block::Remb {
                // a mantissa shifted out of range is "no limit"
                // (the exponent has 6 bits)
                bitrate: mantissa.saturating_mul(1 << exponent),
                ssrcs: Ssrcs::new(body.get(16..)?, ssrcs),
            })
        }
        _ => None,
    }
}

/// The report blocks of a sender or receiver report.
#[derive(Clone, Debug)]
pub struct ReportBlocks<'a> {
    rest: &'a [u8],
    left: u8,
}

impl<'a> ReportBlocks<'a> {
    fn new(rest: &'a [u8], left: u8) -> Self {
        ReportBlocks { rest, left }
    }
}

impl Iterator for ReportBlocks<'_> {
    type Item = ReportBlock;

    fn next(&mut self) -> Option<ReportBlock> {
        self.left = self.left.checked_sub(1)?;
        let block = self.rest.get(..24)?;
        self.rest = self.rest.get(24..)?;
        let lost = u32_at(block, 4)?;
        let [fraction_lost, ..] = lost.to_be_bytes();
        Some(ReportBlock {
            ssrc: u32_at(block, 0)?,
            fraction_lost,
            // sign-extends the low 24 bits
            total_lost: (lost << 8).cast_signed() >> 8,
            highest_sequence: u32_at(block, 8)?,
            jitter: u32_at(block, 12)?,
            last_sender_report: u32_at(block, 16)?,
            delay: u32_at(block, 20)?,
        })
    }
}

/// SSRCs of a goodbye or a bitrate estimate.
#[derive(Clone, Debug)]
pub struct Ssrcs<'a> {
    rest: &'a [u8],
    left: u8,
}

impl<'a> Ssrcs<'a> {
    fn new(rest: &'a [u8], left: u8) -> Self {
        Ssrcs { rest, left }
    }
}

impl Iterator for Ssrcs<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        self.left = self.left.checked_sub(1)?;
        let ssrc = u32_at(self.rest, 0)?;
        self.rest = self.rest.get(4..)?;
        Some(ssrc)
    }
}

/// The sequence numbers of a generic NACK (RFC 4585 §6.2.1), in the order of the packet.
#[derive(Clone, Debug)]
pub struct NackList<'a> {
    rest: &'a [u8],
    /// The packet id and the bits still to tell.
    current: Option<(u16, u16)>,
}

impl<'a> NackList<'a> {
    fn new(rest: &'a [u8]) -> Self {
        NackList { rest, current: None }
    }
}

impl Iterator for NackList<'_> {
    type Item = u16;

    fn next(&mut self) -> Option<u16> {
        if let Some((id, bits)) = self.current
            && bits != 0
        {
            let bit = bits.trailing_zeros() as u16;
            self.current = Some((id, bits & (bits - 1)));
            return Some(id.wrapping_add(bit + 1));
        }
        let id = u16_at(self.rest, 0)?;
        self.current = Some((id, u16_at(self.rest, 2)?));
        self.rest = self.rest.get(4..)?;
        Some(id)
    }
}

/// (SSRC, command sequence number) of a full intra request (RFC 5104 §4.3.1).
#[derive(Clone, Debug)]
pub struct FirEntries<'a> {
    rest: &'a [u8],
}

impl Iterator for FirEntries<'_> {
    type Item = (u32, u8);

    fn next(&mut self) -> Option<(u32, u8)> {
        let entry = self.rest.get(..8)?;
        self.rest = self.rest.get(8..)?;
        Some((u32_at(entry, 0)?, *entry.get(4)?))
    }
}

/// Transport-wide congestion control feedback (transport-wide-cc-01 §3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransportCc<'a> {
    pub sender_ssrc: u32,
    pub media_ssrc: u32,
    pub base_sequence: u16,
    /// How many packets it tells about, received or not.
    pub count: u16,
    /// Multiples of 64 ms, 24 bits signed, on an arbitrary time base of the receiver.
    pub reference: i32,
    pub feedback_count: u8,
    /// Packet status chunks, then deltas.
    body: &'a [u8],
}

impl<'a> TransportCc<'a> {
    fn parse(body: &'a [u8]) -> Option<Self> {
        let reference = u32_at(body, 12)?;
        Some(TransportCc {
            sender_ssrc: u32_at(body, 0)?,
            media_ssrc: u32_at(body, 4)?,
            base_sequence: u16_at(body, 8)?,
            count: u16_at(body, 10)?,
            reference: reference.cast_signed() >> 8,
            feedback_count: (reference & 0xff) as u8,
            body: body.get(16..)?,
        })
    }

    /// Per packet: its transport-wide sequence number and its arrival in microseconds on the receiver's time base;
    /// `None`: not received. Ends early where the packet is truncated.
    pub fn arrivals(&self) -> impl Iterator<Item = (u16, Option<i64>)> + use<'a> {
        let mut deltas = Some(self.deltas());
        let mut chunks = self.statuses();
        let mut clock = i64::from(self.reference) * REFERENCE_US;
        let mut sequence = self.base_sequence;
        std::iter::from_fn(move || {
            let status = chunks.next()?;
            let this = sequence;
            sequence = sequence.wrapping_add(1);
            let rest = deltas?;
            let (delta, taken) = match status {
                0 => return Some((this, None)),
                1 => (i64::from(*rest.first()?), 1),
                _ => (i64::from(u16_at(rest, 0)?.cast_signed()), 2),
            };
            deltas = rest.get(taken..);
            clock += delta * DELTA_US;
            Some((this, Some(clock)))
        })
    }

    fn statuses(&self) -> Statuses<'a> {
        Statuses {
            rest: self.body,
            left: self.count,
            chunk: 0,
            in_chunk: 0,
        }
    }

    /// What follows the status chunks.
    fn deltas(&self) -> &'a [u8] {
        let mut statuses = self.statuses();
        while statuses.left > 0 {
            let in_chunk = statuses.in_chunk.min(statuses.left);
            statuses.left -= in_chunk;
            statuses.in_chunk = 0;
            if statuses.left > 0 && statuses.load().is_none() {
                return &[];
            }
        }
        statuses.rest
    }
}

/// Packet status symbols: 0 not received, 1 small delta, 2 and 3 large delta.
struct Statuses<'a> {
    rest: &'a [u8],
    left: u16,
    chunk: u16,
    /// Symbols of `chunk` not told yet.
    in_chunk: u16,
}

impl Statuses<'_> {
    fn load(&mut self) -> Option<()> {
        self.chunk = u16_at(self.rest, 0)?;
        self.rest = self.rest.get(2..)?;
        self.in_chunk = match self.chunk >> 14 {
            0 | 1 => self.chunk & 0x1fff,
            2 => 14,
            _ => 7,
        };
        Some(())
    }
}

impl Iterator for Statuses<'_> {
    type Item = u16;

    fn next(&mut self) -> Option<u16> {
        self.left = self.left.checked_sub(1)?;
        while self.in_chunk == 0 {
            self.load()?;
        }
        self.in_chunk -= 1;
        Some(match self.chunk >> 14 {
            0 | 1 => self.chunk >> 13,
            2 => (self.chunk >> self.in_chunk) & 1,
            _ => (self.chunk >> (2 * self.in_chunk)) & 3,
        })
    }
}
