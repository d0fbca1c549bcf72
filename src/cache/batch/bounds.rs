//! Trait bounds on the key, value and error types of a batch cache.

use std::hash::Hash;

/// A key: cheap to clone, hashable, and safe to share between threads.
pub trait Key: Clone + Eq + Hash + Send + Sync + 'static {}

impl<T: Clone + Eq + Hash + Send + Sync + 'static> Key for T {}

/// A value or an error that threads may share.
pub trait Shared: Send + Sync + 'static {}

impl<T: Send + Sync + 'static> Shared for T {}
