//! The file of the calls that were made, and what the next process finds in it.
#![cfg(feature = "journal")]
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lanekeeper::clock::ManualClock;
use lanekeeper::jiff::Timestamp;
use lanekeeper::lane::{
    LaneConfig, Observer, PaceLog, Priority, RecordedCall, RecordedUsage, Shutdown,
};
use lanekeeper::proxy::{CallSpec, Lanes, LanesBuilder};
use lanekeeper::quota::{Limits, PaceSnapshot, PriorUsage, Quota, RttCredit};
use lanekeeper::{Failure, PaceFile, PaceFileError};
use support::failing::Failed;
use support::lanes::{SECOND, WRITE, hold, options, submit, until, within_reason};

const DAY: Duration = Duration::from_secs(86_400);

fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("account.pace");
    (folder, path)
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_767_225_600 + seconds).unwrap()
}

/// Three lanes, one of which retains calls for a second, and a budget that retains them for a day.
const REMEMBER: [(&str, Duration); 3] =
    [("quote", SECOND), ("transactional", SECOND), ("orders", DAY)];
const ORDER: [&str; 2] = ["transactional", "orders"];

fn begin(path: &Path, now: Timestamp) -> (PaceFile, RecordedUsage) {
    let file = PaceFile::open(path).unwrap();
    let known = file.begin(now, &REMEMBER, PriorUsage::UNKNOWN).unwrap();
    (file, known)
}

/// Returns the usage under a name: how many seconds ago it ended, how many it took, and the weight.
fn uses(known: &RecordedUsage, name: &str) -> Vec<(Option<u64>, u64, u64)> {
    let state = serde_json::to_value(&known.used).unwrap();
    let uses = state["used"][name].as_array().cloned().unwrap_or_default();
    let seconds = |value: &serde_json::Value| value.as_u64().map(|nanos| nanos / 1_000_000_000);
    let read = |it: &serde_json::Value| {
        (seconds(&it["ago"]), seconds(&it["took"]).unwrap(), it["weight"].as_u64().unwrap())
    };
    uses.iter().map(read).collect()
}

#[test]
fn the_next_process_finds_what_still_counts() {
    let (_folder, path) = folder();
    let (file, known) = begin(&path, at(0));
    assert_eq!(known, RecordedUsage { used: PaceSnapshot::at(at(0)), since: Some(at(0)) });
    file.taken(&RecordedCall::new(0, 1, &["quote"]), at(10)).unwrap();
    file.finished(0, at(11)).unwrap();
    file.taken(&RecordedCall::new(1, 2, &ORDER), at(20)).unwrap();
    file.finished(1, at(21)).unwrap();
    file.urgent(&RecordedCall::new(2, 1, &ORDER), at(30), at(31)).unwrap();
    // The process is killed while these are in flight. For one of them it was known that no answer would come.
    file.taken(&RecordedCall::new(3, 1, &ORDER), at(32)).unwrap();
    file.taken(&RecordedCall::new(4, 1, &ORDER), at(30)).unwrap();
    file.finished(4, at(50)).unwrap();
    drop(file);

    let (file, known) = begin(&path, at(33));
    assert_eq!(known.since, Some(at(0)));
    let orders = [(Some(12), 1, 2), (Some(2), 1, 1), (None, 1, 1), (None, 3, 1)];
    assert_eq!(uses(&known, "orders"), orders);
    assert_eq!(uses(&known, "transactional"), orders, "names of one call are kept together");
    assert_eq!(uses(&known, "quote"), [(Some(22), 1, 1)], "a minute is kept of all");
    drop(file);
    // The next start concludes that the call in flight had ended by then.
    let (file, known) = begin(&path, at(100));
    let agos = uses(&known, "orders").into_iter().map(|(ago, ..)| ago.unwrap());
    assert_eq!(agos.collect::<Vec<_>>(), [79, 69, 67, 50]);
    // A day later everything has expired, and nothing earlier is claimed to be known.
    drop(file);
    let (_file, known) = begin(&path, at(100 + 90_000));
    assert_eq!(
        known,
        RecordedUsage { used: PaceSnapshot::at(at(90_100)), since: Some(at(90_100 - 86_400)) }
    );
}

#[test]
fn a_process_that_knows_that_nothing_was_before_need_say_so_once() {
    let (_folder, path) = folder();
    let file = PaceFile::open(&path).unwrap();
    assert_eq!(file.begin(at(0), &REMEMBER, PriorUsage::None).unwrap().since, None);
    drop(file);
    assert_eq!(begin(&path, at(1)).1.since, None);
}

#[test]
fn one_process_at_a_time() {
    let (_folder, path) = folder();
    let first = PaceFile::open(&path).unwrap();
    let error = PaceFile::open(&path).unwrap_err();
    assert!(matches!(error, PaceFileError::InUse { .. }), "{error}");
    drop(first);
    PaceFile::open(&path).unwrap();
}

#[test]
fn a_foreign_file_is_left_as_it_is() {
    let (folder, path) = folder();
    fs::write(&path, "my thesis\n").unwrap();
    let error = PaceFile::open(&path).unwrap_err();
    assert!(matches!(error, PaceFileError::NotOurs { .. }), "{error}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "my thesis\n");
    assert!(PaceFile::open(folder.path()).is_err(), "a folder");
    assert!(PaceFile::open("/dev/zero").is_err());
    assert!(PaceFile::open("/no/such/folder/account.pace").is_err());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing was made beside it");
}

#[test]
fn a_torn_end_is_forgiven_and_a_hole_in_the_middle_is_not_believed() {
    let (_folder, path) = folder();
    let (file, _) = begin(&path, at(0));
    file.taken(&RecordedCall::new(0, 1, &ORDER), at(1)).unwrap();
    file.finished(0, at(2)).unwrap();
    drop(file);
    let whole = fs::read_to_string(&path).unwrap();
    for end in 0..whole.len() {
        fs::write(&path, &whole[..end]).unwrap();
        let (_file, known) = begin(&path, at(3));
        // Without its first line it proves nothing.
        let is_known = end > whole.find('\n').unwrap();
        assert_eq!(known.since, Some(if is_known { at(0) } else { at(3) }), "{end}");
    }
    fs::write(&path, whole.replace("T 0", "T zero")).unwrap();
    // Nor does a process accept it that knows that nothing was used before.
    let file = PaceFile::open(&path).unwrap();
    let known = file.begin(at(3), &REMEMBER, PriorUsage::None).unwrap();
    assert_eq!(known.since, Some(at(3)));
}

#[test]
fn a_long_file_is_compacted_and_loses_nothing() {
    let (_folder, path) = folder();
    let (file, _) = begin(&path, at(0));
    file.taken(&RecordedCall::new(0, 1, &ORDER), at(1)).unwrap();
    let mut max_length = 0;
    for number in 1..60_000 {
        let now = at(1).checked_add(Duration::from_millis(number * 10)).unwrap();
        file.taken(&RecordedCall::new(number, 1, &["quote"]), now).unwrap();
        file.finished(number, now).unwrap();
        if number % 1_000 == 0 {
            max_length = max_length.max(fs::metadata(&path).unwrap().len());
        }
    }
    assert!((100_000..2_500_000).contains(&max_length), "{max_length}");
    // It was in flight all the time.
    file.finished(0, at(700)).unwrap();
    drop(file);
    let (_file, known) = begin(&path, at(701));
    assert_eq!(uses(&known, "orders"), [(Some(1), 699, 1)]);
}

/// A log that fails for a while.
#[derive(Debug, Default, Clone)]
struct Fake(Arc<Mutex<(Vec<String>, bool)>>);

impl Fake {
    fn record(&self, line: String) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        state.0.push(line);
        if state.1 { Err(io::Error::other("no room")) } else { Ok(()) }
    }
    fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().0.clone()
    }
}

impl PaceLog for Fake {
    fn begin(
        &self,
        now: Timestamp,
        remember: &[(&str, Duration)],
        _: PriorUsage,
    ) -> io::Result<RecordedUsage> {
        self.record(format!("begin {remember:?}"))?;
        Ok(RecordedUsage { used: PaceSnapshot::at(now), since: None })
    }
    fn taken(&self, call: &RecordedCall<'_>, _: Timestamp) -> io::Result<()> {
        self.record(format!("taken {} {} {:?}", call.number, call.weight, call.names))
    }
    fn urgent(&self, call: &RecordedCall<'_>, _: Timestamp, _: Timestamp) -> io::Result<()> {
        self.record(format!("urgent {} {:?}", call.number, call.names))
    }
    fn finished(&self, number: u64, _: Timestamp) -> io::Result<()> {
        self.record(format!("finished {number}"))
    }
}

#[derive(Default)]
struct FailureLog(Mutex<Vec<String>>);

impl Observer for FailureLog {
    fn pace_log_failed(&self, error: &io::Error) {
        self.0.lock().unwrap().push(error.to_string());
    }
}

const CHARGED: CallSpec = CallSpec { budgets: &[0], weight: 2, ..WRITE };

fn lanes(log: impl PaceLog + 'static, failures: &Arc<FailureLog>) -> Lanes {
    lanes_after(PriorUsage::UNKNOWN, log, failures)
}

fn lanes_after(
    prior_usage: PriorUsage,
    log: impl PaceLog + 'static,
    failures: &Arc<FailureLog>,
) -> Lanes {
    let mut builder = LanesBuilder::new("Test", &["test"], &["orders"]);
    builder.lane(0, LaneConfig::new(Quota::per_second(5)).credit(RttCredit::STRICT).in_flight(1));
    builder.budget(0, Quota::per_minute(8).into());
    builder.clock(ManualClock::new().into());
    builder.observer(Arc::clone(failures) as _);
    builder.pace_log(Arc::new(log));
    builder.prior_usage(prior_usage);
    builder.build(Limits::new()).unwrap()
}

#[test]
fn each_call_is_recorded_before_it_leaves_and_an_urgent_one_when_it_has_ended() {
    within_reason(|| {
        let (fake, failures) = (Fake::default(), Arc::new(FailureLog::default()));
        let lanes = lanes(fake.clone(), &failures);
        let its = fake.clone();
        let seen = submit(&lanes, CHARGED, &options(), move || its.lines().len()).wait();
        assert_eq!(seen, Ok(2), "it was noted before");
        until(|| fake.lines().len() == 3);
        let urgent = options().priority(Priority::URGENT);
        let its = fake.clone();
        assert_eq!(submit(&lanes, CHARGED, &urgent, move || its.lines().len()).wait(), Ok(3));
        until(|| fake.lines().len() == 4);
        assert_eq!(
            fake.lines(),
            [
                r#"begin [("test", 1s), ("orders", 60s)]"#,
                r#"taken 0 2 ["test", "orders"]"#,
                "finished 0",
                r#"urgent 1 ["test", "orders"]"#,
            ]
        );
        // A call that cannot be recorded still goes, and the failure is reported.
        fake.0.lock().unwrap().1 = true;
        assert_eq!(submit(&lanes, WRITE, &options(), || 7).wait(), Ok(7));
        until(|| failures.0.lock().unwrap().len() == 2);
        assert_eq!(*failures.0.lock().unwrap(), ["no room", "no room"]);
    });
}

/// A process is killed while a call is in flight. The next one begins with the recorded usage, and blocks for what
/// was before the file.
#[test]
fn a_proxy_goes_on_where_one_that_was_killed_had_come() {
    within_reason(|| {
        let (_folder, path) = folder();
        let failures = Arc::new(FailureLog::default());
        let used = |lanes: &Lanes| {
            let status = lanes.status();
            (status.lanes[0].windows[0].used, status.budgets[0].windows[0].used)
        };
        let first = lanes(PaceFile::open(&path).unwrap(), &failures);
        let urgent = options().priority(Priority::URGENT);
        submit(&first, CHARGED, &urgent, || ()).wait().unwrap();
        let held = hold(&first, CallSpec { priority: 1, ..CHARGED });
        assert_eq!(used(&first), (4, 4));
        // As if the process were dead: what it wrote is there, and no process has it open.
        let copy = path.with_extension("copy");
        until(|| fs::read_to_string(&path).unwrap().lines().count() == 2);
        fs::copy(&path, &copy).unwrap();
        let second = lanes(PaceFile::open(&copy).unwrap(), &failures);
        assert_eq!(used(&second), (2, 2), "an urgent call is noted when it is over");
        drop(held);
        first.shutdown(Shutdown::Drain(SECOND));
        drop(first);
        let third = lanes(PaceFile::open(&path).unwrap(), &failures);
        assert_eq!(used(&third), (4, 4));
        // Nothing is known of what was before the first.
        assert!(third.status().lanes[0].estimated_wait.unwrap() > SECOND);
        assert_eq!(*failures.0.lock().unwrap(), [""; 0]);
    });
}

#[test]
fn a_file_that_cannot_be_written_to_any_more_says_so_to_the_next_process() {
    let (folder, path) = folder();
    let (file, _) = begin(&path, at(0));
    file.taken(&RecordedCall::new(0, 1, &["quote"]), at(1)).unwrap();
    // The file is above the compaction threshold, and cannot be compacted: a folder is in the way of the new one.
    fs::create_dir(folder.path().join("account.pace.new")).unwrap();
    let mut failed = 0;
    for number in 1..40_000 {
        failed += usize::from(file.taken(&RecordedCall::new(number, 1, &ORDER), at(2)).is_err());
    }
    assert_eq!(failed, 1, "it is reported once");
    drop(file);
    fs::remove_dir(folder.path().join("account.pace.new")).unwrap();
    // The next process does not trust it, even one that was told that nothing was used before.
    let file = PaceFile::open(&path).unwrap();
    let known = file.begin(at(9), &REMEMBER, PriorUsage::None).unwrap();
    assert_eq!(known, RecordedUsage { used: PaceSnapshot::at(at(9)), since: Some(at(9)) });
}

/// A call whose adapter refused it was recorded before, because it might have been sent.
#[test]
fn a_call_that_was_given_back_does_not_count_in_the_next_process() {
    let (_folder, path) = folder();
    let (file, _) = begin(&path, at(0));
    file.taken(&RecordedCall::new(0, 1, &ORDER), at(1)).unwrap();
    file.taken(&RecordedCall::new(1, 2, &ORDER), at(1)).unwrap();
    file.given_back(0, at(1)).unwrap();
    file.taken(&RecordedCall::new(2, 1, &ORDER), at(2)).unwrap();
    file.finished(1, at(3)).unwrap();
    // Of no call that is open.
    file.given_back(0, at(1)).unwrap();
    file.given_back(1, at(1)).unwrap();
    drop(file);
    let whole = fs::read_to_string(&path).unwrap();
    assert!(whole.contains("\nG 0\n"), "{whole}");
    let (file, known) = begin(&path, at(4));
    assert_eq!(
        (uses(&known, "orders"), known.since),
        (vec![(Some(1), 2, 2), (None, 2, 1)], Some(at(0)))
    );
    drop(file);
    // Killed before that record: then it counts as sent.
    fs::write(&path, whole.split_once("G 0").unwrap().0).unwrap();
    let (_file, known) = begin(&path, at(4));
    assert_eq!(uses(&known, "orders"), [(None, 3, 1), (None, 3, 2)]);
}

#[test]
fn a_local_error_leaves_nothing_for_the_next_process() {
    within_reason(|| {
        let (_folder, path) = folder();
        let failures = Arc::new(FailureLog::default());
        let first = lanes_after(PriorUsage::None, PaceFile::open(&path).unwrap(), &failures);
        for options in [options(), options().priority(Priority::URGENT)] {
            let local = |_: &Failed| Some(Failure::local());
            let work = || Err::<(), _>(Failed::Broker(1, None));
            first.call_spec(CHARGED, &options, work, local).unwrap_err();
        }
        first.shutdown(Shutdown::Drain(SECOND));
        drop(first);
        let second = lanes_after(PriorUsage::None, PaceFile::open(&path).unwrap(), &failures);
        let status = second.status();
        assert_eq!((status.lanes[0].windows[0].used, status.budgets[0].windows[0].used), (0, 0));
        assert_eq!(*failures.0.lock().unwrap(), [""; 0]);
    });
}
