//! What `#[lanekeeper::proxy]` makes of a trait, seen from a user's crate.
//!
//! The lints are those of a strict user: nothing that the macro writes may trip them.

#![deny(warnings, missing_docs, unreachable_pub, missing_debug_implementations)]
#![deny(clippy::all, clippy::pedantic, clippy::unwrap_used, clippy::expect_used)]
#![allow(
    clippy::unwrap_used,
    clippy::needless_pass_by_value,
    clippy::missing_errors_doc,
    clippy::many_single_char_names
)]

use std::fmt::Debug;
use std::sync::{Arc, Mutex};
use std::thread;

use lanekeeper::clock::ManualClock;
use lanekeeper::lane::{LaneConfig, LaneError};
use lanekeeper::quota::{Limits, Quota};

/// A failed call.
#[derive(Debug, PartialEq)]
pub struct Failure(String);

impl From<LaneError> for Failure {
    fn from(refused: LaneError) -> Self {
        Self(refused.to_string())
    }
}

/// An alias with one argument, as in `io::Result`.
pub type Result<T> = std::result::Result<T, Failure>;

/// Something that can be cloned and has no other talents.
#[derive(Debug, Clone, PartialEq)]
pub struct Alert {
    text: String,
}

/// A quota that no test waits for.
fn ample() -> Quota {
    Quota::per_second(1000)
}

/// Whether this code runs on the thread that the test runs on.
fn on(caller: thread::ThreadId) -> bool {
    thread::current().id() == caller
}

/// How arguments cross to the lane.
pub mod arguments {
    use super::*;

    /// Every form in which a laned method can take an argument.
    #[lanekeeper::proxy]
    pub trait Forms: Send + Sync {
        /// Moved.
        #[lane(all, read)]
        fn owned(&self, number: u8, text: String, maybe: Option<Alert>) -> Result<String>;
        /// Lent.
        #[lane(all, read)]
        fn lent(&self, text: &str, alert: &Alert, numbers: &[u8]) -> Result<String>;
        /// Lent, perhaps.
        #[lane(all, read)]
        fn perhaps(
            &self,
            text: Option<&str>,
            alert: Option<&Alert>,
            numbers: std::option::Option<&[u8]>,
        ) -> Result<String>;
        /// Lent for ever, so moved.
        #[lane(all, read)]
        fn for_ever(&self, text: &'static str, texts: &[&'static str]) -> Result<String>;
        /// With named lifetimes.
        #[lane(all, read)]
        fn named<'a, 'b: 'a>(&self, one: &'a str, other: &'b Alert) -> Result<String>;
        /// Functions take what they like. What cannot be cloned is sent once.
        #[lane(all, read, retry = never)]
        fn functions(
            &self,
            pointer: fn(&str) -> usize,
            object: Box<dyn Fn(&str) -> usize + Send>,
        ) -> Result<String>;
        /// A lifetime that belongs to a bound is not the caller's.
        #[lane(all, read, retry = never)]
        fn bound(&self, reader: Box<dyn for<'a> Reader<'a> + Send>) -> Result<String>;
        /// Shared, not copied.
        #[lane(all, read)]
        fn shared(&self, object: Arc<dyn Debug + Send + Sync>) -> Result<String>;
        /// Names that the generated code might want for itself.
        #[lane(all, read)]
        fn names(
            &self,
            inner: &str,
            lanes: &str,
            self_: u8,
            error: &str,
            call: u8,
            r#type: &str,
        ) -> Result<String>;
        /// A pattern instead of a name.
        #[lane(all, read)]
        fn pattern(&self, (left, right): (u8, u8), mut rest: u8) -> Result<String> {
            rest += 1;
            Ok(format!("{left} {right} {rest}"))
        }
        /// Arguments that come and go.
        #[lane(all, read)]
        fn conditional(
            &self,
            #[cfg(test)] here: &str,
            #[cfg(not(test))] gone: &str,
            last: u8,
        ) -> Result<String>;
        /// Nothing said about what is given back but the type.
        #[lane(all, write)]
        fn spelled_out(&self) -> core::result::Result<(), Failure>;
    }

    /// Reads something for as long as it lives.
    pub trait Reader<'a> {
        /// Reads.
        fn read(&self, text: &'a str) -> &'a str;
    }

    struct First;

    impl<'a> Reader<'a> for First {
        fn read(&self, text: &'a str) -> &'a str {
            text.split(' ').next().unwrap_or(text)
        }
    }

    struct Echo;

    impl Forms for Echo {
        fn owned(&self, number: u8, text: String, maybe: Option<Alert>) -> Result<String> {
            Ok(format!("{number} {text} {maybe:?}"))
        }
        fn lent(&self, text: &str, alert: &Alert, numbers: &[u8]) -> Result<String> {
            Ok(format!("{text} {} {numbers:?}", alert.text))
        }
        fn perhaps(
            &self,
            text: Option<&str>,
            alert: Option<&Alert>,
            numbers: Option<&[u8]>,
        ) -> Result<String> {
            Ok(format!("{text:?} {:?} {numbers:?}", alert.map(|alert| &alert.text)))
        }
        fn for_ever(&self, text: &'static str, texts: &[&'static str]) -> Result<String> {
            Ok(format!("{text} {texts:?}"))
        }
        fn named<'a, 'b: 'a>(&self, one: &'a str, other: &'b Alert) -> Result<String> {
            Ok(format!("{one} {}", other.text))
        }
        fn functions(
            &self,
            pointer: fn(&str) -> usize,
            object: Box<dyn Fn(&str) -> usize + Send>,
        ) -> Result<String> {
            Ok(format!("{} {}", pointer("four"), object("three")))
        }
        fn bound(&self, reader: Box<dyn for<'a> Reader<'a> + Send>) -> Result<String> {
            Ok(reader.read("one two").into())
        }
        fn shared(&self, object: Arc<dyn Debug + Send + Sync>) -> Result<String> {
            Ok(format!("{object:?} {}", Arc::strong_count(&object)))
        }
        fn names(
            &self,
            inner: &str,
            lanes: &str,
            self_: u8,
            error: &str,
            call: u8,
            r#type: &str,
        ) -> Result<String> {
            Ok(format!("{inner} {lanes} {self_} {error} {call} {type}"))
        }
        fn conditional(&self, here: &str, last: u8) -> Result<String> {
            Ok(format!("{here} {last}"))
        }
        fn spelled_out(&self) -> core::result::Result<(), Failure> {
            Err(Failure("from the inside".into()))
        }
    }

    #[test]
    fn every_form_arrives_intact() {
        let proxy = FormsProxy::builder(Echo).all(ample()).build().unwrap();
        let alert = Alert { text: "storm".into() };
        let ok = |text: &str| Ok(text.to_owned());

        assert_eq!(proxy.owned(7, "rain".into(), None), ok("7 rain None"));
        assert_eq!(proxy.lent("rain", &alert, &[1, 2]), ok("rain storm [1, 2]"));
        assert_eq!(proxy.lent("", &alert, &[]), ok(" storm []"));
        assert_eq!(
            proxy.perhaps(Some("rain"), Some(&alert), Some(&[3])),
            ok("Some(\"rain\") Some(\"storm\") Some([3])")
        );
        assert_eq!(proxy.perhaps(None, None, None), ok("None None None"));
        assert_eq!(proxy.for_ever("rain", &["a", "b"]), ok("rain [\"a\", \"b\"]"));
        assert_eq!(proxy.named("rain", &alert), ok("rain storm"));
        assert_eq!(proxy.functions(str::len, Box::new(|text| text.len() * 2)), ok("4 10"));
        assert_eq!(proxy.bound(Box::new(First)), ok("one"));
        let shared: Arc<dyn Debug + Send + Sync> = Arc::new(5);
        assert_eq!(proxy.shared(Arc::clone(&shared)), ok("5 3"));
        assert_eq!(proxy.names("a", "b", 1, "c", 2, "d"), ok("a b 1 c 2 d"));
        assert_eq!(proxy.pattern((1, 2), 3), ok("1 2 4"));
        assert_eq!(proxy.conditional("here", 9), ok("here 9"));
        assert_eq!(proxy.spelled_out(), Err(Failure("from the inside".into())));
    }
}

/// Paced, direct, provided.
pub mod kinds {
    use super::*;

    /// One method of each kind.
    #[lanekeeper::proxy]
    pub trait Kinds: Send + Sync {
        /// Paced; gives the name of the method that ran, and whether the caller's thread ran it.
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

    /// Overrides all that can be.
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

    /// Asks through any pointer, by way of a generic function, so that no deref can help.
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
}

/// Where the quota of a lane comes from.
pub mod limits {
    use super::*;

    /// Documents its limits.
    #[lanekeeper::proxy(limits = documented)]
    pub trait Documented: Send + Sync {
        /// A call.
        #[lane(general, read)]
        fn call(&self) -> Result<u8>;
        /// Another.
        #[lane(other, read)]
        fn other_call(&self) -> Result<u8>;
        /// The limits.
        #[direct]
        fn documented(&self) -> Limits {
            Limits::new()
        }
    }

    struct With(Limits);

    impl Documented for With {
        fn call(&self) -> Result<u8> {
            Ok(1)
        }
        fn other_call(&self) -> Result<u8> {
            Ok(2)
        }
        fn documented(&self) -> Limits {
            self.0.clone()
        }
    }

    #[test]
    fn a_lane_without_any_quota_is_not_built() {
        assert!(DocumentedProxy::builder(With(Limits::new())).build().is_err());
        let half = With(Limits::new().lane("general", ample()));
        assert!(DocumentedProxy::builder(half).build().is_err());
    }

    #[test]
    fn documented_limits_do_for_lanes_that_were_not_set() {
        let all = Limits::new().lane("general", ample()).lane("other", ample());
        assert!(DocumentedProxy::builder(With(all.clone())).build().is_ok());
        let half = With(Limits::new().lane("general", ample()));
        assert!(DocumentedProxy::builder(half).other(ample()).build().is_ok());
        assert!(DocumentedProxy::builder(With(Limits::new())).limits(all).build().is_ok());
    }

    #[test]
    fn each_setter_sets_its_own_lane() {
        let only = |lane: &str| With(Limits::new().lane(lane, ample()));
        assert!(DocumentedProxy::builder(only("general")).general(ample()).build().is_err());
        assert!(DocumentedProxy::builder(only("other")).other(ample()).build().is_err());
        assert!(DocumentedProxy::builder(only("other")).general(ample()).build().is_ok());
    }
}

/// Attributes that the generated code must repeat.
pub mod conditions {
    use super::*;

    /// Some of it is not there.
    #[lanekeeper::proxy(limits = limits_here)]
    pub trait Conditional: Send + Sync {
        /// Not there, and neither is its lane.
        #[cfg(not(test))]
        #[lane(absent, read)]
        fn absent(&self, nothing: &NoSuchType) -> Result<NoSuchType>;
        /// There, although its `cfg` hides in a `cfg_attr`.
        #[cfg_attr(test, cfg(test))]
        #[lane(present, read)]
        fn present(&self) -> Result<u8>;
        /// Not there, but its lane is.
        #[cfg_attr(test, cfg(not(test)))]
        #[lane(present, read)]
        fn absent_from_a_lane(&self) -> Result<NoSuchType>;
        /// The last lane, whose place depends on those before.
        #[lane(last, read)]
        fn last(&self) -> Result<u8>;
        /// Not there.
        #[cfg(not(test))]
        #[direct]
        fn absent_direct(&self) -> NoSuchType;
        /// Not there.
        #[cfg(not(test))]
        fn absent_provided(&self) -> NoSuchType {
            NoSuchType
        }
        /// There, in one of two forms.
        #[cfg(test)]
        #[direct]
        fn limits_here(&self) -> Limits;
        /// Out of date, and still called.
        #[deprecated(note = "on purpose")]
        #[lane(last, read)]
        fn old(&self) -> Result<u8>;
        /// Long, with leave.
        #[expect(clippy::too_many_arguments)]
        #[lane(last, read)]
        fn long(&self, a: u8, b: u8, c: u8, d: u8, e: u8, f: u8, g: u8) -> Result<u8>;
    }

    struct Here;

    impl Conditional for Here {
        fn present(&self) -> Result<u8> {
            Ok(1)
        }
        fn last(&self) -> Result<u8> {
            Ok(2)
        }
        fn limits_here(&self) -> Limits {
            Limits::new().lane("present", ample())
        }
        fn old(&self) -> Result<u8> {
            Ok(3)
        }
        fn long(&self, a: u8, b: u8, c: u8, d: u8, e: u8, f: u8, g: u8) -> Result<u8> {
            Ok(a + b + c + d + e + f + g)
        }
    }

    #[test]
    fn what_is_not_there_leaves_no_trace() {
        // The lane `absent` would have no quota and keep the proxy from being built.
        let proxy = ConditionalProxy::builder(Here).last(ample()).build().unwrap();
        assert_eq!((proxy.present(), proxy.last()), (Ok(1), Ok(2)));
        assert_eq!(proxy.long(1, 1, 1, 1, 1, 1, 1), Ok(7));
        #[allow(deprecated)]
        let old = proxy.old();
        assert_eq!(old, Ok(3));
    }

    /// Out of date as a whole.
    #[deprecated(note = "on purpose")]
    #[lanekeeper::proxy]
    pub trait Old: Send + Sync {
        /// A call.
        #[lane(general, read)]
        fn call(&self) -> Result<u8>;
    }

    /// Not there at all.
    #[lanekeeper::proxy]
    #[cfg(not(test))]
    pub trait Absent: NoSuchTrait {
        /// A call.
        #[lane(general, read)]
        fn call(&self) -> Result<u8>;
    }
}

/// Who sees the proxy.
pub mod visibility {
    mod inside {
        use super::super::*;

        /// For this crate.
        #[lanekeeper::proxy]
        pub(crate) trait Hidden: Send + Sync {
            /// A call.
            #[lane(general, read)]
            fn call(&self) -> Result<u8>;
        }

        /// For this module, which uses none of it.
        #[lanekeeper::proxy]
        #[allow(dead_code)]
        trait Private: Send + Sync {
            /// A call.
            #[lane(general, read)]
            fn call(&self) -> Result<u8>;
        }
    }

    use super::*;
    use inside::{Hidden, HiddenProxy, HiddenProxyBuilder};

    struct One;

    impl Hidden for One {
        fn call(&self) -> Result<u8> {
            Ok(1)
        }
    }

    #[test]
    fn the_proxy_is_as_visible_as_its_trait() {
        let builder: HiddenProxyBuilder<One> = HiddenProxy::builder(One);
        assert_eq!(builder.general(ample()).build().unwrap().call(), Ok(1));
    }

    #[test]
    fn a_trait_can_live_in_a_function() {
        #[lanekeeper::proxy]
        trait Local: Send + Sync {
            #[lane(general, read)]
            fn call(&self) -> Result<u8>;
        }
        impl Local for One {
            fn call(&self) -> Result<u8> {
                Ok(1)
            }
        }
        assert_eq!(LocalProxy::builder(One).general(ample()).build().unwrap().call(), Ok(1));
    }
}

/// Supertraits, associated types, type parameters.
pub mod types {
    use super::*;

    /// Says nothing of the thread, is not lent, and can be printed.
    #[lanekeeper::proxy]
    pub trait Printed: Debug + Send + Sync + 'static {
        /// A call.
        #[lane(general, read)]
        fn call(&self) -> Result<u8>;
    }

    /// Has no supertraits at all.
    #[lanekeeper::proxy]
    pub trait Bare {
        /// A call.
        #[lane(general, read)]
        fn call(&self) -> Result<u8>;
    }

    /// Has no lane either.
    #[lanekeeper::proxy]
    pub trait Laneless {
        /// Direct.
        #[direct]
        fn name(&self) -> &str;
    }

    impl Laneless for String {
        fn name(&self) -> &str {
            self
        }
    }

    #[test]
    fn a_trait_without_lanes_has_a_proxy_too() {
        let proxy = LanelessProxy::builder(String::from("me")).build().unwrap();
        assert_eq!(proxy.name(), "me");
    }

    /// A type that each implementation chooses.
    #[lanekeeper::proxy]
    pub trait Associated: Send + Sync {
        /// What is asked for.
        type Key: Clone + Debug + Send + 'static;
        /// What is answered.
        type Answer: Send + 'static;
        /// Lent and given back.
        #[lane(general, read)]
        fn call(&self, key: &Self::Key, more: Option<Self::Key>) -> Result<Self::Answer>;
    }

    /// Type parameters, one of them with the name that the proxy's own would have.
    #[lanekeeper::proxy]
    pub trait Store<T: Clone + Send + 'static, const N: usize, V = String>: Send + Sync
    where
        V: Send + 'static,
    {
        /// Lent and given back.
        #[lane(general, write, retry = never)]
        fn put(&self, key: &T, value: V) -> Result<[V; N]>;
    }

    #[derive(Debug)]
    struct One;

    impl Printed for One {
        fn call(&self) -> Result<u8> {
            Ok(1)
        }
    }
    impl Bare for One {
        fn call(&self) -> Result<u8> {
            Ok(1)
        }
    }
    impl Associated for One {
        type Key = String;
        type Answer = usize;
        fn call(&self, key: &String, more: Option<String>) -> Result<usize> {
            Ok(key.len() + more.map_or(0, |more| more.len()))
        }
    }
    impl Store<u8, 1> for One {
        fn put(&self, key: &u8, value: String) -> Result<[String; 1]> {
            Ok([format!("{key} {value}")])
        }
    }
    impl Store<String, 2, u8> for One {
        fn put(&self, _: &String, value: u8) -> Result<[u8; 2]> {
            Ok([value; 2])
        }
    }

    #[test]
    fn supertraits_are_met() {
        fn printed(value: impl Printed) -> String {
            format!("{value:?}")
        }
        let proxy = || PrintedProxy::builder(One).general(ample()).build().unwrap();
        assert!(printed(proxy()).starts_with("PrintedProxy"));
        assert!(printed(Box::new(proxy()) as Box<dyn Printed>).starts_with("PrintedProxy"));
        assert_eq!(printed(Arc::new(One)), "One");
    }

    #[test]
    fn a_trait_without_supertraits_has_a_proxy_too() {
        let proxy = BareProxy::builder(One).general(ample()).build().unwrap();
        assert_eq!(Bare::call(&proxy), Ok(1));
    }

    #[test]
    fn associated_types_are_those_of_the_inner_value() {
        let proxy = AssociatedProxy::builder(One).general(ample()).build().unwrap();
        let shared: Arc<dyn Associated<Key = String, Answer = usize>> = Arc::new(proxy);
        assert_eq!(shared.call(&"four".into(), Some("five".into())), Ok(8));
    }

    #[test]
    fn a_generic_trait_has_one_proxy_for_all_its_parameters() {
        let proxy = StoreProxy::builder(One).general(ample()).build().unwrap();
        assert_eq!(proxy.put(&7, String::from("seven")), Ok([String::from("7 seven")]));
        assert_eq!(proxy.put(&String::new(), 9), Ok([9, 9]));
    }
}

/// What the lanes are told of a call.
pub mod calls {
    use super::*;
    use lanekeeper::lane::Effect;
    use lanekeeper::proxy::{CallInfo, Classify, FinishedCall, Observer};
    use lanekeeper::{Class, Sent};

    /// An error that knows whether its call left.
    #[derive(Debug, PartialEq)]
    pub struct Knowing(Sent);

    impl From<LaneError> for Knowing {
        fn from(_: LaneError) -> Self {
            Self(Sent::No)
        }
    }

    impl Classify for Knowing {
        fn class(&self) -> Class {
            match self.0 {
                Sent::No => Class::NotSent,
                Sent::Yes => Class::Rejected,
                Sent::Unknown => Class::Unknown,
            }
        }
    }

    /// Two lanes, and a name that is a keyword.
    #[lanekeeper::proxy]
    pub trait Calls: Send + Sync {
        /// Gone, so that it must not be counted.
        #[cfg(not(test))]
        #[lane(gone, read)]
        fn gone(&self) -> Result<()>;
        /// With an error that knows.
        #[lane(first, write)]
        fn knowing(&self, sent: Sent) -> std::result::Result<(), Knowing>;
        /// With one that does not.
        #[lane(second, read)]
        fn unknowing(&self) -> Result<()>;
        /// Goes well.
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
            .clock(ManualClock::jumping())
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
            .limits(
                Limits::new().lane("first", ample()).lane("second", ample()).lane("type", ample()),
            )
            .build()
            .unwrap();
        assert_eq!(proxy.lanes().names().collect::<Vec<_>>(), ["first", "second", "type"]);
    }
}

/// A trait that a macro writes.
pub mod written_by_a_macro {
    use super::*;

    macro_rules! make {
        ($name:ident, $lane:ident, $argument:ident: $ty:ty) => {
            /// Made elsewhere.
            #[lanekeeper::proxy]
            pub trait $name: Send + Sync {
                /// A call.
                #[lane($lane, read)]
                fn call(&self, $argument: &$ty, other: &str) -> Result<String>;
            }
        };
    }

    make!(Made, general, text: str);

    struct One;

    impl Made for One {
        fn call(&self, text: &str, other: &str) -> Result<String> {
            Ok(format!("{text} {other}"))
        }
    }

    #[test]
    fn a_trait_can_be_written_by_a_macro() {
        let proxy = MadeProxy::builder(One).general(ample()).build().unwrap();
        assert_eq!(proxy.call("one", "other"), Ok("one other".into()));
    }
}
