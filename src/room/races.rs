//! Every race the specification gives one answer to, in every order it can happen: each party has a short script, all
//! interleavings of the scripts are run from a fresh room, and the answer is asserted for each of them. The
//! [model](super::model) runs along.

use super::event::{ClosedReason, EndReason, Event};
use super::model::twin::Twin;
use super::tests::{person, principal, settings, user};
use super::*;
use crate::forward::{SeatIndex, SourceKind};
use std::collections::BTreeMap;
use std::time::Duration;

mod limits;
mod requests;
mod seating;
mod sudden;

#[derive(Clone, Debug)]
enum Act {
    Do(Principal, Command),
    Join(Principal),
    Lose(&'static str),
    Up(&'static str),
    Lost(&'static str),
    Pass(u64),
    Capacity(bool),
    Crash(u64),
}

/// Which act: of which party, and the how many-th of its script.
type At = (usize, usize);

/// One interleaving, run.
struct Run {
    twin: Twin,
    order: Vec<At>,
    answers: BTreeMap<At, Result<Committed, Refusal>>,
    /// What was told during each act.
    told: BTreeMap<At, Vec<Notice>>,
}

impl Run {
    /// Whether this came before that.
    fn before(&self, this: At, that: At) -> bool {
        let place = |at: At| self.order.iter().position(|other| *other == at).unwrap();
        place(this) < place(that)
    }

    fn answer(&self, at: At) -> &Result<Committed, Refusal> {
        &self.answers[&at]
    }

    fn ok(&self, at: At) -> &Outcome {
        match self.answer(at) {
            Ok(done) => &done.outcome,
            Err(refusal) => panic!("{at:?} was refused in {:?}: {refusal:?}", self.order),
        }
    }

    fn refusal(&self, at: At) -> &Refusal {
        match self.answer(at) {
            Err(refusal) => refusal,
            Ok(done) => panic!("{at:?} was done in {:?}: {done:?}", self.order),
        }
    }

    fn refused(&self, at: At, code: Code) {
        assert_eq!(self.refusal(at).code, code, "{at:?} in {:?}", self.order);
    }

    fn seat_of(&self, name: &str) -> Option<usize> {
        let snapshot = self.twin.room.snapshot(self.twin.now);
        let mut seats = snapshot.seats.iter().enumerate();
        let seat = seats.find(|(_, seat)| seat.occupancy.person().is_some_and(|at| at.user == user(name)));
        seat.map(|(index, _)| index)
    }

    fn sits(&self, name: &str, seat: Option<usize>) {
        assert_eq!(self.seat_of(name), seat, "{name} in {:?}", self.order);
    }

    fn occupancy(&self, index: usize) -> Occupancy {
        self.twin.room.snapshot(self.twin.now).seats[index].occupancy.clone()
    }

    fn pending(&self, name: &str) -> Vec<RequestKind> {
        let requests = self.twin.room.snapshot(self.twin.now).requests;
        let theirs = requests.iter().filter(|request| request.guest.user == user(name));
        theirs.map(|request| request.kind).collect()
    }

    fn may_publish(&self, name: &str) -> bool {
        self.twin.room.desired().seats.contains_key(&user(name))
    }

    /// Whether an act told somebody this.
    fn told(&self, at: At, name: &str, what: impl Fn(&Event) -> bool) -> bool {
        let told = self.told[&at].iter();
        told.filter(|notice| notice.to.include(&user(name)))
            .any(|notice| what(&notice.event))
    }

    /// How often somebody sat down, in the whole run.
    fn joined(&self, name: &str) -> usize {
        let all = self.told.values().flatten();
        let lists = all.filter_map(|notice| match &notice.event {
            Event::SeatsChanged { joined, .. } => Some(joined),
            _ => None,
        });
        lists.flatten().filter(|(_, person)| person.user == user(name)).count()
    }
}

/// Every order of the parties' acts that keeps each party's own.
fn orders(lengths: &[usize]) -> Vec<Vec<At>> {
    fn extend(done: &mut Vec<usize>, lengths: &[usize], order: &mut Vec<At>, all: &mut Vec<Vec<At>>) {
        let mut over = true;
        for party in 0..lengths.len() {
            if done[party] < lengths[party] {
                over = false;
                order.push((party, done[party]));
                done[party] += 1;
                extend(done, lengths, order, all);
                done[party] -= 1;
                order.pop();
            }
        }
        if over {
            all.push(order.clone());
        }
    }
    let mut all = Vec::new();
    extend(&mut vec![0; lengths.len()], lengths, &mut Vec::new(), &mut all);
    all
}

/// Runs all interleavings, each from a room of its own.
fn race(fresh: impl Fn() -> Twin, parties: &[Vec<Act>], answer: impl Fn(&Run)) {
    let lengths: Vec<usize> = parties.iter().map(Vec::len).collect();
    for order in orders(&lengths) {
        let mut run = Run {
            twin: fresh(),
            order: order.clone(),
            answers: BTreeMap::new(),
            told: BTreeMap::new(),
        };
        for at in order {
            let (party, index) = at;
            if let Some(given) = perform(&mut run.twin, parties[party][index].clone()) {
                run.answers.insert(at, given);
            }
            run.told.insert(at, run.twin.notices.clone());
        }
        answer(&run);
    }
}

fn perform(twin: &mut Twin, act: Act) -> Option<Result<Committed, Refusal>> {
    let kind = SourceKind::Camera;
    match act {
        Act::Do(by, command) => return Some(twin.command(&by, command)),
        Act::Join(by) => twin.join(&by).unwrap(),
        Act::Lose(name) => twin.lose(user(name)),
        Act::Up(name) => twin.transport(TransportNews::Up { user: user(name), kind }),
        Act::Lost(name) => twin.transport(TransportNews::Lost { user: user(name), kind }),
        Act::Pass(ms) => twin.pass(Duration::from_millis(ms)),
        Act::Capacity(available) => twin.capacity(available),
        Act::Crash(ms) => twin.crash(Duration::from_millis(ms)),
    }
    None
}

fn host() -> Principal {
    principal("host", Role::Host)
}

fn ann() -> Principal {
    principal("ann", Role::Admin)
}

fn service() -> Principal {
    principal("backend", Role::Service)
}

fn guest(name: &str) -> Principal {
    principal(name, Role::Member)
}

/// A room with host, admin and three guests in it.
fn room_of(settings: Settings) -> Twin {
    let mut twin = Twin::new(settings, 9);
    for by in [host(), ann(), guest("bob"), guest("eve"), guest("dan")] {
        twin.join(&by).unwrap();
    }
    twin
}

fn room() -> Twin {
    room_of(settings(SeatMode::Apply))
}

/// The same with the policies changed.
fn room_with(change: impl Fn(&mut Policies)) -> Twin {
    let mut settings = settings(SeatMode::Apply);
    change(&mut settings.policies);
    room_of(settings)
}

/// The same after these acts, all of which are done.
fn after(mut twin: Twin, acts: impl IntoIterator<Item = Act>) -> Twin {
    for act in acts {
        if let Some(Err(refusal)) = perform(&mut twin, act.clone()) {
            panic!("{act:?}: {refusal:?}");
        }
    }
    twin
}

fn apply(name: &str) -> Act {
    apply_for(name, None)
}

fn apply_for(name: &str, seat: Option<u8>) -> Act {
    let wish = Wish {
        seat: seat.map(SeatIndex),
        ..Wish::default()
    };
    Act::Do(guest(name), Command::Apply { user: None, wish })
}

fn cancel(name: &str) -> Act {
    Act::Do(guest(name), Command::CancelApplication { user: user(name) })
}

fn accept(by: Principal, name: &str) -> Act {
    accept_of(by, name, None)
}

fn accept_of(by: Principal, name: &str, number: Option<u64>) -> Act {
    let request = number.map(|number| RequestId { epoch: 1, number });
    Act::Do(
        by,
        Command::AcceptApplication {
            user: user(name),
            seat: None,
            request,
        },
    )
}

fn reject(by: Principal, name: &str) -> Act {
    Act::Do(
        by,
        Command::RejectApplication {
            user: user(name),
            reason: None,
            request: None,
        },
    )
}

fn invite(by: Principal, name: &str) -> Act {
    let wish = Wish::default();
    Act::Do(
        by,
        Command::Invite {
            user: person(name),
            wish,
        },
    )
}

fn cancel_invitation(by: Principal, name: &str) -> Act {
    Act::Do(by, Command::CancelInvitation { user: user(name) })
}

fn consent(name: &str) -> Act {
    Act::Do(guest(name), Command::AcceptInvitation { request: None })
}

fn decline(name: &str) -> Act {
    Act::Do(
        guest(name),
        Command::RejectInvitation {
            reason: None,
            request: None,
        },
    )
}

fn seat(by: Principal, index: u8, name: &str) -> Act {
    seat_at(by, index, name, None)
}

fn seat_at(by: Principal, index: u8, name: &str, if_version: Option<u64>) -> Act {
    Act::Do(
        by,
        Command::Seat {
            seat: SeatIndex(index),
            person: person(name),
            if_version,
        },
    )
}

fn kick(by: Principal, index: u8, name: Option<&str>, if_version: Option<u64>) -> Act {
    Act::Do(
        by,
        Command::Unseat {
            seat: SeatIndex(index),
            user: name.map(user),
            reason: None,
            if_version,
        },
    )
}

fn leave_seat(name: &str) -> Act {
    Act::Do(
        guest(name),
        Command::UnseatUser {
            user: user(name),
            reason: None,
        },
    )
}

fn leave_room(name: &str) -> Act {
    remove(guest(name), name, None)
}

fn remove(by: Principal, name: &str, ban: Option<Duration>) -> Act {
    Act::Do(
        by,
        Command::RemoveMember {
            user: user(name),
            ban,
            reason: None,
        },
    )
}

fn shift(by: Principal, from: u8, to: u8, policy: MovePolicy) -> Act {
    Act::Do(
        by,
        Command::Move {
            from: SeatIndex(from),
            to: SeatIndex(to),
            policy,
            user: None,
            if_version: None,
        },
    )
}

fn lock(by: Principal, index: u8) -> Act {
    let patch = SeatFlagsPatch {
        locked: Some(true),
        ..SeatFlagsPatch::default()
    };
    Act::Do(
        by,
        Command::SetFlags {
            seat: SeatIndex(index),
            patch,
        },
    )
}

fn grant(name: &str, role: MemberRole) -> Act {
    Act::Do(host(), Command::GrantRole { user: user(name), role })
}

fn update(change: impl FnOnce(&mut SettingsPatch)) -> Act {
    let mut patch = SettingsPatch::default();
    change(&mut patch);
    Act::Do(host(), Command::Update(Box::new(patch)))
}

fn answered(outcome: &Outcome) -> (&Request, Option<&Granted>, Option<&Person>) {
    match outcome {
        Outcome::Answered {
            request,
            granted,
            already_processed_by,
        } => (request, granted.as_ref(), already_processed_by.as_ref()),
        other => panic!("no answer: {other:?}"),
    }
}

fn asked(outcome: &Outcome) -> (&Request, bool, bool) {
    match outcome {
        Outcome::Asked {
            request,
            deduplicated,
            matched,
            ..
        } => (request, *deduplicated, *matched),
        other => panic!("nothing asked: {other:?}"),
    }
}

fn closed(event: &Event, why: ClosedReason) -> bool {
    matches!(event, Event::ApplicationClosed { reason, .. } if *reason == why)
}

fn no_response(event: &Event, why: ClosedReason) -> bool {
    matches!(event, Event::InvitationNoResponse { reason, .. } if *reason == why)
}

#[test]
fn every_order_is_run_once() {
    let all = orders(&[2, 1, 1]);
    assert_eq!(all.len(), 12);
    let distinct: std::collections::BTreeSet<_> = all.iter().collect();
    assert_eq!(distinct.len(), 12);
    assert!(
        all.iter()
            .all(|order| order.iter().position(|at| *at == (0, 0)) < order.iter().position(|at| *at == (0, 1)))
    );
}
