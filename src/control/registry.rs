//! The node's books: which rooms there are, which peer belongs to which, how loaded each worker is.

use super::actor::Request;
use super::inbox::{self, Inbox};
use super::placement::{Load, Role, place};
use super::{Limits, ResourceId, Stats, random};
use crate::events::Hub;
use crate::forward::SourceId;
use crate::room::{Code, Refusal, RoomId};
use crate::worker::{Event, PeerId};
use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::mpsc;

/// When a refused one may ask again: peers come and go within seconds.
const CAPACITY_RETRY: Duration = Duration::from_secs(5);

/// How to reach a room's actor.
#[derive(Clone)]
pub(super) struct RoomHandle {
    pub epoch: u64,
    pub requests: mpsc::Sender<Request>,
    pub inbox: Arc<Inbox>,
    pub hub: Arc<Hub>,
}

struct RoomEntry {
    handle: RoomHandle,
    /// Places for publishers of its seats who are not here.
    kept: usize,
    /// Ended rooms stay readable for a while.
    ended: Option<Instant>,
}

struct PeerEntry {
    room: RoomHandle,
    role: Role,
    worker: usize,
}

/// What the id of a resource leads to.
pub(super) struct Found {
    pub room: RoomHandle,
    pub peer: PeerId,
    pub role: Role,
    pub worker: usize,
}

struct Books {
    rooms: BTreeMap<RoomId, RoomEntry>,
    resources: HashMap<ResourceId, PeerId>,
    peers: HashMap<PeerId, PeerEntry>,
    /// Of all rooms together.
    kept: usize,
    /// By worker.
    loads: Vec<Load>,
    last_epoch: u64,
    last_number: u64,
    draining: bool,
}

impl Books {
    fn enter(&mut self, id: &RoomId, handle: RoomHandle) {
        self.leave(id);
        let entry = RoomEntry {
            handle,
            kept: 0,
            ended: None,
        };
        self.rooms.insert(id.clone(), entry);
    }

    fn leave(&mut self, id: &RoomId) {
        if let Some(entry) = self.rooms.remove(id) {
            self.kept -= entry.kept;
        }
    }

    /// The wall clock keeps epochs increasing over restarts, the counter within one millisecond.
    fn next_epoch(&self) -> u64 {
        let wall = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let wall = u64::try_from(wall.as_millis()).unwrap_or(u64::MAX / 2);
        wall.max(self.last_epoch + 1)
    }
}

/// Behind one mutex: looked up by every request and every worker's event for well under a microsecond, never held across
/// an await and never met by a packet.
pub(super) struct Registry {
    books: Mutex<Books>,
    limits: Limits,
}

/// A peer's place on the node; dropping it gives the place back and forgets the resource.
pub(super) struct Ticket {
    registry: Arc<Registry>,
    pub peer: PeerId,
    pub resource: ResourceId,
    pub worker: usize,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut books = self.registry.lock();
        books.resources.remove(&self.resource);
        if let Some(entry) = books.peers.remove(&self.peer)
            && let Some(load) = books.loads.get_mut(entry.worker)
        {
            *load.of(entry.role) -= 1;
        }
    }
}

fn draining() -> Refusal {
    Refusal::new(
        Code::ServerDraining,
        "this server is going down; another one takes new rooms and peers",
    )
}

fn exhausted(what: &str, limit: usize) -> Refusal {
    Refusal {
        retry_after: Some(CAPACITY_RETRY),
        ..Refusal::new(
            Code::CapacityExhausted,
            format!("this server holds {limit} {what}, and no more"),
        )
    }
}

impl Registry {
    /// `last_epoch`: the newest that any room had before.
    pub fn new(workers: usize, limits: Limits, last_epoch: u64) -> Self {
        let books = Books {
            rooms: BTreeMap::new(),
            resources: HashMap::new(),
            peers: HashMap::new(),
            kept: 0,
            loads: vec![Load::default(); workers],
            last_epoch,
            last_number: 0,
            draining: false,
        };
        Registry {
            books: Mutex::new(books),
            limits,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Books> {
        // Nothing that can panic runs between two writes that belong together.
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn guests_allowed(&self) -> u8 {
        self.limits.guests
    }

    /// The room of this id, or a new one: `make` gets its epoch and starts its actor. `true`: new.
    pub fn open(
        &self,
        id: &RoomId,
        make: impl FnOnce(u64) -> Result<RoomHandle, Refusal>,
    ) -> Result<(RoomHandle, bool), Refusal> {
        let mut books = self.lock();
        if let Some(entry) = books.rooms.get(id).filter(|entry| entry.ended.is_none()) {
            return Ok((entry.handle.clone(), false));
        }
        if books.draining {
            return Err(draining());
        }
        let open = books.rooms.values().filter(|entry| entry.ended.is_none()).count();
        if open >= self.limits.rooms {
            return Err(exhausted("rooms", self.limits.rooms));
        }
        let epoch = books.next_epoch();
        let handle = make(epoch)?;
        books.last_epoch = epoch;
        books.enter(id, handle.clone());
        Ok((handle, true))
    }

    /// A room that was here before the restart: it has its place, whatever the limits say by now.
    pub fn restore(&self, id: &RoomId, make: impl FnOnce(u64) -> Result<RoomHandle, Refusal>) -> Result<(), Refusal> {
        let mut books = self.lock();
        let epoch = books.next_epoch();
        let handle = make(epoch)?;
        books.last_epoch = epoch;
        books.enter(id, handle);
        Ok(())
    }

    /// Does it unless another room has this id by now, and lets none have it meanwhile.
    pub fn unless_superseded<T>(&self, id: &RoomId, epoch: u64, act: impl FnOnce() -> T) -> Option<T> {
        let books = self.lock();
        let current = books.rooms.get(id).is_none_or(|entry| entry.handle.epoch == epoch);
        current.then(act)
    }

    pub fn room(&self, id: &RoomId) -> Result<RoomHandle, Refusal> {
        let books = self.lock();
        let entry = books.rooms.get(id);
        entry
            .map(|entry| entry.handle.clone())
            .ok_or_else(|| room_not_found(id))
    }

    /// A room that takes new peers.
    pub fn room_for_peers(&self, id: &RoomId) -> Result<RoomHandle, Refusal> {
        let books = self.lock();
        let entry = books.rooms.get(id).ok_or_else(|| room_not_found(id))?;
        if entry.ended.is_some() {
            return Err(Refusal::new(Code::RoomEnded, "the room has ended"));
        }
        if books.draining {
            return Err(draining());
        }
        Ok(entry.handle.clone())
    }

    /// The next room behind `after`.
    pub fn next_room(&self, after: Option<&RoomId>) -> Option<(RoomId, RoomHandle)> {
        let behind = after.map_or(Bound::Unbounded, Bound::Excluded);
        let books = self.lock();
        let next = books.rooms.range::<RoomId, _>((behind, Bound::Unbounded)).next();
        next.map(|(id, entry)| (id.clone(), entry.handle.clone()))
    }

    /// As many ended rooms are kept as there may be open ones; above that, the one that ended first goes early.
    pub fn ended(&self, id: &RoomId, epoch: u64, now: Instant) {
        let mut books = self.lock();
        if let Some(entry) = books.rooms.get_mut(id).filter(|entry| entry.handle.epoch == epoch) {
            entry.ended.get_or_insert(now);
        }
        let ended = books.rooms.iter().filter_map(|(id, entry)| Some((entry.ended?, id)));
        if ended.clone().count() > self.limits.rooms
            && let Some(oldest) = ended.min().map(|(_, id)| id.clone())
        {
            books.leave(&oldest);
        }
    }

    pub fn forget(&self, id: &RoomId, epoch: u64) {
        let mut books = self.lock();
        if books.rooms.get(id).is_some_and(|entry| entry.handle.epoch == epoch) {
            books.leave(id);
        }
    }

    /// So many seats of a room are taken by people who do not publish yet, or not at the moment.
    pub fn keep(&self, id: &RoomId, epoch: u64, kept: usize) {
        let mut books = self.lock();
        let Some(entry) = books.rooms.get_mut(id).filter(|entry| entry.handle.epoch == epoch) else {
            return;
        };
        let before = std::mem::replace(&mut entry.kept, kept);
        books.kept = books.kept - before + kept;
    }

    /// How many more publishers would find a place. Two rooms that ask at the same moment may both hear of the last one;
    /// whoever has a seat is admitted all the same.
    pub fn places(&self) -> usize {
        let books = self.lock();
        if books.draining {
            return 0;
        }
        self.limits.peers.saturating_sub(books.peers.len() + books.kept)
    }

    /// Gives a new peer of a room its place: a worker, a peer id and a resource id. `kept`: the room has kept one for it.
    pub fn admit(self: &Arc<Self>, room: &RoomHandle, role: Role, kept: bool) -> Result<Ticket, Refusal> {
        let mut books = self.lock();
        if books.draining {
            return Err(draining());
        }
        if !kept && books.peers.len() + books.kept >= self.limits.peers {
            return Err(exhausted("peers", self.limits.peers));
        }
        let worker = place(role, &books.loads).ok_or_else(|| exhausted("media workers", 0))?;
        if let Some(load) = books.loads.get_mut(worker) {
            *load.of(role) += 1;
        }
        books.last_number += 1;
        let peer = PeerId(books.last_number);
        let resource = random::resource_id();
        books.resources.insert(resource.clone(), peer);
        let entry = PeerEntry {
            room: room.clone(),
            role,
            worker,
        };
        books.peers.insert(peer, entry);
        Ok(Ticket {
            registry: self.clone(),
            peer,
            resource,
            worker,
        })
    }

    pub fn next_source(&self) -> SourceId {
        let mut books = self.lock();
        books.last_number += 1;
        SourceId(books.last_number)
    }

    pub fn find(&self, id: &ResourceId) -> Option<Found> {
        let books = self.lock();
        let peer = *books.resources.get(id)?;
        let entry = books.peers.get(&peer)?;
        Some(Found {
            room: entry.room.clone(),
            peer,
            role: entry.role,
            worker: entry.worker,
        })
    }

    /// Hands a worker's event to the room it concerns; peers already gone concern nobody.
    pub fn route(&self, event: Event) {
        let inbox = {
            let books = self.lock();
            books
                .peers
                .get(&inbox::peer(&event))
                .map(|entry| entry.room.inbox.clone())
        };
        if let Some(inbox) = inbox {
            inbox.put(event);
        }
    }

    pub fn drain(&self) {
        self.lock().draining = true;
    }

    pub fn hubs(&self) -> Vec<Arc<Hub>> {
        let books = self.lock();
        books.rooms.values().map(|entry| entry.handle.hub.clone()).collect()
    }

    /// Removes all rooms.
    pub fn take_rooms(&self) -> Vec<RoomHandle> {
        let mut books = self.lock();
        books.kept = 0;
        let rooms = std::mem::take(&mut books.rooms);
        rooms.into_values().map(|entry| entry.handle).collect()
    }

    pub fn stats(&self) -> Stats {
        let books = self.lock();
        Stats {
            rooms: books.rooms.values().filter(|entry| entry.ended.is_none()).count(),
            publishers: books.loads.iter().map(|load| load.publishers).sum(),
            viewers: books.loads.iter().map(|load| load.viewers).sum(),
        }
    }
}

pub(super) fn room_not_found(id: &RoomId) -> Refusal {
    Refusal::new(Code::RoomNotFound, format!("there is no room {}", id.as_str()))
}
