//! Who of those who hear the program without their own voice needs a mix of their own, and whose voices those mixes hold.
//! Pure; the time base is the block, 20 ms.
//!
//! Who says nothing shares one mix with everybody else who says nothing. Who is heard has a mix of their own; for the
//! [`OWN_MAX`] loudest there is one. The others are *hushed*: they share the common mix again, from which, as from all own
//! mixes, the voices of the hushed are taken. So nobody ever hears themself, and only the whole mix holds everybody.

use crate::forward::SeatIndex;

/// Mixes for one listener alone at a time: what each costs is an encode, 0.1 to 0.2 ms of every 20. More than four who
/// talk at once are not understood anyway.
pub const OWN_MAX: usize = 4;
/// A peak below this contributes nothing that its speaker could hear come back: 60 dB below full scale.
const QUIET: f32 = 0.001;
/// Blocks a listener keeps a mix of their own after having been heard: half a second, the pauses in speech. Going over
/// between two encodings costs the listener's decoder a little each time.
const APART_BLOCKS: u32 = 25;
/// What a remembered loudness loses per block: 20 dB within 0.6 s, so that a pause between words gives up no place.
const FADE: f32 = 0.925;
/// How many times as loud a hushed voice has to be to take the place of another: 6 dB keep two from swapping.
const MARGIN: f32 = 2.0;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// The voice is not in the mix.
    Silent,
    Own,
    /// The last block of an own mix, while the voice fades from the others'.
    Leaving,
    /// Heard, but in no mix except the whole.
    Hushed,
}

/// How much of a voice is in the mixes of others, at a block's beginning and at its end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Gain {
    pub from: f32,
    pub to: f32,
}

impl Gain {
    pub const FULL: Gain = Gain { from: 1.0, to: 1.0 };
}

#[derive(Clone, Copy, Debug)]
struct Listener {
    seat: SeatIndex,
    place: Place,
    gain: Gain,
    /// The peak, fading.
    loudness: f32,
    /// Blocks since the voice was heard last.
    unheard: u32,
    /// Blocks since they began to listen.
    age: u32,
    /// Listens no more; stays until the last block is over and the voice is back in the others' mixes.
    gone: bool,
}

/// The listeners of one program.
#[derive(Debug, Default)]
pub(super) struct Apart {
    /// By seat.
    listeners: Vec<Listener>,
}

impl Apart {
    /// From the next block on these seats listen, and no others. Twice equals once.
    pub fn listen(&mut self, seats: &[SeatIndex]) {
        for listener in &mut self.listeners {
            listener.gone = !seats.contains(&listener.seat);
        }
        for seat in seats {
            if let Err(index) = self.listeners.binary_search_by_key(seat, |listener| listener.seat) {
                let listener = Listener {
                    seat: *seat,
                    place: Place::Silent,
                    gain: Gain::FULL,
                    loudness: 0.0,
                    unheard: 0,
                    age: 0,
                    gone: false,
                };
                self.listeners.insert(index, listener);
            }
        }
    }

    pub fn is_empty(&self) -> bool {
        self.listeners.is_empty()
    }

    /// The next block: `peak` is that of a seat's voice in it, and `may_join` says of a listener who has not been heard for
    /// a while whether going over to the shared mix would not be noticed.
    pub fn turn(&mut self, peak: impl Fn(SeatIndex) -> f32, may_join: impl Fn(SeatIndex) -> bool) {
        for listener in &mut self.listeners {
            listener.gain.from = listener.gain.to;
            if listener.place == Place::Leaving {
                listener.place = Place::Hushed;
            }
        }
        self.listeners
            .retain(|known| !known.gone || known.gain != Gain::FULL || known.place == Place::Own);
        let mut own = self.own().count();
        for listener in &mut self.listeners {
            let is_new = listener.age == 0;
            let peak = peak(listener.seat);
            let heard = peak > QUIET;
            listener.loudness = peak.max(listener.loudness * FADE);
            listener.age = listener.age.saturating_add(1);
            listener.unheard = if heard { 0 } else { listener.unheard.saturating_add(1) };
            let is_over = listener.unheard >= APART_BLOCKS;
            match listener.place {
                // one block more: the whole mix's limiter still holds some of a voice that has just ended
                Place::Own if listener.gone => {
                    listener.place = Place::Leaving;
                    own -= 1;
                }
                _ if listener.gone => (listener.place, listener.gain.to) = (Place::Silent, 1.0),
                // of one who listened, the block before was as good as silent, so nothing is cut off
                Place::Silent if heard && own < OWN_MAX => {
                    listener.place = Place::Own;
                    own += 1;
                }
                Place::Silent if heard => {
                    listener.place = Place::Hushed;
                    listener.gain.to = 0.0;
                    if !is_new {
                        listener.gain.from = 0.0;
                    }
                }
                Place::Own if is_over && may_join(listener.seat) => {
                    listener.place = Place::Silent;
                    own -= 1;
                }
                Place::Hushed if is_over => (listener.place, listener.gain) = (Place::Silent, Gain::FULL),
                Place::Silent | Place::Own | Place::Leaving | Place::Hushed => {}
            }
        }
        self.give_places(own);
    }

    /// Free places go to the loudest of the hushed; where there is none, the loudest may take that of the quietest.
    fn give_places(&mut self, mut own: usize) {
        let at = |listeners: &[Listener], place| {
            let those = listeners
                .iter()
                .enumerate()
                .filter(move |(_, known)| known.place == place);
            let by_loudness: Vec<_> = those.map(|(index, known)| (index, known.loudness)).collect();
            by_loudness
        };
        let louder = |one: &(usize, f32), other: &(usize, f32)| one.1.total_cmp(&other.1);
        while let Some((index, loudness)) = at(&self.listeners, Place::Hushed).into_iter().max_by(louder) {
            if own < OWN_MAX {
                self.listeners[index].place = Place::Own;
                self.listeners[index].gain.to = 1.0;
                own += 1;
                continue;
            }
            let quietest = at(&self.listeners, Place::Own).into_iter().min_by(louder);
            let leaving = self.listeners.iter().any(|known| known.place == Place::Leaving);
            if let Some((quietest, _)) = quietest.filter(|(_, than)| !leaving && loudness > than * MARGIN) {
                self.listeners[quietest].place = Place::Leaving;
                self.listeners[quietest].gain.to = 0.0;
            }
            break;
        }
    }

    /// The seats that have a mix of their own.
    pub fn own(&self) -> impl Iterator<Item = SeatIndex> {
        let own = self.listeners.iter();
        own.filter(|known| matches!(known.place, Place::Own | Place::Leaving))
            .map(|known| known.seat)
    }

    /// This is the first block that the seat listens to.
    pub fn begins(&self, seat: SeatIndex) -> bool {
        let mut known = self.listeners.iter();
        known.any(|known| known.seat == seat && known.age <= 1)
    }

    /// How much of this seat's voice is in the mixes of listeners.
    pub fn gain(&self, seat: SeatIndex) -> Gain {
        let known = self.listeners.iter().find(|known| known.seat == seat);
        known.map_or(Gain::FULL, |known| known.gain)
    }

    /// Some voice is not wholly in the common mix.
    pub fn hushes(&self) -> bool {
        self.listeners.iter().any(|known| known.gain != Gain::FULL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Gain = Gain { from: 0.0, to: 0.0 };

    /// Seats 0 to 9 listen.
    fn everybody() -> Apart {
        let mut apart = Apart::default();
        let seats: Vec<SeatIndex> = (0..10).map(SeatIndex).collect();
        apart.listen(&seats);
        apart.listen(&seats);
        apart
    }

    /// A block in which these seats have these peaks; who has an own mix then.
    fn turn(apart: &mut Apart, peaks: &[(u8, f32)]) -> Vec<u8> {
        let peak = |seat: SeatIndex| {
            let spoken = peaks.iter().find(|(speaker, _)| *speaker == seat.0);
            spoken.map_or(0.0, |(_, peak)| *peak)
        };
        apart.turn(peak, |_| true);
        apart.own().map(|seat| seat.0).collect()
    }

    fn gains(apart: &Apart, seats: &[u8]) -> Vec<(f32, f32)> {
        let gains = seats.iter().map(|seat| apart.gain(SeatIndex(*seat)));
        gains.map(|gain| (gain.from, gain.to)).collect()
    }

    #[test]
    fn who_is_heard_has_an_own_mix_until_half_a_second_after() {
        let mut apart = everybody();
        assert_eq!(turn(&mut apart, &[]), [0u8; 0]);
        assert_eq!(turn(&mut apart, &[(3, 0.0005)]), [0u8; 0], "not to be heard");
        assert_eq!(turn(&mut apart, &[(3, 0.2), (12, 0.9)]), [3], "seat 12 does not listen");
        for _ in 0..24 {
            assert_eq!(turn(&mut apart, &[(7, 0.1)]), [3, 7]);
        }
        assert_eq!(turn(&mut apart, &[(7, 0.1)]), [7]);
        assert!(!apart.hushes());
        // as long as the shared mix is louder or quieter, nobody goes over to it
        for _ in 0..100 {
            apart.turn(|_| 0.0, |_| false);
        }
        assert_eq!(apart.own().count(), 1);
    }

    #[test]
    fn of_more_than_four_the_loudest_have_own_mixes_and_the_rest_is_in_nobodys() {
        let mut apart = everybody();
        turn(&mut apart, &[]);
        let quiet = [(0, 0.5), (1, 0.4), (2, 0.3), (3, 0.2), (4, 0.1)];
        assert_eq!(turn(&mut apart, &quiet), [0, 1, 2, 3]);
        assert_eq!(gains(&apart, &[3, 4]), [(1.0, 1.0), (0.0, 0.0)]);
        // a little louder is not enough
        let louder = [(0, 0.5), (1, 0.4), (2, 0.3), (3, 0.2), (4, 0.39)];
        for _ in 0..10 {
            assert_eq!(turn(&mut apart, &louder), [0, 1, 2, 3]);
        }
        // twice as loud is: one fades while still apart, then the other comes
        let loud = [(0, 0.5), (1, 0.4), (2, 0.3), (3, 0.2), (4, 0.9)];
        assert_eq!(turn(&mut apart, &loud), [0, 1, 2, 3]);
        assert_eq!(gains(&apart, &[3, 4]), [(1.0, 0.0), (0.0, 0.0)]);
        assert_eq!(turn(&mut apart, &loud), [0, 1, 2, 4]);
        assert_eq!(gains(&apart, &[3, 4]), [(0.0, 0.0), (0.0, 1.0)]);
        assert_eq!(turn(&mut apart, &loud), [0, 1, 2, 4]);
        assert_eq!(gains(&apart, &[3, 4]), [(0.0, 0.0), (1.0, 1.0)]);
        assert!(apart.hushes());
        // who says nothing any more gives up the place, and then is hushed no more
        let fewer = [(1, 0.4), (2, 0.3), (3, 0.2), (4, 0.9)];
        let blocks = (1..=25).find(|_| turn(&mut apart, &fewer) == [1, 2, 3, 4]);
        assert!(blocks.is_some_and(|blocks| blocks > 5), "{blocks:?}");
        assert_eq!(gains(&apart, &[0, 3]), [(0.0, 0.0), (0.0, 1.0)]);
        for _ in 0..25 {
            turn(&mut apart, &fewer);
        }
        assert!(!apart.hushes());
    }

    #[test]
    fn never_more_than_four_and_nobody_who_is_heard_shares_a_mix_with_the_own_voice() {
        let mut random = 7u64;
        let mut dice = |sides: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (random >> 33) % sides
        };
        let mut apart = everybody();
        let mut peaks = [0.0f32; 10];
        let mut crowded = 0;
        for block in 0..20_000 {
            let seat = dice(10) as usize;
            if dice(4) == 0 {
                peaks[seat] = if dice(3) == 0 { 0.0 } else { dice(1000) as f32 / 1000.0 };
            }
            let before: Vec<Gain> = (0..10).map(|seat| apart.gain(SeatIndex(seat))).collect();
            let spoken: Vec<(u8, f32)> = (0..10).zip(peaks).collect();
            let own = turn(&mut apart, &spoken);
            assert!(own.len() <= OWN_MAX, "{block}");
            crowded += u32::from(apart.hushes());
            for (seat, peak) in spoken {
                let gain = apart.gain(SeatIndex(seat));
                assert!(own.contains(&seat) || peak <= QUIET || gain == NONE, "{block} {seat}");
                let jumps = gain.from != before[usize::from(seat)].to;
                let silent = apart.listeners[usize::from(seat)].unheard >= APART_BLOCKS;
                let begins = gain.from == 0.0 && before[usize::from(seat)].to == 1.0;
                assert!(!jumps || silent || begins, "{block} {seat}: {gain:?}");
            }
        }
        assert!(crowded > 10_000, "{crowded}");
    }

    #[test]
    fn a_hushed_voice_whose_listener_leaves_fades_in() {
        let mut apart = everybody();
        let five = [(0, 0.5), (1, 0.4), (2, 0.3), (3, 0.2), (4, 0.1)];
        turn(&mut apart, &five);
        apart.listen(&[0, 1, 2, 3].map(SeatIndex));
        assert_eq!(turn(&mut apart, &five), [0, 1, 2, 3]);
        assert_eq!(gains(&apart, &[4]), [(0.0, 1.0)]);
        turn(&mut apart, &five);
        assert!(!apart.hushes());
        apart.listen(&[]);
        assert_eq!(turn(&mut apart, &five), [0, 1, 2, 3], "the last block");
        assert_eq!(turn(&mut apart, &five), [0u8; 0]);
        assert!(apart.is_empty());
    }
}
