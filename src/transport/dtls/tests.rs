//! Handshakes in process with an OpenSSL client.

use super::testing::{Client, Identity};
use super::*;

/// Runs both sides until neither has anything left to say. `lose` decides over each datagram of the server.
fn run(client: &mut Client, server: &mut Server, now: Instant, mut lose: impl FnMut(usize) -> bool) -> Vec<Outcome> {
    let (mut outcomes, mut sent) = (Vec::new(), 0);
    loop {
        let mut quiet = true;
        for datagram in client.step() {
            quiet = false;
            match server.handle_datagram(&datagram, now) {
                Outcome::Pending => {}
                outcome => outcomes.push(outcome),
            }
        }
        while let Some(datagram) = server.poll_transmit() {
            quiet = false;
            assert!(datagram.len() <= usize::try_from(MTU).unwrap());
            if !lose(sent) {
                client.receive(datagram);
            }
            sent += 1;
        }
        if quiet {
            return outcomes;
        }
    }
}

fn connect(mut client: Client) -> (Client, Server, Box<Keys>) {
    let context = Context::new().unwrap();
    let mut server = Server::new(&context, client.fingerprint());
    let mut outcomes = run(&mut client, &mut server, Instant::now(), |_| false);
    assert_eq!(client.server_fingerprint(), Some(context.fingerprint()));
    let Some(Outcome::Connected(keys)) = outcomes.pop() else {
        panic!("not connected")
    };
    assert!(outcomes.is_empty() && server.poll_timeout().is_none());
    (client, server, keys)
}

#[test]
fn fingerprints_are_written_as_they_are_read() {
    let text = "4D:52:49:A8:22:76:CD:12:65:62:95:5F:30:6C:65:98:7D:67:60:5C:0D:73:1E:83:3A:1A:2A:DE:FD:92:3C:E1";
    let parsed = Fingerprint::parse(text).unwrap();
    assert_eq!(parsed.to_string(), text);
    assert_eq!(Fingerprint::parse(&text.to_lowercase()), Some(parsed));
    for bad in [
        "",
        "4D",
        &text[3..],
        &format!("{text}:00"),
        &text.replace("4D", "+D"),
        &text.replace(':', ""),
    ] {
        assert_eq!(Fingerprint::parse(bad), None, "{bad}");
    }
}

#[test]
fn a_client_with_an_ec_certificate_and_one_with_rsa() {
    for identity in [Identity::Ec, Identity::Rsa] {
        let (client, _, keys) = connect(Client::new(
            identity,
            "SRTP_AES128_CM_SHA1_80:SRTP_AEAD_AES_128_GCM",
            MTU,
        ));
        assert_eq!(keys.profile, Profile::AeadAes128Gcm, "the server's order counts");
        assert_eq!(keys.material(), client.material(keys.profile));
    }
}

#[test]
fn a_client_without_gcm_gets_the_other_profile() {
    let (client, _, keys) = connect(Client::new(Identity::Ec, "SRTP_AES128_CM_SHA1_80", MTU));
    assert_eq!(keys.profile, Profile::Aes128CmSha1_80);
    assert_eq!(keys.material(), client.material(keys.profile));
}

/// Key shares of today's browsers split the ClientHello.
#[test]
fn a_client_hello_in_several_datagrams_in_any_order() {
    let context = Context::new().unwrap();
    let now = Instant::now();
    for reversed in [false, true] {
        let mut client = Client::new(Identity::Ec, SRTP_PROFILES, 400);
        let mut server = Server::new(&context, client.fingerprint());
        let mut hello = client.step();
        assert!(hello.len() > 1, "the hello was meant to be split");
        if reversed {
            hello.reverse();
        }
        for datagram in hello {
            assert!(matches!(server.handle_datagram(&datagram, now), Outcome::Pending));
        }
        while let Some(datagram) = server.poll_transmit() {
            client.receive(datagram);
        }
        let outcomes = run(&mut client, &mut server, now, |_| false);
        assert!(matches!(outcomes[..], [Outcome::Connected(_)]));
    }
}

#[test]
fn another_certificate_than_promised_ends_the_handshake_without_keys() {
    let context = Context::new().unwrap();
    let mut client = Client::new(Identity::Ec, SRTP_PROFILES, MTU);
    let mut server = Server::new(&context, Fingerprint([7; 32]));
    let outcomes = run(&mut client, &mut server, Instant::now(), |_| false);
    assert!(matches!(
        outcomes[..],
        [Outcome::Closed(CloseReason::FingerprintMismatch)]
    ));
    assert!(client.failed(), "it was told by an alert");
}

#[test]
fn a_client_without_certificate_or_profile_fails() {
    let context = Context::new().unwrap();
    for (identity, profiles) in [
        (Identity::None, SRTP_PROFILES),
        (Identity::Ec, "SRTP_AES128_CM_SHA1_32"),
    ] {
        let mut client = Client::new(identity, profiles, MTU);
        let mut server = Server::new(&context, client.fingerprint());
        let outcomes = run(&mut client, &mut server, Instant::now(), |_| false);
        assert!(matches!(outcomes[..], [Outcome::Closed(CloseReason::HandshakeFailed)]));
    }
}

#[test]
fn close_notify_goes_both_ways() {
    let (mut client, mut server, _) = connect(Client::new(Identity::Ec, SRTP_PROFILES, MTU));
    client.close();
    let outcomes = run(&mut client, &mut server, Instant::now(), |_| false);
    assert!(matches!(outcomes[..], [Outcome::Closed(CloseReason::PeerClosed)]));

    let (mut client, mut server, _) = connect(Client::new(Identity::Ec, SRTP_PROFILES, MTU));
    server.close();
    client.receive(server.poll_transmit().expect("close_notify"));
    assert!(client.is_closed());
    server.release();
    assert!(server.poll_transmit().is_none());
}

#[test]
fn garbage_after_the_handshake_changes_nothing() {
    let (mut client, mut server, _) = connect(Client::new(Identity::Ec, SRTP_PROFILES, MTU));
    for garbage in [
        &[22; 40][..],
        &[20],
        &[63; 1500],
        &[22, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 0, 0, 4, 1, 2, 3, 4],
    ] {
        assert!(matches!(
            server.handle_datagram(garbage, Instant::now()),
            Outcome::Pending
        ));
    }
    client.close();
    assert_eq!(
        run(&mut client, &mut server, Instant::now(), |_| false).len(),
        1,
        "still listening"
    );
}

/// The client that did not get our last flight sends its own again.
#[test]
fn a_repeated_finished_is_answered_again() {
    let context = Context::new().unwrap();
    let now = Instant::now();
    let mut client = Client::new(Identity::Ec, SRTP_PROFILES, MTU);
    let mut server = Server::new(&context, client.fingerprint());
    for datagram in client.step() {
        server.handle_datagram(&datagram, now);
    }
    client.hurry();
    while let Some(datagram) = server.poll_transmit() {
        client.receive(datagram);
    }
    // its timer ran out at once: the flight is there twice
    let mut flight = client.step().into_iter();
    let connected = flight.any(|datagram| matches!(server.handle_datagram(&datagram, now), Outcome::Connected(_)));
    assert!(connected && flight.len() > 0);
    while server.poll_transmit().is_some() {} // lost
    assert!(!client.is_connected());
    for datagram in flight {
        assert!(matches!(server.handle_datagram(&datagram, now), Outcome::Pending));
    }
    while let Some(datagram) = server.poll_transmit() {
        client.receive(datagram);
    }
    client.step();
    assert!(client.is_connected());
}

#[test]
#[ignore = "waits 200 ms of real time, which OpenSSL's timer runs on"]
fn a_lost_flight_is_sent_again() {
    let context = Context::new().unwrap();
    let mut client = Client::new(Identity::Ec, SRTP_PROFILES, MTU);
    let mut server = Server::new(&context, client.fingerprint());
    let start = Instant::now();
    assert!(run(&mut client, &mut server, start, |_| true).is_empty());
    let due = server.poll_timeout().expect("a flight waits for an answer");
    assert!(due - start <= Duration::from_millis(250));
    std::thread::sleep(due - start);
    assert!(matches!(server.handle_timeout(Instant::now()), Outcome::Pending));
    client.receive(server.poll_transmit().expect("the flight again"));
    while let Some(datagram) = server.poll_transmit() {
        client.receive(datagram);
    }
    assert!(matches!(
        run(&mut client, &mut server, Instant::now(), |_| false)[..],
        [Outcome::Connected(_)]
    ));
}
