//! The program's sound: packets in, one block every 20 ms out.
//!
//! | per source | [`Voice`]: jitter buffer, decoding, concealment, following the source's clock, volume |
//! |---|---|
//! | per program | [`Mixer`]: the sum without clipping, and what each listening seat hears without its own voice · [`Speakers`]: who speaks |
//!
//! Time base: the due times of the [timeline](super::timeline). A block that is pulled for `now` holds what is due in
//! `now .. now + 20 ms`; pulled when the wall clock reaches its end, everything due in it had its full delay to arrive.
//! The mixer adds [`Mixer::DELAY`].

mod apart;
mod limiter;
mod mixer;
mod packets;
mod pcm;
mod speakers;
mod voice;

pub use apart::OWN_MAX;
pub use mixer::{Hears, Mixer};
pub use packets::packet_pairs;
pub use speakers::Speakers;
pub use voice::{Counters, Pulled, Voice};

/// Sample pairs per second: what Opus decodes to, and its RTP clock (RFC 7587 §4.1).
pub const RATE: u32 = 48_000;
/// Sample pairs of a block: 20 ms, the encoder's packet.
pub const PAIRS: usize = 960;

/// 20 ms of interleaved stereo, full scale is -1.0..=1.0.
pub type Block = [f32; 2 * PAIRS];

/// The largest absolute sample. Written for vector registers: eight maxima side by side.
fn peak(samples: &[f32]) -> f32 {
    let (eights, rest) = samples.as_chunks::<8>();
    let mut peaks = [0.0f32; 8];
    for eight in eights {
        for (peak, sample) in peaks.iter_mut().zip(eight) {
            // not f32::max, whose care for NaN costs the vectors; NaN is no larger
            let sample = sample.abs();
            *peak = if sample > *peak { sample } else { *peak };
        }
    }
    let peak = peaks.into_iter().fold(0.0f32, f32::max);
    rest.iter().fold(peak, |peak, sample| peak.max(sample.abs()))
}

/// The sum of all squares.
fn energy(samples: &[f32]) -> f32 {
    let (eights, rest) = samples.as_chunks::<8>();
    let mut sums = [0.0f32; 8];
    for eight in eights {
        for (sum, sample) in sums.iter_mut().zip(eight) {
            *sum += sample * sample;
        }
    }
    sums.iter().sum::<f32>() + rest.iter().map(|sample| sample * sample).sum::<f32>()
}

#[cfg(test)]
mod tests;
