//! The sending half: runs of datagrams cut into trains, `sendmmsg`, and what its errors mean for the rest of a batch.

#![expect(unsafe_code, reason = "the standard library sends datagrams one by one")]

use super::name::Name;
use super::{Datagram, UdpSocket};
use crate::transport::Path;
use crate::worker::outbox::Run;
use socket2::SockRef;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

/// The kernel's limits for one train (`UDP_MAX_SEGMENTS` of older kernels, and 16 bits of IP length with headers).
pub(super) const TRAIN_PACKETS: usize = 64;
pub(super) const TRAIN_BYTES: usize = 65_000;
/// `UIO_MAXIOV`, the most messages `sendmmsg` takes.
const SEND_MESSAGES: usize = 1024;
/// How long one call waits for room in a full queue. A flush leaves a gigabit port in 2 ms, and without the privilege for a
/// larger buffer the kernel queues less than that: what would be dropped is only early. When it is over, the line is slower
/// than what is sent, and dropping to keyframes is the answer.
const SEND_PATIENCE: Duration = Duration::from_millis(3);
/// What became of a batch.
#[derive(Debug, Default)]
pub(in crate::worker) struct SendReport {
    pub datagrams: u64,
    pub bytes: u64,
    pub calls: u64,
    /// Dropped because the kernel's queue was full.
    pub blocked: u64,
    /// Dropped for another error of that datagram or train.
    pub errors: u64,
    /// Indices of the runs that were cut short by a full queue.
    pub blocked_runs: Vec<usize>,
}

impl SendReport {
    pub fn clear(&mut self) {
        let mut blocked_runs = std::mem::take(&mut self.blocked_runs);
        blocked_runs.clear();
        *self = SendReport {
            blocked_runs,
            ..SendReport::default()
        };
    }
}
impl UdpSocket {
    /// Whether the kernel takes a train of two small datagrams, to this address: what it says of others is about their
    /// paths. What cannot be tried is believed.
    pub(super) fn takes_trains(&mut self) -> bool {
        let Ok(receiver) = std::net::UdpSocket::bind((self.local.ip(), 0)) else {
            return true;
        };
        let Ok(remote) = receiver.local_addr() else {
            return true;
        };
        let probe = Run {
            path: Path { socket: 0, remote },
            peer: None,
            first: 0,
            last: 2,
        };
        let datagrams = [(4, None), (8, None)];
        self.outbound
            .prepare(&[0; 8], &datagrams, std::iter::once((0, &probe)), true);
        let sent = self.outbound.send(self.fd.as_raw_fd(), 0);
        !sent.is_err_and(|error| matches!(Fault::of(&error), Fault::Refused))
    }

    /// Sends the runs whose index and content `runs` yields. A failing datagram costs itself (or its run, if the
    /// queue is full), never the batch.
    pub fn send<'r>(
        &mut self,
        bytes: &[u8],
        datagrams: &[Datagram],
        runs: impl Iterator<Item = (usize, &'r Run)>,
        report: &mut SendReport,
    ) {
        self.outbound.prepare(bytes, datagrams, runs, self.gso);
        let mut patience = Patience::default();
        let mut at = 0;
        while let Some(&message) = self.outbound.messages.get(at) {
            if message.segment.is_some() && !self.gso {
                at = self.send_apart(bytes, datagrams, at, &mut patience, report);
                continue;
            }
            report.calls += 1;
            match self.outbound.send(self.fd.as_raw_fd(), at) {
                Ok(sent) => {
                    for message in self.outbound.messages.iter().skip(at).take(sent) {
                        report.datagrams += message.datagrams() as u64;
                        report.bytes += (message.end - message.start) as u64;
                    }
                    at += sent;
                }
                Err(error) => match Fault::of(&error) {
                    Fault::Again => {}
                    Fault::Full if patience.waits_for(&self.fd, &error) => {}
                    Fault::Full => at = self.drop_run(at, report),
                    Fault::Refused if message.segment.is_some() => {
                        if ends_trains(&error) {
                            tracing::warn!(socket = %self.local, %error, "a device without checksums, sending datagrams one by one");
                            self.gso = false;
                        }
                        at = self.send_apart(bytes, datagrams, at, &mut patience, report);
                    }
                    Fault::Refused | Fault::Other => {
                        report.errors += message.datagrams() as u64;
                        at += 1;
                    }
                },
            }
        }
    }

    /// Sends the datagrams of one train one by one; returns the next message to send.
    pub(super) fn send_apart(
        &mut self,
        bytes: &[u8],
        datagrams: &[Datagram],
        at: usize,
        patience: &mut Patience,
        report: &mut SendReport,
    ) -> usize {
        let Some(&message) = self.outbound.messages.get(at) else {
            return at + 1;
        };
        let to = socket2::SockAddr::from(message.to);
        let mut start = message.start;
        let mut index = message.first;
        while index < message.last {
            let Some(&(end, _)) = datagrams.get(index) else { break };
            let Some(datagram) = bytes.get(start..end) else { break };
            report.calls += 1;
            match SockRef::from(&self.fd).send_to(datagram, &to) {
                Ok(_) => {
                    report.datagrams += 1;
                    report.bytes += datagram.len() as u64;
                }
                Err(error) => match Fault::of(&error) {
                    Fault::Again => continue,
                    Fault::Full if patience.waits_for(&self.fd, &error) => continue,
                    Fault::Full => {
                        report.blocked += (message.last - index) as u64;
                        report.blocked_runs.push(message.run);
                        return self.skip_run(at + 1, message.run, report);
                    }
                    Fault::Refused | Fault::Other => report.errors += 1,
                },
            }
            start = end;
            index += 1;
        }
        at + 1
    }

    /// Gives up the rest of the run of message `at`; returns the first message of another run.
    fn drop_run(&self, at: usize, report: &mut SendReport) -> usize {
        let Some(message) = self.outbound.messages.get(at) else {
            return at + 1;
        };
        report.blocked_runs.push(message.run);
        self.skip_run(at, message.run, report)
    }

    fn skip_run(&self, from: usize, run: usize, report: &mut SendReport) -> usize {
        let rest = self.outbound.messages.iter().skip(from);
        let mut at = from;
        for message in rest.take_while(|message| message.run == run) {
            report.blocked += message.datagrams() as u64;
            at += 1;
        }
        at
    }
}
/// Whether the refusal of a train is about the device, which cannot checksum, and so about most of what follows. The kernel
/// took a train when the socket was bound, so all else is about one path: a smaller MTU.
pub(super) fn ends_trains(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EIO)
}

/// What an error of a send call means for the batch.
enum Fault {
    /// Interrupted: the same once more.
    Again,
    /// The kernel's queue is full.
    Full,
    /// This message as it is cannot be sent; a train can still be sent apart.
    Refused,
    Other,
}

impl Fault {
    fn of(error: &io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::EINTR) => Fault::Again,
            Some(libc::EAGAIN | libc::ENOBUFS) => Fault::Full,
            Some(libc::EIO | libc::EINVAL | libc::EMSGSIZE | libc::EOPNOTSUPP) => Fault::Refused,
            _ => Fault::Other,
        }
    }
}

/// What is left of [`SEND_PATIENCE`].
#[derive(Default)]
pub(super) struct Patience {
    pub(super) until: Option<Instant>,
}

impl Patience {
    /// `true`: there is room now. A device whose queue is full (ENOBUFS) does not say when it has room again.
    pub fn waits_for(&mut self, fd: &impl AsRawFd, error: &io::Error) -> bool {
        if error.raw_os_error() != Some(libc::EAGAIN) {
            return false;
        }
        let now = Instant::now();
        let left = self
            .until
            .get_or_insert(now + SEND_PATIENCE)
            .saturating_duration_since(now);
        !left.is_zero() && becomes_writable(fd, left)
    }
}

/// Waits for room to write, at most so long (less than a second).
pub(super) fn becomes_writable(fd: &impl AsRawFd, timeout: Duration) -> bool {
    let mut polled = libc::pollfd {
        fd: fd.as_raw_fd(),
        events: libc::POLLOUT,
        revents: 0,
    };
    let timeout = libc::timespec {
        tv_sec: 0,
        tv_nsec: timeout.subsec_nanos().into(),
    };
    // SAFETY: one live entry and a live timeout; no signal mask is given.
    let ready = unsafe { libc::ppoll(&mut polled, 1, &timeout, std::ptr::null()) };
    ready == 1 && polled.revents & libc::POLLOUT != 0
}

/// Where a train that begins with datagram `first` (whose bytes begin at `start`) ends: the index behind its last
/// datagram, at most `limit`, and the byte behind it.
pub(super) fn cut_train(datagrams: &[Datagram], first: usize, limit: usize, start: usize, gso: bool) -> (usize, usize) {
    let end_of = |index: usize| datagrams.get(index).map_or(start, |datagram| datagram.0);
    let size = end_of(first) - start;
    let (mut next, mut end) = (first + 1, end_of(first));
    if !gso || size == 0 {
        return (next, end);
    }
    let mut last_size = size;
    while next < limit && next - first < TRAIN_PACKETS && last_size == size {
        last_size = end_of(next) - end;
        if last_size == 0 || last_size > size || end_of(next) - start > TRAIN_BYTES {
            break;
        }
        end = end_of(next);
        next += 1;
    }
    (next, end)
}

/// A datagram or a train as handed to the kernel.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message {
    to: SocketAddr,
    /// Bytes in the arena.
    start: usize,
    end: usize,
    /// Datagrams, `first..last`.
    first: usize,
    last: usize,
    /// Size of all but the last datagram of a train; `None`: a single datagram.
    segment: Option<u16>,
    run: usize,
}

impl Message {
    fn datagrams(&self) -> usize {
        self.last - self.first
    }
}

/// `sendmmsg` and its arrays.
#[derive(Default)]
pub(super) struct Outbound {
    pub(super) messages: Vec<Message>,
    names: Vec<Name>,
    vectors: Vec<libc::iovec>,
    controls: Vec<Control>,
    headers: Vec<libc::mmsghdr>,
}

// SAFETY: the raw pointers in `vectors` and `headers` are made by `prepare` and used only by the `send` calls after it, in
// the same `UdpSocket::send`, while this value is mutably borrowed; moved between calls, they are stale and never read.
unsafe impl Send for Outbound {}

impl Outbound {
    pub(super) fn prepare<'r>(
        &mut self,
        bytes: &[u8],
        datagrams: &[Datagram],
        runs: impl Iterator<Item = (usize, &'r Run)>,
        gso: bool,
    ) {
        self.messages.clear();
        for (run, Run { path, first, last, .. }) in runs {
            let mut at = *first;
            let mut start = at
                .checked_sub(1)
                .and_then(|before| datagrams.get(before))
                .map_or(0, |datagram| datagram.0);
            while at < *last {
                let (next, end) = cut_train(datagrams, at, *last, start, gso);
                let size = datagrams.get(at).map_or(0, |datagram| datagram.0 - start);
                self.messages.push(Message {
                    to: path.remote,
                    start,
                    end,
                    first: at,
                    last: next,
                    segment: (next - at > 1).then(|| u16::try_from(size).ok()).flatten(),
                    run,
                });
                (at, start) = (next, end);
            }
        }
        self.point_at(bytes);
    }

    /// Fills the kernel's arrays for `messages`.
    fn point_at(&mut self, bytes: &[u8]) {
        self.names.clear();
        self.vectors.clear();
        self.controls.clear();
        self.headers.clear();
        for message in &self.messages {
            self.names.push(Name::from(message.to));
            let slice = bytes.get(message.start..message.end).unwrap_or_default();
            self.vectors.push(libc::iovec {
                iov_base: slice.as_ptr().cast_mut().cast(),
                iov_len: slice.len(),
            });
            self.controls
                .push(Control::segment(message.segment.unwrap_or_default()));
        }
        let parts = self.names.iter_mut().zip(&mut self.vectors).zip(&mut self.controls);
        for (((name, vector), control), message) in parts.zip(&self.messages) {
            // SAFETY: all-zero is a valid `mmsghdr`.
            let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
            header.msg_hdr.msg_name = (&raw mut *name).cast();
            header.msg_hdr.msg_namelen = name.len();
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
            if message.segment.is_some() {
                header.msg_hdr.msg_control = (&raw mut *control).cast();
                header.msg_hdr.msg_controllen = size_of::<Control>() as _;
            }
            self.headers.push(header);
        }
    }

    /// Sends messages from the `at`-th on; returns how many the kernel took, at least one.
    fn send(&mut self, fd: libc::c_int, at: usize) -> io::Result<usize> {
        let Some(headers) = self.headers.get_mut(at..).filter(|headers| !headers.is_empty()) else {
            return Ok(1);
        };
        let count = headers.len().min(SEND_MESSAGES);
        // SAFETY: `prepare` has just filled `headers` with pointers to `names`, `vectors`, `controls`, which were not
        // touched since, and to the arena that `UdpSocket::send` borrows; the kernel only reads through them.
        let sent = unsafe { libc::sendmmsg(fd, headers.as_mut_ptr(), count as _, libc::MSG_DONTWAIT as _) };
        match usize::try_from(sent) {
            Ok(sent) if sent > 0 => Ok(sent),
            _ => Err(io::Error::last_os_error()),
        }
    }
}
/// One control message `UDP_SEGMENT`, laid out as `CMSG_SPACE(2)` demands.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control {
    header: libc::cmsghdr,
    segment: u16,
    padding: [u8; 6],
}

impl Control {
    fn segment(segment: u16) -> Self {
        // SAFETY: all-zero is a valid `cmsghdr`.
        let mut header: libc::cmsghdr = unsafe { std::mem::zeroed() };
        header.cmsg_level = libc::SOL_UDP;
        header.cmsg_type = libc::UDP_SEGMENT;
        header.cmsg_len = (size_of::<libc::cmsghdr>() + size_of::<u16>()) as _;
        Control {
            header,
            segment,
            padding: [0; 6],
        }
    }
}
