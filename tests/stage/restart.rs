//! What survives `kill -9`.

use crate::server::{Server, directory};
use crate::stream::{Stream, request_ids};
use reqwest::Method;
use serde_json::{Value, json};

const ROOM: &str = "/v1/rooms/r";

#[tokio::test(flavor = "multi_thread")]
async fn rooms_seats_locks_and_requests_outlive_the_process() {
    let store = directory("outlive").join("costage.redb");
    let server = Server::start(&store);
    let service = server.token("*", "backend", "service").await;
    let room = json!({"room": "r", "host": {"user": "ann", "name": "Ann"}, "metadata": {"shop": 7},
        "layout": {"template": "float"}, "policies": {"reservation_ms": 60_000, "application_ms": 1_800_000}});
    server.call(&service, Method::POST, "/v1/rooms", room).await;
    let seat = json!({"user": "bob", "name": "Bob"});
    server
        .call(&service, Method::PUT, &format!("{ROOM}/seats/2"), seat)
        .await;
    let flags = json!({"locked": true, "audio_locked": true});
    server
        .call(&service, Method::PATCH, &format!("{ROOM}/seats/4"), flags)
        .await;
    let muted = json!({"video_muted": true});
    server
        .call(&service, Method::PATCH, &format!("{ROOM}/seats/2"), muted)
        .await;

    let eve = server.token("r", "eve", "member").await;
    let mut stream = Stream::open(&server, &eve, "r", None).await;
    let before = stream.until("snapshot").await;
    let applied = server
        .request(&eve, Method::POST, &format!("{ROOM}/applications"))
        .header("idempotency-key", "once")
        .json(&json!({"seat": 3, "extra": {"song": "x"}}));
    let applied: Value = applied.send().await.unwrap().json().await.unwrap();
    let invitation = json!({"user": "dan"});
    server
        .call(&service, Method::POST, &format!("{ROOM}/invitations"), invitation)
        .await;
    let admin = json!({"role": "admin"});
    server
        .call(&service, Method::PATCH, &format!("{ROOM}/members/eve"), admin)
        .await;
    let old = server.get(&service, ROOM).await;
    server.kill();

    let server = Server::start(&store);
    let new = server.get(&service, ROOM).await;
    assert!(new["epoch"].as_u64() > old["epoch"].as_u64(), "{new}");
    for field in ["metadata", "layout", "policies", "host", "max_guests", "phase"] {
        assert_eq!(new[field], old[field], "{field}");
    }
    let flags = |room: &Value, seat: usize| {
        let seat = &room["seats"][seat];
        ["state", "locked", "audio_locked", "video_muted"].map(|field| seat[field].clone())
    };
    for seat in 0..=9 {
        assert_eq!(flags(&new, seat), flags(&old, seat), "seat {seat}");
    }
    assert_eq!(new["seats"][2]["user"], old["seats"][2]["user"]);
    let left = |room: &Value| room["seats"][2]["until_in_ms"].as_u64().expect("a deadline");
    assert!(left(&new) <= left(&old), "the wait goes on, it does not begin again");
    assert_eq!(request_ids(&new).len(), 2);
    assert_eq!(request_ids(&new), request_ids(&old));

    let again = server
        .request(&eve, Method::POST, &format!("{ROOM}/applications"))
        .header("idempotency-key", "once")
        .json(&json!({"seat": 3, "extra": {"song": "x"}}));
    let again: Value = again.send().await.unwrap().json().await.unwrap();
    assert_eq!(again["id"], applied["id"], "a remembered answer: {again}");

    let position = (before["epoch"].as_u64().unwrap(), before["seq"].as_u64().unwrap());
    let mut stream = Stream::open(&server, &eve, "r", Some(position)).await;
    let snapshot = stream.message().await;
    assert_eq!(snapshot["type"], "snapshot", "another epoch can't be resumed");
    assert_eq!(snapshot["epoch"], new["epoch"]);
    assert_eq!(snapshot["data"]["you"]["role"], "admin", "grants last: {snapshot}");

    let accept = json!({"request": applied["id"]});
    let accepted = format!("{ROOM}/applications/eve/accept");
    let accepted = server.call(&service, Method::POST, &accepted, accept).await;
    assert_eq!(accepted["seat"], 3, "{accepted}");
    let granted = stream.until("seat.granted").await;
    assert_eq!(granted["data"]["seat"], 3);
}

/// A client that counts up in the room's metadata is cut off at any moment: what it was told is there afterwards.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_is_never_lost() {
    let store = directory("answered").join("costage.redb");
    let mut number = 0u64;
    let mut acknowledged = 0u64;
    // Different enough that the kill meets all stages of a write.
    for writes in [1u64, 2, 3, 5, 8, 13, 21] {
        let server = Server::start(&store);
        let service = server.token("*", "backend", "service").await;
        if number == 0 {
            let room = json!({"room": "r", "host": "ann"});
            server.call(&service, Method::POST, "/v1/rooms", room).await;
        } else {
            let room = server.get(&service, ROOM).await;
            let kept = room["metadata"]["n"].as_u64().expect("a number");
            assert!(kept >= acknowledged, "{kept} is older than {acknowledged}");
            assert!(kept <= number, "{kept} was never sent");
        }
        for _ in 0..writes {
            number += 1;
            let metadata = json!({"metadata": {"n": number}});
            server.call(&service, Method::PATCH, ROOM, metadata).await;
            acknowledged = number;
        }
        // And one more that nobody waits for.
        number += 1;
        let last = server.request(&service, Method::PATCH, ROOM);
        let last = tokio::spawn(last.json(&json!({"metadata": {"n": number}})).send());
        tokio::task::yield_now().await;
        server.kill();
        // Answered or cut off: either is fine.
        if let Ok(Ok(response)) = last.await
            && response.status().is_success()
        {
            acknowledged = number;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ended_room_stays_ended() {
    let store = directory("ended").join("costage.redb");
    let server = Server::start(&store);
    let service = server.token("*", "backend", "service").await;
    let room = json!({"room": "r", "host": "ann"});
    let first = server.call(&service, Method::POST, "/v1/rooms", room.clone()).await;
    server.call(&service, Method::DELETE, ROOM, Value::Null).await;
    server.kill();

    let server = Server::start(&store);
    let gone = server.request(&service, Method::GET, ROOM).send().await.unwrap();
    assert!(matches!(gone.status().as_u16(), 404 | 410) || gone.json::<Value>().await.unwrap()["phase"] == "ended");
    let second = server.call(&service, Method::POST, "/v1/rooms", room).await;
    assert!(
        second["epoch"].as_u64() > first["epoch"].as_u64(),
        "epochs only grow: {second}"
    );
}

#[test]
fn a_file_that_is_no_store_is_refused_by_name() {
    let path = directory("foreign").join("notes.txt");
    std::fs::write(&path, "not a database\n".repeat(1_000)).unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_costage"));
    command.args([
        "serve",
        "--dev",
        "--set",
        "http.listen=127.0.0.1:0",
        "--set",
        "admin.listen=127.0.0.1:0",
    ]);
    command.args([
        "--set",
        "media.base_port=0",
        "--set",
        &format!("store.path={}", path.display()),
    ]);
    let output = command.output().expect("it ends by itself");
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("notes.txt"), "{said}");
    let kept = std::fs::read_to_string(&path).unwrap();
    assert!(kept.starts_with("not a database"), "somebody's file is left alone");
}
