//! How the programs that are mixed are doing. One set for the node: a program that falls behind shows in the tails.

use prometheus::{Gauge, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, core::Collector};

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
    /// Times the mixer took over from a host who was passed through, or began.
    pub to_mixer: IntCounter,
    /// Times a host was passed through from then on.
    pub to_host: IntCounter,
    /// Packets of a host that did not fit the program: too late, twice, or of an impossible time.
    pub refused: IntCounter,
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
    /// From the arrival of the last packet of a source's first keyframe to the departure of the picture that shows it, in a
    /// program that is being mixed.
    pub first_picture: Histogram,
    /// Decoding, composing and encoding one picture.
    pub work: Histogram,
    /// Programs made with less than is set, since their threads can't keep up.
    pub degraded: IntGauge,
    /// Something more was given up.
    pub steps_down: IntCounter,
    /// Something was taken back.
    pub steps_up: IntCounter,
    steps: IntCounterVec,
    /// Handed to media workers, once per packet and worker.
    pub lane_packets: IntCounter,
    /// Not handed to a worker: its lane was full, or it waits for a keyframe because it was.
    pub dropped_lane_full: IntCounter,
    /// Longer than a lane takes.
    pub dropped_too_long: IntCounter,
    drops: IntCounterVec,
    /// What mixing may take, in cores.
    pub cores_limit: Gauge,
    /// What is reserved of it, as estimated.
    pub cores: Gauge,
    /// Times a program came to need more than was left, by itself.
    pub overcommits: IntCounter,
}

impl Default for ProgramMetrics {
    fn default() -> Self {
        let counter = |name, help| IntCounter::new(name, help).expect("a valid name");
        let histogram = |name, help| {
            let options = HistogramOpts::new(name, help).buckets(BUCKETS.to_vec());
            Histogram::with_opts(options).expect("valid buckets")
        };
        let gauge = |name, help| Gauge::new(name, help).expect("a valid name");
        let vector = |name, help, label| IntCounterVec::new(Opts::new(name, help), &[label]).expect("a valid name");
        let steps = vector(
            "costage_program_steps_total",
            "Times a program that can't keep up gave something up (down) or took it back (up).",
            "direction",
        );
        let drops = vector(
            "costage_program_drops_total",
            "Packets of programs that a media worker was not handed, by reason.",
            "reason",
        );
        ProgramMetrics {
            degraded: IntGauge::new(
                "costage_programs_degraded",
                "Programs made with less than is set, because their threads can't keep up.",
            )
            .expect("a valid name"),
            steps_down: steps.with_label_values(&["down"]),
            steps_up: steps.with_label_values(&["up"]),
            steps,
            lane_packets: counter(
                "costage_program_lane_packets_total",
                "Packets that programs handed to media workers, once per packet and worker.",
            ),
            dropped_lane_full: drops.with_label_values(&["lane_full"]),
            dropped_too_long: drops.with_label_values(&["too_long"]),
            drops,
            cores_limit: gauge(
                "costage_program_cores_limit",
                "Cores that the mixing of programs may take.",
            ),
            cores: gauge(
                "costage_program_cores_reserved",
                "Cores that the mixing of programs is estimated to take.",
            ),
            overcommits: counter(
                "costage_program_overcommits_total",
                "Times a program came by itself to need more cores than were left, and was mixed all the same.",
            ),
            mixed: IntGauge::new("costage_programs_mixed", "Programs that are mixed now.").expect("a valid name"),
            to_mixer: counter(
                "costage_program_to_mixer_total",
                "Times a program's mixer began, or took over from the host.",
            ),
            to_host: counter(
                "costage_program_to_host_total",
                "Times a program went over to the host's own packets.",
            ),
            refused: counter(
                "costage_program_refused_packets_total",
                "Packets of hosts that were late, double or of an impossible time, and are not in the program.",
            ),
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
            first_picture: histogram(
                "costage_program_first_picture_seconds",
                "From the last packet of a source's first keyframe to the first packet of the mixed picture that shows it.",
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
            Box::new(self.to_mixer.clone()),
            Box::new(self.to_host.clone()),
            Box::new(self.refused.clone()),
            Box::new(self.pictures.clone()),
            Box::new(self.skipped.clone()),
            Box::new(self.minus.clone()),
            Box::new(self.latency.clone()),
            Box::new(self.own_latency.clone()),
            Box::new(self.first_picture.clone()),
            Box::new(self.work.clone()),
            Box::new(self.degraded.clone()),
            Box::new(self.steps.clone()),
            Box::new(self.lane_packets.clone()),
            Box::new(self.drops.clone()),
            Box::new(self.cores_limit.clone()),
            Box::new(self.cores.clone()),
            Box::new(self.overcommits.clone()),
        ]
    }
}
