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
    Missing,
    /// Another file, described.
    Foreign(&'static str),
}

/// A file that is appended to.
pub(super) trait JournalFile: Send + Sync + fmt::Debug {
    /// Appends `bytes`. After an error, a part of them may have been written.
    fn append(&self, bytes: &[u8]) -> io::Result<()>;
    /// Truncates the file to `len` bytes.
    fn truncate(&self, len: u64) -> io::Result<()>;
    /// Returns once everything that was written is durable.
    fn sync(&self) -> io::Result<()>;
    /// Returns what is at its path, where a file of `len` bytes should be.
    fn check_path(&self, len: u64) -> io::Result<PathState>;
    /// Replaces it by a durable file with these bytes.
    fn replace_with(&self, bytes: &[u8]) -> Result<Arc<dyn JournalFile>, ReplaceError>;
}

/// Why a file was not replaced.
#[derive(Debug)]
pub(super) struct ReplaceError {
    /// The action that failed.
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
        let failed = |action, path: &Path, in_doubt| {
            let path = path.to_owned();
            move |source| ReplaceError { action, path, source, may_have_replaced: in_doubt }
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
        let removed = |failure: ReplaceError| {
            // A partial file would take space that the old file may need.
            let _ = fs::remove_file(&new);
            failure
        };
        // A failure to open must show while the old file is still there.
        let folder = open_parent_dir(path).map_err(failed("open the folder of", path, false))?;
        let file = create().map_err(failed("write", &new, false)).map_err(removed)?;
        fs::rename(&new, path).map_err(|error| {
            // On a network file system the rename may have happened although the answer was lost.
            let in_doubt = fs::symlink_metadata(&new).is_err();
            removed(failed("replace", path, in_doubt)(error))
        })?;
        let safe = folder.map_or(Ok(()), |folder| folder.sync_all());
        safe.map_err(failed("make safe the folder of", path, true))?;
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
                // Only the link is gone, and may be restored.
                let why = "the link to it is gone; put it back";
                return Err(io::Error::new(ErrorKind::NotFound, why));
            }
            let is_gone = [name, path].iter().all(|path| is_missing(path));
            return Ok(if is_gone {
                PathState::Missing
            } else {
                PathState::Foreign("another file")
            });
        }
        Ok(match self.file.metadata()?.len().cmp(&len) {
            Ordering::Equal => PathState::Ours,
            Ordering::Less => PathState::Foreign("a file that somebody made shorter"),
            Ordering::Greater => PathState::Foreign("a file that somebody made longer"),
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
