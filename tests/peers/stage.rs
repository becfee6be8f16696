//! Every source in a slot of its own.

use crate::camera::{Camera, Film, Options};
use crate::connection::{H264, VP8};
use crate::node::{HOST, Node};
use crate::viewer::{Slot, Viewer};
use costage::demo::Clip;
use reqwest::Method;
use std::sync::Arc;

/// Seat and slot of everything the node says is on this viewer's stage.
async fn occupants(node: &Node, viewer: &Viewer) -> Vec<(u64, u64)> {
    let slots = node.call(Method::GET, &viewer.connection.resource, None).await;
    let slots = slots.as_array().expect("a list of slots");
    let mut occupants: Vec<_> = slots
        .iter()
        .map(|slot| (slot["seat"].as_u64().unwrap(), slot["slot"].as_u64().unwrap()))
        .collect();
    occupants.sort_unstable();
    occupants
}

/// Whose packets a slot got, in order of appearance.
fn tags(slot: &Slot) -> Vec<u8> {
    let mut tags: Vec<u8> = slot.video.packets.iter().map(|seen| seen.label().tag).collect();
    tags.dedup();
    tags
}

fn audio_tags(slot: &Slot) -> Vec<u8> {
    let mut tags: Vec<u8> = slot.audio.packets.iter().map(|seen| seen.label().tag).collect();
    tags.dedup();
    tags
}

fn has_media(slot: &Slot, packets: usize) -> bool {
    slot.video.packets.len() > packets && slot.audio.packets.len() > packets
}

#[tokio::test(flavor = "multi_thread")]
async fn each_source_has_its_slot_and_a_newcomer_takes_the_free_one() {
    let node = Node::forwarding(2, &["gus", "hal"]).await;
    let mut cameras = Vec::new();
    for (tag, user) in [(0, HOST), (1, "gus"), (2, "hal")] {
        cameras.push(Camera::start(&node, user, Options::pattern(tag)).await);
    }
    let mut audience = Viewer::watch(&node, "stage", "ann", 3).await;
    let mut guest = Viewer::watch(&node, "stage", "gus", 3).await;
    let (offered, answered) = (audience.connection.resource.clone(), audience.answer_sdp.clone());
    audience
        .until("three sources", |slots| slots.iter().all(|slot| has_media(slot, 30)))
        .await;
    audience.settle().await;
    let mut seen: Vec<Vec<u8>> = audience.slots.iter().map(tags).collect();
    let slot_of = |tag: u8, seen: &[Vec<u8>]| seen.iter().position(|tags| tags[..] == [tag]).unwrap();
    let hals = slot_of(2, &seen);
    for (slot, tags) in audience.slots.iter().zip(&seen) {
        assert_eq!(&audio_tags(slot), tags, "a slot's audio is of the same source");
        slot.video.assert_whole();
        slot.audio.assert_continuous();
    }
    seen.sort();
    assert_eq!(seen, [[0], [1], [2]]);
    assert_eq!(occupants(&node, &audience).await.len(), 3);

    guest
        .until("two sources", |slots| {
            slots.iter().filter(|slot| has_media(slot, 30)).count() == 2
        })
        .await;
    let mut seen: Vec<Vec<u8>> = guest.slots.iter().map(tags).filter(|tags| !tags.is_empty()).collect();
    seen.sort();
    assert_eq!(seen, [[0], [2]], "one's own seat is left out");

    // Hal leaves, Ida comes: only that slot changes hands.
    node.unseat(2).await;
    cameras[2].connection.closed().await;
    node.seat(&["gus", "ida"]).await;
    cameras[2] = Camera::start(&node, "ida", Options::pattern(3)).await;
    audience
        .until("the newcomer", |slots| {
            let newcomers = |slot: &Slot| tags(slot).last() == Some(&3) && audio_tags(slot).last() == Some(&3);
            newcomers(&slots[hals])
                && slots[hals]
                    .video
                    .packets
                    .iter()
                    .filter(|seen| seen.label().tag == 3)
                    .count()
                    > 60
        })
        .await;
    audience.settle().await;
    for (index, slot) in audience.slots.iter().enumerate() {
        slot.video.assert_continuous();
        slot.audio.assert_continuous();
        if index == hals {
            assert_eq!((tags(slot), audio_tags(slot)), (vec![2, 3], vec![2, 3]));
            let mut newcomers = slot.video.packets.iter().filter(|seen| seen.label().tag == 3);
            assert!(newcomers.next().unwrap().starts_keyframe());
        } else {
            assert_eq!(tags(slot).len(), 1, "an untouched slot keeps its source");
            slot.video.assert_whole();
        }
    }
    assert!(audience.connection.is_connected());
    assert_eq!(
        (offered, answered),
        (audience.connection.resource.clone(), audience.answer_sdp.clone())
    );
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_fewer_slots_than_sources_the_host_comes_first() {
    let node = Node::forwarding(2, &["gus", "hal"]).await;
    let mut cameras = Vec::new();
    // The host comes last and is still preferred.
    for (tag, user) in [(1, "gus"), (2, "hal"), (0, HOST)] {
        cameras.push(Camera::start(&node, user, Options::pattern(tag)).await);
    }
    let mut one = Viewer::watch(&node, "stage", "ann", 1).await;
    let mut two = Viewer::watch(&node, "stage", "bob", 2).await;
    one.until("the host", |slots| has_media(&slots[0], 60)).await;
    assert_eq!(tags(&one.slots[0]), [0]);
    two.until("two sources", |slots| slots.iter().all(|slot| has_media(slot, 60)))
        .await;
    let mut seen: Vec<u8> = two.slots.iter().flat_map(tags).collect();
    seen.sort_unstable();
    assert_eq!((seen.len(), seen[0]), (2, 0), "the host and one guest: {seen:?}");
    one.settle().await;
    one.video().assert_whole();
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_goes_from_vp8_to_h264_on_one_ssrc() {
    let node = Node::forwarding(2, &["gus"]).await;
    let mut vp8 = Camera::start(&node, "gus", Options::pattern(1)).await;
    let mut viewer = Viewer::watch(&node, "stage", "ann", 1).await;
    let names: Vec<&str> = viewer
        .video()
        .section
        .codecs
        .iter()
        .map(|codec| codec.1.as_str())
        .collect();
    assert!(names.contains(&"H264") && names.contains(&"VP8"), "{names:?}");
    viewer.until("VP8", |slots| has_media(&slots[0], 30)).await;
    node.unseat(1).await;
    vp8.connection.closed().await;
    node.seat(&["ida"]).await;
    let options = Options {
        film: Film::H264(Arc::new(Clip::bundled())),
        ..Options::pattern(2)
    };
    let _h264 = Camera::start(&node, "ida", options).await;
    viewer
        .until("H.264", |slots| {
            slots[0]
                .video
                .packets
                .iter()
                .filter(|seen| seen.payload_type == H264)
                .count()
                > 100
        })
        .await;
    viewer.settle().await;
    let video = viewer.video();
    video.assert_continuous();
    let change = video.packets.iter().position(|seen| seen.payload_type == H264).unwrap();
    assert!(video.packets[..change].iter().all(|seen| seen.payload_type == VP8));
    assert!(video.packets[change..].iter().all(|seen| seen.payload_type == H264));
    assert!(video.packets[0].starts_keyframe() && video.packets[change].starts_keyframe());
    node.stop().await;
}
