//! RTP header extensions (RFC 8285): which ones the server knows, under which ids a peer uses them, and the values the
//! server reads or changes. The wire form of the elements is in [`header`](super::header).

/// A header extension the server understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Extension {
    Mid,
    Rid,
    RepairedRid,
    AbsSendTime,
    TransportCc,
    AudioLevel,
    AbsCaptureTime,
    PlayoutDelay,
    DependencyDescriptor,
}

impl Extension {
    pub const COUNT: usize = 9;
    pub const ALL: [Extension; Self::COUNT] = [
        Extension::Mid,
        Extension::Rid,
        Extension::RepairedRid,
        Extension::AbsSendTime,
        Extension::TransportCc,
        Extension::AudioLevel,
        Extension::AbsCaptureTime,
        Extension::PlayoutDelay,
        Extension::DependencyDescriptor,
    ];
    /// Those whose values describe the media and so travel on from the publisher to the viewers. The others describe
    /// one transport.
    pub const FORWARDED: [Extension; 4] = [
        Extension::AudioLevel,
        Extension::AbsCaptureTime,
        Extension::PlayoutDelay,
        Extension::DependencyDescriptor,
    ];

    /// The URI of `a=extmap` (RFC 8285 §5).
    pub fn uri(self) -> &'static str {
        match self {
            Extension::Mid => "urn:ietf:params:rtp-hdrext:sdes:mid",
            Extension::Rid => "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id",
            Extension::RepairedRid => "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id",
            Extension::AbsSendTime => "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time",
            Extension::TransportCc => "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01",
            Extension::AudioLevel => "urn:ietf:params:rtp-hdrext:ssrc-audio-level",
            Extension::AbsCaptureTime => "http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time",
            Extension::PlayoutDelay => "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay",
            Extension::DependencyDescriptor => {
                "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension"
            }
        }
    }

    /// The extension an `a=extmap` URI names, if the server knows it.
    pub fn from_uri(uri: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|extension| extension.uri() == uri)
    }

    /// The inverse of `extension as u8`.
    pub fn from_index(index: u8) -> Option<Self> {
        Self::ALL.get(usize::from(index)).copied()
    }

    /// Whether it is one of [`FORWARDED`](Self::FORWARDED).
    pub fn is_forwarded(self) -> bool {
        matches!(
            self,
            Extension::AudioLevel
                | Extension::AbsCaptureTime
                | Extension::PlayoutDelay
                | Extension::DependencyDescriptor
        )
    }
}

/// The ids one peer's session description gave to extensions of one m-line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExtensionMap {
    /// By [`Extension`]; 0 = not negotiated.
    ids: [u8; Extension::COUNT],
}

impl ExtensionMap {
    pub fn id(&self, extension: Extension) -> Option<u8> {
        Some(self.ids[extension as usize]).filter(|id| *id != 0)
    }

    pub fn set(&mut self, extension: Extension, id: u8) {
        self.ids[extension as usize] = id;
    }

    /// The extension that has this id on the wire.
    pub fn extension(&self, id: u8) -> Option<Extension> {
        if id == 0 {
            return None;
        }
        let index = self.ids.iter().position(|known| *known == id)?;
        Extension::ALL.get(index).copied()
    }
}

/// Iterates over packed elements, see [`PacketView::extensions`](super::PacketView::extensions). Stops at the first
/// malformed one.
#[derive(Clone, Debug)]
pub struct PackedElements<'a> {
    rest: &'a [u8],
}

impl<'a> PackedElements<'a> {
    pub fn new(packed: &'a [u8]) -> Self {
        PackedElements { rest: packed }
    }
}

impl<'a> Iterator for PackedElements<'a> {
    type Item = (Extension, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (index, len) = (*self.rest.first()?, *self.rest.get(1)?);
        let end = 2 + usize::from(len);
        let value = self.rest.get(2..end)?;
        self.rest = self.rest.get(end..)?;
        Some((Extension::from_index(index)?, value))
    }
}

/// Append one packed element. Values of more than 255 bytes do not occur in RFC 8285 and are left out.
pub fn pack_element(out: &mut Vec<u8>, extension: Extension, value: &[u8]) {
    if let Ok(len) = u8::try_from(value.len()) {
        out.extend_from_slice(&[extension as u8, len]);
        out.extend_from_slice(value);
    }
}

/// Client-to-mixer audio level (RFC 6464).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AudioLevel {
    /// The encoder takes it for speech; not every encoder says.
    pub voice: bool,
    /// Loudness below overload in dB: 0 is the loudest, 127 silence.
    pub below_overload_db: u8,
}

impl AudioLevel {
    /// RFC 6464 §3: one byte; the two-byte header form may pad it.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let byte = *value.first()?;
        Some(AudioLevel {
            voice: byte & 0x80 != 0,
            below_overload_db: byte & 0x7f,
        })
    }

    /// 0 (silent) ..= 127 (loudest).
    pub fn loudness(self) -> u8 {
        127 - self.below_overload_db
    }
}

/// Absolute capture time: when the first sample of the packet's frame was captured, as 32.32 fixed-point seconds since
/// 1900 on the capture system's clock, optionally followed by how far that clock is ahead of the sender's.
/// <https://webrtc.googlesource.com/src/+/refs/heads/main/docs/native-code/rtp-hdrext/abs-capture-time/README.md>
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbsCaptureTime {
    pub ntp: u64,
}

impl AbsCaptureTime {
    /// The value on the sender's clock. `None`: neither of the two lengths the format knows.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let (time, rest) = value.split_first_chunk::<8>()?;
        let captured = u64::from_be_bytes(*time);
        match rest.len() {
            0 => Some(AbsCaptureTime { ntp: captured }),
            8 => {
                let offset = i64::from_be_bytes(rest.try_into().ok()?);
                // capture clock = sender's clock + offset
                Some(AbsCaptureTime {
                    ntp: captured.wrapping_sub(offset.cast_unsigned()),
                })
            }
            _ => None,
        }
    }

    /// The same moment on a clock that is `offset` (32.32 fixed-point seconds) ahead of this one, in the short form:
    /// the value is then on the forwarding server's own clock, so there is no offset left to tell.
    pub fn rewritten(self, offset: i64) -> [u8; 8] {
        self.ntp.wrapping_add_signed(offset).to_be_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_extension_has_its_own_uri_and_index() {
        for (index, extension) in (0u8..).zip(Extension::ALL) {
            assert_eq!(extension as u8, index);
            assert_eq!(Extension::from_index(index), Some(extension));
            assert_eq!(Extension::from_uri(extension.uri()), Some(extension));
            assert_eq!(extension.is_forwarded(), Extension::FORWARDED.contains(&extension));
        }
        assert_eq!(Extension::from_index(9), None);
        assert_eq!(Extension::from_uri("urn:3gpp:video-orientation"), None);
    }

    #[test]
    fn maps_translate_both_ways_and_zero_is_nobody() {
        let mut map = ExtensionMap::default();
        map.set(Extension::Rid, 10);
        assert_eq!(map.id(Extension::Rid), Some(10));
        assert_eq!(map.extension(10), Some(Extension::Rid));
        assert_eq!((map.id(Extension::Mid), map.extension(0)), (None, None));
    }

    #[test]
    fn packed_elements_round_trip_and_stop_at_garbage() {
        let mut packed = vec![];
        pack_element(&mut packed, Extension::AudioLevel, &[0x85]);
        pack_element(&mut packed, Extension::DependencyDescriptor, &[]);
        pack_element(&mut packed, Extension::PlayoutDelay, &[1, 2, 3]);
        let expected = [
            (Extension::AudioLevel, &[0x85][..]),
            (Extension::DependencyDescriptor, &[]),
            (Extension::PlayoutDelay, &[1, 2, 3]),
        ];
        assert_eq!(PackedElements::new(&packed).collect::<Vec<_>>(), expected);
        packed.truncate(packed.len() - 1);
        assert_eq!(PackedElements::new(&packed).collect::<Vec<_>>(), expected[..2]);
        assert_eq!(PackedElements::new(&[200, 0]).next(), None);
    }

    #[test]
    fn audio_levels_and_capture_times() {
        let level = AudioLevel::parse(&[0x80 | 30]).unwrap();
        assert!(level.voice);
        assert_eq!((level.below_overload_db, level.loudness()), (30, 97));
        assert_eq!(AudioLevel::parse(&[]), None);

        let mut value = (7u64 << 32).to_be_bytes().to_vec();
        let time = AbsCaptureTime::parse(&value).unwrap();
        assert_eq!(time.rewritten(-(2 << 32)), (5u64 << 32).to_be_bytes());
        value.extend_from_slice(&(1i64 << 32).to_be_bytes());
        let on_senders_clock = Some(AbsCaptureTime { ntp: 6 << 32 });
        assert_eq!(
            AbsCaptureTime::parse(&value),
            on_senders_clock,
            "the capture clock is 1 s ahead"
        );
        assert_eq!(AbsCaptureTime::parse(&value[..12]), None);
    }
}
