//! `/healthz` and `/readyz`, for the public and the admin listener.

use super::Readiness;
use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Router, routing::get};
use serde::Serialize;
use utoipa::ToSchema;

/// The state of the process.
#[derive(Serialize, ToSchema)]
pub(super) struct Health {
    /// `ok` or `draining`.
    status: &'static str,
}

/// The two health endpoints.
pub fn health(readiness: Readiness) -> Router {
    let ready = move || {
        let draining = readiness.draining();
        async move { readyz(draining) }
    };
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(ready))
}

/// The process runs: restart it if this fails.
#[utoipa::path(get, path = "/healthz", tag = "health", security(()), responses((status = 200, body = Health)))]
async fn healthz() -> Response {
    answer(StatusCode::OK, "ok")
}

/// The node takes new rooms and peers: send it none while this fails.
#[utoipa::path(get, path = "/readyz", tag = "health", security(()), responses(
    (status = 200, body = Health), (status = 503, description = "Draining", body = Health)))]
fn readyz(draining: bool) -> Response {
    if draining {
        answer(StatusCode::SERVICE_UNAVAILABLE, "draining")
    } else {
        answer(StatusCode::OK, "ok")
    }
}

fn answer(status: StatusCode, word: &'static str) -> Response {
    (
        status,
        [(header::CACHE_CONTROL, "no-store")],
        Json(Health { status: word }),
    )
        .into_response()
}
