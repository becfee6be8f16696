//! A program among workers.

use super::*;
use crate::forward::{FeedDescription, FeedUpdate, LayerIndex};
use crate::rtp::{Meta, PacketView};

const PROGRAM: SourceId = SourceId(20);
/// The program of a node with two workers.
const INDEX: usize = 2;
const LAYER: LayerIndex = LayerIndex(0);
const DESCRIPTION: FeedDescription = FeedDescription {
    audio: Some(Codec::Opus),
    video: Some(Codec::Vp8),
    layers: 1,
};

fn attach(handles: &[Handle]) -> (Port<u8>, PortHandle<u8>) {
    Port::attach(INDEX, handles, PROGRAM, DESCRIPTION).unwrap()
}

/// What a program heard, packets as `key` and `delta`, without the loudness and the clocks.
fn heard(port: &mut Port<u8>, now: Instant) -> Vec<String> {
    let mut heard = vec![];
    port.drain(now, |arrival| {
        heard.push(match arrival {
            Arrival::Command(command) => format!("command {command}"),
            Arrival::Begun { source } => format!("begun {}", source.0),
            Arrival::Gone { source } => format!("gone {}", source.0),
            Arrival::KeyframeWanted => "wish".into(),
            Arrival::Packet {
                source, kind, packet, ..
            } => {
                assert_eq!(source, SOURCE);
                match kind {
                    MediaKind::Audio => "audio".into(),
                    MediaKind::Video if packet.meta.starts_keyframe => "key".into(),
                    MediaKind::Video => "delta".into(),
                }
            }
            Arrival::Update { update, .. } => match update {
                FeedUpdate::Interrupted { kind } => format!("interrupted {kind:?}"),
                FeedUpdate::Flowing { kind, flowing, .. } => format!("{kind:?} {flowing}"),
                FeedUpdate::Size { width, height, .. } => format!("{width}x{height}"),
                _ => return,
            },
        });
    });
    port.flush();
    heard
}

/// Every worker takes what was handed to it.
fn turn(cores: &mut [Core], now: Instant) {
    for core in cores {
        core.take_messages(now);
        core.conclude(now);
    }
}

fn frame(host: &mut Driven, core: &mut Core, payload: &[u8], now: Instant) {
    let packet = host.video(VIDEO_SSRC, payload);
    host.send(core, packet, now);
}

fn is_pli(plain: &Plain) -> bool {
    matches!(plain, Plain::Rtcp(compound) if contains_pli(compound))
}

/// A frame of the program.
fn show(port: &mut Port<u8>, sequence: u64, payload: &[u8], now: Instant) {
    let meta = Meta {
        sequence,
        timestamp: sequence as u32 * 3000,
        marker: true,
        starts_keyframe: payload == KEYFRAME,
        codec: Codec::Vp8,
        arrival: now,
        extensions_len: 0,
    };
    let packet = PacketView { meta, bytes: payload };
    port.publish(MediaKind::Video, LAYER, packet);
    port.flush();
}

/// The room's sources: the host's camera on the first worker, and the program if there is one.
fn tell(cores: &mut [Core], program: bool, now: Instant) {
    let mut list = sources(0).to_vec();
    if program {
        let info = SourceInfo {
            id: PROGRAM,
            kind: SourceKind::Program,
            user: "room".into(),
            worker: INDEX,
            ..list[0].clone()
        };
        list.push(info);
    }
    let sources: Arc<[SourceInfo]> = list.into();
    for core in cores {
        let sources = sources.clone();
        core.command(Command::Sources { room: ROOM, sources }, now);
        core.conclude(now);
    }
}

/// Sequence number, timestamp and whether it starts a keyframe, of each packet of video the viewer was sent.
fn shown(core: &mut Core, viewer: &mut Driven, now: Instant) -> Vec<(u16, u32, bool)> {
    core.forward(now, |_| {});
    core.conclude(now);
    let mut shown = vec![];
    for plain in viewer.take(core) {
        let Plain::Rtp(packet) = plain else { continue };
        assert_eq!(packet[1] & 0x7f, 120, "video");
        let key = packet.windows(3).any(|window| window == [0x9d, 0x01, 0x2a]);
        let sequence = u16::from_be_bytes([packet[2], packet[3]]);
        shown.push((sequence, u32::from_be_bytes(packet[4..8].try_into().unwrap()), key));
    }
    shown
}

#[test]
fn a_program_takes_the_source_of_a_seat() {
    let now = Instant::now();
    let (mut cores, handles) = cores_and_handles(2);
    let (mut port, _handle) = attach(&handles);
    // the owner hears of the publisher later than the program
    port.reconcile_inputs(&[(SOURCE, 0)]);
    turn(&mut cores, now);
    let mut host = publish(&mut cores[0], 0, now);
    frame(&mut host, &mut cores[0], &KEYFRAME, now);
    assert!(heard(&mut port, now).is_empty());

    port.reconcile_inputs(&[(SOURCE, 0)]);
    turn(&mut cores, now);
    frame(&mut host, &mut cores[0], &DELTA, now);
    let start = heard(&mut port, now);
    assert_eq!(start.first().map(String::as_str), Some("begun 10"));
    assert!(start.contains(&"640x360".into()) && start.contains(&"Video true".into()));
    assert_eq!(start[start.len() - 2..], ["key", "delta"], "replayed, and new");

    // twice equals once
    port.reconcile_inputs(&[(SOURCE, 0)]);
    turn(&mut cores, now);
    assert!(heard(&mut port, now).is_empty());

    host.take(&mut cores[0]);
    port.request_keyframe(SOURCE, LAYER);
    turn(&mut cores, now);
    assert_eq!(host.take(&mut cores[0]).iter().filter(|plain| is_pli(plain)).count(), 1);

    port.reconcile_inputs(&[]);
    turn(&mut cores, now);
    frame(&mut host, &mut cores[0], &DELTA, now);
    assert!(heard(&mut port, now).is_empty());

    port.reconcile_inputs(&[(SOURCE, 0)]);
    turn(&mut cores, now);
    let again = heard(&mut port, now);
    assert_eq!(again.iter().filter(|what| *what == "begun 10").count(), 1);
    cores[0].command(Command::Close { peer: HOST, done: None }, now);
    assert_eq!(heard(&mut port, now), ["gone 10"]);
}

#[test]
fn a_mute_is_acknowledged_when_the_program_has_acted_on_it() {
    let now = Instant::now();
    let (mut cores, handles) = cores_and_handles(2);
    let (mut port, _handle) = attach(&handles);
    let mut host = publish(&mut cores[0], 0, now);
    port.reconcile_inputs(&[(SOURCE, 0)]);
    turn(&mut cores, now);
    frame(&mut host, &mut cores[0], &KEYFRAME, now);
    heard(&mut port, now);

    let (done, _in_force) = oneshot::channel();
    let mute = Command::Permit {
        peer: HOST,
        permission: both(true, false),
        done: Some(done),
    };
    cores[0].command(mute, now);
    turn(&mut cores, now);
    let mut interrupted = false;
    port.drain(now, |arrival| {
        let kind = MediaKind::Video;
        let update = FeedUpdate::Interrupted { kind };
        interrupted |= matches!(arrival, Arrival::Update { source: SOURCE, update: news } if news == update);
    });
    assert!(interrupted);
    turn(&mut cores, now);
    assert!(cores[0].acks.is_empty(), "heard is not yet acted on");
    port.flush();
    turn(&mut cores, now);
    assert_eq!((cores[0].acks.len(), cores[0].fences.len()), (1, 0));

    // a program that ends is not waited for
    cores[0].acks.clear();
    let (done, _gone) = oneshot::channel();
    let close = Command::Close {
        peer: HOST,
        done: Some(done),
    };
    cores[0].command(close, now);
    turn(&mut cores, now);
    assert_eq!((cores[0].acks.len(), cores[0].fences.len()), (0, 1));
    drop(port);
    turn(&mut cores, now);
    assert_eq!((cores[0].acks.len(), cores[0].fences.len()), (1, 0));
}

#[test]
fn viewers_of_the_program_see_what_a_port_publishes() {
    let mut now = Instant::now();
    let (mut cores, handles) = cores_and_handles(2);
    let mut host = publish(&mut cores[0], 0, now);
    tell(&mut cores, false, now);
    let mut viewer = Driven::new("viewer", 1);
    view(&mut cores[1], &viewer, now);
    viewer.connect(&mut cores[1], now);
    turn(&mut cores, now);
    frame(&mut host, &mut cores[0], &KEYFRAME, now);
    frame(&mut host, &mut cores[0], &DELTA, now);
    turn(&mut cores, now);
    now += 5 * MS;
    let mut seen = shown(&mut cores[1], &mut viewer, now);
    assert_eq!(seen.len(), 2, "no program yet: the host's camera");

    let (mut port, _handle) = attach(&handles);
    show(&mut port, 70_000, &KEYFRAME, now);
    show(&mut port, 70_001, &DELTA, now);
    port.update(FeedUpdate::Size {
        layer: LAYER,
        width: 640,
        height: 360,
    });
    turn(&mut cores, now);
    tell(&mut cores, true, now);
    assert!(heard(&mut port, now).is_empty());
    assert_eq!(
        port.counters().lane_packets,
        0,
        "what a worker starts with is not counted"
    );
    turn(&mut cores, now);
    now += 5 * MS;
    show(&mut port, 70_002, &DELTA, now);
    turn(&mut cores, now);
    now += 5 * MS;
    let moved = shown(&mut cores[1], &mut viewer, now);
    let keys: Vec<bool> = moved.iter().map(|packet| packet.2).collect();
    assert_eq!(keys, [true, false, false], "it starts with what was before");
    seen.extend(moved);
    for pair in seen.windows(2) {
        assert_eq!(pair[0].0.wrapping_add(1), pair[1].0);
        assert!(pair[1].1.wrapping_sub(pair[0].1).cast_signed() > 0);
    }
    assert_eq!(
        port.counters().lane_packets,
        1,
        "the first worker has no viewer of the program"
    );
    frame(&mut host, &mut cores[0], &KEYFRAME, now);
    turn(&mut cores, now);
    now += 5 * MS;
    assert!(
        shown(&mut cores[1], &mut viewer, now).is_empty(),
        "the host is not seen twice"
    );

    // the program ends before the list says so
    drop(port);
    turn(&mut cores, now);
    assert!(cores[1].rooms[&ROOM].feeds.get(PROGRAM).is_none());
    assert!(cores.iter().all(|core| core.neighbours[INDEX].is_none()));
    tell(&mut cores, false, now);
    turn(&mut cores, now);
    frame(&mut host, &mut cores[0], &KEYFRAME, now);
    turn(&mut cores, now);
    now += 5 * MS;
    let back = shown(&mut cores[1], &mut viewer, now);
    let next = seen.last().map(|last| (last.0.wrapping_add(1), true));
    assert_eq!(back.first().map(|packet| (packet.0, packet.2)), next);
}

#[test]
fn wishes_for_a_keyframe_are_merged() {
    let mut now = Instant::now();
    let (mut cores, handles) = cores_and_handles(2);
    let (mut port, _handle) = attach(&handles);
    turn(&mut cores, now);
    let wish = |cores: &mut [Core]| {
        for core in cores {
            let lane = core.neighbours[INDEX].as_mut().unwrap();
            for source in [PROGRAM, PROGRAM, SOURCE] {
                lane.note(Note::KeyframeWanted { source, layer: LAYER });
            }
        }
    };
    wish(&mut cores);
    assert_eq!(heard(&mut port, now), ["wish"]);
    now += 100 * MS;
    wish(&mut cores);
    assert!(heard(&mut port, now).is_empty(), "too soon");
    now += 400 * MS;
    assert_eq!(heard(&mut port, now), ["wish"]);
    now += 100 * MS;
    wish(&mut cores);
    assert!(heard(&mut port, now).is_empty());
    show(&mut port, 1, &KEYFRAME, now);
    now += 400 * MS;
    assert!(heard(&mut port, now).is_empty(), "answered");
}

#[test]
fn a_full_lane_costs_a_keyframe_and_is_counted() {
    let mut now = Instant::now();
    let (mut cores, handles) = cores_and_handles(2);
    let (mut port, _handle) = attach(&handles);
    turn(&mut cores, now);
    tell(&mut cores, true, now);
    view(&mut cores[1], &Driven::new("viewer", 0), now);
    heard(&mut port, now);
    turn(&mut cores, now);
    let mut sequence = 0;
    let mut more = |port: &mut Port<u8>, payload: &[u8], count: u64, now| {
        for _ in 0..count {
            show(port, sequence, payload, now);
            sequence += 1;
        }
    };
    more(&mut port, &KEYFRAME, 1, now);
    more(&mut port, &DELTA, 511, now);
    assert!(heard(&mut port, now).is_empty());
    assert_eq!(port.counters().dropped_lane_full, 0);
    more(&mut port, &DELTA, 3, now);
    assert_eq!(heard(&mut port, now), ["wish"]);
    turn(&mut cores, now);
    more(&mut port, &DELTA, 1, now);
    let counters = port.counters();
    assert_eq!((counters.lane_packets, counters.dropped_lane_full), (512, 4));
    now += 100 * MS;
    more(&mut port, &KEYFRAME, 1, now);
    more(&mut port, &DELTA, 1, now);
    turn(&mut cores, now);
    let mut packets = vec![];
    let feed = cores[1].rooms[&ROOM].feeds.get(PROGRAM).unwrap();
    feed.replay(now, |_, _, packet| packets.push(packet.meta.sequence));
    assert_eq!(packets, [516, 517]);

    show(&mut port, 600, &[0; lane::PACKET_MAX + 1], now);
    assert_eq!(port.counters().dropped_too_long, 1);
}

#[test]
fn a_program_that_lags_behind_goes_on_at_a_keyframe() {
    let mut now = Instant::now();
    let (mut cores, handles) = cores_and_handles(2);
    let (mut port, _handle) = attach(&handles);
    let mut host = publish(&mut cores[0], 0, now);
    port.reconcile_inputs(&[(SOURCE, 0)]);
    turn(&mut cores, now);
    frame(&mut host, &mut cores[0], &KEYFRAME, now);
    let metrics = cores[0].reports.metrics.clone();
    for _ in 0..LANE_DEPTH {
        now += MS;
        frame(&mut host, &mut cores[0], &DELTA, now);
    }
    assert_eq!(metrics.dropped_lane_full.value(), 1);
    let taken = heard(&mut port, now);
    assert_eq!(taken.iter().filter(|what| *what == "delta").count(), LANE_DEPTH - 1);
    frame(&mut host, &mut cores[0], &DELTA, now);
    frame(&mut host, &mut cores[0], &KEYFRAME, now);
    frame(&mut host, &mut cores[0], &DELTA, now);
    assert_eq!(heard(&mut port, now), ["key", "delta"]);
    assert_eq!(metrics.dropped_lane_full.value(), 2);
}

#[test]
fn layers_that_are_not_wanted_stay_where_they_are() {
    let mut now = Instant::now();
    let (mut cores, handles) = cores_and_handles(2);
    let (mut port, _handle) = attach(&handles);
    let mut host = publish(&mut cores[0], 0, now);
    port.reconcile_inputs(&[(SOURCE, 0)]);
    port.want_layers(SOURCE, &[]);
    turn(&mut cores, now);
    frame(&mut host, &mut cores[0], &KEYFRAME, now);
    frame(&mut host, &mut cores[0], &DELTA, now);
    let packets = |port: &mut Port<u8>, now| {
        let mut heard = heard(port, now);
        heard.retain(|what| matches!(what.as_str(), "key" | "delta" | "audio"));
        heard
    };
    assert!(packets(&mut port, now).is_empty());
    let audio = host.peer.rtp(111, false, 1, 960, AUDIO_SSRC, &[1]);
    host.send(&mut cores[0], audio, now);
    assert_eq!(packets(&mut port, now), ["audio"]);
    port.want_layers(SOURCE, &[LAYER]);
    turn(&mut cores, now);
    frame(&mut host, &mut cores[0], &DELTA, now);
    assert_eq!(
        packets(&mut port, now),
        ["key", "delta", "delta"],
        "it begins with a keyframe"
    );
    assert_eq!(cores[0].reports.metrics.dropped_lane_full.value(), 0);

    port.want_layers(SOURCE, &[LayerIndex(1)]);
    turn(&mut cores, now);
    // what is in the ring is too old to begin with
    now += 1500 * MS;
    frame(&mut host, &mut cores[0], &DELTA, now);
    host.take(&mut cores[0]);
    port.want_layers(SOURCE, &[LAYER, LayerIndex(1)]);
    turn(&mut cores, now);
    assert!(
        host.take(&mut cores[0]).iter().any(is_pli),
        "so another keyframe is asked for"
    );
    frame(&mut host, &mut cores[0], &DELTA, now);
    frame(&mut host, &mut cores[0], &KEYFRAME, now);
    assert_eq!(packets(&mut port, now), ["key"]);
}

#[test]
fn what_a_program_that_is_gone_had_is_gone() {
    let now = Instant::now();
    let (mut cores, handles) = cores_and_handles(2);
    let (mut port, handle) = attach(&handles);
    turn(&mut cores, now);
    let mut host = publish(&mut cores[0], 0, now);
    port.reconcile_inputs(&[(SOURCE, 0)]);
    tell(&mut cores, true, now);
    view(&mut cores[1], &Driven::new("viewer", 0), now);
    heard(&mut port, now);
    turn(&mut cores, now);
    assert!(cores[1].rooms[&ROOM].subscriptions[&PROGRAM].begun);
    assert_eq!(cores[0].subscribers_of(HOST), [INDEX]);
    drop(port);
    handle.send(1);
    turn(&mut cores, now);
    assert!(cores[0].subscribers_of(HOST).is_empty());
    assert!(!cores[1].rooms[&ROOM].subscriptions.contains_key(&PROGRAM));
    assert!(!cores[1].feed_rooms.contains_key(&PROGRAM));
    frame(&mut host, &mut cores[0], &KEYFRAME, now);
    // a list that is not up to date does no harm
    tell(&mut cores, true, now);

    // the index is free again, and nothing of the program before reaches the new one
    let (mut next, _handle) = attach(&handles);
    turn(&mut cores, now);
    assert!(heard(&mut next, now).is_empty());
    next.reconcile_inputs(&[(SOURCE, 0)]);
    turn(&mut cores, now);
    assert!(heard(&mut next, now).contains(&"key".into()));

    // even where it is used again before the worker has looked
    next.update(FeedUpdate::Interrupted { kind: MediaKind::Video });
    drop(next);
    let (mut next, _handle) = attach(&handles);
    turn(&mut cores, now);
    assert!(cores[0].subscribers_of(HOST).is_empty());
    assert!(cores.iter().all(|core| core.neighbours[INDEX].is_some()));
    next.reconcile_inputs(&[(SOURCE, 0)]);
    turn(&mut cores, now);
    assert!(heard(&mut next, now).contains(&"key".into()));

    // and now the workers end first
    drop(cores);
    show(&mut next, 1, &KEYFRAME, now);
    next.request_keyframe(SOURCE, LAYER);
    assert!(heard(&mut next, now).is_empty());
}

#[test]
fn commands_and_packets_wake_a_program() {
    fn movable<T: Send>(_: &T) {}
    let (mut cores, handles) = cores_and_handles(2);
    assert!(
        Port::<u8>::attach(1, &handles, PROGRAM, DESCRIPTION).is_err(),
        "a worker's"
    );
    let (mut port, handle) = attach(&handles);
    movable(&port);
    let before = Instant::now();
    let now = port.wait(Some(before));
    assert!(now >= before && heard(&mut port, now).is_empty());
    handle.clone().send(7);
    handle.send(8);
    let now = port.wait(None);
    assert_eq!(heard(&mut port, now), ["command 7", "command 8"]);

    let mut host = publish(&mut cores[0], 0, now);
    frame(&mut host, &mut cores[0], &KEYFRAME, now);
    port.reconcile_inputs(&[(SOURCE, 0)]);
    turn(&mut cores, now);
    cores[0].wake_neighbours();
    let now = port.wait(None);
    assert!(heard(&mut port, now).contains(&"key".into()));
}
