//! The values that users write: a window, and the set of windows that is a quota.

use std::fmt;
use std::time::Duration;

/// At most `limit` calls in any span of `length`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Window {
    /// How many calls.
    pub limit: u32,
    /// In how long a time.
    pub length: Duration,
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.length.as_secs() {
            _ if self.length.subsec_nanos() != 0 => write!(f, "{}/{:?}", self.limit, self.length),
            1 => write!(f, "{}/s", self.limit),
            60 => write!(f, "{}/min", self.limit),
            3600 => write!(f, "{}/h", self.limit),
            86_400 => write!(f, "{}/day", self.limit),
            seconds => write!(f, "{}/{seconds}s", self.limit),
        }
    }
}

/// A set of windows, all of which hold.
///
/// ```
/// use std::time::Duration;
/// use lanekeeper::quota::Quota;
///
/// let orders = Quota::per_second(10).and(Quota::per_minute(400));
/// assert_eq!(orders.to_string(), "10/s, 400/min");
///
/// // Even spacing is a window too.
/// let spaced = Quota::per_second(10).and(Quota::new(1, Duration::from_millis(100)));
/// assert_eq!(spaced.windows().len(), 2);
/// ```
///
/// A quota that cannot be kept (no calls at all, no time) is told apart when the lane is built, see
/// [`Quota::check`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quota {
    windows: Vec<Window>,
}

impl Quota {
    /// `limit` calls in any span of `length`.
    pub fn new(limit: u32, length: Duration) -> Self {
        Self { windows: vec![Window { limit, length }] }
    }

    /// `limit` calls in any second.
    pub fn per_second(limit: u32) -> Self {
        Self::new(limit, Duration::from_secs(1))
    }

    /// `limit` calls in any 60 seconds.
    pub fn per_minute(limit: u32) -> Self {
        Self::new(limit, Duration::from_secs(60))
    }

    /// `limit` calls in any 60 minutes.
    pub fn per_hour(limit: u32) -> Self {
        Self::new(limit, Duration::from_secs(3600))
    }

    /// `limit` calls in any 24 hours.
    pub fn per_day(limit: u32) -> Self {
        Self::new(limit, Duration::from_secs(86_400))
    }

    /// No limit. Say it aloud: nothing becomes unlimited by being forgotten.
    pub fn unlimited() -> Self {
        Self { windows: Vec::new() }
    }

    /// This quota and `other`: the windows of both hold.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.windows.extend(other.windows);
        self
    }

    /// The windows, in the order in which they were written.
    pub fn windows(&self) -> &[Window] {
        &self.windows
    }

    /// The most calls that can be in flight at once, each of which holds a slot; `None` if nothing
    /// limits it.
    pub fn most_in_flight(&self) -> Option<u32> {
        self.windows.iter().map(|window| window.limit).min()
    }

    /// Whether the quota can be kept at all.
    ///
    /// # Errors
    /// A window without calls or without time, or of more than a hundred years.
    pub fn check(&self) -> Result<(), QuotaError> {
        const LONGEST: Duration = Duration::from_secs(100 * 366 * 86_400);
        for &window in &self.windows {
            if window.limit == 0 {
                return Err(QuotaError::NoCalls { window });
            }
            if window.length.is_zero() {
                return Err(QuotaError::NoTime { window });
            }
            if window.length > LONGEST {
                return Err(QuotaError::TooLong { window });
            }
        }
        Ok(())
    }
}

impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.windows.is_empty() {
            return f.write_str("unlimited");
        }
        for (i, window) in self.windows.iter().enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            write!(f, "{comma}{window}")?;
        }
        Ok(())
    }
}

/// A quota that cannot be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QuotaError {
    /// It would never let a call through.
    #[error("the window {window} allows no calls; write at least 1")]
    NoCalls {
        /// The window.
        window: Window,
    },
    /// It would never hold a call back.
    #[error("the window {window} has no length; for no limit write Quota::unlimited()")]
    NoTime {
        /// The window.
        window: Window,
    },
    /// It would never end.
    #[error("the window {window} is longer than a hundred years")]
    TooLong {
        /// The window.
        window: Window,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_print_as_people_write_them() {
        let quota = Quota::per_second(10)
            .and(Quota::per_minute(400))
            .and(Quota::per_hour(1000))
            .and(Quota::per_day(5000))
            .and(Quota::new(1, Duration::from_millis(100)))
            .and(Quota::new(60, Duration::from_secs(600)));
        assert_eq!(quota.to_string(), "10/s, 400/min, 1000/h, 5000/day, 1/100ms, 60/600s");
        assert_eq!(Quota::unlimited().to_string(), "unlimited");
    }

    #[test]
    fn a_quota_that_cannot_be_kept_is_refused() {
        let refused = |quota: Quota| quota.check().unwrap_err().to_string();
        assert!(refused(Quota::per_second(0)).contains("allows no calls"));
        assert!(refused(Quota::new(1, Duration::ZERO)).contains("no length"));
        assert!(refused(Quota::new(1, Duration::MAX)).contains("hundred years"));
        assert!(refused(Quota::per_second(1).and(Quota::per_day(0))).contains("0/day"));
        assert_eq!(Quota::unlimited().check(), Ok(()));
    }

    #[test]
    fn the_narrowest_window_bounds_what_is_in_flight() {
        assert_eq!(Quota::per_second(10).and(Quota::per_minute(4)).most_in_flight(), Some(4));
        assert_eq!(Quota::unlimited().most_in_flight(), None);
    }
}
