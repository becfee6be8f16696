//! What is changed at run time lands on one picture, whole; forced modes.

use crate::card::arranged;
use crate::node::Node;
use crate::publisher::{Publisher, Show};
use crate::turn;
use crate::watcher::Watcher;
use costage::forward::{SeatIndex, SourceKind};
use costage::mix::layout::{Area, Color, CustomTile, Fit, Layout, Template};
use costage::mix::picture::Size;
use serde_json::{Value, json};
use std::time::Duration;

const FPS: u32 = 30;

fn size() -> Size {
    Size::even(640, 360).unwrap()
}

fn of(template: Template) -> Layout {
    Layout {
        template,
        ..Layout::default()
    }
}

/// The host large and the guests at its side, away from each other's barcodes.
fn custom() -> (Value, Layout) {
    let places = [
        (0, 0.0, 0.0, 0.75, 1.0),
        (1, 0.775, 0.05, 0.2, 0.4),
        (2, 0.775, 0.55, 0.2, 0.4),
    ];
    let wanted = places.map(
        |(seat, x, y, w, h)| json!({ "seat": seat, "source": "camera", "x": x, "y": y, "w": w, "h": h, "z": seat }),
    );
    let tiles = places.map(|(seat, x, y, w, h)| CustomTile {
        seat: SeatIndex(seat),
        source: SourceKind::Camera,
        area: Area::new(x, y, w, h).unwrap(),
        z: i16::from(seat),
        fit: Fit::Crop,
        radius: 0.0,
        border: 0.0,
        border_color: Color::WHITE,
    });
    (
        json!({ "template": "custom", "tiles": wanted }),
        of(Template::Custom(tiles.to_vec())),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layout_lands_on_one_picture() {
    let _turn = turn().await;
    let node = Node::start(2, &["amy", "ben"]).await;
    let mut cameras = Vec::new();
    for seat in 0..3 {
        cameras.push(Publisher::start(&node, Show::new(seat, 640, 360, FPS)).await);
    }
    let mut watcher = Watcher::start(&node, "zoe", FPS).await;
    let is =
        |watcher: &Watcher, layout: &Layout| arranged(&watcher.shot.picture, layout, &[0, 1, 2], size()).map(|_| ());
    let mut before = Layout::default();
    watcher.until("the grid", |watcher| is(watcher, &before)).await;
    let (wanted, placed) = custom();
    let changes = [
        (json!({ "template": "float" }), of(Template::Float)),
        (wanted, placed),
        (json!({ "template": "grid" }), Layout::default()),
    ];
    for (wanted, after) in changes {
        node.put_layout(wanted).await;
        watcher
            .until("the new layout", |watcher| {
                let new = is(watcher, &after);
                if let Err(why) = &new
                    && let Err(why_not) = is(watcher, &before)
                {
                    let seen = watcher.keep_picture("neither layout");
                    panic!(
                        "{}: neither the new layout, {why}, nor the old one, {why_not}",
                        seen.display()
                    );
                }
                new
            })
            .await;
        watcher
            .all_of(Duration::from_millis(500), "half a second of the layout", |watcher| {
                is(watcher, &after)
            })
            .await;
        before = after;
    }
    watcher.finish().await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn layouts_and_bitrates_change_between_pictures_and_cost_no_keyframe() {
    // The longest there is: no keyframe is due while everything changes.
    const GOP_MS: u32 = 10_000;
    let _turn = turn().await;
    let program = json!({ "video": { "gop_ms": GOP_MS } });
    let node = Node::with_room(2, json!({ "program": program }), &["amy", "ben"]).await;
    let mut cameras = Vec::new();
    // Of some of them a new layout shows what was there before.
    for (seat, fps) in (0..).zip([FPS, 15, 10]) {
        cameras.push(Publisher::start(&node, Show::new(seat, 640, 360, fps)).await);
    }
    let mut watcher = Watcher::start(&node, "zoe", FPS).await;
    let is =
        |watcher: &Watcher, layout: &Layout| arranged(&watcher.shot.picture, layout, &[0, 1, 2], size()).map(|_| ());
    let mut before = Layout::default();
    watcher.until("the grid", |watcher| is(watcher, &before)).await;

    let mut keyframes = 0;
    let first = watcher.shot.timestamp;
    for change in 0..10_u32 {
        let after = of(if change % 2 == 0 {
            Template::Float
        } else {
            Template::Grid
        });
        let name = if change % 2 == 0 { "float" } else { "grid" };
        let kbps = 1_000 + 500 * (change % 4);
        tokio::join!(
            node.put_layout(json!({ "template": name })),
            node.patch_program(json!({ "video": { "bitrate_kbps": kbps } })),
        );
        let mut seen = 0;
        // Three more, which show that none goes back.
        while seen < 3 {
            watcher.advance("the next layout").await;
            keyframes += usize::from(watcher.shot.keyframe);
            let new = is(&watcher, &after);
            let whole = if seen > 0 {
                new.clone()
            } else {
                new.clone().or(is(&watcher, &before))
            };
            if let Err(why) = whole {
                let seen = watcher.keep_picture("a mixture of layouts");
                panic!("{}, change {change} to {name}: {why}; new: {new:?}", seen.display());
            }
            seen += usize::from(new.is_ok());
        }
        before = after;
    }
    // One may have been due, or a second, had all that taken longer.
    let took_ms = watcher.shot.timestamp.wrapping_sub(first) / 90;
    let due = 1 + took_ms / GOP_MS;
    assert!(keyframes <= due as usize, "{keyframes} keyframes in {took_ms} ms");
    watcher.finish().await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_size_comes_with_a_keyframe_on_the_same_connection() {
    let _turn = turn().await;
    let node = Node::start(2, &["amy"]).await;
    let _host = Publisher::start(&node, Show::new(0, 640, 360, FPS)).await;
    let _guest = Publisher::start(&node, Show::new(1, 640, 360, FPS)).await;
    let mut watcher = Watcher::start(&node, "zoe", FPS).await;
    let is = |watcher: &Watcher| arranged(&watcher.shot.picture, &Layout::default(), &[0, 1], size()).map(|_| ());
    watcher.until("both", is).await;
    for (width, height) in [(960, 540), (360, 640)] {
        node.patch_program(json!({ "video": { "width": width, "height": height } }))
            .await;
        let wanted = Size::even(width, height).unwrap();
        watcher
            .until("the new size", |watcher| {
                is(watcher)?;
                let found = watcher.shot.picture.size();
                (found == wanted).then_some(()).ok_or(format!("{found:?}"))
            })
            .await;
        watcher
            .all_of(Duration::from_secs(1), "a second of the new size", |watcher| {
                is(watcher)?;
                let found = watcher.shot.picture.size();
                (found == wanted).then_some(()).ok_or(format!("{found:?}"))
            })
            .await;
    }
    watcher.finish().await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_alone_is_mixed_when_the_room_says_so() {
    let _turn = turn().await;
    // another size than the host's: what is forwarded is known by that
    let program = json!({ "mode": "mixed", "video": { "width": 960, "height": 540 } });
    let node = Node::with_room(2, json!({ "program": program }), &[]).await;
    let _host = Publisher::start(&node, Show::new(0, 640, 360, FPS)).await;
    let mut watcher = Watcher::start(&node, "zoe", FPS).await;
    let is = |watcher: &Watcher| arranged(&watcher.shot.picture, &Layout::default(), &[0], size()).map(|_| ());
    watcher.until("the host", is).await;
    watcher
        .all_of(Duration::from_secs(2), "two seconds of the mixed host", |watcher| {
            is(watcher)?;
            let mixed = watcher.shot.picture.size() == Size::even(960, 540).unwrap();
            mixed.then_some(()).ok_or("the host's own picture".to_owned())
        })
        .await;
    watcher.finish().await;
    node.stop().await;
}
