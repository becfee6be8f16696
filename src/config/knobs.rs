//! The list of all knobs.

use super::Config;
use super::types::{Addresses, LogFormat, Secret};
use crate::webhook;
use std::fmt::Display;
use std::str::FromStr;
use toml::Value;

/// What a knob takes; checked before [`Knob::write`] sees the value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    Flag,
    Integer {
        min: i64,
        max: i64,
    },
    Decimal {
        min: f64,
        max: f64,
    },
    Text,
    /// A TOML array of strings; comma-separated in the environment and in flags.
    List,
    /// A TOML table of strings; `id=value,…` in the environment, `section.key.id=value` in flags.
    Map,
}

/// One setting.
pub struct Knob {
    /// `section.key`
    pub key: &'static str,
    pub kind: Kind,
    /// Unit, meaning, and why the default is what it is: one sentence each, Markdown.
    pub doc: &'static str,
    /// Never printed.
    pub secret: bool,
    pub(super) read: fn(&Config) -> Value,
    pub(super) write: fn(&mut Config, &Value) -> Result<(), String>,
}

impl Knob {
    pub fn find(key: &str) -> Option<&'static Knob> {
        KNOBS.iter().find(|knob| knob.key == key)
    }
    /// `COSTAGE_SECTION_KEY`
    pub fn environment(&self) -> String {
        format!(
            "{}{}",
            super::ENVIRONMENT_PREFIX,
            self.key.replace('.', "_").to_ascii_uppercase()
        )
    }
}

/// Shortest secret that HS256 takes (RFC 7518 section 3.2: at least the hash's 256 bits).
pub const SHORTEST_SECRET_BYTES: usize = 32;

/// Every knob, by section, in the order they are printed.
pub const KNOBS: &[Knob] = &[
    Knob {
        key: "http.listen",
        kind: Kind::Text,
        doc: "`IP:PORT` of the API, WHIP, WHEP and the pages. Under `--dev` only this machine may connect.",
        secret: false,
        read: |c| text(c.http.listen),
        write: |c, v| parse(v).map(|listen| c.http.listen = listen),
    },
    Knob {
        key: "http.public_url",
        kind: Kind::Text,
        doc: "Base of every absolute URL the server hands out, e.g. `https://live.example.org`. Empty: taken from \
              `Forwarded`/`X-Forwarded-*` of trusted proxies, else from `Host`.",
        secret: false,
        read: |c| text(c.http.public_url.as_deref().unwrap_or_default()),
        write: |c, v| public_url(v).map(|url| c.http.public_url = url),
    },
    Knob {
        key: "http.trusted_proxies",
        kind: Kind::List,
        doc: "IP addresses or prefixes (`10.0.0.0/8`) whose `Forwarded` headers are believed. None by default: \
              anybody could send such a header.",
        secret: false,
        read: |c| list(&c.http.trusted_proxies),
        write: |c, v| parse_list(v).map(|proxies| c.http.trusted_proxies = proxies),
    },
    Knob {
        key: "http.cors_origins",
        kind: Kind::List,
        doc: "Origins whose pages may call the server, or `*`. Any by default: nothing here rests on cookies, a token is \
              always needed.",
        secret: false,
        read: |c| list(&c.http.cors_origins),
        write: |c, v| {
            parse_list(v)
                .and_then(origins)
                .map(|origins| c.http.cors_origins = origins)
        },
    },
    Knob {
        key: "admin.listen",
        kind: Kind::Text,
        doc: "`IP:PORT` of `/metrics`, `/healthz` and `/readyz`. Loopback by default: metrics name rooms' sizes and need \
              no token.",
        secret: false,
        read: |c| text(c.admin.listen),
        write: |c, v| parse(v).map(|listen| c.admin.listen = listen),
    },
    Knob {
        key: "media.workers",
        kind: Kind::Integer { min: 0, max: 256 },
        doc: "Media worker threads, each with one UDP port. 0: one per core, since a worker never waits for another.",
        secret: false,
        read: |c| number(c.media.workers),
        write: |c, v| integer(v).map(|workers| c.media.workers = workers),
    },
    Knob {
        key: "media.base_port",
        kind: Kind::Integer { min: 0, max: 65_535 },
        doc: "UDP (and ICE-TCP) port of the first worker; the others follow. 0: any free port for each, for tests. \
              50000: a number of its own that firewalls' rules can name, where no well-known service lives.",
        secret: false,
        read: |c| number(c.media.base_port),
        write: |c, v| integer(v).map(|port| c.media.base_port = port),
    },
    Knob {
        key: "media.addresses",
        kind: Kind::List,
        doc: "IP addresses the workers bind to, or `auto`: all of this machine but link-local ones, and loopback only \
              under `--dev` or where there is no other.",
        secret: false,
        read: |c| match &c.media.addresses {
            Addresses::Auto => text("auto"),
            Addresses::These(addresses) => list(addresses),
        },
        write: |c, v| addresses(v).map(|addresses| c.media.addresses = addresses),
    },
    Knob {
        key: "media.advertise",
        kind: Kind::List,
        doc: "Further ICE candidates for peers outside: `IP` (1:1 NAT, same ports) or `IP:BASE_PORT` (mapped ports).",
        secret: false,
        read: |c| list(&c.media.advertise),
        write: |c, v| parse_list(v).map(|advertise| c.media.advertise = advertise),
    },
    Knob {
        key: "media.own_candidates",
        kind: Kind::Flag,
        doc: "Whether the bound addresses are candidates too. On: peers in the same network reach them directly.",
        secret: false,
        read: |c| Value::Boolean(c.media.own_candidates),
        write: |c, v| flag(v).map(|on| c.media.own_candidates = on),
    },
    Knob {
        key: "media.tcp",
        kind: Kind::Flag,
        doc: "ICE-TCP on the same port numbers, for networks that block UDP.",
        secret: false,
        read: |c| Value::Boolean(c.media.tcp),
        write: |c, v| flag(v).map(|on| c.media.tcp = on),
    },
    Knob {
        key: "media.tick_us",
        kind: Kind::Integer { min: 0, max: 20_000 },
        doc: "Microseconds a packet may wait for others to the same viewer, so that they leave in one system call. \
              2500: the packets of a 1.5 Mbit/s sender that \
              paces at 2.5 times its rate come 2.35 ms apart and leave in pairs, which saves a fifth of the CPU time; \
              bursts and sparse packets do not wait.",
        secret: false,
        read: |c| number(c.media.tick_us),
        write: |c, v| integer(v).map(|tick| c.media.tick_us = tick),
    },
    Knob {
        key: "media.gso",
        kind: Kind::Flag,
        doc: "UDP segmentation offload, probed at start. Off only to rule it out in a search for a network fault.",
        secret: false,
        read: |c| Value::Boolean(c.media.gso),
        write: |c, v| flag(v).map(|on| c.media.gso = on),
    },
    Knob {
        key: "media.ice_servers",
        kind: Kind::List,
        doc: "STUN and TURN servers clients are told of, each `URL` or `URL USERNAME CREDENTIAL`. None: the server's \
              addresses are reachable, so clients need no help.",
        secret: false,
        read: |c| list(&c.media.ice_servers),
        write: |c, v| parse_list(v).map(|servers| c.media.ice_servers = servers),
    },
    Knob {
        key: "program.cores",
        kind: Kind::Decimal { min: 0.0, max: 1_024.0 },
        doc: "Processor cores that the mixing of programs may take, as estimated: ten 360p cameras into 720p are 0.7. What \
              would begin or enlarge a mix beyond it answers 503; a mix that becomes necessary by itself is made with less. \
              0: all there are; fewer leave room to forward to many viewers.",
        secret: false,
        read: |c| Value::Float(c.program.cores),
        write: |c, v| decimal(v).map(|cores| c.program.cores = cores),
    },
    Knob {
        key: "program.return_ms",
        kind: Kind::Integer { min: 0, max: 3_600_000 },
        doc: "Milliseconds without anything to compose until a program of mode `auto` is the host's own packets again, at \
              their next keyframe. Who left often comes back, and each change costs a start of the decoders.",
        secret: false,
        read: |c| number(c.program.return_ms),
        write: |c, v| integer(v).map(|ms| c.program.return_ms = ms),
    },
    Knob {
        key: "auth.keys",
        kind: Kind::Map,
        doc: "Key id → secret (32 bytes or more) that tokens are signed with (HS256). Required without `--dev`, which \
              has `devkey`. Several, so that keys can be rolled over.",
        secret: true,
        read: |c| {
            let masked = c.auth.keys.keys().map(|id| (id.clone(), text("***")));
            Value::Table(masked.collect())
        },
        write: |c, v| keys(v).map(|keys| c.auth.keys = keys),
    },
    Knob {
        key: "limits.rooms",
        kind: Kind::Integer { min: 1, max: 1_000_000 },
        doc: "Rooms at a time; above it creating one answers 503.",
        secret: false,
        read: |c| number(c.limits.rooms),
        write: |c, v| integer(v).map(|rooms| c.limits.rooms = rooms),
    },
    Knob {
        key: "limits.guests",
        kind: Kind::Integer { min: 0, max: 15 },
        doc: "Guest seats a room may have besides the host's. 9: ten people are what one screen shows.",
        secret: false,
        read: |c| number(c.limits.guests),
        write: |c, v| integer(v).map(|guests| c.limits.guests = guests),
    },
    Knob {
        key: "limits.peers",
        kind: Kind::Integer { min: 1, max: 1_000_000 },
        doc: "WebRTC peers (publishers and viewers) at a time; above it WHIP and WHEP answer 503. 10000 take about 1 GB.",
        secret: false,
        read: |c| number(c.limits.peers),
        write: |c, v| integer(v).map(|peers| c.limits.peers = peers),
    },
    Knob {
        key: "limits.sdp_bytes",
        kind: Kind::Integer {
            min: 4_096,
            max: 1_048_576,
        },
        doc: "Bytes of a session description; above it 413. Browsers send 4–10 KiB, ten slots about 40.",
        secret: false,
        read: |c| number(c.limits.sdp_bytes),
        write: |c, v| integer(v).map(|bytes| c.limits.sdp_bytes = bytes),
    },
    Knob {
        key: "limits.json_bytes",
        kind: Kind::Integer {
            min: 4_096,
            max: 16_777_216,
        },
        doc: "Bytes of a JSON body; above it 413.",
        secret: false,
        read: |c| number(c.limits.json_bytes),
        write: |c, v| integer(v).map(|bytes| c.limits.json_bytes = bytes),
    },
    Knob {
        key: "store.path",
        kind: Kind::Text,
        doc: "File that keeps rooms, unsent webhooks and remembered answers over a restart, in an existing directory; one \
              node only. Empty: memory, and everything ends with the process, as under `--dev` unless a file is named.",
        secret: false,
        read: |c| text(&c.store.path),
        write: |c, v| string(v).map(|path| c.store.path = path.to_owned()),
    },
    Knob {
        key: "webhooks.url",
        kind: Kind::Text,
        doc: "Where the events of all rooms are sent (Standard Webhooks). Empty: nowhere, but for rooms with a `webhook` of \
              their own.",
        secret: false,
        read: |c| text(c.webhooks.url.as_deref().unwrap_or_default()),
        write: |c, v| webhook_url(v).map(|url| c.webhooks.url = url),
    },
    Knob {
        key: "webhooks.secret",
        kind: Kind::Text,
        doc: "`whsec_` and 24 to 64 bytes in base64 (`echo whsec_$(openssl rand -base64 32)`): signs what goes to \
              `webhooks.url`, and to rooms' own receivers that name no secret.",
        secret: true,
        read: |c| text(if c.webhooks.secret.is_some() { "***" } else { "" }),
        write: |c, v| webhook_secret(v).map(|secret| c.webhooks.secret = secret),
    },
    Knob {
        key: "webhooks.events",
        kind: Kind::List,
        doc: "Names of the events `webhooks.url` gets, e.g. `seats.changed`. Empty: all but `speaking`, `quality` and \
              `audience`, which are never sent.",
        secret: false,
        read: |c| list(&c.webhooks.events),
        write: |c, v| parse_list(v).map(|events| c.webhooks.events = events),
    },
    Knob {
        key: "webhooks.allow",
        kind: Kind::List,
        doc: "Addresses or prefixes of private networks (`10.1.2.0/24`) that webhooks may go to. None by default, loopback \
              under `--dev`: whoever makes a room names its receiver, which must not open this network to them.",
        secret: false,
        read: |c| list(&c.webhooks.allow),
        write: |c, v| parse_list(v).map(|allow| c.webhooks.allow = allow),
    },
    Knob {
        key: "log.level",
        kind: Kind::Text,
        doc: "`error`, `warn`, `info`, `debug`, `trace`, or per module, e.g. `info,costage::worker=debug`.",
        secret: false,
        read: |c| text(&c.log.level),
        write: |c, v| log_level(string(v)?).map(|level| c.log.level = level),
    },
    Knob {
        key: "log.format",
        kind: Kind::Text,
        doc: "`text` for people, `json` (one object a line) for machines.",
        secret: false,
        read: |c| {
            text(match c.log.format {
                LogFormat::Text => "text",
                LogFormat::Json => "json",
            })
        },
        write: |c, v| log_format(v).map(|format| c.log.format = format),
    },
    Knob {
        key: "node.drain_ms",
        kind: Kind::Integer { min: 0, max: 3_600_000 },
        doc: "Milliseconds from SIGTERM to the end. Until 2 s before it no new rooms and peers are taken, while what runs \
              goes on; the rest is for goodbyes. Ends earlier when the last peer leaves. 10 s fit into the 30 s that \
              orchestrators allow.",
        secret: false,
        read: |c| number(c.node.drain_ms),
        write: |c, v| integer(v).map(|ms| c.node.drain_ms = ms),
    },
];

fn text(value: impl Display) -> Value {
    Value::String(value.to_string())
}

fn number(value: impl TryInto<i64>) -> Value {
    Value::Integer(value.try_into().unwrap_or(i64::MAX))
}

fn list<T: Display>(values: &[T]) -> Value {
    Value::Array(values.iter().map(text).collect())
}

fn flag(value: &Value) -> Result<bool, String> {
    value.as_bool().ok_or_else(|| "must be true or false".to_owned())
}

fn string(value: &Value) -> Result<&str, String> {
    value.as_str().ok_or_else(|| "must be a string".to_owned())
}

/// Levels for all and levels for modules. A misspelt level would pass for a module's name otherwise.
fn log_level(text: &str) -> Result<String, String> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    for directive in text.split(',').map(str::trim) {
        let level = directive.rsplit_once('=').map_or(directive, |(_, level)| level);
        if !LEVELS.iter().any(|known| known.eq_ignore_ascii_case(level)) {
            let levels = LEVELS.join(", ");
            return Err(format!("`{directive}` is neither a level ({levels}) nor MODULE=LEVEL"));
        }
    }
    Ok(text.to_owned())
}

fn integer<T: TryFrom<i64>>(value: &Value) -> Result<T, String> {
    value
        .as_integer()
        .and_then(|n| T::try_from(n).ok())
        .ok_or_else(|| "must be a whole number".to_owned())
}

fn decimal(value: &Value) -> Result<f64, String> {
    value.as_float().ok_or_else(|| "must be a number".to_owned())
}

fn parse<T: FromStr<Err: Display>>(value: &Value) -> Result<T, String> {
    let given = string(value)?;
    given.parse().map_err(|error| format!("`{given}`: {error}"))
}

fn strings(value: &Value) -> impl Iterator<Item = &str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str)
}

fn parse_list<T: FromStr<Err: Display>>(value: &Value) -> Result<Vec<T>, String> {
    strings(value)
        .map(|one| one.parse().map_err(|error: T::Err| format!("`{one}`: {error}")))
        .collect()
}

fn addresses(value: &Value) -> Result<Addresses, String> {
    match strings(value).collect::<Vec<_>>()[..] {
        ["auto"] => Ok(Addresses::Auto),
        [] => Err("no address: say `auto` for all of this machine".to_owned()),
        _ => parse_list(value).map(Addresses::These),
    }
}

fn public_url(value: &Value) -> Result<Option<String>, String> {
    let url = string(value)?.trim_end_matches('/');
    let host = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    match host {
        _ if url.is_empty() => Ok(None),
        Some(host) if !host.is_empty() && !host.contains(['?', '#', ' ']) => Ok(Some(url.to_owned())),
        _ => Err(format!("`{url}` is no http:// or https:// URL without query")),
    }
}

fn origins(origins: Vec<String>) -> Result<Vec<String>, String> {
    let wrong = origins.iter().find(|origin| {
        let host = origin
            .strip_prefix("https://")
            .or_else(|| origin.strip_prefix("http://"));
        *origin != "*" && host.is_none_or(|host| host.is_empty() || host.contains('/'))
    });
    match wrong {
        Some(origin) => Err(format!(
            "`{origin}` is neither `*` nor an origin such as https://example.org"
        )),
        None => Ok(origins),
    }
}

fn keys(value: &Value) -> Result<std::collections::BTreeMap<String, Secret>, String> {
    let table = value.as_table().into_iter().flatten();
    table
        .map(|(id, secret)| {
            let well_formed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
            if id.is_empty() || id.len() > 64 || !id.chars().all(well_formed) {
                return Err(format!("`{id}` is no key id: 1 to 64 of A-Z a-z 0-9 _ -"));
            }
            let secret = string(secret)?;
            if secret.len() < SHORTEST_SECRET_BYTES {
                return Err(format!(
                    "the secret of `{id}` has {} bytes; HS256 needs at least {SHORTEST_SECRET_BYTES}",
                    secret.len()
                ));
            }
            Ok((id.clone(), Secret::new(secret)))
        })
        .collect()
}

fn webhook_url(value: &Value) -> Result<Option<String>, String> {
    let url = string(value)?;
    if url.is_empty() {
        return Ok(None);
    }
    webhook::check_url(url).map(|()| Some(url.to_owned()))
}

fn webhook_secret(value: &Value) -> Result<Option<Secret>, String> {
    let secret = string(value)?;
    if secret.is_empty() {
        return Ok(None);
    }
    webhook::check_secret(secret).map(|()| Some(Secret::new(secret)))
}

fn log_format(value: &Value) -> Result<LogFormat, String> {
    match string(value)? {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        other => Err(format!("`{other}` is neither `text` nor `json`")),
    }
}
