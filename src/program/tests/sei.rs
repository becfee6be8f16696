//! What pictures say of themselves.

use super::*;
use crate::program::sei::UUID;
use crate::room::ProgramSei;
use crate::rtp::h264::user_data;
use serde_json::{Value, json};

/// Of each picture so far: whether it is a keyframe, and what it says.
fn said(stage: &Stage) -> Vec<(bool, Vec<Value>)> {
    let mut frames = FrameAssembler::new(Codec::H264);
    let mut said = vec![];
    for (meta, bytes) in &stage.taken.video {
        frames.handle(&PacketView { meta: *meta, bytes });
        while let Some(frame) = frames.poll_frame(stage.now, Duration::from_secs(1)) {
            let messages = user_data(frame.bytes, &UUID);
            let read = messages.iter().map(|text| serde_json::from_slice(text).expect("JSON"));
            // a parameter set in front of its slices
            let keyframe = crate::rtp::h264::nal_units(frame.bytes).any(|unit| unit[0] & 0x1f == 7);
            said.push((keyframe, read.collect()));
        }
    }
    said
}

#[test]
fn pictures_say_when_they_are_of_and_where_everybody_is() {
    let alone = {
        let mut alone = plan(&[source(HOST, 0)]);
        alone.settings.video.sei = ProgramSei::Layout;
        alone
    };
    let mut stage = Stage::new(alone.clone());
    stage.publish(HOST);
    stage.run(Duration::from_secs(1));
    let first = said(&stage);
    let both = Plan {
        settings: alone.settings,
        ..plan(&[source(HOST, 0), source(GUEST, 1)])
    };
    stage.core.handle_plan(both.clone(), stage.now);
    stage.publish(GUEST);
    stage.run(Duration::from_millis(2_500));
    let all = said(&stage);
    assert_eq!(all.len(), stage.pictures().len(), "and each of them decodes");

    let tile = |seat: u8, x: u16, w: u16| json!({"seat": seat, "source": "camera", "x": x, "y": 0, "w": w, "h": 180});
    let mut told = vec![];
    for (at, (keyframe, messages)) in all.iter().enumerate() {
        let [message] = &messages[..] else {
            panic!("picture {at}: {messages:?}")
        };
        let tiles = message.get("tiles");
        assert!(tiles.is_some() || !keyframe, "each keyframe says it");
        if let Some(tiles) = tiles {
            assert_eq!(message["canvas"], json!([320, 180]));
            told.push((at, tiles.clone()));
        }
    }
    assert_eq!(told[0], (0, json!([tile(0, 0, 320)])));
    let (changed, tiles) = &told[1];
    assert_eq!(*changed, first.len(), "with the first picture that is so");
    let seats: Vec<&Value> = tiles
        .as_array()
        .expect("a list")
        .iter()
        .map(|tile| &tile["seat"])
        .collect();
    assert_eq!(seats, [&json!(0), &json!(1)]);
    assert_eq!(told.len(), 3, "and with the keyframe after 2 s: {told:?}");

    // the same clock as the sender reports'
    let times: Vec<i64> = all
        .iter()
        .map(|(_, messages)| messages[0]["utc_ms"].as_i64().expect("a time"))
        .collect();
    let stamps: Vec<u32> = {
        let mut stamps: Vec<u32> = stage.taken.video.iter().map(|(meta, _)| meta.timestamp).collect();
        stamps.dedup();
        stamps
    };
    assert_eq!(times.len(), stamps.len());
    for (time, stamp) in times.iter().zip(&stamps) {
        let since_ms = i64::from(stamp - stamps[0]) / 90;
        assert!((time - times[0] - since_ms).abs() <= 1, "{time} {stamp}");
    }
    let clock = NtpClock::new(stage.start, 1 << 40);
    let end = clock.unix_ms(stage.now);
    assert!((0..200).contains(&(end - times.last().expect("pictures"))));
}

#[test]
fn what_is_not_asked_for_is_not_said_and_asking_needs_no_keyframe() {
    let mut wanted = plan(&[source(HOST, 0)]);
    let mut stage = Stage::new(wanted.clone());
    stage.publish(HOST);
    // all of it before the next keyframe is due
    let step = Duration::from_millis(400);
    let mut counts = vec![];
    for sei in [
        ProgramSei::None,
        ProgramSei::Timestamp,
        ProgramSei::Layout,
        ProgramSei::None,
    ] {
        wanted.settings.video.sei = sei;
        stage.core.handle_plan(wanted.clone(), stage.now);
        let before = said(&stage).len();
        stage.run(step);
        let new = said(&stage).split_off(before);
        let messages: Vec<&Value> = new.iter().flat_map(|(_, messages)| messages).collect();
        let with_tiles = messages.iter().filter(|message| message.get("tiles").is_some());
        counts.push((!messages.is_empty(), messages.len() == new.len(), with_tiles.count()));
    }
    let (none, timestamp) = ((false, false, 0), (true, true, 0));
    assert_eq!(counts, [none, timestamp, (true, true, 1), none]);
    let keyframes = stage.taken.video.iter().filter(|(meta, _)| meta.starts_keyframe);
    assert_eq!(keyframes.count(), 1);
    assert!(!stage.pictures().is_empty());
}
