//! The stage from outside, against the binary itself: what survives `kill -9`, and that event streams which are cut off
//! at random all end up with the same picture.

mod converge;
mod restart;
mod server;
mod stream;
