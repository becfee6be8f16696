//! The RTP header of an outgoing packet, written straight into the batch.

use crate::rtp::extension::PackedElements;
use crate::rtp::header::{Fields, HeaderWriter};
use crate::rtp::parameters::SendTrack;
use crate::rtp::{Extension, ExtensionMap};

/// Extension values the server makes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Own {
    /// Written if negotiated.
    pub(super) transport_sequence: u16,
    /// 24 bit, 6.18 fixed-point seconds; written only where transport-cc is not negotiated.
    pub(super) abs_send_time: u32,
}

/// Extension values that come from the publisher.
#[derive(Clone, Copy, Debug)]
pub(super) struct PassedOn<'p> {
    /// As in [`PacketView`](crate::rtp::PacketView).
    pub(super) packed: &'p [u8],
    /// Added to the frame number of a dependency descriptor, so that numbers go on over a switch.
    pub(super) frame_number_offset: u16,
}

/// How the header extensions of one m-line are written for one viewer.
#[derive(Debug)]
pub(super) struct Extensions {
    ids: ExtensionMap,
    mid: Box<[u8]>,
    pub(super) transport_cc: bool,
}

/// The mandatory fields of a dependency descriptor: start, end and template id, then the frame number (AV1 RTP
/// specification, A.8.3).
const MANDATORY_FIELDS: usize = 3;

impl Extensions {
    pub(super) fn new(track: &SendTrack) -> Self {
        let ids = track.extensions;
        Extensions {
            ids,
            mid: track.mid.as_bytes().into(),
            transport_cc: ids.id(Extension::TransportCc).is_some(),
        }
    }

    /// Appends a whole header and returns its length in bytes.
    pub(super) fn write(&self, out: &mut Vec<u8>, fields: &Fields, own: Own, passed_on: PassedOn) -> usize {
        let mut writer = HeaderWriter::new(out, fields);
        if let Some(id) = self.ids.id(Extension::Mid) {
            writer.element(id, &self.mid);
        }
        if let Some(id) = self.ids.id(Extension::TransportCc) {
            writer.element(id, &own.transport_sequence.to_be_bytes());
        } else if let Some(id) = self.ids.id(Extension::AbsSendTime) {
            let [_, time @ ..] = own.abs_send_time.to_be_bytes();
            writer.element(id, &time);
        }
        for (extension, value) in PackedElements::new(passed_on.packed) {
            match self.ids.id(extension) {
                Some(id) if extension == Extension::DependencyDescriptor && passed_on.frame_number_offset != 0 => {
                    shifted(value, passed_on.frame_number_offset, |value| writer.element(id, value));
                }
                Some(id) => writer.element(id, value),
                None => {}
            }
        }
        writer.finish()
    }
}

/// The frame number of the dependency descriptor among packed extensions.
pub(super) fn frame_number(packed: &[u8]) -> Option<u16> {
    let (_, descriptor) =
        PackedElements::new(packed).find(|(extension, _)| *extension == Extension::DependencyDescriptor)?;
    Some(u16::from_be_bytes(*descriptor.get(1..)?.first_chunk()?))
}

/// Hands on a dependency descriptor whose frame number is `offset` further.
fn shifted(descriptor: &[u8], offset: u16, take: impl FnOnce(&[u8])) {
    let mut copy = [0; u8::MAX as usize];
    match copy.get_mut(..descriptor.len()) {
        Some(copy) if descriptor.len() >= MANDATORY_FIELDS => {
            copy.copy_from_slice(descriptor);
            let number = u16::from_be_bytes([copy[1], copy[2]]).wrapping_add(offset);
            copy[1..MANDATORY_FIELDS].copy_from_slice(&number.to_be_bytes());
            take(copy);
        }
        _ => take(descriptor),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtp::MediaKind;
    use crate::rtp::parameters::Feedback;

    fn extensions(ids: &[(Extension, u8)], mid: &str) -> Extensions {
        let mut map = ExtensionMap::default();
        ids.iter().for_each(|(extension, id)| map.set(*extension, *id));
        Extensions::new(&SendTrack {
            kind: MediaKind::Video,
            mid: mid.to_owned(),
            codecs: vec![],
            extensions: map,
            feedback: Feedback::default(),
            ssrc: 1,
            rtx_ssrc: 2,
        })
    }

    const FIELDS: Fields = Fields {
        marker: true,
        payload_type: 96,
        sequence: 0x0102,
        timestamp: 0x0304_0506,
        ssrc: 0x0708_090a,
    };
    const START: [u8; 12] = [0x90, 0xe0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10];

    fn write(extensions: &Extensions, passed_on: &[u8]) -> Vec<u8> {
        let mut out = vec![0xff; 3];
        let own = Own {
            transport_sequence: 0x0b0c,
            abs_send_time: 0x0012_3456,
        };
        let passed_on = PassedOn {
            packed: passed_on,
            frame_number_offset: 0x0102,
        };
        let length = extensions.write(&mut out, &FIELDS, own, passed_on);
        assert_eq!((length + 3, &out[..3]), (out.len(), &[0xff; 3][..]));
        out.split_off(3)
    }

    #[test]
    fn one_byte_form() {
        let level = [Extension::AudioLevel as u8, 1, 0x85];
        let all = [
            (Extension::Mid, 1),
            (Extension::TransportCc, 3),
            (Extension::AbsSendTime, 2),
            (Extension::AudioLevel, 4),
        ];
        let expected = [
            &START[..],
            &[0xbe, 0xde, 0, 2, 0x10, b'0', 0x31, 0x0b, 0x0c, 0x40, 0x85, 0],
        ]
        .concat();
        assert_eq!(write(&extensions(&all, "0"), &level), expected);
        let without_cc = [(Extension::AbsSendTime, 2)];
        let expected = [&START[..], &[0xbe, 0xde, 0, 1, 0x22, 0x12, 0x34, 0x56]].concat();
        assert_eq!(
            write(&extensions(&without_cc, "0"), &level),
            expected,
            "no mid, no level: not negotiated"
        );
    }

    #[test]
    fn two_byte_form_for_large_ids_and_long_values() {
        let expected = [&START[..], &[0x10, 0, 0, 1, 15, 1, b'0', 0]].concat();
        assert_eq!(write(&extensions(&[(Extension::Mid, 15)], "0"), &[]), expected);
        let descriptor = [&[Extension::DependencyDescriptor as u8, 17][..], &[7; 17]].concat();
        let written = write(&extensions(&[(Extension::DependencyDescriptor, 5)], "0"), &descriptor);
        assert_eq!(frame_number(&descriptor), Some(0x0707));
        assert_eq!(
            written,
            [&START[..], &[0x10, 0, 0, 5, 5, 17, 7, 8, 9], &[7; 14], &[0]].concat()
        );
    }

    #[test]
    fn no_extensions_no_block() {
        let mut expected = START;
        expected[0] = 0x80;
        assert_eq!(
            write(&extensions(&[], "0"), &[Extension::AudioLevel as u8, 1, 0x85]),
            expected
        );
        // broken packed bytes end the list
        assert_eq!(
            write(
                &extensions(&[(Extension::AudioLevel, 1)], "0"),
                &[Extension::AudioLevel as u8, 9, 1]
            ),
            expected
        );
    }
}
