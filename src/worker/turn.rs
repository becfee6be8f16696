//! The loop of one worker: wait, read, decide, send. It moves bytes between the sockets and the [`Core`].

use super::core::Core;
use super::outbox::Outbox;
use super::poll::{Poll, Ready, Waker};
use super::socket::{RECEIVE_BATCH, SendReport, UdpSocket};
use super::tcp::{Queued, TCP_SOCKET, Tcp};
use crate::telemetry::WorkerMetrics;
use crate::transport::Path;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Batches read from one socket per turn: 256 datagrams are about 2 ms of work, then others have their turn.
const BATCHES_PER_TURN: usize = 4;

/// Tokens of the poll. UDP sockets have their index, TCP connections their socket id (with [`TCP_SOCKET`] set).
const LISTENERS: u64 = 1 << 32;
const WAKER: u64 = u64::MAX;

pub(super) struct Worker {
    io: Io,
    core: Core,
    poll: Poll,
    waker: Arc<Waker>,
    ready: Vec<Ready>,
    /// There is more to do than one turn takes.
    again: bool,
}

/// The sockets.
struct Io {
    udp: Vec<UdpSocket>,
    tcp: Tcp,
    report: SendReport,
    /// Connections that were given something since the last write.
    written: Vec<u32>,
    /// Viewers whose datagrams met a full queue: UDP, TCP.
    blocked_udp: Vec<usize>,
    blocked_tcp: Vec<usize>,
}

impl Worker {
    pub fn new(
        core: Core,
        udp: Vec<UdpSocket>,
        listeners: Vec<TcpListener>,
        waker: Arc<Waker>,
    ) -> std::io::Result<Self> {
        let poll = Poll::new()?;
        for (index, socket) in udp.iter().enumerate() {
            poll.add(socket.fd(), index as u64)?;
        }
        let tcp = Tcp::new(listeners);
        tcp.register(&poll, listener_token)?;
        poll.add(waker.fd(), WAKER)?;
        Ok(Worker {
            io: Io {
                udp,
                tcp,
                report: SendReport::default(),
                written: Vec::new(),
                blocked_udp: Vec::new(),
                blocked_tcp: Vec::new(),
            },
            core,
            poll,
            waker,
            ready: Vec::new(),
            again: false,
        })
    }

    pub fn run(mut self) {
        while !self.core.stopping {
            self.turn();
        }
    }

    fn turn(&mut self) {
        let timeout = self.timeout();
        self.poll.wait(timeout, &mut self.ready);
        let now = Instant::now();
        let metrics = self.core.reports.metrics.clone();
        metrics.turns.add(1);
        for index in std::mem::take(&mut self.core.reopening) {
            self.core.unblock(index, now);
        }
        if self.ready.iter().any(|ready| ready.token == WAKER) {
            self.waker.reset();
        }
        self.again = self.core.take_messages(now);
        self.receive(&metrics, now);
        self.io.tcp.handle_timeout(&self.poll, listener_token, &metrics, now);
        for index in self.io.tcp.drained() {
            self.core.unblock(index, now);
        }
        for path in self.io.tcp.lost() {
            self.core.path_lost(path);
        }
        self.core.handle_timeouts(now);
        self.core.conclude(now);
        // before the long part: the others can begin with theirs
        self.core.wake_neighbours();
        self.io.send(&mut self.core.outbox, &self.poll, &metrics);
        let Worker { io, core, poll, .. } = self;
        core.forward(now, |outbox| io.send(outbox, poll, &metrics));
        self.core.conclude(now);
        self.io.send(&mut self.core.outbox, &self.poll, &metrics);
        self.after_sending(now);
        self.core.wake_neighbours();
        for ack in self.core.acks.drain(..) {
            let _caller_gone = ack.send(());
        }
        self.core.reports.events.flush();
    }

    fn timeout(&self) -> Option<Duration> {
        if self.again || self.core.has_rest() || !self.core.reopening.is_empty() || self.io.tcp.has_news() {
            return Some(Duration::ZERO);
        }
        let deadlines = self.core.poll_timeout().into_iter().chain(self.io.tcp.poll_timeout());
        let soonest = deadlines.min();
        let wait = soonest.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        wait.into_iter().chain(self.core.event_retry()).min()
    }

    fn receive(&mut self, metrics: &WorkerMetrics, now: Instant) {
        let Worker {
            io, core, poll, ready, ..
        } = self;
        for ready in ready.iter() {
            match *ready {
                Ready { token: WAKER, .. } => {}
                Ready { token, .. } if token & LISTENERS != 0 => {
                    io.tcp.accept((token & !LISTENERS) as usize, poll, metrics, now);
                }
                Ready {
                    token,
                    readable,
                    writable,
                } if token & u64::from(TCP_SOCKET) != 0 => {
                    let id = token as u32;
                    if writable {
                        io.tcp.write(id, poll);
                    }
                    if readable {
                        io.tcp
                            .read(id, metrics, |frame, path| core.handle_datagram(frame, path, now, now));
                    }
                }
                Ready { token, .. } => {
                    let Some(socket) = io.udp.get_mut(token as usize) else {
                        continue;
                    };
                    receive_udp(socket, token as u32, core, now);
                }
            }
        }
    }

    /// What the sockets reported back, and connections to open and close.
    fn after_sending(&mut self, now: Instant) {
        for index in self.io.blocked_udp.drain(..) {
            self.core.block(index, now);
            self.core.reopening.push(index);
        }
        for index in self.io.blocked_tcp.drain(..) {
            self.core.block(index, now);
        }
        for id in self.core.proven.drain(..) {
            self.io.tcp.prove(id);
        }
        for id in self.core.abandoned.drain(..) {
            self.io.tcp.close(id);
        }
    }
}

fn listener_token(index: usize) -> u64 {
    LISTENERS | index as u64
}

fn receive_udp(socket: &mut UdpSocket, id: u32, core: &mut Core, now: Instant) {
    for _ in 0..BATCHES_PER_TURN {
        let mut taken = 0;
        let count = socket.receive(now, |datagram, remote, arrived| {
            taken += 1;
            core.handle_datagram(datagram, Path { socket: id, remote }, arrived, now);
        });
        let too_long = (count - taken) as u64;
        core.reports.metrics.dropped_malformed.add(too_long);
        if count < RECEIVE_BATCH {
            return;
        }
    }
}

impl Io {
    /// Sends everything in the outbox and empties it.
    fn send(&mut self, outbox: &mut Outbox, poll: &Poll, metrics: &WorkerMetrics) {
        if outbox.is_empty() {
            return;
        }
        self.report.clear();
        for (id, socket) in self.udp.iter_mut().enumerate() {
            let runs = outbox.runs().iter().enumerate();
            let mut runs = runs.filter(|(_, run)| run.path.socket as usize == id).peekable();
            if runs.peek().is_some() {
                let batch = &outbox.batch;
                socket.send(&batch.bytes, &batch.datagrams, runs, &mut self.report);
            }
        }
        self.send_tcp(outbox, poll);
        let report = &self.report;
        metrics.packets_out.add(report.datagrams);
        metrics.bytes_out.add(report.bytes);
        metrics.send_calls.add(report.calls);
        metrics.dropped_send_blocked.add(report.blocked);
        metrics.dropped_send_error.add(report.errors);
        let blocked = report
            .blocked_runs
            .iter()
            .filter_map(|run| outbox.runs().get(*run)?.peer);
        self.blocked_udp.extend(blocked);
        // read again: what counts is when the packets have left
        let sent = Instant::now();
        for &(arrival, times) in outbox.arrivals() {
            metrics
                .forward_latency
                .observe(sent.saturating_duration_since(arrival), times);
        }
        outbox.clear();
    }

    fn send_tcp(&mut self, outbox: &Outbox, poll: &Poll) {
        for run in outbox.runs().iter().filter(|run| run.path.socket & TCP_SOCKET != 0) {
            let id = run.path.socket;
            for (number, datagram) in outbox.datagrams(run).enumerate() {
                match self.tcp.queue(id, datagram, run.peer) {
                    Queued::Taken => {
                        self.report.datagrams += 1;
                        self.report.bytes += datagram.len() as u64;
                    }
                    Queued::Full => {
                        // a smaller one behind it might fit, but nothing of it could be used
                        self.report.blocked += (run.last - run.first - number) as u64;
                        self.blocked_tcp.extend(run.peer);
                        break;
                    }
                    Queued::Gone => self.report.errors += 1,
                }
            }
            if !self.written.contains(&id) {
                self.written.push(id);
            }
        }
        for id in self.written.drain(..) {
            self.report.calls += 1;
            self.tcp.write(id, poll);
        }
    }
}
