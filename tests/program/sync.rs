//! Picture and sound of each participant stay together: a flash and a beep of one moment.

use crate::card::{COLORS, color_in, is_near, tiles};
use crate::connection::{H264, OPUS};
use crate::node::Node;
use crate::publisher::{Camera, Drift, Hush, Microphone, Pause, Publisher, Show};
use crate::relay::Loss;
use crate::sound::{PERIOD_S, beep_starts};
use crate::turn;
use crate::viewer::Stream;
use crate::watcher::Watcher;
use costage::mix::layout::Layout;
use std::time::Duration;

const FPS: u32 = 30;
const VIDEO_HZ: u32 = 90_000;
/// In seconds.
const SKEW: f64 = 0.045;
/// Of each participant.
const FLASHES: usize = 6;
/// Between the dark and the flashes of the cards.
const BRIGHT: u8 = 140;

/// Every so many packets of these payload types, on average.
fn losing(one_in: u32, mut seed: u32, lossy: &'static [u8]) -> Loss {
    Box::new(move |datagram| {
        // Numerical Recipes' generator; the high bits are the random ones.
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        // RFC 3550 section 5.1; RTCP has other numbers there (RFC 5761 section 4).
        lossy.contains(&(datagram[1] & 0x7f)) && (seed >> 16).is_multiple_of(one_in)
    })
}

fn beeper(seat: u8) -> Show {
    Show {
        camera: Camera::Flash,
        microphone: Microphone::Beep,
        ..Show::new(seat, 640, 360, FPS)
    }
}

/// The timestamps of the pictures in which a seat's flashes begin.
#[derive(Default)]
struct Flashes {
    /// `None`: not seen yet.
    bright: Option<bool>,
    starts: Vec<u32>,
}

impl Flashes {
    fn see(&mut self, [luma, u, v]: [u8; 3], seat: u8, timestamp: u32) {
        let [_, its_u, its_v] = COLORS[usize::from(seat)];
        if !is_near([0, u, v], [0, its_u, its_v]) {
            // The tile is not there.
            return;
        }
        let bright = luma > BRIGHT;
        if self.bright.replace(bright) == Some(false) && bright {
            self.starts.push(timestamp);
        }
    }

    /// From the first to the last, in seconds.
    fn span_s(&self) -> u32 {
        let ends = self.starts.first().zip(self.starts.last());
        ends.map_or(0, |(first, last)| last.wrapping_sub(*first) / VIDEO_HZ)
    }

    /// Those behind two seconds without one.
    fn behind_pause(&self) -> &[u32] {
        let long = |pair: &[u32]| pair[1].wrapping_sub(pair[0]) > 2 * VIDEO_HZ;
        let before = self.starts.windows(2).position(long);
        before.map_or(&[], |before| &self.starts[before + 1..])
    }
}

/// Looks at the tiles of seats 0 and up until there is enough of their flashes, and more than one sender report.
async fn see(watcher: &mut Watcher, flashes: &mut [Flashes], enough: impl Fn(&[Flashes]) -> bool) {
    let seats: Vec<u8> = (0..).take(flashes.len()).collect();
    watcher
        .until("flashes of everybody", |watcher| {
            let picture = &watcher.shot.picture;
            for tile in tiles(&Layout::default(), picture.size(), &seats) {
                let color = color_in(picture, tile.rect, 0.5, 0.3);
                flashes[usize::from(tile.seat.0)].see(color, tile.seat.0, watcher.shot.timestamp);
            }
            let reports = |stream: &Stream| stream.reports.len();
            let reported = reports(watcher.viewer.video()).min(reports(watcher.viewer.audio()));
            let what = || {
                let seen: Vec<usize> = flashes.iter().map(|flashes| flashes.starts.len()).collect();
                format!("flashes {seen:?}, reports {reported}")
            };
            (reported > 1 && enough(flashes)).then_some(()).ok_or_else(what)
        })
        .await;
    // Sound comes after the pictures of its time.
    let more = Duration::from_millis(600);
    watcher.all_of(more, "the last beeps", |_| Ok(())).await;
}

/// When a seat's beeps begin, in seconds.
fn beeps(watcher: &Watcher, seat: u8) -> Vec<f64> {
    let sound = &watcher.sound;
    let starts = beep_starts(&sound.samples, seat).into_iter().map(|start| {
        let ticks = u32::try_from(start).unwrap();
        watcher.viewer.audio().ntp_s(sound.first_timestamp.wrapping_add(ticks))
    });
    starts.collect()
}

/// By how much each flash comes after the nearest beep, in seconds.
fn skews(watcher: &Watcher, flashes: &[u32], beeps: &[f64]) -> Vec<f64> {
    let nearest = |flash: &u32| {
        let flash_s = watcher.viewer.video().ntp_s(*flash);
        let skews = beeps.iter().map(|beep_s| flash_s - beep_s);
        skews.min_by(|one, other| one.abs().total_cmp(&other.abs()))
    };
    let skews = flashes.iter().filter_map(nearest);
    // That of the first may have come before the recording.
    skews.filter(|skew| skew.abs() < 0.5).collect()
}

/// These flashes of a seat, at least four, come with beeps.
fn assert_together(watcher: &Watcher, seat: u8, flashes: &[u32]) {
    let beeps = beeps(watcher, seat);
    let mut skews = skews(watcher, flashes, &beeps);
    let what = format!("seat {seat}: {skews:.4?} of flashes at {flashes:?} and beeps at {beeps:?}");
    assert!(flashes.len() >= 4 && skews.len() + 1 >= flashes.len(), "{what}");
    let off = skews.iter().filter(|skew| skew.abs() > SKEW).count();
    skews.sort_by(f64::total_cmp);
    let median = skews[skews.len() / 2];
    println!("flash after beep {median:+.4} s; {what}");
    // Before the switch to the mixer, and when a frame of the flash was lost, one may be off.
    assert!(
        median.abs() <= SKEW && off <= 1,
        "flash after beep {median:+.4} s; {what}"
    );
}

async fn flashes_come_with_their_beeps(one_lost_in: Option<u32>) {
    let _turn = turn().await;
    let loss = |seed: u32, lossy: &'static [u8]| match one_lost_in {
        Some(one_in) => losing(one_in, seed, lossy),
        None => Box::new(|_: &[u8]| false) as Loss,
    };
    let node = Node::start(2, &["amy", "ben"]).await;
    let mut cameras = Vec::new();
    for seat in 0..3 {
        let show = Show {
            loss: loss(u32::from(seat), &[H264, OPUS]),
            ..beeper(seat)
        };
        cameras.push(Publisher::start(&node, show).await);
    }
    // Nobody repeats lost sound to a viewer: only what is repaired can be judged.
    let mut watcher = Watcher::with_loss(&node, "program", "zoe", FPS, loss(77, &[H264])).await;
    watcher.may_be_still();
    let mut flashes: [Flashes; 3] = Default::default();
    see(&mut watcher, &mut flashes, |flashes| {
        flashes.iter().all(|flashes| flashes.starts.len() >= FLASHES)
    })
    .await;
    for (seat, flashes) in (0..).zip(&flashes) {
        assert_together(&watcher, seat, &flashes.starts);
    }
    watcher.finish().await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flash_and_its_beep_stay_together() {
    flashes_come_with_their_beeps(None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flash_and_its_beep_stay_together_when_packets_are_lost() {
    flashes_come_with_their_beeps(Some(100)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_joins_late_is_in_time() {
    let _turn = turn().await;
    let node = Node::start(2, &["amy", "ben"]).await;
    let _host = Publisher::start(&node, beeper(0)).await;
    let _amy = Publisher::start(&node, beeper(1)).await;
    let mut watcher = Watcher::start(&node, "zoe", FPS).await;
    watcher.may_be_still();
    let mut two: [Flashes; 2] = Default::default();
    see(&mut watcher, &mut two, |flashes| {
        flashes.iter().all(|flashes| flashes.starts.len() >= 2)
    })
    .await;
    let _ben = Publisher::start(&node, beeper(2)).await;
    let mut three: [Flashes; 3] = Default::default();
    see(&mut watcher, &mut three, |flashes| {
        flashes[2].starts.len() >= FLASHES && flashes[0].starts.len() >= FLASHES
    })
    .await;
    for (seat, flashes) in (0..).zip(&three) {
        assert_together(&watcher, seat, &flashes.starts);
    }
    watcher.finish().await;
    node.stop().await;
}

/// 100 ppm take seven minutes to become the 45 ms that may not be exceeded, so a third participant's sound card is 60 times
/// as far off. By the count of its samples alone, its sound would be 6 ms further off each second: 72 ms in the end. By its
/// sender reports, which are averaged over up to 20 s, and whose slope is believed up to 500 ppm, it is late by half of that
/// at most.
#[tokio::test(flavor = "multi_thread")]
async fn clocks_that_drift_apart_are_followed() {
    const EXAGGERATED_PPM: f64 = 6_000.0;
    const SPAN_S: u32 = 12;
    let _turn = turn().await;
    let node = Node::start(2, &["amy", "ben"]).await;
    let drifts = [(0.0, 100.0), (100.0, -100.0), (0.0, EXAGGERATED_PPM)];
    let mut cameras = Vec::new();
    for (seat, (video_ppm, audio_ppm)) in (0..).zip(drifts) {
        let show = Show {
            drift: Drift { video_ppm, audio_ppm },
            ..beeper(seat)
        };
        cameras.push(Publisher::start(&node, show).await);
    }
    let mut watcher = Watcher::start(&node, "zoe", FPS).await;
    watcher.may_be_still();
    let mut flashes: [Flashes; 3] = Default::default();
    see(&mut watcher, &mut flashes, |flashes| {
        flashes.iter().all(|flashes| flashes.span_s() >= SPAN_S)
    })
    .await;
    let [first, second, _] = &flashes;
    for (seat, flashes) in (0..).zip([first, second]) {
        let late = flashes.starts.len().saturating_sub(4);
        assert_together(&watcher, seat, &flashes.starts[late..]);
    }
    // By its beeps alone: at which picture a flash begins may change by one, which is most of what may be wrong here.
    let beeps = beeps(&watcher, 2);
    // the first may come before the switch to the mixer
    let span_s = beeps[beeps.len() - 1] - beeps[1];
    assert!(span_s > f64::from(SPAN_S) - 2.0 * PERIOD_S, "{beeps:.4?}");
    let behind_s = span_s - (span_s / PERIOD_S).round() * PERIOD_S;
    assert!(
        behind_s.abs() <= SKEW,
        "further and further: {behind_s:.4} s, {beeps:.4?}"
    );
    watcher.finish().await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_tab_goes_on_in_time() {
    let _turn = turn().await;
    let node = Node::start(2, &["amy", "ben"]).await;
    let mut cameras = Vec::new();
    for (seat, sound) in (0..).zip([Hush::GoesOn, Hush::Stops, Hush::StandsStill]) {
        // No whole seconds: a beep that is late by the pause is not with another flash.
        let pause = Pause {
            from: Duration::from_millis(4_500),
            until: Duration::from_millis(7_300),
            sound,
        };
        let show = Show {
            pause: Some(pause),
            ..beeper(seat)
        };
        cameras.push(Publisher::start(&node, show).await);
    }
    let mut watcher = Watcher::start(&node, "zoe", FPS).await;
    watcher.may_be_still();
    let mut flashes: [Flashes; 3] = Default::default();
    see(&mut watcher, &mut flashes, |flashes| {
        flashes.iter().all(|flashes| flashes.behind_pause().len() >= FLASHES)
    })
    .await;
    for (seat, flashes) in (0..).zip(&flashes) {
        assert_together(&watcher, seat, flashes.behind_pause());
    }
    watcher.finish().await;
    node.stop().await;
}
