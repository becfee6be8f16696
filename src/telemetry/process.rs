//! What the operating system says about this process: CPU, memory, descriptors, under the names every Prometheus client
//! uses.

#![expect(unsafe_code, reason = "two constants of the system, which only sysconf tells")]

use prometheus::core::{Collector, Desc};
use prometheus::proto::{self, MetricFamily, MetricType};
use std::collections::HashMap;
use std::path::Path;

/// One reading; what can't be read (outside Linux) is left out of the scrape.
#[derive(Debug, Default, PartialEq)]
struct Reading {
    cpu_s: Option<f64>,
    resident_bytes: Option<f64>,
    virtual_bytes: Option<f64>,
    threads: Option<f64>,
    open_fds: Option<f64>,
    max_fds: Option<f64>,
    start_s: Option<f64>,
}

impl Reading {
    fn take(proc_self: &Path) -> Self {
        let text = |name: &str| std::fs::read_to_string(proc_self.join(name)).unwrap_or_default();
        let boot = std::fs::read_to_string("/proc/stat").unwrap_or_default();
        let mut reading = parse_stat(&text("stat"), ticks_per_second(), page_bytes(), boot_time(&boot));
        reading.open_fds = std::fs::read_dir(proc_self.join("fd"))
            .ok()
            .map(|fds| fds.count() as f64);
        reading.max_fds = parse_max_fds(&text("limits"));
        reading
    }
}

fn ticks_per_second() -> f64 {
    // SAFETY: sysconf reads a constant of the system; it has no preconditions.
    unsafe { libc::sysconf(libc::_SC_CLK_TCK) as f64 }
}

fn page_bytes() -> f64 {
    // SAFETY: as above.
    unsafe { libc::sysconf(libc::_SC_PAGESIZE) as f64 }
}

/// Seconds since 1970 at which the machine started: the line `btime` of `/proc/stat`.
fn boot_time(stat: &str) -> Option<f64> {
    stat.lines()
        .find_map(|line| line.strip_prefix("btime "))?
        .trim()
        .parse()
        .ok()
}

/// `/proc/self/stat`, proc(5). The second field is the program's name, which may hold anything, so count from its end.
fn parse_stat(stat: &str, ticks_per_second: f64, page_bytes: f64, boot_s: Option<f64>) -> Reading {
    /// Number in proc(5) of the first field behind the name.
    const FIRST: usize = 3;
    let behind_name = stat.rfind(')').and_then(|at| stat.get(at + 1..)).unwrap_or_default();
    let fields: Vec<&str> = behind_name.split_whitespace().collect();
    let field = |number: usize| fields.get(number - FIRST).and_then(|text| text.parse::<f64>().ok());
    Reading {
        cpu_s: field(14)
            .zip(field(15))
            .map(|(user, system)| (user + system) / ticks_per_second),
        threads: field(20),
        start_s: field(22)
            .zip(boot_s)
            .map(|(ticks, boot)| boot + ticks / ticks_per_second),
        virtual_bytes: field(23),
        resident_bytes: field(24).map(|pages| pages * page_bytes),
        ..Reading::default()
    }
}

fn parse_max_fds(limits: &str) -> Option<f64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Reads `/proc/self` when scraped.
pub(super) struct Process {
    descriptions: Vec<Desc>,
}

type Row = (&'static str, &'static str, MetricType, fn(&Reading) -> Option<f64>);

const ROWS: &[Row] = &[
    (
        "process_cpu_seconds_total",
        "Total user and system CPU time spent in seconds.",
        MetricType::COUNTER,
        |r| r.cpu_s,
    ),
    (
        "process_resident_memory_bytes",
        "Resident memory size in bytes.",
        MetricType::GAUGE,
        |r| r.resident_bytes,
    ),
    (
        "process_virtual_memory_bytes",
        "Virtual memory size in bytes.",
        MetricType::GAUGE,
        |r| r.virtual_bytes,
    ),
    (
        "process_threads",
        "Number of OS threads in the process.",
        MetricType::GAUGE,
        |r| r.threads,
    ),
    (
        "process_open_fds",
        "Number of open file descriptors.",
        MetricType::GAUGE,
        |r| r.open_fds,
    ),
    (
        "process_max_fds",
        "Maximum number of open file descriptors.",
        MetricType::GAUGE,
        |r| r.max_fds,
    ),
    (
        "process_start_time_seconds",
        "Start time of the process since unix epoch in seconds.",
        MetricType::GAUGE,
        |r| r.start_s,
    ),
];

impl Process {
    pub(super) fn new() -> Self {
        let describe = |(name, help, _, _): &Row| {
            Desc::new((*name).to_owned(), (*help).to_owned(), Vec::new(), HashMap::new())
                .expect("the names in the table are valid")
        };
        Self {
            descriptions: ROWS.iter().map(describe).collect(),
        }
    }
}

impl Collector for Process {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }
    fn collect(&self) -> Vec<MetricFamily> {
        let reading = Reading::take(Path::new("/proc/self"));
        ROWS.iter()
            .filter_map(|(name, help, kind, read)| Some(family(name, help, *kind, read(&reading)?)))
            .collect()
    }
}

fn family(name: &str, help: &str, kind: MetricType, value: f64) -> MetricFamily {
    let mut metric = proto::Metric::default();
    if kind == MetricType::COUNTER {
        let mut counter = proto::Counter::default();
        counter.set_value(value);
        metric.set_counter(counter);
    } else {
        let mut gauge = proto::Gauge::default();
        gauge.set_value(value);
        metric.set_gauge(gauge);
    }
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.set_metric(vec![metric]);
    family
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_is_read_behind_any_program_name() {
        let stat = "42 (a ) b) S 1 42 42 0 -1 4194560 100 0 0 0 150 50 0 0 20 0 7 0 1000 8192000 25 1844 1 1";
        let reading = parse_stat(stat, 100.0, 4096.0, Some(1_000_000.0));
        assert_eq!(reading.cpu_s, Some(2.0));
        assert_eq!(reading.threads, Some(7.0));
        assert_eq!(reading.start_s, Some(1_000_010.0));
        assert_eq!(reading.virtual_bytes, Some(8_192_000.0));
        assert_eq!(reading.resident_bytes, Some(102_400.0));
        assert_eq!(parse_stat("", 100.0, 4096.0, None), Reading::default());
    }

    #[test]
    fn limits_and_boot_time() {
        let limits = "Limit   Soft Limit  Hard Limit  Units\nMax open files            1024                 4096                 files\n";
        assert_eq!(parse_max_fds(limits), Some(1024.0));
        assert_eq!(boot_time("cpu 1 2\nbtime 1700000000\n"), Some(1_700_000_000.0));
    }
}
