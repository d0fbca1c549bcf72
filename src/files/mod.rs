//! Files that a process keeps for the next one: who may read them, where they are, and who has them open.
//!
//! - `lock` keeps other processes out.

mod lock;

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read as _};
use std::path::{Path, PathBuf};

pub(crate) use self::lock::{FileLock, LockError};
use crate::bounded::{BoundedReader, ReadLimit};

/// For one's own eyes: what somebody trades is nobody else's business.
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

/// Whether `path` leads to this open file. If there is nothing, it does not.
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

/// Elsewhere than on Unix the standard library does not tell files apart but by what they look like.
#[cfg(not(unix))]
fn is_same(one: &Metadata, other: &Metadata) -> bool {
    (one.is_file(), one.len()) == (other.is_file(), other.len())
}

/// All of a file, which may be so large.
pub(crate) fn read_bounded(path: &Path, limit: ReadLimit) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let mut bytes = Vec::new();
    BoundedReader::new(file, limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The one path of a file that has several: whoever locks it by any of them locks it for all.
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
