//! The RTP and RTCP the loader speaks (RFC 3550, RFC 4585, RFC 8285). Pure.

/// Negotiated ids of header extensions; 0: not negotiated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExtensionIds {
    pub mid: u8,
    pub abs_send_time: u8,
    pub transport_cc: u8,
    pub audio_level: u8,
}

/// The fixed part of an RTP header and where things are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub marker: bool,
    pub payload_type: u8,
    pub sequence: u16,
    pub timestamp: u32,
    pub ssrc: u32,
    /// Bytes, with CSRCs and the extension block.
    pub len: usize,
    /// The one-byte extension block, if there is one: first byte, bytes.
    extensions: Option<(usize, usize)>,
}

impl Header {
    /// Of an outgoing packet; [`write_header`] adds the extension block.
    pub fn new(marker: bool, payload_type: u8, sequence: u16, timestamp: u32, ssrc: u32) -> Header {
        Header {
            marker,
            payload_type,
            sequence,
            timestamp,
            ssrc,
            len: 12,
            extensions: None,
        }
    }

    pub fn parse(packet: &[u8]) -> Option<Header> {
        let fixed = packet.first_chunk::<12>()?;
        let [first, second, s0, s1, t0, t1, t2, t3, c0, c1, c2, c3] = *fixed;
        if first >> 6 != 2 {
            return None;
        }
        let mut len = 12 + 4 * usize::from(first & 15);
        let mut extensions = None;
        if first & 0x10 != 0 {
            let [p0, p1, l0, l1] = *packet.get(len..)?.first_chunk()?;
            let bytes = 4 * usize::from(u16::from_be_bytes([l0, l1]));
            if [p0, p1] == [0xbe, 0xde] {
                extensions = Some((len + 4, bytes));
            }
            len += 4 + bytes;
        }
        (packet.len() >= len).then_some(Header {
            marker: second & 0x80 != 0,
            payload_type: second & 0x7f,
            sequence: u16::from_be_bytes([s0, s1]),
            timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
            ssrc: u32::from_be_bytes([c0, c1, c2, c3]),
            len,
            extensions,
        })
    }

    /// The value of one header extension (one-byte form).
    pub fn extension<'p>(&self, packet: &'p [u8], id: u8) -> Option<&'p [u8]> {
        let (start, bytes) = self.extensions.filter(|_| id != 0)?;
        let mut rest = packet.get(start..start + bytes)?;
        while let Some((&head, tail)) = rest.split_first() {
            if head == 0 {
                rest = tail;
                continue;
            }
            let (value, next) = tail.split_at_checked(usize::from(head & 15) + 1)?;
            if head >> 4 == id {
                return Some(value);
            }
            rest = next;
        }
        None
    }
}

/// What an outgoing header carries besides the fixed fields.
#[derive(Clone, Copy, Debug, Default)]
pub struct Extras<'a> {
    pub mid: Option<&'a str>,
    /// 6.18 fixed-point seconds.
    pub abs_send_time: Option<u32>,
    pub transport_cc: Option<u16>,
    /// RFC 6464: voice bit and −dBov.
    pub audio_level: Option<u8>,
}

/// Write a header with its extensions and return it; the payload follows.
pub fn write_header(header: &Header, ids: &ExtensionIds, extras: &Extras) -> Vec<u8> {
    let mut out = Vec::with_capacity(1500);
    out.push(0x90);
    out.push(u8::from(header.marker) << 7 | header.payload_type);
    out.extend_from_slice(&header.sequence.to_be_bytes());
    out.extend_from_slice(&header.timestamp.to_be_bytes());
    out.extend_from_slice(&header.ssrc.to_be_bytes());
    out.extend_from_slice(&[0xbe, 0xde, 0, 0]);
    let mut put = |id: u8, value: &[u8]| {
        if id != 0 && !value.is_empty() {
            out.push(id << 4 | (value.len() - 1) as u8);
            out.extend_from_slice(value);
        }
    };
    if let Some(time) = extras.abs_send_time {
        put(ids.abs_send_time, &time.to_be_bytes()[1..]);
    }
    if let Some(sequence) = extras.transport_cc {
        put(ids.transport_cc, &sequence.to_be_bytes());
    }
    if let Some(level) = extras.audio_level {
        put(ids.audio_level, &[level]);
    }
    if let Some(mid) = extras.mid {
        put(ids.mid, mid.as_bytes());
    }
    out.resize(out.len().next_multiple_of(4), 0);
    let words = (out.len() / 4 - 4) as u16;
    out[14..16].copy_from_slice(&words.to_be_bytes());
    out
}

/// The 64-bit sequence number nearest to `last` that ends in `sequence`.
pub fn extend(last: u64, sequence: u16) -> u64 {
    let distance = sequence.wrapping_sub(last as u16) as i16;
    last.saturating_add_signed(i64::from(distance))
}

/// NTP time (RFC 3550 section 4) of nanoseconds since the Unix epoch.
pub fn ntp(unix_ns: u64) -> u64 {
    let (seconds, nanos) = (unix_ns / 1_000_000_000 + 2_208_988_800, unix_ns % 1_000_000_000);
    (seconds << 32) | ((nanos << 32) / 1_000_000_000)
}

/// What the loader cares about in the RTCP it receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feedback {
    SenderReport {
        ssrc: u32,
        ntp: u64,
    },
    /// A PLI or a FIR.
    KeyframeRequest,
    Nack,
    TransportCc,
    Other,
}

/// The packets of a compound; stops at the first malformed one.
pub fn feedback(mut compound: &[u8]) -> impl Iterator<Item = Feedback> {
    std::iter::from_fn(move || {
        let [first, kind, l0, l1] = *compound.first_chunk::<4>()?;
        let (packet, rest) = compound.split_at_checked(4 + 4 * usize::from(u16::from_be_bytes([l0, l1])))?;
        compound = rest;
        Some(match (kind, first & 31) {
            (200, _) => sender_report(packet).unwrap_or(Feedback::Other),
            (206, 1 | 4) => Feedback::KeyframeRequest,
            (205, 1) => Feedback::Nack,
            (205, 15) => Feedback::TransportCc,
            _ => Feedback::Other,
        })
    })
}

fn sender_report(packet: &[u8]) -> Option<Feedback> {
    let ssrc = u32::from_be_bytes(*packet.get(4..)?.first_chunk()?);
    Some(Feedback::SenderReport {
        ssrc,
        ntp: u64::from_be_bytes(*packet.get(8..)?.first_chunk()?),
    })
}

/// One stream's part of a sender report.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    pub ssrc: u32,
    pub timestamp: u32,
    pub packets: u32,
    pub octets: u32,
}

/// A sender report with its source description.
pub fn write_sender_report(ntp: u64, sent: &Sent, cname: &str) -> Vec<u8> {
    let mut out = vec![0x80, 200, 0, 6];
    out.extend_from_slice(&sent.ssrc.to_be_bytes());
    out.extend_from_slice(&ntp.to_be_bytes());
    for word in [sent.timestamp, sent.packets, sent.octets] {
        out.extend_from_slice(&word.to_be_bytes());
    }
    let start = out.len();
    out.extend_from_slice(&[0x81, 202, 0, 0]);
    out.extend_from_slice(&sent.ssrc.to_be_bytes());
    out.extend_from_slice(&[1, cname.len() as u8]);
    out.extend_from_slice(cname.as_bytes());
    out.push(0); // a chunk ends with a null, then it is padded
    out.resize(out.len().next_multiple_of(4), 0);
    set_length(&mut out, start);
    out
}

/// One stream's part of a receiver report.
#[derive(Clone, Copy, Debug)]
pub struct Received {
    pub ssrc: u32,
    /// Of 256, since the last report.
    pub fraction_lost: u8,
    pub total_lost: u32,
    pub highest: u32,
    /// The middle 32 bits of the last sender report's NTP time.
    pub last_report: u32,
    /// Since that report came, in 1/65536 s.
    pub delay: u32,
}

pub fn write_receiver_report(own_ssrc: u32, blocks: &[Received]) -> Vec<u8> {
    let mut out = vec![0x80 | blocks.len() as u8, 201, 0, 0];
    out.extend_from_slice(&own_ssrc.to_be_bytes());
    for block in blocks {
        let lost = u32::from(block.fraction_lost) << 24 | block.total_lost.min(0x7f_ffff);
        for word in [block.ssrc, lost, block.highest, 0, block.last_report, block.delay] {
            out.extend_from_slice(&word.to_be_bytes());
        }
    }
    set_length(&mut out, 0);
    out
}

/// A transport-wide feedback packet (draft-holmer-rmcat-transport-wide-cc-extensions-01) about `arrivals`: extended
/// sequence number and microseconds, in order of sequence number and without repetition.
pub fn write_transport_feedback(own_ssrc: u32, media_ssrc: u32, count: u8, arrivals: &[(u64, u64)]) -> Option<Vec<u8>> {
    let (&(base, first_us), &(last, _)) = (arrivals.first()?, arrivals.last()?);
    let reference = first_us / 64_000;
    let mut clock_us = reference * 64_000;
    let (mut symbols, mut deltas) = (Vec::new(), Vec::new());
    for &(sequence, at_us) in arrivals {
        symbols.resize(usize::try_from(sequence - base).ok()?, 0u16);
        // Rounding down each time would let the sum drift: the clock follows what has been said.
        let ticks = (at_us as i64 - clock_us as i64).div_euclid(250);
        clock_us = clock_us.saturating_add_signed(ticks * 250);
        match u8::try_from(ticks) {
            Ok(small) => {
                symbols.push(1);
                deltas.push(small);
            }
            Err(_) => {
                symbols.push(2);
                let large = ticks.clamp(i64::from(i16::MIN), i64::from(i16::MAX)) as i16;
                deltas.extend_from_slice(&large.to_be_bytes());
            }
        }
    }
    let mut out = vec![0x80 | 15, 205, 0, 0];
    out.extend_from_slice(&own_ssrc.to_be_bytes());
    out.extend_from_slice(&media_ssrc.to_be_bytes());
    out.extend_from_slice(&(base as u16).to_be_bytes());
    out.extend_from_slice(&((last - base + 1) as u16).to_be_bytes());
    out.extend_from_slice(&((reference as u32) << 8 | u32::from(count)).to_be_bytes());
    for seven in symbols.chunks(7) {
        let bits = seven
            .iter()
            .enumerate()
            .fold(0u16, |all, (i, symbol)| all | symbol << (12 - 2 * i));
        out.extend_from_slice(&(0xc000 | bits).to_be_bytes());
    }
    out.extend_from_slice(&deltas);
    out.resize(out.len().next_multiple_of(4), 0);
    set_length(&mut out, 0);
    Some(out)
}

/// Set the length field of the packet that is `out[start..]`.
fn set_length(out: &mut [u8], start: usize) {
    let words = ((out.len() - start) / 4 - 1) as u16;
    out[start + 2..start + 4].copy_from_slice(&words.to_be_bytes());
}
