//! A full peer on a seat that publishes test cards and tones, encoded as they are sent.

use crate::card::{self, COLORS, WHITE};
use crate::connection::{Connection, H264, OPUS, VP8};
use crate::hostile;
use crate::node::{HOST, Node};
use crate::outlet::{Outlet, PAYLOAD_BYTES, track};
use crate::relay::Loss;
use crate::sound::{self, HZ, PACKET};
use crate::tap::KeyframeRequests;
use bytes::Bytes;
use costage::mix::codec::h264::H264Encoder;
use costage::mix::codec::opus::OpusEncoder;
use costage::mix::codec::{AudioEncoder, VideoEncoder, VideoSettings};
use costage::mix::picture::Size;
use rtc::rtp::codec::h264::H264Payloader;
use rtc::rtp::codec::vp8::Vp8Payloader;
use rtc::rtp::packetizer::Payloader;
use rtc::rtp_transceiver::rtp_sender::RtpCodecKind;
use std::collections::HashSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, Interval, interval_at};

const VIDEO_HZ: u32 = 90_000;
/// Nothing of a card is lost at it.
const VIDEO_BPS: u32 = 800_000;
const AUDIO_BPS: u32 = 48_000;
/// Luma between flashes.
const DARK: u8 = 40;
/// Unasked-for keyframes, as browsers send none: beyond what any test lasts.
const GOP: u32 = 100_000;
/// Packets of a frame sent without pause, as the paced senders of browsers do.
const BURST: usize = 16;

/// Who sits where.
pub const USERS: [&str; 10] = [HOST, "amy", "ben", "cem", "dee", "eva", "fay", "gus", "hal", "ida"];

pub enum Camera {
    None,
    /// [`card::draw`]
    Card,
    /// Bright for a tenth of each second, otherwise dark, with the microphone's beep; in the card's chroma.
    Flash,
    /// These VP8 frames, the first of them a keyframe, over and over.
    Vp8(Vec<Bytes>),
    /// This packet of this payload type, for each frame: of a codec of which only the payload's first bytes are looked at.
    Fixed(u8, &'static [u8]),
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Microphone {
    None,
    Tone,
    Beep,
}

/// By how much the clocks of a device are faster than the time by which it says when something was captured.
#[derive(Clone, Copy, Default)]
pub struct Drift {
    /// In millionths.
    pub video_ppm: f64,
    pub audio_ppm: f64,
}

/// What becomes of the sound while the picture stands still.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Hush {
    GoesOn,
    /// Its clock goes on.
    Stops,
    /// Its timestamps go on where they stopped, as those of a sound card that is asked for no samples.
    StandsStill,
}

/// A tab is put to sleep.
#[derive(Clone, Copy)]
pub struct Pause {
    /// Since the beginning.
    pub from: Duration,
    pub until: Duration,
    pub sound: Hush,
}

impl Pause {
    fn covers(&self, at: Duration) -> bool {
        (self.from..self.until).contains(&at)
    }
}

/// What the camera is to send from the next frame on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Take {
    pub size: Size,
    /// Declares the highest level: other parameter sets for pictures of the same size.
    pub highest_level: bool,
    /// Sends what no encoder does, [`hostile`].
    pub hostile: bool,
}

pub struct Show {
    pub seat: u8,
    /// The screen is published, not the camera.
    pub screen: bool,
    /// Whose colour and barcode it shows.
    pub card: u8,
    pub size: Size,
    pub fps: u32,
    pub camera: Camera,
    pub microphone: Microphone,
    pub drift: Drift,
    pub pause: Option<Pause>,
    /// What the path to the node loses.
    pub loss: Loss,
}

impl Show {
    /// A card and a tone.
    pub fn new(seat: u8, width: u16, height: u16, fps: u32) -> Self {
        Show {
            seat,
            screen: false,
            card: seat,
            size: Size::even(width, height).unwrap(),
            fps,
            camera: Camera::Card,
            microphone: Microphone::Tone,
            drift: Drift::default(),
            pause: None,
            loss: Box::new(|_| false),
        }
    }
}

pub struct Publisher {
    pub connection: Connection,
    /// The number of the next frame.
    next: Arc<AtomicU32>,
    /// Payloads of all video packets so far. Shared, because the sender adds and the test looks up.
    sent: Arc<Mutex<HashSet<Bytes>>>,
    take: watch::Sender<Take>,
    _senders: JoinSet<()>,
}

impl Publisher {
    pub async fn start(node: &Node, show: Show) -> Self {
        let video_type = match show.camera {
            Camera::Vp8(_) => VP8,
            Camera::Fixed(payload_type, _) => payload_type,
            _ => H264,
        };
        let mut connection = Connection::new(&[video_type]).await;
        let mut video = None;
        if !matches!(show.camera, Camera::None) {
            let (track, ssrcs) = track(RtpCodecKind::Video, video_type, &[""]);
            connection.peer.add_track(track.clone()).await.unwrap();
            video = Some(Outlet::new(&track, video_type, ssrcs[0], vec![]));
        }
        let mut audio = None;
        if show.microphone != Microphone::None {
            let (track, ssrcs) = track(RtpCodecKind::Audio, OPUS, &[""]);
            connection.peer.add_track(track.clone()).await.unwrap();
            audio = Some(Outlet::new(&track, OPUS, ssrcs[0], vec![]));
        }
        let role = if show.seat == 0 { "host" } else { "member" };
        let token = node.token(USERS[usize::from(show.seat)], role).await;
        let url = node.room_url(if show.screen { "whip?source=screen" } else { "whip" });
        connection.negotiate(&url, &token, |offer| offer, show.loss).await;

        let next = Arc::new(AtomicU32::default());
        let sent = Arc::default();
        let (take, taken) = watch::channel(Take {
            size: show.size,
            highest_level: false,
            hostile: false,
        });
        // Picture and sound of one moment have the same time.
        let start = Instant::now();
        let mut senders = JoinSet::new();
        if let Some(outlet) = audio {
            let talk = Talk {
                outlet,
                microphone: show.microphone,
                seat: show.seat,
                rate: HZ * (1.0 + show.drift.audio_ppm * 1e-6),
                pause: show.pause.filter(|pause| pause.sound != Hush::GoesOn),
            };
            senders.spawn(talk.run(start));
        }
        if let Some(outlet) = video {
            let film = Film {
                outlet,
                requests: connection.requests.clone(),
                next: next.clone(),
                sent: Arc::clone(&sent),
                take: taken,
                fps: show.fps,
                rate: f64::from(show.fps) * (1.0 + show.drift.video_ppm * 1e-6),
                pause: show.pause,
            };
            match show.camera {
                Camera::Vp8(frames) => senders.spawn(film.play(frames, start)),
                Camera::Fixed(_, packet) => senders.spawn(film.repeat(packet, start)),
                camera => senders.spawn(film.shoot(camera, show.card, start)),
            };
        }
        Publisher {
            connection,
            next,
            sent,
            take,
            _senders: senders,
        }
    }

    /// From its next frame on the camera sends another take.
    pub fn change(&self, change: impl FnOnce(&mut Take)) {
        self.take.send_modify(change);
    }

    /// The number of the frame that is filmed next.
    pub fn next(&self) -> u32 {
        self.next.load(Ordering::SeqCst)
    }

    /// It left this publisher as it is.
    pub fn sent(&self, payload: &Bytes) -> bool {
        self.sent.lock().unwrap().contains(payload)
    }

    /// Leaves as a page does that is closed.
    pub async fn leave(self, node: &Node) {
        node.end(&self.connection.resource).await;
    }
}

/// Ticks of a steady clock that starts at `start`.
fn beat(start: Instant, per_second: f64) -> Interval {
    interval_at(start, Duration::from_secs_f64(1.0 / per_second))
}

struct Talk {
    outlet: Outlet,
    microphone: Microphone,
    seat: u8,
    /// Samples a second by true time.
    rate: f64,
    pause: Option<Pause>,
}

impl Talk {
    async fn run(mut self, start: Instant) {
        let mut encoder = OpusEncoder::new(AUDIO_BPS).unwrap();
        let mut beat = beat(start, self.rate / PACKET as f64);
        // By which the timestamps are behind.
        let mut stood_still = 0;
        for packet in 0_u32.. {
            beat.tick().await;
            let from = u64::from(packet) * PACKET as u64;
            let at = Duration::from_secs_f64(from as f64 / self.rate);
            if let Some(pause) = self.pause.filter(|pause| pause.covers(at)) {
                if pause.sound == Hush::StandsStill {
                    stood_still += PACKET as u64;
                }
                continue;
            }
            let samples = match self.microphone {
                Microphone::None => return,
                Microphone::Tone => sound::tone(self.seat, from),
                Microphone::Beep => sound::beeps(self.seat, from, self.rate),
            };
            let payload = Bytes::copy_from_slice(encoder.encode(&samples));
            let ticks = u32::try_from(from - stood_still).unwrap();
            if !self.outlet.send(ticks, packet == 0, payload).await {
                return;
            }
        }
    }
}

struct Film {
    outlet: Outlet,
    requests: KeyframeRequests,
    next: Arc<AtomicU32>,
    sent: Arc<Mutex<HashSet<Bytes>>>,
    take: watch::Receiver<Take>,
    /// By the camera's own clock,
    fps: u32,
    /// and by true time.
    rate: f64,
    pause: Option<Pause>,
}

impl Film {
    async fn shoot(mut self, camera: Camera, card: u8, start: Instant) {
        let mut take = *self.take.borrow_and_update();
        let mut encoder = self.encoder(take);
        let mut payloader = H264Payloader::default();
        let mut beat = beat(start, self.rate);
        let mut answered = 0;
        for frame in 0_u32.. {
            beat.tick().await;
            self.next.store(frame + 1, Ordering::SeqCst);
            let at = Duration::from_secs_f64(f64::from(frame) / self.rate);
            if self.pause.is_some_and(|pause| pause.covers(at)) {
                continue;
            }
            let wanted = *self.take.borrow_and_update();
            if (wanted.size, wanted.highest_level) != (take.size, take.highest_level) {
                encoder = self.encoder(wanted);
            }
            take = wanted;
            let picture = match camera {
                Camera::Flash => {
                    let [_, u, v] = COLORS[usize::from(card)];
                    let is_on = sound::is_loud(f64::from(frame) / self.rate);
                    card::flat(take.size, [if is_on { WHITE } else { DARK }, u, v])
                }
                _ => card::draw(take.size, card, frame),
            };
            let asked = self.requests.count(self.outlet.ssrc());
            let keyframe = asked != answered;
            answered = asked;
            // The rate control may leave a frame out, as a browser's may.
            let Some(encoded) = encoder.encode(picture.view(), keyframe) else {
                continue;
            };
            let mut bytes = encoded.bytes.to_vec();
            if take.highest_level {
                declare_highest_level(&mut bytes);
            }
            let mut payloads = payloader.payload(PAYLOAD_BYTES, &Bytes::from(bytes)).unwrap();
            if take.hostile {
                payloads = hostile::h264(frame, payloads);
            }
            if !self.send(frame, payloads).await {
                return;
            }
        }
    }

    fn encoder(&self, take: Take) -> H264Encoder {
        H264Encoder::new(VideoSettings {
            size: take.size,
            fps: self.fps,
            bitrate_bps: VIDEO_BPS,
            gop: GOP,
        })
        .unwrap()
    }

    async fn play(mut self, frames: Vec<Bytes>, start: Instant) {
        let mut payloader = Vp8Payloader::default();
        payloader.enable_picture_id = true;
        let mut beat = beat(start, self.rate);
        let (mut answered, mut position) = (0, 0);
        for frame in 0_u32.. {
            beat.tick().await;
            self.next.store(frame + 1, Ordering::SeqCst);
            let asked = self.requests.count(self.outlet.ssrc());
            position = if asked != answered { 0 } else { position % frames.len() };
            answered = asked;
            let mut payloads = payloader.payload(PAYLOAD_BYTES, &frames[position]).unwrap();
            position += 1;
            if self.take.borrow().hostile {
                payloads = hostile::vp8(frame, payloads);
            }
            if !self.send(frame, payloads).await {
                return;
            }
        }
    }

    async fn repeat(mut self, packet: &'static [u8], start: Instant) {
        let mut beat = beat(start, self.rate);
        for frame in 0_u32.. {
            beat.tick().await;
            if !self.send(frame, vec![Bytes::from_static(packet)]).await {
                return;
            }
        }
    }

    /// `false`: the connection is gone.
    async fn send(&mut self, frame: u32, payloads: Vec<Bytes>) -> bool {
        let ticks = frame * (VIDEO_HZ / self.fps);
        let last = payloads.len().saturating_sub(1);
        self.sent.lock().unwrap().extend(payloads.iter().cloned());
        for (at, payload) in payloads.into_iter().enumerate() {
            if at > 0 && at % BURST == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            if !self.outlet.send(ticks, at == last, payload).await {
                return false;
            }
        }
        true
    }
}

/// Every level has what is below it (H.264 annex A.3).
fn declare_highest_level(access_unit: &mut [u8]) {
    const SPS: [u8; 5] = [0, 0, 0, 1, 0x67];
    const LEVEL_5_2: u8 = 52;
    let found = access_unit.windows(SPS.len()).position(|bytes| bytes == SPS);
    if let Some(at) = found {
        // profile_idc, the constraint flags, level_idc
        access_unit[at + SPS.len() + 2] = LEVEL_5_2;
    }
}
