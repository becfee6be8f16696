//! Who calls: HS256 tokens (RFC 7519) in `Authorization: Bearer`. Pure: the time of day is an argument, except in
//! [`mint`].

use super::error::Problem;
use crate::room::{Code, Person, Principal, Refusal, Role, RoomId, UserId};
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
    let until = now
        .as_millisecond()
        .saturating_add(i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX));
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

/// The configured keys.
pub(super) struct Keys {
    verify: BTreeMap<String, DecodingKey>,
    secrets: BTreeMap<String, String>,
}

/// Whoever sent a request with a good token.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub principal: Principal,
    /// `None`: every room.
    pub room: Option<RoomId>,
    /// Which key signed the token.
    pub key_id: String,
    /// When the token expires, in milliseconds since 1970.
    pub expires_ms: i64,
}

impl Caller {
    pub fn user(&self) -> &UserId {
        &self.principal.person.user
    }
    pub fn is_service(&self) -> bool {
        self.principal.role == Role::Service
    }
    /// A right token for another room is a 403.
    pub fn expect_room(&self, room: &RoomId) -> Result<(), Refusal> {
        match &self.room {
            Some(own) if own != room => Err(Refusal::new(
                Code::PermissionDenied,
                format!("the token is for room {:?}", own.as_str()),
            )),
            _ => Ok(()),
        }
    }
}

impl Keys {
    pub fn new(keys: &BTreeMap<String, String>) -> Self {
        let verify = keys
            .iter()
            .map(|(id, secret)| (id.clone(), DecodingKey::from_secret(secret.as_bytes())));
        Keys {
            verify: verify.collect(),
            secrets: keys.clone(),
        }
    }

    /// Sign with the key `id`; without one named, with the first. `None`: there is no such key.
    pub fn mint(&self, id: Option<&str>, grant: &Grant, expires: Timestamp) -> Option<String> {
        let (id, secret) = match id {
            Some(id) => self.secrets.get_key_value(id)?,
            None => self.secrets.first_key_value()?,
        };
        Some(mint_until(id, secret, grant, expires))
    }

    /// Who sent `Authorization`, if anybody did.
    pub fn caller(&self, headers: &HeaderMap, now: Timestamp) -> Result<Option<Caller>, Problem> {
        let Some(value) = headers.get(header::AUTHORIZATION) else {
            return Ok(None);
        };
        let text = value
            .to_str()
            .map_err(|_| invalid_token("the Authorization header is not text"))?;
        match text.split_once(' ') {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => self.verify(token.trim(), now).map(Some),
            _ => Err(invalid_token("the Authorization header is not a bearer token")),
        }
    }

    /// The same for those who may not be able to set a header: `token` is what the query has.
    pub fn caller_or(
        &self,
        headers: &HeaderMap,
        token: Option<&str>,
        now: Timestamp,
    ) -> Result<Option<Caller>, Problem> {
        match (self.caller(headers, now)?, token) {
            (None, Some(token)) => self.verify(token, now).map(Some),
            (caller, _) => Ok(caller),
        }
    }

    /// The signature first, then the times, then what the claims say.
    fn verify(&self, token: &str, now: Timestamp) -> Result<Caller, Problem> {
        let unverified: Issuer = jsonwebtoken::dangerous::insecure_decode_claims(token)
            .map_err(|_| invalid_token("the token is not a JWT with an issuer"))?;
        let key = self
            .verify
            .get(&unverified.iss)
            .ok_or_else(|| invalid_token("the token's issuer is not a known key"))?;
        let mut only_signature = Validation::new(Algorithm::HS256);
        // The times are checked below against our own `now`; there is no audience in the contract.
        (only_signature.validate_exp, only_signature.validate_aud) = (false, false);
        only_signature.required_spec_claims.clear();
        let claims =
            jsonwebtoken::decode::<Claims>(token, key, &only_signature).map_err(|error| match error.kind() {
                ErrorKind::InvalidAlgorithm => invalid_token("the token is not signed with HS256"),
                ErrorKind::Json(why) => invalid_token(&format!("the token's claims are incomplete: {why}")),
                _ => invalid_token("the token's signature is wrong"),
            })?;
        let claims = claims.claims;
        let now_s = now.as_duration().as_secs_f64();
        // An `exp` that is no number fails the comparison as it should.
        let alive = claims.exp.as_f64().is_some_and(|exp| now_s < exp);
        if !alive {
            return Err(Refusal::new(Code::TokenExpired, "the token has expired: fetch a fresh one").into());
        }
        if claims
            .nbf
            .as_ref()
            .and_then(|nbf| nbf.as_f64())
            .is_some_and(|nbf| now_s + NOT_BEFORE_SLACK_S < nbf)
        {
            return Err(invalid_token("the token is not valid yet"));
        }
        claims.caller()
    }
}

/// The one claim that is read before the signature: it names the key.
#[derive(Deserialize)]
struct Issuer {
    iss: String,
}

impl Claims {
    fn caller(self) -> Result<Caller, Problem> {
        let role = Role::from(self.role);
        // A service acts in its own name only where no person is meant, so it may do without one.
        let sub = self.sub.unwrap_or_else(|| {
            if role == Role::Service {
                "service".into()
            } else {
                String::new()
            }
        });
        let user = UserId::parse(&sub).map_err(|_| invalid_token("the token's sub is not a user id"))?;
        let room = match self.room.as_str() {
            "*" => None,
            id => Some(RoomId::parse(id).map_err(|_| invalid_token("the token's room is not a room id"))?),
        };
        // Saturates: whoever signs for longer than time lasts means it.
        let expires_ms = self.exp.as_f64().map_or(0, |exp| (exp * 1000.0) as i64);
        let person = Person {
            user,
            name: self.name,
            avatar_url: self.avatar_url,
        };
        Ok(Caller {
            principal: Principal { person, role },
            room,
            key_id: self.iss,
            expires_ms,
        })
    }
}

/// A token was sent, and it is no good (RFC 6750 section 3.1).
fn invalid_token(detail: &str) -> Problem {
    Problem::from(Refusal::new(Code::Unauthenticated, detail))
        .challenge("Bearer realm=\"costage\", error=\"invalid_token\"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::response::IntoResponse;
    use serde_json::json;

    const SECRET: &str = "devsecret-devsecret-devsecret-00";
    const NOW_S: i64 = 1_800_000_000;

    fn keys() -> Keys {
        let of = |id: &str, secret: &str| (id.to_owned(), secret.to_owned());
        Keys::new(&[of("devkey", SECRET), of("second", "another-secret-another-secret-00")].into())
    }

    fn now() -> Timestamp {
        Timestamp::from_second(NOW_S).expect("a time")
    }

    fn signed(claims: &serde_json::Value, algorithm: Algorithm, secret: &str) -> String {
        let key = EncodingKey::from_secret(secret.as_bytes());
        jsonwebtoken::encode(&Header::new(algorithm), claims, &key).expect("encodes")
    }

    fn claims() -> serde_json::Value {
        json!({"iss": "devkey", "sub": "bob", "exp": NOW_S + 60, "room": "demo", "role": "member", "name": "Bob"})
    }

    fn with(key: &str, value: serde_json::Value) -> serde_json::Value {
        let mut claims = claims();
        claims[key] = value;
        claims
    }

    fn code_of(token: &str) -> String {
        match keys().verify(token, now()) {
            Ok(caller) => format!(
                "{}@{}",
                caller.user().as_str(),
                caller.room.as_ref().map_or("*", |r| r.as_str())
            ),
            Err(problem) => problem.code().to_owned(),
        }
    }

    #[test]
    fn a_minted_token_is_read_back() {
        let grant = Grant {
            room: "demo".into(),
            user: "bob/".replace('/', "é"),
            role: RoleName::Host,
            name: Some("Bob".into()),
            avatar_url: None,
        };
        let token = keys()
            .mint(Some("second"), &grant, now() + Duration::from_secs(1))
            .expect("a known key");
        let caller = keys().verify(&token, now()).expect("a good token");
        assert_eq!(caller.user().as_str(), "bobé");
        assert_eq!(caller.principal.role, Role::Host);
        assert_eq!(caller.principal.person.name.as_deref(), Some("Bob"));
        assert_eq!(caller.key_id, "second");
        assert_eq!(caller.expires_ms, (NOW_S + 1) * 1000);
        assert!(keys().mint(Some("third"), &grant, now()).is_none());
        let fresh = mint("devkey", SECRET, &grant, Duration::from_secs(60));
        assert!(keys().verify(&fresh, Timestamp::now()).is_ok());
    }

    #[test]
    fn tokens_and_what_they_are_worth() {
        let hs = |claims: &serde_json::Value| code_of(&signed(claims, Algorithm::HS256, SECRET));
        assert_eq!(hs(&claims()), "bob@demo");
        assert_eq!(hs(&with("room", json!("*"))), "bob@*");
        assert_eq!(hs(&with("exp", json!(NOW_S))), "token_expired");
        assert_eq!(hs(&with("exp", json!(NOW_S as f64 + 0.5))), "bob@demo");
        assert_eq!(hs(&with("nbf", json!(NOW_S + 3))), "bob@demo");
        assert_eq!(hs(&with("nbf", json!(NOW_S + 30))), "unauthenticated");
        assert_eq!(hs(&with("aud", json!("somebody"))), "bob@demo");
        assert_eq!(hs(&with("iss", json!("nobody"))), "unauthenticated");
        assert_eq!(hs(&with("role", json!("root"))), "unauthenticated");
        assert_eq!(hs(&with("room", json!("../x"))), "unauthenticated");
        assert_eq!(hs(&with("sub", json!("me"))), "unauthenticated");
        for missing in ["iss", "sub", "exp", "room", "role"] {
            let mut claims = claims();
            claims.as_object_mut().expect("an object").remove(missing);
            assert_eq!(hs(&claims), "unauthenticated", "{missing}");
        }
        let mut service = with("role", json!("service"));
        service.as_object_mut().expect("an object").remove("sub");
        assert_eq!(hs(&service), "service@demo");
    }

    #[test]
    fn forged_tokens_are_refused() {
        assert_eq!(code_of(&signed(&claims(), Algorithm::HS512, SECRET)), "unauthenticated");
        assert_eq!(
            code_of(&signed(&claims(), Algorithm::HS256, "another-secret-another-secret-00")),
            "unauthenticated"
        );
        // {"alg":"none","typ":"JWT"}, the good claims, and no signature.
        let good = signed(&claims(), Algorithm::HS256, SECRET);
        let body = good.split('.').nth(1).expect("claims");
        assert_eq!(
            code_of(&format!("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{body}.")),
            "unauthenticated"
        );
        for nonsense in ["", ".", "..", "a.b.c", "é", good.trim_end_matches(|c| c != '.')] {
            assert_eq!(code_of(nonsense), "unauthenticated", "{nonsense}");
        }
    }

    #[test]
    fn the_challenge_says_what_is_wrong() {
        let mut headers = HeaderMap::new();
        assert!(keys().caller(&headers, now()).expect("nobody").is_none());
        headers.insert("authorization", "Basic abc".parse().expect("a value"));
        let refused = keys()
            .caller(&headers, now())
            .expect_err("not a bearer token")
            .into_response();
        assert_eq!(refused.headers().get_all("www-authenticate").iter().count(), 1);
        assert_eq!(
            refused.headers()["www-authenticate"],
            "Bearer realm=\"costage\", error=\"invalid_token\""
        );
        headers.insert(
            "authorization",
            format!("bearer {}", signed(&claims(), Algorithm::HS256, SECRET))
                .parse()
                .expect("a value"),
        );
        assert!(keys().caller(&headers, now()).expect("good").is_some());
    }

    #[test]
    fn the_query_is_for_those_without_a_header() {
        let token = signed(&claims(), Algorithm::HS256, SECRET);
        let user = |headers: &HeaderMap, query: Option<&str>| match keys().caller_or(headers, query, now()) {
            Ok(caller) => caller.map_or("nobody".into(), |caller| caller.user().as_str().to_owned()),
            Err(problem) => problem.code().to_owned(),
        };
        let mut headers = HeaderMap::new();
        assert_eq!(user(&headers, None), "nobody");
        assert_eq!(user(&headers, Some(&token)), "bob");
        assert_eq!(user(&headers, Some("")), "unauthenticated");
        let eve = signed(&with("sub", json!("eve")), Algorithm::HS256, SECRET);
        headers.insert("authorization", format!("Bearer {eve}").parse().expect("a value"));
        assert_eq!(user(&headers, Some(&token)), "eve");
    }

    #[test]
    fn lifetimes_round_up_to_seconds() {
        let at = |ms: i64, ttl_ms: u64| {
            expiry(
                Timestamp::from_millisecond(ms).expect("a time"),
                Duration::from_millis(ttl_ms),
            )
            .as_millisecond()
        };
        assert_eq!(at(1000, 1000), 2000);
        assert_eq!(at(1001, 1000), 3000);
    }
}
