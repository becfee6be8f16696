//! One UDP socket in batches: `recvmmsg` in, `sendmmsg` of GSO trains out. All buffers are kept between calls.
//!
//! A train is what the kernel sends as one message and cuts itself (`UDP_SEGMENT`): datagrams of one size to one address,
//! of which only the last may be shorter. It is what makes forwarding cheap; `sendmmsg` alone saves little.

#![expect(
    unsafe_code,
    reason = "options of a socket that neither the standard library nor socket2 knows"
)]

mod name;
mod receiving;
mod sending;

pub(super) use sending::SendReport;

use receiving::Inbound;
use sending::Outbound;
use socket2::{Domain, Socket, Type};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Instant;

/// Datagrams read by one call. More saves little per datagram and makes the buffers outgrow the L2 cache.
pub(super) const RECEIVE_BATCH: usize = 64;
/// Longer datagrams are dropped: nothing that crosses the internet in WebRTC is.
pub(super) const DATAGRAM_MAX: usize = 2048;
/// Bytes the kernel may queue per direction: about 0.1 s at 600 Mbit/s, so that a late turn loses nothing. What exceeds
/// the system's limit needs CAP_NET_ADMIN; without it the limit is taken.
const SOCKET_BUFFER: usize = 8 << 20;

/// End of a datagram in the arena, and when the packet it forwards arrived.
type Datagram = (usize, Option<Instant>);

pub(super) struct UdpSocket {
    fd: OwnedFd,
    local: SocketAddr,
    /// Trains are used if the kernel knows them, until a device cannot cut them.
    gso: bool,
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
        let mut socket = UdpSocket {
            fd,
            local,
            gso,
            inbound: Inbound::new(),
            outbound: Outbound::default(),
        };
        if gso && !socket.takes_trains() {
            tracing::warn!(socket = %local, "no UDP GSO on this host, sending datagrams one by one");
            socket.gso = false;
        }
        Ok(socket)
    }

    pub fn local(&self) -> SocketAddr {
        self.local
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
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

/// Whether the kernel has `UDP_SEGMENT` at all (Linux 4.18).
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
mod tests;
