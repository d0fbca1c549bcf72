//! A flood of keys, each new.

use std::time::{Duration, Instant};

use lanekeeper::limiter::{MemoryStorage, RateLimiter, Request, Rule, Rules};
use lanekeeper::quota::request_limit::{Algorithm, RequestLimit};

use crate::{ALLOCATOR, Size};

pub fn run(size: Size) {
    let keys = size.flood;
    let bound = keys / 10;
    println!("\na flood of {keys} keys, with room for {bound}");
    let limit = RequestLimit::new(Algorithm::TokenBucket, 10, Duration::from_secs(3600)).unwrap();
    let rules = Rules::new([Rule::new("users", limit).entry("user")]).unwrap();
    let before = ALLOCATOR.current_usage();
    let limiter = RateLimiter::new(rules, MemoryStorage::new().max_keys(bound));
    let ours = "our own user";
    let check = |user: &str| limiter.check(&Request::new("/").entry("user", user)).is_allowed();
    let own = (0..10).filter(|_| check(ours)).count();
    ALLOCATOR.reset_peak_usage();
    let begin = Instant::now();
    let mut admitted = 0;
    let mut name = String::new();
    for number in 0..keys {
        use std::fmt::Write as _;
        name.clear();
        let _ = write!(name, "user {number}");
        admitted += usize::from(check(&name));
    }
    let each = begin.elapsed().as_nanos() as f64 / keys as f64;
    let peak = ALLOCATOR.peak_usage() - before;
    println!("  {admitted} admitted, {each:.0} ns each, at most {:.1} MB", peak as f64 / 1e6);
    println!(
        "  a user with {own} of 10 before it: {}",
        match check(ours) {
            true => "admitted again, which is wrong",
            false => "refused, as it must be",
        }
    );

    let quota = governor::Quota::per_hour(std::num::NonZeroU32::new(10).unwrap());
    let before = ALLOCATOR.current_usage();
    let limiter: governor::DefaultKeyedRateLimiter<String> =
        governor::DefaultKeyedRateLimiter::keyed(quota);
    ALLOCATOR.reset_peak_usage();
    let admitted = (0..keys).filter(|number| limiter.check_key(&format!("user {number}")).is_ok());
    let admitted = admitted.count();
    let peak = ALLOCATOR.peak_usage() - before;
    println!(
        "  governor, which has no bound: {admitted} admitted, at most {:.1} MB",
        peak as f64 / 1e6
    );
}
