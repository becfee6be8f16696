//! Where webhooks may go: public addresses, and the private ones that the configuration names. Pure.
//!
//! Whoever makes a room names a URL that this server then calls from inside its network; without a guard that would be a
//! door to everything there. Names are resolved once, and the connection goes to an address that was checked, so that a
//! name can't mean one thing when looked at and another when used.

use crate::api::Subnet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Which addresses may be connected to.
#[derive(Clone, Debug, Default)]
pub struct Guard {
    allowed: Vec<Subnet>,
}

impl Guard {
    /// `allowed`: beside the public ones.
    pub fn new(allowed: Vec<Subnet>) -> Self {
        Guard { allowed }
    }

    pub fn permits(&self, address: IpAddr) -> bool {
        let allowed = |address: IpAddr| self.allowed.iter().any(|subnet| subnet.contains(address));
        match address {
            IpAddr::V4(v4) => allowed(address) || is_public_v4(v4),
            IpAddr::V6(v6) => match embedded(v6) {
                // What is reached in the end is what counts.
                Some(v4) => allowed(v4.into()) || is_public_v4(v4),
                None => allowed(address) || is_public_v6(v6),
            },
        }
    }

    /// The host of a URL, if it is an address and not a name: whether it is permitted. The URL's parser has brought odd
    /// spellings (`127.1`, `0x7f000001`, `[::ffff:7f00:1]`) into the usual one.
    pub fn permits_host(&self, host: &str) -> bool {
        let bare = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host);
        bare.parse().map_or(true, |address| self.permits(address))
    }
}

/// The IPv4 address that packets to this one go to: mapped (RFC 4291 section 2.5.5.2) or translated (RFC 6052).
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let well_known = Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0).to_bits();
    if address.to_bits() >> 32 == well_known >> 32 {
        let [.., a, b, c, d] = address.octets();
        return Some(Ipv4Addr::new(a, b, c, d));
    }
    address.to_ipv4_mapped()
}

/// Not of the IANA registry of special-purpose addresses, multicast or reserved.
fn is_public_v4(address: Ipv4Addr) -> bool {
    const SPECIAL: [([u8; 4], u32); 16] = [
        ([0, 0, 0, 0], 8),
        ([10, 0, 0, 0], 8),
        ([100, 64, 0, 0], 10),
        ([127, 0, 0, 0], 8),
        ([169, 254, 0, 0], 16),
        ([172, 16, 0, 0], 12),
        ([192, 0, 0, 0], 24),
        ([192, 0, 2, 0], 24),
        ([192, 31, 196, 0], 24),
        ([192, 52, 193, 0], 24),
        ([192, 88, 99, 0], 24),
        ([192, 168, 0, 0], 16),
        ([198, 18, 0, 0], 15),
        ([198, 51, 100, 0], 24),
        ([203, 0, 113, 0], 24),
        // multicast, and everything above
        ([224, 0, 0, 0], 3),
    ];
    let within = |(base, prefix): ([u8; 4], u32)| {
        let different = u32::from_be_bytes(base) ^ address.to_bits();
        different.leading_zeros() >= prefix
    };
    !SPECIAL.into_iter().any(within)
}

/// Of the one block that is handed out (2000::/3), less what in it is special: protocols' own (Teredo, ORCHID,
/// benchmarking), documentation, 6to4.
fn is_public_v6(address: Ipv6Addr) -> bool {
    const SPECIAL: [([u16; 2], u32); 4] = [
        ([0x2001, 0], 23),
        ([0x2001, 0x0db8], 32),
        ([0x2002, 0], 16),
        ([0x3fff, 0], 20),
    ];
    let [a, b, ..] = address.segments();
    let top = u32::from(a) << 16 | u32::from(b);
    let within = |([c, d], prefix): ([u16; 2], u32)| {
        let different = top ^ (u32::from(c) << 16 | u32::from(d));
        different.leading_zeros() >= prefix
    };
    a & 0xe000 == 0x2000 && !SPECIAL.into_iter().any(within)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(allowed: &[&str]) -> Guard {
        Guard::new(allowed.iter().map(|subnet| subnet.parse().expect("a subnet")).collect())
    }

    fn permits(guard: &Guard, address: &str) -> bool {
        guard.permits(address.parse().expect(address))
    }

    #[test]
    fn only_public_addresses_are_permitted() {
        let guard = guard(&[]);
        for public in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.1",
            "192.167.255.255",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2606:4700::1111",
            "2001:4860:4860::8888",
            "2a00::1",
            "::ffff:1.1.1.1",
            "64:ff9b::1.1.1.1",
        ] {
            assert!(permits(&guard, public), "{public}");
        }
        for private in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.255",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "203.0.113.9",
            "224.0.0.1",
            "239.1.1.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:0:127.0.0.1",
            "64:ff9b::127.0.0.1",
            "64:ff9b::a00:1",
            "64:ff9b:1::1.1.1.1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::1",
            "2002:101:101::1",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd12::1",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "ff02::1",
            "4000::1",
        ] {
            assert!(!permits(&guard, private), "{private}");
        }
    }

    #[test]
    fn named_networks_are_permitted_however_they_are_spelt() {
        let guard = guard(&["127.0.0.0/8", "fd00:1::/32"]);
        for address in ["127.0.0.1", "::ffff:127.9.9.9", "64:ff9b::127.0.0.1", "fd00:1::9"] {
            assert!(permits(&guard, address), "{address}");
        }
        for address in ["10.0.0.1", "::1", "fd00:2::9", "::ffff:10.0.0.1"] {
            assert!(!permits(&guard, address), "{address}");
        }
    }

    #[test]
    fn hosts_of_urls_are_seen_through() {
        let guard = guard(&[]);
        let permits = |url: &str| {
            let url: reqwest::Url = url.parse().expect(url);
            guard.permits_host(url.host_str().expect("a host"))
        };
        for odd in [
            "http://127.1/",
            "http://0x7f000001/",
            "http://2130706433/",
            "http://017700000001/",
            "http://127.0.0.1./",
            "http://[::1]/",
            "http://[::ffff:127.0.0.1]/",
            "http://[::ffff:7f00:1]/",
            "http://[64:ff9b::7f00:1]/",
            "http://0/",
            "http://0.0.0.0/",
            "http://①②⑦.0.0.1/",
            "http://169.254.169.254/",
            "http://%31%32%37.0.0.1/",
        ] {
            assert!(!permits(odd), "{odd}");
        }
        for fine in ["http://1.1.1.1/", "https://example.org/", "http://[2606:4700::1111]/"] {
            assert!(permits(fine), "{fine}");
        }
    }
}
