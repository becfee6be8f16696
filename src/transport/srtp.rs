//! SRTP and SRTCP (RFC 3711, RFC 7714), in place on the caller's buffer.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    AeadAes128Gcm,
    Aes128CmSha1_80,
}

/// The sealing half of a transport.
pub struct Sender {}

impl Sender {
    /// Encrypt the packet `buffer[start..]` whose header is `header_len` long and append its tag. `index` is ROC ‖ SEQ.
    pub fn protect_rtp(&self, _buffer: &mut Vec<u8>, _start: usize, _header_len: usize, _ssrc: u32, _index: u64) {
        todo!()
    }
    pub fn protect_rtcp(&mut self, _compound: &mut Vec<u8>) {
        todo!()
    }
}
