//! What settings may be, who may do what, and for which reason a seat is refused.

use super::*;

#[test]
fn settings_out_of_range_are_refused_by_name() {
    type Change = fn(&mut Settings);
    let refused: [(&str, Change); 16] = [
        ("max_guests", |s| s.max_guests = 10),
        ("layout.volumes.10", |s| {
            s.layout.volumes = [(SeatIndex(10), 0.5)].into()
        }),
        ("layout.tiles[1].seat", |s| {
            s.max_guests = 1;
            s.layout.template = Template::Custom(vec![full_tile(1), full_tile(2)]);
        }),
        ("policies.admin_may", |s| s.policies.admin_may.push("kick".into())),
        ("policies.application_ms", |s| s.policies.application_ms = 4_999),
        ("policies.application_ms", |s| s.policies.application_ms = 1_800_001),
        ("policies.invitation_ms", |s| s.policies.invitation_ms = 1),
        ("policies.reservation_ms", |s| s.policies.reservation_ms = 2_999),
        ("policies.reservation_ms", |s| s.policies.reservation_ms = 60_001),
        ("policies.grace_ms", |s| s.policies.grace_ms = 90_001),
        ("policies.host_away_ms", |s| s.policies.host_away_ms = 600_001),
        ("policies.reject_cooldown_ms", |s| {
            s.policies.reject_cooldown_ms = 600_001
        }),
        ("policies.kick_cooldown_ms", |s| s.policies.kick_cooldown_ms = u64::MAX),
        ("policies.empty_room_ms", |s| s.policies.empty_room_ms = 29_999),
        ("policies.empty_room_ms", |s| s.policies.empty_room_ms = 86_400_001),
        ("policies.reservation_ms", |s| s.policies.reservation_ms = 0),
    ];
    for (field, change) in refused {
        let mut settings = settings(SeatMode::Apply);
        change(&mut settings);
        let room = Room::new(RoomId::parse("demo").unwrap(), 1, settings, 9, Instant::now());
        let refusal = room.err().unwrap_or_else(|| panic!("{field} was accepted"));
        assert_eq!(
            (refusal.code, refusal.field.as_deref()),
            (Code::InvalidArgument, Some(field))
        );
    }
    let accepted: [Change; 7] = [
        |s| s.max_guests = 0,
        |s| s.policies.application_ms = 0,
        |s| s.policies.reservation_ms = 60_000,
        |s| s.policies.grace_ms = 0,
        |s| s.policies.host_away_ms = 0,
        |s| s.policies.empty_room_ms = 0,
        |s| s.layout.template = Template::Custom(vec![full_tile(0), full_tile(9)]),
    ];
    for change in accepted {
        let mut settings = settings(SeatMode::Apply);
        change(&mut settings);
        Room::new(RoomId::parse("demo").unwrap(), 1, settings, 9, Instant::now()).unwrap();
    }
    let mut too_many = settings(SeatMode::Apply);
    too_many.max_guests = 16;
    assert!(Room::new(RoomId::parse("demo").unwrap(), 1, too_many, 255, Instant::now()).is_err());
}

#[test]
fn a_room_begins_idle_with_its_host_reserved() {
    let stage = Stage::mode(SeatMode::Apply);
    let snapshot = stage.room.snapshot(stage.now);
    assert_eq!(
        (snapshot.version, snapshot.phase, snapshot.seats.len()),
        (1, Phase::Idle, 10)
    );
    assert_eq!(
        stage.occupancy(0),
        Occupancy::Reserved {
            person: person("host"),
            request: None,
            until: None
        }
    );
    assert!(stage.room.is_as(&settings(SeatMode::Apply)));
    assert!(!stage.room.is_as(&settings(SeatMode::Free)));
}

#[test]
fn creation_is_for_service_keys_and_hosts_of_their_own_room() {
    let settings = settings(SeatMode::Apply);
    let mut allowed = vec![];
    for role in [Role::Service, Role::Host, Role::Admin, Role::Member] {
        for name in ["host", "other"] {
            if may_create(&principal(name, role), &settings).is_ok() {
                allowed.push((name, role));
            }
        }
    }
    assert_eq!(
        allowed,
        [("host", Role::Service), ("other", Role::Service), ("host", Role::Host)]
    );
}

#[test]
fn the_matrix_is_the_specification() {
    // member, admin, host, service
    let table = [
        (Action::End, [false, false, true, true]),
        (Action::ChangeSettings, [false, true, true, true]),
        (Action::ChangeAdminPolicy, [false, false, true, true]),
        (Action::Assign, [false, false, false, true]),
        (
            Action::Seat {
                oneself: true,
                free_mode: true,
            },
            [true; 4],
        ),
        (
            Action::Seat {
                oneself: true,
                free_mode: false,
            },
            [false, true, true, true],
        ),
        (
            Action::Seat {
                oneself: false,
                free_mode: true,
            },
            [false, true, true, true],
        ),
        (Action::Apply { oneself: true }, [true; 4]),
        (Action::Apply { oneself: false }, [false, false, false, true]),
        (Action::CancelApplication { oneself: true }, [true; 4]),
        (
            Action::CancelApplication { oneself: false },
            [false, false, false, true],
        ),
        (Action::AnswerApplication, [false, true, true, true]),
        (Action::Invite, [false, true, true, true]),
        (Action::CancelInvitation { own: true }, [false, true, true, true]),
        (Action::CancelInvitation { own: false }, [false, false, true, true]),
        (Action::AnswerInvitation, [true, true, true, false]),
        (Action::Ask, [false, true, true, true]),
        (
            Action::Move {
                oneself: true,
                admin: false,
            },
            [false, true, true, true],
        ),
        (
            Action::Move {
                oneself: true,
                admin: true,
            },
            [false, true, true, true],
        ),
        (
            Action::Move {
                oneself: false,
                admin: false,
            },
            [false, true, true, true],
        ),
        (
            Action::Move {
                oneself: false,
                admin: true,
            },
            [false, false, true, true],
        ),
        (
            Action::Remove {
                role: MemberRole::Member,
            },
            [false, true, true, true],
        ),
        (
            Action::Remove {
                role: MemberRole::Admin,
            },
            [false, false, true, true],
        ),
        (Action::Remove { role: MemberRole::Host }, [false, false, true, true]),
        (Action::Grant, [false, false, true, true]),
        (Action::Leave, [true; 4]),
        (Action::Kick { admin: false }, [false, true, true, true]),
        (Action::Kick { admin: true }, [false, false, true, true]),
        (Action::Lock, [false, true, true, true]),
        (Action::LockDevice, [false, true, true, true]),
        (Action::Mute { oneself: true }, [true; 4]),
        (Action::Mute { oneself: false }, [false, true, true, true]),
        (
            Action::Unmute {
                oneself: true,
                empty: false,
            },
            [true; 4],
        ),
        (
            Action::Unmute {
                oneself: false,
                empty: false,
            },
            [false; 4],
        ),
        (
            Action::Unmute {
                oneself: false,
                empty: true,
            },
            [false, true, true, true],
        ),
    ];
    let standings = [Standing::Member, Standing::Admin, Standing::Host, Standing::Service];
    for (action, expected) in table {
        let permitted = standings.map(|standing| rules::permitted(standing, action, &Policies::default()));
        assert_eq!(permitted, expected, "{action:?}");
    }
    let strict = policies(|p| p.admin_may = vec!["layout".into()]);
    assert!(!rules::permitted(Standing::Admin, Action::ChangeSettings, &strict));
    let free = policies(|p| p.self_move = true);
    for (oneself, expected) in [(true, true), (false, false)] {
        let action = Action::Move { oneself, admin: false };
        assert_eq!(rules::permitted(Standing::Member, action, &free), expected);
    }
}

#[test]
fn the_host_is_who_the_room_names() {
    let host = user("host");
    let standings = [
        ("host", Role::Member, Standing::Host),
        ("host", Role::Admin, Standing::Host),
        ("host", Role::Host, Standing::Host),
        ("host", Role::Service, Standing::Service),
        ("other", Role::Host, Standing::Admin),
        ("other", Role::Admin, Standing::Admin),
        ("other", Role::Member, Standing::Member),
    ];
    for (name, role, expected) in standings {
        assert_eq!(
            rules::standing(&principal(name, role), &host, false),
            expected,
            "{name} {role:?}"
        );
        let granted = rules::standing(&principal(name, role), &host, true);
        assert_eq!(granted, expected.max(Standing::Admin), "the higher of token and grant");
    }
}

#[test]
fn who_may_seat_whom() {
    for mode in [SeatMode::Apply, SeatMode::Free, SeatMode::External] {
        let external = mode == SeatMode::External;
        for by in [service(), host(), admin(), member("bob"), member("eve")] {
            let outcome = Stage::mode(mode).seat(&by, 1, "bob");
            let oneself = by.person.user == user("bob");
            let expected = match by.role {
                Role::Service => None,
                _ if external => Some(Code::SeatsDisabled),
                Role::Host | Role::Admin => None,
                Role::Member if oneself && mode == SeatMode::Free => None,
                Role::Member => Some(Code::PermissionDenied),
            };
            assert_eq!(outcome.err().map(|refusal| refusal.code), expected, "{mode:?} {by:?}");
        }
    }
}

#[test]
fn seating_is_refused_for_the_first_reason_that_holds() {
    let mut stage = Stage::mode(SeatMode::Apply);
    assert!(stage.changes(&host(), lock(2, true)));
    assert!(stage.changes(&host(), seat(1, "bob")));
    assert!(
        !stage.changes(&host(), seat(1, "bob")),
        "the same again changes nothing"
    );
    for (index, name, code) in [
        (0, "eve", Code::SeatIndexInvalid),
        (10, "eve", Code::SeatIndexInvalid),
        (255, "eve", Code::SeatIndexInvalid),
        (2, "eve", Code::SeatLocked),
        (1, "eve", Code::SeatOccupied),
        (3, "bob", Code::AlreadySeated),
        (3, "host", Code::AlreadySeated),
    ] {
        assert_eq!(stage.code(&host(), seat(index, name)), code, "{index} {name}");
    }
    let stale = Command::Seat {
        seat: SeatIndex(3),
        person: person("eve"),
        if_version: Some(1),
    };
    assert_eq!(stage.code(&host(), stale), Code::VersionConflict);
    let current = Command::Seat {
        seat: SeatIndex(3),
        person: person("eve"),
        if_version: Some(3),
    };
    assert!(stage.changes(&host(), current));
}

#[test]
fn a_new_name_on_the_same_seat_is_a_change_and_a_missing_one_is_not() {
    let mut stage = Stage::mode(SeatMode::Apply);
    let named = |name: Option<&str>| Command::Seat {
        seat: SeatIndex(1),
        person: Person {
            name: name.map(str::to_owned),
            ..person("bob")
        },
        if_version: None,
    };
    assert!(stage.changes(&host(), named(Some("Bob"))));
    assert!(!stage.changes(&host(), named(None)));
    assert!(stage.changes(&host(), named(Some("Bobby"))));
    assert_eq!(stage.occupancy(1).person().unwrap().name.as_deref(), Some("Bobby"));
}
