//! A node from its configuration: the one place that knows how the parts are put together. Shell.

use crate::config::{Addresses, Config};
use crate::control::{self, Node, Stats};
use crate::program::Cores;
use crate::store::{self, Loaded, Store};
use crate::telemetry::{self, Exporter, InvalidLevel, WebhookMetrics};
use crate::transport::dtls;
use crate::{api, demo, web, webhook, worker};
use axum::Router;
use axum::serve::ListenerExt;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};
use tracing::{debug, info, warn};

/// Room of the demo, and who hosts it.
const DEMO_ROOM: (&str, &str) = ("demo", "demo-host");

/// Guest seats of a room that names no number (SEATS.md), where the limit allows so many.
const USUAL_GUESTS: u8 = 9;

/// How often a draining node looks whether anybody is left. Nobody waits for less.
const DRAIN_LOOK: Duration = Duration::from_millis(100);

/// Why a node does not start.
#[derive(Debug)]
pub enum StartError {
    Log(InvalidLevel),
    Certificate(openssl::error::ErrorStack),
    /// The machine's addresses can't be listed.
    Addresses(io::Error),
    /// A media port is taken, or its address is none of this machine's.
    Media(io::Error),
    /// The file is damaged, in use, or can't be written.
    Store(store::Error),
    Webhooks(String),
    /// The HTTP or admin listener.
    Listen {
        knob: &'static str,
        address: SocketAddr,
        error: io::Error,
    },
}

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Log(error) => error.fmt(f),
            Self::Certificate(error) => write!(f, "creating the DTLS certificate: {error}"),
            Self::Addresses(error) => write!(f, "listing this machine's addresses: {error}"),
            Self::Media(error) => write!(f, "opening the media ports (media.base_port, media.addresses): {error}"),
            Self::Store(error) => write!(f, "opening the store (store.path): {error}"),
            Self::Webhooks(why) => f.write_str(why),
            Self::Listen { knob, address, error } => write!(f, "{knob} {address}: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

/// A running node.
pub struct Server {
    http: SocketAddr,
    admin: SocketAddr,
    node: Node,
    readiness: api::Readiness,
    stopping: watch::Sender<bool>,
    listeners: JoinSet<()>,
    /// Dropping it ends the demo source.
    demo: JoinSet<()>,
}

impl Server {
    /// What is kept of the time to drain for ending in good order: a second for HTTP calls, which take milliseconds, and
    /// one for telling the peers.
    pub const STOPPING: Duration = Duration::from_secs(2);

    /// Start everything; returns once the listeners accept.
    pub async fn start(config: &Config) -> Result<Self, StartError> {
        let Kept {
            store,
            loaded,
            answers,
            webhooks,
            metrics,
        } = kept(config)?;
        let dtls = Arc::new(dtls::Context::new().map_err(StartError::Certificate)?);
        let (workers, events) = worker::spawn(workers(config)?, dtls.clone()).map_err(StartError::Media)?;
        let exporter = Exporter::new(workers.iter().map(|worker| worker.metrics().clone()).collect());
        let exporter = exporter.with_webhooks(&metrics);
        let http = listen("http.listen", config.http.listen).await?;
        let admin = listen("admin.listen", config.admin.listen).await?;
        let (http_address, admin_address) = (address(&http, config.http.listen), address(&admin, config.admin.listen));
        let lasting = control::Lasting {
            store: store.clone(),
            loaded,
            webhooks: webhooks.clone(),
            base_url: base_url(config, http_address),
        };
        // Stored rooms are back before the first call is taken.
        let node = Node::new(workers, events, dtls, limits(config), lasting);
        let readiness = api::Readiness::default();
        let options = options(config, http_address, readiness.clone());
        let state = api::State::persistent(node.clone(), options, store, answers, webhooks);
        let counted = node.clone();
        let exporter = exporter.with_programs(node.programs());

        let (stopping, stop) = watch::channel(false);
        let mut listeners = JoinSet::new();
        listeners.spawn(accept(http, api::router_with(state, web::router()), stop.clone()));
        let admin_routes =
            telemetry::metrics(exporter, move || counted.stats().rooms).merge(api::health(readiness.clone()));
        listeners.spawn(accept(admin, admin_routes, stop));
        info!(http = %http_address, admin = %admin_address, dev = config.dev, "listening");
        Ok(Self {
            http: http_address,
            admin: admin_address,
            node,
            readiness,
            stopping,
            listeners,
            demo: JoinSet::new(),
        })
    }

    /// The HTTP listener's address; with the port that was found where the configuration said 0.
    pub fn http(&self) -> SocketAddr {
        self.http
    }
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }
    pub fn node(&self) -> &Node {
        &self.node
    }
    /// The HTTP listener's URL as seen from this machine.
    pub fn local_url(&self) -> String {
        local_url(self.http)
    }

    /// Put the demo room on air; returns its id. Nothing happens where no key can sign its tokens.
    pub fn play_demo(&mut self, config: &Config) -> &'static str {
        let (room, host) = DEMO_ROOM;
        if let Some((id, secret)) = config.auth.keys.first_key_value() {
            self.demo.spawn(demo::run(demo::Options {
                url: self.local_url(),
                room: room.to_owned(),
                host: host.to_owned(),
                key: (id.clone(), secret.expose().to_owned()),
            }));
        }
        room
    }

    /// Take no new rooms and peers, and say so at `/readyz` and to whoever asks; what runs goes on. Returns when the last
    /// peer has left, at the latest after `deadline`.
    pub async fn drain(&mut self, deadline: Duration) {
        self.readiness.drain();
        self.node.drain();
        self.demo.abort_all();
        let left = async {
            let mut look = interval(DRAIN_LOOK);
            loop {
                look.tick().await;
                let Stats {
                    publishers, viewers, ..
                } = self.node.stats();
                if publishers + viewers == 0 {
                    return;
                }
            }
        };
        let Stats {
            publishers, viewers, ..
        } = self.node.stats();
        info!(publishers, viewers, ?deadline, "draining");
        if timeout(deadline, left).await.is_err() {
            let Stats {
                publishers, viewers, ..
            } = self.node.stats();
            warn!(publishers, viewers, "peers still here are sent away");
        }
    }

    /// End: close the event streams, let running HTTP calls finish, tell the peers goodbye. Takes
    /// [`STOPPING`](Self::STOPPING) at most.
    pub async fn stop(mut self) {
        self.readiness.drain();
        self.node.drain();
        self.demo.abort_all();
        self.node.close_streams();
        self.stopping.send_replace(true);
        let goodbye = async { while self.listeners.join_next().await.is_some() {} };
        // Half of the time for calls, so that peers are told in any case.
        if timeout(Self::STOPPING / 2, goodbye).await.is_err() {
            warn!("calls still running are cut off");
            self.listeners.abort_all();
        }
        if timeout(Self::STOPPING / 2, self.node.stop()).await.is_err() {
            warn!("media workers did not end in time");
        }
    }
}

/// The store, what was in it, and who is told of what goes there.
struct Kept {
    store: Store,
    loaded: Loaded,
    answers: Vec<(String, Vec<u8>)>,
    webhooks: webhook::Sender,
    metrics: WebhookMetrics,
}

fn kept(config: &Config) -> Result<Kept, StartError> {
    let (store, mut loaded) = Store::open_configured(&config.store.path).map_err(StartError::Store)?;
    let answers = std::mem::take(&mut loaded.answers);
    let queues = std::mem::take(&mut loaded.queues);
    let settings = &config.webhooks;
    let options = webhook::Options {
        url: settings.url.clone(),
        secret: settings.secret.as_ref().map(|secret| secret.expose().to_owned()),
        events: settings.events.clone(),
        allow: settings.allow.clone(),
    };
    let metrics = WebhookMetrics::default();
    let started = webhook::Sender::start(options, store.clone(), queues, metrics.clone());
    let webhooks = started.map_err(StartError::Webhooks)?;
    Ok(Kept {
        store,
        loaded,
        answers,
        webhooks,
        metrics,
    })
}

/// Of the URLs in webhooks, which no request's host says.
fn base_url(config: &Config, http: SocketAddr) -> String {
    let configured = config.http.public_url.clone();
    configured.unwrap_or_else(|| local_url(http))
}

fn local_url(http: SocketAddr) -> String {
    format!("http://{}", reachable(http))
}

async fn listen(knob: &'static str, address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address)
        .await
        .map_err(|error| StartError::Listen { knob, address, error })
}

fn address(listener: &TcpListener, configured: SocketAddr) -> SocketAddr {
    listener.local_addr().unwrap_or(configured)
}

/// Serve until `stop` says so, then let running calls end.
async fn accept(listener: TcpListener, routes: Router, mut stop: watch::Receiver<bool>) {
    let stopped = async move {
        // An error means that the server itself is gone.
        let _ = stop.wait_for(|stop| *stop).await;
    };
    let service = routes.into_make_service_with_connect_info::<SocketAddr>();
    let listener = listener.tap_io(watch_over);
    if let Err(error) = axum::serve(listener, service).with_graceful_shutdown(stopped).await {
        warn!(%error, "listener ended");
    }
}

/// A peer that takes nothing for this long is gone; the reader of an event stream has no other way to show it.
const UNANSWERED_MAX: Duration = Duration::from_secs(10);

fn watch_over(connection: &mut TcpStream) {
    let unanswered = socket2::SockRef::from(&*connection).set_tcp_user_timeout(Some(UNANSWERED_MAX));
    // Small messages go at once, not when the one before is acknowledged.
    if let Err(error) = unanswered.and_then(|()| connection.set_nodelay(true)) {
        debug!(%error, "a connection without its options");
    }
}

/// An unspecified address is reached by loopback.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
}

fn limits(config: &Config) -> control::Limits {
    control::Limits {
        rooms: config.limits.rooms,
        guests: config.limits.guests,
        peers: config.limits.peers,
        mixing: Cores::new(cores(config.program.cores)),
        return_after: Duration::from_millis(config.program.return_ms.into()),
    }
}

/// 0: all that this process may use.
fn cores(configured: f64) -> f64 {
    if configured > 0.0 {
        return configured;
    }
    let all = std::thread::available_parallelism().map_or(1, usize::from);
    u32::try_from(all).map_or(f64::MAX, f64::from)
}

fn options(config: &Config, http: SocketAddr, readiness: api::Readiness) -> api::Options {
    let any = config.http.cors_origins.iter().any(|origin| origin == "*");
    let keys = config.auth.keys.iter();
    let ice_server = |server: &crate::config::IceServer| api::IceServer {
        url: server.url.clone(),
        login: server
            .login
            .as_ref()
            .map(|(user, credential)| (user.clone(), credential.expose().to_owned())),
    };
    api::Options {
        keys: keys
            .map(|(id, secret)| (id.clone(), secret.expose().to_owned()))
            .collect(),
        dev: config.dev,
        loopback: http.ip().is_loopback(),
        public_url: config.http.public_url.clone(),
        trusted_proxies: config.http.trusted_proxies.clone(),
        cors_origins: if any {
            Vec::new()
        } else {
            config.http.cors_origins.clone()
        },
        ice_servers: config.media.ice_servers.iter().map(ice_server).collect(),
        limits: api::Limits {
            json_bytes: config.limits.json_bytes,
            sdp_bytes: config.limits.sdp_bytes,
            ..api::Limits::default()
        },
        default_guests: config.limits.guests.min(USUAL_GUESTS),
        readiness,
    }
}

fn workers(config: &Config) -> Result<worker::Config, StartError> {
    let media = &config.media;
    let addresses = match &media.addresses {
        Addresses::These(addresses) => addresses.clone(),
        Addresses::Auto => {
            let own = if_addrs::get_if_addrs().map_err(StartError::Addresses)?;
            let up = own.iter().filter(|interface| interface.is_oper_up());
            choose_addresses(up.map(|interface| interface.ip()), config.dev)
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Ok(worker::Config {
        workers: if media.workers == 0 { cores } else { media.workers },
        addresses,
        base_port: media.base_port,
        advertise: media.advertise.iter().map(|one| (one.address, one.base_port)).collect(),
        own_candidates: media.own_candidates,
        tcp: media.tcp,
        tick: Duration::from_micros(media.tick_us.into()),
        gso: media.gso,
    })
}

/// What `media.addresses = "auto"` means: no link-local address, and loopback only with `loopback` or for want of others.
/// Each once, in the system's order, loopback last.
fn choose_addresses(own: impl Iterator<Item = IpAddr>, loopback: bool) -> Vec<IpAddr> {
    let link_local = |address: &IpAddr| match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    let mut chosen: Vec<IpAddr> = Vec::new();
    let mut last: Vec<IpAddr> = Vec::new();
    for address in own.filter(|address| !link_local(address) && !address.is_unspecified()) {
        let list = if address.is_loopback() { &mut last } else { &mut chosen };
        if !list.contains(&address) {
            list.push(address);
        }
    }
    if loopback || chosen.is_empty() {
        chosen.append(&mut last);
    }
    if chosen.is_empty() {
        chosen.push(Ipv4Addr::LOCALHOST.into());
    }
    chosen
}

/// Takes as many open files as the system grants this process: every connection is one, and the usual soft limit of 1024
/// is for programs that call `select`. That it can't is no reason not to start.
pub fn raise_open_files() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(soft, hard)| {
        if soft < hard {
            setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
        }
        Ok((soft, hard))
    });
    match raised {
        Ok((before, limit)) => info!(limit, before, "open files"),
        Err(error) => warn!(%error, "the limit of open files stays as it is"),
    }
}

/// What ends a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Termination {
    /// SIGTERM: drain first.
    Orderly,
    /// SIGINT (Ctrl-C): somebody waits at the terminal.
    Prompt,
}

/// Resolves at the first of these signals from now on.
pub fn termination() -> io::Result<impl Future<Output = Termination>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => Termination::Orderly,
            _ = interrupt.recv() => Termination::Prompt,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(own: &[&str], loopback: bool) -> Vec<String> {
        let own = own.iter().map(|address| address.parse().unwrap());
        choose_addresses(own, loopback).iter().map(IpAddr::to_string).collect()
    }

    #[test]
    fn addresses_that_peers_may_reach() {
        let own = [
            "127.0.0.1",
            "::1",
            "10.0.0.5",
            "fe80::1",
            "169.254.3.4",
            "fd00::5",
            "10.0.0.5",
        ];
        assert_eq!(chosen(&own, false), ["10.0.0.5", "fd00::5"]);
        assert_eq!(chosen(&own, true), ["10.0.0.5", "fd00::5", "127.0.0.1", "::1"]);
        assert_eq!(chosen(&["127.0.0.1", "fe80::1"], false), ["127.0.0.1"]);
        assert_eq!(chosen(&[], false), ["127.0.0.1"]);
    }

    #[test]
    fn unspecified_listeners_are_reached_by_loopback() {
        assert_eq!(reachable("0.0.0.0:80".parse().unwrap()).to_string(), "127.0.0.1:80");
        assert_eq!(reachable("[::]:80".parse().unwrap()).to_string(), "[::1]:80");
        assert_eq!(reachable("10.0.0.1:80".parse().unwrap()).to_string(), "10.0.0.1:80");
    }
}
