//! Quote caches in front of a broker: built with a shared quota they share their quotes as well.
#![cfg(feature = "mock")]

use std::time::Duration;

use lanekeeper::broker::{Broker, Instrument, MockBroker, Quote, lanes};
use lanekeeper::clock::ManualClock;
use lanekeeper::jiff::{SignedDuration, Timestamp};
use lanekeeper::quota::{Limits, Quota};
use lanekeeper::{CallOptions, SharedQuota};

use super::process::{secs, wait_until_kept};
use super::quote_layers::{self, Kind, PacedQuotes, Quoted};
use super::redis::RedisServer;

/// Returns a broker that answers so many requests for quotes.
fn broker(requests: usize) -> MockBroker {
    let mut broker = MockBroker::new();
    broker.expect_quotes().times(requests).returning(|instruments| {
        let quote = |it: &Instrument| (it.clone(), Quote::new(it.clone(), 1500));
        Ok(instruments.iter().map(quote).collect())
    });
    broker
}

fn infy() -> Instrument {
    Instrument::new("NSE", "INFY")
}

over_threads_and_tasks! {
    a_quote_of_another_process_is_a_cached_one_with_the_time_of_its_request
    the_next_quote_is_not_the_one_that_was_seen
    proxies_with_a_shared_quota_share_their_quotes_unless_that_is_off
}

fn a_quote_of_another_process_is_a_cached_one_with_the_time_of_its_request<K: Kind>() {
    let Some(server) = RedisServer::start() else { return };
    let clock = ManualClock::new();
    clock.advance(secs(100));
    let quota = SharedQuota::redis(&server.url(), "a").unwrap().timeout(secs(5));
    let cache = |requests| K::sharing(broker(requests), &clock, &quota, |_| {});
    let (first, second) = (cache(1), cache(0));
    let own = first.quote(&infy()).unwrap();
    assert!(!own.cached);
    wait_until_kept(&server, "quote:NSE:INFY");
    clock.advance(secs(3));
    let shared = second.quote(&infy()).unwrap();
    assert!(shared.cached);
    assert_eq!(shared.last_price, own.last_price);
    // 2 ms and a thousandth of its age are added, and for a task 2 ms more.
    let younger = own.fetched_at.unwrap().duration_since(shared.fetched_at.unwrap());
    let at_most = SignedDuration::from_millis(7);
    assert!((SignedDuration::from_millis(5)..=at_most).contains(&younger), "{younger:?}");
}

fn the_next_quote_is_not_the_one_that_was_seen<K: Kind>() {
    let Some(server) = RedisServer::start() else { return };
    let clock = ManualClock::auto_advancing();
    let quota = SharedQuota::redis(&server.url(), "a").unwrap().timeout(secs(5));
    let cache = |requests| K::sharing(broker(requests), &clock, &quota, |_| {});
    let (first, second) = (cache(2), cache(1));
    let mut seen: Option<Timestamp> = None;
    for turn in 0..3 {
        let reader = if turn == 1 { &second } else { &first };
        let quote = reader.quote_after(&infy(), seen).unwrap();
        assert!(quote.fetched_at > seen, "{turn}: {quote:?}");
        seen = quote.fetched_at;
    }
}

fn proxies_with_a_shared_quota_share_their_quotes_unless_that_is_off<K: Kind>() {
    let Some(server) = RedisServer::start() else { return };
    let proxy = |requests, shares| {
        let limits = lanes::ALL
            .into_iter()
            .fold(Limits::new(), |limits, lane| limits.lane(lane, Quota::per_second(100)));
        let limits = limits.budget(lanes::ORDERS, Quota::unlimited());
        // A machine that runs other tests may be slow.
        let quota = SharedQuota::redis(&server.url(), "b").unwrap().timeout(secs(5));
        K::paced_by(broker(requests), limits, quota, |cache| cache.share = shares)
    };
    let (first, second, alone) = (proxy(2, true), proxy(0, true), proxy(1, false));
    assert!(!first.quote(&infy()).unwrap().cached);
    assert!(second.quote(&infy()).unwrap().cached);
    assert_eq!(second.stats().shared, 1);
    assert!(second.stats().to_string().contains("from other processes 1"));
    assert!(!alone.quote(&infy()).unwrap().cached);
    let careful = first.with(CallOptions::new().max_age(Duration::ZERO));
    assert!(!careful.quote(&infy()).unwrap().cached);
}
