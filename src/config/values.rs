//! Reads further kinds of values of a table, which the file of the gateway has: lists, switches, sizes, and texts of any
//! type.

use super::error::Problem;
use super::node::{ConfigNode, ConfigValue};
use super::table::{Table, is_off};

impl<'a> Table<'a> {
    /// Reads `true` or `false`, or `on` or `off`, which YAML 1.1 reads so.
    pub fn switch(&mut self, key: &'static str) -> Option<bool> {
        let node = self.get(key)?;
        let value = match &node.value {
            ConfigValue::Bool(value) => Some(*value),
            ConfigValue::Text(text) if text == "on" => Some(true),
            ConfigValue::Text(text) if text == "off" => Some(false),
            _ => None,
        };
        if value.is_none() {
            self.report_invalid(key, format!("write true or false, not {}", node.value.kind()));
        }
        value
    }

    /// Reads a text. A number or a truth value of YAML is the text that it was written as. TOML has no such text, so there
    /// it is a whole number or a truth value.
    pub fn word(&mut self, key: &'static str) -> Option<String> {
        let node = self.get(key)?;
        if let Some(written) = &node.written {
            return Some(written.to_string());
        }
        match &node.value {
            ConfigValue::Text(text) => Some(text.clone()),
            ConfigValue::Int(number) => Some(number.to_string()),
            ConfigValue::Bool(value) => Some(value.to_string()),
            other => {
                let why = format!("write a text in quotes, not {}", other.kind());
                self.report_invalid(key, why);
                None
            }
        }
    }

    /// Passes over a value that has no meaning here.
    pub fn ignore(&mut self, key: &'static str) {
        let _ = self.get(key);
    }

    /// Returns whether the value of `key` is `off`. Then there is nothing else to read of it.
    pub fn is_off(&mut self, key: &'static str) -> bool {
        self.get(key).is_some_and(|node| is_off(&node.value))
    }

    /// Returns whether the value of `key` is a table.
    pub fn is_table(&mut self, key: &'static str) -> bool {
        self.get(key).is_some_and(|node| matches!(node.value, ConfigValue::Table(_)))
    }

    /// Reads a text that `parse` understands. An error describes it as `what` and does not repeat it.
    pub fn parsed<T>(
        &mut self,
        key: &'static str,
        what: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let value = parse(self.text(key, what)?);
        if value.is_none() {
            self.report_invalid(key, format!("write {what}"));
        }
        value
    }

    /// Reports that `key` exists, but not in this place.
    pub fn report_misplaced_key(&mut self, key: &'static str, why: &str) {
        if self.get(key).is_some() {
            self.report_invalid(key, why);
        }
    }

    /// Reads a number of bytes: a number, or a text with a unit, such as `"64 MiB"`.
    pub fn bytes(&mut self, key: &'static str) -> Option<u64> {
        let node = self.get(key)?;
        let bytes = match &node.value {
            ConfigValue::Int(number) => u64::try_from(*number).ok(),
            ConfigValue::Text(text) => parse_bytes(text),
            _ => None,
        };
        if bytes.is_none() {
            self.report_invalid(key, "write a number of bytes, or a size as \"64 MiB\"");
        }
        bytes
    }

    /// Reads a list of texts that `parse` understands. An error describes each as `what` and does not repeat it.
    pub fn parsed_list<T>(
        &mut self,
        key: &'static str,
        what: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<Vec<T>> {
        let items = self.list(key)?;
        let path = self.key_path(key);
        let read = |(index, item): (usize, &ConfigNode)| {
            let (value, got) = match &item.value {
                ConfigValue::Text(text) => (parse(text), String::new()),
                other => (None, format!(", not {}", other.kind())),
            };
            if value.is_none() {
                let why = format!("write {what}{got}");
                let problem = Problem::new(format!("{path}[{index}]"), item.line, why);
                self.problems.borrow_mut().push(problem);
            }
            value
        };
        // All items are read, so that each problem is reported.
        let values: Vec<Option<T>> = items.iter().enumerate().map(read).collect();
        values.into_iter().collect()
    }

    /// Reads a list of tables. `None` stands for an item that is not a table, which is reported.
    pub fn tables(&mut self, key: &'static str) -> Vec<Option<Self>> {
        let items = self.list(key).unwrap_or_default();
        let path = self.key_path(key);
        let table = |(index, item)| Self::new(format!("{path}[{index}]"), item, self.problems);
        items.iter().enumerate().map(table).collect()
    }

    /// Returns the names in the table `key`, also of those whose value cannot be read.
    pub fn names(&mut self, key: &'static str) -> Vec<&'a str> {
        match self.get(key).map(|node| &node.value) {
            Some(ConfigValue::Table(entries)) => {
                entries.iter().map(|entry| entry.key.as_str()).collect()
            }
            _ => Vec::new(),
        }
    }

    fn list(&mut self, key: &'static str) -> Option<&'a [ConfigNode]> {
        let node = self.get(key)?;
        match &node.value {
            ConfigValue::List(items) => Some(items),
            other => {
                self.report_invalid(key, format!("write a list, not {}", other.kind()));
                None
            }
        }
    }
}

/// Parses a size: a number, and a unit that is a power of 1024 (`KiB`) or of 1000 (`kB`).
fn parse_bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit: u64 = match unit.trim() {
        "" | "B" => 1,
        "kB" | "KB" => 1000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::parse_bytes;

    #[test]
    fn a_size_is_a_whole_number_with_a_unit() {
        for (text, bytes) in [
            ("0", 0),
            ("1000", 1000),
            ("7 B", 7),
            ("500 kB", 500_000),
            ("2KB", 2000),
            ("3 MB", 3_000_000),
            ("4 GB", 4_000_000_000),
            ("1 KiB", 1024),
            (" 64 MiB ", 64 << 20),
            ("2GiB", 2 << 30),
        ] {
            assert_eq!(parse_bytes(text), Some(bytes), "{text}");
        }
        for text in
            ["", "MiB", "-1", "1.5 MiB", "1 Mb", "1 mib", "1 M", "1 MiB x", "99999999999 GiB"]
        {
            assert_eq!(parse_bytes(text), None, "{text}");
        }
    }
}
