//! Answers, withdrawals and endings of requests: each is decided once.

use crate::forward::SeatIndex;
use crate::room::event::{ClosedReason, Event};
use crate::room::rules::{Action, Standing};
use crate::room::*;
use std::time::Instant;

/// Answering and withdrawing.
impl Room {
    /// SEATS rows 4 and 10.
    pub(in crate::room) fn accept_application(
        &mut self,
        by: &Principal,
        standing: Standing,
        user: &UserId,
        seat: Option<SeatIndex>,
        id: Option<RequestId>,
        now: Instant,
    ) -> Result<Outcome, Refusal> {
        self.permit_requests()?;
        self.permit(standing, Action::AnswerApplication)?;
        let request = self.requests.find(RequestKind::Application, user, id)?;
        if request.state != RequestState::Pending {
            return self.remembered(&by.person, request, RequestState::Accepted);
        }
        if let Some(seat) = seat {
            self.guest_seat(seat)?;
        }
        let by = self.known(by.person.clone());
        let seat = self.place_of(request.id, seat)?;
        let (request, granted) = self.accept_applied(request.id, seat, &by, now)?;
        Ok(answered(request, Some(granted)))
    }

    /// SEATS row 3.
    pub(in crate::room) fn reject_application(
        &mut self,
        by: &Principal,
        standing: Standing,
        user: &UserId,
        reason: Option<String>,
        id: Option<RequestId>,
        now: Instant,
    ) -> Result<Outcome, Refusal> {
        self.permit_requests()?;
        self.permit(standing, Action::AnswerApplication)?;
        let request = self.requests.find(RequestKind::Application, user, id)?;
        if request.state != RequestState::Pending {
            return self.remembered(&by.person, request, RequestState::Rejected);
        }
        let by = self.known(by.person.clone());
        let Some(request) = self.decide(request.id, RequestState::Rejected, Some(&by), None, now) else {
            return Err(self.lost_track());
        };
        self.cool_down(user, self.settings.policies.reject_cooldown_ms, now);
        self.tell(
            user,
            Event::ApplicationResponded {
                request: request.clone(),
                accepted: false,
                seat: None,
                reason,
            },
        );
        self.tell_hosts_but(
            &by.user,
            Event::ApplicationProcessed {
                request: request.clone(),
                accepted: false,
                seat: None,
            },
        );
        self.commit(now);
        Ok(answered(request, None))
    }

    /// SEATS row 2.
    pub(in crate::room) fn cancel_application(
        &mut self,
        by: &Principal,
        standing: Standing,
        user: &UserId,
        now: Instant,
    ) -> Result<Outcome, Refusal> {
        self.permit_requests()?;
        let oneself = *user == by.person.user;
        self.permit(standing, Action::CancelApplication { oneself })?;
        let request = self.requests.find(RequestKind::Application, user, None)?;
        if request.state != RequestState::Pending {
            return self.remembered(&by.person, request, RequestState::Cancelled);
        }
        let Some(request) = self.finish(request.id, RequestState::Cancelled, now) else {
            return Err(self.lost_track());
        };
        self.tell_hosts(Event::ApplicationCancelled {
            request: request.clone(),
        });
        self.commit(now);
        Ok(answered(request, None))
    }

    /// SEATS row 7.
    pub(in crate::room) fn cancel_invitation(
        &mut self,
        by: &Principal,
        standing: Standing,
        user: &UserId,
        now: Instant,
    ) -> Result<Outcome, Refusal> {
        self.permit_requests()?;
        self.permit(standing, Action::CancelInvitation { own: true })?;
        let request = self.requests.find(RequestKind::Invitation, user, None)?;
        let own = request.by.user == by.person.user;
        self.permit(standing, Action::CancelInvitation { own })?;
        if request.state != RequestState::Pending {
            return self.remembered(&by.person, request, RequestState::Cancelled);
        }
        let Some(request) = self.finish(request.id, RequestState::Cancelled, now) else {
            return Err(self.lost_track());
        };
        self.tell(
            user,
            Event::InvitationCancelled {
                request: request.clone(),
            },
        );
        self.commit(now);
        Ok(answered(request, None))
    }

    /// SEATS rows 9 and 10.
    pub(in crate::room) fn accept_invitation(
        &mut self,
        by: &Principal,
        standing: Standing,
        id: Option<RequestId>,
        now: Instant,
    ) -> Result<Outcome, Refusal> {
        self.permit_requests()?;
        self.permit(standing, Action::AnswerInvitation)?;
        let request = self.requests.find(RequestKind::Invitation, &by.person.user, id)?;
        if request.state != RequestState::Pending {
            return self.remembered(&by.person, request, RequestState::Accepted);
        }
        let by = self.known(by.person.clone());
        match self.place_of(request.id, None) {
            Ok(seat) => {
                let (request, granted) = self.accept_invited(request.id, seat, &by, now)?;
                Ok(answered(request, Some(granted)))
            }
            Err(refusal) => {
                self.fail_invitation(request.id, &by, &refusal, now);
                Err(refusal)
            }
        }
    }

    /// SEATS row 8.
    pub(in crate::room) fn reject_invitation(
        &mut self,
        by: &Principal,
        standing: Standing,
        reason: Option<String>,
        id: Option<RequestId>,
        now: Instant,
    ) -> Result<Outcome, Refusal> {
        self.permit_requests()?;
        self.permit(standing, Action::AnswerInvitation)?;
        let request = self.requests.find(RequestKind::Invitation, &by.person.user, id)?;
        if request.state != RequestState::Pending {
            return self.remembered(&by.person, request, RequestState::Rejected);
        }
        let by = self.known(by.person.clone());
        let Some(request) = self.decide(request.id, RequestState::Rejected, Some(&by), None, now) else {
            return Err(self.lost_track());
        };
        let inviter = request.by.user.clone();
        self.tell(
            &inviter,
            Event::InvitationResponded {
                request: request.clone(),
                accepted: false,
                seat: None,
                reason,
            },
        );
        self.commit(now);
        Ok(answered(request, None))
    }

    /// Where a pending request leads to: what the answer names comes before what the request does.
    pub(super) fn place_of(&self, id: RequestId, named: Option<SeatIndex>) -> Result<SeatIndex, Refusal> {
        let wanted = self.requests.pending.get(&id).and_then(|request| request.seat);
        let seat = self.seat_for(named.or(wanted))?;
        self.capacity(1)?;
        Ok(seat)
    }

    pub(super) fn accept_applied(
        &mut self,
        id: RequestId,
        seat: SeatIndex,
        by: &Person,
        now: Instant,
    ) -> Result<(Request, Granted), Refusal> {
        let (request, granted) = self.seat_applicant(id, seat, by, now)?;
        self.tell_hosts_but(
            &by.user,
            Event::ApplicationProcessed {
                request: request.clone(),
                accepted: true,
                seat: Some(seat),
            },
        );
        self.commit(now);
        Ok((request, granted))
    }

    /// Tells the applicant and the room; the step is the caller's to end.
    pub(super) fn seat_applicant(
        &mut self,
        id: RequestId,
        seat: SeatIndex,
        by: &Person,
        now: Instant,
    ) -> Result<(Request, Granted), Refusal> {
        let Some(request) = self.decide(id, RequestState::Accepted, Some(by), Some(seat), now) else {
            return Err(self.lost_track());
        };
        let granted = self.reserve(seat, request.guest.clone(), Some(&request), now);
        self.tell(
            &request.guest.user,
            Event::ApplicationResponded {
                request: request.clone(),
                accepted: true,
                seat: Some(seat),
                reason: None,
            },
        );
        Ok((request, granted))
    }

    pub(super) fn accept_invited(
        &mut self,
        id: RequestId,
        seat: SeatIndex,
        by: &Person,
        now: Instant,
    ) -> Result<(Request, Granted), Refusal> {
        let Some(request) = self.decide(id, RequestState::Accepted, Some(by), Some(seat), now) else {
            return Err(self.lost_track());
        };
        let granted = self.reserve(seat, request.guest.clone(), Some(&request), now);
        let inviter = request.by.user.clone();
        self.tell_hosts_and(
            &inviter,
            Event::InvitationResponded {
                request: request.clone(),
                accepted: true,
                seat: Some(seat),
                reason: None,
            },
        );
        self.commit(now);
        Ok((request, granted))
    }

    /// The guest said yes and there is no seat, which is a change too: the inviter is told.
    fn fail_invitation(&mut self, id: RequestId, by: &Person, refusal: &Refusal, now: Instant) {
        if let Some(request) = self.decide(id, RequestState::Failed, Some(by), None, now) {
            let inviter = request.by.user.clone();
            let event = Event::InvitationResponded {
                request,
                accepted: false,
                seat: None,
                reason: Some(refusal.detail.clone()),
            };
            self.tell(&inviter, event);
            self.commit(now);
        }
    }

    /// What is said of a request that is no longer pending, to somebody who wants it `wanted`.
    fn remembered(&self, by: &Person, request: Request, wanted: RequestState) -> Result<Outcome, Refusal> {
        if request.state == wanted {
            let granted = (wanted == RequestState::Accepted).then(|| self.granted(&request.guest.user));
            let others = request.processed_by.clone().filter(|other| other.user != by.user);
            return Ok(Outcome::Answered {
                granted: granted.flatten(),
                already_processed_by: others,
                request,
            });
        }
        let seat = self.seat_of(&request.guest.user);
        let (code, detail) = match request.state {
            RequestState::Accepted if wanted == RequestState::Cancelled => {
                (Code::AlreadyAccepted, "it was accepted before; leave the seat instead")
            }
            RequestState::Accepted => (Code::Conflict, "it was accepted before"),
            RequestState::Rejected if wanted == RequestState::Cancelled => {
                (Code::AlreadyProcessed, "it was rejected before")
            }
            RequestState::Rejected => (Code::Conflict, "it was rejected before"),
            RequestState::Cancelled => (Code::RequestCancelled, "it was withdrawn before"),
            RequestState::Expired => (Code::RequestExpired, "its time was over before"),
            RequestState::Superseded if seat.is_some() => (Code::AlreadyProcessed, "its guest got a seat another way"),
            RequestState::Superseded => (Code::AlreadyProcessed, "another has taken its place"),
            RequestState::Failed | RequestState::Pending => (Code::AlreadyProcessed, "it came to nothing"),
        };
        Err(Refusal {
            processed_by: request.processed_by.map(Box::new),
            decision: Some(request.state),
            seat: request.granted.or(seat),
            ..Refusal::new(code, detail)
        })
    }
}

fn answered(request: Request, granted: Option<Granted>) -> Outcome {
    Outcome::Answered {
        request,
        granted,
        already_processed_by: None,
    }
}

/// Endings.
impl Room {
    /// Takes a pending request to its final state.
    fn decide(
        &mut self,
        id: RequestId,
        state: RequestState,
        by: Option<&Person>,
        seat: Option<SeatIndex>,
        now: Instant,
    ) -> Option<Request> {
        assert!(state != RequestState::Pending);
        let request = Request {
            state,
            processed_by: by.cloned(),
            granted: seat,
            ..self.requests.pending.remove(&id)?
        };
        self.requests.remember(request.clone(), now);
        Some(request)
    }

    pub(super) fn finish(&mut self, id: RequestId, state: RequestState, now: Instant) -> Option<Request> {
        self.decide(id, state, None, None, now)
    }

    /// Its time is over.
    pub(in crate::room) fn expire_request(&mut self, id: RequestId, now: Instant) {
        if let Some(request) = self.finish(id, RequestState::Expired, now) {
            self.tell_closed(request, ClosedReason::Timeout);
        }
        self.commit(now);
    }

    /// All at once, since the room has no use for them any more. The caller commits.
    pub(in crate::room) fn close_requests(&mut self, reason: ClosedReason, now: Instant) {
        let all: Vec<RequestId> = self.requests.pending.keys().copied().collect();
        for id in all {
            if let Some(request) = self.finish(id, RequestState::Failed, now) {
                self.tell_closed(request, reason);
            }
        }
    }

    /// The one who asked hears that there is no answer, the other side that none is wanted.
    fn tell_closed(&mut self, request: Request, reason: ClosedReason) {
        let guest = request.guest.user.clone();
        match request.kind {
            RequestKind::Application => {
                let to_hosts = request.clone();
                self.tell(&guest, Event::ApplicationNoResponse { request, reason });
                self.tell_hosts(Event::ApplicationClosed {
                    request: to_hosts,
                    reason,
                });
            }
            RequestKind::Invitation => {
                let inviter = request.by.user.clone();
                let to_guest = request.clone();
                self.tell(&inviter, Event::InvitationNoResponse { request, reason });
                self.tell(
                    &guest,
                    Event::InvitationClosed {
                        request: to_guest,
                        reason,
                    },
                );
            }
        }
    }

    /// Somebody's application, and the invitation to them.
    fn pending_of(&self, user: &UserId) -> [Option<RequestId>; 2] {
        let kinds = [RequestKind::Application, RequestKind::Invitation];
        kinds.map(|kind| self.requests.of(kind, user).map(|request| request.id))
    }

    /// SEATS row 18: whoever is not in the room asks for nothing and can be asked nothing. `true`: there was something;
    /// the caller commits.
    pub(in crate::room) fn withdraw_requests(&mut self, user: &UserId, now: Instant) -> bool {
        let [application, invitation] = self.pending_of(user);
        let reason = ClosedReason::Left;
        if let Some(request) = application.and_then(|id| self.finish(id, RequestState::Cancelled, now)) {
            self.tell_hosts(Event::ApplicationClosed { request, reason });
        }
        if let Some(request) = invitation.and_then(|id| self.finish(id, RequestState::Failed, now)) {
            let inviter = request.by.user.clone();
            self.tell(&inviter, Event::InvitationNoResponse { request, reason });
        }
        application.is_some() || invitation.is_some()
    }

    /// Somebody got a seat: what is still pending of theirs was not what led to it.
    pub(in crate::room) fn supersede_requests(&mut self, user: &UserId, now: Instant) {
        let [application, invitation] = self.pending_of(user);
        let reason = ClosedReason::AlreadySeated;
        if let Some(request) = application.and_then(|id| self.finish(id, RequestState::Superseded, now)) {
            self.tell_hosts(Event::ApplicationClosed { request, reason });
        }
        if let Some(request) = invitation.and_then(|id| self.finish(id, RequestState::Superseded, now)) {
            self.tell_closed(request, reason);
        }
    }

    /// A request found a moment ago is gone: cannot be, and is no reason to panic.
    fn lost_track(&self) -> Refusal {
        Refusal::new(Code::RequestNotFound, "no such request")
    }
}
