//! The peer table: who is who, by id, by ICE username fragment and by path.

use super::lane::Subscriber;
use super::{PeerId, RoomKey};
use crate::forward::{Publication, PublicationCounters, SourceId, Viewer};
use crate::transport::{Path, Transport, ice};
use std::collections::HashMap;
use std::time::Instant;

/// Username fragments a peer answers to: the current one, and the one before an ICE restart until the next.
const UFRAGS: usize = 2;
/// RFC 7983: the first byte of STUN.
const STUN_FIRST_BYTE_MAX: u8 = 3;

pub(super) struct Peer {
    pub id: PeerId,
    pub room: RoomKey,
    pub transport: Transport,
    pub media: Media,
    pub created: Instant,
    pub connected: bool,
    /// The viewer's media stopped because its queue was full.
    pub blocked: bool,
    /// Listed to be settled at the end of the batch.
    pub touched: bool,
    /// `transport.poll_timeout()` when the transport was last touched: forwarding does not change it.
    pub transport_deadline: Option<Instant>,
    ufrags: Vec<String>,
    paths: Vec<Path>,
}

#[expect(
    clippy::large_enum_variant,
    reason = "a peer has a box of its own, and nearly all are viewers"
)]
pub(super) enum Media {
    Publisher(Box<Publisher>),
    Viewer(Viewer),
}

pub(super) struct Publisher {
    pub source: SourceId,
    pub publication: Publication,
    /// Other workers that have viewers of the source, and programs that show it; at most one entry each.
    pub subscribers: Vec<Subscriber>,
    /// What of the publication's counters the metrics hold already.
    pub counted: PublicationCounters,
}

impl Peer {
    pub fn new(id: PeerId, room: RoomKey, transport: Transport, media: Media, now: Instant) -> Self {
        Peer {
            id,
            room,
            transport,
            media,
            created: now,
            connected: false,
            blocked: false,
            touched: false,
            transport_deadline: None,
            ufrags: Vec::new(),
            paths: Vec::new(),
        }
    }

    /// When the peer wants to be called next.
    pub fn deadline(&self) -> Option<Instant> {
        let media = match &self.media {
            Media::Publisher(publisher) => publisher.publication.poll_timeout(),
            Media::Viewer(viewer) => viewer.poll_timeout(),
        };
        // nothing can be sealed before the handshake is done
        let media = media.filter(|_| self.connected);
        self.transport_deadline.into_iter().chain(media).min()
    }

    pub fn paths(&self) -> &[Path] {
        &self.paths
    }
}

/// Indices are small, dense and used again.
#[derive(Default)]
pub(super) struct Peers {
    slots: Vec<Option<Box<Peer>>>,
    free: Vec<usize>,
    by_id: HashMap<PeerId, usize>,
    by_ufrag: HashMap<String, usize>,
    by_path: HashMap<Path, usize>,
}

impl Peers {
    /// `ufrag`: the server's username fragment for this peer.
    pub fn insert(&mut self, peer: Peer, ufrag: String) -> usize {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        self.by_id.insert(peer.id, index);
        debug_assert!(self.slots[index].is_none());
        self.slots[index] = Some(Box::new(peer));
        self.add_ufrag(index, ufrag);
        index
    }

    pub fn remove(&mut self, index: usize) -> Option<Box<Peer>> {
        let peer = self.slots.get_mut(index)?.take()?;
        self.free.push(index);
        if self.by_id.get(&peer.id) == Some(&index) {
            self.by_id.remove(&peer.id);
        }
        for ufrag in &peer.ufrags {
            if self.by_ufrag.get(ufrag) == Some(&index) {
                self.by_ufrag.remove(ufrag);
            }
        }
        for path in &peer.paths {
            if self.by_path.get(path) == Some(&index) {
                self.by_path.remove(path);
            }
        }
        Some(peer)
    }

    pub fn at_mut(&mut self, index: usize) -> Option<&mut Peer> {
        self.slots.get_mut(index)?.as_deref_mut()
    }

    pub fn index_of(&self, id: PeerId) -> Option<usize> {
        self.by_id.get(&id).copied()
    }

    /// All indices in use.
    pub fn indices(&self) -> impl Iterator<Item = usize> + '_ {
        self.slots
            .iter()
            .enumerate()
            .filter(|(_, slot)| slot.is_some())
            .map(|(index, _)| index)
    }

    /// Whose datagram this is. A connectivity check names its peer itself and comes first: a client may use an address
    /// again that an earlier peer has not given up yet. All else must come on a known path.
    pub fn route(&self, datagram: &[u8], path: Path) -> Option<usize> {
        if datagram.first().is_some_and(|first| *first <= STUN_FIRST_BYTE_MAX) {
            let named = ice::local_ufrag(datagram).and_then(|ufrag| self.by_ufrag.get(ufrag));
            if named.is_some() {
                return named.copied();
            }
        }
        self.owner(path)
    }

    /// Whose path this is.
    pub fn owner(&self, path: Path) -> Option<usize> {
        self.by_path.get(&path).copied()
    }

    pub fn add_ufrag(&mut self, index: usize, ufrag: String) {
        let Some(peer) = self.slots.get_mut(index).and_then(Option::as_deref_mut) else {
            return;
        };
        self.by_ufrag.insert(ufrag.clone(), index);
        peer.ufrags.push(ufrag);
        if peer.ufrags.len() > UFRAGS {
            self.by_ufrag.remove(&peer.ufrags.remove(0));
        }
    }

    /// A connectivity check succeeded: the path is this peer's now, whoever had it.
    pub fn add_path(&mut self, index: usize, path: Path) {
        let Some(peer) = self.slots.get_mut(index).and_then(Option::as_deref_mut) else {
            return;
        };
        self.by_path.insert(path, index);
        if !peer.paths.contains(&path) {
            peer.paths.push(path);
        }
    }

    pub fn forget_path(&mut self, index: usize, path: Path) {
        if self.by_path.get(&path) == Some(&index) {
            self.by_path.remove(&path);
        }
        if let Some(peer) = self.at_mut(index) {
            peer.paths.retain(|known| *known != path);
        }
    }
}
