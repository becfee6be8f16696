//! Bits of codec headers, most significant first.

/// Reads bits; past the end there is nothing.
#[derive(Clone, Debug)]
pub(crate) struct Bits<'a> {
    bytes: &'a [u8],
    /// In bits.
    at: usize,
}

impl<'a> Bits<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Bits { bytes, at: 0 }
    }

    pub(crate) fn bit(&mut self) -> Option<bool> {
        let byte = *self.bytes.get(self.at / 8)?;
        let bit = byte >> (7 - self.at % 8) & 1;
        self.at += 1;
        Some(bit == 1)
    }

    /// At most 32 bits.
    pub(crate) fn bits(&mut self, count: u32) -> Option<u32> {
        debug_assert!(count <= 32);
        let mut value = 0u32;
        for _ in 0..count {
            value = (value << 1) | u32::from(self.bit()?);
        }
        Some(value)
    }

    pub(crate) fn skip(&mut self, count: usize) {
        self.at = self.at.saturating_add(count);
    }

    /// Unsigned Exp-Golomb (H.264 §9.1; AV1's uvlc() is the same code).
    pub(crate) fn exp_golomb(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while !self.bit()? {
            zeros += 1;
            if zeros > 31 {
                return None;
            }
        }
        Some((1u32 << zeros) - 1 + self.bits(zeros)?)
    }

    /// Signed Exp-Golomb (H.264 §9.1.1).
    pub(crate) fn signed_exp_golomb(&mut self) -> Option<i32> {
        let code = i64::from(self.exp_golomb()?);
        let magnitude = i32::try_from((code + 1) / 2).ok()?;
        Some(if code % 2 == 1 { magnitude } else { -magnitude })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_to_the_end_and_not_further() {
        let mut bits = Bits::new(&[0b1010_0110, 0xff]);
        assert_eq!((bits.bit(), bits.bits(4)), (Some(true), Some(0b0100)));
        bits.skip(3);
        assert_eq!((bits.bits(8), bits.bit()), (Some(0xff), None));
        bits.skip(usize::MAX);
        assert_eq!(bits.bits(1), None);
    }

    #[test]
    fn exp_golomb_codes() {
        // 1 | 010 | 011 | 00100 | 00101
        let bytes = [0b1010_0110, 0b0100_0010, 0b1000_0000];
        let mut bits = Bits::new(&bytes);
        assert_eq!([(); 5].map(|()| bits.exp_golomb()), [0, 1, 2, 3, 4].map(Some));
        let mut bits = Bits::new(&bytes);
        assert_eq!([(); 5].map(|()| bits.signed_exp_golomb()), [0, 1, -1, 2, -2].map(Some));
        assert_eq!(Bits::new(&[0; 9]).exp_golomb(), None);
    }
}
