//! The ranges of a room's settings. Out of range is refused and named, never clamped.

use super::{Policies, Refusal, Settings};
use std::ops::RangeInclusive;

/// Seats a room can have at all, seat 0 included; the configuration usually allows fewer.
pub(super) const SEATS: u8 = 16;

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;

/// `max_guests_allowed`: the node's configured limit.
pub(super) fn validate(settings: &Settings, max_guests_allowed: u8) -> Result<(), Refusal> {
    max_guests(settings.max_guests, max_guests_allowed)?;
    policies(&settings.policies)?;
    for (field, value) in [("program", &settings.program), ("layout", &settings.layout)] {
        if !value.is_object() && !value.is_null() {
            return Err(Refusal::invalid(field, format!("{field} is an object")));
        }
    }
    Ok(())
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
