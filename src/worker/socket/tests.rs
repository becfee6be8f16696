//! Trains cut and sent over loopback, what the kernel refuses, and when datagrams came.

use super::name::Name;
use super::receiving::{AGE_MAX, arrival};
use super::sending::{Patience, TRAIN_BYTES, TRAIN_PACKETS, becomes_writable, cut_train, ends_trains};
use super::*;
use crate::transport::Path;
use crate::worker::outbox::Run;
use proptest::prelude::*;
use socket2::SockRef;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::{Duration, SystemTime};

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
    while all.len() < expected && socket.receive(Instant::now(), |bytes, from, _| all.push((bytes.to_vec(), from))) > 0
    {
    }
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

/// UDP GSO needs checksums: a socket without them stands for a kernel that takes no trains.
fn without_checksums(mut socket: UdpSocket) -> UdpSocket {
    let off: libc::c_int = 1;
    // SAFETY: an integer option, read from a live local.
    let set = unsafe {
        libc::setsockopt(
            socket.fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NO_CHECK,
            (&raw const off).cast(),
            size_of_val(&off) as _,
        )
    };
    assert_eq!((set, socket.takes_trains()), (0, false));
    socket
}

#[test]
fn refused_trains_are_sent_apart_and_nothing_is_lost() {
    let (mut sender, mut receiver) = (without_checksums(loopback(true)), loopback(false));
    let (bytes, datagrams) = arena(&[900; 6]);
    let runs = [run(receiver.local(), 0, 3), run(receiver.local(), 3, 6)];
    let mut report = SendReport::default();
    sender.send(&bytes, &datagrams, runs.iter().enumerate(), &mut report);
    assert_eq!((report.datagrams, report.errors), (6, 0));
    assert_eq!(received(&mut receiver, 6).len(), 6);
}

#[test]
fn only_a_device_that_cannot_cut_them_ends_trains() {
    let ends = |errno| ends_trains(&std::io::Error::from_raw_os_error(errno));
    assert!(ends(libc::EIO));
    assert!(!ends(libc::EMSGSIZE) && !ends(libc::EINVAL));
    let mut socket = loopback(true);
    assert!(socket.takes_trains());
    assert_eq!(received(&mut socket, 1).len(), 0, "nothing of the probe comes back");
}

#[test]
fn a_path_that_is_too_narrow_ends_no_trains() {
    let bind = || UdpSocket::bind((Ipv6Addr::LOCALHOST, 0).into(), true);
    let (Ok(mut sender), Ok(mut receiver)) = (bind(), bind()) else {
        // a host without IPv6
        return;
    };
    assert!(sender.gso);
    let narrow: libc::c_int = 1280;
    // SAFETY: an integer option, read from a live local.
    let set = unsafe {
        libc::setsockopt(
            sender.fd.as_raw_fd(),
            libc::IPPROTO_IPV6,
            libc::IPV6_MTU,
            (&raw const narrow).cast(),
            size_of_val(&narrow) as _,
        )
    };
    assert_eq!(set, 0);
    let (bytes, datagrams) = arena(&[1400; 4]);
    let runs = [run(receiver.local(), 0, 4)];
    let mut report = SendReport::default();
    sender.send(&bytes, &datagrams, runs.iter().enumerate(), &mut report);
    assert_eq!(
        (report.datagrams, report.calls),
        (4, 5),
        "refused as a train, sent apart"
    );
    assert_eq!(received(&mut receiver, 4).len(), 4);
    assert!(sender.gso, "others have wider paths");
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
