//! The host of the demo room.

use super::{Clip, Error, Publisher, Target};
use crate::api::{Grant, RoleName, mint};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

/// Long enough for any attempt; each has a token of its own.
const TOKEN_TTL: Duration = Duration::from_secs(60 * 60);
/// First wait after a failure; doubled each time. Short: at start the server may be a moment away.
const FIRST_BACKOFF: Duration = Duration::from_millis(250);
const LONGEST_BACKOFF: Duration = Duration::from_secs(5);
/// A connection that held this long was a success, and the next failure starts over.
const SUCCESS: Duration = Duration::from_secs(10);
const CALL_DEADLINE: Duration = Duration::from_secs(5);

/// Whom the demo plays.
#[derive(Clone, Debug)]
pub struct Options {
    /// The server's base URL, `http://…`, without a slash at its end.
    pub url: String,
    pub room: String,
    /// User id of the room's host.
    pub host: String,
    /// Key id and secret to sign tokens with.
    pub key: (String, String),
}

/// Keep the room alive and its host on air, until dropped.
pub async fn run(options: Options) {
    let clip = Arc::new(Clip::bundled());
    let mut backoff = FIRST_BACKOFF;
    loop {
        let start = Instant::now();
        match on_air(&options, clip.clone()).await {
            Ok(()) => warn!(room = options.room, "demo source lost its transport, reconnecting"),
            Err(error) => warn!(room = options.room, %error, "demo source can't publish, trying again"),
        }
        if start.elapsed() > SUCCESS {
            backoff = FIRST_BACKOFF;
        }
        sleep(backoff).await;
        backoff = (backoff * 2).min(LONGEST_BACKOFF);
    }
}

/// Publish until the transport is lost.
async fn on_air(options: &Options, clip: Arc<Clip>) -> Result<(), Error> {
    create_room(options).await?;
    let target = Target {
        whip_url: format!("{}/v1/rooms/{}/whip", options.url, options.room),
        token: Some(options.token(RoleName::Host)),
    };
    let mut publisher = Publisher::connect(&target, clip).await?;
    info!(room = options.room, user = options.host, "demo source is on air");
    publisher.closed().await;
    publisher.close().await;
    Ok(())
}

async fn create_room(options: &Options) -> Result<(), Error> {
    let client = reqwest::Client::builder().no_proxy().timeout(CALL_DEADLINE).build()?;
    let response = client
        .post(format!("{}/v1/rooms", options.url))
        .bearer_auth(options.token(RoleName::Service))
        .json(&json!({ "room": options.room, "host": options.host, "public_program": true }))
        .send()
        .await?;
    let status = response.status();
    // 409: somebody has changed the room's settings since; it is there all the same.
    if status.is_success() || status == reqwest::StatusCode::CONFLICT {
        return Ok(());
    }
    Err(Error::Refused {
        status: status.as_u16(),
        body: response.text().await?,
    })
}

impl Options {
    fn token(&self, role: RoleName) -> String {
        let (id, secret) = &self.key;
        let grant = Grant {
            room: self.room.clone(),
            user: self.host.clone(),
            role,
            name: Some("Demo".to_owned()),
            avatar_url: None,
        };
        mint(id, secret, &grant, TOKEN_TTL)
    }
}
