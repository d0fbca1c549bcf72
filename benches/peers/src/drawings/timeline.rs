//! `timeline.svg`: when a call is sent, counted and answered, and what a slot that is freed too soon
//! does to the broker's window.

use super::svg::{Point, Svg, WIDTH};

const HEIGHT: f64 = 666.0;
const LEFT: f64 = 112.0;
/// Pixels in one window.
const WINDOW: f64 = 424.0;
/// From the client's line down to the broker's.
const WAY: f64 = 92.0;

/// When a call is sent, counted by the broker and answered, in windows.
struct Call {
    name: &'static str,
    sent: f64,
    counted: f64,
    finish: f64,
}

/// A call that takes long to get there.
const FIRST: Call = Call { name: "1", sent: 0.0, counted: 0.36, finish: 0.48 };
/// A call in the other slot.
const SECOND: Call = Call { name: "2", sent: 0.66, counted: 0.74, finish: 0.82 };
/// No more than the way back of the first call and the way there of the third.
const CREDIT: f64 = 0.1;

/// A quick call, in the slot of the first.
fn third(sent: f64) -> Call {
    Call { name: "3", sent, counted: sent + 0.06, finish: sent + 0.12 }
}

fn x(time: f64) -> f64 {
    LEFT + time * WINDOW
}

pub fn draw() -> String {
    let mut svg = Svg::new(
        HEIGHT,
        "A slot freed a window after sending lets three arrivals into a window of two; one freed \
         at finish - credit + W does not",
    );
    legend(&mut svg);
    by_sending(&mut svg, 34.0);
    by_completion(&mut svg, 314.0);
    svg.finish()
}

fn legend(svg: &mut Svg) {
    let y = 29.0;
    svg.arrow("call", (672.0, y), (704.0, y));
    svg.text("", (711.0, y + 4.5), "call");
    svg.arrow("answer", (760.0, y), (792.0, y));
    svg.text("", (799.0, y + 4.5), "answer");
}

/// A slot is free a window after its call was sent.
fn by_sending(svg: &mut Svg, top: f64) {
    svg.text("title", (20.0, top), "Stamped at sending");
    svg.text(
        "muted",
        (20.0, top + 22.0),
        "The broker allows N = 2 calls in any W. Calls 1 and 3 use the same slot.",
    );
    let strip = top + 42.0;
    svg.text("", (20.0, strip + 16.0), "slot");
    svg.rect("resting", (x(0.0), strip), (WINDOW, 22.0));
    svg.text("middle", (x(0.5), strip + 16.0), "held for W from sending");
    let third = third(1.0);
    svg.rect("resting", (x(1.0) + 2.0, strip), (x(1.74) - x(1.0) - 2.0, 22.0));
    svg.text("middle", (x(1.37), strip + 16.0), "call 3 has it");

    let client = strip + 46.0;
    lines(svg, client);
    for call in [&FIRST, &SECOND, &third] {
        draw_call(svg, call, client);
    }
    window(svg, client + WAY, "broken", "W at the broker: N + 1 = 3 arrivals");
    svg.text("bad", (x(FIRST.counted + 1.0) + 12.0, client + WAY + 42.5), "call 3 is refused: 429");
}

/// A slot is free a window after its call was answered, less the credit.
fn by_completion(svg: &mut Svg, top: f64) {
    svg.line("guide", (20.0, top - 30.0), (WIDTH - 20.0, top - 30.0));
    svg.text("title", (20.0, top), "Pacing by completion: lanekeeper");
    svg.text(
        "muted",
        (20.0, top + 22.0),
        "The slot is held until the answer is there, and then rests for W less a credit.",
    );
    let strip = top + 42.0;
    let free = FIRST.finish - CREDIT + 1.0;
    svg.text("", (20.0, strip + 16.0), "slot");
    svg.rect("waiting", (x(0.0), strip), (x(FIRST.finish) - x(0.0), 22.0));
    svg.text("tag", (x(FIRST.finish / 2.0), strip + 16.0), "call 1 in flight");
    svg.rect("resting", (x(FIRST.finish), strip), (x(free) - x(FIRST.finish), 22.0));
    let between = x((FIRST.finish + free) / 2.0);
    svg.text("middle", (between, strip + 16.0), "rests until finish − credit + W");
    svg.rect("waiting", (x(free) + 2.0, strip), (x(1.74) - x(free) - 2.0, 22.0));
    svg.text("tag", (x((free + 1.74) / 2.0), strip + 16.0), "call 3 has it");

    // From the answer back by the credit, and on by a window.
    let client = strip + 104.0;
    let (back, on) = (client - 36.0, client - 60.0);
    let begin = FIRST.finish - CREDIT;
    svg.line("guide", (x(FIRST.finish), strip + 22.0), (x(FIRST.finish), client));
    svg.line("guide", (x(begin), on), (x(begin), back));
    svg.line("guide", (x(free), strip + 22.0), (x(free), client));
    svg.arrow("rule", (x(FIRST.finish), back), (x(begin), back));
    svg.text("", (x(FIRST.finish) + 8.0, back + 4.5), "credit");
    svg.text("", (x(FIRST.finish) + 8.0, client - 7.0), "finish");
    svg.arrow("rule", (x(begin), on), (x(free), on));
    svg.text("middle", (between, on - 6.0), "W");

    lines(svg, client);
    for call in [&FIRST, &SECOND, &third(free)] {
        draw_call(svg, call, client);
    }
    window(svg, client + WAY, "window", "W at the broker: N = 2 arrivals");
    svg.text("good", (x(FIRST.counted + 1.0) + 12.0, client + WAY + 42.5), "call 3 comes later");
    let below = client + WAY + 74.0;
    svg.lines("", (20.0, below), &[
        "As long as the credit is at most the way back of call 1 plus the way there of call 3, the broker counts calls",
        "of one slot at least W apart: N slots put at most N arrivals into any W.",
    ]);
}

/// The time lines of client and broker.
fn lines(svg: &mut Svg, client: f64) {
    for (name, y) in [("client", client), ("broker", client + WAY)] {
        svg.text("", (20.0, y + 4.5), name);
        svg.arrow("axis", (LEFT - 28.0, y), (WIDTH - 16.0, y));
    }
    svg.text("muted end", (WIDTH - 16.0, client + WAY - 8.0), "time");
}

fn draw_call(svg: &mut Svg, call: &Call, client: f64) {
    const RADIUS: f64 = 9.0;
    let broker = client + WAY;
    let (sent, counted) = ((x(call.sent), client), (x(call.counted), broker));
    let finish = (x(call.finish), client);
    svg.arrow("call", sent, towards(sent, counted, RADIUS));
    svg.arrow("answer", counted, towards(counted, finish, 3.0));
    svg.circle("done", finish, 3.5);
    for at in [sent, counted] {
        svg.circle("dot", at, RADIUS);
        svg.text("tag", (at.0, at.1 + 4.5), call.name);
    }
}

/// The point on the way from `from` to `to` that is `short` pixels before its end.
fn towards(from: Point, to: Point, short: f64) -> Point {
    let (dx, dy) = (to.0 - from.0, to.1 - from.1);
    let share = short / dx.hypot(dy);
    (to.0 - share * dx, to.1 - share * dy)
}

/// A window of the broker, from the arrival of the first call on.
fn window(svg: &mut Svg, broker: f64, class: &str, text: &str) {
    let top = broker + 26.0;
    for end in [FIRST.counted, FIRST.counted + 1.0] {
        svg.line("guide", (x(end), broker + 9.0), (x(end), top));
    }
    svg.rect(class, (x(FIRST.counted), top), (WINDOW, 24.0));
    svg.text("middle", (x(FIRST.counted + 0.5), top + 16.5), text);
}
