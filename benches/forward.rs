//! What forwarding one packet to one viewer costs, without sockets: `cargo bench --bench forward [-- viewers [variant]]`.
//!
//! A publisher's script (H.264 at 1.5 Mbit/s, Opus: 262 packets/s) goes into a `Feed`, and every turn all viewers are served
//! into one `Batch`. Variants run interleaved, so that a noisy machine hurts all alike: read the ratios. Where `valgrind` is
//! installed, each variant is run under it twice, with more and fewer rounds; the difference is the instructions per packet.

use costage::forward::{
    Batch, Feed, FeedDescription, FeedUpdate, Feeds, LayerIndex, Seal, SeatIndex, SourceId, SourceInfo, View, Viewer,
};
use costage::rtp::parameters::{Feedback, SendCodec, SendParameters, SendSlot, SendTrack};
use costage::rtp::{Codec, Extension, ExtensionMap, MediaKind, Meta, PacketView};
use costage::transport::srtp::{self, Profile};
use std::hint::black_box;
use std::process::Command;
use std::time::{Duration, Instant};

const VIEWERS: usize = 100;
const ROUNDS: usize = 12;
/// Seconds of script per round and variant.
const SECONDS: u64 = 2;
const PAYLOAD: usize = 1100;
/// One video frame of 1.5 Mbit/s and 30 frames/s.
const PACKETS_PER_FRAME: u64 = 7;
const FRAMES_PER_SECOND: u64 = 30;
const AUDIO_PER_SECOND: u64 = 50;
const SOURCE: SourceId = SourceId(1);

#[derive(Clone, Copy, PartialEq)]
enum Sealing {
    None,
    Gcm,
    CmSha1,
}

/// How the packets of a frame come: one a turn, or all in one.
#[derive(Clone, Copy, PartialEq)]
enum Arrival {
    Paced,
    Bursts,
}

struct Variant {
    name: &'static str,
    arrival: Arrival,
    ns: Vec<f64>,
}

/// The transport's own sealing, or nothing at all.
enum Sealer {
    None,
    Srtp(Box<srtp::Sender>),
}

impl Sealer {
    fn new(sealing: Sealing) -> Self {
        let profile = match sealing {
            Sealing::None => return Sealer::None,
            Sealing::Gcm => Profile::AeadAes128Gcm,
            Sealing::CmSha1 => Profile::Aes128CmSha1_80,
        };
        let material: Vec<u8> = (0..profile.keying_len()).map(|byte| byte as u8).collect();
        let sender = srtp::Sender::from_exporter(profile, &material).expect("as long as wanted");
        Sealer::Srtp(Box::new(sender))
    }
}

impl Seal for Sealer {
    fn seal_rtp(&mut self, buffer: &mut Vec<u8>, start: usize, header_len: usize, ssrc: u32, index: u64) {
        if let Sealer::Srtp(sender) = self {
            sender.seal_rtp(buffer, start, header_len, ssrc, index);
        }
    }
    fn seal_rtcp(&mut self, buffer: &mut Vec<u8>, start: usize) {
        if let Sealer::Srtp(sender) = self {
            sender.seal_rtcp(buffer, start);
        }
    }
}

struct Bench {
    feeds: Feeds,
    viewers: Vec<(Viewer, Sealer)>,
    batch: Batch,
    now: Instant,
    video: u64,
    audio: u64,
    forwarded: u64,
}

impl Bench {
    fn new(viewers: usize, sealing: Sealing) -> Self {
        let now = Instant::now();
        let mut feeds = Feeds::default();
        feeds.insert(
            SOURCE,
            FeedDescription {
                audio: Some(Codec::Opus),
                video: Some(Codec::H264),
                layers: 1,
            },
        );
        let source = SourceInfo {
            user: "host".into(),
            ..SourceInfo::camera(SOURCE, SeatIndex(0))
        };
        let viewers = (0..viewers).map(|_| {
            let mut viewer = Viewer::new(parameters(), View::Program { leave_out: None }, 1, now);
            viewer.set_open(true, now);
            viewer.reconcile(std::slice::from_ref(&source), &feeds, now);
            (viewer, Sealer::new(sealing))
        });
        let viewers = viewers.collect();
        Bench {
            feeds,
            viewers,
            batch: Batch::default(),
            now,
            video: 1000,
            audio: 1000,
            forwarded: 0,
        }
    }

    /// Having run once, so that buffers have their size.
    fn warm(viewers: usize, sealing: Sealing, arrival: Arrival) -> Self {
        let mut bench = Bench::new(viewers, sealing);
        bench.feed().update(FeedUpdate::Size {
            layer: LayerIndex(0),
            width: 1280,
            height: 720,
        });
        bench.run(arrival);
        bench
    }

    fn feed(&mut self) -> &mut Feed {
        self.feeds.get_mut(SOURCE).expect("inserted")
    }

    fn store(&mut self, kind: MediaKind, sequence: u64, first: bool, last: bool) {
        // what browsers send: audio level, playout delay
        const EXTENSIONS: [u8; 8] = [
            Extension::AudioLevel as u8,
            1,
            30,
            Extension::PlayoutDelay as u8,
            3,
            0,
            0,
            0,
        ];
        let (codec, length) = match kind {
            MediaKind::Audio => (Codec::Opus, 120),
            MediaKind::Video => (Codec::H264, PAYLOAD),
        };
        let mut bytes = [0x41; EXTENSIONS.len() + PAYLOAD];
        bytes[..EXTENSIONS.len()].copy_from_slice(&EXTENSIONS);
        let meta = Meta {
            sequence,
            timestamp: (sequence / PACKETS_PER_FRAME * 3000) as u32,
            marker: last,
            starts_keyframe: first || kind == MediaKind::Audio,
            codec,
            arrival: self.now,
            extensions_len: EXTENSIONS.len() as u16,
        };
        let bytes = &bytes[..EXTENSIONS.len() + length];
        self.feed().store(kind, LayerIndex(0), PacketView { meta, bytes });
    }

    fn serve(&mut self) {
        for (viewer, seal) in &mut self.viewers {
            viewer.forward(&self.feeds, seal, &mut self.batch, self.now);
        }
        self.feeds.clear_fresh();
        self.forwarded += self.batch.datagrams.len() as u64;
        black_box(&self.batch.bytes);
        self.batch.clear();
    }

    /// Runs the script for some seconds of its own time.
    fn run(&mut self, arrival: Arrival) {
        for frame in 0..SECONDS * FRAMES_PER_SECOND {
            for packet in 0..PACKETS_PER_FRAME {
                self.video += 1;
                self.store(
                    MediaKind::Video,
                    self.video,
                    frame == 0 && packet == 0,
                    packet + 1 == PACKETS_PER_FRAME,
                );
                if arrival == Arrival::Paced {
                    self.now += Duration::from_micros(2000);
                    self.serve();
                }
            }
            self.now += Duration::from_millis(10);
            self.serve();
            if frame * AUDIO_PER_SECOND / FRAMES_PER_SECOND != (frame + 1) * AUDIO_PER_SECOND / FRAMES_PER_SECOND {
                self.audio += 1;
                self.store(MediaKind::Audio, self.audio, true, true);
                self.serve();
            }
        }
    }
}

fn parameters() -> SendParameters {
    let mut extensions = ExtensionMap::default();
    for (extension, id) in [
        (Extension::Mid, 4),
        (Extension::TransportCc, 3),
        (Extension::AbsSendTime, 2),
        (Extension::AudioLevel, 1),
        (Extension::PlayoutDelay, 5),
    ] {
        extensions.set(extension, id);
    }
    let track = |kind, mid: &str, codec, ssrc| SendTrack {
        kind,
        mid: mid.into(),
        codecs: vec![SendCodec {
            codec,
            payload_type: 100,
            rtx_payload_type: Some(101),
        }],
        extensions,
        feedback: Feedback {
            nack: true,
            pli: true,
            fir: true,
            transport_cc: true,
            remb: false,
        },
        ssrc,
        rtx_ssrc: ssrc + 1,
    };
    let slot = SendSlot {
        audio: Some(track(MediaKind::Audio, "0", Codec::Opus, 10)),
        video: Some(track(MediaKind::Video, "1", Codec::H264, 20)),
    };
    SendParameters {
        slots: vec![slot],
        cname: "costage".into(),
    }
}

const VARIANTS: [(&str, Sealing, Arrival); 5] = [
    ("plain-paced", Sealing::None, Arrival::Paced),
    ("plain-bursts", Sealing::None, Arrival::Bursts),
    ("gcm-paced", Sealing::Gcm, Arrival::Paced),
    ("gcm-bursts", Sealing::Gcm, Arrival::Bursts),
    ("sha1-bursts", Sealing::CmSha1, Arrival::Bursts),
];

fn main() {
    // cargo adds options of its own
    let mut arguments = std::env::args().skip(1).filter(|argument| !argument.starts_with("--"));
    let mut number = || arguments.next().and_then(|argument| argument.parse().ok());
    let viewers = number().unwrap_or(VIEWERS);
    if let Some(rounds) = number() {
        return count(viewers, rounds, arguments.next().as_deref());
    }
    let mut variants: Vec<(Variant, Bench)> = VARIANTS
        .map(|(name, sealing, arrival)| {
            let ns = vec![];
            (Variant { name, arrival, ns }, Bench::warm(viewers, sealing, arrival))
        })
        .into();
    for _ in 0..ROUNDS {
        for (variant, bench) in &mut variants {
            let (before, start) = (bench.forwarded, Instant::now());
            bench.run(variant.arrival);
            let packets = bench.forwarded - before;
            variant.ns.push(start.elapsed().as_nanos() as f64 / packets as f64);
        }
    }
    println!("{viewers} viewers, {ROUNDS} rounds of {SECONDS} s; per forwarded packet of {PAYLOAD} bytes:");
    let mut base = None;
    for (variant, _) in &mut variants {
        variant.ns.sort_by(f64::total_cmp);
        let (best, median) = (variant.ns[0], variant.ns[variant.ns.len() / 2]);
        let ratio = median / *base.get_or_insert(median);
        let instructions = instructions(variant.name).map_or("not counted".into(), |count| format!("{count:.0}"));
        println!(
            "{:<13} {median:>5.0} ns (best {best:.0}), {ratio:.2} of the first; {instructions} instructions",
            variant.name
        );
    }
}

/// Runs one variant, for whoever counts instructions around it, and prints how many packets it forwarded.
fn count(viewers: usize, rounds: usize, name: Option<&str>) {
    let Some((_, sealing, arrival)) = VARIANTS.into_iter().find(|variant| Some(variant.0) == name) else {
        println!("no such variant");
        return;
    };
    let mut bench = Bench::warm(viewers, sealing, arrival);
    for _ in 0..rounds {
        bench.run(arrival);
    }
    println!("{}", bench.forwarded);
}

/// Instructions per forwarded packet; `None` without valgrind. Few viewers do: the count does not depend on caches.
fn instructions(variant: &str) -> Option<f64> {
    let run = |rounds: &str| {
        let output = Command::new("valgrind")
            .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
            .arg(std::env::current_exe().ok()?)
            .args(["10", rounds, variant])
            .output()
            .ok()?;
        let packets: f64 = String::from_utf8_lossy(&output.stdout).trim().parse().ok()?;
        let report = String::from_utf8_lossy(&output.stderr);
        let collected = report.lines().find_map(|line| line.split_once("Collected :"))?.1;
        Some((collected.trim().parse::<f64>().ok()?, packets))
    };
    let (few, more) = (run("1")?, run("4")?);
    Some((more.0 - few.0) / (more.1 - few.1))
}
