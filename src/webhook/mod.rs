//! Webhooks: events to integrators' servers, signed as Standard Webhooks, in order per room, at least once. What is to be
//! sent is in the [`store`](crate::store) before anybody tries; a room never waits for a receiver.

use crate::room::RoomId;
use crate::store::{Destinations, Message};
use serde_json::Value;

/// Cheap to clone.
#[derive(Clone, Debug)]
pub struct Sender {}

impl Sender {
    /// Who wants an event of this name, in a room with this `webhook` setting (`null`: none of its own). `None`: nobody, so
    /// that its body need not be written.
    pub fn destinations(&self, _room_webhook: &Value, _event: &str) -> Option<Destinations> {
        None
    }

    /// Sends messages that are stored already, in order. Never waits. Also called, with no messages, once a room's own
    /// setting has changed.
    pub fn deliver(&self, _room: &RoomId, _room_webhook: &Value, _messages: &[Message]) {}
}
