//! A bot: a process that calls the exchange through a proxy with a shared quota, as often as it may.

use std::io::Read as _;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use lanekeeper::broker::{Broker as _, BrokerProxy, lanes};
use lanekeeper::brokers::Kite;
use lanekeeper::lane::{FinishedCall, Observer, SharedQuotaEvent};
use lanekeeper::quota::{Limits, PriorUsage, Quota};
use lanekeeper::{CallOptions, Priority, SharedQuota};

use crate::path::RedisPath;

/// How many threads of a bot call.
const THREADS: usize = 8;

pub struct Bot {
    child: Child,
    /// The bot ends when this is closed.
    stop: Option<ChildStdin>,
    pub path: RedisPath,
}

impl Bot {
    /// Starts a bot. It reads what no other bot does: the number says what.
    pub fn start(exchange: &str, path: RedisPath, number: usize, is_urgent: bool) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "bot::runs_as_a_bot", "--nocapture"])
            .env(
                "SHARED_QUOTA_BOT",
                format!("{number} {exchange} {} {is_urgent}", path.socket().display()),
            )
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stop = child.stdin.take();
        Self { child, stop, path }
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn signal(&self, signal: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    }

    /// Ends the bot. Returns the lines that it printed.
    pub fn end(mut self) -> Vec<String> {
        drop(self.stop.take());
        let mut printed = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut printed).unwrap();
        let _ = self.child.wait();
        printed.lines().map(str::to_owned).collect()
    }
}

/// Returns the limits of the account.
pub fn limits() -> Limits {
    let all = lanes::ALL.into_iter();
    let all = all.fold(Limits::new(), |limits, lane| limits.lane(lane, Quota::per_second(1000)));
    all.lane(lanes::TRANSACTIONAL, Quota::per_second(10)).budget("orders", Quota::per_second(1000))
}

struct Printer;

impl Observer for Printer {
    fn finished(&self, call: &FinishedCall<'_>) {
        println!("call {} {}", call.round_trip.as_micros(), call.queued.as_micros());
    }

    fn shared_quota(&self, event: &SharedQuotaEvent<'_>) {
        match event {
            SharedQuotaEvent::Mode { mode, why, .. } => {
                println!("mode {mode} {why} at {:?}", std::time::SystemTime::now());
            }
            SharedQuotaEvent::Warning { warning, .. } => println!("warning {warning}"),
            _ => {}
        }
    }
}

/// Not a test: what a bot does. It does nothing unless it was started as one.
#[test]
fn runs_as_a_bot() {
    let Ok(how) = std::env::var("SHARED_QUOTA_BOT") else { return };
    let words: Vec<&str> = how.split(' ').collect();
    let kite = Kite::builder().api_key("key").access_token("token").base_url(words[1]);
    let shared = SharedQuota::redis(&format!("unix://{}", words[2]), "account").unwrap();
    let broker = BrokerProxy::builder(kite.build().unwrap())
        .limits(limits())
        .prior_usage(PriorUsage::None)
        .observer(Arc::new(Printer))
        .shared(shared.process(&format!("bot-{}", words[0])))
        .build()
        .unwrap();
    let (stop, is_urgent) = (AtomicBool::new(false), words[3] == "true");
    let urgent = broker.with(CallOptions::new().priority(Priority::URGENT));
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (stop, broker, urgent) = (&stop, &broker, &urgent);
            let number = words[0];
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    if thread == 0 && is_urgent {
                        // Now and then something urgent, which another path shows to the exchange.
                        thread::sleep(Duration::from_millis(1700));
                        let _ = urgent.orders();
                        continue;
                    }
                    let _ = match number {
                        "0" => broker.positions().map(drop),
                        "1" => broker.holdings().map(drop),
                        _ => broker.margins().map(drop),
                    };
                }
            });
        }
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        stop.store(true, Ordering::Relaxed);
        broker.lanes().shutdown(lanekeeper::lane::Shutdown::Now);
    });
}
