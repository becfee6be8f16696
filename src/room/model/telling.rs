//! What is told, by comparing the room before a step with the room after it.

use super::*;

impl Model {
    pub(super) fn step<R>(&mut self, actor: Option<&UserId>, now: Instant, change: impl FnOnce(&mut Self) -> R) -> R {
        self.actor = actor.cloned();
        self.reasons.clear();
        self.member_reasons.clear();
        let before = self.clone();
        let result = change(self);
        // Whoever is gone is listed as long as they are seated.
        let seats = self.seats.iter().filter_map(|seat| seat.occupancy.person());
        let seated: BTreeSet<UserId> = seats.map(|person| person.user.clone()).collect();
        for (user, here) in &self.members {
            if here.gone && !seated.contains(user) {
                let reason = MemberLeftReason::Disconnected;
                self.member_reasons.entry(user.clone()).or_insert(reason);
            }
        }
        self.members.retain(|user, here| !here.gone || seated.contains(user));
        self.tell_seats(&before);
        self.tell_members(&before);
        self.tell_media(&before);
        if self.kept() != before.kept() {
            self.version += 1;
        }
        self.note_use(now);
        result
    }

    pub(super) fn kept(&self) -> Kept {
        let pending = self.requests.iter().map(|asked| asked.request.clone());
        Kept {
            phase: self.phase,
            settings: self.settings.clone(),
            seats: self.seats.clone(),
            pending: pending
                .filter(|request| request.state == RequestState::Pending)
                .collect(),
            finished: self.requests.iter().filter(|asked| asked.ended_at.is_some()).count(),
            admins: self.admins.clone(),
            bans: self.bans.clone(),
        }
    }

    pub(super) fn tell(&mut self, to: Recipients, event: Event) {
        let actor = self.actor.clone();
        self.told.push(Told { event, to, actor });
    }

    pub(super) fn tell_all(&mut self, event: Event) {
        self.tell(Recipients::Everybody, event);
    }

    pub(super) fn tell_one(&mut self, user: &UserId, event: Event) {
        self.tell(Recipients::Users(Arc::new(BTreeSet::from([user.clone()]))), event);
    }

    pub(super) fn tell_hosts(&mut self, event: Event) {
        self.tell(Recipients::Users(Arc::new(self.hosts())), event);
    }

    /// The hosts who did not do it themselves.
    pub(super) fn tell_other_hosts(&mut self, by: &UserId, event: Event) {
        let mut others = self.hosts();
        others.remove(by);
        if !others.is_empty() {
            self.tell(Recipients::Users(Arc::new(others)), event);
        }
    }

    pub(super) fn tell_seats(&mut self, before: &Model) {
        let mut joined = Vec::new();
        let mut left = Vec::new();
        let mut moved = Vec::new();
        for (seat, now) in self.guests_and_host() {
            let Some(person) = now.occupancy.person().cloned() else {
                continue;
            };
            match before.seat_of(&person.user) {
                None => joined.push((seat, person)),
                Some(from) if from != seat => moved.push(Movement { from, to: seat, person }),
                Some(_) => {}
            }
        }
        for (seat, was) in before.guests_and_host() {
            let Some(person) = was.occupancy.person().cloned() else {
                continue;
            };
            if self.seat_of(&person.user).is_none() {
                let reason = self.reasons.get(&person.user).copied();
                let reason = reason.expect("whoever is off a seat is so for a reason");
                left.push(Departure { seat, person, reason });
            }
        }
        let people = |room: &Model| -> BTreeSet<(UserId, Option<String>, Option<String>)> {
            let seats = room.seats.iter().filter_map(|seat| seat.occupancy.person().cloned());
            seats
                .map(|person| (person.user, person.name, person.avatar_url))
                .collect()
        };
        // Somebody is called otherwise now, or sits elsewhere.
        let renamed = people(self) != people(before);
        if renamed || !moved.is_empty() {
            self.tell_all(Event::SeatsChanged {
                seats: self.shown().into(),
                sources: Arc::new(self.shown_sources()),
                voices: Arc::default(),
                joined,
                left,
                moved,
            });
        }
    }

    pub(super) fn tell_members(&mut self, before: &Model) {
        let were: BTreeMap<UserId, Member> = before
            .members()
            .into_iter()
            .map(|m| (m.person.user.clone(), m))
            .collect();
        let are: BTreeMap<UserId, Member> = self.members().into_iter().map(|m| (m.person.user.clone(), m)).collect();
        for (user, member) in &are {
            let member = member.clone();
            match were.get(user) {
                None => self.tell_hosts(Event::MemberJoined { member }),
                Some(was) if *was != member => self.tell_hosts(Event::MemberUpdated { member }),
                Some(_) => {}
            }
        }
        for (user, member) in were {
            if !are.contains_key(&user) {
                let reason = self.member_reasons.get(&user).copied();
                let reason = reason.expect("whoever leaves does so for a reason");
                self.tell_hosts(Event::MemberLeft { member, reason });
            }
        }
    }

    /// Sources of the seated that have a transport.
    pub(super) fn flowing(&self) -> BTreeMap<(UserId, SourceKind), SourceStatus> {
        let mut flowing = self.sources.clone();
        flowing.retain(|source, _| self.transports.contains(source) && self.seat_of(&source.0).is_some());
        flowing
    }

    pub(super) fn tracks(&self) -> BTreeMap<(UserId, SourceKind), (TrackState, TrackState)> {
        let tracks = self.flowing().into_iter().map(|(source, status)| {
            let seat = self.seat_of(&source.0).expect("they sit somewhere");
            let flags = self.seats[usize::from(seat.0)].flags;
            let state = |locked: bool, muted: bool, flows: bool| match (locked, muted, flows) {
                (true, _, _) => TrackState::Locked,
                (_, true, _) => TrackState::Muted,
                (_, _, true) => TrackState::On,
                _ => TrackState::Off,
            };
            let audio = state(flags.audio_locked, flags.audio_muted, status.audio);
            let video = state(flags.video_locked, flags.video_muted, status.video);
            (source, (audio, video))
        });
        tracks.collect()
    }

    /// A source that is gone is off, unless its person is off the air, which is told otherwise.
    pub(super) fn tell_media(&mut self, before: &Model) {
        let off = (TrackState::Off, TrackState::Off);
        let (were, are) = (before.tracks(), self.tracks());
        let sources: BTreeSet<_> = were.keys().chain(are.keys()).cloned().collect();
        for source in sources {
            let (was, is) = (were.get(&source), are.get(&source));
            let (user, kind) = source;
            let up = self.transports.iter().any(|(up, _)| *up == user);
            let Some(seat) = self.seat_of(&user).filter(|_| up) else {
                continue;
            };
            let (audio, video) = is.copied().unwrap_or(off);
            if was.copied().unwrap_or(off) != (audio, video) {
                self.tell_all(Event::SeatMedia {
                    seat,
                    kind,
                    audio,
                    video,
                });
            }
        }
    }
}
