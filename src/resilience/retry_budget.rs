//! A retry budget: limits the retries of a lane to a small fraction of its calls.
//!
//! When a broker is down, every call fails and is to be retried. The load doubles or trebles just
//! when the broker can bear it least, and its quota goes to calls that fail. So each call deposits
//! a fraction of a retry, which expires some seconds later. A small floor is for a lane that makes
//! few calls.

use super::retry::RetryPolicy;
use super::rolling::RollingCounter;
use super::validate::PolicyError;
use crate::quota::Moment;

/// The retries that a lane may still make.
///
/// At any time, the retries of the last [`RetryPolicy::budget_life`] are at most the floor plus the
/// configured percentage of the calls in that time.
///
/// ```
/// use lanekeeper::quota::Moment;
/// use lanekeeper::resilience::{RetryBudget, RetryPolicy};
///
/// let policy = RetryPolicy::default().budget_percent(20).budget_floor(1);
/// let mut budget = RetryBudget::new(&policy)?;
/// let now = Moment::ORIGIN;
/// assert!(budget.withdraw(now)); // The floor,
/// assert!(!budget.withdraw(now)); // and no more,
/// for _ in 0..5 {
///     budget.deposit(now);
/// }
/// assert!(budget.withdraw(now)); // until five calls have earned one.
/// # Ok::<(), lanekeeper::resilience::PolicyError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryBudget {
    /// The deposit of a call, in hundredths of a retry.
    deposit: u64,
    floor: u64,
    recent: RollingCounter<BudgetCounts>,
}

/// The calls and retries of one bucket.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct BudgetCounts {
    calls: u64,
    retries: u64,
}

/// One retry in the unit of deposits, so that a percentage is a whole number of units.
const HUNDREDTHS_PER_RETRY: u64 = 100;

impl RetryBudget {
    /// Creates a budget without deposits.
    ///
    /// # Errors
    /// Fails if the policy is invalid, see [`RetryPolicy::check`].
    pub fn new(policy: &RetryPolicy) -> Result<Self, PolicyError> {
        policy.check()?;
        let (percent, floor, life) = policy.budget();
        Ok(Self { deposit: percent.into(), floor: floor.into(), recent: RollingCounter::new(life) })
    }

    /// Deposits the fraction for a call that is sent for the first time.
    pub fn deposit(&mut self, now: Moment) {
        let counts = self.recent.bucket_at(now);
        counts.calls = counts.calls.saturating_add(1);
    }

    /// Withdraws one retry. Returns whether the budget allowed it.
    #[must_use = "without a retry taken, the call must not be sent again"]
    pub fn withdraw(&mut self, now: Moment) -> bool {
        let (calls, retries) =
            self.recent.buckets_until(now).fold((0_u64, 0_u64), |(calls, retries), counts| {
                (calls.saturating_add(counts.calls), retries.saturating_add(counts.retries))
            });
        let earned =
            calls.saturating_mul(self.deposit).saturating_add(self.floor * HUNDREDTHS_PER_RETRY);
        let affordable = retries.saturating_add(1).saturating_mul(HUNDREDTHS_PER_RETRY) <= earned;
        if affordable {
            self.recent.bucket_at(now).retries += 1;
        }
        affordable
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::ORIGIN + Duration::from_secs(seconds)
    }

    fn count_withdrawals(budget: &mut RetryBudget, now: Moment) -> u32 {
        (0..1000).take_while(|_| budget.withdraw(now)).count() as u32
    }

    #[test]
    fn what_was_earned_is_worth_nothing_ten_seconds_later() {
        let mut budget = RetryBudget::new(&RetryPolicy::default().budget_floor(0)).unwrap();
        (0..50).for_each(|_| budget.deposit(at(0)));
        assert_eq!(count_withdrawals(&mut budget.clone(), at(9)), 10);
        assert_eq!(count_withdrawals(&mut budget, at(10)), 0);
    }

    #[test]
    fn the_floor_comes_back() {
        let mut budget = RetryBudget::new(&RetryPolicy::default().budget_floor(3)).unwrap();
        assert_eq!(count_withdrawals(&mut budget, at(0)), 3);
        assert_eq!(count_withdrawals(&mut budget, at(9)), 0);
        assert_eq!(count_withdrawals(&mut budget, at(10)), 3);
    }

    #[test]
    fn a_budget_of_a_policy_that_makes_no_sense_is_refused() {
        assert!(RetryBudget::new(&RetryPolicy::default().budget_percent(101)).is_err());
    }

    #[test]
    fn a_policy_without_retries_has_no_budget() {
        let mut budget = RetryBudget::new(&RetryPolicy::none()).unwrap();
        (0..50).for_each(|_| budget.deposit(at(0)));
        assert!(!budget.withdraw(at(0)));
    }
}
