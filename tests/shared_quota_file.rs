//! Quotas that a file shares between processes.
#![cfg(all(unix, feature = "config", feature = "redis"))]
// The helpers stand outside of the test functions, where clippy does not look for them.
#![allow(clippy::unwrap_used)]

#[path = "support/redis.rs"]
#[allow(dead_code, unreachable_pub, reason = "the tests of the limiter use more of it")]
mod redis;

use lanekeeper::lane::SharedMode;
use lanekeeper::proxy::{BuildError, ProxyConfig};
use lanekeeper::shared_quota::SharedSettings;
use lanekeeper::{Config, LaneError, PriorUsage};
use redis::RedisServer;

#[lanekeeper::proxy]
trait Weather {
    #[lane(reports, read)]
    fn report(&self, city: u32) -> Result<u32, LaneError>;
}

struct Station;

impl Weather for Station {
    fn report(&self, city: u32) -> Result<u32, LaneError> {
        Ok(city)
    }
}

fn build(config: impl Into<ProxyConfig>) -> Result<WeatherProxy<Station>, BuildError> {
    WeatherProxy::builder(Station).prior_usage(PriorUsage::None).config(config).build()
}

#[test]
fn processes_with_the_same_file_share_an_account() {
    let Some(server) = RedisServer::start() else { return };
    let text = |language: &str| match language {
        "toml" => {
            format!("lanes.reports = '10/s'\n[shared]\nurl = '{}'\naccount = 'a'", server.url())
        }
        _ => format!(
            "lanes: {{ reports: 10/s }}\nshared:\n  url: {}\n  account: a\n  process: second",
            server.url()
        ),
    };
    let first = build(&Config::from_toml(&text("toml")).unwrap()).unwrap();
    assert_eq!(first.report(1).unwrap(), 1);
    let second = build(&Config::from_yaml(&text("yaml")).unwrap()).unwrap();
    assert_eq!(second.report(2).unwrap(), 2);
    let shared = second.status().shared.unwrap();
    assert_eq!((shared.account.as_str(), shared.mode), ("a", SharedMode::Shared));
    assert!(shared.process.starts_with("second-"), "{}", shared.process);
    assert_eq!(shared.processes, 2);
}

#[test]
fn an_address_that_the_environment_does_not_have_is_named_when_the_proxy_is_built() {
    let settings = SharedSettings::redis_from_env("LANEKEEPER_TEST_UNSET");
    let config = ProxyConfig::new().lane("reports", lanekeeper::Quota::per_second(10));
    let error = build(config.shared("a", settings)).map(|_| ()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the shared quota: set LANEKEEPER_TEST_UNSET in the environment: the address of Redis, as redis://HOST:PORT"
    );
}
