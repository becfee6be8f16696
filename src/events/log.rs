//! The last events of one room, who is due which of them, and how far each stream has come. Pure.
//!
//! Nothing is queued for a stream. It has two marks: the message it had last, and the first event it is due and has not
//! taken. Publishing sets the second where there is none; taking moves both. An index of what each user is due finds the
//! next one without a search, so that opening, taking and resuming cost the logarithm of the log's length.

use crate::room::event::Event;
use crate::room::{Notice, Person, Recipients, Request, UserId};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

/// How many events a room remembers. A lively room says ten a second (five of them who is speaking), so this is more than
/// three minutes: far longer than the ten seconds after which somebody whose stream was lost is gone. What is dropped here
/// closes the streams that were due it as `slow`, and lets who comes back later begin with a snapshot.
pub(super) const EVENTS_MAX: usize = 2048;

/// The same in bytes, reckoned by [`weight`]: a seat list with usual names weighs about 2 KiB, so a room where nothing but
/// the seats change still remembers some 500 events, and a thousand rooms of the most talkative sort fit 1 GiB.
pub(super) const BYTES_MAX: usize = 1024 * 1024;

/// How many events one turn takes at most: what a stream whose socket is stuck keeps alive beyond the log.
pub(super) const BATCH: usize = 32;

/// Whose stream it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reader {
    User(UserId),
    /// A service key's: due every event.
    Service,
}

/// Why a stream ends; the names of SSE's `bye` and WebSocket's 4001 to 4005.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    Replaced,
    Slow,
    TokenExpired,
    RoomEnded,
    Removed,
    /// The server is going down: come back in a moment (WebSocket 1001).
    GoingAway,
}

/// What a stream has to do next.
#[derive(Clone, Debug)]
pub enum Next {
    /// Each with the `seq` of the one before for this reader.
    Notices(Vec<(u64, Arc<Notice>)>),
    Close(CloseReason),
}

/// Names one stream of a log for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Key(u64);

/// One open stream.
#[derive(Debug)]
struct Reading {
    reader: Reader,
    /// The `seq` of the message it had last.
    prev: u64,
    /// The first event it is due and has not taken.
    due: Option<u64>,
    /// It is to close once it has taken what it is due up to this `seq`.
    end: Option<(u64, CloseReason)>,
}

#[derive(Debug)]
struct Entry {
    notice: Arc<Notice>,
    bytes: usize,
}

/// The events and the streams of one room and epoch.
#[derive(Debug)]
pub(super) struct Log {
    /// In order of `seq`.
    entries: VecDeque<Entry>,
    /// What `entries` weigh.
    bytes: usize,
    /// Events up to this `seq` are forgotten.
    forgotten: u64,
    /// The `seq` of the newest event.
    last: u64,
    /// The `seq`s of `entries`, by who is due them. Together as long as `entries` have recipients, whom their weight counts.
    everybody: VecDeque<u64>,
    personal: HashMap<UserId, VecDeque<u64>>,
    readings: BTreeMap<Key, Reading>,
    /// Each user's newest stream, unless the room has closed it.
    newest: HashMap<UserId, Key>,
    /// Streams of service keys that the room has not closed.
    services: BTreeSet<Key>,
    next_key: u64,
    /// At most the users of the room: one who comes back is taken off.
    lost: BTreeSet<UserId>,
    closed: Option<CloseReason>,
}

impl Log {
    /// Of a room whose last event was `seq`.
    pub fn new(seq: u64) -> Self {
        Log {
            entries: VecDeque::new(),
            bytes: 0,
            forgotten: seq,
            last: seq,
            everybody: VecDeque::new(),
            personal: HashMap::new(),
            readings: BTreeMap::new(),
            newest: HashMap::new(),
            services: BTreeSet::new(),
            next_key: 0,
            lost: BTreeSet::new(),
            closed: None,
        }
    }

    pub fn last(&self) -> u64 {
        self.last
    }

    /// Who is to be woken is added to `woken`: the streams that are due this and were due nothing before.
    pub fn publish(&mut self, notice: Notice, woken: &mut Vec<Key>) {
        debug_assert!(notice.seq > self.last, "event {} comes after {}", notice.seq, self.last);
        if notice.seq <= self.last {
            return;
        }
        self.last = notice.seq;
        match &notice.to {
            Recipients::Everybody => {
                self.everybody.push_back(notice.seq);
                let open = self.readings.iter_mut().filter(|(_, reading)| reading.end.is_none());
                for (key, reading) in open {
                    mark(*key, reading, notice.seq, woken);
                }
            }
            Recipients::Users(users) => {
                for user in users.iter() {
                    self.personal.entry(user.clone()).or_default().push_back(notice.seq);
                }
                let theirs = users.iter().filter_map(|user| self.newest.get(user));
                for key in theirs.chain(&self.services) {
                    if let Some(reading) = self.readings.get_mut(key) {
                        mark(*key, reading, notice.seq, woken);
                    }
                }
            }
        }
        let bytes = weight(&notice);
        self.bytes += bytes;
        let notice = Arc::new(notice);
        self.entries.push_back(Entry { notice, bytes });
        // The newest stays, however much it weighs.
        while self.entries.len() > 1 && (self.entries.len() > EVENTS_MAX || self.bytes > BYTES_MAX) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let Some(Entry { notice, bytes }) = self.entries.pop_front() else {
            return;
        };
        self.bytes -= bytes;
        self.forgotten = notice.seq;
        match &notice.to {
            Recipients::Everybody => drop(self.everybody.pop_front()),
            Recipients::Users(users) => {
                for user in users.iter() {
                    if let Some(seqs) = self.personal.get_mut(user) {
                        seqs.pop_front();
                        if seqs.is_empty() {
                            self.personal.remove(user);
                        }
                    }
                }
            }
        }
    }

    /// A stream that goes on after `seq`. `None`: events after `seq` are forgotten, or `seq` was never reached. A stream
    /// that this closes as `replaced` is added to `woken`.
    pub fn open(&mut self, reader: Reader, seq: u64, woken: &mut Vec<Key>) -> Option<Key> {
        if !(self.forgotten..=self.last).contains(&seq) {
            return None;
        }
        let key = Key(self.next_key);
        self.next_key += 1;
        let mut reading = Reading {
            due: self.next_due(&reader, seq),
            reader,
            prev: seq,
            end: None,
        };
        match (self.closed, &reading.reader) {
            (Some(reason), _) => (reading.due, reading.end) = (None, Some((seq, reason))),
            (None, Reader::Service) => drop(self.services.insert(key)),
            (None, Reader::User(user)) => {
                self.lost.remove(user);
                let older = self.newest.insert(user.clone(), key);
                if let Some((older, reading)) = older.and_then(|key| Some((key, self.readings.get_mut(&key)?))) {
                    // The newer stream says where it goes on; the older one has nothing to add.
                    (reading.due, reading.end) = (None, Some((reading.prev, CloseReason::Replaced)));
                    woken.push(older);
                }
            }
        }
        self.readings.insert(key, reading);
        Some(key)
    }

    /// The stream is gone. `true`: it was its user's only one, and the room had not closed it.
    pub fn remove(&mut self, key: Key) -> bool {
        self.services.remove(&key);
        match self.readings.remove(&key).map(|reading| reading.reader) {
            Some(Reader::User(user)) if self.newest.get(&user) == Some(&key) => {
                self.newest.remove(&user);
                self.lost.insert(user);
                true
            }
            _ => false,
        }
    }

    pub fn take_lost(&mut self) -> BTreeSet<UserId> {
        std::mem::take(&mut self.lost)
    }

    pub fn has_lost(&self) -> bool {
        !self.lost.is_empty()
    }

    /// What the stream has to do now, if anything.
    pub fn take(&mut self, key: Key) -> Option<Next> {
        let reading = self.readings.get(&key)?;
        let end = reading.end;
        let Some(mut due) = reading.due else {
            return end.map(|(_, reason)| Next::Close(reason));
        };
        if due <= self.forgotten {
            // Who is sent away anyway learns why, rather than that they would have missed something.
            return Some(Next::Close(end.map_or(CloseReason::Slow, |(_, reason)| reason)));
        }
        let mut taken = Vec::new();
        let mut prev = reading.prev;
        let next = loop {
            let notice = self.at(due)?.clone();
            taken.push((prev, notice));
            prev = due;
            let next = self.next_due(&reading.reader, due);
            match next.filter(|next| end.is_none_or(|(last, _)| *next <= last)) {
                Some(next) if taken.len() < BATCH => due = next,
                next => break next,
            }
        };
        let reading = self.readings.get_mut(&key)?;
        (reading.prev, reading.due) = (prev, next);
        Some(Next::Notices(taken))
    }

    /// Whoever closes is due what is published up to now, and nothing later.
    pub fn close(&mut self, user: &UserId, reason: CloseReason, woken: &mut Vec<Key>) {
        let Some(key) = self.newest.remove(user) else {
            return;
        };
        if let Some(reading) = self.readings.get_mut(&key) {
            reading.end = Some((self.last, reason));
            woken.push(key);
        }
    }

    /// Also of every stream that is opened later.
    pub fn close_all(&mut self, reason: CloseReason, woken: &mut Vec<Key>) {
        self.closed = Some(reason);
        self.newest.clear();
        self.services.clear();
        for (key, reading) in self.readings.iter_mut().filter(|(_, reading)| reading.end.is_none()) {
            reading.end = Some((self.last, reason));
            woken.push(*key);
        }
    }

    /// The first event after `seq` that the log has and this reader is due.
    fn next_due(&self, reader: &Reader, seq: u64) -> Option<u64> {
        let first_after = |seqs: &VecDeque<u64>| seqs.get(seqs.partition_point(|at| *at <= seq)).copied();
        match reader {
            Reader::Service => {
                let index = self.entries.partition_point(|entry| entry.notice.seq <= seq);
                self.entries.get(index).map(|entry| entry.notice.seq)
            }
            Reader::User(user) => {
                let personal = self.personal.get(user).and_then(first_after);
                let common = first_after(&self.everybody);
                personal.into_iter().chain(common).min()
            }
        }
    }

    #[cfg(test)]
    pub fn remembers(&self, seq: u64) -> bool {
        self.at(seq).is_some()
    }

    /// What the log holds of one stream, without what its maps leave empty.
    #[cfg(test)]
    pub const STREAM_BYTES: usize = size_of::<(Key, Reading)>() + size_of::<(UserId, Key)>() + size_of::<Key>();

    /// That the indices name the entries' recipients and nothing else, and that the weights add up.
    #[cfg(test)]
    pub fn indices_are_exact(&self) -> bool {
        let (mut everybody, mut personal) = (VecDeque::new(), HashMap::<UserId, VecDeque<u64>>::new());
        for Entry { notice, .. } in &self.entries {
            match &notice.to {
                Recipients::Everybody => everybody.push_back(notice.seq),
                Recipients::Users(users) => users
                    .iter()
                    .for_each(|user| personal.entry(user.clone()).or_default().push_back(notice.seq)),
            }
        }
        let bytes = self.entries.iter().map(|entry| entry.bytes).sum::<usize>();
        everybody == self.everybody && personal == self.personal && bytes == self.bytes
    }

    fn at(&self, seq: u64) -> Option<&Arc<Notice>> {
        let index = self.entries.binary_search_by_key(&seq, |entry| entry.notice.seq);
        self.entries.get(index.ok()?).map(|entry| &entry.notice)
    }
}

fn mark(key: Key, reading: &mut Reading, seq: u64, woken: &mut Vec<Key>) {
    if reading.due.is_none() {
        reading.due = Some(seq);
        woken.push(key);
    }
}

/// What an entry of an index costs, with its share of the map it is in.
const RECIPIENT_BYTES: usize = 64;

/// About how much memory an event takes, with its entries in the indices. What several events share counts for each.
fn weight(notice: &Notice) -> usize {
    let recipients = match &notice.to {
        Recipients::Everybody => 1,
        Recipients::Users(users) => users.len(),
    };
    let actor = notice.actor.as_ref().map_or(0, person);
    size_of::<Notice>() + recipients * RECIPIENT_BYTES + actor + event(&notice.event)
}

/// Beyond the size of the enum itself.
fn event(event: &Event) -> usize {
    match event {
        Event::SeatsChanged {
            seats,
            sources,
            voices,
            joined,
            left,
            moved,
        } => {
            let seated = seats.iter().filter_map(|seat| seat.occupancy.person());
            let joined = joined.iter().map(|(_, person)| person);
            let left = left.iter().map(|departure| &departure.person);
            let moved = moved.iter().map(|movement| &movement.person);
            let people = seated.chain(joined).chain(left).chain(moved);
            // A row of the list without its person, one of what flows, and one of who is heard.
            seats.len() * 128 + sources.len() * 32 + voices.len() * 4 + people.map(person).sum::<usize>()
        }
        Event::ApplicationReceived { request: of }
        | Event::ApplicationCancelled { request: of }
        | Event::ApplicationProcessed { request: of, .. }
        | Event::ApplicationNoResponse { request: of, .. }
        | Event::ApplicationClosed { request: of, .. }
        | Event::InvitationReceived { request: of }
        | Event::InvitationCancelled { request: of }
        | Event::InvitationNoResponse { request: of, .. }
        | Event::InvitationClosed { request: of, .. } => request(of),
        Event::ApplicationResponded {
            request: of, reason, ..
        }
        | Event::InvitationResponded {
            request: of, reason, ..
        } => request(of) + text(reason.as_ref()),
        Event::SeatKicked { note, .. } => text(note.as_ref()),
        Event::SeatConnected { person: who, .. } | Event::SeatSuspended { person: who, .. } => person(who),
        Event::HostAway { host, .. } | Event::HostBack { host } => person(host),
        Event::HostChanged { host, previous } => person(host) + person(previous),
        Event::MemberJoined { member } | Event::MemberUpdated { member } | Event::MemberLeft { member, .. } => {
            person(&member.person)
        }
        Event::Speaking { seats } => seats.len() * 2,
        Event::StageSlots { viewer, slots } => viewer.len() + slots.len() * 32,
        Event::SeatGranted { .. }
        | Event::SeatUpdated { .. }
        | Event::SeatAsked { .. }
        | Event::SeatFirstFrame { .. }
        | Event::SeatMedia { .. }
        | Event::RoomUpdated { .. }
        | Event::RoomEnded { .. }
        | Event::Audience { .. } => 0,
    }
}

fn person(person: &Person) -> usize {
    person.user.as_str().len() + text(person.name.as_ref()) + text(person.avatar_url.as_ref())
}

fn text(text: Option<&String>) -> usize {
    text.map_or(0, String::len)
}

fn request(request: &Request) -> usize {
    let people = [Some(&request.guest), Some(&request.by), request.processed_by.as_ref()];
    people.into_iter().flatten().map(person).sum::<usize>() + json(&request.extra)
}

/// The room bounds what comes in, and with it how deep this goes.
fn json(value: &serde_json::Value) -> usize {
    use serde_json::Value;
    let heap = match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(json).sum(),
        Value::Object(map) => map.iter().map(|(key, value)| key.len() + json(value)).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    };
    size_of::<Value>() + heap
}
