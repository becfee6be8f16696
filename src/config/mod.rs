//! Every knob of a node, typed. Pure: files, environment and flags come in as text, a [`Config`] or every [`Problem`]
//! found comes out. [`KNOBS`] is the only list of them: reading, `config print` and the README's table follow it.
//!
//! Layers, each over the one before: defaults ← `--dev` ← TOML file ← `COSTAGE_SECTION_KEY` ← `--set section.key=value`.

mod knobs;
mod layer;
mod print;
mod types;

#[cfg(test)]
mod tests;

pub use knobs::{KNOBS, Kind, Knob, SHORTEST_SECRET_BYTES};
pub use layer::{ENVIRONMENT_PREFIX, Entry, Origin, Problem, environment_entries, flag_entry, toml_entries};
pub use print::{reference_table, to_toml};
pub use types::{Addresses, Advertised, IceServer, LogFormat, Secret};

use crate::api::Subnet;
use crate::webhook;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Key id and secret that `--dev` accepts: public, so never outside a developer's machine.
pub const DEV_KEY: (&str, &str) = ("devkey", "devsecret-devsecret-devsecret-00");

/// The settings of one node. What each means, its unit and why its default: [`KNOBS`].
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `--dev`: a loopback listener hands tokens to anybody, new rooms have a public program, and loopback is an ICE
    /// candidate.
    pub dev: bool,
    pub http: Http,
    pub admin: Admin,
    pub media: Media,
    pub program: Program,
    pub auth: Auth,
    pub limits: Limits,
    pub store: Store,
    pub webhooks: Webhooks,
    pub log: Log,
    pub node: Node,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Http {
    pub listen: SocketAddr,
    /// Without a trailing slash.
    pub public_url: Option<String>,
    pub trusted_proxies: Vec<Subnet>,
    /// `*` alone: any.
    pub cors_origins: Vec<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Admin {
    pub listen: SocketAddr,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Media {
    /// 0: one per core.
    pub workers: usize,
    pub base_port: u16,
    pub addresses: Addresses,
    pub advertise: Vec<Advertised>,
    pub own_candidates: bool,
    pub tcp: bool,
    pub tick_us: u32,
    pub gso: bool,
    pub ice_servers: Vec<IceServer>,
}

/// The rooms' programs.
#[derive(Clone, Debug, PartialEq)]
pub struct Program {
    /// 0: all there are.
    pub cores: f64,
    pub return_ms: u32,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Auth {
    /// Key id → HS256 secret.
    pub keys: BTreeMap<String, Secret>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    pub rooms: usize,
    pub guests: u8,
    pub peers: usize,
    pub sdp_bytes: usize,
    pub json_bytes: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Store {
    /// Empty: memory only.
    pub path: String,
}

/// Where the events of all rooms go, and where those of rooms may.
#[derive(Clone, Debug, PartialEq)]
pub struct Webhooks {
    pub url: Option<String>,
    pub secret: Option<Secret>,
    /// Empty: all.
    pub events: Vec<String>,
    pub allow: Vec<Subnet>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Log {
    pub level: String,
    pub format: LogFormat,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    pub drain_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            dev: false,
            http: Http {
                listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 8080)),
                public_url: None,
                trusted_proxies: Vec::new(),
                cors_origins: vec!["*".to_owned()],
            },
            admin: Admin {
                listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 9464)),
            },
            media: Media {
                workers: 0,
                base_port: 50_000,
                addresses: Addresses::Auto,
                advertise: Vec::new(),
                own_candidates: true,
                tcp: true,
                tick_us: 2_500,
                gso: true,
                ice_servers: Vec::new(),
            },
            program: Program {
                cores: 0.0,
                return_ms: 10_000,
            },
            auth: Auth { keys: BTreeMap::new() },
            limits: Limits {
                rooms: 1_000,
                guests: 9,
                peers: 10_000,
                sdp_bytes: 64 * 1024,
                json_bytes: 256 * 1024,
            },
            store: Store {
                path: "costage.redb".to_owned(),
            },
            webhooks: Webhooks {
                url: None,
                secret: None,
                events: Vec::new(),
                allow: Vec::new(),
            },
            log: Log {
                level: "info".to_owned(),
                format: LogFormat::Text,
            },
            node: Node { drain_ms: 10_000 },
        }
    }
}

impl Config {
    /// The defaults under `--dev`.
    pub fn dev() -> Self {
        let mut config = Self {
            dev: true,
            ..Self::default()
        };
        config.http.listen.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let (id, secret) = DEV_KEY;
        config.auth.keys.insert(id.to_owned(), Secret::new(secret));
        config.store.path = String::new();
        // A receiver under development runs on the same machine.
        config.webhooks.allow = webhook::loopback();
        config
    }

    /// Apply the entries in order over the defaults. Every problem is told, not only the first.
    pub fn from_entries(dev: bool, entries: &[Entry]) -> Result<Self, Vec<Problem>> {
        let mut config = if dev { Self::dev() } else { Self::default() };
        let problems: Vec<Problem> = entries
            .iter()
            .filter_map(|entry| entry.apply(&mut config).err())
            .collect();
        if problems.is_empty() { Ok(config) } else { Err(problems) }
    }

    /// What no single knob can see, and a node can't be started with.
    pub fn check(&self) -> Result<(), Vec<Problem>> {
        let mut found = Vec::new();
        if !self.dev && self.auth.keys.is_empty() {
            found.push(Problem::Contradiction(
                "no authentication key is configured, so nobody could use this server: set auth.keys \
                 (e.g. COSTAGE_AUTH_KEYS=main=<secret of 32 characters or more>), or try it out with --dev"
                    .to_owned(),
            ));
        }
        if !self.media.own_candidates && self.media.advertise.is_empty() {
            found.push(Problem::Contradiction(
                "media.own_candidates is false and media.advertise is empty: no peer could reach the media ports"
                    .to_owned(),
            ));
        }
        if self.webhooks.url.is_some() && self.webhooks.secret.is_none() {
            found.push(Problem::Contradiction(
                "webhooks.url is set and webhooks.secret is not: receivers could not tell our messages from others"
                    .to_owned(),
            ));
        }
        if usize::from(self.media.base_port) + self.media.workers.max(1) - 1 > usize::from(u16::MAX) {
            found.push(Problem::Contradiction(format!(
                "media.base_port {} leaves no room for {} workers below port 65536",
                self.media.base_port, self.media.workers
            )));
        }
        if found.is_empty() { Ok(()) } else { Err(found) }
    }
}
