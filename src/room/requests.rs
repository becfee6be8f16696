//! Applications and invitations: who asks. `answers`: who answers, and what becomes of a request nobody answers.
//!
//! A pending request is decided once; afterwards it is remembered for a while, so that a retry, or a call that names an
//! older one, gets the answer that was given then. Both sides asking for the same is consent: one reservation.

mod answers;

use super::event::Event;
use super::rules::{Action, Standing};
use super::*;
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// Pending applications of one room, and pending invitations of one room (SEATS "Timers"); above it `queue_full`.
const PENDING_MAX: usize = 100;

/// How long a finished request's answer is remembered (SEATS "Objects").
const REMEMBERED: Duration = Duration::from_secs(600);

/// Finished requests remembered: every pending one decided a few times over within [`REMEMBERED`]. Above it the oldest is
/// forgotten, and a retry of it is told `request_not_found`.
const REMEMBERED_MAX: usize = 1_000;

/// Applications a user may make per [`RATE_PERIOD`] (SEATS "Timers").
const RATE: usize = 6;
const RATE_PERIOD: Duration = Duration::from_secs(60);

/// Users whose rate is known; with the queue's length, more than this within a minute takes an attack from many accounts,
/// which the queue holds off. Above it one whose last application is oldest starts anew.
const RATES_MAX: usize = 4_096;

/// Of `extra`, as JSON.
const EXTRA_BYTES: usize = 1_024;

/// What `timeout_ms` may be; 0 is the longest.
const TIMEOUT_MS: std::ops::RangeInclusive<u64> = 5_000..=30 * 60_000;

#[derive(Debug, Default)]
pub(super) struct Requests {
    /// Oldest first.
    pub pending: BTreeMap<RequestId, Request>,
    /// Since when; oldest first.
    finished: VecDeque<(Instant, Request)>,
    /// The number of the latest in this epoch.
    made: u64,
    /// The latest applications of each user, oldest first, at most [`RATE`].
    pub applied: BTreeMap<UserId, VecDeque<Instant>>,
}

impl Requests {
    pub fn of(&self, kind: RequestKind, user: &UserId) -> Option<&Request> {
        let mut pending = self.pending.values();
        pending.find(|request| request.kind == kind && request.guest.user == *user)
    }

    fn count(&self, kind: RequestKind) -> usize {
        self.pending.values().filter(|request| request.kind == kind).count()
    }

    /// The one named, or the pending one, or else what is remembered of the latest.
    fn find(&self, kind: RequestKind, user: &UserId, id: Option<RequestId>) -> Result<Request, Refusal> {
        let fits = |request: &&Request| {
            let named = id.is_none_or(|id| id == request.id);
            named && request.kind == kind && request.guest.user == *user
        };
        let finished = || self.finished.iter().rev().map(|(_, request)| request).find(fits);
        let found = self.pending.values().find(fits).or_else(finished);
        found.cloned().ok_or_else(|| {
            let what = match kind {
                RequestKind::Application => "application",
                RequestKind::Invitation => "invitation",
            };
            let detail = format!("no such {what} of {}", user.as_str());
            Refusal::new(Code::RequestNotFound, detail)
        })
    }

    fn remember(&mut self, request: Request, now: Instant) {
        self.finished.push_back((now, request));
        let old = |(since, _): &(Instant, Request)| now.saturating_duration_since(*since) >= REMEMBERED;
        while self.finished.front().is_some_and(old) || self.finished.len() > REMEMBERED_MAX {
            self.finished.pop_front();
        }
    }

    /// Answers older than their time are nobody's to hear, whenever the next one is remembered.
    pub fn forget(&mut self, now: Instant) {
        let old = |(since, _): &(Instant, Request)| now.saturating_duration_since(*since) >= REMEMBERED;
        while self.finished.front().is_some_and(old) {
            self.finished.pop_front();
        }
    }

    fn note_application(&mut self, user: &UserId, now: Instant) {
        let recent = |at: &Instant| now.saturating_duration_since(*at) < RATE_PERIOD;
        self.applied.retain(|_, times| times.back().is_some_and(recent));
        if self.applied.len() >= RATES_MAX && !self.applied.contains_key(user) {
            let quietest = self.applied.iter().min_by_key(|(_, times)| times.back().copied());
            if let Some(user) = quietest.map(|(user, _)| user.clone()) {
                self.applied.remove(&user);
            }
        }
        let times = self.applied.entry(user.clone()).or_default();
        times.push_back(now);
        while times.len() > RATE {
            times.pop_front();
        }
    }

    fn slow_enough(&self, user: &UserId, now: Instant) -> Result<(), Refusal> {
        let Some(times) = self.applied.get(user).filter(|times| times.len() >= RATE) else {
            return Ok(());
        };
        let free_at = times.front().map_or(now, |first| *first + RATE_PERIOD);
        if free_at <= now {
            return Ok(());
        }
        Err(Refusal {
            retry_after: Some(free_at.saturating_duration_since(now)),
            ..Refusal::new(Code::RateLimited, format!("at most {RATE} applications a minute"))
        })
    }

    fn queued(&self, kind: RequestKind) -> Result<(), Refusal> {
        if self.count(kind) < PENDING_MAX {
            return Ok(());
        }
        Err(Refusal::new(
            Code::QueueFull,
            format!("{PENDING_MAX} are waiting for an answer already"),
        ))
    }
}

/// What is asked, checked.
struct Asked {
    kind: RequestKind,
    guest: Person,
    by: Person,
    wish: Wish,
    lasting: Duration,
}

impl Asked {
    fn is(&self, request: &Request) -> bool {
        let lasting = request.expires_at.saturating_duration_since(request.created_at);
        (request.seat, request.media, &request.extra, lasting)
            == (self.wish.seat, self.wish.media, &self.wish.extra, self.lasting)
    }
}

/// Asking.
impl Room {
    /// SEATS row 1.
    pub(super) fn apply(
        &mut self,
        by: &Principal,
        standing: Standing,
        user: Option<Person>,
        wish: Wish,
        now: Instant,
    ) -> Result<Outcome, Refusal> {
        self.permit_requests()?;
        let guest = match user {
            Some(user) => user,
            None if standing == Standing::Service => {
                return Err(Refusal::invalid("user", "a service key names who applies"));
            }
            None => by.person.clone(),
        };
        let oneself = standing != Standing::Service && guest.user == by.person.user;
        self.permit(standing, Action::Apply { oneself })?;
        let asked = self.asked(RequestKind::Application, guest, &by.person, wish)?;
        let user = asked.guest.user.clone();
        if oneself {
            self.in_the_room(&user, now)?;
        }
        self.unseated(&user)?;
        let pending = self.requests.of(RequestKind::Application, &user).cloned();
        if let Some(request) = pending.as_ref().filter(|request| asked.is(request)) {
            return Ok(Outcome::Asked {
                request: request.clone(),
                deduplicated: true,
                matched: false,
                granted: None,
            });
        }
        self.cooled_down(&user, now)?;
        self.requests.slow_enough(&user, now)?;
        let invited = self
            .requests
            .of(RequestKind::Invitation, &user)
            .map(|invitation| invitation.id);
        if let Some(invitation) = invited {
            let seat = self.place_of(invitation, asked.wish.seat)?;
            self.requests.note_application(&user, now);
            return self.accept_invited(invitation, seat, &asked.guest, now).map(matched);
        }
        if self.settings.seat_mode == SeatMode::Free {
            return self.apply_freely(asked, now);
        }
        match pending {
            // Its place in the queue is free for the new one.
            Some(old) => {
                self.finish(old.id, RequestState::Superseded, now);
            }
            None => self.requests.queued(RequestKind::Application)?,
        }
        self.requests.note_application(&user, now);
        let request = self.ask(asked, now);
        self.tell_hosts(Event::ApplicationReceived {
            request: request.clone(),
        });
        self.commit(now);
        Ok(stands(request))
    }

    /// SEATS row 5a by way of row 1: whoever applies sits down. Hosts learn it from `seats.changed` alone: no application
    /// was ever theirs to answer.
    fn apply_freely(&mut self, asked: Asked, now: Instant) -> Result<Outcome, Refusal> {
        let seat = self.seat_for(asked.wish.seat)?;
        self.capacity(1)?;
        self.requests.note_application(&asked.guest.user, now);
        // One from before seats were free, now rather than after: the latest to end is the one remembered.
        self.supersede_requests(&asked.guest.user, now);
        let guest = asked.guest.clone();
        let application = self.ask(asked, now).id;
        let (request, granted) = self.seat_applicant(application, seat, &guest, now)?;
        self.commit(now);
        Ok(Outcome::Asked {
            request,
            deduplicated: false,
            matched: false,
            granted: Some(granted),
        })
    }

    /// SEATS row 6.
    pub(super) fn invite(
        &mut self,
        by: &Principal,
        standing: Standing,
        user: Person,
        wish: Wish,
        now: Instant,
    ) -> Result<Outcome, Refusal> {
        self.permit_requests()?;
        self.permit(standing, Action::Invite)?;
        let asked = self.asked(RequestKind::Invitation, user, &by.person, wish)?;
        let user = asked.guest.user.clone();
        self.unseated(&user)?;
        if standing != Standing::Service {
            self.in_the_room(&user, now)?;
        }
        if let Some(request) = self.requests.of(RequestKind::Invitation, &user) {
            if request.by.user != by.person.user {
                let detail = format!("{} has an invitation of {}", user.as_str(), request.by.user.as_str());
                return Err(Refusal::new(Code::AlreadyInvited, detail));
            }
            return Ok(Outcome::Asked {
                request: request.clone(),
                deduplicated: true,
                matched: false,
                granted: None,
            });
        }
        self.capacity(1)?;
        let application = self
            .requests
            .of(RequestKind::Application, &user)
            .map(|request| request.id);
        if let Some(application) = application {
            let seat = self.place_of(application, asked.wish.seat)?;
            return self.accept_applied(application, seat, &asked.by, now).map(matched);
        }
        self.requests.queued(RequestKind::Invitation)?;
        let request = self.ask(asked, now);
        self.tell(
            &user,
            Event::InvitationReceived {
                request: request.clone(),
            },
        );
        self.commit(now);
        Ok(stands(request))
    }

    /// In external mode nobody asks: the signalling server says who sits where.
    fn permit_requests(&self) -> Result<(), Refusal> {
        if !self.external() {
            return Ok(());
        }
        let detail = "seats of this room are given by its signalling server only";
        Err(Refusal::new(Code::SeatsDisabled, detail))
    }

    fn asked(&self, kind: RequestKind, guest: Person, by: &Person, wish: Wish) -> Result<Asked, Refusal> {
        if let Some(seat) = wish.seat {
            self.guest_seat(seat)?;
        }
        let extra = &wish.extra;
        if !extra.is_null() && serde_json::to_string(extra).map_or(usize::MAX, |text| text.len()) > EXTRA_BYTES {
            let detail = format!("extra is at most {EXTRA_BYTES} bytes of JSON");
            return Err(Refusal::invalid("extra", detail));
        }
        let policies = &self.settings.policies;
        let usual = match kind {
            RequestKind::Application => policies.application_ms,
            RequestKind::Invitation => policies.invitation_ms,
        };
        let timeout_ms = match wish.timeout_ms.unwrap_or(usual) {
            0 => *TIMEOUT_MS.end(),
            ms if TIMEOUT_MS.contains(&ms) => ms,
            ms => {
                let (shortest, longest) = (TIMEOUT_MS.start(), TIMEOUT_MS.end());
                let detail = format!("timeout_ms is {shortest} to {longest}, or 0 for the longest, not {ms}");
                return Err(Refusal::invalid("timeout_ms", detail));
            }
        };
        Ok(Asked {
            kind,
            guest: self.known(guest),
            by: self.known(by.clone()),
            wish,
            lasting: Duration::from_millis(timeout_ms),
        })
    }

    fn ask(&mut self, asked: Asked, now: Instant) -> Request {
        self.requests.made += 1;
        let id = RequestId {
            epoch: self.epoch,
            number: self.requests.made,
        };
        let request = Request {
            id,
            kind: asked.kind,
            guest: asked.guest,
            by: asked.by,
            seat: asked.wish.seat,
            media: asked.wish.media,
            extra: asked.wish.extra,
            created_at: now,
            expires_at: now + asked.lasting,
            state: RequestState::Pending,
            processed_by: None,
            granted: None,
        };
        self.requests.pending.insert(id, request.clone());
        request
    }
}

fn stands(request: Request) -> Outcome {
    Outcome::Asked {
        request,
        deduplicated: false,
        matched: false,
        granted: None,
    }
}

/// Both want it: the other side's request was accepted.
fn matched((request, granted): (Request, Granted)) -> Outcome {
    Outcome::Asked {
        request,
        deduplicated: false,
        matched: true,
        granted: Some(granted),
    }
}
