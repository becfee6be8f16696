//! The system calls the loader needs and the standard library lacks: batched receiving, epoll, CPU affinity and the CPU
//! clock of another process. Shell; the only file of the loader with `unsafe` in it.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Nanoseconds since the Unix epoch: the time base of every stamp of the loader, since the kernel stamps arriving
/// datagrams by the same clock.
pub fn now_ns() -> u64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX)
}

/// Keep thread or process `id` (0: the calling thread) on one core.
pub fn pin(id: libc::pid_t, core: usize) -> io::Result<()> {
    // SAFETY: an all-zero set is valid, `CPU_SET` checks its bound, and the call only reads the set.
    let result = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(core, &mut set);
        libc::sched_setaffinity(id, size_of::<libc::cpu_set_t>(), &set)
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Let this process, and those it starts, have as many files open as it is allowed: a thousand connections have a file each.
pub fn raise_file_limit() -> io::Result<()> {
    // SAFETY: a plain struct that the first call fills and the second reads.
    let result = unsafe {
        let mut limit: libc::rlimit = std::mem::zeroed();
        if libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) != 0 {
            return Err(io::Error::last_os_error());
        }
        limit.rlim_cur = limit.rlim_max;
        libc::setrlimit(libc::RLIMIT_NOFILE, &limit)
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// How many cores the machine has.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, Into::into)
}

/// How server and loader are scheduled on a machine that does other things too: nine tenths of a contended core.
const NICE: libc::c_int = -10;
/// The publisher's thread, which has to be on time beside the viewers' thread.
const PUNCTUAL_NICE: libc::c_int = -15;

/// Run the calling thread, and what it starts, before others; without the right to, go on as before.
fn favour(nice: libc::c_int) {
    // SAFETY: plain integers; `who` 0 is the calling thread on Linux.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) };
}

/// The calling thread and what it starts run before others as long as this lives.
pub struct Favoured;

impl Favoured {
    pub fn new() -> Favoured {
        favour(NICE);
        favour_session(NICE);
        Favoured
    }
}

impl Drop for Favoured {
    fn drop(&mut self) {
        favour_session(0);
    }
}

/// Where sessions are scheduled as groups (`sched_autogroup_enabled`), a thread's niceness counts within its session only.
fn favour_session(nice: libc::c_int) {
    let _ = std::fs::write("/proc/self/autogroup", nice.to_string());
}

/// CPU time anybody has used of one core since boot, interrupts and time stolen by the hypervisor included; to 10 ms.
pub fn core_busy(core: usize) -> io::Result<Duration> {
    let stat = std::fs::read_to_string("/proc/stat")?;
    let line = stat.lines().find_map(|line| line.strip_prefix(&format!("cpu{core} ")));
    // user nice system idle iowait irq softirq steal
    let ticks = line
        .unwrap_or_default()
        .split_whitespace()
        .take(8)
        .map(|word| word.parse().unwrap_or(0));
    let busy: u64 = ticks
        .enumerate()
        .filter(|(column, _)| !matches!(column, 3 | 4))
        .map(|(_, ticks)| ticks)
        .sum();
    Ok(Duration::from_millis(busy * 10))
}

/// Run before the viewers' thread and wake up on time, as far as allowed.
pub fn make_punctual() {
    favour(PUNCTUAL_NICE);
    // SAFETY: plain integers.
    unsafe {
        // The kernel's default slack of 50 us is most of the gap between two paced packets' stamps.
        libc::prctl(libc::PR_SET_TIMERSLACK, 1000 as libc::c_ulong);
    }
}

/// To be called in a child between fork and exec: pin it, and let it die with the thread that started it.
pub fn in_child(core: usize) -> io::Result<()> {
    pin(0, core)?;
    // SAFETY: plain integers.
    let result = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// [`std::os::unix::process::CommandExt::pre_exec`] with [`in_child`].
pub fn confine(command: &mut std::process::Command, core: usize) {
    use std::os::unix::process::CommandExt;
    // SAFETY: the closure only makes async-signal-safe system calls.
    unsafe { command.pre_exec(move || in_child(core)) };
}

/// CPU time all threads of a process, past ones too, have used; 0: this process.
pub fn process_cpu(pid: libc::pid_t) -> io::Result<Duration> {
    // SAFETY: two plain out parameters.
    unsafe {
        let mut clock: libc::clockid_t = 0;
        let error = libc::clock_getcpuclockid(pid, &mut clock);
        if error != 0 {
            return Err(io::Error::from_raw_os_error(error));
        }
        read_clock(clock)
    }
}

unsafe fn read_clock(clock: libc::clockid_t) -> io::Result<Duration> {
    // SAFETY: an all-zero timespec is valid, and the call only writes it.
    unsafe {
        let mut time: libc::timespec = std::mem::zeroed();
        if libc::clock_gettime(clock, &mut time) != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Duration::new(
            time.tv_sec.unsigned_abs(),
            u32::try_from(time.tv_nsec).unwrap_or(0),
        ))
    }
}

fn set_flag(fd: RawFd, level: libc::c_int, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
    let len = libc::socklen_t::try_from(size_of::<libc::c_int>()).unwrap_or(4);
    // SAFETY: the option is an int, and the pointer is to one.
    let result = unsafe { libc::setsockopt(fd, level, option, (&raw const value).cast(), len) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Have the kernel stamp each datagram when it arrives at the socket.
pub fn stamp_arrivals(fd: RawFd) -> io::Result<()> {
    set_flag(fd, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1)
}

/// Let datagrams of one train arrive as one (`UDP_GRO`), as they would from a network card.
pub fn coalesce_arrivals(fd: RawFd) -> io::Result<()> {
    set_flag(fd, libc::SOL_UDP, libc::UDP_GRO, 1)
}

/// Ask for `bytes` of receive buffer, beyond the system's limit where allowed.
pub fn widen_receive_buffer(fd: RawFd, bytes: libc::c_int) {
    if set_flag(fd, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, bytes).is_err() {
        let _ = set_flag(fd, libc::SOL_SOCKET, libc::SO_RCVBUF, bytes);
    }
}

/// Level-triggered readiness of many sockets; a token is the caller's index.
pub struct Epoll {
    fd: OwnedFd,
    events: Vec<libc::epoll_event>,
}

/// Sockets reported by one wait; the rest is reported by the next.
const EPOLL_EVENTS: usize = 256;

impl Epoll {
    pub fn new() -> io::Result<Epoll> {
        // SAFETY: a fresh descriptor that nobody else owns, checked before it is taken.
        let fd = unsafe {
            let fd = libc::epoll_create1(libc::EPOLL_CLOEXEC);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            OwnedFd::from_raw_fd(fd)
        };
        Ok(Epoll {
            fd,
            events: vec![libc::epoll_event { events: 0, u64: 0 }; EPOLL_EVENTS],
        })
    }

    pub fn add(&self, fd: RawFd, token: u64) -> io::Result<()> {
        let mut event = libc::epoll_event {
            events: libc::EPOLLIN as u32,
            u64: token,
        };
        // SAFETY: the event outlives the call.
        let result = unsafe { libc::epoll_ctl(self.fd.as_raw_fd(), libc::EPOLL_CTL_ADD, fd, &mut event) };
        if result == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }

    /// Wait at most `timeout` (rounded up to milliseconds) and put the ready tokens into `ready`.
    pub fn wait(&mut self, timeout: Duration, ready: &mut Vec<u64>) {
        let ms = libc::c_int::try_from(timeout.as_micros().div_ceil(1000)).unwrap_or(libc::c_int::MAX);
        // SAFETY: the array has EPOLL_EVENTS entries.
        let n = unsafe {
            libc::epoll_wait(
                self.fd.as_raw_fd(),
                self.events.as_mut_ptr(),
                EPOLL_EVENTS as libc::c_int,
                ms,
            )
        };
        ready.clear();
        ready.extend(self.events.iter().take(usize::try_from(n).unwrap_or(0)).map(|e| e.u64));
    }
}

/// Wait until `fd` is readable, at most `timeout`, to the nanosecond.
pub fn wait_readable(fd: RawFd, timeout: Duration) {
    let mut polled = libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    };
    let timeout = libc::timespec {
        tv_sec: libc::time_t::try_from(timeout.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: libc::c_long::from(timeout.subsec_nanos()),
    };
    // SAFETY: one valid entry, a valid timeout, no signal mask.
    unsafe { libc::ppoll(&mut polled, 1, &timeout, std::ptr::null()) };
}

/// Buffers for one `recvmmsg`.
pub struct Batch {
    buffers: Vec<u8>,
    /// Bytes per buffer.
    size: usize,
    control: Vec<Control>,
    iovecs: Vec<libc::iovec>,
    headers: Vec<libc::mmsghdr>,
}

/// Room for a timestamp and a segment size, aligned as control messages have to be.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Control([u8; 64]);

impl Batch {
    /// `coalesced`: the sockets have [`coalesce_arrivals`] on, so that a message may be as long as a datagram can be.
    pub fn new(coalesced: bool) -> Batch {
        // A frame of the load is about seven packets, a keyframe about thirty.
        let (messages, size) = if coalesced { (8, 65_536) } else { (32, 2048) };
        Batch {
            buffers: vec![0; messages * size],
            size,
            control: vec![Control([0; 64]); messages],
            iovecs: Vec::with_capacity(messages),
            headers: Vec::with_capacity(messages),
        }
    }

    /// Read what is there, at most one batch, and hand each datagram with its arrival time to `each`. `true`: there may
    /// be more.
    pub fn receive(&mut self, fd: RawFd, mut each: impl FnMut(&mut [u8], u64)) -> bool {
        let messages = self.control.len();
        self.iovecs.clear();
        self.headers.clear();
        for buffer in self.buffers.chunks_exact_mut(self.size) {
            self.iovecs.push(libc::iovec {
                iov_base: buffer.as_mut_ptr().cast(),
                iov_len: buffer.len(),
            });
        }
        for (iovec, control) in self.iovecs.iter_mut().zip(&mut self.control) {
            // SAFETY: all-zero is a valid mmsghdr; the pointers lead into vectors that live as long as `self`.
            let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
            header.msg_hdr.msg_iov = iovec;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_control = control.0.as_mut_ptr().cast();
            header.msg_hdr.msg_controllen = control.0.len();
            self.headers.push(header);
        }
        let flags = libc::MSG_DONTWAIT;
        // SAFETY: `messages` headers, each with one buffer and its control space, all set above.
        let received = unsafe {
            libc::recvmmsg(
                fd,
                self.headers.as_mut_ptr(),
                messages as libc::c_uint,
                flags,
                std::ptr::null_mut(),
            )
        };
        let received = usize::try_from(received).unwrap_or(0);
        let buffers = self.buffers.chunks_exact_mut(self.size);
        for (header, buffer) in self.headers.iter().zip(buffers).take(received) {
            let len = usize::try_from(header.msg_len).unwrap_or(0).min(buffer.len());
            let (stamp_ns, segment) = read_control(&header.msg_hdr);
            let datagrams = buffer.get_mut(..len).unwrap_or_default();
            for datagram in datagrams.chunks_mut(segment.unwrap_or(len).max(1)) {
                each(datagram, stamp_ns.unwrap_or_else(now_ns));
            }
        }
        received == messages
    }
}

/// When a message arrived and, of a train, how long its datagrams are.
fn read_control(header: &libc::msghdr) -> (Option<u64>, Option<usize>) {
    let (mut stamp_ns, mut segment) = (None, None);
    // SAFETY: the kernel filled the control space of `header` and set its length; the CMSG functions stay within it, and
    // the data may be unaligned for the type.
    unsafe {
        let mut at = libc::CMSG_FIRSTHDR(header);
        while let Some(message) = at.as_ref() {
            let data = libc::CMSG_DATA(message);
            match (message.cmsg_level, message.cmsg_type) {
                (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) => {
                    let time = data.cast::<libc::timespec>().read_unaligned();
                    stamp_ns = Some(time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs());
                }
                (libc::SOL_UDP, libc::UDP_GRO) => {
                    segment = usize::try_from(data.cast::<libc::c_int>().read_unaligned()).ok();
                }
                _ => {}
            }
            at = libc::CMSG_NXTHDR(header, message);
        }
    }
    (stamp_ns, segment)
}
