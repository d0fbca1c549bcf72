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

use self::lanes::lanes;
pub use self::paint::Palette;
use self::paint::{Tone, tone_of, wrap};
use self::panels::{panels, share};
use super::app::{App, Link, Overlay};
use super::text::{time, time_of_day};

/// From this width on, the panels stand beside the lanes.
const TWO_COLUMNS: u16 = 150;

/// The silence after which the header says how old the numbers are.
const STALE: Duration = Duration::from_secs(3);

const HELP: [&str; 12] = [
    "q, Esc, Ctrl-C   end",
    "Tab, arrows      choose a lane",
    "p                pause the chosen lane",
    "r                resume it",
    "?                this help",
    "",
    "The curve is the last minute, on the scale of",
    "the quota. A window is full when its calls are",
    "used up; it resets when the next ones come free.",
    "Clients with the most waiting calls come first.",
    "",
    "Pausing needs LANEKEEPER_ADMIN_KEY. Times: UTC.",
];

/// Draws the whole screen.
pub fn draw(frame: &mut Frame<'_>, app: &App, palette: Palette) {
    let area = frame.area();
    let (width, height) = (usize::from(area.width), usize::from(area.height));
    let mut header = header(app, palette, width);
    header.truncate(height);
    // The last line is worth less than the first lane.
    let footer = if height > header.len() + 1 { 1 } else { 0 };
    let body = Rect {
        y: area.y + header.len() as u16,
        height: area.height - header.len() as u16 - footer,
        ..area
    };
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
    if footer == 1 {
        let line = Rect { y: area.bottom() - 1, height: 1, ..area };
        frame.render_widget(Paragraph::new(footer_line(app, palette)), line);
    }
    if app.overlay == Overlay::Help {
        draw_help(frame, area);
    }
}

/// Draws the lanes and, below them, the panels.
fn draw_column(frame: &mut Frame<'_>, app: &App, palette: Palette, body: Rect) {
    let (width, height) = (usize::from(body.width), usize::from(body.height));
    let wanted: usize = panels(app, palette, width).iter().map(panels::Panel::len).sum();
    // The lanes have what the panels do not want, and at least three fifths.
    let reserved = wanted.min(height * 2 / 5);
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
    parts.extend(status.uptime.map(|uptime| palette.labelled("up", time(uptime), Tone::Plain)));
    parts.push(vec![palette.span(app.url.clone(), Tone::Plain)]);
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
    parts.extend(
        time_of_day(&status.at).map(|at| vec![palette.span(format!("{at}Z"), Tone::Quiet)]),
    );
    let mut lines = wrap(parts, width, 0);
    if let Link::Lost(why) = &app.link {
        lines.push(Line::from(palette.span(why.as_str(), Tone::Bad)));
    }
    lines
}

/// Asks, answers, or names the keys.
fn footer_line(app: &App, palette: Palette) -> Line<'static> {
    let reversed = Style::new().add_modifier(Modifier::REVERSED);
    match (&app.overlay, &app.answer) {
        (Overlay::Confirm(command), _) => {
            let verb = command.verb.as_str();
            let question = format!(
                "{verb} the lane {} of {}?  y: yes  any other key: no",
                command.lane, command.account
            );
            Line::styled(question, reversed)
        }
        (_, Some(Ok(said))) => Line::from(palette.span(said.as_str(), Tone::Strong)),
        (_, Some(Err(why))) => Line::from(palette.span(why.as_str(), Tone::Bad)),
        _ => Line::from(palette.span("q end  Tab lane  p pause  r resume  ? help", Tone::Quiet)),
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
