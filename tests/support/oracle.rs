//! The exact oracle: would a broker that counts these arrivals have refused one?
//!
//! Deliberately naive, and unlike the code under test: it looks at a finished list of arrival times
//! in nanoseconds, with whole numbers only.

/// How a broker counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// The last `limit` arrivals, exactly. An arrival a whole window old is forgotten.
    SlidingLog,
    /// Windows that begin at `phase` and follow each other.
    FixedWindow { phase: u64 },
    /// `limit` tokens at first and at most, one more each `length / limit`.
    TokenBucket,
}

/// How many of `arrivals` (any order) a broker that counts by `algorithm` would have refused. A
/// refused arrival uses up nothing.
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
}
