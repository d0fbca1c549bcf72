//! A file as a tree of values with their lines, independent of its format.
//!
//! `toml` and `yaml` build the tree, as does any deserializer of serde, without lines. `table` reads it.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// A value and its line.
#[derive(Debug, Clone, PartialEq)]
pub struct ConfigNode {
    /// The line, counted from 1. `None` if the values came through a deserializer of serde.
    pub(super) line: Option<usize>,
    pub(super) value: ConfigValue,
    /// The text of a number or a truth value of YAML, which a reader may want as a text: `007` and `+49` are not 7 and 49.
    pub(super) written: Option<Box<str>>,
}

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum ConfigValue {
    /// A key without a value.
    Null,
    Bool(bool),
    Int(i64),
    /// A number that is not an integer, or too large for `Int`.
    Float(f64),
    Text(String),
    List(Vec<ConfigNode>),
    Table(Vec<ConfigEntry>),
    /// A value of a type that no setting has: a date.
    Other,
}

/// A key and its value.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ConfigEntry {
    pub(super) key: String,
    pub(super) node: ConfigNode,
}

impl ConfigNode {
    pub(super) fn new(line: Option<usize>, value: ConfigValue) -> Self {
        Self { line, value, written: None }
    }

    /// Returns a table without settings.
    pub fn empty() -> Self {
        Self::new(None, ConfigValue::Table(Vec::new()))
    }
}

impl ConfigValue {
    /// Describes the kind of value, for an error. The content of a text is left out, since it may be a secret in a
    /// wrong place.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "true or false",
            Self::Int(_) | Self::Float(_) => "a number",
            Self::Text(_) => "a text",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
            Self::Other => "a date",
        }
    }
}

/// Reads the tree with any deserializer. Serde has no line numbers.
impl<'de> Deserialize<'de> for ConfigNode {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        reader.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

/// The key under which `serde_json` passes a number if a crate in the same build enables its
/// `arbitrary_precision`, as this crate's own adapters do.
const JSON_NUMBER: &str = "$serde_json::private::Number";

/// Parses a number in JSON, which may have any length.
fn parse_json_number(text: &str) -> ConfigValue {
    let whole = text.parse().map(ConfigValue::Int);
    whole.unwrap_or_else(|_| ConfigValue::Float(text.parse().unwrap_or(f64::NAN)))
}

fn node_without_line<E>(value: ConfigValue) -> Result<ConfigNode, E> {
    Ok(ConfigNode::new(None, value))
}

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = ConfigNode;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("settings")
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<ConfigNode, E> {
        node_without_line(ConfigValue::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<ConfigNode, E> {
        node_without_line(ConfigValue::Int(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<ConfigNode, E> {
        // A number beyond `i64` is larger than any setting can be.
        node_without_line(
            i64::try_from(value).map_or(ConfigValue::Float(f64::INFINITY), ConfigValue::Int),
        )
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<ConfigNode, E> {
        node_without_line(ConfigValue::Float(value))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<ConfigNode, E> {
        node_without_line(ConfigValue::Text(value.to_owned()))
    }

    fn visit_unit<E: de::Error>(self) -> Result<ConfigNode, E> {
        node_without_line(ConfigValue::Null)
    }

    fn visit_none<E: de::Error>(self) -> Result<ConfigNode, E> {
        node_without_line(ConfigValue::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, reader: D) -> Result<ConfigNode, D::Error> {
        ConfigNode::deserialize(reader)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<ConfigNode, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = items.next_element()? {
            nodes.push(node);
        }
        node_without_line(ConfigValue::List(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut items: A) -> Result<ConfigNode, A::Error> {
        let mut entries: Vec<ConfigEntry> = Vec::new();
        while let Some((key, node)) = items.next_entry::<String, ConfigNode>()? {
            if let (JSON_NUMBER, ConfigValue::Text(text)) = (key.as_str(), &node.value) {
                return node_without_line(parse_json_number(text));
            }
            if entries.iter().any(|entry| entry.key == key) {
                return Err(de::Error::custom(format!("the key `{key}` is there twice")));
            }
            entries.push(ConfigEntry { key, node });
        }
        node_without_line(ConfigValue::Table(entries))
    }
}
