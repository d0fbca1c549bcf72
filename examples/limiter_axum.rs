//! A web service whose requests are limited: by the tier of a user, and by the address of the client.
//!
//! Without a flag it serves on port 3000 of the loopback. With `--once` it asks itself, prints what it got, and ends with
//! an error if any statement about it does not hold.
//!
//! ```text
//! cargo run --features limiter,tower --example limiter_axum
//! curl -i -H 'x-api-key: key-of-ann' http://127.0.0.1:3000/orders/1
//! ```

use std::error::Error;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use lanekeeper::limiter::layer::{ClientIp, Entries, RateLimitLayer};
use lanekeeper::limiter::{MemoryStorage, RateLimiter, Rules};
use tokio::net::TcpListener;

const RULES: &str = r#"
rules:
  - path: /orders/**
    descriptors:
      - key: tier
        value: free
        descriptors: [{ key: user, name: free user, unit: hour, requests_per_unit: 5 }]
      - key: tier
        value: paid
        descriptors: [{ key: user, name: paid user, unit: hour, requests_per_unit: 50 }]
# In addition, and for requests without a user too: so API keys cannot be guessed without a limit.
descriptors:
  - { key: ip, name: address, unit: hour, requests_per_unit: 100 }
"#;

/// Stands for a table of users: the API key, the user and the tier.
const USERS: [(&str, &str, &str); 2] =
    [("key-of-ann", "ann", "free"), ("key-of-bob", "bob", "paid")];

type User = (&'static str, &'static str);

/// Returns the name and the tier of the user that an API key belongs to.
fn user(headers: &HeaderMap) -> Option<User> {
    let key = headers.get("x-api-key")?.to_str().ok()?;
    USERS.iter().find(|(known, ..)| *known == key).map(|(_, name, tier)| (*name, *tier))
}

fn router() -> Result<Router, Box<dyn Error>> {
    let limiter = RateLimiter::new(Rules::from_yaml(RULES)?, MemoryStorage::new());
    let peer =
        |parts: &Parts| parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip());
    // Behind a proxy: `ClientIp::new(peer).trusted_proxies(["10.0.0.0/8"])?`.
    let entries = Entries::new()
        .ip("ip", ClientIp::new(peer))
        .entry("user", |parts| user(&parts.headers).map(|(name, _)| name.to_owned()))
        .entry("tier", |parts| user(&parts.headers).map(|(_, tier)| tier.to_owned()));
    Ok(Router::new()
        .route("/orders/{id}", get(order))
        .route("/quotes", get(|| async { "quotes" }))
        .layer(RateLimitLayer::new(limiter, entries)))
}

async fn order(headers: HeaderMap) -> Result<String, StatusCode> {
    let (name, _) = user(&headers).ok_or(StatusCode::UNAUTHORIZED)?;
    Ok(format!("an order of {name}"))
}

fn main() -> Result<(), Box<dyn Error>> {
    let once = std::env::args().any(|argument| argument == "--once");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let port = if once { 0 } else { 3000 };
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        let address = listener.local_addr()?;
        println!("serving on http://{address}");
        // The limit by address needs the addresses.
        let service = router()?.into_make_service_with_connect_info::<SocketAddr>();
        let server = axum::serve(listener, service);
        if !once {
            return Ok(server.await?);
        }
        tokio::spawn(async { server.await });
        let (done, is_done) = tokio::sync::oneshot::channel();
        thread::spawn(move || done.send(ask_itself(address).map_err(|error| error.to_string())));
        Ok(is_done.await??)
    })
}

/// Checks what a client of the service sees.
fn ask_itself(address: SocketAddr) -> Result<(), Box<dyn Error>> {
    let order_of = |key: &str| ask(address, "/orders/1", key);
    for _ in 0..5 {
        check(order_of("key-of-ann")?.starts_with("HTTP/1.1 200"), "a free user has 5 requests")?;
    }
    let refused = order_of("key-of-ann")?;
    println!("\n{refused}\n");
    check(refused.starts_with("HTTP/1.1 429"), "the sixth one is refused")?;
    check(refused.contains("\r\nretry-after: "), "and says when to come back")?;
    for _ in 0..6 {
        check(order_of("key-of-bob")?.starts_with("HTTP/1.1 200"), "a paid user has more")?;
    }
    check(order_of("a guess")?.starts_with("HTTP/1.1 401"), "a key is checked behind the limit")?;
    let mut guesses = 1;
    while !order_of("another guess")?.starts_with("HTTP/1.1 429") {
        guesses += 1;
        check(guesses < 100, "and guesses have a limit")?;
    }
    let refused = ask(address, "/quotes", "")?;
    println!("\n{refused}");
    check(refused.starts_with("HTTP/1.1 429"), "which is that of the address, for all paths")
}

/// Returns the response to one request.
fn ask(address: SocketAddr, path: &str, key: &str) -> Result<String, Box<dyn Error>> {
    let mut connection = TcpStream::connect(address)?;
    let head = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nx-api-key: {key}\r\n");
    connection.write_all(format!("{head}connection: close\r\n\r\n").as_bytes())?;
    let mut response = String::new();
    connection.read_to_string(&mut response)?;
    Ok(response)
}

/// Returns an error that names the claim if it does not hold.
fn check(holds: bool, claim: &str) -> Result<(), Box<dyn Error>> {
    if holds { Ok(()) } else { Err(format!("this did not hold: {claim}").into()) }
}
