//! Parses TOML into a tree of values with lines.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::Problem;
use super::node::{ConfigEntry, ConfigNode, ConfigValue};

/// Parses a TOML document.
pub(super) fn read(text: &str) -> Result<ConfigNode, Problem> {
    let lines = LineNumbers::new(text);
    let document = DeTable::parse(text).map_err(|error| {
        let line = error.span().map(|span| lines.of(span.start));
        // Only the message: the error as a whole shows the line, which may contain a secret.
        Problem::new("", line, error.message().replace('\n', "; "))
    })?;
    Ok(ConfigNode::new(Some(1), table(&lines, document.get_ref())))
}

fn table(lines: &LineNumbers, table: &DeTable<'_>) -> ConfigValue {
    let entry = |(key, value): (&Spanned<_>, &Spanned<DeValue<'_>>)| ConfigEntry {
        key: AsRef::<str>::as_ref(key.get_ref()).to_owned(),
        node: ConfigNode::new(Some(lines.of(key.span().start)), convert(lines, value.get_ref())),
    };
    let mut entries: Vec<ConfigEntry> = table.iter().map(entry).collect();
    // The parser sorts the entries by name.
    entries.sort_by_key(|entry| entry.node.line);
    ConfigValue::Table(entries)
}

fn convert(lines: &LineNumbers, value: &DeValue<'_>) -> ConfigValue {
    match value {
        DeValue::String(value) => ConfigValue::Text(value.to_string()),
        DeValue::Boolean(value) => ConfigValue::Bool(*value),
        DeValue::Integer(value) => i64::from_str_radix(value.as_str(), value.radix())
            .map_or(ConfigValue::Float(f64::INFINITY), ConfigValue::Int),
        DeValue::Float(value) => ConfigValue::Float(value.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Array(items) => {
            let item = |item: &Spanned<DeValue<'_>>| {
                ConfigNode::new(Some(lines.of(item.span().start)), convert(lines, item.get_ref()))
            };
            ConfigValue::List(items.iter().map(item).collect())
        }
        DeValue::Table(inner) => table(lines, inner),
        DeValue::Datetime(_) => ConfigValue::Other,
    }
}

/// The offsets of the line breaks of a text.
struct LineNumbers(Vec<usize>);

impl LineNumbers {
    fn new(text: &str) -> Self {
        Self(text.match_indices('\n').map(|(offset, _)| offset).collect())
    }

    /// Returns the line of an offset, counted from 1.
    fn of(&self, offset: usize) -> usize {
        self.0.partition_point(|line_break| *line_break < offset) + 1
    }
}
