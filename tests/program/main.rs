//! The room's program against a whole node, over loopback: full WebRTC peers publish pictures and tones that are known, a
//! viewer decodes what `whep/program` sends, and finds everybody where they belong.

mod absence;
mod attack;
mod auto;
mod capacity;
mod card;
#[path = "../common/mod.rs"]
mod common;
mod events;
mod grid;
mod hostile;
mod minus;
mod publisher;
mod reformat;
mod retune;
mod screen;
mod size;
mod sound;
mod sync;
mod undecodable;
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
