//! The program's sound: every 20 ms a block of each voice, their sum, and who speaks.

use super::grid::Grid;
use super::input::Input;
use super::minus::Minus;
use crate::forward::{LayerIndex, SeatIndex, SourceId};
use crate::mix::audio::{Block, Mixer, PAIRS, RATE, Speakers};
use crate::mix::codec::{AudioEncoder, opus::OpusEncoder};
use crate::room::ProgramAudio;
use std::collections::BTreeMap;
use std::time::Instant;

/// Blocks of sound that are caught up with at once; more were a stopped machine, and time goes on from now.
const CATCH_UP: u64 = 10;
/// A block is 20 ms.
const BLOCKS_PER_SECOND: u32 = RATE / PAIRS as u32;

pub(super) struct Sound {
    mixer: Mixer,
    pub speakers: Speakers,
    encoder: OpusEncoder,
    minus: Minus,
    /// Beginnings of blocks.
    grid: Grid,
    mixed: Box<Block>,
    /// Of sources that are gone since the last block, to fade out in the next one. As many as have been inputs since.
    leaving: Vec<Input>,
}

/// What became of the blocks that were over.
pub(super) struct Made {
    /// Others speak than before.
    pub others_speak: bool,
    /// Packets that were encoded for listeners without their own voice.
    pub minus: u64,
}

impl Sound {
    /// `None`: no memory for an encoder.
    pub fn new(settings: &ProgramAudio, now: Instant) -> Option<Self> {
        Some(Sound {
            mixer: Mixer::new(),
            speakers: Speakers::default(),
            encoder: encoder(settings)?,
            minus: Minus::new(*settings),
            grid: Grid::new(now, BLOCKS_PER_SECOND),
            mixed: Box::new([0.0; 2 * PAIRS]),
            leaving: Vec::new(),
        })
    }

    pub fn change(&mut self, settings: &ProgramAudio) {
        tune(&mut self.encoder, settings);
        self.minus.change(settings);
    }

    /// From the next block on these seats hear the program without their own voices, and no others. Twice equals once.
    pub fn listen(&mut self, seats: &[SeatIndex]) {
        self.mixer.listen(seats);
        self.minus.listen(seats);
    }

    /// The next block leaves the mixer with what is due at `from`.
    pub fn begin(&mut self, from: Instant) {
        self.grid = Grid::new(from + Mixer::DELAY, BLOCKS_PER_SECOND);
    }

    /// When what the next block brings is due.
    pub fn next(&self) -> Instant {
        // what comes out of the mixer is that much older
        self.grid.next() - Mixer::DELAY
    }

    /// An input that is gone: its voice would click, were it cut off where it is.
    pub fn take_leave(&mut self, mut input: Input) {
        input.end();
        self.leaving.push(input);
    }

    /// The end of the block that is going on.
    pub fn poll_timeout(&self) -> Instant {
        self.grid.behind_next()
    }

    /// Hands `each` the blocks that are over and begin before `until`, encoded, with the times they begin at: what stands in the place of the whole
    /// mix for listeners, by layer, then the whole mix.
    pub fn make(
        &mut self,
        inputs: &mut BTreeMap<SourceId, Input>,
        now: Instant,
        until: Option<Instant>,
        mut each: impl FnMut(LayerIndex, &[u8], Instant),
    ) -> Made {
        // a block is over, and so all that is due in it is here, when the next one begins
        let over = self.grid.due(now).saturating_sub(1);
        self.grid.next += over.saturating_sub(CATCH_UP);
        let mut made = Made {
            others_speak: false,
            minus: 0,
        };
        for _ in 0..over.min(CATCH_UP) {
            let (at, begins) = (self.grid.next(), self.next());
            if until.is_some_and(|until| begins >= until) {
                break;
            }
            self.grid.next += 1;
            let mut levels: BTreeMap<SeatIndex, u8> = BTreeMap::new();
            for input in inputs.values_mut() {
                let pulled = input.pull(at);
                // decibels below overload: the least is the loudest
                let level = levels.entry(input.info.seat).or_insert(pulled.level);
                *level = pulled.level.min(*level);
            }
            for (seat, level) in levels {
                made.others_speak |= self.speakers.handle_level(seat, level, at).is_some();
            }
            for input in &mut self.leaving {
                input.pull(at);
            }
            let voices = inputs.values().chain(&self.leaving);
            let blocks: Vec<(SeatIndex, &Block)> = voices.filter_map(Input::block).collect();
            self.mixer.mix(&blocks, &mut self.mixed);
            self.leaving.clear();
            let instead = |layer, packet: &[u8]| each(layer, packet, begins);
            made.minus += self.minus.encode(&self.mixer, &self.mixed, instead);
            each(LayerIndex(0), self.encoder.encode(&self.mixed[..]), begins);
        }
        made
    }
}

/// `None`: no memory.
pub(super) fn encoder(settings: &ProgramAudio) -> Option<OpusEncoder> {
    let mut encoder = OpusEncoder::new(settings.bitrate_kbps.saturating_mul(1000))?;
    tune(&mut encoder, settings);
    Some(encoder)
}

pub(super) fn tune(encoder: &mut OpusEncoder, settings: &ProgramAudio) {
    encoder.set_bitrate(settings.bitrate_kbps.saturating_mul(1000));
    encoder.set_mono(settings.channels == 1);
}
