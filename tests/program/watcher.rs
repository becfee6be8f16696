//! A viewer of the program that decodes all it is sent, and notes what no player should have to bear.

use crate::card;
use crate::node::{Node, PATIENCE};
use crate::relay::Loss;
use crate::sound::HZ;
use crate::viewer::{Seen, Slot, Stream, Viewer};
use bytes::Bytes;
use costage::mix::codec::h264::H264Decoder;
use costage::mix::codec::opus::{OpusDecoder, PACKET_PAIRS_MAX};
use costage::mix::codec::{AudioDecoder, VideoDecoder};
use costage::mix::picture::Picture;
use rtc::rtp::codec::h264::H264Packet;
use rtc::rtp::packetizer::Depacketizer;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::time::timeout_at;

/// Of the sound, in samples: a packet follows the one before without a gap, whoever made it.
const SOUND_STEP_MAX: i32 = 960;
const VIDEO_HZ: u32 = 90_000;
/// Frames a step of the timestamps may be: one may be left out. Slewing makes steps a little longer.
const STEP_MAX: f64 = 2.1;
/// Longer steps that the load of the machine may cost: so many, and one of so many pictures.
const GAPS_ALLOWED: usize = 2;
const GAPS_ONE_IN: usize = 30;
/// Seconds a step may be where nothing moves: an unchanged picture is sent twice a second.
const STILL_STEP_MAX: f64 = 0.6;

/// One picture of the program.
pub struct Shot {
    /// From 0.
    pub number: usize,
    pub picture: Picture,
    pub timestamp: u32,
    pub keyframe: bool,
    /// When its last packet came.
    pub at: Instant,
    /// Of its packets.
    pub payloads: Vec<Bytes>,
}

/// All that was heard, from the first packet on.
#[derive(Default)]
pub struct Sound {
    /// The left channel; what was left out is silence.
    pub samples: Vec<f32>,
    pub first_timestamp: u32,
}

pub struct Watcher {
    pub viewer: Viewer,
    /// The latest.
    pub shot: Shot,
    pub sound: Sound,
    /// Seconds a step of the video's timestamps may be.
    step_max: f64,
    video: Video,
    audio: Audio,
    /// Longer steps of the video's timestamps: after which picture, and how long. A loaded machine is late now and then.
    gaps: Vec<(usize, i32)>,
    flaws: Vec<String>,
}

struct Video {
    decoder: H264Decoder,
    depacketizer: H264Packet,
    /// Of the next frame in the stream's packets.
    next: usize,
    /// How far the frame is known to be whole.
    looked: usize,
    timestamp: Option<u32>,
}

struct Audio {
    decoder: OpusDecoder,
    next: usize,
    timestamp: Option<u32>,
}

impl Watcher {
    /// Of the program at `fps`, until its first picture.
    pub async fn start(node: &Node, user: &str, fps: u32) -> Self {
        Self::with_loss(node, "program", user, fps, Box::new(|_| false)).await
    }

    /// Of `whep/{what}`; `loss` may take some on the way.
    pub async fn with_loss(node: &Node, what: &str, user: &str, fps: u32, loss: Loss) -> Self {
        let viewer = Viewer::watch_losing(node, what, user, 1, loss).await;
        let mut watcher = Watcher {
            viewer,
            shot: Shot {
                number: 0,
                picture: Picture::black(costage::mix::picture::Size::even(2, 2).unwrap()),
                timestamp: 0,
                keyframe: false,
                at: Instant::now(),
                payloads: vec![],
            },
            sound: Sound::default(),
            step_max: STEP_MAX / f64::from(fps),
            video: Video {
                decoder: H264Decoder::new(),
                depacketizer: H264Packet::default(),
                next: 0,
                looked: 0,
                timestamp: None,
            },
            audio: Audio {
                decoder: OpusDecoder::new().unwrap(),
                next: 0,
                timestamp: None,
            },
            gaps: vec![],
            flaws: vec![],
        };
        watcher.advance("the first picture").await;
        watcher.shot.number = 0;
        watcher
    }

    /// Receives until a picture is what it should be, and returns how many it took; `check` says what it is not.
    pub async fn until(&mut self, what: &str, mut check: impl FnMut(&Self) -> Result<(), String>) -> usize {
        let deadline = Instant::now() + PATIENCE;
        for shots in 0.. {
            match check(self) {
                Ok(()) => return shots,
                Err(why) if Instant::now() > deadline => {
                    let seen = self.keep_picture(what);
                    let (number, flaws) = (self.shot.number, self.flaws.join("\n"));
                    panic!(
                        "waiting for {what}: picture {number}, {}: {why}\n{flaws}",
                        seen.display()
                    );
                }
                Err(_) => self.advance(what).await,
            }
        }
        unreachable!()
    }

    /// So much of the program more, each picture of which must be what it should be.
    pub async fn all_of(&mut self, time: Duration, what: &str, mut check: impl FnMut(&Self) -> Result<(), String>) {
        let deadline = Instant::now() + PATIENCE;
        let end = self.sound.samples.len() + (time.as_secs_f64() * HZ) as usize;
        while self.sound.samples.len() < end {
            self.advance(what).await;
            let late = Instant::now() > deadline;
            let sounds = || (!late).then_some(()).ok_or_else(|| "there is no sound".to_owned());
            if let Err(why) = check(self).and_then(|()| sounds()) {
                let seen = self.keep_picture(what);
                let (number, flaws) = (self.shot.number, self.flaws.join("\n"));
                panic!("{what}: picture {number}, {}: {why}\n{flaws}", seen.display());
            }
        }
    }

    /// From now on the program may show what does not move.
    pub fn may_be_still(&mut self) {
        self.step_max = STILL_STEP_MAX;
    }

    /// To the next picture, and the sound that has come until then.
    pub async fn advance(&mut self, what: &str) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            self.listen();
            if self.look() {
                return;
            }
            match timeout_at(deadline, self.viewer.receive()).await {
                Ok(true) => (),
                Ok(false) => panic!("waiting for {what}: the connection ended"),
                Err(_) => {
                    let (summary, flaws) = (self.viewer.summary(), self.flaws.join("\n"));
                    panic!(
                        "waiting for {what}: no picture after {} ({} of the packets are gapless): {summary}\n{flaws}",
                        self.shot.number, self.video.looked
                    );
                }
            }
        }
    }

    /// Decodes the next picture that is whole.
    fn look(&mut self) -> bool {
        while let Some(packets) = self.video.whole(&self.viewer.slots[0].video) {
            let slots: &[Slot] = &self.viewer.slots;
            let packets = &slots[0].video.packets[packets];
            let (first, last) = (&packets[0], &packets[packets.len() - 1]);
            if let Some(before) = self.video.timestamp.replace(first.timestamp) {
                let step = first.timestamp.wrapping_sub(before).cast_signed();
                let after = self.shot.number;
                if f64::from(step) > self.step_max * f64::from(VIDEO_HZ) {
                    self.gaps.push((after, step));
                }
                if step <= 0 {
                    let flaw = format!("the video's timestamp makes a step of {step} after picture {after}");
                    self.flaws.push(flaw);
                }
            }
            let mut unit = Vec::new();
            for packet in packets {
                match self.video.depacketizer.depacketize(&packet.payload) {
                    Ok(bytes) => unit.extend_from_slice(&bytes),
                    Err(error) => self.flaws.push(format!("packet {}: {error}", packet.sequence_number)),
                }
            }
            let after = self.shot.number;
            match self.video.decoder.decode(&unit) {
                Ok(Some(picture)) => {
                    let resized = after > 0 && picture.size != self.shot.picture.size();
                    if resized && !first.starts_keyframe() {
                        self.flaws
                            .push(format!("another size after picture {after} without a keyframe"));
                    }
                    self.shot = Shot {
                        number: after + 1,
                        picture: card::copy(picture),
                        timestamp: first.timestamp,
                        keyframe: first.starts_keyframe(),
                        at: last.at,
                        payloads: packets.iter().map(|packet| packet.payload.clone()).collect(),
                    };
                    return true;
                }
                Ok(None) => self.flaws.push(format!("no picture in what follows picture {after}")),
                Err(error) => self
                    .flaws
                    .push(format!("{error:?}: the picture that follows picture {after}")),
            }
        }
        false
    }

    fn listen(&mut self) {
        let mut pcm = [0.0; PACKET_PAIRS_MAX * 2];
        let packets = &self.viewer.slots[0].audio.packets;
        while let Some(packet) = packets.get(self.audio.next) {
            if self.audio.next == 0 {
                self.sound.first_timestamp = packet.timestamp;
            } else if !follows(&packets[self.audio.next - 1], packet) {
                return;
            }
            self.audio.next += 1;
            let due = packet.timestamp.wrapping_sub(self.sound.first_timestamp);
            let due = usize::try_from(due.cast_signed()).unwrap_or_default();
            let heard = self.sound.samples.len();
            let step = self.audio.timestamp.replace(packet.timestamp);
            let step = step.map(|before| packet.timestamp.wrapping_sub(before).cast_signed());
            if step.is_some_and(|step| !(1..=SOUND_STEP_MAX).contains(&step)) {
                let number = self.audio.next;
                let flaw = format!("the audio's timestamp makes a step of {step:?} to packet {number}");
                self.flaws.push(flaw);
            }
            self.sound.samples.resize(due.max(heard), 0.0);
            match self.audio.decoder.decode(&packet.payload, &mut pcm) {
                Some(pairs) => self.sound.samples.extend(pcm[..pairs * 2].iter().step_by(2)),
                None => self.flaws.push(format!("audio packet {} is not Opus", self.audio.next)),
            }
        }
    }

    /// Nothing was wrong with the stream from its beginning to its end.
    pub async fn finish(mut self) {
        self.viewer.settle().await;
        assert_eq!(self.flaws, Vec::<String>::new());
        let allowed = GAPS_ALLOWED + self.shot.number / GAPS_ONE_IN;
        assert!(
            self.gaps.len() <= allowed,
            "gaps between pictures, (after, ticks): {:?}",
            self.gaps
        );
        self.viewer.video().assert_whole();
        self.viewer.audio().assert_continuous();
        assert!(self.viewer.connection.is_connected());
    }

    /// Leaves the latest picture for a person to look at.
    pub fn keep_picture(&self, what: &str) -> PathBuf {
        let picture = &self.shot.picture;
        let (width, height) = (picture.size().width(), picture.size().height());
        let mut bytes = format!("P6 {width} {height} 255\n").into_bytes();
        for y in 0..height {
            for x in 0..width {
                let chroma = y / 2 * (width / 2) + x / 2;
                let luma = (f64::from(picture.y[y * width + x]) - 16.0) * 1.164;
                let (u, v) = (
                    f64::from(picture.u[chroma]) - 128.0,
                    f64::from(picture.v[chroma]) - 128.0,
                );
                let rgb = [luma + 1.793 * v, luma - 0.213 * u - 0.533 * v, luma + 2.112 * u];
                bytes.extend(rgb.map(|part| part.clamp(0.0, 255.0) as u8));
            }
        }
        let name: String = what
            .chars()
            .map(|c| if c.is_alphanumeric() { c } else { '-' })
            .collect();
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.ppm"));
        std::fs::write(&path, bytes).unwrap();
        path
    }
}

impl Video {
    /// The packets of the next frame, once all are there.
    fn whole(&mut self, stream: &Stream) -> Option<std::ops::Range<usize>> {
        let packets = &stream.packets;
        while let Some(packet) = packets.get(self.looked) {
            if self.looked > 0 {
                let before = &packets[self.looked - 1];
                if !follows(before, packet) {
                    return None;
                }
                // That a frame has no end is for `assert_whole` to judge.
                if self.next < self.looked && before.timestamp != packet.timestamp {
                    return Some(self.take());
                }
            }
            self.looked += 1;
            if packet.marker {
                return Some(self.take());
            }
        }
        None
    }

    fn take(&mut self) -> std::ops::Range<usize> {
        let whole = self.next..self.looked;
        self.next = self.looked;
        whole
    }
}

fn follows(before: &Seen, after: &Seen) -> bool {
    before.sequence_number.wrapping_add(1) == after.sequence_number
}
