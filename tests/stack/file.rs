//! A stack that is built from a file has the settings of one that is built in code. The files are those with every key
//! in `docs/configuration.md`.

use std::path::Path;
use std::time::Duration;

use lanekeeper::brokers::Kite;
use lanekeeper::cache::CachedProxyBuilder;
use lanekeeper::lane::{ExpiredSessionPolicy, LaneConfig, OpenBreakerPolicy, OverflowPolicy};
use lanekeeper::order_guard::CallerTags;
use lanekeeper::quota::{Budget, Quota, RttCredit};
use lanekeeper::resilience::{BreakerPolicy, RetryPolicy, ThrottlePolicy};
use lanekeeper::stack::StackBuilder;
use lanekeeper::{BrokerProxy, CallOptions, Config, PriorUsage, Priority, StackBuildError};

use super::without_clocks;

const CHAPTER: &str = include_str!("../../docs/configuration.md");

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn quota(text: &str) -> Quota {
    text.parse().unwrap()
}

/// Reads the chapter's last file in this language, from the disk, with its journal in `folder`.
fn config(language: &str, folder: &Path) -> Config {
    let (_, rest) = CHAPTER.rsplit_once(&format!("```{language}\n")).unwrap();
    let (text, _) = rest.split_once("```").unwrap();
    let journal = folder.join("orders.journal");
    let text = text.replace("orders.journal", &journal.display().to_string());
    // Through a Redis that is not there. `tests/shared_quota_file.rs` has one.
    let text = without_table(&text, "shared");
    let file = folder.join(format!("lanekeeper.{language}"));
    std::fs::write(&file, text).unwrap();
    Config::from_path(file).unwrap()
}

/// Returns a file, TOML or YAML, without one of its tables.
fn without_table(text: &str, name: &str) -> String {
    let headers = [format!("[{name}]"), format!("{name}:")];
    let mut is_in = false;
    let kept = text.lines().filter(|line| {
        if line.starts_with('[') || (line.ends_with(':') && !line.starts_with(' ')) {
            is_in = headers.iter().any(|header| header == line);
        }
        !is_in
    });
    kept.map(|line| format!("{line}\n")).collect()
}

fn kite() -> Kite {
    Kite::builder().api_key("key").access_token("token").build().unwrap()
}

fn by_file(config: &Config) -> StackBuilder<CachedProxyBuilder<Kite>> {
    BrokerProxy::builder(kite()).prior_usage(PriorUsage::None).stack(config)
}

fn by_code(folder: &Path) -> StackBuilder<CachedProxyBuilder<Kite>> {
    let retry = RetryPolicy::default()
        .attempts(3)
        .base_delay(ms(50))
        .max_delay(secs(2))
        .max_wait(secs(30))
        .budget_percent(10)
        .budget_floor(2)
        .budget_life(secs(20));
    let breaker = BreakerPolicy::default()
        .window(secs(60))
        .minimum(20)
        .failures(Some(40))
        .failures_in_a_row(Some(8))
        .open_for(secs(2))
        .growth(3)
        .max_open(secs(300))
        .probes(1)
        .probe_deadline(secs(5))
        .max_half_open(secs(20))
        .slow(secs(3), 80);
    let throttle = ThrottlePolicy::default()
        .default_pause(secs(2))
        .max_pause(secs(600))
        .keep_percent(50)
        .step_percent(10)
        .min_percent(20);
    let transactional = LaneConfig::new(quota("8/s, 300/min"))
        .reserve(2)
        .credit(RttCredit::percent(90))
        .in_flight(4)
        .urgent_workers(2)
        .queue(256)
        .when_full(OverflowPolicy::Shed)
        .when_expired(ExpiredSessionPolicy::Refuse)
        .when_down(OpenBreakerPolicy::Refuse)
        .user_interval(ms(20))
        .aging(Some(20))
        .retry(retry)
        .breaker(breaker)
        .throttle(throttle);
    let unguarded = LaneConfig::default().retry(RetryPolicy::none());
    let orders = Budget::new(quota("400/min, 3000/day from midnight +05:30"));
    BrokerProxy::builder(kite())
        .prior_usage(PriorUsage::None)
        .transactional(transactional)
        .quote(unguarded.breaker(BreakerPolicy::disabled()))
        .historical(quota("2/s spaced"))
        .orders(orders.reserve(20))
        .quote_ttl(secs(2))
        .configure(|cache| {
            cache.ttl_jitter = 0.1;
            cache.negative_ttl = secs(60);
            cache.max_age = Some(secs(10));
            cache.stale_while_revalidate = secs(1);
            cache.refresh_ahead = Some(0.8);
            cache.time_to_idle = secs(600);
            cache.max_capacity = 5000;
            cache.max_batch_keys = 200;
            cache.max_batch_weight = 4000;
            cache.linger = ms(5);
            cache.share = false;
        })
        .request_deadline(secs(3))
        .order_guard(|guard| {
            let guard = guard.settle_time(secs(30)).caller_tags(CallerTags::Prefix);
            guard.journal(folder.join("orders.journal"))
        })
}

#[test]
fn a_file_and_code_build_the_same_stack() {
    let folder = tempfile::tempdir().unwrap();
    let expected = by_code(folder.path());
    let shown = without_clocks(&expected);
    let status = format!("{:?}", expected.build().unwrap().status());
    for language in ["toml", "yaml"] {
        let config = config(language, folder.path());
        let proxy = BrokerProxy::builder(kite()).prior_usage(PriorUsage::None).config(&config);
        let layer_by_layer = proxy.order_guard(|guard| guard.config(&config)).quote_cache(&config);
        assert_eq!(without_clocks(&layer_by_layer), shown, "{language}");
        let stack = by_file(&config);
        assert_eq!(without_clocks(&stack), shown, "{language}");
        let stack = stack.build().unwrap();
        // The budgets, which the builder does not print, and the quotas of the lanes.
        assert_eq!(format!("{:?}", stack.status()), status, "{language}");
        let alpha = CallOptions::new().user("alpha").priority(Priority::new(3).unwrap());
        let alpha = alpha.deadline(secs(2)).max_age(ms(500));
        assert_eq!(config.user("alpha").unwrap(), alpha);
    }
}

#[test]
fn what_a_file_cannot_set_is_set_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let config = config("toml", folder.path());
    let stack = by_file(&config).order_guard(|guard| guard.on_turned_up(|_| ()));
    let stack = stack.configure(|cache| cache.linger = ms(7)).lookup_deadline(secs(9));
    let shown = format!("{stack:?}");
    for set in ["on_turned_up: set", "settle_time: 30s", "linger: 7ms", "ttl: 2s", "Some(9s)"] {
        assert!(shown.contains(set), "{set} is not in {shown}");
    }
}

/// An empty file is a stack with the defaults of every layer.
#[test]
fn a_table_that_is_missing_has_the_defaults() {
    let stack = by_file(&Config::default());
    let defaults = BrokerProxy::builder(kite()).prior_usage(PriorUsage::None);
    let defaults = defaults.quote_ttl(secs(5)).order_guard(|guard| guard);
    assert_eq!(without_clocks(&stack), without_clocks(&defaults));
    assert!(stack.build().unwrap().cache().is_some());
}

#[test]
fn a_lane_that_the_broker_does_not_have_is_an_error_of_the_lanes() {
    let config = Config::from_toml("lanes.quotes = '1/s'").unwrap();
    let error = by_file(&config).build().unwrap_err();
    assert!(matches!(error, StackBuildError::Lanes(_)), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("has no lane `quotes`; it has: transactional, quote"), "{text}");
}
