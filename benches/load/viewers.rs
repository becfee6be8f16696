//! All viewers of the load, served by one thread: counts what arrives, opens a sample of it, sends the feedback browsers
//! send. Shell.
//!
//! Time base: nanoseconds since the Unix epoch for packets, `Instant` for timers. A packet's latency ends when it reaches
//! the viewer's socket (the kernel's stamp); when the loader reads it is measured beside, to show whether the loader
//! keeps up.

use crate::client::{Client, Input};
use crate::media::Stamp;
use crate::rtp::{self, Feedback, Header, Received};
use crate::sdp::Answer;
use crate::stream::{self, Arrivals, Keyframe, Stream};
use crate::sys::{self, Batch, Epoll};
use std::io::{Read, Write};
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Every so manieth packet of a viewer is decrypted: proof enough that they are authentic, at 2 % of the cost.
const SAMPLE: u64 = 50;
/// The viewers' timers are looked at this often; a viewer's feedback is due every tenth tick, in a phase of its own.
const TICK: Duration = Duration::from_millis(10);
const TICKS_PER_FEEDBACK: usize = 10;
/// Receiver reports, once a second.
const TICKS_PER_REPORT: usize = 100;
const WAKE: u64 = u64::MAX;

#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Let the kernel coalesce trains on receiving (`UDP_GRO`).
    pub gro: bool,
    /// Send transport-wide feedback every 100 ms.
    pub transport_feedback: bool,
}

/// How long a viewer had to wait, from its POST on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Joined {
    pub viewer: usize,
    /// Until the first packet of media, audio or video.
    pub first_media: Duration,
    /// Until the last packet of the first complete keyframe.
    pub keyframe: Duration,
    /// Video came before its keyframe.
    pub headless: bool,
}

/// The indices a publisher gave out while something was measured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Window {
    pub audio: Range<u64>,
    pub video: Range<u64>,
}

/// What all viewers together saw of a [`Window`].
#[derive(Clone, Debug, Default)]
pub struct Collected {
    /// Packets due to the viewers.
    pub expected: u64,
    /// Different packets that came.
    pub delivered: u64,
    /// The worst viewer's share of what was due to it.
    pub worst_share: f64,
    /// Microseconds from publisher to viewer's socket, sampled, sorted.
    pub latency_us: Vec<u32>,
    /// Microseconds from publisher to the loader's reading, sampled, sorted.
    pub read_latency_us: Vec<u32>,
    pub retransmitted: u64,
    pub duplicates: u64,
    pub forged: u64,
    /// Viewers whose transport closed.
    pub closed: u64,
}

enum Command {
    Join {
        viewer: usize,
        client: Box<Client>,
        answer: Box<Answer>,
        posted_ns: u64,
    },
    Leave {
        viewer: usize,
    },
    /// Forget samples and counters.
    Begin,
    Collect {
        window: Window,
        reply: Sender<Collected>,
    },
    Stop,
}

/// The thread with all viewers; it stops when dropped.
pub struct Viewers {
    commands: Sender<Command>,
    wake: UnixStream,
    pub joined: Receiver<Joined>,
    /// RTP packets received by all viewers so far.
    pub received: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Viewers {
    pub fn start(options: Options) -> std::io::Result<Viewers> {
        let (wake, woken) = UnixStream::pair()?;
        woken.set_nonblocking(true)?;
        let ((commands, inbox), (outbox, joined)) = (channel(), channel());
        let received = Arc::new(AtomicU64::new(0));
        let counter = received.clone();
        let epoll = Epoll::new()?;
        epoll.add(woken.as_raw_fd(), WAKE)?;
        let thread = std::thread::Builder::new().name("viewers".into()).spawn(move || {
            let mut serving = Serving {
                options,
                epoll,
                viewers: Vec::new(),
                joined: outbox,
                received: counter,
                totals: Totals::default(),
            };
            serving.run(&inbox, woken);
        })?;
        Ok(Viewers {
            commands,
            wake,
            joined,
            received,
            thread: Some(thread),
        })
    }

    fn command(&self, command: Command) {
        let _ = self.commands.send(command);
        let _ = (&self.wake).write(&[1]);
    }

    /// `viewer` counts up from 0 over the viewers of a run.
    pub fn join(&self, viewer: usize, client: Client, answer: Answer, posted_ns: u64) {
        self.command(Command::Join {
            viewer,
            client: Box::new(client),
            answer: Box::new(answer),
            posted_ns,
        });
    }

    pub fn leave(&self, viewer: usize) {
        self.command(Command::Leave { viewer });
    }

    pub fn begin(&self) {
        self.command(Command::Begin);
    }

    /// `None`: the thread is gone.
    pub fn collect(&self, window: Window) -> Option<Collected> {
        let (reply, answer) = channel();
        self.command(Command::Collect { window, reply });
        answer.recv().ok()
    }
}

impl Drop for Viewers {
    fn drop(&mut self) {
        self.command(Command::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What is counted over all viewers.
#[derive(Default)]
struct Totals {
    latency_us: Vec<u32>,
    read_latency_us: Vec<u32>,
    retransmitted: u64,
    duplicates: u64,
    forged: u64,
    closed: u64,
}

struct Serving {
    options: Options,
    epoll: Epoll,
    viewers: Vec<Option<Viewer>>,
    joined: Sender<Joined>,
    received: Arc<AtomicU64>,
    totals: Totals,
}

impl Serving {
    fn run(&mut self, inbox: &Receiver<Command>, mut woken: UnixStream) {
        let mut batch = Batch::new(self.options.gro);
        let mut ready = Vec::new();
        let (mut tick, mut next_tick) = (0, Instant::now());
        loop {
            self.epoll
                .wait(next_tick.saturating_duration_since(Instant::now()), &mut ready);
            let now = Instant::now();
            for token in &ready {
                if *token == WAKE {
                    let _ = woken.read(&mut [0; 64]);
                } else if let Some(viewer) = usize::try_from(*token)
                    .ok()
                    .and_then(|n| self.viewers.get_mut(n)?.as_mut())
                {
                    let mut context = Context {
                        totals: &mut self.totals,
                        joined: &self.joined,
                        now,
                        read_ns: sys::now_ns(),
                        packets: 0,
                    };
                    while batch.receive(viewer.client.fd(), |d, at_ns| viewer.datagram(d, at_ns, &mut context)) {}
                    self.received.fetch_add(context.packets, Relaxed);
                }
            }
            while let Ok(command) = inbox.try_recv() {
                if matches!(command, Command::Stop) {
                    return;
                }
                self.command(command);
            }
            if now >= next_tick {
                next_tick = now + TICK;
                tick += 1;
                self.tick(tick, now);
            }
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Join {
                viewer: id,
                client,
                answer,
                posted_ns,
            } => {
                let coalesced = !self.options.gro || sys::coalesce_arrivals(client.fd()).is_ok();
                if !coalesced || self.epoll.add(client.fd(), id as u64).is_err() {
                    self.totals.closed += 1;
                    return;
                }
                if self.viewers.len() <= id {
                    self.viewers.resize_with(id + 1, || None);
                }
                self.viewers[id] = Some(Viewer::new(id, *client, &answer, posted_ns));
            }
            // Closing the socket takes it out of the epoll set.
            Command::Leave { viewer } => drop(self.viewers.get_mut(viewer).and_then(Option::take)),
            Command::Begin => {
                self.totals = Totals {
                    closed: self.totals.closed,
                    ..Totals::default()
                }
            }
            Command::Collect { window, reply } => drop(reply.send(self.collect(&window))),
            Command::Stop => {}
        }
    }

    fn collect(&mut self, window: &Window) -> Collected {
        let totals = std::mem::take(&mut self.totals);
        let mut collected = Collected {
            latency_us: totals.latency_us,
            read_latency_us: totals.read_latency_us,
            retransmitted: totals.retransmitted,
            duplicates: totals.duplicates,
            forged: totals.forged,
            closed: totals.closed,
            worst_share: 1.0,
            ..Collected::default()
        };
        collected.latency_us.sort_unstable();
        collected.read_latency_us.sort_unstable();
        let due = (window.audio.end - window.audio.start) + (window.video.end - window.video.start);
        for viewer in self.viewers.iter().flatten() {
            let came = viewer.audio.count(&window.audio) + viewer.video.count(&window.video);
            collected.expected += due;
            collected.delivered += came;
            collected.worst_share = collected.worst_share.min(came as f64 / due.max(1) as f64);
        }
        collected
    }

    fn tick(&mut self, tick: usize, now: Instant) {
        let transport_feedback = self.options.transport_feedback;
        for (id, viewer) in self.viewers.iter_mut().enumerate() {
            let Some(viewer) = viewer else { continue };
            viewer.client.poll(now);
            if (tick + id).is_multiple_of(TICKS_PER_FEEDBACK) {
                viewer.feedback(transport_feedback);
            }
            if (tick + id).is_multiple_of(TICKS_PER_REPORT) {
                viewer.report();
            }
        }
    }
}

/// What handling a datagram needs besides the viewer.
struct Context<'a> {
    totals: &'a mut Totals,
    joined: &'a Sender<Joined>,
    now: Instant,
    read_ns: u64,
    /// RTP packets of this batch.
    packets: u64,
}

struct Viewer {
    id: usize,
    client: Client,
    audio: Stream,
    video: Stream,
    /// The extension's id, which both media share in a bundle.
    transport_cc: u8,
    arrivals: Arrivals,
    packets: u64,
    posted_ns: u64,
    first_media_ns: Option<u64>,
    keyframe: Keyframe,
}

impl Viewer {
    fn new(id: usize, client: Client, answer: &Answer, posted_ns: u64) -> Viewer {
        Viewer {
            id,
            client,
            audio: Stream::new(answer.audio.payload_type),
            video: Stream::new(answer.video.payload_type),
            transport_cc: answer.video.extensions.transport_cc,
            arrivals: Arrivals::default(),
            // Samples of all viewers shall not fall on the same packets.
            packets: id as u64,
            posted_ns,
            first_media_ns: None,
            keyframe: Keyframe::default(),
        }
    }

    fn datagram(&mut self, datagram: &mut [u8], arrived_ns: u64, context: &mut Context) {
        match self.client.handle(datagram, context.now) {
            Input::Rtp(packet) => {
                context.packets += 1;
                if let Some(header) = Header::parse(packet) {
                    self.rtp_packet(packet, &header, arrived_ns, context);
                }
            }
            Input::Rtcp(compound) => {
                for packet in rtp::feedback(compound) {
                    if let Feedback::SenderReport { ssrc, ntp } = packet {
                        let streams = [&mut self.audio, &mut self.video];
                        if let Some(stream) = streams.into_iter().find(|s| s.ssrc == ssrc) {
                            stream.last_report = Some(((ntp >> 16) as u32, arrived_ns));
                        }
                    }
                }
            }
            Input::Closed(why) => {
                context.totals.closed += 1;
                eprintln!("viewer {}: {why}", self.id);
            }
            Input::Nothing | Input::Connected => {}
        }
    }

    fn rtp_packet(&mut self, packet: &mut [u8], header: &Header, arrived_ns: u64, context: &mut Context) {
        if let Some([high, low]) = header.extension(packet, self.transport_cc) {
            self.arrivals.record(u16::from_be_bytes([*high, *low]), arrived_ns);
        }
        let is_video = header.payload_type == self.video.payload_type;
        let stream = match header.payload_type {
            _ if is_video => &mut self.video,
            audio if audio == self.audio.payload_type => &mut self.audio,
            _ => {
                context.totals.retransmitted += 1;
                return;
            }
        };
        let first_media_ns = *self.first_media_ns.get_or_insert(arrived_ns);
        let sequence = stream.arrived(header);
        context.totals.duplicates += u64::from(sequence.is_duplicate);
        let seeking = is_video && !self.keyframe.is_complete();
        self.packets += 1;
        if !seeking && !self.packets.is_multiple_of(SAMPLE) && stream.is_identified() {
            return;
        }
        let Some(payload) = self.client.open_rtp(packet, header.len, header.ssrc, sequence.extended) else {
            context.totals.forged += 1;
            return;
        };
        if let Some(stamp) = Stamp::read(payload) {
            stream.identify(sequence.extended, stamp.index);
            let since_us = |end_ns: u64| u32::try_from(end_ns.saturating_sub(stamp.sent_ns) / 1000).unwrap_or(u32::MAX);
            context.totals.latency_us.push(since_us(arrived_ns));
            context.totals.read_latency_us.push(since_us(context.read_ns));
        }
        if seeking && let Some(headless) = self.keyframe.advance(header, sequence.extended, payload) {
            let since_post = |end_ns: u64| Duration::from_nanos(end_ns.saturating_sub(self.posted_ns));
            let _ = context.joined.send(Joined {
                viewer: self.id,
                first_media: since_post(first_media_ns),
                keyframe: since_post(arrived_ns),
                headless,
            });
        }
    }

    fn feedback(&mut self, transport_feedback: bool) {
        let packet = self.arrivals.feedback(self.video.ssrc);
        if let Some(packet) = packet.filter(|_| transport_feedback) {
            self.client.send_rtcp(packet, stream::OWN_SSRC);
        }
    }

    fn report(&mut self) {
        let now_ns = sys::now_ns();
        let blocks: Vec<Received> = [&mut self.audio, &mut self.video]
            .into_iter()
            .filter_map(|stream| stream.report(now_ns))
            .collect();
        self.client
            .send_rtcp(rtp::write_receiver_report(stream::OWN_SSRC, &blocks), stream::OWN_SSRC);
    }
}
