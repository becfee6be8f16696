//! A clip → WHIP (RFC 9725): a full WebRTC peer that publishes until it is closed.

use super::clip::{Clip, Playhead};
use super::keyframe_requests::KeyframeRequests;
use super::metronome::Metronome;
use bytes::Bytes;
use rtc::media_stream::MediaStreamTrack;
use rtc::peer_connection::configuration::media_engine::{MIME_TYPE_H264, MIME_TYPE_OPUS, MediaEngine};
use rtc::rtp;
use rtc::rtp::codec::h264::H264Payloader;
use rtc::rtp::packetizer::Payloader;
use rtc::rtp_transceiver::rtp_sender::{
    RTCRtpCodec, RTCRtpCodecParameters, RTCRtpCodingParameters, RTCRtpEncodingParameters, RtpCodecKind,
};
use std::net::{IpAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use webrtc::media_stream::track_local::TrackLocal;
use webrtc::media_stream::track_local::static_rtp::TrackLocalStaticRTP;
use webrtc::peer_connection::{
    PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCIceGatheringState, RTCPeerConnectionState,
    RTCSessionDescription, Registry, register_default_interceptors,
};
use webrtc::rtp_transceiver::RtpSender;

/// RTP payload bytes per packet: with RTP, extensions, SRTP and UDP/IPv6 headers well below 1280.
const PAYLOAD_BYTES: usize = 1_180;
/// Packets of a frame sent without pause. A keyframe of 80 packets at once would overrun small socket buffers; with a
/// millisecond between bursts it still is out within 5 ms.
const BURST_PACKETS: usize = 16;
/// Local candidates only: nothing is asked over the network.
const GATHER_DEADLINE: Duration = Duration::from_secs(2);
const ANSWER_DEADLINE: Duration = Duration::from_secs(5);
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);
const DELETE_DEADLINE: Duration = Duration::from_secs(2);

const VIDEO_PAYLOAD_TYPE: u8 = 102;
const AUDIO_PAYLOAD_TYPE: u8 = 111;
const VIDEO_CLOCK_HZ: u32 = 90_000;
const AUDIO_CLOCK_HZ: u32 = 48_000;

/// Where to publish to.
#[derive(Clone, Debug)]
pub struct Target {
    /// The WHIP endpoint, `http://…`.
    pub whip_url: String,
    /// Sent as `Authorization: Bearer`.
    pub token: Option<String>,
}

/// Why publishing did not begin, or ended.
#[derive(Debug)]
pub enum Error {
    Http(reqwest::Error),
    /// Another answer than 201.
    Refused {
        status: u16,
        body: String,
    },
    WebRtc(webrtc::error::Error),
    /// The host of the URL can't be reached from here.
    NoRoute(std::io::Error),
    /// What should have happened within its deadline.
    TimedOut(&'static str),
    /// The transport, once up, is gone.
    Disconnected,
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Http(error) => write!(f, "HTTP: {error}"),
            Self::Refused { status, body } => write!(f, "refused with {status}: {body}"),
            Self::WebRtc(error) => write!(f, "WebRTC: {error}"),
            Self::NoRoute(error) => write!(f, "no route to the server: {error}"),
            Self::TimedOut(what) => write!(f, "{what} took too long"),
            Self::Disconnected => f.write_str("the transport was lost"),
        }
    }
}

impl std::error::Error for Error {}

impl From<reqwest::Error> for Error {
    fn from(error: reqwest::Error) -> Self {
        Self::Http(error)
    }
}

impl From<webrtc::error::Error> for Error {
    fn from(error: webrtc::error::Error) -> Self {
        Self::WebRtc(error)
    }
}

/// A clip being published. Dropped, it stops sending; [`close`](Self::close) also tells the server.
pub struct Publisher {
    connection: Arc<dyn PeerConnection>,
    state: watch::Receiver<RTCPeerConnectionState>,
    requests: KeyframeRequests,
    resource: Option<String>,
    token: Option<String>,
    client: reqwest::Client,
    /// The two senders; dropping the set ends them.
    _senders: JoinSet<()>,
}

impl Publisher {
    /// Offer, have it answered, and send; returns once media flows.
    pub async fn connect(target: &Target, clip: Arc<Clip>) -> Result<Self, Error> {
        let client = reqwest::Client::builder().no_proxy().timeout(ANSWER_DEADLINE).build()?;
        let requests = KeyframeRequests::default();
        let (handler, mut signals) = handler();
        let connection = peer_connection(&target.whip_url, handler, &requests).await?;
        let mut publisher = Self {
            connection,
            state: signals.state,
            requests,
            resource: None,
            token: target.token.clone(),
            client,
            _senders: JoinSet::new(),
        };
        // From here on an early return closes what was opened.
        match publisher.negotiate(target, clip, &mut signals.gathering).await {
            Ok(()) => Ok(publisher),
            Err(error) => {
                publisher.close().await;
                Err(error)
            }
        }
    }

    async fn negotiate(
        &mut self,
        target: &Target,
        clip: Arc<Clip>,
        gathering: &mut watch::Receiver<RTCIceGatheringState>,
    ) -> Result<(), Error> {
        let (video, video_sender) = self.add_track(RtpCodecKind::Video, video_codec()).await?;
        let (audio, audio_sender) = self.add_track(RtpCodecKind::Audio, audio_codec()).await?;

        let offer = self.connection.create_offer(None).await?;
        self.connection.set_local_description(offer).await?;
        let complete = gathering.wait_for(|state| *state == RTCIceGatheringState::Complete);
        let _ = timeout(GATHER_DEADLINE, complete)
            .await
            .map_err(|_| Error::TimedOut("gathering local candidates"))?;
        let offer = self.connection.local_description().await.ok_or(Error::Disconnected)?;
        let answer = self.post(target, offer.sdp).await?;
        let answer = RTCSessionDescription::answer(answer)?;
        self.connection.set_remote_description(answer).await?;

        let connected = self.state.wait_for(|state| *state == RTCPeerConnectionState::Connected);
        let _ = timeout(CONNECT_DEADLINE, connected)
            .await
            .map_err(|_| Error::TimedOut("connecting"))?;
        let video = Outlet::new(video, payload_type(&video_sender).await?).await?;
        let audio = Outlet::new(audio, payload_type(&audio_sender).await?).await?;
        self._senders
            .spawn(send_video(video, clip.clone(), self.requests.clone()));
        self._senders.spawn(send_audio(audio, clip));
        Ok(())
    }

    async fn add_track(
        &self,
        kind: RtpCodecKind,
        codec: RTCRtpCodecParameters,
    ) -> Result<(Arc<TrackLocalStaticRTP>, Arc<dyn RtpSender>), Error> {
        let encoding = RTCRtpEncodingParameters {
            rtp_coding_parameters: RTCRtpCodingParameters {
                ssrc: Some(rand::random()),
                ..Default::default()
            },
            codec: codec.rtp_codec,
            ..Default::default()
        };
        let track = Arc::new(TrackLocalStaticRTP::new(MediaStreamTrack::new(
            "clip".to_owned(),
            format!("clip-{kind}"),
            format!("clip-{kind}"),
            kind,
            vec![encoding],
        )));
        let sender = self.connection.add_track(track.clone()).await?;
        Ok((track, sender))
    }

    /// The WHIP POST; remembers the resource and returns the answer.
    async fn post(&mut self, target: &Target, offer: String) -> Result<String, Error> {
        let mut request = self
            .client
            .post(&target.whip_url)
            .header("content-type", "application/sdp")
            .body(offer);
        if let Some(token) = &target.token {
            request = request.bearer_auth(token);
        }
        let response = request.send().await?;
        let status = response.status();
        let location = response
            .headers()
            .get("location")
            .and_then(|location| location.to_str().ok())
            .and_then(|location| response.url().join(location).ok());
        let body = response.text().await?;
        if status != reqwest::StatusCode::CREATED {
            return Err(Error::Refused {
                status: status.as_u16(),
                body,
            });
        }
        self.resource = location.map(String::from);
        Ok(body)
    }

    /// Waits until the transport is lost.
    pub async fn closed(&mut self) {
        use RTCPeerConnectionState::{Closed, Disconnected, Failed};
        // An error means that the connection itself is gone.
        let _ = self
            .state
            .wait_for(|state| matches!(state, Disconnected | Failed | Closed))
            .await;
    }

    /// How often a keyframe was asked for.
    pub fn keyframe_requests(&self) -> u64 {
        self.requests.count()
    }

    /// DELETE the resource and close the connection.
    pub async fn close(mut self) {
        self._senders.abort_all();
        if let Some(resource) = self.resource.take() {
            let mut request = self.client.delete(resource).timeout(DELETE_DEADLINE);
            if let Some(token) = &self.token {
                request = request.bearer_auth(token);
            }
            // The server notices a lost peer by itself; this is courtesy.
            let _ = request.send().await;
        }
        let _ = self.connection.close().await;
    }
}

fn video_codec() -> RTCRtpCodecParameters {
    RTCRtpCodecParameters {
        rtp_codec: RTCRtpCodec {
            mime_type: MIME_TYPE_H264.to_owned(),
            clock_rate: VIDEO_CLOCK_HZ,
            channels: 0,
            sdp_fmtp_line: "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f".to_owned(),
            rtcp_feedback: vec![],
        },
        payload_type: VIDEO_PAYLOAD_TYPE,
    }
}

fn audio_codec() -> RTCRtpCodecParameters {
    RTCRtpCodecParameters {
        rtp_codec: RTCRtpCodec {
            mime_type: MIME_TYPE_OPUS.to_owned(),
            clock_rate: AUDIO_CLOCK_HZ,
            channels: 2,
            sdp_fmtp_line: "minptime=10;useinbandfec=1".to_owned(),
            rtcp_feedback: vec![],
        },
        payload_type: AUDIO_PAYLOAD_TYPE,
    }
}

/// What the connection's callbacks report.
struct Signals {
    gathering: watch::Receiver<RTCIceGatheringState>,
    state: watch::Receiver<RTCPeerConnectionState>,
}

struct Handler {
    gathering: watch::Sender<RTCIceGatheringState>,
    state: watch::Sender<RTCPeerConnectionState>,
}

fn handler() -> (Arc<Handler>, Signals) {
    let (gathering_in, gathering) = watch::channel(RTCIceGatheringState::New);
    let (state_in, state) = watch::channel(RTCPeerConnectionState::New);
    let handler = Arc::new(Handler {
        gathering: gathering_in,
        state: state_in,
    });
    (handler, Signals { gathering, state })
}

#[async_trait::async_trait]
impl PeerConnectionEventHandler for Handler {
    async fn on_ice_gathering_state_change(&self, state: RTCIceGatheringState) {
        self.gathering.send_replace(state);
    }
    async fn on_connection_state_change(&self, state: RTCPeerConnectionState) {
        self.state.send_replace(state);
    }
}

async fn peer_connection(
    url: &str,
    handler: Arc<Handler>,
    requests: &KeyframeRequests,
) -> Result<Arc<dyn PeerConnection>, Error> {
    let mut media = MediaEngine::default();
    media.register_codec(video_codec(), RtpCodecKind::Video)?;
    media.register_codec(audio_codec(), RtpCodecKind::Audio)?;
    let registry = register_default_interceptors(Registry::new(), &mut media)?;
    // Behind every built-in stage.
    let registry = registry.with(rtc::interceptor::Slot::from(14_000), requests.interceptor());
    let local = local_address(url).map_err(Error::NoRoute)?;
    let connection = PeerConnectionBuilder::new()
        .with_media_engine(media)
        .with_interceptor_registry(registry)
        .with_handler(handler)
        .with_udp_addrs(vec![(local, 0)])
        .build()
        .await?;
    Ok(Arc::new(connection))
}

/// The address of this machine from which the URL's host is reached: the only candidate worth offering.
fn local_address(url: &str) -> std::io::Result<IpAddr> {
    let malformed = || std::io::Error::from(std::io::ErrorKind::InvalidInput);
    let url = reqwest::Url::parse(url).map_err(|_| malformed())?;
    let remote = url.socket_addrs(|| None)?;
    let remote = remote.first().ok_or_else(malformed)?;
    let any: IpAddr = if remote.is_ipv4() {
        std::net::Ipv4Addr::UNSPECIFIED.into()
    } else {
        std::net::Ipv6Addr::UNSPECIFIED.into()
    };
    // Connecting a datagram socket sends nothing; it asks the routing table.
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(remote)?;
    Ok(socket.local_addr()?.ip())
}

async fn payload_type(sender: &Arc<dyn RtpSender>) -> Result<u8, Error> {
    let parameters = sender.get_parameters().await?.rtp_parameters;
    let codec = parameters.codecs.first();
    codec
        .map(|codec| codec.payload_type)
        .ok_or(webrtc::error::Error::CodecNotFound.into())
}

/// One RTP stream: numbers packets and hands them to the connection.
struct Outlet {
    track: Arc<TrackLocalStaticRTP>,
    payload_type: u8,
    ssrc: u32,
    sequence_number: u16,
    first_timestamp: u32,
}

impl Outlet {
    async fn new(track: Arc<TrackLocalStaticRTP>, payload_type: u8) -> Result<Self, Error> {
        use webrtc::media_stream::Track;
        let ssrcs = track.ssrcs().await;
        let ssrc = *ssrcs.first().ok_or(webrtc::error::Error::ErrSenderWithNoSSRCs)?;
        Ok(Self {
            track,
            payload_type,
            ssrc,
            // The lower half: the roll-over counter of both sides starts at 0 (RFC 3711 section 3.3.1).
            sequence_number: rand::random::<u16>() >> 1,
            first_timestamp: rand::random(),
        })
    }

    /// `ticks`: RTP clock since the first packet. `false`: the connection is gone.
    async fn send(&mut self, ticks: u32, marker: bool, payload: Bytes) -> bool {
        let header = rtp::Header {
            version: 2,
            marker,
            payload_type: self.payload_type,
            sequence_number: self.sequence_number,
            timestamp: self.first_timestamp.wrapping_add(ticks),
            ssrc: self.ssrc,
            ..Default::default()
        };
        self.sequence_number = self.sequence_number.wrapping_add(1);
        self.track.write_rtp(rtp::Packet { header, payload }).await.is_ok()
    }
}

async fn send_video(mut outlet: Outlet, clip: Arc<Clip>, requests: KeyframeRequests) {
    let mut payloader = H264Payloader::default();
    let mut playhead = Playhead::default();
    let start = Instant::now();
    let mut metronome = Metronome::new(1, clip.frames_per_second());
    let mut answered = requests.count();
    loop {
        let beat = metronome.beat(start.elapsed());
        sleep_until(start + beat.at).await;
        let asked = requests.count();
        let frame = playhead.advance(&clip, asked != answered);
        answered = asked;
        let Ok(payloads) = payloader.payload(PAYLOAD_BYTES, &frame.data) else {
            continue;
        };
        let ticks = beat.ticks(VIDEO_CLOCK_HZ);
        let last = payloads.len().saturating_sub(1);
        for (index, payload) in payloads.into_iter().enumerate() {
            if index > 0 && index % BURST_PACKETS == 0 {
                sleep(Duration::from_millis(1)).await;
            }
            if !outlet.send(ticks, index == last, payload).await {
                return;
            }
        }
    }
}

async fn send_audio(mut outlet: Outlet, clip: Arc<Clip>) {
    let start = Instant::now();
    let mut metronome = Metronome::new(clip.packet_duration_ms(), 1_000);
    for packet in clip.packets().iter().cycle() {
        let beat = metronome.beat(start.elapsed());
        sleep_until(start + beat.at).await;
        let opens_talk_spurt = beat.number == 0;
        if !outlet
            .send(beat.ticks(AUDIO_CLOCK_HZ), opens_talk_spurt, packet.clone())
            .await
        {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_route_to_a_loopback_server_is_loopback() {
        assert!(local_address("http://127.0.0.1:8080/whip").unwrap().is_loopback());
        assert!(local_address("nonsense").is_err());
    }
}
