//! One room's actor: the seat machine, what the workers have of the room, and the one task that changes both.
//!
//! Requests, workers' news, lost event streams and timers come in one at a time. Each is one turn: the seat machine
//! decides, the workers are told, the change is handed to the store; and when the workers have confirmed and the disk has
//! it, its events are published and its asker is answered, in the order of the turns ([`turn`]). Meanwhile the next turn
//! is taken already: a slow disk delays answers and events, never what the workers are told.
//! Time base: the monotonic clock, read once per turn; records carry the wall clock.

mod capacity;
mod log;
mod media;
mod peers;
mod program;
mod saving;
mod streams;
mod turn;

use super::audience::Audience;
use super::inbox::Inbox;
use super::program::{Making, Running};
use super::program_size::ProgramSize;
use super::reconcile::Actual;
use super::registry::{Registry, RoomHandle, Ticket};
use super::{Commanded, Patched, Position, Resource, Session, Subscription, random};
use crate::events::Hub;
use crate::forward::{SlotReport, SourceId, SourceKind, View};
use crate::program::{Programs, Reservation, Step};
use crate::room::{
    Code, Command, Committed, Member, Notice, Outcome, Phase, Principal, Refusal, Room, RoomId, Settings, Snapshot,
    SourceStatus, UserId,
};
use crate::rtp::parameters::SendParameters;
use crate::store::{self, Store};
use crate::transport::{self, dtls, ice, sdp};
use crate::webhook;
use crate::worker::{self, PeerId, RoomKey};
use program::Program;
use saving::Saving;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};
use turn::{Answer, Turn};

/// Requests waiting for one room. Callers above it wait in their own tasks: nothing is dropped, and a crowd that joins at
/// once is admitted in order.
const REQUESTS_WAITING: usize = 256;

/// How long a worker or the store may take to say that something is in force or on the disk. A worker's turn takes about a
/// millisecond, a write some; one that needs this long hangs, and whoever asked is told so instead of waiting with it.
pub(super) const ANSWERED_WITHIN: Duration = Duration::from_secs(2);

/// How long an ended room stays readable.
const ENDED_READABLE: Duration = Duration::from_secs(600);

type Reply<T> = oneshot::Sender<T>;
type Written = oneshot::Receiver<Result<(), store::Error>>;

/// What a caller wants of a room's actor. A caller that went away is not answered.
pub(super) enum Request {
    /// Creation, first or again: whether the room is as these settings say, and stored.
    Compare {
        settings: Box<Settings>,
        reply: Reply<Result<Snapshot, Refusal>>,
    },
    Snapshot(Reply<Snapshot>),
    Members {
        by: Principal,
        reply: Reply<Result<Vec<Member>, Refusal>>,
    },
    Command {
        by: Principal,
        command: Box<Command>,
        reply: Reply<Result<Commanded, Refusal>>,
    },
    Subscribe {
        by: Principal,
        after: Option<Position>,
        reply: Reply<Result<Subscription, Refusal>>,
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
    /// Where a user's source is, and the program it may be in.
    Locate {
        user: Option<UserId>,
        kind: SourceKind,
        reply: Reply<Located>,
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
    /// Close every peer and stream and end the task.
    Stop(Reply<()>),
}

/// What [`Request::Locate`] asks for.
pub(super) struct Located {
    /// The worker and the peer that the source comes in by.
    pub peer: Option<(usize, PeerId)>,
    /// How the program is made.
    pub making: Making,
    /// Why so, in words; empty while none is made.
    pub why: String,
    /// What it is made with, where that is less than what is set.
    pub step: Option<Step>,
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
    pub store: Store,
    pub webhooks: webhook::Sender,
    /// Of the absolute URLs in webhooks.
    pub base_url: String,
    pub programs: Programs,
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
        /// 0 (silent) to 127; `None`: nothing says.
        loudness: Option<u8>,
    },
    Viewer {
        slots: Vec<SlotReport>,
        view: View,
    },
}

pub(super) struct Actor {
    id: RoomId,
    key: RoomKey,
    handle: mpsc::WeakSender<Request>,
    inbox: Arc<Inbox>,
    hub: Arc<Hub>,
    shared: Arc<Shared>,
    room: Room,
    actual: Actual,
    /// By id, the same peers as in `actual`.
    peers: BTreeMap<PeerId, Peer>,
    audience: Audience,
    /// There has been media on a seat, before a restart, too: the room has a program until it ends.
    program_begun: bool,
    program_size: ProgramSize,
    running: Running,
    /// The program, while it runs.
    program: Option<Program>,
    /// What the program takes of the node.
    reservation: Reservation,
    told: Told,
    /// Of this turn so far.
    notices: Vec<Notice>,
    /// What workers have been told to take away, in this turn or in one before that they did not confirm in time. Grows no
    /// faster than a hanging worker's own queue of commands.
    unconfirmed: Vec<oneshot::Receiver<()>>,
    /// Those that are not over, in their order; bounded by [`turn::TURNS_OPEN`] but for the one a stop ends with.
    turns: VecDeque<Turn>,
    saving: Saving,
    /// Answers of the store to come, in the order of `saving`'s open writes.
    writes: VecDeque<Written>,
    /// Why it refused last.
    store_error: Option<store::Error>,
    /// The room has ended and everything of it in the workers is gone.
    ended: Option<Instant>,
    stopped: bool,
}

/// What the seat machine was told, and what it told.
#[derive(Default)]
struct Told {
    sources: BTreeMap<(UserId, SourceKind), SourceStatus>,
    levels: BTreeMap<UserId, i8>,
    /// Viewers, and those of them who are no members.
    audience: (usize, usize),
    places_kept: usize,
    /// The sources whose first frame in the program was told.
    drawn: BTreeSet<SourceId>,
    /// How the program is made, where that is less than what is set.
    step: Option<Step>,
    /// Seat 0 waits for its host to come back.
    host_away: bool,
    webhook: serde_json::Value,
}

/// Starts a room's task; it lives until the registry drops the handle or [`Request::Stop`].
pub(super) fn spawn(id: RoomId, epoch: u64, room: Room, shared: Arc<Shared>) -> RoomHandle {
    let (requests, mailbox) = mpsc::channel(REQUESTS_WAITING);
    let inbox = Arc::new(Inbox::default());
    let snapshot = room.snapshot(Instant::now());
    let hub = Arc::new(Hub::new(snapshot.seq));
    let told = Told {
        host_away: snapshot.phase == Phase::HostAway,
        webhook: room.settings().webhook.clone(),
        ..Told::default()
    };
    let actor = Actor {
        id,
        key: RoomKey(epoch),
        handle: requests.downgrade(),
        inbox: inbox.clone(),
        hub: hub.clone(),
        reservation: shared.programs.reserve(),
        shared,
        room,
        actual: Actual::default(),
        peers: BTreeMap::new(),
        audience: Audience::default(),
        // A restored room in which somebody had been on the air: what they sent began it.
        program_begun: !snapshot.present().is_empty(),
        program_size: ProgramSize::default(),
        running: Running::default(),
        program: None,
        told,
        notices: Vec::new(),
        unconfirmed: Vec::new(),
        turns: VecDeque::new(),
        saving: Saving::default(),
        writes: VecDeque::new(),
        store_error: None,
        ended: None,
        stopped: false,
    };
    tokio::spawn(actor.run(mailbox));
    RoomHandle {
        epoch,
        requests,
        inbox,
        hub,
    }
}

/// What the task woke for.
enum Wake {
    /// The first open turn is confirmed or has waited too long.
    Turn,
    Written(Result<(), store::Error>),
    Request(Option<Request>),
    /// Workers' news, lost streams or the clock.
    News,
}

impl Actor {
    async fn run(mut self, mut mailbox: mpsc::Receiver<Request>) {
        tracing::info!(room = self.id.as_str(), epoch = self.key.0, "room opened");
        // A new or restored room is stored before anything else happens to it.
        self.catch_up(Instant::now());
        while !self.stopped {
            match self.wake(&mut mailbox).await {
                Wake::Turn => self.land_ready(Instant::now()),
                Wake::Written(answer) => self.handle_written(answer, Instant::now()),
                Wake::Request(Some(request)) => self.handle(request, Instant::now()),
                Wake::Request(None) => break,
                Wake::News => self.handle_timeout(Instant::now()),
            }
        }
        mailbox.close();
        while !self.turns.is_empty() {
            tokio::select! {
                () = confirmed(&mut self.turns) => self.land_ready(Instant::now()),
                answer = written(&mut self.writes) => self.handle_written(answer, Instant::now()),
            }
        }
    }

    /// What is over is seen to first: each request catches up with news and clock by itself, so nothing starves.
    async fn wake(&mut self, mailbox: &mut mpsc::Receiver<Request>) -> Wake {
        let wake_at = self.wake_at();
        let open = self.turns.len() < turn::TURNS_OPEN;
        tokio::select! {
            biased;
            () = confirmed(&mut self.turns) => Wake::Turn,
            answer = written(&mut self.writes) => Wake::Written(answer),
            request = mailbox.recv(), if open => Wake::Request(request),
            () = self.inbox.changed(), if open => Wake::News,
            () = self.hub.changed(), if open => Wake::News,
            () = program::changed(&mut self.program), if open => Wake::News,
            () = sleep_until(wake_at), if open => Wake::News,
        }
    }

    fn wake_at(&self) -> Option<Instant> {
        // An ended room whose record could not be removed yet stays until it is.
        let saved = self.saving.is_saved();
        let room = match self.ended {
            Some(at) => saved.then_some(at + ENDED_READABLE),
            None => self.room.poll_timeout(),
        };
        let program = self.running.poll_timeout().into_iter();
        let program = program.chain(self.program_size.poll_timeout());
        room.into_iter().chain(self.saving.poll_timeout()).chain(program).min()
    }

    fn handle_timeout(&mut self, now: Instant) {
        if self.saving.is_saved() && self.ended.is_some_and(|at| now >= at + ENDED_READABLE) {
            self.shared.registry.forget(&self.id, self.key.0);
            // The handle is gone from the registry, so the mailbox closes once its last borrower is done.
            self.ended = Some(now);
            return;
        }
        self.catch_up(now);
    }

    /// What the workers reported, whose stream is lost and what the clock brought comes before anybody's request.
    fn catch_up(&mut self, now: Instant) {
        for (peer, news) in self.inbox.take() {
            self.hear(peer, news, now);
        }
        self.hear_lost(now);
        self.room.handle_timeout(now);
        self.settle(now);
        self.close_turn(None, now);
    }

    /// A reply that nobody waits for is no error: the caller hung up.
    fn handle(&mut self, request: Request, now: Instant) {
        self.catch_up(now);
        match request {
            Request::Compare { settings, reply } => match self.compare(&settings, now) {
                Ok(snapshot) => {
                    let snapshot = Box::new(snapshot);
                    self.close_turn(Some(Answer::Compared { reply, snapshot }), now);
                }
                Err(refusal) => drop(reply.send(Err(refusal))),
            },
            Request::Snapshot(reply) => drop(reply.send(self.room.snapshot(now))),
            Request::Members { by, reply } => drop(reply.send(self.members(&by, now))),
            Request::Command { by, command, reply } => self.command(&by, *command, reply, now),
            Request::Subscribe { by, after, reply } => self.subscribe(&by, after, reply, now),
            Request::Publish {
                user,
                kind,
                offer,
                reply,
            } => {
                let outcome = self.publish(user, kind, &offer);
                self.settle(now);
                self.close_turn(Some(Answer::Published { reply, outcome }), now);
            }
            Request::View { viewer, reply } => {
                let outcome = self.view(*viewer, now);
                self.settle(now);
                self.close_turn(None, now);
                let _ = reply.send(outcome);
            }
            Request::Locate { user, kind, reply } => {
                let peer = user.and_then(|user| self.locate(&user, kind));
                let ((making, why), step) = (self.making_explained(), self.program_step());
                let _ = reply.send(Located {
                    peer,
                    making,
                    why,
                    step,
                });
            }
            Request::Resource { peer, reply } => drop(reply.send(self.resource(peer))),
            Request::Patch { peer, fragment, reply } => drop(reply.send(self.patch(peer, fragment))),
            Request::Close { peer, reply } => {
                let found = self.close(peer, now);
                self.settle(now);
                self.close_turn(Some(Answer::Closed { reply, found }), now);
            }
            Request::Stop(reply) => {
                self.stopped = true;
                self.close_all();
                self.close_turn(Some(Answer::Stopped(reply)), now);
            }
        }
    }

    fn command(&mut self, by: &Principal, command: Command, reply: Reply<Result<Commanded, Refusal>>, now: Instant) {
        self.room.handle_capacity(self.capacity());
        let permitted = self.may_change(by, &command);
        let outcome = permitted.and_then(|()| self.room.handle_command(by, command, now));
        if let Ok(Committed {
            outcome: Outcome::Removed(user),
            ..
        }) = &outcome
        {
            self.dismiss(user);
        }
        self.settle(now);
        let answer = match outcome {
            Ok(committed) => Some(Answer::Commanded {
                reply,
                commanded: Box::new(Commanded {
                    snapshot: self.room.snapshot(now),
                    outcome: committed.outcome,
                }),
            }),
            Err(refusal) => {
                let _ = reply.send(Err(refusal));
                None
            }
        };
        self.close_turn(answer, now);
    }

    fn compare(&self, settings: &Settings, now: Instant) -> Result<Snapshot, Refusal> {
        if self.ended.is_some() {
            return Err(self.refusal(Code::RoomEnded, "the room has ended"));
        }
        if !self.room.is_as(settings) {
            return Err(self.refusal(Code::Conflict, "a room of this id exists with other content"));
        }
        Ok(self.room.snapshot(now))
    }

    fn members(&self, by: &Principal, now: Instant) -> Result<Vec<Member>, Refusal> {
        if self.room.snapshot(now).confides_in(by) {
            Ok(self.room.members())
        } else {
            Err(self.refusal(Code::PermissionDenied, "who is here is told to hosts and service keys"))
        }
    }

    fn refusal(&self, code: Code, detail: impl Into<String>) -> Refusal {
        Refusal {
            version: Some(self.room.version()),
            ..Refusal::new(code, detail)
        }
    }
}

/// Cancel-safe, like [`written`].
async fn confirmed(turns: &mut VecDeque<Turn>) {
    match turns.front_mut() {
        Some(turn) => turn.confirmed().await,
        None => std::future::pending().await,
    }
}

async fn written(writes: &mut VecDeque<Written>) -> Result<(), store::Error> {
    match writes.front_mut() {
        Some(answer) => answer
            .await
            .unwrap_or_else(|_| Err(store::Error("the store has ended".to_owned()))),
        None => std::future::pending().await,
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
