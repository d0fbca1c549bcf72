//! Reads the settings of the layers in front of the lanes, and of the users.

use std::path::PathBuf;
use std::time::Duration;

use super::table::Table;
use crate::cache::BatchConfig;
use crate::lane::{CallOptions, Priority};
use crate::order_guard::CallerTags;

/// Upper bound for the counts of a cache. A larger one is almost certainly a typing error, since all exchanges
/// together list only a few times as many instruments.
const MAX_COUNT: usize = 1 << 24;

/// Upper bound for `linger`, for which the first caller of each batch waits. With a longer one the cache would seem to
/// hang.
const MAX_LINGER: Duration = Duration::from_secs(1);

/// The settings of a cache. What is `None` keeps its default.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct CacheOverrides {
    ttl: Option<Duration>,
    ttl_jitter: Option<f64>,
    negative_ttl: Option<Duration>,
    max_age: Option<Duration>,
    stale_while_revalidate: Option<Duration>,
    refresh_ahead: Option<Option<f64>>,
    time_to_idle: Option<Duration>,
    max_capacity: Option<usize>,
    max_batch_keys: Option<usize>,
    max_batch_weight: Option<usize>,
    linger: Option<Duration>,
    share: Option<bool>,
    pub(super) request_deadline: Option<Duration>,
}

impl CacheOverrides {
    pub(super) fn read(mut table: Table<'_>) -> Self {
        let minimum = Duration::from_millis(1);
        let changes = Self {
            ttl: table.time_at_least("ttl", Duration::ZERO),
            ttl_jitter: table.fraction("ttl_jitter", 0.0, 1.0),
            negative_ttl: table.time_at_least("negative_ttl", Duration::ZERO),
            max_age: table.time_at_least("max_age", minimum),
            stale_while_revalidate: table.time_at_least("stale_while_revalidate", Duration::ZERO),
            refresh_ahead: table.fraction_or_off("refresh_ahead", 0.5, 1.0),
            time_to_idle: table.time_at_least("time_to_idle", minimum),
            max_capacity: positive_number(&mut table, "max_capacity"),
            max_batch_keys: positive_number(&mut table, "max_batch_keys"),
            max_batch_weight: positive_number(&mut table, "max_batch_weight"),
            linger: table.time_between("linger", Duration::ZERO, MAX_LINGER, "1s"),
            share: table.switch("share"),
            request_deadline: table.time_at_least("request_deadline", minimum),
        };
        let ttl = changes.ttl.unwrap_or(BatchConfig::default().ttl);
        if let Some(max_age) = changes.max_age.filter(|max_age| *max_age < ttl) {
            let why =
                format!("{max_age:?} will not do: write no less than the ttl, which is {ttl:?}");
            table.report_invalid("max_age", why);
        }
        table.finish();
        changes
    }

    pub(super) fn apply(&self, settings: &mut BatchConfig) {
        set_if_some(&mut settings.ttl, self.ttl);
        set_if_some(&mut settings.ttl_jitter, self.ttl_jitter);
        set_if_some(&mut settings.negative_ttl, self.negative_ttl);
        set_if_some(&mut settings.max_age, self.max_age.map(Some));
        set_if_some(&mut settings.stale_while_revalidate, self.stale_while_revalidate);
        set_if_some(&mut settings.refresh_ahead, self.refresh_ahead);
        set_if_some(&mut settings.time_to_idle, self.time_to_idle);
        set_if_some(&mut settings.max_capacity, self.max_capacity);
        set_if_some(&mut settings.max_batch_keys, self.max_batch_keys);
        set_if_some(&mut settings.max_batch_weight, self.max_batch_weight);
        set_if_some(&mut settings.linger, self.linger);
        set_if_some(&mut settings.share, self.share);
    }
}

fn set_if_some<T>(setting: &mut T, to: Option<T>) {
    if let Some(value) = to {
        *setting = value;
    }
}

/// Reads a number that is at least 1.
fn positive_number(table: &mut Table<'_>, key: &'static str) -> Option<usize> {
    let number = table.number(key)?;
    let is_valid = (1..=MAX_COUNT).contains(&number);
    if !is_valid {
        table.report_invalid(
            key,
            format!("{number} will not do: write a number from 1 to {MAX_COUNT}"),
        );
    }
    is_valid.then_some(number)
}

/// The settings of an order guard. What is `None` keeps its default.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct GuardOverrides {
    pub(super) settle_time: Option<Duration>,
    pub(super) caller_tags: Option<CallerTags>,
    pub(super) journal: Option<PathBuf>,
}

impl GuardOverrides {
    pub(super) fn read(mut table: Table<'_>) -> Self {
        let tags = [("as_is", CallerTags::AsIs), ("prefix", CallerTags::Prefix)];
        let changes = Self {
            settle_time: table.time_at_least("settle_time", Duration::from_millis(1)),
            caller_tags: table.choice("caller_tags", &tags),
            journal: table.text("journal", "the path of a file").map(PathBuf::from),
        };
        if changes.journal.as_ref().is_some_and(|path| path.as_os_str().is_empty()) {
            table.report_invalid("journal", "write the path of a file");
        }
        if changes.journal.is_some() && cfg!(not(feature = "journal")) {
            table.report_invalid(
                "journal",
                "this build keeps no journal: switch on the feature `journal`",
            );
        }
        table.finish();
        changes
    }
}

/// Reads the options for a user's calls.
pub(super) fn call_options(name: &str, mut table: Table<'_>) -> CallOptions {
    let priority = table.number("priority").and_then(|number: u8| {
        Priority::new(number)
            .map_err(|error| table.report_invalid("priority", error.to_string()))
            .ok()
    });
    let deadline = table.time_at_least("deadline", Duration::from_millis(1));
    let max_age = table.time_at_least("max_age", Duration::ZERO);
    table.finish();
    CallOptions { user: Some(name.into()), priority, deadline, max_age, ..CallOptions::new() }
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;

    const CHAPTER: &str = include_str!("../../docs/configuration.md");

    /// Formats the settings without the clock, which cannot be compared.
    fn shown(settings: &BatchConfig) -> String {
        format!("{settings:?}").split(", clock").next().unwrap_or_default().to_owned()
    }

    fn applied(config: &Config) -> String {
        let mut settings = BatchConfig::default();
        config.cache.apply(&mut settings);
        shown(&settings)
    }

    #[test]
    fn every_setting_of_a_cache_gets_there() {
        let (_, table) = CHAPTER.split_once("\n[cache]\n").unwrap();
        let (table, _) = table.split_once("\n[").unwrap();
        let config = Config::from_toml(&format!("[cache]\n{table}")).unwrap();
        let (ms, secs) = (Duration::from_millis, Duration::from_secs);
        let settings = BatchConfig {
            ttl: secs(2),
            ttl_jitter: 0.1,
            negative_ttl: secs(60),
            max_age: Some(secs(10)),
            stale_while_revalidate: secs(1),
            refresh_ahead: Some(0.8),
            time_to_idle: secs(600),
            max_capacity: 5000,
            max_batch_keys: 200,
            max_batch_weight: 4000,
            linger: ms(5),
            share: false,
            ..BatchConfig::default()
        };
        assert_eq!(applied(&config), shown(&settings));
        assert_eq!(config.cache.request_deadline, Some(secs(3)));
    }

    #[test]
    fn the_defaults_of_the_chapter_are_the_defaults_of_a_cache() {
        let mut seen = 0;
        for row in CHAPTER.lines().filter(|line| line.starts_with("| `cache.")) {
            let cells: Vec<&str> =
                row.split('|').map(|cell| cell.trim().trim_matches('`')).collect();
            if cells[2].is_empty() {
                continue;
            }
            let config = Config::from_toml(&format!("{} = {}", cells[1], cells[2])).unwrap();
            assert_ne!(config, Config::default(), "{row}");
            assert_eq!(applied(&config), shown(&BatchConfig::default()), "{row}");
            seen += 1;
        }
        assert_eq!(seen, 9);
    }
}
