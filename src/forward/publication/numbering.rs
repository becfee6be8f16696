//! The numbers under which a layer's packets travel on.

use crate::forward::switcher::LEAP_MAX;
use std::collections::VecDeque;

/// Padding-only packets remembered per layer; a packet from before the oldest is too late to be numbered. Padding fills
/// gaps of probing, a few packets a second.
const TAKEN_OUT_MAX: usize = 64;
/// What a new beginning leaves out: more than any ring holds, so nothing joins the two sides.
const RESTART_GAP: u64 = 1 << 16;

/// Numbers a layer's packets without its padding-only packets, so that viewers see no holes where they were.
///
/// A padding-only packet that is the newest closes up: all later packets are numbered one lower. One that comes late
/// left a hole already and keeps its number.
#[derive(Debug, Default)]
pub(super) struct Numbering {
    /// Added to the publisher's numbers behind the last taken out.
    shift: i64,
    /// (sequence taken out, shift in force before it), ascending.
    taken_out: VecDeque<(u64, i64)>,
    /// Sequences up to here are too old.
    forgotten: Option<u64>,
    newest: Option<u64>,
    restarting: bool,
}

impl Numbering {
    /// The number of a packet. `None`: too old.
    pub(super) fn number(&mut self, sequence: u64) -> Option<u64> {
        if std::mem::take(&mut self.restarting) {
            let first = self.newest.map_or(sequence, |newest| newest + RESTART_GAP);
            self.shift = first.wrapping_sub(sequence).cast_signed();
        }
        let number = self.place(sequence)?;
        self.newest = self.newest.max(Some(number));
        Some(number)
    }

    /// Whether the packet is too far from those that have a number to continue them. What was taken out in between, or
    /// came while nothing was permitted, brings it no nearer.
    pub(super) fn leaps_to(&self, sequence: u64) -> bool {
        let far = |newest| self.place(sequence).is_some_and(|number| number > newest + LEAP_MAX);
        !self.restarting && self.newest.is_some_and(far)
    }

    fn place(&self, sequence: u64) -> Option<u64> {
        if self.forgotten.is_some_and(|forgotten| sequence <= forgotten) {
            return None;
        }
        let later = self.taken_out.iter().rev().take_while(|(taken, _)| *taken > sequence);
        let shift = later.last().map_or(self.shift, |(_, before)| *before);
        sequence.checked_add_signed(shift)
    }

    /// The newest packet carries nothing: those behind it close up.
    pub(super) fn take_out(&mut self, sequence: u64) {
        debug_assert!(self.taken_out.back().is_none_or(|(last, _)| *last < sequence));
        if self.restarting || self.newest.is_none() {
            // nobody has seen a number that this could leave a hole behind
            return;
        }
        self.taken_out.push_back((sequence, self.shift));
        self.shift -= 1;
        if self.taken_out.len() > TAKEN_OUT_MAX {
            self.forgotten = self.taken_out.pop_front().map(|(taken, _)| taken);
        }
    }

    /// The publisher's numbers begin anew.
    pub(super) fn restart(&mut self) {
        self.taken_out.clear();
        self.forgotten = None;
        self.restarting = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_closes_up_and_late_packets_keep_their_place() {
        let mut numbering = Numbering::default();
        assert_eq!(numbering.number(100), Some(100));
        numbering.take_out(101);
        numbering.take_out(103); // 102 is on its way
        assert_eq!(numbering.number(104), Some(102));
        assert_eq!(numbering.number(102), Some(101));
        assert_eq!(numbering.number(99), Some(99));
        assert_eq!(numbering.number(105), Some(103));
    }

    #[test]
    fn padding_before_anything_else_takes_no_place() {
        let mut numbering = Numbering::default();
        numbering.take_out(0);
        assert_eq!(numbering.number(1), Some(1));
    }

    #[test]
    fn memory_is_bounded() {
        let mut numbering = Numbering::default();
        numbering.number(0);
        for sequence in 1..1000 {
            numbering.take_out(sequence);
        }
        assert_eq!(numbering.taken_out.len(), TAKEN_OUT_MAX);
        assert_eq!(numbering.number(1000), Some(1));
        assert_eq!(numbering.number(10), None);
    }

    #[test]
    fn what_is_far_from_the_last_number_leaps_whatever_was_taken_out() {
        let mut numbering = Numbering::default();
        assert!(!numbering.leaps_to(1 << 40), "it is the first");
        numbering.number(100);
        assert!(!numbering.leaps_to(100 + LEAP_MAX) && numbering.leaps_to(101 + LEAP_MAX));
        for step in 1..=4 {
            numbering.take_out(100 + step * LEAP_MAX / 2);
        }
        assert!(numbering.leaps_to(101 + 2 * LEAP_MAX) && !numbering.leaps_to(99));
        numbering.restart();
        assert!(!numbering.leaps_to(101 + 2 * LEAP_MAX), "it begins anew");
    }

    #[test]
    fn a_restart_leaves_a_gap_and_goes_on_upwards() {
        let mut numbering = Numbering::default();
        numbering.number(70_000);
        numbering.take_out(70_001);
        numbering.restart();
        numbering.take_out(4);
        assert_eq!(numbering.number(5), Some(70_000 + RESTART_GAP));
        assert_eq!(numbering.number(7), Some(70_002 + RESTART_GAP));
        assert_eq!(numbering.number(6), Some(70_001 + RESTART_GAP));
    }
}
