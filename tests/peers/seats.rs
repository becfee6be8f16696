//! Seats decide what flows: mute, unseat, replace.

use crate::camera::{Camera, Options};
use crate::node::{HOST, Node};
use crate::viewer::{Slot, Viewer};
use serde_json::json;
use std::time::Duration;

/// The viewer got a packet that the camera sent after `number` was its next.
fn audio_since(slot: &Slot, number: u32) -> bool {
    slot.audio
        .packets
        .last()
        .is_some_and(|seen| seen.label().frame >= number)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_muted_seat_sends_no_video_and_resumes_at_a_keyframe() {
    let node = Node::forwarding(2, &["gus"]).await;
    let camera = Camera::start(&node, "gus", Options::pattern(1)).await;
    let mut viewer = Viewer::watch(&node, "seats/1", "ann", 1).await;
    viewer.until("video", |slots| slots[0].video.packets.len() > 60).await;
    for (mute, unmute, by) in [
        (
            json!({ "video_muted": true }),
            json!({ "video_muted": false }),
            ("member", "gus"),
        ),
        (
            json!({ "video_locked": true }),
            json!({ "video_locked": false }),
            ("host", HOST),
        ),
    ] {
        node.patch_seat(1, mute).await;
        let (muted_frame, muted_audio) = camera.next();
        viewer
            .until("half a second of audio since", |slots| {
                audio_since(&slots[0], muted_audio + 25)
            })
            .await;
        viewer.settle().await;
        let last = viewer.video().packets.last().unwrap();
        let (last_frame, seen_before) = (last.label().frame, viewer.video().packets.len());
        assert!(
            last_frame < muted_frame,
            "frame {last_frame} was sent when {muted_frame} was next"
        );

        // The hosts may not open a guest's camera.
        let (role, user) = by;
        node.patch_seat_as(user, role, 1, unmute).await;
        viewer
            .until("video again", |slots| slots[0].video.packets.len() > seen_before + 60)
            .await;
        let resumed = &viewer.video().packets[seen_before];
        assert!(resumed.starts_keyframe(), "{:?}", resumed.label());
        assert!(resumed.label().frame >= muted_frame);
    }
    viewer.settle().await;
    viewer.video().assert_continuous();
    viewer.audio().assert_continuous();

    node.patch_seat(1, json!({ "audio_muted": true })).await;
    let (frame, audio) = camera.next();
    viewer
        .until("half a second of video since", |slots| {
            slots[0].video.packets.last().unwrap().label().frame >= frame + 15
        })
        .await;
    let last = viewer.audio().packets.last().unwrap().label().frame;
    assert!(last < audio, "audio packet {last} was sent when {audio} was next");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unseating_closes_the_transport_at_once() {
    let node = Node::forwarding(2, &["gus"]).await;
    let host = Camera::start(&node, HOST, Options::pattern(0)).await;
    let mut guest = Camera::start(&node, "gus", Options::pattern(1)).await;
    let mut viewer = Viewer::watch(&node, "seats/1", "ann", 1).await;
    let mut program = Viewer::watch(&node, "program", "ann", 1).await;
    for viewer in [&mut viewer, &mut program] {
        viewer.until("video", |slots| slots[0].video.packets.len() > 30).await;
    }
    node.unseat(1).await;
    let (frame, audio) = guest.next();
    let (host_frame, _) = host.next();
    guest.connection.closed().await;
    // The program goes on; what would have come for the seat would have come by then.
    program
        .until("a second of program since", |slots| {
            slots[0].video.packets.last().unwrap().label().frame >= host_frame + 30
        })
        .await;
    viewer.for_time(Duration::from_millis(10)).await;
    assert!(viewer.video().packets.iter().all(|seen| seen.label().frame < frame));
    assert!(viewer.audio().packets.iter().all(|seen| seen.label().frame < audio));
    program.settle().await;
    program.video().assert_whole();
    node.stop().await;
}

async fn a_second_publication_replaces_the_first(workers: usize) {
    let node = Node::forwarding(workers, &[]).await;
    let mut first = Camera::start(&node, HOST, Options::pattern(1)).await;
    let mut viewers = Vec::new();
    for user in ["ann", "bob", "cem"] {
        viewers.push(Viewer::watch(&node, "program", user, 1).await);
    }
    for viewer in &mut viewers {
        viewer
            .until("video of the first", |slots| slots[0].video.packets.len() > 60)
            .await;
    }
    let _second = Camera::start(&node, HOST, Options::pattern(2)).await;
    first.connection.closed().await;
    for viewer in &mut viewers {
        let of_second = |slot: &Slot| {
            let count = |packets: &[crate::viewer::Seen]| packets.iter().filter(|seen| seen.label().tag == 2).count();
            count(&slot.video.packets) > 60 && count(&slot.audio.packets) > 30
        };
        viewer.until("media of the second", |slots| of_second(&slots[0])).await;
        viewer.settle().await;
        viewer.video().assert_continuous();
        viewer.audio().assert_continuous();
        let mut tags: Vec<u8> = viewer.video().packets.iter().map(|seen| seen.label().tag).collect();
        let change = tags.iter().position(|tag| *tag == 2).unwrap();
        assert!(viewer.video().packets[change].starts_keyframe());
        tags.dedup();
        assert_eq!(tags, [1, 2], "one after the other");
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_publication_replaces_the_first_on_one_worker() {
    a_second_publication_replaces_the_first(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_publication_replaces_the_first_on_two_workers() {
    a_second_publication_replaces_the_first(2).await;
}
