//! Somebody sends what no encoder sends: the node, everybody else's picture and all the sound go on unharmed.

use crate::card::{Filmed, arranged_of};
use crate::node::Node;
use crate::publisher::{Publisher, Show};
use crate::sound::heard;
use crate::turn;
#[cfg(feature = "vp8")]
use crate::vp8::Film;
use crate::watcher::Watcher;
use costage::mix::layout::Layout;
use costage::mix::picture::Size;
use serde_json::json;
use std::time::Duration;

const FPS: u32 = 30;
/// Each kind of wrong payload comes a dozen times.
const ATTACK: Duration = Duration::from_secs(4);

fn size() -> Size {
    Size::even(320, 180).unwrap()
}

/// The host and the guest on seat 3 are in their places, whatever the others show, and all four are heard.
fn unharmed(watcher: &Watcher) -> Result<(), String> {
    let cameras = [
        Filmed::camera(0, size()),
        Filmed::whatever(1, size()),
        Filmed::whatever(2, size()),
        Filmed::camera(3, size()),
    ];
    arranged_of(&watcher.shot.picture, &Layout::default(), &cameras)?;
    heard(&watcher.sound.samples, &[0, 1, 2, 3])
}

/// Two attack, on seats 1 and 2; `filmed`: the numbers of the pictures they show.
async fn others_are_unharmed(attackers: [Show; 2], filmed: impl Fn(&Watcher) -> Result<[u32; 2], String>) {
    let _turn = turn().await;
    let program = json!({ "video": { "width": 640, "height": 360 } });
    let node = Node::with_room(2, json!({ "program": program }), &["amy", "ben", "cem"]).await;
    let _host = Publisher::start(&node, Show::new(0, 320, 180, FPS)).await;
    let mut hostile = Vec::new();
    for show in attackers {
        hostile.push(Publisher::start(&node, show).await);
    }
    let _guest = Publisher::start(&node, Show::new(3, 320, 180, FPS)).await;
    let mut watcher = Watcher::start(&node, "zoe", FPS).await;
    let everybody = |watcher: &Watcher| unharmed(watcher).and_then(|()| filmed(watcher));
    watcher
        .until("everybody", |watcher| everybody(watcher).map(|_| ()))
        .await;
    let attack = |on: bool| hostile.iter().for_each(|show| show.change(|take| take.hostile = on));
    attack(true);
    watcher.all_of(ATTACK, "an attack", unharmed).await;
    attack(false);
    let mut last = [None; 2];
    let mut moves = [0; 2];
    watcher
        .until("who attacked, moving again", |watcher| {
            unharmed(watcher).unwrap_or_else(|why| panic!("after the attack: {why}"));
            let numbers = filmed(watcher)?;
            for ((number, last), moves) in numbers.iter().zip(&mut last).zip(&mut moves) {
                *moves += u32::from(last.replace(*number) != Some(*number));
            }
            let moving = moves.iter().all(|moves| *moves > FPS / 2);
            moving.then_some(()).ok_or(format!("{moves:?} moves"))
        })
        .await;
    watcher.finish().await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_h264_harms_nobody_else() {
    let attackers = [1, 2].map(|seat| Show::new(seat, 320, 180, FPS));
    let filmed = |watcher: &Watcher| {
        let cameras = [0, 1, 2, 3].map(|seat| Filmed::camera(seat, size()));
        let readings = arranged_of(&watcher.shot.picture, &Layout::default(), &cameras)?;
        Ok([readings[1].frame, readings[2].frame])
    };
    others_are_unharmed(attackers, filmed).await;
}

#[cfg(feature = "vp8")]
#[tokio::test(flavor = "multi_thread")]
async fn hostile_vp8_harms_nobody_else() {
    let film = Film::open();
    let attackers = [1, 2].map(|seat| Show {
        camera: crate::publisher::Camera::Vp8(film.frames.clone()),
        ..Show::new(seat, 320, 180, FPS)
    });
    let filmed = |watcher: &Watcher| {
        let picture = &watcher.shot.picture;
        let places = crate::card::tiles(&Layout::default(), picture.size(), &[0, 1, 2, 3]);
        Ok([
            film.is_in(picture, places[1].rect)?,
            film.is_in(picture, places[2].rect)?,
        ])
    };
    others_are_unharmed(attackers, filmed).await;
}
