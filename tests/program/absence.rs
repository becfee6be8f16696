//! The program lasts, whoever and whatever is missing, and always has picture and sound.

use crate::card::{arranged, color_in, color_of, is_near, read, tiles, whole};
use crate::node::{HOST, Node};
use crate::publisher::{Camera, Microphone, Publisher, Show, USERS};
use crate::sound::{heard, level};
use crate::turn;
use crate::watcher::Watcher;
use costage::mix::layout::{Layout, Placeholder};
use costage::mix::picture::Size;
use serde_json::json;
use std::time::{Duration, Instant};

const FPS: u32 = 30;
/// From the answer to a mute, or a host's goodbye, to a picture without the host.
const WITHIN: Duration = Duration::from_secs(1);
/// Samples before somebody is unseated that are looked at as well: what is sent then is heard a moment later.
const LISTENED: usize = 9_600;
/// A tone that is cut off at a tenth of its level is louder than this in the heights; one that fades within 10 ms is not by
/// far.
const CLICK: f64 = 1e-4;

fn size() -> Size {
    Size::even(640, 360).unwrap()
}

fn is_host(watcher: &Watcher) -> Result<(), String> {
    arranged(&watcher.shot.picture, &Layout::default(), &[0], size()).map(|_| ())
}

/// One of these colours all over, away from where names are.
fn is_blank(watcher: &Watcher, colors: &[[u8; 3]]) -> Result<(), String> {
    let picture = &watcher.shot.picture;
    for (across, down) in [(0.1, 0.15), (0.5, 0.1), (0.9, 0.15), (0.9, 0.85)] {
        let found = color_in(picture, whole(picture.size()), across, down);
        if !colors.iter().any(|color| is_near(found, *color)) {
            return Err(format!("{found:?} at {across} × {down}, none of {colors:?}"));
        }
    }
    Ok(())
}

fn placeholder() -> [u8; 3] {
    color_of(Placeholder::default().color)
}

/// A seat without a picture, or nobody at all.
fn slate() -> [[u8; 3]; 2] {
    [placeholder(), color_of(Layout::default().background.color)]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_who_mutes_everything_leaves_a_placeholder_and_silence() {
    let _turn = turn().await;
    let node = Node::start(2, &[]).await;
    let _host = Publisher::start(&node, Show::new(0, 640, 360, FPS)).await;
    let mut watcher = Watcher::start(&node, "zoe", FPS).await;
    watcher
        .until("the host", |watcher| {
            is_host(watcher)?;
            heard(&watcher.sound.samples, &[0])
        })
        .await;
    watcher.may_be_still();
    let mute = json!({ "video_muted": true });
    node.patch_seat_as(HOST, "host", 0, mute).await;
    let muted = Instant::now();
    watcher
        .until("the placeholder", |watcher| is_blank(watcher, &[placeholder()]))
        .await;
    let took = watcher.shot.at.saturating_duration_since(muted);
    assert!(took <= WITHIN, "the placeholder came after {took:?}");
    watcher
        .all_of(Duration::from_secs(1), "a second of the placeholder", |watcher| {
            is_blank(watcher, &[placeholder()])?;
            heard(&watcher.sound.samples, &[0])
        })
        .await;

    let mute = json!({ "audio_muted": true });
    node.patch_seat_as(HOST, "host", 0, mute).await;
    watcher
        .until("silence", |watcher| heard(&watcher.sound.samples, &[]))
        .await;
    watcher
        .all_of(Duration::from_secs(1), "a second of silence", |watcher| {
            is_blank(watcher, &[placeholder()])?;
            heard(&watcher.sound.samples, &[])
        })
        .await;

    let unmute = json!({ "video_muted": false, "audio_muted": false });
    node.patch_seat_as(HOST, "host", 0, unmute).await;
    watcher
        .until("the host again", |watcher| {
            is_host(watcher)?;
            heard(&watcher.sound.samples, &[0])
        })
        .await;
    watcher.finish().await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_outlasts_the_hosts_connection() {
    let _turn = turn().await;
    let node = Node::start(2, &[]).await;
    let host = Publisher::start(&node, Show::new(0, 640, 360, FPS)).await;
    let mut watcher = Watcher::start(&node, "zoe", FPS).await;
    watcher.until("the host", is_host).await;

    watcher.may_be_still();
    host.leave(&node).await;
    watcher
        .until("a slate, when the host has left", |watcher| is_blank(watcher, &slate()))
        .await;
    watcher
        .all_of(Duration::from_secs(2), "two seconds of the slate", |watcher| {
            is_blank(watcher, &slate())
        })
        .await;
    watcher
        .until("silence", |watcher| heard(&watcher.sound.samples, &[]))
        .await;

    let host = Publisher::start(&node, Show::new(0, 640, 360, FPS)).await;
    watcher
        .until("the host again", |watcher| {
            is_host(watcher)?;
            heard(&watcher.sound.samples, &[0])
        })
        .await;

    // The path is cut: nobody says goodbye.
    drop(host);
    watcher
        .until("a slate, when the host is lost", |watcher| {
            is_blank(watcher, &slate())?;
            heard(&watcher.sound.samples, &[])
        })
        .await;
    let _host = Publisher::start(&node, Show::new(0, 640, 360, FPS)).await;
    watcher.until("the host, back", is_host).await;
    watcher.finish().await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_whose_path_is_cut_stands_still_for_a_moment() {
    let _turn = turn().await;
    let node = Node::start(2, &["amy"]).await;
    let _host = Publisher::start(&node, Show::new(0, 640, 360, FPS)).await;
    let guest = Publisher::start(&node, Show::new(1, 640, 360, FPS)).await;
    let mut watcher = Watcher::start(&node, "zoe", FPS).await;
    let layout = Layout::default();
    let both = |watcher: &Watcher| arranged(&watcher.shot.picture, &layout, &[0, 1], size()).map(|_| ());
    watcher.until("both", both).await;

    drop(guest);
    let cut = Instant::now();
    watcher
        .all_of(Duration::from_millis(1_500), "the guest, standing still at last", both)
        .await;
    let (mut host_frames, mut guest_frames) = (vec![], vec![]);
    watcher
        .until("a placeholder instead of the guest", |watcher| {
            let picture = &watcher.shot.picture;
            let tiles = tiles(&layout, picture.size(), &[0, 1]);
            let frame = |at: usize| read(picture, tiles[at].rect, size()).map(|reading| reading.frame);
            host_frames.extend(frame(0));
            guest_frames.extend(frame(1));
            let found = color_in(picture, tiles[1].rect, 0.5, 0.1);
            let gone = is_near(found, placeholder()) && frame(1).is_none();
            gone.then_some(()).ok_or_else(|| format!("{found:?}"))
        })
        .await;
    let took = watcher.shot.at.saturating_duration_since(cut);
    // a second until nothing is known to come any more, and as long as a last picture stays
    assert!(
        (Duration::from_secs(2)..Duration::from_secs(6)).contains(&took),
        "the placeholder came after {took:?}"
    );
    guest_frames.dedup();
    assert_eq!(guest_frames.len(), 1, "it stood still: {guest_frames:?}");
    let (first, last) = (host_frames.first(), host_frames.last());
    assert!(first < last, "the host goes on: {first:?} to {last:?}");
    watcher.finish().await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_of_voices_has_a_picture() {
    let _turn = turn().await;
    let node = Node::start(2, &["amy"]).await;
    let voice = |seat| Show {
        camera: Camera::None,
        ..Show::new(seat, 640, 360, FPS)
    };
    let _host = Publisher::start(&node, voice(0)).await;
    let mut watcher = Watcher::start(&node, "zoe", FPS).await;
    watcher.may_be_still();
    let canvas = Size::even(1280, 720).unwrap();
    assert_eq!(watcher.shot.picture.size(), canvas);
    watcher
        .until("the host's voice", |watcher| {
            is_blank(watcher, &slate())?;
            heard(&watcher.sound.samples, &[0])
        })
        .await;
    let _guest = Publisher::start(&node, voice(1)).await;
    watcher
        .until("both voices", |watcher| heard(&watcher.sound.samples, &[0, 1]))
        .await;
    watcher
        .all_of(Duration::from_secs(1), "a second of both", |watcher| {
            heard(&watcher.sound.samples, &[0, 1])
        })
        .await;
    watcher.finish().await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_without_voices_has_sound() {
    let _turn = turn().await;
    let node = Node::start(2, &[]).await;
    let show = Show {
        microphone: Microphone::None,
        ..Show::new(0, 640, 360, FPS)
    };
    let _host = Publisher::start(&node, show).await;
    let mut watcher = Watcher::start(&node, "zoe", FPS).await;
    watcher
        .until("the host, and silence", |watcher| {
            is_host(watcher)?;
            heard(&watcher.sound.samples, &[])
        })
        .await;
    watcher
        .all_of(Duration::from_secs(2), "two seconds of the host", is_host)
        .await;
    watcher.finish().await;
    node.stop().await;
}

/// The loudest that is heard where neither tones nor fades are, but the end of a tone that is cut off is.
fn click(samples: &[f32]) -> f64 {
    const WINDOW: usize = 240;
    let windows = samples.windows(WINDOW).step_by(WINDOW / 4);
    let highs = windows.flat_map(|window| [9_000.0, 11_000.0, 13_000.0].map(|hz| level(window, hz)));
    highs.fold(0.0, f64::max)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_unseated_ends_without_a_click() {
    let _turn = turn().await;
    let program = json!({ "program": { "mode": "mixed" } });
    let node = Node::with_room(2, program, &USERS[1..4]).await;
    let mut voices = Vec::new();
    for seat in 0..4 {
        let show = Show {
            camera: if seat == 0 { Camera::Card } else { Camera::None },
            microphone: if seat == 0 { Microphone::None } else { Microphone::Tone },
            ..Show::new(seat, 320, 180, FPS)
        };
        voices.push(Publisher::start(&node, show).await);
    }
    let mut watcher = Watcher::start(&node, "zoe", FPS).await;
    // At one of three ends of a tone it is far from zero.
    for unseated in [3, 2, 1] {
        let heard_now: Vec<u8> = (1..=unseated).collect();
        watcher
            .until("those who are there", |watcher| {
                heard(&watcher.sound.samples, &heard_now)
            })
            .await;
        let rest = Duration::from_millis(500);
        watcher.all_of(rest, "half a second before", |_| Ok(())).await;
        let samples = watcher.sound.samples.len();
        let before = click(&watcher.sound.samples[samples - LISTENED..]);
        node.unseat(unseated).await;
        watcher.all_of(rest, "half a second behind", |_| Ok(())).await;
        let during = click(&watcher.sound.samples[samples - LISTENED..]);
        println!("seat {unseated}: {before:.6} before, {during:.6} at the end");
        assert!(during < CLICK, "seat {unseated} ends with a click: {during:.6}");
    }
    watcher.finish().await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_is_off_is_nothing_to_play() {
    let _turn = turn().await;
    let node = Node::with_room(2, json!({ "program": { "mode": "off" } }), &[]).await;
    let _host = Publisher::start(&node, Show::new(0, 640, 360, FPS)).await;
    let offer = include_str!("../fixtures/sdp/gstreamer-play.sdp");
    let (status, problem) = node.refused("whep/program", offer.to_owned()).await;
    assert_eq!(
        (status, &problem["code"]),
        (409, &json!("nothing_to_play")),
        "{problem}"
    );
    node.stop().await;
}
