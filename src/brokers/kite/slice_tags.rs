//! The marks that Kite puts among the tags of an order that it sliced.
//!
//! `autoslice` is on each slice, and on those after the first `autoslice:` with the id of the first. They are no
//! tags of the caller's (kite.trade/forum, comment 51301).

const SLICE_TAG: &str = "autoslice";
const SLICE_OF_PREFIX: &str = "autoslice:";

pub(super) fn is_slice_tag(tag: &str) -> bool {
    tag == SLICE_TAG || tag.starts_with(SLICE_OF_PREFIX)
}

/// The id of the first slice, if the tag names it.
pub(super) fn first_slice_id(tag: &str) -> Option<&str> {
    tag.strip_prefix(SLICE_OF_PREFIX)
}

/// The tags that the caller gave to the order, or somebody else; each once.
pub(super) fn caller_tags(tags: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut found = Vec::new();
    for tag in tags.into_iter().filter(|tag| !is_slice_tag(tag)) {
        if !found.contains(&tag) {
            found.push(tag);
        }
    }
    found
}
