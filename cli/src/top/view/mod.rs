//! The screen: the state of [`App`] drawn into a frame. It only reads, so that every screen can be tested as text.
//!
//! The screen is made of lines of text. What does not fit into the width wraps or is cut; what does not fit into the
//! height is shortened, the least important first. A wide terminal has two columns.

mod lanes;
mod paint;
mod panels;
#[cfg(test)]
mod tests;

use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Block, Clear, Paragraph};

use self::lanes::{lanes, least_lines};
pub use self::paint::Palette;
use self::paint::{Tone, fold, tone_of, wrap};
use self::panels::{panels, share};
use super::app::{App, Link, Overlay};
use super::client::Command;
use super::text::{time, time_of_day};

/// From this width on, the panels stand beside the lanes.
const TWO_COLUMNS: u16 = 150;

/// The silence after which the header says how old the numbers are.
const STALE: Duration = Duration::from_secs(3);

/// The most lines of a reason or an answer.
const MAX_SAID: usize = 3;

const HELP: [&str; 12] = [
    "q, Esc, Ctrl-C   end",
    "Tab, arrows      choose a lane",
    "p                pause the chosen lane",
    "r                resume it",
    "?                this help",
    "",
    "The curve is the last minute; its top is the rate",
    "of the lane. A window is full when its calls are",
    "used up; then calls wait until it resets.",
    "Clients with the most waiting calls come first.",
    "",
    "Pausing needs LANEKEEPER_ADMIN_KEY. Times: UTC.",
];

/// Draws the whole screen.
pub fn draw(frame: &mut Frame<'_>, app: &App, palette: Palette) {
    let area = frame.area();
    let (width, height) = (usize::from(area.width), usize::from(area.height));
    let (mut header, mut footer) = (header(app, palette, width), footer(app, palette, width));
    // A question is always seen. The names of the keys are worth less than the first lane.
    let is_question = matches!(app.overlay, Overlay::Confirm(_));
    let room = if is_question { height } else { height.saturating_sub(header.len() + 1) };
    footer.truncate(room);
    header.truncate(height - footer.len());
    let [top, bottom] = [header.len(), footer.len()].map(|lines| lines as u16);
    let body = Rect { y: area.y + top, height: area.height - top - bottom, ..area };
    let last = Rect { y: body.bottom(), height: bottom, ..area };
    frame.render_widget(Paragraph::new(header), area);
    if area.width >= TWO_COLUMNS {
        let left = area.width / 2;
        let right = Rect { x: body.x + left + 2, width: body.width - left - 2, ..body };
        let lines = lanes(app, palette, usize::from(left), usize::from(body.height));
        frame.render_widget(Paragraph::new(lines), Rect { width: left, ..body });
        draw_panels(frame, app, palette, right);
    } else {
        draw_column(frame, app, palette, body);
    }
    frame.render_widget(Paragraph::new(footer), last);
    if app.overlay == Overlay::Help {
        draw_help(frame, area);
    }
}

/// Draws the lanes and, below them, the panels.
fn draw_column(frame: &mut Frame<'_>, app: &App, palette: Palette, body: Rect) {
    let (width, height) = (usize::from(body.width), usize::from(body.height));
    let wanted: usize = panels(app, palette, width).iter().map(panels::Panel::len).sum();
    // The lanes have what the panels do not want, at least half, and always a line for each of them.
    let rows = least_lines(app, palette, width);
    let reserved = wanted.min(height / 2).min(height.saturating_sub(rows));
    let lines = lanes(app, palette, width, height - reserved);
    let used = lines.len() as u16;
    frame.render_widget(Paragraph::new(lines), body);
    // An empty line between, if there is room for one.
    let gap = u16::from(usize::from(used) + wanted < height);
    draw_panels(
        frame,
        app,
        palette,
        Rect { y: body.y + used + gap, height: body.height - used - gap, ..body },
    );
}

fn draw_panels(frame: &mut Frame<'_>, app: &App, palette: Palette, area: Rect) {
    let panels = panels(app, palette, usize::from(area.width));
    let shares = share(&panels, usize::from(area.height));
    let drawn =
        panels.into_iter().zip(shares).flat_map(|(panel, count)| panel.draw(palette, count));
    frame.render_widget(Paragraph::new(drawn.collect::<Vec<_>>()), area);
}

/// Says how the gateway is, and whether what is shown is new.
fn header(app: &App, palette: Palette, width: usize) -> Vec<Line<'static>> {
    let status = &app.status;
    let mut parts = vec![
        vec![palette.span(format!("lanekeeper {}", status.version).trim_end(), Tone::Strong)],
        vec![palette.span(status.health.words(), tone_of(&status.health))],
    ];
    let silence = app.now.saturating_sub(app.heard);
    let age = if silence >= STALE {
        format!(", {} old", time(silence.as_secs_f64()))
    } else {
        String::new()
    };
    parts.push(match &app.link {
        Link::Live if age.is_empty() => vec![palette.span("live", Tone::Good)],
        Link::Live => vec![palette.span(format!("live{age}"), Tone::Warning)],
        Link::Connecting => vec![palette.span(format!("connecting{age}"), Tone::Warning)],
        Link::Lost(_) => vec![palette.span(format!("reconnecting{age}"), Tone::Bad)],
    });
    parts.extend(status.uptime.map(|uptime| palette.labelled("up", time(uptime), Tone::Plain)));
    parts.push(vec![palette.span(app.url.clone(), Tone::Plain)]);
    parts.extend(
        time_of_day(&status.at).map(|at| vec![palette.span(format!("{at}Z"), Tone::Quiet)]),
    );
    let mut lines = wrap(parts, width, 0);
    if let Link::Lost(why) = &app.link {
        let why = fold(why.as_str(), width).into_iter().take(MAX_SAID);
        lines.extend(why.map(|line| Line::from(palette.span(line, Tone::Bad))));
    }
    lines
}

/// Asks, answers, or names the keys.
fn footer(app: &App, palette: Palette, width: usize) -> Vec<Line<'static>> {
    let toned = |text: &str, tone: Tone| -> Vec<_> {
        let lines = fold(text, width).into_iter().take(MAX_SAID);
        lines.map(|line| Line::from(palette.span(line, tone))).collect()
    };
    match (&app.overlay, &app.answer) {
        (Overlay::Confirm(Command { verb, account, lane }), _) => {
            let verb = verb.as_str();
            let question =
                format!("{verb} the lane {lane} of {account}? y: yes, any other key: no");
            let reversed = Style::new().add_modifier(Modifier::REVERSED);
            fold(&question, width).into_iter().map(|line| Line::styled(line, reversed)).collect()
        }
        (_, Some(Ok(said))) => toned(said.as_str(), Tone::Strong),
        (_, Some(Err(why))) => toned(why.as_str(), Tone::Bad),
        _ => vec![Line::from(
            palette.span("q end  Tab lane  p pause  r resume  ? help", Tone::Quiet),
        )],
    }
}

/// Draws the help over the middle of the screen.
fn draw_help(frame: &mut Frame<'_>, area: Rect) {
    let longest = HELP.iter().map(|line| line.len()).max().unwrap_or(0);
    let width = area.width.min(longest as u16 + 4);
    let height = area.height.min(HELP.len() as u16 + 2);
    let x = area.x + (area.width - width) / 2;
    let y = area.y + (area.height - height) / 2;
    let middle = Rect { x, y, width, height };
    let lines: Vec<Line<'_>> = HELP.iter().map(|line| Line::from(format!(" {line}"))).collect();
    frame.render_widget(Clear, middle);
    frame.render_widget(Paragraph::new(lines).block(Block::bordered().title(" Keys ")), middle);
}
