//! What the tests with full WebRTC peers share. Whoever has it as a module names its parts at the root, too.

#![allow(dead_code, reason = "none of the test programs needs all of it")]

pub mod connection;
pub mod node;
pub mod outlet;
pub mod relay;
pub mod tap;
pub mod viewer;
