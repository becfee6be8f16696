//! Streams that are cut off at random add up to the same picture as one that never was.

use crate::server::{PATIENCE, Server, directory};
use crate::stream::{Picture, Received, Stream, request_ids, seat_view};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::watch;
use tokio::time::timeout;

const ROOM: &str = "/v1/rooms/r";
const LISTENERS: usize = 12;
const COMMANDS: usize = 250;

#[tokio::test(flavor = "multi_thread")]
async fn streams_killed_at_random_converge() {
    let server = Arc::new(Server::start(&directory("converge").join("costage.redb")));
    let service = server.token("*", "backend", "service").await;
    let room = json!({"room": "r", "host": "ann"});
    server.call(&service, Method::POST, "/v1/rooms", room).await;

    let (finish, finished) = watch::channel(None);
    let mut listeners = Vec::new();
    for number in 0..LISTENERS {
        let (user, role) = match number % 4 {
            0 => ("backend".to_owned(), "service"),
            1 => (format!("admin-{number}"), "admin"),
            _ => (format!("guest-{number}"), "member"),
        };
        let token = server
            .token(if role == "service" { "*" } else { "r" }, &user, role)
            .await;
        let listener = listen(server.clone(), token, number as u64, finished.clone());
        listeners.push((role, tokio::spawn(listener)));
    }
    drive(&server, &service).await;
    let truth = server.get(&service, ROOM).await;
    finish.send_replace(truth["version"].as_u64());

    let seats: BTreeMap<u64, Value> = truth["seats"].as_array().unwrap().iter().map(seat_view).collect();
    let mut resumed = 0;
    for (role, listener) in listeners {
        let picture = timeout(PATIENCE, listener)
            .await
            .expect("it catches up")
            .expect("it does not fail");
        assert_eq!(picture.seats, seats, "{role}");
        if role != "member" {
            assert_eq!(picture.requests, request_ids(&truth), "{role}");
        }
        resumed += picture.resumed;
    }
    assert!(
        resumed > LISTENERS as u32,
        "the test is worth nothing if nobody resumes"
    );
}

/// Opens streams, reads a few messages of each and drops it without a word, until the final version has been seen.
async fn listen(server: Arc<Server>, token: String, seed: u64, mut finished: watch::Receiver<Option<u64>>) -> Picture {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut picture = Picture::default();
    loop {
        let mut stream = Stream::open(&server, &token, "r", picture.position).await;
        let snapshots = picture.snapshots;
        for read in 0..rng.random_range(1..25) {
            let received = tokio::select! {
                received = stream.next() => received,
                // Nothing more is to come: whoever has the final version is done.
                Ok(_) = finished.wait_for(|version| version.is_some_and(|version| picture.version >= version)) => {
                    return picture;
                }
            };
            match received {
                Received::Message(message) => picture.take(&message),
                Received::Closed(code) => panic!("closed with {code:?} at {:?}", picture.position),
            }
            if read == 0 && picture.snapshots == snapshots {
                picture.resumed += 1;
            }
        }
    }
}

/// Random seat commands of a signalling server, and of guests who apply.
async fn drive(server: &Server, service: &str) {
    let mut rng = StdRng::seed_from_u64(7);
    for _ in 0..COMMANDS {
        let seat = rng.random_range(1..=9u32);
        let user = format!("guest-{}", rng.random_range(0..LISTENERS));
        let (method, path, body) = match rng.random_range(0..8) {
            0..=2 => (Method::PUT, format!("{ROOM}/seats/{seat}"), json!({"user": user})),
            3 => (Method::DELETE, format!("{ROOM}/seats/{seat}"), Value::Null),
            4 => {
                let flags = json!({"locked": rng.random_bool(0.3), "audio_locked": rng.random_bool(0.5)});
                (Method::PATCH, format!("{ROOM}/seats/{seat}"), flags)
            }
            5 => (Method::POST, format!("{ROOM}/applications"), json!({"user": user})),
            6 => (Method::POST, format!("{ROOM}/applications/{user}/accept"), json!({})),
            _ => {
                let to = json!({"to": rng.random_range(1..=9u32), "policy": "swap"});
                (Method::POST, format!("{ROOM}/seats/{seat}/move"), to)
            }
        };
        let request = server.request(service, method, &path);
        let request = if body.is_null() { request } else { request.json(&body) };
        let status = request.send().await.unwrap().status();
        // Many are refused, and rightly; none may fail.
        assert!(!status.is_server_error(), "{path}: {status}");
    }
}
