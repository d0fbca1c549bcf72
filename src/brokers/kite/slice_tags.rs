//! The tags that Kite adds to an order that it sliced.
//!
//! Each slice has `autoslice`, and each after the first has `autoslice:` with the id of the first. They are not tags
//! of the caller (kite.trade/forum, comment 51301).

const SLICE_TAG: &str = "autoslice";
const SLICE_OF_PREFIX: &str = "autoslice:";

pub(super) fn is_slice_tag(tag: &str) -> bool {
    tag == SLICE_TAG || tag.starts_with(SLICE_OF_PREFIX)
}

/// Returns the id of the first slice, if the tag names it.
pub(super) fn first_slice_id(tag: &str) -> Option<&str> {
    tag.strip_prefix(SLICE_OF_PREFIX)
}

/// Returns the tags that Kite did not add, each once.
pub(super) fn caller_tags(tags: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut found = Vec::new();
    for tag in tags.into_iter().filter(|tag| !is_slice_tag(tag)) {
        if !found.contains(&tag) {
            found.push(tag);
        }
    }
    found
}
