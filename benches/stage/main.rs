//! The stage under load: a release server with its store on disk, alone on a core; hosts, guests and an audience in this
//! process on the other, over loopback HTTP and WebSocket.
//!
//! ```text
//! cargo bench --bench stage
//! cargo bench --bench stage -- --audience 3000 --rooms 500 --seconds 20
//! ```
//!
//! Three measurements, each on a server started anew: how long an accepted guest waits for the news, how long an audience
//! waits for a seat change and what one of them costs in memory, and how many seat commands a second many rooms take.
//! It prints a line of JSON per measurement and a Markdown table at the end.

mod audience;
mod server;
#[path = "../load/sys.rs"]
#[allow(dead_code, reason = "the other bench uses the rest")]
mod sys;

use clap::Parser;
use serde_json::{Value, json};
use server::Server;
use std::io;
use std::time::{Duration, Instant};

/// Where the server runs; the loader takes the last core.
const SERVER_CORE: usize = 0;

#[derive(Parser, Debug)]
#[command(name = "stage")]
struct Arguments {
    /// Members connected to one room.
    #[arg(long, default_value_t = 1_000)]
    audience: usize,
    /// Seat changes they are told.
    #[arg(long, default_value_t = 100)]
    changes: usize,
    /// Applications accepted.
    #[arg(long, default_value_t = 200)]
    accepts: usize,
    /// Rooms under commands at the same time, one caller each.
    #[arg(long, default_value_t = 200)]
    rooms: usize,
    /// How long the rooms are commanded.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// The server's binary.
    #[arg(long, default_value = env!("CARGO_BIN_EXE_costage"))]
    server: String,
    /// What cargo adds.
    #[arg(long, hide = true)]
    bench: bool,
}

/// One row of the table.
struct Row {
    what: &'static str,
    reach: &'static str,
    measured: String,
    details: Value,
}

fn main() -> io::Result<()> {
    if std::env::args().len() == 1 {
        // `cargo test --all-targets` runs benches too, without an argument.
        println!("run me by `cargo bench --bench stage`");
        return Ok(());
    }
    let arguments = Arguments::parse();
    if sys::cores() > 1 {
        sys::pin(0, sys::cores() - 1)?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let rows = runtime.block_on(measure(&arguments))?;
    println!("\n| | reach | measured |\n|---|---|---|");
    for row in &rows {
        println!("| {} | {} | {} |", row.what, row.reach, row.measured);
    }
    Ok(())
}

async fn measure(arguments: &Arguments) -> io::Result<Vec<Row>> {
    let mut rows = vec![accepts(arguments).await?];
    rows.extend(changes(arguments).await?);
    rows.push(commands(arguments).await?);
    for row in &rows {
        println!("{}", json!({"what": row.what, "details": row.details}));
    }
    Ok(rows)
}

/// From the host's call to the guest's `application.responded`.
async fn accepts(arguments: &Arguments) -> io::Result<Row> {
    let server = Server::start(&arguments.server, SERVER_CORE).await?;
    server.create("r").await?;
    let host = server.token("r", "host", "host")?;
    let mut waits = Vec::new();
    for number in 0..arguments.accepts {
        // A person may apply six times a minute only.
        let user = format!("guest-{number}");
        let guest = server.token("r", &user, "member")?;
        let mut listener = audience::Listener::open(&server, "r", &guest).await?;
        server
            .call(&guest, "POST", "/v1/rooms/r/applications", json!({}))
            .await?;
        let accept = format!("/v1/rooms/r/applications/{user}/accept");
        let asked = Instant::now();
        let accepting = server.call(&host, "POST", &accept, json!({}));
        let (accepted, heard) = tokio::join!(accepting, listener.until("application.responded"));
        accepted?;
        waits.push(heard?.saturating_duration_since(asked));
        server
            .call(&guest, "DELETE", "/v1/rooms/r/members/me", Value::Null)
            .await?;
    }
    let [p50, p95, p99] = quantiles(&mut waits);
    Ok(Row {
        what: "accept → the guest's `application.responded`, p50 / p95",
        reach: "≤ 20 ms (p95)",
        measured: format!("{} / {} ms", ms(p50), ms(p95)),
        details: json!({"p50_ms": ms(p50), "p95_ms": ms(p95), "p99_ms": ms(p99), "accepts": arguments.accepts}),
    })
}

/// From a seat command's call to its event at each of a large audience, and what one of them costs.
async fn changes(arguments: &Arguments) -> io::Result<Vec<Row>> {
    let server = Server::start(&arguments.server, SERVER_CORE).await?;
    server.create("r").await?;
    let before = server.resident_kib()?;
    let audience = audience::Audience::open(&server, "r", arguments.audience).await?;
    // Long enough for the last member's pings and for buffers to be what they stay.
    audience.listen(tokio::time::sleep(Duration::from_secs(6))).await;
    let grown = server.resident_kib()?.saturating_sub(before);
    let each = grown as f64 / arguments.audience.max(1) as f64;

    let service = server.token("*", "load", "service")?;
    let mut waits = Vec::new();
    let mut missed = 0;
    for change in 0..arguments.changes {
        let called = Instant::now();
        let flags = json!({"audio_locked": change % 2 == 0});
        let calling = server.call(&service, "PATCH", "/v1/rooms/r/seats/3", flags);
        audience.listen(calling).await?;
        let heard = audience.heard(change + 1, Duration::from_secs(2)).await;
        missed += arguments.audience - heard.len();
        waits.extend(heard.into_iter().map(|at| at.saturating_duration_since(called)));
    }
    let [p50, p95, p99] = quantiles(&mut waits);
    let details = json!({"audience": arguments.audience, "changes": arguments.changes, "p50_ms": ms(p50),
        "p95_ms": ms(p95), "p99_ms": ms(p99), "missed": missed, "kib_per_member": each});
    Ok(vec![
        Row {
            what: "seat command → its event at 1,000 members of the audience, p50 / p95",
            reach: "≤ 100 ms (p95)",
            measured: format!("{} / {} ms", ms(p50), ms(p95)),
            details: details.clone(),
        },
        Row {
            what: "server memory per connected member",
            reach: "≤ 20 KiB",
            measured: format!("{each:.1} KiB"),
            details,
        },
    ])
}

/// Seat commands of one caller per room, each waiting for its answer.
async fn commands(arguments: &Arguments) -> io::Result<Row> {
    let server = Server::start(&arguments.server, SERVER_CORE).await?;
    for room in 0..arguments.rooms {
        server.create(&format!("r{room}")).await?;
    }
    let service = server.token("*", "load", "service")?;
    let ends = Instant::now() + Duration::from_secs(arguments.seconds);
    let cpu = server.cpu()?;
    let began = Instant::now();
    let callers = (0..arguments.rooms).map(|room| caller(&server, &service, room, ends));
    let mut waits = Vec::new();
    for caller in futures_util::future::join_all(callers).await {
        waits.extend(caller?);
    }
    let elapsed = began.elapsed().as_secs_f64();
    let cpu = server.cpu()?.saturating_sub(cpu).as_secs_f64();
    let (count, per_second) = (waits.len(), waits.len() as f64 / elapsed);
    let [p50, p95, p99] = quantiles(&mut waits);
    Ok(Row {
        what: "seat commands a second in 200 rooms, stored",
        reach: "≥ 2,000",
        measured: format!("{per_second:.0} (p95 {} ms)", ms(p95)),
        details: json!({"rooms": arguments.rooms, "commands": count, "per_second": per_second, "p50_ms": ms(p50),
            "p95_ms": ms(p95), "p99_ms": ms(p99), "server_core": cpu / elapsed}),
    })
}

async fn caller(server: &Server, service: &str, room: usize, ends: Instant) -> io::Result<Vec<Duration>> {
    let path = format!("/v1/rooms/r{room}/seats/1");
    let mut waits = Vec::new();
    while Instant::now() < ends {
        let called = Instant::now();
        if waits.len() % 2 == 0 {
            server.call(service, "PUT", &path, json!({"user": "bob"})).await?;
        } else {
            server.call(service, "DELETE", &path, Value::Null).await?;
        }
        waits.push(called.elapsed());
    }
    Ok(waits)
}

/// Sorts; p50, p95 and p99.
fn quantiles(waits: &mut [Duration]) -> [Duration; 3] {
    waits.sort_unstable();
    [50, 95, 99].map(|percent| waits.get(waits.len() * percent / 100).copied().unwrap_or_default())
}

/// Milliseconds with one decimal.
fn ms(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 10_000.0).round() / 10.0
}
