use super::*;
use crate::transport::stun::testing::{CONTROLLED, USE_CANDIDATE, nomination, request, response_code};

fn credentials(ufrag: &str, pwd: &str) -> Credentials {
    Credentials {
        ufrag: ufrag.into(),
        pwd: pwd.into(),
    }
}

fn path(port: u16) -> Path {
    Path {
        socket: 0,
        remote: SocketAddr::from(([192, 0, 2, 1], port)),
    }
}

/// An agent with its events and a clock that starts at zero.
struct Bench {
    agent: Agent,
    start: Instant,
    events: VecDeque<Event>,
}

impl Bench {
    fn new() -> Self {
        let start = Instant::now();
        let agent = Agent::new(&credentials("us", "secret"), &credentials("them", "theirs"), start);
        Bench {
            agent,
            start,
            events: VecDeque::new(),
        }
    }

    fn at(&self, seconds: u64) -> Instant {
        self.start + Duration::from_secs(seconds)
    }

    fn handle(&mut self, datagram: &[u8], port: u16, seconds: u64) -> Result<Option<Vec<u8>>, Dropped> {
        self.agent
            .handle(datagram, path(port), self.at(seconds), &mut self.events)
    }

    /// A check that must be answered with success.
    fn check(&mut self, port: u16, seconds: u64, attributes: &[(u16, &[u8])]) {
        let reply = self.handle(&request("us:them", "secret", attributes), port, seconds);
        let reply = reply.expect("accepted").expect("answered");
        assert_eq!(response_code(&reply, "secret"), Some(0));
    }

    fn events(&mut self) -> Vec<Event> {
        self.events.drain(..).collect()
    }

    fn media(&self) -> Option<u16> {
        self.agent.path().map(|path| path.remote.port())
    }
}

#[test]
fn the_fragment_is_readable_before_anything_is_verified() {
    assert_eq!(local_ufrag(&request("us:them", "whatever", &[])), Some("us"));
    assert_eq!(local_ufrag(b"\x80\x60 not stun"), None);
    assert_eq!(local_ufrag(&[]), None);
}

#[test]
fn wrong_credentials_get_no_answer() {
    let mut bench = Bench::new();
    for (user, pwd) in [
        ("us:them", "other"),
        ("us:others", "secret"),
        ("you:them", "secret"),
        ("usthem", "secret"),
    ] {
        let dropped = bench.handle(&request(user, pwd, &[USE_CANDIDATE]), 1, 0);
        assert!(
            matches!(dropped, Err(Dropped::Unauthorised | Dropped::Malformed)),
            "{user} {pwd}"
        );
    }
    assert_eq!((bench.events(), bench.media()), (vec![], None));
}

#[test]
fn media_goes_to_the_first_validated_path_then_to_the_newest_nomination() {
    let mut bench = Bench::new();
    bench.check(1, 0, &[]);
    assert_eq!(
        bench.events(),
        [Event::PathValidated(path(1)), Event::PathSelected(path(1))]
    );
    bench.check(2, 0, &[]);
    assert_eq!(
        (bench.media(), bench.events()),
        (Some(1), vec![Event::PathValidated(path(2))])
    );
    bench.check(2, 0, &[USE_CANDIDATE]);
    assert_eq!(
        (bench.media(), bench.events()),
        (Some(2), vec![Event::PathSelected(path(2))])
    );
    bench.check(2, 1, &[USE_CANDIDATE]);
    assert_eq!(bench.events(), [], "the same again is no news");
    bench.check(1, 1, &[]);
    assert_eq!(bench.media(), Some(2));
    // a NAT gave the peer another port: its next nominated check moves media
    bench.check(3, 2, &[USE_CANDIDATE]);
    assert_eq!(
        bench.events(),
        [Event::PathValidated(path(3)), Event::PathSelected(path(3))]
    );
}

#[test]
fn a_rebound_peer_that_nominates_no_more_is_followed_once_the_old_path_is_silent() {
    let mut bench = Bench::new();
    bench.check(1, 0, &[USE_CANDIDATE]);
    bench.check(2, 5, &[]);
    assert_eq!(bench.media(), Some(1), "may be a spare pair");
    bench.check(2, 8, &[]);
    assert_eq!(bench.media(), Some(2));
}

#[test]
fn a_stale_renomination_is_ignored() {
    let mut bench = Bench::new();
    bench.check(1, 0, &[nomination(&[0, 0, 0, 2])]);
    bench.check(2, 0, &[nomination(&[0, 0, 0, 1])]);
    assert_eq!(bench.media(), Some(1));
    bench.check(2, 0, &[nomination(&[0, 0, 0, 3])]);
    assert_eq!(bench.media(), Some(2));
}

#[test]
fn a_controlled_peer_is_told_of_the_conflict() {
    let mut bench = Bench::new();
    let reply = bench
        .handle(&request("us:them", "secret", &[CONTROLLED]), 1, 0)
        .unwrap()
        .unwrap();
    assert_eq!(response_code(&reply, "secret"), Some(487));
    assert_eq!(bench.events(), []);
    let reply = bench
        .handle(&request("us:them", "secret", &[(0x7001, &[0; 4])]), 1, 0)
        .unwrap()
        .unwrap();
    assert_eq!(response_code(&reply, "secret"), Some(420));
    assert_eq!(bench.events(), []);
}

#[test]
fn consent_runs_out_30_seconds_after_the_last_authenticated_check() {
    let mut bench = Bench::new();
    assert_eq!(bench.agent.poll_timeout(), bench.at(30), "for a first check too");
    bench.check(1, 20, &[]);
    assert_eq!(bench.agent.poll_timeout(), bench.at(50));
    let _ = bench.handle(&request("us:them", "forged", &[]), 1, 40);
    let mut indication = request("us:them", "secret", &[]);
    indication.truncate(20);
    indication[..4].copy_from_slice(&[0, 0x11, 0, 0]);
    assert_eq!(bench.handle(&indication, 1, 40), Ok(None));
    let (before, after) = (bench.at(49), bench.at(50));
    assert!(bench.agent.handle_timeout(before, &mut bench.events));
    assert!(!bench.agent.handle_timeout(after, &mut bench.events));
}

#[test]
fn quiet_spare_paths_are_forgotten_and_their_number_is_bounded() {
    let mut bench = Bench::new();
    bench.check(1, 0, &[USE_CANDIDATE]);
    bench.check(2, 10, &[]);
    bench.check(1, 20, &[]);
    bench.events();
    assert_eq!(bench.agent.poll_timeout(), bench.at(40), "path 2 falls due first");
    let now = bench.at(40);
    assert!(bench.agent.handle_timeout(now, &mut bench.events));
    assert_eq!(bench.events(), [Event::PathForgotten(path(2))]);

    for port in 100..100 + u16::try_from(MAX_PATHS).unwrap() {
        bench.check(port, 21 + u64::from(port - 100) / 8, &[]);
    }
    let events = bench.events();
    assert!(
        events.contains(&Event::PathForgotten(path(100))),
        "the one not checked for longest"
    );
    assert!(bench.agent.is_validated(path(1)), "media's own path stays");
    assert_eq!(bench.agent.paths.len(), MAX_PATHS);
}

#[test]
fn a_restart_keeps_the_path_until_the_new_credentials_nominate() {
    let mut bench = Bench::new();
    bench.check(1, 0, &[nomination(&[0, 0, 0, 9])]);
    bench
        .agent
        .restart(&credentials("us2", "secret2"), &credentials("them2", "x"), bench.start);
    bench
        .agent
        .restart(&credentials("us3", "secret3"), &credentials("them3", "x"), bench.start);
    bench.check(1, 1, &[]); // the old ones still pass
    assert_eq!(bench.media(), Some(1));
    let unused = bench.handle(&request("us2:them2", "secret2", &[]), 1, 1);
    assert_eq!(unused, Err(Dropped::Unauthorised), "skipped by the second restart");

    let reply = bench
        .handle(&request("us3:them3", "secret3", &[]), 2, 2)
        .unwrap()
        .unwrap();
    assert_eq!(response_code(&reply, "secret3"), Some(0));
    assert_eq!(bench.media(), Some(1), "validated, not nominated");
    assert_eq!(
        bench.handle(&request("us:them", "secret", &[]), 1, 2),
        Err(Dropped::Unauthorised),
        "now they are old"
    );
    // a new generation counts its nominations from the start
    let first = [nomination(&[0, 0, 0, 1])];
    bench.handle(&request("us3:them3", "secret3", &first), 2, 3).unwrap();
    assert_eq!(bench.media(), Some(2));
}

#[test]
fn a_closed_connection_hands_media_to_the_path_checked_last() {
    let mut bench = Bench::new();
    bench.check(1, 0, &[USE_CANDIDATE]);
    bench.check(2, 1, &[]);
    bench.check(3, 2, &[]);
    bench.events();
    bench.agent.forget(path(1), &mut bench.events);
    assert_eq!(
        bench.events(),
        [Event::PathForgotten(path(1)), Event::PathSelected(path(3))]
    );
    bench.agent.forget(path(1), &mut bench.events);
    assert_eq!(bench.events(), []);
    for port in [2, 3] {
        bench.agent.forget(path(port), &mut bench.events);
    }
    assert_eq!(bench.media(), None);
    bench.check(4, 3, &[]);
    assert_eq!(bench.media(), Some(4), "the next to be validated is the first again");
}
