//! `GET /v1/rooms/{room}/explain`: why a seat is black or silent, in sentences.

use super::State;
use super::error::Problem;
use super::openapi::ReadErrors;
use super::request::{InRoom, Query};
use crate::control::{Explained, Explanation, Health, Link};
use crate::forward::SourceKind;
use crate::wire::seat_index;
use axum::extract::State as Extract;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// The number of a seat.
    seat: String,
    /// `camera` when absent.
    #[serde(default)]
    #[param(value_type = Option<String>, pattern = "^(camera|screen)$")]
    source: SourceName,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum SourceName {
    #[default]
    Camera,
    Screen,
}

/// The chain from the seat to the program, as far as it can be judged.
#[derive(Serialize, ToSchema)]
#[schema(as = Explanation)]
pub(super) struct ExplanationOut {
    seat: u8,
    /// `camera` or `screen`.
    source: &'static str,
    /// The sentence that matters most.
    summary: String,
    links: Vec<LinkOut>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = ExplanationLink)]
struct LinkOut {
    /// `seat`, `permission`, `whip`, `ice`, `dtls`, `packets`, `keyframe`, `decode`, `program` or `z_order`.
    link: &'static str,
    /// `good`; `waiting`: not yet, or on purpose; `broken`.
    health: &'static str,
    sentence: String,
}

impl From<Explanation> for ExplanationOut {
    fn from(explanation: Explanation) -> Self {
        ExplanationOut {
            seat: explanation.seat.0,
            source: match explanation.kind {
                SourceKind::Camera => "camera",
                SourceKind::Screen => "screen",
                SourceKind::Program => "program",
            },
            summary: explanation.summary,
            links: explanation.links.into_iter().map(LinkOut::from).collect(),
        }
    }
}

impl From<Explained> for LinkOut {
    fn from(explained: Explained) -> Self {
        LinkOut {
            link: match explained.link {
                Link::Seat => "seat",
                Link::Permission => "permission",
                Link::Whip => "whip",
                Link::Ice => "ice",
                Link::Dtls => "dtls",
                Link::Packets => "packets",
                Link::Keyframe => "keyframe",
                Link::Decode => "decode",
                Link::Program => "program",
                Link::ZOrder => "z_order",
            },
            health: match explained.health {
                Health::Good => "good",
                Health::Waiting => "waiting",
                Health::Broken => "broken",
            },
            sentence: explained.sentence,
        }
    }
}

/// Why a seat is black or silent: one sentence per link of the chain. For hosts, service tokens and whoever sits there.
#[utoipa::path(get, path = "/v1/rooms/{room}/explain", tag = "seats", operation_id = "explain",
    params(("room" = String, Path), Wanted), responses((status = 200, body = ExplanationOut), ReadErrors))]
pub(super) async fn explain(
    Extract(state): Extract<State>,
    at: InRoom,
    Query(wanted): Query<Wanted>,
) -> Result<axum::Json<ExplanationOut>, Problem> {
    let seat = seat_index(&wanted.seat, "seat")?;
    let kind = match wanted.source {
        SourceName::Camera => SourceKind::Camera,
        SourceName::Screen => SourceKind::Screen,
    };
    let explanation = state.node.explain(&at.room, &at.caller.principal, seat, kind).await?;
    Ok(axum::Json(explanation.into()))
}
