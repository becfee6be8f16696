//! Applications and invitations.

use super::{Moment, PersonOut, rfc3339};
use crate::room::{Granted, Request, RequestKind, RequestMedia, RequestState};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

/// An application or an invitation.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Request)]
pub struct RequestOut {
    /// Names this request for good.
    id: String,
    #[schema(value_type = String, pattern = "^(application|invitation)$")]
    kind: RequestKind,
    guest: PersonOut,
    /// The applicant, whoever applied on their behalf, or the inviter.
    by: PersonOut,
    /// -1: any.
    seat: i16,
    #[schema(value_type = String, pattern = "^(audio|av)$")]
    media: RequestMedia,
    extra: Value,
    #[schema(value_type = String, pattern = "^(pending|accepted|rejected|cancelled|expired|superseded|failed)$")]
    state: RequestState,
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(format = DateTime)]
    expires_at: String,
    /// 0 once it is over.
    expires_in_ms: u64,
    /// Who answered it.
    #[serde(skip_serializing_if = "Option::is_none")]
    processed_by: Option<PersonOut>,
    /// The seat it led to.
    #[serde(skip_serializing_if = "Option::is_none")]
    granted_seat: Option<u8>,
}

impl RequestOut {
    pub fn new(request: &Request, moment: Moment) -> Self {
        RequestOut {
            id: request.id.to_string(),
            kind: request.kind,
            guest: (&request.guest).into(),
            by: (&request.by).into(),
            seat: request.seat.map_or(-1, |seat| seat.0.into()),
            media: request.media,
            extra: request.extra.clone(),
            state: request.state,
            created_at: rfc3339(moment.at(request.created_at)),
            expires_at: rfc3339(moment.at(request.expires_at)),
            expires_in_ms: moment.in_ms(request.expires_at),
            processed_by: request.processed_by.as_ref().map(PersonOut::from),
            granted_seat: request.granted.map(|seat| seat.0),
        }
    }
}

/// What whoever was given a seat needs to publish.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Granted)]
pub struct GrantedOut {
    pub seat: u8,
    /// Until when the publisher's transport must be up; absent when there is no limit or it is up already.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub connect_by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect_by_in_ms: Option<u64>,
    pub whip_url: String,
}

impl GrantedOut {
    /// `whip_url`: absolute.
    pub fn new(granted: &Granted, whip_url: String, moment: Moment) -> Self {
        GrantedOut {
            seat: granted.seat.0,
            connect_by: granted.connect_by.map(|at| rfc3339(moment.at(at))),
            connect_by_in_ms: granted.connect_by.map(|at| moment.in_ms(at)),
            whip_url,
        }
    }
}
