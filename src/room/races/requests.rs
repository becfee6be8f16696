//! Races about one request: who answers first.

use super::*;

/// "The first commits; the second gets success with `already_processed_by`."
#[test]
fn two_hosts_accept() {
    let parties = [
        vec![accept(host(), "bob")],
        vec![accept(ann(), "bob")],
        vec![accept(service(), "bob")],
    ];
    race(
        || after(room(), [apply("bob")]),
        &parties,
        |run| {
            let by = |at: At| match at.0 {
                0 => person("host"),
                1 => person("ann"),
                _ => person("backend"),
            };
            for (place, at) in run.order.iter().enumerate() {
                let (request, granted, already) = answered(run.ok(*at));
                assert_eq!(request.state, RequestState::Accepted);
                assert_eq!(granted.map(|granted| granted.seat), Some(SeatIndex(1)));
                let first = by(run.order[0]);
                assert_eq!(already.cloned(), (place > 0).then_some(first));
            }
            run.sits("bob", Some(1));
            assert_eq!(run.joined("bob"), 1);
        },
    );
}

/// "The first wins; the second gets 409 `conflict{processed_by, decision}`."
#[test]
fn one_accepts_and_one_rejects() {
    race(
        || after(room(), [apply("bob")]),
        &[vec![accept(host(), "bob")], vec![reject(ann(), "bob")]],
        |run| {
            let accepted = run.before((0, 0), (1, 0));
            let (late, by, decision) = if accepted {
                ((1, 0), person("host"), RequestState::Accepted)
            } else {
                ((0, 0), person("ann"), RequestState::Rejected)
            };
            run.refused(late, Code::Conflict);
            let refusal = run.refusal(late);
            assert_eq!(
                (refusal.processed_by.clone(), refusal.decision),
                (Some(Box::new(by)), Some(decision))
            );
            run.sits("bob", accepted.then_some(1));
        },
    );
}

/// An accept, a reject and the guest's own withdrawal at once: whoever is first wins, the others are told how.
#[test]
fn accept_reject_and_cancel() {
    race(
        || after(room(), [apply("bob")]),
        &[
            vec![accept(host(), "bob")],
            vec![reject(ann(), "bob")],
            vec![cancel("bob")],
        ],
        |run| {
            match run.order[0].0 {
                0 => {
                    run.refused((1, 0), Code::Conflict);
                    run.refused((2, 0), Code::AlreadyAccepted);
                }
                1 => {
                    run.refused((0, 0), Code::Conflict);
                    assert!(run.answer((2, 0)).is_err());
                }
                _ => {
                    run.refused((0, 0), Code::RequestCancelled);
                    run.refused((1, 0), Code::RequestCancelled);
                }
            }
            run.sits("bob", (run.order[0].0 == 0).then_some(1));
            assert!(run.pending("bob").is_empty());
        },
    );
}

/// "Cancel first → accept fails `request_cancelled`; accept first → cancel returns `already_accepted{seat}` and the guest
/// leaves explicitly."
#[test]
fn the_guest_cancels_while_the_host_accepts() {
    race(
        || after(room(), [apply("bob")]),
        &[vec![cancel("bob"), leave_seat("bob")], vec![accept(host(), "bob")]],
        |run| {
            if run.before((0, 0), (1, 0)) {
                run.refused((1, 0), Code::RequestCancelled);
                run.sits("bob", None);
            } else {
                run.refused((0, 0), Code::AlreadyAccepted);
                assert_eq!(run.refusal((0, 0)).seat, Some(SeatIndex(1)));
                run.ok((0, 1));
                run.sits("bob", None);
            }
        },
    );
}

/// "One reserved; the other `all_seats_occupied`, its request stays pending."
#[test]
fn the_last_seat_and_three_accepts() {
    let fresh = || {
        let small = Settings {
            max_guests: 1,
            ..settings(SeatMode::Apply)
        };
        after(room_of(small), [apply("bob"), apply("eve"), apply("dan")])
    };
    let names = ["bob", "eve", "dan"];
    let parties = [
        vec![accept(host(), "bob")],
        vec![accept(ann(), "eve")],
        vec![accept(service(), "dan")],
    ];
    race(fresh, &parties, |run| {
        for (place, at) in run.order.iter().enumerate() {
            let name = names[at.0];
            if place == 0 {
                run.ok(*at);
                run.sits(name, Some(1));
                assert!(run.pending(name).is_empty());
            } else {
                run.refused(*at, Code::AllSeatsOccupied);
                run.sits(name, None);
                assert_eq!(run.pending(name), [RequestKind::Application]);
            }
        }
    });
}

/// The one who lost the last seat is accepted once it is free: the request stayed.
#[test]
fn the_last_seat_is_left_again() {
    let fresh = || {
        let small = Settings {
            max_guests: 1,
            ..settings(SeatMode::Apply)
        };
        after(room_of(small), [apply("bob"), accept(host(), "bob"), apply("eve")])
    };
    race(fresh, &[vec![leave_seat("bob")], vec![accept(host(), "eve")]], |run| {
        if run.before((0, 0), (1, 0)) {
            run.ok((1, 0));
            run.sits("eve", Some(1));
        } else {
            run.refused((1, 0), Code::AllSeatsOccupied);
            assert_eq!(run.pending("eve"), [RequestKind::Application]);
        }
    });
}

/// "Server clock at arrival decides: `request_expired`." In two steps up to the very millisecond.
#[test]
fn expiry_while_an_answer_is_on_the_wire() {
    race(
        || after(room(), [apply("bob")]),
        &[
            vec![Act::Pass(29_999), Act::Pass(1)],
            vec![accept(host(), "bob")],
            vec![cancel("bob")],
        ],
        |run| {
            for (at, good) in [((1, 0), Code::RequestExpired), ((2, 0), Code::RequestExpired)] {
                if run.before((0, 1), at) && run.before((0, 1), if at.0 == 1 { (2, 0) } else { (1, 0) }) {
                    run.refused(at, good);
                }
            }
            let accepted = run.before((1, 0), (0, 1)) && run.before((1, 0), (2, 0));
            assert_eq!(run.joined("bob"), usize::from(accepted));
            let expired = run.before((0, 1), (1, 0)) && run.before((0, 1), (2, 0));
            assert_eq!(
                run.told((0, 1), "host", |event| closed(event, ClosedReason::Timeout)),
                expired
            );
            let silent = |event: &Event| matches!(event, Event::ApplicationNoResponse { reason, .. } if *reason == ClosedReason::Timeout);
            assert_eq!(run.told((0, 1), "bob", silent), expired);
        },
    );
}

/// The same for an invitation, which the guest answers.
#[test]
fn an_invitation_expires_while_the_guest_consents() {
    race(
        || after(room(), [invite(ann(), "bob")]),
        &[
            vec![Act::Pass(30_000)],
            vec![consent("bob")],
            vec![cancel_invitation(ann(), "bob")],
        ],
        |run| match run.order[0].0 {
            0 => {
                run.refused((1, 0), Code::RequestExpired);
                run.refused((2, 0), Code::RequestExpired);
                assert!(run.told((0, 0), "ann", |event| no_response(event, ClosedReason::Timeout)));
                assert!(!run.told((0, 0), "host", |event| no_response(event, ClosedReason::Timeout)));
            }
            1 => {
                run.refused((2, 0), Code::AlreadyAccepted);
                assert_eq!(run.joined("bob"), 1);
            }
            _ => run.refused((1, 0), Code::RequestCancelled),
        },
    );
}

/// "Application superseded, H told `application.closed{already_seated}`."
#[test]
fn the_applicant_gets_a_seat_by_another_path() {
    race(
        || after(room(), [apply("bob")]),
        &[
            vec![seat(service(), 3, "bob")],
            vec![accept(ann(), "bob")],
            vec![cancel("bob")],
        ],
        |run| match run.order[0].0 {
            0 => {
                run.ok((0, 0));
                assert!(run.told((0, 0), "host", |event| closed(event, ClosedReason::AlreadySeated)));
                assert!(run.told((0, 0), "ann", |event| closed(event, ClosedReason::AlreadySeated)));
                assert!(run.answer((1, 0)).is_err() && run.answer((2, 0)).is_err());
                run.sits("bob", Some(3));
                assert_eq!(run.joined("bob"), 1);
            }
            1 => {
                run.refused((0, 0), Code::AlreadySeated);
                run.refused((2, 0), Code::AlreadyAccepted);
                run.sits("bob", Some(1));
                assert_eq!(run.joined("bob"), 1);
            }
            _ => {
                run.ok((0, 0));
                run.refused((1, 0), Code::RequestCancelled);
                run.sits("bob", Some(3));
            }
        },
    );
}

/// "An invitation likewise: I `invitation.no_response{reason: already_seated}`."
#[test]
fn the_invited_get_a_seat_by_another_path() {
    race(
        || after(room(), [invite(ann(), "bob")]),
        &[vec![seat(service(), 3, "bob")], vec![consent("bob")]],
        |run| {
            if run.before((0, 0), (1, 0)) {
                assert!(run.told((0, 0), "ann", |event| no_response(event, ClosedReason::AlreadySeated)));
                assert!(!run.told((0, 0), "host", |event| no_response(event, ClosedReason::AlreadySeated)));
                assert!(run.answer((1, 0)).is_err());
                run.sits("bob", Some(3));
            } else {
                run.refused((0, 0), Code::AlreadySeated);
                run.sits("bob", Some(1));
            }
            assert_eq!(run.joined("bob"), 1);
        },
    );
}

/// "Mutual consent: one accept."
#[test]
fn invite_someone_who_applies_and_apply_while_invited() {
    race(room, &[vec![invite(ann(), "bob")], vec![apply("bob")]], |run| {
        let second = run.order[1];
        let (first_request, _, first_matched) = asked(run.ok(run.order[0]));
        assert_eq!((first_request.state, first_matched), (RequestState::Pending, false));
        let (request, deduplicated, matched) = asked(run.ok(second));
        assert_eq!(
            (request.state, deduplicated, matched),
            (RequestState::Accepted, false, true)
        );
        run.sits("bob", Some(1));
        assert!(run.pending("bob").is_empty());
        assert_eq!(run.joined("bob"), 1);
        assert!(run.told(second, "bob", |event| matches!(event, Event::SeatGranted { .. })));
    });
}

/// Consent found, a third party answers what is no longer pending.
#[test]
fn mutual_consent_while_another_host_answers() {
    race(
        || after(room(), [apply("bob")]),
        &[vec![invite(ann(), "bob")], vec![accept(host(), "bob")]],
        |run| {
            if run.before((0, 0), (1, 0)) {
                let (_, _, matched) = asked(run.ok((0, 0)));
                assert!(matched);
                let (_, _, already) = answered(run.ok((1, 0)));
                assert_eq!(already, Some(&person("ann")));
            } else {
                run.ok((1, 0));
                run.refused((0, 0), Code::AlreadySeated);
            }
            run.sits("bob", Some(1));
            assert_eq!(run.joined("bob"), 1);
        },
    );
}

/// "`{request: id}` in the call names it; if it is no longer pending, the remembered answer of *that* request."
#[test]
fn an_answer_meant_for_an_older_request() {
    race(
        || after(room(), [apply_for("bob", Some(1))]),
        &[
            vec![cancel("bob"), apply_for("bob", Some(2))],
            vec![accept_of(host(), "bob", Some(1))],
        ],
        |run| {
            if run.before((1, 0), (0, 0)) {
                run.ok((1, 0));
                run.sits("bob", Some(1));
                run.refused((0, 0), Code::AlreadyAccepted);
                run.refused((0, 1), Code::AlreadySeated);
            } else {
                run.refused((1, 0), Code::RequestCancelled);
                run.sits("bob", None);
                assert_eq!(run.pending("bob"), [RequestKind::Application]);
            }
        },
    );
}

/// A guest asks for another seat while the host accepts the first wish by its id: the new wish stands.
#[test]
fn a_wish_is_replaced_while_it_is_accepted() {
    race(
        || after(room(), [apply_for("bob", Some(1))]),
        &[vec![apply_for("bob", Some(2))], vec![accept_of(host(), "bob", Some(1))]],
        |run| {
            if run.before((0, 0), (1, 0)) {
                assert!(run.answer((1, 0)).is_err());
                run.sits("bob", None);
                assert_eq!(run.pending("bob"), [RequestKind::Application]);
            } else {
                run.sits("bob", Some(1));
                run.refused((0, 0), Code::AlreadySeated);
            }
        },
    );
}

/// One guest, two devices: the first answer to an invitation is the answer.
#[test]
fn consent_decline_and_withdrawal() {
    race(
        || after(room(), [invite(host(), "bob")]),
        &[
            vec![consent("bob")],
            vec![decline("bob")],
            vec![cancel_invitation(host(), "bob")],
        ],
        |run| {
            match run.order[0].0 {
                0 => {
                    run.refused((1, 0), Code::Conflict);
                    run.refused((2, 0), Code::AlreadyAccepted);
                }
                1 => {
                    run.refused((0, 0), Code::Conflict);
                    assert!(run.answer((2, 0)).is_err());
                }
                _ => {
                    run.refused((0, 0), Code::RequestCancelled);
                    run.refused((1, 0), Code::RequestCancelled);
                }
            }
            run.sits("bob", (run.order[0].0 == 0).then_some(1));
            assert!(run.pending("bob").is_empty());
        },
    );
}

/// "Same inviter → same request; another → `already_invited`."
#[test]
fn two_hosts_invite() {
    race(
        room,
        &[
            vec![invite(host(), "bob"), invite(host(), "bob")],
            vec![invite(ann(), "bob")],
            vec![consent("bob")],
        ],
        |run| {
            let seated = run.order.iter().any(|at| *at == (2, 0) && run.answer(*at).is_ok());
            run.sits("bob", seated.then_some(1));
            if run.before((0, 1), (2, 0)) && run.before((0, 0), (1, 0)) {
                let (first, ..) = asked(run.ok((0, 0)));
                let (again, deduplicated, matched) = asked(run.ok((0, 1)));
                assert_eq!((again, deduplicated, matched), (first, true, false));
            }
            if run.order[..2] == [(0, 0), (1, 0)] {
                run.refused((1, 0), Code::AlreadyInvited);
            }
            if run.order[..2] == [(1, 0), (0, 0)] {
                run.refused((0, 0), Code::AlreadyInvited);
            }
            if run.order[0] == (2, 0) {
                run.refused((2, 0), Code::RequestNotFound);
            }
        },
    );
}

/// "An application stays pending; an invitation fails."
#[test]
fn consent_while_the_last_seat_goes() {
    let fresh = || {
        let small = Settings {
            max_guests: 1,
            ..settings(SeatMode::Apply)
        };
        after(room_of(small), [invite(ann(), "bob"), apply("eve")])
    };
    race(fresh, &[vec![consent("bob")], vec![accept(host(), "eve")]], |run| {
        if run.before((0, 0), (1, 0)) {
            run.refused((1, 0), Code::AllSeatsOccupied);
            assert_eq!(run.pending("eve"), [RequestKind::Application]);
            run.sits("bob", Some(1));
        } else {
            run.refused((0, 0), Code::AllSeatsOccupied);
            assert!(run.pending("bob").is_empty());
            run.sits("eve", Some(1));
        }
    });
}

/// The same with no capacity on the node.
#[test]
fn answers_while_capacity_goes_and_comes() {
    race(
        || after(room(), [invite(ann(), "bob"), apply("eve")]),
        &[
            vec![Act::Capacity(false)],
            vec![consent("bob")],
            vec![accept(host(), "eve")],
        ],
        |run| {
            let without = |at: At| run.before((0, 0), at);
            if without((1, 0)) {
                run.refused((1, 0), Code::CapacityExhausted);
                assert!(run.pending("bob").is_empty());
            } else {
                run.ok((1, 0));
            }
            if without((2, 0)) {
                run.refused((2, 0), Code::CapacityExhausted);
                assert_eq!(run.pending("eve"), [RequestKind::Application]);
            } else {
                run.ok((2, 0));
            }
        },
    );
}

/// Row 18: who leaves the room withdraws what they asked.
#[test]
fn the_guest_leaves_the_room_while_the_host_accepts() {
    race(
        || after(room(), [apply("bob")]),
        &[vec![leave_room("bob")], vec![accept(host(), "bob")]],
        |run| {
            if run.before((0, 0), (1, 0)) {
                run.refused((1, 0), Code::RequestCancelled);
            } else {
                run.ok((1, 0));
            }
            run.sits("bob", None);
            assert!(!run.may_publish("bob"));
        },
    );
}

/// Row 18: ten seconds after a lost stream; a stream that is back keeps the request.
#[test]
fn the_guests_stream_is_lost_while_the_host_accepts() {
    race(
        || after(room(), [apply("bob"), Act::Lose("bob")]),
        &[
            vec![Act::Pass(10_000)],
            vec![Act::Join(guest("bob"))],
            vec![accept(host(), "bob")],
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

/// Row 18 for the invited: the invitation fails and its inviter is told.
#[test]
fn the_invited_leave_the_room() {
    race(
        || after(room(), [invite(ann(), "bob")]),
        &[vec![leave_room("bob")], vec![cancel_invitation(ann(), "bob")]],
        |run| {
            let left = run.before((0, 0), (1, 0));
            assert_eq!(
                run.told((0, 0), "ann", |event| matches!(
                    event,
                    Event::InvitationNoResponse { .. }
                )),
                left
            );
            assert_eq!(run.answer((1, 0)).is_err(), left);
            assert!(run.pending("bob").is_empty());
        },
    );
}

/// An admin's right is that of the moment the command arrives.
#[test]
fn an_admin_accepts_while_the_grant_is_withdrawn() {
    race(
        || after(room(), [grant("dan", MemberRole::Admin), apply("bob")]),
        &[
            vec![grant("dan", MemberRole::Member)],
            vec![accept(guest("dan"), "bob")],
        ],
        |run| {
            if run.before((0, 0), (1, 0)) {
                run.refused((1, 0), Code::PermissionDenied);
                assert_eq!(run.pending("bob"), [RequestKind::Application]);
            } else {
                run.sits("bob", Some(1));
            }
        },
    );
}

/// The seats become the signalling server's while hosts answer.
#[test]
fn the_mode_becomes_external_while_requests_wait() {
    race(
        || after(room(), [apply("bob"), invite(ann(), "eve")]),
        &[
            vec![update(|patch| patch.seat_mode = Some(SeatMode::External))],
            vec![accept(host(), "bob")],
            vec![consent("eve")],
        ],
        |run| {
            for (at, name) in [((1, 0), "bob"), ((2, 0), "eve")] {
                if run.before((0, 0), at) {
                    run.refused(at, Code::SeatsDisabled);
                    run.sits(name, None);
                } else {
                    run.ok(at);
                }
                assert!(run.pending(name).is_empty());
            }
        },
    );
}

/// The end is the end.
#[test]
fn the_host_ends_the_live_while_requests_are_answered() {
    race(
        || after(room(), [apply("bob"), invite(ann(), "eve")]),
        &[
            vec![Act::Do(host(), Command::End)],
            vec![accept(ann(), "bob")],
            vec![consent("eve")],
        ],
        |run| {
            for at in [(1, 0), (2, 0)] {
                if run.before((0, 0), at) {
                    run.refused(at, Code::RoomEnded);
                }
            }
            for name in ["bob", "eve"] {
                run.sits(name, None);
                assert!(!run.may_publish(name));
                assert!(run.pending(name).is_empty());
            }
            let ended = |event: &Event| {
                matches!(
                    event,
                    Event::RoomEnded {
                        reason: EndReason::Ended
                    }
                )
            };
            assert!(run.told((0, 0), "dan", ended));
        },
    );
}

/// "The snapshot has all pending applications and invitations with remaining time."
#[test]
fn the_host_re_enters_while_people_ask() {
    race(
        room,
        &[
            vec![Act::Lose("host"), Act::Join(host())],
            vec![apply("bob")],
            vec![invite(ann(), "eve"), Act::Pass(1_000)],
        ],
        |run| {
            let snapshot = run.twin.room.snapshot(run.twin.now);
            assert_eq!(snapshot.requests.len(), 2);
            for request in &snapshot.requests {
                assert_eq!(request.expires_at - request.created_at, Duration::from_secs(30));
            }
            let received = |event: &Event| matches!(event, Event::ApplicationReceived { .. });
            assert!(
                run.told((1, 0), "host", received),
                "a stream that resumes gets what it missed"
            );
        },
    );
}

/// Found by the simulation: an application from before the seats were free hid the one that led to a seat.
#[test]
fn the_latest_application_is_the_one_remembered() {
    let free = || update(|patch| patch.seat_mode = Some(SeatMode::Free));
    race(
        || after(room(), [apply("bob"), free()]),
        &[
            vec![apply_for("bob", Some(2)), cancel("bob")],
            vec![accept(host(), "bob")],
        ],
        |run| {
            let applied_first = run.before((0, 0), (1, 0));
            let (_, _, already) = answered(run.ok((1, 0)));
            assert_eq!(already.cloned(), applied_first.then(|| person("bob")));
            if !applied_first {
                run.refused((0, 0), Code::AlreadySeated);
            }
            let seat = if applied_first { 2 } else { 1 };
            run.refused((0, 1), Code::AlreadyAccepted);
            assert_eq!(run.refusal((0, 1)).seat, Some(SeatIndex(seat)));
            run.sits("bob", Some(usize::from(seat)));
        },
    );
}
