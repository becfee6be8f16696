//! Picture and sound of each participant stay together: a flash and a beep of one moment.

use crate::card::{color_in, tiles, whole};
use crate::connection::{H264, OPUS};
use crate::node::Node;
use crate::publisher::{Camera, Microphone, Publisher, Show};
use crate::relay::Loss;
use crate::sound::beep_starts;
use crate::turn;
use crate::watcher::Watcher;
use costage::mix::layout::Layout;

const FPS: u32 = 30;
/// In seconds.
const SKEW: f64 = 0.045;
/// Of each participant.
const FLASHES: usize = 6;
/// Between the dark and the white of the cards.
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

/// The timestamps of the pictures in which a seat's flashes begin.
#[derive(Default)]
struct Flashes {
    bright: bool,
    /// The first may have begun before.
    starts: Vec<u32>,
}

impl Flashes {
    fn see(&mut self, luma: u8, timestamp: u32) {
        let bright = luma > BRIGHT;
        if bright && !self.bright {
            self.starts.push(timestamp);
        }
        self.bright = bright;
    }
}

/// By how much each flash comes after its beep, in seconds.
fn skews(watcher: &Watcher, seat: u8, flashes: &Flashes) -> Vec<f64> {
    let (video, audio) = (watcher.viewer.video(), watcher.viewer.audio());
    let sound = &watcher.sound;
    let beeps: Vec<f64> = beep_starts(&sound.samples, seat)
        .into_iter()
        .map(|start| {
            let ticks = u32::try_from(start).unwrap();
            audio.ntp_s(sound.first_timestamp.wrapping_add(ticks))
        })
        .collect();
    let nearest = |flash: &u32| {
        let flash_s = video.ntp_s(*flash);
        let skews = beeps.iter().map(|beep_s| flash_s - beep_s);
        skews.min_by(|one, other| one.abs().total_cmp(&other.abs()))
    };
    let skews = flashes.starts.iter().filter_map(nearest);
    // One at an end of the recording may have its partner beyond it.
    skews.filter(|skew| skew.abs() < 0.5).collect()
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
            camera: Camera::Flash,
            microphone: Microphone::Beep,
            loss: loss(u32::from(seat), &[H264, OPUS]),
            ..Show::new(seat, 640, 360, FPS)
        };
        cameras.push(Publisher::start(&node, show).await);
    }
    // Nobody repeats lost sound to a viewer: only what is repaired can be judged.
    let mut watcher = Watcher::with_loss(&node, "program", "zoe", FPS, loss(77, &[H264])).await;
    let mut flashes: [Flashes; 3] = Default::default();
    watcher
        .until("flashes of everybody", |watcher| {
            let picture = &watcher.shot.picture;
            for tile in tiles(&Layout::default(), picture.size(), &[0, 1, 2]) {
                let luma = color_in(picture, tile.rect, 0.5, 0.3)[0];
                flashes[usize::from(tile.seat.0)].see(luma, watcher.shot.timestamp);
            }
            let reports = |stream: &crate::viewer::Stream| stream.reports.len();
            let reported = reports(watcher.viewer.video()).min(reports(watcher.viewer.audio()));
            let seen = flashes.iter().map(|flashes| flashes.starts.len()).collect::<Vec<_>>();
            let enough = reported > 1 && seen.iter().all(|seen| *seen > FLASHES);
            let what = || format!("flashes {seen:?}, reports {reported}, {:?}", whole(picture.size()));
            enough.then_some(()).ok_or_else(what)
        })
        .await;
    for (seat, flashes) in (0_u8..).zip(&flashes) {
        let skews = skews(&watcher, seat, flashes);
        let beeps = beep_starts(&watcher.sound.samples, seat);
        assert!(
            skews.len() >= FLASHES - 1,
            "seat {seat}: {skews:.4?} of flashes at {:?} and beeps at {beeps:?} of {} samples, {:?}",
            flashes.starts,
            watcher.sound.samples.len(),
            [0, 1, 2].map(|seat| beep_starts(&watcher.sound.samples, seat).len())
        );
        let mut late = skews.clone();
        late.sort_by(f64::total_cmp);
        let median = late[late.len() / 2];
        println!("seat {seat}: flash after beep {median:+.4} s of {skews:.4?}");
        // Before the switch to the mixer, and when a frame of the flash was lost, one may be off.
        let off = skews.iter().filter(|skew| skew.abs() > SKEW).count();
        assert!(
            median.abs() <= SKEW && off <= 1,
            "seat {seat}: flash after beep, in seconds: {skews:.4?}"
        );
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
