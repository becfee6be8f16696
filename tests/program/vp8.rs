//! A host whose device has no H.264 is mixed.

use crate::card::{color_in, copy, is_near, whole};
use crate::node::Node;
use crate::outlet::ivf_frames;
use crate::publisher::{Camera, Publisher, Show};
use crate::sound::heard;
use crate::turn;
use crate::watcher::Watcher;
use costage::mix::codec::VideoDecoder;
use costage::mix::codec::vp8::Vp8Decoder;
use costage::mix::picture::Picture;
use std::time::Duration;

const FPS: u32 = 30;

/// Points of a picture that tell it from others.
fn samples(picture: &Picture) -> Vec<[u8; 3]> {
    let at = |index: u8| (f64::from(index) + 0.5) / 6.0;
    let points = (0..6).flat_map(|down| (0..6).map(move |across| (at(across), at(down))));
    points
        .map(|(across, down)| color_in(picture, whole(picture.size()), across, down))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vp8_host_is_in_the_program() {
    let _turn = turn().await;
    let frames = ivf_frames(include_bytes!("../fixtures/media/pattern-vp8.ivf"));
    let mut decoder = Vp8Decoder::new();
    let pictures: Vec<Vec<[u8; 3]>> = frames
        .iter()
        .filter_map(|frame| decoder.decode(frame).unwrap().map(copy))
        .map(|picture| samples(&picture))
        .collect();
    let node = Node::start(2, &[]).await;
    let show = Show {
        camera: Camera::Vp8(frames),
        ..Show::new(0, 640, 360, FPS)
    };
    let _host = Publisher::start(&node, show).await;
    let mut watcher = Watcher::start(&node, "zoe", FPS).await;
    let is_filmed = |watcher: &Watcher| {
        let found = samples(&watcher.shot.picture);
        let alike = |picture: &Vec<[u8; 3]>| {
            let near = picture
                .iter()
                .zip(&found)
                .filter(|(one, other)| is_near(**one, **other));
            near.count()
        };
        let best = pictures.iter().map(alike).max().unwrap_or_default();
        // Edges in the picture are where codecs differ.
        (best >= 30)
            .then_some(())
            .ok_or(format!("{best} of 36 points are alike"))
    };
    watcher
        .until("the host", |watcher| {
            is_filmed(watcher)?;
            heard(&watcher.sound.samples, &[0])
        })
        .await;
    watcher
        .all_of(Duration::from_secs(2), "two seconds of the host", is_filmed)
        .await;
    watcher.finish().await;
    node.stop().await;
}
