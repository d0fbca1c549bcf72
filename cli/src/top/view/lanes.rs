//! The lanes, in as much detail as there is room for.

use ratatui::text::{Line, Span};

use super::paint::{Palette, Tone, fold, sparkline, tone_of, tone_of_failures, wrap};
use crate::top::app::{App, LaneId};
use crate::top::history::SECONDS;
use crate::top::model::{Account, Lane};
use crate::top::shared::{summary, trouble};
use crate::top::text::{Text, rate, time, time_or_dash};

/// From this width on, the quota stands beside the rate.
const ROOM_FOR_QUOTA: usize = 72;

/// How much is said about a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Detail {
    /// Everything.
    Full,
    /// The rate and the windows.
    Windows,
    /// One line.
    Row,
}

/// What is said about the chosen lane and about the others, the most first.
const DETAILS: [[Detail; 2]; 5] = [
    [Detail::Full, Detail::Full],
    [Detail::Full, Detail::Windows],
    [Detail::Full, Detail::Row],
    [Detail::Windows, Detail::Row],
    [Detail::Row, Detail::Row],
];

/// Draws the lanes of all accounts in at most `height` lines, of which the chosen lane's are some.
pub fn lanes(app: &App, palette: Palette, width: usize, height: usize) -> Vec<Line<'static>> {
    let mut drawn = Vec::new();
    for [of_chosen, of_others] in DETAILS {
        drawn = draw(app, palette, width, of_chosen, of_others);
        if drawn.len() <= height {
            break;
        }
    }
    // Still too long: what is shown begins so that the chosen lane is in it.
    let chosen_end = drawn.iter().rposition(|(_, is_chosen)| *is_chosen).map_or(0, |at| at + 1);
    let skipped = chosen_end.saturating_sub(height);
    drawn.into_iter().skip(skipped).take(height).map(|(line, _)| line).collect()
}

/// Draws all lanes. Each line says whether it belongs to the chosen lane.
fn draw(
    app: &App,
    palette: Palette,
    width: usize,
    of_chosen: Detail,
    of_others: Detail,
) -> Vec<(Line<'static>, bool)> {
    let mut lines = Vec::new();
    for account in &app.status.accounts {
        lines.extend(heading(account, palette, width).into_iter().map(|line| (line, false)));
        for lane in &account.lanes {
            let id = (account.name.clone(), lane.lane.clone());
            let is_chosen = app.is_chosen(&id);
            let detail = if is_chosen { of_chosen } else { of_others };
            let pen = Pen { app, palette, width, id, lane };
            lines.extend(pen.draw(detail, is_chosen).into_iter().map(|line| (line, is_chosen)));
        }
    }
    lines
}

/// Returns the lines that the lanes need at least: each has one.
pub fn least_lines(app: &App, palette: Palette, width: usize) -> usize {
    let accounts = app.status.accounts.iter();
    accounts.map(|account| heading(account, palette, width).len() + account.lanes.len()).sum()
}

/// Names an account, and says what is wrong with it.
fn heading(account: &Account, palette: Palette, width: usize) -> Vec<Line<'static>> {
    let mut parts = vec![vec![palette.span(account.name.as_str(), Tone::Strong)]];
    parts.extend(
        account.preset.as_ref().map(|preset| vec![palette.span(preset.as_str(), Tone::Plain)]),
    );
    parts.push(palette.labelled("to", account.upstream.as_str(), Tone::Plain));
    parts.push(vec![palette.span(account.health.words(), tone_of(&account.health))]);
    if account.session_expired && account.health.as_str() != "session_expired" {
        parts.push(vec![palette.span("session expired", Tone::Bad)]);
    }
    let shared = account.shared.as_ref();
    parts.extend(shared.and_then(summary).map(|said| vec![palette.span(said, Tone::Quiet)]));
    let mut lines = wrap(parts, width, 0);
    if let Some((shared, trouble)) = shared.and_then(|shared| Some((shared, trouble(shared)?))) {
        let tone = tone_of(&shared.mode);
        lines.extend(fold(&trouble, width).into_iter().map(|line| palette.span(line, tone).into()));
    }
    lines
}

/// Draws one lane.
struct Pen<'a> {
    app: &'a App,
    palette: Palette,
    width: usize,
    id: LaneId,
    lane: &'a Lane,
}

impl Pen<'_> {
    const INDENT: usize = 4;

    fn draw(&self, detail: Detail, is_chosen: bool) -> Vec<Line<'static>> {
        let mut lines = vec![self.row(is_chosen, detail)];
        if detail != Detail::Row {
            let windows = self.lane.windows.iter().map(|window| self.palette.window(window));
            lines.extend(wrap(windows, self.width, Self::INDENT));
        }
        if detail == Detail::Full {
            let parts = self.waits().into_iter().chain(self.counts());
            lines.extend(wrap(parts, self.width, Self::INDENT));
        }
        lines
    }

    /// Draws the name, the state, the rate, the queue and the last minute in one line. What is wrong stands before the
    /// last minute, as far as there is room, if there are no further lines to say it.
    fn row(&self, is_chosen: bool, detail: Detail) -> Line<'static> {
        let Self { lane, palette, .. } = self;
        let names = self.app.lanes().map(|(_, lane)| lane.lane.as_str().chars().count());
        let longest = names.max().unwrap_or(0).clamp(4, (self.width / 4).max(4));
        let name: String = lane.lane.as_str().chars().take(longest).collect();
        let (marker, tone) = if is_chosen { ("> ", Tone::Strong) } else { ("  ", Tone::Plain) };
        let calls = rate(lane.calls_per_second.unwrap_or(0.0));
        let mut spans = vec![
            palette.span(format!("{marker}{name:longest$} "), tone),
            palette.span(format!("{:<8}", lane.state.words()), tone_of(&lane.state)),
            palette.span(format!("{calls:>6}/s "), Tone::Plain),
        ];
        if self.width >= ROOM_FOR_QUOTA {
            spans.push(palette.span(format!("of {:<9} ", lane.quota), Tone::Quiet));
        }
        spans.push(palette.span(format!("queue {:<4} ", lane.queued), tone_of_queue(lane)));
        let room =
            |spans: &[Span<'_>]| self.width.saturating_sub(spans.iter().map(Span::width).sum());
        let troubles = if detail == Detail::Full { Vec::new() } else { self.troubles() };
        for mut trouble in troubles {
            trouble.push(Span::raw(" "));
            if trouble.iter().map(Span::width).sum::<usize>() <= room(&spans) {
                spans.extend(trouble);
            }
        }
        let left = room(&spans).min(SECONDS);
        if let Some(history) = self.app.history(&self.id) {
            let rates: Vec<_> = history.newest(left).collect();
            let line = sparkline(rates.into_iter(), lane.rate.unwrap_or(0.0));
            spans.push(palette.span(format!("{line:>left$}"), Tone::Good));
        }
        Line::from(spans)
    }

    /// Returns what holds calls back beside the quota.
    fn troubles(&self) -> Vec<Vec<Span<'static>>> {
        let Self { lane, palette, .. } = self;
        let mut parts = Vec::new();
        let is_open = |state: &Text| !matches!(state.as_str(), "closed" | "disabled");
        if let Some(state) = lane.breaker.as_ref().filter(|state| is_open(state)) {
            parts.push(palette.labelled("breaker", state.words(), tone_of(state)));
        }
        for (route, state) in lane.breakers.iter().filter(|(_, state)| is_open(state)) {
            let label = format!("breaker of {}", route.words());
            parts.push(palette.labelled(&label, state.words(), tone_of(state)));
        }
        if let Some(percent) = lane.rate_percent.filter(|percent| *percent < 100.0) {
            parts.push(palette.labelled("rate cut to", format!("{percent:.0} %"), Tone::Warning));
        }
        if let Some(paused_for) = lane.paused_for {
            parts.push(palette.labelled("resumes in", time(paused_for), Tone::Warning));
        }
        parts
    }

    /// Draws what calls wait for.
    fn waits(&self) -> Vec<Vec<Span<'static>>> {
        let Self { lane, palette, .. } = self;
        let of = |count: u64, most: Option<u64>| match most {
            Some(most) => format!("{count}/{most}"),
            None => count.to_string(),
        };
        let mut parts = self.troubles();
        if let Some(state) = lane.breaker.as_ref().filter(|_| parts.is_empty()) {
            parts.push(palette.labelled("breaker", state.words(), tone_of(state)));
        }
        parts.push(palette.labelled("oldest", time_or_dash(lane.oldest_wait), Tone::Plain));
        parts.push(palette.labelled("estimated", time_or_dash(lane.estimated_wait), Tone::Plain));
        parts.push(palette.labelled(
            "in flight",
            of(lane.in_flight, lane.max_in_flight),
            Tone::Plain,
        ));
        if let Some(capacity) = lane.capacity.filter(|_| tone_of_queue(lane) != Tone::Plain) {
            parts.push(palette.labelled("capacity", capacity.to_string(), Tone::Plain));
        }
        if lane.retrying > 0 {
            parts.push(palette.labelled("retrying", lane.retrying.to_string(), Tone::Warning));
        }
        parts
    }

    /// Draws who waits, and what was answered.
    fn counts(&self) -> Vec<Vec<Span<'static>>> {
        let Self { lane, palette, .. } = self;
        let listed = |counts: Vec<(&Text, u64)>| {
            const SHOWN: usize = 6;
            let mut shown: Vec<String> =
                counts.iter().take(SHOWN).map(|(name, count)| format!("{name} {count}")).collect();
            if counts.len() > SHOWN {
                shown.push(format!("and {} more", counts.len() - SHOWN));
            }
            shown.join(", ")
        };
        let mut parts = Vec::new();
        if !lane.queued_by_user.is_empty() {
            let mut users: Vec<_> =
                lane.queued_by_user.iter().map(|(name, count)| (name, *count)).collect();
            users.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
            parts.push(palette.labelled("users", listed(users), Tone::Plain));
        }
        if !lane.queued_by_priority.is_empty() {
            let mut levels: Vec<_> = lane.queued_by_priority.iter().collect();
            // The most urgent first, which is 1.
            levels.sort_by_key(|(level, _)| level.as_str().parse().unwrap_or(u64::MAX));
            let labelled =
                |(level, count): (&Text, &u64)| (Text::new(&format!("{level}:")), *count);
            let levels: Vec<_> = levels.into_iter().map(labelled).collect();
            let listed = listed(levels.iter().map(|(level, count)| (level, *count)).collect());
            parts.push(palette.labelled("priorities", listed, Tone::Plain));
        }
        parts.push(palette.labelled("answered", lane.answered.to_string(), Tone::Plain));
        let refused_now = match lane.refused_per_second {
            Some(now) if now > 0.0 => format!("{} ({}/s)", lane.refused, rate(now)),
            _ => lane.refused.to_string(),
        };
        parts.push(palette.labelled("refused", refused_now, tone_of_failures(lane.refused)));
        parts
    }
}

/// A queue is remarkable from half of its capacity on.
fn tone_of_queue(lane: &Lane) -> Tone {
    match lane.capacity {
        Some(capacity) if lane.queued >= capacity => Tone::Bad,
        Some(capacity) if lane.queued.saturating_mul(2) >= capacity => Tone::Warning,
        _ => Tone::Plain,
    }
}
