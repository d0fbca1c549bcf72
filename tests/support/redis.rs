//! A Redis of the test's own, on a Unix socket in a folder that goes away.

use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

/// A running Redis. It ends with this value, and with this process if that is killed.
pub struct RedisServer {
    folder: tempfile::TempDir,
    child: Child,
    /// The server is stopped when this is closed.
    stop: ChildStdin,
}

impl RedisServer {
    /// Starts a Redis. Without `redis-server` the test is skipped, unless `CI=true` requires it.
    pub fn start() -> Option<Self> {
        let found = Command::new("redis-server").arg("--version").output();
        if let Err(error) = found {
            let why = format!("`redis-server` does not start: {error}");
            assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "must run in CI: {why}");
            println!("skipped: {why}");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let (child, stop) = spawn(&folder);
        let server = Self { folder, child, stop };
        server.wait_until_ready();
        Some(server)
    }

    /// Kills the server, as a crash does.
    pub fn crash(&self) {
        self.signal("-KILL");
    }

    /// Starts an empty server where one has crashed.
    pub fn start_again(&mut self) {
        let (child, stop) = spawn(&self.folder);
        let mut old = std::mem::replace(&mut self.child, child);
        // Its server is gone, and its shell ends with its input.
        drop(std::mem::replace(&mut self.stop, stop));
        old.wait().unwrap();
        self.wait_until_ready();
    }

    /// Sends a signal to the server, such as `-STOP`.
    pub fn signal(&self, signal: &str) {
        let id = std::fs::read_to_string(self.folder.path().join("pid")).unwrap();
        assert!(Command::new("kill").args([signal, id.trim()]).status().unwrap().success());
    }

    fn wait_until_ready(&self) {
        for _ in 0..1000 {
            if UnixStream::connect(self.socket()).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("{}", std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default());
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    /// Returns the address, as a client writes it.
    pub fn url(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// Sends a command without arguments that have spaces, such as `FLUSHALL`.
    pub fn send(&self, command: &str) -> String {
        let mut stream = UnixStream::connect(self.socket()).unwrap();
        stream.write_all(format!("{command}\r\nQUIT\r\n").as_bytes()).unwrap();
        let mut reply = String::new();
        std::io::Read::read_to_string(&mut stream, &mut reply).unwrap();
        reply
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        // Closing the shell's input would do; the test waits for the end, so that nothing is left in the folder.
        let socket = self.socket();
        let stopped =
            UnixStream::connect(&socket).and_then(|mut it| it.write_all(b"SHUTDOWN NOSAVE\r\n"));
        if stopped.is_err() {
            let _ = self.child.kill();
        }
    }
}

/// Starts a server in a folder, and a shell that kills it at the end of its input. That comes when this process ends in any
/// way.
fn spawn(folder: &tempfile::TempDir) -> (Child, ChildStdin) {
    let script = "redis-server --port 0 --unixsocket \"$1\" --save '' --appendonly no --dir \"$2\" >\"$2/log\" 2>&1 & \
                  server=$!; echo $server >\"$2/pid\"; \
                  cat >/dev/null; kill -CONT $server 2>/dev/null; kill -9 $server 2>/dev/null";
    let mut child = Command::new("sh")
        .args(["-c", script, "sh"])
        .arg(folder.path().join("socket"))
        .arg(folder.path())
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let stop = child.stdin.take().unwrap();
    (child, stop)
}
