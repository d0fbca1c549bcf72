//! The pictures.

use std::error::Error;
use std::path::Path as File;

use plotters::coord::Shift;
use plotters::prelude::*;

use crate::broker::{Counting, LIMIT, WINDOW};
use crate::crowd;
use crate::path::{MS, PATHS, Path, SECOND};
use crate::peers::{ALL, DEFAULT, GOVERNOR, Kind, NAIVE, SEND_LOG, STRICT};

type Made = Result<(), Box<dyn Error>>;
type Panel<'a> = DrawingArea<SVGBackend<'a>, Shift>;

const SEED: u64 = 1;
const ORDINARY: usize = 1;
const LIMIT_LINE: RGBColor = RGBColor(200, 0, 0);

/// How many calls the broker saw in the second before each moment, for four of the limiters.
pub fn arrivals(file: &File) -> Made {
    let root = SVGBackend::new(file, (960, 640)).into_drawing_area();
    root.fill(&WHITE)?;
    let panels = root.split_evenly((2, 2));
    for (panel, number) in panels.iter().zip([NAIVE, GOVERNOR, SEND_LOG, DEFAULT]) {
        let kind = &ALL[number];
        let mut peer = (kind.make)();
        let seen = crowd::run(peer.as_mut(), &PATHS[ORDINARY], Counting::SlidingLog, SEED);
        one_arrivals(panel, kind, &seen.arrivals)?;
    }
    root.present()?;
    Ok(())
}

fn one_arrivals(panel: &Panel<'_>, kind: &Kind, arrivals: &[u64]) -> Made {
    let (from, to) = (100.0, 130.0);
    let mut chart = ChartBuilder::on(panel)
        .caption(plain(kind.name), ("sans-serif", 18))
        .margin(10)
        .x_label_area_size(36)
        .y_label_area_size(44)
        .build_cartesian_2d(from..to, 0.0..18.0)?;
    let mut mesh = chart.configure_mesh();
    mesh.light_line_style(TRANSPARENT).x_labels(7).y_labels(10);
    mesh.y_label_formatter(&|calls| format!("{calls:.0}"));
    mesh.x_label_formatter(&|time| format!("{time:.0}"));
    mesh.x_desc("seconds").y_desc("arrivals in the last second").draw()?;

    let steps: Vec<(f64, f64)> = sliding(arrivals)
        .map(|(at, calls)| (at as f64 / SECOND as f64, calls as f64))
        .filter(|(at, _)| (from..to).contains(at))
        .collect();
    let limit = f64::from(LIMIT);
    // What is above the limit, filled down to it.
    for pair in steps.windows(2) {
        let [(begin, calls), (end, _)] = pair else { continue };
        if *calls > limit {
            let over =
                Rectangle::new([(*begin, limit), (*end, *calls)], LIMIT_LINE.mix(0.35).filled());
            chart.draw_series([over])?;
        }
    }
    let corners = steps.windows(2).flat_map(|pair| [pair[0], (pair[1].0, pair[0].1)]);
    chart.draw_series(LineSeries::new(corners, colour(kind)))?;
    chart.draw_series(LineSeries::new([(from, limit), (to, limit)], LIMIT_LINE))?;
    Ok(())
}

/// Each moment at which the count of the last second changes, and the count from then on.
fn sliding(arrivals: &[u64]) -> impl Iterator<Item = (u64, u32)> {
    let come = arrivals.iter().map(|&at| (at, true));
    // One that is a second old is gone before the next comes.
    let go = arrivals.iter().map(|&at| (at + WINDOW, false));
    let mut changes: Vec<(u64, bool)> = come.chain(go).collect();
    changes.sort_unstable();
    changes.into_iter().scan(0_u32, |count, (at, comes)| {
        *count = if comes { *count + 1 } else { count.saturating_sub(1) };
        Some((at, *count))
    })
}

/// What is accepted and what is refused, by the length of the path.
pub fn latency(file: &File) -> Made {
    let root = SVGBackend::new(file, (960, 480)).into_drawing_area();
    root.fill(&WHITE)?;
    let (left, right) = root.split_horizontally(480);
    let shown = [NAIVE, GOVERNOR, SEND_LOG, DEFAULT, STRICT];
    let mut used: Vec<(&Kind, Vec<(f64, f64)>)> = Vec::new();
    let mut refused = Vec::new();
    let mut bound = Vec::new();
    for number in shown {
        let kind = &ALL[number];
        let (mut of_used, mut of_refused) = (Vec::new(), Vec::new());
        for round_trip in [1, 2, 5, 10].into_iter().chain((25..=400).step_by(25)) {
            let path = Path::of(round_trip * MS);
            let mut peer = (kind.make)();
            let seen = crowd::run(peer.as_mut(), &path, Counting::SlidingLog, SEED);
            let at = round_trip as f64;
            of_used.push((at, 100.0 * seen.used()));
            let share = seen.refused.len() as f64 / seen.arrivals.len().max(1) as f64;
            of_refused.push((at, 100.0 * share));
            if number == DEFAULT {
                bound.push((at, 100.0 * seen.bound(&path)));
            }
        }
        used.push((kind, of_used));
        refused.push((kind, of_refused));
    }
    lines(&left, "quota used, %", 105.0, &used, &bound)?;
    lines(&right, "calls refused, %", 30.0, &refused, &[])?;
    root.present()?;
    Ok(())
}

fn lines(
    panel: &Panel<'_>,
    what: &str,
    most: f64,
    series: &[(&Kind, Vec<(f64, f64)>)],
    bound: &[(f64, f64)],
) -> Made {
    let mut chart = ChartBuilder::on(panel)
        .caption(what, ("sans-serif", 18))
        .margin(10)
        .x_label_area_size(36)
        .y_label_area_size(44)
        .build_cartesian_2d(0.0..400.0, 0.0..most)?;
    let mut mesh = chart.configure_mesh();
    mesh.light_line_style(TRANSPARENT);
    mesh.x_label_formatter(&|time| format!("{time:.0}"));
    mesh.y_label_formatter(&|share| format!("{share:.0}"));
    mesh.x_desc("least round trip, ms").draw()?;
    for (kind, points) in series {
        let style = colour(kind).stroke_width(2);
        chart
            .draw_series(LineSeries::new(points.iter().copied(), style))?
            .label(plain(kind.name))
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], style));
    }
    if !bound.is_empty() {
        let style = BLACK.stroke_width(1);
        chart
            .draw_series(DashedLineSeries::new(bound.iter().copied(), 4, 4, style))?
            .label("the most that is safe")
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], style));
    }
    let place = match bound.is_empty() {
        true => SeriesLabelPosition::UpperRight,
        false => SeriesLabelPosition::LowerLeft,
    };
    let mut labels = chart.configure_series_labels();
    labels.position(place).background_style(WHITE.mix(0.8)).border_style(BLACK.mix(0.2)).draw()?;
    Ok(())
}

fn colour(kind: &Kind) -> RGBColor {
    let (red, green, blue) = kind.colour;
    RGBColor(red, green, blue)
}

/// A name without Markdown.
fn plain(name: &str) -> String {
    name.replace('*', "")
}
