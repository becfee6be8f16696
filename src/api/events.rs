//! Event streams: a WebSocket, or server-sent events (SSE). Everything that can be refused is refused before the upgrade,
//! as a problem; then what the room's [`events`](crate::events) have for this reader goes to its socket, one message after
//! the other, and nothing is queued in between but one batch.
//!
//! Decided where the contract is silent:
//! - What a client sends over its WebSocket closes it with 1008: commands go over HTTP. Pings are answered.
//! - A request that is no WebSocket handshake and does not accept `text/event-stream` by name is 406.
//! - `Last-Event-ID` counts more than `after`: a browser that comes back by itself sends both, and the first is newer.
//! - A header counts more than `?token=`.
//! - SSE messages have no `event:` but `bye`, so that `onmessage` sees them all. `bye` is `{type: "bye", data: {reason}}`.
//!   Browsers come back by themselves: whoever was replaced or removed is told to do so after an hour, or two pages of one
//!   user would replace each other for ever.
//! - A server that goes down closes WebSockets with 1001, and says `bye{going_away}`.
//! - An SSE peer has no way to answer a ping: the listener's TCP gives up one that takes nothing.

mod vigil;

use super::State;
use super::auth::Caller;
use super::error::{Problem, Wire};
use super::openapi::ReadErrors;
use super::request::{BaseUrl, Query, room_param};
use crate::control::{Position, Subscription};
use crate::events::{CloseReason, Next, Stream};
use crate::room::{Code, Moment, Notice, Refusal, RoomId};
use crate::wire::event;
use axum::body::{Body, Bytes};
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{FromRequestParts, Request, State as Extract};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream::unfold;
use jiff::Timestamp;
use serde::Deserialize;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::{sleep_until, timeout};
use utoipa::IntoParams;
use vigil::{Due, SILENCE_MAX, Vigil};

/// What a client may send in one message: control frames have at most 125 bytes, and nothing else is meant to come.
const INCOMING_MAX: usize = 1024;

/// A connection's read buffer, in bytes: a pong with its header many times over. One per member of the audience.
const READ_BUFFER: usize = 256;

/// How long a peer has to answer a close frame, so that it is read before the connection is gone.
const CLOSING: Duration = Duration::from_secs(2);

/// Milliseconds after which a browser comes back that lost its SSE stream.
const RETRY_MS: u64 = 1000;
/// The same for one that is not to come back by itself.
const RETRY_NEVER_MS: u64 = 3_600_000;

const SSE: &str = "text/event-stream";
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Proxies (nginx) otherwise collect what should go out at once.
const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Listen {
    /// `EPOCH.SEQ`: go on after this event, if it is remembered.
    after: Option<String>,
    /// Instead of `Authorization`, for browsers.
    token: Option<String>,
}

/// Everything that happens in the room, as a WebSocket (upgrade) or server-sent events (`Accept: text/event-stream`).
///
/// Being connected is being in the room. The first message is a `snapshot`, unless `after` could be resumed; its `data` is
/// `{room, you}`: the Room as `GET` gives it, with one's own requests that wait (hosts: everybody's), and
/// `you: {user, name, avatar_url, role, seat}`.
/// WebSockets close with 4001 `replaced`, 4002 `slow`, 4003 `token_expired`, 4004 `room_ended`, 4005 `removed`, 1001
/// (the server goes down), 1008 (something was sent: commands go over HTTP); SSE ends with `bye{reason}`.
#[utoipa::path(get, path = "/v1/rooms/{room}/events", tag = "events", operation_id = "listen",
    params(("room" = String, Path), Listen, ("Last-Event-ID" = Option<String>, Header, description = "The same as `after`")),
    responses((status = 101, description = "A WebSocket: one EventMessage per text message"),
        (status = 200, description = "Server-sent events: one EventMessage per `data`, its `EPOCH.SEQ` as `id`",
            body = event::Message, content_type = "text/event-stream"),
        (status = 406, description = "`not_acceptable`: neither a WebSocket handshake nor `Accept: text/event-stream`"),
        (status = 410, description = "`room_ended`"), ReadErrors))]
pub(super) async fn listen(
    Extract(state): Extract<State>,
    BaseUrl(base): BaseUrl,
    request: Request,
) -> Result<Response, Problem> {
    let (mut parts, _) = request.into_parts();
    let call = Call::read(&mut parts, &state).await?;
    let by = &call.caller.principal;
    let subscription = state.node.subscribe(&call.room, by, call.after).await?;
    Ok(call.answer(subscription, base))
}

/// Who wants to listen to what, and how.
struct Call {
    room: RoomId,
    caller: Caller,
    after: Option<Position>,
    carrier: Carrier,
}

enum Carrier {
    /// Boxed: it is of no use once the connection is up.
    WebSocket(Box<WebSocketUpgrade>),
    Sse,
}

impl Call {
    async fn read(parts: &mut Parts, state: &State) -> Result<Self, Problem> {
        if parts.method != Method::GET {
            // The router lets HEAD pass, which would open a stream for nothing and replace another.
            let allow = (header::ALLOW, HeaderValue::from_static("GET"));
            return Err(Problem::wire(Wire::MethodNotAllowed, "see Allow").with_header(allow.0, allow.1));
        }
        let Query(query) = Query::<Listen>::from_request_parts(parts, state).await?;
        let token = query.token.as_deref();
        let caller = state.shared.keys.caller_or(&parts.headers, token, Timestamp::now())?;
        let caller = caller.ok_or_else(|| {
            let help = "this call needs a token: Authorization: Bearer …, or ?token=";
            Refusal::new(Code::Unauthenticated, help)
        })?;
        let room = RoomId::parse(&room_param(parts).await?)?;
        caller.expect_room(&room)?;
        Ok(Call {
            room,
            caller,
            after: after(&parts.headers, query.after.as_deref())?,
            carrier: Carrier::of(parts, state).await?,
        })
    }

    fn answer(self, subscription: Subscription, base: String) -> Response {
        let feed = Feed::new(subscription, &self.caller, base);
        match self.carrier {
            Carrier::WebSocket(upgrade) => upgrade.on_upgrade(|socket| speak(socket, feed)),
            Carrier::Sse => sse(feed),
        }
    }
}

impl Carrier {
    async fn of(parts: &mut Parts, state: &State) -> Result<Self, Problem> {
        if names(&parts.headers, header::UPGRADE, "websocket") {
            let upgrade = WebSocketUpgrade::from_request_parts(parts, state).await;
            let upgrade = upgrade.map_err(|error| Problem::wire(Wire::BadHandshake, error.body_text()))?;
            let upgrade = upgrade
                .read_buffer_size(READ_BUFFER)
                // A message goes to the socket as soon as it is written.
                .write_buffer_size(0)
                .max_message_size(INCOMING_MAX)
                .max_frame_size(INCOMING_MAX);
            return Ok(Carrier::WebSocket(Box::new(upgrade)));
        }
        if names(&parts.headers, header::ACCEPT, SSE) {
            return Ok(Carrier::Sse);
        }
        let help = "events come over a WebSocket, or as Accept: text/event-stream";
        Err(Problem::wire(Wire::NotAcceptable, help))
    }
}

/// Whether a header's list has this word, whatever parameters it comes with.
fn names(headers: &HeaderMap, name: HeaderName, word: &str) -> bool {
    let lines = headers.get_all(name);
    let items = lines
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','));
    let mut words = items.filter_map(|item| item.split(';').next());
    words.any(|one| one.trim().eq_ignore_ascii_case(word))
}

/// Where the client was before.
fn after(headers: &HeaderMap, query: Option<&str>) -> Result<Option<Position>, Refusal> {
    let refused = |field: &str| Refusal::invalid(field, "a place in a room's events is EPOCH.SEQ");
    if let Some(header) = headers.get(LAST_EVENT_ID).filter(|header| !header.is_empty()) {
        let place = header.to_str().ok().and_then(position);
        return place.map(Some).ok_or_else(|| refused("Last-Event-ID"));
    }
    let place = query.map(|text| position(text).ok_or_else(|| refused("after")));
    place.transpose()
}

fn position(text: &str) -> Option<Position> {
    // Digits only: Rust would take a sign, too.
    let number = |text: &str| {
        text.parse()
            .ok()
            .filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let (epoch, seq) = text.split_once('.')?;
    Some(Position {
        epoch: number(epoch)?,
        seq: number(seq)?,
    })
}

/// What goes to one client.
struct Feed {
    /// With its place.
    snapshot: Option<(Position, String)>,
    stream: Stream,
    base: String,
    /// When the token expires; `None`: in ages.
    expires_at: Option<Instant>,
}

impl Feed {
    fn new(subscription: Subscription, caller: &Caller, base: String) -> Self {
        let now = Moment::read();
        let snapshot = subscription.snapshot.map(|snapshot| {
            let place = Position {
                epoch: snapshot.epoch,
                seq: snapshot.seq,
            };
            (place, event::snapshot(&snapshot, &base, &caller.principal))
        });
        let left_ms = u64::try_from(caller.expires_ms)
            .unwrap_or(0)
            .saturating_sub(now.wall_ms);
        Feed {
            snapshot,
            stream: subscription.stream,
            base,
            expires_at: now.now.checked_add(Duration::from_millis(left_ms)),
        }
    }

    fn text(&self, prev: u64, notice: &Notice) -> Bytes {
        self.stream.message(notice, prev, &self.base, Moment::read())
    }
}

/// What a connection does next.
enum Turn {
    Tell(Vec<(u64, Arc<Notice>)>),
    Due(Due),
    /// Woken for nothing.
    Nothing,
    Bye(CloseReason),
}

async fn turn(stream: &mut Stream, vigil: &mut Vigil) -> Turn {
    tokio::select! {
        next = stream.next() => match next {
            Next::Notices(notices) => Turn::Tell(notices),
            Next::Close(reason) => Turn::Bye(reason),
        },
        () = sleep_until(vigil.poll_timeout().into()) => match vigil.handle_timeout(Instant::now()) {
            Some(Due::Expired) => Turn::Bye(CloseReason::TokenExpired),
            Some(due) => Turn::Due(due),
            None => Turn::Nothing,
        }
    }
}

/// Over a WebSocket, until it is closed.
async fn speak(mut socket: WebSocket, mut feed: Feed) {
    let mut vigil = Vigil::new(true, feed.expires_at, Instant::now());
    if let Some((_, snapshot)) = feed.snapshot.take()
        && !send(&mut socket, Message::Text(snapshot.into())).await
    {
        return;
    }
    let farewell = loop {
        tokio::select! {
            turn = turn(&mut feed.stream, &mut vigil) => match turn {
                Turn::Tell(notices) => {
                    for (prev, notice) in &notices {
                        let text = Utf8Bytes::try_from(feed.text(*prev, notice)).expect("JSON is UTF-8");
                        if !send(&mut socket, Message::Text(text)).await {
                            return;
                        }
                    }
                }
                Turn::Due(Due::Ping) => if !send(&mut socket, Message::Ping(Bytes::new())).await {
                    return;
                },
                Turn::Due(Due::Silent | Due::Expired) => return,
                Turn::Nothing => {}
                Turn::Bye(reason) => break Some(close_frame(reason)),
            },
            incoming = socket.recv() => match incoming {
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => vigil.handle_heard(Instant::now()),
                None => return,
                // The answer is on its way with the next read.
                Some(Ok(Message::Close(_))) => break None,
                // Also what is no message at all; on a connection that is gone the frame is lost.
                Some(Ok(Message::Text(_) | Message::Binary(_)) | Err(_)) => break Some(CloseFrame {
                    code: close_code::POLICY,
                    reason: Utf8Bytes::from_static("commands go over HTTP"),
                }),
            },
        }
    };
    // Whoever waits for the peer to say goodbye is not in the room any more.
    drop(feed);
    if let Some(farewell) = farewell
        && !send(&mut socket, Message::Close(Some(farewell))).await
    {
        return;
    }
    // A connection dropped with something unread is reset, and the frame with it.
    let _ = timeout(CLOSING, async { while let Some(Ok(_)) = socket.recv().await {} }).await;
}

/// `false`: the peer is gone, or takes nothing.
async fn send(socket: &mut WebSocket, message: Message) -> bool {
    matches!(timeout(SILENCE_MAX, socket.send(message)).await, Ok(Ok(())))
}

fn close_frame(reason: CloseReason) -> CloseFrame {
    let code = match reason {
        CloseReason::Replaced => 4001,
        CloseReason::Slow => 4002,
        CloseReason::TokenExpired => 4003,
        CloseReason::RoomEnded => 4004,
        CloseReason::Removed => 4005,
        CloseReason::GoingAway => close_code::AWAY,
    };
    CloseFrame {
        code,
        reason: Utf8Bytes::from_static(reason_name(reason)),
    }
}

fn reason_name(reason: CloseReason) -> &'static str {
    match reason {
        CloseReason::Replaced => "replaced",
        CloseReason::Slow => "slow",
        CloseReason::TokenExpired => "token_expired",
        CloseReason::RoomEnded => "room_ended",
        CloseReason::Removed => "removed",
        CloseReason::GoingAway => "going_away",
    }
}

/// As server-sent events. The body is asked for its next piece when the socket has taken the one before.
fn sse(feed: Feed) -> Response {
    let vigil = Vigil::new(false, feed.expires_at, Instant::now());
    let pieces = unfold(Some((feed, vigil)), |open| async {
        let (mut feed, mut vigil) = open?;
        let (piece, open) = sse_piece(&mut feed, &mut vigil).await;
        Some((Ok::<_, Infallible>(Bytes::from(piece)), open.then_some((feed, vigil))))
    });
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(SSE)),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (ACCEL_BUFFERING, HeaderValue::from_static("no")),
    ];
    (headers, Body::from_stream(pieces)).into_response()
}

/// The next bytes, and whether there will be more.
async fn sse_piece(feed: &mut Feed, vigil: &mut Vigil) -> (Vec<u8>, bool) {
    if let Some((place, snapshot)) = feed.snapshot.take() {
        let mut piece = format!("retry: {RETRY_MS}\n").into_bytes();
        sse_message(&mut piece, place.epoch, place.seq, snapshot.as_bytes());
        return (piece, true);
    }
    loop {
        match turn(&mut feed.stream, vigil).await {
            Turn::Tell(notices) => {
                let mut piece = Vec::new();
                for (prev, notice) in &notices {
                    sse_message(&mut piece, notice.epoch, notice.seq, &feed.text(*prev, notice));
                }
                return (piece, true);
            }
            Turn::Due(_) => return (b":\n\n".to_vec(), true),
            Turn::Nothing => {}
            Turn::Bye(reason) => return (sse_bye(reason), false),
        }
    }
}

/// One line of JSON, so one `data`.
fn sse_message(piece: &mut Vec<u8>, epoch: u64, seq: u64, text: &[u8]) {
    piece.extend_from_slice(format!("id: {epoch}.{seq}\ndata: ").as_bytes());
    piece.extend_from_slice(text);
    piece.extend_from_slice(b"\n\n");
}

fn sse_bye(reason: CloseReason) -> Vec<u8> {
    let retry_ms = match reason {
        CloseReason::Replaced | CloseReason::Removed => RETRY_NEVER_MS,
        CloseReason::Slow | CloseReason::TokenExpired | CloseReason::RoomEnded | CloseReason::GoingAway => RETRY_MS,
    };
    let reason = reason_name(reason);
    let bye =
        format!("retry: {retry_ms}\nevent: bye\ndata: {{\"type\":\"bye\",\"data\":{{\"reason\":\"{reason}\"}}}}\n\n");
    bye.into_bytes()
}

#[cfg(test)]
pub(super) mod testing {
    //! The whole of a stream but the room: what a test's own hub says.

    use super::*;

    pub async fn listen_to(
        state: State,
        base: String,
        request: Request,
        subscribe: impl FnOnce(&Caller, Option<Position>) -> Result<Subscription, Refusal>,
    ) -> Result<Response, Problem> {
        let (mut parts, _) = request.into_parts();
        let call = Call::read(&mut parts, &state).await?;
        let subscription = subscribe(&call.caller, call.after)?;
        Ok(call.answer(subscription, base))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().expect("a value"));
        headers
    }

    #[test]
    fn a_place_is_an_epoch_and_a_seq() {
        let place = |epoch, seq| Some(Position { epoch, seq });
        assert_eq!(position("1.2"), place(1, 2));
        assert_eq!(position("18446744073709551615.0"), place(u64::MAX, 0));
        for wrong in [
            "",
            ".",
            "1",
            "1.",
            ".2",
            "1.2.3",
            "+1.2",
            "1.-2",
            " 1.2",
            "1.18446744073709551616",
            "a.b",
        ] {
            assert_eq!(position(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_header_is_newer_than_the_url() {
        let place = |epoch, seq| Ok(Some(Position { epoch, seq }));
        let of =
            |headers: &HeaderMap, query| after(headers, query).map_err(|refusal| refusal.field.unwrap_or_default());
        assert_eq!(of(&HeaderMap::new(), None), Ok(None));
        assert_eq!(of(&HeaderMap::new(), Some("1.2")), place(1, 2));
        assert_eq!(of(&headers("last-event-id", "1.3"), Some("1.2")), place(1, 3));
        assert_eq!(of(&headers("last-event-id", ""), Some("1.2")), place(1, 2));
        assert_eq!(of(&HeaderMap::new(), Some("x")), Err("after".into()));
        assert_eq!(
            of(&headers("last-event-id", "x"), Some("1.2")),
            Err("Last-Event-ID".into())
        );
    }

    #[test]
    fn what_a_client_accepts() {
        let sse = |accept: &str| names(&headers("accept", accept), header::ACCEPT, SSE);
        assert!(sse("text/event-stream"));
        assert!(sse("application/json, Text/Event-Stream;q=0.9"));
        assert!(!sse("*/*"));
        assert!(!sse("text/html"));
        assert!(!names(&HeaderMap::new(), header::ACCEPT, SSE));
    }

    #[test]
    fn a_farewell_has_its_code_and_its_name() {
        use CloseReason::*;
        let table = [
            (Replaced, 4001, "replaced", 3_600_000),
            (Slow, 4002, "slow", 1000),
            (TokenExpired, 4003, "token_expired", 1000),
            (RoomEnded, 4004, "room_ended", 1000),
            (Removed, 4005, "removed", 3_600_000),
            (GoingAway, 1001, "going_away", 1000),
        ];
        for (reason, code, name, retry_ms) in table {
            let frame = close_frame(reason);
            assert_eq!((frame.code, frame.reason.as_str()), (code, name));
            let bye = String::from_utf8(sse_bye(reason)).expect("text");
            let data = format!(r#"{{"type":"bye","data":{{"reason":"{name}"}}}}"#);
            assert_eq!(bye, format!("retry: {retry_ms}\nevent: bye\ndata: {data}\n\n"));
        }
    }
}
