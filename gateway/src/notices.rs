//! What happened, for the page and the terminal: the last hundred events that a person wants to know of.

use std::collections::VecDeque;
use std::sync::Arc;

use lanekeeper::jiff::Timestamp;
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::Notify;

use crate::logging;

/// How many notices are kept.
const KEPT: usize = 100;

/// How much a notice matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Severity {
    Info,
    Warning,
    Error,
}

/// One event.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Notice {
    pub(crate) kind: &'static str,
    pub(crate) severity: Severity,
    pub(crate) account: Option<Arc<str>>,
    pub(crate) lane: Option<&'static str>,
    pub(crate) text: String,
}

/// A notice with its number and its time.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Numbered {
    #[serde(skip)]
    pub(crate) number: u64,
    pub(crate) at: Timestamp,
    #[serde(flatten)]
    pub(crate) notice: Notice,
}

/// The last notices.
pub(crate) struct Notices {
    state: Mutex<State>,
    added: Notify,
}

struct State {
    last: u64,
    kept: VecDeque<Numbered>,
}

impl Default for Notices {
    fn default() -> Self {
        // Numbers go on over a restart, so that a reader that comes back misses nothing of the new process.
        let last = u64::try_from(Timestamp::now().as_millisecond()).unwrap_or(0);
        let state = State { last, kept: VecDeque::new() };
        Self { state: Mutex::new(state), added: Notify::new() }
    }
}

impl Notices {
    /// Adds a notice, and logs it.
    pub(crate) fn push(&self, notice: Notice) {
        let Notice { kind, severity, ref account, lane, ref text } = notice;
        let (account, lane) = (account.as_deref().unwrap_or("-"), lane.unwrap_or("-"));
        logging::log(|| match severity {
            Severity::Info => tracing::info!(kind, account, lane, "{text}"),
            Severity::Warning => tracing::warn!(kind, account, lane, "{text}"),
            Severity::Error => tracing::error!(kind, account, lane, "{text}"),
        });
        {
            let mut state = self.state.lock();
            state.last += 1;
            let number = state.last;
            state.kept.push_back(Numbered { number, at: Timestamp::now(), notice });
            if state.kept.len() > KEPT {
                state.kept.pop_front();
            }
        }
        self.added.notify_waiters();
    }

    /// Returns the notices after the one with this number, as far as they are kept.
    pub(crate) fn after(&self, number: u64) -> Vec<Numbered> {
        let state = self.state.lock();
        state.kept.iter().filter(|kept| kept.number > number).cloned().collect()
    }

    /// Waits until a notice is added. Notices that were added before are not waited for, so look for them after this
    /// future was created.
    pub(crate) fn added(&self) -> tokio::sync::futures::Notified<'_> {
        self.added.notified()
    }
}
