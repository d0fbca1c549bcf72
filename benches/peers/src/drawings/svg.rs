//! As much of SVG as the drawings need.
//!
//! Looks are classes of one style sheet, so each drawing says only what is where.

use std::fmt::Write as _;

/// x and y, in pixels from the upper left corner.
pub type Point = (f64, f64);

/// A README shows a drawing about 830 px wide. At this width, 13 px of text are more than 12 there.
pub const WIDTH: f64 = 880.0;

const STYLE: &str = "
text { font: 13px -apple-system, 'Segoe UI', 'Noto Sans', Helvetica, Arial, sans-serif; fill: #1f2328 }
.middle { text-anchor: middle }
.end { text-anchor: end }
.title { font-size: 16px; font-weight: 600 }
.name { font-size: 14px; font-weight: 600 }
.muted { fill: #57606a }
.bad { fill: #b3202b; font-weight: 600 }
.good { fill: #116329; font-weight: 600 }
.tag { fill: #ffffff; font-weight: 600; text-anchor: middle }
.paper { fill: #ffffff; stroke: #d0d7de }
.layer { fill: #f6f8fa; stroke: #8c959f }
.lane { fill: #ffffff; stroke: #8c959f }
.track { fill: #eaeef2 }
.ring { fill: none; stroke: #afb8c1; stroke-width: 1.5 }
.waiting, .dot { fill: #1f77b4 }
.urgent { fill: #cf222e }
.free { fill: #ffffff; stroke: #1f77b4; stroke-width: 1.5 }
.resting { fill: #b6d7ee }
.window { fill: #dafbe1; stroke: #1a7f37 }
.broken { fill: #ffebe9; stroke: #cf222e }
.axis, .rule { fill: none; stroke: #57606a }
.guide { stroke: #57606a; stroke-dasharray: 2 3 }
.call { stroke: #1f77b4; stroke-width: 1.5 }
.answer { stroke: #1a7f37; stroke-width: 1.5; stroke-dasharray: 5 3 }
.done { fill: #1a7f37 }
.axis-head, .rule-head { fill: #57606a }
.call-head { fill: #1f77b4 }
.answer-head { fill: #1a7f37 }
";

/// A drawing under way.
pub struct Svg {
    text: String,
}

impl Svg {
    /// An empty sheet. `about` is read to those who cannot see it.
    pub fn new(height: f64, about: &str) -> Self {
        let text = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
             viewBox=\"0 0 {WIDTH} {height}\" role=\"img\">\n<title>{about}</title>\n\
             <style>{STYLE}</style>\n"
        );
        let mut svg = Self { text };
        svg.rounded("paper", (0.5, 0.5), (WIDTH - 1.0, height - 1.0), 10.0);
        svg
    }

    /// A box with slightly rounded corners.
    pub fn rect(&mut self, class: &str, corner: Point, size: Point) {
        self.rounded(class, corner, size, 3.0);
    }

    pub fn rounded(&mut self, class: &str, (x, y): Point, (width, height): Point, radius: f64) {
        self.tag(format_args!(
            "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" \
             height=\"{height:.1}\" rx=\"{radius}\"/>"
        ));
    }

    pub fn circle(&mut self, class: &str, (x, y): Point, radius: f64) {
        self.tag(format_args!(
            "<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius}\"/>"
        ));
    }

    /// The lower half of a disc.
    pub fn half(&mut self, class: &str, (x, y): Point, radius: f64) {
        let left = x - radius;
        self.tag(format_args!(
            "<path class=\"{class}\" d=\"M{left:.1} {y:.1}a{radius} {radius} 0 0 0 {} 0z\"/>",
            2.0 * radius
        ));
    }

    pub fn line(&mut self, class: &str, (x1, y1): Point, (x2, y2): Point) {
        self.tag(format_args!(
            "<line class=\"{class}\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>"
        ));
    }

    /// A line that ends in an arrow head.
    pub fn arrow(&mut self, class: &str, from: Point, to: Point) {
        const LENGTH: f64 = 8.0;
        const HALF_WIDTH: f64 = 3.5;
        let (dx, dy) = (to.0 - from.0, to.1 - from.1);
        let whole = dx.hypot(dy);
        let (dx, dy) = (dx / whole, dy / whole);
        let base = (to.0 - LENGTH * dx, to.1 - LENGTH * dy);
        let (side_x, side_y) = (HALF_WIDTH * dy, HALF_WIDTH * dx);
        self.line(class, from, base);
        self.tag(format_args!(
            "<path class=\"{class}-head\" d=\"M{:.1} {:.1}L{:.1} {:.1}L{:.1} {:.1}z\"/>",
            to.0,
            to.1,
            base.0 - side_x,
            base.1 + side_y,
            base.0 + side_x,
            base.1 - side_y
        ));
    }

    /// A line of text. `(x, y)` is where its base line begins, or its middle or its end if `class`
    /// says so.
    pub fn text(&mut self, class: &str, (x, y): Point, text: &str) {
        self.tag(format_args!("<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{text}</text>"));
    }

    /// Lines of text below one another.
    pub fn lines(&mut self, class: &str, (x, y): Point, lines: &[&str]) {
        for (number, line) in lines.iter().enumerate() {
            self.text(class, (x, y + 18.0 * number as f64), line);
        }
    }

    pub fn finish(mut self) -> String {
        self.text.push_str("</svg>\n");
        self.text
    }

    fn tag(&mut self, tag: std::fmt::Arguments<'_>) {
        // Writing to a string does not fail.
        let _ = writeln!(self.text, "{tag}");
    }
}
