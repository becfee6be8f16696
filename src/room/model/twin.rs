//! The machine and the model side by side: the same goes into both, and everything that comes out is compared.

use super::*;

/// What is told as often as its own pace allows, not as it happens: see [`Twin::pace`].
fn paced(event: &Event) -> bool {
    matches!(event, Event::Audience { .. } | Event::Speaking { .. })
}

/// The wall clock when a room begins.
const WALL_MS: u64 = 1_790_000_000_000;

/// One room, twice, with one clock.
pub(in crate::room) struct Twin {
    pub room: Room,
    pub model: Model,
    pub now: Instant,
    began: Instant,
    allowed: u8,
    /// As the store has it: written whenever the version moved, and not otherwise.
    stored: Record,
    /// Who sits where, by what was told alone.
    followed: BTreeMap<UserId, SeatIndex>,
    seq: u64,
    audience_told: Option<(Instant, u64)>,
    speaking_told: Option<Instant>,
    /// What was done, for whoever reads of a difference.
    trail: Vec<String>,
    /// Of the last step.
    pub notices: Vec<Notice>,
}

impl Twin {
    pub fn new(settings: Settings, allowed: u8) -> Self {
        let now = Instant::now();
        let id = RoomId::parse("demo").unwrap();
        let room = Room::new(id.clone(), 1, settings.clone(), allowed, now).unwrap();
        let model = Model::new(id, 1, settings.clone(), allowed, now);
        let moment = Moment { now, wall_ms: WALL_MS };
        let mut twin = Twin {
            stored: room.record(moment),
            seq: room.snapshot(now).seq,
            room,
            model,
            now,
            began: now,
            allowed,
            followed: BTreeMap::from([(settings.host.user, HOST_SEAT)]),
            audience_told: None,
            speaking_told: None,
            trail: Vec::new(),
            notices: Vec::new(),
        };
        twin.compare();
        twin
    }

    pub fn command(&mut self, by: &Principal, command: Command) -> Result<Committed, Refusal> {
        self.trail
            .push(format!("{} ({:?}): {command:?}", by.person.user.as_str(), by.role));
        // What is due happens before the command, whoever gives it.
        self.room.handle_timeout(self.now);
        let before = self.room.version();
        let expected = self.model.command(by, &command, self.now);
        let given = self.room.handle_command(by, command, self.now);
        match (&given, &expected) {
            (Ok(done), Ok(outcome)) => {
                self.require(&done.outcome, outcome, "the outcome");
                self.require(&done.changed, &(done.version > before), "whether it changed");
                self.holds(
                    done.version <= self.room.version(),
                    "the version answered is one there was",
                );
            }
            (Err(refusal), Err(codes)) if codes.contains(&refusal.code) => {
                let known = refusal.version.is_some_and(|version| version <= self.room.version());
                self.holds(known, "a refusal names the version");
            }
            _ => self.differ("the answer", &given, &expected),
        }
        self.compare();
        given
    }

    pub fn transport(&mut self, news: TransportNews) {
        self.trail.push(format!("{news:?}"));
        self.model.transport(&news, self.now);
        self.room.handle_transport(news, self.now);
        self.compare();
    }

    /// Somebody's stream opens, if the room lets them in.
    pub fn join(&mut self, by: &Principal) -> Result<(), Code> {
        self.trail
            .push(format!("{} ({:?}) joins", by.person.user.as_str(), by.role));
        self.room.handle_timeout(self.now);
        self.model.pass(self.now);
        let entered = self.room.may_enter(by, self.now).map_err(|refusal| refusal.code);
        self.require(&entered, &self.model.may_enter(by, self.now), "whether they may enter");
        if entered.is_ok() {
            let (person, role) = (by.person.clone(), by.role);
            let news = PresenceNews::Joined { person, role };
            self.model.presence(&news, self.now);
            self.room.handle_presence(news, self.now);
        }
        self.compare();
        entered
    }

    /// Somebody's stream is lost.
    pub fn lose(&mut self, user: UserId) {
        self.trail.push(format!("{}'s stream is lost", user.as_str()));
        let news = PresenceNews::Lost { user };
        self.model.presence(&news, self.now);
        self.room.handle_presence(news, self.now);
        self.compare();
    }

    pub fn media(&mut self, news: MediaNews) {
        self.trail.push(format!("{news:?}"));
        self.model.media(&news, self.now);
        self.room.handle_media(news, self.now);
        self.compare();
    }

    pub fn capacity(&mut self, available: bool) {
        self.trail.push(format!("capacity {available}"));
        self.model.capacity(available);
        let guests = if available { usize::MAX } else { 0 };
        let why = String::new();
        self.room.handle_capacity(Capacity { guests, why });
        self.compare();
    }

    pub fn audience(&mut self, viewers: usize, strangers: usize) {
        self.trail
            .push(format!("{viewers} viewers, {strangers} of them strangers"));
        self.model.audience(viewers, strangers, self.now);
        self.room.handle_audience(viewers, strangers, self.now);
        self.compare();
    }

    pub fn levels(&mut self, levels: BTreeMap<UserId, i8>) {
        self.trail.push(format!("{levels:?}"));
        self.model.pass(self.now);
        self.room.handle_levels(levels, self.now);
        self.compare();
    }

    /// Time passes unheeded, then the room wakes.
    pub fn pass(&mut self, time: Duration) {
        self.trail.push(format!("{time:?} pass"));
        self.now += time;
        self.model.pass(self.now);
        self.room.handle_timeout(self.now);
        self.compare();
    }

    /// To the moment the room next wants to be woken.
    pub fn until_deadline(&mut self) {
        if let Some(at) = self.room.poll_timeout() {
            self.pass(at - self.now);
        }
    }

    /// The process dies and another one, with what the store has, takes over `down` later.
    pub fn crash(&mut self, down: Duration) {
        self.trail.push(format!("crash, {down:?} down"));
        self.now += down;
        let epoch = self.model.epoch + 1;
        let json = serde_json::to_string(&self.stored).unwrap();
        let record: Record = serde_json::from_str(&json).unwrap();
        assert_eq!(record, self.stored, "a record is what its JSON says");
        let restored = Room::restore(record, epoch, self.allowed, self.moment());
        if self.room.snapshot(self.now).phase == Phase::Ended {
            let refused = restored.err().map(|refusal| refusal.code);
            self.require(&refused, &Some(Code::RoomEnded), "an ended room does not come back,");
            return;
        }
        self.room = restored.unwrap();
        self.model.restart(epoch, self.now);
        self.room.handle_timeout(self.now);
        self.model.pass(self.now);
        self.seq = 1;
        self.audience_told = None;
        self.speaking_told = None;
        self.compare();
    }

    fn trail(&self) -> String {
        self.trail.join("\n  ")
    }

    fn moment(&self) -> Moment {
        let elapsed = u64::try_from((self.now - self.began).as_millis()).unwrap();
        Moment {
            now: self.now,
            wall_ms: WALL_MS + elapsed,
        }
    }

    fn differ(&self, what: &str, machine: &dyn std::fmt::Debug, model: &dyn std::fmt::Debug) -> ! {
        let trail = self.trail();
        panic!("{what} differ after\n  {trail}\nmachine: {machine:#?}\nmodel: {model:#?}");
    }

    fn require<T: PartialEq + std::fmt::Debug>(&self, machine: &T, model: &T, what: &str) {
        if machine != model {
            self.differ(what, machine, model);
        }
    }

    fn holds(&self, condition: bool, what: &str) {
        if !condition {
            let trail = self.trail();
            panic!("{what}: broken after\n  {trail}");
        }
    }

    fn compare(&mut self) {
        self.room.assert_invariants();
        self.compare_notices();
        let machine = self.room.snapshot(self.now);
        let model = self.model.snapshot(self.now);
        self.require(&machine.phase, &model.phase, "phases");
        self.require(&machine.settings, &model.settings, "settings");
        self.require(&machine.seats, &model.seats, "seats");
        self.require(&machine.requests, &model.requests, "requests");
        self.require(&machine.hosts, &model.hosts, "hosts");
        self.require(&machine.sources, &model.sources, "sources");
        self.require(&machine.version, &model.version, "versions");
        self.require(&machine.epoch, &model.epoch, "epochs");
        self.require(&machine.seq, &self.seq, "the snapshot's and the notices' seq");
        self.require(&self.room.members(), &self.model.members(), "members");
        self.require(&self.room.desired(), &self.model.desired(), "permissions");
        for kind in [RequestKind::Application, RequestKind::Invitation] {
            self.require(
                &self.room.requests(kind),
                &self.model.requests(kind),
                "pending requests",
            );
        }
        let wakes = self.room.poll_timeout();
        self.holds(wakes.is_none_or(|at| at > self.now), "nothing due is left lying");
        if let Some(due) = self.model.due() {
            self.holds(wakes.is_some_and(|at| at <= due), "the room wakes for what is due");
        }
        self.rules(&machine);
        if self.room.version() != self.stored.version || self.stored.epoch != machine.epoch {
            self.stored = self.room.record(self.moment());
            self.model.stored();
        }
    }

    /// The invariants of the specification, as a reader of the room can see them.
    fn rules(&self, shown: &Snapshot) {
        let mut users: Vec<&UserId> = Vec::new();
        for seat in &shown.seats {
            users.extend(seat.occupancy.person().map(|person| &person.user));
            let locked = seat.flags.locked && seat.occupancy != Occupancy::Empty;
            self.holds(!locked, "a locked seat is empty");
        }
        let seated: BTreeSet<&UserId> = users.iter().copied().collect();
        self.holds(seated.len() == users.len(), "a user has at most one seat");
        if shown.phase != Phase::Ended {
            let publish: BTreeSet<UserId> = self.room.desired().seats.into_keys().collect();
            self.holds(
                publish.iter().eq(seated.iter().copied()),
                "exactly the seated may publish",
            );
        }
        for (seat, voice) in &shown.voices {
            let on = shown.seats.get(usize::from(seat.0)).is_some_and(|seat| {
                let occupied = matches!(seat.occupancy, Occupancy::Occupied { .. });
                occupied && !seat.flags.audio_locked && !seat.flags.audio_muted
            });
            self.holds(on, "only who may be heard is");
            self.holds((-127..=0).contains(&voice.level), "a level is in dBov");
        }
        let mut asked = BTreeSet::new();
        for request in &shown.requests {
            let user = &request.guest.user;
            self.holds(asked.insert((request.kind, user)), "one pending request of a kind");
            self.holds(!seated.contains(user), "the seated have no pending request");
            self.holds(request.state == RequestState::Pending, "pending means pending");
        }
        let followed: BTreeSet<(&UserId, usize)> = self
            .followed
            .iter()
            .map(|(user, seat)| (user, usize::from(seat.0)))
            .collect();
        let sitting = shown.seats.iter().enumerate();
        let sitting: BTreeSet<(&UserId, usize)> = sitting
            .filter_map(|(index, seat)| Some((&seat.occupancy.person()?.user, index)))
            .collect();
        self.require(&sitting, &followed, "who sits where, and what was told of it,");
    }

    fn compare_notices(&mut self) {
        let notices: Vec<Notice> = std::iter::from_fn(|| self.room.poll_notice()).collect();
        let mut expected = self.model.told();
        let mut surplus = Vec::new();
        for notice in &notices {
            self.seq += 1;
            self.require(&notice.seq, &self.seq, "seq");
            self.require(&notice.epoch, &self.model.epoch, "epochs");
            self.require(&notice.at, &self.now, "the time of a notice");
            self.holds(notice.version <= self.room.version(), "no notice is of a later version");
            self.follow(&notice.event);
            if paced(&notice.event) {
                self.pace(&notice.event);
                continue;
            }
            let told = Told {
                event: in_order(notice.event.clone()),
                to: notice.to.clone(),
                actor: notice.actor.as_ref().map(|person| person.user.clone()),
            };
            match expected.iter().position(|other| *other == told) {
                Some(at) => drop(expected.remove(at)),
                None => surplus.push(told),
            }
        }
        if !surplus.is_empty() || !expected.is_empty() {
            self.differ("events (those only one of them tells)", &surplus, &expected);
        }
        self.notices = notices;
        let told = self.audience_told.map_or(0, |(_, count)| count);
        self.require(
            &self.room.snapshot(self.now).audience,
            &told,
            "the audience as shown and as told",
        );
        let silent = self.audience_told.is_none_or(|(at, _)| self.now - at >= SECOND);
        if silent && self.room.snapshot(self.now).phase != Phase::Ended {
            self.require(&told, &self.model.count(), "the audience as told");
        }
    }

    fn pace(&mut self, event: &Event) {
        let now = self.now;
        let apart = |last: Option<Instant>, least: Duration| last.is_none_or(|at| now - at >= least);
        match event {
            Event::Audience { count } => {
                let last = self.audience_told.map(|(at, _)| at);
                self.holds(apart(last, SECOND), "the audience is told once a second");
                self.audience_told = Some((now, *count));
            }
            Event::Speaking { seats } => {
                let may = |seat: &SeatIndex| {
                    let mut seated = self.room.desired().seats.into_values();
                    seated.any(|(at, permission)| at == *seat && permission.audio)
                };
                self.holds(seats.iter().all(|(seat, _)| may(seat)), "only the seated are heard");
                self.holds(seats.is_sorted_by(|a, b| a.1 >= b.1), "the loudest come first");
                let fast = Duration::from_millis(200);
                self.holds(apart(self.speaking_told, fast), "speaking is told five times a second");
                self.speaking_told = Some(now);
            }
            _ => {}
        }
    }

    fn follow(&mut self, event: &Event) {
        let Event::SeatsChanged {
            joined, left, moved, ..
        } = event
        else {
            return;
        };
        for departure in left {
            let was = self.followed.remove(&departure.person.user);
            self.require(&was, &Some(departure.seat), "the seat left");
        }
        for movement in moved {
            let was = self.followed.insert(movement.person.user.clone(), movement.to);
            self.require(&was, &Some(movement.from), "the seat moved from");
        }
        for (seat, person) in joined {
            let was = self.followed.insert(person.user.clone(), *seat);
            self.require(&was, &None, "the seat of who joined");
        }
    }
}

impl Drop for Twin {
    /// The machine's own assertions know nothing of what was done.
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("panicked after\n  {}", self.trail());
        }
    }
}

/// The lists of `seats.changed` have no order to rely on, how loud it is then is no part of what happened, and why an
/// invitation failed is said in free words.
fn in_order(mut event: Event) -> Event {
    if let Event::InvitationResponded { request, reason, .. } = &mut event
        && request.state == RequestState::Failed
    {
        *reason = None;
    }
    if let Event::SeatsChanged {
        joined,
        left,
        moved,
        voices,
        ..
    } = &mut event
    {
        *voices = Arc::default();
        joined.sort_by_key(|(seat, _)| *seat);
        left.sort_by_key(|departure| departure.seat);
        moved.sort_by_key(|movement| movement.to);
    }
    event
}
