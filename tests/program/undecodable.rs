//! Who sends what the program can't decode is there all the same: a placeholder and a voice, and `explain` says why.

use crate::card::{color_in, color_of, is_near, read, tiles};
use crate::connection::{AV1, VP9};
use crate::node::Node;
use crate::publisher::{Camera, Publisher, Show};
use crate::sound::heard;
use crate::turn;
use crate::watcher::Watcher;
use costage::mix::layout::{Layout, Placeholder};
use costage::mix::picture::Size;
use std::time::Duration;

const FPS: u32 = 30;

/// A key picture in one packet (RFC 9628 section 4.2: B and E), which is what a forwarder looks at, and what could be its
/// frame.
const VP9_PICTURE: &[u8] = &[0x0c, 0x82, 0x49, 0x83, 0x42, 0x00, 0x27, 0xf0, 0x16, 0x70];
/// The aggregation header of one unit that begins a coded video sequence (W = 1, N), and the header of that unit.
const AV1_PICTURE: &[u8] = &[0x18, 0x08, 0x00, 0x00, 0x00, 0x04, 0x3c, 0xff, 0xbc, 0xfa];

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_is_not_decoded_has_a_placeholder_and_a_reason() {
    let _turn = turn().await;
    let node = Node::start(2, &["amy", "ben"]).await;
    let mut cameras = Vec::new();
    let sent = [
        Camera::Fixed(VP9, VP9_PICTURE),
        Camera::Fixed(AV1, AV1_PICTURE),
        Camera::Card,
    ];
    for (seat, camera) in (0..).zip(sent) {
        let show = Show {
            camera,
            ..Show::new(seat, 640, 360, FPS)
        };
        cameras.push(Publisher::start(&node, show).await);
    }
    let mut watcher = Watcher::start(&node, "zoe", FPS).await;
    let placeholder = color_of(Placeholder::default().color);
    let is = |watcher: &Watcher| {
        let picture = &watcher.shot.picture;
        let places = tiles(&Layout::default(), picture.size(), &[0, 1, 2]);
        for tile in &places[..2] {
            for (across, down) in [(0.1, 0.1), (0.5, 0.15), (0.9, 0.1), (0.9, 0.6)] {
                let found = color_in(picture, tile.rect, across, down);
                if !is_near(found, placeholder) {
                    return Err(format!("{found:?} at {across} × {down} of {tile:?}"));
                }
            }
        }
        let reading = read(picture, places[2].rect, Size::even(640, 360).unwrap());
        if reading.is_none_or(|reading| reading.seat != 2) {
            return Err(format!("{reading:?} at seat 2"));
        }
        heard(&watcher.sound.samples, &[0, 1, 2])
    };
    watcher.until("two placeholders, a guest and three voices", is).await;
    watcher.all_of(Duration::from_secs(2), "two seconds of that", is).await;

    for seat in [0, 1] {
        let said = node.explain(seat).await;
        let summary = said["summary"].as_str().unwrap();
        assert!(
            summary.contains("the program decodes H.264") && summary.contains("placeholder"),
            "seat {seat}: {said:#}"
        );
        let links = said["links"].as_array().unwrap();
        let decode = links
            .iter()
            .find(|link| link["link"] == "decode")
            .expect("a word on decoding");
        assert_eq!(decode["health"], "broken", "seat {seat}: {said:#}");
        let others = links.iter().filter(|link| link["link"] != "decode");
        assert!(
            others.clone().all(|link| link["health"] == "good"),
            "seat {seat}: {said:#}"
        );
    }
    let said = node.explain(2).await;
    assert_eq!(
        said["summary"], "Everything of the camera of seat 2 is well.",
        "{said:#}"
    );
    watcher.finish().await;
    node.stop().await;
}
