//! SEATS "Races and their one answer", the limits, and what is not versioned.

use super::*;

fn code_of(outcome: Result<Committed, Refusal>) -> (Code, Option<UserId>, Option<RequestState>) {
    let refusal = outcome.unwrap_err();
    let by = refusal.processed_by.map(|person| person.user);
    (refusal.code, by, refusal.decision)
}

fn already(outcome: Result<Committed, Refusal>) -> Option<UserId> {
    let done = outcome.unwrap();
    assert!(!done.changed);
    match done.outcome {
        Outcome::Answered {
            already_processed_by, ..
        } => already_processed_by.map(|person| person.user),
        other => panic!("{other:?}"),
    }
}

#[test]
fn two_hosts_answer() {
    let mut stage = Stage::mode(SeatMode::Apply);
    stage.changes(&member("bob"), apply(None));
    stage.changes(&admin(), accept("bob"));
    stage.notices();
    let second = stage.run(&host(), accept("bob"));
    assert_eq!(already(second), Some(user("admin")));
    let opposite = stage.run(&host(), reject("bob"));
    assert_eq!(
        code_of(opposite),
        (Code::Conflict, Some(user("admin")), Some(RequestState::Accepted))
    );
    stage.changes(&member("eve"), apply(None));
    stage.changes(&host(), reject("eve"));
    assert_eq!(already(stage.run(&admin(), reject("eve"))), Some(user("host")));
    let opposite = stage.run(&admin(), accept("eve"));
    assert_eq!(
        code_of(opposite),
        (Code::Conflict, Some(user("host")), Some(RequestState::Rejected))
    );
}

#[test]
fn the_guest_withdraws_while_the_host_accepts() {
    let cancel = || Command::CancelApplication { user: user("bob") };
    let mut stage = Stage::mode(SeatMode::Apply);
    stage.changes(&member("bob"), apply(None));
    stage.changes(&member("bob"), cancel());
    assert_eq!(stage.code(&host(), accept("bob")), Code::RequestCancelled);

    stage.changes(&member("bob"), apply(None));
    stage.changes(&host(), accept("bob"));
    let refusal = stage.run(&member("bob"), cancel()).unwrap_err();
    assert_eq!(
        (refusal.code, refusal.seat),
        (Code::AlreadyAccepted, Some(SeatIndex(1)))
    );
}

#[test]
fn the_last_seat_is_given_once() {
    let mut stage = Stage::mode(SeatMode::Apply);
    stage.changes(&host(), update(|patch| patch.max_guests = Some(1)));
    stage.changes(&member("bob"), apply(None));
    stage.changes(&member("eve"), apply(None));
    assert!(stage.changes(&host(), accept("bob")));
    assert_eq!(stage.code(&admin(), accept("eve")), Code::AllSeatsOccupied);
    assert_eq!(stage.room.requests(RequestKind::Application).len(), 1);
}

#[test]
fn the_clock_at_arrival_decides() {
    let mut stage = Stage::mode(SeatMode::Apply);
    stage.changes(&member("bob"), apply(None));
    stage.changes(&host(), invite("eve"));
    stage.notices();
    stage.now += 30 * SECOND;
    assert_eq!(stage.code(&host(), accept("bob")), Code::RequestExpired);
    assert_eq!(stage.code(&member("eve"), accept_invitation()), Code::RequestExpired);
    assert_eq!(
        stage.told(),
        [
            "bob application.no_response timeout",
            "admin,host,other application.closed bob timeout",
            "host invitation.no_response eve timeout",
            "eve invitation.closed eve timeout",
        ]
    );
}

#[test]
fn applying_while_invited_is_consent() {
    let mut stage = Stage::mode(SeatMode::Apply);
    stage.changes(&admin(), invite("bob"));
    stage.notices();
    let done = stage.run(&member("bob"), apply(Some(3))).unwrap();
    let Outcome::Asked {
        request,
        matched: true,
        granted: Some(granted),
        ..
    } = done.outcome
    else {
        panic!("{done:?}")
    };
    assert_eq!(
        (request.kind, request.state, granted.seat),
        (RequestKind::Invitation, RequestState::Accepted, SeatIndex(3))
    );
    assert_eq!(
        stage.told()[..3],
        [
            "bob seat.granted 3",
            "admin,host,other invitation.responded bob yes seat 3",
            "* seats.changed +3bob",
        ]
    );
    assert!(stage.room.requests(RequestKind::Invitation).is_empty());
}

#[test]
fn an_answer_is_remembered_for_ten_minutes_and_by_name() {
    let mut stage = Stage::mode(SeatMode::Apply);
    stage.changes(&member("bob"), apply(None));
    let first = stage.room.requests(RequestKind::Application)[0].id;
    stage.changes(&host(), reject("bob"));
    stage.pass(4 * SECOND);
    stage.changes(&member("bob"), apply(None));
    let named = |request| Command::AcceptApplication {
        user: user("bob"),
        seat: None,
        request: Some(request),
    };
    assert_eq!(
        stage.code(&host(), named(first)),
        Code::Conflict,
        "meant for the older one"
    );
    let someone_elses = Command::AcceptApplication {
        user: user("eve"),
        seat: None,
        request: Some(first),
    };
    assert_eq!(stage.code(&host(), someone_elses), Code::RequestNotFound);
    stage.pass(595 * SECOND);
    assert_eq!(stage.code(&host(), named(first)), Code::Conflict);
    stage.pass(SECOND);
    assert_eq!(stage.code(&host(), named(first)), Code::RequestNotFound);
}

#[test]
fn a_kick_names_whom_it_means() {
    let mut stage = Stage::mode(SeatMode::Apply);
    stage.seat(&host(), 3, "bob").unwrap();
    let kick = |name| Command::Unseat {
        seat: SeatIndex(3),
        user: Some(user(name)),
        reason: None,
        if_version: None,
    };
    let shifted = |name: &str| Command::Move {
        from: SeatIndex(3),
        to: SeatIndex(4),
        policy: MovePolicy::Abort,
        user: Some(user(name)),
        if_version: None,
    };
    assert_eq!(stage.code(&host(), kick("eve")), Code::Conflict);
    assert_eq!(stage.code(&host(), shifted("eve")), Code::Conflict);
    assert!(stage.changes(&host(), kick("bob")), "while reserved");
    assert_eq!(stage.permission("bob"), None, "a late WHIP POST finds no seat");
}

#[test]
fn six_applications_a_minute() {
    let mut stage = Stage::mode(SeatMode::Apply);
    for seat in 1..=6 {
        assert!(stage.changes(&member("bob"), apply(Some(seat))));
        stage.pass(SECOND);
    }
    let refusal = stage.run(&member("bob"), apply(Some(7))).unwrap_err();
    assert_eq!(
        (refusal.code, refusal.retry_after),
        (Code::RateLimited, Some(54 * SECOND))
    );
    assert!(!stage.changes(&member("bob"), apply(Some(6))), "the same again is none");
    assert!(stage.changes(&member("eve"), apply(None)), "per user");
    stage.pass(54 * SECOND);
    assert!(stage.changes(&member("bob"), apply(Some(7))));
}

#[test]
fn a_hundred_wait() {
    let mut stage = Stage::mode(SeatMode::Apply);
    let on_behalf = |n: usize| Command::Apply {
        user: Some(person(&format!("guest{n}"))),
        wish: Wish::default(),
    };
    for n in 0..100 {
        assert!(stage.changes(&service(), on_behalf(n)));
    }
    assert_eq!(stage.code(&service(), on_behalf(100)), Code::QueueFull);
    assert_eq!(stage.room.snapshot(stage.now).requests.len(), 100);
    let other_seat = Command::Apply {
        user: Some(person("guest7")),
        wish: Wish {
            seat: Some(SeatIndex(2)),
            ..Wish::default()
        },
    };
    assert!(stage.changes(&service(), other_seat), "replacing needs no place");
}

#[test]
fn removing_and_banning() {
    let remove = |name: &str, ban: Option<u64>| Command::RemoveMember {
        user: user(name),
        ban: ban.map(Duration::from_secs),
        reason: None,
    };
    let mut stage = Stage::mode(SeatMode::Apply);
    stage.seat(&host(), 1, "bob").unwrap();
    for (by, name) in [(member("bob"), "eve"), (admin(), "other"), (admin(), "host")] {
        assert_eq!(stage.code(&by, remove(name, None)), Code::PermissionDenied, "{name}");
    }
    assert_eq!(stage.code(&service(), remove("host", None)), Code::InvalidArgument);
    assert_eq!(
        stage.code(&host(), remove("bob", Some(u64::MAX / 1_000))),
        Code::InvalidArgument
    );
    assert_eq!(
        stage.tells(&admin(), remove("bob", Some(60))),
        [
            "bob seat.kicked 1 removed",
            "* seats.changed -1bob removed",
            "admin,host,other member.left bob banned",
        ]
    );
    let refusal = stage.room.may_enter(&member("bob"), stage.now).unwrap_err();
    assert_eq!((refusal.code, refusal.retry_after), (Code::Banned, Some(60 * SECOND)));
    assert_eq!(stage.code(&member("bob"), apply(None)), Code::Banned);
    assert_eq!(stage.code(&host(), seat(1, "bob")), Code::Banned);
    stage.joins("bob", Role::Member);
    assert!(stage.told().is_empty());
    stage.pass(60 * SECOND);
    assert!(stage.room.may_enter(&member("bob"), stage.now).is_ok());
    stage.changes(&host(), remove("eve", Some(60)));
    assert!(
        stage.changes(&host(), remove("eve", Some(0))),
        "a ban of no length lifts it"
    );
    assert!(stage.room.may_enter(&member("eve"), stage.now).is_ok());
}

#[test]
fn admins_by_grant() {
    let grant = |name: &str, role| Command::GrantRole { user: user(name), role };
    let mut stage = Stage::mode(SeatMode::Apply);
    for by in [admin(), member("bob")] {
        assert_eq!(stage.code(&by, grant("bob", MemberRole::Admin)), Code::PermissionDenied);
    }
    assert_eq!(
        stage.code(&host(), grant("bob", MemberRole::Host)),
        Code::InvalidArgument
    );
    assert_eq!(
        stage.code(&host(), grant("host", MemberRole::Member)),
        Code::InvalidArgument
    );
    assert_eq!(
        stage.tells(&host(), grant("bob", MemberRole::Admin)),
        ["admin,bob,host,other member.updated bob admin online"]
    );
    assert!(!stage.changes(&host(), grant("bob", MemberRole::Admin)));
    assert!(stage.changes(&member("bob"), invite("eve")));
    assert_eq!(stage.code(&admin(), hang_up("bob")), Code::PermissionDenied);
    assert!(stage.changes(&host(), grant("bob", MemberRole::Member)));
    assert_eq!(stage.code(&member("bob"), invite("dan")), Code::PermissionDenied);
    assert!(!stage.changes(&host(), grant("admin", MemberRole::Member)));
    assert!(
        stage.room.is_admin(&user("admin")),
        "the higher of token and grant counts"
    );
}

#[test]
fn presence_raises_the_sequence_and_not_the_version() {
    let mut stage = Stage::mode(SeatMode::Apply);
    let (version, seq) = (stage.room.version, stage.room.seq);
    stage.joins("newcomer", Role::Member);
    assert_eq!(stage.told(), ["admin,host,other member.joined newcomer"]);
    assert!(stage.room.seq > seq && stage.room.version == version);
    stage.pass(SECOND);
    stage.notices();
    stage.room.handle_audience(5, 3, stage.now);
    stage.room.handle_audience(6, 4, stage.now);
    stage.pass(SECOND);
    let counts: Vec<u64> = stage
        .events()
        .into_iter()
        .filter_map(|event| match event {
            Event::Audience { count } => Some(count),
            _ => None,
        })
        .collect();
    assert!(counts.len() <= 2 && counts.last() == Some(&11), "{counts:?}");
    assert_eq!(stage.room.version, version);
}

/// Whoever comes between two counts is not left with a number that no event ever corrects.
#[test]
fn a_newcomer_sees_how_many_are_here() {
    let mut stage = Stage::mode(SeatMode::Apply);
    stage.pass(SECOND);
    let here = stage.room.members().len() as u64;
    let shown = |stage: &Stage| stage.room.snapshot(stage.now).audience;
    assert_eq!(shown(&stage), here);
    stage.pass(SECOND);
    stage.room.handle_audience(5, 3, stage.now);
    assert_eq!(shown(&stage), here + 3, "told in the same step");
    stage.room.handle_audience(6, 4, stage.now);
    assert_eq!(
        shown(&stage),
        here + 3,
        "not told yet, so what is shown is what the events say"
    );
    stage.room.handle_audience(5, 3, stage.now);
    stage.pass(SECOND);
    assert_eq!(shown(&stage), here + 3);
    stage.room.handle_audience(0, 0, stage.now);
    assert_eq!(shown(&stage), here);
}

#[test]
fn speaking_is_told_five_times_a_second_and_fades() {
    let ms = Duration::from_millis;
    let mut stage = Stage::mode(SeatMode::Apply);
    for (index, name) in [(1, "bob"), (2, "eve")] {
        stage.seat(&host(), index, name).unwrap();
        stage.up(name, SourceKind::Camera);
    }
    stage.notices();
    let hear = |stage: &mut Stage, levels: &[(&str, i8)]| {
        let levels = levels.iter().map(|(name, level)| (user(name), *level)).collect();
        stage.room.handle_levels(levels, stage.now);
        stage.told()
    };
    assert_eq!(
        hear(&mut stage, &[("bob", -30), ("eve", -50), ("dan", -1)]),
        ["* speaking 1@-30"]
    );
    stage.pass(ms(100));
    assert!(hear(&mut stage, &[("bob", -30), ("eve", -20)]).is_empty(), "too soon");
    stage.pass(ms(100));
    assert_eq!(stage.told(), ["* speaking 2@-20 1@-30"]);
    stage.pass(SECOND);
    assert!(stage.told().is_empty(), "a level stands until another one is told");
    assert!(hear(&mut stage, &[("bob", -60), ("eve", -20)]).is_empty());
    stage.pass(ms(300));
    assert!(hear(&mut stage, &[("bob", -126), ("eve", -20)]).is_empty());
    stage.pass(ms(199));
    assert!(stage.told().is_empty());
    stage.pass(ms(1));
    assert_eq!(
        stage.told(),
        ["* speaking 2@-20"],
        "half a second after the last loud moment"
    );
    assert_eq!(hear(&mut stage, &[]), [""; 0]);
    stage.pass(ms(200));
    assert_eq!(stage.told(), ["* speaking "], "a source that is gone has no next word");
    stage.pass(SECOND);
    assert_eq!(hear(&mut stage, &[("bob", -30), ("eve", -60)]), ["* speaking 1@-30"]);
    stage.pass(ms(200));
    assert_eq!(
        hear(&mut stage, &[("bob", -127), ("eve", -60)]),
        ["* speaking "],
        "nor has one that stopped"
    );
    stage.pass(SECOND);
    stage.changes(&host(), mute_audio(1, true));
    stage.notices();
    assert!(
        hear(&mut stage, &[("bob", -10)]).is_empty(),
        "who is muted is not heard"
    );
}

#[test]
fn the_seat_list_says_who_is_heard_and_how_loud() {
    let mut stage = Stage::mode(SeatMode::Apply);
    for (index, name) in [(1, "bob"), (2, "eve"), (3, "dan")] {
        stage.seat(&host(), index, name).unwrap();
        stage.up(name, SourceKind::Camera);
    }
    let hear = |stage: &mut Stage, levels: &[(&str, i8)]| {
        let levels = levels.iter().map(|(name, level)| (user(name), *level)).collect();
        stage.room.handle_levels(levels, stage.now);
        stage.events()
    };
    let shown = |stage: &Stage| -> Vec<(u8, i8, bool)> {
        let voices = stage.room.snapshot(stage.now).voices.into_iter();
        voices
            .map(|(seat, voice)| (seat.0, voice.level, voice.speaking))
            .collect()
    };
    stage.notices();
    let version = stage.room.version;
    assert!(hear(&mut stage, &[("bob", -80), ("eve", -127), ("ann", -1)]).is_empty());
    assert_eq!(shown(&stage), [(1, -80, false), (2, -127, false)]);
    hear(&mut stage, &[("bob", -30), ("eve", -127)]);
    assert_eq!(shown(&stage), [(1, -30, true), (2, -127, false)]);
    assert!(hear(&mut stage, &[("bob", -30), ("eve", -60)]).is_empty());
    assert_eq!(stage.room.version, version);

    stage.notices();
    stage.seat(&host(), 4, "admin").unwrap();
    let told = stage.events().into_iter().find_map(|event| match event {
        Event::SeatsChanged { voices, .. } => Some(voices),
        _ => None,
    });
    assert_eq!(told.as_deref(), Some(&stage.room.snapshot(stage.now).voices));
    assert_eq!(shown(&stage), [(1, -30, true), (2, -60, false)]);

    stage.changes(&host(), mute_audio(1, true));
    assert_eq!(shown(&stage), [(2, -60, false)], "who is muted is not measured");
    stage.changes(&member("bob"), mute_audio(1, false));
    stage.lost("eve", SourceKind::Camera);
    assert_eq!(shown(&stage), [(1, -30, true)], "nor is who is held");
}

#[test]
fn slots_are_told_to_their_viewer() {
    let mut stage = Stage::mode(SeatMode::Apply);
    stage
        .room
        .handle_slots(&user("eve"), "w1".into(), Vec::new(), stage.now);
    assert_eq!(stage.told(), ["eve stage.slots w1 0"]);
}

#[test]
fn the_host_who_comes_back_finds_who_waits() {
    let mut stage = Stage::mode(SeatMode::Apply);
    stage.changes(&member("bob"), apply(None));
    stage.changes(&admin(), invite("eve"));
    let snapshot = stage.room.snapshot(stage.now);
    let waiting: Vec<_> = snapshot
        .requests
        .iter()
        .map(|r| (r.kind, r.guest.user.as_str()))
        .collect();
    assert_eq!(
        waiting,
        [(RequestKind::Application, "bob"), (RequestKind::Invitation, "eve")]
    );
    let hosts: Vec<_> = snapshot.hosts.iter().map(UserId::as_str).collect();
    assert_eq!(hosts, ["admin", "host", "other"]);
}

#[test]
fn row_22_a_restart() {
    let mut stage = Stage::mode(SeatMode::Apply);
    stage.up("host", SourceKind::Camera);
    for (index, name) in [(1, "eve"), (2, "dan")] {
        stage.seat(&host(), index, name).unwrap();
    }
    stage.up("eve", SourceKind::Camera);
    stage.changes(&host(), mute_audio(1, true));
    stage.changes(&host(), lock(5, true));
    stage.pass(5 * SECOND);
    stage.changes(&member("bob"), apply(Some(3)));
    let id = stage.room.requests(RequestKind::Application)[0].id;
    let wall_ms = 1_700_000_000_000;
    let record = stage.room.record(Moment {
        now: stage.now,
        wall_ms,
    });
    let json = serde_json::to_string(&record).unwrap();

    let now = Instant::now();
    let later = Moment {
        now,
        wall_ms: wall_ms + 2_000,
    };
    let room = Room::restore(serde_json::from_str(&json).unwrap(), 2, 9, later).unwrap();
    let mut back = Stage { room, now };
    back.room.assert_invariants();
    assert_eq!(back.room.version, stage.room.version + 1);
    assert_eq!((back.room.epoch, back.room.phase), (2, Phase::HostAway));
    assert_eq!(
        back.occupancy(0),
        Occupancy::Held {
            person: person("host"),
            until: Some(now + 60 * SECOND)
        }
    );
    assert_eq!(
        back.occupancy(1),
        Occupancy::Held {
            person: person("eve"),
            until: Some(now + 15 * SECOND)
        }
    );
    assert_eq!(
        back.occupancy(2),
        Occupancy::Reserved {
            person: person("dan"),
            request: None,
            until: Some(now + 8 * SECOND)
        }
    );
    assert!(back.flags(1).audio_muted && back.flags(5).locked);
    let request = back.room.requests(RequestKind::Application).remove(0);
    assert_eq!((request.id, request.expires_at), (id, now + 28 * SECOND));
    assert!(back.room.is_as(&settings(SeatMode::Apply)));
    let members = back.room.members();
    assert_eq!(
        members
            .iter()
            .map(|m| (m.person.user.as_str(), m.presence))
            .collect::<Vec<_>>(),
        [("bob", Presence::Suspended)]
    );
    back.pass(10 * SECOND);
    assert!(
        back.room.requests(RequestKind::Application).is_empty(),
        "bob did not come back"
    );
    back.up("eve", SourceKind::Camera);
    back.up("host", SourceKind::Camera);
    assert_eq!(back.room.phase, Phase::Live);
}

/// Until its transport is up. A record of before there was such a thing still makes a room.
#[test]
fn a_reserved_seat_names_the_request_that_led_to_it() {
    let mut stage = Stage::mode(SeatMode::Apply);
    stage.changes(&member("bob"), apply(Some(3)));
    stage.changes(&host(), invite("eve"));
    let ids = [RequestKind::Application, RequestKind::Invitation].map(|kind| stage.room.requests(kind)[0].id);
    let accept = Command::AcceptApplication {
        user: user("bob"),
        seat: None,
        request: None,
    };
    stage.changes(&host(), accept);
    stage.changes(&member("eve"), Command::AcceptInvitation { request: None });
    stage.seat(&host(), 2, "dan").unwrap();
    let by = |room: &Room, index: u8| {
        let seat = room.snapshot(stage.now).seats.remove(usize::from(index));
        match seat.occupancy {
            Occupancy::Reserved { request, .. } => Some(request),
            _ => None,
        }
    };
    let expected = [(3, Some(ids[0])), (1, Some(ids[1])), (2, None), (0, None)];
    for (index, request) in expected {
        assert_eq!(by(&stage.room, index), Some(request), "{index}");
    }
    let moment = Moment {
        now: stage.now,
        wall_ms: 1_700_000_000_000,
    };
    let kept = serde_json::to_value(stage.room.record(moment)).unwrap();
    let restored = |record: serde_json::Value| {
        let record = serde_json::from_value(record).unwrap();
        Room::restore(record, 2, 9, moment).unwrap()
    };
    for (index, request) in expected {
        assert_eq!(by(&restored(kept.clone()), index), Some(request), "{index}");
    }
    let mut older = kept;
    for seat in older["seats"].as_array_mut().unwrap() {
        if let Some(reserved) = seat["state"].get_mut("reserved") {
            assert!(reserved.as_object_mut().unwrap().remove("request").is_some());
        }
    }
    assert_eq!(by(&restored(older), 3), Some(None));
}

#[test]
fn a_record_that_contradicts_itself_is_refused() {
    let mut stage = Stage::mode(SeatMode::Apply);
    stage.seat(&host(), 1, "bob").unwrap();
    let moment = Moment {
        now: stage.now,
        wall_ms: 1_700_000_000_000,
    };
    let good = serde_json::to_value(stage.room.record(moment)).unwrap();
    let restored = |value: serde_json::Value| {
        let record: Record = serde_json::from_value(value).map_err(|error| error.to_string())?;
        Room::restore(record, 2, 9, moment)
            .map(drop)
            .map_err(|refusal| refusal.detail)
    };
    assert_eq!(restored(good.clone()), Ok(()));
    type Damage = fn(&mut serde_json::Value);
    let damages: [Damage; 7] = [
        |record| record["form"] = 2.into(),
        |record| record["id"] = "..".into(),
        |record| record["seats"] = serde_json::json!([]),
        |record| record["seats"][2] = record["seats"][1].clone(),
        |record| record["seats"][1]["flags"]["locked"] = true.into(),
        |record| record["phase"] = "live".into(),
        |record| record["settings"]["host"]["user"] = "eve".into(),
    ];
    for damage in damages {
        let mut record = good.clone();
        damage(&mut record);
        assert!(restored(record.clone()).is_err(), "{record}");
    }
}
