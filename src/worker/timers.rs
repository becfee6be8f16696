//! The worker's deadlines: one per peer, soonest first. Pure.

use std::time::Instant;

/// An indexed binary heap: holds at most one entry per key, so it needs no bound of its own.
#[derive(Debug, Default)]
pub(super) struct Timers {
    heap: Vec<(Instant, usize)>,
    /// Where a key stands in `heap`; `usize::MAX`: nowhere.
    positions: Vec<usize>,
}

const NOWHERE: usize = usize::MAX;

impl Timers {
    /// Sets, moves or (`None`) removes the deadline of `key`. Keys are small and dense.
    pub fn set(&mut self, key: usize, deadline: Option<Instant>) {
        if self.positions.len() <= key {
            if deadline.is_none() {
                return;
            }
            self.positions.resize(key + 1, NOWHERE);
        }
        let position = self.positions[key];
        match (position, deadline) {
            (NOWHERE, None) => {}
            (NOWHERE, Some(deadline)) => {
                self.positions[key] = self.heap.len();
                self.heap.push((deadline, key));
                self.rise(self.heap.len() - 1);
            }
            (_, Some(deadline)) => {
                if self.heap[position].0 != deadline {
                    self.heap[position].0 = deadline;
                    self.settle(position);
                }
            }
            (_, None) => {
                self.heap.swap_remove(position);
                self.positions[key] = NOWHERE;
                if let Some(&(_, moved)) = self.heap.get(position) {
                    self.positions[moved] = position;
                    self.settle(position);
                }
            }
        }
    }

    pub fn next(&self) -> Option<Instant> {
        self.heap.first().map(|entry| entry.0)
    }

    /// Takes a key whose deadline is over.
    pub fn pop(&mut self, now: Instant) -> Option<usize> {
        let &(deadline, key) = self.heap.first()?;
        if deadline > now {
            return None;
        }
        self.set(key, None);
        Some(key)
    }

    fn settle(&mut self, position: usize) {
        let position = self.rise(position);
        self.sink(position);
    }

    fn rise(&mut self, mut position: usize) -> usize {
        while position > 0 {
            let parent = (position - 1) / 2;
            if self.heap[parent].0 <= self.heap[position].0 {
                break;
            }
            self.swap(parent, position);
            position = parent;
        }
        position
    }

    fn sink(&mut self, mut position: usize) {
        loop {
            let left = 2 * position + 1;
            let Some(mut soonest) = self.heap.get(left) else { return };
            let mut child = left;
            if let Some(right) = self.heap.get(left + 1).filter(|right| right.0 < soonest.0) {
                soonest = right;
                child = left + 1;
            }
            if self.heap[position].0 <= soonest.0 {
                return;
            }
            self.swap(position, child);
            position = child;
        }
    }

    fn swap(&mut self, one: usize, other: usize) {
        self.heap.swap(one, other);
        self.positions[self.heap[one].1] = one;
        self.positions[self.heap[other].1] = other;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::time::Duration;

    #[test]
    fn soonest_first_and_each_once() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut timers = Timers::default();
        timers.set(3, Some(at(30)));
        timers.set(1, Some(at(10)));
        timers.set(2, Some(at(20)));
        timers.set(3, Some(at(5)));
        timers.set(2, None);
        timers.set(9, None);
        assert_eq!(timers.next(), Some(at(5)));
        assert_eq!(timers.pop(at(4)), None);
        assert_eq!(timers.pop(at(50)), Some(3));
        assert_eq!(timers.pop(at(50)), Some(1));
        assert_eq!(timers.pop(at(50)), None);
        assert_eq!(timers.next(), None);
    }

    proptest! {
        #[test]
        fn behaves_like_a_sorted_map(steps in proptest::collection::vec((0usize..20, proptest::option::of(0u64..50), any::<bool>()), 1..300)) {
            let start = Instant::now();
            let at = |ms| start + Duration::from_millis(ms);
            let (mut timers, mut model) = (Timers::default(), BTreeMap::new());
            for (key, deadline, pop) in steps {
                timers.set(key, deadline.map(at));
                match deadline {
                    Some(deadline) => model.insert(key, deadline),
                    None => model.remove(&key),
                };
                let soonest = model.values().min().copied();
                prop_assert_eq!(timers.next(), soonest.map(at));
                if let (true, Some(soonest)) = (pop, soonest) {
                    let key = timers.pop(at(soonest));
                    prop_assert_eq!(key.and_then(|key| model.remove(&key)), Some(soonest));
                }
            }
        }
    }
}
