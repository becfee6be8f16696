//! Random commands, transports and time against the invariants. One seed is one run.

use super::tests::{person, principal, settings, user};
use super::*;
use crate::forward::{SeatIndex, SourceKind};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const USERS: [&str; 7] = ["host", "admin", "other", "bob", "eve", "dan", "backend"];

#[derive(Clone, Debug)]
enum Step {
    Command(Box<(Principal, Command)>),
    Transport(TransportNews),
    Audience(usize),
    Presence(PresenceNews),
    Media(MediaNews),
    Levels(BTreeMap<UserId, i8>),
    Capacity(bool),
    /// The process ends and another one takes the room up.
    Restart(u64),
    Pass(u64),
    /// Exactly to the next deadline.
    ToDeadline,
}

fn any_name() -> impl Strategy<Value = &'static str> {
    prop::sample::select(&USERS[..])
}

fn any_principal() -> impl Strategy<Value = Principal> {
    prop_oneof![
        2 => Just(principal("host", Role::Host)),
        2 => Just(principal("backend", Role::Service)),
        1 => Just(principal("admin", Role::Admin)),
        1 => Just(principal("other", Role::Host)),
        3 => any_name().prop_map(|name| principal(name, Role::Member)),
    ]
}

fn any_seat() -> impl Strategy<Value = SeatIndex> {
    prop_oneof![8 => 0..6u8, 1 => 0..=255u8].prop_map(SeatIndex)
}

fn any_if_version() -> impl Strategy<Value = Option<u64>> {
    prop_oneof![6 => Just(None), 1 => (0..40u64).prop_map(Some)]
}

fn any_flags() -> impl Strategy<Value = SeatFlagsPatch> {
    let flag = || prop_oneof![3 => Just(None), 1 => any::<bool>().prop_map(Some)];
    (flag(), flag(), flag(), flag(), flag()).prop_map(
        |(locked, audio_locked, video_locked, audio_muted, video_muted)| SeatFlagsPatch {
            locked,
            audio_locked,
            video_locked,
            audio_muted,
            video_muted,
        },
    )
}

fn any_update() -> impl Strategy<Value = SettingsPatch> {
    let mode = prop::sample::select(vec![SeatMode::Apply, SeatMode::Free, SeatMode::External]);
    let policies = (0..100_000u64, 0..100_000u64, any::<[bool; 4]>()).prop_map(
        |(grace_ms, host_away_ms, [zero, promote, fallback_any, self_move])| Policies {
            grace_ms: if zero { 0 } else { grace_ms },
            host_away_ms: if zero { 0 } else { host_away_ms },
            host_away: if promote {
                HostAwayPolicy::PromoteAdmin
            } else {
                HostAwayPolicy::End
            },
            fallback_any,
            self_move,
            ..Policies::default()
        },
    );
    (
        prop::option::of(0..12u8),
        prop::option::of(mode),
        prop::option::of(policies),
    )
        .prop_map(|(max_guests, seat_mode, policies)| SettingsPatch {
            max_guests,
            seat_mode,
            policies,
            ..SettingsPatch::default()
        })
}

fn any_wish() -> impl Strategy<Value = Wish> {
    let timeout =
        prop_oneof![4 => Just(None), 1 => Just(Some(0)), 1 => Just(Some(1)), 2 => (5_000..60_000u64).prop_map(Some)];
    (prop::option::of(any_seat()), any::<bool>(), timeout).prop_map(|(seat, audio, timeout_ms)| Wish {
        seat,
        media: if audio { RequestMedia::Audio } else { RequestMedia::Av },
        timeout_ms,
        extra: serde_json::Value::Null,
    })
}

fn any_request() -> impl Strategy<Value = Option<RequestId>> {
    let named = (1..3u64, 1..12u64).prop_map(|(epoch, number)| Some(RequestId { epoch, number }));
    prop_oneof![5 => Just(None), 1 => named]
}

fn any_asking() -> impl Strategy<Value = Command> {
    let seat = || prop::option::weighted(0.3, any_seat());
    prop_oneof![
        8 => any_wish().prop_map(|wish| Command::Apply { user: None, wish }),
        2 => (any_name(), any_wish()).prop_map(|(name, wish)| Command::Apply { user: Some(person(name)), wish }),
        2 => any_name().prop_map(|name| Command::CancelApplication { user: user(name) }),
        5 => (any_name(), seat(), any_request()).prop_map(|(name, seat, request)| Command::AcceptApplication {
            user: user(name),
            seat,
            request,
        }),
        2 => (any_name(), any_request()).prop_map(|(name, request)| Command::RejectApplication {
            user: user(name),
            reason: None,
            request,
        }),
        6 => (any_name(), any_wish()).prop_map(|(name, wish)| Command::Invite { user: person(name), wish }),
        1 => any_name().prop_map(|name| Command::CancelInvitation { user: user(name) }),
        5 => any_request().prop_map(|request| Command::AcceptInvitation { request }),
        1 => any_request().prop_map(|request| Command::RejectInvitation { reason: None, request }),
    ]
}

fn any_moving() -> impl Strategy<Value = Command> {
    let policy = prop::sample::select(vec![MovePolicy::Abort, MovePolicy::Replace, MovePolicy::Swap]);
    let role = prop::sample::select(vec![MemberRole::Member, MemberRole::Admin, MemberRole::Host]);
    let ban = prop::option::of((0..60_000u64).prop_map(Duration::from_millis));
    prop_oneof![
        6 => (any_seat(), any_seat(), policy, any_if_version()).prop_map(|(from, to, policy, if_version)| Command::Move {
            from,
            to,
            policy,
            user: None,
            if_version,
        }),
        1 => (any_seat(), any::<bool>(), any::<bool>()).prop_map(|(seat, audio, video)| Command::Ask { seat, audio, video }),
        2 => (any_name(), role).prop_map(|(name, role)| Command::GrantRole { user: user(name), role }),
        2 => (any_name(), ban).prop_map(|(name, ban)| Command::RemoveMember { user: user(name), ban, reason: None }),
    ]
}

fn any_command() -> impl Strategy<Value = Command> {
    prop_oneof![
        30 => any_asking(),
        12 => any_moving(),
        12 => (any_seat(), any_name(), any_if_version()).prop_map(|(seat, name, if_version)| Command::Seat {
            seat,
            person: person(name),
            if_version,
        }),
        4 => (any_seat(), prop::option::of(any_name()), any_if_version()).prop_map(|(seat, name, if_version)| {
            Command::Unseat { seat, user: name.map(user), reason: None, if_version }
        }),
        3 => any_name().prop_map(|name| Command::UnseatUser { user: user(name), reason: None }),
        6 => (any_seat(), any_flags()).prop_map(|(seat, patch)| Command::SetFlags { seat, patch }),
        4 => (prop::collection::btree_map(any_seat(), prop::option::of(any_name()), 0..5), any_if_version()).prop_map(
            |(seats, if_version)| {
                let seats: BTreeMap<_, _> = seats.into_iter().map(|(index, name)| (index, name.map(person))).collect();
                Command::Assign { seats, if_version }
            }
        ),
        2 => any_update().prop_map(Command::Update),
    ]
}

fn any_presence() -> impl Strategy<Value = PresenceNews> {
    let role = prop::sample::select(vec![Role::Member, Role::Member, Role::Admin, Role::Host, Role::Service]);
    prop_oneof![
        3 => (any_name(), role).prop_map(|(name, role)| PresenceNews::Joined { person: person(name), role }),
        1 => any_name().prop_map(|name| PresenceNews::Lost { user: user(name) }),
    ]
}

fn any_media() -> impl Strategy<Value = MediaNews> {
    let status = (any::<bool>(), any::<bool>()).prop_map(|(audio, video)| SourceStatus {
        audio,
        video,
        ..SourceStatus::default()
    });
    (any_name(), any::<bool>(), prop::option::weighted(0.8, status)).prop_map(|(name, screen, status)| MediaNews {
        user: user(name),
        kind: if screen { SourceKind::Screen } else { SourceKind::Camera },
        status,
    })
}

fn any_step() -> impl Strategy<Value = Step> {
    let news = (any_name(), any::<bool>(), prop::bool::weighted(0.6)).prop_map(|(name, screen, up)| {
        let kind = if screen { SourceKind::Screen } else { SourceKind::Camera };
        let user = user(name);
        if up {
            TransportNews::Up { user, kind }
        } else {
            TransportNews::Lost { user, kind }
        }
    });
    prop_oneof![
        60 => (any_principal(), any_command()).prop_map(|given| Step::Command(Box::new(given))),
        40 => news.prop_map(Step::Transport),
        3 => (0..3usize).prop_map(Step::Audience),
        25 => any_presence().prop_map(Step::Presence),
        8 => any_media().prop_map(Step::Media),
        4 => prop::collection::btree_map(any_name().prop_map(user), -127..=0i8, 0..4).prop_map(Step::Levels),
        1 => any::<bool>().prop_map(Step::Capacity),
        2 => (0..20_000u64).prop_map(Step::Restart),
        10 => (0..20_000u64).prop_map(Step::Pass),
        2 => Just(Step::ToDeadline),
        1 => Just(Step::Command(Box::new((principal("host", Role::Host), Command::End)))),
    ]
}

/// Which guest seats are taken, by whom.
fn guests(snapshot: &Snapshot) -> BTreeMap<usize, UserId> {
    let seats = snapshot.seats.iter().enumerate().skip(1);
    seats
        .filter_map(|(index, seat)| Some((index, seat.occupancy.person()?.user.clone())))
        .collect()
}

/// What no transition may do, whatever it was.
fn check_transition(before: &Snapshot, after: &Snapshot) {
    let (old, new) = (guests(before), guests(after));
    let max_guests = usize::from(after.settings.max_guests);
    if new.len() > old.len() {
        assert!(new.len() <= max_guests, "taken beyond max_guests: {old:?} {new:?}");
    }
    for (index, user) in &new {
        if old.get(index) != Some(user) {
            assert!(*index <= max_guests, "a seat above max_guests was taken");
        }
    }
    if before.phase == Phase::Ended {
        assert_eq!(
            (after.phase, after.version),
            (Phase::Ended, before.version),
            "the end is the end"
        );
    }
    if before.phase == Phase::Ended {
        assert_eq!(before.seq, after.seq, "nothing is told after the end");
    }
    assert!(after.version >= before.version);
}

/// What a version stands for.
fn versioned(room: &Room, now: Instant) -> impl PartialEq + std::fmt::Debug + use<> {
    let snapshot = room.snapshot(now);
    let admins: Vec<UserId> = room.grants.iter().cloned().collect();
    let bans: Vec<UserId> = room.bans.keys().cloned().collect();
    let seats = (snapshot.seats, snapshot.settings, snapshot.phase, snapshot.requests);
    (seats, admins, bans)
}

/// Takes the room down and up again: what comes back is what was recorded, but for what the restart takes off the air.
fn restart(room: &mut Room, away_ms: u64, now: &mut Instant) {
    let moment = Moment {
        now: *now,
        wall_ms: 1_700_000_000_000,
    };
    let record = room.record(moment);
    let json = serde_json::to_string(&record).unwrap();
    let read: Record = serde_json::from_str(&json).unwrap();
    assert_eq!(read, record);
    let epoch = room.epoch + 1;
    if room.phase == Phase::Ended {
        assert!(Room::restore(read, epoch, 9, moment).is_err(), "the end is the end");
        return;
    }
    *now += Duration::from_millis(away_ms);
    let later = Moment {
        now: *now,
        wall_ms: moment.wall_ms + away_ms,
    };
    let restored = Room::restore(read, epoch, 9, later).unwrap();
    let again = restored.record(later);
    let twice = Room::restore(again.clone(), epoch, 9, later).unwrap().record(later);
    assert_eq!(twice, again, "restoring is a fixed point");
    assert_eq!(guests(&restored.snapshot(*now)), guests(&room.snapshot(moment.now)));
    let ids = |room: &Room| room.requests.pending.keys().copied().collect::<Vec<_>>();
    assert_eq!(ids(&restored), ids(room), "pending requests keep their ids");
    assert!(restored.version - room.version <= 1);
    *room = restored;
    room.handle_timeout(*now);
}

fn apply(room: &mut Room, step: Step, now: &mut Instant) {
    match step {
        Step::Command(given) => {
            let (by, command) = *given;
            // What is due happens before the command, whoever gives it.
            room.handle_timeout(*now);
            let before = room.snapshot(*now);
            // Who accepts and finds no seat has answered nevertheless.
            let answers = matches!(command, Command::AcceptInvitation { .. });
            let invited = answers && !room.requests(RequestKind::Invitation).is_empty();
            let external = before.settings.seat_mode == SeatMode::External;
            match room.handle_command(&by, command, *now) {
                Ok(done) => assert_eq!(done.changed, done.version > before.version),
                Err(_) if invited => {}
                Err(_) => assert_eq!(room.snapshot(*now), before, "a refused command changes nothing"),
            }
            let after = room.snapshot(*now);
            if external && by.role != Role::Service && after.phase != Phase::Ended {
                let still_external = after.settings.seat_mode == SeatMode::External;
                assert!(!still_external || guests(&after) == guests(&before));
            }
        }
        Step::Transport(news) => room.handle_transport(news, *now),
        Step::Audience(viewers) => room.handle_audience(viewers, viewers.min(1), *now),
        Step::Presence(news) => room.handle_presence(news, *now),
        Step::Media(news) => room.handle_media(news, *now),
        Step::Levels(levels) => room.handle_levels(levels, *now),
        Step::Capacity(available) => room.handle_capacity(available),
        Step::Restart(away_ms) => restart(room, away_ms, now),
        Step::Pass(ms) => {
            *now += Duration::from_millis(ms);
            room.handle_timeout(*now);
        }
        Step::ToDeadline => {
            if let Some(at) = room.poll_timeout() {
                assert!(at > *now, "nothing due is left lying");
                *now = at;
                let (seq, deadline) = (room.seq, room.poll_timeout());
                room.handle_timeout(*now);
                assert!(
                    room.seq > seq || room.poll_timeout() != deadline,
                    "a deadline has a reason"
                );
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn no_sequence_of_steps_breaks_the_room(
        mode in prop::sample::select(vec![SeatMode::Apply, SeatMode::Free, SeatMode::External]),
        steps in prop::collection::vec(any_step(), 1..150),
    ) {
        let mut now = Instant::now();
        let mut room = Room::new(RoomId::parse("demo").unwrap(), 1, settings(mode), 9, now).unwrap();
        let mut seats: BTreeMap<UserId, SeatIndex> = BTreeMap::from([(user("host"), SeatIndex(0))]);
        for step in steps {
            let (before, was) = (room.snapshot(now), versioned(&room, now));
            apply(&mut room, step, &mut now);
            room.assert_invariants();
            let after = room.snapshot(now);
            check_transition(&before, &after);
            if before.version == after.version {
                prop_assert_eq!(was, versioned(&room, now), "whatever changes raises the version");
            }
            let mut seq = if before.epoch == after.epoch { before.seq } else { 1 };
            // The events alone tell who sits where.
            while let Some(notice) = room.poll_notice() {
                seq += 1;
                prop_assert_eq!(notice.seq, seq, "no notice is lost");
                if let Recipients::Users(users) = &notice.to {
                    prop_assert!(!users.is_empty());
                }
                follow(&mut seats, notice.event);
            }
            let people = after.seats.iter().enumerate();
            let people = people.filter_map(|(index, seat)| Some((seat.occupancy.person()?.user.clone(), index)));
            let seated: BTreeMap<_, _> = people.collect();
            let told: BTreeMap<_, _> = seats.iter().map(|(user, seat)| (user.clone(), usize::from(seat.0))).collect();
            prop_assert_eq!(seated, told);
        }
    }
}

fn follow(known: &mut BTreeMap<UserId, SeatIndex>, event: Event) {
    let Event::SeatsChanged {
        joined, left, moved, ..
    } = event
    else {
        return;
    };
    for gone in left {
        assert_eq!(known.remove(&gone.person.user), Some(gone.seat));
    }
    for step in moved {
        assert_eq!(known.insert(step.person.user, step.to), Some(step.from));
    }
    for (seat, person) in joined {
        assert_eq!(known.insert(person.user, seat), None);
    }
}
