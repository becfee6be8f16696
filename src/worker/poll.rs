//! Waiting for sockets, with deadlines finer than a millisecond, and being woken by other threads.

#![expect(
    unsafe_code,
    reason = "epoll and eventfd: the standard library waits for one socket at a time"
)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

/// Descriptors reported by one wait; the rest are reported by the next.
const READY_MAX: usize = 256;

/// What a descriptor is ready for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ready {
    pub token: u64,
    pub readable: bool,
    pub writable: bool,
}

/// Level-triggered epoll.
pub(super) struct Poll {
    epoll: OwnedFd,
    events: Vec<libc::epoll_event>,
    /// `epoll_pwait2` (Linux 5.11) takes nanoseconds; `epoll_wait` would round a 1 ms tick to 1–2 ms.
    precise_call: bool,
}

impl Poll {
    pub fn new() -> io::Result<Self> {
        // SAFETY: no pointers; the result is checked and owned by nobody else.
        let epoll = unsafe { owned(libc::epoll_create1(libc::EPOLL_CLOEXEC))? };
        Ok(Poll {
            epoll,
            events: vec![libc::epoll_event { events: 0, u64: 0 }; READY_MAX],
            precise_call: true,
        })
    }

    pub fn add(&self, fd: BorrowedFd, token: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd, token, false)
    }

    /// Whether to wait for room to write, too.
    pub fn set_writable(&self, fd: BorrowedFd, token: u64, writable: bool) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, fd, token, writable)
    }

    pub fn remove(&self, fd: BorrowedFd) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_DEL, fd, 0, false)
    }

    fn control(&self, operation: libc::c_int, fd: BorrowedFd, token: u64, writable: bool) -> io::Result<()> {
        let write = if writable { libc::EPOLLOUT } else { 0 };
        let mut event = libc::epoll_event {
            events: (libc::EPOLLIN | write) as u32,
            u64: token,
        };
        // SAFETY: both descriptors are open and `event` is a live local.
        let result = unsafe { libc::epoll_ctl(self.epoll.as_raw_fd(), operation, fd.as_raw_fd(), &mut event) };
        if result == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }

    /// Waits until something is ready or `timeout` is over (`None`: for ever) and replaces `ready`.
    pub fn wait(&mut self, timeout: Option<Duration>, ready: &mut Vec<Ready>) {
        ready.clear();
        let count = self.wait_precisely(timeout);
        for event in self.events.iter().take(count) {
            let bits = event.events as libc::c_int;
            ready.push(Ready {
                token: event.u64,
                // errors and hang-ups come out of the next read
                readable: bits & (libc::EPOLLIN | libc::EPOLLERR | libc::EPOLLHUP) != 0,
                writable: bits & libc::EPOLLOUT != 0,
            });
        }
    }

    fn wait_precisely(&mut self, timeout: Option<Duration>) -> usize {
        let spec = timeout.map(|timeout| libc::timespec {
            tv_sec: libc::time_t::try_from(timeout.as_secs()).unwrap_or(libc::time_t::MAX),
            tv_nsec: timeout.subsec_nanos().into(),
        });
        let spec_pointer = spec.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        let (epoll, capacity) = (self.epoll.as_raw_fd(), self.events.len() as libc::c_int);
        if self.precise_call {
            // SAFETY: `events` holds `capacity` entries, `spec_pointer` is null or a live local, no signal mask is given.
            let count = unsafe {
                libc::syscall(
                    libc::SYS_epoll_pwait2,
                    epoll,
                    self.events.as_mut_ptr(),
                    capacity,
                    spec_pointer,
                    std::ptr::null::<libc::sigset_t>(),
                    0usize,
                )
            };
            if let Ok(count) = usize::try_from(count) {
                return count;
            }
            let refused = matches!(
                io::Error::last_os_error().raw_os_error(),
                Some(libc::ENOSYS | libc::EPERM)
            );
            if !refused {
                return 0;
            }
            self.precise_call = false;
        }
        let mut polled = libc::pollfd {
            fd: epoll,
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: one live entry; `spec_pointer` as above; then `events` holds `capacity` entries.
        let count = unsafe {
            libc::ppoll(&mut polled, 1, spec_pointer, std::ptr::null());
            libc::epoll_wait(epoll, self.events.as_mut_ptr(), capacity, 0)
        };
        usize::try_from(count).unwrap_or(0)
    }
}

/// Wakes a [`Poll`] from another thread.
pub(super) struct Waker(OwnedFd);

impl Waker {
    pub fn new() -> io::Result<Self> {
        // SAFETY: no pointers; the result is checked and owned by nobody else.
        let fd = unsafe { owned(libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK))? };
        Ok(Waker(fd))
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Several wakes before a [`reset`](Self::reset) are one.
    pub fn wake(&self) {
        let one = 1u64;
        // SAFETY: eight bytes of a live local. Fails only when the counter is full, which is awake enough.
        let _ = unsafe { libc::write(self.0.as_raw_fd(), (&raw const one).cast(), size_of_val(&one)) };
    }

    pub fn reset(&self) {
        let mut count = 0u64;
        // SAFETY: eight bytes of a live local. Fails only when there was nothing to reset.
        let _ = unsafe { libc::read(self.0.as_raw_fd(), (&raw mut count).cast(), size_of_val(&count)) };
    }
}

/// # Safety
/// A non-negative `fd` is open and owned by nobody else.
unsafe fn owned(fd: libc::c_int) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the caller's promise.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(precise_call: bool) {
        let (mut poll, waker) = (Poll::new().unwrap(), Waker::new().unwrap());
        poll.precise_call = precise_call;
        poll.add(waker.fd(), 7).unwrap();
        let mut ready = vec![];
        poll.wait(Some(Duration::ZERO), &mut ready);
        assert_eq!(ready, []);
        waker.wake();
        waker.wake();
        poll.wait(None, &mut ready);
        let expected = Ready {
            token: 7,
            readable: true,
            writable: false,
        };
        assert_eq!(ready, [expected]);
        waker.reset();
        poll.wait(Some(Duration::from_micros(50)), &mut ready);
        assert_eq!(ready, []);
        poll.set_writable(waker.fd(), 8, true).unwrap();
        poll.wait(None, &mut ready);
        assert_eq!(
            ready.first().map(|r| (r.token, r.readable, r.writable)),
            Some((8, false, true))
        );
        poll.remove(waker.fd()).unwrap();
        poll.wait(Some(Duration::ZERO), &mut ready);
        assert_eq!(ready, []);
    }

    #[test]
    fn wakes_and_times_out() {
        waits(true);
    }

    #[test]
    fn older_kernels_are_served_by_ppoll() {
        waits(false);
    }
}
