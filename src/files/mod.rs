//! Files that a process keeps for the next one: their permissions, paths and locks.
//!
//! - `lock.rs` keeps other processes out.

mod lock;

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read as _};
use std::path::{Path, PathBuf};

pub(crate) use self::lock::{FileLock, LockError};
use crate::bounded::{BoundedReader, ReadLimit};

/// Returns options that create a file readable by the owner only: trades are private.
pub(crate) fn owner_only_options() -> OpenOptions {
    #[allow(unused_mut)] // Where files have no mode.
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

/// Returns whether `path` refers to this open file. Returns `false` if there is no file at `path`.
pub(crate) fn path_refers_to(path: &Path, file: &File) -> io::Result<bool> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(is_same_file(&metadata, &file.metadata()?)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(unix)]
fn is_same_file(one: &Metadata, other: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

/// Outside Unix the standard library offers no identity of a file, so this only compares kind and size.
#[cfg(not(unix))]
fn is_same_file(one: &Metadata, other: &Metadata) -> bool {
    (one.is_file(), one.len()) == (other.is_file(), other.len())
}

/// Reads a complete file, up to a limit.
pub(crate) fn read_bounded(path: &Path, limit: ReadLimit) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let mut bytes = Vec::new();
    BoundedReader::new(file, limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Returns the canonical path of a file, so that a lock taken by one of its paths holds for all of them.
pub(crate) fn canonical_path(path: &Path) -> io::Result<PathBuf> {
    match fs::canonicalize(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        found => return found,
    }
    if fs::symlink_metadata(path).is_ok() {
        return Err(io::Error::new(
            ErrorKind::NotFound,
            "it is a link to a file that is not there",
        ));
    }
    let Some(name) = path.file_name() else {
        return Err(io::Error::new(ErrorKind::InvalidInput, "it does not name a file"));
    };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    Ok(fs::canonicalize(folder.unwrap_or(Path::new(".")))?.join(name))
}
