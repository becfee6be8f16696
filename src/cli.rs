//! The command line: arguments, files and environment in, a checked configuration or a token out. Shell.

use crate::api::{Grant, RoleName, mint};
use crate::config::{self, Config, Entry, Origin, Problem};
use crate::room::{RoomId, UserId};
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A media mixing and relay server (SFU) for live streams with co-hosting.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a node
    Serve(ServeArgs),
    /// Print a token, signed with a key of the server
    Token(TokenArgs),
    /// Look at the configuration without starting anything
    #[command(subcommand)]
    Config(ConfigCommand),
}

/// Where settings come from: defaults, then the file, then COSTAGE_SECTION_KEY variables, then --set.
#[derive(Args, Debug, Default)]
pub struct Sources {
    /// A TOML file
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// One setting, e.g. media.tick_us=2000; may be given several times
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// For development on one machine: listen on loopback, with a well-known key, tokens for anybody
    #[arg(long)]
    pub dev: bool,
}

#[derive(Args, Debug)]
pub struct ServeArgs {
    #[command(flatten)]
    pub sources: Sources,
    /// Also put a room `demo` on air, hosted by a film clip; implies --dev
    #[arg(long)]
    pub demo: bool,
}

#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Print the effective configuration, each setting documented, secrets masked
    Print(Sources),
    /// Say what is wrong with the configuration, if anything
    Check(Sources),
}

#[derive(Args, Debug)]
pub struct TokenArgs {
    /// Key id: the token's issuer
    #[arg(long, value_name = "ID")]
    pub key: Option<String>,
    /// The key's secret; without it, the configuration's for this key
    #[arg(long)]
    pub secret: Option<String>,
    /// Room id, or * for all rooms
    #[arg(long)]
    pub room: String,
    #[arg(long, value_enum, default_value = "member")]
    pub role: Role,
    /// User id: the token's subject
    #[arg(long)]
    pub user: String,
    /// Name that others see
    #[arg(long)]
    pub name: Option<String>,
    /// How long it is valid: a number and ms, s, m, h or d
    #[arg(long, default_value = "1h", value_parser = duration)]
    pub ttl: Duration,
    #[command(flatten)]
    pub sources: Sources,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Role {
    Service,
    Host,
    Admin,
    Member,
}

impl From<Role> for RoleName {
    fn from(role: Role) -> Self {
        match role {
            Role::Service => Self::Service,
            Role::Host => Self::Host,
            Role::Admin => Self::Admin,
            Role::Member => Self::Member,
        }
    }
}

/// What is wrong with a command, one line each.
#[derive(Debug)]
pub struct Refused(pub Vec<String>);

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for Refused {}

impl From<Vec<Problem>> for Refused {
    fn from(problems: Vec<Problem>) -> Self {
        Self(problems.iter().map(Problem::to_string).collect())
    }
}

impl Sources {
    /// The effective configuration; whether a node can be started with it says [`Config::check`].
    pub fn load(&self) -> Result<Config, Refused> {
        let mut entries = Vec::new();
        let mut problems = Vec::new();
        if let Some(path) = &self.config {
            match read(path) {
                Ok(mut read) => entries.append(&mut read),
                Err(problem) => problems.push(problem),
            }
        }
        // Variables that are not UTF-8 are none of ours.
        let variables = std::env::vars_os().filter_map(|(k, v)| k.into_string().ok().zip(v.into_string().ok()));
        entries.extend(config::environment_entries(variables));
        for flag in &self.set {
            match config::flag_entry(flag) {
                Ok(entry) => entries.push(entry),
                Err(problem) => problems.push(problem),
            }
        }
        match Config::from_entries(self.dev, &entries) {
            Ok(config) if problems.is_empty() => Ok(config),
            Ok(_) => Err(problems.into()),
            Err(mut others) => {
                problems.append(&mut others);
                Err(problems.into())
            }
        }
    }
}

fn read(path: &Path) -> Result<Vec<Entry>, Problem> {
    let name = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(text) => config::toml_entries(&text, &name),
        Err(error) => Err(Problem::Syntax {
            origin: Origin::File(name),
            reason: error.to_string(),
        }),
    }
}

impl ServeArgs {
    /// A configuration that a node can be started with.
    pub fn load(mut self) -> Result<Config, Refused> {
        self.sources.dev |= self.demo;
        let config = self.sources.load()?;
        config.check()?;
        Ok(config)
    }
}

impl ConfigCommand {
    /// What to print.
    pub fn run(&self) -> Result<String, Refused> {
        match self {
            Self::Print(sources) => Ok(config::to_toml(&sources.load()?)),
            Self::Check(sources) => {
                sources.load()?.check()?;
                Ok("The configuration is valid.\n".to_owned())
            }
        }
    }
}

impl TokenArgs {
    /// The token.
    pub fn run(&self) -> Result<String, Refused> {
        let (key, secret) = self.signer()?;
        let wrong = self.mistakes(&secret);
        if !wrong.is_empty() {
            return Err(Refused(wrong));
        }
        let grant = Grant {
            room: self.room.clone(),
            user: self.user.clone(),
            role: self.role.into(),
            name: self.name.clone(),
            avatar_url: None,
        };
        Ok(mint(&key, &secret, &grant, self.ttl))
    }

    /// What would make every server refuse the token.
    fn mistakes(&self, secret: &str) -> Vec<String> {
        let mut wrong = Vec::new();
        if self.room != "*"
            && let Err(refusal) = RoomId::parse(&self.room)
        {
            wrong.push(format!("--room: {}", refusal.detail));
        }
        if let Err(refusal) = UserId::parse(&self.user) {
            wrong.push(format!("--user: {}", refusal.detail));
        }
        if secret.len() < config::SHORTEST_SECRET_BYTES {
            let (has, needs) = (secret.len(), config::SHORTEST_SECRET_BYTES);
            wrong.push(format!(
                "--secret has {has} bytes; a server's keys have at least {needs}"
            ));
        }
        wrong
    }

    fn signer(&self) -> Result<(String, String), Refused> {
        if let (Some(key), Some(secret)) = (&self.key, &self.secret) {
            return Ok((key.clone(), secret.clone()));
        }
        let keys = self.sources.load()?.auth.keys;
        let found = match &self.key {
            Some(id) => keys.get_key_value(id),
            None => keys.first_key_value(),
        };
        let refused = || {
            Refused(vec![
                "give --key and --secret, or a configuration (--config, --dev) with that key".to_owned(),
            ])
        };
        let (id, secret) = found.ok_or_else(refused)?;
        Ok((id.clone(), secret.expose().to_owned()))
    }
}

/// `90s`, `1h`; a bare number is refused, since nobody agrees on its unit.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no duration: a number and ms, s, m, h or d");
    let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(wrong()),
    };
    number
        .checked_mul(unit_ms)
        .filter(|ms| *ms > 0)
        .map(Duration::from_millis)
        .ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn durations() {
        assert_eq!(duration("1h"), Ok(Duration::from_secs(3_600)));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        for wrong in ["", "1", "h", "0s", "1 h", "-1s", "99999999999999999d"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn demo_implies_dev() {
        let cli = Cli::parse_from(["costage", "serve", "--demo", "--set", "media.tick_us=2000"]);
        let Command::Serve(serve) = cli.command else {
            panic!("serve was asked for")
        };
        let config = serve.load().unwrap();
        assert!(config.dev);
        assert_eq!(config.media.tick_us, 2_000);
    }

    #[test]
    fn every_source_is_checked_at_once() {
        let sources = Sources {
            config: Some("/nonexistent/costage.toml".into()),
            set: vec!["nonsense".to_owned(), "media.tick_us=fast".to_owned()],
            dev: true,
        };
        assert_eq!(sources.load().unwrap_err().0.len(), 3);
    }

    #[test]
    fn tokens_are_signed_with_the_key_of_the_configuration() {
        let arguments = [
            "costage", "token", "--dev", "--room", "demo", "--user", "bob", "--ttl", "5m",
        ];
        let Command::Token(token) = Cli::parse_from(arguments).command else {
            panic!("a token was asked for")
        };
        assert_eq!(token.run().unwrap().split('.').count(), 3);
        let arguments = [
            "costage", "token", "--key", "k", "--secret", "short", "--room", "a b", "--user", "me",
        ];
        let Command::Token(token) = Cli::parse_from(arguments).command else {
            panic!("a token was asked for")
        };
        assert_eq!(token.run().unwrap_err().0.len(), 3, "no server would take it");
        let arguments = [
            "costage", "token", "--key", "other", "--dev", "--room", "demo", "--user", "bob",
        ];
        let Command::Token(token) = Cli::parse_from(arguments).command else {
            panic!("a token was asked for")
        };
        assert!(token.run().is_err());
    }
}
