//! The output: live lines during the run, and a table at the end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use lanekeeper::cache::{CacheStats, QuoteSubscription};

use super::args::BotArgs;
use super::meter::WireMeter;
use super::orders::Outcome;
use super::report::Report;
use crate::command::print;

/// The live lines. indicatif hides them if standard error is not a terminal.
pub struct Screen {
    lines: MultiProgress,
    time: ProgressBar,
    lanes: Vec<(&'static str, ProgressBar)>,
    price: ProgressBar,
    /// The new prices of one instrument. `None` without a quote cache.
    updates: Option<QuoteSubscription>,
    wire: Arc<WireMeter>,
    began: Instant,
    length: Duration,
}

impl Screen {
    /// Shows the lines. `updates` brings the price of one instrument.
    pub fn start(
        args: &BotArgs,
        target: &str,
        wire: &Arc<WireMeter>,
        updates: Option<QuoteSubscription>,
    ) -> Self {
        if !args.json {
            let BotArgs { strategies, seconds, .. } = args;
            // The results are printed with their errors. This line is only for a person who watches.
            let _ =
                print(format!("{strategies} strategies for {seconds} s on {target}\n").as_bytes());
        }
        let lines = MultiProgress::new();
        let style = |template: &str| {
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
        };
        let time = lines.add(ProgressBar::new(args.length().as_millis() as u64));
        time.set_style(style("  time           {wide_bar} {msg}"));
        let lanes = ["transactional", "quote"].map(|lane| {
            let line = lines.add(ProgressBar::new_spinner());
            line.set_style(style("  {prefix:<14} {msg}"));
            line.set_prefix(lane);
            (lane, line)
        });
        let price = lines.add(ProgressBar::new_spinner());
        price.set_style(style("  {prefix:<14} {msg}"));
        price.set_prefix("price");
        Self {
            lines,
            time,
            lanes: lanes.into(),
            price,
            updates,
            wire: Arc::clone(wire),
            began: Instant::now(),
            length: args.length(),
        }
    }

    pub fn tick(&mut self) {
        // Only what is new, and without waiting. A loop of its own would call `next`, which waits.
        let updated = self.updates.as_mut().and_then(QuoteSubscription::try_next);
        for (instrument, quote) in updated.and_then(Result::ok).iter().flat_map(|new| new.iter()) {
            self.price.set_message(format!("{instrument} {}", quote.last_price));
        }
        let elapsed = self.began.elapsed().min(self.length);
        self.time.set_position(elapsed.as_millis() as u64);
        self.time.set_message(format!("{:.1} s", elapsed.as_secs_f64()));
        for (lane, line) in &self.lanes {
            let (sent, refused) = self.wire.so_far(lane);
            let rate = sent as f64 / elapsed.as_secs_f64().max(0.1);
            line.set_message(format!("{sent} sent, {rate:.1} a second, {refused} refused"));
        }
    }

    pub fn end(self) {
        // If clearing fails, the bars stay visible, which does no harm.
        let _ = self.lines.clear();
    }
}

/// Returns the table.
pub fn table(report: &Report, bare: Option<&Report>) -> String {
    let mut table = String::from("\n");
    let mut line = |name: &str, paced: String, bare: String| {
        table += format!("{name:<30}{paced:>14}{bare:>14}").trim_end();
        table += "\n";
    };
    line("", "lanekeeper".into(), bare.map_or_else(String::new, |_| "bare".into()));
    let mut row = |name: &str, of: &dyn Fn(&Report) -> String| {
        line(name, of(report), bare.map(of).unwrap_or_default());
    };
    row("seconds", &|r| format!("{:.1}", r.took.as_secs_f64()));
    row("calls asked", &|r| r.strategies.asked.to_string());
    row("quotes answered from memory", &|r| match r.cache {
        Some(cache) => {
            let share = 100.0 * cache.hit_ratio();
            format!("{} ({share:.1} %)", cache.served())
        }
        None => "-".into(),
    });
    row("quotes that shared a call", &|r| cache_column(r, |cache| cache.joined.to_string()));
    row("quote calls saved", &|r| cache_column(r, |cache| cache.calls_saved().to_string()));
    row("instruments in a quote call", &|r| {
        cache_column(r, |cache| format!("{:.1}", cache.keys_per_batch()))
    });
    row("age of a quote, mean/most", &|r| {
        cache_column(r, |cache| {
            let [mean, oldest] = [cache.mean_age, cache.oldest].map(|age| age.as_millis());
            format!("{mean}/{oldest} ms")
        })
    });
    row("requests sent", &|r| r.sent().to_string());
    row("refused (429), as we heard", &|r| r.throttled().to_string());
    row("refused (429), as it counted", &|r| r.refused.map_or("-".into(), |n| n.to_string()));
    for lane in ["transactional", "quote"] {
        row(&format!("{lane}: sent"), &|r| {
            r.wire.get(lane).map_or(0, |lane| lane.sent).to_string()
        });
        row(&format!("{lane}: quota used"), &|r| format!("{:.1} %", 100.0 * r.quota_used(lane)));
        row(&format!("{lane}: queue wait p50/p99"), &|r| {
            percentiles(r.queue.get(lane).map_or(&[], Vec::as_slice))
        });
        row(&format!("{lane}: round trip p50/p99"), &|r| {
            percentiles(r.wire.get(lane).map_or(&[], |lane| &lane.round_trips))
        });
    }
    if !report.recovered.is_empty() {
        row("orders of an earlier run", &|r| r.recovered.len().to_string());
    }
    let outcomes =
        [Outcome::Placed, Outcome::Rejected, Outcome::NotSent, Outcome::Absent, Outcome::Unknown];
    for outcome in outcomes {
        let name = match outcome {
            Outcome::Placed => "orders placed",
            Outcome::Rejected => "orders rejected",
            Outcome::NotSent => "orders not sent",
            Outcome::Absent => "orders not in the book",
            Outcome::Unknown => "orders of unknown outcome",
        };
        row(name, &|r| {
            r.strategies.orders.outcomes().get(&outcome).copied().unwrap_or(0).to_string()
        });
    }
    if !report.turned_up.is_empty() {
        row("orders that turned up late", &|r| r.turned_up.len().to_string());
    }
    table
}

fn cache_column(report: &Report, show: impl Fn(&CacheStats) -> String) -> String {
    report.cache.as_ref().map_or_else(|| "-".into(), show)
}

/// Returns `p50/p99` in milliseconds.
fn percentiles(durations: &[Duration]) -> String {
    if durations.is_empty() {
        return "-".into();
    }
    let mut sorted = durations.to_vec();
    sorted.sort_unstable();
    let at = |percent: usize| sorted[(sorted.len() - 1) * percent / 100].as_millis();
    format!("{}/{} ms", at(50), at(99))
}
