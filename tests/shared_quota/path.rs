//! The way of one bot to Redis: it can be slow, and it can be cut.

use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

pub struct RedisPath {
    folder: tempfile::TempDir,
    is_cut: Arc<AtomicBool>,
    open: Arc<Mutex<Vec<UnixStream>>>,
}

impl RedisPath {
    pub fn to(redis: &Path, one_way: Duration) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("socket")).unwrap();
        let is_cut = Arc::<AtomicBool>::default();
        let open = Arc::<Mutex<Vec<UnixStream>>>::default();
        let (cut, streams, redis) = (Arc::clone(&is_cut), Arc::clone(&open), redis.to_owned());
        // It ends with the process: a listener has no end of its own.
        thread::spawn(move || {
            for client in listener.incoming() {
                let client = client.unwrap();
                let Ok(server) = UnixStream::connect(&redis) else { continue };
                if cut.load(Ordering::SeqCst) {
                    continue;
                }
                let both = [client.try_clone().unwrap(), server.try_clone().unwrap()];
                streams.lock().unwrap().extend(both);
                let there = (client.try_clone().unwrap(), server.try_clone().unwrap());
                for (from, to) in [there, (server, client)] {
                    thread::spawn(move || forward(from, to, one_way));
                }
            }
        });
        Self { folder, is_cut, open }
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    pub fn cut(&self) {
        self.is_cut.store(true, Ordering::SeqCst);
        for stream in self.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
    }

    pub fn mend(&self) {
        self.is_cut.store(false, Ordering::SeqCst);
    }
}

fn forward(mut from: UnixStream, mut to: UnixStream, one_way: Duration) {
    let mut bytes = [0; 65536];
    while let Ok(read @ 1..) = from.read(&mut bytes) {
        // The delay of the path under test, not a wait for something.
        thread::sleep(one_way);
        if to.write_all(&bytes[..read]).is_err() {
            break;
        }
    }
    let _ = from.shutdown(std::net::Shutdown::Both);
    let _ = to.shutdown(std::net::Shutdown::Both);
}
