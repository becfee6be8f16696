//! What a node has for mixing, and how much of it each room's program has reserved. No time base.
//!
//! A room asks before it lets anything begin or grow ([`Reservation::refuses`]) and says afterwards what it has come to
//! ([`Reservation::set`]), which nobody refuses: a host who switches the camera off makes a mix necessary, whether there is
//! room for it or not, and then all mix with what there is.

use super::cost::Cores;
use crate::telemetry::ProgramMetrics;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Shared by the rooms' tasks, which meet here a few times a second at most; one number, so no lock.
pub struct Budget {
    limit: Cores,
    /// In thousandths of a core.
    taken: AtomicU64,
    metrics: ProgramMetrics,
}

/// What is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shortage {
    /// The program needs so much, all in all.
    pub needed: Cores,
    /// So much is not reserved by others.
    pub left: Cores,
    pub limit: Cores,
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shortage { needed, left, limit } = self;
        write!(
            f,
            "mixing the program then takes about {needed} cores, and {left} of the {limit} that this server has for it \
             (program.cores) are left"
        )
    }
}

impl Budget {
    pub(super) fn new(limit: Cores, metrics: ProgramMetrics) -> Self {
        metrics.cores_limit.set(in_cores(limit));
        Budget {
            limit,
            taken: AtomicU64::new(0),
            metrics,
        }
    }

    /// Of nothing yet.
    pub(super) fn reserve(self: &Arc<Self>) -> Reservation {
        Reservation {
            budget: self.clone(),
            cores: Cores::default(),
        }
    }

    fn taken(&self) -> Cores {
        Cores {
            thousandths: self.taken.load(Ordering::Relaxed),
        }
    }
}

/// One room's part; given back when it is dropped.
pub struct Reservation {
    budget: Arc<Budget>,
    cores: Cores,
}

impl Reservation {
    /// Why the program may not come to need so much. It may always need less than it does. Two rooms that ask at the same
    /// moment may both hear of the last of it.
    pub fn refuses(&self, needed: Cores) -> Option<Shortage> {
        let limit = self.budget.limit;
        let others = self.budget.taken().thousandths.saturating_sub(self.cores.thousandths);
        let left = Cores {
            thousandths: limit.thousandths.saturating_sub(others),
        };
        (needed > self.cores && needed > left).then_some(Shortage { needed, left, limit })
    }

    /// The program needs so much from now on.
    pub fn set(&mut self, needed: Cores) {
        if needed == self.cores {
            return;
        }
        if let Some(shortage) = self.refuses(needed) {
            self.budget.metrics.overcommits.inc();
            tracing::warn!(%shortage, "a program is mixed for which there is no room");
        }
        let before = std::mem::replace(&mut self.cores, needed);
        let (more, less) = (
            needed.thousandths.saturating_sub(before.thousandths),
            before.thousandths.saturating_sub(needed.thousandths),
        );
        let taken = &self.budget.taken;
        taken.fetch_add(more, Ordering::Relaxed);
        taken.fetch_sub(less, Ordering::Relaxed);
        self.budget.metrics.cores.add(in_cores(needed) - in_cores(before));
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.set(Cores::default());
    }
}

fn in_cores(cores: Cores) -> f64 {
    // far below 2^52
    cores.thousandths as f64 / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cores(cores: f64) -> Cores {
        Cores::new(cores)
    }

    #[test]
    fn what_one_room_has_another_one_has_not() {
        let metrics = ProgramMetrics::default();
        let budget = Arc::new(Budget::new(cores(1.0), metrics.clone()));
        let (mut one, mut other) = (budget.reserve(), budget.reserve());
        assert_eq!(one.refuses(cores(1.0)), None);
        assert_eq!(
            one.refuses(cores(1.001)).map(|shortage| shortage.left),
            Some(cores(1.0))
        );
        one.set(cores(0.7));
        let shortage = other.refuses(cores(0.5)).expect("0.3 are left");
        assert_eq!(
            shortage.to_string(),
            "mixing the program then takes about 0.50 cores, and 0.30 of the 1.00 that this server has for it \
             (program.cores) are left"
        );
        assert_eq!(other.refuses(cores(0.3)), None);
        one.set(cores(0.2));
        assert_eq!(other.refuses(cores(0.5)), None);
        other.set(cores(0.5));
        assert!((metrics.cores.get() - 0.7).abs() < 1e-9);
        drop(one);
        assert_eq!(other.refuses(cores(1.0)), None, "given back");
        drop(other);
        assert!(metrics.cores.get().abs() < 1e-9);
        assert_eq!(metrics.overcommits.get(), 0);
    }

    #[test]
    fn what_begins_by_itself_is_counted_and_may_not_grow_by_command() {
        let metrics = ProgramMetrics::default();
        let budget = Arc::new(Budget::new(cores(0.5), metrics.clone()));
        let mut one = budget.reserve();
        one.set(cores(0.8));
        assert_eq!(metrics.overcommits.get(), 1);
        assert!(one.refuses(cores(0.81)).is_some());
        assert_eq!(one.refuses(cores(0.8)), None, "what is there goes on");
        assert_eq!(one.refuses(cores(0.79)), None);
        let shortage = budget.reserve().refuses(cores(0.1)).expect("nothing is left");
        assert_eq!(shortage.left, cores(0.0));
        one.set(cores(0.7));
        assert_eq!(metrics.overcommits.get(), 1);
    }
}
