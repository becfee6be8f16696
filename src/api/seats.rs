//! Seats: read them, give and take them, lock and mute them.

use super::State;
use super::error::Problem;
use super::openapi::{JsonErrors, ReadErrors};
use super::request::{BaseUrl, InRoom, Json, Last, Query};
use super::rooms::named_by_token;
use crate::room::{Command, MovePolicy, Refusal, SeatFlagsPatch, UserId};
use crate::wire::{Assignment, MovePolicyName, PersonFields, PersonOrNobody, Seated, Seats, reason, seat_index};
use axum::extract::State as Extract;
use serde::Deserialize;
use std::collections::BTreeMap;
use utoipa::{IntoParams, ToSchema};

/// All seats.
#[utoipa::path(get, path = "/v1/rooms/{room}/seats", tag = "seats", operation_id = "read_seats", params(("room" = String, Path)),
    responses((status = 200, body = Seats), ReadErrors))]
pub(super) async fn read(Extract(state): Extract<State>, at: InRoom) -> Result<axum::Json<Seats>, Problem> {
    let snapshot = state.node.snapshot(&at.room).await?;
    Ok(axum::Json(Seats::from(&snapshot)))
}

/// Give `command` in the room and answer with the seats.
async fn commanded(state: &State, at: &InRoom, command: Command) -> Result<axum::Json<Seats>, Problem> {
    let commanded = state.node.command(&at.room, &at.caller.principal, command).await?;
    Ok(axum::Json(Seats::from(&commanded.snapshot)))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PutSeat {
    #[schema(min_length = 1, max_length = 128)]
    user: String,
    #[schema(max_length = 256)]
    name: Option<String>,
    #[schema(max_length = 2048)]
    avatar_url: Option<String>,
    /// Only if the room is at this version.
    if_version: Option<u64>,
}

/// Seat somebody, or, in `free` mode, oneself.
#[utoipa::path(put, path = "/v1/rooms/{room}/seats/{seat}", tag = "seats", operation_id = "put_seat", request_body = PutSeat,
    params(("room" = String, Path), ("seat" = u8, Path), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, body = Seated), JsonErrors))]
pub(super) async fn put(
    Extract(state): Extract<State>,
    at: InRoom,
    Last(seat): Last,
    BaseUrl(base): BaseUrl,
    Json(body): Json<PutSeat>,
) -> Result<axum::Json<Seated>, Problem> {
    let seat = seat_index(&seat, "seat")?;
    let fields = PersonFields {
        user: body.user,
        name: body.name,
        avatar_url: body.avatar_url,
    };
    let person = named_by_token(fields.person("")?, &at.caller);
    let command = Command::Seat {
        seat,
        person,
        if_version: body.if_version,
    };
    let by = &at.caller.principal;
    let snapshot = state.node.command(&at.room, by, command).await?.snapshot;
    Ok(axum::Json(Seated::new(&snapshot, seat, &base)))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Unseat {
    /// Only if this user is on the seat.
    user: Option<String>,
    /// Told to whoever is removed; at most 256 bytes.
    reason: Option<String>,
    /// Only if the room is at this version.
    if_version: Option<u64>,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct HangUp {
    /// Told to whoever is removed; at most 256 bytes.
    reason: Option<String>,
}

/// Unseat: kick, or leave when it is one's own seat.
#[utoipa::path(delete, path = "/v1/rooms/{room}/seats/{seat}", tag = "seats", operation_id = "clear_seat",
    params(("room" = String, Path), ("seat" = u8, Path), Unseat, ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, body = Seats), JsonErrors))]
pub(super) async fn delete(
    Extract(state): Extract<State>,
    at: InRoom,
    Last(seat): Last,
    Query(query): Query<Unseat>,
) -> Result<axum::Json<Seats>, Problem> {
    let command = Command::Unseat {
        seat: seat_index(&seat, "seat")?,
        user: query.user.as_deref().map(UserId::parse).transpose()?,
        reason: reason(query.reason)?,
        if_version: query.if_version,
    };
    commanded(&state, &at, command).await
}

/// Leave one's seat.
#[utoipa::path(delete, path = "/v1/rooms/{room}/seats/me", tag = "seats", operation_id = "leave_seat",
    params(("room" = String, Path), HangUp, ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, body = Seats), JsonErrors))]
pub(super) async fn leave(
    Extract(state): Extract<State>,
    at: InRoom,
    Query(query): Query<HangUp>,
) -> Result<axum::Json<Seats>, Problem> {
    let command = Command::UnseatUser {
        user: at.caller.user().clone(),
        reason: reason(query.reason)?,
    };
    commanded(&state, &at, command).await
}

/// Hang up by user: whichever seat they are on.
#[utoipa::path(delete, path = "/v1/rooms/{room}/members/{user}/seat", tag = "seats", operation_id = "hang_up",
    params(("room" = String, Path), ("user" = String, Path, description = "Percent-encoded; `me`: oneself"), HangUp,
        ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, body = Seats), JsonErrors))]
pub(super) async fn hang_up(
    Extract(state): Extract<State>,
    at: InRoom,
    Last(user): Last,
    Query(query): Query<HangUp>,
) -> Result<axum::Json<Seats>, Problem> {
    let command = Command::UnseatUser {
        user: at.user(&user)?,
        reason: reason(query.reason)?,
    };
    commanded(&state, &at, command).await
}

/// Absent: unchanged.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PatchSeat {
    locked: Option<bool>,
    audio_locked: Option<bool>,
    video_locked: Option<bool>,
    audio_muted: Option<bool>,
    video_muted: Option<bool>,
}

/// Lock a seat, its microphone or its camera; mute. In force when the answer comes.
#[utoipa::path(patch, path = "/v1/rooms/{room}/seats/{seat}", tag = "seats", operation_id = "patch_seat", request_body = PatchSeat,
    params(("room" = String, Path), ("seat" = u8, Path), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, body = Seats), JsonErrors))]
pub(super) async fn patch(
    Extract(state): Extract<State>,
    at: InRoom,
    Last(seat): Last,
    Json(body): Json<PatchSeat>,
) -> Result<axum::Json<Seats>, Problem> {
    let PatchSeat {
        locked,
        audio_locked,
        video_locked,
        audio_muted,
        video_muted,
    } = body;
    let patch = SeatFlagsPatch {
        locked,
        audio_locked,
        video_locked,
        audio_muted,
        video_muted,
    };
    commanded(
        &state,
        &at,
        Command::SetFlags {
            seat: seat_index(&seat, "seat")?,
            patch,
        },
    )
    .await
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct MoveSeat {
    /// The number of the seat to move to.
    #[schema(minimum = 0, maximum = 15)]
    to: i64,
    /// What becomes of whoever sits there; `abort` when absent.
    #[schema(value_type = Option<MovePolicyName>)]
    policy: Option<MovePolicy>,
    /// Only if it is this user who is to be moved.
    user: Option<String>,
    /// Only if the room is at this version.
    if_version: Option<u64>,
}

/// Move whoever is on a seat to another one. Transports stay up.
#[utoipa::path(post, path = "/v1/rooms/{room}/seats/{seat}/move", tag = "seats", operation_id = "move_seat", request_body = MoveSeat,
    params(("room" = String, Path), ("seat" = u8, Path), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, body = Seats), JsonErrors))]
pub(super) async fn relocate(
    Extract(state): Extract<State>,
    at: InRoom,
    Last(seat): Last,
    Json(body): Json<MoveSeat>,
) -> Result<axum::Json<Seats>, Problem> {
    let command = Command::Move {
        from: seat_index(&seat, "seat")?,
        to: seat_index(&body.to.to_string(), "to")?,
        policy: body.policy.unwrap_or(MovePolicy::Abort),
        user: body.user.as_deref().map(UserId::parse).transpose()?,
        if_version: body.if_version,
    };
    commanded(&state, &at, command).await
}

#[derive(Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct AskSeat {
    /// To switch the microphone on.
    audio: bool,
    /// To switch the camera on.
    video: bool,
}

/// Ask whoever is on a seat to switch microphone or camera on, which is theirs alone to do.
#[utoipa::path(post, path = "/v1/rooms/{room}/seats/{seat}/ask", tag = "seats", operation_id = "ask_seat", request_body = AskSeat,
    params(("room" = String, Path), ("seat" = u8, Path), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, body = Seats), JsonErrors))]
pub(super) async fn ask(
    Extract(state): Extract<State>,
    at: InRoom,
    Last(seat): Last,
    Json(body): Json<AskSeat>,
) -> Result<axum::Json<Seats>, Problem> {
    let AskSeat { audio, video } = body;
    let seat = seat_index(&seat, "seat")?;
    commanded(&state, &at, Command::Ask { seat, audio, video }).await
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PutSeats {
    /// Only if the room is at this version.
    if_version: Option<u64>,
    /// Seat number → who sits there. A guest seat that is not named, or `null`, becomes empty.
    #[schema(value_type = BTreeMap<String, PersonOrNobody>)]
    seats: Assignment,
}

/// Set the complete assignment of guests in one step.
#[utoipa::path(put, path = "/v1/rooms/{room}/seats", tag = "seats", operation_id = "assign_seats", request_body = PutSeats,
    params(("room" = String, Path), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, body = Seats), JsonErrors))]
pub(super) async fn assign(
    Extract(state): Extract<State>,
    at: InRoom,
    Json(body): Json<PutSeats>,
) -> Result<axum::Json<Seats>, Problem> {
    let mut seats = BTreeMap::new();
    for (number, person) in body.seats.0 {
        let field = format!("seats.{number}");
        let person = person.map(|person| person.person(&field)).transpose()?;
        if seats.insert(seat_index(&number, &field)?, person).is_some() {
            return Err(Refusal::invalid(&field, "the seat stands twice in the assignment").into());
        }
    }
    commanded(
        &state,
        &at,
        Command::Assign {
            seats,
            if_version: body.if_version,
        },
    )
    .await
}
