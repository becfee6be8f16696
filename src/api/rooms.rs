//! Rooms: create, list, read, change, end.

use super::State;
use super::auth::Caller;
use super::error::Problem;
use super::openapi::{JsonErrors, ReadErrors};
use super::page::Page;
use super::program::layout_of;
use super::request::{BaseUrl, InRoom, Json, Query};
use crate::mix::layout::Layout;
use crate::room::{
    Code, Command, Person, Policies, PoliciesPatch, ProgramSettings, Refusal, Role, RoomId, SeatMode, Settings,
    SettingsPatch, Snapshot,
};
use crate::wire::{LayoutForm, PersonIn, PoliciesOut, ProgramForm, RoomList, RoomOut, SeatModeName};
use axum::extract::State as Extract;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use rand::Rng;
use rand::distr::Alphanumeric;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

/// Characters of a generated room id: 62^16 of them, so that none is met twice or guessed.
const GENERATED_ID_CHARS: usize = 16;

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CreateRoom {
    /// `[A-Za-z0-9_-][A-Za-z0-9_.-]{0,63}`; absent: the token's room, or a random one where the token is for all.
    #[schema(pattern = "^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,63}$")]
    room: Option<String>,
    host: PersonIn,
    max_guests: Option<u8>,
    #[schema(value_type = Option<SeatModeName>)]
    seat_mode: Option<SeatMode>,
    /// Whether the program may be watched without a token; absent: only under `--dev`.
    public_program: Option<bool>,
    program: Option<ProgramForm>,
    layout: Option<LayoutForm>,
    #[schema(value_type = Option<PoliciesOut>)]
    policies: Option<Policies>,
    /// Where the room's events go beside the server's own receiver.
    #[schema(value_type = Option<WebhookIn>)]
    webhook: Option<Map<String, Value>>,
    /// The integrator's own.
    #[schema(value_type = Option<Object>)]
    metadata: Option<Map<String, Value>>,
}

/// A room's own receiver of events (Standard Webhooks).
#[derive(ToSchema)]
#[schema(as = Webhook)]
#[allow(dead_code, reason = "describes what `webhook` parses")]
pub(super) struct WebhookIn {
    /// `http` or `https`, to a public address or one that the server's `webhooks.allow` names.
    url: String,
    /// `whsec_` and 24 to 64 bytes in base64; absent: the server's. Never told to anybody.
    secret: Option<String>,
    /// Names of events; absent or empty: all that are sent.
    events: Option<Vec<String>>,
}

/// Create a room, or find it as it was created.
#[utoipa::path(post, path = "/v1/rooms", tag = "rooms", operation_id = "create_room", request_body = CreateRoom,
    params(("Idempotency-Key" = Option<String>, Header)),
    responses((status = 201, description = "Created", body = RoomOut, headers(("Location" = String))),
        (status = 200, description = "It exists with the same content", body = RoomOut), JsonErrors))]
pub(super) async fn create(
    Extract(state): Extract<State>,
    caller: Caller,
    BaseUrl(base): BaseUrl,
    Json(body): Json<CreateRoom>,
) -> Result<Response, Problem> {
    let id = match (&body.room, &caller.room) {
        (Some(id), _) => RoomId::parse(id)?,
        (None, Some(own)) => own.clone(),
        (None, None) => random_id()?,
    };
    caller.expect_room(&id)?;
    let settings = body.settings(&state, &caller).await?;
    state.shared.webhooks.check(&settings.webhook)?;
    may_create(&caller, &id, &settings.host)?;
    let (snapshot, created) = state.node.create(&caller.principal, id, settings).await?;
    let room = RoomOut::new(&snapshot, &base, &caller.principal);
    if !created {
        return Ok(axum::Json(room).into_response());
    }
    let location = format!("{base}/v1/rooms/{}", snapshot.id.as_str());
    let location = HeaderValue::try_from(location).map_err(|_| Refusal::invalid("room", "not a URL"))?;
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], axum::Json(room)).into_response())
}

/// A service any room; a host the one room of the token, for themselves.
fn may_create(caller: &Caller, room: &RoomId, host: &Person) -> Result<(), Refusal> {
    let hosts_it = caller.room.as_ref() == Some(room) && *caller.user() == host.user;
    match caller.principal.role {
        Role::Service => Ok(()),
        Role::Host if hosts_it => Ok(()),
        _ => Err(Refusal::new(
            Code::PermissionDenied,
            "a room is created by a service token, or by a host token for its own room with oneself as the host",
        )),
    }
}

fn random_id() -> Result<RoomId, Refusal> {
    let letters = rand::rng().sample_iter(Alphanumeric).take(GENERATED_ID_CHARS);
    RoomId::parse(&letters.map(char::from).collect::<String>())
}

impl CreateRoom {
    async fn settings(self, state: &State, caller: &Caller) -> Result<Settings, Problem> {
        let options = state.options();
        let object = |map: Option<Map<String, Value>>| map.map(Value::Object);
        Ok(Settings {
            host: named_by_token(self.host.person("host")?, caller),
            max_guests: self.max_guests.unwrap_or(options.default_guests),
            seat_mode: self.seat_mode.unwrap_or_default(),
            public_program: self.public_program.unwrap_or(options.dev),
            policies: self.policies.unwrap_or_default(),
            program: self.program.map(program).transpose()?.unwrap_or_default(),
            layout: layout(self.layout).await?.unwrap_or_default(),
            webhook: object(self.webhook).unwrap_or(Value::Null),
            metadata: object(self.metadata).unwrap_or_else(|| json!({})),
        })
    }
}

fn program(form: ProgramForm) -> Result<ProgramSettings, Refusal> {
    let program = ProgramSettings::default().patched(&form.into());
    program.map_err(|refusal| refusal.within("program"))
}

async fn layout(form: Option<LayoutForm>) -> Result<Option<Layout>, Problem> {
    let Some(form) = form else { return Ok(None) };
    let layout = layout_of(form).await?;
    Ok(Some(layout.map_err(|refusal| refusal.within("layout"))?))
}

/// Whoever names only themselves goes by the name and the picture of their token.
pub(super) fn named_by_token(person: Person, caller: &Caller) -> Person {
    if person.user != *caller.user() || caller.is_service() {
        return person;
    }
    let own = &caller.principal.person;
    Person {
        name: person.name.or_else(|| own.name.clone()),
        avatar_url: person.avatar_url.or_else(|| own.avatar_url.clone()),
        ..person
    }
}

/// All rooms the token is for, in order of their ids.
#[utoipa::path(get, path = "/v1/rooms", tag = "rooms", operation_id = "list_rooms", params(Page),
    responses((status = 200, body = RoomList), ReadErrors))]
pub(super) async fn list(
    Extract(state): Extract<State>,
    caller: Caller,
    BaseUrl(base): BaseUrl,
    Query(page): Query<Page>,
) -> Result<axum::Json<RoomList>, Problem> {
    if !caller.is_service() {
        return Err(Refusal::new(Code::PermissionDenied, "rooms are listed by a service token").into());
    }
    let limit = page.limit()?;
    let after = page.after(RoomId::parse)?;
    let snapshots = match &caller.room {
        // A token for one room: the list is that room, if it is there.
        Some(own) if after.as_ref().is_none_or(|after| after < own) => {
            Vec::from_iter(state.node.snapshot(own).await.ok())
        }
        Some(_) => Vec::new(),
        // One more than asked for tells whether there is a next page.
        None => state.node.list(after, limit + 1).await,
    };
    let (snapshots, next_cursor) = page.cut(snapshots.iter(), |snapshot| snapshot.id.as_str().to_owned())?;
    let reader = &caller.principal;
    let rooms = snapshots
        .iter()
        .map(|snapshot| RoomOut::new(snapshot, &base, reader))
        .collect();
    Ok(axum::Json(RoomList { rooms, next_cursor }))
}

/// One room.
#[utoipa::path(get, path = "/v1/rooms/{room}", tag = "rooms", operation_id = "read_room", params(("room" = String, Path)),
    responses((status = 200, body = RoomOut), ReadErrors))]
pub(super) async fn read(
    Extract(state): Extract<State>,
    InRoom { room, caller }: InRoom,
    BaseUrl(base): BaseUrl,
) -> Result<axum::Json<RoomOut>, Problem> {
    let snapshot = state.node.snapshot(&room).await?;
    Ok(shown_to(&caller, &snapshot, &base))
}

fn shown_to(caller: &Caller, snapshot: &Snapshot, base: &str) -> axum::Json<RoomOut> {
    axum::Json(RoomOut::new(snapshot, base, &caller.principal))
}

/// Absent: unchanged.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PatchRoom {
    max_guests: Option<u8>,
    #[schema(value_type = Option<SeatModeName>)]
    seat_mode: Option<SeatMode>,
    public_program: Option<bool>,
    /// Only the policies named change.
    #[schema(value_type = Option<PoliciesOut>)]
    policies: Option<PoliciesPatch>,
    program: Option<ProgramForm>,
    /// Replaces the one before, whole.
    layout: Option<LayoutForm>,
    /// Replaces the one before, whole; `null`: none.
    #[serde(default, deserialize_with = "nullable_object")]
    #[schema(value_type = Option<WebhookIn>)]
    webhook: Option<Value>,
    #[schema(value_type = Option<Object>)]
    metadata: Option<Map<String, Value>>,
}

/// An object, or the `null` that takes it away.
fn nullable_object<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    let object = Option::<Map<String, Value>>::deserialize(deserializer)?;
    Ok(Some(object.map_or(Value::Null, Value::Object)))
}

/// Change settings and policies.
#[utoipa::path(patch, path = "/v1/rooms/{room}", tag = "rooms", operation_id = "patch_room", request_body = PatchRoom,
    params(("room" = String, Path), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, body = RoomOut), JsonErrors))]
pub(super) async fn patch(
    Extract(state): Extract<State>,
    InRoom { room, caller }: InRoom,
    BaseUrl(base): BaseUrl,
    Json(body): Json<PatchRoom>,
) -> Result<axum::Json<RoomOut>, Problem> {
    if let Some(webhook) = &body.webhook {
        state.shared.webhooks.check(webhook)?;
    }
    let patch = SettingsPatch {
        max_guests: body.max_guests,
        seat_mode: body.seat_mode,
        public_program: body.public_program,
        policies: body.policies,
        program: body.program.map(Into::into),
        layout: layout(body.layout).await?,
        webhook: body.webhook,
        metadata: body.metadata.map(Value::Object),
        ..SettingsPatch::default()
    };
    let commanded = state
        .node
        .command(&room, &caller.principal, Command::Update(Box::new(patch)))
        .await?;
    Ok(shown_to(&caller, &commanded.snapshot, &base))
}

/// End the room.
#[utoipa::path(delete, path = "/v1/rooms/{room}", tag = "rooms", operation_id = "end_room",
    params(("room" = String, Path), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, description = "The room as it ended", body = RoomOut), JsonErrors))]
pub(super) async fn end(
    Extract(state): Extract<State>,
    InRoom { room, caller }: InRoom,
    BaseUrl(base): BaseUrl,
) -> Result<axum::Json<RoomOut>, Problem> {
    let commanded = state.node.command(&room, &caller.principal, Command::End).await?;
    Ok(shown_to(&caller, &commanded.snapshot, &base))
}

#[cfg(test)]
mod tests {
    use super::super::request::parse;
    use super::*;

    #[test]
    fn a_policy_that_is_none_is_named() {
        let policies = |text: &str| parse::<PatchRoom>(text.as_bytes()).map(|patch| patch.policies);
        let grace = PoliciesPatch {
            grace_ms: Some(7),
            ..PoliciesPatch::default()
        };
        assert_eq!(
            policies(r#"{"policies": {"grace_ms": 7}}"#).expect("a patch"),
            Some(grace)
        );
        assert_eq!(policies("{}").expect("a patch"), None);
        for (text, field) in [
            (r#"{"policies": {"grace": 7}}"#, "policies.grace"),
            (r#"{"policies": {"grace_ms": "7"}}"#, "policies.grace_ms"),
            (r#"{"policies": {"grace_ms": null}}"#, "policies.grace_ms"),
            (r#"{"policies": {"host_away": "rest"}}"#, "policies.host_away"),
            (r#"{"policies": {"admin_may": [1]}}"#, "policies.admin_may[0]"),
        ] {
            let problem = policies(text).expect_err(text);
            assert_eq!(problem.field().as_deref(), Some(field));
        }
    }

    #[test]
    fn a_webhook_is_kept_changed_or_taken_away() {
        let webhook = |text: &str| serde_json::from_str::<PatchRoom>(text).expect("a patch").webhook;
        assert_eq!(webhook("{}"), None);
        assert_eq!(webhook(r#"{"webhook": null}"#), Some(Value::Null));
        assert_eq!(webhook(r#"{"webhook": {"url": "x"}}"#), Some(json!({"url": "x"})));
    }
}
