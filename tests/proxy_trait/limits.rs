//! Where the quota of a lane comes from.

use super::*;

/// A trait with documented limits.
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
