//! The program's cost: a release server alone on a core; ten participants and the program's viewer in this process on the
//! other, over loopback with ICE, DTLS and SRTP; in between the same work by GStreamer and ffmpeg on the server's core. It
//! prints a line of JSON per run and Markdown tables at the end.
//!
//! ```text
//! cargo bench --bench mix -- --rounds 3
//! cargo bench --bench mix -- --only 10,alone --rivals ffmpeg --seconds 10
//! cargo bench --bench mix -- --no-rivals
//! ```
//!
//! All are measured alike: the process's CPU clock over the same time of steady output, divided by the output's length.

mod cases;
mod clips;
mod loader;
mod metrics;
mod publisher;
mod report;
mod rivals;
mod viewer;

#[path = "../load/client.rs"]
mod client;
#[path = "../load/media.rs"]
#[allow(dead_code, reason = "`stream` needs a part of it; here real media is sent")]
mod media;
#[path = "../load/rtp.rs"]
mod rtp;
#[path = "../load/sdp.rs"]
mod sdp;
#[path = "../load/server.rs"]
#[allow(dead_code, reason = "the other bench uses the rest")]
mod server;
#[path = "../load/srtp.rs"]
mod srtp;
#[path = "../load/stream.rs"]
#[allow(dead_code, reason = "the other bench uses the rest")]
mod stream;
#[path = "../load/sys.rs"]
#[allow(dead_code, reason = "the other bench uses the rest")]
mod sys;

use cases::{CASES, COMPETITION, Case};
use clap::Parser;
use client::{Client, Identity};
use clips::Clips;
use loader::{Counters, Loader};
use metrics::Scrape;
use report::{Program, Run, Said, Subject};
use rivals::{Inputs, Pipeline, Rival};
use server::{Server, Session, Target};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Where what is measured runs; the loader takes the last core.
const MEASURED_CORE: usize = 0;
/// Everybody has to be connected, and the program there, after so long.
const START: Duration = Duration::from_secs(15);
/// Everything a run does besides warming up and measuring, at most; after it the bench gives up.
const OVERHEAD: Duration = Duration::from_secs(60);
const ROOM: &str = "mix";

/// Measure what the program costs.
#[derive(Parser, Debug)]
#[command(name = "mix")]
struct Arguments {
    /// How often everything is measured, in turn; the tables have the medians.
    #[arg(long, default_value_t = 1)]
    rounds: u32,
    /// How long to measure.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// From the first picture until measuring.
    #[arg(long, default_value_t = 5)]
    warm_up: u64,
    /// These cases only: 10, 10-180p, 5, 2, 1, 0, alone, unwatched.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Who else does the work of case 10.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Rival::Gstreamer, Rival::Ffmpeg])]
    rivals: Vec<Rival>,
    #[arg(long)]
    no_rivals: bool,
    /// The server's binary.
    #[arg(long, default_value = env!("CARGO_BIN_EXE_costage"))]
    server: String,
    /// What cargo adds.
    #[arg(long, hide = true)]
    bench: bool,
}

impl Arguments {
    /// What one round measures: case 10, who else does its work, the other cases.
    fn subjects(&self) -> io::Result<Vec<Subject>> {
        if let Some(unknown) = self
            .only
            .iter()
            .find(|name| CASES.iter().all(|case| case.name != **name))
        {
            return Err(io::Error::other(format!("there is no case {unknown}")));
        }
        let is_wanted = |case: &Case| self.only.is_empty() || self.only.iter().any(|name| name == case.name);
        let mut subjects = Vec::new();
        for case in CASES.into_iter().filter(is_wanted) {
            subjects.push(Subject::Costage(case));
            if case != COMPETITION || self.no_rivals {
                continue;
            }
            for rival in &self.rivals {
                match rival.check() {
                    Ok(()) => subjects.push(Subject::Rival(*rival)),
                    Err(what) => eprintln!("mix: {what}"),
                }
            }
        }
        Ok(subjects)
    }
}

fn main() {
    if std::env::args().len() == 1 {
        // `cargo test --all-targets` runs benches too, without an argument.
        println!("run me by `cargo bench --bench mix`");
        return;
    }
    let arguments = Arguments::parse();
    if let Err(error) = run(&arguments) {
        eprintln!("mix: {error}");
        std::process::exit(1);
    }
}

fn run(arguments: &Arguments) -> io::Result<()> {
    let subjects = arguments.subjects()?;
    let each = Duration::from_secs(arguments.warm_up + arguments.seconds) + OVERHEAD;
    let count = u32::try_from(subjects.len()).map_err(io::Error::other)?;
    give_up_after(each * count * arguments.rounds);
    if sys::cores() < 2 {
        return Err(io::Error::other("server and loader need a core each"));
    }
    let clips = Clips::new()?;
    let inputs = Inputs::write(&clips, arguments.warm_up + arguments.seconds)?;
    sys::pin(0, sys::cores() - 1)?;
    let _favoured = sys::Favoured::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut runs = Vec::new();
    // Everybody in turn, so that a machine that changes its mind does not favour one.
    for _ in 0..arguments.rounds {
        for subject in &subjects {
            let run = match subject {
                Subject::Costage(case) => runtime.block_on(measure(case, &clips, arguments))?,
                Subject::Rival(rival) => compete(*rival, &inputs, arguments)?,
            };
            println!("{}", run.to_json());
            runs.push(run);
        }
    }
    println!("\n{}", report::cost_table(&runs));
    if let Some(table) = report::competition_table(&runs) {
        println!("{table}");
    }
    for doubt in report::doubts(&runs) {
        println!("{doubt}");
    }
    Ok(())
}

/// End the process, and with it what it started, if it hangs.
fn give_up_after(limit: Duration) {
    std::thread::spawn(move || {
        std::thread::sleep(limit);
        eprintln!("mix: not done after {} s", limit.as_secs());
        std::process::exit(2);
    });
}

/// A room with its participants, its program and its viewer.
async fn measure(case: &Case, clips: &Clips, arguments: &Arguments) -> io::Result<Run> {
    let admin = server::free_port()?;
    let target = Target::Costage {
        binary: arguments.server.clone(),
        settings: vec![format!("admin.listen={admin}")],
        program: case.program(),
    };
    let server = Server::start(&target, MEASURED_CORE, ROOM).await?;
    if case.people() > 1 {
        let path = format!("/rooms/{ROOM}/seats");
        server.command("PUT", &path, &case.seats()).await?;
    }
    let (identity, loader) = (Identity::new()?, Loader::start()?);
    let counters = &*loader.counters;
    let mut watching = false;
    for seat in 0..case.people() {
        if seat == 1 && case.watched {
            // guests come into a program that is mixed already
            watch(&server, &identity, &loader).await?;
            watching = true;
        }
        let direction = publisher::direction(seat);
        let session = server.publish(&identity, &Case::user(seat), direction).await?;
        let client = Client::new(&identity, &session.answer, Instant::now())?;
        loader.publish(seat, client, session.answer, case.clip(seat, clips));
    }
    let people = u64::from(case.people());
    at_least(people, &counters.connected, "participants to connect").await?;
    if case.watched && !watching {
        watch(&server, &identity, &loader).await?;
    }
    tokio::time::sleep(Duration::from_secs(arguments.warm_up)).await;

    let url = format!("http://{admin}/metrics");
    let earlier = scrape(&url).await?;
    let before = Moment::now(server.cpu()?, &counters.pictures)?;
    let had_seen = seen(counters);
    tokio::time::sleep(Duration::from_secs(arguments.seconds)).await;
    let after = Moment::now(server.cpu()?, &counters.pictures)?;
    let said = Said::between(&earlier, &scrape(&url).await?);
    let program = seen(counters).since(&had_seen, said);
    let resident_kib = server.memory()?.resident;
    Ok(after.run(&before, Subject::Costage(*case), resident_kib, Some(program)))
}

/// A viewer of the program, who has got a picture.
async fn watch(server: &Server, identity: &Identity, loader: &Loader) -> io::Result<()> {
    let session = view(server, identity).await?;
    let client = Client::new(identity, &session.answer, Instant::now())?;
    loader.watch(client, session.answer);
    at_least(1, &loader.counters.pictures, "the program's first picture").await
}

/// The viewer's session, as soon as there is something to play.
async fn view(server: &Server, identity: &Identity) -> io::Result<Session> {
    let deadline = Instant::now() + START;
    loop {
        match server.view(identity, 0).await {
            Err(_) if Instant::now() < deadline => tokio::time::sleep(Duration::from_millis(200)).await,
            session => return session,
        }
    }
}

async fn at_least(count: u64, counter: &AtomicU64, what: &str) -> io::Result<()> {
    let deadline = Instant::now() + START;
    while counter.load(Relaxed) < count {
        if Instant::now() > deadline {
            let seconds = START.as_secs();
            return Err(io::Error::other(format!("waited {seconds} s in vain for {what}")));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

async fn scrape(url: &str) -> io::Result<Scrape> {
    let response = reqwest::get(url).await.map_err(io::Error::other)?;
    let text = response.text().await.map_err(io::Error::other)?;
    Ok(Scrape::parse(&text))
}

/// Another pipeline.
fn compete(rival: Rival, inputs: &Inputs, arguments: &Arguments) -> io::Result<Run> {
    let pipeline = Pipeline::start(rival, inputs, MEASURED_CORE)?;
    std::thread::sleep(Duration::from_secs(arguments.warm_up));
    let before = Moment::now(pipeline.cpu()?, &pipeline.pictures)?;
    std::thread::sleep(Duration::from_secs(arguments.seconds));
    let after = Moment::now(pipeline.cpu()?, &pipeline.pictures)?;
    let resident_kib = pipeline.resident_kib()?;
    Ok(after.run(&before, Subject::Rival(rival), resident_kib, None))
}

/// The counters of a run at one moment.
struct Moment {
    at: Instant,
    /// Of what is measured.
    cpu: Duration,
    loader_cpu: Duration,
    /// Everybody's on the measured core.
    core_busy: Duration,
    pictures: u64,
}

impl Moment {
    fn now(cpu: Duration, pictures: &AtomicU64) -> io::Result<Moment> {
        Ok(Moment {
            at: Instant::now(),
            cpu,
            loader_cpu: sys::process_cpu(0)?,
            core_busy: sys::core_busy(MEASURED_CORE)?,
            pictures: pictures.load(Relaxed),
        })
    }

    fn run(&self, before: &Moment, subject: Subject, resident_kib: u64, program: Option<Program>) -> Run {
        let seconds = (self.at - before.at).as_secs_f64();
        let share = |later: Duration, earlier: Duration| (later - earlier).as_secs_f64() / seconds;
        let cpu = share(self.cpu, before.cpu);
        Run {
            subject,
            seconds,
            cpu_seconds: cpu * seconds,
            pictures: self.pictures - before.pictures,
            resident_kib,
            loader_share: share(self.loader_cpu, before.loader_cpu),
            others_share: (share(self.core_busy, before.core_busy) - cpu).max(0.0),
            program,
        }
    }
}

/// What the loader has seen of the program so far.
fn seen(counters: &Counters) -> Program {
    Program {
        keyframes: counters.keyframes.load(Relaxed),
        sounds: counters.sounds.load(Relaxed),
        bytes: counters.bytes.load(Relaxed),
        lost: counters.lost.load(Relaxed),
        forged: counters.forged.load(Relaxed),
        keyframe_requests: counters.keyframe_requests.load(Relaxed),
        closed: counters.closed.load(Relaxed),
        said: Said::default(),
    }
}
