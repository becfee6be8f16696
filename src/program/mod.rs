//! A room's program while somebody watches it: one thread that takes the packets of the seats' sources from the media
//! workers, and hands the workers the packets of one more source, the program. While the host is all there is, they are the
//! host's own; else one picture and one sound are made of everybody's.
//!
//! ```text
//! port ─▶ host ─────────────────────────────────────────────────▶ elastic ─▶ output ─▶ port ─▶ workers ─▶ viewers
//!      ─▶ input (per source): frames → decoder ─▶ composer ─▶ encoder ─┤
//!                             voice ─────────────▶ mixer ─┬─▶ encoder ─┤
//!                                                         └─▶ minus ───┘
//! ```
//! `elastic` decides who makes the program, by what `reasons` say and what flows; `mixing` makes it of many with `picture` and
//! `sound`, `voices` says whose voices are in it, `core` ties them together, `ladder` says what is given up when the thread
//! can't keep up; all are written against time as an argument, and this file is the thread around them. What it should be
//! comes in as a [`Plan`], whole, whenever it changes; how it is doing goes out as a [`Status`]. `cost` estimates what mixing
//! takes of the node, `budget` is what all rooms have reserved of it.
//! Time base: the monotonic clock, read once per turn; a picture shows what is due nearest to its time (`cadence`), and its RTP
//! timestamp and the sender reports say that time on the node's clock.

mod absence;
mod budget;
mod cadence;
mod core;
mod cost;
mod elastic;
mod grid;
mod host;
mod input;
mod ladder;
mod minus;
mod mixing;
mod output;
mod picture;
mod plan;
mod reasons;
mod scene;
mod sei;
mod sound;
#[cfg(test)]
mod tests;
mod voices;

pub use budget::{Reservation, Shortage};
pub use cost::{Cores, Sized, cost};
pub use elastic::Obstacle;
pub use ladder::Step;
pub use plan::{Plan, Seated};
pub use reasons::{Conditions, Reason, codec};

use self::core::{Core, NoMixer};
use crate::forward::{FeedDescription, FeedUpdate, LayerIndex, SourceId};
use crate::rtp::{Codec, MediaKind, PacketView};
use crate::telemetry::ProgramMetrics;
use crate::worker::{self, Arrival, Port, PortCounters, PortHandle};
use budget::Budget;
use input::Shown;
use prometheus::IntGauge;
use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How the program is doing; the newest counts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Status {
    pub making: Making,
    /// The sources of which something has been drawn.
    pub drawn: BTreeSet<SourceId>,
    /// How it is made, where that is less than what is set: its thread can't keep up.
    pub step: Option<Step>,
}

/// Who makes the program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Making {
    /// Nobody yet: its first picture is to come.
    #[default]
    Awaited,
    /// The host: the packets are its own.
    Passthrough,
    /// The mixer, and what is in the way of the host; `None`: nothing any more.
    Mixed(Option<Obstacle>),
}

/// A running program. Dropping it ends its thread.
pub struct Handle {
    commands: PortHandle<Command>,
    status: watch::Receiver<Status>,
    port: usize,
}

enum Command {
    Plan(Box<Plan>),
    Stop,
}

impl Handle {
    pub fn plan(&self, plan: Plan) {
        self.commands.send(Command::Plan(Box::new(plan)));
    }

    pub fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    /// Its number among the participants of the workers' exchange.
    pub fn port(&self) -> usize {
        self.port
    }

    /// Its thread is over though nobody asked for it: no encoder, or a panic. Nothing comes of it any more.
    pub fn has_ended(&self) -> bool {
        self.status.has_changed().is_err()
    }

    /// Returns once there may be a new status, and at once when the thread has ended. Cancel-safe.
    pub async fn changed(&mut self) {
        let _or_ended = self.status.changed().await;
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.commands.send(Command::Stop);
    }
}

/// What all programs of a node share.
pub struct Programs {
    workers: Vec<worker::Handle>,
    numbers: Numbers,
    metrics: ProgramMetrics,
    budget: Arc<Budget>,
    return_after: Duration,
}

impl Programs {
    /// `cores`: what mixing may take of the node. `return_after`: without anything to compose for so long, a program is the
    /// host's own packets again.
    pub fn new(workers: Vec<worker::Handle>, cores: Cores, return_after: Duration) -> Self {
        let metrics = ProgramMetrics::default();
        Programs {
            numbers: Numbers {
                first: workers.len(),
                taken: Arc::default(),
            },
            workers,
            budget: Arc::new(Budget::new(cores, metrics.clone())),
            metrics,
            return_after,
        }
    }

    /// A room's part of what mixing may take; nothing yet.
    pub fn reserve(&self) -> Reservation {
        self.budget.reserve()
    }

    pub fn metrics(&self) -> &ProgramMetrics {
        &self.metrics
    }

    /// Starts a program's thread; its packets are those of `source`.
    pub fn start(&self, source: SourceId, plan: Plan) -> io::Result<Handle> {
        let number = self.numbers.take();
        let port = number.number;
        let (end, commands) = Port::attach(port, &self.workers, source, DESCRIPTION)?;
        let (reports, status) = watch::channel(Status::default());
        let (clock, metrics) = (self.workers.first().map(worker::Handle::clock), self.metrics.clone());
        let return_after = self.return_after;
        let clock = clock.ok_or_else(|| io::Error::other("no media worker to take packets from"))?;
        std::thread::Builder::new()
            .name(format!("program-{}", source.0))
            .spawn(move || {
                // given back when the port is gone
                let _number = number;
                let Some(core) = Core::new((clock, return_after), plan, metrics.clone(), Instant::now()) else {
                    tracing::error!(source = source.0, "no encoder for this program");
                    return;
                };
                let thread = Thread {
                    port: end,
                    core,
                    metrics,
                    reports,
                    counted: PortCounters::default(),
                };
                thread.run();
            })?;
        Ok(Handle { commands, status, port })
    }
}

/// What the program's source is to the workers.
const DESCRIPTION: FeedDescription = FeedDescription {
    audio: Some(Codec::Opus),
    video: Some(Codec::H264),
    layers: 1,
};

/// The programs' numbers among the participants of the workers' exchange; those of the workers come first.
struct Numbers {
    first: usize,
    /// Behind a mutex, for threads give theirs back when they end.
    taken: Arc<Mutex<BTreeSet<usize>>>,
}

/// Free again once dropped.
struct Number {
    number: usize,
    taken: Arc<Mutex<BTreeSet<usize>>>,
}

impl Numbers {
    /// The lowest that is free, so that the workers' tables stay short.
    fn take(&self) -> Number {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let number = (self.first..)
            .find(|number| !taken.contains(number))
            .unwrap_or(usize::MAX);
        taken.insert(number);
        Number {
            number,
            taken: self.taken.clone(),
        }
    }
}

impl Drop for Number {
    fn drop(&mut self) {
        self.taken
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.number);
    }
}

/// One of those the gauge counts, however it ends.
struct Counted(IntGauge);

impl Counted {
    fn new(gauge: &IntGauge) -> Self {
        gauge.inc();
        Counted(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

struct Thread {
    port: Port<Command>,
    core: Core,
    metrics: ProgramMetrics,
    reports: watch::Sender<Status>,
    /// What of the port's is in the metrics.
    counted: PortCounters,
}

impl Thread {
    fn run(mut self) {
        while self.turn() {}
    }

    /// `false`: it is to end.
    fn turn(&mut self) -> bool {
        if let Some(wanted) = self.core.poll_wanted() {
            self.port.reconcile_inputs(&wanted);
        }
        let now = self.port.wait(self.core.poll_timeout(Instant::now()));
        let mut go_on = true;
        let mut keyframe_wanted = false;
        let core = &mut self.core;
        self.port.drain(now, |arrival| match arrival {
            Arrival::Packet {
                source,
                kind,
                layer,
                packet,
            } => core.handle_packet(source, (kind, layer), packet, now),
            Arrival::Update { source, update } => core.handle_update(source, update, now),
            // numbered packets tell what continues what
            Arrival::Begun { .. } => {}
            Arrival::Gone { source } => core.handle_gone(source),
            Arrival::KeyframeWanted => keyframe_wanted = true,
            Arrival::Command(Command::Plan(plan)) => go_on &= core.handle_plan(*plan, now),
            Arrival::Command(Command::Stop) => go_on = false,
        });
        if keyframe_wanted {
            self.core.handle_keyframe_wanted(&mut self.port);
        }
        // the host's packets, and who waits for a mute to be in force, do not wait for a picture to be made
        self.core.forward(now, &mut self.port);
        self.port.flush();
        match self.core.handle_timeout(now, &mut self.port) {
            Ok(Some(shown)) => self.observe(shown, now),
            Ok(None) => {}
            Err(NoMixer) => {
                tracing::error!("no encoder for this program");
                return false;
            }
        }
        let over = Instant::now();
        self.core.handle_work(over.saturating_duration_since(now), over);
        self.count();
        let core = &self.core;
        self.reports.send_if_modified(|known| {
            let status = core.status(now);
            let changed = *known != status;
            *known = status;
            changed
        });
        go_on
    }

    /// The port counts for itself: once a turn it is told, not once a packet.
    fn count(&mut self) {
        let now = self.port.counters();
        let before = std::mem::replace(&mut self.counted, now);
        if now != before {
            let metrics = &self.metrics;
            metrics.lane_packets.inc_by(now.lane_packets - before.lane_packets);
            metrics
                .dropped_lane_full
                .inc_by(now.dropped_lane_full - before.dropped_lane_full);
            metrics
                .dropped_too_long
                .inc_by(now.dropped_too_long - before.dropped_too_long);
        }
    }

    /// A picture is out: how long it and what it shows took. `begun`: when the turn began.
    fn observe(&mut self, shown: Shown, begun: Instant) {
        let now = Instant::now();
        let since = |then: Instant| now.saturating_duration_since(then).as_secs_f64();
        self.metrics.latency.observe(since(shown.arrival));
        if let Some(due) = shown.due {
            self.metrics.own_latency.observe(since(due));
        }
        for arrival in self.core.take_begun() {
            self.metrics.first_picture.observe(since(arrival));
        }
        self.metrics.work.observe(since(begun));
    }
}

/// Where the program's packets and wishes go.
trait Sink {
    fn publish(&mut self, kind: MediaKind, layer: LayerIndex, packet: PacketView);
    fn update(&mut self, update: FeedUpdate);
    fn request_keyframe(&mut self, source: SourceId, layer: LayerIndex);
    /// The simulcast encodings of a source's video that are of use.
    fn want_layers(&mut self, source: SourceId, layers: &[LayerIndex]);
}

impl Sink for Port<Command> {
    fn publish(&mut self, kind: MediaKind, layer: LayerIndex, packet: PacketView) {
        Port::publish(self, kind, layer, packet);
    }

    fn update(&mut self, update: FeedUpdate) {
        Port::update(self, update);
    }

    fn request_keyframe(&mut self, source: SourceId, layer: LayerIndex) {
        Port::request_keyframe(self, source, layer);
    }

    fn want_layers(&mut self, source: SourceId, layers: &[LayerIndex]) {
        Port::want_layers(self, source, layers);
    }
}
