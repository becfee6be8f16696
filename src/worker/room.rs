//! What one worker keeps of a room.

use super::RoomKey;
use super::pacing::{Pacing, Place};
use crate::forward::{FeedUpdate, Feeds, LayerIndex, SourceId, SourceInfo};
use crate::rtp::{MediaKind, PacketView};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A source another worker owns and this one has a feed of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subscription {
    /// The owner.
    pub worker: usize,
    pub epoch: u32,
    /// The owner has answered: what arrives from now on belongs to this feed.
    pub begun: bool,
}

pub(super) struct Room {
    pub sources: Arc<[SourceInfo]>,
    /// Feeds of own publishers, and of remote sources that a viewer here wants.
    pub feeds: Feeds,
    pub subscriptions: BTreeMap<SourceId, Subscription>,
    /// By index in the peer table, in order of admission.
    pub viewers: Vec<usize>,
    pub pacing: Pacing,
    /// The room is in the worker's list of rooms with fresh packets.
    listed: bool,
}

impl Room {
    pub fn new(tick: Duration) -> Self {
        Room {
            sources: Arc::new([]),
            feeds: Feeds::default(),
            subscriptions: BTreeMap::new(),
            viewers: Vec::new(),
            pacing: Pacing::new(tick),
            listed: false,
        }
    }

    /// Nothing would be lost with it.
    pub fn is_empty(&self) -> bool {
        self.sources.is_empty() && self.viewers.is_empty() && self.feeds.is_empty()
    }

    /// `fresh`: the worker's list of rooms with fresh packets. Each room is in it at most once.
    pub fn store(
        &mut self,
        key: RoomKey,
        (source, kind, layer): (SourceId, MediaKind, LayerIndex),
        packet: PacketView,
        fresh: &mut Vec<RoomKey>,
    ) {
        let Some(feed) = self.feeds.get_mut(source) else { return };
        feed.store(kind, layer, packet);
        if feed.has_fresh() {
            let place = match kind {
                MediaKind::Audio => Place::Audio,
                MediaKind::Video if packet.meta.marker => Place::EndOfFrame,
                MediaKind::Video => Place::WithinFrame,
            };
            self.pacing.arrived(place, packet.meta.arrival);
            self.list(key, fresh);
        }
    }

    pub fn update(
        &mut self,
        key: RoomKey,
        source: SourceId,
        update: FeedUpdate,
        fresh: &mut Vec<RoomKey>,
        now: Instant,
    ) {
        let Some(feed) = self.feeds.get_mut(source) else { return };
        let before = feed.has_fresh();
        feed.update(update);
        if feed.has_fresh() && !before {
            self.hurry(key, fresh, now);
        }
    }

    /// Serve the viewers this turn, whether or not packets have arrived.
    pub fn hurry(&mut self, key: RoomKey, fresh: &mut Vec<RoomKey>, now: Instant) {
        self.pacing.hurry(now);
        self.list(key, fresh);
    }

    fn list(&mut self, key: RoomKey, fresh: &mut Vec<RoomKey>) {
        if !self.listed {
            self.listed = true;
            fresh.push(key);
        }
    }

    /// All viewers were served, and the room was taken off the list.
    pub fn served(&mut self) {
        self.feeds.clear_fresh();
        self.pacing.flushed();
        self.listed = false;
    }
}
