//! Answers, as they come back.

use crate::support::upstream::{Upstream, answer, ok};
use crate::support::{Client, kite, rest, start};

/// Asks a gateway in front of an upstream that answers with these bytes, twice over one connection.
fn twice(method: &str, bytes: impl Into<Vec<u8>>) -> crate::support::Answer {
    let bytes = bytes.into();
    let upstream = Upstream::start(move |_| Some(bytes.clone()));
    let gateway = start(rest(&upstream.url()));
    let mut client = Client::connect(gateway.address());
    let first = client.request(method, "/any", "");
    let second = client.request(method, "/any", "");
    assert_eq!((first.status, &first.body), (second.status, &second.body));
    assert_eq!(upstream.requests().len(), 2);
    first
}

#[test]
fn the_answer_to_a_head_request_keeps_its_length_and_has_no_body() {
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 123456\r\ncontent-type: text/csv\r\n\r\n";
    let answer = twice("HEAD", head);
    assert_eq!(answer.header("content-length"), Some("123456"));
    assert_eq!(answer.header("content-type"), Some("text/csv"));
    // None is made up where the upstream states none.
    let answer = twice("HEAD", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
    assert_eq!((answer.status, answer.header("content-length")), (200, None));
}

#[test]
fn answers_without_a_body_leave_the_connection_usable() {
    let answer = twice("GET", "HTTP/1.1 204 No Content\r\nx-a: 1\r\n\r\n");
    assert_eq!((answer.status, answer.header("x-a")), (204, Some("1")));
    let answer = twice("GET", "HTTP/1.1 304 Not Modified\r\netag: \"v1\"\r\n\r\n");
    assert_eq!((answer.status, answer.header("etag")), (304, Some("\"v1\"")));
    let answer = twice("GET", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    assert_eq!((answer.status, answer.header("content-length")), (200, Some("0")));
}

#[test]
fn a_redirect_is_passed_on_and_not_followed() {
    for status in ["301 Moved Permanently", "302 Found", "303 See Other", "307 Temporary Redirect"]
    {
        let head = format!(
            "HTTP/1.1 {status}\r\nlocation: http://127.0.0.1:1/else?a=b\r\ncontent-length: 4\r\n\r\nthen"
        );
        let answer = twice("POST", head);
        assert_eq!(answer.status.to_string(), status[..3]);
        assert_eq!(answer.header("location"), Some("http://127.0.0.1:1/else?a=b"));
        assert_eq!(answer.text(), "then");
    }
}

#[test]
fn a_packed_answer_arrives_packed() {
    // The beginning of a gzip file, and bytes that no text has. Nothing unpacks it on the way.
    let mut packed = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];
    packed.extend((0..=255).cycle().take(20_000));
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\nvary: accept-encoding\r\ncontent-length: {}\r\n\r\n",
        packed.len()
    );
    let answer = twice("GET", [head.as_bytes(), &packed].concat());
    assert_eq!(answer.header("content-encoding"), Some("gzip"));
    assert_eq!(answer.header("vary"), Some("accept-encoding"));
    assert!(answer.body == packed);
}

#[test]
fn an_answer_in_chunks_is_the_same_bytes() {
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n";
    let body = "5;a=b\r\nhello\r\n1\r\n \r\n5\r\nworld\r\n0\r\nx-sum: 1\r\n\r\n";
    let answer = twice("GET", format!("{head}{body}"));
    assert_eq!(answer.text(), "hello world");
    assert_eq!((answer.header("trailer"), answer.header("x-sum")), (None, None));
}

#[test]
fn headers_that_come_twice_and_in_any_bytes_come_through_and_those_of_the_connection_do_not() {
    let mut bytes = b"HTTP/1.1 200 OK\r\nSet-Cookie: a=1; Path=/\r\nset-cookie: b=2\r\nx-latin: caf\xe9\r\n\
        Connection: X-Hop, keep-alive\r\nx-hop: 1\r\nKeep-Alive: timeout=5\r\nproxy-authenticate: Basic\r\n\
        X-Lanekeeper-Sent: no\r\nx-lanekeeper-cache: hit; age=0.0\r\nx-lanekeeper-repeated: yes\r\n\
        X-Kite: 3\r\ndate: Mon, 30 Nov 2026 01:02:03 GMT\r\ncontent-length: 2\r\n\r\nok"
        .to_vec();
    bytes.truncate(bytes.len());
    let answer = twice("GET", bytes);
    let of = |wanted: &str| -> Vec<&str> {
        let named = answer.headers.iter().filter(|(name, _)| name == wanted);
        named.map(|(_, value)| value.as_str()).collect()
    };
    assert_eq!(of("set-cookie"), ["a=1; Path=/", "b=2"]);
    // The client of the tests shows a byte that is no UTF-8 as this.
    assert_eq!(of("x-latin"), ["caf\u{fffd}"]);
    assert_eq!(of("date"), ["Mon, 30 Nov 2026 01:02:03 GMT"]);
    assert_eq!(of("x-kite"), ["3"]);
    for gone in ["connection", "x-hop", "keep-alive", "proxy-authenticate"] {
        assert_eq!(of(gone), [""; 0], "{gone}");
    }
    // An upstream cannot speak for the gateway.
    assert_eq!(of("x-lanekeeper-sent"), ["yes"]);
    assert_eq!(of("x-lanekeeper-cache").len() + of("x-lanekeeper-repeated").len(), 0);
}

#[test]
fn an_answer_says_what_it_took() {
    let answer = twice("GET", ok("text/plain", b"x"));
    for name in ["x-lanekeeper-waited-ms", "x-lanekeeper-broker-ms"] {
        answer.header(name).unwrap().parse::<u64>().unwrap();
    }
    assert_eq!(answer.header("x-lanekeeper-sent"), Some("yes"));
}

#[test]
fn errors_of_the_upstream_come_through_as_they_are() {
    for status in ["400 Bad Request", "403 Forbidden", "404 Not Found", "410 Gone", "422 Any Words"]
    {
        let answer = twice("POST", answer(status, "text/html", b"<h1>\xff no</h1>"));
        assert_eq!(answer.status.to_string(), status[..3]);
        assert_eq!(answer.header("content-type"), Some("text/html"));
        assert_eq!(answer.body, b"<h1>\xff no</h1>");
    }
}

#[test]
fn numbers_come_back_as_they_were_written() {
    const BODY: &str = r#"{"status":"success","data":{"a":1501.0500,"b":99725.05000000002,"c":1e0,
        "d":123456789012345678901234567890,"e":-0.0,"f":0.1E-7, "g":"\u00e9\/"}}"#;
    let upstream = Upstream::json(BODY);
    let gateway = start(kite(&upstream.url()));
    let mut client = Client::connect(gateway.address());
    for target in ["/user/margins", "/gtt/triggers", "/next/year", "/portfolio/holdings"] {
        assert_eq!(client.request("GET", target, "").text(), BODY, "{target}");
    }
    assert_eq!(client.request("POST", "/gtt/triggers", "type=single").text(), BODY);
}
