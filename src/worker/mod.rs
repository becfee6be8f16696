//! The media worker: one thread, one UDP port and an ICE-TCP listener on the same number, the peers on them, and the loop
//! around the pure parts. Commands come in, events go out; workers hand each other packets over one bounded lane a pair,
//! and a program takes part in that by its [`Port`].
//!
//! ```text
//! turn     wait → clock → commands, lanes → sockets → timers → replies out → rooms that are due, viewer by viewer → out
//!  ├ poll      epoll with nanosecond deadlines, wake-ups       ├ core      peers, rooms, timers, outbox: no sockets
//!  ├ socket    recvmmsg, sendmmsg of GSO trains                │  ├ peers     the table and the demultiplexing
//!  └ tcp       ICE-TCP: framing, bounded write buffers         │  ├ room      feeds, viewers, pacing
//!                                                              │  ├ commands  what the control plane tells
//!                                                              │  └ relay     other workers: subscriptions, lanes
//!
//! program  wait → drain what came over the lanes → decide → publish
//!  └ port      a program's end: inputs, its own source
//! ```
//! Time base: one `Instant` a turn, read when the wait is over.

mod addresses;
mod commands;
mod core;
mod events;
mod lane;
mod outbox;
mod pacing;
mod peers;
mod poll;
mod port;
mod relay;
mod room;
mod socket;
mod tcp;
mod timers;
mod turn;

pub use addresses::enumerate;
pub use port::{Arrival, Port, PortCounters, PortHandle};

use self::core::Core;
use crate::forward::{LayerPreference, Permission, SlotReport, SourceId, SourceInfo, TrackDiagnosis, View};
use crate::rtp::parameters::{ReceiveParameters, SendParameters};
use crate::rtp::sequence::ntp_duration;
use crate::rtp::{MediaKind, NtpClock};
use crate::telemetry::WorkerMetrics;
use crate::transport::{self, dtls, ice};
use lane::{LANE_DEPTH, Neighbour, Note};
use poll::Waker;
use socket::UdpSocket;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::{Arc, mpsc as std_mpsc};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
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
    /// How a publisher is doing; `None`: no such publisher here.
    Diagnose {
        peer: PeerId,
        reply: oneshot::Sender<Option<Diagnosis>>,
    },
    /// Close every peer, send what is due, and end the thread.
    Stop,
}

/// The transport half of a new peer.
pub struct Admission {
    pub local: ice::Credentials,
    pub remote: transport::Remote,
}

/// What a worker knows of a publisher at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Diagnosis {
    pub at: Instant,
    /// Since when the worker has known it.
    pub admitted: Instant,
    /// Where it was reached by ICE.
    pub path: Option<SocketAddr>,
    /// DTLS is done.
    pub connected: bool,
    pub audio: Option<TrackDiagnosis>,
    pub video: Option<TrackDiagnosis>,
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
    /// How loud a publisher's microphone is: smoothed, 0 (silent) to 127, at most four a second and only when it changed.
    Loudness {
        peer: PeerId,
        level: u8,
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

/// What comes into a worker besides packets. Unbounded: commands are few, each answers to somebody, and none may be lost.
enum Message {
    Command(Box<Command>),
    /// From another worker or a program, written behind its `after`-th packet on the lane.
    Note {
        from: usize,
        after: u64,
        note: Note,
    },
    /// A program takes part, as neighbour `index`.
    Attach {
        index: usize,
        lane: Box<Neighbour>,
    },
}

#[cfg(test)]
impl Message {
    fn command(self) -> Option<Command> {
        match self {
            Message::Command(command) => Some(*command),
            Message::Note { .. } | Message::Attach { .. } => None,
        }
    }
}

/// The control plane's end of one worker.
#[derive(Clone)]
pub struct Handle {
    inbox: std_mpsc::Sender<Message>,
    waker: Arc<Waker>,
    candidates: Arc<[ice::Candidate]>,
    metrics: Arc<WorkerMetrics>,
    clock: NtpClock,
}

impl Handle {
    /// A worker's end without a worker: the test takes the commands.
    #[cfg(test)]
    pub fn fake() -> (Self, FakeWorker) {
        let (inbox, taken) = std_mpsc::channel();
        let candidate = ice::Candidate {
            protocol: ice::Protocol::Udp,
            address: SocketAddr::from(([127, 0, 0, 1], 50_000)),
        };
        let handle = Handle {
            inbox,
            waker: Arc::new(Waker::new().expect("a wake-up descriptor")),
            candidates: Arc::new([candidate]),
            metrics: Arc::default(),
            clock: node_clock(),
        };
        (handle, FakeWorker(taken))
    }

    /// Never blocks. Lost only when the worker's thread is gone, which ends the node.
    pub fn send(&self, command: Command) {
        let _worker_has_ended = self.inbox.send(Message::Command(Box::new(command)));
        self.waker.wake();
    }

    /// Where peers of this worker reach it: the node's own addresses before the advertised ones, UDP before TCP.
    pub fn candidates(&self) -> &[ice::Candidate] {
        &self.candidates
    }

    /// What its sender reports and those of all workers are on.
    pub fn clock(&self) -> NtpClock {
        self.clock
    }

    pub fn metrics(&self) -> &Arc<WorkerMetrics> {
        &self.metrics
    }
}

/// What a fake worker was told.
#[cfg(test)]
pub struct FakeWorker(std_mpsc::Receiver<Message>);

#[cfg(test)]
impl FakeWorker {
    /// Until every handle is gone.
    pub fn commands(&self) -> impl Iterator<Item = Command> + '_ {
        self.0.iter().filter_map(Message::command)
    }

    /// Those that are there.
    pub fn try_commands(&self) -> impl Iterator<Item = Command> + '_ {
        self.0.try_iter().filter_map(Message::command)
    }
}

/// Bind all sockets and start all workers. The channel of events ends when all workers have stopped.
pub fn spawn(config: Config, dtls: Arc<dtls::Context>) -> io::Result<(Vec<Handle>, mpsc::Receiver<Event>)> {
    let addresses = addresses::distinct(&config.addresses);
    if addresses.is_empty() || config.workers == 0 {
        let why = "at least one worker and one address to bind are needed";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    let clock = node_clock();
    let (events, receiver) = mpsc::channel(events::EVENTS_DEPTH);
    let mut seats = Vec::with_capacity(config.workers);
    for index in 0..config.workers {
        seats.push(Seat::bind(&config, &addresses, index, clock)?);
    }
    let handles: Vec<Handle> = seats.iter().map(|seat| seat.handle.clone()).collect();
    let lanes = connect(&handles);
    for ((index, seat), neighbours) in seats.into_iter().enumerate().zip(lanes) {
        let reports = self::core::Reports::new(events.clone(), seat.handle.metrics.clone());
        let core = Core::new(index, dtls.clone(), config.tick, clock, seat.inbox, neighbours, reports);
        let worker = turn::Worker::new(core, seat.udp, seat.listeners, seat.handle.waker)?;
        std::thread::Builder::new()
            .name(format!("media-{index}"))
            .spawn(move || {
                let _guard = AbortOnPanic;
                worker.run();
            })?;
    }
    Ok((handles, receiver))
}

/// All workers share it, so that every sender report of the node is on one time line.
fn node_clock() -> NtpClock {
    /// Seconds from 1900 to 1970.
    const NTP_UNIX: Duration = Duration::from_secs(2_208_988_800);
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    NtpClock::new(Instant::now(), ntp_duration(NTP_UNIX + unix))
}

/// A node with a dead worker would go on accepting peers that never see media: better an end that a supervisor notices.
struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!("a media worker panicked, the node ends");
            std::process::abort();
        }
    }
}

/// A worker that is bound but does not run yet.
struct Seat {
    handle: Handle,
    inbox: std_mpsc::Receiver<Message>,
    udp: Vec<UdpSocket>,
    listeners: Vec<TcpListener>,
}

impl Seat {
    fn bind(config: &Config, addresses: &[IpAddr], index: usize, clock: NtpClock) -> io::Result<Seat> {
        let number = u16::try_from(index).ok();
        let port = number.and_then(|number| match config.base_port {
            0 => Some(0),
            base => base.checked_add(number),
        });
        let (Some(number), Some(port)) = (number, port) else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "more workers than ports"));
        };
        let Bound { port, udp, listeners } = Bound::bind(config, addresses, port)?;
        let (sender, inbox) = std_mpsc::channel();
        let handle = Handle {
            inbox: sender,
            waker: Arc::new(Waker::new()?),
            candidates: addresses::candidates(config, addresses, number, port).into(),
            metrics: Arc::default(),
            clock,
        };
        Ok(Seat {
            handle,
            inbox,
            udp,
            listeners,
        })
    }
}

/// The sockets of one worker, all on one port number.
struct Bound {
    port: u16,
    udp: Vec<UdpSocket>,
    listeners: Vec<TcpListener>,
}

/// How often another free port is tried: a number that is free on one address may be taken on the next or for TCP.
const FREE_PORT_TRIES: usize = 64;

impl Bound {
    /// `port` 0: any that is free on all addresses.
    fn bind(config: &Config, addresses: &[IpAddr], port: u16) -> io::Result<Bound> {
        let mut tries = if port == 0 { FREE_PORT_TRIES } else { 1 };
        loop {
            tries -= 1;
            match Bound::try_bind(config, addresses, port) {
                Err(error) if tries > 0 && error.kind() == io::ErrorKind::AddrInUse => {}
                other => return other,
            }
        }
    }

    fn try_bind(config: &Config, addresses: &[IpAddr], port: u16) -> io::Result<Bound> {
        let mut bound = Bound {
            port,
            udp: Vec::new(),
            listeners: Vec::new(),
        };
        for address in addresses {
            let socket = UdpSocket::bind(SocketAddr::new(*address, bound.port), config.gso);
            let socket = socket.map_err(|error| named(error, *address, bound.port, "udp"))?;
            bound.port = socket.local().port();
            bound.udp.push(socket);
            if config.tcp {
                let listener = tcp::listen(SocketAddr::new(*address, bound.port));
                let listener = listener.map_err(|error| named(error, *address, bound.port, "tcp"))?;
                bound.listeners.push(listener);
            }
        }
        Ok(bound)
    }
}

/// The error with the address it is about.
fn named(error: io::Error, address: IpAddr, port: u16, protocol: &str) -> io::Error {
    let address = SocketAddr::new(address, port);
    io::Error::new(error.kind(), format!("{protocol} {address}: {error}"))
}

/// One lane each way between every two workers; the ends by worker.
fn connect(handles: &[Handle]) -> Vec<Vec<Option<Neighbour>>> {
    let mut ends: Vec<Vec<Option<Neighbour>>> = handles.iter().map(|_| Vec::new()).collect();
    for row in &mut ends {
        row.resize_with(handles.len(), || None);
    }
    let end = |index: usize| {
        let Handle { inbox, waker, .. } = &handles[index];
        (index, inbox.clone(), waker.clone(), LANE_DEPTH)
    };
    let all = 0..handles.len();
    let pairs = all
        .clone()
        .flat_map(|one| all.clone().skip(one + 1).map(move |other| (one, other)));
    for (one, other) in pairs {
        let (of_one, of_other) = Neighbour::pair(end(one), end(other));
        ends[one][other] = Some(of_one);
        ends[other][one] = Some(of_other);
    }
    ends
}

#[cfg(test)]
mod tests;
