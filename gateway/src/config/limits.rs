//! The settings of the limits of clients: where their rules are, and whether answers show them.

use std::path::{Path, PathBuf};

use lanekeeper::config::ConfigError;
use lanekeeper::limiter::Rules;

/// Limits of the requests of clients, by the rules of a file.
///
/// A request has the entries `client`, `tier`, `account`, `lane`, `method` and `ip`, and its path is that of the broker.
/// An address of IPv6 is its network, as `2001:db8::/64`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LimitsConfig {
    /// The file with the rules, in any format of [`Rules::from_path`].
    pub rules: PathBuf,
    /// Whether answers of the broker get the headers `RateLimit` and `RateLimit-Policy` too. The default is that only
    /// refusals have them, because the gateway passes answers on as they are.
    pub headers: bool,
}

impl LimitsConfig {
    /// Returns the limits with the rules of this file.
    pub fn new(rules: impl Into<PathBuf>) -> Self {
        Self { rules: rules.into(), headers: false }
    }

    /// Reads the rules.
    ///
    /// # Errors
    /// The file cannot be read or used. The error lists every problem, with the file and its lines.
    pub fn read_rules(&self) -> Result<Rules, ConfigError> {
        Rules::from_path(&self.rules)
    }

    /// Takes a relative path for one from the folder of the file that names it.
    pub(super) fn relative_to(&mut self, file: &Path) {
        if let Some(folder) = file.parent() {
            // An absolute path stays as it is.
            self.rules = folder.join(&self.rules);
        }
    }
}
