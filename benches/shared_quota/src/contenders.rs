//! The limiters that are compared: each waits until it lets a call go, and makes it.
//!
//! A limiter that only says when to try again is asked again then.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use governor::clock::{Clock as _, DefaultClock};
use governor::{Quota, RateLimiter};
use throttle_net::SlidingWindowLog;

use crate::broker::{Client, Exchange, LIMIT, WINDOW};
use crate::server::Server;
use crate::traffic;

/// How many processes share the quota.
pub const PROCESSES: u32 = 3;

/// Makes one call of a process, as soon as its limiter lets it go.
pub type Call = Box<dyn Fn() + Send + Sync>;

/// A limiter.
pub struct Contender {
    pub name: &'static str,
    /// Whether the clock of a process can be set ahead, because the limiter is told the time by its user.
    pub is_told_the_time: bool,
    /// Makes the limiter of one process, whose clock is ahead by so much.
    pub process: fn(&Server, Client, Duration) -> Call,
}

pub const ALL: [Contender; 7] = [
    Contender {
        name: "lanekeeper, shared",
        is_told_the_time: false,
        process: |server, client, _| {
            let lanes = traffic::lanes(server, client);
            Box::new(move || assert!(lanes.order().is_ok()))
        },
    },
    Contender {
        name: "Redis: INCR of a second, EXPIRE",
        is_told_the_time: true,
        process: fixed_window,
    },
    Contender {
        name: "Redis: log in a sorted set, at sending",
        is_told_the_time: true,
        process: sorted_set,
    },
    Contender {
        name: "throttle-kit 2.1 (GCRA in Redis)",
        is_told_the_time: false,
        process: throttle_kit,
    },
    Contender {
        name: "governor, a third for each",
        is_told_the_time: false,
        process: |_, client, _| {
            let between = WINDOW * PROCESSES / LIMIT;
            governor(client, Quota::with_period(between).unwrap())
        },
    },
    Contender {
        name: "governor, all for each",
        is_told_the_time: false,
        process: |_, client, _| {
            governor(client, Quota::per_second(NonZeroU32::new(LIMIT).unwrap()))
        },
    },
    Contender {
        name: "throttle-net 2.0 (sliding log), 3 for each",
        is_told_the_time: false,
        process: throttle_net,
    },
];

fn governor(client: Client, quota: Quota) -> Call {
    let (limiter, clock) = (RateLimiter::direct(quota), DefaultClock::default());
    Box::new(move || {
        while let Err(refusal) = limiter.check() {
            std::thread::sleep(refusal.wait_time_from(clock.now()));
        }
        client.order().unwrap();
    })
}

/// It has no storage outside of the process: each has a third, rounded down.
fn throttle_net(_: &Server, client: Client, _: Duration) -> Call {
    let limiter = SlidingWindowLog::new(LIMIT / PROCESSES, WINDOW);
    Box::new(move || {
        while !limiter.try_acquire() {
            std::thread::sleep(limiter.peek(1).retry_after().unwrap_or_default());
        }
        client.order().unwrap();
    })
}

fn throttle_kit(server: &Server, client: Client, _: Duration) -> Call {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let backend = runtime.block_on(throttle_kit::RedisBackend::connect(&server.url())).unwrap();
    let limiter = throttle_kit::RateLimiter::new(throttle_kit::Quota::per_second(LIMIT), backend);
    Box::new(move || {
        loop {
            let answer = runtime.block_on(limiter.check("orders"));
            if answer.allowed {
                break;
            }
            std::thread::sleep(answer.retry_after.unwrap_or_default());
        }
        client.order().unwrap();
    })
}

/// The clock of a process.
fn wall_clock(ahead: Duration) -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap() + ahead
}

/// The connections of a process, one for each thread that is on its way.
#[derive(Clone)]
struct Connections {
    client: redis::Client,
    idle: Arc<Mutex<Vec<redis::Connection>>>,
}

impl Connections {
    fn new(server: &Server) -> Self {
        Self { client: redis::Client::open(server.url()).unwrap(), idle: Arc::default() }
    }

    fn with<T>(&self, use_it: impl FnOnce(&mut redis::Connection) -> redis::RedisResult<T>) -> T {
        let idle = self.idle.lock().unwrap().pop();
        let mut connection = idle.unwrap_or_else(|| self.client.get_connection().unwrap());
        let result = use_it(&mut connection).unwrap();
        self.idle.lock().unwrap().push(connection);
        result
    }
}

/// A count for each second, by the clock of the process.
fn fixed_window(server: &Server, client: Client, ahead: Duration) -> Call {
    let connections = Connections::new(server);
    Box::new(move || {
        loop {
            let now = wall_clock(ahead);
            let key = format!("orders:{}", now.as_secs());
            let count: u32 = connections.with(|connection| {
                let mut both = redis::pipe();
                both.atomic().incr(&key, 1).expire(&key, 2).ignore();
                both.query::<(u32,)>(connection).map(|(count,)| count)
            });
            if count <= LIMIT {
                break;
            }
            let next = Duration::from_secs(now.as_secs() + 1);
            std::thread::sleep(next.saturating_sub(wall_clock(ahead)));
        }
        client.order().unwrap();
    })
}

/// The usual recipe. Its arguments are the time, the length of the window and its limit, and a name for the call.
pub const SORTED_SET: &str = "
local now, window, limit = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - window)
if redis.call('ZCARD', KEYS[1]) < limit then
  redis.call('ZADD', KEYS[1], now, ARGV[4])
  redis.call('PEXPIRE', KEYS[1], window / 1000)
  return 0
end
local oldest = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2]
return math.max(1, tonumber(oldest) + window - now)
";

/// The moments of the calls of a window, by the clock of the process that sends.
fn sorted_set(server: &Server, client: Client, ahead: Duration) -> Call {
    let (connections, script) = (Connections::new(server), redis::Script::new(SORTED_SET));
    Box::new(move || {
        loop {
            let now = u64::try_from(wall_clock(ahead).as_micros()).unwrap();
            let id = format!("{}-{now}-{}", client.process, fastrand::u32(..));
            let wait: u64 = connections.with(|connection| {
                let mut call = script.key("orders");
                call.arg(now).arg(u64::try_from(WINDOW.as_micros()).unwrap()).arg(LIMIT).arg(id);
                call.invoke(connection)
            });
            if wait == 0 {
                break;
            }
            std::thread::sleep(Duration::from_micros(wait));
        }
        client.order().unwrap();
    })
}
