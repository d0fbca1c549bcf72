//! What is wrong with a configuration, with the path of each key.

use std::fmt;
use std::path::{Path, PathBuf};

/// A configuration that cannot be used. Nothing of it was.
///
/// As text it is one line for each problem, `FILE:LINE: PATH: what is wrong`, as far as they are known.
/// It never shows a text that stands where none belongs, since that may be a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    file: Option<PathBuf>,
    problems: Vec<Problem>,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// The key, as in `lanes.quote.retry.base_delay`. Empty if it is about the file as a whole.
    pub path: String,
    /// The line, from 1, if it is known.
    pub line: Option<usize>,
    /// What is wrong, and what may be written instead.
    pub message: String,
}

impl Problem {
    pub(super) fn new(
        path: impl Into<String>,
        line: Option<usize>,
        message: impl Into<String>,
    ) -> Self {
        // A message may repeat what stands in the file, and must stay one line on any terminal.
        let message: String = message.into();
        let message = match message.contains(char::is_control) {
            true => message.chars().map(escape_control).collect(),
            false => message,
        };
        Self { path: path.into(), line, message }
    }
}

fn escape_control(c: char) -> String {
    if c.is_control() { c.escape_default().to_string() } else { c.to_string() }
}

impl ConfigError {
    /// In the order of the lines.
    pub(super) fn new(mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(|problem| problem.line);
        Self { file: None, problems }
    }

    /// The same, of the file of this name.
    #[must_use]
    pub fn in_file(mut self, file: impl AsRef<Path>) -> Self {
        self.file = Some(file.as_ref().to_owned());
        self
    }

    /// All that is wrong; at least one thing.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl From<Problem> for ConfigError {
    fn from(problem: Problem) -> Self {
        Self::new(vec![problem])
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.problems.iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            match (&self.file, problem.line) {
                (Some(file), Some(line)) => write!(f, "{}:{line}: ", file.display()),
                (Some(file), None) => write!(f, "{}: ", file.display()),
                (None, Some(line)) => write!(f, "line {line}: "),
                (None, None) => Ok(()),
            }?;
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path.as_str() {
            "" => f.write_str(&self.message),
            path => write!(f, "{path}: {}", self.message),
        }
    }
}

impl std::error::Error for ConfigError {}
