//! The viewer's side: slots, and the sealed packets for them.

use super::batch::{Batch, Seal};
use super::feeds::{Feeds, Place};
use super::outgoing::{Outgoing, Shown, Sink};
use super::slots::{SlotReport, SlotState, Slots, View};
use super::{LayerIndex, SourceId, SourceInfo};
use crate::rtp::MediaKind;
use crate::rtp::parameters::{SendParameters, SendSlot};
use crate::rtp::rtcp::{Block, ReportBlocks, blocks};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// What a viewer wants of a slot (`PATCH …/layers`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LayerPreference {
    /// In pixels; `None`: no limit.
    pub max_height: Option<u16>,
    /// Video stops; audio goes on.
    pub paused: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub enum ViewerEvent {
    /// Ask the source's publication for a keyframe.
    KeyframeWanted {
        source: SourceId,
        layer: LayerIndex,
    },
    Slots(Vec<SlotReport>),
    /// The first packet of any kind, and the first complete keyframe, went out: for the join metrics.
    FirstMedia,
    FirstKeyframe,
}

/// NACKed sequence numbers looked at per compound packet; a receiver who misses more needs a keyframe, not packets.
const MAX_NACKED: usize = 256;
/// Keyframe wishes waiting to be polled; one per m-line of the largest stage. What is beyond is wished again.
const MAX_EVENTS: usize = 64;

/// One viewer's media.
#[derive(Debug)]
pub struct Viewer {
    plan: Slots,
    lanes: Vec<Lane>,
    line: Line,
    cname: String,
    open: bool,
    events: VecDeque<ViewerEvent>,
    /// As last told.
    reports: Vec<SlotReport>,
    /// The report may have changed.
    report_due: Option<Instant>,
    first_media: bool,
    first_keyframe: bool,
}

/// What all streams of the viewer share.
#[derive(Debug)]
struct Line {
    /// The next transport-wide sequence number.
    transport_sequence: u16,
    /// Zero of the send times told.
    epoch: Instant,
    /// Smoothed; zero before a receiver report.
    round_trip: Duration,
    /// What the line carries, in bit/s; nobody estimates it yet.
    estimate_bps: Option<u64>,
}

/// The streams of one slot.
#[derive(Debug)]
struct Lane {
    source: Option<SourceId>,
    place: Place,
    audio: Option<Outgoing>,
    video: Option<Outgoing>,
    /// [`FeedTrack::revision`](super::feed::FeedTrack) of audio and video, as reported.
    seen: (u32, u32),
}

impl Viewer {
    /// `feedback_ssrc` would send RTCP that belongs to no stream of the viewer; there is none yet.
    pub fn new(parameters: SendParameters, view: View, _feedback_ssrc: u32, now: Instant) -> Self {
        Viewer {
            plan: Slots::new(view, parameters.slots.len(), now),
            lanes: parameters.slots.iter().map(|slot| Lane::new(slot, now)).collect(),
            line: Line {
                transport_sequence: 0,
                epoch: now,
                round_trip: Duration::ZERO,
                estimate_bps: None,
            },
            cname: parameters.cname,
            open: false,
            events: VecDeque::new(),
            reports: Vec::new(),
            report_due: None,
            first_media: false,
            first_keyframe: false,
        }
    }

    /// The room's sources are now these: decide who is in which slot. Twice equals once.
    pub fn reconcile(&mut self, sources: &[SourceInfo], feeds: &Feeds, now: Instant) {
        self.plan.reconcile(sources, |source| loudness(feeds, source), now);
        self.show_plan(feeds, now);
    }

    /// The sources this viewer needs feeds of: those its slots show, and those whose loudness may bring them into one.
    pub fn wanted(&self) -> impl Iterator<Item = SourceId> + '_ {
        self.plan.sources().map(|source| source.id)
    }

    /// As last reported.
    pub fn slots(&self) -> &[SlotReport] {
        &self.reports
    }

    /// Media may flow (the transport is connected), or the viewer's queue overflowed (`false`, then `true` once it
    /// drained): video then goes on at a keyframe only.
    pub fn set_open(&mut self, open: bool, now: Instant) {
        if self.open != open {
            self.open = open;
            self.lanes
                .iter_mut()
                .flat_map(Lane::streams)
                .for_each(|stream| stream.stop(now));
        }
    }

    /// Whether [`forward`](Self::forward) would have something to do.
    pub fn has_fresh(&mut self, feeds: &Feeds) -> bool {
        self.open
            && self.lanes.iter_mut().any(|lane| {
                let feed = lane.source.and_then(|source| feeds.find(source, &mut lane.place));
                feed.is_some_and(|feed| feed.has_fresh())
            })
    }

    /// Append what is fresh in `feeds`, sealed.
    pub fn forward<S: Seal>(&mut self, feeds: &Feeds, seal: &mut S, batch: &mut Batch, now: Instant) {
        if !self.open {
            return;
        }
        let mut sink = self.line.sink(seal, batch, now);
        for lane in &mut self.lanes {
            let Some(source) = lane.source else { continue };
            let Some(feed) = feeds.find(source, &mut lane.place).filter(|feed| feed.has_fresh()) else {
                continue;
            };
            for stream in lane.audio.iter_mut().chain(&mut lane.video) {
                stream.forward(feed, &mut sink);
                if let Some(layer) = stream.take_wish(feed, now) {
                    wish(&mut self.events, source, layer);
                }
            }
            if lane.seen != feed.revisions() {
                self.report_due.get_or_insert(now);
            }
        }
        self.note_firsts();
    }

    /// Takes one decrypted compound RTCP packet: NACKs are answered by RTX into `batch`, PLI and FIR become events.
    pub fn handle_rtcp<S: Seal>(
        &mut self,
        compound: &[u8],
        feeds: &Feeds,
        seal: &mut S,
        batch: &mut Batch,
        now: Instant,
    ) {
        if !self.open {
            return;
        }
        let mut budget = MAX_NACKED;
        for block in blocks(compound) {
            match block {
                Block::SenderReport { reports, .. } | Block::ReceiverReport { reports, .. } => {
                    self.measure(reports, now)
                }
                Block::Nack { media_ssrc, lost } => {
                    let lost = lost.take(budget);
                    budget -= self.answer(media_ssrc, lost, feeds, &mut Output { seal, batch }, now);
                }
                Block::Pli { media_ssrc } => self.complain(media_ssrc, now),
                Block::Fir(entries) => entries.for_each(|(ssrc, _)| self.complain(ssrc, now)),
                // where a bandwidth estimate of this line will get its arrival times from, and set `estimate_bps`
                Block::TransportCc(_) | Block::Remb { .. } => {}
                Block::Bye(_) | Block::Other { .. } => {}
            }
        }
    }

    /// `false`: there is no such slot.
    pub fn prefer(&mut self, slot: usize, preference: LayerPreference, now: Instant) -> bool {
        let Some(lane) = self.lanes.get_mut(slot) else {
            return false;
        };
        if let Some(video) = &mut lane.video {
            video.prefer(preference, now);
        }
        true
    }

    /// Sender reports, slot changes, layer choice, starts and repeated keyframe wishes.
    pub fn handle_timeout<S: Seal>(&mut self, feeds: &Feeds, seal: &mut S, batch: &mut Batch, now: Instant) {
        if self.plan.handle_timeout(|source| loudness(feeds, source), now) {
            self.show_plan(feeds, now);
        } else if self.report_due.is_some_and(|due| due <= now) {
            self.report(feeds);
        }
        if !self.open {
            return;
        }
        let mut sink = self.line.sink(seal, batch, now);
        for lane in &mut self.lanes {
            let Some(source) = lane.source else { continue };
            let feed = feeds.find(source, &mut lane.place);
            for stream in lane.audio.iter_mut().chain(&mut lane.video) {
                stream.handle_timeout(feed, &self.cname, &mut sink);
                if let Some(layer) = feed.and_then(|feed| stream.take_wish(feed, now)) {
                    wish(&mut self.events, source, layer);
                }
            }
        }
        self.note_firsts();
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        let streams = self.lanes.iter().filter(|lane| self.open && lane.source.is_some());
        let due = streams
            .flat_map(|lane| lane.audio.iter().chain(&lane.video))
            .filter_map(Outgoing::poll_timeout);
        due.chain(self.plan.poll_timeout()).chain(self.report_due).min()
    }

    pub fn poll_event(&mut self) -> Option<ViewerEvent> {
        self.events.pop_front()
    }

    /// Puts the plan's occupants on the streams.
    fn show_plan(&mut self, feeds: &Feeds, now: Instant) {
        for (lane, slot) in self.lanes.iter_mut().zip(0..) {
            let occupant = self.plan.occupant(slot);
            lane.source = occupant.map(|source| source.id);
            let shown = |codec: Option<_>, permitted| {
                let source = occupant?.id;
                Some(Shown {
                    source,
                    codec: codec?,
                    permitted,
                })
            };
            if let Some(audio) = &mut lane.audio {
                let heard = shown(
                    occupant.and_then(|o| o.audio),
                    occupant.is_some_and(|o| o.permission.audio),
                );
                audio.leave_out(self.plan.left_out());
                audio.show(heard, now);
            }
            if let Some(video) = &mut lane.video {
                video.show(
                    shown(
                        occupant.and_then(|o| o.video),
                        occupant.is_some_and(|o| o.permission.video),
                    ),
                    now,
                );
            }
        }
        self.report(feeds);
    }

    /// Tells the slots, if they changed.
    fn report(&mut self, feeds: &Feeds) {
        self.report_due = None;
        let mut reports = Vec::with_capacity(self.reports.len());
        for (lane, slot) in self.lanes.iter_mut().zip(0..) {
            let Some(occupant) = self.plan.occupant(slot) else {
                continue;
            };
            lane.seen = feeds.get(occupant.id).map_or((0, 0), |feed| feed.revisions());
            reports.push(SlotReport {
                slot,
                seat: occupant.seat,
                source: occupant.kind,
                codec: occupant.video.or(occupant.audio),
                state: lane.state(occupant, feeds),
            });
        }
        if reports != self.reports {
            self.reports.clone_from(&reports);
            self.events.push_back(ViewerEvent::Slots(reports));
        }
    }

    fn note_firsts(&mut self) {
        if self.first_media && self.first_keyframe {
            return;
        }
        if !self.first_media
            && self
                .lanes
                .iter_mut()
                .flat_map(Lane::streams)
                .any(|stream| stream.has_sent())
        {
            self.first_media = true;
            self.events.push_back(ViewerEvent::FirstMedia);
        }
        let mut videos = self.lanes.iter().filter_map(|lane| lane.video.as_ref());
        if !self.first_keyframe && videos.any(Outgoing::first_keyframe_complete) {
            self.first_keyframe = true;
            self.events.push_back(ViewerEvent::FirstKeyframe);
        }
    }

    /// Takes the round-trip time from the blocks about the viewer's streams.
    fn measure(&mut self, reports: ReportBlocks, now: Instant) {
        for report in reports {
            let mut streams = self.lanes.iter().flat_map(|lane| lane.audio.iter().chain(&lane.video));
            let stream = streams.find(|stream| stream.ssrc() == report.ssrc);
            let sample = stream.and_then(|stream| stream.round_trip(report.last_sender_report, report.delay, now));
            if let Some(sample) = sample {
                let before = self.line.round_trip;
                self.line.round_trip = if before.is_zero() {
                    sample
                } else {
                    (before * 7 + sample) / 8
                };
            }
        }
    }

    /// Retransmits what it can of `lost`; how many it looked at.
    fn answer<S: Seal>(
        &mut self,
        media_ssrc: u32,
        lost: impl Iterator<Item = u16>,
        feeds: &Feeds,
        output: &mut Output<S>,
        now: Instant,
    ) -> usize {
        let (mut looked_at, mut keyframe) = (0, false);
        let round_trip = self.line.round_trip;
        let mut sink = self.line.sink(output.seal, output.batch, now);
        for lane in &mut self.lanes {
            let Some(stream) = lane
                .audio
                .iter_mut()
                .chain(&mut lane.video)
                .find(|s| s.ssrc() == media_ssrc)
            else {
                continue;
            };
            for sequence in lost {
                looked_at += 1;
                keyframe |= stream.retransmit(sequence, feeds, &mut lane.place, round_trip, &mut sink);
            }
            break;
        }
        if keyframe {
            self.complain(media_ssrc, now);
        }
        looked_at
    }

    fn complain(&mut self, media_ssrc: u32, now: Instant) {
        for lane in &mut self.lanes {
            let video = lane.video.as_mut().filter(|video| video.ssrc() == media_ssrc);
            if let (Some(source), Some(video)) = (lane.source, video)
                && let Some(layer) = video.complain(now)
            {
                wish(&mut self.events, source, layer);
            }
        }
    }
}

/// Where packets go.
struct Output<'a, S> {
    seal: &'a mut S,
    batch: &'a mut Batch,
}

impl Line {
    fn sink<'a, S>(&'a mut self, seal: &'a mut S, batch: &'a mut Batch, now: Instant) -> Sink<'a, S> {
        let since_epoch = now.saturating_duration_since(self.epoch);
        let fraction = (u64::from(since_epoch.subsec_micros()) << 18) / 1_000_000;
        Sink {
            seal,
            batch,
            transport_sequence: &mut self.transport_sequence,
            // 24 bits that wrap every 64 s: nothing above them counts
            abs_send_time: (since_epoch.as_secs() << 18 | fraction) as u32 & 0x00ff_ffff,
            estimate_bps: self.estimate_bps,
            now,
        }
    }
}

impl Lane {
    fn new(slot: &SendSlot, now: Instant) -> Self {
        Lane {
            source: None,
            place: Place::default(),
            audio: slot.audio.as_ref().map(|track| Outgoing::new(track, now)),
            video: slot.video.as_ref().map(|track| Outgoing::new(track, now)),
            seen: (0, 0),
        }
    }

    fn streams(&mut self) -> impl Iterator<Item = &mut Outgoing> {
        self.audio.iter_mut().chain(&mut self.video)
    }

    /// What there is to see, or to hear of a source (or in a slot) without picture.
    fn state(&self, occupant: &SourceInfo, feeds: &Feeds) -> SlotState {
        let picture = occupant
            .video
            .zip(self.video.as_ref())
            .map(|(codec, stream)| (codec, stream, MediaKind::Video, occupant.permission.video));
        let sound = occupant
            .audio
            .zip(self.audio.as_ref())
            .map(|(codec, stream)| (codec, stream, MediaKind::Audio, occupant.permission.audio));
        let Some((codec, stream, kind, permitted)) = picture.or(sound) else {
            return SlotState::NoMedia;
        };
        let flowing = || {
            feeds
                .get(occupant.id)
                .and_then(|feed| feed.track(kind))
                .is_some_and(|track| track.flowing())
        };
        if !stream.takes(codec) {
            SlotState::CodecUnsupported
        } else if !permitted {
            SlotState::Muted
        } else if flowing() {
            SlotState::Live
        } else {
            SlotState::NoMedia
        }
    }
}

fn loudness(feeds: &Feeds, source: SourceId) -> u8 {
    feeds.get(source).map_or(0, |feed| feed.loudness())
}

fn wish(events: &mut VecDeque<ViewerEvent>, source: SourceId, layer: LayerIndex) {
    if events.len() < MAX_EVENTS {
        events.push_back(ViewerEvent::KeyframeWanted { source, layer });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forward::{FeedDescription, FeedUpdate, Permission, SeatIndex, SourceKind, Voice};
    use crate::rtp::parameters::{Feedback, SendCodec, SendTrack};
    use crate::rtp::{Codec, ExtensionMap, Meta, PacketView};

    /// A room's audience is thousands of these, most of them with one slot.
    #[test]
    fn a_viewer_of_one_slot_is_small() {
        assert!(size_of::<Viewer>() + size_of::<Lane>() <= 2048);
    }

    struct Nothing;

    impl Seal for Nothing {
        fn seal_rtp(&mut self, _: &mut Vec<u8>, _: usize, _: usize, _: u32, _: u64) {}
        fn seal_rtcp(&mut self, _: &mut Vec<u8>, _: usize) {}
    }

    const SOURCE: SourceId = SourceId(7);

    /// One slot for sound.
    fn listener() -> SendParameters {
        let codec = SendCodec {
            codec: Codec::Opus,
            payload_type: 111,
            rtx_payload_type: Some(112),
        };
        let track = SendTrack {
            kind: MediaKind::Audio,
            mid: "0".into(),
            codecs: vec![codec],
            extensions: ExtensionMap::default(),
            feedback: Feedback::default(),
            ssrc: 1,
            rtx_ssrc: 2,
        };
        SendParameters {
            slots: vec![SendSlot {
                audio: Some(track),
                video: None,
            }],
            cname: "room".into(),
        }
    }

    fn source(kind: SourceKind, seat: u8, user: &str) -> SourceInfo {
        SourceInfo {
            id: SOURCE,
            seat: SeatIndex(seat),
            kind,
            user: user.into(),
            worker: 0,
            audio: Some(Codec::Opus),
            video: None,
            layers: 1,
            permission: Permission {
                audio: true,
                video: true,
            },
            connected: true,
        }
    }

    const DESCRIPTION: FeedDescription = FeedDescription {
        audio: Some(Codec::Opus),
        video: None,
        layers: 1,
    };

    fn store(feeds: &mut Feeds, layer: LayerIndex, sequence: u64, payload: &[u8], now: Instant) {
        let meta = Meta {
            sequence,
            timestamp: sequence as u32 * 960,
            marker: false,
            starts_keyframe: true,
            codec: Codec::Opus,
            arrival: now,
            extensions_len: 0,
        };
        let packet = PacketView { meta, bytes: payload };
        feeds.insert(SOURCE, DESCRIPTION).store(MediaKind::Audio, layer, packet);
    }

    /// A worker that no viewer needs a source on gives its feed up, and makes another when the source is wanted again.
    #[test]
    fn sound_goes_on_with_a_feed_that_was_made_anew() {
        let now = Instant::now();
        let source_on = |seat| source(SourceKind::Camera, seat, "guest");
        let view = View::Seat {
            seat: SeatIndex(3),
            kind: SourceKind::Camera,
        };
        let (mut feeds, mut batch) = (Feeds::default(), Batch::default());
        let mut viewer = Viewer::new(listener(), view, 1, now);
        viewer.set_open(true, now);
        let mut hear = |viewer: &mut Viewer, feeds: &mut Feeds, sequence: u64| {
            store(feeds, LayerIndex(0), sequence, &[1, 2], now);
            viewer.forward(feeds, &mut Nothing, &mut batch, now);
            feeds.clear_fresh();
            batch.datagrams.len()
        };
        viewer.reconcile(&[source_on(3)], &feeds, now);
        for sequence in 1..=10 {
            assert_eq!(hear(&mut viewer, &mut feeds, sequence), sequence as usize);
        }
        // the guest moves away and back
        viewer.reconcile(&[source_on(4)], &feeds, now);
        feeds.remove(SOURCE);
        viewer.reconcile(&[source_on(3)], &feeds, now);
        for sequence in 11..=20 {
            assert_eq!(hear(&mut viewer, &mut feeds, sequence), sequence as usize);
        }
    }

    #[test]
    fn a_listener_never_gets_a_packet_with_their_voice_and_numbers_run_on() {
        let now = Instant::now();
        let view = View::Program {
            leave_out: Some("bob".into()),
        };
        let (mut feeds, mut batch) = (Feeds::default(), Batch::default());
        let mut viewer = Viewer::new(listener(), view, 1, now);
        viewer.set_open(true, now);
        let program = source(SourceKind::Program, 0, "");
        let bob = SourceInfo {
            id: SourceId(8),
            ..source(SourceKind::Camera, 3, "bob")
        };
        viewer.reconcile(&[bob, program.clone()], &feeds, now);
        let mut sequence = 0;
        // by time: where the voice is, what there is without somebody, and what is to be heard
        let without = |seat| LayerIndex::without(SeatIndex(seat));
        let times: [(Voice, &[u8], Option<u8>); 9] = [
            (Voice::Nowhere, &[4], Some(99)),
            (Voice::Everywhere, &[4], None),
            (Voice::Apart(without(3)), &[1, 3], Some(3)),
            // who says nothing hears what all hear
            (Voice::Apart(without(3)), &[1], Some(99)),
            (Voice::Apart(without(1)), &[1, 3], Some(1)),
            // somebody else is without their voice, and so not without this one
            (Voice::Everywhere, &[1, 3], None),
            (Voice::Apart(without(3)), &[3], Some(3)),
            (Voice::Everywhere, &[], None),
            (Voice::Nowhere, &[1], Some(99)),
        ];
        let mut expected: Vec<(u16, u32, u8)> = vec![];
        for (voice, without, heard) in times {
            let update = FeedUpdate::Voice {
                source: SourceId(8),
                from: sequence + 1,
                voice,
            };
            feeds.insert(SOURCE, DESCRIPTION).update(update);
            // the last three are served in one turn
            for part in 0..5 {
                sequence += 1;
                for seat in without {
                    let layer = LayerIndex::without(SeatIndex(*seat));
                    store(&mut feeds, layer, sequence, &[*seat], now);
                }
                store(&mut feeds, LayerIndex(0), sequence, &[99], now);
                if part < 2 {
                    viewer.forward(&feeds, &mut Nothing, &mut batch, now);
                    feeds.clear_fresh();
                }
                let number = expected
                    .first()
                    .map_or(sequence as u16, |(first, ..)| first + expected.len() as u16);
                expected.extend(heard.map(|heard| (number, sequence as u32 * 960, heard)));
            }
        }
        viewer.forward(&feeds, &mut Nothing, &mut batch, now);
        let sent: Vec<(u16, u32, u8)> = batch
            .iter()
            .map(|(bytes, _)| {
                let number = u16::from_be_bytes([bytes[2], bytes[3]]);
                let timestamp = u32::from_be_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
                (number, timestamp, bytes[bytes.len() - 1])
            })
            .collect();
        assert_eq!(sent, expected);
        // what is lost is sent again as it was, wherever the voice is by now
        viewer.reconcile(&[program], &feeds, now);
        let mut again = Batch::default();
        let stream = viewer.lanes[0].audio.as_mut().expect("sound");
        let mut seal = Nothing;
        let mut sink = viewer.line.sink(&mut seal, &mut again, now);
        for (lost, ..) in &sent[10..] {
            stream.retransmit(*lost, &feeds, &mut Place::default(), Duration::ZERO, &mut sink);
        }
        let ends: Vec<u8> = again.iter().map(|(bytes, _)| bytes[bytes.len() - 1]).collect();
        let heard: Vec<u8> = sent[10..].iter().map(|(.., heard)| *heard).collect();
        assert_eq!(ends, heard);
    }

    #[test]
    fn where_there_is_no_program_a_host_who_is_left_out_hears_nothing() {
        let now = Instant::now();
        let (mut feeds, mut batch) = (Feeds::default(), Batch::default());
        let view = |user: &str| View::Program {
            leave_out: Some(user.into()),
        };
        let host = source(SourceKind::Camera, 0, "host");
        for (user, packets) in [("host", 0), ("bob", 5)] {
            let mut viewer = Viewer::new(listener(), view(user), 1, now);
            viewer.set_open(true, now);
            viewer.reconcile(std::slice::from_ref(&host), &feeds, now);
            for sequence in 1..=5 {
                store(&mut feeds, LayerIndex(0), sequence, &[1, 2], now);
                viewer.forward(&feeds, &mut Nothing, &mut batch, now);
                feeds.clear_fresh();
            }
            assert_eq!(batch.iter().count(), packets, "{user}");
            feeds.remove(SOURCE);
        }
    }

    #[test]
    fn send_times_are_24_bits_that_wrap() {
        let epoch = Instant::now();
        let mut line = Line {
            transport_sequence: 0,
            epoch,
            round_trip: Duration::ZERO,
            estimate_bps: None,
        };
        let (mut seal, mut batch) = (Nothing, Batch::default());
        let mut at = |ms| {
            line.sink(&mut seal, &mut batch, epoch + Duration::from_millis(ms))
                .abs_send_time
        };
        assert_eq!(
            [at(0), at(1500), at(63_750), at(64_250)],
            [0, 0x06_0000, 0xff_0000, 0x01_0000]
        );
    }
}
