//! The demo source: a clip that publishes itself as the host of a room, through the same doors as anybody else.
//!
//! Owns nothing of the server: rooms are created over HTTP, media goes in by WHIP. [`Publisher`] is the part that tests use
//! as a full peer.

mod clip;
mod host;
mod keyframe_requests;
mod metronome;
mod publisher;

pub use clip::{Clip, ClipError, Frame, Playhead};
pub use host::{Options, run};
pub use publisher::{Error, Publisher, Target};
