//! Parses TOML into a tree of values with lines.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::Problem;
use super::node::{ConfigEntry, ConfigNode, ConfigValue};

/// Parses a TOML document.
pub(super) fn read(text: &str) -> Result<ConfigNode, Problem> {
    let document = DeTable::parse(text).map_err(|error| {
        let line = error.span().map(|span| line_of(text, span.start));
        // Only the message: the error as a whole shows the line, which may contain a secret.
        Problem::new("", line, error.message().replace('\n', "; "))
    })?;
    Ok(ConfigNode { line: Some(1), value: table(text, document.get_ref()) })
}

fn table(text: &str, table: &DeTable<'_>) -> ConfigValue {
    let entry = |(key, value): (&Spanned<_>, &Spanned<DeValue<'_>>)| ConfigEntry {
        key: AsRef::<str>::as_ref(key.get_ref()).to_owned(),
        node: ConfigNode {
            line: Some(line_of(text, key.span().start)),
            value: convert(text, value),
        },
    };
    let mut entries: Vec<ConfigEntry> = table.iter().map(entry).collect();
    // The parser sorts the entries by name.
    entries.sort_by_key(|entry| entry.node.line);
    ConfigValue::Table(entries)
}

fn convert(text: &str, value: &Spanned<DeValue<'_>>) -> ConfigValue {
    match value.get_ref() {
        DeValue::String(value) => ConfigValue::Text(value.to_string()),
        DeValue::Boolean(value) => ConfigValue::Bool(*value),
        DeValue::Integer(value) => i64::from_str_radix(value.as_str(), value.radix())
            .map_or(ConfigValue::Float(f64::INFINITY), ConfigValue::Int),
        DeValue::Float(value) => ConfigValue::Float(value.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Array(_) => ConfigValue::List,
        DeValue::Table(inner) => table(text, inner),
        DeValue::Datetime(_) => ConfigValue::Other,
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    text.get(..offset).unwrap_or_default().matches('\n').count() + 1
}
