//! Applications and invitations: how they are asked for, listed and answered.

use super::{Moment, PersonOut, Urls, rfc3339};
use crate::forward::SeatIndex;
use crate::room::{
    Code, Granted, Person, Refusal, Request, RequestKind, RequestMedia, RequestState, RoomId, Snapshot, Wish,
};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

/// What somebody is told as the reason fits in a line.
const REASON_BYTES: usize = 256;

/// An application or an invitation.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Request)]
pub struct RequestOut {
    /// Names this request for good.
    id: String,
    #[schema(value_type = RequestKindName)]
    kind: RequestKind,
    guest: PersonOut,
    /// The applicant, whoever applied on their behalf, or the inviter.
    by: PersonOut,
    /// -1: any.
    seat: i16,
    #[schema(value_type = RequestMediaName)]
    media: RequestMedia,
    /// The asker's own; `null`: nothing.
    extra: Value,
    #[schema(value_type = RequestStateName)]
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
        let left_ms = match request.state {
            RequestState::Pending => moment.in_ms(request.expires_at),
            _ => 0,
        };
        let (created_at, expires_at) = moment.span(request.created_at, request.expires_at);
        RequestOut {
            id: request.id.to_string(),
            kind: request.kind,
            guest: (&request.guest).into(),
            by: (&request.by).into(),
            seat: request.seat.map_or(-1, |seat| seat.0.into()),
            media: request.media,
            extra: request.extra.clone(),
            state: request.state,
            created_at: rfc3339(created_at),
            expires_at: rfc3339(expires_at),
            expires_in_ms: left_ms,
            processed_by: request.processed_by.as_ref().map(PersonOut::from),
            granted_seat: request.granted.map(|seat| seat.0),
        }
    }
}

/// Applications that wait for an answer, oldest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct Applications {
    pub version: u64,
    pub applications: Vec<RequestOut>,
    /// Pass as `cursor` for the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// Invitations that wait for an answer, oldest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct Invitations {
    pub version: u64,
    pub invitations: Vec<RequestOut>,
    /// Pass as `cursor` for the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
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
    /// Where the guest publishes, with a token of the guest's own.
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

    fn of(granted: &Granted, room: &RoomId, base: &str, moment: Moment) -> Self {
        GrantedOut::new(granted, Urls::new(room, base).whip, moment)
    }
}

/// The answer to an application or invitation: the request, and what has come of it already.
#[derive(Debug, Serialize, ToSchema)]
pub struct Asked {
    pub version: u64,
    #[serde(flatten)]
    pub request: RequestOut,
    /// The same had been asked before and still stands.
    pub deduplicated: bool,
    /// The other side had asked for the same: `request` is theirs, and accepted.
    pub matched: bool,
    /// The seat, when it was given at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub granted: Option<GrantedOut>,
}

impl Asked {
    pub fn new(
        snapshot: &Snapshot,
        base: &str,
        request: &Request,
        (deduplicated, matched): (bool, bool),
        granted: Option<&Granted>,
    ) -> Self {
        let moment = Moment::of(snapshot);
        Asked {
            version: snapshot.version,
            request: RequestOut::new(request, moment),
            deduplicated,
            matched,
            granted: granted.map(|granted| GrantedOut::of(granted, &snapshot.id, base, moment)),
        }
    }
}

/// A request as it stands after an answer or its withdrawal; accepted: with the seat it led to.
#[derive(Debug, Serialize, ToSchema)]
pub struct Answered {
    pub version: u64,
    pub request: RequestOut,
    /// Where the guest sits now, if the request was accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seat: Option<u8>,
    /// Until when the guest's transport must be up; absent when there is no limit or it is up already.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub connect_by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect_by_in_ms: Option<u64>,
    /// Where the guest publishes, with a token of the guest's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub whip_url: Option<String>,
    /// Somebody was quicker, to the same effect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub already_processed_by: Option<PersonOut>,
}

impl Answered {
    pub fn new(
        snapshot: &Snapshot,
        base: &str,
        request: &Request,
        granted: Option<&Granted>,
        already_processed_by: Option<&Person>,
    ) -> Self {
        let moment = Moment::of(snapshot);
        let granted = granted.map(|granted| GrantedOut::of(granted, &snapshot.id, base, moment));
        let (seat, connect_by, connect_by_in_ms, whip_url) = match granted {
            Some(granted) => (
                Some(granted.seat),
                granted.connect_by,
                granted.connect_by_in_ms,
                Some(granted.whip_url),
            ),
            None => (request.granted.map(|seat| seat.0), None, None, None),
        };
        Answered {
            version: snapshot.version,
            request: RequestOut::new(request, moment),
            seat,
            connect_by,
            connect_by_in_ms,
            whip_url,
            already_processed_by: already_processed_by.map(PersonOut::from),
        }
    }
}

/// A seat somebody wishes for: its number, or -1 or nothing for any.
pub fn wished_seat(number: Option<i64>, field: &str) -> Result<Option<SeatIndex>, Refusal> {
    let Some(number) = number.filter(|number| *number != -1) else {
        return Ok(None);
    };
    let index = u8::try_from(number).map(SeatIndex);
    index.map(Some).map_err(|_| Refusal {
        field: Some(field.to_owned()),
        ..Refusal::new(
            Code::SeatIndexInvalid,
            format!("{number} is neither the number of a seat nor -1 for any"),
        )
    })
}

/// The fields an application and an invitation share. What is in range is the room's to say.
pub fn wish(
    seat: Option<i64>,
    media: Option<RequestMedia>,
    timeout_ms: Option<u64>,
    extra: Value,
) -> Result<Wish, Refusal> {
    Ok(Wish {
        seat: wished_seat(seat, "seat")?,
        media: media.unwrap_or_default(),
        timeout_ms,
        extra,
    })
}

/// What somebody is told as the reason.
pub fn reason(reason: Option<String>) -> Result<Option<String>, Refusal> {
    match reason {
        Some(text) if text.len() > REASON_BYTES => Err(Refusal::invalid(
            "reason",
            format!("a reason has at most {REASON_BYTES} bytes"),
        )),
        reason => Ok(reason),
    }
}

/// Who asked whom.
#[derive(ToSchema)]
#[schema(as = RequestKind, rename_all = "snake_case")]
#[allow(dead_code, reason = "describes another type")]
pub enum RequestKindName {
    /// A guest asks for a seat.
    Application,
    /// A host asks a guest onto one.
    Invitation,
}

/// What has become of a request. Only `pending` moves.
#[derive(ToSchema)]
#[schema(as = RequestState, rename_all = "snake_case")]
#[allow(dead_code, reason = "describes another type")]
pub enum RequestStateName {
    Pending,
    Accepted,
    Rejected,
    Cancelled,
    Expired,
    Superseded,
    Failed,
}

/// What a guest means to publish.
#[derive(ToSchema)]
#[schema(as = RequestMedia, rename_all = "snake_case")]
#[allow(dead_code, reason = "describes another type")]
pub enum RequestMediaName {
    Audio,
    /// Audio and video.
    Av,
}

#[cfg(test)]
mod tests {
    use super::super::room::tests::test_snapshot;
    use super::*;
    use crate::room::{MemberRole, Presence, RequestId, UserId};
    use crate::wire::{MemberRoleName, PresenceName};
    use serde_json::json;
    use std::time::{Duration, Instant};
    use utoipa::PartialSchema;

    fn person(user: &str) -> Person {
        Person {
            user: UserId::parse(user).expect("an id"),
            name: None,
            avatar_url: None,
        }
    }

    fn application(now: Instant) -> Request {
        Request {
            id: RequestId { epoch: 7, number: 3 },
            kind: RequestKind::Application,
            guest: person("bob"),
            by: person("bob"),
            seat: None,
            media: RequestMedia::Audio,
            extra: json!({"song": "a"}),
            created_at: now,
            expires_at: now + Duration::from_secs(30),
            state: RequestState::Pending,
            processed_by: None,
            granted: None,
        }
    }

    fn written(value: &impl Serialize) -> Value {
        serde_json::to_value(value).expect("serialises")
    }

    #[test]
    fn a_request_says_how_long_it_waits() {
        let now = Instant::now();
        let moment = Moment { now, wall_ms: 0 };
        let pending = application(now);
        let bob = json!({"user": "bob", "name": null, "avatar_url": null});
        let expected = json!({
            "id": "7-3", "kind": "application", "guest": bob, "by": bob, "seat": -1, "media": "audio",
            "extra": {"song": "a"}, "state": "pending", "created_at": "1970-01-01T00:00:00.000Z",
            "expires_at": "1970-01-01T00:00:30.000Z", "expires_in_ms": 30000,
        });
        assert_eq!(written(&RequestOut::new(&pending, moment)), expected);
        let later = Moment {
            now: now + Duration::from_micros(1_500),
            wall_ms: 2,
        };
        let json = written(&RequestOut::new(&pending, later));
        assert_eq!(
            (&json["created_at"], &json["expires_at"], &json["expires_in_ms"]),
            (
                &json!("1970-01-01T00:00:00.001Z"),
                &json!("1970-01-01T00:00:30.001Z"),
                &json!(29_998)
            )
        );
        let accepted = Request {
            state: RequestState::Accepted,
            seat: Some(SeatIndex(2)),
            processed_by: Some(person("ann")),
            granted: Some(SeatIndex(4)),
            ..pending
        };
        let json = written(&RequestOut::new(&accepted, moment));
        assert_eq!(
            (&json["seat"], &json["granted_seat"], &json["expires_in_ms"]),
            (&json!(2), &json!(4), &json!(0))
        );
        assert_eq!(json["processed_by"]["user"], "ann");
    }

    #[test]
    fn an_answer_carries_what_the_guest_needs() {
        let now = Instant::now();
        let snapshot = test_snapshot(now, Vec::new());
        let granted = Granted {
            user: person("bob").user,
            seat: SeatIndex(4),
            connect_by: Some(now + Duration::from_secs(15)),
        };
        let accepted = Request {
            state: RequestState::Accepted,
            granted: Some(SeatIndex(4)),
            ..application(now)
        };
        let json = written(&Answered::new(&snapshot, "http://x", &accepted, Some(&granted), None));
        assert_eq!(
            (&json["version"], &json["seat"], &json["connect_by_in_ms"]),
            (&json!(2), &json!(4), &json!(15000))
        );
        assert_eq!(json["whip_url"], "http://x/v1/rooms/demo/whip");
        assert_eq!(json.get("already_processed_by"), None);

        let late = written(&Answered::new(
            &snapshot,
            "http://x",
            &accepted,
            None,
            Some(&person("carl")),
        ));
        assert_eq!(
            (&late["seat"], &late["already_processed_by"]["user"]),
            (&json!(4), &json!("carl"))
        );
        assert_eq!(late.get("whip_url"), None);

        let asked = written(&Asked::new(
            &snapshot,
            "http://x",
            &accepted,
            (false, true),
            Some(&granted),
        ));
        assert_eq!(
            (&asked["id"], &asked["state"], &asked["matched"], &asked["version"]),
            (&json!("7-3"), &json!("accepted"), &json!(true), &json!(2))
        );
        assert_eq!(asked["granted"]["seat"], 4);
    }

    #[test]
    fn the_described_words_are_the_real_ones() {
        let words = |schema: Value| schema["enum"].clone();
        use RequestState::*;
        let states = [Pending, Accepted, Rejected, Cancelled, Expired, Superseded, Failed];
        assert_eq!(words(written(&RequestStateName::schema())), written(&states));
        let kinds = [RequestKind::Application, RequestKind::Invitation];
        assert_eq!(words(written(&RequestKindName::schema())), written(&kinds));
        let media = [RequestMedia::Audio, RequestMedia::Av];
        assert_eq!(words(written(&RequestMediaName::schema())), written(&media));
        let roles = [MemberRole::Host, MemberRole::Admin, MemberRole::Member];
        assert_eq!(words(written(&MemberRoleName::schema())), written(&roles));
        let presences = [Presence::Online, Presence::Suspended, Presence::Gone];
        assert_eq!(words(written(&PresenceName::schema())), written(&presences));
    }

    #[test]
    fn wishes_are_checked_field_by_field() {
        let seat = |number| wished_seat(number, "seat").map_err(|refusal| (refusal.code, refusal.field));
        assert_eq!(seat(None), Ok(None));
        assert_eq!(seat(Some(-1)), Ok(None));
        assert_eq!(seat(Some(3)), Ok(Some(SeatIndex(3))));
        for wrong in [-2, 256, i64::MAX, i64::MIN] {
            let refused = Err((Code::SeatIndexInvalid, Some("seat".to_owned())));
            assert_eq!(seat(Some(wrong)), refused, "{wrong}");
        }
        let usual = wish(Some(-1), None, None, Value::Null);
        assert_eq!(usual, Ok(Wish::default()));
        let length = |bytes: usize| reason(Some("x".repeat(bytes))).map_err(|refusal| refusal.field);
        assert!(length(256).is_ok() && reason(None) == Ok(None));
        assert_eq!(length(257), Err(Some("reason".into())));
    }
}
