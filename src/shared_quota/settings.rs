//! What a file or a command line says of shared quotas, before there is an account.

use std::fmt;
use std::time::Duration;

use ::redis::IntoConnectionInfo as _;

use super::{SharedQuota, SharedQuotaError, WhenAway};

/// How quotas are shared, without an account: for a program that reads this from a file, or shares the quotas of several
/// accounts in one way. What is not set has the default of [`SharedQuota`].
///
/// The address of Redis may be in an environment variable, because it may have a password. It is in no `Debug`.
///
/// ```
/// use lanekeeper::shared_quota::SharedSettings;
///
/// let settings = SharedSettings::redis("redis://127.0.0.1:6379")?;
/// let environment = |name: &str| std::env::var(name).ok();
/// let first = settings.quota("account-1", environment)?;
/// let second = settings.quota("account-2", environment)?;
/// # let _ = (first, second);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SharedSettings {
    /// It may have a password.
    pub(crate) url: Option<String>,
    pub(crate) url_env: Option<String>,
    pub(crate) process: Option<String>,
    pub(crate) lease: Option<Duration>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) away_after: Option<Duration>,
    pub(crate) when_away: Option<WhenAway>,
    pub(crate) share_for: Option<Duration>,
    pub(crate) processes: Option<u32>,
    pub(crate) one_path: Option<bool>,
}

/// Why settings make no shared quota.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SharedSettingsError {
    /// The environment variable with the address of Redis is not set.
    #[error("set {variable} in the environment: the address of Redis, as redis://HOST:PORT")]
    Variable {
        /// The environment variable.
        variable: String,
    },
    /// The quota cannot be shared.
    #[error(transparent)]
    Quota(#[from] SharedQuotaError),
}

impl SharedSettings {
    /// Returns settings with this address of Redis, see [`SharedQuota::redis`].
    ///
    /// # Errors
    /// The address cannot be read.
    pub fn redis(url: &str) -> Result<Self, SharedQuotaError> {
        has_password(url)?;
        Ok(Self { url: Some(url.to_owned()), ..Self::default() })
    }

    /// Returns settings with the address of Redis that is in this environment variable.
    pub fn redis_from_env(variable: &str) -> Self {
        Self { url_env: Some(variable.to_owned()), ..Self::default() }
    }

    /// Returns the shared quota of an account. `environment` reads an environment variable. Nothing is connected yet.
    ///
    /// # Errors
    /// The environment variable with the address is not set; or the address, a name or a time is not allowed.
    pub fn quota(
        &self,
        account: &str,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<SharedQuota, SharedSettingsError> {
        let variable = self.url_env.as_deref().unwrap_or_default();
        let named = self.url_env.as_deref().and_then(environment);
        let named = named.map(|url| url.trim().to_owned()).filter(|url| !url.is_empty());
        let url = named.or_else(|| self.url.clone());
        let url =
            url.ok_or_else(|| SharedSettingsError::Variable { variable: variable.to_owned() })?;
        let quota = self.apply_to(SharedQuota::redis(&url, account)?);
        quota.check()?;
        Ok(quota)
    }

    fn apply_to(&self, mut quota: SharedQuota) -> SharedQuota {
        if let Some(process) = &self.process {
            quota = quota.process(process);
        }
        quota.lease = self.lease.unwrap_or(quota.lease);
        quota.timeout = self.timeout.unwrap_or(quota.timeout);
        quota.away_after = self.away_after.unwrap_or(quota.away_after);
        quota.when_away = self.when_away.unwrap_or(quota.when_away);
        quota.reserved_for = self.share_for.unwrap_or(quota.reserved_for);
        quota.has_one_path = self.one_path.unwrap_or(quota.has_one_path);
        match self.processes {
            Some(processes) => quota.processes(processes),
            None => quota,
        }
    }

    /// Returns why a setting is not allowed. Each is checked on its own.
    #[cfg(feature = "config")]
    pub(crate) fn check(&self) -> Result<(), SharedQuotaError> {
        let quota = SharedQuota::redis("redis://localhost", "account")?;
        self.apply_to(quota).check()
    }
}

/// Returns whether the address of a Redis has a password.
pub(crate) fn has_password(url: &str) -> Result<bool, SharedQuotaError> {
    let address = url.into_connection_info().map_err(|_| SharedQuotaError::Address)?;
    Ok(address.redis_settings().password().is_some())
}

impl fmt::Debug for SharedSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The address is left out: it may have a password.
        f.debug_struct("SharedSettings")
            .field("url_env", &self.url_env)
            .field("process", &self.process)
            .field("lease", &self.lease)
            .field("timeout", &self.timeout)
            .field("away_after", &self.away_after)
            .field("when_away", &self.when_away)
            .field("share_for", &self.share_for)
            .field("processes", &self.processes)
            .field("one_path", &self.one_path)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "redis://:hunter2@127.0.0.1:1";

    #[test]
    fn the_environment_goes_before_the_address_and_neither_is_shown() {
        let none = |_: &str| None;
        let set = |name: &str| (name == "REDIS").then(|| format!(" {URL}\n"));
        let mut settings = SharedSettings::redis_from_env("REDIS");
        assert_eq!(settings.quota("a", set).unwrap().url, URL);
        let error = settings.quota("a", none).unwrap_err();
        assert!(error.to_string().starts_with("set REDIS in the environment"), "{error}");
        settings.url = Some("redis://127.0.0.1:2".to_owned());
        assert_eq!(settings.quota("a", set).unwrap().url, URL);
        assert_eq!(settings.quota("a", none).unwrap().url, "redis://127.0.0.1:2");
        let shown = format!("{:?}", SharedSettings::redis(URL).unwrap());
        assert!(!shown.contains("hunter2"), "{shown}");
        let wrong = |_: &str| Some("hunter2".to_owned());
        let error = settings.quota("a", wrong).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }

    #[cfg(feature = "config")]
    #[test]
    fn the_defaults_of_the_chapter_are_the_defaults_of_a_shared_quota() {
        const CHAPTER: &str = include_str!("../../docs/configuration.md");
        let shown = |quota: &SharedQuota| {
            format!(
                "{:?} {:?} {:?} {:?} {:?} {:?} {:?}",
                quota.lease,
                quota.timeout,
                quota.away_after,
                quota.when_away,
                quota.reserved_for,
                quota.processes,
                quota.has_one_path
            )
        };
        let plain = SharedQuota::redis(URL, "a").unwrap();
        let mut seen = 0;
        for row in CHAPTER.lines().filter(|line| line.starts_with("| `shared.")) {
            let cells: Vec<&str> =
                row.split('|').map(|cell| cell.trim().trim_matches('`')).collect();
            if cells[2].is_empty() {
                continue;
            }
            let text = format!(
                "shared.url = 'redis://h'\nshared.account = 'a'\n{} = {}",
                cells[1], cells[2]
            );
            let config = crate::Config::from_toml(&text).unwrap();
            let (_, settings) = config.settings().shared.as_ref().unwrap();
            assert_ne!(*settings, SharedSettings::redis("redis://h").unwrap(), "{row}");
            let quota = settings.quota("a", |_| None).unwrap();
            assert_eq!(shown(&quota), shown(&plain), "{row}");
            seen += 1;
        }
        assert_eq!(seen, 7, "a default was added or taken away");
    }
}
