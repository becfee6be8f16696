//! What a tile shows once pictures of its source have stopped coming: the last one for a moment, then the placeholder. Who is
//! muted, locked or off the seat is never shown a moment longer. Pure. In come the plan and what flows, whenever the scene
//! may be another one; out goes what each tile shows. Time base: the program's.

use super::Plan;
use super::input::Input;
use super::scene;
use crate::forward::{SourceId, SourceKind};
use crate::mix::compose::Content;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a last picture stays: most broken paths are whole again by then, and a tile that flickers is worse than one that
/// stands still. Who looks longer at a face takes it for somebody who listens.
const PICTURE_KEPT: Duration = Duration::from_millis(1500);

/// The sources that show pictures, or showed some a moment ago; by whose they are, for pictures move with their owner and
/// nobody else's tile shows them.
#[derive(Debug, Default)]
pub(super) struct Absences {
    seen: BTreeMap<(Arc<str>, SourceKind), Seen>,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    /// Until when the last one stays. `None`: they come in.
    frozen_until: Option<Instant>,
}

impl Absences {
    /// Twice equals once.
    pub fn settle(&mut self, plan: &Plan, inputs: &BTreeMap<SourceId, Input>, at: Instant) {
        let before = std::mem::take(&mut self.seen);
        for tile in &plan.present {
            let Some(person) = plan.people.iter().find(|person| person.seat == tile.seat) else {
                continue;
            };
            // who sent from this seat before is not who sits there now
            let input = scene::input(inputs, tile.seat, tile.source).filter(|input| input.info.user == person.user);
            let withheld = input.map_or(person.video_muted, |input| !input.info.permission.video);
            let owner = (person.user.clone(), tile.source);
            let next = match before.get(&owner) {
                _ if input.is_some_and(Input::shows_video) => Some(Seen { frozen_until: None }),
                Some(seen) if !withheld => seen.frozen(at),
                _ => None,
            };
            self.seen.extend(next.map(|next| (owner, next)));
        }
    }

    pub fn content(&self, user: &Arc<str>, source: SourceKind) -> Content {
        match self.seen.get(&(user.clone(), source)) {
            Some(Seen { frozen_until: None }) => Content::Live,
            Some(Seen { .. }) => Content::Frozen,
            None => Content::Placeholder,
        }
    }

    /// A last picture has been seen for long enough.
    pub fn is_due(&self, at: Instant) -> bool {
        let mut until = self.seen.values().filter_map(|seen| seen.frozen_until);
        until.any(|until| until <= at)
    }
}

impl Seen {
    /// Nothing comes in at `at`. `None`: nor has it for long.
    fn frozen(self, at: Instant) -> Option<Self> {
        let until = self.frozen_until.unwrap_or(at + PICTURE_KEPT);
        (at < until).then_some(Seen {
            frozen_until: Some(until),
        })
    }
}
