//! What of a room survives a restart, as a value: a copy of everything but the members. Times are the wall clock's, in
//! milliseconds since 1970, since a restart leaves no other clock in common.

use serde::{Deserialize, Serialize};
use std::time::Instant;

/// One moment on both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    pub now: Instant,
    /// Milliseconds since 1970.
    pub wall_ms: u64,
}

/// The current form. A record of a later one is refused, not guessed at.
pub const FORM: u32 = 1;

/// A room at one version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    pub form: u32,
    pub id: String,
    pub epoch: u64,
    pub version: u64,
}
