//! The client's address behind proxies. `X-Forwarded-For` can be written by anybody, so
//! only what trusted proxies added to it counts.

use std::{
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use http::{HeaderMap, HeaderName};
use ipnet::IpNet;

use crate::net::host;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The networks of `--trusted-proxy`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustedProxies(Vec<IpNet>);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("neither an IP address nor a network")]
pub struct InvalidNetwork;

impl TrustedProxies {
    pub fn new(networks: Vec<IpNet>) -> Self {
        Self(networks)
    }

    /// One network: `10.0.0.0/8`, or `10.1.2.3` for a single address.
    pub fn network(text: &str) -> Result<IpNet, InvalidNetwork> {
        let single = || text.parse().map(|address: IpAddr| address.to_canonical().into());
        let network = IpNet::from_str(text).or_else(|_| single());
        network.map(|network| network.trunc()).map_err(|_| InvalidNetwork)
    }

    /// Walks from the socket's own peer towards the client: each proxy wrote down, at the
    /// right end, who had connected to it. The first that is not trusted is the client;
    /// what stands left of it may be a lie.
    pub fn client_address(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut address = peer.to_canonical();
        let values: Vec<_> = headers.get_all(X_FORWARDED_FOR).iter().collect();
        let hops = values.iter().rev().flat_map(|value| value.as_bytes().rsplit(|b| *b == b','));
        for hop in hops {
            if !self.trusts(address) {
                break;
            }
            let Some(next) = parse_hop(hop) else { break };
            address = next;
        }
        address
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }
}

/// `1.2.3.4`, `1.2.3.4:80`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:80`.
fn parse_hop(hop: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(hop).ok()?.trim();
    let address = host::without_brackets(text).parse().ok();
    address
        .or_else(|| text.parse().ok().map(|address: SocketAddr| address.ip()))
        .map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    /// The proxies 10.0.0.0/8, 192.0.2.7 and fd00::/8 are trusted.
    fn client(peer: &str, forwarded: &[&[u8]]) -> String {
        let networks = ["10.1.2.3/8", "192.0.2.7", "fd00::/8"];
        let networks = networks.map(|text| TrustedProxies::network(text).expect(text)).to_vec();
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append(X_FORWARDED_FOR, HeaderValue::from_bytes(value).expect("a header"));
        }
        let peer = peer.parse().expect("an address");
        TrustedProxies::new(networks).client_address(peer, &headers).to_string()
    }

    #[test]
    fn a_stranger_is_not_believed() {
        assert_eq!(client("203.0.113.9", &[b"1.2.3.4"]), "203.0.113.9");
        assert_eq!(client("192.0.2.8", &[b"1.2.3.4"]), "192.0.2.8");
    }

    #[test]
    fn trusted_proxies_are_passed_from_the_right() {
        assert_eq!(client("10.0.0.1", &[b"1.2.3.4"]), "1.2.3.4");
        assert_eq!(client("192.0.2.7", &[b"6.6.6.6, 1.2.3.4 ,10.9.9.9"]), "1.2.3.4");
        assert_eq!(client("10.0.0.1", &[b"6.6.6.6", b"1.2.3.4", b"10.0.0.2"]), "1.2.3.4");
    }

    #[test]
    fn where_all_are_trusted_the_leftmost_is_the_client() {
        assert_eq!(client("10.0.0.1", &[b"10.0.0.3, 10.0.0.2"]), "10.0.0.3");
        assert_eq!(client("10.0.0.1", &[]), "10.0.0.1");
    }

    #[test]
    fn garbage_stops_the_walk() {
        for garbage in [&b"unknown"[..], b"", b"\xff", b"1.2.3", b"1.2.3.4:x", b"_hidden"] {
            assert_eq!(client("10.0.0.1", &[b"6.6.6.6", garbage, b"10.0.0.2"]), "10.0.0.2");
        }
    }

    #[test]
    fn ports_and_ipv6_are_understood() {
        assert_eq!(client("fd00::1", &[b"[2001:db8::5]:443, 10.0.0.2:80"]), "2001:db8::5");
        assert_eq!(client("10.0.0.1", &[b"2001:db8::5"]), "2001:db8::5");
        assert_eq!(client("10.0.0.1", &[b"[2001:db8::5]"]), "2001:db8::5");
        assert_eq!(client("10.0.0.1", &[b"1.2.3.4:5678"]), "1.2.3.4");
        assert_eq!(client("::ffff:10.0.0.1", &[b"::ffff:1.2.3.4"]), "1.2.3.4");
    }

    #[test]
    fn a_mapped_address_is_trusted_as_what_it_is() {
        let network = TrustedProxies::network("::ffff:10.0.0.1").expect("an address");
        assert_eq!(network.to_string(), "10.0.0.1/32");
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in ["", "10.0.0.0/33", "10.0.0", "proxy.example", "10.0.0.0/8/8"] {
            assert_eq!(TrustedProxies::network(text), Err(InvalidNetwork), "{text}");
        }
    }
}
