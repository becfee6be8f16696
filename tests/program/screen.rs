//! A shared screen is large, with the people beside it.

use crate::card::{Filmed, arranged_of};
use crate::node::Node;
use crate::publisher::{Microphone, Publisher, Show};
use crate::turn;
use crate::watcher::Watcher;
use costage::forward::{SeatIndex, SourceKind};
use costage::mix::layout::{Layout, Present, Template};
use costage::mix::picture::Size;
use serde_json::json;
use std::time::Duration;

const FPS: u32 = 15;
/// Whose colour and barcode the screen shows: nobody's who is there.
const SCREEN_CARD: u8 = 9;

fn size(width: u16, height: u16) -> Size {
    Size::even(width, height).unwrap()
}

/// The three cameras and what else there is.
fn everybody(screen: Option<Size>) -> Vec<Filmed> {
    let mut all: Vec<Filmed> = (0..3).map(|seat| Filmed::camera(seat, size(320, 180))).collect();
    all.extend(screen.map(|size| Filmed {
        present: Present {
            seat: SeatIndex(0),
            source: SourceKind::Screen,
        },
        card: Some(SCREEN_CARD),
        size,
    }));
    all.sort_by_key(|filmed| filmed.present);
    all
}

fn screen_layout() -> Layout {
    Layout {
        template: Template::Screen,
        ..Layout::default()
    }
}

/// The screen has most of the canvas, and all people are at its right.
fn assert_large_with_people_beside(canvas: Size) {
    let present: Vec<Present> = everybody(Some(size(640, 360)))
        .iter()
        .map(|filmed| filmed.present)
        .collect();
    let tiles = screen_layout().arrange(canvas, &present);
    let (screens, people): (Vec<_>, Vec<_>) = tiles.iter().partition(|tile| tile.source == SourceKind::Screen);
    let large = screens[0].rect;
    let area = usize::from(large.width) * usize::from(large.height);
    assert!(2 * area > canvas.width() * canvas.height(), "{large:?}");
    assert_eq!(people.len(), 3);
    for person in people {
        assert!(person.rect.x >= large.x + large.width, "{person:?} beside {large:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shared_screen_is_large_with_people_beside_it() {
    let _turn = turn().await;
    let program = json!({ "video": { "width": 1280, "height": 720, "fps": FPS } });
    let node = Node::with_room(2, json!({ "program": program }), &["amy", "ben"]).await;
    node.put_layout(json!({ "template": "screen" })).await;
    let mut cameras = Vec::new();
    for seat in 0..3 {
        cameras.push(Publisher::start(&node, Show::new(seat, 320, 180, FPS)).await);
    }
    let mut watcher = Watcher::start(&node, "zoe", FPS).await;
    let is = |watcher: &Watcher, screen: Option<Size>| {
        arranged_of(&watcher.shot.picture, &screen_layout(), &everybody(screen)).map(|_| ())
    };
    watcher
        .until("a grid while no screen is shared", |watcher| is(watcher, None))
        .await;
    assert_large_with_people_beside(watcher.shot.picture.size());

    // Of the shape of old displays: bars at its sides.
    let old = size(640, 480);
    let shown = Show {
        screen: true,
        card: SCREEN_CARD,
        microphone: Microphone::None,
        ..Show::new(0, 640, 480, FPS)
    };
    let screen = Publisher::start(&node, shown).await;
    watcher.until("the screen", |watcher| is(watcher, Some(old))).await;
    watcher
        .all_of(Duration::from_secs(1), "a second of the screen", |watcher| {
            is(watcher, Some(old))
        })
        .await;
    // A window of another shape is shared instead: bars above and below.
    let wide = size(800, 300);
    screen.change(|take| take.size = wide);
    watcher.until("the window", |watcher| is(watcher, Some(wide))).await;
    watcher
        .all_of(Duration::from_secs(1), "a second of the window", |watcher| {
            is(watcher, Some(wide))
        })
        .await;
    screen.leave(&node).await;
    watcher
        .until("the grid, when the screen is shared no more", |watcher| {
            is(watcher, None)
        })
        .await;
    watcher.finish().await;
    node.stop().await;
}
