//! What was measured, as a line of JSON per run and Markdown tables. Pure.

use crate::cases::{COMPETITION, Case};
use crate::clips::FRAME_RATE;
use crate::metrics::Scrape;
use crate::rivals::Rival;
use serde_json::{Value, json};

/// Others on the measured core may use so much of it before a run counts as disturbed.
const QUIET: f64 = 0.05;
/// The program's own latency to reach: milliseconds at p50 and p95.
const OWN_LATENCY_REACH: [f64; 2] = [40.0, 70.0];
/// From the last packet of a guest's first keyframe until they are seen: milliseconds at p95.
const FIRST_PICTURE_REACH: f64 = 100.0;
/// A program of ten seats at 720p.
const MEMORY_REACH_MIB: f64 = 120.0;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Subject {
    Costage(Case),
    Rival(Rival),
}

impl Subject {
    fn name(self) -> &'static str {
        match self {
            Subject::Costage(_) => "costage",
            Subject::Rival(rival) => rival.name(),
        }
    }

    fn case(self) -> Case {
        match self {
            Subject::Costage(case) => case,
            Subject::Rival(_) => COMPETITION,
        }
    }
}

/// The figures of one run.
#[derive(Clone, Debug)]
pub struct Run {
    pub subject: Subject,
    /// How long was measured.
    pub seconds: f64,
    /// CPU time of the server or pipeline, kernel included.
    pub cpu_seconds: f64,
    /// Pictures put out.
    pub pictures: u64,
    pub resident_kib: u64,
    /// Share of its core the loader used, and others of the measured core.
    pub loader_share: f64,
    pub others_share: f64,
    /// What the viewer saw and the server said; pipelines have none.
    pub program: Option<Program>,
}

/// Of costage's program.
#[derive(Clone, Debug, Default)]
pub struct Program {
    pub keyframes: u64,
    pub sounds: u64,
    pub bytes: u64,
    pub lost: u64,
    pub forged: u64,
    /// That the participants got.
    pub keyframe_requests: u64,
    /// Transports that closed, the viewer's too.
    pub closed: u64,
    pub said: Said,
}

impl Program {
    /// What came from `earlier` on; a transport that closed stays so.
    pub fn since(&self, earlier: &Program, said: Said) -> Program {
        Program {
            keyframes: self.keyframes - earlier.keyframes,
            sounds: self.sounds - earlier.sounds,
            bytes: self.bytes - earlier.bytes,
            lost: self.lost - earlier.lost,
            forged: self.forged - earlier.forged,
            keyframe_requests: self.keyframe_requests - earlier.keyframe_requests,
            closed: self.closed,
            said,
        }
    }
}

/// What the server said of its program; `None`: nothing of the kind happened.
#[derive(Clone, Debug, Default)]
pub struct Said {
    pub skipped: Option<f64>,
    /// Milliseconds at p50 and p95: from the newest packet shown to the first packet out.
    pub latency: Quantiles,
    /// The same without the jitter buffer.
    pub own_latency: Quantiles,
    /// Decoding, composing, encoding.
    pub work: Quantiles,
    /// From the last packet of a guest's first keyframe to the picture that shows them; since the server's start.
    pub first_picture: Quantiles,
}

pub type Quantiles = [Option<f64>; 2];

impl Said {
    pub fn between(earlier: &Scrape, later: &Scrape) -> Said {
        let quantiles_since = |earlier: &Scrape, name| {
            let histogram = later.histogram(earlier, name);
            [0.5, 0.95].map(|quantile| histogram.quantile_ms(quantile))
        };
        let quantiles = |name| quantiles_since(earlier, name);
        Said {
            skipped: later.since(earlier, "costage_program_pictures_skipped_total"),
            latency: quantiles("costage_program_latency_seconds"),
            own_latency: quantiles("costage_program_own_latency_seconds"),
            work: quantiles("costage_program_work_seconds"),
            first_picture: quantiles_since(&Scrape::default(), "costage_program_first_picture_seconds"),
        }
    }
}

impl Run {
    /// CPU-seconds per second of output. What is not watched puts nothing out: then per second.
    fn core(&self) -> f64 {
        let output = self.pictures as f64 / f64::from(FRAME_RATE);
        self.cpu_seconds / if self.pictures > 0 { output } else { self.seconds }
    }

    fn pictures_per_second(&self) -> f64 {
        self.pictures as f64 / self.seconds
    }

    fn resident_mib(&self) -> f64 {
        self.resident_kib as f64 / 1024.0
    }

    pub fn to_json(&self) -> Value {
        let mut line = json!({
            "kind": "mix",
            "pipeline": self.subject.name(),
            "case": self.subject.case().name,
            "seconds": rounded(self.seconds),
            "cpu_per_output_second": rounded(self.core()),
            "pictures_per_second": rounded(self.pictures_per_second()),
            "resident_mib": rounded(self.resident_mib()),
            "loader_share": rounded(self.loader_share),
            "others_share": rounded(self.others_share),
        });
        if let Some(program) = &self.program {
            let quantiles = |[p50, p95]: Quantiles| json!({ "p50": p50.map(rounded), "p95": p95.map(rounded) });
            line["program"] = json!({
                "kbps": rounded(program.bytes as f64 * 8.0 / self.seconds / 1e3),
                "keyframes": program.keyframes,
                "sounds_per_second": rounded(program.sounds as f64 / self.seconds),
                "lost": program.lost,
                "forged": program.forged,
                "closed": program.closed,
                "keyframe_requests": program.keyframe_requests,
                "skipped": program.said.skipped,
                "latency_ms": quantiles(program.said.latency),
                "own_latency_ms": quantiles(program.said.own_latency),
                "work_ms": quantiles(program.said.work),
                "first_picture_ms": quantiles(program.said.first_picture),
            });
        }
        line
    }
}

fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// Runs of the same thing: the one with the median cost, and the span of the cost of all.
struct Row<'r> {
    run: &'r Run,
    least: f64,
    most: f64,
}

impl Row<'_> {
    fn core(&self) -> String {
        format!("{:.3} ({:.3}–{:.3})", self.run.core(), self.least, self.most)
    }
}

/// A row per subject, in the order of its first run.
fn rows(runs: &[Run]) -> Vec<Row<'_>> {
    let mut groups: Vec<Vec<&Run>> = Vec::new();
    for run in runs {
        match groups
            .iter_mut()
            .find(|group| group.iter().any(|other| other.subject == run.subject))
        {
            Some(group) => group.push(run),
            None => groups.push(vec![run]),
        }
    }
    let rows = groups.into_iter().filter_map(|mut group| {
        group.sort_by(|a, b| a.core().total_cmp(&b.core()));
        Some(Row {
            run: group.get((group.len() - 1) / 2)?,
            least: group.first()?.core(),
            most: group.last()?.core(),
        })
    });
    rows.collect()
}

/// What costage needs for each case.
pub fn cost_table(runs: &[Run]) -> String {
    let mut table = String::from(
        "| costage | core (span) | reach | pictures/s | own latency p50 / p95 | with jitter buffer | work per picture p50 / p95 | guest's first picture p50 / p95 | memory |\n\
         |---|---|---|---|---|---|---|---|---|\n",
    );
    for row in rows(runs) {
        let (Subject::Costage(case), Some(program)) = (row.run.subject, &row.run.program) else {
            continue;
        };
        table += &format!(
            "| {} | {} | {} | {:.1} | {} | {} | {} | {} | {:.0} MiB |\n",
            case.what,
            row.core(),
            case.reach.map_or("–".to_owned(), |reach| format!("≤ {reach:.2}")),
            row.run.pictures_per_second(),
            milliseconds(program.said.own_latency),
            milliseconds(program.said.latency),
            milliseconds(program.said.work),
            milliseconds(program.said.first_picture),
            row.run.resident_mib(),
        );
    }
    let [p50, p95] = OWN_LATENCY_REACH;
    table += &format!(
        "\nTo reach with ten seats: own latency ≤ {p50:.0} / {p95:.0} ms, a guest's first picture ≤ {FIRST_PICTURE_REACH:.0} ms at p95, memory ≤ {MEMORY_REACH_MIB:.0} MiB.\n"
    );
    table
}

fn milliseconds(quantiles: Quantiles) -> String {
    match quantiles {
        [Some(p50), Some(p95)] => format!("{p50:.1} / {p95:.1} ms"),
        _ => "–".to_owned(),
    }
}

/// costage beside others; `None` when there was nobody else or costage was not measured.
pub fn competition_table(runs: &[Run]) -> Option<String> {
    let rows = rows(runs);
    let own = rows
        .iter()
        .find(|row| row.run.subject == Subject::Costage(COMPETITION))?;
    let rivals = rows.iter().filter_map(|row| match row.run.subject {
        Subject::Rival(rival) => Some((rival, row)),
        Subject::Costage(_) => None,
    });
    let mut table = format!(
        "| {} → 720p30 | core (span) | costage's share of it | reach | pictures/s | memory |\n|---|---|---|---|---|---|\n\
         | costage | {} | 1 | | {:.1} | {:.0} MiB |\n",
        COMPETITION.what,
        own.core(),
        own.run.pictures_per_second(),
        own.run.resident_mib(),
    );
    let mut is_alone = true;
    for (rival, row) in rivals {
        is_alone = false;
        table += &format!(
            "| {} | {} | {:.2} | {} | {:.1} | {:.0} MiB |\n",
            rival.name(),
            row.core(),
            own.run.core() / row.run.core(),
            rival.reach().map_or("–".to_owned(), |reach| format!("≤ {reach:.2}")),
            row.run.pictures_per_second(),
            row.run.resident_mib(),
        );
    }
    (!is_alone).then_some(table)
}

/// What makes the figures doubtful, a sentence each.
pub fn doubts(runs: &[Run]) -> Vec<String> {
    let mut doubts = Vec::new();
    let mut doubt = |is_doubtful: &dyn Fn(&Run) -> bool, what: &str| {
        let count = runs.iter().filter(|run| is_doubtful(run)).count();
        if count > 0 {
            doubts.push(format!("{count} of {} runs: {what}.", runs.len()));
        }
    };
    doubt(
        &|run| run.others_share > QUIET,
        "others used more than 5 % of the measured core",
    );
    let is_watched = |run: &Run| run.subject.case().watched;
    let is_slow = |run: &Run| run.pictures_per_second() < f64::from(FRAME_RATE) * 0.98;
    doubt(
        &|run| is_watched(run) && is_slow(run),
        "more than 2 % of the pictures are missing",
    );
    doubt(
        &|run| {
            run.program
                .as_ref()
                .is_some_and(|program| program.closed > 0 || program.forged > 0)
        },
        "a transport closed or a packet was not authentic",
    );
    doubts
}
