//! A program in virtual time, from packets to packets, with the real codecs on a small canvas.

mod absence;
mod left_out;
mod overload;
mod seats;
mod sei;

use super::core::Core;
use super::*;
use crate::demo::Clip;
use crate::forward::{Permission, SeatIndex, SourceInfo};
use crate::mix::codec::h264::{H264Decoder, H264Encoder};
use crate::mix::codec::opus::{OpusDecoder, OpusEncoder, PACKET_PAIRS_MAX};
use crate::mix::codec::{AudioDecoder, AudioEncoder, VideoDecoder, VideoEncoder, VideoSettings};
use crate::mix::layout::{Layout, Present};
use crate::mix::picture::{PictureView, Size};
use crate::room::{ProgramMode, ProgramSettings};
use crate::rtp::h264::Packetizer;
use crate::rtp::{FrameAssembler, Meta, NtpClock};
use bytes::Bytes;
use std::collections::BTreeSet;
use std::time::Duration;

const HOST: SourceId = SourceId(1);
const GUEST: SourceId = SourceId(2);
/// How long the sketches of a second last.
const FRAME: Duration = Duration::from_nanos(33_333_333);
const RETURN_AFTER: Duration = Duration::from_secs(10);
const BLOCK: Duration = Duration::from_millis(20);

fn clip() -> Clip {
    let video = include_bytes!("../../tests/fixtures/media/talk-180p30.h264");
    let voice = include_bytes!("../../tests/fixtures/media/speech-0.opus");
    Clip::new(Bytes::from_static(video), 30, Bytes::from_static(voice)).expect("a clip")
}

/// A camera that looks at a wall: the clip's first picture for ten seconds, after a keyframe.
fn still() -> Clip {
    let mut decoder = H264Decoder::new();
    let picture = decoder.decode(&clip().frames()[0].data).expect("a sound bitstream");
    repeated(picture.expect("a picture"))
}

/// One picture for ten seconds, after a keyframe.
fn repeated(picture: PictureView) -> Clip {
    let settings = VideoSettings {
        size: picture.size,
        fps: 30,
        bitrate_bps: 300_000,
        gop: u32::MAX,
    };
    let mut encoder = H264Encoder::new(settings).expect("an encoder");
    let mut video = vec![];
    for number in 0..300 {
        if let Some(encoded) = encoder.encode(picture, number == 0) {
            video.extend_from_slice(encoded.bytes);
        }
    }
    let voice = include_bytes!("../../tests/fixtures/media/speech-0.opus");
    Clip::new(Bytes::from(video), 30, Bytes::from_static(voice)).expect("a clip")
}

fn source(id: SourceId, seat: u8) -> SourceInfo {
    SourceInfo {
        user: Arc::from(format!("user-{seat}")),
        ..SourceInfo::camera(id, SeatIndex(seat))
    }
}

fn plan(sources: &[SourceInfo]) -> Plan {
    let settings = ProgramSettings {
        mode: ProgramMode::Mixed,
        ..ProgramSettings::default()
    };
    Plan {
        settings,
        layout: Layout::default(),
        sources: sources.into(),
        size: Size::even(320, 180).expect("a size"),
        present: sources
            .iter()
            .map(|source| Present {
                seat: source.seat,
                source: source.kind,
            })
            .collect(),
        people: sources
            .iter()
            .map(|source| Seated {
                seat: source.seat,
                name: source.user.clone(),
                user: source.user.clone(),
                audio_muted: false,
                video_muted: false,
            })
            .collect(),
        listeners: vec![],
        needs_keyframes: false,
    }
}

/// What the program gave out.
#[derive(Default)]
struct Taken {
    video: Vec<(Meta, Vec<u8>)>,
    /// Of the whole mix.
    audio: Vec<(Meta, Vec<u8>)>,
    /// What stands in its place, by layer.
    instead: Vec<(LayerIndex, Meta, Vec<u8>)>,
    updates: Vec<FeedUpdate>,
    keyframes_asked: Vec<SourceId>,
    /// Gets all of it, too.
    listener: Option<left_out::Listener>,
}

impl Sink for Taken {
    fn publish(&mut self, kind: MediaKind, layer: LayerIndex, packet: PacketView) {
        if let Some(listener) = &mut self.listener {
            listener.store(kind, layer, packet);
        }
        if layer != LayerIndex(0) {
            assert_eq!(kind, MediaKind::Audio);
            return self.instead.push((layer, packet.meta, packet.bytes.to_vec()));
        }
        let taken = match kind {
            MediaKind::Audio => &mut self.audio,
            MediaKind::Video => &mut self.video,
        };
        taken.push((packet.meta, packet.bytes.to_vec()));
    }

    fn update(&mut self, update: FeedUpdate) {
        self.updates.push(update);
        if let Some(listener) = &mut self.listener {
            listener.update(update);
        }
    }

    fn request_keyframe(&mut self, source: SourceId, _: LayerIndex) {
        self.keyframes_asked.push(source);
    }

    fn want_layers(&mut self, _: SourceId, _: &[LayerIndex]) {}
}

/// One source's media, packet by packet.
pub(super) struct Publisher {
    id: SourceId,
    /// Payloads of its video.
    sent: BTreeSet<Vec<u8>>,
    clip: Clip,
    /// Packets of sound, over and over.
    voice: Vec<Bytes>,
    pictures: usize,
    blocks: usize,
    sequence: u64,
}

impl Publisher {
    pub(super) fn new(id: SourceId) -> Self {
        Publisher {
            id,
            sent: BTreeSet::new(),
            voice: clip().packets().to_vec(),
            clip: clip(),
            pictures: 0,
            blocks: 0,
            sequence: 100,
        }
    }

    /// With a keyframe every ten seconds.
    pub(super) fn at_a_wall(id: SourceId) -> Self {
        Publisher {
            clip: still(),
            ..Publisher::new(id)
        }
    }

    /// The next picture, which comes at once.
    pub(super) fn picture(&mut self, arrival: Instant, mut each: impl FnMut(PacketView)) {
        let frames = self.clip.frames();
        let frame = &frames[self.pictures % frames.len()];
        let timestamp = (self.pictures * 3000) as u32;
        let mut starts_keyframe = frame.keyframe;
        let (sequence, sent) = (&mut self.sequence, &mut self.sent);
        Packetizer::default().packetize(&frame.data, |payload, marker| {
            let meta = Meta {
                sequence: *sequence,
                timestamp,
                marker,
                starts_keyframe: std::mem::take(&mut starts_keyframe),
                codec: Codec::H264,
                arrival,
                extensions_len: 0,
            };
            *sequence += 1;
            sent.insert(payload.to_vec());
            each(PacketView { meta, bytes: payload });
        });
        self.pictures += 1;
    }

    /// Sends what is due since `start` at `now`.
    fn send(&mut self, core: &mut Core, start: Instant, now: Instant) {
        let (id, since) = (self.id, now - start);
        while FRAME * self.pictures as u32 <= since {
            self.picture(now, |packet| {
                core.handle_packet(id, (MediaKind::Video, LayerIndex(0)), packet, now);
            });
        }
        while BLOCK * self.blocks as u32 <= since {
            let meta = Meta {
                sequence: self.blocks as u64,
                timestamp: (self.blocks * 960) as u32,
                marker: false,
                starts_keyframe: true,
                codec: Codec::Opus,
                arrival: now,
                extensions_len: 0,
            };
            let bytes = &self.voice[self.blocks % self.voice.len()];
            let packet = PacketView { meta, bytes };
            core.handle_packet(id, (MediaKind::Audio, LayerIndex(0)), packet, now);
            self.blocks += 1;
        }
    }
}

/// A program and who is in it.
struct Stage {
    core: Core,
    metrics: ProgramMetrics,
    start: Instant,
    now: Instant,
    publishers: Vec<(Publisher, Instant)>,
    taken: Taken,
}

impl Stage {
    fn new(plan: Plan) -> Self {
        let start = Instant::now();
        let clock = NtpClock::new(start, 1 << 40);
        let metrics = ProgramMetrics::default();
        Stage {
            core: Core::new((clock, RETURN_AFTER), plan, metrics.clone(), start).expect("encoders"),
            metrics,
            start,
            now: start,
            publishers: vec![],
            taken: Taken::default(),
        }
    }

    fn publish(&mut self, id: SourceId) {
        self.publishers.push((Publisher::new(id), self.now));
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now += Duration::from_millis(1);
            for (publisher, since) in &mut self.publishers {
                publisher.send(&mut self.core, *since, self.now);
            }
            self.core.handle_timeout(self.now, &mut self.taken).expect("an encoder");
        }
    }

    /// How many packets of the picture are this publisher's own, and how many are not.
    fn shares(&self, publisher: usize, from: usize) -> (usize, usize) {
        let sent = &self.publishers[publisher].0.sent;
        let taken = &self.taken.video[from..];
        let own = taken.iter().filter(|(_, bytes)| sent.contains(bytes)).count();
        (own, taken.len() - own)
    }

    /// Numbers run on, sound has neither gap nor overlap, pictures are at most two frames apart, and all of them decode.
    fn assert_seamless(&self) {
        for taken in [&self.taken.video, &self.taken.audio] {
            let numbers: Vec<u64> = taken.iter().map(|(meta, _)| meta.sequence).collect();
            assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "{numbers:?}");
        }
        let steps = |taken: &[(Meta, Vec<u8>)]| {
            let mut times: Vec<u32> = taken.iter().map(|(meta, _)| meta.timestamp).collect();
            times.dedup();
            let steps = times.windows(2).map(|pair| pair[1].wrapping_sub(pair[0]));
            steps.collect::<Vec<u32>>()
        };
        let sound = steps(&self.taken.audio);
        assert!(sound.iter().all(|step| *step == 960), "{sound:?}");
        let pictures = steps(&self.taken.video);
        assert!(pictures.iter().all(|step| (1..=6_010).contains(step)), "{pictures:?}");
        assert_eq!(self.pictures().len(), pictures.len() + 1, "all decode");
    }

    /// Decodes all the sound so far; the left channel.
    fn sound(&self) -> Vec<f32> {
        let mut decoder = OpusDecoder::new().expect("a decoder");
        let mut pcm = [0.0; 2 * PACKET_PAIRS_MAX];
        let mut sound = vec![];
        for (_, bytes) in &self.taken.audio {
            let pairs = decoder.decode(bytes, &mut pcm).expect("Opus");
            sound.extend(pcm[..2 * pairs].iter().step_by(2));
        }
        sound
    }

    /// Decodes all pictures so far and hands each one's mean luma of the left and of the right half to `each`.
    fn pictures(&self) -> Vec<(f64, f64)> {
        let mut frames = FrameAssembler::new(Codec::H264);
        let mut decoder = H264Decoder::new();
        let mut pictures = vec![];
        for (meta, bytes) in &self.taken.video {
            frames.handle(&PacketView { meta: *meta, bytes });
            while let Some(frame) = frames.poll_frame(self.now, Duration::from_secs(1)) {
                let picture = decoder
                    .decode(frame.bytes)
                    .expect("a sound bitstream")
                    .expect("a picture");
                let (width, height) = (picture.size.width(), picture.size.height());
                assert_eq!((width, height), (320, 180));
                let mean = |from: usize, to: usize| {
                    let rows = (40..height - 40).flat_map(|y| &picture.y[y * picture.y_stride..][from..to]);
                    let (sum, count) =
                        rows.fold((0u64, 0u64), |(sum, count), luma| (sum + u64::from(*luma), count + 1));
                    sum as f64 / count as f64
                };
                pictures.push((mean(20, width / 2 - 20), mean(width / 2 + 20, width - 20)));
            }
        }
        pictures
    }
}

/// As [`plan`], in mode `auto`.
fn auto(sources: &[SourceInfo]) -> Plan {
    let mut plan = plan(sources);
    plan.settings.mode = ProgramMode::Auto;
    plan
}

#[test]
fn the_host_alone_is_passed_through_as_it_is() {
    let mut stage = Stage::new(auto(&[source(HOST, 0)]));
    stage.publish(HOST);
    stage.run(Duration::from_secs(3));
    assert_eq!(stage.core.status(stage.now).making, Making::Passthrough);
    assert!(stage.core.status(stage.now).drawn.contains(&HOST));
    let (own, others) = stage.shares(0, 0);
    assert!(own > 90 && others == 0, "{own} {others}");
    assert_eq!(stage.pictures().len(), 91);
    stage.assert_seamless();
}

#[test]
fn a_guest_comes_and_goes_without_a_seam() {
    let (alone, both) = (auto(&[source(HOST, 0)]), auto(&[source(HOST, 0), source(GUEST, 1)]));
    let mut stage = Stage::new(alone.clone());
    stage.publish(HOST);
    stage.run(Duration::from_secs(3));
    stage.core.handle_plan(both, stage.now);
    stage.publish(GUEST);
    let (pictures, before) = (stage.pictures().len(), stage.taken.video.len());
    stage.run(Duration::from_millis(250));
    assert!(matches!(
        stage.core.status(stage.now).making,
        Making::Mixed(Some(Obstacle::Composing))
    ));
    assert!(stage.shares(0, before).1 > 0);
    let together = stage.pictures().last().copied().expect("pictures");
    assert!(
        (together.0 - together.1).abs() < 12.0,
        "the same clip twice: {together:?}"
    );
    assert!(stage.pictures().len() - pictures >= 4, "no pause of more than 120 ms");

    stage.core.handle_gone(GUEST);
    stage.core.handle_plan(alone, stage.now);
    stage.publishers.pop();
    stage.run(Duration::from_secs(9));
    let before = stage.taken.video.len();
    let clip = FRAME * clip().frames().len() as u32;
    stage.run(Duration::from_secs(2) + clip);
    assert_eq!(stage.core.status(stage.now).making, Making::Passthrough);
    assert!(stage.taken.keyframes_asked.contains(&HOST));
    let (own, mixed) = stage.shares(0, before);
    assert!(own > 0 && mixed > 0, "{own} {mixed}");
    stage.assert_seamless();
}

#[test]
fn a_host_who_falls_silent_is_mixed_within_a_second_and_muted_ones_at_once() {
    let mut stage = Stage::new(auto(&[source(HOST, 0)]));
    stage.publish(HOST);
    stage.run(Duration::from_secs(1));
    let publisher = stage.publishers.remove(0);
    let blocks = stage.taken.audio.len();
    stage.run(Duration::from_secs(1));
    let status = stage.core.status(stage.now).making;
    assert!(matches!(status, Making::Mixed(Some(Obstacle::Silent))), "{status:?}");
    let sound = stage.taken.audio.len() - blocks;
    assert!(sound >= 20, "silence goes on: {sound}");

    let mut stage = Stage::new(auto(&[source(HOST, 0)]));
    stage.publishers.push((Publisher::new(HOST), stage.now));
    drop(publisher);
    stage.run(Duration::from_secs(1));
    stage.publishers.clear();
    let kind = MediaKind::Video;
    let muted = FeedUpdate::Interrupted { kind };
    stage.core.handle_update(HOST, muted, stage.now);
    stage.run(Duration::from_millis(2));
    let status = stage.core.status(stage.now).making;
    assert!(matches!(status, Making::Mixed(Some(Obstacle::Hidden))), "{status:?}");
    stage.run(Duration::from_millis(500));
    stage.assert_seamless();
}

#[test]
fn the_picture_goes_on_while_the_mixer_gets_ready_for_a_muted_microphone() {
    let mut stage = Stage::new(auto(&[source(HOST, 0)]));
    stage.publishers.push((Publisher::at_a_wall(HOST), stage.now));
    stage.run(Duration::from_secs(8));
    let kind = MediaKind::Audio;
    stage
        .core
        .handle_update(HOST, FeedUpdate::Interrupted { kind }, stage.now);
    // far in the future
    stage.publishers[0].0.blocks = 100_000;
    stage.run(Duration::from_millis(10));
    assert_eq!(stage.core.status(stage.now).making, Making::Passthrough);
    stage.run(Duration::from_secs(1));
    let status = stage.core.status(stage.now).making;
    assert!(matches!(status, Making::Mixed(Some(Obstacle::Muted))), "{status:?}");
    let sent = &stage.publishers[0].0.sent;
    let video = &stage.taken.video;
    let mixed = video
        .iter()
        .position(|(_, bytes)| !sent.contains(bytes))
        .expect("mixed");
    let pause = video[mixed].0.timestamp.wrapping_sub(video[mixed - 1].0.timestamp);
    assert!(pause <= 6_010, "{pause}");
}

#[test]
fn a_host_whose_keyframes_are_rare_is_mixed_for_those_who_need_them() {
    let host = source(HOST, 0);
    let needed = Plan {
        needs_keyframes: true,
        ..auto(std::slice::from_ref(&host))
    };
    let mut stage = Stage::new(needed);
    stage.publish(HOST);
    // one in ten seconds, and none when it is asked for one
    stage.publishers[0].0.clip = still();
    stage.run(Duration::from_millis(3_900));
    assert_eq!(stage.core.status(stage.now).making, Making::Passthrough);
    assert!(stage.taken.keyframes_asked.contains(&HOST), "every `gop_ms`");
    stage.run(Duration::from_millis(400));
    let status = stage.core.status(stage.now).making;
    assert!(
        matches!(status, Making::Mixed(Some(Obstacle::KeyframesApart))),
        "{status:?}"
    );
    stage.assert_seamless();

    let mut stage = Stage::new(auto(&[host]));
    stage.publish(HOST);
    stage.publishers[0].0.clip = still();
    stage.run(Duration::from_millis(4_300));
    assert_eq!(
        stage.core.status(stage.now).making,
        Making::Passthrough,
        "viewers begin with what is kept"
    );
}

#[test]
fn a_picture_every_frame_and_sound_every_block() {
    let mut stage = Stage::new(plan(&[source(HOST, 0)]));
    stage.publish(HOST);
    stage.run(Duration::from_secs(2));

    let numbers: Vec<u64> = stage.taken.video.iter().map(|(meta, _)| meta.sequence).collect();
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1));
    let mut times: Vec<u32> = stage.taken.video.iter().map(|(meta, _)| meta.timestamp).collect();
    times.dedup();
    // the first picture is shown at once, the second one when it is due: after the jitter buffer's delay
    let steps: Vec<u32> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!((3000..=9001).contains(&steps[0]), "{steps:?}");
    assert!(steps[1..].iter().all(|step| (2999..=3001).contains(step)), "{steps:?}");
    assert!(times.len() >= 57, "{}", times.len());
    assert!(stage.taken.video[0].0.starts_keyframe);

    let sound: Vec<(u64, u32)> = stage
        .taken
        .audio
        .iter()
        .map(|(meta, _)| (meta.sequence, meta.timestamp))
        .collect();
    assert!(
        sound
            .windows(2)
            .all(|pair| pair[1].0 == pair[0].0 + 1 && pair[1].1 == pair[0].1 + 960)
    );
    assert!(sound.len() >= 98, "{}", sound.len());
    let clocks = stage.taken.updates.iter();
    assert_eq!(
        clocks
            .filter(|update| matches!(update, FeedUpdate::Clock { .. }))
            .count(),
        2,
        "one a track"
    );
    assert_eq!(stage.pictures().len(), times.len(), "all decode");
}

#[test]
fn who_listens_without_their_own_voice_gets_packets_in_the_place_of_the_whole_mix() {
    let mut wanted = plan(&[source(HOST, 0), source(GUEST, 1)]);
    wanted.listeners = vec![SeatIndex(1), SeatIndex(2)];
    let mut stage = Stage::new(wanted.clone());
    stage.publish(HOST);
    stage.run(Duration::from_secs(1));
    assert_eq!(stage.taken.instead.len(), 0, "nobody who listens is heard");
    stage.publish(GUEST);
    stage.run(Duration::from_secs(1));
    let instead = &stage.taken.instead;
    assert!(instead.len() > 30, "{}", instead.len());
    let mut whole = stage.taken.audio.iter();
    for (layer, meta, packet) in instead {
        assert_eq!(*layer, LayerIndex(2), "seat 2 says nothing");
        let (of_all, other) = whole
            .find(|(of_all, _)| of_all.sequence == meta.sequence)
            .expect("of each");
        assert_eq!(meta.timestamp, of_all.timestamp);
        assert!(packet != other && meta.starts_keyframe && !of_all.starts_keyframe);
    }
    let numbers = stage.taken.audio.windows(2);
    assert!(
        numbers
            .into_iter()
            .all(|pair| pair[1].0.sequence == pair[0].0.sequence + 1)
    );

    wanted.listeners.clear();
    stage.core.handle_plan(wanted, stage.now);
    let count = stage.taken.instead.len();
    stage.run(Duration::from_secs(1));
    assert!(stage.taken.instead.len() <= count + 1, "nobody listens");
    assert!(stage.taken.audio.last().is_some_and(|(meta, _)| meta.starts_keyframe));
}

#[test]
fn where_nothing_moves_hardly_anything_is_encoded() {
    let mut stage = Stage::new(plan(&[source(HOST, 0)]));
    stage.publish(HOST);
    stage.publishers[0].0.clip = still();
    stage.run(Duration::from_secs(3));
    let before = stage.pictures().len();
    stage.run(Duration::from_secs(4));
    let pictures = stage.pictures().len() - before;
    // twice a second, and a keyframe every two seconds
    assert!((8..=12).contains(&pictures), "{pictures}");
}

#[test]
fn a_guest_has_a_tile_as_soon_as_their_picture_is_here_and_none_when_they_are_gone() {
    let host_only = plan(&[source(HOST, 0)]);
    let both = plan(&[source(HOST, 0), source(GUEST, 1)]);
    let mut stage = Stage::new(host_only.clone());
    stage.publish(HOST);
    stage.run(Duration::from_secs(1));
    let alone = stage.pictures().last().copied().expect("pictures");

    stage.core.handle_plan(both, stage.now);
    stage.run(Duration::from_millis(100));
    let waiting = stage.pictures().last().copied().expect("pictures");
    assert!(
        (waiting.1 - alone.1).abs() > 5.0,
        "a placeholder on the right: {waiting:?} {alone:?}"
    );

    stage.publish(GUEST);
    stage.run(Duration::from_millis(100));
    let together = stage.pictures().last().copied().expect("pictures");
    assert!(
        (together.0 - together.1).abs() < 12.0,
        "the same clip twice: {together:?}"
    );

    stage.core.handle_gone(GUEST);
    stage.core.handle_plan(host_only, stage.now);
    let before = stage.pictures().len();
    stage.run(FRAME + Duration::from_millis(2));
    let after = stage.pictures();
    assert!(after.len() > before, "the next picture");
    stage.publishers.pop();
    stage.run(Duration::from_millis(500));
    assert_eq!(
        stage
            .taken
            .video
            .iter()
            .filter(|(meta, _)| meta.starts_keyframe)
            .count(),
        1,
        "no keyframe for that"
    );
}

#[test]
fn muted_pictures_are_gone_with_the_next_frame_and_nothing_else_stops() {
    let mut stage = Stage::new(plan(&[source(HOST, 0)]));
    stage.publish(HOST);
    stage.run(Duration::from_secs(1));
    let shown = stage.pictures().last().copied().expect("pictures");
    let mut muted = source(HOST, 0);
    muted.permission = Permission {
        audio: false,
        video: false,
    };
    for kind in [MediaKind::Audio, MediaKind::Video] {
        stage
            .core
            .handle_update(HOST, FeedUpdate::Interrupted { kind }, stage.now);
    }
    stage.core.handle_plan(plan(&[muted]), stage.now);
    stage.publishers.clear();
    let (pictures, blocks) = (stage.pictures().len(), stage.taken.audio.len());
    stage.run(FRAME * 2);
    let dark = stage.pictures()[pictures];
    assert!((dark.0 - shown.0).abs() > 5.0, "{dark:?} {shown:?}");
    stage.run(Duration::from_secs(2));
    assert!(stage.taken.audio.len() >= blocks + 100, "silence is sound, too");
    let still = stage.pictures().len() - pictures;
    assert!(
        (4..12).contains(&still),
        "an unchanged canvas is encoded seldom: {still}"
    );
}

#[test]
fn who_leaves_fades_out() {
    let (host, guest) = (source(HOST, 0), source(GUEST, 1));
    // each of them ends a tone elsewhere in its wave
    for blocks in 50..54 {
        let mut stage = Stage::new(plan(&[host.clone(), guest.clone()]));
        let mut encoder = OpusEncoder::new(96_000).expect("an encoder");
        for block in 0..blocks {
            let sine = |pair: u32| 0.5 * (std::f32::consts::TAU * 310.0 / 48_000.0 * pair as f32).sin();
            let samples: Vec<f32> = (960 * block..960 * (block + 1))
                .flat_map(|pair| [sine(pair); 2])
                .collect();
            let meta = Meta {
                sequence: u64::from(block),
                timestamp: 960 * block,
                marker: false,
                starts_keyframe: true,
                codec: Codec::Opus,
                arrival: stage.now,
                extensions_len: 0,
            };
            let bytes = encoder.encode(&samples);
            let packet = PacketView { meta, bytes };
            let now = stage.now;
            stage
                .core
                .handle_packet(GUEST, (MediaKind::Audio, LayerIndex(0)), packet, now);
            stage.run(BLOCK);
        }
        stage.core.handle_plan(plan(std::slice::from_ref(&host)), stage.now);
        stage.run(Duration::from_millis(300));

        let sound = stage.sound();
        let peak = |samples: &[f32]| samples.iter().fold(0.0, |peak: f32, sample| peak.max(sample.abs()));
        let rest = sound.len() - 9_600;
        assert!(peak(&sound[rest - 9_600..rest]) > 0.4, "it was heard");
        assert!(peak(&sound[rest..]) < 0.001, "it is heard no more");
        let steps = sound[rest - 9_600..].windows(2).map(|pair| (pair[1] - pair[0]).abs());
        // the tone's own are 0.02
        let step = steps.fold(0.0, f32::max);
        assert!(step < 0.03, "a click of {step} behind {blocks} blocks");
    }
}

#[test]
fn one_channel_or_two_changes_with_the_next_block_and_nothing_begins_anew() {
    let mut wanted = plan(&[source(HOST, 0)]);
    wanted.settings.audio.channels = 1;
    let mut stage = Stage::new(wanted.clone());
    stage.publish(HOST);
    stage.run(Duration::from_secs(1));
    // how many channels a packet holds (RFC 6716 §3.1)
    let is_stereo = |(_, packet): &(Meta, Vec<u8>)| packet[0] & 4 != 0;
    let mono = stage.taken.audio.len();
    assert!(mono >= 48 && !stage.taken.audio.iter().any(is_stereo));

    wanted.settings.audio.channels = 2;
    stage.core.handle_plan(wanted, stage.now);
    stage.run(Duration::from_millis(900));
    let stereo = &stage.taken.audio[mono..];
    assert!(stereo.len() >= 44 && stereo.iter().all(is_stereo));
    let sound = &stage.taken.audio;
    assert!(sound.windows(2).all(|pair| {
        let ((before, _), (after, _)) = (&pair[0], &pair[1]);
        (after.sequence, after.timestamp) == (before.sequence + 1, before.timestamp + 960)
    }));
    let keyframes = stage.taken.video.iter().filter(|(meta, _)| meta.starts_keyframe);
    assert_eq!(keyframes.count(), 1);
}

#[test]
fn a_keyframe_that_is_asked_for_comes_at_once_but_not_often() {
    let mut stage = Stage::new(plan(&[source(HOST, 0)]));
    stage.publish(HOST);
    stage.run(Duration::from_secs(1));
    let keyframes = |stage: &Stage| {
        stage
            .taken
            .video
            .iter()
            .filter(|(meta, _)| meta.starts_keyframe)
            .count()
    };
    assert_eq!(keyframes(&stage), 1);
    for _ in 0..10 {
        stage.core.handle_keyframe_wanted(&mut stage.taken);
        stage.run(FRAME);
    }
    assert_eq!(keyframes(&stage), 2);
    stage.run(Duration::from_millis(500));
    assert_eq!(keyframes(&stage), 3, "the merged rest");
    stage.run(Duration::from_secs(5));
    assert_eq!(keyframes(&stage), 5, "every 2 s");
}

#[test]
fn what_is_lost_is_asked_for() {
    let mut stage = Stage::new(plan(&[source(HOST, 0)]));
    stage.run(Duration::from_secs(1));
    assert!(
        stage.taken.keyframes_asked.len() <= 3,
        "{:?}",
        stage.taken.keyframes_asked
    );
    stage.publish(HOST);
    // no keyframe but the first
    stage.publishers[0].0.clip = still();
    stage.run(Duration::from_secs(1));
    stage.taken.keyframes_asked.clear();
    stage.publishers[0].0.sequence += 1;
    stage.run(Duration::from_millis(140));
    assert_eq!(stage.taken.keyframes_asked, [], "it may be sent again");
    stage.run(Duration::from_millis(360));
    assert_eq!(stage.taken.keyframes_asked, [HOST]);
}

#[tokio::test]
async fn who_started_a_program_learns_that_its_thread_has_ended() {
    let (worker, _told) = worker::Handle::fake();
    let programs = Programs::new(vec![worker], Cores::new(1.0), RETURN_AFTER);
    let mut impossible = plan(&[source(HOST, 0)]);
    impossible.size = Size::even(8, 8).expect("a size");
    let mut handle = programs.start(SourceId(9), impossible).expect("a thread");
    while !handle.has_ended() {
        handle.changed().await;
    }
    assert_eq!(programs.metrics().mixed.get(), 0);

    let handle = programs
        .start(SourceId(10), plan(&[source(HOST, 0)]))
        .expect("a thread");
    assert!(!handle.has_ended());
}
