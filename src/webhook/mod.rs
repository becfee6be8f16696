//! Webhooks: events to integrators' servers, signed as Standard Webhooks, in order per room, at least once. What is to be
//! sent is in the [`store`](crate::store) before anybody tries; a room never waits for a receiver.
//!
//! In: messages that are stored, from the rooms' actors. Out: `POST`s with the event as JSON and the headers `webhook-id`
//! (the same for every try of one event to one receiver), `webhook-timestamp` and `webhook-signature`; what nobody took
//! becomes a dead letter in the store. [`schedule`] decides what is sent when, [`guard`] where to, [`setting`] what a room
//! may ask for (all pure); `client` and `sender` are the shell.
//!
//! Decided where the contract is silent:
//! - Two receivers hear of a room: the configuration's (`webhooks.url`) and the room's own `webhook: {url, secret?,
//!   events?}`. `events` are names; absent or empty: all. Without a `secret` the node's `webhooks.secret` signs.
//! - A `PATCH` of `webhook` replaces it whole, and what still waits goes to the new one; `null` takes it away, and what
//!   waits for it is forgotten.
//! - Nobody is told a secret, not even who set it. Members see nothing of a room's webhook.
//! - Redirects are failures: the receiver's new address belongs into the setting.

mod client;
mod guard;
mod schedule;
mod sender;
mod setting;

#[cfg(test)]
mod tests;

pub use guard::Guard;
pub use sender::{Options, Sender};
pub use setting::{check_secret, check_url, shown};

use crate::api::Subnet;

/// This machine.
pub fn loopback() -> Vec<Subnet> {
    ["127.0.0.0/8", "::1"]
        .into_iter()
        .filter_map(|subnet| subnet.parse().ok())
        .collect()
}
