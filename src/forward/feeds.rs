//! The feeds of one worker.

use super::{Feed, FeedDescription, SourceId};
use std::collections::HashMap;

/// Every [`Feed`] of a worker. A viewer that remembers where it found a feed finds it again without hashing.
#[derive(Default)]
pub struct Feeds {
    places: Vec<Option<Feed>>,
    index: HashMap<SourceId, usize>,
}

/// Where a feed was found last. Only a hint: [`Feeds::find`] corrects it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Place(usize);

impl Feeds {
    /// The feed of `source`, new unless it exists.
    pub fn insert(&mut self, source: SourceId, description: FeedDescription) -> &mut Feed {
        let place = *self.index.entry(source).or_insert_with(|| {
            self.places.iter().position(Option::is_none).unwrap_or_else(|| {
                self.places.push(None);
                self.places.len() - 1
            })
        });
        self.places[place].get_or_insert_with(|| Feed::new(source, description))
    }

    /// `false`: there was none.
    pub fn remove(&mut self, source: SourceId) -> bool {
        let Some(place) = self.index.remove(&source) else {
            return false;
        };
        self.places[place] = None;
        true
    }

    pub fn get(&self, source: SourceId) -> Option<&Feed> {
        self.places.get(*self.index.get(&source)?)?.as_ref()
    }

    pub fn get_mut(&mut self, source: SourceId) -> Option<&mut Feed> {
        self.places.get_mut(*self.index.get(&source)?)?.as_mut()
    }

    pub fn len(&self) -> usize {
        self.index.len()
    }

    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Feed> {
        self.places.iter().flatten()
    }

    /// Whether any feed [has something fresh](Feed::has_fresh).
    pub fn has_fresh(&self) -> bool {
        self.iter().any(Feed::has_fresh)
    }

    /// Called once all viewers were served.
    pub fn clear_fresh(&mut self) {
        self.places.iter_mut().flatten().for_each(Feed::clear_fresh);
    }

    /// As [`get`](Self::get), at the price of a comparison while `place` still holds.
    pub(super) fn find(&self, source: SourceId, place: &mut Place) -> Option<&Feed> {
        if let Some(Some(feed)) = self.places.get(place.0)
            && feed.id() == source
        {
            return Some(feed);
        }
        place.0 = *self.index.get(&source)?;
        self.places.get(place.0)?.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: FeedDescription = FeedDescription {
        audio: None,
        video: None,
        layers: 1,
    };

    #[test]
    fn a_place_is_found_again_and_never_mistaken() {
        let mut feeds = Feeds::default();
        feeds.insert(SourceId(7), NOTHING);
        feeds.insert(SourceId(8), NOTHING);
        let mut place = Place::default();
        assert_eq!(feeds.find(SourceId(8), &mut place).map(Feed::id), Some(SourceId(8)));
        assert!(feeds.remove(SourceId(8)) && !feeds.remove(SourceId(8)));
        assert!(feeds.find(SourceId(8), &mut place).is_none());
        feeds.insert(SourceId(9), NOTHING);
        assert_eq!(feeds.places.len(), 2, "places are used again");
        assert!(feeds.find(SourceId(8), &mut place).is_none());
        assert_eq!(feeds.find(SourceId(9), &mut place).map(Feed::id), Some(SourceId(9)));
        assert_eq!((feeds.len(), feeds.get(SourceId(7)).is_some()), (2, true));
    }
}
