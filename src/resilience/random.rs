//! Randomness is passed in as a uniformly distributed `u64`, so that tests are deterministic.

use std::time::Duration;

/// Returns a random fraction of `whole`, from zero (`random` is 0) to just below all of it
/// (`u64::MAX`).
pub(super) fn scale(whole: Duration, random: u64) -> Duration {
    let part = (u128::from(nanos(whole)) * u128::from(random)) >> 64;
    Duration::from_nanos(u64::try_from(part).unwrap_or(u64::MAX))
}

/// Returns the next number of a sequence that is spread evenly: it advances by the golden ratio.
pub(super) fn next(random: u64) -> u64 {
    random.wrapping_add(0x9E37_79B9_7F4A_7C15)
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_lies_between_nothing_and_just_below_the_whole() {
        let whole = Duration::from_secs(1);
        assert_eq!(scale(whole, 0), Duration::ZERO);
        assert_eq!(scale(whole, 1 << 63), whole / 2);
        assert_eq!(scale(whole, u64::MAX), whole - Duration::from_nanos(1));
        assert_eq!(scale(Duration::ZERO, u64::MAX), Duration::ZERO);
        // 584 years, and no panic.
        assert_eq!(scale(Duration::MAX, u64::MAX), Duration::from_nanos(u64::MAX - 1));
    }

    #[test]
    fn a_row_of_random_numbers_is_spread_evenly() {
        let mut tenths = [0_u32; 10];
        let mut random = 7;
        for _ in 0..1000 {
            random = next(random);
            tenths[(scale(Duration::from_nanos(10), random).as_nanos()) as usize] += 1;
        }
        assert!(tenths.iter().all(|count| (98..=102).contains(count)), "{tenths:?}");
    }
}
