//! What a person sees of an account from outside, in a real Redis, with the calls that processes really made.
#![cfg(all(unix, feature = "redis"))]
// The helpers stand outside of the test functions, where clippy does not look for them.
#![allow(clippy::unwrap_used)]

#[path = "support/redis.rs"]
#[allow(dead_code, unreachable_pub, reason = "the tests of the limiter use more of it")]
mod redis;

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use lanekeeper::shared_quota::{AccountStatus, AccountStatusError, ProcessState, SharedQuota};
use lanekeeper::{LaneError, PriorUsage, Quota};
use redis::RedisServer;

#[lanekeeper::proxy]
trait Weather {
    #[lane(reports, read, budget = sms)]
    fn report(&self, city: u32) -> Result<u32, LaneError>;
    #[lane(alerts, read)]
    #[allow(dead_code, reason = "its lane is looked at")]
    fn alert(&self, city: u32) -> Result<u32, LaneError>;
}

/// A station whose reports wait until the test lets them go.
struct Station {
    begun: Sender<()>,
    go: Mutex<Receiver<()>>,
}

impl Weather for Station {
    fn report(&self, city: u32) -> Result<u32, LaneError> {
        self.begun.send(()).unwrap();
        self.go.lock().unwrap().recv().unwrap();
        Ok(city)
    }
    fn alert(&self, city: u32) -> Result<u32, LaneError> {
        Ok(city)
    }
}

struct Process {
    proxy: WeatherProxy<Station>,
    begun: Receiver<()>,
    go: Sender<()>,
}

fn process(server: &RedisServer, name: &str, reports: &str) -> Process {
    let ((begun, has_begun), (go, gone)) = (channel(), channel());
    let shared = SharedQuota::redis(&server.url(), "account-1").unwrap().process(name);
    let quota = |text: &str| text.parse::<Quota>().unwrap();
    let proxy = WeatherProxy::builder(Station { begun, go: Mutex::new(gone) })
        .prior_usage(PriorUsage::None)
        .reports(quota(reports))
        .alerts(quota("100/h with bursts of 20"))
        // The day is the second window.
        .sms(quota("40/h, 50/day from midnight +05:30"))
        // A machine that is busy must not make Redis look as if it were away.
        .shared(shared.timeout(Duration::from_secs(10)))
        .build()
        .unwrap();
    Process { proxy, begun: has_begun, go }
}

fn read(server: &RedisServer) -> AccountStatus {
    AccountStatus::read(&server.url(), "account-1").unwrap()
}

/// Reads the status until it is as expected.
fn read_until(
    server: &RedisServer,
    is_as_expected: impl Fn(&AccountStatus) -> bool,
) -> AccountStatus {
    for _ in 0..6000 {
        let status = read(server);
        if is_as_expected(&status) {
            return status;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("{}", read(server));
}

fn state_of(status: &AccountStatus, name: &str) -> Option<ProcessState> {
    let process = status.processes.iter().find(|process| process.name.starts_with(name));
    process.map(|process| process.state)
}

#[test]
fn a_person_sees_who_is_alive_and_what_is_used_and_held() {
    let Some(server) = RedisServer::start() else { return };
    let Process { proxy, begun, go } = process(&server, "first", "10/h, 400/day");
    let second = process(&server, "second", "10/h, 400/day");
    std::thread::scope(|scope| {
        // Dropped by a panic, so that the call ends then too.
        let go = go;
        scope.spawn(|| proxy.report(1));
        begun.recv().unwrap();
        for city in 2..5 {
            second.go.send(()).unwrap();
            assert_eq!(second.proxy.report(city).unwrap(), city);
        }
        // What has ended is told within moments.
        let status = read_until(&server, |status| {
            let both = ["first", "second"].map(|name| state_of(status, name));
            let is_told = status.scope("lane:reports").is_some_and(|it| it.in_flight.len() == 1);
            is_told && both == [Some(ProcessState::Alive); 2]
        });
        let [one, two] = status.processes.as_slice() else { panic!("{status}") };
        assert!(one.name.starts_with("first-") && two.name.starts_with("second-"), "{status}");
        assert_eq!(two.share, Some((2, 2)));
        assert_eq!((one.in_flight, two.in_flight), (1, 0));
        assert!(two.is_here && two.pid == Some(std::process::id()), "{status}");
        let reports = status.scope("lane:reports").unwrap();
        assert_eq!(reports.quota, "10/h, 400/day");
        assert_eq!(reports.in_flight.get(&one.name), Some(&1));
        let used = |window: &lanekeeper::shared_quota::SharedWindowStatus| {
            (window.window.clone(), window.limit, window.used, window.left)
        };
        let windows: Vec<_> = reports.windows.iter().map(used).collect();
        assert_eq!(windows, [("10/h".to_owned(), 10, 4, 6), ("400/day".to_owned(), 400, 4, 396)]);
        let sms = status.scope("budget:sms").unwrap();
        let day = ("50/day from midnight +05:30".to_owned(), 50, 4, 46);
        let hour = ("40/h".to_owned(), 40, 4, 36);
        assert_eq!(sms.windows.iter().map(used).collect::<Vec<_>>(), [hour, day]);
        assert_eq!(status.warnings, [] as [&str; 0]);
        let text = status.to_string();
        assert!(
            text.contains("lane reports  in flight 1  left 6 of 10/h, 396 of 400/day"),
            "{text}"
        );
        assert!(text.starts_with("account account-1: all calls known for "), "{text}");
        go.send(()).unwrap();
    });
}

#[test]
fn a_bucket_has_what_it_gained_since_a_call() {
    let Some(server) = RedisServer::start() else { return };
    let process = process(&server, "first", "10/h");
    let of = |status: &AccountStatus| {
        let alerts = status.scope("lane:alerts")?;
        alerts.windows.first().map(|window| (window.limit, window.used, window.left))
    };
    // The keeper looks at each lane once a second. A bucket of which nothing is known is empty.
    let status = read_until(&server, |status| of(status).is_some());
    assert_eq!(of(&status), Some((20, 20, 0)), "{status}");
    // In an hour it gains 100, and holds 20. Half a token is none.
    let hour: u64 = 3_600_000_000;
    let time = server.send("TIME");
    let now: u64 = time.lines().nth(2).unwrap().trim().parse::<u64>().unwrap() * 1_000_000;
    let set = |level: u64, at: u64| {
        let reply = server.send(&format!(
            "HSET lanekeeper:{{account-1}}:counts:lane:alerts B1/3600000000 \"{level} {at}\""
        ));
        assert!(reply.starts_with(':'), "{reply}");
    };
    drop(process);
    set(3 * hour, now - hour / 25);
    assert_eq!(of(&read(&server)), Some((20, 13, 7)));
    set(3 * hour, now - hour);
    assert_eq!(of(&read(&server)), Some((20, 0, 20)));
}

#[test]
fn a_process_that_is_cut_off_or_dead_or_has_left_is_told_apart() {
    let Some(server) = RedisServer::start() else { return };
    let process = process(&server, "first", "10/s");
    let procs = "lanekeeper:{account-1}:procs";
    let name = read_until(&server, |status| {
        let is_alive = state_of(status, "first") == Some(ProcessState::Alive);
        is_alive && status.scope("lane:reports").is_some()
    })
    .processes[0]
        .name
        .clone();
    let entry = server.send(&format!("HGET {procs} {name}"));
    let entry = entry.lines().nth(1).unwrap().trim().to_owned();
    // It would give up the others, and find that a call is not its own.
    drop(process);
    // Of a process that was started before this machine: its number is another's now.
    let dead = format!("{} 1", entry.rsplit_once(' ').unwrap().0);
    server.send(&format!("HSET {procs} killed-1 \"{dead}\""));
    let words: Vec<&str> = entry.splitn(6, ' ').collect();
    let beat: u64 = words[1].parse().unwrap();
    let silent = format!("1 {} 2 1 1 elsewhere pid:[1] 77 5", beat - 30_000_000);
    server.send(&format!("HSET {procs} cut-off-1 \"{silent}\""));
    let late = beat + 3_600_000_000;
    server.send(&format!(
        "ZADD lanekeeper:{{account-1}}:log:lane:reports {late} gone-1-5@77 {late} gone-1-5@77.2"
    ));
    let status = read(&server);
    let known = |name: &str| status.processes.iter().find(|process| process.name == name).unwrap();
    let cut_off = known("cut-off-1");
    assert_eq!(
        (cut_off.state, cut_off.pid, cut_off.is_here),
        (ProcessState::Silent, Some(77), false)
    );
    assert!(cut_off.silent_for.unwrap() >= Duration::from_secs(30), "{status}");
    assert_eq!(cut_off.share, Some((2, 2)));
    if cfg!(target_os = "linux") {
        assert_eq!(known("killed-1").state, ProcessState::Dead);
    }
    assert_eq!((known("gone-1").state, known("gone-1").in_flight), (ProcessState::Left, 2));
}

#[test]
fn what_a_person_should_look_at_is_a_warning() {
    let Some(server) = RedisServer::start() else { return };
    let first = process(&server, "first", "10/s");
    let second = process(&server, "second", "20/s");
    for process in [&first, &second, &first] {
        process.go.send(()).unwrap();
        process.proxy.report(1).unwrap();
    }
    server.send("CONFIG SET maxmemory 100mb");
    server.send("CONFIG SET maxmemory-policy allkeys-lru");
    let status = read_until(&server, |status| status.warnings.len() == 2);
    let limits = &status.warnings[0];
    assert!(limits.starts_with("processes have different limits of the lane reports"), "{limits}");
    assert!(limits.contains("10/s") && limits.contains("20/s"), "{limits}");
    assert!(status.warnings[1].contains("maxmemory-policy allkeys-lru"), "{status}");
    server.send("CONFIG SET maxmemory-policy noeviction");
    // A difference of long ago was a change of the limits.
    drop(second);
    drop(first);
    server.send("HSET lanekeeper:{account-1}:meta other:lane:reports \"1 20/s\"");
    assert_eq!(read(&server).warnings, [] as [&str; 0]);
}

#[test]
fn the_accounts_of_a_redis_are_found_and_one_that_is_not_there_is_an_error() {
    let Some(server) = RedisServer::start() else { return };
    assert_eq!(AccountStatus::accounts(&server.url()).unwrap(), [] as [&str; 0]);
    server.send("SET {lanekeeper:limits}:meta x");
    server.send("SET lanekeeper:other x");
    let _process = process(&server, "first", "10/s");
    assert_eq!(AccountStatus::accounts(&server.url()).unwrap(), ["account-1"]);
    let error = AccountStatus::read(&server.url(), "acount-1").unwrap_err();
    assert_eq!(error.to_string(), "Redis knows no account `acount-1`; it knows: account-1");
}

#[test]
fn a_redis_that_cannot_be_reached_is_an_error_without_its_address() {
    for url in ["redis://:hunter2@127.0.0.1:1", "unix:///nowhere?pass=hunter2", "hunter2"] {
        let error = AccountStatus::read(url, "a").unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
        assert_eq!(matches!(error, AccountStatusError::Address), url == "hunter2");
    }
}
