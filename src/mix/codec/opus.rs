//! Opus by libopus, whose build takes the source that its crate brings along: 48 kHz stereo on both sides of a packet.

use super::{AudioDecoder, AudioEncoder};
use opus::{Application, Bitrate, Channels};

const HZ: u32 = 48_000;
/// Sample pairs of the longest packet, 120 ms (RFC 6716 §3.2.5).
pub const PACKET_PAIRS_MAX: usize = 5760;
/// Sample pairs of the shortest frame, 2.5 ms (RFC 6716 §2.1.4): the library recovers and conceals whole multiples of it.
const FRAME_PAIRS_MIN: usize = 120;
/// Sample pairs the encoder takes at a time: 20 ms.
pub const FRAME_PAIRS: usize = 960;
/// Bytes of one frame at most (RFC 6716 §3.4, R2), and its header.
const PACKET_MAX: usize = 1276;
/// Of 0 to 10. Up to 6 the library codes everything as music, and so without redundancy for losses, which only its speech
/// layer has (RFC 6716 §2.1.7). From 7 on it tells speech from music; speech with redundancy then takes five times as long
/// (0.75 instead of 0.15 ms a packet), which is what decoding ten voices takes.
const COMPLEXITY: i32 = 5;
/// Bits a second of Opus (RFC 6716 §2.1.1).
const BITRATE_MIN: u32 = 6_000;
const BITRATE_MAX: u32 = 510_000;

/// A mono stream comes out on both sides.
pub struct OpusDecoder {
    library: opus::Decoder,
}

impl OpusDecoder {
    /// `None`: no memory.
    pub fn new() -> Option<Self> {
        let library = opus::Decoder::new(HZ, Channels::Stereo).ok()?;
        Some(OpusDecoder { library })
    }
}

impl AudioDecoder for OpusDecoder {
    /// `None` also if `samples` is too short; [`PACKET_PAIRS_MAX`] pairs always do.
    fn decode(&mut self, packet: &[u8], samples: &mut [f32]) -> Option<usize> {
        // the library takes nothing at all for a loss
        if packet.is_empty() {
            return None;
        }
        self.library.decode_float(packet, samples, false).ok()
    }

    /// Without redundancy in the packet this is concealment. `None`: not an Opus packet, or `pairs` is not what
    /// [`conceal`](Self::conceal) would fill.
    fn recover(&mut self, next_packet: &[u8], samples: &mut [f32], pairs: usize) -> Option<usize> {
        if next_packet.is_empty() || pairs == 0 || whole_frames(samples, pairs) != pairs {
            return None;
        }
        self.library
            .decode_float(next_packet, samples.get_mut(..pairs * 2)?, true)
            .ok()
    }

    /// Rounds down to whole 2.5 ms, what `samples` holds, and [`PACKET_PAIRS_MAX`]; returns the pairs it filled.
    fn conceal(&mut self, samples: &mut [f32], pairs: usize) -> usize {
        let pairs = whole_frames(samples, pairs);
        match samples.get_mut(..pairs * 2) {
            Some(samples) if pairs > 0 => self.library.decode_float(&[], samples, false).unwrap_or(0),
            _ => 0,
        }
    }
}

fn whole_frames(samples: &[f32], pairs: usize) -> usize {
    let pairs = pairs.min(samples.len() / 2).min(PACKET_PAIRS_MAX);
    pairs - pairs % FRAME_PAIRS_MIN
}

pub struct OpusEncoder {
    library: opus::Encoder,
    packet: [u8; PACKET_MAX],
}

impl OpusEncoder {
    /// `None`: no memory.
    pub fn new(bitrate_bps: u32) -> Option<Self> {
        let mut library = opus::Encoder::new(HZ, Channels::Stereo, Application::Audio).ok()?;
        library.set_complexity(COMPLEXITY).ok()?;
        // silence is sent like sound: the program has no gaps
        library.set_dtx(false).ok()?;
        let mut encoder = OpusEncoder {
            library,
            packet: [0; PACKET_MAX],
        };
        encoder.set_bitrate(bitrate_bps);
        Some(encoder)
    }

    /// The first packet of a stream whose receiver has been sent another encoder's packets so far, of the same sound but
    /// for what now differs. `past`: the blocks just before, as that one encoded them. Two make this encoder's filters and
    /// windows what they would be (one leaves a click), and the packet itself predicts nothing from what the receiver did
    /// not get. Without a past the stream begins anew.
    ///
    /// # Panics
    /// If `samples`, or one of `past`, is not [`FRAME_PAIRS`].
    pub fn take_over<'p>(&mut self, past: impl IntoIterator<Item = &'p [f32]>, samples: &[f32]) -> &[u8] {
        // neither fails on an encoder
        let _ = self.library.reset_state();
        for block in past {
            self.encode(block);
        }
        let _ = self.library.set_prediction_disabled(true);
        let len = self.encode(samples).len();
        let _ = self.library.set_prediction_disabled(false);
        &self.packet[..len]
    }
}

impl AudioEncoder for OpusEncoder {
    /// # Panics
    /// If it is not [`FRAME_PAIRS`].
    fn encode(&mut self, samples: &[f32]) -> &[u8] {
        assert_eq!(samples.len(), FRAME_PAIRS * 2, "20 ms of stereo");
        let len = self.library.encode_float(samples, &mut self.packet);
        // the library fails on wrong arguments only
        let len = len.expect("20 ms of stereo fit into a packet");
        &self.packet[..len]
    }

    fn set_bitrate(&mut self, bitrate_bps: u32) {
        let bitrate = i32::try_from(bitrate_bps.clamp(BITRATE_MIN, BITRATE_MAX)).unwrap_or(i32::MAX);
        // refused are only rates below the least, which it is not
        let _ = self.library.set_bitrate(Bitrate::Bits(bitrate));
    }

    /// Each packet says itself how many it holds (RFC 6716 §3.1), and RTP says two either way (RFC 7587 §4.1): nobody has to
    /// be told.
    fn set_mono(&mut self, mono: bool) {
        let channels = if mono { Channels::Mono } else { Channels::Stereo };
        // refused are only more channels than the encoder takes, which is two
        let _ = self.library.set_force_channels(Some(channels));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::Clip;
    use bytes::Bytes;
    use rand::{Rng, SeedableRng, rngs::StdRng};
    use std::f32::consts::TAU;

    fn speech() -> Vec<Bytes> {
        let video = include_bytes!("../../../tests/fixtures/media/talk-180p30.h264");
        let voice = include_bytes!("../../../tests/fixtures/media/speech-0.opus");
        let clip = Clip::new(Bytes::from_static(video), 30, Bytes::from_static(voice)).unwrap();
        clip.packets().to_vec()
    }

    fn room() -> Vec<f32> {
        vec![0.0; PACKET_PAIRS_MAX * 2]
    }

    /// Another tone on each side.
    fn tones(frame: usize, left_hz: f32, right_hz: f32) -> Vec<f32> {
        let tone = |at: usize, hz: f32| 0.3 * (TAU * hz * at as f32 / HZ as f32).sin();
        let pairs = (0..FRAME_PAIRS).map(|at| frame * FRAME_PAIRS + at);
        pairs.flat_map(|at| [tone(at, left_hz), tone(at, right_hz)]).collect()
    }

    /// The amplitude of a tone in one side of interleaved samples, by Goertzel's algorithm.
    fn amplitude(samples: &[f32], side: usize, hz: f32) -> f32 {
        let factor = 2.0 * (TAU * hz / HZ as f32).cos();
        let (mut last, mut before) = (0.0f32, 0.0f32);
        for sample in samples.iter().skip(side).step_by(2) {
            (last, before) = (sample + factor * last - before, last);
        }
        let power = last * last + before * before - factor * last * before;
        power.max(0.0).sqrt() * 2.0 / (samples.len() / 2) as f32
    }

    fn rms(samples: &[f32]) -> f32 {
        (samples.iter().map(|sample| sample * sample).sum::<f32>() / samples.len() as f32).sqrt()
    }

    fn difference(a: &[f32], b: &[f32]) -> f32 {
        rms(&a.iter().zip(b).map(|(a, b)| a - b).collect::<Vec<_>>())
    }

    #[test]
    fn a_tone_on_each_side_stays_where_it_was() {
        let (mut encoder, mut decoder) = (OpusEncoder::new(96_000).unwrap(), OpusDecoder::new().unwrap());
        let (mut heard, mut samples) = (Vec::new(), room());
        for frame in 0..50 {
            let packet = encoder.encode(&tones(frame, 440.0, 1000.0));
            assert_eq!(decoder.decode(packet, &mut samples), Some(FRAME_PAIRS));
            if frame >= 10 {
                heard.extend_from_slice(&samples[..FRAME_PAIRS * 2]);
            }
        }
        for (side, there, not_there) in [(0, 440.0, 1000.0), (1, 1000.0, 440.0)] {
            assert!((0.25..0.35).contains(&amplitude(&heard, side, there)), "{there} Hz");
            assert!(amplitude(&heard, side, not_there) < 0.01, "{not_there} Hz");
        }
    }

    #[test]
    fn the_bitrate_is_kept_changes_at_run_time_and_is_bounded() {
        let mut encoder = OpusEncoder::new(128_000).unwrap();
        let mut random = StdRng::seed_from_u64(1);
        let mut bits_per_second = |bitrate_bps| {
            encoder.set_bitrate(bitrate_bps);
            let noise = || -> Vec<f32> { (0..FRAME_PAIRS * 2).map(|_| random.random_range(-0.3..0.3)).collect() };
            let frames: Vec<_> = std::iter::repeat_with(noise).take(50).collect();
            frames
                .iter()
                .map(|frame| encoder.encode(frame).len() * 8)
                .sum::<usize>()
        };
        for bitrate in [128_000, 32_000, 64_000] {
            let got = bits_per_second(u32::try_from(bitrate).unwrap());
            assert!((bitrate * 7 / 10..bitrate * 13 / 10).contains(&got), "{bitrate}: {got}");
        }
        assert!(bits_per_second(0) <= 15_000);
        assert!(bits_per_second(u32::MAX) > 300_000);
    }

    /// Two encoders of the same sound, a receiver that goes over from one to the other and back: how far what it hears is
    /// from what was said, about the changes and elsewhere, in the mean and at most.
    fn going_over(begin: impl Fn(&mut OpusEncoder, &[Vec<f32>], usize) -> Vec<u8>) -> [(f32, f32); 2] {
        let voice = speech();
        let (mut source, mut samples) = (OpusDecoder::new().unwrap(), room());
        let said: Vec<Vec<f32>> = voice[..300]
            .iter()
            .map(|packet| {
                let pairs = source.decode(packet, &mut samples).unwrap();
                samples[..pairs * 2].to_vec()
            })
            .collect();
        let [mut one, mut other] = [(); 2].map(|()| OpusEncoder::new(96_000).unwrap());
        let mut decoder = OpusDecoder::new().unwrap();
        let mut heard = Vec::new();
        for (at, block) in said.iter().enumerate() {
            let packet = one.encode(block).to_vec();
            // every 40 blocks, for 20
            let packet = match at % 40 {
                20 => begin(&mut other, &said, at),
                21.. => other.encode(block).to_vec(),
                _ => packet,
            };
            decoder.decode(&packet, &mut samples).unwrap();
            heard.extend_from_slice(&samples[..FRAME_PAIRS * 2]);
        }
        // how much later it is heard than said: what the encoder looks ahead, 6.5 ms
        let late = 312 * 2;
        let said = said.concat();
        let errors: Vec<f32> = heard[late..]
            .iter()
            .zip(&said)
            .map(|(heard, said)| heard - said)
            .collect();
        let errors = errors.chunks(FRAME_PAIRS * 2).enumerate().skip(10);
        let (near, far): (Vec<_>, Vec<_>) = errors.partition(|(at, _)| matches!(at % 40, 0 | 1 | 19 | 20 | 21 | 39));
        [near, far].map(|blocks| {
            let all: Vec<f32> = blocks.into_iter().flat_map(|(_, block)| block.to_vec()).collect();
            (
                rms(&all),
                all.iter().fold(0.0, |most: f32, error| most.max(error.abs())),
            )
        })
    }

    #[test]
    fn a_receiver_goes_over_to_another_encoder_and_back_without_a_click() {
        let take_over = |past: usize| {
            move |encoder: &mut OpusEncoder, said: &[Vec<f32>], at: usize| {
                let before = said[at - past..at].iter().map(|block| &block[..]);
                encoder.take_over(before, &said[at]).to_vec()
            }
        };
        let [(near, near_most), (far, far_most)] = going_over(take_over(2));
        assert!(
            near < far * 1.25 && near_most < far_most * 1.5,
            "{near} {near_most}, elsewhere {far} {far_most}"
        );
        // one that begins without knowing what was heard is another matter
        let [(unprepared, most), _] = going_over(take_over(0));
        assert!(unprepared > far * 2.0 && most > far_most * 2.0, "{unprepared} {most}");
    }

    #[test]
    fn one_channel_is_the_mean_of_both_and_changes_from_packet_to_packet() {
        let (mut encoder, mut decoder) = (OpusEncoder::new(96_000).unwrap(), OpusDecoder::new().unwrap());
        let (mut heard, mut samples) = (Vec::new(), room());
        for frame in 0..120 {
            let mono = (40..80).contains(&frame);
            encoder.set_mono(mono);
            let packet = encoder.encode(&tones(frame, 440.0, 1000.0));
            let channels = opus::packet::get_nb_channels(packet).unwrap();
            assert_eq!(channels == Channels::Mono, mono, "packet {frame}");
            assert_eq!(
                decoder.decode(packet, &mut samples),
                Some(FRAME_PAIRS),
                "packet {frame}"
            );
            heard.extend_from_slice(&samples[..FRAME_PAIRS * 2]);
        }
        let of = |frames: std::ops::Range<usize>| &heard[frames.start * FRAME_PAIRS * 2..frames.end * FRAME_PAIRS * 2];
        for (side, there, other) in [(0, 440.0, 1000.0), (1, 1000.0, 440.0)] {
            for hz in [440.0, 1000.0] {
                let level = amplitude(of(50..80), side, hz);
                assert!(
                    (0.13..0.17).contains(&level),
                    "{hz} Hz is half as loud on both sides: {level}"
                );
            }
            for frames in [10..40, 90..120] {
                assert!(
                    (0.25..0.35).contains(&amplitude(of(frames.clone()), side, there)),
                    "{there} Hz"
                );
                assert!(amplitude(of(frames), side, other) < 0.01, "{other} Hz");
            }
        }
    }

    #[test]
    fn silence_is_sent_every_20_ms() {
        let mut encoder = OpusEncoder::new(96_000).unwrap();
        for _ in 0..100 {
            assert!(encoder.encode(&[0.0; FRAME_PAIRS * 2]).len() > 2);
        }
    }

    #[test]
    fn mono_comes_out_on_both_sides() {
        let mut decoder = OpusDecoder::new().unwrap();
        let (mut samples, mut loudest) = (room(), 0.0f32);
        for packet in speech() {
            assert_eq!(decoder.decode(&packet, &mut samples), Some(FRAME_PAIRS));
            for pair in samples[..FRAME_PAIRS * 2].chunks(2) {
                assert!((pair[0] - pair[1]).abs() < 1e-6 && pair[0].abs() <= 1.5);
                loudest = loudest.max(pair[0].abs());
            }
        }
        assert!(loudest > 0.1);
    }

    #[test]
    fn frames_of_every_length_decode_if_there_is_room() {
        for pairs in [120, 240, 480, 960, 1920, 2880, 3840, 4800, 5760] {
            let mut encoder = opus::Encoder::new(HZ, Channels::Stereo, Application::Audio).unwrap();
            let packet = encoder.encode_vec_float(&vec![0.1; pairs * 2], 4000).unwrap();
            let mut decoder = OpusDecoder::new().unwrap();
            assert_eq!(decoder.decode(&packet, &mut vec![0.0; pairs * 2 - 2]), None);
            assert_eq!(decoder.decode(&packet, &mut vec![0.0; pairs * 2]), Some(pairs));
            assert_eq!(decoder.decode(&packet, &mut room()), Some(pairs));
        }
    }

    /// What a browser sends: speech with redundancy (`useinbandfec=1`).
    fn redundant_speech(count: usize) -> Vec<Vec<u8>> {
        let mut decoder = OpusDecoder::new().unwrap();
        let mut encoder = opus::Encoder::new(HZ, Channels::Stereo, Application::Voip).unwrap();
        encoder.set_bitrate(Bitrate::Bits(32_000)).unwrap();
        encoder.set_inband_fec(true).unwrap();
        encoder.set_packet_loss_perc(20).unwrap();
        let mut samples = room();
        let again = speech().into_iter().take(count).map(|packet| {
            decoder.decode(&packet, &mut samples).unwrap();
            encoder.encode_vec_float(&samples[..FRAME_PAIRS * 2], 1500).unwrap()
        });
        again.collect()
    }

    #[test]
    fn redundancy_makes_up_for_a_loss_better_than_guessing_and_guessing_better_than_silence() {
        let packets = redundant_speech(301);
        let (mut recovered, mut concealed, mut silent) = (0.0, 0.0, 0.0);
        for lost in (100..300).step_by(7) {
            // three decoders that heard the same until then
            let [mut whole, mut recovers, mut conceals] = [(); 3].map(|()| OpusDecoder::new().unwrap());
            let (mut truth, mut samples) = (room(), room());
            for packet in &packets[lost - 20..lost] {
                for decoder in [&mut whole, &mut recovers, &mut conceals] {
                    decoder.decode(packet, &mut samples).unwrap();
                }
            }
            whole.decode(&packets[lost], &mut truth).unwrap();
            let truth = &truth[..FRAME_PAIRS * 2];
            assert_eq!(
                recovers.recover(&packets[lost + 1], &mut samples, FRAME_PAIRS),
                Some(FRAME_PAIRS)
            );
            recovered += difference(&samples[..FRAME_PAIRS * 2], truth);
            assert_eq!(conceals.conceal(&mut samples, FRAME_PAIRS), FRAME_PAIRS);
            concealed += difference(&samples[..FRAME_PAIRS * 2], truth);
            silent += rms(truth);
            assert_eq!(recovers.decode(&packets[lost + 1], &mut samples), Some(FRAME_PAIRS));
        }
        assert!(
            recovered < concealed * 0.8 && recovered < silent * 0.6,
            "{recovered} {concealed} {silent}"
        );
    }

    #[test]
    fn concealment_takes_over_and_fades() {
        let (mut encoder, mut decoder) = (OpusEncoder::new(96_000).unwrap(), OpusDecoder::new().unwrap());
        let mut samples = room();
        for frame in 0..20 {
            decoder
                .decode(encoder.encode(&tones(frame, 440.0, 440.0)), &mut samples)
                .unwrap();
        }
        assert_eq!(decoder.conceal(&mut samples, FRAME_PAIRS), FRAME_PAIRS);
        assert!(amplitude(&samples[..FRAME_PAIRS * 2], 0, 440.0) > 0.15);
        for _ in 0..50 {
            decoder.conceal(&mut samples, FRAME_PAIRS);
        }
        assert!(rms(&samples[..FRAME_PAIRS * 2]) < 0.02);
    }

    #[test]
    fn odd_numbers_of_pairs_are_rounded_or_refused() {
        let mut decoder = OpusDecoder::new().unwrap();
        let mut samples = room();
        assert_eq!(decoder.conceal(&mut samples, 0), 0);
        assert_eq!(decoder.conceal(&mut samples, 119), 0);
        assert_eq!(decoder.conceal(&mut samples, 500), 480);
        assert_eq!(decoder.conceal(&mut samples, usize::MAX), PACKET_PAIRS_MAX);
        assert_eq!(decoder.conceal(&mut samples[..1000], 960), 480);
        assert_eq!(decoder.conceal(&mut [], 960), 0);
        let packet = &speech()[20];
        for pairs in [0, 100, 961, 5880, usize::MAX] {
            assert_eq!(decoder.recover(packet, &mut samples, pairs), None, "{pairs}");
        }
        assert_eq!(decoder.recover(packet, &mut samples[..100], 960), None);
        assert_eq!(decoder.recover(&[], &mut samples, 960), None);
    }

    #[test]
    fn hostile_packets_are_refused_or_sound_and_harm_nobody() {
        let packets = redundant_speech(140);
        let (mut refused, mut samples) = (0, room());
        for seed in 0..60 {
            let mut random = StdRng::seed_from_u64(seed);
            let mut decoder = OpusDecoder::new().unwrap();
            for packet in &packets[100..120] {
                let mut damaged = packet.clone();
                match random.random_range(0..4) {
                    0 => damaged.truncate(random.random_range(0..damaged.len())),
                    1 => damaged[0] = random.random(),
                    2 => damaged = (0..random.random_range(0..1500)).map(|_| random.random()).collect(),
                    _ => {
                        let at = random.random_range(0..damaged.len());
                        damaged[at] = random.random();
                    }
                }
                let pairs = [120, 480, 960, 2880][random.random_range(0..4)];
                decoder.recover(&damaged, &mut samples, pairs);
                match decoder.decode(&damaged, &mut samples) {
                    Some(pairs) => {
                        assert!(pairs <= PACKET_PAIRS_MAX && !damaged.is_empty());
                        assert!(samples[..pairs * 2].iter().all(|sample| sample.is_finite()));
                    }
                    None => refused += 1,
                }
            }
            for packet in &packets[100..140] {
                assert_eq!(decoder.decode(packet, &mut samples), Some(FRAME_PAIRS), "seed {seed}");
            }
        }
        assert!(refused > 100, "{refused}");
        assert_eq!(OpusDecoder::new().unwrap().decode(&[], &mut samples), None);
    }
}
