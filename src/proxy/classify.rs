//! What a proxied trait's own error type tells about a call.
//!
//! Implementing [`Classify`] is a choice. A generated proxy asks [`Probe`], which finds the
//! implementation if there is one and falls back to the cautious answer if not, by the order in
//! which methods are looked up: `(&Probe(&error)).was_sent()` meets [`Classified`], for a
//! `Probe`, before [`Unclassified`], for a `&Probe`.

use crate::Sent;

/// Tells of an error whether the call left this process, and whether an answer came. Implement it for
/// the error type of your trait: without it a lane has to take every error for a call that was given
/// up without an answer, whose slot it holds for longer.
///
/// ```
/// use lanekeeper::Sent;
/// use lanekeeper::proxy::Classify;
///
/// enum WeatherError {
///     NoConnection,
///     Refused(String),
/// }
///
/// impl Classify for WeatherError {
///     fn was_sent(&self) -> Sent {
///         match self {
///             Self::NoConnection => Sent::No,
///             Self::Refused(_) => Sent::Yes,
///         }
///     }
/// }
/// ```
pub trait Classify {
    /// Whether the call left this process. When in doubt, [`Sent::Unknown`].
    fn was_sent(&self) -> Sent;
}

/// Asks an error, whether it implements [`Classify`] or not.
#[derive(Debug)]
pub struct Probe<'a, E>(pub &'a E);

/// For errors that implement [`Classify`].
pub trait Classified {
    /// What the error says.
    fn was_sent(&self) -> Sent;
}

impl<E: Classify> Classified for Probe<'_, E> {
    fn was_sent(&self) -> Sent {
        self.0.was_sent()
    }
}

/// For errors that do not.
pub trait Unclassified {
    /// Nothing is known, so it may have left.
    fn was_sent(&self) -> Sent {
        Sent::Unknown
    }
}

impl<E> Unclassified for &Probe<'_, E> {}

#[cfg(test)]
mod tests {
    use super::{Classified as _, Classify, Probe, Unclassified as _};
    use crate::Sent;

    struct Plain;
    struct Telling(Sent);

    impl Classify for Telling {
        fn was_sent(&self) -> Sent {
            self.0
        }
    }

    #[test]
    #[allow(clippy::needless_borrow)] // The borrow is what chooses.
    fn the_probe_finds_the_implementation_if_there_is_one() {
        assert_eq!((&Probe(&Telling(Sent::No))).was_sent(), Sent::No);
        assert_eq!((&Probe(&Telling(Sent::Yes))).was_sent(), Sent::Yes);
        assert_eq!((&Probe(&Plain)).was_sent(), Sent::Unknown);
    }
}
