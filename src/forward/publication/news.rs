//! News that a publisher could make as often as it likes, and how often they are told.

use super::Publication;
use super::{FeedUpdate, PublicationEvent};
use std::time::{Duration, Instant};

/// Between two news of one thing. They go to every worker and program in lanes that never drop, so the publisher must not
/// set their rate. Nobody acts on them sooner: viewers are sent a report a second.
const INTERVAL: Duration = Duration::from_millis(100);

/// The state of one thing, told at most once in an [`INTERVAL`]. What is out of date before its time has come is never
/// told, the last state always is.
#[derive(Debug)]
pub(super) struct Paced<T> {
    told: Option<Instant>,
    waiting: Option<T>,
}

impl<T> Default for Paced<T> {
    fn default() -> Self {
        Paced {
            told: None,
            waiting: None,
        }
    }
}

impl<T> Paced<T> {
    pub(super) fn set(&mut self, state: T) {
        self.waiting = Some(state);
    }

    /// What waits is not so any more.
    pub(super) fn withdraw(&mut self) {
        self.waiting = None;
    }

    /// What is to be told now; else `due` becomes the earliest of what waits.
    fn poll(&mut self, now: Instant, due: &mut Option<Instant>) -> Option<T> {
        self.waiting.as_ref()?;
        if let Some(later) = self.told.map(|told| told + INTERVAL).filter(|at| *at > now) {
            *due = Some(due.map_or(later, |due| due.min(later)));
            return None;
        }
        self.told = Some(now);
        self.waiting.take()
    }
}

/// Of one layer.
#[derive(Debug, Default)]
pub(super) struct LayerNews {
    /// NTP time on the node's clock, and RTP time.
    pub(super) clock: Paced<(u64, u32)>,
    pub(super) size: Paced<(u16, u16)>,
    pub(super) flowing: Paced<bool>,
}

impl Publication {
    /// Tells what has changed, as far as it is time.
    pub(super) fn tell_news(&mut self, now: Instant) {
        let (mut due, events) = (None, &mut self.events);
        for track in &mut self.tracks {
            let kind = track.kind;
            for layer in &mut track.layers {
                let (layer, news) = (layer.index, &mut layer.news);
                let flowing = news.flowing.poll(now, &mut due);
                let flowing = flowing.map(|flowing| FeedUpdate::Flowing { kind, layer, flowing });
                let clock = news.clock.poll(now, &mut due);
                let clock = clock.map(|(ntp, rtp)| FeedUpdate::Clock { kind, layer, ntp, rtp });
                let size = news.size.poll(now, &mut due);
                let size = size.map(|(width, height)| FeedUpdate::Size { layer, width, height });
                let updates = [flowing, clock, size].into_iter().flatten();
                events.extend(updates.map(PublicationEvent::Feed));
            }
            let flowing = track.news.poll(now, &mut due);
            events.extend(flowing.map(|flowing| PublicationEvent::Media { kind, flowing }));
        }
        let size = self.size_news.poll(now, &mut due);
        events.extend(size.map(|(width, height)| PublicationEvent::VideoSize { width, height }));
        self.news_due = due;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_told_at_once_and_then_the_last_of_each_interval() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut paced = Paced::default();
        let mut told = vec![];
        for ms in 0..=250 {
            if ms < 150 {
                paced.set(ms);
            }
            told.extend(paced.poll(at(ms), &mut None));
        }
        assert_eq!(told, [0, 100, 149]);
        let mut due = None;
        paced.set(1);
        assert_eq!((paced.poll(at(299), &mut due), due), (None, Some(at(300))));
        paced.withdraw();
        assert_eq!(paced.poll(at(300), &mut due), None);
    }
}
