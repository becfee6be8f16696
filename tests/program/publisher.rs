//! A full peer on a seat that publishes test cards and tones, encoded as they are sent.

use crate::card::{self, WHITE};
use crate::connection::{Connection, H264, OPUS, VP8};
use crate::node::{HOST, Node};
use crate::outlet::{Outlet, PAYLOAD_BYTES, track};
use crate::relay::Loss;
use crate::sound::{self, BEEP, PACKET, PERIOD};
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
use tokio::task::JoinSet;
use tokio::time::{Instant, interval_at};

const VIDEO_HZ: u32 = 90_000;
const AUDIO_HZ: u32 = 48_000;
/// Nothing of a card is lost at it.
const VIDEO_BPS: u32 = 800_000;
const AUDIO_BPS: u32 = 48_000;
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
    /// White for a tenth of each second, otherwise dark, with the microphone's beep.
    Flash,
    /// These VP8 frames, the first of them a keyframe, over and over.
    Vp8(Vec<Bytes>),
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Microphone {
    None,
    Tone,
    Beep,
}

pub struct Show {
    pub seat: u8,
    pub size: Size,
    pub fps: u32,
    pub camera: Camera,
    pub microphone: Microphone,
    /// What the path to the node loses.
    pub loss: Loss,
}

impl Show {
    /// A card and a tone.
    pub fn new(seat: u8, width: u16, height: u16, fps: u32) -> Self {
        Show {
            seat,
            size: Size::even(width, height).unwrap(),
            fps,
            camera: Camera::Card,
            microphone: Microphone::Tone,
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
    _senders: JoinSet<()>,
}

impl Publisher {
    pub async fn start(node: &Node, show: Show) -> Self {
        let video_type = if matches!(show.camera, Camera::Vp8(_)) {
            VP8
        } else {
            H264
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
        let url = node.room_url("whip");
        connection.negotiate(&url, &token, |offer| offer, show.loss).await;

        let next = Arc::new(AtomicU32::default());
        let sent = Arc::default();
        // Picture and sound of one moment have the same time.
        let start = Instant::now();
        let mut senders = JoinSet::new();
        if let Some(outlet) = audio {
            senders.spawn(talk(outlet, show.microphone, show.seat, start));
        }
        if let Some(outlet) = video {
            let film = Film {
                outlet,
                requests: connection.requests.clone(),
                next: next.clone(),
                sent: Arc::clone(&sent),
            };
            match show.camera {
                Camera::Vp8(frames) => senders.spawn(film.play(frames, show.fps, start)),
                camera => senders.spawn(film.shoot(camera, show.seat, show.size, show.fps, start)),
            };
        }
        Publisher {
            connection,
            next,
            sent,
            _senders: senders,
        }
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

async fn talk(mut outlet: Outlet, microphone: Microphone, seat: u8, start: Instant) {
    let mut encoder = OpusEncoder::new(AUDIO_BPS).unwrap();
    let mut beat = interval_at(start, Duration::from_millis(20));
    for packet in 0_u32.. {
        beat.tick().await;
        let from = u64::from(packet) * PACKET as u64;
        let samples = match microphone {
            Microphone::None => return,
            Microphone::Tone => sound::tone(seat, from),
            Microphone::Beep => sound::beeps(seat, from),
        };
        let payload = Bytes::copy_from_slice(encoder.encode(&samples));
        let ticks = u32::try_from(from).unwrap();
        if !outlet.send(ticks, packet == 0, payload).await {
            return;
        }
    }
}

struct Film {
    outlet: Outlet,
    requests: KeyframeRequests,
    next: Arc<AtomicU32>,
    sent: Arc<Mutex<HashSet<Bytes>>>,
}

impl Film {
    async fn shoot(mut self, camera: Camera, seat: u8, size: Size, fps: u32, start: Instant) {
        let settings = VideoSettings {
            size,
            fps,
            bitrate_bps: VIDEO_BPS,
            gop: GOP,
        };
        let mut encoder = H264Encoder::new(settings).unwrap();
        let mut payloader = H264Payloader::default();
        let mut beat = interval_at(start, Duration::from_secs(1) / fps);
        let mut answered = 0;
        for frame in 0_u32.. {
            beat.tick().await;
            self.next.store(frame + 1, Ordering::SeqCst);
            let picture = match camera {
                Camera::Flash => {
                    let at = u64::from(frame) * u64::from(AUDIO_HZ) / u64::from(fps);
                    let luma = if at % PERIOD < BEEP { WHITE } else { 40 };
                    card::flat(size, [luma, 128, 128])
                }
                _ => card::draw(size, seat, frame),
            };
            let asked = self.requests.count(self.outlet.ssrc());
            let keyframe = asked != answered;
            answered = asked;
            // The rate control may leave a frame out, as a browser's may.
            let Some(encoded) = encoder.encode(picture.view(), keyframe) else {
                continue;
            };
            let payloads = payloader.payload(PAYLOAD_BYTES, &Bytes::copy_from_slice(encoded.bytes));
            if !self.send(frame * (VIDEO_HZ / fps), payloads.unwrap()).await {
                return;
            }
        }
    }

    async fn play(mut self, frames: Vec<Bytes>, fps: u32, start: Instant) {
        let mut payloader = Vp8Payloader::default();
        payloader.enable_picture_id = true;
        let mut beat = interval_at(start, Duration::from_secs(1) / fps);
        let (mut answered, mut position) = (0, 0);
        for frame in 0_u32.. {
            beat.tick().await;
            self.next.store(frame + 1, Ordering::SeqCst);
            let asked = self.requests.count(self.outlet.ssrc());
            position = if asked != answered { 0 } else { position % frames.len() };
            answered = asked;
            let payloads = payloader.payload(PAYLOAD_BYTES, &frames[position]);
            position += 1;
            if !self.send(frame * (VIDEO_HZ / fps), payloads.unwrap()).await {
                return;
            }
        }
    }

    /// `false`: the connection is gone.
    async fn send(&mut self, ticks: u32, payloads: Vec<Bytes>) -> bool {
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
