//! Parses YAML into a tree of values with lines.
//!
//! Settings need tables, lists, texts and numbers. Other features of YAML are refused instead of being partly
//! supported: several documents, anchors and aliases (by which a short file can expand without bound),
//! tags, keys that are not texts, and duplicate keys.

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, StrInput};

use super::error::Problem;
use super::node::{ConfigEntry, ConfigNode, ConfigValue};

/// Bounds the recursion of the parser. Settings are nested a few tables deep, so a deeper document is a mistake.
const MAX_DEPTH: usize = 32;

/// Parses a YAML document.
pub(super) fn read(text: &str) -> Result<ConfigNode, Problem> {
    let mut reader = YamlReader { events: Parser::new_from_str(text) };
    let mut root = ConfigNode::new(Some(1), ConfigValue::Null);
    let mut documents = 0;
    loop {
        let (event, line) = reader.next()?;
        match event {
            Event::StreamEnd => return Ok(root),
            Event::Nothing | Event::StreamStart | Event::DocumentEnd => {}
            Event::DocumentStart(_) => {
                documents += 1;
                if documents > 1 {
                    return Err(yaml_problem(line, "there are several documents in it; write one"));
                }
            }
            event => root = reader.node(event, line, 0)?,
        }
    }
}

fn yaml_problem(line: usize, why: &str) -> Problem {
    Problem::new("", Some(line), why)
}

struct YamlReader<'a> {
    events: Parser<'a, StrInput<'a>>,
}

impl<'a> YamlReader<'a> {
    fn next(&mut self) -> Result<(Event<'a>, usize), Problem> {
        let broken = |error: ScanError| yaml_problem(error.marker().line(), error.info());
        let ended = || yaml_problem(1, "the document ends in the middle");
        let (event, span): (Event<'a>, Span) =
            self.events.next().ok_or_else(ended)?.map_err(broken)?;
        Ok((event, span.start.line()))
    }

    fn node(&mut self, event: Event<'a>, line: usize, depth: usize) -> Result<ConfigNode, Problem> {
        if depth > MAX_DEPTH {
            return Err(yaml_problem(line, "tables are nested too deep"));
        }
        let value = match event {
            Event::Scalar(_, _, 1.., _)
            | Event::SequenceStart(1.., _)
            | Event::MappingStart(1.., _)
            | Event::Alias(_) => {
                return Err(yaml_problem(
                    line,
                    "anchors and aliases are not read; write the value out",
                ));
            }
            Event::Scalar(_, _, _, Some(_))
            | Event::SequenceStart(_, Some(_))
            | Event::MappingStart(_, Some(_)) => {
                return Err(yaml_problem(line, "tags are not read; leave them out"));
            }
            Event::Scalar(text, ScalarStyle::Plain, ..) => {
                let value = parse_plain_scalar(&text);
                let is_text = matches!(value, ConfigValue::Text(_) | ConfigValue::Null);
                let written = (!is_text).then(|| text.into());
                return Ok(ConfigNode { line: Some(line), value, written });
            }
            Event::Scalar(text, ..) => ConfigValue::Text(text.into_owned()),
            Event::SequenceStart(..) => self.list(depth)?,
            Event::MappingStart(..) => self.table(depth)?,
            _ => return Err(yaml_problem(line, "the document makes no sense here")),
        };
        Ok(ConfigNode::new(Some(line), value))
    }

    fn list(&mut self, depth: usize) -> Result<ConfigValue, Problem> {
        let mut nodes = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(ConfigValue::List(nodes)),
                (event, line) => nodes.push(self.node(event, line, depth + 1)?),
            }
        }
    }

    fn table(&mut self, depth: usize) -> Result<ConfigValue, Problem> {
        let mut entries: Vec<ConfigEntry> = Vec::new();
        loop {
            let (key, line) = match self.next()? {
                (Event::MappingEnd, _) => return Ok(ConfigValue::Table(entries)),
                (Event::Scalar(key, _, 0, None), line) => (key.into_owned(), line),
                (_, line) => return Err(yaml_problem(line, "a key must be a text")),
            };
            if entries.iter().any(|entry| entry.key == key) {
                return Err(yaml_problem(line, &format!("the key `{key}` is there twice")));
            }
            let (event, value_line) = self.next()?;
            let node = ConfigNode { line: Some(line), ..self.node(event, value_line, depth + 1)? };
            entries.push(ConfigEntry { key, node });
        }
    }
}

/// Parses a text without quotes by the core schema of YAML 1.2.
fn parse_plain_scalar(text: &str) -> ConfigValue {
    let number = text.strip_prefix('+').unwrap_or(text);
    match number {
        "" | "~" | "null" | "Null" | "NULL" => return ConfigValue::Null,
        "true" | "True" | "TRUE" => return ConfigValue::Bool(true),
        "false" | "False" | "FALSE" => return ConfigValue::Bool(false),
        ".nan" | ".NaN" | ".NAN" => return ConfigValue::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" => return ConfigValue::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return ConfigValue::Float(f64::NEG_INFINITY),
        _ => {}
    }
    let is_number = |c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.' | 'e' | 'E');
    if !number.contains(|c: char| c.is_ascii_digit()) || !number.chars().all(is_number) {
        return ConfigValue::Text(text.to_owned());
    }
    let whole = number.parse().ok().map(ConfigValue::Int);
    let other = || number.parse().ok().map(ConfigValue::Float);
    whole.or_else(other).unwrap_or_else(|| ConfigValue::Text(text.to_owned()))
}
