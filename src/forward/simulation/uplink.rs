//! The whole way: a publisher's RTP through a `Publication` and a `Feed` to a viewer, and everybody's RTCP back.

use super::*;
use crate::rtp::parameters::{ReceiveParameters, ReceiveTrack};
use crate::rtp::{Fields, HeaderWriter, NtpClock};
use std::collections::VecDeque;

const MEDIA: u32 = 11;
const REPAIR: u32 = 12;
const MEDIA_TYPE: u8 = 96;
const REPAIR_TYPE: u8 = 97;
const FRAME_MS: u64 = 33;
const PACKETS_PER_FRAME: u64 = 4;
/// From the publisher to the server and back.
const ROUND_TRIP_MS: u64 = 40;

/// An H.264 encoder and its retransmission buffer.
struct Publisher {
    next: u64,
    frame: u64,
    keyframe_due: bool,
    repairs: u64,
    /// Payload and timestamp by the sequence number's low bits.
    sent: BTreeMap<u16, (Vec<u8>, u32, bool)>,
    /// Payloads of the media packets in order.
    payloads: Vec<Vec<u8>>,
    /// Packets on their way: due, bytes, index of their stream.
    flying: VecDeque<(u64, Vec<u8>, u64)>,
    keyframes: u64,
    padded: u64,
}

impl Publisher {
    fn new() -> Self {
        Publisher {
            next: 65_400,
            frame: 0,
            keyframe_due: true,
            repairs: 0,
            sent: BTreeMap::new(),
            payloads: vec![],
            flying: VecDeque::new(),
            keyframes: 0,
            padded: 0,
        }
    }

    fn send_frame(&mut self, now_ms: u64, rng: &mut StdRng) {
        let timestamp = (now_ms * 90) as u32;
        let keyframe = std::mem::take(&mut self.keyframe_due);
        self.keyframes += u64::from(keyframe);
        self.frame += 1;
        for packet in 0..PACKETS_PER_FRAME {
            // a sequence parameter set, then slices
            let kind = if !keyframe {
                0x41
            } else if packet == 0 {
                0x67
            } else {
                0x65
            };
            let mut payload = vec![kind];
            payload.extend_from_slice(&self.next.to_be_bytes());
            payload.resize(400, packet as u8);
            self.payloads.push(payload.clone());
            self.send(now_ms, payload, timestamp, packet + 1 == PACKETS_PER_FRAME, rng);
        }
        if self.frame.is_multiple_of(10) {
            self.pad(now_ms);
        }
    }

    /// Padding only: of no use to anybody.
    fn pad(&mut self, now_ms: u64) {
        let index = self.next;
        self.next += 1;
        self.padded += 1;
        let mut bytes = header(MEDIA, MEDIA_TYPE, index, (now_ms * 90) as u32, false);
        bytes[0] |= 0x20;
        bytes.extend_from_slice(&[0, 0, 0, 4]);
        self.flying.push_back((now_ms + ROUND_TRIP_MS / 2, bytes, index));
    }

    fn send(&mut self, now_ms: u64, payload: Vec<u8>, timestamp: u32, marker: bool, rng: &mut StdRng) {
        let index = self.next;
        self.next += 1;
        let mut bytes = header(MEDIA, MEDIA_TYPE, index, timestamp, marker);
        bytes.extend_from_slice(&payload);
        self.sent.insert(index as u16, (payload, timestamp, marker));
        // the first packets tell the server of the stream
        if index < 65_404 || !rng.random_bool(0.05) {
            self.flying.push_back((now_ms + ROUND_TRIP_MS / 2, bytes, index));
        }
    }

    fn handle_rtcp(&mut self, now_ms: u64, compound: &[u8], rng: &mut StdRng) {
        for block in blocks(compound) {
            match block {
                Block::Nack {
                    media_ssrc: MEDIA,
                    lost,
                } => lost.for_each(|lost| self.repair(now_ms, lost, rng)),
                Block::Pli { media_ssrc: MEDIA } => self.keyframe_due = true,
                _ => {}
            }
        }
    }

    fn repair(&mut self, now_ms: u64, lost: u16, rng: &mut StdRng) {
        let Some((payload, timestamp, marker)) = self.sent.get(&lost) else {
            return;
        };
        let index = self.repairs;
        self.repairs += 1;
        let mut bytes = header(REPAIR, REPAIR_TYPE, index, *timestamp, *marker);
        bytes.extend_from_slice(&lost.to_be_bytes());
        bytes.extend_from_slice(payload);
        if !rng.random_bool(0.05) {
            self.flying.push_back((now_ms + ROUND_TRIP_MS, bytes, index));
        }
    }
}

fn header(ssrc: u32, payload_type: u8, index: u64, timestamp: u32, marker: bool) -> Vec<u8> {
    let fields = Fields {
        marker,
        payload_type,
        sequence: index as u16,
        timestamp,
        ssrc,
    };
    let mut bytes = vec![];
    HeaderWriter::new(&mut bytes, &fields).finish();
    bytes
}

/// The server's side of it, and its only viewer.
struct Server {
    start: Instant,
    publication: Publication,
    feeds: Feeds,
    viewer: Viewer,
    seal: Unsealed,
    /// Media payloads the viewer was sent, by index.
    received: BTreeMap<u64, Vec<u8>>,
    requests: usize,
}

#[derive(Default)]
struct Unsealed {
    /// SSRC, index, start and header length of what was sealed last.
    sealed: Vec<(u32, u64, usize)>,
}

impl Seal for Unsealed {
    fn seal_rtp(&mut self, _: &mut Vec<u8>, start: usize, header_len: usize, ssrc: u32, index: u64) {
        self.sealed.push((ssrc, index, start + header_len));
    }
    fn seal_rtcp(&mut self, buffer: &mut Vec<u8>, _: usize) {
        self.sealed.push((0, 0, buffer.len()));
    }
}

impl Server {
    fn new() -> Self {
        let start = Instant::now();
        let track = ReceiveTrack {
            mid: "0".into(),
            codec: Codec::H264,
            payload_type: MEDIA_TYPE,
            rtx_payload_type: Some(REPAIR_TYPE),
            extensions: ExtensionMap::default(),
            feedback: Feedback {
                nack: true,
                pli: true,
                ..Feedback::default()
            },
            rids: vec![],
            ssrcs: vec![(MEDIA, Some(REPAIR))],
        };
        let parameters = ReceiveParameters {
            audio: None,
            video: Some(track),
        };
        let permission = Permission {
            audio: true,
            video: true,
        };
        let clock = NtpClock::new(start, 1 << 60);
        let publication = Publication::new(SourceId(1), parameters, permission, 5, clock, start);
        let mut feeds = Feeds::default();
        feeds.insert(SourceId(1), publication.description());
        let mut viewer = Viewer::new(super::world::parameters(1), View::Program { leave_out: None }, 5, start);
        let source = SourceInfo {
            id: SourceId(1),
            seat: SeatIndex(0),
            kind: SourceKind::Camera,
            user: "host".into(),
            worker: 0,
            audio: None,
            video: Some(Codec::H264),
            layers: 1,
            permission,
            connected: true,
        };
        viewer.reconcile(&[source], &feeds, start);
        Server {
            start,
            publication,
            feeds,
            viewer,
            seal: Unsealed::default(),
            received: BTreeMap::new(),
            requests: 0,
        }
    }

    fn at(&self, now_ms: u64) -> Instant {
        self.start + ms(now_ms)
    }

    fn turn(&mut self, now_ms: u64, publisher: &mut Publisher, rng: &mut StdRng) {
        let now = self.at(now_ms);
        let (due, later): (VecDeque<_>, VecDeque<_>) = std::mem::take(&mut publisher.flying)
            .into_iter()
            .partition(|flying| flying.0 <= now_ms);
        publisher.flying = later;
        for (_, mut bytes, index) in due {
            if let Some(Ingested { kind, layer, packet }) = self.publication.handle_rtp(&mut bytes, index, now) {
                self.feeds
                    .get_mut(SourceId(1))
                    .expect("inserted")
                    .store(kind, layer, packet);
            }
        }
        self.publication.handle_timeout(now);
        while let Some(event) = self.publication.poll_event() {
            if let PublicationEvent::Feed(update) = event {
                self.feeds.get_mut(SourceId(1)).expect("inserted").update(update);
            }
        }
        let mut batch = Batch::default();
        self.viewer.forward(&self.feeds, &mut self.seal, &mut batch, now);
        self.viewer.handle_timeout(&self.feeds, &mut self.seal, &mut batch, now);
        self.feeds.clear_fresh();
        for ((end, _), (ssrc, index, payload)) in batch.datagrams.iter().zip(self.seal.sealed.drain(..)) {
            if ssrc == VIDEO_SSRC {
                self.received.insert(index, batch.bytes[payload..*end].to_vec());
            }
        }
        while let Some(event) = self.viewer.poll_event() {
            if let ViewerEvent::KeyframeWanted { source, layer } = event {
                assert_eq!(source, self.publication.id());
                self.requests += 1;
                self.publication.request_keyframe(layer, now);
            }
        }
        let mut compound = vec![];
        while self.publication.poll_rtcp(now, &mut compound) {
            publisher.handle_rtcp(now_ms, &compound, rng);
        }
    }
}

#[test]
fn what_an_uplink_lost_is_repaired_before_and_for_the_viewer() {
    for seed in 0..5 {
        let mut rng = StdRng::seed_from_u64(seed);
        let (mut publisher, mut server) = (Publisher::new(), Server::new());
        let mut now_ms = 0;
        let mut run = |publisher: &mut Publisher, server: &mut Server, until_ms: u64| {
            while now_ms < until_ms {
                if now_ms % FRAME_MS == 0 && now_ms < 6000 {
                    publisher.send_frame(now_ms, &mut rng);
                }
                server.turn(now_ms, publisher, &mut rng);
                now_ms += 1;
            }
        };
        run(&mut publisher, &mut server, 2500);
        assert_eq!((publisher.keyframes, server.received.len()), (1, 0));
        // nobody watched yet: the ring's keyframe is too old, so another one is asked for
        server.viewer.set_open(true, server.at(2500));
        run(&mut publisher, &mut server, 7000);
        assert_eq!(
            (publisher.keyframes, server.requests),
            (2, 1),
            "one request for one join"
        );

        // the viewer has every packet since that keyframe, in order, numbered without a gap, and none of the padding
        let received: Vec<(u64, &Vec<u8>)> = server
            .received
            .iter()
            .map(|(index, payload)| (*index, payload))
            .collect();
        assert!(publisher.repairs > 10 && publisher.padded > 10, "the uplink was lossy");
        assert_eq!(received[0].1[0], 0x67);
        assert!(received.windows(2).all(|pair| pair[1].0 == pair[0].0 + 1));
        let begin = publisher
            .payloads
            .iter()
            .rposition(|payload| payload[0] == 0x67)
            .expect("sent");
        let expected: Vec<&Vec<u8>> = publisher.payloads[begin..].iter().collect();
        let media: Vec<&Vec<u8>> = received
            .iter()
            .map(|(_, payload)| *payload)
            .filter(|p| !p.is_empty())
            .collect();
        assert_eq!(media.len(), expected.len());
        assert!(media == expected);
    }
}

/// Steps that a replay window takes, of padding that takes no number: the viewer's receiver must not lose count.
#[test]
fn a_publisher_whose_numbers_leap_does_not_take_its_viewers_along() {
    for step in [32_767, 8_000] {
        let mut rng = StdRng::seed_from_u64(7);
        let (mut publisher, mut server) = (Publisher::new(), Server::new());
        server.viewer.set_open(true, server.start);
        for now_ms in 0..3000 {
            if now_ms % FRAME_MS == 0 {
                publisher.send_frame(now_ms, &mut rng);
            }
            if now_ms == 1000 {
                for _ in 0..8 {
                    publisher.next += step;
                    publisher.pad(now_ms);
                }
            }
            server.turn(now_ms, &mut publisher, &mut rng);
        }
        let indices: Vec<u64> = server.received.keys().copied().collect();
        let widest = indices.windows(2).map(|pair| pair[1] - pair[0]).max();
        assert!(widest.is_some_and(|widest| widest < 100), "{widest:?}");
        let newest = server.received.last_key_value().map(|(_, payload)| payload.clone());
        let behind = publisher
            .payloads
            .iter()
            .rev()
            .position(|sent| Some(sent) == newest.as_ref());
        assert!(behind.is_some_and(|behind| behind < 20), "{behind:?}");
        assert!(
            publisher.keyframes <= 3,
            "one to begin with, and to go on with what the padding or the leap asked for"
        );
    }
}
