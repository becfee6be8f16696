//! What of a room survives a restart, as a value: a copy of everything but members, media and finished requests. Times are
//! the wall clock's, in milliseconds since 1970, since a restart leaves no other clock in common.
//!
//! A room comes back as if every transport and stream had been lost at the moment it is restored. Waits that ran before
//! go on with what the wall clock leaves of them. Its epoch is a new one; its version goes on, one higher if the restart
//! took somebody off the air.

use super::machine::HOST_SEAT;
use super::members::{Here, RETURN};
use super::settings::SEATS;
use super::*;
use crate::forward::SeatIndex;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// One moment on both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    pub now: Instant,
    /// Milliseconds since 1970.
    pub wall_ms: u64,
}

impl Moment {
    fn wall(self, at: Instant) -> u64 {
        let ahead = at.saturating_duration_since(self.now);
        let behind = self.now.saturating_duration_since(at);
        let later = self.wall_ms.saturating_add(millis(ahead));
        // Rounded down like `ahead`, so that what is a whole number of milliseconds apart stays so.
        later.saturating_sub(millis(behind))
    }

    /// `None`: further away than the clock reaches, which only a damaged record says.
    fn instant(self, wall_ms: u64) -> Option<Instant> {
        if wall_ms >= self.wall_ms {
            self.now.checked_add(Duration::from_millis(wall_ms - self.wall_ms))
        } else {
            // The monotonic clock may have begun later than that; then the beginning is as good.
            let behind = Duration::from_millis(self.wall_ms - wall_ms);
            Some(self.now.checked_sub(behind).unwrap_or(self.now))
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The current form. A record of another one is refused, not guessed at.
pub const FORM: u32 = 1;

/// A room at one version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    pub form: u32,
    pub id: String,
    pub epoch: u64,
    pub version: u64,
    phase: Phase,
    /// What it was created with.
    created: Settings,
    settings: Settings,
    /// Index = seat number.
    seats: Vec<SeatRecord>,
    /// Pending ones, oldest first.
    requests: Vec<RequestRecord>,
    admins: BTreeSet<UserId>,
    bans: BTreeMap<UserId, u64>,
    cooldowns: BTreeMap<UserId, u64>,
    /// When each applied lately.
    applied: BTreeMap<UserId, Vec<u64>>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct SeatRecord {
    state: SeatState,
    flags: SeatFlags,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum SeatState {
    Empty,
    Reserved {
        person: Person,
        /// Older records have none.
        #[serde(default)]
        request: Option<RequestId>,
        until_ms: Option<u64>,
    },
    Occupied {
        person: Person,
    },
    Held {
        person: Person,
        until_ms: Option<u64>,
    },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct RequestRecord {
    id: RequestId,
    kind: RequestKind,
    guest: Person,
    by: Person,
    seat: Option<u8>,
    media: RequestMedia,
    extra: serde_json::Value,
    created_ms: u64,
    lasts_ms: u64,
    /// The guest was in the room, and may be again.
    present: bool,
}

/// Keeping.
impl Room {
    /// What of this room is to survive a restart. The room is at its newest version when no `handle_*` ran since.
    pub fn record(&self, moment: Moment) -> Record {
        let wall = |(user, at): (&UserId, &Instant)| (user.clone(), moment.wall(*at));
        let applied = self.requests.applied.iter();
        let applied = applied.map(|(user, times)| (user.clone(), times.iter().map(|at| moment.wall(*at)).collect()));
        Record {
            form: FORM,
            id: self.id.as_str().to_owned(),
            epoch: self.epoch,
            version: self.version,
            phase: self.phase,
            created: self.created.clone(),
            settings: self.settings.clone(),
            seats: self.seats.iter().map(|seat| seat_record(seat, moment)).collect(),
            requests: self
                .requests
                .pending
                .values()
                .map(|request| self.request_record(request, moment))
                .collect(),
            admins: self.grants.clone(),
            bans: self.bans.iter().map(wall).collect(),
            cooldowns: self.cooldowns.iter().map(wall).collect(),
            applied: applied.collect(),
        }
    }

    fn request_record(&self, request: &Request, moment: Moment) -> RequestRecord {
        RequestRecord {
            id: request.id,
            kind: request.kind,
            guest: request.guest.clone(),
            by: request.by.clone(),
            seat: request.seat.map(|seat| seat.0),
            media: request.media,
            extra: request.extra.clone(),
            created_ms: moment.wall(request.created_at),
            lasts_ms: millis(request.expires_at.saturating_duration_since(request.created_at)),
            present: self.members.present(&request.guest.user),
        }
    }
}

fn seat_record(seat: &Seat, moment: Moment) -> SeatRecord {
    let state = match &seat.occupancy {
        Occupancy::Empty => SeatState::Empty,
        Occupancy::Reserved { person, request, until } => SeatState::Reserved {
            person: person.clone(),
            request: *request,
            until_ms: until.map(|at| moment.wall(at)),
        },
        Occupancy::Occupied { person, .. } => SeatState::Occupied { person: person.clone() },
        Occupancy::Held { person, until } => SeatState::Held {
            person: person.clone(),
            until_ms: until.map(|at| moment.wall(at)),
        },
    };
    let flags = seat.flags;
    SeatRecord { state, flags }
}

/// Coming back.
impl Room {
    /// The room of a record, after the process ended without notice: whoever was on a seat with a transport is held there
    /// for the grace from `moment` on, waits go on with what the wall clock leaves of them, and the waiting applicants have
    /// a moment to open their streams again. What is overdue happens at the first `handle_*`. A record that contradicts
    /// itself, or has another form, is refused.
    pub fn restore(record: Record, epoch: u64, max_guests_allowed: u8, moment: Moment) -> Result<Self, Refusal> {
        if record.form != FORM {
            return Err(unusable(format!("it has form {}, not {FORM}", record.form)));
        }
        if record.phase == Phase::Ended {
            return Err(Refusal::new(Code::RoomEnded, "the room has ended"));
        }
        let id = RoomId::parse(&record.id)?;
        consistent(&record)?;
        // Held to the seats there can be, not to the node's limit: lowering that ends no room.
        let mut settings = record.settings;
        // It may name seats there were before `max_guests` was lowered.
        let layout = std::mem::take(&mut settings.layout);
        let mut room = Room::new(id, epoch, settings, SEATS - 1, moment.now)?;
        room.settings.layout = layout;
        room.max_guests_allowed = max_guests_allowed;
        room.version = record.version;
        room.created = record.created;
        room.phase = record.phase;
        room.grants = record.admins;
        room.bans = instants(record.bans, moment);
        room.cooldowns = instants(record.cooldowns, moment);
        for (user, times) in record.applied {
            let times = times.into_iter().filter_map(|at| moment.instant(at)).collect();
            room.requests.applied.insert(user, times);
        }
        room.restore_seats(record.seats, moment);
        for request in record.requests {
            room.restore_request(request, moment)?;
        }
        room.debug_assert_invariants();
        Ok(room)
    }

    fn restore_seats(&mut self, seats: Vec<SeatRecord>, moment: Moment) {
        let mut off_the_air = false;
        for ((index, seat), record) in (0..SEATS).map(SeatIndex).zip(self.seats.clone()).zip(seats) {
            // A limit as the room's mode has it, so that no wait lacks one it needs or has one it must not have.
            let limited = |until_ms: Option<u64>| {
                let until = until_ms.and_then(|at| moment.instant(at));
                let host_waits = index == HOST_SEAT && self.phase == Phase::Idle;
                self.limit(0, moment.now)
                    .filter(|_| !host_waits)
                    .map(|now| until.unwrap_or(now))
            };
            let occupancy = match record.state {
                SeatState::Empty => seat.occupancy,
                SeatState::Reserved {
                    person,
                    request,
                    until_ms,
                } => Occupancy::Reserved {
                    person,
                    request,
                    until: limited(until_ms),
                },
                SeatState::Held { person, until_ms } => Occupancy::Held {
                    person,
                    until: limited(until_ms),
                },
                SeatState::Occupied { person } => {
                    off_the_air = true;
                    let policies = &self.settings.policies;
                    let wait_ms = if index == HOST_SEAT {
                        policies.host_away_ms
                    } else {
                        policies.grace_ms
                    };
                    let until = self.limit(wait_ms, moment.now);
                    Occupancy::Held { person, until }
                }
            };
            if let Some(seat) = self.seats.get_mut(usize::from(index.0)) {
                seat.occupancy = occupancy;
                seat.flags = record.flags;
            }
        }
        if self.phase == Phase::Live {
            self.phase = Phase::HostAway;
        }
        if off_the_air {
            self.version += 1;
        }
    }

    fn restore_request(&mut self, record: RequestRecord, moment: Moment) -> Result<(), Refusal> {
        let ends_ms = record.created_ms.saturating_add(record.lasts_ms);
        let expires_at = moment
            .instant(ends_ms)
            .ok_or_else(|| unusable("a request never ends".into()))?;
        let lasts = Duration::from_millis(record.lasts_ms);
        let guest = record.guest;
        if record.present && !self.members.present(&guest.user) {
            self.members.put(Here {
                person: guest.clone(),
                role: Role::Member,
                presence: Presence::Suspended,
                joined_at: moment.now,
                lost_until: Some(moment.now + RETURN),
            });
        }
        let request = Request {
            id: record.id,
            kind: record.kind,
            guest,
            by: record.by,
            seat: record.seat.map(SeatIndex),
            media: record.media,
            extra: record.extra,
            // Counted back from its end, which is what matters.
            created_at: expires_at.checked_sub(lasts).unwrap_or(moment.now),
            expires_at,
            state: RequestState::Pending,
            processed_by: None,
            granted: None,
        };
        self.requests.pending.insert(request.id, request);
        Ok(())
    }
}

fn instants(times: BTreeMap<UserId, u64>, moment: Moment) -> BTreeMap<UserId, Instant> {
    let times = times
        .into_iter()
        .filter_map(|(user, at)| Some((user, moment.instant(at)?)));
    times.collect()
}

fn unusable(why: String) -> Refusal {
    Refusal::invalid("record", format!("a room's record is unusable: {why}"))
}

/// Whether a room can be so at all: the record comes from a disk.
fn consistent(record: &Record) -> Result<(), Refusal> {
    if record.seats.len() != usize::from(SEATS) {
        return Err(unusable(format!("it has {} seats", record.seats.len())));
    }
    let person = |seat: &SeatRecord| match &seat.state {
        SeatState::Empty => None,
        SeatState::Reserved { person, .. } | SeatState::Occupied { person } | SeatState::Held { person, .. } => {
            Some(person.user.clone())
        }
    };
    let mut seated = BTreeSet::new();
    for seat in &record.seats {
        let Some(user) = person(seat) else { continue };
        if seat.flags.locked {
            return Err(unusable(format!("{} sits on a locked seat", user.as_str())));
        }
        if !seated.insert(user.clone()) {
            return Err(unusable(format!("{} has two seats", user.as_str())));
        }
    }
    let host = record.seats.first();
    if host.and_then(person).as_ref() != Some(&record.settings.host.user) {
        return Err(unusable("seat 0 is not the host's".into()));
    }
    let fits = match host.map(|seat| &seat.state) {
        Some(SeatState::Reserved { .. }) => record.phase == Phase::Idle,
        Some(SeatState::Occupied { .. }) => record.phase == Phase::Live,
        Some(SeatState::Held { .. }) => record.phase == Phase::HostAway,
        Some(SeatState::Empty) | None => false,
    };
    if !fits {
        return Err(unusable("its phase does not fit its host's seat".into()));
    }
    let mut asking = BTreeSet::new();
    for request in &record.requests {
        let user = &request.guest.user;
        if seated.contains(user) || !asking.insert((request.kind, user.clone())) {
            return Err(unusable(format!("{} has a request too many", user.as_str())));
        }
    }
    Ok(())
}
