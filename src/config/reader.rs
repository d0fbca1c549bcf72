//! Reads a file of settings: from its path to a table, and from all problems to one error.
//!
//! The module is public for the crate of the gateway, whose file is read in the same way. It is no interface: it may
//! change with any version, and the gateway depends on exactly one.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

pub use super::lanes::{budget, lane};
pub use super::node::ConfigNode;
#[cfg(feature = "redis")]
pub use super::shared::shared;
pub use super::table::{Problems, Table, join_path};

use super::error::{ConfigError, Problem};
use super::node::ConfigValue;
use super::{toml, yaml};
use crate::bounded::{BoundedReader, ReadLimit};

/// Bounds the memory for a file that is not a configuration. Real ones are far smaller than 1 MiB.
const READ_LIMIT: ReadLimit = ReadLimit::new(1 << 20, 1 << 20);

/// The language of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// TOML.
    Toml,
    /// YAML.
    Yaml,
}

impl Format {
    fn of(path: &Path) -> Result<Self, Problem> {
        let kind = path.extension().and_then(|kind| kind.to_str()).unwrap_or_default();
        match kind.to_ascii_lowercase().as_str() {
            "toml" => Ok(Self::Toml),
            "yaml" | "yml" => Ok(Self::Yaml),
            _ => {
                let why = "the name of the file must end in .toml, .yaml or .yml";
                Err(Problem::new("", None, why))
            }
        }
    }

    /// Parses a text into a tree.
    ///
    /// # Errors
    /// The text is not of this format.
    pub fn parse(self, text: &str) -> Result<ConfigNode, ConfigError> {
        let parsed = match self {
            Self::Toml => toml::read(text),
            Self::Yaml => yaml::read(text),
        };
        parsed.map_err(ConfigError::from)
    }
}

/// Reads a file of at most 1 MiB. Its extension selects the format.
///
/// # Errors
/// The file cannot be read, is not of its format, or cannot be used.
pub fn read_path<T>(path: &Path, read: impl FnOnce(Table<'_>) -> T) -> Result<T, ConfigError> {
    parse_path(path).and_then(|root| read_tree(&root, read)).map_err(|error| error.in_file(path))
}

/// Parses a file of at most 1 MiB into a tree. Its extension selects the format. The error does not name the file.
///
/// # Errors
/// The file cannot be read, or is not of its format.
pub fn parse_path(path: &Path) -> Result<ConfigNode, ConfigError> {
    let format = Format::of(path)?;
    let text = read_to_string(path)
        .map_err(|error| Problem::new("", None, format!("cannot be read: {error}")))?;
    format.parse(&text)
}

fn read_to_string(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    BoundedReader::new(File::open(path)?, READ_LIMIT).read_to_string(&mut text)?;
    Ok(text)
}

/// Reads a text.
///
/// # Errors
/// The text is not of this format, or cannot be used.
pub fn read_text<T>(
    format: Format,
    text: &str,
    read: impl FnOnce(Table<'_>) -> T,
) -> Result<T, ConfigError> {
    read_tree(&format.parse(text)?, read)
}

/// Reads a tree.
///
/// # Errors
/// `read` reported problems, or the tree is not a table.
pub fn read_tree<T>(
    root: &ConfigNode,
    read: impl FnOnce(Table<'_>) -> T,
) -> Result<T, ConfigError> {
    let problems = Problems::default();
    let value = Table::new(String::new(), root, &problems).map(read);
    match (problems.into_inner(), value) {
        (none, Some(value)) if none.is_empty() => Ok(value),
        (some, _) => Err(ConfigError::new(some)),
    }
}

/// Returns the line of each key and of each item of a list, by its path.
pub fn lines(root: &ConfigNode) -> BTreeMap<String, usize> {
    fn add(lines: &mut BTreeMap<String, usize>, path: String, node: &ConfigNode) {
        match &node.value {
            ConfigValue::Table(entries) => {
                for entry in entries {
                    add(lines, join_path(&path, &entry.key), &entry.node);
                }
            }
            ConfigValue::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    add(lines, format!("{path}[{index}]"), item);
                }
            }
            _ => {}
        }
        lines.extend(node.line.map(|line| (path, line)));
    }
    let mut lines = BTreeMap::new();
    add(&mut lines, String::new(), root);
    lines
}
