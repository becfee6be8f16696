//! Decoded sound on its way out: a queue of sample pairs that is read a little faster or slower than it was written.

use super::packets::DURATION_MAX;
use super::{Block, PAIRS};

/// Pairs the interpolation looks back and ahead.
const BACK: usize = 1;
const AHEAD: usize = 3;
/// Room for pairs: what a block leaves, and on top of it the longest packet with the end of a concealment that it is
/// blended into.
const ROOM: usize = 8192;
const _: () = assert!(ROOM > BACK + 2 * PAIRS + DURATION_MAX as usize + super::voice::SPLICE);

/// Interleaved stereo; one allocation for good.
#[derive(Debug)]
pub(super) struct Pcm {
    samples: Box<[f32]>,
    /// In pairs. The pair before `read` is kept for the interpolation.
    read: usize,
    end: usize,
    /// Behind this, only silence was written.
    sound_end: usize,
    /// Where between the pair at `read` and the next the next output lies, 0..1.
    fraction: f64,
}

impl Pcm {
    pub(super) fn new() -> Self {
        Pcm {
            samples: vec![0.0; 2 * ROOM].into_boxed_slice(),
            read: BACK,
            end: BACK,
            sound_end: 0,
            fraction: 0.0,
        }
    }

    /// Pairs not yet played.
    pub(super) fn ahead(&self) -> f64 {
        (self.end - self.read) as f64 - self.fraction
    }

    /// Whole pairs not yet played.
    pub(super) fn len(&self) -> usize {
        self.end - self.read
    }

    /// Nothing but silence is left.
    pub(super) fn silent(&self) -> bool {
        self.sound_end + BACK <= self.read
    }

    /// Pairs there must be for [`read`](Self::read).
    pub(super) fn needed(&self, ratio: f64) -> usize {
        (self.fraction + PAIRS as f64 * ratio).ceil() as usize + AHEAD
    }

    pub(super) fn clear(&mut self) {
        self.samples[..2 * BACK].fill(0.0);
        (self.read, self.end, self.sound_end, self.fraction) = (BACK, BACK, 0, 0.0);
    }

    /// Room behind the end, for at least the longest packet and a splice.
    pub(super) fn room(&mut self) -> &mut [f32] {
        if self.read > BACK {
            let kept = self.read - BACK;
            self.samples.copy_within(2 * kept..2 * self.end, 0);
            self.read = BACK;
            self.end -= kept;
            self.sound_end = self.sound_end.saturating_sub(kept);
        }
        &mut self.samples[2 * self.end..]
    }

    /// The first `pairs` of the room now count.
    pub(super) fn commit(&mut self, pairs: usize) {
        self.end = (self.end + pairs).min(ROOM);
        self.sound_end = self.end;
    }

    pub(super) fn commit_silence(&mut self, pairs: usize) {
        let room = self.room();
        let pairs = pairs.min(room.len() / 2);
        room[..2 * pairs].fill(0.0);
        self.end += pairs;
    }

    /// Cuts everything from `pairs` on, and fades what is left to silence.
    pub(super) fn fade_out(&mut self, pairs: usize) {
        self.end = self.end.min(self.read + pairs);
        self.sound_end = self.sound_end.min(self.end);
        let left = (self.end - self.read) as f32;
        for (pair, index) in self.samples[2 * self.read..2 * self.end]
            .chunks_exact_mut(2)
            .zip(1u16..)
        {
            let gain = 1.0 - f32::from(index) / left;
            pair.iter_mut().for_each(|sample| *sample *= gain);
        }
    }

    /// The next block, read at `ratio` input pairs per output pair: 1, or up to a few percent off. There must be
    /// [`needed`](Self::needed) pairs.
    pub(super) fn read(&mut self, out: &mut Block, ratio: f64) {
        debug_assert!(self.len() >= self.needed(ratio));
        let (step, mut position, mut written) = (ratio - 1.0, self.fraction, 0);
        while written < PAIRS {
            let whole = position as usize;
            let fraction = position - whole as f64;
            // as long as the fraction stays in 0..1, output follows input pair by pair, which vectors can do
            let run = if step > 0.0 {
                ((1.0 - fraction) / step).ceil()
            } else if step < 0.0 {
                (fraction / -step).floor() + 1.0
            } else {
                PAIRS as f64
            };
            let run = (run.max(1.0) as usize).min(PAIRS - written);
            let from = 2 * (self.read - BACK + whole);
            let input = &self.samples[from..from + 2 * (run + AHEAD)];
            let output = &mut out[2 * written..2 * (written + run)];
            if step == 0.0 && fraction == 0.0 {
                output.copy_from_slice(&input[2 * BACK..2 * (BACK + run)]);
            } else {
                interpolate(input, output, fraction as f32, step as f32);
            }
            position += run as f64 * ratio;
            written += run;
        }
        let whole = position as usize;
        self.read = (self.read + whole).min(self.end);
        self.fraction = position - whole as f64;
    }
}

/// Cubic (Catmull-Rom) interpolation between the second and third of four neighbouring pairs, at a fraction that grows by
/// `step` from pair to pair. `input` is three pairs longer than `output`. Written so that the compiler uses vector
/// registers: one loop over neighbours of one length, its counter as wide as a sample.
fn interpolate(input: &[f32], output: &mut [f32], fraction: f32, step: f32) {
    let neighbours = |pairs: usize| input.get(2 * pairs..).unwrap_or(&[]).iter();
    let neighbours = neighbours(0).zip(neighbours(1)).zip(neighbours(2)).zip(neighbours(3));
    for ((sample, index), (((before, at), next), after)) in output.iter_mut().zip(0i32..).zip(neighbours) {
        let x = fraction + (index >> 1) as f32 * step;
        *sample = between([*before, *at, *next, *after], x);
    }
}

#[inline]
fn between([before, at, next, after]: [f32; 4], x: f32) -> f32 {
    let c1 = 0.5 * (next - before);
    let c2 = before - 2.5 * at + 2.0 * next - 0.5 * after;
    let c3 = 0.5 * (after - before) + 1.5 * (at - next);
    ((c3 * x + c2) * x + c1) * x + at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write_ramp(pcm: &mut Pcm, from: f32, pairs: usize) {
        let room = pcm.room();
        for (pair, index) in room.chunks_exact_mut(2).take(pairs).zip(0u16..) {
            pair[0] = from + f32::from(index);
            pair[1] = -pair[0];
        }
        pcm.commit(pairs);
    }

    #[test]
    fn what_is_read_lies_on_the_line_that_was_written() {
        for ratio in [1.0, 1.0001, 1.01, 0.99, 0.999_99] {
            let mut pcm = Pcm::new();
            let (mut written, mut expected) = (0.0f64, 0.0f64);
            for block in 0..40 {
                while pcm.len() < pcm.needed(ratio) {
                    write_ramp(&mut pcm, written as f32, 480);
                    written += 480.0;
                }
                let mut out = [0.0; 2 * PAIRS];
                pcm.read(&mut out, ratio);
                for pair in out.chunks_exact(2) {
                    // the first pair's neighbour is the silence before
                    let near = block == 0 && expected < 2.0;
                    assert!(
                        near || (f64::from(pair[0]) - expected).abs() < 0.02,
                        "{ratio} {pair:?} {expected}"
                    );
                    assert!(near || pair[1] == -pair[0]);
                    expected += ratio;
                }
            }
            assert!((written - expected - pcm.ahead()).abs() < 1e-6);
        }
    }

    #[test]
    fn silence_is_known_and_fades_end_in_it() {
        let mut pcm = Pcm::new();
        assert!(pcm.silent());
        write_ramp(&mut pcm, 1000.0, 480);
        pcm.commit_silence(1000);
        assert!(!pcm.silent());
        let mut out = [0.0; 2 * PAIRS];
        pcm.read(&mut out, 1.0);
        assert!(pcm.silent() && out[2 * 480..].iter().all(|sample| *sample == 0.0));
        pcm.clear();
        write_ramp(&mut pcm, 1000.0, 700);
        pcm.fade_out(480);
        assert_eq!(pcm.len(), 480);
        pcm.commit_silence(1000);
        pcm.read(&mut out, 1.0);
        assert!(out[0] > 990.0 && out[2 * 478] < 10.0);
        assert_eq!(out[2 * 479..], [0.0; 2 * 481]);
    }
}
