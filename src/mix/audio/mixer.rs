//! The sum of all voices, and the sums that listeners hear without their own.

use super::apart::{Apart, Gain};
use super::limiter::Limiter;
use super::{Block, PAIRS, peak};
use crate::forward::SeatIndex;
use std::time::Duration;

/// Gains that differ by less are one: 60 dB below full scale.
const GAIN_STEP: f32 = 0.001;

/// What a seat hears of a program without its own voice.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Hears<'m> {
    /// The [common](Mixer::common) mix.
    Shared,
    /// One that nobody else hears.
    Own(&'m Block),
}

/// One for each program; one limiter, and one more for each mix that listeners need. Doesn't allocate while as many talk as
/// before.
#[derive(Debug)]
pub struct Mixer {
    sum: Box<Block>,
    limiter: Limiter,
    apart: Apart,
    /// The sum without the voices of the hushed.
    base: Box<Block>,
    /// What listeners without a mix of their own hear, while it is not the whole one.
    common: Option<Mix>,
    own: Vec<(SeatIndex, Mix)>,
    spare: Vec<Mix>,
}

#[derive(Debug)]
struct Mix {
    limiter: Limiter,
    out: Box<Block>,
}

impl Default for Mixer {
    fn default() -> Self {
        Self::new()
    }
}

impl Mixer {
    /// What comes out is what went in so much earlier: the limiter's look-ahead.
    pub const DELAY: Duration = Duration::from_millis(Limiter::DELAY_MS);

    pub fn new() -> Self {
        Mixer {
            sum: Box::new([0.0; 2 * PAIRS]),
            limiter: Limiter::new(),
            apart: Apart::default(),
            base: Box::new([0.0; 2 * PAIRS]),
            common: None,
            own: vec![],
            spare: vec![],
        }
    }

    /// From the next block on these seats hear mixes without their voices, and no others. Twice equals once.
    pub fn listen(&mut self, seats: &[SeatIndex]) {
        self.apart.listen(seats);
    }

    /// One block of every voice, at its volume; a seat may have several. Silent voices may be left out. `out` is the whole
    /// mix, within -1.0..=1.0.
    pub fn mix(&mut self, blocks: &[(SeatIndex, &Block)], out: &mut Block) {
        self.sum.fill(0.0);
        for (_, block) in blocks {
            self.sum
                .iter_mut()
                .zip(block.iter())
                .for_each(|(sum, sample)| *sum += sample);
        }
        if !self.apart.is_empty() {
            self.mix_apart(blocks);
        }
        self.limiter.process(&self.sum, out);
    }

    /// What the listening seat hears of the last block.
    pub fn hears(&self, seat: SeatIndex) -> Hears<'_> {
        let own = self.own.iter().find(|(of, _)| *of == seat);
        own.map_or(Hears::Shared, |(_, mix)| Hears::Own(&mix.out))
    }

    /// The last block of what listeners share. `None`: it is the whole mix.
    pub fn common(&self) -> Option<&Block> {
        self.common.as_ref().map(|mix| &*mix.out)
    }

    /// The mixes of listeners; the whole one's limiter has not had this block yet.
    fn mix_apart(&mut self, blocks: &[(SeatIndex, &Block)]) {
        let of = |seat: SeatIndex| {
            let own = blocks.iter().filter(move |(of, _)| *of == seat);
            own.map(|(_, block)| *block)
        };
        // a mix that begins goes on from what was heard so far
        let shared = self.common.as_ref().map_or(&self.limiter, |mix| &mix.limiter).clone();
        let gained = |seat: SeatIndex| {
            let own = self.own.iter().find(|(of, _)| *of == seat);
            own.is_none_or(|(_, mix)| is_near(&mix.limiter, &shared))
        };
        self.apart
            .turn(|seat| of(seat).map(|block| peak(block)).fold(0.0, f32::max), gained);
        let hushes = self.apart.hushes();
        match &self.common {
            None if hushes => self.common = Some(take(&mut self.spare, &shared)),
            Some(mix) if !hushes && is_near(&mix.limiter, &self.limiter) => self.spare.extend(self.common.take()),
            Some(_) | None => {}
        }
        self.base.copy_from_slice(&*self.sum);
        if let Some(mix) = &mut self.common {
            for (seat, block) in blocks {
                let Gain { from, to } = self.apart.gain(*seat);
                let missing = Gain {
                    from: 1.0 - from,
                    to: 1.0 - to,
                };
                subtract(&mut self.base, block, missing);
            }
            mix.limiter.process(&self.base, &mut mix.out);
        }
        let apart = &self.apart;
        let over = self.own.extract_if(.., |(seat, _)| !apart.own().any(|of| of == *seat));
        self.spare.extend(over.map(|(_, mix)| mix));
        for seat in apart.own() {
            if self.own.iter().any(|(of, _)| *of == seat) {
                continue;
            }
            // what the shared one still holds may be their own voice
            let limiter = if apart.begins(seat) { &Limiter::new() } else { &shared };
            self.own.push((seat, take(&mut self.spare, limiter)));
        }
        for (seat, mix) in &mut self.own {
            let mut others = *self.base;
            for block in of(*seat) {
                subtract(&mut others, block, apart.gain(*seat));
            }
            mix.limiter.process(&others, &mut mix.out);
        }
    }
}

fn take(spare: &mut Vec<Mix>, limiter: &Limiter) -> Mix {
    let mut mix = spare.pop().unwrap_or_else(|| Mix {
        limiter: Limiter::new(),
        out: Box::new([0.0; 2 * PAIRS]),
    });
    mix.limiter.clone_from(limiter);
    mix
}

fn is_near(one: &Limiter, other: &Limiter) -> bool {
    (one.gain() - other.gain()).abs() <= GAIN_STEP
}

/// Takes a voice out of a sum, whose gain in it goes straight from the block's beginning to its end.
fn subtract(sum: &mut Block, block: &Block, Gain { from, to }: Gain) {
    let step = (to - from) / PAIRS as f32;
    if step == 0.0 {
        let pairs = sum.iter_mut().zip(block);
        return pairs.for_each(|(sum, sample)| *sum -= from * sample);
    }
    let pairs = sum.chunks_exact_mut(2).zip(block.chunks_exact(2)).zip(0u16..);
    for ((sum, pair), index) in pairs {
        let gain = from + f32::from(index) * step;
        sum.iter_mut().zip(pair).for_each(|(sum, sample)| *sum -= gain * sample);
    }
}
