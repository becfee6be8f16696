//! From what the room wants to what the workers have: the steps between. Pure, and twice equals once.

use crate::forward::{Permission, SeatIndex, SourceId, SourceInfo, SourceKind, View};
use crate::room::{Desired, HOST_SEAT, UserId};
use crate::rtp::Codec;
use crate::worker::PeerId;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A publisher's peer, as a worker has it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Publication {
    pub user: UserId,
    pub kind: SourceKind,
    pub source: SourceId,
    pub worker: usize,
    pub audio: Option<Codec>,
    pub video: Option<Codec>,
    /// Simulcast encodings of the video, 1 without simulcast.
    pub layers: u8,
    /// In force in the worker.
    pub permission: Permission,
    pub connected: bool,
}

/// What the workers have of one room.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Actual {
    pub publications: BTreeMap<PeerId, Publication>,
    pub viewers: BTreeMap<PeerId, View>,
    /// The list all workers were given last.
    pub told: Arc<[SourceInfo]>,
    pub forgotten: bool,
}

/// Something to tell the workers.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    Close(PeerId),
    Permit(PeerId, Permission),
    /// To every worker.
    Tell(Arc<[SourceInfo]>),
    /// To every worker; the last step of a room.
    Forget,
}

impl Actual {
    pub fn apply(&mut self, step: &Step) {
        match step {
            Step::Close(peer) => {
                self.publications.remove(peer);
                self.viewers.remove(peer);
            }
            Step::Permit(peer, permission) => {
                if let Some(publication) = self.publications.get_mut(peer) {
                    publication.permission = *permission;
                }
            }
            Step::Tell(sources) => self.told = sources.clone(),
            Step::Forget => {
                self.told = Arc::default();
                self.forgotten = true;
            }
        }
    }
}

/// What comes from the seats, in their order.
pub(super) fn sources(desired: &Desired, actual: &Actual) -> Vec<SourceInfo> {
    let seated = actual.publications.values().filter_map(|publication| {
        let (seat, permission) = desired.seats.get(&publication.user)?;
        Some(info(publication, *seat, *permission))
    });
    let mut sources: Vec<SourceInfo> = seated.filter(|_| !desired.ended).collect();
    sources.sort_by_key(|source| (source.seat, source.kind));
    sources
}

/// Whoever lost the seat is closed, and so is who watches a program that is off; permissions follow the seats; the workers'
/// list is `sources` and the `program`, while there is one of its own; an ended room has nothing left.
pub(super) fn reconcile(
    desired: &Desired,
    actual: &Actual,
    mut sources: Vec<SourceInfo>,
    program: Option<SourceInfo>,
) -> Vec<Step> {
    let mut steps = Vec::new();
    for (peer, publication) in &actual.publications {
        let seat = desired.seats.get(&publication.user).filter(|_| !desired.ended);
        let Some((_, permission)) = seat else {
            steps.push(Step::Close(*peer));
            continue;
        };
        if publication.permission != *permission {
            steps.push(Step::Permit(*peer, *permission));
        }
    }
    let sees_nothing = |view: &View| desired.ended || (desired.program_off && matches!(view, View::Program { .. }));
    let without = actual.viewers.iter().filter(|(_, view)| sees_nothing(view));
    steps.extend(without.map(|(peer, _)| Step::Close(*peer)));
    if desired.ended {
        if !actual.forgotten {
            steps.push(Step::Forget);
        }
        return steps;
    }
    sources.extend(program);
    if *sources != *actual.told {
        steps.push(Step::Tell(sources.into()));
    }
    steps
}

/// For whom a place on the node is kept: seated, and no publisher there. The host's seat keeps one only while the host is
/// away for a moment: rooms are made long before they go live, and would fill the node.
pub(super) fn places_kept(desired: &Desired, actual: &Actual, host_away: bool) -> BTreeSet<UserId> {
    let publishes = |user: &UserId| actual.publications.values().any(|known| known.user == *user);
    let seats = desired.seats.iter().filter(|_| !desired.ended);
    let awaited = seats.filter(|(_, (seat, _))| *seat != HOST_SEAT || host_away);
    let users = awaited.map(|(user, _)| user).filter(|user| !publishes(user));
    users.cloned().collect()
}

fn info(publication: &Publication, seat: SeatIndex, permission: Permission) -> SourceInfo {
    SourceInfo {
        id: publication.source,
        seat,
        kind: publication.kind,
        user: publication.user.shared(),
        worker: publication.worker,
        audio: publication.audio,
        video: publication.video,
        layers: publication.layers,
        permission,
        connected: publication.connected,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NAMES: [&str; 4] = ["host", "bob", "eve", "dan"];

    fn user(name: &str) -> UserId {
        UserId::parse(name).unwrap()
    }

    fn publication(name: &str, kind: SourceKind, number: u64) -> Publication {
        Publication {
            user: user(name),
            kind,
            source: SourceId(number),
            worker: 0,
            audio: Some(Codec::Opus),
            video: Some(Codec::Vp8),
            layers: 1,
            permission: Permission {
                audio: true,
                video: true,
            },
            connected: true,
        }
    }

    fn program() -> View {
        View::Program { leave_out: None }
    }

    fn settle(desired: &Desired, actual: &mut Actual) -> Vec<Step> {
        let steps = reconcile(desired, actual, sources(desired, actual), None);
        for step in &steps {
            actual.apply(step);
        }
        steps
    }

    #[test]
    fn a_lost_seat_closes_and_a_mute_is_passed_on() {
        let on = Permission {
            audio: true,
            video: true,
        };
        let mut desired = Desired::default();
        desired.seats.insert(user("bob"), (SeatIndex(1), on));
        let mut actual = Actual::default();
        actual
            .publications
            .insert(PeerId(1), publication("bob", SourceKind::Screen, 1));
        actual
            .publications
            .insert(PeerId(2), publication("bob", SourceKind::Camera, 2));
        actual
            .publications
            .insert(PeerId(3), publication("eve", SourceKind::Camera, 3));
        actual.viewers.insert(PeerId(4), program());
        actual.viewers.insert(PeerId(5), View::Stage { leave_out: None });

        let steps = settle(&desired, &mut actual);
        assert!(
            matches!(&steps[..], [Step::Close(PeerId(3)), Step::Tell(_)]),
            "{steps:?}"
        );
        let told: Vec<_> = actual.told.iter().map(|source| (source.id.0, source.kind)).collect();
        assert_eq!(told, [(2, SourceKind::Camera), (1, SourceKind::Screen)]);

        let muted = Permission {
            audio: false,
            video: true,
        };
        desired.seats.insert(user("bob"), (SeatIndex(1), muted));
        let steps = settle(&desired, &mut actual);
        assert!(
            matches!(&steps[..], [Step::Permit(..), Step::Permit(..), Step::Tell(_)]),
            "{steps:?}"
        );
        assert!(actual.told.iter().all(|source| source.permission == muted));

        desired.program_off = true;
        assert_eq!(settle(&desired, &mut actual), [Step::Close(PeerId(4))]);

        let ended = Desired {
            ended: true,
            ..Desired::default()
        };
        let steps = settle(&ended, &mut actual);
        let closed = [1, 2, 5].map(|peer| Step::Close(PeerId(peer)));
        assert_eq!((&steps[..3], &steps[3..]), (&closed[..], &[Step::Forget][..]));
        assert!(actual.publications.is_empty() && actual.viewers.is_empty());
        assert_eq!(settle(&ended, &mut actual), []);
    }

    fn any_desired() -> impl Strategy<Value = Desired> {
        let seats = prop::collection::btree_map(
            prop::sample::select(&NAMES[..]).prop_map(user),
            (0..4u8, any::<bool>(), any::<bool>())
                .prop_map(|(seat, audio, video)| (SeatIndex(seat), Permission { audio, video })),
            0..4,
        );
        let desired = (seats, any::<bool>(), prop::bool::weighted(0.1));
        desired.prop_map(|(seats, program_off, ended)| Desired {
            seats,
            program_off,
            ended,
        })
    }

    fn any_actual() -> impl Strategy<Value = Actual> {
        let peers = prop::collection::vec((prop::sample::select(&NAMES[..]), any::<bool>()), 0..6);
        (peers, 0..3u64).prop_map(|(peers, viewers)| {
            let mut actual = Actual::default();
            for (number, (name, screen)) in (0..).zip(peers) {
                let kind = if screen { SourceKind::Screen } else { SourceKind::Camera };
                actual
                    .publications
                    .insert(PeerId(number), publication(name, kind, number));
            }
            actual
                .viewers
                .extend((100..100 + viewers).map(|peer| (PeerId(peer), program())));
            actual
        })
    }

    proptest! {
        #[test]
        fn twice_equals_once(desired in any_desired(), mut actual in any_actual()) {
            settle(&desired, &mut actual);
            let settled = actual.clone();
            prop_assert_eq!(settle(&desired, &mut actual), vec![]);
            prop_assert_eq!(&settled, &actual);
            for publication in actual.publications.values() {
                prop_assert!(!desired.ended);
                prop_assert_eq!(publication.permission, desired.seats[&publication.user].1);
            }
        }
    }
}
