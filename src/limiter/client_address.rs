//! The address of a client: behind proxies that are trusted to state it, and as the network that a client has.
//!
//! # `X-Forwarded-For`
//!
//! Each proxy appends the address that it was called from. So the entries are read from the right, and only as long as
//! the machine that wrote them is trusted: the peer of the connection wrote the last one, the machine that is named there
//! the one before, and so on. The first address that is no trusted proxy is the client. What a client writes into the
//! header itself stands to the left of it, and is never read. An entry that is no address ends the search, at the machine
//! that wrote it.
//!
//! `Forwarded` (RFC 7239) is not read. Few proxies write it, and one that writes only one of the two headers passes the
//! other on as the client sent it, so reading both would trust the client.

use std::net::{IpAddr, SocketAddr};

use ipnet::{IpNet, Ipv6Net};

/// Returns the address of a client: that of the peer, or behind trusted proxies the one that they state. `lines` are the
/// values of the headers `X-Forwarded-For`, in their order. They are bytes: what a client wrote to the left may be no
/// text, and must not hide what a proxy added to it.
///
/// ```
/// use std::net::IpAddr;
/// use lanekeeper::limiter::client_address;
///
/// let proxy: IpAddr = "10.0.0.1".parse()?;
/// let lines = [&b"the client's own words, 192.0.2.7"[..]];
/// let behind = client_address(proxy, lines.into_iter(), &["10.0.0.0/8".parse()?]);
/// assert_eq!(behind, "192.0.2.7".parse::<IpAddr>()?);
/// // A peer that is not trusted states nothing.
/// assert_eq!(client_address(proxy, lines.into_iter(), &[]), proxy);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn client_address<'h>(
    peer: IpAddr,
    lines: impl DoubleEndedIterator<Item = &'h [u8]>,
    trusted: &[IpNet],
) -> IpAddr {
    let mut client = peer.to_canonical();
    for entry in lines.rev().flat_map(|line| line.rsplit(|byte| *byte == b',')) {
        if !trusted.iter().any(|network| network.contains(&client)) {
            break;
        }
        let Some(address) = std::str::from_utf8(entry).ok().and_then(address) else { break };
        client = address;
    }
    client
}

/// Returns what an address counts as: an IPv4 address as it is, and one of IPv6 as its network, of this many bits. One
/// client usually has a network of 64 bits, so 2^64 addresses; some have 56 or 48. An IPv4 address that is written as IPv6
/// (`::ffff:192.0.2.7`) is an IPv4 address. More than 128 bits are 128.
///
/// ```
/// use lanekeeper::limiter::client_network;
///
/// assert_eq!(client_network("2001:db8:1:2:3:4:5:6".parse()?, 64), "2001:db8:1:2::/64");
/// assert_eq!(client_network("192.0.2.7".parse()?, 64), "192.0.2.7");
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
pub fn client_network(address: IpAddr, ipv6_bits: u8) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => Ipv6Net::new(address, ipv6_bits.min(128))
            .map_or_else(|_| address.to_string(), |network| network.trunc().to_string()),
    }
}

/// Reads an entry of `X-Forwarded-For`. Some proxies write the port too.
fn address(entry: &str) -> Option<IpAddr> {
    let entry = entry.trim();
    let bare = entry.strip_prefix('[').and_then(|entry| entry.strip_suffix(']')).unwrap_or(entry);
    let with_port = || entry.parse::<SocketAddr>().map(|it| it.ip());
    bare.parse::<IpAddr>().or_else(|_| with_port()).ok().map(|address| address.to_canonical())
}
