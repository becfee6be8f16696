//! What the HTTP interface is told by the configuration, and the state its handlers share.

use super::auth::Keys;
use super::once;
use super::origin::Subnet;
use crate::control;
use crate::store::Store;
use crate::webhook::Sender;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Settings of the HTTP interface; the shell fills them from the configuration.
#[derive(Clone, Debug)]
pub struct Options {
    /// Key id (`iss`) → HS256 secret. Tokens of any of them are taken; the first in order signs those of
    /// `POST /v1/tokens` that need no token themselves.
    pub keys: BTreeMap<String, String>,
    /// `--dev`: rooms have a public program unless they say otherwise, and see [`loopback`](Self::loopback).
    pub dev: bool,
    /// The HTTP listener is bound to a loopback address. Together with `dev`, `POST /v1/tokens` then needs no token.
    pub loopback: bool,
    /// Base of every absolute URL, as `https://live.example.org` or with a path. `None`: from the request.
    pub public_url: Option<String>,
    /// Whose `Forwarded` and `X-Forwarded-*` headers are believed when `public_url` is not set. The server must be run
    /// with `into_make_service_with_connect_info::<SocketAddr>()` for it: without a peer address nobody is trusted.
    pub trusted_proxies: Vec<Subnet>,
    /// Web origins (`https://app.example.org`) that may call; empty: any.
    pub cors_origins: Vec<String>,
    /// Named in `Link` headers of WHIP and WHEP answers. None are needed to reach this server.
    pub ice_servers: Vec<IceServer>,
    pub limits: Limits,
    /// `max_guests` of a room that names none.
    pub default_guests: u8,
    /// Told when the node drains, so that `/readyz` says so.
    pub readiness: Readiness,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            keys: BTreeMap::new(),
            dev: false,
            loopback: false,
            public_url: None,
            trusted_proxies: Vec::new(),
            cors_origins: Vec::new(),
            ice_servers: Vec::new(),
            limits: Limits::default(),
            default_guests: 9,
            readiness: Readiness::default(),
        }
    }
}

/// Bounds of what one request may cost.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// A JSON body in bytes; a longer one is answered 413.
    pub json_bytes: usize,
    /// An SDP or ICE fragment body in bytes; a longer one is answered 413. Offers of ten simulcast tracks stay under 32 KiB.
    pub sdp_bytes: usize,
    /// From a request's head to the end of its body; a slower one is answered 408.
    pub body_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            json_bytes: 256 * 1024,
            sdp_bytes: 64 * 1024,
            // A phone on a bad link sends 64 KiB in a few seconds; whoever needs longer holds a connection for nothing.
            body_timeout: Duration::from_secs(15),
        }
    }
}

/// A STUN or TURN server for the client's own use (RFC 9725 section 4.6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IceServer {
    /// `stun:…`, `turn:…` or `turns:…` (RFC 7064, RFC 7065).
    pub url: String,
    /// Username and credential, for TURN.
    pub login: Option<(String, String)>,
}

/// Whether the node takes new work: shared by `/readyz` on both listeners and the shell that drains.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<AtomicBool>);

impl Readiness {
    /// `/readyz` answers 503 from now on.
    pub fn drain(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
    pub fn draining(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// What every handler sees. Cheap to clone.
#[derive(Clone)]
pub struct State {
    pub(super) node: control::Node,
    pub(super) shared: Arc<Shared>,
}

pub(super) struct Shared {
    pub options: Options,
    pub keys: Keys,
    pub idempotency: once::Calls,
    pub webhooks: Sender,
    /// `None`: nothing is kept, and nothing was given up.
    pub store: Option<Store>,
}

impl State {
    /// Without a store and webhooks.
    pub fn new(node: control::Node, options: Options) -> Self {
        Self::with(node, options, once::Calls::default(), Sender::none(), None)
    }

    /// `answers`: what the store remembered of calls with an `Idempotency-Key`.
    pub fn persistent(
        node: control::Node,
        options: Options,
        store: Store,
        answers: Vec<(String, Vec<u8>)>,
        webhooks: Sender,
    ) -> Self {
        let calls = once::Calls::persistent(store.clone(), answers);
        Self::with(node, options, calls, webhooks, Some(store))
    }

    fn with(
        node: control::Node,
        options: Options,
        idempotency: once::Calls,
        webhooks: Sender,
        store: Option<Store>,
    ) -> Self {
        let keys = Keys::new(&options.keys);
        State {
            node,
            shared: Arc::new(Shared {
                options,
                keys,
                idempotency,
                webhooks,
                store,
            }),
        }
    }
    pub(super) fn options(&self) -> &Options {
        &self.shared.options
    }
}
