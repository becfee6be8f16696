//! The JSON of the contract: what rooms, seats, requests, members and events look like outside. Pure but for
//! [`Moment::of`] and [`Moment::read`]; wall-clock times are reckoned from one pair of clock readings.

pub mod event;
mod layout;
mod member;
mod person;
mod program;
mod request;
mod room;
mod seat;
mod slot;
mod time;

pub use crate::room::Moment;
pub use layout::*;
pub use member::*;
pub use person::*;
pub use program::*;
pub use request::*;
pub use room::*;
pub use seat::*;
pub use slot::*;
pub use time::*;
