//! The error of the bot, in one line.

use std::fmt;

use lanekeeper::StackBuildError;
use lanekeeper::broker::BrokerError;

/// Why the bot cannot go on, as one line.
#[derive(Debug)]
pub struct Failure(String);

impl Failure {
    pub fn new(line: impl Into<String>) -> Self {
        let line: String = line.into();
        // An underlying error may have several lines. They are joined here.
        Self(line.split_whitespace().collect::<Vec<_>>().join(" "))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<StackBuildError> for Failure {
    fn from(error: StackBuildError) -> Self {
        Self::new(error.to_string())
    }
}

impl From<lanekeeper::PaceFileError> for Failure {
    fn from(error: lanekeeper::PaceFileError) -> Self {
        Self::new(error.to_string())
    }
}

impl From<BrokerError> for Failure {
    fn from(error: BrokerError) -> Self {
        Self::new(error.to_string())
    }
}
