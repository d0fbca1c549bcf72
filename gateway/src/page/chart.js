// The chart of a lane: calls a second over the last two minutes as a line, the quota as a limit line, and a mark for
// each second in which calls were refused.

import { NONE, decimal } from "./format.js";
import { attr, el, show, svg, text, variable } from "./dom.js";

const HEIGHT = 100;

/** The parts of a line of which the values are known. A value without neighbours is a short dash. */
export function linePath(values, top) {
  let path = "";
  let isDrawing = false;
  values.forEach((value, index) => {
    if (Number.isNaN(value)) {
      isDrawing = false;
      return;
    }
    const y = yOf(value, top);
    path += isDrawing ? `L${index} ${y}` : `M${index} ${y}`;
    if (!isDrawing && Number.isNaN(values[index + 1] ?? NaN)) path += "h0.4";
    isDrawing = true;
  });
  return path;
}

/** The areas below the line. */
export function areaPath(values, top) {
  let path = "";
  let first = null;
  for (let index = 0; index <= values.length; index += 1) {
    const value = values[index] ?? NaN;
    if (Number.isNaN(value)) {
      if (first !== null) path += `L${index - 1} ${HEIGHT}L${first} ${HEIGHT}Z`;
      first = null;
    } else {
      path += first === null ? `M${index} ${yOf(value, top)}` : `L${index} ${yOf(value, top)}`;
      first ??= index;
    }
  }
  return path;
}

function yOf(value, top) {
  return Math.round((HEIGHT - (Math.min(value, top) / top) * HEIGHT) * 10) / 10;
}

/** The highest value that the chart shows: a sixth above the limit, or above the highest rate if that is higher. */
export function topOf(values, limit) {
  const highest = values.reduce((most, value) => (value > most ? value : most), 0);
  return Math.max(highest, limit ?? 0, 0.1) * 1.18;
}

/** Creates a chart of `seconds` seconds. Its `update` draws the values of a ring. */
export function createChart(seconds) {
  const area = svg("path.chart-area");
  const line = svg("path.chart-line");
  const limitLine = svg("path.chart-limit");
  const cutLine = svg("path.chart-cut");
  const marks = svg("path.chart-refused");
  const cursor = svg("path.chart-cursor");
  const drawing = svg(
    "svg.chart-drawing",
    {
      viewBox: `0 0 ${seconds - 1} ${HEIGHT}`,
      preserveAspectRatio: "none",
      "aria-hidden": "true",
      focusable: "false",
    },
    area,
    limitLine,
    cutLine,
    line,
    marks,
    cursor,
  );
  const limitLabel = el("span.chart-limit-label");
  const reading = el("span.chart-reading");
  const plot = el("div.chart-plot", { role: "img" }, drawing, limitLabel);
  const node = el(
    "div.chart",
    {},
    plot,
    el("div.chart-axis", { "aria-hidden": "true" }, el("span", {}, `${seconds} s ago`), reading, el("span", {}, "now")),
  );
  let [values, pointed] = [{ calls: [], refused: [] }, null];

  const read = () => {
    const isShown = pointed !== null && values.calls.length > 0;
    attr(cursor, "d", isShown ? `M${pointed} 0V${HEIGHT}` : "");
    if (!isShown) return text(reading, "");
    const [calls, refused] = [values.calls[pointed], values.refused[pointed]];
    const losses = refused > 0 ? `, ${decimal(refused)} refused` : "";
    const value = Number.isNaN(calls) ? NONE : `${calls.toFixed(1)} calls/s${losses}`;
    text(reading, `${seconds - 1 - pointed} s ago: ${value}`);
  };
  plot.addEventListener("pointermove", (event) => {
    const { left, width } = plot.getBoundingClientRect();
    pointed = Math.max(0, Math.min(seconds - 1, Math.round(((event.clientX - left) / width) * (seconds - 1))));
    read();
  });
  plot.addEventListener("pointerleave", () => {
    pointed = null;
    read();
  });

  node.update = ({ ring, limit, percent, label }) => {
    values = ring;
    const top = topOf(values.calls, limit);
    attr(area, "d", areaPath(values.calls, top));
    attr(line, "d", linePath(values.calls, top));
    attr(limitLine, "d", limit ? `M0 ${yOf(limit, top)}H${seconds - 1}` : "");
    attr(cutLine, "d", limit && percent < 100 ? `M0 ${yOf((limit * percent) / 100, top)}H${seconds - 1}` : "");
    attr(
      marks,
      "d",
      values.refused.map((value, index) => (value > 0 ? `M${index} ${HEIGHT}V${HEIGHT - 14}` : "")).join(""),
    );
    show(limitLabel, Boolean(limit));
    if (limit) {
      text(limitLabel, `limit ${decimal(limit)}/s`);
      variable(limitLabel, "--y", yOf(limit, top) / HEIGHT);
    }
    attr(plot, "aria-label", label);
    read();
  };
  return node;
}
