//! Logs, per-worker counters, Prometheus.
//!
//! Enters: the workers' counters, read when scraped. Leaves: log lines on standard error, the text of `/metrics`.

mod collector;
mod http;
mod log;
mod process;
mod program;
mod webhooks;
mod worker;

pub use http::metrics;
pub use log::{InvalidLevel, init_log};
pub use program::ProgramMetrics;
pub use webhooks::WebhookMetrics;
pub use worker::{Counter, Histogram, WorkerMetrics};

use prometheus::{IntGauge, IntGaugeVec, Opts, Registry, TextEncoder};
use std::sync::Arc;

/// Everything a scrape shows.
#[derive(Clone)]
pub struct Exporter {
    registry: Registry,
    rooms: IntGauge,
}

impl Exporter {
    /// `Content-Type` of [`render`](Self::render).
    pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

    pub fn new(workers: Vec<Arc<WorkerMetrics>>) -> Self {
        let registry = Registry::new();
        let rooms = IntGauge::new("costage_rooms", "Rooms that have not ended.").expect("a valid name");
        let build = Opts::new("costage_build_info", "1; the version is in the label.");
        let build = IntGaugeVec::new(build, &["version"]).expect("a valid name");
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        let registered = registry
            .register(Box::new(collector::Workers::new(workers)))
            .and_then(|()| registry.register(Box::new(process::Process::new())))
            .and_then(|()| registry.register(Box::new(rooms.clone())))
            .and_then(|()| registry.register(Box::new(build)));
        registered.expect("the names differ");
        Self { registry, rooms }
    }

    /// Also shows what became of webhooks. Once.
    pub fn with_webhooks(self, metrics: &WebhookMetrics) -> Self {
        let registered = self
            .registry
            .register(Box::new(metrics.deliveries.clone()))
            .and_then(|()| self.registry.register(Box::new(metrics.dead_letters.clone())));
        registered.expect("the names differ");
        self
    }

    /// Also shows how mixed programs are doing. Once.
    pub fn with_programs(self, metrics: &ProgramMetrics) -> Self {
        for collector in metrics.collectors() {
            self.registry.register(collector).expect("the names differ");
        }
        self
    }

    /// The Prometheus text of this moment. `rooms`: how many there are.
    pub fn render(&self, rooms: usize) -> String {
        self.rooms.set(i64::try_from(rooms).unwrap_or(i64::MAX));
        // Encoding fails only for a family without a name or a metric, and there is none.
        TextEncoder::new()
            .encode_to_string(&self.registry.gather())
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_scrape_shows_every_worker_and_the_process() {
        let workers = vec![Arc::new(WorkerMetrics::default()), Arc::new(WorkerMetrics::default())];
        workers[1].packets_out.add(7);
        workers[0].dropped_forged.add(2);
        workers[0].viewers.set(3);
        workers[0].forward_latency.observe(Duration::from_micros(300), 4);
        workers[0].forward_latency.observe(Duration::from_secs(2), 1);
        let text = Exporter::new(workers).render(5);
        for line in [
            "costage_worker_packets_total{direction=\"out\",worker=\"1\"} 7",
            "costage_drops_total{reason=\"forged\",worker=\"0\"} 2",
            "costage_viewers{worker=\"0\"} 3",
            "costage_forward_latency_seconds_bucket{worker=\"0\",le=\"0.0005\"} 4",
            "costage_forward_latency_seconds_bucket{worker=\"0\",le=\"+Inf\"} 5",
            "costage_forward_latency_seconds_count{worker=\"0\"} 5",
            "costage_forward_latency_seconds_sum{worker=\"0\"} 2.0012",
            "costage_rooms 5",
            "# TYPE costage_drops_total counter",
        ] {
            let unordered = line.replace("{direction=\"out\",worker=\"1\"}", "{worker=\"1\",direction=\"out\"}");
            let unordered = unordered.replace("{reason=\"forged\",worker=\"0\"}", "{worker=\"0\",reason=\"forged\"}");
            assert!(
                text.lines().any(|l| l == line || l == unordered),
                "{line} missing in\n{text}"
            );
        }
        assert!(text.contains("costage_build_info{version="));
        assert!(text.contains("process_resident_memory_bytes "));
    }
}
