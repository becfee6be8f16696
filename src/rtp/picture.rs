//! Picture numbers of VP8 and VP9 payload descriptors. Each encoding counts its own pictures; a viewer who is switched
//! between encodings must see one count.

/// Picture id and temporal-layer-zero index of a packet, as far as its descriptor has them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PictureIds {
    /// 15 bits; the low 7 for the short form.
    pub picture_id: Option<u16>,
    pub tl0_index: Option<u8>,
}

/// Where a descriptor has its picture numbers, in bytes from the payload's start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Positions {
    pub(crate) picture_id: Option<PictureIdPosition>,
    pub(crate) tl0_index: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PictureIdPosition {
    pub(crate) at: usize,
    /// 15 bits in two bytes, else 7 bits in one.
    pub(crate) wide: bool,
}

impl Positions {
    pub(crate) fn read(&self, payload: &[u8]) -> Option<PictureIds> {
        let picture_id = match self.picture_id {
            Some(PictureIdPosition { at, wide: true }) => {
                Some(u16::from_be_bytes(*payload.get(at..)?.first_chunk()?) & 0x7fff)
            }
            Some(PictureIdPosition { at, wide: false }) => Some(u16::from(*payload.get(at)?) & 0x7f),
            None => None,
        };
        let tl0_index = match self.tl0_index {
            Some(at) => Some(*payload.get(at)?),
            None => None,
        };
        Some(PictureIds { picture_id, tl0_index })
    }
}

/// What is added to the picture numbers of one encoding so that they continue those of another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PictureOffsets {
    picture_id: u16,
    tl0_index: u8,
}

impl PictureOffsets {
    /// Makes `first` (of the new encoding, as it came) follow `last` (as sent so far).
    pub fn continue_after(last: PictureIds, first: PictureIds) -> Self {
        let follow = |last: u16, first: u16| last.wrapping_add(1).wrapping_sub(first) & 0x7fff;
        PictureOffsets {
            picture_id: match (last.picture_id, first.picture_id) {
                (Some(last), Some(first)) => follow(last, first),
                _ => 0,
            },
            tl0_index: match (last.tl0_index, first.tl0_index) {
                (Some(last), Some(first)) => last.wrapping_add(1).wrapping_sub(first),
                _ => 0,
            },
        }
    }

    /// The numbers as sent.
    pub fn applied(&self, ids: PictureIds) -> PictureIds {
        PictureIds {
            picture_id: ids.picture_id.map(|id| id.wrapping_add(self.picture_id) & 0x7fff),
            tl0_index: ids.tl0_index.map(|index| index.wrapping_add(self.tl0_index)),
        }
    }

    /// Nothing to change: payloads can be sent as they are.
    pub fn is_zero(&self) -> bool {
        *self == Self::default()
    }

    pub(crate) fn rewrite(&self, positions: &Positions, payload: &mut [u8]) {
        let Some(ids) = positions.read(payload) else { return };
        let ids = self.applied(ids);
        if let (Some(position), Some(id)) = (positions.picture_id, ids.picture_id) {
            let [high, low] = id.to_be_bytes();
            let bytes = payload.get_mut(position.at..).unwrap_or_default();
            match bytes {
                [first, second, ..] if position.wide => (*first, *second) = (high | 0x80, low),
                [only, ..] if !position.wide => *only = low & 0x7f,
                _ => {}
            }
        }
        if let (Some(at), Some(index)) = (positions.tl0_index, ids.tl0_index)
            && let Some(byte) = payload.get_mut(at)
        {
            *byte = index;
        }
    }
}
