//! Names that live as long as the process.
//!
//! The lanes know their calls by `&'static str`, because a trait's names are part of the program. Those of a
//! configuration are not, so each is kept once, for ever. The number of names is that of the configurations' keys, and a
//! configuration that is read again has mostly the same.

use std::collections::HashSet;
use std::sync::LazyLock;

use parking_lot::Mutex;

static NAMES: LazyLock<Mutex<HashSet<&'static str>>> = LazyLock::new(Mutex::default);

/// Returns the name as one that lives for ever.
pub(crate) fn intern(name: &str) -> &'static str {
    let mut names = NAMES.lock();
    if let Some(known) = names.get(name) {
        return known;
    }
    let kept: &'static str = Box::leak(name.to_owned().into_boxed_str());
    names.insert(kept);
    kept
}
