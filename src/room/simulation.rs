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
    Audience(bool),
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
    let policies = (0..100_000u64, 0..100_000u64).prop_map(|(grace_ms, host_away_ms)| Policies {
        grace_ms,
        host_away_ms,
        ..Policies::default()
    });
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

fn any_command() -> impl Strategy<Value = Command> {
    prop_oneof![
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
        3 => any::<bool>().prop_map(Step::Audience),
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
    let same = before.seats == after.seats && before.settings == after.settings && before.phase == after.phase;
    assert_eq!(
        before.version == after.version,
        same,
        "the version tells of every change and of nothing else"
    );
    assert!(after.version >= before.version);
}

fn apply(room: &mut Room, step: Step, now: &mut Instant) {
    match step {
        Step::Command(given) => {
            let (by, command) = *given;
            // What is due happens before the command, whoever gives it.
            room.handle_timeout(*now);
            let before = room.snapshot(*now);
            let external = before.settings.seat_mode == SeatMode::External;
            match room.handle_command(&by, command, *now) {
                Ok(done) => assert_eq!(done.changed, room.version > before.version),
                Err(_) => assert_eq!(room.snapshot(*now), before, "a refused command changes nothing"),
            }
            let after = room.snapshot(*now);
            if external && by.role != Role::Service && after.phase != Phase::Ended {
                let still_external = after.settings.seat_mode == SeatMode::External;
                assert!(!still_external || guests(&after) == guests(&before));
            }
        }
        Step::Transport(news) => room.handle_transport(news, *now),
        Step::Audience(present) => room.handle_audience(usize::from(present), 0, *now),
        Step::Pass(ms) => {
            *now += Duration::from_millis(ms);
            room.handle_timeout(*now);
        }
        Step::ToDeadline => {
            if let Some(at) = room.poll_timeout() {
                assert!(at > *now, "nothing due is left lying");
                *now = at;
                let version = room.version;
                room.handle_timeout(*now);
                assert!(room.version > version, "a deadline has a reason");
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
        let mut seats: BTreeMap<UserId, SeatIndex> = BTreeMap::new();
        for step in steps {
            let before = room.snapshot(now);
            apply(&mut room, step, &mut now);
            room.assert_invariants();
            let after = room.snapshot(now);
            check_transition(&before, &after);
            // The events alone tell who sits where.
            while let Some(notice) = room.poll_notice() {
                follow(&mut seats, notice.event);
            }
            let seated: BTreeMap<_, _> = guests(&after).into_iter().map(|(index, user)| (user, index)).collect();
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
