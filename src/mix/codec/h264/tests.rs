use super::*;
use crate::demo::{Clip, Frame};
use crate::mix::codec::{DecodeError, VideoDecoder, VideoEncoder, VideoSettings};
use crate::mix::picture::{Picture, PictureView, Size};
use bytes::Bytes;
use rand::{Rng, SeedableRng, rngs::StdRng};

fn clip(h264: &'static [u8]) -> Vec<Frame> {
    let voice = include_bytes!("../../../../tests/fixtures/media/speech-0.opus");
    let clip = Clip::new(Bytes::from_static(h264), 30, Bytes::from_static(voice)).unwrap();
    clip.frames().to_vec()
}

fn talk_180p() -> Vec<Frame> {
    clip(include_bytes!("../../../../tests/fixtures/media/talk-180p30.h264"))
}

fn talk_360p() -> Vec<Frame> {
    clip(include_bytes!("../../../../tests/fixtures/media/talk-360p30.h264"))
}

fn rows(plane: &[u8], stride: usize, width: usize) -> Vec<u8> {
    plane
        .chunks(stride)
        .map(|row| &row[..width])
        .collect::<Vec<_>>()
        .concat()
}

fn copy(view: PictureView) -> Picture {
    let mut picture = Picture::black(view.size);
    picture.y = rows(view.y, view.y_stride, view.size.width());
    picture.u = rows(view.u, view.uv_stride, view.size.width() / 2);
    picture.v = rows(view.v, view.uv_stride, view.size.width() / 2);
    picture
}

fn decoded(frames: &[Frame]) -> Vec<Picture> {
    let mut decoder = H264Decoder::new();
    let pictures = frames
        .iter()
        .filter_map(|frame| decoder.decode(&frame.data).unwrap().map(copy));
    pictures.collect()
}

fn mean(plane: &[u8]) -> f64 {
    plane.iter().map(|sample| u64::from(*sample)).sum::<u64>() as f64 / plane.len() as f64
}

fn psnr(a: &[u8], b: &[u8]) -> f64 {
    assert_eq!(a.len(), b.len());
    let squares: u64 = a.iter().zip(b).map(|(a, b)| u64::from(a.abs_diff(*b)).pow(2)).sum();
    10.0 * (255.0 * 255.0 * a.len() as f64 / squares.max(1) as f64).log10()
}

fn settings(size: Size, bitrate_bps: u32) -> VideoSettings {
    VideoSettings {
        size,
        fps: 30,
        bitrate_bps,
        gop: 60,
    }
}

fn kinds(access_unit: &[u8]) -> Vec<u8> {
    nal_units(access_unit).filter_map(nal_type).collect()
}

/// Noise with a shape that moves, so that pictures neither repeat nor look alike.
fn moving(size: Size, number: usize) -> Picture {
    let mut picture = Picture::black(size);
    for (at, sample) in picture.y.iter_mut().enumerate() {
        let (x, y) = (at % size.width() + number * 3, at / size.width() + number);
        *sample = 16 + ((x * x / 16 + y * 5) % 200) as u8;
    }
    picture
}

fn encoded(size: Size, gop: u32, count: usize) -> Vec<Vec<u8>> {
    let mut encoder = H264Encoder::new(VideoSettings {
        gop,
        ..settings(size, 400_000)
    })
    .unwrap();
    (0..count)
        .map(|number| {
            encoder
                .encode(moving(size, number).view(), false)
                .unwrap()
                .bytes
                .to_vec()
        })
        .collect()
}

#[test]
fn a_clip_decodes_to_its_pictures() {
    for (frames, width, height) in [(talk_180p(), 320, 180), (talk_360p(), 640, 360)] {
        let pictures = decoded(&frames);
        assert_eq!(pictures.len(), 240);
        let size = Size::even(width, height).unwrap();
        assert!(pictures.iter().all(|picture| picture.size() == size));
        for picture in pictures.iter().step_by(20) {
            assert!((60.0..180.0).contains(&mean(&picture.y)), "luma {}", mean(&picture.y));
            assert!((100.0..160.0).contains(&mean(&picture.u)) && (100.0..160.0).contains(&mean(&picture.v)));
        }
        // a face moves: neighbours are alike, but no two are the same
        for pair in pictures.windows(2).step_by(7) {
            assert!(
                (15.0..60.0).contains(&psnr(&pair[0].y, &pair[1].y)),
                "{}",
                psnr(&pair[0].y, &pair[1].y)
            );
        }
    }
}

#[test]
fn what_is_encoded_decodes_to_the_same_picture() {
    let originals = decoded(&talk_360p()[..90]);
    let mut encoder = H264Encoder::new(settings(originals[0].size(), 1_000_000)).unwrap();
    let mut decoder = H264Decoder::new();
    let (mut luma, mut chroma) = (0.0, 0.0);
    for (number, original) in originals.iter().enumerate() {
        let encoded = encoder.encode(original.view(), false).unwrap();
        assert_eq!(encoded.keyframe, number % 60 == 0, "picture {number}");
        let decoded = decoder.decode(encoded.bytes).unwrap().map(copy).unwrap();
        assert_eq!(decoded.size(), original.size());
        luma += psnr(&decoded.y, &original.y);
        chroma += psnr(&decoded.u, &original.u).min(psnr(&decoded.v, &original.v));
    }
    let (luma, chroma) = (luma / 90.0, chroma / 90.0);
    assert!(luma > 38.0 && chroma > 38.0, "{luma:.1} dB, {chroma:.1} dB");
}

#[test]
fn a_picture_is_one_slice_of_constrained_baseline() {
    let units = encoded(Size::even(640, 360).unwrap(), 60, 3);
    assert_eq!(kinds(&units[0]), [SPS, PPS, IDR_SLICE]);
    assert_eq!(kinds(&units[1]), [SLICE]);
    let sps = nal_units(&units[0]).next().unwrap();
    assert_eq!(sps[1], 66, "baseline");
    assert_eq!(sps[2] & 0x40, 0x40, "constrained");
    assert_eq!(crate::rtp::h264::keyframe_size(sps), Some((640, 360)));
}

#[test]
fn the_level_is_the_lowest_from_3_1_on_that_holds_the_stream() {
    for (width, height, fps, bitrate_bps, level) in [
        (640, 360, 15, 500_000, 31),
        (1280, 720, 30, 2_500_000, 31),
        (1280, 720, 30, 16_000_000, 32),
        (1280, 720, 60, 4_000_000, 32),
        (1920, 1080, 30, 5_000_000, 40),
        (1920, 1080, 60, 8_000_000, 42),
    ] {
        let size = Size::even(width, height).unwrap();
        let mut encoder = H264Encoder::new(VideoSettings {
            fps,
            ..settings(size, bitrate_bps)
        })
        .unwrap();
        let encoded = encoder.encode(Picture::black(size).view(), false).unwrap();
        let sps = nal_units(encoded.bytes).next().unwrap();
        assert_eq!(sps[3], level, "{width}x{height}, {fps}/s, {bitrate_bps} bit/s");
    }
    let size = |width, height| settings(Size::even(width, height).unwrap(), 500_000);
    assert!(H264Encoder::new(size(8192, 4320)).is_none());
    assert!(H264Encoder::new(size(8, 8)).is_none());
}

#[test]
fn a_keyframe_comes_when_asked_for_and_puts_off_the_next() {
    let size = Size::even(160, 96).unwrap();
    let mut encoder = H264Encoder::new(VideoSettings {
        gop: 10,
        ..settings(size, 300_000)
    })
    .unwrap();
    let mut keyframes = Vec::new();
    for number in 0..40 {
        let encoded = encoder.encode(moving(size, number).view(), number == 14).unwrap();
        let idr = kinds(encoded.bytes) == [SPS, PPS, IDR_SLICE];
        assert!(idr || kinds(encoded.bytes) == [SLICE]);
        assert_eq!(encoded.keyframe, idr);
        keyframes.extend(idr.then_some(number));
    }
    assert_eq!(keyframes, [0, 10, 14, 24, 34]);
}

#[test]
fn the_bitrate_is_kept_and_changes_at_run_time_without_a_keyframe() {
    let originals = decoded(&talk_180p());
    let mut encoder = H264Encoder::new(VideoSettings {
        gop: 1000,
        ..settings(originals[0].size(), 400_000)
    })
    .unwrap();
    let mut bits_per_second = |pictures: &[Picture], first: bool| {
        let mut bits = 0;
        for (number, picture) in pictures.iter().enumerate() {
            let encoded = encoder.encode(picture.view(), false).unwrap();
            assert_eq!(encoded.keyframe, first && number == 0);
            bits += encoded.bytes.len() * 8;
        }
        (bits as f64 * 30.0 / pictures.len() as f64, encoder.set_bitrate(100_000)).0
    };
    let high = bits_per_second(&originals[..90], true);
    bits_per_second(&originals[90..120], false);
    let low = bits_per_second(&originals[120..], false);
    assert!((280_000.0..520_000.0).contains(&high), "{high:.0}");
    assert!((60_000.0..140_000.0).contains(&low), "{low:.0}");
}

#[test]
fn the_frame_rate_goes_down_and_up_without_a_keyframe_and_the_bitrate_stays() {
    let originals = decoded(&talk_180p());
    let mut encoder = H264Encoder::new(VideoSettings {
        gop: 1000,
        fps: 15,
        ..settings(originals[0].size(), 200_000)
    })
    .unwrap();
    assert!(!encoder.set_fps(1000), "decoders were told a level");
    let mut decoder = H264Decoder::new();
    let mut keyframes = 0;
    let mut bits_per_second = |encoder: &mut H264Encoder, fps: u32, pictures: &[Picture]| {
        assert!(encoder.set_fps(fps));
        let mut bits = 0;
        for picture in pictures.iter().step_by(30 / fps as usize) {
            let encoded = encoder.encode(picture.view(), false).unwrap();
            bits += encoded.bytes.len() * 8;
            keyframes += usize::from(encoded.keyframe);
            assert!(decoder.decode(encoded.bytes).unwrap().is_some());
        }
        bits as f64 * 30.0 / pictures.len() as f64
    };
    let whole = bits_per_second(&mut encoder, 30, &originals[..60]);
    let half = bits_per_second(&mut encoder, 15, &originals[60..150]);
    let again = bits_per_second(&mut encoder, 30, &originals[90..150]);
    for bits in [whole, half, again] {
        assert!(
            (130_000.0..270_000.0).contains(&bits),
            "{whole:.0} {half:.0} {again:.0}"
        );
    }
    assert_eq!(keyframes, 1);
}

#[test]
fn another_size_from_one_keyframe_to_the_next_is_survived() {
    let (small, large) = (talk_180p(), talk_360p());
    let mut decoder = H264Decoder::new();
    for (frames, width) in [(&small[..70], 320), (&large[60..130], 640), (&small[120..150], 320)] {
        for frame in frames {
            let picture = decoder.decode(&frame.data).unwrap().unwrap();
            assert_eq!(picture.size.width(), width);
        }
    }
}

#[test]
fn a_picture_that_comes_late_says_of_which_access_unit_it_is() {
    let baseline = talk_180p();
    let high = clip(include_bytes!("../../../../tests/fixtures/media/talk-180p30-high.h264"));
    let mut decoder = H264Decoder::new();
    for (frames, late) in [(&baseline[..20], 0), (&high[..], 1), (&baseline[..20], 0)] {
        let originals = decoded(&baseline[..20]);
        for (number, frame) in frames.iter().enumerate() {
            let Some(picture) = decoder.decode(&frame.data).unwrap().map(copy) else {
                assert!(number < late);
                continue;
            };
            assert_eq!(decoder.behind(), late);
            let shown = number - late;
            let like = |original: &Picture| psnr(&original.y, &picture.y);
            let best = (0..originals.len()).max_by(|a, b| like(&originals[*a]).total_cmp(&like(&originals[*b])));
            assert_eq!(best, Some(shown), "picture {number}");
        }
    }
}

#[test]
fn a_missing_reference_is_an_error_until_the_next_keyframe() {
    let frames = talk_180p();
    let mut decoder = H264Decoder::new();
    assert_eq!(
        decoder.decode(&frames[1].data).unwrap_err(),
        DecodeError::Broken,
        "before any keyframe"
    );
    for frame in &frames[..20] {
        assert!(decoder.decode(&frame.data).unwrap().is_some());
    }
    for frame in &frames[21..60] {
        assert_eq!(decoder.decode(&frame.data).unwrap_err(), DecodeError::Broken);
    }
    for frame in &frames[60..80] {
        assert!(decoder.decode(&frame.data).unwrap().is_some());
    }
}

#[test]
fn parameter_sets_may_come_alone_and_other_units_do_not_matter() {
    let frames = talk_180p();
    let mut decoder = H264Decoder::new();
    let (mut sets, mut rest) = (Vec::new(), Vec::new());
    for unit in nal_units(&frames[0].data) {
        let to = if matches!(nal_type(unit), Some(SPS | PPS)) {
            &mut sets
        } else {
            &mut rest
        };
        to.extend_from_slice(&START_CODE);
        to.extend_from_slice(unit);
    }
    rest.extend_from_slice(&[0, 0, 1, 9, 0xf0, 0, 0, 1, 6, 5, 1, 0, 0x80, 0, 0, 1, 20, 1, 2, 3]);
    assert!(decoder.decode(&sets).unwrap().is_none());
    assert!(decoder.decode(&rest).unwrap().is_some());
    assert!(decoder.decode(&[]).unwrap().is_none());
    assert!(decoder.decode(&[0, 0, 0, 1, 9, 0xf0]).unwrap().is_none());
    assert!(decoder.decode(&frames[1].data).unwrap().is_some());
}

#[test]
fn a_hostile_size_is_refused_before_the_library_sees_it() {
    let frames = talk_180p();
    let mut decoder = H264Decoder::new();
    let pps = [0, 0, 0, 1, 0x68, 0xce, 0x3c, 0x80];
    let cropped_to_720p = Some([0, (4096 - 1280) / 2, 0, (2304 - 720) / 2]);
    for (mbs, crop, error) in [
        ((240, 136), None, DecodeError::TooLarge),
        ((4095, 4095), None, DecodeError::TooLarge),
        ((100_000, 100_000), None, DecodeError::Broken),
        ((256, 144), cropped_to_720p, DecodeError::TooLarge),
    ] {
        let mut unit = START_CODE.to_vec();
        unit.extend(crate::rtp::h264::tests::sps_of(66, mbs, true, crop));
        unit.extend(pps);
        assert_eq!(decoder.decode(&unit).unwrap_err(), error, "{mbs:?}");
        assert_eq!(decoder.decode(&frames[1].data).unwrap_err(), DecodeError::Broken);
        assert!(decoder.decode(&frames[0].data).unwrap().is_some());
    }
    // 240×135 macroblocks of baseline with 16 reference frames, more than any level has
    let greedy = [0, 0, 1, 0x67, 66, 0xc0, 52, 0xd8, 0x44, 0x03, 0xc0, 0x04, 0x3e, 0x40];
    let parameters = crate::rtp::h264::parameters(&greedy[3..]).unwrap();
    assert_eq!((parameters.macroblocks, parameters.reference_frames), (240 * 135, 16));
    assert_eq!(decoder.decode(&greedy).unwrap_err(), DecodeError::TooLarge);
    let endless = vec![0u8; 4 << 20];
    assert_eq!(decoder.decode(&endless).unwrap_err(), DecodeError::TooLarge);
}

/// One way in which an access unit is not what was sent.
fn mutated(original: &[u8], others: &[Vec<u8>], random: &mut StdRng) -> Vec<u8> {
    let mut bytes = original.to_vec();
    match random.random_range(0..6) {
        0 => bytes.truncate(random.random_range(0..bytes.len())),
        1 => {
            for _ in 0..random.random_range(1..20) {
                let at = random.random_range(0..bytes.len());
                bytes[at] = random.random();
            }
        }
        2 => {
            // close to the start, where the headers are
            let at = random.random_range(0..bytes.len().min(48));
            bytes[at] ^= 1 << random.random_range(0..8);
        }
        3 => {
            let from = random.random_range(0..bytes.len());
            let to = random.random_range(from..bytes.len());
            bytes.drain(from..to);
        }
        4 => {
            let other = &others[random.random_range(0..others.len())];
            let at = random.random_range(0..bytes.len());
            bytes.truncate(at);
            bytes.extend_from_slice(&other[random.random_range(0..other.len())..]);
        }
        _ => bytes = (0..random.random_range(0..400)).map(|_| random.random()).collect(),
    }
    bytes
}

#[test]
fn damaged_access_units_never_panic_and_the_next_keyframe_is_whole_again() {
    let size = Size::even(112, 80).unwrap();
    let units = encoded(size, 4, 16);
    let frames: Vec<Vec<u8>> = talk_180p()[..12].iter().map(|frame| frame.data.to_vec()).collect();
    let (mut broken, mut shown) = (0, 0);
    // 3347: damage that a decoder took without a word made it refuse the keyframe after it
    for seed in (0..150).chain([3347]) {
        let mut random = StdRng::seed_from_u64(seed);
        let (units, other) = if seed % 8 == 0 {
            (&frames, &units)
        } else {
            (&units, &frames)
        };
        let mut decoder = H264Decoder::new();
        for unit in units {
            let damaged = random.random_bool(0.5).then(|| mutated(unit, other, &mut random));
            match decoder.decode(damaged.as_deref().unwrap_or(unit)) {
                Ok(picture) => shown += usize::from(picture.map(copy).is_some()),
                Err(_) => broken += 1,
            }
        }
        let picture = decoder
            .decode(&units[0])
            .unwrap_or_else(|error| panic!("seed {seed}: {error:?}"));
        let whole = H264Decoder::new().decode(&units[0]).unwrap().map(copy);
        assert!(picture.map(copy) == whole && whole.is_some(), "seed {seed}");
    }
    assert!(broken > 500 && shown > 500, "{broken} broken, {shown} shown");
}

#[test]
#[cfg(target_arch = "x86_64")]
fn the_library_is_built_with_its_avx2_kernels() {
    // SAFETY: never called; only its address is taken. `.cargo/config.toml` has the switches that build it.
    unsafe extern "C" {
        fn WelsSampleSatd16x16_avx2();
    }
    assert_ne!(WelsSampleSatd16x16_avx2 as *const () as usize, 0);
}
