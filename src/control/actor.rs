//! One room's actor: the seat machine, what the workers have of the room, and the one task that changes both.
//!
//! Requests, workers' news and timers come in one at a time; before a request is answered its consequences are in force
//! in the workers. Time base: the monotonic clock, read once per turn.

mod peers;

use super::inbox::{Inbox, News};
use super::reconcile::{Actual, Step, reconcile};
use super::registry::{Registry, RoomHandle, Ticket};
use super::{Commanded, Patched, Resource, Session, random};
use crate::forward::{Permission, SlotReport, SourceKind, View};
use crate::room::{
    Code, Command, Event, Principal, Refusal, Room, RoomId, Settings, Snapshot, SourceStatus, TransportNews, UserId,
};
use crate::rtp::parameters::SendParameters;
use crate::transport::{self, dtls, ice, sdp};
use crate::worker::{self, PeerId, RoomKey};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};

/// Requests waiting for one room. Callers above it wait in their own tasks: nothing is dropped, and a crowd that joins at
/// once is admitted in order.
const REQUESTS_WAITING: usize = 256;

/// How long a worker may take to say that something is in force. Its turn takes about a millisecond; one that needs this
/// long hangs, and whoever asked is told so instead of waiting with it.
pub(super) const WORKER_ANSWERS: Duration = Duration::from_secs(2);

/// When to ask again for what a hanging worker has not confirmed.
const WORKER_RETRY: Duration = Duration::from_secs(1);

/// How long an ended room stays readable.
const ENDED_READABLE: Duration = Duration::from_secs(600);

type Reply<T> = oneshot::Sender<T>;

/// What a caller wants of a room's actor. A caller that went away is not answered.
pub(super) enum Request {
    /// Creation again: whether the room is as these settings say.
    Compare {
        settings: Box<Settings>,
        reply: Reply<Result<Snapshot, Refusal>>,
    },
    Snapshot(Reply<Snapshot>),
    Command {
        by: Principal,
        command: Box<Command>,
        reply: Reply<Result<Commanded, Refusal>>,
    },
    Publish {
        user: UserId,
        kind: SourceKind,
        offer: Box<sdp::Offer>,
        reply: Reply<Result<Session, Refusal>>,
    },
    View {
        viewer: Box<NewViewer>,
        reply: Reply<Result<Session, Refusal>>,
    },
    /// The worker and the peer that a user's source comes in by.
    Locate {
        user: UserId,
        kind: SourceKind,
        reply: Reply<Option<(usize, PeerId)>>,
    },
    Resource {
        peer: PeerId,
        reply: Reply<Option<Resource>>,
    },
    Patch {
        peer: PeerId,
        fragment: sdp::Fragment,
        reply: Reply<Option<Patched>>,
    },
    Close {
        peer: PeerId,
        reply: Reply<bool>,
    },
    /// Close every peer and end the task.
    Stop(Reply<()>),
}

/// A viewer whose offer has been answered already, in its caller's task.
pub(super) struct NewViewer {
    pub ticket: Ticket,
    pub user: Option<UserId>,
    pub view: View,
    pub local: ice::Credentials,
    pub remote: transport::Remote,
    pub media: SendParameters,
    pub answer: String,
}

/// What all actors of a node share, immutable but for the registry.
pub(super) struct Shared {
    pub workers: Vec<worker::Handle>,
    /// Of the certificate that all peers of the node are shown.
    pub fingerprint: dtls::Fingerprint,
    pub registry: Arc<Registry>,
}

impl Shared {
    /// The answer's transport half for a peer of this worker.
    pub fn local<'a>(&'a self, worker: usize, ice: &'a ice::Credentials) -> sdp::Local<'a> {
        sdp::Local {
            ice,
            fingerprint: self.fingerprint,
            candidates: self.candidates(worker),
            session_id: random::session_id(),
        }
    }

    fn candidates(&self, worker: usize) -> &[ice::Candidate] {
        self.workers.get(worker).map_or(&[], worker::Handle::candidates)
    }

    pub fn send(&self, worker: usize, command: worker::Command) {
        if let Some(handle) = self.workers.get(worker) {
            handle.send(command);
        }
    }
}

pub(super) fn refuse_offer(error: sdp::Error) -> Refusal {
    match error {
        sdp::Error::Invalid(why) => Refusal::new(Code::SdpInvalid, why),
        sdp::Error::Unsupported(why) => Refusal::new(Code::CodecUnsupported, why),
    }
}

/// One WHIP or WHEP resource.
struct Peer {
    ticket: Ticket,
    user: Option<UserId>,
    etag: String,
    remote: ice::Credentials,
    media: Media,
}

/// What the workers last said of a peer's media.
enum Media {
    Publisher {
        /// The seat machine counts this source's transport as up: since it is, or since the one it replaced was.
        /// A replacement that never connects is closed by its worker and lost then.
        up: bool,
        status: SourceStatus,
    },
    Viewer {
        slots: Vec<SlotReport>,
    },
}

pub(super) struct Actor {
    id: RoomId,
    key: RoomKey,
    handle: mpsc::WeakSender<Request>,
    inbox: Arc<Inbox>,
    shared: Arc<Shared>,
    room: Room,
    actual: Actual,
    /// By id, the same peers as in `actual`.
    peers: BTreeMap<PeerId, Peer>,
    /// What workers have been told to take away and have not confirmed. Empty between turns unless a worker hangs, and
    /// then it grows no faster than one command per [`WORKER_ANSWERS`].
    unconfirmed: Vec<oneshot::Receiver<()>>,
    viewers: usize,
    /// The room has ended and everything of it in the workers is gone.
    ended: Option<Instant>,
    stopped: bool,
}

/// Starts a room's task; it lives until the registry drops the handle or [`Request::Stop`].
pub(super) fn spawn(id: RoomId, epoch: u64, room: Room, shared: Arc<Shared>) -> RoomHandle {
    let (requests, mailbox) = mpsc::channel(REQUESTS_WAITING);
    let inbox = Arc::new(Inbox::default());
    let actor = Actor {
        id,
        key: RoomKey(epoch),
        handle: requests.downgrade(),
        inbox: inbox.clone(),
        shared,
        room,
        actual: Actual::default(),
        peers: BTreeMap::new(),
        unconfirmed: Vec::new(),
        viewers: 0,
        ended: None,
        stopped: false,
    };
    tokio::spawn(actor.run(mailbox));
    RoomHandle { epoch, requests, inbox }
}

impl Actor {
    async fn run(mut self, mut mailbox: mpsc::Receiver<Request>) {
        tracing::info!(room = self.id.as_str(), epoch = self.key.0, "room created");
        while !self.stopped {
            let inbox = self.inbox.clone();
            tokio::select! {
                request = mailbox.recv() => match request {
                    Some(request) => self.handle(request, Instant::now()).await,
                    None => break,
                },
                () = inbox.changed() => self.catch_up(Instant::now()),
                () = sleep_until(self.wake_at()) => self.handle_timeout(Instant::now()),
            }
        }
    }

    fn wake_at(&self) -> Option<Instant> {
        match self.ended {
            Some(at) => Some(at + ENDED_READABLE),
            None => self.room.poll_timeout(),
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        if self.ended.is_some_and(|at| now >= at + ENDED_READABLE) {
            self.shared.registry.forget(&self.id, self.key.0);
            // The handle is gone from the registry, so the mailbox closes once its last borrower is done.
            self.ended = Some(now);
            return;
        }
        self.catch_up(now);
    }

    /// What the workers reported and what the clock brought comes before anybody's request.
    fn catch_up(&mut self, now: Instant) {
        for (peer, news) in self.inbox.take() {
            self.hear(peer, news, now);
        }
        self.room.handle_timeout(now);
        self.settle(now);
    }

    /// A reply that nobody waits for is no error: the caller hung up.
    async fn handle(&mut self, request: Request, now: Instant) {
        self.catch_up(now);
        match request {
            Request::Compare { settings, reply } => {
                let _ = reply.send(self.compare(&settings, now));
            }
            Request::Snapshot(reply) => {
                let _ = reply.send(self.snapshot(now));
            }
            Request::Command { by, command, reply } => {
                let outcome = self.room.handle_command(&by, *command, now);
                self.settle(now);
                let outcome = match outcome {
                    Ok(committed) => self.confirmed().await.map(|()| Commanded {
                        snapshot: self.snapshot(now),
                        outcome: committed.outcome,
                    }),
                    Err(refusal) => Err(refusal),
                };
                let _ = reply.send(outcome);
            }
            Request::Publish {
                user,
                kind,
                offer,
                reply,
            } => {
                let _ = reply.send(self.publish(user, kind, &offer, now).await);
            }
            Request::View { viewer, reply } => {
                let _ = reply.send(self.view(*viewer, now));
            }
            Request::Locate { user, kind, reply } => {
                let _ = reply.send(self.locate(&user, kind));
            }
            Request::Resource { peer, reply } => {
                let _ = reply.send(self.resource(peer));
            }
            Request::Patch { peer, fragment, reply } => {
                let _ = reply.send(self.patch(peer, fragment));
            }
            Request::Close { peer, reply } => {
                let _ = reply.send(self.close(peer, now).await);
            }
            Request::Stop(reply) => {
                self.stopped = true;
                self.close_all().await;
                let _ = reply.send(());
            }
        }
    }

    fn compare(&self, settings: &Settings, now: Instant) -> Result<Snapshot, Refusal> {
        let snapshot = self.snapshot(now);
        let refusal = if self.ended.is_some() {
            Refusal::new(Code::RoomEnded, "the room has ended")
        } else if self.room.is_as(settings) {
            return Ok(snapshot);
        } else {
            Refusal::new(Code::Conflict, "a room of this id exists with other content")
        };
        Err(Refusal {
            version: Some(snapshot.version),
            ..refusal
        })
    }

    fn snapshot(&self, now: Instant) -> Snapshot {
        let mut snapshot = self.room.snapshot(now);
        for source in self.actual.told.iter().filter(|source| source.connected) {
            let publication = self
                .actual
                .publications
                .iter()
                .find(|(_, known)| known.source == source.id);
            let peer = publication.and_then(|(peer, _)| self.peers.get(peer));
            let Some(Media::Publisher { status, .. }) = peer.map(|peer| &peer.media) else {
                continue;
            };
            let status = SourceStatus {
                audio: status.audio && source.permission.audio,
                video: status.video && source.permission.video,
                codec: source.video.or(source.audio),
                ..status.clone()
            };
            snapshot.sources.insert((source.seat, source.kind), status);
        }
        snapshot
    }
}

/// Between the seat machine and the workers.
impl Actor {
    fn hear(&mut self, id: PeerId, news: News, now: Instant) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        match &mut peer.media {
            Media::Viewer { slots } => {
                if let Some(newest) = news.slots {
                    *slots = newest;
                }
            }
            Media::Publisher { up, status } => {
                status.audio = news.audio.unwrap_or(status.audio);
                status.video = news.video.unwrap_or(status.video);
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
            self.peers.remove(&id);
            if let Some(news) = lost {
                self.room.handle_transport(news, now);
            }
        }
    }

    /// Tells the workers where the room is; [`confirmed`](Self::confirmed) says when they are there.
    fn settle(&mut self, now: Instant) {
        let viewers = self.actual.viewers.len();
        if viewers != self.viewers {
            self.viewers = viewers;
            self.room.handle_audience(viewers, viewers, now);
        }
        while let Some(notice) = self.room.poll_notice() {
            log(&self.id, &notice.event);
        }
        let desired = self.room.desired();
        let steps = reconcile(&desired, &self.actual);
        self.perform(steps);
        if desired.ended && self.ended.is_none() {
            self.ended = Some(now);
            self.shared.registry.ended(&self.id, self.key.0, now);
        }
    }

    fn perform(&mut self, steps: Vec<Step>) {
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

    /// Returns when all that revokes is in force. A worker that is gone forwards nothing; one that hangs makes the caller
    /// ask again.
    async fn confirmed(&mut self) -> Result<(), Refusal> {
        let unconfirmed = &mut self.unconfirmed;
        let all = async {
            while let Some(done) = unconfirmed.last_mut() {
                let _ = done.await;
                unconfirmed.pop();
            }
        };
        if tokio::time::timeout(WORKER_ANSWERS, all).await.is_ok() {
            return Ok(());
        }
        let (room, open) = (self.id.as_str(), self.unconfirmed.len());
        tracing::error!(room, open, "a media worker does not answer");
        let detail = "the change is made, but a media worker has not confirmed that it is in force: ask again";
        Err(Refusal {
            retry_after: Some(WORKER_RETRY),
            version: Some(self.room.version()),
            ..Refusal::new(Code::CapacityExhausted, detail)
        })
    }

    fn send_close(&mut self, id: PeerId) -> Option<oneshot::Receiver<()>> {
        let peer = self.peers.remove(&id)?;
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

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

fn log(room: &RoomId, event: &Event) {
    let room = room.as_str();
    match event {
        Event::SeatsChanged {
            joined, left, moved, ..
        } => {
            for (seat, person) in joined {
                tracing::info!(room, seat = seat.0, user = person.user.as_str(), "seated");
            }
            for gone in left {
                let (seat, user) = (gone.seat.0, gone.person.user.as_str());
                tracing::info!(room, seat, user, reason = ?gone.reason, "off the seat");
            }
            for step in moved {
                let user = step.person.user.as_str();
                tracing::info!(room, seat = step.to.0, from = step.from.0, user, "moved");
            }
        }
        Event::SeatConnected { seat, person, resumed } => {
            let user = person.user.as_str();
            tracing::info!(room, seat = seat.0, user, resumed, "transport up");
        }
        Event::SeatSuspended { seat, person, .. } => {
            tracing::info!(room, seat = seat.0, user = person.user.as_str(), "last transport lost");
        }
        Event::SeatUpdated { seat, flags } => tracing::info!(room, seat = seat.0, ?flags, "seat changed"),
        Event::HostAway { host, .. } => tracing::info!(room, user = host.user.as_str(), "host away"),
        Event::HostBack { host } => tracing::info!(room, user = host.user.as_str(), "host back"),
        Event::HostChanged { host, .. } => tracing::info!(room, user = host.user.as_str(), "host changed"),
        Event::RoomUpdated { phase, .. } => tracing::info!(room, ?phase, "room changed"),
        Event::RoomEnded { reason } => tracing::info!(room, ?reason, "room ended"),
        other => tracing::debug!(room, event = ?other),
    }
}
