//! Where a viewer's packets are written and sealed.

use std::time::Instant;

/// Encrypts what a viewer is sent. Implemented by `transport::srtp::Sender`, and by nothing-doers in tests.
pub trait Seal {
    /// Encrypt `buffer[start..]` whose header is `header_len` long and append the tag. `index` is ROC ‖ SEQ.
    fn seal_rtp(&mut self, buffer: &mut Vec<u8>, start: usize, header_len: usize, ssrc: u32, index: u64);
    /// Encrypt the compound packet `buffer[start..]`.
    fn seal_rtcp(&mut self, buffer: &mut Vec<u8>, start: usize);
}

/// Sealed datagrams of one or more viewers, back to back.
#[derive(Debug, Default)]
pub struct Batch {
    pub bytes: Vec<u8>,
    /// End of each datagram in `bytes`, and the arrival time of the packet it forwards (`None`: RTCP, retransmission, or
    /// a packet that waited in the ring for its viewer).
    pub datagrams: Vec<(usize, Option<Instant>)>,
}

impl Batch {
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.datagrams.clear();
    }

    /// The datagrams in order, with the arrival time of the packet each forwards.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], Option<Instant>)> {
        let starts = std::iter::once(0).chain(self.datagrams.iter().map(|(end, _)| *end));
        starts
            .zip(&self.datagrams)
            .map(|(start, &(end, arrival))| (&self.bytes[start..end], arrival))
    }

    /// What was written behind the last datagram is one more.
    pub(super) fn close(&mut self, arrival: Option<Instant>) {
        self.datagrams.push((self.bytes.len(), arrival));
    }
}
