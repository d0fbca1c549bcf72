//! Colours, gauges, sparklines, and words that wrap.

use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};

use crate::top::model::Window;
use crate::top::text::{Text, time};

/// How a word is meant. The word itself says it too, for terminals and eyes without colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    Plain,
    /// Less important than what stands beside it: labels.
    Quiet,
    Strong,
    Good,
    Warning,
    Bad,
}

/// Gives tones a style.
#[derive(Debug, Clone, Copy)]
pub struct Palette {
    has_colours: bool,
}

impl Palette {
    /// Chooses whether there are colours. Without them, tones are bold, dim or underlined.
    pub fn new(has_colours: bool) -> Self {
        Self { has_colours }
    }

    /// Returns a piece of text in a tone.
    pub fn span(self, text: impl Into<String>, tone: Tone) -> Span<'static> {
        Span::styled(text.into(), self.style(tone))
    }

    fn style(self, tone: Tone) -> Style {
        let (colour, modifier) = match tone {
            Tone::Plain => (None, Modifier::empty()),
            Tone::Quiet => (None, Modifier::DIM),
            Tone::Strong => (None, Modifier::BOLD),
            Tone::Good => (Some(Color::Green), Modifier::empty()),
            Tone::Warning => (Some(Color::Yellow), Modifier::BOLD),
            Tone::Bad => (Some(Color::Red), Modifier::BOLD),
        };
        let style = Style::new().add_modifier(modifier);
        match colour {
            Some(colour) if self.has_colours => style.fg(colour),
            _ => style,
        }
    }

    /// Writes a label and a value.
    pub fn labelled(self, label: &str, value: impl Into<String>, tone: Tone) -> Vec<Span<'static>> {
        vec![self.span(format!("{label} "), Tone::Quiet), self.span(value, tone)]
    }

    /// Draws a window of a quota: how much of it is used, and when it is free again.
    pub fn window(self, window: &Window) -> Vec<Span<'static>> {
        let Window { limit, used, reserve, .. } = *window;
        // A full window of a second is a quota in use. A full one of a minute or a day holds calls back.
        let tone = match window.resets {
            _ if used < limit => Tone::Good,
            Some(resets) if resets < 10.0 => Tone::Strong,
            _ => Tone::Warning,
        };
        let mut spans = vec![
            self.span(format!("{} ", window.window), Tone::Plain),
            self.span(gauge(used, limit), tone),
            self.span(format!(" {used}/{limit}"), Tone::Plain),
        ];
        if used >= limit {
            spans.push(self.span(" full", tone));
        }
        if window.is_cut {
            spans.push(self.span(" cut", Tone::Warning));
        }
        if reserve > 0 {
            spans.push(self.span(format!(" reserve {reserve}"), Tone::Quiet));
        }
        if let Some(resets) = window.resets {
            spans.push(self.span(format!(" resets in {}", time(resets)), Tone::Quiet));
        }
        spans
    }
}

/// Returns the tone of a state, of the gateway, a lane, a breaker, a scan, a notice or a shared quota.
pub fn tone_of(state: &Text) -> Tone {
    match state.as_str() {
        "ok" | "running" | "closed" | "done" => Tone::Good,
        "limited" | "paused" | "draining" | "half_open" | "warning" | "cancelled" | "share" => {
            Tone::Warning
        }
        "session_expired" | "broker_down" | "open" | "forced_open" | "error" | "stopped" => {
            Tone::Bad
        }
        _ => Tone::Plain,
    }
}

/// Returns the tone of a count that should be zero.
pub fn tone_of_failures(count: u64) -> Tone {
    if count == 0 { Tone::Plain } else { Tone::Warning }
}

/// Draws how much of something is used, in ten characters. Any use is visible, and only full use looks full.
pub fn gauge(used: u64, limit: u64) -> String {
    const WIDTH: u64 = 10;
    let filled = match used.min(limit) {
        0 => 0,
        used if used == limit => WIDTH,
        // As 128 bits, because the product may be larger than 64.
        used => (u128::from(used) * u128::from(WIDTH) / u128::from(limit)).clamp(1, 9) as u64,
    };
    (0..WIDTH).map(|at| if at < filled { '█' } else { '░' }).collect()
}

/// Draws rates on a scale from zero to `full`. A gap is a space.
pub fn sparkline(rates: impl Iterator<Item = Option<f64>> + Clone, full: f64) -> String {
    const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let full = rates.clone().flatten().fold(full, f64::max);
    let level = |rate: Option<f64>| match rate {
        Some(rate) if full > 0.0 => {
            // A conversion of a float saturates, and of NaN it is zero.
            let level = (rate / full * 7.0).ceil() as usize;
            LEVELS.get(level.min(7)).copied().unwrap_or(' ')
        }
        Some(_) => '▁',
        None => ' ',
    };
    rates.map(level).collect()
}

/// Sets parts beside each other with two spaces between, and begins a new line where one does not fit.
pub fn wrap(
    parts: impl IntoIterator<Item = Vec<Span<'static>>>,
    width: usize,
    indent: usize,
) -> Vec<Line<'static>> {
    let margin = || Span::raw(" ".repeat(indent));
    let mut lines = Vec::new();
    let mut line = vec![margin()];
    let mut used = indent;
    for part in parts {
        let length: usize = part.iter().map(Span::width).sum();
        let is_first = line.len() == 1;
        if !is_first && used + 2 + length > width {
            lines.push(Line::from(std::mem::replace(&mut line, vec![margin()])));
            used = indent;
        } else if !is_first {
            line.push(Span::raw("  "));
            used += 2;
        }
        line.extend(part);
        used += length;
    }
    if line.len() > 1 {
        lines.push(Line::from(line));
    }
    lines
}

/// Breaks text between words, so that no line is longer than `width`, except a longer word.
pub fn fold(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if Span::raw(&*line).width() + 1 + Span::raw(word).width() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gauge_shows_any_use_and_is_full_only_at_the_limit() {
        for (used, limit, expected) in [
            (0, 10, "░░░░░░░░░░"),
            (1, 5000, "█░░░░░░░░░"),
            (7, 10, "███████░░░"),
            (4999, 5000, "█████████░"),
            (10, 10, "██████████"),
            (11, 10, "██████████"),
            (3, 0, "░░░░░░░░░░"),
            (u64::MAX - 1, u64::MAX, "█████████░"),
        ] {
            assert_eq!(gauge(used, limit), expected, "{used}/{limit}");
        }
    }

    #[test]
    fn a_sparkline_is_on_the_scale_of_the_quota_and_shows_gaps() {
        let rates = [Some(0.0), Some(1.0), None, Some(5.0), Some(10.0)];
        assert_eq!(sparkline(rates.into_iter(), 10.0), "▁▂ ▅█");
        // A rate above the scale stretches it.
        assert_eq!(sparkline([Some(10.0), Some(20.0)].into_iter(), 10.0), "▅█");
        assert_eq!(sparkline([Some(0.0), Some(f64::NAN), Some(-1.0)].into_iter(), 0.0), "▁▁▁");
        assert_eq!(sparkline([Some(f64::INFINITY)].into_iter(), 1.0), "▁");
    }

    #[test]
    fn parts_wrap_where_they_do_not_fit() {
        let parts =
            ["alpha 2", "beta 1", "a very long name 3", "d 4"].map(|part| vec![Span::raw(part)]);
        let lines: Vec<String> = wrap(parts, 17, 2).iter().map(Line::to_string).collect();
        assert_eq!(lines, ["  alpha 2  beta 1", "  a very long name 3", "  d 4"]);
        assert!(wrap([], 10, 2).is_empty());
    }

    #[test]
    fn text_folds_between_words() {
        assert_eq!(fold("the broker refused a call", 10), ["the broker", "refused a", "call"]);
        assert_eq!(fold("unbreakable", 4), ["unbreakable"]);
        assert_eq!(fold("日本 日本", 8), ["日本", "日本"]);
        assert_eq!(fold("", 8), [""]);
    }

    #[test]
    fn without_colours_no_tone_has_one() {
        for tone in [Tone::Plain, Tone::Quiet, Tone::Strong, Tone::Good, Tone::Warning, Tone::Bad] {
            let style = Palette::new(false).span("x", tone).style;
            assert_eq!((style.fg, style.bg), (None, None), "{tone:?}");
        }
        assert_eq!(Palette::new(true).span("x", Tone::Bad).style.fg, Some(Color::Red));
    }
}
