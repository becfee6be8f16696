//! One room's log behind one lock, shared by the room's actor, which writes, and the tasks of the streams, which read. Held
//! for well under a microsecond per event and reader, never across an await, never met by a packet. Shell.

use super::log::{CloseReason, Reader};
use crate::room::{Notice, UserId};
use std::sync::Arc;

/// The room's end and the streams' end of one room's events.
#[derive(Debug, Default)]
pub struct Hub {}

/// A user whose last stream is gone without a newer one. `left`: never; that is a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost(pub UserId);

/// What a stream has to do next.
#[derive(Clone, Debug)]
pub enum Next {
    /// Each with the `seq` of the one before for this reader.
    Notices(Vec<(u64, Arc<Notice>)>),
    Close(CloseReason),
}

/// One open stream. Dropping it is losing it.
#[derive(Debug)]
pub struct Stream {}

impl Hub {
    /// By the actor, in order of `seq`, once what they say is in force and stored.
    pub fn publish(&self, _notices: Vec<Notice>) {}

    /// Opens a stream that goes on after `seq`. A user's older stream is closed as `replaced`. `None`: events after `seq`
    /// are forgotten already, or `seq` was never reached; open again from a snapshot's.
    pub fn open(self: &Arc<Self>, _reader: Reader, _seq: u64) -> Option<Stream> {
        None
    }

    /// Closes a user's stream; what is published already is delivered first.
    pub fn close(&self, _user: &UserId, _reason: CloseReason) {}

    /// Closes every stream; what is published already is delivered first. Streams opened later close at once.
    pub fn close_all(&self, _reason: CloseReason) {}

    /// Users whose streams are gone since the last call.
    pub fn take_lost(&self) -> Vec<Lost> {
        Vec::new()
    }

    /// Returns once there may be somebody lost.
    pub async fn changed(&self) {
        std::future::pending().await
    }
}

impl Stream {
    /// Waits until there is something to do. Cancel-safe.
    pub async fn next(&mut self) -> Next {
        std::future::pending().await
    }
}
