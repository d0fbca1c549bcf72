//! Lookups of a batch cache by tasks: what `cache.rs` and `subscription.rs` do for threads, as futures.
//!
//! Each wait is declared before the query that it serves, and so dropped after it: a task that leaves has left its requests
//! before it passes the fetch on.

use std::future::Future;
use std::sync::Arc;

use super::bounds::{Key, Shared};
use super::builder::BatchBuilder;
use super::cache::BatchCache;
use super::core::Core;
use super::fetch::{Batch, FetchSource};
use super::lookup::{BatchResult, Cached, FetchError, GetOptions};
use super::shared_store::SharedStore;
use super::subscription::BatchSubscription;
use super::task_fetcher::{FetchFuture, TaskFetcher, TaskWait};
use super::wait::{Query, QueryStep};
use super::watch::{NewerWait, Watch, WatchOutcome, WatchStep};
use crate::quota::Moment;

impl<K: Key, E: Shared + Clone> BatchBuilder<K, E> {
    /// Builds a cache for tasks, which poll the futures of `fetch` themselves. A thread must not wait for its values: none
    /// would fetch them.
    pub(in crate::cache) fn build_for_tasks<V: Shared>(
        self,
        shared: Option<Box<dyn SharedStore<K, V>>>,
        fetch: impl Fn(Batch<K>) -> FetchFuture<K, V, E> + Send + Sync + 'static,
    ) -> BatchCache<K, V, E> {
        let source = FetchSource::Tasks(TaskFetcher::new(self.config.clock.clone(), fetch));
        BatchCache::from_core(Core::new(self.config, self.hooks, source, shared))
    }
}

impl<K: Key, V: Shared, E: Shared + Clone> BatchCache<K, V, E> {
    /// Returns the values of `keys`, as [`get_many_with`](Self::get_many_with) does.
    pub(in crate::cache) async fn task_get_many(
        &self,
        keys: &[K],
        options: &GetOptions,
    ) -> BatchResult<K, V, E> {
        let mut wait = TaskWait::new(&self.core);
        let mut query = Query::new(&self.core, keys, options);
        loop {
            match query.advance() {
                QueryStep::Wait(request, until) => {
                    wait.wait(Some(&request), until, || request.outcome().is_some()).await;
                }
                QueryStep::Done(result) => return result,
            }
        }
    }

    /// Waits for a newer value, as [`get_after_with`](Self::get_after_with) does.
    pub(in crate::cache) async fn task_get_after(
        &self,
        key: &K,
        seen: Option<u64>,
        options: &GetOptions,
    ) -> Result<Option<Cached<V>>, FetchError<E>> {
        let mut wait = TaskWait::new(&self.core);
        let mut newer = NewerWait::new(&self.core, key, seen, options);
        loop {
            let until = newer.until();
            let outcome = newer.watch.task_wait(&mut wait, until).await;
            if let Some(answer) = newer.answer(outcome) {
                return answer;
            }
        }
    }

    /// Makes the refreshes that lookups ask for and that no caller waits for, until the cache is dropped.
    pub(in crate::cache) fn task_refresh(&self) -> impl Future<Output = ()> + Send + use<K, V, E> {
        let core = Arc::clone(&self.core);
        async move {
            let mut wait = TaskWait::refresher(&core);
            wait.wait(None, None, || core.pending.lock().closed).await;
        }
    }
}

impl<K: Key, V: Shared, E: Shared + Clone> Watch<K, V, E> {
    /// Waits for an answer, as [`wait`](Self::wait) does.
    async fn task_wait(
        &mut self,
        wait: &mut TaskWait<K, V, E>,
        until: Option<Moment>,
    ) -> WatchOutcome<K, V, E> {
        let core = Arc::clone(self.core());
        loop {
            match self.look(until) {
                WatchStep::Wait { fetches_ended, wake_at } => {
                    let is_over = || core.pending.lock().has_changed(fetches_ended);
                    wait.wait(None, wake_at, is_over).await;
                }
                WatchStep::Done(outcome) => return outcome,
            }
        }
    }
}

impl<K: Key, V: Shared, E: Shared + Clone> BatchSubscription<K, V, E> {
    /// Waits for the next item, as [`next`](Iterator::next) does.
    pub(in crate::cache) async fn task_next(&mut self) -> Option<BatchResult<K, V, E>> {
        let started_at = self.watch.now();
        let until = self.deadline.map(|limit| started_at + limit);
        let outcome = {
            let mut wait = TaskWait::new(self.watch.core());
            self.watch.task_wait(&mut wait, until).await
        };
        self.item(outcome, started_at)
    }
}
