//! The quotas of a broker, by the names of its lanes.

use super::Quota;

/// What a broker documents of its limits: a quota for each lane, by name.
///
/// ```
/// use lanekeeper::quota::{Limits, Quota};
///
/// let limits = Limits::new()
///     .lane("transactional", Quota::per_second(10))
///     .lane("quote", Quota::per_second(1));
/// assert_eq!(limits.of_lane("quote"), Some(&Quota::per_second(1)));
/// assert_eq!(limits.of_lane("historical"), None);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    // A handful at most, so a list in the order of writing beats a map.
    lanes: Vec<(String, Quota)>,
}

impl Limits {
    /// Nothing documented.
    pub fn new() -> Self {
        Self::default()
    }

    /// The quota of the lane `name`. The last word counts.
    #[must_use]
    pub fn lane(mut self, name: impl Into<String>, quota: Quota) -> Self {
        let name = name.into();
        self.lanes.retain(|(known, _)| *known != name);
        self.lanes.push((name, quota));
        self
    }

    /// The quota of the lane `name`, if one is documented.
    pub fn of_lane(&self, name: &str) -> Option<&Quota> {
        self.lanes.iter().find(|(known, _)| known == name).map(|(_, quota)| quota)
    }

    /// All lanes and their quotas, in the order in which they were written.
    pub fn lanes(&self) -> impl Iterator<Item = (&str, &Quota)> {
        self.lanes.iter().map(|(name, quota)| (name.as_str(), quota))
    }
}
