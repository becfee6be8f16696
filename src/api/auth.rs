//! Who calls: HS256 tokens (RFC 7519) in `Authorization: Bearer`. Pure: the time of day is an argument, except in
//! [`mint`].

use super::error::Problem;
use crate::room::{Code, Person, Principal, Role, RoomId, UserId};
use axum::http::{HeaderMap, header};
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, errors::ErrorKind};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;
use utoipa::ToSchema;

/// How much an issuer's clock may be ahead of ours before `nbf` is taken at its word. `exp` gets no such grace.
const NOT_BEFORE_SLACK_S: f64 = 5.0;

/// The `role` claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RoleName {
    Service,
    Host,
    Admin,
    Member,
}

impl From<RoleName> for Role {
    fn from(name: RoleName) -> Role {
        match name {
            RoleName::Service => Role::Service,
            RoleName::Host => Role::Host,
            RoleName::Admin => Role::Admin,
            RoleName::Member => Role::Member,
        }
    }
}

/// What a token grants: its claims but for `iss`, `exp` and `nbf`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// A room id, or `*` for every room.
    pub room: String,
    pub user: String,
    pub role: RoleName,
    pub name: Option<String>,
    pub avatar_url: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Claims {
    #[serde(default)]
    iss: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sub: Option<String>,
    /// Seconds since 1970 (RFC 7519 NumericDate, which may have a fraction).
    exp: serde_json::Number,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    nbf: Option<serde_json::Number>,
    room: String,
    role: RoleName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    avatar_url: Option<String>,
}

/// A signed token that expires `ttl` from now, rounded up to a whole second.
pub fn mint(key_id: &str, secret: &str, grant: &Grant, ttl: Duration) -> String {
    mint_until(key_id, secret, grant, expiry(Timestamp::now(), ttl))
}

/// When a token minted at `now` for `ttl` expires: a whole second, since that is what every JWT library reads.
pub(super) fn expiry(now: Timestamp, ttl: Duration) -> Timestamp {
    let until = now.as_millisecond().saturating_add(i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX));
    let seconds = until.div_euclid(1000) + i64::from(until.rem_euclid(1000) != 0);
    Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX)
}

pub(super) fn mint_until(key_id: &str, secret: &str, grant: &Grant, expires: Timestamp) -> String {
    let claims = Claims {
        iss: key_id.to_owned(),
        sub: Some(grant.user.clone()),
        exp: expires.as_second().into(),
        nbf: None,
        room: grant.room.clone(),
        role: grant.role,
        name: grant.name.clone(),
        avatar_url: grant.avatar_url.clone(),
    };
    let key = EncodingKey::from_secret(secret.as_bytes());
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &key).expect("HMAC over plain claims can't fail")
}

/// The configured keys, ready to verify with.
pub(super) struct Keys {
    verify: BTreeMap<String, DecodingKey>,
    sign: BTreeMap<String, String>,
}

impl Keys {
    pub fn new(keys: &BTreeMap<String, String>) -> Self {
        let verify = keys.iter().map(|(id, secret)| (id.clone(), DecodingKey::from_secret(secret.as_bytes())));
        Keys { verify: verify.collect(), sign: keys.clone() }
    }
}
