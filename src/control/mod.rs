//! The node's directory: one actor per room, who publishes and views where. The only place that tells the media workers
//! what to do. Shell: it applies what [`room`](crate::room) decided (`reconcile`) and answers `api`.
//!
//! ```text
//! Node ─ registry (rooms, resources, loads) ─▶ actor of the room ─ Room, reconcile ─▶ worker::Command
//!                          worker::Event ─▶ router ─▶ inbox of the room ─▶ actor
//! ```
//! A peer gets its place (worker, ids) from the registry and holds it as a ticket; whatever way the peer ends, dropping
//! the ticket gives the place back. Decided here, where the contract is silent:
//! - A new WHIP POST closes the transport it replaces at once. The seat stays occupied meanwhile: the replacement counts as
//!   up until it fails.
//! - `nothing_to_play` is for single seats without a source whose transport is up, and for a program that is off or has not
//!   begun with the first seated media; a stage always plays. Who watches a program when it is put off is closed.
//! - A program whose thread ends by itself is begun anew after a second; meanwhile its viewers see the host.
//! - A room's viewers count as its audience from the WHEP POST on.
//! - What the mixing of a room's program takes of the node is reserved for it, with every seat that is taken counting as a
//!   camera that is on. Settings, layouts, guests and the first viewer that need more than is left are refused; a mix that
//!   becomes necessary by itself is not.
//! - A seat that is taken keeps a place for its publisher: where there is none, nobody is accepted, and no viewer takes
//!   it. The host's seat keeps one while the host is away, not before the room is live: rooms are made long ahead.
//! - Whoever leaves the room by a call has their event stream closed as `removed`, like those who are removed.
//! - Whoever is removed from the room has their viewers closed before the answer; while banned, a WHEP POST in their name
//!   is refused like everything else. Viewers without a user stay.
//! - A room that can't be restored stays in the store, out of use, and the others come back.

mod actor;
mod audience;
mod explain;
mod inbox;
mod placement;
mod program;
mod program_size;
mod random;
mod reconcile;
mod registry;
mod why;

#[cfg(test)]
mod tests;

use crate::events::{self, CloseReason};
use crate::forward::{LayerPreference, SeatIndex, SlotReport, SourceKind, View};
use crate::program::{Cores, Programs};
use crate::room::{
    self, Code, Command, Member, Moment, Outcome, Principal, Record, Refusal, Room, RoomId, Settings, Snapshot, UserId,
};
use crate::rtp::Codec;
use crate::rtp::parameters::SendTrack;
use crate::store::{self, Change, RecordChange};
use crate::telemetry::ProgramMetrics;
use crate::transport::{dtls, ice, sdp};
use crate::{webhook, worker};
use actor::{NewViewer, Request, Shared};
use explain::Facts;
pub use explain::{Explained, Explanation, Health, Link};
use futures_util::future::join_all;
use placement::Role;
use registry::{Found, Registry, RoomHandle, room_not_found};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::{mpsc, oneshot};

/// Slots of a stage viewer: camera and screen of ten seats.
const STAGE_SLOTS: usize = 20;

/// An unguessable WHIP or WHEP resource id.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ResourceId(pub String);

/// A WHIP or WHEP resource just created.
#[derive(Clone, Debug)]
pub struct Session {
    pub id: ResourceId,
    /// Strong, without quotes; changes with an ICE restart.
    pub etag: String,
    pub answer: String,
}

/// What a command led to, and the room afterwards.
#[derive(Clone, Debug)]
pub struct Commanded {
    pub snapshot: Snapshot,
    pub outcome: Outcome,
}

/// Where in a room's events somebody is: `EPOCH.SEQ`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    pub epoch: u64,
    pub seq: u64,
}

/// An open event stream.
#[derive(Debug)]
pub struct Subscription {
    /// What it starts with; `None`: it goes on where the one before ended.
    pub snapshot: Option<Box<Snapshot>>,
    pub stream: events::Stream,
}

/// What became of a PATCH.
#[derive(Clone, Debug)]
pub enum Patched {
    /// Candidates taken note of.
    Trickled,
    /// The body of the 200 and the new entity tag.
    Restarted { fragment: String, etag: String },
}

/// What one node takes on at most.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Rooms that have not ended.
    pub rooms: usize,
    /// Guest seats a room may have.
    pub guests: u8,
    /// Publishers and viewers together.
    pub peers: usize,
    /// What the mixing of all programs may take.
    pub mixing: Cores,
    /// After so long without anything to compose a program is the host's own packets again.
    pub return_after: Duration,
}

/// What outlasts the process.
pub struct Lasting {
    pub store: store::Store,
    /// What was in it: the rooms come back.
    pub loaded: store::Loaded,
    pub webhooks: webhook::Sender,
    /// Of the absolute URLs in webhooks, without a slash at its end.
    pub base_url: String,
}

impl Lasting {
    /// Nothing does: the store ends with the process, and nobody is sent anything.
    pub fn in_memory(base_url: String) -> Result<Self, store::Error> {
        Ok(Lasting {
            store: store::Store::in_memory()?,
            loaded: store::Loaded::default(),
            webhooks: webhook::Sender::none(),
            base_url,
        })
    }
}

/// How much there is of everything, for telemetry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Rooms that have not ended.
    pub rooms: usize,
    pub publishers: usize,
    pub viewers: usize,
}

/// The control plane of one node. Cheap to clone.
#[derive(Clone)]
pub struct Node {
    shared: Arc<Shared>,
}

impl Node {
    /// Within a tokio runtime: starts the task that hands the workers' events on, and the rooms that were stored.
    pub fn new(
        workers: Vec<worker::Handle>,
        events: mpsc::Receiver<worker::Event>,
        dtls: Arc<dtls::Context>,
        limits: Limits,
        lasting: Lasting,
    ) -> Self {
        Self::start(workers, events, dtls.fingerprint(), limits, lasting)
    }

    fn start(
        workers: Vec<worker::Handle>,
        mut events: mpsc::Receiver<worker::Event>,
        fingerprint: dtls::Fingerprint,
        limits: Limits,
        lasting: Lasting,
    ) -> Self {
        let loaded = lasting.loaded;
        let programs = Programs::new(workers.clone(), limits.mixing, limits.return_after);
        let registry = Arc::new(Registry::new(workers.len(), limits, loaded.last_epoch));
        let router = registry.clone();
        tokio::spawn(async move {
            while let Some(event) = events.recv().await {
                router.route(event);
            }
        });
        let shared = Shared {
            workers,
            fingerprint,
            registry,
            store: lasting.store,
            webhooks: lasting.webhooks,
            base_url: lasting.base_url,
            programs,
        };
        let node = Node {
            shared: Arc::new(shared),
        };
        let moment = moment(Instant::now());
        for record in loaded.rooms {
            node.restore(record, moment);
        }
        node
    }

    fn restore(&self, record: Record, moment: Moment) {
        let shared = &self.shared;
        let name = record.id.clone();
        let Ok(id) = RoomId::parse(&name) else {
            tracing::error!(
                room = name,
                "a stored room has an impossible id, and does not come back"
            );
            return;
        };
        let restored = shared.registry.restore(&id, |epoch| {
            let guests = shared.registry.guests_allowed();
            let room = Room::restore(record, epoch, guests, moment)?;
            Ok(actor::spawn(id.clone(), epoch, room, shared.clone()))
        });
        if let Err(refusal) = restored {
            let why = refusal.detail;
            tracing::error!(
                room = name,
                why,
                "a stored room does not come back; it is set aside in the store"
            );
            let change = Change {
                room: id,
                record: RecordChange::SetAside { why },
                messages: Vec::new(),
                webhook: serde_json::Value::Null,
            };
            drop(shared.store.write(change));
        }
    }

    /// How the programs that are mixed are doing.
    pub fn programs(&self) -> &ProgramMetrics {
        self.shared.programs.metrics()
    }

    /// Stored before it returns. `true`: created; `false`: it existed with the same content. Other content is a `conflict`.
    pub async fn create(&self, by: &Principal, room: RoomId, settings: Settings) -> Result<(Snapshot, bool), Refusal> {
        room::may_create(by, &settings)?;
        let registry = &self.shared.registry;
        loop {
            let (handle, new) = registry.open(&room, |epoch| {
                let now = Instant::now();
                let machine = Room::new(room.clone(), epoch, settings.clone(), registry.guests_allowed(), now)?;
                Ok(actor::spawn(room.clone(), epoch, machine, self.shared.clone()))
            })?;
            let settings = Box::new(settings.clone());
            match ask(&handle, |reply| Request::Compare { settings, reply }).await {
                // It ended a moment ago, and the registry knows by now.
                Some(Err(refusal)) if refusal.code == Code::RoomEnded => {}
                Some(outcome) => return outcome.map(|snapshot| (snapshot, new)),
                None => registry.forget(&room, handle.epoch),
            }
        }
    }

    /// In order of id, from behind `after`.
    pub async fn list(&self, after: Option<RoomId>, limit: usize) -> Vec<Snapshot> {
        let mut snapshots = Vec::new();
        let mut after = after;
        while snapshots.len() < limit {
            let Some((id, handle)) = self.shared.registry.next_room(after.as_ref()) else {
                break;
            };
            snapshots.extend(ask(&handle, Request::Snapshot).await);
            after = Some(id);
        }
        snapshots
    }

    pub async fn snapshot(&self, room: &RoomId) -> Result<Snapshot, Refusal> {
        let handle = self.shared.registry.room(room)?;
        ask(&handle, Request::Snapshot)
            .await
            .ok_or_else(|| room_not_found(room))
    }

    /// Stored, and enforced in the media workers, before it returns.
    pub async fn command(&self, room: &RoomId, by: &Principal, command: Command) -> Result<Commanded, Refusal> {
        let handle = self.shared.registry.room(room)?;
        let by = by.clone();
        let command = Box::new(command);
        let outcome = ask(&handle, |reply| Request::Command { by, command, reply }).await;
        outcome.unwrap_or_else(|| Err(room_not_found(room)))
    }

    /// Who is in the room, in order of user id; for hosts and service keys.
    pub async fn members(&self, room: &RoomId, by: &Principal) -> Result<Vec<Member>, Refusal> {
        let handle = self.shared.registry.room(room)?;
        let by = by.clone();
        let outcome = ask(&handle, |reply| Request::Members { by, reply }).await;
        outcome.unwrap_or_else(|| Err(room_not_found(room)))
    }

    /// Opens an event stream; while it lives, its user is in the room. `after`: where a stream of this room and user ended
    /// before.
    pub async fn subscribe(
        &self,
        room: &RoomId,
        by: &Principal,
        after: Option<Position>,
    ) -> Result<Subscription, Refusal> {
        let handle = self.shared.registry.room(room)?;
        let by = by.clone();
        let outcome = ask(&handle, |reply| Request::Subscribe { by, after, reply }).await;
        outcome.unwrap_or_else(|| Err(room_not_found(room)))
    }

    /// A WHIP POST. The seat is the permission; `user` is who publishes. A repeat replaces.
    pub async fn publish(
        &self,
        room: &RoomId,
        user: &UserId,
        kind: SourceKind,
        offer: sdp::Offer,
    ) -> Result<Session, Refusal> {
        let handle = self.shared.registry.room_for_peers(room)?;
        let user = user.clone();
        let offer = Box::new(offer);
        let request = |reply| Request::Publish {
            user,
            kind,
            offer,
            reply,
        };
        ask(&handle, request).await.unwrap_or_else(|| Err(room_not_found(room)))
    }

    /// A WHEP POST. Whether the caller may view has been settled by `api`.
    pub async fn view(
        &self,
        room: &RoomId,
        user: Option<&UserId>,
        view: View,
        offer: sdp::Offer,
    ) -> Result<Session, Refusal> {
        let handle = self.shared.registry.room_for_peers(room)?;
        let ticket = self.shared.registry.admit(&handle, Role::Viewer, false)?;
        let slots = match view {
            View::Stage { .. } => STAGE_SLOTS,
            View::Program { .. } | View::Seat { .. } => 1,
        };
        // Answered here and not by the actor: a crowd that joins at once shares all cores.
        let local = random::credentials();
        let answered = offer.answer_viewer(&self.shared.local(ticket.worker, &local), slots, &mut random::ssrcs());
        let (answer, media) = answered.map_err(actor::refuse_offer)?;
        let blind = |track: &SendTrack| track.codecs.iter().all(|offered| offered.codec != Codec::H264);
        if matches!(view, View::Program { .. }) && media.slots.iter().filter_map(|slot| slot.video.as_ref()).any(blind)
        {
            // What the mixer makes is H.264, and the program goes over to it without asking its viewers.
            return Err(Refusal::new(Code::CodecUnsupported, "the program is H.264: offer it"));
        }
        let viewer = Box::new(NewViewer {
            ticket,
            user: user.cloned(),
            view,
            local,
            remote: offer.remote().clone(),
            media,
            answer,
        });
        let outcome = ask(&handle, |reply| Request::View { viewer, reply }).await;
        outcome.unwrap_or_else(|| Err(room_not_found(room)))
    }

    /// The entity tag of a live resource and the user it belongs to (`None`: an anonymous viewer).
    pub async fn resource(&self, id: &ResourceId) -> Option<Resource> {
        let Found { room, peer, .. } = self.shared.registry.find(id)?;
        ask(&room, |reply| Request::Resource { peer, reply }).await?
    }

    /// Trickle or, with new credentials in it, an ICE restart. `None`: no such resource.
    pub async fn patch(&self, id: &ResourceId, fragment: sdp::Fragment) -> Option<Patched> {
        let Found { room, peer, .. } = self.shared.registry.find(id)?;
        let request = |reply| Request::Patch { peer, fragment, reply };
        ask(&room, request).await?
    }

    /// `false`: no such resource.
    pub async fn close(&self, id: &ResourceId) -> bool {
        let Some(Found { room, peer, .. }) = self.shared.registry.find(id) else {
            return false;
        };
        ask(&room, |reply| Request::Close { peer, reply })
            .await
            .unwrap_or(false)
    }

    /// `false`: no such resource or slot.
    pub async fn prefer(&self, id: &ResourceId, slot: usize, preference: LayerPreference) -> Result<bool, Refusal> {
        let Some(found) = self.shared.registry.find(id).filter(|found| found.role == Role::Viewer) else {
            return Ok(false);
        };
        let (reply, answer) = oneshot::channel();
        let command = worker::Command::Prefer {
            peer: found.peer,
            slot,
            preference,
            reply,
        };
        self.shared.send(found.worker, command);
        match tokio::time::timeout(actor::ANSWERED_WITHIN, answer).await {
            Ok(answer) => Ok(answer.unwrap_or(false)),
            Err(_) => Err(Refusal::new(
                Code::CapacityExhausted,
                "the viewer's media worker does not answer",
            )),
        }
    }

    /// Why a seat is black or silent: for hosts and service keys, and for whoever sits there.
    pub async fn explain(
        &self,
        room: &RoomId,
        by: &Principal,
        index: SeatIndex,
        kind: SourceKind,
    ) -> Result<Explanation, Refusal> {
        let handle = self.shared.registry.room(room)?;
        let snapshot = ask(&handle, Request::Snapshot)
            .await
            .ok_or_else(|| room_not_found(room))?;
        let with_version = |refusal| Refusal {
            version: Some(snapshot.version),
            ..refusal
        };
        let seat = snapshot.seats.get(usize::from(index.0));
        let user = seat
            .and_then(|seat| seat.occupancy.person())
            .map(|person| person.user.clone());
        if !snapshot.confides_in(by) && user.as_ref() != Some(&by.person.user) {
            let why = "only hosts may look into others' seats";
            return Err(with_version(Refusal::new(Code::PermissionDenied, why)));
        }
        let Some(seat) = seat else {
            let why = format!("there is no seat {}", index.0);
            return Err(with_version(Refusal::new(Code::SeatIndexInvalid, why)));
        };
        let located = ask(&handle, |reply| Request::Locate { user, kind, reply }).await;
        let located = located.ok_or_else(|| room_not_found(room))?;
        let publication = match located.peer {
            Some((worker, peer)) => Some(self.diagnose(worker, peer).await),
            None => None,
        };
        Ok(explain::explain(&Facts {
            phase: snapshot.phase,
            index,
            kind,
            seat,
            publication,
            making: located.making,
            why: &located.why,
            step: located.step,
            layout: &snapshot.settings.layout,
            present: &snapshot.present(),
            now: snapshot.now,
        }))
    }

    /// `None`: the peer is gone, or its worker does not answer.
    async fn diagnose(&self, worker: usize, peer: worker::PeerId) -> Option<worker::Diagnosis> {
        let (reply, answer) = oneshot::channel();
        self.shared.send(worker, worker::Command::Diagnose { peer, reply });
        tokio::time::timeout(actor::ANSWERED_WITHIN, answer).await.ok()?.ok()?
    }

    /// Of all workers.
    pub fn candidates(&self) -> Vec<ice::Candidate> {
        let all = self.shared.workers.iter().flat_map(worker::Handle::candidates);
        all.copied().collect()
    }

    pub fn stats(&self) -> Stats {
        self.shared.registry.stats()
    }

    /// Refuse new rooms and peers from now on (`server_draining`).
    pub fn drain(&self) {
        self.shared.registry.drain();
    }

    /// Close every event stream: the server is going down.
    pub fn close_streams(&self) {
        for hub in self.shared.registry.hubs() {
            hub.close_all(CloseReason::GoingAway);
        }
    }

    /// Close every room's peers and stop the workers. Final: the node refuses everything from then on.
    pub async fn stop(&self) {
        self.drain();
        self.close_streams();
        // All at once: each waits a moment for the workers.
        let rooms = self.shared.registry.take_rooms();
        join_all(rooms.iter().map(|room| ask(room, Request::Stop))).await;
        for worker in &self.shared.workers {
            worker.send(worker::Command::Stop);
        }
    }
}

/// `now` on both clocks.
fn moment(now: Instant) -> Moment {
    let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    // Before 1970 only where nobody has set the clock.
    let wall_ms = u64::try_from(wall.unwrap_or_default().as_millis()).unwrap_or(u64::MAX);
    Moment { now, wall_ms }
}

/// `None`: the actor is gone, and with it its room.
async fn ask<T>(room: &RoomHandle, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Option<T> {
    let (reply, answer) = oneshot::channel();
    room.requests.send(request(reply)).await.ok()?;
    answer.await.ok()
}

/// What is known of a WHIP or WHEP resource.
#[derive(Clone, Debug)]
pub struct Resource {
    pub room: RoomId,
    pub user: Option<UserId>,
    pub publisher: bool,
    pub etag: String,
    /// A viewer's slots; empty for publishers.
    pub slots: Vec<SlotReport>,
}
