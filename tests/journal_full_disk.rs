//! A journal on a full disk: reported when the guard is built, before any order.
//!
//! The test is alone in its process: it starts another, which for a moment holds the locks of every journal that is
//! open in this one.

#![cfg(all(feature = "journal", target_os = "linux"))]
#![allow(clippy::unwrap_used)]

#[path = "order_guard/shaky.rs"]
mod shaky;

use std::process::Command;

use lanekeeper::broker::OrderTags;
use lanekeeper::order_guard::{GuardBuildError, JournalError};
use shaky::Shaky;

const JOURNAL: &str = "LANEKEEPER_FULL_DISK";

/// In the other process no file may grow, which is equivalent to a full disk.
#[test]
fn a_full_disk_is_reported_at_once() {
    if let Some(path) = std::env::var_os(JOURNAL) {
        let refused = Shaky::new(OrderTags::echoed(20)).guarded().journal(path).build().err();
        let Some(GuardBuildError::Journal(error)) = refused else { panic!("{refused:?}") };
        assert!(matches!(error, JournalError::Io { action: "write", .. }), "{error}");
        assert!(error.to_string().contains("give the journal a folder"), "{error}");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let script = "trap '' XFSZ; ulimit -f 0; exec \"$0\" --exact a_full_disk_is_reported_at_once";
    let output = Command::new("sh")
        .args(["-c", script])
        .arg(std::env::current_exe().unwrap())
        .env(JOURNAL, folder.path().join("orders.journal"))
        .output()
        .unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && stdout.contains("1 passed"), "{stdout}");
}
