//! One participant's voice: Opus packets in as they arrive, a block of sound out every 20 ms.
//!
//! Owns the jitter buffer, the decoder and what is decoded but not yet played. Packets carry the time they are due at; the
//! voice plays each within a few milliseconds of it, by reading its decoded sound up to a percent faster or slower. It
//! leaves out or stretches sound only where the due times jump. What is not there when it has to be played is recovered
//! from the next packet's redundancy, or concealed, and fades to silence when nothing comes.

use super::packets::{DURATION_MAX, Held, Packets, Refused};
use super::pcm::Pcm;
use super::{Block, PAIRS, RATE, energy};
use crate::mix::codec::AudioDecoder;
use std::time::Instant;

/// Pairs of the smallest Opus frame: 2.5 ms. Concealment comes in multiples of it.
const FRAME_MIN: i64 = 120;
/// Pairs concealed at a time: 10 ms, so that a packet that comes late is not far from being useful.
const CONCEAL: i64 = 480;
/// Sound that is due so much earlier or later than it would be played is left to resampling; beyond, it is left out or
/// stretched. 20 ms are made up for in 2 s.
const SLIP: i64 = 960;
/// Seconds in which resampling would make up for what a packet is off.
const CATCH_UP_S: f64 = 0.5;
/// Seconds that are left alone: the due times of packets are rounded to their RTP clocks.
const TOLERATED_S: f64 = 0.0001;
/// Resampling by more than this is heard as pitch (17 cents); the timeline slews by no more than 1 %.
const RATIO_MAX: f64 = 0.012;
/// Pairs over which a voice comes in: 10 ms.
const FADE_IN: f32 = 480.0;
/// Pairs that are concealed at full level: 40 ms, longer and it is heard to be made up.
const CONCEAL_FULL: i64 = 1920;
/// The same after a packet that announced silence: senders repeat it every 400 ms.
const COMFORT_FULL: i64 = 28_800;
/// Pairs over which concealment then fades to silence: 100 ms.
const FADE_CONCEALED: f32 = 4800.0;
/// Pairs over which sound that does not follow from what was played is blended in: 5 ms.
pub(super) const SPLICE: usize = 240;
/// Pairs in which a voice is gone: 10 ms.
const FADE_OUT: usize = 480;
/// Pairs over which a change of volume is spread: 15 ms.
const VOLUME_RAMP: f32 = 720.0;
/// Louder than this a volume is no longer meant: 12 dB.
const VOLUME_MAX: f32 = 4.0;
/// A number so far below what was played does not come late: the source was started anew.
const RESTART: u64 = 512;
/// A packet of at most this many bytes says that nothing will be said (RFC 6716 §2.1.9).
const DTX_BYTES: usize = 2;

/// What a block held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pulled {
    /// Anything but zeros: there is something to mix.
    pub sounding: bool,
    /// Before the volume, in decibels below overload: 0 ..= 127 (silent), as in RFC 6464 §3.
    pub level: u8,
}

/// What became of a voice's packets, in packets unless said otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub decoded: u64,
    /// Never came, or too late.
    pub lost: u64,
    /// Of the lost, those the next packet had a copy of.
    pub recovered: u64,
    /// Came when they were past.
    pub late: u64,
    pub duplicate: u64,
    /// Not Opus, or the decoder refused them.
    pub broken: u64,
    /// Pushed out by newer ones before they were due.
    pub overflowed: u64,
    /// Sample pairs made up, silence between words not counted.
    pub concealed_pairs: u64,
    /// Times that sound was left out or stretched, since its due time jumped.
    pub spliced: u64,
}

/// One source's voice. Doesn't allocate once it has seen its longest packets.
pub struct Voice {
    decoder: Box<dyn AudioDecoder>,
    packets: Packets,
    pcm: Pcm,
    /// The number after the last one decoded. `None`: nothing to continue.
    next: Option<u64>,
    /// RTP timestamp of the end of what is in `pcm`.
    position: u32,
    /// Pairs concealed since the last packet.
    concealed: i64,
    /// The last packet announced silence.
    dtx: bool,
    /// What the end of `pcm` was multiplied by: fading in, or out of concealment.
    gain: f32,
    /// How much later than it is played the last packet was due, in seconds.
    error_s: f64,
    volume: f32,
    volume_target: f32,
    /// Per pair.
    volume_step: f32,
    counters: Counters,
}

impl Voice {
    pub fn new(decoder: Box<dyn AudioDecoder>) -> Self {
        Voice {
            decoder,
            packets: Packets::new(),
            pcm: Pcm::new(),
            next: None,
            position: 0,
            concealed: 0,
            dtx: false,
            gain: 0.0,
            error_s: 0.0,
            volume: 1.0,
            volume_target: 1.0,
            volume_step: 0.0,
            counters: Counters::default(),
        }
    }

    /// A packet: its extended sequence number, RTP timestamp and payload, and when its first sample is due (the
    /// [timeline](crate::mix::timeline)'s word at its arrival). In any order.
    pub fn handle_packet(&mut self, sequence: u64, timestamp: u32, payload: &[u8], due: Instant) {
        if let Some(next) = self.next
            && sequence < next
        {
            if sequence.saturating_add(RESTART) >= next {
                self.counters.late += 1;
                return;
            }
            self.silence();
        }
        match self.packets.store(sequence, timestamp, payload, due) {
            Ok(replaced) => self.counters.overflowed += replaced,
            Err(Refused::Duplicate) => self.counters.duplicate += 1,
            Err(Refused::Broken) => self.counters.broken += 1,
            Err(Refused::Old) => self.counters.late += 1,
        }
    }

    /// The block of what is due in `now .. now + 20 ms`. To be called for every 20 ms, in order.
    pub fn pull(&mut self, now: Instant, out: &mut Block) -> Pulled {
        if self.idle(now) {
            self.pcm.clear();
            self.error_s = 0.0;
            self.volume = self.volume_target;
            out.fill(0.0);
            return Pulled::SILENT;
        }
        let beyond = self.error_s - self.error_s.clamp(-TOLERATED_S, TOLERATED_S);
        let ratio = 1.0 - (beyond / CATCH_UP_S).clamp(-RATIO_MAX, RATIO_MAX);
        let needed = self.pcm.needed(ratio);
        while self.pcm.len() < needed {
            self.fill(now, needed);
        }
        self.pcm.read(out, ratio);
        let energy = energy(out);
        if !energy.is_finite() {
            // no packet may make a decoder do that; none shall silence the whole room
            self.counters.broken += 1;
            self.pcm.clear();
            out.fill(0.0);
            return Pulled::SILENT;
        }
        let before = self.volume;
        self.apply_volume(out);
        Pulled {
            sounding: energy > 0.0 && before.max(self.volume) > 0.0,
            level: level(energy),
        }
    }

    /// Factor for the voice's samples, 0..=4; within 15 ms.
    pub fn set_volume(&mut self, volume: f32) {
        if volume.is_finite() {
            self.volume_target = volume.clamp(0.0, VOLUME_MAX);
            self.volume_step = (self.volume_target - self.volume) / VOLUME_RAMP;
        }
    }

    /// Muted or gone: what was heard ends within 10 ms of the next block, what is buffered is forgotten. Packets that
    /// come later begin anew.
    pub fn silence(&mut self) {
        self.packets.clear();
        let fading = self.gain > 0.0 && !self.pcm.silent();
        if fading && self.pcm.len() < FADE_OUT {
            self.conceal(CONCEAL);
        }
        self.pcm.fade_out(FADE_OUT);
        self.next = None;
        self.dtx = false;
        (self.gain, self.error_s) = (0.0, 0.0);
    }

    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Packets that wait.
    pub fn buffered(&self) -> usize {
        self.packets.len()
    }

    /// Nothing is heard, and nothing begins before the block ends.
    fn idle(&self, now: Instant) -> bool {
        if self.gain > 0.0 || !self.pcm.silent() {
            return false;
        }
        let first = self.packets.first();
        first.is_none_or(|first| pairs_between(now, first.due) >= PAIRS as i64)
    }

    /// Adds what comes next to the decoded sound: at least one pair.
    fn fill(&mut self, now: Instant, needed: usize) {
        let missing = (needed - self.pcm.len()) as i64;
        while let Some(packet) = self.packets.first() {
            // how much later than the end of what is decoded
            let wait = pairs_between(now, packet.due) - self.pcm.ahead().round() as i64;
            let duration = i64::from(packet.duration);
            let gap = i64::from(packet.timestamp.wrapping_sub(self.position).cast_signed());
            let follows = self.gain > 0.0 && gap == 0;
            if follows && wait.abs() <= SLIP {
                return self.decode(packet, 0, wait);
            }
            if wait <= -duration {
                self.packets.remove(packet.sequence);
                self.counters.late += 1;
                continue;
            }
            if wait < if self.gain > 0.0 { FRAME_MIN } else { 1 } {
                return self.decode(packet, (-wait).max(0), wait.max(0));
            }
            // sound and time agree on what is missing, but for what resampling is making up for
            let gap = if gap > 0 && (gap - wait).abs() <= SLIP {
                gap
            } else {
                wait
            };
            let lost = self.next.is_some_and(|next| packet.sequence > next);
            if lost && gap < duration + FRAME_MIN && self.recover(packet, gap.min(duration)) {
                return;
            }
            let until = if lost { gap - duration } else { gap };
            return self.bridge(if until > 0 { until } else { gap }, missing);
        }
        self.bridge(missing, missing)
    }

    /// At most `gap` pairs of what is missing, `missing` of which are needed now.
    fn bridge(&mut self, gap: i64, missing: i64) {
        if self.gain > 0.0 {
            let frames = gap.min(CONCEAL) / FRAME_MIN;
            self.conceal(frames.max(1) * FRAME_MIN);
        } else {
            let pairs = gap.min(missing).max(1);
            self.pcm.commit_silence(usize::try_from(pairs).unwrap_or(1));
            self.advance(pairs);
        }
    }

    /// Up to [`CONCEAL`] pairs that go on as before.
    fn conceal(&mut self, pairs: i64) {
        let wanted = usize::try_from(pairs).unwrap_or(0);
        let room = self.pcm.room();
        let wanted = wanted.min(room.len() / 2);
        let made = self.decoder.conceal(&mut room[..2 * wanted], wanted).min(wanted);
        room[2 * made..2 * wanted].fill(0.0);
        self.concealed += pairs;
        let full = if self.dtx { COMFORT_FULL } else { CONCEAL_FULL };
        if self.concealed > full {
            self.gain = fade(&mut room[..2 * wanted], self.gain, -1.0 / FADE_CONCEALED);
        }
        self.pcm.commit(wanted);
        self.advance(pairs);
        if !self.dtx {
            self.counters.concealed_pairs += wanted as u64;
        }
    }

    /// The end of the packet that was lost before this one. `false`: there is no copy.
    fn recover(&mut self, packet: Held, pairs: i64) -> bool {
        let pairs = pairs / FRAME_MIN * FRAME_MIN;
        let Ok(wanted) = usize::try_from(pairs) else {
            return false;
        };
        let payload = self.packets.payload(packet.sequence);
        let room = self.pcm.room();
        let Some(made) = self.decoder.recover(payload, room, wanted) else {
            return false;
        };
        if made == 0 || made > room.len() / 2 {
            return false;
        }
        self.gain = fade(&mut room[..2 * made], self.gain, 1.0 / FADE_IN);
        self.pcm.commit(made);
        self.advance(made as i64);
        self.concealed = 0;
        self.counters.recovered += 1;
        true
    }

    /// Plays a packet but for its first `skipped` pairs, `wait` pairs before it is due. If it does not continue what was
    /// played, it is blended in.
    fn decode(&mut self, packet: Held, skipped: i64, wait: i64) {
        let payload = self.packets.payload(packet.sequence);
        let spliced = self.gain > 0.0 && (skipped > 0 || packet.timestamp != self.position);
        let room = self.pcm.room();
        let mut tail = 0;
        if spliced {
            tail = self.decoder.conceal(&mut room[..2 * SPLICE], SPLICE).min(SPLICE);
            self.counters.spliced += 1;
        }
        let decoded = self.decoder.decode(payload, &mut room[2 * tail..]);
        let decoded = decoded.filter(|pairs| *pairs > 0 && *pairs <= DURATION_MAX as usize);
        let dtx = payload.len() <= DTX_BYTES;
        self.packets.remove(packet.sequence);
        let lost = self.next.map_or(0, |next| packet.sequence.saturating_sub(next));
        self.counters.lost += lost;
        self.next = Some(packet.sequence.saturating_add(1));
        let Some(decoded) = decoded else {
            self.counters.broken += 1;
            return self.bridge(i64::from(packet.duration), i64::from(packet.duration));
        };
        // something is left to blend into, though it be a little late
        let skipped = usize::try_from(skipped)
            .unwrap_or(0)
            .min(decoded.saturating_sub(FRAME_MIN as usize));
        let left = decoded - skipped;
        if tail + skipped > 0 {
            let blended = tail.min(left);
            blend(room, tail, skipped, blended);
            room.copy_within(2 * (tail + skipped + blended)..2 * (tail + decoded), 2 * blended);
        }
        self.gain = fade(&mut room[..2 * left], self.gain, 1.0 / FADE_IN);
        self.pcm.commit(left);
        self.position = packet.timestamp.wrapping_add(u32::try_from(decoded).unwrap_or(0));
        (self.dtx, self.concealed) = (dtx, 0);
        self.counters.decoded += 1;
        self.error_s = wait as f64 / f64::from(RATE);
    }

    fn advance(&mut self, pairs: i64) {
        self.position = self.position.wrapping_add(u32::try_from(pairs).unwrap_or(0));
    }

    fn apply_volume(&mut self, out: &mut Block) {
        if self.volume == self.volume_target {
            if self.volume != 1.0 {
                out.iter_mut().for_each(|sample| *sample *= self.volume);
            }
            return;
        }
        let (from, step, to) = (self.volume, self.volume_step, self.volume_target);
        let (low, high) = (from.min(to), from.max(to));
        for (sample, index) in out.iter_mut().zip(0u16..) {
            *sample *= (from + f32::from(index / 2) * step).clamp(low, high);
        }
        self.volume = (from + PAIRS as f32 * step).clamp(low, high);
    }
}

impl Pulled {
    pub const SILENT: Pulled = Pulled {
        sounding: false,
        level: 127,
    };
}

/// `later − earlier` in sample pairs; negative when the order is the other one.
fn pairs_between(earlier: Instant, later: Instant) -> i64 {
    let pairs = |span: std::time::Duration| (span.as_secs_f64() * f64::from(RATE)).round() as i64;
    match later.checked_duration_since(earlier) {
        Some(ahead) => pairs(ahead),
        None => -pairs(earlier.saturating_duration_since(later)),
    }
}

/// Goes from `gain` towards 0 or 1 by `step` per pair; returns where it got.
fn fade(samples: &mut [f32], gain: f32, step: f32) -> f32 {
    if gain >= 1.0 && step > 0.0 {
        return gain;
    }
    let mut gain = gain;
    for pair in samples.chunks_exact_mut(2) {
        gain = (gain + step).clamp(0.0, 1.0);
        pair.iter_mut().for_each(|sample| *sample *= gain);
    }
    gain
}

/// Goes over from the first `pairs` of `room` to those that lie `tail + skipped` later, in place.
fn blend(room: &mut [f32], tail: usize, skipped: usize, pairs: usize) {
    let Some((old, new)) = room.split_at_mut_checked(2 * tail) else {
        return;
    };
    let new = new.get(2 * skipped..).unwrap_or(&[]);
    for (index, (old, new)) in old.chunks_exact_mut(2).zip(new.chunks_exact(2)).take(pairs).enumerate() {
        let share = (index + 1) as f32 / (pairs + 1) as f32;
        for (old, new) in old.iter_mut().zip(new) {
            *old += (new - *old) * share;
        }
    }
}

/// Decibels below overload of a block's energy: the mean square of a full-scale sine is 3 dB below, as in RFC 6465.
fn level(energy: f32) -> u8 {
    let below = -10.0 * (energy / (2 * PAIRS) as f32).max(1e-13).log10();
    // saturates
    below.round().clamp(0.0, 127.0) as u8
}
