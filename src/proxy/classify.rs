//! The classification of the errors of a proxied trait.
//!
//! Implementing [`Classify`] is optional. A generated proxy calls [`ErrorProbe`], which uses the
//! implementation if there is one. The method lookup of Rust decides
//! (autoref specialization): `(&ErrorProbe(&error)).failure()` resolves to [`Classified`], implemented for
//! `ErrorProbe`, before [`Unclassified`], implemented for `&ErrorProbe`.

use crate::{ErrorClass, Failure};

/// The classification of an error. Implement it for the error type of your trait: it decides what a
/// lane may do next, and whether the slot of the call is held for longer. Without it
/// every error of a read is [`ErrorClass::Transient`] and every error of a write [`ErrorClass::Unknown`].
///
/// The lane answers with a [`LaneError`](crate::LaneError) if it cannot send a call, so the error type also needs a
/// variant for that and a conversion. Its class is already known.
///
/// ```
/// use std::time::Duration;
/// use lanekeeper::proxy::Classify;
/// use lanekeeper::{ErrorClass, LaneConfig, LaneError, ManualClock, Quota};
///
/// #[derive(Debug)]
/// pub enum WeatherError {
///     NoConnection,
///     TooFast { wait: Duration },
///     NoSuchCity(String),
///     /// The lane's error in place of the service's answer, for example because the queue is full.
///     Lane(LaneError),
/// }
///
/// impl From<LaneError> for WeatherError {
///     fn from(error: LaneError) -> Self {
///         Self::Lane(error)
///     }
/// }
///
/// impl Classify for WeatherError {
///     fn class(&self) -> ErrorClass {
///         match self {
///             Self::NoConnection => ErrorClass::NotSent,
///             Self::TooFast { wait } => ErrorClass::Throttled { retry_after: Some(*wait) },
///             Self::NoSuchCity(_) => ErrorClass::Rejected,
///             Self::Lane(error) => error.class(),
///         }
///     }
/// }
///
/// #[lanekeeper::proxy]
/// pub trait Weather: Send + Sync {
///     #[lane(general, read)]
///     fn temperature(&self, city: &str) -> Result<i32, WeatherError>;
/// }
///
/// struct Client;
/// impl Weather for Client {
///     fn temperature(&self, city: &str) -> Result<i32, WeatherError> {
///         match city {
///             "Pune" => Ok(21),
///             _ => Err(WeatherError::NoSuchCity(city.to_owned())),
///         }
///     }
/// }
///
/// # fn main() -> Result<(), lanekeeper::BuildError> {
/// let one_a_second = LaneConfig::new(Quota::per_second(1));
/// let clock = ManualClock::new();
/// let weather = WeatherProxy::builder(Client).general(one_a_second).clock(clock).build()?;
/// // A rejection is the service's answer: it is not retried.
/// assert!(matches!(weather.temperature("Atlantis"), Err(WeatherError::NoSuchCity(_))));
/// // The quota allows the next call after a second. This one does not wait for so long.
/// let hasty = weather.with(lanekeeper::CallOptions::new().deadline(Duration::from_millis(1)));
/// let error = hasty.temperature("Pune").expect_err("the deadline is too soon");
/// assert_eq!(error.class(), ErrorClass::NotSent);
/// # Ok(())
/// # }
/// ```
pub trait Classify {
    /// Returns the class of the error. When in doubt, return [`ErrorClass::Unknown`].
    fn class(&self) -> ErrorClass;

    /// Returns everything that a lane can use. Implement it if the error knows more than its class: for example that
    /// an answer arrived although the outcome of the call is unknown, or that the answer reported that calls come too
    /// fast.
    ///
    /// An error that the implementation raises itself, before it has tried anything, returns [`Failure::local`]: its
    /// call is not retried, and its slots are free again at once. By default an error of the class
    /// [`ErrorClass::NotSent`] counts as a connection that failed, whose call keeps its slots.
    fn failure(&self) -> Failure {
        self.class().into()
    }
}

/// Classifies an error, whether or not it implements [`Classify`].
#[derive(Debug)]
pub struct ErrorProbe<'a, E>(pub &'a E);

/// For errors that implement [`Classify`].
pub trait Classified {
    /// Returns the failure that the error describes.
    fn failure(&self) -> Option<Failure>;
}

impl<E: Classify> Classified for ErrorProbe<'_, E> {
    fn failure(&self) -> Option<Failure> {
        Some(self.0.failure())
    }
}

/// For errors that do not implement [`Classify`].
pub trait Unclassified {
    /// Returns `None`, since nothing is known.
    fn failure(&self) -> Option<Failure> {
        None
    }
}

impl<E> Unclassified for &ErrorProbe<'_, E> {}

#[cfg(test)]
mod tests {
    use super::{Classified as _, Classify, ErrorProbe, Unclassified as _};
    use crate::ErrorClass;

    struct Plain;
    struct WithClass(ErrorClass);

    impl Classify for WithClass {
        fn class(&self) -> ErrorClass {
            self.0
        }
    }

    #[test]
    #[allow(clippy::needless_borrow)] // The borrow selects the implementation.
    fn the_probe_finds_the_implementation_if_there_is_one() {
        for class in [ErrorClass::NotSent, ErrorClass::Fatal] {
            assert_eq!((&ErrorProbe(&WithClass(class))).failure(), Some(class.into()));
        }
        assert_eq!((&ErrorProbe(&Plain)).failure(), None);
    }
}
