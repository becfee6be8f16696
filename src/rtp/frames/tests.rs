use super::*;
use crate::rtp::h264::Packetizer;
use proptest::prelude::*;
use rand::{Rng, SeedableRng, rngs::StdRng};

const CLIP: &[u8] = include_bytes!("../../../tests/fixtures/media/talk-360p30.h264");
/// An IVF file (32 bytes of header, 12 in front of each frame).
const VP8_CLIP: &[u8] = include_bytes!("../../../tests/fixtures/media/pattern-vp8.ivf");
const WAIT: Duration = Duration::from_millis(100);
const FRAME_MS: u64 = 33;
const FIRST_SEQUENCE: u64 = 0x1_fff0;

/// A packet that lives on its own.
#[derive(Clone, Debug)]
struct Packet {
    meta: Meta,
    payload: Vec<u8>,
}

impl Packet {
    fn view(&self) -> PacketView<'_> {
        PacketView {
            meta: self.meta,
            bytes: &self.payload,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Whole {
    timestamp: u32,
    sequences: (u64, u64),
    keyframe: bool,
    bytes: Vec<u8>,
}

/// One stream's packets, frame by frame.
struct Sender {
    start: Instant,
    sequence: u64,
    frames: u64,
    codec: Codec,
}

impl Sender {
    fn new(codec: Codec) -> Self {
        Sender {
            start: Instant::now(),
            sequence: FIRST_SEQUENCE,
            frames: 0,
            codec,
        }
    }

    fn frame(&mut self, payloads: Vec<Vec<u8>>) -> Vec<Packet> {
        let count = payloads.len();
        let packets = payloads.into_iter().enumerate().map(|(at, payload)| Packet {
            meta: Meta {
                sequence: self.sequence + at as u64,
                timestamp: (self.frames as u32).wrapping_mul(3000).wrapping_sub(9000),
                marker: at + 1 == count,
                starts_keyframe: self.codec.starts_keyframe(&payload, None),
                codec: self.codec,
                arrival: self.start + Duration::from_millis(self.frames * FRAME_MS),
                extensions_len: 0,
            },
            payload,
        });
        let packets: Vec<_> = packets.collect();
        self.sequence += count as u64;
        self.frames += 1;
        packets
    }

    fn access_unit(&mut self, bytes: &[u8], payload_max: usize) -> Vec<Packet> {
        let mut payloads = vec![];
        Packetizer::new(payload_max).packetize(bytes, |payload, _| payloads.push(payload.to_vec()));
        self.frame(payloads)
    }
}

/// Access units of an Annex B stream that repeats its parameter sets in front of keyframes, start codes of four bytes.
fn access_units(stream: &[u8]) -> Vec<Vec<u8>> {
    let (mut units, mut has_picture) = (vec![], true);
    for nal in h264::nal_units(stream) {
        let is_slice = matches!(nal[0] & 0x1f, 1 | 5);
        let is_first_slice = nal[1] & 0x80 != 0;
        if has_picture && (is_first_slice || !is_slice) {
            units.push(vec![]);
            has_picture = false;
        }
        has_picture |= is_slice;
        let unit = units.last_mut().unwrap();
        unit.extend_from_slice(&[0, 0, 0, 1]);
        unit.extend_from_slice(nal);
    }
    units
}

fn clip() -> Vec<Vec<Packet>> {
    let mut sender = Sender::new(Codec::H264);
    let units = access_units(CLIP);
    units.iter().map(|unit| sender.access_unit(unit, 1200)).collect()
}

fn whole(packets: &[Packet], bytes: &[u8]) -> Whole {
    Whole {
        timestamp: packets[0].meta.timestamp,
        sequences: (packets[0].meta.sequence, packets[packets.len() - 1].meta.sequence),
        keyframe: packets.iter().any(|packet| packet.meta.starts_keyframe),
        bytes: bytes.to_vec(),
    }
}

fn poll(assembler: &mut FrameAssembler, now: Instant) -> Vec<Whole> {
    let mut frames = vec![];
    while let Some(frame) = assembler.poll_frame(now, WAIT) {
        assert!(frame.arrival_first <= frame.arrival_last);
        frames.push(Whole {
            timestamp: frame.timestamp,
            sequences: (frame.first_sequence, frame.last_sequence),
            keyframe: frame.keyframe,
            bytes: frame.bytes.to_vec(),
        });
    }
    frames
}

/// Hands the packets over one by one, each at its arrival.
fn play<'p>(assembler: &mut FrameAssembler, packets: impl IntoIterator<Item = &'p Packet>) -> Vec<Whole> {
    let mut frames = vec![];
    for packet in packets {
        assembler.handle(&packet.view());
        frames.extend(poll(assembler, packet.meta.arrival));
    }
    frames
}

#[test]
fn a_clip_comes_out_as_it_went_in() {
    let units = access_units(CLIP);
    assert_eq!(units.len(), 240);
    let packets = clip();
    let expected: Vec<_> = packets.iter().zip(&units).map(|(p, unit)| whole(p, unit)).collect();
    let mut assembler = FrameAssembler::new(Codec::H264);
    assert!(assembler.needs_keyframe());
    assert!(play(&mut assembler, packets.iter().flatten()) == expected);
    assert!(!assembler.needs_keyframe());
    let keyframes: Vec<_> = expected.iter().filter(|frame| frame.keyframe).collect();
    assert_eq!(keyframes.len(), 4);
    let counters = FrameCounters {
        frames: 240,
        ..FrameCounters::default()
    };
    assert_eq!(assembler.counters(), counters);
}

#[test]
fn a_vp8_frame_comes_out_without_descriptors() {
    let mut sender = Sender::new(Codec::Vp8);
    let (mut at, mut expected, mut packets) = (32, vec![], vec![]);
    while let Some(len) = VP8_CLIP.get(at..at + 4) {
        let len = u32::from_le_bytes(len.try_into().unwrap()) as usize;
        let frame = &VP8_CLIP[at + 12..at + 12 + len];
        at += 12 + len;
        let payloads = frame.chunks(500).enumerate().map(|(index, chunk)| {
            let start = if index == 0 { 0x10 } else { 0 };
            [&[0x80 | start, 0x80, 7][..], chunk].concat()
        });
        let of_frame = sender.frame(payloads.collect());
        expected.push(whole(&of_frame, frame));
        packets.extend(of_frame);
    }
    assert!(expected.len() > 2 && expected[0].keyframe);
    let mut assembler = FrameAssembler::new(Codec::Vp8);
    assert!(play(&mut assembler, &packets) == expected);
    // a frame whose beginning is no beginning
    let mut broken = sender.frame(vec![vec![0x80, 0x80, 8, 1, 2, 3]]);
    broken[0].meta.arrival = packets[packets.len() - 1].meta.arrival;
    assert!(play(&mut assembler, &broken).is_empty());
    assert!(assembler.needs_keyframe());
    assert_eq!((assembler.counters().malformed, assembler.counters().skips), (1, 1));
}

#[test]
fn a_lost_packet_is_waited_for_and_then_the_next_keyframe() {
    let packets = clip();
    let lost = 20;
    let missing = packets[lost][0].clone();
    let before = packets[..lost].iter().flatten();
    let mut assembler = FrameAssembler::new(Codec::H264);
    assert_eq!(play(&mut assembler, before).len(), lost);
    let rest = packets[lost][1..].iter().chain(&packets[lost + 1]);
    assert!(play(&mut assembler, rest).is_empty());
    // known to be missing since the packet behind it came
    let behind = packets[lost].get(1).unwrap_or(&packets[lost + 1][0]);
    let deadline = behind.meta.arrival + WAIT;
    assert_eq!(assembler.poll_timeout(WAIT), Some(deadline));
    let mut patient = FrameAssembler::new(Codec::H264);
    play(&mut patient, packets[..lost].iter().flatten());
    play(&mut patient, packets[lost][1..].iter().chain(&packets[lost + 1]));

    patient.handle(&missing.view());
    let frames = poll(&mut patient, deadline - Duration::from_millis(1));
    assert_eq!(frames.len(), 2, "both that waited for it");
    assert_eq!(patient.poll_timeout(WAIT), None);

    assert!(poll(&mut assembler, deadline).is_empty());
    assert!(assembler.needs_keyframe());
    assert_eq!(assembler.poll_timeout(WAIT), None);
    let frames = play(&mut assembler, packets[lost + 2..].iter().flatten());
    assert_eq!(frames.len(), 180, "from the next keyframe on");
    assert!(frames[0].keyframe);
    assert_eq!(assembler.counters().skips, 1);
    assembler.handle(&missing.view());
    assert_eq!(assembler.counters().late, 1);
}

#[test]
fn a_lost_frame_that_nobody_needs_leaves_a_gap_only() {
    let packets = {
        let mut sender = Sender::new(Codec::H264);
        let units = access_units(CLIP);
        let mut packets: Vec<_> = units[..4].iter().map(|unit| sender.access_unit(unit, 400)).collect();
        assert!(packets[2].len() > 3);
        for packet in &mut packets[2] {
            packet.payload[0] &= 0x1f;
        }
        packets
    };
    let lossy = |lost: usize| {
        let of_two = packets[2].iter().enumerate().filter(move |(at, _)| *at != lost);
        let of_two = of_two.map(|(_, packet)| packet);
        packets[..2].iter().flatten().chain(of_two).chain(&packets[3])
    };
    for (lost, survives) in [(1, true), (0, false), (packets[2].len() - 1, false)] {
        let mut assembler = FrameAssembler::new(Codec::H264);
        let mut frames = play(&mut assembler, lossy(lost));
        assert_eq!(frames.len(), 2);
        frames.extend(poll(&mut assembler, packets[3][0].meta.arrival + WAIT));
        assert_eq!(frames.len(), if survives { 3 } else { 2 }, "lost {lost}");
        assert_eq!(assembler.needs_keyframe(), !survives);
    }
}

#[test]
fn without_markers_a_frame_ends_where_the_next_begins() {
    let mut packets = clip();
    for packet in packets.iter_mut().flatten() {
        packet.meta.marker = false;
    }
    let mut assembler = FrameAssembler::new(Codec::H264);
    let frames = play(&mut assembler, packets.iter().flatten());
    assert_eq!(frames.len(), 239, "the last is not known to be complete");
}

#[test]
fn padding_between_frames_is_no_frame_and_no_hole() {
    let mut sender = Sender::new(Codec::H264);
    let units = access_units(CLIP);
    let mut packets = sender.access_unit(&units[0], 1200);
    let mut padding = sender.frame(vec![vec![], vec![]]);
    // with the timestamp of whatever was sent before
    for packet in &mut padding {
        packet.meta.timestamp = 77;
    }
    packets.extend(padding);
    packets.extend(sender.access_unit(&units[1], 1200));
    let mut assembler = FrameAssembler::new(Codec::H264);
    let frames = play(&mut assembler, &packets);
    assert_eq!(frames.len(), 2);
    assert_eq!(frames[1].bytes, units[1]);
}

#[test]
fn malformed_payloads_cost_their_frame_and_are_counted() {
    let keyframe = &access_units(CLIP)[0];
    let malformed: [&[&[u8]]; 12] = [
        &[&[0x78]],
        &[&[0x78, 0, 9, 0x67]],
        &[&[0x78, 0, 0, 0, 1, 0x41]],
        &[&[0x78, 0, 1, 0x41, 0]],
        &[&[0x78, 0, 1, 0x7c]],
        &[&[0x7c]],
        &[&[0x7c, 0x01, 5]],
        &[&[0x7c, 0x81, 5], &[0x41, 1]],
        &[&[0x7c, 0x81, 5], &[0x7c, 0x85, 5]],
        &[&[0x7c, 0x81, 5], &[0x7c, 0x02, 5]],
        &[&[0x7c, 0x81, 5]],
        &[&[0x7f, 1, 2]],
    ];
    for payloads in malformed {
        let mut sender = Sender::new(Codec::H264);
        let mut assembler = FrameAssembler::new(Codec::H264);
        assert_eq!(play(&mut assembler, &sender.access_unit(keyframe, 1200)).len(), 1);
        let broken = sender.frame(payloads.iter().map(|payload| payload.to_vec()).collect());
        assert!(play(&mut assembler, &broken).is_empty(), "{payloads:x?}");
        assert!(assembler.needs_keyframe());
        assert_eq!(assembler.counters().malformed, 1, "{payloads:x?}");
        assert_eq!(play(&mut assembler, &sender.access_unit(keyframe, 1200)).len(), 1);
    }
    let mut assembler = FrameAssembler::new(Codec::H264);
    play(&mut assembler, &Sender::new(Codec::Vp8).frame(vec![vec![0x10, 0]]));
    assert_eq!(assembler.counters().malformed, 1);
}

#[test]
fn a_decoder_that_failed_gets_a_keyframe_next() {
    let packets = clip();
    let mut assembler = FrameAssembler::new(Codec::H264);
    play(&mut assembler, packets[..10].iter().flatten());
    assembler.skip_to_keyframe();
    assembler.skip_to_keyframe();
    assert_eq!(assembler.counters().skips, 1, "once is enough");
    let frames = play(&mut assembler, packets[10..70].iter().flatten());
    assert_eq!((frames.len(), frames[0].keyframe), (10, true));
}

#[test]
fn memory_is_bounded_and_progress_is_made() {
    let mut sender = Sender::new(Codec::H264);
    let keyframe = &access_units(CLIP)[0];
    let mut assembler = FrameAssembler::new(Codec::H264);
    play(&mut assembler, &sender.access_unit(keyframe, 1200));
    // one frame of 10 000 packets
    let tiny = sender.frame(vec![vec![0x41]; 10_000]);
    assert!(play(&mut assembler, &tiny).is_empty());
    assert_eq!(assembler.slots.len(), PACKETS_MAX);
    assert!(assembler.needs_keyframe());
    assert_eq!(play(&mut assembler, &sender.access_unit(keyframe, 1200)).len(), 1);
    // somewhere else altogether
    sender.sequence += 1 << 40;
    let far = sender.access_unit(keyframe, 1200);
    let far_frames = play(&mut assembler, &far);
    assert_eq!(far_frames.len(), 1);
    assert_eq!(far_frames[0].sequences.0, far[0].meta.sequence);
    // frames that nobody fetches
    let unfetched: Vec<_> = (0..500).map(|_| sender.access_unit(keyframe, 1200)).collect();
    for packet in unfetched.iter().flatten() {
        assembler.handle(&packet.view());
    }
    assert_eq!(assembler.slots.len(), PACKETS_MAX);
    let frames = poll(&mut assembler, unfetched[499][0].meta.arrival);
    assert!(frames.len() > 50 && frames.len() < 500, "{}", frames.len());
    let last = &unfetched[499];
    assert_eq!(frames[frames.len() - 1].sequences.1, last[last.len() - 1].meta.sequence);
}

#[test]
fn a_warm_assembler_allocates_no_more() {
    let packets = clip();
    let mut assembler = FrameAssembler::new(Codec::H264);
    play(&mut assembler, packets[..120].iter().flatten());
    let pointers = |assembler: &FrameAssembler| -> Vec<_> {
        let slots = assembler.slots.iter().map(|slot| slot.payload.as_ptr());
        slots.chain([assembler.frame.as_ptr()]).collect()
    };
    let capacity: usize = assembler.slots.iter().map(|slot| slot.payload.capacity()).sum();
    let before = pointers(&assembler);
    assert_eq!(assembler.slots.len(), PACKETS);
    assert!(capacity <= PACKETS * 2048);
    // the same packets once more, under later numbers
    let shift = (assembler.base - packets[0][0].meta.sequence).next_multiple_of(PACKETS as u64);
    for packet in packets[..120].iter().flatten() {
        let mut again = packet.clone();
        again.meta.sequence += shift;
        again.meta.arrival += Duration::from_secs(4);
        assembler.handle(&again.view());
        poll(&mut assembler, again.meta.arrival);
    }
    assert_eq!(pointers(&assembler), before);
}

#[test]
fn random_bytes_never_panic() {
    let mut rng = StdRng::seed_from_u64(11);
    let packets: Vec<Packet> = clip().into_iter().take(130).flatten().collect();
    for codec in [Codec::H264, Codec::Vp8] {
        for _ in 0..30 {
            let mut assembler = FrameAssembler::new(codec);
            for packet in &packets {
                let mut packet = packet.clone();
                packet.meta.codec = codec;
                if rng.random_ratio(1, 8) {
                    packet.payload.truncate(rng.random_range(0..40));
                    for byte in &mut packet.payload {
                        *byte = rng.random();
                    }
                }
                if rng.random_ratio(1, 20) {
                    packet.meta.sequence = packet.meta.sequence.wrapping_add(rng.random_range(0..5000));
                    packet.meta.starts_keyframe = rng.random();
                    packet.meta.marker = rng.random();
                    packet.meta.timestamp = rng.random();
                }
                assembler.handle(&packet.view());
                while let Some(frame) = assembler.poll_frame(packet.meta.arrival, WAIT) {
                    assert!(!frame.bytes.is_empty() && frame.first_sequence <= frame.last_sequence);
                }
                assert!(assembler.slots.len() <= PACKETS_MAX);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    /// Loss, repetition and reordering within the wait: what comes out is a keyframe and what follows it, whole and in order.
    #[test]
    fn what_comes_out_is_what_a_decoder_can_use(
        seed: u64,
        loss in 0u32..60,
        repaired in 0u32..=100,
        jitter_ms in 0u64..30,
        payload_max in 60usize..1400,
        markers: bool,
    ) {
        let mut rng = StdRng::seed_from_u64(seed);
        let units: Vec<_> = access_units(CLIP).into_iter().take(130).collect();
        let mut sender = Sender::new(Codec::H264);
        let mut sent: Vec<_> = units.iter().map(|unit| sender.access_unit(unit, payload_max)).collect();
        for packet in sent.iter_mut().flatten() {
            packet.meta.marker &= markers;
        }
        let expected: Vec<_> = sent.iter().zip(&units).map(|(packets, unit)| whole(packets, unit)).collect();
        let (mut arriving, mut is_lossless) = (vec![], true);
        for packet in sent.iter().flatten() {
            let mut packet = packet.clone();
            if rng.random_ratio(loss, 1000) {
                if !rng.random_ratio(repaired, 100) {
                    is_lossless = false;
                    continue;
                }
                packet.meta.arrival += Duration::from_millis(rng.random_range(20..60));
            }
            packet.meta.arrival += Duration::from_millis(rng.random_range(0..=jitter_ms));
            if rng.random_ratio(1, 50) {
                let mut again = packet.clone();
                again.meta.arrival += Duration::from_millis(rng.random_range(0..300));
                arriving.push(again);
            }
            arriving.push(packet);
        }
        arriving.sort_by_key(|packet| packet.meta.arrival);
        let latest = arriving.last().map_or(sender.start, |packet| packet.meta.arrival);

        let mut assembler = FrameAssembler::new(Codec::H264);
        let mut frames = play(&mut assembler, &arriving);
        let is_waiting = assembler.poll_timeout(WAIT).is_some();
        frames.extend(poll(&mut assembler, latest + WAIT));
        prop_assert!(is_waiting || assembler.poll_timeout(WAIT).is_none());

        let indices: Vec<usize> = frames
            .iter()
            .map(|frame| expected.iter().position(|other| other == frame).expect("whole and unchanged"))
            .collect();
        prop_assert!(indices.windows(2).all(|pair| pair[0] < pair[1]), "in order, each once");
        for pair in indices.windows(2) {
            prop_assert!(pair[1] == pair[0] + 1 || expected[pair[1]].keyframe, "no frame without its references");
        }
        prop_assert!(frames.first().is_none_or(|frame| frame.keyframe));
        // of a longer one, the beginning may come behind so much of the rest that nobody waits for it
        let begins = sent.first().is_some_and(|keyframe| keyframe.len() as u64 <= REORDERED_MAX);
        if is_lossless && begins {
            let last = if markers { units.len() } else { units.len() - 1 };
            prop_assert_eq!(indices, (0..last).collect::<Vec<_>>());
        }
    }
}
