//! From the plan and what comes in to what the canvas shows. Pure; the time of day is an argument.

use super::Plan;
use super::absence::Absences;
use super::input::Input;
use crate::forward::{SeatIndex, SourceId, SourceKind};
use crate::mix::audio::Speakers;
use crate::mix::compose::{self, Scene, TileScene};
use crate::mix::layout::{self, Layout};
use crate::mix::picture::Size;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Everything of a scene that does not change with who speaks.
pub(super) struct Scenery {
    background: compose::Background,
    placeholder: compose::Placeholder,
    watermarks: Vec<Mark>,
}

struct Mark {
    area: layout::Area,
    opacity: u8,
    mark: Drawn,
}

enum Drawn {
    Still(compose::Mark),
    /// The time of day changes while it is shown.
    Clock {
        seconds: bool,
        utc_offset_minutes: i16,
        color: layout::Color,
    },
}

impl Scenery {
    pub fn new(layout: &Layout) -> Self {
        let Layout {
            background,
            placeholder,
            watermarks,
            ..
        } = layout;
        Scenery {
            background: compose::Background {
                color: background.color,
                image: background.image.as_ref().map(unpacked),
            },
            placeholder: compose::Placeholder {
                color: placeholder.color,
                image: placeholder.image.as_ref().map(unpacked),
                name: placeholder.name,
            },
            watermarks: watermarks.iter().map(Mark::new).collect(),
        }
    }

    /// How often the scene is another one by itself: with a clock in it. `None`: never.
    pub fn has_clock(&self) -> bool {
        self.watermarks
            .iter()
            .any(|mark| matches!(mark.mark, Drawn::Clock { .. }))
    }

    /// What the canvas shows now. `utc_s`: seconds since 1970.
    pub fn scene(&self, plan: &Plan, absences: &Absences, speakers: &Speakers, size: Size, utc_s: i64) -> Scene {
        let tiles = plan.layout.arrange(size, &plan.present);
        let labelled = plan.layout.labelled(tiles.len());
        let tiles = tiles.into_iter().map(|tile| {
            let person = plan.people.iter().find(|person| person.seat == tile.seat);
            let source = tile.source;
            let is_camera = source == SourceKind::Camera;
            let (user, name) = person.map_or_else(<(Arc<str>, Arc<str>)>::default, |person| {
                (person.user.clone(), person.name.clone())
            });
            TileScene {
                content: absences.content(&user, source),
                user,
                name,
                label: labelled,
                speaking: is_camera && labelled && speakers.speaking().any(|seat| seat == tile.seat),
                muted: is_camera && labelled && person.is_some_and(|person| person.audio_muted),
                tile,
            }
        });
        Scene {
            size,
            background: self.background.clone(),
            placeholder: self.placeholder.clone(),
            tiles: tiles.collect(),
            watermarks: self.watermarks.iter().map(|mark| mark.on(size, utc_s)).collect(),
        }
    }
}

/// The newest transport of a seat's source.
pub(super) fn input(inputs: &BTreeMap<SourceId, Input>, seat: SeatIndex, kind: SourceKind) -> Option<&Input> {
    inputs
        .values()
        .rfind(|input| input.info.seat == seat && input.info.kind == kind)
}

fn unpacked(image: &layout::Image) -> compose::Image {
    image.unpacked().clone()
}

impl Mark {
    fn new(watermark: &layout::Watermark) -> Self {
        let mark = match &watermark.mark {
            layout::Mark::Text { text, color } => Drawn::Still(compose::Mark::Text {
                text: text.as_str().into(),
                color: *color,
            }),
            layout::Mark::Image(image) => Drawn::Still(compose::Mark::Image(unpacked(image))),
            layout::Mark::Clock {
                seconds,
                utc_offset_minutes,
                color,
            } => Drawn::Clock {
                seconds: *seconds,
                utc_offset_minutes: *utc_offset_minutes,
                color: *color,
            },
        };
        Mark {
            area: watermark.area,
            // a fraction of 0..=1 by construction
            opacity: (watermark.opacity * 255.0).round() as u8,
            mark,
        }
    }

    fn on(&self, canvas: Size, utc_s: i64) -> compose::Watermark {
        let mark = match &self.mark {
            Drawn::Still(mark) => mark.clone(),
            Drawn::Clock {
                seconds,
                utc_offset_minutes,
                color,
            } => compose::Mark::Text {
                text: time_of_day(utc_s, *utc_offset_minutes, *seconds).into(),
                color: *color,
            },
        };
        compose::Watermark {
            rect: self.area.on(canvas),
            mark,
            opacity: self.opacity,
        }
    }
}

fn time_of_day(utc_s: i64, utc_offset_minutes: i16, seconds: bool) -> String {
    const DAY_S: i64 = 86_400;
    let of_day = (utc_s + i64::from(utc_offset_minutes) * 60).rem_euclid(DAY_S);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    if seconds {
        format!("{hour:02}:{minute:02}:{second:02}")
    } else {
        format!("{hour:02}:{minute:02}")
    }
}
