//! When frames are decoded, and when they are seen.

use super::*;
use crate::forward::SourceId;
use crate::program::tests::Publisher;

const FRAME: Duration = Duration::from_nanos(33_333_333);

/// A camera and the input its packets come into.
struct Camera {
    publisher: Publisher,
    /// When its next frame comes.
    next: Instant,
    input: Input,
}

impl Camera {
    fn new() -> Self {
        let next = Instant::now();
        let info = SourceInfo::camera(SourceId(1), SeatIndex(1));
        Camera {
            publisher: Publisher::new(info.id),
            next,
            input: Input::new(info, NtpClock::new(next, 1 << 40), next).expect("a decoder"),
        }
    }

    /// The next frame comes. Returns when.
    fn send(&mut self) -> Instant {
        let (arrival, input) = (self.next, &mut self.input);
        self.publisher.picture(arrival, |packet| {
            input.handle_packet(MediaKind::Video, LayerIndex(0), packet, arrival);
        });
        self.next += FRAME;
        arrival
    }

    fn video(&mut self) -> &mut Video {
        self.input.video.as_mut().expect("H.264 is decoded")
    }

    /// Behind those of the next picture, which shows what is due by `next`.
    fn can_decode_ahead(&mut self, next: Instant) -> bool {
        self.video().can_decode_ahead(slot(next, None))
    }

    /// What is seen at this time, if it was not seen before.
    fn show(&mut self, at: Instant) -> Option<Shown> {
        let mut seen = 0;
        let shown = self.video().show(slot(at, None), |_| seen += 1);
        assert_eq!(seen, usize::from(shown.is_some()));
        shown
    }
}

/// Shows everything that is due by then.
fn slot(at: Instant, end: Option<Instant>) -> Slot {
    let interval = Duration::ZERO;
    Slot { at, interval, end }
}

#[test]
fn a_frame_is_decoded_when_it_comes_and_seen_when_it_is_due() {
    let mut camera = Camera::new();
    let first = camera.send();
    assert!(camera.can_decode_ahead(first));
    camera.video().decode_next();
    let shown = camera.show(first).expect("nobody waits for the first picture");
    assert_eq!((shown.begun, shown.due), (Some(first), None));
    for _ in 0..20 {
        let arrival = camera.send();
        assert!(camera.can_decode_ahead(arrival));
        camera.video().decode_next();
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
fn what_the_next_picture_will_not_show_makes_room() {
    let mut camera = Camera::new();
    let first = camera.send();
    camera.show(first).expect("the first picture");
    let arrivals: Vec<Instant> = (0..3).map(|_| camera.send()).collect();
    let dues: Vec<Instant> = camera.video().waiting.iter().filter_map(|frame| frame.due).collect();
    // a picture for two frames
    let next = dues[1];
    for _ in 0..2 {
        assert!(camera.can_decode_ahead(next));
        camera.video().decode_next();
    }
    assert!(!camera.can_decode_ahead(next), "the decoder keeps one picture");
    let shown = camera.show(next).expect("both are due");
    assert_eq!((shown.arrival, shown.due), (arrivals[1], Some(dues[1])));
    assert!(camera.can_decode_ahead(next));
}

#[test]
fn nothing_from_the_end_on_is_decoded_ahead() {
    let mut camera = Camera::new();
    let first = camera.send();
    camera.show(first).expect("the first picture");
    camera.send();
    let due = camera.video().waiting[0].due.expect("the second has its time");
    let behind = due + Duration::from_nanos(1);
    assert!(!camera.video().can_decode_ahead(slot(behind, Some(due))));
    assert!(camera.video().can_decode_ahead(slot(behind, Some(behind))));
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
    let mut last = camera.next;
    for _ in 0..10 {
        last = camera.send();
        assert!(!camera.can_decode_ahead(last));
        assert_eq!(camera.show(last + Duration::from_secs(1)), None);
    }
    camera.input.release();
    let late = last + Duration::from_secs(1);
    for waiting in [6, 2] {
        assert_eq!(
            camera.show(late),
            None,
            "what is seen is not older than what was seen before"
        );
        assert_eq!(camera.video().waiting.len(), waiting, "other packets come meanwhile");
    }
    let shown = camera.show(late).expect("all of them are decoded");
    assert_eq!(shown.arrival, last);
}

#[test]
fn what_has_piled_up_is_left_for_a_keyframe() {
    let mut camera = Camera::new();
    camera.publisher = Publisher::at_a_wall(camera.input.info.id);
    camera.input.hold();
    for _ in 0..GOP_WANTED - 1 {
        camera.send();
    }
    let now = camera.next;
    assert_eq!(camera.video().wants_keyframe(now).count(), 0);
    camera.input.release();
    assert_eq!(camera.video().wants_keyframe(now).next(), Some(LayerIndex(0)));
    assert_eq!(camera.show(now), None);
    camera.send();
    assert!(camera.video().waiting.len() > FAR_BEHIND);
    let keyframe = camera.send();
    assert_eq!(camera.video().waiting.len(), 1, "what was before it is of no use");
    let shown = camera.show(keyframe).expect("it is decoded alone");
    assert_eq!(shown.arrival, keyframe);
}
