//! Whether a failed call left this process, which decides whether it may be repeated.

/// Whether a call left this process, as far as can be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sent {
    /// It did not, and never will. Repeating the call cannot execute it twice.
    No,
    /// It did, and the broker answered.
    Yes,
    /// It may have. Repeating the call may execute it twice.
    Unknown,
}
