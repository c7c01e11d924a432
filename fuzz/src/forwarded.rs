//! `X-Forwarded-For`, behind trusted proxies. Lines: the socket's peer, the trusted
//! networks with commas between, then one header value each.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;
use myxi::internals::edge::forwarded::TrustedProxies;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

pub fn forwarded(data: &[u8]) {
    let mut lines = data.split(|byte| *byte == b'\n');
    let mut text = || std::str::from_utf8(lines.next()?).ok();
    let (Some(peer), Some(networks)) = (text(), text()) else { return };
    let Ok(peer) = peer.parse::<IpAddr>() else { return };
    let networks: Vec<_> = networks.split(',').filter_map(check_network).collect();
    let proxies = TrustedProxies::new(networks.clone());
    let headers: Vec<_> = lines.filter_map(|line| HeaderValue::from_bytes(line).ok()).collect();

    let client = proxies.client_address(peer, &values(&headers));
    let hops = headers.iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    let hops: Vec<_> = hops.collect();
    let (expected, reached_end) = walk(peer, &networks, &hops);
    assert_eq!(client, expected, "{hops:?} from {peer}");
    assert_eq!(client, client.to_canonical());

    // Several headers are one list.
    let joined = HeaderValue::from_bytes(&hops.join(&b", "[..])).expect("as valid as its parts");
    assert_eq!(proxies.client_address(peer, &values(&[joined])), client);

    // Whoever connects can only add on the left: to no end, once somebody is not trusted.
    let lie = HeaderValue::from_static("6.6.6.6, 7.7.7.7");
    let lied = [&[lie][..], &headers].concat();
    let told = proxies.client_address(peer, &values(&lied));
    assert!(reached_end || told == client, "{told} instead of {client}");

    // The address of the client, written down by a proxy, is read as the same.
    let trusts_all = TrustedProxies::new(vec!["0.0.0.0/0".parse().expect("a network"); 1]);
    let proxy = IpAddr::from([10, 0, 0, 1]);
    for hop in [client.to_string(), SocketAddr::new(client, 80).to_string()] {
        let header = HeaderValue::try_from(hop).expect("an address");
        assert_eq!(trusts_all.client_address(proxy, &values(&[header])), client);
    }
}

fn values(headers: &[HeaderValue]) -> HeaderMap {
    headers.iter().map(|value| (X_FORWARDED_FOR, value.clone())).collect()
}

/// The client, and whether every hop was looked at and trusted.
fn walk(peer: IpAddr, networks: &[IpNet], hops: &[&[u8]]) -> (IpAddr, bool) {
    let mut client = peer.to_canonical();
    for hop in hops.iter().rev() {
        if !networks.iter().any(|network| contains(network, client)) {
            return (client, false);
        }
        let Some(next) = address(hop) else { return (client, false) };
        client = next;
    }
    (client, networks.iter().any(|network| contains(network, client)))
}

fn contains(network: &IpNet, address: IpAddr) -> bool {
    match (network, address) {
        (IpNet::V4(network), IpAddr::V4(address)) => network.contains(&address),
        (IpNet::V6(network), IpAddr::V6(address)) => network.contains(&address),
        _ => false,
    }
}

/// With or without brackets (v6) and a port.
fn address(hop: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(hop).ok()?.trim();
    let address = text.parse::<IpAddr>().ok();
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    let in_brackets = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    address.or_else(with_port).or_else(in_brackets).map(|address| address.to_canonical())
}

/// A network reads the same when it is written out; a single one holds its own address.
fn check_network(text: &str) -> Option<IpNet> {
    let network = TrustedProxies::network(text).ok()?;
    assert_eq!(TrustedProxies::network(&network.to_string()), Ok(network));
    if let Ok(address) = text.parse::<IpAddr>() {
        assert!(network.contains(&address.to_canonical()), "{text} does not trust itself");
    }
    Some(network)
}
