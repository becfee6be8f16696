//! Publishers, workers and viewers in virtual time: what every viewer is sent, whatever the networks do.

use super::*;
use crate::rtp::extension::pack_element;
use crate::rtp::header::Header;
use crate::rtp::parameters::{Feedback, SendCodec, SendParameters, SendSlot, SendTrack};
use crate::rtp::rtcp::{Block, ReportBlock, blocks, write_receiver_report};
use crate::rtp::{Extension, ExtensionMap, MediaKind, Meta, PacketView};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

mod uplink;
mod world;
use world::*;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[test]
fn a_viewer_who_joins_within_a_second_of_a_keyframe_starts_from_the_ring() {
    let mut world = World::new(1, 1);
    world.publish(Script::camera(1, 0, "host"));
    world.run(ms(700));
    let viewer = world.view(View::Program { leave_out: None }, 1);
    world.run(ms(1));
    let sent = world.video(viewer);
    assert!(sent[0].origin.keyframe && sent[0].origin.first_of_frame);
    let expected = world.sources[0].layers[0].sequence + 1 - sent[0].origin.sequence;
    assert_eq!(sent.len() as u64, expected, "keyframe to now, nothing missing");
    assert_eq!(world.keyframe_requests, []);
    world.run(ms(300));
    world.check(viewer);
    let events = &world.viewers[viewer].events;
    assert!(events.contains(&ViewerEvent::FirstMedia) && events.contains(&ViewerEvent::FirstKeyframe));
}

#[test]
fn later_a_keyframe_is_asked_for_once_and_awaited() {
    let mut world = World::new(2, 1);
    world.publish(Script::camera(1, 0, "host"));
    world.run(ms(1500));
    let viewer = world.view(View::Program { leave_out: None }, 1);
    world.run(ms(40));
    assert_eq!(world.keyframe_requests, [(SourceId(1), LayerIndex(0))]);
    assert!(world.video(viewer).is_empty() && !world.audio(viewer).is_empty());
    world.run(ms(100));
    assert!(world.video(viewer)[0].origin.keyframe);
    assert_eq!(world.keyframe_requests.len(), 1);
    world.check(viewer);
}

#[test]
fn the_wish_is_repeated_while_no_keyframe_comes() {
    let mut world = World::new(3, 1);
    world.publish(Script {
        deaf: true,
        ..Script::camera(1, 0, "host")
    });
    world.run(ms(1500));
    let viewer = world.view(View::Program { leave_out: None }, 1);
    world.run(ms(1900));
    assert_eq!(world.keyframe_requests.len(), 4);
    assert!(world.video(viewer).is_empty());
    // told that nobody listens: the ring's keyframe, however old
    world.update(SourceId(1), FeedUpdate::IgnoresKeyframeRequests);
    world.run(ms(30));
    assert_eq!(world.keyframe_requests.len(), 4);
    assert!(world.video(viewer).is_empty(), "the ring kept one second only");
    world.sources[0].wish(LayerIndex(0), world.now);
    world.sources[0].answer_at[0] = Some(world.now);
    world.run(ms(4000));
    let late = world.view(View::Program { leave_out: None }, 1);
    // a keyframe at once, and what follows it at a pace that lines can take
    world.run(ms(1));
    assert_eq!(world.video(late).len(), 128);
    world.run(ms(24));
    assert!(world.video(late).len() <= 128 + 5 * 32 + 8);
    world.run(ms(75));
    let sent = world.video(late);
    assert!(sent[0].origin.keyframe && world.now - sent[0].origin.arrival > ms(3000));
    assert_eq!(
        sent.len() as u64,
        world.sources[0].layers[0].sequence + 1 - sent[0].origin.sequence
    );
    world.check(viewer);
    world.check(late);
}

#[test]
fn layers_switch_on_keyframes_without_a_gap() {
    let mut world = World::new(4, 1);
    world.publish(Script {
        heights: vec![180, 720, 360],
        ..Script::camera(1, 0, "host")
    });
    world.run(ms(300));
    let viewer = world.view(View::Program { leave_out: None }, 1);
    world.run(ms(1000));
    assert_eq!(
        world.last_layer(viewer),
        1,
        "the largest, whatever the order of the RIDs"
    );
    for (height, layer) in [(Some(360), 2), (Some(90), 0), (None, 1), (Some(719), 2)] {
        let before = world.video(viewer).len();
        world.prefer(
            viewer,
            LayerPreference {
                max_height: height,
                paused: false,
            },
        );
        world.run(ms(30));
        assert!(
            world.video(viewer).len() > before,
            "the old layer flows until the keyframe"
        );
        world.run(ms(500));
        assert_eq!(world.last_layer(viewer), layer);
    }
    world.check(viewer);
    // lip sync: switched pictures keep their distance in time
    let sent = world.video(viewer);
    let (first, last) = (&sent[0], &sent[sent.len() - 1]);
    let elapsed = (last.origin.captured - first.origin.captured).as_secs_f64() * 90_000.0;
    assert!((f64::from(last.header.timestamp.wrapping_sub(first.header.timestamp)) - elapsed).abs() < 200.0);
}

#[test]
fn a_layer_that_stops_is_replaced() {
    let mut world = World::new(5, 1);
    world.publish(Script {
        heights: vec![720, 180],
        ..Script::camera(1, 0, "host")
    });
    let viewer = world.view(View::Program { leave_out: None }, 1);
    world.run(ms(500));
    world.sources[0].layers[0].stopped = true;
    world.run(ms(200));
    world.update(
        SourceId(1),
        FeedUpdate::Flowing {
            kind: MediaKind::Video,
            layer: LayerIndex(0),
            flowing: false,
        },
    );
    world.run(ms(300));
    assert_eq!(world.last_layer(viewer), 1);
    world.sources[0].layers[0].stopped = false;
    world.run(ms(500));
    assert_eq!(world.last_layer(viewer), 0);
    world.check(viewer);
}

#[test]
fn picture_ids_go_on_over_layers_and_sources() {
    let mut world = World::new(16, 1);
    let vp8 = |id| Script {
        codec: Codec::Vp8,
        heights: vec![180, 720],
        ..Script::camera(id, 0, "host")
    };
    world.publish(vp8(1));
    let viewer = world.view(View::Program { leave_out: None }, 1);
    world.run(ms(300));
    world.prefer(
        viewer,
        LayerPreference {
            max_height: Some(180),
            paused: false,
        },
    );
    world.run(ms(300));
    world.publish(vp8(2));
    world.run(ms(300));
    let mut pictures: Vec<(u16, u8)> = world
        .video(viewer)
        .iter()
        .filter(|sent| sent.payload[0] & 0x10 != 0)
        .map(|sent| {
            (
                u16::from_be_bytes([sent.payload[2], sent.payload[3]]) & 0x7fff,
                sent.payload[4],
            )
        })
        .collect();
    pictures.dedup();
    assert!(pictures.len() > 24);
    for pair in pictures.windows(2) {
        assert_eq!(pair[1].0, (pair[0].0 + 1) & 0x7fff);
        assert_eq!(pair[1].1, pair[0].1.wrapping_add(1));
    }
    world.check(viewer);
}

#[test]
fn pausing_stops_video_only() {
    let mut world = World::new(6, 1);
    world.publish(Script::camera(1, 0, "host"));
    let viewer = world.view(View::Program { leave_out: None }, 1);
    world.run(ms(300));
    world.prefer(
        viewer,
        LayerPreference {
            max_height: None,
            paused: true,
        },
    );
    let before = (world.audio(viewer).len(), world.video(viewer).len());
    world.run(ms(2000));
    assert_eq!(world.video(viewer).len(), before.1);
    assert!(world.audio(viewer).len() > before.0 + 90);
    world.prefer(viewer, LayerPreference::default());
    world.run(ms(200));
    assert!(world.video(viewer).len() > before.1);
    world.check(viewer);
}

#[test]
fn mute_stops_everything_and_unmute_goes_on_without_a_gap() {
    let mut world = World::new(7, 1);
    world.publish(Script::camera(1, 0, "host"));
    let viewer = world.view(View::Program { leave_out: None }, 1);
    world.run(ms(400));
    world.permit(
        0,
        Permission {
            audio: false,
            video: false,
        },
    );
    let before = world.viewers[viewer].sent.len();
    let lost = world.video(viewer)[3].header.sequence;
    world.run(ms(800));
    let media = world.viewers[viewer].sent[before..]
        .iter()
        .filter(|sent| sent.origin.is_some())
        .count();
    assert_eq!(media, 0);
    world.nack(viewer, &[lost]);
    assert!(
        world.take_rtx(viewer).is_empty(),
        "what was muted is not sent again either"
    );
    assert_eq!(world.viewers[viewer].slots()[0].state, SlotState::Muted);
    world.permit(
        0,
        Permission {
            audio: true,
            video: true,
        },
    );
    world.run(ms(300));
    assert!(
        world
            .video(viewer)
            .last()
            .is_some_and(|sent| world.now - sent.origin.arrival < ms(50))
    );
    assert_eq!(world.viewers[viewer].slots()[0].state, SlotState::Live);
    world.check(viewer);
}

#[test]
fn an_overflowing_viewer_goes_on_at_a_keyframe() {
    let mut world = World::new(8, 1);
    world.publish(Script::camera(1, 0, "host"));
    let viewer = world.view(View::Program { leave_out: None }, 1);
    world.run(ms(300));
    let now = world.now;
    world.viewers[viewer].viewer.set_open(false, now);
    let before = world.viewers[viewer].sent.len();
    world.run(ms(100));
    assert_eq!(world.viewers[viewer].sent.len(), before);
    let now = world.now;
    world.viewers[viewer].viewer.set_open(true, now);
    world.run(ms(25));
    let audio = world.audio(viewer).last().map(|sent| sent.origin.arrival);
    assert!(audio.is_some_and(|arrival| arrival > now), "audio resumes at once");
    world.run(ms(300));
    world.check(viewer);
}

#[test]
fn numbers_that_leap_begin_a_new_stretch() {
    let mut world = World::new(18, 2);
    world.publish(Script::camera(1, 0, "host"));
    let viewers = [0, 1].map(|_| world.view(View::Program { leave_out: None }, 1));
    world.run(ms(300));
    for leap in [65_533, 8_192, 9_000, 40_000] {
        world.sources[0].layers[0].sequence += leap;
        world.leap_audio(0, leap);
        // while one viewer is catching up
        let late = world.view(View::Program { leave_out: None }, 1);
        world.run(ms(200));
        for viewer in viewers.into_iter().chain([late]) {
            let newest = [world.video(viewer), world.audio(viewer)].map(|sent| sent.last().map(|sent| sent.origin));
            assert!(
                newest
                    .iter()
                    .all(|newest| newest.is_some_and(|newest| world.now - newest.arrival < ms(50)))
            );
            world.check(viewer);
        }
    }
}

#[test]
fn another_publisher_takes_over_the_stream() {
    let mut world = World::new(9, 1);
    world.publish(Script::camera(1, 0, "host"));
    let viewer = world.view(
        View::Seat {
            seat: SeatIndex(0),
            kind: SourceKind::Camera,
        },
        1,
    );
    world.run(ms(800));
    world.publish(Script {
        codec: Codec::Vp8,
        ..Script::camera(2, 0, "host")
    });
    world.run(ms(500));
    world.unpublish(SourceId(1));
    world.run(ms(300));
    let sent = world.video(viewer);
    let types: BTreeSet<u8> = sent.iter().map(|sent| sent.header.payload_type).collect();
    assert_eq!(
        types,
        BTreeSet::from([96, 98]),
        "the codec's payload type, on the same stream"
    );
    assert!(sent.last().is_some_and(|sent| sent.origin.source == 2));
    world.check(viewer);
}

#[test]
fn a_stage_shows_everybody_and_reports_it() {
    let mut world = World::new(10, 1);
    world.publish(Script::camera(1, 0, "host"));
    world.publish(Script {
        codec: Codec::Av1,
        ..Script::camera(2, 1, "bob")
    });
    world.publish(Script::camera(3, 2, "eve"));
    let viewer = world.view(
        View::Stage {
            leave_out: Some("eve".into()),
        },
        4,
    );
    world.run(ms(500));
    let slots = world.viewers[viewer].slots();
    let rows: Vec<_> = slots
        .iter()
        .map(|row| (row.slot, row.seat.0, row.codec, row.state))
        .collect();
    assert_eq!(
        rows,
        [
            (0, 0, Some(Codec::H264), SlotState::Live),
            (1, 1, Some(Codec::Av1), SlotState::CodecUnsupported),
        ]
    );
    let told = world.viewers[viewer]
        .events
        .iter()
        .filter(|event| matches!(event, ViewerEvent::Slots(_)))
        .count();
    world.run(ms(500));
    assert_eq!(
        world.viewers[viewer]
            .events
            .iter()
            .filter(|e| matches!(e, ViewerEvent::Slots(_)))
            .count(),
        told
    );
    let heard: BTreeSet<u64> = world.viewers[viewer].media().map(|(_, origin)| origin.source).collect();
    assert_eq!(
        heard,
        BTreeSet::from([1, 2]),
        "an unknown video codec does not silence the audio"
    );
    world.check(viewer);
}

#[test]
fn sender_reports_follow_the_source_and_are_absent_without_a_clock() {
    let mut world = World::new(11, 1);
    world.publish(Script {
        reports: false,
        heights: vec![180, 720],
        ..Script::camera(1, 0, "host")
    });
    let viewer = world.view(View::Program { leave_out: None }, 1);
    world.run(ms(1500));
    assert!(world.reports(viewer).is_empty());
    world.sources[0].script.reports = true;
    world.sources[0].report_at = world.now;
    world.run(ms(120));
    assert_eq!(world.reports(viewer).len(), 2, "one per track, soon");
    world.prefer(
        viewer,
        LayerPreference {
            max_height: Some(180),
            paused: false,
        },
    );
    world.run(ms(3000));
    assert!((8..=12).contains(&world.reports(viewer).len()));
    // every report puts the packets sent around it where they were captured
    for (at, ssrc, ntp, rtp) in world.reports(viewer) {
        let rate = if ssrc == VIDEO_SSRC { 90_000.0 } else { 48_000.0 };
        let sent = world.viewers[viewer]
            .media()
            .filter(|(sent, _)| sent.header.ssrc == ssrc && sent.at <= at)
            .last();
        let (sent, origin) = sent.expect("reports come after packets");
        let ticks = f64::from(rtp.wrapping_sub(sent.header.timestamp).cast_signed());
        let captured = world.ntp_of(origin.captured);
        let difference_s = (ntp.wrapping_sub(captured).cast_signed() as f64) / 2f64.powi(32) - ticks / rate;
        assert!(difference_s.abs() < 0.001, "{difference_s}");
    }
}

#[test]
fn a_nack_is_answered_by_the_original_also_from_before_a_switch() {
    let mut world = World::new(12, 1);
    world.publish(Script {
        heights: vec![180, 720],
        ..Script::camera(1, 0, "host")
    });
    let viewer = world.view(View::Program { leave_out: None }, 1);
    world.run(ms(300));
    let old = world.video(viewer).last().expect("flows").clone();
    world.prefer(
        viewer,
        LayerPreference {
            max_height: Some(180),
            paused: false,
        },
    );
    world.run(ms(200));
    let new = world.video(viewer).last().expect("flows").clone();
    assert_ne!(old.origin.layer, new.origin.layer);
    world.nack(
        viewer,
        &[
            old.header.sequence,
            new.header.sequence,
            new.header.sequence.wrapping_add(500),
        ],
    );
    world.nack(viewer, &[old.header.sequence]);
    let rtx = world.take_rtx(viewer);
    assert_eq!(rtx.len(), 2, "once per round trip");
    for (answer, original) in rtx.iter().zip([&old, &new]) {
        assert_eq!(answer.payload[..2], original.header.sequence.to_be_bytes());
        assert_eq!(answer.payload[2..], original.payload);
        assert_eq!(answer.header.timestamp, original.header.timestamp);
        assert_eq!((answer.header.ssrc, answer.header.payload_type), (VIDEO_RTX_SSRC, 97));
        assert!(
            answer
                .elements
                .iter()
                .any(|(id, value)| (*id, &value[..]) == (1, b"v0"))
        );
    }
    world.run(ms(21));
    world.nack(viewer, &[old.header.sequence]);
    assert_eq!(world.take_rtx(viewer).len(), 1);
}

#[test]
fn a_round_trip_is_measured_and_bounds_retransmissions() {
    let mut world = World::new(17, 1);
    world.publish(Script::camera(1, 0, "host"));
    let viewer = world.view(View::Program { leave_out: None }, 1);
    world.run(ms(300));
    let (at, ssrc, ntp, _) = world.reports(viewer).pop().expect("reported");
    let delay_ms = (world.now - at).as_millis() as u32 - 100;
    let block = ReportBlock {
        ssrc,
        last_sender_report: crate::rtp::sequence::ntp_middle(ntp),
        delay: delay_ms * 65_536 / 1000,
        ..ReportBlock::default()
    };
    let mut compound = vec![];
    write_receiver_report(&mut compound, 5, &[block]);
    world.feedback(viewer, &compound);
    let lost = world.video(viewer).last().expect("flows").header.sequence;
    for expected in [1, 0, 0, 1] {
        world.nack(viewer, &[lost]);
        assert_eq!(world.take_rtx(viewer).len(), expected, "once in 100 ms");
        world.run(ms(40));
    }
}

#[test]
fn without_rtx_a_nack_asks_for_a_keyframe() {
    let mut world = World::new(13, 1);
    world.publish(Script {
        codec: Codec::Vp9,
        ..Script::camera(1, 0, "host")
    });
    let viewer = world.view(View::Program { leave_out: None }, 1);
    world.run(ms(300));
    let lost = world.video(viewer)[5].header.sequence;
    world.nack(viewer, &[lost]);
    world.nack(viewer, &[lost]);
    assert!(world.take_rtx(viewer).is_empty());
    world.run(ms(1));
    assert_eq!(world.keyframe_requests, [(SourceId(1), LayerIndex(0))]);
}

#[test]
fn upstream_loss_reorder_and_duplicates_leave_gaps_only_where_packets_were_lost() {
    for seed in 0..20 {
        let mut world = World::new(100 + seed, 1);
        world.network = Network {
            loss: 0.02,
            reorder: 0.1,
            duplicate: 0.05,
        };
        // both wrap within the run
        let wrapping = Script {
            first_sequence: 0x1_ff80,
            first_timestamp: u32::MAX - 40_000,
            ..Script::camera(1, 0, "host")
        };
        world.publish(wrapping);
        let early = world.view(View::Program { leave_out: None }, 1);
        world.run(ms(900));
        let late = world.view(View::Program { leave_out: None }, 1);
        world.run(ms(1500));
        assert!(world.video(early).len() > 250 && world.video(late).len() > 150);
        world.check(early);
        world.check(late);
    }
}

#[test]
fn transport_wide_numbers_count_every_packet_of_the_viewer() {
    let mut world = World::new(14, 1);
    world.publish(Script::camera(1, 0, "host"));
    let viewer = world.view(View::Program { leave_out: None }, 1);
    world.run(ms(400));
    let sequences: Vec<_> = world
        .video(viewer)
        .iter()
        .map(|sent| sent.header.sequence)
        .take(3)
        .collect();
    world.nack(viewer, &sequences);
    let packets = world.viewers[viewer].sent.iter().filter(|sent| sent.index.is_some());
    let numbers: Vec<u16> = packets
        .map(|sent| {
            sent.elements
                .iter()
                .find(|(id, _)| *id == 3)
                .map(|(_, v)| u16::from_be_bytes([v[0], v[1]]))
        })
        .map(|number| number.expect("negotiated"))
        .collect();
    assert_eq!(numbers, (0..numbers.len() as u16).collect::<Vec<_>>());
}

/// The same script on one and on three workers: every viewer is sent the same bytes.
#[test]
fn workers_make_no_difference() {
    let run = |workers| {
        let mut world = World::new(15, workers);
        world.network = Network {
            loss: 0.01,
            reorder: 0.05,
            duplicate: 0.02,
        };
        world.publish(Script {
            heights: vec![180, 720, 360],
            ..Script::camera(1, 0, "host")
        });
        world.publish(Script {
            codec: Codec::Vp8,
            ..Script::camera(2, 1, "bob")
        });
        for i in 0..6 {
            world.view(
                if i % 2 == 0 {
                    View::Program { leave_out: None }
                } else {
                    View::Stage { leave_out: None }
                },
                3,
            );
            world.run(ms(170));
        }
        world.prefer(
            2,
            LayerPreference {
                max_height: Some(360),
                paused: false,
            },
        );
        world.run(ms(400));
        world.permit(
            1,
            Permission {
                audio: true,
                video: false,
            },
        );
        world.run(ms(300));
        world.permit(
            1,
            Permission {
                audio: true,
                video: true,
            },
        );
        world.publish(Script::camera(3, 1, "bob"));
        world.run(ms(700));
        (0..6).for_each(|viewer| world.check(viewer));
        let bytes = |viewer: &Watcher| viewer.sent.iter().map(|sent| sent.bytes.clone()).collect::<Vec<_>>();
        world.viewers.iter().map(bytes).collect::<Vec<_>>()
    };
    let (one, three) = (run(1), run(3));
    assert!(one.iter().all(|sent| sent.len() > 300));
    assert!(one == three);
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { cases: 24, ..Default::default() })]
    /// Whatever happens in whatever order, the rules of [`World::check`] hold.
    #[test]
    fn any_order_of_events_keeps_the_rules(seed: u64, steps in proptest::collection::vec((0u8..10, 1u64..400), 1..14)) {
        let mut world = World::new(seed, 2);
        world.network = Network { loss: 0.02, reorder: 0.05, duplicate: 0.02 };
        world.publish(Script { heights: vec![180, 720], ..Script::camera(1, 0, "host") });
        world.view(View::Stage { leave_out: None }, 2);
        world.view(View::Program { leave_out: None }, 1);
        let mut next = 2;
        for (step, wait) in steps {
            let now = world.now;
            match step {
                0 => world.prefer(0, LayerPreference { max_height: Some(180), paused: false }),
                1 => world.prefer(0, LayerPreference::default()),
                2 => world.prefer(1, LayerPreference { max_height: None, paused: wait % 2 == 0 }),
                3 => world.permit(0, Permission { audio: wait % 3 == 0, video: wait % 2 == 0 }),
                4 => world.viewers[0].viewer.set_open(wait % 2 == 0, now),
                5 => {
                    let codec = if wait % 2 == 0 { Codec::Vp8 } else { Codec::H264 };
                    let old = SourceId(next - 1);
                    world.publish(Script { codec, heights: vec![720], ..Script::camera(next, 0, "host") });
                    world.unpublish(old);
                    next += 1;
                }
                6 => {
                    let lost: Vec<u16> = (0..40).map(|i| (wait as u16).wrapping_mul(7).wrapping_add(i)).collect();
                    world.nack(0, &lost);
                }
                7 => world.complain(1),
                8 => world.sources[0].layers[0].sequence += wait * wait,
                _ => {}
            }
            world.run(ms(wait));
        }
        world.check(0);
        world.check(1);
    }
}
