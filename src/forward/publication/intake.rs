//! From a packet to the decision whether it goes on: whose it is, whether it is new and permitted, and what it says of its
//! layer.

use super::layer::Track;
use super::streams::{self, Known, Role};
use super::{Publication, PublicationEvent};
use crate::forward::{FeedUpdate, LayerIndex};
use crate::rtp::extension::{AbsCaptureTime, AudioLevel, pack_element};
use crate::rtp::{Arrival, Extension, Header, MediaKind, Meta};
use std::time::{Duration, Instant};

/// A layer's SSRC is replaced by a new one only if it was silent this long: two senders of one layer are a mistake, and
/// the first is listened to. Nor do its numbers leap more often: each time everything that was sent is forgotten.
const REPLACED_AFTER: Duration = Duration::from_millis(200);
/// A packet of a known stream, whatever it came in.
pub(super) struct Incoming<'a> {
    pub(super) timestamp: u32,
    pub(super) marker: bool,
    pub(super) payload: &'a [u8],
    pub(super) known: Known<'a>,
}

impl Publication {
    /// What the packet's stream carries; unknown streams are identified and remembered.
    pub(super) fn role(
        &mut self,
        header: &Header,
        index: usize,
        repair: bool,
        known: &Known,
        now: Instant,
    ) -> Option<Role> {
        let ssrc = header.ssrc;
        if let Some(role) = self.streams.role(ssrc) {
            let same = role.track == index && role.repair == repair && !role.retired;
            return same.then_some(role);
        }
        let track = self.tracks.get_mut(index)?;
        let role = streams::identify(track, index, repair, ssrc, known)?;
        if repair {
            return self.streams.learn(ssrc, role).then_some(role);
        }
        let reception = || Track::reception(&track.parameters, now);
        let layer = track.layers.get_mut(role.layer)?;
        let old = layer.ssrc.filter(|old| *old != ssrc);
        let busy = layer.last_packet.is_some_and(|last| now < last + REPLACED_AFTER);
        if old.is_some() && busy {
            return None;
        }
        if let Some(old) = old {
            self.streams.retire(old);
        }
        if !self.streams.learn(ssrc, role) {
            return None;
        }
        layer.ssrc = Some(ssrc);
        if old.is_some() && layer.reception.top().is_some() {
            layer.restart(ssrc, reception());
            layer.broker.request();
            let update = FeedUpdate::Interrupted { kind: track.kind };
            self.events.push_back(PublicationEvent::Feed(update));
        }
        Some(role)
    }

    /// Decides whether a packet goes on, and as what. Leaves its packed extensions in the scratch buffer.
    pub(super) fn admit(
        &mut self,
        role: Role,
        sequence: u64,
        incoming: &Incoming,
        now: Instant,
    ) -> Option<(MediaKind, LayerIndex, Meta)> {
        let track = self.tracks.get_mut(role.track)?;
        let (kind, codec) = (track.kind, track.parameters.codec);
        let layer = track.layers.get_mut(role.layer)?;
        let arrival = layer.reception.handle(sequence, incoming.timestamp, role.repair, now);
        if matches!(arrival, Arrival::Duplicate | Arrival::TooOld) {
            self.counters.duplicates += 1;
            return None;
        }
        self.counters.repaired += u64::from(role.repair);
        let (permitted, nacks) = (track.permitted, track.nacks());
        let layer = track.layers.get_mut(role.layer)?;
        if !nacks {
            layer.reception.forget_missing();
        }
        if !permitted {
            layer.floor = layer.floor.max(sequence + 1);
        }
        let (is_padding, is_forbidden) = (incoming.payload.is_empty(), sequence < layer.floor);
        if !is_padding && !is_forbidden && layer.numbering.leaps_to(sequence) {
            if layer.leapt.is_some_and(|last| now < last + REPLACED_AFTER) {
                self.counters.unknown += 1;
                return None;
            }
            layer.leapt = Some(now);
            layer.numbering.restart();
            layer.broker.request();
            let update = FeedUpdate::Interrupted { kind };
            self.events.push_back(PublicationEvent::Feed(update));
        }
        let number = match (is_padding, arrival) {
            _ if is_forbidden => None,
            (true, Arrival::Newest) => {
                layer.numbering.take_out(sequence);
                None
            }
            _ => layer.numbering.number(sequence),
        };
        let index = layer.index;
        if !is_padding && !role.repair {
            self.note_flowing(role, now);
        }
        let Some(number) = number else {
            if is_forbidden {
                self.counters.forbidden += 1;
            } else if is_padding {
                self.counters.padding += 1;
            } else {
                self.counters.duplicates += 1;
            }
            return None;
        };
        if arrival == Arrival::Newest {
            self.note_loudness(role, incoming, now);
        }
        let descriptor = incoming.known.value(Extension::DependencyDescriptor);
        let starts_keyframe = !is_padding && codec.starts_keyframe(incoming.payload, descriptor);
        if starts_keyframe && kind == MediaKind::Video {
            self.note_keyframe(role, codec.keyframe_size(incoming.payload), now);
        }
        let meta = Meta {
            sequence: number,
            timestamp: incoming.timestamp,
            marker: incoming.marker,
            starts_keyframe,
            codec,
            arrival: now,
            extensions_len: self.pack_extensions(&incoming.known),
        };
        Some((kind, index, meta))
    }

    /// Fills the scratch buffer; its length.
    fn pack_extensions(&mut self, known: &Known) -> u16 {
        self.scratch.clear();
        for extension in Extension::FORWARDED {
            let Some(value) = known.value(extension) else { continue };
            if extension != Extension::AbsCaptureTime {
                pack_element(&mut self.scratch, extension, value);
                continue;
            }
            // on a clock nobody knows it would only mislead
            if let (Some(time), Some(offset)) = (AbsCaptureTime::parse(value), self.sender_clock.offset()) {
                pack_element(&mut self.scratch, extension, &time.rewritten(offset));
            }
        }
        // four elements of at most 257 bytes
        self.scratch.len() as u16
    }

    fn note_flowing(&mut self, role: Role, now: Instant) {
        let Some(track) = self.tracks.get_mut(role.track) else {
            return;
        };
        let Some(layer) = track.layers.get_mut(role.layer) else {
            return;
        };
        layer.last_packet = Some(now);
        if std::mem::replace(&mut layer.flowing, true) {
            return;
        }
        layer.news.flowing.set(true);
        if !std::mem::replace(&mut track.flowing, true) {
            track.news.set(true);
        }
        self.tell_news(now);
    }

    pub(super) fn note_stopped(&mut self, index: usize, layer: usize, now: Instant) {
        let Some(track) = self.tracks.get_mut(index) else {
            return;
        };
        let Some(layer) = track.layers.get_mut(layer) else {
            return;
        };
        if !std::mem::replace(&mut layer.flowing, false) {
            return;
        }
        layer.broker.suspend();
        layer.reception.forget_missing();
        layer.news.flowing.set(false);
        if !track.layers.iter().any(|layer| layer.flowing) {
            track.flowing = false;
            track.news.set(false);
            if let Some(level) = track.loudness.silence(now) {
                self.events
                    .push_back(PublicationEvent::Feed(FeedUpdate::Loudness { level }));
            }
        }
        self.tell_news(now);
    }

    fn note_loudness(&mut self, role: Role, incoming: &Incoming, now: Instant) {
        let level = incoming.known.value(Extension::AudioLevel).and_then(AudioLevel::parse);
        let track = self.tracks.get_mut(role.track);
        if let (Some(level), Some(track)) = (level, track)
            && let Some(level) = track.loudness.handle(level, now)
        {
            self.events
                .push_back(PublicationEvent::Feed(FeedUpdate::Loudness { level }));
        }
    }

    fn note_keyframe(&mut self, role: Role, size: Option<(u16, u16)>, now: Instant) {
        let Some(track) = self.tracks.get_mut(role.track) else {
            return;
        };
        let Some(layer) = track.layers.get_mut(role.layer) else {
            return;
        };
        layer.broker.handle_keyframe(now);
        let Some((width, height)) = size else { return };
        if layer.size.replace((width, height)) == size {
            return;
        }
        layer.news.size.set((width, height));
        let sizes = track.layers.iter().filter_map(|layer| layer.size);
        let largest = sizes.max_by_key(|(width, height)| u32::from(*width) * u32::from(*height));
        if largest != self.video_size
            && let Some(size) = largest
        {
            self.video_size = largest;
            self.size_news.set(size);
        }
        self.tell_news(now);
    }
}
