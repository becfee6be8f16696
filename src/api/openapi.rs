//! The contract as OpenAPI 3.1, generated from the handlers and served at `/openapi.json`.

use super::error::ProblemBody;
use super::{health, rooms, seats, tokens, whep, whip};
use axum::http::header;
use axum::response::IntoResponse;
use std::sync::LazyLock;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{IntoResponses, Modify, OpenApi};

#[derive(OpenApi)]
#[openapi(
    info(title = "costage", description = "A media mixing and relay server for live streams with co-hosting. Errors are \
        `application/problem+json` (RFC 9457) with a stable `code`; `retryable` says whether the same call may succeed later."),
    paths(
        tokens::create, rooms::create, rooms::list, rooms::read, rooms::patch, rooms::end,
        seats::read, seats::assign, seats::put, seats::delete, seats::leave, seats::hang_up, seats::patch,
        whip::publish, whip::patch, whip::delete,
        whep::program, whep::stage, whep::seat, whep::slots, whep::layers, whep::patch, whep::delete,
        health::healthz, health::readyz
    ),
    components(schemas(ProblemBody)),
    modifiers(&Bearer),
    security(("bearer" = [])),
    tags((name = "tokens"), (name = "rooms"), (name = "seats"), (name = "whip", description = "RFC 9725"),
        (name = "whep"), (name = "health"))
)]
struct Contract;

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, contract: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .bearer_format("JWT")
            .build();
        contract
            .components
            .get_or_insert_default()
            .add_security_scheme("bearer", SecurityScheme::Http(scheme));
    }
}

/// The whole description, as committed in `openapi.json`.
fn text() -> String {
    let mut text = Contract::openapi()
        .to_pretty_json()
        .expect("the description is plain data");
    text.push('\n');
    text
}

pub(super) async fn serve() -> impl IntoResponse {
    static TEXT: LazyLock<String> = LazyLock::new(text);
    ([(header::CONTENT_TYPE, "application/json")], TEXT.as_str())
}

/// What a read can be refused with.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "describes answers")]
pub(super) enum ReadErrors {
    /// `unauthenticated`, `token_expired`
    #[response(status = 401, content_type = "application/problem+json")]
    Unauthorized(#[to_schema] ProblemBody),
    /// `permission_denied`
    #[response(status = 403, content_type = "application/problem+json")]
    Forbidden(#[to_schema] ProblemBody),
    /// `room_not_found`, `not_found`
    #[response(status = 404, content_type = "application/problem+json")]
    NotFound(#[to_schema] ProblemBody),
    /// `invalid_argument`
    #[response(status = 422, content_type = "application/problem+json")]
    Unprocessable(#[to_schema] ProblemBody),
}

/// What a JSON call can be refused with.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "describes answers")]
pub(super) enum JsonErrors {
    /// `invalid_argument`: not JSON
    #[response(status = 400, content_type = "application/problem+json")]
    Malformed(#[to_schema] ProblemBody),
    /// `unauthenticated`, `token_expired`
    #[response(status = 401, content_type = "application/problem+json")]
    Unauthorized(#[to_schema] ProblemBody),
    /// `permission_denied`, `not_seated`, `not_in_room`, `banned`, `seats_disabled`
    #[response(status = 403, content_type = "application/problem+json")]
    Forbidden(#[to_schema] ProblemBody),
    /// `room_not_found`, `not_found`
    #[response(status = 404, content_type = "application/problem+json")]
    NotFound(#[to_schema] ProblemBody),
    /// `request_timeout`
    #[response(status = 408, content_type = "application/problem+json")]
    Timeout(#[to_schema] ProblemBody),
    /// `already_seated`, `seat_locked`, `seat_occupied`, `all_seats_occupied`, `conflict`, `version_conflict`
    #[response(status = 409, content_type = "application/problem+json")]
    Conflict(#[to_schema] ProblemBody),
    /// `room_ended`
    #[response(status = 410, content_type = "application/problem+json")]
    Gone(#[to_schema] ProblemBody),
    /// `payload_too_large`
    #[response(status = 413, content_type = "application/problem+json")]
    TooLarge(#[to_schema] ProblemBody),
    /// `unsupported_media_type`
    #[response(status = 415, content_type = "application/problem+json")]
    MediaType(#[to_schema] ProblemBody),
    /// `invalid_argument`, `seat_index_invalid`, `idempotency_key_reused`
    #[response(status = 422, content_type = "application/problem+json")]
    Unprocessable(#[to_schema] ProblemBody),
    /// `rate_limited`, `cooldown`, `queue_full`; with `Retry-After`
    #[response(status = 429, content_type = "application/problem+json")]
    TooMany(#[to_schema] ProblemBody),
    /// `capacity_exhausted`, `server_draining`
    #[response(status = 503, content_type = "application/problem+json")]
    Unavailable(#[to_schema] ProblemBody),
}

/// What an offer can be refused with.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "describes answers")]
pub(super) enum OfferErrors {
    /// `sdp_invalid`
    #[response(status = 400, content_type = "application/problem+json")]
    Malformed(#[to_schema] ProblemBody),
    /// `unauthenticated`, `token_expired`
    #[response(status = 401, content_type = "application/problem+json")]
    Unauthorized(#[to_schema] ProblemBody),
    /// `permission_denied`, `not_seated`
    #[response(status = 403, content_type = "application/problem+json")]
    Forbidden(#[to_schema] ProblemBody),
    /// `room_not_found`, `not_found`
    #[response(status = 404, content_type = "application/problem+json")]
    NotFound(#[to_schema] ProblemBody),
    /// `request_timeout`
    #[response(status = 408, content_type = "application/problem+json")]
    Timeout(#[to_schema] ProblemBody),
    /// `nothing_to_play`: with `Retry-After`
    #[response(status = 409, content_type = "application/problem+json")]
    Conflict(#[to_schema] ProblemBody),
    /// `room_ended`
    #[response(status = 410, content_type = "application/problem+json")]
    Gone(#[to_schema] ProblemBody),
    /// `payload_too_large`
    #[response(status = 413, content_type = "application/problem+json")]
    TooLarge(#[to_schema] ProblemBody),
    /// `unsupported_media_type`
    #[response(status = 415, content_type = "application/problem+json")]
    MediaType(#[to_schema] ProblemBody),
    /// `codec_unsupported`, `invalid_argument`, `seat_index_invalid`
    #[response(status = 422, content_type = "application/problem+json")]
    Unprocessable(#[to_schema] ProblemBody),
    /// `capacity_exhausted`, `server_draining`
    #[response(status = 503, content_type = "application/problem+json")]
    Unavailable(#[to_schema] ProblemBody),
}

/// What a call on a WHIP or WHEP resource can be refused with.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "describes answers")]
pub(super) enum ResourceErrors {
    /// `sdp_invalid`
    #[response(status = 400, content_type = "application/problem+json")]
    Malformed(#[to_schema] ProblemBody),
    /// `unauthenticated`, `token_expired`
    #[response(status = 401, content_type = "application/problem+json")]
    Unauthorized(#[to_schema] ProblemBody),
    /// `permission_denied`
    #[response(status = 403, content_type = "application/problem+json")]
    Forbidden(#[to_schema] ProblemBody),
    /// `not_found`
    #[response(status = 404, content_type = "application/problem+json")]
    NotFound(#[to_schema] ProblemBody),
    /// `request_timeout`
    #[response(status = 408, content_type = "application/problem+json")]
    Timeout(#[to_schema] ProblemBody),
    /// `precondition_failed`
    #[response(status = 412, content_type = "application/problem+json")]
    Precondition(#[to_schema] ProblemBody),
    /// `payload_too_large`
    #[response(status = 413, content_type = "application/problem+json")]
    TooLarge(#[to_schema] ProblemBody),
    /// `unsupported_media_type`
    #[response(status = 415, content_type = "application/problem+json")]
    MediaType(#[to_schema] ProblemBody),
    /// `precondition_required`
    #[response(status = 428, content_type = "application/problem+json")]
    PreconditionRequired(#[to_schema] ProblemBody),
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rewrite the committed description with `COSTAGE_WRITE_OPENAPI=1 cargo test --lib openapi`.
    #[test]
    fn the_committed_description_is_the_generated_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/api/openapi.json");
        if std::env::var_os("COSTAGE_WRITE_OPENAPI").is_some() {
            std::fs::write(path, text()).expect("the description can be written");
        }
        let committed = std::fs::read_to_string(path).expect("the description is committed");
        assert!(
            committed == text(),
            "src/api/openapi.json is out of date: COSTAGE_WRITE_OPENAPI=1 rewrites it"
        );
    }

    #[test]
    fn operations_have_names_of_their_own() {
        let contract: serde_json::Value = serde_json::from_str(&text()).expect("JSON");
        let paths = contract["paths"].as_object().expect("paths");
        let operations = paths
            .values()
            .filter_map(|path| path.as_object())
            .flat_map(|path| path.values());
        let names: Vec<&str> = operations
            .filter_map(|operation| operation["operationId"].as_str())
            .collect();
        let distinct: std::collections::BTreeSet<&str> = names.iter().copied().collect();
        assert_eq!(names.len(), distinct.len());
        assert_eq!(names.len(), 25);
    }

    #[test]
    fn it_is_openapi_3_1_with_bearer_tokens() {
        let contract: serde_json::Value = serde_json::from_str(&text()).expect("JSON");
        assert!(
            contract["openapi"]
                .as_str()
                .is_some_and(|version| version.starts_with("3.1"))
        );
        assert_eq!(contract["components"]["securitySchemes"]["bearer"]["scheme"], "bearer");
        assert!(contract["components"]["schemas"]["Problem"]["properties"]["code"].is_object());
    }
}
