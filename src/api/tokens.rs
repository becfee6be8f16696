//! `POST /v1/tokens`: tokens for integrators' people, and for the built-in pages of a server under development.

use super::auth::{self, Caller, Grant, RoleName};
use super::error::Problem;
use super::openapi::JsonErrors;
use super::origin::{host_of, is_loopback};
use super::request::{Json, Visitor};
use super::{Options, State};
use crate::room::{Code, Refusal, RoomId};
use crate::wire::{PersonFields, millis, rfc3339};
use axum::extract::State as Extract;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use utoipa::ToSchema;

/// Long enough to enter a room and come back after a lost connection: what runs outlives its token anyway.
const TTL_DEFAULT_MS: u64 = 3_600_000;
/// A token is whole seconds.
const TTL_MIN_MS: u64 = 1_000;
/// A week: there is no list of withdrawn tokens, so a lost one is good until it ends.
const TTL_MAX_MS: u64 = 7 * 24 * 3_600_000;

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CreateToken {
    /// A room id, or `*` for every room.
    room: String,
    #[schema(min_length = 1, max_length = 128)]
    user: String,
    role: RoleName,
    #[schema(max_length = 256)]
    name: Option<String>,
    #[schema(max_length = 2048)]
    avatar_url: Option<String>,
    /// 1 s to 7 days; an hour when absent.
    #[schema(minimum = 1_000, maximum = 604_800_000)]
    ttl_ms: Option<u64>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct Token {
    token: String,
    #[schema(format = DateTime)]
    expires_at: String,
    expires_at_in_ms: u64,
}

/// Mint a token. Needs a service token, and grants nothing that one does not; under `--dev` on a loopback listener it
/// needs none.
#[utoipa::path(post, path = "/v1/tokens", tag = "tokens", operation_id = "create_token", security((), ("bearer" = [])), request_body = CreateToken,
    responses((status = 201, body = Token), JsonErrors))]
pub(super) async fn create(
    Extract(state): Extract<State>,
    visitor: Visitor,
    uri: Uri,
    headers: HeaderMap,
    Json(body): Json<CreateToken>,
) -> Result<Response, Problem> {
    let caller = match visitor.0 {
        None if needs_none(state.options(), &uri, &headers) => None,
        visitor => Some(service(Visitor(visitor))?),
    };
    let (grant, ttl) = body.grant()?;
    if let Some(own) = caller.as_ref().and_then(|caller| caller.room.as_ref())
        && grant.room != own.as_str()
    {
        return Err(Refusal::new(
            Code::PermissionDenied,
            format!("your token is for room {:?}", own.as_str()),
        )
        .into());
    }
    let now = Timestamp::now();
    let expires = auth::expiry(now, ttl);
    let token = state
        .shared
        .keys
        .mint(caller.as_ref().map(|caller| caller.key_id.as_str()), &grant, expires);
    let token =
        token.ok_or_else(|| Refusal::new(Code::PermissionDenied, "the server has no key to sign tokens with"))?;
    let left = Duration::try_from(expires.duration_since(now)).unwrap_or_default();
    let answer = Token {
        token,
        expires_at: rfc3339(expires),
        expires_at_in_ms: millis(left),
    };
    Ok((StatusCode::CREATED, axum::Json(answer)).into_response())
}

fn service(visitor: Visitor) -> Result<Caller, Refusal> {
    let caller = visitor.known()?;
    if caller.is_service() {
        Ok(caller)
    } else {
        Err(Refusal::new(
            Code::PermissionDenied,
            "tokens are minted by a service token",
        ))
    }
}

/// Under `--dev` on a loopback listener, for requests that name this machine: a web page from elsewhere that a developer
/// has open can reach the listener too, by its address or by a name that resolves to it, and must not get a token.
fn needs_none(options: &Options, uri: &Uri, headers: &HeaderMap) -> bool {
    let origin = headers
        .get(header::ORIGIN)
        .map(|origin| origin.to_str().unwrap_or("null"));
    let local_page = origin.is_none_or(|origin| origin.split_once("://").is_some_and(|(_, host)| is_loopback(host)));
    let local_name = match headers.contains_key(header::HOST) || uri.authority().is_some() {
        true => host_of(uri, headers).is_some_and(is_loopback),
        false => true,
    };
    options.dev && options.loopback && local_page && local_name
}

impl CreateToken {
    fn grant(self) -> Result<(Grant, Duration), Refusal> {
        if self.room != "*" {
            RoomId::parse(&self.room)?;
        }
        let fields = PersonFields {
            user: self.user,
            name: self.name,
            avatar_url: self.avatar_url,
        };
        let person = fields.person("")?;
        let ttl_ms = self.ttl_ms.unwrap_or(TTL_DEFAULT_MS);
        if !(TTL_MIN_MS..=TTL_MAX_MS).contains(&ttl_ms) {
            return Err(Refusal::invalid(
                "ttl_ms",
                format!("a token lives {TTL_MIN_MS} to {TTL_MAX_MS} ms"),
            ));
        }
        let grant = Grant {
            room: self.room,
            user: person.user.as_str().to_owned(),
            role: self.role,
            name: person.name,
            avatar_url: person.avatar_url,
        };
        Ok((grant, Duration::from_millis(ttl_ms)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_local_requests_to_a_local_dev_server_need_no_token() {
        let ask = |dev: bool, loopback: bool, host: Option<&str>, origin: Option<&str>| {
            let mut headers = HeaderMap::new();
            for (name, value) in [(header::HOST, host), (header::ORIGIN, origin)] {
                value.map(|value| headers.insert(name, value.parse().expect("a value")));
            }
            let options = Options {
                dev,
                loopback,
                ..Options::default()
            };
            needs_none(&options, &Uri::from_static("/v1/tokens"), &headers)
        };
        assert!(ask(true, true, None, None));
        assert!(ask(true, true, Some("127.0.0.1:8080"), None));
        assert!(ask(true, true, Some("localhost:8080"), Some("http://localhost:8080")));
        assert!(ask(true, true, Some("[::1]:8080"), Some("http://127.0.0.1:3000")));
        assert!(!ask(false, true, Some("127.0.0.1"), None));
        assert!(!ask(true, false, Some("127.0.0.1"), None));
        assert!(!ask(true, true, Some("127.0.0.1:8080"), Some("https://evil.example")));
        assert!(!ask(true, true, Some("127.0.0.1:8080"), Some("null")));
        assert!(!ask(
            true,
            true,
            Some("rebound.example:8080"),
            Some("http://rebound.example:8080")
        ));
    }

    #[test]
    fn every_field_is_looked_at() {
        let grant = |json: serde_json::Value| -> Result<Duration, String> {
            let body: CreateToken = serde_json::from_value(json).map_err(|error| error.to_string())?;
            body.grant()
                .map(|(_, ttl)| ttl)
                .map_err(|refusal| refusal.field.unwrap_or_default())
        };
        let with = |key: &str, value: serde_json::Value| {
            let mut body = serde_json::json!({"room": "demo", "user": "bob", "role": "member"});
            body[key] = value;
            body
        };
        assert_eq!(grant(with("name", "Bob".into())), Ok(Duration::from_secs(3600)));
        assert_eq!(grant(with("room", "*".into())), Ok(Duration::from_secs(3600)));
        assert_eq!(grant(with("ttl_ms", 1000.into())), Ok(Duration::from_secs(1)));
        assert_eq!(grant(with("ttl_ms", 999.into())), Err("ttl_ms".into()));
        assert_eq!(grant(with("ttl_ms", 604_800_001.into())), Err("ttl_ms".into()));
        assert_eq!(grant(with("room", "..".into())), Err("room".into()));
        assert_eq!(grant(with("user", "a/b".into())), Err("user".into()));
        assert_eq!(grant(with("name", "\n".into())), Err("name".into()));
        assert_eq!(grant(with("avatar_url", "data:,".into())), Err("avatar_url".into()));
        assert!(grant(with("role", "root".into())).is_err());
    }
}
