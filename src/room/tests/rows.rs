//! SEATS "Transitions", row by row, with every event and its recipients. The hosts are `admin`, `host` and `other`.

use super::*;

const H: &str = "admin,host,other";

fn answers(stage: &mut Stage, by: &Principal, command: Command) -> (Request, Option<Granted>, Option<Person>) {
    match stage.run(by, command).unwrap().outcome {
        Outcome::Answered {
            request,
            granted,
            already_processed_by,
        } => (request, granted, already_processed_by),
        other => panic!("{other:?}"),
    }
}

fn h(rest: &str) -> String {
    format!("{H} {rest}")
}

fn member_seat(name: &str, role: &str, rest: &str) -> String {
    format!("{H} member.updated {name} {role} online{rest}")
}

#[test]
fn row_1_an_application_waits_and_is_asked_once() {
    let mut stage = Stage::mode(SeatMode::Apply);
    let bob = member("bob");
    let Outcome::Asked { request, .. } = stage.run(&bob, apply(None)).unwrap().outcome else {
        panic!()
    };
    assert_eq!(stage.told(), [h("application.received bob")]);
    assert_eq!(request.expires_at, stage.now + 30 * SECOND);
    stage.pass(SECOND);
    let again = stage.run(&bob, apply(None)).unwrap();
    assert!(!again.changed);
    assert_eq!(
        again.outcome,
        Outcome::Asked {
            request: request.clone(),
            deduplicated: true,
            matched: false,
            granted: None
        }
    );
    assert!(stage.told().is_empty());

    let Outcome::Asked { request: other, .. } = stage.run(&bob, apply(Some(4))).unwrap().outcome else {
        panic!()
    };
    assert_eq!(stage.told(), [h("application.received bob")]);
    assert_ne!(other.id, request.id);
    assert_eq!(stage.room.requests(RequestKind::Application), [other]);
    let named = Command::AcceptApplication {
        user: user("bob"),
        seat: None,
        request: Some(request.id),
    };
    let refusal = stage.run(&host(), named).unwrap_err();
    assert_eq!(
        (refusal.code, refusal.decision),
        (Code::AlreadyProcessed, Some(RequestState::Superseded))
    );
}

#[test]
fn row_1_who_may_not_apply() {
    let mut stage = Stage::mode(SeatMode::Apply);
    stage.seat(&host(), 1, "bob").unwrap();
    let seated = stage.run(&member("bob"), apply(None)).unwrap_err();
    assert_eq!((seated.code, seated.seat), (Code::AlreadySeated, Some(SeatIndex(1))));
    assert_eq!(stage.code(&host(), apply(None)), Code::AlreadySeated);
    assert_eq!(stage.code(&member("stranger"), apply(None)), Code::NotInRoom);
    assert_eq!(stage.code(&member("eve"), apply(Some(0))), Code::SeatIndexInvalid);
    assert_eq!(stage.code(&member("eve"), apply(Some(10))), Code::SeatIndexInvalid);
    let for_eve = |user| Command::Apply {
        user,
        wish: Wish::default(),
    };
    for by in [host(), admin(), member("dan")] {
        assert_eq!(stage.code(&by, for_eve(Some(person("eve")))), Code::PermissionDenied);
    }
    assert_eq!(stage.code(&service(), for_eve(None)), Code::InvalidArgument);
    assert!(
        stage.changes(&service(), for_eve(Some(person("stranger")))),
        "on behalf of somebody without a stream"
    );
    let odd = |change: fn(&mut Wish)| {
        let mut wish = Wish::default();
        change(&mut wish);
        Command::Apply { user: None, wish }
    };
    for (field, command) in [
        ("timeout_ms", odd(|wish| wish.timeout_ms = Some(4_999))),
        ("timeout_ms", odd(|wish| wish.timeout_ms = Some(1_800_001))),
        ("extra", odd(|wish| wish.extra = "x".repeat(1_023).into())),
    ] {
        let refusal = stage.run(&member("eve"), command).unwrap_err();
        assert_eq!(
            (refusal.code, refusal.field.as_deref()),
            (Code::InvalidArgument, Some(field))
        );
    }
    assert!(stage.changes(&member("eve"), odd(|wish| wish.extra = "x".repeat(1_022).into())));
    assert!(stage.changes(&member("dan"), odd(|wish| wish.timeout_ms = Some(0))));
    let longest = stage.room.requests(RequestKind::Application).pop().unwrap();
    assert_eq!(longest.expires_at, stage.now + 1_800 * SECOND);
    assert!(stage.changes(&admin(), apply(None)), "an admin who is not seated may");
}

#[test]
fn row_1_in_free_mode_whoever_applies_sits_down() {
    let mut stage = Stage::mode(SeatMode::Free);
    let done = stage.run(&member("bob"), apply(Some(3))).unwrap();
    let Outcome::Asked { request, granted, .. } = done.outcome else {
        panic!()
    };
    assert_eq!(
        (request.state, request.granted),
        (RequestState::Accepted, Some(SeatIndex(3)))
    );
    assert_eq!(granted.unwrap().connect_by, Some(stage.now + 15 * SECOND));
    assert_eq!(
        stage.told(),
        [
            "bob seat.granted 3".into(),
            "bob application.responded yes seat 3".into(),
            "* seats.changed +3bob".into(),
            member_seat("bob", "member", " seat 3"),
        ],
        "no host was asked"
    );
    // One from before the seats were free is the hosts' to answer still.
    let mut stage = Stage::mode(SeatMode::Apply);
    stage.changes(&member("bob"), apply(None));
    stage.changes(&host(), update(|patch| patch.seat_mode = Some(SeatMode::Free)));
    let told = stage.tells(&host(), accept("bob"));
    assert!(
        told.contains(&"admin,other application.processed bob yes seat 1".to_owned()),
        "{told:?}"
    );
}

#[test]
fn row_2_the_applicant_withdraws() {
    let mut stage = Stage::mode(SeatMode::Apply);
    stage.changes(&member("bob"), apply(None));
    let cancel = || Command::CancelApplication { user: user("bob") };
    for by in [host(), admin(), member("eve")] {
        assert_eq!(stage.code(&by, cancel()), Code::PermissionDenied);
    }
    assert_eq!(stage.tells(&member("bob"), cancel()), [h("application.cancelled bob")]);
    let again = stage.run(&member("bob"), cancel()).unwrap();
    assert!(
        !again.changed && stage.told().is_empty(),
        "a retry gets the same answer"
    );
    assert_eq!(
        stage.code(&member("eve"), Command::CancelApplication { user: user("eve") }),
        Code::RequestNotFound
    );
}

#[test]
fn row_3_a_rejection_cools_down() {
    let mut stage = Stage::mode(SeatMode::Apply);
    stage.changes(&member("bob"), apply(None));
    assert_eq!(stage.code(&member("eve"), reject("bob")), Code::PermissionDenied);
    assert_eq!(
        stage.tells(&admin(), reject("bob")),
        [
            "bob application.responded no",
            "host,other application.processed bob no"
        ]
    );
    let refusal = stage.run(&member("bob"), apply(None)).unwrap_err();
    assert_eq!((refusal.code, refusal.retry_after), (Code::Cooldown, Some(3 * SECOND)));
    stage.pass(3 * SECOND);
    assert!(stage.changes(&member("bob"), apply(None)));
}

#[test]
fn rows_4_and_5_an_accepted_application_is_a_reservation() {
    let mut stage = Stage::mode(SeatMode::Apply);
    stage.changes(&member("bob"), apply(None));
    for by in [member("bob"), member("eve")] {
        assert_eq!(stage.code(&by, accept("bob")), Code::PermissionDenied);
    }
    assert_eq!(
        stage.tells(&admin(), accept("bob")),
        [
            "bob seat.granted 1".to_owned(),
            "bob application.responded yes seat 1".into(),
            "host,other application.processed bob yes seat 1".into(),
            "* seats.changed +1bob".into(),
            member_seat("bob", "member", " seat 1"),
        ]
    );
    stage.changes(&member("eve"), apply(Some(1)));
    let (request, granted, _) = answers(&mut stage, &host(), accept("eve"));
    assert_eq!(
        (request.granted, granted.map(|granted| granted.seat)),
        (Some(SeatIndex(2)), Some(SeatIndex(2))),
        "the seat is taken meanwhile"
    );
    stage.changes(&member("dan"), apply(Some(5)));
    let elsewhere = |seat| Command::AcceptApplication {
        user: user("dan"),
        seat: Some(SeatIndex(seat)),
        request: None,
    };
    assert_eq!(stage.code(&host(), elsewhere(0)), Code::SeatIndexInvalid);
    let (_, granted, _) = answers(&mut stage, &host(), elsewhere(7));
    assert_eq!(granted.unwrap().seat, SeatIndex(7), "the host's word counts");
}

#[test]
fn row_5_without_falling_back_the_named_seat_or_none() {
    let mut settings = settings(SeatMode::Apply);
    settings.policies.fallback_any = false;
    let mut stage = Stage::new(settings);
    for name in ["bob", "eve"] {
        stage.joins(name, Role::Member);
        stage.changes(&member(name), apply(Some(1)));
    }
    stage.changes(&host(), accept("bob"));
    assert_eq!(stage.code(&host(), accept("eve")), Code::SeatOccupied);
    assert_eq!(
        stage.room.requests(RequestKind::Application).len(),
        1,
        "it stays pending"
    );
    stage.changes(&host(), unseat(1));
    stage.changes(&host(), lock(1, true));
    assert_eq!(stage.code(&host(), accept("eve")), Code::SeatLocked);
    stage.changes(&host(), lock(1, false));
    assert!(stage.changes(&host(), accept("eve")));
}

#[test]
fn row_5a_seated_directly_an_application_is_superseded() {
    let mut stage = Stage::mode(SeatMode::Apply);
    assert_eq!(stage.code(&host(), seat(1, "stranger")), Code::NotInRoom);
    assert!(stage.changes(&service(), seat(1, "stranger")));
    stage.changes(&member("bob"), apply(None));
    assert_eq!(
        stage.tells(&host(), seat(2, "bob")),
        [
            h("application.closed bob already_seated"),
            "bob seat.granted 2".into(),
            "* seats.changed +2bob".into(),
            member_seat("bob", "member", " seat 2"),
        ]
    );
    stage.changes(&admin(), invite("eve"));
    assert_eq!(
        stage.tells(&host(), seat(3, "eve"))[..2],
        [
            "admin invitation.no_response eve already_seated",
            "eve invitation.closed eve already_seated"
        ]
    );
    assert!(stage.room.requests(RequestKind::Invitation).is_empty());
}

#[test]
fn row_6_an_invitation_waits() {
    let mut stage = Stage::mode(SeatMode::Apply);
    assert_eq!(stage.code(&member("eve"), invite("bob")), Code::PermissionDenied);
    assert_eq!(stage.code(&host(), invite("stranger")), Code::NotInRoom);
    assert_eq!(stage.tells(&admin(), invite("bob")), ["bob invitation.received bob"]);
    let again = stage.run(&admin(), invite("bob")).unwrap();
    assert!(matches!(again.outcome, Outcome::Asked { deduplicated: true, .. }));
    assert_eq!(stage.code(&host(), invite("bob")), Code::AlreadyInvited);
    assert_eq!(stage.occupancy(1), Occupancy::Empty, "no seat is held");
    assert!(stage.changes(&service(), invite("stranger")));
    stage.seat(&host(), 1, "eve").unwrap();
    assert_eq!(stage.code(&host(), invite("eve")), Code::AlreadySeated);
}

#[test]
fn row_6_inviting_an_applicant_is_accepting() {
    let mut stage = Stage::mode(SeatMode::Apply);
    stage.changes(&member("bob"), apply(None));
    stage.notices();
    let done = stage.run(&admin(), invite("bob")).unwrap();
    let Outcome::Asked {
        matched: true,
        granted: Some(granted),
        ..
    } = done.outcome
    else {
        panic!("{done:?}")
    };
    assert_eq!(granted.seat, SeatIndex(1));
    assert_eq!(
        stage.told()[..4],
        [
            "bob seat.granted 1",
            "bob application.responded yes seat 1",
            "host,other application.processed bob yes seat 1",
            "* seats.changed +1bob",
        ]
    );
}

#[test]
fn rows_7_and_8_an_invitation_withdrawn_or_declined() {
    let mut stage = Stage::mode(SeatMode::Apply);
    stage.changes(&host(), invite("bob"));
    assert_eq!(
        stage.code(&admin(), uninvite("bob")),
        Code::PermissionDenied,
        "not the admin's own"
    );
    assert_eq!(stage.tells(&host(), uninvite("bob")), ["bob invitation.cancelled bob"]);
    assert_eq!(stage.code(&member("bob"), accept_invitation()), Code::RequestCancelled);
    stage.changes(&admin(), invite("bob"));
    let decline = || Command::RejectInvitation {
        reason: None,
        request: None,
    };
    assert_eq!(
        stage.code(&service(), decline()),
        Code::PermissionDenied,
        "consent is personal"
    );
    assert_eq!(stage.code(&member("eve"), decline()), Code::RequestNotFound);
    assert_eq!(
        stage.tells(&member("bob"), decline()),
        ["admin invitation.responded bob no"]
    );
    let refusal = stage.run(&member("bob"), accept_invitation()).unwrap_err();
    assert_eq!(
        (refusal.code, refusal.decision),
        (Code::Conflict, Some(RequestState::Rejected))
    );
    stage.changes(&admin(), invite("bob"));
    assert!(stage.changes(&host(), uninvite("bob")), "the host withdraws anybody's");
}

#[test]
fn row_9_an_accepted_invitation_is_a_reservation() {
    let mut stage = Stage::mode(SeatMode::Apply);
    stage.changes(&service(), invite("bob"));
    assert_eq!(stage.code(&service(), accept_invitation()), Code::PermissionDenied);
    stage.notices();
    let (_, granted, _) = answers(&mut stage, &member("bob"), accept_invitation());
    let granted = granted.unwrap();
    assert_eq!(
        (granted.seat, granted.connect_by),
        (SeatIndex(1), Some(stage.now + 15 * SECOND))
    );
    assert_eq!(
        stage.told(),
        [
            "bob seat.granted 1".to_owned(),
            "admin,backend,host,other invitation.responded bob yes seat 1".into(),
            "* seats.changed +1bob".into(),
            member_seat("bob", "member", " seat 1"),
        ]
    );
    let (_, again, _) = answers(&mut stage, &member("bob"), accept_invitation());
    assert_eq!(again, Some(granted), "a retry gets the same answer");
}

#[test]
fn row_10_no_free_seat_or_no_capacity() {
    let mut stage = Stage::mode(SeatMode::Apply);
    stage.changes(&host(), update(|patch| patch.max_guests = Some(1)));
    stage.changes(&member("bob"), apply(None));
    stage.changes(&host(), invite("dan"));
    stage.room.handle_capacity(false);
    assert_eq!(stage.code(&host(), accept("bob")), Code::CapacityExhausted);
    assert_eq!(stage.code(&host(), invite("eve")), Code::CapacityExhausted);
    assert_eq!(stage.code(&service(), seat(1, "eve")), Code::CapacityExhausted);
    assert_eq!(stage.code(&service(), assign(&[(1, "eve")])), Code::CapacityExhausted);
    stage.room.handle_capacity(true);
    stage.seat(&host(), 1, "eve").unwrap();
    assert_eq!(stage.code(&host(), accept("bob")), Code::AllSeatsOccupied);
    assert_eq!(
        stage.room.requests(RequestKind::Application).len(),
        1,
        "it stays pending"
    );
    stage.notices();
    assert_eq!(stage.code(&member("dan"), accept_invitation()), Code::AllSeatsOccupied);
    assert_eq!(stage.told(), ["host invitation.responded dan no"], "it fails");
    assert!(stage.room.requests(RequestKind::Invitation).is_empty());
    assert!(stage.changes(&host(), unseat(1)));
    assert!(stage.changes(&host(), accept("bob")));
}

#[test]
fn rows_11_and_16_the_transport_comes_goes_and_comes_back() {
    let mut stage = Stage::mode(SeatMode::Apply);
    stage.seat(&host(), 1, "bob").unwrap();
    stage.notices();
    stage.up("bob", SourceKind::Camera);
    assert_eq!(stage.told(), ["* seat.connected 1"]);
    stage.up("bob", SourceKind::Screen);
    stage.lost("bob", SourceKind::Screen);
    assert!(stage.told().is_empty());
    stage.lost("bob", SourceKind::Camera);
    assert_eq!(stage.told(), ["* seat.suspended 1"]);
    stage.up("bob", SourceKind::Camera);
    assert_eq!(stage.told(), ["* seat.resumed 1"]);
}

#[test]
fn rows_12_to_14a_leaving_kicking_locking_muting() {
    let mut stage = Stage::mode(SeatMode::Free);
    stage.seat(&member("bob"), 1, "bob").unwrap();
    let updated = |rest: &str| member_seat("bob", "member", rest);
    assert_eq!(
        stage.tells(&member("bob"), hang_up("bob")),
        ["* seats.changed -1bob left".to_owned(), updated("")]
    );
    stage.seat(&member("bob"), 1, "bob").unwrap();
    assert_eq!(
        stage.tells(&host(), unseat(1)),
        [
            "bob seat.kicked 1 kicked".to_owned(),
            "* seats.changed -1bob kicked".into(),
            updated("")
        ]
    );
    assert_eq!(stage.code(&member("bob"), apply(None)), Code::Cooldown);
    stage.seat(&host(), 1, "bob").unwrap();
    stage.up("bob", SourceKind::Camera);
    assert_eq!(
        stage.tells(&host(), mute_audio(1, true)),
        ["* seat.updated 1"],
        "no source is known to flow"
    );
    assert_eq!(
        stage.tells(&host(), lock(1, true)),
        [
            "bob seat.kicked 1 locked".to_owned(),
            "* seats.changed -1bob locked".into(),
            "* seat.updated 1".into(),
            updated("")
        ]
    );
}

#[test]
fn row_14b_a_device_is_asked_for() {
    let mut stage = Stage::mode(SeatMode::Apply);
    stage.seat(&host(), 2, "bob").unwrap();
    let ask = |seat, audio| Command::Ask {
        seat: SeatIndex(seat),
        audio,
        video: false,
    };
    assert_eq!(stage.code(&member("bob"), ask(2, true)), Code::PermissionDenied);
    assert_eq!(stage.tells(&admin(), ask(2, true)), ["bob seat.asked 2 true false"]);
    assert_eq!(stage.code(&host(), ask(2, false)), Code::InvalidArgument);
    assert_eq!(stage.code(&host(), ask(3, true)), Code::Conflict);
    assert_eq!(stage.code(&host(), ask(10, true)), Code::SeatIndexInvalid);
}

#[test]
fn row_15_media_comes_and_goes() {
    let mut stage = Stage::mode(SeatMode::Apply);
    stage.seat(&host(), 1, "bob").unwrap();
    stage.up("bob", SourceKind::Camera);
    stage.up("bob", SourceKind::Screen);
    stage.notices();
    stage.media("bob", SourceKind::Camera, Some((true, true)));
    stage.media("bob", SourceKind::Camera, Some((true, true)));
    assert_eq!(stage.told(), ["* seat.media 1 Camera on on"]);
    assert_eq!(
        stage.tells(&host(), mute_audio(1, true)),
        ["* seat.updated 1", "* seat.media 1 Camera muted on"]
    );
    let sources = stage.room.snapshot(stage.now).sources;
    let camera = &sources[&(SeatIndex(1), SourceKind::Camera)];
    assert!(!camera.audio && camera.video);
    stage.changes(&host(), lock_audio(1, true));
    stage.notices();
    stage.media("bob", SourceKind::Camera, Some((true, false)));
    assert_eq!(stage.told(), ["* seat.media 1 Camera locked off"]);
    stage.media("bob", SourceKind::Screen, Some((false, true)));
    stage.lost("bob", SourceKind::Screen);
    assert_eq!(
        stage.told(),
        ["* seat.media 1 Screen locked on", "* seat.media 1 Screen off off"]
    );
    stage.lost("bob", SourceKind::Camera);
    assert_eq!(stage.told(), ["* seat.suspended 1"]);
    assert!(stage.room.snapshot(stage.now).sources.is_empty());
    stage.media("eve", SourceKind::Camera, Some((true, true)));
    assert!(stage.told().is_empty(), "not seated");
}

#[test]
fn row_17_what_is_not_used_is_freed() {
    let mut stage = Stage::mode(SeatMode::Apply);
    stage.seat(&host(), 1, "bob").unwrap();
    stage.seat(&host(), 2, "eve").unwrap();
    stage.up("eve", SourceKind::Camera);
    stage.lost("eve", SourceKind::Camera);
    stage.notices();
    stage.pass(15 * SECOND);
    assert_eq!(
        stage.told(),
        [
            "bob seat.kicked 1 media_timeout".to_owned(),
            "* seats.changed -1bob media_timeout".into(),
            member_seat("bob", "member", ""),
            "eve seat.kicked 2 disconnected".into(),
            "* seats.changed -2eve disconnected".into(),
            member_seat("eve", "member", ""),
        ]
    );
    assert!(stage.changes(&member("bob"), apply(None)), "that is no kick");
}

#[test]
fn row_18_who_leaves_asks_for_nothing() {
    let mut stage = Stage::mode(SeatMode::Apply);
    stage.changes(&member("bob"), apply(None));
    stage.changes(&admin(), invite("eve"));
    let leave = |name: &str| Command::RemoveMember {
        user: user(name),
        ban: None,
        reason: None,
    };
    assert_eq!(
        stage.tells(&member("bob"), leave("bob")),
        [h("application.closed bob left"), h("member.left bob left")]
    );
    assert_eq!(
        stage.tells(&member("eve"), leave("eve")),
        [
            "admin invitation.no_response eve left".to_owned(),
            h("member.left eve left")
        ]
    );
    stage.joins("bob", Role::Member);
    stage.changes(&member("bob"), apply(None));
    stage.pass(SECOND);
    stage.notices();
    stage.loses("bob");
    let [update, ..] = &stage.told()[..] else { panic!() };
    assert_eq!(*update, h("member.updated bob member suspended"));
    stage.pass(10 * SECOND - Duration::from_nanos(1));
    assert_eq!(stage.room.requests(RequestKind::Application).len(), 1);
    stage.notices();
    stage.pass(Duration::from_nanos(1));
    assert_eq!(
        stage.told(),
        [h("application.closed bob left"), h("member.left bob disconnected")]
    );
}

#[test]
fn row_18_who_comes_back_in_time_goes_on_waiting() {
    let mut stage = Stage::mode(SeatMode::Apply);
    stage.changes(&member("bob"), apply(None));
    stage.loses("bob");
    stage.pass(9 * SECOND);
    assert!(stage.changes(&host(), invite("eve")));
    stage.notices();
    stage.joins("bob", Role::Member);
    assert!(stage.told().contains(&h("member.updated bob member online")));
    stage.pass(10 * SECOND);
    assert_eq!(stage.room.requests(RequestKind::Application).len(), 1);
}

#[test]
fn a_seated_member_without_a_stream_is_listed_until_the_seat_is_gone() {
    let mut stage = Stage::mode(SeatMode::Apply);
    stage.seat(&host(), 1, "bob").unwrap();
    stage.up("bob", SourceKind::Camera);
    stage.loses("bob");
    stage.pass(10 * SECOND);
    let presence = |stage: &Stage| {
        let members = stage.room.members();
        let bob = members.into_iter().find(|member| member.person == person("bob"));
        bob.map(|bob| bob.presence)
    };
    assert_eq!(presence(&stage), Some(Presence::Gone));
    assert_eq!(
        stage.tells(&host(), unseat(1))[2..],
        [h("member.left bob disconnected")]
    );
    assert_eq!(presence(&stage), None);
}

#[test]
fn row_19_moving() {
    let mut stage = Stage::mode(SeatMode::Apply);
    for (index, name) in [(1, "bob"), (2, "eve")] {
        stage.seat(&host(), index, name).unwrap();
        stage.up(name, SourceKind::Camera);
    }
    stage.changes(&host(), mute_audio(1, true));
    let version = stage.room.version;
    assert_eq!(
        stage.tells(&admin(), shift(1, 3, MovePolicy::Abort))[0],
        "* seats.changed 1>3bob"
    );
    assert_eq!(stage.room.version, version + 1);
    assert!(stage.flags(3).audio_muted && !stage.flags(1).audio_muted);
    assert_eq!(stage.code(&host(), shift(3, 2, MovePolicy::Abort)), Code::SeatOccupied);
    assert_eq!(
        stage.tells(&host(), shift(3, 2, MovePolicy::Swap))[0],
        "* seats.changed 3>2bob 2>3eve"
    );
    assert_eq!(
        stage.tells(&host(), shift(3, 2, MovePolicy::Replace))[..2],
        ["bob seat.kicked 2 replaced", "* seats.changed -2bob replaced 3>2eve"]
    );
    assert_eq!(stage.code(&member("bob"), apply(None)), Code::Cooldown);
    assert!(
        matches!(stage.occupancy(2), Occupancy::Occupied { .. }),
        "transports stay up"
    );
    for (from, to, code) in [
        (0, 3, Code::SeatIndexInvalid),
        (2, 0, Code::SeatIndexInvalid),
        (2, 10, Code::SeatIndexInvalid),
        (4, 5, Code::Conflict),
    ] {
        assert_eq!(stage.code(&host(), shift(from, to, MovePolicy::Swap)), code);
    }
    stage.changes(&host(), lock(5, true));
    assert_eq!(stage.code(&host(), shift(2, 5, MovePolicy::Replace)), Code::SeatLocked);
    assert!(!stage.changes(&host(), shift(2, 2, MovePolicy::Abort)));
}

#[test]
fn row_19_who_may_move_whom() {
    let mut stage = Stage::mode(SeatMode::Apply);
    stage.seat(&host(), 1, "bob").unwrap();
    stage.seat(&host(), 2, "other").unwrap();
    assert_eq!(
        stage.code(&member("bob"), shift(1, 3, MovePolicy::Abort)),
        Code::PermissionDenied
    );
    let policies = policies(|p| p.self_move = true);
    stage.changes(&host(), update(|patch| patch.policies = Some(policies)));
    assert!(stage.changes(&member("bob"), shift(1, 3, MovePolicy::Abort)));
    for policy in [MovePolicy::Abort, MovePolicy::Swap, MovePolicy::Replace] {
        assert_eq!(stage.code(&member("bob"), shift(3, 2, policy)), Code::SeatOccupied);
    }
    for policy in [MovePolicy::Swap, MovePolicy::Replace] {
        assert_eq!(
            stage.code(&admin(), shift(3, 2, policy)),
            Code::PermissionDenied,
            "another admin sits there"
        );
    }
    assert_eq!(
        stage.code(&admin(), shift(2, 4, MovePolicy::Abort)),
        Code::PermissionDenied
    );
    assert!(stage.changes(&host(), shift(2, 4, MovePolicy::Abort)));
}

#[test]
fn row_20_the_host_is_away_and_back() {
    let mut stage = Stage::mode(SeatMode::Apply);
    stage.up("host", SourceKind::Camera);
    assert_eq!(stage.told(), ["* seat.connected 0", "* room.updated live"]);
    stage.lost("host", SourceKind::Camera);
    assert_eq!(stage.told(), ["* seat.suspended 0", "* host.away"]);
    stage.up("host", SourceKind::Camera);
    assert_eq!(stage.told(), ["* seat.resumed 0", "* host.back"]);
    stage.lost("host", SourceKind::Camera);
    stage.changes(&member("bob"), apply(None));
    stage.changes(
        &host(),
        update(|patch| patch.policies = Some(policies(|p| p.application_ms = 0))),
    );
    stage.seat(&host(), 1, "eve").unwrap();
    stage.up("eve", SourceKind::Camera);
    stage.changes(&member("dan"), apply(None));
    stage.pass(59 * SECOND);
    stage.notices();
    stage.pass(SECOND);
    assert_eq!(
        stage.told(),
        [
            "dan application.no_response room_ended".to_owned(),
            h("application.closed dan room_ended"),
            "* seats.changed -1eve room_ended".into(),
            member_seat("eve", "member", ""),
            "* room.ended host_away".into(),
        ]
    );
    assert_eq!(
        stage.room.may_enter(&member("bob"), stage.now).unwrap_err().code,
        Code::RoomEnded
    );
}

fn promoting() -> Stage {
    let mut settings = settings(SeatMode::Apply);
    settings.policies.host_away = HostAwayPolicy::PromoteAdmin;
    let mut stage = Stage::new(settings);
    for (name, role) in [("host", Role::Host), ("other", Role::Admin), ("bob", Role::Member)] {
        stage.joins(name, role);
        stage.pass(SECOND);
    }
    stage.joins("admin", Role::Admin);
    stage.up("host", SourceKind::Camera);
    stage
}

#[test]
fn row_20_the_admin_longest_online_becomes_the_host() {
    let mut stage = promoting();
    stage.seat(&host(), 4, "other").unwrap();
    stage.up("other", SourceKind::Camera);
    stage.lost("host", SourceKind::Camera);
    stage.notices();
    stage.pass(60 * SECOND);
    assert_eq!(
        stage.told(),
        [
            "* seats.changed -0host disconnected 4>0other",
            "* host.changed host other",
            "* room.updated live",
            "admin,host,other member.updated host admin online",
            "admin,host,other member.updated other host online seat 0",
        ]
    );
    assert_eq!(stage.room.phase, Phase::Live);
    assert_eq!(stage.room.settings().host, person("other"));
    assert!(stage.changes(&principal("other", Role::Admin), lock(1, true)));
    assert!(!stage.room.is_as(&settings(SeatMode::Apply)), "the policies differ");
    assert_eq!(
        stage.code(&principal("host", Role::Member), lock(1, false)),
        Code::PermissionDenied
    );
}

#[test]
fn row_20_an_admin_without_a_seat_becomes_a_host_who_has_to_go_live() {
    let mut stage = promoting();
    stage.changes(&principal("other", Role::Admin), apply(None));
    stage.lost("host", SourceKind::Camera);
    stage.pass(29 * SECOND);
    stage.notices();
    stage.pass(31 * SECOND);
    let told = stage.told();
    assert!(told.contains(&"other seat.granted 0".to_owned()), "{told:?}");
    assert!(
        told.contains(&"* seats.changed +0other -0host disconnected".to_owned()),
        "{told:?}"
    );
    assert_eq!(stage.room.phase, Phase::Idle);
    stage.up("other", SourceKind::Camera);
    assert_eq!(stage.room.phase, Phase::Live);
}

#[test]
fn row_20_without_an_admin_online_the_room_ends() {
    let mut stage = promoting();
    stage.loses("other");
    stage.loses("admin");
    stage.lost("host", SourceKind::Camera);
    stage.pass(60 * SECOND);
    assert_eq!(stage.room.phase, Phase::Ended);
}

#[test]
fn row_21_fewer_seats_and_row_14_locks_take_no_more_guests() {
    let mut stage = Stage::mode(SeatMode::Apply);
    stage.seat(&host(), 1, "bob").unwrap();
    stage.seat(&host(), 2, "eve").unwrap();
    stage.changes(&member("dan"), apply(Some(2)));
    assert_eq!(
        stage.tells(&host(), update(|patch| patch.max_guests = Some(1))),
        ["* room.updated idle"]
    );
    assert_eq!(stage.code(&host(), accept("dan")), Code::AllSeatsOccupied);
    stage.changes(&host(), unseat(1));
    assert_eq!(
        stage.code(&host(), accept("dan")),
        Code::AllSeatsOccupied,
        "eve still counts"
    );
    stage.changes(&host(), unseat(2));
    let (request, ..) = answers(&mut stage, &host(), accept("dan"));
    assert_eq!(request.granted, Some(SeatIndex(1)), "seat 2 is no more");
}

#[test]
fn the_signalling_server_takes_over() {
    let mut stage = Stage::mode(SeatMode::Apply);
    stage.changes(&member("bob"), apply(None));
    stage.changes(&host(), invite("eve"));
    assert_eq!(
        stage.tells(&host(), update(|patch| patch.seat_mode = Some(SeatMode::External))),
        [
            "bob application.no_response seats_disabled".to_owned(),
            h("application.closed bob seats_disabled"),
            "host invitation.no_response eve seats_disabled".into(),
            "eve invitation.closed eve seats_disabled".into(),
            "* room.updated idle".into(),
        ]
    );
    stage.changes(&service(), seat(1, "dan"));
    for (by, command) in [
        (member("bob"), apply(None)),
        (host(), accept("bob")),
        (host(), reject("bob")),
        (host(), invite("bob")),
        (member("eve"), accept_invitation()),
        (host(), shift(1, 2, MovePolicy::Abort)),
        (member("dan"), hang_up("dan")),
    ] {
        assert_eq!(stage.code(&by, command.clone()), Code::SeatsDisabled, "{command:?}");
    }
    assert!(stage.changes(&service(), shift(1, 2, MovePolicy::Abort)));
}

#[test]
fn an_assignment_tells_each_it_concerns_and_all_of_one_change() {
    let mut stage = Stage::mode(SeatMode::Apply);
    for (index, name) in [(1, "bob"), (2, "eve")] {
        stage.seat(&host(), index, name).unwrap();
    }
    stage.changes(&member("dan"), apply(None));
    let told = stage.tells(&service(), assign(&[(1, "eve"), (3, "dan")]));
    assert_eq!(
        told[..4],
        [
            "bob seat.kicked 1 assigned".to_owned(),
            h("application.closed dan already_seated"),
            "dan seat.granted 3".into(),
            "* seats.changed +3dan -1bob assigned 2>1eve".into(),
        ]
    );
    assert!(stage.changes(&member("bob"), apply(None)), "no cooldown");
}
