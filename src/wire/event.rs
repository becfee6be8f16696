//! The JSON of events: a [`Notice`] → the contract's envelope, `{room, epoch, version, seq, prev, at, type, actor, data}`.

use super::Moment;
use crate::room::Notice;
use serde_json::Value;

/// The contract's name of an event.
pub fn name(_notice: &Notice) -> &'static str {
    ""
}

/// The event's `data`. `base`: of absolute URLs.
pub fn data(_notice: &Notice, _base: &str, _moment: Moment) -> Value {
    Value::Null
}

/// The envelope as one line of JSON. `prev`: the `seq` of the message before for this receiver; `None` (webhooks): left
/// out.
pub fn message(_notice: &Notice, _prev: Option<u64>, _base: &str, _moment: Moment) -> String {
    String::new()
}
