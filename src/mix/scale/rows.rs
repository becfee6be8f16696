//! The inner loops of the scaler, a row at a time: portable, AVX2 on x86-64, NEON on aarch64. All of them give the same
//! bytes. Where the compiler makes good vector code of the plain loop, the plain loop is all there is: on aarch64 it does so
//! by itself, on x86-64 it is compiled a second time with AVX2.
#![expect(
    unsafe_code,
    reason = "vector instructions: the processor has them, and loads stay within their slices"
)]

/// Weights are in 64ths: 255 × 64 fits the signed 16 bits that `pmaddubsw` sums to.
pub(super) const UNIT: u8 = 64;

/// Where one sample of the target lies between two of the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tap {
    /// The first of the two; the second is the next, if there is one.
    pub index: usize,
    /// Of the second, in 64ths; the first has the rest.
    pub weight: u8,
}

impl Tap {
    /// Of the `n`-th of `to` samples that cover the same length as `from` samples, centre on centre.
    pub fn new(n: usize, from: usize, to: usize) -> Tap {
        let unit = usize::from(UNIT);
        let position = ((2 * n + 1) * from * unit + to) / (2 * to);
        let position = position.saturating_sub(unit / 2).min((from - 1) * unit);
        let index = (position / unit).min(from.saturating_sub(2));
        let weight =
            u8::try_from(position - index * unit).expect("the last sample is at most one unit from the one before");
        Tap { index, weight }
    }
}

/// Eight neighbouring taps, for one load of 16 bytes and one shuffle.
#[derive(Debug)]
#[repr(C, align(16))]
struct Group {
    /// From the load, alternately the first and the second byte of each tap.
    shuffle: [u8; 16],
    weights: [u8; 16],
    /// First byte of the load.
    base: usize,
}

/// How a row gets its new width.
#[derive(Debug)]
pub(super) struct Taps {
    taps: Vec<Tap>,
    /// Of all whole eights of taps; none where a load of 16 bytes does not reach from the first to the last of them.
    groups: Vec<Group>,
    /// Of the last sixteen, which the groups may not reach: what both give is the same.
    last: Option<[Group; 2]>,
}

impl Taps {
    pub fn new(from: usize, to: usize) -> Self {
        let taps: Vec<_> = (0..to).map(|n| Tap::new(n, from, to)).collect();
        let groups = from.checked_sub(16).and_then(|last_base| {
            let groups: Option<Vec<_>> = taps.chunks_exact(8).map(|eight| group(eight, last_base)).collect();
            let (rest, last_eight) = taps.split_last_chunk::<8>()?;
            let last = [
                group(rest.last_chunk::<8>()?, last_base)?,
                group(last_eight, last_base)?,
            ];
            Some((groups?, last))
        });
        let (groups, last) = groups.map_or_else(Default::default, |(groups, last)| (groups, Some(last)));
        Taps { taps, groups, last }
    }
}

fn group(eight: &[Tap], last_base: usize) -> Option<Group> {
    let base = eight.first()?.index.min(last_base);
    let mut group = Group {
        shuffle: [0; 16],
        weights: [0; 16],
        base,
    };
    for (n, tap) in eight.iter().enumerate() {
        let offset = u8::try_from(tap.index - base).ok().filter(|&offset| offset < 15)?;
        (group.shuffle[2 * n], group.shuffle[2 * n + 1]) = (offset, offset + 1);
        (group.weights[2 * n], group.weights[2 * n + 1]) = (UNIT - tap.weight, tap.weight);
    }
    Some(group)
}

/// The fastest of the three for this processor.
macro_rules! fastest {
    ($kernel:ident($($argument:expr),*)) => {{
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has AVX2
            return unsafe { avx2::$kernel($($argument),*) };
        }
        #[cfg(target_arch = "aarch64")]
        // SAFETY: every AArch64 processor that Rust's std runs on has NEON
        return unsafe { neon::$kernel($($argument),*) };
        #[cfg(not(target_arch = "aarch64"))]
        portable::$kernel($($argument),*)
    }};
}

/// Between row `a` and row `b`, `weight` 64ths of the way.
pub(super) fn between(a: &[u8], b: &[u8], weight: u8, out: &mut [u8]) {
    fastest!(between(a, b, weight, out));
}

/// The mean of two rows.
pub(super) fn mean(a: &[u8], b: &[u8], out: &mut [u8]) {
    fastest!(mean(a, b, out));
}

/// Half the width: the mean of every two samples. `row` has at least twice as many as `out`.
pub(super) fn halve(row: &[u8], out: &mut [u8]) {
    fastest!(halve(row, out));
}

/// Half the width and height: the mean of every two samples of two rows. Both have at least twice as many as `out`.
pub(super) fn quarter(a: &[u8], b: &[u8], out: &mut [u8]) {
    fastest!(quarter(a, b, out));
}

/// Another width, for which `taps` were made.
pub(super) fn resample(row: &[u8], taps: &Taps, out: &mut [u8]) {
    fastest!(resample(row, taps, out));
}

mod portable {
    use super::{Taps, UNIT};

    #[inline(always)]
    fn mix(a: u8, b: u8, weight: u8) -> u8 {
        let sum = u16::from(a) * u16::from(UNIT - weight) + u16::from(b) * u16::from(weight);
        ((sum + u16::from(UNIT / 2)) >> 6) as u8
    }

    #[inline(always)]
    pub fn between(a: &[u8], b: &[u8], weight: u8, out: &mut [u8]) {
        for ((out, &a), &b) in out.iter_mut().zip(a).zip(b) {
            *out = mix(a, b, weight);
        }
    }

    #[inline(always)]
    pub fn mean(a: &[u8], b: &[u8], out: &mut [u8]) {
        for ((out, &a), &b) in out.iter_mut().zip(a).zip(b) {
            *out = (u16::from(a) + u16::from(b)).div_ceil(2) as u8;
        }
    }

    #[inline(always)]
    pub fn halve(row: &[u8], out: &mut [u8]) {
        for (out, pair) in out.iter_mut().zip(row.chunks_exact(2)) {
            *out = (u16::from(pair[0]) + u16::from(pair[1])).div_ceil(2) as u8;
        }
    }

    #[inline(always)]
    pub fn quarter(a: &[u8], b: &[u8], out: &mut [u8]) {
        for ((out, a), b) in out.iter_mut().zip(a.chunks_exact(2)).zip(b.chunks_exact(2)) {
            let sum = u16::from(a[0]) + u16::from(a[1]) + u16::from(b[0]) + u16::from(b[1]);
            *out = ((sum + 2) >> 2) as u8;
        }
    }

    pub fn resample(row: &[u8], taps: &Taps, out: &mut [u8]) {
        for (out, tap) in out.iter_mut().zip(&taps.taps) {
            let a = row[tap.index];
            // the only sample of a row has no neighbour, and needs none
            let b = row.get(tap.index + 1).copied().unwrap_or(a);
            *out = mix(a, b, tap.weight);
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use super::{Group, Taps, UNIT, portable};
    use std::arch::x86_64::*;

    #[target_feature(enable = "avx2")]
    pub fn between(a: &[u8], b: &[u8], weight: u8, out: &mut [u8]) {
        let weights = _mm256_set1_epi16((i16::from(weight) << 8) | i16::from(UNIT - weight));
        let mix = |pairs| {
            let sums = _mm256_add_epi16(_mm256_maddubs_epi16(pairs, weights), _mm256_set1_epi16(32));
            _mm256_srli_epi16::<6>(sums)
        };
        let mut done = 0;
        for ((a, b), out) in a.chunks_exact(32).zip(b.chunks_exact(32)).zip(out.chunks_exact_mut(32)) {
            // SAFETY: all three are 32 bytes, which need no alignment
            unsafe {
                let (a, b) = (
                    _mm256_loadu_si256(a.as_ptr().cast()),
                    _mm256_loadu_si256(b.as_ptr().cast()),
                );
                // unpacking and packing leave the two halves of the register apart in the same way
                let mixed = _mm256_packus_epi16(mix(_mm256_unpacklo_epi8(a, b)), mix(_mm256_unpackhi_epi8(a, b)));
                _mm256_storeu_si256(out.as_mut_ptr().cast(), mixed);
            }
            done += 32;
        }
        portable::between(&a[done..], &b[done..], weight, &mut out[done..]);
    }

    #[target_feature(enable = "avx2")]
    pub fn mean(a: &[u8], b: &[u8], out: &mut [u8]) {
        portable::mean(a, b, out);
    }

    #[target_feature(enable = "avx2")]
    pub fn halve(row: &[u8], out: &mut [u8]) {
        let (mut blocks, mut outs) = (row.chunks_exact(64), out.chunks_exact_mut(32));
        for (block, out) in (&mut blocks).zip(&mut outs) {
            let sums = pair_sums(block);
            let one = _mm256_set1_epi16(1);
            let halves = sums.map(|sum| _mm256_srli_epi16::<1>(_mm256_add_epi16(sum, one)));
            store(halves, out);
        }
        let done = row.len().min(out.len() * 2) / 64 * 32;
        portable::halve(&row[done * 2..], &mut out[done..]);
    }

    #[target_feature(enable = "avx2")]
    pub fn quarter(a: &[u8], b: &[u8], out: &mut [u8]) {
        let blocks = a.chunks_exact(64).zip(b.chunks_exact(64));
        let mut done = 0;
        for ((a, b), out) in blocks.zip(out.chunks_exact_mut(32)) {
            let (a, b) = (pair_sums(a), pair_sums(b));
            let two = _mm256_set1_epi16(2);
            let quarter = |a, b| _mm256_srli_epi16::<2>(_mm256_add_epi16(_mm256_add_epi16(a, b), two));
            store([quarter(a[0], b[0]), quarter(a[1], b[1])], out);
            done += 32;
        }
        portable::quarter(&a[done * 2..], &b[done * 2..], &mut out[done..]);
    }

    #[target_feature(enable = "avx2")]
    pub fn resample(row: &[u8], taps: &Taps, out: &mut [u8]) {
        let (Some(last), Some(last_at)) = (&taps.last, out.len().checked_sub(16)) else {
            return portable::resample(row, taps, out);
        };
        for (groups, out) in taps.groups.as_chunks::<2>().0.iter().zip(out.as_chunks_mut().0) {
            sixteen(row, groups, out);
        }
        if let Some(out) = out[last_at..].first_chunk_mut() {
            sixteen(row, last, out);
        }
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    fn sixteen(row: &[u8], groups: &[Group; 2], out: &mut [u8; 16]) {
        let weights = both(&groups[0].weights, &groups[1].weights);
        let shuffle = both(&groups[0].shuffle, &groups[1].shuffle);
        let pairs = _mm256_shuffle_epi8(both(window(row, &groups[0]), window(row, &groups[1])), shuffle);
        let sums = _mm256_add_epi16(_mm256_maddubs_epi16(pairs, weights), _mm256_set1_epi16(32));
        let mixed = _mm256_srli_epi16::<6>(sums);
        // each half of the register packs by itself: the results are its first and third quarter
        let packed = _mm256_permute4x64_epi64::<0b1000>(_mm256_packus_epi16(mixed, mixed));
        // SAFETY: `out` is 16 bytes, which need no alignment
        unsafe { _mm_storeu_si128(out.as_mut_ptr().cast(), _mm256_castsi256_si128(packed)) };
    }

    #[inline(always)]
    fn window<'r>(row: &'r [u8], group: &Group) -> &'r [u8; 16] {
        row[group.base..]
            .first_chunk()
            .expect("groups exist for rows of this width only")
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    fn both(low: &[u8; 16], high: &[u8; 16]) -> __m256i {
        // SAFETY: both are 16 bytes, which need no alignment
        unsafe { _mm256_loadu2_m128i(high.as_ptr().cast(), low.as_ptr().cast()) }
    }

    /// Of 64 bytes the 32 sums of two.
    #[target_feature(enable = "avx2")]
    #[inline]
    fn pair_sums(block: &[u8]) -> [__m256i; 2] {
        let (low, high) = block.split_at(32);
        assert!(high.len() == 32, "a block is 64 bytes");
        // SAFETY: both halves are 32 bytes, which need no alignment
        let halves: [__m256i; 2] = unsafe {
            [
                _mm256_loadu_si256(low.as_ptr().cast()),
                _mm256_loadu_si256(high.as_ptr().cast()),
            ]
        };
        let one = _mm256_set1_epi8(1);
        [
            _mm256_maddubs_epi16(halves[0], one),
            _mm256_maddubs_epi16(halves[1], one),
        ]
    }

    /// 32 numbers of 16 bits as bytes.
    #[target_feature(enable = "avx2")]
    #[inline]
    fn store(wide: [__m256i; 2], out: &mut [u8]) {
        assert!(out.len() == 32, "two registers are 32 bytes");
        // packing interleaves the halves of both registers
        let packed = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packus_epi16(wide[0], wide[1]));
        // SAFETY: `out` is 32 bytes, which need no alignment
        unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), packed) };
    }
}

#[cfg(target_arch = "aarch64")]
mod neon {
    use super::{Group, Taps, portable};
    use std::arch::aarch64::*;

    #[target_feature(enable = "neon")]
    pub fn between(a: &[u8], b: &[u8], weight: u8, out: &mut [u8]) {
        portable::between(a, b, weight, out);
    }

    #[target_feature(enable = "neon")]
    pub fn mean(a: &[u8], b: &[u8], out: &mut [u8]) {
        portable::mean(a, b, out);
    }

    #[target_feature(enable = "neon")]
    pub fn halve(row: &[u8], out: &mut [u8]) {
        let mut done = 0;
        for (block, out) in row.chunks_exact(16).zip(out.chunks_exact_mut(8)) {
            store(vrshrn_n_u16::<1>(vpaddlq_u8(load(block))), out);
            done += 8;
        }
        portable::halve(&row[done * 2..], &mut out[done..]);
    }

    #[target_feature(enable = "neon")]
    pub fn quarter(a: &[u8], b: &[u8], out: &mut [u8]) {
        let blocks = a.chunks_exact(16).zip(b.chunks_exact(16));
        let mut done = 0;
        for ((a, b), out) in blocks.zip(out.chunks_exact_mut(8)) {
            store(vrshrn_n_u16::<2>(vpadalq_u8(vpaddlq_u8(load(a)), load(b))), out);
            done += 8;
        }
        portable::quarter(&a[done * 2..], &b[done * 2..], &mut out[done..]);
    }

    #[target_feature(enable = "neon")]
    pub fn resample(row: &[u8], taps: &Taps, out: &mut [u8]) {
        let (Some([_, last]), Some(last_at)) = (&taps.last, out.len().checked_sub(8)) else {
            return portable::resample(row, taps, out);
        };
        for (group, out) in taps.groups.iter().zip(out.chunks_exact_mut(8)) {
            eight(row, group, out);
        }
        eight(row, last, &mut out[last_at..]);
    }

    #[target_feature(enable = "neon")]
    #[inline]
    fn eight(row: &[u8], group: &Group, out: &mut [u8]) {
        let pairs = vqtbl1q_u8(load(&row[group.base..group.base + 16]), load(&group.shuffle));
        let weights = load(&group.weights);
        let low = vmull_u8(vget_low_u8(pairs), vget_low_u8(weights));
        let high = vmull_high_u8(pairs, weights);
        store(vrshrn_n_u16::<6>(vpaddq_u16(low, high)), out);
    }

    #[target_feature(enable = "neon")]
    #[inline]
    fn load(block: &[u8]) -> uint8x16_t {
        assert!(block.len() == 16, "a register is 16 bytes");
        // SAFETY: `block` is 16 bytes, which need no alignment
        unsafe { vld1q_u8(block.as_ptr()) }
    }

    #[target_feature(enable = "neon")]
    #[inline]
    fn store(eight: uint8x8_t, out: &mut [u8]) {
        assert!(out.len() == 8, "half a register is 8 bytes");
        // SAFETY: `out` is 8 bytes, which need no alignment
        unsafe { vst1_u8(out.as_mut_ptr(), eight) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes(len: usize, seed: u64) -> Vec<u8> {
        let mut state = seed | 1;
        let step = move |_| {
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            // every third byte an extreme, where rounding and saturation show
            match state >> 62 {
                0 => 0,
                1 => 255,
                _ => (state >> 40) as u8,
            }
        };
        (0..len).map(step).collect()
    }

    /// The second part of a longer buffer, so that nothing is aligned.
    fn after(all: &mut [u8], offset: usize) -> &mut [u8] {
        &mut all[offset..]
    }

    proptest! {
        #[test]
        fn vector_code_gives_the_bytes_of_the_plain_loops(
            width in 0_usize..300, offset in 0_usize..33, spare in 0_usize..3, weight in 0..=UNIT, seed: u64,
        ) {
            let row = bytes(offset + 2 * width + spare, seed);
            let other = bytes(offset + 2 * width + spare, !seed);
            let (a, b) = (&row[offset..], &other[offset..]);
            let mut expected = vec![7; offset + width];
            let mut fast = expected.clone();
            type Kernel<'k> = &'k dyn Fn(&mut [u8]);
            let pairs: [(Kernel, Kernel); 4] = [
                (&|out| portable::between(a, b, weight, out), &|out| between(a, b, weight, out)),
                (&|out| portable::mean(a, b, out), &|out| mean(a, b, out)),
                (&|out| portable::halve(a, out), &|out| halve(a, out)),
                (&|out| portable::quarter(a, b, out), &|out| quarter(a, b, out)),
            ];
            for (plain, vector) in pairs {
                plain(after(&mut expected, offset));
                vector(after(&mut fast, offset));
                prop_assert_eq!(&expected, &fast);
            }
        }

        #[test]
        fn vector_code_resamples_as_the_plain_loop_does(from in 1_usize..400, to in 1_usize..400, seed: u64) {
            let row = bytes(from, seed);
            let taps = Taps::new(from, to);
            let (mut expected, mut fast) = (vec![7; to], vec![7; to]);
            portable::resample(&row, &taps, &mut expected);
            resample(&row, &taps, &mut fast);
            prop_assert_eq!(expected, fast);
        }

        #[test]
        fn what_the_scaler_asks_for_has_vector_code(to in 16_usize..1000, extra in 0_usize..1000) {
            let from = (to + extra).min(2 * to).max(16);
            let taps = Taps::new(from, to);
            prop_assert_eq!(taps.groups.len(), to / 8);
            prop_assert!(taps.last.is_some());
        }
    }

    #[test]
    fn taps_lie_centre_on_centre() {
        let tap = |n, from, to| Tap::new(n, from, to);
        assert_eq!(tap(3, 10, 10), Tap { index: 3, weight: 0 });
        assert_eq!(tap(2, 10, 5), Tap { index: 4, weight: 32 });
        assert_eq!(
            tap(0, 4, 8),
            Tap { index: 0, weight: 0 },
            "before the first centre there is only the first"
        );
        assert_eq!(tap(1, 4, 8), Tap { index: 0, weight: 16 });
        assert_eq!(
            tap(7, 4, 8),
            Tap { index: 2, weight: 64 },
            "after the last centre only the last"
        );
        assert_eq!(tap(5, 1, 9), Tap { index: 0, weight: 0 });
    }
}
