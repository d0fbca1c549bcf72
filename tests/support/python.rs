//! The official Python client, which some tests run.

use std::process::Command;

/// Returns a Python that has the client: `LANEKEEPER_PYTHON`, or `python3`. Without one the test is skipped, unless
/// `CI=true` requires it.
pub(crate) fn with_client() -> Option<String> {
    match find() {
        Ok(python) => Some(python),
        Err(why) => {
            assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "must run in CI: {why}");
            println!("skipped: {why}; see tests/python/requirements.txt");
            None
        }
    }
}

fn find() -> Result<String, String> {
    let python = std::env::var("LANEKEEPER_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let output = Command::new(&python)
        .args(["-c", "import kiteconnect"])
        .output()
        .map_err(|error| format!("`{python}` does not start: {error}"))?;
    match output.status.success() {
        true => Ok(python),
        false => Err(format!("`{python}` has no package kiteconnect")),
    }
}
