//! Which SSRC is which track and layer (RFC 8843 §9.2, RFC 8852): known SSRC, else MID and RID, else payload type.

use super::layer::Track;
use crate::rtp::{Extension, ExtensionMap, Header};

/// SSRCs of one publisher. Two tracks of three layers with RTX are at most twelve; the rest is for senders that change
/// theirs. When full, the one that was replaced first is forgotten; if none was, unknown SSRCs stay unknown.
pub(super) const SSRCS_MAX: usize = 32;

/// What a stream carries. Indices are those of the publication's tracks and their layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Role {
    pub(super) track: usize,
    pub(super) layer: usize,
    /// Retransmissions (RFC 4588).
    pub(super) repair: bool,
    /// Another SSRC took its place.
    pub(super) retired: bool,
}

/// The SSRCs seen or announced so far. Few, so a linear search beats a map.
#[derive(Debug, Default)]
pub(super) struct Streams {
    known: Vec<(u32, Role)>,
}

impl Streams {
    pub(super) fn role(&self, ssrc: u32) -> Option<Role> {
        self.known
            .iter()
            .find(|(known, _)| *known == ssrc)
            .map(|(_, role)| *role)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// Remembers a stream. `false`: there is no room.
    pub(super) fn learn(&mut self, ssrc: u32, role: Role) -> bool {
        if let Some((_, known)) = self.known.iter_mut().find(|(known, _)| *known == ssrc) {
            *known = role;
            return true;
        }
        if self.known.len() >= SSRCS_MAX {
            let Some(replaced) = self.known.iter().position(|(_, known)| known.retired) else {
                return false;
            };
            self.known.remove(replaced);
        }
        self.known.push((ssrc, role));
        true
    }

    /// What another SSRC took over is not listened to any more. Its retransmissions are identified anew if they come on.
    pub(super) fn retire(&mut self, ssrc: u32) {
        if let Some(old) = self.role(ssrc) {
            let repairs = |role: &Role| role.repair && (role.track, role.layer) == (old.track, old.layer);
            self.known.retain(|(_, role)| !repairs(role));
        }
        if let Some((_, role)) = self.known.iter_mut().find(|(known, _)| *known == ssrc) {
            role.retired = true;
        }
    }
}

/// The header extensions of one packet that the server knows.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Known<'a> {
    values: [Option<&'a [u8]>; Extension::COUNT],
}

impl<'a> Known<'a> {
    pub(super) fn parse(header: &Header, packet: &'a [u8], map: &ExtensionMap) -> Self {
        let mut known = Known::default();
        for (id, value) in header.elements(packet) {
            if let Some(extension) = map.extension(id) {
                known.values[extension as usize] = Some(value);
            }
        }
        known
    }

    pub(super) fn value(&self, extension: Extension) -> Option<&'a [u8]> {
        self.values[extension as usize]
    }
}

/// The track that a payload type belongs to, and whether it is the one of retransmissions.
pub(super) fn track_of(tracks: &[Track], payload_type: u8) -> Option<(usize, bool)> {
    tracks.iter().enumerate().find_map(|(index, track)| {
        if track.parameters.payload_type == payload_type {
            return Some((index, false));
        }
        (track.parameters.rtx_payload_type == Some(payload_type)).then_some((index, true))
    })
}

/// What an unknown SSRC carries, if this packet tells. `index`, `repair`: of its payload type's track.
pub(super) fn identify(track: &Track, index: usize, repair: bool, ssrc: u32, known: &Known) -> Option<Role> {
    let parameters = &track.parameters;
    if known
        .value(Extension::Mid)
        .is_some_and(|mid| mid != parameters.mid.as_bytes())
    {
        return None;
    }
    let layer = if parameters.rids.is_empty() {
        0
    } else {
        // RFC 8852 wants the repaired RID on retransmissions; some senders put the RID there
        let repaired = known.value(Extension::RepairedRid).filter(|_| repair);
        match repaired.or(known.value(Extension::Rid)) {
            Some(rid) => parameters.rids.iter().position(|known| known.as_bytes() == rid)?,
            // a description that names SSRCs names them in the order of the encodings
            None => parameters.ssrcs.iter().position(
                |(media, rtx)| {
                    if repair { *rtx == Some(ssrc) } else { *media == ssrc }
                },
            )?,
        }
    };
    (layer < track.layers.len()).then_some(Role {
        track: index,
        layer,
        repair,
        retired: false,
    })
}
