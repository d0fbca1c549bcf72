//! The errors of a configuration, each with the path of its key.

use std::fmt;
use std::path::{Path, PathBuf};

/// An error for a configuration that cannot be used. No part of it takes effect.
///
/// As text it has one line for each problem, `FILE:LINE: PATH: what is wrong`, as far as these are known.
/// It never shows a text that is in a place for another kind of value, since that may be a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    file: Option<PathBuf>,
    problems: Vec<Problem>,
}

/// One problem of a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// The key, as in `lanes.quote.retry.base_delay`. Empty if the problem concerns the file as a whole.
    pub path: String,
    /// The line, counted from 1, if it is known.
    pub line: Option<usize>,
    /// The problem, and what may be written instead.
    pub message: String,
}

impl Problem {
    /// Returns a problem. Control characters in the message are escaped.
    #[doc(hidden)]
    pub fn new(path: impl Into<String>, line: Option<usize>, message: impl Into<String>) -> Self {
        // A message may repeat text of the file, and must stay on one line on any terminal.
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
    /// Returns an error with these problems, sorted by line.
    #[doc(hidden)]
    pub fn new(mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(|problem| problem.line);
        Self { file: None, problems }
    }

    /// Returns the same error with the name of its file.
    #[must_use]
    pub fn in_file(mut self, file: impl AsRef<Path>) -> Self {
        self.file = Some(file.as_ref().to_owned());
        self
    }

    /// Returns all problems, and at least one.
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
