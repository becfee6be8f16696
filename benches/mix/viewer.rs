//! The program's viewer: counts pictures, opens every packet and sends the feedback browsers send. Shell.
//!
//! Time base: nanoseconds since the Unix epoch for packets, `Instant` for timers.

use crate::client::{Client, Input};
use crate::loader::Counters;
use crate::rtp::{self, Feedback, Header, Received};
use crate::sdp::Answer;
use crate::stream::{self, Arrivals, Stream};
use crate::sys::{self, Batch};
use costage::rtp::h264;
use std::os::fd::RawFd;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

const FEEDBACK: Duration = Duration::from_millis(100);
const RECEIVER_REPORTS: Duration = Duration::from_secs(1);

pub struct Viewer {
    client: Client,
    media: Media,
    next_feedback: Instant,
    next_report: Instant,
}

/// What has come.
struct Media {
    audio: Stream,
    video: Stream,
    /// The extension's id, which both media share in a bundle.
    transport_cc: u8,
    arrivals: Arrivals,
    /// The RTP time of the last picture counted.
    picture: Option<u32>,
}

impl Viewer {
    pub fn new(client: Client, answer: &Answer, now: Instant) -> Viewer {
        Viewer {
            client,
            media: Media {
                audio: Stream::new(answer.audio.payload_type),
                video: Stream::new(answer.video.payload_type),
                transport_cc: answer.video.extensions.transport_cc,
                arrivals: Arrivals::default(),
                picture: None,
            },
            next_feedback: now + FEEDBACK,
            next_report: now + RECEIVER_REPORTS,
        }
    }

    pub fn fd(&self) -> RawFd {
        self.client.fd()
    }

    pub fn receive(&mut self, batch: &mut Batch, counters: &Counters, now: Instant) {
        let fd = self.fd();
        let (client, media) = (&mut self.client, &mut self.media);
        batch.receive(fd, |datagram, arrived_ns| match client.handle(datagram, now) {
            Input::Connected => drop(counters.connected.fetch_add(1, Relaxed)),
            Input::Rtp(packet) => media.rtp(client, packet, arrived_ns, counters),
            Input::Rtcp(compound) => media.rtcp(compound, arrived_ns),
            Input::Closed(why) => {
                counters.closed.fetch_add(1, Relaxed);
                eprintln!("mix: the viewer's transport is closed: {why}");
            }
            Input::Nothing => {}
        });
    }

    pub fn poll(&mut self, counters: &Counters, now: Instant) {
        self.client.poll(now);
        if now >= self.next_feedback {
            self.next_feedback = now + FEEDBACK;
            if let Some(packet) = self.media.arrivals.feedback(self.media.video.ssrc) {
                self.client.send_rtcp(packet, stream::OWN_SSRC);
            }
        }
        if now >= self.next_report {
            self.next_report = now + RECEIVER_REPORTS;
            let now_ns = sys::now_ns();
            let streams = [&mut self.media.audio, &mut self.media.video];
            let blocks: Vec<Received> = streams.into_iter().filter_map(|stream| stream.report(now_ns)).collect();
            let lost = blocks.iter().map(|block| u64::from(block.total_lost)).sum();
            counters.lost.store(lost, Relaxed);
            let report = rtp::write_receiver_report(stream::OWN_SSRC, &blocks);
            self.client.send_rtcp(report, stream::OWN_SSRC);
        }
    }
}

impl Media {
    fn rtp(&mut self, client: &Client, packet: &mut [u8], arrived_ns: u64, counters: &Counters) {
        let Some(header) = Header::parse(packet) else { return };
        if let Some([high, low]) = header.extension(packet, self.transport_cc) {
            self.arrivals.record(u16::from_be_bytes([*high, *low]), arrived_ns);
        }
        let is_video = header.payload_type == self.video.payload_type;
        let stream = match header.payload_type {
            _ if is_video => &mut self.video,
            audio if audio == self.audio.payload_type => &mut self.audio,
            // Retransmissions: nothing is lost on loopback, so they are probes.
            _ => return,
        };
        let sequence = stream.arrived(&header);
        if sequence.is_duplicate {
            return;
        }
        let payload = client.open_rtp(packet, header.len, header.ssrc, sequence.extended);
        let Some(payload) = payload else {
            counters.forged.fetch_add(1, Relaxed);
            return;
        };
        counters.bytes.fetch_add(payload.len() as u64, Relaxed);
        if !is_video {
            counters.sounds.fetch_add(1, Relaxed);
            return;
        }
        counters
            .keyframes
            .fetch_add(u64::from(h264::starts_keyframe(payload)), Relaxed);
        if self.picture != Some(header.timestamp) {
            self.picture = Some(header.timestamp);
            counters.pictures.fetch_add(1, Relaxed);
        }
    }

    fn rtcp(&mut self, compound: &[u8], arrived_ns: u64) {
        for packet in rtp::feedback(compound) {
            if let Feedback::SenderReport { ssrc, ntp } = packet {
                let streams = [&mut self.audio, &mut self.video];
                if let Some(stream) = streams.into_iter().find(|stream| stream.ssrc == ssrc) {
                    stream.last_report = Some(((ntp >> 16) as u32, arrived_ns));
                }
            }
        }
    }
}
