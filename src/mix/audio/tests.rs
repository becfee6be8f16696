use super::*;
use crate::forward::SeatIndex;
use crate::mix::codec::AudioDecoder;
use crate::mix::timeline::{Timeline, Track};
use crate::rtp::NtpClock;
use crate::rtp::sequence::ntp_duration;
use std::f32::consts::TAU;
use std::time::{Duration, Instant};

/// A codec whose packets are a tone: table-of-contents byte, its RTP timestamp, hertz, amplitude in percent, and whether a
/// copy of the packet before is in it. Concealment goes on with the tone; a packet of one byte is silence.
#[derive(Default)]
struct Tones {
    /// RTP timestamp of what comes next.
    position: u32,
    hertz: f32,
    amplitude: f32,
}

impl Tones {
    fn write(&mut self, samples: &mut [f32], pairs: usize) -> usize {
        for (pair, index) in samples[..2 * pairs].chunks_exact_mut(2).zip(0u32..) {
            // whole seconds are whole periods
            let at = self.position.wrapping_sub(START).wrapping_add(index) % 48_000;
            pair.fill(self.amplitude * (at as f32 / 48_000.0 * self.hertz * TAU).sin());
        }
        self.position = self.position.wrapping_add(pairs as u32);
        pairs
    }
}

impl AudioDecoder for Tones {
    fn decode(&mut self, packet: &[u8], samples: &mut [f32]) -> Option<usize> {
        let pairs = duration_of(packet[0]);
        if packet.len() < 9 {
            self.amplitude = 0.0;
            return Some(self.write(samples, pairs));
        }
        self.position = u32::from_be_bytes([packet[1], packet[2], packet[3], packet[4]]);
        self.hertz = f32::from(u16::from_be_bytes([packet[5], packet[6]]));
        self.amplitude = f32::from(packet[7]) / 100.0;
        Some(self.write(samples, pairs))
    }

    fn recover(&mut self, next_packet: &[u8], samples: &mut [f32], pairs: usize) -> Option<usize> {
        if next_packet.get(8) != Some(&1) {
            return None;
        }
        let after = u32::from_be_bytes([next_packet[1], next_packet[2], next_packet[3], next_packet[4]]);
        self.position = after.wrapping_sub(pairs as u32);
        Some(self.write(samples, pairs))
    }

    fn conceal(&mut self, samples: &mut [f32], pairs: usize) -> usize {
        assert!(pairs > 0 && pairs.is_multiple_of(120), "whole frames only: {pairs}");
        self.write(samples, pairs)
    }
}

/// Table-of-contents bytes of 2.5, 5, 10 and 20 ms of one frame, 40 ms in two, 60 ms in SILK, 120 ms in two of those.
const TOCS: [(u8, usize); 7] = [
    (28 << 3, 120),
    (29 << 3, 240),
    (30 << 3, 480),
    (31 << 3, 960),
    (31 << 3 | 1, 1920),
    (3 << 3, 2880),
    (3 << 3 | 1, 5760),
];

fn duration_of(toc: u8) -> usize {
    TOCS.iter().find(|(known, _)| *known == toc).expect("one of them").1
}

fn payload(toc: u8, timestamp: u32, hertz: u16, percent: u8, copy: bool) -> Vec<u8> {
    let mut payload = vec![toc];
    payload.extend(timestamp.to_be_bytes());
    payload.extend(hertz.to_be_bytes());
    payload.extend([percent, u8::from(copy)]);
    payload
}

/// xorshift64*: one seed is one run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// A packet on its way.
#[derive(Clone)]
struct Sent {
    sequence: u64,
    timestamp: u32,
    payload: Vec<u8>,
    arrival_ms: f64,
    due_ms: f64,
}

/// 440 Hz at half of full scale from `from_ms` to `to_ms`, which takes 40 ms to arrive and is due after 100.
fn tone(toc: u8, from_ms: f64, to_ms: f64, copy: bool) -> Vec<Sent> {
    let pairs = duration_of(toc) as u32;
    let mut sent = vec![];
    let first = (from_ms * 48.0) as u32 / pairs;
    for index in first..(to_ms * 48.0) as u32 / pairs {
        let timestamp = index * pairs;
        let at_ms = f64::from(timestamp) / 48.0;
        sent.push(Sent {
            sequence: 70_000 + u64::from(index),
            timestamp: timestamp.wrapping_add(START),
            payload: payload(toc, timestamp.wrapping_add(START), 440, 50, copy),
            arrival_ms: at_ms + 40.0,
            due_ms: at_ms + 100.0,
        });
    }
    sent
}

/// A second of 48 kHz before the timestamps wrap.
const START: u32 = 0u32.wrapping_sub(48_000);

struct Listening {
    voice: Voice,
    start: Instant,
    /// Blocks pulled.
    blocks: u32,
    /// The left channel.
    heard: Vec<f32>,
    pulled: Vec<Pulled>,
    deepest: usize,
}

impl Listening {
    fn new() -> Self {
        Self::with(Box::new(Tones::default()))
    }

    fn with(decoder: Box<dyn AudioDecoder>) -> Self {
        Listening {
            voice: Voice::new(decoder),
            start: Instant::now(),
            blocks: 0,
            heard: vec![],
            pulled: vec![],
            deepest: 0,
        }
    }

    fn at(&self, ms: f64) -> Instant {
        self.start + Duration::from_secs_f64(ms / 1000.0)
    }

    /// Each block is pulled when its last sample is due.
    fn play(&mut self, mut sent: Vec<Sent>, until_ms: f64) {
        sent.sort_by(|one, other| one.arrival_ms.total_cmp(&other.arrival_ms));
        let mut sent = sent.into_iter().peekable();
        while f64::from(self.blocks) * 20.0 < until_ms {
            let now_ms = f64::from(self.blocks) * 20.0;
            while let Some(packet) = sent.next_if(|packet| packet.arrival_ms <= now_ms + 20.0) {
                let due = self.at(packet.due_ms);
                self.voice
                    .handle_packet(packet.sequence, packet.timestamp, &packet.payload, due);
            }
            self.pull();
        }
    }

    fn pull(&mut self) {
        let mut block = [9.0; 2 * PAIRS];
        let now = self.at(f64::from(self.blocks) * 20.0);
        let pulled = self.voice.pull(now, &mut block);
        assert_eq!(pulled.sounding, block.iter().any(|sample| *sample != 0.0));
        self.heard.extend(block.chunks_exact(2).map(|pair| pair[0]));
        self.pulled.push(pulled);
        self.blocks += 1;
        self.deepest = self.deepest.max(self.voice.buffered());
    }

    fn part(&self, from_ms: usize, to_ms: usize) -> &[f32] {
        &self.heard[48 * from_ms..48 * to_ms]
    }
}

/// The largest step from sample to sample.
fn step(samples: &[f32]) -> f32 {
    let steps = samples.windows(2).map(|pair| (pair[1] - pair[0]).abs());
    steps.fold(0.0, f32::max)
}

/// 440 Hz at half of full scale steps by at most 0.029; blending two phases of it in 5 ms adds 1 in 240.
const STEP: f32 = 0.034;

/// The amplitude of a tone (Goertzel).
fn amplitude(samples: &[f32], hertz: f64) -> f64 {
    let turn = std::f64::consts::TAU * hertz / 48_000.0;
    let (mut before, mut last) = (0.0f64, 0.0f64);
    for sample in samples {
        let next = f64::from(*sample) + 2.0 * turn.cos() * last - before;
        (before, last) = (last, next);
    }
    let power = last * last + before * before - 2.0 * turn.cos() * last * before;
    2.0 * power.sqrt() / samples.len() as f64
}

fn silent(samples: &[f32]) -> bool {
    samples.iter().all(|sample| *sample == 0.0)
}

#[test]
fn packets_of_every_length_are_heard_when_they_are_due() {
    for (toc, _) in TOCS {
        let mut listening = Listening::new();
        let sent = tone(toc, 0.0, 2400.0, false);
        let count = sent.len() as u64;
        listening.play(sent, 2700.0);
        assert!(silent(listening.part(0, 100)), "{toc}");
        assert!(
            listening.part(100, 120).iter().any(|sample| sample.abs() > 0.4),
            "{toc}"
        );
        let level = amplitude(listening.part(200, 2200), 440.0);
        assert!((level - 0.5).abs() < 0.001, "{toc} {level}");
        // exactly when it is due: a second of media is a second of the tone's phase
        let expected = 0.5 * (0.25f32 / 1000.0 * 440.0 * TAU).sin();
        assert!((listening.heard[48 * 1100 + 12] - expected).abs() < 0.01, "{toc}");
        assert!(step(&listening.heard) < STEP);
        assert!(silent(listening.part(2680, 2700)), "ends in silence");
        let counters = listening.voice.counters();
        assert_eq!(
            (counters.decoded, counters.lost, counters.late, counters.spliced),
            (count, 0, 0, 0)
        );
        let loud = Pulled {
            sounding: true,
            level: 9,
        };
        assert_eq!((listening.pulled[50], listening.pulled[0]), (loud, Pulled::SILENT));
    }
}

#[test]
fn loss_is_recovered_or_concealed_without_a_step() {
    let mut random = Random(1);
    for (loss, copy) in [(0.01, true), (0.05, true), (0.05, false)] {
        let mut sent = tone(31 << 3, 0.0, 60_000.0, copy);
        let all = sent.len() as u64;
        sent.retain(|packet| packet.sequence == 70_000 || random.next() >= loss);
        let lost = all - sent.len() as u64;
        let pairs = sent
            .windows(2)
            .filter(|pair| pair[1].sequence > pair[0].sequence + 1)
            .count() as u64;
        let mut listening = Listening::new();
        listening.play(sent, 60_000.0);
        let counters = listening.voice.counters();
        assert!(lost > 10 && counters.lost + 5 >= lost, "{counters:?} {lost}");
        assert_eq!(counters.recovered, if copy { pairs } else { 0 }, "{counters:?}");
        assert!(
            counters.concealed_pairs <= 960 * (lost - counters.recovered),
            "{counters:?}"
        );
        assert_eq!((counters.late, counters.spliced), (0, 0));
        assert!(step(&listening.heard) < STEP, "{}", step(&listening.heard));
        assert!((amplitude(listening.part(200, 59_200), 440.0) - 0.5).abs() < 0.001);
    }
}

#[test]
fn reordered_and_bursting_packets_lose_nothing() {
    let mut random = Random(2);
    let mut sent = tone(31 << 3, 0.0, 30_000.0, false);
    let count = sent.len() as u64;
    for packet in &mut sent {
        // up to 40 ms late, two packets past each other; every second a stall of 35 ms
        packet.arrival_ms += 40.0 * random.next();
        if packet.arrival_ms % 1000.0 < 35.0 {
            packet.arrival_ms += 35.0 - packet.arrival_ms % 1000.0;
        }
    }
    let doubled = sent.clone();
    sent.extend(doubled);
    let mut listening = Listening::new();
    listening.play(sent, 30_000.0);
    let counters = listening.voice.counters();
    assert_eq!((counters.lost, counters.spliced, counters.concealed_pairs), (0, 0, 0));
    assert!(
        counters.decoded + 6 > count && counters.late + counters.duplicate + 6 > count,
        "{counters:?}"
    );
    assert!(step(&listening.heard) < STEP);
}

#[test]
fn packets_past_their_time_are_dropped_and_counted() {
    let mut sent = tone(31 << 3, 0.0, 3000.0, false);
    for packet in sent.iter_mut().filter(|packet| packet.sequence % 10 == 0) {
        packet.arrival_ms += 200.0;
    }
    let late = sent.iter().filter(|packet| packet.sequence % 10 == 0).count() as u64;
    let mut listening = Listening::new();
    listening.play(sent, 3400.0);
    let counters = listening.voice.counters();
    assert!(counters.late >= late - 1 && counters.lost >= late - 1, "{counters:?}");
    assert!(step(&listening.heard) < STEP);
}

#[test]
fn five_minutes_of_drift_lose_and_repeat_nothing() {
    for drift in [100e-6, -100e-6] {
        let mut sent = tone(31 << 3, 0.0, 300_000.0, false);
        let count = sent.len() as u64;
        for packet in &mut sent {
            packet.arrival_ms *= 1.0 + drift;
            packet.due_ms *= 1.0 + drift;
        }
        let mut listening = Listening::new();
        listening.play(sent, 299_000.0);
        let counters = listening.voice.counters();
        assert_eq!(
            (counters.lost, counters.late, counters.spliced, counters.concealed_pairs),
            (0, 0, 0, 0)
        );
        assert!(
            counters.decoded + 60 > count && listening.deepest <= 6,
            "{counters:?} {}",
            listening.deepest
        );
        assert!(step(&listening.heard) < 0.030, "{}", step(&listening.heard));
    }
}

#[test]
fn a_slewing_timeline_is_followed_by_resampling() {
    for rate in [0.005, -0.005, 0.01] {
        let mut sent = tone(31 << 3, 0.0, 20_000.0, false);
        for packet in &mut sent {
            packet.due_ms += 100.0 + rate * (packet.arrival_ms - 5_000.0).clamp(0.0, 10_000.0);
        }
        let mut listening = Listening::new();
        listening.play(sent, 19_000.0);
        let counters = listening.voice.counters();
        assert_eq!(
            (counters.lost, counters.spliced, counters.concealed_pairs),
            (0, 0, 0),
            "{rate}"
        );
        assert!(step(&listening.heard) < 0.030);
        // it arrived where it should: the phase of the tone says when it is played
        let shift_ms = 200.0 + 10_000.0 * rate;
        let at = 48 * 18_000 + (shift_ms * 48.0) as usize;
        // 0.32 after a quarter of a millisecond; a tenth is tolerated
        assert!((0.17..0.43).contains(&listening.heard[at + 12]), "{rate}");
    }
}

#[test]
fn jumps_of_the_timeline_are_blended_over() {
    for jump_ms in [60.0, -60.0, 100.0, -90.0] {
        let mut sent = tone(31 << 3, 0.0, 4_000.0, false);
        for packet in &mut sent {
            packet.due_ms += if packet.arrival_ms > 2_000.0 {
                100.0 + jump_ms
            } else {
                100.0
            };
        }
        let mut listening = Listening::new();
        listening.play(sent, 4_000.0);
        let counters = listening.voice.counters();
        assert_eq!(counters.spliced, 1, "{jump_ms} {counters:?}");
        let skipped = if jump_ms < 0.0 { (-jump_ms / 20.0) as u64 } else { 0 };
        assert!(
            counters.late <= skipped && counters.lost <= skipped,
            "{jump_ms} {counters:?}"
        );
        assert!(step(&listening.heard) < STEP, "{jump_ms} {}", step(&listening.heard));
        let at = 48 * 3_000 + ((200.0 + jump_ms) * 48.0) as usize;
        let expected = 0.5 * (0.25f32 / 1000.0 * 440.0 * TAU).sin();
        assert!((listening.heard[at + 12] - expected).abs() < 0.02, "{jump_ms}");
    }
}

#[test]
fn a_packet_that_was_waited_for_is_played_once_the_timeline_gives_it_time() {
    let mut sent = tone(31 << 3, 0.0, 2_000.0, false);
    for packet in &mut sent {
        // the path gets 90 ms longer; the timeline jumps with the first that is late
        if packet.timestamp.wrapping_sub(START) >= 48_000 {
            packet.arrival_ms += 90.0;
            packet.due_ms += 60.0;
        }
    }
    let count = sent.len() as u64;
    let mut listening = Listening::new();
    listening.play(sent, 2_300.0);
    let counters = listening.voice.counters();
    assert_eq!(
        (counters.decoded, counters.lost, counters.late),
        (count, 0, 0),
        "{counters:?}"
    );
    assert!(step(&listening.heard) < STEP);
}

#[test]
fn pauses_between_words_are_no_loss() {
    // two words, and packets that announce silence every 400 ms between them; numbers run on
    let mut sent = tone(31 << 3, 0.0, 1_000.0, false);
    let mut sequence = sent.last().expect("sent").sequence;
    let (silence, word) = (sent.len() as u32, tone(31 << 3, 3_000.0, 4_000.0, false));
    for index in 0..5u32 {
        sequence += 1;
        let ms = f64::from(silence * 20 + index * 400);
        sent.push(Sent {
            sequence,
            timestamp: START.wrapping_add((ms * 48.0) as u32),
            payload: vec![31 << 3],
            arrival_ms: ms + 40.0,
            due_ms: ms + 100.0,
        });
    }
    for mut packet in word {
        sequence += 1;
        packet.sequence = sequence;
        sent.push(packet);
    }
    let mut listening = Listening::new();
    listening.play(sent, 4_200.0);
    let counters = listening.voice.counters();
    assert_eq!((counters.lost, counters.late, counters.broken), (0, 0, 0));
    assert!(counters.concealed_pairs < 48 * 160, "the end only: {counters:?}");
    assert!(silent(listening.part(1_200, 3_090)));
    assert!((amplitude(listening.part(3_150, 4_050), 440.0) - 0.5).abs() < 0.005);
    assert_eq!(listening.pulled[80].level, 127);
}

#[test]
fn a_voice_that_breaks_off_fades_and_comes_back() {
    let mut sent = tone(31 << 3, 0.0, 4_000.0, true);
    sent.retain(|packet| !(1_000.0..2_000.0).contains(&packet.arrival_ms));
    let mut listening = Listening::new();
    listening.play(sent, 4_000.0);
    let counters = listening.voice.counters();
    assert_eq!((counters.lost, counters.late), (50, 0), "{counters:?}");
    assert!(silent(listening.part(1_250, 1_990)), "gone after a tenth of a second");
    assert!(step(&listening.heard) < STEP);
    assert!((amplitude(listening.part(2_200, 3_900), 440.0) - 0.5).abs() < 0.001);
}

#[test]
fn muting_is_heard_within_a_block_and_ends_without_a_click() {
    let mut listening = Listening::new();
    let sent = tone(31 << 3, 0.0, 4_000.0, false);
    let (before, mut after) = (sent.clone(), sent);
    after.retain(|packet| packet.arrival_ms > 2_000.0);
    listening.play(before, 1_000.0);
    listening.voice.silence();
    assert_eq!(listening.voice.buffered(), 0);
    listening.play(vec![], 2_000.0);
    assert!(!silent(listening.part(1_000, 1_005)) && silent(listening.part(1_020, 2_000)));
    // unmuted
    listening.play(after, 3_000.0);
    assert!(silent(listening.part(2_000, 2_050)));
    assert!((amplitude(listening.part(2_200, 2_900), 440.0) - 0.5).abs() < 0.001);
    assert!(step(&listening.heard) < STEP, "{}", step(&listening.heard));
    assert_eq!(listening.voice.counters().lost, 0, "what is muted is not lost");
}

#[test]
fn volume_changes_within_15_ms_without_a_step() {
    let mut listening = Listening::new();
    let sent = tone(31 << 3, 0.0, 4_000.0, false);
    let mut sent = sent.into_iter().peekable();
    for (volume, until_ms) in [(1.0, 1_000.0), (0.0, 2_000.0), (1.5, 3_000.0), (f32::NAN, 3_900.0)] {
        listening.voice.set_volume(volume);
        let mut part = vec![];
        while let Some(packet) = sent.next_if(|packet| packet.arrival_ms <= until_ms) {
            part.push(packet);
        }
        listening.play(part, until_ms);
    }
    assert!(silent(listening.part(1_016, 2_000)));
    assert_eq!(listening.pulled[75].level, 9, "the level is the voice's own");
    assert!((amplitude(listening.part(2_100, 3_900), 440.0) - 0.75).abs() < 0.001);
    assert!(step(&listening.heard) < 0.05, "{}", step(&listening.heard));
}

#[test]
fn a_source_that_starts_anew_is_heard() {
    let mut listening = Listening::new();
    listening.play(tone(31 << 3, 0.0, 1_000.0, false), 1_000.0);
    let mut again = tone(31 << 3, 1_000.0, 2_000.0, false);
    for (packet, sequence) in again.iter_mut().zip(5..) {
        packet.sequence = sequence;
    }
    listening.play(again, 1_900.0);
    assert!((amplitude(listening.part(1_200, 1_900), 440.0) - 0.5).abs() < 0.001);
    assert_eq!(listening.voice.counters().late, 0);
}

/// A decoder at its worst.
struct Hostile(Random);

impl AudioDecoder for Hostile {
    fn decode(&mut self, _: &[u8], samples: &mut [f32]) -> Option<usize> {
        let dice = self.0.next();
        samples[0] = if dice < 0.1 { f32::NAN } else { 1e30 };
        match dice {
            0.2..0.4 => None,
            0.4..0.5 => Some(usize::MAX),
            0.5..0.6 => Some(0),
            _ => Some((dice * 5760.0) as usize),
        }
    }

    fn recover(&mut self, _: &[u8], _: &mut [f32], _: usize) -> Option<usize> {
        (self.0.next() < 0.5).then_some(usize::MAX)
    }

    fn conceal(&mut self, _: &mut [f32], pairs: usize) -> usize {
        if self.0.next() < 0.5 {
            0
        } else {
            pairs.saturating_mul(3)
        }
    }
}

#[test]
fn hostile_packets_and_decoders_are_survived() {
    for seed in 1..20 {
        let mut random = Random(seed);
        let mut listening = Listening::with(Box::new(Hostile(Random(seed))));
        for round in 0..2_000u32 {
            let wild = random.next() < 0.05;
            let mut number = |limit: f64| (random.next() * limit) as u64;
            let sequence = if wild {
                number(1e19)
            } else {
                u64::from(round) + number(20.0)
            };
            let timestamp = if wild { number(4e9) as u32 } else { round * 960 };
            let payload: Vec<u8> = (0..number(40.0)).map(|_| number(256.0) as u8).collect();
            let due_ms = if wild {
                number(1e6) as f64
            } else {
                f64::from(round) * 20.0 + number(200.0) as f64
            };
            let due = listening.at(due_ms);
            listening.voice.handle_packet(sequence, timestamp, &payload, due);
            if number(100.0) == 0 {
                listening.voice.silence();
            }
            listening.pull();
            assert!(listening.heard.iter().all(|sample| sample.is_finite()));
            listening.heard.clear();
        }
        assert!(listening.voice.counters().broken > 100);
    }
}

#[test]
fn with_its_timeline_a_jittering_drifting_voice_is_heard_whole() {
    for (seed, drift, loss) in [(1, 100e-6, 0.0), (2, -100e-6, 0.0), (3, 100e-6, 0.02)] {
        let mut random = Random(seed);
        let mut listening = Listening::new();
        let (clock, start) = (NtpClock::new(listening.start, 1 << 60), listening.start);
        let mut timeline = Timeline::new(clock, start);
        let mut sent = tone(31 << 3, 0.0, 60_000.0, true);
        sent.retain(|_| random.next() >= loss);
        for packet in &mut sent {
            // a crystal that is off, and up to 30 ms of jitter
            let captured_ms = (packet.arrival_ms - 40.0) / (1.0 + drift);
            packet.due_ms = captured_ms;
            packet.arrival_ms = captured_ms + 40.0 - 10.0 * (1.0 - random.next()).ln().max(-3.0);
        }
        sent.sort_by(|one, other| one.arrival_ms.total_cmp(&other.arrival_ms));
        for (packet, index) in sent.iter_mut().zip(0u32..) {
            let arrival = listening.at(packet.arrival_ms);
            if index % 250 == 0 {
                let captured = ntp_duration(Duration::from_secs_f64(packet.due_ms / 1000.0));
                timeline.handle_clock(Track::Audio, (1 << 60) + captured, packet.timestamp, arrival);
            }
            timeline.handle_arrival(Track::Audio, packet.timestamp, arrival);
            let due = timeline.due(Track::Audio, packet.timestamp).expect("it arrived");
            packet.due_ms = due.duration_since(start).as_secs_f64() * 1000.0;
        }
        let count = sent.len() as u64;
        listening.play(sent, 59_000.0);
        let counters = listening.voice.counters();
        let missing = count - counters.decoded;
        assert!(missing < 60 + count / 50 && counters.late <= count / 50, "{counters:?}");
        assert!(loss > 0.0 || counters.lost < count / 100, "{counters:?}");
        assert!(counters.spliced < 30, "{counters:?}");
        assert!(listening.deepest < 15, "{}", listening.deepest);
        assert!(step(&listening.heard) < STEP, "{}", step(&listening.heard));
    }
}

/// 20 ms blocks of a tone, block after block.
fn tone_block(hertz: f32, amplitude: f32, block: usize) -> Block {
    let mut samples = [0.0; 2 * PAIRS];
    for (pair, index) in samples.chunks_exact_mut(2).zip(0..) {
        let at = (block * PAIRS + index) % 48_000;
        pair.fill(amplitude * (at as f32 / 48_000.0 * hertz * TAU).sin());
    }
    samples
}

#[test]
fn ten_voices_at_full_scale_stay_within_it_and_are_all_heard() {
    let mut mixer = Mixer::new();
    let mut heard = vec![];
    for block in 0..200 {
        let blocks: Vec<Block> = (1..=10u8)
            .map(|seat| tone_block(100.0 * f32::from(seat), 1.0, block))
            .collect();
        let blocks: Vec<(SeatIndex, &Block)> = (1..=10).map(SeatIndex).zip(&blocks).collect();
        let mut out = [9.0; 2 * PAIRS];
        mixer.mix(&blocks, &mut out);
        heard.extend(out.chunks_exact(2).map(|pair| pair[0]));
    }
    assert!(heard.iter().all(|sample| sample.abs() <= 1.0));
    for seat in 1..=10 {
        let level = amplitude(&heard[48_000..96_000], 100.0 * f64::from(seat));
        assert!((0.08..0.2).contains(&level), "{seat} {level}");
    }
}

/// What a seat hears of the last block, the left side; `whole`: the whole mix.
fn left<'m>(mixer: &'m Mixer, seat: u8, whole: &'m Block) -> impl Iterator<Item = f32> + 'm {
    let block = match mixer.hears(SeatIndex(seat)) {
        Hears::Own(block) => block,
        Hears::Shared => mixer.common().unwrap_or(whole),
    };
    block.chunks_exact(2).map(|pair| pair[0])
}

/// Three seats, of which 1 and 2 listen; 1 speaks from block 50 to 100.
#[test]
fn a_mix_minus_holds_all_but_ones_own() {
    let mut mixer = Mixer::new();
    mixer.listen(&[1, 2].map(SeatIndex));
    let (mut first, mut second) = (vec![], vec![]);
    let mut apart = vec![];
    for block in 0..200 {
        let speaks = if (50..100).contains(&block) { 0.5 } else { 0.0 };
        let own = tone_block(300.0, speaks, block);
        let screen = tone_block(500.0, speaks / 2.0, block);
        let others = [tone_block(400.0, 0.2, block), tone_block(700.0, 0.2, block)];
        let blocks = [
            (SeatIndex(1), &own),
            (SeatIndex(1), &screen),
            (SeatIndex(2), &others[0]),
            (SeatIndex(3), &others[1]),
        ];
        let mut out = [0.0; 2 * PAIRS];
        mixer.mix(&blocks, &mut out);
        apart.push(mixer.hears(SeatIndex(1)) != Hears::Shared);
        assert!(mixer.hears(SeatIndex(2)) != Hears::Shared);
        assert_eq!((mixer.hears(SeatIndex(3)), mixer.common()), (Hears::Shared, None));
        first.extend(left(&mixer, 1, &out));
        second.extend(left(&mixer, 2, &out));
    }
    let while_speaking = 48 * 20 * 52..48 * 20 * 98;
    let levels =
        |heard: &[f32]| [300.0, 500.0, 400.0, 700.0].map(|hertz| amplitude(&heard[while_speaking.clone()], hertz));
    let [own, screen, second_voice, third] = levels(&first);
    assert!(own < 0.001 && screen < 0.001, "{own} {screen}");
    assert!(
        (second_voice - 0.2).abs() < 0.002 && (third - 0.2).abs() < 0.002,
        "{second_voice} {third}"
    );
    let [first_voice, screen, own, _] = levels(&second);
    assert!(
        first_voice > 0.45 && screen > 0.2 && own < 0.001,
        "{first_voice} {screen} {own}"
    );
    // 400 and 700 Hz at 0.2 step by 0.029 at most
    assert!(step(&first) < 0.031, "no click on going over: {}", step(&first));
    assert!(apart[..50].iter().all(|apart| !apart) && apart[50..125].iter().all(|apart| *apart));
    assert!(
        apart[165..].iter().all(|apart| !apart),
        "shares again once the whole mix is loud as before"
    );
    // who goes hears nothing of the own voice to the end of the last block
    let mut out = [0.0; 2 * PAIRS];
    mixer.mix(&[(SeatIndex(2), &tone_block(400.0, 0.2, 0))], &mut out);
    mixer.listen(&[]);
    mixer.mix(&[], &mut out);
    assert!(peak(&out) > 0.1 && matches!(mixer.hears(SeatIndex(2)), Hears::Own(block) if peak(block) < 1e-6));
    mixer.mix(&[], &mut out);
    assert_eq!((mixer.hears(SeatIndex(2)), peak(&out)), (Hears::Shared, 0.0));
}

#[test]
fn going_over_to_the_shared_mix_waits_for_its_limiter() {
    let mut mixer = Mixer::new();
    mixer.listen(&[SeatIndex(1)]);
    let mut heard = vec![];
    for block in 0..300 {
        // the own voice drives the whole mix far into its limiter; the other one alone would not
        let own = tone_block(300.0, if (50..100).contains(&block) { 4.0 } else { 0.0 }, block);
        let other = tone_block(400.0, 0.5, block);
        let mut out = [0.0; 2 * PAIRS];
        mixer.mix(&[(SeatIndex(1), &own), (SeatIndex(2), &other)], &mut out);
        heard.extend(left(&mixer, 1, &out));
    }
    assert!(step(&heard[480..]) < 0.028, "{}", step(&heard));
    for second in [0, 1, 2, 4] {
        let level = amplitude(&heard[48_000 * second + 4_800..48_000 * (second + 1)], 400.0);
        assert!((level - 0.5).abs() < 0.002, "{second} {level}");
    }
}

/// Seats 0 to 5 listen; 0 to 4 speak from block 50 to 150, 4 the loudest by far from block 90 on; 6 speaks all the time.
#[test]
fn where_five_speak_at_once_four_are_heard_and_nobody_hears_themself() {
    let mut mixer = Mixer::new();
    mixer.listen(&[0, 1, 2, 3, 4, 5].map(SeatIndex));
    let mut heard: [Vec<f32>; 6] = Default::default();
    let mut shares = vec![];
    for block in 0..260usize {
        let level = |seat: u8| match (seat, block) {
            (6, _) => 0.1,
            (4, 50..90) => 0.02,
            (4, 90..150) => 0.2,
            (_, 50..150) => 0.05,
            _ => 0.0,
        };
        let voices: Vec<Block> = (0..7)
            .map(|seat| tone_block(300.0 + 100.0 * f32::from(seat), level(seat), block))
            .collect();
        let blocks: Vec<(SeatIndex, &Block)> = (0..7).map(SeatIndex).zip(&voices).collect();
        let mut out = [0.0; 2 * PAIRS];
        mixer.mix(&blocks, &mut out);
        for (seat, heard) in (0..6).zip(&mut heard) {
            heard.extend(left(&mixer, seat, &out));
        }
        shares.push(mixer.common().is_none());
    }
    assert!(shares[..50].iter().all(|whole| *whole) && shares[50..150].iter().all(|whole| !whole));
    assert!(shares[200..].iter().all(|whole| *whole), "one mix for all again");
    let levels = |seat: usize, blocks: std::ops::Range<usize>| -> Vec<f64> {
        let part = &heard[seat][blocks.start * PAIRS..blocks.end * PAIRS];
        (0..7)
            .map(|of| amplitude(part, 300.0 + 100.0 * f64::from(of)))
            .collect()
    };
    // 4 is hushed at first, then 0, the first of those who are equally loud
    for (blocks, hushed) in [(55..85, 4), (100..145, 0)] {
        for listener in 0..6 {
            for (of, level) in levels(listener, blocks.clone()).into_iter().enumerate() {
                let is_heard = of != listener && of != hushed && of != 5;
                assert_eq!(level > 0.015, is_heard, "{of} for {listener} in {blocks:?}: {level}");
                assert!(is_heard || level < 0.0015, "{of} for {listener} in {blocks:?}: {level}");
            }
        }
    }
    // nothing steps more than these tones do together: each by its level times its angle per sample, 4 the most
    for (seat, heard) in heard.iter().enumerate() {
        assert!(step(heard) < 0.042, "{seat}: {}", step(heard));
    }
}
