//! The log of a server: lines on standard error, which never hold up or end what they tell of.
//!
//! Standard error may be a pipe that nothing reads, a terminal that was closed, or a file on a full disk. A write to it then
//! waits for ever or fails, in the middle of a request whose order was just sent. So the lines go through a bounded queue to
//! a thread of their own. What does not fit is left out and counted, and an error of the write is ignored: there is no
//! other place to tell it.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use tracing_subscriber::fmt::MakeWriter;

/// How many lines may wait to be written.
const MAX_LINES: usize = 8192;

/// How long the lines that wait have at the end of the process.
const FLUSH_LIMIT: Duration = Duration::from_millis(500);

/// Takes the lines of a log. Cheap to clone.
#[derive(Clone)]
pub struct Log {
    lines: SyncSender<Vec<u8>>,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    taken: AtomicU64,
    written: AtomicU64,
    left_out: AtomicU64,
}

impl Log {
    /// Returns a log on standard error.
    pub fn to_stderr() -> Self {
        Self::new(io::stderr())
    }

    fn new(to: impl Write + Send + 'static) -> Self {
        let (lines, waiting) = sync_channel(MAX_LINES);
        let counts = Arc::new(Counts::default());
        let counted = Arc::clone(&counts);
        // Without the thread there is no log, and everything else works.
        let _ = thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || write_all(&waiting, to, &counted));
        Self { lines, counts }
    }

    /// Writes a line, if there is room for it.
    pub fn line(&self, line: &str) {
        self.take(format!("{line}\n").into_bytes());
    }

    /// Waits until the lines so far are written, for half a second at most.
    pub fn flush(&self) {
        let until = Instant::now() + FLUSH_LIMIT;
        let is_written = || {
            let written = self.counts.written.load(Ordering::Acquire);
            written >= self.counts.taken.load(Ordering::Acquire)
        };
        while !is_written() && Instant::now() < until {
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn take(&self, line: Vec<u8>) {
        self.counts.taken.fetch_add(1, Ordering::AcqRel);
        if self.lines.try_send(line).is_err() {
            self.counts.taken.fetch_sub(1, Ordering::AcqRel);
            self.counts.left_out.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn write_all(lines: &Receiver<Vec<u8>>, mut to: impl Write, counts: &Counts) {
    while let Ok(line) = lines.recv() {
        // Ignored, see above.
        let _ = to.write_all(&line).and_then(|()| to.flush());
        let left_out = counts.left_out.swap(0, Ordering::Relaxed);
        if left_out > 0 {
            let _ = writeln!(to, "{left_out} lines of the log are left out: they came too fast");
        }
        counts.written.fetch_add(1, Ordering::AcqRel);
    }
}

/// One line, which is taken when it is complete.
pub struct Line {
    log: Log,
    bytes: Vec<u8>,
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        if !bytes.is_empty() {
            self.log.take(bytes);
        }
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line { log: self.clone(), bytes: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::{Sender, channel};

    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Blocks until its sender is dropped, and then fails.
    struct Stuck(Receiver<()>);

    impl Write for Stuck {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_are_written_in_their_order() {
        let kept = Kept::default();
        let log = Log::new(kept.clone());
        for number in 0..100 {
            let mut line = log.make_writer();
            write!(line, "line {number}").unwrap();
            writeln!(line).unwrap();
        }
        log.flush();
        let text = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        let expected: String = (0..100).map(|number| format!("line {number}\n")).collect();
        assert_eq!(text, expected);
    }

    #[test]
    fn an_output_that_is_stuck_or_broken_holds_up_nothing() {
        let (go, stuck): (Sender<()>, _) = channel();
        let log = Log::new(Stuck(stuck));
        for _ in 0..3 * MAX_LINES {
            log.line("nobody reads this");
        }
        assert!(log.counts.left_out.load(Ordering::Relaxed) > 0);
        log.flush();
        drop(go);
        log.line("and this fails");
        log.flush();
    }
}
