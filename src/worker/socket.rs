//! One UDP socket in batches: `recvmmsg` in, `sendmmsg` of GSO trains out. All buffers are kept between calls.
//!
//! A train is what the kernel sends as one message and cuts itself (`UDP_SEGMENT`): datagrams of one size to one address,
//! of which only the last may be shorter. It is what makes forwarding cheap; `sendmmsg` alone saves little.

#![expect(
    unsafe_code,
    reason = "batches of datagrams: the standard library sends and receives them one by one"
)]

use super::outbox::Run;
use socket2::{Domain, SockRef, Socket, Type};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant, SystemTime};

/// Datagrams read by one call. More saves little per datagram and makes the buffers outgrow the L2 cache.
pub(super) const RECEIVE_BATCH: usize = 64;
/// Longer datagrams are dropped: nothing that crosses the internet in WebRTC is.
pub(super) const DATAGRAM_MAX: usize = 2048;
/// The kernel's limits for one train (`UDP_MAX_SEGMENTS` of older kernels, and 16 bits of IP length with headers).
const TRAIN_PACKETS: usize = 64;
const TRAIN_BYTES: usize = 65_000;
/// `UIO_MAXIOV`, the most messages `sendmmsg` takes.
const SEND_MESSAGES: usize = 1024;
/// Bytes the kernel may queue per direction: about 0.1 s at 600 Mbit/s, so that a late turn loses nothing. What exceeds
/// the system's limit needs CAP_NET_ADMIN; without it the limit is taken.
const SOCKET_BUFFER: usize = 8 << 20;
/// A datagram that seems to have waited longer than this did not: the system's clock was set meanwhile.
const AGE_MAX: Duration = Duration::from_secs(1);

/// How long one call waits for room in a full queue. A flush leaves a gigabit port in 2 ms, and without the privilege for a
/// larger buffer the kernel queues less than that: what would be dropped is only early. When it is over, the line is slower
/// than what is sent, and dropping to keyframes is the answer.
const SEND_PATIENCE: Duration = Duration::from_millis(3);

/// When a datagram came, at most `now`. `age`: how long ago that was, as the system's clock says, at `now` + `behind`.
fn arrival(now: Instant, behind: Duration, age: Option<Duration>) -> Instant {
    let age = age.filter(|age| *age <= AGE_MAX).unwrap_or_default();
    now.checked_sub(age.saturating_sub(behind)).unwrap_or(now)
}

/// End of a datagram in the arena, and when the packet it forwards arrived.
type Datagram = (usize, Option<Instant>);

/// What became of a batch.
#[derive(Debug, Default)]
pub(super) struct SendReport {
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

pub(super) struct UdpSocket {
    fd: OwnedFd,
    local: SocketAddr,
    /// Trains are used until the kernel or the device refuses them.
    gso: bool,
    /// A train has gone out: a later refusal is about its path (a smaller MTU), not about the host.
    train_sent: bool,
    inbound: Inbound,
    outbound: Outbound,
}

impl UdpSocket {
    /// `gso`: use trains if the kernel knows them.
    pub fn bind(address: SocketAddr, gso: bool) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, None)?;
        socket.set_nonblocking(true)?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        enlarge_buffers(&socket);
        stamp_arrivals(&socket);
        socket.bind(&address.into())?;
        let local = socket
            .local_addr()?
            .as_socket()
            .ok_or_else(|| io::Error::other("not an internet address"))?;
        let fd = OwnedFd::from(socket);
        let gso = gso && knows_trains(&fd);
        Ok(UdpSocket {
            fd,
            local,
            gso,
            train_sent: false,
            inbound: Inbound::new(),
            outbound: Outbound::default(),
        })
    }

    pub fn local(&self) -> SocketAddr {
        self.local
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Reads one batch and hands each datagram to `each`, with the time when the kernel got it, at most `now`: a thread
    /// that comes late must not make a publisher's evenly sent packets look like a burst. Returns how many there were,
    /// those too long included.
    pub fn receive(&mut self, now: Instant, mut each: impl FnMut(&mut [u8], SocketAddr, Instant)) -> usize {
        // the stamps are of the system's clock: what counts is how long ago they were
        let (wall, behind) = (SystemTime::now(), now.elapsed());
        let count = self.inbound.receive(self.fd.as_raw_fd());
        for index in 0..count {
            let age = self
                .inbound
                .stamp(index)
                .and_then(|stamp| wall.duration_since(stamp).ok());
            let arrived = arrival(now, behind, age);
            if let Some((bytes, from)) = self.inbound.datagram(index) {
                each(bytes, from, arrived);
            }
        }
        count
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
                        self.train_sent |= message.segment.is_some();
                    }
                    at += sent;
                }
                Err(error) => match Fault::of(&error) {
                    Fault::Again => {}
                    Fault::Full if patience.waits_for(&self.fd, &error) => {}
                    Fault::Full => at = self.drop_run(at, report),
                    Fault::Refused if message.segment.is_some() => {
                        // EIO: the device cannot checksum; before any success: the kernel cannot. Else: this path.
                        if !self.train_sent || error.raw_os_error() == Some(libc::EIO) {
                            tracing::warn!(socket = %self.local, %error, "no UDP GSO on this host, sending datagrams one by one");
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
    fn send_apart(
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
struct Patience {
    until: Option<Instant>,
}

impl Patience {
    /// `true`: there is room now. A device whose queue is full (ENOBUFS) does not say when it has room again.
    fn waits_for(&mut self, fd: &impl AsRawFd, error: &io::Error) -> bool {
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
fn becomes_writable(fd: &impl AsRawFd, timeout: Duration) -> bool {
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
fn cut_train(datagrams: &[Datagram], first: usize, limit: usize, start: usize, gso: bool) -> (usize, usize) {
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
struct Message {
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
struct Outbound {
    messages: Vec<Message>,
    names: Vec<Name>,
    vectors: Vec<libc::iovec>,
    controls: Vec<Control>,
    headers: Vec<libc::mmsghdr>,
}

// SAFETY: the raw pointers in `vectors` and `headers` are made by `prepare` and used only by the `send` calls after it, in
// the same `UdpSocket::send`, while this value is mutably borrowed; moved between calls, they are stale and never read.
unsafe impl Send for Outbound {}

impl Outbound {
    fn prepare<'r>(
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

/// A socket address as the kernel reads and writes it.
#[derive(Clone, Copy)]
#[repr(C)]
union Name {
    family: libc::sa_family_t,
    v4: libc::sockaddr_in,
    v6: libc::sockaddr_in6,
}

impl Name {
    fn empty() -> Self {
        // SAFETY: all-zero is a valid value of every member.
        unsafe { std::mem::zeroed() }
    }

    fn is_v4(&self) -> bool {
        // SAFETY: every member begins with the family, and every `Name` is made whole by `empty`.
        unsafe { self.family == libc::AF_INET as libc::sa_family_t }
    }

    fn len(&self) -> libc::socklen_t {
        let len = if self.is_v4() {
            size_of::<libc::sockaddr_in>()
        } else {
            size_of::<libc::sockaddr_in6>()
        };
        len as libc::socklen_t
    }

    /// Flow label and, for global addresses, scope do not tell peers apart and are left out.
    fn address(&self) -> SocketAddr {
        if self.is_v4() {
            // SAFETY: plain old data, whole by `empty`, and the family says this member was written.
            let v4 = unsafe { self.v4 };
            let ip = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
            SocketAddr::V4(SocketAddrV4::new(ip, u16::from_be(v4.sin_port)))
        } else {
            // SAFETY: as above; any bytes are a valid `sockaddr_in6`.
            let v6 = unsafe { self.v6 };
            let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            SocketAddr::V6(SocketAddrV6::new(ip, u16::from_be(v6.sin6_port), 0, v6.sin6_scope_id))
        }
    }
}

impl From<SocketAddr> for Name {
    fn from(address: SocketAddr) -> Self {
        let mut name = Name::empty();
        match address {
            SocketAddr::V4(v4) => {
                name.v4 = libc::sockaddr_in {
                    sin_family: libc::AF_INET as libc::sa_family_t,
                    sin_port: v4.port().to_be(),
                    sin_addr: libc::in_addr {
                        s_addr: u32::from(*v4.ip()).to_be(),
                    },
                    sin_zero: [0; 8],
                };
            }
            SocketAddr::V6(v6) => {
                name.v6 = libc::sockaddr_in6 {
                    sin6_family: libc::AF_INET6 as libc::sa_family_t,
                    sin6_port: v6.port().to_be(),
                    sin6_flowinfo: 0,
                    sin6_addr: libc::in6_addr {
                        s6_addr: v6.ip().octets(),
                    },
                    sin6_scope_id: v6.scope_id(),
                };
            }
        }
        name
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

/// Room for one control message `SCM_TIMESTAMPNS`, laid out as `CMSG_SPACE` demands.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Stamp {
    header: libc::cmsghdr,
    time: libc::timespec,
}

impl Stamp {
    fn empty() -> Self {
        // SAFETY: all-zero is a valid value of both.
        unsafe { std::mem::zeroed() }
    }
}

/// `recvmmsg` and its arrays.
struct Inbound {
    buffers: Box<[[u8; DATAGRAM_MAX]]>,
    names: Box<[Name]>,
    stamps: Box<[Stamp]>,
    vectors: Box<[libc::iovec]>,
    headers: Box<[libc::mmsghdr]>,
}

// SAFETY: the raw pointers point into the boxes beside them, which move with this value and are reached by nobody else.
unsafe impl Send for Inbound {}

impl Inbound {
    fn new() -> Self {
        let mut buffers = vec![[0; DATAGRAM_MAX]; RECEIVE_BATCH].into_boxed_slice();
        let mut names = vec![Name::empty(); RECEIVE_BATCH].into_boxed_slice();
        let mut stamps = vec![Stamp::empty(); RECEIVE_BATCH].into_boxed_slice();
        let mut vectors: Box<[libc::iovec]> = buffers
            .iter_mut()
            .map(|buffer| libc::iovec {
                iov_base: buffer.as_mut_ptr().cast(),
                iov_len: DATAGRAM_MAX,
            })
            .collect();
        let headers = names
            .iter_mut()
            .zip(&mut vectors)
            .zip(&mut stamps)
            .map(|((name, vector), stamp)| {
                // SAFETY: all-zero is a valid `mmsghdr`.
                let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
                header.msg_hdr.msg_name = (&raw mut *name).cast();
                header.msg_hdr.msg_iov = vector;
                header.msg_hdr.msg_iovlen = 1;
                header.msg_hdr.msg_control = (&raw mut *stamp).cast();
                header
            })
            .collect();
        Inbound {
            buffers,
            names,
            stamps,
            vectors,
            headers,
        }
    }

    fn receive(&mut self, fd: libc::c_int) -> usize {
        let Inbound { vectors, headers, .. } = self;
        debug_assert!(vectors.iter().all(|vector| vector.iov_len == DATAGRAM_MAX));
        for header in headers.iter_mut() {
            header.msg_hdr.msg_namelen = size_of::<Name>() as _;
            header.msg_hdr.msg_controllen = size_of::<Stamp>() as _;
            header.msg_hdr.msg_flags = 0;
        }
        // SAFETY: every header points to its name, vector and stamp, every vector to its buffer, with their true lengths;
        // the boxes live as long as `self`, and nothing else refers to them during the call.
        let count = unsafe {
            libc::recvmmsg(
                fd,
                headers.as_mut_ptr(),
                headers.len() as _,
                libc::MSG_DONTWAIT as _,
                std::ptr::null_mut(),
            )
        };
        usize::try_from(count).unwrap_or(0)
    }

    /// When the kernel got the datagram, if it said so.
    fn stamp(&self, index: usize) -> Option<SystemTime> {
        let written = self.headers.get(index)?.msg_hdr.msg_controllen;
        let needed = std::mem::offset_of!(Stamp, time) + size_of::<libc::timespec>();
        let stamp = self.stamps.get(index)?;
        let is_time = stamp.header.cmsg_level == libc::SOL_SOCKET && stamp.header.cmsg_type == libc::SCM_TIMESTAMPNS;
        if !is_time || written < needed as _ {
            return None;
        }
        let seconds = u64::try_from(stamp.time.tv_sec).ok()?;
        let nanoseconds = u32::try_from(stamp.time.tv_nsec).ok()?;
        SystemTime::UNIX_EPOCH.checked_add(Duration::new(seconds, nanoseconds))
    }

    /// `None`: longer than [`DATAGRAM_MAX`].
    fn datagram(&mut self, index: usize) -> Option<(&mut [u8], SocketAddr)> {
        let header = self.headers.get(index)?;
        if header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0 {
            return None;
        }
        let from = self.names.get(index)?.address();
        let bytes = self.buffers.get_mut(index)?.get_mut(..header.msg_len as usize)?;
        Some((bytes, from))
    }
}

fn enlarge_buffers(socket: &Socket) {
    for option in [libc::SO_RCVBUFFORCE, libc::SO_SNDBUFFORCE] {
        let size = SOCKET_BUFFER as libc::c_int;
        // SAFETY: an integer option, read from a live local.
        let _refused_without_privilege = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                option,
                (&raw const size).cast(),
                size_of_val(&size) as _,
            )
        };
    }
    // the kernel reports twice what was asked for; plain calls are cut to the system's limit without an error
    if socket.recv_buffer_size().unwrap_or(0) < SOCKET_BUFFER {
        let _ = socket.set_recv_buffer_size(SOCKET_BUFFER);
    }
    if socket.send_buffer_size().unwrap_or(0) < SOCKET_BUFFER {
        let _ = socket.set_send_buffer_size(SOCKET_BUFFER);
    }
}

/// Asks the kernel to say when each datagram came. Without it the time of reading has to do.
fn stamp_arrivals(socket: &Socket) {
    let on: libc::c_int = 1;
    // SAFETY: an integer option, read from a live local.
    let _refused_without_harm = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_TIMESTAMPNS,
            (&raw const on).cast(),
            size_of_val(&on) as _,
        )
    };
}

/// Whether the kernel has `UDP_SEGMENT` at all (Linux 4.18). Devices may still refuse it later.
fn knows_trains(fd: &OwnedFd) -> bool {
    let mut value: libc::c_int = 0;
    let mut len = size_of_val(&value) as libc::socklen_t;
    // SAFETY: an integer option, written to a live local of the stated length.
    let result = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::SOL_UDP,
            libc::UDP_SEGMENT,
            (&raw mut value).cast(),
            &mut len,
        )
    };
    result == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::Path;
    use proptest::prelude::*;
    use std::net::Ipv4Addr;

    /// Datagrams of these sizes, back to back.
    fn laid_out(sizes: &[usize]) -> Vec<Datagram> {
        let mut end = 0;
        sizes
            .iter()
            .map(|size| {
                end += size;
                (end, None)
            })
            .collect()
    }

    fn trains(sizes: &[usize], gso: bool) -> Vec<usize> {
        let datagrams = laid_out(sizes);
        let (mut at, mut start, mut lengths) = (0, 0, vec![]);
        while at < sizes.len() {
            let (next, end) = cut_train(&datagrams, at, sizes.len(), start, gso);
            lengths.push(next - at);
            (at, start) = (next, end);
        }
        lengths
    }

    #[test]
    fn only_the_last_of_a_train_is_shorter() {
        assert_eq!(trains(&[1100, 1100, 1100, 700], true), [4]);
        assert_eq!(trains(&[1100, 1100, 1101, 1101], true), [2, 2]);
        assert_eq!(trains(&[1100, 700, 700, 1100], true), [2, 1, 1]);
        assert_eq!(trains(&[100, 0, 100], true), [1, 1, 1]);
        assert_eq!(trains(&[1100, 1100], false), [1, 1]);
    }

    #[test]
    fn trains_end_at_the_kernels_limits() {
        assert_eq!(trains(&[100; 130], true), [64, 64, 2]);
        // 59 × 1100 = 64,900
        assert_eq!(trains(&[1100; 60], true), [59, 1]);
    }

    proptest! {
        #[test]
        fn every_train_keeps_the_rules(sizes in proptest::collection::vec(prop_oneof![Just(1100usize), Just(1101), 0usize..2000], 1..200)) {
            let mut at = 0;
            for len in trains(&sizes, true) {
                let train = &sizes[at..at + len];
                prop_assert!(len <= TRAIN_PACKETS && train.iter().sum::<usize>() <= TRAIN_BYTES);
                let (last, body) = train.split_last().unwrap();
                prop_assert!(body.iter().all(|size| size == &train[0]));
                prop_assert!(*last <= train[0]);
                prop_assert!(len == 1 || *last > 0);
                at += len;
            }
            prop_assert_eq!(at, sizes.len());
        }
    }

    fn loopback(gso: bool) -> UdpSocket {
        UdpSocket::bind((Ipv4Addr::LOCALHOST, 0).into(), gso).unwrap()
    }

    fn run(to: SocketAddr, first: usize, last: usize) -> Run {
        Run {
            path: Path { socket: 0, remote: to },
            peer: None,
            first,
            last,
        }
    }

    fn received(socket: &mut UdpSocket, expected: usize) -> Vec<(Vec<u8>, SocketAddr)> {
        let mut all = vec![];
        // loopback delivers within the send call
        while all.len() < expected
            && socket.receive(Instant::now(), |bytes, from, _| all.push((bytes.to_vec(), from))) > 0
        {}
        all
    }

    fn arena(sizes: &[usize]) -> (Vec<u8>, Vec<Datagram>) {
        let bytes = sizes
            .iter()
            .enumerate()
            .flat_map(|(index, size)| std::iter::repeat_n(index as u8, *size))
            .collect();
        (bytes, laid_out(sizes))
    }

    fn trip(gso: bool, sizes: &[usize]) -> SendReport {
        let (mut sender, mut one, mut other) = (loopback(gso), loopback(false), loopback(false));
        let (bytes, datagrams) = arena(sizes);
        let half = sizes.len() / 2;
        let runs = [run(one.local(), 0, half), run(other.local(), half, sizes.len())];
        let mut report = SendReport::default();
        sender.send(&bytes, &datagrams, runs.iter().enumerate(), &mut report);
        let mut all = received(&mut one, half);
        all.extend(received(&mut other, sizes.len() - half));
        let lengths: Vec<usize> = all.iter().map(|(bytes, _)| bytes.len()).collect();
        assert_eq!(lengths, sizes);
        for (index, (bytes, from)) in all.iter().enumerate() {
            assert!(bytes.iter().all(|byte| *byte == index as u8));
            assert_eq!(*from, sender.local());
        }
        report
    }

    const SIZES: [usize; 12] = [1100, 1100, 1101, 1101, 300, 60, 1200, 1200, 1200, 1200, 80, 90];

    #[test]
    fn trains_arrive_as_the_datagrams_they_were() {
        let report = trip(true, &SIZES);
        assert_eq!((report.datagrams, report.errors, report.blocked), (12, 0, 0));
        assert_eq!(report.bytes, SIZES.iter().sum::<usize>() as u64);
        assert_eq!(report.calls, 1);
    }

    #[test]
    fn without_trains_the_same_arrives() {
        let report = trip(false, &SIZES);
        assert_eq!((report.datagrams, report.calls), (12, 1));
    }

    #[test]
    fn a_refused_train_is_sent_apart() {
        let (mut sender, mut receiver) = (loopback(true), loopback(false));
        let (bytes, datagrams) = arena(&[1000; 5]);
        let runs = [run(receiver.local(), 0, 5)];
        sender
            .outbound
            .prepare(&bytes, &datagrams, runs.iter().enumerate(), true);
        assert_eq!(sender.outbound.messages.len(), 1);
        sender.gso = false;
        let mut report = SendReport::default();
        assert_eq!(
            sender.send_apart(&bytes, &datagrams, 0, &mut Patience::default(), &mut report),
            1
        );
        assert_eq!((report.datagrams, report.bytes, report.calls), (5, 5000, 5));
        assert_eq!(received(&mut receiver, 5).len(), 5);
    }

    #[test]
    fn the_kernels_refusal_ends_trains_for_good_and_loses_nothing() {
        let (mut sender, mut receiver) = (loopback(true), loopback(false));
        // UDP GSO needs checksums, and a socket without them is refused by the kernel with EIO
        let off: libc::c_int = 1;
        // SAFETY: an integer option, read from a live local.
        let set = unsafe {
            libc::setsockopt(
                sender.fd.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_NO_CHECK,
                (&raw const off).cast(),
                size_of_val(&off) as _,
            )
        };
        assert_eq!(set, 0);
        let (bytes, datagrams) = arena(&[900; 6]);
        let runs = [run(receiver.local(), 0, 3), run(receiver.local(), 3, 6)];
        let mut report = SendReport::default();
        sender.send(&bytes, &datagrams, runs.iter().enumerate(), &mut report);
        assert!(!sender.gso);
        assert_eq!((report.datagrams, report.errors), (6, 0));
        assert_eq!(received(&mut receiver, 6).len(), 6);
    }

    #[test]
    fn one_unreachable_peer_costs_only_its_own_datagrams() {
        let (mut sender, mut receiver) = (loopback(true), loopback(false));
        let (bytes, datagrams) = arena(&[500, 500, 500, 500]);
        // a broadcast address without SO_BROADCAST: EACCES
        let forbidden = (Ipv4Addr::BROADCAST, 9).into();
        let runs = [run(forbidden, 0, 2), run(receiver.local(), 2, 4)];
        let mut report = SendReport::default();
        sender.send(&bytes, &datagrams, runs.iter().enumerate(), &mut report);
        assert_eq!((report.datagrams, report.errors), (2, 2));
        assert_eq!(received(&mut receiver, 2).len(), 2);
    }

    #[test]
    fn room_is_waited_for_but_not_long() {
        let (sender, receiver) = std::os::unix::net::UnixDatagram::pair().unwrap();
        sender.set_nonblocking(true).unwrap();
        let full = loop {
            if let Err(error) = sender.send(&[0; 1000]) {
                break error;
            }
        };
        let mut patience = Patience::default();
        assert!(!patience.waits_for(&sender, &full), "nobody reads");
        assert!(patience.until.is_some_and(|until| until <= Instant::now()));
        let (entered, reading) = std::sync::mpsc::channel();
        let reader = std::thread::spawn(move || {
            reading.recv().unwrap();
            while receiver.recv(&mut [0; 1000]).is_ok_and(|length| length > 0) {}
        });
        entered.send(()).unwrap();
        assert!(becomes_writable(&sender, Duration::from_millis(999)));
        assert!(!patience.waits_for(&sender, &full), "it is used up");
        sender.set_nonblocking(false).unwrap();
        sender.send(&[]).unwrap();
        reader.join().unwrap();
    }

    #[test]
    fn too_long_datagrams_are_left_out() {
        let (sender, mut receiver) = (loopback(false), loopback(false));
        for len in [DATAGRAM_MAX + 1, 10] {
            SockRef::from(&sender.fd)
                .send_to(&vec![7; len], &receiver.local().into())
                .unwrap();
        }
        let mut lengths = vec![];
        assert_eq!(
            receiver.receive(Instant::now(), |bytes, _, _| lengths.push(bytes.len())),
            2
        );
        assert_eq!(lengths, [10]);
    }

    #[test]
    fn a_late_reader_learns_when_datagrams_came() {
        let (sender, mut receiver) = (loopback(false), loopback(false));
        let stamped_when_sent = || {
            let before = SystemTime::now();
            SockRef::from(&sender.fd)
                .send_to(&[7; 100], &receiver.local.into())
                .unwrap();
            let after = SystemTime::now();
            std::thread::sleep(Duration::from_millis(5));
            assert_eq!(receiver.inbound.receive(receiver.fd.as_raw_fd()), 1);
            let stamp = receiver.inbound.stamp(0).expect("a stamp");
            assert!(stamp >= before, "{stamp:?} {before:?}");
            stamp <= after
        };
        // the kernel begins to stamp a little after the first socket asked for it; until then it stamps what is read
        assert!(
            std::iter::repeat_with(stamped_when_sent)
                .take(200)
                .any(|at_once| at_once)
        );
    }

    #[test]
    fn arrivals_are_counted_back_from_now() {
        let now = Instant::now() + AGE_MAX * 2;
        let ms = Duration::from_millis;
        assert_eq!(arrival(now, ms(0), Some(ms(7))), now - ms(7));
        assert_eq!(
            arrival(now, ms(3), Some(ms(7))),
            now - ms(4),
            "the clock was read later than now"
        );
        assert_eq!(
            arrival(now, ms(9), Some(ms(7))),
            now,
            "it came after now: never in the future"
        );
        assert_eq!(arrival(now, ms(0), Some(AGE_MAX)), now - AGE_MAX);
        assert_eq!(arrival(now, ms(0), Some(AGE_MAX + ms(1))), now, "the clock was set");
        assert_eq!(arrival(now, ms(0), None), now, "no stamp");
    }

    #[test]
    fn addresses_survive_the_kernels_form() {
        for text in ["192.0.2.7:5000", "[2001:db8::1]:65535"] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(Name::from(address).address(), address);
        }
    }
}
