//! Shows that the check can fail: it detects a client that tries three times.

use std::thread;

use lanekeeper::broker::{Broker, OrderRequest, OrderTags};
use lanekeeper::cache::QuoteCache;

use super::check::{Answer, check};
use super::over_http::{self, ON_WRITES, exchange, faults};
use super::{in_process, shaky};

/// A blind retry: the most expensive bug in the field.
fn three_times(broker: &impl Broker, order: &OrderRequest) -> Answer {
    let mut answer = broker.place_order(order);
    for _ in 0..2 {
        if answer.is_err() {
            answer = broker.place_order(order);
        }
    }
    answer
}

#[test]
fn trying_three_times_in_process_shows_duplicates() {
    for seed in 0..10 {
        let broker = shaky::Shaky::new(OrderTags::echoed(20));
        in_process::bad_day(&broker, seed);
        let answers: Vec<(u64, Answer)> = (1..=100)
            .map(|number| (number, three_times(&broker, &tagged(shaky::order(number as usize)))))
            .collect();
        let wrong = check(100, &answers, &in_process::ledger(&broker)).unwrap_err();
        assert!(wrong.contains("a second order with the tag of"), "seed {seed}: {wrong}");
    }
}

#[test]
fn trying_three_times_over_http_shows_duplicates() {
    let exchange = exchange(faults(1, &ON_WRITES));
    let broker = QuoteCache::new(over_http::proxy(&exchange, over_http::lane()));
    let answers = thread::scope(|scope| {
        let callers: Vec<_> = (0..20)
            .map(|caller| {
                let broker = &broker;
                scope.spawn(move || {
                    let numbers = caller * 10 + 1..=caller * 10 + 10;
                    let place = |number| three_times(broker, &tagged(over_http::order(number)));
                    numbers.map(|number| (number, place(number))).collect::<Vec<_>>()
                })
            })
            .collect();
        callers.into_iter().flat_map(|caller| caller.join().unwrap()).collect::<Vec<_>>()
    });
    let wrong = check(200, &answers, &over_http::ledger(&exchange)).unwrap_err();
    assert!(wrong.contains("a second order with the tag of"), "{wrong}");
}

fn tagged(order: OrderRequest) -> OrderRequest {
    let tag = format!("naive{}", order.quantity);
    order.tag(tag)
}
