//! The file under the journal, as a trait that tests can replace.

use std::cmp::Ordering;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::files::{owner_only_options, path_refers_to, with_suffix};

/// What is at the path where the next process will open the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PathState {
    /// The open file, with the expected length.
    Ours,
    /// No file.
    Missing,
    /// Another file, or the open file with another length, with a description.
    Foreign(&'static str),
}

/// An append-only file that can be replaced.
pub(super) trait JournalFile: Send + Sync + fmt::Debug {
    /// Appends `bytes`. After an error, a part of them may have been written.
    fn append(&self, bytes: &[u8]) -> io::Result<()>;
    /// Truncates the file to `len` bytes.
    fn truncate(&self, len: u64) -> io::Result<()>;
    /// Returns once everything that was written is durable.
    fn sync(&self) -> io::Result<()>;
    /// Returns what is at its path, where a file of `len` bytes should be.
    fn check_path(&self, len: u64) -> io::Result<PathState>;
    /// Replaces the file by a durable one with these bytes, and returns that.
    fn replace_with(&self, bytes: &[u8]) -> Result<Arc<dyn JournalFile>, ReplaceError>;
}

/// Why a file was not replaced.
#[derive(Debug)]
pub(super) struct ReplaceError {
    /// The action that failed, for error messages.
    pub(super) action: &'static str,
    /// The file.
    pub(super) path: PathBuf,
    pub(super) source: io::Error,
    /// Whether the new file may have replaced the old one, or may be gone after a power cut.
    pub(super) may_have_replaced: bool,
}

/// A real file, opened for appending, and its location.
#[derive(Debug)]
pub(super) struct DiskFile {
    file: File,
    location: FileLocation,
}

/// The location of a file.
#[derive(Debug, Clone)]
pub(super) struct FileLocation {
    /// The path without links.
    pub(super) path: PathBuf,
    /// The path as given: the next process will use it, over the same links.
    pub(super) name: PathBuf,
}

impl DiskFile {
    /// Creates a new file with these bytes, in place of an existing one.
    ///
    /// The new file is written beside the old one, and is renamed once it is durable. A process that dies in between
    /// leaves one of the two, and at most a `.new`, which the next process removes.
    pub(super) fn create_in_place(at: &FileLocation, bytes: &[u8]) -> Result<Self, ReplaceError> {
        let path = &at.path;
        let new = with_suffix(path, ".new");
        let failed = |action, path: &Path, may_have_replaced| {
            let path = path.to_owned();
            move |source| ReplaceError { action, path, source, may_have_replaced }
        };
        match fs::remove_file(&new) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(failed("remove", &new, false)(error));
            }
            _ => {}
        }
        let create = || -> io::Result<File> {
            let mut file = owner_only_options().append(true).create_new(true).open(&new)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            Ok(file)
        };
        let remove_new = |failure: ReplaceError| {
            // A partial file would take space that the old file may need.
            let _ = fs::remove_file(&new);
            failure
        };
        // The folder is opened first, so that a failure shows while the old file is still there.
        let folder = open_parent_dir(path).map_err(failed("open the folder of", path, false))?;
        let file = create().map_err(failed("write", &new, false)).map_err(remove_new)?;
        fs::rename(&new, path).map_err(|error| {
            // On a network file system the rename may have happened although the answer was lost.
            let may_have_replaced = fs::symlink_metadata(&new).is_err();
            remove_new(failed("replace", path, may_have_replaced)(error))
        })?;
        let synced = folder.map_or(Ok(()), |folder| folder.sync_all());
        synced.map_err(failed("sync the folder of", path, true))?;
        Ok(Self { file, location: at.clone() })
    }
}

impl JournalFile for DiskFile {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        (&self.file).write_all(bytes)
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn replace_with(&self, bytes: &[u8]) -> Result<Arc<dyn JournalFile>, ReplaceError> {
        Ok(Arc::new(Self::create_in_place(&self.location, bytes)?))
    }

    fn check_path(&self, len: u64) -> io::Result<PathState> {
        let FileLocation { path, name } = &self.location;
        if !path_refers_to(name, &self.file)? {
            if is_missing(name) && path_refers_to(path, &self.file)? {
                // Only the link is missing, and can be restored.
                let reason = "the link to it is gone; put it back";
                return Err(io::Error::new(ErrorKind::NotFound, reason));
            }
            let is_deleted = [name, path].iter().all(|path| is_missing(path));
            return Ok(if is_deleted {
                PathState::Missing
            } else {
                PathState::Foreign("another file")
            });
        }
        Ok(match self.file.metadata()?.len().cmp(&len) {
            Ordering::Equal => PathState::Ours,
            Ordering::Less => PathState::Foreign("a file that another program made shorter"),
            Ordering::Greater => PathState::Foreign("a file that another program made longer"),
        })
    }
}

/// Returns whether nothing is at `path`, or only a dangling link.
fn is_missing(path: &Path) -> bool {
    matches!(fs::metadata(path), Err(error) if error.kind() == ErrorKind::NotFound)
}

/// Opens the folder of a file: a new name in it is durable once the folder is synced. On systems other than Unix a
/// folder cannot be opened, and the system syncs it.
fn open_parent_dir(path: &Path) -> io::Result<Option<File>> {
    if !cfg!(unix) {
        return Ok(None);
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new("."))).map(Some)
}
