//! A full WebRTC peer, up to its answer: what publishers and viewers share.

use crate::node::PATIENCE;
use crate::relay::{self, Loss};
use crate::tap::{KeyframeRequests, NEAREST_THE_WIRE, Received, Tap};
use async_trait::async_trait;
use rtc::peer_connection::configuration::media_engine::{
    MIME_TYPE_AV1, MIME_TYPE_H264, MIME_TYPE_OPUS, MIME_TYPE_RTX, MIME_TYPE_VP8, MIME_TYPE_VP9, MediaEngine,
};
use rtc::rtp_transceiver::rtp_sender::{RTCRtpCodec, RTCRtpCodecParameters, RtpCodecKind};
use std::net::Ipv4Addr;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use webrtc::peer_connection::{
    PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCIceGatheringState, RTCPeerConnectionState,
    RTCSessionDescription, Registry, register_default_interceptors,
};

pub const OPUS: u8 = 111;
pub const H264: u8 = 102;
pub const VP8: u8 = 96;
pub const VP9: u8 = 98;
pub const AV1: u8 = 45;

pub fn codec(payload_type: u8) -> RTCRtpCodecParameters {
    let (mime_type, clock_rate, channels, fmtp) = match payload_type {
        OPUS => (MIME_TYPE_OPUS, 48_000, 2, "minptime=10;useinbandfec=1".to_owned()),
        H264 => {
            let fmtp = "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f";
            (MIME_TYPE_H264, 90_000, 0, fmtp.to_owned())
        }
        VP8 => (MIME_TYPE_VP8, 90_000, 0, String::new()),
        VP9 => (MIME_TYPE_VP9, 90_000, 0, "profile-id=0".to_owned()),
        AV1 => (MIME_TYPE_AV1, 90_000, 0, String::new()),
        repair => (MIME_TYPE_RTX, 90_000, 0, format!("apt={}", repair - 1)),
    };
    RTCRtpCodecParameters {
        rtp_codec: RTCRtpCodec {
            mime_type: mime_type.to_owned(),
            clock_rate,
            channels,
            sdp_fmtp_line: fmtp,
            rtcp_feedback: vec![],
        },
        payload_type,
    }
}

/// A peer connection with its resource at the node.
pub struct Connection {
    pub peer: Arc<dyn PeerConnection>,
    pub received: mpsc::UnboundedReceiver<Received>,
    pub requests: KeyframeRequests,
    pub resource: String,
    gathering: watch::Receiver<RTCIceGatheringState>,
    state: watch::Receiver<RTCPeerConnectionState>,
    /// Dropping it cuts the path to the node.
    relay: JoinSet<()>,
}

impl Connection {
    /// Knows Opus and these video codecs with their RTX.
    pub async fn new(video: &[u8]) -> Self {
        let mut media = MediaEngine::default();
        media.register_codec(codec(OPUS), RtpCodecKind::Audio).unwrap();
        for payload_type in video {
            media.register_codec(codec(*payload_type), RtpCodecKind::Video).unwrap();
            media
                .register_codec(codec(*payload_type + 1), RtpCodecKind::Video)
                .unwrap();
        }
        let requests = KeyframeRequests::default();
        let (tap, received) = Tap::new(requests.clone());
        let registry = register_default_interceptors(Registry::new(), &mut media).unwrap();
        let registry = registry.with(rtc::interceptor::Slot::from(NEAREST_THE_WIRE), tap);
        let (gathering_in, gathering) = watch::channel(RTCIceGatheringState::New);
        let (state_in, state) = watch::channel(RTCPeerConnectionState::New);
        let handler = Handler {
            gathering: gathering_in,
            state: state_in,
        };
        let peer = PeerConnectionBuilder::new()
            .with_media_engine(media)
            .with_interceptor_registry(registry)
            .with_handler(Arc::new(handler))
            .with_udp_addrs(vec![(Ipv4Addr::LOCALHOST, 0)])
            .build()
            .await
            .unwrap();
        Self {
            peer: Arc::new(peer),
            received,
            requests,
            resource: String::new(),
            gathering,
            state,
            relay: JoinSet::new(),
        }
    }

    /// Offer at `url` what `edit` makes of the offer, and connect; of what is then sent, `loss` may take some.
    pub async fn negotiate(&mut self, url: &str, token: &str, edit: fn(String) -> String, loss: Loss) -> Answer {
        let offer = self.peer.create_offer(None).await.unwrap();
        self.peer.set_local_description(offer).await.unwrap();
        let complete = self
            .gathering
            .wait_for(|state| *state == RTCIceGatheringState::Complete);
        drop(timeout(PATIENCE, complete).await.expect("local candidates").unwrap());
        let offer = edit(self.peer.local_description().await.unwrap().sdp);

        let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap();
        let request = client.post(url).bearer_auth(token);
        let request = request.header("content-type", "application/sdp").body(offer.clone());
        let response = request.send().await.unwrap();
        let status = response.status();
        let location = response.headers().get("location").cloned();
        let sdp = response.text().await.unwrap();
        assert_eq!(status, 201, "{sdp}\nto the offer\n{offer}");
        self.resource = location.unwrap().to_str().unwrap().to_owned();

        let answer = Answer::parse(&sdp);
        let (open, opened) = watch::channel(false);
        let (sdp, relay) = relay::interpose(&sdp, opened, loss).await;
        self.relay.spawn(relay);
        let description = RTCSessionDescription::answer(sdp).unwrap();
        self.peer.set_remote_description(description).await.unwrap();
        self.reaches(&[RTCPeerConnectionState::Connected]).await;
        open.send_replace(true);
        answer
    }

    async fn reaches(&mut self, states: &[RTCPeerConnectionState]) {
        let reached = self.state.wait_for(|state| states.contains(state));
        let reached = timeout(PATIENCE, reached).await;
        assert!(reached.is_ok(), "the connection never got to {states:?}");
    }

    /// The node said goodbye.
    pub async fn closed(&mut self) {
        use RTCPeerConnectionState::{Closed, Disconnected, Failed};
        self.reaches(&[Closed, Disconnected, Failed]).await;
    }

    pub fn is_connected(&self) -> bool {
        *self.state.borrow() == RTCPeerConnectionState::Connected
    }
}

struct Handler {
    gathering: watch::Sender<RTCIceGatheringState>,
    state: watch::Sender<RTCPeerConnectionState>,
}

#[async_trait]
impl PeerConnectionEventHandler for Handler {
    async fn on_ice_gathering_state_change(&self, state: RTCIceGatheringState) {
        self.gathering.send_replace(state);
    }
    async fn on_connection_state_change(&self, state: RTCPeerConnectionState) {
        self.state.send_replace(state);
    }
}

/// What the tests read of an answer.
pub struct Answer {
    pub sections: Vec<Section>,
    pub sdp: String,
}

#[derive(Default)]
pub struct Section {
    pub is_video: bool,
    pub ssrc: u32,
    pub rtx_ssrc: Option<u32>,
    /// Payload type and name, as in `a=rtpmap`.
    pub codecs: Vec<(u8, String)>,
}

impl Answer {
    fn parse(sdp: &str) -> Self {
        let mut sections: Vec<Section> = Vec::new();
        for line in sdp.lines() {
            if let Some(media) = line.strip_prefix("m=") {
                sections.push(Section {
                    is_video: media.starts_with("video"),
                    ..Section::default()
                });
            }
            let Some(section) = sections.last_mut() else { continue };
            if let Some(group) = line.strip_prefix("a=ssrc-group:FID ") {
                let repair = group.split(' ').nth(1).unwrap();
                section.rtx_ssrc = Some(repair.parse().unwrap());
            } else if let Some(ssrc) = line.strip_prefix("a=ssrc:") {
                let ssrc: u32 = ssrc.split(' ').next().unwrap().parse().unwrap();
                if section.rtx_ssrc != Some(ssrc) {
                    section.ssrc = ssrc;
                }
            } else if let Some(map) = line.strip_prefix("a=rtpmap:") {
                let (payload_type, codec) = map.split_once(' ').unwrap();
                let name = codec.split('/').next().unwrap().to_owned();
                section.codecs.push((payload_type.parse().unwrap(), name));
            }
        }
        Self {
            sections,
            sdp: sdp.to_owned(),
        }
    }
}
