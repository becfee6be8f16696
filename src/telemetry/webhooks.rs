//! What became of webhook messages.

use prometheus::{IntCounter, IntCounterVec, Opts};

/// Counters of one node. Cheap to clone.
#[derive(Clone)]
pub struct WebhookMetrics {
    pub(super) deliveries: IntCounterVec,
    pub(super) dead_letters: IntCounter,
}

impl Default for WebhookMetrics {
    fn default() -> Self {
        let deliveries = Opts::new(
            "costage_webhook_deliveries_total",
            "Webhook messages sent, by what the receiver made of it; a failed one is sent again.",
        );
        let dead_letters = IntCounter::new(
            "costage_webhook_dead_letters_total",
            "Webhook messages given up: after an hour of failures, or refused for good.",
        );
        let deliveries = IntCounterVec::new(deliveries, &["outcome"]).expect("a valid name");
        for outcome in ["taken", "failed", "gone"] {
            deliveries.with_label_values(&[outcome]);
        }
        WebhookMetrics {
            deliveries,
            dead_letters: dead_letters.expect("a valid name"),
        }
    }
}

impl WebhookMetrics {
    pub fn taken(&self) {
        self.deliveries.with_label_values(&["taken"]).inc();
    }
    pub fn failed(&self) {
        self.deliveries.with_label_values(&["failed"]).inc();
    }
    pub fn gone(&self) {
        self.deliveries.with_label_values(&["gone"]).inc();
    }
    pub fn dead(&self, letters: usize) {
        self.dead_letters.inc_by(u64::try_from(letters).unwrap_or(u64::MAX));
    }
}
