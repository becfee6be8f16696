//! The encodings of the program's sound for those who hear it without their own voice.
//!
//! Owns an encoder for each listener who is heard, at most [`OWN_MAX`](crate::mix::audio::OWN_MAX) at a time, and one for
//! the mix that the others share while that is not the whole one. In come the mixer's blocks, out go the packets that stand
//! in the place of the whole mix's. Time base: the block.

use super::sound::{encoder, tune};
use crate::forward::{LayerIndex, SeatIndex};
use crate::mix::audio::{Block, Hears, Mixer, PAIRS};
use crate::mix::codec::{AudioEncoder, opus::OpusEncoder};
use crate::room::ProgramAudio;

/// 20 ms of silence (CELT, all bands, one channel: RFC 6716 §3.1), where there is no memory for an encoder: the whole mix
/// would be the listener's own voice.
const SILENCE: &[u8] = &[0xf8, 0xff, 0xfe];

pub(super) struct Minus {
    settings: ProgramAudio,
    /// By seat.
    ears: Vec<Ear>,
    /// Of what the listeners share while it is not the whole mix.
    common: Option<OpusEncoder>,
    /// Encoders that are not needed now: as many as have been at once.
    spare: Vec<OpusEncoder>,
    /// The last two blocks of what the listeners shared, the older one first.
    past: [Box<Block>; 2],
}

/// A seat that listens.
struct Ear {
    seat: SeatIndex,
    /// While they have a mix of their own.
    encoder: Option<OpusEncoder>,
    /// They heard the block before.
    heard: bool,
    /// Listens no more; stays while the mixer has a block for them.
    gone: bool,
}

impl Minus {
    pub fn new(settings: ProgramAudio) -> Self {
        Minus {
            settings,
            ears: Vec::new(),
            common: None,
            spare: Vec::new(),
            past: [(); 2].map(|()| Box::new([0.0; 2 * PAIRS])),
        }
    }

    /// These seats listen, and no others. Twice equals once.
    pub fn listen(&mut self, seats: &[SeatIndex]) {
        for ear in &mut self.ears {
            ear.gone = !seats.contains(&ear.seat);
        }
        for seat in seats {
            if let Err(index) = self.ears.binary_search_by_key(seat, |ear| ear.seat) {
                let ear = Ear {
                    seat: *seat,
                    encoder: None,
                    heard: false,
                    gone: false,
                };
                self.ears.insert(index, ear);
            }
        }
    }

    pub fn change(&mut self, settings: &ProgramAudio) {
        self.settings = *settings;
        let own = self.ears.iter_mut().filter_map(|ear| ear.encoder.as_mut());
        let all = own.chain(&mut self.common).chain(&mut self.spare);
        all.for_each(|encoder| tune(encoder, settings));
    }

    /// Hands `each` what stands in the place of the packet of `whole`, the mixer's last block, by layer. Returns how many
    /// of them were encoded.
    pub fn encode(&mut self, mixer: &Mixer, whole: &Block, mut each: impl FnMut(LayerIndex, &[u8])) -> u64 {
        let Minus {
            settings,
            ears,
            common,
            spare,
            past,
        } = self;
        let over = ears.extract_if(.., |ear| ear.gone && mixer.hears(ear.seat) == Hears::Shared);
        spare.extend(over.filter_map(|ear| ear.encoder));
        if ears.is_empty() {
            return 0;
        }
        let mut encoded = 0;
        let shared = mixer.common().unwrap_or(whole);
        let mut common_packet = None;
        if mixer.common().is_some() {
            common_packet = Some(next(common, (settings, spare), Some(past), shared));
            encoded += 1;
        } else {
            spare.extend(common.take());
        }
        for ear in ears {
            let packet = match mixer.hears(ear.seat) {
                Hears::Own(block) => {
                    encoded += 1;
                    let past = ear.heard.then_some(&*past);
                    Some(next(&mut ear.encoder, (settings, spare), past, block))
                }
                Hears::Shared => {
                    spare.extend(ear.encoder.take());
                    common_packet
                }
            };
            if let Some(packet) = packet {
                each(LayerIndex::without(ear.seat), packet);
            }
            ear.heard = true;
        }
        past.rotate_left(1);
        past[1].copy_from_slice(shared);
        encoded
    }
}

/// The next packet of a stream whose encoder, if it has one, is in `place`; one that begins goes on from the shared mix of
/// the `past`.
fn next<'e>(
    place: &'e mut Option<OpusEncoder>,
    (settings, spare): (&ProgramAudio, &mut Vec<OpusEncoder>),
    past: Option<&[Box<Block>; 2]>,
    block: &Block,
) -> &'e [u8] {
    let begins = place.is_none();
    if begins {
        *place = spare.pop().or_else(|| encoder(settings));
    }
    let Some(encoder) = place else { return SILENCE };
    if !begins {
        return encoder.encode(block);
    }
    let past = past.into_iter().flatten().map(|block| &block[..]);
    encoder.take_over(past, block)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mix::audio::OWN_MAX;
    use crate::mix::codec::{AudioDecoder, opus::OpusDecoder};
    use std::f32::consts::TAU;

    /// A second is 50 blocks.
    const SECOND: usize = 50;
    const SETTINGS: ProgramAudio = ProgramAudio {
        bitrate_kbps: 96,
        channels: 2,
    };

    fn hz(seat: u8) -> f32 {
        300.0 + 110.0 * f32::from(seat)
    }

    fn tone(seat: u8, level: f32, block: usize) -> Box<Block> {
        let mut samples = Box::new([0.0; 2 * PAIRS]);
        for (pair, at) in samples.chunks_exact_mut(2).zip(block * PAIRS..) {
            pair.fill(level * (TAU * hz(seat) * (at % 48_000) as f32 / 48_000.0).sin());
        }
        samples
    }

    /// The amplitude of a frequency (Goertzel), of one side.
    fn amplitude(samples: &[f32], hz: f32) -> f32 {
        let turn = TAU * hz / 48_000.0;
        let (mut real, mut imaginary) = (0.0, 0.0);
        for (sample, at) in samples.iter().zip(0u32..) {
            let angle = turn * (at % 48_000) as f32;
            real += sample * angle.cos();
            imaginary += sample * angle.sin();
        }
        2.0 * f32::hypot(real, imaginary) / samples.len() as f32
    }

    /// A program of some seats, and what each listener's one decoder makes of what it is sent.
    struct Room {
        mixer: Mixer,
        whole: OpusEncoder,
        minus: Minus,
        listeners: Vec<(SeatIndex, OpusDecoder, Vec<f32>)>,
        block: usize,
        /// Of each block.
        encoded: Vec<u64>,
    }

    impl Room {
        fn new(listeners: std::ops::Range<u8>) -> Self {
            let seats: Vec<SeatIndex> = listeners.map(SeatIndex).collect();
            let (mut mixer, mut minus) = (Mixer::new(), Minus::new(SETTINGS));
            mixer.listen(&seats);
            minus.listen(&seats);
            let listeners = seats
                .into_iter()
                .map(|seat| (seat, OpusDecoder::new().unwrap(), vec![]));
            Room {
                mixer,
                whole: encoder(&SETTINGS).unwrap(),
                minus,
                listeners: listeners.collect(),
                block: 0,
                encoded: vec![],
            }
        }

        /// So many blocks in which these seats speak at these levels.
        fn speak(&mut self, blocks: usize, voices: &[(u8, f32)]) {
            let mut pcm = vec![0.0; 2 * crate::mix::codec::opus::PACKET_PAIRS_MAX];
            for _ in 0..blocks {
                let voices: Vec<_> = voices
                    .iter()
                    .map(|(seat, level)| (SeatIndex(*seat), tone(*seat, *level, self.block)))
                    .collect();
                let voices: Vec<(SeatIndex, &Block)> = voices.iter().map(|(seat, block)| (*seat, &**block)).collect();
                let mut mixed = [0.0; 2 * PAIRS];
                self.mixer.mix(&voices, &mut mixed);
                let mut instead = vec![];
                let put = |layer, packet: &[u8]| instead.push((layer, packet.to_vec()));
                self.encoded.push(self.minus.encode(&self.mixer, &mixed, put));
                let whole = self.whole.encode(&mixed);
                for (seat, decoder, heard) in &mut self.listeners {
                    let own = instead.iter().find(|(layer, _)| *layer == LayerIndex::without(*seat));
                    let packet = own.map_or(whole, |(_, packet)| packet);
                    let pairs = decoder.decode(packet, &mut pcm).expect("a packet");
                    heard.extend(pcm[..pairs * 2].iter().step_by(2));
                }
                self.block += 1;
            }
        }

        /// How loud a voice is for a listener in these blocks.
        fn level(&self, listener: u8, of: u8, blocks: std::ops::Range<usize>) -> f32 {
            let heard = &self.listeners[usize::from(listener)].2;
            amplitude(&heard[blocks.start * PAIRS..blocks.end * PAIRS], hz(of))
        }
    }

    #[test]
    fn without_an_encoder_there_is_silence() {
        let mut decoder = OpusDecoder::new().unwrap();
        let mut pcm = vec![1.0; 2 * PAIRS];
        assert_eq!(decoder.decode(SILENCE, &mut pcm), Some(PAIRS));
        assert!(pcm.iter().all(|sample| sample.abs() < 1e-6));
    }

    #[test]
    fn who_is_silent_shares_and_who_is_heard_costs_an_encode() {
        let mut room = Room::new(0..3);
        room.speak(SECOND, &[(9, 0.1)]);
        room.speak(SECOND, &[(9, 0.1), (1, 0.1)]);
        room.speak(SECOND, &[(9, 0.1), (1, 0.1), (2, 0.1)]);
        room.speak(2 * SECOND, &[(9, 0.1)]);
        assert!(room.encoded[..50].iter().all(|count| *count == 0));
        assert!(room.encoded[50..100].iter().all(|count| *count == 1));
        assert!(room.encoded[100..150].iter().all(|count| *count == 2));
        assert!(room.encoded[180..].iter().all(|count| *count == 0));
        assert_eq!(room.minus.spare.len(), 2, "used again");
        for (listener, silent) in [(0, 0.0), (1, 1.0), (2, 1.0)] {
            let own = room.level(listener, 1, 105..145);
            let expected = if listener == 1 { 0.0 } else { 0.1 };
            assert!((own - expected).abs() < 0.006, "{listener}: {own}");
            let host = room.level(listener, 9, 105..145);
            assert!((host - 0.1).abs() < 0.006, "{listener}: {host} {silent}");
        }
        room.speak(SECOND, &[(1, 0.1)]);
        room.mixer.listen(&[]);
        room.minus.listen(&[]);
        room.speak(SECOND, &[(1, 0.1)]);
        assert_eq!(room.encoded[300..303], [1, 0, 0], "what was under way, and no more");
    }

    #[test]
    fn a_crowd_costs_five_encodes_and_nobody_hears_themself() {
        let mut room = Room::new(0..8);
        room.speak(SECOND, &[(9, 0.05)]);
        let everybody: Vec<(u8, f32)> = (0..8).map(|seat| (seat, 0.05)).chain([(9, 0.05)]).collect();
        room.speak(SECOND, &everybody);
        let louder: Vec<(u8, f32)> = (0..8).map(|seat| (seat, if seat > 5 { 0.15 } else { 0.05 })).collect();
        room.speak(2 * SECOND, &louder);
        let most = OWN_MAX as u64 + 1;
        assert!(
            room.encoded[50..].iter().all(|count| *count == most),
            "{:?}",
            room.encoded
        );
        for listener in 0..8 {
            for blocks in [55..95, 105..195] {
                let own = room.level(listener, listener, blocks.clone());
                assert!(own < 0.004, "{listener} hears themself at {own} in {blocks:?}");
            }
            let loud = [6, 7].map(|of| room.level(listener, of, 150..195));
            for (of, level) in [6, 7].into_iter().zip(loud) {
                assert_eq!(level > 0.1, of != listener, "{of} for {listener}: {level}");
            }
        }
    }

    /// How far a listener's sound is from what it would be had it come from one encoder all the time: no farther when it
    /// goes over to another encoder and back than at any other time.
    #[test]
    fn going_over_and_back_makes_no_click() {
        let mut room = Room::new(1..2);
        let others = [(7, 0.2), (9, 0.2)];
        room.speak(SECOND, &others);
        for _ in 0..5 {
            room.speak(SECOND / 2, &[others[0], others[1], (1, 0.3)]);
            room.speak(SECOND, &others);
        }
        let heard = &room.listeners[0].2;
        // what was mixed comes 5 ms later, and what was encoded 6.5 ms after that
        let late = 240 + 312;
        let truth = |at: usize| {
            let at = (at - late) % 48_000;
            let tone = |seat: u8| 0.2 * (TAU * hz(seat) * at as f32 / 48_000.0).sin();
            tone(7) + tone(9)
        };
        let errors: Vec<f32> = (10 * PAIRS..heard.len())
            .map(|at| (heard[at] - truth(at)).abs())
            .collect();
        let worst: Vec<f32> = errors
            .chunks(PAIRS)
            .map(|block| block.iter().copied().fold(0.0, f32::max))
            .collect();
        let changes: Vec<usize> = (1..worst.len())
            .filter(|at| room.encoded[at + 10] != room.encoded[at + 9])
            .collect();
        assert_eq!(changes.len(), 10);
        let is_near = |at: usize| changes.iter().any(|change| (*change..change + 3).contains(&at));
        let most = |near: bool| {
            let those = worst.iter().enumerate().filter(|(at, _)| is_near(*at) == near);
            those.map(|(_, error)| *error).fold(0.0, f32::max)
        };
        let (near, far) = (most(true), most(false));
        assert!(near < 0.04 && near < far * 2.0, "{near}, elsewhere {far}");
    }
}
