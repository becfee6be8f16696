//! Log lines on standard error.

use crate::config::{self, LogFormat};
use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

/// What the libraries underneath may say unless `log.level` names them: the peer connection of the demo source tells of
/// every state at `info` and of harmless things at `warn`.
const QUIET: &str =
    "rtc=warn,rtc_ice=warn,rtc_mdns=error,rtc_dtls=error,rtc_srtp=error,webrtc=warn,hyper=warn,reqwest=warn";

/// The level directives are malformed.
#[derive(Debug)]
pub struct InvalidLevel(tracing_subscriber::filter::ParseError);

impl std::fmt::Display for InvalidLevel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "log.level: {}", self.0)
    }
}

impl std::error::Error for InvalidLevel {}

/// Route all log lines of this process, from now on. Once a process; later calls change nothing.
pub fn init_log(log: &config::Log) -> Result<(), InvalidLevel> {
    let filter = filter(&log.level)?;
    let lines = fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    // Someone else's subscriber is in place (tests): theirs stays.
    let _ = match log.format {
        LogFormat::Text => lines.try_init(),
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(false).try_init(),
    };
    Ok(())
}

/// Later directives win over earlier ones of the same target.
fn filter(level: &str) -> Result<EnvFilter, InvalidLevel> {
    EnvFilter::try_new(format!("{QUIET},{level}")).map_err(InvalidLevel)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels() {
        for good in ["info", "warn,costage::worker=trace", "debug,rtc_ice=debug"] {
            assert!(filter(good).is_ok(), "{good}");
        }
        assert!(filter("info,costage=loud").is_err());
    }
}
