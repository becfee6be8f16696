//! The ranges of a room's settings, and how they change. Out of range is refused and named, never clamped.

use super::event::{ClosedReason, Event};
use super::machine::HOST_SEAT;
use super::rules::{Action, Standing};
use super::*;
use crate::forward::SeatIndex;
use crate::mix::layout::{Layout, Template};
use std::ops::RangeInclusive;
use std::time::Instant;

/// Seats a room can have at all, seat 0 included; the configuration usually allows fewer.
pub(super) const SEATS: u8 = 16;

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;

/// `max_guests_allowed`: the node's configured limit.
pub(super) fn validate(settings: &Settings, max_guests_allowed: u8) -> Result<(), Refusal> {
    max_guests(settings.max_guests, max_guests_allowed)?;
    policies(&settings.policies)?;
    layout(&settings.layout, settings.max_guests)
}

/// It names seats that there are.
pub(super) fn layout(layout: &Layout, max_guests: u8) -> Result<(), Refusal> {
    let custom = match &layout.template {
        Template::Custom(tiles) => tiles.as_slice(),
        Template::Grid | Template::Float | Template::Screen => &[],
    };
    let tiles = custom.iter().enumerate();
    let tiles = tiles.map(|(n, tile)| (tile.seat, format!("layout.tiles[{n}].seat")));
    let volumes = layout.volumes.keys();
    let volumes = volumes.map(|seat| (*seat, format!("layout.volumes.{}", seat.0)));
    match tiles.chain(volumes).find(|(seat, _)| seat.0 > max_guests) {
        Some((seat, field)) => {
            let detail = format!("there is no seat {}: the last one is {max_guests}", seat.0);
            Err(Refusal::invalid(&field, detail))
        }
        None => Ok(()),
    }
}

pub(super) fn max_guests(value: u8, allowed: u8) -> Result<(), Refusal> {
    let allowed = allowed.min(SEATS - 1);
    if value > allowed {
        let detail = format!("max_guests is 0 to {allowed} here, not {value}");
        return Err(Refusal::invalid("max_guests", detail));
    }
    Ok(())
}

pub(super) fn policies(policies: &Policies) -> Result<(), Refusal> {
    // (field, value, range, whether 0 stands for something of its own)
    let timers: [(&str, u64, RangeInclusive<u64>, bool); 8] = [
        // 0: the longest there is
        (
            "application_ms",
            policies.application_ms,
            5 * SECOND..=30 * MINUTE,
            true,
        ),
        ("invitation_ms", policies.invitation_ms, 5 * SECOND..=30 * MINUTE, true),
        ("reservation_ms", policies.reservation_ms, 3 * SECOND..=MINUTE, false),
        ("grace_ms", policies.grace_ms, 0..=90 * SECOND, false),
        ("host_away_ms", policies.host_away_ms, 0..=10 * MINUTE, false),
        (
            "reject_cooldown_ms",
            policies.reject_cooldown_ms,
            0..=10 * MINUTE,
            false,
        ),
        ("kick_cooldown_ms", policies.kick_cooldown_ms, 0..=10 * MINUTE, false),
        // 0: never
        ("empty_room_ms", policies.empty_room_ms, 30 * SECOND..=24 * HOUR, true),
    ];
    for (field, value, range, zero) in timers {
        let stands_for_something = zero && value == 0;
        if !range.contains(&value) && !stands_for_something {
            let or_zero = if zero { " or 0" } else { "" };
            let detail = format!("{field} is {} to {}{or_zero}, not {value}", range.start(), range.end());
            return Err(Refusal::invalid(&format!("policies.{field}"), detail));
        }
    }
    for what in &policies.admin_may {
        if !["layout", "outputs", "settings"].contains(&what.as_str()) {
            let detail = format!("admin_may holds layout, outputs and settings, not {what:?}");
            return Err(Refusal::invalid("policies.admin_may", detail));
        }
    }
    Ok(())
}

impl Room {
    /// What the settings would be after this.
    pub fn updated(&self, by: &Principal, patch: &SettingsPatch) -> Result<Settings, Refusal> {
        self.patched(self.standing(by), patch.clone())
    }

    pub(super) fn update(
        &mut self,
        standing: Standing,
        patch: SettingsPatch,
        now: Instant,
    ) -> Result<Outcome, Refusal> {
        let settings = self.patched(standing, patch)?;
        if settings != self.settings {
            let was_external = self.external();
            self.settings = settings;
            if was_external != self.external() {
                self.restart_waits(now);
            }
            if self.external() && !was_external {
                self.close_requests(ClosedReason::SeatsDisabled, now);
            }
            self.tell_room();
            self.commit(now);
        }
        Ok(Outcome::Done)
    }

    fn patched(&self, standing: Standing, patch: SettingsPatch) -> Result<Settings, Refusal> {
        self.permit_patch(standing, &patch)?;
        self.expect_version(patch.if_version)?;
        let mut settings = self.settings.clone();
        if let Some(wanted) = patch.max_guests {
            max_guests(wanted, self.max_guests_allowed)?;
            settings.max_guests = wanted;
        }
        if let Some(patch) = patch.policies {
            let wanted = settings.policies.clone().patched(&patch);
            policies(&wanted)?;
            if wanted.admin_may != settings.policies.admin_may {
                self.permit(standing, Action::ChangeAdminPolicy)?;
            }
            settings.policies = wanted;
        }
        if let Some(wanted) = patch.program {
            let patched = settings.program.patched(&wanted);
            settings.program = patched.map_err(|refusal| refusal.within("program"))?;
        }
        if let Some(wanted) = patch.layout {
            layout(&wanted, settings.max_guests)?;
            settings.layout = wanted;
        }
        settings.seat_mode = patch.seat_mode.unwrap_or(settings.seat_mode);
        settings.public_program = patch.public_program.unwrap_or(settings.public_program);
        settings.webhook = patch.webhook.unwrap_or(settings.webhook);
        settings.metadata = patch.metadata.unwrap_or(settings.metadata);
        Ok(settings)
    }

    fn permit_patch(&self, standing: Standing, patch: &SettingsPatch) -> Result<(), Refusal> {
        let layout_alone = SettingsPatch {
            if_version: patch.if_version,
            layout: patch.layout.clone(),
            ..SettingsPatch::default()
        };
        if patch.layout.is_some() {
            self.permit(standing, Action::ChangeLayout)?;
        }
        if patch.layout.is_none() || *patch != layout_alone {
            self.permit(standing, Action::ChangeSettings)?;
        }
        Ok(())
    }

    /// The seat mode began or ceased to be external: waits lose their limit, or get one from now.
    fn restart_waits(&mut self, now: Instant) {
        let policies = &self.settings.policies;
        let reservation = self.limit(policies.reservation_ms, now);
        let grace = self.limit(policies.grace_ms, now);
        let host_away = self.limit(policies.host_away_ms, now);
        for (index, seat) in (0..SEATS).map(SeatIndex).zip(&mut self.seats) {
            match &mut seat.occupancy {
                Occupancy::Reserved { until, .. } if index != HOST_SEAT => *until = reservation,
                Occupancy::Held { until, .. } => *until = if index == HOST_SEAT { host_away } else { grace },
                Occupancy::Reserved { .. } | Occupancy::Occupied { .. } | Occupancy::Empty => {}
            }
        }
    }

    pub(super) fn tell_room(&mut self) {
        self.tell_all(Event::RoomUpdated {
            phase: self.phase,
            max_guests: self.settings.max_guests,
        });
    }
}
