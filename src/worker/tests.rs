//! Workers with their sockets and threads: peers that do ICE, DTLS and SRTP publish and watch over loopback.

use super::tcp::Deframer;
use super::*;
use crate::forward::{SeatIndex, SourceKind};
use crate::rtp::parameters::{Feedback, ReceiveTrack, SendCodec, SendSlot, SendTrack};
use crate::rtp::{Codec, ExtensionMap};
use crate::transport::CloseReason;
use crate::transport::ice::Protocol;
use crate::transport::testing::{Plain, TestPeer};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, TcpStream};

mod cores;

const ROOM: RoomKey = RoomKey(1);
const SOURCE: SourceId = SourceId(10);
const HOST: PeerId = PeerId(100);
const VIDEO_SSRC: u32 = 0x1111;
const AUDIO_SSRC: u32 = 0x2222;
/// A busy machine may take long; a broken worker takes for ever.
const PATIENCE: Duration = Duration::from_secs(20);

fn config(workers: usize) -> Config {
    Config {
        workers,
        addresses: vec![Ipv4Addr::LOCALHOST.into()],
        base_port: 0,
        advertise: vec![],
        own_candidates: true,
        tcp: true,
        tick: Duration::from_millis(2),
        gso: true,
    }
}

/// One peer's way to its worker.
enum Link {
    Udp(std::net::UdpSocket),
    Tcp(TcpStream, Deframer),
}

impl Link {
    fn to(worker: &Handle, protocol: Protocol) -> Link {
        let of_protocol = |candidate: &&ice::Candidate| candidate.protocol == protocol;
        let address = worker
            .candidates()
            .iter()
            .find(of_protocol)
            .expect("a candidate")
            .address;
        let wait = Some(Duration::from_millis(1));
        match protocol {
            Protocol::Udp => {
                let socket = std::net::UdpSocket::bind((address.ip(), 0)).unwrap();
                socket.connect(address).unwrap();
                socket.set_read_timeout(wait).unwrap();
                Link::Udp(socket)
            }
            Protocol::TcpPassive => {
                let stream = TcpStream::connect(address).unwrap();
                stream.set_read_timeout(wait).unwrap();
                Link::Tcp(stream, Deframer::default())
            }
        }
    }

    fn send(&mut self, datagram: &[u8]) {
        match self {
            Link::Udp(socket) => {
                socket.send(datagram).unwrap();
            }
            Link::Tcp(stream, _) => {
                let length = u16::try_from(datagram.len()).unwrap();
                stream
                    .write_all(&[&length.to_be_bytes()[..], datagram].concat())
                    .unwrap();
            }
        }
    }

    /// What has come, after waiting at most a millisecond.
    fn receive(&mut self) -> Vec<Vec<u8>> {
        let mut buffer = vec![0; 1 << 16];
        let mut datagrams = vec![];
        match self {
            Link::Udp(socket) => {
                if let Ok(length) = socket.recv(&mut buffer) {
                    datagrams.push(buffer[..length].to_vec());
                }
            }
            Link::Tcp(stream, deframer) => {
                if let Ok(length) = stream.read(&mut buffer) {
                    let take = deframer.take(&buffer[..length], |frame| datagrams.push(frame.to_vec()));
                    take.unwrap();
                }
            }
        }
        datagrams
    }
}

struct Client {
    peer: TestPeer,
    link: Link,
    /// Media that came right behind the handshake.
    early: Vec<Plain>,
}

impl Client {
    fn new(name: &str, worker: &Handle, protocol: Protocol) -> Self {
        Client {
            peer: TestPeer::new(name),
            link: Link::to(worker, protocol),
            early: vec![],
        }
    }

    fn admission(&self) -> Admission {
        Admission {
            local: self.peer.server_credentials(),
            remote: self.peer.remote(),
        }
    }

    fn connect(&mut self) {
        let start = Instant::now();
        self.link.send(&self.peer.check());
        while !self.peer.is_connected() {
            assert!(start.elapsed() < PATIENCE, "no connection");
            self.early = self.turn();
        }
    }

    /// Sends what DTLS wants, receives what has come.
    fn turn(&mut self) -> Vec<Plain> {
        self.handshake();
        let mut plain = std::mem::take(&mut self.early);
        for datagram in self.link.receive() {
            plain.extend(self.peer.receive(datagram));
            // the server's last flight makes the keys for what follows it
            self.handshake();
        }
        plain
    }

    fn handshake(&mut self) {
        for datagram in self.peer.step() {
            self.link.send(&datagram);
        }
    }
}

fn receive_parameters() -> ReceiveParameters {
    let track = |mid: &str, codec, payload_type, ssrc| ReceiveTrack {
        mid: mid.into(),
        codec,
        payload_type,
        rtx_payload_type: None,
        extensions: ExtensionMap::default(),
        feedback: Feedback {
            nack: true,
            pli: true,
            ..Feedback::default()
        },
        rids: vec![],
        ssrcs: vec![(ssrc, None)],
    };
    ReceiveParameters {
        audio: Some(track("0", Codec::Opus, 111, AUDIO_SSRC)),
        video: Some(track("1", Codec::Vp8, 96, VIDEO_SSRC)),
    }
}

fn send_parameters(ssrc: u32) -> SendParameters {
    let track = |kind, mid: &str, codec, payload_type, ssrc| SendTrack {
        kind,
        mid: mid.into(),
        codecs: vec![SendCodec {
            codec,
            payload_type,
            rtx_payload_type: None,
        }],
        extensions: ExtensionMap::default(),
        feedback: Feedback {
            nack: true,
            pli: true,
            ..Feedback::default()
        },
        ssrc,
        rtx_ssrc: ssrc + 1,
    };
    SendParameters {
        slots: vec![SendSlot {
            audio: Some(track(MediaKind::Audio, "0", Codec::Opus, 109, ssrc)),
            video: Some(track(MediaKind::Video, "1", Codec::Vp8, 120, ssrc + 10)),
        }],
        cname: "room".into(),
    }
}

fn sources(worker: usize) -> Arc<[SourceInfo]> {
    let info = SourceInfo {
        id: SOURCE,
        seat: SeatIndex(0),
        kind: SourceKind::Camera,
        user: "host".into(),
        worker,
        audio: Some(Codec::Opus),
        video: Some(Codec::Vp8),
        layers: 1,
        permission: Permission {
            audio: true,
            video: true,
        },
        connected: true,
    };
    Arc::new([info])
}

/// A publisher that answers keyframe requests with its next frame.
struct Publisher {
    client: Client,
    frame: u32,
    sequence: u64,
    keyframes_asked: usize,
    next_is_key: bool,
}

const PACKETS_PER_FRAME: u8 = 5;

impl Publisher {
    /// One frame of five packets, and an audio packet.
    fn publish(&mut self) {
        for plain in self.client.turn() {
            if let Plain::Rtcp(compound) = plain
                && contains_pli(&compound)
            {
                self.keyframes_asked += 1;
                self.next_is_key = true;
            }
        }
        let timestamp = self.frame * 3000;
        for number in 0..PACKETS_PER_FRAME {
            let start = number == 0;
            let mut payload = vec![if start { 0x10 } else { 0x00 }];
            if start && self.next_is_key {
                payload.extend([0x50, 0, 0, 0x9d, 0x01, 0x2a, 0x80, 0x02, 0x68, 0x01]);
            } else {
                payload.extend([0x51, 0, 0]);
            }
            payload.extend([number; 1000]);
            payload.extend(self.frame.to_be_bytes());
            let marker = number + 1 == PACKETS_PER_FRAME;
            let packet = self
                .client
                .peer
                .rtp(96, marker, self.sequence, timestamp, VIDEO_SSRC, &payload);
            self.client.link.send(&packet);
            self.sequence += 1;
        }
        let audio = self.frame.to_be_bytes();
        let packet = self
            .client
            .peer
            .rtp(111, false, u64::from(self.frame), self.frame * 960, AUDIO_SSRC, &audio);
        self.client.link.send(&packet);
        self.frame += 1;
        self.next_is_key = false;
    }
}

/// RFC 4585 6.3.1: payload-specific feedback, format 1.
fn contains_pli(compound: &[u8]) -> bool {
    let mut rest = compound;
    while let [first, kind, high, low, ..] = *rest {
        if (first & 0x1f, kind) == (1, 206) {
            return true;
        }
        let length = (usize::from(u16::from_be_bytes([high, low])) + 1) * 4;
        rest = rest.get(length..).unwrap_or_default();
    }
    false
}

struct Seen {
    /// (sequence number, is the first packet of a keyframe, frame)
    video: Vec<(u16, bool, u32)>,
    audio: usize,
}

fn look(plain: Vec<Plain>, ssrc: u32, seen: &mut Seen) {
    for plain in plain {
        let Plain::Rtp(packet) = plain else { continue };
        let sender = u32::from_be_bytes(packet[8..12].try_into().unwrap());
        let extension = if packet[0] & 0x10 != 0 {
            4 + 4 * usize::from(u16::from_be_bytes([packet[14], packet[15]]))
        } else {
            0
        };
        let payload = &packet[12 + extension..];
        if sender == ssrc {
            assert_eq!(packet[1] & 0x7f, 109);
            seen.audio += 1;
        } else {
            assert_eq!((sender, packet[1] & 0x7f), (ssrc + 10, 120));
            let frame = u32::from_be_bytes(payload[payload.len() - 4..].try_into().unwrap());
            // the start code of a VP8 keyframe (RFC 6386 9.1)
            let key = payload.windows(3).any(|window| window == [0x9d, 0x01, 0x2a]);
            let sequence = u16::from_be_bytes([packet[2], packet[3]]);
            seen.video.push((sequence, key, frame));
        }
    }
}

fn next_event(events: &mut mpsc::Receiver<Event>) -> Event {
    let start = Instant::now();
    loop {
        if let Ok(event) = events.try_recv() {
            return event;
        }
        assert!(start.elapsed() < PATIENCE, "no event");
        std::thread::yield_now();
    }
}

fn wait_for(receiver: &mut oneshot::Receiver<()>) {
    let start = Instant::now();
    while receiver.try_recv().is_err() {
        assert!(start.elapsed() < PATIENCE, "no acknowledgement");
        std::thread::yield_now();
    }
}

struct Stage {
    handles: Vec<Handle>,
    events: mpsc::Receiver<Event>,
    publisher: Publisher,
}

impl Stage {
    fn new(config: Config) -> Self {
        let dtls = Arc::new(dtls::Context::new().unwrap());
        let (handles, mut events) = spawn(config, dtls).unwrap();
        let mut client = Client::new("host", &handles[0], Protocol::Udp);
        handles[0].send(Command::Publish {
            peer: HOST,
            room: ROOM,
            source: SOURCE,
            transport: client.admission(),
            media: receive_parameters(),
            permission: Permission {
                audio: true,
                video: true,
            },
        });
        client.connect();
        assert!(matches!(next_event(&mut events), Event::Connected { peer: HOST }));
        for handle in &handles {
            handle.send(Command::Sources {
                room: ROOM,
                sources: sources(0),
            });
        }
        let publisher = Publisher {
            client,
            frame: 0,
            sequence: 1,
            keyframes_asked: 0,
            next_is_key: true,
        };
        Stage {
            handles,
            events,
            publisher,
        }
    }

    fn view(&mut self, peer: PeerId, worker: usize, protocol: Protocol) -> (Client, u32) {
        let mut client = Client::new(&format!("viewer{}", peer.0), &self.handles[worker], protocol);
        let ssrc = 0x5000 + peer.0 as u32 * 100;
        self.handles[worker].send(Command::View {
            peer,
            room: ROOM,
            transport: client.admission(),
            media: send_parameters(ssrc),
            view: View::Program { leave_out: None },
        });
        client.connect();
        (client, ssrc)
    }

    /// Publishes until the viewer has seen `packets` of video.
    fn watch(&mut self, viewer: &mut Client, ssrc: u32, packets: usize) -> Seen {
        let mut seen = Seen {
            video: vec![],
            audio: 0,
        };
        let start = Instant::now();
        while seen.video.len() < packets {
            assert!(
                start.elapsed() < PATIENCE,
                "{} packets, {} audio",
                seen.video.len(),
                seen.audio
            );
            self.publisher.publish();
            look(viewer.turn(), ssrc, &mut seen);
            loop {
                let plain = viewer.turn();
                if plain.is_empty() {
                    break;
                }
                look(plain, ssrc, &mut seen);
            }
        }
        seen
    }

    fn stop(mut self) {
        for handle in &self.handles {
            handle.send(Command::Stop);
        }
        let start = Instant::now();
        loop {
            match self.events.try_recv() {
                Err(mpsc::error::TryRecvError::Disconnected) => break,
                _ => assert!(start.elapsed() < PATIENCE, "a worker does not stop"),
            }
            std::thread::yield_now();
        }
        while !self.publisher.client.peer.is_closed() {
            assert!(start.elapsed() < PATIENCE, "no close_notify");
            self.publisher.client.turn();
        }
    }
}

fn assert_whole(seen: &Seen) {
    assert!(seen.video[0].1, "video starts with a keyframe: {:?}", &seen.video[..3]);
    for pair in seen.video.windows(2) {
        assert_eq!(pair[0].0.wrapping_add(1), pair[1].0, "sequence numbers without a gap");
        assert!(pair[1].2 - pair[0].2 <= 1, "no frame is left out");
    }
    assert!(seen.audio > 0);
}

fn publish_and_watch(workers: usize, protocol: Protocol) {
    let mut stage = Stage::new(config(workers));
    stage.publisher.publish();
    let (mut viewer, ssrc) = stage.view(PeerId(1), workers - 1, protocol);
    let seen = stage.watch(&mut viewer, ssrc, 300);
    assert_whole(&seen);
    let metrics = stage.handles[workers - 1].metrics().clone();
    assert_eq!(metrics.viewers.value(), 1);
    assert!(metrics.packets_out.value() >= 300);
    assert!(metrics.forward_latency.counts().sum::<u64>() >= 300);
    assert_eq!(
        (metrics.dropped_send_blocked.value(), metrics.dropped_send_error.value()),
        (0, 0)
    );
    if workers > 1 {
        assert!(stage.handles[0].metrics().lane_packets.value() >= 300);
        assert_eq!(stage.handles[0].metrics().dropped_lane_full.value(), 0);
    }

    let (done, mut closed) = oneshot::channel();
    stage.handles[workers - 1].send(Command::Close {
        peer: PeerId(1),
        done: Some(done),
    });
    wait_for(&mut closed);
    assert_eq!(metrics.viewers.value(), 0);
    let sent = metrics.packets_out.value();
    let start = Instant::now();
    while !viewer.peer.is_closed() {
        assert!(start.elapsed() < PATIENCE, "no close_notify");
        viewer.turn();
    }
    for _ in 0..10 {
        stage.publisher.publish();
    }
    if workers > 1 {
        assert_eq!(metrics.packets_out.value(), sent, "nobody is left on this worker");
    }
    stage.stop();
}

#[test]
fn handles_may_be_shared_among_tasks() {
    fn shared<T: Send + Sync + Clone>() {}
    shared::<Handle>();
}

#[test]
fn one_worker_forwards() {
    publish_and_watch(1, Protocol::Udp);
}

#[test]
fn two_workers_forward_over_their_lane() {
    publish_and_watch(2, Protocol::Udp);
}

#[test]
fn tcp_viewers_are_served() {
    publish_and_watch(2, Protocol::TcpPassive);
}

#[test]
fn a_tcp_viewer_that_does_not_read_goes_on_at_a_keyframe() {
    let mut stage = Stage::new(config(1));
    let (mut viewer, ssrc) = stage.view(PeerId(1), 0, Protocol::TcpPassive);
    assert_whole(&stage.watch(&mut viewer, ssrc, 20));
    let metrics = stage.handles[0].metrics().clone();
    let start = Instant::now();
    while metrics.dropped_send_blocked.value() == 0 {
        assert!(start.elapsed() < PATIENCE, "the queue has a bound");
        stage.publisher.publish();
    }
    for _ in 0..50 {
        stage.publisher.publish();
    }
    assert!(
        metrics.dropped_send_blocked.value() < 50,
        "what cannot be sent is not made"
    );
    let gap = |seen: &Seen| {
        let continues = |pair: &[(u16, bool, u32)]| pair[0].0.wrapping_add(1) == pair[1].0 && !pair[1].1;
        seen.video.windows(2).position(|pair| !continues(pair))
    };
    let mut seen = Seen {
        video: vec![],
        audio: 0,
    };
    while gap(&seen).is_none() {
        assert!(
            start.elapsed() < PATIENCE,
            "{} packets and no new start",
            seen.video.len()
        );
        let plain = viewer.turn();
        if plain.is_empty() {
            stage.publisher.publish();
        }
        look(plain, ssrc, &mut seen);
    }
    let next = gap(&seen).and_then(|before| seen.video.get(before + 1));
    assert!(
        next.is_some_and(|packet| packet.1),
        "the first packet behind the gap starts a keyframe"
    );
    assert_eq!(metrics.viewers.value(), 1);
    stage.stop();
}

#[test]
fn the_second_viewer_of_another_worker_starts_from_the_ring() {
    let mut stage = Stage::new(config(2));
    let (mut first, ssrc) = stage.view(PeerId(1), 0, Protocol::Udp);
    assert_whole(&stage.watch(&mut first, ssrc, 20));
    let asked = stage.publisher.keyframes_asked;
    let (mut second, ssrc) = stage.view(PeerId(2), 1, Protocol::Udp);
    assert_whole(&stage.watch(&mut second, ssrc, 100));
    assert_eq!(stage.publisher.keyframes_asked, asked, "the owner's ring was replayed");
    stage.stop();
}

#[test]
fn what_is_forbidden_does_not_flow_and_what_is_closed_is_gone() {
    let mut stage = Stage::new(config(1));
    let (mut viewer, ssrc) = stage.view(PeerId(1), 0, Protocol::Udp);
    assert_whole(&stage.watch(&mut viewer, ssrc, 50));
    let (done, mut permitted) = oneshot::channel();
    stage.handles[0].send(Command::Permit {
        peer: HOST,
        permission: Permission {
            audio: true,
            video: false,
        },
        done: Some(done),
    });
    wait_for(&mut permitted);
    // what was sent before the acknowledgement
    let mut seen = Seen {
        video: vec![],
        audio: 0,
    };
    while !viewer.link.receive().is_empty() {}
    let start = Instant::now();
    while seen.audio < 20 {
        assert!(start.elapsed() < PATIENCE, "no audio");
        stage.publisher.publish();
        look(viewer.turn(), ssrc, &mut seen);
    }
    assert_eq!(seen.video, []);

    viewer.peer.close();
    loop {
        viewer.turn();
        assert!(start.elapsed() < PATIENCE, "no event");
        match stage.events.try_recv() {
            Ok(Event::Closed { peer, reason }) => {
                assert_eq!((peer, reason), (PeerId(1), CloseReason::PeerClosed));
                break;
            }
            _ => std::thread::yield_now(),
        }
    }
    let (done, mut unknown) = oneshot::channel();
    stage.handles[0].send(Command::Close {
        peer: PeerId(77),
        done: Some(done),
    });
    wait_for(&mut unknown);
    stage.stop();
}

#[test]
fn media_follows_a_viewer_whose_port_changes() {
    let mut stage = Stage::new(config(1));
    let (mut viewer, ssrc) = stage.view(PeerId(1), 0, Protocol::Udp);
    assert_whole(&stage.watch(&mut viewer, ssrc, 50));
    let here = Link::to(&stage.handles[0], Protocol::Udp);
    let mut before = std::mem::replace(&mut viewer.link, here);
    let check = viewer.peer.check();
    viewer.link.send(&check);
    let seen = stage.watch(&mut viewer, ssrc, 50);
    let continues = |pair: &[(u16, bool, u32)]| pair[0].0.wrapping_add(1) == pair[1].0;
    assert!(seen.video.windows(2).all(continues), "{:?}", seen.video);
    while !before.receive().is_empty() {}
    stage.watch(&mut viewer, ssrc, 20);
    assert!(before.receive().is_empty(), "one check was enough");
    assert_eq!(stage.handles[0].metrics().viewers.value(), 1);
    stage.stop();
}

#[test]
fn peers_with_ipv6_are_served() {
    if std::net::UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
        return;
    }
    let mut stage = Stage::new(Config {
        addresses: vec![Ipv6Addr::LOCALHOST.into()],
        ..config(2)
    });
    for (id, protocol) in [(1, Protocol::Udp), (2, Protocol::TcpPassive)] {
        let (mut viewer, ssrc) = stage.view(PeerId(id), 1, protocol);
        assert_whole(&stage.watch(&mut viewer, ssrc, 50));
    }
    stage.stop();
}

#[test]
fn datagrams_of_strangers_are_counted_and_dropped() {
    let dtls = Arc::new(dtls::Context::new().unwrap());
    let (handles, _events) = spawn(config(1), dtls).unwrap();
    let mut stranger = Client::new("stranger", &handles[0], Protocol::Udp);
    let check = stranger.peer.check();
    stranger.link.send(&check);
    stranger.link.send(&[0x80; 40]);
    stranger.link.send(&[22; 40]);
    stranger.link.send(&[0; 3]);
    let start = Instant::now();
    while handles[0].metrics().dropped_unknown_path.value() < 4 {
        assert!(start.elapsed() < PATIENCE);
        std::thread::yield_now();
    }
    assert_eq!(handles[0].metrics().packets_out.value(), 0);
    handles[0].send(Command::Stop);
}

#[test]
fn all_sockets_of_a_worker_share_one_port() {
    let mut two = config(2);
    two.addresses.push("::1".parse().unwrap());
    two.addresses.push(Ipv4Addr::LOCALHOST.into());
    let Ok((handles, _events)) = spawn(two, Arc::new(dtls::Context::new().unwrap())) else {
        // a host without IPv6
        return;
    };
    for handle in &handles {
        let ports: Vec<u16> = handle
            .candidates()
            .iter()
            .map(|candidate| candidate.address.port())
            .collect();
        assert_eq!(ports.len(), 4);
        assert!(ports.iter().all(|port| *port == ports[0] && *port != 0));
        handle.send(Command::Stop);
    }
    assert!(spawn(config(0), Arc::new(dtls::Context::new().unwrap())).is_err());
}

mod demultiplexing {
    use super::super::peers::{Media, Peer, Peers};
    use super::*;
    use crate::forward::Viewer;
    use crate::transport::{Path, Transport};

    fn path(port: u16) -> Path {
        Path {
            socket: 0,
            remote: (Ipv4Addr::LOCALHOST, port).into(),
        }
    }

    fn add(peers: &mut Peers, id: u64, test: &TestPeer) -> usize {
        let now = Instant::now();
        let dtls = dtls::Context::new().unwrap();
        let local = test.server_credentials();
        let transport = Transport::new(&dtls, local.clone(), test.remote(), now);
        let viewer = Viewer::new(send_parameters(1), View::Program { leave_out: None }, 1, now);
        peers.insert(
            Peer::new(PeerId(id), ROOM, transport, Media::Viewer(viewer), now),
            local.ufrag,
        )
    }

    #[test]
    fn checks_go_by_name_and_media_by_path() {
        let mut peers = Peers::default();
        let (one, other) = (TestPeer::new("one"), TestPeer::new("other"));
        let (first, second) = (add(&mut peers, 1, &one), add(&mut peers, 2, &other));
        assert_eq!(peers.route(&one.check(), path(1)), Some(first));
        assert_eq!(peers.route(&[0x80; 20], path(1)), None);
        peers.add_path(first, path(1));
        assert_eq!(peers.route(&[0x80; 20], path(1)), Some(first));
        // the address changes hands: a check names its peer, and then the path is its
        assert_eq!(peers.route(&other.check(), path(1)), Some(second));
        peers.add_path(second, path(1));
        peers.forget_path(first, path(1));
        assert_eq!(peers.route(&[0x80; 20], path(1)), Some(second));
        peers.remove(first);
        assert_eq!(peers.route(&[0x80; 20], path(1)), Some(second));
        assert_eq!(peers.route(&one.check(), path(2)), None);
        assert_eq!(peers.index_of(PeerId(1)), None);
        peers.remove(second);
        assert_eq!(peers.route(&[0x80; 20], path(1)), None);
        assert_eq!(peers.indices().count(), 0);
    }

    #[test]
    fn a_restart_keeps_the_old_name_until_the_next() {
        let mut peers = Peers::default();
        let test = TestPeer::new("one");
        let index = add(&mut peers, 1, &test);
        peers.add_ufrag(index, "second".into());
        assert_eq!(peers.route(&test.check(), path(1)), Some(index));
        peers.add_ufrag(index, "third".into());
        assert_eq!(peers.route(&test.check(), path(1)), None);
    }
}
