//! The media worker: one thread, one UDP port and an ICE-TCP listener on the same number, the peers on them, and the loop
//! around the pure parts. Commands come in, events go out; workers hand each other packets over one bounded lane a pair.

use crate::forward::{LayerPreference, Permission, SlotReport, SourceId, SourceInfo, View};
use crate::rtp::MediaKind;
use crate::rtp::parameters::{ReceiveParameters, SendParameters};
use crate::telemetry::WorkerMetrics;
use crate::transport::{self, dtls, ice};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// A peer of this node: publisher or viewer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerId(pub u64);

/// A room as the workers know it; unique per room and epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RoomKey(pub u64);

/// What a worker is told. Control lane: never dropped.
pub enum Command {
    Publish {
        peer: PeerId,
        room: RoomKey,
        source: SourceId,
        transport: Admission,
        media: ReceiveParameters,
        permission: Permission,
    },
    View {
        peer: PeerId,
        room: RoomKey,
        transport: Admission,
        media: SendParameters,
        view: View,
    },
    /// Gone when `done` is answered: no further packet is taken from or sent to the peer. Unknown peers are done too.
    /// No `Event::Closed` follows.
    Close {
        peer: PeerId,
        done: Option<oneshot::Sender<()>>,
    },
    /// ICE restart.
    Restart {
        peer: PeerId,
        local: ice::Credentials,
        remote: ice::Credentials,
    },
    /// In force when `done` is answered.
    Permit {
        peer: PeerId,
        permission: Permission,
        done: Option<oneshot::Sender<()>>,
    },
    /// The complete list of the room's sources; replaces the one before. Sent to every worker.
    Sources { room: RoomKey, sources: Arc<[SourceInfo]> },
    /// The room is over: forget its list.
    Forget { room: RoomKey },
    Prefer {
        peer: PeerId,
        slot: usize,
        preference: LayerPreference,
        reply: oneshot::Sender<bool>,
    },
    /// Close every peer, send what is due, and end the thread.
    Stop,
}

/// The transport half of a new peer.
pub struct Admission {
    pub local: ice::Credentials,
    pub remote: transport::Remote,
}

/// What a worker tells the control plane.
#[derive(Debug)]
pub enum Event {
    /// ICE and DTLS are up.
    Connected {
        peer: PeerId,
    },
    /// Closed by the peer or by time; never the answer to a `Command::Close`.
    Closed {
        peer: PeerId,
        reason: transport::CloseReason,
    },
    /// A publisher's track flows, or stopped.
    Media {
        peer: PeerId,
        kind: MediaKind,
        flowing: bool,
    },
    VideoSize {
        peer: PeerId,
        width: u16,
        height: u16,
    },
    Slots {
        peer: PeerId,
        slots: Vec<SlotReport>,
    },
}

/// Settings of all workers.
#[derive(Clone, Debug)]
pub struct Config {
    pub workers: usize,
    /// Addresses to bind a socket to, per worker.
    pub addresses: Vec<IpAddr>,
    /// Port of the first worker; 0: any free port each (tests).
    pub base_port: u16,
    /// Extra candidates for 1:1 NAT and port maps: `(IP, base port or the own one)`.
    pub advertise: Vec<(IpAddr, Option<u16>)>,
    /// Whether the own addresses are candidates.
    pub own_candidates: bool,
    pub tcp: bool,
    /// How long a packet may wait for others of the same viewer, so that they leave as one train.
    pub tick: Duration,
    /// Probe for UDP GSO; `false`: never use it.
    pub gso: bool,
}

/// The control plane's end of one worker.
#[derive(Clone)]
pub struct Handle {
    commands: std::sync::mpsc::Sender<Command>,
    candidates: Arc<[ice::Candidate]>,
    metrics: Arc<WorkerMetrics>,
}

impl Handle {
    /// A worker's end without a worker: the test takes the commands.
    #[cfg(test)]
    pub fn fake() -> (Self, std::sync::mpsc::Receiver<Command>) {
        let (commands, taken) = std::sync::mpsc::channel();
        let candidate = ice::Candidate {
            protocol: ice::Protocol::Udp,
            address: std::net::SocketAddr::from(([127, 0, 0, 1], 50_000)),
        };
        let handle = Handle {
            commands,
            candidates: Arc::new([candidate]),
            metrics: Arc::default(),
        };
        (handle, taken)
    }
    /// Never blocks. Lost only when the worker's thread is gone, which ends the node.
    pub fn send(&self, command: Command) {
        let _ = self.commands.send(command);
    }
    pub fn candidates(&self) -> &[ice::Candidate] {
        &self.candidates
    }
    pub fn metrics(&self) -> &Arc<WorkerMetrics> {
        &self.metrics
    }
}

/// Bind all sockets and start all workers.
pub fn spawn(_config: Config, _dtls: Arc<dtls::Context>) -> std::io::Result<(Vec<Handle>, mpsc::Receiver<Event>)> {
    todo!()
}
