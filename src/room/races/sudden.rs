//! Races with what nobody commands: transports, streams, time, and the server's own end.

use super::*;

fn held(run: &Run, index: usize) -> bool {
    matches!(run.occupancy(index), Occupancy::Held { .. })
}

fn occupied(run: &Run, index: usize) -> bool {
    matches!(run.occupancy(index), Occupancy::Occupied { .. })
}

/// "Held for the grace; a new WHIP POST by the same user resumes the same seat."
#[test]
fn a_guest_crashes_and_returns() {
    race(
        || after(room(), [seat(service(), 2, "bob"), Act::Up("bob")]),
        &[
            vec![Act::Lost("bob"), Act::Up("bob")],
            vec![Act::Pass(15_000)],
            vec![seat(service(), 2, "eve")],
        ],
        |run| {
            let late = run.before((0, 0), (1, 0)) && run.before((1, 0), (0, 1));
            if late {
                run.sits("bob", None);
                assert!(!run.may_publish("bob"));
                assert_eq!(run.answer((2, 0)).is_ok(), run.before((1, 0), (2, 0)));
            } else {
                run.sits("bob", Some(2));
                assert!(occupied(run, 2));
                run.refused((2, 0), Code::SeatOccupied);
                let resumed = |event: &Event| matches!(event, Event::SeatConnected { resumed: true, .. });
                assert!(run.told((0, 1), "dan", resumed));
            }
        },
    );
}

/// Row 17: a reservation that is not used in time.
#[test]
fn a_reservation_ends_while_the_transport_comes_up() {
    race(
        || after(room(), [apply("bob"), accept(host(), "bob")]),
        &[vec![Act::Pass(14_999), Act::Pass(1)], vec![Act::Up("bob")]],
        |run| {
            let late = run.before((0, 1), (1, 0));
            run.sits("bob", (!late).then_some(1));
            let kicked = |event: &Event| {
                matches!(
                    event,
                    Event::SeatKicked {
                        reason: LeaveReason::MediaTimeout,
                        ..
                    }
                )
            };
            assert_eq!(run.told((0, 1), "bob", kicked), late);
        },
    );
}

/// "The newest transport of the same source wins, the seat is kept": the old one's end is not the guest's.
#[test]
fn two_devices() {
    race(
        || after(room(), [seat(service(), 1, "bob"), Act::Up("bob")]),
        &[
            vec![Act::Up("bob")],
            vec![Act::Lost("bob")],
            vec![kick(host(), 2, None, None)],
        ],
        |run| {
            run.sits("bob", Some(1));
            assert!(occupied(run, 1));
        },
    );
}

/// Camera and screen are two transports of one seat.
#[test]
fn a_lost_screen_is_not_a_lost_guest() {
    let kinds = [SourceKind::Camera, SourceKind::Screen];
    for lost in kinds {
        let mut twin = after(room(), [seat(service(), 1, "bob")]);
        for kind in kinds {
            twin.transport(TransportNews::Up {
                user: user("bob"),
                kind,
            });
        }
        twin.transport(TransportNews::Lost {
            user: user("bob"),
            kind: lost,
        });
        let seats = twin.room.snapshot(twin.now).seats;
        assert!(matches!(seats[1].occupancy, Occupancy::Occupied { .. }));
    }
}

/// The host is back, or away too long.
#[test]
fn the_host_returns_while_the_wait_ends() {
    race(
        || {
            after(
                room(),
                [
                    Act::Up("host"),
                    seat(service(), 1, "bob"),
                    Act::Up("bob"),
                    Act::Lost("host"),
                ],
            )
        },
        &[vec![Act::Pass(60_000)], vec![Act::Up("host")], vec![leave_seat("bob")]],
        |run| {
            let ended = run.before((0, 0), (1, 0));
            let phase = run.twin.room.snapshot(run.twin.now).phase;
            assert_eq!(phase, if ended { Phase::Ended } else { Phase::Live });
            run.sits("bob", None.filter(|_: &usize| true));
            if ended && run.before((0, 0), (2, 0)) {
                run.refused((2, 0), Code::RoomEnded);
            }
            let back = |event: &Event| matches!(event, Event::HostBack { .. });
            assert_eq!(run.told((1, 0), "bob", back), !ended);
        },
    );
}

/// The same where the admin longest here takes over.
#[test]
fn the_host_returns_while_an_admin_is_promoted() {
    race(
        || {
            let twin = room_with(|policies| policies.host_away = HostAwayPolicy::PromoteAdmin);
            after(
                twin,
                [
                    Act::Up("host"),
                    seat(service(), 1, "ann"),
                    Act::Up("ann"),
                    Act::Lost("host"),
                ],
            )
        },
        &[
            vec![Act::Pass(60_000)],
            vec![Act::Up("host")],
            vec![Act::Lost("ann"), Act::Up("ann")],
        ],
        |run| {
            let promoted = run.before((0, 0), (1, 0));
            let snapshot = run.twin.room.snapshot(run.twin.now);
            let ann_held_out = run.before((2, 0), (0, 0)) && run.before((0, 0), (2, 1));
            if !promoted {
                assert_eq!(snapshot.settings.host, person("host"));
                run.sits("host", Some(0));
                return;
            }
            if !ann_held_out {
                assert_eq!(snapshot.settings.host, person("ann"));
                run.sits("ann", Some(0));
                run.sits("host", None);
                assert!(!run.may_publish("host"));
                assert_eq!(snapshot.phase, Phase::Live);
                let changed = |event: &Event| matches!(event, Event::HostChanged { .. });
                assert!(run.told((0, 0), "dan", changed));
            }
        },
    );
}

/// A lost stream of somebody seated: the seat is the transport's matter, not the stream's.
#[test]
fn the_stream_of_the_seated_is_lost() {
    race(
        || after(room(), [seat(service(), 1, "bob"), Act::Up("bob"), Act::Lose("bob")]),
        &[vec![Act::Pass(10_000)], vec![leave_seat("bob")]],
        |run| {
            run.sits("bob", None);
            let members = run.twin.room.members();
            let listed = members.iter().any(|member| member.person.user == user("bob"));
            assert!(!listed, "off the seat and without a stream is off the list");
            let left = |event: &Event| matches!(event, Event::MemberLeft { .. });
            assert!(run.told(run.order[1], "host", left));
            assert!(!run.told(run.order[0], "host", left));
        },
    );
}

/// The server ends without notice at every point of a guest's way: what was committed is there again.
#[test]
fn the_server_crashes_along_the_way() {
    race(
        room,
        &[
            vec![
                apply("bob"),
                accept(host(), "bob"),
                Act::Up("bob"),
                Act::Lost("bob"),
                Act::Up("bob"),
            ],
            vec![Act::Crash(2_000), Act::Join(guest("bob"))],
        ],
        |run| {
            let crash = (1, 0);
            assert!(run.answer((0, 1)).is_ok() || run.before(crash, (0, 0)));
            if run.before((0, 0), crash) || run.before((1, 1), (0, 0)) {
                assert!(run.seat_of("bob") == Some(1));
            }
            if run.before((0, 4), crash) {
                assert!(held(run, 1), "a transport does not survive its server");
            } else if run.seat_of("bob").is_some() {
                assert!(occupied(run, 1));
            }
        },
    );
}

/// Pending requests keep their id and their time over a restart; the applicant has ten seconds to be back.
#[test]
fn an_applicant_returns_after_a_restart() {
    race(
        || after(room(), [apply("bob"), Act::Crash(3_000)]),
        &[
            vec![Act::Pass(10_000)],
            vec![Act::Join(guest("bob"))],
            vec![accept_of(host(), "bob", Some(1))],
        ],
        |run| {
            let gone = run.before((0, 0), (1, 0)) && run.before((0, 0), (2, 0));
            if gone {
                run.refused((2, 0), Code::RequestCancelled);
            } else {
                run.ok((2, 0));
            }
            run.sits("bob", (!gone).then_some(1));
        },
    );
}

/// What ran out while the server was down has run out.
#[test]
fn a_request_expires_while_the_server_is_down() {
    race(
        || after(room(), [apply("bob"), seat(service(), 2, "eve")]),
        &[vec![Act::Crash(40_000)], vec![accept(host(), "bob")]],
        |run| {
            if run.before((0, 0), (1, 0)) {
                assert!(run.answer((1, 0)).is_err());
                run.sits("bob", None);
            }
            run.sits("eve", None);
        },
    );
}

/// Found by the simulation: what was heard of a host's source without a transport outlived the host's seat.
#[test]
fn late_media_of_a_host_who_is_replaced() {
    let twin = room_with(|policies| policies.host_away = HostAwayPolicy::PromoteAdmin);
    let mut twin = after(twin, [Act::Up("host"), Act::Lost("host")]);
    let status = SourceStatus {
        audio: true,
        video: true,
        ..SourceStatus::default()
    };
    twin.media(MediaNews {
        user: user("host"),
        kind: SourceKind::Camera,
        status: Some(status),
    });
    let twin = after(twin, [Act::Pass(60_000), seat(service(), 4, "host"), Act::Up("host")]);
    assert!(
        twin.room.snapshot(twin.now).sources.is_empty(),
        "nothing is known of this transport yet"
    );
}
