//! The other end of a [`Transport`](super::Transport), for tests of other modules: an ICE client that nominates at once, a
//! DTLS client, SRTP. Sans-I/O.

use super::dtls::testing::{Client, Identity};
use super::stun::testing::{USE_CANDIDATE, request};
use super::{Remote, ice, srtp};

const PROFILE: srtp::Profile = srtp::Profile::AeadAes128Gcm;

pub(crate) struct TestPeer {
    server: ice::Credentials,
    local: ice::Credentials,
    client: Client,
    keys: Option<(srtp::Receiver, srtp::Sender)>,
}

/// A plain packet of the server.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Plain {
    Rtp(Vec<u8>),
    Rtcp(Vec<u8>),
}

impl TestPeer {
    /// `name` makes its credentials unique.
    pub fn new(name: &str) -> Self {
        let credentials = |side: &str| ice::Credentials {
            ufrag: format!("{name}{side}"),
            pwd: format!("{name}-{side}-password-of-24-characters"),
        };
        TestPeer {
            server: credentials("Server"),
            local: credentials("Client"),
            client: Client::new(Identity::Ec, "SRTP_AEAD_AES_128_GCM", 1200),
            keys: None,
        }
    }

    /// What the server uses for this peer.
    pub fn server_credentials(&self) -> ice::Credentials {
        self.server.clone()
    }

    /// What the peer's offer would say.
    pub fn remote(&self) -> Remote {
        Remote {
            ice: self.local.clone(),
            fingerprint: self.client.fingerprint(),
        }
    }

    /// A connectivity check that nominates.
    pub fn check(&self) -> Vec<u8> {
        let username = format!("{}:{}", self.server.ufrag, self.local.ufrag);
        request(&username, &self.server.pwd, &[USE_CANDIDATE])
    }

    /// DTLS datagrams to send.
    pub fn step(&mut self) -> Vec<Vec<u8>> {
        let datagrams = self.client.step();
        if self.keys.is_none() && self.client.is_connected() {
            self.keys = Some(srtp::client_contexts(PROFILE, &self.client.material(PROFILE)));
        }
        datagrams
    }

    pub fn is_connected(&self) -> bool {
        self.keys.is_some()
    }

    /// The server said goodbye.
    pub fn is_closed(&mut self) -> bool {
        self.client.is_closed()
    }

    pub fn close(&mut self) {
        self.client.close();
    }

    /// Takes a datagram of the server. Media that cannot be decrypted is a failed test.
    pub fn receive(&mut self, mut datagram: Vec<u8>) -> Option<Plain> {
        match (datagram.first().copied()?, datagram.get(1).copied()?) {
            (20..=63, _) => {
                self.client.receive(datagram);
                None
            }
            (128..=191, kind) => {
                let (receiver, _) = self.keys.as_mut()?;
                if (192..=223).contains(&kind) {
                    let plain = receiver.unprotect_rtcp(&mut datagram).expect("genuine RTCP");
                    Some(Plain::Rtcp(plain.to_vec()))
                } else {
                    let (plain, _) = receiver.unprotect_rtp(&mut datagram).expect("a genuine packet, once");
                    Some(Plain::Rtp(plain.to_vec()))
                }
            }
            _ => None,
        }
    }

    /// An RTP packet without extensions, sealed.
    pub fn rtp(
        &self,
        payload_type: u8,
        marker: bool,
        index: u64,
        timestamp: u32,
        ssrc: u32,
        payload: &[u8],
    ) -> Vec<u8> {
        let (_, sender) = self.keys.as_ref().expect("a connected peer");
        let mut packet = vec![0x80, u8::from(marker) << 7 | payload_type];
        packet.extend((index as u16).to_be_bytes());
        packet.extend(timestamp.to_be_bytes());
        packet.extend(ssrc.to_be_bytes());
        packet.extend(payload);
        sender.protect_rtp(&mut packet, 0, 12, ssrc, index);
        packet
    }
}
