//! What one worker keeps of a source.

use super::clock::Clock;
use super::outgoing::START_AGE;
use super::voices::{Voice, Voices};
use super::{LayerIndex, SourceId};
use crate::congestion::LayerState;
use crate::rtp::ring::Ring;
use crate::rtp::{Codec, MediaKind, Meta, PacketView};
use std::time::{Duration, Instant};

/// Layers of a program's sound: the whole, and one without each voice; no room has more seats.
const AUDIO_LAYERS_MAX: u8 = 17;

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
    /// Of a program: from this packet of its sound on, the voice of a source is there. Said before that packet.
    Voice { source: SourceId, from: u64, voice: Voice },
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
    /// Duplicates, packets older than the ring and packets of unknown layers are left out. Layers of a program's sound
    /// come into being with their first packet.
    pub fn store(&mut self, kind: MediaKind, layer: LayerIndex, packet: PacketView) {
        let Some(track) = self.track_mut(kind) else { return };
        if kind == MediaKind::Audio && layer.0 < AUDIO_LAYERS_MAX {
            let count = track.layers.len().max(usize::from(layer.0) + 1);
            track.layers.resize_with(count, || FeedLayer::new(kind));
        }
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
            FeedUpdate::Voice { source, from, voice } => {
                if let Some(audio) = &mut self.audio {
                    audio.voices.note(source, from, voice);
                }
            }
        }
    }

    /// The updates that bring a new feed of the same source to this one's state, for a worker that joins later.
    pub fn state(&self) -> Vec<FeedUpdate> {
        let mut updates = vec![FeedUpdate::Loudness { level: self.loudness }];
        if self.video.as_ref().is_some_and(|video| video.ignores_keyframe_requests) {
            updates.push(FeedUpdate::IgnoresKeyframeRequests);
        }
        updates.extend(self.audio.iter().flat_map(|audio| audio.voices.state()));
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
    /// newest keyframe, unless that is too old to start from. What is missing between them comes later, if at all: then it
    /// is fresh.
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
    /// Of a program's sound.
    pub(super) voices: Voices,
}

impl FeedTrack {
    fn new(codec: Codec, layers: u8) -> Self {
        FeedTrack {
            layers: (0..layers).map(|_| FeedLayer::new(codec.kind())).collect(),
            revision: 1,
            interruptions: 0,
            ignores_keyframe_requests: false,
            voices: Voices::default(),
        }
    }

    pub(super) fn layer(&self, layer: LayerIndex) -> Option<&FeedLayer> {
        self.layers.get(usize::from(layer.0))
    }

    /// Of a number, the packet of `layer` or what stands in its place; none that may hold the voice that is left out.
    pub(super) fn packet<'f>(&'f self, left_out: Voice, layer: &'f FeedLayer, sequence: u64) -> Option<PacketView<'f>> {
        let without = match left_out {
            Voice::Nowhere => None,
            Voice::Apart(without) => self.layer(without).and_then(|without| without.ring.get(sequence)),
            Voice::Everywhere => return None,
        };
        without.or_else(|| layer.ring.get(sequence))
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
    /// Sequence numbers stored since the viewers were last served, in order of arrival; at most [`FRESH_MAX`].
    fresh: Vec<u64>,
    /// How many packets were ever stored: the number of the next one. A viewer remembers up to which number it was
    /// served, so that no packet is sealed twice under one index.
    stored: u64,
    rate: Rate,
}

/// Packets of one layer that can wait for the viewers to be served: two seconds of 10 Mbit/s, a thousand times what a
/// worker takes in per turn. If nobody serves them for longer, they are forgotten, and viewers see a gap.
const FRESH_MAX: usize = 2048;

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
        if self.fresh.len() == FRESH_MAX {
            self.fresh.clear();
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    const DESCRIPTION: FeedDescription = FeedDescription {
        audio: Some(Codec::Opus),
        video: Some(Codec::H264),
        layers: 2,
    };

    fn store(feed: &mut Feed, layer: u8, sequence: u64, timestamp: u32, starts_keyframe: bool, arrival: Instant) {
        let meta = Meta {
            sequence,
            timestamp,
            marker: false,
            starts_keyframe,
            codec: Codec::H264,
            arrival,
            extensions_len: 0,
        };
        let packet = PacketView {
            meta,
            bytes: &[0; 1000],
        };
        feed.store(MediaKind::Video, LayerIndex(layer), packet);
    }

    fn layer(feed: &Feed, layer: u8) -> &FeedLayer {
        feed.track(MediaKind::Video)
            .and_then(|track| track.layer(LayerIndex(layer)))
            .expect("described")
    }

    #[test]
    fn fresh_packets_are_numbered_over_clearing() {
        let now = Instant::now();
        let mut feed = Feed::new(SourceId(1), DESCRIPTION);
        assert!(!feed.has_fresh());
        for sequence in [10, 12, 12, 11] {
            store(&mut feed, 0, sequence, 0, false, now);
        }
        assert_eq!(
            layer(&feed, 0).fresh_since(0),
            [10, 12, 11],
            "in order of arrival, without duplicates"
        );
        assert_eq!(layer(&feed, 0).fresh_since(2), [11]);
        feed.clear_fresh();
        assert!(!feed.has_fresh() && layer(&feed, 0).fresh_since(0).is_empty());
        store(&mut feed, 0, 13, 0, false, now);
        assert_eq!(
            (layer(&feed, 0).fresh_since(3), layer(&feed, 0).stored()),
            (&[13][..], 4)
        );
        assert_eq!(layer(&feed, 0).fresh_since(4), [0; 0]);
        store(&mut feed, 7, 1, 0, false, now);
        assert!(layer(&feed, 1).ring.newest().is_none(), "unknown layers are left out");
        for sequence in 0..10_000 {
            store(&mut feed, 1, sequence, 0, false, now);
        }
        assert!(layer(&feed, 1).fresh.len() <= FRESH_MAX);
        assert_eq!(layer(&feed, 1).fresh_since(9_999), [9_999]);
    }

    #[test]
    fn the_first_packet_of_the_newest_keyframe_is_known() {
        let now = Instant::now();
        let mut feed = Feed::new(SourceId(1), DESCRIPTION);
        for (sequence, timestamp, starts) in [(10, 1, true), (11, 1, true), (13, 2, false)] {
            store(&mut feed, 0, sequence, timestamp, starts, now);
        }
        let keyframe = layer(&feed, 0).keyframe.expect("stored");
        assert_eq!((keyframe.sequence, layer(&feed, 0).contiguous(&keyframe)), (10, false));
        store(&mut feed, 0, 12, 2, false, now);
        assert!(layer(&feed, 0).contiguous(&keyframe));
        store(&mut feed, 0, 15, 3, true, now);
        store(&mut feed, 0, 14, 3, true, now);
        assert_eq!(
            layer(&feed, 0).keyframe.map(|keyframe| keyframe.sequence),
            Some(14),
            "it came late"
        );
        store(&mut feed, 0, 9, 0, true, now);
        assert_eq!(
            layer(&feed, 0).keyframe.map(|keyframe| keyframe.sequence),
            Some(14),
            "an older one"
        );
        feed.update(FeedUpdate::Interrupted { kind: MediaKind::Video });
        assert_eq!(layer(&feed, 0).keyframe, None);
        assert!(layer(&feed, 0).ring.get(14).is_none() && layer(&feed, 0).fresh_since(0).is_empty());
    }

    #[test]
    fn viewers_look_again_only_when_something_changed() {
        let mut feed = Feed::new(SourceId(1), DESCRIPTION);
        let size = FeedUpdate::Size {
            layer: LayerIndex(1),
            width: 640,
            height: 360,
        };
        let flowing = FeedUpdate::Flowing {
            kind: MediaKind::Video,
            layer: LayerIndex(1),
            flowing: true,
        };
        let clock = |ntp| FeedUpdate::Clock {
            kind: MediaKind::Audio,
            layer: LayerIndex(0),
            ntp,
            rtp: 1,
        };
        for update in [size, flowing, clock(1), FeedUpdate::IgnoresKeyframeRequests] {
            let before = feed.revisions();
            feed.update(update);
            assert_ne!(feed.revisions(), before, "{update:?}");
            assert!(feed.has_fresh());
            feed.clear_fresh();
        }
        let before = feed.revisions();
        [size, flowing, clock(2), FeedUpdate::Loudness { level: 9 }]
            .into_iter()
            .for_each(|update| feed.update(update));
        assert_eq!((feed.revisions(), feed.has_fresh()), (before, false));
        // another worker's feed learns the same from the state
        let mut other = Feed::new(SourceId(1), DESCRIPTION);
        feed.state().into_iter().for_each(|update| other.update(update));
        assert_eq!(other.state(), feed.state());
    }

    #[test]
    fn a_later_worker_gets_what_is_behind_a_hole_too() {
        let now = Instant::now();
        let mut feed = Feed::new(SourceId(1), DESCRIPTION);
        for sequence in (99..105).chain(106..=120) {
            store(&mut feed, 0, sequence, sequence as u32, sequence == 100, now);
        }
        let mut replayed = vec![];
        feed.replay(now, |_, _, packet| replayed.push(packet.meta.sequence));
        let expected: Vec<u64> = (100..105).chain(106..=120).collect();
        assert_eq!(replayed, expected);
    }

    #[test]
    fn bitrates_are_measured_per_second() {
        let start = Instant::now();
        let mut feed = Feed::new(SourceId(1), DESCRIPTION);
        for i in 0..=250 {
            store(&mut feed, 0, i, 0, false, start + Duration::from_millis(10 * i));
        }
        let states: Vec<_> = feed.track(MediaKind::Video).expect("described").states().collect();
        assert_eq!((states[0].bitrate_bps, states[1].bitrate_bps), (800_000, 0));
    }
}
