// A meter of one window of a quota or a budget: used of limit, what is kept for exits, and when it resets.

import { count } from "./format.js";
import { fullness, resetText } from "./health.js";
import { attr, el, show, text, variable } from "./dom.js";

/**
 * Creates a meter.
 * @param {string} owner what the window belongs to, for screen readers
 * @param {boolean} isBudget whether to warn when it is nearly full. The windows of a lane are full many times a minute,
 *   and that is no news.
 */
export function createMeter(owner, isBudget) {
  const name = el("span.meter-name");
  const used = el("span.meter-used");
  const state = el("span.meter-state");
  const reset = el("span.meter-reset");
  const bar = el(
    "div.meter-bar",
    { role: "meter", "aria-valuemin": "0" },
    el("div.meter-reserve"),
    el("div.meter-fill"),
  );
  const node = el("div.meter", { "data-testid": "meter" }, name, used, bar, state, reset);
  let resetsAt = null;
  node.update = (window) => {
    const now = Date.now();
    if (window.resets != null) resetsAt = now + window.resets * 1000;
    text(name, window.is_cut ? `${window.window} (rate cut)` : window.window);
    text(used, `${count(window.used)} / ${count(window.limit)}`);
    text(reset, resetText(window, resetsAt === null ? null : (resetsAt - now) / 1000));
    const share = window.limit > 0 ? Math.min(1, window.used / window.limit) : 0;
    variable(bar, "--used", share);
    variable(bar, "--reserve", window.limit > 0 ? Math.min(1 - share, (window.reserve ?? 0) / window.limit) : 0);
    attr(bar, "aria-label", `${owner} ${window.window}`);
    attr(bar, "aria-valuemax", Math.max(window.limit, 1));
    attr(bar, "aria-valuenow", Math.min(window.used, Math.max(window.limit, 1)));
    const full = isBudget ? fullness(window) : { word: "", tone: window.is_cut ? "warn" : "good" };
    attr(bar, "aria-valuetext", `${count(window.used)} of ${count(window.limit)} used ${full.word}`.trim());
    attr(node, "data-tone", full.tone);
    text(state, full.word);
    show(state, full.word !== "");
  };
  return node;
}
