//! What a tile shows once pictures of its source have stopped coming: the last one for a moment, then the placeholder. Who is
//! muted, locked or off the seat is never shown a moment longer. Pure. In come the plan and what flows, whenever the scene
//! may be another one; out goes what each tile shows. Time base: the program's.

use super::Plan;
use super::input::Input;
use super::scene;
use crate::forward::SourceId;
use crate::mix::compose::Content;
use crate::mix::layout::Present;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a last picture stays: most broken paths are whole again by then, and a tile that flickers is worse than one that
/// stands still. Who looks longer at a face takes it for somebody who listens.
const PICTURE_KEPT: Duration = Duration::from_millis(1500);

/// The tiles that show pictures, or showed some a moment ago.
#[derive(Debug, Default)]
pub(super) struct Absences {
    tiles: BTreeMap<Present, Seen>,
}

#[derive(Clone, Debug)]
struct Seen {
    /// Whose pictures they are: nobody else's tile shows them.
    user: Arc<str>,
    /// Until when the last one stays. `None`: they come in.
    frozen_until: Option<Instant>,
}

impl Absences {
    /// Twice equals once.
    pub fn settle(&mut self, plan: &Plan, inputs: &BTreeMap<SourceId, Input>, at: Instant) {
        self.tiles.retain(|tile, _| plan.present.contains(tile));
        for tile in &plan.present {
            let person = plan.people.iter().find(|person| person.seat == tile.seat);
            let input = scene::input(inputs, tile.seat, tile.source);
            let withheld = match (input, person) {
                (Some(input), _) => !input.info.permission.video,
                (None, Some(person)) => person.video_muted,
                (None, None) => true,
            };
            let shows = input.is_some_and(Input::shows_video);
            let next = match (person, self.tiles.remove(tile)) {
                (Some(person), _) if shows => Some(Seen {
                    user: person.user.clone(),
                    frozen_until: None,
                }),
                (Some(person), Some(seen)) if !withheld && seen.user == person.user => seen.frozen(at),
                _ => None,
            };
            if let Some(next) = next {
                self.tiles.insert(*tile, next);
            }
        }
    }

    pub fn content(&self, tile: Present) -> Content {
        match self.tiles.get(&tile) {
            Some(Seen { frozen_until: None, .. }) => Content::Live,
            Some(Seen { .. }) => Content::Frozen,
            None => Content::Placeholder,
        }
    }

    /// A last picture has been seen for long enough.
    pub fn is_due(&self, at: Instant) -> bool {
        let mut until = self.tiles.values().filter_map(|seen| seen.frozen_until);
        until.any(|until| until <= at)
    }
}

impl Seen {
    /// Nothing comes in at `at`. `None`: nor has it for long.
    fn frozen(self, at: Instant) -> Option<Self> {
        let until = self.frozen_until.unwrap_or(at + PICTURE_KEPT);
        (at < until).then_some(Seen {
            frozen_until: Some(until),
            ..self
        })
    }
}
