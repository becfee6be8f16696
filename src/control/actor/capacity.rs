//! What the room's program takes of the node: reserved while it is mixed or about to be, and what would make it more than
//! the node has is refused. Nobody who is there is sent away for it.
//!
//! Seats that are taken count as cameras that are on, so that who was accepted finds room; what begins by itself (a host's
//! camera goes off) is mixed all the same, with what there is.

use super::Actor;
use crate::control::program::Making;
use crate::control::reconcile::sources;
use crate::forward::{SeatIndex, SourceId, SourceInfo, View};
use crate::mix::layout::Layout;
use crate::mix::picture::Size;
use crate::program::{Conditions, Cores, Shortage, Sized, cost};
use crate::room::{Capacity, Code, Command, Desired, Principal, ProgramMode, ProgramSettings, Refusal};
use std::time::Duration;

/// When a refused one may ask again: programs begin and end within minutes.
const RETRY: Duration = Duration::from_secs(10);

/// What there might be.
struct Wish<'w> {
    settings: &'w ProgramSettings,
    layout: &'w Layout,
    /// Guests without a seat yet.
    newcomers: usize,
    /// Of the program.
    viewers: usize,
    /// Somebody hears it without their own voice, which takes a mixer even where there is but one.
    listens: bool,
}

impl Actor {
    /// The room is settled: what its program takes, and how it copes, is said.
    pub(super) fn settle_capacity(&mut self) {
        let needed = self.needed(&self.as_it_is());
        self.reservation.set(needed);
        let step = self.program_step();
        if step != self.told.step {
            self.told.step = step;
            match step {
                Some(step) => tracing::warn!(
                    room = self.id.as_str(),
                    quality = ?step.quality,
                    fps = step.fps,
                    width = step.size.width(),
                    height = step.size.height(),
                    "the program can't keep up, or did not for a while, and is made with less than is set"
                ),
                None => tracing::info!(room = self.id.as_str(), "the program is made as it is set"),
            }
        }
    }

    /// How many more guests there is room for: as publishers, and in a program that is mixed.
    pub(super) fn capacity(&self) -> Capacity {
        let places = self.shared.registry.places();
        let shortage = (1..=places.min(GUESTS_MAX)).find_map(|newcomers| {
            let wish = Wish {
                newcomers,
                ..self.as_it_is()
            };
            Some((newcomers - 1, self.shortage(&wish)?))
        });
        match shortage {
            Some((guests, shortage)) => Capacity {
                guests,
                why: shortage.to_string(),
            },
            None => Capacity {
                guests: places,
                why: "the server has no place for another publisher now".to_owned(),
            },
        }
    }

    /// Other settings or another layout that would take more than there is. What is wrong with them otherwise is the seat
    /// machine's to say.
    pub(super) fn may_change(&self, by: &Principal, command: &Command) -> Result<(), Refusal> {
        let Command::Update(patch) = command else {
            return Ok(());
        };
        let Ok(settings) = self.room.updated(by, patch) else {
            return Ok(());
        };
        self.may(&Wish {
            settings: &settings.program,
            layout: &settings.layout,
            ..self.as_it_is()
        })
    }

    /// Whoever comes first begins the mix.
    pub(super) fn may_watch(&self, view: &View) -> Result<(), Refusal> {
        let View::Program { leave_out } = view else {
            return Ok(());
        };
        let now = self.as_it_is();
        self.may(&Wish {
            viewers: now.viewers + 1,
            listens: now.listens || leave_out.is_some(),
            ..now
        })
    }

    fn may(&self, wish: &Wish) -> Result<(), Refusal> {
        match self.shortage(wish) {
            Some(shortage) => Err(Refusal {
                retry_after: Some(RETRY),
                ..self.refusal(Code::CapacityExhausted, shortage.to_string())
            }),
            None => Ok(()),
        }
    }

    fn shortage(&self, wish: &Wish) -> Option<Shortage> {
        self.reservation.refuses(self.needed(wish))
    }

    fn as_it_is(&self) -> Wish<'_> {
        let settings = self.room.settings();
        Wish {
            settings: &settings.program,
            layout: &settings.layout,
            newcomers: 0,
            viewers: self.program_viewers(),
            listens: !self.listeners(&sources(&self.room.desired(), &self.actual)).is_empty(),
        }
    }

    fn needed(&self, wish: &Wish) -> Cores {
        let desired = self.room.desired();
        let watched = wish.viewers > 0 || wish.settings.always;
        if desired.ended || !self.program_begun || !watched {
            return Cores::default();
        }
        let sources = self.awaited_sources(&desired, wish.newcomers);
        let infos: Vec<SourceInfo> = sources.iter().map(|(source, _)| source.clone()).collect();
        let video = &wish.settings.video;
        let conditions = Conditions {
            layout: wish.layout,
            sources: &infos,
            // whoever has a seat is among the sources
            present: &[],
            listens: wish.listens,
            size: video.size,
            host_size: self.host_size_beside(video.size),
        };
        if !is_mixed(wish.settings.mode, conditions, self.making()) {
            return Cores::default();
        }
        let canvas = video.size.unwrap_or(self.program_size.size());
        cost(canvas, video.fps, wish.layout, &sources)
    }

    /// The size of the host's picture that the program would pass through; `None` where one of several encodings may suit.
    fn host_size_beside(&self, set: Option<Size>) -> Option<(u16, u16)> {
        // until it is known, it may be any
        let (width, height) = self.host_size().unwrap_or_default();
        let is_smaller = |set: Size| set.width() <= width.into() && set.height() <= height.into();
        let may_choose = self.host_layers() > 1 && set.is_some_and(is_smaller);
        (!may_choose).then_some((width, height))
    }

    /// The sources there will be once everybody with a seat publishes, with their sizes. The host alone is not awaited:
    /// without one there is a slate.
    fn awaited_sources(&self, desired: &Desired, newcomers: usize) -> Vec<Sized> {
        let mut all: Vec<Sized> = sources(desired, &self.actual)
            .into_iter()
            .map(|mut source| {
                source.connected = true;
                let size = self.source_size(source.id);
                (source, size)
            })
            .collect();
        let taken = |seat: &SeatIndex| desired.seats.values().any(|(taken, _)| taken == seat);
        let guests = (1..=u8::MAX).map(SeatIndex);
        let newcomers = guests.clone().filter(|seat| !taken(seat)).take(newcomers);
        let silent: Vec<SeatIndex> = guests
            .filter(|seat| taken(seat) && !all.iter().any(|(source, _)| source.seat == *seat))
            .chain(newcomers)
            .collect();
        all.extend(
            silent
                .into_iter()
                .map(|seat| (SourceInfo::camera(SourceId(0), seat), None)),
        );
        all.sort_by_key(|(source, _)| (source.seat, source.kind));
        all
    }
}

/// Guest seats of a room at most.
const GUESTS_MAX: usize = 15;

/// The mixer will be needed, by a program that is made so now.
fn is_mixed(mode: ProgramMode, conditions: Conditions, now: Making) -> bool {
    match mode {
        ProgramMode::Off | ProgramMode::Passthrough => false,
        ProgramMode::Mixed => true,
        // it also goes on for a while when nothing is left to compose
        ProgramMode::Auto => conditions.reasons().next().is_some() || now == Making::Mixed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_sizes_and_guests_decide() {
        let camera = |seat: u8| SourceInfo::camera(SourceId(u64::from(seat)), SeatIndex(seat));
        let layout = Layout::default();
        let mixed = |mode, size, sources: &[SourceInfo], listens, now| {
            let conditions = Conditions {
                layout: &layout,
                sources,
                present: &[],
                listens,
                size,
                host_size: Some((640, 360)),
            };
            is_mixed(mode, conditions, now)
        };
        let (host, both) = ([camera(0)], [camera(0), camera(1)]);
        let auto = |size, sources: &[SourceInfo]| mixed(ProgramMode::Auto, size, sources, false, Making::Passthrough);
        assert!(!auto(None, &host));
        assert!(!auto(Size::even(640, 360), &host));
        assert!(auto(Size::even(1280, 720), &host), "it is scaled");
        assert!(auto(None, &both));
        assert!(auto(None, &[]));
        assert!(mixed(ProgramMode::Auto, None, &host, true, Making::Passthrough));
        assert!(
            mixed(ProgramMode::Auto, None, &host, false, Making::Mixed),
            "it goes on"
        );
        assert!(mixed(ProgramMode::Mixed, None, &host, false, Making::Unwatched));
        for mode in [ProgramMode::Passthrough, ProgramMode::Off] {
            assert!(!mixed(mode, Size::even(1280, 720), &both, true, Making::Mixed));
        }
    }
}
