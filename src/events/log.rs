//! The last events of one room, and who is due which.

use crate::room::UserId;

/// Whose stream it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reader {
    User(UserId),
    /// A service key's: due every event.
    Service,
}

/// Why a stream ends; the names of SSE's `bye` and WebSocket's 4001 to 4005.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    Replaced,
    Slow,
    TokenExpired,
    RoomEnded,
    Removed,
    /// The server is going down: come back in a moment (WebSocket 1001).
    GoingAway,
}
