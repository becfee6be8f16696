//! A full peer that publishes one video, in up to three encodings, and one audio.

use crate::connection::{Answer, Connection, H264, OPUS, VP8};
use crate::node::{HOST, Node};
use crate::outlet::{Outlet, PAYLOAD_BYTES, ticks, track};
use crate::viewer::Seen;
use bytes::{BufMut, Bytes, BytesMut};
use costage::demo::{Clip, Playhead};
use rtc::rtp::codec::h264::H264Payloader;
use rtc::rtp::codec::vp8::Vp8Payloader;
use rtc::rtp::packetizer::Payloader;
use rtc::rtp_transceiver::rtp_sender::RtpCodecKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

const FRAME: Duration = Duration::from_millis(33);
const AUDIO: Duration = Duration::from_millis(20);
/// Longer than the node waits to make a batch.
const PAUSE: Duration = Duration::from_millis(4);
/// Of a frame.
pub const PATTERN_PACKETS: u8 = 3;
const URI_MID: &str = "urn:ietf:params:rtp-hdrext:sdes:mid";
const URI_RID: &str = "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id";
/// RID and size of the encodings, in the order of the offer.
pub const LAYERS: [(&str, u16, u16); 3] = [("h", 640, 360), ("m", 320, 180), ("l", 160, 90)];

/// What is filmed.
pub enum Film {
    /// VP8 frames of three packets that tell what they are: see [`Label`].
    Pattern,
    /// These VP8 frames, the first of them a keyframe, over and over.
    Vp8(Vec<Bytes>),
    H264(Arc<Clip>),
}

pub struct Options {
    pub film: Film,
    /// Tells this camera from others.
    pub tag: u8,
    pub simulcast: bool,
    /// Keyframes nobody asked for come after so many frames.
    pub keyframe_every: u32,
    pub heeds_requests: bool,
    pub edit_offer: fn(String) -> String,
}

impl Options {
    pub fn pattern(tag: u8) -> Self {
        Self {
            film: Film::Pattern,
            tag,
            simulcast: false,
            keyframe_every: u32::MAX,
            heeds_requests: true,
            edit_offer: |offer| offer,
        }
    }
}

/// At the end of each payload of a pattern, and of each audio packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label {
    pub tag: u8,
    pub layer: u8,
    pub keyframe: bool,
    /// Within the frame.
    pub packet: u8,
    pub frame: u32,
    /// Since the camera started.
    pub captured: Duration,
}

impl Label {
    const BYTES: usize = 16;

    fn write(self, payload: &mut BytesMut) {
        payload.put_u8(self.tag);
        payload.put_u8(self.layer);
        payload.put_u8(self.keyframe.into());
        payload.put_u8(self.packet);
        payload.put_u32(self.frame);
        payload.put_u64(self.captured.as_micros().try_into().unwrap());
    }

    pub fn read(payload: &[u8]) -> Self {
        let label = &payload[payload.len() - Self::BYTES..];
        Self {
            tag: label[0],
            layer: label[1],
            keyframe: label[2] != 0,
            packet: label[3],
            frame: u32::from_be_bytes(label[4..8].try_into().unwrap()),
            captured: Duration::from_micros(u64::from_be_bytes(label[8..].try_into().unwrap())),
        }
    }
}

impl Seen {
    pub fn label(&self) -> Label {
        Label::read(&self.payload)
    }
}

/// The numbers that the next frame and the next audio packet get.
#[derive(Default)]
struct Next {
    frame: AtomicU32,
    audio: AtomicU32,
}

pub struct Camera {
    pub connection: Connection,
    pub answer: Answer,
    next: Arc<Next>,
    ssrcs: Vec<u32>,
    _senders: JoinSet<()>,
}

impl Camera {
    pub async fn start(node: &Node, user: &str, options: Options) -> Self {
        let video_type = if matches!(options.film, Film::H264(_)) {
            H264
        } else {
            VP8
        };
        let mut connection = Connection::new(&[video_type]).await;
        let rids: Vec<&str> = if options.simulcast {
            LAYERS.iter().map(|layer| layer.0).collect()
        } else {
            vec![""]
        };
        let (video, video_ssrcs) = track(RtpCodecKind::Video, video_type, &rids);
        let (audio, audio_ssrcs) = track(RtpCodecKind::Audio, OPUS, &[""]);
        let video_sender = connection.peer.add_track(video.clone()).await.unwrap();
        connection.peer.add_track(audio.clone()).await.unwrap();

        let role = if user == HOST { "host" } else { "member" };
        let token = node.token(user, role).await;
        let url = node.room_url("whip");
        let answer = connection
            .negotiate(&url, &token, options.edit_offer, Box::new(|_| false))
            .await;

        let parameters = video_sender.get_parameters().await.unwrap().rtp_parameters;
        let id = |uri: &str| {
            let mut extensions = parameters.header_extensions.iter();
            let extension = extensions.find(|extension| extension.uri == uri);
            extension.map(|extension| u8::try_from(extension.id).unwrap())
        };
        let extensions = |rid: &str| {
            if rid.is_empty() {
                return vec![];
            }
            // Video is the first m-line.
            let mid = (id(URI_MID).expect("MID is negotiated"), Bytes::from_static(b"0"));
            let rid = Bytes::copy_from_slice(rid.as_bytes());
            vec![mid, (id(URI_RID).expect("RID is negotiated"), rid)]
        };
        let outlets = rids.iter().zip(&video_ssrcs);
        let outlets = outlets.map(|(rid, ssrc)| Outlet::new(&video, video_type, *ssrc, extensions(rid)));
        let next = Arc::new(Next::default());
        let start = Instant::now();
        let shoot = Shoot {
            outlets: outlets.collect(),
            requests: connection.requests.clone(),
            next: next.clone(),
            start,
        };
        let audio = Outlet::new(&audio, OPUS, audio_ssrcs[0], vec![]);
        let mut senders = JoinSet::new();
        senders.spawn(talk(audio, options.tag, next.clone(), start));
        senders.spawn(shoot.run(options));
        Self {
            connection,
            answer,
            next,
            ssrcs: video_ssrcs,
            _senders: senders,
        }
    }

    /// Everything sent from now on is labelled with these numbers (frame, audio) or higher ones.
    pub fn next(&self) -> (u32, u32) {
        let number = |next: &AtomicU32| next.load(Ordering::SeqCst);
        (number(&self.next.frame), number(&self.next.audio))
    }

    /// How often a keyframe was asked for.
    pub fn keyframe_requests(&self) -> u64 {
        self.ssrcs
            .iter()
            .map(|ssrc| self.connection.requests.count(*ssrc))
            .sum()
    }
}

async fn talk(mut outlet: Outlet, tag: u8, next: Arc<Next>, start: Instant) {
    let mut beat = interval(AUDIO);
    beat.set_missed_tick_behavior(MissedTickBehavior::Skip);
    for frame in 0.. {
        beat.tick().await;
        next.audio.store(frame + 1, Ordering::SeqCst);
        let captured = start.elapsed();
        let label = Label {
            tag,
            layer: 0,
            keyframe: false,
            packet: 0,
            frame,
            captured,
        };
        // An Opus packet of 20 ms, fullband (RFC 6716 section 3.1).
        let mut payload = BytesMut::from(&[0xf8_u8, 0xff, 0xfe][..]);
        label.write(&mut payload);
        if !outlet.send(ticks(captured, 48), frame == 0, payload.freeze()).await {
            return;
        }
    }
}

struct Shoot {
    outlets: Vec<Outlet>,
    requests: crate::tap::KeyframeRequests,
    next: Arc<Next>,
    start: Instant,
}

impl Shoot {
    async fn run(mut self, options: Options) {
        let mut beat = interval(FRAME);
        beat.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut answered = vec![0; self.outlets.len()];
        let mut vp8 = Vp8Payloader::default();
        vp8.enable_picture_id = true;
        let mut h264 = H264Payloader::default();
        let mut playhead = Playhead::default();
        let mut position = 0;
        for frame in 0.. {
            beat.tick().await;
            self.next.frame.store(frame + 1, Ordering::SeqCst);
            let captured = self.start.elapsed();
            let mut encodings = Vec::new();
            for (layer, outlet) in (0_u8..).zip(&mut self.outlets) {
                let asked = self.requests.count(outlet.ssrc());
                let answered = &mut answered[usize::from(layer)];
                let wanted = options.heeds_requests && asked != *answered;
                *answered = asked;
                let payloads = match &options.film {
                    Film::Pattern => {
                        let label = Label {
                            tag: options.tag,
                            layer,
                            keyframe: wanted || frame % options.keyframe_every == 0,
                            packet: 0,
                            frame,
                            captured,
                        };
                        pattern(label)
                    }
                    Film::Vp8(frames) => {
                        position = if wanted { 0 } else { position % frames.len() };
                        position += 1;
                        vp8.payload(PAYLOAD_BYTES, &frames[position - 1]).unwrap()
                    }
                    Film::H264(clip) => {
                        let frame = playhead.advance(clip, wanted);
                        h264.payload(PAYLOAD_BYTES, &frame.data).unwrap()
                    }
                };
                encodings.push((outlet, payloads));
            }
            // Browsers' pacers take turns among the encodings, and spread a frame over some milliseconds.
            let longest = encodings.iter().map(|(_, payloads)| payloads.len()).max();
            for index in 0..longest.unwrap_or_default() {
                if index > 0 && encodings.len() > 1 {
                    sleep(PAUSE).await;
                }
                for (outlet, payloads) in &mut encodings {
                    let Some(payload) = payloads.get(index).cloned() else {
                        continue;
                    };
                    let marker = index + 1 == payloads.len();
                    if !outlet.send(ticks(captured, 90), marker, payload).await {
                        return;
                    }
                }
            }
        }
    }
}

/// A VP8 frame (RFC 7741, RFC 6386 section 9.1) with picture numbers.
fn pattern(label: Label) -> Vec<Bytes> {
    let [high, low] = (u16::try_from(label.frame & 0x7fff).unwrap() | 0x8000).to_be_bytes();
    let (_, width, height) = LAYERS[usize::from(label.layer)];
    let packet = |packet: u8| {
        let first = packet == 0;
        let mut payload = BytesMut::from(&[if first { 0x90 } else { 0x80 }, 0x80, high, low][..]);
        if first && label.keyframe {
            payload.extend_from_slice(&[0x50, 0, 0, 0x9d, 0x01, 0x2a]);
            payload.put_u16_le(width);
            payload.put_u16_le(height);
        } else if first {
            payload.extend_from_slice(&[0x51, 0, 0]);
        }
        payload.extend_from_slice(&[packet; 300]);
        Label { packet, ..label }.write(&mut payload);
        payload.freeze()
    };
    (0..PATTERN_PACKETS).map(packet).collect()
}
