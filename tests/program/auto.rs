//! The program is the host's own media while nothing has to be composed, and viewers go on through each change.

use crate::card::{arranged, read, tiles, whole};
use crate::node::{HOST, Node};
use crate::publisher::{Publisher, Show};
use crate::sound::{heard, level, tone_hz};
use crate::turn;
use crate::watcher::Watcher;
use costage::mix::layout::Layout;
use costage::mix::picture::Size;
use serde_json::json;
use std::time::{Duration, Instant};

const FPS: u32 = 30;
/// How long nothing has to be composed before the mixer ends, as the node has it.
const LINGER: Duration = Duration::from_secs(10);

/// All packets of the picture are the publisher's.
pub fn is_forwarded(watcher: &Watcher, host: &Publisher) -> Result<(), String> {
    let payloads = &watcher.shot.payloads;
    let own = payloads.iter().filter(|payload| host.sent(payload)).count();
    if own == payloads.len() {
        return Ok(());
    }
    Err(format!("{own} of {} packets are the host's", payloads.len()))
}

/// The number of the host's frame, alone or beside a guest.
fn host_frame(watcher: &Watcher, size: Size) -> Option<u32> {
    let picture = &watcher.shot.picture;
    let tile = tiles(&Layout::default(), picture.size(), &[0, 1]).remove(0);
    let places = [whole(picture.size()), tile.rect];
    let readings = places.into_iter().filter_map(|rect| read(picture, rect, size));
    readings
        .filter(|reading| reading.seat == 0)
        .map(|reading| reading.frame)
        .next()
}

/// Of each picture: whose packets, and which frame of the host's it shows.
type Seam = Vec<(usize, bool, Option<u32>)>;

/// The host is in every picture, and their frames go on; a busy machine leaves out some.
fn assert_seamless(seam: &Seam) {
    for pair in seam.windows(2) {
        let ((number, _, before), (_, _, after)) = (pair[0], pair[1]);
        let near: Vec<_> = seam.iter().filter(|entry| entry.0.abs_diff(number) < 8).collect();
        let (Some(before), Some(after)) = (before, after) else {
            panic!("a picture without the host, near {near:?}");
        };
        let step = i64::from(after) - i64::from(before);
        assert!(
            (0..=4).contains(&step),
            "frame {after} of the host follows {before}: (picture, forwarded, frame) {near:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_mixer_comes_and_goes_while_viewers_go_on() {
    let _turn = turn().await;
    let node = Node::start(2, &["amy"]).await;
    let host = Publisher::start(&node, Show::new(0, 640, 360, FPS)).await;
    let size = Size::even(640, 360).unwrap();
    let mut watcher = Watcher::start(&node, "zoe", FPS).await;
    watcher
        .until("the host's own media", |watcher| is_forwarded(watcher, &host))
        .await;
    watcher
        .all_of(Duration::from_secs(2), "two seconds of the host", |watcher| {
            is_forwarded(watcher, &host)?;
            arranged(&watcher.shot.picture, &Layout::default(), &[0], size).map(|_| ())
        })
        .await;

    let mut seam = Seam::new();
    let _guest = Publisher::start(&node, Show::new(1, 320, 180, FPS)).await;
    watcher
        .until("the guest beside the host", |watcher| {
            let forwarded = is_forwarded(watcher, &host).is_ok();
            seam.push((watcher.shot.number, forwarded, host_frame(watcher, size)));
            arranged(&watcher.shot.picture, &Layout::default(), &[0, 1], size).map(|_| ())
        })
        .await;
    watcher
        .all_of(Duration::from_secs(2), "two seconds of both", |watcher| {
            seam.push((watcher.shot.number, false, host_frame(watcher, size)));
            arranged(&watcher.shot.picture, &Layout::default(), &[0, 1], size).map(|_| ())
        })
        .await;
    assert_seamless(&seam);

    seam.clear();
    node.unseat(1).await;
    let left = Instant::now();
    watcher
        .until("the host's own media again", |watcher| {
            let forwarded = is_forwarded(watcher, &host);
            seam.push((watcher.shot.number, forwarded.is_ok(), host_frame(watcher, size)));
            forwarded
        })
        .await;
    let lingered = left.elapsed();
    assert!(lingered + Duration::from_secs(1) > LINGER, "only {lingered:?}");
    assert!(watcher.shot.keyframe, "it comes back at a keyframe");
    watcher
        .all_of(Duration::from_secs(2), "two more seconds of the host", |watcher| {
            seam.push((watcher.shot.number, true, host_frame(watcher, size)));
            is_forwarded(watcher, &host)
        })
        .await;
    assert_seamless(&seam);
    watcher.finish().await;
    node.stop().await;
}

/// White, in the upper left.
fn watermarked() -> serde_json::Value {
    json!({ "watermarks": [{ "text": "LIVE", "x": 0.02, "y": 0.03, "w": 0.25, "h": 0.2 }] })
}

/// Pixels of the upper left that are as bright as the watermark.
fn bright(watcher: &Watcher) -> usize {
    let picture = &watcher.shot.picture;
    let (width, height) = (picture.size().width(), picture.size().height());
    let rows = picture.y.chunks(width).take(height / 4);
    let pixels = rows.flat_map(|row| &row[..width / 4]);
    pixels.filter(|luma| **luma > 210).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watermark_needs_the_mixer_for_as_long_as_it_is_there() {
    let _turn = turn().await;
    let node = Node::start(2, &[]).await;
    let host = Publisher::start(&node, Show::new(0, 640, 360, FPS)).await;
    let size = Size::even(640, 360).unwrap();
    let mut watcher = Watcher::start(&node, "zoe", FPS).await;
    watcher
        .until("the host's own media", |watcher| is_forwarded(watcher, &host))
        .await;
    assert_eq!(bright(&watcher), 0, "nothing in the card's corner is as bright");

    let mut seam = Seam::new();
    let look = |watcher: &Watcher, seam: &mut Seam| {
        let forwarded = is_forwarded(watcher, &host).is_ok();
        seam.push((watcher.shot.number, forwarded, host_frame(watcher, size)));
        forwarded
    };
    node.put_layout(watermarked()).await;
    watcher
        .until("the watermark", |watcher| {
            let forwarded = look(watcher, &mut seam);
            let bright = bright(watcher);
            (bright > 20 && !forwarded)
                .then_some(())
                .ok_or(format!("{bright} bright pixels"))
        })
        .await;
    watcher
        .all_of(Duration::from_secs(1), "a second of the watermark", |watcher| {
            let forwarded = look(watcher, &mut seam);
            let bright = bright(watcher);
            (bright > 20 && !forwarded)
                .then_some(())
                .ok_or(format!("{bright} bright pixels"))
        })
        .await;
    node.put_layout(json!({})).await;
    watcher
        .until("the host's own media again", |watcher| {
            let forwarded = look(watcher, &mut seam);
            forwarded.then_some(()).ok_or("the mixer's".to_owned())
        })
        .await;
    watcher
        .all_of(Duration::from_secs(1), "a second of the host", |watcher| {
            look(watcher, &mut seam);
            is_forwarded(watcher, &host)
        })
        .await;
    assert_eq!(bright(&watcher), 0, "the watermark is gone");
    assert_seamless(&seam);
    watcher.finish().await;
    node.stop().await;
}

/// The last tenth of a second of the host's tone.
fn loudness(watcher: &Watcher) -> f64 {
    let samples = &watcher.sound.samples;
    level(&samples[samples.len().saturating_sub(4_800)..], tone_hz(0))
}

#[tokio::test(flavor = "multi_thread")]
async fn another_volume_and_a_muted_host_need_the_mixer() {
    let _turn = turn().await;
    let node = Node::start(2, &[]).await;
    let host = Publisher::start(&node, Show::new(0, 640, 360, FPS)).await;
    let size = Size::even(640, 360).unwrap();
    let mut watcher = Watcher::start(&node, "zoe", FPS).await;
    let is_host = |watcher: &Watcher| arranged(&watcher.shot.picture, &Layout::default(), &[0], size).map(|_| ());
    let mut loud = 0.0;
    watcher
        .until("the host's own media", |watcher| {
            loud = loudness(watcher);
            is_forwarded(watcher, &host)?;
            heard(&watcher.sound.samples, &[0])
        })
        .await;
    watcher
        .all_of(Duration::from_secs(1), "a second of the host", |watcher| {
            loud = loudness(watcher);
            is_forwarded(watcher, &host)
        })
        .await;

    // A quarter: 12 dB less.
    node.put_layout(json!({ "volumes": { "0": 0.25 } })).await;
    let is_quiet = |watcher: &Watcher| {
        is_host(watcher)?;
        let ratio = loudness(watcher) / loud;
        let mixed = is_forwarded(watcher, &host).is_err();
        (mixed && (0.2..0.3).contains(&ratio))
            .then_some(())
            .ok_or(format!("mixed: {mixed}, {ratio} of the loudness"))
    };
    watcher.until("a quieter host", is_quiet).await;
    watcher
        .all_of(Duration::from_secs(1), "a second of a quieter host", is_quiet)
        .await;

    // What keeps it mixed from now on is the mute.
    let mute = json!({ "audio_muted": true });
    node.patch_seat_as(HOST, "host", 0, mute).await;
    node.put_layout(json!({})).await;
    let is_silent = |watcher: &Watcher| {
        is_host(watcher)?;
        heard(&watcher.sound.samples, &[])
    };
    watcher.until("a silent host", is_silent).await;
    watcher
        .all_of(Duration::from_secs(1), "a second of a silent host", is_silent)
        .await;
    assert!(is_forwarded(&watcher, &host).is_err(), "it is mixed");
    watcher.finish().await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forwarded_host_who_is_muted_is_mixed() {
    let _turn = turn().await;
    let node = Node::start(2, &[]).await;
    let host = Publisher::start(&node, Show::new(0, 640, 360, FPS)).await;
    let size = Size::even(640, 360).unwrap();
    let mut watcher = Watcher::start(&node, "zoe", FPS).await;
    watcher
        .until("the host's own media", |watcher| {
            is_forwarded(watcher, &host)?;
            heard(&watcher.sound.samples, &[0])
        })
        .await;
    let mute = json!({ "audio_muted": true });
    node.patch_seat_as(HOST, "host", 0, mute).await;
    let is_silent = |watcher: &Watcher| {
        arranged(&watcher.shot.picture, &Layout::default(), &[0], size)?;
        let mixed = is_forwarded(watcher, &host).is_err();
        mixed.then_some(()).ok_or("the host's packets".to_owned())?;
        heard(&watcher.sound.samples, &[])
    };
    let mut seam = Seam::new();
    watcher
        .until("silence of the mixer", |watcher| {
            let forwarded = is_forwarded(watcher, &host).is_ok();
            seam.push((watcher.shot.number, forwarded, host_frame(watcher, size)));
            is_silent(watcher)
        })
        .await;
    assert_seamless(&seam);
    // The sound is there, and silence.
    watcher
        .all_of(Duration::from_secs(1), "a second of silence", is_silent)
        .await;
    watcher.finish().await;
    node.stop().await;
}
