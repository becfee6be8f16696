//! Which simulcast layer a viewer gets. Pure.
