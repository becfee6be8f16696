//! Packets and notes between two workers, or a worker and a program.
//!
//! Packets travel in a bounded ring and may be dropped; notes (subscriptions, feed news, keyframe wishes) travel in the
//! control channel and may not. Order between the two is kept all the same: a note says how many packets were pushed
//! before it, and the receiver counts.

use super::{Message, poll::Waker};
use crate::forward::{Feed, FeedUpdate, LayerIndex, SourceId};
use crate::rtp::{MediaKind, Meta, PacketView};
use std::collections::VecDeque;
use std::sync::{Arc, mpsc};
use std::time::Instant;

/// Packets one worker may be behind another: about 3 s of one 720p source and 20 ms of a hundred, longer than any sane
/// turn. When full, the packet's layer is dropped until its next keyframe, which the publisher is asked for; one that makes
/// keyframes in its own time only (every 2 to 4 s, as OBS does) is waited for. A lane takes 1.6 MiB once it has been filled.
pub(super) const LANE_DEPTH: usize = 1024;
/// Extensions and payload. No packet that crosses the internet unfragmented exceeds it; longer ones are not forwarded.
pub(super) const PACKET_MAX: usize = 1500;
/// Simulcast encodings told apart when a layer is dropped; higher ones share the last bit.
const LAYERS_MAX: u8 = 7;

/// A packet on its way to another worker.
pub(super) struct LanePacket {
    pub source: SourceId,
    pub kind: MediaKind,
    pub layer: LayerIndex,
    meta: Meta,
    len: u16,
    bytes: [u8; PACKET_MAX],
}

impl LanePacket {
    /// `None`: longer than [`PACKET_MAX`].
    fn new(source: SourceId, kind: MediaKind, layer: LayerIndex, packet: PacketView) -> Option<Self> {
        let mut bytes = [0; PACKET_MAX];
        bytes.get_mut(..packet.bytes.len())?.copy_from_slice(packet.bytes);
        Some(LanePacket {
            source,
            kind,
            layer,
            meta: packet.meta,
            len: packet.bytes.len() as u16,
            bytes,
        })
    }

    pub fn packet(&self) -> PacketView<'_> {
        PacketView {
            meta: self.meta,
            bytes: &self.bytes[..self.len as usize],
        }
    }
}

/// Some of the tracks and encodings of a source. Bit 0: audio, bit n + 1: video layer n.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layers(u8);

impl Layers {
    pub const ALL: Layers = Layers(u8::MAX);
    const NONE: Layers = Layers(0);
    const AUDIO: Layers = Layers(1);

    /// The audio, and these layers of the video.
    pub fn with_video(layers: &[LayerIndex]) -> Self {
        let mut all = Self::AUDIO;
        for layer in layers {
            all.insert(Self::of(MediaKind::Video, *layer));
        }
        all
    }

    fn of(kind: MediaKind, layer: LayerIndex) -> Self {
        match kind {
            MediaKind::Audio => Layers::AUDIO,
            MediaKind::Video => Layers(2 << layer.0.min(LAYERS_MAX - 1)),
        }
    }

    fn meets(self, other: Layers) -> bool {
        self.0 & other.0 != 0
    }

    fn insert(&mut self, other: Layers) {
        self.0 |= other.0;
    }

    fn remove(&mut self, other: Layers) {
        self.0 &= !other.0;
    }

    fn keep(&mut self, other: Layers) {
        self.0 &= other.0;
    }
}

/// What workers and programs tell each other. Never dropped.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Note {
    /// To the owner: send this source. `epoch` tells a renewed subscription from a repeated note.
    Subscribe { source: SourceId, epoch: u32 },
    /// To the owner.
    Unsubscribe { source: SourceId },
    /// To the owner: of this subscription send these layers only.
    Prefer { source: SourceId, layers: Layers },
    /// To the owner.
    KeyframeWanted { source: SourceId, layer: LayerIndex },
    /// From the owner: everything of the source behind this answers the subscription of this epoch.
    Begin { source: SourceId, epoch: u32 },
    /// From the owner: news of the source.
    Update { source: SourceId, update: FeedUpdate },
    /// From the owner: the publisher is gone, nothing of it may be forwarded any more.
    Gone { source: SourceId },
    /// To be answered by [`Passed`](Self::Passed) once what was said before it is in force.
    Fence { id: u64 },
    /// To who set up the fence.
    Passed { id: u64 },
    /// The last word of a program: it takes nothing more, and what it made is gone.
    Detach,
}

/// What one subscribed worker or program still gets of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Subscriber {
    pub worker: usize,
    pub epoch: u32,
    wanted: Layers,
    /// Wanted layers that lost a packet to a full lane, or begin anew, and wait for a keyframe.
    broken: Layers,
}

impl Subscriber {
    pub fn new(worker: usize, epoch: u32) -> Self {
        Subscriber {
            worker,
            epoch,
            wanted: Layers::ALL,
            broken: Layers::NONE,
        }
    }

    /// Whether it waits for a keyframe of this layer of the video.
    pub fn lacks_keyframe(&self, layer: LayerIndex) -> bool {
        self.broken.meets(Layers::of(MediaKind::Video, layer))
    }
}

/// What came of handing a packet to a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pushed {
    Taken,
    /// Counted as dropped; the layer goes on with its next keyframe.
    Dropped,
    /// The subscriber does without this layer.
    Unwanted,
}

/// The one end of the two lanes between two workers, or a worker and a program.
pub(super) struct Neighbour {
    worker: usize,
    inbox: mpsc::Sender<Message>,
    waker: Arc<Waker>,
    to: rtrb::Producer<LanePacket>,
    from: rtrb::Consumer<LanePacket>,
    pushed: u64,
    taken: u64,
    /// Notes that stand behind packets not yet taken; as many as the neighbour writes while its lane is not drained.
    notes: VecDeque<(u64, Note)>,
    /// Something was handed over since the last wake.
    dirty: bool,
}

/// What comes out of a lane, in order.
pub(super) enum Arrived<'l> {
    Packet(&'l LanePacket),
    Note(Note),
}

impl Neighbour {
    /// The ends of worker `one` and of worker `other`, whose inboxes and wakers these are, and how many packets each of
    /// them can be behind.
    pub fn pair(
        (one, one_inbox, one_waker, one_depth): (usize, mpsc::Sender<Message>, Arc<Waker>, usize),
        (other, other_inbox, other_waker, other_depth): (usize, mpsc::Sender<Message>, Arc<Waker>, usize),
    ) -> (Neighbour, Neighbour) {
        let (to_other, from_one) = rtrb::RingBuffer::new(other_depth);
        let (to_one, from_other) = rtrb::RingBuffer::new(one_depth);
        let end = |worker, inbox, waker, to, from| Neighbour {
            worker,
            inbox,
            waker,
            to,
            from,
            pushed: 0,
            taken: 0,
            notes: VecDeque::new(),
            dirty: false,
        };
        (
            end(one, other_inbox, other_waker, to_other, from_other),
            end(other, one_inbox, one_waker, to_one, from_one),
        )
    }

    /// Hands a packet over, unless its layer waits for a keyframe or the lane is full.
    pub fn push(
        &mut self,
        subscriber: &mut Subscriber,
        source: SourceId,
        kind: MediaKind,
        layer: LayerIndex,
        packet: PacketView,
    ) -> Pushed {
        let which = Layers::of(kind, layer);
        if !subscriber.wanted.meets(which) {
            return Pushed::Unwanted;
        }
        if subscriber.broken.meets(which) && !packet.meta.starts_keyframe {
            return Pushed::Dropped;
        }
        let taken = LanePacket::new(source, kind, layer, packet).is_some_and(|packet| self.to.push(packet).is_ok());
        if taken {
            subscriber.broken.remove(which);
            self.pushed += 1;
            self.dirty = true;
            Pushed::Taken
        } else {
            subscriber.broken.insert(which);
            Pushed::Dropped
        }
    }

    /// Answers a subscription of the source that `feed` is of: first what the feed over there has to know, then the
    /// packets since the last keyframe, so that pictures start at once.
    pub fn begin(
        &mut self,
        mut subscriber: Subscriber,
        source: SourceId,
        feed: Option<&Feed>,
        now: Instant,
    ) -> Subscriber {
        let epoch = subscriber.epoch;
        self.note(Note::Begin { source, epoch });
        if let Some(feed) = feed {
            for update in feed.state() {
                self.note(Note::Update { source, update });
            }
            feed.replay(now, |kind, layer, packet| {
                self.push(&mut subscriber, source, kind, layer, packet);
            });
        }
        subscriber
    }

    /// The subscriber wants these layers from now on. One it did without begins with a keyframe: the last one, or the
    /// next.
    pub fn prefer(&mut self, subscriber: &mut Subscriber, layers: Layers, feed: &Feed, now: Instant) {
        let mut added = layers;
        added.remove(subscriber.wanted);
        added.remove(Layers::AUDIO);
        subscriber.wanted = layers;
        subscriber.broken.keep(layers);
        subscriber.broken.insert(added);
        feed.replay(now, |kind, layer, packet| {
            if added.meets(Layers::of(kind, layer)) {
                self.push(subscriber, feed.id(), kind, layer, packet);
            }
        });
    }

    pub fn note(&mut self, note: Note) {
        let message = Message::Note {
            from: self.worker,
            after: self.pushed,
            note,
        };
        // fails only when the neighbour has ended, and then nobody waits for the note
        let _ = self.inbox.send(message);
        self.dirty = true;
    }

    /// Wakes the neighbour if it was given something since the last call.
    pub fn wake(&mut self) {
        if std::mem::take(&mut self.dirty) {
            self.waker.wake();
        }
    }

    /// A note of the neighbour came out of the inbox.
    pub fn noted(&mut self, after: u64, note: Note) {
        self.notes.push_back((after, note));
    }

    /// Packets that can be taken. Read this *before* the inbox: the notes that stand before these packets are then in it.
    pub fn visible(&self) -> usize {
        self.from.slots()
    }

    /// Takes at most `visible` packets and every note that is due between and behind them.
    pub fn drain(&mut self, visible: usize, mut each: impl FnMut(Arrived)) {
        let Neighbour { from, notes, taken, .. } = self;
        let mut due = |taken: u64, each: &mut dyn FnMut(Arrived)| {
            while let Some(&(_, note)) = notes.front().filter(|(after, _)| *after <= taken) {
                notes.pop_front();
                each(Arrived::Note(note));
            }
        };
        due(*taken, &mut each);
        let Ok(chunk) = from.read_chunk(visible.min(from.slots())) else {
            return;
        };
        let (head, tail) = chunk.as_slices();
        for packet in head.iter().chain(tail) {
            each(Arrived::Packet(packet));
            *taken += 1;
            due(*taken, &mut each);
        }
        chunk.commit_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forward::FeedDescription;
    use crate::rtp::Codec;

    const SOURCE: SourceId = SourceId(5);

    fn meta(sequence: u64, starts_keyframe: bool) -> Meta {
        Meta {
            sequence,
            timestamp: 0,
            marker: false,
            starts_keyframe,
            codec: Codec::H264,
            arrival: Instant::now(),
            extensions_len: 0,
        }
    }

    struct Ends {
        one: Neighbour,
        other: Neighbour,
        other_inbox: mpsc::Receiver<Message>,
    }

    fn ends(depth: usize) -> Ends {
        let (one_sender, _) = mpsc::channel();
        let (other_sender, other_inbox) = mpsc::channel();
        let waker = || Arc::new(Waker::new().unwrap());
        let (one, other) = Neighbour::pair((0, one_sender, waker(), depth), (1, other_sender, waker(), depth));
        Ends {
            one,
            other,
            other_inbox,
        }
    }

    fn push(ends: &mut Ends, subscriber: &mut Subscriber, layer: u8, sequence: u64, key: bool) -> Pushed {
        let bytes = [sequence as u8; 20];
        let packet = PacketView {
            meta: meta(sequence, key),
            bytes: &bytes,
        };
        ends.one
            .push(subscriber, SOURCE, MediaKind::Video, LayerIndex(layer), packet)
    }

    /// What comes out at the other end: sequence numbers, and `None` for a note.
    fn drain(ends: &mut Ends) -> Vec<Option<u64>> {
        let visible = ends.other.visible();
        while let Ok(Message::Note { from, after, note }) = ends.other_inbox.try_recv() {
            assert_eq!(from, 0);
            ends.other.noted(after, note);
        }
        let mut out = vec![];
        ends.other.drain(visible, |arrived| {
            out.push(match arrived {
                Arrived::Packet(packet) => {
                    let sequence = packet.packet().meta.sequence;
                    assert_eq!(packet.packet().bytes, [sequence as u8; 20]);
                    Some(sequence)
                }
                Arrived::Note(_) => None,
            });
        });
        out
    }

    #[test]
    fn a_full_lane_drops_the_layer_until_its_keyframe() {
        let mut ends = ends(4);
        let mut subscriber = Subscriber::new(1, 0);
        for sequence in 0..4 {
            assert_eq!(push(&mut ends, &mut subscriber, 0, sequence, false), Pushed::Taken);
        }
        assert_eq!(push(&mut ends, &mut subscriber, 0, 4, false), Pushed::Dropped);
        assert_eq!(drain(&mut ends), [0, 1, 2, 3].map(Some));
        // room again, but layer 0 waits for a keyframe; layer 1 does not
        assert_eq!(push(&mut ends, &mut subscriber, 0, 5, false), Pushed::Dropped);
        assert_eq!(push(&mut ends, &mut subscriber, 1, 6, false), Pushed::Taken);
        assert_eq!(push(&mut ends, &mut subscriber, 0, 7, true), Pushed::Taken);
        assert_eq!(push(&mut ends, &mut subscriber, 0, 8, false), Pushed::Taken);
        assert_eq!(drain(&mut ends), [6, 7, 8].map(Some));
    }

    #[test]
    fn a_keyframe_that_finds_the_lane_full_is_no_start() {
        let mut ends = ends(1);
        let mut subscriber = Subscriber::new(1, 0);
        assert_eq!(push(&mut ends, &mut subscriber, 0, 0, true), Pushed::Taken);
        assert_eq!(push(&mut ends, &mut subscriber, 0, 1, true), Pushed::Dropped);
        drain(&mut ends);
        assert_eq!(push(&mut ends, &mut subscriber, 0, 2, false), Pushed::Dropped);
        assert_eq!(push(&mut ends, &mut subscriber, 0, 3, true), Pushed::Taken);
    }

    #[test]
    fn notes_keep_their_place_among_packets() {
        let mut ends = ends(16);
        let mut subscriber = Subscriber::new(1, 0);
        let note = Note::Gone { source: SOURCE };
        ends.one.note(note);
        push(&mut ends, &mut subscriber, 0, 1, false);
        push(&mut ends, &mut subscriber, 0, 2, false);
        ends.one.note(note);
        push(&mut ends, &mut subscriber, 0, 3, false);
        assert_eq!(drain(&mut ends), [None, Some(1), Some(2), None, Some(3)]);
        // a note is not taken before the packets in front of it, even if those became visible later
        ends.one.note(note);
        push(&mut ends, &mut subscriber, 0, 4, false);
        let visible = ends.other.visible();
        push(&mut ends, &mut subscriber, 0, 5, false);
        ends.one.note(note);
        while let Ok(Message::Note { after, note, .. }) = ends.other_inbox.try_recv() {
            ends.other.noted(after, note);
        }
        let mut count = 0;
        ends.other.drain(visible, |_| count += 1);
        assert_eq!(count, 2);
        assert_eq!(drain(&mut ends), [Some(5), None]);
    }

    #[test]
    fn a_layer_that_was_done_without_begins_with_a_keyframe() {
        let mut ends = ends(16);
        let mut subscriber = Subscriber::new(1, 0);
        let description = FeedDescription {
            audio: None,
            video: Some(Codec::H264),
            layers: 2,
        };
        let mut feed = Feed::new(SOURCE, description);
        for (sequence, key) in [(7, false), (8, true), (9, false)] {
            let packet = PacketView {
                meta: meta(sequence, key),
                bytes: &[sequence as u8; 20],
            };
            feed.store(MediaKind::Video, LayerIndex(1), packet);
        }
        let (low, both) = (
            Layers::with_video(&[LayerIndex(0)]),
            Layers::with_video(&[0, 1].map(LayerIndex)),
        );
        ends.one.prefer(&mut subscriber, low, &feed, Instant::now());
        assert_eq!(push(&mut ends, &mut subscriber, 0, 1, false), Pushed::Taken);
        assert_eq!(push(&mut ends, &mut subscriber, 1, 9, false), Pushed::Unwanted);
        // the ring has a keyframe of the one that is added
        ends.one.prefer(&mut subscriber, both, &feed, Instant::now());
        assert!(!subscriber.lacks_keyframe(LayerIndex(1)));
        assert_eq!(push(&mut ends, &mut subscriber, 1, 10, false), Pushed::Taken);
        assert_eq!(drain(&mut ends), [1, 8, 9, 10].map(Some));
        // and of this one it has none
        let high = Layers::with_video(&[LayerIndex(1)]);
        ends.one.prefer(&mut subscriber, high, &feed, Instant::now());
        assert_eq!(push(&mut ends, &mut subscriber, 0, 2, false), Pushed::Unwanted);
        ends.one.prefer(&mut subscriber, low, &feed, Instant::now());
        assert!(subscriber.lacks_keyframe(LayerIndex(0)));
        assert_eq!(push(&mut ends, &mut subscriber, 0, 3, false), Pushed::Dropped);
        assert_eq!(push(&mut ends, &mut subscriber, 0, 4, true), Pushed::Taken);
        assert_eq!(push(&mut ends, &mut subscriber, 1, 11, true), Pushed::Unwanted);
        assert_eq!(drain(&mut ends), [Some(4)]);
    }

    #[test]
    fn of_a_block_of_sound_nothing_is_taken_behind_what_was_dropped() {
        let mut ends = ends(5);
        let mut subscriber = Subscriber::new(1, 0);
        let block = |ends: &mut Ends, subscriber: &mut Subscriber, sequence: u64| {
            // without seat 0, without seat 2, the whole
            [(1, true), (3, false), (0, false)].map(|(layer, starts_keyframe)| {
                let meta = meta(sequence, starts_keyframe);
                let bytes = &[sequence as u8; 20];
                let packet = PacketView { meta, bytes };
                ends.one
                    .push(subscriber, SOURCE, MediaKind::Audio, LayerIndex(layer), packet)
            })
        };
        assert_eq!(block(&mut ends, &mut subscriber, 0), [Pushed::Taken; 3]);
        let [first, second, whole] = block(&mut ends, &mut subscriber, 1);
        assert_eq!((first, second, whole), (Pushed::Taken, Pushed::Taken, Pushed::Dropped));
        drain(&mut ends);
        assert_eq!(push(&mut ends, &mut subscriber, 0, 9, true), Pushed::Taken);
        assert_eq!(push(&mut ends, &mut subscriber, 0, 9, false), Pushed::Taken);
        assert_eq!(push(&mut ends, &mut subscriber, 0, 9, false), Pushed::Taken);
        assert_eq!(push(&mut ends, &mut subscriber, 0, 9, false), Pushed::Taken);
        // room for one, that would have been the second
        let [first, second, _] = block(&mut ends, &mut subscriber, 2);
        assert_eq!((first, second), (Pushed::Taken, Pushed::Dropped));
        drain(&mut ends);
        let meta = meta(2, false);
        let whole = PacketView { meta, bytes: &[2; 20] };
        let late = ends
            .one
            .push(&mut subscriber, SOURCE, MediaKind::Audio, LayerIndex(0), whole);
        assert_eq!(late, Pushed::Dropped, "the other's listener would hear it");
        assert_eq!(block(&mut ends, &mut subscriber, 3), [Pushed::Taken; 3]);
    }

    #[test]
    fn packets_too_long_are_dropped() {
        let mut ends = ends(4);
        let bytes = [0; PACKET_MAX + 1];
        let packet = PacketView {
            meta: meta(0, true),
            bytes: &bytes,
        };
        let pushed = ends.one.push(
            &mut Subscriber::new(1, 0),
            SOURCE,
            MediaKind::Video,
            LayerIndex(0),
            packet,
        );
        assert_eq!(pushed, Pushed::Dropped);
    }
}
