//! YAML, as a tree with lines.
//!
//! Settings need tables, texts and numbers. What YAML can do beyond that is refused rather than half
//! understood: several documents, anchors and aliases (with which a short file grows without bound),
//! tags, keys that are not texts, and keys that are there twice.

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, StrInput};

use super::error::Problem;
use super::node::{Entry, Node, Value};

/// Settings are three tables deep; more is a mistake.
const DEEPEST: usize = 32;

/// Reads a YAML document.
pub(super) fn read(text: &str) -> Result<Node, Problem> {
    let mut reader = Reader { events: Parser::new_from_str(text) };
    let mut root = Node { line: Some(1), value: Value::Nothing };
    let mut documents = 0;
    loop {
        let (event, line) = reader.next()?;
        match event {
            Event::StreamEnd => return Ok(root),
            Event::Nothing | Event::StreamStart | Event::DocumentEnd => {}
            Event::DocumentStart(_) => {
                documents += 1;
                if documents > 1 {
                    return Err(wrong(line, "there are several documents in it; write one"));
                }
            }
            event => root = reader.node(event, line, 0)?,
        }
    }
}

fn wrong(line: usize, why: &str) -> Problem {
    Problem::new("", Some(line), why)
}

struct Reader<'a> {
    events: Parser<'a, StrInput<'a>>,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<(Event<'a>, usize), Problem> {
        let broken = |error: ScanError| wrong(error.marker().line(), error.info());
        let ended = || wrong(1, "the document ends in the middle");
        let (event, span): (Event<'a>, Span) =
            self.events.next().ok_or_else(ended)?.map_err(broken)?;
        Ok((event, span.start.line()))
    }

    fn node(&mut self, event: Event<'a>, line: usize, depth: usize) -> Result<Node, Problem> {
        if depth > DEEPEST {
            return Err(wrong(line, "tables are nested too deep"));
        }
        let value = match event {
            Event::Scalar(_, _, 1.., _)
            | Event::SequenceStart(1.., _)
            | Event::MappingStart(1.., _)
            | Event::Alias(_) => {
                return Err(wrong(line, "anchors and aliases are not read; write the value out"));
            }
            Event::Scalar(_, _, _, Some(_))
            | Event::SequenceStart(_, Some(_))
            | Event::MappingStart(_, Some(_)) => {
                return Err(wrong(line, "tags are not read; leave them out"));
            }
            Event::Scalar(text, ScalarStyle::Plain, ..) => plain(&text),
            Event::Scalar(text, ..) => Value::Text(text.into_owned()),
            Event::SequenceStart(..) => self.list(depth)?,
            Event::MappingStart(..) => self.table(depth)?,
            _ => return Err(wrong(line, "the document makes no sense here")),
        };
        Ok(Node { line: Some(line), value })
    }

    /// No setting is a list, so what is in it does not matter.
    fn list(&mut self, depth: usize) -> Result<Value, Problem> {
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Value::List),
                (event, line) => self.node(event, line, depth + 1)?,
            };
        }
    }

    fn table(&mut self, depth: usize) -> Result<Value, Problem> {
        let mut entries: Vec<Entry> = Vec::new();
        loop {
            let (key, line) = match self.next()? {
                (Event::MappingEnd, _) => return Ok(Value::Table(entries)),
                (Event::Scalar(key, _, 0, None), line) => (key.into_owned(), line),
                (_, line) => return Err(wrong(line, "a key must be a text")),
            };
            if entries.iter().any(|entry| entry.key == key) {
                return Err(wrong(line, &format!("the key `{key}` is there twice")));
            }
            let (event, at) = self.next()?;
            let node = Node { line: Some(line), ..self.node(event, at, depth + 1)? };
            entries.push(Entry { key, node });
        }
    }
}

/// A text without quotes, by the core schema of YAML 1.2.
fn plain(text: &str) -> Value {
    let number = text.strip_prefix('+').unwrap_or(text);
    match number {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Nothing,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        ".nan" | ".NaN" | ".NAN" => return Value::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" => return Value::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return Value::Float(f64::NEG_INFINITY),
        _ => {}
    }
    let is_number = |c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.' | 'e' | 'E');
    if !number.contains(|c: char| c.is_ascii_digit()) || !number.chars().all(is_number) {
        return Value::Text(text.to_owned());
    }
    let whole = number.parse().ok().map(Value::Int);
    let other = || number.parse().ok().map(Value::Float);
    whole.or_else(other).unwrap_or_else(|| Value::Text(text.to_owned()))
}
