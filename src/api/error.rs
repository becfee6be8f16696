//! Refusals → HTTP, once: `application/problem+json` (RFC 9457) with the contract's stable codes.

use crate::room::{Code, Refusal, RequestState};
use crate::wire::{PersonOut, RequestStateName};
use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use std::time::Duration;
use utoipa::ToSchema;

/// Codes of what only HTTP can get wrong; those of the room are [`Code`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wire {
    /// No such path, or no such WHIP or WHEP resource.
    NotFound,
    MethodNotAllowed,
    /// No representation the client accepts.
    NotAcceptable,
    /// A WebSocket handshake with something missing (RFC 6455 section 4.2.1).
    BadHandshake,
    RequestTimeout,
    PayloadTooLarge,
    UnsupportedMediaType,
    /// A PATCH of a WHIP or WHEP resource without `If-Match` (RFC 9725 section 4.3.1).
    PreconditionRequired,
    /// JSON that can't be parsed at all.
    MalformedJson,
    /// A defect of the server or of its configuration.
    Internal,
}

impl Wire {
    fn status_and_code(self) -> (StatusCode, &'static str) {
        match self {
            Wire::NotFound => (StatusCode::NOT_FOUND, "not_found"),
            Wire::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"),
            Wire::NotAcceptable => (StatusCode::NOT_ACCEPTABLE, "not_acceptable"),
            Wire::BadHandshake => (StatusCode::BAD_REQUEST, "handshake_invalid"),
            Wire::RequestTimeout => (StatusCode::REQUEST_TIMEOUT, "request_timeout"),
            Wire::PayloadTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large"),
            Wire::UnsupportedMediaType => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type"),
            Wire::PreconditionRequired => (StatusCode::PRECONDITION_REQUIRED, "precondition_required"),
            Wire::MalformedJson => (StatusCode::BAD_REQUEST, "invalid_argument"),
            Wire::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        }
    }
}

/// An error answer. Everything a handler can fail with becomes one of these.
#[derive(Clone, Debug)]
pub(super) struct Problem {
    status: StatusCode,
    /// Boxed, since every handler's result has room for it.
    body: Box<ProblemBody>,
    /// `WWW-Authenticate`, `Accept-Patch`, …: what the status obliges to say.
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// `application/problem+json` (RFC 9457).
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub(super) struct ProblemBody {
    /// `urn:costage:problem:` and the code.
    r#type: String,
    /// The code in words.
    title: String,
    /// The HTTP status.
    status: u16,
    /// This occurrence, for a person.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    /// Stable; what programs act on.
    code: String,
    /// The same call may succeed later.
    retryable: bool,
    /// When it is worth trying again, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
    /// The room's version, where a room was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u64>,
    /// The version a `version_conflict` lost to.
    #[serde(skip_serializing_if = "Option::is_none")]
    current: Option<u64>,
    /// The JSON field or query parameter at fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
    /// Who had answered the request already.
    #[serde(skip_serializing_if = "Option::is_none")]
    processed_by: Option<PersonOut>,
    /// What had become of the request already.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<RequestStateName>)]
    decision: Option<RequestState>,
    /// Of `already_accepted` and `already_seated`: where the person sits.
    #[serde(skip_serializing_if = "Option::is_none")]
    seat: Option<u8>,
}

/// How long a client should wait when the refusing side named no time: long enough not to hammer the server, short enough
/// that a viewer who came before the host hardly notices.
const RETRY_AFTER_DEFAULT: Duration = Duration::from_secs(1);

impl Problem {
    pub fn wire(what: Wire, detail: impl Into<String>) -> Self {
        let (status, code) = what.status_and_code();
        Problem::build(status, code, detail.into(), false)
    }

    fn build(status: StatusCode, code: &str, detail: String, retryable: bool) -> Self {
        let body = Box::new(ProblemBody {
            r#type: format!("urn:costage:problem:{code}"),
            title: title(code),
            status: status.as_u16(),
            detail: (!detail.is_empty()).then_some(detail),
            code: code.to_owned(),
            retryable,
            retry_after_ms: None,
            version: None,
            current: None,
            field: None,
            processed_by: None,
            decision: None,
            seat: None,
        });
        Problem {
            status,
            body,
            headers: Vec::new(),
        }
    }

    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    pub fn is(&self, status: StatusCode) -> bool {
        self.status == status
    }

    /// Replaces the `WWW-Authenticate` of a 401.
    pub fn challenge(mut self, challenge: &'static str) -> Self {
        self.headers.retain(|(name, _)| name != header::WWW_AUTHENTICATE);
        self.with_header(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge))
    }

    #[cfg(test)]
    pub fn code(&self) -> &str {
        &self.body.code
    }
    #[cfg(test)]
    pub fn status(&self) -> StatusCode {
        self.status
    }
    #[cfg(test)]
    pub fn field(&self) -> Option<String> {
        self.body.field.clone()
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let (status, retryable) = meaning(refusal.code);
        let mut problem = Problem::build(status, &code_name(refusal.code), refusal.detail, retryable);
        let wait = refusal.retry_after.or(retryable.then_some(RETRY_AFTER_DEFAULT));
        problem.body.retry_after_ms = wait.map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
        problem.body.version = refusal.version;
        problem.body.current = refusal.version.filter(|_| refusal.code == Code::VersionConflict);
        problem.body.field = refusal.field;
        problem.body.processed_by = refusal.processed_by.as_deref().map(PersonOut::from);
        problem.body.decision = refusal.decision;
        problem.body.seat = refusal.seat.map(|seat| seat.0);
        if status == StatusCode::UNAUTHORIZED {
            // RFC 6750 section 3: no error code where no token was sent; for a bad one `auth` adds it.
            let challenge = match refusal.code {
                Code::TokenExpired => {
                    "Bearer realm=\"costage\", error=\"invalid_token\", error_description=\"expired\""
                }
                _ => "Bearer realm=\"costage\"",
            };
            problem = problem.with_header(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        problem
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let retry_after_ms = self.body.retry_after_ms;
        let mut response = (self.status, Json(self.body)).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if let Some(wait) = retry_after_ms {
            // Whole seconds, rounded up: a client that waits this long is never early (RFC 9110 section 10.2.3).
            headers.insert(header::RETRY_AFTER, wait.div_ceil(1000).into());
        }
        for (name, value) in self.headers {
            headers.append(name, value);
        }
        response
    }
}

/// Status, and whether the same call may succeed later.
fn meaning(code: Code) -> (StatusCode, bool) {
    use Code::*;
    match code {
        Unauthenticated | TokenExpired => (StatusCode::UNAUTHORIZED, false),
        PermissionDenied | NotSeated | NotInRoom | Banned | SeatsDisabled => (StatusCode::FORBIDDEN, false),
        RoomNotFound | RequestNotFound | OutputNotFound => (StatusCode::NOT_FOUND, false),
        RoomEnded => (StatusCode::GONE, false),
        SdpInvalid => (StatusCode::BAD_REQUEST, false),
        PreconditionFailed => (StatusCode::PRECONDITION_FAILED, false),
        InvalidArgument | SeatIndexInvalid | CodecUnsupported | IdempotencyKeyReused => {
            (StatusCode::UNPROCESSABLE_ENTITY, false)
        }
        RateLimited | Cooldown | QueueFull => (StatusCode::TOO_MANY_REQUESTS, true),
        CapacityExhausted | ServerDraining => (StatusCode::SERVICE_UNAVAILABLE, true),
        NothingToPlay => (StatusCode::CONFLICT, true),
        AlreadySeated | SeatLocked | SeatOccupied | AllSeatsOccupied | Conflict | RequestCancelled | RequestExpired
        | AlreadyProcessed | AlreadyInvited | AlreadyAccepted | VersionConflict => (StatusCode::CONFLICT, false),
    }
}

/// The contract's spelling, which is [`Code`]'s serialisation.
fn code_name(code: Code) -> String {
    match serde_json::to_value(code) {
        Ok(serde_json::Value::String(name)) => name,
        _ => unreachable!("a code is written as a string"),
    }
}

/// `seat_occupied` → `Seat occupied`.
fn title(code: &str) -> String {
    let words = code.replace('_', " ");
    let mut letters = words.chars();
    letters
        .next()
        .map(|first| first.to_uppercase().chain(letters).collect())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_the_contracts_statuses() {
        let table = [
            (Code::Unauthenticated, 401),
            (Code::TokenExpired, 401),
            (Code::PermissionDenied, 403),
            (Code::NotSeated, 403),
            (Code::NotInRoom, 403),
            (Code::Banned, 403),
            (Code::SeatsDisabled, 403),
            (Code::RoomNotFound, 404),
            (Code::RequestNotFound, 404),
            (Code::OutputNotFound, 404),
            (Code::RoomEnded, 410),
            (Code::SdpInvalid, 400),
            (Code::PreconditionFailed, 412),
            (Code::InvalidArgument, 422),
            (Code::SeatIndexInvalid, 422),
            (Code::CodecUnsupported, 422),
            (Code::IdempotencyKeyReused, 422),
            (Code::RateLimited, 429),
            (Code::Cooldown, 429),
            (Code::QueueFull, 429),
            (Code::CapacityExhausted, 503),
            (Code::ServerDraining, 503),
            (Code::AlreadySeated, 409),
            (Code::SeatLocked, 409),
            (Code::SeatOccupied, 409),
            (Code::AllSeatsOccupied, 409),
            (Code::Conflict, 409),
            (Code::RequestCancelled, 409),
            (Code::RequestExpired, 409),
            (Code::AlreadyProcessed, 409),
            (Code::AlreadyInvited, 409),
            (Code::AlreadyAccepted, 409),
            (Code::VersionConflict, 409),
            (Code::NothingToPlay, 409),
        ];
        for (code, status) in table {
            let problem = Problem::from(Refusal::new(code, "why"));
            assert_eq!(problem.status.as_u16(), status, "{code:?}");
            assert_eq!(problem.body.status, status);
        }
    }

    #[test]
    fn the_answer_says_all_it_knows() {
        let refusal = Refusal {
            retry_after: Some(Duration::from_millis(1200)),
            version: Some(7),
            ..Refusal::new(Code::Cooldown, "rejected a moment ago")
        };
        let response = Problem::from(refusal).into_response();
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        assert_eq!(response.headers()["retry-after"], "2");

        let body = serde_json::to_value(Problem::from(Refusal::invalid("host", "no host")).body).expect("serialises");
        let expected = serde_json::json!({
            "type": "urn:costage:problem:invalid_argument", "title": "Invalid argument", "status": 422,
            "detail": "no host", "code": "invalid_argument", "retryable": false, "field": "host",
        });
        assert_eq!(body, expected);
    }

    #[test]
    fn who_was_late_is_told_who_was_first() {
        let ann = crate::room::Person {
            user: crate::room::UserId::parse("ann").expect("an id"),
            name: Some("Ann".into()),
            avatar_url: None,
        };
        let refusal = Refusal {
            processed_by: Some(Box::new(ann)),
            decision: Some(RequestState::Rejected),
            seat: Some(crate::forward::SeatIndex(3)),
            ..Refusal::new(Code::Conflict, "")
        };
        let body = serde_json::to_value(Problem::from(refusal).body).expect("serialises");
        let ann = serde_json::json!({"user": "ann", "name": "Ann", "avatar_url": null});
        assert_eq!(
            (&body["processed_by"], &body["decision"], &body["seat"]),
            (&ann, &"rejected".into(), &3.into())
        );
    }

    #[test]
    fn a_version_conflict_names_what_it_lost_to() {
        let refusal = Refusal {
            version: Some(9),
            ..Refusal::new(Code::VersionConflict, "")
        };
        assert_eq!(Problem::from(refusal).body.current, Some(9));
    }
}
