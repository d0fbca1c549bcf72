//! The locks and atomics under a call's life and under the crew: the standard ones, or loom's, which
//! tries every order of events. Neither poisons: what a panic could leave half done is not under them.
//!
//! Not parking_lot's, as elsewhere: a thread that sleeps on one of those goes through a table that all
//! locks of the process share, which nobody has looked at for a while when a quiet lane is called.
//! `docs/benchmarks.md` has what that costs.

use std::sync::PoisonError;

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
#[cfg(loom)]
pub(crate) use loom::sync::{Condvar, MutexGuard};
#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
#[cfg(not(loom))]
pub(crate) use std::sync::{Condvar, MutexGuard};

#[cfg(loom)]
use loom::sync as bare;
#[cfg(not(loom))]
use std::sync as bare;

/// A mutex without poisoning.
#[derive(Debug)]
pub(crate) struct Mutex<T>(bare::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(bare::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits until told. May wake early.
pub(crate) fn wait<'a, T>(condvar: &Condvar, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
    condvar.wait(guard).unwrap_or_else(PoisonError::into_inner)
}

/// Waits until told, for at most `time`. May wake early.
#[cfg(not(loom))]
pub(crate) fn wait_for<'a, T>(
    condvar: &Condvar,
    guard: MutexGuard<'a, T>,
    timeout: std::time::Duration,
) -> MutexGuard<'a, T> {
    condvar.wait_timeout(guard, timeout).unwrap_or_else(PoisonError::into_inner).0
}
