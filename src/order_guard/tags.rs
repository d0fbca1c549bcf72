//! Tags that are unique across threads, processes and restarts.
//!
//! A tag is a series and a counter. The series is random, drawn from the operating system when the guard is built,
//! and again when the counter is used up. Letters are lower case, so that a broker that ignores case does no harm.
//! `builder.rs` creates the generator, and `handle.rs` takes a tag for each order.

use parking_lot::Mutex;

use crate::broker::{BrokerError, ErrorDetail, OrderTags, TagSupport};

const DIGITS: [u8; 36] = *b"0123456789abcdefghijklmnopqrstuvwxyz";
/// Digits of the counter: 60 million orders of one series.
const COUNTER_DIGITS: usize = 5;
const COUNTER_LIMIT: u64 = 36_u64.pow(5);
/// The minimum length of a tag. Its 7 random digits have 78 billion values: with a hundred series a day, two of the
/// same day collide about once in 40,000 years.
pub(super) const MIN_TAG_LENGTH: usize = COUNTER_DIGITS + 7;
/// The maximum length of a generated tag without a prefix. Its 15 random digits are enough, so a longer tag would be
/// no safer.
const MAX_TAG_LENGTH: usize = 20;

/// How the guard uses a tag that the caller set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum CallerTags {
    /// The tag is sent as it is, and must be unique for the day. If it is left empty (or `""`), the guard generates
    /// one, and none of the following applies.
    ///
    /// The guard refuses to use a tag a second time ([`NotSent`](BrokerError::NotSent)), unless the first order was
    /// surely not executed, because it was `NotSent` or `Throttled`. It also refuses a tag that the order book would
    /// not show: one that is too long, or has characters that [`OrderTags`] does not allow.
    ///
    /// The guard knows only the orders that passed through it. If another process, or the one before a restart, used
    /// the tag, a search compares the order's instrument and side. If both match, earlier reads of the order book
    /// decide: the guard reads it before the first order with a caller tag on a day, unless that is an exit. An order
    /// in that read is not yours. An order that appears later is, whatever its time, unless the order book is known to
    /// show right times. If the read failed, or the times are right, the time decides: an order placed at most a
    /// minute before yours was sent counts as yours. An earlier one leaves the outcome unknown
    /// ([`LookupResult::Unclear`](crate::LookupResult)), since a clock may be wrong.
    #[default]
    AsIs,
    /// The tag names a strategy rather than an order: it becomes the prefix of a generated tag. An order whose tag is
    /// longer than the broker's longest tag less 12 characters is `NotSent`.
    Prefix,
}

/// Returns the caller's tag if the broker's order book would show it unchanged. If the broker shows no tags, any tag
/// is accepted.
pub(super) fn validate_caller_tag<'a>(
    tag: &'a str,
    tags: &OrderTags,
) -> Result<&'a str, BrokerError> {
    let (longest, symbols) = (tags.max_length(), tags.allowed_symbols());
    let is_allowed = |letter: char| letter.is_ascii_alphanumeric() || symbols.contains(letter);
    let fits = tag.len() <= longest && tag.chars().all(is_allowed);
    if fits || *tags.support() == TagSupport::None {
        return Ok(tag);
    }
    let and = if symbols.is_empty() { "" } else { " and " };
    Err(BrokerError::NotSent(ErrorDetail::new(format!(
        "the tag {tag:?} must be 1 to {longest} ASCII letters and digits{and}{symbols}, or the order \
         could not be found by it: change it, or leave it empty"
    ))))
}

/// Generates unique tags.
#[derive(Debug)]
pub(super) struct TagGenerator {
    max_length: usize,
    series: Mutex<TagSeries>,
}

#[derive(Debug)]
struct TagSeries {
    random: u128,
    count: u64,
}

impl TagGenerator {
    /// Creates a generator of tags of at most `max_length` letters and digits, which must be at least
    /// [`MIN_TAG_LENGTH`].
    pub(super) fn new(max_length: usize) -> Result<Self, getrandom::Error> {
        Ok(Self {
            max_length,
            series: Mutex::new(TagSeries { random: system_random()?, count: 0 }),
        })
    }

    /// Returns a unique tag that begins with `prefix`.
    ///
    /// # Errors
    /// `NotSent`, if the prefix leaves too few characters or is not alphanumeric, or if the operating system's random
    /// source fails for a new series.
    pub(super) fn next(&self, prefix: &str) -> Result<String, BrokerError> {
        let length = self.max_length.min(MAX_TAG_LENGTH.max(prefix.len() + MIN_TAG_LENGTH));
        let generated = length.saturating_sub(prefix.len());
        if generated < MIN_TAG_LENGTH || !prefix.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            let longest = self.max_length.saturating_sub(MIN_TAG_LENGTH);
            return Err(BrokerError::NotSent(ErrorDetail::new(format!(
                "the tag prefix {prefix:?} must be at most {longest} ASCII letters and digits, because the \
                 rest of the tag is what tells the orders apart: shorten it"
            ))));
        }
        let mut series = self.series.lock();
        if series.count == COUNTER_LIMIT {
            series.random = system_random().map_err(|error| {
                BrokerError::NotSent(ErrorDetail::new(format!(
                    "no random numbers from the system for a new tag: {error}"
                )))
            })?;
            series.count = 0;
        }
        let count = series.count;
        series.count += 1;
        let mut tag = prefix.to_owned();
        tag.extend(digits(series.random, generated - COUNTER_DIGITS));
        tag.extend(digits(u128::from(count), COUNTER_DIGITS));
        Ok(tag)
    }
}

fn system_random() -> Result<u128, getrandom::Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)?;
    Ok(u128::from_le_bytes(bytes))
}

/// Returns the lowest `count` digits of a number, the highest first.
fn digits(number: u128, count: usize) -> impl Iterator<Item = char> {
    let exponents = (0..u32::try_from(count).unwrap_or(0)).rev();
    exponents.filter_map(move |exponent| {
        let digit = number / 36_u128.checked_pow(exponent)? % 36;
        DIGITS.get(usize::try_from(digit).ok()?).copied().map(char::from)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn tags_fill_the_length_and_are_all_different() {
        let (one, other) = (TagGenerator::new(20).unwrap(), TagGenerator::new(20).unwrap());
        let tags: Vec<String> =
            (0..2000).flat_map(|_| [&one, &other]).map(|tags| tags.next("").unwrap()).collect();
        assert!(tags.iter().all(|tag| tag.len() == 20));
        assert!(tags.iter().all(|tag| tag.bytes().all(|byte| byte.is_ascii_alphanumeric())));
        assert_eq!(tags.iter().collect::<HashSet<_>>().len(), tags.len());
    }

    #[test]
    fn a_used_up_counter_begins_another_series() {
        let tags = TagGenerator::new(MIN_TAG_LENGTH).unwrap();
        tags.series.lock().count = COUNTER_LIMIT - 1;
        let (last, first) = (tags.next("").unwrap(), tags.next("").unwrap());
        assert!(last.ends_with("zzzzz"), "{last}");
        assert!(first.ends_with("00000"), "{first}");
        assert_ne!(last.get(..7), first.get(..7));
    }

    #[test]
    fn a_prefix_begins_the_tag_and_leaves_room_for_the_rest() {
        let tags = TagGenerator::new(20).unwrap();
        let tag = tags.next("alpha").unwrap();
        assert!(tag.starts_with("alpha") && tag.len() == 20, "{tag}");
        for prefix in ["ninechars", "a b", "ä"] {
            assert!(matches!(tags.next(prefix), Err(BrokerError::NotSent(_))), "{prefix}");
        }
        // With longer tags, prefixes may be longer, and the random part keeps its minimum length.
        let long = TagGenerator::new(48).unwrap();
        assert_eq!(long.next("").unwrap().len(), 20);
        assert!(long.next("a-strategy").is_err());
        assert_eq!(long.next("astrategyofmine").unwrap().len(), 15 + MIN_TAG_LENGTH);
    }
}
