//! Settings from a file: which of several sources takes precedence, what is refused, and that a secret is never
//! repeated.
#![cfg(all(feature = "config", feature = "kite", feature = "mock"))]
// The helpers stand outside of the test functions, where clippy does not look for them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Duration;

use lanekeeper::Status;
use lanekeeper::broker::{BrokerProxy, MockBroker, lanes};
use lanekeeper::lane::{LaneConfig, OverflowPolicy};
use lanekeeper::proxy::ProxyConfig;
use lanekeeper::quota::{Budget, Reserve};
use lanekeeper::resilience::BreakerMode;
use lanekeeper::{
    BreakerPolicy, BuildError, Config, Kite, Limits, Quota, RetryPolicy, ThrottlePolicy,
};

/// A broker that documents its limits and is never called.
fn broker() -> Kite {
    Kite::builder().api_key("key").access_token("token").build().unwrap()
}

fn config(toml: &str) -> Config {
    Config::from_toml(toml).unwrap_or_else(|error| panic!("{error}"))
}

fn refusal(toml: &str) -> String {
    Config::from_toml(toml).expect_err(toml).to_string()
}

fn quota(status: &Status, lane: &str) -> String {
    status.lane(lane).expect("the lane is there").quota.clone()
}

fn windows(status: &Status) -> Vec<String> {
    let orders = status.budget(lanes::ORDERS).expect("the budget is there");
    orders.windows.iter().map(|window| window.window.clone()).collect()
}

#[test]
fn what_a_file_does_not_say_stays_as_the_broker_documents_it() {
    let config = config("[lanes.quote]\nqueue = 7\n[budgets.orders]\nreserve = 20");
    let status = BrokerProxy::builder(broker()).config(&config).build().unwrap().status();
    assert_eq!(quota(&status, lanes::QUOTE), "1/s");
    assert_eq!(status.lane(lanes::QUOTE).unwrap().capacity, 7);
    assert_eq!(status.lane(lanes::HISTORICAL).unwrap().capacity, 1024);
    assert_eq!(windows(&status), ["400/min", "5000/day from midnight +05:30"]);
}

#[test]
fn a_preset_stands_in_for_what_the_broker_documents_and_the_file_goes_over_it() {
    let file = config("preset = 'alpaca'\n[lanes]\nquote = '2/s'\n[budgets]\norders = '9/h'");
    let status = BrokerProxy::builder(broker()).config(&file).build().unwrap().status();
    assert_eq!(quota(&status, lanes::TRANSACTIONAL), "200/min");
    assert_eq!(quota(&status, lanes::QUOTE), "2/s");
    assert_eq!(windows(&status), ["9/h"]);

    // Limits set in code take precedence over a preset.
    let limits = Limits::new().lane(lanes::HISTORICAL, Quota::per_second(5));
    let proxy = BrokerProxy::builder(broker()).limits(limits).config(&file).build().unwrap();
    assert_eq!(quota(&proxy.status(), lanes::HISTORICAL), "5/s");
    assert_eq!(quota(&proxy.status(), lanes::TRANSACTIONAL), "200/min");
}

#[test]
fn what_is_configured_later_counts() {
    let file = config("[lanes.quote]\nquota = '2/s'\n[budgets]\norders = '9/h'");
    let lane = || LaneConfig::new(Quota::per_second(3)).queue(7);
    let budget = || Budget::new(Quota::per_second(3)).reserve(1);

    let proxy = BrokerProxy::builder(broker()).config(&file).quote(lane()).orders(budget());
    let status = proxy.build().unwrap().status();
    assert_eq!(
        (quota(&status, lanes::QUOTE).as_str(), windows(&status)),
        ("3/s", vec!["3/s".into()])
    );

    let proxy = BrokerProxy::builder(broker()).quote(lane()).orders(budget()).config(&file);
    let status = proxy.build().unwrap().status();
    assert_eq!(
        (quota(&status, lanes::QUOTE).as_str(), windows(&status)),
        ("2/s", vec!["9/h".into()])
    );
    // Of the lane in the code, the file changes only the quota.
    assert_eq!(status.lane(lanes::QUOTE).unwrap().capacity, 7);

    // Of the lane in the file, the code changes what it names.
    let change = LaneConfig::default().queue(5);
    let proxy = BrokerProxy::builder(broker()).config(&file).quote(change).build().unwrap();
    let quotes = proxy.status().lane(lanes::QUOTE).unwrap().clone();
    assert_eq!((quotes.quota.as_str(), quotes.capacity), ("2/s", 5));

    let second = config("[lanes.quote]\nqueue = 9");
    let proxy = BrokerProxy::builder(broker()).config(&file).config(&second).build().unwrap();
    let quotes = proxy.status().lane(lanes::QUOTE).unwrap().clone();
    assert_eq!((quotes.quota.as_str(), quotes.capacity), ("2/s", 9));
}

#[test]
fn a_second_file_changes_what_it_names() {
    let (first, second) = (config("preset = 'alpaca'"), config("lanes.quote = '2/s'"));
    let proxy = BrokerProxy::builder(broker()).config(&first).config(&second).build().unwrap();
    assert_eq!(quota(&proxy.status(), lanes::HISTORICAL), "50/min");
    assert_eq!(quota(&proxy.status(), lanes::QUOTE), "2/s");
}

#[test]
fn a_lane_that_the_proxy_does_not_have_is_refused() {
    let build = |file: &Config| BrokerProxy::builder(broker()).config(file).build().unwrap_err();
    let file = config("lanes.qoute = '1/s'");
    let error = build(&file);
    assert!(matches!(&error, BuildError::Unknown { what: "lane", name, .. } if name == "qoute"));
    assert!(error.to_string().contains("it has: transactional, quote, historical"), "{error}");
    let error = build(&config("budgets.order = '1/s'"));
    assert!(matches!(&error, BuildError::Unknown { what: "budget", name, .. } if name == "order"));

    let names = file.check_names(&lanes::ALL, &[lanes::ORDERS]).unwrap_err();
    assert!(names.to_string().starts_with("lanes.qoute: there is no lane of this name"), "{names}");
    assert_eq!(file.check_names(&["qoute"], &[]), Ok(()));
    // With a preset the lanes are known, so the file alone shows the mistake.
    assert!(
        refusal("preset = 'kite'\n[lanes]\nqoute = '1/s'").starts_with("line 3: lanes.qoute: ")
    );
}

#[lanekeeper::proxy]
trait Weather: Send + Sync {
    #[lane(general, read)]
    fn forecast(&self, days: u8) -> Result<u32, lanekeeper::LaneError>;
    #[lane(alerts, write, budget = sms)]
    #[allow(dead_code)] // The trait needs it; the test does not.
    fn alert(&self) -> Result<(), lanekeeper::LaneError>;
}

struct Sunny;

impl Weather for Sunny {
    fn forecast(&self, days: u8) -> Result<u32, lanekeeper::LaneError> {
        Ok(days.into())
    }

    fn alert(&self) -> Result<(), lanekeeper::LaneError> {
        Ok(())
    }
}

#[test]
fn a_custom_trait_takes_a_file_too() {
    let file = "lanes: { general: 10/s, alerts: { quota: 20/min, in_flight: 2 } }\nbudgets: { sms: 500/day }";
    let config = Config::from_yaml(file).unwrap();
    let weather = WeatherProxy::builder(Sunny).config(&config).build().unwrap();
    assert_eq!(weather.forecast(3), Ok(3));
    let status = weather.status();
    assert_eq!(quota(&status, "alerts"), "20/min");
    assert_eq!(status.lane("alerts").unwrap().max_in_flight, 2);
    assert_eq!(status.budget("sms").unwrap().windows[0].window, "500/day");
    // Half a file is not enough, and the error names what is missing.
    let half = Config::from_yaml("lanes: { general: 10/s }").unwrap();
    let error = WeatherProxy::builder(Sunny).config(&half).build().unwrap_err();
    assert!(matches!(error, BuildError::NoQuota { lane: "alerts", .. }), "{error}");
}

#[test]
fn every_policy_of_a_lane_can_be_set() {
    let file = config(
        "[lanes.x]
        when_full = 'block'
        aging = 'off'
        user_interval = '20ms'
        retry = { attempts = 3, base_delay = '50ms', budget_floor = 0 }
        throttle = { keep_percent = 50, default_pause = '2s' }
        [lanes.x.breaker]
        failures = 'off'
        mode = 'forced_closed'
        slow = { after = '3s', percent = 80 }
        [lanes.y]
        retry = false
        breaker = 'off'
        [budgets.z]
        reserve = 3",
    );
    let retry =
        RetryPolicy::default().attempts(3).base_delay(Duration::from_millis(50)).budget_floor(0);
    let pause = Duration::from_secs(2);
    let throttle = ThrottlePolicy::default().keep_percent(50).default_pause(pause);
    let breaker = BreakerPolicy::default().failures(None).mode(BreakerMode::ForcedClosed);
    let x = LaneConfig::default()
        .when_full(OverflowPolicy::Block)
        .aging(None)
        .user_interval(Duration::from_millis(20))
        .retry(retry)
        .throttle(throttle)
        .breaker(breaker.slow(Duration::from_secs(3), 80));
    let y = LaneConfig::default().retry(RetryPolicy::none()).breaker(BreakerPolicy::disabled());
    let same = ProxyConfig::new().lane("x", x).lane("y", y).reserve("z", Reserve::Slots(3));
    assert_eq!(file.settings(), &same);
}

#[test]
fn a_reserve_is_a_number_or_a_share() {
    let reserve = |text: &str| config(text).settings().budgets().next().unwrap().2;
    assert_eq!(reserve("budgets.x.reserve = '5%'"), Some(Reserve::Percent(5)));
    assert_eq!(reserve("budgets.x.reserve = '10 %'"), Some(Reserve::Percent(10)));
    assert_eq!(reserve("budgets.x.reserve = 5"), Some(Reserve::Slots(5)));
    for odd in ["'5'", "'five%'", "'-1%'", "'%'", "5.5", "true"] {
        let text = refusal(&format!("budgets.x.reserve = {odd}"));
        assert!(text.contains("budgets.x.reserve"), "{text}");
    }
    let text = refusal("preset = 'kite'\n[budgets.orders]\nreserve = '51%'");
    assert!(text.contains("a reserve of 51 % leaves too little"), "{text}");
    // The preset's reserve is part of its own quota.
    assert!(Config::from_toml("preset = 'kite'\nbudgets.orders = 'unlimited'").is_ok());
}

#[test]
fn the_cache_and_the_users_are_set_up() {
    use lanekeeper::broker::{Broker, Instrument, Quote};
    use lanekeeper::{ManualClock, OrderGuard};

    let mut file = String::from(
        "preset = 'kite'\n[cache]\nttl = '1min'\n[users.alpha]\nmax_age = '0s'\n\
         [guard]\nsettle_time = '3s'\ncaller_tags = 'prefix'\n",
    );
    if cfg!(feature = "journal") {
        file += "journal = 'orders.journal'";
    }
    let config = config(&file);
    let mut mock = MockBroker::new();
    mock.expect_quotes().times(2).returning(|instruments| {
        Ok(instruments.iter().map(|it| (it.clone(), Quote::new(it.clone(), 1500))).collect())
    });
    let clock = ManualClock::auto_advancing();
    let cached = BrokerProxy::builder(mock).config(&config).clock(clock.clone());
    let cached = cached.quote_cache(&config).build().unwrap();
    let infy = Instrument::new("NSE", "INFY");
    cached.ltp(&infy).unwrap();
    clock.advance(Duration::from_secs(50));
    assert!(cached.quote(&infy).unwrap().cached);
    // A user whose answers are never served from the cache.
    let careful = cached.with(config.user("alpha").unwrap());
    assert!(!careful.quote(&infy).unwrap().cached);
    assert_eq!(config.users().collect::<Vec<_>>(), ["alpha"]);
    let unknown = config.user("alhpa").unwrap_err().to_string();
    assert!(unknown.contains("users.alhpa") && unknown.contains("has users: alpha"), "{unknown}");
    let guard = format!("{:?}", OrderGuard::builder(cached).config(&config));
    assert!(guard.contains("settle_time: 3s") && guard.contains("caller_tags: Prefix"), "{guard}");
    #[cfg(feature = "journal")]
    assert!(guard.contains(r#"journal: Some("orders.journal")"#), "{guard}");
}

#[test]
fn settings_can_be_a_part_of_another_file() {
    let read = |json: &str| serde_json::from_str::<Config>(json);
    let json = r#"{ "lanes": { "quote": { "queue": 7, "retry": false } }, "cache": { "ttl_jitter": 0.5 } }"#;
    let same = config("lanes.quote = { queue = 7, retry = 'off' }\ncache.ttl_jitter = 0.5");
    // Numbers too, which this build's JSON passes on as texts.
    assert_eq!(read(json).unwrap(), same);
    for (json, path) in [
        (r#"{ "lanes": { "quote": { "queue": -7 } } }"#, "lanes.quote.queue: -7 will not do"),
        (r#"{ "lanes": { "quote": { "queue": 1e400 } } }"#, "lanes.quote.queue: write a whole"),
        (r#"{ "cache": { "ttl": null } }"#, "cache.ttl: write a time with its unit"),
        (r#"{ "cache": { "ttl": ["5s"] } }"#, "cache.ttl: write a time with its unit"),
        (r#"{ "cache": {}, "cache": {} }"#, "the key `cache` is there twice"),
        (r#"{ "api_key": "x" }"#, "api_key: a secret does not belong"),
    ] {
        let error = read(json).unwrap_err().to_string();
        assert!(error.starts_with(path), "{error}");
    }
}

#[test]
fn a_reserve_that_leaves_nothing_is_refused_where_that_is_known() {
    let all = "reserve = 400";
    assert!(refusal(&format!("[budgets.orders]\nquota = '400/min'\n{all}")).contains("reserve"));
    assert!(refusal(&format!("preset = 'kite'\n[budgets.orders]\n{all}")).contains("reserve"));
    let file = config(&format!("[budgets.orders]\n{all}"));
    let error = BrokerProxy::builder(broker()).config(&file).build().unwrap_err();
    assert!(matches!(error, BuildError::Budget { budget: "orders", .. }), "{error}");
}
