mod program;
mod races;
mod rows;
mod told;

use super::event::{Departure, Movement};
use super::rules::{self, Action, Standing};
use super::*;
use crate::forward::{Permission, SeatIndex, SourceKind};
use crate::mix::layout::{Area, Color, CustomTile, Fit, Template};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);

pub(super) fn user(name: &str) -> UserId {
    UserId::parse(name).unwrap()
}

pub(super) fn person(name: &str) -> Person {
    Person {
        user: user(name),
        name: None,
        avatar_url: None,
    }
}

pub(super) fn principal(name: &str, role: Role) -> Principal {
    Principal {
        person: person(name),
        role,
    }
}

fn service() -> Principal {
    principal("backend", Role::Service)
}

fn host() -> Principal {
    principal("host", Role::Host)
}

fn admin() -> Principal {
    principal("admin", Role::Admin)
}

fn member(name: &str) -> Principal {
    principal(name, Role::Member)
}

pub(super) fn settings(seat_mode: SeatMode) -> Settings {
    Settings {
        host: person("host"),
        max_guests: 9,
        seat_mode,
        public_program: false,
        policies: Policies::default(),
        program: Default::default(),
        layout: Default::default(),
        webhook: serde_json::Value::Null,
        metadata: serde_json::Value::Null,
    }
}

/// A room and its clock.
struct Stage {
    room: Room,
    now: Instant,
}

impl Stage {
    fn new(settings: Settings) -> Self {
        let now = Instant::now();
        let room = Room::new(RoomId::parse("demo").unwrap(), 1, settings, 15, now).unwrap();
        Stage { room, now }
    }

    /// With everybody the tests speak of in the room.
    fn mode(seat_mode: SeatMode) -> Self {
        let mut stage = Self::new(settings(seat_mode));
        for name in ["host", "bob", "eve", "dan"] {
            stage.joins(name, Role::Member);
        }
        stage.joins("admin", Role::Admin);
        stage.joins("other", Role::Host);
        stage.notices();
        stage
    }

    fn joins(&mut self, name: &str, role: Role) {
        let person = person(name);
        self.room
            .handle_presence(PresenceNews::Joined { person, role }, self.now);
    }

    fn loses(&mut self, name: &str) {
        self.room
            .handle_presence(PresenceNews::Lost { user: user(name) }, self.now);
    }

    fn run(&mut self, by: &Principal, command: Command) -> Result<Committed, Refusal> {
        let before = self.room.version;
        let outcome = self.room.handle_command(by, command, self.now);
        self.room.assert_invariants();
        match &outcome {
            Ok(done) => assert_eq!(done.changed, done.version > before),
            Err(refusal) => assert_eq!(refusal.version, Some(self.room.version)),
        }
        outcome
    }

    fn code(&mut self, by: &Principal, command: Command) -> Code {
        self.run(by, command).unwrap_err().code
    }

    fn changes(&mut self, by: &Principal, command: Command) -> bool {
        self.run(by, command).unwrap().changed
    }

    fn seat(&mut self, by: &Principal, index: u8, name: &str) -> Result<Committed, Refusal> {
        self.run(by, seat(index, name))
    }

    fn up(&mut self, name: &str, kind: SourceKind) {
        let user = user(name);
        self.room.handle_transport(TransportNews::Up { user, kind }, self.now);
        self.room.assert_invariants();
    }

    fn lost(&mut self, name: &str, kind: SourceKind) {
        let user = user(name);
        self.room.handle_transport(TransportNews::Lost { user, kind }, self.now);
        self.room.assert_invariants();
    }

    /// Whether audio and video flow.
    fn media(&mut self, name: &str, kind: SourceKind, flows: Option<(bool, bool)>) {
        let status = flows.map(|(audio, video)| SourceStatus {
            audio,
            video,
            ..SourceStatus::default()
        });
        let user = user(name);
        self.room.handle_media(MediaNews { user, kind, status }, self.now);
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.room.handle_timeout(self.now);
        self.room.assert_invariants();
        assert!(self.room.poll_timeout().is_none_or(|at| at > self.now));
    }

    fn occupancy(&self, index: usize) -> Occupancy {
        self.room.snapshot(self.now).seats[index].occupancy.clone()
    }

    fn flags(&self, index: usize) -> SeatFlags {
        self.room.snapshot(self.now).seats[index].flags
    }

    fn permission(&self, name: &str) -> Option<Permission> {
        self.room
            .desired()
            .seats
            .get(&user(name))
            .map(|(_, permission)| *permission)
    }

    fn notices(&mut self) -> Vec<Notice> {
        std::iter::from_fn(|| self.room.poll_notice()).collect()
    }

    fn events(&mut self) -> Vec<Event> {
        self.notices().into_iter().map(|notice| notice.event).collect()
    }

    /// Who is off which seat, why; who moved from where to where.
    fn changes_of_seats(&mut self) -> (Vec<Departure>, Vec<Movement>) {
        let events = self.events();
        let mut changes = events.into_iter().filter_map(|event| match event {
            Event::SeatsChanged { left, moved, .. } => Some((left, moved)),
            _ => None,
        });
        let change = changes.next().expect("seats changed");
        assert!(changes.next().is_none(), "one seats.changed per step");
        change
    }
}

fn departure(index: u8, name: &str, reason: LeaveReason) -> Departure {
    let (seat, person) = (SeatIndex(index), person(name));
    Departure { seat, person, reason }
}

fn apply(seat: Option<u8>) -> Command {
    let seat = seat.map(SeatIndex);
    let wish = Wish {
        seat,
        ..Wish::default()
    };
    Command::Apply { user: None, wish }
}

fn accept(name: &str) -> Command {
    Command::AcceptApplication {
        user: user(name),
        seat: None,
        request: None,
    }
}

fn reject(name: &str) -> Command {
    Command::RejectApplication {
        user: user(name),
        reason: None,
        request: None,
    }
}

fn invite(name: &str) -> Command {
    Command::Invite {
        user: person(name),
        wish: Wish::default(),
    }
}

fn uninvite(name: &str) -> Command {
    Command::CancelInvitation { user: user(name) }
}

fn accept_invitation() -> Command {
    Command::AcceptInvitation { request: None }
}

fn shift(from: u8, to: u8, policy: MovePolicy) -> Command {
    Command::Move {
        from: SeatIndex(from),
        to: SeatIndex(to),
        policy,
        user: None,
        if_version: None,
    }
}

fn seat(index: u8, name: &str) -> Command {
    Command::Seat {
        seat: SeatIndex(index),
        person: person(name),
        if_version: None,
    }
}

fn unseat(index: u8) -> Command {
    Command::Unseat {
        seat: SeatIndex(index),
        user: None,
        reason: None,
        if_version: None,
    }
}

fn hang_up(name: &str) -> Command {
    Command::UnseatUser {
        user: user(name),
        reason: None,
    }
}

fn flags(index: u8, patch: SeatFlagsPatch) -> Command {
    Command::SetFlags {
        seat: SeatIndex(index),
        patch,
    }
}

fn lock(index: u8, locked: bool) -> Command {
    let locked = Some(locked);
    flags(
        index,
        SeatFlagsPatch {
            locked,
            ..Default::default()
        },
    )
}

fn lock_audio(index: u8, locked: bool) -> Command {
    let audio_locked = Some(locked);
    flags(
        index,
        SeatFlagsPatch {
            audio_locked,
            ..Default::default()
        },
    )
}

fn mute_audio(index: u8, muted: bool) -> Command {
    let audio_muted = Some(muted);
    flags(
        index,
        SeatFlagsPatch {
            audio_muted,
            ..Default::default()
        },
    )
}

fn assign(seats: &[(u8, &str)]) -> Command {
    let seats = seats
        .iter()
        .map(|(index, name)| (SeatIndex(*index), Some(person(name))));
    Command::Assign {
        seats: seats.collect(),
        if_version: None,
    }
}

/// The whole canvas for one camera.
fn full_tile(seat: u8) -> CustomTile {
    CustomTile {
        seat: SeatIndex(seat),
        source: SourceKind::Camera,
        area: Area::new(0.0, 0.0, 1.0, 1.0).unwrap(),
        z: 0,
        fit: Fit::Crop,
        radius: 0.0,
        border: 0.0,
        border_color: Color::WHITE,
    }
}

fn update(change: impl FnOnce(&mut SettingsPatch)) -> Command {
    let mut patch = SettingsPatch::default();
    change(&mut patch);
    Command::Update(Box::new(patch))
}

fn policies(change: impl FnOnce(&mut Policies)) -> Policies {
    let mut policies = Policies::default();
    change(&mut policies);
    policies
}

#[test]
fn settings_out_of_range_are_refused_by_name() {
    type Change = fn(&mut Settings);
    let refused: [(&str, Change); 16] = [
        ("max_guests", |s| s.max_guests = 10),
        ("layout.volumes.10", |s| {
            s.layout.volumes = [(SeatIndex(10), 0.5)].into()
        }),
        ("layout.tiles[1].seat", |s| {
            s.max_guests = 1;
            s.layout.template = Template::Custom(vec![full_tile(1), full_tile(2)]);
        }),
        ("policies.admin_may", |s| s.policies.admin_may.push("kick".into())),
        ("policies.application_ms", |s| s.policies.application_ms = 4_999),
        ("policies.application_ms", |s| s.policies.application_ms = 1_800_001),
        ("policies.invitation_ms", |s| s.policies.invitation_ms = 1),
        ("policies.reservation_ms", |s| s.policies.reservation_ms = 2_999),
        ("policies.reservation_ms", |s| s.policies.reservation_ms = 60_001),
        ("policies.grace_ms", |s| s.policies.grace_ms = 90_001),
        ("policies.host_away_ms", |s| s.policies.host_away_ms = 600_001),
        ("policies.reject_cooldown_ms", |s| {
            s.policies.reject_cooldown_ms = 600_001
        }),
        ("policies.kick_cooldown_ms", |s| s.policies.kick_cooldown_ms = u64::MAX),
        ("policies.empty_room_ms", |s| s.policies.empty_room_ms = 29_999),
        ("policies.empty_room_ms", |s| s.policies.empty_room_ms = 86_400_001),
        ("policies.reservation_ms", |s| s.policies.reservation_ms = 0),
    ];
    for (field, change) in refused {
        let mut settings = settings(SeatMode::Apply);
        change(&mut settings);
        let room = Room::new(RoomId::parse("demo").unwrap(), 1, settings, 9, Instant::now());
        let refusal = room.err().unwrap_or_else(|| panic!("{field} was accepted"));
        assert_eq!(
            (refusal.code, refusal.field.as_deref()),
            (Code::InvalidArgument, Some(field))
        );
    }
    let accepted: [Change; 7] = [
        |s| s.max_guests = 0,
        |s| s.policies.application_ms = 0,
        |s| s.policies.reservation_ms = 60_000,
        |s| s.policies.grace_ms = 0,
        |s| s.policies.host_away_ms = 0,
        |s| s.policies.empty_room_ms = 0,
        |s| s.layout.template = Template::Custom(vec![full_tile(0), full_tile(9)]),
    ];
    for change in accepted {
        let mut settings = settings(SeatMode::Apply);
        change(&mut settings);
        Room::new(RoomId::parse("demo").unwrap(), 1, settings, 9, Instant::now()).unwrap();
    }
    let mut too_many = settings(SeatMode::Apply);
    too_many.max_guests = 16;
    assert!(Room::new(RoomId::parse("demo").unwrap(), 1, too_many, 255, Instant::now()).is_err());
}

#[test]
fn a_room_begins_idle_with_its_host_reserved() {
    let stage = Stage::mode(SeatMode::Apply);
    let snapshot = stage.room.snapshot(stage.now);
    assert_eq!(
        (snapshot.version, snapshot.phase, snapshot.seats.len()),
        (1, Phase::Idle, 10)
    );
    assert_eq!(
        stage.occupancy(0),
        Occupancy::Reserved {
            person: person("host"),
            until: None
        }
    );
    assert!(stage.room.is_as(&settings(SeatMode::Apply)));
    assert!(!stage.room.is_as(&settings(SeatMode::Free)));
}

#[test]
fn creation_is_for_service_keys_and_hosts_of_their_own_room() {
    let settings = settings(SeatMode::Apply);
    let mut allowed = vec![];
    for role in [Role::Service, Role::Host, Role::Admin, Role::Member] {
        for name in ["host", "other"] {
            if may_create(&principal(name, role), &settings).is_ok() {
                allowed.push((name, role));
            }
        }
    }
    assert_eq!(
        allowed,
        [("host", Role::Service), ("other", Role::Service), ("host", Role::Host)]
    );
}

#[test]
fn the_matrix_is_the_specification() {
    // member, admin, host, service
    let table = [
        (Action::End, [false, false, true, true]),
        (Action::ChangeSettings, [false, true, true, true]),
        (Action::ChangeAdminPolicy, [false, false, true, true]),
        (Action::Assign, [false, false, false, true]),
        (
            Action::Seat {
                oneself: true,
                free_mode: true,
            },
            [true; 4],
        ),
        (
            Action::Seat {
                oneself: true,
                free_mode: false,
            },
            [false, true, true, true],
        ),
        (
            Action::Seat {
                oneself: false,
                free_mode: true,
            },
            [false, true, true, true],
        ),
        (Action::Apply { oneself: true }, [true; 4]),
        (Action::Apply { oneself: false }, [false, false, false, true]),
        (Action::CancelApplication { oneself: true }, [true; 4]),
        (
            Action::CancelApplication { oneself: false },
            [false, false, false, true],
        ),
        (Action::AnswerApplication, [false, true, true, true]),
        (Action::Invite, [false, true, true, true]),
        (Action::CancelInvitation { own: true }, [false, true, true, true]),
        (Action::CancelInvitation { own: false }, [false, false, true, true]),
        (Action::AnswerInvitation, [true, true, true, false]),
        (Action::Ask, [false, true, true, true]),
        (
            Action::Move {
                oneself: true,
                admin: false,
            },
            [false, true, true, true],
        ),
        (
            Action::Move {
                oneself: true,
                admin: true,
            },
            [false, true, true, true],
        ),
        (
            Action::Move {
                oneself: false,
                admin: false,
            },
            [false, true, true, true],
        ),
        (
            Action::Move {
                oneself: false,
                admin: true,
            },
            [false, false, true, true],
        ),
        (
            Action::Remove {
                role: MemberRole::Member,
            },
            [false, true, true, true],
        ),
        (
            Action::Remove {
                role: MemberRole::Admin,
            },
            [false, false, true, true],
        ),
        (Action::Remove { role: MemberRole::Host }, [false, false, true, true]),
        (Action::Grant, [false, false, true, true]),
        (Action::Leave, [true; 4]),
        (Action::Kick { admin: false }, [false, true, true, true]),
        (Action::Kick { admin: true }, [false, false, true, true]),
        (Action::Lock, [false, true, true, true]),
        (Action::LockDevice, [false, true, true, true]),
        (Action::Mute { oneself: true }, [true; 4]),
        (Action::Mute { oneself: false }, [false, true, true, true]),
        (
            Action::Unmute {
                oneself: true,
                empty: false,
            },
            [true; 4],
        ),
        (
            Action::Unmute {
                oneself: false,
                empty: false,
            },
            [false; 4],
        ),
        (
            Action::Unmute {
                oneself: false,
                empty: true,
            },
            [false, true, true, true],
        ),
    ];
    let standings = [Standing::Member, Standing::Admin, Standing::Host, Standing::Service];
    for (action, expected) in table {
        let permitted = standings.map(|standing| rules::permitted(standing, action, &Policies::default()));
        assert_eq!(permitted, expected, "{action:?}");
    }
    let strict = policies(|p| p.admin_may = vec!["layout".into()]);
    assert!(!rules::permitted(Standing::Admin, Action::ChangeSettings, &strict));
    let free = policies(|p| p.self_move = true);
    for (oneself, expected) in [(true, true), (false, false)] {
        let action = Action::Move { oneself, admin: false };
        assert_eq!(rules::permitted(Standing::Member, action, &free), expected);
    }
}

#[test]
fn the_host_is_who_the_room_names() {
    let host = user("host");
    let standings = [
        ("host", Role::Member, Standing::Host),
        ("host", Role::Admin, Standing::Host),
        ("host", Role::Host, Standing::Host),
        ("host", Role::Service, Standing::Service),
        ("other", Role::Host, Standing::Admin),
        ("other", Role::Admin, Standing::Admin),
        ("other", Role::Member, Standing::Member),
    ];
    for (name, role, expected) in standings {
        assert_eq!(
            rules::standing(&principal(name, role), &host, false),
            expected,
            "{name} {role:?}"
        );
        let granted = rules::standing(&principal(name, role), &host, true);
        assert_eq!(granted, expected.max(Standing::Admin), "the higher of token and grant");
    }
}

#[test]
fn who_may_seat_whom() {
    for mode in [SeatMode::Apply, SeatMode::Free, SeatMode::External] {
        let external = mode == SeatMode::External;
        for by in [service(), host(), admin(), member("bob"), member("eve")] {
            let outcome = Stage::mode(mode).seat(&by, 1, "bob");
            let oneself = by.person.user == user("bob");
            let expected = match by.role {
                Role::Service => None,
                _ if external => Some(Code::SeatsDisabled),
                Role::Host | Role::Admin => None,
                Role::Member if oneself && mode == SeatMode::Free => None,
                Role::Member => Some(Code::PermissionDenied),
            };
            assert_eq!(outcome.err().map(|refusal| refusal.code), expected, "{mode:?} {by:?}");
        }
    }
}

#[test]
fn seating_is_refused_for_the_first_reason_that_holds() {
    let mut stage = Stage::mode(SeatMode::Apply);
    assert!(stage.changes(&host(), lock(2, true)));
    assert!(stage.changes(&host(), seat(1, "bob")));
    assert!(
        !stage.changes(&host(), seat(1, "bob")),
        "the same again changes nothing"
    );
    for (index, name, code) in [
        (0, "eve", Code::SeatIndexInvalid),
        (10, "eve", Code::SeatIndexInvalid),
        (255, "eve", Code::SeatIndexInvalid),
        (2, "eve", Code::SeatLocked),
        (1, "eve", Code::SeatOccupied),
        (3, "bob", Code::AlreadySeated),
        (3, "host", Code::AlreadySeated),
    ] {
        assert_eq!(stage.code(&host(), seat(index, name)), code, "{index} {name}");
    }
    let stale = Command::Seat {
        seat: SeatIndex(3),
        person: person("eve"),
        if_version: Some(1),
    };
    assert_eq!(stage.code(&host(), stale), Code::VersionConflict);
    let current = Command::Seat {
        seat: SeatIndex(3),
        person: person("eve"),
        if_version: Some(3),
    };
    assert!(stage.changes(&host(), current));
}

#[test]
fn a_new_name_on_the_same_seat_is_a_change_and_a_missing_one_is_not() {
    let mut stage = Stage::mode(SeatMode::Apply);
    let named = |name: Option<&str>| Command::Seat {
        seat: SeatIndex(1),
        person: Person {
            name: name.map(str::to_owned),
            ..person("bob")
        },
        if_version: None,
    };
    assert!(stage.changes(&host(), named(Some("Bob"))));
    assert!(!stage.changes(&host(), named(None)));
    assert!(stage.changes(&host(), named(Some("Bobby"))));
    assert_eq!(stage.occupancy(1).person().unwrap().name.as_deref(), Some("Bobby"));
}

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
        update(|patch| patch.policies = Some(policies(|p| p.empty_room_ms = 30_000)))
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

#[test]
fn leaving_and_kicking() {
    let mut stage = Stage::mode(SeatMode::Free);
    stage.seat(&member("bob"), 1, "bob").unwrap();
    stage.seat(&admin(), 2, "admin").unwrap();
    assert_eq!(stage.code(&member("eve"), unseat(1)), Code::PermissionDenied);
    assert_eq!(stage.code(&member("eve"), hang_up("bob")), Code::PermissionDenied);
    assert_eq!(
        stage.code(&principal("other", Role::Admin), unseat(2)),
        Code::PermissionDenied,
        "no admin kicks another"
    );
    assert_eq!(stage.code(&host(), unseat(0)), Code::SeatIndexInvalid);
    assert_eq!(stage.code(&host(), hang_up("host")), Code::SeatIndexInvalid);
    assert_eq!(stage.code(&host(), unseat(10)), Code::SeatIndexInvalid);

    let guarded = |name: &str, if_version| Command::Unseat {
        seat: SeatIndex(1),
        user: Some(user(name)),
        reason: None,
        if_version,
    };
    assert_eq!(stage.code(&host(), guarded("eve", None)), Code::Conflict);
    assert_eq!(stage.code(&host(), guarded("bob", Some(1))), Code::VersionConflict);
    assert!(stage.changes(&host(), guarded("bob", None)));
    assert_eq!(
        stage.code(&host(), guarded("bob", None)),
        Code::Conflict,
        "nobody is somebody else too"
    );
    assert!(!stage.changes(&host(), unseat(1)));
    assert!(!stage.changes(&host(), hang_up("bob")));

    let refusal = stage.seat(&member("bob"), 1, "bob").unwrap_err();
    assert_eq!((refusal.code, refusal.retry_after), (Code::Cooldown, Some(30 * SECOND)));
    stage.pass(30 * SECOND);
    stage.seat(&member("bob"), 1, "bob").unwrap();
    stage.events();
    assert!(stage.changes(&member("bob"), hang_up("bob")));
    assert_eq!(stage.changes_of_seats().0, [departure(1, "bob", LeaveReason::Left)]);
    stage.seat(&member("bob"), 3, "bob").unwrap();
    assert!(stage.changes(&member("bob"), unseat(3)), "one's own seat by number");
    stage.seat(&host(), 3, "bob").unwrap();
    assert!(stage.changes(&service(), hang_up("bob")));
    stage.seat(&host(), 3, "bob").unwrap();
    assert!(stage.changes(&host(), hang_up("admin")) || stage.permission("admin").is_none());
}

#[test]
fn a_lock_removes_and_keeps_out() {
    let mut stage = Stage::mode(SeatMode::Free);
    stage.seat(&member("bob"), 1, "bob").unwrap();
    stage.up("bob", SourceKind::Camera);
    assert_eq!(stage.code(&member("bob"), lock(1, true)), Code::PermissionDenied);
    stage.events();
    assert!(stage.changes(&admin(), lock(1, true)));
    assert_eq!(stage.changes_of_seats().0, [departure(1, "bob", LeaveReason::Locked)]);
    assert!(stage.flags(1).locked && stage.permission("bob").is_none());
    assert!(!stage.changes(&admin(), lock(1, true)));
    assert_eq!(stage.code(&member("eve"), seat(1, "eve")), Code::SeatLocked);
    assert_eq!(stage.code(&member("bob"), seat(2, "bob")), Code::Cooldown);
    assert!(stage.changes(&admin(), lock(1, false)));
    stage.seat(&member("eve"), 1, "eve").unwrap();
    assert_eq!(stage.code(&host(), lock(0, true)), Code::SeatIndexInvalid);
    assert!(!stage.changes(&host(), lock(0, false)));

    stage.seat(&principal("other", Role::Admin), 2, "other").unwrap();
    assert_eq!(
        stage.code(&admin(), lock(2, true)),
        Code::PermissionDenied,
        "it would kick an admin"
    );
}

#[test]
fn a_mute_is_the_guests_to_undo_and_a_lock_is_not() {
    let mut stage = Stage::mode(SeatMode::Apply);
    stage.seat(&host(), 1, "bob").unwrap();
    let bob = member("bob");
    let on = Some(Permission {
        audio: true,
        video: true,
    });
    let no_audio = Some(Permission {
        audio: false,
        video: true,
    });
    assert_eq!(stage.permission("bob"), on);
    assert!(stage.changes(&host(), mute_audio(1, true)));
    assert_eq!(stage.permission("bob"), no_audio);
    for by in [host(), admin(), service(), member("eve")] {
        assert_eq!(
            stage.code(&by, mute_audio(1, false)),
            Code::PermissionDenied,
            "nobody opens another's device"
        );
    }
    assert!(stage.changes(&bob, mute_audio(1, false)));
    assert_eq!(stage.permission("bob"), on);
    assert!(stage.changes(&admin(), lock_audio(1, true)));
    assert_eq!(stage.code(&bob, lock_audio(1, false)), Code::PermissionDenied);
    assert!(!stage.changes(&bob, mute_audio(1, false)));
    assert_eq!(stage.permission("bob"), no_audio);
    assert!(stage.changes(&bob, mute_audio(1, true)), "one may mute oneself");
    assert!(stage.changes(&admin(), lock_audio(1, false)));
    assert_eq!(stage.permission("bob"), no_audio, "the mute stays");

    let video = SeatFlagsPatch {
        video_locked: Some(true),
        ..Default::default()
    };
    assert!(stage.changes(&host(), flags(1, video)));
    assert_eq!(
        stage.permission("bob"),
        Some(Permission {
            audio: false,
            video: false
        })
    );
    assert!(stage.changes(&bob, unseat(1)));
    let after = SeatFlags {
        video_locked: true,
        ..Default::default()
    };
    assert_eq!(
        stage.flags(1),
        after,
        "mutes go with the person, locks stay with the seat"
    );
}

#[test]
fn an_empty_seat_can_be_muted_ahead() {
    let mut stage = Stage::mode(SeatMode::Apply);
    assert!(stage.changes(&host(), mute_audio(2, true)));
    assert!(stage.changes(&host(), mute_audio(2, false)));
    assert!(stage.changes(&host(), mute_audio(2, true)));
    stage.seat(&host(), 2, "bob").unwrap();
    assert_eq!(
        stage.permission("bob"),
        Some(Permission {
            audio: false,
            video: true
        })
    );
    assert!(stage.changes(&member("bob"), mute_audio(2, false)));
}

#[test]
fn admins_silence_the_host_whom_only_the_host_opens_again() {
    let mut stage = Stage::mode(SeatMode::Apply);
    for command in [mute_audio(0, true), lock_audio(0, true)] {
        assert_eq!(stage.code(&member("bob"), command.clone()), Code::PermissionDenied);
        assert!(stage.changes(&admin(), command));
    }
    assert!(stage.changes(&admin(), lock_audio(0, false)));
    for other in [admin(), service()] {
        assert_eq!(stage.code(&other, mute_audio(0, false)), Code::PermissionDenied);
    }
    assert!(stage.changes(&host(), mute_audio(0, false)));
}

#[test]
fn settings_change_by_permission() {
    let mut stage = Stage::mode(SeatMode::Apply);
    let public = update(|patch| patch.public_program = Some(true));
    assert_eq!(stage.code(&member("bob"), public.clone()), Code::PermissionDenied);
    assert!(stage.changes(&admin(), public.clone()));
    assert!(!stage.changes(&admin(), public.clone()));
    let fewer = policies(|p| p.admin_may.retain(|what| what != "settings"));
    let narrow = update(|patch| patch.policies = Some(fewer));
    assert_eq!(stage.code(&admin(), narrow.clone()), Code::PermissionDenied);
    assert!(stage.changes(&host(), narrow));
    assert_eq!(stage.code(&admin(), public), Code::PermissionDenied);
    let refusal = stage
        .run(&host(), update(|patch| patch.max_guests = Some(16)))
        .unwrap_err();
    assert_eq!(
        (refusal.code, refusal.field.as_deref()),
        (Code::InvalidArgument, Some("max_guests"))
    );
    let bad = policies(|p| p.grace_ms = 90_001);
    assert_eq!(
        stage.code(&host(), update(|patch| patch.policies = Some(bad))),
        Code::InvalidArgument
    );
}

#[test]
fn lowering_max_guests_removes_nobody() {
    let mut stage = Stage::mode(SeatMode::Apply);
    for name in ["a", "b", "c", "d"] {
        stage.joins(name, Role::Member);
    }
    for (index, name) in [(5, "a"), (6, "b"), (7, "c")] {
        stage.seat(&host(), index, name).unwrap();
        stage.up(name, SourceKind::Camera);
    }
    assert!(stage.changes(&host(), update(|patch| patch.max_guests = Some(2))));
    assert_eq!(stage.room.snapshot(stage.now).seats.len(), 8);
    assert_eq!(stage.code(&host(), seat(1, "d")), Code::AllSeatsOccupied);
    assert_eq!(stage.code(&host(), seat(8, "d")), Code::SeatIndexInvalid);
    assert!(stage.changes(&host(), mute_audio(7, true)));
    assert!(stage.changes(&host(), unseat(7)));
    assert_eq!(
        stage.code(&host(), lock(7, true)),
        Code::SeatIndexInvalid,
        "the seat is gone"
    );
    assert!(stage.changes(&host(), unseat(6)));
    assert!(stage.changes(&host(), seat(1, "d")));
    assert!(stage.changes(&service(), assign(&[(1, "d"), (2, "a")])));
    assert_eq!(stage.room.snapshot(stage.now).seats.len(), 3);
}

#[test]
fn an_assignment_is_one_step() {
    let mut stage = Stage::mode(SeatMode::Apply);
    stage.seat(&host(), 1, "bob").unwrap();
    stage.seat(&host(), 2, "eve").unwrap();
    stage.seat(&host(), 3, "dan").unwrap();
    stage.up("bob", SourceKind::Camera);
    stage.changes(&host(), mute_audio(1, true));
    let bob = stage.occupancy(1);
    stage.events();
    let version = stage.room.version;
    let wanted = assign(&[(2, "bob"), (1, "eve"), (4, "new")]);
    for by in [host(), admin(), member("bob")] {
        assert_eq!(stage.code(&by, wanted.clone()), Code::PermissionDenied);
    }
    assert!(stage.changes(&service(), wanted.clone()));
    assert_eq!(stage.room.version, version + 1);
    assert_eq!(stage.occupancy(2), bob, "a mover keeps the transport");
    assert!(
        stage.flags(2).audio_muted && !stage.flags(1).audio_muted,
        "and the mute"
    );
    assert_eq!(stage.occupancy(3), Occupancy::Empty);
    let (left, moved) = stage.changes_of_seats();
    assert_eq!(left, [departure(3, "dan", LeaveReason::Assigned)]);
    assert_eq!(moved.len(), 2);
    assert!(
        !stage.changes(&service(), wanted.clone()),
        "the same again changes nothing"
    );
    assert_eq!(stage.room.version, version + 1);
    assert!(stage.changes(&service(), assign(&[])));
    assert_eq!(stage.room.desired().seats.len(), 1);
}

#[test]
fn a_wrong_assignment_applies_nothing() {
    let mut stage = Stage::mode(SeatMode::Apply);
    stage.changes(&host(), lock(5, true));
    stage.seat(&host(), 1, "bob").unwrap();
    let before = stage.room.snapshot(stage.now);
    for (seats, code) in [
        (&[(2, "eve"), (0, "x")], Code::SeatIndexInvalid),
        (&[(2, "eve"), (10, "x")], Code::SeatIndexInvalid),
        (&[(2, "eve"), (5, "x")], Code::InvalidArgument),
        (&[(2, "eve"), (3, "eve")], Code::InvalidArgument),
        (&[(2, "eve"), (3, "host")], Code::InvalidArgument),
    ] {
        assert_eq!(stage.code(&service(), assign(seats)), code, "{seats:?}");
        assert_eq!(stage.room.snapshot(stage.now), before);
    }
    let stale = Command::Assign {
        seats: BTreeMap::new(),
        if_version: Some(1),
    };
    assert_eq!(stage.code(&service(), stale), Code::VersionConflict);
    let nobody_on_the_locked = Command::Assign {
        seats: BTreeMap::from([(SeatIndex(5), None), (SeatIndex(1), Some(person("bob")))]),
        if_version: None,
    };
    assert!(!stage.changes(&service(), nobody_on_the_locked));
}

#[test]
fn external_seats_are_the_signalling_servers_and_wait_without_limit() {
    let mut stage = Stage::mode(SeatMode::External);
    stage.seat(&service(), 1, "bob").unwrap();
    for command in [unseat(1), hang_up("bob"), seat(2, "eve")] {
        for by in [host(), admin(), member("bob")] {
            assert_eq!(
                stage.code(&by, command.clone()),
                Code::SeatsDisabled,
                "{by:?} {command:?}"
            );
        }
    }
    for (by, code) in [
        (host(), Code::SeatsDisabled),
        (admin(), Code::SeatsDisabled),
        (member("bob"), Code::PermissionDenied),
    ] {
        assert_eq!(stage.code(&by, lock(2, true)), code);
    }
    assert!(stage.changes(&host(), mute_audio(1, true)));
    stage.room.handle_audience(1, 1, stage.now);
    stage.pass(100_000 * SECOND);
    for name in ["bob", "host"] {
        stage.up(name, SourceKind::Camera);
        stage.lost(name, SourceKind::Camera);
    }
    stage.pass(100_000 * SECOND);
    assert!(matches!(stage.occupancy(1), Occupancy::Held { until: None, .. }));
    assert_eq!(stage.room.phase, Phase::HostAway);

    assert!(stage.changes(&host(), update(|patch| patch.seat_mode = Some(SeatMode::Apply))));
    stage.pass(15 * SECOND);
    assert_eq!(stage.occupancy(1), Occupancy::Empty);
    stage.pass(45 * SECOND);
    assert_eq!(stage.room.phase, Phase::Ended);
}
