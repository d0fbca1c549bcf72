//! The drawings of the book and the README: what a call goes through, and why pacing by completion
//! is safe.
//!
//! They show no measurement, so they are the same on each run. They are written in code so that
//! spacing, colours and text sizes are the same everywhere, and a change is a readable diff. Each has
//! a background of its own and is legible on a light page and on a dark one. A test compares the
//! files in `docs/img` with what this module writes.

mod lanes;
mod svg;
mod timeline;

use std::io;
use std::path::Path;

/// A drawing: the name of its file, and what draws it.
type Drawing = (&'static str, fn() -> String);

const ALL: [Drawing; 2] = [("lanes.svg", lanes::draw), ("timeline.svg", timeline::draw)];

/// Writes all drawings into the folder `images`.
///
/// # Errors
/// A file cannot be written.
pub fn write(images: &Path) -> io::Result<()> {
    ALL.iter().try_for_each(|(name, draw)| std::fs::write(images.join(name), draw()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_are_what_the_code_draws() -> io::Result<()> {
        let images = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/img"));
        for (name, draw) in ALL {
            let file = std::fs::read_to_string(images.join(name))?;
            // A clone may have other line ends.
            let same = file.lines().eq(draw().lines());
            assert!(same, "docs/img/{name} is out of date: run this crate to write it anew");
        }
        Ok(())
    }
}
