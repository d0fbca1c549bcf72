//! A storage as a limiter asks it: its panic is an answer that it did not give.
//!
//! A storage may be code of users. A panic must not end the task or thread of a request, and must not admit it unasked.

use super::{Charge, Storage, StorageError, Take, Taken};
use crate::panic::catch_panic;
use crate::quota::request_limit::{Reading, UnixMicros};

pub(in crate::limiter) struct GuardedStorage(Box<dyn Storage>);

/// The message of the panic is left out, because it may have a secret.
fn panicked() -> StorageError {
    StorageError::new("it panicked")
}

impl GuardedStorage {
    pub(in crate::limiter) fn new(storage: impl Storage) -> Self {
        Self(Box::new(storage))
    }

    #[inline]
    pub(in crate::limiter) fn take_one(
        &self,
        charge: &Charge<'_, '_>,
        at: Option<UnixMicros>,
    ) -> Result<(UnixMicros, Reading), StorageError> {
        catch_panic(|| self.0.take_one(charge, at)).unwrap_or_else(|_| Err(panicked()))
    }

    /// Returns as many readings as there are charges, or an error.
    #[inline]
    pub(in crate::limiter) fn take(&self, take: &Take<'_, '_>) -> Result<Taken, StorageError> {
        checked(take, catch_panic(|| self.0.take(take)).unwrap_or_else(|_| Err(panicked())))
    }

    pub(in crate::limiter) fn take_here(
        &self,
        take: &Take<'_, '_>,
    ) -> Option<Result<Taken, StorageError>> {
        if take.charges().is_empty() {
            return Some(Ok(Taken::nothing()));
        }
        let taken = catch_panic(|| self.0.take_here(take));
        Some(checked(take, taken.unwrap_or_else(|_| Some(Err(panicked())))?))
    }

    /// Returns as many results as there are takes.
    pub(in crate::limiter) fn take_all(
        &self,
        takes: &[Take<'_, '_>],
    ) -> Vec<Result<Taken, StorageError>> {
        let asked: Vec<Take<'_, '_>> =
            takes.iter().filter(|take| !take.charges().is_empty()).cloned().collect();
        let taken = match catch_panic(|| self.0.take_all(&asked)) {
            Ok(taken) => taken,
            Err(_) => asked.iter().map(|_| Err(panicked())).collect(),
        };
        let mut taken = taken.into_iter();
        let too_few = || Err(StorageError::new("it gave fewer verdicts than it was asked for"));
        let result = |take: &Take<'_, '_>| match take.charges() {
            [] => Ok(Taken::nothing()),
            _ => checked(take, taken.next().unwrap_or_else(too_few)),
        };
        takes.iter().map(result).collect()
    }

    pub(in crate::limiter) fn forgive(&self, take: &Take<'_, '_>) -> Result<(), StorageError> {
        catch_panic(|| self.0.forgive(take)).unwrap_or_else(|_| Err(panicked()))
    }

    pub(in crate::limiter) fn may_block(&self) -> bool {
        // Asked on a thread of its own, it panics again and is an error there.
        catch_panic(|| self.0.may_block()).unwrap_or(true)
    }
}

fn checked(take: &Take<'_, '_>, taken: Result<Taken, StorageError>) -> Result<Taken, StorageError> {
    taken.and_then(|taken| match taken.readings.len() == take.charges().len() {
        true => Ok(taken),
        false => Err(StorageError::new("its answer is about other limits")),
    })
}
