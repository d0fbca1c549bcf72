//! What stands below the lanes: budgets, orders, caches, clients, scans, notices. Each is a label and some lines.

use ratatui::text::{Line, Span};

use super::paint::{Palette, Tone, gauge, tone_of, tone_of_failures, wrap};
use crate::top::app::App;
use crate::top::model::{Account, Client, Notice, Scan};
use crate::top::text::{time, time_of_day};

/// The width of the labels at the left.
const LABEL: usize = 9;

/// Some lines about one subject.
pub struct Panel {
    label: &'static str,
    lines: Vec<Line<'static>>,
    /// What the last shown line says if there is no room for all.
    rest: &'static str,
}

/// Returns the panels that have something to say, the most important first.
pub fn panels(app: &App, palette: Palette, width: usize) -> Vec<Panel> {
    let ink = Ink { app, palette, width: width.saturating_sub(LABEL) };
    let panels = [
        Panel { label: "budgets", lines: ink.budgets(), rest: "lines" },
        Panel { label: "notices", lines: ink.notices(), rest: "older" },
        Panel { label: "orders", lines: ink.orders(), rest: "lines" },
        Panel { label: "clients", lines: ink.clients(), rest: "lines" },
        Panel { label: "scans", lines: ink.scans(), rest: "scans" },
        Panel { label: "caches", lines: ink.caches(), rest: "lines" },
        Panel { label: "door", lines: ink.door(), rest: "lines" },
    ];
    panels.into_iter().filter(|panel| !panel.lines.is_empty()).collect()
}

/// Chooses how many lines each panel has, so that all together have at most `height`. Each gets one line as long as
/// there are any, the most important first; then each gets more, in turn.
pub fn share(panels: &[Panel], height: usize) -> Vec<usize> {
    let mut shares = vec![0; panels.len()];
    let mut left = height;
    loop {
        let before = left;
        for (share, panel) in shares.iter_mut().zip(panels) {
            if left > 0 && *share < panel.lines.len() {
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

    /// Draws the first `count` lines. The last of them tells how many are missing, if any.
    pub fn draw(self, palette: Palette, count: usize) -> Vec<Line<'static>> {
        let (all, rest) = (self.lines.len(), self.rest);
        let mut lines: Vec<Line<'static>> = self.lines.into_iter().take(count).collect();
        if count < all && count > 1 {
            let missing = all - count + 1;
            if let Some(last) = lines.last_mut() {
                *last = Line::from(palette.span(format!("and {missing} more {rest}"), Tone::Quiet));
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
                    let name = vec![self.palette.span(budget.budget.as_str(), Tone::Strong)];
                    let windows = budget.windows.iter().map(|window| self.palette.window(window));
                    self.wrapped(account, std::iter::once(name).chain(windows))
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
                self.count("found", orders.found),
                self.count("absent", orders.absent),
                self.failures("unknown", orders.unknown),
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
        let row = |name: &str, tier: &str, [waiting, requests, cached, refused]: [String; 4]| {
            let name: String = name.chars().take(longest).collect();
            let tier: String = tier.chars().take(8).collect();
            format!("{name:longest$}  {tier:8} {waiting:>8} {requests:>9} {cached:>9} {refused:>8}")
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
            let mut spans = Vec::new();
            if let Some(at) = time_of_day(at) {
                spans.push(self.palette.span(format!("{at} "), Tone::Quiet));
            }
            let mut what = severity.words();
            if severity.as_str() == "info" {
                what = kind.words();
            }
            spans.push(self.palette.span(format!("{what:8} "), tone_of(severity)));
            let several = self.app.status.accounts.len() > 1;
            let place = account.iter().filter(|_| several).chain(lane);
            let place: Vec<&str> = place.map(|name| name.as_str()).collect();
            if !place.is_empty() {
                spans.push(self.palette.span(format!("{}: ", place.join("/")), Tone::Plain));
            }
            spans.push(self.palette.span(text.as_str(), Tone::Plain));
            Line::from(spans)
        };
        self.app.notices.iter().rev().map(notice).collect()
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
