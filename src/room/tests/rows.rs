//! SEATS "Transitions", row by row, with every event and its recipients. The hosts are `admin`, `host` and `other`.

mod seated;

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
    stage.room.handle_capacity(Capacity {
        guests: 0,
        why: "full".into(),
    });
    assert_eq!(stage.code(&host(), accept("bob")), Code::CapacityExhausted);
    assert_eq!(stage.code(&host(), invite("eve")), Code::CapacityExhausted);
    assert_eq!(stage.code(&service(), seat(1, "eve")), Code::CapacityExhausted);
    assert_eq!(stage.code(&service(), assign(&[(1, "eve")])), Code::CapacityExhausted);
    stage.room.handle_capacity(Capacity::default());
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
