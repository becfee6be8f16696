//! The media of the load: a 720p H.264 stream of 1.5 Mbit/s and a voice, in sizes and packets as Chromium sends them. Pure.
//!
//! Every packet but a keyframe's parameter sets carries a [`Stamp`], so that a viewer knows when the publisher sent it
//! and which one of its stream it is, whatever sequence number the server gave it.

/// Frames per second.
pub const FRAME_RATE: u32 = 30;
/// A keyframe at least every two seconds.
pub const GOP_FRAMES: u32 = 60;
/// Of video, in bits per second.
pub const BITRATE: u32 = 1_500_000;
/// How much bigger a keyframe is than the mean of the others.
const KEYFRAME_FACTOR: u32 = 5;
/// Bytes of a frame other than a keyframe, on average: a GOP is 59 of them and a keyframe.
const MEAN_FRAME: u32 = BITRATE / 8 * GOP_FRAMES / FRAME_RATE / (GOP_FRAMES - 1 + KEYFRAME_FACTOR);
/// Bytes of a slice in one packet, at most: with it the load is the 262 packets/s that Chromium sends at this bitrate.
const MAX_FRAGMENT: usize = 950;

const FU_A: u8 = 28;
const STAP_A: u8 = 24;
const IDR: u8 = 5;
const SLICE: u8 = 1;
const SPS_TYPE: u8 = 7;
/// Constrained baseline 3.1, 1280×720.
const SPS: [u8; 23] = [
    0x67, 0x42, 0xc0, 0x1f, 0xd9, 0x80, 0x50, 0x05, 0xbb, 0x01, 0x10, 0x00, 0x00, 0x03, 0x00, 0x10, 0x00, 0x00, 0x03,
    0x03, 0xc8, 0xf1, 0x83,
];
const PPS: [u8; 4] = [0x68, 0xc9, 0x63, 0x2c];

/// What a packet says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// When the publisher sent it, nanoseconds since the Unix epoch.
    pub sent_ns: u64,
    /// Its place in the publisher's stream: the extended sequence number.
    pub index: u64,
}

/// Behind the fragmentation header and one byte of slice header.
const STAMP_AT: usize = 3;
/// Ends a stamp, so that other payloads are not taken for one.
const STAMP_MARK: u32 = 0x5eed_1e55;
const STAMP_LEN: usize = 20;

impl Stamp {
    /// Write it into the payload of a slice or of audio.
    pub fn write(&self, payload: &mut [u8]) {
        let Some(room) = payload.get_mut(STAMP_AT..STAMP_AT + STAMP_LEN) else {
            return;
        };
        room[..8].copy_from_slice(&self.sent_ns.to_be_bytes());
        room[8..16].copy_from_slice(&self.index.to_be_bytes());
        room[16..].copy_from_slice(&STAMP_MARK.to_be_bytes());
    }

    pub fn read(payload: &[u8]) -> Option<Stamp> {
        let room = payload.get(STAMP_AT..STAMP_AT + STAMP_LEN)?;
        let mark = u32::from_be_bytes(*room.get(16..)?.first_chunk()?);
        (mark == STAMP_MARK).then_some(Stamp {
            sent_ns: u64::from_be_bytes(*room.first_chunk()?),
            index: u64::from_be_bytes(*room.get(8..)?.first_chunk()?),
        })
    }
}

/// Does one of the [`Encoder`]'s keyframes begin with this payload?
pub fn starts_keyframe(payload: &[u8]) -> bool {
    let unit = |at: usize| payload.get(at).map(|head| head & 31);
    unit(0) == Some(STAP_A) && unit(3) == Some(SPS_TYPE)
}

/// The payload of one packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    pub bytes: Vec<u8>,
    /// The last of its frame.
    pub last: bool,
    /// It has room for a stamp.
    pub stamped: bool,
}

/// Makes frames of varying size, the same for the same seed.
pub struct Encoder {
    state: u64,
}

impl Encoder {
    pub fn new(seed: u64) -> Encoder {
        Encoder { state: seed }
    }

    /// The packets of one frame: P frames vary by 30 %, a keyframe brings its parameter sets along.
    pub fn frame(&mut self, keyframe: bool) -> Vec<Payload> {
        let mut packets = Vec::new();
        let (unit, reference, size) = if keyframe {
            packets.push(Payload {
                bytes: parameter_sets(),
                last: false,
                stamped: false,
            });
            (IDR, 0x60, MEAN_FRAME * KEYFRAME_FACTOR)
        } else {
            (SLICE, 0x40, MEAN_FRAME * (70 + self.below(61)) / 100)
        };
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let count = size.div_ceil(MAX_FRAGMENT);
        for n in 0..count {
            let (first, last) = (n == 0, n + 1 == count);
            // Chromium splits evenly; where that does not divide, the last ones are a byte longer.
            let len = size / count + usize::from(n >= count - size % count);
            let header = u8::from(first) << 7 | u8::from(last) << 6 | unit;
            let mut bytes = Vec::with_capacity(len + 2);
            bytes.extend_from_slice(&[reference | FU_A, header]);
            // first_mb_in_slice 0, slice_type I or P; elsewhere anything that looks compressed
            bytes.push(if !first {
                0xa5
            } else if keyframe {
                0x88
            } else {
                0x9a
            });
            bytes.resize_with(len + 2, || self.byte());
            packets.push(Payload {
                bytes,
                last,
                stamped: true,
            });
        }
        packets
    }

    /// 20 ms of a voice in Opus: 60 to 100 bytes.
    pub fn audio(&mut self) -> Payload {
        let len = usize::try_from(60 + self.below(41)).unwrap_or(60);
        let mut bytes = vec![0x78]; // SILK and CELT, 20 ms, mono, one frame
        bytes.resize_with(len, || self.byte());
        Payload {
            bytes,
            last: true,
            stamped: true,
        }
    }

    /// Never zero, so that no start code comes about.
    fn byte(&mut self) -> u8 {
        1 + self.below(255) as u8
    }

    fn below(&mut self, bound: u32) -> u32 {
        // Knuth's MMIX generator; its upper half is good enough for sizes.
        self.state = self
            .state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.state >> 33) as u32 % bound
    }
}

/// SPS and PPS in one aggregation packet (RFC 6184 section 5.7.1).
fn parameter_sets() -> Vec<u8> {
    let mut bytes = vec![0x60 | STAP_A];
    for unit in [&SPS[..], &PPS[..]] {
        bytes.extend_from_slice(&(unit.len() as u16).to_be_bytes());
        bytes.extend_from_slice(unit);
    }
    bytes
}
