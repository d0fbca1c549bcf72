//! A client's time: what cannot be answered in it is refused at once, and what was refused is never sent.
// The helpers stand outside of the test functions, where clippy does not look for them.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use lanekeeper::LaneConfig;
use lanekeeper::broker::{OrderStatus, lanes};
use lanekeeper::quota::Quota;
use lanekeeper::resilience::BreakerPolicy;
use lanekeeper_gateway::Gateway;
use lanekeeper_gateway::auth::NewKey;
use lanekeeper_gateway::config::GatewayConfig;
use lanekeeper_simulator::SimulatedExchange;
use support::orders::{
    account, by, faults, form, id, lane_status, ledger, open_exchange, open_gateway, open_lane,
    place, place_with, placements, sent, tagged, wait_for_placements, wait_until,
};
use support::{Answer, Client, start};

/// Returns the settings of a gateway whose orders go through this lane.
fn through(exchange: &SimulatedExchange, lane: LaneConfig) -> GatewayConfig {
    let mut config = open_gateway(exchange);
    account(&mut config).lanes = vec![(lanes::TRANSACTIONAL.to_owned(), lane)];
    config
}

fn within(time: &str) -> String {
    format!("{}x-lanekeeper-deadline: {time}\r\n", by("alpha"))
}

/// Places orders of the quantities 1 to `count`, all at once. Returns the answers, and how long each took.
fn place_all(gateway: &Gateway, lines: &str, count: u64) -> Vec<(u64, Answer, Duration)> {
    thread::scope(|scope| {
        let callers: Vec<_> = (1..=count)
            .map(|number| {
                scope.spawn(move || {
                    let since = Instant::now();
                    let answer = place_with(gateway, lines, &tagged(number, &format!("t{number}")));
                    (number, answer, since.elapsed())
                })
            })
            .collect();
        callers.into_iter().map(|caller| caller.join().unwrap()).collect()
    })
}

/// Checks answers against the ledger: what was told to be unsent is not there, and what was told to be placed is there
/// under that id. Returns how many were placed, refused and of unknown outcome.
fn check<'a>(
    exchange: &SimulatedExchange,
    answers: impl IntoIterator<Item = (u64, &'a Answer)>,
) -> (usize, usize, usize) {
    let mut ledger = ledger(exchange);
    let (mut placed, mut refused, mut unknown) = (0, 0, 0);
    for (number, answer) in answers {
        let booked = ledger.remove(&number);
        match (answer.status, sent(answer)) {
            (200, "yes") => {
                assert_eq!(booked.unwrap().id.as_str(), id(answer), "{number}");
                placed += 1;
            }
            (429, "no") => {
                assert!(booked.is_none(), "{number} was told to be unsent: {booked:?}");
                assert!(answer.header("retry-after").is_some(), "{answer:?}");
                refused += 1;
            }
            (503, "unknown") => {
                assert!(answer.header("retry-after").is_none(), "{answer:?}");
                assert!(answer.text().contains("check the order book"), "{}", answer.text());
                unknown += 1;
            }
            _ => panic!("{number}: {} {}", answer.status, answer.text()),
        }
    }
    assert!(ledger.is_empty(), "in the ledger, and no client was answered: {ledger:?}");
    (placed, refused, unknown)
}

#[test]
fn of_a_queue_longer_than_the_clients_time_the_rest_is_refused_at_once_with_its_wait() {
    let exchange = open_exchange(&[]);
    let mut config = through(&exchange, LaneConfig::new(Quota::per_second(10)));
    config.door.client_timeout = Duration::from_secs(6);
    let gateway = start(config);
    let answers = place_all(&gateway, &by("alpha"), 200);
    assert!(gateway.drain(Duration::from_secs(30)));
    let (placed, refused, unknown) =
        check(&exchange, answers.iter().map(|(number, answer, _)| (*number, answer)));
    println!("{placed} placed, {refused} refused, {unknown} unknown");
    assert!(placed >= 40 && refused >= 120 && unknown <= 20, "{placed}, {refused}, {unknown}");
    let is_prompt = |(_, answer, took): &&(u64, Answer, Duration)| {
        let wait = answer.header("retry-after").and_then(|wait| wait.parse().ok());
        wait.is_some_and(|wait: u64| (4..=25).contains(&wait)) && *took < Duration::from_secs(4)
    };
    // A call at the end of the queue may be refused only when its time is over, if this machine is slow.
    let prompt = answers.iter().filter(|it| it.1.status == 429).filter(is_prompt).count();
    assert!(prompt * 10 >= refused * 9, "{prompt} of {refused} were refused at once");
}

#[test]
fn nothing_that_was_told_to_be_unsent_is_sent_whatever_the_exchange_does() {
    // Answers take far longer than the lane expects at first.
    let exchange =
        open_exchange(&["place=slow:700ms@40%", "place=429:1s@5%", "place=hang-after@3%"]);
    let lane =
        LaneConfig::new(Quota::per_second(20)).in_flight(4).breaker(BreakerPolicy::disabled());
    let mut config = through(&exchange, lane);
    config.door.client_timeout = Duration::from_millis(1200);
    let gateway = start(config);
    let mut all = Vec::new();
    for _ in 0..3 {
        let offset = all.len() as u64;
        let answers = thread::scope(|scope| {
            let gateway = &gateway;
            let callers: Vec<_> = (1..=40)
                .map(|number| {
                    let number = offset + number;
                    scope.spawn(move || (number, place(gateway, &form(number))))
                })
                .collect();
            callers.into_iter().map(|caller| caller.join().unwrap()).collect::<Vec<_>>()
        });
        all.extend(answers);
    }
    gateway.drain(Duration::from_secs(30));
    let counts = check(&exchange, all.iter().map(|(number, answer)| (*number, answer)));
    println!("placed, refused and unknown: {counts:?}");
    assert!(counts.0 > 5 && counts.1 > 5 && counts.2 > 0, "{counts:?}");
}

#[test]
fn a_client_that_repeats_by_itself_never_makes_a_second_order() {
    let exchange =
        open_exchange(&["place=slow:600ms@30%", "place=hang-after@3%", "place=reset-after@5%"]);
    let lane =
        LaneConfig::new(Quota::per_second(30)).in_flight(8).breaker(BreakerPolicy::disabled());
    let mut config = through(&exchange, lane);
    config.door.client_timeout = Duration::from_millis(700);
    account(&mut config).upstream_timeout = Duration::from_secs(1);
    let gateway = start(config);
    let (next, placed) = (AtomicU64::new(1), Mutex::new(HashMap::new()));
    let tries = Mutex::new(HashMap::<&str, u64>::new());
    thread::scope(|scope| {
        for caller in 0..24 {
            let (gateway, next, placed, tries) = (&gateway, &next, &placed, &tries);
            scope.spawn(move || {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number > 100 {
                        return;
                    }
                    let form = tagged(number, &format!("t{number}"));
                    let mut last = None;
                    for attempt in 0.. {
                        assert!(attempt < 50_000, "order {number} is never placed: {last:?}");
                        let mut client = Client::connect(gateway.address());
                        client.begin("POST", "/orders/regular", &by("alpha"), &form);
                        // Some clients hang up, sooner or later, and come back at once.
                        if (attempt + number + caller) % 3 == 0 {
                            let patience = Duration::from_millis(1 + 97 * (number % 8));
                            client.stream().set_read_timeout(Some(patience)).unwrap();
                        }
                        let answer = client.try_read("POST");
                        let what = match &answer {
                            None => "hung up",
                            Some(answer) if answer.status == 200 => "placed",
                            Some(answer) if answer.status == 429 => "refused",
                            Some(answer) if answer.status == 503 => "unknown",
                            Some(answer) => panic!("{} {}", answer.status, answer.text()),
                        };
                        *tries.lock().unwrap().entry(what).or_default() += 1;
                        last = answer.as_ref().map(|answer| (answer.status, answer.text()));
                        if what == "refused" {
                            thread::sleep(Duration::from_millis(5));
                        }
                        if what == "placed" {
                            placed.lock().unwrap().insert(number, id(&answer.unwrap()));
                            break;
                        }
                    }
                }
            });
        }
    });
    gateway.drain(Duration::from_secs(30));
    let (ledger, placed) = (ledger(&exchange), placed.into_inner().unwrap());
    println!("{:?}", tries.lock().unwrap());
    let booked: HashMap<u64, String> =
        ledger.into_iter().map(|(number, order)| (number, order.id.to_string())).collect();
    assert_eq!(booked, placed);
    assert_eq!(placed.len(), 100);
}

#[test]
fn what_is_queued_when_its_client_hangs_up_is_never_sent() {
    let exchange = open_exchange(&[]);
    let gateway = start(through(&exchange, LaneConfig::new(Quota::new(1, Duration::from_secs(3)))));
    id(&place(&gateway, &form(1)));
    let mut client = Client::connect(gateway.address());
    client.begin("POST", "/orders/regular", &by("alpha"), &form(2));
    wait_until("it is queued", || lane_status(&gateway)["queued"] == 1);
    drop(client);
    wait_until("it is taken back", || lane_status(&gateway)["queued"] == 0);
    // Its repetition is an order of its own.
    let answer = place(&gateway, &form(2));
    assert!(!support::orders::is_repeated(&answer), "{answer:?}");
    assert!(gateway.drain(Duration::from_secs(30)));
    assert_eq!(placements(&exchange), 2);
}

#[test]
fn an_exit_goes_out_even_if_its_client_does_not_wait() {
    let exchange = open_exchange(&[]);
    let gateway = start(open_gateway(&exchange));
    let orders: Vec<String> = (1..=20).map(|number| id(&place(&gateway, &form(number)))).collect();
    for order in &orders {
        let mut client = Client::connect(gateway.address());
        client.begin("DELETE", &format!("/orders/regular/{order}"), &by("alpha"), "");
    }
    wait_until("all are cancelled", || orders.iter().all(|order| is_cancelled(&exchange, order)));
}

#[test]
fn what_is_under_way_when_its_client_hangs_up_goes_on_and_is_counted() {
    let exchange = open_exchange(&["place=slow:400ms@1"]);
    let gateway = start(open_gateway(&exchange));
    let mut client = Client::connect(gateway.address());
    client.begin("POST", "/orders/regular", &by("alpha"), &form(1));
    wait_for_placements(&exchange, 1);
    drop(client);
    let placed = || -> serde_json::Value {
        let status: serde_json::Value = serde_json::from_str(&gateway.status_json()).unwrap();
        status["accounts"][0]["orders"]["placed"].clone()
    };
    wait_until("the guard has noted it", || placed() == 1);
    assert_eq!(ledger(&exchange).len(), 1);
}

#[test]
fn a_client_says_how_long_it_waits() {
    let exchange = open_exchange(&[]);
    let gateway = start(through(&exchange, LaneConfig::new(Quota::new(1, Duration::from_secs(2)))));
    id(&place(&gateway, &form(1)));
    let hasty = place_with(&gateway, &within("500ms"), &form(2));
    assert_eq!((hasty.status, sent(&hasty)), (429, "no"), "{}", hasty.text());
    assert_eq!(hasty.header("retry-after"), Some("2"));
    assert_eq!(hasty.json()["error_type"], "NetworkException");
    id(&place_with(&gateway, &within("20"), &form(3)));
    for (name, value) in
        [("deadline", "soon"), ("deadline", "-1"), ("priority", "0"), ("priority", "x")]
    {
        let lines = format!("{}x-lanekeeper-{name}: {value}\r\n", by("alpha"));
        let answer = place_with(&gateway, &lines, &form(4));
        assert_eq!((answer.status, sent(&answer)), (400, "no"), "{name}: {value}");
    }
    assert_eq!(placements(&exchange), 2);
}

#[test]
fn a_client_says_which_of_its_orders_goes_first() {
    let exchange = open_exchange(&[]);
    let key = NewKey::generate().unwrap();
    let mut config = through(&exchange, LaneConfig::new(Quota::new(1, Duration::from_millis(200))));
    config.admin_key = Some(key.hash.to_string());
    let gateway = start(config);
    let set = |action: &str| {
        let lines = format!(
            "authorization: Bearer admin:{}\r\nx-lanekeeper-request: 1\r\ncontent-length: 0\r\n",
            key.secret
        );
        let target = format!("/_lanekeeper/accounts/main/lanes/transactional/{action}");
        let answer = Client::connect(gateway.address()).request_with("POST", &target, &lines, "");
        assert_eq!(answer.status, 200, "{}", answer.text());
    };
    set("pause");
    let with = |priority: u8| format!("{}x-lanekeeper-priority: {priority}\r\n", within("60"));
    thread::scope(|scope| {
        let mut callers = Vec::new();
        for (number, priority) in [(2, 9), (3, 4), (4, 2), (5, 5)] {
            let (gateway, lines) = (&gateway, with(priority));
            callers.push(scope.spawn(move || id(&place_with(gateway, &lines, &form(number)))));
            let queued = callers.len();
            wait_until("it is queued", || lane_status(gateway)["queued"] == queued);
        }
        set("resume");
        callers.into_iter().for_each(|caller| drop(caller.join().unwrap()));
    });
    let order: Vec<String> =
        exchange.orders().iter().map(|order| order.quantity.to_string()).collect();
    assert_eq!(order, ["4", "3", "5", "2"]);
}

/// Places a resting order, which can be cancelled.
fn resting(gateway: &Gateway) -> String {
    id(&place(gateway, &form(1)))
}

fn cancel(gateway: &Gateway, order: &str) -> Answer {
    Client::connect(gateway.address()).request("DELETE", &format!("/orders/regular/{order}"), "")
}

fn is_cancelled(exchange: &SimulatedExchange, order: &str) -> bool {
    exchange
        .orders()
        .iter()
        .any(|it| it.id.as_str() == order && it.status == OrderStatus::Cancelled)
}

#[test]
fn an_exit_passes_five_hundred_placements_that_wait() {
    let exchange = open_exchange(&[]);
    let gateway = start(through(&exchange, LaneConfig::new(Quota::per_second(5)).queue(512)));
    let order = resting(&gateway);
    let patient = within("60");
    let mut waiting: Vec<Client> = (0..500)
        .map(|number| {
            let mut client = Client::connect(gateway.address());
            let form = tagged(100 + number, &format!("t{number}"));
            client.begin("POST", "/orders/regular", &patient, &form);
            client
        })
        .collect();
    // All within 60 s: 300 wait, and the others are refused.
    wait_until("many are queued", || lane_status(&gateway)["queued"].as_u64() >= Some(250));
    assert_eq!(id(&cancel(&gateway, &order)), order);
    let urgent = format!("{}x-lanekeeper-priority: 1\r\n", by("beta"));
    id(&place_with(&gateway, &urgent, &form(2)));
    let status = lane_status(&gateway);
    assert!(status["queued"].as_u64() >= Some(150), "they still wait: {status}");
    assert!(is_cancelled(&exchange, &order));
    assert!(ledger(&exchange).contains_key(&2));
    waiting.clear();
    wait_until("what waited is taken back", || lane_status(&gateway)["queued"] == 0);
}

#[test]
fn an_exit_finds_a_thread_however_many_placements_hold_one() {
    // Each placement waits for its turn on a thread. These are more than a gateway has for them.
    if let Err(why) = allow_open_files(4096) {
        eprintln!("skipped: {why}");
        return;
    }
    let exchange = open_exchange(&[]);
    let mut config = through(&exchange, LaneConfig::new(Quota::per_second(3)).queue(8192));
    config.door.client_timeout = Duration::from_secs(600);
    let gateway = start(config);
    let order = resting(&gateway);
    let patient = by("alpha");
    let waiting: Vec<Client> = (0..1300)
        .map(|number| {
            let mut client = Client::connect(gateway.address());
            client.begin("POST", "/orders/regular", &patient, &form(10_000 + number));
            client
        })
        .collect();
    wait_until("they hold all threads", || lane_status(&gateway)["queued"].as_u64() >= Some(1000));
    assert_eq!(id(&cancel(&gateway, &order)), order);
    assert!(is_cancelled(&exchange, &order));
    assert!(ledger(&exchange).len() < 600, "most of the others still wait");
    drop(waiting);
}

/// Lets this process open so many files.
fn allow_open_files(files: u32) -> Result<(), String> {
    let pid = std::process::id().to_string();
    let raised = std::process::Command::new("prlimit")
        .args(["--pid", &pid, &format!("--nofile={files}:")])
        .status();
    match raised {
        Ok(status) if status.success() => Ok(()),
        _ => Err(format!("`prlimit` cannot let this process open {files} files")),
    }
}

#[test]
fn an_exit_passes_a_full_queue() {
    let exchange = open_exchange(&[]);
    let gateway =
        start(through(&exchange, LaneConfig::new(Quota::new(1, Duration::from_secs(2))).queue(4)));
    let order = resting(&gateway);
    let patient = within("30");
    let waiting: Vec<Client> = (0..20)
        .map(|number| {
            let mut client = Client::connect(gateway.address());
            client.begin("POST", "/orders/regular", &patient, &form(100 + number));
            client
        })
        .collect();
    wait_until("the queue is full", || lane_status(&gateway)["queued"].as_u64() >= Some(3));
    assert_eq!(id(&cancel(&gateway, &order)), order);
    let urgent = format!("{}x-lanekeeper-priority: 1\r\n", by("beta"));
    id(&place_with(&gateway, &urgent, &form(2)));
    drop(waiting);
}

#[test]
fn an_exit_passes_an_open_breaker() {
    let exchange = open_exchange(&[]);
    let mut config = through(&exchange, open_lane().breaker(BreakerPolicy::default()));
    account(&mut config).upstream_timeout = Duration::from_millis(200);
    config.door.client_timeout = Duration::from_secs(2);
    let gateway = start(config);
    let order = resting(&gateway);
    exchange.set_faults(&faults(1, &["writes=hang-before"])).unwrap();
    let mut number = 100;
    wait_until("the breaker is open", || {
        number += 1;
        let answer = place_with(&gateway, &within("300ms"), &form(number));
        let is_open = answer.text().contains("silent too often");
        assert!(!is_open || (answer.status, sent(&answer)) == (429, "no"), "{}", answer.text());
        is_open
    });
    exchange.set_faults(&faults(1, &[])).unwrap();
    assert_eq!(id(&cancel(&gateway, &order)), order);
    assert!(is_cancelled(&exchange, &order));
    let booked: HashSet<u64> = ledger(&exchange).into_keys().collect();
    assert_eq!(booked, HashSet::from([1]));
}
