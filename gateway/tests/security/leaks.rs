//! The broker's secrets are the gateway's own: no client, log, page or metric has them, whatever the upstream echoes.

use std::io::{Read, Write};
use std::time::Duration;

use lanekeeper_gateway::Gateway;
use lanekeeper_gateway::config::GatewayConfig;

use crate::support::door::{ALPHA, keyed, refusal};
use crate::support::upstream::{Request, Upstream, answer, ok};
use crate::support::{Client, builder, kite, log, rest};

/// Asks over a connection of its own, and returns all that comes: head and body.
fn all(gateway: &Gateway, method: &str, target: &str, lines: &str, body: &str) -> String {
    let mut client = Client::connect(gateway.address());
    client.begin(method, target, &format!("{lines}connection: close\r\n"), body);
    let mut bytes = Vec::new();
    let _ = client.stream().read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Reads events until the first snapshot and all notices are there.
fn events(gateway: &Gateway) -> String {
    let mut client = Client::connect(gateway.address());
    client.begin("GET", "/_lanekeeper/events", "", "");
    let mut text = String::new();
    let mut buffer = [0; 65536];
    while !text.contains("event: status") || !text.contains("event: heartbeat") {
        let read = client.stream().read(&mut buffer).unwrap();
        assert!(read > 0, "{text}");
        text.push_str(&String::from_utf8_lossy(&buffer[..read]));
    }
    text
}

/// An upstream that echoes the credentials that it got, in the way that the path asks for.
fn echoing() -> Upstream {
    Upstream::with_stream(|request: &Request, stream| {
        let secret = request.header("authorization").or(request.header("x-api-token")).unwrap();
        let error = format!(
            r#"{{"status":"error","message":"no {secret}","error_type":"InputException"}}"#
        );
        let bytes = match request.target.split('?').next().unwrap() {
            "/in/body" => ok("application/json", format!(r#"{{"a":"{secret}"}}"#).as_bytes()),
            "/in/header" => format!(
                "HTTP/1.1 200 OK\r\nx-echo: {secret}\r\nset-cookie: t={secret}; path=/\r\ncontent-length: 2\r\n\r\n{{}}"
            )
            .into_bytes(),
            "/in/redirect" => format!(
                "HTTP/1.1 302 Found\r\nlocation: /a?t={secret}\r\ncontent-length: 0\r\n\r\n"
            )
            .into_bytes(),
            "/in/error" => answer("400 Bad Request", "application/json", error.as_bytes()),
            "/in/failure" => answer("500 Internal Server Error", "application/json", error.as_bytes()),
            "/in/page" => answer("502 Bad Gateway", "text/html", format!("<pre>{secret}</pre>").as_bytes()),
            "/in/throttle" => answer("429 Too Many Requests", "application/json", error.as_bytes()),
            "/in/large" => {
                let long = "x".repeat(400_000);
                ok("text/csv", format!("{secret},{long},{secret}{long}{secret}").as_bytes())
            }
            "/quote" | "/instruments/NSE" | "/in/parts" => {
                let row = format!(r#"{{"status":"success","data":{{"NSE:INFY":{{"last_price":1.50,"x":"{secret}"}}}}}}"#);
                if request.target.starts_with("/in/parts") {
                    // A large one, of which the secret comes in two parts.
                    let long = "y".repeat(500_000);
                    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", long.len() + secret.len());
                    let (begin, end) = secret.split_at(secret.len() - 6);
                    let _ = stream.write_all(format!("{head}{long}{begin}").as_bytes());
                    let _ = stream.flush();
                    std::thread::sleep(Duration::from_millis(20));
                    return stream.write_all(end.as_bytes()).is_ok();
                }
                ok("application/json", row.as_bytes())
            }
            "/orders/regular" => answer("400 Bad Request", "application/json", error.as_bytes()),
            _ => answer("503 Service Unavailable", "text/plain", secret.as_bytes()),
        };
        stream.write_all(&bytes).is_ok()
    })
}

const ORDER: &str = "exchange=NSE&tradingsymbol=INFY&transaction_type=BUY&quantity=1&order_type=LIMIT&price=1400\
                     &product=CNC&validity=DAY";

fn assert_absent(secret: &str, what: &str, text: &str) {
    assert!(!text.contains(secret), "{what}: {text}");
}

/// Makes an upstream echo the secret in every way, and looks for it wherever something is shown.
fn look_everywhere(config: GatewayConfig, secret: &str) {
    log::keep();
    let gateway = builder(config)
        .secret("KITE_ACCESS_TOKEN", secret)
        .secret("VENDOR_TOKEN", secret)
        .start()
        .unwrap();
    for (target, count) in [
        ("/in/body", 1),
        ("/in/header", 2),
        ("/in/redirect", 1),
        ("/in/error", 1),
        ("/in/large", 3),
        ("/in/parts", 1),
        ("/quote?i=NSE:INFY", 0),
        ("/quote?i=NSE:INFY", 0),
        ("/instruments/NSE", 1),
        ("/instruments/NSE", 1),
        // Such are made again, and hold up what comes after them.
        ("/in/failure", 0),
        ("/in/page", 0),
        ("/in/throttle", 0),
    ] {
        let lines = format!("{ALPHA}x-lanekeeper-deadline: 1.5\r\n");
        let text = all(&gateway, "GET", target, &lines, "");
        assert!(text.starts_with("HTTP/1.1 "), "{target}: {text}");
        assert_absent(secret, target, &text);
        // It was there, and has been overwritten.
        let stars = "*".repeat(secret.len());
        assert!(text.matches(&stars).count() >= count, "{target}: {}", text.len());
    }
    for target in
        ["/in/body", "/in/failure", "/in/page", "/in/error", "/orders/regular", "/gtt/triggers"]
    {
        assert_absent(secret, target, &all(&gateway, "POST", target, ALPHA, ORDER));
    }
    for path in ["status", "metrics", "prices?i=NSE:INFY", "", "app.js", "readyz"] {
        let text = all(&gateway, "GET", &format!("/_lanekeeper/{path}"), "", "");
        assert_absent(secret, path, &text);
    }
    let shown = events(&gateway);
    assert!(shown.contains("event: notice"), "{shown}");
    assert_absent(secret, "events", &shown);
    assert_absent(secret, "Debug", &format!("{gateway:?}"));
    assert_eq!(log::lines(secret), [""; 0]);
}

#[test]
fn the_token_at_kite_is_shown_nowhere() {
    let upstream = echoing();
    look_everywhere(kite(&upstream.url()), "the-kite-token-4b1d9c");
}

#[test]
fn the_credentials_at_another_api_are_shown_nowhere() {
    let upstream = echoing();
    let text = format!(
        "upstream: {}\nauth: {{ header: x-api-token, env: VENDOR_TOKEN }}\n\
         lanes: {{ all: {{ quota: unlimited, in_flight: 64 }} }}\nunmatched: {{ lane: all }}\n\
         routes: [{{ match: 'GET /instruments/*', lane: all, cache: 1h }}]",
        upstream.url()
    );
    let mut config = GatewayConfig::from_yaml(&text).unwrap();
    config.listen = "127.0.0.1:0".parse().unwrap();
    look_everywhere(config, "the-vendor-token-77e0aa");
}

#[test]
fn what_holds_secrets_does_not_print_them() {
    let upstream = Upstream::json("{}");
    let mut config = kite(&upstream.url());
    let keys = keyed(&mut config, &["alpha"]);
    let shown = format!("{config:?} {:?}", builder(config.clone()).secret("X", "builder-secret-1"));
    for secret in
        keys.values().map(String::as_str).chain(["builder-secret-1", crate::support::TOKEN])
    {
        assert_absent(secret, "Debug", &shown);
    }
    // A gateway that cannot start does not say what its secret was.
    let error = builder(config).secret("KITE_ACCESS_TOKEN", "bad\ntoken-9911").start().unwrap_err();
    assert_absent("token-9911", "error", &format!("{error} {error:?}"));
    let mut config = rest(&upstream.url());
    config.accounts.get_mut("main").unwrap().upstream =
        "http://user:hunter2-x@127.0.0.1".to_owned();
    let error = builder(config).start().unwrap_err();
    assert_absent("hunter2-x", "error", &format!("{error} {error:?}"));
}

#[test]
fn a_login_shows_none_of_its_secrets_whether_it_works_or_not() {
    log::keep();
    const REQUEST_TOKEN: &str = "request-token-60c1f2";
    const API_SECRET: &str = "api-secret-of-the-test-31";
    const NEW_TOKEN: &str = "the-new-token-8d77e1";
    let works = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let upstream = {
        let works = std::sync::Arc::clone(&works);
        Upstream::start(move |request| {
            let form = String::from_utf8_lossy(&request.body).into_owned();
            Some(match (request.target.as_str(), works.load(std::sync::atomic::Ordering::SeqCst)) {
                ("/session/token", true) => ok(
                    "application/json",
                    format!(r#"{{"status":"success","data":{{"user_id":"AB1234","access_token":"{NEW_TOKEN}"}}}}"#).as_bytes(),
                ),
                ("/session/token", false) => answer(
                    "403 Forbidden",
                    "application/json",
                    format!(r#"{{"status":"error","message":"<b>no</b> {form} {API_SECRET}","error_type":"TokenException"}}"#).as_bytes(),
                ),
                // What the new token is used for, with an echo of it.
                _ => ok("application/json", format!(r#"{{"status":"success","data":"{:?}"}}"#, request.header("authorization")).replace("Some(\\\"", "").as_bytes()),
            })
        })
    };
    let mut config = kite(&upstream.url());
    let keys = keyed(&mut config, &["alpha"]);
    let gateway = builder(config).secret("KITE_API_SECRET", API_SECRET).start().unwrap();
    let admin =
        format!("authorization: Bearer admin:{}\r\nx-lanekeeper-request: 1\r\n", keys["admin"]);
    let secrets = [REQUEST_TOKEN, API_SECRET, NEW_TOKEN, crate::support::TOKEN];
    let login = |body: &str| {
        let text = all(&gateway, "POST", "/_lanekeeper/login", &admin, body);
        for secret in secrets {
            assert_absent(secret, body, &text);
        }
        text
    };
    for (body, status) in [
        (format!(r#"{{"request_token":"{REQUEST_TOKEN}""#), 400),
        (format!(r#"{{"request_token":["{REQUEST_TOKEN}"]}}"#), 400),
        (format!(r#""{REQUEST_TOKEN}""#), 400),
        (format!(r#"{{"account":"none","request_token":"{REQUEST_TOKEN}"}}"#), 404),
        (format!(r#"{{"request_token":"{REQUEST_TOKEN}"}}"#), 502),
    ] {
        let text = login(&body);
        assert!(text.starts_with(&format!("HTTP/1.1 {status} ")), "{text}");
    }
    works.store(true, std::sync::atomic::Ordering::SeqCst);
    let text = login(&format!(r#"{{"request_token":"{REQUEST_TOKEN}"}}"#));
    assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
    let alpha = format!("authorization: token alpha:{}\r\n", keys["alpha"]);
    let text = all(&gateway, "GET", "/user/profile", &alpha, "");
    assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
    for secret in secrets {
        assert_absent(secret, "an answer with the new token", &text);
        assert_absent(secret, "status", &gateway.status_json());
        assert_eq!(log::lines(secret), [""; 0]);
    }
    let used = upstream.requests();
    let used = used.last().and_then(|request| request.header("authorization")).unwrap().to_owned();
    assert!(used.ends_with(NEW_TOKEN), "the new token is in use");
}

#[test]
fn hostile_words_of_an_upstream_are_text_in_json_and_break_no_event() {
    const HOSTILE: &str =
        r#"</script><img src=x onerror=alert(1)>\"\n\ndata: {}\n\nevent: status\u2028\u0000"#;
    let upstream = Upstream::start(|request| {
        let body = format!(
            r#"{{"status":"error","message":"{HOSTILE}","error_type":"GeneralException"}}"#
        );
        Some(match request.target.as_str() {
            "/gtt/triggers" => {
                answer("500 Internal Server Error", "application/json", body.as_bytes())
            }
            _ => answer("429 Too Many Requests", "application/json", body.as_bytes()),
        })
    });
    let gateway = builder(kite(&upstream.url())).start().unwrap();
    let mut client = Client::connect(gateway.address());
    let lost = client.request("POST", "/gtt/triggers", "a=1");
    let message = refusal(&lost, 503, "unknown");
    assert!(message.contains("onerror"), "{message}");
    // A name that is markup is not taken for one.
    let lines = "authorization: token <img src=x>:1\r\nx-lanekeeper-deadline: 0.3\r\n";
    client.request_with("GET", "/user/margins", lines, "");
    let shown = events(&gateway);
    let mut notices = 0;
    for event in shown.split("\n\n").filter(|event| event.contains("event: ")) {
        let data: Vec<_> = event.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
        let [data] = data[..] else { panic!("{event}") };
        if event.contains("event: heartbeat") {
            break;
        }
        let data: serde_json::Value = serde_json::from_str(data).unwrap();
        notices += usize::from(data["kind"].is_string());
    }
    assert!(notices >= 1, "{shown}");
    assert_absent("<img", "events", &shown);
    assert_absent("<img", "metrics", &all(&gateway, "GET", "/_lanekeeper/metrics", "", ""));
}
