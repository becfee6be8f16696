//! Which addresses the workers bind, and what the outside is told of them.

use super::Config;
use crate::transport::ice::{Candidate, Protocol};
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// The host's own addresses peers can reach: every interface that is up, without link-local addresses (which no browser
/// offers) and, unless `loopback`, without loopback. In the interfaces' order, each once.
pub fn enumerate(loopback: bool) -> io::Result<Vec<IpAddr>> {
    let mut addresses = Vec::new();
    for interface in if_addrs::get_if_addrs()? {
        let address = interface.ip();
        if is_reachable(address, loopback) && interface.is_oper_up() | interface.is_loopback() {
            addresses.push(address);
        }
    }
    Ok(distinct(&addresses))
}

fn is_reachable(address: IpAddr, loopback: bool) -> bool {
    if address.is_unspecified() || address.is_multicast() {
        return false;
    }
    let link_local = match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => is_unicast_link_local(v6),
    };
    !link_local && (loopback || !address.is_loopback())
}

fn is_unicast_link_local(address: Ipv6Addr) -> bool {
    address.segments()[0] & 0xffc0 == 0xfe80
}

/// Without repetitions, in the given order.
pub(super) fn distinct(addresses: &[IpAddr]) -> Vec<IpAddr> {
    let mut kept: Vec<IpAddr> = Vec::with_capacity(addresses.len());
    for address in addresses {
        if !kept.contains(address) {
            kept.push(*address);
        }
    }
    kept
}

/// The candidates of worker `index`, whose sockets listen on `port` of each of `addresses`: its own first, UDP before TCP,
/// then the advertised ones.
pub(super) fn candidates(config: &Config, addresses: &[IpAddr], index: u16, port: u16) -> Vec<Candidate> {
    let own = addresses
        .iter()
        .filter(|address| config.own_candidates && !address.is_unspecified())
        .map(|address| SocketAddr::new(*address, port));
    let advertised = config.advertise.iter().filter_map(|(address, base)| {
        let port = match base {
            Some(base) => base.checked_add(index)?,
            None => port,
        };
        Some(SocketAddr::new(*address, port))
    });
    let addresses: Vec<SocketAddr> = own.chain(advertised).collect();
    let of = |protocol| {
        addresses.iter().map(move |address| Candidate {
            protocol,
            address: *address,
        })
    };
    let tcp = of(Protocol::TcpPassive).filter(|_| config.tcp);
    let mut candidates: Vec<Candidate> = Vec::new();
    for candidate in of(Protocol::Udp).chain(tcp) {
        if !candidates.contains(&candidate) {
            candidates.push(candidate);
        }
    }
    candidates
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn config(advertise: &[(&str, Option<u16>)], own_candidates: bool, tcp: bool) -> Config {
        Config {
            workers: 2,
            addresses: vec![],
            base_port: 5000,
            advertise: advertise
                .iter()
                .map(|(ip, port)| (ip.parse().unwrap(), *port))
                .collect(),
            own_candidates,
            tcp,
            tick: Duration::ZERO,
            gso: true,
        }
    }

    fn texts(config: &Config, addresses: &[&str], index: u16, port: u16) -> Vec<String> {
        let addresses: Vec<IpAddr> = addresses.iter().map(|text| text.parse().unwrap()).collect();
        candidates(config, &addresses, index, port)
            .iter()
            .map(|candidate| format!("{:?} {}", candidate.protocol, candidate.address))
            .collect()
    }

    #[test]
    fn own_addresses_come_first_and_udp_before_tcp() {
        let config = config(&[("198.51.100.1", None), ("198.51.100.2", Some(30_000))], true, true);
        assert_eq!(
            texts(&config, &["10.0.0.1", "::1"], 1, 5001),
            [
                "Udp 10.0.0.1:5001",
                "Udp [::1]:5001",
                "Udp 198.51.100.1:5001",
                "Udp 198.51.100.2:30001",
                "TcpPassive 10.0.0.1:5001",
                "TcpPassive [::1]:5001",
                "TcpPassive 198.51.100.1:5001",
                "TcpPassive 198.51.100.2:30001",
            ]
        );
    }

    #[test]
    fn own_addresses_can_be_left_out_and_impossible_ones_are() {
        let config = config(&[("198.51.100.1", Some(65_535)), ("198.51.100.1", None)], false, false);
        assert_eq!(texts(&config, &["10.0.0.1"], 1, 5001), ["Udp 198.51.100.1:5001"]);
    }

    #[test]
    fn link_local_and_loopback_are_judged() {
        let reachable = |text: &str, loopback| is_reachable(text.parse().unwrap(), loopback);
        assert!(reachable("10.1.2.3", false) && reachable("2001:db8::1", false));
        assert!(!reachable("127.0.0.1", false) && reachable("127.0.0.1", true));
        assert!(!reachable("fe80::1", true) && !reachable("169.254.1.1", true) && !reachable("0.0.0.0", true));
    }

    #[test]
    fn the_loopback_interface_is_found() {
        assert!(enumerate(true).unwrap().iter().any(IpAddr::is_loopback));
        assert!(!enumerate(false).unwrap().iter().any(IpAddr::is_loopback));
    }
}
