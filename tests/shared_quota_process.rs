//! Processes that share a quota, as lanes of one test: what a caller meets when calls call, when Redis forgets or fails, and when
//! a proxy ends. Time is real where Redis has a part in it.
#![cfg(all(feature = "redis", unix))]
#![allow(clippy::unwrap_used)]

mod support;

#[path = "support/redis.rs"]
#[allow(dead_code, unreachable_pub, reason = "other tests use more of it")]
mod redis;

use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use lanekeeper::clock::{Clock, ManualClock};
use lanekeeper::lane::{LaneConfig, LaneError, Observer, SharedMode, SharedQuotaEvent};
use lanekeeper::proxy::{Lanes, LanesBuilder};
use lanekeeper::quota::{Limits, PriorUsage, Quota};
use lanekeeper::shared_quota::{SharedQuota, WhenAway};
use redis::RedisServer;
use support::lanes::{Held, READ, WRITE, hold, options, priority, submit, until, within_reason};

/// A process of the account `a` with one lane.
fn process(url: &str, quota: Quota, change: impl FnOnce(&mut LanesBuilder)) -> Lanes {
    with_shared(SharedQuota::redis(url, "a").unwrap(), quota, change)
}

fn with_shared(shared: SharedQuota, quota: Quota, change: impl FnOnce(&mut LanesBuilder)) -> Lanes {
    let mut builder = LanesBuilder::new("Test", &["test"], &[]);
    builder.lane(0, LaneConfig::new(quota).in_flight(8));
    builder.prior_usage(PriorUsage::None);
    builder.shared(shared);
    change(&mut builder);
    builder.build(Limits::new()).unwrap()
}

fn mode(lanes: &Lanes) -> SharedMode {
    lanes.status().shared.unwrap().mode
}

/// A call whose method calls its own lane, nested `depth` times.
fn nested(lanes: &Lanes, depth: usize) -> Result<usize, LaneError> {
    let inner = lanes.clone();
    let work = move || match depth {
        0 => Ok(0),
        _ => nested(&inner, depth - 1).map(|deep| deep + 1),
    };
    lanes.submit_spec(WRITE, &options(), work, |error: &LaneError| Some(error.class())).wait()
}

#[test]
fn a_call_from_within_a_call_waits_for_its_permit() {
    let Some(server) = RedisServer::start() else { return };
    let lanes = process(&server.url(), Quota::per_second(100), |_| {});
    within_reason(move || {
        for _ in 0..50 {
            assert_eq!(nested(&lanes, 3), Ok(3));
        }
    });
}

#[test]
fn calls_in_flight_of_an_idle_process_count_after_redis_has_forgotten_them() {
    let Some(server) = RedisServer::start() else { return };
    let busy = process(&server.url(), Quota::per_second(4), |_| {});
    let other = process(&server.url(), Quota::per_second(4), |_| {});
    within_reason(move || {
        let held: Vec<_> = (0..4).map(|_| hold(&busy, WRITE)).collect();
        server.send("FLUSHALL");
        // All four slots are held by calls that may arrive at any time.
        let mut more = submit(&other, WRITE, &options(), || ());
        let from = Instant::now();
        while from.elapsed() < Duration::from_millis(3500) {
            assert!(more.try_wait().is_none(), "sent after {:?}", from.elapsed());
            thread::sleep(Duration::from_millis(20));
        }
        held.into_iter().for_each(|held| held.let_go().wait().unwrap());
        more.wait().unwrap();
    });
}

#[test]
fn a_proxy_ends_although_its_clock_stands_still() {
    let Some(server) = RedisServer::start() else { return };
    let clock = ManualClock::new();
    let lanes = process(&server.url(), Quota::per_second(100), |builder| {
        builder.clock(Clock::from(clock.clone()));
    });
    within_reason(move || {
        let mut calls: Vec<_> = (0..5).map(|_| submit(&lanes, WRITE, &options(), || ())).collect();
        // Redis grants nothing for a while after the first process has come.
        while calls.iter_mut().any(|call| call.try_wait().is_none()) {
            clock.advance(Duration::from_millis(50));
            thread::yield_now();
        }
        drop(lanes);
    });
}

/// Drops what it holds when Redis is away.
struct Drops(Mutex<Option<Lanes>>, mpsc::Sender<()>);

impl Observer for Drops {
    fn shared_quota(&self, event: &SharedQuotaEvent<'_>) {
        if let SharedQuotaEvent::Mode { mode: SharedMode::Share | SharedMode::Stopped, .. } = event
        {
            if let Some(lanes) = self.0.lock().unwrap().take() {
                drop(lanes);
                let _ = self.1.send(());
            }
        }
    }
}

#[test]
fn a_proxy_can_be_dropped_by_its_observer() {
    let Some(server) = RedisServer::start() else { return };
    let (dropped, is_dropped) = mpsc::channel();
    let observer = Arc::new(Drops(Mutex::new(None), dropped));
    let lanes = process(&server.url(), Quota::per_second(100), |builder| {
        builder.observer(Arc::clone(&observer) as Arc<dyn Observer>);
    });
    *observer.0.lock().unwrap() = Some(lanes);
    server.crash();
    within_reason(move || is_dropped.recv().unwrap());
}

#[test]
fn an_exit_that_was_sent_before_redis_was_there_counts_once_it_is() {
    let Some(mut server) = RedisServer::start() else { return };
    server.crash();
    let quota = || Quota::per_second(1);
    let first = process(&server.url(), quota(), |_| {});
    within_reason(move || {
        let exit = hold_urgent(&first);
        server.start_again();
        until(|| mode(&first) == SharedMode::Shared);
        let second = process(&server.url(), quota(), |_| {});
        let mut call = submit(&second, WRITE, &options(), || ());
        let from = Instant::now();
        while from.elapsed() < Duration::from_secs(4) {
            assert!(call.try_wait().is_none(), "sent after {:?}", from.elapsed());
            thread::sleep(Duration::from_millis(20));
        }
        exit.let_go().wait().unwrap();
        call.wait().unwrap();
    });
}

/// Makes an urgent call that is in flight until it is told to end.
fn hold_urgent(lanes: &Lanes) -> Held {
    let (go, held) = mpsc::channel::<()>();
    let (begun, began) = mpsc::channel();
    let ticket = submit(lanes, WRITE, &priority(1), move || {
        begun.send(()).unwrap();
        let _ = held.recv();
    });
    began.recv().unwrap();
    Held { go, ticket }
}

#[test]
fn a_process_goes_on_at_once_when_redis_is_back() {
    let Some(server) = RedisServer::start() else { return };
    let lanes = process(&server.url(), Quota::per_second(20), |_| {});
    within_reason(move || {
        submit(&lanes, WRITE, &options(), || ()).wait().unwrap();
        server.signal("-STOP");
        let mut call = submit(&lanes, WRITE, &options(), || ());
        until(|| mode(&lanes) == SharedMode::Share);
        server.signal("-CONT");
        until(|| mode(&lanes) == SharedMode::Shared);
        let from = Instant::now();
        while call.try_wait().is_none() {
            thread::sleep(Duration::from_millis(1));
        }
        // The silence is six seconds. A machine would have to be that slow.
        assert!(from.elapsed() < Duration::from_secs(3), "{:?}", from.elapsed());
    });
}

#[test]
fn exits_have_the_share_of_a_process_that_stops_without_redis() {
    let Some(server) = RedisServer::start() else { return };
    let shared = SharedQuota::redis(&server.url(), "a").unwrap().when_away(WhenAway::Stop);
    let minute = Quota::new(10, Duration::from_secs(60));
    let lanes = with_shared(shared, minute, |_| {});
    within_reason(move || {
        until(|| mode(&lanes) == SharedMode::Shared);
        server.crash();
        until(|| mode(&lanes) == SharedMode::Stopped);
        let exits: Vec<_> = (0..10).map(|_| submit(&lanes, WRITE, &priority(1), || ())).collect();
        exits.into_iter().for_each(|exit| exit.wait().unwrap());
    });
}

#[test]
fn a_redis_that_answers_pings_and_runs_no_scripts_leaves_the_share() {
    let Some(server) = RedisServer::start() else { return };
    let lanes = process(&server.url(), Quota::per_second(20), |_| {});
    within_reason(move || {
        submit(&lanes, WRITE, &options(), || ()).wait().unwrap();
        server.send("ACL SETUSER default -evalsha -eval");
        // After the silence.
        for _ in 0..40 {
            submit(&lanes, WRITE, &options(), || ()).wait().unwrap();
        }
        assert_ne!(mode(&lanes), SharedMode::Shared);
        submit(&lanes, WRITE, &priority(1), || ()).wait().unwrap();
        server.send("ACL SETUSER default +@all");
        until(|| mode(&lanes) == SharedMode::Shared);
        submit(&lanes, READ, &options(), || ()).wait().unwrap();
    });
}
#[test]
fn a_key_of_a_foreign_type_is_survived_and_forgotten_once_it_is_gone() {
    let Some(server) = RedisServer::start() else { return };
    let lanes = process(&server.url(), Quota::per_second(20), |_| {});
    within_reason(move || {
        for key in ["meta", "procs", "turn:test", "log:lane:test", "counts:lane:test"] {
            until(|| mode(&lanes) == SharedMode::Shared);
            submit(&lanes, WRITE, &options(), || ()).wait().unwrap();
            let key = format!("lanekeeper:{{a}}:{key}");
            server.send(&format!("SET {key} x"));
            // By the share, or by Redis if the key was written over.
            submit(&lanes, WRITE, &priority(1), || ()).wait().unwrap();
            submit(&lanes, WRITE, &options(), || ()).wait().unwrap();
            server.send(&format!("DEL {key}"));
        }
        until(|| mode(&lanes) == SharedMode::Shared);
        submit(&lanes, WRITE, &options(), || ()).wait().unwrap();
    });
}

#[test]
fn a_token_bucket_of_a_new_account_fills() {
    let Some(server) = RedisServer::start() else { return };
    let bucket = Quota::token_bucket(50, Duration::from_secs(1), 50);
    let lanes = process(&server.url(), bucket, |_| {});
    within_reason(move || {
        for _ in 0..60 {
            submit(&lanes, WRITE, &options(), || ()).wait().unwrap();
        }
        assert_eq!(mode(&lanes), SharedMode::Shared);
    });
}

/// Keeps what it is told of a shared quota.
#[derive(Default)]
struct Told(Mutex<Vec<String>>);

impl Observer for Told {
    fn shared_quota(&self, event: &SharedQuotaEvent<'_>) {
        self.0.lock().unwrap().push(format!("{event:?}"));
    }
}

#[test]
fn every_key_and_field_of_an_account_has_a_row_in_its_chapter() {
    const CHAPTER: &str = include_str!("../docs/several-processes.md");
    let Some(server) = RedisServer::start() else { return };
    let bucket = Quota::token_bucket(50, Duration::from_secs(1), 50);
    let day = Quota::per_calendar_day(1000, jiff::tz::TimeZone::UTC);
    let quota = bucket.and(day).and(Quota::per_second(50).spaced());
    let lanes = process(&server.url(), quota, |_| {});
    let list = |command: &str| -> Vec<String> {
        let lines = server.send(command).lines().map(str::to_owned).collect::<Vec<_>>();
        lines.into_iter().filter(|line| !line.starts_with(['*', '$', '+'])).collect()
    };
    for _ in 0..3 {
        submit(&lanes, WRITE, &options(), || ()).wait().unwrap();
    }
    // It tells everything again.
    server.send("DEL lanekeeper:{a}:log:lane:test");
    submit(&lanes, WRITE, &options(), || ()).wait().unwrap();
    let rows: Vec<_> = CHAPTER.lines().filter(|line| line.starts_with("| ")).collect();
    let has_row = |key: &str, field: &str| {
        // A name that varies is in capitals, after the first colon or slash.
        let field = field.split_inclusive([':', '/']).next().unwrap();
        let mut of = "";
        rows.iter().any(|row| {
            let mut cells = row.split(" | ");
            let first = cells.next().unwrap();
            of = if first == "|" { of } else { first };
            let named = cells.next().unwrap_or_default();
            of.contains(&format!("`{key}")) && named.contains(&format!("`{field}"))
        })
    };
    let mut count = 0;
    for key in list("KEYS *") {
        let key = key.strip_prefix("lanekeeper:{a}:").unwrap().to_owned();
        let kind = key.split_inclusive(':').next().unwrap();
        assert!(rows.iter().any(|row| row.starts_with(&format!("| `{kind}"))), "no row for {key}");
        // In the others a field is a process or a call.
        if matches!(kind, "meta" | "counts:") {
            for field in list(&format!("HKEYS lanekeeper:{{a}}:{key}")) {
                assert!(has_row(kind, &field), "no row for the field {field} of {key}");
                count += 1;
            }
        }
    }
    assert!(count > 15, "{count} fields");
}

/// Keeps what it is told, and does not return until the sender is dropped.
struct Blocks(Told, Mutex<mpsc::Receiver<()>>);

impl Observer for Blocks {
    fn shared_quota(&self, event: &SharedQuotaEvent<'_>) {
        if let SharedQuotaEvent::Mode { mode, .. } = event {
            self.0.0.lock().unwrap().push(mode.to_string());
        }
        let _ = self.1.lock().unwrap().recv();
    }
}

#[test]
fn an_observer_that_blocks_holds_up_neither_the_keeper_nor_the_end_of_the_proxy() {
    let Some(mut server) = RedisServer::start() else { return };
    let (go, goes) = mpsc::channel();
    let observer = Arc::new(Blocks(Told::default(), Mutex::new(goes)));
    let modes = Arc::clone(&observer);
    within_reason(move || {
        let lanes = process(&server.url(), Quota::per_second(20), |builder| {
            builder.observer(observer);
        });
        assert_eq!(mode(&lanes), SharedMode::Shared);
        server.crash();
        until(|| mode(&lanes) == SharedMode::Share);
        server.start_again();
        until(|| mode(&lanes) == SharedMode::Shared);
        drop(lanes);
        assert_eq!(server.send("HLEN lanekeeper:{a}:procs").lines().next(), Some(":0"), "it left");
        drop::<mpsc::Sender<()>>(go);
        until(|| *modes.0.0.lock().unwrap() == ["shared", "share", "shared"]);
    });
}

#[test]
fn a_process_that_starts_with_a_wrong_password_says_so_and_does_not_show_it() {
    let Some(server) = RedisServer::start() else { return };
    server.send("CONFIG SET requirepass correct");
    let url = format!("{}?pass=mistyped", server.url());
    let told = Arc::new(Told::default());
    let lanes = process(&url, Quota::per_second(20), |builder| {
        builder.observer(Arc::clone(&told) as Arc<dyn Observer>);
    });
    let all = Arc::clone(&told);
    within_reason(move || until(|| !all.0.lock().unwrap().is_empty()));
    let told = told.0.lock().unwrap().join(" ");
    assert!(told.to_lowercase().contains("password"), "{told}");
    assert!(!told.contains("mistyped") && !format!("{:?}", lanes.status()).contains("mistyped"));
}
