//! Many in one picture: each in their place, each heard, and gone when they are.

use crate::card::arranged;
use crate::node::Node;
use crate::publisher::{Publisher, Show, USERS};
use crate::sound::heard;
use crate::turn;
use crate::watcher::Watcher;
use costage::mix::layout::Layout;
use costage::mix::picture::Size;
use serde_json::json;
use std::time::{Duration, Instant};

const FPS: u32 = 15;
/// Of the cameras.
const WIDTH: u16 = 320;
const HEIGHT: u16 = 180;
/// Pictures that may still show who has been unseated: one is being encoded, one may be on its way, and the machine is busy.
const GONE_WITHIN: usize = 4;

fn size() -> Size {
    Size::even(WIDTH, HEIGHT).unwrap()
}

async fn stage(publishers: u8) -> (Node, Vec<Publisher>) {
    let program = json!({ "video": { "width": 1280, "height": 720, "fps": FPS } });
    let guests = &USERS[1..usize::from(publishers)];
    let node = Node::with_room(2, json!({ "program": program }), guests).await;
    let mut cameras = Vec::new();
    for seat in 0..publishers {
        cameras.push(Publisher::start(&node, Show::new(seat, WIDTH, HEIGHT, FPS)).await);
    }
    (node, cameras)
}

async fn everybody_is_in_their_place(publishers: u8) {
    let _turn = turn().await;
    let (node, cameras) = stage(publishers).await;
    let layout = Layout::default();
    let everybody: Vec<u8> = (0..publishers).collect();
    let mut watcher = Watcher::start(&node, "zoe", FPS).await;
    let placed = |watcher: &Watcher, seats: &[u8]| arranged(&watcher.shot.picture, &layout, seats, size());

    watcher
        .until("everybody in their place", |watcher| {
            placed(watcher, &everybody)?;
            heard(&watcher.sound.samples, &everybody)
        })
        .await;
    let first = placed(&watcher, &everybody).unwrap();
    let mut latest = first.clone();
    watcher
        .all_of(Duration::from_secs(2), "two seconds of everybody", |watcher| {
            let readings = placed(watcher, &everybody)?;
            for (before, now) in latest.iter().zip(&readings) {
                if now.frame < before.frame {
                    return Err(format!("{now:?} comes after {before:?}"));
                }
            }
            latest = readings;
            heard(&watcher.sound.samples, &everybody)
        })
        .await;
    for (before, now) in first.iter().zip(&latest) {
        assert!(now.frame >= before.frame + 24, "{now:?}, two seconds after {before:?}");
    }

    node.patch_seat(1, json!({ "audio_muted": true })).await;
    let others: Vec<u8> = everybody.iter().copied().filter(|seat| *seat != 1).collect();
    watcher
        .until("a muted seat to be silent", |watcher| {
            placed(watcher, &everybody)?;
            heard(&watcher.sound.samples, &others)
        })
        .await;
    watcher
        .all_of(Duration::from_secs(1), "a second of silence of one", |watcher| {
            placed(watcher, &everybody)?;
            heard(&watcher.sound.samples, &others)
        })
        .await;
    let unmuted = json!({ "audio_muted": false });
    node.patch_seat_as(USERS[1], "member", 1, unmuted).await;
    watcher
        .until("everybody to be heard again", |watcher| {
            heard(&watcher.sound.samples, &everybody)
        })
        .await;

    let kicked = publishers - 1;
    let staying: Vec<u8> = (0..kicked).collect();
    node.unseat(kicked).await;
    let (gone, filmed) = (Instant::now(), cameras[usize::from(kicked)].next());
    let mut late = 0;
    watcher
        .until("the tile of an unseated guest to be gone", |watcher| {
            let placed = placed(watcher, &staying).map(|_| ());
            if placed.is_err() && watcher.shot.at > gone {
                late += 1;
            }
            placed
        })
        .await;
    assert!(
        late <= GONE_WITHIN,
        "{late} pictures came after the answer and showed the guest, whose next was {filmed}"
    );
    watcher
        .until("the guest's sound to end", |watcher| {
            placed(watcher, &staying)?;
            heard(&watcher.sound.samples, &staying)
        })
        .await;
    watcher
        .all_of(Duration::from_secs(1), "a second without the guest", |watcher| {
            placed(watcher, &staying)?;
            heard(&watcher.sound.samples, &staying)
        })
        .await;
    watcher.finish().await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_are_in_their_places() {
    everybody_is_in_their_place(3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_are_in_their_places() {
    everybody_is_in_their_place(10).await;
}
