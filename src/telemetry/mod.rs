//! Logs, per-worker counters, Prometheus.

mod worker;

pub use worker::{Counter, Histogram, WorkerMetrics};
