//! A seat that is taken away is gone from the picture with its event.

use crate::card::{COLORS, arranged, color_in, is_near, whole};
use crate::node::Node;
use crate::publisher::{Publisher, Show, USERS};
use crate::sound::{HZ, SILENT, level, tone_hz};
use crate::turn;
use crate::watcher::Watcher;
use costage::mix::layout::Layout;
use costage::mix::picture::{Picture, Size};
use serde_json::Value;
use tokio::sync::mpsc;

const FPS: u32 = 30;
/// From 1900, where NTP counts from, to 1970.
const NTP_TO_UNIX_S: f64 = 2_208_988_800.0;
/// Samples: a tenth of a second, which is three frames.
const LISTENED: usize = 4_800;
/// Points across and down that are looked at for somebody.
const POINTS: u16 = 24;

fn size() -> Size {
    Size::even(320, 180).unwrap()
}

/// What the room says, message by message.
async fn listen(node: &Node) -> mpsc::UnboundedReceiver<Value> {
    let mut response = node.listen().await;
    // Unbounded: a test lasts seconds.
    let (sender, messages) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut text = String::new();
        while let Ok(Some(bytes)) = response.chunk().await {
            text.push_str(std::str::from_utf8(&bytes).expect("whole characters of ASCII"));
            while let Some((line, rest)) = text.split_once('\n') {
                if let Some(data) = line.strip_prefix("data:") {
                    let message = serde_json::from_str(data.trim()).expect("JSON");
                    if sender.send(message).is_err() {
                        return;
                    }
                }
                text = rest.to_owned();
            }
        }
    });
    messages
}

/// How many of the points are of the seat's colour.
fn points_of(picture: &Picture, seat: u8) -> usize {
    let at = |index: u16| (f64::from(index) + 0.5) / f64::from(POINTS);
    let points = (0..POINTS).flat_map(|down| (0..POINTS).map(move |across| (at(across), at(down))));
    let color = |(across, down)| color_in(picture, whole(picture.size()), across, down);
    points
        .filter(|point| is_near(color(*point), COLORS[usize::from(seat)]))
        .count()
}

/// A picture: its RTP timestamp, and whether somebody is in it.
type Showing = (u32, bool);

#[tokio::test(flavor = "multi_thread")]
async fn a_kicked_guest_is_gone_within_a_frame_of_the_event() {
    let _turn = turn().await;
    let node = Node::start(2, &USERS[1..4]).await;
    let mut cameras = Vec::new();
    for seat in 0..4 {
        let show = Show::new(seat, 320, 180, FPS);
        cameras.push(Publisher::start(&node, show).await);
    }
    let mut watcher = Watcher::start(&node, "zoe", FPS).await;
    let mut messages = listen(&node).await;
    let mut kicks: Vec<(u8, f64, Vec<Showing>)> = Vec::new();
    for kicked in [3, 2, 1] {
        let present: Vec<u8> = (0..=kicked).collect();
        let is = |watcher: &Watcher| arranged(&watcher.shot.picture, &Layout::default(), &present, size()).map(|_| ());
        watcher.until("all who are there", is).await;
        assert!(points_of(&watcher.shot.picture, kicked) > 20, "seat {kicked} is seen");
        // Its camera goes on sending meanwhile, and behind it.
        let unseated = node.unseat(kicked);
        tokio::pin!(unseated);
        let mut shown: Vec<Showing> = Vec::new();
        let mut answered = false;
        while !answered || shown.len() < 2 * FPS as usize {
            tokio::select! {
                () = &mut unseated, if !answered => answered = true,
                () = watcher.advance("the pictures around the kick") => {
                    let points = points_of(&watcher.shot.picture, kicked);
                    shown.push((watcher.shot.timestamp, points > 0));
                }
            }
        }
        let updated = loop {
            let message = messages.recv().await.expect("the event of the kick");
            if message["type"] == "seats.changed" && message["data"]["left"][0]["seat"] == kicked {
                break message["at"].as_str().expect("a time").to_owned();
            }
        };
        let at: jiff::Timestamp = updated.parse().unwrap();
        kicks.push((kicked, at.as_millisecond() as f64 / 1_000.0, shown));
    }
    watcher
        .viewer
        .until("a sender report", |slots| slots[0].video.reports.len() > 1)
        .await;

    for (kicked, event_s, shown) in kicks {
        let age_ms = |timestamp: u32| (watcher.viewer.video().ntp_s(timestamp) - NTP_TO_UNIX_S - event_s) * 1_000.0;
        let last = shown.iter().rfind(|(_, shows)| *shows);
        let last_ms = last.map(|(timestamp, _)| age_ms(*timestamp));
        println!("seat {kicked}: last seen {last_ms:.1?} ms after its event");
        let frame_ms = 1_000.0 / f64::from(FPS);
        assert!(
            last_ms.is_none_or(|age_ms| age_ms <= frame_ms),
            "seat {kicked} is seen {last_ms:.1?} ms after its event: {:?}",
            shown
                .iter()
                .map(|(at, shows)| (age_ms(*at), *shows))
                .collect::<Vec<_>>()
        );
        // So is the voice: what is heard from a frame behind the event on.
        let (sound, audio) = (&watcher.sound, watcher.viewer.audio());
        let first_s = audio.ntp_s(sound.first_timestamp) - NTP_TO_UNIX_S;
        let from = ((event_s - first_s) * HZ) as usize + LISTENED / 3;
        let loudness = level(&sound.samples[from..from + LISTENED], tone_hz(kicked));
        assert!(
            loudness < SILENT,
            "seat {kicked} is heard at {loudness} behind its event"
        );
        // Once gone, it stays gone.
        let gone = shown.iter().position(|(_, shows)| !shows).expect("gone in the end");
        assert!(
            shown[gone..].iter().all(|(_, shows)| !shows),
            "seat {kicked} comes back"
        );
        let span_ms = age_ms(shown[shown.len() - 1].0);
        assert!(span_ms > 500.0, "the pictures end {span_ms} ms after the event");
    }
    watcher.finish().await;
    node.stop().await;
}
