//! The layer that makes mutating JSON calls with an `Idempotency-Key` happen once.
//!
//! Decided where the contract is silent: a repeat that arrives while the first is at work waits for it; answers that say
//! "later" (401, 408, 429 and 5xx) are not remembered, so that later can come under the same key; the work of a keyed
//! call outlives its connection, since the repeat of a call that was cut off is what the key is for. Calls on no room
//! (`POST /v1/rooms`) share one room of their own. An answer is in the store before it is sent, so that a restart does not
//! forget it; what a crash catches between the room's change and that is done again by the repeat.

use super::State;
use super::error::{Problem, Wire};
use super::idempotency::{Answer, Begin, Kept, Key, Memory, Ticket};
use super::request::{read, room_param};
use crate::room::{Code, Refusal};
use crate::store;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State as Extract};
use axum::http::{HeaderName, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use ring::digest::{SHA256, digest};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tracing::warn;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// The longest key in bytes: four UUIDs and some.
const KEY_BYTES: usize = 255;

/// [`Memory`] for all handlers. A mutex, since it is held for a look-up per keyed HTTP call, never across an await, and
/// no media thread knows of it.
#[derive(Default)]
pub(super) struct Calls {
    memory: Mutex<Memory>,
    /// `None`: they end with the process.
    store: Option<store::Store>,
}

impl Calls {
    /// With what the store remembered.
    pub fn persistent(store: store::Store, answers: Vec<(String, Vec<u8>)>) -> Self {
        let mut memory = Memory::default();
        memory.load(answers, Instant::now(), wall_ms());
        let expired = memory.take_forgotten();
        if !expired.is_empty() {
            drop(store.forget(expired));
        }
        Calls {
            memory: Mutex::new(memory),
            store: Some(store),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Memory> {
        // A panic elsewhere leaves the memory whole: every change of it is a few infallible steps.
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers the answer, in the store first; `None`: not to be remembered.
    async fn finish(&self, ticket: Ticket, key: &Key, call: &[u8], answer: Option<Answer>) {
        let kept = answer
            .as_ref()
            .and_then(|answer| Kept::new(&ticket, call, answer, Instant::now(), wall_ms()))
            .and_then(|kept| serde_json::to_vec(&kept).ok());
        if let (Some(store), Some(kept)) = (&self.store, kept) {
            let written = {
                // Asked under the lock, so that the store is told in the order of the memory's changes.
                let mut memory = self.lock();
                store.remember(key.name(), kept, memory.take_forgotten())
            };
            // What was done is done and has to be answered; its repeat is only safe until a restart.
            match written.await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => warn!(%error, "an answer is not remembered over a restart"),
                Err(_) => warn!("an answer is not remembered over a restart"),
            }
        }
        let mut memory = self.lock();
        memory.finish(ticket, answer);
        if self.store.is_none() {
            memory.take_forgotten();
        }
    }
}

fn wall_ms() -> u64 {
    u64::try_from(Timestamp::now().as_millisecond()).unwrap_or_default()
}

/// The layer.
pub(super) async fn once(Extract(state): Extract<State>, request: Request, next: Next) -> Response {
    let keyed = request.headers().contains_key(IDEMPOTENCY_KEY);
    if !keyed || matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS) {
        return next.run(request).await;
    }
    // Whoever has no good token is told so by the handler.
    let caller = match state.shared.keys.caller(request.headers(), Timestamp::now()) {
        Ok(Some(caller)) => caller,
        _ => return next.run(request).await,
    };
    keyed_call(state, caller.user().as_str(), request, next)
        .await
        .unwrap_or_else(Problem::into_response)
}

async fn keyed_call(state: State, user: &str, request: Request, next: Next) -> Result<Response, Problem> {
    let (mut parts, body) = request.into_parts();
    let room = room_param(&mut parts).await?;
    let value = parts.headers.get(IDEMPOTENCY_KEY).and_then(|value| value.to_str().ok());
    let value = value
        .filter(|value| (1..=KEY_BYTES).contains(&value.len()))
        .ok_or_else(|| {
            Refusal::invalid(
                "Idempotency-Key",
                format!("an Idempotency-Key is 1 to {KEY_BYTES} visible ASCII characters"),
            )
        })?;
    let key = Key {
        room,
        user: user.to_owned(),
        key: value.to_owned(),
    };
    let limits = state.options().limits;
    let body = read(&parts.headers, body, limits.json_bytes, limits.body_timeout).await?;
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
    // The body as it stands: whoever repeats a call sends the same bytes.
    let call = [parts.method.as_str().as_bytes(), target.as_bytes(), &body].join(&b'\n');
    let call = digest(&SHA256, &call);
    loop {
        let begun = state
            .shared
            .idempotency
            .lock()
            .begin(key.clone(), call.as_ref(), Instant::now());
        match begun {
            Begin::Remembered(answer) => return Ok(respond(&answer)),
            Begin::Reused => {
                let why = "this Idempotency-Key was used for another call in the last ten minutes";
                return Err(Refusal::new(Code::IdempotencyKeyReused, why).into());
            }
            Begin::Wait(mut waiting) => {
                if let Ok(answer) = waiting.wait_for(Option::is_some).await
                    && let Some(answer) = answer.as_ref()
                {
                    return Ok(respond(answer));
                }
            }
            Begin::Fresh(ticket) => {
                let shared = state.shared.clone();
                let work = tokio::spawn(async move {
                    let response = next.run(Request::from_parts(parts, Body::from(body))).await;
                    let answer = collect(response).await;
                    let lasting = lasting(answer.status).then(|| Answer::clone(&answer));
                    shared.idempotency.finish(ticket, &key, call.as_ref(), lasting).await;
                    respond(&answer)
                });
                return work
                    .await
                    .map_err(|_| Problem::wire(Wire::Internal, "the call was cut short"));
            }
        }
    }
}

/// Whether the answer stands, or asks to try again.
fn lasting(status: StatusCode) -> bool {
    let later = [
        StatusCode::UNAUTHORIZED,
        StatusCode::REQUEST_TIMEOUT,
        StatusCode::TOO_MANY_REQUESTS,
    ];
    !status.is_server_error() && !later.contains(&status)
}

async fn collect(response: Response) -> Arc<Answer> {
    let (parts, body) = response.into_parts();
    // Our own answers are whole in memory, so reading them neither fails nor needs a bound.
    let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
    Arc::new(Answer {
        status: parts.status,
        headers: parts.headers,
        body,
    })
}

fn respond(answer: &Answer) -> Response {
    let mut response = (answer.status, answer.body.clone()).into_response();
    *response.headers_mut() = answer.headers.clone();
    response.headers_mut().remove(header::CONTENT_LENGTH);
    response
}
