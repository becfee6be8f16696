//! The room's program against a whole node, over loopback: full WebRTC peers publish pictures and tones that are known, a
//! viewer decodes what `whep/program` sends, and finds everybody where they belong.

mod absence;
mod auto;
mod card;
#[path = "../common/mod.rs"]
mod common;
mod grid;
mod minus;
mod publisher;
mod retune;
mod sound;
mod sync;
#[cfg(feature = "vp8")]
mod vp8;
mod watcher;

use common::{connection, node, outlet, relay, tap, viewer};
use tokio::sync::{Mutex, MutexGuard};

/// Media runs in real time, and each of these tests wants the whole machine: one at a time.
static TURN: Mutex<()> = Mutex::const_new(());

async fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().await
}
