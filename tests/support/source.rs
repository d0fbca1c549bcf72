//! A source for caches, and how most of the tests set one up.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use lanekeeper::cache::{BatchCache, BatchConfig};
use lanekeeper::clock::ManualClock;

pub type Cache = BatchCache<u32, u64, String>;
pub type Answer = Result<HashMap<u32, u64>, String>;

pub fn settings(clock: &ManualClock) -> BatchConfig {
    let mut settings = BatchConfig::default();
    settings.clock = clock.clone().into();
    settings
}

/// A source that has a value for every key below 1000: the number of the request, counted from 1. It records its
/// requests.
#[derive(Default)]
pub struct Fake {
    asked: Mutex<Vec<Vec<u32>>>,
    rounds: Mutex<u64>,
    fails: AtomicBool,
    fails_on: Mutex<Option<u32>>,
}

impl Fake {
    pub fn fetch(&self, keys: &[u32]) -> Answer {
        self.asked.lock().unwrap().push(keys.to_vec());
        let round = {
            let mut rounds = self.rounds.lock().unwrap();
            *rounds += 1;
            *rounds
        };
        let fails = |bad: u32| keys.contains(&bad);
        if self.fails.load(Ordering::SeqCst) || self.fails_on.lock().unwrap().is_some_and(fails) {
            return Err("no line".to_owned());
        }
        Ok(keys.iter().filter(|key| **key < 1000).map(|key| (*key, round)).collect())
    }

    pub fn fail(&self, fails: bool) {
        self.fails.store(fails, Ordering::SeqCst);
    }

    /// Makes requests fail that contain this key.
    pub fn fail_on(&self, key: Option<u32>) {
        *self.fails_on.lock().unwrap() = key;
    }

    /// Returns the keys of each request, sorted, since the last call.
    pub fn asked(&self) -> Vec<Vec<u32>> {
        let mut asked = std::mem::take(&mut *self.asked.lock().unwrap());
        asked.iter_mut().for_each(|keys| keys.sort_unstable());
        asked
    }
}
