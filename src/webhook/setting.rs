//! What a room says of its own receiver, `webhook: {url, secret?, events?}`, and what may be said. Pure.

use super::guard::Guard;
use crate::room::Refusal;
use reqwest::Url;
use serde_json::{Map, Value};
use standardwebhooks::Webhook;

/// The longest URL: what servers take.
const URL_BYTES: usize = 2_048;
/// Of secrets, in bytes (Standard Webhooks, "Signature scheme").
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;
/// Names in a list: there are 30 events.
const EVENTS: usize = 64;
const PREFIX: &str = "whsec_";

/// Events that are never sent: they are many, old at once, and of no use to a backend.
const NEVER: [&str; 3] = ["speaking", "quality", "audience"];

/// Whether webhooks carry events of this name at all.
pub(super) fn is_sent(event: &str) -> bool {
    !NEVER.contains(&event)
}

/// One receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Receiver {
    pub url: Url,
    /// `None`: signed with the node's.
    pub secret: Option<String>,
    /// Empty: all.
    pub events: Vec<String>,
}

impl Receiver {
    pub fn wants(&self, event: &str) -> bool {
        is_sent(event) && (self.events.is_empty() || self.events.iter().any(|name| name == event))
    }

    /// A room's setting that was checked when it was made; `None`: none.
    pub fn of_room(setting: &Value) -> Option<Receiver> {
        match setting {
            Value::Object(setting) => parse(setting).ok(),
            _ => None,
        }
    }
}

/// An `http` or `https` URL without user, password and fragment.
pub fn check_url(url: &str) -> Result<(), String> {
    parse_url(url).map(drop)
}

fn parse_url(text: &str) -> Result<Url, String> {
    if text.len() > URL_BYTES {
        return Err(format!("a webhook's URL has at most {URL_BYTES} bytes"));
    }
    let url: Url = text.parse().map_err(|error| format!("`{text}` is no URL: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(format!("`{text}` is no http:// or https:// URL"));
    }
    if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
        return Err("a webhook's URL has no user, password or fragment; the signature says who sends".to_owned());
    }
    if url.port() == Some(0) {
        return Err(format!("`{text}` names port 0, where nobody listens"));
    }
    Ok(url)
}

/// `whsec_` and 24 to 64 bytes in base64.
pub fn check_secret(secret: &str) -> Result<(), String> {
    let (least, most) = (SECRET_BYTES.start(), SECRET_BYTES.end());
    let wrong = || format!("a webhook's secret is {PREFIX} and {least} to {most} bytes in base64");
    let encoded = secret.strip_prefix(PREFIX).ok_or_else(wrong)?;
    Webhook::new(secret).map_err(|_| wrong())?;
    let padding = encoded.bytes().rev().take_while(|byte| *byte == b'=').count();
    let bytes = (encoded.len() / 4 * 3).saturating_sub(padding);
    if SECRET_BYTES.contains(&bytes) {
        Ok(())
    } else {
        Err(wrong())
    }
}

fn parse(setting: &Map<String, Value>) -> Result<Receiver, Refusal> {
    let refuse = |field: &str, why: String| Refusal::invalid(&format!("webhook.{field}"), why);
    if let Some(unknown) = setting
        .keys()
        .find(|key| !["url", "secret", "events"].contains(&key.as_str()))
    {
        return Err(refuse(unknown, "a webhook has url, secret and events".to_owned()));
    }
    let text = |field: &str| match setting.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str())),
        Some(_) => Err(refuse(field, format!("{field} is a string"))),
    };
    let url = text("url")?.ok_or_else(|| refuse("url", "a webhook needs a url".to_owned()))?;
    let secret = text("secret")?;
    if let Some(secret) = secret {
        check_secret(secret).map_err(|why| refuse("secret", why))?;
    }
    let events = match setting.get("events") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(names)) if names.len() <= EVENTS => names
            .iter()
            .map(|name| {
                let name = name.as_str().filter(|name| is_name(name));
                name.map(str::to_owned)
                    .ok_or_else(|| refuse("events", "events are names such as seats.changed".to_owned()))
            })
            .collect::<Result<_, _>>()?,
        Some(_) => return Err(refuse("events", format!("events is a list of at most {EVENTS} names"))),
    };
    Ok(Receiver {
        url: parse_url(url).map_err(|why| refuse("url", why))?,
        secret: secret.map(str::to_owned),
        events,
    })
}

/// As events are called: what a later version calls them is not known, so any name of that form is taken.
fn is_name(name: &str) -> bool {
    let word = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    name.len() <= 64 && name.split('.').all(word) && is_sent(name)
}

/// What of a room's setting is told to those it concerns: all but the secret.
pub fn shown(setting: &Value) -> Value {
    let mut shown = setting.clone();
    if let Value::Object(shown) = &mut shown {
        shown.remove("secret");
    }
    shown
}

/// Whether a setting can be used here. `signed`: the node has a secret for those who name none.
pub(super) fn check(setting: &Value, guard: &Guard, signed: bool) -> Result<(), Refusal> {
    let setting = match setting {
        Value::Null => return Ok(()),
        Value::Object(setting) => setting,
        _ => return Err(Refusal::invalid("webhook", "webhook is an object")),
    };
    let receiver = parse(setting)?;
    if !receiver.url.host_str().is_some_and(|host| guard.permits_host(host)) {
        let why = "a webhook goes to a public address, or to one that webhooks.allow of the server names";
        return Err(Refusal::invalid("webhook.url", why));
    }
    if receiver.secret.is_none() && !signed {
        let why = "a webhook needs a secret, as this server has none of its own (webhooks.secret)";
        return Err(Refusal::invalid("webhook.secret", why));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    #[test]
    fn settings_are_checked_and_the_field_is_named() {
        let guard = Guard::default();
        let url = "https://hooks.example/costage?room=1";
        for fine in [
            json!(null),
            json!({"url": url, "secret": SECRET}),
            json!({"url": url, "secret": null, "events": null}),
            json!({"url": url, "events": ["seats.changed", "room.ended", "member.joined"]}),
        ] {
            assert_eq!(check(&fine, &guard, true), Ok(()), "{fine}");
        }
        let long = format!("https://hooks.example/{}", "x".repeat(URL_BYTES));
        for (wrong, field) in [
            (json!("https://hooks.example"), "webhook"),
            (json!({}), "webhook.url"),
            (json!({"url": 7}), "webhook.url"),
            (json!({"url": "hooks.example"}), "webhook.url"),
            (json!({"url": "ftp://hooks.example"}), "webhook.url"),
            (json!({"url": "file:///etc/passwd"}), "webhook.url"),
            (json!({"url": "https://"}), "webhook.url"),
            (json!({"url": "https://a:b@hooks.example"}), "webhook.url"),
            (json!({"url": "http://127.1/"}), "webhook.url"),
            (json!({"url": "http://[::ffff:10.0.0.1]/"}), "webhook.url"),
            (json!({"url": long}), "webhook.url"),
            (json!({"url": url, "secret": "hunter2"}), "webhook.secret"),
            (json!({"url": url, "secret": "whsec_c2hvcnQ="}), "webhook.secret"),
            (json!({"url": url, "secret": 7}), "webhook.secret"),
            (json!({"url": url, "events": "all"}), "webhook.events"),
            (json!({"url": url, "events": [7]}), "webhook.events"),
            (json!({"url": url, "events": ["Seats Changed"]}), "webhook.events"),
            (json!({"url": url, "events": ["speaking"]}), "webhook.events"),
            (json!({"url": url, "headers": {}}), "webhook.headers"),
        ] {
            let refused = check(&wrong, &guard, true).expect_err(&wrong.to_string());
            assert_eq!(refused.field.as_deref(), Some(field), "{wrong}");
            assert!(!refused.detail.contains("hunter2"));
        }
        let unsigned = check(&json!({"url": url}), &guard, false).expect_err("unsigned");
        assert_eq!(unsigned.field.as_deref(), Some("webhook.secret"));
    }

    #[test]
    fn secrets_have_24_to_64_bytes() {
        for (bytes, fine) in [(23, false), (24, true), (32, true), (64, true), (65, false)] {
            // Groups of three bytes are four letters, and what is left is padded.
            let (groups, left) = (bytes / 3, bytes % 3);
            let tail = ["", "AA==", "AAA="][left];
            let secret = format!("whsec_{}{tail}", "AAAA".repeat(groups));
            assert_eq!(check_secret(&secret).is_ok(), fine, "{bytes}");
        }
    }

    #[test]
    fn receivers_get_what_they_name() {
        let all = Receiver::of_room(&json!({"url": "https://a.example"})).expect("a receiver");
        assert!(all.wants("seats.changed") && !all.wants("speaking") && !all.wants("audience"));
        let some = json!({"url": "https://a.example", "events": ["room.ended"]});
        let some = Receiver::of_room(&some).expect("a receiver");
        assert!(some.wants("room.ended") && !some.wants("seats.changed"));
        assert_eq!(Receiver::of_room(&Value::Null), None);
    }

    #[test]
    fn secrets_are_not_shown() {
        let setting = json!({"url": "https://a.example", "secret": SECRET});
        assert_eq!(shown(&setting), json!({"url": "https://a.example"}));
        assert_eq!(shown(&Value::Null), Value::Null);
    }
}
