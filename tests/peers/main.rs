//! Full WebRTC peers against a whole node, over loopback: what viewers are sent, packet by packet, while publishers come,
//! go, mute and are replaced.

mod camera;
#[path = "../common/mod.rs"]
mod common;
mod forwarding;
mod seats;
mod simulcast;
mod stage;

use common::{connection, node, outlet, relay, tap, viewer};
