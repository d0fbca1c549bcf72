//! The status of an account as text: a line for each process, each lane and each budget, in columns.

use std::fmt;

use super::status::{AccountStatus, ProcessStatus, ScopeStatus};
use crate::lane::{StatusText, about};

impl fmt::Display for AccountStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { account, known_for, held_for, processes, scopes, warnings } = self;
        write!(f, "account {account}: all calls known for {}", about(*known_for))?;
        if let Some(held_for) = held_for {
            let held_for = about(*held_for);
            write!(f, "\nnothing is granted for {held_for}: the processes tell what they hold")?;
        }
        for rows in [
            processes.iter().map(ProcessStatus::to_row).collect::<Vec<_>>(),
            scopes.iter().map(ScopeStatus::to_row).collect(),
        ] {
            if !rows.is_empty() {
                write!(f, "\n{}", StatusText::of(rows))?;
            }
        }
        warnings.iter().try_for_each(|warning| write!(f, "\nwarning: {warning}"))
    }
}

impl ProcessStatus {
    fn to_row(&self) -> Vec<String> {
        let place = match (self.pid, self.is_here) {
            (Some(pid), true) => format!("pid {pid} on this machine"),
            (Some(pid), false) => format!("pid {pid} elsewhere"),
            (None, _) => "place unknown".to_owned(),
        };
        let share = self.share.map_or_else(
            || "no share".to_owned(),
            |(processes, number)| format!("share {number} of {processes}"),
        );
        let silent = self
            .silent_for
            .map_or_else(|| "not heard of".to_owned(), |time| format!("silent {}", about(time)));
        vec![
            format!("process {}", self.name),
            self.state.as_str().to_owned(),
            place,
            silent,
            share,
            format!("in flight {}", self.in_flight),
        ]
    }
}

impl ScopeStatus {
    fn to_row(&self) -> Vec<String> {
        let in_flight: u64 = self.in_flight.values().sum();
        let of = self.windows.iter();
        let left: Vec<_> =
            of.map(|window| format!("{} of {}", window.left, window.window)).collect();
        let left = match left.is_empty() {
            true => format!("quota {}", self.quota),
            false => format!("left {}", left.join(", ")),
        };
        let waiting = (self.waiting > 0).then(|| format!("waiting {}", self.waiting));
        let pause = self.paused_for.map(|pause| format!("paused for {}", about(pause)));
        let rate = (self.rate_percent < 100).then(|| format!("rate {} %", self.rate_percent));
        let credit = (!self.credit.is_zero()).then(|| format!("credit {}", about(self.credit)));
        let remarks: Vec<_> = [waiting, pause, rate, credit].into_iter().flatten().collect();
        let mut row = vec![self.name.replacen(':', " ", 1), format!("in flight {in_flight}"), left];
        if !remarks.is_empty() {
            row.push(remarks.join(", "));
        }
        row
    }
}
