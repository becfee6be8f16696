//! The embedded pages: `/` plays the program of a room, `/publish` puts a camera on a seat. Plain HTML, CSS and modules,
//! compiled into the binary: no build step, nothing loaded from elsewhere. They use the same interface as any client and
//! contain no secret.

use axum::Router;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;

/// Only what came with the page may run; calls and media may go where a session's `Location` points.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
     media-src 'self' blob: mediastream:; connect-src *; base-uri 'none'; form-action 'none'; frame-ancestors *";

struct Asset {
    path: &'static str,
    content_type: &'static str,
    body: &'static str,
}

macro_rules! asset {
    ($path:literal, $file:literal, $content_type:literal) => {
        Asset {
            path: $path,
            content_type: $content_type,
            body: include_str!($file),
        }
    };
}

const ASSETS: &[Asset] = &[
    asset!("/", "watch.html", "text/html; charset=utf-8"),
    asset!("/publish", "publish.html", "text/html; charset=utf-8"),
    asset!("/app/style.css", "app/style.css", "text/css; charset=utf-8"),
    asset!("/app/session.js", "app/session.js", "text/javascript; charset=utf-8"),
    asset!("/app/room.js", "app/room.js", "text/javascript; charset=utf-8"),
    asset!("/app/watch.js", "app/watch.js", "text/javascript; charset=utf-8"),
    asset!("/app/publish.js", "app/publish.js", "text/javascript; charset=utf-8"),
    asset!("/favicon.svg", "app/favicon.svg", "image/svg+xml"),
];

/// Routes of all pages.
pub fn router() -> Router {
    ASSETS.iter().fold(Router::new(), |router, asset| {
        router.route(asset.path, get(async || asset.response()))
    })
}

impl Asset {
    fn response(&self) -> impl IntoResponse + use<> {
        let headers = [
            (header::CONTENT_TYPE, self.content_type),
            // A new binary may bring new pages; they are small and near.
            (header::CACHE_CONTROL, "no-cache"),
            (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::REFERRER_POLICY, "no-referrer"),
        ];
        (headers, self.body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_name_only_what_is_embedded() {
        for page in ASSETS
            .iter()
            .filter(|asset| asset.content_type.starts_with("text/html"))
        {
            for attribute in ["src=\"", "href=\""] {
                for rest in page.body.split(attribute).skip(1) {
                    let target = rest.split('"').next().unwrap();
                    let path = target.split(['?', '#']).next().unwrap();
                    let known = path.is_empty() || ASSETS.iter().any(|asset| asset.path == path);
                    assert!(known, "{} names {target}", page.path);
                }
            }
        }
        for module in ASSETS
            .iter()
            .filter(|asset| asset.content_type.starts_with("text/javascript"))
        {
            for rest in module.body.split(" from \"").skip(1) {
                let target = rest.split('"').next().unwrap().replacen('.', "/app", 1);
                assert!(
                    ASSETS.iter().any(|asset| asset.path == target),
                    "{} imports {target}",
                    module.path
                );
            }
        }
    }

    #[test]
    fn no_page_holds_a_secret_or_inline_code() {
        let (_, secret) = crate::config::DEV_KEY;
        for asset in ASSETS {
            assert!(!asset.body.contains(secret), "{}", asset.path);
            assert!(
                !asset.body.contains("<script>") && !asset.body.contains("<style"),
                "{}",
                asset.path
            );
        }
    }
}
