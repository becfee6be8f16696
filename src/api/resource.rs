//! What WHIP (RFC 9725) and WHEP have in common: offers and answers over HTTP, and the rules of the resource a POST
//! creates: entity tags, trickle and ICE restart, end.

use super::error::{Problem, Wire};
use super::request::{self, Visitor};
use super::{IceServer, State};
use crate::control::{Patched, Resource, ResourceId, Session};
use crate::forward::SourceKind;
use crate::room::{Code, Refusal, UserId};
use crate::transport::sdp;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

pub(super) const SDP: &str = "application/sdp";
pub(super) const FRAGMENT: &str = "application/trickle-ice-sdpfrag";

/// No registered constants of the `http` crate.
const ACCEPT_POST: HeaderName = HeaderName::from_static("accept-post");
const ACCEPT_PATCH: HeaderName = HeaderName::from_static("accept-patch");

/// Which of the two a resource must be to be found under a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Door {
    Whip,
    Whep,
}

impl Door {
    fn path(self) -> &'static str {
        match self {
            Door::Whip => "/v1/whip/",
            Door::Whep => "/v1/whep/",
        }
    }
}

/// The offer of a POST.
pub(super) async fn offer(request: Request, state: &State) -> Result<sdp::Offer, Problem> {
    let refused = |problem: Problem| match problem.is(StatusCode::UNSUPPORTED_MEDIA_TYPE) {
        true => problem.with_header(ACCEPT_POST, HeaderValue::from_static(SDP)),
        false => problem,
    };
    let text = request::text(request, state, SDP).await.map_err(refused)?;
    sdp::Offer::parse(&text).map_err(|error| Problem::from(refusal(error)))
}

fn refusal(error: sdp::Error) -> Refusal {
    match error {
        sdp::Error::Invalid(why) => Refusal::new(Code::SdpInvalid, why),
        sdp::Error::Unsupported(why) => Refusal::new(Code::CodecUnsupported, why),
    }
}

/// The user an `?user=` names: a service token speaks for others, everybody else for themselves.
pub(super) fn on_behalf_of(caller: &super::auth::Caller, named: Option<&str>) -> Result<UserId, Refusal> {
    let Some(named) = named else {
        return Ok(caller.user().clone());
    };
    let user = UserId::parse(named)?;
    if caller.is_service() || user == *caller.user() {
        Ok(user)
    } else {
        Err(Refusal::new(
            Code::PermissionDenied,
            "only a service token acts for other users",
        ))
    }
}

/// `?source=`; a camera when absent.
pub(super) fn source_kind(source: Option<&str>) -> Result<SourceKind, Refusal> {
    match source {
        None | Some("camera") => Ok(SourceKind::Camera),
        Some("screen") => Ok(SourceKind::Screen),
        Some(_) => Err(Refusal::invalid("source", "a source is camera or screen")),
    }
}

/// 201 with all a client needs of the new resource (RFC 9725 sections 4.2 and 4.6).
pub(super) fn created(
    session: Session,
    door: Door,
    base: &str,
    ice_servers: &[IceServer],
) -> Result<Response, Problem> {
    let location = format!("{base}{}{}", door.path(), session.id.0);
    let location =
        HeaderValue::try_from(location).map_err(|_| Problem::wire(Wire::Internal, "no URL for the resource"))?;
    let mut response = (StatusCode::CREATED, session.answer).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(SDP));
    headers.insert(header::LOCATION, location);
    headers.insert(header::ETAG, entity_tag(&session.etag)?);
    headers.insert(ACCEPT_PATCH, HeaderValue::from_static(FRAGMENT));
    // OBS reads one server per header only.
    for server in ice_servers {
        match HeaderValue::try_from(link(server)) {
            Ok(link) => headers.append(header::LINK, link),
            Err(_) => {
                return Err(Problem::wire(
                    Wire::Internal,
                    "an ICE server of the configuration is not a link",
                ));
            }
        };
    }
    Ok(response)
}

/// Strong and quoted (RFC 9110 section 8.8.3).
fn entity_tag(etag: &str) -> Result<HeaderValue, Problem> {
    HeaderValue::try_from(format!("\"{etag}\"")).map_err(|_| Problem::wire(Wire::Internal, "no entity tag"))
}

/// `Link` of an ICE server (RFC 9725 section 4.6, RFC 8288).
fn link(server: &IceServer) -> String {
    let quoted = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
    let login = server
        .login
        .as_ref()
        .map_or_else(String::new, |(username, credential)| {
            let (username, credential) = (quoted(username), quoted(credential));
            format!("; username=\"{username}\"; credential=\"{credential}\"; credential-type=\"password\"")
        });
    format!("<{}>; rel=\"ice-server\"{login}", server.url)
}

/// `OPTIONS` of an endpoint (RFC 9725 section 4.2).
pub(super) async fn endpoint_options() -> Response {
    (
        StatusCode::NO_CONTENT,
        [(header::ALLOW, "OPTIONS, POST"), (ACCEPT_POST, SDP)],
    )
        .into_response()
}

/// `OPTIONS` of a WHIP resource.
pub(super) async fn whip_options() -> Response {
    (
        StatusCode::NO_CONTENT,
        [(header::ALLOW, "DELETE, OPTIONS, PATCH"), (ACCEPT_PATCH, FRAGMENT)],
    )
        .into_response()
}

/// `OPTIONS` of a WHEP resource.
pub(super) async fn whep_options() -> Response {
    (
        StatusCode::NO_CONTENT,
        [
            (header::ALLOW, "DELETE, GET, HEAD, OPTIONS, PATCH"),
            (ACCEPT_PATCH, FRAGMENT),
        ],
    )
        .into_response()
}

/// The resource behind a path, for somebody who may have it.
///
/// Who may: its user, a service, and the room's host. An anonymous viewer's resource belongs to whoever knows its
/// unguessable id, since there is nobody else to be.
pub(super) async fn find(
    state: &State,
    visitor: Visitor,
    id: &str,
    door: Door,
) -> Result<(ResourceId, Resource), Problem> {
    let id = ResourceId(id.to_owned());
    let resource = state
        .node
        .resource(&id)
        .await
        .filter(|resource| resource.publisher == (door == Door::Whip));
    let resource = resource.ok_or_else(gone)?;
    let Some(owner) = &resource.user else {
        return Ok((id, resource));
    };
    let caller = visitor.known()?;
    caller.expect_room(&resource.room)?;
    let own = caller.user() == owner || caller.is_service();
    if own
        || state
            .node
            .snapshot(&resource.room)
            .await
            .is_ok_and(|room| room.settings.host.user == *caller.user())
    {
        return Ok((id, resource));
    }
    Err(Refusal::new(Code::PermissionDenied, "this resource belongs to somebody else").into())
}

pub(super) fn gone() -> Problem {
    Problem::wire(
        Wire::NotFound,
        "there is no such resource: it never was, or it has ended",
    )
}

/// What an `If-Match` (RFC 9110 section 13.1.1) asks for.
#[derive(Debug, PartialEq, Eq)]
enum IfMatch {
    Absent,
    Any,
    Tags(Vec<String>),
}

impl IfMatch {
    fn of(headers: &HeaderMap) -> Self {
        let mut lines = headers.get_all(header::IF_MATCH).iter().peekable();
        if lines.peek().is_none() {
            return IfMatch::Absent;
        }
        let lines: Vec<&str> = lines.filter_map(|line| line.to_str().ok()).collect();
        let parts = lines.iter().flat_map(|line| line.split(',')).map(str::trim);
        let parts: Vec<&str> = parts.collect();
        if parts == ["*"] {
            return IfMatch::Any;
        }
        // Weak tags never match in a strong comparison. Our own tags have no comma in them.
        let strong = parts
            .iter()
            .filter_map(|part| part.strip_prefix('"')?.strip_suffix('"'));
        IfMatch::Tags(strong.map(str::to_owned).collect())
    }

    fn holds_for(&self, etag: &str) -> bool {
        match self {
            IfMatch::Absent | IfMatch::Any => true,
            IfMatch::Tags(tags) => tags.iter().any(|tag| tag == etag),
        }
    }
}

fn expect_match(if_match: &IfMatch, etag: &str) -> Result<(), Refusal> {
    if if_match.holds_for(etag) {
        return Ok(());
    }
    Err(Refusal::new(
        Code::PreconditionFailed,
        "If-Match does not name the resource's current entity tag",
    ))
}

/// `PATCH`: candidates (204) or an ICE restart (200, new entity tag) (RFC 9725 section 4.3).
pub(super) async fn patch(
    state: &State,
    visitor: Visitor,
    id: &str,
    door: Door,
    request: Request,
) -> Result<Response, Problem> {
    let (id, resource) = find(state, visitor, id, door).await?;
    let if_match = IfMatch::of(request.headers());
    let refused = |problem: Problem| match problem.is(StatusCode::UNSUPPORTED_MEDIA_TYPE) {
        // RFC 5789 section 2.2.
        true => problem.with_header(ACCEPT_PATCH, HeaderValue::from_static(FRAGMENT)),
        false => problem,
    };
    let text = request::text(request, state, FRAGMENT).await.map_err(refused)?;
    if if_match == IfMatch::Absent {
        return Err(Problem::wire(
            Wire::PreconditionRequired,
            "send If-Match with the resource's entity tag, or *",
        ));
    }
    expect_match(&if_match, &resource.etag)?;
    let fragment = sdp::Fragment::parse(&text).map_err(refusal)?;
    match state.node.patch(&id, fragment).await.ok_or_else(gone)? {
        Patched::Trickled => Ok(StatusCode::NO_CONTENT.into_response()),
        Patched::Restarted { fragment, etag } => {
            let mut response = (StatusCode::OK, fragment).into_response();
            response
                .headers_mut()
                .insert(header::CONTENT_TYPE, HeaderValue::from_static(FRAGMENT));
            response.headers_mut().insert(header::ETAG, entity_tag(&etag)?);
            Ok(response)
        }
    }
}

/// `DELETE`: 200, which is what OBS waits for.
pub(super) async fn delete(
    state: &State,
    visitor: Visitor,
    id: &str,
    door: Door,
    headers: &HeaderMap,
) -> Result<StatusCode, Problem> {
    let (id, resource) = find(state, visitor, id, door).await?;
    expect_match(&IfMatch::of(headers), &resource.etag)?;
    if state.node.close(&id).await {
        Ok(StatusCode::OK)
    } else {
        Err(gone())
    }
}

/// The entity tag of an answer about a resource.
pub(super) fn tagged(resource: &Resource, answer: impl IntoResponse) -> Result<Response, Problem> {
    let mut response = answer.into_response();
    response.headers_mut().insert(header::ETAG, entity_tag(&resource.etag)?);
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn if_match(lines: &[&str]) -> IfMatch {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::IF_MATCH, line.parse().expect("a value"));
        }
        IfMatch::of(&headers)
    }

    #[test]
    fn entity_tags_are_compared_strongly() {
        assert_eq!(if_match(&[]), IfMatch::Absent);
        assert_eq!(if_match(&["*"]), IfMatch::Any);
        for matching in [&["\"a\""][..], &["\"x\", \"a\""], &["\"x\"", "\"a\""]] {
            assert!(if_match(matching).holds_for("a"), "{matching:?}");
        }
        for other in ["\"b\"", "W/\"a\"", "a", "\"\"", "\"a", "é"] {
            assert!(!if_match(&[other]).holds_for("a"), "{other}");
        }
    }

    #[test]
    fn ice_servers_become_links() {
        let stun = IceServer {
            url: "stun:stun.example.org".into(),
            login: None,
        };
        assert_eq!(link(&stun), "<stun:stun.example.org>; rel=\"ice-server\"");
        let turn = IceServer {
            url: "turn:t.example.org?transport=udp".into(),
            login: Some(("u\"x".into(), "p".into())),
        };
        let expected = "<turn:t.example.org?transport=udp>; rel=\"ice-server\"; username=\"u\\\"x\"; credential=\"p\"; \
                        credential-type=\"password\"";
        assert_eq!(link(&turn), expected);
    }

    #[test]
    fn a_created_resource_has_all_its_headers() {
        let session = Session {
            id: ResourceId("r1".into()),
            etag: "e1".into(),
            answer: "v=0\r\n".into(),
        };
        let server = IceServer {
            url: "stun:a".into(),
            login: None,
        };
        let servers = [
            server.clone(),
            IceServer {
                url: "stun:b".into(),
                ..server
            },
        ];
        let response = created(session, Door::Whip, "https://x.example", &servers).expect("a response");
        assert_eq!(response.status(), 201);
        assert_eq!(response.headers()["location"], "https://x.example/v1/whip/r1");
        assert_eq!(response.headers()["etag"], "\"e1\"");
        assert_eq!(response.headers()["content-type"], "application/sdp");
        assert_eq!(response.headers()["accept-patch"], FRAGMENT);
        assert_eq!(response.headers().get_all("link").iter().count(), 2);
    }

    #[test]
    fn sources_are_two() {
        assert_eq!(source_kind(None), Ok(SourceKind::Camera));
        assert_eq!(source_kind(Some("screen")), Ok(SourceKind::Screen));
        assert_eq!(
            source_kind(Some("Screen")).expect_err("no source").field.as_deref(),
            Some("source")
        );
    }
}
