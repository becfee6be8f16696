//! What publishers send through: tracks, RTP streams, and the frames of files.

use crate::connection::codec;
use bytes::Bytes;
use rtc::media_stream::MediaStreamTrack;
use rtc::rtp;
use rtc::rtp_transceiver::rtp_sender::{RTCRtpCodingParameters, RTCRtpEncodingParameters, RtpCodecKind};
use std::sync::Arc;
use std::time::Duration;
use webrtc::media_stream::track_local::TrackLocal;
use webrtc::media_stream::track_local::static_rtp::TrackLocalStaticRTP;

/// With RTP, extensions, SRTP and UDP headers well below what any path takes.
pub const PAYLOAD_BYTES: usize = 1_180;

/// With one encoding per RID, and their SSRCs.
pub fn track(kind: RtpCodecKind, payload_type: u8, rids: &[&str]) -> (Arc<TrackLocalStaticRTP>, Vec<u32>) {
    let ssrcs: Vec<u32> = rids.iter().map(|_| rand::random()).collect();
    let encodings = rids.iter().zip(&ssrcs).map(|(rid, ssrc)| RTCRtpEncodingParameters {
        rtp_coding_parameters: RTCRtpCodingParameters {
            rid: (*rid).to_owned(),
            ssrc: Some(*ssrc),
            ..Default::default()
        },
        codec: codec(payload_type).rtp_codec,
        ..Default::default()
    });
    let track = MediaStreamTrack::new(
        "camera".to_owned(),
        format!("camera-{kind}"),
        format!("camera-{kind}"),
        kind,
        encodings.collect(),
    );
    (Arc::new(TrackLocalStaticRTP::new(track)), ssrcs)
}

/// One RTP stream.
pub struct Outlet {
    track: Arc<TrackLocalStaticRTP>,
    header: rtp::Header,
    first_timestamp: u32,
}

impl Outlet {
    pub fn new(track: &Arc<TrackLocalStaticRTP>, payload_type: u8, ssrc: u32, extensions: Vec<(u8, Bytes)>) -> Self {
        let mut header = rtp::Header {
            version: 2,
            payload_type,
            ssrc,
            // The lower half: the roll-over counter of both sides starts at 0 (RFC 3711 section 3.3.1).
            sequence_number: rand::random::<u16>() >> 1,
            ..Default::default()
        };
        for (id, value) in extensions {
            header.set_extension(id, value).unwrap();
        }
        Self {
            track: track.clone(),
            header,
            first_timestamp: rand::random(),
        }
    }

    pub fn ssrc(&self) -> u32 {
        self.header.ssrc
    }

    /// `false`: the connection is gone.
    pub async fn send(&mut self, ticks: u32, marker: bool, payload: Bytes) -> bool {
        self.header.marker = marker;
        self.header.timestamp = self.first_timestamp.wrapping_add(ticks);
        let header = self.header.clone();
        self.header.sequence_number = self.header.sequence_number.wrapping_add(1);
        self.track.write_rtp(rtp::Packet { header, payload }).await.is_ok()
    }
}

pub fn ticks(captured: Duration, clock_khz: u64) -> u32 {
    let captured_us = u64::try_from(captured.as_micros()).unwrap();
    u32::try_from(captured_us * clock_khz / 1_000).unwrap()
}

/// The frames of an IVF file.
pub fn ivf_frames(file: &'static [u8]) -> Vec<Bytes> {
    const FILE_HEADER_BYTES: usize = 32;
    const FRAME_HEADER_BYTES: usize = 12;
    let mut frames = Vec::new();
    let mut rest = Bytes::from_static(&file[FILE_HEADER_BYTES..]);
    while !rest.is_empty() {
        let header = rest.split_to(FRAME_HEADER_BYTES);
        let length = u32::from_le_bytes(header[..4].try_into().unwrap());
        frames.push(rest.split_to(usize::try_from(length).unwrap()));
    }
    frames
}
