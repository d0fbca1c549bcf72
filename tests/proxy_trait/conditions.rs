//! Attributes that the generated code must repeat.

use super::*;

/// A trait parts of which are compiled out.
#[lanekeeper::proxy(limits = limits_here)]
pub trait Conditional: Send + Sync {
    /// Compiled out, and so is its lane.
    #[cfg(not(test))]
    #[lane(absent, read)]
    fn absent(&self, nothing: &NoSuchType) -> Result<NoSuchType>;
    /// Present, although its `cfg` is inside a `cfg_attr`.
    #[cfg_attr(test, cfg(test))]
    #[lane(present, read)]
    fn present(&self) -> Result<u8>;
    /// Compiled out, but its lane is present.
    #[cfg_attr(test, cfg(not(test)))]
    #[lane(present, read)]
    fn absent_from_a_lane(&self) -> Result<NoSuchType>;
    /// The last lane, whose index depends on those before.
    #[lane(last, read)]
    fn last(&self) -> Result<u8>;
    /// Compiled out.
    #[cfg(not(test))]
    #[direct]
    fn absent_direct(&self) -> NoSuchType;
    /// Compiled out.
    #[cfg(not(test))]
    fn absent_provided(&self) -> NoSuchType {
        NoSuchType
    }
    /// Present, in one of two forms.
    #[cfg(test)]
    #[direct]
    fn limits_here(&self) -> Limits;
    /// Deprecated, and still called.
    #[deprecated(note = "on purpose")]
    #[lane(last, read)]
    fn old(&self) -> Result<u8>;
    /// Many arguments, with the lint allowed.
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
fn what_is_compiled_out_leaves_no_trace() {
    // The lane `absent` would have no quota and keep the proxy from being built.
    let proxy = ConditionalProxy::builder(Here).last(ample()).build().unwrap();
    assert_eq!((proxy.present(), proxy.last()), (Ok(1), Ok(2)));
    assert_eq!(proxy.long(1, 1, 1, 1, 1, 1, 1), Ok(7));
    #[allow(deprecated)]
    let old = proxy.old();
    assert_eq!(old, Ok(3));
}

/// A deprecated trait.
#[deprecated(note = "on purpose")]
#[lanekeeper::proxy]
pub trait Old: Send + Sync {
    /// A call.
    #[lane(general, read)]
    fn call(&self) -> Result<u8>;
}

/// A trait that is compiled out.
#[lanekeeper::proxy]
#[cfg(not(test))]
pub trait Absent: NoSuchTrait {
    /// A call.
    #[lane(general, read)]
    fn call(&self) -> Result<u8>;
}
