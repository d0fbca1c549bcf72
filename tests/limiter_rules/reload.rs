//! Rules that are replaced while a limiter runs.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lanekeeper::limiter::{
    FileRules, MemoryRules, MemoryStorage, RateLimiter, Request, Rule, Rules,
};
use lanekeeper::quota::request_limit::{Algorithm, RequestLimit};
use tempfile::TempDir;

use crate::{NOW, allowed, found, names};

struct File {
    _folder: TempDir,
    path: PathBuf,
}

impl File {
    fn new(name: &str, text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = Self { path: folder.path().join(name), _folder: folder };
        file.write(text);
        file
    }

    /// Replaces the file as a whole, as editors do.
    fn write(&self, text: &str) {
        let new = self.path.with_extension("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, &self.path).unwrap();
    }

    fn limiter(&self) -> RateLimiter {
        RateLimiter::from_store(FileRules::new(&self.path), MemoryStorage::new()).unwrap()
    }
}

const USERS: &str = "descriptors: [{ key: user, unit: hour, requests_per_unit: 3 }]\n";

fn user() -> Request<'static> {
    Request::new("/").entry("user", "a")
}

#[test]
fn a_good_file_replaces_the_rules_and_the_same_file_does_not() {
    let file = File::new("rules.yaml", USERS);
    let limiter = file.limiter();
    assert!(!limiter.reload().unwrap());
    let ip = "descriptors: [{ key: ip, unit: hour, requests_per_unit: 3 }]";
    file.write(ip);
    assert_eq!(found(&limiter, &user()), ["user"]);
    assert!(limiter.reload().unwrap());
    assert_eq!(found(&limiter, &user().entry("ip", "i")), ["ip"]);
    // A comment and another style on the same lines are the same rules.
    file.write(&format!("{} # none", ip.replace("key: ip", "\"key\": 'ip'")));
    assert!(!limiter.reload().unwrap());
    file.write(USERS);
    assert!(limiter.reload().unwrap());
    assert_eq!(found(&limiter, &user()), ["user"]);
}

#[test]
fn a_bad_file_changes_nothing_and_its_error_names_the_line() {
    let file = File::new("rules.yaml", USERS);
    let limiter = file.limiter();
    assert_eq!(allowed(&limiter, &user(), 2), 2);
    for (text, line) in [
        (format!("{USERS}descriptors: []"), ":2: the key `descriptors` is there twice"),
        (
            format!("# no\n{}", USERS.replace("hour", "eon")),
            ":2: descriptors[0].unit: `eon` will not do",
        ),
        (
            format!("{USERS}rules: [{{ unit: hour, requests_per_unit: 0 }}]"),
            ":1: descriptors[0]: it can never decide",
        ),
        // Half a file.
        (USERS[..40].to_owned(), ":"),
        (String::new(), ":1: there are no rules in it"),
    ] {
        file.write(&text);
        // Each time, not only the first.
        for _ in 0..2 {
            let error = limiter.reload().unwrap_err().to_string();
            let begin = format!("{}{line}", file.path.display());
            assert!(error.starts_with(&begin), "{error}");
        }
        assert_eq!(found(&limiter, &Request::new("/").entry("user", "b")), ["user"]);
    }
    std::fs::remove_file(&file.path).unwrap();
    assert!(limiter.reload().unwrap_err().to_string().contains(": cannot be read: "));
    // The counts are those of before, too.
    assert_eq!(allowed(&limiter, &user(), 9), 1);
    // The file of before is no change.
    file.write(USERS);
    assert!(!limiter.reload().unwrap());
}

#[test]
fn what_was_counted_stays_counted_as_long_as_the_limit_counts_the_same() {
    let fixed = USERS.replace("unit: 3", "unit: 3, algorithm: fixed_window");
    let file = File::new("rules.yaml", USERS);
    for (old, new, left) in [
        // The rule is elsewhere in the file, or has another name or number.
        (USERS, format!("# one\nrules: [{{ path: /x, unlimited: true }}]\n{USERS}"), 1),
        (USERS, USERS.replace("key", "name: other, key"), 1),
        (USERS, USERS.replace("unit: 3", "unit: 3, on_storage_error: deny"), 1),
        (&*fixed, fixed.replace("unit: 3", "unit: 5"), 3),
        (&*fixed, fixed.replace("unit: 3", "unit: 1"), 0),
        // A bucket keeps the time until it is full: 40 minutes, in which 5 an hour are 3.3.
        (USERS, USERS.replace("unit: 3", "unit: 5"), 1),
        (USERS, USERS.replace("unit: 3", "unit: 3, burst: 2"), 0),
        // It counts otherwise, or other requests.
        (USERS, USERS.replace("hour", "day"), 3),
        (USERS, fixed.clone(), 3),
        (USERS, USERS.replace("user", "user, value: a"), 3),
        (USERS, format!("rules: [{{ path: /**, {} }}]", USERS.trim()), 3),
    ] {
        file.write(old);
        let limiter = file.limiter();
        assert_eq!(allowed(&limiter, &user(), 2), 2);
        file.write(&new);
        assert!(limiter.reload().unwrap());
        assert_eq!(allowed(&limiter, &user(), 9), left, "{new}");
    }
}

/// Requests that are judged while the rules change see the old ones or the new ones.
#[test]
fn no_request_sees_some_rules_of_each_file() {
    let rules = |name: &str| {
        let rule = |key: &str| format!("{{ key: {key}, name: {name} {key}, unlimited: true }}");
        format!("descriptors: [{}, {}, {}]", rule("x"), rule("y"), rule("z"))
    };
    let file = File::new("rules.yaml", &rules("old"));
    let limiter = file.limiter();
    let (done, mixed) = (AtomicBool::new(false), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let request = Request::new("/").entry("x", "").entry("y", "").entry("z", "");
            while !done.load(Ordering::Relaxed) {
                let names = names(&limiter.check_at(&request, NOW));
                let are = |of: &str| names.iter().all(|name| name.starts_with(of));
                if names.len() != 3 || !(are("old") || are("new")) {
                    mixed.store(true, Ordering::Relaxed);
                }
            }
        });
        for round in 0..200 {
            file.write(&rules(if round % 2 == 0 { "new" } else { "old" }));
            assert!(limiter.reload().unwrap());
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!(!mixed.into_inner());
}

#[test]
fn a_limiter_without_a_source_keeps_its_rules() {
    let limiter = RateLimiter::new(Rules::from_yaml(USERS).unwrap(), MemoryStorage::new());
    assert!(!limiter.reload().unwrap());
    assert_eq!(found(&limiter, &user()), ["user"]);
    limiter.set_rules(Rules::from_yaml("rules: [{ path: /, unlimited: true }]").unwrap());
    assert!(!limiter.reload().unwrap());
    assert_eq!(found(&limiter, &user()), ["/"]);
}

fn per_hour(requests: u32) -> RequestLimit {
    RequestLimit::new(Algorithm::FixedWindow, requests, Duration::from_secs(3600)).unwrap()
}

#[test]
fn rules_in_memory_are_added_replaced_and_removed() {
    let rules = Arc::new(MemoryRules::new());
    let limiter = RateLimiter::from_store(Arc::clone(&rules), MemoryStorage::new()).unwrap();
    assert!(!limiter.reload().unwrap());
    rules.add(Rule::new("users", per_hour(3)).entry("user")).unwrap();
    // Not before the limiter asks.
    assert_eq!(found(&limiter, &user()), [""; 0]);
    assert!(limiter.reload().unwrap());
    assert_eq!(allowed(&limiter, &user(), 2), 2);

    let error =
        |result: Result<(), lanekeeper::config::ConfigError>| result.unwrap_err().to_string();
    assert_eq!(
        error(rules.add(Rule::new("users", per_hour(3)).entry("ip"))),
        "there is another rule with the name `users`: `users`"
    );
    assert_eq!(
        error(rules.add(Rule::new("again", per_hour(3)).entry("user"))),
        "it describes the same requests as the rule `users`"
    );
    let unknown = Rule::new("user", per_hour(3));
    assert_eq!(error(rules.replace(unknown)), "there is no rule with the name `user`");
    assert!(!rules.remove("user"));
    // None of that has changed anything.
    assert!(!limiter.reload().unwrap());

    rules.replace(Rule::new("users", per_hour(4)).entry("user")).unwrap();
    assert!(limiter.reload().unwrap());
    assert_eq!(allowed(&limiter, &user(), 9), 2);
    rules.add(Rule::unlimited("root").entry_is("user", "root")).unwrap();
    rules.replace(Rule::new("users", per_hour(5)).entry("user")).unwrap();
    assert!(rules.remove("users") && !rules.remove("users"));
    assert!(limiter.reload().unwrap());
    assert_eq!(found(&limiter, &user()), [""; 0]);
    assert_eq!(found(&limiter, &Request::new("/").entry("user", "root")), ["root"]);
}
