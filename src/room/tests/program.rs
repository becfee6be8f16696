//! The program's settings and its layout: who may change them, and what comes back after a restart.

use super::*;
use crate::mix::layout::{Labels, Layout, Present};
use crate::mix::picture::Size;
use serde_json::{Value, json};

fn layout(seat: u8) -> Layout {
    Layout {
        template: Template::Custom(vec![full_tile(seat)]),
        ..Layout::default()
    }
}

fn put(layout: Layout) -> Command {
    update(|patch| patch.layout = Some(layout))
}

fn sized(width: u64, height: u64) -> ProgramPatch {
    ProgramPatch {
        width: Some(Side::Fixed(width)),
        height: Some(Side::Fixed(height)),
        ..ProgramPatch::default()
    }
}

#[test]
fn admins_change_what_their_policy_names() {
    let labels = || {
        put(Layout {
            labels: Labels::Never,
            ..Layout::default()
        })
    };
    let fps = || {
        update(|patch| {
            patch.program = Some(ProgramPatch {
                fps: Some(25),
                ..ProgramPatch::default()
            })
        })
    };
    let both = || {
        update(|patch| {
            patch.layout = Some(layout(1));
            patch.public_program = Some(true);
        })
    };
    // what admins may, and whether they change the layout, the program, and layout and settings at once
    for (may, outcomes) in [
        (vec!["layout", "settings"], [true, true, true]),
        (vec!["layout"], [true, false, false]),
        (vec!["settings"], [false, true, false]),
        (vec![], [false, false, false]),
    ] {
        for (command, expected) in [labels(), fps(), both()].into_iter().zip(outcomes) {
            let mut stage = Stage::mode(SeatMode::Apply);
            let strict = policies(|p| p.admin_may = may.iter().map(|what| (*what).to_owned()).collect());
            stage
                .run(&host(), update(|patch| patch.policies = Some(all(strict))))
                .unwrap();
            assert_eq!(stage.code(&member("bob"), command.clone()), Code::PermissionDenied);
            let by_admin = stage.run(&admin(), command.clone());
            assert_eq!(by_admin.is_ok(), expected, "{may:?} {command:?}");
            assert_eq!(stage.changes(&host(), command.clone()), !expected);
            assert!(!stage.changes(&service(), command));
        }
    }
}

#[test]
fn a_layout_that_does_not_fit_leaves_the_one_before() {
    let mut stage = Stage::mode(SeatMode::Apply);
    assert!(stage.changes(&host(), put(layout(9))));
    assert_eq!(stage.told(), ["* room.updated idle"]);
    let refused = |stage: &mut Stage, command: Command| {
        let refusal = stage.run(&host(), command).unwrap_err();
        (refusal.code, refusal.field.unwrap_or_default())
    };
    let no_seat = (Code::InvalidArgument, "layout.tiles[0].seat".to_owned());
    assert_eq!(refused(&mut stage, put(layout(10))), no_seat);
    let fewer = update(|patch| {
        patch.max_guests = Some(2);
        patch.layout = Some(layout(3));
    });
    assert_eq!(refused(&mut stage, fewer), no_seat);
    let version = stage.room.version;
    let stale = update(|patch| {
        patch.if_version = Some(version - 1);
        patch.layout = Some(layout(1));
    });
    assert_eq!(refused(&mut stage, stale).0, Code::VersionConflict);
    let half = update(|patch| {
        patch.layout = Some(layout(1));
        patch.program = Some(sized(1280, 721));
    });
    let odd = (Code::InvalidArgument, "program.video.height".to_owned());
    assert_eq!(refused(&mut stage, half), odd);
    assert_eq!(
        (stage.room.version, &stage.room.settings().layout),
        (version, &layout(9))
    );

    let current = update(|patch| {
        patch.if_version = Some(version);
        patch.program = Some(sized(720, 1280));
    });
    assert!(stage.changes(&host(), current));
    assert_eq!(stage.room.settings().program.video.size, Size::even(720, 1280));
}

fn moment(now: Instant) -> Moment {
    Moment {
        now,
        wall_ms: 1_000_000,
    }
}

#[test]
fn seats_that_are_no_more_keep_their_place_over_a_restart() {
    let mut stage = Stage::mode(SeatMode::Apply);
    assert!(stage.changes(&host(), put(layout(9))));
    assert!(stage.changes(&host(), update(|patch| patch.max_guests = Some(2))));
    let record = stage.room.record(moment(stage.now));
    let restored = Room::restore(record, 2, 9, moment(stage.now)).unwrap();
    assert_eq!(restored.settings(), stage.room.settings());
    assert_eq!(restored.settings().layout, layout(9));
}

/// Rooms were kept with whatever object they had been given.
#[test]
fn an_older_record_still_makes_a_room() {
    let mut stage = Stage::mode(SeatMode::Apply);
    let program = update(|patch| patch.program = Some(sized(640, 360)));
    assert!(stage.changes(&host(), program));
    let kept = serde_json::to_value(stage.room.record(moment(stage.now))).unwrap();
    let restored = |program: Value, layout: Value| {
        let mut kept = kept.clone();
        for settings in ["created", "settings"] {
            kept[settings]["program"] = program.clone();
            kept[settings]["layout"] = layout.clone();
        }
        let record = serde_json::from_value(kept).unwrap();
        let room = Room::restore(record, 2, 9, moment(stage.now)).unwrap();
        (room.settings().program, room.settings().layout.clone())
    };
    let plain = (ProgramSettings::default(), Layout::default());
    for (program, layout) in [
        (Value::Null, Value::Null),
        (json!({}), json!({})),
        (
            json!({"mode": "auto", "idle": "on_demand"}),
            json!({"template": "grid"}),
        ),
        (
            json!({"mode": "best", "x": 1}),
            json!({"template": "custom", "tiles": [{"seat": "a"}]}),
        ),
        (json!({"video": {"fps": 1000}}), json!({"volumes": {"1": 70}})),
    ] {
        assert_eq!(restored(program.clone(), layout.clone()), plain, "{program} {layout}");
    }
    let (program, layout) = restored(json!({"mode": "mixed"}), json!({"template": "float", "labels": true}));
    assert_eq!(program.mode, ProgramMode::Mixed);
    assert_eq!((layout.template, layout.labels), (Template::Float, Labels::Always));
    let same = restored(kept["settings"]["program"].clone(), kept["settings"]["layout"].clone());
    assert_eq!(same.0.video.size, Size::even(640, 360));
}

#[test]
fn the_program_shows_who_has_come_with_media() {
    let mut stage = Stage::mode(SeatMode::Apply);
    let present = |stage: &Stage| -> Vec<(u8, SourceKind)> {
        let present = stage.room.snapshot(stage.now).present();
        present
            .iter()
            .map(|Present { seat, source }| (seat.0, *source))
            .collect()
    };
    assert_eq!(present(&stage), []);
    stage.up("host", SourceKind::Camera);
    stage.seat(&host(), 2, "bob").unwrap();
    assert_eq!(present(&stage), [(0, SourceKind::Camera)]);
    stage.up("bob", SourceKind::Camera);
    assert_eq!(present(&stage), [(0, SourceKind::Camera), (2, SourceKind::Camera)]);
    // held: the tile stays for the grace
    stage.lost("bob", SourceKind::Camera);
    assert_eq!(present(&stage), [(0, SourceKind::Camera), (2, SourceKind::Camera)]);
}
