//! Protection of a login, or of any other check of a secret, against guessing.
//!
//! Failures are counted by the address that they come from and by the user name that they claim. Each failure beyond a
//! number of free ones doubles the delay until the next attempt, from one second up to 15 minutes.
//!
//! # Counted before, not after
//!
//! An attempt is charged as a failure before the secret is looked at, and taken back if it succeeds. If failures were
//! counted afterwards, a thousand attempts that are made at the same time would all be looked at.
//!
//! # What a success takes back
//!
//! Its own attempt, and nothing else, of the address and of the user name. If it cleared the count of its address, an
//! attacker with an account of his own would log in between two guesses. If it cleared that of the user name, the
//! attacker would get new free attempts each time that the user logs in. So a user with four typing errors has one free
//! attempt left until the failures are forgotten, an hour later, and the next error costs one second.
//!
//! # What the delay of a user name costs
//!
//! An attacker with many addresses is held up by the count of the user name alone, and so is the user: an attempt during
//! the delay is refused, even with the right secret. There is no lasting lock-out. An attempt that is refused is not
//! counted, so the delay is never longer than 15 minutes, and it is the same for attacker and user. A service that has
//! another sign of a user, such as a cookie of an earlier login, passes no user name for that attempt.
//!
//! # The duty of the caller
//!
//! - Call [`attempt`](LoginGuard::attempt) for every name, whether the user exists or not, and give the same answer.
//!   Otherwise the guard shows which users exist.
//! - Pass names in one form. `Anna` and `anna` are counted apart here.
//! - Never pass a secret. The storage may be another machine.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::client_address::client_network;
use super::storage::{Charge, CounterKey, GuardedStorage, Storage, StorageError, Take, Values};
use crate::quota::request_limit::{Backoff, RequestLimit, RequestLimitError};

/// The text whose hash identifies the counts by address. It ends with the version of what the value means.
const OF_ADDRESS: &str = "lanekeeper login address 1";

/// The text whose hash identifies the counts by user name.
const OF_USER: &str = "lanekeeper login user 1";

/// Delays attempts to guess a secret. Cheap to clone; clones share everything. See [`LoginGuard::attempt`].
///
/// ```
/// use std::net::{IpAddr, Ipv4Addr};
/// use lanekeeper::limiter::{LoginGuard, LoginRefused, MemoryStorage};
///
/// let guard = LoginGuard::builder(MemoryStorage::new()).build()?;
/// let address = IpAddr::from(Ipv4Addr::new(192, 0, 2, 7));
/// # let is_right = |password: &str| password == "correct horse";
/// let log_in = |user: &str, password: &str| {
///     // Before the password is looked at. The attempt counts as a failure until it has succeeded.
///     let attempt = guard.attempt(address, Some(user))?;
///     let is_right = is_right(password);
///     if is_right {
///         // An error would leave it counted, which does no harm.
///         let _ = attempt.succeeded();
///     }
///     Ok::<bool, LoginRefused>(is_right)
/// };
///
/// for guess in ["1234", "12345", "123456", "hunter2", "qwerty"] {
///     assert!(!log_in("anna", guess)?);
/// }
/// let refused = log_in("anna", "letmein").unwrap_err();
/// assert!(refused.retry_after().is_some_and(|wait| wait.as_millis() <= 1000));
/// // Another user of the same address is not held up yet.
/// assert!(log_in("ben", "correct horse")?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct LoginGuard {
    shared: Arc<Shared>,
}

struct Shared {
    ipv6_bits: u8,
    storage: GuardedStorage,
    of_address: Count,
    of_user: Count,
}

/// What is counted in one way.
struct Count {
    rule: u128,
    limit: RequestLimit,
}

/// Sets the numbers of a [`LoginGuard`].
pub struct LoginGuardBuilder {
    storage: GuardedStorage,
    free_per_address: u32,
    free_per_user: u32,
    delays: Backoff,
    ipv6_bits: u8,
}

/// An attempt that may be made. It is counted as a failure, unless [`succeeded`](Self::succeeded) is called.
#[must_use = "look at the secret, and call `succeeded` if it is right"]
pub struct LoginAttempt {
    guard: LoginGuard,
    address: Option<String>,
    user: Option<String>,
}

/// Why an attempt may not be made. The secret must not be looked at.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LoginRefused {
    /// There were too many failures. It says nothing of the secret, and not whether it is the address or the user name.
    #[error("too many failed attempts: try again in {retry_after:?}")]
    TooMany {
        /// The time after which an attempt is admitted, if no other one comes before.
        retry_after: Duration,
    },
    /// The failures cannot be counted now, so no attempt is admitted: without a count, guessing is free.
    #[error("failed attempts cannot be counted")]
    StorageUnavailable(#[from] StorageError),
}

impl LoginRefused {
    /// Returns the time after which an attempt is admitted. `None` if that is unknown.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::TooMany { retry_after } => Some(*retry_after),
            Self::StorageUnavailable(_) => None,
        }
    }
}

impl LoginGuardBuilder {
    /// Sets how many attempts from one address may fail without a delay between them. The default is 20, because an
    /// office shares one address. 0 is taken for 1.
    #[must_use]
    pub fn free_per_address(mut self, attempts: u32) -> Self {
        self.free_per_address = attempts;
        self
    }

    /// Sets how many attempts with one user name may fail without a delay between them. The default is 5. 0 is taken for
    /// 1.
    #[must_use]
    pub fn free_per_user(mut self, attempts: u32) -> Self {
        self.free_per_user = attempts;
        self
    }

    /// Sets how many bits of an IPv6 address are counted as one. The default is 64, the least network of a customer of a
    /// provider; some have 56 or 48. More than 128 are 128.
    #[must_use]
    pub fn ipv6_prefix(mut self, bits: u8) -> Self {
        self.ipv6_bits = bits;
        self
    }

    /// Sets the delays. The default is one second after the last free attempt, twice as long after each further one, at
    /// most 15 minutes, and forgotten an hour after the end of the last delay.
    #[must_use]
    pub fn delays(mut self, delays: Backoff) -> Self {
        self.delays = delays;
        self
    }

    /// Returns the guard.
    ///
    /// # Errors
    /// A delay is not from one millisecond to 366 days, the longest one is shorter than the first, or more than
    /// 1,000,000,000 attempts are free.
    pub fn build(self) -> Result<LoginGuard, RequestLimitError> {
        // The failure of the last free attempt is the first that has a delay after it.
        let count = |text: &str, free: u32| {
            let limit = RequestLimit::backoff(free.saturating_sub(1), self.delays)?;
            Ok(Count { rule: fingerprint(text), limit })
        };
        let of_address = count(OF_ADDRESS, self.free_per_address)?;
        let of_user = count(OF_USER, self.free_per_user)?;
        let Self { storage, ipv6_bits, .. } = self;
        let shared = Shared { storage, ipv6_bits, of_address, of_user };
        Ok(LoginGuard { shared: Arc::new(shared) })
    }
}

impl LoginGuard {
    /// Returns a builder of a guard that counts in this storage. With [`MemoryStorage`](super::MemoryStorage), addresses
    /// and names take memory up to its bound, so choose that.
    pub fn builder(storage: impl Storage) -> LoginGuardBuilder {
        LoginGuardBuilder {
            storage: GuardedStorage::new(storage),
            free_per_address: 20,
            free_per_user: 5,
            delays: Backoff::default(),
            ipv6_bits: 64,
        }
    }

    /// Asks whether a secret may be looked at, and counts the attempt as a failure: by its address and by its user name,
    /// or by neither if one of them refuses it. Pass `None` for what does not identify an attacker, such as the address
    /// of a proxy.
    ///
    /// An IPv6 address counts as its network ([`LoginGuardBuilder::ipv6_prefix`]), and an IPv4 address that is mapped to IPv6 as the IPv4 address.
    ///
    /// # Errors
    /// A delay is not over, or the storage gave no verdict. The secret must not be looked at, and the attempt is not
    /// counted; if the storage failed, that is unknown.
    pub fn attempt(
        &self,
        address: impl Into<Option<IpAddr>>,
        user: Option<&str>,
    ) -> Result<LoginAttempt, LoginRefused> {
        let attempt = LoginAttempt {
            guard: self.clone(),
            address: address.into().map(|it| client_network(it, self.shared.ipv6_bits)),
            user: user.map(str::to_owned),
        };
        match attempt.count()? {
            Some(retry_after) => Err(LoginRefused::TooMany { retry_after }),
            None => Ok(attempt),
        }
    }

    /// Returns whether an attempt may wait for another machine. An asynchronous caller then asks on a thread of its own.
    pub fn may_block(&self) -> bool {
        self.shared.storage.may_block()
    }
}

impl LoginAttempt {
    /// Takes the failure back as which this attempt was counted. The failures of other attempts stay.
    ///
    /// # Errors
    /// The storage cannot be reached. The attempt stays counted, which delays later ones and admits none too many.
    pub fn succeeded(self) -> Result<(), StorageError> {
        self.with_take(|take| self.guard.shared.storage.forgive(take))
    }

    /// Counts the attempt as a failure. Returns how long it has to wait if it is refused.
    fn count(&self) -> Result<Option<Duration>, StorageError> {
        let taken = self.with_take(|take| self.guard.shared.storage.take(take))?;
        let refusing = taken.readings.iter().filter(|reading| !reading.is_admitted());
        // A delay ends, so that `retry_at` is there.
        let open_at = refusing.map(|reading| reading.retry_at.unwrap_or(reading.reset_at)).max();
        Ok(open_at.map(|at| at.since(taken.at)))
    }

    /// Uses the limits of the attempt: that of the address and that of the user name, as far as they are known.
    fn with_take<R>(&self, call: impl FnOnce(&Take<'_, '_>) -> R) -> R {
        let Shared { of_address, of_user, .. } = &*self.guard.shared;
        let (address, user) = (self.address.as_deref(), self.user.as_deref());
        let [address, user] = [address, user].map(|value| value.map(|value| [("", value)]));
        let counted = [(of_address, &address), (of_user, &user)];
        call(&Take::new(counted.into_iter().filter_map(|(count, entry)| {
            let key = CounterKey { rule: count.rule, values: Values::new(entry.as_ref()?) };
            Some(Charge { key, limit: &count.limit, weight: 1, is_shadow: false })
        })))
    }
}

impl fmt::Debug for LoginGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoginGuard").finish_non_exhaustive()
    }
}

impl fmt::Debug for LoginGuardBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoginGuardBuilder")
            .field("free_per_address", &self.free_per_address)
            .field("free_per_user", &self.free_per_user)
            .field("delays", &self.delays)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for LoginAttempt {
    /// Shows no name: people type secrets into the wrong field.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoginAttempt").finish_non_exhaustive()
    }
}

/// Returns what identifies a count in a storage that several processes share: the first half of the SHA-256 of the text.
fn fingerprint(text: &str) -> u128 {
    let digest = hmac_sha256::Hash::hash(text.as_bytes());
    let mut first = [0; 16];
    first.copy_from_slice(&digest[..16]);
    u128::from_le_bytes(first)
}

#[cfg(test)]
mod tests;
