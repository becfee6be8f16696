//! A host whose device has no H.264 is mixed.

use crate::card::{color_in, copy, is_near, whole};
use crate::node::Node;
use crate::outlet::ivf_frames;
use crate::publisher::{Camera, Publisher, Show};
use crate::sound::heard;
use crate::turn;
use crate::watcher::Watcher;
use bytes::Bytes;
use costage::mix::codec::VideoDecoder;
use costage::mix::codec::vp8::Vp8Decoder;
use costage::mix::picture::{Picture, Rect, Size};
use std::time::Duration;

const FPS: u32 = 30;
/// Points of a picture that are looked at: in five of six rows, six of each.
const ACROSS: usize = 6;
const POINTS: usize = 5 * ACROSS;
/// Those that must be as they were filmed; anything else is like none.
const ALIKE: usize = 20;

/// What the cameras that send VP8 film, over and over.
pub struct Film {
    pub frames: Vec<Bytes>,
    pictures: Vec<Picture>,
}

impl Film {
    pub fn open() -> Self {
        let frames = ivf_frames(include_bytes!("../fixtures/media/pattern-vp8.ivf"));
        let mut decoder = Vp8Decoder::new();
        let pictures = frames
            .iter()
            .filter_map(|frame| decoder.decode(frame).unwrap().map(copy));
        Film {
            pictures: pictures.collect(),
            frames,
        }
    }

    /// The number of the picture of it that fills the rectangle.
    pub fn is_in(&self, picture: &Picture, rect: Rect) -> Result<u32, String> {
        let found = samples(picture, rect);
        let alike = |filmed: &Picture| {
            let filmed = samples(filmed, visible(filmed.size(), rect));
            filmed
                .iter()
                .zip(&found)
                .filter(|(one, other)| is_near(**one, **other))
                .count()
        };
        let alike = (0..)
            .zip(&self.pictures)
            .map(|(number, filmed)| (alike(filmed), number));
        let (best, number) = alike.max().expect("a film of some pictures");
        // Edges in the picture are where codecs and scaling differ.
        (best >= ALIKE)
            .then_some(number)
            .ok_or(format!("{best} of {POINTS} points are alike in {rect:?}"))
    }
}

/// What is left of a picture that fills a rectangle of another shape.
fn visible(size: Size, rect: Rect) -> Rect {
    let (width, height) = (size.width() as f64, size.height() as f64);
    let scale = (f64::from(rect.width) / width).max(f64::from(rect.height) / height);
    let (wide, high) = (f64::from(rect.width) / scale, f64::from(rect.height) / scale);
    Rect {
        x: ((width - wide) / 2.0) as u16,
        y: ((height - high) / 2.0) as u16,
        width: wide as u16,
        height: high as u16,
    }
}

/// Points that tell a picture from others, above where labels are.
fn samples(picture: &Picture, rect: Rect) -> Vec<[u8; 3]> {
    let at = |index: usize| (index as f64 + 0.5) / ACROSS as f64;
    (0..POINTS)
        .map(|point| color_in(picture, rect, at(point % ACROSS), at(point / ACROSS)))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vp8_host_is_in_the_program() {
    let _turn = turn().await;
    let film = Film::open();
    let node = Node::start(2, &[]).await;
    let show = Show {
        camera: Camera::Vp8(film.frames.clone()),
        ..Show::new(0, 640, 360, FPS)
    };
    let _host = Publisher::start(&node, show).await;
    let mut watcher = Watcher::start(&node, "zoe", FPS).await;
    let is_filmed = |watcher: &Watcher| {
        let picture = &watcher.shot.picture;
        film.is_in(picture, whole(picture.size())).map(|_| ())
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
