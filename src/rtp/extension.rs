//! RTP header extensions (RFC 8285): which ones the server knows and under which ids a peer uses them.

/// A header extension the server understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Extension {
    Mid,
    Rid,
    RepairedRid,
    AbsSendTime,
    TransportCc,
    AudioLevel,
    AbsCaptureTime,
    PlayoutDelay,
    DependencyDescriptor,
}

impl Extension {
    pub const COUNT: usize = 9;
    pub const ALL: [Extension; Self::COUNT] = [
        Extension::Mid,
        Extension::Rid,
        Extension::RepairedRid,
        Extension::AbsSendTime,
        Extension::TransportCc,
        Extension::AudioLevel,
        Extension::AbsCaptureTime,
        Extension::PlayoutDelay,
        Extension::DependencyDescriptor,
    ];
}

/// The ids one peer's session description gave to extensions of one m-line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExtensionMap {
    /// By [`Extension`]; 0 = not negotiated.
    ids: [u8; Extension::COUNT],
}

impl ExtensionMap {
    pub fn id(&self, extension: Extension) -> Option<u8> {
        Some(self.ids[extension as usize]).filter(|id| *id != 0)
    }

    pub fn set(&mut self, extension: Extension, id: u8) {
        self.ids[extension as usize] = id;
    }
}
