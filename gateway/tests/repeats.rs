//! A client's own repetition of a placement is not a second order. Two orders that are both meant are two.
// The helpers stand outside of the test functions, where clippy does not look for them.
#![allow(clippy::unwrap_used)]

mod support;

use std::thread;
use std::time::Duration;

use lanekeeper_gateway::Gateway;
use lanekeeper_simulator::SimulatedExchange;
use support::orders::{
    by, form, id, ids, is_repeated, ledger, open_exchange, open_gateway, place, place_with,
    placements, sent, tagged, wait_for_placements,
};
use support::{Answer, Client, start};

/// Starts an exchange at which the answers to the placements of these numbers come late, and a gateway.
fn with_slow(numbers: &str) -> (SimulatedExchange, Gateway) {
    let exchange = open_exchange(&[&format!("place=slow:600ms@{numbers}")]);
    let gateway = start(open_gateway(&exchange));
    (exchange, gateway)
}

/// Sends a placement and hangs up while it is under way. `number` counts the placements so far, with this one.
fn hang_up(
    exchange: &SimulatedExchange,
    gateway: &Gateway,
    lines: &str,
    form: &str,
    number: usize,
) {
    let mut client = Client::connect(gateway.address());
    client.begin("POST", "/orders/regular", lines, form);
    wait_for_placements(exchange, number);
}

#[test]
fn a_client_that_hung_up_gets_the_id_of_its_order_when_it_repeats_it() {
    let (exchange, gateway) = with_slow("1");
    hang_up(&exchange, &gateway, &by("alpha"), &form(1), 1);
    let answer = place(&gateway, &form(1));
    assert!(is_repeated(&answer), "{answer:?}");
    assert_eq!((vec![id(&answer)], placements(&exchange)), (ids(&exchange), 1));
    assert_eq!(sent(&answer), "yes");
    // It was told now, so the same once more is another order.
    let next = place(&gateway, &form(1));
    assert!(!is_repeated(&next), "{next:?}");
    assert_eq!(vec![id(&answer), id(&next)], ids(&exchange));
}

#[test]
fn a_client_that_was_told_that_the_outcome_is_unknown_gets_the_id_when_it_repeats_it() {
    let (exchange, gateway) = with_slow("1");
    let hasty = format!("{}x-lanekeeper-deadline: 400ms\r\n", by("alpha"));
    let first = place_with(&gateway, &hasty, &form(1));
    assert_eq!((first.status, sent(&first)), (503, "unknown"), "{}", first.text());
    assert!(first.text().contains("check the order book"), "{}", first.text());
    assert_eq!(first.header("retry-after"), None, "nothing invites the client to send it again");
    let answer = place(&gateway, &form(1));
    assert!(is_repeated(&answer), "{answer:?}");
    assert_eq!((vec![id(&answer)], placements(&exchange)), (ids(&exchange), 1));
}

#[test]
fn two_equal_orders_of_two_live_clients_are_two_orders() {
    let (exchange, gateway) = with_slow("1,2");
    let answers: Vec<Answer> = thread::scope(|scope| {
        let callers: Vec<_> = (0..2).map(|_| scope.spawn(|| place(&gateway, &form(1)))).collect();
        callers.into_iter().map(|caller| caller.join().unwrap()).collect()
    });
    assert!(!answers.iter().any(is_repeated), "{answers:?}");
    let mut placed: Vec<String> = answers.iter().map(id).collect();
    placed.sort();
    assert_eq!((placed, placements(&exchange)), (ids(&exchange), 2));
}

#[test]
fn two_equal_orders_one_after_the_other_are_two_orders() {
    let (exchange, gateway) = with_slow("9");
    let mut client = Client::connect(gateway.address());
    let placed: Vec<String> =
        (0..2).map(|_| id(&client.request("POST", "/orders/regular", &form(1)))).collect();
    assert_eq!((&placed, placed[0] == placed[1]), (&ids(&exchange), false));
}

#[test]
fn another_client_tag_path_or_field_is_no_repetition() {
    let (exchange, gateway) = with_slow("1");
    hang_up(&exchange, &gateway, &by("alpha"), &tagged(1, "one"), 1);
    let others = [
        place_with(&gateway, &by("beta"), &tagged(1, "two")),
        place(&gateway, &tagged(1, "three")),
        place(&gateway, &format!("{}&disclosed_quantity=1", tagged(1, "one"))),
    ];
    assert!(!others.iter().any(is_repeated), "{others:?}");
    let elsewhere =
        Client::connect(gateway.address()).request("POST", "/orders/amo", &tagged(1, "one"));
    assert!(!is_repeated(&elsewhere), "{elsewhere:?}");
    let same_in_another_order = format!("tag=one&{}", form(1));
    let answer = place(&gateway, &same_in_another_order);
    assert_eq!((is_repeated(&answer), id(&answer)), (true, ids(&exchange)[0].clone()));
}

#[test]
fn one_repetition_takes_one_placement_over() {
    let (exchange, gateway) = with_slow("1,2");
    let clients = [(); 2].map(|()| {
        let mut client = Client::connect(gateway.address());
        client.begin("POST", "/orders/regular", &by("alpha"), &form(1));
        client
    });
    wait_for_placements(&exchange, 2);
    drop(clients);
    let repeated = [(); 2].map(|()| place(&gateway, &form(1)));
    assert!(repeated.iter().all(is_repeated), "{repeated:?}");
    let mut placed: Vec<String> = repeated.iter().map(id).collect();
    placed.sort();
    assert_eq!((placed, placements(&exchange)), (ids(&exchange), 2));
    let third = place(&gateway, &form(1));
    assert_eq!((is_repeated(&third), placements(&exchange)), (false, 3));
}

#[test]
fn what_was_refused_is_sent_again() {
    // Refused by the broker, as too much for the account.
    let (exchange, gateway) = with_slow("9");
    let dear = form(1).replace("price=1", "price=1.03");
    for _ in 0..2 {
        let answer = place(&gateway, &dear);
        assert_eq!((answer.status, is_repeated(&answer)), (400, false), "{}", answer.text());
    }
    assert_eq!(placements(&exchange), 2);
    // Refused by the gateway, since the broker cannot be reached.
    let mut gone = open_exchange(&[]);
    let gateway = start(open_gateway(&gone));
    gone.shutdown();
    let hasty = format!("{}x-lanekeeper-deadline: 3\r\n", by("alpha"));
    for _ in 0..2 {
        let answer = place_with(&gateway, &hasty, &form(1));
        assert_eq!((answer.status, sent(&answer)), (502, "no"), "{}", answer.text());
    }
}

#[test]
fn an_answer_that_its_client_did_not_read_is_given_again() {
    let exchange = open_exchange(&[]);
    let gateway = start(open_gateway(&exchange));
    for number in 1..=50 {
        let mut client = Client::connect(gateway.address());
        client.begin("POST", "/orders/regular", &by("alpha"), &form(number));
        // It is here, and not read.
        assert!(client.stream().peek(&mut [0]).unwrap() > 0);
        drop(client);
        let answer = place(&gateway, &form(number));
        assert!(is_repeated(&answer), "{number}: {answer:?}");
    }
    assert_eq!(ledger(&exchange).len(), 50);
}

#[test]
fn what_a_client_sent_before_its_answer_does_not_show_that_it_read_that() {
    let exchange = open_exchange(&["place=slow:300ms@1"]);
    let gateway = start(open_gateway(&exchange));
    let mut client = Client::connect(gateway.address());
    let (lines, body) = (by("alpha"), form(1));
    let order = format!(
        "POST /orders/regular HTTP/1.1\r\nhost: 127.0.0.1\r\n{lines}content-type: \
         application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let pad = "x".repeat(14_000);
    let next = format!(
        "GET /orders HTTP/1.1\r\nhost: 127.0.0.1\r\n{lines}x-pad: {pad}\r\nx-pad-2: {pad}\r\n\r\n"
    );
    client.send([order.as_bytes(), next.as_bytes()].concat());
    // Its answer is here, and not read.
    assert!(client.stream().peek(&mut [0]).unwrap() > 0);
    drop(client);
    let answer = place(&gateway, &form(1));
    assert!(is_repeated(&answer), "{answer:?}");
    assert_eq!(placements(&exchange), 1);
}

#[test]
fn a_client_that_gives_up_at_the_moment_of_its_answer_makes_no_second_order() {
    let exchange = open_exchange(&["place=slow:20ms"]);
    let gateway = start(open_gateway(&exchange));
    thread::scope(|scope| {
        for worker in 0..4_u64 {
            let gateway = &gateway;
            scope.spawn(move || {
                for attempt in 0..60 {
                    let number = 1 + worker * 1000 + attempt;
                    // Earlier than the answer, later, and at any moment in between.
                    let mut patience = Duration::from_micros(20_000 + attempt * 150);
                    loop {
                        let mut client = Client::connect(gateway.address());
                        client.begin("POST", "/orders/regular", &by("alpha"), &form(number));
                        client.stream().set_read_timeout(Some(patience)).unwrap();
                        match client.try_read("POST") {
                            Some(answer) => break drop(id(&answer)),
                            None => patience = Duration::from_secs(60),
                        }
                    }
                }
            });
        }
    });
    assert_eq!(ledger(&exchange).len(), 240);
}

#[test]
fn with_a_key_the_answer_is_the_same_however_often() {
    let (exchange, gateway) = with_slow("1");
    let keyed = format!("{}idempotency-key: k1\r\n", by("alpha"));
    hang_up(&exchange, &gateway, &keyed, &form(1), 1);
    let answers = [(); 3].map(|()| place_with(&gateway, &keyed, &form(1)));
    assert!(answers.iter().all(is_repeated), "{answers:?}");
    assert!(answers.iter().all(|answer| vec![id(answer)] == ids(&exchange)));
    // Delivery at once, too.
    let keyed = format!("{}idempotency-key: k2\r\n", by("alpha"));
    let [first, second] = [(); 2].map(|()| place_with(&gateway, &keyed, &form(2)));
    assert_eq!((is_repeated(&first), is_repeated(&second)), (false, true));
    assert_eq!((id(&first), first.body.clone()), (id(&second), second.body.clone()));
    assert_eq!(placements(&exchange), 2);
}

#[test]
fn of_several_at_once_with_one_key_one_is_sent() {
    let (exchange, gateway) = with_slow("1,2,3,4");
    let keyed = format!("{}idempotency-key: k1\r\n", by("alpha"));
    let answers: Vec<Answer> = thread::scope(|scope| {
        let callers: Vec<_> =
            (0..4).map(|_| scope.spawn(|| place_with(&gateway, &keyed, &form(1)))).collect();
        callers.into_iter().map(|caller| caller.join().unwrap()).collect()
    });
    assert!(answers.iter().all(|answer| vec![id(answer)] == ids(&exchange)), "{answers:?}");
    assert_eq!(answers.iter().filter(|answer| is_repeated(answer)).count(), 3);
}

#[test]
fn another_order_under_a_key_that_was_used_is_refused() {
    let (exchange, gateway) = with_slow("9");
    let keyed = |client| format!("{}idempotency-key: k1\r\n", by(client));
    let first = place_with(&gateway, &keyed("alpha"), &form(1));
    let other = place_with(&gateway, &keyed("alpha"), &form(2));
    assert_eq!((other.status, sent(&other)), (422, "no"), "{}", other.text());
    assert_eq!(other.json()["error_type"], "InputException");
    // Another client has keys of its own.
    let of_beta = place_with(&gateway, &keyed("beta"), &form(2));
    assert_eq!(vec![id(&first), id(&of_beta)], ids(&exchange));
    // What was refused leaves the key free.
    let keyed = format!("{}idempotency-key: k2\r\n", by("alpha"));
    let dear = form(3).replace("price=1", "price=1.03");
    assert_eq!(place_with(&gateway, &keyed, &dear).status, 400);
    assert!(!is_repeated(&place_with(&gateway, &keyed, &form(3))));
}

#[test]
fn a_key_that_cannot_be_kept_is_refused() {
    let exchange = open_exchange(&[]);
    let mut config = open_gateway(&exchange);
    let gateway = start(config.clone());
    let lines = |key: &str| format!("{}idempotency-key: {key}\r\n", by("alpha"));
    let long = "k".repeat(201);
    for (key, form) in [("", form(1)), (&long, form(1)), ("k", "nonsense=1".to_owned())] {
        let answer = place_with(&gateway, &lines(key), &form);
        assert_eq!((answer.status, sent(&answer)), (400, "no"), "{key} {}", answer.text());
    }
    support::orders::account(&mut config).guard = false;
    let gateway = start(config);
    assert_eq!(place_with(&gateway, &lines("k"), &form(1)).status, 400);
    assert_eq!(placements(&exchange), 0);
}
