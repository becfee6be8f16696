mod auth;
mod error;
mod health;
mod idempotency;
mod options;
mod origin;

pub use auth::{Grant, RoleName, mint};
pub use health::health;
pub use options::{IceServer, Limits, Options, Readiness, State};
pub use origin::{NotASubnet, Subnet};

use axum::Router;

/// The HTTP interface. Serve it with `into_make_service_with_connect_info::<SocketAddr>()`.
pub fn router(state: State) -> Router {
    router_with(state, Router::new())
}

/// The same with further routes (pages) under the same rules: CORS on every path, problems for what isn't found.
/// `pages` must not have a fallback of its own.
pub fn router_with(state: State, pages: Router) -> Router {
    health(state.options().readiness.clone()).merge(pages)
}
