//! Applications and invitations.

use super::seating::{Rank, Refusals};
use super::*;

/// How long a final answer is remembered.
const REMEMBERED: Duration = Duration::from_secs(600);
const PENDING_MAX: usize = 100;
const APPLICATIONS_A_MINUTE: usize = 6;
const LONGEST_MS: u64 = 30 * 60 * 1_000;

impl Model {
    /// Which request a call means: the one it names, else the pending one, else the latest remembered.
    fn meant(&self, kind: RequestKind, user: &UserId, named: Option<RequestId>, now: Instant) -> Option<Request> {
        let theirs = self.requests.iter().filter(|asked| {
            let forgotten = asked.ended_at.is_some_and(|at| at + REMEMBERED <= now);
            asked.request.kind == kind && asked.request.guest.user == *user && !forgotten
        });
        let theirs: Vec<&Request> = theirs.map(|asked| &asked.request).collect();
        if let Some(id) = named {
            return theirs.into_iter().find(|request| request.id == id).cloned();
        }
        let pending = theirs.iter().find(|request| request.state == RequestState::Pending);
        pending.or(theirs.last()).map(|request| (*request).clone())
    }

    fn pending(&self, kind: RequestKind, user: &UserId) -> Option<Request> {
        let mut asked = self.requests.iter().map(|asked| &asked.request);
        asked
            .find(|r| r.kind == kind && r.guest.user == *user && r.state == RequestState::Pending)
            .cloned()
    }

    fn finish(&mut self, id: RequestId, state: RequestState, by: Option<&Person>, now: Instant) -> Request {
        let mut asked = self.requests.iter_mut();
        let asked = asked.find(|asked| asked.request.id == id).expect("it is known");
        asked.request.state = state;
        asked.request.processed_by = by.cloned();
        asked.ended_at = Some(now);
        asked.request.clone()
    }

    /// A request ended without anybody's answer: who asked hears of no response, the other side that it is closed.
    fn close(&mut self, request: Request, reason: ClosedReason) {
        let guest = request.guest.user.clone();
        let inviter = request.by.user.clone();
        let (asker, other) = match request.kind {
            RequestKind::Application => (
                Event::ApplicationNoResponse {
                    request: request.clone(),
                    reason,
                },
                Event::ApplicationClosed { request, reason },
            ),
            RequestKind::Invitation => (
                Event::InvitationNoResponse {
                    request: request.clone(),
                    reason,
                },
                Event::InvitationClosed { request, reason },
            ),
        };
        match asker {
            Event::ApplicationNoResponse { .. } => {
                self.tell_one(&guest, asker);
                self.tell_hosts(other);
            }
            _ => {
                self.tell_one(&inviter, asker);
                self.tell_one(&guest, other);
            }
        }
    }

    pub(super) fn expire(&mut self, id: RequestId, now: Instant) {
        let request = self.finish(id, RequestState::Expired, None, now);
        self.close(request, ClosedReason::Timeout);
    }

    /// The person is gone: applications are withdrawn, invitations lead nowhere.
    pub(super) fn finish_of(&mut self, user: &UserId, reason: ClosedReason, now: Instant) {
        if let Some(request) = self.pending(RequestKind::Application, user) {
            let request = self.finish(request.id, RequestState::Cancelled, None, now);
            self.tell_hosts(Event::ApplicationClosed { request, reason });
        }
        if let Some(request) = self.pending(RequestKind::Invitation, user) {
            let request = self.finish(request.id, RequestState::Failed, None, now);
            let inviter = request.by.user.clone();
            self.tell_one(&inviter, Event::InvitationNoResponse { request, reason });
        }
    }

    /// The person got a seat by another way.
    pub(super) fn finish_of_seated(&mut self, user: &UserId, now: Instant) {
        let reason = ClosedReason::AlreadySeated;
        if let Some(request) = self.pending(RequestKind::Application, user) {
            let request = self.finish(request.id, RequestState::Superseded, None, now);
            self.tell_hosts(Event::ApplicationClosed { request, reason });
        }
        if let Some(request) = self.pending(RequestKind::Invitation, user) {
            let request = self.finish(request.id, RequestState::Superseded, None, now);
            let inviter = request.by.user.clone();
            self.tell_one(
                &inviter,
                Event::InvitationNoResponse {
                    request: request.clone(),
                    reason,
                },
            );
            self.tell_one(user, Event::InvitationClosed { request, reason });
        }
    }

    pub(super) fn finish_all(&mut self, reason: ClosedReason, now: Instant) {
        for kind in [RequestKind::Application, RequestKind::Invitation] {
            for request in self.requests(kind) {
                let request = self.finish(request.id, RequestState::Failed, None, now);
                self.close(request, reason);
            }
        }
    }

    fn wrong_wish(&self, wish: &Wish) -> bool {
        let timeout = wish
            .timeout_ms
            .is_some_and(|ms| ms != 0 && !(5_000..=LONGEST_MS).contains(&ms));
        let long = !wish.extra.is_null() && serde_json::to_string(&wish.extra).is_ok_and(|json| json.len() > 1_024);
        timeout || long
    }

    fn lasting(&self, kind: RequestKind, wish: &Wish) -> u64 {
        let policies = &self.settings.policies;
        let usual = match kind {
            RequestKind::Application => policies.application_ms,
            RequestKind::Invitation => policies.invitation_ms,
        };
        match wish.timeout_ms.unwrap_or(usual) {
            0 => LONGEST_MS,
            ms => ms,
        }
    }

    fn new_request(&mut self, kind: RequestKind, guest: &Person, by: &Person, wish: &Wish, now: Instant) -> Request {
        let ms = self.lasting(kind, wish);
        self.asked += 1;
        let request = Request {
            id: RequestId {
                epoch: self.epoch,
                number: self.asked,
            },
            kind,
            guest: guest.clone(),
            by: by.clone(),
            seat: wish.seat,
            media: wish.media,
            extra: wish.extra.clone(),
            created_at: now,
            expires_at: now + Duration::from_millis(ms),
            state: RequestState::Pending,
            processed_by: None,
            granted: None,
        };
        self.requests.push(Asked {
            request: request.clone(),
            ended_at: None,
        });
        request
    }

    /// Where somebody who wants `named` can sit down, or why nowhere.
    fn place_for(&self, named: Option<SeatIndex>) -> Result<SeatIndex, Vec<Code>> {
        let free = |index: SeatIndex| {
            !self.no_guest_seat(index) && !self.locked(index) && self.occupant(index).is_none() && !self.full()
        };
        if let Some(index) = named.filter(|index| free(*index)) {
            return self.capacity.then_some(index).ok_or(vec![Code::CapacityExhausted]);
        }
        let lowest = (1..SEATS).map(SeatIndex).find(|index| free(*index));
        let mut refusals = Refusals::default();
        refusals.when(lowest.is_none(), Code::AllSeatsOccupied);
        refusals.when(!self.capacity, Code::CapacityExhausted);
        if let Some(index) = named
            && !self.settings.policies.fallback_any
        {
            refusals.when(self.locked(index), Code::SeatLocked);
            refusals.when(self.no_guest_seat(index), Code::SeatIndexInvalid);
            refusals.when(true, Code::SeatOccupied);
        }
        refusals.settle()?;
        lowest.ok_or(vec![Code::AllSeatsOccupied])
    }

    /// Row 5, by a request that waited for an answer.
    fn accept(&mut self, request: &Request, at: SeatIndex, by: &Person, now: Instant) -> (Request, Granted) {
        let (request, granted) = self.seat_by(request, at, by, now);
        if request.kind == RequestKind::Application {
            self.tell_other_hosts(
                &by.user,
                Event::ApplicationProcessed {
                    request: request.clone(),
                    accepted: true,
                    seat: Some(at),
                },
            );
        }
        (request, granted)
    }

    /// Row 5, by an accepted request.
    fn seat_by(&mut self, request: &Request, at: SeatIndex, by: &Person, now: Instant) -> (Request, Granted) {
        self.finish(request.id, RequestState::Accepted, Some(by), now);
        let mut asked = self.requests.iter_mut();
        let asked = asked.find(|asked| asked.request.id == request.id).expect("it is known");
        asked.request.granted = Some(at);
        let request = asked.request.clone();
        let user = request.guest.user.clone();
        self.reserve(at, &request.guest.clone(), Some(&request), now);
        match request.kind {
            RequestKind::Application => {
                self.tell_one(
                    &user,
                    Event::ApplicationResponded {
                        request: request.clone(),
                        accepted: true,
                        seat: Some(at),
                        reason: None,
                    },
                );
            }
            RequestKind::Invitation => {
                let mut to = self.hosts();
                to.insert(request.by.user.clone());
                self.tell(
                    Recipients::Users(Arc::new(to)),
                    Event::InvitationResponded {
                        request: request.clone(),
                        accepted: true,
                        seat: Some(at),
                        reason: None,
                    },
                );
            }
        }
        // Whatever else they had pending led here another way.
        self.finish_of_seated(&user, now);
        let granted = self.granted(&user, at);
        (request, granted)
    }

    pub(super) fn apply(&mut self, by: &Principal, on_behalf: Option<&Person>, wish: &Wish, now: Instant) -> Answer {
        let rank = self.rank(by);
        let guest = &self.known(on_behalf.unwrap_or(&by.person));
        let user = &guest.user;
        let mut refusals = Refusals::default();
        refusals.when(self.external(), Code::SeatsDisabled);
        refusals.when(rank != Rank::Service && *user != by.person.user, Code::PermissionDenied);
        refusals.when(rank == Rank::Service && on_behalf.is_none(), Code::InvalidArgument);
        refusals.when(
            wish.seat.is_some_and(|index| self.no_guest_seat(index)),
            Code::SeatIndexInvalid,
        );
        refusals.when(self.wrong_wish(wish), Code::InvalidArgument);
        refusals.when(self.seat_of(user).is_some(), Code::AlreadySeated);
        refusals.when(rank != Rank::Service && !self.inside(user), Code::NotInRoom);
        refusals.when(rank != Rank::Service && self.banned(user, now), Code::Banned);
        let standing = self.pending(RequestKind::Application, user);
        let invited = self.pending(RequestKind::Invitation, user).is_some();
        let same = standing.as_ref().filter(|request| {
            let lasting = request.expires_at - request.created_at;
            let ms = self.lasting(RequestKind::Application, wish);
            (request.seat, request.media, &request.extra) == (wish.seat, wish.media, &wish.extra)
                && lasting == Duration::from_millis(ms)
        });
        if same.is_none() {
            refusals.when(self.cooling(user, now), Code::Cooldown);
            let lately = self
                .applied
                .iter()
                .filter(|(of, at)| of == user && *at + 60 * SECOND > now);
            refusals.when(lately.count() >= APPLICATIONS_A_MINUTE, Code::RateLimited);
            let many = self.requests(RequestKind::Application).len() >= PENDING_MAX;
            let queues = self.settings.seat_mode == SeatMode::Apply && !invited && standing.is_none();
            refusals.when(many && queues, Code::QueueFull);
        }
        refusals.settle()?;
        if let Some(request) = same {
            return Ok(Outcome::Asked {
                request: request.clone(),
                deduplicated: true,
                matched: false,
                granted: None,
            });
        }
        if let Some(invitation) = self.pending(RequestKind::Invitation, user) {
            let at = self.place_for(wish.seat.or(invitation.seat))?;
            self.applied.push((user.clone(), now));
            let (request, granted) = self.accept(&invitation, at, guest, now);
            return Ok(Outcome::Asked {
                request,
                deduplicated: false,
                matched: true,
                granted: Some(granted),
            });
        }
        if self.settings.seat_mode == SeatMode::Free {
            let at = self.place_for(wish.seat)?;
            self.applied.push((user.clone(), now));
            let request = self.new_request(RequestKind::Application, guest, &by.person, wish, now);
            let (request, granted) = self.seat_by(&request, at, guest, now);
            return Ok(Outcome::Asked {
                request,
                deduplicated: false,
                matched: false,
                granted: Some(granted),
            });
        }
        self.applied.push((user.clone(), now));
        if let Some(old) = standing {
            self.finish(old.id, RequestState::Superseded, None, now);
        }
        let request = self.new_request(RequestKind::Application, guest, &by.person, wish, now);
        self.tell_hosts(Event::ApplicationReceived {
            request: request.clone(),
        });
        Ok(Outcome::Asked {
            request,
            deduplicated: false,
            matched: false,
            granted: None,
        })
    }

    /// What somebody hears who answers a request that is answered already: the same answer again, if it was theirs.
    fn too_late(&self, by: &Principal, request: Option<Request>, to: RequestState) -> Answer {
        let Some(request) = request else {
            return Err(vec![Code::RequestNotFound]);
        };
        if request.state == to {
            let user = &request.guest.user;
            let seat = self.seat_of(user).filter(|_| to == RequestState::Accepted);
            let others = request
                .processed_by
                .clone()
                .filter(|other| other.user != by.person.user);
            return Ok(Outcome::Answered {
                granted: seat.map(|seat| self.granted(user, seat)),
                already_processed_by: others,
                request,
            });
        }
        Err(vec![match (request.state, to) {
            (RequestState::Cancelled, _) => Code::RequestCancelled,
            (RequestState::Expired, _) => Code::RequestExpired,
            (RequestState::Accepted, RequestState::Cancelled) => Code::AlreadyAccepted,
            (RequestState::Accepted | RequestState::Rejected, RequestState::Accepted | RequestState::Rejected) => {
                Code::Conflict
            }
            _ => Code::AlreadyProcessed,
        }])
    }

    pub(super) fn cancel_application(&mut self, by: &Principal, user: &UserId, now: Instant) -> Answer {
        let mut refusals = Refusals::default();
        refusals.when(self.external(), Code::SeatsDisabled);
        let own = *user == by.person.user;
        refusals.when(!own && self.rank(by) != Rank::Service, Code::PermissionDenied);
        refusals.settle()?;
        let meant = self.meant(RequestKind::Application, user, None, now);
        let Some(request) = meant.clone().filter(|r| r.state == RequestState::Pending) else {
            return self.too_late(by, meant, RequestState::Cancelled);
        };
        let request = self.finish(request.id, RequestState::Cancelled, None, now);
        self.tell_hosts(Event::ApplicationCancelled {
            request: request.clone(),
        });
        Ok(Outcome::Answered {
            request,
            granted: None,
            already_processed_by: None,
        })
    }

    fn may_answer(&self, by: &Principal) -> Result<(), Vec<Code>> {
        let mut refusals = Refusals::default();
        refusals.when(self.external(), Code::SeatsDisabled);
        refusals.when(self.rank(by) == Rank::Guest, Code::PermissionDenied);
        refusals.settle()
    }

    pub(super) fn accept_application(
        &mut self,
        by: &Principal,
        user: &UserId,
        seat: Option<SeatIndex>,
        named: Option<RequestId>,
        now: Instant,
    ) -> Answer {
        self.may_answer(by)?;
        let meant = self.meant(RequestKind::Application, user, named, now);
        let mut refusals = Refusals::default();
        refusals.when(
            seat.is_some_and(|index| self.no_guest_seat(index)),
            Code::SeatIndexInvalid,
        );
        let wrong = refusals.settle();
        let Some(request) = meant.clone().filter(|r| r.state == RequestState::Pending) else {
            return self.too_late(by, meant, RequestState::Accepted);
        };
        wrong?;
        let at = self.place_for(seat.or(request.seat))?;
        let (request, granted) = self.accept(&request, at, &by.person, now);
        Ok(Outcome::Answered {
            request,
            granted: Some(granted),
            already_processed_by: None,
        })
    }

    pub(super) fn reject_application(
        &mut self,
        by: &Principal,
        user: &UserId,
        reason: Option<&String>,
        named: Option<RequestId>,
        now: Instant,
    ) -> Answer {
        self.may_answer(by)?;
        let meant = self.meant(RequestKind::Application, user, named, now);
        let Some(request) = meant.clone().filter(|r| r.state == RequestState::Pending) else {
            return self.too_late(by, meant, RequestState::Rejected);
        };
        let request = self.finish(request.id, RequestState::Rejected, Some(&by.person), now);
        self.cool(user.clone(), self.settings.policies.reject_cooldown_ms, now);
        self.tell_one(
            user,
            Event::ApplicationResponded {
                request: request.clone(),
                accepted: false,
                seat: None,
                reason: reason.cloned(),
            },
        );
        self.tell_other_hosts(
            &by.person.user,
            Event::ApplicationProcessed {
                request: request.clone(),
                accepted: false,
                seat: None,
            },
        );
        Ok(Outcome::Answered {
            request,
            granted: None,
            already_processed_by: None,
        })
    }

    pub(super) fn invite(&mut self, by: &Principal, guest: &Person, wish: &Wish, now: Instant) -> Answer {
        self.may_answer(by)?;
        let guest = &self.known(guest);
        let user = &guest.user;
        let standing = self.pending(RequestKind::Invitation, user);
        let same = standing.as_ref().filter(|request| request.by.user == by.person.user);
        let mut refusals = Refusals::default();
        refusals.when(
            wish.seat.is_some_and(|index| self.no_guest_seat(index)),
            Code::SeatIndexInvalid,
        );
        refusals.when(self.wrong_wish(wish), Code::InvalidArgument);
        refusals.when(self.seat_of(user).is_some(), Code::AlreadySeated);
        refusals.when(self.rank(by) != Rank::Service && !self.inside(user), Code::NotInRoom);
        refusals.when(self.rank(by) != Rank::Service && self.banned(user, now), Code::Banned);
        refusals.when(standing.is_some() && same.is_none(), Code::AlreadyInvited);
        refusals.when(same.is_none() && !self.capacity, Code::CapacityExhausted);
        let applies = self.pending(RequestKind::Application, user).is_some();
        let many = self.requests(RequestKind::Invitation).len() >= PENDING_MAX;
        refusals.when(same.is_none() && !applies && many, Code::QueueFull);
        refusals.settle()?;
        if let Some(request) = same {
            return Ok(Outcome::Asked {
                request: request.clone(),
                deduplicated: true,
                matched: false,
                granted: None,
            });
        }
        if let Some(application) = self.pending(RequestKind::Application, user) {
            let at = self.place_for(wish.seat.or(application.seat))?;
            let (request, granted) = self.accept(&application, at, &by.person, now);
            return Ok(Outcome::Asked {
                request,
                deduplicated: false,
                matched: true,
                granted: Some(granted),
            });
        }
        let request = self.new_request(RequestKind::Invitation, guest, &by.person, wish, now);
        self.tell_one(
            user,
            Event::InvitationReceived {
                request: request.clone(),
            },
        );
        Ok(Outcome::Asked {
            request,
            deduplicated: false,
            matched: false,
            granted: None,
        })
    }

    pub(super) fn cancel_invitation(&mut self, by: &Principal, user: &UserId, now: Instant) -> Answer {
        self.may_answer(by)?;
        let meant = self.meant(RequestKind::Invitation, user, None, now);
        let mine = meant.as_ref().is_none_or(|request| request.by.user == by.person.user);
        let mut refusals = Refusals::default();
        refusals.when(self.rank(by) == Rank::Admin && !mine, Code::PermissionDenied);
        refusals.settle()?;
        let Some(request) = meant.clone().filter(|r| r.state == RequestState::Pending) else {
            return self.too_late(by, meant, RequestState::Cancelled);
        };
        let request = self.finish(request.id, RequestState::Cancelled, None, now);
        self.tell_one(
            user,
            Event::InvitationCancelled {
                request: request.clone(),
            },
        );
        Ok(Outcome::Answered {
            request,
            granted: None,
            already_processed_by: None,
        })
    }

    fn may_consent(&self, by: &Principal) -> Result<(), Vec<Code>> {
        let mut refusals = Refusals::default();
        refusals.when(self.external(), Code::SeatsDisabled);
        refusals.when(self.rank(by) == Rank::Service, Code::PermissionDenied);
        refusals.settle()
    }

    pub(super) fn accept_invitation(&mut self, by: &Principal, named: Option<RequestId>, now: Instant) -> Answer {
        self.may_consent(by)?;
        let meant = self.meant(RequestKind::Invitation, &by.person.user, named, now);
        let Some(request) = meant.clone().filter(|r| r.state == RequestState::Pending) else {
            return self.too_late(by, meant, RequestState::Accepted);
        };
        match self.place_for(request.seat) {
            Ok(at) => {
                let (request, granted) = self.accept(&request, at, &by.person, now);
                Ok(Outcome::Answered {
                    request,
                    granted: Some(granted),
                    already_processed_by: None,
                })
            }
            Err(codes) => {
                // Row 10: it fails, though the caller is refused.
                let request = self.finish(request.id, RequestState::Failed, Some(&by.person), now);
                let inviter = request.by.user.clone();
                self.tell_one(
                    &inviter,
                    Event::InvitationResponded {
                        request,
                        accepted: false,
                        seat: None,
                        reason: None,
                    },
                );
                Err(codes)
            }
        }
    }

    pub(super) fn reject_invitation(
        &mut self,
        by: &Principal,
        reason: Option<&String>,
        named: Option<RequestId>,
        now: Instant,
    ) -> Answer {
        self.may_consent(by)?;
        let meant = self.meant(RequestKind::Invitation, &by.person.user, named, now);
        let Some(request) = meant.clone().filter(|r| r.state == RequestState::Pending) else {
            return self.too_late(by, meant, RequestState::Rejected);
        };
        let request = self.finish(request.id, RequestState::Rejected, Some(&by.person), now);
        let inviter = request.by.user.clone();
        self.tell_one(
            &inviter,
            Event::InvitationResponded {
                request: request.clone(),
                accepted: false,
                seat: None,
                reason: reason.cloned(),
            },
        );
        Ok(Outcome::Answered {
            request,
            granted: None,
            already_processed_by: None,
        })
    }
}
