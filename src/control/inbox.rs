//! What the workers reported of one room's peers and its actor has not looked at yet.
//!
//! State, not a queue: the newest of each kind per peer, so it is bounded by the peers there are and taking a report
//! never waits for an actor that is itself waiting for a worker.

use crate::forward::SlotReport;
use crate::rtp::MediaKind;
use crate::transport::CloseReason;
use crate::worker::{Event, PeerId};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// News of one peer; `None`: none of that kind.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct News {
    pub connected: bool,
    pub closed: Option<CloseReason>,
    pub audio: Option<bool>,
    pub video: Option<bool>,
    pub size: Option<(u16, u16)>,
    /// 0 (silent) to 127.
    pub loudness: Option<u8>,
    pub slots: Option<Vec<SlotReport>>,
}

#[derive(Debug, Default)]
pub(super) struct Inbox {
    /// Shared by the router and one actor, locked for a moment each, off the media path.
    news: Mutex<BTreeMap<PeerId, News>>,
    changed: Notify,
}

impl Inbox {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<PeerId, News>> {
        // Nothing that can panic runs under the lock.
        self.news.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn put(&self, event: Event) {
        let mut news = self.lock();
        let news = news.entry(peer(&event)).or_default();
        match event {
            Event::Connected { .. } => news.connected = true,
            Event::Closed { reason, .. } => news.closed = Some(reason),
            Event::Media {
                kind: MediaKind::Audio,
                flowing,
                ..
            } => news.audio = Some(flowing),
            Event::Media {
                kind: MediaKind::Video,
                flowing,
                ..
            } => news.video = Some(flowing),
            Event::VideoSize { width, height, .. } => news.size = Some((width, height)),
            Event::Loudness { level, .. } => news.loudness = Some(level),
            Event::Slots { slots, .. } => news.slots = Some(slots),
        }
        self.changed.notify_one();
    }

    pub fn take(&self) -> BTreeMap<PeerId, News> {
        std::mem::take(&mut *self.lock())
    }

    /// Returns once there may be something to take.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }
}

/// Whom an event is about.
pub(super) fn peer(event: &Event) -> PeerId {
    match event {
        Event::Connected { peer }
        | Event::Closed { peer, .. }
        | Event::Media { peer, .. }
        | Event::VideoSize { peer, .. }
        | Event::Loudness { peer, .. }
        | Event::Slots { peer, .. } => *peer,
    }
}
