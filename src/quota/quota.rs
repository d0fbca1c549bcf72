//! A quota: the set of windows that users write.

use std::time::Duration;

use jiff::tz::TimeZone;

use super::error::QuotaError;
use super::moment::nanos;
use super::window::{DEFAULT_CLOCK_GUARD, Window, WindowKind};

/// Upper bound of a clock guard. It must stay well below half a day, or a call could count in three days.
const MAX_CLOCK_GUARD: Duration = Duration::from_secs(6 * 3600);

/// A set of windows, all of which hold. As text it can be printed and read: `10/s, 400/min`.
///
/// ```
/// use std::time::Duration;
/// use lanekeeper::quota::Quota;
///
/// let orders = Quota::per_second(10).and(Quota::per_minute(400));
/// assert_eq!(orders.to_string(), "10/s, 400/min");
///
/// // Evenly spread, in place of 20 calls at once and then none for a minute.
/// assert_eq!(Quota::per_minute(20).spaced().to_string(), "20/min spaced");
/// assert_eq!(Quota::new(3, Duration::from_millis(500)).to_string(), "3/500ms");
/// ```
///
/// An invalid quota (no calls at all, no length) is an error when the lane is built, see [`Quota::check`]. The
/// constructors accept any value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quota {
    windows: Vec<Window>,
}

impl Quota {
    /// `limit` calls in any span of `length`.
    pub fn new(limit: u32, length: Duration) -> Self {
        Self::single(limit, length, WindowKind::SlidingLog)
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

    /// A bucket of `burst` tokens, full at first, that fills at `limit` in each `length`. For a
    /// broker that counts like that: in a span of `length` it lets `burst + limit` calls through.
    pub fn token_bucket(limit: u32, length: Duration, burst: u32) -> Self {
        Self::single(limit, length, WindowKind::TokenBucket { burst })
    }

    /// `limit` calls in a window of `length`, estimated from two counts. For a broker that counts
    /// like that, and beside another window: by itself it lets up to twice the limit through in some
    /// spans of `length`. The counts begin at whole multiples of `length` since 1970.
    pub fn sliding_counter(limit: u32, length: Duration) -> Self {
        Self::single(limit, length, WindowKind::SlidingCounter)
    }

    /// `limit` calls from one midnight of `zone` to the next. A fixed offset needs no zone database.
    ///
    /// ```
    /// use lanekeeper::jiff::tz::{Offset, TimeZone};
    /// use lanekeeper::quota::Quota;
    ///
    /// let india = TimeZone::fixed(Offset::from_seconds(19_800)?);
    /// let orders = Quota::per_calendar_day(5000, india);
    /// assert_eq!(orders.to_string(), "5000/day from midnight +05:30");
    /// # Ok::<(), lanekeeper::jiff::Error>(())
    /// ```
    pub fn per_calendar_day(limit: u32, zone: TimeZone) -> Self {
        let kind = WindowKind::Calendar { zone, guard: DEFAULT_CLOCK_GUARD };
        Self::single(limit, Duration::from_secs(86_400), kind)
    }

    /// Sets how much the broker's clock may differ from ours, in windows that begin at midnight. 2 s by default. For
    /// this long before and after midnight, a call counts in both days.
    #[must_use]
    pub fn clock_guard(mut self, within: Duration) -> Self {
        for window in &mut self.windows {
            if let WindowKind::Calendar { guard, .. } = &mut window.kind {
                *guard = within;
            }
        }
        self
    }

    /// No limit. It must be written explicitly: a forgotten quota is an error, not unlimited.
    pub fn unlimited() -> Self {
        Self { windows: Vec::new() }
    }

    fn single(limit: u32, length: Duration, kind: WindowKind) -> Self {
        Self { windows: vec![Window { limit, length, kind, spaced: false }] }
    }

    /// Spreads the calls of each window evenly: after a call is sent, the next one waits for `length / limit`, rounded
    /// up to a nanosecond. A call of weight 3 is followed by three such gaps. With several windows the widest gap
    /// decides: 150 ms for `10/s, 400/min`. The windows hold as before.
    ///
    /// - The gap is counted from departure to departure. So slow answers do not cost quota: as many calls may be in
    ///   flight as without spacing.
    /// - [Urgent](crate::lane::Priority::URGENT) calls do not wait for the gap. The calls after them do.
    /// - The gap of a token bucket is that of its rate, so its burst is left to urgent calls.
    /// - A calendar day is spread over 23 hours, the length of the shortest one. Space the other windows before you
    ///   add a day, if the day's calls may be used up sooner.
    /// - An unlimited quota has no gap. A limit of 0 is an error of [`check`](Self::check), as without spacing.
    ///
    /// Each gap begins when a call was really sent. So the microseconds by which a thread wakes up late add up.
    ///
    /// ```
    /// use std::time::Duration;
    /// use lanekeeper::quota::{Moment, NotYet, Pacer, Quota, RttCredit};
    ///
    /// let mut pacer = Pacer::new(&Quota::per_minute(20).spaced(), RttCredit::STRICT)?;
    /// let start = Moment::from_nanos(0);
    /// let first = pacer.take(start).unwrap();
    /// let next = start + Duration::from_secs(3);
    /// assert_eq!(pacer.take(start), Err(NotYet::Until(next)));
    /// // The first call is still in flight.
    /// assert!(pacer.take(next).is_ok());
    ///
    /// // Only the rate of a second is spread, and not the calls of a day.
    /// let orders = Quota::per_second(10).spaced().and(Quota::per_day(5000));
    /// assert_eq!(orders.to_string(), "10/s spaced, 5000/day");
    /// # let _ = first;
    /// # Ok::<(), lanekeeper::quota::QuotaError>(())
    /// ```
    #[must_use]
    pub fn spaced(mut self) -> Self {
        self.windows.iter_mut().for_each(|window| window.spaced = true);
        self
    }

    /// Combines two quotas: the windows of both apply.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.windows.extend(other.windows);
        self
    }

    /// Returns the windows, in the order in which they were written.
    pub fn windows(&self) -> &[Window] {
        &self.windows
    }

    /// Returns the most calls that can be in flight at once, as each holds a slot. `None` if there is no limit.
    pub fn max_in_flight(&self) -> Option<u32> {
        self.windows.iter().map(Window::capacity).min()
    }

    /// Checks whether the quota is valid.
    ///
    /// # Errors
    /// A window without calls or without time, or of more than a hundred years; a bucket that holds
    /// nothing; a calendar without a known zone, or with a guard of more than six hours.
    pub fn check(&self) -> Result<(), QuotaError> {
        const MAX_LENGTH: Duration = Duration::from_secs(100 * 366 * 86_400);
        for window in &self.windows {
            let refused = || window.clone();
            if window.limit == 0 {
                return Err(QuotaError::NoCalls { window: refused() });
            }
            if window.length.is_zero() {
                return Err(QuotaError::NoTime { window: refused() });
            }
            if window.length > MAX_LENGTH {
                return Err(QuotaError::TooLong { window: refused() });
            }
            match &window.kind {
                WindowKind::TokenBucket { burst: 0 } => {
                    return Err(QuotaError::NoBurst { window: refused() });
                }
                WindowKind::Calendar { zone, .. } if zone.is_unknown() => {
                    return Err(QuotaError::NoZone { window: refused() });
                }
                WindowKind::Calendar { guard, .. } if *guard > MAX_CLOCK_GUARD => {
                    return Err(QuotaError::Guard { window: refused(), guard: *guard });
                }
                // A bucket that takes longer than that to fill would never be full again.
                WindowKind::TokenBucket { .. } if window.retention() > nanos(MAX_LENGTH) => {
                    return Err(QuotaError::TooLong { window: refused() });
                }
                _ => {}
            }
        }
        Ok(())
    }
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
        let zone = TimeZone::fixed(jiff::tz::Offset::from_seconds(19_800).unwrap());
        let other = Quota::token_bucket(10, Duration::from_secs(1), 20)
            .and(Quota::sliding_counter(20, Duration::from_secs(1)))
            .and(Quota::per_calendar_day(5000, zone))
            .and(Quota::per_calendar_day(1, TimeZone::UTC));
        assert_eq!(
            other.to_string(),
            "10/s with bursts of 20, 20/s by a sliding counter, 5000/day from midnight +05:30, \
             1/day from midnight UTC"
        );
    }

    #[test]
    fn a_quota_that_cannot_be_kept_is_refused() {
        let refused = |quota: Quota| quota.check().unwrap_err().to_string();
        assert!(refused(Quota::per_second(0)).contains("allows no calls"));
        assert!(refused(Quota::new(1, Duration::ZERO)).contains("no length"));
        assert!(refused(Quota::new(1, Duration::MAX)).contains("hundred years"));
        assert!(refused(Quota::per_second(1).and(Quota::per_day(0))).contains("0/day"));
        assert!(refused(Quota::token_bucket(1, Duration::from_secs(1), 0)).contains("burst"));
        let century = Duration::from_secs(99 * 366 * 86_400);
        assert!(refused(Quota::token_bucket(1, century, 2)).contains("hundred years"));
        assert!(refused(Quota::per_calendar_day(1, TimeZone::unknown())).contains("time zone"));
        let day = Quota::per_calendar_day(1, TimeZone::UTC);
        assert!(refused(day.clone().clock_guard(Duration::from_secs(21_601))).contains("6 h"));
        assert_eq!(day.check(), Ok(()));
        // The widest of each.
        let century = Duration::from_secs(100 * 366 * 86_400);
        assert_eq!(day.clock_guard(Duration::from_secs(21_600)).check(), Ok(()));
        assert_eq!(Quota::new(1, century).check(), Ok(()));
        assert_eq!(Quota::token_bucket(1, century, 1).check(), Ok(()));
        assert_eq!(Quota::unlimited().check(), Ok(()));
    }

    #[test]
    fn the_narrowest_window_bounds_what_is_in_flight() {
        assert_eq!(Quota::per_second(10).and(Quota::per_minute(4)).max_in_flight(), Some(4));
        assert_eq!(Quota::unlimited().max_in_flight(), None);
    }
}
