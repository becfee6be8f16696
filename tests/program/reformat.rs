//! A publisher goes on with pictures of another size, or with other parameter sets: the tile goes on.

use crate::card::{Filmed, arranged, arranged_of};
use crate::node::Node;
use crate::publisher::{Publisher, Show};
use crate::turn;
use crate::watcher::Watcher;
use costage::mix::layout::Layout;
use costage::mix::picture::Size;
use std::time::Duration;

const FPS: u32 = 30;
/// Frames of the publisher from one picture of the program to the next: at a change, its keyframe is waited for.
const STEP_MAX: u32 = 6;

fn size(width: u16, height: u16) -> Size {
    Size::even(width, height).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tile_goes_on_when_its_camera_changes_its_format() {
    let _turn = turn().await;
    let node = Node::start(2, &["amy"]).await;
    let host = size(640, 360);
    let _host = Publisher::start(&node, Show::new(0, 640, 360, FPS)).await;
    let guest = Publisher::start(&node, Show::new(1, 640, 360, FPS)).await;
    let mut watcher = Watcher::start(&node, "zoe", FPS).await;
    let read = |watcher: &Watcher, size: Size| {
        let cameras = [Filmed::camera(0, host), Filmed::camera(1, size)];
        let readings = arranged_of(&watcher.shot.picture, &Layout::default(), &cameras)?;
        Ok::<u32, String>(readings[1].frame)
    };
    watcher.until("both", |watcher| read(watcher, host).map(|_| ())).await;

    let mut before = host;
    let mut frame = read(&watcher, host).unwrap();
    // Smaller, as on a bad line; turned; cropped, of no whole macroblocks; and the same of another level.
    let formats = [
        (320, 180, false),
        (360, 640, false),
        (626, 350, false),
        (626, 350, true),
        (640, 360, false),
    ];
    for (width, height, highest_level) in formats {
        let after = size(width, height);
        guest.change(|take| (take.size, take.highest_level) = (after, highest_level));
        let changed = guest.next();
        let mut due = 0;
        // What is sent from now on is on its way: half a second behind it.
        while due < FPS / 2 {
            watcher.advance("the new format").await;
            let new = read(&watcher, after);
            let now = new.clone().or_else(|_| read(&watcher, before));
            let now = now.unwrap_or_else(|why| {
                let seen = watcher.keep_picture("neither format");
                panic!("{}: neither {before:?} nor {after:?}: {why}", seen.display());
            });
            let step = now.wrapping_sub(frame);
            assert!(
                step <= STEP_MAX,
                "frame {now} after frame {frame}, from {before:?} to {after:?}"
            );
            frame = now;
            if frame > changed {
                assert!(new.is_ok(), "frame {now}, {} after the change: {new:?}", now - changed);
                due += 1;
            }
        }
        before = after;
    }
    watcher.finish().await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forwarded_host_may_change_its_format_and_be_mixed_then() {
    let _turn = turn().await;
    let node = Node::start(2, &["amy"]).await;
    let host = Publisher::start(&node, Show::new(0, 640, 360, FPS)).await;
    let mut watcher = Watcher::start(&node, "zoe", FPS).await;
    let alone = |watcher: &Watcher, size: Size| {
        let found = watcher.shot.picture.size();
        let forwarded = (found == size).then_some(()).ok_or(format!("{found:?}"));
        arranged(&watcher.shot.picture, &Layout::default(), &[0], size).and(forwarded)
    };
    watcher
        .until("the host", |watcher| alone(watcher, size(640, 360)))
        .await;
    let other = size(480, 270);
    host.change(|take| (take.size, take.highest_level) = (other, true));
    watcher
        .until("the host's other size", |watcher| alone(watcher, other))
        .await;
    watcher
        .all_of(Duration::from_secs(1), "a second of the other size", |watcher| {
            alone(watcher, other)
        })
        .await;
    let _guest = Publisher::start(&node, Show::new(1, 640, 360, FPS)).await;
    let both = |watcher: &Watcher| {
        let cameras = [Filmed::camera(0, other), Filmed::camera(1, size(640, 360))];
        arranged_of(&watcher.shot.picture, &Layout::default(), &cameras).map(|_| ())
    };
    watcher.until("the guest beside the host", both).await;
    watcher.all_of(Duration::from_secs(1), "a second of both", both).await;
    watcher.finish().await;
    node.stop().await;
}
