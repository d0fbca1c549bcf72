//! What `#[lanekeeper::proxy]` makes besides the trait itself: queued calls, options, budgets.
//!
//! The lints are those of a strict user, as in `proxy_trait`.

#![deny(warnings, missing_docs, unreachable_pub, missing_debug_implementations)]
#![deny(clippy::all, clippy::pedantic, clippy::unwrap_used, clippy::expect_used)]
#![allow(clippy::unwrap_used, clippy::missing_errors_doc)]

use std::fmt::Debug;
use std::thread::{self, ThreadId};

use lanekeeper::lane::LaneError;
use lanekeeper::lane::{Shutdown, ShutdownSummary};
use lanekeeper::quota::Quota;
use lanekeeper::{CallOptions, Status, Ticket};

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

/// Returns a quota that no test waits for.
fn ample() -> Quota {
    Quota::per_second(1000)
}

/// Every form of argument and answer once more.
pub mod forms {
    use super::*;

    /// With all keys.
    #[lanekeeper::proxy]
    pub trait Forms: Send + Sync {
        /// Compiled out, and its budget with it.
        #[cfg(not(test))]
        #[lane(general, write, budget = gone)]
        fn gone(&self) -> Result<NoSuchType>;
        /// Behind an alias.
        #[lane(general, read, priority = 10, weight = 2)]
        fn lent(&self, text: &str, more: Option<&str>, numbers: &[u8]) -> Result<String>;
        /// Written out.
        #[lane(general, write, budget = orders, priority = 1, budget = r#type)]
        fn written(&self, one: u8, r#in: &str) -> core::result::Result<u8, Failure>;
        /// A pattern instead of a name.
        #[lane(general, read)]
        fn pattern(&self, (left, right): (u8, u8)) -> Result<u8> {
            Ok(left + right)
        }
        /// Returns the thread that it runs on, with names that the generated code might use itself.
        #[lane(other, write, weight = 4_294_967_295, budget = orders)]
        fn r#where(&self, proxy: &str, of: u8) -> Result<ThreadId>;
        /// Arguments with a `cfg`.
        #[lane(other, read)]
        fn conditional(&self, #[cfg(test)] here: &str, #[cfg(not(test))] no: u8) -> Result<String>;
        /// Deprecated, and still called.
        #[deprecated(note = "on purpose")]
        #[lane(other, read)]
        fn old(&self) -> Result<u8>;
        /// Not in a lane.
        #[direct]
        fn direct(&self) -> u8 {
            1
        }
        /// Provided by the trait.
        fn provided(&self) -> Result<String> {
            self.lent("provided", None, &[])
        }
    }

    #[derive(Debug)]
    struct Echo;

    impl Forms for Echo {
        fn lent(&self, text: &str, more: Option<&str>, numbers: &[u8]) -> Result<String> {
            Ok(format!("{text} {more:?} {numbers:?}"))
        }
        fn written(&self, one: u8, r#in: &str) -> Result<u8> {
            if r#in.is_empty() { Err(Failure("empty".into())) } else { Ok(one) }
        }
        fn r#where(&self, proxy: &str, of: u8) -> Result<ThreadId> {
            assert_eq!((proxy, of), ("mine", 7));
            Ok(thread::current().id())
        }
        fn conditional(&self, here: &str) -> Result<String> {
            Ok(here.into())
        }
        fn old(&self) -> Result<u8> {
            Ok(3)
        }
    }

    fn proxy() -> FormsProxy<Echo> {
        FormsProxy::builder(Echo)
            .general(ample())
            .other(ample())
            .orders(Quota::unlimited())
            .r#type(Quota::unlimited())
            .build()
            .unwrap()
    }

    #[test]
    fn a_queued_call_takes_what_the_method_takes_and_is_answered_by_its_ticket() {
        let proxy = proxy();
        let (one, other): (Ticket<String, Failure>, Ticket<u8, Failure>);
        {
            // Nothing that was borrowed is still held.
            let text = String::from("rain");
            one = proxy.submit().lent(&text, Some(&text), &[1]);
            other = proxy.submit().written(7, &text);
        }
        assert_eq!(one.wait(), Ok("rain Some(\"rain\") [1]".into()));
        assert_eq!(other.wait(), Ok(7));
        assert_eq!(proxy.submit().written(7, "").wait(), Err(Failure("empty".into())));
        assert_eq!(proxy.submit().pattern((1, 2)).wait(), Ok(3));
        assert_eq!(proxy.submit().conditional("here").wait(), Ok("here".into()));
        #[allow(deprecated)]
        let old = proxy.submit().old();
        assert_eq!(old.wait(), Ok(3));
    }

    #[test]
    fn a_call_that_keeps_its_caller_waiting_is_as_ever() {
        let proxy = proxy();
        assert_eq!(proxy.lent("rain", None, &[]), Ok("rain None []".into()));
        assert_eq!(proxy.provided(), Ok("provided None []".into()));
        assert_eq!(proxy.direct(), 1);
    }

    #[test]
    fn a_queued_call_outlives_the_proxy_it_was_made_by() {
        let submit = proxy().submit();
        let ticket = submit.clone().r#where("mine", 7);
        assert_ne!(ticket.wait(), Ok(thread::current().id()));
        assert!(format!("{submit:?}").starts_with("FormsSubmit { proxy: FormsProxy { lanes: "));
    }

    #[test]
    fn queued_calls_go_from_thread_to_thread() {
        fn anywhere<T: Send + Sync + Clone + Debug + 'static>(_: &T) {}
        anywhere(&proxy());
        anywhere(&proxy().submit());
    }

    #[test]
    fn the_same_proxy_with_options_still_is_the_trait() {
        let proxy = proxy();
        let with = proxy.with(CallOptions::default());
        assert!(std::ptr::eq::<Echo>(proxy.inner(), with.inner()));
        let with: Box<dyn Forms> = Box::new(with);
        assert_eq!(with.written(1, "x"), Ok(1));
        let queued = proxy.with(CallOptions::default()).submit().written(3, "x");
        assert_eq!(queued.wait(), Ok(3));
    }

    #[test]
    fn the_proxy_reports_and_ends_what_the_lanes_do() {
        let _: fn(&FormsProxy<Echo>) -> Status = FormsProxy::status;
        let _: fn(&FormsProxy<Echo>, Shutdown) -> ShutdownSummary = FormsProxy::shutdown;
    }
}

/// Associated types and type parameters.
pub mod types {
    use super::*;

    /// Types that each implementation chooses.
    #[lanekeeper::proxy]
    pub trait Associated: Send + Sync
    where
        Self: 'static,
    {
        /// The key of a call.
        type Key: Clone + Send + 'static;
        /// The answer to a call.
        type Answer: Send + 'static;
        /// The error of a call.
        type Error: From<LaneError> + Send + 'static;
        /// Borrows the key, and returns it.
        #[lane(general, read)]
        fn call(
            &self,
            key: &Self::Key,
            more: Option<Self::Key>,
        ) -> std::result::Result<Vec<Self::Answer>, Self::Error>;
    }

    /// Type parameters, one of them with the name that the proxy's own would have.
    #[lanekeeper::proxy]
    pub trait Store<T: Clone + Send + 'static, const N: usize, V = String>: Send + Sync
    where
        V: Send + 'static,
    {
        /// Borrows the key, and returns the value.
        #[lane(general, write, retry = never)]
        fn put(&self, key: &T, value: V) -> Result<[V; N]>;
    }

    /// A parameter that has no size.
    #[lanekeeper::proxy]
    pub trait Table<K>: Send + Sync
    where
        K: ToOwned<Owned: Send> + ?Sized + 'static,
    {
        /// Borrows the key.
        #[lane(general, read)]
        fn get(&self, key: &K) -> Result<usize>;
    }

    struct One;

    impl Associated for One {
        type Key = String;
        type Answer = usize;
        type Error = Failure;
        fn call(&self, key: &String, more: Option<String>) -> Result<Vec<usize>> {
            Ok(vec![key.len(), more.map_or(0, |more| more.len())])
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
    impl Table<str> for One {
        fn get(&self, key: &str) -> Result<usize> {
            Ok(key.len())
        }
    }

    #[test]
    fn associated_types_are_those_of_the_inner_value() {
        let proxy = AssociatedProxy::builder(One).general(ample()).build().unwrap();
        let ticket: Ticket<Vec<usize>, Failure> =
            proxy.submit().call(&"four".into(), Some("three".into()));
        assert_eq!(ticket.wait(), Ok(vec![4, 5]));
    }

    #[test]
    fn the_parameters_of_a_generic_trait_are_named_or_found() {
        let proxy = StoreProxy::builder(One).general(ample()).build().unwrap();
        let named = proxy.submit::<u8, 1, String>();
        assert_eq!(named.put(&7, "seven".into()).wait(), Ok(["7 seven".into()]));
        let by_default: StoreSubmit<One, u8, 1> = proxy.submit();
        assert_eq!(by_default.put(&8, "eight".into()).wait(), Ok(["8 eight".into()]));
        assert_eq!(proxy.submit().put(&String::new(), 9).wait(), Ok([9, 9]));
    }

    #[test]
    fn a_parameter_needs_no_size() {
        let proxy = TableProxy::builder(One).general(ample()).build().unwrap();
        assert_eq!(proxy.submit::<str>().get("four").wait(), Ok(4));
    }
}

/// A trait that a macro writes.
pub mod written_by_a_macro {
    use super::*;

    macro_rules! make {
        ($name:ident, $lane:ident, $budget:ident, $priority:literal, $answer:ident) => {
            /// Defined by the macro.
            #[lanekeeper::proxy]
            pub trait $name: Send + Sync {
                /// A call.
                #[lane($lane, read, budget = $budget, priority = $priority)]
                fn call(&self, text: &str) -> Result<$answer>;
            }
        };
    }

    make!(Made, general, sms, 2, String);

    struct One;

    impl Made for One {
        fn call(&self, text: &str) -> Result<String> {
            Ok(text.into())
        }
    }

    #[test]
    fn a_trait_can_be_written_by_a_macro() {
        let proxy = MadeProxy::builder(One).general(ample()).sms(ample()).build().unwrap();
        assert_eq!(proxy.submit().call("one").wait(), Ok("one".into()));
    }
}
