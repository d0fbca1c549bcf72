//! Paced, direct, provided.

use super::*;

/// One method of each kind.
#[lanekeeper::proxy]
pub trait Kinds: Send + Sync {
    /// Paced. Returns the name of the method that ran, and whether the caller's thread ran it.
    #[lane(one, read)]
    fn paced(&self, caller: thread::ThreadId) -> Result<(&'static str, bool)>;
    /// Paced, with a body that the inner value replaces.
    #[lane(two, write)]
    fn replaced(&self, caller: thread::ThreadId) -> Result<(&'static str, bool)> {
        self.paced(caller)
    }
    /// Provided.
    fn provided(&self, caller: thread::ThreadId) -> Result<(&'static str, bool)> {
        let (name, here) = self.paced(caller)?;
        assert_eq!(name, "paced");
        Ok(("provided by the trait", here))
    }
    /// Direct, borrowing.
    #[direct]
    fn direct<'a>(&'a self, caller: thread::ThreadId, log: &'a mut Vec<bool>) -> &'a str;
    /// Direct, with a body that the inner value replaces.
    #[direct]
    fn direct_replaced(&self) -> u8 {
        0
    }
    /// Not for `dyn`.
    fn statically<K: Debug>(self, key: K) -> String
    where
        Self: Sized,
    {
        format!("{key:?}")
    }
    /// Not for `dyn` either.
    #[must_use]
    fn made() -> u8
    where
        Self: Sized,
    {
        1
    }
}

/// Overrides all methods that can be overridden.
pub(super) struct Inside;

impl Kinds for Inside {
    fn paced(&self, caller: thread::ThreadId) -> Result<(&'static str, bool)> {
        Ok(("paced", on(caller)))
    }
    fn replaced(&self, caller: thread::ThreadId) -> Result<(&'static str, bool)> {
        Ok(("replaced inside", on(caller)))
    }
    fn provided(&self, caller: thread::ThreadId) -> Result<(&'static str, bool)> {
        Ok(("provided inside", on(caller)))
    }
    fn direct<'a>(&'a self, caller: thread::ThreadId, log: &'a mut Vec<bool>) -> &'a str {
        log.push(on(caller));
        "direct"
    }
    fn direct_replaced(&self) -> u8 {
        1
    }
}

pub(super) fn proxy() -> KindsProxy<Inside> {
    KindsProxy::builder(Inside)
        .one(LaneConfig::new(ample()))
        .two(LaneConfig::new(ample()).in_flight(2))
        .build()
        .unwrap()
}

fn me() -> thread::ThreadId {
    thread::current().id()
}

#[test]
fn a_laned_method_runs_elsewhere() {
    assert_eq!(proxy().paced(me()), Ok(("paced", false)));
}

#[test]
fn a_laned_method_with_a_body_is_still_called_inside() {
    assert_eq!(proxy().replaced(me()), Ok(("replaced inside", false)));
}

#[test]
fn a_provided_method_goes_through_the_lanes_of_what_it_calls() {
    assert_eq!(proxy().provided(me()), Ok(("provided by the trait", false)));
}

#[test]
fn a_direct_method_runs_right_here() {
    let mut log = Vec::new();
    assert_eq!(proxy().direct(me(), &mut log), "direct");
    assert_eq!(log, [true]);
    assert_eq!(proxy().direct_replaced(), 1);
}

#[test]
fn what_is_for_sized_types_alone_is_left_to_the_trait() {
    assert_eq!(proxy().statically(1), "1");
    assert_eq!(<KindsProxy<Inside> as Kinds>::made(), 1);
}

/// Calls through any pointer, by a generic function, so that no deref can help.
fn ask(kinds: impl Kinds) -> [Result<(&'static str, bool)>; 3] {
    assert_eq!(kinds.direct_replaced(), 1);
    [kinds.paced(me()), kinds.replaced(me()), kinds.provided(me())]
}

#[test]
fn pointers_forward_every_method_and_honour_overrides() {
    let expected =
        [Ok(("paced", true)), Ok(("replaced inside", true)), Ok(("provided inside", true))];
    assert_eq!(ask(&Inside), expected);
    assert_eq!(ask(Arc::new(Inside)), expected);
    assert_eq!(ask(Box::new(Inside)), expected);
    assert_eq!(ask(&Inside as &dyn Kinds), expected);
    assert_eq!(ask(Arc::new(Inside) as Arc<dyn Kinds>), expected);
    assert_eq!(ask(Box::new(Inside) as Box<dyn Kinds>), expected);
    assert_eq!(ask(Box::new(&Arc::new(Inside))), expected);
}

#[test]
fn a_proxy_goes_in_front_of_a_pointer_to_dyn_and_is_one_itself() {
    let boxed: Box<dyn Kinds> = Box::new(Inside);
    let proxy = KindsProxy::builder(boxed).one(ample()).two(ample()).build().unwrap();
    let shared: Arc<dyn Kinds> = Arc::new(proxy);
    assert_eq!(shared.paced(me()), Ok(("paced", false)));
    assert_eq!(shared.provided(me()), Ok(("provided by the trait", false)));
}

#[test]
fn a_clone_needs_no_clone_of_what_is_inside() {
    let (one, other) = (proxy(), proxy().clone());
    let inner: *const Inside = one.inner();
    assert!(std::ptr::eq(inner, one.clone().inner()));
    assert_eq!(other.paced(me()), Ok(("paced", false)));
}

#[test]
fn debug_names_the_proxy_and_asks_nothing_of_what_is_inside() {
    assert!(format!("{:?}", proxy()).starts_with("KindsProxy { lanes: "));
    let builder = KindsProxy::builder(Inside);
    assert!(format!("{builder:?}").starts_with("KindsProxyBuilder { lanes: "));
}
