//! The stage from outside, against the binary itself: what survives `kill -9`, that event streams which are cut off at
//! random all end up with the same picture, and how somebody is refused who comes too often, too many or too late.

mod converge;
mod limits;
mod restart;
mod server;
mod stream;
