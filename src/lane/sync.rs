//! The locks and atomics under a call's life and under the crew: the usual ones, or loom's, which
//! tries every order of events.

#[cfg(not(loom))]
pub(crate) use std_sync::*;

#[cfg(not(loom))]
mod std_sync {
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};

    pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard};

    /// Waits until told.
    pub(crate) fn wait<'a, T>(told: &Condvar, mut guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        told.wait(&mut guard);
        guard
    }
}

#[cfg(loom)]
pub(crate) use loom_sync::*;

#[cfg(loom)]
mod loom_sync {
    pub(crate) use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
    pub(crate) use loom::sync::{Condvar, MutexGuard};

    /// loom's mutex, without poisoning, as parking_lot's is.
    #[derive(Debug)]
    pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(loom::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
        }
    }

    /// Waits until told.
    pub(crate) fn wait<'a, T>(told: &Condvar, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        told.wait(guard).unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
