//! What the microphones hear, and how it is found again in the program.

use std::f64::consts::TAU;

pub const HZ: f64 = 48_000.0;
/// Sample pairs of a packet: 20 ms.
pub const PACKET: usize = 960;
/// Ten of them stay below full scale.
const TONE_LEVEL: f64 = 0.08;
const BEEP_LEVEL: f64 = 0.3;
/// A seat is heard from a quarter of its level on, since on a loaded machine some of it is concealed; silent below a tenth.
const HEARD: f64 = TONE_LEVEL / 4.0;
pub const SILENT: f64 = TONE_LEVEL / 10.0;
/// A tenth of a second: tones that are 100 Hz apart are told apart.
const LISTEN: usize = 4_800;

/// In seconds: how long a beep or a flash lasts, and how far apart they are.
const BEEP_S: f64 = 0.1;
pub const PERIOD_S: f64 = 1.0;

/// The tone of a seat; none is a multiple of another.
pub fn tone_hz(seat: u8) -> f64 {
    [
        310.0, 430.0, 590.0, 730.0, 890.0, 1030.0, 1190.0, 1370.0, 1550.0, 1790.0,
    ][usize::from(seat)]
}

/// The beep of a seat, for seats 0 to 2.
pub fn beep_hz(seat: u8) -> f64 {
    [1_000.0, 2_600.0, 4_200.0][usize::from(seat)]
}

fn stereo(from: u64, sample: impl Fn(u64) -> f64) -> Vec<f32> {
    (from..from + PACKET as u64)
        .flat_map(|at| [sample(at) as f32; 2])
        .collect()
}

fn sine(at: u64, hz: f64) -> f64 {
    (TAU * hz * (at as f64 / HZ)).sin()
}

/// A packet's samples, from that sample of the stream on.
pub fn tone(seat: u8, from: u64) -> Vec<f32> {
    let hz = tone_hz(seat);
    stereo(from, |at| TONE_LEVEL * sine(at, hz))
}

/// A beep and a flash at the beginning of each second.
pub fn is_loud(at_s: f64) -> bool {
    at_s % PERIOD_S < BEEP_S
}

/// A packet's samples, of which there are `rate` a second.
pub fn beeps(seat: u8, from: u64, rate: f64) -> Vec<f32> {
    let hz = beep_hz(seat);
    stereo(from, |at| {
        let on = is_loud(at as f64 / rate);
        if on { BEEP_LEVEL * sine(at, hz) } else { 0.0 }
    })
}

/// The amplitude of a frequency (Goertzel), through a Hann window.
pub fn level(samples: &[f32], hz: f64) -> f64 {
    let length = samples.len() as f64;
    let turn = TAU * hz / HZ;
    let (mut real, mut imaginary) = (0.0, 0.0);
    for (at, sample) in samples.iter().enumerate() {
        let at = at as f64;
        let windowed = f64::from(*sample) * (0.5 - 0.5 * (TAU * (at + 0.5) / length).cos());
        real += windowed * (turn * at).cos();
        imaginary += windowed * (turn * at).sin();
    }
    // Half of the window's area is lost to it, half of a sine's to its negative frequency.
    4.0 * real.hypot(imaginary) / length
}

/// These seats are heard at the end of `samples` and no others; or what is wrong.
pub fn heard(samples: &[f32], seats: &[u8]) -> Result<(), String> {
    let Some(start) = samples.len().checked_sub(LISTEN) else {
        return Err("too little sound".to_owned());
    };
    let levels: Vec<f64> = (0..10).map(|seat| level(&samples[start..], tone_hz(seat))).collect();
    for (seat, level) in (0_u8..).zip(&levels) {
        let expected = seats.contains(&seat);
        if expected && *level < HEARD || !expected && *level > SILENT {
            return Err(format!("seat {seat} at {level:.4} of {levels:.4?}, due: {seats:?}"));
        }
    }
    Ok(())
}

/// The samples at which a seat's beeps begin, each after half a second without one.
pub fn beep_starts(samples: &[f32], seat: u8) -> Vec<usize> {
    // 5 ms: short enough to find the beginning, long enough to tell the beeps of two seats apart.
    const WINDOW: usize = 240;
    const STEP: usize = 24;
    const QUIET: usize = 24_000;
    let is_loud = |from: &usize| level(&samples[*from..from + WINDOW], beep_hz(seat)) >= BEEP_LEVEL / 2.0;
    let mut starts = Vec::new();
    let mut loud_until = 0;
    for loud in (0..samples.len().saturating_sub(WINDOW))
        .step_by(WINDOW)
        .filter(is_loud)
    {
        // The very first may have been cut off.
        if loud_until + QUIET < loud {
            let first = (loud - WINDOW..=loud).step_by(STEP).find(is_loud);
            // Half of the amplitude: the beginning is in the window's middle.
            starts.push(first.unwrap_or(loud) + WINDOW / 2);
        }
        loud_until = loud;
    }
    starts
}

#[test]
fn tones_are_told_apart() {
    let mix = |seats: &[u8]| {
        let mut sum = vec![0.0; 10 * PACKET];
        for seat in seats {
            for packet in 0..10 {
                let stereo = tone(*seat, packet as u64 * PACKET as u64);
                for (at, pair) in stereo.chunks(2).enumerate() {
                    sum[packet * PACKET + at] += pair[0];
                }
            }
        }
        sum
    };
    assert_eq!(heard(&mix(&[0, 3, 9]), &[0, 3, 9]), Ok(()));
    assert!(heard(&mix(&[0, 9]), &[0, 3, 9]).is_err());
    assert!(heard(&mix(&[0, 3, 9]), &[0, 9]).is_err());
}

#[test]
fn a_beep_is_found_where_it_begins() {
    let packets = (0..200).flat_map(|packet| beeps(1, packet * PACKET as u64, HZ));
    let samples: Vec<f32> = packets.step_by(2).collect();
    let starts = beep_starts(&samples, 1);
    // The first follows no silence.
    assert_eq!(starts.len(), 3);
    for (start, expected) in starts.iter().zip([48_000_usize, 96_000, 144_000]) {
        assert!(start.abs_diff(expected) <= 48, "{start} and not {expected}");
    }
    assert_eq!(beep_starts(&samples, 0), Vec::<usize>::new());
}
