//! Webhooks: events to integrators' servers, signed as Standard Webhooks, in order per room, at least once. What is to be
//! sent is in the [`store`](crate::store) before anybody tries; a room never waits for a receiver.

use crate::room::RoomId;
use serde_json::Value;

/// Cheap to clone.
#[derive(Clone, Debug)]
pub struct Sender {}

impl Sender {
    /// Whether anybody wants the events of a room with this `webhook` setting (`null`: none of its own).
    pub fn wanted(&self, _room_webhook: &Value) -> bool {
        false
    }

    /// Sends messages that are stored already: `(seq, body)`, in order. Never waits.
    pub fn deliver(&self, _room: &RoomId, _room_webhook: &Value, _messages: Vec<(u64, String)>) {}
}
