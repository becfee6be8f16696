//! Whole transports against an OpenSSL client, an ICE client made of STUN requests, and our own SRTP turned around.

use super::dtls::testing::{Client, Identity};
use super::stun::testing::{USE_CANDIDATE, request, response_code};
use super::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const BOTH_PROFILES: &str = "SRTP_AES128_CM_SHA1_80:SRTP_AEAD_AES_128_GCM";

fn path(port: u16) -> Path {
    Path {
        socket: 3,
        remote: SocketAddr::from(([192, 0, 2, 1], port)),
    }
}

fn credentials(ufrag: &str, pwd: &str) -> ice::Credentials {
    ice::Credentials {
        ufrag: ufrag.into(),
        pwd: pwd.into(),
    }
}

struct Peer {
    transport: Transport,
    client: Client,
    now: Instant,
}

impl Peer {
    fn new(client: Client) -> Self {
        Peer::of(&dtls::Context::new().unwrap(), client)
    }

    fn of(context: &dtls::Context, client: Client) -> Self {
        let now = Instant::now();
        let remote = Remote {
            ice: credentials("them", "theirs"),
            fingerprint: client.fingerprint(),
        };
        Peer {
            transport: Transport::new(context, credentials("us", "secret"), remote, now),
            client,
            now,
        }
    }

    fn receive(&mut self, mut datagram: Vec<u8>, port: u16) -> Result<(), Dropped> {
        self.transport
            .handle_datagram(&mut datagram, path(port), self.now)
            .map(|_| ())
    }

    fn check(&mut self, port: u16, attributes: &[(u16, &[u8])]) {
        self.receive(request("us:them", "secret", attributes), port).unwrap();
        let reply = self.transport.poll_transmit().unwrap();
        assert_eq!(
            (reply.path, response_code(&reply.bytes, "secret")),
            (path(port), Some(0))
        );
    }

    /// Let the DTLS client and the transport talk until both are silent.
    fn talk(&mut self, port: u16) {
        loop {
            let sent = self.client.step();
            let quiet = sent.is_empty();
            for datagram in sent {
                self.receive(datagram, port).unwrap();
            }
            let mut answered = false;
            while let Some(transmit) = self.transport.poll_transmit() {
                assert_eq!(transmit.path, path(port));
                self.client.receive(transmit.bytes);
                answered = true;
            }
            if quiet && !answered {
                return;
            }
        }
    }

    fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.transport.poll_event()).collect()
    }

    fn connected() -> Self {
        Peer::connected_to(&dtls::Context::new().unwrap())
    }

    fn connected_to(context: &dtls::Context) -> Self {
        let mut peer = Peer::of(context, Client::new(Identity::Ec, BOTH_PROFILES, 1200));
        peer.check(1, &[USE_CANDIDATE]);
        peer.talk(1);
        let connected = Event::Connected(srtp::Profile::AeadAes128Gcm);
        assert_eq!(
            peer.events(),
            [Event::PathValidated(path(1)), Event::PathSelected(path(1)), connected]
        );
        peer
    }
}

#[test]
fn from_the_first_check_to_media_in_both_directions() {
    let mut peer = Peer::connected();
    let profile = srtp::Profile::AeadAes128Gcm;
    let (mut opener, mut sealer) = srtp::client_contexts(profile, &peer.client.material(profile));
    assert_eq!(peer.transport.path(), Some(path(1)));

    let plain = [&[0x80, 0xe0, 0, 7, 0, 0, 0, 1, 0, 0, 0, 9][..], b"payload"].concat();
    let mut sealed = plain.clone();
    sealer.protect_rtp(&mut sealed, 0, 12, 9, 7);
    let mut again = sealed.clone();
    match peer.transport.handle_datagram(&mut sealed, path(1), peer.now) {
        Ok(Received::Rtp { packet, index: 7 }) => assert_eq!(packet, plain),
        other => panic!("{other:?}"),
    }
    assert_eq!(
        peer.transport
            .handle_datagram(&mut again, path(1), peer.now)
            .unwrap_err(),
        Dropped::Replayed
    );
    again[15] ^= 1;
    again[3] = 8;
    assert_eq!(
        peer.transport
            .handle_datagram(&mut again, path(1), peer.now)
            .unwrap_err(),
        Dropped::Forged
    );

    let report = [0x80, 201, 0, 1, 0, 0, 0, 9];
    let mut sealed = report.to_vec();
    sealer.protect_rtcp(&mut sealed);
    match peer.transport.handle_datagram(&mut sealed, path(1), peer.now) {
        Ok(Received::Rtcp(compound)) => assert_eq!(compound, report),
        other => panic!("{other:?}"),
    }

    let sender = peer.transport.sender().unwrap();
    let mut ours = plain.clone();
    sender.protect_rtp(&mut ours, 0, 12, 9, 7);
    assert_eq!(&*opener.unprotect_rtp(&mut ours).unwrap().0, &plain[..]);
    let mut ours = report.to_vec();
    sender.protect_rtcp(&mut ours);
    assert_eq!(opener.unprotect_rtcp(&mut ours).unwrap(), report);
}

#[test]
fn nothing_but_checks_is_taken_from_an_unvalidated_path() {
    let mut peer = Peer::new(Client::new(Identity::Ec, BOTH_PROFILES, 1200));
    let hello = peer.client.step().remove(0);
    assert_eq!(peer.receive(hello.clone(), 1), Err(Dropped::UnknownPath));
    assert_eq!(peer.receive(vec![0x80; 60], 1), Err(Dropped::UnknownPath));
    peer.check(1, &[]);
    assert_eq!(peer.receive(vec![0x80; 60], 1), Err(Dropped::NoKeys));
    assert_eq!(peer.receive(vec![0x80, 200, 0, 0], 1), Err(Dropped::NoKeys));
    assert_eq!(peer.receive(hello.clone(), 2), Err(Dropped::UnknownPath));
    for malformed in [vec![], vec![0], vec![0x80], vec![70; 30], vec![255; 30]] {
        assert_eq!(peer.receive(malformed, 1), Err(Dropped::Malformed));
    }
    assert_eq!(peer.receive(hello, 1), Ok(()));
    assert!(peer.transport.poll_transmit().is_some());
}

#[test]
fn dtls_is_answered_where_it_comes_from_until_it_is_nominated() {
    let mut peer = Peer::new(Client::new(Identity::Ec, BOTH_PROFILES, 1200));
    peer.check(1, &[]);
    peer.check(2, &[]);
    peer.talk(2); // asserts the path of every answer
    assert!(peer.client.is_connected());
    assert_eq!(peer.transport.path(), Some(path(1)));
    peer.check(2, &[USE_CANDIDATE]);
    assert_eq!(peer.transport.path(), Some(path(2)));
}

#[test]
fn media_follows_a_rebound_nat() {
    let mut peer = Peer::connected();
    let profile = srtp::Profile::AeadAes128Gcm;
    let (_, mut sealer) = srtp::client_contexts(profile, &peer.client.material(profile));
    let mut report = vec![0x80, 201, 0, 1, 0, 0, 0, 9];
    sealer.protect_rtcp(&mut report);
    assert_eq!(peer.receive(report.clone(), 2), Err(Dropped::UnknownPath));
    peer.check(2, &[USE_CANDIDATE]);
    assert_eq!(
        peer.events(),
        [Event::PathValidated(path(2)), Event::PathSelected(path(2))]
    );
    assert_eq!(peer.receive(report, 2), Ok(()));
}

#[test]
fn a_restart_goes_on_with_the_same_keys() {
    let mut peer = Peer::connected();
    peer.transport
        .restart(credentials("us2", "secret2"), credentials("them2", "x"), peer.now);
    peer.check(1, &[]);
    assert_eq!(peer.transport.path(), Some(path(1)));
    peer.receive(request("us2:them2", "secret2", &[USE_CANDIDATE]), 2)
        .unwrap();
    assert_eq!(peer.transport.path(), Some(path(2)));
    assert_eq!(
        peer.receive(request("us:them", "secret", &[]), 1),
        Err(Dropped::Unauthorised)
    );
    assert!(peer.transport.sender().is_some());
}

#[test]
fn the_peer_closes() {
    let mut peer = Peer::connected();
    peer.client.close();
    peer.talk(1);
    assert_eq!(peer.events(), [Event::Closed(CloseReason::PeerClosed)]);
    assert!(peer.transport.sender().is_none() && peer.transport.poll_timeout().is_none());
    let mut check = request("us:them", "secret", &[]);
    assert!(matches!(
        peer.transport.handle_datagram(&mut check, path(1), peer.now),
        Ok(Received::Nothing)
    ));
    assert!(peer.transport.poll_transmit().is_none());
}

#[test]
fn the_server_closes() {
    let mut peer = Peer::connected();
    peer.transport.close();
    peer.transport.close();
    let notice = peer.transport.poll_transmit().expect("a close_notify");
    assert_eq!(notice.path, path(1));
    peer.client.receive(notice.bytes);
    assert!(peer.client.is_closed());
    assert_eq!(peer.events(), []);
    // before there are keys there is nobody to tell
    let mut early = Peer::new(Client::new(Identity::Ec, BOTH_PROFILES, 1200));
    early.transport.close();
    assert!(early.transport.poll_transmit().is_none());
}

#[test]
fn another_certificate_closes_without_keys() {
    let mut peer = Peer::new(Client::new(Identity::Ec, BOTH_PROFILES, 1200));
    let other = Client::new(Identity::Ec, BOTH_PROFILES, 1200);
    peer.client = other;
    peer.check(1, &[]);
    peer.talk(1);
    assert_eq!(
        peer.events().last(),
        Some(&Event::Closed(CloseReason::FingerprintMismatch))
    );
    assert!(peer.transport.sender().is_none());
}

#[test]
fn time_closes_what_does_not_come_up_or_goes_quiet() {
    let second = Duration::from_secs(1);
    // no check at all
    let mut peer = Peer::new(Client::new(Identity::Ec, BOTH_PROFILES, 1200));
    assert_eq!(peer.transport.poll_timeout(), Some(peer.now + 30 * second));
    peer.transport.handle_timeout(peer.now + 30 * second);
    assert_eq!(peer.events(), [Event::Closed(CloseReason::ConsentExpired)]);

    // checks, but no DTLS
    let mut peer = Peer::new(Client::new(Identity::Ec, BOTH_PROFILES, 1200));
    for _ in 0..30 {
        peer.check(1, &[]);
        peer.now += second;
    }
    peer.transport.handle_timeout(peer.now);
    assert_eq!(peer.events().last(), Some(&Event::Closed(CloseReason::HandshakeFailed)));

    // connected, then gone
    let mut peer = Peer::connected();
    peer.now += 29 * second;
    peer.transport.handle_timeout(peer.now);
    assert_eq!(peer.events(), []);
    peer.check(1, &[]);
    assert_eq!(peer.transport.poll_timeout(), Some(peer.now + 30 * second));
    peer.transport.handle_timeout(peer.now + 30 * second);
    assert_eq!(peer.events(), [Event::Closed(CloseReason::ConsentExpired)]);
}

#[test]
fn a_lost_connection_moves_media() {
    let mut peer = Peer::connected();
    peer.check(2, &[]);
    peer.events();
    peer.transport.path_lost(path(1));
    assert_eq!(
        peer.events(),
        [Event::PathForgotten(path(1)), Event::PathSelected(path(2))]
    );
    peer.transport.path_lost(path(2));
    assert_eq!(peer.transport.path(), None);
}

#[test]
fn mutated_datagrams_never_panic() {
    let mut peer = Peer::connected();
    let profile = srtp::Profile::AeadAes128Gcm;
    let (_, mut sealer) = srtp::client_contexts(profile, &peer.client.material(profile));
    let mut rtp = vec![
        0x90, 0xe0, 0, 7, 0, 0, 0, 1, 0, 0, 0, 9, 0xbe, 0xde, 0, 1, 1, 2, 3, 4, 5, 6,
    ];
    sealer.protect_rtp(&mut rtp, 0, 20, 9, 7);
    let mut rtcp = vec![0x80, 201, 0, 1, 0, 0, 0, 9];
    sealer.protect_rtcp(&mut rtcp);
    let hello = Client::new(Identity::Ec, BOTH_PROFILES, 400).step().remove(0);
    let corpus = [rtp, rtcp, hello, request("us:them", "secret", &[USE_CANDIDATE])];
    let mut rng = StdRng::seed_from_u64(4);
    for round in 0..10_000 {
        let mut datagram = corpus[round % corpus.len()].clone();
        for _ in 0..rng.random_range(1..5) {
            let at = rng.random_range(0..datagram.len());
            datagram[at] = rng.random();
        }
        datagram.truncate(rng.random_range(0..=datagram.len()));
        let _ = peer.receive(datagram, 1);
        while peer.transport.poll_transmit().is_some() {}
    }
    assert!(
        !peer.events().contains(&Event::Closed(CloseReason::PeerClosed)),
        "nobody without the keys can close it"
    );
}

/// `cargo test --lib transport::tests::memory -- --ignored --nocapture`
#[test]
#[ignore = "measures the resident memory of the whole process: to be run alone"]
fn memory_of_idle_sessions() {
    fn resident_kib() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }
    const SESSIONS: u64 = 400;
    let context = dtls::Context::new().unwrap();
    let connected = || Peer::connected_to(&context).transport;
    let mut kept: Vec<Transport> = (0..20).map(|_| connected()).collect(); // warm
    let before = resident_kib();
    kept.extend((0..SESSIONS).map(|_| connected()));
    let each = (resident_kib() - before) as f64 / SESSIONS as f64;
    println!(
        "{each:.1} KiB per idle connected transport, {} bytes of it inline",
        size_of::<Transport>()
    );
    assert!(
        each < 60.0,
        "most of it is OpenSSL's object, 45 KiB after its buffers were given back"
    );
}
