//! Status as text, for a terminal or a log: one line for each lane and each budget, aligned in columns.
//!
//! A line begins with what every lane has, so that lines of a usual lane fit into 110 columns. What is unusual comes
//! last: a rate cut, a pause, calls that wait for another attempt.

use std::fmt;
use std::time::Duration;

use jiff::SignedDuration;

use super::error::round_up_to_millis;
use super::shared_mode::{SharedMode, SharedQuotaStatus};
use super::status::{BudgetStatus, LaneStatus, ResponseStats, Status, WindowStatus};

/// Lines of text in aligned columns.
pub(crate) struct StatusText {
    rows: Vec<Vec<String>>,
}

impl StatusText {
    pub(crate) fn new(status: &Status) -> Self {
        let lanes = status.lanes.iter().map(LaneStatus::to_row);
        let mut rows: Vec<_> =
            lanes.chain(status.budgets.iter().map(BudgetStatus::to_row)).collect();
        if status.session_expired {
            let text = "expired: the broker does not accept the credentials";
            rows.push(vec!["session".to_owned(), text.to_owned()]);
        }
        if let Some(shared) = &status.shared {
            rows.push(vec!["shared quota".to_owned(), shared.to_string()]);
        }
        if let Some(responses) = &status.responses {
            rows.push(vec!["response cache".to_owned(), responses.to_string()]);
        }
        Self { rows }
    }

    /// Returns text of other rows, whose cells are aligned in columns.
    #[cfg(feature = "redis")]
    pub(crate) fn of(rows: Vec<Vec<String>>) -> Self {
        Self { rows }
    }

    /// Adds a line about something other than a lane or a budget.
    pub(crate) fn push(&mut self, name: &str, text: String) {
        self.rows.push(vec![name.to_owned(), text]);
    }

    /// Returns the width of each column. The last cell of a row may be of any length, since nothing follows it.
    fn widths(&self) -> Vec<usize> {
        let mut widths = Vec::new();
        for row in &self.rows {
            let padded = row.len().saturating_sub(1);
            widths.resize(widths.len().max(padded), 0);
            for (width, cell) in widths.iter_mut().zip(row.iter().take(padded)) {
                *width = cell.chars().count().max(*width);
            }
        }
        widths
    }
}

impl fmt::Display for StatusText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths = self.widths();
        for (index, row) in self.rows.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            if let Some((last, padded)) = row.split_last() {
                for (cell, width) in padded.iter().zip(&widths) {
                    write!(f, "{cell:width$}  ")?;
                }
                f.write_str(last)?;
            }
        }
        Ok(())
    }
}

impl LaneStatus {
    fn to_row(&self) -> Vec<String> {
        let wait = self.estimated_wait.map_or_else(|| "unknown".to_owned(), about);
        let mut row = vec![
            self.lane.to_owned(),
            self.state.as_str().to_owned(),
            format!("queued {}/{}", self.queued, self.capacity),
            format!("in flight {}/{}", self.in_flight, self.max_in_flight),
            format!("wait {wait}"),
            format!("breaker {}", self.breaker.as_str()),
            quota_left(&self.windows),
        ];
        let rate = (self.rate_percent < 100).then(|| format!("rate {} %", self.rate_percent));
        let pause = self.paused_for.map(|pause| format!("paused for {}", about(pause)));
        let retrying = (self.retrying > 0).then(|| format!("{} to retry", self.retrying));
        let remarks = [rate, pause, retrying, held(&self.windows)];
        let remarks: Vec<_> = remarks.into_iter().flatten().collect();
        if !remarks.is_empty() {
            row.push(remarks.join(", "));
        }
        row
    }
}

impl BudgetStatus {
    fn to_row(&self) -> Vec<String> {
        let spent = self.windows.iter().filter(|window| window.left == 0);
        let next = spent.filter_map(|window| window.next_free).max();
        let next = next.map(|next| format!("next in {}", about(next)));
        let row = [format!("budget {}", self.budget), quota_left(&self.windows)];
        row.into_iter().chain(next.or_else(|| held(&self.windows))).collect()
    }
}

/// Returns for how long a quota that has free slots is held, as after a start without knowledge of the process before.
/// Urgent calls may use it.
fn held(windows: &[WindowStatus]) -> Option<String> {
    let held =
        windows.iter().filter(|window| window.left > 0).filter_map(|window| window.next_free);
    let held = held.max().filter(|held| !held.is_zero())?;
    Some(format!("held for {}", about(held)))
}

fn quota_left(windows: &[WindowStatus]) -> String {
    if windows.is_empty() {
        return "no quota".to_owned();
    }
    let windows: Vec<_> = windows.iter().map(WindowStatus::to_string).collect();
    format!("left {}", windows.join(", "))
}

/// Returns a time as precise as a reader needs it. It is rounded up, so a wait is never shown as shorter than it is.
pub(crate) fn about(time: Duration) -> String {
    match round_up_to_millis(time) {
        Duration::ZERO => "0s".to_owned(),
        time if time < Duration::from_secs(60) => format!("{time:?}"),
        time => {
            let seconds = time.as_secs() + u64::from(time.subsec_nanos() > 0);
            let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
            format!("{:#}", SignedDuration::from_secs(seconds))
        }
    }
}

/// One line, with a label before each figure.
impl fmt::Display for LaneStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        StatusText { rows: vec![self.to_row()] }.fmt(f)
    }
}

/// One line: what is left of each window, and when the next slot is free if none is.
impl fmt::Display for BudgetStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        StatusText { rows: vec![self.to_row()] }.fmt(f)
    }
}

/// What is left of the window, as in `9 of 10/s`, and how much of that is for urgent calls.
impl fmt::Display for WindowStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.left, self.window)?;
        let cut = self.is_cut.then(|| "rate cut".to_owned());
        let reserve = (self.reserve > 0).then(|| format!("{} for urgent calls", self.reserve));
        let remarks: Vec<_> = [cut, reserve].into_iter().flatten().collect();
        if remarks.is_empty() { Ok(()) } else { write!(f, " ({})", remarks.join(", ")) }
    }
}

/// One line: the account, how its quota is shared, and for how long it has been unless that is usual.
impl fmt::Display for SharedQuotaStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { account, mode, mode_for, processes, .. } = self;
        let time = about(*mode_for);
        match mode {
            SharedMode::Shared if *processes == 1 => write!(f, "{account}, no other process"),
            SharedMode::Shared => write!(f, "{account}, {processes} processes"),
            SharedMode::Share => {
                write!(f, "{account}, Redis is away: this process keeps to its share for {time}")
            }
            SharedMode::Stopped => {
                write!(f, "{account}, Redis is away: only urgent calls are sent for {time}")
            }
            SharedMode::Returning => {
                write!(f, "{account}, Redis is back and is told what was sent, for {time}")
            }
        }
    }
}

/// One line: the lookups, and what is kept.
impl fmt::Display for ResponseStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { hits, misses, joined, failures, entries, bytes } = self;
        let lookups = hits + misses + joined;
        let percent = (100 * hits).checked_div(lookups).unwrap_or(0);
        write!(
            f,
            "lookups {lookups}  from memory {percent} %  joined {joined}  failed {failures}"
        )?;
        write!(f, "  answers in memory {entries}  KiB in memory {}", bytes.div_ceil(1024))
    }
}

/// One line for each lane, then one for each budget, in columns.
///
/// ```
/// use lanekeeper::{Broker, BrokerProxy, ManualClock, Quota};
/// # #[cfg(feature = "paper")] {
/// use lanekeeper::PaperBroker;
///
/// let broker = BrokerProxy::builder(PaperBroker::builder().build()?)
///     .transactional(Quota::per_second(10).and(Quota::per_minute(400)))
///     .clock(ManualClock::new())
///     .build()?;
/// broker.margins()?;
/// let text = broker.status().to_string();
/// let line = text.lines().find(|line| line.starts_with("transactional"));
/// assert!(line.is_some_and(|line| line.ends_with("left 9 of 10/s, 399 of 400/min")));
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        StatusText::new(self).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_rounded_up_and_a_long_one_is_in_hours_and_minutes() {
        assert_eq!(about(Duration::ZERO), "0s");
        assert_eq!(about(Duration::from_nanos(249_000_001)), "250ms");
        assert_eq!(about(Duration::from_millis(1_250)), "1.25s");
        assert_eq!(about(Duration::from_millis(60_001)), "1m 1s");
        assert_eq!(about(Duration::from_secs(80_000)), "22h 13m 20s");
    }
}
