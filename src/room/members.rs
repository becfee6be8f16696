//! Who is in the room: people with an event stream, those who lost theirs a moment ago, and those who are seated without.
//! Also who counts as host or admin, who is banned, and how many are here.
//!
//! There are as many members as streams were open in the last seconds; [`MEMBERS_MAX`] bounds them.

use super::event::{Event, MemberLeftReason};
use super::machine::HOST_SEAT;
use super::rules::{self, Action, Standing};
use super::*;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// How long somebody whose stream was lost may take to open another (SEATS row 18).
pub(super) const RETURN: Duration = Duration::from_secs(10);

/// Members of one room. Each takes some hundred bytes here and a socket elsewhere; more in one room are an attack, or
/// an audience that is better served by playback alone. Above it streams are refused with `capacity_exhausted`.
const MEMBERS_MAX: usize = 100_000;

/// Admins by the room's grant: no show has as many. Above it a grant is refused.
const GRANTS_MAX: usize = 256;

/// Bans in force. Each takes a host's command; above it the one that ends first is forgotten.
const BANS_MAX: usize = 10_000;

/// The longest ban: longer than any room lives, and short enough for every clock.
const BAN_MAX: Duration = Duration::from_secs(366 * 24 * 3600);

/// `audience` is told this often at most (SEATS).
const AUDIENCE_INTERVAL: Duration = Duration::from_secs(1);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Here {
    pub person: Person,
    /// The token's.
    pub role: Role,
    pub presence: Presence,
    pub joined_at: Instant,
    /// Suspended until then.
    pub lost_until: Option<Instant>,
}

#[derive(Debug, Default)]
pub(super) struct Members {
    pub all: BTreeMap<UserId, Here>,
    /// Those of `all` who are suspended, by when they are gone.
    pub lost: BTreeSet<(Instant, UserId)>,
    /// Those of `all` who came with an admin's or a host's token.
    pub admins: BTreeSet<UserId>,
    pub online: usize,
}

impl Members {
    pub fn present(&self, user: &UserId) -> bool {
        let here = self.all.get(user);
        here.is_some_and(|here| here.presence != Presence::Gone)
    }

    /// Adds or replaces.
    pub fn put(&mut self, here: Here) {
        let user = here.person.user.clone();
        self.take(&user);
        if here.presence == Presence::Online {
            self.online += 1;
        }
        if let Some(until) = here.lost_until {
            self.lost.insert((until, user.clone()));
        }
        if matches!(here.role, Role::Admin | Role::Host) {
            self.admins.insert(user.clone());
        }
        self.all.insert(user, here);
    }

    pub fn take(&mut self, user: &UserId) -> Option<Here> {
        let here = self.all.remove(user)?;
        if here.presence == Presence::Online {
            self.online = self.online.saturating_sub(1);
        }
        if let Some(until) = here.lost_until {
            self.lost.remove(&(until, user.clone()));
        }
        self.admins.remove(user);
        Some(here)
    }
}

/// How many are here, as it was told last.
#[derive(Debug, Default)]
pub(super) struct Audience {
    /// Everything that takes of the room's media.
    pub viewers: usize,
    /// Those of them who are no members.
    pub strangers: usize,
    pub told: u64,
    told_at: Option<Instant>,
    /// When to tell what has changed since.
    pub due: Option<Instant>,
}

/// Reading.
impl Room {
    pub(super) fn role_of(&self, user: &UserId) -> MemberRole {
        if *user == self.settings.host.user {
            MemberRole::Host
        } else if self.grants.contains(user) || self.members.admins.contains(user) {
            MemberRole::Admin
        } else {
            MemberRole::Member
        }
    }

    pub(super) fn is_admin(&self, user: &UserId) -> bool {
        self.role_of(user) == MemberRole::Admin
    }

    /// SEATS' H: the host and the admins.
    pub(super) fn hosts(&self) -> BTreeSet<UserId> {
        let mut hosts: BTreeSet<UserId> = self.grants.union(&self.members.admins).cloned().collect();
        hosts.insert(self.settings.host.user.clone());
        hosts
    }

    pub(super) fn standing(&self, by: &Principal) -> Standing {
        let granted = self.grants.contains(&by.person.user);
        rules::standing(by, &self.settings.host.user, granted)
    }

    pub(super) fn member(&self, user: &UserId) -> Option<Member> {
        let here = self.members.all.get(user)?;
        Some(Member {
            person: here.person.clone(),
            role: self.role_of(user),
            presence: here.presence,
            joined_at: here.joined_at,
            seat: self.seat_of(user),
        })
    }

    /// With the name and picture they came with, where the caller gave none.
    pub(super) fn known(&self, person: Person) -> Person {
        match self.members.all.get(&person.user) {
            Some(here) => person.or(&here.person),
            None => person,
        }
    }

    pub(super) fn in_the_room(&self, user: &UserId, now: Instant) -> Result<(), Refusal> {
        self.not_banned(user, now)?;
        if self.members.present(user) {
            return Ok(());
        }
        let detail = format!("{} is not in the room: no event stream is open", user.as_str());
        Err(Refusal::new(Code::NotInRoom, detail))
    }

    pub(super) fn not_banned(&self, user: &UserId, now: Instant) -> Result<(), Refusal> {
        match self.bans.get(user) {
            Some(until) if *until > now => Err(Refusal {
                retry_after: Some(until.saturating_duration_since(now)),
                ..Refusal::new(Code::Banned, format!("{} is banned from this room", user.as_str()))
            }),
            _ => Ok(()),
        }
    }

    pub(super) fn room_for_one_more(&self, user: &UserId) -> Result<(), Refusal> {
        if self.members.all.len() < MEMBERS_MAX || self.members.all.contains_key(user) {
            return Ok(());
        }
        let detail = format!("{MEMBERS_MAX} people are in the room already");
        Err(Refusal::new(Code::CapacityExhausted, detail))
    }
}

/// Coming and going. What of it is told follows from who was listed before the step and who is after it.
impl Room {
    pub(super) fn joined(&mut self, person: Person, role: Role, now: Instant) {
        let user = person.user.clone();
        if role == Role::Service || self.not_banned(&user, now).is_err() {
            return;
        }
        self.touch(&user);
        let old = self.members.all.get(&user);
        let old = old.filter(|old| old.presence != Presence::Gone);
        self.members.put(Here {
            person,
            role,
            presence: Presence::Online,
            joined_at: old.map_or(now, |old| old.joined_at),
            lost_until: None,
        });
        self.publish(now);
    }

    /// The stream is lost: they may come back.
    pub(super) fn suspended(&mut self, user: &UserId, now: Instant) {
        let Some(here) = self.members.all.get(user) else { return };
        if here.presence != Presence::Online {
            return;
        }
        let here = Here {
            presence: Presence::Suspended,
            lost_until: Some(now + RETURN),
            ..here.clone()
        };
        self.touch(user);
        self.members.put(here);
        self.publish(now);
    }

    /// They did not come back in time.
    pub(super) fn gone(&mut self, user: &UserId, now: Instant) {
        let withdrawn = self.withdraw_requests(user, now);
        self.disappear(user, MemberLeftReason::Disconnected);
        if withdrawn {
            self.commit(now);
        } else {
            self.publish(now);
        }
        self.note_use(now);
    }

    /// Off the list, or listed as gone while a seat is theirs, as the host's always is.
    fn disappear(&mut self, user: &UserId, reason: MemberLeftReason) {
        self.touch(user);
        let Some(here) = self.members.take(user) else { return };
        if self.seat_of(user).is_some() {
            self.members.put(Here {
                presence: Presence::Gone,
                lost_until: None,
                ..here
            });
        } else {
            self.draft.leaves(user, reason);
        }
    }

    /// Remembers how somebody is listed before the step changes that. Before the change, each time.
    pub(super) fn touch(&mut self, user: &UserId) {
        if !self.draft.touched.contains_key(user) {
            let member = self.member(user);
            self.draft.touched.insert(user.clone(), member);
        }
    }

    /// `member.*` of whoever is listed otherwise than before the step.
    pub(super) fn tell_members(&mut self) {
        let touched = std::mem::take(&mut self.draft.touched);
        // before anybody is told: they are no hosts to tell any more
        for user in touched.keys() {
            let gone = self.members.all.get(user).map(|here| here.presence) == Some(Presence::Gone);
            if gone && self.seat_of(user).is_none() {
                self.members.take(user);
            }
        }
        for (user, before) in touched {
            let reason = self.draft.reasons.remove(&user);
            match (before, self.member(&user)) {
                (None, Some(member)) => self.tell_hosts(Event::MemberJoined { member }),
                (Some(before), Some(member)) if before != member => self.tell_hosts(Event::MemberUpdated { member }),
                (Some(member), None) => {
                    let reason = reason.unwrap_or(MemberLeftReason::Disconnected);
                    self.tell_hosts(Event::MemberLeft { member, reason });
                }
                (None, None) | (Some(_), Some(_)) => {}
            }
        }
    }

    pub(super) fn tell_audience(&mut self, now: Instant) {
        let count = (self.members.online.saturating_add(self.audience.strangers)) as u64;
        let due = self.audience.told_at.map_or(now, |at| at + AUDIENCE_INTERVAL);
        if self.phase == Phase::Ended || count == self.audience.told {
            self.audience.due = None;
        } else if due > now {
            self.audience.due = Some(due);
        } else {
            self.audience.told = count;
            self.audience.told_at = Some(now);
            self.audience.due = None;
            self.tell_all(Event::Audience { count });
            self.publish(now);
        }
    }
}

/// Commands.
impl Room {
    pub(super) fn grant_role(
        &mut self,
        standing: Standing,
        user: &UserId,
        role: MemberRole,
        now: Instant,
    ) -> Result<Outcome, Refusal> {
        self.permit(standing, Action::Grant)?;
        if role == MemberRole::Host {
            return Err(Refusal::invalid(
                "role",
                "a room has one host; only admin and member are granted",
            ));
        }
        if *user == self.settings.host.user {
            return Err(Refusal::invalid("user", "the host stays the host"));
        }
        if role == MemberRole::Admin && self.grants.len() >= GRANTS_MAX && !self.grants.contains(user) {
            return Err(Refusal::invalid(
                "role",
                format!("a room has at most {GRANTS_MAX} admins"),
            ));
        }
        self.touch(user);
        let changed = match role {
            MemberRole::Admin => self.grants.insert(user.clone()),
            MemberRole::Member | MemberRole::Host => self.grants.remove(user),
        };
        if changed {
            self.commit(now);
        } else {
            self.publish(now);
        }
        Ok(Outcome::Done)
    }

    /// `DELETE members/{user}`: leave, or be made to.
    pub(super) fn remove_member(
        &mut self,
        by: &Principal,
        standing: Standing,
        user: &UserId,
        ban: Option<Duration>,
        note: Option<String>,
        now: Instant,
    ) -> Result<Outcome, Refusal> {
        if *user == by.person.user && standing != Standing::Service {
            self.leave_room(user, now);
            return Ok(Outcome::Done);
        }
        let role = self.role_of(user);
        self.permit(standing, Action::Remove { role })?;
        if role == MemberRole::Host {
            return Err(Refusal::invalid("user", "the host stays; the room can be ended"));
        }
        if ban.is_some_and(|ban| ban > BAN_MAX) {
            let detail = format!("a ban lasts at most {} ms", BAN_MAX.as_millis());
            return Err(Refusal::invalid("ban_ms", detail));
        }
        let seat = self.seat_of(user);
        if seat.is_some() {
            self.permit_seat_changes(standing)?;
        }
        let mut changed = self.withdraw_requests(user, now);
        self.touch(user);
        if let Some(seat) = seat {
            self.vacate(seat, LeaveReason::Removed, note);
            self.cool_down(user, self.settings.policies.kick_cooldown_ms, now);
            changed = true;
        }
        let (reason, ban_changed) = match ban {
            Some(ban) if !ban.is_zero() => (MemberLeftReason::Banned, self.ban(user, now + ban, now)),
            Some(_) => (MemberLeftReason::Removed, self.bans.remove(user).is_some()),
            None => (MemberLeftReason::Removed, false),
        };
        self.disappear(user, reason);
        if changed || ban_changed {
            self.commit(now);
        } else {
            self.publish(now);
        }
        Ok(Outcome::Removed(user.clone()))
    }

    /// SEATS rows 12 and 18. In external mode the seat stays: it is the signalling server's.
    fn leave_room(&mut self, user: &UserId, now: Instant) {
        let mut changed = self.withdraw_requests(user, now);
        let seat = self.seat_of(user);
        if let Some(seat) = seat.filter(|seat| *seat != HOST_SEAT && !self.external()) {
            self.vacate(seat, LeaveReason::Left, None);
            changed = true;
        }
        self.disappear(user, MemberLeftReason::Left);
        if changed {
            self.commit(now);
        } else {
            self.publish(now);
        }
    }

    fn ban(&mut self, user: &UserId, until: Instant, now: Instant) -> bool {
        self.bans.retain(|_, until| *until > now);
        let granted = self.grants.remove(user);
        let changed = self.bans.insert(user.clone(), until) != Some(until) || granted;
        if self.bans.len() > BANS_MAX {
            let soonest = self.bans.iter().min_by_key(|(_, until)| **until);
            if let Some(user) = soonest.map(|(user, _)| user.clone()) {
                self.bans.remove(&user);
            }
        }
        changed
    }
}
