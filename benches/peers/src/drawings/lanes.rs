//! `lanes.svg`: what a call goes through on its way from a strategy to the broker.

use std::f64::consts::TAU;

use super::svg::{Point, Svg};

const HEIGHT: f64 = 552.0;
/// Where the layers begin and end, from above.
const TOP: f64 = 48.0;
const BOTTOM: f64 = 472.0;
const MIDDLE: f64 = (TOP + BOTTOM) / 2.0;
const LANE_HEIGHT: f64 = 116.0;

/// What a slot of a lane is doing.
#[derive(Clone, Copy)]
enum Slot {
    InFlight,
    Resting,
    Free,
}
use Slot::{Free, InFlight, Resting};

/// A priority level: its name, and how many calls wait in it.
type Level = (&'static str, usize);

struct Lane {
    name: &'static str,
    about: &'static str,
    levels: &'static [Level],
    slots: &'static [Slot],
}

/// The lanes of `Broker`, with the quotas of Kite. Where calls wait, no slot is free.
const LANES: [Lane; 3] = [
    Lane {
        name: "transactional",
        about: "orders, account",
        levels: &[("1 exits", 1), ("4 orders", 4), ("5 reads", 3)],
        slots: &[
            InFlight, InFlight, InFlight, InFlight, Resting, Resting, Resting, Resting, Resting,
            Resting,
        ],
    },
    Lane {
        name: "quote",
        about: "prices now",
        levels: &[("1 urgent", 0), ("5 reads", 2)],
        slots: &[InFlight],
    },
    Lane {
        name: "historical",
        about: "prices of the past",
        levels: &[("1 urgent", 0), ("5 reads", 0)],
        slots: &[InFlight, Resting, Free],
    },
];

pub fn draw() -> String {
    let mut svg = Svg::new(
        HEIGHT,
        "Strategies call OrderGuard, QuoteCache and BrokerProxy; its three lanes send to the broker",
    );
    strategies(&mut svg);
    layer(
        &mut svg,
        (130.0, 104.0),
        "OrderGuard",
        &["finds out what", "became of an", "order whose", "answer is lost"],
    );
    pair(&mut svg, (234.0, 258.0), MIDDLE);
    layer(
        &mut svg,
        (258.0, 98.0),
        "QuoteCache",
        &["answers from", "memory, asks", "for many in", "one request"],
    );
    pair(&mut svg, (356.0, 380.0), MIDDLE);

    svg.rounded("layer", (380.0, TOP), (364.0, BOTTOM - TOP), 6.0);
    svg.text("name", (392.0, TOP + 24.0), "BrokerProxy");
    svg.text("muted end", (732.0, TOP + 24.0), "each lane: a queue, workers, a quota");
    let mut top = TOP + 36.0;
    for lane in &LANES {
        draw_lane(&mut svg, lane, top);
        top += LANE_HEIGHT + 12.0;
    }

    svg.rounded("layer", (804.0, TOP), (60.0, BOTTOM - TOP), 6.0);
    svg.text("name middle", (834.0, MIDDLE - 18.0), "broker");
    svg.lines("muted middle", (834.0, MIDDLE + 4.0), &["counts", "what", "arrives"]);
    legend(&mut svg);
    svg.finish()
}

/// The threads that call, and their calls.
fn strategies(svg: &mut Svg) {
    svg.text("name middle", (60.0, TOP - 14.0), "threads");
    svg.text("name middle", (437.0, TOP - 14.0), "layers, each with the broker's trait");
    for (number, name) in
        ["strategy 1", "strategy 2", "strategy 3", "strategy n"].iter().enumerate()
    {
        let top = TOP + 16.0 + 116.0 * number as f64;
        svg.rounded("lane", (16.0, top), (88.0, 44.0), 6.0);
        svg.text("middle", (60.0, top + 27.0), name);
        pair(svg, (104.0, 130.0), top + 22.0);
    }
    for dot in [-7.0, 0.0, 7.0] {
        svg.circle("axis-head", (60.0, TOP + 328.0 + dot), 1.8);
    }
}

/// A layer in front of the proxy.
fn layer(svg: &mut Svg, (left, width): (f64, f64), name: &str, about: &[&str]) {
    svg.rounded("layer", (left, TOP), (width, BOTTOM - TOP), 6.0);
    let centre = left + width / 2.0;
    svg.text("name middle", (centre, TOP + 24.0), name);
    svg.lines("muted middle", (centre, TOP + 50.0), about);
}

/// A call to the right, and its answer to the left.
fn pair(svg: &mut Svg, (left, right): (f64, f64), y: f64) {
    svg.arrow("call", (left, y - 6.0), (right, y - 6.0));
    svg.arrow("answer", (right, y + 6.0), (left, y + 6.0));
}

fn draw_lane(svg: &mut Svg, lane: &Lane, top: f64) {
    let middle = top + 68.0;
    svg.rounded("lane", (392.0, top), (340.0, LANE_HEIGHT), 6.0);
    svg.text("name", (404.0, top + 22.0), lane.name);
    svg.text("muted", (506.0, top + 22.0), lane.about);
    let first = middle - 12.0 * (lane.levels.len() - 1) as f64;
    for (number, level) in lane.levels.iter().enumerate() {
        draw_level(svg, *level, number == 0, first + 24.0 * number as f64);
    }
    svg.arrow("call", (590.0, middle), (614.0, middle));
    ring(svg, lane.slots, (660.0, middle));

    svg.arrow("call", (704.0, middle - 14.0), (804.0, middle - 14.0));
    svg.text("middle", (774.0, middle - 21.0), "call");
    svg.arrow("answer", (804.0, middle + 14.0), (704.0, middle + 14.0));
    draw_slot(svg, Resting, (774.0, middle + 14.0));
    svg.text("middle", (774.0, middle + 36.0), "answer");
}

fn draw_level(svg: &mut Svg, (name, waiting): Level, urgent: bool, y: f64) {
    svg.text("", (404.0, y + 4.5), name);
    svg.rect("track", (472.0, y - 9.0), (112.0, 18.0));
    for place in 0..waiting {
        let class = if urgent { "urgent" } else { "waiting" };
        svg.rect(class, (567.0 - 18.0 * place as f64, y - 7.0), (14.0, 14.0));
    }
}

/// The slots of a lane in a circle.
fn ring(svg: &mut Svg, slots: &[Slot], centre: Point) {
    const RADIUS: f64 = 34.0;
    svg.circle("ring", centre, RADIUS);
    for (number, slot) in slots.iter().enumerate() {
        let angle = TAU * (number as f64 / slots.len() as f64 - 0.25);
        let at = (centre.0 + RADIUS * angle.cos(), centre.1 + RADIUS * angle.sin());
        draw_slot(svg, *slot, at);
    }
    let word = if slots.len() == 1 { "slot" } else { "slots" };
    svg.text("name middle", (centre.0, centre.1), &slots.len().to_string());
    svg.text("muted middle", (centre.0, centre.1 + 15.0), word);
}

fn draw_slot(svg: &mut Svg, slot: Slot, at: Point) {
    const RADIUS: f64 = 6.5;
    match slot {
        InFlight => svg.circle("dot", at, RADIUS),
        Free => svg.circle("free", at, RADIUS - 0.7),
        Resting => {
            svg.circle("free", at, RADIUS - 0.7);
            svg.half("dot", at, RADIUS);
        }
    }
}

fn legend(svg: &mut Svg) {
    let (upper, lower) = (BOTTOM + 28.0, BOTTOM + 54.0);
    svg.rect("urgent", (20.0, upper - 7.0), (14.0, 14.0));
    svg.text("", (42.0, upper + 4.5), "an urgent call goes first");
    svg.rect("waiting", (20.0, lower - 7.0), (14.0, 14.0));
    svg.text("", (42.0, lower + 4.5), "a call that waits for a slot");
    draw_slot(svg, InFlight, (258.0, upper));
    svg.text("", (274.0, upper + 4.5), "slot of a call in flight");
    draw_slot(svg, Free, (258.0, lower));
    svg.text("", (274.0, lower + 4.5), "free slot");
    draw_slot(svg, Resting, (452.0, upper));
    svg.text("", (468.0, upper + 4.5), "slot that rests: free at finish − credit + W");
    svg.arrow("answer", (476.0, lower), (428.0, lower));
    draw_slot(svg, Resting, (452.0, lower));
    svg.text("", (484.0, lower + 4.5), "the answer brings the token of its slot back");
}
