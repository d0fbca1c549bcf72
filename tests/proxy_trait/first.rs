//! A call that needs another one first.

use std::time::Duration;

use lanekeeper::clock::Clock;
use lanekeeper::lane::CallOptions;
use lanekeeper::proxy::Prerequisite;
use lanekeeper::quota::Moment;

use super::*;

/// What was done, in order.
pub type Log = Arc<Mutex<Vec<String>>>;

/// A safe, which is unlocked before it is read.
#[lanekeeper::proxy]
pub trait Vault: Send + Sync {
    /// With every form of an argument.
    #[lane(all, read, first = unlock)]
    fn read(&self, key: &str, copies: Vec<u8>, hint: Option<&str>) -> Result<String>;
    /// Returns what was done.
    #[direct]
    fn log(&self) -> Log;
}

impl<T: Vault + Send + Sync + 'static> VaultProxy<T> {
    fn unlock(&self, key: &str, copies: &[u8], hint: Option<&str>) -> Option<Unlocking> {
        self.log().lock().unwrap().push(format!("{key} {copies:?} {hint:?}"));
        (key != "open").then(|| Unlocking { key: key.to_owned(), log: self.log() })
    }
}

struct Unlocking {
    key: String,
    log: Log,
}

impl Prerequisite<Failure> for Unlocking {
    fn wait(&self, _: &Clock, deadline: Option<Moment>) -> Option<Result<()>> {
        self.log.lock().unwrap().push("unlocks".to_owned());
        match &*self.key {
            "jammed" => Some(Err(Failure("jammed".to_owned()))),
            // Its time is over.
            "slow" if deadline.is_some() => None,
            _ => Some(Ok(())),
        }
    }
}

#[derive(Default)]
struct Safe(Log);

impl Vault for Safe {
    fn read(&self, key: &str, copies: Vec<u8>, hint: Option<&str>) -> Result<String> {
        self.0.lock().unwrap().push("reads".to_owned());
        Ok(format!("{key} {copies:?} {hint:?}"))
    }

    fn log(&self) -> Log {
        Arc::clone(&self.0)
    }
}

fn vault() -> VaultProxy<Safe> {
    VaultProxy::builder(Safe::default()).all(ample()).build().unwrap()
}

#[test]
fn a_call_is_made_once_the_other_one_has_succeeded() {
    let vault = vault();
    let read = |key| vault.read(key, vec![1], Some("under"));
    let done = || std::mem::take(&mut *vault.log().lock().unwrap());
    let told = |key| format!("{key} [1] Some(\"under\")");
    assert_eq!(read("open"), Ok(told("open")));
    assert_eq!(done(), [told("open"), "reads".into()]);
    assert_eq!(read("locked"), Ok(told("locked")));
    assert_eq!(done(), [told("locked"), "unlocks".into(), "reads".into()]);
    assert_eq!(read("jammed"), Err(Failure("jammed".to_owned())));
    assert_eq!(done(), [told("jammed"), "unlocks".into()]);
    assert_eq!(vault.status().lanes[0].windows[0].used, 2, "the failure used no slot");
}

/// A ticket must not block its caller, and its call must not wait on a worker, where no deadline ends it.
#[test]
fn a_call_for_a_ticket_waits_for_no_other_one() {
    let vault = vault();
    vault.submit().read("locked", Vec::new(), None).wait().unwrap();
    assert_eq!(*vault.log().lock().unwrap(), ["reads"]);
}

#[test]
fn a_deadline_that_passes_before_the_call_is_queued_is_one_of_the_lane() {
    let vault = vault().with(CallOptions::new().deadline(Duration::from_secs(60)));
    let Failure(words) = vault.read("slow", Vec::new(), None).unwrap_err();
    assert!(words.starts_with("read in lane `all`: not sent: its deadline passed"), "{words}");
    assert_eq!(*vault.log().lock().unwrap(), ["slow [] None", "unlocks"]);
}
