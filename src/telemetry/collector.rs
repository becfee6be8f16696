//! The counters of all media workers as Prometheus metrics. What is exported under which name stands in one table.

use super::{Counter, Histogram, WorkerMetrics};
use prometheus::core::{Collector, Desc};
use prometheus::proto::{self, MetricFamily, MetricType};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// One sample: a label besides `worker`, and the number.
type Sample<'w> = (Option<(&'static str, &'static str)>, &'w Counter);

enum Source {
    Counters(fn(&WorkerMetrics) -> Vec<Sample<'_>>),
    Gauge(fn(&WorkerMetrics) -> &Counter),
    Histogram(fn(&WorkerMetrics) -> &Histogram),
}

struct Family {
    name: &'static str,
    help: &'static str,
    /// The label besides `worker`.
    label: Option<&'static str>,
    source: Source,
}

/// Seconds, as Prometheus counts time.
const fn seconds(microseconds: u64) -> f64 {
    Duration::from_micros(microseconds).as_secs_f64()
}

const FAMILIES: &[Family] = &[
    Family {
        name: "costage_worker_packets_total",
        help: "Datagrams of media and control that a worker received or sent.",
        label: Some("direction"),
        source: Source::Counters(|w| {
            vec![
                (Some(("direction", "in")), &w.packets_in),
                (Some(("direction", "out")), &w.packets_out),
            ]
        }),
    },
    Family {
        name: "costage_worker_bytes_total",
        help: "Bytes in these datagrams, UDP and IP headers not counted.",
        label: Some("direction"),
        source: Source::Counters(|w| {
            vec![
                (Some(("direction", "in")), &w.bytes_in),
                (Some(("direction", "out")), &w.bytes_out),
            ]
        }),
    },
    Family {
        name: "costage_worker_send_calls_total",
        help: "Send system calls; packets out divided by these is how well trains fill.",
        label: None,
        source: Source::Counters(|w| vec![(None, &w.send_calls)]),
    },
    Family {
        name: "costage_drops_total",
        help: "Packets dropped, by reason.",
        label: Some("reason"),
        source: Source::Counters(|w| {
            vec![
                (Some(("reason", "malformed")), &w.dropped_malformed),
                (Some(("reason", "unauthorised")), &w.dropped_unauthorised),
                (Some(("reason", "unknown_path")), &w.dropped_unknown_path),
                (Some(("reason", "forged")), &w.dropped_forged),
                (Some(("reason", "replayed")), &w.dropped_replayed),
                (Some(("reason", "lane_full")), &w.dropped_lane_full),
                (Some(("reason", "send_blocked")), &w.dropped_send_blocked),
                (Some(("reason", "send_error")), &w.dropped_send_error),
            ]
        }),
    },
    Family {
        name: "costage_joins_total",
        help: "Peers whose transport came up.",
        label: None,
        source: Source::Counters(|w| vec![(None, &w.joins)]),
    },
    Family {
        name: "costage_retransmissions_total",
        help: "Packets sent again because a viewer asked for them.",
        label: None,
        source: Source::Counters(|w| vec![(None, &w.retransmissions)]),
    },
    Family {
        name: "costage_keyframe_requests_total",
        help: "Keyframe requests sent to publishers.",
        label: None,
        source: Source::Counters(|w| vec![(None, &w.keyframe_requests)]),
    },
    Family {
        name: "costage_publishers",
        help: "Publishing peers now.",
        label: None,
        source: Source::Gauge(|w| &w.publishers),
    },
    Family {
        name: "costage_viewers",
        help: "Viewing peers now.",
        label: None,
        source: Source::Gauge(|w| &w.viewers),
    },
    Family {
        name: "costage_forward_latency_seconds",
        help: "From a packet's arrival at the publisher's socket to its departure to a viewer.",
        label: None,
        source: Source::Histogram(|w| &w.forward_latency),
    },
    Family {
        name: "costage_join_latency_seconds",
        help: "From a WHIP or WHEP POST to its transport being up.",
        label: None,
        source: Source::Histogram(|w| &w.join_latency),
    },
];

/// Collects from all workers when scraped.
pub(super) struct Workers {
    metrics: Vec<Arc<WorkerMetrics>>,
    descriptions: Vec<Desc>,
}

impl Workers {
    pub(super) fn new(metrics: Vec<Arc<WorkerMetrics>>) -> Self {
        let describe = |family: &Family| {
            let labels = ["worker"].into_iter().chain(family.label).map(str::to_owned).collect();
            Desc::new(family.name.to_owned(), family.help.to_owned(), labels, HashMap::new())
                .expect("the names in the table are valid")
        };
        Self {
            metrics,
            descriptions: FAMILIES.iter().map(describe).collect(),
        }
    }
}

impl Collector for Workers {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }
    fn collect(&self) -> Vec<MetricFamily> {
        FAMILIES.iter().map(|family| family.collect(&self.metrics)).collect()
    }
}

impl Family {
    fn collect(&self, workers: &[Arc<WorkerMetrics>]) -> MetricFamily {
        let mut metrics = Vec::new();
        for (index, worker) in workers.iter().enumerate() {
            let worker_label = label("worker", &index.to_string());
            match self.source {
                Source::Counters(samples) => {
                    for (extra, counter) in samples(worker) {
                        let mut labels = vec![worker_label.clone()];
                        labels.extend(extra.map(|(name, value)| label(name, value)));
                        let mut metric = proto::Metric::from_label(labels);
                        metric.set_counter(value(counter));
                        metrics.push(metric);
                    }
                }
                Source::Gauge(gauge) => {
                    let mut metric = proto::Metric::from_label(vec![worker_label]);
                    let mut number = proto::Gauge::default();
                    number.set_value(gauge(worker).value() as f64);
                    metric.set_gauge(number);
                    metrics.push(metric);
                }
                Source::Histogram(histogram) => {
                    let mut metric = proto::Metric::from_label(vec![worker_label]);
                    metric.set_histogram(buckets(histogram(worker)));
                    metrics.push(metric);
                }
            }
        }
        let mut family = MetricFamily::default();
        family.set_name(self.name.to_owned());
        family.set_help(self.help.to_owned());
        family.set_field_type(match self.source {
            Source::Counters(_) => MetricType::COUNTER,
            Source::Gauge(_) => MetricType::GAUGE,
            Source::Histogram(_) => MetricType::HISTOGRAM,
        });
        family.set_metric(metrics);
        family
    }
}

fn label(name: &str, value: &str) -> proto::LabelPair {
    let mut pair = proto::LabelPair::default();
    pair.set_name(name.to_owned());
    pair.set_value(value.to_owned());
    pair
}

fn value(counter: &Counter) -> proto::Counter {
    let mut number = proto::Counter::default();
    number.set_value(counter.value() as f64);
    number
}

/// Prometheus' buckets are cumulative; the unbounded one is the count itself.
fn buckets(histogram: &Histogram) -> proto::Histogram {
    let mut cumulative = 0;
    let mut buckets = Vec::with_capacity(Histogram::BOUNDS_US.len());
    let mut counts = histogram.counts();
    for (bound_us, count) in Histogram::BOUNDS_US.into_iter().zip(counts.by_ref()) {
        cumulative += count;
        let mut bucket = proto::Bucket::default();
        bucket.set_cumulative_count(cumulative);
        bucket.set_upper_bound(seconds(bound_us));
        buckets.push(bucket);
    }
    let mut out = proto::Histogram::default();
    out.set_sample_count(cumulative + counts.sum::<u64>());
    out.set_sample_sum(histogram.sum().as_secs_f64());
    out.set_bucket(buckets);
    out
}
