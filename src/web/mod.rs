//! The embedded pages and the browser client. `/` plays the program of a room, `/publish` puts a camera on a seat, `/demo`
//! is the whole of it: hosts, guests and audience in one room. `/costage.js` is the module that applications import, with
//! its types beside it. Plain HTML, CSS and modules, compiled into the binary: no build step, nothing loaded from
//! elsewhere. They use the same interface as any client and contain no secret.

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

/// A file of the client, at its own path.
macro_rules! module {
    ($path:literal) => {
        Asset {
            path: $path,
            content_type: "text/javascript; charset=utf-8",
            body: include_str!(concat!("client", $path)),
        }
    };
}

const ASSETS: &[Asset] = &[
    asset!("/", "watch.html", "text/html; charset=utf-8"),
    asset!("/publish", "publish.html", "text/html; charset=utf-8"),
    asset!("/demo", "demo.html", "text/html; charset=utf-8"),
    asset!("/app/style.css", "app/style.css", "text/css; charset=utf-8"),
    asset!("/app/room.js", "app/room.js", "text/javascript; charset=utf-8"),
    asset!("/app/watch.js", "app/watch.js", "text/javascript; charset=utf-8"),
    asset!("/app/publish.js", "app/publish.js", "text/javascript; charset=utf-8"),
    asset!("/app/words.js", "app/words.js", "text/javascript; charset=utf-8"),
    asset!(
        "/app/demo/cards.js",
        "app/demo/cards.js",
        "text/javascript; charset=utf-8"
    ),
    asset!(
        "/app/demo/controls.js",
        "app/demo/controls.js",
        "text/javascript; charset=utf-8"
    ),
    asset!("/app/demo/demo.css", "app/demo/demo.css", "text/css; charset=utf-8"),
    asset!(
        "/app/demo/devices.js",
        "app/demo/devices.js",
        "text/javascript; charset=utf-8"
    ),
    asset!(
        "/app/demo/dialog.js",
        "app/demo/dialog.js",
        "text/javascript; charset=utf-8"
    ),
    asset!("/app/demo/dom.js", "app/demo/dom.js", "text/javascript; charset=utf-8"),
    asset!(
        "/app/demo/join.js",
        "app/demo/join.js",
        "text/javascript; charset=utf-8"
    ),
    asset!(
        "/app/demo/layout.js",
        "app/demo/layout.js",
        "text/javascript; charset=utf-8"
    ),
    asset!(
        "/app/demo/live.js",
        "app/demo/live.js",
        "text/javascript; charset=utf-8"
    ),
    asset!(
        "/app/demo/main.js",
        "app/demo/main.js",
        "text/javascript; charset=utf-8"
    ),
    asset!(
        "/app/demo/news.js",
        "app/demo/news.js",
        "text/javascript; charset=utf-8"
    ),
    asset!(
        "/app/demo/panel.js",
        "app/demo/panel.js",
        "text/javascript; charset=utf-8"
    ),
    asset!(
        "/app/demo/people.js",
        "app/demo/people.js",
        "text/javascript; charset=utf-8"
    ),
    asset!(
        "/app/demo/quality.js",
        "app/demo/quality.js",
        "text/javascript; charset=utf-8"
    ),
    asset!(
        "/app/demo/requests.js",
        "app/demo/requests.js",
        "text/javascript; charset=utf-8"
    ),
    asset!(
        "/app/demo/seats.js",
        "app/demo/seats.js",
        "text/javascript; charset=utf-8"
    ),
    asset!(
        "/app/demo/settings.js",
        "app/demo/settings.js",
        "text/javascript; charset=utf-8"
    ),
    asset!("/app/demo/stage.css", "app/demo/stage.css", "text/css; charset=utf-8"),
    asset!(
        "/app/demo/stage.js",
        "app/demo/stage.js",
        "text/javascript; charset=utf-8"
    ),
    asset!(
        "/app/demo/tile.js",
        "app/demo/tile.js",
        "text/javascript; charset=utf-8"
    ),
    asset!("/favicon.svg", "app/favicon.svg", "image/svg+xml"),
    module!("/costage.js"),
    asset!("/costage.d.ts", "client/costage.d.ts", "text/plain; charset=utf-8"),
    module!("/costage/commands.js"),
    module!("/costage/devices.js"),
    module!("/costage/http.js"),
    module!("/costage/playback.js"),
    module!("/costage/publication.js"),
    module!("/costage/room.js"),
    module!("/costage/session.js"),
    module!("/costage/state.js"),
    module!("/costage/stream.js"),
    module!("/costage/facade/devices.js"),
    module!("/costage/facade/guests.js"),
    module!("/costage/facade/reactive.js"),
    module!("/costage/facade/seats.js"),
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
            // Comments may show how others import it.
            let code = module.body.lines().filter(|line| !line.starts_with("//"));
            for rest in code.collect::<Vec<_>>().join("\n").split(" from \"").skip(1) {
                let target = resolved(module.path, rest.split('"').next().unwrap());
                assert!(
                    ASSETS.iter().any(|asset| asset.path == target),
                    "{} imports {target}",
                    module.path
                );
            }
        }
    }

    /// A module's import as a browser reads it: from the root, or from where the module is.
    fn resolved(module: &str, import: &str) -> String {
        if import.starts_with('/') {
            return import.to_owned();
        }
        let mut parts: Vec<&str> = module.split('/').collect();
        parts.pop();
        for part in import.split('/') {
            match part {
                "." => {}
                ".." => drop(parts.pop()),
                name => parts.push(name),
            }
        }
        parts.join("/")
    }

    #[test]
    fn every_file_of_the_client_is_served() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/web/client");
        let mut folders = vec![root.clone()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).expect("the client's sources") {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let name = path.strip_prefix(&root).expect("below the root").to_string_lossy();
                let served = ASSETS.iter().any(|asset| asset.path == format!("/{name}"));
                assert!(served || name == "package.json", "{name} is not served");
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
