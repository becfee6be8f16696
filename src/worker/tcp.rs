//! ICE-TCP (RFC 6544, passive side): listeners and connections, datagrams framed by RFC 4571.

use super::poll::Poll;
use super::socket::DATAGRAM_MAX;
use crate::telemetry::WorkerMetrics;
use crate::transport::Path;
use socket2::{Domain, SockRef, Socket, Type};
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// Socket ids of connections carry this bit, those of UDP sockets do not.
pub(super) const TCP_SOCKET: u32 = 1 << 31;
/// Bytes that may wait for a slow receiver: one second at 2 Mbit/s. When full, its media stops until half is gone and
/// goes on at a keyframe.
const WRITE_MAX: usize = 256 << 10;
/// A buffer that grew beyond this is given back once it is empty.
const WRITE_KEEP: usize = 16 << 10;
/// Connections without a successful connectivity check. A check follows within a round trip, so more are not clients of
/// ours; the oldest makes room.
const UNPROVEN_MAX: usize = 128;
const UNPROVEN_TIME: Duration = Duration::from_secs(10);
/// What is remembered of unproven connections and of those that were: to drop the latter then costs one look for each
/// connection admitted since.
const PROOFS_MAX: usize = 2 * UNPROVEN_MAX;
/// All connections of one worker; further ones are refused. Far above what one core can serve.
const CONNECTIONS_MAX: usize = 8192;
/// Accepted and read per turn, so that one listener or connection cannot hold up the others.
const ACCEPTS_PER_TURN: usize = 32;
const READS_PER_TURN: usize = 4;
/// Out of descriptors: how long no connection is accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// One `read`.
const READ_BYTES: usize = 16 << 10;

/// Cuts a byte stream into frames: a 16-bit length, then as many bytes.
#[derive(Debug, Default)]
pub(super) struct Deframer {
    /// An incomplete frame with its length in front: at most `2 + DATAGRAM_MAX` bytes.
    partial: Vec<u8>,
}

/// A frame longer than any datagram of WebRTC: the stream is not ours.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct FrameTooLong(pub usize);

impl Deframer {
    /// Takes bytes as they come; hands each complete, non-empty frame to `each`.
    pub fn take(&mut self, mut bytes: &[u8], mut each: impl FnMut(&mut [u8])) -> Result<(), FrameTooLong> {
        while !bytes.is_empty() {
            let wanted = match self.partial.first_chunk() {
                None => 2,
                Some(length) => 2 + usize::from(u16::from_be_bytes(*length)),
            };
            let missing = wanted.saturating_sub(self.partial.len()).min(bytes.len());
            let (now, later) = bytes.split_at(missing);
            self.partial.extend_from_slice(now);
            bytes = later;
            let Some(length) = self.partial.first_chunk() else {
                continue;
            };
            let length = usize::from(u16::from_be_bytes(*length));
            if length > DATAGRAM_MAX {
                return Err(FrameTooLong(length));
            }
            if self.partial.len() == 2 + length {
                if let Some(frame) = self.partial.get_mut(2..).filter(|frame| !frame.is_empty()) {
                    each(frame);
                }
                self.partial.clear();
            }
        }
        Ok(())
    }
}

/// Framed bytes that wait for the receiver.
#[derive(Debug, Default)]
pub(super) struct WriteBuffer {
    bytes: Vec<u8>,
    /// Bytes already written from the front.
    written: usize,
}

impl WriteBuffer {
    pub fn len(&self) -> usize {
        self.bytes.len() - self.written
    }

    /// `false`: no room, nothing was taken.
    pub fn push(&mut self, datagram: &[u8]) -> bool {
        let Ok(length) = u16::try_from(datagram.len()) else {
            return false;
        };
        if self.len() + 2 + datagram.len() > WRITE_MAX {
            return false;
        }
        if self.written > WRITE_MAX / 2 {
            self.bytes.drain(..self.written);
            self.written = 0;
        }
        self.bytes.extend_from_slice(&length.to_be_bytes());
        self.bytes.extend_from_slice(datagram);
        true
    }

    /// Writes until the receiver takes no more.
    pub fn write_to(&mut self, stream: &mut impl Write) -> io::Result<()> {
        while let Some(rest) = self.bytes.get(self.written..).filter(|rest| !rest.is_empty()) {
            match stream.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => self.written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.bytes.clear();
        self.bytes.shrink_to(WRITE_KEEP);
        self.written = 0;
        Ok(())
    }
}

struct Connection {
    stream: TcpStream,
    remote: SocketAddr,
    deframer: Deframer,
    out: WriteBuffer,
    /// The poll watches for room to write.
    watched: bool,
    /// Closed at this time unless a connectivity check succeeds.
    proof_until: Option<Instant>,
    /// The peer (index in the peer table) whose media overflowed and waits until half of the buffer is gone.
    blocked: Option<usize>,
}

struct Listener {
    socket: TcpListener,
    paused_until: Option<Instant>,
}

/// All TCP of one worker.
pub(super) struct Tcp {
    listeners: Vec<Listener>,
    connections: BTreeMap<u32, Connection>,
    unproven: usize,
    /// When connections are closed unless they are proven, in order of admission. The front is of one that is unproven;
    /// behind it, what was proven or closed meanwhile stays until it is at the front, or there are more than
    /// [`PROOFS_MAX`].
    proofs: VecDeque<(Instant, u32)>,
    next_id: u32,
    buffer: Box<[u8]>,
    /// Peers whose buffers have drained: their media may go on.
    drained: Vec<usize>,
    /// Paths of connections that are gone.
    lost: Vec<Path>,
}

/// What became of datagrams for a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Queued {
    Taken,
    /// No room: dropped.
    Full,
    /// The connection is gone: dropped.
    Gone,
}

pub(super) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    // a restart must not wait for the old connections' TIME_WAIT
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(128)?;
    Ok(socket.into())
}

impl Tcp {
    pub fn new(listeners: Vec<TcpListener>) -> Self {
        let listeners = listeners
            .into_iter()
            .map(|socket| Listener {
                socket,
                paused_until: None,
            })
            .collect();
        Tcp {
            listeners,
            connections: BTreeMap::new(),
            unproven: 0,
            proofs: VecDeque::new(),
            next_id: 0,
            buffer: vec![0; READ_BYTES].into(),
            drained: Vec::new(),
            lost: Vec::new(),
        }
    }

    /// Listeners are watched under `token(index)`, connections under their socket id.
    pub fn register(&self, poll: &Poll, token: impl Fn(usize) -> u64) -> io::Result<()> {
        for (index, listener) in self.listeners.iter().enumerate() {
            poll.add(listener.socket.as_fd(), token(index))?;
        }
        Ok(())
    }

    pub fn accept(&mut self, index: usize, poll: &Poll, metrics: &WorkerMetrics, now: Instant) {
        for _ in 0..ACCEPTS_PER_TURN {
            let Some(listener) = self.listeners.get_mut(index) else {
                return;
            };
            match listener.socket.accept() {
                Ok((stream, remote)) => self.admit(stream, remote, poll, metrics, now),
                Err(error) => match error.raw_os_error() {
                    Some(libc::EAGAIN) => return,
                    Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::ENOBUFS) => {
                        // the listener stays readable: without a pause the loop would spin
                        let _ = poll.remove(listener.socket.as_fd());
                        listener.paused_until = Some(now + ACCEPT_PAUSE);
                        return;
                    }
                    // the client gave up in between
                    _ => {}
                },
            }
        }
    }

    fn admit(&mut self, stream: TcpStream, remote: SocketAddr, poll: &Poll, metrics: &WorkerMetrics, now: Instant) {
        if self.connections.len() >= CONNECTIONS_MAX {
            metrics.tcp_refused.add(1);
            return;
        }
        if self.unproven >= UNPROVEN_MAX {
            // the oldest
            if let Some(&(_, id)) = self.proofs.front() {
                metrics.tcp_refused.add(1);
                self.close(id);
            }
        }
        let id = TCP_SOCKET | self.next_id;
        let ready = stream.set_nonblocking(true).is_ok()
            && stream.set_nodelay(true).is_ok()
            && !self.connections.contains_key(&id)
            && poll.add(stream.as_fd(), u64::from(id)).is_ok();
        self.next_id = (self.next_id + 1) & !TCP_SOCKET;
        if !ready {
            metrics.tcp_refused.add(1);
            return;
        }
        // what the kernel holds beyond our own bound is only delay
        let _ = SockRef::from(&stream).set_send_buffer_size(WRITE_MAX);
        self.unproven += 1;
        let proof_until = now + UNPROVEN_TIME;
        self.connections.insert(
            id,
            Connection {
                stream,
                remote,
                deframer: Deframer::default(),
                out: WriteBuffer::default(),
                watched: false,
                proof_until: Some(proof_until),
                blocked: None,
            },
        );
        self.proofs.push_back((proof_until, id));
        if self.proofs.len() > PROOFS_MAX {
            let Tcp {
                proofs, connections, ..
            } = self;
            proofs.retain(|proof| is_awaited(connections, *proof));
        }
    }

    /// Keeps the front of `proofs` the oldest unproven connection.
    fn forget_settled(&mut self) {
        while let Some(&proof) = self.proofs.front()
            && !is_awaited(&self.connections, proof)
        {
            self.proofs.pop_front();
        }
    }

    /// Open connections.
    pub fn len(&self) -> usize {
        self.connections.len()
    }

    /// Reads what is there; hands each frame to `each`. `false`: the connection is over and gone.
    pub fn read(&mut self, id: u32, metrics: &WorkerMetrics, mut each: impl FnMut(&mut [u8], Path)) -> bool {
        for _ in 0..READS_PER_TURN {
            let Some(connection) = self.connections.get_mut(&id) else {
                return false;
            };
            let path = Path {
                socket: id,
                remote: connection.remote,
            };
            let over = match connection.stream.read(&mut self.buffer) {
                Ok(0) => true,
                Ok(count) => {
                    let bytes = self.buffer.get(..count).unwrap_or_default();
                    let framed = connection.deframer.take(bytes, |frame| each(frame, path));
                    if framed.is_err() {
                        metrics.dropped_malformed.add(1);
                    }
                    framed.is_err()
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                Err(error) => error.kind() != io::ErrorKind::Interrupted,
            };
            if over {
                self.close(id);
                return false;
            }
        }
        true
    }

    /// Queues a datagram; [`write`](Self::write) sends it. `peer`: whose media it is.
    pub fn queue(&mut self, id: u32, datagram: &[u8], peer: Option<usize>) -> Queued {
        let Some(connection) = self.connections.get_mut(&id) else {
            return Queued::Gone;
        };
        if connection.out.push(datagram) {
            return Queued::Taken;
        }
        connection.blocked = connection.blocked.or(peer);
        Queued::Full
    }

    /// Writes what waits, as far as the receiver takes it. `false`: the connection is over and gone.
    pub fn write(&mut self, id: u32, poll: &Poll) -> bool {
        let Some(connection) = self.connections.get_mut(&id) else {
            return false;
        };
        if connection.out.write_to(&mut connection.stream).is_err() {
            self.close(id);
            return false;
        }
        let watch = connection.out.len() > 0;
        if watch != connection.watched {
            connection.watched = watch;
            let _ = poll.set_writable(connection.stream.as_fd(), u64::from(id), watch);
        }
        if connection.out.len() <= WRITE_MAX / 2 {
            self.drained.extend(connection.blocked.take());
        }
        true
    }

    /// A connectivity check succeeded on this connection.
    pub fn prove(&mut self, id: u32) {
        if let Some(connection) = self.connections.get_mut(&id)
            && connection.proof_until.take().is_some()
        {
            self.unproven -= 1;
            self.forget_settled();
        }
    }

    /// Closing removes the descriptor from the poll.
    pub fn close(&mut self, id: u32) {
        if let Some(connection) = self.connections.remove(&id) {
            if connection.proof_until.is_some() {
                self.unproven -= 1;
                self.forget_settled();
            }
            // without the connection nothing is blocked any more
            self.drained.extend(connection.blocked);
            self.lost.push(Path {
                socket: id,
                remote: connection.remote,
            });
        }
    }

    /// There is something in [`drained`](Self::drained) or [`lost`](Self::lost).
    pub fn has_news(&self) -> bool {
        !self.drained.is_empty() || !self.lost.is_empty()
    }

    /// Paths that ended with their connection.
    pub fn lost(&mut self) -> impl Iterator<Item = Path> + '_ {
        self.lost.drain(..)
    }

    /// Peers whose media may go on.
    pub fn drained(&mut self) -> impl Iterator<Item = usize> + '_ {
        self.drained.drain(..)
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        let pauses = self.listeners.iter().filter_map(|listener| listener.paused_until);
        let proof = self.proofs.front().map(|(until, _)| *until);
        pauses.chain(proof).min()
    }

    pub fn handle_timeout(&mut self, poll: &Poll, token: impl Fn(usize) -> u64, metrics: &WorkerMetrics, now: Instant) {
        for (index, listener) in self.listeners.iter_mut().enumerate() {
            if listener.paused_until.is_some_and(|until| until <= now) {
                listener.paused_until = match poll.add(listener.socket.as_fd(), token(index)) {
                    Ok(()) => None,
                    Err(_) => Some(now + ACCEPT_PAUSE),
                };
            }
        }
        while let Some(&(_, id)) = self.proofs.front().filter(|(until, _)| *until <= now) {
            self.close(id);
            metrics.tcp_refused.add(1);
        }
    }
}

/// Whether the connection is there and unproven. Ids are used again, so its time has to be the same.
fn is_awaited(connections: &BTreeMap<u32, Connection>, (until, id): (Instant, u32)) -> bool {
    connections
        .get(&id)
        .is_some_and(|connection| connection.proof_until == Some(until))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::Ipv4Addr;

    fn framed(datagrams: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = vec![];
        for datagram in datagrams {
            bytes.extend((datagram.len() as u16).to_be_bytes());
            bytes.extend(datagram);
        }
        bytes
    }

    proptest! {
        #[test]
        fn frames_survive_any_cutting(
            datagrams in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..20),
            pieces in proptest::collection::vec(1usize..400, 1..50),
        ) {
            let bytes = framed(&datagrams);
            let (mut deframer, mut out, mut rest) = (Deframer::default(), vec![], &bytes[..]);
            for piece in pieces.iter().cycle() {
                if rest.is_empty() { break; }
                let (now, later) = rest.split_at((*piece).min(rest.len()));
                deframer.take(now, |frame| out.push(frame.to_vec())).unwrap();
                rest = later;
            }
            let expected: Vec<_> = datagrams.into_iter().filter(|datagram| !datagram.is_empty()).collect();
            prop_assert_eq!(out, expected);
        }

        #[test]
        fn any_bytes_are_taken_or_refused_in_bounded_memory(bytes in proptest::collection::vec(any::<u8>(), 0..5000)) {
            let mut deframer = Deframer::default();
            let _ = deframer.take(&bytes, |frame| assert!(!frame.is_empty() && frame.len() <= DATAGRAM_MAX));
            prop_assert!(deframer.partial.len() <= 2 + DATAGRAM_MAX);
        }
    }

    #[test]
    fn long_frames_are_refused_before_they_are_gathered() {
        let mut deframer = Deframer::default();
        let length = (DATAGRAM_MAX as u16 + 1).to_be_bytes();
        assert_eq!(
            deframer.take(&length, |_| panic!()),
            Err(FrameTooLong(DATAGRAM_MAX + 1))
        );
    }

    /// Takes `room` bytes, then blocks.
    struct Slow {
        room: usize,
        taken: Vec<u8>,
    }

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let count = bytes.len().min(self.room).min(1000);
            if count == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            self.room -= count;
            self.taken.extend(&bytes[..count]);
            Ok(count)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_slow_receiver_bounds_the_buffer_and_loses_no_bytes_within() {
        let mut out = WriteBuffer::default();
        let mut slow = Slow { room: 0, taken: vec![] };
        let (mut expected, mut refused) = (vec![], 0);
        for index in 0..2000u32 {
            let datagram = index.to_be_bytes().repeat(250);
            if out.push(&datagram) {
                expected.extend(framed(&[datagram]));
            } else {
                refused += 1;
            }
            assert!(out.len() <= WRITE_MAX && out.bytes.len() <= 2 * WRITE_MAX);
            slow.room += 700;
            out.write_to(&mut slow).unwrap();
        }
        slow.room = usize::MAX;
        out.write_to(&mut slow).unwrap();
        assert!(refused > 0);
        assert_eq!(slow.taken, expected);
        assert_eq!(out.len(), 0);
        assert!(out.bytes.capacity() <= WRITE_KEEP);
    }

    fn setup() -> (Tcp, Poll, WorkerMetrics, SocketAddr) {
        let listener = listen((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let address = listener.local_addr().unwrap();
        let (tcp, poll) = (Tcp::new(vec![listener]), Poll::new().unwrap());
        tcp.register(&poll, |index| index as u64).unwrap();
        (tcp, poll, WorkerMetrics::default(), address)
    }

    #[test]
    fn datagrams_travel_both_ways() {
        let (mut tcp, poll, metrics, address) = setup();
        let mut client = TcpStream::connect(address).unwrap();
        tcp.accept(0, &poll, &metrics, Instant::now());
        client
            .write_all(&framed(&[b"hello".to_vec(), b"there".to_vec()]))
            .unwrap();
        let mut got = vec![];
        assert!(tcp.read(TCP_SOCKET, &metrics, |frame, path| {
            got.push((frame.to_vec(), path.remote))
        }));
        let from = client.local_addr().unwrap();
        assert_eq!(got, [(b"hello".to_vec(), from), (b"there".to_vec(), from)]);
        assert_eq!(tcp.queue(TCP_SOCKET, b"answer", None), Queued::Taken);
        assert!(tcp.write(TCP_SOCKET, &poll));
        let mut answer = [0; 8];
        client.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"\0\x06answer");
        drop(client);
        assert!(!tcp.read(TCP_SOCKET, &metrics, |_, _| {}));
        assert_eq!(tcp.queue(TCP_SOCKET, b"late", None), Queued::Gone);
        assert_eq!(tcp.len(), 0);
    }

    #[test]
    fn the_unproven_are_closed_and_the_proven_stay() {
        let (mut tcp, poll, metrics, address) = setup();
        let clients: Vec<_> = (0..2).map(|_| TcpStream::connect(address).unwrap()).collect();
        let now = Instant::now();
        tcp.accept(0, &poll, &metrics, now);
        tcp.prove(TCP_SOCKET | 1);
        assert_eq!(tcp.poll_timeout(), Some(now + UNPROVEN_TIME));
        tcp.handle_timeout(&poll, |index| index as u64, &metrics, now + UNPROVEN_TIME);
        assert_eq!(tcp.connections.keys().collect::<Vec<_>>(), [&(TCP_SOCKET | 1)]);
        assert_eq!(tcp.poll_timeout(), None);
        assert_eq!(metrics.tcp_refused.value(), 1);
        drop(clients);
    }

    #[test]
    fn a_crowd_of_unproven_makes_room_for_the_next() {
        let (mut tcp, poll, metrics, address) = setup();
        let mut clients = vec![];
        for _ in 0..=UNPROVEN_MAX {
            clients.push(TcpStream::connect(address).unwrap());
            tcp.accept(0, &poll, &metrics, Instant::now());
        }
        assert_eq!(tcp.unproven, UNPROVEN_MAX);
        assert!(!tcp.connections.contains_key(&TCP_SOCKET));
    }

    #[test]
    fn the_oldest_unproven_is_known_without_a_search() {
        let (mut tcp, poll, metrics, address) = setup();
        let start = Instant::now();
        let mut proven = vec![];
        // one stays unproven at the front while others come, are proven, or go
        for step in 0..3 * PROOFS_MAX as u32 {
            let client = TcpStream::connect(address).unwrap();
            let now = start + Duration::from_millis(step.into());
            tcp.accept(0, &poll, &metrics, now);
            match step {
                0 | 1 => proven.push(client),
                _ if step % 8 == 0 => {
                    tcp.prove(TCP_SOCKET | step);
                    proven.push(client);
                }
                _ => tcp.close(TCP_SOCKET | step),
            }
            assert!(tcp.proofs.len() <= PROOFS_MAX);
            assert_eq!(tcp.poll_timeout(), Some(start + UNPROVEN_TIME));
        }
        tcp.prove(TCP_SOCKET);
        assert_eq!(
            tcp.poll_timeout(),
            Some(start + UNPROVEN_TIME + Duration::from_millis(1))
        );
        tcp.close(TCP_SOCKET | 1);
        assert_eq!((tcp.poll_timeout(), tcp.proofs.len(), tcp.unproven), (None, 0, 0));
    }

    #[test]
    fn an_overflow_names_its_peer_until_half_is_gone() {
        let (mut tcp, poll, metrics, address) = setup();
        let mut client = TcpStream::connect(address).unwrap();
        tcp.accept(0, &poll, &metrics, Instant::now());
        while tcp.queue(TCP_SOCKET, &[0; 1200], Some(9)) == Queued::Taken {}
        assert_eq!(tcp.drained().count(), 0);
        client.set_nonblocking(true).unwrap();
        let mut sink = vec![0; 1 << 20];
        for _ in 0..100 {
            tcp.write(TCP_SOCKET, &poll);
            let _ = client.read(&mut sink);
        }
        assert_eq!(tcp.drained().collect::<Vec<_>>(), [9]);
    }
}
