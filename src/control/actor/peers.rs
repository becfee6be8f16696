//! The peers of a room: admitted, replaced, restarted, closed.

use super::{Actor, Media, NewViewer, Peer, refuse_offer};
use crate::control::placement::Role;
use crate::control::reconcile::{Publication, Step, places_kept};
use crate::control::registry::{RoomHandle, Ticket};
use crate::control::{Patched, Resource, Session, random};
use crate::forward::{Permission, SourceKind, View};
use crate::room::{Code, ProgramMode, Refusal, SourceStatus, TransportNews, UserId};
use crate::rtp::parameters::ReceiveParameters;
use crate::transport::{self, ice, sdp};
use crate::worker::{self, Admission, PeerId};
use std::time::{Duration, Instant};

/// When a viewer may ask again for what is not there yet: a publisher who is joining needs about that long.
const NOTHING_TO_PLAY_RETRY: Duration = Duration::from_secs(1);

impl Actor {
    pub(super) fn publish(&mut self, user: UserId, kind: SourceKind, offer: &sdp::Offer) -> Result<Session, Refusal> {
        let desired = self.room.desired();
        if desired.ended {
            return Err(self.refusal(Code::RoomEnded, "the room has ended"));
        }
        let Some((_, permission)) = desired.seats.get(&user) else {
            let detail = format!(
                "{} has no seat in this room, and the seat is the permission",
                user.as_str()
            );
            return Err(self.refusal(Code::NotSeated, detail));
        };
        let place_kept = places_kept(&desired, &self.actual, self.told.host_away).contains(&user);
        let ticket = self.admit(Role::Publisher, place_kept)?;
        let local = random::credentials();
        let policy = sdp::PublishPolicy {
            program_codecs_only: self.room.settings().policies.program_codecs_only,
        };
        let answered = offer.answer_publisher(&self.shared.local(ticket.worker, &local), policy);
        let (answer, media) = answered.map_err(refuse_offer)?;
        let session = Session {
            id: ticket.resource.clone(),
            etag: local.ufrag.clone(),
            answer,
        };
        self.start_publication(ticket, user, kind, *permission, local, offer.remote().clone(), media);
        Ok(session)
    }

    #[expect(clippy::too_many_arguments, reason = "the pieces of one new peer")]
    fn start_publication(
        &mut self,
        ticket: Ticket,
        user: UserId,
        kind: SourceKind,
        permission: Permission,
        local: ice::Credentials,
        remote: transport::Remote,
        media: ReceiveParameters,
    ) {
        let up = self.replace(&user, kind);
        let video = media.video.as_ref();
        let layers = video.map_or(1, |track| track.rids.len().max(1));
        let publication = Publication {
            user: user.clone(),
            kind,
            source: self.shared.registry.next_source(),
            worker: ticket.worker,
            audio: media.audio.as_ref().map(|track| track.codec),
            video: video.map(|track| track.codec),
            layers: u8::try_from(layers).unwrap_or(u8::MAX),
            permission,
            connected: false,
        };
        tracing::info!(
            room = self.id.as_str(),
            user = user.as_str(),
            peer = ticket.peer.0,
            worker = ticket.worker,
            source = ?kind,
            "publisher admitted"
        );
        let peer = Peer {
            user: Some(user),
            etag: local.ufrag.clone(),
            remote: remote.ice.clone(),
            media: Media::Publisher {
                up,
                status: SourceStatus::default(),
                loudness: None,
            },
            ticket,
        };
        let command = worker::Command::Publish {
            peer: peer.ticket.peer,
            room: self.key,
            source: publication.source,
            transport: Admission { local, remote },
            media,
            permission,
        };
        self.shared.send(peer.ticket.worker, command);
        self.actual.publications.insert(peer.ticket.peer, publication);
        self.peers.insert(peer.ticket.peer, peer);
    }

    /// The newest transport of a source wins: closes the one before, and says whether it counted as up.
    fn replace(&mut self, user: &UserId, kind: SourceKind) -> bool {
        let mut publications = self.actual.publications.iter();
        let old = publications.find(|(_, known)| known.user == *user && known.kind == kind);
        let Some(old) = old.map(|(peer, _)| *peer) else {
            return false;
        };
        tracing::info!(
            room = self.id.as_str(),
            user = user.as_str(),
            peer = old.0,
            "publisher replaced"
        );
        let up = matches!(
            self.peers.get(&old).map(|peer| &peer.media),
            Some(Media::Publisher { up: true, .. })
        );
        self.perform(vec![Step::Close(old)]);
        up
    }

    pub(super) fn view(&mut self, viewer: NewViewer, now: Instant) -> Result<Session, Refusal> {
        if self.ended.is_some() {
            return Err(self.refusal(Code::RoomEnded, "the room has ended"));
        }
        if let Some(user) = &viewer.user {
            let version = Some(self.room.version());
            let permitted = self.room.may_view(user, now);
            permitted.map_err(|refusal| Refusal { version, ..refusal })?;
        }
        self.playable(&viewer.view)?;
        self.may_watch(&viewer.view)?;
        let ticket = viewer.ticket;
        tracing::info!(
            room = self.id.as_str(),
            user = viewer.user.as_ref().map(UserId::as_str),
            peer = ticket.peer.0,
            worker = ticket.worker,
            view = ?viewer.view,
            "viewer admitted"
        );
        let session = Session {
            id: ticket.resource.clone(),
            etag: viewer.local.ufrag.clone(),
            answer: viewer.answer,
        };
        let peer = Peer {
            user: viewer.user,
            etag: session.etag.clone(),
            remote: viewer.remote.ice.clone(),
            media: Media::Viewer {
                slots: Vec::new(),
                view: viewer.view.clone(),
            },
            ticket,
        };
        let command = worker::Command::View {
            peer: peer.ticket.peer,
            room: self.key,
            transport: Admission {
                local: viewer.local,
                remote: viewer.remote,
            },
            media: viewer.media,
            view: viewer.view.clone(),
        };
        self.shared.send(peer.ticket.worker, command);
        self.actual.viewers.insert(peer.ticket.peer, viewer.view);
        self.audience.viewer_came(peer.user.as_ref());
        self.peers.insert(peer.ticket.peer, peer);
        Ok(session)
    }

    /// A stage may be watched before anybody is on it: its slots fill without renegotiation. A single seat needs its
    /// source up, or about to be again.
    fn playable(&self, view: &View) -> Result<(), Refusal> {
        let (seat, kind) = match view {
            View::Stage { .. } => return Ok(()),
            View::Program { .. } => return self.program_playable(),
            View::Seat { seat, kind } => (*seat, *kind),
        };
        if !self.room.has_seat(seat) {
            return Err(self.refusal(Code::SeatIndexInvalid, format!("there is no seat {}", seat.0)));
        }
        let desired = self.room.desired();
        let playing = self.peers.values().any(|peer| {
            let up = matches!(peer.media, Media::Publisher { up: true, .. });
            let seated = peer.user.as_ref().and_then(|user| desired.seats.get(user));
            let publication = self.actual.publications.get(&peer.ticket.peer);
            up && seated.is_some_and(|(at, _)| *at == seat) && publication.is_some_and(|known| known.kind == kind)
        });
        if playing {
            return Ok(());
        }
        Err(self.nothing_to_play("nothing is published there yet"))
    }

    /// The program begins with the first seated media and lasts as long as the room, unless it is off.
    fn program_playable(&self) -> Result<(), Refusal> {
        if self.room.settings().program.mode == ProgramMode::Off {
            return Err(self.nothing_to_play("the room's program is off"));
        }
        let up = |peer: &Peer| matches!(peer.media, Media::Publisher { up: true, .. });
        if self.program_begun || self.peers.values().any(up) {
            return Ok(());
        }
        Err(self.nothing_to_play("the program begins with the first camera or microphone on a seat"))
    }

    fn nothing_to_play(&self, why: &str) -> Refusal {
        Refusal {
            retry_after: Some(NOTHING_TO_PLAY_RETRY),
            ..self.refusal(Code::NothingToPlay, why)
        }
    }

    /// The worker and the peer of a user's source.
    pub(super) fn locate(&self, user: &UserId, kind: SourceKind) -> Option<(usize, PeerId)> {
        let mut publications = self.actual.publications.iter();
        let (peer, known) = publications.find(|(_, known)| known.user == *user && known.kind == kind)?;
        Some((known.worker, *peer))
    }

    pub(super) fn resource(&self, peer: PeerId) -> Option<Resource> {
        let peer = self.peers.get(&peer)?;
        let (publisher, slots) = match &peer.media {
            Media::Publisher { .. } => (true, Vec::new()),
            Media::Viewer { slots, .. } => (false, slots.clone()),
        };
        Some(Resource {
            room: self.id.clone(),
            user: peer.user.clone(),
            publisher,
            etag: peer.etag.clone(),
            slots,
        })
    }

    /// Trickled fragments name the session's own credentials (RFC 8840 section 9); others are a restart (RFC 9725 4.3.3).
    pub(super) fn patch(&mut self, peer: PeerId, fragment: sdp::Fragment) -> Option<Patched> {
        let peer = self.peers.get_mut(&peer)?;
        let remote = match &fragment.ice {
            Some(ice) if *ice != peer.remote => ice.clone(),
            _ => return Some(Patched::Trickled),
        };
        let local = random::credentials();
        peer.etag = local.ufrag.clone();
        peer.remote = remote.clone();
        let fragment = fragment.answer(&local, self.shared.candidates(peer.ticket.worker));
        let command = worker::Command::Restart {
            peer: peer.ticket.peer,
            local,
            remote,
        };
        self.shared.send(peer.ticket.worker, command);
        Some(Patched::Restarted {
            fragment,
            etag: peer.etag.clone(),
        })
    }

    pub(super) fn close(&mut self, peer: PeerId, now: Instant) -> bool {
        if !self.peers.contains_key(&peer) {
            return false;
        }
        let lost = self.loss(peer);
        self.perform(vec![Step::Close(peer)]);
        if let Some(news) = lost {
            self.room.handle_transport(news, now);
        }
        true
    }

    /// Ends what somebody watches who was made to leave the room. What they publish ends with their seat.
    pub(super) fn dismiss(&mut self, user: &UserId) {
        let watches = |peer: &&Peer| matches!(peer.media, Media::Viewer { .. }) && peer.user.as_ref() == Some(user);
        let theirs = self.peers.values().filter(watches);
        let steps = theirs.map(|peer| Step::Close(peer.ticket.peer)).collect();
        self.perform(steps);
    }

    pub(super) fn close_all(&mut self) {
        let peers = self.peers.keys().copied().map(Step::Close);
        self.perform(peers.chain([Step::Forget]).collect());
    }

    /// What the seat machine has to hear when this peer is gone.
    pub(super) fn loss(&self, peer: PeerId) -> Option<TransportNews> {
        let publication = self.actual.publications.get(&peer)?;
        match self.peers.get(&peer)?.media {
            Media::Publisher { up: true, .. } => Some(TransportNews::Lost {
                user: publication.user.clone(),
                kind: publication.kind,
            }),
            Media::Publisher { up: false, .. } | Media::Viewer { .. } => None,
        }
    }

    fn admit(&self, role: Role, place_kept: bool) -> Result<Ticket, Refusal> {
        let ended = || Refusal::new(Code::RoomEnded, "the room has ended");
        let handle = RoomHandle {
            epoch: self.key.0,
            requests: self.handle.upgrade().ok_or_else(ended)?,
            inbox: self.inbox.clone(),
            hub: self.hub.clone(),
        };
        self.shared.registry.admit(&handle, role, place_kept)
    }
}
