//! Webhook messages that nobody took: look at them, send them again, forget them. For service tokens; one for a single room
//! sees that room's.

use super::State;
use super::auth::Caller;
use super::error::{Problem, Wire};
use super::openapi::{JsonErrors, ReadErrors};
use super::page::Page;
use super::request::{Last, Query};
use crate::room::{Code, Refusal};
use crate::store::{self, DeadLetter, Receiver, Store};
use crate::wire::rfc3339;
use axum::extract::State as Extract;
use axum::http::StatusCode;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::oneshot;
use utoipa::ToSchema;

#[derive(Serialize, ToSchema)]
pub(super) struct DeadLetterList {
    dead: Vec<DeadLetterOut>,
    /// Pass as `cursor` for the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = DeadLetter)]
struct DeadLetterOut {
    id: String,
    /// `node`: the server's own receiver; `room`: the room's.
    #[schema(value_type = String)]
    receiver: Receiver,
    /// Where it was to go, if it was the room's.
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    room: String,
    epoch: u64,
    seq: u64,
    at: String,
    dead_at: String,
    why: String,
    /// As it was to be sent.
    #[schema(value_type = Object)]
    event: Value,
}

impl DeadLetterOut {
    fn new(number: u64, letter: DeadLetter) -> Self {
        let time = |ms: u64| {
            let time = i64::try_from(ms)
                .ok()
                .and_then(|ms| Timestamp::from_millisecond(ms).ok());
            rfc3339(time.unwrap_or(Timestamp::MAX))
        };
        DeadLetterOut {
            id: number.to_string(),
            receiver: letter.receiver,
            url: letter.webhook.get("url").and_then(Value::as_str).map(str::to_owned),
            room: letter.room,
            epoch: letter.epoch,
            seq: letter.seq,
            at: time(letter.at_ms),
            dead_at: time(letter.dead_at_ms),
            why: letter.why,
            event: serde_json::from_str(&letter.body).unwrap_or(Value::String(letter.body)),
        }
    }
}

/// Webhook messages that were given up, oldest first.
#[utoipa::path(get, path = "/v1/webhooks/dead", tag = "webhooks", operation_id = "list_dead_letters", params(Page),
    responses((status = 200, body = DeadLetterList), ReadErrors))]
pub(super) async fn list(
    Extract(state): Extract<State>,
    caller: Caller,
    Query(page): Query<Page>,
) -> Result<axum::Json<DeadLetterList>, Problem> {
    expect_service(&caller)?;
    let limit = page.limit()?;
    let after = page.after(str::parse)?;
    let letters = match &state.shared.store {
        // One more than asked for tells whether there is a next page.
        Some(store) => answered(store.dead(caller.room.clone(), after, limit + 1)).await?,
        None => Vec::new(),
    };
    let (letters, next_cursor) = page.cut(letters.into_iter(), |(number, _)| number.to_string())?;
    let dead = letters
        .into_iter()
        .map(|(number, letter)| DeadLetterOut::new(number, letter))
        .collect();
    Ok(axum::Json(DeadLetterList { dead, next_cursor }))
}

/// Send a message again, as the room's next one; for an hour if need be.
#[utoipa::path(post, path = "/v1/webhooks/dead/{id}/retry", tag = "webhooks", operation_id = "retry_dead_letter",
    params(("id" = String, Path), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 202, description = "It waits for its receiver"), JsonErrors))]
pub(super) async fn retry(
    Extract(state): Extract<State>,
    caller: Caller,
    Last(id): Last,
) -> Result<StatusCode, Problem> {
    let (store, number) = letter(&state, &caller, &id)?;
    let now_ms = u64::try_from(Timestamp::now().as_millisecond()).unwrap_or_default();
    let revived = answered(store.revive(number, caller.room.clone(), now_ms)).await?;
    let (queue, setting) = revived.ok_or_else(|| not_found(&id))?;
    state.shared.webhooks.resume(queue, &setting);
    Ok(StatusCode::ACCEPTED)
}

/// Forget a message.
#[utoipa::path(delete, path = "/v1/webhooks/dead/{id}", tag = "webhooks", operation_id = "discard_dead_letter",
    params(("id" = String, Path), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 204, description = "Forgotten"), JsonErrors))]
pub(super) async fn discard(
    Extract(state): Extract<State>,
    caller: Caller,
    Last(id): Last,
) -> Result<StatusCode, Problem> {
    let (store, number) = letter(&state, &caller, &id)?;
    match answered(store.discard(number, caller.room.clone())).await? {
        0 => Err(not_found(&id)),
        _ => Ok(StatusCode::NO_CONTENT),
    }
}

fn expect_service(caller: &Caller) -> Result<(), Refusal> {
    if caller.is_service() {
        return Ok(());
    }
    let why = "webhooks that were given up are a service token's business";
    Err(Refusal::new(Code::PermissionDenied, why))
}

fn letter<'s>(state: &'s State, caller: &Caller, id: &str) -> Result<(&'s Store, u64), Problem> {
    expect_service(caller)?;
    let store = state.shared.store.as_ref();
    store.zip(id.parse().ok()).ok_or_else(|| not_found(id))
}

fn not_found(id: &str) -> Problem {
    Problem::wire(Wire::NotFound, format!("no webhook message {id:?} was given up"))
}

async fn answered<T>(answer: oneshot::Receiver<Result<T, store::Error>>) -> Result<T, Problem> {
    let answer = answer.await.map_err(|_| "the store has ended".to_owned());
    answer
        .and_then(|answer| answer.map_err(|error| error.to_string()))
        .map_err(|why| Problem::wire(Wire::Internal, why))
}
