//! The program: how it is made, and what it shows.

use super::State;
use super::error::{Problem, Wire};
use super::openapi::{JsonErrors, ReadErrors};
use super::request::{InRoom, Json, parse_value};
use crate::mix::layout::Layout;
use crate::room::{Command, Refusal, SettingsPatch, Snapshot};
use crate::wire::{LayoutForm, LayoutInForce, ProgramChanged, ProgramForm};
use axum::extract::State as Extract;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// The program's settings to be.
#[derive(ToSchema)]
#[allow(dead_code, reason = "describes what `conditional` parses")]
pub(super) struct PatchProgram {
    /// Only if the room is at this version.
    if_version: Option<u64>,
    #[serde(flatten)]
    program: ProgramForm,
}

/// The layout to be.
#[derive(ToSchema)]
#[allow(dead_code, reason = "describes what `conditional` parses")]
pub(super) struct PutLayout {
    /// Only if the room is at this version.
    if_version: Option<u64>,
    #[serde(flatten)]
    layout: LayoutForm,
}

/// Change how the program is made. What is absent stays as it is.
#[utoipa::path(patch, path = "/v1/rooms/{room}/program", tag = "program", operation_id = "patch_program", request_body = PatchProgram,
    params(("room" = String, Path), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, body = ProgramChanged), JsonErrors))]
pub(super) async fn patch(
    Extract(state): Extract<State>,
    at: InRoom,
    Json(body): Json<Map<String, Value>>,
) -> Result<axum::Json<ProgramChanged>, Problem> {
    let (if_version, form) = conditional::<ProgramForm>(body)?;
    let patch = SettingsPatch {
        if_version,
        program: Some(form.into()),
        ..SettingsPatch::default()
    };
    let snapshot = changed(&state, &at, patch, "program.").await?;
    Ok(axum::Json(ProgramChanged::from(&snapshot)))
}

/// What the program shows, and the rectangles in force: of whoever is on a seat now.
#[utoipa::path(get, path = "/v1/rooms/{room}/layout", tag = "program", operation_id = "read_layout",
    params(("room" = String, Path)), responses((status = 200, body = LayoutInForce), ReadErrors))]
pub(super) async fn layout(Extract(state): Extract<State>, at: InRoom) -> Result<axum::Json<LayoutInForce>, Problem> {
    let snapshot = state.node.snapshot(&at.room).await?;
    Ok(axum::Json(LayoutInForce::from(&snapshot)))
}

/// Replace the layout, whole.
#[utoipa::path(put, path = "/v1/rooms/{room}/layout", tag = "program", operation_id = "put_layout", request_body = PutLayout,
    params(("room" = String, Path), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, body = LayoutInForce), JsonErrors))]
pub(super) async fn put_layout(
    Extract(state): Extract<State>,
    at: InRoom,
    Json(body): Json<Map<String, Value>>,
) -> Result<axum::Json<LayoutInForce>, Problem> {
    let (if_version, form) = conditional::<LayoutForm>(body)?;
    let patch = SettingsPatch {
        if_version,
        layout: Some(layout_of(form).await??),
        ..SettingsPatch::default()
    };
    let snapshot = changed(&state, &at, patch, "layout.").await?;
    Ok(axum::Json(LayoutInForce::from(&snapshot)))
}

/// Elsewhere than where requests are served: its images take long to unpack.
pub(super) async fn layout_of(form: LayoutForm) -> Result<Result<Layout, Refusal>, Problem> {
    let read = tokio::task::spawn_blocking(|| form.layout()).await;
    read.map_err(|_| Problem::wire(Wire::Internal, "the layout's images were not unpacked"))
}

/// A body that may say for which version it is meant, beside what it is about.
fn conditional<T: DeserializeOwned>(mut body: Map<String, Value>) -> Result<(Option<u64>, T), Problem> {
    let if_version = body.remove("if_version");
    let if_version = if_version.map(|version| parse_value(version, "if_version"));
    let if_version = if_version.transpose()?.flatten();
    Ok((if_version, parse_value(Value::Object(body), "")?))
}

/// Refusals name the field as it stands in the body, which is a part of the room's settings.
async fn changed(state: &State, at: &InRoom, patch: SettingsPatch, part: &str) -> Result<Snapshot, Refusal> {
    let by = &at.caller.principal;
    let commanded = state.node.command(&at.room, by, Command::Update(Box::new(patch))).await;
    let commanded = commanded.map_err(|refusal| {
        let field = refusal.field.as_deref();
        let field = field.map(|field| field.strip_prefix(part).unwrap_or(field).to_owned());
        Refusal { field, ..refusal }
    })?;
    Ok(commanded.snapshot)
}
