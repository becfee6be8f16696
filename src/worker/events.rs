//! Events on their way to the control plane. A full channel never blocks the worker: what does not fit waits here, and news
//! of a peer that a newer one makes obsolete is replaced, so that no more waits than the peers have states.

use super::{Event, PeerId};
use crate::rtp::MediaKind;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::sync::mpsc::{Sender, error::TrySendError};

/// Events the control plane may be behind before they wait here: a burst of 200 joins with five events each.
pub(super) const EVENTS_DEPTH: usize = 1024;
/// How soon a full channel is tried again.
pub(super) const RETRY: Duration = Duration::from_millis(5);

pub(super) struct Events {
    sender: Sender<Event>,
    /// At most one per peer and [`Subject`].
    waiting: VecDeque<Event>,
}

#[derive(PartialEq)]
enum Subject {
    Connected,
    Closed,
    Media(MediaKind),
    VideoSize,
    Loudness,
    Slots,
}

fn subject(event: &Event) -> (PeerId, Subject) {
    match event {
        Event::Connected { peer } => (*peer, Subject::Connected),
        Event::Closed { peer, .. } => (*peer, Subject::Closed),
        Event::Media { peer, kind, .. } => (*peer, Subject::Media(*kind)),
        Event::VideoSize { peer, .. } => (*peer, Subject::VideoSize),
        Event::Loudness { peer, .. } => (*peer, Subject::Loudness),
        Event::Slots { peer, .. } => (*peer, Subject::Slots),
    }
}

impl Events {
    pub fn new(sender: Sender<Event>) -> Self {
        Events {
            sender,
            waiting: VecDeque::new(),
        }
    }

    pub fn push(&mut self, event: Event) {
        if self.waiting.is_empty() {
            self.offer(event);
            return;
        }
        let subject_of_event = subject(&event);
        match self.waiting.iter_mut().find(|known| subject(known) == subject_of_event) {
            Some(known) => *known = event,
            None => self.waiting.push_back(event),
        }
    }

    /// Hands over what waited. `true`: nothing waits any more.
    pub fn flush(&mut self) -> bool {
        while let Some(event) = self.waiting.pop_front() {
            if !self.offer(event) {
                return false;
            }
        }
        true
    }

    pub fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// `false`: the channel is full, and the event waits in front.
    fn offer(&mut self, event: Event) -> bool {
        match self.sender.try_send(event) {
            Ok(()) => true,
            Err(TrySendError::Full(event)) => {
                self.waiting.push_front(event);
                false
            }
            // the control plane has ended; the worker will be told
            Err(TrySendError::Closed(_)) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_channel_keeps_the_order_and_the_latest() {
        let (sender, mut receiver) = tokio::sync::mpsc::channel(1);
        let mut events = Events::new(sender);
        let peer = PeerId(1);
        let size = |width| Event::VideoSize { peer, width, height: 9 };
        events.push(Event::Connected { peer });
        for width in [1, 2, 3] {
            events.push(size(width));
            events.push(Event::Media {
                peer,
                kind: MediaKind::Audio,
                flowing: width != 2,
            });
        }
        assert!(events.has_waiting());
        let mut received = vec![];
        while let Ok(event) = receiver.try_recv() {
            received.push(format!("{event:?}"));
            events.flush();
        }
        assert!(!events.has_waiting());
        assert_eq!(received.len(), 3);
        assert!(received[0].starts_with("Connected"));
        assert!(received[1].contains("width: 3"));
        assert!(received[2].contains("flowing: true"));
    }

    #[test]
    fn nobody_listening_is_no_reason_to_wait() {
        let (sender, receiver) = tokio::sync::mpsc::channel(1);
        drop(receiver);
        let mut events = Events::new(sender);
        for _ in 0..3 {
            events.push(Event::Connected { peer: PeerId(1) });
        }
        assert!(!events.has_waiting());
    }
}
