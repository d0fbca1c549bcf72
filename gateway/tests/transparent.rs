//! What the gateway does not understand it passes on byte for byte, both ways.

mod support;

use support::upstream::{Upstream, ok};
use support::{Client, rest, start};

#[test]
fn an_unknown_route_arrives_and_comes_back_byte_for_byte() {
    let body: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    let sent_back = body.clone();
    let upstream = Upstream::start(move |_| Some(ok("application/octet-stream", &sent_back)));
    let gateway = start(rest(&upstream.url()));
    let mut client = Client::connect(gateway.address());
    let target = "/next/year/NSE:M%26M?a=1&b=%20+x&b=&c";
    let answer = client.request("PATCH", target, "x=%41&y=+");
    assert_eq!((answer.status, answer.body == body), (200, true));
    let [request] = &upstream.requests()[..] else { panic!() };
    assert_eq!((request.method.as_str(), request.target.as_str()), ("PATCH", target));
    assert_eq!(request.body, b"x=%41&y=+");
}
