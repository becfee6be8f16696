//! One source in the program: its packets in, pictures when they are due and a voice out. Its audio and its video share
//! one timeline, so they stay together. Pure but for its decoders.

use super::Sink;
use super::cadence::{Cadence, Slot};
use crate::forward::{FeedUpdate, LayerIndex, SeatIndex, SourceInfo};
use crate::mix::audio::{Block, PAIRS, Pulled, Voice};
use crate::mix::codec::opus::OpusDecoder;
use crate::mix::codec::{self, BEHIND_MAX, VideoDecoder};
use crate::mix::picture::{PictureView, Size};
use crate::mix::timeline::{Offset, Timeline, Track};
use crate::rtp::frames::FrameAssembler;
use crate::rtp::{Codec, MediaKind, Meta, NtpClock, PacketView, h264};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How long a frame that lacks packets is waited for: a retransmission's way there and back on a long path. It is less
/// than the largest delay of a timeline, so that what comes in this time is still shown when it is due.
const RETRANSMISSION_WAIT: Duration = Duration::from_millis(150);
/// Pictures that wait until they are due: the largest delay of a timeline at 60 a second, and some. When full, the oldest
/// is decoded at once.
const WAITING_MAX: usize = 16;
/// A host's pictures since their last keyframe that are kept while they are passed through: a keyframe is asked for before
/// there are more of them than these (10 s at 30 a second),
const GOP_WANTED: usize = 300;
/// and beyond these, or so many bytes (10 s of 6 Mbit/s), they are given up: the mixer would begin with the next keyframe.
const GOP_MAX: usize = 640;
const GOP_BYTES_MAX: usize = 8 << 20;
/// How many are decoded at a time until a source is seen for the first time: 10 ms of 720p, while other packets wait.
const CATCH_UP: usize = 4;
/// To decode more than these takes longer than to have a keyframe sent.
const FAR_BEHIND: usize = 100;
/// How often a keyframe that does not come is asked for again. The publisher's worker merges what several ask for.
const KEYFRAME_RETRY: Duration = Duration::from_millis(500);

/// A frame until it is due.
#[derive(Debug)]
struct Waiting {
    /// When its last packet came.
    arrival: Instant,
    /// `None`: at once.
    due: Option<Instant>,
    keyframe: bool,
    bytes: Vec<u8>,
}

impl Waiting {
    fn is_due(&self, at: Instant) -> bool {
        self.due.is_none_or(|due| due <= at)
    }
}

/// A frame that is decoded, until it is due.
#[derive(Clone, Copy, Debug)]
struct Decoded {
    arrival: Instant,
    due: Option<Instant>,
}

/// The newest frame that a picture shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shown {
    /// When its last packet came.
    pub arrival: Instant,
    /// The source has not been seen before: when the last packet of its first keyframe came.
    pub begun: Option<Instant>,
    /// When it was to be seen; `None`: at once.
    pub due: Option<Instant>,
}

/// What the program knows of one simulcast encoding.
#[derive(Clone, Copy, Debug, Default)]
struct Layer {
    size: Option<(u16, u16)>,
    flowing: bool,
}

/// The picture of a source whose codec can be decoded.
pub(super) struct Video {
    layers: Vec<Layer>,
    /// What is decoded.
    layer: LayerIndex,
    frames: FrameAssembler,
    /// A layer that is to be decoded instead, from its first keyframe on.
    next: Option<(LayerIndex, FrameAssembler)>,
    /// The layers that were said to be of use.
    taken: Option<[LayerIndex; 2]>,
    decoder: Box<dyn VideoDecoder>,
    /// The decoder's last picture, if it is not shown yet: decoded when it came, and no more than one, for a copy would cost
    /// more than the wait.
    ready: Option<Decoded>,
    /// What was decoded, for pictures that come out later; the newest is the last.
    decoded: VecDeque<Decoded>,
    /// What is to be decoded next.
    waiting: VecDeque<Waiting>,
    cadence: Cadence,
    /// Nothing is decoded: `waiting` has the pictures since the last keyframe, in so many bytes.
    held: Option<usize>,
    /// Buffers of frames that are done.
    spare: Vec<Vec<u8>>,
    asked: Option<Instant>,
    /// When the last packet of its first keyframe came, until that is drawn.
    begun: Option<Instant>,
    /// Something of it has been drawn since it was last interrupted.
    pub shown: bool,
}

pub(super) struct Input {
    pub info: SourceInfo,
    timeline: Timeline,
    pub voice: Voice,
    /// What the voice says in this block, if it says anything.
    block: Box<Block>,
    sounding: bool,
    pub video: Option<Video>,
    /// Its pictures may be shown in another order than they come in.
    pub reorders: bool,
    /// Nothing of it is decoded.
    held: bool,
    /// The newest picture whose arrival was noted, by its timestamp.
    noted: Option<(LayerIndex, u32)>,
}

impl Input {
    /// `None`: no memory for a decoder.
    pub fn new(info: SourceInfo, clock: NtpClock, now: Instant) -> Option<Self> {
        let decoder = OpusDecoder::new()?;
        let video = info.video.and_then(|codec| Video::new(codec, info.layers));
        Some(Input {
            info,
            timeline: Timeline::new(clock, now),
            voice: Voice::new(Box::new(decoder)),
            block: Box::new([0.0; 2 * PAIRS]),
            sounding: false,
            video,
            reorders: false,
            held: false,
            noted: None,
        })
    }

    /// Nothing of it is decoded from now on; what that would need is kept.
    pub fn hold(&mut self) {
        self.held = true;
        self.voice.silence();
        if let Some(video) = &mut self.video {
            video.hold();
        }
    }

    /// It is decoded from now on.
    pub fn release(&mut self) {
        self.held = false;
        if let Some(video) = &mut self.video {
            video.held = None;
        }
    }

    pub fn is_held(&self) -> bool {
        self.held
    }

    /// When a packet is due by another offset than the present one. Counts as an arrival.
    pub fn due_with(
        &mut self,
        (kind, layer): (MediaKind, LayerIndex),
        meta: &Meta,
        offset: impl FnOnce(Offset) -> Offset,
    ) -> Option<Instant> {
        let track = track(kind, layer);
        let is_newer = |last: u32| meta.timestamp.wrapping_sub(last).cast_signed() > 0;
        // of a picture the first packet; what is sent again says nothing of the path
        let is_first = self.noted.is_none_or(|(of, last)| of != layer || is_newer(last));
        if kind == MediaKind::Audio || is_first {
            self.timeline.handle_arrival(track, meta.timestamp, meta.arrival);
        }
        if kind == MediaKind::Video && is_first {
            self.noted = Some((layer, meta.timestamp));
        }
        let offset = offset(self.timeline.offset()?);
        self.timeline.due_with(track, meta.timestamp, offset)
    }

    pub fn offset(&self) -> Option<Offset> {
        self.timeline.offset()
    }

    pub fn handle_packet(&mut self, kind: MediaKind, layer: LayerIndex, packet: PacketView, now: Instant) {
        match kind {
            // while it is held, whoever has it played takes its arrivals into account
            MediaKind::Audio if self.is_held() => {}
            MediaKind::Audio => {
                let meta = packet.meta;
                self.timeline.handle_arrival(Track::Audio, meta.timestamp, meta.arrival);
                let due = self.timeline.due(Track::Audio, meta.timestamp).unwrap_or(now);
                self.voice
                    .handle_packet(meta.sequence, meta.timestamp, packet.payload(), due);
            }
            MediaKind::Video => {
                if packet.meta.codec == Codec::H264 {
                    self.reorders = h264::may_reorder(packet.payload()).unwrap_or(self.reorders);
                }
                if let Some(video) = &mut self.video {
                    video.handle_packet(layer, &packet, &mut self.timeline, now);
                }
            }
        }
    }

    /// The next 20 ms of sound, which begin at `at`.
    pub fn pull(&mut self, at: Instant) -> Pulled {
        let pulled = self.voice.pull(at, &mut self.block);
        self.sounding = pulled.sounding;
        pulled
    }

    pub fn block(&self) -> Option<(SeatIndex, &Block)> {
        self.sounding.then_some((self.info.seat, &*self.block))
    }

    /// Gives up frames that are waited for no longer, and asks for what is needed.
    pub fn handle_timeout(&mut self, now: Instant, sink: &mut impl Sink) {
        let Some(video) = &mut self.video else { return };
        video.take_frames(&mut self.timeline, now);
        for layer in video.wants_keyframe(now) {
            sink.request_keyframe(self.info.id, layer);
        }
    }

    /// The publisher is gone: nothing of it is shown or heard any more.
    pub fn end(&mut self) {
        self.voice.silence();
        if let Some(video) = &mut self.video {
            video.interrupt();
            video.layers.iter_mut().for_each(|layer| layer.flowing = false);
        }
    }

    pub fn handle_update(&mut self, update: FeedUpdate, now: Instant) {
        match update {
            FeedUpdate::Clock { kind, layer, ntp, rtp } => {
                self.timeline.handle_clock(track(kind, layer), ntp, rtp, now);
            }
            FeedUpdate::Interrupted { kind: MediaKind::Audio } => self.voice.silence(),
            FeedUpdate::Interrupted { kind: MediaKind::Video } => {
                if let Some(video) = &mut self.video {
                    video.interrupt();
                }
            }
            FeedUpdate::Size { layer, width, height } => {
                if let Some(layer) = self.video.as_mut().and_then(|video| video.layer_mut(layer)) {
                    layer.size = Some((width, height));
                }
            }
            FeedUpdate::Flowing {
                kind: MediaKind::Video,
                layer,
                flowing,
            } => {
                if let Some(layer) = self.video.as_mut().and_then(|video| video.layer_mut(layer)) {
                    layer.flowing = flowing;
                }
            }
            FeedUpdate::Flowing { .. }
            | FeedUpdate::IgnoresKeyframeRequests
            | FeedUpdate::Loudness { .. }
            | FeedUpdate::Voice { .. } => {}
        }
    }

    /// Width and height in pixels of the encoding that is best for this canvas.
    pub fn size_for(&self, canvas: Option<Size>) -> Option<(u16, u16)> {
        let video = self.video.as_ref()?;
        video.layers.get(usize::from(video.best(canvas).0))?.size
    }

    /// What it showed last, if that may be shown.
    pub fn last_picture(&self) -> Option<PictureView<'_>> {
        let video = self.video.as_ref().filter(|video| video.shown)?;
        video.decoder.last().filter(|_| self.info.permission.video)
    }

    /// Its picture is coming in and may be shown.
    pub fn shows_video(&self) -> bool {
        self.info.permission.video && self.video.as_ref().is_some_and(Video::is_flowing)
    }
}

fn track(kind: MediaKind, layer: LayerIndex) -> Track {
    match kind {
        MediaKind::Audio => Track::Audio,
        MediaKind::Video => Track::Video(layer),
    }
}

impl Video {
    /// `None`: the program decodes no such codec.
    fn new(codec: Codec, layers: u8) -> Option<Self> {
        Some(Video {
            layers: vec![Layer::default(); usize::from(layers.max(1))],
            layer: LayerIndex(0),
            frames: FrameAssembler::new(codec),
            next: None,
            taken: None,
            decoder: codec::video_decoder(codec)?,
            ready: None,
            decoded: VecDeque::new(),
            waiting: VecDeque::new(),
            cadence: Cadence::default(),
            held: None,
            spare: Vec::new(),
            asked: None,
            begun: None,
            shown: false,
        })
    }

    fn layer_mut(&mut self, layer: LayerIndex) -> Option<&mut Layer> {
        self.layers.get_mut(usize::from(layer.0))
    }

    fn is_flowing(&self) -> bool {
        self.layers.iter().any(|layer| layer.flowing)
    }

    fn handle_packet(&mut self, layer: LayerIndex, packet: &PacketView, timeline: &mut Timeline, now: Instant) {
        if let Some(known) = self.layer_mut(layer) {
            known.flowing = true;
        }
        if let Some((next, frames)) = &mut self.next
            && *next == layer
        {
            frames.handle(packet);
            if !frames.needs_keyframe() {
                self.change_layer();
            }
        } else if layer == self.layer {
            self.frames.handle(packet);
        } else {
            return;
        }
        self.take_frames(timeline, now);
    }

    /// The layer that was waited for has a keyframe: what waits of the other one is left out.
    fn change_layer(&mut self) {
        if let Some((layer, frames)) = self.next.take() {
            self.layer = layer;
            self.frames = frames;
            self.forget_waiting();
        }
    }

    /// Moves complete frames to where they wait until they are due.
    pub fn take_frames(&mut self, timeline: &mut Timeline, now: Instant) {
        while let Some(frame) = self.frames.poll_frame(now, RETRANSMISSION_WAIT) {
            let track = Track::Video(self.layer);
            timeline.handle_arrival(track, frame.timestamp, frame.arrival_first);
            let mut bytes = self.spare.pop().unwrap_or_default();
            bytes.clear();
            bytes.extend_from_slice(frame.bytes);
            // nobody waits for the first picture
            let is_first = !self.shown && self.held.is_none();
            let due = timeline.due(track, frame.timestamp).filter(|_| !is_first);
            let (arrival, keyframe) = (frame.arrival_last, frame.keyframe);
            if keyframe && self.piles_up() {
                self.forget_waiting();
                self.held = self.held.map(|_| 0);
            }
            self.held = self.held.map(|held| held + bytes.len());
            self.waiting.push_back(Waiting {
                arrival,
                due,
                keyframe,
                bytes,
            });
        }
        let is_too_much = self.held.is_some_and(|bytes| bytes > GOP_BYTES_MAX) || self.waiting.len() > GOP_MAX;
        if self.piles_up() && is_too_much {
            self.forget_waiting();
            self.frames.skip_to_keyframe();
            self.held = self.held.map(|_| 0);
        }
    }

    /// Nothing of it is seen before what waits is decoded, all of it or from a keyframe on.
    fn piles_up(&self) -> bool {
        self.held.is_some() || !self.shown
    }

    fn hold(&mut self) {
        // pictures that follow others which are gone by now are of no use
        if self.waiting.front().is_none_or(|first| !first.keyframe) {
            self.forget_waiting();
            self.frames.skip_to_keyframe();
        }
        self.held = Some(self.waiting.iter().map(|frame| frame.bytes.len()).sum());
        self.decoded.clear();
        self.ready = None;
        self.shown = false;
    }

    /// Something that is due by now is not decoded yet.
    pub fn is_behind(&self, now: Instant) -> bool {
        let next = self.waiting.front();
        next.is_some_and(|next| next.is_due(now))
    }

    /// All that is due by now has been seen, and there was something.
    pub fn is_caught_up(&self, now: Instant) -> bool {
        self.shown && !self.is_behind(now)
    }

    /// There is a frame to decode before it is due, and room for it: for one that is behind the `next` picture, in the decoder.
    /// Those up to there take one another's place, for the next picture shows the last of them. What is due from the end on is
    /// left, where there is one.
    pub fn can_decode_ahead(&self, next: Slot) -> bool {
        let last = self.cadence.last(next);
        let is_wanted = |frame: &Waiting| {
            let has_room = self.ready.is_none() || frame.is_due(last);
            has_room && next.end.is_none_or(|end| frame.due.is_none_or(|due| due < end))
        };
        self.held.is_none() && self.waiting.front().is_some_and(is_wanted)
    }

    /// What a picture shows is decoded, and the newest of it handed to `draw`, if there is something. Of what has piled up
    /// before it is seen for the first time, not more at once than the packets that come meanwhile can wait for: it is seen
    /// when that is done.
    pub fn show(&mut self, slot: Slot, draw: impl FnOnce(PictureView)) -> Option<Shown> {
        if self.held.is_some() {
            return None;
        }
        let last = self.cadence.last(slot);
        let mut newest = self.ready.take_if(|ready| ready.due.is_none_or(|due| due <= last));
        let most = if self.shown { usize::MAX } else { CATCH_UP };
        for _ in 0..most {
            let is_crowded = self.waiting.len() > WAITING_MAX;
            if !is_crowded && !self.is_behind(last) {
                break;
            }
            // several are due after a pause: only the last is seen
            self.decode_next();
            newest = self.ready.take().or(newest);
        }
        if !self.shown && self.is_behind(last) {
            self.ready = newest;
            return None;
        }
        let Decoded { arrival, due } = newest?;
        draw(self.decoder.last()?);
        self.shown = true;
        if let Some(due) = due {
            self.cadence.handle_shown(due, slot);
        }
        let begun = self.begun.take();
        Some(Shown { arrival, begun, due })
    }

    /// The next frame, whenever it is due.
    pub fn decode_next(&mut self) {
        let Some(Waiting {
            arrival, due, bytes, ..
        }) = self.waiting.pop_front()
        else {
            return;
        };
        if !self.shown {
            self.begun.get_or_insert(arrival);
        }
        self.ready = None;
        if self.decoded.len() > BEHIND_MAX {
            self.decoded.pop_front();
        }
        self.decoded.push_back(Decoded { arrival, due });
        match self.decoder.decode(&bytes).map(|picture| picture.is_some()) {
            Ok(false) => {}
            Ok(true) => self.ready = self.decoded.iter().rev().nth(self.decoder.behind()).copied(),
            Err(_) => {
                self.decoded.clear();
                self.forget_waiting();
                self.frames.skip_to_keyframe();
            }
        }
        self.recycle(bytes);
    }

    /// The layers whose keyframe is needed, at most two; each is asked for again while it does not come.
    pub fn wants_keyframe(&mut self, now: Instant) -> impl Iterator<Item = LayerIndex> + use<> {
        let is_long = match self.held {
            Some(_) => self.waiting.len() >= GOP_WANTED,
            None => !self.shown && self.waiting.len() > FAR_BEHIND,
        };
        let current = (self.frames.needs_keyframe() || is_long).then_some(self.layer);
        let next = self.next.as_ref().map(|(layer, _)| *layer);
        let is_time = self.asked.is_none_or(|asked| now >= asked + KEYFRAME_RETRY);
        let wanted = [current, next].into_iter().flatten();
        if (current.is_some() || next.is_some()) && is_time {
            self.asked = Some(now);
        } else if current.is_none() && next.is_none() {
            self.asked = None;
        }
        wanted.filter(move |_| is_time)
    }

    /// The layer that is decoded, or will be from its next keyframe on.
    pub fn chosen(&self) -> LayerIndex {
        self.next.as_ref().map_or(self.layer, |(next, _)| *next)
    }

    /// The smallest flowing layer that is not smaller than its tile (`None`: the host's own canvas), or else the largest.
    fn best(&self, tile: Option<Size>) -> LayerIndex {
        let flowing = self.layers.iter().zip(0..).filter(|(layer, _)| layer.flowing);
        let size = |layer: &Layer| {
            layer
                .size
                .map_or(0, |(width, height)| u32::from(width) * u32::from(height))
        };
        let fits = |layer: &Layer| {
            let (Some((width, height)), Some(tile)) = (layer.size, tile) else {
                return false;
            };
            usize::from(width) >= tile.width() && usize::from(height) >= tile.height()
        };
        let best = flowing
            .clone()
            .filter(|(layer, _)| fits(layer))
            .min_by_key(|(layer, _)| size(layer))
            .or_else(|| flowing.max_by_key(|(layer, _)| size(layer)));
        best.map_or(self.layer, |(_, best)| LayerIndex(best))
    }

    /// Takes the [best](Self::best) layer for a tile. Returns the layers that are to come in from now on, if they are others
    /// than before.
    pub fn choose_layer(&mut self, codec: Codec, tile: Option<Size>) -> Option<[LayerIndex; 2]> {
        let best = self.best(tile);
        if best != self.chosen() {
            self.next = (best != self.layer).then(|| (best, FrameAssembler::new(codec)));
            self.asked = None;
        }
        let taken = [self.layer, best];
        (self.taken.replace(taken) != Some(taken)).then_some(taken)
    }

    /// Muted or locked: nothing of it is shown any more, and it goes on with a keyframe.
    fn interrupt(&mut self) {
        self.forget_waiting();
        self.frames.skip_to_keyframe();
        self.next = None;
        // what the decoder keeps back comes out behind the next keyframe
        self.decoded.clear();
        self.ready = None;
        self.shown = false;
    }

    fn forget_waiting(&mut self) {
        while let Some(frame) = self.waiting.pop_front() {
            self.recycle(frame.bytes);
        }
    }

    fn recycle(&mut self, bytes: Vec<u8>) {
        if self.spare.len() < WAITING_MAX {
            self.spare.push(bytes);
        }
    }
}

#[cfg(test)]
mod tests;
