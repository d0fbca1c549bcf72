//! The stream of events: snapshots, notices, what a reader that comes back gets, and when a stream ends.
// clippy allows `unwrap` in test functions only, and the helpers are outside of them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::time::Duration;

use lanekeeper_gateway::Gateway;
use support::ops::{EventStream, bearer, key, own, status, until};
use support::{rest, start};

const NOWHERE: &str = "http://127.0.0.1:9";

/// A gateway whose lane can be paused, which makes a notice.
struct Paused {
    gateway: Gateway,
    lines: String,
}

impl Paused {
    fn start() -> Self {
        let (secret, hash) = key();
        let mut config = rest(NOWHERE);
        config.admin_key = Some(hash);
        let lines = format!("x-lanekeeper-request: 1\r\n{}", bearer("admin", &secret));
        Self { gateway: start(config), lines }
    }

    fn set(&self, action: &str) {
        let path = format!("/accounts/main/lanes/all/{action}");
        assert_eq!(own(&self.gateway, "POST", &path, &self.lines, "").status, 200);
    }

    fn open(&self, lines: &str) -> EventStream {
        EventStream::open(self.gateway.address(), lines).ok().unwrap()
    }
}

#[test]
fn a_stream_has_a_snapshot_a_second_and_what_happens_at_once() {
    let paused = Paused::start();
    let mut stream = paused.open("");
    assert_eq!(stream.next_of("status").data["health"], "ok");
    assert_eq!(stream.retry.as_deref(), Some("2000"));
    // The first one was taken at the start. From then on there is one a second.
    let first = stream.next_of("status");
    let next = stream.next_of("status");
    let uptime = |event: &support::ops::Event| event.data["uptime"].as_f64().unwrap();
    let between = uptime(&next) - uptime(&first);
    assert!(between > 0.5, "two snapshots within {between} s");

    paused.set("pause");
    let notice = stream.next_of("notice");
    let data = &notice.data;
    assert_eq!((&data["kind"], &data["severity"]), (&"paused".into(), &"warning".into()));
    assert_eq!((&data["account"], &data["lane"]), (&"main".into(), &"all".into()));
    assert!(data["at"].as_str().unwrap().ends_with('Z') && data["text"].is_string());
    until("the snapshot shows it", || status(&paused.gateway)["health"] == "paused");
    // The first of them comes at once.
    let mut stream = paused.open("");
    assert_eq!(stream.next_of("heartbeat").data, serde_json::json!({}));
}

#[test]
fn a_reader_that_comes_back_misses_no_notice_and_gets_none_twice() {
    let paused = Paused::start();
    paused.set("pause");
    paused.set("resume");
    let mut stream = paused.open("");
    let seen = stream.notices();
    let kinds: Vec<_> = seen.iter().map(|event| event.data["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["paused", "resumed"]);
    drop(stream);
    paused.set("pause");
    for (after, expected) in [
        (seen[1].id, vec!["paused"]),
        (seen[0].id, vec!["resumed", "paused"]),
        (None, vec!["paused", "resumed", "paused"]),
    ] {
        let lines = after.map(|id| format!("last-event-id: {id}\r\n")).unwrap_or_default();
        let notices = paused.open(&lines).notices();
        let kinds: Vec<_> = notices.iter().map(|it| it.data["kind"].as_str().unwrap()).collect();
        assert_eq!(kinds, expected);
    }
    // All events have an id, so that the reader's last one is never older than what it has.
    let mut stream = paused.open("");
    let mut last = 0;
    for _ in 0..6 {
        let id = stream.next().unwrap().id.unwrap();
        assert!(id >= last, "{id} comes after {last}");
        last = id;
    }
}

#[test]
fn only_the_last_hundred_notices_are_kept() {
    let paused = Paused::start();
    for _ in 0..60 {
        paused.set("pause");
        paused.set("resume");
    }
    let notices = paused.open("").notices();
    assert_eq!(notices.len(), 100);
    assert!(notices.windows(2).all(|pair| pair[0].id < pair[1].id));
}

#[test]
fn the_ids_go_on_over_a_restart() {
    let last_id = || {
        let paused = Paused::start();
        paused.set("pause");
        let notices = paused.open("").notices();
        notices[0].id.unwrap()
    };
    let before = last_id();
    assert!(last_id() > before);
}

#[test]
fn at_most_64_streams_are_open_and_one_that_ends_makes_room() {
    let paused = Paused::start();
    let mut streams: Vec<_> = (0..64).map(|_| paused.open("")).collect();
    let refused = EventStream::open(paused.gateway.address(), "").err().unwrap();
    assert_eq!(refused.status, 429);
    assert!(refused.text().contains("64 streams"), "{}", refused.text());
    // The streams that are open go on, and so do requests.
    assert_eq!(streams[63].next_of("status").data["health"], "ok");
    assert_eq!(own(&paused.gateway, "GET", "/status", "", "").status, 200);
    streams.pop();
    until("there is room", || EventStream::open(paused.gateway.address(), "").is_ok());
}

#[test]
fn a_stream_shows_the_drain_and_ends_with_its_last_chunk() {
    let paused = Paused::start();
    let mut stream = paused.open("");
    stream.next_of("status");
    let Paused { gateway, .. } = paused;
    assert!(gateway.drain(Duration::from_secs(30)));
    assert_eq!(stream.next_of("notice").data["kind"], "drain");
    stream.read_to_end();
}

#[test]
fn a_stream_ends_when_the_configuration_is_read_again_since_its_key_may_be_gone() {
    let (secret, hash) = key();
    let mut config = rest(NOWHERE);
    let client = |hash: &str| lanekeeper_gateway::config::ClientConfig::new(hash);
    config.clients.insert("alpha".to_owned(), client(&hash));
    let gateway = start(config.clone());
    assert_eq!(EventStream::open(gateway.address(), "").err().unwrap().status, 401);
    let lines = bearer("alpha", &secret);
    let mut stream = EventStream::open(gateway.address(), &lines).ok().unwrap();
    stream.next_of("status");
    config.clients.clear();
    config.clients.insert("beta".to_owned(), client(&key().1));
    gateway.reload(config).unwrap();
    stream.read_to_end();
    assert_eq!(EventStream::open(gateway.address(), &lines).err().unwrap().status, 401);
}
