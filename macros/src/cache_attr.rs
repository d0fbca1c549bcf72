//! Reads the value of `cache = ..`: for how long the answers of a method are kept.

use proc_macro2::Span;
use syn::parse::ParseStream;
use syn::{Error, Ident, LitStr, Result};

const FORM: &str = "write a time with its unit, as \"500ms\", \"30s\", \"15min\", \"12h\" or \"1day\"; or `off`, to \
                    leave it to the builder";

/// The units of a time, in nanoseconds. A longer word comes before its beginning.
const UNITS: [(&str, u64); 6] = [
    ("ms", 1_000_000),
    ("min", 60_000_000_000),
    ("s", 1_000_000_000),
    ("h", 3_600_000_000_000),
    ("days", 86_400_000_000_000),
    ("day", 86_400_000_000_000),
];

/// The key `cache`.
pub(crate) struct CacheKey {
    /// For how long by default, in nanoseconds. `None` is not at all.
    pub(crate) ttl: Option<u64>,
    /// Of the value.
    pub(crate) span: Span,
}

impl CacheKey {
    /// Reads the value after `cache =`.
    pub(crate) fn parse(input: ParseStream<'_>) -> Result<Self> {
        let span = input.span();
        if let Ok(word) = input.parse::<Ident>() {
            return match word == "off" {
                true => Ok(Self { ttl: None, span }),
                false => Err(Error::new(word.span(), FORM)),
            };
        }
        let text: LitStr = input.parse().map_err(|_| Error::new(span, FORM))?;
        let ttl = nanos(&text.value()).ok_or_else(|| Error::new(text.span(), FORM))?;
        if ttl == 0 {
            return Err(Error::new(text.span(), "for no time at all write `cache = off`"));
        }
        Ok(Self { ttl: Some(ttl), span: text.span() })
    }
}

/// Returns the nanoseconds of a time such as `1h 30min`.
fn nanos(text: &str) -> Option<u64> {
    let (mut rest, mut sum) = (text.trim(), 0_u64);
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        let after = rest[digits..].trim_start();
        let word = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (_, unit) = UNITS.iter().find(|(name, _)| *name == &after[..word])?;
        sum = sum.checked_add(number.checked_mul(*unit)?)?;
        rest = after[word..].trim_start();
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::nanos;

    #[test]
    fn a_time_is_a_number_with_a_unit_or_several() {
        assert_eq!(nanos("500ms"), Some(500_000_000));
        assert_eq!(nanos(" 1h 30min "), Some(5_400_000_000_000));
        assert_eq!(nanos("2 days"), Some(172_800_000_000_000));
        for wrong in
            ["", "5", "h", "1.5h", "-1s", "1 fortnight", "99999999999999999999s", "213504days"]
        {
            assert_eq!(nanos(wrong), None, "{wrong}");
        }
    }
}
