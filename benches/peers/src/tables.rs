//! The figures as Markdown.

use std::fmt::Write;
use std::{fs, thread};

use crate::broker::Counting;
use crate::crowd::LENGTH;
use crate::grid::{Cell, Grid, Row};
use crate::http::Run;
use crate::path::SECOND;
use crate::peers::{ALL, DEFAULT, STRICT};

/// Returns how each limiter was set.
pub fn settings() -> String {
    let mut text = String::from("| limiter | set to |\n|---|---|\n");
    for kind in &ALL {
        let _ = writeln!(text, "| {} | {} |", kind.name, kind.about);
    }
    text
}

/// Returns the paths, the bounds on them, and how near to these lanekeeper comes.
pub fn paths(grid: &Grid, seeds: u64) -> String {
    let mut text = String::from(
        "| path | round trip | mean | bound | lanekeeper | of the bound | strict bound | strict | of its bound |\n\
         |---|---|---|---|---|---|---|---|---|\n",
    );
    for row in &grid.rows {
        let [Some(credit), Some(strict)] =
            [DEFAULT, STRICT].map(|kind| row.cells[kind][0].as_ref())
        else {
            continue;
        };
        let _ = writeln!(
            text,
            "| {} | {} | {:.0} ms | {} | {} | {} | {} | {} | {} |",
            row.path.name,
            row.path.about,
            credit.mean_round_trip,
            percent(credit.bound),
            percent(credit.used),
            percent(credit.used / credit.bound),
            percent(strict.strict_bound),
            percent(strict.used),
            percent(strict.used / strict.strict_bound),
        );
    }
    let _ = writeln!(text, "\n(Means of {seeds} runs of {} s each.)", LENGTH / SECOND);
    text
}

/// Returns a table for each path.
pub fn figures(grid: &Grid) -> String {
    let mut text = String::new();
    for row in &grid.rows {
        let Some(ours) = row.cells[DEFAULT][0].as_ref() else { continue };
        let bound = percent(ours.bound);
        let _ = writeln!(text, "### {}: {}\n", row.path.name, row.path.about);
        let _ = writeln!(text, "Safe however the broker counts: {bound} at most.\n");
        text.push_str(&table(row));
        text.push('\n');
    }
    text
}

/// Returns the table of the path that becomes faster than ever: which limiters a sliding log refused, how often and
/// when.
pub fn faster(row: &Row, seeds: u64) -> String {
    let mut text = format!(
        "| limiter | calls | refused | runs with a refusal, of {seeds} | most in one run | when |\n\
         |---|---|---|---|---|---|\n"
    );
    for cell in row.cells.iter().filter_map(|cells| cells[0].as_ref()) {
        let second = |at: u64| at as f64 / SECOND as f64;
        let when = match (cell.first_refusal, cell.last_refusal) {
            (Some(first), Some(last)) => format!("{:.1} to {:.1} s", second(first), second(last)),
            _ => "never".to_owned(),
        };
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {when} |",
            cell.peer.name, cell.arrived, cell.refused, cell.runs_with_refusals, cell.most_refused
        );
    }
    text
}

fn table(row: &Row) -> String {
    let mut text = String::from(
        "| limiter | sliding log: refused | used | fixed window: refused | used \
         | token bucket: refused | used | wait p50 | p99 |\n|---|---|---|---|---|---|---|---|---|\n",
    );
    for cells in &row.cells {
        let shown: Vec<&Cell> = cells.iter().flatten().collect();
        let Some(first) = shown.first() else { continue };
        let _ = write!(text, "| {}", first.peer.name);
        for cell in cells {
            match cell {
                Some(cell) => write!(text, " | {} | {}", refused(cell), percent(cell.used)),
                None => write!(text, " | | "),
            }
            .unwrap_or_default();
        }
        let _ = writeln!(text, " | {:.2} s | {:.2} s |", first.wait(50), first.wait(99));
    }
    text
}

/// Returns where another limiter got more calls accepted than lanekeeper by default, and what that cost.
pub fn more(grid: &Grid) -> String {
    let mut text = String::from(
        "| path | broker | lanekeeper, default | more was accepted from: used (refused) |\n\
         |---|---|---|---|\n",
    );
    for row in &grid.rows {
        for (number, counting) in Counting::ALL.iter().enumerate() {
            let cells = || row.cells.iter().filter_map(|cells| cells[number].as_ref());
            let Some(ours) = row.cells[DEFAULT][number].as_ref() else { continue };
            // A tenth of a percent is no more than the burst at the start.
            let more = cells().filter(|cell| cell.used > ours.used + 0.001);
            let more: Vec<String> = more
                .map(|cell| {
                    format!("{} {} ({})", cell.peer.name, percent(cell.used), refused(cell))
                })
                .collect();
            let more = if more.is_empty() { "nobody".to_owned() } else { more.join("; ") };
            let (path, used) = (row.path.name, percent(ours.used));
            let _ = writeln!(text, "| {path} | {} | {used} | {more} |", counting.name());
        }
    }
    text
}

/// Returns all cells as CSV, for further evaluation.
pub fn csv(grid: &Grid) -> String {
    let mut text = String::from(
        "path,broker,limiter,arrived,refused,used,bound,strict_bound,wait_p50_s,wait_p99_s,\
         runs_with_refusals,first_refusal_s,last_refusal_s\n",
    );
    let second = |at: Option<u64>| {
        at.map_or(String::new(), |at| format!("{:.3}", at as f64 / SECOND as f64))
    };
    for row in &grid.rows {
        for cell in row.cells.iter().flatten().flatten() {
            let _ = writeln!(
                text,
                "{},{},\"{}\",{},{},{:.4},{:.4},{:.4},{:.3},{:.3},{},{},{}",
                row.path.name,
                cell.counting.name(),
                cell.peer.name.replace('*', ""),
                cell.arrived,
                cell.refused,
                cell.used,
                cell.bound,
                cell.strict_bound,
                cell.wait(50),
                cell.wait(99),
                cell.runs_with_refusals,
                second(cell.first_refusal),
                second(cell.last_refusal),
            );
        }
    }
    text
}

/// Returns the table of the runs over real HTTP.
pub fn http(runs: &[Run]) -> String {
    let processors = thread::available_parallelism().map_or(0, usize::from);
    let mut text = format!(
        "On {}, {processors} of them.\n\n\
         | limiter | arrived | refused | failed | quota used | bound | answered after p50 | p99 |\n\
         |---|---|---|---|---|---|---|---|\n",
        processor()
    );
    for run in runs {
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {:.2} s | {:.2} s |",
            run.name,
            run.arrived,
            match run.refused {
                0 => "0".to_owned(),
                refused => format!("{refused} ({})", percent(refused as f64 / run.arrived as f64)),
            },
            run.failed,
            percent(run.used),
            percent(run.bound),
            run.answered(50),
            run.answered(99),
        );
    }
    text
}

/// Returns the name of the machine's processor.
fn processor() -> String {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = cpuinfo.lines().find_map(|line| line.strip_prefix("model name"));
    let name = line.and_then(|line| line.split_once(": ")).map(|(_, name)| name.trim());
    name.unwrap_or("processors without a name").to_owned()
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

/// Returns the share of refusals. None is written as a bare zero, so that it is not mistaken for a rounded one.
fn refused(cell: &Cell) -> String {
    match cell.refused {
        0 => "0".to_owned(),
        _ if cell.refusals() < 0.0005 => format!("{} of {}", cell.refused, cell.arrived),
        _ => percent(cell.refusals()),
    }
}
