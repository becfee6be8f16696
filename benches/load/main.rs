//! The whole-server load: a release server on a core of its own, one publisher and many viewers in this process on the
//! other, all over loopback with ICE, DTLS and SRTP. It prints a line of JSON per run and a Markdown table at the end.
//!
//! ```text
//! cargo bench --bench load -- --matrix --runs 3
//! cargo bench --bench load -- --viewers 400 --mode paced --seconds 20
//! cargo bench --bench load -- --server PATH --server-args "--http 127.0.0.1:8123" \
//!     --whip-url http://127.0.0.1:8123/whip/{room} --whep-url http://127.0.0.1:8123/whep/{room}
//! ```
//!
//! The publisher sends 720p H.264 of 1.5 Mbit/s and Opus (`media`), about 262 packets/s; each packet carries its send time
//! and number. Viewers count every packet by its sequence number, decrypt every 50th and send receiver reports and
//! transport-wide feedback. Delivery counts different packets without retransmissions (the viewers never ask for any).
//! Latency ends at the viewer's socket, by the kernel's stamp, so that it is the server's and not the loader's.

mod client;
mod media;
mod publisher;
mod report;
mod rtp;
mod sdp;
mod server;
mod srtp;
mod stream;
mod sys;
mod viewers;

use clap::Parser;
use client::{Client, Identity};
use publisher::{AUDIO_SSRC, Counters, Mode, Publisher, RTX_SSRC, VIDEO_SSRC};
use report::{Forwarding, Joins, Publishing, quantiles};
use sdp::Direction;
use server::{Server, Session, Target};
use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};
use viewers::{Viewers, Window};

/// Where the server runs; the loader takes the last core.
const SERVER_CORE: usize = 0;
/// Between the last join and measuring: start-up keyframes are over.
const SETTLE: Duration = Duration::from_millis(1500);
/// What has been sent may still arrive for so long.
const GRACE: Duration = Duration::from_millis(500);
/// All viewers have to be watching this long after the last POST.
const JOIN: Duration = Duration::from_secs(15);
/// Between two measured joins: 20/s, and no divisor of the GOP.
const JOIN_SPACING: Duration = Duration::from_millis(51);
/// Everything a run does besides measuring, at most; after it the bench gives up.
const OVERHEAD: Duration = Duration::from_secs(60);

/// Load a server and measure it.
#[derive(Parser, Debug)]
#[command(name = "load")]
struct Arguments {
    #[arg(long, default_value_t = 100)]
    viewers: usize,
    #[arg(long, value_enum, default_value = "burst")]
    mode: Mode,
    /// How long to measure.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// How often; the table has the median.
    #[arg(long, default_value_t = 1)]
    runs: usize,
    /// Measure this many joins after each run.
    #[arg(long, default_value_t = 0)]
    joins: usize,
    /// 100 and 400 viewers, both modes, and joins.
    #[arg(long)]
    matrix: bool,
    /// Receive coalesced (UDP_GRO): cheaper for the server too, since the kernel need not take trains apart.
    #[arg(long)]
    gro: bool,
    /// Viewers send no transport-wide feedback.
    #[arg(long)]
    no_transport_feedback: bool,
    /// The server's binary.
    #[arg(long, default_value = env!("CARGO_BIN_EXE_costage"))]
    server: String,
    /// Arguments of a server that is not costage, separated by spaces.
    #[arg(long, requires = "whip_url", allow_hyphen_values = true)]
    server_args: Option<String>,
    /// Of a server that is not costage; `{room}` is replaced.
    #[arg(long, requires = "whep_url")]
    whip_url: Option<String>,
    #[arg(long, requires = "whip_url")]
    whep_url: Option<String>,
    /// Measure a server that runs already, by process id.
    #[arg(long, requires = "whip_url")]
    pid: Option<libc::pid_t>,
    /// What cargo adds.
    #[arg(long, hide = true)]
    bench: bool,
}

impl Arguments {
    fn target(&self) -> Target {
        match (self.whip_url.clone(), self.whep_url.clone(), self.pid) {
            (Some(whip_url), Some(whep_url), Some(pid)) => Target::Running {
                pid,
                whip_url,
                whep_url,
            },
            (Some(whip_url), Some(whep_url), None) => {
                let arguments = self
                    .server_args
                    .iter()
                    .flat_map(|all| all.split_whitespace())
                    .map(str::to_owned);
                Target::Other {
                    binary: self.server.clone(),
                    arguments: arguments.collect(),
                    whip_url,
                    whep_url,
                }
            }
            _ => Target::Costage {
                binary: self.server.clone(),
                settings: Vec::new(),
                program: serde_json::Value::Null,
            },
        }
    }

    fn loads(&self) -> Vec<Load> {
        let seconds = Duration::from_secs(self.seconds);
        if !self.matrix {
            return vec![Load {
                viewers: self.viewers,
                mode: self.mode,
                seconds,
                joins: self.joins,
            }];
        }
        let load = |viewers, mode, joins| Load {
            viewers,
            mode,
            seconds,
            joins,
        };
        let joins = if self.joins == 0 { 100 } else { self.joins };
        vec![
            load(100, Mode::Burst, joins),
            load(100, Mode::Paced, 0),
            load(400, Mode::Paced, 0),
            load(400, Mode::Burst, 0),
        ]
    }
}

/// One thing to measure.
#[derive(Clone, Copy, Debug)]
struct Load {
    viewers: usize,
    mode: Mode,
    seconds: Duration,
    /// Joins to measure afterwards.
    joins: usize,
}

fn main() {
    if std::env::args().len() == 1 {
        // `cargo test --all-targets` runs benches too, without an argument.
        println!("run me by `cargo bench --bench load`");
        return;
    }
    let arguments = Arguments::parse();
    let ran = sys::raise_file_limit().and_then(|()| run(&arguments));
    if let Err(error) = ran {
        eprintln!("load: {error}");
        std::process::exit(1);
    }
}

fn run(arguments: &Arguments) -> io::Result<()> {
    let loads = arguments.loads();
    give_up_after(loads.iter().map(|load| load.seconds + OVERHEAD).sum::<Duration>() * arguments.runs as u32);
    if sys::cores() < 2 {
        return Err(io::Error::other("server and loader need a core each"));
    }
    sys::pin(0, sys::cores() - 1)?;
    let _favoured = sys::Favoured::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let target = arguments.target();
    let options = viewers::Options {
        gro: arguments.gro,
        transport_feedback: !arguments.no_transport_feedback,
    };
    let (mut forwarding, mut joins) = (Vec::new(), Joins::default());
    // Runs of different loads alternate, so that a machine that changes its mind does not favour one.
    for _ in 0..arguments.runs {
        for load in &loads {
            let (figures, joined) = runtime.block_on(measure(load, &target, options))?;
            println!("{}", figures.to_json());
            forwarding.push(figures);
            if let Some(joined) = joined {
                println!("{}", joined.to_json());
                joins.absorb(joined);
            }
        }
    }
    println!("\n{}", report::forwarding_table(&forwarding));
    if !joins.keyframe.is_empty() {
        println!("{}", report::joins_table(&joins));
    }
    Ok(())
}

/// End the process, and with it a server it started, if it hangs.
fn give_up_after(limit: Duration) {
    std::thread::spawn(move || {
        std::thread::sleep(limit);
        eprintln!("load: not done after {} s", limit.as_secs());
        std::process::exit(2);
    });
}

async fn measure(load: &Load, target: &Target, options: viewers::Options) -> io::Result<(Forwarding, Option<Joins>)> {
    let room = format!("load-{}", std::process::id());
    let server = Server::start(target, SERVER_CORE, &room).await?;
    let identity = Identity::new()?;
    let direction = Direction::Send {
        audio_ssrc: AUDIO_SSRC,
        video_ssrc: VIDEO_SSRC,
        rtx_ssrc: RTX_SSRC,
    };
    let session = server.publish(&identity, server::HOST, direction).await?;
    let client = Client::new(&identity, &session.answer, Instant::now())?;
    let publisher = Publisher::start(client, &session.answer, load.mode)?;
    wait_for(Duration::from_secs(5), "the publisher to connect", || {
        publisher.counters.connected.load(Relaxed)
    })
    .await?;
    // The server's one-off costs (rings, arenas) are not the viewers'.
    tokio::time::sleep(SETTLE).await;

    let viewers = Viewers::start(options)?;
    let empty = server.memory()?;
    for viewer in 0..load.viewers {
        join(&server, &identity, &viewers, viewer).await?;
    }
    let mut watching = 0;
    let all_watch = wait_for(JOIN, "all viewers to have a keyframe", || {
        watching += viewers.joined.try_iter().count();
        watching >= load.viewers
    });
    all_watch
        .await
        .map_err(|error| io::Error::other(format!("{error}: {watching} of {} have", load.viewers)))?;
    tokio::time::sleep(SETTLE).await;
    let full = server.memory()?;

    let mut figures = forward(load, &server, &publisher.counters, &viewers).await?;
    let per_viewer = |full: u64, empty: u64| (full as f64 - empty as f64) / load.viewers.max(1) as f64;
    figures.resident_kib_per_viewer = per_viewer(full.resident, empty.resident);
    figures.anonymous_kib_per_viewer = per_viewer(full.anonymous, empty.anonymous);
    let joins = match load.joins {
        0 => None,
        _ => Some(join_and_leave(load, &server, &identity, &viewers).await?),
    };
    Ok((figures, joins))
}

async fn wait_for(limit: Duration, what: &str, mut is_done: impl FnMut() -> bool) -> io::Result<()> {
    let deadline = Instant::now() + limit;
    while !is_done() {
        if Instant::now() > deadline {
            return Err(io::Error::other(format!(
                "waited {} s in vain for {what}",
                limit.as_secs()
            )));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

async fn join(server: &Server, identity: &Identity, viewers: &Viewers, viewer: usize) -> io::Result<Session> {
    let session = server.view(identity, viewer).await?;
    let client = Client::new(identity, &session.answer, Instant::now())?;
    viewers.join(viewer, client, session.answer.clone(), session.posted_ns);
    Ok(session)
}

/// The counters of a run at one moment.
struct Moment {
    at: Instant,
    server_cpu: Duration,
    loader_cpu: Duration,
    /// Everybody's on the server's core.
    core_busy: Duration,
    /// Packets that have reached viewers.
    received: u64,
    /// The publisher's next indices.
    audio: u64,
    video: u64,
}

impl Moment {
    fn now(server: &Server, publisher: &Counters, viewers: &Viewers) -> io::Result<Moment> {
        Ok(Moment {
            at: Instant::now(),
            server_cpu: server.cpu()?,
            loader_cpu: sys::process_cpu(0)?,
            core_busy: sys::core_busy(SERVER_CORE)?,
            received: viewers.received.load(Relaxed),
            audio: publisher.audio.load(Relaxed),
            video: publisher.video.load(Relaxed),
        })
    }
}

/// Measure with all viewers watching.
async fn forward(load: &Load, server: &Server, publisher: &Counters, viewers: &Viewers) -> io::Result<Forwarding> {
    viewers.begin();
    let before = Moment::now(server, publisher, viewers)?;
    tokio::time::sleep(load.seconds).await;
    let after = Moment::now(server, publisher, viewers)?;
    tokio::time::sleep(GRACE).await;
    let window = Window {
        audio: before.audio..after.audio,
        video: before.video..after.video,
    };
    let collected = viewers
        .collect(window)
        .ok_or_else(|| io::Error::other("the viewers' thread is gone"))?;

    let seconds = (after.at - before.at).as_secs_f64();
    let packets = (after.received - before.received) as f64;
    let server_cpu = (after.server_cpu - before.server_cpu).as_secs_f64();
    let loader_cpu = (after.loader_cpu - before.loader_cpu).as_secs_f64();
    Ok(Forwarding {
        mode: load.mode,
        viewers: load.viewers,
        seconds,
        packets_per_second: packets / seconds,
        us_per_packet: server_cpu * 1e6 / packets.max(1.0),
        server_share: server_cpu / seconds,
        loader_share: loader_cpu / seconds,
        others_share: ((after.core_busy - before.core_busy).as_secs_f64() - server_cpu).max(0.0) / seconds,
        delivery: collected.delivered as f64 / collected.expected.max(1) as f64,
        worst_viewer: collected.worst_share,
        latency_us: quantiles(&collected.latency_us),
        read_latency_us: quantiles(&collected.read_latency_us),
        resident_kib_per_viewer: 0.0,
        anonymous_kib_per_viewer: 0.0,
        retransmitted: collected.retransmitted,
        duplicates: collected.duplicates,
        forged: collected.forged,
        closed: collected.closed,
        publisher: Publishing {
            keyframe_requests: publisher.keyframe_requests.load(Relaxed),
            nacks: publisher.nacks.load(Relaxed),
            transport_feedback: publisher.feedback.load(Relaxed),
        },
    })
}

/// Viewers come beside those who watch, one every [`JOIN_SPACING`], and leave when they have seen a keyframe.
async fn join_and_leave(load: &Load, server: &Server, identity: &Identity, viewers: &Viewers) -> io::Result<Joins> {
    let mut joins = Joins {
        beside: load.viewers,
        ..Joins::default()
    };
    let mut sessions: BTreeMap<usize, Session> = BTreeMap::new();
    let start = Instant::now();
    let last = start + JOIN_SPACING * load.joins as u32;
    let mut due = start;
    let mut next = load.viewers;
    while next < load.viewers + load.joins || (!sessions.is_empty() && Instant::now() < last + JOIN) {
        if next < load.viewers + load.joins && Instant::now() >= due {
            due += JOIN_SPACING;
            sessions.insert(next, join(server, identity, viewers, next).await?);
            next += 1;
        }
        while let Ok(joined) = viewers.joined.try_recv() {
            joins.first_media.push(joined.first_media);
            joins.keyframe.push(joined.keyframe);
            joins.headless += usize::from(joined.headless);
            viewers.leave(joined.viewer);
            if let Some(session) = sessions.remove(&joined.viewer) {
                server.close(&session.location, joined.viewer).await?;
            }
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    joins.failed = sessions.len();
    Ok(joins)
}
