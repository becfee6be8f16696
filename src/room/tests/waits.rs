//! Reservations, graces, the host away, and the ends of a room.

use super::*;

#[test]
fn an_unused_reservation_ends() {
    let mut stage = Stage::mode(SeatMode::Apply);
    stage.seat(&host(), 1, "bob").unwrap();
    stage.events();
    stage.pass(15 * SECOND - Duration::from_nanos(1));
    assert!(stage.permission("bob").is_some());
    stage.pass(Duration::from_nanos(1));
    assert_eq!(stage.occupancy(1), Occupancy::Empty);
    assert_eq!(stage.permission("bob"), None);
    assert_eq!(
        stage.changes_of_seats().0,
        [departure(1, "bob", LeaveReason::MediaTimeout)]
    );
    stage.up("bob", SourceKind::Camera);
    assert_eq!(stage.occupancy(1), Occupancy::Empty, "too late");
}

#[test]
fn a_lost_guest_is_held_for_the_grace_and_resumes() {
    let mut stage = Stage::mode(SeatMode::Apply);
    stage.seat(&host(), 1, "bob").unwrap();
    stage.up("bob", SourceKind::Camera);
    stage.up("bob", SourceKind::Screen);
    let occupied = stage.occupancy(1);
    assert!(matches!(occupied, Occupancy::Occupied { .. }));
    let version = stage.room.version;
    stage.lost("bob", SourceKind::Screen);
    assert_eq!(
        (stage.occupancy(1), stage.room.version),
        (occupied, version),
        "only the screen went"
    );
    stage.lost("bob", SourceKind::Camera);
    assert_eq!(
        stage.occupancy(1),
        Occupancy::Held {
            person: person("bob"),
            until: Some(stage.now + 15 * SECOND)
        }
    );
    stage.lost("bob", SourceKind::Camera);
    stage.pass(14 * SECOND);
    stage.up("bob", SourceKind::Camera);
    stage.pass(20 * SECOND);
    assert!(matches!(stage.occupancy(1), Occupancy::Occupied { .. }));
    stage.lost("bob", SourceKind::Camera);
    stage.events();
    stage.pass(15 * SECOND);
    assert_eq!(
        stage.changes_of_seats().0,
        [departure(1, "bob", LeaveReason::Disconnected)]
    );
}

#[test]
fn a_grace_of_zero_frees_at_once() {
    let mut settings = settings(SeatMode::Apply);
    settings.policies.grace_ms = 0;
    let mut stage = Stage::new(settings);
    stage.seat(&service(), 1, "bob").unwrap();
    stage.up("bob", SourceKind::Camera);
    stage.lost("bob", SourceKind::Camera);
    assert_eq!(stage.occupancy(1), Occupancy::Empty);
}

#[test]
fn the_host_goes_live_away_back_and_the_room_ends() {
    for host_away in [HostAwayPolicy::End, HostAwayPolicy::PromoteAdmin] {
        let mut settings = settings(SeatMode::Apply);
        settings.policies.host_away = host_away;
        let mut stage = Stage::new(settings);
        stage.pass(60 * SECOND);
        stage.up("host", SourceKind::Camera);
        assert_eq!(stage.room.phase, Phase::Live);
        stage.seat(&service(), 1, "bob").unwrap();
        stage.up("bob", SourceKind::Camera);
        stage.lost("host", SourceKind::Camera);
        assert_eq!(stage.room.phase, Phase::HostAway);
        stage.pass(59 * SECOND);
        stage.up("host", SourceKind::Screen);
        assert_eq!(stage.room.phase, Phase::Live);
        stage.lost("host", SourceKind::Screen);
        stage.pass(59 * SECOND);
        assert!(stage.permission("bob").is_some(), "guests stay");
        stage.pass(SECOND);
        assert_eq!(stage.room.phase, Phase::Ended);
        assert_eq!(
            stage.room.desired(),
            Desired {
                ended: true,
                ..Default::default()
            }
        );
        assert_eq!(stage.code(&service(), seat(1, "eve")), Code::RoomEnded);
        assert_eq!(stage.code(&host(), Command::End), Code::RoomEnded);
        stage.up("host", SourceKind::Camera);
        assert_eq!(stage.room.phase, Phase::Ended);
    }
}

#[test]
fn an_empty_room_ends_and_use_holds_that_off() {
    let mut stage = Stage::new(settings(SeatMode::Apply));
    stage.pass(599 * SECOND);
    stage.room.handle_audience(1, 1, stage.now);
    stage.pass(10_000 * SECOND);
    stage.up("host", SourceKind::Camera);
    stage.room.handle_audience(0, 0, stage.now);
    stage.pass(10_000 * SECOND);
    assert_eq!(stage.room.phase, Phase::Live);
    assert!(stage.changes(
        &host(),
        update(|patch| patch.policies = Some(all(policies(|p| p.empty_room_ms = 30_000))))
    ));
    stage.lost("host", SourceKind::Camera);
    stage.pass(29 * SECOND);
    assert_eq!(stage.room.phase, Phase::HostAway);
    stage.pass(SECOND);
    assert_eq!(stage.room.phase, Phase::Ended);

    let mut settings = settings(SeatMode::Apply);
    settings.policies.empty_room_ms = 0;
    let mut stage = Stage::new(settings);
    stage.pass(1_000_000 * SECOND);
    assert_eq!(stage.room.phase, Phase::Idle, "0 is never");
}

#[test]
fn ending_is_for_host_and_service() {
    for (by, ends) in [
        (service(), true),
        (host(), true),
        (admin(), false),
        (member("bob"), false),
    ] {
        let mut stage = Stage::mode(SeatMode::Apply);
        stage.seat(&host(), 1, "bob").unwrap();
        let outcome = stage.run(&by, Command::End).map_err(|refusal| refusal.code);
        assert_eq!(outcome.is_ok(), ends, "{by:?} {outcome:?}");
        assert_eq!(stage.room.phase == Phase::Ended, ends);
    }
}
