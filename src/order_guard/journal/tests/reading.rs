//! Reading of a journal that is intact, torn or damaged.

use std::path::Path;

use super::*;

#[test]
fn a_journal_cut_anywhere_keeps_every_whole_line() {
    let mut journal = encode(&JournalRecord::header()).unwrap();
    let mut ends = vec![(journal.len(), Vec::new())];
    let mut open: Vec<String> = Vec::new();
    for number in 0..5 {
        let tag = format!("t{number}");
        journal.extend(encode(&JournalRecord::Intent(Box::new(intent(&tag)))).unwrap());
        open.push(tag.clone());
        ends.push((journal.len(), open.clone()));
        if number % 2 == 0 {
            journal.extend(encode(&JournalRecord::End { tag, end: placed() }).unwrap());
            open.pop();
            ends.push((journal.len(), open.clone()));
        }
    }
    for cut in 0..=journal.len() {
        // A line that lacks only its newline is complete.
        let (_, expected) =
            ends.iter().rev().find(|(end, _)| end - 1 <= cut).cloned().unwrap_or_default();
        let pending = replay(&journal[..cut]).unwrap();
        let tags: Vec<String> = pending.into_iter().map(|intent| intent.tag).collect();
        assert_eq!(tags, expected, "cut at {cut}");
    }
}

#[test]
fn a_change_anywhere_but_in_a_torn_line_is_seen() {
    let mut journal = encode(&JournalRecord::header()).unwrap();
    for tag in ["a", "b", "c"] {
        journal.extend(encode(&JournalRecord::Intent(Box::new(intent(tag)))).unwrap());
    }
    for index in 0..journal.len() - 1 {
        for flip in [1, 0x20, 0x80] {
            let mut changed = journal.clone();
            changed[index] ^= flip;
            // Upper and lower case hexadecimal digits have the same value.
            match replay(&changed) {
                Err(damage) => assert!(damage.line >= 1 && !damage.is_intact, "{damage:?}"),
                Ok(pending) => {
                    let tags: Vec<_> = pending.iter().map(|intent| intent.tag.as_str()).collect();
                    assert_eq!(tags, ["a", "b", "c"], "{index} {flip}");
                    assert!(flip == 0x20 && changed[index].is_ascii_uppercase());
                }
            }
        }
    }
}

#[test]
fn what_the_other_lines_of_a_damaged_journal_show_is_kept() {
    let mut lines = vec![encode(&JournalRecord::header()).unwrap()];
    for tag in ["a", "b", "c", "d"] {
        lines.push(encode(&JournalRecord::Intent(Box::new(intent(tag)))).unwrap());
    }
    lines.push(encode(&JournalRecord::End { tag: "c".to_owned(), end: placed() }).unwrap());
    lines[2][20] ^= 1;
    let damage = replay(&lines.concat()).unwrap_err();
    let tags: Vec<_> = damage.open_intents.iter().map(|intent| intent.tag.as_str()).collect();
    assert_eq!((damage.line, damage.is_intact, tags), (3, false, vec!["a", "d"]));
}

#[test]
fn a_line_of_a_newer_version_is_not_called_damaged() {
    let sealed = |json: &str| format!("{:08x} {json}\n", crc32fast::hash(json.as_bytes()));
    let header = String::from_utf8(encode(&JournalRecord::header()).unwrap()).unwrap();
    let known =
        String::from_utf8(encode(&JournalRecord::Intent(Box::new(intent("a")))).unwrap()).unwrap();
    for (journal, line) in [
        (format!("{header}{}{known}", sealed(r#"{"split":{"tag":"b"}}"#)), 2),
        // Also as the last line without its newline.
        (format!("{header}{known}{}", sealed(r#"{"split":{"tag":"b"}}"#).trim_end()), 3),
        (format!("{}{known}", sealed(r#"{"journal":{"version":2}}"#)), 1),
    ] {
        let damage = replay(journal.as_bytes()).unwrap_err();
        assert!(damage.is_intact && damage.line == line, "{damage:?}");
        assert_eq!(damage.open_intents.len(), 1);
    }
}

/// A device can be read for ever, and cannot be replaced.
#[test]
#[cfg(unix)]
fn what_is_no_file_is_no_journal() {
    for path in ["/dev/zero", "/dev/null", "/"] {
        let error = Journal::open(Path::new(path)).unwrap_err().to_string();
        assert!(error.starts_with(&format!("cannot use {path}: it is a folder, a dev")), "{error}");
        assert!(!Path::new(&format!("{path}.lock")).exists());
    }
}
