//! The route of the admin listener that Prometheus scrapes.

use super::Exporter;
use axum::Router;
use axum::http::header;
use axum::routing::get;
use std::future::Future;

/// `/metrics`. `rooms` tells how many there are, at each scrape.
pub fn metrics<F, Fut>(exporter: Exporter, rooms: F) -> Router
where
    F: Fn() -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = usize> + Send,
{
    let scrape = move || {
        let (exporter, rooms) = (exporter.clone(), rooms());
        async move {
            let text = exporter.render(rooms.await);
            ([(header::CONTENT_TYPE, Exporter::CONTENT_TYPE)], text)
        }
    };
    Router::new().route("/metrics", get(scrape))
}
