//! A Redis on a Unix socket, and what it counts.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

/// A Redis that ends with this value.
pub struct Server {
    process: Child,
    socket: PathBuf,
    _folder: TempDir,
}

impl Server {
    pub fn start() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("socket");
        let process = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"])
            .arg(&socket)
            .stdout(Stdio::null())
            .spawn()
            .ok()?;
        while std::os::unix::net::UnixStream::connect(&socket).is_err() {
            std::thread::sleep(Duration::from_millis(10));
        }
        Some(Self { process, socket, _folder: folder })
    }

    pub fn socket(&self) -> &Path {
        &self.socket
    }

    pub fn url(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    pub fn connect(&self) -> redis::Connection {
        redis::Client::open(self.url()).unwrap().get_connection().unwrap()
    }

    pub fn flush(&self) {
        redis::cmd("FLUSHALL").exec(&mut self.connect()).unwrap();
    }

    /// Begins to count anew.
    pub fn reset(&self) {
        redis::cmd("CONFIG").arg("RESETSTAT").exec(&mut self.connect()).unwrap();
    }

    pub fn counts(&self) -> Counts {
        let text: String = redis::cmd("INFO").arg("everything").query(&mut self.connect()).unwrap();
        let lines = text.lines().filter_map(|line| line.split_once(':'));
        Counts(lines.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What `INFO` says.
pub struct Counts(HashMap<String, String>);

impl Counts {
    pub fn number(&self, name: &str) -> f64 {
        self.0.get(name).and_then(|value| value.parse().ok()).unwrap_or(0.0)
    }

    /// Returns how often a command was carried out, and the microseconds of a call.
    pub fn command(&self, name: &str) -> (f64, f64) {
        let Some(stats) = self.0.get(&format!("cmdstat_{name}")) else { return (0.0, 0.0) };
        let field = |name: &str| {
            let fields = stats.split(',').filter_map(|field| field.split_once('='));
            fields.filter(|(key, _)| *key == name).find_map(|(_, value)| value.parse().ok())
        };
        (field("calls").unwrap_or(0.0), field("usec_per_call").unwrap_or(0.0))
    }

    /// Returns the seconds of processor time that Redis has used.
    pub fn processor(&self) -> f64 {
        self.number("used_cpu_user") + self.number("used_cpu_sys")
    }
}

pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
