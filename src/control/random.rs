//! Everything that must not be guessed, from the thread's cryptographic generator.

use super::ResourceId;
use crate::transport::ice;
use rand::Rng;
use rand::distr::{Alphanumeric, SampleString};
use std::collections::BTreeSet;

/// 131 bits: whoever knows the id of a resource may end it.
const RESOURCE_ID_CHARACTERS: usize = 22;

/// 95 bits, far more than the 24 that RFC 8445 5.3 asks for: the fragment also tells a worker's peers apart.
const UFRAG_CHARACTERS: usize = 16;

/// 142 bits; RFC 8445 5.3 asks for 128.
const PASSWORD_CHARACTERS: usize = 24;

fn alphanumeric(characters: usize) -> String {
    Alphanumeric.sample_string(&mut rand::rng(), characters)
}

pub(super) fn resource_id() -> ResourceId {
    ResourceId(alphanumeric(RESOURCE_ID_CHARACTERS))
}

pub(super) fn credentials() -> ice::Credentials {
    ice::Credentials {
        ufrag: alphanumeric(UFRAG_CHARACTERS),
        pwd: alphanumeric(PASSWORD_CHARACTERS),
    }
}

/// Of `o=`: 63 bits, since some parsers take the number as signed (RFC 8829 5.2.1 asks for the same).
pub(super) fn session_id() -> u64 {
    rand::rng().random::<u64>() >> 1
}

/// Yields SSRCs, each once and none of them 0.
pub(super) fn ssrcs() -> impl FnMut() -> u32 {
    let mut used = BTreeSet::new();
    move || loop {
        let ssrc = rand::rng().random_range(1..=u32::MAX);
        if used.insert(ssrc) {
            return ssrc;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_drawn_twice() {
        let ids: BTreeSet<ResourceId> = (0..1_000).map(|_| resource_id()).collect();
        let ufrags: BTreeSet<String> = (0..1_000).map(|_| credentials().ufrag).collect();
        assert_eq!((ids.len(), ufrags.len()), (1_000, 1_000));
        assert!(ids.iter().all(|id| id.0.len() == RESOURCE_ID_CHARACTERS));
        let drawn: BTreeSet<u32> = std::iter::repeat_with(ssrcs()).take(1_000).collect();
        assert!(drawn.len() == 1_000 && !drawn.contains(&0));
    }
}
