//! A clip in memory and the order its frames are played in. Pure.
//!
//! Enters: an H.264 byte stream (Annex B, ITU-T H.264) and Opus in Ogg (RFC 7845). Leaves: access units and packets, for
//! ever, on RTP clocks that never jump: 90 kHz video at a fixed rate, 48 kHz audio.

use bytes::Bytes;

/// Why media can't be a clip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClipError {
    /// No access unit, or the first is no keyframe.
    NoKeyframe,
    /// Not Ogg, or cut off inside a page.
    MalformedOgg,
    /// No audio packet, packets of different duration, or shorter than 5 ms.
    UnevenAudio,
}

impl std::fmt::Display for ClipError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::NoKeyframe => "the video does not begin with a keyframe",
            Self::MalformedOgg => "the audio is no Ogg file",
            Self::UnevenAudio => "the audio packets are missing or not of one duration",
        })
    }
}

impl std::error::Error for ClipError {}

/// One access unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Annex B, start codes included.
    pub data: Bytes,
    /// Decodable without any frame before it.
    pub keyframe: bool,
}

/// Video and audio to be looped, each for itself.
#[derive(Clone, Debug)]
pub struct Clip {
    frames: Vec<Frame>,
    frames_per_second: u32,
    packets: Vec<Bytes>,
    packet_duration_ms: u32,
}

impl Clip {
    /// The clip that comes with the program: 720p at 30 frames per second, and a voice.
    pub fn bundled() -> Self {
        Self::new(
            Bytes::from_static(include_bytes!("media/clip.h264")),
            30,
            Bytes::from_static(include_bytes!("media/voice.opus")),
        )
        .expect("the bundled clip is a clip")
    }

    pub fn new(h264: Bytes, frames_per_second: u32, ogg_opus: Bytes) -> Result<Self, ClipError> {
        let frames = access_units(&h264);
        if !frames.first().is_some_and(|frame| frame.keyframe) {
            return Err(ClipError::NoKeyframe);
        }
        let packets = opus_packets(&ogg_opus)?;
        let durations_us = || packets.iter().map(|packet| opus_duration_us(packet));
        let packet_duration_us = durations_us().next().flatten().ok_or(ClipError::UnevenAudio)?;
        if durations_us().any(|duration| duration != Some(packet_duration_us)) || packet_duration_us < 5_000 {
            return Err(ClipError::UnevenAudio);
        }
        Ok(Self {
            frames,
            frames_per_second: frames_per_second.max(1),
            packets,
            packet_duration_ms: packet_duration_us / 1_000,
        })
    }

    pub fn frames(&self) -> &[Frame] {
        &self.frames
    }
    pub fn frames_per_second(&self) -> u32 {
        self.frames_per_second
    }
    /// Opus packets, each lasting [`packet_duration_ms`](Self::packet_duration_ms).
    pub fn packets(&self) -> &[Bytes] {
        &self.packets
    }
    pub fn packet_duration_ms(&self) -> u32 {
        self.packet_duration_ms
    }
}

/// Which frame comes next. A clip can't be asked for a new keyframe, so it skips ahead to one it has.
#[derive(Clone, Debug, Default)]
pub struct Playhead {
    next: usize,
}

impl Playhead {
    /// The next frame; the one after the last is the first. `keyframe_wanted`: the next keyframe.
    pub fn advance<'c>(&mut self, clip: &'c Clip, keyframe_wanted: bool) -> &'c Frame {
        let frames = clip.frames();
        if keyframe_wanted {
            let from = self.next % frames.len();
            let ahead = frames.iter().cycle().skip(from).take(frames.len());
            self.next = from + ahead.take_while(|frame| !frame.keyframe).count();
        }
        let index = self.next % frames.len();
        self.next = index + 1;
        &frames[index]
    }
}

/// NAL unit types (ITU-T H.264 table 7-1).
const NAL_SLICE: u8 = 1;
const NAL_IDR: u8 = 5;
const NAL_SEI: u8 = 6;
const NAL_SPS: u8 = 7;
const NAL_PPS: u8 = 8;
const NAL_DELIMITER: u8 = 9;

/// Split a byte stream into access units (ITU-T H.264 section 7.4.1.2.3, for streams without redundant pictures).
fn access_units(stream: &Bytes) -> Vec<Frame> {
    let mut frames = Vec::new();
    let mut start = None;
    let mut has_picture = false;
    let mut keyframe = false;
    for (code, nal) in nal_units(stream) {
        let kind = stream.get(nal).map_or(0, |header| header & 0x1f);
        // `first_mb_in_slice` is exp-Golomb coded: a leading 1 bit is zero, the first slice of a picture.
        let first_slice = stream.get(nal + 1).is_some_and(|byte| byte & 0x80 != 0);
        let opens = match kind {
            NAL_SEI | NAL_SPS | NAL_PPS | NAL_DELIMITER => true,
            NAL_SLICE | NAL_IDR => first_slice,
            _ => false,
        };
        if opens && has_picture {
            frames.push(Frame {
                data: stream.slice(start.unwrap_or(0)..code),
                keyframe,
            });
            (start, has_picture, keyframe) = (None, false, false);
        }
        start = start.or(Some(code));
        has_picture |= matches!(kind, NAL_SLICE | NAL_IDR);
        keyframe |= kind == NAL_IDR;
    }
    if let Some(start) = start.filter(|_| has_picture) {
        frames.push(Frame {
            data: stream.slice(start..),
            keyframe,
        });
    }
    frames
}

/// Positions of each start code and of the NAL unit behind it.
fn nal_units(stream: &[u8]) -> impl Iterator<Item = (usize, usize)> + '_ {
    stream.windows(3).enumerate().filter_map(|(at, window)| {
        let four_bytes = at > 0 && stream.get(at - 1) == Some(&0);
        (window == [0, 0, 1]).then_some((at - usize::from(four_bytes), at + 3))
    })
}

/// The audio packets of an Ogg Opus file: everything behind the two header packets (RFC 3533, RFC 7845 section 3).
fn opus_packets(ogg: &Bytes) -> Result<Vec<Bytes>, ClipError> {
    const PAGE_HEADER_BYTES: usize = 27;
    const HEADER_PACKETS: usize = 2;
    let mut packets = Vec::new();
    let mut partial: Vec<u8> = Vec::new();
    let mut at = 0;
    while at < ogg.len() {
        let header = ogg.get(at..at + PAGE_HEADER_BYTES).ok_or(ClipError::MalformedOgg)?;
        if !header.starts_with(b"OggS") {
            return Err(ClipError::MalformedOgg);
        }
        let segments = usize::from(header[PAGE_HEADER_BYTES - 1]);
        let table_at = at + PAGE_HEADER_BYTES;
        let table = ogg.get(table_at..table_at + segments).ok_or(ClipError::MalformedOgg)?;
        at = table_at + segments;
        for &lacing in table {
            let end = at + usize::from(lacing);
            partial.extend_from_slice(ogg.get(at..end).ok_or(ClipError::MalformedOgg)?);
            at = end;
            // A full segment goes on in the next one.
            if lacing < u8::MAX {
                packets.push(Bytes::from(std::mem::take(&mut partial)));
            }
        }
    }
    Ok(packets.split_off(HEADER_PACKETS.min(packets.len())))
}

/// How long an Opus packet plays, in microseconds (RFC 6716 section 3.1 and 3.2); `None` when it is none.
fn opus_duration_us(packet: &[u8]) -> Option<u32> {
    let toc = *packet.first()?;
    let frame_us = match toc >> 3 {
        config @ 0..=11 => [10_000, 20_000, 40_000, 60_000][usize::from(config % 4)],
        config @ 12..=15 => [10_000, 20_000][usize::from(config % 2)],
        config => [2_500, 5_000, 10_000, 20_000][usize::from(config % 4)],
    };
    let frames = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => u32::from(packet.get(1)? & 0x3f),
    };
    Some(frame_us * frames)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bundled_clip_is_ten_seconds_with_a_keyframe_every_two() {
        let clip = Clip::bundled();
        assert_eq!(clip.frames().len(), 300);
        for (index, frame) in clip.frames().iter().enumerate() {
            assert_eq!(frame.keyframe, index % 60 == 0, "frame {index}");
            assert!(frame.data.starts_with(&[0, 0, 0, 1]) || frame.data.starts_with(&[0, 0, 1]));
        }
        let bytes: usize = clip.frames().iter().map(|frame| frame.data.len()).sum();
        assert_eq!(
            bytes,
            include_bytes!("media/clip.h264").len(),
            "no byte is lost between frames"
        );
        assert_eq!(clip.packet_duration_ms(), 20);
        assert!((595..=605).contains(&clip.packets().len()), "{}", clip.packets().len());
    }

    #[test]
    fn the_playhead_loops_and_skips_to_keyframes() {
        let clip = Clip::bundled();
        let at = |frame: &Frame| clip.frames().iter().position(|f| std::ptr::eq(f, frame)).unwrap();
        let mut playhead = Playhead::default();
        for index in 0..301 {
            assert_eq!(at(playhead.advance(&clip, false)), index % 300);
        }
        assert_eq!(at(playhead.advance(&clip, true)), 60);
        assert_eq!(at(playhead.advance(&clip, false)), 61);
        let mut playhead = Playhead { next: 250 };
        assert_eq!(at(playhead.advance(&clip, true)), 0, "around the end");
        let mut playhead = Playhead { next: 120 };
        assert_eq!(at(playhead.advance(&clip, true)), 120, "a keyframe is next anyway");
    }

    #[test]
    fn damaged_media_is_refused_without_a_panic() {
        let video = Bytes::from_static(include_bytes!("media/clip.h264")).slice(..200_000);
        let audio = Bytes::from_static(include_bytes!("media/voice.opus"));
        let mut seed = 0x2545_f491_4f6c_dd1d_u64;
        let mut random = move |below: usize| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            usize::try_from(seed % below as u64).unwrap()
        };
        for _ in 0..300 {
            let mut damaged = audio.to_vec();
            for _ in 0..8 {
                let at = random(damaged.len());
                damaged[at] = u8::try_from(random(256)).unwrap();
            }
            damaged.truncate(random(damaged.len()));
            let _ = Clip::new(video.slice(..random(20_000)), 30, Bytes::from(damaged));
        }
        assert_eq!(
            Clip::new(Bytes::new(), 30, audio.clone()).unwrap_err(),
            ClipError::NoKeyframe
        );
        assert_eq!(
            Clip::new(video.clone(), 30, Bytes::new()).unwrap_err(),
            ClipError::UnevenAudio
        );
        assert_eq!(
            Clip::new(video, 30, audio.slice(..5_000)).unwrap_err(),
            ClipError::MalformedOgg
        );
    }
}
