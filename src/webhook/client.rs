//! One delivery over HTTP: signed, to a checked address, without following redirects or reading much of the answer. Shell.

use super::guard::Guard;
use super::schedule::{Delivery, Outcome};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{StatusCode, redirect};
use ring::digest::{SHA256, digest};
use standardwebhooks::{HEADER_WEBHOOK_ID, HEADER_WEBHOOK_SIGNATURE, HEADER_WEBHOOK_TIMESTAMP, Webhook};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// From the look-up of the name to the answer's head; Standard Webhooks advises 15 to 30 s, and a room's next event waits.
const ANSWERS: Duration = Duration::from_secs(15);
const CONNECTS: Duration = Duration::from_secs(5);
/// What is read of an answer, so that its connection can be used again.
const ANSWER_BYTES: usize = 16 * 1024;
/// Idle connections to one host, and for how long.
const IDLE: usize = 4;
const IDLE_FOR: Duration = Duration::from_secs(30);

#[derive(Clone)]
pub(super) struct Client {
    http: reqwest::Client,
    guard: Arc<Guard>,
    /// For receivers that have none.
    secret: Option<Arc<str>>,
}

impl Client {
    pub fn new(guard: Arc<Guard>, secret: Option<String>) -> Result<Client, reqwest::Error> {
        let http = reqwest::Client::builder()
            .dns_resolver(Arc::new(Checked(guard.clone())))
            .redirect(redirect::Policy::none())
            // A proxy would resolve names by itself.
            .no_proxy()
            .referer(false)
            .connect_timeout(CONNECTS)
            .timeout(ANSWERS)
            .pool_max_idle_per_host(IDLE)
            .pool_idle_timeout(IDLE_FOR)
            .user_agent(concat!("costage/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Client {
            http,
            guard,
            secret: secret.map(Into::into),
        })
    }

    pub async fn deliver(&self, delivery: &Delivery, wall_ms: u64) -> Outcome {
        let url = &delivery.receiver.url;
        if !url.host_str().is_some_and(|host| self.guard.permits_host(host)) {
            return failed("its address is not one that webhooks may go to (webhooks.allow)");
        }
        let Some(secret) = delivery.receiver.secret.as_deref().or(self.secret.as_deref()) else {
            return failed("there is no secret to sign it with (webhooks.secret)");
        };
        let id = id(delivery);
        let timestamp = i64::try_from(wall_ms / 1_000).unwrap_or(i64::MAX);
        let signed = Webhook::new(secret).and_then(|webhook| webhook.sign(&id, timestamp, delivery.body.as_bytes()));
        let Ok(signature) = signed else {
            return failed("its secret can't be used");
        };
        let request = self
            .http
            .post(url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header(HEADER_WEBHOOK_ID, id)
            .header(HEADER_WEBHOOK_TIMESTAMP, timestamp)
            .header(HEADER_WEBHOOK_SIGNATURE, signature)
            .body(delivery.body.to_string());
        match request.send().await {
            Ok(answer) => judge(answer).await,
            Err(error) => failed(&without_url(error)),
        }
    }
}

async fn judge(mut answer: reqwest::Response) -> Outcome {
    let status = answer.status();
    let retry_after = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let retry_after = retry_after
        .and_then(|value| value.parse().ok())
        .map(Duration::from_secs);
    let mut left = ANSWER_BYTES;
    // The status says it all; whatever goes wrong here concerns the connection only.
    while let Ok(Some(chunk)) = answer.chunk().await {
        match left.checked_sub(chunk.len()) {
            Some(rest) => left = rest,
            None => break,
        }
    }
    match status {
        StatusCode::GONE => Outcome::Gone,
        status if status.is_success() => Outcome::Taken,
        status if status.is_redirection() => Outcome::Failed {
            why: format!("the receiver answered {status}; redirects are not followed"),
            retry_after,
        },
        status => Outcome::Failed {
            why: format!("the receiver answered {status}"),
            retry_after,
        },
    }
}

fn failed(why: &str) -> Outcome {
    Outcome::Failed {
        why: why.to_owned(),
        retry_after: None,
    }
}

/// The error with what caused it; the URL may hold what is nobody's business.
fn without_url(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut told = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(inner) = cause {
        told = format!("{told}: {inner}");
        cause = inner.source();
    }
    told
}

/// The same for every try of one event to one receiver, and for no other.
fn id(delivery: &Delivery) -> String {
    let (epoch, seq) = delivery.position;
    let receiver = delivery.queue.receiver;
    let named = format!("{receiver:?}/{}/{epoch}/{seq}", delivery.queue.room.as_str());
    let digest = digest(&SHA256, named.as_bytes());
    let hex: String = digest
        .as_ref()
        .iter()
        .take(16)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("msg_{hex}")
}

/// Resolves names to the addresses that are permitted, so that no other is ever connected to. A hanging look-up holds a
/// thread of the runtime's pool until the system gives up; there are fewer deliveries at a time than such threads.
struct Checked(Arc<Guard>);

impl Resolve for Checked {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.0.clone();
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let permitted: Vec<SocketAddr> = found.into_iter().filter(|found| guard.permits(found.ip())).collect();
            if permitted.is_empty() {
                return Err("none of its addresses is one that webhooks may go to (webhooks.allow)".into());
            }
            Ok(Box::new(permitted.into_iter()) as Addrs)
        })
    }
}
