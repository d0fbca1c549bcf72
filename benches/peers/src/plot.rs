//! The plots of the measurements.
//!
//! A README shows them about 830 px wide, and a page of the book a little wider. Text of 14 px on a
//! canvas of 960 px is then 12 px high.

use std::error::Error;
use std::ops::Range;
use std::path::Path as File;

use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::element::DashedPathElement;
use plotters::prelude::*;

use crate::broker::{Counting, LIMIT, WINDOW};
use crate::crowd;
use crate::path::{MS, PATHS, Path, SECOND};
use crate::peers::{ALL, DEFAULT, GOVERNOR, Kind, NAIVE, SEND_LOG, STRICT};

type Made = Result<(), Box<dyn Error>>;
type Panel<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

const SEED: u64 = 1;
const ORDINARY: usize = 1;

const TITLE: f64 = 18.0;
const TEXT: f64 = 14.0;
const LEGEND_LINE: i32 = 26;
/// Space for the numbers and the label beside an axis.
const BELOW: u32 = 44;
const BESIDE: u32 = 50;

/// A line that belongs to no limiter: the colour of none of them, and dashed.
struct Dashed {
    colour: RGBColor,
    dash: i32,
    gap: i32,
}

const LIMIT_LINE: Dashed = Dashed { colour: RGBColor(30, 30, 30), dash: 7, gap: 4 };
const BOUND_LINE: Dashed = Dashed { colour: RGBColor(30, 30, 30), dash: 4, gap: 4 };

impl Dashed {
    /// Draws the line and its legend, both in the same style.
    fn draw(&self, chart: &mut Chart<'_, '_>, points: &[(f64, f64)], label: &str) -> Made {
        let &Self { colour, dash, gap } = self;
        let style = colour.stroke_width(2);
        chart
            .draw_series(DashedLineSeries::new(points.iter().copied(), dash, gap, style))?
            .label(label)
            .legend(move |(x, y)| {
                DashedPathElement::new([(x, y), (x + LEGEND_LINE, y)], dash, gap, style)
            });
        Ok(())
    }
}

/// Plots how many calls the broker saw in the second before each moment, for four of the limiters.
pub fn arrivals(file: &File) -> Made {
    let root = SVGBackend::new(file, (960, 640)).into_drawing_area();
    root.fill(&WHITE)?;
    let panels = root.split_evenly((2, 2));
    for (panel, number) in panels.iter().zip([NAIVE, GOVERNOR, SEND_LOG, DEFAULT]) {
        let kind = &ALL[number];
        let mut peer = (kind.make)();
        let stats = crowd::run(peer.as_mut(), &PATHS[ORDINARY], Counting::SlidingLog, SEED);
        one_arrivals(panel, kind, &stats.arrivals)?;
    }
    root.present()?;
    Ok(())
}

fn one_arrivals(panel: &Panel<'_>, kind: &Kind, arrivals: &[u64]) -> Made {
    let (from, to) = (100.0, 130.0);
    let mut chart = chart(panel, &plain(kind.name), from..to, 0.0..20.0)?;
    let mut mesh = chart.configure_mesh();
    mesh.light_line_style(TRANSPARENT).x_labels(7).y_labels(10);
    mesh.label_style(font(TEXT)).axis_desc_style(font(TEXT));
    mesh.y_label_formatter(&|calls| format!("{calls:.0}"));
    mesh.x_label_formatter(&|time| format!("{time:.0}"));
    mesh.x_desc("seconds").y_desc("arrivals in the last second").draw()?;

    let steps: Vec<(f64, f64)> = sliding(arrivals)
        .map(|(at, calls)| (at as f64 / SECOND as f64, calls as f64))
        .filter(|(at, _)| (from..to).contains(at))
        .collect();
    let limit = f64::from(LIMIT);
    // The part above the limit, filled down to it.
    for pair in steps.windows(2) {
        let [(begin, calls), (end, _)] = pair else { continue };
        if *calls > limit {
            let over =
                Rectangle::new([(*begin, limit), (*end, *calls)], colour(kind).mix(0.35).filled());
            chart.draw_series([over])?;
        }
    }
    let corners = steps.windows(2).flat_map(|pair| [pair[0], (pair[1].0, pair[0].1)]);
    chart.draw_series(LineSeries::new(corners, colour(kind)))?;
    LIMIT_LINE.draw(&mut chart, &[(from, limit), (to, limit)], "the broker's limit")?;
    legend(&mut chart, SeriesLabelPosition::UpperRight)
}

/// Returns each moment at which the count of the last second changes, and the count from then on.
fn sliding(arrivals: &[u64]) -> impl Iterator<Item = (u64, u32)> {
    let come = arrivals.iter().map(|&at| (at, true));
    // An arrival that is a second old leaves before the next comes.
    let go = arrivals.iter().map(|&at| (at + WINDOW, false));
    let mut changes: Vec<(u64, bool)> = come.chain(go).collect();
    changes.sort_unstable();
    changes.into_iter().scan(0_u32, |count, (at, comes)| {
        *count = if comes { *count + 1 } else { count.saturating_sub(1) };
        Some((at, *count))
    })
}

/// Plots what is accepted and what is refused, by the length of the path.
pub fn latency(file: &File) -> Made {
    let root = SVGBackend::new(file, (960, 600)).into_drawing_area();
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
            let stats = crowd::run(peer.as_mut(), &path, Counting::SlidingLog, SEED);
            let at = round_trip as f64;
            of_used.push((at, 100.0 * stats.used()));
            let share = stats.refused.len() as f64 / stats.arrivals.len().max(1) as f64;
            of_refused.push((at, 100.0 * share));
            if number == DEFAULT {
                bound.push((at, 100.0 * stats.bound(&path)));
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
    let mut chart = chart(panel, what, 0.0..400.0, 0.0..most)?;
    let mut mesh = chart.configure_mesh();
    mesh.light_line_style(TRANSPARENT);
    mesh.label_style(font(TEXT)).axis_desc_style(font(TEXT));
    mesh.x_label_formatter(&|time| format!("{time:.0}"));
    mesh.y_label_formatter(&|share| format!("{share:.0}"));
    mesh.x_desc("least round trip, ms").draw()?;
    for (kind, points) in series {
        let style = colour(kind).stroke_width(2);
        // Lines on the axis hide one another, so the legend says which are there.
        let none = if points.iter().all(|(_, share)| *share == 0.0) { ": none" } else { "" };
        chart
            .draw_series(LineSeries::new(points.iter().copied(), style))?
            .label(plain(kind.name) + none)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + LEGEND_LINE, y)], style));
    }
    if bound.is_empty() {
        legend(&mut chart, SeriesLabelPosition::UpperRight)
    } else {
        BOUND_LINE.draw(&mut chart, bound, "the most that is safe")?;
        // Between the curves.
        legend(&mut chart, SeriesLabelPosition::Coordinate(172, 203))
    }
}

/// Creates an empty chart with its title.
fn chart<'a, 'b>(
    panel: &'a Panel<'b>,
    title: &str,
    across: Range<f64>,
    up: Range<f64>,
) -> Result<Chart<'a, 'b>, Box<dyn Error>> {
    let mut builder = ChartBuilder::on(panel);
    // The last number below the axis reaches beyond it.
    builder.caption(title, font(TITLE)).margin(10).margin_right(18);
    builder.x_label_area_size(BELOW).y_label_area_size(BESIDE);
    Ok(builder.build_cartesian_2d(across, up)?)
}

fn legend<'a, 'b: 'a>(chart: &mut Chart<'a, 'b>, place: SeriesLabelPosition) -> Made {
    let mut labels = chart.configure_series_labels();
    labels.position(place).legend_area_size(LEGEND_LINE + 10).label_font(font(TEXT));
    labels.background_style(WHITE.mix(0.8)).border_style(BLACK.mix(0.2)).draw()?;
    Ok(())
}

/// Returns a font of this size in the SVG. plotters divides each size by 1.24 when it writes one.
fn font(pixels: f64) -> (&'static str, f64) {
    ("sans-serif", pixels * 1.24)
}

fn colour(kind: &Kind) -> RGBColor {
    let (red, green, blue) = kind.colour;
    RGBColor(red, green, blue)
}

/// Returns a name without Markdown.
fn plain(name: &str) -> String {
    name.replace('*', "")
}
