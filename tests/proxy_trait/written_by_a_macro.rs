//! A trait that a macro writes.

use super::*;

macro_rules! make {
    ($name:ident, $lane:ident, $argument:ident: $ty:ty) => {
        /// Defined by the macro.
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
