//! What one worker keeps of a source.

use super::clock::Clock;
use super::outgoing::START_AGE;
use super::{LayerIndex, SourceId};
use crate::congestion::LayerState;
use crate::rtp::ring::Ring;
use crate::rtp::{Codec, MediaKind, Meta, PacketView};
use std::time::{Duration, Instant};

/// What a feed has to be prepared for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeedDescription {
    pub audio: Option<Codec>,
    pub video: Option<Codec>,
    /// Simulcast encodings of the video, 1 without simulcast.
    pub layers: u8,
}

/// News of a source besides its packets; travels in the control lane between workers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FeedUpdate {
    /// The publisher's sender report, its NTP time already on the server's clock: one offset per source, so lip sync
    /// holds. 32.32 fixed-point seconds since 1900.
    Clock {
        kind: MediaKind,
        layer: LayerIndex,
        ntp: u64,
        rtp: u32,
    },
    /// The size of a layer, from its last keyframe.
    Size { layer: LayerIndex, width: u16, height: u16 },
    /// A layer began to arrive, or stopped (no packet for 1 s).
    Flowing {
        kind: MediaKind,
        layer: LayerIndex,
        flowing: bool,
    },
    /// Muted or locked: what comes next continues nothing.
    Interrupted { kind: MediaKind },
    /// The publisher does not answer keyframe requests: starts come from the ring, however old its keyframe is.
    IgnoresKeyframeRequests,
    /// Smoothed loudness of the audio, 0 (silent) ..= 127, at most 4 a second: orders stage slots.
    Loudness { level: u8 },
}

/// Rings and state of one source on one worker.
pub struct Feed {
    id: SourceId,
    audio: Option<FeedTrack>,
    video: Option<FeedTrack>,
    loudness: u8,
    fresh: bool,
}

impl Feed {
    pub fn new(id: SourceId, description: FeedDescription) -> Self {
        let track = |codec, layers| FeedTrack::new(codec, layers);
        Feed {
            id,
            audio: description.audio.map(|codec| track(codec, 1)),
            video: description.video.map(|codec| track(codec, description.layers.max(1))),
            loudness: 0,
            fresh: false,
        }
    }

    pub fn id(&self) -> SourceId {
        self.id
    }

    /// Keeps a packet and marks it fresh, to be forwarded by the next [`Viewer::forward`](super::Viewer::forward).
    /// Duplicates, packets older than the ring and packets of unknown layers are left out.
    pub fn store(&mut self, kind: MediaKind, layer: LayerIndex, packet: PacketView) {
        let Some(track) = self.track_mut(kind) else { return };
        let Some(kept) = track.layers.get_mut(usize::from(layer.0)) else {
            return;
        };
        if !kept.store(packet) {
            return;
        }
        if !kept.flowing {
            kept.flowing = true;
            track.revise();
        }
        self.fresh = true;
    }

    pub fn update(&mut self, update: FeedUpdate) {
        match update {
            FeedUpdate::Clock { kind, layer, ntp, rtp } => {
                let clock = self
                    .layer_mut(kind, layer)
                    .map(|layer| layer.clock.replace(Clock { ntp, rtp }));
                if clock == Some(None) {
                    self.revise(kind);
                }
            }
            FeedUpdate::Size { layer, width, height } => {
                let size = self
                    .layer_mut(MediaKind::Video, layer)
                    .map(|layer| layer.size.replace((width, height)));
                if size.is_some_and(|before| before != Some((width, height))) {
                    self.revise(MediaKind::Video);
                }
            }
            FeedUpdate::Flowing { kind, layer, flowing } => {
                let before = self
                    .layer_mut(kind, layer)
                    .map(|layer| std::mem::replace(&mut layer.flowing, flowing));
                if before == Some(!flowing) {
                    self.revise(kind);
                }
            }
            FeedUpdate::Interrupted { kind } => {
                if let Some(track) = self.track_mut(kind) {
                    track.interruptions = track.interruptions.wrapping_add(1);
                    track.layers.iter_mut().for_each(FeedLayer::forget);
                }
                self.revise(kind);
            }
            FeedUpdate::IgnoresKeyframeRequests => {
                if let Some(video) = &mut self.video {
                    video.ignores_keyframe_requests = true;
                    video.layers.iter_mut().for_each(|layer| layer.ring.keep_gop());
                }
                self.revise(MediaKind::Video);
            }
            FeedUpdate::Loudness { level } => self.loudness = level,
        }
    }

    /// The updates that bring a new feed of the same source to this one's state, for a worker that joins later.
    pub fn state(&self) -> Vec<FeedUpdate> {
        let mut updates = vec![FeedUpdate::Loudness { level: self.loudness }];
        if self.video.as_ref().is_some_and(|video| video.ignores_keyframe_requests) {
            updates.push(FeedUpdate::IgnoresKeyframeRequests);
        }
        for (kind, track) in [(MediaKind::Audio, &self.audio), (MediaKind::Video, &self.video)] {
            for (layer, index) in track.iter().flat_map(|track| &track.layers).zip(0u8..) {
                let at = LayerIndex(index);
                updates.extend(layer.clock.map(|Clock { ntp, rtp }| FeedUpdate::Clock {
                    kind,
                    layer: at,
                    ntp,
                    rtp,
                }));
                updates.extend(layer.size.map(|(width, height)| FeedUpdate::Size {
                    layer: at,
                    width,
                    height,
                }));
                updates.push(FeedUpdate::Flowing {
                    kind,
                    layer: at,
                    flowing: layer.flowing,
                });
            }
        }
        updates
    }

    /// The packets with which a worker that joins later can start its viewers: of each layer of the video those since its
    /// newest keyframe, unless that is too old to start from.
    pub fn replay(&self, now: Instant, mut each: impl FnMut(MediaKind, LayerIndex, PacketView)) {
        let Some(video) = &self.video else { return };
        for (layer, index) in video.layers.iter().zip(0u8..) {
            let Some(keyframe) = &layer.keyframe else { continue };
            let age = now.saturating_duration_since(keyframe.arrival);
            if age <= START_AGE || video.ignores_keyframe_requests {
                let packets = layer.ring.range(keyframe.sequence);
                packets.for_each(|packet| each(MediaKind::Video, LayerIndex(index), packet));
            }
        }
    }

    /// Anything stored or learned since [`clear_fresh`](Self::clear_fresh)?
    pub fn has_fresh(&self) -> bool {
        self.fresh
    }

    /// Called once all viewers were served.
    pub fn clear_fresh(&mut self) {
        if !self.fresh {
            return;
        }
        self.fresh = false;
        for track in self.audio.iter_mut().chain(&mut self.video) {
            track.layers.iter_mut().for_each(|layer| layer.fresh.clear());
        }
    }

    pub(super) fn loudness(&self) -> u8 {
        self.loudness
    }

    /// [`FeedTrack::revision`] of audio and video.
    pub(super) fn revisions(&self) -> (u32, u32) {
        let of = |track: &Option<FeedTrack>| track.as_ref().map_or(0, |track| track.revision);
        (of(&self.audio), of(&self.video))
    }

    pub(super) fn track(&self, kind: MediaKind) -> Option<&FeedTrack> {
        match kind {
            MediaKind::Audio => self.audio.as_ref(),
            MediaKind::Video => self.video.as_ref(),
        }
    }

    fn track_mut(&mut self, kind: MediaKind) -> Option<&mut FeedTrack> {
        match kind {
            MediaKind::Audio => self.audio.as_mut(),
            MediaKind::Video => self.video.as_mut(),
        }
    }

    fn layer_mut(&mut self, kind: MediaKind, layer: LayerIndex) -> Option<&mut FeedLayer> {
        self.track_mut(kind)?.layers.get_mut(usize::from(layer.0))
    }

    /// Viewers look again at what they chose.
    fn revise(&mut self, kind: MediaKind) {
        if let Some(track) = self.track_mut(kind) {
            track.revise();
            self.fresh = true;
        }
    }
}

/// The audio or the video of a source.
pub(super) struct FeedTrack {
    pub(super) layers: Vec<FeedLayer>,
    /// Counts what makes a viewer look again: layers that begin or stop, sizes, the first clock, interruptions.
    pub(super) revision: u32,
    /// How often the track was muted or locked: packets of different counts don't continue each other.
    pub(super) interruptions: u32,
    pub(super) ignores_keyframe_requests: bool,
}

impl FeedTrack {
    fn new(codec: Codec, layers: u8) -> Self {
        FeedTrack {
            layers: (0..layers).map(|_| FeedLayer::new(codec.kind())).collect(),
            revision: 1,
            interruptions: 0,
            ignores_keyframe_requests: false,
        }
    }

    pub(super) fn layer(&self, layer: LayerIndex) -> Option<&FeedLayer> {
        self.layers.get(usize::from(layer.0))
    }

    pub(super) fn flowing(&self) -> bool {
        self.layers.iter().any(|layer| layer.flowing)
    }

    pub(super) fn states(&self) -> impl Iterator<Item = LayerState> + Clone + '_ {
        self.layers.iter().map(|layer| LayerState {
            flowing: layer.flowing,
            size: layer.size,
            bitrate_bps: layer.rate.bitrate_bps,
        })
    }

    fn revise(&mut self) {
        self.revision = self.revision.wrapping_add(1);
    }
}

/// One encoding.
pub(super) struct FeedLayer {
    pub(super) ring: Ring,
    pub(super) clock: Option<Clock>,
    pub(super) flowing: bool,
    pub(super) keyframe: Option<Keyframe>,
    size: Option<(u16, u16)>,
    /// Sequence numbers stored since the viewers were last served, in order of arrival. Bounded by what a worker takes
    /// out of its sockets and lanes in one turn.
    fresh: Vec<u64>,
    /// How many packets were ever stored: the number of the next one. A viewer remembers up to which number it was
    /// served, so that no packet is sealed twice under one index.
    stored: u64,
    rate: Rate,
}

/// The newest random access point in a ring.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Keyframe {
    /// Of the packet it starts with.
    pub(super) sequence: u64,
    pub(super) arrival: Instant,
    timestamp: u32,
}

impl FeedLayer {
    fn new(kind: MediaKind) -> Self {
        FeedLayer {
            ring: if kind == MediaKind::Audio {
                Ring::audio()
            } else {
                Ring::video()
            },
            clock: None,
            flowing: false,
            keyframe: None,
            size: None,
            fresh: Vec::new(),
            stored: 0,
            rate: Rate::default(),
        }
    }

    /// The number the next stored packet gets.
    pub(super) fn stored(&self) -> u64 {
        self.stored
    }

    /// Sequence numbers of the fresh packets with a number of at least `from`, in order of arrival.
    pub(super) fn fresh_since(&self, from: u64) -> &[u64] {
        let first = self.stored - self.fresh.len() as u64;
        let served = usize::try_from(from.saturating_sub(first)).unwrap_or(usize::MAX);
        self.fresh.get(served..).unwrap_or(&[])
    }

    /// Nothing is missing between the keyframe's start and the newest packet.
    pub(super) fn contiguous(&self, keyframe: &Keyframe) -> bool {
        self.ring
            .contiguous_from()
            .is_some_and(|from| from <= keyframe.sequence)
    }

    fn store(&mut self, packet: PacketView) -> bool {
        if !self.ring.store(packet) {
            return false;
        }
        let meta = &packet.meta;
        self.fresh.push(meta.sequence);
        self.stored += 1;
        self.rate.add(packet.bytes.len(), meta.arrival);
        if meta.starts_keyframe && meta.codec.kind() == MediaKind::Video {
            self.note_keyframe(meta);
        }
        true
    }

    fn note_keyframe(&mut self, meta: &Meta) {
        let begins = self.keyframe.is_none_or(|keyframe| {
            if keyframe.timestamp == meta.timestamp {
                // several packets of one picture may qualify: the first is the start
                meta.sequence < keyframe.sequence
            } else {
                meta.sequence > keyframe.sequence
            }
        });
        if begins {
            let &Meta {
                sequence,
                timestamp,
                arrival,
                ..
            } = meta;
            self.keyframe = Some(Keyframe {
                sequence,
                arrival,
                timestamp,
            });
        }
    }

    /// Nothing from before an interruption is sent again.
    fn forget(&mut self) {
        self.ring.clear();
        self.fresh.clear();
        self.keyframe = None;
    }
}

/// Bitrate over whole seconds.
#[derive(Default)]
struct Rate {
    bitrate_bps: u64,
    bytes: u64,
    since: Option<Instant>,
}

impl Rate {
    const WINDOW: Duration = Duration::from_secs(1);

    fn add(&mut self, bytes: usize, now: Instant) {
        let elapsed = now.saturating_duration_since(*self.since.get_or_insert(now));
        if elapsed >= Self::WINDOW {
            let elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
            self.bitrate_bps = self.bytes.saturating_mul(8000) / elapsed_ms.max(1);
            (self.bytes, self.since) = (0, Some(now));
        }
        self.bytes += bytes as u64;
    }
}
