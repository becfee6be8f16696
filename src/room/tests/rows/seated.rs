//! Rows 11 to 22: what happens on seats and to whom, once somebody sits there.

use super::*;

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
fn row_11_hosts_are_told_when_the_program_shows_somebody() {
    let mut stage = Stage::mode(SeatMode::Apply);
    stage.seat(&host(), 1, "bob").unwrap();
    stage.notices();
    let drawn = |stage: &mut Stage, user: &str| stage.room.handle_first_frame(&UserId::parse(user).unwrap(), stage.now);
    drawn(&mut stage, "bob");
    assert!(stage.told().is_empty(), "nothing of theirs is up");
    stage.up("bob", SourceKind::Camera);
    stage.notices();
    drawn(&mut stage, "bob");
    drawn(&mut stage, "eve");
    let told = stage.told();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].ends_with(" seat.first_frame 1") && !told[0].starts_with('*'),
        "{told:?}"
    );
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
    stage.changes(&host(), update(|patch| patch.policies = Some(all(policies))));
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
        update(|patch| patch.policies = Some(all(policies(|p| p.application_ms = 0)))),
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
