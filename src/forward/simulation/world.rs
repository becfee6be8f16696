//! The world the simulation runs in, and the rules every viewer's packets keep.

use super::*;

pub const AUDIO_SSRC: u32 = 1000;
pub const VIDEO_SSRC: u32 = 2000;
pub const VIDEO_RTX_SSRC: u32 = 2001;
const FRAME: Duration = Duration::from_millis(33);
const AUDIO_FRAME: Duration = Duration::from_millis(20);
/// How long a publisher takes to answer a keyframe request.
const ANSWER: Duration = Duration::from_millis(50);
/// Payloads end with the key of their origin.
const KEY_LEN: usize = 8;
/// A quarter of what a receiver's guess of the roll-over counter bears (RFC 3711 §3.3.1).
const GAP_MAX: u64 = 1 << 13;
const NTP_START: u64 = 3_900_000_000 << 32;

/// What a publisher does.
#[derive(Clone)]
pub struct Script {
    pub id: u64,
    pub seat: u8,
    pub user: &'static str,
    pub codec: Codec,
    /// One layer each.
    pub heights: Vec<u16>,
    pub first_sequence: u64,
    pub first_timestamp: u32,
    /// Sends sender reports.
    pub reports: bool,
    /// Ignores keyframe requests.
    pub deaf: bool,
}

impl Script {
    pub fn camera(id: u64, seat: u8, user: &'static str) -> Self {
        Script {
            id,
            seat,
            user,
            codec: Codec::H264,
            heights: vec![720],
            first_sequence: 100 + 1000 * id,
            first_timestamp: 77_000 * id as u32,
            reports: true,
            deaf: false,
        }
    }
}

#[derive(Clone, Copy, Default)]
pub struct Network {
    pub loss: f64,
    pub reorder: f64,
    pub duplicate: f64,
}

pub struct Encoding {
    pub sequence: u64,
    pub stopped: bool,
    timestamp_base: u32,
    keyframe_due: bool,
    picture: u16,
}

pub struct Source {
    pub script: Script,
    pub layers: Vec<Encoding>,
    pub answer_at: Vec<Option<Instant>>,
    pub report_at: Instant,
    audio: Encoding,
    permission: Permission,
    epoch: Instant,
    next_frame: Instant,
    next_audio: Instant,
    sized: bool,
}

impl Source {
    pub fn wish(&mut self, layer: LayerIndex, now: Instant) {
        self.answer_at[usize::from(layer.0)].get_or_insert(now + ANSWER);
    }

    fn timestamp(&self, encoding: &Encoding, at: Instant, rate: u128) -> u32 {
        let ticks = (at - self.epoch).as_micros() * rate / 1_000_000;
        encoding.timestamp_base.wrapping_add(ticks as u32)
    }

    fn info(&self) -> SourceInfo {
        SourceInfo {
            id: SourceId(self.script.id),
            seat: SeatIndex(self.script.seat),
            kind: SourceKind::Camera,
            user: self.script.user.into(),
            worker: 0,
            audio: Some(Codec::Opus),
            video: Some(self.script.codec),
            layers: self.layers.len() as u8,
            permission: self.permission,
            connected: true,
        }
    }
}

/// Where a packet came from, written into its payload.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Origin {
    pub source: u64,
    pub layer: u8,
    pub sequence: u64,
    pub keyframe: bool,
    pub first_of_frame: bool,
    pub captured: Instant,
    pub arrival: Instant,
}

struct InFlight {
    due: Instant,
    source: SourceId,
    kind: MediaKind,
    layer: LayerIndex,
    meta: Meta,
    bytes: Vec<u8>,
}

/// One datagram a viewer was sent.
#[derive(Clone, Debug)]
pub struct Sent {
    pub at: Instant,
    pub bytes: Vec<u8>,
    /// As sealed; `None`: RTCP.
    pub index: Option<u64>,
    pub header: Fields,
    pub elements: Vec<(u8, Vec<u8>)>,
    pub payload: Vec<u8>,
    pub origin: Option<Origin>,
}

/// A media packet a viewer was sent.
#[derive(Clone, Debug)]
pub struct Media {
    pub index: u64,
    pub header: Fields,
    pub payload: Vec<u8>,
    pub origin: Origin,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Fields {
    pub sequence: u16,
    pub timestamp: u32,
    pub ssrc: u32,
    pub payload_type: u8,
}

/// Seals nothing, but sees to it that no index is used twice.
#[derive(Default)]
struct Witness {
    used: BTreeSet<(u32, u64)>,
    indices: Vec<Option<u64>>,
}

impl Seal for Witness {
    fn seal_rtp(&mut self, buffer: &mut Vec<u8>, start: usize, header_len: usize, ssrc: u32, index: u64) {
        let header = Header::parse(&buffer[start..]).expect("a header");
        assert_eq!(
            (header.len, header.ssrc, header.sequence),
            (header_len, ssrc, index as u16)
        );
        assert!(
            self.used.insert((ssrc, index)),
            "the key stream of {ssrc} {index} would be used twice"
        );
        self.indices.push(Some(index));
    }
    fn seal_rtcp(&mut self, _: &mut Vec<u8>, _: usize) {
        self.indices.push(None);
    }
}

pub struct Watcher {
    pub viewer: Viewer,
    pub sent: Vec<Sent>,
    pub events: Vec<ViewerEvent>,
    worker: usize,
    witness: Witness,
    rtx_taken: usize,
}

impl Watcher {
    pub fn slots(&self) -> &[SlotReport] {
        self.viewer.slots()
    }

    pub fn media(&self) -> impl Iterator<Item = (&Sent, &Origin)> {
        self.sent.iter().filter_map(|sent| Some((sent, sent.origin.as_ref()?)))
    }
}

pub struct World {
    pub now: Instant,
    pub network: Network,
    pub sources: Vec<Source>,
    pub viewers: Vec<Watcher>,
    pub keyframe_requests: Vec<(SourceId, LayerIndex)>,
    start: Instant,
    workers: Vec<Feeds>,
    flying: Vec<InFlight>,
    origins: BTreeMap<u64, Origin>,
    /// What the workers got, and when: by source and layer, whether it is video, and the publisher's number.
    arrived: BTreeMap<((u64, u8), bool, u64), Instant>,
    rng: StdRng,
}

impl World {
    pub fn new(seed: u64, workers: usize) -> Self {
        let start = Instant::now();
        World {
            now: start,
            network: Network::default(),
            sources: vec![],
            viewers: vec![],
            keyframe_requests: vec![],
            start,
            workers: (0..workers).map(|_| Feeds::default()).collect(),
            flying: vec![],
            origins: BTreeMap::new(),
            arrived: BTreeMap::new(),
            rng: StdRng::seed_from_u64(seed),
        }
    }

    pub fn ntp_of(&self, at: Instant) -> u64 {
        NTP_START + (((at - self.start).as_micros() << 32) / 1_000_000) as u64
    }

    /// Like a transport that comes up: the newest of a user replaces the one before.
    pub fn publish(&mut self, script: Script) {
        let layers = script.heights.iter().zip(0u32..).map(|(_, i)| Encoding {
            sequence: script.first_sequence + 5000 * u64::from(i),
            stopped: false,
            timestamp_base: script.first_timestamp.wrapping_add(1_000_000 * i),
            keyframe_due: true,
            picture: 0x7ff0 + 300 * i as u16,
        });
        let source = Source {
            layers: layers.collect(),
            answer_at: vec![None; script.heights.len()],
            report_at: self.now + Duration::from_millis(40),
            audio: Encoding {
                sequence: script.first_sequence,
                stopped: false,
                timestamp_base: script.first_timestamp,
                keyframe_due: false,
                picture: 0,
            },
            permission: Permission {
                audio: true,
                video: true,
            },
            epoch: self.now,
            next_frame: self.now,
            next_audio: self.now,
            sized: false,
            script,
        };
        let description = FeedDescription {
            audio: Some(Codec::Opus),
            video: Some(source.script.codec),
            layers: source.layers.len() as u8,
        };
        for feeds in &mut self.workers {
            feeds.insert(SourceId(source.script.id), description);
        }
        self.sources.push(source);
        self.reconcile();
    }

    pub fn unpublish(&mut self, id: SourceId) {
        self.sources.retain(|source| source.script.id != id.0);
        self.flying.retain(|packet| packet.source != id);
        for feeds in &mut self.workers {
            feeds.remove(id);
        }
        self.reconcile();
    }

    pub fn permit(&mut self, source: usize, permission: Permission) {
        let Some(source) = self.sources.get_mut(source) else {
            return;
        };
        let before = std::mem::replace(&mut source.permission, permission);
        let id = SourceId(source.script.id);
        for (kind, was, is) in [
            (MediaKind::Audio, before.audio, permission.audio),
            (MediaKind::Video, before.video, permission.video),
        ] {
            if was && !is {
                self.flying.retain(|packet| packet.source != id || packet.kind != kind);
                self.update(id, FeedUpdate::Interrupted { kind });
            }
        }
        self.reconcile();
    }

    pub fn update(&mut self, id: SourceId, update: FeedUpdate) {
        for feeds in &mut self.workers {
            if let Some(feed) = feeds.get_mut(id) {
                feed.update(update);
            }
        }
    }

    pub fn leap_audio(&mut self, source: usize, leap: u64) {
        self.sources[source].audio.sequence += leap;
    }

    pub fn view(&mut self, view: View, slots: usize) -> usize {
        let mut viewer = Viewer::new(parameters(slots), view, 1, self.now);
        viewer.set_open(true, self.now);
        let worker = self.viewers.len() % self.workers.len();
        self.viewers.push(Watcher {
            viewer,
            sent: vec![],
            events: vec![],
            worker,
            witness: Witness::default(),
            rtx_taken: 0,
        });
        self.reconcile();
        self.viewers.len() - 1
    }

    pub fn prefer(&mut self, viewer: usize, preference: LayerPreference) {
        assert!(self.viewers[viewer].viewer.prefer(0, preference, self.now));
    }

    pub fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        while self.now < end {
            self.now += Duration::from_millis(1);
            self.send_due();
            self.receive_due();
            self.serve();
        }
    }

    pub fn nack(&mut self, viewer: usize, lost: &[u16]) {
        let mut compound = vec![];
        let lost: Vec<u64> = lost.iter().map(|sequence| u64::from(*sequence)).collect();
        crate::rtp::rtcp::write_nack(&mut compound, 5, VIDEO_SSRC, &lost);
        self.feedback(viewer, &compound);
    }

    pub fn complain(&mut self, viewer: usize) {
        let mut compound = vec![];
        crate::rtp::rtcp::write_pli(&mut compound, 5, VIDEO_SSRC);
        self.feedback(viewer, &compound);
    }

    pub fn feedback(&mut self, viewer: usize, compound: &[u8]) {
        let mut batch = Batch::default();
        let watcher = &mut self.viewers[viewer];
        let feeds = &self.workers[watcher.worker];
        watcher
            .viewer
            .handle_rtcp(compound, feeds, &mut watcher.witness, &mut batch, self.now);
        take(watcher, &self.origins, &batch, self.now);
    }

    /// Retransmissions since the last call.
    pub fn take_rtx(&mut self, viewer: usize) -> Vec<Sent> {
        let watcher = &mut self.viewers[viewer];
        let new = watcher.sent[watcher.rtx_taken..]
            .iter()
            .filter(|sent| sent.header.ssrc == VIDEO_RTX_SSRC);
        let new = new.cloned().collect();
        watcher.rtx_taken = watcher.sent.len();
        new
    }

    pub fn video(&self, viewer: usize) -> Vec<Media> {
        self.stream(viewer, VIDEO_SSRC)
    }

    pub fn audio(&self, viewer: usize) -> Vec<Media> {
        self.stream(viewer, AUDIO_SSRC)
    }

    pub fn last_layer(&self, viewer: usize) -> u8 {
        self.video(viewer).last().expect("video").origin.layer
    }

    /// (when, SSRC, NTP, RTP) of the sender reports a viewer was sent.
    pub fn reports(&self, viewer: usize) -> Vec<(Instant, u32, u64, u32)> {
        let rtcp = self.viewers[viewer].sent.iter().filter(|sent| sent.index.is_none());
        rtcp.flat_map(|sent| blocks(&sent.bytes).map(|block| (sent.at, block)))
            .filter_map(|(at, block)| match block {
                Block::SenderReport { ssrc, ntp, rtp, .. } => Some((at, ssrc, ntp, rtp)),
                _ => None,
            })
            .collect()
    }

    /// What holds for every stream of every viewer.
    pub fn check(&self, viewer: usize) {
        let ssrcs: BTreeSet<u32> = self.viewers[viewer].media().map(|(sent, _)| sent.header.ssrc).collect();
        for ssrc in ssrcs {
            let mut packets = self.stream(viewer, ssrc);
            let is_video = ssrc / 1000 % 2 == 0;
            assert!(
                packets[0].index <= 0xffff,
                "the receiver takes roll-over counter 0 for granted"
            );
            assert!(!is_video || packets[0].origin.keyframe && packets[0].origin.first_of_frame);
            packets.sort_by_key(|packet| packet.index);
            for pair in packets.windows(2) {
                let (a, b) = (&pair[0], &pair[1]);
                let advance = b.header.timestamp.wrapping_sub(a.header.timestamp).cast_signed();
                let from = |packet: &Media| (packet.origin.source, packet.origin.layer);
                let continues =
                    from(a) == from(b) && b.index - a.index == b.origin.sequence.wrapping_sub(a.origin.sequence);
                if continues {
                    assert!(advance >= 0, "{a:?} {b:?}");
                    assert!(
                        b.index - a.index <= GAP_MAX,
                        "the receiver loses its place: {a:?} {b:?}"
                    );
                    // what comes later may come when nothing flows any more
                    let last = a.origin.arrival.max(b.origin.arrival);
                    let came = |sequence| {
                        self.arrived
                            .get(&(from(a), is_video, sequence))
                            .is_some_and(|at| *at <= last)
                    };
                    let arrived = (a.origin.sequence + 1..b.origin.sequence).find(|sequence| came(*sequence));
                    assert_eq!(arrived, None, "not forwarded: {a:?} {b:?}");
                    continue;
                }
                assert_eq!(b.index, a.index + 1, "a switch leaves no gap: {a:?} {b:?}");
                assert!(advance > 0 && advance < 90_000 * 8, "{a:?} {b:?}");
                assert!(!is_video || b.origin.keyframe && b.origin.first_of_frame, "{a:?} {b:?}");
            }
        }
    }

    fn stream(&self, viewer: usize, ssrc: u32) -> Vec<Media> {
        let sent = self.viewers[viewer]
            .media()
            .filter(|(sent, _)| sent.header.ssrc == ssrc);
        sent.map(|(sent, origin)| Media {
            index: sent.index.expect("RTP"),
            header: sent.header,
            payload: sent.payload.clone(),
            origin: *origin,
        })
        .collect()
    }

    fn reconcile(&mut self) {
        let sources: Vec<SourceInfo> = self.sources.iter().map(Source::info).collect();
        for watcher in &mut self.viewers {
            let feeds = &self.workers[watcher.worker];
            watcher.viewer.reconcile(&sources, feeds, self.now);
            watcher.viewer.reconcile(&sources, feeds, self.now);
        }
    }

    /// Publishers send what is due at `now`.
    fn send_due(&mut self) {
        let now = self.now;
        for at in 0..self.sources.len() {
            let source = &mut self.sources[at];
            for (layer, answer) in source.answer_at.iter_mut().enumerate() {
                if answer.is_some_and(|at| at <= now) {
                    *answer = None;
                    source.layers[layer].keyframe_due = true;
                }
            }
            if source.next_audio <= now {
                source.next_audio += AUDIO_FRAME;
                let timestamp = source.timestamp(&source.audio, now, 48_000);
                source.audio.sequence += 1;
                let sequence = source.audio.sequence;
                self.send(at, MediaKind::Audio, 0, sequence, timestamp, (true, true), 80, true);
            }
            if self.sources[at].next_frame <= now {
                self.sources[at].next_frame += FRAME;
                (0..self.sources[at].layers.len()).for_each(|layer| self.send_frame(at, layer));
            }
            self.send_updates(at);
        }
    }

    fn send_frame(&mut self, at: usize, layer: usize) {
        let source = &mut self.sources[at];
        if source.layers[layer].stopped {
            return;
        }
        let timestamp = source.timestamp(&source.layers[layer], self.now, 90_000);
        // what a muted publisher encodes does not come through, so its keyframe would be lost
        let keyframe = source.permission.video && std::mem::take(&mut source.layers[layer].keyframe_due);
        source.layers[layer].picture = source.layers[layer].picture.wrapping_add(1) & 0x7fff;
        let packets = usize::from(source.script.heights[layer]) / 180 * if keyframe { 6 } else { 1 };
        for packet in 0..packets {
            let encoding = &mut self.sources[at].layers[layer];
            encoding.sequence += 1;
            let sequence = encoding.sequence;
            let flags = (keyframe, packet == 0);
            let size = if packet + 1 == packets { 300 } else { 900 };
            self.send(
                at,
                MediaKind::Video,
                layer as u8,
                sequence,
                timestamp,
                flags,
                size,
                packet + 1 == packets,
            );
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn send(
        &mut self,
        at: usize,
        kind: MediaKind,
        layer: u8,
        sequence: u64,
        timestamp: u32,
        (keyframe, first_of_frame): (bool, bool),
        size: usize,
        marker: bool,
    ) {
        let source = &self.sources[at];
        let permitted = if kind == MediaKind::Audio {
            source.permission.audio
        } else {
            source.permission.video
        };
        if !permitted || self.rng.random_bool(self.network.loss) {
            return;
        }
        let reordered = self.rng.random_bool(self.network.reorder);
        let delay = if reordered { self.rng.random_range(1..12) } else { 0 };
        let arrival = self.now + Duration::from_millis(delay);
        let source_id = source.script.id;
        let origin = Origin {
            source: source_id,
            layer,
            sequence,
            keyframe,
            first_of_frame,
            captured: self.now,
            arrival,
        };
        let key = self.origins.len() as u64;
        self.origins.insert(key, origin);
        let mut bytes = vec![];
        pack_element(&mut bytes, Extension::AudioLevel, &[30]);
        let extensions_len = bytes.len() as u16;
        if kind == MediaKind::Video && source.script.codec == Codec::Vp8 {
            bytes.extend_from_slice(&vp8_descriptor(&source.layers[usize::from(layer)], first_of_frame));
        }
        bytes.resize(usize::from(extensions_len) + size - KEY_LEN, 0);
        bytes.extend_from_slice(&key.to_be_bytes());
        let meta = Meta {
            sequence,
            timestamp,
            marker,
            starts_keyframe: kind == MediaKind::Audio || keyframe && first_of_frame,
            codec: if kind == MediaKind::Audio {
                Codec::Opus
            } else {
                source.script.codec
            },
            arrival,
            extensions_len,
        };
        let copies = 1 + usize::from(self.rng.random_bool(self.network.duplicate));
        for copy in 0..copies {
            let due = arrival + Duration::from_millis(3 * copy as u64);
            let (layer, bytes) = (LayerIndex(layer), bytes.clone());
            self.flying.push(InFlight {
                due,
                source: SourceId(source_id),
                kind,
                layer,
                meta,
                bytes,
            });
        }
    }

    /// What the publication would say of the source.
    fn send_updates(&mut self, at: usize) {
        let source = &mut self.sources[at];
        let id = SourceId(source.script.id);
        let mut updates = vec![];
        if !std::mem::replace(&mut source.sized, true) {
            updates.extend(
                source
                    .script
                    .heights
                    .iter()
                    .zip(0u8..)
                    .map(|(height, layer)| FeedUpdate::Size {
                        layer: LayerIndex(layer),
                        width: height * 16 / 9,
                        height: *height,
                    }),
            );
        }
        if source.script.reports && source.report_at <= self.now {
            source.report_at = self.now + Duration::from_secs(1);
            let source = &self.sources[at];
            let ntp = self.ntp_of(self.now);
            let rtp = source.timestamp(&source.audio, self.now, 48_000);
            updates.push(FeedUpdate::Clock {
                kind: MediaKind::Audio,
                layer: LayerIndex(0),
                ntp,
                rtp,
            });
            updates.extend(source.layers.iter().zip(0u8..).map(|(layer, i)| FeedUpdate::Clock {
                kind: MediaKind::Video,
                layer: LayerIndex(i),
                ntp,
                rtp: source.timestamp(layer, self.now, 90_000),
            }));
        }
        updates.into_iter().for_each(|update| self.update(id, update));
    }

    /// Packets arrive, and are copied to every worker in order.
    fn receive_due(&mut self) {
        let now = self.now;
        let (due, flying) = std::mem::take(&mut self.flying)
            .into_iter()
            .partition(|packet| packet.due <= now);
        self.flying = flying;
        let due: Vec<InFlight> = due;
        for packet in &due {
            let from = (packet.source.0, packet.layer.0);
            let is_video = packet.kind == MediaKind::Video;
            self.arrived
                .entry((from, is_video, packet.meta.sequence))
                .or_insert(now);
            for feeds in &mut self.workers {
                let feed = feeds.get_mut(packet.source).expect("published");
                feed.store(
                    packet.kind,
                    packet.layer,
                    PacketView {
                        meta: packet.meta,
                        bytes: &packet.bytes,
                    },
                );
            }
        }
    }

    fn serve(&mut self) {
        let now = self.now;
        for watcher in &mut self.viewers {
            let feeds = &self.workers[watcher.worker];
            let mut batch = Batch::default();
            watcher.viewer.forward(feeds, &mut watcher.witness, &mut batch, now);
            let mut turns = 0;
            while watcher.viewer.poll_timeout().is_some_and(|due| due <= now) {
                watcher
                    .viewer
                    .handle_timeout(feeds, &mut watcher.witness, &mut batch, now);
                turns += 1;
                assert!(turns < 3, "a timeout that is handled is over");
            }
            // twice equals once, unless a start from the ring goes on
            let written = batch.datagrams.len();
            let catching_up = written >= 128;
            watcher.viewer.forward(feeds, &mut watcher.witness, &mut batch, now);
            assert!(batch.datagrams.len() == written || catching_up);
            take(watcher, &self.origins, &batch, now);
            while let Some(event) = watcher.viewer.poll_event() {
                if let ViewerEvent::KeyframeWanted { source, layer } = event {
                    self.keyframe_requests.push((source, layer));
                    let publisher = self
                        .sources
                        .iter_mut()
                        .find(|s| s.script.id == source.0 && !s.script.deaf);
                    publisher.into_iter().for_each(|publisher| publisher.wish(layer, now));
                }
                watcher.events.push(event);
            }
        }
        self.workers.iter_mut().for_each(Feeds::clear_fresh);
    }
}

/// Takes a batch apart for the checks.
fn take(watcher: &mut Watcher, origins: &BTreeMap<u64, Origin>, batch: &Batch, at: Instant) {
    let indices = std::mem::take(&mut watcher.witness.indices);
    assert_eq!(indices.len(), batch.datagrams.len());
    for ((bytes, arrival), index) in batch.iter().zip(indices) {
        assert!(arrival.is_none_or(|arrival| arrival <= at));
        let mut sent = Sent {
            at,
            bytes: bytes.to_vec(),
            index,
            header: Fields::default(),
            elements: vec![],
            payload: vec![],
            origin: None,
        };
        if index.is_some() {
            let header = Header::parse(bytes).expect("RTP");
            let Header {
                sequence,
                timestamp,
                ssrc,
                payload_type,
                ..
            } = header;
            sent.header = Fields {
                sequence,
                timestamp,
                ssrc,
                payload_type,
            };
            sent.elements = header.elements(bytes).map(|(id, value)| (id, value.to_vec())).collect();
            sent.payload = header.payload(bytes).to_vec();
            if ssrc != VIDEO_RTX_SSRC {
                let key = sent.payload.last_chunk().expect("a payload");
                sent.origin = origins.get(&u64::from_be_bytes(*key)).copied();
            }
        }
        watcher.sent.push(sent);
    }
}

/// Picture ids of both lengths and the temporal index (RFC 7741, 4.2).
fn vp8_descriptor(encoding: &Encoding, starts: bool) -> [u8; 6] {
    let [high, low] = encoding.picture.to_be_bytes();
    [
        0x80 | u8::from(starts) << 4,
        0xe0,
        high | 0x80,
        low,
        encoding.picture as u8,
        0,
    ]
}

pub fn parameters(slots: usize) -> SendParameters {
    let mut extensions = ExtensionMap::default();
    extensions.set(Extension::Mid, 1);
    extensions.set(Extension::TransportCc, 3);
    extensions.set(Extension::AudioLevel, 4);
    let track = |kind, mid: String, codecs, ssrc| SendTrack {
        kind,
        mid,
        codecs,
        extensions,
        feedback: Feedback {
            nack: true,
            pli: true,
            fir: true,
            transport_cc: true,
            remb: false,
        },
        ssrc,
        rtx_ssrc: ssrc + 1,
    };
    let codec = |codec, payload_type, rtx_payload_type| SendCodec {
        codec,
        payload_type,
        rtx_payload_type,
    };
    let slot = |i: u32| SendSlot {
        audio: Some(track(
            MediaKind::Audio,
            format!("a{i}"),
            vec![codec(Codec::Opus, 111, None)],
            AUDIO_SSRC + 2000 * i,
        )),
        video: Some(track(
            MediaKind::Video,
            format!("v{i}"),
            vec![
                codec(Codec::H264, 96, Some(97)),
                codec(Codec::Vp8, 98, Some(99)),
                codec(Codec::Vp9, 100, None),
            ],
            VIDEO_SSRC + 2000 * i,
        )),
    };
    SendParameters {
        slots: (0..slots as u32).map(slot).collect(),
        cname: "costage".into(),
    }
}
