//! How the programs that are mixed are doing. One set for the node: a program that falls behind shows in the tails.

use prometheus::{Histogram, HistogramOpts, IntCounter, IntGauge, core::Collector};

/// Upper bounds in seconds: a tick at 60 a second takes 17 ms, the latency to reach is 40 ms in the middle and 70 ms at the
/// 95th percentile.
const BUCKETS: &[f64] = &[
    0.001, 0.002, 0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.07, 0.1, 0.15, 0.2, 0.5, 1.0,
];

/// Counters of one node. Cheap to clone.
#[derive(Clone)]
pub struct ProgramMetrics {
    /// Programs that are mixed now.
    pub mixed: IntGauge,
    /// Pictures encoded.
    pub pictures: IntCounter,
    /// Pictures left out since the thread was late.
    pub skipped: IntCounter,
    /// Packets of sound encoded for those who hear a program without their own voice, 50 a second for each of the encoders
    /// that this takes.
    pub minus: IntCounter,
    /// From the arrival of the newest packet a picture shows to its first packet's departure, the inputs' delay included.
    pub latency: Histogram,
    /// What of that is the program's own: from when the shown frame was due.
    pub own_latency: Histogram,
    /// Decoding, composing and encoding one picture.
    pub work: Histogram,
}

impl Default for ProgramMetrics {
    fn default() -> Self {
        let counter = |name, help| IntCounter::new(name, help).expect("a valid name");
        let histogram = |name, help| {
            let options = HistogramOpts::new(name, help).buckets(BUCKETS.to_vec());
            Histogram::with_opts(options).expect("valid buckets")
        };
        ProgramMetrics {
            mixed: IntGauge::new("costage_programs_mixed", "Programs that are mixed now.").expect("a valid name"),
            pictures: counter("costage_program_pictures_total", "Pictures that programs encoded."),
            skipped: counter(
                "costage_program_pictures_skipped_total",
                "Pictures left out because the program's thread was late.",
            ),
            minus: counter(
                "costage_program_minus_packets_total",
                "Packets of sound encoded for listeners without their own voice: 50 a second for each encoder.",
            ),
            latency: histogram(
                "costage_program_latency_seconds",
                "From the arrival of the newest packet a picture shows to the picture's first packet, jitter buffer included.",
            ),
            own_latency: histogram(
                "costage_program_own_latency_seconds",
                "From when the newest frame a picture shows was due to the picture's first packet.",
            ),
            work: histogram(
                "costage_program_work_seconds",
                "Decoding, composing and encoding one picture.",
            ),
        }
    }
}

impl ProgramMetrics {
    pub(super) fn collectors(&self) -> Vec<Box<dyn Collector>> {
        vec![
            Box::new(self.mixed.clone()),
            Box::new(self.pictures.clone()),
            Box::new(self.skipped.clone()),
            Box::new(self.minus.clone()),
            Box::new(self.latency.clone()),
            Box::new(self.own_latency.clone()),
            Box::new(self.work.clone()),
        ]
    }
}
