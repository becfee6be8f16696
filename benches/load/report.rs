//! What was measured, as a line of JSON per run and a Markdown table. Pure.

use crate::publisher::Mode;
use serde_json::{Value, json};
use std::time::Duration;

/// Others on the server's core may use so much of it before a run counts as disturbed.
const QUIET: f64 = 0.05;

/// The forwarding figures of one run.
#[derive(Clone, Debug)]
pub struct Forwarding {
    pub mode: Mode,
    pub viewers: usize,
    pub seconds: f64,
    pub packets_per_second: f64,
    /// CPU time of the whole server per packet that reached a viewer.
    pub us_per_packet: f64,
    /// Share of its core the server used.
    pub server_share: f64,
    /// Share of its core the loader used, its publisher included.
    pub loader_share: f64,
    /// Share of the server's core that others used, who take time and cache from it.
    pub others_share: f64,
    /// Delivered of expected packets, retransmissions not counted.
    pub delivery: f64,
    pub worst_viewer: f64,
    /// Microseconds at p50, p95, p99; until the packet is at the viewer's socket.
    pub latency_us: [u32; 3],
    /// The same until the loader reads it.
    pub read_latency_us: [u32; 3],
    pub resident_kib_per_viewer: f64,
    pub anonymous_kib_per_viewer: f64,
    pub retransmitted: u64,
    pub duplicates: u64,
    pub forged: u64,
    pub closed: u64,
    pub publisher: Publishing,
}

/// What the publisher heard from the server.
#[derive(Clone, Copy, Debug, Default)]
pub struct Publishing {
    pub keyframe_requests: u64,
    pub nacks: u64,
    pub transport_feedback: u64,
}

/// The joins of one run, spread over the phases of the publisher's GOP.
#[derive(Clone, Debug, Default)]
pub struct Joins {
    /// Viewers watching meanwhile.
    pub beside: usize,
    pub first_media: Vec<Duration>,
    pub keyframe: Vec<Duration>,
    /// Viewers that got video before a keyframe.
    pub headless: usize,
    /// Viewers that had no keyframe within the time allowed.
    pub failed: usize,
}

/// The value at a quantile of sorted numbers; zero of none.
pub fn quantile<T: Copy + Default>(sorted: &[T], quantile: f64) -> T {
    let place = (sorted.len() as f64 * quantile) as usize;
    sorted
        .get(place.min(sorted.len().saturating_sub(1)))
        .copied()
        .unwrap_or_default()
}

/// At p50, p95 and p99.
pub fn quantiles(sorted: &[u32]) -> [u32; 3] {
    [0.5, 0.95, 0.99].map(|q| quantile(sorted, q))
}

impl Forwarding {
    pub fn to_json(&self) -> Value {
        json!({
            "kind": "forwarding",
            "mode": self.mode.name(),
            "viewers": self.viewers,
            "seconds": self.seconds,
            "packets_per_second": self.packets_per_second.round(),
            "us_per_packet": rounded(self.us_per_packet),
            "server_share": rounded(self.server_share),
            "loader_share": rounded(self.loader_share),
            "others_share": rounded(self.others_share),
            "delivery": self.delivery,
            "worst_viewer": self.worst_viewer,
            "latency_us": { "p50": self.latency_us[0], "p95": self.latency_us[1], "p99": self.latency_us[2] },
            "read_latency_us":
                { "p50": self.read_latency_us[0], "p95": self.read_latency_us[1], "p99": self.read_latency_us[2] },
            "resident_kib_per_viewer": rounded(self.resident_kib_per_viewer),
            "anonymous_kib_per_viewer": rounded(self.anonymous_kib_per_viewer),
            "retransmitted": self.retransmitted,
            "duplicates": self.duplicates,
            "forged": self.forged,
            "closed": self.closed,
            "keyframe_requests": self.publisher.keyframe_requests,
            "nacks": self.publisher.nacks,
            "transport_feedback": self.publisher.transport_feedback,
        })
    }
}

fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

impl Joins {
    pub fn absorb(&mut self, other: Joins) {
        self.beside = other.beside;
        self.first_media.extend(other.first_media);
        self.keyframe.extend(other.keyframe);
        self.headless += other.headless;
        self.failed += other.failed;
    }

    /// First media and keyframe in ms, each at p50, p95.
    fn figures(&self) -> [[f64; 2]; 2] {
        [&self.first_media, &self.keyframe].map(|times| {
            let mut sorted = times.clone();
            sorted.sort_unstable();
            [0.5, 0.95].map(|q| quantile(&sorted, q).as_secs_f64() * 1e3)
        })
    }

    pub fn to_json(&self) -> Value {
        let [media, keyframe] = self.figures();
        json!({
            "kind": "joins",
            "joins": self.keyframe.len(),
            "beside": self.beside,
            "first_media_ms": { "p50": rounded(media[0]), "p95": rounded(media[1]) },
            "keyframe_ms": { "p50": rounded(keyframe[0]), "p95": rounded(keyframe[1]) },
            "headless": self.headless,
            "failed": self.failed,
        })
    }
}

/// Runs of the same load become a row: the run with the median CPU time per packet, and the span of that of all.
pub fn forwarding_table(runs: &[Forwarding]) -> String {
    let mut table = String::from(
        "| load | packets/s | µs CPU per packet (span) | server, loader core | delivery | latency p50 / p95 / p99 | KiB per viewer (anonymous) |\n\
         |---|---|---|---|---|---|---|\n",
    );
    let mut rows: Vec<(usize, Mode, Vec<&Forwarding>)> = Vec::new();
    for run in runs {
        match rows
            .iter_mut()
            .find(|(viewers, mode, _)| (*viewers, *mode) == (run.viewers, run.mode))
        {
            Some((_, _, row)) => row.push(run),
            None => rows.push((run.viewers, run.mode, vec![run])),
        }
    }
    for (viewers, mode, mut row) in rows {
        row.sort_by(|a, b| a.us_per_packet.total_cmp(&b.us_per_packet));
        let (Some(least), Some(most), Some(run)) = (row.first(), row.last(), row.get((row.len() - 1) / 2)) else {
            continue;
        };
        let [p50, p95, p99] = run.latency_us.map(|us| f64::from(us) / 1e3);
        table += &format!(
            "| {viewers} viewers, {} | {:.0} | {:.2} ({:.2}–{:.2}) | {:.0} %, {:.0} % | {:.3} % | {p50:.2} / {p95:.2} / {p99:.2} ms | {:.0} ({:.0}) |\n",
            mode.name(),
            run.packets_per_second,
            run.us_per_packet,
            least.us_per_packet,
            most.us_per_packet,
            run.server_share * 100.0,
            run.loader_share * 100.0,
            run.delivery * 100.0,
            run.resident_kib_per_viewer,
            run.anonymous_kib_per_viewer,
        );
    }
    let disturbed = runs.iter().filter(|run| run.others_share > QUIET).count();
    if disturbed > 0 {
        table += &format!(
            "\n{disturbed} of {} runs were disturbed: others used more than {:.0} % of the server's core.\n",
            runs.len(),
            QUIET * 100.0,
        );
    }
    table
}

pub fn joins_table(joins: &Joins) -> String {
    let [media, keyframe] = joins.figures();
    format!(
        "| from POST, {} joins beside {} viewers | p50 | p95 |\n|---|---|---|\n\
         | first media packet | {:.0} ms | {:.0} ms |\n| first complete keyframe | {:.0} ms | {:.0} ms |\n",
        joins.keyframe.len(),
        joins.beside,
        media[0],
        media[1],
        keyframe[0],
        keyframe[1],
    )
}
