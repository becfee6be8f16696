//! One publisher, one viewer.

use crate::camera::{Camera, Film, Options, PATTERN_PACKETS};
use crate::connection::VP8;
use crate::node::{HOST, Node};
use crate::outlet::ivf_frames;
use crate::viewer::{Stream, Viewer};
use costage::demo::{Clip, Publisher, Target};
use rtc::rtp::codec::vp8::Vp8Packet;
use rtc::rtp::packetizer::Depacketizer;
use std::sync::Arc;
use std::time::Instant;

/// Of audio and video at the viewer, each as its sender reports place it.
const LIP_SYNC: f64 = 0.010;

/// By how much a stream's packets come later than its sender reports say they were captured, in seconds; the clocks differ,
/// so only differences mean something. The least delayed packet: the machine may be busy.
fn delay_s(stream: &Stream, start: Instant) -> f64 {
    let delay = |seen: &crate::viewer::Seen| (seen.at - start).as_secs_f64() - stream.ntp_s(seen.timestamp);
    stream.packets.iter().map(delay).fold(f64::INFINITY, f64::min)
}

async fn the_clip_is_watched(workers: usize) {
    let node = Node::forwarding(workers, &[]).await;
    let start = Instant::now();
    let target = Target {
        whip_url: node.room_url("whip"),
        token: Some(node.token(HOST, "host").await),
    };
    let publisher = Publisher::connect(&target, Arc::new(Clip::bundled())).await.unwrap();
    let mut program = Viewer::watch(&node, "program", "ann", 1).await;
    let mut seat = Viewer::watch(&node, "seats/0", "bob", 1).await;
    for viewer in [&mut program, &mut seat] {
        viewer
            .until("two reports of each stream", |slots| {
                let both = [&slots[0].video, &slots[0].audio];
                both.iter()
                    .all(|stream| stream.reports.len() >= 2 && stream.packets.len() >= 100)
            })
            .await;
        viewer.settle().await;
        viewer.video().assert_whole();
        viewer.audio().assert_continuous();
        let skew = delay_s(viewer.video(), start) - delay_s(viewer.audio(), start);
        assert!(skew.abs() < LIP_SYNC, "video and audio are {skew:.4} s apart");
    }
    publisher.close().await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_h264_clip_is_watched_through_one_worker() {
    the_clip_is_watched(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_h264_clip_is_watched_through_two_workers() {
    the_clip_is_watched(2).await;
}

/// Frames put together from their packets; the last may be incomplete and is left out.
fn vp8_frames(stream: &Stream) -> Vec<Vec<u8>> {
    let mut frames = vec![vec![]];
    for seen in &stream.packets {
        let bytes = Vp8Packet::default().depacketize(&seen.payload).unwrap();
        frames.last_mut().unwrap().extend_from_slice(&bytes);
        if seen.marker {
            frames.push(vec![]);
        }
    }
    frames.pop();
    frames
}

#[tokio::test(flavor = "multi_thread")]
async fn vp8_frames_arrive_byte_for_byte() {
    let frames = ivf_frames(include_bytes!("../fixtures/media/pattern-vp8.ivf"));
    let node = Node::forwarding(2, &[]).await;
    let options = Options {
        film: Film::Vp8(frames.clone()),
        ..Options::pattern(0)
    };
    let camera = Camera::start(&node, HOST, options).await;
    let mut viewer = Viewer::watch(&node, "program", "ann", 1).await;
    // Past picture 127, where the payloader's numbers become longer.
    viewer
        .until("five seconds of frames", |slots| {
            slots[0].video.packets.iter().filter(|seen| seen.marker).count() > 150
        })
        .await;
    viewer.settle().await;
    viewer.video().assert_whole();
    viewer.audio().assert_continuous();
    assert!(viewer.video().packets.iter().all(|seen| seen.payload_type == VP8));
    let received = vp8_frames(viewer.video());
    let first = frames.iter().position(|frame| **frame == received[0]);
    let mut at = first.expect("a frame of the file");
    for frame in &received {
        assert!(frames[at] == *frame, "frame {at} of the file");
        at = (at + 1) % frames.len();
    }
    assert!(camera.connection.is_connected());
    node.stop().await;
}

/// What OBS leaves out of its offers: candidates, stream names, transport-wide feedback, retransmission.
fn as_obs_offers(offer: String) -> String {
    let rtx: Vec<String> = offer
        .lines()
        .filter(|line| line.starts_with("a=rtpmap:") && line.contains(" rtx/"))
        .map(|line| line["a=rtpmap:".len()..].split(' ').next().unwrap().to_owned())
        .collect();
    let left_out = |line: &str| {
        let of_rtx = |prefix: &str| {
            let number = line.strip_prefix(prefix).and_then(|rest| rest.split(' ').next());
            number.is_some_and(|number| rtx.iter().any(|rtx| rtx == number))
        };
        let prefixes = [
            "a=candidate:",
            "a=end-of-candidates",
            "a=msid:",
            "a=extmap",
            "a=ssrc-group:",
        ];
        prefixes.iter().any(|prefix| line.starts_with(prefix))
            || line.contains("transport-cc")
            || (line.starts_with("a=ssrc:") && !line.contains("cname:"))
            || ["a=rtpmap:", "a=fmtp:", "a=rtcp-fb:"].into_iter().any(of_rtx)
    };
    let mut edited = String::new();
    for line in offer.lines().filter(|line| !left_out(line)) {
        if line.starts_with("m=") {
            let formats = line.split(' ').filter(|format| !rtx.iter().any(|rtx| rtx == format));
            edited.push_str(&formats.collect::<Vec<_>>().join(" "));
        } else {
            edited.push_str(line);
        }
        edited.push_str("\r\n");
    }
    edited
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_viewer_of_an_encoder_that_ignores_requests_starts_at_the_cached_keyframe() {
    const KEYFRAME_EVERY: u32 = 150;
    /// Frames after a keyframe: it is too old to start from without being asked for, the next is far away.
    const LATE: u32 = 45;
    let node = Node::forwarding(2, &[]).await;
    let options = Options {
        keyframe_every: KEYFRAME_EVERY,
        heeds_requests: false,
        edit_offer: as_obs_offers,
        ..Options::pattern(0)
    };
    let camera = Camera::start(&node, HOST, options).await;
    let sdp = &camera.answer.sdp;
    assert!(!sdp.contains("rtx/") && !sdp.contains("transport-cc"), "{sdp}");
    let reached = |frame: u32| {
        move |slots: &[crate::viewer::Slot]| {
            let last = slots[0].video.packets.last();
            last.is_some_and(|seen| seen.label().frame >= frame)
        }
    };
    let mut first = Viewer::watch(&node, "program", "ann", 1).await;
    first.until("some video", reached(LATE)).await;
    assert_eq!(first.video().packets[0].label().frame, 0);
    assert_eq!(camera.keyframe_requests(), 0, "nobody needs one");

    // From the second viewer the node learns that its requests are ignored.
    let mut second = Viewer::watch(&node, "program", "bob", 1).await;
    second.until("the next keyframe", reached(KEYFRAME_EVERY)).await;
    assert_eq!(second.video().packets[0].label().frame, KEYFRAME_EVERY);
    let asked = camera.keyframe_requests();
    assert!(asked >= 2, "asked {asked} times");

    first.until("some more video", reached(KEYFRAME_EVERY + LATE)).await;
    let mut third = Viewer::watch(&node, "program", "cem", 1).await;
    third
        .until("the live picture", reached(KEYFRAME_EVERY + 2 * LATE))
        .await;
    assert_eq!(
        third.video().packets[0].label().frame,
        KEYFRAME_EVERY,
        "the cached keyframe"
    );
    assert_eq!(camera.keyframe_requests(), asked, "nobody was asked");
    for viewer in [&mut first, &mut second, &mut third] {
        viewer.settle().await;
        viewer.video().assert_whole();
        viewer.audio().assert_continuous();
        let mut frames: Vec<u32> = viewer.video().packets.iter().map(|seen| seen.label().frame).collect();
        frames.dedup();
        assert!(
            frames.windows(2).all(|pair| pair[0] + 1 == pair[1]),
            "every frame: {frames:?}"
        );
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_packets_are_repaired_by_retransmission() {
    let node = Node::forwarding(2, &[]).await;
    let _camera = Camera::start(&node, HOST, Options::pattern(0)).await;
    let mut seed = 7_u32;
    let loss = Box::new(move |datagram: &[u8]| {
        // Numerical Recipes' generator; the high bits are the random ones.
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        // RFC 3550 section 5.1; RTCP has higher numbers there (RFC 5761 section 4).
        datagram[1] & 0x7f == VP8 && (seed >> 16).is_multiple_of(50)
    });
    let mut viewer = Viewer::watch_losing(&node, "program", "ann", 1, loss).await;
    // 16 lost on average.
    viewer
        .until("nine seconds of video", |slots| slots[0].video.packets.len() > 800)
        .await;
    viewer.settle().await;
    viewer.video().assert_whole();
    let packets = &viewer.video().packets;
    let repaired = packets.iter().filter(|seen| seen.repaired).count();
    assert!(repaired >= 4, "only {repaired} of {} were lost", packets.len());
    let labels = packets.iter().map(|seen| (seen.label().frame, seen.label().packet));
    let labels: Vec<(u32, u8)> = labels.collect();
    let expected = (labels[0].0..).flat_map(|frame| (0..PATTERN_PACKETS).map(move |packet| (frame, packet)));
    assert!(
        labels.iter().copied().eq(expected.take(labels.len())),
        "each packet in its place"
    );
    node.stop().await;
}
