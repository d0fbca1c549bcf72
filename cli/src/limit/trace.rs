//! Reads recorded requests: one JSON object a line.
//!
//! | key | value | if it is left out |
//! |---|---|---|
//! | `at` | seconds since 1970, or since any other moment: a number, read exactly, and rounded down to a microsecond | an error |
//! | `path` | the path of the request | `/` |
//! | `entries` | an object: each key and its value, in the order of the file | none |
//! | `descriptors` | for rules of envoy: a list of descriptors, each a list of pairs `["key", "value"]`, or an object | none |
//! | `weight` | a whole number | 1 |
//!
//! Values are texts. A number or a truth value is taken as the text that is in the file. An object with a key twice, and
//! a key that is not in the table, are errors.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, BufRead, BufReader, Read};

use lanekeeper::limiter::Request;
use lanekeeper::quota::request_limit::UnixMicros;
use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// Bounds the memory for a file that is no trace.
const MAX_LINE: u64 = 1 << 20;

/// What is wrong with a line of a trace.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct TraceError(String);

impl TraceError {
    /// Returns an error with this explanation. Control characters in it are escaped, since it may repeat text of the file.
    pub fn new(what: impl AsRef<str>) -> Self {
        Self(escaped(what.as_ref()).into_owned())
    }
}

/// Returns the text with its control characters escaped, for a line on any terminal.
pub fn escaped(text: &str) -> Cow<'_, str> {
    let escape = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.into() };
    match text.contains(char::is_control) {
        true => text.chars().map(escape).collect::<String>().into(),
        false => text.into(),
    }
}

impl From<serde_json::Error> for TraceError {
    fn from(error: serde_json::Error) -> Self {
        // The line is that of the text, which is always 1.
        let place = format!(" at line {} column {}", error.line(), error.column());
        let text = error.to_string();
        Self::new(text.strip_suffix(&place).unwrap_or(&text))
    }
}

/// The lines of a trace that are not blank, one at a time.
pub struct Lines<R> {
    reader: BufReader<R>,
    line: Vec<u8>,
    number: u64,
}

impl<R: Read> Lines<R> {
    /// Returns the lines of a reader.
    pub fn new(reader: BufReader<R>) -> Self {
        Self { reader, line: Vec::new(), number: 0 }
    }

    /// Returns the number of the last line, counted from 1.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Returns whether the next line may have to be waited for.
    pub fn may_wait(&self) -> bool {
        !self.reader.buffer().contains(&b'\n')
    }

    /// Returns the next line, or `None` after the last.
    ///
    /// # Errors
    /// The trace cannot be read, the line is longer than 1 MiB, or it is not UTF-8.
    pub fn next(&mut self) -> Result<Option<&str>, TraceError> {
        loop {
            self.number += 1;
            self.line.clear();
            let mut bounded = (&mut self.reader).take(MAX_LINE + 1);
            let read = bounded.read_until(b'\n', &mut self.line);
            if read
                .map_err(|error: io::Error| TraceError::new(format!("cannot be read: {error}")))?
                == 0
            {
                return Ok(None);
            }
            if self.line.len() as u64 > MAX_LINE {
                return Err(TraceError::new(format!("the line is longer than {MAX_LINE} bytes")));
            }
            if !self.line.trim_ascii().is_empty() {
                break;
            }
        }
        match std::str::from_utf8(self.line.trim_ascii()) {
            Ok(line) => Ok(Some(line)),
            Err(_) => Err(TraceError::new("the line is not UTF-8")),
        }
    }
}

/// A recorded request.
pub struct Recorded<'a> {
    at: UnixMicros,
    line: Line<'a>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with the key `at`")]
struct Line<'a> {
    #[serde(borrow)]
    at: &'a RawValue,
    #[serde(borrow, default = "root")]
    path: Cow<'a, str>,
    #[serde(borrow, default)]
    entries: Entries<'a>,
    #[serde(borrow, default)]
    descriptors: Vec<Descriptor<'a>>,
    #[serde(default = "one")]
    weight: u32,
}

fn root() -> Cow<'static, str> {
    Cow::Borrowed("/")
}

fn one() -> u32 {
    1
}

impl<'a> Recorded<'a> {
    /// Parses a line.
    ///
    /// # Errors
    /// The line is not a request as the table of the module has it.
    pub fn parse(line: &'a str) -> Result<Self, TraceError> {
        let line: Line<'_> = serde_json::from_str(line)?;
        Ok(Self { at: parse_seconds(line.at.get())?, line })
    }

    /// Returns when the request arrived.
    pub fn at(&self) -> UnixMicros {
        self.at
    }

    /// Returns what the limiter is asked about.
    pub fn request(&self) -> Request<'_> {
        let mut request = Request::new(&self.line.path).weight(self.line.weight);
        for (key, value) in &self.line.entries.0 {
            request = request.entry(key, value);
        }
        for Descriptor(entries) in &self.line.descriptors {
            request = request.descriptor(entries.iter().map(|(key, value)| (&**key, &**value)));
        }
        request
    }
}

type Pair<'a> = (Cow<'a, str>, Cow<'a, str>);

/// An object of texts, in the order of the file.
#[derive(Default)]
struct Entries<'a>(Vec<Pair<'a>>);

/// A list of pairs, or an object. Only a list may have a key twice.
struct Descriptor<'a>(Vec<Pair<'a>>);

impl<'de: 'a, 'a> Deserialize<'de> for Entries<'a> {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        reader.deserialize_map(PairsVisitor { may_be_list: false }).map(Self)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Descriptor<'a> {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        reader.deserialize_any(PairsVisitor { may_be_list: true }).map(Self)
    }
}

struct PairsVisitor {
    may_be_list: bool,
}

impl<'de> Visitor<'de> for PairsVisitor {
    type Value = Vec<Pair<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = if self.may_be_list { ", or a list of pairs" } else { "" };
        write!(f, "an object of keys and values{list}")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut pairs: Self::Value = Vec::new();
        while let Some((Text(key), Word(value))) = map.next_entry()? {
            if pairs.iter().any(|(known, _)| *known == key) {
                return Err(de::Error::custom(format_args!("the key `{key}` is there twice")));
            }
            pairs.push((key, value));
        }
        Ok(pairs)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        if !self.may_be_list {
            return Err(de::Error::invalid_type(de::Unexpected::Seq, &self));
        }
        let mut pairs = Vec::new();
        while let Some((Text(key), Word(value))) = list.next_element()? {
            pairs.push((key, value));
        }
        Ok(pairs)
    }
}

/// A text, which borrows from the line unless it has an escape.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// A text, or a number or a truth value as the text that it was written as.
struct Word<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Word<'a> {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        let raw = <&'de RawValue>::deserialize(reader)?.get();
        match raw.as_bytes() {
            [b'"', inner @ .., b'"'] if !inner.contains(&b'\\') => {
                Ok(Self(Cow::Borrowed(&raw[1..raw.len() - 1])))
            }
            [b'"', ..] => serde_json::from_str(raw).map(Self).map_err(de::Error::custom),
            [b'-' | b'0'..=b'9' | b't' | b'f', ..] => Ok(Self(Cow::Borrowed(raw))),
            _ => Err(de::Error::custom("a value is a text, a number, true or false")),
        }
    }
}

/// The end of the year 9999. A moment beyond is not in seconds.
const MAX_SECONDS: u64 = 253_402_300_800;

/// Parses a number of JSON as seconds, without a float in between. What is less than a microsecond is dropped.
fn parse_seconds(text: &str) -> Result<UnixMicros, TraceError> {
    let error = |what: &str| Err(TraceError::new(format!("`at` is a number of seconds{what}")));
    let (is_negative, number) =
        text.strip_prefix('-').map_or((false, text), |number| (true, number));
    if !number.starts_with(|c: char| c.is_ascii_digit()) {
        return error("");
    }
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() {
        return Ok(UnixMicros::new(0));
    }
    if is_negative {
        return error(", not below 0");
    }
    // An exponent with more digits than this type has is beyond any other number here.
    let huge = if exponent.starts_with('-') { i64::MIN } else { i64::MAX };
    let exponent = exponent.parse().unwrap_or(huge);
    let fraction_len = i64::try_from(fraction.len()).unwrap_or(i64::MAX);
    // The moment is the digits, times ten to the power of this, in microseconds.
    let shift = exponent.saturating_sub(fraction_len).saturating_add(6);
    let micros = match usize::try_from(shift) {
        Ok(zeros) if digits.len().saturating_add(zeros) <= 18 => {
            (digits.to_owned() + &"0".repeat(zeros)).parse().ok()
        }
        Ok(_) => None,
        Err(_) => {
            let dropped = usize::try_from(shift.unsigned_abs()).unwrap_or(usize::MAX);
            match digits.len().saturating_sub(dropped) {
                0 => Some(0),
                kept if kept <= 18 => digits[..kept].parse().ok(),
                _ => None,
            }
        }
    };
    match micros.filter(|micros| *micros < MAX_SECONDS * 1_000_000) {
        Some(micros) => Ok(UnixMicros::new(micros)),
        None => error(" up to the year 9999, and this one is beyond: is it in milliseconds?"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_exact_to_the_microsecond_and_rounded_down() {
        for (text, micros) in [
            ("0", 0),
            ("-0", 0),
            ("-0.0e5", 0),
            ("1.5", 1_500_000),
            ("1e3", 1_000_000_000),
            ("1.5E+3", 1_500_000_000),
            ("0.000001", 1),
            ("0.0000019", 1),
            ("1e-6", 1),
            ("9e-7", 0),
            ("1e-99999999999999999999", 0),
            ("0e99999999999999999999", 0),
            ("0.00000000000000000000000012e25", 1_200_000),
            // The floats beside these are other microseconds.
            ("1796000000.123457", 1_796_000_000_123_457),
            ("253402300799.999999", 253_402_300_799_999_999),
            ("123456789012.34567899999999999999", 123_456_789_012_345_678),
        ] {
            assert_eq!(parse_seconds(text).unwrap(), UnixMicros::new(micros), "{text}");
        }
        for text in
            ["253402300800", "1796000000123", "1e12", "1e99999999999999999999", "-1", "-1e-9"]
        {
            assert!(parse_seconds(text).is_err(), "{text}");
        }
        for text in ["\"1\"", "null", "true", "[1]", "{}"] {
            assert_eq!(parse_seconds(text).unwrap_err().0, "`at` is a number of seconds");
        }
    }

    /// `arbitrary_precision` is on or off, as other crates of the build have it.
    #[test]
    fn values_are_as_they_were_written() {
        let line = r#"{"at":1,"entries":{"z":"a\u0041","n":1.10,"big":123456789012345678901234567890,"t":true}}"#;
        let recorded = Recorded::parse(line).unwrap();
        let request = recorded.request();
        assert_eq!(request.value("z"), Some("aA"));
        assert_eq!(request.value("n"), Some("1.10"));
        assert_eq!(request.value("big"), Some("123456789012345678901234567890"));
        assert_eq!(request.value("t"), Some("true"));
        assert_eq!(request.path(), "/");
        let keys: Vec<&str> = recorded.line.entries.0.iter().map(|(key, _)| &**key).collect();
        assert_eq!(keys, ["z", "n", "big", "t"]);
    }

    #[test]
    fn descriptors_are_lists_of_pairs_or_objects() {
        let of = |text: &str| {
            let line = format!(r#"{{"at":1,"descriptors":{text}}}"#);
            let error = |error: TraceError| error.to_string();
            Recorded::parse(&line).map_err(error).map(|recorded| {
                format!(
                    "{:?}",
                    recorded.line.descriptors.iter().map(|it| &it.0).collect::<Vec<_>>()
                )
            })
        };
        let pairs = of(r#"[[["b","1"],["a",2],["b",true]],[]]"#).unwrap();
        assert_eq!(pairs, r#"[[("b", "1"), ("a", "2"), ("b", "true")], []]"#);
        assert_eq!(of(r#"[{"b":"1","a":2}]"#).unwrap(), r#"[[("b", "1"), ("a", "2")]]"#);
        for (text, error) in [
            (r#"[{"a":"1","a":"2"}]"#, "the key `a` is there twice"),
            (r#"[[["a"]]]"#, "invalid length 1"),
            (r#"[[["a","b","c"]]]"#, "trailing characters"),
            (r#"[[["a",null]]]"#, "a value is a text, a number, true or false"),
            (r#"[7]"#, "expected an object of keys and values, or a list of pairs"),
            (r#"[[[1,"a"]]]"#, "expected a string"),
        ] {
            let found = of(text).unwrap_err();
            assert!(found.contains(error), "{text}: {found}");
        }
    }

    #[test]
    fn an_error_stays_on_its_line() {
        let error = |line: &str| Recorded::parse(line).map(|_| ()).unwrap_err().to_string();
        assert_eq!(
            error(r#"{"at":1,"a\u001b[1mb\n":1}"#).split(',').next(),
            Some("unknown field `a\\u{1b}[1mb\\n`")
        );
        assert_eq!(error("{}"), "missing field `at`");
        assert_eq!(
            error(r#"{"at":1,"entries":[]}"#),
            "invalid type: sequence, expected an object of keys and values"
        );
    }
}
