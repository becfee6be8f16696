//! Applications and invitations: ask, list, withdraw, answer.
//!
//! Decided where the contract is silent:
//! - Asking for what stands already is answered 200 with `deduplicated: true`, everything else 201, also when it led to a
//!   seat at once (`granted`).
//! - A service token names the user it applies for; everybody else applies for themselves.
//! - Bodies of answers may be left out: all they can say is optional.
//! - `-1` as the seat of an acceptance means the seat applied for, as if it were absent.
//! - One's own pending requests are in the room one reads; the lists are for hosts, admins and service tokens.

use super::State;
use super::error::{Problem, Wire};
use super::openapi::{JsonErrors, ReadErrors};
use super::page::Page;
use super::request::{BaseUrl, InRoom, Json, JsonOrNothing, Last, Query};
use super::rooms::named_by_token;
use crate::control::Commanded;
use crate::room::{Code, Command, Moment, Outcome, Refusal, Request, RequestId, RequestKind, RequestMedia, Snapshot};
use crate::wire::{
    Answered, Applications, Asked, Invitations, PersonIn, RequestMediaName, RequestOut, reason, wish, wished_seat,
};
use axum::extract::State as Extract;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Apply {
    /// The number of a seat; -1 when absent: any.
    #[schema(minimum = -1, maximum = 15)]
    seat: Option<i64>,
    /// What the guest means to publish; `av` when absent.
    #[schema(value_type = Option<RequestMediaName>)]
    media: Option<RequestMedia>,
    /// How long it waits for an answer: 5 s to 30 min, the room's `application_ms` when absent; 0: the longest there is.
    #[schema(minimum = 0, maximum = 1_800_000)]
    timeout_ms: Option<u64>,
    /// Shown to the hosts; at most 1 KiB as compact JSON.
    #[serde(default)]
    extra: Value,
    /// With a service token: who applies.
    user: Option<PersonIn>,
}

/// Apply for a seat; in `free` mode, take one.
#[utoipa::path(post, path = "/v1/rooms/{room}/applications", tag = "requests", operation_id = "apply", request_body = Apply,
    params(("room" = String, Path), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 201, description = "Applied, or seated at once", body = Asked),
        (status = 200, description = "The same application stands already", body = Asked), JsonErrors))]
pub(super) async fn apply(
    Extract(state): Extract<State>,
    at: InRoom,
    BaseUrl(base): BaseUrl,
    Json(body): Json<Apply>,
) -> Result<Response, Problem> {
    let wish = wish(body.seat, body.media, body.timeout_ms, body.extra)?;
    let user = body.user.map(|user| user.person("user")).transpose()?;
    let user = user.map(|person| named_by_token(person, &at.caller));
    asked(commanded(&state, &at, Command::Apply { user, wish }).await?, &base)
}

/// Applications that wait for an answer.
#[utoipa::path(get, path = "/v1/rooms/{room}/applications", tag = "requests", operation_id = "list_applications",
    params(("room" = String, Path), Page), responses((status = 200, body = Applications), ReadErrors))]
pub(super) async fn applications(
    Extract(state): Extract<State>,
    at: InRoom,
    Query(page): Query<Page>,
) -> Result<axum::Json<Applications>, Problem> {
    let snapshot = confided(&state, &at).await?;
    let (applications, next_cursor) = listed(&snapshot, RequestKind::Application, &page)?;
    Ok(axum::Json(Applications {
        version: snapshot.version,
        applications,
        next_cursor,
    }))
}

/// Withdraw an application.
#[utoipa::path(delete, path = "/v1/rooms/{room}/applications/{user}", tag = "requests", operation_id = "cancel_application",
    params(("room" = String, Path), ("user" = String, Path, description = "Percent-encoded; `me`: oneself"),
        ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, body = Answered), JsonErrors))]
pub(super) async fn cancel_application(
    Extract(state): Extract<State>,
    at: InRoom,
    Last(user): Last,
    BaseUrl(base): BaseUrl,
) -> Result<axum::Json<Answered>, Problem> {
    let user = at.user(&user)?;
    answered(
        commanded(&state, &at, Command::CancelApplication { user }).await?,
        &base,
    )
}

#[derive(Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct AcceptApplication {
    /// Another seat than applied for.
    #[schema(minimum = -1, maximum = 15)]
    seat: Option<i64>,
    /// The id of the application meant, in case there is a newer one.
    request: Option<String>,
}

/// Give an applicant a seat.
#[utoipa::path(post, path = "/v1/rooms/{room}/applications/{user}/accept", tag = "requests",
    operation_id = "accept_application", request_body = Option<AcceptApplication>,
    params(("room" = String, Path), ("user" = String, Path, description = "Percent-encoded"),
        ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, body = Answered), JsonErrors))]
pub(super) async fn accept_application(
    Extract(state): Extract<State>,
    at: InRoom,
    Last(user): Last,
    BaseUrl(base): BaseUrl,
    JsonOrNothing(body): JsonOrNothing<AcceptApplication>,
) -> Result<axum::Json<Answered>, Problem> {
    let command = Command::AcceptApplication {
        user: at.user(&user)?,
        seat: wished_seat(body.seat, "seat")?,
        request: request_id(body.request)?,
    };
    answered(commanded(&state, &at, command).await?, &base)
}

#[derive(Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Reject {
    /// Told to whoever asked; at most 256 bytes.
    #[schema(max_length = 256)]
    reason: Option<String>,
    /// The id of the request meant, in case there is a newer one.
    request: Option<String>,
}

/// Turn an applicant down.
#[utoipa::path(post, path = "/v1/rooms/{room}/applications/{user}/reject", tag = "requests",
    operation_id = "reject_application", request_body = Option<Reject>,
    params(("room" = String, Path), ("user" = String, Path, description = "Percent-encoded"),
        ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, body = Answered), JsonErrors))]
pub(super) async fn reject_application(
    Extract(state): Extract<State>,
    at: InRoom,
    Last(user): Last,
    BaseUrl(base): BaseUrl,
    JsonOrNothing(body): JsonOrNothing<Reject>,
) -> Result<axum::Json<Answered>, Problem> {
    let command = Command::RejectApplication {
        user: at.user(&user)?,
        reason: reason(body.reason)?,
        request: request_id(body.request)?,
    };
    answered(commanded(&state, &at, command).await?, &base)
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Invite {
    user: PersonIn,
    /// The number of a seat; -1 when absent: any.
    #[schema(minimum = -1, maximum = 15)]
    seat: Option<i64>,
    /// What the guest is asked to publish; `av` when absent.
    #[schema(value_type = Option<RequestMediaName>)]
    media: Option<RequestMedia>,
    /// How long it waits for an answer: 5 s to 30 min, the room's `invitation_ms` when absent; 0: the longest there is.
    #[schema(minimum = 0, maximum = 1_800_000)]
    timeout_ms: Option<u64>,
    /// Shown to the guest; at most 1 KiB as compact JSON.
    #[serde(default)]
    extra: Value,
}

/// Invite somebody to a seat. None is kept free meanwhile.
#[utoipa::path(post, path = "/v1/rooms/{room}/invitations", tag = "requests", operation_id = "invite", request_body = Invite,
    params(("room" = String, Path), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 201, description = "Invited, or seated at once since they had applied", body = Asked),
        (status = 200, description = "The same invitation stands already", body = Asked), JsonErrors))]
pub(super) async fn invite(
    Extract(state): Extract<State>,
    at: InRoom,
    BaseUrl(base): BaseUrl,
    Json(body): Json<Invite>,
) -> Result<Response, Problem> {
    let command = Command::Invite {
        user: body.user.person("user")?,
        wish: wish(body.seat, body.media, body.timeout_ms, body.extra)?,
    };
    asked(commanded(&state, &at, command).await?, &base)
}

/// Invitations that wait for an answer.
#[utoipa::path(get, path = "/v1/rooms/{room}/invitations", tag = "requests", operation_id = "list_invitations",
    params(("room" = String, Path), Page), responses((status = 200, body = Invitations), ReadErrors))]
pub(super) async fn invitations(
    Extract(state): Extract<State>,
    at: InRoom,
    Query(page): Query<Page>,
) -> Result<axum::Json<Invitations>, Problem> {
    let snapshot = confided(&state, &at).await?;
    let (invitations, next_cursor) = listed(&snapshot, RequestKind::Invitation, &page)?;
    Ok(axum::Json(Invitations {
        version: snapshot.version,
        invitations,
        next_cursor,
    }))
}

/// Withdraw an invitation.
#[utoipa::path(delete, path = "/v1/rooms/{room}/invitations/{user}", tag = "requests", operation_id = "cancel_invitation",
    params(("room" = String, Path), ("user" = String, Path, description = "The invited one; percent-encoded"),
        ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, body = Answered), JsonErrors))]
pub(super) async fn cancel_invitation(
    Extract(state): Extract<State>,
    at: InRoom,
    Last(user): Last,
    BaseUrl(base): BaseUrl,
) -> Result<axum::Json<Answered>, Problem> {
    let user = at.user(&user)?;
    answered(commanded(&state, &at, Command::CancelInvitation { user }).await?, &base)
}

#[derive(Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct AcceptInvitation {
    /// The id of the invitation meant, in case there is a newer one.
    request: Option<String>,
}

/// Accept one's invitation.
#[utoipa::path(post, path = "/v1/rooms/{room}/invitations/me/accept", tag = "requests", operation_id = "accept_invitation",
    request_body = Option<AcceptInvitation>, params(("room" = String, Path), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, body = Answered), JsonErrors))]
pub(super) async fn accept_invitation(
    Extract(state): Extract<State>,
    at: InRoom,
    BaseUrl(base): BaseUrl,
    JsonOrNothing(body): JsonOrNothing<AcceptInvitation>,
) -> Result<axum::Json<Answered>, Problem> {
    let request = request_id(body.request)?;
    answered(
        commanded(&state, &at, Command::AcceptInvitation { request }).await?,
        &base,
    )
}

/// Turn one's invitation down.
#[utoipa::path(post, path = "/v1/rooms/{room}/invitations/me/reject", tag = "requests", operation_id = "reject_invitation",
    request_body = Option<Reject>, params(("room" = String, Path), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, body = Answered), JsonErrors))]
pub(super) async fn reject_invitation(
    Extract(state): Extract<State>,
    at: InRoom,
    BaseUrl(base): BaseUrl,
    JsonOrNothing(body): JsonOrNothing<Reject>,
) -> Result<axum::Json<Answered>, Problem> {
    let command = Command::RejectInvitation {
        reason: reason(body.reason)?,
        request: request_id(body.request)?,
    };
    answered(commanded(&state, &at, command).await?, &base)
}

async fn commanded(state: &State, at: &InRoom, command: Command) -> Result<Commanded, Refusal> {
    state.node.command(&at.room, &at.caller.principal, command).await
}

/// The room, for those it confides in.
pub(super) async fn confided(state: &State, at: &InRoom) -> Result<Snapshot, Refusal> {
    let snapshot = state.node.snapshot(&at.room).await?;
    if snapshot.confides_in(&at.caller.principal) {
        Ok(snapshot)
    } else {
        Err(Refusal {
            version: Some(snapshot.version),
            ..Refusal::new(
                Code::PermissionDenied,
                "this is for the room's hosts and service tokens",
            )
        })
    }
}

fn listed(snapshot: &Snapshot, kind: RequestKind, page: &Page) -> Result<(Vec<RequestOut>, Option<String>), Refusal> {
    let after = page.after(RequestId::parse)?;
    let of_kind = snapshot.requests.iter().filter(|request| request.kind == kind);
    // Oldest first is in the order of their ids.
    let behind = of_kind.filter(|request| after.is_none_or(|after| request.id > after));
    let (requests, next_cursor) = page.cut(behind, |request: &&Request| request.id.to_string())?;
    let moment = Moment::of(snapshot);
    let shown = requests.iter().map(|request| RequestOut::new(request, moment));
    Ok((shown.collect(), next_cursor))
}

fn request_id(id: Option<String>) -> Result<Option<RequestId>, Refusal> {
    id.as_deref().map(RequestId::parse).transpose()
}

fn asked(commanded: Commanded, base: &str) -> Result<Response, Problem> {
    let Outcome::Asked {
        request,
        deduplicated,
        matched,
        granted,
    } = &commanded.outcome
    else {
        return Err(astray(&commanded.outcome));
    };
    let answer = Asked::new(
        &commanded.snapshot,
        base,
        request,
        (*deduplicated, *matched),
        granted.as_ref(),
    );
    let status = if *deduplicated {
        StatusCode::OK
    } else {
        StatusCode::CREATED
    };
    Ok((status, axum::Json(answer)).into_response())
}

fn answered(commanded: Commanded, base: &str) -> Result<axum::Json<Answered>, Problem> {
    let Outcome::Answered {
        request,
        granted,
        already_processed_by,
    } = &commanded.outcome
    else {
        return Err(astray(&commanded.outcome));
    };
    let answer = Answered::new(
        &commanded.snapshot,
        base,
        request,
        granted.as_ref(),
        already_processed_by.as_ref(),
    );
    Ok(axum::Json(answer))
}

/// The room answered another question than was asked.
fn astray(outcome: &Outcome) -> Problem {
    tracing::error!(?outcome, "a command on a request had an outcome of another kind");
    Problem::wire(Wire::Internal, "the server lost the answer")
}
