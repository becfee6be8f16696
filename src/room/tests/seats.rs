//! Seats left, locked, muted, fewer, and assigned all at once.

use super::*;

#[test]
fn leaving_and_kicking() {
    let mut stage = Stage::mode(SeatMode::Free);
    stage.seat(&member("bob"), 1, "bob").unwrap();
    stage.seat(&admin(), 2, "admin").unwrap();
    assert_eq!(stage.code(&member("eve"), unseat(1)), Code::PermissionDenied);
    assert_eq!(stage.code(&member("eve"), hang_up("bob")), Code::PermissionDenied);
    assert_eq!(
        stage.code(&principal("other", Role::Admin), unseat(2)),
        Code::PermissionDenied,
        "no admin kicks another"
    );
    assert_eq!(stage.code(&host(), unseat(0)), Code::SeatIndexInvalid);
    assert_eq!(stage.code(&host(), hang_up("host")), Code::SeatIndexInvalid);
    assert_eq!(stage.code(&host(), unseat(10)), Code::SeatIndexInvalid);

    let guarded = |name: &str, if_version| Command::Unseat {
        seat: SeatIndex(1),
        user: Some(user(name)),
        reason: None,
        if_version,
    };
    assert_eq!(stage.code(&host(), guarded("eve", None)), Code::Conflict);
    assert_eq!(stage.code(&host(), guarded("bob", Some(1))), Code::VersionConflict);
    assert!(stage.changes(&host(), guarded("bob", None)));
    assert_eq!(
        stage.code(&host(), guarded("bob", None)),
        Code::Conflict,
        "nobody is somebody else too"
    );
    assert!(!stage.changes(&host(), unseat(1)));
    assert!(!stage.changes(&host(), hang_up("bob")));

    let refusal = stage.seat(&member("bob"), 1, "bob").unwrap_err();
    assert_eq!((refusal.code, refusal.retry_after), (Code::Cooldown, Some(30 * SECOND)));
    stage.pass(30 * SECOND);
    stage.seat(&member("bob"), 1, "bob").unwrap();
    stage.events();
    assert!(stage.changes(&member("bob"), hang_up("bob")));
    assert_eq!(stage.changes_of_seats().0, [departure(1, "bob", LeaveReason::Left)]);
    stage.seat(&member("bob"), 3, "bob").unwrap();
    assert!(stage.changes(&member("bob"), unseat(3)), "one's own seat by number");
    stage.seat(&host(), 3, "bob").unwrap();
    assert!(stage.changes(&service(), hang_up("bob")));
    stage.seat(&host(), 3, "bob").unwrap();
    assert!(stage.changes(&host(), hang_up("admin")) || stage.permission("admin").is_none());
}

#[test]
fn a_lock_removes_and_keeps_out() {
    let mut stage = Stage::mode(SeatMode::Free);
    stage.seat(&member("bob"), 1, "bob").unwrap();
    stage.up("bob", SourceKind::Camera);
    assert_eq!(stage.code(&member("bob"), lock(1, true)), Code::PermissionDenied);
    stage.events();
    assert!(stage.changes(&admin(), lock(1, true)));
    assert_eq!(stage.changes_of_seats().0, [departure(1, "bob", LeaveReason::Locked)]);
    assert!(stage.flags(1).locked && stage.permission("bob").is_none());
    assert!(!stage.changes(&admin(), lock(1, true)));
    assert_eq!(stage.code(&member("eve"), seat(1, "eve")), Code::SeatLocked);
    assert_eq!(stage.code(&member("bob"), seat(2, "bob")), Code::Cooldown);
    assert!(stage.changes(&admin(), lock(1, false)));
    stage.seat(&member("eve"), 1, "eve").unwrap();
    assert_eq!(stage.code(&host(), lock(0, true)), Code::SeatIndexInvalid);
    assert!(!stage.changes(&host(), lock(0, false)));

    stage.seat(&principal("other", Role::Admin), 2, "other").unwrap();
    assert_eq!(
        stage.code(&admin(), lock(2, true)),
        Code::PermissionDenied,
        "it would kick an admin"
    );
}

#[test]
fn a_mute_is_the_guests_to_undo_and_a_lock_is_not() {
    let mut stage = Stage::mode(SeatMode::Apply);
    stage.seat(&host(), 1, "bob").unwrap();
    let bob = member("bob");
    let on = Some(Permission {
        audio: true,
        video: true,
    });
    let no_audio = Some(Permission {
        audio: false,
        video: true,
    });
    assert_eq!(stage.permission("bob"), on);
    assert!(stage.changes(&host(), mute_audio(1, true)));
    assert_eq!(stage.permission("bob"), no_audio);
    for by in [host(), admin(), service(), member("eve")] {
        assert_eq!(
            stage.code(&by, mute_audio(1, false)),
            Code::PermissionDenied,
            "nobody opens another's device"
        );
    }
    assert!(stage.changes(&bob, mute_audio(1, false)));
    assert_eq!(stage.permission("bob"), on);
    assert!(stage.changes(&admin(), lock_audio(1, true)));
    assert_eq!(stage.code(&bob, lock_audio(1, false)), Code::PermissionDenied);
    assert!(!stage.changes(&bob, mute_audio(1, false)));
    assert_eq!(stage.permission("bob"), no_audio);
    assert!(stage.changes(&bob, mute_audio(1, true)), "one may mute oneself");
    assert!(stage.changes(&admin(), lock_audio(1, false)));
    assert_eq!(stage.permission("bob"), no_audio, "the mute stays");

    let video = SeatFlagsPatch {
        video_locked: Some(true),
        ..Default::default()
    };
    assert!(stage.changes(&host(), flags(1, video)));
    assert_eq!(
        stage.permission("bob"),
        Some(Permission {
            audio: false,
            video: false
        })
    );
    assert!(stage.changes(&bob, unseat(1)));
    let after = SeatFlags {
        video_locked: true,
        ..Default::default()
    };
    assert_eq!(
        stage.flags(1),
        after,
        "mutes go with the person, locks stay with the seat"
    );
}

#[test]
fn an_empty_seat_can_be_muted_ahead() {
    let mut stage = Stage::mode(SeatMode::Apply);
    assert!(stage.changes(&host(), mute_audio(2, true)));
    assert!(stage.changes(&host(), mute_audio(2, false)));
    assert!(stage.changes(&host(), mute_audio(2, true)));
    stage.seat(&host(), 2, "bob").unwrap();
    assert_eq!(
        stage.permission("bob"),
        Some(Permission {
            audio: false,
            video: true
        })
    );
    assert!(stage.changes(&member("bob"), mute_audio(2, false)));
}

#[test]
fn admins_silence_the_host_whom_only_the_host_opens_again() {
    let mut stage = Stage::mode(SeatMode::Apply);
    for command in [mute_audio(0, true), lock_audio(0, true)] {
        assert_eq!(stage.code(&member("bob"), command.clone()), Code::PermissionDenied);
        assert!(stage.changes(&admin(), command));
    }
    assert!(stage.changes(&admin(), lock_audio(0, false)));
    for other in [admin(), service()] {
        assert_eq!(stage.code(&other, mute_audio(0, false)), Code::PermissionDenied);
    }
    assert!(stage.changes(&host(), mute_audio(0, false)));
}

#[test]
fn settings_change_by_permission() {
    let mut stage = Stage::mode(SeatMode::Apply);
    let public = update(|patch| patch.public_program = Some(true));
    assert_eq!(stage.code(&member("bob"), public.clone()), Code::PermissionDenied);
    assert!(stage.changes(&admin(), public.clone()));
    assert!(!stage.changes(&admin(), public.clone()));
    let fewer = policies(|p| p.admin_may.retain(|what| what != "settings"));
    let narrow = update(|patch| patch.policies = Some(all(fewer)));
    assert_eq!(stage.code(&admin(), narrow.clone()), Code::PermissionDenied);
    assert!(stage.changes(&host(), narrow));
    assert_eq!(stage.code(&admin(), public), Code::PermissionDenied);
    let refusal = stage
        .run(&host(), update(|patch| patch.max_guests = Some(16)))
        .unwrap_err();
    assert_eq!(
        (refusal.code, refusal.field.as_deref()),
        (Code::InvalidArgument, Some("max_guests"))
    );
    let bad = policies(|p| p.grace_ms = 90_001);
    assert_eq!(
        stage.code(&host(), update(|patch| patch.policies = Some(all(bad)))),
        Code::InvalidArgument
    );
}

/// Each says only what it changes, so that it does not matter what its caller knew of the others.
#[test]
fn policies_are_patched_one_by_one() {
    let mut stage = Stage::mode(SeatMode::Apply);
    let patched = |patch: PoliciesPatch| update(|settings| settings.policies = Some(patch));
    let grace = patched(PoliciesPatch {
        grace_ms: Some(7_000),
        ..PoliciesPatch::default()
    });
    let powers = patched(PoliciesPatch {
        admin_may: Some(vec!["settings".into()]),
        self_move: Some(true),
        ..PoliciesPatch::default()
    });
    assert!(stage.changes(&host(), powers.clone()));
    assert!(stage.changes(&admin(), grace.clone()), "what admins may is not touched");
    let expected = policies(|p| {
        p.admin_may = vec!["settings".into()];
        p.self_move = true;
        p.grace_ms = 7_000;
    });
    assert_eq!(stage.room.settings().policies, expected);
    for (by, same) in [
        (admin(), grace),
        (admin(), powers),
        (host(), patched(PoliciesPatch::default())),
    ] {
        assert!(!stage.changes(&by, same));
    }
    let more = patched(PoliciesPatch {
        admin_may: Some(vec!["layout".into(), "settings".into()]),
        ..PoliciesPatch::default()
    });
    assert_eq!(stage.code(&admin(), more), Code::PermissionDenied);
    let every = all(Policies {
        host_away: HostAwayPolicy::PromoteAdmin,
        program_codecs_only: true,
        empty_room_ms: 0,
        ..expected.clone()
    });
    assert!(every.application_ms.is_some() && every.fallback_any.is_some());
    assert!(stage.changes(&host(), patched(every.clone())));
    assert_eq!(all(stage.room.settings().policies.clone()), every);
}

#[test]
fn lowering_max_guests_removes_nobody() {
    let mut stage = Stage::mode(SeatMode::Apply);
    for name in ["a", "b", "c", "d"] {
        stage.joins(name, Role::Member);
    }
    for (index, name) in [(5, "a"), (6, "b"), (7, "c")] {
        stage.seat(&host(), index, name).unwrap();
        stage.up(name, SourceKind::Camera);
    }
    assert!(stage.changes(&host(), update(|patch| patch.max_guests = Some(2))));
    assert_eq!(stage.room.snapshot(stage.now).seats.len(), 8);
    assert_eq!(stage.code(&host(), seat(1, "d")), Code::AllSeatsOccupied);
    assert_eq!(stage.code(&host(), seat(8, "d")), Code::SeatIndexInvalid);
    assert!(stage.changes(&host(), mute_audio(7, true)));
    assert!(stage.changes(&host(), unseat(7)));
    assert_eq!(
        stage.code(&host(), lock(7, true)),
        Code::SeatIndexInvalid,
        "the seat is gone"
    );
    assert!(stage.changes(&host(), unseat(6)));
    assert!(stage.changes(&host(), seat(1, "d")));
    assert!(stage.changes(&service(), assign(&[(1, "d"), (2, "a")])));
    assert_eq!(stage.room.snapshot(stage.now).seats.len(), 3);
}

#[test]
fn an_assignment_is_one_step() {
    let mut stage = Stage::mode(SeatMode::Apply);
    stage.seat(&host(), 1, "bob").unwrap();
    stage.seat(&host(), 2, "eve").unwrap();
    stage.seat(&host(), 3, "dan").unwrap();
    stage.up("bob", SourceKind::Camera);
    stage.changes(&host(), mute_audio(1, true));
    let bob = stage.occupancy(1);
    stage.events();
    let version = stage.room.version;
    let wanted = assign(&[(2, "bob"), (1, "eve"), (4, "new")]);
    for by in [host(), admin(), member("bob")] {
        assert_eq!(stage.code(&by, wanted.clone()), Code::PermissionDenied);
    }
    assert!(stage.changes(&service(), wanted.clone()));
    assert_eq!(stage.room.version, version + 1);
    assert_eq!(stage.occupancy(2), bob, "a mover keeps the transport");
    assert!(
        stage.flags(2).audio_muted && !stage.flags(1).audio_muted,
        "and the mute"
    );
    assert_eq!(stage.occupancy(3), Occupancy::Empty);
    let (left, moved) = stage.changes_of_seats();
    assert_eq!(left, [departure(3, "dan", LeaveReason::Assigned)]);
    assert_eq!(moved.len(), 2);
    assert!(
        !stage.changes(&service(), wanted.clone()),
        "the same again changes nothing"
    );
    assert_eq!(stage.room.version, version + 1);
    assert!(stage.changes(&service(), assign(&[])));
    assert_eq!(stage.room.desired().seats.len(), 1);
}

#[test]
fn a_wrong_assignment_applies_nothing() {
    let mut stage = Stage::mode(SeatMode::Apply);
    stage.changes(&host(), lock(5, true));
    stage.seat(&host(), 1, "bob").unwrap();
    let before = stage.room.snapshot(stage.now);
    for (seats, code) in [
        (&[(2, "eve"), (0, "x")], Code::SeatIndexInvalid),
        (&[(2, "eve"), (10, "x")], Code::SeatIndexInvalid),
        (&[(2, "eve"), (5, "x")], Code::InvalidArgument),
        (&[(2, "eve"), (3, "eve")], Code::InvalidArgument),
        (&[(2, "eve"), (3, "host")], Code::InvalidArgument),
    ] {
        assert_eq!(stage.code(&service(), assign(seats)), code, "{seats:?}");
        assert_eq!(stage.room.snapshot(stage.now), before);
    }
    let stale = Command::Assign {
        seats: BTreeMap::new(),
        if_version: Some(1),
    };
    assert_eq!(stage.code(&service(), stale), Code::VersionConflict);
    let nobody_on_the_locked = Command::Assign {
        seats: BTreeMap::from([(SeatIndex(5), None), (SeatIndex(1), Some(person("bob")))]),
        if_version: None,
    };
    assert!(!stage.changes(&service(), nobody_on_the_locked));
}

#[test]
fn external_seats_are_the_signalling_servers_and_wait_without_limit() {
    let mut stage = Stage::mode(SeatMode::External);
    stage.seat(&service(), 1, "bob").unwrap();
    for command in [unseat(1), hang_up("bob"), seat(2, "eve")] {
        for by in [host(), admin(), member("bob")] {
            assert_eq!(
                stage.code(&by, command.clone()),
                Code::SeatsDisabled,
                "{by:?} {command:?}"
            );
        }
    }
    for (by, code) in [
        (host(), Code::SeatsDisabled),
        (admin(), Code::SeatsDisabled),
        (member("bob"), Code::PermissionDenied),
    ] {
        assert_eq!(stage.code(&by, lock(2, true)), code);
    }
    assert!(stage.changes(&host(), mute_audio(1, true)));
    stage.room.handle_audience(1, 1, stage.now);
    stage.pass(100_000 * SECOND);
    for name in ["bob", "host"] {
        stage.up(name, SourceKind::Camera);
        stage.lost(name, SourceKind::Camera);
    }
    stage.pass(100_000 * SECOND);
    assert!(matches!(stage.occupancy(1), Occupancy::Held { until: None, .. }));
    assert_eq!(stage.room.phase, Phase::HostAway);

    assert!(stage.changes(&host(), update(|patch| patch.seat_mode = Some(SeatMode::Apply))));
    stage.pass(15 * SECOND);
    assert_eq!(stage.occupancy(1), Occupancy::Empty);
    stage.pass(45 * SECOND);
    assert_eq!(stage.room.phase, Phase::Ended);
}
