//! What one media worker counts. The worker alone writes (relaxed, no read-modify-write contention); scrapes read.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// A counter or gauge with a single writer.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed) + n, Relaxed);
    }
    pub fn set(&self, n: u64) {
        self.0.store(n, Relaxed);
    }
    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A latency histogram with a single writer.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [Counter; Self::BOUNDS_US.len() + 1],
    sum_us: Counter,
}

impl Histogram {
    /// Upper bounds in microseconds: around the 1 ms and 5 ms that forwarding may take.
    pub const BOUNDS_US: [u64; 12] = [
        100, 250, 500, 1_000, 2_000, 3_000, 5_000, 10_000, 20_000, 50_000, 100_000, 1_000_000,
    ];

    pub fn observe(&self, value: Duration, times: u64) {
        let us = value.as_micros() as u64;
        let bucket = Self::BOUNDS_US
            .iter()
            .position(|bound| us <= *bound)
            .unwrap_or(Self::BOUNDS_US.len());
        self.buckets[bucket].add(times);
        self.sum_us.add(us * times);
    }
    /// Count per bucket, the last without bound.
    pub fn counts(&self) -> impl Iterator<Item = u64> + '_ {
        self.buckets.iter().map(Counter::value)
    }
    pub fn sum(&self) -> Duration {
        Duration::from_micros(self.sum_us.value())
    }
}

/// One media worker's numbers. Add a field, then a line in the collector: nothing else names them.
#[derive(Debug, Default)]
pub struct WorkerMetrics {
    pub packets_in: Counter,
    pub bytes_in: Counter,
    pub packets_out: Counter,
    pub bytes_out: Counter,
    pub send_calls: Counter,
    /// Rounds of the worker's loop.
    pub turns: Counter,
    pub publishers: Counter,
    pub viewers: Counter,
    pub joins: Counter,
    pub retransmissions: Counter,
    /// PLI and FIR sent to publishers.
    pub keyframe_requests: Counter,
    /// Publishers' packets asked for again, and those that came by RTX.
    pub uplink_nacked: Counter,
    pub uplink_repaired: Counter,
    /// Packets handed to other workers and to programs.
    pub lane_packets: Counter,
    /// Gauge.
    pub tcp_connections: Counter,
    /// ICE-TCP connections turned away: too many, or no connectivity check in time.
    pub tcp_refused: Counter,
    /// Drops by reason.
    pub dropped_malformed: Counter,
    pub dropped_unauthorised: Counter,
    pub dropped_unknown_path: Counter,
    pub dropped_no_keys: Counter,
    pub dropped_forged: Counter,
    pub dropped_replayed: Counter,
    /// Of no track or layer that was negotiated.
    pub dropped_unknown_stream: Counter,
    /// Muted or locked.
    pub dropped_forbidden: Counter,
    /// Repaired twice, or far too late.
    pub dropped_duplicate: Counter,
    pub dropped_lane_full: Counter,
    pub dropped_send_blocked: Counter,
    pub dropped_send_error: Counter,
    /// Packet out of the publisher's socket → into the viewer's.
    pub forward_latency: Histogram,
    /// POST → transport connected.
    pub join_latency: Histogram,
    /// POST → first packet of any kind sent to the viewer.
    pub first_media_latency: Histogram,
    /// POST → first complete keyframe sent to the viewer.
    pub first_keyframe_latency: Histogram,
}
