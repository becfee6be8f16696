//! The program is the host's own media while nothing has to be composed, and viewers go on through each change.

use crate::card::{arranged, read, tiles, whole};
use crate::node::Node;
use crate::publisher::{Publisher, Show};
use crate::turn;
use crate::watcher::Watcher;
use costage::mix::layout::Layout;
use costage::mix::picture::Size;
use std::time::{Duration, Instant};

const FPS: u32 = 30;
/// How long nothing has to be composed before the mixer ends, as the node has it.
const LINGER: Duration = Duration::from_secs(10);

/// All packets of the picture are the publisher's.
fn is_forwarded(watcher: &Watcher, host: &Publisher) -> Result<(), String> {
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
