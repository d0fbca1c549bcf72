//! The address of the client of a request: see [`client_address`].

use std::fmt;
use std::net::IpAddr;

use http::HeaderValue;
use http::request::Parts;
use ipnet::IpNet;

use crate::limiter::client_address::{client_address, client_network};

/// Finds the address of the client of a request, for [`Entries::ip`](super::Entries::ip). Unless proxies are trusted, it
/// is the peer of the connection, and no header is read.
///
/// The server has to say what the peer is. With axum, serve
/// `router.into_make_service_with_connect_info::<SocketAddr>()`, and read it by
/// `|parts| parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|it| it.0.ip())`.
///
/// ```
/// use std::net::{IpAddr, SocketAddr};
///
/// use http::Request;
/// use lanekeeper::limiter::layer::ClientIp;
///
/// let client = ClientIp::new(|parts| parts.extensions.get::<SocketAddr>().map(|it| it.ip()))
///     .trusted_proxies(["10.0.0.0/8"])?;
/// let (parts, ()) = Request::get("/")
///     .extension("10.0.0.1:4711".parse::<SocketAddr>()?)
///     .header("x-forwarded-for", "the client's own words, 192.0.2.7")
///     .body(())?
///     .into_parts();
/// assert_eq!(client.of(&parts), Some("192.0.2.7".parse::<IpAddr>()?));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct ClientIp {
    peer: Box<PeerOf>,
    trusted: Vec<IpNet>,
    ipv6_prefix: u8,
}

type PeerOf = dyn Fn(&Parts) -> Option<IpAddr> + Send + Sync;

impl ClientIp {
    /// Returns the address of the peer of the connection, as `peer` reads it from a request. For a connection without
    /// one, such as a Unix socket, `peer` may return an address that stands for it, such as that of the loopback.
    pub fn new(peer: impl Fn(&Parts) -> Option<IpAddr> + Send + Sync + 'static) -> Self {
        Self { peer: Box::new(peer), trusted: Vec::new(), ipv6_prefix: 64 }
    }

    /// Trusts the proxies in these networks, written as `10.0.0.0/8` or `2001:db8::1`, to append to `X-Forwarded-For`.
    /// Name the proxies, and no network in which clients are.
    ///
    /// # Errors
    /// A text is no network, or is the network of all addresses.
    pub fn trusted_proxies<'a>(
        mut self,
        networks: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, InvalidNetwork> {
        for text in networks {
            self.trusted.push(network(text)?);
        }
        Ok(self)
    }

    /// Sets how many bits of an IPv6 address tell clients apart. The default is 64. Some providers give a client a
    /// network of 56 or 48 bits. Numbers above 128 mean 128.
    #[must_use]
    pub fn ipv6_prefix(mut self, bits: u8) -> Self {
        self.ipv6_prefix = bits.min(128);
        self
    }

    /// Returns the address of the client, or `None` if the peer is unknown.
    pub fn of(&self, parts: &Parts) -> Option<IpAddr> {
        let lines = parts.headers.get_all("x-forwarded-for").iter().map(HeaderValue::as_bytes);
        Some(client_address((self.peer)(parts)?, lines, &self.trusted))
    }

    /// Returns the value of the entry: an IPv4 address, or an IPv6 network.
    pub(super) fn shown(&self, client: IpAddr) -> String {
        client_network(client, self.ipv6_prefix)
    }
}

impl fmt::Debug for ClientIp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientIp")
            .field("trusted", &self.trusted)
            .field("ipv6_prefix", &self.ipv6_prefix)
            .finish_non_exhaustive()
    }
}

/// A text that names no network whose proxies can be trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{network}` cannot be a network of trusted proxies: {why}")]
pub struct InvalidNetwork {
    /// The text.
    pub network: String,
    why: &'static str,
}

fn network(text: &str) -> Result<IpNet, InvalidNetwork> {
    let invalid = |why| InvalidNetwork { network: text.to_owned(), why };
    let network = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    let network = network.map_err(|_| invalid("write an address, or a network as `10.0.0.0/8`"))?;
    if network.prefix_len() == 0 {
        return Err(invalid("every client could state any address"));
    }
    if network.addr().to_canonical() != network.addr() {
        return Err(invalid("it is a network of IPv4 addresses: write it as one"));
    }
    Ok(network)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client_ip() -> ClientIp {
        ClientIp::new(|parts| parts.extensions.get::<IpAddr>().copied())
    }

    fn found(client: &ClientIp, peer: &str, forwarded: &[&[u8]]) -> String {
        let (mut parts, ()) = http::Request::new(()).into_parts();
        parts.extensions.insert(peer.parse::<IpAddr>().unwrap());
        for line in forwarded {
            let line = http::HeaderValue::from_bytes(line).unwrap();
            parts.headers.append("x-forwarded-for", line);
        }
        client.of(&parts).unwrap().to_string()
    }

    #[test]
    fn headers_of_an_untrusted_peer_are_not_read() {
        assert_eq!(found(&client_ip(), "192.0.2.7", &[b"198.51.100.1"]), "192.0.2.7");
        let behind = client_ip().trusted_proxies(["10.0.0.0/8"]).unwrap();
        assert_eq!(found(&behind, "192.0.2.7", &[b"198.51.100.1"]), "192.0.2.7");
        assert_eq!(found(&behind, "192.0.2.7", &[b"10.0.0.1"]), "192.0.2.7");
    }

    #[test]
    fn the_client_is_the_last_address_that_is_no_trusted_proxy() {
        let behind = client_ip().trusted_proxies(["10.0.0.0/8", "2001:db8:1::1"]).unwrap();
        let cases: [(&[&[u8]], &str); 16] = [
            (&[], "10.0.0.1"),
            (&[b"198.51.100.1"], "198.51.100.1"),
            // What stands to the left of it is the client's own text.
            (&[b"203.0.113.9, 198.51.100.1"], "198.51.100.1"),
            (&[b"10.0.0.9, 198.51.100.1, 10.0.0.2"], "198.51.100.1"),
            (&[b"203.0.113.9", b"198.51.100.1", b" 10.0.0.2 ,10.0.0.3"], "198.51.100.1"),
            (&[b"<script>, 198.51.100.1"], "198.51.100.1"),
            (&[b"\xff\xfe, 198.51.100.1"], "198.51.100.1"),
            // Only trusted ones: the one that is furthest away.
            (&[b"10.0.0.9, 10.0.0.2"], "10.0.0.9"),
            // What is no address ends the search at the last good one.
            (&[b"unknown"], "10.0.0.1"),
            (&[b"198.51.100.1, unknown, 10.0.0.2"], "10.0.0.2"),
            (&[b"198.51.100.1,, 10.0.0.2"], "10.0.0.2"),
            (&[b""], "10.0.0.1"),
            // As some proxies write them.
            (&[b"198.51.100.1:4711"], "198.51.100.1"),
            (&[b"[2001:db8::7]:4711, 2001:db8:1::1"], "2001:db8::7"),
            (&[b"[2001:db8::7]"], "2001:db8::7"),
            (&[b"::ffff:198.51.100.1, ::ffff:10.0.0.2"], "198.51.100.1"),
        ];
        for (forwarded, client) in cases {
            assert_eq!(found(&behind, "10.0.0.1", forwarded), client, "{forwarded:?}");
            assert_eq!(found(&behind, "10.0.0.1", forwarded), client, "{forwarded:?}");
        }
        // The peer as a socket of both families shows it.
        assert_eq!(found(&behind, "::ffff:10.0.0.1", &[b"198.51.100.1"]), "198.51.100.1");
    }

    #[test]
    fn an_ipv6_client_is_its_network() {
        let shown = |client: ClientIp, text: &str| client.shown(text.parse().unwrap());
        assert_eq!(shown(client_ip(), "2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::/64");
        assert_eq!(shown(client_ip(), "192.0.2.7"), "192.0.2.7");
        assert_eq!(shown(client_ip().ipv6_prefix(48), "2001:db8:1:2::6"), "2001:db8:1::/48");
        assert_eq!(shown(client_ip().ipv6_prefix(255), "2001:db8::6"), "2001:db8::6/128");
        assert_eq!(found(&client_ip(), "::ffff:192.0.2.7", &[]), "192.0.2.7");
    }

    #[test]
    fn networks_that_cannot_be_meant_are_refused() {
        for text in ["", "10.0.0.0/33", "proxy", "0.0.0.0/0", "::/0", "::ffff:10.0.0.0/104"] {
            let error = client_ip().trusted_proxies([text]).unwrap_err();
            assert_eq!(error.network, text);
        }
        // Bits beyond the prefix do not matter.
        let behind = client_ip().trusted_proxies(["10.1.2.3/8"]).unwrap();
        assert_eq!(found(&behind, "10.9.9.9", &[b"198.51.100.1"]), "198.51.100.1");
    }
}
