//! Supplemental enhancement information (H.264 §7.3.2.3, annex D): data of an application beside a picture, which decoders
//! that do not know it pass over.

use super::{TYPE, start_code};

/// NAL unit type of SEI (table 7-1); no picture is predicted from it.
const SEI: u8 = 6;
/// `payloadType` of `user_data_unregistered` (§D.1.1), which says by a UUID whose data it is (§D.2.7).
const USER_DATA_UNREGISTERED: u8 = 5;
/// `rbsp_trailing_bits` (§7.3.2.11) behind whole bytes.
const TRAILING: u8 = 0x80;

/// Appends `access_unit` (Annex B) to `out` with data of an application in front of its first slice, where SEI belongs
/// (§7.4.1.2.3). An access unit without a slice stays as it is.
pub fn with_user_data(access_unit: &[u8], uuid: &[u8; 16], data: &[u8], out: &mut Vec<u8>) {
    let (before, from) = access_unit
        .split_at_checked(first_slice(access_unit).unwrap_or(usize::MAX))
        .unwrap_or((access_unit, &[]));
    out.extend_from_slice(before);
    if from.is_empty() {
        return;
    }
    out.extend_from_slice(&[0, 0, 0, 1, SEI]);
    let mut body = Escaped { out, zeros: 0 };
    body.push(USER_DATA_UNREGISTERED);
    // the size in steps of 255 (§7.3.2.3.1)
    let mut size = uuid.len() + data.len();
    while size >= 255 {
        body.push(255);
        size -= 255;
    }
    // less than 255
    body.push(size as u8);
    uuid.iter().chain(data).for_each(|byte| body.push(*byte));
    body.push(TRAILING);
    out.extend_from_slice(from);
}

/// Where the start code in front of the first slice begins.
fn first_slice(stream: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += start_code(stream.get(at..)?)?;
        // slices of non-IDR pictures, data partitions, slices of IDR pictures (table 7-1)
        if matches!(stream.get(at + 3)? & TYPE, 1..=5) {
            return Some(at);
        }
        at += 3;
    }
}

/// Bytes of a NAL unit, in which nothing looks like a start code (§7.4.1.1).
struct Escaped<'o> {
    out: &'o mut Vec<u8>,
    /// That end what has been written.
    zeros: u8,
}

impl Escaped<'_> {
    fn push(&mut self, byte: u8) {
        if self.zeros >= 2 && byte <= 3 {
            self.out.push(3);
            self.zeros = 0;
        }
        self.zeros = if byte == 0 { self.zeros + 1 } else { 0 };
        self.out.push(byte);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::rtp::h264::nal_units;
    use rand::{Rng, SeedableRng, rngs::StdRng};

    /// What the SEI units of an access unit carry for this UUID, by the text of §7.3.2.3.
    pub(crate) fn user_data(access_unit: &[u8], uuid: &[u8; 16]) -> Vec<Vec<u8>> {
        let units = nal_units(access_unit).filter(|unit| unit[0] & TYPE == SEI);
        let bodies = units.map(|unit| {
            let (mut raw, mut zeros) = (vec![], 0);
            for byte in &unit[1..] {
                if zeros == 2 && *byte == 3 {
                    zeros = 0;
                    continue;
                }
                zeros = if *byte == 0 { zeros + 1 } else { 0 };
                raw.push(*byte);
            }
            assert_eq!(raw[0], USER_DATA_UNREGISTERED);
            let steps = raw[1..].iter().take_while(|byte| **byte == 255).count();
            let size = steps * 255 + usize::from(raw[1 + steps]);
            let payload = &raw[2 + steps..];
            assert_eq!(payload[size..], [TRAILING], "one message, and nothing behind it");
            assert_eq!(payload[..16], *uuid);
            payload[16..size].to_vec()
        });
        bodies.collect()
    }

    #[test]
    fn whatever_is_carried_comes_back_and_the_rest_is_as_it_was() {
        let unit = [
            0, 0, 0, 1, 0x67, 9, 9, 0, 0, 1, 0x68, 7, 0, 0, 0, 1, 0x65, 1, 2, 0, 0, 1, 0x65, 3,
        ];
        let mut random = StdRng::seed_from_u64(1);
        for len in (0..60).chain([237, 238, 239, 240, 493, 494, 495, 1000]) {
            // mostly what has to be escaped
            let mut byte = || [0, 0, 0, 1, 2, 3, 4, 255][random.random_range(0..8)];
            let (uuid, data) = ([(); 16].map(|()| byte()), (0..len).map(|_| byte()).collect::<Vec<u8>>());
            let mut out = vec![];
            with_user_data(&unit, &uuid, &data, &mut out);
            assert_eq!(user_data(&out, &uuid), [data], "{len} bytes");
            let types: Vec<u8> = nal_units(&out).map(|unit| unit[0]).collect();
            assert_eq!(types, [0x67, 0x68, 6, 0x65, 0x65]);
            let others = nal_units(&out).filter(|unit| unit[0] != 6);
            assert!(others.eq(nal_units(&unit)));
        }
    }

    #[test]
    fn without_a_slice_nothing_is_carried() {
        for unit in [&[][..], &[0, 0, 1], &[0, 0, 1, 0x67, 5], &[1, 2, 3]] {
            let mut out = vec![];
            with_user_data(unit, &[7; 16], b"data", &mut out);
            assert_eq!(out, unit);
        }
    }
}
