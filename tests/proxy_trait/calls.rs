//! The metadata of a call that lanes get.

use super::*;
use lanekeeper::Effect;
use lanekeeper::Observer;
use lanekeeper::lane::{CallInfo, FinishedCall};
use lanekeeper::proxy::Classify;
use lanekeeper::{ErrorClass, Sent};

/// An error that reports whether its call left.
#[derive(Debug, PartialEq)]
pub struct Knowing(Sent);

impl From<LaneError> for Knowing {
    fn from(_: LaneError) -> Self {
        Self(Sent::No)
    }
}

impl Classify for Knowing {
    fn class(&self) -> ErrorClass {
        match self.0 {
            Sent::No => ErrorClass::NotSent,
            Sent::Yes => ErrorClass::Rejected,
            Sent::Unknown => ErrorClass::Unknown,
        }
    }
}

/// Two lanes, and a name that is a keyword.
#[lanekeeper::proxy]
pub trait Calls: Send + Sync {
    /// Compiled out, so it must not be counted.
    #[cfg(not(test))]
    #[lane(gone, read)]
    fn gone(&self) -> Result<()>;
    /// With an error that reports it.
    #[lane(first, write)]
    fn knowing(&self, sent: Sent) -> std::result::Result<(), Knowing>;
    /// With one that does not.
    #[lane(second, read)]
    fn unknowing(&self) -> Result<()>;
    /// Succeeds.
    #[lane(first, read)]
    fn r#match(&self) -> Result<()>;
    /// In a lane whose name is a keyword.
    #[lane(r#type, write)]
    fn keyword(&self) -> Result<()>;
}

struct Inside;

impl Calls for Inside {
    fn knowing(&self, sent: Sent) -> std::result::Result<(), Knowing> {
        Err(Knowing(sent))
    }
    fn unknowing(&self) -> Result<()> {
        Err(Failure("of old age".into()))
    }
    fn r#match(&self) -> Result<()> {
        Ok(())
    }
    fn keyword(&self) -> Result<()> {
        Ok(())
    }
}

#[derive(Default)]
struct Log(Mutex<Vec<(&'static str, &'static str, Effect, Sent)>>);

impl Observer for Log {
    fn finished(&self, call: &FinishedCall<'_>) {
        let CallInfo { lane, method, effect, .. } = call.call;
        self.0.lock().unwrap().push((lane, method, effect, call.sent));
    }
}

fn observed(calls: impl FnOnce(&dyn Calls)) -> Vec<(&'static str, &'static str, Effect, Sent)> {
    let log = Arc::new(Log::default());
    let observer: Arc<dyn Observer> = Arc::clone(&log) as _;
    let proxy = CallsProxy::builder(Inside)
        .first(ample())
        .second(ample())
        .r#type(ample())
        .observer(observer)
        .clock(ManualClock::auto_advancing())
        .build()
        .unwrap();
    calls(&proxy);
    let log = log.0.lock().unwrap();
    log.clone()
}

#[test]
fn a_call_is_known_by_its_lane_its_method_and_its_effect() {
    let log = observed(|calls| {
        calls.r#match().unwrap();
        calls.keyword().unwrap();
    });
    assert_eq!(
        log,
        [
            ("first", "match", Effect::Read, Sent::Yes),
            ("type", "keyword", Effect::Write, Sent::Yes),
        ]
    );
}

#[test]
fn an_error_that_knows_whether_the_call_left_is_asked() {
    let log = observed(|calls| {
        assert_eq!(calls.knowing(Sent::No), Err(Knowing(Sent::No)));
        assert_eq!(calls.knowing(Sent::Yes), Err(Knowing(Sent::Yes)));
    });
    assert_eq!(
        log,
        [
            ("first", "knowing", Effect::Write, Sent::No),
            ("first", "knowing", Effect::Write, Sent::Yes),
        ]
    );
}

#[test]
fn of_an_error_that_does_not_know_the_worst_is_thought() {
    let log = observed(|calls| {
        assert_eq!(calls.unknowing(), Err(Failure("of old age".into())));
    });
    assert_eq!(log, [("second", "unknowing", Effect::Read, Sent::Unknown)]);
}

#[test]
fn the_lanes_are_those_that_the_trait_names() {
    let proxy = CallsProxy::builder(Inside)
        .limits(Limits::new().lane("first", ample()).lane("second", ample()).lane("type", ample()))
        .build()
        .unwrap();
    assert_eq!(proxy.lanes().names().collect::<Vec<_>>(), ["first", "second", "type"]);
}
