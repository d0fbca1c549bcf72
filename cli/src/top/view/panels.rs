//! What stands below the lanes: budgets, orders, caches, clients, scans, notices. Each is a label and some lines.

use ratatui::text::{Line, Span};

use super::paint::{Palette, Tone, fold, gauge, tone_of, tone_of_failures, wrap};
use crate::top::app::App;
use crate::top::model::{Account, Client, Notice, Scan};
use crate::top::text::{Text, time, time_of_day};

/// The width of the labels at the left.
const LABEL: usize = 9;

/// What the lines of a panel are to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Each may be missed.
    List,
    /// The first are the titles.
    Table,
    /// What is missing is old.
    Log,
}

/// Some lines about one subject.
pub struct Panel {
    label: &'static str,
    lines: Vec<Line<'static>>,
    kind: Kind,
}

/// Returns the panels that have something to say, the most important first.
pub fn panels(app: &App, palette: Palette, width: usize) -> Vec<Panel> {
    let ink = Ink { app, palette, width: width.saturating_sub(LABEL) };
    let panel = |label, kind, lines| Panel { label, lines, kind };
    let panels = [
        panel("budgets", Kind::List, ink.budgets()),
        panel("notices", Kind::Log, ink.notices()),
        panel("orders", Kind::List, ink.orders()),
        panel("clients", Kind::Table, ink.clients()),
        panel("scans", Kind::List, ink.scans()),
        panel("caches", Kind::List, ink.caches()),
        panel("door", Kind::List, ink.door()),
    ];
    panels.into_iter().filter(|panel| !panel.lines.is_empty()).collect()
}

/// Chooses how many lines each panel has, so that all together have at most `height`. Each gets its first lines as long as
/// there are any, the most important panel first; then each gets one more, in turn.
pub fn share(panels: &[Panel], height: usize) -> Vec<usize> {
    let mut left = height;
    let mut shares = Vec::new();
    for panel in panels {
        let share = if panel.least() <= left { panel.least() } else { 0 };
        left -= share;
        shares.push(share);
    }
    loop {
        let before = left;
        for (share, panel) in shares.iter_mut().zip(panels) {
            if left > 0 && *share > 0 && *share < panel.lines.len() {
                *share += 1;
                left -= 1;
            }
        }
        if left == before {
            return shares;
        }
    }
}

impl Panel {
    /// Returns the number of all lines.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Returns how many lines make sense: the titles of a table alone do not.
    fn least(&self) -> usize {
        if self.kind == Kind::Table { self.lines.len().min(2) } else { 1 }
    }

    /// Draws the first `count` lines. The last of more than two tells how many are missing.
    pub fn draw(self, palette: Palette, count: usize) -> Vec<Line<'static>> {
        let all = self.lines.len();
        let mut lines: Vec<Line<'static>> = self.lines.into_iter().take(count).collect();
        if count < all && count > 2 && self.kind != Kind::Log {
            let missing = all - count + 1;
            if let Some(last) = lines.last_mut() {
                *last = Line::from(palette.span(format!("and {missing} more lines"), Tone::Quiet));
            }
        }
        for (at, line) in lines.iter_mut().enumerate() {
            let label = if at == 0 { self.label } else { "" };
            line.spans.insert(0, palette.span(format!("{label:LABEL$}"), Tone::Quiet));
        }
        lines
    }
}

struct Ink<'a> {
    app: &'a App,
    palette: Palette,
    /// Without the labels.
    width: usize,
}

impl Ink<'_> {
    fn budgets(&self) -> Vec<Line<'static>> {
        let budgets = |account: &Account| -> Vec<_> {
            account
                .budgets
                .iter()
                .flat_map(|budget| {
                    let windows = budget.windows.iter().enumerate().map(|(at, window)| {
                        // The name and the first window are not torn apart.
                        let name = (at == 0).then(|| format!("{} ", budget.budget));
                        let name = name.map(|name| self.palette.span(name, Tone::Strong));
                        name.into_iter().chain(self.palette.window(window)).collect()
                    });
                    self.wrapped(account, windows)
                })
                .collect()
        };
        self.app.status.accounts.iter().flat_map(budgets).collect()
    }

    fn orders(&self) -> Vec<Line<'static>> {
        let orders = |account: &Account| {
            let orders = account.orders.as_ref()?;
            let parts = [
                self.count("placed", orders.placed),
                self.count("rejected", orders.rejected),
                self.count("absent", orders.absent),
                self.failures("unknown", orders.unknown),
                self.count("found late", orders.found_late),
                self.failures("pending", orders.pending),
            ];
            Some(self.wrapped(account, parts))
        };
        self.app.status.accounts.iter().filter_map(orders).flatten().collect()
    }

    fn caches(&self) -> Vec<Line<'static>> {
        let caches = |account: &Account| {
            let quotes = account.quotes.as_ref().map(|quotes| {
                let parts = [
                    vec![self.palette.span("quotes", Tone::Strong)],
                    self.count("hits", quotes.hits),
                    self.count("misses", quotes.misses),
                    self.count("joined", quotes.joined),
                    self.count("entries", quotes.entries),
                    self.count("requests", quotes.requests),
                ];
                self.wrapped(account, parts)
            });
            let kept = account.kept.as_ref().map(|kept| {
                let parts = [
                    vec![self.palette.span("answers", Tone::Strong)],
                    self.count("hits", kept.hits),
                    self.count("misses", kept.misses),
                    self.count("joined", kept.joined),
                    self.count("entries", kept.entries),
                    self.palette.labelled("size", bytes(kept.bytes), Tone::Plain),
                ];
                self.wrapped(account, parts)
            });
            quotes.into_iter().chain(kept).flatten()
        };
        self.app.status.accounts.iter().flat_map(caches).collect()
    }

    /// A table: the busiest first, because there may be more clients than lines.
    fn clients(&self) -> Vec<Line<'static>> {
        let mut clients: Vec<&Client> = self.app.status.clients.iter().collect();
        if clients.is_empty() {
            return Vec::new();
        }
        clients.sort_by_key(|client| std::cmp::Reverse((client.waiting, client.requests)));
        let longest = clients.iter().map(|client| client.name.as_str().chars().count()).max();
        let longest = longest.unwrap_or(0).clamp(6, (self.width / 4).max(6));
        // Without room for all columns, the tier goes.
        let tier_width: usize = if self.width >= longest + 50 { 10 } else { 0 };
        let row = |name: &str, tier: &str, [waiting, requests, cached, refused]: [String; 4]| {
            let name: String = name.chars().take(longest).collect();
            let tier: String = tier.chars().take(tier_width.saturating_sub(1)).collect();
            format!(
                "{name:longest$} {tier:tier_width$}{waiting:>8} {requests:>9} {refused:>8} {cached:>8}"
            )
        };
        let titles = ["waiting", "requests", "cached", "refused"].map(str::to_owned);
        let mut lines =
            vec![Line::from(self.palette.span(row("name", "tier", titles), Tone::Quiet))];
        lines.extend(clients.into_iter().map(|client| {
            let Client { name, tier, requests, waiting, refused, from_cache } = client;
            let tier = tier.as_ref().map_or("-", |tier| tier.as_str());
            let numbers = [waiting, requests, from_cache, refused].map(u64::to_string);
            Line::from(self.palette.span(row(name.as_str(), tier, numbers), Tone::Plain))
        }));
        lines
    }

    fn door(&self) -> Vec<Line<'static>> {
        let door = self.app.status.door.as_ref().map(|door| {
            let parts = [
                self.count("connections", door.connections),
                self.count("in progress", door.in_progress),
                self.count("requests", door.requests),
            ];
            wrap(parts, self.width, 0)
        });
        door.unwrap_or_default()
    }

    fn scans(&self) -> Vec<Line<'static>> {
        let scan = |scan: &Scan| {
            let Scan { id, state, done, failed, total, position, estimated_wait } = scan;
            let mut parts = vec![
                vec![self.palette.span(id.as_str(), Tone::Strong)],
                vec![self.palette.span(state.words(), tone_of(state))],
                vec![
                    self.palette
                        .span(format!("{} {done}/{total}", gauge(*done, *total)), Tone::Good),
                ],
                self.failures("failed", *failed),
            ];
            parts.extend(position.map(|position| self.count("position", position)));
            parts.extend(
                estimated_wait.map(|wait| self.palette.labelled("left", time(wait), Tone::Plain)),
            );
            wrap(parts, self.width, 0)
        };
        // Those that still run first.
        let is_over = |scan: &&Scan| matches!(scan.state.as_str(), "done" | "cancelled");
        let mut scans: Vec<&Scan> = self.app.status.scans.iter().collect();
        scans.sort_by_key(is_over);
        scans.into_iter().flat_map(scan).collect()
    }

    /// The newest first.
    fn notices(&self) -> Vec<Line<'static>> {
        let notice = |notice: &Notice| {
            let Notice { at, severity, account, lane, text, kind } = notice;
            let is_info = severity.as_str() == "info";
            let what = if is_info { kind.words() } else { severity.words() };
            let at = time_of_day(at).unwrap_or_default();
            let several = self.app.status.accounts.len() > 1;
            let place = account.iter().filter(|_| several).chain(lane);
            let place: Vec<&str> = place.map(Text::as_str).collect();
            let said = match place.is_empty() {
                true => text.to_string(),
                false => format!("{}: {text}", place.join("/")),
            };
            let head = [
                self.palette.span(format!("{at:8} "), Tone::Quiet),
                self.palette.span(format!("{what:8} "), tone_of(severity)),
            ];
            let indent: usize = head.iter().map(Span::width).sum();
            let mut lines: Vec<Line<'static>> = Vec::new();
            for line in fold(&said, self.width.saturating_sub(indent)) {
                let mut spans = match lines.is_empty() {
                    true => head.to_vec(),
                    false => vec![Span::raw(" ".repeat(indent))],
                };
                spans.push(self.palette.span(line, Tone::Plain));
                lines.push(Line::from(spans));
            }
            lines
        };
        self.app.notices.iter().rev().flat_map(notice).collect()
    }

    fn count(&self, label: &str, count: u64) -> Vec<Span<'static>> {
        self.palette.labelled(label, count.to_string(), Tone::Plain)
    }

    fn failures(&self, label: &str, count: u64) -> Vec<Span<'static>> {
        self.palette.labelled(label, count.to_string(), tone_of_failures(count))
    }

    /// Wraps what is said about an account, with its name in front if there are several.
    fn wrapped(
        &self,
        account: &Account,
        parts: impl IntoIterator<Item = Vec<Span<'static>>>,
    ) -> Vec<Line<'static>> {
        let several = self.app.status.accounts.len() > 1;
        let name = several.then(|| vec![self.palette.span(account.name.as_str(), Tone::Plain)]);
        wrap(name.into_iter().chain(parts), self.width, 0)
    }
}

/// Writes a size.
fn bytes(bytes: u64) -> String {
    match bytes {
        0..10_240 => format!("{bytes} B"),
        10_240..10_485_760 => format!("{} KiB", bytes / 1024),
        _ => format!("{} MiB", bytes / (1024 * 1024)),
    }
}
