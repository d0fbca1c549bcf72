//! The clients of a gateway: their keys, and which of them a request is from.
//!
//! - `key.rs` makes keys and compares them. `credentials.rs` finds those that a request carries.
//! - `clients.rs` knows the clients, and what each may do.

pub(crate) mod clients;
mod credentials;
mod key;
mod tier;

pub use key::{KeyHash, NewKey, ParseKeyHashError};

pub(crate) use clients::{AuthError, Caller, Clients};
pub(crate) use credentials::claimed_name;
pub(crate) use tier::{Asked, TierRefusal};
