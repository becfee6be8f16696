//! Watch (WHEP): the program, the stage, or one seat; and what a viewer wants of its slots.

use super::State;
use super::auth::Caller;
use super::error::Problem;
use super::openapi::{FragmentAnswers, JsonErrors, OfferAnswers, ReadErrors, ResourceErrors};
use super::request::{AtRoom, BaseUrl, InRoom, Json, Last, Query, Visitor};
use super::resource::{self, Door};
use crate::forward::{LayerPreference, View};
use crate::room::{ProgramMode, Refusal, RoomId, UserId};
use crate::wire::SlotOut;
use axum::extract::{Request, State as Extract};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use utoipa::{IntoParams, ToSchema};

/// Unknown parameters are let pass: players put their own there.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct WatchProgram {
    /// `me`: without one's own voice, while one is on a seat. In mode `auto` the program of a host who listens so is mixed.
    /// In mode `passthrough` it is the host's own packets, as they are: there is nothing to leave out for others, and for
    /// the host nothing else in it, so they are refused (`invalid_argument`), and hear nothing when they were there before.
    minus: Option<String>,
    /// With a service token: who watches.
    user: Option<String>,
}

/// Watch the room's program. Needs a token unless the room's program is public.
#[utoipa::path(post, path = "/v1/rooms/{room}/whep/program", tag = "whep", operation_id = "watch_program", security((), ("bearer" = [])), params(("room" = String, Path), WatchProgram),
    request_body(content = String, content_type = "application/sdp", description = "The offer, at most 64 KiB unless the server is configured otherwise"),
    responses(OfferAnswers))]
pub(super) async fn program(
    Extract(state): Extract<State>,
    AtRoom { room, visitor }: AtRoom,
    BaseUrl(base): BaseUrl,
    Query(query): Query<WatchProgram>,
    request: Request,
) -> Result<Response, Problem> {
    let settings = state.node.snapshot(&room).await?.settings;
    let caller = if settings.public_program {
        visitor.0
    } else {
        Some(visitor.known()?)
    };
    let user = match &caller {
        Some(caller) => Some(resource::on_behalf_of(caller, query.user.as_deref())?),
        None => None,
    };
    let leave_out = leave_out_voice(
        query.minus.as_deref(),
        user.as_ref(),
        (settings.program.mode, &settings.host.user),
    )?;
    watch(&state, &room, user, View::Program { leave_out }, &base, request).await
}

/// Whose voice is to be left out. Who watches without a name has none in the program.
fn leave_out_voice(
    minus: Option<&str>,
    user: Option<&UserId>,
    (mode, host): (ProgramMode, &UserId),
) -> Result<Option<Arc<str>>, Refusal> {
    match (minus, user) {
        (None, _) | (Some("me"), None) => Ok(None),
        (Some("me"), Some(user)) => {
            if mode == ProgramMode::Passthrough && user == host {
                let detail = "the program is your own voice and nothing else: there is nothing to leave out";
                return Err(Refusal::invalid("minus", detail));
            }
            Ok(Some(user.shared()))
        }
        (Some(_), _) => Err(Refusal::invalid("minus", "minus is me")),
    }
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct WatchStage {
    /// With a service token: who watches; their own sources are left out.
    user: Option<String>,
}

/// Watch every source in a slot of its own: the i-th offered audio and video pair is slot i.
#[utoipa::path(post, path = "/v1/rooms/{room}/whep/stage", tag = "whep", operation_id = "watch_stage", params(("room" = String, Path), WatchStage),
    request_body(content = String, content_type = "application/sdp", description = "The offer, at most 64 KiB unless the server is configured otherwise"),
    responses(OfferAnswers))]
pub(super) async fn stage(
    Extract(state): Extract<State>,
    InRoom { room, caller }: InRoom,
    BaseUrl(base): BaseUrl,
    Query(query): Query<WatchStage>,
    request: Request,
) -> Result<Response, Problem> {
    let user = resource::on_behalf_of(&caller, query.user.as_deref())?;
    let view = View::Stage {
        leave_out: leave_out(&caller, &query, &user),
    };
    watch(&state, &room, Some(user), view, &base, request).await
}

/// A service token that names nobody watches for nobody.
fn leave_out(caller: &Caller, query: &WatchStage, user: &UserId) -> Option<Arc<str>> {
    (!caller.is_service() || query.user.is_some()).then(|| user.shared())
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct WatchSeat {
    /// `camera` (when absent) or `screen`.
    source: Option<String>,
    /// With a service token: who watches.
    user: Option<String>,
}

/// Watch one seat.
#[utoipa::path(post, path = "/v1/rooms/{room}/whep/seats/{seat}", tag = "whep", operation_id = "watch_seat",
    params(("room" = String, Path), ("seat" = u8, Path), WatchSeat),
    request_body(content = String, content_type = "application/sdp", description = "The offer, at most 64 KiB unless the server is configured otherwise"),
    responses(OfferAnswers))]
pub(super) async fn seat(
    Extract(state): Extract<State>,
    InRoom { room, caller }: InRoom,
    Last(seat): Last,
    BaseUrl(base): BaseUrl,
    Query(query): Query<WatchSeat>,
    request: Request,
) -> Result<Response, Problem> {
    let seat = crate::wire::seat_index(&seat, "seat")?;
    let kind = resource::source_kind(query.source.as_deref())?;
    let user = resource::on_behalf_of(&caller, query.user.as_deref())?;
    watch(&state, &room, Some(user), View::Seat { seat, kind }, &base, request).await
}

async fn watch(
    state: &State,
    room: &RoomId,
    user: Option<UserId>,
    view: View,
    base: &str,
    request: Request,
) -> Result<Response, Problem> {
    let offer = resource::offer(request, state).await?;
    let session = state.node.view(room, user.as_ref(), view, offer).await?;
    resource::created(session, Door::Whep, base, &state.options().ice_servers)
}

/// Trickle candidates, or restart ICE.
#[utoipa::path(patch, path = "/v1/whep/{id}", tag = "whep", operation_id = "patch_viewer", security((), ("bearer" = [])),
    params(("id" = String, Path), ("If-Match" = String, Header, description = "The entity tag, or `*`")),
    request_body(content = String, content_type = "application/trickle-ice-sdpfrag"),
    responses(FragmentAnswers))]
pub(super) async fn patch(
    Extract(state): Extract<State>,
    visitor: Visitor,
    Last(id): Last,
    request: Request,
) -> Result<Response, Problem> {
    resource::patch(&state, visitor, &id, Door::Whep, request).await
}

/// Stop watching.
#[utoipa::path(delete, path = "/v1/whep/{id}", tag = "whep", operation_id = "stop_watching", security((), ("bearer" = [])),
    params(("id" = String, Path), ("If-Match" = Option<String>, Header)),
    responses((status = 200, description = "Ended"), ResourceErrors))]
pub(super) async fn delete(
    Extract(state): Extract<State>,
    visitor: Visitor,
    Last(id): Last,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    resource::delete(&state, visitor, &id, Door::Whep, &headers).await
}

/// Who is in which slot.
#[utoipa::path(get, path = "/v1/whep/{id}", tag = "whep", operation_id = "read_slots", security((), ("bearer" = [])), params(("id" = String, Path)),
    responses((status = 200, body = Vec<SlotOut>, headers(("ETag" = String))), ReadErrors))]
pub(super) async fn slots(
    Extract(state): Extract<State>,
    visitor: Visitor,
    Last(id): Last,
) -> Result<Response, Problem> {
    let (_, resource) = resource::find(&state, visitor, &id, Door::Whep).await?;
    let slots: Vec<SlotOut> = resource.slots.iter().map(SlotOut::from).collect();
    resource::tagged(&resource, axum::Json(slots))
}

/// Slots one call may name: more than any offer has.
const SLOTS_MAX: usize = 64;

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Layers {
    /// Slot number → what is wanted of it.
    slots: BTreeMap<String, Layer>,
}

/// The whole wish for a slot: what is absent falls back to no limit and not paused.
#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Layer {
    /// The tallest simulcast layer, in pixels; absent or `null`: no limit.
    #[schema(minimum = 1)]
    max_height: Option<u16>,
    /// No media in this slot for now.
    #[serde(default)]
    paused: bool,
}

impl Layers {
    fn preferences(self) -> Result<Vec<(usize, LayerPreference)>, Refusal> {
        if self.slots.len() > SLOTS_MAX {
            return Err(Refusal::invalid("slots", format!("name at most {SLOTS_MAX} slots")));
        }
        let preference = |(number, layer): (String, Layer)| {
            let slot = number.parse::<usize>().ok().filter(|slot| slot.to_string() == number);
            let slot = slot.ok_or_else(|| Refusal::invalid(&format!("slots.{number}"), "not the number of a slot"))?;
            if layer.max_height == Some(0) {
                let field = format!("slots.{number}.max_height");
                return Err(Refusal::invalid(
                    &field,
                    "a height is at least 1; to see nothing, pause the slot",
                ));
            }
            Ok((
                slot,
                LayerPreference {
                    max_height: layer.max_height,
                    paused: layer.paused,
                },
            ))
        };
        self.slots.into_iter().map(preference).collect()
    }
}

/// Choose simulcast layers, or pause slots.
#[utoipa::path(patch, path = "/v1/whep/{id}/layers", tag = "whep", operation_id = "choose_layers", security((), ("bearer" = [])), params(("id" = String, Path)), request_body = Layers,
    responses((status = 204, description = "Layers change at their next keyframe"), JsonErrors))]
pub(super) async fn layers(
    Extract(state): Extract<State>,
    visitor: Visitor,
    Last(id): Last,
    Json(body): Json<Layers>,
) -> Result<StatusCode, Problem> {
    let (id, _) = resource::find(&state, visitor, &id, Door::Whep).await?;
    for (slot, preference) in body.preferences()? {
        if !state.node.prefer(&id, slot, preference).await? {
            // Either the resource ended meanwhile, or it has fewer slots.
            return match state.node.resource(&id).await {
                Some(_) => Err(Refusal::invalid(&format!("slots.{slot}"), "the viewer has no such slot").into()),
                None => Err(resource::gone()),
            };
        }
    }
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_read_slot_by_slot() {
        let read = |text: &str| -> Result<Vec<(usize, LayerPreference)>, String> {
            let body: Layers = serde_json::from_str(text).map_err(|error| error.to_string())?;
            body.preferences().map_err(|refusal| refusal.field.unwrap_or_default())
        };
        let wish = LayerPreference {
            max_height: Some(360),
            paused: false,
        };
        assert_eq!(
            read(r#"{"slots": {"0": {"max_height": 360, "paused": false}}}"#),
            Ok(vec![(0, wish)])
        );
        let paused = LayerPreference {
            max_height: None,
            paused: true,
        };
        assert_eq!(read(r#"{"slots": {"2": {"paused": true}}}"#), Ok(vec![(2, paused)]));
        assert_eq!(read(r#"{"slots": {"x": {}}}"#), Err("slots.x".into()));
        assert_eq!(read(r#"{"slots": {"01": {}}}"#), Err("slots.01".into()));
        assert_eq!(
            read(r#"{"slots": {"0": {"max_height": 0}}}"#),
            Err("slots.0.max_height".into())
        );
        assert!(read(r#"{"slots": {"0": {"height": 1}}}"#).is_err());
    }

    #[test]
    fn only_a_host_whose_packets_are_the_program_can_not_be_left_out() {
        let user = |id: &str| UserId::parse(id).expect("an id");
        let host = user("ann");
        let minus = |mode, minus: Option<&str>, user: Option<&UserId>| {
            let left_out = leave_out_voice(minus, user, (mode, &host));
            left_out.map(|user| user.map(|user| user.to_string())).ok()
        };
        let bob = user("bob");
        let named = |name: &str| Some(Some(name.to_owned()));
        for mode in [ProgramMode::Auto, ProgramMode::Mixed, ProgramMode::Passthrough] {
            assert_eq!(minus(mode, None, Some(&host)), Some(None));
            assert_eq!(minus(mode, Some("me"), None), Some(None));
            assert_eq!(minus(mode, Some("me"), Some(&bob)), named("bob"));
            assert_eq!(minus(mode, Some("you"), Some(&bob)), None);
            let refused = mode == ProgramMode::Passthrough;
            let expected = if refused { None } else { named("ann") };
            assert_eq!(minus(mode, Some("me"), Some(&host)), expected);
        }
    }
}
