//! Whose voices are in which packets of a program's sound: what says whether a listener who is left out may have a packet.
//! Pure; the time base is the program's sequence numbers, so that what is sent again is judged as it was the first time.

use super::{FeedUpdate, LayerIndex, SourceId};

/// Where in a program's sound the voice of a source may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Voice {
    Nowhere,
    /// Not in this layer; nor in the whole mix, where this layer has no packet.
    Apart(LayerIndex),
    Everywhere,
}

/// Changes that are kept: a camera and a screen of each of a room's 16 seats, and as many changes again, which are more than
/// a second brings and as many as can be asked for again. What is from before the oldest goes to nobody who is left out.
const CHANGES_MAX: usize = 64;

/// The changes of one program's sound.
#[derive(Debug, Default)]
pub(super) struct Voices {
    /// In order of `from`.
    changes: Vec<Change>,
    /// What is earlier has been forgotten.
    known_from: u64,
}

#[derive(Clone, Copy, Debug)]
struct Change {
    source: SourceId,
    /// Number of the first packet.
    from: u64,
    voice: Voice,
}

impl Voice {
    /// Of two voices at once.
    fn and(self, other: Voice) -> Voice {
        match (self, other) {
            (Voice::Nowhere, voice) | (voice, Voice::Nowhere) => voice,
            (one, other) if one == other => one,
            _ => Voice::Everywhere,
        }
    }
}

impl Voices {
    /// From the packet `from` on; those of one source come in order.
    pub fn note(&mut self, source: SourceId, from: u64, voice: Voice) {
        if self.changes.len() == CHANGES_MAX {
            self.forget();
        }
        self.changes.push(Change { source, from, voice });
    }

    /// Where the voices of all these sources are in the packets of this number.
    pub fn of(&self, sources: &[SourceId], sequence: u64) -> Voice {
        if !sources.is_empty() && sequence < self.known_from {
            return Voice::Everywhere;
        }
        let of = |source: &SourceId| {
            let mut changes = self.changes.iter().rev();
            let last = changes.find(|change| change.source == *source && change.from <= sequence);
            last.map_or(Voice::Nowhere, |change| change.voice)
        };
        sources.iter().map(of).fold(Voice::Nowhere, Voice::and)
    }

    /// What brings one that knows nothing to this one's state.
    pub fn state(&self) -> impl Iterator<Item = FeedUpdate> {
        self.changes
            .iter()
            .map(|&Change { source, from, voice }| FeedUpdate::Voice { source, from, voice })
    }

    /// Makes room: the oldest change that another has followed, or that ended something.
    fn forget(&mut self) {
        let followed_at = |index: usize| {
            let change = self.changes.get(index)?;
            let mut later = self.changes.iter().skip(index + 1);
            let next = later
                .find(|later| later.source == change.source)
                .map(|later| later.from);
            next.or((change.voice == Voice::Nowhere).then_some(change.from))
        };
        let oldest = (0..self.changes.len()).find_map(|index| Some((index, followed_at(index)?)));
        // more voices than a room has seats: none is told from another any more
        let (index, known_from) = oldest.unwrap_or((0, u64::MAX));
        self.changes.remove(index);
        self.known_from = self.known_from.max(known_from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOB: SourceId = SourceId(7);
    const SCREEN: SourceId = SourceId(8);
    const APART: Voice = Voice::Apart(LayerIndex(3));

    #[test]
    fn packets_are_judged_by_their_numbers() {
        let mut voices = Voices::default();
        assert_eq!(voices.of(&[BOB], 5), Voice::Nowhere);
        voices.note(BOB, 10, Voice::Everywhere);
        voices.note(BOB, 12, APART);
        voices.note(BOB, 20, Voice::Nowhere);
        let of = |voices: &Voices, sources: &[SourceId]| [9, 10, 11, 12, 19, 20].map(|at| voices.of(sources, at));
        let (all, none) = (Voice::Everywhere, Voice::Nowhere);
        assert_eq!(of(&voices, &[BOB]), [none, all, all, APART, APART, none]);
        assert_eq!(of(&voices, &[]), [none; 6]);
        assert_eq!(of(&voices, &[SCREEN]), [none; 6]);
        // a user's sources together
        voices.note(SCREEN, 11, APART);
        assert_eq!(of(&voices, &[SCREEN, BOB]), [none, all, all, APART, APART, APART]);
        voices.note(SCREEN, 19, Voice::Apart(LayerIndex(4)));
        assert_eq!(voices.of(&[BOB, SCREEN], 19), all, "no layer is without both");
        let mut joined = Voices::default();
        for update in voices.state() {
            let FeedUpdate::Voice { source, from, voice } = update else {
                panic!("{update:?}");
            };
            joined.note(source, from, voice);
        }
        assert_eq!(of(&joined, &[SCREEN, BOB]), of(&voices, &[SCREEN, BOB]));
    }

    #[test]
    fn what_is_forgotten_is_held_back_and_what_goes_on_is_never_forgotten() {
        let mut voices = Voices::default();
        voices.note(BOB, 1, Voice::Everywhere);
        for at in 0..200 {
            let voice = if at % 2 == 0 { APART } else { Voice::Nowhere };
            voices.note(SCREEN, 10 + at, voice);
        }
        assert_eq!(voices.changes.len(), CHANGES_MAX);
        assert_eq!(voices.of(&[BOB], 1_000), Voice::Everywhere);
        assert_eq!([208, 209].map(|at| voices.of(&[SCREEN], at)), [APART, Voice::Nowhere]);
        assert_eq!(
            voices.of(&[SourceId(9)], 50),
            Voice::Everywhere,
            "nothing is known of then"
        );
        assert_eq!(voices.of(&[], 50), Voice::Nowhere);
        for source in 100..200 {
            voices.note(SourceId(source), 500, APART);
        }
        assert_eq!(voices.changes.len(), CHANGES_MAX);
        assert_eq!(voices.of(&[SourceId(9)], 1_000), Voice::Everywhere);
    }
}
