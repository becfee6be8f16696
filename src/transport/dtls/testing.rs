//! A DTLS client for tests.

use super::*;
use openssl::rsa::Rsa;
use openssl::ssl::SslContextBuilder;

pub(crate) enum Identity {
    Ec,
    Rsa,
    None,
}

pub(crate) struct Client {
    stream: SslStream<Wire>,
    fingerprint: Fingerprint,
    result: Option<bool>,
}

impl Client {
    /// `mtu` below the length of its hello splits it.
    pub fn new(identity: Identity, profiles: &str, mtu: u32) -> Self {
        let mut builder = SslContext::builder(SslMethod::dtls_client()).unwrap();
        builder.set_verify_callback(SslVerifyMode::PEER, |_, _| true);
        builder.set_tlsext_use_srtp(profiles).unwrap();
        builder.set_options(SslOptions::NO_QUERY_MTU);
        // as long as a browser's with its key shares
        builder
            .set_alpn_protos(&[&[200; 201][..], &[200; 201], &[200; 201], &[200; 201]].concat())
            .unwrap();
        let fingerprint = match identity {
            Identity::Ec => present(&mut builder, &elliptic_key()),
            Identity::Rsa => present(&mut builder, &PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap()),
            Identity::None => Fingerprint([0; 32]),
        };
        let mut ssl = Ssl::new(&builder.build()).unwrap();
        ssl.set_connect_state();
        ssl.set_mtu(mtu).unwrap();
        raw::set_timer(&mut ssl);
        Client {
            stream: SslStream::new(ssl, Wire::default()).unwrap(),
            fingerprint,
            result: None,
        }
    }

    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    pub fn server_fingerprint(&self) -> Option<Fingerprint> {
        Fingerprint::of(&*self.stream.ssl().peer_certificate()?)
    }

    pub fn receive(&mut self, datagram: Vec<u8>) {
        self.stream.get_mut().incoming = Some(datagram);
        self.advance();
    }

    /// What it has to send.
    pub fn step(&mut self) -> Vec<Vec<u8>> {
        self.advance();
        self.stream.get_mut().outbox.drain(..).collect()
    }

    fn advance(&mut self) {
        if self.result.is_none() {
            self.result = match self.stream.do_handshake() {
                Ok(()) => Some(true),
                Err(error) if error.code() == ErrorCode::WANT_READ => None,
                Err(_) => Some(false),
            };
        } else {
            let _ = self.stream.ssl_read(&mut [0; 100]);
        }
    }

    /// From now on it believes at once that a flight got lost, one time.
    pub fn hurry(&mut self) {
        raw::set_hasty_timer(self.stream.ssl());
    }

    pub fn material(&self, profile: Profile) -> Vec<u8> {
        let mut material = vec![0; profile.keying_len()];
        self.stream
            .ssl()
            .export_keying_material(&mut material, EXPORTER_LABEL, None)
            .unwrap();
        material
    }

    pub fn close(&mut self) {
        self.stream.shutdown().unwrap();
    }

    pub fn is_connected(&self) -> bool {
        self.result == Some(true)
    }

    pub fn failed(&mut self) -> bool {
        // an alert after the last flight is seen by the next read
        self.result == Some(false) || self.is_closed()
    }

    pub fn is_closed(&mut self) -> bool {
        self.stream
            .get_shutdown()
            .contains(openssl::ssl::ShutdownState::RECEIVED)
    }
}

fn elliptic_key() -> PKey<Private> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
}

fn present(builder: &mut SslContextBuilder, key: &PKey<Private>) -> Fingerprint {
    let certificate = self_signed(key).unwrap();
    builder.set_certificate(&certificate).unwrap();
    builder.set_private_key(key).unwrap();
    Fingerprint::of(&certificate).unwrap()
}
