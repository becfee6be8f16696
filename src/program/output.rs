//! From encoded pictures and blocks of sound to the packets of the program's source. Pure. RTP timestamps run with the
//! program's time, from a random-looking start; sequence numbers are consecutive.

use super::Sink;
use crate::forward::{FeedUpdate, LayerIndex};
use crate::mix::codec::EncodedPicture;
use crate::rtp::h264::Packetizer;
use crate::rtp::{Codec, MediaKind, Meta, NtpClock, PacketView};
use std::time::{Duration, Instant};

/// How often the workers are told what time an RTP timestamp stands for: as often as senders report (RFC 3550 §6.2 has 5 s;
/// viewers that come later get the last one with the start).
const CLOCK_INTERVAL: Duration = Duration::from_secs(5);

/// The picture, and of the sound the whole mix.
const WHOLE: LayerIndex = LayerIndex(0);

/// One of the program's two streams.
struct Stream {
    kind: MediaKind,
    /// Of the next packet.
    sequence: u64,
    /// When the stream's clock was last told.
    told: Option<Instant>,
}

pub(super) struct Output {
    clock: NtpClock,
    /// RTP timestamp 0 of both streams.
    origin: Instant,
    video: Stream,
    audio: Stream,
    packetizer: Packetizer,
    /// A packet of the block of sound under way is out, but not that of the whole mix.
    in_block: bool,
}

impl Output {
    pub fn new(clock: NtpClock, origin: Instant) -> Self {
        let stream = |kind| Stream {
            kind,
            sequence: 1,
            told: None,
        };
        Output {
            clock,
            origin,
            video: stream(MediaKind::Video),
            audio: stream(MediaKind::Audio),
            packetizer: Packetizer::default(),
            in_block: false,
        }
    }

    /// The picture of the program's time `at`.
    pub fn picture(&mut self, picture: EncodedPicture, at: Instant, now: Instant, sink: &mut impl Sink) {
        let timestamp = self.video.stamp(self.origin, &self.clock, at, sink);
        let stream = &mut self.video;
        let mut first = picture.keyframe;
        self.packetizer.packetize(picture.bytes, |payload, last| {
            let starts_keyframe = std::mem::take(&mut first);
            stream.publish(WHOLE, payload, (timestamp, last, starts_keyframe), now, sink);
            stream.sequence += 1;
        });
    }

    /// The block of sound that begins at the program's time `at`: of [other layers](LayerIndex) than the whole mix first,
    /// under the same number, then that one.
    pub fn sound(&mut self, layer: LayerIndex, packet: &[u8], at: Instant, now: Instant, sink: &mut impl Sink) {
        let timestamp = self.audio.stamp(self.origin, &self.clock, at, sink);
        // who was not given all of a block goes on with the next one, see [`Port::publish`](crate::worker::Port::publish)
        let first = !std::mem::replace(&mut self.in_block, layer != WHOLE);
        let stream = &mut self.audio;
        stream.publish(layer, packet, (timestamp, false, first), now, sink);
        stream.sequence += u64::from(layer == WHOLE);
    }
}

impl Stream {
    fn codec(&self) -> Codec {
        match self.kind {
            MediaKind::Audio => Codec::Opus,
            MediaKind::Video => Codec::H264,
        }
    }

    /// The RTP timestamp of this time.
    fn stamp(&mut self, origin: Instant, clock: &NtpClock, at: Instant, sink: &mut impl Sink) -> u32 {
        let since = at.saturating_duration_since(origin);
        let ticks = since.as_nanos() * u128::from(self.codec().clock_rate()) / 1_000_000_000;
        // timestamps wrap (RFC 3550 §5.1)
        let rtp = (ticks & u128::from(u32::MAX)) as u32;
        if self.told.is_none_or(|told| at >= told + CLOCK_INTERVAL) {
            self.told = Some(at);
            sink.update(FeedUpdate::Clock {
                kind: self.kind,
                layer: WHOLE,
                ntp: clock.at(at),
                rtp,
            });
        }
        rtp
    }

    fn publish(
        &self,
        layer: LayerIndex,
        payload: &[u8],
        (timestamp, marker, starts_keyframe): (u32, bool, bool),
        now: Instant,
        sink: &mut impl Sink,
    ) {
        let meta = Meta {
            sequence: self.sequence,
            timestamp,
            marker,
            starts_keyframe,
            codec: self.codec(),
            arrival: now,
            extensions_len: 0,
        };
        sink.publish(self.kind, layer, PacketView { meta, bytes: payload });
    }
}
