//! The receiving half: `recvmmsg` into buffers of its own, and when the kernel got each datagram.

#![expect(unsafe_code, reason = "the standard library receives datagrams one by one")]

use super::name::Name;
use super::{DATAGRAM_MAX, RECEIVE_BATCH, UdpSocket};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant, SystemTime};

/// A datagram that seems to have waited longer than this did not: the system's clock was set meanwhile.
pub(super) const AGE_MAX: Duration = Duration::from_secs(1);

/// When a datagram came, at most `now`. `age`: how long ago that was, as the system's clock says, at `now` + `behind`.
pub(super) fn arrival(now: Instant, behind: Duration, age: Option<Duration>) -> Instant {
    let age = age.filter(|age| *age <= AGE_MAX).unwrap_or_default();
    now.checked_sub(age.saturating_sub(behind)).unwrap_or(now)
}
impl UdpSocket {
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
pub(super) struct Inbound {
    buffers: Box<[[u8; DATAGRAM_MAX]]>,
    names: Box<[Name]>,
    stamps: Box<[Stamp]>,
    vectors: Box<[libc::iovec]>,
    headers: Box<[libc::mmsghdr]>,
}

// SAFETY: the raw pointers point into the boxes beside them, which move with this value and are reached by nobody else.
unsafe impl Send for Inbound {}

impl Inbound {
    pub fn new() -> Self {
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

    pub(super) fn receive(&mut self, fd: libc::c_int) -> usize {
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
    pub(super) fn stamp(&self, index: usize) -> Option<SystemTime> {
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
