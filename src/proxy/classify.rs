//! What a proxied trait's own error type tells about a call.
//!
//! Implementing [`Classify`] is a choice. A generated proxy asks [`ErrorProbe`], which finds the
//! implementation if there is one and knows nothing if not, by the order in which methods are looked
//! up: `(&ErrorProbe(&error)).failure()` meets [`Classified`], for a `ErrorProbe`, before [`Unclassified`], for a
//! `&ErrorProbe`.

use crate::{ErrorClass, Failure};

/// Tells of an error what kind of failure it is. Implement it for the error type of your trait: what a
/// lane may do next follows from it, and whether the slot of the call is held for longer. Without it
/// every error of a read is [`ErrorClass::Transient`] and every error of a write [`ErrorClass::Unknown`].
///
/// ```
/// use std::time::Duration;
/// use lanekeeper::ErrorClass;
/// use lanekeeper::proxy::Classify;
///
/// enum WeatherError {
///     NoConnection,
///     TooFast { wait: Duration },
///     NoSuchCity(String),
/// }
///
/// impl Classify for WeatherError {
///     fn class(&self) -> ErrorClass {
///         match self {
///             Self::NoConnection => ErrorClass::NotSent,
///             Self::TooFast { wait } => ErrorClass::Throttled { retry_after: Some(*wait) },
///             Self::NoSuchCity(_) => ErrorClass::Rejected,
///         }
///     }
/// }
/// # let _ = WeatherError::TooFast { wait: Duration::ZERO };
/// ```
pub trait Classify {
    /// What kind of failure it is. When in doubt, [`ErrorClass::Unknown`].
    fn class(&self) -> ErrorClass;

    /// All that a lane has to know of it. Give it if the error knows more than its class tells: that an
    /// answer arrived, though what became of the call is unknown; or that it said that calls come too
    /// fast.
    fn failure(&self) -> Failure {
        self.class().into()
    }
}

/// Asks an error, whether it implements [`Classify`] or not.
#[derive(Debug)]
pub struct ErrorProbe<'a, E>(pub &'a E);

/// For errors that implement [`Classify`].
pub trait Classified {
    /// What the error says.
    fn failure(&self) -> Option<Failure>;
}

impl<E: Classify> Classified for ErrorProbe<'_, E> {
    fn failure(&self) -> Option<Failure> {
        Some(self.0.failure())
    }
}

/// For errors that do not.
pub trait Unclassified {
    /// Nothing is known.
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
    struct Telling(ErrorClass);

    impl Classify for Telling {
        fn class(&self) -> ErrorClass {
            self.0
        }
    }

    #[test]
    #[allow(clippy::needless_borrow)] // The borrow is what chooses.
    fn the_probe_finds_the_implementation_if_there_is_one() {
        for class in [ErrorClass::NotSent, ErrorClass::Fatal] {
            assert_eq!((&ErrorProbe(&Telling(class))).failure(), Some(class.into()));
        }
        assert_eq!((&ErrorProbe(&Plain)).failure(), None);
    }
}
