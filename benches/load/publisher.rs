//! The publisher: sends the load's media on time from a thread of its own and answers keyframe requests. Shell.

use crate::client::{Client, Input};
use crate::media::{BITRATE, Encoder, FRAME_RATE, GOP_FRAMES, Payload, Stamp};
use crate::rtp::{self, Extras, Feedback, Header, Sent};
use crate::sdp::{Answer, Media};
use crate::sys::{self, Batch};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub const AUDIO_SSRC: u32 = 0x1000_0001;
pub const VIDEO_SSRC: u32 = 0x1000_0002;
pub const RTX_SSRC: u32 = 0x1000_0003;

/// How a frame's packets leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// Back to back, as Chromium sends on a fast path.
    Burst,
    /// Evenly at 2.5 times the bitrate, as Chromium's pacer does on a slow one.
    Paced,
}

impl Mode {
    pub fn name(self) -> &'static str {
        match self {
            Mode::Burst => "burst",
            Mode::Paced => "paced",
        }
    }
}

/// Bits per second at which a paced frame leaves.
const PACED_RATE: u64 = BITRATE as u64 * 5 / 2;
const FRAME: Duration = Duration::from_nanos(1_000_000_000 / FRAME_RATE as u64);
const AUDIO: Duration = Duration::from_millis(20);
const SENDER_REPORTS: Duration = Duration::from_secs(1);
/// Browsers send the MID until they know that the other side has seen it.
const PACKETS_WITH_MID: u64 = 50;

/// Counters, read by other threads while it runs.
#[derive(Debug, Default)]
pub struct Counters {
    pub connected: AtomicBool,
    /// The index the next video packet will have; the first has 1.
    pub video: AtomicU64,
    /// The same of audio.
    pub audio: AtomicU64,
    pub keyframe_requests: AtomicU64,
    pub nacks: AtomicU64,
    /// Transport-wide feedback packets received.
    pub feedback: AtomicU64,
}

/// A running publisher; it stops when dropped.
pub struct Publisher {
    pub counters: Arc<Counters>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Publisher {
    pub fn start(client: Client, answer: &Answer, mode: Mode) -> std::io::Result<Publisher> {
        let (counters, stop) = (Arc::new(Counters::default()), Arc::new(AtomicBool::new(false)));
        let (audio, video) = (answer.audio.clone(), answer.video.clone());
        let (shared, stopped) = (counters.clone(), stop.clone());
        let thread = std::thread::Builder::new().name("publisher".into()).spawn(move || {
            sys::make_punctual();
            let mut sending = Sending::new(client, audio, video, mode, &shared, Instant::now());
            while !stopped.load(Relaxed) {
                sending.turn();
            }
        })?;
        Ok(Publisher {
            counters,
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// One of the two streams.
struct Track {
    media: Media,
    ssrc: u32,
    /// RTP ticks per second.
    clock_rate: u64,
    next_index: u64,
    octets: u32,
}

impl Track {
    fn new(media: Media, ssrc: u32, clock_rate: u64) -> Track {
        Track {
            media,
            ssrc,
            clock_rate,
            next_index: 1,
            octets: 0,
        }
    }

    fn timestamp(&self, elapsed: Duration) -> u32 {
        (u64::try_from(elapsed.as_nanos()).unwrap_or(0) / 1000 * self.clock_rate / 1_000_000) as u32
    }
}

struct Sending<'a> {
    client: Client,
    batch: Batch,
    encoder: Encoder,
    mode: Mode,
    counters: &'a Counters,
    audio: Track,
    video: Track,
    started: Instant,
    next_frame: Instant,
    next_audio: Instant,
    next_report: Instant,
    /// Packets of video that wait for the pacer, each with its frame's timestamp.
    queue: VecDeque<(Payload, u32)>,
    next_paced: Instant,
    frames_to_keyframe: u32,
    transport_sequence: u16,
}

impl<'a> Sending<'a> {
    fn new(client: Client, audio: Media, video: Media, mode: Mode, counters: &'a Counters, now: Instant) -> Self {
        counters.audio.store(1, Relaxed);
        counters.video.store(1, Relaxed);
        Sending {
            client,
            batch: Batch::new(false),
            encoder: Encoder::new(720),
            mode,
            counters,
            audio: Track::new(audio, AUDIO_SSRC, 48_000),
            video: Track::new(video, VIDEO_SSRC, 90_000),
            started: now,
            next_frame: now,
            next_audio: now,
            next_report: now,
            queue: VecDeque::new(),
            next_paced: now,
            frames_to_keyframe: 0,
            transport_sequence: 0,
        }
    }

    /// Wait for the next thing to do or to read, and do it.
    fn turn(&mut self) {
        let now = Instant::now();
        sys::wait_readable(
            self.client.fd(),
            self.due().saturating_duration_since(now).min(Duration::from_millis(50)),
        );
        self.receive();
        let now = Instant::now();
        self.client.poll(now);
        if !self.client.is_connected() {
            // Media starts with the connection, not with what has piled up before.
            (self.next_frame, self.next_audio, self.next_report) = (now, now, now);
            return;
        }
        if now >= self.next_audio {
            self.next_audio += AUDIO;
            let payload = self.encoder.audio();
            let timestamp = self.audio.timestamp(now - self.started);
            self.send(false, payload, timestamp);
            self.counters.audio.store(self.audio.next_index, Relaxed);
        }
        if now >= self.next_frame {
            self.next_frame += FRAME;
            self.capture(now);
        }
        self.drain(now);
        if now >= self.next_report {
            self.next_report = now + SENDER_REPORTS;
            self.report(now);
        }
    }

    fn due(&self) -> Instant {
        let paced = (!self.queue.is_empty()).then_some(self.next_paced);
        [
            Some(self.next_frame),
            Some(self.next_audio),
            Some(self.next_report),
            paced,
        ]
        .into_iter()
        .flatten()
        .min()
        .unwrap_or(self.next_frame)
    }

    fn receive(&mut self) {
        let now = Instant::now();
        let (client, counters) = (&mut self.client, self.counters);
        let mut keyframe = false;
        self.batch
            .receive(client.fd(), |datagram, _| match client.handle(datagram, now) {
                Input::Connected => counters.connected.store(true, Relaxed),
                Input::Closed(why) => {
                    counters.connected.store(false, Relaxed);
                    eprintln!("the publisher's transport is closed: {why}");
                }
                Input::Rtcp(compound) => {
                    for packet in rtp::feedback(compound) {
                        let counter = match packet {
                            Feedback::KeyframeRequest => &counters.keyframe_requests,
                            Feedback::Nack => &counters.nacks,
                            Feedback::TransportCc => &counters.feedback,
                            Feedback::SenderReport { .. } | Feedback::Other => continue,
                        };
                        keyframe |= packet == Feedback::KeyframeRequest;
                        counter.fetch_add(1, Relaxed);
                    }
                }
                Input::Nothing | Input::Rtp(_) => {}
            });
        if keyframe {
            // The next frame, at most 33 ms away, is one.
            self.frames_to_keyframe = 0;
        }
    }

    fn capture(&mut self, now: Instant) {
        let keyframe = self.frames_to_keyframe == 0;
        self.frames_to_keyframe = if keyframe { GOP_FRAMES } else { self.frames_to_keyframe } - 1;
        let timestamp = self.video.timestamp(now - self.started);
        let frame = self.encoder.frame(keyframe);
        self.next_paced = self.next_paced.max(now);
        self.queue.extend(frame.into_iter().map(|payload| (payload, timestamp)));
    }

    fn drain(&mut self, now: Instant) {
        while self.mode == Mode::Burst || now >= self.next_paced {
            let Some((payload, timestamp)) = self.queue.pop_front() else {
                break;
            };
            let bits = u64::try_from(payload.bytes.len()).unwrap_or(0) * 8;
            self.next_paced += Duration::from_nanos(bits * 1_000_000_000 / PACED_RATE);
            self.send(true, payload, timestamp);
        }
        self.counters.video.store(self.video.next_index, Relaxed);
    }

    fn send(&mut self, is_video: bool, mut payload: Payload, timestamp: u32) {
        let track = if is_video { &mut self.video } else { &mut self.audio };
        let index = track.next_index;
        track.next_index += 1;
        track.octets = track.octets.wrapping_add(payload.bytes.len() as u32);
        let sent_ns = sys::now_ns();
        let extras = Extras {
            mid: (index <= PACKETS_WITH_MID).then_some(track.media.mid.as_str()),
            // seconds modulo 64 in 6.18 fixed point
            abs_send_time: is_video.then_some((rtp::ntp(sent_ns) >> 14) as u32 & 0xff_ffff),
            transport_cc: Some(self.transport_sequence),
            audio_level: (!is_video).then_some(0x80 | 25),
        };
        self.transport_sequence = self.transport_sequence.wrapping_add(1);
        let header = Header::new(
            payload.last && is_video,
            track.media.payload_type,
            index as u16,
            timestamp,
            track.ssrc,
        );
        let mut packet = rtp::write_header(&header, &track.media.extensions, &extras);
        let header_len = packet.len();
        if payload.stamped {
            Stamp { sent_ns, index }.write(&mut payload.bytes);
        }
        packet.extend_from_slice(&payload.bytes);
        self.client.send_rtp(packet, header_len, track.ssrc, index);
    }

    fn report(&mut self, now: Instant) {
        let ntp = rtp::ntp(sys::now_ns());
        for track in [&self.audio, &self.video] {
            let sent = Sent {
                ssrc: track.ssrc,
                timestamp: track.timestamp(now - self.started),
                packets: (track.next_index - 1) as u32,
                octets: track.octets,
            };
            self.client
                .send_rtcp(rtp::write_sender_report(ntp, &sent, "load"), track.ssrc);
        }
    }
}
