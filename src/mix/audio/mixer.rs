//! The sum of all voices, and for each listening seat the sum without its own.

use super::limiter::Limiter;
use super::{Block, PAIRS, peak};
use crate::forward::SeatIndex;
use std::time::Duration;

/// A block below this contributes nothing that its speaker could hear come back: 60 dB below full scale.
const QUIET: f32 = 0.001;
/// Blocks a listener keeps a mix apart after having been heard: half a second, the pauses in speech. Going over between two
/// encodings costs the listener's decoder a little each time.
const APART_BLOCKS: u32 = 25;
/// Gains that differ by less are one: the step is below [`QUIET`].
const GAIN_STEP: f32 = 0.001;

/// One for each program; one limiter, and one more for each listener who speaks. Doesn't allocate but in
/// [`listen`](Self::listen).
#[derive(Debug)]
pub struct Mixer {
    sum: Box<Block>,
    limiter: Limiter,
    /// By seat.
    listeners: Vec<Listener>,
}

/// Somebody who hears the program without the own voice.
#[derive(Debug)]
struct Listener {
    seat: SeatIndex,
    limiter: Limiter,
    out: Box<Block>,
    /// Has a mix apart, since the own voice was heard so many blocks ago.
    apart: Option<u32>,
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
            listeners: vec![],
        }
    }

    /// From the next block on there is a mix without this seat's voice. A second call changes nothing.
    pub fn listen(&mut self, seat: SeatIndex) {
        if let Err(index) = self.listeners.binary_search_by_key(&seat, |listener| listener.seat) {
            let listener = Listener {
                seat,
                limiter: Limiter::new(),
                out: Box::new([0.0; 2 * PAIRS]),
                apart: None,
            };
            self.listeners.insert(index, listener);
        }
    }

    /// Nobody listens to the mix without this seat's voice any more.
    pub fn unlisten(&mut self, seat: SeatIndex) {
        self.listeners.retain(|listener| listener.seat != seat);
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
        for listener in &mut self.listeners {
            listener.mix(blocks, &self.sum, &self.limiter);
        }
        self.limiter.process(&self.sum, out);
    }

    /// The last block without this seat's voice. `None`: the seat contributed nothing to it, the whole mix is what it
    /// hears.
    pub fn minus(&self, seat: SeatIndex) -> Option<&Block> {
        let listener = self.listeners.iter().find(|listener| listener.seat == seat)?;
        listener.apart.map(|_| &*listener.out)
    }
}

impl Listener {
    /// `limiter`: the whole mix's, before this block.
    fn mix(&mut self, blocks: &[(SeatIndex, &Block)], sum: &Block, limiter: &Limiter) {
        let own = || {
            blocks
                .iter()
                .filter(|(seat, _)| *seat == self.seat)
                .map(|(_, block)| *block)
        };
        let heard = own().any(|block| peak(block) > QUIET);
        match &mut self.apart {
            Some(since) if heard => *since = 0,
            None if heard => {
                // so far the listener heard the whole mix: go on from there
                self.limiter = limiter.clone();
                self.apart = Some(0);
            }
            Some(since) if *since >= APART_BLOCKS && (limiter.gain() - self.limiter.gain()).abs() <= GAIN_STEP => {
                self.apart = None;
                return;
            }
            Some(since) => *since = since.saturating_add(1),
            None => return,
        }
        let mut others = *sum;
        for block in own() {
            others
                .iter_mut()
                .zip(block)
                .for_each(|(others, sample)| *others -= sample);
        }
        self.limiter.process(&others, &mut self.out);
    }
}
