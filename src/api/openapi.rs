//! The contract as OpenAPI 3.1, generated from the handlers and served at `/openapi.json`.

use super::error::ProblemBody;
use super::resource::{FRAGMENT, SDP};
use super::{dead_letters, events, explain, health, members, program, requests, rooms, seats, tokens, whep, whip};
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use std::collections::BTreeMap;
use std::sync::LazyLock;
use utoipa::openapi::response::{Response, ResponseBuilder};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{Content, Header, HeaderBuilder, Ref, RefOr, Schema};
use utoipa::{IntoResponses, Modify, OpenApi, PartialSchema};

#[derive(OpenApi)]
#[openapi(
    info(title = "costage", description = "A media mixing and relay server for live streams with co-hosting. Errors are \
        `application/problem+json` (RFC 9457) with a stable `code`; `retryable` says whether the same call may succeed later."),
    paths(
        tokens::create, rooms::create, rooms::list, rooms::read, rooms::patch, rooms::end,
        program::patch, program::layout, program::put_layout,
        seats::read, seats::assign, seats::put, seats::delete, seats::leave, seats::hang_up, seats::patch,
        explain::explain, seats::relocate, seats::ask,
        requests::apply, requests::applications, requests::cancel_application, requests::accept_application,
        requests::reject_application, requests::invite, requests::invitations, requests::cancel_invitation,
        requests::accept_invitation, requests::reject_invitation,
        members::list, members::set_role, members::remove,
        events::listen,
        whip::publish, whip::patch, whip::delete,
        whep::program, whep::stage, whep::seat, whep::slots, whep::layers, whep::patch, whep::delete,
        dead_letters::list, dead_letters::retry, dead_letters::discard,
        health::healthz, health::readyz
    ),
    components(schemas(ProblemBody)),
    modifiers(&Bearer, &SharedResponses, &OpenParts),
    security(("bearer" = [])),
    tags((name = "tokens"), (name = "rooms"), (name = "program"), (name = "seats"), (name = "requests"), (name = "members"),
        (name = "events"), (name = "whip", description = "RFC 9725"),
        (name = "whep"), (name = "webhooks"), (name = "health"))
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
    ([(CONTENT_TYPE, "application/json")], TEXT.as_str())
}

/// A refusal as operations refer to it: its name among the shared responses, its status, and the codes it may carry.
struct Refusal {
    name: &'static str,
    status: &'static str,
    codes: &'static str,
}

const fn refusal(name: &'static str, status: &'static str, codes: &'static str) -> Refusal {
    Refusal { name, status, codes }
}

const MALFORMED_JSON: Refusal = refusal("MalformedJson", "400", "`invalid_argument`: not JSON");
const MALFORMED_SDP: Refusal = refusal("MalformedSdp", "400", "`sdp_invalid`");
const UNAUTHENTICATED: Refusal = refusal(
    "Unauthenticated",
    "401",
    "`unauthenticated`, `token_expired`; with `WWW-Authenticate`",
);
const FORBIDDEN: Refusal = refusal(
    "Forbidden",
    "403",
    "`permission_denied`, `not_seated`, `not_in_room`, `banned`, `seats_disabled`",
);
const NOT_FOUND: Refusal = refusal("NotFound", "404", "`room_not_found`, `request_not_found`, `not_found`");
const TIMEOUT: Refusal = refusal("RequestTimeout", "408", "`request_timeout`: the body took too long");
const CONFLICT: Refusal = refusal(
    "Conflict",
    "409",
    "`already_seated`, `seat_locked`, `seat_occupied`, `all_seats_occupied`, `conflict`, `request_cancelled`, \
        `request_expired`, `already_processed`, `already_invited`, `already_accepted`, `version_conflict`",
);
const NOTHING_TO_PLAY: Refusal = refusal("NothingToPlay", "409", "`nothing_to_play`; with `Retry-After`");
const ENDED: Refusal = refusal("RoomEnded", "410", "`room_ended`");
const PRECONDITION_FAILED: Refusal = refusal("PreconditionFailed", "412", "`precondition_failed`");
const TOO_LARGE: Refusal = refusal("PayloadTooLarge", "413", "`payload_too_large`");
const MEDIA_TYPE: Refusal = refusal(
    "UnsupportedMediaType",
    "415",
    "`unsupported_media_type`; with `Accept-Post` or `Accept-Patch` where it is not JSON",
);
const INVALID: Refusal = refusal(
    "Invalid",
    "422",
    "`invalid_argument` (with `field`), `seat_index_invalid`, `idempotency_key_reused`",
);
const UNACCEPTABLE_OFFER: Refusal = refusal(
    "UnacceptableOffer",
    "422",
    "`codec_unsupported`, `invalid_argument`, `seat_index_invalid`",
);
const PRECONDITION_REQUIRED: Refusal = refusal(
    "PreconditionRequired",
    "428",
    "`precondition_required`: send `If-Match`",
);
const TOO_MANY: Refusal = refusal(
    "TooManyRequests",
    "429",
    "`rate_limited`, `cooldown`, `queue_full`; with `Retry-After`",
);
const UNAVAILABLE: Refusal = refusal(
    "Unavailable",
    "503",
    "`capacity_exhausted`, `server_draining`; with `Retry-After`",
);

/// Every refusal, once: what the operations' lists refer to.
const REFUSALS: [Refusal; 17] = [
    MALFORMED_JSON,
    MALFORMED_SDP,
    UNAUTHENTICATED,
    FORBIDDEN,
    NOT_FOUND,
    TIMEOUT,
    CONFLICT,
    NOTHING_TO_PLAY,
    ENDED,
    PRECONDITION_FAILED,
    TOO_LARGE,
    MEDIA_TYPE,
    INVALID,
    UNACCEPTABLE_OFFER,
    PRECONDITION_REQUIRED,
    TOO_MANY,
    UNAVAILABLE,
];

const SDP_ANSWER: &str = "SdpAnswer";
const ICE_RESTARTED: &str = "IceRestarted";

/// What a WHIP or WHEP POST leads to.
fn sdp_answer() -> Response {
    text_response("The answer", SDP)
        .header("Location", header("The resource, absolute"))
        .header("ETag", header("Strong"))
        .header("Link", header("One per ICE server"))
        .header("Accept-Patch", header("What a PATCH of the resource may hold"))
        .build()
}

/// What a PATCH with new ICE credentials leads to.
fn ice_restarted() -> Response {
    let description = "ICE restarted: the server's new credentials and candidates";
    text_response(description, FRAGMENT)
        .header("ETag", header("The new one"))
        .build()
}

fn text_response(description: &str, media_type: &str) -> ResponseBuilder {
    let content = Content::new(Some(String::schema()));
    ResponseBuilder::new()
        .description(description)
        .content(media_type, content)
}

fn header(description: &str) -> Header {
    HeaderBuilder::new()
        .schema(Some(String::schema()))
        .description(Some(description))
        .build()
}

/// Puts [`REFUSALS`] and what WHIP and WHEP have in common among the shared responses.
/// An object that is part of a larger one: closed by itself, it would forbid what the larger one adds.
struct OpenParts;

impl Modify for OpenParts {
    fn modify(&self, contract: &mut utoipa::openapi::OpenApi) {
        let schemas = &mut contract.components.get_or_insert_default().schemas;
        let mut parts = Vec::new();
        for schema in schemas.values() {
            if let RefOr::T(Schema::AllOf(whole)) = schema {
                parts.extend(whole.items.iter().filter_map(|item| match item {
                    RefOr::Ref(reference) => reference.ref_location.rsplit('/').next().map(str::to_owned),
                    RefOr::T(_) => None,
                }));
            }
        }
        for part in parts {
            if let Some(RefOr::T(Schema::Object(object))) = schemas.get_mut(&part) {
                object.additional_properties = None;
            }
        }
    }
}

struct SharedResponses;

impl Modify for SharedResponses {
    fn modify(&self, contract: &mut utoipa::openapi::OpenApi) {
        let components = contract.components.get_or_insert_default();
        for Refusal { name, codes, .. } in &REFUSALS {
            let content = Content::new(Some(Ref::from_schema_name("Problem")));
            let response = ResponseBuilder::new()
                .description(*codes)
                .content("application/problem+json", content)
                .build();
            components.responses.insert((*name).to_owned(), RefOr::T(response));
        }
        components.responses.insert(SDP_ANSWER.into(), RefOr::T(sdp_answer()));
        components
            .responses
            .insert(ICE_RESTARTED.into(), RefOr::T(ice_restarted()));
    }
}

type Responses = BTreeMap<String, RefOr<Response>>;

fn references(refusals: &[Refusal]) -> Responses {
    let reference = |refusal: &Refusal| {
        let reference = RefOr::Ref(Ref::from_response_name(refusal.name));
        (refusal.status.to_owned(), reference)
    };
    refusals.iter().map(reference).collect()
}

/// What a read can be refused with.
pub(super) struct ReadErrors;

impl IntoResponses for ReadErrors {
    fn responses() -> Responses {
        references(&[UNAUTHENTICATED, FORBIDDEN, NOT_FOUND, INVALID])
    }
}

/// What a JSON call can be refused with.
pub(super) struct JsonErrors;

impl IntoResponses for JsonErrors {
    fn responses() -> Responses {
        references(&[
            MALFORMED_JSON,
            UNAUTHENTICATED,
            FORBIDDEN,
            NOT_FOUND,
            TIMEOUT,
            CONFLICT,
            ENDED,
            TOO_LARGE,
            MEDIA_TYPE,
            INVALID,
            TOO_MANY,
            UNAVAILABLE,
        ])
    }
}

/// What an offer leads to.
pub(super) struct OfferAnswers;

impl IntoResponses for OfferAnswers {
    fn responses() -> Responses {
        let mut responses = references(&[
            MALFORMED_SDP,
            UNAUTHENTICATED,
            FORBIDDEN,
            NOT_FOUND,
            TIMEOUT,
            NOTHING_TO_PLAY,
            ENDED,
            TOO_LARGE,
            MEDIA_TYPE,
            UNACCEPTABLE_OFFER,
            UNAVAILABLE,
        ]);
        responses.insert("201".into(), RefOr::Ref(Ref::from_response_name(SDP_ANSWER)));
        responses
    }
}

/// What a PATCH of a WHIP or WHEP resource leads to.
pub(super) struct FragmentAnswers;

impl IntoResponses for FragmentAnswers {
    fn responses() -> Responses {
        let mut responses = ResourceErrors::responses();
        let trickled = ResponseBuilder::new().description("Candidates taken note of").build();
        responses.insert("204".into(), RefOr::T(trickled));
        responses.insert("200".into(), RefOr::Ref(Ref::from_response_name(ICE_RESTARTED)));
        responses
    }
}

/// What a call on a WHIP or WHEP resource can be refused with.
pub(super) struct ResourceErrors;

impl IntoResponses for ResourceErrors {
    fn responses() -> Responses {
        references(&[
            MALFORMED_SDP,
            UNAUTHENTICATED,
            FORBIDDEN,
            NOT_FOUND,
            TIMEOUT,
            PRECONDITION_FAILED,
            TOO_LARGE,
            MEDIA_TYPE,
            PRECONDITION_REQUIRED,
        ])
    }
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

    /// A reader meets a refusal once, and every reference leads somewhere.
    #[test]
    fn what_is_shared_is_referred_to() {
        fn references<'v>(value: &'v serde_json::Value, found: &mut Vec<&'v str>) {
            match value {
                serde_json::Value::Object(map) => {
                    found.extend(map.get("$ref").and_then(|reference| reference.as_str()));
                    map.values().for_each(|value| references(value, found));
                }
                serde_json::Value::Array(list) => list.iter().for_each(|value| references(value, found)),
                _ => {}
            }
        }
        let contract: serde_json::Value = serde_json::from_str(&text()).expect("JSON");
        let mut found = Vec::new();
        references(&contract, &mut found);
        for reference in &found {
            let pointer = reference.strip_prefix('#').expect("a local reference");
            assert!(contract.pointer(pointer).is_some(), "{reference} leads nowhere");
        }
        for Refusal { name, .. } in &REFUSALS {
            let reference = format!("#/components/responses/{name}");
            assert!(found.contains(&reference.as_str()), "nothing is refused with {name}");
        }
        let lines = text().lines().count();
        let paths = contract["paths"].as_object().expect("paths").values();
        let operations: usize = paths.map(|path| path.as_object().expect("operations").len()).sum();
        assert!(
            lines < 145 * operations,
            "{lines} lines for {operations} operations: something is written out in every one"
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
        let operations: Vec<&serde_json::Value> = operations.collect();
        for operation in &operations {
            let summary = operation["summary"].as_str();
            assert!(summary.is_some_and(|summary| !summary.is_empty()), "{operation}");
        }
        let names: Vec<&str> = operations
            .iter()
            .filter_map(|operation| operation["operationId"].as_str())
            .collect();
        let distinct: std::collections::BTreeSet<&str> = names.iter().copied().collect();
        assert_eq!(names.len(), distinct.len());
        assert_eq!(names.len(), 48);
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
