//! Publish (WHIP, RFC 9725): the seat is the permission.

use super::State;
use super::error::Problem;
use super::openapi::{FragmentAnswers, OfferAnswers, ResourceErrors};
use super::request::{BaseUrl, InRoom, Last, Query, Visitor};
use super::resource::{self, Door};
use axum::extract::{Request, State as Extract};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Deserialize;
use utoipa::IntoParams;

/// Unknown parameters are let pass: encoders put their own there.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Publish {
    /// `camera` (when absent) or `screen`.
    source: Option<String>,
    /// With a service token: who publishes.
    user: Option<String>,
}

/// Publish to one's seat. A repeat replaces the transport of the same source.
#[utoipa::path(post, path = "/v1/rooms/{room}/whip", tag = "whip", operation_id = "publish", params(("room" = String, Path), Publish),
    request_body(content = String, content_type = "application/sdp", description = "The offer, at most 64 KiB unless the server is configured otherwise"),
    responses(OfferAnswers))]
pub(super) async fn publish(
    Extract(state): Extract<State>,
    at: InRoom,
    BaseUrl(base): BaseUrl,
    Query(query): Query<Publish>,
    request: Request,
) -> Result<Response, Problem> {
    let kind = resource::source_kind(query.source.as_deref())?;
    let user = resource::on_behalf_of(&at.caller, query.user.as_deref())?;
    let offer = resource::offer(request, &state).await?;
    let session = state.node.publish(&at.room, &user, kind, offer).await?;
    resource::created(session, Door::Whip, &base, &state.options().ice_servers)
}

/// Trickle candidates, or restart ICE.
#[utoipa::path(patch, path = "/v1/whip/{id}", tag = "whip", operation_id = "patch_publisher",
    params(("id" = String, Path), ("If-Match" = String, Header, description = "The entity tag, or `*`")),
    request_body(content = String, content_type = "application/trickle-ice-sdpfrag"),
    responses(FragmentAnswers))]
pub(super) async fn patch(
    Extract(state): Extract<State>,
    visitor: Visitor,
    Last(id): Last,
    request: Request,
) -> Result<Response, Problem> {
    resource::patch(&state, visitor, &id, Door::Whip, request).await
}

/// Stop publishing.
#[utoipa::path(delete, path = "/v1/whip/{id}", tag = "whip", operation_id = "stop_publishing",
    params(("id" = String, Path), ("If-Match" = Option<String>, Header)),
    responses((status = 200, description = "Ended"), ResourceErrors))]
pub(super) async fn delete(
    Extract(state): Extract<State>,
    visitor: Visitor,
    Last(id): Last,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    resource::delete(&state, visitor, &id, Door::Whip, &headers).await
}
