//! One participant: sends a clip on time through its own WebRTC transport and goes on at a keyframe when asked for one.
//! Shell.
//!
//! Time base: `Instant`. Frame `n` is captured at `start + n / 30 s` and sent at once; its RTP time and the sender reports
//! tell just that.

use crate::client::{Client, Input};
use crate::clips::{FRAME_RATE, GOP};
use crate::loader::Counters;
use crate::rtp::{self, Extras, Feedback, Header, Sent};
use crate::sdp::{Answer, Direction, Media};
use crate::sys::{self, Batch};
use costage::demo::{Clip, Playhead};
use costage::rtp::h264::Packetizer;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

const VIDEO_CLOCK: u32 = 90_000;
const AUDIO_CLOCK: u32 = 48_000;
const SENDER_REPORTS: Duration = Duration::from_secs(1);
/// Browsers send the MID until they know that the other side has seen it.
const PACKETS_WITH_MID: u64 = 50;
/// Participants over whose number frames and keyframes are spread.
const SPREAD: u32 = 10;

/// The SSRCs of the participant on seat `seat`.
fn ssrcs(seat: u8) -> [u32; 3] {
    [1, 2, 3].map(|stream| 0x2000_0000 | u32::from(seat) << 8 | stream)
}

pub fn direction(seat: u8) -> Direction {
    let [audio_ssrc, video_ssrc, rtx_ssrc] = ssrcs(seat);
    Direction::Send {
        audio_ssrc,
        video_ssrc,
        rtx_ssrc,
    }
}

/// One of the two streams.
struct Track {
    media: Media,
    ssrc: u32,
    clock_rate: u32,
    next_index: u64,
    octets: u32,
}

impl Track {
    fn new(media: &Media, ssrc: u32, clock_rate: u32) -> Track {
        Track {
            media: media.clone(),
            ssrc,
            clock_rate,
            next_index: 1,
            octets: 0,
        }
    }

    fn timestamp(&self, elapsed: Duration) -> u32 {
        (elapsed.as_nanos() * u128::from(self.clock_rate) / 1_000_000_000) as u32
    }
}

/// What has been sent since `start`.
struct Playing {
    start: Instant,
    frames: u32,
    packets: u32,
    next_report: Instant,
}

pub struct Publisher {
    client: Client,
    clip: Arc<Clip>,
    playhead: Playhead,
    packetizer: Packetizer,
    audio: Track,
    video: Track,
    transport_sequence: u16,
    keyframe_wanted: bool,
    /// When this one's clip may begin: then or whole GOPs later.
    phase: Instant,
    /// From when the transport is connected.
    playing: Option<Playing>,
}

impl Publisher {
    /// `epoch` is the same for all: against it the participants' keyframes are spread over a GOP and their frames over the
    /// time between two, as those of people who know nothing of each other.
    pub fn new(client: Client, answer: &Answer, clip: Arc<Clip>, seat: u8, epoch: Instant) -> Publisher {
        let [audio, video, _] = ssrcs(seat);
        let step = (nth(GOP, FRAME_RATE) + nth(1, FRAME_RATE)) / SPREAD;
        Publisher {
            client,
            clip,
            playhead: Playhead::default(),
            packetizer: Packetizer::default(),
            audio: Track::new(&answer.audio, audio, AUDIO_CLOCK),
            video: Track::new(&answer.video, video, VIDEO_CLOCK),
            transport_sequence: 0,
            keyframe_wanted: false,
            phase: epoch + step * u32::from(seat),
            playing: None,
        }
    }

    pub fn fd(&self) -> RawFd {
        self.client.fd()
    }

    /// The next moment with something to send.
    pub fn due(&self) -> Option<Instant> {
        let playing = self.playing.as_ref()?;
        let due = self.next_frame(playing).min(self.next_packet(playing));
        Some(due.min(playing.next_report))
    }

    fn next_frame(&self, playing: &Playing) -> Instant {
        playing.start + nth(playing.frames, FRAME_RATE)
    }

    fn next_packet(&self, playing: &Playing) -> Instant {
        playing.start + Duration::from_millis(self.clip.packet_duration_ms().into()) * playing.packets
    }

    pub fn receive(&mut self, batch: &mut Batch, counters: &Counters, now: Instant) {
        let (client, wanted) = (&mut self.client, &mut self.keyframe_wanted);
        batch.receive(client.fd(), |datagram, _| match client.handle(datagram, now) {
            Input::Connected => drop(counters.connected.fetch_add(1, Relaxed)),
            Input::Closed(why) => {
                counters.closed.fetch_add(1, Relaxed);
                eprintln!("mix: a participant's transport is closed: {why}");
            }
            Input::Rtcp(compound) => {
                let requests = rtp::feedback(compound).filter(|packet| *packet == Feedback::KeyframeRequest);
                let requests = requests.count() as u64;
                counters.keyframe_requests.fetch_add(requests, Relaxed);
                *wanted |= requests > 0;
            }
            Input::Nothing | Input::Rtp(_) => {}
        });
    }

    /// Send everything that is due.
    pub fn poll(&mut self, now: Instant) {
        self.client.poll(now);
        if !self.client.is_connected() {
            return;
        }
        let mut playing = self.playing.take().unwrap_or_else(|| {
            let mut start = self.phase;
            while start < now {
                start += nth(GOP, FRAME_RATE);
            }
            Playing {
                start,
                frames: 0,
                packets: 0,
                next_report: start,
            }
        });
        while self.next_packet(&playing) <= now {
            self.sound(&playing);
            playing.packets += 1;
        }
        while self.next_frame(&playing) <= now {
            self.picture(&playing);
            playing.frames += 1;
        }
        if now >= playing.next_report {
            playing.next_report = now + SENDER_REPORTS;
            self.report(now - playing.start);
        }
        self.playing = Some(playing);
    }

    fn sound(&mut self, playing: &Playing) {
        let clip = self.clip.clone();
        let Some(packet) = clip.packets().get(playing.packets as usize % clip.packets().len()) else {
            return;
        };
        let timestamp = self.audio.timestamp(self.next_packet(playing) - playing.start);
        send(
            &self.client,
            &mut self.audio,
            &mut self.transport_sequence,
            packet,
            timestamp,
            None,
        );
    }

    fn picture(&mut self, playing: &Playing) {
        let frame = self
            .playhead
            .advance(&self.clip, std::mem::take(&mut self.keyframe_wanted));
        let timestamp = self.video.timestamp(nth(playing.frames, FRAME_RATE));
        let (client, track, sequence) = (&self.client, &mut self.video, &mut self.transport_sequence);
        self.packetizer.packetize(&frame.data, |payload, last| {
            send(client, track, sequence, payload, timestamp, Some(last));
        });
    }

    fn report(&mut self, elapsed: Duration) {
        let ntp = rtp::ntp(sys::now_ns());
        for track in [&self.audio, &self.video] {
            let sent = Sent {
                ssrc: track.ssrc,
                timestamp: track.timestamp(elapsed),
                packets: (track.next_index - 1) as u32,
                octets: track.octets,
            };
            let report = rtp::write_sender_report(ntp, &sent, "load");
            self.client.send_rtcp(report, track.ssrc);
        }
    }
}

/// `count / per_second` seconds.
fn nth(count: u32, per_second: u32) -> Duration {
    Duration::from_nanos(u64::from(count) * 1_000_000_000 / u64::from(per_second))
}

/// `last_of_picture`: whether the picture ends with it; `None`: it is sound.
fn send(
    client: &Client,
    track: &mut Track,
    transport_sequence: &mut u16,
    payload: &[u8],
    timestamp: u32,
    last_of_picture: Option<bool>,
) {
    let index = track.next_index;
    track.next_index += 1;
    track.octets = track.octets.wrapping_add(payload.len() as u32);
    let is_video = last_of_picture.is_some();
    let extras = Extras {
        mid: (index <= PACKETS_WITH_MID).then_some(track.media.mid.as_str()),
        // seconds modulo 64 in 6.18 fixed point
        abs_send_time: is_video.then_some((rtp::ntp(sys::now_ns()) >> 14) as u32 & 0xff_ffff),
        transport_cc: Some(*transport_sequence),
        audio_level: (!is_video).then_some(0x80 | 25),
    };
    *transport_sequence = transport_sequence.wrapping_add(1);
    let header = Header::new(
        last_of_picture.unwrap_or(false),
        track.media.payload_type,
        index as u16,
        timestamp,
        track.ssrc,
    );
    let mut packet = rtp::write_header(&header, &track.media.extensions, &extras);
    let header_len = packet.len();
    packet.extend_from_slice(payload);
    client.send_rtp(packet, header_len, track.ssrc, index);
}
