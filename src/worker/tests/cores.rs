//! Workers without sockets and threads: the test carries datagrams and decides whose turn it is.

use super::super::core::Reports;
use super::super::tcp::TCP_SOCKET;
use super::*;
use crate::transport::Path;

mod port;

const MS: Duration = Duration::from_millis(1);
const KEYFRAME: [u8; 11] = [0x10, 0x10, 0, 0, 0x9d, 0x01, 0x2a, 0x80, 0x02, 0x68, 0x01];
const DELTA: [u8; 4] = [0x10, 0x11, 0, 0];

fn cores(count: usize) -> Vec<Core> {
    cores_and_handles(count).0
}

fn cores_and_handles(count: usize) -> (Vec<Core>, Vec<Handle>) {
    let dtls = Arc::new(dtls::Context::new().unwrap());
    let (handles, inboxes): (Vec<Handle>, Vec<FakeWorker>) = (0..count).map(|_| Handle::fake()).unzip();
    // what is told to the control plane has room enough
    let (events, _) = mpsc::channel(64);
    let clock = node_clock();
    let ends = connect(&handles).into_iter().zip(inboxes).enumerate();
    let cores = ends.map(|(index, (lanes, inbox))| {
        let reports = Reports::new(events.clone(), Arc::default());
        Core::new(index, dtls.clone(), 2 * MS, clock, inbox.0, lanes, reports)
    });
    (cores.collect(), handles)
}

/// A peer and the path it uses.
struct Driven {
    peer: TestPeer,
    path: Path,
    sequence: u64,
}

impl Driven {
    fn new(name: &str, socket: u32) -> Self {
        Driven {
            peer: TestPeer::new(name),
            path: path(socket, 4000),
            sequence: 1,
        }
    }

    fn admission(&self) -> Admission {
        Admission {
            local: self.peer.server_credentials(),
            remote: self.peer.remote(),
        }
    }

    fn connect(&mut self, core: &mut Core, now: Instant) {
        let check = self.peer.check();
        self.send(core, check, now);
        for _ in 0..20 {
            for datagram in self.peer.step() {
                self.send(core, datagram, now);
            }
            self.take(core);
        }
        assert!(self.peer.is_connected());
    }

    fn send(&mut self, core: &mut Core, mut datagram: Vec<u8>, now: Instant) {
        core.handle_datagram(&mut datagram, self.path, now, now);
        core.conclude(now);
    }

    /// What the worker has sent on this path; what it has sent elsewhere is gone.
    fn take(&mut self, core: &mut Core) -> Vec<Plain> {
        let runs = core.outbox.runs().iter().filter(|run| run.path == self.path);
        let datagrams: Vec<Vec<u8>> = runs
            .flat_map(|run| core.outbox.datagrams(run).map(<[u8]>::to_vec))
            .collect();
        core.outbox.clear();
        datagrams
            .into_iter()
            .filter_map(|datagram| self.peer.receive(datagram))
            .collect()
    }

    /// A packet of video that is a frame of its own.
    fn video(&mut self, ssrc: u32, payload: &[u8]) -> Vec<u8> {
        let sequence = self.sequence;
        self.sequence += 1;
        self.peer.rtp(96, true, sequence, sequence as u32 * 3000, ssrc, payload)
    }
}

fn path(socket: u32, port: u16) -> Path {
    Path {
        socket,
        remote: (Ipv4Addr::LOCALHOST, port).into(),
    }
}

fn both(audio: bool, video: bool) -> Permission {
    Permission { audio, video }
}

fn publish(core: &mut Core, socket: u32, now: Instant) -> Driven {
    let mut host = Driven::new("host", socket);
    let command = Command::Publish {
        peer: HOST,
        room: ROOM,
        source: SOURCE,
        transport: host.admission(),
        media: receive_parameters(),
        permission: both(true, true),
    };
    core.command(command, now);
    host.connect(core, now);
    host
}

fn view(core: &mut Core, peer: &Driven, now: Instant) {
    let command = Command::View {
        peer: PeerId(1),
        room: ROOM,
        transport: peer.admission(),
        media: send_parameters(0x5000),
        view: View::Program { leave_out: None },
    };
    core.command(command, now);
}

/// The first publishes, and the second has a viewer (who is still connecting), so it subscribes.
fn two_with_a_subscription(now: Instant) -> (Core, Core, Driven) {
    with_a_subscription(cores(2), now)
}

fn with_a_subscription(cores: Vec<Core>, now: Instant) -> (Core, Core, Driven) {
    let mut both = cores.into_iter();
    let (mut owner, mut other) = (both.next().unwrap(), both.next().unwrap());
    let host = publish(&mut owner, 0, now);
    for core in [&mut owner, &mut other] {
        let sources = sources(0);
        core.command(Command::Sources { room: ROOM, sources }, now);
    }
    view(&mut other, &Driven::new("viewer", 0), now);
    owner.take_messages(now);
    other.take_messages(now);
    assert!(other.rooms[&ROOM].subscriptions[&SOURCE].begun);
    (owner, other, host)
}

/// Whether each packet with which a viewer could start begins a keyframe.
fn start(core: &Core, now: Instant) -> Vec<bool> {
    let mut packets = vec![];
    if let Some(feed) = core.rooms[&ROOM].feeds.get(SOURCE) {
        feed.replay(now, |_, _, packet| packets.push(packet.meta.starts_keyframe));
    }
    packets
}

#[test]
fn a_mute_is_acknowledged_when_it_is_in_force_on_every_worker() {
    let now = Instant::now();
    let (mut owner, mut other, mut host) = two_with_a_subscription(now);
    let packet = host.video(VIDEO_SSRC, &KEYFRAME);
    host.send(&mut owner, packet, now);
    let (done, _in_force) = oneshot::channel();
    let mute = Command::Permit {
        peer: HOST,
        permission: both(true, false),
        done: Some(done),
    };
    owner.command(mute, now);
    assert!(
        owner.acks.is_empty(),
        "a packet is still on its way to the other worker"
    );
    other.take_messages(now);
    assert!(start(&other, now).is_empty(), "it came, and was forgotten");
    owner.take_messages(now);
    assert_eq!((owner.acks.len(), owner.fences.len()), (1, 0));

    owner.acks.clear();
    let (done, _gone) = oneshot::channel();
    let close = Command::Close {
        peer: HOST,
        done: Some(done),
    };
    owner.command(close, now);
    assert!(owner.acks.is_empty());
    other.take_messages(now);
    assert!(other.rooms[&ROOM].feeds.get(SOURCE).is_none());
    owner.take_messages(now);
    assert_eq!((owner.acks.len(), owner.fences.len()), (1, 0));
}

#[test]
fn a_full_lane_asks_the_publisher_for_a_keyframe() {
    let mut now = Instant::now();
    let (mut owner, mut other, mut host) = two_with_a_subscription(now);
    let is_pli = |plain: &Plain| matches!(plain, Plain::Rtcp(compound) if contains_pli(compound));
    let mut plis = 0;
    let first = host.video(VIDEO_SSRC, &KEYFRAME);
    host.send(&mut owner, first, now);
    for sent in 1..LANE_DEPTH + 20 {
        now += MS;
        let packet = host.video(VIDEO_SSRC, &DELTA);
        host.send(&mut owner, packet, now);
        plis += host.take(&mut owner).iter().filter(|plain| is_pli(plain)).count();
        assert_eq!(plis, usize::from(sent >= LANE_DEPTH), "after {sent} packets");
    }
    other.take_messages(now);
    let answer = host.video(VIDEO_SSRC, &KEYFRAME);
    host.send(&mut owner, answer, now);
    other.take_messages(now);
    assert_eq!(start(&other, now), [true]);
}

#[test]
fn a_flood_of_commands_does_not_hold_up_packets() {
    let now = Instant::now();
    let (both, handles) = cores_and_handles(2);
    let (mut owner, mut other, mut host) = with_a_subscription(both, now);
    for _ in 0..3000 {
        handles[1].send(Command::Close {
            peer: PeerId(99),
            done: None,
        });
    }
    let packet = host.video(VIDEO_SSRC, &KEYFRAME);
    host.send(&mut owner, packet, now);
    assert!(other.take_messages(now), "commands are left");
    assert_eq!(start(&other, now), [true]);
    let turns = std::iter::repeat_with(|| other.take_messages(now)).take_while(|more| *more);
    assert_eq!(turns.count(), 4);
}

#[test]
fn the_first_packets_of_a_new_ssrc_are_kept() {
    let mut now = Instant::now();
    let mut core = cores(1).remove(0);
    let mut host = publish(&mut core, 0, now);
    for payload in [&KEYFRAME[..], &DELTA] {
        let packet = host.video(VIDEO_SSRC, payload);
        host.send(&mut core, packet, now);
    }
    assert_eq!(start(&core, now), [true, false]);
    now += 300 * MS;
    for payload in [&KEYFRAME[..], &DELTA, &DELTA] {
        // all in one batch
        let mut packet = host.video(0x9999, payload);
        core.handle_datagram(&mut packet, host.path, now, now);
    }
    core.conclude(now);
    assert_eq!(start(&core, now), [true, false, false]);
}

#[test]
fn a_viewer_whose_queue_is_full_goes_on_on_another_path() {
    let now = Instant::now();
    let mut core = cores(1).remove(0);
    let mut viewer = Driven::new("viewer", TCP_SOCKET | 1);
    view(&mut core, &viewer, now);
    viewer.connect(&mut core, now);
    let index = core.peers.index_of(PeerId(1)).unwrap();
    core.block(index, now);
    assert!(core.peers.at_mut(index).unwrap().blocked);
    // the network changed: the old connection will never drain
    viewer.path = path(0, 4001);
    let check = viewer.peer.check();
    viewer.send(&mut core, check, now);
    assert!(!core.peers.at_mut(index).unwrap().blocked);
}

#[test]
fn a_publisher_without_a_path_does_not_keep_the_worker_busy() {
    let mut now = Instant::now();
    let mut core = cores(1).remove(0);
    let mut host = publish(&mut core, TCP_SOCKET | 1, now);
    for payload in [&KEYFRAME[..], &DELTA] {
        let packet = host.video(VIDEO_SSRC, payload);
        host.send(&mut core, packet, now);
    }
    core.path_lost(host.path);
    core.conclude(now);
    for _ in 0..5 {
        now += 400 * MS;
        core.handle_timeouts(now, |_| {});
        core.conclude(now);
        let next = core.timers.next().expect("consent runs out one day");
        assert!(next > now + 10 * MS, "in {:?}", next - now);
    }
    assert!(core.outbox.is_empty());
}
