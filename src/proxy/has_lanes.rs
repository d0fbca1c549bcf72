//! Access to the lanes of a proxy, or of the proxy behind a layer.

use std::sync::Arc;

use super::Lanes;

/// Something with lanes, which other proxies can share: a generated proxy, a `QuoteCache` or an `OrderGuard` in front
/// of one, a `Stack`, or [`Lanes`] themselves.
///
/// Every builder of a proxy takes one in `lanes_of`:
///
/// ```
/// use lanekeeper::{BuildError, LaneConfig, LaneError, Quota};
///
/// #[derive(Debug)]
/// struct Failed;
///
/// impl From<LaneError> for Failed {
///     fn from(_: LaneError) -> Self {
///         Self
///     }
/// }
///
/// #[lanekeeper::proxy]
/// trait Weather {
///     #[lane(general, read)]
///     fn temperature(&self, city: &str) -> Result<i32, Failed>;
/// }
///
/// #[lanekeeper::proxy]
/// trait Tides {
///     #[lane(general, read)]
///     fn high_tide(&self, harbour: &str) -> Result<u32, Failed>;
/// }
///
/// struct Client;
///
/// impl Weather for Client {
///     fn temperature(&self, _city: &str) -> Result<i32, Failed> {
///         Ok(21)
///     }
/// }
///
/// impl Tides for Client {
///     fn high_tide(&self, _harbour: &str) -> Result<u32, Failed> {
///         Ok(320)
///     }
/// }
///
/// let weather = WeatherProxy::builder(Client).general(Quota::per_minute(20)).build()?;
/// // The calls of both traits count in the same 20 calls a minute.
/// let tides = TidesProxy::builder(Client).lanes_of(&weather).build()?;
/// assert_eq!(tides.high_tide("Mormugao").ok(), Some(320));
/// assert_eq!(weather.status().lanes[0].windows[0].used, 1);
/// # Ok::<(), BuildError>(())
/// ```
pub trait HasLanes {
    /// Returns the lanes.
    fn lanes(&self) -> &Lanes;
}

impl HasLanes for Lanes {
    fn lanes(&self) -> &Lanes {
        self
    }
}

impl<T: HasLanes + ?Sized> HasLanes for &T {
    fn lanes(&self) -> &Lanes {
        (**self).lanes()
    }
}

impl<T: HasLanes + ?Sized> HasLanes for Arc<T> {
    fn lanes(&self) -> &Lanes {
        (**self).lanes()
    }
}
