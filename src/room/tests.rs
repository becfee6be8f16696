mod permissions;
mod program;
mod races;
mod rows;
mod seats;
mod told;
mod waits;

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

/// Each of them named.
fn all(policies: Policies) -> PoliciesPatch {
    let all = serde_json::to_value(policies).unwrap();
    serde_json::from_value(all).unwrap()
}
