//! The file with the access token of an account. It is read again when it changes, so that a script that logs in in the
//! morning has only to write it.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use lanekeeper::brokers::kite::SecretString;
use secrecy::ExposeSecret;

use crate::account::{Account, read_token};
use crate::interface;
use crate::notices::{Notice, Severity};
use crate::shared::Shared;

/// How often the file is looked at.
const EVERY: Duration = Duration::from_secs(1);

/// What tells that a file changed.
type Version = Option<(SystemTime, u64)>;

fn version(path: &Path) -> Version {
    let about = std::fs::metadata(path).ok()?;
    Some((about.modified().ok()?, about.len()))
}

/// Reads the file again whenever it changes, until the task is dropped.
pub(crate) async fn watch(shared: Arc<Shared>, account: Arc<Account>, path: PathBuf) {
    // The file may have changed since the account was built with it.
    let mut known = None;
    loop {
        tokio::time::sleep(EVERY).await;
        let now = version(&path);
        if now == known || now.is_none() {
            continue;
        }
        known = now;
        match read_token(&path) {
            Ok(token) if account.credentials.is_present(&token) => {}
            Ok(token) => {
                if let Err(refusal) = interface::renew(&shared, &account, &token) {
                    complain(&shared, &account, refusal.message);
                }
            }
            // It may be half written. Its next change is looked at.
            Err(error) => complain(&shared, &account, error.to_string()),
        }
    }
}

fn complain(shared: &Shared, account: &Account, text: String) {
    let (kind, severity) = ("session", Severity::Warning);
    let account = Some(Arc::clone(&account.name));
    shared.notices.push(Notice { kind, severity, account, lane: None, text });
}

/// Replaces the token in the file, which only its owner can read.
pub(crate) fn write(path: &Path, token: &SecretString) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    let mut options = OpenOptions::new();
    options.create(true).write(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&new)?;
    file.write_all(token.expose_secret().as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    std::fs::rename(&new, path)
}
