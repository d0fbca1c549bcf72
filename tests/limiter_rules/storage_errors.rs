//! What rules say when the storage says nothing.

use lanekeeper::limiter::storage::{Take, Taken};
use lanekeeper::limiter::{RateLimiter, Request, Storage, StorageError};

use crate::{NOW, decider, rules};

/// A storage that cannot be reached.
struct Down;

impl Storage for Down {
    fn take(&self, _: &Take<'_, '_>) -> Result<Taken, StorageError> {
        Err(StorageError::new("nothing answers"))
    }

    fn forgive(&self, _: &Take<'_, '_>) -> Result<(), StorageError> {
        Err(StorageError::new("nothing answers"))
    }

    fn may_block(&self) -> bool {
        false
    }
}

/// Returns whether a request is allowed, and the rule that decided.
fn verdict(limiter: &RateLimiter, path: &str, entries: &[(&str, &str)]) -> (bool, Option<String>) {
    let request = Request::new(path);
    let request = entries.iter().fold(request, |request, (key, value)| request.entry(key, value));
    let verdict = limiter.check_at(&request, NOW);
    assert_eq!((verdict.remaining(), verdict.retry_after()), (None, None));
    let error = verdict.storage_error().map(ToString::to_string);
    assert!(error.is_none_or(|error| error.ends_with("nothing answers")));
    (verdict.is_allowed(), decider(&verdict).map(str::to_owned))
}

#[test]
fn on_storage_error_is_inherited_from_the_table_around() {
    let limiter = RateLimiter::new(
        rules(
            "
            on_storage_error = 'deny'
            rules = [
                { path = '/login', unit = 'day', requests_per_unit = 9 },
                { path = '/read/*', on_storage_error = 'allow', unit = 'day', requests_per_unit = 9, descriptors = [
                    { key = 'user', unit = 'day', requests_per_unit = 8 },
                    { key = 'pin', on_storage_error = 'deny', descriptors = [{ key = 'ip', unit = 'day', requests_per_unit = 8 }] },
                ] },
                { path = '/free', unlimited = true },
                { path = '/try', shadow_mode = true, unit = 'day', requests_per_unit = 9 },
            ]
            descriptors = [{ key = 'file', unit = 'day', requests_per_unit = 9 }]",
        ),
        Down,
    );
    let denied = |name: &str| (false, Some(name.to_owned()));
    assert_eq!(verdict(&limiter, "/login", &[]), denied("/login"));
    assert!(verdict(&limiter, "/read/1", &[("user", "a")]).0);
    assert!(verdict(&limiter, "/read/1", &[("pin", "1")]).0);
    // One rule that denies is enough, and it is named.
    let request = [("user", "a"), ("pin", "1"), ("ip", "i")];
    assert_eq!(verdict(&limiter, "/read/1", &request), denied("/read/* pin ip"));
    assert_eq!(verdict(&limiter, "/", &[("file", "f")]), denied("file"));
    // What has no limit needs no storage, and what refuses nothing refuses nothing now.
    assert!(verdict(&limiter, "/free", &[]).0 && verdict(&limiter, "/none", &[]).0);
    assert!(verdict(&limiter, "/try", &[]).0);
}

#[test]
fn requests_are_allowed_unless_a_rule_says_otherwise() {
    let text = "rules = [{ unit = 'day', requests_per_unit = 9 }]";
    assert!(verdict(&RateLimiter::new(rules(text), Down), "/", &[]).0);
    let envoys = "domain = 'd'\ndescriptors = [{ key = 'a', rate_limit = { unit = 'day', requests_per_unit = 9 } }]";
    assert!(verdict(&RateLimiter::new(rules(envoys), Down), "/", &[("a", "b")]).0);
}

/// A limiter takes any storage in a box.
#[test]
fn a_storage_may_be_chosen_at_run_time() {
    let text = "on_storage_error = 'deny'\nrules = [{ unit = 'day', requests_per_unit = 9 }]";
    let down: Box<dyn Storage> = Box::new(Down);
    assert!(!down.may_block());
    let limiter = RateLimiter::new(rules(text), down);
    assert!(!limiter.check(&Request::new("/")).is_allowed());
    assert!(!limiter.check_all(&[Request::new("/")])[0].is_allowed());
    assert!(!limiter.may_block());
}
