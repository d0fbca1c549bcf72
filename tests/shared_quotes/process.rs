//! A process, as the tests have it: a cache, and a source that all processes share and that counts its requests.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lanekeeper::SharedQuota;
use lanekeeper::cache::{BatchBuilder, BatchCache, BatchConfig, SharedValues};
use lanekeeper::clock::{Clock, ManualClock};
use lanekeeper::quota::Moment;

use super::redis::RedisServer;

pub type Cache = BatchCache<u32, u64, String>;

pub const TTL: Duration = Duration::from_secs(5);

pub const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub const fn millis(time: u64) -> Duration {
    Duration::from_millis(time)
}

/// A request, as the source saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub process: usize,
    pub keys: Vec<u32>,
    /// When it was sent.
    pub sent: Moment,
}

/// The broker of all processes. The value of each key is the number of the request, counted from 1. It has none for keys from
/// 1000 on.
#[derive(Default)]
pub struct Source {
    requests: Mutex<Vec<Request>>,
    fails: Mutex<bool>,
}

impl Source {
    pub fn request(&self, process: usize, mut keys: Vec<u32>, sent: Moment) -> Result<u64, String> {
        keys.sort_unstable();
        let mut requests = self.requests.lock().unwrap();
        requests.push(Request { process, keys, sent });
        match *self.fails.lock().unwrap() {
            true => Err("no line".to_owned()),
            false => Ok(requests.len() as u64),
        }
    }

    pub fn fail(&self, fails: bool) {
        *self.fails.lock().unwrap() = fails;
    }

    pub fn is_failing(&self) -> bool {
        *self.fails.lock().unwrap()
    }

    /// Returns all requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// Returns the process and the keys of each request so far.
    pub fn asked(&self) -> Vec<(usize, Vec<u32>)> {
        self.requests().into_iter().map(|it| (it.process, it.keys)).collect()
    }

    /// Returns when the request of this number was sent.
    pub fn sent(&self, number: u64) -> Moment {
        self.requests.lock().unwrap()[number as usize - 1].sent
    }
}

/// What a source does between a request and its answer.
pub type During = Box<dyn Fn() + Send + Sync>;

pub fn encode(value: &u64) -> Option<Vec<u8>> {
    Some(value.to_string().into_bytes())
}

pub fn decode(_: &u32, text: &[u8], _: Moment) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

pub fn settings(clock: &ManualClock) -> BatchConfig {
    let mut settings = BatchConfig::default();
    settings.ttl = TTL;
    settings.clock = clock.clone().into();
    settings
}

/// Makes the cache of a process of the account `a`.
pub fn process(
    url: &str,
    settings: BatchConfig,
    source: &Arc<Source>,
    number: usize,
    during: During,
) -> Cache {
    // A machine that runs other tests may be slow.
    let quota = SharedQuota::redis(url, "a").unwrap().timeout(secs(4));
    let values = SharedValues::new(&quota, "test", encode, decode).unwrap();
    let (source, clock): (_, Clock) = (Arc::clone(source), settings.clock.clone());
    BatchBuilder::new(settings).build_shared(values, move |batch| {
        let keys = batch.keys();
        let sent = clock.now();
        if keys.is_empty() {
            return Ok(HashMap::new());
        }
        let answer = source.request(number, keys.clone(), sent);
        during();
        let value = answer?;
        Ok(keys.into_iter().filter(|key| *key < 1000).map(|key| (key, Ok(value))).collect())
    })
}

/// Makes processes that share a clock, and whose requests take no time.
pub fn processes<const N: usize>(
    url: &str,
    clock: &ManualClock,
    source: &Arc<Source>,
) -> [Cache; N] {
    std::array::from_fn(|number| process(url, settings(clock), source, number, Box::new(|| {})))
}

/// Waits until Redis has a value. Values are kept after the callers have theirs.
pub fn wait_until_kept(server: &RedisServer, key: &str) {
    while server.send(&format!("EXISTS lanekeeper:{{a}}:{key}")).starts_with(":0") {
        std::thread::yield_now();
    }
}

/// Waits until no process has the fetch, for 2 s at most. What a process kept is in Redis then.
///
/// The test gives the time to the scripts. If it advances the clock while a script is on its way, that script seems to be of a
/// clock that was set back.
pub fn wait_until_unclaimed(server: &RedisServer, kind: &str) {
    let fetcher = format!("HGET lanekeeper:{{a}}:{kind}-state fetcher");
    for _ in 0..1000 {
        std::thread::sleep(millis(2));
        if matches!(server.send(&fetcher).lines().next(), Some("$0" | "$-1")) {
            return;
        }
    }
}

/// Returns the value of a key.
pub fn value(cache: &Cache, key: u32) -> u64 {
    *cache.get(&key).unwrap().unwrap().value
}
