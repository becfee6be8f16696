//! Full WebRTC peers against a whole node, over loopback: what viewers are sent, packet by packet, while publishers come,
//! go, mute and are replaced.

mod camera;
mod connection;
mod forwarding;
mod node;
mod relay;
mod seats;
mod simulcast;
mod stage;
mod tap;
mod viewer;
