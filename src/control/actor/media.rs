//! Between the seat machine and the workers: what they report goes in, where the room is goes out.

use super::{Actor, Media, Peer};
use crate::control::inbox::News;
use crate::control::reconcile::{Step, places_kept, reconcile, sources};
use crate::forward::{Permission, SourceKind};
use crate::room::event::Event;
use crate::room::{MediaNews, Presence, SourceStatus, TransportNews, UserId};
use crate::worker::{self, PeerId};
use std::collections::BTreeMap;
use std::time::Instant;
use tokio::sync::oneshot;

/// A worker's loudness is this much above its level in dBov (RFC 6464: 0 to -127).
const LOUDEST: i16 = 127;

impl Actor {
    pub(super) fn hear(&mut self, id: PeerId, news: News, now: Instant) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        match &mut peer.media {
            Media::Viewer { slots, .. } => {
                if let Some(newest) = news.slots {
                    slots.clone_from(&newest);
                    if let Some(user) = &peer.user {
                        let viewer = peer.ticket.resource.0.clone();
                        self.room.handle_slots(user, viewer, newest, now);
                    }
                }
            }
            Media::Publisher { up, status, loudness } => {
                status.audio = news.audio.unwrap_or(status.audio);
                status.video = news.video.unwrap_or(status.video);
                *loudness = news.loudness.or(*loudness);
                if let Some((width, height)) = news.size {
                    status.width = Some(width);
                    status.height = Some(height);
                }
                if news.connected
                    && let Some(publication) = self.actual.publications.get_mut(&id)
                {
                    publication.connected = true;
                    if !std::mem::replace(up, true) {
                        let user = publication.user.clone();
                        let kind = publication.kind;
                        self.room.handle_transport(TransportNews::Up { user, kind }, now);
                    }
                }
            }
        }
        if let Some(reason) = news.closed {
            tracing::info!(room = self.id.as_str(), peer = id.0, ?reason, "peer gone");
            let lost = self.loss(id);
            // The worker has forgotten it already.
            self.actual.apply(&Step::Close(id));
            self.remove_peer(id);
            if let Some(news) = lost {
                self.room.handle_transport(news, now);
            }
        }
    }

    /// Tells the workers where the room is; the end of the turn waits until they are there.
    pub(super) fn settle(&mut self, now: Instant) {
        self.gather();
        self.report_sources(now);
        self.report_levels(now);
        self.report_audience(now);
        let desired = self.room.desired();
        self.report_drawn(now);
        let sources = sources(&desired, &self.actual);
        let program = self.settle_program(&desired, &sources, now);
        self.settle_capacity();
        let steps = reconcile(&desired, &self.actual, sources, program);
        self.perform(steps);
        let kept = places_kept(&desired, &self.actual, self.told.host_away).len();
        if kept != self.told.places_kept {
            self.told.places_kept = kept;
            self.shared.registry.keep(&self.id, self.key.0, kept);
        }
    }

    /// What flows of each seated user's sources. That a seat's mute hides it is the seat machine's to know.
    fn report_sources(&mut self, now: Instant) {
        let mut sources = BTreeMap::new();
        for (peer, publication) in self.actual.publications.iter().filter(|(_, known)| known.connected) {
            if let Some(Media::Publisher { status, .. }) = self.peers.get(peer).map(|peer| &peer.media) {
                let status = SourceStatus {
                    codec: publication.video.or(publication.audio),
                    ..status.clone()
                };
                sources.insert((publication.user.clone(), publication.kind), status);
            }
        }
        let gone = self.told.sources.keys().filter(|source| !sources.contains_key(*source));
        let mut news: Vec<MediaNews> = gone.map(|source| media_news(source, None)).collect();
        let changed = sources
            .iter()
            .filter(|(source, status)| self.told.sources.get(*source) != Some(*status));
        news.extend(changed.map(|(source, status)| media_news(source, Some(status))));
        self.told.sources = sources;
        for news in news {
            self.room.handle_media(news, now);
        }
        self.gather();
    }

    /// Voices come from microphones, so from a user's loudest source.
    fn report_levels(&mut self, now: Instant) {
        let mut levels: BTreeMap<UserId, i8> = BTreeMap::new();
        for (peer, publication) in &self.actual.publications {
            if let Some(Media::Publisher {
                loudness: Some(loudness),
                ..
            }) = self.peers.get(peer).map(|peer| &peer.media)
            {
                let level = i8::try_from(i16::from(*loudness) - LOUDEST).unwrap_or(0);
                let known = levels.entry(publication.user.clone()).or_insert(level);
                *known = level.max(*known);
            }
        }
        if levels != self.told.levels {
            self.told.levels = levels.clone();
            self.room.handle_levels(levels, now);
            self.gather();
        }
    }

    fn report_audience(&mut self, now: Instant) {
        let audience = (self.actual.viewers.len(), self.audience.strangers());
        if audience != self.told.audience {
            self.told.audience = audience;
            self.room.handle_audience(audience.0, audience.1, now);
            self.gather();
        }
    }

    /// Takes what the seat machine has to tell.
    pub(super) fn gather(&mut self) {
        while let Some(notice) = self.room.poll_notice() {
            match &notice.event {
                Event::MemberJoined { member } | Event::MemberUpdated { member } => {
                    let here = member.presence != Presence::Gone;
                    self.audience.set_member(&member.person.user, here);
                }
                Event::MemberLeft { member, .. } => self.audience.set_member(&member.person.user, false),
                Event::HostAway { .. } => self.told.host_away = true,
                Event::HostBack { .. } | Event::HostChanged { .. } => self.told.host_away = false,
                _ => {}
            }
            self.notices.push(notice);
        }
    }

    pub(super) fn perform(&mut self, steps: Vec<Step>) {
        for step in steps {
            match &step {
                Step::Close(peer) => {
                    let closed = self.send_close(*peer);
                    self.unconfirmed.extend(closed);
                }
                Step::Permit(peer, permission) => {
                    let in_force = self.send_permission(*peer, *permission);
                    self.unconfirmed.extend(in_force);
                }
                Step::Tell(sources) => {
                    for worker in &self.shared.workers {
                        worker.send(worker::Command::Sources {
                            room: self.key,
                            sources: sources.clone(),
                        });
                    }
                }
                Step::Forget => {
                    for worker in &self.shared.workers {
                        worker.send(worker::Command::Forget { room: self.key });
                    }
                }
            }
            self.actual.apply(&step);
        }
    }

    /// Gives its place back once the peer is dropped.
    fn remove_peer(&mut self, id: PeerId) -> Option<Peer> {
        let peer = self.peers.remove(&id)?;
        if let Media::Viewer { .. } = peer.media {
            self.audience.viewer_went(peer.user.as_ref());
        }
        Some(peer)
    }

    fn send_close(&mut self, id: PeerId) -> Option<oneshot::Receiver<()>> {
        let peer = self.remove_peer(id)?;
        let (done, closed) = oneshot::channel();
        let command = worker::Command::Close {
            peer: id,
            done: Some(done),
        };
        self.shared.send(peer.ticket.worker, command);
        Some(closed)
    }

    fn send_permission(&self, id: PeerId, permission: Permission) -> Option<oneshot::Receiver<()>> {
        let peer = self.peers.get(&id)?;
        let (done, in_force) = oneshot::channel();
        let command = worker::Command::Permit {
            peer: id,
            permission,
            done: Some(done),
        };
        self.shared.send(peer.ticket.worker, command);
        Some(in_force)
    }
}

fn media_news((user, kind): &(UserId, SourceKind), status: Option<&SourceStatus>) -> MediaNews {
    MediaNews {
        user: user.clone(),
        kind: *kind,
        status: status.cloned(),
    }
}
