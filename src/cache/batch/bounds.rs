//! What a batch cache demands of the types that it is used with.

use std::hash::Hash;

/// What can be a key: anything that is cheap to clone, can be looked up, and may go from thread to
/// thread.
pub trait Key: Clone + Eq + Hash + Send + Sync + 'static {}

impl<T: Clone + Eq + Hash + Send + Sync + 'static> Key for T {}

/// What may be shared by threads: values, and errors.
pub trait Shared: Send + Sync + 'static {}

impl<T: Send + Sync + 'static> Shared for T {}
