//! When frames are decoded, and when they are seen.

use super::*;
use crate::demo::Clip;
use crate::forward::{Permission, SourceId, SourceKind};
use crate::rtp::h264::Packetizer;
use bytes::Bytes;
use std::sync::Arc;

const FRAME: Duration = Duration::from_nanos(33_333_333);

/// A camera whose packets come at once, and the input they come into.
struct Camera {
    clip: Clip,
    sent: u32,
    sequence: u64,
    start: Instant,
    input: Input,
}

impl Camera {
    fn new() -> Self {
        let video = include_bytes!("../../../tests/fixtures/media/talk-180p30.h264");
        let voice = include_bytes!("../../../tests/fixtures/media/speech-0.opus");
        let clip = Clip::new(Bytes::from_static(video), 30, Bytes::from_static(voice)).expect("a clip");
        let start = Instant::now();
        let info = SourceInfo {
            id: SourceId(1),
            seat: SeatIndex(1),
            kind: SourceKind::Camera,
            user: Arc::from("bob"),
            worker: 0,
            audio: Some(Codec::Opus),
            video: Some(Codec::H264),
            layers: 1,
            permission: Permission {
                audio: true,
                video: true,
            },
            connected: true,
        };
        Camera {
            clip,
            sent: 0,
            sequence: 0,
            start,
            input: Input::new(info, NtpClock::new(start, 1 << 40), start).expect("a decoder"),
        }
    }

    /// When the next frame comes.
    fn next(&self) -> Instant {
        self.start + FRAME * self.sent
    }

    /// The next frame comes. Returns when.
    fn send(&mut self) -> Instant {
        let arrival = self.next();
        let frame = &self.clip.frames()[self.sent as usize];
        let mut starts_keyframe = frame.keyframe;
        let (timestamp, sequence, input) = (self.sent * 3000, &mut self.sequence, &mut self.input);
        Packetizer::default().packetize(&frame.data, |payload, marker| {
            let meta = Meta {
                sequence: *sequence,
                timestamp,
                marker,
                starts_keyframe: std::mem::take(&mut starts_keyframe),
                codec: Codec::H264,
                arrival,
                extensions_len: 0,
            };
            *sequence += 1;
            let packet = PacketView { meta, bytes: payload };
            input.handle_packet(MediaKind::Video, LayerIndex(0), packet, arrival);
        });
        self.sent += 1;
        arrival
    }

    fn video(&mut self) -> &mut Video {
        self.input.video.as_mut().expect("H.264 is decoded")
    }

    /// What is seen at this time, if it was not seen before.
    fn show(&mut self, at: Instant) -> Option<Shown> {
        let mut seen = 0;
        let shown = self.video().show(at, false, |_| seen += 1);
        assert_eq!(seen, usize::from(shown.is_some()));
        shown
    }
}

#[test]
fn a_frame_is_decoded_when_it_comes_and_seen_when_it_is_due() {
    let mut camera = Camera::new();
    let first = camera.send();
    assert!(camera.video().can_decode_ahead(None));
    camera.video().decode_next();
    let shown = camera.show(first).expect("nobody waits for the first picture");
    assert_eq!((shown.begun, shown.due), (Some(first), None));
    for _ in 0..20 {
        let arrival = camera.send();
        assert!(camera.video().can_decode_ahead(None));
        camera.video().decode_next();
        assert!(!camera.video().can_decode_ahead(None), "the decoder keeps one picture");
        assert_eq!(camera.show(arrival), None, "it is not due yet");
        let due = camera.video().ready.and_then(|ready| ready.due).expect("decoded");
        let delay = due - arrival;
        assert!(delay >= Duration::from_millis(20), "{delay:?} of a jitter buffer");
        assert_eq!(camera.show(due - Duration::from_nanos(1)), None);
        let shown = camera.show(due).expect("it is due");
        assert_eq!((shown.arrival, shown.due), (arrival, Some(due)));
        assert_eq!(camera.show(due), None, "seen once");
    }
}

#[test]
fn what_was_not_decoded_ahead_is_decoded_when_it_is_due() {
    let mut camera = Camera::new();
    let first = camera.send();
    camera.show(first).expect("the first picture");
    let arrivals: Vec<Instant> = (0..3).map(|_| camera.send()).collect();
    camera.video().decode_next();
    let late = arrivals[2] + Duration::from_millis(200);
    let shown = camera.show(late).expect("all three are due");
    assert_eq!(shown.arrival, arrivals[2], "the newest is seen");
    assert!(
        camera
            .input
            .video
            .as_ref()
            .is_some_and(|video| video.is_caught_up(late))
    );
}

#[test]
fn nothing_from_the_end_on_is_decoded_ahead() {
    let mut camera = Camera::new();
    let first = camera.send();
    camera.show(first).expect("the first picture");
    camera.send();
    let due = camera.video().waiting[0].due.expect("the second has its time");
    assert!(!camera.video().can_decode_ahead(Some(due)));
    assert!(camera.video().can_decode_ahead(Some(due + Duration::from_nanos(1))));
}

#[test]
fn what_waits_to_be_seen_when_its_publisher_is_muted_is_never_seen() {
    let mut camera = Camera::new();
    let first = camera.send();
    camera.show(first).expect("the first picture");
    let arrival = camera.send();
    camera.video().decode_next();
    let kind = MediaKind::Video;
    camera.input.handle_update(FeedUpdate::Interrupted { kind }, arrival);
    assert_eq!(camera.show(arrival + Duration::from_secs(1)), None);
    assert!(camera.input.last_picture().is_none());
}

#[test]
fn what_is_held_goes_on_from_its_keyframe() {
    let mut camera = Camera::new();
    camera.input.hold();
    for _ in 0..10 {
        let arrival = camera.send();
        assert!(!camera.video().can_decode_ahead(None));
        assert_eq!(camera.show(arrival + Duration::from_secs(1)), None);
    }
    camera.input.release();
    let now = camera.next() + Duration::from_secs(1);
    let shown = camera.show(now).expect("all of them are due");
    assert_eq!(shown.arrival, camera.next() - FRAME);
}
