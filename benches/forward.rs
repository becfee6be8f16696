//! What forwarding one packet to one viewer costs, without sockets: `cargo bench --bench forward [-- viewers]`.
//!
//! A publisher's script (H.264 at 1.5 Mbit/s, Opus: 262 packets/s) goes into a `Feed`, and every turn all viewers are served
//! into one `Batch`. Variants run interleaved, so that a noisy machine hurts all alike: read the ratios. Instructions per
//! packet, where the machine counts them: `perf stat -e instructions:u` around it, with one variant named:
//! `cargo bench --bench forward -- 100 gcm`.

use costage::forward::{
    Batch, Feed, FeedDescription, FeedUpdate, Feeds, LayerIndex, Permission, Seal, SeatIndex, SourceId, SourceInfo,
    SourceKind, View, Viewer,
};
use costage::rtp::parameters::{Feedback, SendCodec, SendParameters, SendSlot, SendTrack};
use costage::rtp::{Codec, Extension, ExtensionMap, MediaKind, Meta, PacketView};
use ring::aead;
use std::hint::black_box;
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
}

/// How the packets of a frame come: one a turn, or all in one.
#[derive(Clone, Copy, PartialEq)]
enum Arrival {
    Paced,
    Bursts,
}

struct Variant {
    name: &'static str,
    sealing: Sealing,
    arrival: Arrival,
    ns: Vec<f64>,
}

/// AES-128-GCM as the transport seals (RFC 7714), and nothing at all.
struct Sealer {
    key: Option<aead::LessSafeKey>,
}

impl Sealer {
    fn new(sealing: Sealing) -> Self {
        let key = aead::UnboundKey::new(&aead::AES_128_GCM, &[7; 16]).expect("16 bytes");
        Sealer {
            key: (sealing == Sealing::Gcm).then(|| aead::LessSafeKey::new(key)),
        }
    }
}

impl Seal for Sealer {
    fn seal_rtp(&mut self, buffer: &mut Vec<u8>, start: usize, header_len: usize, ssrc: u32, index: u64) {
        let Some(key) = &self.key else { return };
        let mut nonce = [0; 12];
        nonce[2..6].copy_from_slice(&ssrc.to_be_bytes());
        nonce[6..].copy_from_slice(&index.to_be_bytes()[2..]);
        let (header, payload) = buffer[start..].split_at_mut(header_len);
        let nonce = aead::Nonce::assume_unique_for_key(nonce);
        let tag = key.seal_in_place_separate_tag(nonce, aead::Aad::from(&*header), payload);
        buffer.extend_from_slice(tag.expect("short enough").as_ref());
    }
    fn seal_rtcp(&mut self, _: &mut Vec<u8>, _: usize) {}
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
            id: SOURCE,
            seat: SeatIndex(0),
            kind: SourceKind::Camera,
            user: "host".into(),
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
        let viewers = (0..viewers).map(|_| {
            let mut viewer = Viewer::new(parameters(), View::Program, 1, now);
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

fn main() {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with("--"))
        .collect();
    let viewers = arguments
        .first()
        .and_then(|argument| argument.parse().ok())
        .unwrap_or(VIEWERS);
    let variant = |name, sealing, arrival| Variant {
        name,
        sealing,
        arrival,
        ns: vec![],
    };
    let mut variants = vec![
        variant("plain, paced", Sealing::None, Arrival::Paced),
        variant("plain, bursts", Sealing::None, Arrival::Bursts),
        variant("gcm, paced", Sealing::Gcm, Arrival::Paced),
        variant("gcm, bursts", Sealing::Gcm, Arrival::Bursts),
    ];
    if let Some(wanted) = arguments.get(1) {
        variants.retain(|variant| variant.name.starts_with(wanted.as_str()));
    }
    let mut benches: Vec<Bench> = variants
        .iter()
        .map(|variant| Bench::new(viewers, variant.sealing))
        .collect();
    for (bench, variant) in benches.iter_mut().zip(&variants) {
        bench.feed().update(FeedUpdate::Size {
            layer: LayerIndex(0),
            width: 1280,
            height: 720,
        });
        bench.run(variant.arrival);
    }
    for _ in 0..ROUNDS {
        for (bench, variant) in benches.iter_mut().zip(&mut variants) {
            let (before, start) = (bench.forwarded, Instant::now());
            bench.run(variant.arrival);
            variant
                .ns
                .push(start.elapsed().as_nanos() as f64 / (bench.forwarded - before) as f64);
        }
    }
    println!("{viewers} viewers, {ROUNDS} rounds of {SECONDS} s; ns per forwarded packet of {PAYLOAD} bytes");
    let mut base = None;
    for (variant, bench) in variants.iter_mut().zip(&benches) {
        variant.ns.sort_by(f64::total_cmp);
        let (best, median) = (variant.ns[0], variant.ns[variant.ns.len() / 2]);
        let ratio = median / *base.get_or_insert(median);
        let packets = bench.forwarded;
        println!(
            "{:<14} best {best:>7.0}  median {median:>7.0}  ratio {ratio:>5.2}  ({packets} packets)",
            variant.name
        );
    }
}
