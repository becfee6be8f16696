//! Random commands, streams, transports, media, time and crashes, into the machine and the [model](super::model) at
//! once. One seed is one run. `COSTAGE_SIMULATIONS` sets how many runs there are.

use super::model::twin::Twin;
use super::tests::{person, principal, settings, user};
use super::*;
use crate::forward::{SeatIndex, SourceKind};
use crate::mix::layout::Layout;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::time::Duration;

const GUESTS: [&str; 5] = ["bob", "eve", "dan", "ida", "max"];
/// `other` comes with a host's token for a room whose host is somebody else.
const PEOPLE: [&str; 9] = ["host", "ann", "other", "bob", "eve", "dan", "ida", "max", "backend"];

/// In a command of the strategy: whatever the room's version is then.
const CURRENT: u64 = u64::MAX;

#[derive(Clone, Debug)]
enum Step {
    Command(Box<(Principal, Command)>),
    /// The command before, once more, by the same person.
    Again,
    /// Something that can be done, to one of those it can be done to.
    Aim(Aim, usize),
    Join(Principal),
    Lose(UserId),
    Transport(TransportNews),
    Media(MediaNews),
    Capacity(bool),
    Audience(usize, usize),
    Levels(BTreeMap<UserId, i8>),
    Pass(u64),
    /// Exactly to the next deadline.
    ToDeadline,
    Crash(u64),
}

/// What is aimed at somebody or something there is, since commands at random mostly miss.
#[derive(Clone, Debug)]
enum Aim {
    Accept(Principal, Option<SeatIndex>),
    Reject(Principal),
    CancelApplication,
    Consent,
    Decline,
    CancelInvitation(Principal),
    Move(Principal, SeatIndex, MovePolicy),
    MoveMyself(SeatIndex),
    Swap(Principal, usize),
    Kick(Principal),
    Leave,
    Ask(Principal),
    SetFlags(Principal, SeatFlagsPatch),
    Mute(SeatFlagsPatch),
    Up(SourceKind),
    Lost(SourceKind),
    Media(SourceKind, Option<SourceStatus>),
}

fn token(name: &str) -> Principal {
    let role = match name {
        "host" | "other" => Role::Host,
        "ann" => Role::Admin,
        "backend" => Role::Service,
        _ => Role::Member,
    };
    principal(name, role)
}

fn any_name() -> impl Strategy<Value = &'static str> {
    prop_oneof![6 => prop::sample::select(&GUESTS[..]), 1 => prop::sample::select(&PEOPLE[..])]
}

fn any_user() -> impl Strategy<Value = UserId> {
    any_name().prop_map(user)
}

fn any_person() -> impl Strategy<Value = Person> {
    (
        any_name(),
        prop_oneof![9 => Just(None), 1 => prop::sample::select(vec!["Bob", "Eve"]).prop_map(Some)],
    )
        .prop_map(|(name, called)| Person {
            name: called.map(str::to_owned),
            ..person(name)
        })
}

fn any_principal() -> impl Strategy<Value = Principal> {
    prop_oneof![
        3 => Just(token("host")),
        2 => Just(token("backend")),
        2 => Just(token("ann")),
        1 => Just(token("other")),
        6 => any_name().prop_map(token),
    ]
}

/// Hosts of some kind.
fn any_host() -> impl Strategy<Value = Principal> {
    prop::sample::select(vec!["host", "ann", "other", "backend"]).prop_map(token)
}

fn any_guest() -> impl Strategy<Value = Principal> {
    prop_oneof![12 => prop::sample::select(&GUESTS[..]).prop_map(token), 1 => any_principal()]
}

fn any_seat() -> impl Strategy<Value = SeatIndex> {
    prop_oneof![20 => 1..5u8, 2 => 0..12u8, 1 => 0..=255u8].prop_map(SeatIndex)
}

fn any_if_version() -> impl Strategy<Value = Option<u64>> {
    prop_oneof![8 => Just(None), 1 => Just(Some(CURRENT)), 1 => (0..40u64).prop_map(Some)]
}

fn any_request() -> impl Strategy<Value = Option<RequestId>> {
    let named = (1..3u64, 1..20u64).prop_map(|(epoch, number)| Some(RequestId { epoch, number }));
    prop_oneof![5 => Just(None), 1 => named]
}

fn any_note() -> impl Strategy<Value = Option<String>> {
    prop_oneof![4 => Just(None), 1 => Just(Some("later".to_owned()))]
}

fn any_wish() -> impl Strategy<Value = Wish> {
    let media = prop_oneof![3 => Just(RequestMedia::Av), 1 => Just(RequestMedia::Audio)];
    let timeout_ms = prop_oneof![
        6 => Just(None),
        1 => Just(Some(0)),
        2 => (5_000..20_000u64).prop_map(Some),
        1 => prop::sample::select(vec![1, 4_999, 1_800_001, u64::MAX]).prop_map(Some),
    ];
    let extra = prop_oneof![
        12 => Just(serde_json::Value::Null),
        2 => Just(serde_json::json!({"song": 7})),
        1 => Just(serde_json::json!("x".repeat(1_100))),
    ];
    let seat = prop_oneof![3 => Just(None), 2 => any_seat().prop_map(Some)];
    (seat, media, timeout_ms, extra).prop_map(|(seat, media, timeout_ms, extra)| Wish {
        seat,
        media,
        timeout_ms,
        extra,
    })
}

fn any_flags() -> impl Strategy<Value = SeatFlagsPatch> {
    let flag = || prop_oneof![3 => Just(None), 1 => any::<bool>().prop_map(Some)];
    let locked = prop_oneof![6 => Just(None), 1 => Just(Some(true)), 2 => Just(Some(false))];
    (locked, flag(), flag(), flag(), flag()).prop_map(
        |(locked, audio_locked, video_locked, audio_muted, video_muted)| SeatFlagsPatch {
            locked,
            audio_locked,
            video_locked,
            audio_muted,
            video_muted,
        },
    )
}

fn any_policies() -> impl Strategy<Value = PoliciesPatch> {
    let times = prop::option::of(prop::sample::select(vec![0, 1_000, 15_000, 95_000]));
    let admin_may = prop::sample::select(vec![
        vec!["layout", "outputs", "settings"],
        vec!["layout"],
        vec!["reign"],
    ]);
    let admin_may = prop_oneof![3 => Just(vec!["layout", "outputs", "settings"]), 1 => admin_may];
    let host_away = prop::sample::select(vec![HostAwayPolicy::PromoteAdmin, HostAwayPolicy::End]);
    (
        any::<Option<bool>>(),
        any::<Option<bool>>(),
        prop::option::of(host_away),
        times.clone(),
        times,
        prop::option::of(admin_may),
    )
        .prop_map(
            |(fallback_any, self_move, host_away, grace_ms, host_away_ms, admin_may)| PoliciesPatch {
                fallback_any,
                self_move,
                host_away,
                grace_ms,
                host_away_ms,
                admin_may: admin_may.map(|what| what.into_iter().map(str::to_owned).collect()),
                ..PoliciesPatch::default()
            },
        )
}

/// Loud, quiet, or stopped.
fn any_level() -> impl Strategy<Value = i8> {
    prop_oneof![4 => -90..=-10i8, 1 => Just(-127)]
}

/// Somebody is to be less loud.
fn any_layout() -> impl Strategy<Value = Layout> {
    any_seat().prop_map(|seat| Layout {
        volumes: [(seat, 0.5)].into(),
        ..Layout::default()
    })
}

fn any_update() -> impl Strategy<Value = Command> {
    let mode = prop_oneof![3 => Just(SeatMode::Apply), 1 => Just(SeatMode::Free), 1 => Just(SeatMode::External)];
    let max_guests = prop_oneof![4 => 1..5u8, 1 => 0..12u8];
    (
        prop::option::of(max_guests),
        prop::option::weighted(0.2, mode),
        prop::option::of(any_policies()),
        prop::option::of(any_layout()),
        any_if_version(),
    )
        .prop_map(|(max_guests, seat_mode, policies, layout, if_version)| {
            Command::Update(Box::new(SettingsPatch {
                if_version,
                max_guests,
                seat_mode,
                policies,
                layout,
                ..SettingsPatch::default()
            }))
        })
}

fn any_seat_command() -> impl Strategy<Value = Command> {
    let policy = prop::sample::select(vec![MovePolicy::Abort, MovePolicy::Replace, MovePolicy::Swap]);
    let given = prop::collection::btree_map(any_seat(), prop::option::of(any_person()), 0..4);
    prop_oneof![
        6 => (any_seat(), any_person(), any_if_version())
            .prop_map(|(seat, person, if_version)| Command::Seat { seat, person, if_version }),
        4 => (any_seat(), prop::option::weighted(0.3, any_user()), any_note(), any_if_version())
            .prop_map(|(seat, user, reason, if_version)| Command::Unseat { seat, user, reason, if_version }),
        2 => (any_user(), any_note()).prop_map(|(user, reason)| Command::UnseatUser { user, reason }),
        6 => (any_seat(), any_flags()).prop_map(|(seat, patch)| Command::SetFlags { seat, patch }),
        2 => (given, any_if_version()).prop_map(|(seats, if_version)| Command::Assign { seats, if_version }),
        6 => (any_seat(), any_seat(), policy, prop::option::weighted(0.2, any_user()), any_if_version()).prop_map(
            |(from, to, policy, user, if_version)| Command::Move { from, to, policy, user, if_version }
        ),
        2 => (any_seat(), any::<bool>(), any::<bool>())
            .prop_map(|(seat, audio, video)| Command::Ask { seat, audio, video }),
    ]
}

fn any_member_command() -> impl Strategy<Value = Command> {
    let role = prop::sample::select(vec![
        MemberRole::Admin,
        MemberRole::Admin,
        MemberRole::Member,
        MemberRole::Host,
    ]);
    let ban = prop_oneof![2 => Just(None), 1 => (1_000..60_000u64).prop_map(|ms| Some(Duration::from_millis(ms)))];
    prop_oneof![
        (any_user(), role).prop_map(|(user, role)| Command::GrantRole { user, role }),
        (any_user(), ban, any_note()).prop_map(|(user, ban, reason)| Command::RemoveMember { user, ban, reason }),
    ]
}

/// What guests say, each about themselves, mostly.
fn any_guest_command() -> impl Strategy<Value = (Principal, Command)> {
    any_guest().prop_flat_map(|by| {
        let me = by.person.user.clone();
        let behalf = by.person.clone();
        let behalf = if by.role == Role::Service { any_person().boxed() } else { Just(behalf).boxed() };
        let user = prop_oneof![8 => Just(me), 1 => any_user()];
        let command = prop_oneof![
            8 => (prop::option::weighted(0.4, behalf), any_wish()).prop_map(|(user, wish)| Command::Apply { user, wish }),
            2 => user.clone().prop_map(|user| Command::CancelApplication { user }),
            5 => any_request().prop_map(|request| Command::AcceptInvitation { request }),
            2 => (any_note(), any_request()).prop_map(|(reason, request)| Command::RejectInvitation { reason, request }),
            2 => (user.clone(), any_note()).prop_map(|(user, reason)| Command::UnseatUser { user, reason }),
            1 => user.prop_map(|user| Command::RemoveMember { user, ban: None, reason: None }),
        ];
        command.prop_map(move |command| (by.clone(), command))
    })
}

/// What hosts answer.
fn any_host_command() -> impl Strategy<Value = Command> {
    let seat = prop::option::weighted(0.3, any_seat());
    prop_oneof![
        8 => (any_user(), seat, any_request())
            .prop_map(|(user, seat, request)| Command::AcceptApplication { user, seat, request }),
        3 => (any_user(), any_note(), any_request())
            .prop_map(|(user, reason, request)| Command::RejectApplication { user, reason, request }),
        8 => (any_person(), any_wish()).prop_map(|(user, wish)| Command::Invite { user, wish }),
        2 => any_user().prop_map(|user| Command::CancelInvitation { user }),
    ]
}

fn any_media() -> impl Strategy<Value = MediaNews> {
    (any_user(), any_kind(), any_status()).prop_map(|(user, kind, status)| MediaNews { user, kind, status })
}

fn any_kind() -> impl Strategy<Value = SourceKind> {
    prop_oneof![4 => Just(SourceKind::Camera), 1 => Just(SourceKind::Screen)]
}

fn any_status() -> impl Strategy<Value = Option<SourceStatus>> {
    let status = (any::<bool>(), any::<bool>()).prop_map(|(audio, video)| SourceStatus {
        audio,
        video,
        ..SourceStatus::default()
    });
    prop::option::weighted(0.8, status)
}

fn any_aim() -> impl Strategy<Value = Aim> {
    let policy = prop::sample::select(vec![MovePolicy::Abort, MovePolicy::Replace, MovePolicy::Swap]);
    prop_oneof![
        8 => (any_host(), prop::option::weighted(0.2, any_seat())).prop_map(|(by, seat)| Aim::Accept(by, seat)),
        2 => any_host().prop_map(Aim::Reject),
        1 => Just(Aim::CancelApplication),
        6 => Just(Aim::Consent),
        1 => Just(Aim::Decline),
        1 => any_host().prop_map(Aim::CancelInvitation),
        4 => (any_host(), any_seat(), policy).prop_map(|(by, to, policy)| Aim::Move(by, to, policy)),
        2 => any_seat().prop_map(Aim::MoveMyself),
        2 => (any_host(), 0..10usize).prop_map(|(by, other)| Aim::Swap(by, other)),
        2 => any_host().prop_map(Aim::Kick),
        1 => Just(Aim::Leave),
        1 => any_host().prop_map(Aim::Ask),
        3 => (any_host(), any_flags()).prop_map(|(by, patch)| Aim::SetFlags(by, patch)),
        2 => any_flags().prop_map(Aim::Mute),
        8 => any_kind().prop_map(Aim::Up),
        4 => any_kind().prop_map(Aim::Lost),
        4 => (any_kind(), any_status()).prop_map(|(kind, status)| Aim::Media(kind, status)),
    ]
}

fn any_step() -> impl Strategy<Value = Step> {
    let sitting = prop_oneof![1 => Just("host"), 3 => prop::sample::select(&GUESTS[..]), 1 => any_name()];
    let news = (sitting, any_kind(), prop::bool::weighted(0.6)).prop_map(|(name, kind, up)| {
        let user = user(name);
        if up {
            TransportNews::Up { user, kind }
        } else {
            TransportNews::Lost { user, kind }
        }
    });
    let rare = Just((token("host"), Command::End));
    let coming = (
        prop::sample::select(&PEOPLE[..8]),
        prop::option::weighted(0.2, Just("Who")),
    )
        .prop_map(|(name, called)| {
            let mut by = token(name);
            by.person.name = called.map(str::to_owned);
            by
        });
    let promoted = prop::sample::select(&GUESTS[..]).prop_map(|name| principal(name, Role::Admin));
    prop_oneof![
        100 => (any_aim(), 0..100usize).prop_map(|(aim, which)| Step::Aim(aim, which)),
        40 => any_guest_command().prop_map(|given| Step::Command(Box::new(given))),
        30 => (any_host(), any_host_command()).prop_map(|given| Step::Command(Box::new(given))),
        25 => (any_host(), any_seat_command()).prop_map(|given| Step::Command(Box::new(given))),
        6 => (any_guest(), any_seat_command()).prop_map(|given| Step::Command(Box::new(given))),
        4 => (any_host(), any_member_command()).prop_map(|given| Step::Command(Box::new(given))),
        3 => (any_host(), any_update()).prop_map(|given| Step::Command(Box::new(given))),
        3 => (any_guest(), any_host_command()).prop_map(|given| Step::Command(Box::new(given))),
        1 => rare.prop_map(|given| Step::Command(Box::new(given))),
        8 => Just(Step::Again),
        25 => coming.prop_map(Step::Join),
        1 => promoted.prop_map(Step::Join),
        4 => any_user().prop_map(Step::Lose),
        25 => news.prop_map(Step::Transport),
        8 => any_media().prop_map(Step::Media),
        2 => prop::bool::weighted(0.9).prop_map(Step::Capacity),
        2 => (0..4usize, 0..2usize).prop_map(|(viewers, strangers)| Step::Audience(viewers, strangers.min(viewers))),
        2 => prop::collection::btree_map(any_user(), any_level(), 0..4).prop_map(Step::Levels),
        8 => (0..3_000u64).prop_map(Step::Pass),
        4 => (0..20_000u64).prop_map(Step::Pass),
        5 => Just(Step::ToDeadline),
        3 => (0..20_000u64).prop_map(Step::Crash),
    ]
}

/// The command or news an aim comes to in this room; `None`: there is nobody to aim at.
fn aimed(room: &Room, now: std::time::Instant, aim: Aim, which: usize) -> Option<Step> {
    let one_of = |kind| {
        let requests = room.requests(kind);
        let request = requests.get(which.checked_rem(requests.len())?)?;
        Some(request.guest.user.clone())
    };
    let applicant = || one_of(RequestKind::Application);
    let invited = || one_of(RequestKind::Invitation);
    let seats = room.snapshot(now).seats.into_iter().zip(0..).skip(1);
    let seated: Vec<(UserId, SeatIndex)> = seats
        .filter_map(|(seat, index)| Some((seat.occupancy.person()?.user.clone(), SeatIndex(index))))
        .collect();
    let sitting = |which: usize| seated.get(which.checked_rem(seated.len())?).cloned();
    let by_guest = |user: &UserId| token(user.as_str());
    let shift = |from, to, policy| Command::Move {
        from,
        to,
        policy,
        user: None,
        if_version: None,
    };
    let (request, reason) = (None, None);
    let (by, command) = match aim {
        Aim::Accept(by, seat) => (
            by,
            Command::AcceptApplication {
                user: applicant()?,
                seat,
                request,
            },
        ),
        Aim::Reject(by) => (
            by,
            Command::RejectApplication {
                user: applicant()?,
                reason,
                request,
            },
        ),
        Aim::CancelApplication => (
            by_guest(&applicant()?),
            Command::CancelApplication { user: applicant()? },
        ),
        Aim::Consent => (by_guest(&invited()?), Command::AcceptInvitation { request }),
        Aim::Decline => (by_guest(&invited()?), Command::RejectInvitation { reason, request }),
        Aim::CancelInvitation(by) => (by, Command::CancelInvitation { user: invited()? }),
        Aim::Move(by, to, policy) => (by, shift(sitting(which)?.1, to, policy)),
        Aim::MoveMyself(to) => {
            let (user, from) = sitting(which)?;
            (by_guest(&user), shift(from, to, MovePolicy::Abort))
        }
        Aim::Swap(by, other) => (by, shift(sitting(which)?.1, sitting(other)?.1, MovePolicy::Swap)),
        Aim::Kick(by) => {
            let (user, seat) = sitting(which)?;
            let kick = Command::Unseat {
                seat,
                user: Some(user),
                reason,
                if_version: None,
            };
            (by, kick)
        }
        Aim::Leave => {
            let (user, _) = sitting(which)?;
            (by_guest(&user), Command::UnseatUser { user, reason })
        }
        Aim::Ask(by) => (
            by,
            Command::Ask {
                seat: sitting(which)?.1,
                audio: true,
                video: which.is_multiple_of(2),
            },
        ),
        Aim::SetFlags(by, patch) => (
            by,
            Command::SetFlags {
                seat: sitting(which)?.1,
                patch,
            },
        ),
        Aim::Mute(patch) => {
            let (user, seat) = sitting(which)?;
            (by_guest(&user), Command::SetFlags { seat, patch })
        }
        Aim::Up(kind) => {
            return Some(Step::Transport(TransportNews::Up {
                user: sitting(which)?.0,
                kind,
            }));
        }
        Aim::Lost(kind) => {
            return Some(Step::Transport(TransportNews::Lost {
                user: sitting(which)?.0,
                kind,
            }));
        }
        Aim::Media(kind, status) => {
            let user = sitting(which)?.0;
            return Some(Step::Media(MediaNews { user, kind, status }));
        }
    };
    Some(Step::Command(Box::new((by, command))))
}

/// Fills in the version a command was meant for.
fn at_version(mut command: Command, current: u64) -> Command {
    let if_version = match &mut command {
        Command::Update(patch) => &mut patch.if_version,
        Command::Seat { if_version, .. }
        | Command::Unseat { if_version, .. }
        | Command::Assign { if_version, .. }
        | Command::Move { if_version, .. } => if_version,
        _ => return command,
    };
    if *if_version == Some(CURRENT) {
        *if_version = Some(current);
    }
    command
}

fn apply(twin: &mut Twin, step: Step, last: &mut Option<(Principal, Command)>) {
    match step {
        Step::Command(given) => {
            let (by, command) = *given;
            let command = at_version(command, twin.room.version());
            *last = Some((by.clone(), command.clone()));
            let _answer = twin.command(&by, command);
        }
        Step::Again => {
            if let Some((by, command)) = last.clone() {
                let _answer = twin.command(&by, command);
            }
        }
        Step::Aim(aim, which) => {
            if let Some(step) = aimed(&twin.room, twin.now, aim, which) {
                apply(twin, step, last);
            }
        }
        Step::Join(by) => {
            let _entered = twin.join(&by);
        }
        Step::Lose(user) => twin.lose(user),
        Step::Transport(news) => twin.transport(news),
        Step::Media(news) => twin.media(news),
        Step::Capacity(available) => twin.capacity(available),
        Step::Audience(viewers, strangers) => twin.audience(viewers, strangers),
        Step::Levels(levels) => twin.levels(levels),
        Step::Pass(ms) => twin.pass(Duration::from_millis(ms)),
        Step::ToDeadline => twin.until_deadline(),
        Step::Crash(ms) => twin.crash(Duration::from_millis(ms)),
    }
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
    if before.phase == Phase::Ended && before.epoch == after.epoch {
        assert_eq!(
            (after.phase, after.version),
            (Phase::Ended, before.version),
            "the end is the end"
        );
    }
    assert!(after.version >= before.version);
}

/// Which guest seats are taken, by whom.
fn guests(snapshot: &Snapshot) -> BTreeMap<usize, UserId> {
    let seats = snapshot.seats.iter().enumerate().skip(1);
    seats
        .filter_map(|(index, seat)| Some((index, seat.occupancy.person()?.user.clone())))
        .collect()
}

fn runs() -> u32 {
    let asked = std::env::var("COSTAGE_SIMULATIONS").ok();
    asked.and_then(|runs| runs.parse().ok()).unwrap_or(400)
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 20_000, ..ProptestConfig::with_cases(runs()) })]
    #[test]
    fn the_machine_does_what_the_model_does(
        mode in prop_oneof![6 => Just(SeatMode::Apply), 2 => Just(SeatMode::Free), 1 => Just(SeatMode::External)],
        max_guests in 1..5u8,
        peopled in prop::bool::weighted(0.8),
        steps in prop::collection::vec(any_step(), 1..200),
    ) {
        let fresh = || {
            let mut twin = Twin::new(Settings { max_guests, ..settings(mode) }, 9);
            for name in PEOPLE[..8].iter().filter(|_| peopled) {
                twin.join(&token(name)).unwrap();
            }
            twin
        };
        let mut twin = fresh();
        let mut last = None;
        let mut ended = 0;
        for step in steps {
            let before = twin.room.snapshot(twin.now);
            apply(&mut twin, step, &mut last);
            let after = twin.room.snapshot(twin.now);
            check_transition(&before, &after);
            // What an ended room refuses is soon seen.
            ended += usize::from(after.phase == Phase::Ended);
            if ended > 4 {
                (twin, ended) = (fresh(), 0);
            }
        }
    }
}
