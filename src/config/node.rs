//! A file as a tree of values, each with its line, whatever it was written in.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// A value, and where it is.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    /// Counted from 1; unknown where the values came through another reader.
    pub(super) line: Option<usize>,
    pub(super) value: Value,
}

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    /// A key without a value.
    Nothing,
    Bool(bool),
    Int(i64),
    /// A number that is not whole, or too large.
    Float(f64),
    Text(String),
    List,
    Table(Vec<Entry>),
    /// Something that no setting is: a date.
    Other,
}

/// A key and its value.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) node: Node,
}

impl Value {
    /// What it is, for people. The value of a text stays out: it may be a secret in a wrong place.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Bool(_) => "true or false",
            Self::Int(_) | Self::Float(_) => "a number",
            Self::Text(_) => "a text",
            Self::List => "a list",
            Self::Table(_) => "a table",
            Self::Other => "a date",
        }
    }
}

/// From any reader of serde's, which does not say where things are.
impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        reader.deserialize_any(Any)
    }
}

struct Any;

/// The key under which serde_json hands on a number, where somebody in the same build has switched on its
/// `arbitrary_precision`, as this crate's own adapters do.
const JSON_NUMBER: &str = "$serde_json::private::Number";

/// A number in JSON, which may have any length.
fn number(text: &str) -> Value {
    let whole = text.parse().map(Value::Int);
    whole.unwrap_or_else(|_| Value::Float(text.parse().unwrap_or(f64::NAN)))
}

fn bare<E>(value: Value) -> Result<Node, E> {
    Ok(Node { line: None, value })
}

impl<'de> Visitor<'de> for Any {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("settings")
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Node, E> {
        bare(Value::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Node, E> {
        bare(Value::Int(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Node, E> {
        // Larger than any setting can be.
        bare(i64::try_from(value).map_or(Value::Float(f64::INFINITY), Value::Int))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Node, E> {
        bare(Value::Float(value))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Node, E> {
        bare(Value::Text(value.to_owned()))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Node, E> {
        bare(Value::Nothing)
    }

    fn visit_none<E: de::Error>(self) -> Result<Node, E> {
        bare(Value::Nothing)
    }

    fn visit_some<D: Deserializer<'de>>(self, reader: D) -> Result<Node, D::Error> {
        Node::deserialize(reader)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        while items.next_element::<de::IgnoredAny>()?.is_some() {}
        bare(Value::List)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut entries: Vec<Entry> = Vec::new();
        while let Some((key, node)) = items.next_entry::<String, Node>()? {
            if let (JSON_NUMBER, Value::Text(text)) = (key.as_str(), &node.value) {
                return bare(number(text));
            }
            if entries.iter().any(|entry| entry.key == key) {
                return Err(de::Error::custom(format!("the key `{key}` is there twice")));
            }
            entries.push(Entry { key, node });
        }
        bare(Value::Table(entries))
    }
}
