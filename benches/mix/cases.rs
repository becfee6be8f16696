//! What is measured: who sends what, how the program is made, who watches. Pure.

use crate::clips::{Clips, FRAME_RATE};
use costage::demo::Clip;
use serde_json::{Value, json};
use std::sync::Arc;

/// One room, the host on seat 0 and guests on the next ones. Everybody sends a voice.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Case {
    pub name: &'static str,
    pub what: &'static str,
    /// How many send the talking head in 640×360; they have the first seats.
    talk: u8,
    /// How many send it in 320×180.
    small: u8,
    /// How many send its first picture over and over.
    still: u8,
    /// Else the program is as it is by default: `auto`.
    mixed: bool,
    pub watched: bool,
    /// CPU-seconds per second of output to reach.
    pub reach: Option<f64>,
}

/// What the other pipelines do too.
pub const COMPETITION: Case = mixed("10", "10 × 360p moving", 10, 0, Some(0.58));

pub const CASES: [Case; 8] = [
    COMPETITION,
    Case {
        small: 10,
        ..mixed(
            "10-180p",
            "10 × 180p moving (participants send nothing larger: what choosing their small layer leaves to decode)",
            0,
            0,
            Some(0.40),
        )
    },
    mixed("5", "5 moving, 5 still, 360p", 5, 5, None),
    mixed("2", "2 moving, 8 still, 360p", 2, 8, None),
    mixed("1", "1 moving, 9 still, 360p", 1, 9, None),
    mixed("0", "10 still, 360p", 0, 10, None),
    Case {
        mixed: false,
        ..mixed("alone", "host alone, 360p, mode `auto`", 1, 0, Some(0.02))
    },
    Case {
        watched: false,
        ..mixed("unwatched", "10 × 360p moving, nobody watching", 10, 0, Some(0.01))
    },
];

const fn mixed(name: &'static str, what: &'static str, talk: u8, still: u8, reach: Option<f64>) -> Case {
    Case {
        name,
        what,
        talk,
        small: 0,
        still,
        mixed: true,
        watched: true,
        reach,
    }
}

impl Case {
    /// Who is on this seat; the host is on seat 0.
    pub fn user(seat: u8) -> String {
        match seat {
            0 => crate::server::HOST.to_owned(),
            guest => format!("guest-{guest}"),
        }
    }

    pub fn people(&self) -> u8 {
        self.talk + self.small + self.still
    }

    /// What the person on `seat` sends.
    pub fn clip(&self, seat: u8, clips: &Clips) -> Arc<Clip> {
        let clip = match seat {
            seat if seat < self.talk => &clips.talk,
            seat if seat < self.talk + self.small => &clips.small,
            _ => &clips.still,
        };
        clip.clone()
    }

    /// The room's `program`.
    pub fn program(&self) -> Value {
        if !self.mixed {
            return Value::Null;
        }
        let video = json!({ "width": 1280, "height": 720, "fps": FRAME_RATE, "bitrate_kbps": 2500 });
        json!({ "mode": "mixed", "video": video })
    }

    /// The complete assignment of seats to guests.
    pub fn seats(&self) -> Value {
        let guests = (1..self.people()).map(|seat| (seat.to_string(), json!({ "user": Case::user(seat) })));
        json!({ "seats": guests.collect::<serde_json::Map<_, _>>() })
    }
}
