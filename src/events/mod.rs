//! What a room says, to everybody who listens: one bounded log per room that every event stream reads from. Nothing is
//! queued per reader: who falls behind the log's end is closed as `slow`, who comes back reads on from where they were.
//!
//! In: the notices of the room, from its actor. Out: per stream, what its reader is due, in order, without an unnoticed
//! gap. `log` is pure; `hub` is the shell that wakes readers.

mod hub;
mod log;

#[cfg(test)]
mod tests;

pub use hub::{Hub, Lost, Stream};
pub use log::{CloseReason, Next, Reader};
