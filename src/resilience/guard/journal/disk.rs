//! The file under the journal, as far as the journal needs one.

use std::fmt;
use std::fs::File;
use std::io::{self, Write as _};

/// A file that grows at its end.
pub(super) trait Disk: Send + Sync + fmt::Debug {
    /// Writes at the end: all of it, or an error and a part of it.
    fn append(&self, bytes: &[u8]) -> io::Result<()>;
    /// Cuts it to `len` bytes.
    fn cut(&self, len: u64) -> io::Result<()>;
    /// Returns when all that was written is safe.
    fn sync(&self) -> io::Result<()>;
}

/// Opened for appending.
impl Disk for File {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        let mut file = self;
        file.write_all(bytes)
    }

    fn cut(&self, len: u64) -> io::Result<()> {
        self.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}
