use super::streams::SSRCS_MAX;
use super::*;
use crate::rtp::parameters::{Feedback, ReceiveTrack};
use crate::rtp::{Codec, ExtensionMap, Fields, HeaderWriter, Meta};
use rand::{Rng, SeedableRng, rngs::StdRng};
use std::collections::BTreeMap;
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);
const SERVER: u32 = 0x5e7;
const AUDIO: (u8, u32) = (111, 0xa0);
const VIDEO: (u8, u32) = (96, 0xb0);
const RTX: (u8, u32) = (97, 0xb1);
/// A VP8 keyframe of 640×360 and a delta frame, without picture ids.
const KEYFRAME: [u8; 11] = [0x10, 0x10, 0, 0, 0x9d, 0x01, 0x2a, 0x80, 0x02, 0x68, 0x01];
const DELTA: [u8; 3] = [0x10, 0x11, 9];

fn extensions() -> ExtensionMap {
    let mut map = ExtensionMap::default();
    for (id, extension) in (1u8..).zip(Extension::ALL) {
        map.set(extension, id);
    }
    map
}

fn track(mid: &str, codec: Codec, payload_type: u8) -> ReceiveTrack {
    ReceiveTrack {
        mid: mid.into(),
        codec,
        payload_type,
        rtx_payload_type: (codec != Codec::Opus).then_some(RTX.0),
        extensions: extensions(),
        feedback: Feedback {
            nack: true,
            pli: true,
            fir: true,
            transport_cc: true,
            remb: true,
        },
        rids: vec![],
        ssrcs: vec![],
    }
}

fn parameters() -> ReceiveParameters {
    ReceiveParameters {
        audio: Some(track("0", Codec::Opus, AUDIO.0)),
        video: Some(track("1", Codec::Vp8, VIDEO.0)),
    }
}

fn simulcast() -> ReceiveParameters {
    let mut parameters = parameters();
    parameters.video.as_mut().unwrap().rids = vec!["l".into(), "h".into()];
    parameters
}

const BOTH: Permission = Permission {
    audio: true,
    video: true,
};

struct Bench {
    publication: Publication,
    now: Instant,
    start: Instant,
}

/// What came out, owned.
#[derive(Clone, Debug, PartialEq)]
struct Out {
    kind: MediaKind,
    layer: u8,
    meta: Meta,
    elements: Vec<(Extension, Vec<u8>)>,
    payload: Vec<u8>,
}

impl Bench {
    fn new(parameters: ReceiveParameters) -> Self {
        let start = Instant::now();
        let clock = NtpClock::new(start, 1000 << 32);
        let mut publication = Publication::new(SourceId(1), parameters, BOTH, SERVER, clock, start);
        while publication.poll_event().is_some() {}
        Bench {
            publication,
            now: start,
            start,
        }
    }

    fn pass(&mut self, duration: Duration) {
        self.now += duration;
        self.publication.handle_timeout(self.now);
    }

    fn rtp(&mut self, mut packet: Vec<u8>, index: u64) -> Option<Out> {
        let ingested = self.publication.handle_rtp(&mut packet, index, self.now)?;
        let elements = ingested.packet.elements();
        Some(Out {
            kind: ingested.kind,
            layer: ingested.layer.0,
            meta: ingested.packet.meta,
            elements: elements.map(|(extension, value)| (extension, value.to_vec())).collect(),
            payload: ingested.packet.payload().to_vec(),
        })
    }

    fn media(&mut self, stream: (u8, u32), index: u64, payload: &[u8]) -> Option<Out> {
        self.rtp(packet(stream, index as u16, &[], payload), index)
    }

    fn rtx(&mut self, index: u16, original: u16, payload: &[u8]) -> Option<Out> {
        let payload = [&original.to_be_bytes()[..], payload].concat();
        self.rtp(packet(RTX, index, &[], &payload), u64::from(index))
    }

    fn events(&mut self) -> Vec<PublicationEvent> {
        std::iter::from_fn(|| self.publication.poll_event()).collect()
    }

    fn feedback(&mut self) -> Told {
        let (mut told, mut out) = (Told::default(), vec![]);
        while self.publication.poll_rtcp(self.now, &mut out) {
            assert!(out.len() <= 1400);
            told.read(&out);
        }
        assert!(out.is_empty());
        told
    }
}

/// What the publisher was told.
#[derive(Debug, Default, PartialEq)]
struct Told {
    nacks: Vec<(u32, Vec<u16>)>,
    plis: Vec<u32>,
    firs: Vec<(u32, u8)>,
    reports: Vec<rtcp::ReportBlock>,
    arrivals: usize,
    remb: Option<u64>,
}

impl Told {
    fn read(&mut self, compound: &[u8]) {
        let mut blocks = rtcp::blocks(compound);
        for (position, block) in blocks.by_ref().enumerate() {
            assert_eq!(
                position == 0,
                matches!(block, Block::ReceiverReport { ssrc: SERVER, .. })
            );
            match block {
                Block::ReceiverReport { reports, .. } => self.reports.extend(reports),
                Block::Nack { media_ssrc, lost } => self.nacks.push((media_ssrc, lost.collect())),
                Block::Pli { media_ssrc } => self.plis.push(media_ssrc),
                Block::Fir(entries) => self.firs.extend(entries),
                Block::TransportCc(feedback) => {
                    self.arrivals += feedback.arrivals().filter(|(_, at)| at.is_some()).count();
                }
                Block::Remb { bitrate, .. } => self.remb = Some(bitrate),
                Block::Other { packet_type } => assert_eq!(packet_type, 202),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(blocks.malformed(), None);
    }
}

fn packet(stream: (u8, u32), sequence: u16, elements: &[(Extension, &[u8])], payload: &[u8]) -> Vec<u8> {
    let mut out = vec![];
    let fields = Fields {
        marker: true,
        payload_type: stream.0,
        sequence,
        timestamp: u32::from(sequence) * 100,
        ssrc: stream.1,
    };
    let mut writer = HeaderWriter::new(&mut out, &fields);
    for (extension, value) in elements {
        writer.element(extensions().id(*extension).unwrap(), value);
    }
    writer.finish();
    out.extend_from_slice(payload);
    out
}

fn padding(stream: (u8, u32), sequence: u16) -> Vec<u8> {
    let mut out = packet(stream, sequence, &[], &[0, 0, 3]);
    out[0] |= 0x20;
    out
}

#[test]
fn streams_are_told_by_payload_type_and_mid() {
    let mut bench = Bench::new(parameters());
    let audio = bench.media(AUDIO, 5, b"opus").unwrap();
    assert_eq!((audio.kind, audio.layer, audio.meta.sequence), (MediaKind::Audio, 0, 5));
    assert!(audio.meta.starts_keyframe && audio.meta.marker);
    assert_eq!(
        (audio.meta.codec, audio.payload.as_slice()),
        (Codec::Opus, &b"opus"[..])
    );
    let video = bench.media(VIDEO, 0x1_0005, &KEYFRAME).unwrap();
    assert_eq!((video.kind, video.meta.sequence), (MediaKind::Video, 0x1_0005));
    assert_eq!((video.meta.timestamp, video.meta.arrival), (500, bench.now));
    // of another m-line, of no payload type, and a known stream with a wrong one
    let foreign = packet((VIDEO.0, 0xc0), 1, &[(Extension::Mid, b"9")], &DELTA);
    assert_eq!(bench.rtp(foreign, 1), None);
    assert_eq!(bench.media((50, 0xd0), 1, &DELTA), None);
    assert_eq!(bench.media((AUDIO.0, VIDEO.1), 0x1_0006, &DELTA), None);
    assert_eq!(bench.publication.counters().unknown, 3);
    let description = bench.publication.description();
    assert_eq!(
        (description.audio, description.video, description.layers),
        (Some(Codec::Opus), Some(Codec::Vp8), 1)
    );
}

#[test]
fn layers_are_told_by_rid_and_remembered() {
    let mut bench = Bench::new(simulcast());
    assert_eq!(bench.publication.description().layers, 2);
    let (low, high) = ((VIDEO.0, 1), (VIDEO.0, 2));
    assert_eq!(bench.media(high, 10, &KEYFRAME), None, "nobody knows yet which it is");
    let with_rid = |stream, sequence, rid: &[u8]| packet(stream, sequence, &[(Extension::Rid, rid)], &KEYFRAME);
    assert_eq!(bench.rtp(with_rid(high, 11, b"h"), 11).unwrap().layer, 1);
    assert_eq!(bench.rtp(with_rid(low, 70, b"l"), 70).unwrap().layer, 0);
    assert_eq!(bench.rtp(with_rid((VIDEO.0, 3), 70, b"x"), 70), None);
    assert_eq!(bench.media(high, 13, &DELTA).unwrap().layer, 1);
    // its retransmissions by repaired RID
    let payload = [&12u16.to_be_bytes()[..], &DELTA].concat();
    let repaired = packet((RTX.0, 4), 500, &[(Extension::RepairedRid, b"h")], &payload);
    let out = bench.rtp(repaired, 500).unwrap();
    assert_eq!(
        (out.layer, out.meta.sequence, out.payload.as_slice()),
        (1, 12, &DELTA[..])
    );
    let again = packet((RTX.0, 4), 501, &[], &[&9u16.to_be_bytes()[..], &DELTA].concat());
    assert_eq!(bench.rtp(again, 501).unwrap().meta.sequence, 9);
}

#[test]
fn announced_ssrcs_need_no_extensions() {
    let mut parameters = parameters();
    let video = parameters.video.as_mut().unwrap();
    video.ssrcs = vec![(VIDEO.1, Some(RTX.1))];
    let mut bench = Bench::new(parameters);
    assert!(bench.media(VIDEO, 1, &DELTA).is_some());
    assert!(bench.media(VIDEO, 3, &DELTA).is_some());
    assert_eq!(bench.rtx(0, 2, &DELTA).unwrap().meta.sequence, 2);
    // another SSRC while the first sends is a mistake
    assert_eq!(bench.media((VIDEO.0, 77), 1, &DELTA), None);
}

#[test]
fn the_number_of_ssrcs_is_bounded() {
    let mut bench = Bench::new(parameters());
    for ssrc in 0..200 {
        bench.pass(300 * MS);
        assert!(
            bench.media((VIDEO.0, ssrc), 1, &DELTA).is_some(),
            "a sender may change its SSRC as often as it likes"
        );
        assert!(bench.publication.streams.len() <= SSRCS_MAX);
    }
    // junk that replaces nothing stays out, and what is in use stays in
    for ssrc in 1000..1200 {
        bench.media((RTX.0, ssrc), 1, &[0, 1, 2]);
        assert!(bench.publication.streams.len() <= SSRCS_MAX);
    }
    assert!(bench.media((VIDEO.0, 199), 2, &DELTA).is_some());
}

#[test]
fn a_new_ssrc_continues_the_layer_behind_an_interruption() {
    let mut bench = Bench::new(parameters());
    let before = bench.media(VIDEO, 60_000, &KEYFRAME).unwrap().meta.sequence;
    bench.pass(300 * MS);
    bench.events();
    let after = bench.media((VIDEO.0, 9), 3, &DELTA).unwrap().meta.sequence;
    assert!(after > before + 10_000);
    let interrupted = FeedUpdate::Interrupted { kind: MediaKind::Video };
    assert_eq!(bench.events(), [PublicationEvent::Feed(interrupted)]);
    assert_eq!(bench.feedback().plis, [9]);
    assert_eq!(
        bench.media(VIDEO, 60_001, &DELTA),
        None,
        "the old one is not listened to"
    );
    assert_eq!(bench.media((VIDEO.0, 9), 4, &DELTA).unwrap().meta.sequence, after + 1);
}

#[test]
fn extensions_that_travel_on_are_packed_in_front_of_the_payload() {
    let mut bench = Bench::new(parameters());
    let descriptor = [7; 100];
    let elements: [(Extension, &[u8]); 6] = [
        (Extension::Mid, b"1"),
        (Extension::DependencyDescriptor, &descriptor),
        (Extension::PlayoutDelay, &[1, 2, 3]),
        (Extension::AudioLevel, &[0x90]),
        (Extension::TransportCc, &[0, 1]),
        (Extension::AbsCaptureTime, &[0; 8]),
    ];
    let out = bench.rtp(packet(VIDEO, 1, &elements, &DELTA), 1).unwrap();
    let expected = [
        (Extension::AudioLevel, vec![0x90]),
        (Extension::PlayoutDelay, vec![1, 2, 3]),
        (Extension::DependencyDescriptor, descriptor.to_vec()),
    ];
    assert_eq!(
        out.elements, expected,
        "the capture time is left out while the clocks are unknown"
    );
    assert_eq!(out.payload, DELTA);
    // the tightest case: nothing but one-byte elements that all travel on
    let elements: [(Extension, &[u8]); 4] = [
        (Extension::DependencyDescriptor, &[1; 16]),
        (Extension::PlayoutDelay, &[1, 2, 3]),
        (Extension::AudioLevel, &[0x90]),
        (Extension::AbsCaptureTime, &[0; 16]),
    ];
    let out = bench.rtp(packet(VIDEO, 2, &elements, &DELTA), 2).unwrap();
    assert_eq!((out.elements.len(), out.payload.as_slice()), (3, &DELTA[..]));
    let bare = bench.media(VIDEO, 3, &DELTA).unwrap();
    assert_eq!((bare.elements.len(), bare.meta.extensions_len), (0, 0));
}

#[test]
fn one_clock_offset_serves_both_tracks_and_capture_times() {
    let mut bench = Bench::new(parameters());
    bench.media(AUDIO, 1, b"a");
    bench.media(VIDEO, 1, &DELTA);
    bench.events();
    bench.pass(500 * MS);
    let mut report = |ssrc, ntp: u64, rtp| {
        let mut out = vec![];
        let info = rtcp::SenderInfo {
            ntp,
            rtp,
            packets: 1,
            octets: 1,
        };
        rtcp::write_sender_report(&mut out, ssrc, info, &[]);
        bench.publication.handle_rtcp(&out, bench.now);
        bench.now += 100 * MS;
        bench.events()
    };
    let clock = |kind, ntp, rtp| {
        vec![PublicationEvent::Feed(FeedUpdate::Clock {
            kind,
            layer: LayerIndex(0),
            ntp,
            rtp,
        })]
    };
    // the publisher's clock stands at 50 s when the server's stands at 1000.5 s
    assert_eq!(
        report(AUDIO.1, 50 << 32, 480),
        clock(MediaKind::Audio, (1000 << 32) + (1 << 31), 480)
    );
    // a report that was 150 ms faster than the first does not move the offset
    let quarter = (50 << 32) + (1 << 30);
    assert_eq!(
        report(VIDEO.1, quarter, 900),
        clock(MediaKind::Video, (1000 << 32) + (3 << 30), 900)
    );
    assert_eq!(report(0xdead, 51 << 32, 900), []);
    let captured = (49u64 << 32).to_be_bytes();
    let out = packet(VIDEO, 2, &[(Extension::AbsCaptureTime, &captured)], &DELTA);
    let out = bench.rtp(out, 2).unwrap();
    let expected = ((999u64 << 32) + (1 << 31)).to_be_bytes().to_vec();
    assert_eq!(out.elements, [(Extension::AbsCaptureTime, expected)]);
    bench.pass(1000 * MS);
    let told = bench.feedback();
    assert_eq!(told.reports.len(), 2);
    assert!(
        told.reports
            .iter()
            .all(|report| report.last_sender_report != 0 && report.delay >= 65_536)
    );
}

/// What a sender report made the publication say of clocks.
fn clocks(bench: &mut Bench, ssrc: u32, ntp: u64, rtp: u32) -> Vec<(MediaKind, u64, u32)> {
    let mut out = vec![];
    let info = rtcp::SenderInfo {
        ntp,
        rtp,
        ..Default::default()
    };
    rtcp::write_sender_report(&mut out, ssrc, info, &[]);
    bench.publication.handle_rtcp(&out, bench.now);
    let told = bench.events().into_iter().filter_map(|event| match event {
        PublicationEvent::Feed(FeedUpdate::Clock { kind, ntp, rtp, .. }) => Some((kind, ntp, rtp)),
        _ => None,
    });
    told.collect()
}

#[test]
fn a_clock_that_was_set_gets_a_new_offset() {
    let mut bench = Bench::new(parameters());
    bench.media(VIDEO, 1, &DELTA);
    bench.media(AUDIO, 1, b"a");
    let s = |seconds: u64| seconds << 32;
    assert_eq!(clocks(&mut bench, VIDEO.1, s(50), 0), [(MediaKind::Video, s(1000), 0)]);
    assert_eq!(clocks(&mut bench, AUDIO.1, s(50), 7), [(MediaKind::Audio, s(1000), 7)]);
    for second in 1..=2 {
        bench.pass(1000 * MS);
        assert_eq!(
            clocks(&mut bench, VIDEO.1, s(5000 + second), 90_000 * second as u32),
            []
        );
    }
    bench.pass(1000 * MS);
    // what the sound said is on the clock of before, so it stands
    assert_eq!(
        clocks(&mut bench, VIDEO.1, s(5003), 270_000),
        [(MediaKind::Video, s(1003), 270_000)]
    );
    assert_eq!(
        clocks(&mut bench, AUDIO.1, s(5003), 144_007),
        [(MediaKind::Audio, s(1003), 144_007)]
    );
}

#[test]
fn reports_that_a_queue_held_up_keep_lip_sync() {
    let mut bench = Bench::new(parameters());
    bench.media(VIDEO, 1, &DELTA);
    bench.media(AUDIO, 1, b"a");
    let ntp = |ms: u64| (50 << 32) + (ms << 32) / 1000;
    // node's time − publisher's, by each track
    let mut offsets: BTreeMap<bool, u64> = BTreeMap::new();
    let (mut widest, mut newest) = (0, 0);
    for second in 0..20u64 {
        // one report late, then all from a certain one on
        let late = second == 3 || second >= 8;
        bench.now = bench.start + MS * (1000 * second + if late { 600 } else { 0 }) as u32;
        for (ssrc, rate, every) in [(AUDIO.1, 48, 5), (VIDEO.1, 90, 1)] {
            if second % every != 0 {
                continue;
            }
            let told = clocks(&mut bench, ssrc, ntp(1000 * second), (rate * 1000 * second) as u32);
            for (kind, at, rtp) in told {
                let rate = if kind == MediaKind::Audio { 48 } else { 90 };
                let offset = at - ntp(u64::from(rtp) / rate);
                offsets.insert(kind == MediaKind::Audio, offset);
            }
            if let [Some(video), Some(audio)] = [false, true].map(|is_audio| offsets.get(&is_audio)) {
                widest = widest.max(video.abs_diff(*audio));
                newest = *video;
            }
        }
    }
    assert!(widest < 1 << 20, "sound and picture apart by {widest}");
    assert_eq!(
        newest.abs_diff((950 << 32) + (600 << 32) / 1000) >> 20,
        0,
        "it follows what stays"
    );
}

#[test]
fn a_packet_is_taken_once_however_it_comes() {
    let mut bench = Bench::new(parameters());
    for index in [65_534, 65_537] {
        bench.media(VIDEO, index, &DELTA);
    }
    bench.pass(20 * MS);
    assert_eq!(bench.feedback().nacks, [(VIDEO.1, vec![65_535, 0])]);
    assert_eq!(bench.rtx(1, 65_535, &DELTA).unwrap().meta.sequence, 65_535);
    assert_eq!(bench.media(VIDEO, 65_535, &DELTA), None, "the original late");
    assert_eq!(bench.media(VIDEO, 65_536, &DELTA).unwrap().meta.sequence, 65_536);
    assert_eq!(bench.rtx(2, 0, &DELTA), None, "sent again although it came");
    assert_eq!(bench.rtx(3, 1, &DELTA), None, "probing with what came long ago");
    let counters = bench.publication.counters();
    assert_eq!(
        (
            counters.duplicates,
            counters.repaired,
            counters.nacked,
            counters.ingested
        ),
        (3, 1, 2, 4)
    );
    bench.pass(1000 * MS);
    assert!(bench.feedback().nacks.is_empty());
}

#[test]
fn padding_leaves_no_holes() {
    let mut bench = Bench::new(parameters());
    bench.media(VIDEO, 10, &DELTA);
    assert_eq!(bench.rtp(padding(VIDEO, 11), 11), None);
    assert_eq!(bench.media(VIDEO, 13, &DELTA).unwrap().meta.sequence, 12);
    assert_eq!(bench.rtx(0, 12, &DELTA).unwrap().meta.sequence, 11);
    // padding that was lost has its hole already, and fills it
    assert_eq!(bench.media(VIDEO, 15, &DELTA).unwrap().meta.sequence, 14);
    let late = bench.rtx(1, 14, &[]).unwrap();
    assert_eq!(
        (late.meta.sequence, late.payload.len(), late.meta.starts_keyframe),
        (13, 0, false)
    );
    // padding of the retransmission stream is nothing
    assert_eq!(bench.rtp(padding(RTX, 2), 2), None);
    assert_eq!(bench.publication.counters().padding, 2);
}

#[test]
fn muted_packets_stop_and_what_was_muted_stays_so() {
    let mut bench = Bench::new(parameters());
    bench.media(VIDEO, 1, &KEYFRAME);
    bench.media(AUDIO, 1, b"a");
    bench.events();
    let muted = Permission {
        audio: true,
        video: false,
    };
    bench.publication.permit(muted, bench.now);
    bench.publication.permit(muted, bench.now);
    let interrupted = FeedUpdate::Interrupted { kind: MediaKind::Video };
    assert_eq!(bench.events(), [PublicationEvent::Feed(interrupted)]);
    assert_eq!(bench.media(VIDEO, 2, &DELTA), None);
    assert_eq!(bench.media(VIDEO, 5, &DELTA), None);
    assert!(bench.media(AUDIO, 2, b"a").is_some());
    bench.publication.request_keyframe(LayerIndex(0), bench.now);
    bench.pass(30 * MS);
    let told = bench.feedback();
    assert_eq!(
        (told.nacks, told.plis),
        (vec![], vec![]),
        "nothing is asked for while muted"
    );
    bench.publication.permit(BOTH, bench.now);
    assert_eq!(bench.feedback().plis, [VIDEO.1], "a keyframe at once");
    assert_eq!(bench.media(VIDEO, 4, &DELTA), None, "sent while muted");
    assert_eq!(bench.media(VIDEO, 6, &KEYFRAME).unwrap().meta.sequence, 6);
    assert_eq!(bench.publication.counters().forbidden, 3);
}

#[test]
fn a_publisher_who_starts_muted_yields_nothing() {
    let start = Instant::now();
    let none = Permission {
        audio: false,
        video: false,
    };
    let clock = NtpClock::new(start, 0);
    let publication = Publication::new(SourceId(1), parameters(), none, SERVER, clock, start);
    let mut bench = Bench {
        publication,
        now: start,
        start,
    };
    assert_eq!(bench.media(AUDIO, 1, b"a"), None);
    let flowing = FeedUpdate::Flowing {
        kind: MediaKind::Audio,
        layer: LayerIndex(0),
        flowing: true,
    };
    let media = PublicationEvent::Media {
        kind: MediaKind::Audio,
        flowing: true,
    };
    assert_eq!(bench.events(), [PublicationEvent::Feed(flowing), media]);
}

#[test]
fn layers_and_tracks_start_and_stop_flowing() {
    let mut bench = Bench::new(simulcast());
    let flowing = |layer, flowing| {
        PublicationEvent::Feed(FeedUpdate::Flowing {
            kind: MediaKind::Video,
            layer: LayerIndex(layer),
            flowing,
        })
    };
    let media = |flowing| PublicationEvent::Media {
        kind: MediaKind::Video,
        flowing,
    };
    for (ssrc, rid) in [(1, b"l"), (2, b"h")] {
        let first = packet((VIDEO.0, ssrc), 1, &[(Extension::Rid, rid)], &DELTA);
        bench.rtp(first, 1);
    }
    assert_eq!(bench.events(), [flowing(0, true), media(true), flowing(1, true)]);
    bench.pass(600 * MS);
    bench.media((VIDEO.0, 1), 2, &DELTA);
    assert_eq!(
        bench.publication.tracks[1].layers[1].flow_timeout(),
        Some(bench.start + 1000 * MS)
    );
    bench.pass(400 * MS);
    assert_eq!(bench.events(), [flowing(1, false)]);
    let mut bye = vec![];
    rtcp::write_bye(&mut bye, &[1, 2]);
    bench.publication.handle_rtcp(&bye, bench.now);
    assert_eq!(bench.events(), [flowing(0, false), media(false)]);
    bench.media((VIDEO.0, 2), 2, &DELTA);
    assert_eq!(bench.events(), [], "too soon");
    bench.pass(100 * MS);
    assert_eq!(bench.events(), [flowing(1, true), media(true)]);
}

/// What a publisher says a thousand times is told ten times a second, and the last of it always.
#[test]
fn the_rate_of_news_is_not_the_publishers() {
    let mut bench = Bench::new(parameters());
    bench.media(VIDEO, 1, &KEYFRAME);
    bench.events();
    let mut size = KEYFRAME;
    let mut told: BTreeMap<&str, usize> = BTreeMap::new();
    let mut last = vec![];
    let mut note = |bench: &mut Bench| {
        for event in bench.events() {
            let PublicationEvent::Feed(update) = event else {
                continue;
            };
            let name = match update {
                FeedUpdate::Clock { .. } => "clock",
                FeedUpdate::Size { .. } => "size",
                FeedUpdate::Flowing { .. } => "flowing",
                _ => "other",
            };
            *told.entry(name).or_default() += 1;
            last.retain(|before| std::mem::discriminant(before) != std::mem::discriminant(&update));
            last.push(update);
        }
    };
    for round in 0..100u64 {
        bench.pass(10 * MS);
        let mut compound = vec![];
        for report in 0..10 {
            let info = rtcp::SenderInfo {
                ntp: (50 << 32) + ((10 * round) << 32) / 1000,
                rtp: (100 * round + report) as u32,
                ..Default::default()
            };
            rtcp::write_sender_report(&mut compound, VIDEO.1, info, &[]);
        }
        rtcp::write_bye(&mut compound, &[VIDEO.1]);
        bench.publication.handle_rtcp(&compound, bench.now);
        size[7] = round as u8;
        bench.media(VIDEO, 2 + round, &size);
        note(&mut bench);
        assert!(
            bench
                .publication
                .poll_timeout()
                .is_some_and(|due| due > bench.now - 10 * MS)
        );
    }
    bench.pass(100 * MS);
    note(&mut bench);
    assert_eq!(bench.events(), []);
    assert!(told.values().all(|told| (10..=12).contains(told)), "{told:?}");
    assert_eq!(told.len(), 3);
    let (kind, layer) = (MediaKind::Video, LayerIndex(0));
    assert!(last.contains(&FeedUpdate::Flowing {
        kind,
        layer,
        flowing: true
    }));
    assert!(last.contains(&FeedUpdate::Size {
        layer,
        width: 0x263,
        height: 0x168
    }));
    assert!(
        last.iter()
            .any(|update| matches!(update, FeedUpdate::Clock { rtp: 9909, .. }))
    );
}

#[test]
fn numbers_that_leap_with_every_packet_interrupt_five_times_a_second() {
    let mut bench = Bench::new(parameters());
    let (mut interruptions, mut taken) = (0, 0);
    for packet in 0..1000u64 {
        bench.pass(MS);
        taken += usize::from(bench.media(VIDEO, 100 + 20_000 * packet, &DELTA).is_some());
        let interrupted = FeedUpdate::Interrupted { kind: MediaKind::Video };
        let events = bench.events().into_iter();
        interruptions += events
            .filter(|event| *event == PublicationEvent::Feed(interrupted))
            .count();
    }
    assert_eq!((interruptions, taken), (5, 6));
}

#[test]
fn sizes_are_told_when_they_change() {
    let mut bench = Bench::new(parameters());
    bench.media(VIDEO, 1, &KEYFRAME);
    let sizes = |events: Vec<PublicationEvent>| -> Vec<PublicationEvent> {
        let is_size = |event: &PublicationEvent| {
            matches!(
                event,
                PublicationEvent::VideoSize { .. } | PublicationEvent::Feed(FeedUpdate::Size { .. })
            )
        };
        events.into_iter().filter(is_size).collect()
    };
    let size = FeedUpdate::Size {
        layer: LayerIndex(0),
        width: 640,
        height: 360,
    };
    let whole = PublicationEvent::VideoSize {
        width: 640,
        height: 360,
    };
    assert_eq!(sizes(bench.events()), [PublicationEvent::Feed(size), whole]);
    bench.media(VIDEO, 2, &KEYFRAME);
    assert_eq!(sizes(bench.events()), []);
    let mut smaller = KEYFRAME;
    smaller[9] = 0xf0;
    smaller[10] = 0;
    bench.pass(100 * MS);
    bench.media(VIDEO, 3, &smaller);
    assert_eq!(sizes(bench.events()).len(), 2);
}

#[test]
fn keyframe_requests_are_merged_and_repeated() {
    let mut bench = Bench::new(parameters());
    bench.publication.request_keyframe(LayerIndex(0), bench.now);
    assert_eq!(bench.feedback(), Told::default(), "nobody to ask yet");
    bench.media(VIDEO, 1, &DELTA);
    assert!(bench.publication.poll_timeout().unwrap() <= bench.now);
    assert_eq!(bench.feedback().plis, [VIDEO.1]);
    bench.publication.request_keyframe(LayerIndex(0), bench.now);
    bench.publication.request_keyframe(LayerIndex(7), bench.now);
    bench.pass(400 * MS);
    bench.media(VIDEO, 2, &DELTA);
    assert!(bench.feedback().plis.is_empty());
    bench.pass(100 * MS);
    assert_eq!(bench.feedback().plis, [VIDEO.1]);
    bench.media(VIDEO, 3, &KEYFRAME);
    bench.pass(900 * MS);
    assert!(bench.feedback().plis.is_empty());
    assert_eq!(bench.publication.counters().keyframe_requests, 2);
}

#[test]
fn who_ignores_keyframe_requests_is_found_out() {
    let mut bench = Bench::new(parameters());
    bench.media(VIDEO, 1, &DELTA);
    bench.events();
    bench.publication.request_keyframe(LayerIndex(0), bench.now);
    let ignored = PublicationEvent::Feed(FeedUpdate::IgnoresKeyframeRequests);
    let mut found = vec![];
    for index in 2..400u64 {
        bench.pass(10 * MS);
        bench.media(VIDEO, index, &DELTA);
        bench.feedback();
        let at = bench.now.duration_since(bench.start).as_millis();
        found.extend(bench.events().into_iter().filter(|event| *event == ignored).map(|_| at));
    }
    // the first request went out at 10 ms
    assert_eq!(found, [2010]);
}

#[test]
fn full_intra_requests_serve_who_knows_no_pli_and_nothing_who_knows_neither() {
    let mut parameters = parameters();
    parameters.video.as_mut().unwrap().feedback.pli = false;
    let mut bench = Bench::new(parameters.clone());
    bench.media(VIDEO, 1, &DELTA);
    bench.publication.request_keyframe(LayerIndex(0), bench.now);
    let told = bench.feedback();
    assert_eq!((told.plis, told.firs), (vec![], vec![(VIDEO.1, 1)]));

    parameters.video.as_mut().unwrap().feedback.fir = false;
    let start = Instant::now();
    let clock = NtpClock::new(start, 0);
    let mut publication = Publication::new(SourceId(1), parameters, BOTH, SERVER, clock, start);
    let ignored = PublicationEvent::Feed(FeedUpdate::IgnoresKeyframeRequests);
    assert_eq!(publication.poll_event(), Some(ignored));
    publication.request_keyframe(LayerIndex(0), start);
    let mut out = vec![];
    assert!(!publication.poll_rtcp(start, &mut out) && publication.poll_timeout().is_none());
}

#[test]
fn loss_beyond_repair_asks_for_a_keyframe() {
    let mut bench = Bench::new(parameters());
    bench.media(VIDEO, 1, &DELTA);
    bench.media(VIDEO, 5000, &DELTA);
    let told = bench.feedback();
    assert_eq!((told.nacks, told.plis), (vec![], vec![VIDEO.1]));
}

#[test]
fn transport_feedback_comes_every_50_ms_and_every_100_when_idle() {
    let count = |interval: Duration| {
        let mut bench = Bench::new(parameters());
        let (mut feedbacks, mut told) = (0, 0);
        let sent = 1000 / interval.as_millis() as u16;
        for sequence in 0..sent {
            let element = sequence.to_be_bytes();
            let audio = packet(AUDIO, sequence, &[(Extension::TransportCc, &element)], b"a");
            bench.rtp(audio, u64::from(sequence));
            let until = bench.now + interval;
            while let Some(due) = bench.publication.poll_timeout().filter(|due| *due <= until) {
                bench.now = bench.now.max(due);
                bench.publication.handle_timeout(bench.now);
                let arrivals = bench.feedback().arrivals;
                feedbacks += usize::from(arrivals > 0);
                told += arrivals;
            }
            bench.now = until;
        }
        assert!(told + 20 > usize::from(sent), "{told} of {sent}");
        feedbacks
    };
    assert!((18..=20).contains(&count(2 * MS)));
    assert!((8..=10).contains(&count(25 * MS)));
}

#[test]
fn publishers_without_transport_feedback_are_allowed_twice_what_arrives() {
    let mut parameters = parameters();
    for track in [&mut parameters.audio, &mut parameters.video].into_iter().flatten() {
        track.feedback.transport_cc = false;
    }
    let mut bench = Bench::new(parameters);
    let mut index = 0;
    let mut second = |bench: &mut Bench, packets: u64, bytes: usize| {
        for _ in 0..packets {
            index += 1;
            bench.media(VIDEO, index, &vec![0x10; bytes]);
        }
        bench.pass(1000 * MS);
        bench.feedback().remb.unwrap()
    };
    assert_eq!(second(&mut bench, 1, 100) / 10_000, 150);
    let allowed = second(&mut bench, 250, 1000 - 12);
    assert!((3_900_000..=4_000_000).contains(&allowed), "{allowed}");
    assert!(second(&mut bench, 10_000, 1000) <= 20_000_000);
}

#[test]
fn loudness_is_told_at_most_four_times_a_second() {
    let mut bench = Bench::new(parameters());
    let mut levels = vec![];
    for index in 1..=100u64 {
        bench.pass(20 * MS);
        let level = [if index < 50 { 20 } else { 100 }];
        let audio = packet(AUDIO, index as u16, &[(Extension::AudioLevel, &level)], b"a");
        bench.rtp(audio, index);
        levels.extend(bench.events().into_iter().filter_map(|event| match event {
            PublicationEvent::Feed(FeedUpdate::Loudness { level }) => Some(level),
            _ => None,
        }));
    }
    assert!((2..=8).contains(&levels.len()), "{levels:?}");
    assert!(levels.iter().any(|level| *level > 90));
    bench.pass(1000 * MS);
    let silent = PublicationEvent::Feed(FeedUpdate::Loudness { level: 0 });
    assert!(bench.events().contains(&silent));
}

/// A publisher behind a network that loses, reorders and duplicates, with and without RTX: every media packet comes out
/// once, under numbers without holes, with its own payload.
#[test]
fn every_packet_comes_out_once_through_any_network() {
    for seed in 0..12 {
        network(seed, seed % 2 == 0);
    }
}

fn network(seed: u64, by_rtx: bool) {
    const TOTAL: u64 = 4000;
    let mut rng = StdRng::seed_from_u64(seed);
    let mut bench = Bench::new(parameters());
    // (when, RTX?, sequence)
    let mut in_flight: Vec<(Instant, bool, u64)> = vec![];
    let (first, mut rtx_sequence) = (65_536 * 3 - 700, 40_000u16);
    let is_padding = |sequence: u64| sequence.is_multiple_of(37);
    let mut outs: BTreeMap<u64, Out> = BTreeMap::new();
    for sequence in first..first + TOTAL + 600 {
        bench.pass(MS);
        let last = sequence >= first + TOTAL;
        let copies = if last {
            0
        } else {
            [0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2][rng.random_range(0..12)]
        };
        let certain = sequence == first || sequence + 1 == first + TOTAL;
        for _ in 0..if certain { 1 } else { copies } {
            let delay = if sequence < first + 20 {
                1
            } else {
                rng.random_range(1..15)
            };
            in_flight.push((bench.now + MS * delay, false, sequence));
        }
        let now = bench.now;
        let mut due: Vec<(bool, u64)> = vec![];
        in_flight.retain(|(at, rtx, sequence)| {
            if *at <= now {
                due.push((*rtx, *sequence));
            }
            *at > now
        });
        for (rtx, sequence) in due {
            let payload = if is_padding(sequence) {
                vec![]
            } else {
                [&[0x10, 0x11], &sequence.to_be_bytes()[..]].concat()
            };
            let out = if rtx {
                rtx_sequence = rtx_sequence.wrapping_add(1);
                bench.rtx(rtx_sequence, sequence as u16, &payload)
            } else if payload.is_empty() {
                bench.rtp(padding(VIDEO, sequence as u16), sequence)
            } else {
                bench.media(VIDEO, sequence, &payload)
            };
            if let Some(out) = out {
                assert_eq!(out.payload, payload);
                assert!(outs.insert(out.meta.sequence, out).is_none(), "a number given twice");
            }
        }
        for (ssrc, lost) in bench.feedback().nacks {
            assert_eq!(ssrc, VIDEO.1);
            for low in lost {
                let asked = nearest(sequence, low);
                if rng.random_range(0..8) > 0 {
                    in_flight.push((now + MS * rng.random_range(20..40), by_rtx, asked));
                }
            }
        }
    }
    let numbers: Vec<u64> = outs.keys().copied().collect();
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "holes");
    let payloads: Vec<&Vec<u8>> = outs
        .values()
        .map(|out| &out.payload)
        .filter(|payload| !payload.is_empty())
        .collect();
    assert!(payloads.is_sorted(), "numbers follow the publisher's order");
    // what was lost before the first packet that came is not known of
    let media = (first + 20..first + TOTAL)
        .filter(|sequence| !is_padding(*sequence))
        .count();
    assert!(payloads.len() >= media && payloads.len() <= media + 20);
}

#[test]
fn mutated_packets_never_panic() {
    let mut rng = StdRng::seed_from_u64(23);
    for parameters in [parameters(), simulcast()] {
        let mut bench = Bench::new(parameters);
        let seeds = [
            packet(
                VIDEO,
                1,
                &[(Extension::Rid, b"h"), (Extension::DependencyDescriptor, &[5; 30])],
                &KEYFRAME,
            ),
            packet(
                RTX,
                1,
                &[(Extension::RepairedRid, b"h"), (Extension::TransportCc, &[0, 1])],
                &[0, 1, 0x10],
            ),
            packet(
                AUDIO,
                1,
                &[(Extension::AudioLevel, &[5]), (Extension::AbsCaptureTime, &[0; 16])],
                b"opus",
            ),
            padding(VIDEO, 7),
        ];
        let mut reports = vec![];
        rtcp::write_sender_report(&mut reports, VIDEO.1, rtcp::SenderInfo::default(), &[]);
        rtcp::write_bye(&mut reports, &[VIDEO.1]);
        for round in 0..20_000usize {
            let mut bytes = if round % 5 == 4 {
                reports.clone()
            } else {
                seeds[round % 4].clone()
            };
            for _ in 0..rng.random_range(0..5) {
                let at = rng.random_range(0..bytes.len());
                bytes[at] = rng.random();
            }
            bytes.truncate(rng.random_range(bytes.len() / 2..=bytes.len()));
            bench.pass(Duration::from_micros(rng.random_range(0..20_000)));
            if round % 5 == 4 {
                bench.publication.handle_rtcp(&bytes, bench.now);
            } else {
                let low = u64::from(u16::from_be_bytes([bytes.get(2).copied().unwrap_or(0), 0]));
                bench.rtp(bytes, low + rng.random_range(0..3));
            }
            bench.feedback();
            assert!(bench.publication.poll_timeout().is_none_or(|due| due > bench.now));
            bench.events();
        }
    }
}
