//! Tags that are unique across threads, processes and restarts.
//!
//! A tag is a series and a counter. The series is random, drawn from the operating system when the guard is built,
//! and again when the counter is used up. Letters are lower case, so that a broker that ignores case does no harm.

use parking_lot::Mutex;

use crate::broker::{BrokerError, ErrorDetail, OrderTags, TagSupport};

const DIGITS: [u8; 36] = *b"0123456789abcdefghijklmnopqrstuvwxyz";
/// Digits of the counter: 60 million orders of one series.
const COUNTER_DIGITS: usize = 5;
const COUNTER_LIMIT: u64 = 36_u64.pow(5);
/// The least length of a tag. With 7 random digits and a hundred series a day, two collide once in 40,000 years.
pub(super) const MIN_TAG_LENGTH: usize = COUNTER_DIGITS + 7;
/// A longer tag is no safer.
const MAX_TAG_LENGTH: usize = 20;

/// How a tag that the caller set is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum CallerTags {
    /// The tag is sent as it is, and must be unique for the day. A guard refuses to use it a second time
    /// ([`NotSent`](BrokerError::NotSent)), unless the first order was surely not executed, because it was `NotSent`
    /// or `Throttled`. It also refuses a tag that the order book would not show: one that is too long, or has
    /// characters that [`OrderTags`] does not allow. The guard knows only the orders that passed through it. If
    /// another process, or the one before a restart, used the tag, a search compares the order's instrument and side.
    /// If both match, earlier reads of the order book decide: the guard reads it before the first order with a caller
    /// tag on a day, unless that is an exit. An order in that read is not yours, and an order that appears later is,
    /// whatever its time. If the read failed, the time decides: an order placed less than a minute before counts as
    /// yours, and an earlier one leaves the outcome unknown ([`LookupResult::Unclear`](crate::LookupResult)), since a
    /// clock may be wrong. None of this applies if you leave the tag empty (or `""`).
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
    let is_one = |letter: char| letter.is_ascii_alphanumeric() || symbols.contains(letter);
    let fits = tag.len() <= longest && tag.chars().all(is_one);
    if fits || *tags.support() == TagSupport::None {
        return Ok(tag);
    }
    let and = if symbols.is_empty() { "" } else { " and " };
    Err(BrokerError::NotSent(ErrorDetail::new(format!(
        "the tag {tag:?} is to be 1 to {longest} ASCII letters and digits{and}{symbols}, or the order \
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
    /// Creates a generator of tags of at most `longest` letters and digits, which must be at least
    /// [`MIN_TAG_LENGTH`].
    pub(super) fn new(longest: usize) -> Result<Self, getrandom::Error> {
        Ok(Self {
            max_length: longest,
            series: Mutex::new(TagSeries { random: system_random()?, count: 0 }),
        })
    }

    /// Returns a tag that begins with `label`.
    pub(super) fn next(&self, label: &str) -> Result<String, BrokerError> {
        let room = self.max_length.min(MAX_TAG_LENGTH.max(label.len() + MIN_TAG_LENGTH));
        let room = room.saturating_sub(label.len());
        if room < MIN_TAG_LENGTH || !label.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            let longest = self.max_length.saturating_sub(MIN_TAG_LENGTH);
            return Err(BrokerError::NotSent(ErrorDetail::new(format!(
                "the label {label:?} is to be at most {longest} ASCII letters and digits, as the \
                 rest of the tag is what tells the orders apart: shorten it"
            ))));
        }
        let mut run = self.series.lock();
        if run.count == COUNTER_LIMIT {
            run.random = system_random().map_err(|error| {
                BrokerError::NotSent(ErrorDetail::new(format!("no luck for a new tag: {error}")))
            })?;
            run.count = 0;
        }
        let count = run.count;
        run.count += 1;
        let mut tag = label.to_owned();
        tag.extend(digits(run.random, room - COUNTER_DIGITS));
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
    let places = (0..u32::try_from(count).unwrap_or(0)).rev();
    places.filter_map(move |place| {
        let digit = number / 36_u128.checked_pow(place)? % 36;
        DIGITS.get(usize::try_from(digit).ok()?).copied().map(char::from)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn tags_fill_the_room_and_are_all_different() {
        let (one, other) = (TagGenerator::new(20).unwrap(), TagGenerator::new(20).unwrap());
        let tags: Vec<String> =
            (0..2000).flat_map(|_| [&one, &other]).map(|tags| tags.next("").unwrap()).collect();
        assert!(tags.iter().all(|tag| tag.len() == 20));
        assert!(tags.iter().all(|tag| tag.bytes().all(|byte| byte.is_ascii_alphanumeric())));
        assert_eq!(tags.iter().collect::<HashSet<_>>().len(), tags.len());
    }

    #[test]
    fn a_used_up_count_begins_another_run() {
        let tags = TagGenerator::new(MIN_TAG_LENGTH).unwrap();
        tags.series.lock().count = COUNTER_LIMIT - 1;
        let (last, first) = (tags.next("").unwrap(), tags.next("").unwrap());
        assert!(last.ends_with("zzzzz"), "{last}");
        assert!(first.ends_with("00000"), "{first}");
        assert_ne!(last.get(..7), first.get(..7));
    }

    #[test]
    fn a_label_begins_the_tag_and_leaves_room_for_the_rest() {
        let tags = TagGenerator::new(20).unwrap();
        let tag = tags.next("alpha").unwrap();
        assert!(tag.starts_with("alpha") && tag.len() == 20, "{tag}");
        for label in ["ninechars", "a b", "ä"] {
            assert!(matches!(tags.next(label), Err(BrokerError::NotSent(_))), "{label}");
        }
        // With longer tags, labels may be longer, and the random part stays as long.
        let roomy = TagGenerator::new(48).unwrap();
        assert_eq!(roomy.next("").unwrap().len(), 20);
        assert!(roomy.next("a-strategy").is_err());
        assert_eq!(roomy.next("astrategyofmine").unwrap().len(), 15 + MIN_TAG_LENGTH);
    }
}
