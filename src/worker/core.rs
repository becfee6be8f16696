//! A worker without its sockets: peers, rooms, timers, and what is to be sent. `turn` calls it with what arrived and sends
//! what it leaves in the [`Outbox`].

use super::events::{Events, RETRY};
use super::lane::{Neighbour, Note, PACKET_MAX, Pushed};
use super::outbox::Outbox;
use super::peers::{Media, Peer, Peers, Publisher};
use super::room::Room;
use super::tcp::TCP_SOCKET;
use super::timers::Timers;
use super::{Command, Event, Message, PeerId, RoomKey};
use crate::forward::{FeedUpdate, Ingested, LayerIndex, PublicationEvent, Seal, SourceId, ViewerEvent};
use crate::rtp::{MediaKind, NtpClock};
use crate::telemetry::WorkerMetrics;
use crate::transport::{self, CloseReason, Dropped, Path, Received, dtls};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::Sender;
use tokio::sync::oneshot;

/// A deadline that is not over after its handler ran is tried again no sooner, so that a peer cannot make the loop spin.
const RETRY_TIMER: Duration = Duration::from_millis(1);

/// Rounds after which the rest of a chain of consequences waits for the next turn. Chains have three links: slots, feeds,
/// keyframe wishes.
const CONCLUDE_ROUNDS: usize = 4;

pub(super) struct Core {
    /// Of this worker.
    pub index: usize,
    pub dtls: Arc<dtls::Context>,
    pub tick: Duration,
    /// The SSRC all RTCP of this worker comes from.
    pub feedback_ssrc: u32,
    /// The node's.
    pub clock: NtpClock,
    pub inbox: mpsc::Receiver<Message>,
    /// Taken out of the inbox and not carried out yet. As many as the control plane gives; none may be lost.
    pub commands: VecDeque<Box<Command>>,
    /// By worker, then by program; `None`: this worker, or a program that is gone.
    pub neighbours: Vec<Option<Neighbour>>,
    pub peers: Peers,
    pub rooms: BTreeMap<RoomKey, Room>,
    /// Publishers of this worker: index in the peer table.
    pub owners: HashMap<SourceId, usize>,
    /// Where the feeds of this worker are.
    pub feed_rooms: HashMap<SourceId, RoomKey>,
    pub timers: Timers,
    pub outbox: Outbox,
    pub reports: Reports,
    /// Rooms with fresh packets.
    pub fresh: Vec<RoomKey>,
    /// Rooms whose viewers may want other sources than before; few, so repetitions do no harm.
    pub stale: Vec<RoomKey>,
    /// Peers to be settled at the end of the batch.
    pub touched: Vec<usize>,
    /// Peers whose deadline is over; kept for its capacity.
    pub due: Vec<usize>,
    /// Packets that can be taken, by lane; kept for its capacity.
    pub visible: Vec<usize>,
    /// What other workers and programs ask of own publishers.
    pub requests: Vec<(usize, Note)>,
    /// Counts subscriptions, see [`Note::Subscribe`].
    pub epoch: u32,
    /// Answered once what was queued before them is sent.
    pub acks: Vec<oneshot::Sender<()>>,
    /// Answered once other workers and programs have done their part; at most one per command that waits for an answer.
    pub fences: Vec<Fence>,
    /// Counts fences.
    pub last_fence: u64,
    /// Viewers whose train met a full queue; their media goes on with the next turn.
    pub reopening: Vec<usize>,
    /// TCP connections on which a check succeeded, and those that are not needed any more.
    pub proven: Vec<u32>,
    pub abandoned: Vec<u32>,
    pub stopping: bool,
    pub scratch: Vec<u8>,
}

/// An acknowledgement that waits for other workers and programs.
pub(super) struct Fence {
    pub id: u64,
    /// Who has not answered.
    pub missing: Vec<usize>,
    pub done: oneshot::Sender<()>,
}

/// What the pure parts report besides packets.
pub(super) struct Reports {
    pub events: Events,
    pub metrics: Arc<WorkerMetrics>,
    /// Keyframes that viewers wait for.
    pub wishes: Vec<(SourceId, LayerIndex)>,
}

impl Reports {
    pub fn new(events: Sender<Event>, metrics: Arc<WorkerMetrics>) -> Self {
        Reports {
            events: Events::new(events),
            metrics,
            wishes: Vec::new(),
        }
    }

    /// `true`: the viewer may want other sources now.
    pub fn viewer(&mut self, peer: PeerId, created: Instant, event: ViewerEvent, now: Instant) -> bool {
        match event {
            ViewerEvent::KeyframeWanted { source, layer } => {
                if !self.wishes.contains(&(source, layer)) {
                    self.wishes.push((source, layer));
                }
                false
            }
            ViewerEvent::Slots(slots) => {
                self.events.push(Event::Slots { peer, slots });
                true
            }
            ViewerEvent::FirstMedia => {
                self.metrics.first_media_latency.observe(now - created, 1);
                false
            }
            ViewerEvent::FirstKeyframe => {
                self.metrics.first_keyframe_latency.observe(now - created, 1);
                false
            }
        }
    }

    /// What the publication counted since the last call.
    fn publication(&self, publisher: &mut Publisher) {
        let now = publisher.publication.counters();
        let before = std::mem::replace(&mut publisher.counted, now);
        let metrics = &self.metrics;
        metrics.uplink_nacked.add(now.nacked - before.nacked);
        metrics.uplink_repaired.add(now.repaired - before.repaired);
        metrics
            .keyframe_requests
            .add(now.keyframe_requests - before.keyframe_requests);
        metrics.dropped_malformed.add(now.malformed - before.malformed);
        metrics.dropped_unknown_stream.add(now.unknown - before.unknown);
        metrics.dropped_forbidden.add(now.forbidden - before.forbidden);
        metrics.dropped_duplicate.add(now.duplicates - before.duplicates);
    }

    fn dropped(&self, why: Dropped) {
        let metrics = &self.metrics;
        let counter = match why {
            Dropped::Malformed => &metrics.dropped_malformed,
            Dropped::Unauthorised => &metrics.dropped_unauthorised,
            Dropped::UnknownPath => &metrics.dropped_unknown_path,
            Dropped::NoKeys => &metrics.dropped_no_keys,
            Dropped::Forged => &metrics.dropped_forged,
            Dropped::Replayed => &metrics.dropped_replayed,
        };
        counter.add(1);
    }
}

impl Core {
    pub fn new(
        index: usize,
        dtls: Arc<dtls::Context>,
        tick: Duration,
        clock: NtpClock,
        inbox: mpsc::Receiver<Message>,
        neighbours: Vec<Option<Neighbour>>,
        reports: Reports,
    ) -> Self {
        Core {
            index,
            dtls,
            tick,
            feedback_ssrc: rand::random::<u32>().max(1),
            clock,
            inbox,
            commands: VecDeque::new(),
            neighbours,
            peers: Peers::default(),
            rooms: BTreeMap::new(),
            owners: HashMap::new(),
            feed_rooms: HashMap::new(),
            timers: Timers::default(),
            outbox: Outbox::default(),
            reports,
            fresh: Vec::new(),
            stale: Vec::new(),
            touched: Vec::new(),
            due: Vec::new(),
            visible: Vec::new(),
            requests: Vec::new(),
            epoch: 0,
            acks: Vec::new(),
            fences: Vec::new(),
            last_fence: 0,
            reopening: Vec::new(),
            proven: Vec::new(),
            abandoned: Vec::new(),
            stopping: false,
            scratch: Vec::new(),
        }
    }

    /// Takes one datagram of any kind. `arrived`: when this host got it, which is what media is measured by.
    pub fn handle_datagram(&mut self, datagram: &mut [u8], path: Path, arrived: Instant, now: Instant) {
        let metrics = &self.reports.metrics;
        metrics.packets_in.add(1);
        metrics.bytes_in.add(datagram.len() as u64);
        let routed = self.peers.route(datagram, path);
        let Some((index, peer)) = routed.and_then(|index| Some((index, self.peers.at_mut(index)?))) else {
            metrics.dropped_unknown_path.add(1);
            return;
        };
        let touch = !std::mem::replace(&mut peer.touched, true);
        match peer.transport.handle_datagram(datagram, path, now) {
            Ok(Received::Rtp {
                packet,
                index: rtp_index,
            }) => {
                if let Media::Publisher(publisher) = &mut peer.media {
                    let mut spread = Spread {
                        rooms: &mut self.rooms,
                        fresh: &mut self.fresh,
                        neighbours: &mut self.neighbours,
                        reports: &mut self.reports,
                    };
                    spread.take((peer.id, peer.room), publisher, packet, rtp_index, arrived);
                }
            }
            Ok(Received::Rtcp(compound)) => match &mut peer.media {
                Media::Publisher(publisher) => publisher.publication.handle_rtcp(compound, now),
                Media::Viewer(viewer) => {
                    let path = peer.transport.path();
                    let feeds = self.rooms.get(&peer.room).map(|room| &room.feeds);
                    if let (Some(path), Some(feeds), Some(seal)) = (path, feeds, peer.transport.sender()) {
                        let before = self.outbox.batch.datagrams.len();
                        viewer.handle_rtcp(compound, feeds, seal, &mut self.outbox.batch, now);
                        let answered = self.outbox.batch.datagrams.len() - before;
                        self.reports.metrics.retransmissions.add(answered as u64);
                        self.outbox.assign(path, Some(index));
                    }
                }
            },
            Ok(Received::Nothing) => {
                // a validated path has to be known before the next datagram on it
                peer.touched = !touch;
                self.settle(index, now);
                return;
            }
            Err(why) => self.reports.dropped(why),
        }
        if touch {
            self.touched.push(index);
        }
    }

    /// Settles at the end of the batch.
    pub fn touch(&mut self, index: usize) {
        if let Some(peer) = self.peers.at_mut(index)
            && !std::mem::replace(&mut peer.touched, true)
        {
            self.touched.push(index);
        }
    }

    /// Passes on everything that has gathered: replies, feedback, events, keyframe wishes, subscriptions.
    pub fn conclude(&mut self, now: Instant) {
        // a peer's wish makes another peer speak, and a new feed makes viewers wish
        for _ in 0..CONCLUDE_ROUNDS {
            self.settle_touched(now);
            self.resubscribe_stale(now);
            self.answer_requests(now);
            self.grant_wishes(now);
            if !self.has_rest() {
                break;
            }
        }
    }

    /// [`conclude`](Self::conclude) left something for the next turn.
    pub fn has_rest(&self) -> bool {
        !self.touched.is_empty() || !self.stale.is_empty()
    }

    fn settle_touched(&mut self, now: Instant) {
        let mut touched = std::mem::take(&mut self.touched);
        for index in touched.drain(..) {
            self.settle(index, now);
        }
        // settling touches others only by wishes, which are granted later
        if self.touched.is_empty() {
            self.touched = touched;
        }
    }

    /// Passes on what one peer has to say, and sets its timer.
    pub fn settle(&mut self, index: usize, now: Instant) {
        let mut closed = None;
        while let Some(event) = self.poll_transport(index) {
            match event {
                transport::Event::PathValidated(path) => {
                    self.peers.add_path(index, path);
                    if path.socket & TCP_SOCKET != 0 {
                        self.proven.push(path.socket);
                    }
                }
                transport::Event::PathForgotten(path) => {
                    self.peers.forget_path(index, path);
                    if path.socket & TCP_SOCKET != 0 {
                        self.abandoned.push(path.socket);
                    }
                }
                // what blocked a viewer was the queue of the path before
                transport::Event::PathSelected(_) => self.unblock(index, now),
                transport::Event::Connected(profile) => self.connected(index, profile, now),
                transport::Event::Closed(reason) => closed = Some(reason),
            }
        }
        if let Some(reason) = closed {
            self.lost(index, reason);
            return;
        }
        self.settle_media(index, now);
        if let Some(peer) = self.peers.at_mut(index) {
            peer.touched = false;
            peer.transport_deadline = peer.transport.poll_timeout();
            self.timers.set(index, peer.deadline());
        }
    }

    /// The next event, behind the datagrams that were queued before it.
    fn poll_transport(&mut self, index: usize) -> Option<transport::Event> {
        let peer = self.peers.at_mut(index)?;
        while let Some(transmit) = peer.transport.poll_transmit() {
            self.outbox.push(transmit.path, &transmit.bytes);
        }
        peer.transport.poll_event()
    }

    fn connected(&mut self, index: usize, profile: transport::srtp::Profile, now: Instant) {
        let Some(peer) = self.peers.at_mut(index) else { return };
        peer.connected = true;
        let took = now.saturating_duration_since(peer.created);
        tracing::debug!(
            peer = peer.id.0,
            ?profile,
            took_ms = took.as_millis() as u64,
            "connected"
        );
        self.reports.metrics.joins.add(1);
        self.reports.metrics.join_latency.observe(took, 1);
        self.reports.events.push(Event::Connected { peer: peer.id });
        if let Media::Viewer(viewer) = &mut peer.media {
            viewer.set_open(true, now);
            // a cached keyframe starts the viewer now, not with the next packet
            if let Some(room) = self.rooms.get_mut(&peer.room) {
                room.hurry(peer.room, &mut self.fresh, now);
            }
        }
    }

    /// The transport ended by itself.
    fn lost(&mut self, index: usize, reason: CloseReason) {
        if let Some(peer) = self.remove(index) {
            tracing::debug!(peer = peer.id.0, ?reason, "closed");
            self.reports.events.push(Event::Closed { peer: peer.id, reason });
        }
    }

    fn settle_media(&mut self, index: usize, now: Instant) {
        let Some(peer) = self.peers.at_mut(index) else { return };
        match &mut peer.media {
            Media::Viewer(viewer) => {
                while let Some(event) = viewer.poll_event() {
                    if self.reports.viewer(peer.id, peer.created, event, now) {
                        self.stale.push(peer.room);
                    }
                }
            }
            Media::Publisher(publisher) => {
                let mut spread = Spread {
                    rooms: &mut self.rooms,
                    fresh: &mut self.fresh,
                    neighbours: &mut self.neighbours,
                    reports: &mut self.reports,
                };
                spread.pass_on((peer.id, peer.room), publisher, now);
                self.reports.publication(publisher);
                self.send_feedback(index, now);
            }
        }
    }

    /// Seals the RTCP a publisher is due.
    fn send_feedback(&mut self, index: usize, now: Instant) {
        let Some(peer) = self.peers.at_mut(index).filter(|peer| peer.connected) else {
            return;
        };
        let Media::Publisher(publisher) = &mut peer.media else {
            return;
        };
        let path = peer.transport.path();
        let Some(seal) = peer.transport.sender() else { return };
        while publisher.publication.poll_rtcp(now, &mut self.scratch) {
            // without a path it is due all the same, or its deadline would never be over
            let Some(path) = path else { continue };
            let batch = &mut self.outbox.batch;
            let start = batch.bytes.len();
            batch.bytes.extend_from_slice(&self.scratch);
            seal.seal_rtcp(&mut batch.bytes, start);
            batch.datagrams.push((batch.bytes.len(), None));
            self.outbox.assign(path, None);
        }
    }

    /// `send` empties the outbox whenever it is full.
    pub fn handle_timeouts(&mut self, now: Instant, mut send: impl FnMut(&mut Outbox)) {
        let mut due = std::mem::take(&mut self.due);
        while let Some(index) = self.timers.pop(now) {
            due.push(index);
        }
        for index in due.drain(..) {
            self.handle_timeout(index, now);
            self.settle(index, now);
            let deadline = self.peers.at_mut(index).and_then(|peer| peer.deadline());
            if deadline.is_some_and(|deadline| deadline <= now) {
                self.timers.set(index, Some(now + RETRY_TIMER));
            }
            if self.outbox.is_full() {
                send(&mut self.outbox);
            }
        }
        self.due = due;
    }

    fn handle_timeout(&mut self, index: usize, now: Instant) {
        let Some(peer) = self.peers.at_mut(index) else { return };
        let due = |deadline: Option<Instant>| deadline.is_some_and(|deadline| deadline <= now);
        if due(peer.transport.poll_timeout()) {
            peer.transport.handle_timeout(now);
        }
        match &mut peer.media {
            Media::Publisher(publisher) => {
                if due(publisher.publication.poll_timeout()) {
                    publisher.publication.handle_timeout(now);
                }
            }
            Media::Viewer(viewer) => {
                let path = peer.transport.path();
                let feeds = self.rooms.get(&peer.room).map(|room| &room.feeds);
                if let (true, Some(feeds), Some(seal)) = (due(viewer.poll_timeout()), feeds, peer.transport.sender()) {
                    viewer.handle_timeout(feeds, seal, &mut self.outbox.batch, now);
                    match path {
                        Some(path) => self.outbox.assign(path, Some(index)),
                        None => self.outbox.discard(),
                    }
                }
            }
        }
    }

    /// Serves the rooms whose packets are due; `send` empties the outbox whenever it is full.
    pub fn forward(&mut self, now: Instant, mut send: impl FnMut(&mut Outbox)) {
        let mut at = 0;
        while let Some(&key) = self.fresh.get(at) {
            let room = self.rooms.get(&key);
            if room.and_then(|room| room.pacing.due()).is_some_and(|due| due > now) {
                at += 1;
                continue;
            }
            self.fresh.swap_remove(at);
            self.forward_room(key, now, &mut send);
        }
    }

    fn forward_room(&mut self, key: RoomKey, now: Instant, send: &mut impl FnMut(&mut Outbox)) {
        let Some(room) = self.rooms.get_mut(&key) else { return };
        for &index in &room.viewers {
            let Some(peer) = self.peers.at_mut(index).filter(|peer| peer.connected) else {
                continue;
            };
            let Peer {
                id,
                created,
                transport,
                media: Media::Viewer(viewer),
                ..
            } = peer
            else {
                continue;
            };
            let Some(path) = transport.path() else { continue };
            let Some(seal) = transport.sender() else { continue };
            viewer.forward(&room.feeds, seal, &mut self.outbox.batch, now);
            self.outbox.assign(path, Some(index));
            while let Some(event) = viewer.poll_event() {
                if self.reports.viewer(*id, *created, event, now) {
                    self.stale.push(key);
                }
            }
            self.timers.set(index, peer.deadline());
            if self.outbox.is_full() {
                send(&mut self.outbox);
            }
        }
        room.served();
    }

    /// The connection behind the path is gone.
    pub fn path_lost(&mut self, path: Path) {
        let Some(index) = self.peers.owner(path) else { return };
        if let Some(peer) = self.peers.at_mut(index) {
            peer.transport.path_lost(path);
        }
        self.touch(index);
    }

    /// A viewer's queue was full: what was meant for it is gone, and its video goes on at a keyframe.
    pub fn block(&mut self, index: usize, now: Instant) {
        let Some(peer) = self.peers.at_mut(index) else { return };
        if let Media::Viewer(viewer) = &mut peer.media {
            peer.blocked = true;
            viewer.set_open(false, now);
            self.touch(index);
        }
    }

    /// Its queue has room again.
    pub fn unblock(&mut self, index: usize, now: Instant) {
        let Some(peer) = self.peers.at_mut(index) else { return };
        if let Media::Viewer(viewer) = &mut peer.media
            && std::mem::take(&mut peer.blocked)
            && peer.connected
        {
            viewer.set_open(true, now);
            self.touch(index);
        }
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        let due = self.fresh.iter().filter_map(|key| self.rooms.get(key)?.pacing.due());
        due.chain(self.timers.next()).min()
    }

    /// A waiting event wants another turn this soon.
    pub fn event_retry(&self) -> Option<Duration> {
        self.reports.events.has_waiting().then_some(RETRY)
    }

    pub fn wake_neighbours(&mut self) {
        for neighbour in self.neighbours.iter_mut().flatten() {
            neighbour.wake();
        }
    }
}

/// The way of a publisher's packets and news into the feeds of this and other workers.
struct Spread<'c> {
    rooms: &'c mut BTreeMap<RoomKey, Room>,
    fresh: &'c mut Vec<RoomKey>,
    neighbours: &'c mut [Option<Neighbour>],
    reports: &'c mut Reports,
}

impl Spread<'_> {
    fn take(
        &mut self,
        (peer, key): (PeerId, RoomKey),
        publisher: &mut Publisher,
        packet: &mut [u8],
        index: u64,
        arrived: Instant,
    ) {
        let Some(Ingested { kind, layer, packet }) = publisher.publication.handle_rtp(packet, index, arrived) else {
            return;
        };
        // an interruption stands before the packet it was found by
        self.pass_on((peer, key), publisher, arrived);
        let metrics = &self.reports.metrics;
        if packet.bytes.len() > PACKET_MAX {
            metrics.dropped_malformed.add(1);
            return;
        }
        let source = publisher.source;
        if let Some(room) = self.rooms.get_mut(&key) {
            room.store(key, (source, kind, layer), packet, self.fresh);
        }
        for subscriber in &mut publisher.subscribers {
            let Some(Some(lane)) = self.neighbours.get_mut(subscriber.worker) else {
                continue;
            };
            match lane.push(subscriber, source, kind, layer, packet) {
                Pushed::Unwanted => {}
                Pushed::Taken => metrics.lane_packets.add(1),
                Pushed::Dropped => {
                    metrics.dropped_lane_full.add(1);
                    // the viewers over there see no gap and would not ask
                    if kind == MediaKind::Video {
                        publisher.publication.request_keyframe(layer, arrived);
                    }
                }
            }
        }
    }

    /// What the publication has to say.
    fn pass_on(&mut self, (peer, key): (PeerId, RoomKey), publisher: &mut Publisher, now: Instant) {
        while let Some(event) = publisher.publication.poll_event() {
            let event = match event {
                PublicationEvent::Feed(update) => {
                    self.update(key, publisher, update, now);
                    match update {
                        FeedUpdate::Loudness { level } => Event::Loudness { peer, level },
                        _ => continue,
                    }
                }
                PublicationEvent::Media { kind, flowing } => Event::Media { peer, kind, flowing },
                PublicationEvent::VideoSize { width, height } => Event::VideoSize { peer, width, height },
            };
            self.reports.events.push(event);
        }
    }

    /// News of the source for every feed of it.
    fn update(&mut self, key: RoomKey, publisher: &Publisher, update: FeedUpdate, now: Instant) {
        let source = publisher.source;
        if let Some(room) = self.rooms.get_mut(&key) {
            room.update(key, source, update, self.fresh, now);
        }
        for subscriber in &publisher.subscribers {
            if let Some(Some(lane)) = self.neighbours.get_mut(subscriber.worker) {
                lane.note(Note::Update { source, update });
            }
        }
    }
}
