//! The seat machine of one room (SEATS semantics): commands and transport news in; commit, timers and the media
//! permissions out. No HTTP and no media in it. Pure: `now` is an argument.

mod machine;
mod types;

pub use machine::{Command, Committed, Desired, Room, TransportNews};
pub use types::*;
