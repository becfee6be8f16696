//! A program's end of the exchange of packets: it subscribes to sources of seats as a worker with viewers does, and owns one
//! source, the program, as a worker with a publisher does.
//!
//! Owns the program's end of a pair of lanes to every worker, its subscriptions, and the feed of the program's source that
//! workers who join later start from. In come [`Arrival`]s, out go the program's packets, news and wishes. Time base: the
//! caller's `now`, one a turn, as [`wait`](Port::wait) returns it.

use super::lane::{Arrived, LANE_DEPTH, Layers, Neighbour, Note, PACKET_MAX, Pushed, Subscriber};
use super::poll::{Poll, Ready, Waker};
use super::{Handle, Message};
use crate::forward::{Feed, FeedDescription, FeedUpdate, LayerIndex, SourceId};
use crate::rtp::{MediaKind, PacketView};
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

/// Packets a program may be behind a worker: as much as a worker may. Beginning with a publisher that makes keyframes
/// every 4 s, as OBS does, it is sent a thousand packets of 720p at once. When full: see [`LANE_DEPTH`].
const INPUT_DEPTH: usize = LANE_DEPTH;
/// Packets a worker may be behind a program: 1.6 s of 720p at 2.5 Mbit/s with its sound (1 s while four listeners hear
/// mixes of their own), more than any replay and any sane turn. When full, the picture over there goes on with the next keyframe. A lane takes 0.8 MiB once it has been filled.
const OUTPUT_DEPTH: usize = 512;
/// Between two [`Arrival::KeyframeWanted`]: any number of joining viewers costs two keyframes a second at most.
const KEYFRAME_INTERVAL: Duration = Duration::from_millis(500);
/// A program's picture is encoded once, without simulcast; of its sound this is the whole mix.
const LAYER: LayerIndex = LayerIndex(0);
const WAKER: u64 = 0;

/// What comes in.
#[derive(Debug)]
pub enum Arrival<'l, C> {
    /// From a [`PortHandle`].
    Command(C),
    /// What the source's owner says of it from now on answers the subscription: its state, then the packets since its last
    /// keyframe, then what comes in.
    Begun {
        source: SourceId,
    },
    Packet {
        source: SourceId,
        kind: MediaKind,
        layer: LayerIndex,
        packet: PacketView<'l>,
    },
    Update {
        source: SourceId,
        update: FeedUpdate,
    },
    /// The publisher is gone: nothing of it may be shown any more.
    Gone {
        source: SourceId,
    },
    /// Somebody who watches the program can't go on without a keyframe. At most two a second, and none that a keyframe
    /// published meanwhile has answered.
    KeyframeWanted,
}

/// How many of the program's packets were handed to workers, and how many were not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortCounters {
    /// Once per packet and worker.
    pub lane_packets: u64,
    /// Once per packet and worker: its lane was full, or it waits for a keyframe because it was.
    pub dropped_lane_full: u64,
    /// Packets longer than a lane takes, 1500 bytes of extensions and payload.
    pub dropped_too_long: u64,
}

/// One program's end. Belongs to the thread of the program; dropping it takes the program out of the exchange.
pub struct Port<C> {
    poll: Poll,
    waker: Arc<Waker>,
    ready: Vec<Ready>,
    inbox: mpsc::Receiver<Message>,
    /// Unbounded: commands are few, and none may be lost.
    commands: mpsc::Receiver<C>,
    /// By worker.
    lanes: Vec<Neighbour>,
    /// Packets that can be taken, by lane; kept for its capacity.
    visible: Vec<usize>,
    inputs: BTreeMap<SourceId, Input>,
    /// Counts subscriptions, see [`Note::Subscribe`].
    epoch: u32,
    /// Of the program's own source.
    feed: Feed,
    /// Workers that have viewers of the program; at most one entry each.
    subscribers: Vec<Subscriber>,
    /// What workers ask of the program; kept for its capacity.
    requests: Vec<(usize, Note)>,
    /// Fences that the program has yet to act on, by worker.
    fences: Vec<(usize, u64)>,
    wish: Wish,
    counters: PortCounters,
}

/// The control plane's end of a program.
pub struct PortHandle<C> {
    commands: mpsc::Sender<C>,
    waker: Arc<Waker>,
}

impl<C> Clone for PortHandle<C> {
    fn clone(&self) -> Self {
        PortHandle {
            commands: self.commands.clone(),
            waker: self.waker.clone(),
        }
    }
}

impl<C> PortHandle<C> {
    /// Never blocks. Lost only when the port is gone.
    pub fn send(&self, command: C) {
        let _port_is_gone = self.commands.send(command);
        self.waker.wake();
    }
}

/// A source the program takes.
#[derive(Clone, Copy, Debug)]
struct Input {
    /// The owner.
    worker: usize,
    epoch: u32,
    /// The owner has answered: what arrives from now on belongs to this subscription.
    begun: bool,
    layers: Layers,
}

/// Merges the wishes for a keyframe of the program.
#[derive(Debug, Default)]
struct Wish {
    wanted: bool,
    told: Option<Instant>,
}

impl Wish {
    /// Whether to tell the program now; it then counts as told.
    fn take(&mut self, now: Instant) -> bool {
        let due = self.due(now).is_some_and(|due| due <= now);
        if due {
            *self = Wish {
                wanted: false,
                told: Some(now),
            };
        }
        due
    }

    fn due(&self, now: Instant) -> Option<Instant> {
        self.wanted
            .then(|| self.told.map_or(now, |told| told + KEYFRAME_INTERVAL))
    }
}

impl<C> Port<C> {
    /// A program takes part in the exchange of `workers`, the complete list as [`spawn`](super::spawn) returned it, as owner
    /// `index` of `source`: what [`SourceInfo::worker`](crate::forward::SourceInfo) tells the workers. `index` is none of a
    /// worker, and is used again only when the port that had it has been dropped.
    pub fn attach(
        index: usize,
        workers: &[Handle],
        source: SourceId,
        description: FeedDescription,
    ) -> io::Result<(Port<C>, PortHandle<C>)> {
        if index < workers.len() {
            let why = "a program's index is none of a worker";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        let (poll, waker) = (Poll::new()?, Arc::new(Waker::new()?));
        poll.add(waker.fd(), WAKER)?;
        let (notes, inbox) = mpsc::channel();
        let (sender, commands) = mpsc::channel();
        let mut lanes = Vec::with_capacity(workers.len());
        for (worker, handle) in workers.iter().enumerate() {
            let (own, lane) = Neighbour::pair(
                (index, notes.clone(), waker.clone(), INPUT_DEPTH),
                (worker, handle.inbox.clone(), handle.waker.clone(), OUTPUT_DEPTH),
            );
            let lane = Box::new(lane);
            // fails only when the worker has ended, which ends the node
            let _worker_has_ended = handle.inbox.send(Message::Attach { index, lane });
            handle.waker.wake();
            lanes.push(own);
        }
        let handle = PortHandle {
            commands: sender,
            waker: waker.clone(),
        };
        let port = Port {
            poll,
            waker,
            ready: Vec::new(),
            inbox,
            commands,
            lanes,
            visible: Vec::new(),
            inputs: BTreeMap::new(),
            epoch: 0,
            feed: Feed::new(source, description),
            subscribers: Vec::new(),
            requests: Vec::new(),
            fences: Vec::new(),
            wish: Wish::default(),
            counters: PortCounters::default(),
        };
        Ok((port, handle))
    }

    /// Flushes, then waits until something came in, at most until `deadline` (`None`: for ever). The time of this turn.
    pub fn wait(&mut self, deadline: Option<Instant>) -> Instant {
        self.flush();
        let now = Instant::now();
        let deadline = deadline.into_iter().chain(self.wish.due(now)).min();
        let timeout = deadline.map(|deadline| deadline.saturating_duration_since(now));
        self.poll.wait(timeout, &mut self.ready);
        if !self.ready.is_empty() {
            self.waker.reset();
        }
        Instant::now()
    }

    /// Lets the workers have what they were given, and know that the program has acted on what it drained. For a turn that
    /// goes on with long work; [`wait`](Self::wait) does it, too.
    pub fn flush(&mut self) {
        for (worker, id) in self.fences.drain(..) {
            if let Some(lane) = self.lanes.get_mut(worker) {
                lane.note(Note::Passed { id });
            }
        }
        self.lanes.iter_mut().for_each(Neighbour::wake);
    }

    /// Hands over everything that is there, by source in order.
    pub fn drain(&mut self, now: Instant, mut each: impl FnMut(Arrival<C>)) {
        // in this order: the notes that stand before these packets are then in the inbox
        self.visible.clear();
        self.visible.extend(self.lanes.iter().map(Neighbour::visible));
        for message in self.inbox.try_iter() {
            if let Message::Note { from, after, note } = message
                && let Some(lane) = self.lanes.get_mut(from)
            {
                lane.noted(after, note);
            }
        }
        self.commands
            .try_iter()
            .for_each(|command| each(Arrival::Command(command)));
        let Port {
            lanes,
            inputs,
            requests,
            visible,
            ..
        } = self;
        for (from, (lane, visible)) in lanes.iter_mut().zip(&*visible).enumerate() {
            lane.drain(*visible, |arrived| match hear(inputs, arrived) {
                Heard::News(arrival) => each(arrival),
                Heard::Request(note) => requests.push((from, note)),
                Heard::Stale => {}
            });
        }
        self.answer_requests(now);
        if self.wish.take(now) {
            each(Arrival::KeyframeWanted);
        }
    }

    /// Takes these sources from now on, each from the worker that owns it, and no others. Twice equals once; said again
    /// with each new list of the room's sources, as an owner may not have known a source yet.
    pub fn reconcile_inputs(&mut self, sources: &[(SourceId, usize)]) {
        let Port {
            lanes, inputs, epoch, ..
        } = self;
        inputs.retain(|source, input| {
            let stays = sources.contains(&(*source, input.worker));
            if !stays && let Some(lane) = lanes.get_mut(input.worker) {
                lane.note(Note::Unsubscribe { source: *source });
            }
            stays
        });
        for &(source, worker) in sources {
            let Some(lane) = lanes.get_mut(worker) else { continue };
            let input = *inputs.entry(source).or_insert_with(|| {
                *epoch = epoch.wrapping_add(1);
                Input {
                    worker,
                    epoch: *epoch,
                    begun: false,
                    layers: Layers::ALL,
                }
            });
            if !input.begun {
                let Input { epoch, layers, .. } = input;
                lane.note(Note::Subscribe { source, epoch });
                if layers != Layers::ALL {
                    lane.note(Note::Prefer { source, layers });
                }
            }
        }
    }

    /// Of a source that is taken, take only these layers of the video, and the audio; all until this is said. A layer that
    /// was done without begins with a keyframe (the last one, of which some packets may have been taken before, or one that
    /// is asked for), so a change of layers without a gap is: both, and only the new one once its keyframe is here.
    pub fn want_layers(&mut self, source: SourceId, layers: &[LayerIndex]) {
        let layers = Layers::with_video(layers);
        let Some(input) = self.inputs.get_mut(&source).filter(|input| input.layers != layers) else {
            return;
        };
        input.layers = layers;
        if let Some(lane) = self.lanes.get_mut(input.worker) {
            lane.note(Note::Prefer { source, layers });
        }
    }

    /// Asks the publisher of a source that is taken for a keyframe; the owner merges what it is asked.
    pub fn request_keyframe(&mut self, source: SourceId, layer: LayerIndex) {
        let owner = self.inputs.get(&source).map(|input| input.worker);
        if let Some(lane) = owner.and_then(|worker| self.lanes.get_mut(worker)) {
            lane.note(Note::KeyframeWanted { source, layer });
        }
    }

    /// A packet of the program. `packet.meta.arrival` is when it was made; extended sequence numbers ascend by one per kind.
    /// Of the sound, what stands in the place of a packet of the whole mix comes before it, under the same number. Only the
    /// first of them starts a keyframe: where it, or one behind it, finds a lane full, none that follows is taken, so that
    /// nobody gets the whole mix for want of another.
    pub fn publish(&mut self, kind: MediaKind, layer: LayerIndex, packet: PacketView) {
        if packet.bytes.len() > PACKET_MAX {
            self.counters.dropped_too_long += 1;
            return;
        }
        if layer == LAYER {
            self.feed.store(kind, layer, packet);
            self.feed.clear_fresh();
        }
        if kind == MediaKind::Video && packet.meta.starts_keyframe {
            self.wish.wanted = false;
        }
        let source = self.feed.id();
        for subscriber in &mut self.subscribers {
            let Some(lane) = self.lanes.get_mut(subscriber.worker) else {
                continue;
            };
            match lane.push(subscriber, source, kind, layer, packet) {
                Pushed::Taken => self.counters.lane_packets += 1,
                Pushed::Dropped => {
                    self.counters.dropped_lane_full += 1;
                    // the viewers over there see no gap and would not ask
                    self.wish.wanted |= kind == MediaKind::Video;
                }
                Pushed::Unwanted => {}
            }
        }
    }

    /// News of the program. Without a [`FeedUpdate::Clock`] of each kind its viewers get no sender reports.
    pub fn update(&mut self, update: FeedUpdate) {
        self.feed.update(update);
        self.feed.clear_fresh();
        let source = self.feed.id();
        for subscriber in &self.subscribers {
            if let Some(lane) = self.lanes.get_mut(subscriber.worker) {
                lane.note(Note::Update { source, update });
            }
        }
    }

    /// Since the port was attached.
    pub fn counters(&self) -> PortCounters {
        self.counters
    }

    fn answer_requests(&mut self, now: Instant) {
        let own = self.feed.id();
        let mut requests = std::mem::take(&mut self.requests);
        for (from, note) in requests.drain(..) {
            match note {
                Note::Subscribe { source, epoch } if source == own => self.subscribe(from, epoch, now),
                Note::Unsubscribe { source } if source == own => {
                    self.subscribers.retain(|known| known.worker != from);
                }
                Note::KeyframeWanted { source, .. } if source == own => self.wish.wanted = true,
                Note::Fence { id } => self.fences.push((from, id)),
                // of a program before this one, or nothing a worker asks of a program
                _ => {}
            }
        }
        self.requests = requests;
    }

    /// A worker gets the program from now on.
    fn subscribe(&mut self, from: usize, epoch: u32, now: Instant) {
        let Some(lane) = self.lanes.get_mut(from) else { return };
        let known = |known: &Subscriber| known.worker == from && known.epoch == epoch;
        if self.subscribers.iter().any(known) {
            return;
        }
        self.subscribers.retain(|known| known.worker != from);
        let source = self.feed.id();
        let subscriber = lane.begin(Subscriber::new(from, epoch), source, Some(&self.feed), now);
        self.wish.wanted |= subscriber.lacks_keyframe(LAYER);
        self.subscribers.push(subscriber);
    }
}

impl<C> Drop for Port<C> {
    fn drop(&mut self) {
        for lane in &mut self.lanes {
            lane.note(Note::Detach);
            lane.wake();
        }
    }
}

/// What something that came out of a lane is to the program.
enum Heard<'l, C> {
    News(Arrival<'l, C>),
    /// Something is asked of the program.
    Request(Note),
    /// About a source that is not taken (any more).
    Stale,
}

fn hear<'l, C>(inputs: &mut BTreeMap<SourceId, Input>, arrived: Arrived<'l>) -> Heard<'l, C> {
    let begun = |inputs: &BTreeMap<SourceId, Input>, source| inputs.get(&source).is_some_and(|input| input.begun);
    let news = match arrived {
        Arrived::Packet(packet) => begun(inputs, packet.source).then(|| Arrival::Packet {
            source: packet.source,
            kind: packet.kind,
            layer: packet.layer,
            packet: packet.packet(),
        }),
        Arrived::Note(Note::Update { source, update }) => {
            begun(inputs, source).then_some(Arrival::Update { source, update })
        }
        Arrived::Note(Note::Begin { source, epoch }) => {
            let input = inputs.get_mut(&source).filter(|input| input.epoch == epoch);
            input.map(|input| {
                input.begun = true;
                Arrival::Begun { source }
            })
        }
        Arrived::Note(Note::Gone { source }) => inputs
            .remove(&source)
            .filter(|input| input.begun)
            .map(|_| Arrival::Gone { source }),
        Arrived::Note(note) => return Heard::Request(note),
    };
    news.map_or(Heard::Stale, Heard::News)
}
