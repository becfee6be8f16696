//! Cross-origin access (Fetch standard) and what else holds for every answer.

use super::{Options, State};
use axum::extract::{Request, State as Extract};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;

const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";
const REQUEST_HEADERS: &str = "Authorization, Idempotency-Key, If-Match, Last-Event-ID, Content-Type";
const EXPOSED: &str = "Location, ETag, Link, Accept-Patch, Retry-After";
/// Two hours, the longest Chromium keeps a preflight's answer.
const MAX_AGE_S: &str = "7200";

/// The outermost layer. Preflights are answered without a token, whatever their path.
pub(super) async fn cors(Extract(state): Extract<State>, request: Request, next: Next) -> Response {
    let origin = request.headers().get(header::ORIGIN).cloned();
    let options = request.method() == Method::OPTIONS;
    let preflight = options && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let private = request.uri().path().starts_with("/v1/");
    let method = request.method().clone();
    // Without the query, where tokens may be.
    let path = request.uri().path().to_owned();
    let mut response = next.run(request).await;
    tracing::debug!(%method, path, status = response.status().as_u16(), "answered");
    if options && [StatusCode::METHOD_NOT_ALLOWED, StatusCode::NOT_FOUND].contains(&response.status()) {
        response = without_body(response);
    }
    let headers = response.headers_mut();
    if private && !headers.contains_key(header::CACHE_CONTROL) {
        // Seats change by the second, and answers may hold tokens.
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    allow(headers, origin.as_ref(), state.options());
    if preflight {
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(METHODS));
        headers.insert(
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            HeaderValue::from_static(REQUEST_HEADERS),
        );
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(MAX_AGE_S));
    }
    response
}

/// A 204 that keeps `Allow` only.
fn without_body(response: Response) -> Response {
    let allow = response.headers().get(header::ALLOW).cloned();
    let mut empty = Response::default();
    *empty.status_mut() = StatusCode::NO_CONTENT;
    if let Some(allow) = allow {
        empty.headers_mut().insert(header::ALLOW, allow);
    }
    empty
}

fn allow(headers: &mut HeaderMap, origin: Option<&HeaderValue>, options: &Options) {
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
    if options.cors_origins.is_empty() {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        return;
    }
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
    let listed = origin.filter(|origin| {
        options
            .cors_origins
            .iter()
            .any(|listed| listed.as_bytes() == origin.as_bytes())
    });
    if let Some(origin) = listed {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    }
}
