//! Which simulcast layer a viewer gets. Pure.
//!
//! What a viewer's line carries is not measured yet: [`choose_layer`] already takes an estimate, and whoever makes one
//! feeds it from the transport-wide feedback that [`Viewer`](crate::forward::Viewer) meets in its RTCP.

mod layer;

pub use layer::{LayerState, choose_layer};
