//! The route of the admin listener that Prometheus scrapes.

use super::Exporter;
use axum::Router;
use axum::http::header;
use axum::routing::get;

/// `/metrics`. `rooms` tells how many there are, at each scrape.
pub fn metrics(exporter: Exporter, rooms: impl Fn() -> usize + Clone + Send + Sync + 'static) -> Router {
    let scrape = async move || {
        (
            [(header::CONTENT_TYPE, Exporter::CONTENT_TYPE)],
            exporter.render(rooms()),
        )
    };
    Router::new().route("/metrics", get(scrape))
}
