//! What one viewer has received: counted by sequence number, so that a packet need not be decrypted to be counted. Pure.
//!
//! Time base: nanoseconds since the Unix epoch.

use crate::media::starts_keyframe;
use crate::rtp::{self, Header, Received};
use std::ops::Range;

/// The SSRC of receive-only browsers.
pub const OWN_SSRC: u32 = 1;

/// The way to the first complete keyframe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keyframe {
    /// The first packet of video did not begin a keyframe.
    headless: Option<bool>,
    /// Of one that is arriving: its timestamp and the extended sequence number that continues it.
    arriving: Option<(u32, u64)>,
    complete: bool,
}

impl Keyframe {
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// Takes a decrypted packet; when it completes the keyframe, says whether video had come before any.
    pub fn advance(&mut self, header: &Header, sequence: u64, payload: &[u8]) -> Option<bool> {
        let starts = starts_keyframe(payload);
        let headless = *self.headless.get_or_insert(!starts);
        let continues = self.arriving == Some((header.timestamp, sequence));
        self.complete |= continues && header.marker;
        self.arriving = (starts || continues).then_some((header.timestamp, sequence + 1));
        self.complete.then_some(headless)
    }
}

/// What a viewer has received of one SSRC.
pub struct Stream {
    pub payload_type: u8,
    pub ssrc: u32,
    /// Extended sequence number of the first packet.
    first: u64,
    highest: u64,
    /// One bit per sequence number from `first` on.
    seen: Vec<u64>,
    distinct: u64,
    /// From which of the viewer's sequence numbers on, what has to be added to get the publisher's index.
    offsets: Vec<(u64, i64)>,
    /// Of the last sender report: the middle of its NTP time, its arrival.
    pub last_report: Option<(u32, u64)>,
    /// Expected and received when the last receiver report was made.
    reported: (u64, u64),
}

/// A counted packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrived {
    /// Its sequence number with the roll-overs before it (RFC 3711 section 3.3.1).
    pub extended: u64,
    pub is_duplicate: bool,
}

impl Stream {
    pub fn new(payload_type: u8) -> Stream {
        Stream {
            payload_type,
            ssrc: 0,
            first: 0,
            highest: 0,
            seen: Vec::new(),
            distinct: 0,
            offsets: Vec::new(),
            last_report: None,
            reported: (0, 0),
        }
    }

    /// Whether it is known which packets of the publisher's these are.
    pub fn is_identified(&self) -> bool {
        !self.offsets.is_empty()
    }

    /// Count a packet. A new SSRC begins at roll-over counter 0 (RFC 3711 section 3.3.1).
    pub fn arrived(&mut self, header: &Header) -> Arrived {
        if self.distinct == 0 {
            self.ssrc = header.ssrc;
            self.first = u64::from(header.sequence);
            self.highest = self.first;
        }
        let extended = rtp::extend(self.highest, header.sequence);
        self.highest = self.highest.max(extended);
        let Some(place) = extended.checked_sub(self.first) else {
            return Arrived {
                extended,
                is_duplicate: false,
            };
        };
        let (word, bit) = (usize::try_from(place / 64).unwrap_or(usize::MAX), 1 << (place % 64));
        if self.seen.len() <= word {
            self.seen.resize(word + 1, 0);
        }
        let is_duplicate = self.seen[word] & bit != 0;
        self.seen[word] |= bit;
        self.distinct += u64::from(!is_duplicate);
        Arrived { extended, is_duplicate }
    }

    /// The packet `extended` is the publisher's packet `index`.
    pub fn identify(&mut self, extended: u64, index: u64) {
        let offset = index as i64 - extended as i64;
        if self.offsets.last().is_none_or(|(_, known)| *known != offset) {
            self.offsets.push((extended, offset));
        }
    }

    /// Different packets received of the publisher's `window`. A server that drops and numbers on without a gap is found
    /// out: the window is longer in the publisher's numbers than in the viewer's.
    pub fn count(&self, window: &Range<u64>) -> u64 {
        let place = |index: u64| {
            let own = self
                .offsets
                .iter()
                .rev()
                .find(|(from, offset)| index as i64 - offset >= *from as i64);
            let (_, offset) = own.or(self.offsets.first())?;
            Some(index.saturating_add_signed(-offset).saturating_sub(self.first))
        };
        let (Some(start), Some(end)) = (place(window.start), place(window.end)) else {
            return 0;
        };
        let is_seen = |at: &u64| {
            let word = usize::try_from(at / 64).ok().and_then(|word| self.seen.get(word));
            word.is_some_and(|word| word & 1 << (at % 64) != 0)
        };
        (start..end).filter(is_seen).count() as u64
    }

    pub fn report(&mut self, now_ns: u64) -> Option<Received> {
        if self.distinct == 0 {
            return None;
        }
        let expected = self.highest - self.first + 1;
        let (due, came) = (expected - self.reported.0, self.distinct - self.reported.1);
        self.reported = (expected, self.distinct);
        let fraction_lost = (due.saturating_sub(came) * 256).checked_div(due).unwrap_or(0).min(255) as u8;
        let (last_report, arrived_ns) = self.last_report.unwrap_or((0, now_ns));
        Some(Received {
            ssrc: self.ssrc,
            fraction_lost,
            total_lost: expected.saturating_sub(self.distinct) as u32,
            highest: self.highest as u32,
            last_report,
            delay: (now_ns.saturating_sub(arrived_ns) * 65_536 / 1_000_000_000) as u32,
        })
    }
}

/// Arrivals by transport-wide sequence number since the last feedback.
#[derive(Default)]
pub struct Arrivals {
    highest: Option<u64>,
    /// Extended sequence number, microseconds.
    pending: Vec<(u64, u64)>,
    count: u8,
}

impl Arrivals {
    pub fn record(&mut self, sequence: u16, arrived_ns: u64) {
        let extended = self
            .highest
            .map_or(u64::from(sequence), |highest| rtp::extend(highest, sequence));
        // On loopback nothing overtakes: what is late is a repetition.
        if self.highest.is_none_or(|highest| extended > highest) {
            self.highest = Some(extended);
            self.pending.push((extended, arrived_ns / 1000));
        }
    }

    pub fn feedback(&mut self, media_ssrc: u32) -> Option<Vec<u8>> {
        let packet = rtp::write_transport_feedback(OWN_SSRC, media_ssrc, self.count, &self.pending);
        self.pending.clear();
        self.count = self.count.wrapping_add(u8::from(packet.is_some()));
        packet
    }
}
