//! Says of the program's sound whose voices are in which packets, so that nobody who is left out hears themself. Pure. In
//! come the inputs of the mixer and the numbers of what leaves, out go the changes, each before the first packet it is of.
//!
//! That a voice is in the mix is said at once. That it no longer is, or is apart from another packet on, is said once all
//! that came before is over: until then there is nothing for its listeners.

use crate::forward::{FeedUpdate, SourceId, Voice};
use std::collections::BTreeMap;

/// Packets of the mixer, 20 ms each, in which a voice may still be heard that is out of the mix, or in a mix that begins:
/// one in which it fades, and one for what limiter and encoder have yet to give out of it, 11.5 ms.
const LAG: u64 = 2;

#[derive(Debug, Default)]
pub(super) struct Voices {
    /// Of the mixer's next packet.
    mixed: BTreeMap<SourceId, Voice>,
    /// What was said, but for those that are nowhere.
    told: BTreeMap<SourceId, Voice>,
    /// What there will be to say, and from which packet on.
    ahead: BTreeMap<SourceId, (Voice, u64)>,
    /// One above the highest number.
    next: u64,
    /// Nothing is left to say of what is mixed.
    settled: bool,
}

impl Voices {
    /// What the mixer makes from now on, and of whom. Twice equals once.
    pub fn set_mixed(&mut self, voices: impl Iterator<Item = (SourceId, Voice)>) {
        self.mixed = voices.collect();
        self.settled = false;
    }

    /// A packet of the mixer's is about to leave; there may be several of a number.
    pub fn handle_mixed(&mut self, number: u64, mut tell: impl FnMut(FeedUpdate)) {
        if number < self.next {
            return;
        }
        self.next = number + 1;
        if self.settled {
            return;
        }
        let known: Vec<SourceId> = self.told.keys().chain(self.mixed.keys()).copied().collect();
        for source in known {
            let is = self.told.get(&source).copied().unwrap_or(Voice::Nowhere);
            let becomes = self.mixed.get(&source).copied().unwrap_or(Voice::Nowhere);
            if is == becomes {
                self.ahead.remove(&source);
                continue;
            }
            if is == Voice::Nowhere || becomes == Voice::Everywhere {
                self.ahead.remove(&source);
                self.say(source, becomes, &mut tell);
                continue;
            }
            let ahead = self.ahead.get(&source).filter(|(voice, _)| *voice == becomes);
            let (_, from) = ahead.copied().unwrap_or((becomes, number + LAG));
            if number >= from {
                self.ahead.remove(&source);
                self.say(source, becomes, &mut tell);
            } else {
                self.ahead.insert(source, (becomes, from));
                if is != Voice::Everywhere {
                    self.say(source, Voice::Everywhere, &mut tell);
                }
            }
        }
        self.settled = self.ahead.is_empty();
    }

    /// A packet of the host's is about to leave as it is: it holds this voice, and no other.
    pub fn handle_passed(&mut self, host: SourceId, number: u64, mut tell: impl FnMut(FeedUpdate)) {
        // a late one has its place among those that were passed before
        if number < self.next {
            return;
        }
        self.next = number + 1;
        if self.told.len() == 1 && self.told.get(&host) == Some(&Voice::Everywhere) {
            return;
        }
        self.settled = false;
        self.ahead.clear();
        let others: Vec<SourceId> = self.told.keys().copied().filter(|source| *source != host).collect();
        for source in others {
            self.say(source, Voice::Nowhere, &mut tell);
        }
        self.say(host, Voice::Everywhere, &mut tell);
    }

    /// From the packet that is about to leave on.
    fn say(&mut self, source: SourceId, voice: Voice, tell: &mut impl FnMut(FeedUpdate)) {
        match voice {
            Voice::Nowhere => self.told.remove(&source),
            Voice::Apart(_) | Voice::Everywhere => self.told.insert(source, voice),
        };
        let from = self.next - 1;
        tell(FeedUpdate::Voice { source, from, voice });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forward::LayerIndex;

    const HOST: SourceId = SourceId(1);
    const BOB: SourceId = SourceId(2);
    const ALL: Voice = Voice::Everywhere;
    const NONE: Voice = Voice::Nowhere;

    fn without(layer: u8) -> Voice {
        Voice::Apart(LayerIndex(layer))
    }

    /// What is said of each, by number.
    #[derive(Default)]
    struct Said(Vec<(SourceId, u64, Voice)>);

    impl Said {
        fn take(&mut self) -> Vec<(SourceId, u64, Voice)> {
            std::mem::take(&mut self.0)
        }

        fn tell(&mut self) -> impl FnMut(FeedUpdate) {
            |update| match update {
                FeedUpdate::Voice { source, from, voice } => self.0.push((source, from, voice)),
                other => panic!("{other:?}"),
            }
        }
    }

    fn mix(voices: &mut Voices, said: &mut Said, numbers: std::ops::Range<u64>) -> Vec<(SourceId, u64, Voice)> {
        for number in numbers {
            // each layer, then the whole
            voices.handle_mixed(number, said.tell());
            voices.handle_mixed(number, said.tell());
        }
        said.take()
    }

    #[test]
    fn who_comes_is_there_at_once_and_what_is_over_is_so_a_little_later() {
        let (mut voices, mut said) = (Voices::default(), Said::default());
        voices.set_mixed([(HOST, ALL)].into_iter());
        assert_eq!(mix(&mut voices, &mut said, 10..20), [(HOST, 10, ALL)]);
        voices.set_mixed([(HOST, ALL), (BOB, without(4))].into_iter());
        assert_eq!(mix(&mut voices, &mut said, 20..30), [(BOB, 20, without(4))]);
        // the host begins to listen
        let both = [(HOST, without(1)), (BOB, without(4))];
        voices.set_mixed(both.into_iter());
        voices.set_mixed(both.into_iter());
        assert_eq!(mix(&mut voices, &mut said, 30..40), [(HOST, 32, without(1))]);
        // another seat
        voices.set_mixed([(HOST, without(1)), (BOB, without(2))].into_iter());
        assert_eq!(
            mix(&mut voices, &mut said, 40..50),
            [(BOB, 40, ALL), (BOB, 42, without(2))]
        );
        // there and back
        voices.set_mixed([(HOST, without(1)), (BOB, without(3))].into_iter());
        assert_eq!(mix(&mut voices, &mut said, 50..51), [(BOB, 50, ALL)]);
        voices.set_mixed([(HOST, without(1)), (BOB, without(2))].into_iter());
        assert_eq!(mix(&mut voices, &mut said, 51..60), [(BOB, 53, without(2))]);
        voices.set_mixed([(HOST, ALL)].into_iter());
        assert_eq!(
            mix(&mut voices, &mut said, 60..70),
            [(HOST, 60, ALL), (BOB, 60, ALL), (BOB, 62, NONE)]
        );
    }

    #[test]
    fn the_host_as_it_is_holds_the_hosts_voice_and_no_other() {
        let (mut voices, mut said) = (Voices::default(), Said::default());
        for number in [100, 101, 103] {
            voices.handle_passed(HOST, number, said.tell());
        }
        assert_eq!(said.take(), [(HOST, 100, ALL)]);
        voices.set_mixed([(HOST, without(1)), (BOB, without(4))].into_iter());
        voices.handle_mixed(104, said.tell());
        assert_eq!(said.take(), [(BOB, 104, without(4))]);
        // sent again by the host
        voices.handle_passed(HOST, 102, said.tell());
        assert_eq!(mix(&mut voices, &mut said, 105..110), [(HOST, 106, without(1))]);
        voices.handle_passed(HOST, 110, said.tell());
        assert_eq!(said.take(), [(BOB, 110, NONE), (HOST, 110, ALL)]);
        // another publication of the host's
        voices.handle_passed(SourceId(9), 111, said.tell());
        assert_eq!(said.take(), [(HOST, 111, NONE), (SourceId(9), 111, ALL)]);
        // the mixer again, as it was
        let expected = [
            (HOST, 112, without(1)),
            (BOB, 112, without(4)),
            (SourceId(9), 114, NONE),
        ];
        assert_eq!(mix(&mut voices, &mut said, 112..120), expected);
    }
}
