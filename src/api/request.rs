//! Reading requests: callers, path and query parameters, bodies. Whatever is wrong becomes a [`Problem`] here, so that
//! handlers see parsed values only.

use super::auth::Caller;
use super::error::{Problem, Wire};
use super::{State, origin};
use crate::room::{Code, Refusal, RoomId, UserId};
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{ConnectInfo, FromRequest, FromRequestParts, RawPathParams, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// The base of absolute URLs, see [`origin::base_url`].
pub(super) struct BaseUrl(pub String);

impl FromRequestParts<State> for BaseUrl {
    type Rejection = Infallible;
    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, Infallible> {
        Ok(BaseUrl(origin::base_url(
            state.options(),
            peer(parts),
            &parts.uri,
            &parts.headers,
        )))
    }
}

fn peer(parts: &Parts) -> Option<IpAddr> {
    parts
        .extensions
        .get::<ConnectInfo<SocketAddr>>()
        .map(|ConnectInfo(address)| address.ip())
}

/// Nobody in particular, or whoever the token names. A bad token is refused even where none is needed.
pub(super) struct Visitor(pub Option<Caller>);

impl FromRequestParts<State> for Visitor {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, Problem> {
        state.shared.keys.caller(&parts.headers, Timestamp::now()).map(Visitor)
    }
}

impl Visitor {
    /// The caller; 401 without one.
    pub fn known(self) -> Result<Caller, Refusal> {
        self.0.ok_or_else(|| {
            Refusal::new(
                Code::Unauthenticated,
                "this call needs a token: Authorization: Bearer …",
            )
        })
    }
}

impl FromRequestParts<State> for Caller {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, Problem> {
        Ok(Visitor::from_request_parts(parts, state).await?.known()?)
    }
}

/// A caller and the room of the path, for which the token is good.
pub(super) struct InRoom {
    pub room: RoomId,
    pub caller: Caller,
}

impl FromRequestParts<State> for InRoom {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, Problem> {
        let caller = Caller::from_request_parts(parts, state).await?;
        let room = RoomId::parse(&room_param(parts).await?)?;
        caller.expect_room(&room)?;
        Ok(InRoom { room, caller })
    }
}

impl InRoom {
    /// The user a path names; `me` is the caller.
    pub fn user(&self, named: &str) -> Result<UserId, Refusal> {
        match named {
            "me" => Ok(self.caller.user().clone()),
            named => UserId::parse(named),
        }
    }
}

/// Like [`InRoom`], for what may not need a token.
pub(super) struct AtRoom {
    pub room: RoomId,
    pub visitor: Visitor,
}

impl FromRequestParts<State> for AtRoom {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, Problem> {
        let visitor = Visitor::from_request_parts(parts, state).await?;
        let room = RoomId::parse(&room_param(parts).await?)?;
        if let Some(caller) = &visitor.0 {
            caller.expect_room(&room)?;
        }
        Ok(AtRoom { room, visitor })
    }
}

/// The path's last parameter, percent-decoded: a seat, a user, a resource.
pub(super) struct Last(pub String);

impl FromRequestParts<State> for Last {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, _: &State) -> Result<Self, Problem> {
        let params = params(parts).await?;
        let last = params.iter().last().map(|(_, value)| Last(value.to_owned()));
        last.ok_or_else(|| Problem::wire(Wire::NotFound, ""))
    }
}

/// The room id of the path, unchecked; empty where the path has none.
pub(super) async fn room_param(parts: &mut Parts) -> Result<String, Problem> {
    let params = params(parts).await?;
    Ok(params
        .iter()
        .find(|(key, _)| *key == "room")
        .map(|(_, value)| value.to_owned())
        .unwrap_or_default())
}

async fn params(parts: &mut Parts) -> Result<RawPathParams, Problem> {
    let params = RawPathParams::from_request_parts(parts, &()).await;
    params.map_err(|_| Problem::wire(Wire::NotFound, "the path is not percent-encoded UTF-8"))
}

/// Query parameters; a wrong one is a 422.
pub(super) struct Query<T>(pub T);

impl<T: DeserializeOwned> FromRequestParts<State> for Query<T> {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, _: &State) -> Result<Self, Problem> {
        let query = axum::extract::Query::<T>::try_from_uri(&parts.uri);
        let refused = |error: axum::extract::rejection::QueryRejection| {
            let text = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
            invalid(named_in(&text).unwrap_or_else(|| before_colon(&text)), &text)
        };
        query.map(|query| Query(query.0)).map_err(refused)
    }
}

/// A JSON body: 415, 413, 408, 400 when it can't be parsed, 422 naming the field when it says something unknown.
pub(super) struct Json<T>(pub T);

impl<T: DeserializeOwned> FromRequest<State> for Json<T> {
    type Rejection = Problem;
    async fn from_request(request: Request, state: &State) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        expect_json(&parts.headers)?;
        let limits = state.options().limits;
        let bytes = read(&parts.headers, body, limits.json_bytes, limits.body_timeout).await?;
        parse(&bytes).map(Json)
    }
}

/// Like [`Json`]; no body at all says nothing, whatever its type.
pub(super) struct JsonOrNothing<T>(pub T);

impl<T: DeserializeOwned + Default> FromRequest<State> for JsonOrNothing<T> {
    type Rejection = Problem;
    async fn from_request(request: Request, state: &State) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let limits = state.options().limits;
        let bytes = read(&parts.headers, body, limits.json_bytes, limits.body_timeout).await?;
        if bytes.is_empty() {
            return Ok(JsonOrNothing(T::default()));
        }
        expect_json(&parts.headers)?;
        parse(&bytes).map(JsonOrNothing)
    }
}

fn expect_json(headers: &HeaderMap) -> Result<(), Problem> {
    let kind = media_type(headers).unwrap_or_default();
    if kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json")) {
        Ok(())
    } else {
        Err(Problem::wire(Wire::UnsupportedMediaType, "send application/json"))
    }
}

/// A body that is text of one media type: 415, 413, 408.
pub(super) async fn text(request: Request, state: &State, kind: &str) -> Result<String, Problem> {
    let (parts, body) = request.into_parts();
    if media_type(&parts.headers).as_deref() != Some(kind) {
        let problem = Problem::wire(Wire::UnsupportedMediaType, format!("send {kind}"));
        return Err(problem);
    }
    let limits = state.options().limits;
    let bytes = read(&parts.headers, body, limits.sdp_bytes, limits.body_timeout).await?;
    let text = String::from_utf8(bytes.into());
    Ok(text.map_err(|_| Refusal::new(Code::SdpInvalid, "the body is not UTF-8"))?)
}

/// At most `limit` bytes within `timeout`.
pub(super) async fn read(headers: &HeaderMap, body: Body, limit: usize, timeout: Duration) -> Result<Bytes, Problem> {
    let too_large = || Problem::wire(Wire::PayloadTooLarge, format!("the body may have {limit} bytes"));
    let announced = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|n| n.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > limit) {
        return Err(too_large());
    }
    match tokio::time::timeout(timeout, to_bytes(body, limit)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        // A peer that went away reads no answer, so what is left is the limit.
        Ok(Err(_)) => Err(too_large()),
        Err(_) => Err(Problem::wire(Wire::RequestTimeout, "the body took too long")),
    }
}

/// The `Content-Type` without parameters, in lower case.
fn media_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    value.split(';').next().map(|kind| kind.trim().to_ascii_lowercase())
}

/// Bytes → value, or which field is wrong.
pub(super) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let (path, inner) = (error.path().to_string(), error.inner());
        if inner.is_data() {
            field_problem(&path, &inner.to_string())
        } else {
            malformed(inner)
        }
    })?;
    json.end().map_err(|error| malformed(&error))?;
    Ok(value)
}

/// A value that is JSON already; `prefix` is where it stands in the body, empty if it is all of it.
pub(super) fn parse_value<T: DeserializeOwned>(value: serde_json::Value, prefix: &str) -> Result<T, Problem> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = match (prefix, error.path().to_string().as_str()) {
            (_, ".") => prefix.to_owned(),
            ("", path) => path.to_owned(),
            (_, path) => format!("{prefix}.{path}"),
        };
        field_problem(&path, &error.inner().to_string())
    })
}

fn malformed(error: &serde_json::Error) -> Problem {
    Problem::wire(Wire::MalformedJson, format!("not JSON: {error}"))
}

/// `path` is where the reader stood: the object for a missing field, the field itself for a wrong one.
fn field_problem(path: &str, text: &str) -> Problem {
    let path = if path == "." { "" } else { path };
    let field = match named_in(text) {
        Some(name) if path.is_empty() => name.to_owned(),
        Some(name) if path != name && !path.ends_with(&format!(".{name}")) => format!("{path}.{name}"),
        _ => path.to_owned(),
    };
    // The position in the text helps nobody who is told the field.
    let text = text.split(" at line ").next().unwrap_or(text);
    invalid(&field, text)
}

/// The field a serde message is about: "unknown field `x`, …", "missing field `x`", "duplicate field `x`".
fn named_in(text: &str) -> Option<&str> {
    let rest = text
        .strip_prefix("unknown field `")
        .or_else(|| text.strip_prefix("missing field `"))
        .or_else(|| text.strip_prefix("duplicate field `"))?;
    rest.split('`').next()
}

/// The key a query error begins with: "limit: invalid digit …".
fn before_colon(text: &str) -> &str {
    text.split_once(':').map_or("query", |(key, _)| key)
}

fn invalid(field: &str, detail: &str) -> Problem {
    if field.is_empty() {
        return Refusal::new(Code::InvalidArgument, detail).into();
    }
    Refusal::invalid(field, detail).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Deserialize, Debug, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        depth: u8,
    }

    #[derive(Deserialize, Debug, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Outer {
        inner: Inner,
        word: Option<String>,
    }

    fn outcome(text: &str) -> (String, Option<String>) {
        match parse::<Outer>(text.as_bytes()) {
            Ok(_) => ("ok".into(), None),
            Err(problem) => (
                format!("{} {}", problem.status().as_u16(), problem.code()),
                problem.field(),
            ),
        }
    }

    #[test]
    fn a_wrong_field_is_named() {
        let table = [
            (r#"{"inner": {"depth": 1}}"#, "ok", None),
            (
                r#"{"inner": {"depth": 300}}"#,
                "422 invalid_argument",
                Some("inner.depth"),
            ),
            (
                r#"{"inner": {"depth": "1"}}"#,
                "422 invalid_argument",
                Some("inner.depth"),
            ),
            (
                r#"{"inner": {"depth": 1, "x": 2}}"#,
                "422 invalid_argument",
                Some("inner.x"),
            ),
            (r#"{"inner": {}}"#, "422 invalid_argument", Some("inner.depth")),
            (r#"{"word": "a"}"#, "422 invalid_argument", Some("inner")),
            (
                r#"{"inner": {"depth": 1}, "wrod": "a"}"#,
                "422 invalid_argument",
                Some("wrod"),
            ),
            (
                r#"{"inner": {"depth": 1}, "word": 7}"#,
                "422 invalid_argument",
                Some("word"),
            ),
            (
                r#"{"word": "a", "inner": {"depth": 1, "depth": 1}}"#,
                "422 invalid_argument",
                Some("inner.depth"),
            ),
            (r#"{"word": "a", "word": "a"}"#, "422 invalid_argument", Some("word")),
            ("7", "422 invalid_argument", None),
            (r#"{"inner": "#, "400 invalid_argument", None),
            (r#"{"inner": {"depth": 1}} x"#, "400 invalid_argument", None),
            ("", "400 invalid_argument", None),
        ];
        for (text, expected, field) in table {
            assert_eq!(outcome(text), (expected.to_owned(), field.map(str::to_owned)), "{text}");
        }
    }

    #[test]
    fn a_value_inside_a_body_is_named_with_its_prefix() {
        let problem = parse_value::<Inner>(serde_json::json!({"depth": -1}), "policies").expect_err("out of range");
        assert_eq!(problem.field().as_deref(), Some("policies.depth"));
        let problem = parse_value::<Inner>(serde_json::json!({"depth": 1, "x": 1}), "policies").expect_err("unknown");
        assert_eq!(problem.field().as_deref(), Some("policies.x"));
    }
}
