//! Whether Redis may throw away what it knows.

use ::redis::cmd;

use crate::redis::RedisPool;

/// Returns a warning of a Redis that may throw away what it knows.
pub(super) fn eviction_warning(pool: &RedisPool) -> Option<String> {
    let get = |key: &str| {
        let words: Vec<String> = pool
            .with_run(|connection, _| cmd("CONFIG").arg("GET").arg(key).query(connection))
            // Its user may not be allowed to read the configuration.
            .unwrap_or_default();
        words.into_iter().nth(1)
    };
    let (policy, memory) = (get("maxmemory-policy")?, get("maxmemory")?);
    (policy != "noeviction" && memory != "0").then(|| {
        format!(
            "Redis may evict what it knows of the quota (maxmemory-policy {policy}): set it to noeviction"
        )
    })
}
