//! Arguments → configuration → node → wait for a signal → drain.

use clap::Parser;
use costage::cli::{Cli, Command, ServeArgs};
use costage::serve::{Server, Termination, raise_open_files, termination};
use costage::telemetry;
use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

/// As a shell reports a process that Ctrl-C ended.
const INTERRUPTED: i32 = 130;

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Serve(arguments) => serve(arguments),
        Command::Token(arguments) => arguments.run().map(|token| println!("{token}")).map_err(Into::into),
        Command::Config(command) => command.run().map(|text| print!("{text}")).map_err(Into::into),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("costage: {error}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn serve(arguments: ServeArgs) -> Result<(), Box<dyn Error>> {
    let demo = arguments.demo;
    let config = arguments.load()?;
    telemetry::init_log(&config.log)?;
    raise_open_files();
    let terminated = termination()?;
    let mut server = Server::start(&config).await?;
    let url = server.local_url();
    println!(
        "costage {} on {url}, admin on http://{}",
        env!("CARGO_PKG_VERSION"),
        server.admin()
    );
    if demo {
        let room = server.play_demo(&config);
        println!("  watch:   {url}/?room={room}");
        println!("  publish: {url}/publish?room={room}&seat=1");
        println!("  demo:    {url}/demo?room={room}");
    }
    let why = terminated.await;
    let again = termination()?;
    let end = async {
        if why == Termination::Orderly {
            let deadline = Duration::from_millis(config.node.drain_ms);
            server.drain(deadline.saturating_sub(Server::STOPPING)).await;
        }
        server.stop().await;
    };
    tokio::select! {
        () = end => Ok(()),
        _ = again => std::process::exit(INTERRUPTED),
    }
}
