//! Where this server is, as its clients see it: the base of absolute URLs. Pure.

use super::Options;
use axum::http::{HeaderMap, Uri, header};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// An address or a range of them: `10.0.0.1`, `10.0.0.0/8`, `fd00::/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subnet {
    address: IpAddr,
    /// Leading bits that count.
    prefix: u8,
}

/// Not an address and not a range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotASubnet(pub String);

impl std::fmt::Display for NotASubnet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:?} is neither an IP address nor a range such as 10.0.0.0/8",
            self.0
        )
    }
}

impl std::error::Error for NotASubnet {}

impl FromStr for Subnet {
    type Err = NotASubnet;
    fn from_str(text: &str) -> Result<Self, NotASubnet> {
        let wrong = || NotASubnet(text.to_owned());
        let (address, prefix) = text.split_once('/').map_or((text, None), |(a, p)| (a, Some(p)));
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let widest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Ok(widest), |p| p.parse().map_err(|_| wrong()))?;
        if prefix > widest {
            Err(wrong())
        } else {
            Ok(Subnet { address, prefix })
        }
    }
}

impl std::fmt::Display for Subnet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl Subnet {
    /// An IPv4 address that arrives on a dual-stack socket (`::ffff:10.0.0.1`) counts as what it is.
    pub fn contains(&self, address: IpAddr) -> bool {
        let prefix = u32::from(self.prefix);
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => same_prefix_v4(own, other, prefix),
            (IpAddr::V6(own), IpAddr::V6(other)) => same_prefix_v6(own, other, prefix),
            _ => false,
        }
    }
}

fn same_prefix_v4(a: Ipv4Addr, b: Ipv4Addr, prefix: u32) -> bool {
    let different = a.to_bits() ^ b.to_bits();
    different.leading_zeros() >= prefix
}

fn same_prefix_v6(a: Ipv6Addr, b: Ipv6Addr, prefix: u32) -> bool {
    let different = a.to_bits() ^ b.to_bits();
    different.leading_zeros() >= prefix
}

/// The base of absolute URLs, without a slash at its end: `public_url`, else what trusted proxies say, else `Host`.
/// Empty, so that URLs become relative, when the request names no host (HTTP/1.0).
pub(super) fn base_url(options: &Options, peer: Option<IpAddr>, uri: &Uri, headers: &HeaderMap) -> String {
    if let Some(url) = &options.public_url {
        return url.trim_end_matches('/').to_owned();
    }
    let trusted = |address: IpAddr| options.trusted_proxies.iter().any(|proxy| proxy.contains(address));
    let said = match peer {
        Some(peer) if trusted(peer) => forwarded(headers, &trusted),
        _ => Forwarded::default(),
    };
    let own = || host_of(uri, headers).map(str::to_owned);
    match said.host.filter(|host| is_authority(host)).or_else(own) {
        Some(host) => format!("{}://{host}", said.proto.as_deref().unwrap_or("http")),
        None => String::new(),
    }
}

/// The host (and port) a request is for: of its target (HTTP/2, absolute form), else of its `Host` header.
pub(super) fn host_of<'r>(uri: &'r Uri, headers: &'r HeaderMap) -> Option<&'r str> {
    let target = uri.authority().map(|authority| authority.as_str());
    let header = || headers.get(header::HOST).and_then(|host| host.to_str().ok());
    target.or_else(header).filter(|host| is_authority(host))
}

/// Whether the host, with or without a port, can only be this machine.
pub(super) fn is_loopback(authority: &str) -> bool {
    let host = match authority.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    let name = host.eq_ignore_ascii_case("localhost") || host.to_ascii_lowercase().ends_with(".localhost");
    name || host
        .parse::<IpAddr>()
        .is_ok_and(|address| address.to_canonical().is_loopback())
}

/// Only what may stand in a URL's authority: the value goes into response headers and bodies.
fn is_authority(host: &str) -> bool {
    let fine = |b: u8| b.is_ascii_alphanumeric() || b".-_:[]".contains(&b);
    !host.is_empty() && host.len() <= 255 && host.bytes().all(fine)
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Forwarded {
    proto: Option<String>,
    host: Option<String>,
}

/// `Forwarded` (RFC 7239) when there is one, else the older `X-Forwarded-Proto` and `X-Forwarded-Host`.
fn forwarded(headers: &HeaderMap, trusted: &dyn Fn(IpAddr) -> bool) -> Forwarded {
    let mut said = if headers.contains_key(header::FORWARDED) {
        standard(headers, trusted)
    } else {
        Forwarded {
            proto: nearest(headers, "x-forwarded-proto"),
            host: nearest(headers, "x-forwarded-host"),
        }
    };
    said.proto = said
        .proto
        .map(|proto| proto.to_ascii_lowercase())
        .filter(|p| p == "http" || p == "https");
    said
}

/// The last element is the nearest proxy's. While the one it heard from is trusted too, the element before counts.
fn standard(headers: &HeaderMap, trusted: &dyn Fn(IpAddr) -> bool) -> Forwarded {
    let lines = headers
        .get_all(header::FORWARDED)
        .iter()
        .filter_map(|line| line.to_str().ok());
    let elements: Vec<&str> = lines.flat_map(|line| line.split(',')).collect();
    let mut said = Forwarded::default();
    for element in elements.iter().rev() {
        let mut heard_from = None;
        for (key, value) in element.split(';').filter_map(|pair| pair.trim().split_once('=')) {
            let value = value.trim_matches('"');
            match key.to_ascii_lowercase().as_str() {
                "proto" => said.proto = Some(value.to_owned()),
                "host" => said.host = Some(value.to_owned()),
                "for" => heard_from = node_address(value),
                _ => {}
            }
        }
        if !heard_from.is_some_and(trusted) {
            break;
        }
    }
    said
}

/// The value the nearest proxy wrote: the last of a list.
fn nearest(headers: &HeaderMap, name: &str) -> Option<String> {
    let line = headers.get_all(name).iter().next_back()?.to_str().ok()?;
    let value = line.rsplit(',').next()?.trim();
    (!value.is_empty()).then(|| value.to_owned())
}

/// The address of `for=`: `192.0.2.1`, `192.0.2.1:80`, `[2001:db8::1]:80`.
fn node_address(node: &str) -> Option<IpAddr> {
    let host = match node.strip_prefix('[') {
        Some(v6) => v6.split(']').next()?,
        None => node.split(':').next()?,
    };
    host.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn base(options: &Options, peer: &str, headers: &[(&'static str, &str)]) -> String {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_str(value).expect("a header value"));
        }
        base_url(options, peer.parse().ok(), &Uri::from_static("/v1/rooms"), &map)
    }

    fn behind(proxies: &[&str]) -> Options {
        let trusted_proxies = proxies.iter().map(|p| p.parse().expect("a subnet")).collect();
        Options {
            trusted_proxies,
            ..Options::default()
        }
    }

    #[test]
    fn subnets_hold_what_they_say() {
        let inside = |net: &str, ip: &str| {
            net.parse::<Subnet>()
                .expect("a subnet")
                .contains(ip.parse().expect("an address"))
        };
        assert!(inside("10.0.0.0/8", "10.255.1.2"));
        assert!(!inside("10.0.0.0/8", "11.0.0.1"));
        assert!(inside("10.1.2.3", "10.1.2.3"));
        assert!(!inside("10.1.2.3", "10.1.2.4"));
        assert!(inside("10.0.0.0/8", "::ffff:10.1.1.1"));
        assert!(inside("fd00::/8", "fd12::1"));
        assert!(inside("0.0.0.0/0", "203.0.113.9"));
        assert!(!inside("0.0.0.0/0", "2001:db8::1"));
        for wrong in ["", "10.0.0.0/33", "10.0.0/8", "::1/129", "10.0.0.1/x", "host"] {
            assert!(wrong.parse::<Subnet>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_public_url_wins() {
        let options = Options {
            public_url: Some("https://live.example.org/sfu/".into()),
            ..behind(&["10.0.0.0/8"])
        };
        let headers = [("host", "inside:8080"), ("x-forwarded-proto", "http")];
        assert_eq!(base(&options, "10.0.0.1", &headers), "https://live.example.org/sfu");
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        let headers = [
            ("host", "inside:8080"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "live.example.org"),
        ];
        assert_eq!(
            base(&behind(&["10.0.0.0/8"]), "10.0.0.1", &headers),
            "https://live.example.org"
        );
        assert_eq!(
            base(&behind(&["10.0.0.0/8"]), "192.0.2.1", &headers),
            "http://inside:8080"
        );
        assert_eq!(base(&behind(&["10.0.0.0/8"]), "nobody", &headers), "http://inside:8080");
        assert_eq!(base(&behind(&[]), "10.0.0.1", &headers), "http://inside:8080");
    }

    #[test]
    fn a_chain_of_trusted_proxies_is_walked_to_its_edge() {
        let chain = "for=6.6.6.6;host=evil.example;proto=https, for=192.0.2.9;host=live.example.org;proto=https, \
                     for=10.0.0.7;host=inner;proto=http";
        let headers = [("host", "inside"), ("forwarded", chain)];
        assert_eq!(
            base(&behind(&["10.0.0.0/8"]), "10.0.0.1", &headers),
            "https://live.example.org"
        );
        let v6 = [
            ("host", "inside"),
            ("forwarded", "for=\"[2001:db8::1]:4711\";proto=https"),
        ];
        assert_eq!(base(&behind(&["10.0.0.0/8"]), "10.0.0.1", &v6), "https://inside");
    }

    #[test]
    fn nonsense_never_reaches_a_url() {
        let options = behind(&["10.0.0.0/8"]);
        let headers = [
            ("host", "inside"),
            ("x-forwarded-host", "a/b?c\"<"),
            ("x-forwarded-proto", "javascript"),
        ];
        assert_eq!(base(&options, "10.0.0.1", &headers), "http://inside");
        assert_eq!(base(&options, "192.0.2.1", &[("host", "a b")]), "");
        assert_eq!(base(&options, "192.0.2.1", &[]), "");
    }

    #[test]
    fn loopback_names() {
        for yes in [
            "localhost",
            "localhost:8080",
            "LOCALHOST",
            "a.localhost:1",
            "127.0.0.1:8080",
            "127.9.9.9",
            "[::1]:80",
        ] {
            assert!(is_loopback(yes), "{yes}");
        }
        for no in [
            "",
            "example.org",
            "localhost.example.org",
            "10.0.0.1:80",
            "[2001:db8::1]",
            "127.0.0.1.example.org",
        ] {
            assert!(!is_loopback(no), "{no}");
        }
    }
}
