//! The question that matters most about a failed call: did it leave?

/// Whether a call left this process, as far as can be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sent {
    /// It did not, and never will. Calling again cannot double anything.
    No,
    /// It did, and the broker answered.
    Yes,
    /// It may have. Calling again may do it twice.
    Unknown,
}
