//! HMAC-SHA1 (RFC 2104), which STUN and the fallback SRTP profile authenticate with. The key's two blocks are hashed once,
//! at creation. OpenSSL's SHA-1 because ring's costs three times as much per packet.

use openssl::sha::{Sha1, sha1};

/// Length of a SHA-1 digest, and of the block it works on, in bytes.
pub(super) const TAG: usize = 20;
const BLOCK: usize = 64;

/// A key, ready for any number of messages.
#[derive(Clone)]
pub(super) struct HmacSha1 {
    inner: Sha1,
    outer: Sha1,
}

impl HmacSha1 {
    pub fn new(key: &[u8]) -> Self {
        let mut block = [0u8; BLOCK];
        let hashed;
        // keys beyond one block are hashed first (RFC 2104 section 2)
        let key = if key.len() > BLOCK {
            hashed = sha1(key);
            &hashed[..]
        } else {
            key
        };
        block.iter_mut().zip(key).for_each(|(to, from)| *to = *from);
        let keyed = |pad: u8| {
            let mut hash = Sha1::new();
            hash.update(&block.map(|byte| byte ^ pad));
            hash
        };
        HmacSha1 {
            inner: keyed(0x36),
            outer: keyed(0x5c),
        }
    }

    /// The tag of the concatenation of `parts`.
    pub fn tag(&self, parts: &[&[u8]]) -> [u8; TAG] {
        let mut inner = self.inner.clone();
        parts.iter().for_each(|part| inner.update(part));
        let mut outer = self.outer.clone();
        outer.update(&inner.finish());
        outer.finish()
    }

    /// Whether `tag`, possibly truncated, is that of `parts`; in constant time. An empty tag proves nothing.
    pub fn verify(&self, parts: &[&[u8]], tag: &[u8]) -> bool {
        let computed = self.tag(parts);
        computed
            .get(..tag.len())
            .is_some_and(|computed| !tag.is_empty() && openssl::memcmp::eq(computed, tag))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(tag: &[u8]) -> String {
        tag.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn rfc_2202_vectors() {
        let short = HmacSha1::new(b"Jefe");
        assert_eq!(
            hex(&short.tag(&[b"what do ya want ", b"for nothing?"])),
            "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"
        );
        let long = HmacSha1::new(&[0xaa; 80]);
        let message = b"Test Using Larger Than Block-Size Key - Hash Key First";
        assert_eq!(hex(&long.tag(&[message])), "aa4ae5e15272d00e95705637ce8a3b55ed402112");
    }

    #[test]
    fn a_truncated_tag_verifies_and_a_wrong_empty_or_long_one_does_not() {
        let key = HmacSha1::new(b"key");
        let tag = key.tag(&[b"message"]);
        assert!(key.verify(&[b"message"], &tag) && key.verify(&[b"mess", b"age"], &tag[..10]));
        assert!(!key.verify(&[b"messagE"], &tag) && !key.verify(&[b"message"], &[]));
        assert!(!key.verify(&[b"message"], &[&tag[..], &[0]].concat()));
    }
}
