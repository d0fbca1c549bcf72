//! What a process and the scripts of shared quotes say to each other, as words and numbers.
//!
//! Times are microseconds of the host of Redis. A value is stored as `EPOCH STAMP VALUE`.

use ::redis::{Cmd, FromRedisValue as _, Value};

use crate::redis::Script;

/// How many keys one command has at most.
pub(super) const MAX_KEYS: usize = 500;

/// The scripts.
pub(super) struct Scripts {
    pub(super) look: Script,
    pub(super) claim: Script,
    pub(super) depart: Script,
    pub(super) keep: Script,
}

impl Scripts {
    pub(super) fn new() -> Self {
        macro_rules! script {
            ($file:literal) => {
                Script::new(concat!(include_str!("clock.lua"), include_str!($file)))
            };
        }
        Self {
            look: script!("look.lua"),
            claim: script!("claim.lua"),
            depart: script!("depart.lua"),
            keep: script!("keep.lua"),
        }
    }
}

/// What begins every request.
#[derive(Debug, Clone, Default)]
pub(super) struct Head {
    /// The moment of a clock that is moved by hand. `None` is the time of the host of Redis.
    pub(super) moment: Option<u64>,
    /// The earliest moment that it can be.
    pub(super) earliest: Option<u64>,
    pub(super) process: String,
}

impl Head {
    /// Adds the keys and the first arguments of a script.
    pub(super) fn add(&self, command: &mut Cmd, keys: &[String]) {
        command.arg(keys.len()).arg(keys);
        let or_empty = |moment: Option<u64>| moment.map(|it| it.to_string()).unwrap_or_default();
        command.arg(or_empty(self.moment)).arg(or_empty(self.earliest)).arg(&self.process);
    }
}

/// What begins every answer, and the rest of it.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) now: u64,
    pub(super) epoch: String,
    pub(super) rest: Vec<Value>,
}

impl Answer {
    /// Reads an answer. `None` if it is none of these scripts.
    pub(super) fn read(value: Value) -> Option<Self> {
        let Value::Array(words) = value else { return None };
        let mut words = words.into_iter();
        let mut text = || String::from_redis_value(words.next()?).ok();
        let now = text()?.parse().ok()?;
        let epoch = text()?;
        Some(Self { now, epoch, rest: words.collect() })
    }
}

/// Returns the text of a word.
pub(super) fn text(word: Value) -> Option<String> {
    String::from_redis_value(word).ok()
}

/// Splits a stored value into its epoch, its stamp and the value itself.
pub(super) fn split(stored: &[u8]) -> Option<(&str, u64, &[u8])> {
    let mut parts = stored.splitn(3, |byte| *byte == b' ');
    let (epoch, stamp, value) = (parts.next()?, parts.next()?, parts.next()?);
    let stamp = std::str::from_utf8(stamp).ok()?.parse().ok()?;
    Some((std::str::from_utf8(epoch).ok()?, stamp, value))
}
