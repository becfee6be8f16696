//! Those who listen without their own voice, from everybody's packets to what each is sent, in one virtual time.

use super::*;
use crate::forward::{Batch, Feeds, Seal, SourceKind, View, Viewer};
use crate::mix::codec::opus::FRAME_PAIRS;
use crate::rtp::ExtensionMap;
use crate::rtp::parameters::{Feedback, SendCodec, SendParameters, SendSlot, SendTrack};
use std::f32::consts::TAU;

const THIRD: SourceId = SourceId(3);
const PROGRAM: SourceId = SourceId(9);
/// Of an RTP packet without extensions.
const HEADER: usize = 12;
/// A fiftieth of how loud a voice is.
const SILENT: f32 = 0.004;

fn hz(source: SourceId) -> f32 {
    [0.0, 400.0, 700.0, 1_100.0][source.0 as usize]
}

/// A second of a voice, over and over.
fn voice(source: SourceId) -> Vec<Bytes> {
    let mut encoder = OpusEncoder::new(64_000).expect("an encoder");
    let sample = |at: usize| 0.2 * (TAU * hz(source) * at as f32 / 48_000.0).sin();
    let packet = |packet: usize| {
        let samples = (packet * FRAME_PAIRS..).take(FRAME_PAIRS);
        let samples: Vec<f32> = samples.flat_map(|at| [sample(at); 2]).collect();
        Bytes::copy_from_slice(encoder.encode(&samples))
    };
    (0..50).map(packet).collect()
}

/// The amplitude of a frequency (Goertzel), through a Hann window: a block of sound tells voices 300 Hz apart.
fn level(samples: &[f32], hz: f32) -> f32 {
    let (mut real, mut imaginary) = (0.0, 0.0);
    let length = samples.len() as f32;
    for (sample, at) in samples.iter().zip(0u16..) {
        let at = f32::from(at);
        let (window, angle) = (0.5 - 0.5 * (TAU * (at + 0.5) / length).cos(), TAU * hz / 48_000.0 * at);
        real += sample * window * angle.cos();
        imaginary += sample * window * angle.sin();
    }
    4.0 * f32::hypot(real, imaginary) / length
}

struct Plain;

impl Seal for Plain {
    fn seal_rtp(&mut self, _: &mut Vec<u8>, _: usize, _: usize, _: u32, _: u64) {}
    fn seal_rtcp(&mut self, _: &mut Vec<u8>, _: usize) {}
}

/// Somebody who watches, on a worker of their own.
pub(super) struct Listener {
    feeds: Feeds,
    viewer: Viewer,
    batch: Batch,
}

impl Listener {
    fn new(user: &str, now: Instant) -> Self {
        let codec = SendCodec {
            codec: Codec::Opus,
            payload_type: 111,
            rtx_payload_type: None,
        };
        let audio = SendTrack {
            kind: MediaKind::Audio,
            mid: "0".into(),
            codecs: vec![codec],
            extensions: ExtensionMap::default(),
            feedback: Feedback::default(),
            ssrc: 1,
            rtx_ssrc: 2,
        };
        let slot = SendSlot {
            audio: Some(audio),
            video: None,
        };
        let parameters = SendParameters {
            slots: vec![slot],
            cname: "room".into(),
        };
        let leave_out = Some(user.into());
        let mut viewer = Viewer::new(parameters, View::Program { leave_out }, 1, now);
        viewer.set_open(true, now);
        let mut feeds = Feeds::default();
        feeds.insert(PROGRAM, DESCRIPTION);
        Listener {
            feeds,
            viewer,
            batch: Batch::default(),
        }
    }

    /// The room's sources are these.
    fn told(&mut self, sources: &[SourceInfo], now: Instant) {
        let program = SourceInfo {
            id: PROGRAM,
            kind: SourceKind::Program,
            user: "".into(),
            ..source(PROGRAM, 0)
        };
        let all: Vec<SourceInfo> = sources.iter().cloned().chain([program]).collect();
        self.viewer.reconcile(&all, &self.feeds, now);
    }

    pub(super) fn update(&mut self, update: FeedUpdate) {
        self.feeds.insert(PROGRAM, DESCRIPTION).update(update);
    }

    pub(super) fn store(&mut self, kind: MediaKind, layer: LayerIndex, packet: PacketView) {
        self.feeds.insert(PROGRAM, DESCRIPTION).store(kind, layer, packet);
        if kind == MediaKind::Audio && layer == LayerIndex(0) {
            let now = packet.meta.arrival;
            self.viewer.forward(&self.feeds, &mut Plain, &mut self.batch, now);
            self.feeds.clear_fresh();
        }
    }

    /// Decodes every packet so far, in whose numbers and times there was nothing wrong. No block of it held this voice.
    /// What was heard last of the others.
    #[track_caller]
    fn assert_never_heard(&self, own: SourceId) -> Vec<SourceId> {
        let mut decoder = OpusDecoder::new().expect("a decoder");
        let mut pcm = [0.0; 2 * PACKET_PAIRS_MAX];
        let mut before: Option<(u16, u32)> = None;
        let mut sound: Vec<f32> = vec![];
        for (bytes, _) in self.batch.iter() {
            let number = u16::from_be_bytes([bytes[2], bytes[3]]);
            let timestamp = u32::from_be_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
            if let Some((last, at)) = before.replace((number, timestamp)) {
                assert_eq!(number, last.wrapping_add(1));
                let step = timestamp.wrapping_sub(at);
                assert!(step >= 960 && step % 960 == 0, "{step}");
            }
            let pairs = decoder.decode(&bytes[HEADER..], &mut pcm).expect("Opus");
            sound.extend(pcm[..2 * pairs].iter().step_by(2));
            let latest = &sound[sound.len().saturating_sub(FRAME_PAIRS)..];
            // where others begin or end there is something of every frequency
            let [below, heard, above] = [-150.0, 0.0, 150.0].map(|off| level(latest, hz(own) + off));
            let silent = SILENT.max(2.0 * below).max(2.0 * above);
            assert!(heard < silent, "{below} {heard} {above} in packet {number}");
        }
        let Some(latest) = sound.len().checked_sub(5 * FRAME_PAIRS) else {
            return vec![];
        };
        let all = [HOST, GUEST, THIRD].into_iter();
        all.filter(|of| level(&sound[latest..], hz(*of)) > 0.1).collect()
    }
}

/// A program in mode `auto`, of voices that are never silent, and one listener.
struct Room {
    stage: Stage,
    /// Who listens, once they do.
    own: SourceId,
}

impl Room {
    fn new(sources: &[SourceInfo], own: SourceId) -> Self {
        let mut room = Room {
            stage: Stage::new(auto(sources)),
            own,
        };
        for source in sources {
            room.publish(source.id);
        }
        room.stage.run(Duration::from_secs(2));
        room
    }

    fn publish(&mut self, id: SourceId) {
        self.stage.publish(id);
        if let Some((publisher, _)) = self.stage.publishers.last_mut() {
            publisher.voice = voice(id);
        }
    }

    fn begin_to_listen(&mut self) {
        let user = source(self.own, self.own.0 as u8 - 1).user;
        let mut listener = Listener::new(&user, self.stage.now);
        // as a worker that subscribes
        let said = self.stage.taken.updates.iter();
        said.for_each(|update| listener.update(*update));
        self.stage.taken.listener = Some(listener);
    }

    /// The program is told of who is there, then the listener's worker, so many milliseconds later; or before, if that is
    /// less than none.
    fn plan(&mut self, sources: &[SourceInfo], later_ms: i64) {
        let user = source(self.own, self.own.0 as u8 - 1).user;
        let mut wanted = auto(sources);
        if self.stage.taken.listener.is_some() {
            let theirs = sources.iter().find(|source| source.user == user);
            wanted.listeners = theirs.map(|source| source.seat).into_iter().collect();
        }
        let apart = Duration::from_millis(later_ms.unsigned_abs());
        if later_ms < 0 {
            self.tell(sources);
            self.stage.run(apart);
        }
        self.stage.core.handle_plan(wanted, self.stage.now);
        if later_ms >= 0 {
            self.stage.run(apart);
            self.tell(sources);
        }
    }

    fn tell(&mut self, sources: &[SourceInfo]) {
        if let Some(listener) = &mut self.stage.taken.listener {
            listener.told(sources, self.stage.now);
        }
    }

    #[track_caller]
    fn assert_heard(&mut self, others: &[SourceId]) {
        self.stage.run(Duration::from_millis(500));
        let listener = self.stage.taken.listener.as_ref().expect("somebody listens");
        assert_eq!(listener.assert_never_heard(self.own), others);
    }
}

fn at_seat(id: SourceId, seat: u8) -> SourceInfo {
    SourceInfo {
        seat: SeatIndex(seat),
        ..source(id, id.0 as u8 - 1)
    }
}

/// At any moment of a block, and however much sooner or later the program knows than the listener's worker.
const MOMENTS: [(u64, i64); 4] = [(0, 0), (7, 25), (13, -25), (19, 3)];

#[test]
fn a_host_who_begins_to_listen_alone_hears_silence_and_then_the_others() {
    for (moment, later_ms) in MOMENTS {
        let (host, guest) = (source(HOST, 0), source(GUEST, 1));
        let alone = std::slice::from_ref(&host);
        let mut room = Room::new(alone, HOST);
        assert_eq!(room.stage.core.status(room.stage.now).making, Making::Passthrough);
        room.stage.run(Duration::from_millis(moment));
        // the worker knows the room already
        room.begin_to_listen();
        room.tell(alone);
        room.plan(alone, later_ms);
        room.assert_heard(&[]);
        assert!(matches!(
            room.stage.core.status(room.stage.now).making,
            Making::Mixed(Some(Obstacle::Composing))
        ));
        room.plan(&[host.clone(), guest.clone()], later_ms);
        room.publish(GUEST);
        room.assert_heard(&[GUEST]);
        room.stage.assert_seamless();
    }
}

#[test]
fn a_host_who_is_the_program_again_is_not_sent_to_themself() {
    let (host, guest) = (source(HOST, 0), source(GUEST, 1));
    let alone = std::slice::from_ref(&host);
    let mut room = Room::new(&[host.clone(), guest], HOST);
    room.plan(alone, 0);
    room.stage.publishers.pop();
    room.stage.run(Duration::from_secs(13));
    assert_eq!(room.stage.core.status(room.stage.now).making, Making::Passthrough);
    room.begin_to_listen();
    room.tell(alone);
    // the program has not heard of them
    room.stage.run(Duration::from_millis(200));
    room.plan(alone, 0);
    room.assert_heard(&[]);
    room.stage.assert_seamless();
}

#[test]
fn a_guest_never_hears_themself_whatever_becomes_of_their_seat() {
    for (moment, later_ms) in MOMENTS {
        let everybody = |guest: u8, third: u8| [source(HOST, 0), at_seat(GUEST, guest), at_seat(THIRD, third)];
        let mut room = Room::new(&everybody(1, 2), GUEST);
        room.stage.run(Duration::from_millis(moment));
        room.begin_to_listen();
        room.tell(&everybody(1, 2));
        // until the program has heard of them
        room.stage.run(Duration::from_millis(60));
        room.plan(&everybody(1, 2), 0);
        room.assert_heard(&[HOST, THIRD]);
        // to a free seat, and in the place of somebody else
        room.plan(&everybody(3, 2), later_ms);
        room.assert_heard(&[HOST, THIRD]);
        room.plan(&everybody(2, 3), later_ms);
        room.assert_heard(&[HOST, THIRD]);
        // who has lost the seat hears the rest, and once more on one
        let [host, guest, third] = everybody(2, 3);
        room.plan(&[host.clone(), third.clone()], later_ms);
        room.assert_heard(&[HOST, THIRD]);
        room.plan(&[host, guest, third], later_ms.min(0));
        room.assert_heard(&[HOST, THIRD]);
    }
}
