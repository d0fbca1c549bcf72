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
    _stop: ChildStdin,
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
        // The shell waits for the end of its input, which comes when this process ends in any way.
        let script = "redis-server --port 0 --unixsocket \"$1\" --save '' --appendonly no --dir \"$2\" >\"$2/log\" 2>&1 & \
                      server=$!; cat >/dev/null; kill -CONT $server 2>/dev/null; kill -9 $server 2>/dev/null";
        let mut child = Command::new("sh")
            .args(["-c", script, "sh"])
            .arg(folder.path().join("socket"))
            .arg(folder.path())
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let stop = child.stdin.take().unwrap();
        let server = Self { folder, child, _stop: stop };
        server.wait_until_ready();
        Some(server)
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
