//! What the publisher is told: RTCP of the server, and when it is due.

use super::Publication;
use super::layer::Track;
use super::streams::Known;
use crate::rtp::rtcp::{ReportBlock, write_cname, write_fir, write_nack, write_pli, write_receiver_report, write_remb};
use crate::rtp::twcc::Recorder;
use crate::rtp::{Extension, Header, MediaKind};
use std::time::{Duration, Instant};

/// Between two receiver reports: senders take their loss and round trip time from them.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// Between two transport-wide feedbacks while media flows: what libwebrtc's estimator expects.
const TRANSPORT_INTERVAL: Duration = Duration::from_millis(50);
/// The same while next to nothing comes, such as audio alone.
const TRANSPORT_INTERVAL_IDLE: Duration = Duration::from_millis(100);
/// Packets within an interval that make it worth the shorter one.
const TRANSPORT_BUSY: usize = 5;
/// A compound that is longer than this gets no further block: the largest (a NACK of 256 pairs) then fits into 1400
/// bytes. What is left out follows in the next compound.
const COMPOUND_FULL: usize = 320;
/// Bounds of the bitrate allowed to publishers without transport-wide feedback, in bits per second: enough to begin with
/// 720p; what one source may take of a server's uplink.
const ALLOW_MIN: u64 = 1_500_000;
const ALLOW_MAX: u64 = 20_000_000;
/// Loss from which on such a publisher is allowed no more than what arrives, in 1/256.
const ALLOW_LOSS: u8 = 26;

/// Transport-wide feedback of one publisher.
#[derive(Debug)]
pub(super) struct TransportFeedback {
    recorder: Recorder,
    last_sent: Instant,
    media_ssrc: u32,
}

impl TransportFeedback {
    pub(super) fn new(now: Instant) -> Self {
        TransportFeedback {
            recorder: Recorder::new(now),
            last_sent: now,
            media_ssrc: 0,
        }
    }

    pub(super) fn record(&mut self, header: &Header, known: &Known, now: Instant) {
        let value = known
            .value(Extension::TransportCc)
            .and_then(|value| value.first_chunk());
        if let Some(sequence) = value {
            self.recorder.record(u16::from_be_bytes(*sequence), now);
            self.media_ssrc = header.ssrc;
        }
    }

    fn timeout(&self) -> Option<Instant> {
        match self.recorder.pending() {
            0 => None,
            pending if pending < TRANSPORT_BUSY => Some(self.last_sent + TRANSPORT_INTERVAL_IDLE),
            _ => Some(self.last_sent + TRANSPORT_INTERVAL),
        }
    }
}

/// When reports are due, and what arrived since the last ones.
#[derive(Debug)]
pub(super) struct Reports {
    last: Instant,
    bytes: u64,
    blocks: Vec<ReportBlock>,
}

impl Reports {
    pub(super) fn new(now: Instant) -> Self {
        Reports {
            last: now,
            bytes: 0,
            blocks: vec![],
        }
    }

    pub(super) fn note_bytes(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }
}

impl Publication {
    pub fn poll_timeout(&self) -> Option<Instant> {
        let layers = self.tracks.iter().flat_map(|track| {
            let layers = track.layers.iter();
            layers.flat_map(move |layer| {
                [
                    layer.flow_timeout(),
                    nack_timeout(track, layer),
                    broker_timeout(track, layer),
                ]
            })
        });
        let transport = self.transport.as_ref().and_then(TransportFeedback::timeout);
        let others = transport.into_iter().chain(self.report_timeout()).chain(self.news_due);
        layers.flatten().chain(others).min()
    }

    /// The next compound RTCP packet for the publisher (NACK, PLI/FIR, TWCC, receiver reports, REMB), plain, written to
    /// `out` (cleared first). `false`: nothing due. Call again until then.
    pub fn poll_rtcp(&mut self, now: Instant, out: &mut Vec<u8>) -> bool {
        out.clear();
        self.reports.blocks.clear();
        let reporting = self.report_timeout().is_some_and(|due| due <= now);
        let allowed = if reporting { self.collect_reports(now) } else { None };
        // a compound begins with a report and names its sender, for not everyone takes less (RFC 5506)
        write_receiver_report(out, self.feedback_ssrc, &self.reports.blocks);
        write_cname(out, self.feedback_ssrc, &self.cname);
        let empty = out.len();
        if let Some(bitrate) = allowed {
            self.write_allowed(bitrate, out);
        }
        self.write_nacks(now, out);
        self.write_keyframe_requests(now, out);
        self.write_transport_feedback(now, out);
        let due = reporting || out.len() > empty;
        if !due {
            out.clear();
        }
        due
    }

    fn report_timeout(&self) -> Option<Instant> {
        let mut layers = self.tracks.iter().flat_map(|track| &track.layers);
        layers
            .any(|layer| layer.reception.top().is_some())
            .then_some(self.reports.last + REPORT_INTERVAL)
    }

    /// Fills the report blocks; the bitrate to allow the publisher, if that is how it is told.
    fn collect_reports(&mut self, now: Instant) -> Option<u64> {
        let elapsed = now.saturating_duration_since(self.reports.last);
        self.reports.last = now;
        let bytes = std::mem::take(&mut self.reports.bytes);
        for track in &mut self.tracks {
            for layer in &mut track.layers {
                let block = layer.ssrc.and_then(|ssrc| layer.reception.report(ssrc, now));
                self.reports.blocks.extend(block);
            }
        }
        let remb = self.tracks.iter().any(|track| track.parameters.feedback.remb);
        if !remb || self.transport.is_some() {
            return None;
        }
        let arrived = (u128::from(bytes) * 8_000)
            .checked_div(elapsed.as_millis())
            .unwrap_or(0);
        let arrived = u64::try_from(arrived).unwrap_or(u64::MAX);
        let worst = self
            .reports
            .blocks
            .iter()
            .map(|block| block.fraction_lost)
            .max()
            .unwrap_or(0);
        // twice what arrives lets the sender grow by probing; on loss it has to stay
        let allowed = if worst >= ALLOW_LOSS {
            arrived
        } else {
            arrived.saturating_mul(2)
        };
        Some(allowed.clamp(ALLOW_MIN, ALLOW_MAX))
    }

    fn write_allowed(&mut self, bitrate: u64, out: &mut Vec<u8>) {
        let mut ssrcs = [0u32; 31];
        let known = self
            .tracks
            .iter()
            .flat_map(|track| &track.layers)
            .filter_map(|layer| layer.ssrc);
        let mut count = 0;
        for (slot, ssrc) in ssrcs.iter_mut().zip(known) {
            *slot = ssrc;
            count += 1;
        }
        write_remb(out, self.feedback_ssrc, bitrate, &ssrcs[..count]);
    }

    fn write_nacks(&mut self, now: Instant, out: &mut Vec<u8>) {
        for track in &mut self.tracks {
            if !track.nacks() {
                continue;
            }
            for layer in &mut track.layers {
                if out.len() > COMPOUND_FULL {
                    return;
                }
                self.lost.clear();
                layer.reception.poll_nack(now, &mut self.lost);
                // what can't be repaired, a keyframe replaces
                if layer.reception.take_gave_up() && track.kind == MediaKind::Video {
                    layer.broker.request();
                }
                let Some(ssrc) = layer.ssrc.filter(|_| !self.lost.is_empty()) else {
                    continue;
                };
                self.counters.nacked += self.lost.len() as u64;
                write_nack(out, self.feedback_ssrc, ssrc, &self.lost);
            }
        }
    }

    fn write_keyframe_requests(&mut self, now: Instant, out: &mut Vec<u8>) {
        let mut ignored = false;
        let feedback_ssrc = self.feedback_ssrc;
        for track in self.tracks.iter_mut().filter(|track| asks_keyframes(track)) {
            let pli = track.parameters.feedback.pli;
            for layer in track.layers.iter_mut().filter(|layer| layer.flowing) {
                let Some(ssrc) = layer.ssrc.filter(|_| out.len() <= COMPOUND_FULL) else {
                    continue;
                };
                let ask = layer.broker.poll(now);
                ignored |= layer.broker.is_ignored();
                if !ask {
                    continue;
                }
                self.counters.keyframe_requests += 1;
                if pli {
                    write_pli(out, feedback_ssrc, ssrc);
                } else {
                    layer.command = layer.command.wrapping_add(1);
                    write_fir(out, feedback_ssrc, ssrc, layer.command);
                }
            }
        }
        if ignored {
            self.note_ignored_requests();
        }
    }

    fn write_transport_feedback(&mut self, now: Instant, out: &mut Vec<u8>) {
        let Some(transport) = &mut self.transport else { return };
        if out.len() > COMPOUND_FULL || transport.timeout().is_none_or(|due| due > now) {
            return;
        }
        let media_ssrc = transport.media_ssrc;
        transport.recorder.write_feedback(out, self.feedback_ssrc, media_ssrc);
        if transport.recorder.pending() == 0 {
            transport.last_sent = now;
        }
    }
}

/// Wishes are asked of a publisher whose video is wanted and who can be asked.
fn asks_keyframes(track: &Track) -> bool {
    track.kind == MediaKind::Video && track.permitted && track.takes_keyframe_requests()
}

fn nack_timeout(track: &Track, layer: &super::layer::Layer) -> Option<Instant> {
    layer.reception.nack_timeout().filter(|_| track.nacks())
}

fn broker_timeout(track: &Track, layer: &super::layer::Layer) -> Option<Instant> {
    let last = layer.last_packet.filter(|_| layer.flowing && asks_keyframes(track))?;
    // a wish that was never asked is due since the last packet, which is in the past
    layer.broker.timeout(last)
}
