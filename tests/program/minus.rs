//! Who is on a seat hears the program without their own voice, and pays for it only while they are heard.

use crate::auto::is_forwarded;
use crate::node::{HOST, Node, ROOM};
use crate::publisher::{Camera, Publisher, Show, USERS};
use crate::sound::{PACKET, SILENT, heard, level, tone_hz};
use crate::turn;
use crate::watcher::Watcher;
use bytes::Bytes;
use reqwest::Method;
use serde_json::json;
use std::collections::HashSet;
use std::time::Duration;

const FPS: u32 = 15;
/// How long ago what has been looked at came, of who keeps up.
const LATE_MAX: Duration = Duration::from_millis(500);
const MINUS: &str = "program?minus=me";
/// From a seat's tone, between it and the next.
const BESIDE_HZ: f64 = 60.0;

async fn listen(node: &Node, user: &str) -> Watcher {
    Watcher::with_loss(node, MINUS, user, FPS, Box::new(|_| false)).await
}

/// Until these seats were heard and no others for three seconds on end, and nothing waits to be looked at.
async fn settle(watcher: &mut Watcher, seats: &[u8]) {
    let mut good = 0;
    watcher
        .until(&format!("{seats:?}"), |watcher| {
            let now = heard(&watcher.sound.samples, seats);
            good = if now.is_ok() { good + 1 } else { 0 };
            now?;
            let late = watcher.shot.at.elapsed();
            let settled = good > 3 * FPS && late < LATE_MAX;
            settled.then_some(()).ok_or(format!("{good} pictures, {late:?} behind"))
        })
        .await;
}

/// The numbers and times of the listener's packets run on.
async fn finish(mut watcher: Watcher) {
    watcher.viewer.settle().await;
    watcher.viewer.audio().assert_continuous();
    watcher.viewer.video().assert_whole();
}

/// From the first packet on, none held this seat's voice: two at a time, which tell tones 60 Hz apart. Where other voices
/// begin or end there is something of every frequency.
fn assert_never_heard(watcher: &Watcher, seat: u8) {
    for (at, part) in watcher.sound.samples.chunks_exact(2 * PACKET).enumerate() {
        let [below, own, above] = [-BESIDE_HZ, 0.0, BESIDE_HZ].map(|off| level(part, tone_hz(seat) + off));
        let silent = SILENT.max(2.0 * below).max(2.0 * above);
        assert!(own < silent, "{own:.4} of seat {seat} after {} ms", at * 40);
    }
}

/// How many of 30 packets were sent to both; of the latest of the one who stopped reading first.
fn shared(one: &Watcher, other: &Watcher) -> usize {
    let payloads = |watcher: &Watcher| -> Vec<Bytes> {
        let packets = &watcher.viewer.audio().packets;
        packets.iter().map(|packet| packet.payload.clone()).collect()
    };
    let of_latest = |one: &Watcher, other: &Watcher| {
        let (one, all) = (payloads(one), payloads(other).into_iter().collect::<HashSet<_>>());
        // the very last ones the other may not have read
        let latest = &one[one.len() - 60..one.len() - 30];
        latest.iter().filter(|payload| all.contains(*payload)).count()
    };
    of_latest(one, other).max(of_latest(other, one))
}

#[tokio::test(flavor = "multi_thread")]
async fn each_of_those_on_seats_hears_the_others() {
    let _turn = turn().await;
    let program = json!({ "mode": "mixed", "video": { "width": 320, "height": 180, "fps": FPS } });
    let node = Node::with_room(2, json!({ "program": program }), &USERS[1..3]).await;
    let mut cameras = Vec::new();
    for seat in 0..3 {
        let mut show = Show::new(seat, 320, 180, FPS);
        if seat > 0 {
            show.camera = Camera::None;
        }
        cameras.push(Publisher::start(&node, show).await);
    }
    let mut zoe = Watcher::start(&node, "zoe", FPS).await;
    let mut amy = listen(&node, "amy").await;
    let mut host = listen(&node, HOST).await;
    tokio::join!(
        settle(&mut zoe, &[0, 1, 2]),
        settle(&mut amy, &[0, 2]),
        settle(&mut host, &[1, 2]),
    );
    assert_eq!((shared(&amy, &zoe), shared(&host, &zoe)), (0, 0));

    // who is muted is not heard, and so hears what all hear, once a pause in speech would be over
    node.patch_seat(1, json!({ "audio_muted": true })).await;
    tokio::join!(
        settle(&mut zoe, &[0, 2]),
        settle(&mut amy, &[0, 2]),
        settle(&mut host, &[2]),
    );
    assert_eq!((shared(&amy, &zoe), shared(&host, &zoe)), (30, 0));
    let unmuted = json!({ "audio_muted": false });
    node.patch_seat_as("amy", "member", 1, unmuted).await;
    tokio::join!(
        settle(&mut zoe, &[0, 1, 2]),
        settle(&mut amy, &[0, 2]),
        settle(&mut host, &[1, 2]),
    );
    assert_eq!(shared(&amy, &zoe), 0);

    // who has lost the seat listens on
    node.unseat(1).await;
    tokio::join!(
        settle(&mut zoe, &[0, 2]),
        settle(&mut amy, &[0, 2]),
        settle(&mut host, &[2]),
    );
    assert_eq!((shared(&amy, &zoe), shared(&host, &zoe)), (30, 0));
    assert_never_heard(&amy, 1);
    assert_never_heard(&host, 0);
    for watcher in [zoe, amy, host] {
        finish(watcher).await;
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_alone_hears_silence_and_is_refused_where_the_program_is_their_packets() {
    let _turn = turn().await;
    let node = Node::start(2, &[]).await;
    let _camera = Publisher::start(&node, Show::new(0, 640, 360, FPS)).await;
    let mut host = listen(&node, HOST).await;
    let mut zoe = Watcher::start(&node, "zoe", FPS).await;
    tokio::join!(settle(&mut zoe, &[0]), settle(&mut host, &[]));
    assert_never_heard(&host, 0);
    finish(zoe).await;
    finish(host).await;

    let path = format!("/v1/rooms/{}/program", ROOM);
    let passthrough = json!({ "mode": "passthrough" });
    node.call(Method::PATCH, &path, Some(passthrough)).await;
    let offer = include_str!("../fixtures/sdp/gstreamer-play.sdp");
    let (status, problem) = node
        .refused(&format!("whep/{MINUS}&user={HOST}"), offer.to_owned())
        .await;
    assert_eq!((status, &problem["field"]), (422, &json!("minus")), "{problem}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_whose_packets_are_the_program_is_not_sent_their_own_sound() {
    let _turn = turn().await;
    let node = Node::start(2, &[]).await;
    let camera = Publisher::start(&node, Show::new(0, 640, 360, FPS)).await;
    let mut zoe = Watcher::start(&node, "zoe", FPS).await;
    zoe.until("the host's own media", |zoe| is_forwarded(zoe, &camera))
        .await;
    // they are, until the mixer is ready
    let mut host = listen(&node, HOST).await;
    tokio::join!(settle(&mut zoe, &[0]), settle(&mut host, &[]));

    // and are again, where no mixer is let
    node.patch_program(json!({ "mode": "passthrough" })).await;
    host.until("the host's own media", |host| is_forwarded(host, &camera))
        .await;
    let (packets, pictures) = (host.viewer.audio().packets.len(), host.shot.number);
    host.until("the picture alone", |host| {
        is_forwarded(host, &camera)?;
        let more = host.shot.number - pictures;
        (more > 3 * FPS as usize)
            .then_some(())
            .ok_or(format!("{more} pictures"))
    })
    .await;
    assert_eq!(
        host.viewer.audio().packets.len(),
        packets,
        "the only voice is their own"
    );
    settle(&mut zoe, &[0]).await;
    node.patch_program(json!({ "mode": "auto" })).await;
    tokio::join!(settle(&mut zoe, &[0]), settle(&mut host, &[]));
    assert!(host.viewer.audio().packets.len() > packets, "silence, mixed");
    assert_never_heard(&host, 0);
    finish(zoe).await;
    finish(host).await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_who_sits_down_moves_and_leaves_never_hears_themself() {
    let _turn = turn().await;
    let program = json!({ "mode": "mixed", "video": { "width": 320, "height": 180, "fps": FPS } });
    let node = Node::with_room(2, json!({ "program": program }), &USERS[1..3]).await;
    let publish = async |seat| {
        let mut show = Show::new(seat, 320, 180, FPS);
        if seat > 0 {
            show.camera = Camera::None;
        }
        Publisher::start(&node, show).await
    };
    let _others = (publish(0).await, publish(2).await);
    let mut zoe = Watcher::start(&node, "zoe", FPS).await;
    let mut amy = listen(&node, "amy").await;
    settle(&mut amy, &[0, 2]).await;
    let _amy = publish(1).await;
    tokio::join!(settle(&mut zoe, &[0, 1, 2]), settle(&mut amy, &[0, 2]));
    // in the midst of their own voice
    let mut again = listen(&node, "amy").await;
    tokio::join!(
        settle(&mut zoe, &[0, 1, 2]),
        settle(&mut amy, &[0, 2]),
        settle(&mut again, &[0, 2]),
    );
    for (from, to, policy) in [(1, 3, "abort"), (3, 2, "swap")] {
        let path = format!("/v1/rooms/{ROOM}/seats/{from}/move");
        let to = json!({ "to": to, "policy": policy });
        node.call(Method::POST, &path, Some(to)).await;
        tokio::join!(
            settle(&mut zoe, &[0, 1, 2]),
            settle(&mut amy, &[0, 2]),
            settle(&mut again, &[0, 2]),
        );
    }
    node.unseat(2).await;
    tokio::join!(
        settle(&mut zoe, &[0, 2]),
        settle(&mut amy, &[0, 2]),
        settle(&mut again, &[0, 2]),
    );
    for watcher in [&amy, &again] {
        assert_never_heard(watcher, 1);
    }
    for watcher in [zoe, amy, again] {
        finish(watcher).await;
    }
    node.stop().await;
}
