//! What a page of another site can make a browser send: requests without their answers, under a name of its own.

use lanekeeper_gateway::Gateway;

use crate::support::door::{ALPHA, keyed, refusal};
use crate::support::upstream::Upstream;
use crate::support::{Answer, Client, kite, start};

/// What a browser adds to a request that the page of another site makes.
const FOREIGN: [&str; 8] = [
    "origin: https://evil.example\r\n",
    "origin: http://127.0.0.1:1\r\n",
    "origin: http://localhost\r\n",
    "origin: null\r\n",
    "origin: file://\r\n",
    "origin: http://127.0.0.1.evil.example\r\n",
    "sec-fetch-site: cross-site\r\n",
    "sec-fetch-site: same-site\r\n",
];

/// Every POST of the interface, with a body that it takes.
const POSTS: [(&str, &str); 8] = [
    ("/_lanekeeper/accounts/main/lanes/transactional/pause", ""),
    ("/_lanekeeper/accounts/main/lanes/transactional/resume", ""),
    ("/_lanekeeper/login", r#"{"request_token":"abc"}"#),
    ("/_lanekeeper/refresh", r#"{"instruments":["NSE:INFY"]}"#),
    ("/_lanekeeper/scans", r#"{"instruments":["NSE:INFY"]}"#),
    ("/_lanekeeper/scans/s1/pause", ""),
    ("/_lanekeeper/scans/s1/resume", ""),
    ("/_lanekeeper/scans/s1/cancel", ""),
];

fn assert_no_permission(answer: &Answer) {
    let allowed = answer.headers.iter().find(|(name, _)| name.starts_with("access-control-"));
    assert_eq!(allowed, None);
}

fn lane_state(gateway: &Gateway) -> String {
    let status: serde_json::Value = serde_json::from_str(&gateway.status_json()).unwrap();
    status["accounts"][0]["lanes"][0]["state"].as_str().unwrap().to_owned()
}

#[test]
fn no_post_of_the_interface_is_taken_from_another_site() {
    let upstream = Upstream::json(r#"{"status":"success","data":{}}"#);
    let mut config = kite(&upstream.url());
    let keys = keyed(&mut config, &["alpha"]);
    let gateway = start(config);
    let mut client = Client::connect(gateway.address());
    let admin = format!("authorization: Bearer admin:{}\r\n", keys["admin"]);
    for (path, body) in POSTS {
        // Without the header that needs a preflight, as a form sends it, even with the right key.
        refusal(&client.request_with("POST", path, &admin, body), 403, "no");
        for foreign in FOREIGN {
            let lines = format!("{admin}x-lanekeeper-request: 1\r\n{foreign}");
            let answer = client.request_with("POST", path, &lines, body);
            refusal(&answer, 403, "no");
            assert_no_permission(&answer);
        }
    }
    assert_eq!(lane_state(&gateway), "running");
    assert_eq!(upstream.requests().len(), 0);
    // The page's own request is taken.
    let host = gateway.address();
    let own = format!(
        "{admin}x-lanekeeper-request: 1\r\norigin: http://{host}\r\nsec-fetch-site: same-origin\r\n"
    );
    let pause = POSTS[0].0;
    client.send(format!("POST {pause} HTTP/1.1\r\nhost: {host}\r\n{own}content-length: 0\r\n\r\n"));
    let answer = client.read("POST");
    assert_eq!((answer.status, answer.json()["state"].as_str()), (200, Some("paused")));
}

#[test]
fn a_preflight_gets_no_permission() {
    let upstream = Upstream::start(|_| {
        // An upstream that lets every page read its answers does so for itself.
        let head = "HTTP/1.1 200 OK\r\naccess-control-allow-origin: *\r\naccess-control-allow-headers: *\r\n";
        Some(format!("{head}content-length: 0\r\n\r\n").into())
    });
    let gateway = start(kite(&upstream.url()));
    let mut client = Client::connect(gateway.address());
    let others = ["/orders/regular", "/user/margins", "/_lanekeeper/status", "/_lanekeeper/"];
    for path in POSTS.iter().map(|(path, _)| *path).chain(others) {
        for foreign in FOREIGN {
            let lines = format!(
                "{foreign}access-control-request-method: POST\r\n\
                 access-control-request-headers: x-lanekeeper-request,authorization\r\n"
            );
            let answer = client.request_with("OPTIONS", path, &lines, "");
            refusal(&answer, 403, "no");
            assert_no_permission(&answer);
        }
    }
    assert_eq!(upstream.requests().len(), 0);
}

#[test]
fn a_page_of_another_site_reaches_no_broker_through_an_open_gateway() {
    let upstream = Upstream::json(r#"{"status":"success","data":{}}"#);
    let gateway = start(kite(&upstream.url()));
    let mut client = Client::connect(gateway.address());
    for foreign in FOREIGN {
        for (method, path) in [
            ("POST", "/orders/regular"),
            ("DELETE", "/orders/regular/1"),
            ("GET", "/orders"),
            ("GET", "/quote?i=NSE:INFY"),
            ("GET", "/instruments"),
        ] {
            // With the name of a user too, which is no secret.
            let lines = format!("{ALPHA}{foreign}");
            refusal(&client.request_with(method, path, &lines, ""), 403, "no");
        }
        for path in ["status", "events", "metrics", "prices?i=NSE:INFY", "scans"] {
            let answer = client.request_with("GET", &format!("/_lanekeeper/{path}"), foreign, "");
            refusal(&answer, 403, "no");
        }
    }
    assert_eq!(upstream.requests().len(), 0);
    // Programs say nothing of an origin, and neither does a browser of an address that its user typed.
    for lines in ["", "sec-fetch-site: none\r\n", "sec-fetch-site: same-origin\r\n"] {
        assert_eq!(client.get("/user/margins", lines).status, 200);
    }
}

#[test]
fn a_foreign_name_that_leads_here_reaches_nothing() {
    let upstream = Upstream::json(r#"{"status":"success","data":{}}"#);
    let mut config = kite(&upstream.url());
    config.hosts = vec!["gateway.example.net".to_owned()];
    let gateway = start(config);
    let port = gateway.address().port();
    let request = |path: &str, host: &str| {
        let mut client = Client::connect(gateway.address());
        let (method, path) = path.split_once(' ').unwrap();
        client
            .raw(format!(
                "{method} {path} HTTP/1.1\r\nhost: {host}\r\n{ALPHA}x-lanekeeper-request: 1\r\n\r\n"
            ))
            .unwrap()
    };
    let paths = [
        "GET /_lanekeeper/",
        "GET /_lanekeeper/app.js",
        "GET /_lanekeeper/healthz",
        "GET /_lanekeeper/status",
        "GET /_lanekeeper/events",
        "POST /_lanekeeper/scans",
        "GET /orders",
        "POST /orders/regular",
    ];
    for path in paths {
        for host in [
            "evil.example".to_owned(),
            format!("evil.example:{port}"),
            "127.0.0.1.evil.example".to_owned(),
            "gateway.example.net.evil.example".to_owned(),
            "notgateway.example.net".to_owned(),
            "localhost.evil.example".to_owned(),
        ] {
            refusal(&request(path, &host), 421, "no");
        }
    }
    assert_eq!(upstream.requests().len(), 0);
    for host in [
        "127.0.0.1",
        "localhost:8800",
        "[::1]:8800",
        "gateway.example.net",
        "GATEWAY.example.net:443",
    ] {
        assert_eq!(request("GET /user/margins", host).status, 200, "{host}");
        assert_eq!(request("GET /_lanekeeper/", host).status, 200, "{host}");
    }
}

#[test]
fn every_answer_of_the_interface_forbids_what_a_page_does_not_need() {
    let upstream = Upstream::json("{}");
    let gateway = start(kite(&upstream.url()));
    let mut client = Client::connect(gateway.address());
    for path in ["", "app.js", "style.css", "icon.svg", "status", "metrics", "healthz", "scans"] {
        let answer = client.request_with("GET", &format!("/_lanekeeper/{path}"), "", "");
        assert_eq!(answer.status, 200, "{path}");
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'self'"), "{path}: {policy}");
        assert!(!policy.contains("unsafe"), "{path}: {policy}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}");
        assert_eq!(answer.header("x-frame-options"), Some("DENY"), "{path}");
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"), "{path}");
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{path}");
        assert_no_permission(&answer);
    }
}
