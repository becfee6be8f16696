//! The value types of knobs: text in, meaning out.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

/// A secret that shows up in no log and no print.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }
    /// The secret itself, for signing and verifying.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Which local addresses the media workers bind to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Addresses {
    /// All of the machine that a peer may reach.
    Auto,
    These(Vec<IpAddr>),
}

/// A candidate address that stands for the media ports behind a 1:1 NAT or port map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advertised {
    pub address: IpAddr,
    /// The first worker's port as seen from outside; `None`: the ports are mapped unchanged.
    pub base_port: Option<u16>,
}

impl FromStr for Advertised {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self {
                address,
                base_port: None,
            });
        }
        let with_port: SocketAddr = text
            .parse()
            .map_err(|_| format!("`{text}` is neither IP nor IP:PORT (IPv6 with a port: [::1]:50000)"))?;
        Ok(Self {
            address: with_port.ip(),
            base_port: Some(with_port.port()),
        })
    }
}

impl fmt::Display for Advertised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.base_port {
            Some(port) => SocketAddr::new(self.address, port).fmt(f),
            None => self.address.fmt(f),
        }
    }
}

/// A STUN or TURN server that clients are told of; the node itself, being ICE-lite, uses none.
#[derive(Clone, PartialEq, Eq)]
pub struct IceServer {
    pub url: String,
    /// User name and credential, for TURN.
    pub login: Option<(String, Secret)>,
}

impl FromStr for IceServer {
    type Err = String;

    /// `URL` or `URL USERNAME CREDENTIAL`.
    fn from_str(text: &str) -> Result<Self, String> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let (url, login) = match words[..] {
            [url] => (url, None),
            [url, user, credential] => (url, Some((user.to_owned(), Secret::new(credential)))),
            _ => return Err("an ICE server is `URL` or `URL USERNAME CREDENTIAL`".to_owned()),
        };
        if !["stun:", "stuns:", "turn:", "turns:"]
            .iter()
            .any(|s| url.starts_with(s))
        {
            return Err(format!("`{url}` is no stun:, stuns:, turn: or turns: URL"));
        }
        Ok(Self {
            url: url.to_owned(),
            login,
        })
    }
}

impl fmt::Display for IceServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.login {
            Some((user, _)) => write!(f, "{} {user} ***", self.url),
            None => f.write_str(&self.url),
        }
    }
}

impl fmt::Debug for IceServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}
