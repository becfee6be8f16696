//! Races about seats: who sits where when several change it.

use super::*;

/// "`?user=` in the call: another occupant → 409 `conflict`."
#[test]
fn kick_a_seat_while_its_occupant_changes() {
    race(
        || after(room(), [seat(service(), 3, "bob")]),
        &[
            vec![leave_seat("bob")],
            vec![seat(service(), 3, "eve")],
            vec![kick(host(), 3, Some("bob"), None)],
        ],
        |run| {
            let left = run.before((0, 0), (2, 0));
            if left {
                run.refused((2, 0), Code::Conflict);
            } else {
                run.ok((2, 0));
            }
            let free = run.before((0, 0), (1, 0)) || run.before((2, 0), (1, 0));
            if free {
                run.ok((1, 0));
            } else {
                run.refused((1, 0), Code::SeatOccupied);
            }
            run.sits("eve", free.then_some(3));
            run.sits("bob", None);
        },
    );
}

/// "Or `if_version`": whatever happened meanwhile, the kick meant another room.
#[test]
fn kick_a_seat_at_a_version() {
    let fresh = || after(room(), [seat(service(), 3, "bob")]);
    let version = fresh().room.version();
    race(
        fresh,
        &[
            vec![leave_seat("bob"), seat(service(), 3, "eve")],
            vec![kick(host(), 3, None, Some(version))],
        ],
        |run| {
            if run.before((1, 0), (0, 0)) {
                run.ok((1, 0));
            } else {
                run.refused((1, 0), Code::VersionConflict);
                assert!(run.refusal((1, 0)).version > Some(version));
            }
            run.sits("eve", Some(3));
        },
    );
}

/// Two edits of one version: the first commits, the others name the version there is.
#[test]
fn edits_of_one_version() {
    let fresh = room;
    let version = fresh().room.version();
    race(
        fresh,
        &[
            vec![seat_at(service(), 1, "bob", Some(version))],
            vec![seat_at(host(), 2, "eve", Some(version))],
            vec![seat_at(ann(), 3, "dan", Some(version))],
        ],
        |run| {
            for (place, at) in run.order.iter().enumerate() {
                if place == 0 {
                    run.ok(*at);
                } else {
                    run.refused(*at, Code::VersionConflict);
                    assert_eq!(run.refusal(*at).version, Some(version + 1));
                }
            }
        },
    );
}

/// Comings and goings of streams void nobody's version.
#[test]
fn people_come_and_go_while_a_version_is_edited() {
    let fresh = room;
    let version = fresh().room.version();
    race(
        fresh,
        &[
            vec![seat_at(service(), 1, "bob", Some(version))],
            vec![Act::Lose("eve"), Act::Join(guest("eve"))],
            vec![Act::Pass(1_000)],
        ],
        |run| {
            run.ok((0, 0));
        },
    );
}

/// "Empty; a late WHIP POST gets 403 `not_seated`": a transport that comes up late changes nothing.
#[test]
fn kick_while_reserved_and_a_late_transport() {
    race(
        || after(room(), [apply("bob"), accept(host(), "bob")]),
        &[
            vec![kick(host(), 1, None, None)],
            vec![Act::Up("bob"), Act::Lost("bob")],
            vec![apply("bob")],
        ],
        |run| {
            run.sits("bob", None);
            assert_eq!(run.occupancy(1), Occupancy::Empty);
            assert!(!run.may_publish("bob"));
            let code = if run.before((0, 0), (2, 0)) {
                Code::Cooldown
            } else {
                Code::AlreadySeated
            };
            run.refused((2, 0), code);
            let kicked = |event: &Event| {
                matches!(
                    event,
                    Event::SeatKicked {
                        reason: LeaveReason::Kicked,
                        ..
                    }
                )
            };
            assert!(run.told((0, 0), "bob", kicked) && !run.told((0, 0), "eve", kicked));
        },
    );
}

/// A swap and a kick of one of the two: by name it hits the one meant, wherever the swap put them.
#[test]
fn swap_and_kick() {
    race(
        || after(room(), [seat(service(), 1, "bob"), seat(service(), 2, "eve")]),
        &[
            vec![shift(host(), 1, 2, MovePolicy::Swap)],
            vec![kick(ann(), 1, Some("bob"), None)],
            vec![leave_seat("eve")],
        ],
        |run| {
            let swapped = run.answer((0, 0)).is_ok();
            let swap_first = run.before((0, 0), (1, 0));
            assert_eq!(swapped, swap_first, "nobody is left to be moved once kicked");
            if swap_first {
                run.refused((1, 0), Code::Conflict);
                run.sits("bob", Some(2));
            } else {
                run.ok((1, 0));
                run.sits("bob", None);
            }
            run.ok((2, 0));
            run.sits("eve", None);
        },
    );
}

/// Swaps of three seats at once lose nobody.
#[test]
fn swaps_in_a_ring() {
    race(
        || {
            let people = [
                seat(service(), 1, "bob"),
                seat(service(), 2, "eve"),
                seat(service(), 3, "dan"),
            ];
            after(room(), people.into_iter().chain([Act::Up("bob"), Act::Up("dan")]))
        },
        &[
            vec![shift(host(), 1, 2, MovePolicy::Swap)],
            vec![shift(ann(), 2, 3, MovePolicy::Swap)],
            vec![shift(service(), 3, 1, MovePolicy::Swap)],
        ],
        |run| {
            let mut seats: Vec<_> = ["bob", "eve", "dan"].iter().map(|name| run.seat_of(name)).collect();
            for name in ["bob", "dan"] {
                let seat = run.seat_of(name).unwrap();
                assert!(
                    matches!(run.occupancy(seat), Occupancy::Occupied { .. }),
                    "transports stay up"
                );
            }
            let eve = run.seat_of("eve").unwrap();
            assert!(matches!(run.occupancy(eve), Occupancy::Reserved { .. }));
            seats.sort();
            assert_eq!(seats, [Some(1), Some(2), Some(3)]);
        },
    );
}

/// Two guests want the same free seat, by themselves.
#[test]
fn two_guests_move_to_one_seat() {
    race(
        || {
            let twin = room_with(|policies| policies.self_move = true);
            after(twin, [seat(service(), 1, "bob"), seat(service(), 2, "eve")])
        },
        &[
            vec![shift(guest("bob"), 1, 3, MovePolicy::Abort)],
            vec![shift(guest("eve"), 2, 3, MovePolicy::Abort)],
            vec![lock(host(), 3)],
        ],
        |run| {
            let order: Vec<usize> = run.order.iter().map(|at| at.0).collect();
            match order[0] {
                0 => {
                    run.ok((0, 0));
                    assert!([Code::SeatOccupied, Code::SeatLocked].contains(&run.refusal((1, 0)).code));
                    run.sits("bob", None);
                    run.sits("eve", Some(2));
                }
                1 => {
                    run.ok((1, 0));
                    run.sits("eve", None);
                    run.sits("bob", Some(1));
                }
                _ => {
                    run.refused((0, 0), Code::SeatLocked);
                    run.refused((1, 0), Code::SeatLocked);
                }
            }
        },
    );
}

/// "A named seat taken meanwhile → policy `fallback_any`."
#[test]
fn the_seat_wanted_is_locked_or_taken_meanwhile() {
    race(
        || after(room(), [apply_for("bob", Some(2))]),
        &[vec![lock(host(), 2)], vec![accept(ann(), "bob")]],
        |run| {
            if run.before((0, 0), (1, 0)) {
                run.sits("bob", Some(1));
            } else {
                run.sits("bob", None);
            }
        },
    );
    race(
        || after(room(), [apply_for("bob", Some(2))]),
        &[vec![seat(service(), 2, "eve")], vec![accept(ann(), "bob")]],
        |run| {
            let taken = run.before((0, 0), (1, 0));
            run.sits("bob", Some(if taken { 1 } else { 2 }));
            run.sits("eve", taken.then_some(2));
        },
    );
}

/// "Else `seat_occupied`."
#[test]
fn without_a_fallback_the_seat_wanted_is_the_only_one() {
    race(
        || {
            after(
                room_with(|policies| policies.fallback_any = false),
                [apply_for("bob", Some(2))],
            )
        },
        &[vec![seat(service(), 2, "eve")], vec![accept(ann(), "bob")]],
        |run| {
            if run.before((0, 0), (1, 0)) {
                run.refused((1, 0), Code::SeatOccupied);
                assert_eq!(run.pending("bob"), [RequestKind::Application]);
                run.sits("bob", None);
            } else {
                run.refused((0, 0), Code::SeatOccupied);
                run.sits("bob", Some(2));
            }
        },
    );
}

/// Free seats: two guests at one seat, one guest at two.
#[test]
fn free_seats_are_for_the_first() {
    let free = || room_of(settings(SeatMode::Free));
    let parties = [
        vec![seat(guest("bob"), 1, "bob")],
        vec![seat(guest("eve"), 1, "eve")],
        vec![seat(guest("dan"), 1, "dan")],
    ];
    race(free, &parties, |run| {
        run.ok(run.order[0]);
        run.refused(run.order[1], Code::SeatOccupied);
        run.refused(run.order[2], Code::SeatOccupied);
    });
    let parties = [
        vec![seat(guest("bob"), 1, "bob")],
        vec![seat(guest("bob"), 2, "bob")],
        vec![apply("bob")],
    ];
    race(free, &parties, |run| {
        run.ok(run.order[0]);
        // Any seat is seat 1 here: asking for the seat one has is no second wish.
        let first = usize::from(run.order[0] == (1, 0)) + 1;
        run.sits("bob", Some(first));
        assert_eq!(run.joined("bob"), 1);
        for at in &run.order[1..] {
            if *at == (0, 0) && first == 1 {
                run.ok(*at);
            } else {
                run.refused(*at, Code::AlreadySeated);
            }
        }
    });
}

/// "Nobody is removed; no new accept until below."
#[test]
fn max_guests_is_lowered_while_people_are_accepted() {
    race(
        || after(room(), [apply("bob"), apply("eve")]),
        &[
            vec![update(|patch| patch.max_guests = Some(1))],
            vec![accept(host(), "bob")],
            vec![accept(ann(), "eve")],
        ],
        |run| {
            let mut seated = 0;
            for at in run.order.iter().filter(|at| at.0 > 0) {
                if run.before((0, 0), *at) && seated >= 1 {
                    run.refused(*at, Code::AllSeatsOccupied);
                } else {
                    run.ok(*at);
                    seated += 1;
                }
            }
        },
    );
}

/// The complete assignment against single commands: it is one step.
#[test]
fn an_assignment_and_a_kick() {
    let assign = || {
        let seats = BTreeMap::from([(SeatIndex(1), Some(person("eve"))), (SeatIndex(2), Some(person("bob")))]);
        Act::Do(
            service(),
            Command::Assign {
                seats,
                if_version: None,
            },
        )
    };
    race(
        || after(room(), [seat(service(), 1, "bob"), apply("eve")]),
        &[
            vec![assign(), assign()],
            vec![kick(host(), 1, Some("bob"), None)],
            vec![accept(ann(), "eve")],
        ],
        |run| {
            let last = *run.order.last().unwrap();
            if last == (0, 1) {
                run.sits("bob", Some(2));
                run.sits("eve", Some(1));
            }
            if run.before((0, 0), (1, 0)) {
                run.refused((1, 0), Code::Conflict);
            }
            assert!(run.pending("eve").is_empty());
            // Twice the same is once.
            if run.order.windows(2).any(|pair| pair == [(0, 0), (0, 1)]) {
                let again = run.answer((0, 1)).as_ref().unwrap();
                assert!(!again.changed);
            }
        },
    );
}

/// A ban and everything the banned may try.
#[test]
fn a_ban_and_an_application() {
    let ban = Some(Duration::from_secs(60));
    race(
        room,
        &[
            vec![apply("bob")],
            vec![remove(host(), "bob", ban)],
            vec![invite(ann(), "bob")],
        ],
        |run| {
            if run.before((1, 0), (0, 0)) {
                assert!([Code::NotInRoom, Code::Banned].contains(&run.refusal((0, 0)).code));
            }
            if run.before((1, 0), (2, 0)) {
                assert!([Code::NotInRoom, Code::Banned].contains(&run.refusal((2, 0)).code));
            }
            run.sits("bob", None);
            assert!(run.pending("bob").is_empty());
            let enters = run.twin.room.may_enter(&guest("bob"), run.twin.now);
            assert_eq!(enters.unwrap_err().code, Code::Banned);
        },
    );
}
