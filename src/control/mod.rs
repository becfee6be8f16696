//! The node's directory: one actor per room, who publishes and views where. The only place that tells the media workers
//! what to do. Shell: it applies what [`room`](crate::room) decided (`reconcile`) and answers `api`.

use crate::forward::{LayerPreference, SlotReport, SourceKind, View};
use crate::room::{Command, Principal, Refusal, RoomId, Settings, Snapshot, UserId};
use crate::transport::{dtls, ice, sdp};
use crate::worker;
use std::sync::Arc;
use tokio::sync::mpsc;

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

/// What became of a PATCH.
#[derive(Clone, Debug)]
pub enum Patched {
    /// Candidates taken note of.
    Trickled,
    /// The body of the 200 and the new entity tag.
    Restarted { fragment: String, etag: String },
}

#[derive(Clone, Debug)]
pub struct Limits {
    pub rooms: usize,
    pub guests: u8,
    pub peers: usize,
}

/// The control plane of one node. Cheap to clone.
#[derive(Clone)]
pub struct Node {}

impl Node {
    pub fn new(
        _workers: Vec<worker::Handle>,
        _events: mpsc::Receiver<worker::Event>,
        _dtls: Arc<dtls::Context>,
        _limits: Limits,
    ) -> Self {
        todo!()
    }
    /// `true`: created; `false`: it existed with the same content.
    pub async fn create(
        &self,
        _by: &Principal,
        _room: RoomId,
        _settings: Settings,
    ) -> Result<(Snapshot, bool), Refusal> {
        todo!()
    }
    /// In order of id, from behind `after`.
    pub async fn list(&self, _after: Option<RoomId>, _limit: usize) -> Vec<Snapshot> {
        todo!()
    }
    pub async fn snapshot(&self, _room: &RoomId) -> Result<Snapshot, Refusal> {
        todo!()
    }
    /// Enforced in the media workers before it returns.
    pub async fn command(&self, _room: &RoomId, _by: &Principal, _command: Command) -> Result<Snapshot, Refusal> {
        todo!()
    }
    /// A WHIP POST. The seat is the permission; `user` is who publishes. A repeat replaces.
    pub async fn publish(
        &self,
        _room: &RoomId,
        _user: &UserId,
        _kind: SourceKind,
        _offer: sdp::Offer,
    ) -> Result<Session, Refusal> {
        todo!()
    }
    /// A WHEP POST. Whether the caller may view has been settled by `api`.
    pub async fn view(
        &self,
        _room: &RoomId,
        _user: Option<&UserId>,
        _view: View,
        _offer: sdp::Offer,
    ) -> Result<Session, Refusal> {
        todo!()
    }
    /// The entity tag of a live resource and the user it belongs to (`None`: an anonymous viewer).
    pub async fn resource(&self, _id: &ResourceId) -> Option<Resource> {
        todo!()
    }
    /// Trickle or, with credentials in it, an ICE restart. `None`: no such resource.
    pub async fn patch(&self, _id: &ResourceId, _fragment: sdp::Fragment) -> Option<Patched> {
        todo!()
    }
    /// `false`: no such resource.
    pub async fn close(&self, _id: &ResourceId) -> bool {
        todo!()
    }
    /// `false`: no such resource or slot.
    pub async fn prefer(&self, _id: &ResourceId, _slot: usize, _preference: LayerPreference) -> bool {
        todo!()
    }
    pub fn candidates(&self) -> Vec<ice::Candidate> {
        todo!()
    }
    /// Refuse new rooms and peers from now on (`server_draining`).
    pub fn drain(&self) {
        todo!()
    }
    /// Close every room and stop the workers.
    pub async fn stop(&self) {
        todo!()
    }
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
