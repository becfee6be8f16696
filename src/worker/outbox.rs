//! What one turn sends: sealed datagrams in one arena, cut into runs of one path each. Pure.

use crate::forward::Batch;
use crate::transport::Path;
use std::time::Instant;

/// Bytes gathered before they are sent: about what the L2 cache holds beside the rings, and far more than one train.
pub(super) const FLUSH_BYTES: usize = 256 << 10;
/// An arena that grew beyond this (one keyframe for a stage of ten at once) is given back.
const KEEP_BYTES: usize = 4 * FLUSH_BYTES;
/// Distinct arrival times one flush tells apart for the latency histogram; more are merged into the last.
const ARRIVALS_MAX: usize = 32;

/// Consecutive datagrams of one path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub path: Path,
    /// Whose media it is, by index in the peer table; `None`: STUN, DTLS and publishers' feedback.
    pub peer: Option<usize>,
    /// Datagrams `first..last` of the batch.
    pub first: usize,
    pub last: usize,
}

#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// Appended to by viewers and sealers; what was appended must be [`assign`](Self::assign)ed before more is.
    pub batch: Batch,
    runs: Vec<Run>,
    assigned: usize,
    arrivals: Vec<(Instant, u64)>,
}

impl Outbox {
    /// What was appended to the batch since the last call goes to `path`.
    pub fn assign(&mut self, path: Path, peer: Option<usize>) {
        let (first, last) = (self.assigned, self.batch.datagrams.len());
        if first == last {
            return;
        }
        self.assigned = last;
        match self.runs.last_mut() {
            Some(run) if run.path == path && run.peer == peer => run.last = last,
            _ => self.runs.push(Run {
                path,
                peer,
                first,
                last,
            }),
        }
    }

    /// What was appended to the batch since the last call has nowhere to go.
    pub fn discard(&mut self) {
        let end = self
            .assigned
            .checked_sub(1)
            .and_then(|last| self.batch.datagrams.get(last));
        let end = end.map_or(0, |datagram| datagram.0);
        self.batch.bytes.truncate(end);
        self.batch.datagrams.truncate(self.assigned);
    }

    /// Appends one whole datagram.
    pub fn push(&mut self, path: Path, bytes: &[u8]) {
        self.batch.bytes.extend_from_slice(bytes);
        self.batch.datagrams.push((self.batch.bytes.len(), None));
        self.assign(path, None);
    }

    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Worth sending before more is added.
    pub fn is_full(&self) -> bool {
        self.batch.bytes.len() >= FLUSH_BYTES
    }

    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// The datagrams of a run.
    pub fn datagrams(&self, run: &Run) -> impl Iterator<Item = &[u8]> + '_ {
        let end_of = |index: usize| self.batch.datagrams.get(index).map_or(0, |datagram| datagram.0);
        (run.first..run.last).map(move |index| {
            let start = index.checked_sub(1).map_or(0, end_of);
            self.batch.bytes.get(start..end_of(index)).unwrap_or_default()
        })
    }

    /// How many datagrams forward packets of which arrival.
    pub fn arrivals(&mut self) -> &[(Instant, u64)] {
        self.arrivals.clear();
        for arrival in self.batch.datagrams.iter().filter_map(|datagram| datagram.1) {
            let known = self.arrivals.iter().position(|known| known.0 == arrival);
            let full = self.arrivals.len() == ARRIVALS_MAX;
            match known.or_else(|| full.then_some(ARRIVALS_MAX - 1)) {
                Some(at) => self.arrivals[at].1 += 1,
                None => self.arrivals.push((arrival, 1)),
            }
        }
        &self.arrivals
    }

    pub fn clear(&mut self) {
        debug_assert_eq!(self.assigned, self.batch.datagrams.len(), "a datagram without a path");
        self.batch.bytes.clear();
        self.batch.bytes.shrink_to(KEEP_BYTES);
        self.batch.datagrams.clear();
        self.runs.clear();
        self.assigned = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn path(port: u16) -> Path {
        Path {
            socket: 0,
            remote: ([127, 0, 0, 1], port).into(),
        }
    }

    #[test]
    fn neighbours_of_one_path_become_one_run() {
        let mut outbox = Outbox::default();
        outbox.push(path(1), b"one");
        outbox.push(path(1), b"two!");
        outbox.push(path(2), b"three");
        outbox.assign(path(3), Some(3));
        outbox.batch.bytes.extend_from_slice(b"media");
        let end = outbox.batch.bytes.len();
        outbox.batch.datagrams.push((end, Some(Instant::now())));
        outbox.assign(path(2), Some(7));
        let runs: Vec<_> = outbox
            .runs()
            .iter()
            .map(|run| (run.path.remote.port(), run.peer, run.first, run.last))
            .collect();
        assert_eq!(runs, [(1, None, 0, 2), (2, None, 2, 3), (2, Some(7), 3, 4)]);
        let texts: Vec<_> = outbox.runs().iter().flat_map(|run| outbox.datagrams(run)).collect();
        assert_eq!(texts, [b"one".as_slice(), b"two!", b"three", b"media"]);
        outbox.batch.bytes.push(9);
        outbox.batch.datagrams.push((end + 1, None));
        outbox.discard();
        assert_eq!((outbox.batch.bytes.len(), outbox.batch.datagrams.len()), (end, 4));
        outbox.clear();
        assert!(outbox.is_empty());
    }

    #[test]
    fn arrivals_are_counted_not_listed() {
        let start = Instant::now();
        let mut outbox = Outbox::default();
        for index in 0..100u64 {
            outbox.batch.bytes.push(0);
            outbox
                .batch
                .datagrams
                .push((index as usize + 1, Some(start + Duration::from_millis(index % 3))));
        }
        outbox.assign(path(1), Some(0));
        let counts: Vec<_> = outbox.arrivals().iter().map(|arrival| arrival.1).collect();
        assert_eq!(counts, [34, 33, 33]);
    }
}
