//! Three encodings told apart by RID; the viewer names the one it wants.

use crate::camera::{Camera, LAYERS, Options};
use crate::node::{HOST, Node};
use crate::viewer::Viewer;
use reqwest::Method;
use rtc::rtp::codec::vp8::Vp8Packet;
use rtc::rtp::packetizer::Depacketizer;
use serde_json::json;

async fn layers_are_chosen(workers: usize) {
    let node = Node::forwarding(workers, &[]).await;
    let options = Options {
        simulcast: true,
        ..Options::pattern(0)
    };
    let camera = Camera::start(&node, HOST, options).await;
    assert!(
        camera.answer.sdp.contains("a=simulcast:recv h;m;l"),
        "{}",
        camera.answer.sdp
    );
    let mut viewer = Viewer::watch(&node, "program", "ann", 1).await;
    let layer_for_long = |layer: u8| {
        move |slots: &[crate::viewer::Slot]| {
            let packets = &slots[0].video.packets;
            let since = packets.iter().rev().take_while(|seen| seen.label().layer == layer);
            since.count() > 60
        }
    };
    viewer.until("the best layer", layer_for_long(0)).await;
    for layer in [2_u8, 1, 0, 2, 0] {
        let height = LAYERS[usize::from(layer)].2;
        let wish = json!({ "slots": { "0": { "max_height": height } } });
        let path = format!("{}/layers", viewer.connection.resource);
        node.call(Method::PATCH, &path, Some(wish)).await;
        viewer.until("the wanted layer", layer_for_long(layer)).await;
    }
    viewer.settle().await;
    let video = viewer.video();
    video.assert_whole();
    viewer.audio().assert_continuous();
    let mut visited: Vec<u8> = Vec::new();
    for (index, seen) in video.packets.iter().enumerate() {
        let label = seen.label();
        if visited.last() != Some(&label.layer) {
            assert!(seen.starts_keyframe(), "packet {index} changes the layer: {label:?}");
            visited.push(label.layer);
        }
    }
    assert!(visited.ends_with(&[0, 2, 1, 0, 2, 0]), "{visited:?}");
    // Picture numbers go on by one a frame, whichever encoding it is from, cut off or not (RFC 7741 section 4.2).
    let mut numbers: Vec<u16> = Vec::new();
    for pair in video.packets.windows(2) {
        if pair[0].timestamp != pair[1].timestamp {
            let mut descriptor = Vp8Packet::default();
            descriptor.depacketize(&pair[0].payload).unwrap();
            numbers.push(descriptor.picture_id);
        }
    }
    for pair in numbers.windows(2) {
        assert_eq!((pair[0] + 1) & 0x7fff, pair[1], "picture numbers");
    }
    // Time goes on evenly: a frame's timestamp is its capture time, give or take the rounding of a switch.
    let (first, last) = (&video.packets[0], video.packets.last().unwrap());
    let captured = (last.label().captured - first.label().captured).as_secs_f64();
    let played = f64::from(last.timestamp.wrapping_sub(first.timestamp)) / 90_000.0;
    assert!((captured - played).abs() < 0.1, "{captured} s took {played} s");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn layers_are_chosen_on_one_worker() {
    layers_are_chosen(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn layers_are_chosen_on_two_workers() {
    layers_are_chosen(2).await;
}
