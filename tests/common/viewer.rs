//! A full peer that watches, and what must be true of everything it is sent.

use crate::connection::{Answer, Connection, H264, Section, VP8};
use crate::node::{Node, PATIENCE};
use crate::relay::Loss;
use crate::tap::Received;
use bytes::Bytes;
use rtc::interceptor::Packet;
use rtc::rtcp::sender_report::SenderReport;
use rtc::rtp;
use rtc::rtp_transceiver::rtp_sender::RtpCodecKind;
use rtc::rtp_transceiver::{RTCRtpTransceiverDirection, RTCRtpTransceiverInit};
use std::fmt;
use std::time::{Duration, Instant};
use tokio::time::{sleep_until, timeout_at};

impl fmt::Debug for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tail = &self.payload[self.payload.len().saturating_sub(16)..];
        let (number, timestamp, repaired) = (self.sequence_number, self.timestamp, self.repaired);
        write!(f, "packet {number} at {timestamp}, repaired: {repaired}, …{tail:02x?}")
    }
}

pub struct Seen {
    pub at: Instant,
    pub sequence_number: u16,
    pub timestamp: u32,
    pub marker: bool,
    pub payload_type: u8,
    pub payload: Bytes,
    /// It came as a retransmission (RFC 4588); number and payload are the original's, the payload type is not.
    pub repaired: bool,
}

impl Seen {
    fn new(at: Instant, packet: rtp::Packet) -> Self {
        Self {
            at,
            sequence_number: packet.header.sequence_number,
            timestamp: packet.header.timestamp,
            marker: packet.header.marker,
            payload_type: packet.header.payload_type,
            payload: packet.payload,
            repaired: false,
        }
    }

    /// RFC 4588 section 4: the original sequence number, then the original payload.
    fn unwrapped(mut self) -> Self {
        let number = self.payload.split_to(2);
        self.sequence_number = u16::from_be_bytes([number[0], number[1]]);
        // As the tests number them.
        self.payload_type -= 1;
        self.repaired = true;
        self
    }

    fn comes_after(&self, other: &Self) -> bool {
        self.sequence_number.wrapping_sub(other.sequence_number).cast_signed() > 0
    }

    /// The first packet of a keyframe.
    pub fn starts_keyframe(&self) -> bool {
        const STAP_A: u8 = 24;
        const SPS: u8 = 7;
        match (self.payload_type, &self.payload[..]) {
            // RFC 6184 sections 5.6 and 5.7.1
            (H264, [nal, _, _, first, ..]) => nal & 0x1f == SPS || (nal & 0x1f == STAP_A && first & 0x1f == SPS),
            // RFC 6386 section 9.1
            (VP8, payload) => payload[0] & 0x10 != 0 && payload.windows(3).take(10).any(|w| w == [0x9d, 0x01, 0x2a]),
            _ => false,
        }
    }
}

/// One m-line.
pub struct Stream {
    pub section: Section,
    /// By sequence number, each once.
    pub packets: Vec<Seen>,
    pub reports: Vec<SenderReport>,
}

impl Stream {
    fn clock_hz(&self) -> f64 {
        if self.section.is_video { 90_000.0 } else { 48_000.0 }
    }

    /// Where the latest sender report puts an RTP timestamp on the sender's clock, in seconds (RFC 3550 section 6.4.1).
    pub fn ntp_s(&self, timestamp: u32) -> f64 {
        let report = self.reports.last().expect("a sender report");
        let ntp_s = report.ntp_time as f64 / 2_f64.powi(32);
        let since = timestamp.wrapping_sub(report.rtp_time).cast_signed();
        ntp_s + f64::from(since) / self.clock_hz()
    }

    fn insert(&mut self, seen: Seen) {
        let place = self.packets.iter().rposition(|before| !before.comes_after(&seen));
        let place = place.map_or(0, |before| before + 1);
        let known = place > 0 && self.packets[place - 1].sequence_number == seen.sequence_number;
        if !known {
            self.packets.insert(place, seen);
        }
    }

    fn is_gapless(&self) -> bool {
        let mut pairs = self.packets.windows(2);
        pairs.all(|pair| pair[0].sequence_number.wrapping_add(1) == pair[1].sequence_number)
    }

    /// No gap in the sequence numbers, and a timestamp that never runs back.
    pub fn assert_continuous(&self) {
        for pair in self.packets.windows(2) {
            let [before, after] = pair else { unreachable!() };
            assert_eq!(
                before.sequence_number.wrapping_add(1),
                after.sequence_number,
                "the sequence number of a packet"
            );
            let step = after.timestamp.wrapping_sub(before.timestamp).cast_signed();
            assert!(step >= 0, "a timestamp went back by {step} ticks");
        }
    }

    /// Beginning with a keyframe, continuous, and each frame that is followed by one that needs it to its end.
    pub fn assert_whole(&self) {
        let first = &self.packets[0];
        assert!(
            first.starts_keyframe(),
            "video starts with a keyframe and not with packet {}, {:02x?}",
            first.sequence_number,
            &first.payload[..first.payload.len().min(16)]
        );
        self.assert_continuous();
        for pair in self.packets.windows(2) {
            let ends = pair[0].timestamp != pair[1].timestamp;
            // A change of the encoding may cut a frame off; nothing refers to it.
            if !pair[0].marker && ends && pair[1].starts_keyframe() {
                continue;
            }
            assert_eq!(pair[0].marker, ends, "the marker of {:?} before {:?}", pair[0], pair[1]);
        }
    }
}

/// A video and the audio of the same source.
pub struct Slot {
    pub video: Stream,
    pub audio: Stream,
}

impl Slot {
    fn streams(&mut self) -> [&mut Stream; 2] {
        [&mut self.video, &mut self.audio]
    }
}

pub struct Viewer {
    pub connection: Connection,
    pub answer_sdp: String,
    pub slots: Vec<Slot>,
}

impl Viewer {
    /// Offers `slots` pairs at the room's `whep/{what}`.
    pub async fn watch(node: &Node, what: &str, user: &str, slots: usize) -> Self {
        Self::watch_losing(node, what, user, slots, Box::new(|_| false)).await
    }

    pub async fn watch_losing(node: &Node, what: &str, user: &str, slots: usize, loss: Loss) -> Self {
        let mut connection = Connection::new(&[H264, VP8]).await;
        for _ in 0..slots {
            for kind in [RtpCodecKind::Video, RtpCodecKind::Audio] {
                let init = RTCRtpTransceiverInit {
                    direction: RTCRtpTransceiverDirection::Recvonly,
                    ..Default::default()
                };
                let transceiver = connection.peer.add_transceiver_from_kind(kind, Some(init));
                transceiver.await.unwrap();
            }
        }
        let role = if user == crate::node::HOST { "host" } else { "member" };
        let token = node.token(user, role).await;
        let url = node.room_url(&format!("whep/{what}"));
        let Answer { sections, sdp } = connection.negotiate(&url, &token, |offer| offer, loss).await;
        assert_eq!(sections.len(), slots * 2, "{sdp}");
        let mut streams = sections.into_iter().map(|section| Stream {
            section,
            packets: vec![],
            reports: vec![],
        });
        let mut pairs = Vec::new();
        while let (Some(video), Some(audio)) = (streams.next(), streams.next()) {
            pairs.push(Slot { video, audio });
        }
        Self {
            connection,
            answer_sdp: sdp,
            slots: pairs,
        }
    }

    /// The only slot's.
    pub fn video(&self) -> &Stream {
        &self.slots[0].video
    }
    pub fn audio(&self) -> &Stream {
        &self.slots[0].audio
    }

    /// Receives until `done`.
    pub async fn until(&mut self, what: &str, mut done: impl FnMut(&[Slot]) -> bool) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while !done(&self.slots) {
            match timeout_at(deadline, self.connection.received.recv()).await {
                Ok(Some(received)) => self.sort(received),
                Ok(None) => panic!("waiting for {what}: the connection ended"),
                Err(_) => panic!("waiting for {what}: {}", self.summary()),
            }
        }
    }

    /// Receives until what the path lost is repaired; a number that the node left out never will be.
    pub async fn settle(&mut self) {
        self.until("a gap to be repaired", |slots| {
            slots
                .iter()
                .all(|slot| slot.video.is_gapless() && slot.audio.is_gapless())
        })
        .await;
    }

    /// One packet; `false`: the connection ended.
    pub async fn receive(&mut self) -> bool {
        let received = self.connection.received.recv().await;
        let open = received.is_some();
        received.into_iter().for_each(|received| self.sort(received));
        open
    }

    /// Receives for so long, whatever comes.
    pub async fn for_time(&mut self, time: Duration) {
        let end = tokio::time::Instant::now() + time;
        loop {
            tokio::select! {
                Some(received) = self.connection.received.recv() => self.sort(received),
                () = sleep_until(end) => return,
            }
        }
    }

    fn sort(&mut self, received: Received) {
        match received.packet {
            Packet::Rtp(packet) => {
                let mut streams = self.slots.iter_mut().flat_map(Slot::streams);
                let ssrc = packet.header.ssrc;
                let stream = streams.find(|s| s.section.ssrc == ssrc || s.section.rtx_ssrc == Some(ssrc));
                let stream = stream.expect("an SSRC of the answer");
                let seen = Seen::new(received.at, packet);
                let repair = stream.section.rtx_ssrc == Some(ssrc);
                stream.insert(if repair { seen.unwrapped() } else { seen });
            }
            Packet::Rtcp(parts) => {
                for report in parts
                    .iter()
                    .filter_map(|part| part.as_any().downcast_ref::<SenderReport>())
                {
                    let mut streams = self.slots.iter_mut().flat_map(Slot::streams);
                    let stream = streams.find(|stream| stream.section.ssrc == report.ssrc);
                    stream.expect("an SSRC of the answer").reports.push(report.clone());
                }
            }
            other => panic!("neither RTP nor RTCP: {other:?}"),
        }
    }

    pub fn summary(&self) -> String {
        let slots = self.slots.iter().map(|slot| {
            let counts = |stream: &Stream| (stream.packets.len(), stream.reports.len());
            let (video, audio) = (counts(&slot.video), counts(&slot.audio));
            format!("(packets, reports) video {video:?} audio {audio:?}")
        });
        slots.collect::<Vec<_>>().join("; ")
    }
}
