//! What the participants send and the other pipelines read: a talking head and a voice of the tests' fixtures. Pure.

use bytes::Bytes;
use costage::demo::Clip;
use costage::mix::codec::h264::{H264Decoder, H264Encoder};
use costage::mix::codec::{VideoDecoder, VideoEncoder, VideoSettings};
use costage::mix::picture::Size;
use std::io;
use std::sync::Arc;

/// Pictures per second of the clips and of the program.
pub const FRAME_RATE: u32 = 30;
/// Pictures from one keyframe of the clips to the next.
pub const GOP: u32 = 60;
/// Of the still picture, in bits per second: what a camera of 640×360 is usually given.
const STILL_BITRATE: u32 = 600_000;
/// Opus always counts in it, whatever was recorded.
const OPUS_RATE: u64 = 48_000;

/// Everything that is sent, in memory.
pub struct Clips {
    /// A talking head in 640×360.
    pub talk: Arc<Clip>,
    /// The same in 320×180.
    pub small: Arc<Clip>,
    /// Its first picture, encoded again and again as a camera does that looks at a wall.
    pub still: Arc<Clip>,
}

impl Clips {
    pub fn new() -> io::Result<Clips> {
        let talk = clip(include_bytes!("../../tests/fixtures/media/talk-360p30.h264"))?;
        let small = clip(include_bytes!("../../tests/fixtures/media/talk-180p30.h264"))?;
        Ok(Clips {
            still: Arc::new(still(&talk)?),
            talk: Arc::new(talk),
            small: Arc::new(small),
        })
    }
}

fn clip(h264: &'static [u8]) -> io::Result<Clip> {
    build(Bytes::from_static(h264))
}

fn build(h264: Bytes) -> io::Result<Clip> {
    let voice = Bytes::from_static(include_bytes!("../../tests/fixtures/media/speech-0.opus"));
    Clip::new(h264, FRAME_RATE, voice).map_err(io::Error::other)
}

/// One GOP of a clip's first picture.
fn still(clip: &Clip) -> io::Result<Clip> {
    let failed = |what: &str| io::Error::other(format!("the still picture can't be {what}"));
    let first = clip.frames().first().ok_or_else(|| failed("found"))?;
    let mut decoder = H264Decoder::new();
    let picture = decoder.decode(&first.data).ok().flatten();
    let picture = picture.ok_or_else(|| failed("decoded"))?;
    let settings = VideoSettings {
        size: Size::even(640, 360).ok_or_else(|| failed("sized"))?,
        fps: FRAME_RATE,
        bitrate_bps: STILL_BITRATE,
        gop: GOP,
    };
    let mut encoder = H264Encoder::new(settings).ok_or_else(|| failed("encoded"))?;
    let mut stream = Vec::new();
    for number in 0..GOP {
        if let Some(encoded) = encoder.encode(picture, number == 0) {
            stream.extend_from_slice(encoded.bytes);
        }
    }
    build(Bytes::from(stream))
}

/// `seconds` of the clip's pictures, over and over: a byte stream (Annex B).
pub fn video_file(clip: &Clip, seconds: u64) -> Vec<u8> {
    let pictures = usize::try_from(seconds * u64::from(FRAME_RATE)).unwrap_or(usize::MAX);
    let frames = clip.frames().iter().cycle().take(pictures);
    frames.flat_map(|frame| frame.data.iter().copied()).collect()
}

/// `seconds` of the clip's sound, over and over: Opus in Ogg (RFC 7845), a page a second.
pub fn audio_file(clip: &Clip, seconds: u64) -> Vec<u8> {
    const PRE_SKIP: u16 = 312;
    let mut head = b"OpusHead\x01\x01".to_vec();
    head.extend_from_slice(&PRE_SKIP.to_le_bytes());
    head.extend_from_slice(&48_000u32.to_le_bytes());
    head.extend_from_slice(&[0, 0, 0]); // output gain, mapping family
    let mut tags = b"OpusTags".to_vec();
    tags.extend_from_slice(&[4, 0, 0, 0]);
    tags.extend_from_slice(b"mono");
    tags.extend_from_slice(&[0; 4]); // no comments

    let mut file = Vec::new();
    write_page(&mut file, 0, 0, FIRST, &[&head]);
    write_page(&mut file, 1, 0, 0, &[&tags]);
    let per_page = usize::try_from(1_000 / clip.packet_duration_ms().max(1)).unwrap_or(1);
    let mut packets = clip.packets().iter().cycle();
    for page in 0..seconds {
        let packets: Vec<&[u8]> = packets.by_ref().take(per_page).map(AsRef::as_ref).collect();
        let number = u32::try_from(page + 2).unwrap_or(u32::MAX);
        let flags = if page + 1 == seconds { LAST } else { 0 };
        write_page(&mut file, number, (page + 1) * OPUS_RATE, flags, &packets);
    }
    file
}

/// Of a page: the stream begins or ends with it.
const FIRST: u8 = 2;
const LAST: u8 = 4;

/// One Ogg page of whole packets (RFC 3533 section 6). `position`: samples up to its end.
fn write_page(file: &mut Vec<u8>, number: u32, position: u64, flags: u8, packets: &[&[u8]]) {
    const SERIAL: u32 = 1;
    const CHECKSUM_AT: usize = 22;
    let mut page = b"OggS\0".to_vec();
    page.push(flags);
    page.extend_from_slice(&position.to_le_bytes());
    page.extend_from_slice(&SERIAL.to_le_bytes());
    page.extend_from_slice(&number.to_le_bytes());
    page.extend_from_slice(&[0; 4]);
    let mut lacing = Vec::new();
    for packet in packets {
        lacing.resize(lacing.len() + packet.len() / 255, 255);
        lacing.push((packet.len() % 255) as u8);
    }
    page.push(u8::try_from(lacing.len()).expect("a second of a voice fits a page"));
    page.extend_from_slice(&lacing);
    page.extend(packets.iter().flat_map(|packet| packet.iter().copied()));
    let checksum = checksum(&page);
    page[CHECKSUM_AT..CHECKSUM_AT + 4].copy_from_slice(&checksum.to_le_bytes());
    file.extend_from_slice(&page);
}

/// Ogg's CRC: the polynomial of Ethernet, from the top bit, starting at 0.
fn checksum(page: &[u8]) -> u32 {
    page.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte) << 24, |crc, _| {
            crc << 1 ^ if crc >> 31 == 1 { 0x04c1_1db7 } else { 0 }
        })
    })
}
