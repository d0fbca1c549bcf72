//! The settings of the layers in front of the lanes, and of those who call.

use std::path::PathBuf;
use std::time::Duration;

use super::table::Table;
use crate::cache::BatchSettings;
use crate::lane::{CallOptions, Priority};
use crate::resilience::guard::OwnTags;

/// A quarter of the earth's listings; more is a slip of the pen.
const MOST: usize = 1 << 24;

/// Whoever asks first waits for so long, each time: more would be a cache that hangs.
const LONGEST_GATHER: Duration = Duration::from_secs(1);

/// What is said of a cache. What is `None` stays as it is.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct CacheChanges {
    ttl: Option<Duration>,
    ttl_jitter: Option<f64>,
    absent_ttl: Option<Duration>,
    max_age: Option<Duration>,
    serve_stale: Option<Duration>,
    refresh_ahead: Option<Option<f64>>,
    idle: Option<Duration>,
    capacity: Option<usize>,
    most_keys: Option<usize>,
    most_weight: Option<usize>,
    gather: Option<Duration>,
    pub(super) request_deadline: Option<Duration>,
}

impl CacheChanges {
    pub(super) fn read(mut table: Table<'_>) -> Self {
        let moment = Duration::from_millis(1);
        let changes = Self {
            ttl: table.time_from("ttl", Duration::ZERO),
            ttl_jitter: table.share("ttl_jitter", 0.0, 1.0),
            absent_ttl: table.time_from("absent_ttl", Duration::ZERO),
            max_age: table.time_from("max_age", moment),
            serve_stale: table.time_from("serve_stale", Duration::ZERO),
            refresh_ahead: table.share_or_off("refresh_ahead", 0.5, 1.0),
            idle: table.time_from("idle", moment),
            capacity: count(&mut table, "capacity"),
            most_keys: count(&mut table, "most_keys"),
            most_weight: count(&mut table, "most_weight"),
            gather: table.time_within("gather", Duration::ZERO, LONGEST_GATHER, "1s"),
            request_deadline: table.time_from("request_deadline", moment),
        };
        let ttl = changes.ttl.unwrap_or(BatchSettings::default().ttl);
        if let Some(most) = changes.max_age.filter(|most| *most < ttl) {
            let why = format!("{most:?} will not do: write no less than the ttl, which is {ttl:?}");
            table.wrong("max_age", why);
        }
        table.end();
        changes
    }

    pub(super) fn apply(&self, settings: &mut BatchSettings) {
        set(&mut settings.ttl, self.ttl);
        set(&mut settings.ttl_jitter, self.ttl_jitter);
        set(&mut settings.absent_ttl, self.absent_ttl);
        set(&mut settings.max_age, self.max_age.map(Some));
        set(&mut settings.serve_stale, self.serve_stale);
        set(&mut settings.refresh_ahead, self.refresh_ahead);
        set(&mut settings.idle, self.idle);
        set(&mut settings.capacity, self.capacity);
        set(&mut settings.most_keys, self.most_keys);
        set(&mut settings.most_weight, self.most_weight);
        set(&mut settings.gather, self.gather);
    }
}

fn set<T>(setting: &mut T, to: Option<T>) {
    if let Some(value) = to {
        *setting = value;
    }
}

/// A number of things of which there must be one at least.
fn count(table: &mut Table<'_>, key: &'static str) -> Option<usize> {
    let number = table.number(key)?;
    let holds = (1..=MOST).contains(&number);
    if !holds {
        table.wrong(key, format!("{number} will not do: write a number from 1 to {MOST}"));
    }
    holds.then_some(number)
}

/// What is said of an order guard.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct GuardChanges {
    pub(super) settle: Option<Duration>,
    pub(super) own_tags: Option<OwnTags>,
    pub(super) journal: Option<PathBuf>,
}

impl GuardChanges {
    pub(super) fn read(mut table: Table<'_>) -> Self {
        let tags = [("unique", OwnTags::Unique), ("label", OwnTags::Label)];
        let changes = Self {
            settle: table.time_from("settle", Duration::from_millis(1)),
            own_tags: table.word("own_tags", &tags),
            journal: table.text("journal", "the path of a file").map(PathBuf::from),
        };
        if changes.journal.as_ref().is_some_and(|path| path.as_os_str().is_empty()) {
            table.wrong("journal", "write the path of a file");
        }
        if changes.journal.is_some() && cfg!(not(feature = "journal")) {
            table.wrong("journal", "this build keeps no journal: switch on the feature `journal`");
        }
        table.end();
        changes
    }
}

/// How a user's calls are made.
pub(super) fn user(name: &str, mut table: Table<'_>) -> CallOptions {
    let priority = table.number("priority").and_then(|number: u8| {
        Priority::new(number).map_err(|error| table.wrong("priority", error.to_string())).ok()
    });
    let deadline = table.time_from("deadline", Duration::from_millis(1));
    let max_age = table.time_from("max_age", Duration::ZERO);
    table.end();
    CallOptions { user: Some(name.into()), priority, deadline, max_age }
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;

    const CHAPTER: &str = include_str!("../../docs/configuration.md");

    /// As text and without the clock, which cannot be compared.
    fn shown(settings: &BatchSettings) -> String {
        format!("{settings:?}").split(", clock").next().unwrap_or_default().to_owned()
    }

    fn applied(config: &Config) -> String {
        let mut settings = BatchSettings::default();
        config.cache.apply(&mut settings);
        shown(&settings)
    }

    #[test]
    fn every_setting_of_a_cache_gets_there() {
        let (_, table) = CHAPTER.split_once("\n[cache]\n").unwrap();
        let (table, _) = table.split_once("\n[").unwrap();
        let config = Config::from_toml(&format!("[cache]\n{table}")).unwrap();
        let (ms, secs) = (Duration::from_millis, Duration::from_secs);
        let settings = BatchSettings {
            ttl: secs(2),
            ttl_jitter: 0.1,
            absent_ttl: secs(60),
            max_age: Some(secs(10)),
            serve_stale: secs(1),
            refresh_ahead: Some(0.8),
            idle: secs(600),
            capacity: 5000,
            most_keys: 200,
            most_weight: 4000,
            gather: ms(5),
            ..BatchSettings::default()
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
            assert_eq!(applied(&config), shown(&BatchSettings::default()), "{row}");
            seen += 1;
        }
        assert_eq!(seen, 8);
    }
}
