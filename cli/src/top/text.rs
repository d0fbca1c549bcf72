//! Text that comes from the gateway, made harmless for a terminal, and numbers as people read them.
//!
//! A client chooses its name, and a broker its error messages. A terminal obeys the control characters in what it
//! shows: they move the cursor, change the title, and in some terminals type commands. [`Text`] replaces them when it
//! is made, so no other part of this command can forget to.

use std::fmt;

use serde::{Deserialize, Deserializer};

/// The most characters of one text. Names and messages are shorter; a longer one would fill the screen.
const MAX_CHARS: usize = 300;

/// Text that a terminal shows and does not obey.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Text(String);

impl Text {
    /// Replaces what a terminal does not show as it is written, and cuts after 300 characters.
    pub fn new(text: &str) -> Self {
        let mut chars =
            text.chars().map(|c| if is_harmless(c) { c } else { char::REPLACEMENT_CHARACTER });
        let mut kept: String = chars.by_ref().take(MAX_CHARS).collect();
        if chars.next().is_some() {
            kept.push('…');
        }
        Self(kept)
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns a state such as `half_open` as words.
    pub fn words(&self) -> String {
        self.0.replace('_', " ")
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self::new(&text))
    }
}

/// Whether a terminal shows the character in its place. Control characters begin commands; the others reorder the text
/// around them, or are invisible, so that two names look the same.
fn is_harmless(c: char) -> bool {
    !c.is_control()
        && !matches!(c,
            '\u{ad}'
            | '\u{61c}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}')
}

/// Writes a time in seconds with the two largest units that matter: `0.4 s`, `52 s`, `3 min 5 s`, `2 h 5 min`.
pub fn time(seconds: f64) -> String {
    if !seconds.is_finite() {
        return "?".to_owned();
    }
    let seconds = seconds.max(0.0);
    if seconds < 9.95 {
        return format!("{seconds:.1} s");
    }
    // A conversion of a float saturates.
    let whole = seconds.round() as u64;
    match whole {
        0..60 => format!("{whole} s"),
        60..3_600 => format!("{} min {} s", whole / 60, whole % 60),
        3_600..86_400 => format!("{} h {} min", whole / 3_600, whole % 3_600 / 60),
        _ => format!("{} d {} h", whole / 86_400, whole % 86_400 / 3_600),
    }
}

/// Writes a time that may be unknown.
pub fn time_or_dash(seconds: Option<f64>) -> String {
    seconds.map_or_else(|| "-".to_owned(), time)
}

/// Writes a rate in calls a second, with a decimal below a hundred.
pub fn rate(calls: f64) -> String {
    match calls {
        _ if !calls.is_finite() => "?".to_owned(),
        ..99.95 => format!("{calls:.1}"),
        _ => format!("{calls:.0}"),
    }
}

/// Returns the time of day of a moment in RFC 3339, in UTC.
pub fn time_of_day(moment: &Text) -> Option<String> {
    let moment: jiff::Timestamp = moment.as_str().parse().ok()?;
    Some(moment.strftime("%H:%M:%S").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_replaced() {
        let hostile = "a\u{1b}[2J\u{7}b\r\nc\u{9b}31m\u{7f}";
        assert_eq!(Text::new(hostile).as_str(), "a�[2J�b��c�31m�");
    }

    #[test]
    fn characters_that_reorder_or_hide_text_are_replaced() {
        assert_eq!(Text::new("pay\u{202e}lla\u{200b}\u{2066}\u{feff}").as_str(), "pay�lla���");
        assert_eq!(Text::new("überlänge 日本 क्ष").as_str(), "überlänge 日本 क्ष");
    }

    #[test]
    fn what_json_brings_is_replaced_too() {
        let text: Text = serde_json::from_str(r#""\u001b]0;title\u0007""#).unwrap();
        assert_eq!(text.as_str(), "�]0;title�");
    }

    #[test]
    fn a_long_text_is_cut() {
        assert_eq!(Text::new(&"x".repeat(300)).as_str().chars().count(), 300);
        assert_eq!(Text::new(&"x".repeat(301)).as_str().chars().last(), Some('…'));
    }

    #[test]
    fn a_time_has_the_two_largest_units() {
        for (seconds, expected) in [
            (0.0, "0.0 s"),
            (-1.0, "0.0 s"),
            (0.44, "0.4 s"),
            (9.96, "10 s"),
            (52.0, "52 s"),
            (59.9, "1 min 0 s"),
            (185.0, "3 min 5 s"),
            (7_500.0, "2 h 5 min"),
            (200_000.0, "2 d 7 h"),
            (f64::NAN, "?"),
            (f64::INFINITY, "?"),
        ] {
            assert_eq!(time(seconds), expected, "{seconds}");
        }
    }

    #[test]
    fn a_moment_is_shown_by_its_time_of_day() {
        let moment = Text::new("2026-11-30T01:35:53.120Z");
        assert_eq!(time_of_day(&moment).as_deref(), Some("01:35:53"));
        assert_eq!(time_of_day(&Text::new("yesterday")), None);
    }
}
