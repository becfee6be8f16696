//! Keeps a sum within full scale, without being heard to.

use super::{Block, peak};

/// Samples of a segment: 5 ms of stereo. The gain goes straight from one segment's end to the next's, so that is how fast it
/// falls, and how much is known before it has to.
const SEGMENT: usize = 480;
/// A quarter of a decibel below full scale: resampling and encoding downstream overshoot a little.
const CEILING: f32 = 0.97;
/// How much of what is missing to 1 the gain gets back per segment: a time constant of 200 ms, below the rate of syllables.
const RELEASE: f32 = 0.025;
/// Less than this is not missing.
const RELEASED: f32 = 0.9995;

/// Look-ahead of one segment: the output is the input 5 ms ago, times the gain.
#[derive(Clone, Debug)]
pub(super) struct Limiter {
    /// The last segment, not yet out.
    held: [f32; SEGMENT],
    /// What the held segment's peak allows.
    allowed: f32,
    /// The gain at the held segment's beginning, no more than is allowed there.
    gain: f32,
}

impl Limiter {
    pub(super) const DELAY_MS: u64 = 5;

    pub(super) fn new() -> Self {
        Limiter {
            held: [0.0; SEGMENT],
            allowed: 1.0,
            gain: 1.0,
        }
    }

    pub(super) fn gain(&self) -> f32 {
        self.gain
    }

    pub(super) fn process(&mut self, input: &Block, out: &mut Block) {
        let (segments, _) = input.as_chunks::<SEGMENT>();
        let (outputs, _) = out.as_chunks_mut::<SEGMENT>();
        for (segment, output) in segments.iter().zip(outputs) {
            let loudest = peak(segment);
            let allowed = if loudest > CEILING { CEILING / loudest } else { 1.0 };
            let released = self.gain + (1.0 - self.gain) * RELEASE;
            let released = if released > RELEASED { 1.0 } else { released };
            let next = released.min(self.allowed).min(allowed);
            if self.gain == 1.0 && next == 1.0 {
                *output = self.held;
            } else {
                let step = (next - self.gain) * (2.0 / SEGMENT as f32);
                for ((output, held), index) in output.iter_mut().zip(&self.held).zip(0u16..) {
                    let gained = held * (self.gain + f32::from(index / 2) * step);
                    // rounding alone could pass
                    *output = gained.clamp(-1.0, 1.0);
                }
            }
            self.held = *segment;
            self.allowed = allowed;
            self.gain = next;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mix::audio::PAIRS;

    /// Blocks of a sine with an amplitude for each moment.
    fn run(blocks: usize, amplitude: impl Fn(usize) -> f32) -> (Vec<f32>, Vec<f32>) {
        let mut limiter = Limiter::new();
        let (mut fed, mut got) = (vec![], vec![]);
        for block in 0..blocks {
            let mut input = [0.0; 2 * PAIRS];
            for (index, pair) in input.chunks_exact_mut(2).enumerate() {
                let at = block * PAIRS + index;
                let sample = amplitude(at) * (at as f32 * 0.05).sin();
                pair.fill(sample);
            }
            let mut out = [0.0; 2 * PAIRS];
            limiter.process(&input, &mut out);
            fed.extend_from_slice(&input);
            got.extend_from_slice(&out);
        }
        (fed, got)
    }

    #[test]
    fn what_fits_comes_out_as_it_went_in() {
        let (fed, got) = run(10, |_| 0.9);
        assert_eq!(got[SEGMENT..], fed[..fed.len() - SEGMENT]);
    }

    #[test]
    fn nothing_passes_full_scale_and_no_step_is_heard() {
        // ten times full scale from one sample to the next, and back
        let (fed, got) = run(200, |at| if (20_000..60_000).contains(&at) { 10.0 } else { 0.5 });
        assert!(got.iter().all(|sample| sample.abs() <= CEILING + 1e-6));
        let delayed = &fed[..fed.len() - SEGMENT];
        let gains = delayed.iter().zip(&got[SEGMENT..]).filter(|(fed, _)| fed.abs() > 0.05);
        let gains: Vec<f32> = gains.map(|(fed, got)| got / fed).collect();
        for pair in gains.windows(2) {
            assert!((pair[1] - pair[0]).abs() < 0.02, "{pair:?}");
        }
        assert_eq!(gains.last(), Some(&1.0), "released");
    }
}
