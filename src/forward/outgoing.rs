//! One m-line of a viewer: which encoding it carries, from where, and its RTCP.

use super::batch::{Batch, Seal};
use super::feed::{FeedLayer, FeedTrack, Keyframe};
use super::feeds::{Feeds, Place};
use super::header::{Extensions, Own, PassedOn};
use super::retransmit::Retransmitted;
use super::switcher::{Run, Switcher};
use super::voices::Voice;
use super::{Feed, LayerIndex, LayerPreference, SourceId};
use crate::congestion::choose_layer;
use crate::rtp::header::Fields;
use crate::rtp::parameters::{SendCodec, SendTrack};
use crate::rtp::rtcp::{SenderInfo, write_cname, write_sender_report};
use crate::rtp::sequence::ntp_middle;
use crate::rtp::{Codec, MediaKind, PacketView};
use std::time::{Duration, Instant};

/// Where the packets of one viewer go, and what they have in common.
pub(super) struct Sink<'a, S> {
    pub(super) seal: &'a mut S,
    pub(super) batch: &'a mut Batch,
    /// The next transport-wide sequence number.
    pub(super) transport_sequence: &'a mut u16,
    /// 24 bit, 6.18 fixed-point seconds.
    pub(super) abs_send_time: u32,
    /// Bit/s the viewer's line carries, once somebody measures it.
    pub(super) estimate_bps: Option<u64>,
    pub(super) now: Instant,
}

/// A source as an m-line is to show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) source: SourceId,
    pub(super) codec: Codec,
    /// Neither muted nor locked.
    pub(super) permitted: bool,
}

/// How far the current encoding was served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    /// Nothing flows until a start: a keyframe for video, any packet for audio.
    Stopped,
    /// Packets come from the ring, this sequence number next, so many of them at `resume`.
    CatchingUp { cursor: u64, burst: usize, resume: Instant },
    /// Packets go out as they come in.
    Live,
}

/// A keyframe this old still starts a picture for somebody who joins; older ones would make them watch the past (API: 1 s).
pub(super) const START_AGE: Duration = Duration::from_secs(1);
/// While a keyframe is as young as this, what is missing behind it is being asked for again.
const REPAIR_AGE: Duration = Duration::from_millis(100);
/// Packets out of the ring at once: a whole keyframe to begin with, then about 60 Mbit/s, so that a start of 10 s of video
/// overflows no queue of ours and few of those behind us.
const START_PACKETS: usize = 128;
const CATCH_UP_PACKETS: usize = 32;
const CATCH_UP_INTERVAL: Duration = Duration::from_millis(5);
/// A keyframe is asked for again while waiting for one that flows, and while waiting for one of a camera that is off.
const WISH_INTERVAL: Duration = Duration::from_millis(500);
const IDLE_WISH_INTERVAL: Duration = Duration::from_secs(2);
/// How soon to look again for a feed that does not exist yet.
const MISSING_FEED_INTERVAL: Duration = Duration::from_millis(20);
/// Complaints of the receiver (PLI, NACK without RTX) are passed on at most this often; the publication merges further.
const COMPLAINT_INTERVAL: Duration = Duration::from_millis(250);
/// The first report after a start or a switch comes soon, so that lip sync locks at once.
const FIRST_REPORT_DELAY: Duration = Duration::from_millis(50);
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// One outgoing stream.
#[derive(Debug)]
pub(super) struct Outgoing {
    kind: MediaKind,
    codecs: Vec<SendCodec>,
    ssrc: u32,
    rtx_ssrc: u32,
    extensions: Extensions,
    shown: Option<Shown>,
    /// No packet that holds sound of these goes out.
    left_out: Vec<SourceId>,
    /// How the viewer takes the codec of what is shown; `None`: not at all.
    codec: Option<SendCodec>,
    preference: LayerPreference,
    /// The layer to be on; the switcher's current run tells which one it is on.
    wanted: Option<LayerIndex>,
    /// [`FeedTrack::revision`] of the last choice; 0 is never one.
    revision: u32,
    switcher: Switcher,
    flow: Flow,
    /// Number of the first packet of the current layer that was not looked at.
    served: u64,
    /// When to ask for a keyframe (again), while waiting for one.
    wish_due: Instant,
    complained: Option<Instant>,
    retransmitted: Retransmitted,
    packets: u32,
    octets: u32,
    report_due: Option<Instant>,
    /// None left since the last start.
    report_soon: bool,
    /// Middle bits of the NTP time of the last sender report, and when it left: what receiver reports refer to.
    reported: Option<(u32, Instant)>,
    first_keyframe: FirstKeyframe,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FirstKeyframe {
    Ahead,
    /// Its picture has this timestamp of the publisher.
    Begun(u32),
    Complete,
}

impl Outgoing {
    pub(super) fn new(track: &SendTrack, now: Instant) -> Self {
        Outgoing {
            kind: track.kind,
            codecs: track.codecs.clone(),
            ssrc: track.ssrc,
            rtx_ssrc: track.rtx_ssrc,
            extensions: Extensions::new(track),
            shown: None,
            left_out: Vec::new(),
            codec: None,
            preference: LayerPreference::default(),
            wanted: None,
            revision: 0,
            switcher: Switcher::default(),
            flow: Flow::Stopped,
            served: 0,
            wish_due: now,
            complained: None,
            retransmitted: Retransmitted::default(),
            packets: 0,
            octets: 0,
            report_due: None,
            report_soon: false,
            reported: None,
            first_keyframe: FirstKeyframe::Ahead,
        }
    }

    pub(super) fn ssrc(&self) -> u32 {
        self.ssrc
    }

    pub(super) fn takes(&self, codec: Codec) -> bool {
        self.codecs.iter().any(|taken| taken.codec == codec)
    }

    pub(super) fn has_sent(&self) -> bool {
        self.packets > 0
    }

    pub(super) fn first_keyframe_complete(&self) -> bool {
        self.first_keyframe == FirstKeyframe::Complete
    }

    /// What this m-line is to carry from now on. Twice equals once.
    pub(super) fn show(&mut self, shown: Option<Shown>, now: Instant) {
        if self.shown == shown {
            return;
        }
        let same_source = self.shown.zip(shown).is_some_and(|(old, new)| old.source == new.source);
        self.shown = shown;
        if !same_source {
            self.codec = shown.and_then(|shown| self.codecs.iter().copied().find(|taken| taken.codec == shown.codec));
            self.wanted = None;
            self.revision = 0;
            self.stop(now);
        } else if shown.is_some_and(|shown| !shown.permitted) {
            self.stop(now);
        }
    }

    /// No packet that may hold sound of these sources goes out from now on, not even once more: what is without it goes out
    /// in its place, or nothing, and numbers run on behind it. Twice equals once.
    pub(super) fn leave_out(&mut self, sources: &[SourceId]) {
        if self.left_out != sources {
            self.left_out.clear();
            self.left_out.extend_from_slice(sources);
        }
    }

    pub(super) fn prefer(&mut self, preference: LayerPreference, now: Instant) {
        if self.preference != preference {
            self.preference = preference;
            self.revision = 0;
            self.wish_due = now;
        }
    }

    /// What comes next continues nothing: video waits for a keyframe, audio for any packet.
    pub(super) fn stop(&mut self, now: Instant) {
        self.flow = Flow::Stopped;
        self.wish_due = now;
    }

    /// Append what is fresh. The feed is that of the source shown.
    pub(super) fn forward<S: Seal>(&mut self, feed: &Feed, sink: &mut Sink<S>) {
        let permitted = self.shown.is_some_and(|shown| shown.permitted);
        let (Some(input), Some(codec), true) = (feed.track(self.kind), self.codec, permitted) else {
            return;
        };
        if self.revision != input.revision {
            self.review(input, sink.estimate_bps, sink.now);
        }
        let flowed = self.flow != Flow::Stopped;
        self.advance(feed, input, codec, sink);
        if flowed && self.flow == Flow::Stopped {
            // what leapt may be a start itself
            self.advance(feed, input, codec, sink);
        }
    }

    fn advance<S: Seal>(&mut self, feed: &Feed, input: &FeedTrack, codec: SendCodec, sink: &mut Sink<S>) {
        if self.wants_start() {
            self.start(feed.id(), input, codec, sink.now);
        }
        let index = self.switcher.current().map(|run| run.layer);
        let Some((index, layer)) = index.and_then(|index| Some((index, input.layer(index)?))) else {
            return;
        };
        match self.flow {
            Flow::Stopped => {}
            Flow::CatchingUp { cursor, burst, resume } => self.catch_up(layer, (cursor, burst, resume), sink),
            Flow::Live => self.go_on((feed.id(), input), (index, layer), codec, sink),
        }
    }

    /// Append what is fresh of the layer that flows. What is held back leaves no gap: a stretch of its own follows it.
    fn go_on<S: Seal>(
        &mut self,
        (source, input): (SourceId, &FeedTrack),
        (index, layer): (LayerIndex, &FeedLayer),
        codec: SendCodec,
        sink: &mut Sink<S>,
    ) {
        let served = std::mem::replace(&mut self.served, layer.stored());
        for sequence in layer.fresh_since(served) {
            let voice = self.voice(source, input, *sequence);
            if voice == Voice::Everywhere {
                // late ones, from before this stretch, would not have been sent anyway
                let run = self.switcher.current();
                if run.is_some_and(|run| run.index_of(*sequence).is_some()) {
                    self.flow = Flow::Stopped;
                }
                continue;
            }
            let Some(packet) = input.packet(voice, layer, *sequence) else {
                continue;
            };
            if self.flow == Flow::Stopped {
                self.switcher
                    .begin(source, index, input.interruptions, codec, &packet, layer.clock);
                self.flow = Flow::Live;
            }
            self.send(layer, &packet, Some(packet.meta.arrival), sink);
            if self.flow == Flow::Stopped {
                return;
            }
        }
    }

    /// Where what is left out is in the packets of this number, of any layer of the source shown.
    fn voice(&self, source: SourceId, input: &FeedTrack, sequence: u64) -> Voice {
        match self.left_out.as_slice() {
            // nearly everybody
            [] => Voice::Nowhere,
            left_out if left_out.contains(&source) => Voice::Everywhere,
            left_out => input.voices.of(left_out, sequence),
        }
    }

    /// Reports and starts that are due without a packet. The feed is that of the source shown.
    pub(super) fn handle_timeout<S: Seal>(&mut self, feed: Option<&Feed>, cname: &str, sink: &mut Sink<S>) {
        let Some(feed) = feed else {
            self.wish_due = self.wish_due.max(sink.now + MISSING_FEED_INTERVAL);
            return;
        };
        self.forward(feed, sink);
        if self.report_due.is_some_and(|due| due <= sink.now) {
            self.revision = 0; // bitrates moved on: choose again with the next packet
            self.report_due = Some(sink.now + REPORT_INTERVAL);
            self.report(feed, cname, sink);
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let wish = self.waits_for_keyframe().then_some(self.wish_due);
        let catch_up = match self.flow {
            Flow::CatchingUp { resume, .. } => Some(resume),
            Flow::Stopped | Flow::Live => None,
        };
        [wish, catch_up, self.report_due].into_iter().flatten().min()
    }

    /// The layer to ask a keyframe of, if one is waited for and it is time to ask (again).
    pub(super) fn take_wish(&mut self, feed: &Feed, now: Instant) -> Option<LayerIndex> {
        if !self.waits_for_keyframe() || now < self.wish_due {
            return None;
        }
        let flowing = feed.track(self.kind).is_some_and(FeedTrack::flowing);
        self.wish_due = now + if flowing { WISH_INTERVAL } else { IDLE_WISH_INTERVAL };
        Some(self.wanted.unwrap_or(LayerIndex(0)))
    }

    /// The receiver can't go on without a keyframe. The layer to ask, if it is time.
    pub(super) fn complain(&mut self, now: Instant) -> Option<LayerIndex> {
        let too_soon = self.complained.is_some_and(|at| now < at + COMPLAINT_INTERVAL);
        if self.kind == MediaKind::Audio || too_soon || !self.shown.is_some_and(|shown| shown.permitted) {
            return None;
        }
        self.complained = Some(now);
        let current = self
            .switcher
            .current()
            .filter(|_| self.flow != Flow::Stopped)
            .map(|run| run.layer);
        Some(current.or(self.wanted).unwrap_or(LayerIndex(0)))
    }

    /// Round-trip time from a receiver report's fields (RFC 3550, 6.4.1): the middle bits of the last sender report's NTP
    /// time, and the delay since in 1/65536 s.
    pub(super) fn round_trip(&self, last_sender_report: u32, delay: u32, now: Instant) -> Option<Duration> {
        let (_, left) = self.reported.filter(|(middle, _)| *middle == last_sender_report)?;
        let held = Duration::from_micros((u64::from(delay) * 1_000_000) >> 16);
        Some(now.saturating_duration_since(left).saturating_sub(held))
    }

    /// Whether the encoding that flows is not the one wanted, or none flows though one is wanted.
    fn wants_start(&self) -> bool {
        self.wanted.is_some() && !self.on_wanted()
    }

    fn on_wanted(&self) -> bool {
        self.flow != Flow::Stopped && self.switcher.current().map(|run| run.layer) == self.wanted
    }

    fn waits_for_keyframe(&self) -> bool {
        self.kind == MediaKind::Video
            && self.codec.is_some()
            && !self.preference.paused
            && self.shown.is_some_and(|shown| shown.permitted)
            && (self.flow == Flow::Stopped || self.wants_start())
    }

    /// Choose the layer anew, and stop what an interruption ended.
    fn review(&mut self, input: &FeedTrack, estimate_bps: Option<u64>, now: Instant) {
        self.revision = input.revision;
        let current = self.switcher.current().filter(|_| self.flow != Flow::Stopped);
        if current.is_some_and(|run| run.interruptions != input.interruptions) {
            self.stop(now);
        }
        if self.kind == MediaKind::Audio {
            self.wanted = Some(LayerIndex(0));
        } else {
            let chosen = choose_layer(input.states(), self.wanted, self.preference, estimate_bps);
            if chosen != self.wanted && chosen.is_some() {
                self.wish_due = now;
            }
            self.wanted = chosen;
            if self.preference.paused {
                self.stop(now);
            }
        }
        self.hasten_report(now);
    }

    /// The first report after a start is due soon, or soon after the first clock.
    fn hasten_report(&mut self, now: Instant) {
        if self.report_soon && self.flow != Flow::Stopped {
            let soon = now + FIRST_REPORT_DELAY;
            self.report_due = Some(self.report_due.map_or(soon, |due| due.min(soon)));
        }
    }

    /// Go over to the wanted layer, if a packet to begin with is there.
    fn start(&mut self, source: SourceId, input: &FeedTrack, codec: SendCodec, now: Instant) {
        let Some((wanted, layer)) = self.wanted.and_then(|wanted| Some((wanted, input.layer(wanted)?))) else {
            return;
        };
        let known = self
            .switcher
            .current()
            .is_some_and(|run| run.source == source && run.layer == wanted);
        // a feed that was given up and made anew counts anew
        let served = if known && self.served <= layer.stored() {
            self.served
        } else {
            0
        };
        let fresh = layer.fresh_since(served);
        let is_held_back = |sequence: &u64| self.voice(source, input, *sequence) == Voice::Everywhere;
        let held_back = fresh.iter().take_while(|sequence| is_held_back(sequence)).count();
        let (first, flow) = match (self.kind, &layer.keyframe) {
            (MediaKind::Audio, _) => (fresh.get(held_back).copied(), Flow::Live),
            (MediaKind::Video, Some(keyframe)) if self.startable(source, input, wanted, layer, keyframe, now) => (
                Some(keyframe.sequence),
                Flow::CatchingUp {
                    cursor: keyframe.sequence,
                    burst: START_PACKETS,
                    resume: now,
                },
            ),
            (MediaKind::Video, _) => (None, Flow::Stopped),
        };
        let Some(packet) = first.and_then(|sequence| layer.ring.get(sequence)) else {
            return;
        };
        self.switcher
            .begin(source, wanted, input.interruptions, codec, &packet, layer.clock);
        self.flow = flow;
        // of a start from the ring everything stored is taken care of by the cursor
        self.served = match flow {
            Flow::Live => layer.stored() - (fresh.len() - held_back) as u64,
            Flow::Stopped | Flow::CatchingUp { .. } => layer.stored(),
        };
        self.wish_due = now;
        self.report_soon = true;
        self.hasten_report(now);
        if self.kind == MediaKind::Video && self.first_keyframe == FirstKeyframe::Ahead {
            self.first_keyframe = FirstKeyframe::Begun(packet.meta.timestamp);
        }
    }

    /// Whether a viewer can begin with this keyframe: young enough, nothing missing behind it, and not from before what
    /// the viewer already saw of this source.
    fn startable(
        &self,
        source: SourceId,
        input: &FeedTrack,
        wanted: LayerIndex,
        layer: &FeedLayer,
        keyframe: &Keyframe,
        now: Instant,
    ) -> bool {
        let seen = self
            .switcher
            .current()
            .zip(self.switcher.last())
            .is_some_and(|(run, last)| {
                if run.source != source {
                    false
                } else if run.layer == wanted {
                    run.sequence_of(last.index)
                        .is_some_and(|sequence| keyframe.sequence <= sequence)
                } else {
                    keyframe.arrival < last.arrival
                }
            });
        let age = now.saturating_duration_since(keyframe.arrival);
        let whole = age <= REPAIR_AGE || age <= START_AGE && layer.contiguous(keyframe);
        !seen && (whole || input.ignores_keyframe_requests)
    }

    /// The next packets out of the ring, if it is time; what came late and belongs before them first.
    fn catch_up<S: Seal>(
        &mut self,
        layer: &FeedLayer,
        (mut cursor, burst, resume): (u64, usize, Instant),
        sink: &mut Sink<S>,
    ) {
        let served = std::mem::replace(&mut self.served, layer.stored());
        for sequence in layer.fresh_since(served).iter().filter(|sequence| **sequence < cursor) {
            if let Some(packet) = layer.ring.get(*sequence) {
                self.send(layer, &packet, Some(packet.meta.arrival), sink);
            }
        }
        if sink.now < resume {
            return;
        }
        let fresh = layer
            .fresh_since(0)
            .first()
            .and_then(|sequence| layer.ring.get(*sequence));
        let fresh_from = fresh.map(|packet| packet.meta.arrival);
        let Some(newest) = layer.ring.newest() else { return };
        let mut sent = 0;
        while cursor <= newest && sent < burst {
            if let Some(packet) = layer.ring.get(cursor) {
                let arrival = packet.meta.arrival;
                self.send(
                    layer,
                    &packet,
                    fresh_from.filter(|from| arrival >= *from).map(|_| arrival),
                    sink,
                );
                if self.flow == Flow::Stopped {
                    return;
                }
                sent += 1;
            }
            cursor += 1;
        }
        let resume = sink.now + CATCH_UP_INTERVAL;
        self.flow = if cursor > newest {
            Flow::Live
        } else {
            Flow::CatchingUp {
                cursor,
                burst: CATCH_UP_PACKETS,
                resume,
            }
        };
    }

    /// Append one packet of the current run; packets from before its start are left out, and one that leaps ends the run.
    fn send<S: Seal>(&mut self, layer: &FeedLayer, packet: &PacketView, arrival: Option<Instant>, sink: &mut Sink<S>) {
        let Some(run) = self.switcher.current() else { return };
        let Some(index) = run.index_of(packet.meta.sequence) else {
            return;
        };
        if self.switcher.leaps_to(index) {
            self.stop(sink.now);
            return;
        }
        let start = sink.batch.bytes.len();
        let fields = Fields {
            marker: packet.meta.marker,
            payload_type: run.codec.payload_type,
            // the low 16 bits of the index are the sequence number
            sequence: index as u16,
            timestamp: run.timestamp_of(packet.meta.timestamp),
            ssrc: self.ssrc,
        };
        let header_len = self.write_header(&fields, run, packet, sink);
        sink.batch.bytes.extend_from_slice(packet.payload());
        let payload = sink.batch.bytes.get_mut(start + header_len..).unwrap_or_default();
        run.rewrite(payload);
        self.switcher.sent(index, packet, layer.clock, payload);
        sink.seal
            .seal_rtp(&mut sink.batch.bytes, start, header_len, self.ssrc, index);
        sink.batch.close(arrival);
        self.packets = self.packets.wrapping_add(1);
        self.octets = self.octets.wrapping_add(packet.payload().len() as u32);
        if let FirstKeyframe::Begun(timestamp) = self.first_keyframe
            && (packet.meta.marker || packet.meta.timestamp != timestamp)
        {
            self.first_keyframe = FirstKeyframe::Complete;
        }
    }

    fn write_header<S: Seal>(&self, fields: &Fields, run: &Run, packet: &PacketView, sink: &mut Sink<S>) -> usize {
        let transport_sequence = *sink.transport_sequence;
        if self.extensions.transport_cc {
            *sink.transport_sequence = transport_sequence.wrapping_add(1);
        }
        let own = Own {
            transport_sequence,
            abs_send_time: sink.abs_send_time,
        };
        let passed_on = PassedOn {
            packed: packet.extensions(),
            frame_number_offset: run.frame_number_offset,
        };
        self.extensions.write(&mut sink.batch.bytes, fields, own, passed_on)
    }

    /// Answer a missing sequence number by RTX (RFC 4588). `true`: a keyframe has to answer it, as there is no RTX.
    pub(super) fn retransmit<S: Seal>(
        &mut self,
        lost: u16,
        feeds: &Feeds,
        place: &mut Place,
        round_trip: Duration,
        sink: &mut Sink<S>,
    ) -> bool {
        let Some((index, run)) = self.switcher.find(lost) else {
            return false;
        };
        let run: Run = *run;
        let Some(payload_type) = run.codec.rtx_payload_type else {
            return true;
        };
        let Some(track) = feeds.find(run.source, place).and_then(|feed| feed.track(self.kind)) else {
            return false;
        };
        let Some(layer) = track.layer(run.layer) else {
            return false;
        };
        let packet = run
            .sequence_of(index)
            .and_then(|sequence| track.packet(self.voice(run.source, track, sequence), layer, sequence));
        let Some(packet) = packet else { return false };
        let Some(rtx_index) = self.retransmitted.admit(lost, round_trip, sink.now) else {
            return false;
        };
        let start = sink.batch.bytes.len();
        let fields = Fields {
            marker: packet.meta.marker,
            payload_type,
            sequence: rtx_index as u16,
            timestamp: run.timestamp_of(packet.meta.timestamp),
            ssrc: self.rtx_ssrc,
        };
        let header_len = self.write_header(&fields, &run, &packet, sink);
        sink.batch.bytes.extend_from_slice(&lost.to_be_bytes());
        let original = sink.batch.bytes.len();
        sink.batch.bytes.extend_from_slice(packet.payload());
        run.rewrite(sink.batch.bytes.get_mut(original..).unwrap_or_default());
        sink.seal
            .seal_rtp(&mut sink.batch.bytes, start, header_len, self.rtx_ssrc, rtx_index);
        sink.batch.close(None);
        false
    }

    /// A sender report on the source's clock; none before it is known.
    fn report<S: Seal>(&mut self, feed: &Feed, cname: &str, sink: &mut Sink<S>) {
        let (Some(run), Some(last)) = (self.switcher.current(), self.switcher.last()) else {
            return;
        };
        let current = Some(run).filter(|run| run.source == feed.id() && self.flow != Flow::Stopped);
        let layer = current.and_then(|run| feed.track(self.kind)?.layer(run.layer));
        let Some(clock) = layer.and_then(|layer| layer.clock) else {
            return;
        };
        let rate = run.codec.codec.clock_rate();
        let since = sink.now.saturating_duration_since(last.arrival);
        let ticks = (since.as_micros() * u128::from(rate) / 1_000_000) as u32;
        let source_timestamp = last.source_timestamp.wrapping_add(ticks);
        let info = SenderInfo {
            ntp: clock.ntp_of(source_timestamp, rate),
            rtp: run.timestamp_of(source_timestamp),
            packets: self.packets,
            octets: self.octets,
        };
        let start = sink.batch.bytes.len();
        write_sender_report(&mut sink.batch.bytes, self.ssrc, info, &[]);
        write_cname(&mut sink.batch.bytes, self.ssrc, cname);
        sink.seal.seal_rtcp(&mut sink.batch.bytes, start);
        sink.batch.close(None);
        self.report_soon = false;
        self.reported = Some((ntp_middle(info.ntp), sink.now));
    }
}
