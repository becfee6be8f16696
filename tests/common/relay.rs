//! The path between a peer and the node: loses what it is told to, and holds media back until the peer can take it.
//!
//! The peer library installs its SRTP keys after it has read a batch of datagrams, so of what comes right behind the
//! server's last handshake flight it refuses the first few packets; browsers don't.

use socket2::SockRef;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::time::sleep;

/// Ethernet's.
const DATAGRAM_BYTES: usize = 1_500;
/// What is held leaves in such bursts, a millisecond apart, so that it does not overrun the peer's socket.
const BURST: usize = 16;

/// A viewer's first keyframe comes in one burst, and a loaded machine may leave it lying for a while.
const RECEIVE_BUFFER_BYTES: usize = 1 << 21;

/// Whether a datagram of media gets lost, whichever way it goes.
pub type Loss = Box<dyn FnMut(&[u8]) -> bool + Send>;

/// Puts itself between a peer and the only UDP candidate of the answer; returns the answer the peer is to have.
pub async fn interpose(
    answer: &str,
    open: watch::Receiver<bool>,
    loss: Loss,
) -> (String, impl Future<Output = ()> + use<>) {
    let candidate = |line: &str| -> Option<SocketAddr> {
        // a=candidate:foundation component transport priority address port typ host
        let fields: Vec<&str> = line.strip_prefix("a=candidate:")?.split(' ').collect();
        let udp = fields[2].eq_ignore_ascii_case("udp");
        udp.then(|| SocketAddr::new(fields[4].parse().unwrap(), fields[5].parse().unwrap()))
    };
    let node = answer.lines().find_map(candidate).expect("a UDP candidate");
    let (front, back) = (socket(), socket());
    back.connect(node).await.unwrap();
    let (from, to) = (
        format!(" {} ", node.port()),
        format!(" {} ", front.local_addr().unwrap().port()),
    );
    let mut edited = String::new();
    for line in answer.lines() {
        if line.starts_with("a=candidate:") {
            if candidate(line).is_some() {
                edited.push_str(&line.replacen(&from, &to, 1));
                edited.push_str("\r\n");
            }
        } else {
            edited.push_str(line);
            edited.push_str("\r\n");
        }
    }
    (edited, run(front, back, open, loss))
}

fn socket() -> UdpSocket {
    let socket = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    // The kernel gives what it may.
    let _ = SockRef::from(&socket).set_recv_buffer_size(RECEIVE_BUFFER_BYTES);
    socket.set_nonblocking(true).unwrap();
    UdpSocket::from_std(socket).unwrap()
}

async fn run(front: UdpSocket, back: UdpSocket, mut open: watch::Receiver<bool>, mut loss: Loss) {
    let mut peer: Option<SocketAddr> = None;
    // Bounded by the seconds a handshake takes.
    let mut held: Vec<Vec<u8>> = Vec::new();
    let (mut upward, mut downward) = ([0; DATAGRAM_BYTES], [0; DATAGRAM_BYTES]);
    let mut is_open = false;
    loop {
        tokio::select! {
            biased;
            changed = open.changed(), if !is_open => {
                if changed.is_err() {
                    return;
                }
                is_open = true;
                for burst in std::mem::take(&mut held).chunks(BURST) {
                    for datagram in burst {
                        deliver(&front, peer, datagram).await;
                    }
                    sleep(Duration::from_millis(1)).await;
                }
            }
            Ok((length, from)) = front.recv_from(&mut upward) => {
                peer = Some(from);
                let datagram = &upward[..length];
                if !(is_media(datagram) && loss(datagram)) {
                    // The node may be gone.
                    let _ = back.send(datagram).await;
                }
            }
            Ok(length) = back.recv(&mut downward) => {
                let datagram = &downward[..length];
                let media = is_media(datagram);
                if media && loss(datagram) {
                    continue;
                }
                if media && !is_open {
                    held.push(datagram.to_vec());
                } else {
                    deliver(&front, peer, datagram).await;
                }
            }
        }
    }
}

/// RFC 7983 section 7
fn is_media(datagram: &[u8]) -> bool {
    datagram.first().is_some_and(|first| (128..=191).contains(first))
}

async fn deliver(front: &UdpSocket, peer: Option<SocketAddr>, datagram: &[u8]) {
    if let Some(peer) = peer {
        // The peer may be gone.
        let _ = front.send_to(datagram, peer).await;
    }
}
