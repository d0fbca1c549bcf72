//! The page: text by hand, and generated text between two marks each.

use std::error::Error;
use std::fs;
use std::path::Path;

/// Replaces the text between the marks of `part` by `text`.
///
/// # Errors
/// If the page cannot be read or written, or has no such marks.
pub fn replace(page: &Path, part: &str, text: &str) -> Result<(), Box<dyn Error>> {
    let old = fs::read_to_string(page)?;
    let (begin, end) = (format!("<!-- begin {part} -->\n"), format!("<!-- end {part} -->"));
    let missing = |mark: &str| format!("{} has no mark `{}`", page.display(), mark.trim());
    let (before, rest) = old.split_once(&begin).ok_or_else(|| missing(&begin))?;
    let (_, after) = rest.split_once(&end).ok_or_else(|| missing(&end))?;
    fs::write(page, format!("{before}{begin}\n{}\n\n{end}{after}", text.trim()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_marks_changes() -> Result<(), Box<dyn Error>> {
        let page = std::env::temp_dir().join(format!("peers-page-{}", std::process::id()));
        fs::write(&page, "one\n<!-- begin a -->\nold\n<!-- end a -->\ntwo\n")?;
        replace(&page, "a", "new")?;
        replace(&page, "a", "newer\n")?;
        let text = fs::read_to_string(&page)?;
        assert_eq!(text, "one\n<!-- begin a -->\n\nnewer\n\n<!-- end a -->\ntwo\n");
        assert!(replace(&page, "b", "new").is_err());
        assert_eq!(fs::read_to_string(&page)?, text);
        fs::remove_file(&page)?;
        Ok(())
    }
}
