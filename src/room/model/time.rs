//! What nobody commands: time, transports, people coming and going, and the end.

use super::*;

impl Model {
    pub(super) fn dues(&self) -> Vec<(Instant, Due)> {
        let mut dues = Vec::new();
        if self.phase == Phase::Ended {
            return dues;
        }
        for (index, seat) in self.guests_and_host() {
            dues.extend(seat.occupancy.until().map(|at| (at, Due::Seat(index))));
        }
        for asked in self.requests.iter().filter(|asked| asked.ended_at.is_none()) {
            dues.push((asked.request.expires_at, Due::Request(asked.request.id)));
        }
        for (user, here) in self.members.iter().filter(|(_, here)| !here.gone) {
            dues.extend(here.lost_at.map(|at| (at + 10 * SECOND, Due::Gone(user.clone()))));
        }
        let empty_ms = self.settings.policies.empty_room_ms;
        let unused = self.unused_since.filter(|_| empty_ms > 0);
        dues.extend(unused.map(|since| (since + Duration::from_millis(empty_ms), Due::Empty)));
        dues
    }

    pub(super) fn happen(&mut self, due: Due, now: Instant) {
        match due {
            Due::Seat(SeatIndex(0)) => self.miss_host(now),
            Due::Seat(index) => {
                let held = matches!(self.seats[usize::from(index.0)].occupancy, Occupancy::Held { .. });
                let reason = if held {
                    LeaveReason::Disconnected
                } else {
                    LeaveReason::MediaTimeout
                };
                self.kick(index, reason, None);
            }
            Due::Request(id) => self.expire(id, now),
            Due::Gone(user) => {
                self.finish_of(&user, ClosedReason::Left, now);
                if let Some(here) = self.members.get_mut(&user) {
                    here.gone = true;
                }
            }
            Due::Empty => self.end(EndReason::Empty, now),
        }
    }

    pub(super) fn note_use(&mut self, now: Instant) {
        let online = self.members.values().any(|here| here.lost_at.is_none());
        let used = online || self.viewers > 0 || !self.transports.is_empty();
        if used {
            self.unused_since = None;
        } else {
            self.unused_since = self.unused_since.or(Some(now));
        }
    }

    pub(super) fn come(&mut self, person: &Person, role: Role, now: Instant) {
        let since = self
            .members
            .get(&person.user)
            .filter(|here| !here.gone)
            .map(|here| here.since);
        let here = Here {
            person: person.clone(),
            role,
            since: since.unwrap_or(now),
            lost_at: None,
            gone: false,
        };
        self.members.insert(person.user.clone(), here);
    }

    pub(super) fn connect(&mut self, user: &UserId, kind: SourceKind, now: Instant) {
        let Some(index) = self.seat_of(user) else { return };
        self.transports.push((user.clone(), kind));
        let seat = &mut self.seats[usize::from(index.0)];
        let resumed = matches!(seat.occupancy, Occupancy::Held { .. });
        if matches!(seat.occupancy, Occupancy::Occupied { .. }) {
            return;
        }
        let person = seat.occupancy.person().cloned().expect("they sit here");
        seat.occupancy = Occupancy::Occupied {
            person: person.clone(),
            since: now,
        };
        self.tell_all(Event::SeatConnected {
            seat: index,
            person: person.clone(),
            resumed,
        });
        if index == HOST_SEAT {
            let back = self.phase == Phase::HostAway;
            self.phase = Phase::Live;
            if back {
                self.tell_all(Event::HostBack { host: person });
            } else {
                self.tell_room();
            }
        }
    }

    pub(super) fn disconnect(&mut self, user: &UserId, kind: SourceKind, now: Instant) {
        let Some(at) = self.transports.iter().position(|up| *up == (user.clone(), kind)) else {
            // None of this source was up: what was heard of it is as old, if theirs is heard of at all.
            if self.transports.iter().any(|(up, _)| up == user) {
                self.sources.remove(&(user.clone(), kind));
            }
            return;
        };
        self.transports.remove(at);
        if !self.transports.contains(&(user.clone(), kind)) {
            self.sources.remove(&(user.clone(), kind));
        }
        if self.transports.iter().any(|(up, _)| up == user) {
            return;
        }
        self.sources.retain(|(of, _), _| of != user);
        let Some(index) = self.seat_of(user) else { return };
        let policies = &self.settings.policies;
        let wait_ms = if index == HOST_SEAT {
            policies.host_away_ms
        } else {
            policies.grace_ms
        };
        let until = self.limit(wait_ms, now);
        let seat = &mut self.seats[usize::from(index.0)];
        let person = seat.occupancy.person().cloned().expect("they sit here");
        seat.occupancy = Occupancy::Held {
            person: person.clone(),
            until,
        };
        self.tell_all(Event::SeatSuspended {
            seat: index,
            person: person.clone(),
            until,
        });
        if index == HOST_SEAT {
            self.phase = Phase::HostAway;
            self.tell_all(Event::HostAway { host: person, until });
        }
    }

    /// The host was away too long.
    pub(super) fn miss_host(&mut self, now: Instant) {
        let online = self.members.iter().filter(|(_, here)| here.lost_at.is_none());
        let mut admins: Vec<_> = online
            .filter(|(user, _)| self.is_admin(user))
            .map(|(user, here)| (here.since, user.clone()))
            .collect();
        admins.sort();
        let promote = self.settings.policies.host_away == HostAwayPolicy::PromoteAdmin;
        let Some((_, user)) = admins.into_iter().next().filter(|_| promote) else {
            return self.end(EndReason::HostAway, now);
        };
        let previous = self.settings.host.clone();
        let running = self.transports.iter().any(|(up, _)| *up == user);
        self.vacate(HOST_SEAT, LeaveReason::Disconnected);
        let picked = self.seat_of(&user).map(|from| self.lift(from));
        // As the seat knows them, if they have one.
        let seated = picked.as_ref().and_then(|seat| seat.occupancy.person().cloned());
        let host = seated.unwrap_or_else(|| self.members[&user].person.clone());
        self.settings.host = host.clone();
        if let Some(picked) = picked {
            self.put(HOST_SEAT, picked);
        }
        if !running {
            self.seats[0].occupancy = Occupancy::Reserved {
                person: host.clone(),
                request: None,
                until: None,
            };
            self.tell_one(
                &user,
                Event::SeatGranted {
                    seat: HOST_SEAT,
                    connect_by: None,
                    media: RequestMedia::Av,
                },
            );
        }
        self.finish_of_seated(&user, now);
        self.phase = if running { Phase::Live } else { Phase::Idle };
        self.tell_all(Event::HostChanged { host, previous });
        self.tell_room();
    }

    pub(super) fn tell_room(&mut self) {
        let (phase, max_guests) = (self.phase, self.settings.max_guests);
        self.tell_all(Event::RoomUpdated { phase, max_guests });
    }

    pub(super) fn end(&mut self, reason: EndReason, now: Instant) {
        for index in (1..SEATS).map(SeatIndex) {
            self.vacate(index, LeaveReason::RoomEnded);
        }
        self.finish_all(ClosedReason::RoomEnded, now);
        self.seats[0].occupancy = Occupancy::Reserved {
            person: self.settings.host.clone(),
            request: None,
            until: None,
        };
        self.phase = Phase::Ended;
        self.transports.clear();
        self.sources.clear();
        self.tell_all(Event::RoomEnded { reason });
    }

    /// Empties a seat for good.
    pub(super) fn vacate(&mut self, index: SeatIndex, reason: LeaveReason) -> Option<UserId> {
        let user = self.occupant(index)?;
        self.lift(index);
        self.transports.retain(|(up, _)| *up != user);
        self.sources.retain(|(of, _), _| *of != user);
        self.reasons.insert(user.clone(), reason);
        Some(user)
    }

    /// Takes whoever sits there up, with the mutes, which are theirs.
    pub(super) fn lift(&mut self, index: SeatIndex) -> Seat {
        let seat = &mut self.seats[usize::from(index.0)];
        let lifted = seat.clone();
        seat.occupancy = Occupancy::Empty;
        seat.flags.audio_muted = false;
        seat.flags.video_muted = false;
        lifted
    }

    pub(super) fn put(&mut self, index: SeatIndex, lifted: Seat) {
        let seat = &mut self.seats[usize::from(index.0)];
        seat.occupancy = lifted.occupancy;
        seat.flags.audio_muted = lifted.flags.audio_muted;
        seat.flags.video_muted = lifted.flags.video_muted;
    }
}
