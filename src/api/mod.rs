//! The HTTP interface: who calls, what they want, and answers as the contract has them. It decides who may read and
//! which token is good; who may change a room is decided by [`room`](crate::room), what becomes of media by
//! [`control`](crate::control). Errors become HTTP in `error`, once.
//!
//! Decided where the contract is silent:
//! - A service token for one room lists that room, and makes it when it names none.
//! - Reading a room, its seats and its stage takes any token of the room; a WHIP or WHEP resource belongs to its user, to
//!   services and to the room's host, and an anonymous viewer's to whoever knows its id.
//! - Query parameters nobody knows are refused on JSON calls, and let pass on WHIP and WHEP, where encoders and players
//!   add their own.
//! - JSON that can't be parsed is 400 `invalid_argument`, JSON that says something wrong 422 with the `field`.

mod auth;
mod cors;
mod dead_letters;
mod error;
mod events;
mod explain;
mod health;
mod idempotency;
mod members;
mod once;
mod openapi;
mod options;
mod origin;
mod page;
mod program;
mod request;
mod requests;
mod resource;
mod rooms;
mod seats;
mod tokens;
mod whep;
mod whip;

#[cfg(test)]
mod tests;

pub use auth::{Grant, RoleName, mint};
pub use health::health;
pub use options::{IceServer, Limits, Options, Readiness, State};
pub use origin::{NotASubnet, Subnet};

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{delete, get, options, patch, post, put};
use error::{Problem, Wire};

/// The HTTP interface. Serve it with `into_make_service_with_connect_info::<SocketAddr>()`.
pub fn router(state: State) -> Router {
    router_with(state, Router::new())
}

/// The same with further routes (pages) under the same rules: CORS on every path, problems for what isn't found.
/// `pages` must not have a fallback of its own.
pub fn router_with(state: State, pages: Router) -> Router {
    let readiness = state.options().readiness.clone();
    let api = json(state.clone()).merge(media()).with_state(state.clone());
    api.route("/openapi.json", get(openapi::serve))
        .merge(health(readiness))
        .merge(pages)
        .fallback(async || Problem::wire(Wire::NotFound, "there is nothing at this path"))
        .method_not_allowed_fallback(async || Problem::wire(Wire::MethodNotAllowed, "see Allow"))
        .layer(from_fn_with_state(state, cors::cors))
}

/// Calls that speak JSON; those that change something take an `Idempotency-Key`.
fn json(state: State) -> Router<State> {
    let room = get(rooms::read).patch(rooms::patch).delete(rooms::end);
    let seat = put(seats::put).delete(seats::delete).patch(seats::patch);
    let member = patch(members::set_role).delete(members::remove);
    let keyed = Router::new()
        .route("/v1/rooms", post(rooms::create).get(rooms::list))
        .route("/v1/rooms/{room}", room)
        .route("/v1/rooms/{room}/program", patch(program::patch))
        .route("/v1/rooms/{room}/layout", get(program::layout).put(program::put_layout))
        .route("/v1/rooms/{room}/explain", get(explain::explain))
        .route("/v1/rooms/{room}/seats", get(seats::read).put(seats::assign))
        .route("/v1/rooms/{room}/seats/{seat}", seat)
        .route("/v1/rooms/{room}/seats/me", delete(seats::leave))
        .route("/v1/rooms/{room}/seats/{seat}/move", post(seats::relocate))
        .route("/v1/rooms/{room}/seats/{seat}/ask", post(seats::ask))
        .route("/v1/rooms/{room}/members/{user}/seat", delete(seats::hang_up))
        .route("/v1/rooms/{room}/members", get(members::list))
        .route("/v1/rooms/{room}/members/{user}", member)
        .merge(asking())
        .route("/v1/webhooks/dead", get(dead_letters::list))
        .route("/v1/webhooks/dead/{id}", delete(dead_letters::discard))
        .route("/v1/webhooks/dead/{id}/retry", post(dead_letters::retry))
        .route_layer(from_fn_with_state(state, once::once));
    keyed
        .route("/v1/rooms/{room}/events", get(events::listen))
        .route("/v1/tokens", post(tokens::create))
        .route("/v1/whep/{id}/layers", patch(whep::layers))
}

/// Applications and invitations.
fn asking() -> Router<State> {
    let applications = post(requests::apply).get(requests::applications);
    let invitations = post(requests::invite).get(requests::invitations);
    let application = "/v1/rooms/{room}/applications/{user}";
    let invitation = "/v1/rooms/{room}/invitations/{user}";
    let own_invitation = "/v1/rooms/{room}/invitations/me";
    Router::new()
        .route("/v1/rooms/{room}/applications", applications)
        .route(application, delete(requests::cancel_application))
        .route(&format!("{application}/accept"), post(requests::accept_application))
        .route(&format!("{application}/reject"), post(requests::reject_application))
        .route("/v1/rooms/{room}/invitations", invitations)
        .route(invitation, delete(requests::cancel_invitation))
        .route(&format!("{own_invitation}/accept"), post(requests::accept_invitation))
        .route(&format!("{own_invitation}/reject"), post(requests::reject_invitation))
}

/// WHIP and WHEP.
fn media() -> Router<State> {
    let endpoint = || options(resource::endpoint_options);
    let publisher = patch(whip::patch).delete(whip::delete).options(resource::whip_options);
    let viewer = get(whep::slots)
        .patch(whep::patch)
        .delete(whep::delete)
        .options(resource::whep_options);
    Router::new()
        .route("/v1/rooms/{room}/whip", endpoint().post(whip::publish))
        .route("/v1/rooms/{room}/whep/program", endpoint().post(whep::program))
        .route("/v1/rooms/{room}/whep/stage", endpoint().post(whep::stage))
        .route("/v1/rooms/{room}/whep/seats/{seat}", endpoint().post(whep::seat))
        .route("/v1/whip/{id}", publisher)
        .route("/v1/whep/{id}", viewer)
}
