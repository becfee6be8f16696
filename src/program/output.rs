//! The packets of the program's source: of encoded pictures and blocks of sound, and the host's own under the program's
//! numbers. Pure. Timestamps and numbers come from outside; the workers are told what times they stand for.

use super::Sink;
use super::elastic::Numbers;
use super::host::Passing;
use super::voices::Voices;
use crate::forward::{FeedUpdate, LayerIndex};
use crate::mix::codec::EncodedPicture;
use crate::rtp::h264::Packetizer;
use crate::rtp::{Codec, MediaKind, Meta, NtpClock, PacketView};
use std::time::{Duration, Instant};

/// How often the workers are told what time an RTP timestamp stands for: as often as senders report (RFC 3550 §6.2 has 5 s;
/// viewers that come later get the last one with the start).
const CLOCK_INTERVAL: Duration = Duration::from_secs(5);

/// Under what a packet, or the first of a picture's, leaves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    pub numbers: Numbers,
    /// Of the program.
    pub moment: Instant,
    pub now: Instant,
}

/// The picture, and of the sound the whole mix.
const WHOLE: LayerIndex = LayerIndex(0);

/// One of the program's two streams.
#[derive(Default)]
struct Stream {
    /// The moment for which the stream's clock was last told, and whether that was the host's.
    told: Option<(Instant, bool)>,
}

pub(super) struct Output {
    clock: NtpClock,
    video: Stream,
    audio: Stream,
    packetizer: Packetizer,
    /// Of the sound.
    pub voices: Voices,
    /// A packet of the block of sound under way is out, but not that of the whole mix.
    in_block: bool,
}

impl Output {
    pub fn new(clock: NtpClock) -> Self {
        Output {
            clock,
            video: Stream::default(),
            audio: Stream::default(),
            packetizer: Packetizer::default(),
            voices: Voices::default(),
            in_block: false,
        }
    }

    /// How many packets a picture is.
    pub fn packets(&mut self, picture: EncodedPicture) -> u64 {
        let mut packets = 0;
        self.packetizer.packetize(picture.bytes, |_, _| packets += 1);
        packets
    }

    pub fn picture(&mut self, picture: EncodedPicture, sent: Sent, sink: &mut impl Sink) {
        self.video.tell(MediaKind::Video, &self.clock, (sent, false), sink);
        let mut sequence = sent.numbers.sequence;
        let mut first = picture.keyframe;
        self.packetizer.packetize(picture.bytes, |payload, marker| {
            let meta = Meta {
                sequence,
                timestamp: sent.numbers.timestamp,
                marker,
                starts_keyframe: std::mem::take(&mut first),
                codec: Codec::H264,
                arrival: sent.now,
                extensions_len: 0,
            };
            sequence += 1;
            sink.publish(MediaKind::Video, WHOLE, PacketView { meta, bytes: payload });
        });
    }

    /// A packet of a block of the mixer's sound: of [other layers](LayerIndex) than the whole mix first, under the same
    /// numbers, then that one.
    pub fn sound(&mut self, layer: LayerIndex, packet: &[u8], sent: Sent, sink: &mut impl Sink) {
        // who was not given all of a block goes on with the next one, see [`Port::publish`](crate::worker::Port::publish)
        let first = !std::mem::replace(&mut self.in_block, layer != WHOLE);
        self.audio.tell(MediaKind::Audio, &self.clock, (sent, false), sink);
        self.voices
            .handle_mixed(sent.numbers.sequence, |update| sink.update(update));
        let meta = Meta {
            sequence: sent.numbers.sequence,
            timestamp: sent.numbers.timestamp,
            marker: false,
            starts_keyframe: first,
            codec: Codec::Opus,
            arrival: sent.now,
            extensions_len: 0,
        };
        sink.publish(MediaKind::Audio, layer, PacketView { meta, bytes: packet });
    }

    /// A packet of the host's.
    pub fn forward(&mut self, kind: MediaKind, packet: &Passing, sent: Sent, sink: &mut impl Sink) {
        let stream = match kind {
            MediaKind::Audio => &mut self.audio,
            MediaKind::Video => &mut self.video,
        };
        stream.tell(kind, &self.clock, (sent, true), sink);
        if kind == MediaKind::Audio {
            self.voices
                .handle_passed(packet.source, sent.numbers.sequence, |update| sink.update(update));
        }
        let meta = Meta {
            sequence: sent.numbers.sequence,
            timestamp: sent.numbers.timestamp,
            ..packet.meta
        };
        let bytes = &packet.bytes;
        sink.publish(kind, WHOLE, PacketView { meta, bytes });
    }
}

impl Stream {
    /// Says what time the timestamp stands for, if it is time to, or somebody else makes the stream now.
    fn tell(&mut self, kind: MediaKind, clock: &NtpClock, (sent, is_host): (Sent, bool), sink: &mut impl Sink) {
        let is_known = |(told, whose): (Instant, bool)| whose == is_host && sent.moment < told + CLOCK_INTERVAL;
        if self.told.is_some_and(is_known) {
            return;
        }
        self.told = Some((sent.moment, is_host));
        sink.update(FeedUpdate::Clock {
            kind,
            layer: WHOLE,
            ntp: clock.at(sent.moment),
            rtp: sent.numbers.timestamp,
        });
    }
}
