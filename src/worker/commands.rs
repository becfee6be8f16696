//! What the control plane tells a worker.

use super::core::Core;
use super::lane::Note;
use super::peers::{Media, Peer, Publisher};
use super::room::Room;
use super::tcp::TCP_SOCKET;
use super::{Admission, Command, Diagnosis, PeerId, RoomKey};
use crate::forward::{Permission, Publication, PublicationCounters, SourceId, View, Viewer};
use crate::rtp::MediaKind;
use crate::rtp::parameters::{ReceiveParameters, SendParameters};
use crate::transport::{Transport, ice};
use std::sync::Arc;
use std::time::Instant;

impl Core {
    pub fn command(&mut self, command: Command, now: Instant) {
        match command {
            Command::Publish {
                peer,
                room,
                source,
                transport,
                media,
                permission,
            } => self.publish((peer, room), source, transport, media, permission, now),
            Command::View {
                peer,
                room,
                transport,
                media,
                view,
            } => self.view((peer, room), transport, media, view, now),
            Command::Close { peer, done } => {
                let others = self.subscribers_of(peer);
                self.close(peer);
                self.acknowledge(done, &others);
            }
            Command::Restart { peer, local, remote } => self.restart(peer, local, remote, now),
            Command::Permit { peer, permission, done } => {
                self.permit(peer, permission, now);
                let others = self.subscribers_of(peer);
                self.acknowledge(done, &others);
            }
            Command::Sources { room, sources } => {
                self.room(room).sources = sources;
                self.reconcile_room(room, now);
                self.collect(room);
            }
            Command::Forget { room } => {
                if let Some(known) = self.rooms.get_mut(&room) {
                    known.sources = Arc::new([]);
                    self.reconcile_room(room, now);
                    self.collect(room);
                }
            }
            Command::Prefer {
                peer,
                slot,
                preference,
                reply,
            } => {
                let index = self.peers.index_of(peer);
                let known =
                    index
                        .and_then(|index| self.peers.at_mut(index))
                        .is_some_and(|peer| match &mut peer.media {
                            Media::Viewer(viewer) => viewer.prefer(slot, preference, now),
                            Media::Publisher(_) => false,
                        });
                if let Some(index) = index {
                    self.touch(index);
                }
                let _caller_gone = reply.send(known);
            }
            Command::Diagnose { peer, reply } => {
                let _caller_gone = reply.send(self.diagnose(peer, now));
            }
            Command::Stop => {
                let all: Vec<usize> = self.peers.indices().collect();
                for index in all {
                    self.close_at(index);
                }
                self.stopping = true;
            }
        }
    }

    fn room(&mut self, key: RoomKey) -> &mut Room {
        self.rooms.entry(key).or_insert_with(|| Room::new(self.tick))
    }

    /// Forgets a room of which nothing is left.
    fn collect(&mut self, key: RoomKey) {
        if self.rooms.get(&key).is_some_and(Room::is_empty) {
            self.rooms.remove(&key);
        }
    }

    fn publish(
        &mut self,
        (id, key): (PeerId, RoomKey),
        source: SourceId,
        admission: Admission,
        media: ReceiveParameters,
        permission: Permission,
        now: Instant,
    ) {
        self.close(id);
        let publication = Publication::new(source, media, permission, self.feedback_ssrc, self.clock, now);
        self.room(key).feeds.insert(source, publication.description());
        self.feed_rooms.insert(source, key);
        let publisher = Publisher {
            source,
            publication,
            subscribers: Vec::new(),
            counted: PublicationCounters::default(),
        };
        let index = self.admit((id, key), admission, Media::Publisher(Box::new(publisher)), now);
        self.owners.insert(source, index);
        let metrics = &self.reports.metrics;
        metrics.publishers.add(1);
        self.settle(index, now);
    }

    fn view(
        &mut self,
        (id, key): (PeerId, RoomKey),
        admission: Admission,
        media: SendParameters,
        view: View,
        now: Instant,
    ) {
        self.close(id);
        let mut viewer = Viewer::new(media, view, self.feedback_ssrc, now);
        let room = self.room(key);
        viewer.reconcile(&room.sources, &room.feeds, now);
        let index = self.admit((id, key), admission, Media::Viewer(viewer), now);
        self.room(key).viewers.push(index);
        self.reports.metrics.viewers.add(1);
        self.reconcile_feeds(key, now);
        self.settle(index, now);
    }

    fn admit(&mut self, (id, key): (PeerId, RoomKey), admission: Admission, media: Media, now: Instant) -> usize {
        let Admission { local, remote } = admission;
        let ufrag = local.ufrag.clone();
        let transport = Transport::new(&self.dtls, local, remote, now);
        self.peers.insert(Peer::new(id, key, transport, media, now), ufrag)
    }

    /// Says goodbye to the peer, if it is known, and forgets it.
    fn close(&mut self, id: PeerId) {
        if let Some(index) = self.peers.index_of(id) {
            self.close_at(index);
        }
    }

    fn close_at(&mut self, index: usize) {
        if let Some(peer) = self.peers.at_mut(index) {
            peer.transport.close();
            while let Some(transmit) = peer.transport.poll_transmit() {
                self.outbox.push(transmit.path, &transmit.bytes);
            }
        }
        self.remove(index);
    }

    /// Takes the peer out of every table. What is queued for it is still sent.
    pub fn remove(&mut self, index: usize) -> Option<Box<Peer>> {
        let peer = self.peers.remove(index)?;
        self.timers.set(index, None);
        let sockets = peer.paths().iter().map(|path| path.socket);
        self.abandoned.extend(sockets.filter(|socket| socket & TCP_SOCKET != 0));
        let metrics = &self.reports.metrics;
        match &peer.media {
            Media::Viewer(_) => {
                metrics.viewers.set(metrics.viewers.value().saturating_sub(1));
                if let Some(room) = self.rooms.get_mut(&peer.room) {
                    room.viewers.retain(|viewer| *viewer != index);
                }
                self.stale.push(peer.room);
            }
            Media::Publisher(publisher) => {
                metrics.publishers.set(metrics.publishers.value().saturating_sub(1));
                let source = publisher.source;
                self.owners.remove(&source);
                self.feed_rooms.remove(&source);
                if let Some(room) = self.rooms.get_mut(&peer.room) {
                    room.feeds.remove(source);
                }
                for subscriber in &publisher.subscribers {
                    if let Some(Some(lane)) = self.neighbours.get_mut(subscriber.worker) {
                        lane.note(Note::Gone { source });
                    }
                }
            }
        }
        self.collect(peer.room);
        Some(peer)
    }

    fn diagnose(&mut self, id: PeerId, now: Instant) -> Option<Diagnosis> {
        let index = self.peers.index_of(id)?;
        let peer = self.peers.at_mut(index)?;
        let Media::Publisher(publisher) = &peer.media else {
            return None;
        };
        Some(Diagnosis {
            at: now,
            admitted: peer.created,
            path: peer.transport.path().map(|path| path.remote),
            connected: peer.connected,
            audio: publisher.publication.diagnose(MediaKind::Audio),
            video: publisher.publication.diagnose(MediaKind::Video),
        })
    }

    fn restart(&mut self, id: PeerId, local: ice::Credentials, remote: ice::Credentials, now: Instant) {
        let Some(index) = self.peers.index_of(id) else { return };
        self.peers.add_ufrag(index, local.ufrag.clone());
        if let Some(peer) = self.peers.at_mut(index) {
            peer.transport.restart(local, remote, now);
        }
        self.settle(index, now);
    }

    fn permit(&mut self, id: PeerId, permission: Permission, now: Instant) {
        let Some(index) = self.peers.index_of(id) else { return };
        if let Some(Media::Publisher(publisher)) = self.peers.at_mut(index).map(|peer| &mut peer.media) {
            publisher.publication.permit(permission, now);
        }
        // the interruption reaches the feeds, and with it what was fresh is gone
        self.settle(index, now);
    }
}
