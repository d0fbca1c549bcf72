//! The exact oracle: would a broker that counts these arrivals have refused one?
//!
//! Deliberately naive, and unlike the code under test: it evaluates a finished list of arrival times in
//! nanoseconds, with whole numbers only.

/// How a broker counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// The last `limit` arrivals, exactly. An arrival expires after a whole window.
    SlidingLog,
    /// Windows that begin at `phase` and follow each other.
    FixedWindow { phase: u64 },
    /// `limit` tokens at first and at most, one more each `length / limit`.
    TokenBucket,
}

/// Returns how many of `arrivals` (in any order) a broker that counts by `algorithm` would have refused. A refused
/// arrival uses up nothing.
pub fn refused(arrivals: &[u64], limit: u32, length: u64, algorithm: Algorithm) -> usize {
    let mut sorted = arrivals.to_vec();
    sorted.sort_unstable();
    let limit = u64::from(limit);
    let mut refusals = 0;
    match algorithm {
        Algorithm::SlidingLog => {
            let mut admitted: Vec<u64> = Vec::with_capacity(sorted.len());
            for at in sorted {
                let oldest = admitted.len().checked_sub(limit as usize).map(|i| admitted[i]);
                if oldest.is_some_and(|oldest| at - oldest < length) {
                    refusals += 1;
                } else {
                    admitted.push(at);
                }
            }
        }
        Algorithm::FixedWindow { phase } => {
            let (mut window, mut count) = (u64::MAX, 0);
            for at in sorted {
                let here = (at + length - phase % length) / length;
                if here != window {
                    (window, count) = (here, 0);
                }
                if count == limit {
                    refusals += 1;
                } else {
                    count += 1;
                }
            }
        }
        Algorithm::TokenBucket => {
            // In units of 1 / length tokens, so that nothing is rounded.
            let (limit, length) = (u128::from(limit), u128::from(length));
            let full = limit * length;
            let (mut tokens, mut last) = (full, 0_u64);
            for at in sorted {
                tokens = full.min(tokens + u128::from(at - last) * limit);
                last = at;
                if tokens >= length {
                    tokens -= length;
                } else {
                    refusals += 1;
                }
            }
        }
    }
    refusals
}

/// An arrival at a broker: when, and its weight.
pub type Arrival = (u64, u64);

/// How a broker counts calls that differ in weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    /// At most `limit` in any `length`.
    Log { limit: u64, length: u64 },
    /// `burst` at first and at most, `limit` more in each `length`.
    Bucket { limit: u64, length: u64, burst: u64 },
    /// At most `limit` from one multiple of `length` to the next, on a clock that reads `offset` at
    /// zero.
    Days { limit: u64, length: u64, offset: i128 },
    /// Two counts, the older one weighted, on a clock that reads `offset` at zero.
    Counter { limit: u64, length: u64, offset: i128 },
}

/// Returns how many arrivals are one too many.
pub fn count_excess(arrivals: &[Arrival], count: Count) -> usize {
    let mut sorted = arrivals.to_vec();
    sorted.sort_unstable();
    let sum = |from: i128, to: i128, offset: i128, upto: usize| -> u128 {
        let within = |at: u64| (from..to).contains(&(i128::from(at) + offset));
        sorted[..=upto].iter().filter(|(at, _)| within(*at)).map(|(_, w)| u128::from(*w)).sum()
    };
    let wrong = |j: usize| -> bool {
        let at = sorted[j].0;
        match count {
            Count::Log { limit, length } => {
                let at = i128::from(at);
                sum(at - i128::from(length) + 1, at + 1, 0, j) > u128::from(limit)
            }
            Count::Bucket { limit, length, burst } => (0..=j).any(|i| {
                let came: u128 = sorted[i..=j].iter().map(|(_, w)| u128::from(*w)).sum();
                let filled = u128::from(at - sorted[i].0) * u128::from(limit);
                came * u128::from(length) > u128::from(burst) * u128::from(length) + filled
            }),
            Count::Days { limit, length, offset } => {
                let length = i128::from(length);
                let begin = (i128::from(at) + offset).div_euclid(length) * length;
                sum(begin, begin + length, offset, j) > u128::from(limit)
            }
            Count::Counter { limit, length, offset } => {
                let (now, whole) = (i128::from(at) + offset, i128::from(length));
                let begin = now.div_euclid(whole) * whole;
                let left = (begin + whole - now) as u128;
                let before = sum(begin - whole, begin, offset, j) * left;
                let here = sum(begin, now + 1, offset, j) * u128::from(length);
                before + here > u128::from(limit) * u128::from(length)
            }
        }
    };
    (0..sorted.len()).filter(|&j| wrong(j)).count()
}

/// A call, as the broker saw it, and the windows that were in force as it was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CountedCall {
    /// What was sent in an earlier step was sent earlier.
    pub step: usize,
    pub arrived: u64,
    pub weight: u64,
    /// `(limit, length)` each.
    pub windows: Vec<(u64, u64)>,
}

/// Returns how many calls were one too many when they were sent, if the quota changes meanwhile: no window of time
/// that the call arrives in may hold more than was allowed as it was sent, of it and of those sent before it.
pub fn count_excess_in_force(calls: &[CountedCall]) -> usize {
    let wrong = |last: &CountedCall| {
        let earlier: Vec<&CountedCall> =
            calls.iter().filter(|call| call.step <= last.step).collect();
        last.windows.iter().any(|&(limit, length)| {
            let holds = |begin: u64, at: u64| begin <= at && at - begin < length;
            let begins = earlier.iter().map(|call| call.arrived);
            begins.filter(|begin| holds(*begin, last.arrived)).any(|begin| {
                let within = earlier.iter().filter(|call| holds(begin, call.arrived));
                within.map(|call| call.weight).sum::<u64>() > limit
            })
        })
    };
    calls.iter().filter(|call| wrong(call)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oracle_refuses_what_it_should() {
        let sliding = |arrivals: &[u64]| refused(arrivals, 2, 100, Algorithm::SlidingLog);
        assert_eq!(sliding(&[0, 0, 100, 100]), 0);
        assert_eq!(sliding(&[0, 0, 99, 100]), 1);
        let fixed = |a: &[u64]| refused(a, 2, 100, Algorithm::FixedWindow { phase: 30 });
        assert_eq!(fixed(&[10, 29, 30, 40]), 0);
        assert_eq!(fixed(&[30, 40, 129, 130]), 1);
        let bucket = |arrivals: &[u64]| refused(arrivals, 2, 100, Algorithm::TokenBucket);
        assert_eq!(bucket(&[0, 0, 50, 100]), 0);
        assert_eq!(bucket(&[0, 0, 49, 100]), 1);
    }

    #[test]
    fn the_oracle_of_weights_refuses_what_it_should() {
        let log = Count::Log { limit: 3, length: 100 };
        assert_eq!(
            (
                count_excess(&[(0, 2), (99, 1), (100, 2)], log),
                count_excess(&[(0, 2), (99, 2)], log)
            ),
            (0, 1)
        );
        let bucket = Count::Bucket { limit: 2, length: 100, burst: 3 };
        assert_eq!(count_excess(&[(0, 2), (0, 1), (50, 1), (100, 1)], bucket), 0);
        assert_eq!(count_excess(&[(0, 3), (49, 1)], bucket), 1);
        let days = Count::Days { limit: 2, length: 100, offset: 30 };
        assert_eq!(
            (count_excess(&[(69, 2), (70, 2)], days), count_excess(&[(0, 1), (69, 2)], days)),
            (0, 1)
        );
        let counter = Count::Counter { limit: 2, length: 100, offset: 0 };
        assert_eq!(
            (
                count_excess(&[(0, 2), (150, 1)], counter),
                count_excess(&[(0, 2), (149, 1)], counter)
            ),
            (0, 1)
        );
    }

    #[test]
    fn the_oracle_of_changes_goes_by_what_was_in_force() {
        let call = |step, arrived, limit| CountedCall {
            step,
            arrived,
            weight: 1,
            windows: vec![(limit, 100)],
        };
        // Two were allowed, and then one: calls sent before the change count as right.
        assert_eq!(count_excess_in_force(&[call(1, 0, 2), call(2, 50, 2), call(3, 150, 1)]), 0);
        assert_eq!(count_excess_in_force(&[call(1, 0, 2), call(2, 50, 2), call(3, 149, 1)]), 1);
        // A call that overtakes an earlier one counts with it.
        assert_eq!(count_excess_in_force(&[call(1, 90, 2), call(2, 0, 1)]), 1);
    }
}
