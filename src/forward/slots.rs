//! Which source is in which of a viewer's slots. Pure and deterministic: the same list twice changes nothing.

use super::{SeatIndex, SourceId, SourceInfo, SourceKind};
use crate::rtp::Codec;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a viewer asked to see.
#[derive(Clone, Debug, PartialEq)]
pub enum View {
    /// The room's program; the host's camera, untouched, while the room has none. One slot. `leave_out`: the user of whose
    /// voice no packet is sent: that is left out of a mix, and where there is nothing without it, there is no sound.
    Program {
        leave_out: Option<Arc<str>>,
    },
    Seat {
        seat: SeatIndex,
        kind: SourceKind,
    },
    /// Every source in a slot of its own; `leave_out`: the viewer's own user.
    Stage {
        leave_out: Option<Arc<str>>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotState {
    Live,
    Muted,
    NoMedia,
    CodecUnsupported,
}

/// One row of `stage.slots`. Its state speaks of the picture, or of the sound of a source without one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotReport {
    pub slot: usize,
    pub seat: SeatIndex,
    pub source: SourceKind,
    pub codec: Option<Codec>,
    pub state: SlotState,
}

/// Where more sources than slots exist, the loud may take a slot from the silent this often: a picture that changes
/// faster can't be recognised (API.md).
const CHANGE_INTERVAL: Duration = Duration::from_secs(2);
/// What a source's remembered loudness loses per [`CHANGE_INTERVAL`]: somebody who spoke loudly 10 s ago counts about as
/// much as somebody who murmurs now.
const FADE: u8 = 12;
/// By how much somebody has to be louder to take a slot from somebody; keeps two who talk to each other from swapping.
const MARGIN: u8 = 6;
const HOST: SeatIndex = SeatIndex(0);
/// Sources of one user that are remembered: a camera and a screen, and those that were replaced while what was made of them
/// can still be sent, about a second.
const LEFT_OUT_MAX: usize = 8;

/// Lower is more important.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    HostScreen,
    Host,
    Screen,
    Other,
}

impl Class {
    fn of(source: &SourceInfo) -> Self {
        match (source.seat, source.kind) {
            (HOST, SourceKind::Screen) => Class::HostScreen,
            (HOST, SourceKind::Camera) => Class::Host,
            (_, SourceKind::Screen) => Class::Screen,
            // a program has nobody to compete with
            (_, SourceKind::Camera | SourceKind::Program) => Class::Other,
        }
    }
}

/// The seat plan of one viewer.
#[derive(Debug)]
pub(super) struct Slots {
    view: View,
    /// The sources of the one whose voice is left out of the program, and those they had before, oldest first.
    left_out: Vec<SourceId>,
    occupants: Vec<Option<SourceInfo>>,
    /// Candidates of the last reconcile that found no slot.
    waiting: Vec<SourceInfo>,
    /// Remembered loudness of the candidates while there are more of them than slots.
    remembered: Vec<(SourceId, u8)>,
    /// When loudness may next move somebody.
    next_change: Instant,
}

impl Slots {
    pub(super) fn new(view: View, count: usize, now: Instant) -> Self {
        let count = if matches!(view, View::Stage { .. }) {
            count
        } else {
            count.min(1)
        };
        Slots {
            view,
            left_out: Vec::new(),
            occupants: vec![None; count],
            waiting: Vec::new(),
            remembered: Vec::new(),
            next_change: now + CHANGE_INTERVAL,
        }
    }

    pub(super) fn occupant(&self, slot: usize) -> Option<&SourceInfo> {
        self.occupants.get(slot)?.as_ref()
    }

    /// The sources whose voices are to be left out of the program; at most [`LEFT_OUT_MAX`].
    pub(super) fn left_out(&self) -> &[SourceId] {
        &self.left_out
    }

    fn leave_out(&mut self, sources: &[SourceInfo]) {
        let View::Program { leave_out: Some(user) } = &self.view else {
            return;
        };
        let theirs = |source: &&SourceInfo| source.user == *user && source.kind != SourceKind::Program;
        let theirs: Vec<SourceId> = sources.iter().filter(theirs).map(|source| source.id).collect();
        for id in &theirs {
            if !self.left_out.contains(id) {
                self.left_out.push(*id);
            }
        }
        while self.left_out.len() > LEFT_OUT_MAX
            && let Some(oldest) = self.left_out.iter().position(|id| !theirs.contains(id))
        {
            self.left_out.remove(oldest);
        }
    }

    /// The sources in slots, then those that wait for one.
    pub(super) fn sources(&self) -> impl Iterator<Item = &SourceInfo> {
        self.occupants.iter().flatten().chain(&self.waiting)
    }

    /// The room's sources are now these. `loudness` is a source's smoothed level, 0..=127.
    pub(super) fn reconcile(&mut self, sources: &[SourceInfo], loudness: impl Fn(SourceId) -> u8, now: Instant) {
        self.leave_out(sources);
        let mut candidates = self.candidates(sources);
        for slot in &mut self.occupants {
            let successor = slot.as_ref().and_then(|old| {
                candidates
                    .iter()
                    .position(|new| new.user == old.user && new.kind == old.kind)
            });
            *slot = successor.map(|i| candidates.remove(i));
        }
        self.waiting = candidates;
        self.seat_waiting(loudness, now);
        debug_assert!(
            self.waiting.is_empty() || self.occupants.iter().all(Option::is_some),
            "nobody waits at a free slot"
        );
    }

    /// Lets loudness move occupants, if it is time. `true`: somebody moved.
    pub(super) fn handle_timeout(&mut self, loudness: impl Fn(SourceId) -> u8, now: Instant) -> bool {
        if self.waiting.is_empty() || now < self.next_change {
            return false;
        }
        let before: Vec<Option<SourceId>> = self.occupants.iter().map(|o| o.as_ref().map(|s| s.id)).collect();
        self.seat_waiting(loudness, now);
        self.occupants.iter().map(|o| o.as_ref().map(|s| s.id)).ne(before)
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let contested = !self.waiting.is_empty() && !self.occupants.is_empty();
        contested.then_some(self.next_change)
    }

    /// What the view admits, the newest transport of each (user, kind) only, in order of importance.
    fn candidates(&self, sources: &[SourceInfo]) -> Vec<SourceInfo> {
        let mixed = sources.iter().any(|source| source.kind == SourceKind::Program);
        let admitted = |source: &&SourceInfo| match (&self.view, source.kind) {
            (View::Program { .. }, SourceKind::Program) => true,
            (View::Program { .. }, kind) => !mixed && kind == SourceKind::Camera && source.seat == HOST,
            (View::Seat { .. } | View::Stage { .. }, SourceKind::Program) => false,
            (View::Seat { seat, kind }, of) => source.seat == *seat && of == *kind,
            (View::Stage { leave_out }, _) => leave_out.as_ref().is_none_or(|own| *own != source.user),
        };
        let newest = |source: &&SourceInfo| {
            !sources
                .iter()
                .any(|o| o.user == source.user && o.kind == source.kind && o.id > source.id)
        };
        let mut candidates: Vec<SourceInfo> = sources.iter().filter(admitted).filter(newest).cloned().collect();
        candidates.sort_by_key(|source| (Class::of(source), source.seat, source.id));
        candidates
    }

    /// Seats who waits: free slots first, then those of less important sources. Between sources of one class loudness
    /// decides, every [`CHANGE_INTERVAL`].
    fn seat_waiting(&mut self, loudness: impl Fn(SourceId) -> u8, now: Instant) {
        if self.waiting.is_empty() || self.occupants.is_empty() {
            self.remembered.clear();
            return;
        }
        let by_loudness = now >= self.next_change;
        self.remember(loudness, by_loudness);
        if by_loudness {
            self.next_change = now + CHANGE_INTERVAL;
        }
        self.waiting.sort_by_key(|source| {
            (
                Class::of(source),
                u8::MAX - recalled(&self.remembered, source.id),
                source.seat,
                source.id,
            )
        });
        let mut still_waiting = Vec::new();
        for source in std::mem::take(&mut self.waiting) {
            if let Some(free) = self.occupants.iter_mut().find(|slot| slot.is_none()) {
                *free = Some(source);
                continue;
            }
            match self.slot_to_yield(&source, by_loudness) {
                Some(slot) => still_waiting.extend(self.occupants[slot].replace(source)),
                None => still_waiting.push(source),
            }
        }
        self.waiting = still_waiting;
        self.waiting
            .sort_by_key(|source| (Class::of(source), source.seat, source.id));
    }

    fn remember(&mut self, loudness: impl Fn(SourceId) -> u8, fade: bool) {
        let before = std::mem::take(&mut self.remembered);
        let everybody = self.occupants.iter().flatten().chain(&self.waiting);
        self.remembered = everybody
            .map(|source| {
                let kept = recalled(&before, source.id).saturating_sub(if fade { FADE } else { 0 });
                (source.id, kept.max(loudness(source.id)))
            })
            .collect();
    }

    /// The slot of the least important occupant that has to make room for `source`.
    fn slot_to_yield(&self, source: &SourceInfo, by_loudness: bool) -> Option<usize> {
        let loud = |source: &SourceInfo| recalled(&self.remembered, source.id);
        let occupied = self
            .occupants
            .iter()
            .enumerate()
            .filter_map(|(slot, o)| Some((slot, o.as_ref()?)));
        let (slot, weakest) = occupied.max_by_key(|(_, o)| (Class::of(o), u8::MAX - loud(o), o.seat, o.id))?;
        let louder = by_loudness
            && Class::of(source) == Class::of(weakest)
            && loud(source) > loud(weakest).saturating_add(MARGIN);
        (Class::of(source) < Class::of(weakest) || louder).then_some(slot)
    }
}

fn recalled(remembered: &[(SourceId, u8)], id: SourceId) -> u8 {
    remembered
        .iter()
        .find(|(source, _)| *source == id)
        .map_or(0, |(_, level)| *level)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(id: u64, seat: u8, kind: SourceKind, user: &str) -> SourceInfo {
        SourceInfo {
            kind,
            user: user.into(),
            ..SourceInfo::camera(SourceId(id), SeatIndex(seat))
        }
    }

    fn camera(id: u64, seat: u8, user: &str) -> SourceInfo {
        source(id, seat, SourceKind::Camera, user)
    }

    fn stage(count: usize, now: Instant) -> Slots {
        Slots::new(View::Stage { leave_out: None }, count, now)
    }

    fn ids(slots: &Slots) -> Vec<u64> {
        slots
            .occupants
            .iter()
            .map(|slot| slot.as_ref().map_or(0, |source| source.id.0))
            .collect()
    }

    fn quiet(_: SourceId) -> u8 {
        0
    }

    #[test]
    fn a_source_keeps_its_slot_while_it_lasts() {
        let now = Instant::now();
        let mut slots = stage(4, now);
        let all = [camera(1, 0, "host"), camera(2, 1, "bob"), camera(3, 2, "eve")];
        slots.reconcile(&all, quiet, now);
        assert_eq!(ids(&slots), [1, 2, 3, 0]);
        slots.reconcile(&all, quiet, now);
        assert_eq!(ids(&slots), [1, 2, 3, 0]);
        slots.reconcile(&[all[0].clone(), all[2].clone()], quiet, now);
        assert_eq!(ids(&slots), [1, 0, 3, 0]);
        slots.reconcile(&[all[0].clone(), all[2].clone(), camera(4, 1, "dan")], quiet, now);
        assert_eq!(ids(&slots), [1, 4, 3, 0]);
    }

    #[test]
    fn a_publisher_who_comes_back_takes_over_and_a_move_changes_the_seat_only() {
        let now = Instant::now();
        let mut slots = stage(3, now);
        slots.reconcile(
            &[camera(1, 0, "host"), camera(2, 1, "bob"), camera(3, 2, "eve")],
            quiet,
            now,
        );
        slots.reconcile(
            &[camera(1, 0, "host"), camera(3, 1, "eve"), camera(9, 2, "bob")],
            quiet,
            now,
        );
        assert_eq!(ids(&slots), [1, 9, 3]);
        assert_eq!(slots.occupant(1).map(|source| source.seat), Some(SeatIndex(2)));
        // both transports of one source are listed for a moment: the newest counts
        slots.reconcile(
            &[camera(9, 2, "bob"), camera(10, 2, "bob"), camera(1, 0, "host")],
            quiet,
            now,
        );
        assert_eq!(ids(&slots), [1, 10, 0]);
    }

    #[test]
    fn importance_decides_where_slots_are_few() {
        let now = Instant::now();
        let mut slots = stage(2, now);
        slots.reconcile(&[camera(5, 2, "eve"), camera(6, 1, "bob")], quiet, now);
        assert_eq!(ids(&slots), [6, 5]);
        let mut all = vec![camera(5, 2, "eve"), camera(6, 1, "bob"), camera(1, 0, "host")];
        slots.reconcile(&all, quiet, now);
        assert_eq!(ids(&slots), [6, 1], "the host takes the slot of the last");
        all.push(source(7, 0, SourceKind::Screen, "host"));
        slots.reconcile(&all, quiet, now);
        assert_eq!(ids(&slots), [7, 1]);
        all.push(source(8, 2, SourceKind::Screen, "eve"));
        slots.reconcile(&all, quiet, now);
        assert_eq!(ids(&slots), [7, 1], "other screens come behind the host");
        all.remove(2);
        slots.reconcile(&all, quiet, now);
        assert_eq!(ids(&slots), [7, 8]);
    }

    #[test]
    fn the_loudest_are_seen_and_change_every_two_seconds_at_most() {
        let start = Instant::now();
        let mut slots = stage(2, start);
        let all = [camera(1, 0, "host"), camera(2, 1, "bob"), camera(3, 2, "eve")];
        let eve_speaks = |id: SourceId| if id == SourceId(3) { 90 } else { 0 };
        let bob_speaks = |id: SourceId| if id == SourceId(2) { 90 } else { 0 };
        slots.reconcile(&all, quiet, start);
        assert_eq!(ids(&slots), [1, 2]);
        assert!(!slots.handle_timeout(eve_speaks, start + Duration::from_millis(1999)));
        assert_eq!(slots.poll_timeout(), Some(start + Duration::from_secs(2)));
        assert!(slots.handle_timeout(eve_speaks, start + Duration::from_secs(2)));
        assert_eq!(ids(&slots), [1, 3]);
        assert!(!slots.handle_timeout(bob_speaks, start + Duration::from_secs(3)));
        assert!(slots.handle_timeout(bob_speaks, start + Duration::from_secs(4)));
        assert_eq!(ids(&slots), [1, 2], "eve's loudness faded");
        // a little louder is not enough
        let nearly = |id: SourceId| if id == SourceId(3) { 92 } else { 90 };
        assert!(!slots.handle_timeout(nearly, start + Duration::from_secs(6)));
    }

    #[test]
    fn views_admit_what_they_name() {
        let now = Instant::now();
        let all = [
            camera(1, 0, "host"),
            camera(2, 1, "bob"),
            source(3, 1, SourceKind::Screen, "bob"),
        ];
        let seated = |view: View| {
            let mut slots = Slots::new(view, 3, now);
            slots.reconcile(&all, quiet, now);
            ids(&slots)
        };
        assert_eq!(seated(View::Program { leave_out: None }), [1]);
        assert_eq!(
            seated(View::Seat {
                seat: SeatIndex(1),
                kind: SourceKind::Screen
            }),
            [3]
        );
        assert_eq!(
            seated(View::Seat {
                seat: SeatIndex(4),
                kind: SourceKind::Camera
            }),
            [0]
        );
        assert_eq!(
            seated(View::Stage {
                leave_out: Some("bob".into())
            }),
            [1, 0, 0]
        );
    }

    #[test]
    fn a_program_takes_the_hosts_place_and_is_on_no_stage() {
        let now = Instant::now();
        let all = [
            camera(1, 0, "host"),
            camera(2, 1, "bob"),
            source(3, 0, SourceKind::Program, "room"),
        ];
        let seat = View::Seat {
            seat: SeatIndex(0),
            kind: SourceKind::Program,
        };
        let views = [
            (View::Program { leave_out: None }, vec![1], vec![3]),
            (View::Stage { leave_out: None }, vec![1, 2, 0], vec![1, 2, 0]),
            (seat, vec![0], vec![0]),
        ];
        for (view, before, with) in views {
            let mut slots = Slots::new(view, 3, now);
            for (sources, seated) in [(&all[..2], &before), (&all, &with), (&all[..2], &before)] {
                slots.reconcile(sources, quiet, now);
                assert_eq!(&ids(&slots), seated);
            }
        }
        // the next program of the room follows the one before
        let mut slots = Slots::new(View::Program { leave_out: None }, 1, now);
        slots.reconcile(&all, quiet, now);
        let next = source(4, 0, SourceKind::Program, "room");
        slots.reconcile(&[all[0].clone(), all[2].clone(), next], quiet, now);
        assert_eq!(ids(&slots), [4]);
    }

    #[test]
    fn all_sources_of_the_user_whose_voice_is_left_out_are_known() {
        let now = Instant::now();
        let view = View::Program {
            leave_out: Some("bob".into()),
        };
        let mut slots = Slots::new(view, 1, now);
        let program = source(9, 0, SourceKind::Program, "");
        let host = camera(1, 0, "host");
        let screen = source(5, 4, SourceKind::Screen, "bob");
        let lists: [(Vec<SourceInfo>, &[u64]); 5] = [
            (vec![host.clone()], &[]),
            (vec![host.clone(), camera(2, 3, "bob")], &[2]),
            (vec![host.clone(), camera(2, 1, "bob"), screen.clone()], &[2, 5]),
            // what was made of the camera may still come
            (vec![host.clone(), camera(6, 3, "eve"), screen.clone()], &[2, 5]),
            (vec![host.clone()], &[2, 5]),
        ];
        let left_out = |slots: &Slots| -> Vec<u64> { slots.left_out().iter().map(|id| id.0).collect() };
        for (mut sources, expected) in lists {
            sources.push(program.clone());
            slots.reconcile(&sources, quiet, now);
            assert_eq!((ids(&slots), left_out(&slots)), (vec![9], expected.to_vec()));
        }
        // a screen that stays is not forgotten, however often the camera is replaced
        for id in 20..40 {
            let sources = [program.clone(), screen.clone(), camera(id, 4, "bob")];
            slots.reconcile(&sources, quiet, now);
        }
        assert_eq!(left_out(&slots), [5, 33, 34, 35, 36, 37, 38, 39]);
    }

    #[test]
    fn a_viewer_without_slots_is_content() {
        let now = Instant::now();
        let mut slots = stage(0, now);
        slots.occupants.clear();
        for sources in [&[][..], &[camera(1, 1, "one")]] {
            slots.reconcile(sources, quiet, now);
            assert_eq!(slots.poll_timeout(), None);
        }
    }
}
