//! Times of day, reckoned from one pair of clock readings.

use crate::room::{Moment, Snapshot};
use jiff::Timestamp;
use serde_json::Value;
use std::time::{Duration, Instant};

/// What turns the room's deadlines into times of day.
impl Moment {
    /// `now` is the snapshot's.
    pub fn of(snapshot: &Snapshot) -> Self {
        Moment {
            now: snapshot.now,
            ..Moment::read()
        }
    }

    /// Both clocks are read here, and nowhere else in this module.
    pub fn read() -> Self {
        let since_1970 = Timestamp::now().as_millisecond();
        Moment {
            now: Instant::now(),
            // A clock before 1970 is no clock; 1970 is what it then says.
            wall_ms: u64::try_from(since_1970).unwrap_or(0),
        }
    }

    pub fn at(self, instant: Instant) -> Timestamp {
        let ahead = millis(instant.saturating_duration_since(self.now));
        let behind = millis(self.now.saturating_duration_since(instant));
        timestamp(self.wall_ms.saturating_add(ahead).saturating_sub(behind))
    }

    /// Both ends of a span, as far apart as they are: each read by itself may be a millisecond off.
    pub fn span(self, from: Instant, until: Instant) -> (Timestamp, Timestamp) {
        let from_shown = self.at(from);
        let lasting_ms = millis(until.saturating_duration_since(from));
        let from_ms = u64::try_from(from_shown.as_millisecond()).unwrap_or(0);
        (from_shown, timestamp(from_ms.saturating_add(lasting_ms)))
    }

    pub fn in_ms(self, instant: Instant) -> u64 {
        millis(instant.saturating_duration_since(self.now))
    }
}

/// Of milliseconds since 1970.
fn timestamp(ms: u64) -> Timestamp {
    let ms = i64::try_from(ms).unwrap_or(i64::MAX);
    // Out of jiff's range only after the year 9999.
    Timestamp::from_millisecond(ms).unwrap_or(Timestamp::MAX)
}

pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// RFC 3339, UTC, with milliseconds.
pub fn rfc3339(time: Timestamp) -> String {
    let whole_ms = Timestamp::from_millisecond(time.as_millisecond()).unwrap_or(time);
    format!("{whole_ms:.3}")
}

/// An object with a deadline in it: `field` as a time of day, `FIELD_in_ms` as its distance; neither where there is no limit.
pub(super) fn with_deadline(mut object: Value, field: &str, at: Option<Instant>, moment: Moment) -> Value {
    if let (Value::Object(map), Some(at)) = (&mut object, at) {
        map.insert(field.to_owned(), rfc3339(moment.at(at)).into());
        map.insert(format!("{field}_in_ms"), moment.in_ms(at).into());
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_milliseconds_and_their_distance() {
        let now = Instant::now();
        let wall: Timestamp = "2026-11-22T10:00:00.123Z".parse().expect("a time");
        let moment = Moment {
            now,
            wall_ms: u64::try_from(wall.as_millisecond()).expect("after 1970"),
        };
        assert_eq!(rfc3339(moment.at(now)), "2026-11-22T10:00:00.123Z");
        assert_eq!(
            rfc3339(moment.at(now + Duration::from_millis(1500))),
            "2026-11-22T10:00:01.623Z"
        );
        assert_eq!(
            rfc3339(moment.at(now - Duration::from_millis(100))),
            "2026-11-22T10:00:00.023Z"
        );
        assert_eq!(moment.in_ms(now + Duration::from_millis(1500)), 1500);
        assert_eq!(moment.in_ms(now - Duration::from_millis(1)), 0);
        assert_eq!(rfc3339(Timestamp::UNIX_EPOCH), "1970-01-01T00:00:00.000Z");
        assert_eq!(
            rfc3339("2026-11-22T10:00:00.1239Z".parse().expect("a time")),
            "2026-11-22T10:00:00.123Z"
        );
        let lasting = Duration::from_secs(30);
        for micros in [0, 1, 400, 999, 1_000, 1_600] {
            let apart = Duration::from_micros(micros);
            for from in [now - apart, now + apart] {
                let (from, until) = moment.span(from, from + lasting);
                let apart_ms = until.as_millisecond() - from.as_millisecond();
                assert_eq!(apart_ms, 30_000, "{micros} µs from now");
            }
        }
        let ages_hence = Moment { now, wall_ms: u64::MAX };
        assert!(rfc3339(ages_hence.at(now)).starts_with("9999-"));
    }
}
