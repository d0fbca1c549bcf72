//! Why the bot could not go on, in one line.

use std::fmt;

use lanekeeper::broker::BrokerError;
use lanekeeper::order_guard::GuardBuildError;
use lanekeeper::proxy::BuildError;

/// An error message of one line.
#[derive(Debug)]
pub struct Failure(String);

impl Failure {
    pub fn new(line: impl Into<String>) -> Self {
        let line: String = line.into();
        // Any underlying error message is folded into one line.
        Self(line.split_whitespace().collect::<Vec<_>>().join(" "))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<BuildError> for Failure {
    fn from(error: BuildError) -> Self {
        Self::new(error.to_string())
    }
}

impl From<GuardBuildError> for Failure {
    fn from(error: GuardBuildError) -> Self {
        Self::new(error.to_string())
    }
}

#[cfg(feature = "journal")]
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
