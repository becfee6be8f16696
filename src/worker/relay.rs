//! The part of a worker that deals with the others: which sources it subscribes to, what it answers, and what comes out
//! of the lanes.

use super::core::{Core, Fence};
use super::lane::{Arrived, Layers, Neighbour, Note, Subscriber};
use super::peers::{Media, Publisher};
use super::room::{Room, Subscription};
use super::{Message, PeerId, RoomKey};
use crate::forward::{FeedDescription, LayerIndex, SourceId};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Instant;
use tokio::sync::oneshot;

/// Commands carried out per turn; more are in the next, so that media is not held up by a flood of joins.
const COMMANDS_PER_TURN: usize = 512;

impl Core {
    /// Takes commands and notes, then packets of other workers. `true`: there are more commands.
    ///
    /// All that is there is taken out of the inbox, whatever it costs (little): packets must not overtake the notes before
    /// them, nor wait for commands behind those.
    pub fn take_messages(&mut self, now: Instant) -> bool {
        // in this order: the notes that stand before these packets are then in the inbox
        let visible = self
            .neighbours
            .iter()
            .map(|neighbour| neighbour.as_ref().map_or(0, Neighbour::visible));
        self.visible.clear();
        self.visible.extend(visible);
        while let Ok(message) = self.inbox.try_recv() {
            match message {
                Message::Command(command) => self.commands.push_back(command),
                Message::Attach { index, lane } => self.attach(index, *lane),
                Message::Note { from, after, note } => {
                    if let Some(Some(neighbour)) = self.neighbours.get_mut(from) {
                        neighbour.noted(after, note);
                    }
                }
            }
        }
        for _ in 0..COMMANDS_PER_TURN {
            let Some(command) = self.commands.pop_front() else {
                break;
            };
            self.command(*command, now);
        }
        self.drain_lanes(now);
        !self.commands.is_empty()
    }

    fn drain_lanes(&mut self, now: Instant) {
        let Core {
            neighbours,
            rooms,
            feed_rooms,
            fresh,
            requests,
            visible,
            ..
        } = self;
        for (from, (neighbour, visible)) in neighbours.iter_mut().zip(&*visible).enumerate() {
            let Some(neighbour) = neighbour else { continue };
            neighbour.drain(*visible, |arrived| match arrived {
                Arrived::Packet(packet) => {
                    let Some((key, room)) = room_of(rooms, feed_rooms, packet.source) else {
                        return;
                    };
                    if room.subscriptions.get(&packet.source).is_some_and(|known| known.begun) {
                        room.store(key, (packet.source, packet.kind, packet.layer), packet.packet(), fresh);
                    }
                }
                Arrived::Note(Note::Begin { source, epoch }) => {
                    if let Some((_, room)) = room_of(rooms, feed_rooms, source) {
                        let known = room.subscriptions.get_mut(&source);
                        if let Some(known) = known.filter(|known| known.epoch == epoch) {
                            known.begun = true;
                        }
                    }
                }
                Arrived::Note(Note::Update { source, update }) => {
                    if let Some((key, room)) = room_of(rooms, feed_rooms, source)
                        && room.subscriptions.get(&source).is_some_and(|known| known.begun)
                    {
                        room.update(key, source, update, fresh, now);
                    }
                }
                Arrived::Note(Note::Gone { source }) => {
                    if let Some((_, room)) = room_of(rooms, feed_rooms, source) {
                        room.feeds.remove(source);
                        room.subscriptions.remove(&source);
                        feed_rooms.remove(&source);
                    }
                }
                Arrived::Note(note) => requests.push((from, note)),
            });
        }
        self.answer_requests(now);
    }

    /// Answers what other workers asked of own publishers.
    pub fn answer_requests(&mut self, now: Instant) {
        for at in 0..self.requests.len() {
            let Some(&(from, note)) = self.requests.get(at) else {
                break;
            };
            match note {
                Note::Subscribe { source, epoch } => self.subscribe(source, from, epoch, now),
                Note::Unsubscribe { source } => {
                    if let Some(publisher) = self.publisher(source) {
                        publisher.subscribers.retain(|known| known.worker != from);
                    }
                }
                Note::Prefer { source, layers } => self.prefer_layers(source, from, layers, now),
                Note::KeyframeWanted { source, layer } => self.request_keyframe(source, layer, now),
                // updates are in force when they come out of the lane, and what was sealed before has been sent
                Note::Fence { id } => {
                    if let Some(Some(lane)) = self.neighbours.get_mut(from) {
                        lane.note(Note::Passed { id });
                    }
                }
                Note::Passed { id } => self.fence_passed(id, from),
                Note::Detach => self.detach(from),
                // not requests
                Note::Begin { .. } | Note::Update { .. } | Note::Gone { .. } => {}
            }
        }
        self.requests.clear();
    }

    /// Answers `done` when this turn's packets are sent and `workers` have done what they were told before.
    pub fn acknowledge(&mut self, done: Option<oneshot::Sender<()>>, workers: &[usize]) {
        let Some(done) = done else { return };
        self.last_fence += 1;
        let id = self.last_fence;
        let mut missing = Vec::with_capacity(workers.len());
        for worker in workers {
            if let Some(Some(lane)) = self.neighbours.get_mut(*worker) {
                lane.note(Note::Fence { id });
                missing.push(*worker);
            }
        }
        if missing.is_empty() {
            self.acks.push(done);
        } else {
            self.fences.push(Fence { id, missing, done });
        }
    }

    fn fence_passed(&mut self, id: u64, from: usize) {
        for fence in self.fences.iter_mut().filter(|fence| fence.id == id) {
            fence.missing.retain(|missing| *missing != from);
        }
        self.complete_fences();
    }

    fn complete_fences(&mut self) {
        let complete = self.fences.extract_if(.., |fence| fence.missing.is_empty());
        self.acks.extend(complete.map(|fence| fence.done));
    }

    /// A program takes part from now on.
    fn attach(&mut self, index: usize, lane: Neighbour) {
        // the one before it has said goodbye, but that may still stand behind packets
        if self.neighbours.get(index).is_some_and(Option::is_some) {
            self.detach(index);
        }
        let count = self.neighbours.len().max(index + 1);
        self.neighbours.resize_with(count, || None);
        self.visible.resize(count, 0);
        if let (Some(place), Some(visible)) = (self.neighbours.get_mut(index), self.visible.get_mut(index)) {
            // what was counted was the other's
            (*place, *visible) = (Some(lane), 0);
        }
    }

    /// A program is gone, with what it made, what it took, and what it was waited for.
    fn detach(&mut self, from: usize) {
        for index in self.owners.values() {
            if let Some(Media::Publisher(publisher)) = self.peers.at_mut(*index).map(|peer| &mut peer.media) {
                publisher.subscribers.retain(|known| known.worker != from);
            }
        }
        for room in self.rooms.values_mut() {
            let Room {
                subscriptions, feeds, ..
            } = room;
            subscriptions.retain(|source, known| {
                let stays = known.worker != from;
                if !stays {
                    feeds.remove(*source);
                    self.feed_rooms.remove(source);
                }
                stays
            });
        }
        for fence in &mut self.fences {
            fence.missing.retain(|missing| *missing != from);
        }
        self.complete_fences();
        if let Some(lane) = self.neighbours.get_mut(from) {
            *lane = None;
        }
    }

    /// The workers and programs that were told of the peer's packets so far.
    pub fn subscribers_of(&mut self, id: PeerId) -> Vec<usize> {
        let index = self.peers.index_of(id);
        match index.and_then(|index| self.peers.at_mut(index)).map(|peer| &peer.media) {
            Some(Media::Publisher(publisher)) => publisher.subscribers.iter().map(|known| known.worker).collect(),
            Some(Media::Viewer(_)) | None => Vec::new(),
        }
    }

    /// A worker or a program gets the source from now on.
    fn subscribe(&mut self, source: SourceId, from: usize, epoch: u32, now: Instant) {
        let Some(&index) = self.owners.get(&source) else { return };
        let Some(peer) = self.peers.at_mut(index) else { return };
        let Media::Publisher(publisher) = &mut peer.media else {
            return;
        };
        let Some(Some(lane)) = self.neighbours.get_mut(from) else {
            return;
        };
        if publisher
            .subscribers
            .iter()
            .any(|known| known.worker == from && known.epoch == epoch)
        {
            return;
        }
        publisher.subscribers.retain(|known| known.worker != from);
        let feed = self.rooms.get(&peer.room).and_then(|room| room.feeds.get(source));
        let subscriber = lane.begin(Subscriber::new(from, epoch), source, feed, now);
        publisher.subscribers.push(subscriber);
        self.mend(source, index, subscriber, now);
    }

    fn prefer_layers(&mut self, source: SourceId, from: usize, layers: Layers, now: Instant) {
        let Some(&index) = self.owners.get(&source) else { return };
        let Some(peer) = self.peers.at_mut(index) else { return };
        let feed = self.rooms.get(&peer.room).and_then(|room| room.feeds.get(source));
        let (Media::Publisher(publisher), Some(feed)) = (&mut peer.media, feed) else {
            return;
        };
        let Some(subscriber) = publisher.subscribers.iter_mut().find(|known| known.worker == from) else {
            return;
        };
        if let Some(Some(lane)) = self.neighbours.get_mut(from) {
            lane.prefer(subscriber, layers, feed, now);
            let subscriber = *subscriber;
            self.mend(source, index, subscriber, now);
        }
    }

    /// Asks for the keyframes without which layers of a subscription do not go on: over there nobody sees a gap.
    fn mend(&mut self, source: SourceId, index: usize, subscriber: Subscriber, now: Instant) {
        let Some(publisher) = self.publisher(source) else {
            return;
        };
        let layers = (0..publisher.publication.description().layers).map(LayerIndex);
        for layer in layers.filter(|layer| subscriber.lacks_keyframe(*layer)) {
            publisher.publication.request_keyframe(layer, now);
        }
        self.touch(index);
    }

    fn publisher(&mut self, source: SourceId) -> Option<&mut Publisher> {
        let index = *self.owners.get(&source)?;
        match &mut self.peers.at_mut(index)?.media {
            Media::Publisher(publisher) => Some(publisher),
            Media::Viewer(_) => None,
        }
    }

    fn request_keyframe(&mut self, source: SourceId, layer: LayerIndex, now: Instant) {
        let Some(publisher) = self.publisher(source) else {
            return;
        };
        publisher.publication.request_keyframe(layer, now);
        if let Some(&index) = self.owners.get(&source) {
            self.touch(index);
        }
    }

    /// Passes keyframe wishes of own viewers to the publishers, wherever those are.
    pub fn grant_wishes(&mut self, now: Instant) {
        for at in 0..self.reports.wishes.len() {
            let Some(&(source, layer)) = self.reports.wishes.get(at) else {
                break;
            };
            if self.owners.contains_key(&source) {
                self.request_keyframe(source, layer, now);
                continue;
            }
            let room = self.feed_rooms.get(&source).and_then(|key| self.rooms.get(key));
            let owner = room.and_then(|room| Some(room.subscriptions.get(&source)?.worker));
            if let Some(Some(lane)) = owner.and_then(|worker| self.neighbours.get_mut(worker)) {
                lane.note(Note::KeyframeWanted { source, layer });
            }
        }
        self.reports.wishes.clear();
    }

    /// Looks again at the subscriptions of rooms whose viewers changed their slots.
    pub fn resubscribe_stale(&mut self, now: Instant) {
        while let Some(key) = self.stale.pop() {
            self.stale.retain(|other| *other != key);
            self.reconcile_feeds(key, now);
        }
    }

    /// All viewers of the room look again at who is in which slot; then the feeds follow.
    pub fn reconcile_room(&mut self, key: RoomKey, now: Instant) {
        self.reconcile_viewers(key, now);
        self.reconcile_feeds(key, now);
    }

    fn reconcile_viewers(&mut self, key: RoomKey, now: Instant) {
        let Some(room) = self.rooms.get_mut(&key) else { return };
        for &index in &room.viewers {
            let Some(peer) = self.peers.at_mut(index) else { continue };
            if let Media::Viewer(viewer) = &mut peer.media {
                viewer.reconcile(&room.sources, &room.feeds, now);
            }
            if !std::mem::replace(&mut peer.touched, true) {
                self.touched.push(index);
            }
        }
    }

    /// Feeds of remote sources exist as long as a viewer here wants them. Twice equals once.
    pub fn reconcile_feeds(&mut self, key: RoomKey, now: Instant) {
        let Some(room) = self.rooms.get_mut(&key) else { return };
        let mut wanted = BTreeSet::new();
        for &index in &room.viewers {
            if let Some(Media::Viewer(viewer)) = self.peers.at_mut(index).map(|peer| &peer.media) {
                wanted.extend(viewer.wanted());
            }
        }
        let dropped: Vec<SourceId> = room
            .subscriptions
            .keys()
            .filter(|source| !wanted.contains(*source))
            .copied()
            .collect();
        for source in dropped {
            self.unsubscribe(key, source);
        }
        let Some(room) = self.rooms.get_mut(&key) else { return };
        let mut created = false;
        for info in room
            .sources
            .iter()
            .filter(|info| wanted.contains(&info.id) && info.worker != self.index)
        {
            let Some(Some(lane)) = self.neighbours.get_mut(info.worker) else {
                continue;
            };
            let subscription = room.subscriptions.entry(info.id).or_insert_with(|| {
                created = true;
                self.epoch = self.epoch.wrapping_add(1);
                let description = FeedDescription {
                    audio: info.audio,
                    video: info.video,
                    layers: info.layers,
                };
                room.feeds.insert(info.id, description);
                self.feed_rooms.insert(info.id, key);
                Subscription {
                    worker: info.worker,
                    epoch: self.epoch,
                    begun: false,
                }
            });
            // said again until it is answered: the owner may have heard of the source later than this worker
            if !subscription.begun {
                let epoch = subscription.epoch;
                lane.note(Note::Subscribe { source: info.id, epoch });
            }
        }
        if created {
            self.reconcile_viewers(key, now);
        }
    }

    fn unsubscribe(&mut self, key: RoomKey, source: SourceId) {
        let Some(room) = self.rooms.get_mut(&key) else { return };
        let Some(subscription) = room.subscriptions.remove(&source) else {
            return;
        };
        room.feeds.remove(source);
        self.feed_rooms.remove(&source);
        if let Some(Some(lane)) = self.neighbours.get_mut(subscription.worker) {
            lane.note(Note::Unsubscribe { source });
        }
    }
}

fn room_of<'r>(
    rooms: &'r mut BTreeMap<RoomKey, Room>,
    feed_rooms: &HashMap<SourceId, RoomKey>,
    source: SourceId,
) -> Option<(RoomKey, &'r mut Room)> {
    let key = *feed_rooms.get(&source)?;
    Some((key, rooms.get_mut(&key)?))
}
